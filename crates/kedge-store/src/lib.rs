//! Where the hub keeps its objects: one trait, and its implementations.
//!
//! It is: typed get, list, watch, create, update, status update and delete over [`SharedStore`], with
//! Kubernetes' semantics (optimistic `resourceVersion`, `uid`, `generation`, watch from a version,
//! `Expired` when the history does not reach back), and [`EmbeddedStore`], which keeps everything in
//! one SQLite file. Beside the objects it keeps an append-only history ([`HistoryLine`]), which is read in pages and
//! pruned from its old end. And it is where Secrets come from ([`Secrets`]): read one field at a time, never kept.
//!
//! It is not: a cache, a policy engine, or HTTP. It stores what it is given; validation is
//! [`kedge_api::decode`]'s.
//!
//! ```text
//!   callers ── write ──▶ bounded queue ──▶ writer thread ── commit (WAL, fsync) ──▶ file
//!      ▲                                        │
//!      │  answer, after the commit              ▼
//!      └────────────────────────────── view in memory ──▶ history ──▶ watchers (bounded each)
//!   callers ── get, list ──────────────────▶ view
//!   callers ── append, history, prune ──▶ the same queue, a page at a time
//! ```
//!
//! A write is acknowledged after it is on disk, and visible to readers and watchers only then.

mod defaults;
mod embedded;
mod error;
mod history;
mod raw;
mod secrets;
mod typed;

#[cfg(feature = "conformance")]
pub mod conformance;

pub use embedded::{EmbeddedStore, OpenError, Options};
pub use error::StoreError;
pub use history::{
    CursorError, HistoryCursor, HistoryLine, HistoryPage, HistoryQuery, Left, Pruned, StoredLine,
};
pub use raw::{
    BoxFuture, Change, Happening, Kind, MetaKey, Precondition, RawList, RawWatch, RawWatchSender,
    SharedStore, Snapshot, Store, WatchFrom, WatchOver, Write, select,
};
pub use secrets::{
    FolderSecrets, SECRET_FIELD_BYTES, SecretError, SecretField, Secrets, SharedSecrets,
};
pub use typed::Watch;
