//! Operands: numbers, brackets, aggregations, functions and log queries.

use super::{Parser, in_words};
use crate::ast::{
    Expr, Grouping, LabelReplace, LogExpr, RANGE_OPS, RangeAgg, RangeOp, Unit, Unwrap, VECTOR_OPS, Variants, VectorAgg, VectorOp,
};
use crate::error::ParseError;
use crate::lex::Token;

/// What stands in any order within a range aggregation, and at most once.
#[derive(Default)]
struct RangeClauses {
    range: Option<i64>,
    offset: Option<i64>,
    unwrap: Option<Unwrap>,
}

impl Parser<'_> {
    pub(super) fn operand(&mut self) -> Result<Expr, ParseError> {
        match self.peek().clone() {
            Token::Number(number) => {
                self.next += 1;
                Ok(Expr::Number(number))
            }
            Token::Punct("-" | "+") => {
                let negative = self.is("-");
                self.next += 1;
                match *self.peek() {
                    Token::Number(number) => {
                        self.next += 1;
                        Ok(Expr::Number(if negative { -number } else { number }))
                    }
                    _ => self.unexpected("a number (a sign stands only before number literals)"),
                }
            }
            Token::Punct("(") => {
                self.next += 1;
                let inner = self.expr(0)?;
                self.want(")")?;
                Ok(inner)
            }
            Token::Punct("{") => Ok(Expr::Log(self.log_expr()?)),
            Token::Ident(name) => self.call(&name.to_ascii_lowercase()),
            _ => self.unexpected("a selector such as {app=\"x\"}, a function or a number"),
        }
    }

    fn call(&mut self, name: &str) -> Result<Expr, ParseError> {
        let at = self.at();
        if let Some((_, op)) = RANGE_OPS.iter().find(|(known, _)| *known == name) {
            self.next += 1;
            return self.range_agg(name, *op, at);
        }
        if let Some((_, op)) = VECTOR_OPS.iter().find(|(known, _)| *known == name) {
            self.next += 1;
            return self.vector_agg(name, *op);
        }
        match name {
            "vector" => {
                self.next += 1;
                self.want("(")?;
                let Token::Number(number) = *self.peek() else { return self.unexpected("a number literal") };
                self.next += 1;
                self.want(")")?;
                Ok(Expr::VectorOf(number))
            }
            "label_replace" => {
                self.next += 1;
                self.label_replace()
            }
            "variants" if self.depth == 1 => {
                self.next += 1;
                self.variants()
            }
            "variants" => Err(self.wrong("syntax error: unexpected variants: it is a whole query, never a part of one")),
            _ => self.unexpected("a selector such as {app=\"x\"}, a known function or a number"),
        }
    }

    fn grouping(&mut self) -> Result<Option<Grouping>, ParseError> {
        let without = match self.peek() {
            Token::Ident(word) if word.eq_ignore_ascii_case("by") => false,
            Token::Ident(word) if word.eq_ignore_ascii_case("without") => true,
            _ => return Ok(None),
        };
        self.next += 1;
        Ok(Some(Grouping { without, labels: self.names()? }))
    }

    fn vector_agg(&mut self, name: &str, op: VectorOp) -> Result<Expr, ParseError> {
        let at = self.at();
        let before = self.grouping()?;
        self.want("(")?;
        let parameter = match op {
            VectorOp::Topk | VectorOp::Bottomk | VectorOp::ApproxTopk => Some(self.series_kept(name)?),
            _ => match self.peek() {
                Token::Number(number) if matches!(self.peek_at(1), Token::Punct(",")) => {
                    let message = format!("unsupported parameter for operation {name}({number}, : it takes only a vector");
                    return Err(self.wrong(message));
                }
                _ => None,
            },
        };
        let of_at = self.at();
        let of = self.expr(0)?;
        if matches!(of, Expr::Log(_)) {
            let next = self.peek().kind();
            let message = format!("syntax error: unexpected {next}: {name} needs numbers, such as count_over_time(… [5m]) makes");
            return Err(self.wrong_at(of_at, message));
        }
        if matches!(of, Expr::Number(_)) {
            return Err(self.wrong_at(of_at, format!("{name} needs a vector, not a number")));
        }
        self.want(")")?;
        let after = if before.is_none() { self.grouping()? } else { None };
        let grouping = before.or(after);
        match op {
            VectorOp::Sort | VectorOp::SortDesc if grouping.is_some() => {
                return Err(self.wrong_at(at, "sort and sort_desc doesn't allow grouping by or without"));
            }
            VectorOp::ApproxTopk if grouping.is_some() => {
                return Err(self.wrong_at(at, format!("grouping not allowed for {name} aggregation")));
            }
            _ => {}
        }
        Ok(Expr::Vector(Box::new(VectorAgg { op, parameter, grouping, of })))
    }

    /// k and the comma behind it.
    fn series_kept(&mut self, name: &str) -> Result<usize, ParseError> {
        let at = self.at();
        if !matches!(self.peek(), Token::Number(_) | Token::Punct("-")) {
            let unexpected = match self.peek() {
                Token::Ident(_) => format!("syntax error: unexpected {}: ", self.peek().kind()),
                _ => String::new(),
            };
            return Err(self.wrong(format!("{unexpected}parameter required for operation {name}: how many series it keeps")));
        }
        let number = self.signed_number("a number")?;
        if number < 1.0 {
            let message = format!("invalid parameter (must be greater than 0) {name}({number}: it is how many series are kept");
            return Err(self.wrong_at(at, message));
        }
        if number.fract() != 0.0 || number > 1e9 {
            let message = format!("invalid parameter {name}({number}, : a whole number of series is kept");
            return Err(self.wrong_at(at, message));
        }
        self.want(",")?;
        Ok(number as usize)
    }

    fn range_agg(&mut self, name: &str, op: RangeOp, at: usize) -> Result<Expr, ParseError> {
        self.want("(")?;
        let parameter = match op {
            RangeOp::Quantile => match self.peek().clone() {
                Token::Number(quantile) => {
                    self.next += 1;
                    self.want(",")?;
                    Some(quantile)
                }
                Token::Punct("-") => return self.unexpected("the quantile, a number from 0 to 1"),
                _ => return Err(self.wrong(format!("parameter required for operation {name}: the quantile, from 0 to 1"))),
            },
            _ => match self.peek() {
                Token::Number(number) => {
                    let words = format!("parameter {number} not supported for operation {name}");
                    return Err(self.wrong(format!("{words}: only quantile_over_time has one")));
                }
                _ => None,
            },
        };
        let mut agg = self.deeper(Parser::log_range)?;
        self.want(")")?;
        let grouping_at = self.at();
        agg.grouping = self.grouping()?;
        agg.op = op;
        agg.parameter = parameter;
        let plain = matches!(op, RangeOp::Count | RangeOp::Bytes | RangeOp::BytesRate);
        if plain && agg.unwrap.is_some() {
            return Err(self.wrong_at(at, format!("invalid aggregation {name} with unwrap: it counts lines or bytes")));
        }
        if !plain && !matches!(op, RangeOp::Rate | RangeOp::Absent) && agg.unwrap.is_none() {
            return Err(
                self.wrong_at(at, format!("invalid aggregation {name} without unwrap: add | unwrap label, whose value it takes"))
            );
        }
        let grouped = [
            RangeOp::Avg,
            RangeOp::Min,
            RangeOp::Max,
            RangeOp::Stddev,
            RangeOp::Stdvar,
            RangeOp::Quantile,
            RangeOp::First,
            RangeOp::Last,
        ];
        if agg.grouping.is_some() && !grouped.contains(&op) {
            return Err(
                self.wrong_at(grouping_at, format!("grouping not allowed for {name} aggregation: put sum by (…) around it"))
            );
        }
        Ok(Expr::Range(Box::new(agg)))
    }

    /// `variants(a, b) of ({…}[5m])`
    fn variants(&mut self) -> Result<Expr, ParseError> {
        self.want("(")?;
        let (mut each, mut places) = (Vec::new(), Vec::new());
        loop {
            places.push(self.at());
            each.push(self.expr(0)?);
            if !self.take(",") {
                break;
            }
        }
        self.want(")")?;
        if !self.take_word("of") {
            return self.unexpected("of and the lines, such as of ({app=\"x\"}[5m])");
        }
        self.want("(")?;
        let of_at = self.at();
        let RangeAgg { log, unwrap, range, offset, .. } = self.deeper(Parser::log_range)?;
        if !log.stages.is_empty() || unwrap.is_some() {
            let at = log.stages.first().map_or(of_at, |stage| stage.at);
            let message = "behind of stand streams and a range only: filters, parsers and unwrap belong to each variant";
            return Err(self.wrong_at(at, message));
        }
        self.want(")")?;
        for (one, at) in each.iter().zip(places) {
            let same = |agg: &RangeAgg| agg.range == range && agg.offset == offset && same_streams(&agg.log, &log);
            if !lines_of(one).is_some_and(same) {
                return Err(self
                    .wrong_at(at, "a variant is a range aggregation of the streams and the range behind of, or one around it"));
            }
        }
        Ok(Expr::Variants(Box::new(Variants { each, matchers: log.matchers, range, offset })))
    }

    /// `{…} | pipeline [5m] offset 1m`; the range may also stand before the pipeline, and behind brackets around the lines.
    fn log_range(&mut self) -> Result<RangeAgg, ParseError> {
        let mut clauses = RangeClauses::default();
        let log = self.lines(&mut clauses)?;
        let Some(range) = clauses.range else { return self.unexpected("a range such as [5m]") };
        let (unwrap, offset) = (clauses.unwrap, clauses.offset.unwrap_or(0));
        Ok(RangeAgg { op: RangeOp::Count, parameter: None, log, unwrap, range, offset, grouping: None })
    }

    fn lines(&mut self, clauses: &mut RangeClauses) -> Result<LogExpr, ParseError> {
        let mut log = if self.take("(") {
            let inner = self.deeper(|parser| parser.lines(clauses))?;
            self.want(")")?;
            inner
        } else if self.is("{") {
            self.selector()?
        } else {
            return self.unexpected("a range aggregation's lines, such as {app=\"x\"}");
        };
        loop {
            let at = self.at();
            if self.is("[") && clauses.range.is_none() {
                clauses.range = Some(self.range()?);
            } else if self.is_word("offset") && clauses.range.is_some() && clauses.offset.is_none() {
                self.next += 1;
                clauses.offset = Some(self.duration("an offset such as 5m")?);
            } else if self.is("|") && matches!(self.peek_at(1), Token::Ident(word) if word.eq_ignore_ascii_case("unwrap")) {
                if clauses.unwrap.is_some() {
                    return Err(self.wrong_at(at, "a query has one unwrap"));
                }
                self.next += 2;
                clauses.unwrap = Some(self.unwrap()?);
            } else if !self.at_stage() {
                return Ok(log);
            } else if let Some(unwrap) = &mut clauses.unwrap {
                self.want("|")?;
                let filter = self.label_filter()?;
                unwrap.filters.push(filter);
            } else {
                log.stages.push(self.stage()?);
            }
        }
    }

    fn range(&mut self) -> Result<i64, ParseError> {
        self.want("[")?;
        let at = self.at();
        if !matches!(self.peek(), Token::Duration(_) | Token::Punct("-")) && !matches!(self.peek_at(1), Token::Punct("]")) {
            return Err(self.wrong_at(at, "missing closing ']' in duration: a range is such as [5m]"));
        }
        let range = self.duration("a range such as 5m")?;
        if range <= 0 {
            return Err(self.wrong_at(at, "a range is longer than 0"));
        }
        self.want("]")?;
        Ok(range)
    }

    fn duration(&mut self, wanted: &str) -> Result<i64, ParseError> {
        let negative = self.take("-");
        match *self.peek() {
            Token::Duration(nanos) => {
                self.next += 1;
                Ok(if negative { -nanos } else { nanos })
            }
            _ => self.unexpected(wanted),
        }
    }

    /// What follows `| unwrap`.
    fn unwrap(&mut self) -> Result<Unwrap, ParseError> {
        let at = self.at();
        let name = self.ident("a label name")?;
        let (label, unit) = if self.take("(") {
            let unit = match name.as_str() {
                "duration" | "duration_seconds" => Unit::Duration,
                "bytes" => Unit::Bytes,
                _ => {
                    return Err(
                        self.wrong_at(at, format!("unwrap converts with bytes, duration or duration_seconds, not {name}"))
                    );
                }
            };
            let label = self.ident("a label name")?;
            self.want(")")?;
            (label, unit)
        } else {
            (name, Unit::Number)
        };
        Ok(Unwrap { label, unit, filters: Vec::new() })
    }

    fn label_replace(&mut self) -> Result<Expr, ParseError> {
        self.want("(")?;
        let of_at = self.at();
        let of = self.expr(0)?;
        if matches!(of, Expr::Log(_) | Expr::Number(_)) {
            return Err(self.wrong_at(of_at, "label_replace needs a vector"));
        }
        let mut texts = Vec::with_capacity(4);
        let mut pattern_at = 0;
        for wanted in ["the label to set", "the replacement", "the label to read", "the pattern"] {
            self.want(",")?;
            pattern_at = self.at();
            texts.push(self.string(wanted)?);
        }
        self.want(")")?;
        let [to, replacement, from, pattern_text] = <[String; 4]>::try_from(texts).expect("invariant: four were read");
        let compiled = self.patterns.compile_anchored(&pattern_text);
        let pattern = compiled
            .map_err(|error| self.wrong_at(pattern_at, format!("invalid regex in label_replace: {}", in_words(&error))))?;
        Ok(Expr::LabelReplace(Box::new(LabelReplace { of, to, replacement, from, pattern, pattern_text })))
    }
}

/// The range aggregation that others may stand around.
fn lines_of(mut expr: &Expr) -> Option<&RangeAgg> {
    loop {
        expr = match expr {
            Expr::Range(agg) => return Some(agg),
            Expr::Vector(outer) => &outer.of,
            _ => return None,
        }
    }
}

fn same_streams(one: &LogExpr, other: &LogExpr) -> bool {
    let written = |log: &LogExpr| log.matchers.iter().map(ToString::to_string).collect::<Vec<_>>();
    written(one) == written(other)
}
