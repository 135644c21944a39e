//! Long and deep queries: an error that says where, never the end of the stack.

use weir_model::fuzz::{Fuzz, MemoryLimit, on_a_small_stack};

use crate::parse;

const CORPUS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fuzz/corpus/traceql");
/// Twice what a query's patterns may take.
const MEMORY: MemoryLimit = MemoryLimit { bytes: 64 << 20, per_input_byte: 200 };

#[test]
fn long_and_deep_queries_are_refused_with_a_place_or_understood() {
    on_a_small_stack(|| {
        let all = |times: usize| format!("{{name=\"\"{}}}", "&&name=\"\"".repeat(times - 1));
        let error = |query: &str| parse(query).map(|_| ()).unwrap_err();
        let place = |column: usize| format!("invalid TraceQL query: parse error at line 1, col {column}: ");
        assert_eq!(error(&all(30_000)), place(1) + "a query may have 131072 bytes, this has 270_000".replace('_', "").as_str());
        assert_eq!(error(&all(10_000)), place(9 * 1_024 + 2) + "a query may have 1024 conditions, this is one more");
        assert_eq!(parse(&all(1_024)).unwrap().0.len(), 1_024);
        for open in ["{", "(", "!", "{(", "{name=", "{.a=-", "{a||"] {
            assert!(error(&open.repeat(30_000 / open.len())).starts_with("invalid TraceQL query: parse error at line 1, col "));
        }
        for more in ["||name=\"\"", "|count()", ">>{}", "&&{}", "+1"] {
            let query = format!("{{name=\"\"{}", more.repeat(100_000 / more.len()));
            assert!(error(&query).starts_with("invalid TraceQL query: parse error at line 1, col "), "{more}");
        }
    });
}

#[test]
fn fuzzed_queries_are_understood_or_refused_with_a_place() {
    let words =
        ["{", "}", "&&", "||", "name", "=~ \"a.*\"", "\"", "`", ".a", "span.b", "= 1", "5ms", "status", "(", "!", "(a{99}){99}"];
    Fuzz::new("traceql").corpus(CORPUS).text().memory(MEMORY).words(&words).run(|input| {
        let text = std::str::from_utf8(input).expect("invariant: inputs are text");
        match parse(text) {
            Ok(query) => assert!(query.0.len() <= 1_024),
            Err(error) => {
                assert!(
                    error.starts_with("invalid TraceQL query: parse error at line 1, col ") && error.len() < 1_000,
                    "{error}"
                );
            }
        }
    });
}

#[test]
fn the_patterns_of_a_query_share_a_budget() {
    let all = (0..100).map(|i| format!("name =~ \"{i}\\\\w{{40}}\"")).collect::<Vec<_>>().join(" && ");
    let error = parse(&format!("{{ {all} }}")).map(|_| ()).unwrap_err();
    assert!(error.contains("those of this query take more than 33554432 bytes compiled"), "{error}");
}
