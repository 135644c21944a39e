//! A body as a template, its constant text, and variables. A variable is a token with a digit, a UUID or a time; a token that is the
//! line's own trace id, span id or attribute is a reference to that.
//!
//! A template is the body with a mark in each variable's place. Variables are whole tokens (`tokens.rs`), so the tokens of a body are
//! those of its template's text and of its variables.

use std::ops::Range;

use weir_model::id::{SpanId, TraceId};
use weir_model::log::LogAttributes;

use super::clock::{self, ClockFormat};
use super::words::{Class, UUID_BYTES, is_uuid, put_id_text};

/// Longer bodies are stored as they are: so what a template gives is bounded.
pub(crate) const BODY_BYTES_MAX: usize = 64 << 10;

/// Marks; a body that has one of these bytes is stored as it is.
pub(crate) const WORD: u8 = 1;
const TRACE: u8 = 2;
const SPAN: u8 = 3;
/// Followed by the attribute's place among the line's.
pub(crate) const ATTRIBUTE: u8 = 4;
/// Followed by the byte of a [`ClockFormat`].
pub(crate) const CLOCK: u8 = 5;

const DIGIT: u8 = 1;
const LETTER: u8 = 2;
const MARK: u8 = 4;

/// As `tokens.rs` tells tokens, with marks.
const CLASS: [u8; 256] = {
    let mut class = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        class[byte] = match byte as u8 {
            WORD..=CLOCK => MARK,
            b'0'..=b'9' => DIGIT,
            b'a'..=b'z' | b'A'..=b'Z' | b'_' | 0x80..=0xff => LETTER,
            _ => 0,
        };
        byte += 1;
    }
    class
};

/// Shorter values are found in bodies by chance.
const REFERENCE_BYTES_MIN: usize = 8;

/// What bodies may refer to: a line's ids and attributes.
pub(crate) struct References<'a> {
    trace: Option<[u8; 32]>,
    span: Option<[u8; 16]>,
    /// By their places.
    attributes: Vec<(u8, &'a str)>,
}

impl<'a> References<'a> {
    pub(crate) fn new(trace_id: TraceId, span_id: SpanId, attributes: LogAttributes<'a>) -> Self {
        let could_be = |value: &str| value.len() >= REFERENCE_BYTES_MIN && value.bytes().any(|byte| byte.is_ascii_digit());
        Self {
            trace: (!trace_id.is_none()).then(|| hex_of(&trace_id.0, Class::Hex16)),
            span: (!span_id.is_none()).then(|| hex_of(&span_id.0, Class::Hex8)),
            attributes: (0..=u8::MAX)
                .zip(attributes.iter())
                .map(|(i, (_, value))| (i, value))
                .filter(|(_, v)| could_be(v))
                .collect(),
        }
    }

    /// None.
    pub(crate) fn none() -> Self {
        Self { trace: None, span: None, attributes: Vec::new() }
    }

    fn find(&self, text: &[u8]) -> Option<Variable<'static>> {
        if text.len() < REFERENCE_BYTES_MIN {
            return None;
        }
        if self.trace.as_ref().is_some_and(|trace| trace == text) {
            return Some(Variable::Trace);
        }
        if self.span.as_ref().is_some_and(|span| span == text) {
            return Some(Variable::Span);
        }
        let found = self.attributes.iter().find(|(_, value)| value.len() == text.len() && value.as_bytes() == text);
        found.map(|(place, _)| Variable::Attribute(*place))
    }
}

fn hex_of<const N: usize>(id: &[u8], class: Class) -> [u8; N] {
    let mut text = Vec::with_capacity(N);
    put_id_text(&mut text, id, class);
    text.try_into().expect("invariant: two digits a byte")
}

/// What stands at a mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Variable<'a> {
    Word(&'a [u8]),
    Trace,
    Span,
    /// The attribute's place.
    Attribute(u8),
    /// With what it says, see [`clock::parse`].
    Clock(ClockFormat, i64),
}

/// Appends a body's template to `template`, and gives each variable with its text. False when the body is to be stored as it is; what
/// was given then is of no use.
pub(crate) fn parse<'a>(
    body: &'a [u8],
    references: &References<'_>,
    template: &mut Vec<u8>,
    mut take: impl FnMut(Variable<'a>, &'a [u8]),
) -> bool {
    if body.len() > BODY_BYTES_MAX {
        return false;
    }
    let (mut at, mut literal) = (0, 0);
    while let Some(skipped) = body[at..].iter().position(|byte| CLASS[usize::from(*byte)] != 0) {
        let (start, mut seen) = (at + skipped, 0);
        let ends = |byte: &u8| {
            let class = CLASS[usize::from(*byte)];
            seen |= class;
            class & (DIGIT | LETTER) == 0
        };
        at = body[start..].iter().position(ends).map_or(body.len(), |length| start + length);
        if seen & MARK != 0 {
            return false;
        }
        if seen & DIGIT != 0 {
            let (variable, end) = variable(body, start..at, references);
            at = end;
            template.extend_from_slice(&body[literal..start]);
            put_mark(template, variable);
            take(variable, &body[start..end]);
            literal = end;
        }
    }
    template.extend_from_slice(&body[literal..]);
    true
}

