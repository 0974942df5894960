//! TLS handshakes: how many at once, and for how long.
//!
//! ```text
//!  connection ─▶ its hello, waited for by itself ─▶ a turn ─▶ keys, signature, the peer's answer ─▶ TLS
//! ```
//!
//! Turns bound what handshakes cost at once. A peer that says nothing, or half a hello, costs nothing and so takes no
//! turn; one that falls silent in the middle keeps its turn for a short while only. Otherwise a few hundred idle
//! connections would keep everybody else out. One source address has a share of the turns and waits for the next of
//! its own, so that whoever sends hellos without end keeps out those of the same address only.

use std::{io, net::IpAddr, sync::Arc};

use rustls::{ServerConfig, server::Acceptor};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::Semaphore,
    time::timeout,
};
use tokio_rustls::{LazyConfigAcceptor, server::TlsStream};

use crate::{defaults, share::Shares};

/// Makes TLS of connections, so many at once.
#[derive(Debug)]
pub(crate) struct Handshakes {
    config: Arc<ServerConfig>,
    turns: Semaphore,
    shares: Arc<Shares>,
}

/// Why there is no TLS.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HandshakeError {
    #[error("the peer began no TLS connection")]
    Hello(#[source] io::Error),
    #[error("the TLS handshake failed")]
    Keys(#[source] io::Error),
    #[error("the peer fell silent in the handshake")]
    Silent,
}

impl Handshakes {
    /// At most `turns` at once with this configuration, of which one source has a share.
    pub(crate) fn new(config: Arc<ServerConfig>, turns: usize) -> Self {
        Self {
            config,
            turns: Semaphore::new(turns),
            shares: Shares::new(turns, defaults::HANDSHAKE_SHARE),
        }
    }

    /// Shakes hands with a peer at `source`; `None` for one that stands for many, whom no share bounds. The caller
    /// bounds the whole.
    pub(crate) async fn shake<S>(
        &self,
        stream: S,
        source: Option<IpAddr>,
    ) -> Result<TlsStream<S>, HandshakeError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let hello = LazyConfigAcceptor::new(Acceptor::default(), stream)
            .await
            .map_err(HandshakeError::Hello)?;
        // Never closed, so there is always a turn to wait for; that of the source first, because who waits for one
        // of all stands before others.
        let closed = |closed| HandshakeError::Keys(io::Error::other(closed));
        let _own = match source {
            Some(source) => Some(self.shares.of(source).wait().await.map_err(closed)?),
            None => None,
        };
        let _turn = self.turns.acquire().await.map_err(closed)?;
        let rest = hello.into_stream(Arc::clone(&self.config));
        match timeout(defaults::HANDSHAKE_TURN, rest).await {
            Ok(done) => done.map_err(HandshakeError::Keys),
            Err(_) => Err(HandshakeError::Silent),
        }
    }
}

#[cfg(test)]
mod tests {
    use rustls::{ClientConfig, ClientConnection, RootCertStore};
    use rustls_pki_types::{PrivateKeyDer, ServerName};
    use tokio::{
        io::{AsyncWriteExt as _, DuplexStream, duplex},
        time::Instant,
    };
    use tokio_rustls::TlsConnector;

    use super::*;

