//! A query's text into its tree.

use std::fmt;

use weir_model::clip;
use weir_model::pattern::PatternBudget;
use weir_model::span::{SpanKind, StatusCode};
use weir_model::time::parse_duration;

use crate::ast::{Compare, Field, Literal, Op, Query};

/// A query longer than this is refused, as in the other languages.
const QUERY_BYTES_MAX: usize = 128 << 10;
/// Far more than people write; each is judged on each span.
const CONDITIONS_MAX: usize = 1_024;

const OPS: [(&str, Op); 8] = [
    ("=~", Op::Regex),
    ("!~", Op::NotRegex),
    ("!=", Op::NotEqual),
    (">=", Op::GreaterEqual),
    ("<=", Op::LessEqual),
    ("=", Op::Equal),
    (">", Op::Greater),
    ("<", Op::Less),
];

/// Reads a query; errors say what and at which character.
pub fn parse(text: &str) -> Result<Query, String> {
    let mut reader = Reader { text, rest: text, patterns: PatternBudget::default() };
    if text.len() > QUERY_BYTES_MAX {
        return Err(reader.wrong(format!("a query may have {QUERY_BYTES_MAX} bytes, this has {}", text.len())));
    }
    reader.want("{")?;
    let mut compares = Vec::new();
    if !reader.take("}") {
        loop {
            if compares.len() == CONDITIONS_MAX {
                return Err(reader.wrong(format!("a query may have {CONDITIONS_MAX} conditions, this is one more")));
            }
            compares.push(reader.compare()?);
            if reader.take("}") {
                break;
            }
            if !reader.take("&&") {
                return Err(reader.wrong("expected && or }; ||, arithmetic and brackets are not supported yet"));
            }
        }
    }
    reader.blank();
    if reader.rest.is_empty() {
        Ok(Query(compares))
    } else {
        Err(reader.wrong("combining span sets and pipes are not supported yet"))
    }
}

struct Reader<'a> {
    text: &'a str,
    rest: &'a str,
    patterns: PatternBudget,
}

impl<'a> Reader<'a> {
    fn wrong(&self, message: impl fmt::Display) -> String {
        let at = self.text[..self.text.len() - self.rest.len()].chars().count() + 1;
        format!("invalid TraceQL query: parse error at line 1, col {at}: {message}")
    }

    fn blank(&mut self) {
        self.rest = self.rest.trim_start();
    }

    fn take(&mut self, sign: &str) -> bool {
        self.blank();
        match self.rest.strip_prefix(sign) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn want(&mut self, sign: &str) -> Result<(), String> {
        if self.take(sign) { Ok(()) } else { Err(self.wrong(format!("expected {sign}"))) }
    }

    fn word(&mut self) -> &'a str {
        self.blank();
        let ends = |letter: char| letter.is_whitespace() || "=!<>~&|{}()\"`".contains(letter);
        let (word, rest) = self.rest.split_at(self.rest.find(ends).unwrap_or(self.rest.len()));
        self.rest = rest;
        word
    }

    fn compare(&mut self) -> Result<Compare, String> {
        self.blank();
        let before = self.rest;
        let word = self.word();
        let scoped = |scope: &str| word.strip_prefix(scope).filter(|name| !name.is_empty()).map(str::to_owned);
        let field = match word {
            "name" => Field::Name,
            "duration" => Field::Duration,
            "status" => Field::Status,
            "kind" => Field::Kind,
            _ => match (scoped("resource."), scoped("span."), scoped(".")) {
                (Some(name), _, _) => Field::Resource(name),
                (_, Some(name), _) => Field::Span(name),
                (_, _, Some(name)) => Field::Either(name),
                _ => {
                    self.rest = before;
                    return Err(self.wrong(format!(
                        "{:?} is not supported yet: name, duration, status, kind, resource.…, span.… or .… are",
                        clip(word)
                    )));
                }
            },
        };
        self.blank();
        let Some((sign, op)) = OPS.iter().find(|(sign, _)| self.rest.starts_with(sign)) else {
            return Err(self.wrong("expected one of = != > >= < <= =~ !~"));
        };
        self.take(sign);
        self.blank();
        let before = self.rest;
        let value = self.literal(&field, *op);
        value.map(|value| Compare { field, op: *op, value }).map_err(|message| {
            self.rest = before;
            self.wrong(message)
        })
    }

    fn literal(&mut self, field: &Field, op: Op) -> Result<Literal, String> {
        if self.rest.starts_with(['"', '`']) {
            let text = self.string()?;
            return match op {
                _ if matches!(field, Field::Duration | Field::Status | Field::Kind) => {
                    Err("this field does not compare with a string".into())
                }
                Op::Regex | Op::NotRegex => {
                    self.patterns.compile_anchored(&text).map(Literal::Pattern).map_err(|error| error.to_string())
                }
                _ => Ok(Literal::Text(text)),
            };
        }
        let word = self.word();
        if matches!(op, Op::Regex | Op::NotRegex) {
            return Err("a regular expression stands in quotes".into());
        }
        let known = match (field, word) {
            (Field::Status, "error") => Some(Literal::Status(StatusCode::Error)),
            (Field::Status, "ok") => Some(Literal::Status(StatusCode::Ok)),
            (Field::Status, "unset") => Some(Literal::Status(StatusCode::Unset)),
            (Field::Kind, _) => {
                let kinds = ["unspecified", "internal", "server", "client", "producer", "consumer"];
                kinds.iter().position(|kind| *kind == word).map(|number| Literal::Kind(SpanKind::from_number(number as i32)))
            }
            (Field::Duration, _) => parse_duration(word).ok().map(Literal::Duration),
            (Field::Status | Field::Name, _) => None,
            (_, "true" | "false") => Some(Literal::Bool(word == "true")),
            _ => word.parse().map(Literal::Int).or_else(|_| word.parse().map(Literal::Number)).ok(),
        };
        let known = known.ok_or_else(|| format!("{:?} does not compare with this field, or is not supported yet", clip(word)))?;
        if matches!(known, Literal::Status(_) | Literal::Kind(_) | Literal::Bool(_)) && !matches!(op, Op::Equal | Op::NotEqual) {
            return Err(format!("{word} compares with = and != only"));
        }
        Ok(known)
    }

    fn string(&mut self) -> Result<String, String> {
        if let Some(raw) = self.rest.strip_prefix('`') {
            let (text, rest) = raw.split_once('`').ok_or("the string has no closing `")?;
            self.rest = rest;
            return Ok(text.into());
        }
        let mut texts = serde_json::Deserializer::from_str(self.rest).into_iter::<String>();
        let text = texts.next().and_then(Result::ok).ok_or("bad string, or it has no closing \"")?;
        let read = texts.byte_offset();
        self.rest = &self.rest[read..];
        Ok(text)
    }
}
