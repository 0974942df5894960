//! Whose turn it is: deficit round robin in which new and sparse streams go before bulk, as fq_codel (RFC 8290 §4.2)
//! does with flows. A keystroke never waits behind a download's queue, only behind the frame that is being written.

use std::collections::VecDeque;

use crate::defaults::QUANTUM;
use crate::ids::StreamId;

/// Where a stream waits.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Turn {
    lane: Lane,
    deficit: i64,
}

#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum Lane {
    #[default]
    Idle,
    New,
    Old,
}

/// The streams that have something to send.
#[derive(Debug, Default)]
pub(crate) struct Schedule {
    new: VecDeque<StreamId>,
    old: VecDeque<StreamId>,
}

/// What became of a stream that was asked to send.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Sent {
    /// It has nothing more to send.
    Dry,
    /// It has more.
    More,
}

impl Schedule {
    /// A stream has something to send. Does nothing when it waits already.
    pub(crate) fn add(&mut self, id: StreamId, turn: &mut Turn) {
        if turn.lane == Lane::Idle {
            *turn = Turn {
                lane: Lane::New,
                deficit: QUANTUM as i64,
            };
            self.new.push_back(id);
        }
    }

    /// The stream at the head of the line.
    pub(crate) fn head(&self) -> Option<StreamId> {
        self.new.front().or_else(|| self.old.front()).copied()
    }

    /// Whether the head may send; when not, its deficit is filled up and it goes to the end of the line.
    pub(crate) fn admits(&mut self, turn: &mut Turn) -> bool {
        if turn.deficit > 0 {
            return true;
        }
        turn.deficit += QUANTUM as i64;
        self.demote(turn);
        false
    }

    /// The head has sent `bytes`.
    pub(crate) fn sent(&mut self, turn: &mut Turn, bytes: usize, then: Sent) {
        turn.deficit -= bytes as i64;
        match (then, turn.lane) {
            (Sent::More, _) => {}
            // A new stream that ran dry still waits one round among the old ones: otherwise sending a little at a time
            // would be a way to go first always.
            (Sent::Dry, Lane::New) => self.demote(turn),
            (Sent::Dry, _) => self.remove_head(turn),
        }
    }

    /// The stream is over; it waits no longer.
    pub(crate) fn remove(&mut self, id: StreamId, turn: &mut Turn) {
        match turn.lane {
            Lane::Idle => {}
            Lane::New => self.new.retain(|other| *other != id),
            Lane::Old => self.old.retain(|other| *other != id),
        }
        turn.lane = Lane::Idle;
    }

    fn demote(&mut self, turn: &mut Turn) {
        turn.lane = Lane::Old;
        if let Some(id) = self.pop_head() {
            self.old.push_back(id);
        }
    }

    fn remove_head(&mut self, turn: &mut Turn) {
        turn.lane = Lane::Idle;
        let _ = self.pop_head();
    }

    fn pop_head(&mut self) -> Option<StreamId> {
        self.new.pop_front().or_else(|| self.old.pop_front())
    }

    pub(crate) fn len(&self) -> usize {
        self.new.len() + self.old.len()
    }
}
