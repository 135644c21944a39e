//! Reads a search text. Neighbours must all be there, `OR` binds more loosely, `-` and `NOT` turn round what follows.
//! A bracket opens a group only at the beginning of a word, and closes one only where one is open: `open()` is a word.

use weir_model::id::{SpanId, TraceId};
use weir_model::label::normalise_label_name;
use weir_model::log::{detected_level, severity_of_name};

use crate::error::ParseError;

/// Longer than anything that is typed; what it becomes stays within the limits of a query.
const TEXT_BYTES_MAX: usize = 4 << 10;
/// Words, phrases and fields of one text: each takes a pattern of its own.
const TERMS_MAX: usize = 64;
/// Brackets and negations within one another; guards the stack.
const DEPTH_MAX: usize = 16;

/// What a line must be like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Term {
    /// This holds.
    Is(Condition),
    /// That does not hold.
    Not(Box<Term>),
    /// All hold; never empty.
    All(Vec<Term>),
    /// One holds; never empty.
    Any(Vec<Term>),
}

/// What is looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Condition {
    /// It stands in the line, in upper or lower case.
    Text(String),
    /// A label that needs no parser has one of these values.
    Label(&'static str, Vec<String>),
    /// A label or a field of the line has this value, in upper or lower case: the pieces, and anything between two of them.
    Field(String, Vec<String>),
}

/// Reads a text that is not blank. Errors say where.
pub(super) fn parse(text: &str) -> Result<Term, ParseError> {
    if text.len() > TEXT_BYTES_MAX {
        let message = format!("a search has at most {TEXT_BYTES_MAX} bytes, this one has {}", text.len());
        return Err(ParseError::at(text, 0, message));
    }
    let mut parser = Parser { text, at: 0, terms: 0, depth: 0, open: 0 };
    parser.any(0, "there is nothing to look for")
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
    terms: usize,
    depth: usize,
    /// Brackets that wait to be closed.
    open: usize,
}

impl<'a> Parser<'a> {
    fn wrong<T>(&self, at: usize, message: impl Into<String>) -> Result<T, ParseError> {
        Err(ParseError::at(self.text, at, message))
    }

    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn skip_blanks(&mut self) {
        self.at = self.text.len() - self.rest().trim_start().len();
    }

    /// Whether the end of the text or of the group is next.
    fn at_end(&mut self) -> bool {
        self.skip_blanks();
        self.rest().is_empty() || self.open > 0 && self.rest().starts_with(')')
    }

    /// Whether this word, in capitals, is next.
    fn at_word(&self, word: &str) -> bool {
        let tail = self.rest().strip_prefix(word);
        tail.is_some_and(|tail| {
            tail.is_empty() || tail.starts_with(|letter: char| letter.is_whitespace() || "()".contains(letter))
        })
    }

    /// `a b OR c`; when there is nothing at all, `missing` is said of `at`.
    fn any(&mut self, at: usize, missing: &str) -> Result<Term, ParseError> {
        let mut any = vec![self.all(at, missing)?];
        while !self.at_end() && self.at_word("OR") {
            let or = self.at;
            self.at += "OR".len();
            any.push(self.all(or, "OR has nothing on its right")?);
        }
        Ok(joined(any, Term::Any))
    }

    /// `a b -c`
    fn all(&mut self, at: usize, missing: &str) -> Result<Term, ParseError> {
        let mut all = Vec::new();
        loop {
            if self.at_end() || !all.is_empty() && self.at_word("OR") {
                break;
            }
            if let Some(word) = ["OR", "AND"].into_iter().find(|word| self.at_word(word)) {
                if all.is_empty() {
                    return self.wrong(self.at, format!("{word} has nothing on its left"));
                }
                let and = self.at;
                self.at += word.len();
                if self.at_end() || self.at_word("OR") || self.at_word("AND") {
                    return self.wrong(and, format!("{word} has nothing on its right"));
                }
            }
            all.push(self.one()?);
        }
        if all.is_empty() { self.wrong(at, missing) } else { Ok(joined(all, Term::All)) }
    }

