//! How large the next frame may be: large on a fast link, small on a slow one.

use std::time::{Duration, Instant};

use crate::defaults::{BACKLOGGED_DATA, MAX_DATA, SLOW_FRAME};

/// Watches how fast the socket drains. A frame is what a keystroke waits for, so while the socket is backlogged and a
/// full frame would take longer than [`SLOW_FRAME`] to leave, frames shrink.
#[derive(Debug, Default)]
pub struct Pace {
    /// Since when the socket takes nothing, and the bytes written since it last began to.
    blocked: Option<Instant>,
    /// The last time it began to take bytes again after it had not.
    released: Option<Instant>,
    bytes: usize,
    frame_time: Option<Duration>,
}

impl Pace {
    /// Bytes were handed to the socket.
    pub fn wrote(&mut self, bytes: usize) {
        self.bytes = self.bytes.saturating_add(bytes);
    }

    /// The socket takes no more.
    pub fn blocked(&mut self, now: Instant) {
        self.blocked.get_or_insert(now);
    }

    /// The socket takes bytes again.
    pub fn released(&mut self, now: Instant) {
        let Some(_) = self.blocked.take() else { return };
        if let Some(before) = self.released.replace(now) {
            let elapsed = now.saturating_duration_since(before);
            if self.bytes > 0 {
                let per_frame = elapsed.mul_f64(MAX_DATA as f64 / self.bytes as f64);
                let smoothed = self
                    .frame_time
                    .map_or(per_frame, |known| (known * 3 + per_frame) / 4);
                self.frame_time = Some(smoothed);
            }
        }
        self.bytes = 0;
    }

    /// Everything there was to send was taken: there is no backlog.
    pub fn drained(&mut self) {
        *self = Self::default();
    }

    /// Bytes of stream data the next frame may carry.
    #[must_use]
    pub fn frame(&self) -> usize {
        if self.frame_time.is_some_and(|time| time > SLOW_FRAME) {
            BACKLOGGED_DATA
        } else {
            MAX_DATA
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drive(pace: &mut Pace, rate: f64, rounds: u32) {
        let mut now = Instant::now();
        for _ in 0..rounds {
            let bytes = pace.frame();
            pace.wrote(bytes);
            pace.blocked(now);
            now += Duration::from_secs_f64(bytes as f64 / rate);
            pace.released(now);
        }
    }

    #[test]
    fn frames_shrink_on_a_slow_link_and_grow_back() {
        let mut pace = Pace::default();
        assert_eq!(pace.frame(), MAX_DATA);
        drive(&mut pace, 25e6, 10);
        assert_eq!(pace.frame(), BACKLOGGED_DATA, "200 Mbit/s");
        drive(&mut pace, 250e6, 20);
        assert_eq!(pace.frame(), MAX_DATA, "2 Gbit/s");
        drive(&mut pace, 6e6, 10);
        assert_eq!(pace.frame(), BACKLOGGED_DATA, "50 Mbit/s");
        pace.drained();
        assert_eq!(pace.frame(), MAX_DATA);
    }
}
