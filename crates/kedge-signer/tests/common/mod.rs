//! What several tests of the signer begin with: keys, servers that can sign, and requests whose every part can be set.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    dead_code,
    unreachable_pub,
    reason = "helpers of tests, of which each file uses its own part"
)]

use std::path::PathBuf;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING,
    ECDSA_P521_SHA512_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256,
    RSA_PKCS1_SHA512, RsaKeyPair,
};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use kedge_api::{HostKey, HostKeys, Login};
use kedge_signer::protocol::{Reply, Request, SessionBind};
use kedge_signer::{
    Answer, Connection, Event, PrivateKey, Reason, Refusal, Signed, Terms, Unbound,
};

/// A file of `tests/data`.
pub fn data(name: &str) -> Vec<u8> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/data")
        .join(name);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

pub fn key(name: &str) -> PrivateKey {
    PrivateKey::parse(&data(&format!("accepted/{name}.pem"))).unwrap()
}

/// Appends a string of SSH's.
pub fn put(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&u32::try_from(bytes.len()).unwrap().to_be_bytes());
    out.extend_from_slice(bytes);
}

/// Strings of SSH's, one after the other.
pub fn strings(parts: &[&[u8]]) -> Vec<u8> {
    let mut out = Vec::new();
    parts.iter().for_each(|part| put(&mut out, part));
    out
}

/// A positive number in SSH's shortest form, as a string.
pub fn number(bytes: &[u8]) -> Vec<u8> {
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    let significant = &bytes[zeros..];
    let mut out = Vec::new();
    match significant.first() {
        Some(0x80..) => put(&mut out, &[&[0], significant].concat()),
        _ => put(&mut out, significant),
    }
    out
}

/// A host key, with its private half.
pub enum Host {
    Ecdsa(&'static str, EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
    /// With its public exponent and modulus.
    Rsa(RsaKeyPair, Vec<u8>),
}

impl Host {
    pub fn ed25519() -> Self {
        Self::Ed25519(Ed25519KeyPair::generate().unwrap())
    }

    pub fn ecdsa(curve: &'static str) -> Self {
        let algorithm = match curve {
            "nistp256" => &ECDSA_P256_SHA256_FIXED_SIGNING,
            "nistp384" => &ECDSA_P384_SHA384_FIXED_SIGNING,
            _ => &ECDSA_P521_SHA512_FIXED_SIGNING,
        };
        Self::Ecdsa(curve, EcdsaKeyPair::generate(algorithm).unwrap())
    }

    /// The RSA key of `tests/data`.
    pub fn rsa() -> Self {
        let text = String::from_utf8(data("accepted/rsa2048-pkcs8.pem")).unwrap();
        let body: String = text.lines().filter(|line| !line.starts_with('-')).collect();
        let pair = RsaKeyPair::from_pkcs8(&STANDARD.decode(body).unwrap()).unwrap();
        let blob = key("rsa2048-pkcs8").public().blob().to_vec();
        Self::Rsa(pair, blob)
    }

    pub fn blob(&self) -> Vec<u8> {
        match self {
            Self::Ecdsa(curve, pair) => {
                let name = format!("ecdsa-sha2-{curve}");
                strings(&[
                    name.as_bytes(),
                    curve.as_bytes(),
                    pair.public_key().as_ref(),
                ])
            }
            Self::Ed25519(pair) => strings(&[b"ssh-ed25519", pair.public_key().as_ref()]),
            Self::Rsa(_, blob) => blob.clone(),
        }
    }

    pub fn key(&self) -> HostKey {
        let blob = self.blob();
        let name = match self {
            Self::Ecdsa(curve, _) => format!("ecdsa-sha2-{curve}"),
            Self::Ed25519(_) => "ssh-ed25519".to_owned(),
            Self::Rsa(..) => "ssh-rsa".to_owned(),
        };
        format!("{name} {}", STANDARD.encode(blob)).parse().unwrap()
    }

