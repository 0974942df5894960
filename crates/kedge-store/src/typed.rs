//! The store as callers see it: objects of their types.

use kedge_api::meta::Changed;
use kedge_api::{LabelSelector, List, Resource, ResourceVersion, WatchEvent};
use serde_json::Value;

use crate::defaults::CONFLICT_RETRIES;
use crate::error::StoreError;
use crate::kind::Kind;
use crate::raw::{Change, Precondition, RawWatch, Snapshot, Store, WatchFrom, Write};

impl dyn Store {
    /// One object.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when there is none of that name.
    ///
    /// # Cancel safety
    /// Cancel safe: it only reads.
    pub async fn get<R: Resource>(&self, name: impl AsRef<str> + Send) -> Result<R, StoreError> {
        let object = self.read(Kind::of::<R>(), name.as_ref()).await?;
        typed(&object)
    }

    /// One object, or `None` when there is none of that name.
    ///
    /// # Errors
    /// Any [`StoreError`] but `NotFound`.
    ///
    /// # Cancel safety
    /// Cancel safe: it only reads.
    pub async fn find<R: Resource>(
        &self,
        name: impl AsRef<str> + Send,
    ) -> Result<Option<R>, StoreError> {
        match self.get(name).await {
            Ok(object) => Ok(Some(object)),
            Err(StoreError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// All objects of a kind that the selector selects, in the order of their names.
    ///
    /// # Errors
    /// [`StoreError::Unreadable`] when one of them is damaged.
    ///
    /// # Cancel safety
    /// Cancel safe: it only reads.
    pub async fn list<R: Resource>(&self, selector: &LabelSelector) -> Result<List<R>, StoreError> {
        let raw = self.read_all(Kind::of::<R>(), selector).await?;
        let items = raw.items.iter().map(typed).collect::<Result<_, _>>()?;
        Ok(List::new(raw.version, items))
    }

    /// What happens to the objects of a kind that the selector selects.
    ///
    /// # Errors
    /// [`StoreError::Expired`] when the history does not reach back so far: list, and watch from
    /// there. [`StoreError::TooManyWatches`].
    ///
    /// # Cancel safety
    /// Cancel safe: a watch that nobody holds ends.
    pub async fn watch<R: Resource>(
        &self,
        selector: &LabelSelector,
        from: WatchFrom,
    ) -> Result<Watch<R>, StoreError> {
        let raw = self.follow(Kind::of::<R>(), selector, from).await?;
        Ok(Watch {
            raw,
            kind: std::marker::PhantomData,
        })
    }

    /// Stores a new object. The store gives it uid, version, generation and creation time; what the
    /// object says of these is ignored. The status is stored as given.
    ///
    /// # Errors
    /// [`StoreError::AlreadyExists`], [`StoreError::Full`], [`StoreError::Unavailable`], or [`StoreError::Refused`] by a
    /// store that judges for itself.
    ///
    /// # Cancel safety
    /// When dropped, the object may have been stored or not.
    pub async fn create<R: Resource>(&self, object: &R) -> Result<R, StoreError> {
        let value = value(object)?;
        typed(&self.write(Write::Create(Kind::of::<R>(), value)).await?)
    }

    /// Stores another spec, other labels and annotations of an object; the status stays. A change
    /// that changes nothing is none, and gives back the version that is there.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when `metadata.resourceVersion` (or a `uid`) is not the stored one,
    /// [`StoreError::VersionMissing`], [`StoreError::NotFound`], and as [`create`](#method.create).
    ///
    /// # Cancel safety
    /// When dropped, the change may have been stored or not.
    pub async fn update<R: Resource>(&self, object: &R) -> Result<R, StoreError> {
        let value = value(object)?;
        typed(&self.write(Write::Update(Kind::of::<R>(), value)).await?)
    }

    /// Stores another status of an object; everything else stays.
    ///
    /// # Errors
    /// As [`update`](#method.update).
    ///
    /// # Cancel safety
    /// When dropped, the change may have been stored or not.
    pub async fn update_status<R: Resource>(&self, object: &R) -> Result<R, StoreError> {
        let value = value(object)?;
        typed(
            &self
                .write(Write::UpdateStatus(Kind::of::<R>(), value))
                .await?,
        )
    }

    /// Removes an object, and gives back its last state.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], [`StoreError::Conflict`], [`StoreError::Full`], [`StoreError::Unavailable`].
    ///
    /// # Cancel safety
    /// When dropped, the object may have been removed or not.
    pub async fn delete<R: Resource>(
        &self,
        name: impl AsRef<str> + Send,
        precondition: Precondition,
    ) -> Result<R, StoreError> {
        let write = Write::Delete(Kind::of::<R>(), name.as_ref().to_owned(), precondition);
        typed(&self.write(write).await?)
    }

    /// Changes the status of the newest version of an object, however often others change it
    /// meanwhile (up to a limit). `change` may run several times; when it says [`Changed::No`],
    /// nothing is written.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], [`StoreError::Full`], [`StoreError::Conflict`] after 8 rounds.
    ///
    /// # Cancel safety
    /// When dropped, the change may have been stored or not.
    pub async fn modify_status<R: Resource>(
        &self,
        name: impl AsRef<str> + Send,
        change: impl FnMut(&mut R) -> Changed + Send,
    ) -> Result<R, StoreError> {
        self.change(name.as_ref(), change, Part::Status).await
    }

    /// The same for everything but the status.
    ///
    /// # Errors
    /// As [`modify_status`](#method.modify_status).
    ///
    /// # Cancel safety
    /// When dropped, the change may have been stored or not.
    pub async fn modify<R: Resource>(
        &self,
        name: impl AsRef<str> + Send,
        change: impl FnMut(&mut R) -> Changed + Send,
    ) -> Result<R, StoreError> {
        self.change(name.as_ref(), change, Part::Spec).await
    }

    async fn change<R: Resource>(
        &self,
        name: &str,
        mut change: impl FnMut(&mut R) -> Changed + Send,
        part: Part,
    ) -> Result<R, StoreError> {
        for _ in 1..CONFLICT_RETRIES {
            match self.change_once(name, &mut change, part).await {
                Err(StoreError::Conflict { .. }) => {}
                done => return done,
            }
        }
        self.change_once(name, &mut change, part).await
    }

    async fn change_once<R: Resource>(
        &self,
        name: &str,
        change: &mut (impl FnMut(&mut R) -> Changed + Send),
        part: Part,
    ) -> Result<R, StoreError> {
        let mut object: R = self.get(name).await?;
        match (change(&mut object), part) {
            (Changed::No, _) => Ok(object),
            (Changed::Yes, Part::Spec) => self.update(&object).await,
            (Changed::Yes, Part::Status) => self.update_status(&object).await,
        }
    }
}

#[derive(Clone, Copy)]
enum Part {
    Spec,
    Status,
}

/// A watch of one kind under way.
#[derive(Debug)]
pub struct Watch<R> {
    raw: RawWatch,
    kind: std::marker::PhantomData<fn() -> R>,
}

impl<R: Resource> Watch<R> {
    /// The next event; `None` once the store is closed, or after an error. Never gives
    /// `WatchEvent::Error`: make that of the `Err`.
    ///
    /// # Errors
    /// [`StoreError::Expired`] when the watcher was too slow: list again, and watch from there.
    ///
    /// # Cancel safety
    /// Cancel safe: nothing is lost.
    pub async fn next(&mut self) -> Option<Result<WatchEvent<R>, StoreError>> {
        let happening = match self.raw.next().await? {
            Ok(happening) => happening,
            Err(error) => return Some(Err(error)),
        };
        let event = match &happening.change {
            Change::Added(object) => typed(object).map(WatchEvent::Added),
            Change::Bookmark => Ok(WatchEvent::bookmark(happening.version)),
            Change::Deleted(object) => typed(object)
                .map(|object: R| WatchEvent::Deleted(with_version(object, happening.version))),
            Change::Modified { after, .. } => typed(after).map(WatchEvent::Modified),
        };
        Some(event)
    }
}

/// An object that left a selection carries the version at which it did.
fn with_version<R: Resource>(mut object: R, version: ResourceVersion) -> R {
    object.metadata_mut().resource_version = Some(version);
    object
}

fn typed<R: Resource>(object: &Snapshot) -> Result<R, StoreError> {
    object.read().map_err(|error| StoreError::Unreadable {
        kind: Kind::of::<R>(),
        name: object.name().unwrap_or_else(|| "?".to_owned()),
        cause: error.to_string(),
    })
}

fn value<R: Resource>(object: &R) -> Result<Value, StoreError> {
    serde_json::to_value(object).map_err(|error| StoreError::Unreadable {
        kind: Kind::of::<R>(),
        name: object.metadata().name.to_string(),
        cause: error.to_string(),
    })
}
