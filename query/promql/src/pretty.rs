//! A tree to text of several lines, as `/api/v1/format_query` answers: what is longer than a line has its parts on lines of their own,
//! two spaces further in.

use std::fmt::{self, Display, Write};

use super::ast::{Aggregate, Chain, Expr, Kind};
use super::print::{operator, subquery_suffix};

/// What is longer is split.
const LINE_BYTES_MAX: usize = 100;
/// Lines are not moved further in than this: each operator of a chain is a level, and a query may have thousands.
const LEVELS_MAX: usize = 100;

/// The whole of a query.
pub fn pretty(expr: &Expr) -> String {
    let mut out = Pretty { text: String::new(), width: LINE_BYTES_MAX };
    out.expr(expr, 0);
    out.text
}

struct Pretty {
    text: String,
    width: usize,
}

impl Pretty {
    fn line(&mut self, level: usize, text: &str) {
        self.text.extend(std::iter::repeat_n("  ", level.min(LEVELS_MAX)));
        self.text.push_str(text);
    }

    fn expr(&mut self, expr: &Expr, level: usize) {
        let mut line = Line { text: String::new(), width: self.width };
        let is_long = !line.takes(expr);
        match &expr.kind {
            Kind::Call(function, arguments) if is_long => {
                self.line(level, function.name);
                self.text.push_str("(\n");
                for (i, argument) in arguments.iter().enumerate() {
                    self.text.push_str(if i == 0 { "" } else { ",\n" });
                    self.expr(argument, level + 1);
                }
                self.text.push('\n');
                self.line(level, ")");
            }
            Kind::Aggregate(aggregate) if is_long => self.aggregate(aggregate, level),
            Kind::Chain(chain) if is_long => self.chain(chain, level),
            Kind::Paren(inner) if is_long => {
                self.line(level, "(\n");
                self.expr(inner, level + 1);
                self.text.push('\n');
                self.line(level, ")");
            }
            Kind::Subquery(subquery) if is_long => {
                self.expr(&subquery.expr, level);
                self.text.push_str(&subquery_suffix(subquery));
            }
            Kind::Unary(negative, inner) if is_long => {
                self.line(level, if *negative { "-" } else { "+" });
                let start = self.text.len();
                self.expr(inner, level);
                let indent = self.text[start..].len() - self.text[start..].trim_start().len();
                self.text.replace_range(start..start + indent, "");
            }
            _ if is_long => self.line(level, &expr.to_string()),
            _ => self.line(level, &line.text),
        }
    }

    fn aggregate(&mut self, aggregate: &Aggregate, level: usize) {
        self.line(level, &aggregate.head());
        self.text.push_str("(\n");
        if let Some(param) = &aggregate.param {
            self.expr(param, level + 1);
            self.text.push_str(",\n");
        }
        self.expr(&aggregate.expr, level + 1);
        self.text.push('\n');
        self.line(level, ")");
    }

    /// The last operator stands at `level`, what is on its left one further in, and so on until it fits into a line.
    fn chain(&mut self, chain: &Chain, level: usize) {
        let (first, links) = (&chain.first, &chain.links[..]);
        let mut line = Line { text: String::new(), width: self.width };
        let mut split = 0;
        if line.takes(first) {
            split = links.iter().take_while(|link| line.takes(format_args!("{} {}", operator(link), link.rhs))).count();
        }
        let depth = level + links.len() - split;
        if split == 0 {
            self.expr(first, depth);
        } else {
            self.line(depth, &line.text);
        }
        for (i, link) in links[split..].iter().enumerate() {
            let level = depth - 1 - i;
            self.text.push('\n');
            self.line(level, operator(link).trim_start());
            self.text.push('\n');
            self.expr(&link.rhs, level + 1);
        }
    }
}

/// The text of a line for as long as it fits: that of a long part of a query is not made only to see that it is long.
struct Line {
    text: String,
    width: usize,
}

impl Line {
    /// Whether it fits behind what is there; what does not leaves no trace.
    fn takes(&mut self, more: impl Display) -> bool {
        let before = self.text.len();
        let fits = write!(self, "{more}").is_ok();
        if !fits {
            self.text.truncate(before);
        }
        fits
    }
}

impl Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if self.text.len() + text.len() > self.width {
            return Err(fmt::Error);
        }
        self.text.push_str(text);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crate::parse::parse;

    #[track_caller]
    fn check(width: usize, query: &str, expected: &str) {
        let expr = parse(query).unwrap();
        let mut out = super::Pretty { text: String::new(), width };
        out.expr(&expr, 0);
        assert_eq!(out.text, expected, "{query}");
        assert_eq!(parse(&out.text).unwrap().to_string(), expr.to_string(), "it reads back as the same");
    }

    #[test]
    fn what_is_longer_than_a_line_is_split() {
        check(100, "sum(rate(x[5m]))by(a)", "sum by (a) (rate(x[5m]))");
        check(10, "sum(rate(x[5m]))by(a)", "sum by (a) (\n  rate(\n    x[5m]\n  )\n)");
        check(10, "quantile(0.9, first)", "quantile(\n  0.9,\n  first\n)");
        check(10, "first + on(b) group_left second", "  first\n+ on (b) group_left ()\n  second");
        check(12, "a * b + c - d == bool 1", "    a * b + c\n  -\n    d\n== bool\n  1");
        check(10, "(first or second)", "(\n    first\n  or\n    second\n)");
        check(10, "-rate(x[5m])", "-rate(\n  x[5m]\n)");
        check(10, "rate(x[5m])[1h:5m]", "rate(\n  x[5m]\n)[1h:5m]");
        check(10, "x{b=\"1\", a=\"2\"}", "x{a=\"2\",b=\"1\"}");
    }

    #[test]
    fn a_chain_of_thousands_is_split_within_bounds() {
        let query = vec!["x"; 8_000].join(" + ");
        let text = super::pretty(&parse(&query).unwrap());
        assert!(text.starts_with("  ") && text.ends_with("\n+\n  x") && text.len() < 8_000 * 2 * 210, "{}", text.len());
    }
}
