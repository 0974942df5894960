//! An agent's link: how it comes into the registry, what it may do there, and how it goes.

use std::{net::IpAddr, pin::Pin, time::Duration};

use kedge_api::{AgentPublicKey, Line, Server, ServerName, Uid};
use kedge_service::{Shard, Stage};
use kedge_tunnel::{CloseReason, Link, LinkEnd, PendingUpgrade, RefuseCode, Side};
use tokio::time::timeout;
use tracing::{info, warn};

use crate::{
    app::App,
    defaults,
    handover::Passage,
    http::Agent,
    metrics,
    presence::Live,
    registry::{Departure, Generation},
};

/// The way to a server.
#[derive(Clone, Debug)]
pub struct Tunnel {
    /// The link itself.
    pub link: Link,
    /// The key that opened it.
    pub key: AgentPublicKey,
    /// The server it was opened for: a namesake that comes later is another one.
    pub uid: Option<Uid>,
    /// Where it is served, for good.
    pub shard: Shard,
    /// How it shows in the status.
    pub live: Live,
}

/// A link that is up and in the registry.
struct Up {
    name: ServerName,
    link: Link,
    run: Running,
    generation: Generation,
    gauge: metrics::Held,
}

/// What moves a link's bytes, to its end.
pub(crate) type Running = Pin<Box<dyn Future<Output = LinkEnd> + Send>>;

/// Serves an agent's link to its end. `admission` is given back when the link is up: what the admission costs; `place`
/// at its end.
///
/// The beginning has a box of its own, and so has the link: thousands of tunnels wait all day, and each holds what it
/// waits with and not what it began with.
///
/// # Cancel safety
/// When dropped, the link ends as if the connection had broken.
pub fn serve<H: Send + 'static, P: Send + 'static>(
    app: App,
    agent: Agent,
    pending: PendingUpgrade,
    passage: Passage,
    admission: H,
    place: P,
) -> impl Future<Output = ()> + Send + 'static {
    let beginning = Box::pin(begin(app.clone(), agent, pending, passage, admission));
    async move {
        if let Some(up) = beginning.await {
            stay(&app, up).await;
        }
        drop(place);
    }
}

async fn begin<H>(
    app: App,
    agent: Agent,
    pending: PendingUpgrade,
    passage: Passage,
    admission: H,
) -> Option<Up> {
    let protocol = pending.protocol();
    let websocket = match pending.websocket().await {
        Ok(websocket) => websocket,
        Err(error) => {
            tracing::debug!(%error, "an agent's tunnel did not begin");
            return None;
        }
    };
    let config = app.link_config(defaults::STREAMS_PER_AGENT);
    let (link, driver) = Link::new(websocket, Side::Server, config);
    let run = Box::pin(driver.run());
    let name = agent.server.name();
    let tunnel = Tunnel {
        link: link.clone(),
        key: agent.key,
        uid: agent.server.metadata.uid.clone(),
        shard: passage.shard(),
        live: Live {
            since: app.clock.now(),
            remote: Some(line(agent.from)),
            protocol: protocol.parse().ok(),
        },
    };
    let (generation, replaced) = app.tunnels.register(name.clone(), tunnel.clone());
    if let Some(old) = replaced {
        info!(server = %name, from = %agent.from, "agent dialled again; its older tunnel is replaced");
        old.link.close(CloseReason::Replaced);
    }
    // The server may have gone between the look at its key and the registration, when nobody could have told.
    if is_foreign(&app, &name, &tunnel).await {
        link.close(CloseReason::Revoked);
    }
    app.presence.mark_connected(name.clone(), &app);
    let gauge = app.metrics.tunnel();
    drop(admission);
    info!(server = %name, from = %agent.from, protocol, "agent connected");
    Some(Up {
        name,
        link,
        run,
        generation,
        gauge,
    })
}

async fn stay(app: &App, up: Up) {
    let Up {
        name,
        link,
        run,
        generation,
        gauge,
    } = up;
    let end = drive(run, steer(app, &link)).await;
    drop(gauge);
    let departure = app.tunnels.unregister(&name, generation);
    if departure == Departure::Gone {
        app.presence.mark(name.clone());
    }
    match &end {
        LinkEnd::Protocol(_) | LinkEnd::Rejected { .. } => {
            warn!(server = %name, %end, "agent disconnected")
        }
        LinkEnd::Replaced => {}
        _ => info!(server = %name, %end, "agent disconnected"),
    }
}

