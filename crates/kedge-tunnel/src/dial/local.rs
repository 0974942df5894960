//! From which of this machine's addresses a hub is dialled.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::client::Resumption;
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;

use super::{Dialer, Inner};
use crate::defaults;

impl Dialer {
    /// The same way from another address of this machine ([`local_address`](super::DialerBuilder::local_address)). Cheap:
    /// certificates that were loaded are shared. The tickets of TLS sessions are not, because they would tell the hub that
    /// the two addresses are one machine.
    #[must_use]
    pub fn with_local_address(&self, address: IpAddr) -> Self {
        let mut inner = Inner::clone(&self.inner);
        inner.local_address = Some(address);
        inner.tls = inner.tls.map(|(connector, name)| {
            let mut config = ClientConfig::clone(connector.config());
            config.resumption = Resumption::in_memory_sessions(defaults::OWN_TICKETS);
            (TlsConnector::from(Arc::new(config)), name)
        });
        Self {
            inner: Arc::new(inner),
        }
    }
}

/// Connects from `from`, or from the address that the routes choose.
pub(super) async fn connect(from: Option<IpAddr>, to: SocketAddr) -> io::Result<TcpStream> {
    let Some(from) = from else {
        return TcpStream::connect(to).await;
    };
    let named = |error: io::Error| {
        let text = format!("from {from}: {error}");
        io::Error::new(error.kind(), text)
    };
    let bound = match to {
        _ if from.is_ipv4() != to.is_ipv4() => {
            let text = "an IPv4 address and an IPv6 address cannot talk";
            Err(io::Error::new(io::ErrorKind::AddrNotAvailable, text))
        }
        SocketAddr::V4(_) => TcpSocket::new_v4(),
        SocketAddr::V6(_) => TcpSocket::new_v6(),
    };
    let socket = bound.map_err(named)?;
    socket.bind(SocketAddr::new(from, 0)).map_err(named)?;
    socket.connect(to).await.map_err(named)
}
