//! One division of large numbers, without a branch or an index that depends on them.

use subtle::{Choice, ConditionallySelectable};
use zeroize::Zeroizing;

/// What is left of a number after it is divided by another; both with the highest byte first. The result has as many
/// bytes as the divisor, rounded up to a multiple of four, and means nothing when the divisor is zero.
///
/// The time depends on the lengths alone.
pub(super) fn remainder(number: &[u8], divisor: &[u8]) -> Zeroizing<Vec<u8>> {
    let divisor = limbs(divisor);
    let mut rest = Zeroizing::new(vec![0_u32; divisor.len()]);
    let mut less = Zeroizing::new(vec![0_u32; divisor.len()]);
    for byte in number {
        for bit in (0..u8::BITS).rev() {
            // rest = 2 * rest + bit, which is less than twice the divisor.
            let mut carry = u32::from((byte >> bit) & 1);
            for limb in rest.iter_mut() {
                let next = *limb >> 31;
                *limb = (*limb << 1) | carry;
                carry = next;
            }
            // less = rest - divisor
            let mut borrow = 0;
            for ((less, rest), divisor) in less.iter_mut().zip(rest.iter()).zip(divisor.iter()) {
                let difference = i64::from(*rest) - i64::from(*divisor) - borrow;
                *less = low(difference);
                borrow = (difference >> 63) & 1;
            }
            // It fits when the highest bit went out of the top, or nothing was borrowed there.
            let fits = Choice::from(u8::from(carry == 1)) | Choice::from(u8::from(borrow == 0));
            for (rest, less) in rest.iter_mut().zip(less.iter()) {
                rest.conditional_assign(less, fits);
            }
        }
    }
    let mut bytes = Zeroizing::new(Vec::with_capacity(4 * rest.len()));
    bytes.extend(rest.iter().rev().flat_map(|limb| limb.to_be_bytes()));
    bytes
}

/// The lowest 32 bits.
fn low(number: i64) -> u32 {
    u32::try_from(number & i64::from(u32::MAX)).unwrap_or_default()
}

/// A number in pieces of 32 bits, the lowest first.
fn limbs(bytes: &[u8]) -> Zeroizing<Vec<u32>> {
    let mut limbs = Zeroizing::new(Vec::with_capacity(bytes.len().div_ceil(4)));
    limbs.extend(bytes.rchunks(4).map(|chunk| {
        chunk
            .iter()
            .fold(0_u32, |limb, byte| (limb << 8) | u32::from(*byte))
    }));
    limbs
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_what_the_processor_says(number in any::<u128>(), divisor in 1_u128.., shift in 0_u32..128) {
            let divisor = (divisor >> shift).max(1);
            let expected = number % divisor;
            let rest = remainder(&number.to_be_bytes(), &divisor.to_be_bytes());
            prop_assert_eq!(&**rest, &expected.to_be_bytes());
        }

        #[test]
        fn lengths_do_not_matter(number in prop::collection::vec(any::<u8>(), 0..20), divisor in prop::collection::vec(any::<u8>(), 1..9)) {
            let padded = [&[0; 5][..], &divisor].concat();
            let (short, long) = (remainder(&number, &divisor), remainder(&number, &padded));
            prop_assert!(long.ends_with(&short));
            let value = divisor.iter().fold(0_u128, |value, byte| (value << 8) | u128::from(*byte));
            if value > 0 {
                let expected = number.iter().fold(0, |rest, byte| ((rest << 8) | u128::from(*byte)) % value);
                let found = short.iter().fold(0_u128, |rest, byte| (rest << 8) | u128::from(*byte));
                prop_assert_eq!(found, expected);
            }
        }
    }
}
