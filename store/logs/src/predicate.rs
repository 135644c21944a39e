//! What a chunk's tokens must be like for a line of it to pass the filters.
//!
//! Never too strict: a literal inside of a line lies within, at the edge of, or across tokens, and only what follows for
//! certain is asked for. Too lenient costs a chunk read for nothing. Tokens are folded: whoever compares folds what is asked for.

use std::borrow::Cow;

use memchr::memmem::Finder;
use regex_syntax::hir::{Class, Hir, HirKind};
use weir_model::select::{LineFilter, Mention};

use super::filter::distinct;
use super::index::pair_hash;
use super::rollup::Rollups;
use super::schema::{LEVEL_FATAL, level_of};
use super::tokens::{SEPARATOR, TOKEN_BYTES_MAX, Tokens, fold, is_indexed, is_token_byte, lone_id};

/// A condition on a chunk's set of tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum TokenPredicate {
    /// No condition.
    Anything,
    /// All of these; never empty.
    All(Vec<TokenPredicate>),
    /// One of these; never empty.
    OneOf(Vec<TokenPredicate>),
    /// This token, or one above [`TOKEN_BYTES_MAX`] when this one is.
    Token(Vec<u8>),
    /// A token that contains these bytes at this edge, or one above [`TOKEN_BYTES_MAX`].
    Part(Edge, Vec<u8>),
    /// The same in upper or lower case; the bytes are in lower case.
    AnyCase(Edge, Vec<u8>),
    /// A name with a value among the metadata.
    Pair {
        hash: u32,
        /// The value folded, when it is an id: a token like it stands for the pair.
        id: Option<Vec<u8>>,
        /// The same of blocks of before, which have the value's tokens and no pairs.
        tokens: Box<TokenPredicate>,
    },
}

/// Where in a token a part lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Edge {
    Start,
    End,
    Anywhere,
    /// It is all of the token.
    Whole,
}

/// A regular expression with more literals than this is read without the index: looking each up would take longer.
const LITERALS_MAX: usize = 64;

impl TokenPredicate {
    /// Of lines that pass all filters.
    pub(crate) fn of(filters: &[LineFilter]) -> Self {
        all(filters.iter().map(|filter| match filter {
            LineFilter::Contains(needles) => one_of(distinct(needles).into_iter().map(|needle| of_literal(needle))),
            LineFilter::Matches(regex) => of_regex(regex.as_str()),
            LineFilter::NotContains(_) | LineFilter::NotMatches(_) => Self::Anything,
        }))
    }

    /// Of lines that say this, of streams without [`labels_of`] it. Ids and metadata are among a chunk's pairs.
    pub(crate) fn of_mention(mention: &Mention) -> Self {
        match mention {
            Mention::Pattern(pattern) => of_regex(pattern),
            Mention::Value(name, value) => of_pair(name, value.as_bytes()),
            Mention::Severity(_) => Self::Anything,
            Mention::All(mentions) => all(mentions.iter().map(Self::of_mention)),
            Mention::Any(mentions) => one_of(mentions.iter().map(Self::of_mention)),
        }
    }

    /// Whether a chunk with these tokens may have such a line.
    pub(crate) fn met_by(&self, tokens: &Tokens) -> bool {
        match self {
            Self::Anything => true,
            Self::All(predicates) => predicates.iter().all(|predicate| predicate.met_by(tokens)),
            Self::OneOf(predicates) => predicates.iter().any(|predicate| predicate.met_by(tokens)),
            Self::Token(token) => has_part(tokens, Edge::Whole, &fold(token)),
            Self::Part(edge, part) | Self::AnyCase(edge, part) => has_part(tokens, *edge, &fold(part)),
            Self::Pair { hash, id, .. } => {
                let is_token = || id.as_ref().is_some_and(|id| has_part(tokens, Edge::Whole, id));
                tokens.pairs().binary_search(hash).is_ok() || is_token()
            }
        }
    }
}

/// Whether there is a token with a folded part, or one above [`TOKEN_BYTES_MAX`] that may have it.
fn has_part(tokens: &Tokens, edge: Edge, part: &[u8]) -> bool {
    let may_be_in_long = edge != Edge::Whole || part.len() > TOKEN_BYTES_MAX;
    may_be_in_long && tokens.have_long(part) || Finder::new(&edge.needle(part)).find(tokens.text()).is_some()
}

impl Edge {
    /// Whether a token has the part there.
    pub(crate) fn has(self, token: &[u8], part: &[u8]) -> bool {
        match self {
            Self::Start => token.starts_with(part),
            Self::End => token.ends_with(part),
            Self::Anywhere => memchr::memmem::find(token, part).is_some(),
            Self::Whole => token == part,
        }
    }

