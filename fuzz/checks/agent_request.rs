//! What must hold for whatever comes over a connection to the signer: nothing is signed that is not the login of this
//! session at this server. Shared by the fuzz target and the test that runs its corpus.

use std::sync::LazyLock;

use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use bytes::BytesMut;
use kedge_api::{HostKey, HostKeys, Login};
use kedge_signer::protocol::{Reply, Request, take_frame};
use kedge_signer::{Answer, BoundBy, Connection, Event, PrivateKey, Signed, Terms, Unbound};

/// The first byte says whether clients that cannot bind are allowed; the rest is what comes, frame after frame.
pub(crate) fn agent_request(input: &[u8]) {
    let Some((first, rest)) = input.split_first() else {
        return;
    };
    let mut watcher = Watcher {
        unbound: match first & 1 {
            0 => Unbound::Refuse,
            _ => Unbound::Allow,
        },
        bound: None,
        spoiled: false,
    };
    let mut connection = Connection::new();
    let mut received = BytesMut::from(rest);
    while let Ok(Some(request)) = take_frame(&mut received) {
        let terms = Terms {
            login: &WORLD.login,
            host_keys: &WORLD.host_keys,
            unbound: watcher.unbound,
        };
        let answer = connection.answer(&request, &WORLD.key, &terms);
        watcher.look(&request, &answer);
    }
}

/// What is known of the connection, found out once more and by other means.
struct Watcher {
    unbound: Unbound,
    /// The host key and the session.
    bound: Option<(Vec<u8>, Vec<u8>)>,
    spoiled: bool,
}

impl Watcher {
    fn look(&mut self, request: &[u8], answer: &Answer) {
        let mut frames = BytesMut::from(answer.reply.as_slice());
        let reply = take_frame(&mut frames)
            .expect("a reply is a message")
            .expect("a reply is whole");
        assert!(frames.is_empty(), "a reply is one message");
        let reply = Reply::decode(&reply).expect("a reply can be read");
        match (reply, &answer.event) {
            (Reply::Identities(keys), None) => {
                assert_eq!(request, [11]);
                assert_eq!(keys.len(), 1);
                assert_eq!(keys[0].blob, WORLD.key.public().blob());
            }
            (Reply::Success, None) => self.binding(request),
            (Reply::Signature(signature), Some(Event::Signed(signed))) => {
                self.signature(request, signature, signed);
            }
            (Reply::Failure, Some(Event::Refused(_))) => {}
            (Reply::ExtensionFailure, Some(Event::Refused(_))) => {
                self.spoiled = self.bound.is_none();
            }
            (reply, event) => panic!("{reply:?} with {event:?}"),
        }
    }

    fn binding(&mut self, request: &[u8]) {
        let Ok(Request::Bind(bind)) = Request::decode(request) else {
            panic!("something else than a binding succeeded")
        };
        assert!(!bind.is_forwarding && !self.spoiled && self.bound.is_none());
        assert_eq!(bind.host_key, WORLD.host_key.blob());
        let public = &bind.host_key[bind.host_key.len() - 32..];
        let bytes = &bind.signature[bind.signature.len() - 64..];
        UnparsedPublicKey::new(&ED25519, public)
            .verify(bind.session_id, bytes)
            .expect("the host key has signed");
        self.bound = Some((bind.host_key.to_vec(), bind.session_id.to_vec()));
    }

    fn signature(&self, request: &[u8], signature: &[u8], signed: &Signed) {
        assert!(!self.spoiled);
        let session = signed.ssh_session.as_bytes();
        let plain = authentication(session, None);
        let named = authentication(session, Some(WORLD.host_key.blob()));
        let asked = |data: &[u8]| {
            let mut expected = vec![13];
            put(&mut expected, WORLD.key.public().blob());
            put(&mut expected, data);
            expected.extend_from_slice(&[0; 4]);
            request == expected
        };
        let data = match (asked(&plain), asked(&named)) {
            (true, false) => &plain,
            (false, true) => &named,
            _ => panic!("signed something else"),
        };
        match (&self.bound, signed.bound_by) {
            (Some((host_key, bound)), BoundBy::SessionBind) => {
                assert_eq!(bound, session);
                assert_eq!(host_key, WORLD.host_key.blob());
            }
            (None, BoundBy::HostBound) => assert_eq!(data, &named),
            (None, BoundBy::Nothing) => assert_eq!(self.unbound, Unbound::Allow),
            other => panic!("{other:?}"),
        }
        let blob = WORLD.key.public().blob();
        UnparsedPublicKey::new(&ED25519, &blob[blob.len() - 32..])
            .verify(data, &signature[signature.len() - 64..])
            .expect("the signature holds");
    }
}

/// The only two things that may ever be signed for a session (RFC 4252 §7, OpenSSH's PROTOCOL §3.1).
fn authentication(session: &[u8], host_key: Option<&[u8]>) -> Vec<u8> {
    let mut data = Vec::new();
    put(&mut data, session);
    data.push(50);
    put(&mut data, WORLD.login.as_str().as_bytes());
    put(&mut data, b"ssh-connection");
    put(
        &mut data,
        match host_key {
            None => b"publickey",
            Some(_) => b"publickey-hostbound-v00@openssh.com",
        },
    );
    data.push(1);
    put(&mut data, b"ssh-ed25519");
    put(&mut data, WORLD.key.public().blob());
    if let Some(host_key) = host_key {
        put(&mut data, host_key);
    }
    data
}

fn put(out: &mut Vec<u8>, bytes: &[u8]) {
    let length = u32::try_from(bytes.len()).expect("short");
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(bytes);
}

struct World {
    key: PrivateKey,
    login: Login,
    host_key: HostKey,
    host_keys: HostKeys,
}

/// The same key, login and host key as the corpus has them.
static WORLD: LazyLock<World> = LazyLock::new(|| {
    let host_key: HostKey = HOST_KEY.parse().expect("a host key");
    World {
        key: PrivateKey::parse(KEY).expect("a private key"),
        login: "ubuntu".parse().expect("a login"),
        host_keys: HostKeys::new([host_key.clone()]).expect("a set of one"),
        host_key,
    }
});

const KEY: &[u8] =
    include_bytes!("../../crates/kedge-signer/tests/data/accepted/ed25519-pkcs8.pem");
const HOST_KEY: &str = include_str!("../../crates/kedge-signer/tests/data/host_key.pub");