    fn one(&mut self) -> Result<Term, ParseError> {
        let at = self.at;
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return self.wrong(at, format!("brackets and negations stand at most {DEPTH_MAX} deep"));
        }
        let negated =
            self.rest().strip_prefix('-').is_some_and(|tail| tail.starts_with(|next: char| next != '-' && !next.is_whitespace()));
        let term = if negated || self.at_word("NOT") {
            self.at += if negated { 1 } else { "NOT".len() };
            if self.at_end() || self.at_word("OR") || self.at_word("AND") {
                return self.wrong(at, "NOT has nothing on its right");
            }
            Term::Not(Box::new(self.one()?))
        } else if self.rest().starts_with('(') {
            self.group()?
        } else {
            self.word()?
        };
        self.depth -= 1;
        Ok(term)
    }

    fn group(&mut self) -> Result<Term, ParseError> {
        let at = self.at;
        self.at += 1;
        self.open += 1;
        let term = self.any(at, "the brackets that open here are empty")?;
        if !self.at_end() || self.rest().is_empty() {
            return self.wrong(at, "the bracket that opens here is not closed");
        }
        self.at += 1;
        self.open -= 1;
        Ok(term)
    }

    /// A phrase, a field or a word.
    fn word(&mut self) -> Result<Term, ParseError> {
        let start = self.at;
        self.terms += 1;
        if self.terms > TERMS_MAX {
            return self.wrong(start, format!("a search has at most {TERMS_MAX} words, phrases and fields, this is one more"));
        }
        if self.rest().starts_with('"') {
            let phrase = self.phrase()?;
            return if phrase.is_empty() {
                self.wrong(start, "the phrase is empty")
            } else {
                Ok(Term::Is(Condition::Text(phrase)))
            };
        }
        if let Some((name, sign)) = self.field() {
            self.at += name.len() + sign.len();
            let term = if self.rest().starts_with('"') {
                Term::Is(field(name, vec![self.phrase()?]))
            } else {
                let value = self.take_word();
                if let Some(term) = id(name, value) {
                    return Ok(if sign == "!=" { Term::Not(Box::new(term)) } else { term });
                }
                let is_field = Term::Is(field(name, value.split('*').map(str::to_owned).collect()));
                let typed = &self.text[start..self.at];
                match &is_field {
                    // `main.go:12` may as well be meant as it stands.
                    Term::Is(Condition::Field(..)) if sign != "!=" && !value.contains('*') => {
                        Term::Any(vec![is_field, Term::Is(Condition::Text(typed.into()))])
                    }
                    _ => is_field,
                }
            };
            return Ok(if sign == "!=" { Term::Not(Box::new(term)) } else { term });
        }
        Ok(Term::Is(Condition::Text(self.take_word().into())))
    }

    /// The name of a field and its sign, when that and a value come next. `https://…`, `a::b` and `a==b` are words.
    fn field(&self) -> Option<(&'a str, &'static str)> {
        let rest = self.rest();
        let end = rest.find(|letter: char| !letter.is_ascii_alphanumeric() && !"_.-/".contains(letter))?;
        let (name, tail) = rest.split_at(end);
        let sign = [":", "=", "!="].into_iter().find(|sign| tail.starts_with(sign))?;
        let value = &tail[sign.len()..];
        let no_value = value.is_empty()
            || value.starts_with(|letter: char| letter.is_whitespace() || ":=~".contains(letter))
            || value.starts_with("//")
            || self.open > 0 && value.starts_with(')');
        (name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_') && !no_value).then_some((name, sign))
    }

    /// Up to the next blank, or the bracket that closes the group.
    fn take_word(&mut self) -> &'a str {
        let rest = self.rest();
        let mut own = 0_usize;
        let end = rest.find(|letter: char| match letter {
            '(' => {
                own += 1;
                false
            }
            ')' if own > 0 => {
                own -= 1;
                false
            }
            ')' => self.open > 0,
            _ => letter.is_whitespace(),
        });
        let word = &rest[..end.unwrap_or(rest.len())];
        self.at += word.len();
        word
    }

    /// `"a \"quoted\" phrase"`
    fn phrase(&mut self) -> Result<String, ParseError> {
        let start = self.at;
        let mut phrase = String::new();
        let mut letters = self.rest()[1..].char_indices().peekable();
        while let Some((at, letter)) = letters.next() {
            match letter {
                '"' => {
                    self.at += 1 + at + 1;
                    return Ok(phrase);
                }
                '\\' => match letters.next_if(|(_, next)| matches!(next, '"' | '\\')) {
                    Some((_, escaped)) => phrase.push(escaped),
                    None => phrase.push(letter),
                },
                _ => phrase.push(letter),
            }
        }
        self.wrong(start, "the phrase that begins here has no closing \"")
    }
}

/// `trace_id:4bf9…`: an id at its whole length.
fn id(name: &str, value: &str) -> Option<Term> {
    match (name, value.len()) {
        ("trace_id" | "traceID" | "traceId" | "traceid", 16 | 32) => value.parse().ok().map(trace),
        ("span_id" | "spanID" | "spanId" | "spanid", 16) => value.parse().ok().map(span),
        _ => None,
    }
}

/// The id of a trace in the record, or in the text, where 64-bit ids stand without the zeros before them.
pub(super) fn trace(id: TraceId) -> Term {
    let id = id.to_string();
    let short = id.strip_prefix(&"0".repeat(16)).unwrap_or(&id).to_owned();
    Term::Any(vec![Term::Is(Condition::Label("trace_id", vec![id])), Term::Is(Condition::Text(short))])
}

/// The id of a span in the record or in the text.
pub(super) fn span(id: SpanId) -> Term {
    let id = id.to_string();
    Term::Any(vec![Term::Is(Condition::Label("span_id", vec![id.clone()])), Term::Is(Condition::Text(id))])
}

/// A field's value; a level is one whatever it is called in the line.
fn field(name: &str, value: Vec<String>) -> Condition {
    const LEVEL: &str = "detected_level";
    if let ("level" | LEVEL, [level]) = (name, &value[..]) {
        // A histogram shows both as one.
        let both = || vec!["critical".to_owned(), "fatal".to_owned()];
        match severity_of_name(level.as_bytes()).map(detected_level) {
            Some("fatal") => return Condition::Label(LEVEL, both()),
            Some(level) => return Condition::Label(LEVEL, vec![level.into()]),
            None if level.eq_ignore_ascii_case("unknown") => return Condition::Label(LEVEL, vec!["unknown".into()]),
            None => {}
        }
    }
    Condition::Field(normalise_label_name(name).into_owned(), value)
}

/// One term alone needs no list.
fn joined(mut terms: Vec<Term>, join: fn(Vec<Term>) -> Term) -> Term {
    if terms.len() == 1 { terms.remove(0) } else { join(terms) }
}
