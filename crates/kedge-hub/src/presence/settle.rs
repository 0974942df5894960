//! What a server's status ought to be, from what is stored and whether its agent is connected: a pure function, so
//! that every writer comes to the same answer in whatever order they come.

use kedge_api::{
    Condition, ConditionStatus, Line, Server, ServerPhase, Time,
    meta::set_condition,
    resources::{CONNECTED, CREDENTIALS_RESOLVED, HOST_KEY_VERIFIED, READY, ServerStatus},
};

use crate::{
    defaults,
    host_keys::{self, Standing},
    keyring::Verdict,
};

/// An agent's tunnel as it shows in the status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Live {
    /// Since when.
    pub since: Time,
    /// From where.
    pub remote: Option<Line>,
    /// The protocol spoken.
    pub protocol: Option<Line>,
}

/// The status as it ought to be; `None` when it is so already. `key` is what was last found about the key that the server
/// is reached with, if anybody looked.
#[must_use]
pub fn settle(
    server: &Server,
    live: Option<&Live>,
    key: Option<&Verdict>,
    now: Time,
) -> Option<ServerStatus> {
    let mut status = server.status.clone();
    let was_connected = server.is_connected();
    match live {
        Some(live) => {
            let stale = status
                .last_seen
                .is_none_or(|seen| now.saturating_since(seen) >= defaults::LAST_SEEN_EVERY);
            if !was_connected || status.connected_since != Some(live.since) || stale {
                status.last_seen = Some(now);
            }
            status.connected_since = Some(live.since);
            status.remote_address.clone_from(&live.remote);
            status.protocol.clone_from(&live.protocol);
        }
        None => {
            if was_connected {
                status.last_seen = Some(now);
            }
            status.connected_since = None;
        }
    }
    if status.observed_host_keys.as_ref().is_some_and(|observed| {
        host_keys::judge(&server.spec.host_keys, observed) == host_keys::Report::Verified
    }) {
        status.observed_host_keys = None;
    }
    let standing = host_keys::standing(&server.spec.host_keys, status.observed_host_keys.as_ref());
    status.host_key_fingerprint = server
        .spec
        .host_keys
        .preferred()
        .map(kedge_api::HostKey::fingerprint);
    status.phase = match (standing, live) {
        (Standing::Changed, _) => ServerPhase::Blocked,
        (_, Some(_)) => ServerPhase::Online,
        (_, None) if status.last_seen.is_some() => ServerPhase::Offline,
        (_, None) => ServerPhase::Pending,
    };
    let conditions = &mut status.conditions;
    match live {
        Some(_) => set_condition(
            conditions,
            CONNECTED,
            ConditionStatus::True,
            "TunnelUp",
            "the agent is connected",
            now,
        ),
        None if status.last_seen.is_some() => set_condition(
            conditions,
            CONNECTED,
            ConditionStatus::False,
            "TunnelDown",
            "the agent is not connected",
            now,
        ),
        None => set_condition(
            conditions,
            CONNECTED,
            ConditionStatus::False,
            "NeverConnected",
            "the agent has never connected",
            now,
        ),
    };
    match standing {
        Standing::Changed => set_condition(
            conditions,
            HOST_KEY_VERIFIED,
            ConditionStatus::False,
            "HostKeyChanged",
            "the agent reports host keys that nobody accepted; an operator must accept them",
            now,
        ),
        Standing::Missing => set_condition(
            conditions,
            HOST_KEY_VERIFIED,
            ConditionStatus::Undetermined,
            "NoHostKey",
            "no host key is known; the agent reported none",
            now,
        ),
        Standing::Verified => set_condition(
            conditions,
            HOST_KEY_VERIFIED,
            ConditionStatus::True,
            "Pinned",
            "the reported host keys are the pinned ones",
            now,
        ),
    };
    let key_is_missing = settle_key(conditions, server, key, now);
    let (ready, reason, message) = match (standing, live) {
        (Standing::Changed, _) => (
            ConditionStatus::False,
            "HostKeyChanged",
            "blocked until host keys are accepted",
        ),
        (Standing::Missing, _) => (ConditionStatus::False, "NoHostKey", "no host key is known"),
        (Standing::Verified, None) => (
            ConditionStatus::False,
            "Offline",
            "the agent is not connected",
        ),
        (Standing::Verified, Some(_)) if key_is_missing => (
            ConditionStatus::False,
            "CredentialsUnresolved",
            "the key that the server is reached with cannot be used",
        ),
        (Standing::Verified, Some(_)) => {
            (ConditionStatus::True, "Reachable", "sessions can be opened")
        }
    };
    set_condition(conditions, READY, ready, reason, message, now);
    (status != server.status).then_some(status)
}

