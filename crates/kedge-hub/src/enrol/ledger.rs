//! What happens to the uses of a join token, one write for all that happens at the same moment.
//!
//! ```text
//!  reserve ─▶ used += 1, number in joining ── server made ─▶ number out of joining, name in usedBy (the last few)
//!                                          └─ no server ──▶ number out of joining, used -= 1
//! ```
//!
//! * `used` is the sum of `usedEarlier`, the names in `usedBy` and the numbers in `joining`, at every version. So what
//!   was under way in a hub that died is known exactly, and the object stays small however many use it.
//! * Whoever comes while a write is under way waits, and the next write has all of those. A fleet that joins with one
//!   token would otherwise conflict with itself, all of it each time that one of it gets through.

use std::{collections::BTreeMap, sync::Mutex};

use kedge_api::{JoinToken, ServerName, Time, Uid, meta::Changed};
use kedge_store::{SharedStore, StoreError};
use tokio::sync::oneshot;

use crate::{defaults, sync::locked};

/// The turn to write, and who waits for it by the names of their tokens. Those are enrolments, and they are bounded by
/// connections.
#[derive(Debug, Default)]
pub struct Ledger {
    turn: tokio::sync::Mutex<()>,
    waiting: Mutex<BTreeMap<String, Vec<Entry>>>,
}

#[derive(Debug)]
struct Entry {
    uid: Option<Uid>,
    step: Step,
    answer: oneshot::Sender<Result<Answer, StoreError>>,
}

