//! What a [client](crate::client) asks of a [target](crate::target), once for each stream.
//!
//! * The target speaks first, as an sshd does: [`BANNER`].
//! * The client sends one order of [`ORDER_BYTES`] bytes: a letter, seven zeros, a number (big endian).
//! * `D`: the target sends so many bytes of [`pattern`] and ends its direction.
//! * `U`: the target takes so many bytes, answers how many it took (eight bytes, big endian), and ends its direction.
//! * `E`: the target sends back what it gets, until the client ends its direction.
//! * `S`: the target neither reads nor says anything.

use thiserror::Error;

/// What a target says first. An agent that waits for an sshd's first words is content with it.
pub const BANNER: &[u8; 24] = b"SSH-2.0-kedge_load_001\r\n";

/// Bytes of an order.
pub const ORDER_BYTES: usize = 16;

/// What the bytes of a download repeat: prime, so that no power of two among buffers hides a piece that came twice.
const PATTERN_PERIOD: usize = 251;

/// What a target is to do.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Order {
    /// Send so many bytes.
    Download(u64),
    /// Send back what comes.
    Echo,
    /// Read nothing and say nothing.
    Stall,
    /// Take so many bytes.
    Upload(u64),
}

/// What is no [`Order`].
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum BadOrder {
    /// Echoing and stalling have no number.
    #[error("the order {0:?} has a number")]
    Number(char),
    /// The letter is not known.
    #[error("there is no order {0:#04x}")]
    Operation(u8),
    /// What must be zero is not.
    #[error("the order's seven bytes after its letter are not zero")]
    Padding,
}

impl Order {
    /// As it is sent.
    #[must_use]
    pub fn to_bytes(self) -> [u8; ORDER_BYTES] {
        let (operation, count) = match self {
            Self::Download(count) => (b'D', count),
            Self::Echo => (b'E', 0),
            Self::Stall => (b'S', 0),
            Self::Upload(count) => (b'U', count),
        };
        let [a, b, c, d, e, f, g, h] = count.to_be_bytes();
        [operation, 0, 0, 0, 0, 0, 0, 0, a, b, c, d, e, f, g, h]
    }

    /// Reads what was sent.
    ///
    /// # Errors
    ///
    /// [`BadOrder`] for everything that [`Self::to_bytes`] does not make.
    pub fn from_bytes(bytes: [u8; ORDER_BYTES]) -> Result<Self, BadOrder> {
        let [operation, padding @ .., a, b, c, d, e, f, g, h] = bytes;
        let count = u64::from_be_bytes([a, b, c, d, e, f, g, h]);
        if padding != [0; 7] {
            return Err(BadOrder::Padding);
        }
        match operation {
            b'D' => Ok(Self::Download(count)),
            b'U' => Ok(Self::Upload(count)),
            b'E' | b'S' if count != 0 => Err(BadOrder::Number(operation.into())),
            b'E' => Ok(Self::Echo),
            b'S' => Ok(Self::Stall),
            unknown => Err(BadOrder::Operation(unknown)),
        }
    }
}

/// The first `len` bytes of every download and upload.
#[must_use]
pub fn pattern(len: usize) -> Vec<u8> {
    // A byte holds every number below the period.
    (0..PATTERN_PERIOD)
        .filter_map(|number| u8::try_from(number).ok())
        .cycle()
        .take(len)
        .collect()
}

/// A buffer of `len` bytes or a little more that can be sent again and again without a seam in the [`pattern`].
#[must_use]
pub fn seamless(len: usize) -> Vec<u8> {
    pattern(len.next_multiple_of(PATTERN_PERIOD))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_come_back_as_they_were_sent() {
        for order in [
            Order::Download(u64::MAX),
            Order::Upload(0x0102_0304_0506_0708),
            Order::Echo,
            Order::Stall,
        ] {
            assert_eq!(Order::from_bytes(order.to_bytes()), Ok(order));
        }
        let upload = Order::Upload(0x0102_0304_0506_0708).to_bytes();
        assert_eq!(upload, *b"U\0\0\0\0\0\0\0\x01\x02\x03\x04\x05\x06\x07\x08");
    }

    #[test]
    fn hostile_orders_are_refused() {
        let order = |operation: u8, padding: u8, count: u8| {
            let mut bytes = [0; ORDER_BYTES];
            (bytes[0], bytes[7], bytes[15]) = (operation, padding, count);
            Order::from_bytes(bytes)
        };
        assert_eq!(order(b'S', 0, 0), Ok(Order::Stall));
        assert_eq!(order(0, 0, 0), Err(BadOrder::Operation(0)));
        assert_eq!(order(b'd', 0, 1), Err(BadOrder::Operation(b'd')));
        assert_eq!(order(b'D', 1, 1), Err(BadOrder::Padding));
        assert_eq!(order(b'E', 0, 1), Err(BadOrder::Number('E')));
        assert_eq!(
            Order::from_bytes(*b"SSH-2.0-OpenSSH_"),
            Err(BadOrder::Padding)
        );
    }

    #[test]
    fn a_buffer_sent_twice_goes_on_with_the_pattern() {
        let buffer = seamless(1000);
        assert!(buffer.len() >= 1000);
        assert_eq!(
            [buffer.clone(), buffer.clone()].concat(),
            pattern(2 * buffer.len())
        );
    }
}
