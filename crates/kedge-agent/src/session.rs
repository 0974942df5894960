//! One session: a stream of the tunnel and a connection to the target, joined until both ends have
//! said all they had to say.
//!
//! Both directions end apart (half-close), bytes are never dropped while somebody still wants
//! them, and an end that is nobody's wish has a reason the person can read.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use kedge_api::text::Printable;
use kedge_service::{Shutdown, Stage};
use kedge_tunnel::{
    AttributeId, Attributes, Incoming, OpenFrame, RefuseCode, ResetCode, Resetter, SpliceEnd,
    Target, splice,
};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

use crate::defaults;
use crate::metrics::{AgentMetrics, ByteLabels, Direction, SessionLabels, SessionResult};
use crate::target::LocalTarget;

/// What a session needs beside its stream.
#[derive(Clone, Debug)]
pub struct SessionContext {
    /// Where it goes. Whatever the hub asks for, only here.
    pub target: LocalTarget,
    /// Counters.
    pub metrics: AgentMetrics,
    /// When to be cut.
    pub shutdown: Shutdown,
}

/// Serves one stream that the hub wants to open, to its end.
///
/// # Cancel safety
///
/// Dropping it refuses or resets the stream.
pub async fn serve(incoming: Incoming, context: SessionContext) {
    let request = incoming.request();
    let span = span(request);
    tracing::debug!(parent: &span, "session opens");
    let metrics = context.metrics.clone();
    metrics.sessions_open.inc();
    let begun = Instant::now();
    let (result, bytes) = relay(incoming, &context).await;
    metrics.sessions_open.dec();
    metrics
        .sessions
        .get_or_create(&SessionLabels { result })
        .inc();
    for (direction, count) in [
        (Direction::to_target, bytes.written),
        (Direction::from_target, bytes.read),
    ] {
        metrics
            .bytes
            .get_or_create(&ByteLabels { direction })
            .inc_by(count);
    }
    tracing::debug!(
        parent: &span,
        ?result,
        to_target = bytes.written,
        from_target = bytes.read,
        seconds = begun.elapsed().as_secs_f64(),
        "session ended"
    );
}

/// Refuses a stream that cannot be served now.
pub fn refuse(incoming: Incoming, metrics: &AgentMetrics, code: RefuseCode, reason: &str) {
    tracing::debug!(parent: &span(incoming.request()), ?code, reason, "session refused");
    metrics
        .sessions
        .get_or_create(&SessionLabels {
            result: SessionResult::refused,
        })
        .inc();
    incoming.refuse(code, reason);
}

async fn relay(incoming: Incoming, context: &SessionContext) -> (SessionResult, Transferred) {
    let nothing = Transferred::default();
    if incoming.request().target != Target::ssh() {
        incoming.refuse(RefuseCode::BadRequest, "this agent serves nothing but ssh");
        return (SessionResult::refused, nothing);
    }
    let target = tokio::select! {
        target = context.target.connect() => target,
        () = context.shutdown.reached(Stage::Cut) => {
            incoming.refuse(RefuseCode::Draining, "the agent is stopping");
            return (SessionResult::cut, nothing);
        }
    };
    let target = match target {
        Ok(target) => target,
        Err(unreachable) => {
            tracing::warn!(reason = %unreachable, "cannot connect to the target");
            incoming.refuse(RefuseCode::TargetUnreachable, &unreachable.to_string());
            return (SessionResult::target_failed, nothing);
        }
    };
    let stream = incoming.accept(Attributes::new());
    let resetter = stream.resetter();
    // The one who notices the fault says so, in its own words, before the splice sees an error.
    let on_fault = {
        let (resetter, target) = (stream.resetter(), context.target.clone());
        move |fault: &io::Error| tell(&resetter, &target, fault)
    };
    let mut target = Watched::new(target, defaults::TARGET_FIRST_BYTE_TIME, on_fault);
    let cut = async {
        context.shutdown.reached(Stage::Cut).await;
        // Before the splice is dropped, which would say something less helpful.
        resetter.reset(ResetCode::ShuttingDown, "the agent is stopping");
    };
    let spliced = tokio::select! {
        spliced = splice(stream, &mut target, ResetCode::TargetReset) => Some(spliced.end),
        () = cut => None,
    };
    let result = match spliced {
        Some(SpliceEnd::Finished) => SessionResult::finished,
        Some(SpliceEnd::Io(error)) => match TargetFault::of(&error) {
            Some(TargetFault::Silent(_)) => SessionResult::silent,
            Some(TargetFault::Closed) | None => SessionResult::target_failed,
        },
        Some(_) => SessionResult::tunnel_failed,
        None => SessionResult::cut,
    };
    (result, target.transferred)
}

