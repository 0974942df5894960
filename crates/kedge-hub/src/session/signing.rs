//! The hub's signer, as a person's `ssh` sees it: an ssh-agent with one key, on a stream beside the session.
//!
//! - The stream names the session it belongs to by the key of that session's OPEN, on the same link.
//! - It waits until the session is granted, and is refused as that is refused.
//! - REQUEST_IDENTITIES answers with the session's one key, SIGN_REQUEST with a signature or a refusal; what is signed is
//!   `kedge-signer`'s to decide.
//! - Before each signature it is asked again whether the session would still be granted.
//! - Each signature and each refusal is an audit event.
//! - It ends with its session.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::{Arc, Mutex},
};

use bytes::{Buf as _, BytesMut};
use kedge_api::{Login, ServerName, SessionId, Time};
use kedge_signer::{Answer, Connection, Event, PrivateKey, Terms, protocol};
use kedge_tunnel::{
    AttributeId, Attributes, Incoming, RefuseCode, ResetCode, StreamKey, TunnelStream,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    sync::watch,
    time::{Instant, timeout},
};

use super::{
    authorize::{self, Ask, Grant, Live},
    refusal::Refusal,
};
use crate::{
    app::App,
    audit::{self, Actor, SignedFor, Signing},
    defaults,
    keyring::{self, ReadKey},
    metrics::Outcome,
    people::Authenticated,
    sync::locked,
};

/// The sessions of one link, by the keys of their streams.
#[derive(Clone, Debug, Default)]
pub(super) struct Neighbours(Arc<Mutex<BTreeMap<[u8; 16], watch::Receiver<Stage>>>>);

/// How far a session has come, as far as the signer cares.
#[derive(Clone, Debug)]
enum Stage {
    Asked,
    Granted(Arc<Granted>),
    Refused(RefuseCode, String),
}

/// A session that was granted.
#[derive(Debug)]
pub(super) struct Granted {
    pub(super) id: SessionId,
    pub(super) ask: Ask,
    pub(super) grant: Grant,
    pub(super) asked: Time,
    /// Sessions that its person had before it.
    pub(super) older: u32,
    /// The key, when the hub signs for it.
    pub(super) key: Option<tokio::sync::Mutex<Held>>,
}

/// A session's key.
#[derive(Debug)]
pub(super) struct Held {
    key: ReadKey,
    /// Whether somebody was told which it is. Whoever asks again wants to know what it is now: another session, which
    /// began later, or the same after a while.
    told: bool,
}

impl From<ReadKey> for Held {
    fn from(key: ReadKey) -> Self {
        Self { key, told: false }
    }
}

/// A session's own hold on what the signer knows of it; with it the signing ends.
#[derive(Debug)]
pub(super) struct Neighbour {
    key: [u8; 16],
    stage: watch::Sender<Stage>,
    all: Neighbours,
}

impl Neighbours {
    /// A session begins. Of two with one key the first counts; a link that opens such is refused the second elsewhere.
    pub(super) fn enter(&self, key: StreamKey) -> Neighbour {
        let (stage, seen) = watch::channel(Stage::Asked);
        locked(&self.0).entry(key.0).or_insert(seen);
        Neighbour {
            key: key.0,
            stage,
            all: self.clone(),
        }
    }

    fn find(&self, key: &[u8]) -> Option<watch::Receiver<Stage>> {
        locked(&self.0).get(key).cloned()
    }
}

impl Neighbour {
    /// From now on the signer works for the session.
    pub(super) fn granted(&self, granted: Granted) {
        self.stage.send_replace(Stage::Granted(Arc::new(granted)));
    }

    /// There will be none.
    pub(super) fn refused(&self, refusal: &Refusal) {
        let refused = Stage::Refused(refusal.code, refusal.public.clone());
        self.stage.send_replace(refused);
    }
}

impl Drop for Neighbour {
    fn drop(&mut self) {
        let mut all = locked(&self.all.0);
        if all
            .get(&self.key)
            .is_some_and(|seen| seen.same_channel(&self.stage.subscribe()))
        {
            all.remove(&self.key);
        }
    }
}

