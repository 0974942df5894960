//! One stream to a target, whichever way it goes.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use anyhow::{Context as _, Result, ensure};
use kedge_tunnel::TunnelStream;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::step::within;
use crate::order::BANNER;

/// A stream to a target.
#[derive(Debug)]
pub enum Stream {
    /// A connection of its own.
    Tcp(TcpStream),
    /// A stream of a link.
    Tunnel(TunnelStream),
}

impl Stream {
    /// Reads the target's first words.
    ///
    /// # Errors
    ///
    /// When it says something else, or nothing in time.
    pub async fn read_banner(&mut self) -> Result<()> {
        let mut banner = [0; BANNER.len()];
        within("the target's greeting", self.read_exact(&mut banner)).await?;
        ensure!(
            banner == *BANNER,
            "another target answers than kedge-load's"
        );
        Ok(())
    }
}

impl Stream {
    /// Bytes of a connection that have come and were not read; nothing of a link's stream, whose link counts them.
    ///
    /// # Errors
    ///
    /// When the kernel does not say.
    pub fn unread(&self) -> Result<u64> {
        match self {
            Self::Tcp(stream) => {
                rustix::io::ioctl_fionread(stream).context("cannot ask what has come")
            }
            Self::Tunnel(_) => Ok(0),
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Tunnel(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Tunnel(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tunnel(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tunnel(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
