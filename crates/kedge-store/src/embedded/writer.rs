//! The thread that writes.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use jiff::Timestamp;
use kedge_api::{ResourceVersion, Time, Uid, random};
use rusqlite::ErrorCode;
use tokio::sync::{mpsc, oneshot};

use super::file::{StoreFile, VERSION_KEY};
use super::history::{self, History};
use crate::apply::{Outcome, Stamp, apply, kind_of, name_of};
use crate::defaults::BATCH_MAX;
use crate::error::StoreError;
use crate::history::{HistoryLine, HistoryPage, HistoryQuery, Pruned, StoredLine};
use crate::kind::Kind;
use crate::raw::{Change, Happening, MetaKey, Snapshot, Write};
use crate::view::{Meta, Past, View};

/// What the writer is asked to do, and whom to answer.
pub(super) enum Command {
    History(Book),
    InitMeta(MetaKey, String, oneshot::Sender<Result<String, StoreError>>),
    SetMeta(MetaKey, String, oneshot::Sender<Result<(), StoreError>>),
    Write(Write, oneshot::Sender<Result<Snapshot, StoreError>>),
}

/// What is asked of the history. Each is a transaction by itself: a history that cannot be written must not take a
/// change of an object with it.
pub(super) enum Book {
    About(
        String,
        usize,
        oneshot::Sender<Result<Vec<StoredLine>, StoreError>>,
    ),
    Append(Vec<HistoryLine>, oneshot::Sender<Result<(), StoreError>>),
    Page(
        HistoryQuery,
        oneshot::Sender<Result<HistoryPage, StoreError>>,
    ),
    Prune(Time, u64, oneshot::Sender<Result<Pruned, StoreError>>),
}

/// An answer that waits for the commit.
enum Answer {
    Done(Result<(), StoreError>),
    Object(Result<Snapshot, StoreError>),
    Text(Result<String, StoreError>),
}

pub(super) struct Writer {
    file: StoreFile,
    history: History,
    path: PathBuf,
    view: Arc<View>,
    clock: fn() -> Timestamp,
    broken: Option<String>,
}

/// A transaction in the making: what it changes over what is visible.
struct Batch {
    version: ResourceVersion,
    objects: BTreeMap<(Kind, String), Option<Snapshot>>,
    meta: Meta,
    events: Vec<Past>,
    answers: Vec<Answer>,
}

impl Writer {
    pub(super) fn new(
        file: StoreFile,
        history: History,
        path: PathBuf,
        view: Arc<View>,
        clock: fn() -> Timestamp,
    ) -> Self {
        Self {
            file,
            history,
            path,
            view,
            clock,
            broken: None,
        }
    }

    /// Writes until nobody can ask any more.
    pub(super) fn run(mut self, mut queue: mpsc::Receiver<Command>) {
        while let Some(first) = queue.blocking_recv() {
            let (mut commands, mut books) = (Vec::new(), Vec::new());
            let mut next = Some(first);
            while let Some(command) = next {
                match command {
                    Command::History(book) => books.push(book),
                    other => commands.push(other),
                }
                let enough = commands.len() + books.len() >= BATCH_MAX;
                next = if enough { None } else { queue.try_recv().ok() };
            }
            if !commands.is_empty() {
                self.serve(commands);
            }
            books.into_iter().for_each(|book| self.keep(book));
        }
    }

    /// Does one thing to the history. Whoever asked may be gone.
    fn keep(&mut self, book: Book) {
        match book {
            Book::About(name, limit, to) => {
                let found = history::about(&self.file.connection, &name, limit);
                drop(to.send(found.map_err(|error| self.unread(&error))));
            }
            Book::Append(lines, to) => {
                let appended = self.unless_broken(|writer| {
                    writer.history.append(&mut writer.file.connection, &lines)
                });
                drop(to.send(appended));
            }
            Book::Page(query, to) => {
                let page = history::page(&self.file.connection, &query);
                drop(to.send(page.map_err(|error| self.unread(&error))));
            }
            Book::Prune(before, keep, to) => {
                let pruned = self.unless_broken(|writer| {
                    writer
                        .history
                        .prune(&mut writer.file.connection, before, keep)
                });
                drop(to.send(pruned));
            }
        }
    }

