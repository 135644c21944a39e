//! Writes the tree of a query as LogQL again: for `format_query` and for messages. The text parses to the same tree.

use std::fmt;

use weir_model::time::format_duration;

use super::ast::{
    Chain, CompareOp, Expr, Extraction, Grouping, LabelChoice, LabelFilter, LabelFormat, LabelReplace, LineStage, Link, LogExpr,
    Many, Needle, RANGE_OPS, RangeAgg, Stage, StageKind, Unit, Unwrap, VECTOR_OPS, Variants, VectorAgg,
};

/// Writes items with a separator.
fn join<T: fmt::Display>(items: impl IntoIterator<Item = T>, between: &str) -> String {
    items.into_iter().map(|item| item.to_string()).collect::<Vec<_>>().join(between)
}

impl fmt::Display for Grouping {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} ({})", if self.without { "without" } else { "by" }, self.labels.join(", "))
    }
}

/// `{…} | unwrap x[5m] offset 1m`
fn log_range(out: &mut fmt::Formatter<'_>, lines: (&LogExpr, Option<&Unwrap>), range: i64, offset: i64) -> fmt::Result {
    write!(out, "{}", lines.0)?;
    if let Some(unwrap) = lines.1 {
        write!(out, "{unwrap}")?;
    }
    write!(out, "[{}]", format_duration(range))?;
    if offset == 0 { Ok(()) } else { write!(out, " offset {}", format_duration(offset)) }
}

impl fmt::Display for RangeAgg {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = RANGE_OPS.iter().find(|(_, op)| *op == self.op).map_or("", |(name, _)| name);
        let parameter = self.parameter.map_or(String::new(), |parameter| format!("{parameter}, "));
        write!(out, "{name}({parameter}")?;
        log_range(out, (&self.log, self.unwrap.as_ref()), self.range, self.offset)?;
        out.write_str(")")?;
        self.grouping.as_ref().map_or(Ok(()), |grouping| write!(out, " {grouping}"))
    }
}

impl fmt::Display for VectorAgg {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(VECTOR_OPS.iter().find(|(_, op)| *op == self.op).map_or("", |(name, _)| name))?;
        if let Some(grouping) = &self.grouping {
            write!(out, " {grouping} ")?;
        }
        let parameter = self.parameter.map_or(String::new(), |parameter| format!("{parameter}, "));
        write!(out, "({parameter}{})", self.of)
    }
}

/// An operand of a chain.
fn side(out: &mut fmt::Formatter<'_>, side: &Expr) -> fmt::Result {
    if matches!(side, Expr::Chain(_)) { write!(out, "({side})") } else { write!(out, "{side}") }
}

impl fmt::Display for Chain {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        side(out, &self.first)?;
        self.links.iter().try_for_each(|link| link.fmt(out))
    }
}

impl fmt::Display for Link {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, " {}", self.op.as_str())?;
        if self.yields_bool {
            out.write_str(" bool")?;
        }
        let matching = &self.matching;
        if matching.on || !matching.labels.is_empty() {
            write!(out, " {} ({})", if matching.on { "on" } else { "ignoring" }, matching.labels.join(", "))?;
        }
        match matching.many {
            Many::Neither => {}
            Many::Left => write!(out, " group_left ({})", matching.include.join(", "))?,
            Many::Right => write!(out, " group_right ({})", matching.include.join(", "))?,
        }
        out.write_str(" ")?;
        side(out, &self.right)
    }
}

impl fmt::Display for Expr {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Log(log) => log.fmt(out),
            Self::Range(range) => range.fmt(out),
            Self::Vector(vector) => vector.fmt(out),
            Self::Chain(chain) => chain.fmt(out),
            // What numbers come to that has no literal of its own.
            Self::Number(number) if number.is_nan() => out.write_str("(0 / 0)"),
            Self::Number(number) if number.is_infinite() => write!(out, "{}1e999", if *number < 0.0 { "-" } else { "" }),
            Self::Number(number) => number.fmt(out),
            Self::VectorOf(number) => write!(out, "vector({number})"),
            Self::LabelReplace(replace) => {
                let LabelReplace { of, to, replacement, from, pattern_text, .. } = &**replace;
                write!(out, "label_replace({of}, {to:?}, {replacement:?}, {from:?}, {pattern_text:?})")
            }
            Self::Variants(variants) => {
                let Variants { each, matchers, range, offset } = &**variants;
                let of = LogExpr { matchers: matchers.clone(), stages: Vec::new() };
                write!(out, "variants({}) of (", join(each, ", "))?;
                log_range(out, (&of, None), *range, *offset)?;
                out.write_str(")")
            }
        }
    }
}

