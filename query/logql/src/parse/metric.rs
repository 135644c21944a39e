//! Operands: numbers, brackets, aggregations, functions and log queries.

use weir_model::clip;

use super::Parser;
use crate::ast::{Expr, Grouping, LabelReplace, RANGE_OPS, RangeAgg, RangeOp, Unit, VECTOR_OPS, VectorAgg, VectorOp};
use crate::error::ParseError;
use crate::lex::Token;

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
            Token::Ident(name) => self.call(&name),
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
                let number = self.signed_number("a number literal")?;
                self.want(")")?;
                Ok(Expr::VectorOf(number))
            }
            "label_replace" => {
                self.next += 1;
                self.label_replace()
            }
            "approx_topk" | "variants" => Err(self.unsupported(at, name)),
            _ => Err(self.wrong(format!("unknown function {}", clip(name)))),
        }
    }

    fn grouping(&mut self) -> Result<Option<Grouping>, ParseError> {
        let without = match self.peek() {
            Token::Ident(word) if word == "by" => false,
            Token::Ident(word) if word == "without" => true,
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
            VectorOp::Topk | VectorOp::Bottomk => {
                let at = self.at();
                let number = self.signed_number(&format!("the number of series that {name} keeps"))?;
                if number < 1.0 || number.fract() != 0.0 || number > 1e9 {
                    return Err(self.wrong_at(at, format!("{name} keeps a whole number of series from 1 on, not {number}")));
                }
                self.want(",")?;
                Some(number as usize)
            }
            _ => None,
        };
        let of_at = self.at();
        let of = self.expr(0)?;
        if matches!(of, Expr::Log(_)) {
            return Err(
                self.wrong_at(of_at, format!("{name} needs numbers: put the log query into count_over_time(… [5m]) or rate"))
            );
        }
        if matches!(of, Expr::Number(_)) {
            return Err(self.wrong_at(of_at, format!("{name} needs a vector, not a number")));
        }
        self.want(")")?;
        let after = if before.is_none() { self.grouping()? } else { None };
        let grouping = before.or(after);
        if matches!(op, VectorOp::Sort | VectorOp::SortDesc) && grouping.is_some() {
            return Err(self.wrong_at(at, format!("{name} takes no by or without")));
        }
        Ok(Expr::Vector(Box::new(VectorAgg { op, parameter, grouping, of })))
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
                _ => return self.unexpected("the quantile, a number from 0 to 1"),
            },
            _ => None,
        };
        let mut agg = self.deeper(Parser::log_range)?;
        self.want(")")?;
        let grouping_at = self.at();
        agg.grouping = self.grouping()?;
        agg.op = op;
        agg.parameter = parameter;
        let plain = matches!(op, RangeOp::Count | RangeOp::Bytes | RangeOp::BytesRate);
        if plain && agg.unwrap.is_some() {
            return Err(self.wrong_at(at, format!("{name} counts lines and takes no unwrap")));
        }
        if !plain && !matches!(op, RangeOp::Rate | RangeOp::Absent) && agg.unwrap.is_none() {
            return Err(self.wrong_at(at, format!("{name} needs a value: add | unwrap label")));
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
            return Err(self.wrong_at(grouping_at, format!("{name} takes no grouping: put sum by (…) around it")));
        }
        Ok(Expr::Range(Box::new(agg)))
    }

    /// `{…} | pipeline [5m] offset 1m`; the range may also stand before the pipeline.
    fn log_range(&mut self) -> Result<RangeAgg, ParseError> {
        if self.take("(") {
            let inner = self.deeper(Parser::log_range)?;
            self.want(")")?;
            return Ok(inner);
        }
        let mut log = self.selector()?;
        let mut range = None;
        let mut offset = None;
        let mut unwrap = None;
        loop {
            let at = self.at();
            if self.is("[") && range.is_none() {
                range = Some(self.range()?);
            } else if self.is_word("offset") && range.is_some() && offset.is_none() {
                self.next += 1;
                offset = Some(self.duration("an offset such as 5m")?);
            } else if self.is("|") && matches!(self.peek_at(1), Token::Ident(word) if word == "unwrap") {
                if unwrap.is_some() {
                    return Err(self.wrong_at(at, "a query has one unwrap"));
                }
                self.next += 2;
                unwrap = Some(self.unwrap()?);
            } else if !self.at_stage() {
                break;
            } else if let Some(unwrap) = &mut unwrap {
                self.want("|")?;
                let filter = self.label_filter()?;
                let unwrap: &mut crate::ast::Unwrap = unwrap;
                unwrap.filters.push(filter);
            } else {
                log.stages.push(self.stage()?);
            }
        }
        let Some(range) = range else { return self.unexpected("a range such as [5m]") };
        Ok(RangeAgg { op: RangeOp::Count, parameter: None, log, unwrap, range, offset: offset.unwrap_or(0), grouping: None })
    }

    fn range(&mut self) -> Result<i64, ParseError> {
        self.want("[")?;
        let at = self.at();
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
    fn unwrap(&mut self) -> Result<crate::ast::Unwrap, ParseError> {
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
        Ok(crate::ast::Unwrap { label, unit, filters: Vec::new() })
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
        let pattern = self.pattern(pattern_at, |patterns| patterns.compile_anchored(&pattern_text))?;
        Ok(Expr::LabelReplace(Box::new(LabelReplace { of, to, replacement, from, pattern, pattern_text })))
    }
}
