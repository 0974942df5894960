//! What a run that was killed (`kill -9`) left: it could not end its programs and remove its folder itself. The next run
//! recognises both by a name that tells whose they were.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use kedge_testkit::process::{descendants, kill_each};
use rustix::process::geteuid;

use crate::owner::Owner;

/// What the names of all that belongs to benchmarks begin with.
pub(super) const PREFIX: &str = "kedge-bench";

/// What benchmarks start. A person who looks at what a run left uses other programs, which are let alone.
const PROGRAMS: &[&str] = &[
    "chisel",
    "frpc",
    "frps",
    "kedge",
    "kedge-agent",
    "kedge-hub",
    "kedge-load",
    "rathole",
    "scp",
    "ssh",
    "sshd",
    "wstunnel",
];

/// Removes the scratch folders of runs that were killed, and ends what still runs for them.
pub(crate) fn remove(temporary: &Path) {
    for entry in fs::read_dir(temporary).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let owner = name.to_str().and_then(|name| Owner::of(PREFIX, name));
        // The folder for temporary files is everybody's.
        let is_mine = entry
            .metadata()
            .is_ok_and(|found| found.is_dir() && found.uid() == geteuid().as_raw());
        if is_mine && owner.is_some_and(Owner::is_gone) {
            let path = entry.path();
            for pid in users(&path) {
                let family = descendants(pid);
                kill_each(&[pid]);
                kill_each(&family);
            }
            // What cannot be removed is the next run's to try again.
            let _ = fs::remove_dir_all(path);
        }
    }
}

/// The programs of a benchmark that work in a folder, or with a file in it.
fn users(folder: &Path) -> Vec<u32> {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let uses = |process: &Path| {
        let read = |name| fs::read(process.join(name)).unwrap_or_default();
        let program = read("comm");
        let program = program.trim_ascii_end();
        let is_ours = PROGRAMS.iter().any(|name| name.as_bytes() == program);
        let works_there = || {
            let there = fs::read_link(process.join("cwd"));
            there.is_ok_and(|there| there.starts_with(folder))
        };
        let names_it = || {
            let folder = folder.as_os_str().as_encoded_bytes();
            read("cmdline")
                .windows(folder.len())
                .any(|part| part == folder)
        };
        is_ours && (works_there() || names_it())
    };
    processes
        .filter(|process| uses(&process.path()))
        .filter_map(|process| process.file_name().to_str()?.parse().ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command};

    use kedge_testkit::machine::find_program;

    use super::*;

    /// Ends with the value.
    struct Running(Child);

    impl Running {
        fn has_ended(&mut self) -> bool {
            self.0.try_wait().unwrap().is_some()
        }
    }

    impl Drop for Running {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    #[test]
    fn folders_and_programs_of_the_dead_are_removed_and_no_others() {
        let temporary = tempfile::tempdir().unwrap();
        let folder = |name: &str| {
            let path = temporary.path().join(name);
            fs::create_dir_all(path.join("within")).unwrap();
            path
        };
        let left = folder(&Owner::gone().new_name(PREFIX));
        let mine = folder(&Owner::me().new_name(PREFIX));
        let others = folder("kedge-benchmark");
        // Something of that name that stays for a while.
        let program = temporary.path().join("kedge-load");
        fs::copy(find_program("sleep").unwrap(), &program).unwrap();
        let in_folder = |path: &Path| {
            let mut command = Command::new(&program);
            command.arg("1000").current_dir(path.join("within"));
            Running(command.spawn().unwrap())
        };
        let [mut of_the_dead, mut of_mine, mut of_others] =
            [&left, &mine, &others].map(|path| in_folder(path));
        remove(temporary.path());
        assert!(!left.exists() && mine.exists() && others.exists());
        of_the_dead.0.wait().unwrap();
        assert!(!of_mine.has_ended() && !of_others.has_ended());
    }

    #[test]
    fn a_person_who_looks_at_what_is_left_is_let_alone() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("log");
        fs::write(&file, "").unwrap();
        let mut command = Command::new("tail");
        command.arg("-f").arg(&file).current_dir(folder.path());
        let looking = Running(command.spawn().unwrap());
        assert!(!users(folder.path()).contains(&looking.0.id()));
    }
}
