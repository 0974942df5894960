//! The uses of a join token: reserved before a server is made, named after it, given back when it was not.

use std::collections::BTreeMap;

use kedge_api::{
    JoinToken, LabelSelector, Server, ServerName, Status, StatusReason, Time, meta::Changed,
};
use kedge_service::Stage;
use kedge_store::StoreError;

use super::{
    Joined, Refused, joined_with,
    ledger::{self, Answer, Step},
};
use crate::{app::App, defaults};

/// Gives back uses that were reserved by a hub that died before it made the server, and names those whose server was
/// made. Called before the hub listens, when no enrolment is under way.
///
/// # Errors
/// When the store fails.
///
/// # Cancel safety
/// When dropped, some tokens are done and some are not.
pub async fn reconcile(app: &App) -> Result<(), StoreError> {
    let everything = LabelSelector::default();
    let servers = app.store.list::<Server>(&everything).await?;
    let mut joined: BTreeMap<&str, Vec<Joined>> = BTreeMap::new();
    for server in &servers.items {
        if let Some((token, joined_by)) = joined_with(server) {
            joined.entry(token).or_default().push(joined_by);
        }
    }
    for token in app.store.list::<JoinToken>(&everything).await?.items {
        let name = token.metadata.name.as_str();
        let made = joined.remove(name).unwrap_or_default();
        app.store
            .modify_status::<JoinToken>(name, |token| reconciled(token, &made))
            .await?;
    }
    Ok(())
}

fn reconciled(token: &mut JoinToken, made: &[Joined]) -> Changed {
    let before = token.status.clone();
    for number in std::mem::take(&mut token.status.joining) {
        if let Some(joined) = made.iter().find(|joined| joined.number == Some(number)) {
            token.status.used_by.push(joined.server.clone());
        }
    }
    // Hubs of before named every use and gave it no number. A list that is not whole was written by one of now.
    if token.status.used_earlier == 0 {
        for joined in made {
            if !token.status.used_by.contains(&joined.server) {
                token.status.used_by.push(joined.server.clone());
            }
        }
    }
    ledger::keep_last(token);
    let names = u32::try_from(token.status.used_by.len()).unwrap_or(u32::MAX);
    token.status.used = token.status.used_earlier.saturating_add(names);
    if token.status == before {
        Changed::No
    } else {
        Changed::Yes
    }
}

/// The longest life of a join token that may be asked for, seen from `now`.
#[must_use]
pub fn latest_end(now: Time) -> Time {
    now.saturating_add(defaults::JOIN_TOKEN_LIFE_MAX)
}

/// Takes one use, or finds that there is none left. The number is that use's for ever.
pub(super) async fn reserve(app: &App, token: &JoinToken, now: Time) -> Result<u64, Refused> {
    let step = Step::Reserve(now);
    match app.ledger.change(&app.store, token, step).await {
        Ok(Answer::Done(number)) => Ok(number),
        Ok(Answer::Spent(why)) => {
            let words = format!("{why}; ask for another one (`kedge token create`)");
            Err(Refused::Told(Status::new(
                StatusReason::Unauthorized,
                words,
            )))
        }
        Err(StoreError::NotFound { .. }) => Err(Refused::Unproved(
            "the join token was revoked a moment ago".to_owned(),
        )),
        Err(error) => Err(error.into()),
    }
}

/// Names who used it. Nothing rests on it now; the next start would do it too.
pub(super) async fn name(
    app: &App,
    token: &JoinToken,
    number: u64,
    server: &ServerName,
    now: Time,
) {
    let step = Step::Name(number, server.clone(), now);
    if let Err(error) = app.ledger.change(&app.store, token, step).await {
        tracing::warn!(token = %token.metadata.name, cause = %error, "who used a join token cannot be written");
    }
}

/// Gives a use back. While the store takes no writes it is tried again, until the hub ends; its next start would do
/// it too.
pub(super) async fn give_back(app: &App, token: &JoinToken, number: u64) {
    let Err(error) = give_back_once(app, token, number).await else {
        return;
    };
    tracing::warn!(
        token = %token.metadata.name,
        cause = %error,
        "a use of a join token cannot be given back now; it is tried again"
    );
    let (later, token) = (app.clone(), token.clone());
    app.shutdown.tasks().spawn("give back", async move {
        loop {
            tokio::select! {
                () = later.shutdown.reached(Stage::Cut) => return,
                () = tokio::time::sleep(defaults::STORE_RETRY) => {}
            }
            if give_back_once(&later, &token, number).await.is_ok() {
                return;
            }
        }
    });
}