/// Tells the other end what is wrong with the target.
fn tell(resetter: &Resetter, target: &LocalTarget, error: &io::Error) {
    let code = match TargetFault::of(error) {
        Some(TargetFault::Silent(_)) => ResetCode::TargetSilent,
        Some(TargetFault::Closed) | None => ResetCode::TargetReset,
    };
    tracing::warn!(%target, %error, "the target failed");
    resetter.reset(code, &format!("{target}: {error}"));
}

fn span(request: &OpenFrame) -> tracing::Span {
    let text = |id| Printable::new(request.attributes.text(id).unwrap_or("-")).to_string();
    tracing::debug_span!(
        "session",
        session = text(AttributeId::SESSION),
        subject = text(AttributeId::SUBJECT),
        login = text(AttributeId::LOGIN),
    )
}

/// Bytes that went to and came from a target.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
struct Transferred {
    read: u64,
    written: u64,
}

/// What an sshd does not do.
#[derive(Debug, Error)]
enum TargetFault {
    #[error(
        "it closed the connection before it said anything; is sshd at its limits (MaxStartups)?"
    )]
    Closed,
    #[error("it accepted the connection and said nothing for {} s", .0.as_secs_f64())]
    Silent(Duration),
}

impl TargetFault {
    fn of(error: &io::Error) -> Option<&Self> {
        error.get_ref()?.downcast_ref()
    }
}

/// A target that must say something in time, and whose end of listening is no failure.
struct Watched<T, F> {
    inner: T,
    on_fault: F,
    patience: Duration,
    /// Gone once the first byte came.
    silence: Option<Pin<Box<Sleep>>>,
    /// The target has said all it will say. It may then stop listening as well; what still comes
    /// for it is dropped, because its own last words are still under way and must arrive.
    finished: bool,
    transferred: Transferred,
}

impl<T, F: Fn(&io::Error)> Watched<T, F> {
    fn new(inner: T, patience: Duration, on_fault: F) -> Self {
        Self {
            inner,
            on_fault,
            patience,
            silence: Some(Box::pin(tokio::time::sleep(patience))),
            finished: false,
            transferred: Transferred::default(),
        }
    }

    fn fail<R>(&self, error: io::Error) -> Poll<io::Result<R>> {
        (self.on_fault)(&error);
        Poll::Ready(Err(error))
    }

    /// Whether a failed write only shows that the target has left after its last word.
    fn has_left(&self, error: &io::Error) -> bool {
        let gone = matches!(
            error.kind(),
            io::ErrorKind::BrokenPipe
                | io::ErrorKind::ConnectionReset
                | io::ErrorKind::NotConnected
        );
        self.finished && gone
    }
}

impl<T: AsyncRead + Unpin, F: Fn(&io::Error) + Unpin> AsyncRead for Watched<T, F> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        match Pin::new(&mut self.inner).poll_read(cx, buffer) {
            Poll::Ready(Ok(())) => {
                let read = buffer.filled().len() - before;
                if read == 0 && buffer.remaining() > 0 {
                    if self.silence.is_some() {
                        return self.fail(io::Error::other(TargetFault::Closed));
                    }
                    self.finished = true;
                } else {
                    self.silence = None;
                    self.transferred.read += read as u64;
                }
                Poll::Ready(Ok(()))
            }
            Poll::Ready(Err(error)) => self.fail(error),
            Poll::Pending => {
                let patience = self.patience;
                let patient = match &mut self.silence {
                    Some(silence) => silence.as_mut().poll(cx).is_pending(),
                    None => true,
                };
                if patient {
                    return Poll::Pending;
                }
                self.fail(io::Error::other(TargetFault::Silent(patience)))
            }
        }
    }
}