    /// What is looked for where tokens lie one after the other, each between separators.
    pub(crate) fn needle(self, part: &[u8]) -> Cow<'_, [u8]> {
        let separator: &[u8] = &[SEPARATOR];
        match self {
            Self::Anywhere => part.into(),
            Self::Start => [separator, part].concat().into(),
            Self::End => [part, separator].concat().into(),
            Self::Whole => [separator, part, separator].concat().into(),
        }
    }
}

/// A part that is looked for in upper and lower case, among tokens as they were written.
pub(crate) struct AnyCase<'a> {
    edge: Edge,
    part: &'a [u8],
    finder: Finder<'a>,
    /// Whether [`FOLDING`] may stand for one of its letters.
    folds: bool,
    lower: Vec<u8>,
}

/// The only letters beyond ASCII that regular expressions take for one of ASCII in another case: the long s and Kelvin's sign.
const FOLDING: [char; 2] = ['\u{17f}', '\u{212a}'];

impl<'a> AnyCase<'a> {
    /// `part` is in lower case.
    pub(crate) fn new(edge: Edge, part: &'a [u8]) -> Self {
        let folds = part.iter().any(|byte| matches!(byte, b's' | b'k'));
        Self { edge, part, finder: Finder::new(part), folds, lower: Vec::new() }
    }

    /// Whether a token has it.
    pub(crate) fn is_in(&mut self, token: &[u8]) -> bool {
        self.lower.clear();
        self.lower.extend(token.iter().map(u8::to_ascii_lowercase));
        let found = match self.edge {
            Edge::Anywhere => self.finder.find(&self.lower).is_some(),
            edge => edge.has(&self.lower, self.part),
        };
        found || self.folds && !token.is_ascii() && std::str::from_utf8(token).map_or(true, |token| token.contains(FOLDING))
    }
}

fn all(predicates: impl Iterator<Item = TokenPredicate>) -> TokenPredicate {
    let mut predicates: Vec<TokenPredicate> = predicates.filter(|predicate| *predicate != TokenPredicate::Anything).collect();
    match predicates.len() {
        0 => TokenPredicate::Anything,
        1 => predicates.remove(0),
        _ => TokenPredicate::All(predicates),
    }
}

/// Names of the stream's labels that a mention may mean: it says nothing of the lines of a stream that has one of them.
pub(crate) fn labels_of(mention: &Mention) -> Vec<&str> {
    match mention {
        Mention::Pattern(_) => Vec::new(),
        Mention::Value(label, _) => vec![label],
        Mention::Severity(_) => vec!["detected_level"],
        Mention::All(mentions) | Mention::Any(mentions) => mentions.iter().flat_map(labels_of).collect(),
    }
}

fn one_of(predicates: impl Iterator<Item = TokenPredicate>) -> TokenPredicate {
    let mut predicates: Vec<TokenPredicate> = predicates.collect();
    match predicates.len() {
        1 => predicates.remove(0),
        0 => TokenPredicate::Anything,
        _ if predicates.contains(&TokenPredicate::Anything) => TokenPredicate::Anything,
        _ => TokenPredicate::OneOf(predicates),
    }
}

/// Whether lines of a chunk that has these levels may say this.
pub(crate) fn may_be_among(mention: &Mention, rollups: &Rollups) -> bool {
    match mention {
        Mention::Pattern(_) | Mention::Value(..) => true,
        // Blocks of earlier builds count critical lines among the fatal ones.
        Mention::Severity(severity) => {
            let level = level_of(*severity);
            rollups.has_level(level) || rollups.has_level(level.min(LEVEL_FATAL))
        }
        Mention::All(mentions) => mentions.iter().all(|mention| may_be_among(mention, rollups)),
        Mention::Any(mentions) => mentions.iter().any(|mention| may_be_among(mention, rollups)),
    }
}

/// Of lines with metadata of this name and whole value.
fn of_pair(name: &str, value: &[u8]) -> TokenPredicate {
    let id = lone_id(value).map(Cow::into_owned);
    TokenPredicate::Pair { hash: pair_hash(name, value), id, tokens: Box::new(of_value(value)) }
}

/// The same by the tokens of the value.
fn of_value(value: &[u8]) -> TokenPredicate {
    let runs = value.split(|byte| !is_token_byte(*byte)).filter(|run| is_indexed(run));
    all(runs.map(|run| TokenPredicate::Token(run.to_vec())))
}

