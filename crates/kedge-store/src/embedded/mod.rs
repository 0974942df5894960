//! Everything in one SQLite file, written by one thread.
//!
//! - Opening: lock, check the version, check the file, read every object into the view.
//! - Reading never touches the file.
//! - A write goes to the writer thread, which commits up to 64 of them at once, makes them visible,
//!   and only then answers.
//! - The history is only in the file; the writer thread reads and prunes it in small pieces between commits.

mod file;
mod history;
mod writer;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use jiff::Timestamp;
use kedge_api::{LabelSelector, Time};
use tokio::sync::{mpsc, oneshot};

pub use file::OpenError;

use crate::defaults::{CHECK_BYTES, WRITE_QUEUE};
use crate::error::StoreError;
use crate::history::{HistoryLine, HistoryPage, HistoryQuery, Pruned, StoredLine};
use crate::kind::Kind;
use crate::raw::{
    BoxFuture, MetaKey, RawList, RawWatch, SharedStore, Snapshot, Store, WatchFrom, Write,
};
use crate::view::{View, ViewLimits};
use writer::{Book, Command, Writer};

/// The embedded store. Cheap to clone; the file closes when the last clone is dropped.
#[derive(Clone)]
pub struct EmbeddedStore(Arc<Inner>);

struct Inner {
    path: PathBuf,
    view: Arc<View>,
    // Taken on drop, which ends the writer.
    commands: Option<mpsc::Sender<Command>>,
    writer: Option<JoinHandle<()>>,
}

/// What tests and special hubs may set.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// What tells the time.
    pub clock: fn() -> Timestamp,
    /// Events kept for watchers that come back.
    pub history_events: usize,
    /// Bytes of events kept for watchers that come back.
    pub history_bytes: usize,
    /// How long events are kept.
    pub history_age: Duration,
    /// Events that may wait in one watcher.
    pub watch_queue: usize,
    /// Bytes of a file that is checked as a whole when it is opened; of a larger one, all but the history is.
    pub check_bytes: u64,
    /// Pages that the file may have, for tests of a full disk; 0 is no limit.
    pub max_pages: u32,
}

impl Default for Options {
    fn default() -> Self {
        let limits = ViewLimits::default();
        Self {
            clock: Timestamp::now,
            history_events: limits.history_events,
            history_bytes: limits.history_bytes,
            history_age: limits.history_age,
            watch_queue: limits.watch_queue,
            check_bytes: CHECK_BYTES,
            max_pages: 0,
        }
    }
}

impl Options {
    fn view_limits(&self) -> ViewLimits {
        ViewLimits {
            history_events: self.history_events,
            history_bytes: self.history_bytes,
            history_age: self.history_age,
            watch_queue: self.watch_queue,
        }
    }
}

impl EmbeddedStore {
    /// Opens the store in this file, or makes it (0600, its folder 0700).
    ///
    /// # Errors
    /// [`OpenError`]: another process has it open, it is of a newer version, it is damaged, it is no
    /// store, or the file system says no.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, OpenError> {
        Self::open_with(path, Options::default())
    }

    /// The same, with options.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_with(path: impl AsRef<Path>, options: Options) -> Result<Self, OpenError> {
        let path = path.as_ref().to_path_buf();
        let opened = file::open(&path, &options)?;
        let view = Arc::new(View::new(
            opened.objects,
            opened.meta,
            opened.version,
            options.view_limits(),
        ));
        // Backpressure: a caller waits until there is room in the queue.
        let (commands, queue) = mpsc::channel(WRITE_QUEUE);
        let writer = Writer::new(
            opened.file,
            opened.history,
            path.clone(),
            Arc::clone(&view),
            options.clock,
        );
        let writer = std::thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || writer.run(queue))
            .map_err(|source| OpenError::Io {
                action: "start the writer of",
                path: path.clone(),
                source,
            })?;
        Ok(Self(Arc::new(Inner {
            path,
            view,
            commands: Some(commands),
            writer: Some(writer),
        })))
    }

    /// As the trait's object.
    #[must_use]
    pub fn shared(self) -> SharedStore {
        Arc::new(self)
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0.path
    }

    async fn ask<T>(
        &self,
        command: impl FnOnce(oneshot::Sender<Result<T, StoreError>>) -> Command,
    ) -> Result<T, StoreError> {
        let (answer, answered) = oneshot::channel();
        let commands = self.0.commands.as_ref().ok_or(StoreError::Closed)?;
        commands
            .send(command(answer))
            .await
            .map_err(|_| StoreError::Closed)?;
        answered.await.map_err(|_| StoreError::Closed)?
    }
}

impl Store for EmbeddedStore {
    fn read<'a>(
        &'a self,
        kind: Kind,
        name: &'a str,
    ) -> BoxFuture<'a, Result<Snapshot, StoreError>> {
        Box::pin(std::future::ready(self.0.view.read(kind, name)))
    }

    fn read_all<'a>(
        &'a self,
        kind: Kind,
        selector: &'a LabelSelector,
    ) -> BoxFuture<'a, Result<RawList, StoreError>> {
        Box::pin(std::future::ready(Ok(self.0.view.read_all(kind, selector))))
    }

    fn follow<'a>(
        &'a self,
        kind: Kind,
        selector: &'a LabelSelector,
        from: WatchFrom,
    ) -> BoxFuture<'a, Result<RawWatch, StoreError>> {
        Box::pin(std::future::ready(self.0.view.follow(kind, selector, from)))
    }

    fn write(&self, write: Write) -> BoxFuture<'_, Result<Snapshot, StoreError>> {
        Box::pin(self.ask(|answer| Command::Write(write, answer)))
    }

    fn meta(&self, key: MetaKey) -> BoxFuture<'_, Result<Option<String>, StoreError>> {
        Box::pin(std::future::ready(Ok(self.0.view.meta(key))))
    }

    fn init_meta(&self, key: MetaKey, value: String) -> BoxFuture<'_, Result<String, StoreError>> {
        Box::pin(self.ask(move |answer| Command::InitMeta(key, value, answer)))
    }

    fn set_meta(&self, key: MetaKey, value: String) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(self.ask(move |answer| Command::SetMeta(key, value, answer)))
    }

    fn append(&self, lines: Vec<HistoryLine>) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move {
            history::check(&lines)?;
            if lines.is_empty() {
                return Ok(());
            }
            self.ask(|answer| Command::History(Book::Append(lines, answer)))
                .await
        })
    }

    fn history(&self, query: HistoryQuery) -> BoxFuture<'_, Result<HistoryPage, StoreError>> {
        Box::pin(self.ask(move |answer| Command::History(Book::Page(query, answer))))
    }

    fn history_about(
        &self,
        about: String,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<StoredLine>, StoreError>> {
        Box::pin(self.ask(move |answer| Command::History(Book::About(about, limit, answer))))
    }

    fn prune_some(
        &self,
        before: Time,
        keep_at_most: u64,
    ) -> BoxFuture<'_, Result<Pruned, StoreError>> {
        Box::pin(
            self.ask(move |answer| Command::History(Book::Prune(before, keep_at_most, answer))),
        )
    }
}

impl fmt::Debug for EmbeddedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EmbeddedStore")
            .field("path", &self.0.path)
            .finish_non_exhaustive()
    }
}

impl Drop for Inner {
    /// Waits for the writer, which is at most one commit away from its end, so that the file can be
    /// opened again as soon as this returns.
    fn drop(&mut self) {
        drop(self.commands.take());
        if let Some(writer) = self.writer.take()
            && let Err(panic) = writer.join()
            && !std::thread::panicking()
        {
            std::panic::resume_unwind(panic);
        }
    }
}
