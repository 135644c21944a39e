//! Tokens to a checked tree: a Pratt parser. `selector` reads selectors and their modifiers, `matching` what belongs to an operator,
//! `duration` duration arithmetic; `words` says what may be a name, `check` checks the types.

mod check;
mod duration;
mod matching;
mod selector;
mod words;

use weir_model::clip;
use weir_model::pattern::PatternBudget;

use super::ast::{Aggregate, AggregateOp, BinaryOp, Chain, Expr, Kind, Link, Span, Type};
use super::error::ParseError;
use super::functions::Function;
use super::lex::{Tok, Token, lex};
pub(crate) use words::is_unquoted_label;
use words::{RESERVED, described, is_grouping, is_name, is_number};

/// A query longer than this is refused: ten times the longest query of 35 public dashboards.
pub const QUERY_BYTES_MAX: usize = 128 << 10;
/// Brackets, signs and right sides of operators may nest this deep: the parser and all that walks a tree recurse. The deepest
/// query takes less than half of a stack of 2 MiB in the debug build, whose frames are the largest (`tests/depth.rs`).
const DEPTH_MAX: usize = 80;
/// Times and durations lie within an eighth of what an i64 of milliseconds holds, so that sums of them do as well.
pub(super) const DURATION_MS_MAX: f64 = (i64::MAX / 8) as f64;

/// Parses and type-checks a query.
pub fn parse(text: &str) -> Result<Expr, ParseError> {
    let mut parser = Parser::new(text)?;
    if parser.peek() == &Tok::End {
        return Err(parser.error("no expression found in input"));
    }
    let expr = parser.expression(0)?;
    if parser.peek() != &Tok::End {
        return Err(parser.unexpected("after the expression", "an operator or the end"));
    }
    check::check(text, &expr)?;
    Ok(expr)
}

/// Parses one series selector, as `match[]` takes it: its matchers may all take the empty text, and nothing stands behind them.
pub fn parse_selector(text: &str) -> Result<super::ast::Selector, ParseError> {
    let mut parser = Parser::new(text)?;
    parser.takes_any_matchers = true;
    let name = match parser.peek().clone() {
        Tok::Ident(name) if is_name(&name) => {
            parser.advance();
            name
        }
        _ => String::new(),
    };
    if name.is_empty() && parser.peek() != &Tok::Op("{") {
        return Err(parser.unexpected("", "a series selector such as up{job=\"x\"}"));
    }
    match parser.selector(name, 0)?.kind {
        Kind::Selector(selector) if parser.peek() == &Tok::End => Ok(*selector),
        _ => Err(parser.unexpected("after a series selector", "the end")),
    }
}

/// Where a word is a label's name and nothing else.
const IN_MATCHERS: &str = "in label matching";

pub(super) struct Parser<'a> {
    text: &'a str,
    tokens: Vec<Token>,
    at: usize,
    depth: usize,
    /// What the patterns of matchers take.
    patterns: PatternBudget,
    /// A selector need not have a matcher that refuses the empty string: in the second argument of `info`, and by itself.
    takes_any_matchers: bool,
}

impl<'a> Parser<'a> {
    fn new(text: &'a str) -> Result<Self, ParseError> {
        if text.len() > QUERY_BYTES_MAX {
            return Err(ParseError::at(text, 0, format!("a query may have {QUERY_BYTES_MAX} bytes, this has {}", text.len())));
        }
        Ok(Self { text, tokens: lex(text), at: 0, depth: 0, patterns: PatternBudget::default(), takes_any_matchers: false })
    }

    fn peek(&self) -> &Tok {
        &self.tokens[self.at].tok
    }

    fn peek_second(&self) -> &Tok {
        &self.tokens[(self.at + 1).min(self.tokens.len() - 1)].tok
    }

    fn span(&self) -> Span {
        self.tokens[self.at].span
    }

    /// Where the last token taken ends.
    fn end(&self) -> usize {
        self.tokens[self.at.saturating_sub(1)].span.end
    }

    fn advance(&mut self) -> Token {
        let token = self.tokens[self.at].clone();
        self.at = (self.at + 1).min(self.tokens.len() - 1);
        token
    }

    fn eat(&mut self, operator: &str) -> bool {
        let found = matches!(self.peek(), Tok::Op(own) if *own == operator);
        if found {
            self.advance();
        }
        found
    }

    fn expect(&mut self, operator: &str, context: &str) -> Result<(), ParseError> {
        if self.eat(operator) { Ok(()) } else { Err(self.unexpected(context, &format!("{operator:?}"))) }
    }

