//! Opening files below a folder, so that no link leads out of it.
//!
//! Every component is opened by its name in the folder before it, never followed by the kernel. A link is read, and
//! what it says is walked in the same way: one that is absolute, or goes up from the root, leads outside and is refused.
//! `..` goes to the folder that was walked through, whatever is renamed meanwhile.

use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{self, CWD, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use crate::defaults::{SECRET_FOLDERS_MAX, SECRET_LINKS_MAX};

/// What is in the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Obstacle {
    /// A link leads to nothing.
    #[error("a link leads to nothing")]
    Dangling,
    /// The operating system does not let us.
    #[error("permission denied")]
    Denied,
    /// A component is no folder, or has one too many below it.
    #[error("something other than a folder is in the way")]
    NotAFolder,
    /// There is something, but no file with bytes of its own.
    #[error("not a regular file")]
    NotAFile,
    /// Nothing of that name.
    #[error("not there")]
    Missing,
    /// A link leads out of the root.
    #[error("a link leads out of the folder of secrets")]
    Outside,
    /// More links, or deeper folders, than anybody makes.
    #[error("too many links or folders on the way")]
    TooFar,
    /// Something else.
    #[error("{0}")]
    Other(Errno),
}

/// A regular file that is open for reading, and what was known of it when it was opened.
#[derive(Debug)]
pub(super) struct OpenFile {
    pub(super) descriptor: OwnedFd,
    pub(super) stat: Stat,
}

/// Where a walk stands: the folders from the root to here.
#[derive(Debug)]
pub(super) struct Walk {
    root: OwnedFd,
    below: Vec<OwnedFd>,
    links: usize,
}

enum Arrival {
    File(OpenFile),
    Folder,
}

impl Walk {
    /// At the root. The root itself may be reached over links: it is the operator's word.
    pub(super) fn begin(root: &Path) -> Result<Self, Obstacle> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self {
            root: fs::openat(CWD, root, flags, Mode::empty())?,
            below: Vec::new(),
            links: 0,
        })
    }

    /// The same place, to walk from there a second time.
    pub(super) fn fork(&self) -> Result<Self, Obstacle> {
        let again = |folder: &OwnedFd| rustix::io::fcntl_dupfd_cloexec(folder, 0);
        Ok(Self {
            root: again(&self.root)?,
            below: self.below.iter().map(again).collect::<Result<_, _>>()?,
            links: self.links,
        })
    }

    /// Goes into a folder.
    pub(super) fn enter(&mut self, name: &str) -> Result<(), Obstacle> {
        match self.walk(name)? {
            Arrival::File(_) => Err(Obstacle::NotAFolder),
            Arrival::Folder => Ok(()),
        }
    }

    /// Opens a regular file.
    pub(super) fn open(mut self, name: &str) -> Result<OpenFile, Obstacle> {
        match self.walk(name)? {
            Arrival::File(file) => Ok(file),
            Arrival::Folder => Err(Obstacle::NotAFile),
        }
    }

    fn walk(&mut self, name: &str) -> Result<Arrival, Obstacle> {
        let links_before = self.links;
        // What is still to be walked, the next component last.
        let mut ahead = vec![name.as_bytes().to_vec()];
        while let Some(step) = ahead.pop() {
            if step == b".." {
                self.below.pop().ok_or(Obstacle::Outside)?;
                continue;
            }
            let here = self.below.last().unwrap_or(&self.root);
            let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let found = match fs::openat(here, step.as_slice(), flags, Mode::empty()) {
                Err(Errno::NOENT) if self.links > links_before => return Err(Obstacle::Dangling),
                found => found?,
            };
            match FileType::from_raw_mode(fs::fstat(&found)?.st_mode) {
                FileType::Directory if self.below.len() == SECRET_FOLDERS_MAX => {
                    return Err(Obstacle::TooFar);
                }
                FileType::Directory => self.below.push(found),
                FileType::Symlink if self.links == SECRET_LINKS_MAX => {
                    return Err(Obstacle::TooFar);
                }
                FileType::Symlink => {
                    self.links += 1;
                    let target = fs::readlinkat(&found, "", Vec::new())?;
                    let target = target.to_bytes();
                    if target.starts_with(b"/") {
                        return Err(Obstacle::Outside);
                    }
                    let steps = target.split(|byte| *byte == b'/').rev();
                    let steps = steps.filter(|step| !step.is_empty() && *step != b".");
                    ahead.extend(steps.map(<[u8]>::to_vec));
                }
                _ if !ahead.is_empty() => return Err(Obstacle::NotAFolder),
                FileType::RegularFile => {
                    return open_for_reading(here, &step).map(Arrival::File);
                }
                _ => return Err(Obstacle::NotAFile),
            }
        }
        Ok(Arrival::Folder)
    }
}

/// Opens what was a regular file a moment ago, and waits for nothing if it is none any more.
fn open_for_reading(folder: &OwnedFd, name: &[u8]) -> Result<OpenFile, Obstacle> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
    let descriptor = fs::openat(folder, name, flags | OFlags::CLOEXEC, Mode::empty())?;
    let stat = fs::fstat(&descriptor)?;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => Ok(OpenFile { descriptor, stat }),
        _ => Err(Obstacle::NotAFile),
    }
}

impl From<Errno> for Obstacle {
    fn from(errno: Errno) -> Self {
        match errno {
            Errno::ACCESS | Errno::PERM => Self::Denied,
            // Only after a change between two looks at it.
            Errno::LOOP => Self::TooFar,
            Errno::NOENT => Self::Missing,
            Errno::NOTDIR => Self::NotAFolder,
            other => Self::Other(other),
        }
    }
}
