//! Regular expressions that strangers bring: the one place where they are compiled, within limits, and counted.
//!
//! A pattern of a few bytes can take megabytes compiled (`\w{500}`), and a query can bring thousands. [`PatternBudget`] is
//! made once a query; the languages compile through it. Pure and sync, but not quick: not for async threads.

use regex::RegexBuilder;
use regex::bytes::RegexBuilder as BytesBuilder;
use thiserror::Error;

use crate::clip;

/// A compiled pattern may take this much memory: ten times what the longest pattern of 35 public dashboards takes.
pub const PATTERN_BYTES_MAX: usize = 4 << 20;
/// All patterns of one query together: eight of the largest, or 1,500 usual ones.
pub const QUERY_PATTERN_BYTES_MAX: usize = 32 << 20;

/// The lazy automaton that a search fills, for each thread that searches: from the first for small patterns to the second for
/// large ones.
const CACHE_BYTES: (usize, usize) = (256 << 10, 1 << 20);
/// Brackets of a pattern nest this deep at most; the compiler recurses.
const NEST_MAX: u32 = 100;
/// `\w` and its kin take kilobytes each before the compiler's own limit looks.
const CLASSES_MAX: usize = 1_024;
/// The library does not say what a pattern takes, but refuses those above a limit: the first limit that is enough tells.
const SIZES: [usize; 5] = [16 << 10, 64 << 10, 256 << 10, 1 << 20, PATTERN_BYTES_MAX];
/// What literals take besides, in the automaton that looks for them, for each byte of the pattern.
const LITERAL_BYTES: usize = 64;

/// Why a pattern is refused. Shows at most the beginning of it.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum PatternError {
    /// It is none.
    #[error("bad regular expression {pattern:?}: {why}")]
    Syntax {
        /// Its beginning.
        pattern: String,
        /// In the words of the library.
        why: String,
    },
    /// It is too large.
    #[error("the regular expression {pattern:?} takes more than {limit} bytes compiled")]
    TooLarge {
        /// Its beginning.
        pattern: String,
        /// [`PATTERN_BYTES_MAX`]
        limit: usize,
    },
    /// There are too many.
    #[error("with the regular expression {pattern:?}, those of this query take more than {limit} bytes compiled")]
    Budget {
        /// Its beginning.
        pattern: String,
        /// Of the query.
        limit: usize,
    },
}

/// What the patterns of one query may take together.
#[derive(Clone, Debug)]
pub struct PatternBudget {
    bytes_max: usize,
    spent: usize,
}

impl Default for PatternBudget {
    /// For one query.
    fn default() -> Self {
        Self { bytes_max: QUERY_PATTERN_BYTES_MAX, spent: 0 }
    }
}

impl PatternBudget {
    /// About how many bytes the patterns so far take.
    pub fn spent(&self) -> usize {
        self.spent
    }

    /// A pattern that is searched for.
    pub fn compile(&mut self, pattern: &str) -> Result<regex::Regex, PatternError> {
        self.within_limits(pattern, |size| {
            RegexBuilder::new(pattern).size_limit(size).dfa_size_limit(cache_bytes(size)).nest_limit(NEST_MAX).build()
        })
    }

    /// A pattern that has to match a whole value, line breaks included, as matchers and `label_replace` have it.
    pub fn compile_anchored(&mut self, pattern: &str) -> Result<regex::Regex, PatternError> {
        let anchored = format!("^(?s:{pattern})$");
        self.within_limits(pattern, |size| {
            RegexBuilder::new(&anchored).size_limit(size).dfa_size_limit(cache_bytes(size)).nest_limit(NEST_MAX).build()
        })
    }

    /// A pattern that is searched for in any bytes.
    pub fn compile_bytes(&mut self, pattern: &str) -> Result<regex::bytes::Regex, PatternError> {
        self.within_limits(pattern, |size| {
            BytesBuilder::new(pattern).size_limit(size).dfa_size_limit(cache_bytes(size)).nest_limit(NEST_MAX).build()
        })
    }

