//! QUIC's variable-length integers (RFC 9000 §16): two bits of length, then 6, 14, 30 or 62 bits of value.

use bytes::{Buf, BufMut};

/// The largest value a varint can carry: 2^62 - 1.
pub const MAX: u64 = (1 << 62) - 1;

/// How many bytes `value` takes on the wire.
#[must_use]
pub const fn len(value: u64) -> usize {
    match value {
        0..=0x3f => 1,
        0x40..=0x3fff => 2,
        0x4000..=0x3fff_ffff => 4,
        _ => 8,
    }
}

/// Appends `value`, in the shortest form. Values above [`MAX`] are written as [`MAX`]: no caller has one, since every
/// number that reaches the wire came from a varint or is bounded by a limit far below.
pub fn put(out: &mut impl BufMut, value: u64) {
    let value = value.min(MAX);
    match len(value) {
        1 => out.put_u8(value.to_le_bytes()[0]),
        2 => out.put_u16(0x4000 | (value & 0x3fff) as u16),
        4 => out.put_u32(0x8000_0000 | (value & 0x3fff_ffff) as u32),
        _ => out.put_u64(0xc000_0000_0000_0000 | value),
    }
}

/// Takes one varint off the front, or `None` (and an unspecified position) when the input ends too early. Longer forms
/// than needed are accepted, as RFC 9000 does.
pub fn take(input: &mut impl Buf) -> Option<u64> {
    let first = input.try_get_u8().ok()?;
    let mut value = u64::from(first & 0x3f);
    for _ in 1..(1_usize << (first >> 6)) {
        value = (value << 8) | u64::from(input.try_get_u8().ok()?);
    }
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn examples_of_rfc_9000_appendix_a() {
        for (bytes, value) in [
            (
                &[0xc2, 0x19, 0x7c, 0x5e, 0xff, 0x14, 0xe8, 0x8c][..],
                151_288_809_941_952_652,
            ),
            (&[0x9d, 0x7f, 0x3e, 0x7d][..], 494_878_333),
            (&[0x7b, 0xbd][..], 15_293),
            (&[0x25][..], 37),
            (&[0x40, 0x25][..], 37),
        ] {
            assert_eq!(take(&mut &bytes[..]), Some(value));
        }
    }

    #[test]
    fn every_truncation_is_refused() {
        for value in [0x40, 0x4000, 0x4000_0000, MAX] {
            let mut whole = Vec::new();
            put(&mut whole, value);
            for cut in 0..whole.len() {
                assert_eq!(take(&mut &whole[..cut]), None, "{value} cut at {cut}");
            }
        }
    }

    proptest! {
        #[test]
        fn what_is_put_is_taken(value in 0..=MAX) {
            let mut out = Vec::new();
            put(&mut out, value);
            prop_assert_eq!(out.len(), len(value));
            let mut rest = &out[..];
            prop_assert_eq!(take(&mut rest), Some(value));
            prop_assert!(rest.is_empty());
        }
    }
}
