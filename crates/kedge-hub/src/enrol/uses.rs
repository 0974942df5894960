//! The uses of a join token: reserved before a server is made, named after it, given back when it was not.

use kedge_api::{
    JoinToken, LabelSelector, Server, ServerName, Status, StatusReason, Time, meta::Changed,
};
use kedge_service::Stage;
use kedge_store::StoreError;

use super::{Refused, joined_with};
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
    for token in app.store.list::<JoinToken>(&everything).await?.items {
        let name = token.metadata.name.as_str();
        let made: Vec<_> = servers
            .items
            .iter()
            .filter(|server| joined_with(server, name))
            .map(Server::name)
            .collect();
        app.store
            .modify_status::<JoinToken>(name, |token| reconciled(token, &made))
            .await?;
    }
    Ok(())
}

fn reconciled(token: &mut JoinToken, made: &[ServerName]) -> Changed {
    let before = token.status.clone();
    for name in made {
        if !token.status.used_by.contains(name) {
            token.status.used_by.push(name.clone());
        }
    }
    token.status.used = u32::try_from(token.status.used_by.len()).unwrap_or(u32::MAX);
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

/// Takes one use, or finds that there is none left.
pub(super) async fn reserve(app: &App, token: &JoinToken, now: Time) -> Result<(), Refused> {
    let mut spent = None;
    let result = change(app, token, |newest| {
        spent = None;
        if newest.metadata.uid != token.metadata.uid {
            spent = Some("the join token was revoked");
        } else if newest.status.used >= newest.spec.uses {
            spent = Some("the join token was used already");
        } else if newest.is_spent(now) {
            spent = Some("the join token has expired");
        }
        if spent.is_some() {
            return Changed::No;
        }
        newest.status.used += 1;
        newest.status.last_used_at = Some(now);
        Changed::Yes
    })
    .await;
    match (result, spent) {
        (_, Some(why)) => {
            let words = format!("{why}; ask for another one (`kedge token create`)");
            Err(Refused::Told(Status::new(
                StatusReason::Unauthorized,
                words,
            )))
        }
        (Ok(()), None) => Ok(()),
        (Err(StoreError::NotFound { .. }), None) => Err(Refused::Unproved(
            "the join token was revoked a moment ago".to_owned(),
        )),
        (Err(error), None) => Err(error.into()),
    }
}

/// Names who used it. Nothing rests on it now; the next start would do it too.
pub(super) async fn name(app: &App, token: &JoinToken, server: &ServerName, now: Time) {
    let result = change(app, token, |newest| {
        if newest.metadata.uid != token.metadata.uid {
            return Changed::No;
        }
        // Once for each use, also of a name that joined before, was deleted, and joins again: they are counted.
        newest.status.last_used_at = Some(now);
        newest.status.used_by.push(server.clone());
        Changed::Yes
    })
    .await;
    if let Err(error) = result {
        tracing::warn!(token = %token.metadata.name, cause = %error, "who used a join token cannot be written");
    }
}

/// Gives a use back. While the store takes no writes it is tried again, until the hub ends; its next start would do
/// it too.
pub(super) async fn give_back(app: &App, token: &JoinToken) {
    let Err(error) = give_back_once(app, token).await else {
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
            if give_back_once(&later, &token).await.is_ok() {
                return;
            }
        }
    });
}

async fn give_back_once(app: &App, token: &JoinToken) -> Result<(), StoreError> {
    let result = change(app, token, |newest| {
        if newest.metadata.uid != token.metadata.uid || newest.status.used == 0 {
            return Changed::No;
        }
        newest.status.used -= 1;
        Changed::Yes
    })
    .await;
    match result {
        // A token that was revoked has no uses to give back.
        Err(StoreError::NotFound { .. }) => Ok(()),
        result => result,
    }
}

/// Changes the newest status of a token, however many others do the same.
async fn change(
    app: &App,
    token: &JoinToken,
    mut change: impl FnMut(&mut JoinToken) -> Changed + Send,
) -> Result<(), StoreError> {
    let _turn = app.joining.lock().await;
    let mut rounds = 0;
    loop {
        let name = &token.metadata.name;
        match app
            .store
            .modify_status::<JoinToken>(name, &mut change)
            .await
        {
            Err(StoreError::Conflict { .. }) if rounds < defaults::CONFLICT_ROUNDS => {
                rounds += 1;
                tokio::task::yield_now().await;
            }
            result => return result.map(|_| ()),
        }
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

    #[test]
    fn a_use_without_a_server_is_given_back_and_a_server_without_its_use_is_counted() {
        let names = |names: &[&str]| {
            names
                .iter()
                .map(|name| name.parse().unwrap())
                .collect::<Vec<ServerName>>()
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
