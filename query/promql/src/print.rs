//! A tree back to text in one line: what [`pretty`](super::pretty) splits, and what the test runner re-asks with `@`.

use std::fmt::{self, Display, Formatter};

use weir_model::label::{MatchOp, Matcher, NAME, is_label_name};

use super::ast::{Aggregate, At, Cardinality, Duration, DurationExpr, Edge, Expr, Kind, Link, Modifiers, Selector, Subquery};
use super::lex::format_duration_ms;
use super::parse::is_unquoted_label;

/// A float as PromQL writes it.
pub(crate) fn number(value: f64) -> String {
    match value {
        value if value.is_nan() => "NaN".into(),
        f64::INFINITY => "+Inf".into(),
        f64::NEG_INFINITY => "-Inf".into(),
        value => value.to_string(),
    }
}

impl Display for Expr {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        match &self.kind {
            Kind::Number(value, true) if (value * 1000.0).fract() == 0.0 && value.abs() < 1e15 => {
                out.write_str(&format_duration_ms((value * 1000.0) as i64))
            }
            // Without a sign: `+Inf ^ x` would read back as a sign before `Inf ^ x`.
            Kind::Number(value, _) if *value == f64::INFINITY => out.write_str("Inf"),
            Kind::Number(value, _) => out.write_str(&number(*value)),
            Kind::String(text) => out.write_str(&quoted(text)),
            Kind::Selector(selector) => {
                selector_text(out, selector)?;
                out.write_str(if selector.smoothed { " smoothed" } else { "" })?;
                out.write_str(&modifiers(&selector.modifiers))
            }
            Kind::Range(range) => {
                selector_text(out, &range.selector)?;
                write!(out, "[{}]", range.range)?;
                out.write_str(match range.edge {
                    Edge::Plain => "",
                    Edge::Anchored => " anchored",
                    Edge::Smoothed => " smoothed",
                })?;
                out.write_str(&modifiers(&range.selector.modifiers))
            }
            Kind::Subquery(inner) => write!(out, "{}{}", inner.expr, subquery_suffix(inner)),
            Kind::Call(function, arguments) => {
                write!(out, "{}(", function.name)?;
                list(out, arguments)?;
                out.write_str(")")
            }
            Kind::Aggregate(inner) => aggregate(out, inner),
            Kind::Chain(chain) => {
                write!(out, "{}", chain.first)?;
                chain.links.iter().try_for_each(|link| write!(out, "{} {}", operator(link), link.rhs))
            }
            Kind::Unary(negative, inner) => write!(out, "{}{inner}", if *negative { "-" } else { "+" }),
            Kind::Paren(inner) => write!(out, "({inner})"),
        }
    }
}

fn list(out: &mut Formatter<'_>, items: &[impl Display]) -> fmt::Result {
    for (i, item) in items.iter().enumerate() {
        write!(out, "{}{item}", if i == 0 { "" } else { ", " })?;
    }
    Ok(())
}

/// A string literal that reads back as the same string.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for letter in text.chars() {
        match letter {
            '"' | '\\' => out.extend(['\\', letter]),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            letter if letter.is_control() || letter == '\u{fffd}' => out.push_str(&format!("\\u{:04x}", letter as u32)),
            letter => out.push(letter),
        }
    }
    out.push('"');
    out
}

fn name(text: &str) -> String {
    if is_label_name(text) { text.to_owned() } else { quoted(text) }
}

fn names(list: &[String]) -> String {
    let name = |text: &String| if is_unquoted_label(text) { name(text) } else { quoted(text) };
    list.iter().map(name).collect::<Vec<_>>().join(", ")
}

fn selector_text(out: &mut Formatter<'_>, selector: &Selector) -> fmt::Result {
    out.write_str(&selector.name)?;
    let skipped = usize::from(!selector.name.is_empty());
    let shown = |matcher: &Matcher| match matcher.op {
        MatchOp::Equal if matcher.name == NAME && !matcher.value.is_empty() && !is_label_name(&matcher.value) => {
            quoted(&matcher.value)
        }
        op => format!("{}{}{}", name(&matcher.name), op.as_str(), quoted(&matcher.value)),
    };
    let mut matchers: Vec<String> = selector.matchers.iter().skip(skipped).map(shown).collect();
    matchers.sort_unstable();
    if matchers.is_empty() && !selector.name.is_empty() { Ok(()) } else { write!(out, "{{{}}}", matchers.join(",")) }
}

