//! Whatever comes over a WebSocket, however it is cut: see `checks/wire.rs`.
#![no_main]

#[path = "../checks/wire.rs"]
mod checks;

libfuzzer_sys::fuzz_target!(|input: &[u8]| checks::wire(input));