    /// What sshd sends with its host key: `string algorithm`, `string bytes`.
    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        match self {
            Self::Ecdsa(curve, pair) => {
                let fixed = pair.sign(&SystemRandom::new(), message).unwrap();
                let (r, s) = fixed.as_ref().split_at(fixed.as_ref().len() / 2);
                let name = format!("ecdsa-sha2-{curve}");
                strings(&[name.as_bytes(), &[number(r), number(s)].concat()])
            }
            Self::Ed25519(pair) => strings(&[b"ssh-ed25519", pair.sign(message).as_ref()]),
            Self::Rsa(..) => self.sign_rsa("rsa-sha2-512", message),
        }
    }

    pub fn sign_rsa(&self, algorithm: &str, message: &[u8]) -> Vec<u8> {
        let Self::Rsa(pair, _) = self else {
            panic!("not RSA")
        };
        let mut bytes = vec![0; pair.public_modulus_len()];
        let encoding = match algorithm {
            "rsa-sha2-256" => &RSA_PKCS1_SHA256,
            _ => &RSA_PKCS1_SHA512,
        };
        pair.sign(encoding, &SystemRandom::new(), message, &mut bytes)
            .unwrap();
        strings(&[algorithm.as_bytes(), &bytes])
    }

    /// The request by which ssh binds a connection to this host.
    pub fn bind(&self, session: &[u8]) -> Vec<u8> {
        self.bind_with(session, &self.sign(session), false)
    }

    pub fn bind_with(&self, session: &[u8], signature: &[u8], is_forwarding: bool) -> Vec<u8> {
        message(&Request::Bind(SessionBind {
            host_key: &self.blob(),
            session_id: session,
            signature,
            is_forwarding,
        }))
    }
}

/// A request without its length.
pub fn message(request: &Request<'_>) -> Vec<u8> {
    request.encode()[4..].to_vec()
}

/// An authentication that is to be signed, with every part to be set.
#[derive(Clone)]
pub struct Auth {
    pub session: Vec<u8>,
    pub number: u8,
    pub user: Vec<u8>,
    pub service: Vec<u8>,
    pub method: Vec<u8>,
    pub signed: u8,
    pub algorithm: Vec<u8>,
    pub key: Vec<u8>,
    pub host_key: Option<Vec<u8>>,
    pub trailing: Vec<u8>,
}

impl Auth {
    pub fn data(&self) -> Vec<u8> {
        let mut out = Vec::new();
        put(&mut out, &self.session);
        out.push(self.number);
        for part in [&self.user, &self.service, &self.method] {
            put(&mut out, part);
        }
        out.push(self.signed);
        put(&mut out, &self.algorithm);
        put(&mut out, &self.key);
        if let Some(host_key) = &self.host_key {
            put(&mut out, host_key);
        }
        out.extend_from_slice(&self.trailing);
        out
    }

    /// With the method that names the host key.
    #[must_use]
    pub fn host_bound(mut self, host: &Host) -> Self {
        self.method = b"publickey-hostbound-v00@openssh.com".to_vec();
        self.host_key = Some(host.blob());
        self
    }
}

/// One person's session at one server.
pub struct World {
    pub key: PrivateKey,
    pub flags: u32,
    pub algorithm: &'static str,
    pub login: Login,
    pub hosts: Vec<Host>,
    pub host_keys: HostKeys,
    pub unbound: Unbound,
    pub connection: Connection,
}

impl World {
    /// With an Ed25519 key and a server that has one too.
    pub fn new() -> Self {
        Self::with(key("ed25519-pkcs8"), "ssh-ed25519", 0)
    }

