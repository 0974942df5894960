//! Whatever comes over a connection to the signer: see `checks/agent_request.rs`.
#![no_main]

#[path = "../checks/agent_request.rs"]
mod checks;

libfuzzer_sys::fuzz_target!(|input: &[u8]| checks::agent_request(input));