    fn unless_broken<T>(
        &mut self,
        change: impl FnOnce(&mut Self) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        self.refuse_if_broken()?;
        change(self).map_err(|error| match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseCorrupt) => history::damaged(self.path.clone(), &error),
            _ => self.failure(&error),
        })
    }

    /// Reading fails for itself alone.
    fn unread(&self, error: &rusqlite::Error) -> StoreError {
        history::damaged(self.path.clone(), error)
    }

    fn refuse_if_broken(&self) -> Result<(), StoreError> {
        match &self.broken {
            None => Ok(()),
            Some(cause) => Err(StoreError::Broken {
                path: self.path.clone(),
                cause: cause.clone(),
            }),
        }
    }

    fn serve(&mut self, commands: Vec<Command>) {
        match self.commit(&commands) {
            Ok(answers) => {
                for (command, answer) in commands.into_iter().zip(answers) {
                    command.answer(answer);
                }
            }
            // One that needs room must not take those with it that need none.
            Err(StoreError::Full { .. }) if commands.len() > 1 => {
                for command in commands {
                    self.serve(vec![command]);
                }
            }
            Err(error) => {
                tracing::error!(path = %self.path.display(), %error, "store write failed");
                commands
                    .into_iter()
                    .for_each(|command| command.refuse(error.clone()));
            }
        }
    }

    fn commit(&mut self, commands: &[Command]) -> Result<Vec<Answer>, StoreError> {
        self.refuse_if_broken()?;
        let mut batch = Batch {
            version: self.view.version(),
            objects: BTreeMap::new(),
            meta: Meta::new(),
            events: Vec::new(),
            answers: Vec::with_capacity(commands.len()),
        };
        let now = (self.clock)();
        for command in commands {
            let answer = match command {
                Command::Write(write, _) => Answer::Object(self.plan(&mut batch, write, now)),
                Command::InitMeta(key, value, _) => {
                    Answer::Text(Ok(self.plan_meta(&mut batch, *key, value)))
                }
                Command::SetMeta(key, value, _) => {
                    batch.meta.insert(key.as_str().to_owned(), value.clone());
                    Answer::Done(Ok(()))
                }
                // Those do not come here.
                Command::History(_) => Answer::Done(Ok(())),
            };
            batch.answers.push(answer);
        }
        if !batch.events.is_empty() || !batch.meta.is_empty() {
            self.store(&batch).map_err(|error| self.failure(&error))?;
            self.view.publish(batch.events, batch.meta);
        }
        Ok(batch.answers)
    }

    fn plan(
        &self,
        batch: &mut Batch,
        write: &Write,
        now: Timestamp,
    ) -> Result<Snapshot, StoreError> {
        let (kind, name) = (kind_of(write), name_of(write).to_owned());
        let key = (kind, name);
        let current = match batch.objects.get(&key) {
            Some(pending) => pending.clone(),
            None => self.view.find(kind, &key.1),
        };
        let version = ResourceVersion::new(batch.version.value().saturating_add(1));
        let uid = Uid::from_bytes(random::bytes().map_err(StoreError::Random)?);
        let stamp = Stamp {
            version,
            now: Time::from(now),
            uid,
        };
        let change = match apply(current.as_ref(), write, &stamp)? {
            Outcome::Nothing(there) => return Ok(there),
            Outcome::Changes(change) => change,
        };
        let (after, answer) = match &change {
            Change::Added(object) | Change::Modified { after: object, .. } => {
                (Some(object.clone()), object.clone())
            }
            Change::Deleted(object) => (None, object.clone()),
            // No write comes to that.
            Change::Bookmark => (current.clone(), current.ok_or(StoreError::Closed)?),
        };
        // What the event holds in memory; the object before is shared with the event before.
        let bytes = answer.text().len();
        batch.version = version;
        batch.objects.insert(key, after);
        batch.events.push(Past {
            kind,
            happening: Happening { change, version },
            bytes,
            at: now,
        });
        Ok(answer)
    }

    fn plan_meta(&self, batch: &mut Batch, key: MetaKey, value: &str) -> String {
        let there = batch
            .meta
            .get(key.as_str())
            .cloned()
            .or_else(|| self.view.meta(key));
        there.unwrap_or_else(|| {
            batch.meta.insert(key.as_str().to_owned(), value.to_owned());
            value.to_owned()
        })
    }

    fn store(&mut self, batch: &Batch) -> rusqlite::Result<()> {
        let transaction = self.file.connection.transaction()?;
        for ((kind, name), object) in &batch.objects {
            match object {
                Some(object) => transaction
                    .prepare_cached(
                        "INSERT INTO objects (kind, name, version, body) VALUES (?1, ?2, ?3, ?4)
                         ON CONFLICT (kind, name) DO UPDATE SET version = ?3, body = ?4",
                    )?
                    .execute((kind.plural, name, signed(batch.version), object.text()))?,
                None => transaction
                    .prepare_cached("DELETE FROM objects WHERE kind = ?1 AND name = ?2")?
                    .execute((kind.plural, name))?,
            };
        }
        let version = (VERSION_KEY.to_owned(), batch.version.to_string());
        for (key, value) in batch.meta.iter().chain([(&version.0, &version.1)]) {
            transaction
                .prepare_cached(
                    "INSERT INTO meta (key, value) VALUES (?1, ?2)
                     ON CONFLICT (key) DO UPDATE SET value = ?2",
                )?
                .execute((key, value))?;
        }
        transaction.commit()
    }

    /// What an error of the engine means for somebody who writes. After anything but a full disk it
    /// is not known what the file holds, so nothing more is written until it is opened again.
    fn failure(&mut self, error: &rusqlite::Error) -> StoreError {
        let path = self.path.clone();
        if error.sqlite_error_code() == Some(ErrorCode::DiskFull) {
            return StoreError::Full { path };
        }
        let cause = error.to_string();
        self.broken = Some(cause.clone());
        StoreError::Broken { path, cause }
    }
}

