//! `kedge-load relay`: one hop of a plain copy, as good as one can be made in a few lines. Two of them, one after the
//! other, are what the tunnel is measured against.

use std::net::SocketAddr;

use tokio::io::copy_bidirectional_with_sizes;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::defaults;

/// Serves one connection to its end: connects to `to`, and copies both ways.
///
/// # Cancel safety
///
/// Dropping it breaks both connections off.
pub async fn serve(mut from: TcpStream, to: SocketAddr) {
    // A target that is not there is told as it is told without a relay: the connection ends.
    let Ok(Ok(mut to)) = timeout(defaults::STEP_TIME, TcpStream::connect(to)).await else {
        return;
    };
    for stream in [&from, &to] {
        let _ = stream.set_nodelay(true);
    }
    let size = defaults::RELAY_BUFFER;
    // Either end may break off; the other then hears it.
    let _ = copy_bidirectional_with_sizes(&mut from, &mut to, size, size).await;
}