    /// Takes a comma, where the list might also have ended.
    fn comma(&mut self, context: &str, end: &str) -> Result<(), ParseError> {
        if self.eat(",") { Ok(()) } else { Err(self.unexpected(context, &format!("\",\" or {end:?}"))) }
    }

    fn is_word(&self, word: &str) -> bool {
        matches!(self.peek(), Tok::Ident(own) if own.eq_ignore_ascii_case(word))
    }

    fn eat_word(&mut self, word: &str) -> bool {
        let found = self.is_word(word);
        if found {
            self.advance();
        }
        found
    }

    fn error(&self, message: impl Into<String>) -> ParseError {
        ParseError::at(self.text, self.span().start, message.into())
    }

    /// What stands here, as Prometheus describes it, where something else may.
    fn unexpected(&self, context: &str, expected: &str) -> ParseError {
        let found = match self.peek() {
            Tok::Wrong(error) => return error.clone(),
            Tok::End => "end of input".to_owned(),
            Tok::Ident(name) if context == IN_MATCHERS => format!("identifier {:?}", clip(name)),
            Tok::Ident(name) => described(name),
            Tok::Number(value) => format!("number \"{value}\""),
            Tok::Duration(millis) => format!("duration \"{}\"", super::lex::format_duration_ms(*millis)),
            Tok::Str(value) => format!("string {:?}", clip(value)),
            Tok::Op(operator @ ("(" | ")" | "{" | "}" | "[" | "]" | "," | ":" | "=")) => format!("{operator:?}"),
            Tok::Op(operator) => format!("<op:{operator}>"),
        };
        let space = if context.is_empty() { "" } else { " " };
        self.error(format!("unexpected {found}{space}{context}, expected {expected}"))
    }

    fn deeper(&mut self) -> Result<(), ParseError> {
        self.depth += 1;
        if self.depth > DEPTH_MAX { Err(self.error(format!("nested deeper than {DEPTH_MAX}"))) } else { Ok(()) }
    }

    fn binary_op(&self) -> Option<(BinaryOp, u8)> {
        let name = match self.peek() {
            Tok::Op(operator) => operator,
            Tok::Ident(word) => word.as_str(),
            _ => return None,
        };
        BinaryOp::ALL.iter().find(|(own, ..)| own.eq_ignore_ascii_case(name)).map(|(_, op, power)| (*op, *power))
    }

    /// Reads an expression whose operators all bind at least as tightly as `power_min`.
    fn expression(&mut self, power_min: u8) -> Result<Expr, ParseError> {
        self.deeper()?;
        let first = self.unary()?;
        let mut links = Vec::new();
        while let Some((op, power)) = self.binary_op() {
            if power < power_min {
                break;
            }
            let op_span = self.advance().span;
            let (returns_bool, matching) = self.modifiers(op)?;
            // `^` binds to the right, all others to the left.
            let rhs = self.expression(if op == BinaryOp::Power { power } else { power + 1 })?;
            links.push(Link { op, rhs, returns_bool, matching, op_span });
        }
        self.depth -= 1;
        let Some(last) = links.last() else { return Ok(first) };
        let span = Span::new(first.span.start, last.rhs.span.end);
        Ok(Expr { kind: Kind::Chain(Box::new(Chain { first, links })), span })
    }

    fn unary(&mut self) -> Result<Expr, ParseError> {
        let start = self.span().start;
        let negative = match self.peek() {
            Tok::Op("-") => true,
            Tok::Op("+") => false,
            _ => return self.postfix(),
        };
        self.advance();
        // A sign binds like `*`: -1 ^ 2 is -(1 ^ 2).
        let inner = self.expression(6)?;
        let span = Span::new(start, inner.span.end);
        Ok(match inner.kind {
            Kind::Number(value, unit) => Expr { kind: Kind::Number(if negative { -value } else { value }, unit), span },
            _ => Expr { kind: Kind::Unary(negative, Box::new(inner)), span },
        })
    }

    fn primary(&mut self) -> Result<Expr, ParseError> {
        let span = self.span();
        match self.peek().clone() {
            Tok::Number(value) => {
                self.advance();
                Ok(Expr { kind: Kind::Number(value, false), span })
            }
            Tok::Duration(millis) => {
                self.advance();
                Ok(Expr { kind: Kind::Number(millis as f64 / 1000.0, true), span })
            }
            Tok::Str(value) => {
                self.advance();
                Ok(Expr { kind: Kind::String(value), span })
            }
            Tok::Op("(") => {
                self.advance();
                let inner = self.expression(0)?;
                self.expect(")", "in parentheses")?;
                Ok(Expr { kind: Kind::Paren(Box::new(inner)), span: Span::new(span.start, self.end()) })
            }
            Tok::Op("{") => self.selector(String::new(), span.start),
            Tok::Ident(word) => self.word(&word, span.start),
            _ => Err(self.unexpected("in an expression", "a selector, number, string, function or \"(\"")),
        }
    }

