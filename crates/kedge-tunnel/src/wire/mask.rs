//! The mask that clients lay over what they send (RFC 6455 §5.3): it hides nothing, it keeps middle boxes from taking
//! what a page lets a browser send for a request of its own.

use aws_lc_rs::rand;

/// Masks that are drawn at once: the generator is a call into the library, and each frame needs four bytes.
const DRAWN: usize = 64;

/// Lays `mask` over `bytes`, or takes it off. `phase` is how many bytes of the payload come before them.
pub(super) fn apply(bytes: &mut [u8], mask: [u8; 4], phase: usize) {
    let mut key = mask;
    key.rotate_left(phase % 4);
    let [a, b, c, d] = key;
    let word = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let (words, rest) = bytes.as_chunks_mut();
    for bytes in words {
        *bytes = (u64::from_ne_bytes(*bytes) ^ word).to_ne_bytes();
    }
    for (byte, key) in rest.iter_mut().zip(key.into_iter().cycle()) {
        *byte ^= key;
    }
}

/// Masks nobody can guess.
#[derive(Debug, Default)]
pub(super) struct Masks {
    drawn: Vec<u8>,
}

impl Masks {
    /// The next one; none when the system gives no randomness, which it does not do.
    pub(super) fn next(&mut self) -> Option<[u8; 4]> {
        if self.drawn.is_empty() {
            let mut bytes = vec![0; DRAWN];
            rand::fill(&mut bytes).ok()?;
            self.drawn = bytes;
        }
        let at = self.drawn.len().checked_sub(4)?;
        let mask = *self.drawn.get(at..)?.first_chunk()?;
        self.drawn.truncate(at);
        Some(mask)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mask_in_parts_is_the_mask_of_the_whole() {
        let mask = [0x6d, 0xb6, 0xb2, 0x80];
        let bytes: Vec<u8> = (0..100).collect();
        let expected: Vec<u8> = bytes
            .iter()
            .enumerate()
            .map(|(at, byte)| byte ^ mask[at % 4])
            .collect();
        for cut in 0..bytes.len() {
            let mut masked = bytes.clone();
            let (one, other) = masked.split_at_mut(cut);
            apply(one, mask, 0);
            apply(other, mask, cut);
            assert_eq!(masked, expected, "{cut}");
        }
    }

    #[test]
    fn masks_do_not_repeat() {
        let mut masks = Masks::default();
        let drawn: std::collections::BTreeSet<_> =
            (0..1000).map(|_| masks.next().unwrap()).collect();
        assert!(drawn.len() > 990, "{}", drawn.len());
    }
}
