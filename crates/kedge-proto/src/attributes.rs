//! What OPEN, OPENED and RESUME say beyond their fixed fields: (id, bytes) pairs that run to the end of the frame.
//!
//! An id appears at most once, so that nobody can read the first and somebody else the last. Ids of newer peers are
//! kept and passed on.

use bytes::{Buf, BufMut, Bytes};

use crate::defaults::MAX_ATTRIBUTES;
use crate::error::DecodeError;
use crate::varint;

/// Names an attribute.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct AttributeId(pub u64);

impl AttributeId {
    /// The server asked for (UTF-8).
    pub const SERVER: Self = Self(1);
    /// The login asked for (UTF-8).
    pub const LOGIN: Self = Self(2);
    /// The session's id, given by the hub (UTF-8).
    pub const SESSION: Self = Self(3);
    /// Who is behind the session, told to the agent for its log (UTF-8).
    pub const SUBJECT: Self = Self(4);
    /// Words for a person (UTF-8).
    pub const TEXT: Self = Self(5);
    /// The stream that this one belongs to: the key of its OPEN (16 bytes).
    pub const BESIDE: Self = Self(6);
}

/// An ordered list of attributes, at most 8 KiB on the wire.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Attributes {
    list: Vec<(AttributeId, Bytes)>,
    wire_len: usize,
}

impl Attributes {
    /// None yet.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            list: Vec::new(),
            wire_len: 0,
        }
    }

    /// Adds an attribute, replacing an earlier one with the same id.
    ///
    /// # Errors
    /// When all of them together would be larger than 8 KiB; nothing is changed then.
    pub fn insert(
        &mut self,
        id: AttributeId,
        value: impl Into<Bytes>,
    ) -> Result<(), AttributesFull> {
        let value = value.into();
        let replaced = self.value(id).map_or(0, |old| wire_len(id, old));
        let wire_len = self.wire_len - replaced + wire_len(id, &value);
        if wire_len > MAX_ATTRIBUTES {
            return Err(AttributesFull);
        }
        self.wire_len = wire_len;
        match self.list.iter_mut().find(|(known, _)| *known == id) {
            Some(slot) => slot.1 = value,
            None => self.list.push((id, value)),
        }
        Ok(())
    }

    /// [`insert`](Self::insert) for building a list in one expression.
    ///
    /// # Errors
    /// As `insert`.
    pub fn with(
        mut self,
        id: AttributeId,
        value: impl Into<Bytes>,
    ) -> Result<Self, AttributesFull> {
        self.insert(id, value)?;
        Ok(self)
    }

    /// The value of an attribute.
    #[must_use]
    pub fn value(&self, id: AttributeId) -> Option<&Bytes> {
        self.list
            .iter()
            .find(|(known, _)| *known == id)
            .map(|(_, value)| value)
    }

    /// The value of an attribute that is text; `None` when it is absent or not UTF-8.
    #[must_use]
    pub fn text(&self, id: AttributeId) -> Option<&str> {
        self.value(id)
            .and_then(|value| std::str::from_utf8(value).ok())
    }

    /// All of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = (AttributeId, &Bytes)> {
        self.list.iter().map(|(id, value)| (*id, value))
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    pub(crate) fn wire_len(&self) -> usize {
        self.wire_len
    }

    pub(crate) fn encode(&self, out: &mut impl BufMut) {
        for (id, value) in &self.list {
            varint::put(out, id.0);
            varint::put(out, value.len() as u64);
            out.put_slice(value);
        }
    }

    pub(crate) fn decode(input: &mut Bytes) -> Result<Self, DecodeError> {
        if input.len() > MAX_ATTRIBUTES {
            return Err(DecodeError::TooLong {
                field: "attributes",
                limit: MAX_ATTRIBUTES,
            });
        }
        let mut attributes = Self::new();
        while input.has_remaining() {
            let id =
                AttributeId(varint::take(input).ok_or(DecodeError::Truncated("attribute id"))?);
            let len = varint::take(input).ok_or(DecodeError::Truncated("attribute length"))?;
            let len = usize::try_from(len)
                .ok()
                .filter(|len| *len <= input.remaining());
            let len = len.ok_or(DecodeError::Truncated("attribute"))?;
            // Copied: a few bytes must not keep a whole read buffer alive for as long as the stream lives.
            let value = Bytes::copy_from_slice(&input.split_to(len));
            if attributes.value(id).is_some() {
                return Err(DecodeError::DuplicateAttribute(id.0));
            }
            attributes.wire_len += wire_len(id, &value);
            attributes.list.push((id, value));
        }
        Ok(attributes)
    }
}

/// More attributes than a frame may carry.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("attributes are larger than {MAX_ATTRIBUTES} bytes")]
pub struct AttributesFull;

fn wire_len(id: AttributeId, value: &Bytes) -> usize {
    varint::len(id.0) + varint::len(value.len() as u64) + value.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_counts_what_is_on_the_wire() {
        let mut attributes = Attributes::new();
        attributes
            .insert(AttributeId::TEXT, vec![0; MAX_ATTRIBUTES - 3])
            .unwrap();
        assert_eq!(attributes.wire_len(), MAX_ATTRIBUTES);
        assert_eq!(
            attributes.insert(AttributeId::SERVER, ""),
            Err(AttributesFull)
        );
        attributes.insert(AttributeId::TEXT, "short").unwrap();
        attributes.insert(AttributeId::SERVER, "web01").unwrap();
        assert_eq!(attributes.text(AttributeId::TEXT), Some("short"));
        let mut wire = Vec::new();
        attributes.encode(&mut wire);
        assert_eq!(wire.len(), attributes.wire_len());
        assert_eq!(Attributes::decode(&mut Bytes::from(wire)), Ok(attributes));
    }

    #[test]
    fn an_id_twice_is_refused() {
        let wire = Bytes::from_static(&[1, 1, b'a', 1, 1, b'b']);
        assert_eq!(
            Attributes::decode(&mut wire.clone()),
            Err(DecodeError::DuplicateAttribute(1))
        );
    }

    #[test]
    fn what_is_not_utf8_is_no_text() {
        let attributes = Attributes::new()
            .with(AttributeId::LOGIN, &b"\xff"[..])
            .unwrap();
        assert_eq!(attributes.text(AttributeId::LOGIN), None);
        assert!(attributes.value(AttributeId::LOGIN).is_some());
    }
}
