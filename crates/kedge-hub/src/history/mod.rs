//! What was: every session that somebody opened or was refused, kept in the store with what it was decided by.
//!
//! ```text
//!  sessions ── note ──▶ bounded queue ──▶ writer ── batch ──▶ store      pruner: hourly, by age and number
//!                          │ full: counted, one line in the log
//! ```
//!
//! A session never waits for its record: while the store does not take any (a full disk), the queue holds some
//! thousands of them, and what comes after those is counted and gone; so is what one person causes beyond measure. The
//! audit log has all of it.

mod replay;

use std::{
    net::IpAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use kedge_api::{
    Issuer, Principal, Resource as _, Server, SessionId, Time,
    rest::{HistoryEvent, HistoryRecord},
    text::Printable,
};
use kedge_service::Stage;
use kedge_store::{HistoryCursor, HistoryLine, HistoryPage, HistoryQuery, StoreError, StoredLine};
use tokio::{
    sync::{Semaphore, mpsc},
    time::{interval, sleep, timeout},
};

pub use replay::{Trial, replay};

use crate::{
    app::App,
    defaults,
    metrics::Kept,
    people::Authenticated,
    rate::{Rate, RateLimiter},
    session::{Ask, Grant},
    sync::locked,
};

/// The way into the history.
#[derive(Debug)]
pub struct History {
    queue: mpsc::Sender<Attempt>,
    // Taken by the writer.
    waiting: Mutex<Option<mpsc::Receiver<Attempt>>>,
    overflowing: AtomicBool,
    // How much of it one person may fill.
    persons: RateLimiter<(String, String)>,
    /// Replays under way: one is a second of a processor.
    pub(crate) replays: Arc<Semaphore>,
}

const PERSON: Rate = Rate {
    burst: defaults::HISTORY_BURST,
    refill: defaults::HISTORY_REFILL,
};

/// What came of somebody's wish for a session.
#[derive(Clone, Debug)]
pub struct Attempt {
    principal: Arc<Principal>,
    // The principal is shared until it is written; this has an empty one.
    record: Box<HistoryRecord>,
}

impl Default for History {
    fn default() -> Self {
        // Backpressure: none on sessions. What does not fit is counted and dropped.
        let (queue, waiting) = mpsc::channel(defaults::HISTORY_QUEUE);
        Self {
            queue,
            waiting: Mutex::new(Some(waiting)),
            overflowing: AtomicBool::new(false),
            persons: RateLimiter::new(PERSON, defaults::RATE_SOURCES),
            replays: Arc::new(Semaphore::new(1)),
        }
    }
}

/// Whose wish it was, and what it was for.
#[derive(Clone, Copy, Debug)]
pub struct Wish<'a> {
    /// Who.
    pub who: &'a Authenticated,
    /// From where.
    pub from: IpAddr,
    /// What for.
    pub ask: &'a Ask,
    /// The session's id, when it got that far.
    pub id: Option<&'a SessionId>,
    /// How many sessions the person had besides.
    pub sessions: u32,
}

/// Remembers that a session was opened.
pub fn opened(app: &App, wish: Wish<'_>, grant: &Grant) {
    let mut record = wish.record(app, Some(&grant.server));
    record.event = HistoryEvent::Opened;
    // Hours and ages are judged at the moment of the decision.
    record.at = grant.decided;
    record.policy = Some(grant.policy.clone());
    note(app, wish.attempt(record));
}

/// Remembers that a session was refused; `code` and `reason` are what the audit log says.
///
/// # Cancel safety
/// When dropped, it may not be remembered.
pub async fn refused(app: &App, wish: Wish<'_>, code: &str, reason: &str) {
    // A store that does not say what the server was like is no reason to forget that somebody asked for it.
    let server = app.store.find::<Server>(&wish.ask.server).await;
    let mut record = wish.record(app, server.ok().flatten().as_ref());
    record.code = Some(code.to_owned());
    record.reason = Some(Printable::new(reason).to_string());
    note(app, wish.attempt(record));
}

/// Puts a record into the queue, or counts that there was no room.
pub fn note(app: &App, attempt: Attempt) {
    if app.settings.history.records == 0 {
        return;
    }
    let history = &app.history;
    let person = (
        attempt.principal.issuer.as_str().to_owned(),
        attempt.principal.subject.as_str().to_owned(),
    );
    if history.persons.take(person, Instant::now()).is_err() {
        app.metrics.history_records(Kept::Dropped, 1);
        return;
    }
    if history.queue.try_send(attempt).is_ok() {
        return;
    }
    app.metrics.history_records(Kept::Dropped, 1);
    if !history.overflowing.swap(true, Ordering::Relaxed) {
        tracing::warn!(
            waiting = defaults::HISTORY_QUEUE,
            "the history cannot be written as fast as sessions come; some are not in it"
        );
    }
}

