//! The agent that `ssh` asks for keys (`IdentityAgent`), offered by `kedge proxy` while its session lives.
//!
//! ```text
//!                        ┌─ is_forwarding ─────────────────────────────► the person's own agent, or failure
//!  ssh ── FOLDER/%C ─────┤
//!                        │            ┌─ the server has a key ─────────► the hub's signer, on the session's link
//!                        └─ no ───────┤
//!                                     └─ people come with their own ───► the person's own agent, or nothing
//! ```
//!
//! - Sessions of one person to one server as one login share one path, and it lives as long as any of them does. One of
//!   them listens; when it goes, however it goes, another takes over ([`turn`]).
//! - Which of them answers does not matter: a request names its SSH session, and the hub looks at nothing else.
//! - REQUEST_IDENTITIES is answered by what the hub said when the session began; one that begins while another
//!   listens has it ask again. So a session costs one round trip to the hub more, for the signature.
//! - Nothing that could be a key travels to the hub: what is neither a binding, a question for keys nor a request for a
//!   signature is refused here.

mod conversation;
mod path;
mod signer;
mod turn;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kedge_tunnel::{Link, StreamKey};
use tokio::io::AsyncWriteExt;
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

pub use path::{Destination, SocketPath, fits};

use crate::defaults;
use conversation::Conversation;
use signer::Signer;
use turn::{Queue, Turn};

/// What one session offers.
#[derive(Debug)]
pub struct Offer {
    /// Where.
    pub socket: SocketPath,
    /// The person's own agent (`$SSH_AUTH_SOCK`).
    pub own: Option<PathBuf>,
}

/// Why `ssh` finds no agent.
#[derive(Debug, thiserror::Error)]
pub enum OfferError {
    /// The folder is not fit to hold a socket.
    #[error("the folder {} cannot be used: {problem}", path.display())]
    Folder {
        /// Which.
        path: PathBuf,
        /// Why.
        problem: String,
    },
    /// The system says no.
    #[error("cannot {operation} {}", path.display())]
    Io {
        /// What was tried.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

impl Offer {
    /// Offers the agent until it is dropped. Ends by itself only when that cannot be done.
    ///
    /// # Errors
    ///
    /// [`OfferError`]
    ///
    /// # Cancel safety
    ///
    /// When dropped, the path is left to whoever shares it, or removed.
    pub async fn serve(&self, link: Link, session: StreamKey) -> Result<(), OfferError> {
        self.socket.prepare()?;
        let mut queue = Queue::enter(&self.socket)?;
        let turn = match queue.try_turn()? {
            Some(turn) => turn,
            None => {
                // Whoever listens may know the key from before it was changed.
                if let Err(error) = ask_anew(&self.socket.path()).await {
                    // It is about to go, and then it is our turn.
                    drop(error);
                }
                queue.turn().await?
            }
        };
        self.listen(&turn, Arc::new(Signer::new(link, session)))
            .await
    }

    async fn listen(&self, turn: &Turn, signer: Arc<Signer>) -> Result<(), OfferError> {
        let listener = turn.bind(&self.socket)?;
        let mut talks = JoinSet::new();
        {
            let signer = Arc::clone(&signer);
            // Asked for now, so that the answer is there when `ssh` wants it.
            talks.spawn(async move { drop(signer.known().await) });
        }
        let own = self.own.as_deref().filter(|own| *own != self.socket.path());
        loop {
            while talks.try_join_next().is_some() {}
            if talks.len() >= defaults::AGENT_CONVERSATIONS {
                talks.join_next().await;
                continue;
            }
            match accept(&listener).await {
                Some(peer) => {
                    let talk =
                        Conversation::new(peer, Arc::clone(&signer), own.map(Path::to_owned));
                    talks.spawn(talk.run());
                }
                None => sleep(defaults::AGENT_ACCEPT_PAUSE).await,
            }
        }
    }
}

/// The next connection of a process of the same person; none when there was something else.
async fn accept(listener: &UnixListener) -> Option<UnixStream> {
    let (peer, _) = listener.accept().await.ok()?;
    let theirs = peer.peer_cred().ok()?.uid();
    // The folder keeps others out already; this holds also where somebody opened it.
    let ours = rustix::process::geteuid().as_raw();
    (theirs == ours || theirs == 0).then_some(peer)
}

/// Has whoever listens ask the hub for the key again.
async fn ask_anew(path: &Path) -> io::Result<()> {
    let asked = async {
        let mut listener = UnixStream::connect(path).await?;
        listener.write_all(&conversation::refresh_request()).await?;
        listener.shutdown().await
    };
    timeout(defaults::AGENT_REFRESH, asked)
        .await
        .map_err(io::Error::from)?
}
