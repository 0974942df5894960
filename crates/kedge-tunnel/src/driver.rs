//! The future that moves a link's bytes.
//!
//! It reads a message and hands it to the state machine, which puts the bytes where their reader
//! finds them; it asks the state machine for the next message and writes it. Nothing is queued in
//! between: while the socket does not take a message, none is asked for, so what is sent next is
//! decided at the last moment.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use bytes::Bytes;
use kedge_proto::{DecodeError, LinkError, Pace, RelayEvent, StreamId};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::{Sleep, timeout};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use crate::buffers;
use crate::defaults::{GOODBYE_TIME, TRAFFIC_BYTES, TRAFFIC_TURN, TRAFFIC_TURNS};
use crate::link::{CloseReason, LinkEnd};
use crate::relay::RelayHalf;
use crate::shared::{Inner, Shared, Wakes, now};
use crate::wire::{Received, Wire, WireError};

/// The future that moves a link's bytes. Whoever made the link owns it; dropping it ends the link.
pub struct LinkDriver<S> {
    wire: Wire<S>,
    shared: Arc<Shared>,
    pace: Pace,
    blocked: bool,
    /// Bytes of messages that came or went, ever.
    moved: usize,
    timer: Option<(Instant, Pin<Box<Sleep>>)>,
    close_by: Option<Instant>,
    wakes: Wakes,
}

/// What one direction has done in its turn.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Turn {
    /// There may be more to do.
    Busy,
    /// Nothing more until somebody wakes the driver.
    Idle,
}

impl<S> LinkDriver<S> {
    pub(crate) fn new(wire: Wire<S>, shared: Arc<Shared>) -> Self {
        Self {
            wire,
            shared,
            pace: Pace::default(),
            blocked: false,
            moved: 0,
            timer: None,
            close_by: None,
            wakes: Wakes::default(),
        }
    }
}

