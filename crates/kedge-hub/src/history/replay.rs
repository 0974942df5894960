//! What other policies would have said to the sessions of the history.
//!
//! A page of it is at most [`defaults::REPLAY_RECORDS`] records, [`defaults::REPLAY_TIME`] of a processor and
//! [`defaults::REPLAY_BYTES`] of answer, whichever comes first; the caller asks for the next one. The work is done
//! beside the runtime's threads, because sessions must not wait for it.

use std::{collections::BTreeMap, time::Instant};

use kedge_api::{
    AccessPolicy, Issuer, ObjectName, Resource, Standing, Time,
    policy::{Decision, Outcome},
    rest::{HistoryRecord, Replay, ReplayChange, Verdict},
};
use kedge_store::{HistoryCursor, HistoryPage, HistoryQuery, StoreError};
use tokio::sync::OwnedSemaphorePermit;

use super::read;
use crate::{app::App, defaults, policies::Entry};

/// Policies on trial.
#[derive(Clone, Debug)]
pub struct Trial {
    stored: Vec<AccessPolicy>,
    tried: Vec<AccessPolicy>,
    standings: BTreeMap<Issuer, Standing>,
}

/// There is no such policy to be left out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no policy `{0}` to leave out")]
pub struct NoSuchPolicy(pub ObjectName);

impl Trial {
    /// The stored policies, and what they become with some others in place of those of the same name and without some;
    /// and where the people of each issuer stand now, as that is how policies will mean them.
    ///
    /// # Errors
    /// When a policy is to be left out that is not there.
    pub fn new(
        stored: &[Entry],
        others: Vec<AccessPolicy>,
        without: &[ObjectName],
        standings: BTreeMap<Issuer, Standing>,
    ) -> Result<Self, NoSuchPolicy> {
        let stored: Vec<_> = stored.iter().map(|entry| entry.policy().clone()).collect();
        let by_name = |policy: &AccessPolicy| (policy.metadata().name.clone(), policy.clone());
        let mut tried: BTreeMap<_, _> = stored.iter().map(by_name).collect();
        for name in without {
            if tried.remove(name).is_none() {
                return Err(NoSuchPolicy(name.clone()));
            }
        }
        tried.extend(others.iter().map(by_name));
        Ok(Self {
            stored,
            tried: tried.into_values().collect(),
            standings,
        })
    }

    /// What a record's session would have come to; none when it comes to the same, or when there was nothing to decide.
    fn judge(&self, record: &mut HistoryRecord) -> Option<(Decision, Decision)> {
        let recorded = record.principal.standing;
        // The people of an issuer that is trusted no more stand where they stood.
        let now = self.standings.get(&record.principal.issuer);
        record.principal.standing = now.copied().unwrap_or(recorded);
        let before = record.judge(&self.stored);
        let after = record.judge(&self.tried);
        record.principal.standing = recorded;
        before
            .zip(after)
            .filter(|(before, after)| before.is_allowed() != after.is_allowed())
    }
}

/// Tries policies on a page of the history. The permit says that nobody else does; it is given back when the work is
/// done, also when nobody waits for it any more.
///
/// # Errors
/// When the store fails.
///
/// # Cancel safety
/// When dropped, the work ends with the piece at hand.
pub async fn replay(
    app: &App,
    mut trial: Trial,
    since: Time,
    after: Option<HistoryCursor>,
    mut permit: OwnedSemaphorePermit,
) -> Result<Replay, StoreError> {
    let mut query = HistoryQuery {
        since: Some(since),
        after,
        limit: defaults::REPLAY_RECORDS,
    };
    let mut answer = Replay::default();
    let mut budget = Budget::default();
    loop {
        let page = app.store.history(query).await?;
        let next = page.next;
        let work = move || {
            let stop = look(&trial, page, &mut answer, &mut budget);
            (trial, answer, budget, permit, stop)
        };
        let stop;
        (trial, answer, budget, permit, stop) = tokio::task::spawn_blocking(work)
            .await
            .map_err(|_| StoreError::Closed)?;
        match (stop, next) {
            (Some(place), _) => {
                answer.continue_token = Some(place.to_string());
                return Ok(answer);
            }
            (None, None) => return Ok(answer),
            (None, next) => query.after = next,
        }
    }
}

/// What a page of a replay has used up.
#[derive(Clone, Copy, Debug, Default)]
struct Budget {
    records: usize,
    time: std::time::Duration,
    bytes: usize,
}

impl Budget {
    fn is_used_up(&self) -> bool {
        self.records >= defaults::REPLAY_RECORDS
            || self.time >= defaults::REPLAY_TIME
            || self.bytes >= defaults::REPLAY_BYTES
    }
}

/// Looks at a piece of the history. Answers where it stopped, when that was before the end.
fn look(
    trial: &Trial,
    page: HistoryPage,
    answer: &mut Replay,
    budget: &mut Budget,
) -> Option<HistoryCursor> {
    let begun = Instant::now();
    let spent = budget.time;
    let last = page.lines.len().saturating_sub(1);
    for (index, stored) in page.lines.iter().enumerate() {
        budget.records = budget.records.saturating_add(1);
        answer.examined = answer.examined.saturating_add(1);
        let record = read(stored);
        match record.and_then(|mut record| Some((trial.judge(&mut record)?, record))) {
            None => answer.unchanged = answer.unchanged.saturating_add(1),
            Some(((before, after), record)) => {
                budget.bytes = budget.bytes.saturating_add(stored.line.body.len());
                answer
                    .changed
                    .push(change(record, &before.outcome, &after.outcome));
            }
        }
        budget.time = spent.saturating_add(begun.elapsed());
        let ends_here = index == last && page.next.is_none();
        if budget.is_used_up() && !ends_here {
            return Some(stored.cursor);
        }
    }
    None
}

fn change(record: HistoryRecord, before: &Outcome, after: &Outcome) -> ReplayChange {
    ReplayChange {
        before: Verdict::from(before),
        after: Verdict::from(after),
        policy: after.policy().cloned(),
        record,
    }
}
