//! Any bytes: what the parsers of `rill::http` make of them must hold, and never panic.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| rill::http::fuzz::form(bytes));
