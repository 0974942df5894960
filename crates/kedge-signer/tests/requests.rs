//! Nothing is signed but this session's login at this server with this key; every refusal says why.

#![cfg(test)]

mod common;

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ED25519, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA512,
    RsaPublicKeyComponents, UnparsedPublicKey,
};
use common::{Auth, SESSION, Strings, World, key, message, put, reply, strings, two_strings};
use kedge_api::Fingerprint;
use kedge_signer::protocol::{Reply, Request};
use kedge_signer::{BoundBy, Event, Reason, SignatureAlgorithm, Unbound};
use proptest::prelude::*;

#[test]
fn the_one_key_is_shown() {
    let mut world = World::new();
    let answer = world.answer(&message(&Request::Identities));
    let Reply::Identities(list) = reply(&answer) else {
        panic!("no list")
    };
    assert_eq!(list.len(), 1);
    assert_eq!(list[0].blob, world.key.public().blob());
    assert_eq!(list[0].comment, b"kedge");
    assert_eq!(answer.event, None);
}

#[test]
fn a_bound_connection_signs_for_its_session() {
    let mut world = World::new();
    world.bind();
    let data = world.auth().data();
    let (signature, signed) = world.signed(&data);
    assert_eq!(signed.key, world.key.public().fingerprint());
    assert_eq!(signed.algorithm, SignatureAlgorithm::Ed25519);
    assert_eq!(signed.ssh_session.as_bytes(), SESSION);
    assert_eq!(signed.host_key, Some(world.hosts[0].key().fingerprint()));
    assert_eq!(signed.bound_by, BoundBy::SessionBind);
    let blob = world.key.public().blob();
    let (kind, bytes) = two_strings(&signature);
    assert_eq!((kind, bytes.len()), (&b"ssh-ed25519"[..], 64));
    UnparsedPublicKey::new(&ED25519, two_strings(blob).1)
        .verify(&data, bytes)
        .unwrap();
    // Again, and with the method that names the host key.
    let again = world.auth().host_bound(&world.hosts[0]).data();
    let (_, signed) = world.signed(&again);
    assert_eq!(signed.bound_by, BoundBy::SessionBind);
}

/// PROTOCOL.u2f: what a security key signs is a hash of its own making.
#[test]
fn every_kind_of_key_signs() {
    for (name, algorithm, flags) in [
        ("ed25519-pkcs8", "ssh-ed25519", 0),
        ("p256-sec1", "ecdsa-sha2-nistp256", 0),
        ("p384-sec1", "ecdsa-sha2-nistp384", 0),
        ("p521-sec1", "ecdsa-sha2-nistp521", 0),
        ("rsa2048-pkcs1", "rsa-sha2-256", 2),
        ("rsa2048-pkcs1", "rsa-sha2-512", 4),
    ] {
        let mut world = World::with(key(name), algorithm, flags);
        world.bind();
        let data = world.auth().data();
        let (signature, signed) = world.signed(&data);
        let (kind, bytes) = two_strings(&signature);
        assert_eq!(kind, algorithm.as_bytes());
        assert_eq!(signed.algorithm.as_str(), algorithm);
        let blob = world.key.public().blob().to_vec();
        let mut parts = Strings(&blob);
        parts.string();
        match algorithm {
            "rsa-sha2-256" | "rsa-sha2-512" => {
                let (e, n) = (parts.string(), parts.string());
                let components = RsaPublicKeyComponents {
                    n: n.strip_prefix(&[0]).unwrap(),
                    e,
                };
                let parameters = match flags {
                    2 => &RSA_PKCS1_2048_8192_SHA256,
                    _ => &RSA_PKCS1_2048_8192_SHA512,
                };
                components.verify(parameters, &data, bytes).unwrap();
            }
            "ecdsa-sha2-nistp256" => {
                parts.string();
                // The two numbers, as DER has them.
                let (r, s) = two_strings(bytes);
                let mut der = vec![0x30, u8::try_from(r.len() + s.len() + 4).unwrap()];
                for number in [r, s] {
                    der.extend_from_slice(&[2, u8::try_from(number.len()).unwrap()]);
                    der.extend_from_slice(number);
                }
                UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, parts.string())
                    .verify(&data, &der)
                    .unwrap();
            }
            // The others are verified by a real sshd.
            _ => {}
        }
        // What another kind of key would sign with, and what nobody would.
        for other in [0, 1, 2, 3, 4, 5, 6, 8, 0xffff_ffff] {
            if other == flags {
                continue;
            }
            world.flags = other;
            let expected = match (algorithm, other) {
                ("rsa-sha2-256" | "rsa-sha2-512", 0) => Reason::Sha1,
                ("rsa-sha2-256", 4) | ("rsa-sha2-512", 2) => Reason::AlgorithmMismatch,
                _ => Reason::BadFlags,
            };
            assert_eq!(world.refused(&data), expected, "{algorithm} {other}");
        }
    }
}

