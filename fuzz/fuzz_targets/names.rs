//! Whatever somebody calls a server, a login or a label: see `checks/names.rs`.
#![no_main]

#[path = "../checks/names.rs"]
mod checks;

libfuzzer_sys::fuzz_target!(|text: &str| checks::names(text));
