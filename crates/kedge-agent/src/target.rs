//! The one thing an agent connects to: a port of its own machine or a Unix socket.

use std::fmt;
use std::io::{self, IoSlice};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::pin::Pin;
use std::str::FromStr;
use std::task::{Context, Poll};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

use crate::defaults;

/// Where sessions go: `tcp:127.0.0.1:22`, `tcp:[::1]:22`, `tcp:localhost:22` or `unix:/path`.
///
/// No other machine can be named, so that a hub can never use an agent to reach its network.
#[derive(Clone, Eq, PartialEq)]
pub struct LocalTarget(Kind);

#[derive(Clone, Eq, PartialEq)]
enum Kind {
    /// `localhost`: both loopback addresses, IPv4 first; no resolver is asked.
    Localhost(u16),
    Tcp(SocketAddr),
    Unix(PathBuf),
}

/// A text that is no [`LocalTarget`].
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum TargetError {
    /// Neither of the two forms.
    #[error("a target is tcp:127.0.0.1:PORT, tcp:[::1]:PORT, tcp:localhost:PORT or unix:/PATH")]
    Form,
    /// Another machine, or all of this one's addresses.
    #[error("an agent only connects to its own machine: 127.0.0.1, [::1] or localhost")]
    NotLoopback,
    /// The path is relative, or no path.
    #[error("the path of a unix: target begins with / and is at most 107 bytes long")]
    Path,
    /// Port 0.
    #[error("port 0 is no port to connect to")]
    Port,
}

impl FromStr for LocalTarget {
    type Err = TargetError;

    fn from_str(text: &str) -> Result<Self, TargetError> {
        if let Some(path) = text.strip_prefix("unix:") {
            // sun_path has 108 bytes with its NUL.
            if !path.starts_with('/') || path.len() > 107 || path.contains('\0') {
                return Err(TargetError::Path);
            }
            return Ok(Self(Kind::Unix(path.into())));
        }
        let address = text.strip_prefix("tcp:").ok_or(TargetError::Form)?;
        if let Some(port) = address.strip_prefix("localhost:") {
            let port = port.parse().map_err(|_| TargetError::Form)?;
            return if port == 0 {
                Err(TargetError::Port)
            } else {
                Ok(Self(Kind::Localhost(port)))
            };
        }
        let address: SocketAddr = address
            .parse()
            .map_err(|_| match address.rsplit_once(':') {
                // A name that would have to be resolved is somebody else's word on where it leads.
                Some((name, port)) if !name.is_empty() && port.parse::<u16>().is_ok() => {
                    TargetError::NotLoopback
                }
                _ => TargetError::Form,
            })?;
        if !address.ip().is_loopback() {
            return Err(TargetError::NotLoopback);
        }
        if address.port() == 0 {
            return Err(TargetError::Port);
        }
        Ok(Self(Kind::Tcp(address)))
    }
}

impl Default for LocalTarget {
    fn default() -> Self {
        Self(Kind::Tcp(SocketAddr::from((Ipv4Addr::LOCALHOST, 22))))
    }
}

impl fmt::Display for LocalTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Localhost(port) => write!(f, "tcp:localhost:{port}"),
            Kind::Tcp(address) => write!(f, "tcp:{address}"),
            Kind::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl fmt::Debug for LocalTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.to_string(), f)
    }
}

impl<'de> Deserialize<'de> for LocalTarget {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for LocalTarget {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "LocalTarget".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string" })
    }
}

/// Why the target did not take a connection, in words for the person who wanted it.
#[derive(Debug, Error)]
#[error("{target}: {cause}")]
pub struct Unreachable {
    target: LocalTarget,
    cause: String,
}

impl LocalTarget {
    /// Connects, in bounded time.
    ///
    /// # Cancel safety
    ///
    /// Safe.
    ///
    /// # Errors
    ///
    /// [`Unreachable`] names the target and the cause.
    pub async fn connect(&self) -> Result<TargetStream, Unreachable> {
        let unreachable = |cause: String| Unreachable {
            target: self.clone(),
            cause,
        };
        let limit = defaults::TARGET_CONNECT_TIME;
        match timeout(limit, self.try_connect()).await {
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err(error)) => Err(unreachable(self.explain(&error))),
            Err(_) => Err(unreachable(format!(
                "no connection within {} s; is the machine overloaded, or its backlog full?",
                limit.as_secs()
            ))),
        }
    }

    async fn try_connect(&self) -> io::Result<TargetStream> {
        match &self.0 {
            Kind::Localhost(port) => {
                match tcp(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), *port)).await {
                    Ok(stream) => Ok(stream),
                    // What IPv4 says is what people look for when both refuse.
                    Err(error) => tcp(SocketAddr::new(IpAddr::V6(Ipv6Addr::LOCALHOST), *port))
                        .await
                        .map_err(|_| error),
                }
            }
            Kind::Tcp(address) => tcp(*address).await,
            Kind::Unix(path) => Ok(TargetStream::Unix(UnixStream::connect(path).await?)),
        }
    }

    fn explain(&self, error: &io::Error) -> String {
        let unix = matches!(self.0, Kind::Unix(_));
        match error.kind() {
            io::ErrorKind::ConnectionRefused => "connection refused; is sshd running?".to_owned(),
            io::ErrorKind::NotFound if unix => {
                "no such socket; is sshd's socket unit active?".to_owned()
            }
            io::ErrorKind::PermissionDenied if unix => {
                "permission denied; may the agent's user open this socket?".to_owned()
            }
            _ => error.to_string(),
        }
    }
}

