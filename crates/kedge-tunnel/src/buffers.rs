//! Buffers of full frames, for the next frame on the same thread.
//!
//! Memory that goes back to the allocator with every frame goes back to the kernel soon after, and comes from there page
//! by page: measured, that was a quarter of what a hub's thread did. So each thread keeps a few buffers, however many
//! links it carries; idle links keep none.

use std::cell::RefCell;

use bytes::{Bytes, BytesMut};
use kedge_proto::defaults::MAX_FRAME;

use crate::defaults::{POOLED_BUFFERS, POOLED_FROM};

thread_local! {
    static POOL: RefCell<Vec<BytesMut>> = const { RefCell::new(Vec::new()) };
}

/// An empty buffer with room for `len` bytes: one of the pool, if that wastes less than it holds.
pub(crate) fn take(len: usize) -> BytesMut {
    if !(POOLED_FROM..=MAX_FRAME).contains(&len) {
        return BytesMut::with_capacity(len);
    }
    let pooled = POOL.with_borrow_mut(Vec::pop);
    pooled.unwrap_or_else(|| BytesMut::with_capacity(MAX_FRAME))
}

/// Takes a buffer back, when nobody else holds a part of it and it is one of the pool's size.
pub(crate) fn give(bytes: Bytes) {
    if bytes.len() < POOLED_FROM {
        return;
    }
    if let Ok(buffer) = bytes.try_into_mut() {
        give_mut(buffer);
    }
}

/// As [`give`].
pub(crate) fn give_mut(mut buffer: BytesMut) {
    buffer.clear();
    // Moves the beginning back to that of the memory, without asking for more.
    if !buffer.try_reclaim(MAX_FRAME) {
        return;
    }
    POOL.with_borrow_mut(|pool| {
        if pool.len() < POOLED_BUFFERS {
            pool.push(buffer);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pooled() -> usize {
        POOL.with_borrow(Vec::len)
    }

    #[test]
    fn a_buffer_comes_back_once_nobody_holds_a_part_of_it() {
        let mut buffer = take(MAX_FRAME);
        let memory = buffer.as_ptr();
        buffer.extend_from_slice(&[7; 60_000]);
        let mut message = buffer.freeze();
        let kept = message.slice(100..);
        let _head = message.split_to(17);
        give(message.clone());
        assert_eq!(pooled(), 0, "others still read it");
        drop((_head, message));
        give(kept);
        assert_eq!(pooled(), 1);
        assert_eq!(take(MAX_FRAME).as_ptr(), memory);
    }

    #[test]
    fn the_pool_is_bounded_and_takes_nothing_that_is_not_its_own() {
        let own: Vec<_> = (0..2 * POOLED_BUFFERS).map(|_| take(MAX_FRAME)).collect();
        own.into_iter().for_each(give_mut);
        assert_eq!(pooled(), POOLED_BUFFERS);
        POOL.take();
        give_mut(BytesMut::with_capacity(POOLED_FROM));
        give(Bytes::from_static(&[0; POOLED_FROM]));
        assert_eq!(pooled(), 0);
        assert!(
            take(100).capacity() < POOLED_FROM,
            "small ones are made to measure"
        );
    }
}
