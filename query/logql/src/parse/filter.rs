//! Line filters and label filters.

use weir_model::label::MatchOp;
use weir_model::select::LineFilter;

use super::go_pattern::translate;
use super::{ANOTHER_FILTER, Parser};
use crate::ast::{CompareOp, LabelFilter, LineStage, LineTest, Needle, Unit};
use crate::error::ParseError;
use crate::lex::Token;
use crate::pipeline::ip::IpMatch;
use crate::pipeline::pattern::Pattern;

impl Parser<'_> {
    /// `|= "a" or ip("10.0.0.0/8")`
    pub(super) fn line_stage(&mut self) -> Result<LineStage, ParseError> {
        let op = match self.advance() {
            Token::Punct(op) => op,
            _ => return self.unexpected("a line filter"),
        };
        let at = self.at();
        let mut any = vec![self.needle(op)?];
        while self.take_word("or") {
            any.push(self.needle(op)?);
        }
        // As in Loki, an empty text beside others is none: `|= "" or "a"` is `|= "a"`.
        let is_empty = |needle: &Needle| matches!(needle, Needle::Text(text) if text.is_empty());
        if matches!(op, "|=" | "|~") && !any.iter().all(is_empty) {
            any.retain(|needle| !is_empty(needle));
        }
        let (mut texts, mut ips) = (Vec::new(), Vec::new());
        for needle in &any {
            match needle {
                Needle::Text(text) => texts.push(text.as_str()),
                Needle::Ip(ip) => ips.push(ip.clone()),
            }
        }
        let bytes = || texts.iter().map(|text| text.as_bytes().to_vec()).collect();
        let test = match op {
            "|=" | "!=" if !ips.is_empty() => {
                LineTest::Addresses { ips, texts: LineFilter::Contains(bytes()), negated: op == "!=" }
            }
            "|=" => LineTest::Store(LineFilter::Contains(bytes())),
            "!=" => LineTest::Store(LineFilter::NotContains(bytes())),
            "|~" | "!~" if texts.iter().all(|text| is_literal(text)) => {
                LineTest::Store(if op == "|~" { LineFilter::Contains(bytes()) } else { LineFilter::NotContains(bytes()) })
            }
            "|~" => LineTest::Store(LineFilter::Matches(self.line_regex(&texts, at)?)),
            "!~" => LineTest::Store(LineFilter::NotMatches(self.line_regex(&texts, at)?)),
            _ => {
                let patterns = texts.iter().map(|text| Pattern::for_lines(text).map_err(|message| self.wrong_at(at, message)));
                LineTest::Patterns { any: patterns.collect::<Result<_, _>>()?, negated: op == "!>" }
            }
        };
        Ok(LineStage { op, any, test })
    }

    fn needle(&mut self, op: &str) -> Result<Needle, ParseError> {
        if !self.at_ip() {
            return self.string("a quoted text or ip(…)").map(Needle::Text);
        }
        if !matches!(op, "|=" | "!=") {
            return Err(self.wrong(format!("ip: invalid operation: {op} takes no ip(…), |= and != do")));
        }
        self.ip().map(Needle::Ip)
    }

    fn at_ip(&self) -> bool {
        self.is_word("ip") && matches!(self.peek_at(1), Token::Punct("("))
    }

    /// `ip("10.0.0.0/8")`
    fn ip(&mut self) -> Result<IpMatch, ParseError> {
        self.next += 2;
        let at = self.at();
        let text = self.string("a quoted address, block or range")?;
        self.want(")")?;
        IpMatch::parse(&text).map_err(|message| self.wrong_at(at, message))
    }

    fn line_regex(&mut self, any: &[&str], at: usize) -> Result<regex::bytes::Regex, ParseError> {
        // Each alternative has to compile on its own: `a(` or `b)` must not make a whole.
        let any: Vec<_> = any.iter().map(|text| translate(text)).collect();
        if let [one] = &any[..] {
            return self.pattern(at, |patterns| patterns.compile_bytes(one));
        }
        for text in &any {
            self.pattern(at, |patterns| patterns.compile_bytes(text))?;
        }
        let joined = any.iter().map(|text| format!("(?:{text})")).collect::<Vec<_>>().join("|");
        self.pattern(at, |patterns| patterns.compile_bytes(&joined))
    }

    /// `a="b" or c > 5 and d < 1s`; `and`, comma and a blank bind tighter than `or`.
    pub(super) fn label_filter(&mut self) -> Result<LabelFilter, ParseError> {
        self.deeper(|parser| {
            let first = parser.all_filters("a parser, a format or a condition on a label")?;
            let mut any = vec![first];
            while parser.take_word("or") {
                any.push(parser.all_filters(ANOTHER_FILTER)?);
            }
            Ok(joined(any, LabelFilter::Or))
        })
    }

    fn all_filters(&mut self, wanted: &str) -> Result<LabelFilter, ParseError> {
        let mut all = vec![self.one_filter(wanted)?];
        loop {
            let explicit = self.take_word("and") || self.take(",");
            let another = matches!(self.peek(), Token::Ident(word) if !word.eq_ignore_ascii_case("or")) || self.is("(");
            if !explicit && !another {
                return Ok(joined(all, LabelFilter::And));
            }
            all.push(self.one_filter(ANOTHER_FILTER)?);
        }
    }

    fn one_filter(&mut self, wanted: &str) -> Result<LabelFilter, ParseError> {
        if self.take("(") {
            let inner = self.label_filter()?;
            self.want(")")?;
            return Ok(inner);
        }
        let name = self.ident(wanted)?;
        let op_at = self.at();
        let op = match self.peek() {
            Token::Punct(op @ ("=" | "!=" | "=~" | "!~" | "==" | ">" | ">=" | "<" | "<=")) => *op,
            _ => return self.unexpected("one of = != =~ !~ == > >= < <="),
        };
        self.next += 1;
        if self.at_ip() {
            if !matches!(op, "=" | "!=") {
                return Err(self.wrong(format!("syntax error: unexpected ip: {op} takes no ip(…), = and != do")));
            }
            return Ok(LabelFilter::Ip { name, ip: self.ip()?, negated: op == "!=" });
        }
        if let Token::String(value) = self.peek().clone() {
            let match_op = match op {
                "=" => MatchOp::Equal,
                "!=" => MatchOp::NotEqual,
                "=~" => MatchOp::Regex,
                "!~" => MatchOp::NotRegex,
                _ => {
                    return Err(self.wrong_at(
                        op_at,
                        format!("syntax error: unexpected STRING: {op} compares numbers, durations and sizes"),
                    ));
                }
            };
            let at = self.at();
            self.next += 1;
            return Ok(LabelFilter::Text(self.matcher(name, match_op, value, at)?));
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
        if sign > 0.0 {
            self.take("+");
        }
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