/// Of lines in which these bytes occur.
fn of_literal(literal: &[u8]) -> TokenPredicate {
    let mut predicates = Vec::new();
    let mut at = 0;
    for run in literal.split(|byte| !is_token_byte(*byte)) {
        let (start, end) = (at, at + run.len());
        at = end + 1;
        // Of bytes that are not UTF-8 a part may be folded otherwise than the whole.
        if run.is_empty() || !is_indexed(run) || std::str::from_utf8(run).is_err() {
            continue;
        }
        predicates.push(match (start > 0, end < literal.len()) {
            (true, true) => TokenPredicate::Token(run.to_vec()),
            (true, false) => TokenPredicate::Part(Edge::Start, run.to_vec()),
            (false, true) => TokenPredicate::Part(Edge::End, run.to_vec()),
            (false, false) => TokenPredicate::Part(Edge::Anywhere, run.to_vec()),
        });
    }
    // Exact terms are cheap and select most; the parts would each read the dictionary.
    if predicates.iter().any(|predicate| matches!(predicate, TokenPredicate::Token(_))) {
        predicates.retain(|predicate| matches!(predicate, TokenPredicate::Token(_) | TokenPredicate::Part(Edge::Start, _)));
    }
    all(predicates.into_iter())
}

/// Of lines that a regular expression matches somewhere. Flags count only where the pattern itself says them.
fn of_regex(pattern: &str) -> TokenPredicate {
    let parsed = regex_syntax::ParserBuilder::new().utf8(false).build().parse(pattern);
    let Ok(hir) = parsed else { return TokenPredicate::Anything };
    let predicate = Reading::of(&hir).into_predicate();
    if size(&predicate) > LITERALS_MAX { TokenPredicate::Anything } else { predicate }
}

/// What is known of a part of a regular expression. Each part is read once, however deep it is nested.
enum Reading {
    Texts(Texts),
    Predicate(TokenPredicate),
}

impl Reading {
    fn of(hir: &Hir) -> Self {
        let texts = match hir.kind() {
            HirKind::Empty | HirKind::Look(_) => Some(Texts::empty()),
            HirKind::Literal(literal) => Some(Texts { texts: vec![literal.0.to_vec()], any_case: false }),
            HirKind::Class(Class::Unicode(class)) => {
                let letters = class.iter().flat_map(|range| range.start()..=range.end());
                Texts::of_letters(letters.map(|letter| letter.to_string().into_bytes()))
            }
            HirKind::Class(Class::Bytes(class)) => {
                Texts::of_letters(class.iter().flat_map(|range| range.start()..=range.end()).map(|byte| vec![byte]))
            }
            HirKind::Capture(capture) => return Self::of(&capture.sub),
            HirKind::Concat(parts) => return Self::of_concat(parts),
            HirKind::Alternation(parts) => return Self::of_alternation(parts),
            HirKind::Repetition(repetition) if repetition.min > 0 => {
                return Self::Predicate(Self::of(&repetition.sub).into_predicate());
            }
            HirKind::Repetition(_) => None,
        };
        texts.map_or(Self::Predicate(TokenPredicate::Anything), Self::Texts)
    }

    /// Neighbours of which all texts are known are read as one.
    fn of_concat(parts: &[Hir]) -> Self {
        let (mut predicates, mut run) = (Vec::new(), Texts::empty());
        for part in parts {
            match Self::of(part) {
                Self::Texts(texts) if run.extend(&texts) => {}
                Self::Texts(texts) => predicates.push(std::mem::replace(&mut run, texts).predicate()),
                Self::Predicate(predicate) => {
                    predicates.extend([std::mem::replace(&mut run, Texts::empty()).predicate(), predicate]);
                }
            }
        }
        if predicates.is_empty() {
            return Self::Texts(run);
        }
        predicates.push(run.predicate());
        Self::Predicate(all(predicates.into_iter()))
    }

    fn of_alternation(parts: &[Hir]) -> Self {
        let parts: Vec<Self> = parts.iter().map(Self::of).collect();
        let texts = parts.iter().map(|part| if let Self::Texts(texts) = part { Some(texts) } else { None });
        let texts = texts.collect::<Option<Vec<&Texts>>>().and_then(|parts| Texts::of_any(&parts));
        texts.map_or_else(|| Self::Predicate(one_of(parts.into_iter().map(Self::into_predicate))), Self::Texts)
    }

    fn into_predicate(self) -> TokenPredicate {
        match self {
            Self::Texts(texts) => texts.predicate(),
            Self::Predicate(predicate) => predicate,
        }
    }
}

/// All texts that a regular expression matches, if these are few.
struct Texts {
    texts: Vec<Vec<u8>>,
    /// In upper or lower case: the texts are in lower case then.
    any_case: bool,
}