impl<T: AsyncWrite + Unpin, F: Fn(&io::Error) + Unpin> AsyncWrite for Watched<T, F> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match std::task::ready!(Pin::new(&mut self.inner).poll_write(cx, bytes)) {
            Ok(written) => {
                self.transferred.written += written as u64;
                Poll::Ready(Ok(written))
            }
            Err(error) if self.has_left(&error) => Poll::Ready(Ok(bytes.len())),
            Err(error) => self.fail(error),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match std::task::ready!(Pin::new(&mut self.inner).poll_shutdown(cx)) {
            Err(error) if self.has_left(&error) => Poll::Ready(Ok(())),
            Err(error) => self.fail(error),
            Ok(()) => Poll::Ready(Ok(())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
    use tokio::time::timeout;

    #[tokio::test(start_paused = true)]
    async fn a_silent_target_is_given_up_in_time() {
        let (target, _peer) = duplex(64);
        let mut watched = Watched::new(target, defaults::TARGET_FIRST_BYTE_TIME, |_| {});
        let begun = Instant::now();
        let error = watched.read(&mut [0; 8]).await.unwrap_err();
        assert!(
            matches!(TargetFault::of(&error), Some(TargetFault::Silent(_))),
            "{error}"
        );
        assert_eq!(
            begun.elapsed().as_secs(),
            defaults::TARGET_FIRST_BYTE_TIME.as_secs()
        );
    }

    #[tokio::test(start_paused = true)]
    async fn after_the_first_byte_silence_may_last() {
        let (target, mut peer) = duplex(64);
        let mut watched = Watched::new(target, defaults::TARGET_FIRST_BYTE_TIME, |_| {});
        peer.write_all(b"SSH-2.0-").await.unwrap();
        let mut buffer = [0; 8];
        watched.read_exact(&mut buffer).await.unwrap();
        let idle = timeout(Duration::from_secs(3600), watched.read(&mut buffer)).await;
        assert!(idle.is_err(), "an idle shell is no silent target");
        assert_eq!(
            watched.transferred,
            Transferred {
                read: 8,
                written: 0
            }
        );
    }

    #[tokio::test]
    async fn a_target_that_hangs_up_at_once_is_no_silent_end() {
        let (target, peer) = duplex(64);
        drop(peer);
        let mut watched = Watched::new(target, defaults::TARGET_FIRST_BYTE_TIME, |_| {});
        let error = watched.read(&mut [0; 8]).await.unwrap_err();
        assert!(
            matches!(TargetFault::of(&error), Some(TargetFault::Closed)),
            "{error}"
        );
    }

    #[tokio::test]
    async fn a_target_that_has_left_takes_no_harm_from_late_words() {
        let (target, mut peer) = duplex(64);
        let mut watched = Watched::new(target, defaults::TARGET_FIRST_BYTE_TIME, |_| {});
        peer.write_all(b"bye").await.unwrap();
        drop(peer);
        let mut said = Vec::new();
        watched.read_to_end(&mut said).await.unwrap();
        assert_eq!(said, b"bye");
        watched.write_all(&[0; 1000]).await.unwrap();
        watched.shutdown().await.unwrap();
    }

    #[tokio::test]
    async fn a_target_that_breaks_off_is_a_failure() {
        let (target, peer) = duplex(4);
        let mut watched = Watched::new(target, defaults::TARGET_FIRST_BYTE_TIME, |_| {});
        drop(peer);
        assert_eq!(
            watched.write_all(&[0; 1000]).await.unwrap_err().kind(),
            io::ErrorKind::BrokenPipe
        );
    }
}