/// Settles what is said of the server's key; whether it cannot be used.
///
/// What another hub found stays until this one has looked itself, as long as it is about the same specification.
fn settle_key(
    conditions: &mut Vec<Condition>,
    server: &Server,
    key: Option<&Verdict>,
    now: Time,
) -> bool {
    let Some(source) = server.spec.ssh_key() else {
        conditions.retain(|condition| condition.kind != CREDENTIALS_RESOLVED);
        return false;
    };
    let generation = server.metadata.generation;
    let there = |conditions: &[Condition]| {
        conditions
            .iter()
            .position(|condition| condition.kind == CREDENTIALS_RESOLVED)
    };
    match key.filter(|verdict| verdict.source == source) {
        Some(Verdict { found, .. }) => {
            let (status, reason, message) = match found {
                Ok(fingerprint) => (
                    ConditionStatus::True,
                    "KeyRead",
                    format!("{source} holds {fingerprint}"),
                ),
                Err(problem) => (
                    ConditionStatus::False,
                    problem.reason,
                    problem.message.clone(),
                ),
            };
            set_condition(
                conditions,
                CREDENTIALS_RESOLVED,
                status,
                reason,
                &message,
                now,
            );
            if let Some(condition) = there(conditions).and_then(|at| conditions.get_mut(at)) {
                condition.observed_generation = generation;
            }
        }
        None => conditions.retain(|condition| {
            condition.kind != CREDENTIALS_RESOLVED || condition.observed_generation == generation
        }),
    }
    conditions.iter().any(|condition| {
        condition.kind == CREDENTIALS_RESOLVED && condition.status == ConditionStatus::False
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host_keys::tests::keys;
    use kedge_api::{Resource as _, resources::ServerSpec};

    fn at(second: i64) -> Time {
        jiff::Timestamp::from_second(second).unwrap().into()
    }

    fn server() -> Server {
        let spec = ServerSpec {
            host_keys: keys(&[1]),
            ..ServerSpec::default()
        };
        Server::new("web01".parse().unwrap(), spec)
    }

    fn live(since: i64) -> Live {
        Live {
            since: at(since),
            remote: Some("192.0.2.1".parse().unwrap()),
            protocol: None,
        }
    }

    fn condition(status: &ServerStatus, kind: &str) -> ConditionStatus {
        status
            .conditions
            .iter()
            .find(|condition| condition.kind == kind)
            .unwrap()
            .status
            .clone()
    }

    #[test]
    fn pending_online_offline() {
        let mut server = server();
        server.status = settle(&server, None, None, at(0)).unwrap();
        assert_eq!(server.status.phase, ServerPhase::Pending);
        assert_eq!(
            settle(&server, None, None, at(1)),
            None,
            "nothing changed, nothing is written"
        );

        server.status = settle(&server, Some(&live(10)), None, at(10)).unwrap();
        assert_eq!(server.status.phase, ServerPhase::Online);
        assert_eq!(server.status.last_seen, Some(at(10)));
        assert!(server.is_connected());
        assert_eq!(condition(&server.status, READY), ConditionStatus::True);
        assert_eq!(
            settle(&server, Some(&live(10)), None, at(200)),
            None,
            "no write per heartbeat"
        );
        let later = settle(&server, Some(&live(10)), None, at(10 + 600)).unwrap();
        assert_eq!(later.last_seen, Some(at(610)), "but a coarse one");

        server.status = settle(&server, None, None, at(300)).unwrap();
        assert_eq!(server.status.phase, ServerPhase::Offline);
        assert_eq!(server.status.last_seen, Some(at(300)));
        assert_eq!(server.status.connected_since, None);
        assert_eq!(
            settle(&server, None, None, at(400)),
            None,
            "being away is no news"
        );
    }

    #[test]
    fn unaccepted_host_keys_block_connected_or_not_until_pinned() {
        let mut server = server();
        server.status.observed_host_keys = Some(keys(&[2]));
        for live in [None, Some(live(5))] {
            let status = settle(&server, live.as_ref(), None, at(5)).unwrap();
            assert_eq!(status.phase, ServerPhase::Blocked);
            assert_eq!(
                condition(&status, HOST_KEY_VERIFIED),
                ConditionStatus::False
            );
            assert_eq!(condition(&status, READY), ConditionStatus::False);
        }
        server.spec.host_keys = keys(&[2]);
        let status = settle(&server, Some(&live(5)), None, at(6)).unwrap();
        assert_eq!(status.phase, ServerPhase::Online);
        assert_eq!(status.observed_host_keys, None);
        assert_eq!(condition(&status, HOST_KEY_VERIFIED), ConditionStatus::True);
    }

    #[test]
    fn without_a_host_key_nothing_is_ready() {
        let mut server = server();
        server.spec.host_keys = keys(&[]);
        let status = settle(&server, Some(&live(5)), None, at(5)).unwrap();
        assert_eq!(status.phase, ServerPhase::Online);
        assert_eq!(
            condition(&status, HOST_KEY_VERIFIED),
            ConditionStatus::Undetermined
        );
        assert_eq!(condition(&status, READY), ConditionStatus::False);
    }

    #[test]
    fn what_is_known_of_the_key_is_a_condition_while_there_is_a_reference() {
        let mut server = server();
        server.metadata.generation = Some(1);
        server.spec.ssh_key_secret_ref = Some(kedge_api::SecretRef {
            name: "web".parse().unwrap(),
            namespace: "ssh-keys".parse().unwrap(),
        });
        let verdict = |found| Verdict {
            source: server.spec.ssh_key().unwrap(),
            found,
        };
        let bad = verdict(Err(crate::keyring::Problem {
            reason: "SecretNotFound",
            message: "gone".to_owned(),
        }));
        let good = verdict(Ok(keys(&[1]).preferred().unwrap().fingerprint()));
        let settled = |server: &Server, key: Option<&Verdict>| {
            settle(server, Some(&live(5)), key, at(5)).unwrap_or_else(|| server.status.clone())
        };
        let find = |status: &ServerStatus| {
            let mut found = status.conditions.iter();
            found
                .find(|condition| condition.kind == CREDENTIALS_RESOLVED)
                .cloned()
        };
        // Nobody looked: nothing is said.
        let status = settled(&server, None);
        assert_eq!(find(&status), None);
        assert_eq!(condition(&status, READY), ConditionStatus::True);
        server.status = settled(&server, Some(&bad));
        assert_eq!(find(&server.status).unwrap().message, "gone");
        assert_eq!(condition(&server.status, READY), ConditionStatus::False);
        // A hub that has not looked itself leaves what another one found.
        assert_eq!(settled(&server, None), server.status);
        let status = settled(&server, Some(&good));
        assert!(find(&status).unwrap().message.contains("SHA256:"));
        assert_eq!(condition(&status, READY), ConditionStatus::True);
        // About another reference it says nothing.
        server.metadata.generation = Some(2);
        server.spec.ssh_key_secret_data_key = Some("other".parse().unwrap());
        assert_eq!(find(&settled(&server, Some(&bad))), None);
        server.spec.ssh_key_secret_data_key = None;
        server.spec.ssh_key_secret_ref = None;
        assert_eq!(find(&settled(&server, Some(&bad))), None);
    }
}
