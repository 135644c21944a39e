//! The LogQL parser: Pratt for expressions, plain descent for the rest. Pure; called by the HTTP APIs.
//!
//! - this file: the cursor and binary operators; [`metric`]: aggregations and functions;
//! - [`log`]: selectors and pipelines; [`filter`]: line filters and label filters.

mod filter;
mod go_pattern;
mod log;
mod metric;

pub(crate) use log::STAGES;
use weir_model::label::{MatchOp, Matcher};
use weir_model::pattern::{PatternBudget, PatternError};

use super::ast::{BinaryOp, Chain, CompareOp, Expr, Link, Many, Matching};
use super::error::ParseError;
use super::lex::{Spanned, Token, lex};

/// Loki's limit on a query's length.
const QUERY_BYTES_MAX: usize = 128 << 10;

/// Brackets may nest this deep: ten times what people write, and far from the end of the stack.
const DEPTH_MAX: usize = 64;

/// Reads a query as Loki does: a selector has to narrow something down.
pub fn parse(text: &str) -> Result<Expr, ParseError> {
    parse_with(text, Selectors::Narrow)
}

/// Reads a query in which a selector may also select every line, as `{} |= "word"` does. For weir's own API: there a search
/// has no labels to begin with, and its cost is bounded by the limits of a query.
pub fn parse_open(text: &str) -> Result<Expr, ParseError> {
    parse_with(text, Selectors::Any)
}

/// Which selectors are fine.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Selectors {
    /// Those with a matcher that does not match an empty value.
    Narrow,
    /// All.
    Any,
}

fn parse_with(text: &str, selectors: Selectors) -> Result<Expr, ParseError> {
    if text.len() > QUERY_BYTES_MAX {
        return Err(ParseError::at("", 0, format!("input size too long ({} > {QUERY_BYTES_MAX} bytes)", text.len())));
    }
    let mut parser = Parser { text, tokens: lex(text)?, next: 0, depth: 0, selectors, patterns: PatternBudget::default() };
    let expr = parser.expr(0)?;
    match parser.peek() {
        Token::End => Ok(expr),
        token => {
            let message =
                format!("syntax error: unexpected {}: {} after the end of the expression", token.kind(), token.describe());
            Err(parser.wrong(message))
        }
    }
}

/// What stands behind `and`, a comma or `or` in a condition on labels.
const ANOTHER_FILTER: &str = "another condition on a label";

/// What Loki's parser would name in the place of what is wanted, where it is one token.
fn expecting(wanted: &str) -> Option<&str> {
    Some(match wanted {
        _ if wanted.starts_with("a quoted text or ip") => "STRING or ip",
        _ if wanted.starts_with("a quoted") => "STRING",
        _ if wanted.starts_with("a number literal") => "NUMBER",
        _ if wanted.starts_with("a range aggregation's lines") => "NUMBER or { or (",
        "one of = != =~ !~" => "= or =~ or !~ or !=",
        _ if wanted == ANOTHER_FILTER => "IDENTIFIER or (",
        _ if wanted.starts_with("a label name or") => "IDENTIFIER or }",
        _ if wanted.starts_with("a label name") => "IDENTIFIER",
        _ if wanted.starts_with("a range") => "RANGE",
        "\"}\"" => "} or ,",
        _ => return wanted.strip_prefix('"')?.strip_suffix('"'),
    })
}

/// What is wrong with a regular expression, behind Loki's words for it.
fn in_words(error: &PatternError) -> String {
    match error {
        PatternError::Syntax { .. } => format!("error parsing regexp: {error}"),
        _ => error.to_string(),
    }
}

struct Parser<'a> {
    text: &'a str,
    tokens: Vec<Spanned>,
    next: usize,
    depth: usize,
    selectors: Selectors,
    /// What the patterns of matchers, filters and stages take.
    patterns: PatternBudget,
}

