//! Where the hub keeps its objects: one trait, and its implementations.
//!
//! It is: typed get, list, watch, create, update, status update and delete over [`SharedStore`], with
//! Kubernetes' semantics (optimistic `resourceVersion`, `uid`, `generation`, watch from a version,
//! `Expired` when the history does not reach back). [`EmbeddedStore`] keeps everything in one SQLite file;
//! [`KubernetesStore`] keeps it as custom resources, where several hubs and kubectl meet. Beside the objects there is an
//! append-only history ([`HistoryLine`]), which is read in pages and pruned from its old end, and
//! [`transfer`] carries everything else from one store to another. And it is where Secrets come from ([`Secrets`]): read
//! one field at a time, never kept.
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
//!
//! ```text
//!   callers ── write ── one call that names the version ──▶ API server ──▶ etcd
//!      ▲                                                        │ list, watch: a reflector per kind
//!      │  answer, once the view has it                          ▼
//!      └──────────────────────────── view in memory, one per kind ──▶ watchers (bounded each)
//!   callers ── get, list ──────────▶ view, also while the API server is away
//! ```

mod apply;
mod defaults;
mod embedded;
mod error;
mod history;
mod kind;
mod kubernetes;
mod raw;
mod secrets;
pub mod transfer;
mod typed;
mod view;

#[cfg(feature = "conformance")]
pub mod conformance;

pub use embedded::{EmbeddedStore, OpenError, Options};
pub use error::{StoreError, Written};
pub use history::{
    CursorError, HistoryCursor, HistoryLine, HistoryPage, HistoryQuery, Left, Pruned, StoredLine,
};
pub use kind::Kind;
pub use kubernetes::{
    ConnectError, Health, Held, KubernetesOptions, KubernetesStore, Lease, Lost, Standing,
};
pub use raw::{
    BoxFuture, Change, Happening, MetaKey, Precondition, RawList, RawWatch, RawWatchSender,
    SharedStore, Snapshot, Store, WatchFrom, WatchOver, Write, select,
};
pub use secrets::{
    FolderSecrets, SECRET_FIELD_BYTES, SecretError, SecretField, Secrets, SharedSecrets,
};
pub use typed::Watch;
