//! The history's table.

use std::path::PathBuf;

use jiff::Timestamp;
use kedge_api::Time;
use rusqlite::{Connection, Row};

use crate::defaults::{APPEND_MAX, LINE_BYTES, PAGE_BYTES, PAGE_LINES, PRUNE_LINES};
use crate::error::StoreError;
use crate::history::{
    HistoryCursor, HistoryLine, HistoryPage, HistoryQuery, Left, Pruned, StoredLine,
};

/// What the writer knows of the table, so that it need not count it again.
pub(super) struct History {
    lines: i64,
    last: i64,
}

impl History {
    /// Counts what is there, by the index of times, which is small.
    pub(super) fn load(connection: &Connection) -> rusqlite::Result<Self> {
        let lines = connection.query_row(
            "SELECT count(*) FROM history INDEXED BY history_at",
            [],
            |row| row.get(0),
        )?;
        let last = connection.query_row("SELECT coalesce(max(id), 0) FROM history", [], |row| {
            row.get(0)
        })?;
        Ok(Self { lines, last })
    }

    /// Adds all lines or none.
    pub(super) fn append(
        &mut self,
        connection: &mut Connection,
        lines: &[HistoryLine],
    ) -> rusqlite::Result<()> {
        let transaction = connection.transaction()?;
        let mut last = self.last;
        for line in lines {
            last = last.saturating_add(1);
            transaction
                .prepare_cached(
                    "INSERT INTO history (id, at, about, body) VALUES (?1, ?2, ?3, ?4)",
                )?
                .execute((last, line.at.as_second(), &line.about, &line.body))?;
        }
        transaction.commit()?;
        self.last = last;
        self.lines = self
            .lines
            .saturating_add(i64::try_from(lines.len()).unwrap_or(i64::MAX));
        Ok(())
    }

    /// Removes some of the oldest.
    pub(super) fn prune(
        &mut self,
        connection: &mut Connection,
        before: Time,
        keep_at_most: u64,
    ) -> rusqlite::Result<Pruned> {
        let keep = i64::try_from(keep_at_most).unwrap_or(i64::MAX);
        let surplus = self.lines.saturating_sub(keep).clamp(0, PRUNE_LINES);
        let transaction = connection.transaction()?;
        let removed = if surplus > 0 {
            transaction
                .prepare_cached(
                    "DELETE FROM history WHERE id IN (SELECT id FROM history ORDER BY at, id LIMIT ?1)",
                )?
                .execute([surplus])?
        } else {
            transaction
                .prepare_cached(
                    "DELETE FROM history WHERE id IN
                         (SELECT id FROM history WHERE at < ?1 ORDER BY at, id LIMIT ?2)",
                )?
                .execute((before.as_second(), PRUNE_LINES))?
        };
        transaction.commit()?;
        let removed = i64::try_from(removed).unwrap_or(i64::MAX);
        self.lines = self.lines.saturating_sub(removed);
        // Whether the other reason to remove has something to do is seen by the next step.
        let left = if surplus > 0 || removed >= PRUNE_LINES {
            Left::More
        } else {
            Left::Nothing
        };
        Ok(Pruned {
            removed: removed.unsigned_abs(),
            left,
        })
    }
}

/// A page in the order of time.
pub(super) fn page(connection: &Connection, query: &HistoryQuery) -> rusqlite::Result<HistoryPage> {
    let beginning = HistoryCursor {
        at: query.since.unwrap_or(Time::from(Timestamp::MIN)),
        id: 0,
    };
    let after = query.after.map_or(beginning, |after| after.max(beginning));
    let limit = query.limit.clamp(1, PAGE_LINES);
    let mut statement = connection.prepare_cached(
        "SELECT id, at, about, body FROM history INDEXED BY history_at
         WHERE at >= ?1 AND (at > ?1 OR id > ?2) ORDER BY at, id LIMIT ?3",
    )?;
    // One more than wanted says whether there are more.
    let wanted = i64::try_from(limit.saturating_add(1)).unwrap_or(i64::MAX);
    let rows = statement.query_map((after.at.as_second(), after.id, wanted), line)?;
    let (mut page, mut bytes) = (HistoryPage::default(), 0_usize);
    for row in rows {
        let row = row?;
        bytes = bytes.saturating_add(row.line.body.len());
        let full = page.lines.len() >= limit || bytes > PAGE_BYTES;
        if full && let Some(last) = page.lines.last() {
            page.next = Some(last.cursor);
            break;
        }
        page.lines.push(row);
    }
    Ok(page)
}

/// The newest lines about somebody, the newest first.
pub(super) fn about(
    connection: &Connection,
    about: &str,
    limit: usize,
) -> rusqlite::Result<Vec<StoredLine>> {
    let mut statement = connection.prepare_cached(
        "SELECT id, at, about, body FROM history INDEXED BY history_about
         WHERE about = ?1 ORDER BY at DESC, id DESC LIMIT ?2",
    )?;
    let limit = i64::try_from(limit.clamp(1, PAGE_LINES)).unwrap_or(i64::MAX);
    let mut bytes = 0_usize;
    let mut lines = Vec::new();
    for row in statement.query_map((about, limit), line)? {
        let row = row?;
        bytes = bytes.saturating_add(row.line.body.len());
        if bytes > PAGE_BYTES && !lines.is_empty() {
            break;
        }
        lines.push(row);
    }
    Ok(lines)
}

/// Refuses what is too large before it goes to the writer.
pub(super) fn check(lines: &[HistoryLine]) -> Result<(), StoreError> {
    let too_large = |what, found, limit| StoreError::TooLarge { what, found, limit };
    if lines.len() > APPEND_MAX {
        return Err(too_large("lines appended at once", lines.len(), APPEND_MAX));
    }
    for line in lines {
        let bytes = line.body.len().saturating_add(line.about.len());
        if bytes > LINE_BYTES {
            return Err(too_large("bytes of a line", bytes, LINE_BYTES));
        }
    }
    Ok(())
}

/// What a damaged history means: nothing for the objects, which are in other pages.
pub(super) fn damaged(path: PathBuf, error: &rusqlite::Error) -> StoreError {
    StoreError::HistoryDamaged {
        path,
        cause: error.to_string(),
    }
}

fn line(row: &Row<'_>) -> rusqlite::Result<StoredLine> {
    let at = seconds(row.get(1)?);
    Ok(StoredLine {
        cursor: HistoryCursor {
            at,
            id: row.get(0)?,
        },
        line: HistoryLine {
            at,
            about: row.get(2)?,
            body: row.get(3)?,
        },
    })
}

fn seconds(seconds: i64) -> Time {
    let end = if seconds < 0 {
        Timestamp::MIN
    } else {
        Timestamp::MAX
    };
    Time::from(Timestamp::from_second(seconds).unwrap_or(end))
}
