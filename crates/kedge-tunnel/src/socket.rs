//! Socket options of every TCP connection that carries a link, and the stream type of those that
//! were dialled.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::carrier::Carrier;
use crate::defaults;

/// Sets what a link needs: no delay for small frames, a short queue in the kernel, and a peer that
/// vanished is noticed.
///
/// A kernel that refuses an option costs speed and not correctness, so that is logged and no more.
pub fn socket_options(stream: &TcpStream) {
    let socket = SockRef::from(stream);
    let keepalive = TcpKeepalive::new()
        .with_time(defaults::KEEPALIVE_IDLE)
        .with_interval(defaults::KEEPALIVE_INTERVAL);
    for (option, set) in [
        ("TCP_NODELAY", socket.set_tcp_nodelay(true)),
        (
            "TCP_NOTSENT_LOWAT",
            socket.set_tcp_notsent_lowat(defaults::LOW_WATER_FAST),
        ),
        (
            "TCP_USER_TIMEOUT",
            socket.set_tcp_user_timeout(Some(defaults::USER_TIMEOUT)),
        ),
        ("SO_KEEPALIVE", socket.set_tcp_keepalive(&keepalive)),
    ] {
        if let Err(error) = set {
            tracing::debug!(option, %error, "cannot set a socket option");
        }
    }
}

/// A dialled connection, with or without TLS.
#[derive(Debug)]
pub struct HubStream(Kind);

#[derive(Debug)]
enum Kind {
    Plain(Carrier),
    Tls(Box<TlsStream<Carrier>>),
}

impl HubStream {
    pub(crate) fn plain(stream: Carrier) -> Self {
        Self(Kind::Plain(stream))
    }

    pub(crate) fn tls(stream: TlsStream<Carrier>) -> Self {
        Self(Kind::Tls(Box::new(stream)))
    }

    /// The TCP connection below.
    #[must_use]
    pub fn tcp(&self) -> &TcpStream {
        match &self.0 {
            Kind::Plain(stream) => stream.get_ref(),
            Kind::Tls(stream) => stream.get_ref().0.get_ref(),
        }
    }
}

impl AsyncRead for HubStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.0 {
            Kind::Plain(stream) => Pin::new(stream).poll_read(cx, buffer),
            Kind::Tls(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for HubStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.0 {
            Kind::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Kind::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.0 {
            Kind::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
            Kind::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match &self.0 {
            Kind::Plain(stream) => stream.is_write_vectored(),
            Kind::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.0 {
            Kind::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Kind::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.0 {
            Kind::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Kind::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    #[tokio::test]
    async fn every_option_is_set() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap())
            .await
            .unwrap();
        socket_options(&stream);
        let socket = SockRef::from(&stream);
        assert!(socket.tcp_nodelay().unwrap());
        assert_eq!(
            socket.tcp_notsent_lowat().unwrap(),
            defaults::LOW_WATER_FAST
        );
        assert_eq!(
            socket.tcp_user_timeout().unwrap(),
            Some(defaults::USER_TIMEOUT)
        );
        assert!(socket.keepalive().unwrap());
    }
}