impl Command {
    fn answer(self, answer: Answer) {
        // Whoever asked may be gone; the write is done all the same.
        match (self, answer) {
            (Self::Write(_, to), Answer::Object(result)) => drop(to.send(result)),
            (Self::InitMeta(_, _, to), Answer::Text(result)) => drop(to.send(result)),
            (Self::SetMeta(_, _, to), Answer::Done(result)) => drop(to.send(result)),
            // Answers are made from the commands, in their order.
            (command, _) => command.refuse(StoreError::Closed),
        }
    }

    fn refuse(self, error: StoreError) {
        match self {
            Self::Write(_, to) => drop(to.send(Err(error))),
            Self::InitMeta(_, _, to) => drop(to.send(Err(error))),
            Self::SetMeta(_, _, to) => drop(to.send(Err(error))),
            Self::History(book) => book.refuse(error),
        }
    }
}

impl Book {
    fn refuse(self, error: StoreError) {
        match self {
            Self::About(_, _, to) => drop(to.send(Err(error))),
            Self::Append(_, to) => drop(to.send(Err(error))),
            Self::Page(_, to) => drop(to.send(Err(error))),
            Self::Prune(_, _, to) => drop(to.send(Err(error))),
        }
    }
}

/// SQLite's integers are signed; a counter of writes does not get so far.
fn signed(version: ResourceVersion) -> i64 {
    i64::try_from(version.value()).unwrap_or(i64::MAX)
}