    pub fn with(key: PrivateKey, algorithm: &'static str, flags: u32) -> Self {
        let hosts = vec![Host::ed25519(), Host::ecdsa("nistp256")];
        let host_keys = HostKeys::new(hosts.iter().map(Host::key)).unwrap();
        Self {
            key,
            flags,
            algorithm,
            login: "ubuntu".parse().unwrap(),
            hosts,
            host_keys,
            unbound: Unbound::Refuse,
            connection: Connection::new(),
        }
    }

    /// Another connection of the same session.
    pub fn reconnect(&mut self) {
        self.connection = Connection::new();
    }

    /// What an ssh to this server wants signed.
    pub fn auth(&self) -> Auth {
        Auth {
            session: SESSION.to_vec(),
            number: 50,
            user: self.login.as_str().as_bytes().to_vec(),
            service: b"ssh-connection".to_vec(),
            method: b"publickey".to_vec(),
            signed: 1,
            algorithm: self.algorithm.as_bytes().to_vec(),
            key: self.key.public().blob().to_vec(),
            host_key: None,
            trailing: Vec::new(),
        }
    }

    pub fn answer(&mut self, request: &[u8]) -> Answer {
        let terms = Terms {
            login: &self.login,
            host_keys: &self.host_keys,
            unbound: self.unbound,
        };
        self.connection.answer(request, &self.key, &terms)
    }

    pub fn sign_request(&self, data: &[u8]) -> Vec<u8> {
        message(&Request::Sign {
            key_blob: self.key.public().blob(),
            data,
            flags: self.flags,
        })
    }

    /// Binds the connection to the first host.
    pub fn bind(&mut self) {
        let request = self.hosts[0].bind(SESSION);
        let answer = self.answer(&request);
        assert_eq!(reply(&answer), Reply::Success);
        assert_eq!(answer.event, None);
    }

    /// The signature over these data.
    pub fn signed(&mut self, data: &[u8]) -> (Vec<u8>, Signed) {
        let request = self.sign_request(data);
        let answer = self.answer(&request);
        let Some(Event::Signed(signed)) = answer.event.clone() else {
            panic!("not signed: {:?}", answer.event)
        };
        let Reply::Signature(signature) = reply(&answer) else {
            panic!("no signature in the reply")
        };
        (signature.to_vec(), signed)
    }

    /// Why these data are not signed.
    pub fn refused(&mut self, data: &[u8]) -> Reason {
        let request = self.sign_request(data);
        self.refusal(&request).reason
    }

    /// Why any request is refused.
    pub fn refusal(&mut self, request: &[u8]) -> Refusal {
        let answer = self.answer(request);
        assert!(
            matches!(reply(&answer), Reply::Failure | Reply::ExtensionFailure),
            "{:?}",
            reply(&answer)
        );
        match answer.event {
            Some(Event::Refused(refusal)) => {
                assert_eq!(refusal.key, self.key.public().fingerprint());
                refusal
            }
            other => panic!("not refused: {other:?}"),
        }
    }
}

/// The one message in a reply's frame.
pub fn reply(answer: &Answer) -> Reply<'_> {
    let (length, message) = answer.reply.split_first_chunk::<4>().unwrap();
    let length = usize::try_from(u32::from_be_bytes(*length)).unwrap();
    assert_eq!(length, message.len());
    Reply::decode(message).unwrap()
}

/// Two strings of SSH's, and nothing after them.
pub fn two_strings(bytes: &[u8]) -> (&[u8], &[u8]) {
    let mut parts = Strings(bytes);
    let found = (parts.string(), parts.string());
    assert!(parts.0.is_empty());
    found
}

/// What is still to be read of several.
pub struct Strings<'a>(pub &'a [u8]);

impl<'a> Strings<'a> {
    pub fn string(&mut self) -> &'a [u8] {
        let (length, rest) = self.0.split_first_chunk::<4>().unwrap();
        let (string, rest) = rest.split_at(usize::try_from(u32::from_be_bytes(*length)).unwrap());
        self.0 = rest;
        string
    }
}

pub const SESSION: &[u8] = &[7; 32];
