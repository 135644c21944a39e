//! What a chunk's tokens must be like for a line of it to pass the filters.
//!
//! Never too strict: a literal inside of a line lies within, at the edge of, or across tokens, and only what follows for
//! certain is asked for. Too lenient costs a chunk read for nothing.

use regex_syntax::hir::{Hir, HirKind};
use weir_model::select::LineFilter;

use super::tokens::{TOKEN_BYTES_MAX, Tokens, is_indexed, is_token_byte};

/// A condition on a chunk's set of tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// No condition.
    Anything,
    /// All of these; never empty.
    All(Vec<Need>),
    /// One of these; never empty.
    OneOf(Vec<Need>),
    /// This token, or one above [`TOKEN_BYTES_MAX`] when this one is.
    Token(Vec<u8>),
    /// A token that contains these bytes at this edge, or one above [`TOKEN_BYTES_MAX`].
    Part(Edge, Vec<u8>),
}

/// Where in a token a part lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Edge {
    Start,
    End,
    Anywhere,
}

/// A regular expression with more literals than this is read without the index: looking each up would take longer.
const LITERALS_MAX: usize = 64;

impl Need {
    /// Of lines that pass all filters.
    pub(crate) fn of(filters: &[LineFilter]) -> Self {
        all(filters.iter().map(|filter| match filter {
            LineFilter::Contains(needles) => one_of(needles.iter().map(|needle| of_literal(needle))),
            LineFilter::Matches(regex) => of_regex(regex.as_str()),
            LineFilter::NotContains(_) | LineFilter::NotMatches(_) => Self::Anything,
        }))
    }

    /// Whether a chunk with these tokens may have such a line.
    pub(crate) fn met_by(&self, tokens: &Tokens) -> bool {
        match self {
            Self::Anything => true,
            Self::All(needs) => needs.iter().all(|need| need.met_by(tokens)),
            Self::OneOf(needs) => needs.iter().any(|need| need.met_by(tokens)),
            Self::Token(token) if token.len() > TOKEN_BYTES_MAX => tokens.iter().any(|own| own == super::tokens::LONG),
            Self::Token(token) => tokens.iter().any(|own| own == token),
            Self::Part(edge, part) => tokens.iter().any(|own| own == super::tokens::LONG || edge.has(own, part)),
        }
    }
}

impl Edge {
    /// Whether a token has the part there.
    pub(crate) fn has(self, token: &[u8], part: &[u8]) -> bool {
        match self {
            Self::Start => token.starts_with(part),
            Self::End => token.ends_with(part),
            Self::Anywhere => memchr::memmem::find(token, part).is_some(),
        }
    }
}

fn all(needs: impl Iterator<Item = Need>) -> Need {
    let mut needs: Vec<Need> = needs.filter(|need| *need != Need::Anything).collect();
    match needs.len() {
        0 => Need::Anything,
        1 => needs.remove(0),
        _ => Need::All(needs),
    }
}

fn one_of(needs: impl Iterator<Item = Need>) -> Need {
    let mut needs: Vec<Need> = needs.collect();
    match needs.len() {
        1 => needs.remove(0),
        0 => Need::Anything,
        _ if needs.contains(&Need::Anything) => Need::Anything,
        _ => Need::OneOf(needs),
    }
}

/// Of lines in which these bytes occur.
fn of_literal(literal: &[u8]) -> Need {
    let mut needs = Vec::new();
    let mut at = 0;
    for run in literal.split(|byte| !is_token_byte(*byte)) {
        let (start, end) = (at, at + run.len());
        at = end + 1;
        if run.is_empty() || !is_indexed(run) {
            continue;
        }
        needs.push(match (start > 0, end < literal.len()) {
            (true, true) => Need::Token(run.to_vec()),
            (true, false) => Need::Part(Edge::Start, run.to_vec()),
            (false, true) => Need::Part(Edge::End, run.to_vec()),
            (false, false) => Need::Part(Edge::Anywhere, run.to_vec()),
        });
    }
    // Exact terms are cheap and select most; the parts would each read the dictionary.
    if needs.iter().any(|need| matches!(need, Need::Token(_))) {
        needs.retain(|need| matches!(need, Need::Token(_) | Need::Part(Edge::Start, _)));
    }
    all(needs.into_iter())
}

/// Of lines that a regular expression matches somewhere. Flags count only where the pattern itself says them.
fn of_regex(pattern: &str) -> Need {
    let parsed = regex_syntax::ParserBuilder::new().utf8(false).build().parse(pattern);
    let Ok(hir) = parsed else { return Need::Anything };
    let need = of_hir(&hir);
    if size(&need) > LITERALS_MAX { Need::Anything } else { need }
}

fn of_hir(hir: &Hir) -> Need {
    match hir.kind() {
        HirKind::Literal(literal) => of_literal(&literal.0),
        HirKind::Capture(capture) => of_hir(&capture.sub),
        HirKind::Repetition(repetition) if repetition.min > 0 => of_hir(&repetition.sub),
        HirKind::Concat(parts) => all(parts.iter().map(of_hir)),
        HirKind::Alternation(parts) => one_of(parts.iter().map(of_hir)),
        HirKind::Empty | HirKind::Class(_) | HirKind::Look(_) | HirKind::Repetition(_) => Need::Anything,
    }
}

fn size(need: &Need) -> usize {
    match need {
        Need::All(needs) | Need::OneOf(needs) => needs.iter().map(size).sum(),
        Need::Anything => 0,
        Need::Token(_) | Need::Part(..) => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(text: &str) -> Need {
        Need::Token(text.into())
    }

    fn part(edge: Edge, text: &str) -> Need {
        Need::Part(edge, text.into())
    }

    #[test]
    fn literals() {
        let check = |literal: &str, expected: Need| assert_eq!(of_literal(literal.as_bytes()), expected, "{literal:?}");
        check("", Need::Anything);
        check(" : ", Need::Anything);
        check("error", part(Edge::Anywhere, "error"));
        check("error:", part(Edge::End, "error"));
        check(" error:", token("error"));
        check(" error 12 code", Need::All(vec![token("error"), part(Edge::Start, "code")]));
        check("id=123", part(Edge::End, "id"));
        check("123", Need::Anything);
        check("123456", part(Edge::Anywhere, "123456"));
        check("pre-mid-post", Need::All(vec![token("mid"), part(Edge::Start, "post")]));
    }

    #[test]
    fn regular_expressions() {
        let check = |pattern: &str, expected: Need| assert_eq!(of_regex(pattern), expected, "{pattern:?}");
        check("(?i)error", Need::Anything);
        check("err.*", part(Edge::Anywhere, "err"));
        check("(time|out)=", Need::OneOf(vec![part(Edge::Anywhere, "time"), part(Edge::Anywhere, "out")]));
        check("a(b|[0-9])", part(Edge::Anywhere, "a"));
        check("(fail)?x", part(Edge::Anywhere, "x"));
        check("(fail)+ ", part(Edge::Anywhere, "fail"));
        check("^level=error code=\\d+", Need::All(vec![token("error"), token("code")]));
        check("(", Need::Anything);
    }
}