    fn sides() -> (Arc<ServerConfig>, Arc<ClientConfig>) {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let certificate = made.cert.der().clone();
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
        let provider = || Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let server = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.clone()], key)
            .unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(certificate).unwrap();
        let client = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        (Arc::new(server), Arc::new(client))
    }

    fn localhost() -> ServerName<'static> {
        "localhost".try_into().unwrap()
    }

    /// What a client says first.
    fn hello(client: &Arc<ClientConfig>) -> Vec<u8> {
        let mut connection = ClientConnection::new(Arc::clone(client), localhost()).unwrap();
        let mut bytes = Vec::new();
        connection.write_tls(&mut bytes).unwrap();
        bytes
    }

    /// A peer that says `bytes` and then nothing, while its handshake waits.
    async fn silent(
        handshakes: &Arc<Handshakes>,
        bytes: &[u8],
        source: Option<IpAddr>,
    ) -> (DuplexStream, Attempt) {
        let (mut peer, stream) = duplex(64 * 1024);
        peer.write_all(bytes).await.unwrap();
        let handshakes = Arc::clone(handshakes);
        let mut attempt: Attempt =
            Box::pin(async move { handshakes.shake(stream, source).await.map(drop) });
        // As far as it gets by itself.
        let begun = timeout(std::time::Duration::from_millis(1), &mut attempt).await;
        assert!(begun.is_err(), "it waits for its peer");
        (peer, attempt)
    }

    type Attempt = std::pin::Pin<Box<dyn Future<Output = Result<(), HandshakeError>>>>;

    /// How long an honest client waits.
    async fn honest(
        handshakes: &Handshakes,
        client: Arc<ClientConfig>,
        source: Option<IpAddr>,
    ) -> std::time::Duration {
        let (peer, stream) = duplex(64 * 1024);
        let begun = Instant::now();
        let connector = TlsConnector::from(client);
        let (ours, theirs) = tokio::join!(
            handshakes.shake(stream, source),
            connector.connect(localhost(), peer)
        );
        theirs.unwrap();
        ours.unwrap();
        begun.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn who_says_nothing_or_half_a_hello_keeps_nobody_waiting() {
        let (server, client) = sides();
        let handshakes = Arc::new(Handshakes::new(server, 1));
        let bytes = hello(&client);
        let _nothing = silent(&handshakes, b"", None).await;
        let _half = silent(&handshakes, &bytes[..bytes.len() / 2], None).await;
        assert_eq!(honest(&handshakes, client, None).await.as_secs(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn who_falls_silent_in_the_middle_loses_its_turn() {
        let (server, client) = sides();
        let handshakes = Arc::new(Handshakes::new(server, 1));
        let (_peer, attempt) = silent(&handshakes, &hello(&client), None).await;
        let (ended, waited) = tokio::join!(attempt, honest(&handshakes, client, None));
        assert!(matches!(ended, Err(HandshakeError::Silent)), "{ended:?}");
        let turn = defaults::HANDSHAKE_TURN.as_secs();
        assert!(waited.as_secs() <= turn, "{waited:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn one_address_takes_its_share_and_keeps_no_other_waiting() {
        let (server, client) = sides();
        let handshakes = Arc::new(Handshakes::new(server, 2 * defaults::HANDSHAKE_SHARE));
        let address = |text: &str| Some(text.parse::<IpAddr>().unwrap());
        let said = hello(&client);
        let mut attempts = Vec::new();
        for host in 0..20 {
            // One host has its whole network.
            let source = address(&format!("2001:db8::{host}"));
            attempts.push(silent(&handshakes, &said, source).await);
        }
        assert_eq!(handshakes.turns.available_permits(), 6, "two are taken");
        for other in [address("192.0.2.1"), address("2001:db8:0:1::1"), None] {
            let waited = honest(&handshakes, Arc::clone(&client), other).await;
            assert_eq!(waited.as_secs(), 0, "{other:?}");
        }
        assert_eq!(handshakes.shares.sources(), 1);
        drop(attempts);
        assert_eq!(handshakes.shares.sources(), 0);
        assert_eq!(handshakes.turns.available_permits(), 8);
    }

    #[tokio::test(start_paused = true)]
    async fn who_stands_for_many_has_every_turn() {
        let (server, client) = sides();
        let handshakes = Arc::new(Handshakes::new(server, 4));
        let mut attempts = Vec::new();
        for _ in 0..4 {
            attempts.push(silent(&handshakes, &hello(&client), None).await);
        }
        assert_eq!(handshakes.turns.available_permits(), 0);
    }

    #[tokio::test]
    async fn what_is_no_tls_is_named() {
        let (server, _) = sides();
        let handshakes = Handshakes::new(server, 1);
        let (mut peer, stream) = duplex(1024);
        peer.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
        let error = handshakes.shake(stream, None).await.unwrap_err();
        assert!(matches!(error, HandshakeError::Hello(_)), "{error}");
    }
}