/// More texts than these are not told one by one; nor more letters of a class.
const TEXTS_MAX: usize = 16;
/// Nor are texts put together that have more bytes: far above what people look for, and little enough to copy at every part of an
/// expression.
const TEXTS_BYTES_MAX: usize = 4 << 10;

impl Texts {
    /// The empty one.
    fn empty() -> Self {
        Self { texts: vec![Vec::new()], any_case: false }
    }

    /// Of a class: a letter that is there in both cases stands for either.
    fn of_letters(letters: impl Iterator<Item = Vec<u8>>) -> Option<Self> {
        let texts: Vec<Vec<u8>> = letters.take(TEXTS_MAX + 1).collect();
        if texts.is_empty() || texts.len() > TEXTS_MAX {
            return None;
        }
        let has_both = texts
            .iter()
            .any(|text| text.is_ascii() && text[0].is_ascii_uppercase() && texts.contains(&text.to_ascii_lowercase()));
        Some(Self::new(texts, has_both))
    }

    /// Those of all, each once; `None` when they are too many or too long.
    fn of_any(all: &[&Self]) -> Option<Self> {
        let texts = || all.iter().flat_map(|one| &one.texts);
        let is_short = texts().count() <= TEXTS_MAX && texts().map(Vec::len).sum::<usize>() <= TEXTS_BYTES_MAX;
        is_short.then(|| Self::new(texts().cloned().collect(), all.iter().any(|one| one.any_case)))
    }

    /// Each once.
    fn new(mut texts: Vec<Vec<u8>>, any_case: bool) -> Self {
        if any_case {
            texts.iter_mut().for_each(|text| *text = fold(text).into_owned());
            texts.sort_unstable();
        }
        texts.dedup();
        Self { texts, any_case }
    }

    /// Puts each of those behind each of these; false, and nothing is changed, when they would be too many or too long.
    fn extend(&mut self, next: &Self) -> bool {
        let longest = |texts: &[Vec<u8>]| texts.iter().map(Vec::len).max().unwrap_or_default();
        let count = self.texts.len() * next.texts.len();
        if count > TEXTS_MAX || count * (longest(&self.texts) + longest(&next.texts)) > TEXTS_BYTES_MAX {
            return false;
        }
        match &next.texts[..] {
            // The usual case copies only what is new.
            [text] if self.any_case == next.any_case => self.texts.iter_mut().for_each(|own| own.extend_from_slice(text)),
            _ => {
                let pairs = self.texts.iter().flat_map(|text| next.texts.iter().map(move |next| [&text[..], next].concat()));
                *self = Self::new(pairs.collect(), self.any_case || next.any_case);
            }
        }
        true
    }

    fn predicate(&self) -> TokenPredicate {
        let of = if self.any_case { of_any_case } else { of_literal };
        one_of(self.texts.iter().map(|text| of(text)))
    }
}

/// Of lines in which this text occurs in upper or lower case. A letter alone is in every chunk.
fn of_any_case(text: &[u8]) -> TokenPredicate {
    if text.len() < 2 {
        return TokenPredicate::Anything;
    }
    let to_any_case = |predicate: TokenPredicate| match predicate {
        TokenPredicate::Token(token) => TokenPredicate::AnyCase(Edge::Whole, token),
        TokenPredicate::Part(edge, part) => TokenPredicate::AnyCase(edge, part),
        predicate => predicate,
    };
    match of_literal(text) {
        TokenPredicate::All(predicates) => all(predicates.into_iter().map(to_any_case)),
        predicate => to_any_case(predicate),
    }
}