/// Serves one stream that asks for signatures, to its end.
///
/// # Cancel safety
/// When dropped, the stream is reset; a signature that was made is noted.
pub(super) async fn serve(
    app: App,
    who: Authenticated,
    from: IpAddr,
    neighbours: Neighbours,
    incoming: Incoming,
) {
    let beside = incoming.request().attributes.value(AttributeId::BESIDE);
    let Some(mut stage) = beside.and_then(|key| neighbours.find(key)) else {
        let words = "the stream names no session on this link";
        return incoming.refuse(RefuseCode::BadRequest, words);
    };
    let known = timeout(
        defaults::OPEN_TIMEOUT,
        stage.wait_for(|stage| !matches!(stage, Stage::Asked)),
    );
    let known = match known.await {
        Ok(Ok(stage)) => stage.clone(),
        Ok(Err(_)) => return incoming.refuse(RefuseCode::Denied, "the session is over"),
        Err(_) => return incoming.refuse(RefuseCode::Internal, "the session was not decided"),
    };
    let granted = match known {
        Stage::Granted(granted) if granted.key.is_some() => granted,
        Stage::Refused(code, words) => return incoming.refuse(code, &words),
        Stage::Asked | Stage::Granted(_) => {
            return incoming.refuse(RefuseCode::NotFound, "this server takes people's own keys");
        }
    };
    let desk = Desk {
        app: &app,
        who: &who,
        from,
        granted: &granted,
    };
    let mut stream = incoming.accept(Attributes::new());
    tokio::select! {
        // The sender goes with the session.
        _ = async { while stage.changed().await.is_ok() {} } => {
            stream.reset(ResetCode::Revoked, "the session is over");
        }
        ended = desk.talk(&mut stream) => if let Some((code, words)) = ended {
            stream.reset(code, words);
        }
    }
}

/// Where one agent connection is served.
struct Desk<'a> {
    app: &'a App,
    who: &'a Authenticated,
    from: IpAddr,
    granted: &'a Granted,
}

/// Why a request gets no signature, before it is even looked at.
struct Turned {
    code: &'static str,
    reason: String,
}