fn modifiers(modifiers: &Modifiers) -> String {
    let at = match modifiers.at {
        Some(At::Time(millis)) => format!(" @ {}.{:03}", sign_whole(millis), millis.unsigned_abs() % 1000),
        Some(At::Start) => " @ start()".to_owned(),
        Some(At::End) => " @ end()".to_owned(),
        None => String::new(),
    };
    match &modifiers.offset {
        Some(Duration::Computed(expr, _)) if matches!(**expr, DurationExpr::Chain(..)) => format!("{at} offset ({expr})"),
        Some(offset) => format!("{at} offset {offset}"),
        None => at,
    }
}

fn sign_whole(millis: i64) -> String {
    format!("{}{}", if millis < 0 { "-" } else { "" }, millis.unsigned_abs() / 1000)
}

/// What stands behind the expression: `[1h:5m] offset 1m`.
pub(crate) fn subquery_suffix(subquery: &Subquery) -> String {
    let step = subquery.step.as_ref().map(Duration::to_string).unwrap_or_default();
    format!("[{}:{step}]{}", subquery.range, modifiers(&subquery.modifiers))
}

impl Aggregate {
    /// What stands before its arguments: `sum by (a) `.
    pub(crate) fn head(&self) -> String {
        let (op, grouping) = (self.op.name(), names(&self.grouping));
        match self.without {
            true => format!("{op} without ({grouping}) "),
            false if grouping.is_empty() => op.to_owned(),
            false => format!("{op} by ({grouping}) "),
        }
    }
}

fn aggregate(out: &mut Formatter<'_>, aggregate: &Aggregate) -> fmt::Result {
    write!(out, "{}(", aggregate.head())?;
    if let Some(param) = &aggregate.param {
        write!(out, "{param}, ")?;
    }
    write!(out, "{})", aggregate.expr)
}

/// An operator with what belongs to it, and a space before it: ` == bool on (a)`.
pub(crate) fn operator(link: &Link) -> String {
    let (matching, mut out) = (&link.matching, format!(" {}", link.op.name()));
    if link.returns_bool {
        out.push_str(" bool");
    }
    let side = match matching.cardinality {
        Cardinality::ManyToOne => "group_left",
        Cardinality::OneToMany => "group_right",
        _ => "",
    };
    if matching.on || !matching.labels.is_empty() || !side.is_empty() {
        out.push_str(&format!(" {} ({})", if matching.on { "on" } else { "ignoring" }, names(&matching.labels)));
    }
    if !side.is_empty() {
        out.push_str(&format!(" {side} ({})", names(&matching.include)));
    }
    match (matching.fill_left, matching.fill_right) {
        (Some(left), Some(right)) if left.to_bits() == right.to_bits() => out.push_str(&format!(" fill ({})", number(left))),
        (left, right) => {
            for (side, value) in [("left", left), ("right", right)] {
                out.push_str(&value.map(|value| format!(" fill_{side} ({})", number(value))).unwrap_or_default());
            }
        }
    }
    out
}

impl Display for Duration {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Millis(millis) => out.write_str(&format_duration_ms(*millis)),
            Self::Computed(expr, _) => write!(out, "{expr}"),
        }
    }
}

impl Display for DurationExpr {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Literal(seconds, true) => out.write_str(&format_duration_ms((seconds * 1000.0).round() as i64)),
            Self::Literal(seconds, false) => out.write_str(&number(*seconds)),
            Self::Step => out.write_str("step()"),
            Self::Range => out.write_str("range()"),
            Self::Extreme(max, a, b) => write!(out, "{}({a}, {b})", if *max { "max_of" } else { "min_of" }),
            Self::Negative(inner) => write!(out, "-{inner}"),
            Self::Chain(first, links) => {
                write!(out, "{first}")?;
                links.iter().try_for_each(|(operator, own)| write!(out, " {operator} {own}"))
            }
            Self::Paren(inner) => write!(out, "({inner})"),
        }
    }
}
