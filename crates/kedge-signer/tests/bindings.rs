//! What ties a request to its server: a binding of the connection, or the host key in the data; and what is made of those
//! that do not hold.

#![cfg(test)]

mod common;

use common::{Auth, Host, SESSION, World, message, reply, strings, two_strings};
use kedge_api::HostKeys;
use kedge_signer::protocol::{Reply, Request};
use kedge_signer::{BoundBy, Event, Reason, Unbound};

#[test]
fn every_kind_of_host_key_binds() {
    for host in [
        Host::ed25519(),
        Host::ecdsa("nistp256"),
        Host::ecdsa("nistp384"),
        Host::ecdsa("nistp521"),
        Host::rsa(),
    ] {
        let mut world = World::new();
        world.host_keys = HostKeys::new([host.key()]).unwrap();
        world.hosts = vec![host];
        for length in [20, 32, 48, 64] {
            world.reconnect();
            let session = vec![9; length];
            let request = world.hosts[0].bind(&session);
            assert_eq!(reply(&world.answer(&request)), Reply::Success);
            let auth = Auth {
                session,
                ..world.auth()
            };
            world.signed(&auth.data());
        }
    }
    let mut world = World::new();
    let host = Host::rsa();
    world.host_keys = HostKeys::new([host.key()]).unwrap();
    for (algorithm, holds) in [
        ("rsa-sha2-256", true),
        ("rsa-sha2-512", true),
        ("ssh-rsa", false),
    ] {
        world.reconnect();
        let signature = host.sign_rsa(algorithm, SESSION);
        let answer = world.answer(&host.bind_with(SESSION, &signature, false));
        assert_eq!(reply(&answer) == Reply::Success, holds, "{algorithm}");
    }
}

#[test]
fn a_host_key_in_a_security_key_binds() {
    use aws_lc_rs::digest::{SHA256, digest};
    use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
    use base64::Engine;
    let pair = Ed25519KeyPair::generate().unwrap();
    let kind = b"sk-ssh-ed25519@openssh.com";
    let blob = strings(&[kind, pair.public_key().as_ref(), b"ssh:"]);
    let text = base64::engine::general_purpose::STANDARD.encode(&blob);
    let host_key = format!("sk-ssh-ed25519@openssh.com {text}")
        .parse()
        .unwrap();
    let signed = [
        digest(&SHA256, b"ssh:").as_ref(),
        &[1, 0, 0, 0, 7],
        digest(&SHA256, SESSION).as_ref(),
    ]
    .concat();
    let mut signature = strings(&[kind, pair.sign(&signed).as_ref()]);
    signature.extend_from_slice(&[1, 0, 0, 0, 7]);
    let mut world = World::new();
    world.host_keys = HostKeys::new([host_key]).unwrap();
    let bind = |signature: &[u8]| {
        message(&Request::Bind(kedge_signer::protocol::SessionBind {
            host_key: &blob,
            session_id: SESSION,
            signature,
            is_forwarding: false,
        }))
    };
    assert_eq!(reply(&world.answer(&bind(&signature))), Reply::Success);
    world.reconnect();
    *signature.last_mut().unwrap() = 8;
    assert_eq!(
        world.refusal(&bind(&signature)).reason,
        Reason::BadBindSignature
    );
}

#[test]
fn without_a_binding_the_data_must_name_the_server() {
    let mut world = World::new();
    let plain = world.auth().data();
    assert_eq!(world.refused(&plain), Reason::Unbound);
    for index in 0..2 {
        let named = world.auth().host_bound(&world.hosts[index]).data();
        let (_, signed) = world.signed(&named);
        assert_eq!(signed.bound_by, BoundBy::HostBound);
        let fingerprint = world.hosts[index].key().fingerprint();
        assert_eq!(signed.host_key, Some(fingerprint));
    }
    let other = Host::ed25519();
    let elsewhere = world.auth().host_bound(&other).data();
    let request = world.sign_request(&elsewhere);
    let refusal = world.refusal(&request);
    assert_eq!(refusal.reason, Reason::OtherHostKey);
    assert_eq!(refusal.host_key, Some(other.key().fingerprint()));
    assert_eq!(refusal.ssh_session.unwrap().as_bytes(), SESSION);
}

#[test]
fn old_clients_are_served_only_where_that_is_allowed() {
    let mut world = World::new();
    world.unbound = Unbound::Allow;
    let data = world.auth().data();
    let (_, signed) = world.signed(&data);
    assert_eq!(signed.bound_by, BoundBy::Nothing);
    assert_eq!(signed.host_key, None);
    // What is named must still be right, and so must a binding.
    let elsewhere = world.auth().host_bound(&Host::ed25519()).data();
    assert_eq!(world.refused(&elsewhere), Reason::OtherHostKey);
    world.bind();
    let captured = Auth {
        session: vec![8; 32],
        ..world.auth()
    };
    assert_eq!(world.refused(&captured.data()), Reason::OtherSession);
    world.reconnect();
    let other = Host::ed25519();
    assert_eq!(
        world.refusal(&other.bind(SESSION)).reason,
        Reason::OtherHostKey
    );
    assert_eq!(world.refused(&data), Reason::Spoiled);
}