    fn within_limits<R>(&mut self, pattern: &str, build: impl Fn(usize) -> Result<R, regex::Error>) -> Result<R, PatternError> {
        let too_large = || PatternError::TooLarge { pattern: clip(pattern), limit: PATTERN_BYTES_MAX };
        if classes(pattern) > CLASSES_MAX {
            return Err(too_large());
        }
        for size in SIZES {
            let bytes = size + LITERAL_BYTES * pattern.len();
            if bytes > self.bytes_max - self.spent {
                return Err(PatternError::Budget { pattern: clip(pattern), limit: self.bytes_max });
            }
            match build(size) {
                Ok(regex) => {
                    self.spent += bytes;
                    return Ok(regex);
                }
                Err(regex::Error::CompiledTooBig(_)) => {}
                Err(error) => return Err(PatternError::Syntax { pattern: clip(pattern), why: reason(&error) }),
            }
        }
        Err(too_large())
    }
}

fn cache_bytes(size: usize) -> usize {
    size.clamp(CACHE_BYTES.0, CACHE_BYTES.1)
}

/// Escapes that stand for Unicode classes.
fn classes(pattern: &str) -> usize {
    pattern.as_bytes().windows(2).filter(|pair| pair[0] == b'\\' && b"wWdDsSpPbB".contains(&pair[1])).count()
}

/// The library's message without the drawing of the pattern.
fn reason(error: &regex::Error) -> String {
    let text = error.to_string();
    let last = text.lines().last().unwrap_or_default();
    last.strip_prefix("error: ").unwrap_or(last).chars().take(200).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fuzz::peak_of;

    #[track_caller]
    fn refused(pattern: &str, expected: &str) {
        let mut budget = PatternBudget::default();
        let error = budget.compile_anchored(pattern).map(|_| ()).unwrap_err().to_string();
        assert_eq!(error, expected);
        assert!(budget.compile(pattern).is_err() && budget.compile_bytes(pattern).is_err());
        assert_eq!(budget.spent(), 0, "what is refused is not held");
    }

    #[test]
    fn a_pattern_is_refused_with_its_beginning_and_the_reason() {
        refused("(", r#"bad regular expression "(": unclosed group"#);
        refused(
            &format!("{}*{}", "(", "x".repeat(200)),
            &format!(r#"bad regular expression "(*{}": repetition operator missing expression"#, "x".repeat(62)),
        );
        refused("(a{1000}){1000}", r#"the regular expression "(a{1000}){1000}" takes more than 4194304 bytes compiled"#);
        refused(
            &r"\w".repeat(2_000),
            &format!(r#"the regular expression {:?} takes more than 4194304 bytes compiled"#, r"\w".repeat(32)),
        );
        let deep = format!("{}a{}", "(".repeat(30_000), ")".repeat(30_000));
        let why = "exceed the maximum number of nested parentheses/brackets (100)";
        refused(&deep, &format!(r#"bad regular expression "{}": {why}"#, "(".repeat(64)));
    }

    #[test]
    fn the_patterns_of_a_query_share_a_budget() {
        let mut budget = PatternBudget::default();
        let usual = (0..1_500).all(|i| budget.compile_anchored(&format!("web-{i}.*")).is_ok());
        assert!(usual, "{}", budget.spent());
        let mut budget = PatternBudget::default();
        let large = (0..100).take_while(|i| budget.compile(&format!(r"{i}\w{{40}}")).is_ok()).count();
        assert!((7..=32).contains(&large), "{large}");
        let error = budget.compile(r"100\w{40}").unwrap_err().to_string();
        assert_eq!(
            error,
            r#"with the regular expression "100\\w{40}", those of this query take more than 33554432 bytes compiled"#
        );
    }

    #[test]
    fn what_is_counted_is_what_is_held() {
        let alternatives: Vec<String> = (0..2_000).map(|i| format!("service-{i}")).collect();
        for pattern in ["a", "web-.*", "(?i)error|warn", r"\w+@\w+\.com", r"\w{40}", ".{1,500}", &alternatives.join("|")] {
            let mut budget = PatternBudget::default();
            let (regex, compiled) = peak_of(None, || budget.compile(pattern).unwrap());
            let line = "some service-1999 line with a@b.com in it ".repeat(100);
            let (_, searched) = peak_of(None, || regex.is_match(&line));
            let (spent, shown) = (budget.spent(), pattern.chars().take(20).collect::<String>());
            println!("{shown}: {spent} counted, {compiled} to compile, {searched} to search");
            assert!(compiled <= 2 * spent + (1 << 20), "{shown}: {spent} counted, {compiled} to compile");
            assert!(searched <= spent + CACHE_BYTES.1, "{shown}: {spent} counted, {searched} to search");
        }
    }
}
