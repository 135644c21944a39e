//! Line filters and label filters.

use weir_model::label::{MatchOp, Matcher};
use weir_model::select::LineFilter;

use super::Parser;
use crate::ast::{CompareOp, LabelFilter, LineStage, LineTest, Unit};
use crate::error::ParseError;
use crate::lex::Token;
use crate::pipeline::pattern::Pattern;

impl Parser<'_> {
    /// `|= "a" or "b"`
    pub(super) fn line_stage(&mut self) -> Result<LineStage, ParseError> {
        let op = match self.advance() {
            Token::Punct(op) => op,
            _ => return self.unexpected("a line filter"),
        };
        let at = self.at();
        let mut any = vec![self.line_operand()?];
        while self.take_word("or") {
            any.push(self.line_operand()?);
        }
        let bytes = || any.iter().map(|text| text.clone().into_bytes()).collect();
        let test = match op {
            "|=" => LineTest::Store(LineFilter::Contains(bytes())),
            "!=" => LineTest::Store(LineFilter::NotContains(bytes())),
            "|~" | "!~" if any.iter().all(|text| is_literal(text)) => {
                LineTest::Store(if op == "|~" { LineFilter::Contains(bytes()) } else { LineFilter::NotContains(bytes()) })
            }
            "|~" => LineTest::Store(LineFilter::Matches(self.line_regex(&any, at)?)),
            "!~" => LineTest::Store(LineFilter::NotMatches(self.line_regex(&any, at)?)),
            _ => {
                let patterns = any.iter().map(|text| Pattern::for_lines(text).map_err(|message| self.wrong_at(at, message)));
                LineTest::Patterns { any: patterns.collect::<Result<_, _>>()?, negated: op == "!>" }
            }
        };
        Ok(LineStage { op, any, test })
    }

    fn line_operand(&mut self) -> Result<String, ParseError> {
        if self.is_word("ip") && matches!(self.peek_at(1), Token::Punct("(")) {
            return Err(self.unsupported(self.at(), "ip() as a line filter"));
        }
        self.string("a quoted string")
    }

    fn line_regex(&mut self, any: &[String], at: usize) -> Result<regex::bytes::Regex, ParseError> {
        // Each alternative has to compile on its own: `a(` or `b)` must not make a whole.
        if let [one] = any {
            return self.pattern(at, |patterns| patterns.compile_bytes(one));
        }
        for text in any {
            self.pattern(at, |patterns| patterns.compile_bytes(text))?;
        }
        let joined = any.iter().map(|text| format!("(?:{text})")).collect::<Vec<_>>().join("|");
        self.pattern(at, |patterns| patterns.compile_bytes(&joined))
    }

    /// `a="b" or c > 5 and d < 1s`; `and`, comma and a blank bind tighter than `or`.
    pub(super) fn label_filter(&mut self) -> Result<LabelFilter, ParseError> {
        self.deeper(|parser| {
            let first = parser.all_filters()?;
            let mut any = vec![first];
            while parser.take_word("or") {
                any.push(parser.all_filters()?);
            }
            Ok(joined(any, LabelFilter::Or))
        })
    }

    fn all_filters(&mut self) -> Result<LabelFilter, ParseError> {
        let mut all = vec![self.one_filter()?];
        loop {
            let explicit = self.take_word("and") || self.take(",");
            let another = matches!(self.peek(), Token::Ident(word) if word != "or") || self.is("(");
            if !explicit && !another {
                return Ok(joined(all, LabelFilter::And));
            }
            all.push(self.one_filter()?);
        }
    }

    fn one_filter(&mut self) -> Result<LabelFilter, ParseError> {
        if self.take("(") {
            let inner = self.label_filter()?;
            self.want(")")?;
            return Ok(inner);
        }
        let name = self.ident("a parser, a format or a condition on a label")?;
        let op_at = self.at();
        let op = match self.peek() {
            Token::Punct(op @ ("=" | "!=" | "=~" | "!~" | "==" | ">" | ">=" | "<" | "<=")) => *op,
            _ => return self.unexpected("one of = != =~ !~ == > >= < <="),
        };
        self.next += 1;
        if matches!(self.peek(), Token::Ident(word) if word == "ip") {
            return Err(self.unsupported(self.at(), "ip() as a label filter"));
        }
        if let Token::String(value) = self.peek().clone() {
            let match_op = match op {
                "=" => MatchOp::Equal,
                "!=" => MatchOp::NotEqual,
                "=~" => MatchOp::Regex,
                "!~" => MatchOp::NotRegex,
                _ => return Err(self.wrong_at(op_at, format!("{op:?} compares numbers, durations and sizes, not strings"))),
            };
            let at = self.at();
            self.next += 1;
            let matcher = self.pattern(at, |patterns| Matcher::within(patterns, name, match_op, value))?;
            return Ok(LabelFilter::Text(matcher));
        }
        let op = match op {
            "=" | "==" => CompareOp::Equal,
            "!=" => CompareOp::NotEqual,
            ">" => CompareOp::Greater,
            ">=" => CompareOp::GreaterEqual,
            "<" => CompareOp::Less,
            "<=" => CompareOp::LessEqual,
            _ => return self.unexpected("a quoted string"),
        };
        let sign = if self.take("-") { -1.0 } else { 1.0 };
        let (value, unit) = match *self.peek() {
            Token::Number(value) => (sign * value, Unit::Number),
            Token::Duration(nanos) => (sign * nanos as f64, Unit::Duration),
            Token::Bytes(bytes) => (sign * bytes, Unit::Bytes),
            _ => return self.unexpected("a quoted string, a number, a duration or a byte size"),
        };
        self.next += 1;
        Ok(LabelFilter::Number { name, op, value, unit })
    }
}

/// One condition alone needs no list.
fn joined(mut filters: Vec<LabelFilter>, join: fn(Vec<LabelFilter>) -> LabelFilter) -> LabelFilter {
    match filters.pop() {
        Some(one) if filters.is_empty() => one,
        Some(last) => {
            filters.push(last);
            join(filters)
        }
        None => join(filters),
    }
}

/// Whether a pattern has no special character, so that it is a substring search.
fn is_literal(text: &str) -> bool {
    regex::escape(text) == text
}
