//! Carrying everything from one store to another: every object with its spec, labels, annotations and status, the hub's
//! id and the issuers' keys. Not the history, and not what a store gives by itself: uids, versions, creation times.
//!
//! ```text
//!  store ── Export ──▶ header ─ meta … ─ object … ─ end ──▶ Package ── check all ── check the target ──▶ store
//! ```
//!
//! - The header says how much comes, the end that it came: a file that was cut is noticed.
//! - A package is read and checked whole before anything is written, and only a store with nothing in it is written to.
//! - An import that was cut leaves a mark, by which the same import goes on and nothing else is imported.
//!
//! Stop the hubs that use either store before.

mod format;
mod package;
mod take;

pub use package::{Package, PackageError};
pub use take::{ImportError, Imported};

use kedge_api::{LabelSelector, Uid, random};

use crate::error::StoreError;
use crate::kind::Kind;
use crate::raw::{MetaKey, Snapshot, Store};
use format::{FORMAT, Line};

/// Everything a store holds, as lines to be written to a file.
#[derive(Debug)]
pub struct Export {
    id: String,
    meta: Vec<(MetaKey, String)>,
    objects: Vec<(Kind, Vec<Snapshot>)>,
}

/// An object that its own kind cannot read: it is exported as it is, and no import takes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable {
    /// Its kind.
    pub kind: Kind,
    /// Its name.
    pub name: String,
    /// What is wrong with it.
    pub cause: String,
}

impl Export {
    /// Reads everything there is.
    ///
    /// # Errors
    /// [`StoreError`].
    ///
    /// # Cancel safety
    /// Cancel safe: it only reads.
    pub async fn of(store: &dyn Store) -> Result<Self, StoreError> {
        let mut meta = Vec::new();
        for key in CARRIED {
            if let Some(text) = store.meta(key).await? {
                meta.push((key, text));
            }
        }
        let mut objects = Vec::new();
        for kind in Kind::ALL {
            let all = store.read_all(kind, &LabelSelector::default()).await?;
            objects.push((kind, all.items));
        }
        let id = Uid::from_bytes(random::bytes().map_err(StoreError::Random)?);
        Ok(Self {
            id: id.to_string(),
            meta,
            objects,
        })
    }

    /// How many objects of each kind there are.
    pub fn counts(&self) -> impl Iterator<Item = (Kind, usize)> {
        self.objects.iter().map(|(kind, all)| (*kind, all.len()))
    }

    /// Objects that no import will take, so that whoever exports knows before whoever imports.
    #[must_use]
    pub fn unreadable(&self) -> Vec<Unreadable> {
        let all = self.objects.iter();
        let all = all.flat_map(|(kind, all)| all.iter().map(|object| (*kind, object)));
        let fault = |(kind, object): (Kind, &Snapshot)| {
            let error = (kind.shape)(&object.tree()).err()?;
            Some(Unreadable {
                kind,
                name: object.name().unwrap_or_else(|| "?".to_owned()),
                cause: error.to_string(),
            })
        };
        all.filter_map(fault).collect()
    }

    /// The lines, each without its end.
    pub fn lines(&self) -> impl Iterator<Item = String> {
        let header = Line::Header {
            format: FORMAT,
            export: self.id.clone(),
            objects: self
                .counts()
                .map(|(kind, count)| (kind.plural.to_owned(), count))
                .collect(),
        };
        let meta = self.meta.iter().map(|(key, text)| Line::Meta {
            key: key.as_str().to_owned(),
            value: text.clone(),
        });
        let objects = self.objects.iter().flat_map(|(_, all)| all);
        let objects = objects.map(|object| Line::Object {
            object: object.tree(),
        });
        let count: usize = self.counts().map(|(_, count)| count).sum();
        let end = Line::End {
            export: self.id.clone(),
            lines: count.saturating_add(self.meta.len()).saturating_add(2),
        };
        std::iter::once(header)
            .chain(meta)
            .chain(objects)
            .chain(std::iter::once(end))
            .map(|line| line.text())
    }
}

/// The export that is being imported into this store, when its import was cut. A hub should not serve with a part of
/// its policies.
///
/// # Errors
/// [`StoreError`].
///
/// # Cancel safety
/// Cancel safe: it only reads.
pub async fn unfinished_import(store: &dyn Store) -> Result<Option<String>, StoreError> {
    let mark = store.meta(MetaKey::Import).await?;
    Ok(mark.filter(|mark| !mark.is_empty()))
}

/// The hub's own texts that go along.
const CARRIED: [MetaKey; 2] = [MetaKey::HubId, MetaKey::IssuerKeys];
