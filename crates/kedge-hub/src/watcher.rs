//! What changed in the store or among the people, told to everything that rests on it.
//!
//! * live sessions wait on the [`Epoch`] and ask again whether they may go on;
//! * tunnels of servers that are gone, or have another key now, are closed, once their sessions were told why;
//! * servers whose spec changed get their status settled.
//!
//! Status alone concerns nobody here: thousands of agents that come and go must not make every session think.

use std::collections::BTreeMap;
use std::time::Duration;

use kedge_api::{
    AccessPolicy, AgentPublicKey, LabelSelector, Labels, Server, ServerName, Uid, WatchEvent,
    names::Login, text::Printable,
};
use kedge_service::Stage;
use kedge_store::{StoreError, Watch, WatchFrom};
use tokio::{sync::watch, time::Instant};

use crate::{app::App, defaults, tunnel};

/// Counts changes that live sessions must look at.
#[derive(Debug)]
pub struct Epoch(watch::Sender<u64>);

impl Epoch {
    /// Something changed.
    pub fn advance(&self) {
        self.0.send_modify(|epoch| *epoch += 1);
    }

    /// A receiver that sees every change from now on.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.0.subscribe()
    }
}

impl Default for Epoch {
    fn default() -> Self {
        Self(watch::Sender::new(0))
    }
}

/// What of a server sessions and tunnels rest on.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Basis {
    uid: Option<Uid>,
    key: Option<AgentPublicKey>,
    user: Option<Login>,
    labels: Labels,
}

/// Watches until the hub is cut.
///
/// # Cancel safety
/// When dropped, changes are no longer told.
pub async fn run(app: App) {
    let mut basis = BTreeMap::new();
    let mut roster = app.people.changes();
    let mut due: Option<Instant> = None;
    let mut watches = None;
    loop {
        let (servers, policies) = match &mut watches {
            Some((servers, policies)) => (servers, policies),
            None => match subscribe(&app).await {
                // What happened while nobody watched is not known, so everything is looked at.
                Ok(fresh) => {
                    basis.clear();
                    tunnel::close_foreign(&app).await;
                    tell(&app).await;
                    due.get_or_insert(Instant::now() + defaults::REEVALUATE_DEBOUNCE);
                    let (servers, policies) = watches.insert(fresh);
                    (servers, policies)
                }
                Err(error) => {
                    tracing::warn!(cause = %error, "cannot watch the store");
                    tokio::select! {
                        () = app.shutdown.reached(Stage::Cut) => return,
                        () = tokio::time::sleep(defaults::STORE_RETRY) => continue,
                    }
                }
            },
        };
        let soon = due;
        let concerns = tokio::select! {
            () = app.shutdown.reached(Stage::Cut) => return,
            () = async { tokio::time::sleep_until(soon.unwrap_or_else(Instant::now)).await }, if soon.is_some() => {
                due = None;
                tell(&app).await;
                app.epoch.advance();
                Concerns::Nobody
            }
            changed = roster.changed() => if changed.is_ok() { Concerns::Sessions } else { return },
            event = policies.next() => match event {
                Some(Ok(WatchEvent::Bookmark(_))) => Concerns::Nobody,
                Some(Ok(_)) => Concerns::Sessions,
                Some(Err(error)) => Concerns::lost(&error),
                None => Concerns::Watches(defaults::REEVALUATE_DEBOUNCE),
            },
            event = servers.next() => match event {
                Some(Ok(event)) => server_changed(&app, &mut basis, event),
                Some(Err(error)) => Concerns::lost(&error),
                None => Concerns::Watches(defaults::REEVALUATE_DEBOUNCE),
            },
        };
        match concerns {
            Concerns::Nobody => {}
            Concerns::Sessions => {
                due.get_or_insert(Instant::now() + defaults::REEVALUATE_DEBOUNCE);
            }
            Concerns::Watches(pause) => {
                watches = None;
                tokio::select! {
                    () = app.shutdown.reached(Stage::Cut) => return,
                    () = tokio::time::sleep(pause) => {}
                }
            }
        }
    }
}

enum Concerns {
    Nobody,
    Sessions,
    /// The watches themselves, which are begun anew after a pause.
    Watches(Duration),
}

impl Concerns {
    /// What an error of a watch means. What cannot be read is there the next time as well, and every beginning makes
    /// all sessions think.
    fn lost(error: &StoreError) -> Self {
        match error {
            StoreError::Unreadable { .. } => {
                tracing::warn!(cause = %error, "cannot watch the store");
                Self::Watches(defaults::UNREADABLE_RETRY)
            }
            _ => Self::Watches(defaults::REEVALUATE_DEBOUNCE),
        }
    }
}

/// Has `/ready` say whether a policy cannot be read: people are refused then, and whoever operates the hub must know why.
async fn tell(app: &App) {
    let lines = match app.policies.current(&*app.store).await {
        Err(error @ StoreError::Unreadable { .. }) => vec![format!(
            "policies: {}; nobody but administrators is let in until one of them removes it",
            Printable::new(&error.to_string())
        )],
        _ => Vec::new(),
    };
    app.readiness.note("policies", lines);
}

async fn subscribe(app: &App) -> Result<(Watch<Server>, Watch<AccessPolicy>), StoreError> {
    let everything = LabelSelector::default();
    let servers = app
        .store
        .watch::<Server>(&everything, WatchFrom::Start)
        .await?;
    let policies = app
        .store
        .watch::<AccessPolicy>(&everything, WatchFrom::Start)
        .await?;
    Ok((servers, policies))
}

fn server_changed(
    app: &App,
    basis: &mut BTreeMap<ServerName, Basis>,
    event: WatchEvent<Server>,
) -> Concerns {
    let (server, gone) = match event {
        WatchEvent::Added(server) | WatchEvent::Modified(server) => (server, false),
        WatchEvent::Deleted(server) => (server, true),
        _ => return Concerns::Nobody,
    };
    let name = server.name();
    let now = Basis {
        uid: server.metadata.uid.clone(),
        key: server.spec.agent_key,
        user: server.spec.ssh_user.clone(),
        labels: server.metadata.labels.clone(),
    };
    let before = if gone {
        basis.remove(&name)
    } else {
        basis.insert(name.clone(), now.clone())
    };
    // Only what is about this very server: an old event must not hit the tunnel of a namesake that came later.
    if let Some((generation, tunnel)) = app.tunnels.current(&name)
        && tunnel.uid == server.metadata.uid
        && (gone || Some(tunnel.key) != server.spec.agent_key)
    {
        app.tunnels.unregister(&name, generation);
        tunnel::revoke(app, tunnel.link);
    }
    if gone {
        app.keyring.forget(&name);
        return Concerns::Sessions;
    }
    match &before {
        None => app.presence.mark_new(name),
        Some(_) => app.presence.mark(name),
    }
    if before.as_ref() == Some(&now) {
        Concerns::Nobody
    } else {
        Concerns::Sessions
    }
}
