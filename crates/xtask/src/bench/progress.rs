//! Where a run is: one line on stderr, rewritten on a terminal, a line for each round elsewhere.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

/// What is shown.
#[derive(Debug)]
pub(crate) struct Progress {
    rewrites: Rewrites,
    start: Instant,
}

#[derive(Clone, Copy, Debug)]
enum Rewrites {
    No,
    Yes,
}

impl Progress {
    /// On stderr.
    pub(crate) fn new() -> Self {
        Self {
            rewrites: if std::io::stderr().is_terminal() {
                Rewrites::Yes
            } else {
                Rewrites::No
            },
            start: Instant::now(),
        }
    }

    /// What is done now.
    pub(crate) fn say(&self, text: &str) {
        let after = clock(self.start.elapsed());
        let mut stderr = std::io::stderr();
        // A terminal that went away is no reason to end a measurement.
        let _ = match self.rewrites {
            Rewrites::No => writeln!(stderr, "{after} {text}"),
            Rewrites::Yes => write!(stderr, "\r\x1b[K{after} {text}").and_then(|()| stderr.flush()),
        };
    }

    /// Something that stays on the screen.
    pub(crate) fn note(&self, text: &str) {
        self.clear();
        let _ = writeln!(std::io::stderr(), "{text}");
    }

    /// Takes the line away.
    pub(crate) fn clear(&self) {
        if matches!(self.rewrites, Rewrites::Yes) {
            let mut stderr = std::io::stderr();
            let _ = write!(stderr, "\r\x1b[K").and_then(|()| stderr.flush());
        }
    }
}

fn clock(elapsed: Duration) -> String {
    let seconds = elapsed.as_secs();
    format!("{:02}:{:02}", seconds / 60, seconds % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_shows_minutes() {
        assert_eq!(clock(Duration::from_secs(5)), "00:05");
        assert_eq!(clock(Duration::from_secs(754)), "12:34");
    }
}