impl Wish<'_> {
    fn record(&self, app: &App, server: Option<&Server>) -> HistoryRecord {
        let principal = &self.who.principal;
        let mapping = app.people.mapping(&principal.issuer);
        let mapped = mapping.zip(server).and_then(|(mapping, server)| {
            let login = self.ask.login.as_ref();
            mapping.map(principal, &server.spec, login).ok()
        });
        HistoryRecord {
            at: app.clock.now(),
            event: HistoryEvent::Refused,
            session: self.id.cloned(),
            principal: bare(principal),
            server: self.ask.server.clone(),
            server_labels: server.map(|server| server.metadata().labels.clone()),
            ssh_user: server.and_then(|server| server.spec.ssh_user.clone()),
            login_requested: self.ask.login.clone(),
            login: mapped.as_ref().map(|mapped| mapped.login.clone()),
            origin: mapped.map(|mapped| mapped.origin),
            permission: self.ask.permission.clone(),
            source: self.from,
            sessions: self.sessions,
            policy: None,
            code: None,
            reason: None,
        }
    }

    fn attempt(&self, record: HistoryRecord) -> Attempt {
        Attempt {
            principal: Arc::clone(&self.who.principal),
            record: Box::new(record),
        }
    }
}

/// Somebody without what may be large about them.
fn bare(principal: &Principal) -> Principal {
    Principal {
        issuer: principal.issuer.clone(),
        subject: principal.subject.clone(),
        user: principal.user.clone(),
        claims: Default::default(),
        groups: Default::default(),
        method: principal.method.clone(),
        standing: principal.standing,
        authenticated_at: principal.authenticated_at,
        expires_at: principal.expires_at,
    }
}

impl Attempt {
    /// As it is stored. Of somebody about whom more is said than a record may hold, the longest claims are left out,
    /// and their groups last.
    fn line(self) -> Result<HistoryLine, serde_json::Error> {
        let Self {
            principal,
            mut record,
        } = self;
        let at = record.at;
        record.principal = Principal::clone(&principal);
        let mut body = serde_json::to_string(&record)?;
        while body.len() > defaults::HISTORY_RECORD_BYTES {
            let claims = &mut record.principal.claims;
            let longest = claims
                .iter()
                .max_by_key(|(_, value)| value.to_string().len())
                .map(|(name, _)| name.clone());
            match longest {
                Some(name) => drop(claims.remove(&name)),
                None if record.principal.groups.is_empty() => break,
                None => record.principal.groups.clear(),
            }
            body = serde_json::to_string(&record)?;
        }
        Ok(HistoryLine {
            at,
            about: about(&principal.issuer, principal.user.as_str()),
            body,
        })
    }
}

/// Writes the history until the hub is cut, and then what is left in the queue.
///
/// # Cancel safety
/// When dropped, what is in the queue is lost.
pub async fn run(app: App) {
    let Some(mut queue) = locked(&app.history.waiting).take() else {
        return;
    };
    let mut lines = Vec::new();
    let mut failing = false;
    loop {
        let mut batch = Vec::with_capacity(defaults::HISTORY_BATCH);
        tokio::select! {
            biased;
            () = app.shutdown.reached(Stage::Cut) => break,
            _ = queue.recv_many(&mut batch, defaults::HISTORY_BATCH) => {}
        }
        lines = to_lines(&app, batch);
        while let Err(error) = write(&app, &lines).await {
            if !failing {
                failing = true;
                tracing::warn!(cause = %error, "the history cannot be written; it is tried again");
            }
            tokio::select! {
                () = app.shutdown.reached(Stage::Cut) => break,
                () = sleep(defaults::STORE_RETRY) => {}
            }
            if app.shutdown.stage() >= Stage::Cut {
                break;
            }
        }
        if app.shutdown.stage() >= Stage::Cut {
            break;
        }
        if failing {
            failing = false;
            tracing::info!("the history is written again");
        }
        lines.clear();
        // Said again only after there was room for everything.
        if queue.is_empty() {
            app.history.overflowing.store(false, Ordering::Relaxed);
        }
    }
    // Sessions that are cut say so first; nobody opens another one.
    let _ = timeout(defaults::LAST_WORDS, app.shutdown.sessions().idle()).await;
    queue.close();
    loop {
        if !lines.is_empty()
            && let Err(error) = write(&app, &lines).await
        {
            let left = lines.len().saturating_add(queue.len());
            app.metrics.history_records(Kept::Dropped, count(left));
            tracing::warn!(cause = %error, left, "the end of the history could not be written");
            return;
        }
        let mut batch = Vec::new();
        while batch.len() < defaults::HISTORY_BATCH
            && let Ok(attempt) = queue.try_recv()
        {
            batch.push(attempt);
        }
        if batch.is_empty() {
            return;
        }
        lines = to_lines(&app, batch);
    }
}

