//! One HTTP/1.1 request on one connection, driven by whoever waits for its answer: there is no
//! task behind it that could outlive its reader.

use std::error::Error as StdError;
use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::client::conn::http1::{self, Connection, Parts};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::defaults;

/// The connection below an answer, with what of it still has to happen.
pub(super) struct Driven<S, B>
where
    S: AsyncRead + AsyncWrite + Unpin,
    B: Body + 'static,
{
    connection: Connection<TokioIo<S>, B>,
    ended: Option<hyper::Result<()>>,
}

/// The head of an answer and the connection its body comes from.
pub(super) type Answered<S, B = Full<Bytes>> = (Response<Incoming>, Driven<S, B>);

/// Sends `request` and waits for the head of the answer.
///
/// # Cancel safety
///
/// Safe: dropping it closes the connection.
pub(super) async fn send<S, B>(stream: S, request: Request<B>) -> hyper::Result<Answered<S, B>>
where
    S: AsyncRead + AsyncWrite + Unpin,
    B: Body + Unpin + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn StdError + Send + Sync>>,
{
    let (mut sender, connection) = http1::Builder::new()
        .max_header_size(defaults::ANSWER_HEADER_BYTES)
        .handshake(TokioIo::new(stream))
        .await?;
    let mut driven = Driven {
        connection,
        ended: None,
    };
    let mut answer = pin!(sender.send_request(request));
    let response = poll_fn(|cx| {
        // The connection first: the answer comes out of it. When it ends, the answer knows why.
        let _ = driven.poll(cx);
        answer.as_mut().poll(cx)
    })
    .await?;
    Ok((response, driven))
}

/// Waits until HTTP is over on the connection, after a 101 or a CONNECT, and takes the stream back
/// with whatever was read of it already.
pub(super) async fn take_back<S, B>(mut driven: Driven<S, B>) -> hyper::Result<Parts<TokioIo<S>>>
where
    S: AsyncRead + AsyncWrite + Unpin,
    B: Body + 'static,
    B::Error: Into<Box<dyn StdError + Send + Sync>>,
{
    poll_fn(|cx| driven.poll(cx)).await;
    match driven.ended {
        Some(Err(error)) => Err(error),
        Some(Ok(())) | None => Ok(driven.connection.into_parts()),
    }
}

impl<S, B> Driven<S, B>
where
    S: AsyncRead + AsyncWrite + Unpin,
    B: Body + 'static,
    B::Error: Into<Box<dyn StdError + Send + Sync>>,
{
    /// Moves the connection on; ready when it has ended, and then never polled again.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.ended.is_none() {
            self.ended = Some(ready!(self.connection.poll_without_shutdown(cx)));
        }
        Poll::Ready(())
    }
}

/// The body of an answer. Reading it drives the connection; dropping it closes the connection.
pub struct ResponseBody<S>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    body: Incoming,
    driven: Driven<S, Full<Bytes>>,
}

impl<S> ResponseBody<S>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    pub(super) fn new(body: Incoming, driven: Driven<S, Full<Bytes>>) -> Self {
        Self { body, driven }
    }
}

impl<S> Body for ResponseBody<S>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let this = self.get_mut();
        // Its end shows in the body, as an error when it came too early.
        let _ = this.driven.poll(cx);
        Pin::new(&mut this.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl<S> fmt::Debug for ResponseBody<S>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseBody")
            .field("body", &self.body)
            .finish_non_exhaustive()
    }
}