/// Closes every tunnel whose server is gone or has another key now.
pub(crate) async fn close_foreign(app: &App) {
    for (name, tunnel) in app.tunnels.all() {
        if is_foreign(app, &name, &tunnel).await {
            revoke(app, tunnel.link);
        }
    }
}

/// Ends the link of a server that is gone or another one now.
pub(crate) fn revoke(app: &App, link: Link) {
    let task = app.clone();
    app.shutdown
        .tasks()
        .spawn("revoke", async move { end(&task, &link).await });
}

/// Ends a link that nobody may use any more: its sessions first, so that they end with that reason and not with the
/// loss of the link. One that is not told in time goes with the link.
pub(crate) async fn end(app: &App, link: &Link) {
    app.epoch.advance();
    let told = async {
        while link.stats().relays > 0 {
            tokio::time::sleep(defaults::REVOKE_LOOK).await;
        }
    };
    // Late or not, the link goes.
    let _ = timeout(defaults::LAST_WORDS, told).await;
    link.close(CloseReason::Revoked);
}

async fn is_foreign(app: &App, name: &ServerName, tunnel: &Tunnel) -> bool {
    match app.store.find::<Server>(name).await {
        Ok(Some(server)) => {
            server.metadata.uid != tunnel.uid || server.spec.agent_key != Some(tunnel.key)
        }
        Ok(None) => true,
        // A store that does not answer takes nothing back.
        Err(_) => false,
    }
}

/// Runs a link to its end. `steer` ends when it has closed the link, or when there is nothing left to steer; a peer
/// that then does not let go is dropped.
pub(crate) async fn drive(mut run: Running, steer: impl Future<Output = ()>) -> LinkEnd {
    tokio::select! {
        end = &mut run => return end,
        () = steer => {}
    }
    timeout(defaults::LAST_WORDS, run)
        .await
        .unwrap_or(LinkEnd::Closed)
}

/// What the hub does with an agent's link besides relaying: agents open no streams, and go when the hub goes.
async fn steer(app: &App, link: &Link) {
    let mut told = false;
    loop {
        tokio::select! {
            biased;
            () = app.shutdown.reached(Stage::Cut) => {
                // Sessions are told first why they end; the link then goes with what is queued.
                app.shutdown.sessions().idle().await;
                return link.close(CloseReason::ShuttingDown);
            }
            () = app.shutdown.reached(Stage::Goaway), if !told => {
                told = true;
                link.goaway(spread(app.settings.shutdown.goaway_spread));
            }
            incoming = link.accept() => match incoming {
                Some(incoming) => incoming.refuse(RefuseCode::Denied, "agents open no streams at this hub"),
                None => return,
            },
        }
    }
}

/// Somewhere within `limit`: those who are told to come back must not come at once.
pub(crate) fn spread(limit: Duration) -> Duration {
    // Without randomness everybody gets the middle, which is better than nobody being told.
    let share = kedge_api::random::bytes().map_or(u32::MAX / 2, u32::from_be_bytes);
    limit.mul_f64(f64::from(share) / f64::from(u32::MAX))
}

/// An address as one line of a status.
#[expect(
    clippy::expect_used,
    reason = "an address in text has neither control characters nor spaces"
)]
pub(crate) fn line(address: IpAddr) -> Line {
    address.to_string().parse().expect("an address is a line")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reconnects_are_spread_within_the_limit() {
        let limit = Duration::from_secs(5);
        let delays: Vec<_> = (0..64).map(|_| spread(limit)).collect();
        assert!(delays.iter().all(|delay| *delay <= limit));
        assert!(delays.iter().max() > delays.iter().min());
        assert_eq!(spread(Duration::ZERO), Duration::ZERO);
    }

    #[test]
    fn every_address_is_a_line() {
        for address in ["192.0.2.1", "2001:db8::1", "::"] {
            line(address.parse().unwrap());
        }
    }
}