impl<S> LinkDriver<S>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    /// Runs the link to its end.
    ///
    /// # Cancel safety
    /// Dropping the future ends the link as if the connection had broken.
    pub async fn run(mut self) -> LinkEnd {
        let end = poll_fn(|cx| self.poll_traffic(cx)).await;
        let reason = self.shared.lock().closing;
        match &end {
            LinkEnd::Dead | LinkEnd::Io(_) => {}
            LinkEnd::Protocol(error) => {
                tracing::debug!(%error, "peer broke the protocol");
                // The streams end now; the peer is told why, if it still listens.
                self.shared.finish(end.clone());
                let close = CloseFrame {
                    code: close_code(error),
                    reason: error
                        .to_string()
                        .chars()
                        .take(100)
                        .collect::<String>()
                        .into(),
                };
                self.goodbye(Some(close)).await;
            }
            LinkEnd::PeerClosed | LinkEnd::Rejected { .. } => {
                self.shared.finish(end.clone());
                self.goodbye(None).await;
            }
            _ => self.goodbye(reason.map(close_frame)).await,
        }
        self.shared.finish(end.clone());
        end
    }

    /// Sends a close, or the answer to the peer's, and waits for the peer to let go; not for long.
    async fn goodbye(&mut self, close: Option<CloseFrame>) {
        let last_words = async {
            if close.is_some() {
                self.wire.close(close);
            }
            // The answer to the peer's close waits already.
            poll_fn(|cx| self.wire.poll_sent(cx)).await?;
            // What still comes is not for anybody; it is read so that the peer gets to read the
            // close before its own bytes bounce.
            loop {
                match poll_fn(|cx| self.wire.poll_received(cx)).await {
                    Ok(Received::Close(_)) | Err(_) => break,
                    Ok(_) => {}
                }
            }
            let socket = self.wire.io();
            socket.shutdown().await?;
            let mut rest = [0; 1024];
            while socket.read(&mut rest).await? > 0 {}
            Ok::<_, WireError>(())
        };
        if !matches!(timeout(GOODBYE_TIME, last_words).await, Ok(Ok(()))) {
            tracing::debug!("link ended without a goodbye");
        }
    }

    fn poll_traffic(&mut self, cx: &mut Context<'_>) -> Poll<LinkEnd> {
        let polled = self.poll_turns(cx);
        self.shared.wire.store(self.wire.held(), Ordering::Relaxed);
        polled
    }

    fn poll_turns(&mut self, cx: &mut Context<'_>) -> Poll<LinkEnd> {
        self.shared.lock().drive_with(cx.waker());
        let begun = self.moved;
        for _ in 0..TRAFFIC_TURNS {
            // What others have left here for the other halves of relays: the driver alone carries it
            // over, so that it arrives in order.
            self.carry_over();
            let written = match self.poll_write(cx) {
                Ok(turn) => turn,
                Err(end) => return Poll::Ready(end),
            };
            let read = match self.poll_read(cx) {
                Ok(turn) => turn,
                Err(end) => return Poll::Ready(end),
            };
            if let Err(end) = self.poll_clock(cx) {
                return Poll::Ready(end);
            }
            if (written, read) == (Turn::Idle, Turn::Idle) {
                return Poll::Pending;
            }
            if self.moved.wrapping_sub(begun) >= TRAFFIC_BYTES {
                break;
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Writes messages while the socket takes them.
    fn poll_write(&mut self, cx: &mut Context<'_>) -> Result<Turn, LinkEnd> {
        let begun = self.moved;
        for _ in 0..TRAFFIC_TURN {
            match self.wire.poll_room(cx) {
                Poll::Ready(room) => room.map_err(end_of)?,
                Poll::Pending => {
                    if !std::mem::replace(&mut self.blocked, true) {
                        self.pace.blocked(now());
                    }
                    return Ok(Turn::Idle);
                }
            }
            let time = now();
            if std::mem::take(&mut self.blocked) {
                self.pace.released(time);
            }
            let shared = Arc::clone(&self.shared);
            let mut inner = shared.lock();
            let message = match inner.closing {
                None => inner.proto.transmit_parts(time, self.pace.frame()),
                Some(_) => inner.proto.transmit_last(time),
            };
            let news = inner.settle(&mut self.wakes);
            let relayed = !inner.outbox.is_empty();
            let closing = inner.closing;
            drop(inner);
            self.shared.publish(news);
            self.wakes.wake();
            if relayed {
                self.carry_over();
            }
            let Some(message) = message else {
                self.pace.drained();
                return self.poll_flush(cx, closing);
            };
            self.pace.wrote(message.len());
            self.moved = self.moved.wrapping_add(message.len());
            self.shared.count_out(message.len());
            self.wire.put(&message).map_err(end_of)?;
            if self.moved.wrapping_sub(begun) >= TRAFFIC_BYTES {
                break;
            }
        }
        Ok(Turn::Busy)
    }

    /// Nothing is left to write.
    fn poll_flush(
        &mut self,
        cx: &mut Context<'_>,
        closing: Option<CloseReason>,
    ) -> Result<Turn, LinkEnd> {
        match self.wire.poll_sent(cx) {
            Poll::Ready(sent) => sent.map_err(end_of)?,
            Poll::Pending => return Ok(Turn::Idle),
        }
        match closing {
            None => Ok(Turn::Idle),
            Some(CloseReason::Replaced) => Err(LinkEnd::Replaced),
            Some(CloseReason::Revoked) => Err(LinkEnd::Revoked),
            Some(_) => Err(LinkEnd::Closed),
        }
    }

    /// Reads the messages that have come.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Result<Turn, LinkEnd> {
        // A message may be answered: the turn was busy as soon as one was read, so that writing has its turn too.
        let mut turn = Turn::Idle;
        let begun = self.moved;
        for _ in 0..TRAFFIC_TURN {
            let received = match self.wire.poll_received(cx) {
                Poll::Ready(received) => received.map_err(end_of)?,
                Poll::Pending => return Ok(turn),
            };
            turn = Turn::Busy;
            match received {
                Received::Message(message) => self.receive(message)?,
                Received::Close(frame) => return Err(closed_by_peer(frame)),
                Received::Ping(_) | Received::Pong(_) => {}
            }
            if self.moved.wrapping_sub(begun) >= TRAFFIC_BYTES {
                break;
            }
        }
        Ok(turn)
    }

    fn receive(&mut self, message: Bytes) -> Result<(), LinkEnd> {
        self.shared.count_in(message.len());
        self.moved = self.moved.wrapping_add(message.len());
        let shared = Arc::clone(&self.shared);
        let mut inner = shared.lock();
        let received = inner.proto.receive(now(), message);
        while let Some(spent) = inner.proto.poll_spent() {
            buffers::give(spent);
        }
        let news = inner.settle(&mut self.wakes);
        let relayed = !inner.outbox.is_empty();
        drop(inner);
        self.shared.publish(news);
        self.wakes.wake();
        if relayed {
            self.carry_over();
        }
        received.map_err(LinkEnd::Protocol)
    }

    /// Carries the news of relays over to the links of their other halves.
    fn carry_over(&mut self) {
        loop {
            let mut inner = self.shared.lock();
            let Some((id, event)) = inner.outbox.pop_front() else {
                return;
            };
            let half = take_half(&mut inner, id, &event);
            drop(inner);
            if let Some(half) = half {
                half.apply(event);
            }
        }
    }

    fn poll_clock(&mut self, cx: &mut Context<'_>) -> Result<(), LinkEnd> {
        loop {
            let mut inner = self.shared.lock();
            if inner.closing.is_some() && self.close_by.is_none() {
                self.close_by = Some(now() + GOODBYE_TIME);
            }
            let due = inner.proto.timeout();
            let due = self.close_by.map_or(due, |close_by| close_by.min(due));
            let time = now();
            if due > time {
                drop(inner);
                if ready_or_armed(&mut self.timer, due, cx).is_pending() {
                    return Ok(());
                }
                continue;
            }
            if self.close_by.is_some_and(|close_by| close_by <= time) {
                return Err(LinkEnd::Closed);
            }
            let alive = inner.proto.on_timeout(time);
            let news = inner.settle(&mut self.wakes);
            drop(inner);
            self.shared.publish(news);
            self.wakes.wake();
            alive.map_err(|_| LinkEnd::Dead)?;
            // A PING or a RESET may be due now.
            cx.waker().wake_by_ref();
        }
    }
}

impl<S> Drop for LinkDriver<S> {
    fn drop(&mut self) {
        self.shared
            .finish(LinkEnd::Io("the link was dropped".to_owned()));
    }
}

impl<S> std::fmt::Debug for LinkDriver<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LinkDriver").finish_non_exhaustive()
    }
}