#[test]
fn every_other_part_must_be_right() {
    type Change = fn(&mut Auth);
    let cases: [(Change, Reason); 23] = [
        (|a| a.user = b"root".to_vec(), Reason::OtherLogin),
        (|a| a.user = b"Ubuntu".to_vec(), Reason::OtherLogin),
        (|a| a.user = b"ubuntu\0".to_vec(), Reason::OtherLogin),
        (|a| a.user = Vec::new(), Reason::OtherLogin),
        (|a| a.number = 51, Reason::NotUserAuthentication),
        (|a| a.number = 0, Reason::NotUserAuthentication),
        (
            |a| a.service = b"ssh-userauth".to_vec(),
            Reason::OtherService,
        ),
        (
            |a| a.service = b"ssh-connection2".to_vec(),
            Reason::OtherService,
        ),
        (|a| a.service = Vec::new(), Reason::OtherService),
        (|a| a.method = b"hostbased".to_vec(), Reason::OtherMethod),
        (|a| a.method = b"password".to_vec(), Reason::OtherMethod),
        (
            |a| a.method = b"publickey-hostbound-v01@openssh.com".to_vec(),
            Reason::OtherMethod,
        ),
        (|a| a.signed = 0, Reason::NotUserAuthentication),
        (|a| a.signed = 2, Reason::NotUserAuthentication),
        (
            |a| a.algorithm = b"rsa-sha2-512".to_vec(),
            Reason::AlgorithmMismatch,
        ),
        (
            |a| a.algorithm = b"ssh-ed25519-cert-v01@openssh.com".to_vec(),
            Reason::AlgorithmMismatch,
        ),
        (|a| a.key[20] ^= 1, Reason::KeyMismatch),
        (|a| a.key = Vec::new(), Reason::KeyMismatch),
        (|a| a.trailing = vec![0], Reason::TrailingBytes),
        // The host key's place, with the method that has none.
        (
            |a| put(&mut a.trailing, b"a host key"),
            Reason::TrailingBytes,
        ),
        (|a| a.session = vec![7; 19], Reason::BadSessionId),
        (|a| a.session = vec![7; 65], Reason::BadSessionId),
        (|a| a.session = Vec::new(), Reason::BadSessionId),
    ];
    let mut world = World::new();
    for bound in [true, false] {
        for (index, (change, expected)) in cases.iter().enumerate() {
            world.reconnect();
            let mut auth = world.auth();
            match bound {
                true => world.bind(),
                false => auth = auth.host_bound(&world.hosts[0]),
            }
            change(&mut auth);
            assert_eq!(world.refused(&auth.data()), *expected, "case {index}");
        }
    }
    // The host-bound method without a host key.
    let mut auth = world.auth().host_bound(&world.hosts[0]);
    auth.host_key = None;
    assert_eq!(world.refused(&auth.data()), Reason::NotUserAuthentication);
    auth.host_key = Some(Vec::new());
    assert_eq!(world.refused(&auth.data()), Reason::OtherHostKey);
}

#[test]
fn what_is_no_authentication_is_refused() {
    let mut world = World::new();
    world.bind();
    assert_eq!(world.refused(b""), Reason::EmptyData);
    // PROTOCOL.sshsig, as `ssh-keygen -Y sign -n file` and git ask for it.
    let mut sshsig = b"SSHSIG".to_vec();
    sshsig.extend(strings(&[b"file", b"", b"sha512", &[1; 64]]));
    assert_eq!(world.refused(&sshsig), Reason::SshSig);
    assert_eq!(world.refused(b"SSHSIG"), Reason::SshSig);
    for data in [
        &b"random data"[..],
        &[0; 4],
        &[0xff; 64],
        &[0, 0, 0, 32],
        SESSION,
    ] {
        assert_eq!(world.refused(data), Reason::NotUserAuthentication);
    }
    let data = world.auth().data();
    for end in 1..data.len() {
        let reason = world.refused(&data[..end]);
        assert_ne!(reason, Reason::SigningFailed, "{end}");
    }
}

#[test]
fn another_key_is_refused() {
    let mut world = World::new();
    world.bind();
    let other = key("p256-sec1");
    let data = Auth {
        key: other.public().blob().to_vec(),
        algorithm: b"ecdsa-sha2-nistp256".to_vec(),
        ..world.auth()
    }
    .data();
    let request = message(&Request::Sign {
        key_blob: other.public().blob(),
        data: &data,
        flags: 0,
    });
    let refusal = world.refusal(&request);
    assert_eq!(refusal.reason, Reason::OtherKey);
    // Who asked for what is in the log.
    assert_eq!(refusal.ssh_session.unwrap().as_bytes(), SESSION);
    assert_eq!(refusal.host_key, Some(world.hosts[0].key().fingerprint()));
    assert_eq!(world.refused(&data), Reason::AlgorithmMismatch);
}