fn to_lines(app: &App, batch: Vec<Attempt>) -> Vec<HistoryLine> {
    let all = batch.len();
    let lines: Vec<_> = batch
        .into_iter()
        .filter_map(|attempt| attempt.line().ok())
        .collect();
    let unwritable = all.saturating_sub(lines.len());
    if unwritable > 0 {
        app.metrics
            .history_records(Kept::Dropped, count(unwritable));
        tracing::error!(unwritable, "records cannot be written as JSON");
    }
    lines
}

async fn write(app: &App, lines: &[HistoryLine]) -> Result<(), StoreError> {
    app.store.append(lines.to_vec()).await?;
    app.metrics
        .history_records(Kept::Written, count(lines.len()));
    Ok(())
}

fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

/// Forgets what is too old, and the oldest of what is too much, every hour until the hub stops.
///
/// # Cancel safety
/// When dropped, what is left is forgotten the next time.
pub async fn prune(app: App) {
    let settings = app.settings.history;
    let mut ticks = interval(defaults::HISTORY_PRUNE_EVERY);
    loop {
        tokio::select! {
            () = app.shutdown.reached(Stage::StopAccepting) => return,
            _ = ticks.tick() => {}
        }
        let before = before(app.clock.now(), settings.age);
        tokio::select! {
            () = app.shutdown.reached(Stage::StopAccepting) => return,
            pruned = app.store.prune(before, settings.records) => match pruned {
                Ok(0) => {}
                Ok(records) => tracing::debug!(records, "the oldest of the history is forgotten"),
                Err(error) => tracing::warn!(cause = %error, "the history cannot be pruned"),
            }
        }
    }
}

fn before(now: Time, age: std::time::Duration) -> Time {
    now.timestamp().saturating_sub(age).map_or(now, Time::from)
}

/// A page of the history, and where the next one begins.
///
/// # Errors
/// When the store fails.
///
/// # Cancel safety
/// Cancel safe: it only reads.
pub async fn page(
    app: &App,
    query: HistoryQuery,
) -> Result<(Vec<HistoryRecord>, Option<HistoryCursor>), StoreError> {
    let HistoryPage { lines, next } = app.store.history(query).await?;
    Ok((lines.iter().filter_map(read).collect(), next))
}

/// What a person is found by. An issuer has no line break, so nobody is found in another's place.
fn about(issuer: &Issuer, user: &str) -> String {
    format!("{issuer}\n{user}")
}

/// The last time that somebody whom these issuers and policies call so asked for a session, and is the one meant.
///
/// # Errors
/// When the store fails.
///
/// # Cancel safety
/// Cancel safe: it only reads.
pub async fn last_seen(
    app: &App,
    issuers: &[Issuer],
    user: &str,
    meant: impl Fn(&Principal) -> bool,
) -> Result<Option<HistoryRecord>, StoreError> {
    let mut last: Option<HistoryRecord> = None;
    for issuer in issuers {
        let about = about(issuer, user);
        let lines = app
            .store
            .history_about(about, defaults::LAST_SEEN_RECORDS)
            .await?;
        let seen = lines
            .iter()
            .filter_map(read)
            .find(|record| meant(&record.principal));
        if seen.as_ref().map(|record| record.at) > last.as_ref().map(|record| record.at) {
            last = seen;
        }
    }
    Ok(last)
}

/// A line as the record that it is; none when another version wrote something that this one cannot read.
fn read(stored: &StoredLine) -> Option<HistoryRecord> {
    serde_json::from_str(&stored.line.body)
        .inspect_err(|error| {
            let place = stored.cursor;
            tracing::warn!(%place, cause = %error, "a record of the history cannot be read");
        })
        .ok()
}
