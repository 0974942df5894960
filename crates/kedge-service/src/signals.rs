//! Signals as values: stop, stop now (the second time), reload.

use std::io;

use tokio::signal::unix::{self, SignalKind};

/// What an operator or the service manager wants.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Signal {
    /// SIGINT: somebody pressed Ctrl-C.
    Interrupt,
    /// SIGHUP: read the configuration again.
    Reload,
    /// SIGTERM: stop.
    Terminate,
}

/// The signals a daemon listens to.
#[derive(Debug)]
pub struct Signals {
    interrupt: unix::Signal,
    reload: unix::Signal,
    terminate: unix::Signal,
}

impl Signals {
    /// Takes SIGINT, SIGHUP and SIGTERM from their defaults, from now on and for good.
    ///
    /// # Errors
    ///
    /// When the operating system refuses a handler.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            interrupt: unix::signal(SignalKind::interrupt())?,
            reload: unix::signal(SignalKind::hangup())?,
            terminate: unix::signal(SignalKind::terminate())?,
        })
    }

    /// The next signal.
    ///
    /// # Cancel safety
    ///
    /// Safe: a signal that arrives is not lost by dropping this.
    pub async fn next(&mut self) -> Signal {
        tokio::select! {
            biased;
            _ = self.terminate.recv() => Signal::Terminate,
            _ = self.interrupt.recv() => Signal::Interrupt,
            _ = self.reload.recv() => Signal::Reload,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_signal_becomes_a_value() {
        let mut signals = Signals::new().unwrap();
        let this = rustix::process::getpid();
        for (sent, expected) in [
            (rustix::process::Signal::HUP, Signal::Reload),
            (rustix::process::Signal::TERM, Signal::Terminate),
            (rustix::process::Signal::INT, Signal::Interrupt),
        ] {
            rustix::process::kill_process(this, sent).unwrap();
            assert_eq!(signals.next().await, expected);
        }
    }
}
