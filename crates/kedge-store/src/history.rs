//! What happened, beside the objects: an append-only history that is read in pages and pruned from its old end.
//!
//! - [`Store::append`] adds a batch, all of it or nothing; it is on disk when the answer comes.
//! - [`Store::history`] reads a page in the order of time, and within a second in the order of appending.
//! - [`Store::history_about`] reads the newest lines about one name.
//! - [`Store::prune_some`] removes a small batch of the oldest; `prune` repeats it.
//!
//! The store does not look into a line: what is in it is the caller's, as JSON text.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use kedge_api::Time;

use crate::error::StoreError;
use crate::raw::Store;

/// One line of the history, to be appended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryLine {
    /// When it happened.
    pub at: Time,
    /// Whom or what it is about, for [`Store::history_about`]; may be empty.
    pub about: String,
    /// The rest: JSON, by agreement between those who write and those who read.
    pub body: String,
}

/// A line that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredLine {
    /// Where it is.
    pub cursor: HistoryCursor,
    /// What was appended.
    pub line: HistoryLine,
}

/// A place in the history: after this line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HistoryCursor {
    pub(crate) at: Time,
    pub(crate) id: i64,
}

/// What to read of the history.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HistoryQuery {
    /// Only what happened then or later; absent, everything.
    pub since: Option<Time>,
    /// Only what comes after this line.
    pub after: Option<HistoryCursor>,
    /// Lines at most; the store may give fewer, see [`HistoryPage::next`].
    pub limit: usize,
}

/// A part of the history.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HistoryPage {
    /// The lines in their order.
    pub lines: Vec<StoredLine>,
    /// Where the next page begins; `None` when there was nothing more.
    pub next: Option<HistoryCursor>,
}

/// What a step of pruning did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Lines removed.
    pub removed: u64,
    /// What is left to be removed.
    pub left: Left,
}

/// Whether a step of pruning left something for the next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Left {
    /// There may be more.
    More,
    /// Everything that may stay stays.
    #[default]
    Nothing,
}

impl dyn Store {
    /// Removes what is older than `before`, and the oldest beyond `keep_at_most`, in small steps between which others
    /// write. Answers how many lines are gone.
    ///
    /// # Errors
    /// [`StoreError`]; what was removed before stays removed.
    ///
    /// # Cancel safety
    /// When dropped, a part may be removed; the next call goes on.
    pub async fn prune(&self, before: Time, keep_at_most: u64) -> Result<u64, StoreError> {
        let mut removed = 0_u64;
        loop {
            let step = self.prune_some(before, keep_at_most).await?;
            removed = removed.saturating_add(step.removed);
            if step.left == Left::Nothing {
                return Ok(removed);
            }
        }
    }
}

impl fmt::Display for HistoryCursor {
    /// `1769860800-42`: fit for a query parameter.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.at.as_second(), self.id)
    }
}

/// A text is no place in a history.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a place in the history; use `continue` as the last answer gave it")]
pub struct CursorError;

impl FromStr for HistoryCursor {
    type Err = CursorError;

    fn from_str(text: &str) -> Result<Self, CursorError> {
        let digits =
            |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        let (at, id) = text.split_once('-').ok_or(CursorError)?;
        if !digits(at) || !digits(id) {
            return Err(CursorError);
        }
        let seconds = at.parse().map_err(|_| CursorError)?;
        Ok(Self {
            at: Time::from(Timestamp::from_second(seconds).map_err(|_| CursorError)?),
            id: id.parse().map_err(|_| CursorError)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_read_as_it_was_written_and_nothing_else_is() {
        let cursor = HistoryCursor {
            at: "2026-01-31T12:00:00Z".parse().unwrap(),
            id: 42,
        };
        assert_eq!(cursor.to_string(), "1769860800-42");
        assert_eq!("1769860800-42".parse(), Ok(cursor));
        for text in [
            "",
            "-",
            "1",
            "1-",
            "-1",
            "1-+1",
            "+1-1",
            "a-1",
            "1-1-1",
            "1 -1",
            "99999999999999999-1",
            "1-99999999999999999999",
        ] {
            assert_eq!(text.parse::<HistoryCursor>(), Err(CursorError), "{text:?}");
        }
    }
}