#[test]
fn a_request_of_another_session_is_refused() {
    let mut world = World::new();
    world.bind();
    for session in [vec![8; 32], vec![7; 20], vec![7; 64]] {
        let auth = Auth {
            session,
            ..world.auth()
        };
        assert_eq!(world.refused(&auth.data()), Reason::OtherSession);
        let named = auth.host_bound(&world.hosts[0]);
        assert_eq!(world.refused(&named.data()), Reason::OtherSession);
    }
    // The other host key of this very server, in a session that was begun with the first.
    let mismatch = world.auth().host_bound(&world.hosts[1]).data();
    assert_eq!(world.refused(&mismatch), Reason::HostKeyMismatch);
    let elsewhere = world.auth().host_bound(&Host::ed25519()).data();
    assert_eq!(world.refused(&elsewhere), Reason::OtherHostKey);
    // It still signs what is right.
    let data = world.auth().data();
    world.signed(&data);
    // A key that is no longer pinned is no longer good.
    world.host_keys = HostKeys::new([world.hosts[1].key()]).unwrap();
    assert_eq!(world.refused(&data), Reason::OtherHostKey);
}

#[test]
fn a_binding_that_does_not_hold_spoils_the_connection() {
    let other = Host::ed25519();
    type Attempt = fn(&World, &Host) -> Vec<u8>;
    let attempts: [(Attempt, Reason); 12] = [
        (|_, other| other.bind(SESSION), Reason::OtherHostKey),
        // Another's signature, and one over another session.
        (
            |w, other| w.hosts[0].bind_with(SESSION, &other.sign(SESSION), false),
            Reason::BadBindSignature,
        ),
        (
            |w, _| w.hosts[0].bind_with(SESSION, &w.hosts[0].sign(&[8; 32]), false),
            Reason::BadBindSignature,
        ),
        (
            |w, _| w.hosts[0].bind_with(SESSION, &w.hosts[1].sign(SESSION), false),
            Reason::BadBindSignature,
        ),
        (
            |w, _| w.hosts[0].bind_with(SESSION, b"", false),
            Reason::BadBindSignature,
        ),
        (
            |w, _| {
                let trailing = [&w.hosts[0].sign(SESSION)[..], b"x"].concat();
                w.hosts[0].bind_with(SESSION, &trailing, false)
            },
            Reason::BadBindSignature,
        ),
        (
            |w, _| {
                let renamed = strings(&[b"ssh-rsa", two_strings(&w.hosts[0].sign(SESSION)).1]);
                w.hosts[0].bind_with(SESSION, &renamed, false)
            },
            Reason::BadBindSignature,
        ),
        (
            |w, _| w.hosts[0].bind_with(SESSION, &w.hosts[0].sign(SESSION), true),
            Reason::Forwarded,
        ),
        (|w, _| w.hosts[0].bind(&[7; 19]), Reason::BadSessionId),
        (|w, _| w.hosts[0].bind(&[7; 65]), Reason::BadSessionId),
        (|w, _| w.hosts[0].bind(b""), Reason::BadSessionId),
        (
            |w, _| {
                // A certificate over the pinned key.
                let pinned = w.hosts[0].blob();
                let certificate = strings(&[
                    b"ssh-ed25519-cert-v01@openssh.com",
                    &[1; 32],
                    two_strings(&pinned).1,
                ]);
                message(&Request::Bind(kedge_signer::protocol::SessionBind {
                    host_key: &certificate,
                    session_id: SESSION,
                    signature: &w.hosts[0].sign(SESSION),
                    is_forwarding: false,
                }))
            },
            Reason::OtherHostKey,
        ),
    ];
    for (index, (attempt, expected)) in attempts.iter().enumerate() {
        for unbound in [Unbound::Refuse, Unbound::Allow] {
            let mut world = World::new();
            world.unbound = unbound;
            let request = attempt(&world, &other);
            let answer = world.answer(&request);
            assert_eq!(reply(&answer), Reply::ExtensionFailure, "case {index}");
            let Some(Event::Refused(refusal)) = answer.event else {
                panic!("case {index}")
            };
            assert_eq!(refusal.reason, *expected, "case {index}");
            assert!(refusal.host_key.is_some());
            let plain = world.auth().data();
            let named = world.auth().host_bound(&world.hosts[0]).data();
            assert_eq!(world.refused(&plain), Reason::Spoiled);
            assert_eq!(world.refused(&named), Reason::Spoiled);
            // Nor does a good one help afterwards.
            let good = world.hosts[0].bind(SESSION);
            assert_eq!(world.refusal(&good).reason, Reason::SecondBinding);
            assert_eq!(world.refused(&plain), Reason::Spoiled);
        }
    }
}

#[test]
fn a_connection_is_bound_once() {
    let mut world = World::new();
    world.bind();
    for request in [
        world.hosts[0].bind(SESSION),
        world.hosts[0].bind(&[8; 32]),
        world.hosts[1].bind(SESSION),
        world.hosts[0].bind_with(SESSION, b"", true),
    ] {
        let answer = world.answer(&request);
        assert_eq!(reply(&answer), Reply::ExtensionFailure);
        let Some(Event::Refused(refusal)) = answer.event else {
            panic!("not refused")
        };
        assert_eq!(refusal.reason, Reason::SecondBinding);
    }
    // What holds, holds.
    let data = world.auth().data();
    world.signed(&data);
    let other = Auth {
        session: vec![8; 32],
        ..world.auth()
    };
    assert_eq!(world.refused(&other.data()), Reason::OtherSession);
}