async fn give_back_once(app: &App, token: &JoinToken, number: u64) -> Result<(), StoreError> {
    let step = Step::GiveBack(number);
    match app.ledger.change(&app.store, token, step).await {
        // A token that was revoked has no uses to give back.
        Ok(_) | Err(StoreError::NotFound { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kedge_api::{Resource as _, resources::JoinTokenSpec};

    fn token(used: u32, used_by: &[&str]) -> JoinToken {
        let mut token = JoinToken::new("abcdefghij".parse().unwrap(), JoinTokenSpec::default());
        token.status.used = used;
        token.status.used_by = used_by.iter().map(|name| name.parse().unwrap()).collect();
        token
    }

    fn joined(name: &str, number: Option<u64>) -> Joined {
        Joined {
            server: name.parse().unwrap(),
            number,
        }
    }

    #[test]
    fn what_was_under_way_is_known_by_its_number() {
        for (earlier, used_by, joining, made, wanted) in [
            (0, &[][..], &[1][..], &[][..], 0),
            (0, &[], &[1], &[("web01", 1)], 1),
            // Of two that wanted one name, one got it.
            (0, &[], &[1, 2], &[("web01", 2)], 1),
            (0, &["web01"], &[2], &[("web01", 1)], 1),
            // It was deleted and came again.
            (0, &["web01"], &[2], &[("web01", 2)], 2),
            (7, &["c"], &[9, 10], &[("a", 1), ("c", 8), ("d", 10)], 9),
            (7, &["c"], &[], &[("a", 1), ("c", 8)], 8),
        ] {
            let mut token = token(99, used_by);
            token.status.used_earlier = earlier;
            token.status.joining = joining.to_vec();
            let made: Vec<_> = made
                .iter()
                .map(|(name, number)| joined(name, Some(*number)))
                .collect();
            assert_eq!(reconciled(&mut token, &made), Changed::Yes);
            let case = (used_by, joining, &made);
            assert_eq!(token.status.used, wanted, "{case:?}");
            assert!(token.status.joining.is_empty(), "{case:?}");
            assert_eq!(reconciled(&mut token, &made), Changed::No, "{case:?}");
        }
    }

    #[test]
    fn the_names_of_a_hub_of_before_are_counted_and_the_last_are_kept() {
        let names: Vec<_> = (0..1000).map(|number| format!("web{number}")).collect();
        let names: Vec<_> = names.iter().map(String::as_str).collect();
        let made: Vec<_> = names.iter().map(|name| joined(name, None)).collect();
        // The last had no name yet, and another was never made.
        let mut token = token(1001, &names[..999]);
        reconciled(&mut token, &made);
        assert_eq!(token.status.used, 1000);
        assert_eq!(token.status.used_by.len(), defaults::JOIN_TOKEN_NAMES);
        assert_eq!(token.status.used_by.last().unwrap().as_str(), "web999");
        assert_eq!(reconciled(&mut token, &made), Changed::No);
    }

    #[test]
    fn a_use_without_a_server_is_given_back_and_a_server_without_its_use_is_counted() {
        let names = |names: &[&str]| {
            names
                .iter()
                .map(|name| joined(name, None))
                .collect::<Vec<Joined>>()
        };
        for (used, used_by, made, wanted) in [
            (1, &[][..], &[][..], 0),
            (1, &[], &["web01"], 1),
            (1, &["web01"], &["web01"], 1),
            (1, &["deleted-since"], &[], 1),
            (3, &["a"], &["a", "b"], 2),
            (2, &["again", "again"], &["again"], 2),
            (2, &["again", "again"], &[], 2),
        ] {
            let mut token = token(used, used_by);
            reconciled(&mut token, &names(made));
            assert_eq!(token.status.used, wanted, "{used} {used_by:?} {made:?}");
            assert_eq!(
                reconciled(&mut token, &names(made)),
                Changed::No,
                "once is enough"
            );
        }
    }
}
