//! Watch streams: one JSON event to a line, for as long as the reader reads.
//!
//! * the store's events pass a small bounded queue; a reader who takes nothing for a minute is cut off;
//! * people who may not watch servers see those that they may reach. When a policy or the people change, what they may
//!   see may be another set altogether: the watch ends with `Expired`, and the client lists again;
//! * who sees everything by a policy goes on seeing it while policies say so, and then the watch ends likewise;
//! * a token that expires ends its watch, too: the client comes again with another;
//! * what they may not see any more is told as `Deleted`, without what it has become;
//! * a quiet watch gets a bookmark now and then, which keeps proxies from cutting it.

use std::{collections::BTreeSet, convert::Infallible};

use axum::{body::Body, response::Response};
use bytes::Bytes;
use futures_util::stream;
use http::StatusCode;
use kedge_api::{LabelSelector, ResourceVersion, Status, WatchEvent, resources::Verb};
use kedge_service::Stage;
use kedge_store::{StoreError, WatchFrom};
use tokio::{
    sync::{mpsc, watch::Receiver},
    time::{Instant, interval, interval_at, sleep, timeout},
};

use super::{
    auth::Person,
    objects::{Exposed, View},
    reply::{self, Failure},
};
use crate::{
    app::App,
    defaults,
    people::Authenticated,
    rights::{Basis, Rights},
};

/// Begins a watch. `epoch` was subscribed to before `view` was looked up, so that no change falls between.
///
/// # Errors
/// 410 when the version is too old, 429 when there are too many watches.
pub(super) async fn open<R: Exposed>(
    app: App,
    epoch: Receiver<u64>,
    person: Person,
    view: View,
    selector: LabelSelector,
    version: Option<ResourceVersion>,
) -> Result<Response, Failure> {
    let permit = std::sync::Arc::clone(&app.watches)
        .try_acquire_owned()
        .map_err(|_| Failure::too_many("too many watches at once", defaults::RETRY_AFTER))?;
    // Kubernetes' "0" is "whatever you have": the same as no version.
    let from = match version {
        Some(version) if version.value() > 0 => WatchFrom::After(version),
        _ => WatchFrom::Start,
    };
    let events = app.store.watch::<R>(&selector, from).await?;
    let shown = match (&view, from) {
        (View::All(_), _) | (_, WatchFrom::Start) => BTreeSet::new(),
        (View::Reachable(..), WatchFrom::After(_)) => {
            let now = app.clock.now();
            let objects = app.store.list::<R>(&selector).await?.items;
            let visible = objects.iter().filter(|object| view.shows(*object, now));
            visible
                .map(|object| object.metadata().name.as_str().to_owned())
                .collect()
        }
    };
    // Backpressure: when the reader is slow this fills, the pump waits, and the store ends its watch in time.
    let (sender, receiver) = mpsc::channel::<Bytes>(defaults::WATCH_QUEUE);
    let pump = Pump {
        app: app.clone(),
        epoch,
        person,
        view,
        shown,
        sender,
    };
    let gauge = app.metrics.watch();
    app.shutdown.tasks().spawn("watch", async move {
        pump.run(events).await;
        drop((permit, gauge));
    });
    let lines = stream::unfold(receiver, |mut receiver| async {
        let line = receiver.recv().await?;
        Some((Ok::<_, Infallible>(line), receiver))
    });
    Ok(reply::typed(StatusCode::OK, Body::from_stream(lines)))
}

struct Pump {
    app: App,
    epoch: Receiver<u64>,
    person: Person,
    view: View,
    shown: BTreeSet<String>,
    sender: mpsc::Sender<Bytes>,
}

/// The reader is gone, or takes nothing.
struct Over;

