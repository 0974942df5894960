//! Whatever somebody shows as an ID token, or an issuer signs or publishes: see `checks/id_token.rs`.
#![no_main]

#[path = "../checks/id_token.rs"]
mod checks;

libfuzzer_sys::fuzz_target!(|text: &str| checks::id_token(text));
