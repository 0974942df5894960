//! Streams between two links: what an end keeps, for how long, and who may have it back.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::codes::RefuseCode;
use crate::frame::ResumeFrame;
use crate::ids::{StreamKey, Target};
use crate::recv::RecvHalf;
use crate::send::SendHalf;
use crate::stream::Identity;

/// A stream that has lost its link: everything written and not acknowledged, everything received and not read, and the
/// offsets to go on from.
#[derive(Debug)]
pub struct Detached {
    pub(crate) identity: Identity,
    pub(crate) send: SendHalf,
    pub(crate) recv: RecvHalf,
    pub(crate) left: bool,
}

impl Detached {
    /// Its name across links.
    #[must_use]
    pub fn key(&self) -> StreamKey {
        self.identity.key
    }

    /// What it asked for.
    #[must_use]
    pub fn target(&self) -> &Target {
        &self.identity.target
    }

    /// Bytes it holds.
    #[must_use]
    pub fn held(&self) -> u64 {
        self.send.held() + self.recv.held()
    }
}

/// What the accepting end keeps between links. Bounded: a stream that finds no place is given back and ends.
#[derive(Debug)]
pub struct Registry {
    streams: BTreeMap<StreamKey, Kept>,
    keep_for: Duration,
    max_streams: usize,
    max_bytes: u64,
    bytes: u64,
}

#[derive(Debug)]
struct Kept {
    stream: Detached,
    until: Instant,
}

impl Registry {
    /// Keeps at most `max_streams` with at most `max_bytes` together, each for `keep_for`.
    #[must_use]
    pub fn new(keep_for: Duration, max_streams: usize, max_bytes: u64) -> Self {
        Self {
            streams: BTreeMap::new(),
            keep_for,
            max_streams,
            max_bytes,
            bytes: 0,
        }
    }

    /// Keeps a stream. A stream that is already kept under the same key is given back in its place: keys are random, so
    /// somebody has reused one.
    ///
    /// # Errors
    /// When there is no place for it.
    pub fn keep(
        &mut self,
        stream: Detached,
        now: Instant,
    ) -> Result<Option<Detached>, Box<Detached>> {
        let held = stream.held();
        let full = self.streams.len() >= self.max_streams
            || held > self.max_bytes.saturating_sub(self.bytes);
        if full {
            return Err(Box::new(stream));
        }
        self.bytes += held;
        let kept = Kept {
            until: now + self.keep_for,
            stream,
        };
        let replaced = self
            .streams
            .insert(kept.stream.key(), kept)
            .map(|kept| kept.stream);
        self.bytes -= replaced.as_ref().map_or(0, Detached::held);
        Ok(replaced)
    }

    /// Hands a stream out to whoever shows its secret. A wrong proof changes nothing, and looks the same as an unknown
    /// key.
    ///
    /// # Errors
    /// [`RefuseCode::ResumeRejected`], whatever is wrong.
    pub fn claim(&mut self, request: &ResumeFrame, now: Instant) -> Result<Detached, RefuseCode> {
        let kept = self
            .streams
            .get(&request.key)
            .filter(|kept| now < kept.until);
        let proven = kept.is_some_and(|kept| {
            let identity = &kept.stream.identity;
            identity.admits(&request.proof) && identity.target == request.target
        });
        let claimed = proven.then(|| self.streams.remove(&request.key)).flatten();
        let kept = claimed.ok_or(RefuseCode::ResumeRejected)?;
        self.bytes -= kept.stream.held();
        Ok(kept.stream)
    }

    /// Gives up what was kept for too long.
    pub fn expire(&mut self, now: Instant) -> Vec<Detached> {
        let late: Vec<_> = self
            .streams
            .iter()
            .filter(|(_, kept)| now >= kept.until)
            .map(|(key, _)| *key)
            .collect();
        let expired: Vec<_> = late
            .iter()
            .filter_map(|key| self.streams.remove(key))
            .map(|kept| kept.stream)
            .collect();
        self.bytes -= expired.iter().map(Detached::held).sum::<u64>();
        expired
    }

    /// When [`expire`](Self::expire) wants to be called.
    #[must_use]
    pub fn timeout(&self) -> Option<Instant> {
        self.streams.values().map(|kept| kept.until).min()
    }

    /// How many streams are kept.
    #[must_use]
    pub fn len(&self) -> usize {
        self.streams.len()
    }

    /// Whether none is kept.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.streams.is_empty()
    }

    /// Bytes that are kept.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}