impl Parser<'_> {
    fn peek(&self) -> &Token {
        self.peek_at(0)
    }

    fn peek_at(&self, ahead: usize) -> &Token {
        self.tokens.get(self.next + ahead).map_or(&Token::End, |spanned| &spanned.token)
    }

    /// Byte where the next token begins.
    fn at(&self) -> usize {
        self.tokens.get(self.next).map_or(self.text.len(), |spanned| spanned.at)
    }

    fn advance(&mut self) -> Token {
        let token = self.peek().clone();
        self.next += 1;
        token
    }

    fn wrong(&self, message: impl Into<String>) -> ParseError {
        self.wrong_at(self.at(), message)
    }

    fn wrong_at(&self, at: usize, message: impl Into<String>) -> ParseError {
        ParseError::at(self.text, at, message)
    }

    fn unexpected<T>(&self, wanted: &str) -> Result<T, ParseError> {
        let (kind, found) = (self.peek().kind(), self.peek().describe());
        let expecting = expecting(wanted).map_or(String::new(), |token| format!(", expecting {token}"));
        Err(self.wrong(format!("syntax error: unexpected {kind}{expecting}: here is {found}, expected is {wanted}")))
    }

    fn is(&self, sign: &str) -> bool {
        matches!(self.peek(), Token::Punct(own) if *own == sign)
    }

    fn is_word(&self, word: &str) -> bool {
        matches!(self.peek(), Token::Ident(own) if own.eq_ignore_ascii_case(word))
    }

    fn take(&mut self, sign: &str) -> bool {
        let found = self.is(sign);
        self.next += usize::from(found);
        found
    }

    fn take_word(&mut self, word: &str) -> bool {
        let found = self.is_word(word);
        self.next += usize::from(found);
        found
    }

    fn want(&mut self, sign: &str) -> Result<(), ParseError> {
        if self.take(sign) { Ok(()) } else { self.unexpected(&format!("{sign:?}")) }
    }

    fn ident(&mut self, wanted: &str) -> Result<String, ParseError> {
        match self.peek() {
            Token::Ident(_) => match self.advance() {
                Token::Ident(name) => Ok(name),
                _ => self.unexpected(wanted),
            },
            _ => self.unexpected(wanted),
        }
    }

    fn string(&mut self, wanted: &str) -> Result<String, ParseError> {
        match self.peek().clone() {
            Token::String(text) => {
                self.next += 1;
                Ok(text)
            }
            _ => self.unexpected(wanted),
        }
    }

    /// A number with an optional minus.
    fn signed_number(&mut self, wanted: &str) -> Result<f64, ParseError> {
        let negative = self.take("-");
        match *self.peek() {
            Token::Number(number) => {
                self.next += 1;
                Ok(if negative { -number } else { number })
            }
            _ => self.unexpected(wanted),
        }
    }

    /// `( a, b )`; may be empty.
    fn names(&mut self) -> Result<Vec<String>, ParseError> {
        self.want("(")?;
        let mut names = Vec::new();
        while !self.is(")") {
            names.push(self.ident("a label name")?);
            if !self.take(",") {
                break;
            }
        }
        self.want(")")?;
        Ok(names)
    }

    /// Compiles a pattern that begins at byte `at`.
    fn pattern<T>(
        &mut self,
        at: usize,
        compile: impl FnOnce(&mut PatternBudget) -> Result<T, PatternError>,
    ) -> Result<T, ParseError> {
        compile(&mut self.patterns).map_err(|error| self.wrong_at(at, in_words(&error)))
    }

    /// A condition on a label whose value begins at byte `at`.
    fn matcher(&mut self, name: String, op: MatchOp, value: String, at: usize) -> Result<Matcher, ParseError> {
        let is_pattern = matches!(op, MatchOp::Regex | MatchOp::NotRegex);
        let value = if is_pattern { go_pattern::translate(&value).into_owned() } else { value };
        self.pattern(at, |patterns| Matcher::within(patterns, name, op, value))
    }

    fn deeper<T>(&mut self, inner: impl FnOnce(&mut Self) -> Result<T, ParseError>) -> Result<T, ParseError> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(self.wrong(format!("nested deeper than {DEPTH_MAX}")));
        }
        let result = inner(self);
        self.depth -= 1;
        result
    }

    /// Everything that binds at least as tight as `tightness`.
    fn expr(&mut self, tightness: u8) -> Result<Expr, ParseError> {
        self.deeper(|parser| {
            let start = parser.at();
            let mut first = parser.operand()?;
            let mut links: Vec<Link> = Vec::new();
            while let Some((op, own)) = parser.operator() {
                if own < tightness {
                    break;
                }
                let op_at = parser.at();
                parser.next += 1;
                let yields_bool = parser.bool_modifier(op)?;
                let matching = parser.matching(op)?;
                // ^ is right-associative, all others are left-associative.
                let right_at = parser.at();
                let right = parser.expr(if op == BinaryOp::Power { own } else { own + 1 })?;
                for (side, at, name) in [(&first, start, "left"), (&right, right_at, "right")] {
                    if matches!(side, Expr::Log(_) | Expr::Variants(_)) {
                        let message = format!(
                            "unexpected type for {name} leg of binary operation ({}): numbers are needed on both sides, this is no metric query",
                            op.as_str()
                        );
                        return Err(parser.wrong_at(at, message));
                    }
                }
                let left = if links.is_empty() { Some(&first) } else { None };
                parser.check_sides(op, op_at, left, &right, &matching)?;
                match (left, &right) {
                    // Numbers on both sides are computed at once, as Loki does.
                    (Some(Expr::Number(left)), Expr::Number(right)) => {
                        first = Expr::Number(super::eval::binary::scalar(op, *left, *right).unwrap_or(f64::NAN));
                    }
                    _ => links.push(Link { op, yields_bool, matching, right }),
                }
            }
            Ok(if links.is_empty() { first } else { Expr::Chain(Box::new(Chain { first, links })) })
        })
    }

    fn operator(&self) -> Option<(BinaryOp, u8)> {
        Some(match self.peek() {
            Token::Ident(word) => match word.to_ascii_lowercase().as_str() {
                "or" => (BinaryOp::Or, 1),
                "and" => (BinaryOp::And, 2),
                "unless" => (BinaryOp::Unless, 2),
                _ => return None,
            },
            Token::Punct(sign) => match *sign {
                "==" => (BinaryOp::Compare(CompareOp::Equal), 3),
                "!=" => (BinaryOp::Compare(CompareOp::NotEqual), 3),
                ">" => (BinaryOp::Compare(CompareOp::Greater), 3),
                ">=" => (BinaryOp::Compare(CompareOp::GreaterEqual), 3),
                "<" => (BinaryOp::Compare(CompareOp::Less), 3),
                "<=" => (BinaryOp::Compare(CompareOp::LessEqual), 3),
                "+" => (BinaryOp::Add, 4),
                "-" => (BinaryOp::Subtract, 4),
                "*" => (BinaryOp::Multiply, 5),
                "/" => (BinaryOp::Divide, 5),
                "%" => (BinaryOp::Modulo, 5),
                "^" => (BinaryOp::Power, 6),
                _ => return None,
            },
            _ => return None,
        })
    }

    fn bool_modifier(&mut self, op: BinaryOp) -> Result<bool, ParseError> {
        let at = self.at();
        let found = self.take_word("bool");
        if found && !matches!(op, BinaryOp::Compare(_)) {
            return Err(self.wrong_at(at, format!("bool stands only after a comparison, not after {:?}", op.as_str())));
        }
        Ok(found)
    }

    fn matching(&mut self, op: BinaryOp) -> Result<Matching, ParseError> {
        let mut matching = Matching::default();
        if !self.is_word("on") && !self.is_word("ignoring") {
            return Ok(matching);
        }
        matching.on = self.take_word("on") || !self.take_word("ignoring");
        matching.labels = self.names()?;
        let at = self.at();
        matching.many = match self.peek() {
            Token::Ident(word) if word.eq_ignore_ascii_case("group_left") => Many::Left,
            Token::Ident(word) if word.eq_ignore_ascii_case("group_right") => Many::Right,
            _ => return Ok(matching),
        };
        if matches!(op, BinaryOp::And | BinaryOp::Or | BinaryOp::Unless) {
            return Err(self.wrong_at(at, format!("{:?} takes no group_left or group_right", op.as_str())));
        }
        self.next += 1;
        if self.is("(") {
            matching.include = self.names()?;
        }
        Ok(matching)
    }

    /// `left` is `None` where it is a chain, which is no number.
    fn check_sides(
        &self,
        op: BinaryOp,
        at: usize,
        left: Option<&Expr>,
        right: &Expr,
        matching: &Matching,
    ) -> Result<(), ParseError> {
        let number = match (left, right) {
            (Some(Expr::Number(number)), _) => Some(("left", *number)),
            (_, Expr::Number(number)) => Some(("right", *number)),
            _ => None,
        };
        if let Some((side, number)) = number
            && matches!(op, BinaryOp::And | BinaryOp::Or | BinaryOp::Unless)
        {
            let op = op.as_str();
            let words = format!("unexpected literal for {side} leg of logical/set binary operation ({op}): {number:.6}");
            return Err(self.wrong_at(at, format!("{words}: vectors are needed on both sides")));
        }
        if number.is_some() && *matching != Matching::default() {
            return Err(self.wrong_at(at, "on, ignoring and group_… need vectors on both sides, a number is none"));
        }
        Ok(())
    }
}