#[test]
fn nothing_else_is_done() {
    let mut world = World::new();
    world.bind();
    // ADD, REMOVE, REMOVE_ALL, ADD_ID_CONSTRAINED, LOCK, UNLOCK, smartcards, the first version's, and no one's.
    for number in [
        1, 3, 7, 8, 9, 17, 18, 19, 20, 21, 22, 23, 25, 26, 0, 5, 12, 14, 30, 255,
    ] {
        for rest in [&b""[..], b"any\0thing"] {
            let request = [&[number], rest].concat();
            let answer = world.answer(&request);
            assert_eq!(reply(&answer), Reply::Failure, "{number}");
            let Some(Event::Refused(refusal)) = answer.event else {
                panic!("{number}")
            };
            assert_eq!(refusal.reason, Reason::UnsupportedRequest);
        }
    }
    for name in [
        "query",
        "session-bind@openssh.com2",
        "",
        "restrict-destination-v00@openssh.com",
    ] {
        let request = message(&Request::Extension {
            name,
            contents: b"anything",
        });
        let answer = world.answer(&request);
        // PROTOCOL.agent: a plain failure says that the extension is not known.
        assert_eq!(reply(&answer), Reply::Failure);
        let Some(Event::Refused(refusal)) = answer.event else {
            panic!("{name}")
        };
        assert_eq!(refusal.reason, Reason::UnknownExtension);
    }
    for request in [&b""[..], &[11, 0], &[13], &[27], &[27, 0, 0, 0, 1, 0xff]] {
        assert_eq!(world.refusal(request).reason, Reason::Malformed);
    }
}

#[test]
fn nothing_shows_the_key() {
    let world = World::new();
    let shown = format!("{:?} {:?}", world.key, world.connection);
    let expected = format!("PrivateKey({})", world.key.public().fingerprint());
    assert!(shown.starts_with(&expected), "{shown}");
    assert_eq!(
        world.key.public().fingerprint(),
        Fingerprint::of(world.key.public().blob())
    );
}

/// A good request and what makes it good.
fn good(kind: u8) -> (World, Vec<u8>, Vec<u8>) {
    let mut world = World::new();
    let data = match kind {
        0 => {
            world.bind();
            world.auth().data()
        }
        1 => {
            world.bind();
            world.auth().host_bound(&world.hosts[0]).data()
        }
        _ => world.auth().host_bound(&world.hosts[0]).data(),
    };
    let request = world.sign_request(&data);
    (world, request, data)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn a_good_request_with_one_byte_changed_is_not_signed(
        kind in 0_u8..3, at in any::<prop::sample::Index>(), flip in 1_u8..,
    ) {
        let (mut world, mut request, data) = good(kind);
        let at = at.index(request.len());
        request[at] ^= flip;
        let answer = world.answer(&request);
        let start = request.len() - 4 - data.len() + 4;
        let in_session_id = (start..start + SESSION.len()).contains(&at);
        match answer.event {
            // Without a binding any session at this server is as good as another: the host key in the data is what ties it.
            Some(Event::Signed(signed)) => {
                prop_assert!(kind == 2 && in_session_id, "byte {} by {}", at, flip);
                prop_assert_ne!(signed.ssh_session.as_bytes(), SESSION);
            }
            Some(Event::Refused(_)) => {
                prop_assert!(kind != 2 || !in_session_id);
                prop_assert!(matches!(reply(&answer), Reply::Failure | Reply::ExtensionFailure));
            }
            None => prop_assert!(false, "no event for byte {} by {}", at, flip),
        }
    }

    #[test]
    fn random_data_are_never_signed(
        data in prop::collection::vec(any::<u8>(), 0..300), flags in 0_u32..8, bound in any::<bool>(), allow in any::<bool>(),
    ) {
        let mut world = World::new();
        if bound {
            world.bind();
        }
        if allow {
            world.unbound = Unbound::Allow;
        }
        world.flags = flags;
        world.refused(&data);
        let prefixed = [&32_u32.to_be_bytes()[..], SESSION, &[50], &data].concat();
        world.refused(&prefixed);
    }

    #[test]
    fn random_requests_are_answered_by_one_message(requests in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..60), 0..4)) {
        let mut world = World::new();
        for request in requests {
            let answer = world.answer(&request);
            match reply(&answer) {
                Reply::Identities(_) => prop_assert_eq!(answer.event, None),
                Reply::Failure | Reply::ExtensionFailure => prop_assert!(matches!(answer.event, Some(Event::Refused(_)))),
                other => prop_assert!(false, "{:?}", other),
            }
        }
    }
}