/// What happens to a use.
#[derive(Clone, Debug)]
pub(super) enum Step {
    /// No server came of it.
    GiveBack(u64),
    /// It is this server's.
    Name(u64, ServerName, Time),
    /// One is taken.
    Reserve(Time),
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// It is written, about the use with this number.
    Done(u64),
    /// There is no use to be had.
    Spent(&'static str),
}

impl Ledger {
    /// Does one step at the newest status of `token`. A token of the same name that is another one stays as it is.
    ///
    /// # Errors
    /// Those of the store, and then nothing is done.
    ///
    /// # Cancel safety
    /// When dropped, the step may be done or not.
    pub(super) async fn change(
        &self,
        store: &SharedStore,
        token: &JoinToken,
        step: Step,
    ) -> Result<Answer, StoreError> {
        let name = token.metadata.name.as_str();
        let (answer, mut answered) = oneshot::channel();
        let entry = Entry {
            uid: token.metadata.uid.clone(),
            step,
            answer,
        };
        locked(&self.waiting)
            .entry(name.to_owned())
            .or_default()
            .push(entry);
        let _turn = tokio::select! {
            biased;
            answer = &mut answered => return answer.unwrap_or(Err(StoreError::Closed)),
            turn = self.turn.lock() => turn,
        };
        // It was not done by whoever had the turn before, so it waits here, and maybe others with it.
        if let Ok(answer) = answered.try_recv() {
            return answer;
        }
        let entries = locked(&self.waiting).remove(name).unwrap_or_default();
        write(store, name, entries).await;
        answered.await.unwrap_or(Err(StoreError::Closed))
    }
}

async fn write(store: &SharedStore, name: &str, mut entries: Vec<Entry>) {
    // A use that nobody waits for any more would be nobody's.
    entries.retain(|entry| !(matches!(entry.step, Step::Reserve(_)) && entry.answer.is_closed()));
    let mut answers = Vec::new();
    let mut rounds = 0;
    let written = loop {
        let all = |token: &mut JoinToken| {
            let before = token.status.clone();
            answers = entries.iter().map(|entry| entry.apply(token)).collect();
            if token.status == before {
                Changed::No
            } else {
                Changed::Yes
            }
        };
        match store.modify_status::<JoinToken>(name, all).await {
            Err(StoreError::Conflict { .. }) if rounds < defaults::CONFLICT_ROUNDS => {
                rounds += 1;
                tokio::task::yield_now().await;
            }
            written => break written,
        }
    };
    // Whoever does not listen any more has what was done all the same.
    match written {
        Ok(_) => {
            for (entry, answer) in entries.into_iter().zip(answers) {
                let _ = entry.answer.send(Ok(answer));
            }
        }
        Err(error) => {
            for entry in entries {
                let _ = entry.answer.send(Err(error.clone()));
            }
        }
    }
}

impl Entry {
    fn apply(&self, token: &mut JoinToken) -> Answer {
        let same = self.uid == token.metadata.uid;
        match &self.step {
            Step::Reserve(_) if !same => Answer::Spent("the join token was revoked"),
            Step::Reserve(now) => reserve(token, *now),
            Step::Name(number, server, now) => {
                if same && done(token, *number) {
                    token.status.last_used_at = Some(*now);
                    add_name(token, server.clone());
                }
                Answer::Done(*number)
            }
            Step::GiveBack(number) => {
                if same && done(token, *number) {
                    token.status.used = token.status.used.saturating_sub(1);
                }
                Answer::Done(*number)
            }
        }
    }
}

fn reserve(token: &mut JoinToken, now: Time) -> Answer {
    if token.status.used >= token.spec.uses {
        return Answer::Spent("the join token was used already");
    }
    if token.is_spent(now) {
        return Answer::Spent("the join token has expired");
    }
    let status = &mut token.status;
    status.used += 1;
    status.last_use = status.last_use.saturating_add(1);
    status.joining.push(status.last_use);
    status.last_used_at = Some(now);
    Answer::Done(status.last_use)
}

/// Whether the use was under way; it no longer is.
fn done(token: &mut JoinToken, number: u64) -> bool {
    let joining = &mut token.status.joining;
    let before = joining.len();
    joining.retain(|one| *one != number);
    joining.len() != before
}

/// Once for each use, also of a name that joined before, was deleted, and joins again: they are counted.
pub(super) fn add_name(token: &mut JoinToken, server: ServerName) {
    token.status.used_by.push(server);
    keep_last(token);
}

/// The names that came first are counted and no longer said.
pub(super) fn keep_last(token: &mut JoinToken) {
    let status = &mut token.status;
    let surplus = status
        .used_by
        .len()
        .saturating_sub(defaults::JOIN_TOKEN_NAMES);
    status.used_by.drain(..surplus);
    status.used_earlier = status
        .used_earlier
        .saturating_add(u32::try_from(surplus).unwrap_or(u32::MAX));
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use futures_util::future::join_all;
    use kedge_api::{Resource as _, resources::JoinTokenSpec};
    use kedge_store::{EmbeddedStore, WatchFrom};

    use super::*;

    fn now() -> Time {
        "2026-01-01T12:00:00Z".parse().unwrap()
    }

    async fn token_of(uses: u32) -> (tempfile::TempDir, SharedStore, JoinToken) {
        let folder = tempfile::tempdir().unwrap();
        let store: SharedStore =
            Arc::new(EmbeddedStore::open(folder.path().join("hub.db")).unwrap());
        let spec = JoinTokenSpec {
            uses,
            expires_at: Some("2026-01-01T13:00:00Z".parse().unwrap()),
            ..JoinTokenSpec::default()
        };
        let token = JoinToken::new("abcdefghij".parse().unwrap(), spec);
        let token = store.create(&token).await.unwrap();
        (folder, store, token)
    }

    /// What holds at every version.
    fn check(token: &JoinToken) {
        let status = &token.status;
        let sum = status.used_earlier as usize + status.used_by.len() + status.joining.len();
        assert_eq!(status.used as usize, sum, "{status:?}");
        assert!(status.used <= token.spec.uses);
        assert!(status.used_by.len() <= defaults::JOIN_TOKEN_NAMES);
    }

    #[tokio::test]
    async fn a_fleet_is_counted_exactly_in_a_few_small_writes() {
        const FLEET: u32 = 300;
        const USES: u32 = 250;
        let (_folder, store, token) = token_of(USES).await;
        let version = token.metadata.resource_version.unwrap();
        let mut watch = store
            .watch::<JoinToken>(&Default::default(), WatchFrom::After(version))
            .await
            .unwrap();
        let ledger = Ledger::default();
        let reserved =
            join_all((0..FLEET).map(|_| ledger.change(&store, &token, Step::Reserve(now())))).await;
        let mut numbers = Vec::new();
        for answer in reserved {
            match answer.unwrap() {
                Answer::Done(number) => numbers.push(number),
                Answer::Spent(why) => assert!(why.contains("used already"), "{why}"),
            }
        }
        assert_eq!(numbers, (1..=u64::from(USES)).collect::<Vec<_>>());
        // Of each ten, one gets no server.
        join_all(numbers.iter().map(|&number| {
            let step = if number % 10 == 0 {
                Step::GiveBack(number)
            } else {
                Step::Name(number, format!("web{number}").parse().unwrap(), now())
            };
            ledger.change(&store, &token, step)
        }))
        .await;
        let last = store.get::<JoinToken>("abcdefghij").await.unwrap();
        assert_eq!(last.status.used, USES - USES / 10);
        assert_eq!(last.status.used_by.last().unwrap().as_str(), "web249");
        assert!(last.status.joining.is_empty());
        let mut writes = 0;
        loop {
            let Some(Ok(kedge_api::WatchEvent::Modified(seen))) = watch.next().await else {
                panic!("a change")
            };
            check(&seen);
            writes += 1;
            if seen.metadata.resource_version == last.metadata.resource_version {
                break;
            }
        }
        assert!(writes <= 8, "{writes} writes for {FLEET} agents");
        assert!(locked(&ledger.waiting).is_empty());
    }

    #[tokio::test]
    async fn a_step_is_done_once_and_at_its_own_token_only() {
        let (_folder, store, token) = token_of(2).await;
        let ledger = Ledger::default();
        let change = |token: JoinToken, step| {
            let (ledger, store) = (&ledger, &store);
            async move { ledger.change(store, &token, step).await.unwrap() }
        };
        let used = || async {
            let token = store.get::<JoinToken>("abcdefghij").await.unwrap();
            check(&token);
            token.status.used
        };
        assert_eq!(
            change(token.clone(), Step::Reserve(now())).await,
            Answer::Done(1)
        );
        assert_eq!(
            change(token.clone(), Step::Reserve(now())).await,
            Answer::Done(2)
        );
        for _ in 0..2 {
            change(token.clone(), Step::GiveBack(2)).await;
            assert_eq!(used().await, 1, "once");
            change(
                token.clone(),
                Step::Name(1, "web01".parse().unwrap(), now()),
            )
            .await;
            change(token.clone(), Step::GiveBack(1)).await;
            assert_eq!(used().await, 1, "it has a server");
        }
        assert_eq!(
            change(token.clone(), Step::Reserve(now())).await,
            Answer::Done(3),
            "a number is never used again"
        );
        let mut other = token.clone();
        other.metadata.uid = None;
        change(other.clone(), Step::GiveBack(3)).await;
        change(
            other.clone(),
            Step::Name(3, "web02".parse().unwrap(), now()),
        )
        .await;
        assert_eq!(
            change(other, Step::Reserve(now())).await,
            Answer::Spent("the join token was revoked")
        );
        assert_eq!(used().await, 2);
        let late = "2026-01-01T14:00:00Z".parse().unwrap();
        change(token.clone(), Step::GiveBack(3)).await;
        assert_eq!(
            change(token, Step::Reserve(late)).await,
            Answer::Spent("the join token has expired")
        );
    }

    #[tokio::test]
    async fn a_use_that_nobody_waits_for_is_not_taken() {
        let (_folder, store, token) = token_of(2).await;
        let ledger = Ledger::default();
        let turn = ledger.turn.lock().await;
        {
            let mut gone = std::pin::pin!(ledger.change(&store, &token, Step::Reserve(now())));
            assert!(futures_util::poll!(gone.as_mut()).is_pending());
        }
        drop(turn);
        let answer = ledger.change(&store, &token, Step::Reserve(now())).await;
        assert_eq!(answer.unwrap(), Answer::Done(1));
        assert_eq!(
            store
                .get::<JoinToken>("abcdefghij")
                .await
                .unwrap()
                .status
                .used,
            1
        );
    }
}
