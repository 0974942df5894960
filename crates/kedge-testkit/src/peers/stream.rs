//! A connection to a hub, with TLS or without. Certificates are taken as they come: pins are what the real clients
//! check, and these peers are not they.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme, StreamOwned};

use crate::defaults;
use crate::hub::Hub;

/// Where a hub is, and whether it speaks TLS there.
#[derive(Clone, Copy, Debug)]
pub struct Endpoint {
    /// Address and port.
    pub address: SocketAddr,
    /// Whether TLS is spoken.
    pub tls: bool,
}

impl Endpoint {
    /// A hub's port for agents and people.
    #[must_use]
    pub fn of(hub: &Hub) -> Self {
        Self {
            address: hub.address(),
            tls: hub.speaks_tls(),
        }
    }

    /// A bare TCP connection.
    ///
    /// # Errors
    ///
    /// When nobody accepts in time.
    pub fn tcp(&self) -> Result<TcpStream> {
        let stream = TcpStream::connect_timeout(&self.address, defaults::SOON)
            .with_context(|| format!("connect to {}", self.address))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(defaults::SOON))?;
        stream.set_write_timeout(Some(defaults::SOON))?;
        Ok(stream)
    }

    /// A connection on which HTTP can be spoken.
    ///
    /// # Errors
    ///
    /// When nobody accepts in time, or TLS fails.
    pub fn connect(&self) -> Result<Stream> {
        let tcp = self.tcp()?;
        if !self.tls {
            return Ok(Stream::Plain(tcp));
        }
        let name = ServerName::IpAddress(self.address.ip().into());
        let connection = ClientConnection::new(Arc::new(trusting()?), name)?;
        let mut stream = StreamOwned::new(connection, tcp);
        stream
            .conn
            .complete_io(&mut stream.sock)
            .context("TLS handshake")?;
        Ok(Stream::Tls(Box::new(stream)))
    }

    /// The certificate shown there, DER.
    ///
    /// # Errors
    ///
    /// When there is none.
    pub fn certificate(&self) -> Result<Vec<u8>> {
        match self.connect()? {
            Stream::Plain(_) => anyhow::bail!("no TLS there"),
            Stream::Tls(stream) => {
                let chain = stream.conn.peer_certificates().unwrap_or_default();
                Ok(chain.first().context("no certificate")?.to_vec())
            }
        }
    }
}

/// A connection.
#[derive(Debug)]
pub enum Stream {
    /// Plain TCP.
    Plain(TcpStream),
    /// TLS.
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Stream {
    /// The socket under it.
    #[must_use]
    pub fn socket(&self) -> &TcpStream {
        match self {
            Self::Plain(stream) => stream,
            Self::Tls(stream) => &stream.sock,
        }
    }

    /// How long a read may wait.
    ///
    /// # Errors
    ///
    /// When the socket is gone.
    pub fn patience(&self, limit: Duration) -> Result<()> {
        Ok(self.socket().set_read_timeout(Some(limit))?)
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.read(buffer),
            Self::Tls(stream) => stream.read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.write(bytes),
            Self::Tls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        match self {
            Self::Plain(stream) => stream.flush(),
            Self::Tls(stream) => stream.flush(),
        }
    }
}

fn trusting() -> Result<ClientConfig> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    Ok(ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyCertificate(provider)))
        .with_no_client_auth())
}

#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(
            message,
            certificate,
            signature,
            &self.0.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(
            message,
            certificate,
            signature,
            &self.0.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
