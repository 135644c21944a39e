//! A tree back to text: what `/api/v1/format_query` answers, and what the test runner re-asks with `@`.

use std::fmt::{self, Display, Formatter};

use weir_model::label::{Matcher, NAME, is_label_name};

use super::ast::{Aggregate, At, Cardinality, Duration, DurationExpr, Edge, Expr, Kind, Link, Modifiers, Selector, Subquery};
use super::lex::format_duration_ms;

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
                modifiers(out, &selector.modifiers)
            }
            Kind::Range(range) => {
                selector_text(out, &range.selector)?;
                write!(out, "[{}]", range.range)?;
                out.write_str(match range.edge {
                    Edge::Plain => "",
                    Edge::Anchored => " anchored",
                    Edge::Smoothed => " smoothed",
                })?;
                modifiers(out, &range.selector.modifiers)
            }
            Kind::Subquery(inner) => subquery(out, inner),
            Kind::Call(function, arguments) => {
                write!(out, "{}(", function.name)?;
                list(out, arguments)?;
                out.write_str(")")
            }
            Kind::Aggregate(inner) => aggregate(out, inner),
            Kind::Chain(chain) => {
                write!(out, "{}", chain.first)?;
                chain.links.iter().try_for_each(|own| link(out, own))
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
            letter if letter.is_control() => out.push_str(&format!("\\u{:04x}", letter as u32)),
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
    list.iter().map(|text| name(text)).collect::<Vec<_>>().join(", ")
}

fn selector_text(out: &mut Formatter<'_>, selector: &Selector) -> fmt::Result {
    out.write_str(&selector.name)?;
    let skipped = usize::from(!selector.name.is_empty());
    let shown = |matcher: &Matcher| match matcher.op {
        weir_model::label::MatchOp::Equal if matcher.name == NAME && !is_label_name(&matcher.value) => quoted(&matcher.value),
        op => format!("{}{}{}", name(&matcher.name), op.as_str(), quoted(&matcher.value)),
    };
    let matchers: Vec<String> = selector.matchers.iter().skip(skipped).map(shown).collect();
    if matchers.is_empty() && !selector.name.is_empty() { Ok(()) } else { write!(out, "{{{}}}", matchers.join(",")) }
}

fn modifiers(out: &mut Formatter<'_>, modifiers: &Modifiers) -> fmt::Result {
    match modifiers.at {
        Some(At::Time(millis)) => write!(out, " @ {}.{:03}", sign_whole(millis), millis.unsigned_abs() % 1000)?,
        Some(At::Start) => out.write_str(" @ start()")?,
        Some(At::End) => out.write_str(" @ end()")?,
        None => {}
    }
    match &modifiers.offset {
        Some(Duration::Computed(expr, _)) => match **expr {
            DurationExpr::Chain(..) => write!(out, " offset ({expr})"),
            _ => write!(out, " offset {expr}"),
        },
        Some(offset) => write!(out, " offset {offset}"),
        None => Ok(()),
    }
}

fn sign_whole(millis: i64) -> String {
    format!("{}{}", if millis < 0 { "-" } else { "" }, millis.unsigned_abs() / 1000)
}

fn subquery(out: &mut Formatter<'_>, subquery: &Subquery) -> fmt::Result {
    write!(out, "{}[{}:", subquery.expr, subquery.range)?;
    if let Some(step) = &subquery.step {
        write!(out, "{step}")?;
    }
    out.write_str("]")?;
    modifiers(out, &subquery.modifiers)
}

fn aggregate(out: &mut Formatter<'_>, aggregate: &Aggregate) -> fmt::Result {
    out.write_str(aggregate.op.name())?;
    let grouping = names(&aggregate.grouping);
    if aggregate.without {
        write!(out, " without ({grouping}) ")?;
    } else if !grouping.is_empty() {
        write!(out, " by ({grouping}) ")?;
    }
    out.write_str("(")?;
    if let Some(param) = &aggregate.param {
        write!(out, "{param}, ")?;
    }
    write!(out, "{})", aggregate.expr)
}

/// An operator and its right side.
fn link(out: &mut Formatter<'_>, link: &Link) -> fmt::Result {
    let matching = &link.matching;
    write!(out, " {}", link.op.name())?;
    if link.returns_bool {
        out.write_str(" bool")?;
    }
    let side = match matching.cardinality {
        Cardinality::ManyToOne => "group_left",
        Cardinality::OneToMany => "group_right",
        _ => "",
    };
    if matching.on || !matching.labels.is_empty() || !side.is_empty() {
        write!(out, " {} ({})", if matching.on { "on" } else { "ignoring" }, names(&matching.labels))?;
    }
    if !side.is_empty() {
        write!(out, " {side} ({})", names(&matching.include))?;
    }
    match (matching.fill_left, matching.fill_right) {
        (Some(left), Some(right)) if left.to_bits() == right.to_bits() => write!(out, " fill ({})", number(left))?,
        (left, right) => {
            for (side, value) in [("left", left), ("right", right)] {
                if let Some(value) = value {
                    write!(out, " fill_{side} ({})", number(value))?;
                }
            }
        }
    }
    write!(out, " {}", link.rhs)
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
