//! Writing an export into a store.

use std::collections::BTreeMap;
use std::future::ready;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::{StreamExt, stream};
use kedge_api::LabelSelector;
use kedge_api::text::Printable;
use serde_json::Value;

use super::package::Package;
use super::unfinished_import;
use crate::defaults::IMPORT_WRITES;
use crate::error::StoreError;
use crate::kind::Kind;
use crate::raw::{MetaKey, Snapshot, Store, Write};

/// What an import did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Imported {
    /// Objects that were written.
    pub written: usize,
    /// Objects that were there already, from an import of the same export that was cut.
    pub there: usize,
}

/// Why an import was not made, or not to its end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImportError {
    /// An object that the cut import wrote was changed by somebody else. Nothing more was written.
    #[error(
        "{} `{}` is not as the import that was cut has written it; remove what is in the store, and import again",
        kind.singular, Printable::new(name)
    )]
    Changed {
        /// Its kind.
        kind: Kind,
        /// Its name.
        name: String,
    },
    /// It was begun, and is not done.
    #[error(
        "the import stopped at {at}: {cause}; {there} of {total} objects are in the store: run the same import again to go on"
    )]
    Cut {
        /// What could not be written.
        at: String,
        /// Why not.
        cause: StoreError,
        /// How many objects are there, those of an earlier run included.
        there: usize,
        /// How many there are to be.
        total: usize,
    },
    /// There is something in the store. Nothing was written.
    #[error("the store is not empty: it has {what}; an import is made into an empty store only")]
    NotEmpty {
        /// What it has.
        what: String,
    },
    /// An import of another export was cut. Nothing was written.
    #[error(
        "the import of another export ({export}) into this store was cut; import that one again, or begin with an empty store"
    )]
    Other {
        /// The other export's id.
        export: String,
    },
    /// The store cannot be read or marked. Nothing was written.
    #[error("cannot begin the import")]
    Store(#[from] StoreError),
}

impl Package {
    /// Writes everything into a store with nothing in it, or goes on with an import of the same export that was cut.
    ///
    /// # Errors
    /// [`ImportError`]; all but [`ImportError::Cut`] have written nothing.
    ///
    /// # Cancel safety
    /// When dropped, a part is written; the same import goes on.
    pub async fn write(&self, store: &dyn Store) -> Result<Imported, ImportError> {
        let there = self.target(store).await?;
        store
            .set_meta(MetaKey::Import, self.id.clone())
            .await
            .map_err(ImportError::Store)?;
        let mut done = Imported::default();
        let total = self.counts().map(|(_, count)| count).sum();
        let cut = |done: &Imported, at: String, cause| ImportError::Cut {
            at,
            cause,
            there: done.written.saturating_add(done.there),
            total,
        };
        for (key, text) in &self.meta {
            store
                .set_meta(*key, text.clone())
                .await
                .map_err(|error| cut(&done, key.as_str().to_owned(), error))?;
        }
        for (kind, objects) in &self.objects {
            let none = BTreeMap::new();
            let known = there.get(kind).unwrap_or(&none);
            let stopped = AtomicBool::new(false);
            let mut steps = stream::iter(objects)
                .take_while(|_| ready(!stopped.load(Ordering::Relaxed)))
                .map(|(name, object)| async move {
                    let step = step(store, *kind, object, known.get(name)).await;
                    (name, step)
                })
                .buffered(IMPORT_WRITES);
            let mut failed = None;
            // After a failure nothing more is begun, and what was is brought to its end, so that the count is right.
            while let Some((name, step)) = steps.next().await {
                match step {
                    Ok(Step::There) => done.there = done.there.saturating_add(1),
                    Ok(Step::Written) => done.written = done.written.saturating_add(1),
                    Err(error) => {
                        stopped.store(true, Ordering::Relaxed);
                        failed.get_or_insert((name, error));
                    }
                }
            }
            drop(steps);
            if let Some((name, error)) = failed {
                let at = format!("{} `{name}`", kind.singular);
                return Err(cut(&done, at, error));
            }
        }
        store
            .set_meta(MetaKey::Import, String::new())
            .await
            .map_err(|error| cut(&done, "its end".to_owned(), error))?;
        Ok(done)
    }

    /// What is in the store of this export already; refuses a store with anything else in it.
    async fn target(
        &self,
        store: &dyn Store,
    ) -> Result<BTreeMap<Kind, BTreeMap<String, Snapshot>>, ImportError> {
        let mark = unfinished_import(store).await?;
        if let Some(export) = mark.as_ref().filter(|mark| **mark != self.id) {
            return Err(ImportError::Other {
                export: Printable::new(export).to_string(),
            });
        }
        let own = self.meta.iter().find(|(key, _)| *key == MetaKey::HubId);
        let own = own.map(|(_, id)| id);
        if let Some(id) = store.meta(MetaKey::HubId).await?
            && own != Some(&id)
        {
            return Err(ImportError::NotEmpty {
                what: format!("the id of a hub, {}", Printable::new(&id)),
            });
        }
        let mut there = BTreeMap::new();
        for (kind, wanted) in &self.objects {
            let all = store.read_all(*kind, &LabelSelector::default()).await?;
            if mark.is_none() && !all.items.is_empty() {
                return Err(ImportError::NotEmpty {
                    what: format!("{} {}", all.items.len(), kind.plural),
                });
            }
            let mut known = BTreeMap::new();
            for object in all.items {
                let name = object.name().unwrap_or_default();
                match wanted.get(&name) {
                    Some(wanted) if is_as(&object, wanted, &PARTS) => {}
                    Some(_) => return Err(ImportError::Changed { kind: *kind, name }),
                    None => {
                        let name = Printable::new(&name);
                        let what =
                            format!("{} `{name}`, which is not of this export", kind.singular);
                        return Err(ImportError::NotEmpty { what });
                    }
                }
                known.insert(name, object);
            }
            there.insert(*kind, known);
        }
        Ok(there)
    }
}

enum Step {
    There,
    Written,
}

/// Brings one object to where it is to be. A store that writes the status after the object may have been cut in between.
async fn step(
    store: &dyn Store,
    kind: Kind,
    wanted: &Value,
    there: Option<&Snapshot>,
) -> Result<Step, StoreError> {
    match there {
        None => store
            .write(Write::Create(kind, wanted.clone()))
            .await
            .map(|_| Step::Written),
        Some(object) if is_as(object, wanted, &["/status"]) => Ok(Step::There),
        Some(object) => {
            let mut object = object.tree();
            if let Some(fields) = object.as_object_mut() {
                let status = wanted.get("status").cloned().unwrap_or_default();
                fields.insert("status".to_owned(), status);
            }
            store
                .write(Write::UpdateStatus(kind, object))
                .await
                .map(|_| Step::Written)
        }
    }
}

fn is_as(object: &Snapshot, wanted: &Value, parts: &[&str]) -> bool {
    let object = object.tree();
    parts
        .iter()
        .all(|part| object.pointer(part) == wanted.pointer(part))
}

/// What of an object is carried and not written by a hub of its own accord.
const PARTS: [&str; 3] = ["/metadata/annotations", "/metadata/labels", "/spec"];
