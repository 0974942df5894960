//! SSH's way to write numbers and strings (RFC 4251 §5), as the agent protocol and OpenSSH's files of keys have it.
//!
//! Reading borrows: a length that lies costs nothing.

use crate::protocol::Malformed;

/// The fields that are still to be read.
#[derive(Clone, Copy)]
pub(crate) struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(crate) fn byte(&mut self) -> Result<u8, Malformed> {
        let (byte, rest) = self.0.split_first().ok_or(SHORT)?;
        self.0 = rest;
        Ok(*byte)
    }

    /// A boolean, as everybody writes it: 0 or 1. Other values would be true as well, and are nobody's.
    pub(crate) fn boolean(&mut self) -> Result<bool, Malformed> {
        match self.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Malformed::new("a boolean is neither 0 nor 1")),
        }
    }

    pub(crate) fn number(&mut self) -> Result<u32, Malformed> {
        let (bytes, rest) = self.0.split_first_chunk::<4>().ok_or(SHORT)?;
        self.0 = rest;
        Ok(u32::from_be_bytes(*bytes))
    }

    pub(crate) fn string(&mut self) -> Result<&'a [u8], Malformed> {
        let length = usize::try_from(self.number()?).map_err(|_| SHORT)?;
        let (string, rest) = self.0.split_at_checked(length).ok_or(SHORT)?;
        self.0 = rest;
        Ok(string)
    }

    /// An `mpint` that is above zero, without leading zeros.
    pub(crate) fn positive(&mut self) -> Result<&'a [u8], Malformed> {
        let bytes = self.string()?;
        match bytes.first() {
            Some(first) if *first < 0x80 => {}
            _ => return Err(Malformed::new("a number is negative or zero")),
        }
        let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
        match bytes.get(zeros..) {
            Some(significant) if !significant.is_empty() => Ok(significant),
            _ => Err(Malformed::new("a number is negative or zero")),
        }
    }

    /// Skips what must stand here.
    pub(crate) fn literal(&mut self, expected: &[u8]) -> Option<()> {
        self.0 = self.0.strip_prefix(expected)?;
        Some(())
    }

    pub(crate) fn rest(self) -> &'a [u8] {
        self.0
    }

    /// That nothing is left over.
    pub(crate) fn end(self) -> Result<(), Malformed> {
        match self.0.is_empty() {
            true => Ok(()),
            false => Err(Malformed::new("bytes are left over after the last field")),
        }
    }
}

/// Writing the same.
pub(crate) trait PutFields {
    fn put_string(&mut self, bytes: &[u8]);
    /// A positive number, from its bytes with the highest first.
    fn put_positive(&mut self, bytes: &[u8]);
}

impl PutFields for Vec<u8> {
    fn put_string(&mut self, bytes: &[u8]) {
        // Nothing here comes near 4 GiB.
        let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        self.extend_from_slice(&length.to_be_bytes());
        self.extend_from_slice(bytes);
    }

    fn put_positive(&mut self, bytes: &[u8]) {
        let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
        let significant = bytes.get(zeros..).unwrap_or_default();
        // With its highest bit set it would be negative.
        let sign = significant.first().is_some_and(|first| *first >= 0x80);
        let length = u32::try_from(significant.len() + usize::from(sign)).unwrap_or(u32::MAX);
        self.extend_from_slice(&length.to_be_bytes());
        if sign {
            self.push(0);
        }
        self.extend_from_slice(significant);
    }
}

const SHORT: Malformed = Malformed::new("it ends in the middle of a field");

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn numbers_are_written_in_their_shortest_form() {
        // RFC 4251 §5.
        for (value, written) in [
            (&[][..], &[0, 0, 0, 0][..]),
            (&[0, 0], &[0, 0, 0, 0]),
            (&[0x7f], &[0, 0, 0, 1, 0x7f]),
            (&[0x80], &[0, 0, 0, 2, 0, 0x80]),
            (&[0, 0x80], &[0, 0, 0, 2, 0, 0x80]),
            (
                &[0x09, 0xa3, 0x78, 0xf9, 0xb2, 0xe3, 0x32, 0xa7],
                &[0, 0, 0, 8, 0x09, 0xa3, 0x78, 0xf9, 0xb2, 0xe3, 0x32, 0xa7],
            ),
        ] {
            let mut out = Vec::new();
            out.put_positive(value);
            assert_eq!(out, written);
        }
    }

    #[test]
    fn what_is_no_positive_number_is_refused() {
        for bytes in [
            &[0, 0, 0, 0][..],
            &[0, 0, 0, 1, 0],
            &[0, 0, 0, 1, 0x80],
            &[0, 0, 0, 2, 0xff, 0x7f],
            &[0, 0, 0, 2, 1],
        ] {
            assert!(Fields::new(bytes).positive().is_err(), "{bytes:?}");
        }
    }

    #[test]
    fn lengths_that_lie_are_refused() {
        for bytes in [
            &[][..],
            &[0, 0, 0],
            &[0, 0, 0, 1],
            &[0xff, 0xff, 0xff, 0xff, 1],
            &[0x80, 0, 0, 0],
        ] {
            assert!(Fields::new(bytes).string().is_err(), "{bytes:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_reads_as_it_was(string in prop::collection::vec(any::<u8>(), 0..50), number in prop::collection::vec(any::<u8>(), 1..50)) {
            let mut out = Vec::new();
            out.put_string(&string);
            out.put_positive(&number);
            let mut fields = Fields::new(&out);
            prop_assert_eq!(fields.string().unwrap(), &string);
            let zeros = number.iter().take_while(|byte| **byte == 0).count();
            match zeros == number.len() {
                true => prop_assert!(fields.positive().is_err()),
                false => prop_assert_eq!(fields.positive().unwrap(), &number[zeros..]),
            }
            prop_assert!(fields.end().is_ok());
        }
    }
}