impl Pump {
    async fn run<R: Exposed>(mut self, mut events: kedge_store::Watch<R>) {
        let mut roster = self.app.people.changes();
        // Who they are was found out before this subscription, so it is looked at once more.
        roster.mark_changed();
        let mut epoch = self.epoch.clone();
        let start = Instant::now() + defaults::WATCH_BOOKMARK;
        let mut bookmark = interval_at(start, defaults::WATCH_BOOKMARK);
        let mut end = std::pin::pin!(sleep(defaults::WATCH_LIFE));
        let mut version = None;
        let mut look = interval(defaults::REEVALUATE_EVERY);
        let by_policies = !matches!(self.view, View::All(Basis::Configuration));
        loop {
            let sent = tokio::select! {
                biased;
                () = self.sender.closed() => return,
                () = self.app.shutdown.reached(Stage::StopAccepting) => return,
                () = &mut end => return,
                _ = roster.changed() => match self.app.people.refresh(&self.person.who) {
                    Some(who) if self.sees_the_same(&who) => Ok(()),
                    Some(_) => return self.last::<R>(Status::expired()).await,
                    None => return self.last::<R>(Status::unauthorized()).await,
                },
                _ = epoch.changed(), if by_policies => match self.sees_still::<R>().await {
                    true => Ok(()),
                    false => return self.last::<R>(Status::expired()).await,
                },
                _ = look.tick() => match self.time_is_up() && !self.sees_still::<R>().await {
                    false => Ok(()),
                    true => return self.last::<R>(Status::expired()).await,
                },
                event = events.next() => match event {
                    None => return,
                    Some(Err(error)) => return self.fail::<R>(error).await,
                    Some(Ok(event)) => {
                        version = event.resource_version().or(version);
                        match self.pass(event) {
                            Some(event) => self.send(&event).await,
                            None => Ok(()),
                        }
                    }
                },
                _ = bookmark.tick() => match version {
                    Some(version) => self.send(&WatchEvent::<R>::bookmark(version)).await,
                    // Nothing happened yet, so there is nothing to point at; an empty line keeps the connection.
                    None => self.put(Bytes::from_static(b"\n")).await,
                },
            };
            if sent.is_err() {
                return;
            }
        }
    }

    /// Whether time alone may have changed what this reader may see.
    fn time_is_up(&self) -> bool {
        let now = self.app.clock.now();
        let review = match &self.view {
            View::All(Basis::Policies(review)) => *review,
            View::All(Basis::Configuration) | View::Reachable(_) => None,
        };
        review.is_some_and(|at| at <= now) || self.person.who.has_expired(now)
    }

    /// Whether this reader may go on seeing everything. What somebody may reach is found out anew by a list.
    async fn sees_still<R: Exposed>(&mut self) -> bool {
        let now = self.app.clock.now();
        if self.person.who.has_expired(now) || matches!(self.view, View::Reachable(_)) {
            return false;
        }
        let Ok(rights) = Rights::of(&self.app, &self.person.who, self.person.from).await else {
            return false;
        };
        match rights.basis(Verb::Watch, R::RESOURCE, None) {
            Some(basis) => {
                self.view = View::All(basis);
                true
            }
            None => false,
        }
    }

    fn sees_the_same(&self, now: &Authenticated) -> bool {
        let then = &self.person.who;
        now.role == then.role && *now.principal == *then.principal
    }

    /// What an event is to this reader.
    fn pass<R: Exposed>(&mut self, event: WatchEvent<R>) -> Option<WatchEvent<R>> {
        if matches!(self.view, View::All(_)) {
            return Some(event);
        }
        let now = self.app.clock.now();
        match event {
            WatchEvent::Added(object) | WatchEvent::Modified(object) => {
                let name = object.metadata().name.as_str().to_owned();
                match (self.view.shows(&object, now), self.shown.contains(&name)) {
                    (true, true) => Some(WatchEvent::Modified(object)),
                    (true, false) => {
                        self.shown.insert(name);
                        Some(WatchEvent::Added(object))
                    }
                    (false, true) => {
                        self.shown.remove(&name);
                        object.tombstone().map(WatchEvent::Deleted)
                    }
                    (false, false) => None,
                }
            }
            // A change that takes an object out of the selection may take it out of sight as well.
            WatchEvent::Deleted(object) => {
                if !self.shown.remove(object.metadata().name.as_str()) {
                    None
                } else if self.view.shows(&object, now) {
                    Some(WatchEvent::Deleted(object))
                } else {
                    object.tombstone().map(WatchEvent::Deleted)
                }
            }
            other => Some(other),
        }
    }

    async fn send<R: Exposed>(&self, event: &WatchEvent<R>) -> Result<(), Over> {
        let mut line = serde_json::to_vec(event).map_err(|error| {
            tracing::error!(%error, "an event cannot be written as JSON");
            Over
        })?;
        line.push(b'\n');
        self.put(line.into()).await
    }

    async fn put(&self, line: Bytes) -> Result<(), Over> {
        match timeout(defaults::WATCH_STALL, self.sender.send(line)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(Over),
        }
    }

    async fn fail<R: Exposed>(&self, error: StoreError) {
        self.last::<R>(error.into()).await;
    }

    async fn last<R: Exposed>(&self, status: Status) {
        // It is the last line either way.
        let _ = self.send(&WatchEvent::<R>::Error(status)).await;
    }
}
