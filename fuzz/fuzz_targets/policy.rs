//! Whatever somebody writes as an access policy: see `checks/policy.rs`.
#![no_main]

#[path = "../checks/policy.rs"]
mod checks;

libfuzzer_sys::fuzz_target!(|text: &str| checks::policy(text));