async fn tcp(address: SocketAddr) -> io::Result<TargetStream> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(TargetStream::Tcp(stream))
}

/// A connection to the target.
#[derive(Debug)]
#[non_exhaustive]
pub enum TargetStream {
    /// Over TCP.
    Tcp(TcpStream),
    /// Over a Unix socket.
    Unix(UnixStream),
}

impl AsyncRead for TargetStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Unix(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for TargetStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Unix(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
            Self::Unix(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Self::Unix(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::{TcpListener, UnixListener};

    #[test]
    fn the_default_is_the_documented_one() {
        assert_eq!(LocalTarget::default().to_string(), defaults::TARGET);
    }

    #[test]
    fn only_this_machine_can_be_named() {
        for good in [
            "tcp:127.0.0.1:22",
            "tcp:127.1.2.3:2222",
            "tcp:[::1]:22",
            "tcp:localhost:22",
            "unix:/run/ssh-unix-local/socket",
        ] {
            assert_eq!(good.parse::<LocalTarget>().unwrap().to_string(), good);
        }
        for (bad, expected) in [
            ("tcp:10.0.0.1:22", TargetError::NotLoopback),
            ("tcp:0.0.0.0:22", TargetError::NotLoopback),
            ("tcp:[::]:22", TargetError::NotLoopback),
            ("tcp:[::ffff:127.0.0.1]:22", TargetError::NotLoopback),
            ("tcp:[::ffff:10.0.0.1]:22", TargetError::NotLoopback),
            ("tcp:169.254.169.254:80", TargetError::NotLoopback),
            ("tcp:example.com:22", TargetError::NotLoopback),
            ("tcp:localhost.evil.example:22", TargetError::NotLoopback),
            ("tcp:127.0.0.1", TargetError::Form),
            ("tcp:127.0.0.1:99999", TargetError::Form),
            ("tcp:127.0.0.1:0", TargetError::Port),
            ("tcp:localhost:0", TargetError::Port),
            ("tcp:::22", TargetError::NotLoopback),
            ("127.0.0.1:22", TargetError::Form),
            ("udp:127.0.0.1:22", TargetError::Form),
            ("", TargetError::Form),
            ("unix:relative", TargetError::Path),
            ("unix:", TargetError::Path),
            ("unix:/a\0b", TargetError::Path),
        ] {
            assert_eq!(bad.parse::<LocalTarget>(), Err(expected), "{bad}");
        }
        let long = format!("unix:/{}", "a".repeat(107));
        assert_eq!(long.parse::<LocalTarget>(), Err(TargetError::Path));
    }

    #[tokio::test]
    async fn a_closed_port_and_a_missing_socket_are_told_apart() {
        let closed = {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            listener.local_addr().unwrap()
        };
        let error = format!("tcp:{closed}")
            .parse::<LocalTarget>()
            .unwrap()
            .connect()
            .await;
        assert_eq!(
            error.unwrap_err().to_string(),
            format!("tcp:{closed}: connection refused; is sshd running?")
        );
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sshd.sock");
        let target: LocalTarget = format!("unix:{}", path.display()).parse().unwrap();
        let error = target.connect().await.unwrap_err().to_string();
        assert!(
            error.ends_with("no such socket; is sshd's socket unit active?"),
            "{error}"
        );
        let listener = UnixListener::bind(&path).unwrap();
        assert!(target.connect().await.is_ok());
        drop(listener);
        let error = target.connect().await.unwrap_err().to_string();
        assert!(error.contains("connection refused"), "{error}");
    }

    #[tokio::test]
    async fn localhost_means_both_loopback_addresses() {
        let Ok(listener) = TcpListener::bind("[::1]:0").await else {
            // A machine without IPv6 has nothing to show here.
            return;
        };
        let port = listener.local_addr().unwrap().port();
        let target: LocalTarget = format!("tcp:localhost:{port}").parse().unwrap();
        assert!(target.connect().await.is_ok());
    }
}
