//! Keeping a mirror up to date: list, then watch, for as long as the store is open.
//!
//! ```text
//!             ┌────────── the past is gone, or something was missed ──────────┐
//!             ▼                                                               │
//!   list, page by page ── tell the difference ──▶ watch from the list's version ── its time is over ──┐
//!             ▲                                        ▲      │                                       │
//!             └── pause ◀── failed                     │      └── failed ── pause ──┐                 │
//!                                                      └── from the last version heard of ◀───────────┘
//! ```
//!
//! A bookmark moves the version from which a watch goes on, and nothing that callers see.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use kedge_api::text::Printable;
use kedge_api::{API_PATH, Namespace, ResourceVersion};
use tokio::time::{Instant, sleep, timeout_at};

use super::health::Pulse;
use super::mirror::Mirror;
use super::pause::{Pauses, among};
use super::shape::{self, Event, Malformed, Seen};
use super::wire::{Call, CallError, Wire, segment};
use crate::defaults::{
    ANSWER_BYTES, LIST_BYTES, LIST_DEADLINE, LIST_PAGE, REFLECT_HEALTHY, REFLECT_PAUSE,
    REFLECT_PAUSE_MAX, WATCH_GRACE, WATCH_SECONDS,
};
use crate::kind::Kind;

/// All objects of a kind at one version.
pub(super) struct Listed {
    pub(super) version: ResourceVersion,
    pub(super) objects: BTreeMap<String, Seen>,
}

/// Why a list or a watch failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReflectError {
    #[error(transparent)]
    Call(#[from] CallError),
    /// An event did not follow from what is known.
    #[error("an event does not follow from what is known")]
    Gap,
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// The API server ended the watch and said why.
    #[error("the watch was ended: {0}")]
    Over(String),
    /// Neither an event nor the end of the watch came.
    #[error("the watch fell silent")]
    Silent,
}

/// Where the objects of a kind are.
pub(super) fn path(namespace: &Namespace, kind: Kind) -> String {
    format!("{API_PATH}/namespaces/{namespace}/{}", kind.plural)
}

/// Lists all objects of a kind.
pub(super) async fn list(
    wire: &Wire,
    namespace: &Namespace,
    kind: Kind,
) -> Result<Listed, ReflectError> {
    let mut objects = BTreeMap::new();
    let (mut page_size, mut rest) = (LIST_PAGE, None::<String>);
    loop {
        let mut query = format!("{}?limit={page_size}", path(namespace, kind));
        if let Some(rest) = &rest {
            // Writing to a text cannot fail.
            let _ = write!(query, "&continue={}", segment(rest));
        }
        let call = Call::get(query).limit(LIST_BYTES).deadline(LIST_DEADLINE);
        let answer = match wire.bytes(&call).await {
            Err(CallError::TooLarge { .. }) if page_size > 1 => {
                page_size = (page_size / 8).max(1);
                continue;
            }
            other => other?,
        };
        let page = shape::page(kind, &answer)?;
        for seen in page.items {
            warn_of(kind, &seen);
            objects.insert(seen.name.clone(), seen);
        }
        rest = page.rest;
        if rest.is_none() {
            return Ok(Listed {
                version: page.version,
                objects,
            });
        }
    }
}

/// Keeps one mirror up to date.
pub(super) struct Reflector {
    wire: Arc<Wire>,
    namespace: Namespace,
    mirror: Arc<Mirror>,
    pulse: Arc<Pulse>,
    // What the next watch begins after; `None` when there must be a list first.
    resume: Option<ResourceVersion>,
}

impl Reflector {
    /// Goes on after a list.
    pub(super) fn new(
        wire: Arc<Wire>,
        namespace: Namespace,
        mirror: Arc<Mirror>,
        pulse: Arc<Pulse>,
        listed: ResourceVersion,
    ) -> Self {
        Self {
            wire,
            namespace,
            mirror,
            pulse,
            resume: Some(listed),
        }
    }

