//! Ctrl-C waits for an issuer's answer.
//!
//! An issuer that rotates refresh tokens takes the old one back when it sends the new one. A process that
//! is interrupted between the two loses the login, and people press Ctrl-C just when an issuer is slow.
//! So the signals that end a program are noted while an answer is awaited, and do their work right after.
//! Whoever handles them by other means says so once, and is left alone.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::{flag, low_level};

/// While it is there, signals wait.
#[derive(Debug)]
pub(super) struct Shield(());

/// From now on this process handles its signals elsewhere.
pub(crate) fn leave_signals_alone() {
    HANDLED_ELSEWHERE.store(true, Ordering::SeqCst);
    if let Some(signals) = SIGNALS.get() {
        signals.act.store(false, Ordering::SeqCst);
    }
}

impl Shield {
    pub(super) fn raise() -> Self {
        if !HANDLED_ELSEWHERE.load(Ordering::SeqCst) {
            let signals = SIGNALS.get_or_init(Signals::listen);
            signals.came.store(0, Ordering::SeqCst);
            signals.act.store(false, Ordering::SeqCst);
        }
        Self(())
    }
}

impl Drop for Shield {
    fn drop(&mut self) {
        if HANDLED_ELSEWHERE.load(Ordering::SeqCst) {
            return;
        }
        let Some(signals) = SIGNALS.get() else {
            return;
        };
        signals.act.store(true, Ordering::SeqCst);
        let came = i32::try_from(signals.came.swap(0, Ordering::SeqCst)).unwrap_or(0);
        if came != 0 {
            // Ends the process, as the signal would have.
            let _ = low_level::emulate_default_handler(came);
        }
    }
}

#[derive(Debug)]
struct Signals {
    /// Whether a signal does at once what it does by default.
    act: Arc<AtomicBool>,
    /// The last one that came; 0 is none.
    came: Arc<AtomicUsize>,
}

impl Signals {
    fn listen() -> Self {
        let signals = Self {
            act: Arc::new(AtomicBool::new(false)),
            came: Arc::new(AtomicUsize::new(0)),
        };
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let ignored = ignored(&status);
        for signal in [SIGHUP, SIGINT, SIGTERM] {
            // What nohup or a shell's `&` had ignored stays ignored.
            if ignored & (1 << (signal - 1)) == 0 {
                // Without them, a signal ends the process at a bad moment, as it always did.
                let _ = flag::register_conditional_default(signal, Arc::clone(&signals.act));
                let number = usize::try_from(signal).unwrap_or(0);
                let _ = flag::register_usize(signal, Arc::clone(&signals.came), number);
            }
        }
        signals
    }
}

/// The signals that a process ignores, as bits: `SigIgn` of proc_pid_status(5).
fn ignored(status: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    line.and_then(|bits| u64::from_str_radix(bits.trim(), 16).ok())
        .unwrap_or(0)
}

static HANDLED_ELSEWHERE: AtomicBool = AtomicBool::new(false);
static SIGNALS: OnceLock<Signals> = OnceLock::new();

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ignored_signals_are_read_from_the_system() {
        let status = "Name:\tkedge\nSigIgn:\t0000000000001001\nSigCgt:\t0\n";
        assert_eq!(ignored(status), 0x1001);
        assert_ne!(ignored(status) & (1 << (SIGHUP - 1)), 0);
        assert_eq!(ignored(status) & (1 << (SIGINT - 1)), 0);
        assert_eq!(ignored(""), 0);
        assert_eq!(ignored("SigIgn:\tx"), 0);
    }
}
