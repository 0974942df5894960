//! Root joins for the agent's user.
//!
//! A unit's state folder belongs to the user that the agent runs as, and root would leave files there which the agent
//! cannot read, and follow links which that user has put there. So root takes that user's place for as long as it joins,
//! and sees besides what the agent will see: host keys that it may not read are told now and not at its start.

use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use rustix::fs::{Gid, Uid};
use rustix::process::{getegid, geteuid, getgroups};
use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};

/// This thread, and what it starts, acts as the owner of a folder until this is dropped.
///
/// It is for files to get their owner, and no prison: the process is root's all the time.
#[derive(Debug)]
pub(crate) struct AsOwner {
    user: Uid,
    group: Gid,
    groups: Vec<Gid>,
}

impl AsOwner {
    /// Takes the place of the owner of `folder`. `None` for anybody but root, who cannot; and where there is no folder
    /// yet, or it is root's own.
    ///
    /// # Errors
    ///
    /// When the operating system refuses, as in a container without `CAP_SETUID`.
    pub(crate) fn of(folder: &Path) -> io::Result<Option<Self>> {
        let Ok(metadata) = std::fs::metadata(folder) else {
            return Ok(None);
        };
        if !geteuid().is_root() || metadata.uid() == Uid::ROOT.as_raw() {
            return Ok(None);
        }
        let before = Self {
            user: geteuid(),
            group: getegid(),
            groups: getgroups()?,
        };
        // Groups first: whoever is no longer root may not change them. Dropped when a later step fails.
        set_thread_groups(&[])?;
        set_thread_res_gid(None, Gid::from_raw(metadata.gid()), None)?;
        set_thread_res_uid(None, Uid::from_raw(metadata.uid()), None)?;
        Ok(Some(before))
    }
}

impl Drop for AsOwner {
    fn drop(&mut self) {
        // The saved user is root all the time, so that none of it is refused.
        let _ = set_thread_res_uid(None, self.user, None);
        let _ = set_thread_res_gid(None, self.group, None);
        let _ = set_thread_groups(&self.groups);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roots_files_belong_to_the_folders_owner_and_root_is_root_again() {
        if !geteuid().is_root() {
            // Nobody else can take anybody's place.
            let folder = tempfile::tempdir().unwrap();
            assert!(AsOwner::of(folder.path()).unwrap().is_none());
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        assert!(AsOwner::of(folder.path()).unwrap().is_none());
        assert!(AsOwner::of(&folder.path().join("none")).unwrap().is_none());
        let state = folder.path().join("state");
        std::fs::create_dir(&state).unwrap();
        std::os::unix::fs::chown(&state, Some(4711), Some(4712)).unwrap();
        std::os::unix::fs::chown(folder.path(), Some(4711), None).unwrap();
        let secret = folder.path().join("secret");
        std::fs::write(&secret, "root's").unwrap();
        std::fs::set_permissions(&secret, std::os::unix::fs::PermissionsExt::from_mode(0o600))
            .unwrap();
        {
            let _owner = AsOwner::of(&state).unwrap().unwrap();
            assert_eq!((geteuid().as_raw(), getegid().as_raw()), (4711, 4712));
            assert!(getgroups().unwrap().is_empty());
            std::fs::write(state.join("agent.key"), "x").unwrap();
            // A link that the user has made leads root nowhere that this user cannot go.
            std::os::unix::fs::symlink(&secret, state.join("identity.json")).unwrap();
            let error = std::fs::read(state.join("identity.json")).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
        }
        assert!(geteuid().is_root());
        let made = std::fs::metadata(state.join("agent.key")).unwrap();
        assert_eq!((made.uid(), made.gid()), (4711, 4712));
    }
}