/// The variable that begins with a token, and its end.
fn variable<'a>(body: &'a [u8], token: Range<usize>, references: &References<'_>) -> (Variable<'a>, usize) {
    let (start, mut end) = (token.start, token.end);
    match (token.len(), body.get(end)) {
        (2, Some(b':')) | (4, Some(b'-')) => {
            if let Some((format, time)) = clock::parse(&body[start..]) {
                return (Variable::Clock(format, time), start + format.text_bytes());
            }
        }
        (8, Some(b'-')) => {
            let behind = body.get(start + UUID_BYTES).map_or(0, |byte| CLASS[usize::from(*byte)]);
            if behind & (DIGIT | LETTER) == 0 && body.get(start..start + UUID_BYTES).is_some_and(is_uuid) {
                end = start + UUID_BYTES;
            }
        }
        _ => {}
    }
    let text = &body[start..end];
    (references.find(text).unwrap_or(Variable::Word(text)), end)
}

fn put_mark(template: &mut Vec<u8>, variable: Variable<'_>) {
    match variable {
        Variable::Word(_) => template.push(WORD),
        Variable::Trace => template.push(TRACE),
        Variable::Span => template.push(SPAN),
        Variable::Attribute(place) => template.extend_from_slice(&[ATTRIBUTE, place]),
        Variable::Clock(format, _) => template.extend_from_slice(&[CLOCK, format.byte()]),
    }
}

/// A piece of a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    /// Bytes of the template.
    Literal(Range<usize>),
    Word,
    Trace,
    Span,
    Attribute(u8),
    Clock(ClockFormat),
}

/// The pieces of a template; errors with a sentence when it is none.
pub(crate) fn pieces(template: &[u8]) -> impl Iterator<Item = Result<Piece, String>> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let first = template.get(at)?;
        Some(piece(template, (at, *first)).map(|(piece, length)| {
            at += length;
            piece
        }))
    })
}

/// The piece that begins there with this byte, and its length.
fn piece(template: &[u8], (at, first): (usize, u8)) -> Result<(Piece, usize), String> {
    let argument = || template.get(at + 1).copied().ok_or("a template ends in a mark");
    Ok(match first {
        WORD => (Piece::Word, 1),
        TRACE => (Piece::Trace, 1),
        SPAN => (Piece::Span, 1),
        ATTRIBUTE => (Piece::Attribute(argument()?), 2),
        CLOCK => {
            let byte = argument()?;
            (Piece::Clock(ClockFormat::from_byte(byte).ok_or_else(|| format!("times are written as {byte}"))?), 2)
        }
        _ => {
            let rest = &template[at..];
            let length = rest.iter().position(|byte| CLASS[usize::from(*byte)] == MARK).unwrap_or(rest.len());
            (Piece::Literal(at..at + length), length)
        }
    })
}

/// What a person sees in a variable's place, as Loki's patterns have it.
const PLACEHOLDER: &str = "<_>";

/// A template for people. Bytes that are no UTF-8 are replaced.
pub(crate) fn text_of(template: &[u8]) -> String {
    let mut text = String::new();
    for piece in pieces(template).map_while(Result::ok) {
        match piece {
            Piece::Literal(range) => text.push_str(&String::from_utf8_lossy(&template[range])),
            _ => text.push_str(PLACEHOLDER),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use weir_model::label::Labels;

    use super::*;

    #[test]
    fn variables_are_whole_tokens_with_a_digit() {
        let attributes =
            Labels::from_pairs([("order", "0a1b2c3d-aaaa-bbbb-cccc-000000000001"), ("x", "1"), ("y", "request-12345")]);
        let references = References::new(TraceId([0xa1; 16]), SpanId([0x1c; 8]), (&attributes).into());
        let check = |body: &str, text: &str, words: &[&str]| {
            let (mut template, mut found) = (Vec::new(), Vec::new());
            let parsed = parse(body.as_bytes(), &references, &mut template, |variable, text| {
                if let Variable::Word(word) = variable {
                    assert_eq!(word, text);
                    found.push(String::from_utf8_lossy(word).into_owned());
                }
            });
            assert!(parsed, "{body:?}");
            assert_eq!((text_of(&template).as_str(), found), (text, words.iter().map(|w| (*w).to_owned()).collect()), "{body:?}");
        };
        check("", "", &[]);
        check("no variables, größe", "no variables, größe", &[]);
        check("a1 b 22 c_3x/4", "<_> b <_> <_>/<_>", &["a1", "22", "c_3x", "4"]);
        check(&format!("trace {} span {}", "a1".repeat(16), "1c".repeat(8)), "trace <_> span <_>", &[]);
        check("at 16:42:22.383: 2023-01-29T08:42:22Z", "at <_>: <_>", &[]);
        check("order 0a1b2c3d-aaaa-bbbb-cccc-000000000001, x=1", "order <_>, x=<_>", &["1"]);
        check("0a1b2c3d-aaaa-bbbb-cccc-0000000000012", "<_>-aaaa-bbbb-cccc-<_>", &["0a1b2c3d", "0000000000012"]);
        check("request-12345", "request-<_>", &["12345"]);
    }

    #[test]
    fn bodies_with_marks_and_large_ones_are_stored_as_they_are() {
        let check = |body: &[u8]| parse(body, &References::none(), &mut Vec::new(), |_, _| ());
        assert!((WORD..=CLOCK).all(|mark| !check(&[b'a', mark, b'1'])));
        assert!(check(&[0, 6, 0xff, b'1']) && check(&vec![b'a'; BODY_BYTES_MAX]) && !check(&vec![b'a'; BODY_BYTES_MAX + 1]));
    }

    /// The tokens of a body are those of its template and of its variables only as long as both tell them alike.
    #[test]
    fn tokens_are_those_of_the_index() {
        for byte in 0..=u8::MAX {
            let is_token = CLASS[usize::from(byte)] & (DIGIT | LETTER) != 0;
            assert_eq!(is_token, super::super::tokens::is_token_byte(byte), "{byte}");
        }
    }
}
