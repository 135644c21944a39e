//! Selectors and what may stand behind them: `{…}`, `[range]`, `[range:step]`, `offset`, `@`, `anchored`, `smoothed`.

use weir_model::clip;
use weir_model::label::{MatchOp, Matcher, NAME};

use super::duration::{IN_OFFSET, IN_RANGE, IN_STEP};
use super::{DURATION_MS_MAX, IN_MATCHERS, Parser};
use crate::ast::{At, Edge, Expr, Kind, Modifiers, RangeSelector, Selector, Span, Subquery, Type};
use crate::error::ParseError;
use crate::lex::Tok;

impl Parser<'_> {
    /// A selector whose name, if any, has just been taken.
    pub(super) fn selector(&mut self, name: String, start: usize) -> Result<Expr, ParseError> {
        let mut matchers = Vec::new();
        if !name.is_empty() {
            matchers.push(Matcher::equal(NAME, name.clone()));
        }
        if self.eat("{") {
            self.matchers(!name.is_empty(), &mut matchers)?;
        }
        if !self.takes_any_matchers && matchers.iter().all(|matcher| matcher.matches("")) {
            let message = "vector selector must contain at least one non-empty matcher".into();
            return Err(ParseError::at(self.text, start, message));
        }
        let selector = Selector { name, matchers, modifiers: Modifiers::default(), smoothed: false };
        Ok(Expr { kind: Kind::Selector(Box::new(selector)), span: Span::new(start, self.end()) })
    }

    fn matchers(&mut self, mut named: bool, matchers: &mut Vec<Matcher>) -> Result<(), ParseError> {
        let mut first = true;
        // Said at the end, where nothing else is wrong.
        let mut named_twice = None;
        while !self.eat("}") {
            if !first {
                self.comma(IN_MATCHERS, "}")?;
                if self.eat("}") {
                    break;
                }
            }
            first = false;
            let at = self.span().start;
            let (name, quoted) = match self.peek().clone() {
                Tok::Ident(name) => (name, false),
                Tok::Str(name) => (name, true),
                _ => return Err(self.unexpected(IN_MATCHERS, "identifier or \"}\"")),
            };
            self.advance();
            // A lone quoted string is the metric's name.
            if quoted && matches!(self.peek(), Tok::Op("," | "}")) {
                if named {
                    named_twice.get_or_insert((at, format!("metric name must not be set twice: {:?}", clip(&name))));
                }
                named = true;
                matchers.push(Matcher::equal(NAME, name));
                continue;
            }
            let matcher = self.matcher(name)?;
            if matcher.name == NAME && named && matchers.first().is_some_and(|own| own.name == NAME) && !quoted {
                let (first, second) = (clip(&matchers[0].value), clip(&matcher.value));
                named_twice.get_or_insert((at, format!("metric name must not be set twice: {first:?} or {second:?}")));
            }
            matchers.push(matcher);
        }
        named_twice.map_or(Ok(()), |(at, message)| Err(ParseError::at(self.text, at, message)))
    }

    fn matcher(&mut self, name: String) -> Result<Matcher, ParseError> {
        let op = match self.peek() {
            Tok::Op("=") => MatchOp::Equal,
            Tok::Op("!=") => MatchOp::NotEqual,
            Tok::Op("=~") => MatchOp::Regex,
            Tok::Op("!~") => MatchOp::NotRegex,
            _ => return Err(self.unexpected(IN_MATCHERS, "label matching operator")),
        };
        self.advance();
        let Tok::Str(value) = self.peek().clone() else {
            return Err(self.unexpected(IN_MATCHERS, "string"));
        };
        let matcher = Matcher::within(&mut self.patterns, name, op, value).map_err(|wrong| self.error(wrong.to_string()))?;
        self.advance();
        Ok(matcher)
    }

    /// A primary expression and everything that binds to it from behind.
    pub(super) fn postfix(&mut self) -> Result<Expr, ParseError> {
        let mut expr = self.primary()?;
        loop {
            expr = match self.peek() {
                Tok::Op("[") => self.range_or_subquery(expr)?,
                Tok::Op("@") => self.at_modifier(expr)?,
                Tok::Ident(word) if word.eq_ignore_ascii_case("offset") => self.offset(expr)?,
                Tok::Ident(word) if word.eq_ignore_ascii_case("anchored") => self.edge(expr, Edge::Anchored)?,
                Tok::Ident(word) if word.eq_ignore_ascii_case("smoothed") => self.edge(expr, Edge::Smoothed)?,
                _ => return Ok(expr),
            };
            expr.span.end = self.end();
        }
    }

    fn range_or_subquery(&mut self, expr: Expr) -> Result<Expr, ParseError> {
        let bracket = self.span().start;
        self.expect("[", "before a range")?;
        let range = self.duration(IN_RANGE)?;
        let span = expr.span;
        if self.eat(":") {
            let step = if self.peek() == &Tok::Op("]") { None } else { Some(self.duration(IN_STEP)?) };
            self.expect("]", "in subquery selector")?;
            let got = match expr.kind_type() {
                Type::Vector => "vector",
                Type::Matrix => "matrix",
                Type::Scalar => "scalar",
                Type::String => "string",
            };
            self.want(&expr, Type::Vector, &format!("subquery is only allowed on instant vector, got {got} instead"))?;
            let subquery = Subquery { expr, range, step, modifiers: Modifiers::default() };
            return Ok(Expr { kind: Kind::Subquery(Box::new(subquery)), span });
        }
        if !self.eat("]") {
            return Err(self.unexpected("in subquery or range", "\":\" or \"]\""));
        }
        let Kind::Selector(selector) = expr.kind else {
            return Err(ParseError::at(self.text, bracket, "ranges only allowed for vector selectors".into()));
        };
        if selector.modifiers.offset.is_some() || selector.modifiers.at.is_some() {
            let which = if selector.modifiers.offset.is_some() { "offset" } else { "@" };
            return Err(ParseError::at(self.text, bracket, format!("no {which} modifiers allowed before range")));
        }
        let range = RangeSelector { selector: *selector, range, edge: Edge::Plain };
        Ok(Expr { kind: Kind::Range(Box::new(range)), span })
    }

    fn edge(&mut self, mut expr: Expr, edge: Edge) -> Result<Expr, ParseError> {
        let word = if edge == Edge::Anchored { "anchored" } else { "smoothed" };
        match &mut expr.kind {
            Kind::Range(range) if range.edge == Edge::Plain => range.edge = edge,
            Kind::Selector(selector) if edge == Edge::Smoothed && !selector.smoothed => selector.smoothed = true,
            Kind::Range(_) => return Err(self.error("anchored and smoothed modifiers cannot be used together")),
            _ => return Err(self.error(format!("{word} modifier not implemented for anything but a range selector"))),
        }
        self.advance();
        Ok(expr)
    }

    fn offset(&mut self, mut expr: Expr) -> Result<Expr, ParseError> {
        let at = self.span().start;
        self.advance();
        let offset = self.duration_operand(IN_OFFSET)?;
        let Some(modifiers) = modifiers_of(&mut expr) else {
            let message = "offset modifier must be preceded by an instant vector selector or range vector selector or a subquery";
            return Err(ParseError::at(self.text, at, message.into()));
        };
        if modifiers.offset.replace(offset).is_some() {
            return Err(ParseError::at(self.text, at, "offset may not be set multiple times".into()));
        }
        Ok(expr)
    }

    fn at_modifier(&mut self, mut expr: Expr) -> Result<Expr, ParseError> {
        let start = self.span().start;
        self.advance();
        let at = if (self.is_word("start") || self.is_word("end")) && self.peek_second() == &Tok::Op("(") {
            let at = if self.is_word("start") { At::Start } else { At::End };
            self.advance();
            self.expect("(", "after start or end")?;
            self.expect(")", "after start or end")?;
            at
        } else {
            At::Time(self.timestamp()?)
        };
        let Some(modifiers) = modifiers_of(&mut expr) else {
            let message = "@ modifier must be preceded by an instant vector selector or range vector selector or a subquery";
            return Err(ParseError::at(self.text, start, message.into()));
        };
        if modifiers.at.replace(at).is_some() {
            return Err(ParseError::at(self.text, start, "@ <timestamp> may not be set multiple times".into()));
        }
        Ok(expr)
    }

    fn timestamp(&mut self) -> Result<i64, ParseError> {
        let mut sign = 1.0;
        while let Tok::Op(operator @ ("-" | "+")) = *self.peek() {
            sign = if operator == "-" { -sign } else { sign };
            self.advance();
        }
        let seconds = match self.peek() {
            Tok::Number(value) => *value,
            Tok::Duration(millis) => *millis as f64 / 1000.0,
            Tok::Ident(word) if word.eq_ignore_ascii_case("inf") => f64::INFINITY,
            Tok::Ident(word) if word.eq_ignore_ascii_case("nan") => f64::NAN,
            _ => return Err(self.unexpected("in @", "timestamp")),
        };
        let millis = (sign * seconds * 1000.0).round();
        if !millis.is_finite() || millis.abs() > DURATION_MS_MAX {
            let given = match sign * seconds {
                given if given.is_infinite() => if given > 0.0 { "+Inf" } else { "-Inf" }.to_owned(),
                given => format!("{given:.6}"),
            };
            return Err(self.error(format!("timestamp out of bounds for @ modifier: {given}")));
        }
        self.advance();
        Ok(millis as i64)
    }
}

fn modifiers_of(expr: &mut Expr) -> Option<&mut Modifiers> {
    match &mut expr.kind {
        Kind::Selector(selector) => Some(&mut selector.modifiers),
        Kind::Range(range) => Some(&mut range.selector.modifiers),
        Kind::Subquery(subquery) => Some(&mut subquery.modifiers),
        _ => None,
    }
}