impl Desk<'_> {
    /// Answers one request after the other; the reason to break off, unless the person's side ended.
    async fn talk(&self, stream: &mut TunnelStream) -> Option<(ResetCode, &'static str)> {
        let mut connection = Connection::new();
        let mut buffer = BytesMut::new();
        loop {
            // What is announced counts before it is there, so that nobody makes the hub hold more.
            if buffer
                .get(..4)
                .is_some_and(|mut length| length.get_u32() as usize > defaults::SIGN_REQUEST_BYTES)
            {
                return Some((ResetCode::Protocol, "the request is too long for a signer"));
            }
            let request = match protocol::take_frame(&mut buffer) {
                Ok(request) => request,
                Err(_) => {
                    return Some((ResetCode::Protocol, "the request is too long for an agent"));
                }
            };
            let Some(request) = request else {
                match stream.read_buf(&mut buffer).await {
                    Ok(1..) => continue,
                    Ok(0) if buffer.is_empty() => {
                        let _ = timeout(defaults::SIGN_REPLY, stream.shutdown()).await;
                        return None;
                    }
                    Ok(0) => return Some((ResetCode::Protocol, "the request is cut off")),
                    Err(_) => return None,
                }
            };
            self.wait_for_turn().await;
            let (reply, used) = self.answer(connection, request.to_vec()).await;
            connection = used;
            match timeout(defaults::SIGN_REPLY, stream.write_all(&reply)).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return None,
                Err(_) => return Some((ResetCode::Cancelled, "nobody takes the answer")),
            }
        }
    }

    async fn wait_for_turn(&self) {
        let principal = &self.who.principal;
        let person = || {
            (
                principal.issuer.as_str().to_owned(),
                principal.subject.as_str().to_owned(),
            )
        };
        while let Err(wait) = self
            .app
            .signatures
            .take(person(), Instant::now().into_std())
        {
            tokio::time::sleep(wait).await;
        }
    }

    /// The reply to a request, and the connection's state after it.
    async fn answer(&self, connection: Connection, request: Vec<u8>) -> (Vec<u8>, Connection) {
        let ready = match self.look_again().await {
            Ok(grant) => {
                let wants_keys = protocol::Request::decode(&request)
                    .is_ok_and(|request| request == protocol::Request::Identities);
                let key = self.key(&grant, wants_keys).await;
                key.map(|key| (grant, key))
            }
            Err(turned) => Err(turned),
        };
        let (grant, key) = match ready {
            Ok(ready) => ready,
            Err(turned) => {
                self.refused("", turned.code, &turned.reason);
                return (protocol::failure(), connection);
            }
        };
        let unbound = self.app.keyring.unbound();
        let signing_key = Arc::clone(&key);
        let login = grant.login.clone();
        let host_keys = grant.server.spec.host_keys.clone();
        let mut used = connection;
        // A signature with a large RSA key takes milliseconds, in which others' bytes would wait.
        let signed = tokio::task::spawn_blocking(move || {
            let terms = Terms {
                login: &login,
                host_keys: &host_keys,
                unbound,
            };
            let answer = used.answer(&request, &signing_key, &terms);
            (answer, used)
        })
        .await;
        let Ok((Answer { reply, event }, used)) = signed else {
            self.refused("", "internal", "the signer broke off");
            return (protocol::failure(), Connection::new());
        };
        let fingerprint = key.public().fingerprint().to_string();
        match event {
            None => {}
            Some(Event::Signed(signed)) => {
                self.app.metrics.signature(Outcome::Accepted);
                let host_key = signed.host_key.as_ref().map(ToString::to_string);
                let signed = SignedFor {
                    fingerprint: &fingerprint,
                    ssh_session: &signed.ssh_session.to_string(),
                    host_key: host_key.as_deref().unwrap_or_default(),
                    algorithm: signed.algorithm.as_str(),
                    bound_by: signed.bound_by.as_str(),
                };
                audit::signature_made(self.actor(), self.signing(), signed);
            }
            Some(Event::Refused(refusal)) => {
                let reason = refusal.reason;
                self.refused(&fingerprint, reason.as_str(), &reason.to_string());
            }
        }
        (reply, used)
    }

    fn refused(&self, fingerprint: &str, code: &'static str, reason: &str) {
        self.app.metrics.signature(Outcome::Refused);
        audit::signature_refused(self.actor(), self.signing(), fingerprint, code, reason);
    }

    /// Whether the session would still be granted, as it was.
    async fn look_again(&self) -> Result<Grant, Turned> {
        let turned = |refusal: Refusal| Turned {
            code: refusal.word(),
            reason: refusal.reason().to_owned(),
        };
        let who = self
            .app
            .people
            .refresh(self.who)
            .ok_or_else(|| turned(Refusal::not_accepted()))?;
        let live = Live {
            ask: &self.granted.ask,
            granted: &self.granted.grant,
            asked: self.granted.asked,
            older: self.granted.older,
        };
        authorize::reauthorize(self.app, &who, &live, self.from)
            .await
            .map_err(turned)
    }

    /// The server's key: as it was read a moment ago, or anew.
    async fn key(&self, grant: &Grant, is_told: bool) -> Result<Arc<PrivateKey>, Turned> {
        let turned = |reason: String| Turned {
            code: "credentials-unavailable",
            reason,
        };
        let gone = || turned("the server takes people's own keys now".to_owned());
        let held = self.granted.key.as_ref().ok_or_else(gone)?;
        let mut held = held.lock().await;
        let is_same = grant.server.spec.ssh_key() == self.granted.grant.server.spec.ssh_key();
        let serves = is_same && held.key.read.elapsed() < defaults::KEY_FRESH;
        let asked_again = is_told && held.told;
        held.told |= is_told;
        if serves && !asked_again {
            return Ok(Arc::clone(&held.key.key));
        }
        match keyring::key_of(self.app, &grant.server).await {
            Ok(Some(fresh)) => {
                held.key = fresh;
                Ok(Arc::clone(&held.key.key))
            }
            Ok(None) => Err(gone()),
            Err(error) => Err(turned(error.words())),
        }
    }

    fn actor(&self) -> Actor<'_> {
        Actor {
            principal: &self.who.principal,
            from: self.from,
        }
    }

    fn signing(&self) -> Signing<'_> {
        let Granted { id, ask, grant, .. } = self.granted;
        let (server, login): (&ServerName, &Login) = (&ask.server, &grant.login);
        Signing { id, server, login }
    }
}
