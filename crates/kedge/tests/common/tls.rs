//! A listener with a certificate that nobody vouches for.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;

use anyhow::Result;
use rustls::ServerConnection;

/// A certificate of its own making, for `localhost`, on a port of 127.0.0.1.
pub struct SelfSigned {
    pub address: SocketAddr,
    pub certificate: rcgen::Certificate,
}

/// Listens, and has each connection served; the handshake is the server's to do.
pub fn self_signed(
    serve: impl Fn(&mut ServerConnection, &mut TcpStream) + Send + 'static,
) -> Result<SelfSigned> {
    let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
    let key =
        rustls::pki_types::PrivateKeyDer::try_from(certified.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![certified.cert.der().clone()], key)?;
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    std::thread::spawn(move || {
        for mut socket in listener.incoming().flatten() {
            let mut session = ServerConnection::new(Arc::clone(&config)).unwrap();
            serve(&mut session, &mut socket);
        }
    });
    Ok(SelfSigned {
        address,
        certificate: certified.cert,
    })
}
