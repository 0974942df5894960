//! Messages to the service manager (`sd_notify(3)`): ready, what it is doing, alive, stopping.
//!
//! Without `NOTIFY_SOCKET` every message is dropped, so a daemon says what it does and never asks
//! whether somebody listens.

use std::future::Future;
use std::io;
use std::time::Duration;

use sd_notify::NotifyState;

/// The way to the service manager.
#[derive(Clone, Debug)]
pub struct Notifier {
    watchdog: Option<Duration>,
}

impl Notifier {
    /// Takes the service manager's wishes from the environment it gave this process.
    #[must_use]
    pub fn from_environment() -> Self {
        Self {
            watchdog: sd_notify::watchdog_enabled(),
        }
    }

    /// The daemon can do its work: `READY=1` with a first `STATUS=`.
    pub fn ready(&self, status: &str) {
        send(&[NotifyState::Ready, NotifyState::Status(&one_line(status))]);
    }

    /// What the daemon is doing, in plain words: `systemctl status` shows it.
    pub fn status(&self, status: &str) {
        send(&[NotifyState::Status(&one_line(status))]);
    }

    /// A reload starts: `RELOADING=1` with the time it began. [`Self::ready`] ends it, also when
    /// the reload failed and the old configuration stays.
    pub fn reloading(&self) {
        match NotifyState::monotonic_usec_now() {
            Ok(now) => send(&[NotifyState::Reloading, now]),
            Err(error) => tracing::warn!(%error, "cannot read the monotonic clock"),
        }
    }

    /// The daemon is stopping: `STOPPING=1`.
    pub fn stopping(&self, status: &str) {
        send(&[
            NotifyState::Stopping,
            NotifyState::Status(&one_line(status)),
        ]);
    }

    /// How often [`Self::alive`] must be called, half of `WatchdogSec=`; `None` without a watchdog.
    #[must_use]
    pub fn watchdog_period(&self) -> Option<Duration> {
        self.watchdog.map(|limit| limit / 2)
    }

    /// Tells the watchdog that the event loop turns: `WATCHDOG=1`.
    pub fn alive(&self) {
        send(&[NotifyState::Watchdog]);
    }

    /// Feeds the watchdog until `stop` resolves. Run it on the runtime whose progress it vouches
    /// for: when that is stuck, so is this, and the service manager acts.
    ///
    /// # Cancel safety
    ///
    /// Safe: dropping it stops the feeding.
    pub async fn feed_watchdog(&self, stop: impl Future<Output = ()>) {
        self.feed_watchdog_after(async || (), stop).await;
    }

    /// The same, each time after `turn`, of a daemon that has more than this runtime to vouch for.
    ///
    /// # Cancel safety
    ///
    /// Safe: dropping it stops the feeding.
    pub async fn feed_watchdog_after(&self, turn: impl AsyncFn(), stop: impl Future<Output = ()>) {
        let Some(period) = self.watchdog_period() else {
            return stop.await;
        };
        let mut stop = std::pin::pin!(stop);
        let mut ticks = tokio::time::interval(period);
        loop {
            tokio::select! {
                () = &mut stop => return,
                () = async { ticks.tick().await; turn().await } => self.alive(),
            }
        }
    }
}

fn send(state: &[NotifyState<'_>]) {
    match sd_notify::notify(state) {
        Ok(()) => {}
        // Nobody asked for messages.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => tracing::debug!(%error, "cannot notify the service manager"),
    }
}

/// A newline would begin another assignment in the datagram.
fn one_line(status: &str) -> String {
    status
        .chars()
        .map(|character| {
            if character.is_control() {
                ' '
            } else {
                character
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixDatagram;
    use std::process::Command;

    /// Sends the messages, in a process of its own because the environment says where to.
    #[test]
    #[ignore = "started by messages_reach_the_service_manager"]
    fn sender() {
        let notifier = Notifier::from_environment();
        assert_eq!(notifier.watchdog_period(), Some(Duration::from_secs(1)));
        notifier.ready("waiting for\nSTOPPING=1");
        notifier.alive();
        notifier.reloading();
        notifier.stopping("draining 2 sessions");
    }

    #[test]
    fn messages_reach_the_service_manager() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        let status = Command::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", "notify::tests::sender"])
            .env("NOTIFY_SOCKET", &path)
            .env("WATCHDOG_USEC", "2000000")
            .env_remove("WATCHDOG_PID")
            .output()
            .unwrap();
        assert!(
            status.status.success(),
            "{}",
            String::from_utf8_lossy(&status.stdout)
        );
        let receive = || {
            let mut buffer = [0; 512];
            let length = socket.recv(&mut buffer).unwrap();
            String::from_utf8_lossy(&buffer[..length])
                .trim_end()
                .to_owned()
        };
        socket
            .set_read_timeout(Some(Duration::from_secs(10)))
            .unwrap();
        assert_eq!(receive(), "READY=1\nSTATUS=waiting for STOPPING=1");
        assert_eq!(receive(), "WATCHDOG=1");
        assert!(receive().starts_with("RELOADING=1\nMONOTONIC_USEC="));
        assert_eq!(receive(), "STOPPING=1\nSTATUS=draining 2 sessions");
    }

    #[test]
    fn without_a_service_manager_nothing_happens() {
        let notifier = Notifier { watchdog: None };
        notifier.ready("ready");
        assert_eq!(notifier.watchdog_period(), None);
    }
}
