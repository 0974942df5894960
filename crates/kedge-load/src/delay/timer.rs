//! A timer that is exact to some microseconds: tokio's counts whole milliseconds, four of which in a round trip would be
//! more than what is measured.

use std::io;
use std::time::{Duration, Instant};

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};
use tokio::io::AsyncReadExt as _;
use tokio::net::unix::pipe::Receiver;

/// The kernel's timer. To its reader it is like a pipe into which the kernel writes eight bytes when time is up.
#[derive(Debug)]
pub(super) struct Timer(Receiver);

impl Timer {
    pub(super) fn new() -> io::Result<Self> {
        let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        // Unchecked: it is no pipe, and does all that is asked of one here.
        Receiver::from_owned_fd_unchecked(timer).map(Self)
    }

    /// Waits until `due`; not at all when that is past.
    pub(super) async fn until(&mut self, due: Instant) -> io::Result<()> {
        let left = due.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(());
        }
        let once = Itimerspec {
            it_interval: timespec(Duration::ZERO)?,
            it_value: timespec(left)?,
        };
        timerfd_settime(&self.0, TimerfdTimerFlags::empty(), &once)?;
        self.0.read_u64().await.map(drop)
    }
}

fn timespec(time: Duration) -> io::Result<Timespec> {
    Ok(Timespec {
        tv_sec: time.as_secs().try_into().map_err(io::Error::other)?,
        tv_nsec: time.subsec_nanos().into(),
    })
}
