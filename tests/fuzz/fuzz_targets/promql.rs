//! Any text as a PromQL query: a tree that can be printed, or an error with a place.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    match weir_promql::parse::parse(text) {
        Ok(expr) => drop(expr.to_string()),
        Err(error) => assert!(error.line > 0 && error.column > 0),
    }
});
