//! The corpus of the fuzz target `frame_decode`, run as an ordinary test.

#![cfg(test)]

use bytes::Bytes;
use kedge_proto::Frame;

#[test]
fn decoding_neither_panics_nor_loses_anything() {
    let corpus = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../fuzz/corpus/frame_decode"
    );
    let mut decoded = 0;
    let mut refused = 0;
    for entry in std::fs::read_dir(corpus).unwrap() {
        let path = entry.unwrap().path();
        match Frame::decode(std::fs::read(&path).unwrap().into()) {
            Ok(frame) => {
                assert_eq!(
                    Frame::decode(frame.encode()),
                    Ok(frame),
                    "{}",
                    path.display()
                );
                decoded += 1;
            }
            Err(_) => refused += 1,
        }
    }
    assert!(
        decoded >= 14 && refused >= 14,
        "{decoded} decoded, {refused} refused"
    );
}

proptest::proptest! {
    #[test]
    fn whatever_comes(message in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..300)) {
        if let Ok(frame) = Frame::decode(Bytes::from(message)) {
            assert_eq!(Frame::decode(frame.encode()), Ok(frame));
        }
    }

    /// The same with a type that exists, so that the fields are reached.
    #[test]
    fn whatever_comes_after_a_known_type(
        kind in proptest::sample::select(vec![1_u8, 2, 3, 0x10, 0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18, 0x19]),
        message in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..300),
    ) {
        let message: Bytes = std::iter::once(kind).chain(message).collect();
        if let Ok(frame) = Frame::decode(message) {
            assert_eq!(Frame::decode(frame.encode()), Ok(frame));
        }
    }
}