    fn word(&mut self, word: &str, start: usize) -> Result<Expr, ParseError> {
        let grouping = matches!(self.peek_second(), Tok::Ident(next) if is_grouping(next));
        let called = self.peek_second() == &Tok::Op("(");
        if let Some(op) = AggregateOp::by_name(word).filter(|_| called || grouping) {
            self.advance();
            return self.aggregate(op, start);
        }
        let is_word_of_language = RESERVED.iter().any(|own| own.eq_ignore_ascii_case(word)) || self.binary_op().is_some();
        if called && !is_word_of_language {
            return self.call(word, start);
        }
        if is_number(word) {
            self.advance();
            let value = if word.eq_ignore_ascii_case("nan") { f64::NAN } else { f64::INFINITY };
            return Ok(Expr { kind: Kind::Number(value, false), span: Span::new(start, self.end()) });
        }
        if !is_name(word) {
            return Err(self.unexpected("in an expression", "a selector, number, string, function or \"(\""));
        }
        self.advance();
        self.selector(word.to_owned(), start)
    }

    fn call(&mut self, name: &str, start: usize) -> Result<Expr, ParseError> {
        let Some(function) = Function::by_name(name) else {
            return Err(self.error(format!("unknown function with name {:?}", clip(name))));
        };
        self.advance();
        let arguments = self.arguments(function.name == "info")?;
        Ok(Expr { kind: Kind::Call(function, arguments), span: Span::new(start, self.end()) })
    }

    fn arguments(&mut self, of_info: bool) -> Result<Vec<Expr>, ParseError> {
        self.expect("(", "before arguments")?;
        let mut arguments = Vec::new();
        while !self.eat(")") {
            if !arguments.is_empty() {
                self.expect(",", "in arguments")?;
                if self.peek() == &Tok::Op(")") {
                    return Err(self.error("trailing commas not allowed in function call args"));
                }
            }
            self.takes_any_matchers = of_info && arguments.len() == 1;
            arguments.push(self.expression(0)?);
            self.takes_any_matchers = false;
        }
        Ok(arguments)
    }

    fn aggregate(&mut self, op: AggregateOp, start: usize) -> Result<Expr, ParseError> {
        let mut grouping = self.grouping()?;
        let mut arguments = self.arguments(false)?;
        if grouping.is_none() {
            grouping = self.grouping()?;
        }
        let (without, grouping) = grouping.unwrap_or_default();
        let (wanted, given) = (if op.parameter().is_some() { 2 } else { 1 }, arguments.len());
        let message = match arguments.pop().filter(|_| given == wanted) {
            Some(expr) => {
                let aggregate = Aggregate { op, expr, param: arguments.pop(), grouping, without };
                return Ok(Expr { kind: Kind::Aggregate(Box::new(aggregate)), span: Span::new(start, self.end()) });
            }
            None if given == 0 => "no arguments for aggregate expression provided".to_owned(),
            None => format!("wrong number of arguments for aggregate expression provided, expected {wanted}, got {given}"),
        };
        Err(ParseError::at(self.text, start, message))
    }

    fn grouping(&mut self) -> Result<Option<(bool, Vec<String>)>, ParseError> {
        let without = self.is_word("without");
        if !without && !self.is_word("by") {
            return Ok(None);
        }
        self.advance();
        Ok(Some((without, self.label_list()?)))
    }

    /// `(a, b, "c.d")`
    fn label_list(&mut self) -> Result<Vec<String>, ParseError> {
        self.expect("(", "in grouping opts")?;
        let mut names = Vec::new();
        while !self.eat(")") {
            if !names.is_empty() {
                self.comma("in grouping opts", ")")?;
                if self.eat(")") {
                    break;
                }
            }
            match self.peek().clone() {
                Tok::Ident(name) if is_unquoted_label(&name) => names.push(name),
                Tok::Str(name) if !name.is_empty() && !name.contains('\u{fffd}') => names.push(name),
                _ => return Err(self.unexpected("in grouping opts", "label")),
            }
            self.advance();
        }
        Ok(names)
    }

    /// Complains unless `expr` has the type.
    fn want(&self, expr: &Expr, wanted: Type, message: &str) -> Result<(), ParseError> {
        if expr.kind_type() == wanted { Ok(()) } else { Err(ParseError::at(self.text, expr.span.start, message.into())) }
    }
}

#[cfg(test)]
mod tests;