/// The other half that an event is for. After the last event of a half it is forgotten here.
fn take_half(inner: &mut Inner, id: StreamId, event: &RelayEvent) -> Option<RelayHalf> {
    match event {
        RelayEvent::Detached(_)
        | RelayEvent::Finished
        | RelayEvent::Refused { .. }
        | RelayEvent::Reset { .. } => inner.relays.remove(&id),
        _ => inner.relays.get(&id).cloned(),
    }
}

/// Arms the timer for `due`, and says whether that has come.
fn ready_or_armed(
    timer: &mut Option<(Instant, Pin<Box<Sleep>>)>,
    due: Instant,
    cx: &mut Context<'_>,
) -> Poll<()> {
    let until = tokio::time::Instant::from_std(due);
    let (armed, sleep) =
        timer.get_or_insert_with(|| (due, Box::pin(tokio::time::sleep_until(until))));
    if *armed != due {
        *armed = due;
        sleep.as_mut().reset(until);
    }
    ready!(sleep.as_mut().poll(cx));
    *timer = None;
    Poll::Ready(())
}

fn end_of(error: WireError) -> LinkEnd {
    match error {
        WireError::Closed => LinkEnd::Io("connection closed".to_owned()),
        WireError::Io(error) => LinkEnd::Io(error.to_string()),
        WireError::Oversized => LinkEnd::Protocol(LinkError::Oversized {
            limit: kedge_proto::defaults::MAX_FRAME,
        }),
        WireError::Protocol(error) => LinkEnd::Protocol(LinkError::WebSocket(error.to_string())),
        WireError::Text => LinkEnd::Protocol(LinkError::Text),
    }
}

fn close_code(error: &LinkError) -> CloseCode {
    match error {
        LinkError::Text => CloseCode::Unsupported,
        LinkError::Oversized { .. }
        | LinkError::Malformed(DecodeError::TooLong { field: "frame", .. }) => CloseCode::Size,
        _ => CloseCode::Protocol,
    }
}

/// Close codes of our own, from the range for private use.
const REPLACED: u16 = 4001;
const REVOKED: u16 = 4002;

fn close_frame(reason: CloseReason) -> CloseFrame {
    let (code, reason) = match reason {
        CloseReason::Finished => (CloseCode::Normal, "finished"),
        CloseReason::Replaced => (CloseCode::from(REPLACED), "replaced by a newer link"),
        CloseReason::Revoked => (CloseCode::from(REVOKED), "revoked"),
        CloseReason::ShuttingDown => (CloseCode::Away, "shutting down"),
    };
    CloseFrame {
        code,
        reason: reason.into(),
    }
}

fn closed_by_peer(frame: Option<CloseFrame>) -> LinkEnd {
    match frame.map(|frame| (u16::from(frame.code), frame.reason.to_string())) {
        None | Some((1000 | 1001 | 1005, _)) => LinkEnd::PeerClosed,
        Some((REPLACED, _)) => LinkEnd::Replaced,
        Some((REVOKED, _)) => LinkEnd::Revoked,
        Some((code, reason)) => LinkEnd::Rejected { code, reason },
    }
}
