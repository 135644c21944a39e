//! Any text as a LogQL query: a tree that can be printed and, for a log query, a pipeline; or an error with a place.
#![no_main]

use libfuzzer_sys::fuzz_target;
use weir_logql::pipeline::{Lines, Pipeline};
use weir_logql::{Expr, parse_open};

fuzz_target!(|text: &str| {
    match parse_open(text) {
        Ok(expr) => {
            drop(expr.to_string());
            if let Expr::Log(log) = &expr {
                let _ = Pipeline::compile(text, log, Lines::Needed);
            }
        }
        Err(error) => assert!(error.line > 0 && error.column > 0),
    }
});
