//! A person's link: the streams it opens, and its end.

use std::net::IpAddr;

use kedge_service::Stage;
use kedge_tunnel::{CloseReason, Incoming, Link, RefuseCode, Target};
use tokio::time::{Instant, sleep_until};

use super::{
    live::{self, Caller},
    refusal,
    signing::{self, Neighbour, Neighbours},
};
use crate::{
    app::App,
    audit::{self, Actor, Asked},
    defaults,
    handover::Passage,
    people::Authenticated,
};

/// Accepts streams until the link ends, the person is no longer who they were, or the hub stops. The first session
/// that is granted takes the connection along `passage` to the shard of its agent.
///
/// # Cancel safety
/// When dropped, no new stream is accepted; sessions that run are tasks of their own.
pub async fn serve(app: App, link: Link, who: Authenticated, from: IpAddr, passage: Passage) {
    let mut roster = app.people.changes();
    // The token was looked at before this subscription, so it is looked at once more.
    roster.mark_changed();
    let mut told = false;
    let person = || {
        let principal = &who.principal;
        (
            principal.issuer.as_str().to_owned(),
            principal.subject.as_str().to_owned(),
        )
    };
    let neighbours = Neighbours::default();
    let caller = Caller {
        who: who.clone(),
        from,
        link: link.clone(),
        since: app.clock.now(),
    };
    // While this person asks too often one stream waits here, and the others with the link, which bounds how many.
    let mut held: Option<(Incoming, Neighbour)> = None;
    let mut turn = Instant::now();
    loop {
        tokio::select! {
            biased;
            () = app.shutdown.reached(Stage::Cut) => {
                // Sessions are told first why they end; the link then goes with what is queued.
                app.shutdown.sessions().idle().await;
                link.close(CloseReason::ShuttingDown);
                return;
            }
            () = app.shutdown.reached(Stage::Goaway), if !told => {
                told = true;
                link.goaway(crate::tunnel::spread(app.settings.shutdown.goaway_spread));
            }
            changed = roster.changed() => {
                if changed.is_err() || app.people.refresh(&who).is_none() {
                    crate::tunnel::end(&app, &link).await;
                    return;
                }
            }
            incoming = link.accept(), if held.is_none() => {
                let Some(incoming) = incoming else { return };
                let open = incoming.request();
                if open.target == Target::ssh_agent() {
                    let signing =
                        signing::serve(app.clone(), who.clone(), from, neighbours.clone(), incoming);
                    app.shutdown.sessions().spawn("signing", signing);
                    continue;
                }
                // Known from now on, so that a stream for its signatures that comes next finds it.
                let neighbour = neighbours.enter(open.key);
                held = Some((incoming, neighbour));
                turn = Instant::now();
            }
            () = sleep_until(turn), if held.is_some() => {
                match app.openings.take(person(), Instant::now().into_std()) {
                    Err(wait) => turn = Instant::now() + wait,
                    Ok(()) => if let Some((incoming, neighbour)) = held.take() {
                        let session = live::run(
                            app.clone(),
                            caller.clone(),
                            passage.clone(),
                            neighbour,
                            incoming,
                        );
                        app.shutdown.sessions().spawn("session", session);
                    },
                }
            }
        }
    }
}

/// Writes down the streams that the link refused by itself, because it carried as many as it may: one event for all of
/// them, so that nobody floods the audit log with what costs them nothing.
pub fn note_surplus(app: &App, who: &Authenticated, from: IpAddr, surplus: u64) {
    if surplus == 0 {
        return;
    }
    let code = refusal::word(RefuseCode::TooManyStreams);
    app.metrics.sessions_refused(code, surplus);
    let actor = Actor {
        principal: &who.principal,
        from,
    };
    let asked = Asked {
        id: None,
        server: "",
        login: "",
        permission: "",
    };
    let most = defaults::STREAMS_PER_CLIENT;
    let reason = format!("{surplus} beyond the {most} streams that one link may carry");
    audit::session_refused(actor, asked, code, &reason);
}