fn size(predicate: &TokenPredicate) -> usize {
    match predicate {
        TokenPredicate::All(predicates) | TokenPredicate::OneOf(predicates) => predicates.iter().map(size).sum(),
        TokenPredicate::Anything => 0,
        TokenPredicate::Token(_) | TokenPredicate::Part(..) | TokenPredicate::AnyCase(..) | TokenPredicate::Pair { .. } => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(text: &str) -> TokenPredicate {
        TokenPredicate::Token(text.into())
    }

    fn part(edge: Edge, text: &str) -> TokenPredicate {
        TokenPredicate::Part(edge, text.into())
    }

    #[test]
    fn literals() {
        let check = |literal: &str, expected: TokenPredicate| assert_eq!(of_literal(literal.as_bytes()), expected, "{literal:?}");
        check("", TokenPredicate::Anything);
        check(" : ", TokenPredicate::Anything);
        check("error", part(Edge::Anywhere, "error"));
        check("error:", part(Edge::End, "error"));
        check(" error:", token("error"));
        check(" error 12 code", TokenPredicate::All(vec![token("error"), part(Edge::Start, "code")]));
        check("id=123", part(Edge::End, "id"));
        check("123", TokenPredicate::Anything);
        check("123456", part(Edge::Anywhere, "123456"));
        check("pre-mid-post", TokenPredicate::All(vec![token("mid"), part(Edge::Start, "post")]));
    }

    #[test]
    fn letters_of_either_case() {
        let is_in = |edge, part: &str, token: &str| AnyCase::new(edge, part.as_bytes()).is_in(token.as_bytes());
        assert!(is_in(Edge::Anywhere, "error", "MyERRORs") && !is_in(Edge::Whole, "error", "ERRORs"));
        assert!(
            is_in(Edge::Whole, "error", "Error") && is_in(Edge::End, "error", "anError") && is_in(Edge::Start, "err", "ERRno")
        );
        // What a regular expression takes for the same letter is not skipped.
        let disk = regex::bytes::Regex::new("(?i)disk").unwrap();
        for text in ["di\u{17f}k", "dis\u{212a}"] {
            assert!(disk.is_match(text.as_bytes()), "{text}");
            assert!(is_in(Edge::Whole, "disk", text), "{text}");
        }
        assert!(!is_in(Edge::Anywhere, "disk", "диск"));
    }

    #[test]
    fn regular_expressions() {
        let check = |pattern: &str, expected: TokenPredicate| assert_eq!(of_regex(pattern), expected, "{pattern:?}");
        let any_case = |edge, text: &str| TokenPredicate::AnyCase(edge, text.into());
        check("(?i)error", any_case(Edge::Anywhere, "error"));
        check("(?i)Disk failed", TokenPredicate::All(vec![any_case(Edge::End, "disk"), any_case(Edge::Start, "failed")]));
        check("(?i) Disk!", any_case(Edge::Whole, "disk"));
        check("(?i-u)disk", any_case(Edge::Anywhere, "disk"));
        check("(?i).*warn.*", any_case(Edge::Anywhere, "warn"));
        let one_of = |texts: &[&str]| TokenPredicate::OneOf(texts.iter().map(|text| any_case(Edge::Anywhere, text)).collect());
        check("(?i)größe", one_of(&["grÖße", "grÖẞe", "größe", "größe".replace('ß', "ẞ").as_str()]));
        check("(?:(?i)warn)|(?:(?i)err)", one_of(&["err", "warn"]));
        check("[ab]c", TokenPredicate::OneOf(vec![part(Edge::Anywhere, "ac"), part(Edge::Anywhere, "bc")]));
        check("code[a-z]:", part(Edge::Anywhere, "code"));
        check(
            " word(3|4)x f",
            TokenPredicate::OneOf(
                ["word3x", "word4x"].map(|word| TokenPredicate::All(vec![token(word), part(Edge::Start, "f")])).into(),
            ),
        );
        check("disk\\b full$", TokenPredicate::All(vec![part(Edge::End, "disk"), part(Edge::Start, "full")]));
        check("[A-Za-z]x", part(Edge::Anywhere, "x"));
        check("err.*", part(Edge::Anywhere, "err"));
        check("(time|out)=", TokenPredicate::OneOf(vec![part(Edge::End, "time"), part(Edge::End, "out")]));
        check("a(b|[0-9p-z])", part(Edge::Anywhere, "a"));
        check("(fail)?x", part(Edge::Anywhere, "x"));
        check("(fail)+ ", part(Edge::Anywhere, "fail"));
        check("^level=error code=\\d+", TokenPredicate::All(vec![token("error"), token("code")]));
        check("(", TokenPredicate::Anything);
    }

    /// Read anew and copied at every part and every level, this took terabytes of copies.
    #[test]
    fn long_and_nested_expressions_are_read_once() {
        let long = ["[a-p]", &"a^".repeat(30_000)].concat();
        let nested = (0..45).fold(long, |inner, _| format!("({inner}b*)"));
        let begun = std::time::Instant::now();
        let TokenPredicate::All(found) = of_regex(&format!("{nested}disk")) else { panic!("a condition is lost") };
        assert_eq!(found.last(), Some(&part(Edge::Anywhere, "disk")));
        assert!(begun.elapsed() < std::time::Duration::from_secs(30), "{:?}", begun.elapsed());
        let (word, other) = ("x".repeat(TEXTS_BYTES_MAX), "y".repeat(9));
        assert_eq!(of_regex(&format!("{word}$ {other}!")), TokenPredicate::All(vec![part(Edge::Anywhere, &word), token(&other)]));
    }
}
