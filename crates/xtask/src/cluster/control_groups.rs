//! The control groups of a run: everything of its pods is below one name at the top of each hierarchy (cgroups(7)). Both
//! versions are folders; of the second there is one hierarchy, of the first one for each controller.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Error, Result, ensure};
use kedge_testkit::process::kill_each;

use super::PREFIX;

/// Where the hierarchies are mounted.
fn hierarchies() -> Vec<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    parse(&mounts)
}

fn parse(mounts: &str) -> Vec<PathBuf> {
    // proc_pid_mountinfo(5): the mount point is field 5, and after the dash comes the type of the file system.
    let of = |line: &str| {
        let (before, after) = line.split_once(" - ")?;
        let kind = after.split(' ').next()?;
        let place = before.split(' ').nth(4)?;
        matches!(kind, "cgroup" | "cgroup2").then(|| PathBuf::from(place))
    };
    mounts.lines().filter_map(of).collect()
}

/// The groups of a name that are there.
pub(super) fn of(name: &str) -> Vec<PathBuf> {
    let places = hierarchies().into_iter().map(|top| top.join(name));
    places.filter(|group| group.exists()).collect()
}

/// The names of all runs' groups.
pub(super) fn names() -> Vec<String> {
    let mut names = Vec::new();
    for top in hierarchies() {
        for entry in fs::read_dir(top).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.starts_with(PREFIX) && !names.contains(&name) {
                names.push(name);
            }
        }
    }
    names
}

/// Why none can be made.
pub(super) fn refused(name: &str) -> Option<Error> {
    let made = make(name, "");
    remove(name);
    made.err()
}

/// Makes one in each hierarchy.
pub(super) fn make(name: &str, below: &str) -> Result<()> {
    let tops = hierarchies();
    ensure!(!tops.is_empty(), "none are mounted");
    for top in tops {
        let group = top.join(name).join(below);
        fs::create_dir_all(&group).with_context(|| format!("make {}", group.display()))?;
    }
    Ok(())
}

/// Ends what is in the groups of a name, and removes them.
pub(super) fn remove(name: &str) {
    for group in of(name) {
        // Whoever was killed may take a moment to leave.
        for _ in 0..ATTEMPTS {
            empty(&group);
            if !group.exists() {
                break;
            }
            std::thread::sleep(PAUSE);
        }
    }
}

/// The lowest first: a group with others below it cannot be removed.
fn empty(group: &Path) {
    for entry in fs::read_dir(group).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            empty(&entry.path());
        }
    }
    let processes = fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
    let processes: Vec<u32> = processes
        .lines()
        .filter_map(|pid| pid.parse().ok())
        .collect();
    // 0 is a process that is not seen from here.
    kill_each(&processes);
    let _ = fs::remove_dir(group);
}

/// Together ten seconds: the kernel ends processes at once, unless they wait for a disk.
const ATTEMPTS: u32 = 100;
const PAUSE: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hierarchies_of_both_versions_are_found() {
        let mounts = "23 1 254:0 / / rw,relatime - ext4 /dev/vda rw\n\
                      31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755\n\
                      35 31 0:32 / /sys/fs/cgroup/memory rw,relatime shared:9 - cgroup cgroup rw,memory\n\
                      41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n\
                      torn\n";
        assert_eq!(
            parse(mounts),
            [
                Path::new("/sys/fs/cgroup/memory"),
                Path::new("/sys/fs/cgroup/unified")
            ]
        );
        assert_eq!(parse(""), [""; 0].map(PathBuf::from));
    }
}