impl fmt::Display for LogExpr {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{{{}}}", join(&self.matchers, ", "))?;
        self.stages.iter().try_for_each(|stage| write!(out, " {stage}"))
    }
}

impl fmt::Display for LineStage {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} {}", self.op, join(&self.any, " or "))
    }
}

impl fmt::Display for Needle {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => write!(out, "{text:?}"),
            Self::Ip(ip) => write!(out, "ip({:?})", ip.text),
        }
    }
}

impl fmt::Display for Extraction {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.label == self.path { out.write_str(&self.label) } else { write!(out, "{}={:?}", self.label, self.path) }
    }
}

impl fmt::Display for LabelChoice {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => out.write_str(name),
            Self::Match(matcher) => matcher.fmt(out),
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |name: &str, fields: &[Extraction]| match fields {
            [] => name.to_string(),
            _ => format!("{name} {}", join(fields, ", ")),
        };
        match &self.kind {
            StageKind::Line(line) => line.fmt(out),
            StageKind::Json(fields) => write!(out, "| {}", list("json", fields)),
            StageKind::Logfmt { strict, keep_empty, fields } => {
                let flags = [(*strict, " --strict"), (*keep_empty, " --keep-empty")];
                let flags: String = flags.iter().filter(|(set, _)| *set).map(|(_, flag)| *flag).collect();
                write!(out, "| {}", list(&format!("logfmt{flags}"), fields))
            }
            StageKind::JsonOrLogfmt => out.write_str("| json_or_logfmt"),
            StageKind::Regexp(regex) => write!(out, "| regexp {:?}", regex.as_str()),
            StageKind::Pattern(pattern) => write!(out, "| pattern {:?}", pattern.text),
            StageKind::Unpack => out.write_str("| unpack"),
            StageKind::Decolorize => out.write_str("| decolorize"),
            StageKind::LineFormat(template) => write!(out, "| line_format {template:?}"),
            StageKind::LabelFormat(formats) => {
                let one = |(name, format): &(String, LabelFormat)| match format {
                    LabelFormat::Rename(from) => format!("{name}={from}"),
                    LabelFormat::Template(template) => format!("{name}={template:?}"),
                };
                write!(out, "| label_format {}", join(formats.iter().map(one), ", "))
            }
            StageKind::Filter(filter) => write!(out, "| {filter}"),
            StageKind::Drop(choices) => write!(out, "| drop {}", join(choices, ", ")),
            StageKind::Keep(choices) => write!(out, "| keep {}", join(choices, ", ")),
        }
    }
}

impl fmt::Display for LabelFilter {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::And(all) => write!(out, "({})", join(all, " and ")),
            Self::Or(any) => write!(out, "({})", join(any, " or ")),
            Self::Text(matcher) => matcher.fmt(out),
            Self::Ip { name, ip, negated } => write!(out, "{name}{}ip({:?})", if *negated { "!=" } else { "=" }, ip.text),
            Self::Number { name, op, value, unit } => {
                let value = match unit {
                    Unit::Number => value.to_string(),
                    Unit::Duration => format_duration(*value as i64),
                    Unit::Bytes => format!("{value}B"),
                };
                let op = if *op == CompareOp::Equal { "==" } else { op.as_str() };
                write!(out, "{name} {op} {value}")
            }
        }
    }
}

impl fmt::Display for Unwrap {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.unit {
            Unit::Number => write!(out, " | unwrap {}", self.label)?,
            Unit::Duration => write!(out, " | unwrap duration({})", self.label)?,
            Unit::Bytes => write!(out, " | unwrap bytes({})", self.label)?,
        }
        self.filters.iter().try_for_each(|filter| write!(out, " | {filter}"))
    }
}