    /// Goes on until it is dropped.
    pub(super) async fn run(mut self) {
        let mut pauses = Pauses::new(REFLECT_PAUSE, REFLECT_PAUSE_MAX);
        let mut failures = 0_u32;
        loop {
            let began = Instant::now();
            let step = self.step().await;
            if began.elapsed() >= REFLECT_HEALTHY {
                pauses.reset();
                failures = 0;
            }
            match step {
                // A server that ends watches as soon as they begin is not asked in a circle.
                Ok(()) if began.elapsed() < REFLECT_PAUSE_MAX => {}
                Ok(()) => continue,
                Err(error) => {
                    failures = failures.saturating_add(1);
                    self.judge(&error, failures);
                }
            }
            sleep(pauses.next()).await;
        }
    }

    /// What an error means for the next step, and for those who ask how the store is.
    fn judge(&mut self, error: &ReflectError, failures: u32) {
        let kind = self.mirror.kind();
        tracing::debug!(kind = kind.plural, cause = %error, "a watch ended");
        let (again, cut_off) = match error {
            // The next list says what was missed.
            ReflectError::Gap | ReflectError::Over(_) => (true, false),
            ReflectError::Call(CallError::TooLarge { .. }) | ReflectError::Malformed(_) => {
                (true, true)
            }
            ReflectError::Call(error) => match error.code() {
                Some(StatusCode::GONE) => (true, false),
                _ => (false, true),
            },
            ReflectError::Silent => (false, true),
        };
        if again {
            self.resume = None;
        }
        // A connection that breaks is nothing; one that does not come up again is, and one that was dead for a while.
        if cut_off && (failures > 1 || matches!(error, ReflectError::Silent)) {
            self.pulse.ill(kind, &error.to_string());
        }
    }

    async fn step(&mut self) -> Result<(), ReflectError> {
        let from = match self.resume {
            Some(version) => version,
            None => {
                let listed = list(&self.wire, &self.namespace, self.mirror.kind()).await?;
                self.mirror.replace(&listed.objects, listed.version);
                self.pulse.well(self.mirror.kind());
                self.resume = Some(listed.version);
                listed.version
            }
        };
        self.watch(from).await
    }

    async fn watch(&mut self, from: ResourceVersion) -> Result<(), ReflectError> {
        let kind = self.mirror.kind();
        let seconds = among(WATCH_SECONDS);
        let call = Call::get(format!(
            "{}?watch=1&resourceVersion={from}&allowWatchBookmarks=true&timeoutSeconds={seconds}",
            path(&self.namespace, kind)
        ));
        let mut lines = self.wire.lines(&call.limit(ANSWER_BYTES)).await?;
        self.pulse.well(kind);
        let end = Instant::now() + Duration::from_secs(seconds) + WATCH_GRACE;
        loop {
            let line = timeout_at(end, lines.next()).await;
            let Some(line) = line.map_err(|_| ReflectError::Silent)?? else {
                return Ok(());
            };
            let version = match shape::event(kind, &line)? {
                Event::Over(cause) => return Err(ReflectError::Over(cause)),
                Event::Bookmark(version) => version,
                event @ (Event::Is(_) | Event::Was(_)) => {
                    let (Event::Is(seen) | Event::Was(seen)) = &event else {
                        continue;
                    };
                    warn_of(kind, seen);
                    let version = seen.version;
                    self.mirror.take(event).map_err(|_| ReflectError::Gap)?;
                    version
                }
            };
            self.resume = Some(version);
        }
    }
}

impl Drop for Reflector {
    /// After a panic nobody tells of its kind any more, and that must not go unnoticed.
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.pulse
                .ill(self.mirror.kind(), "its reflector has failed");
        }
    }
}

/// Whoever wrote such an object should know, and so should whoever operates the hub; the hub goes on.
fn warn_of(kind: Kind, seen: &Seen) {
    if let Some(cause) = &seen.fault {
        let name = Printable::new(&seen.name);
        let cause = Printable::new(cause);
        tracing::warn!(kind = kind.singular, %name, %cause, "an object cannot be read");
    }
}
