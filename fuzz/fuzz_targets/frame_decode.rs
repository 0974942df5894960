//! Whatever a peer sends: decoding must not panic, and what was decoded must survive being written and read again.
#![no_main]

use bytes::Bytes;
use kedge_proto::Frame;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|message: &[u8]| {
    if let Ok(frame) = Frame::decode(Bytes::copy_from_slice(message)) {
        assert_eq!(Frame::decode(frame.encode()), Ok(frame));
    }
});
