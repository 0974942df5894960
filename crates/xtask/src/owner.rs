//! Names of what outlives a process that is killed (`kill -9`): folders, namespaces, cgroups. Such a name tells whose it
//! was, so that the next run removes it, and no other run's.

use std::sync::atomic::{AtomicU32, Ordering};

use kedge_testkit::process::{is_alive, started_at};

/// The process that made something: its id alone may belong to somebody else by now.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Owner {
    pid: u32,
    started_at: u64,
}

impl Owner {
    /// This process.
    pub(crate) fn me() -> Self {
        let pid = std::process::id();
        Self {
            pid,
            started_at: started_at(pid).unwrap_or_default(),
        }
    }

    /// A name that this process has not given yet, and what it begins with.
    pub(crate) fn new_name(self, prefix: &str) -> String {
        static GIVEN: AtomicU32 = AtomicU32::new(0);
        self.name(prefix, GIVEN.fetch_add(1, Ordering::Relaxed))
    }

    fn name(self, prefix: &str, number: u32) -> String {
        format!("{prefix}-{}-{}-{number}", self.pid, self.started_at)
    }

    /// The owner that a name tells; none when it is no name of ours with this beginning.
    pub(crate) fn of(prefix: &str, name: &str) -> Option<Self> {
        let rest = name.strip_prefix(prefix)?.strip_prefix('-')?;
        let mut parts = rest.split('-');
        let pid = number(parts.next()?)?;
        let owner = Self {
            pid: u32::try_from(pid).ok()?,
            started_at: number(parts.next()?)?,
        };
        number(parts.next()?)?;
        parts.next().is_none().then_some(owner)
    }

    /// Whether that process has ended.
    pub(crate) fn is_gone(self) -> bool {
        !is_alive(self.pid) || started_at(self.pid) != Some(self.started_at)
    }

    #[cfg(test)]
    pub(crate) fn gone() -> Self {
        let mut gone = Self::me();
        gone.started_at += 1;
        gone
    }
}

/// Digits only: `+7` is no part of a name of ours.
fn number(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_tells_its_owner() {
        let owner = Owner {
            pid: 17,
            started_at: 4242,
        };
        assert_eq!(owner.name("kedge-bench", 3), "kedge-bench-17-4242-3");
        assert_eq!(
            Owner::of("kedge-bench", "kedge-bench-17-4242-3"),
            Some(owner)
        );
    }

    #[test]
    fn names_of_others_are_left_alone() {
        for name in [
            "",
            "kedge-bench",
            "kedge-bench-",
            "kedge-bench-17",
            "kedge-bench-17-4242",
            "kedge-bench-17-4242-",
            "kedge-bench-17-4242-3-4",
            "kedge-bench-x-4242-3",
            "kedge-bench-+7-4242-3",
            "kedge-bench-99999999999-1-1",
            "kedge-benchmark-17-4242-3",
            "my-kedge-bench-17-4242-3",
        ] {
            assert_eq!(Owner::of("kedge-bench", name), None, "{name}");
        }
    }

    #[test]
    fn only_the_dead_leave_something_behind() {
        let me = Owner::me();
        assert!(!me.is_gone());
        let before = Owner {
            started_at: me.started_at + 1,
            ..me
        };
        assert!(before.is_gone(), "the same id, another process");
    }
}
