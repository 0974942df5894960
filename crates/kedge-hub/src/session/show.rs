//! How a session shows while it lives: who, where, and the links that carry it.

use std::{sync::Arc, time::Duration};

use kedge_api::{
    Line, Time,
    rest::{SessionInfo, SessionLink, SessionState},
};
use kedge_tunnel::{Link, Relay};

use super::{
    live::Caller,
    table::{Orders, Place},
};
use crate::{audit::SessionFacts, tunnel::Tunnel};

/// Has the session show, from `since`, with the moment when it must end.
pub(super) fn enter(
    place: &Place,
    caller: &Caller,
    facts: &SessionFacts,
    (since, until): (Time, Option<Time>),
    tunnel: &Tunnel,
    relay: &Arc<Relay>,
) -> Orders {
    let (principal, source) = (&caller.who.principal, crate::tunnel::line(caller.from));
    let info = SessionInfo {
        id: facts.id.clone(),
        issuer: principal.issuer.clone(),
        subject: principal.subject.clone(),
        user: principal.user.clone(),
        server: facts.server.clone(),
        login: facts.login.clone(),
        permission: facts.permission.clone(),
        policy: facts.policy.clone(),
        source: source.clone(),
        since,
        until,
        state: SessionState::Attached,
        client: link(Some(source), caller.since),
        agent: link(tunnel.live.remote.clone(), tunnel.live.since),
        bytes_up: 0,
        bytes_down: 0,
    };
    let (client, agent) = (caller.link.clone(), tunnel.link.clone());
    let relay = Arc::clone(relay);
    place.open(info, move |info| {
        let bytes = relay.bytes();
        (info.bytes_up, info.bytes_down) = (bytes.up, bytes.down);
        measure(&mut info.client, &client);
        measure(&mut info.agent, &agent);
    })
}

fn link(remote_address: Option<Line>, since: Time) -> SessionLink {
    SessionLink {
        remote_address,
        since,
        sessions: 0,
        rtt_milliseconds: None,
    }
}

fn measure(shown: &mut SessionLink, link: &Link) {
    shown.sessions = u32::try_from(link.relays()).unwrap_or(u32::MAX);
    shown.rtt_milliseconds = link.rtt().map(milliseconds);
}

/// Rounded to the nearest.
fn milliseconds(time: Duration) -> u32 {
    let rounded = (time.as_micros() + 500) / 1000;
    u32::try_from(rounded).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn milliseconds_are_rounded_to_the_nearest() {
        for (micros, wanted) in [
            (0, 0),
            (499, 0),
            (500, 1),
            (1499, 1),
            (12_600, 13),
            (u64::MAX, u32::MAX),
        ] {
            assert_eq!(
                milliseconds(Duration::from_micros(micros)),
                wanted,
                "{micros}"
            );
        }
    }
}
