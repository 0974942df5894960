//! Whatever somebody shows as a token or sends as a body: see `checks/tokens.rs`.
#![no_main]

#[path = "../checks/tokens.rs"]
mod checks;

libfuzzer_sys::fuzz_target!(|text: &str| checks::tokens(text));
