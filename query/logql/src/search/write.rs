//! Writes a search as LogQL: line filters first, since the store finds their words in its index; then conditions on labels;
//! then, where a field is asked for, the parser and the conditions on what it finds.
//!
//! An `OR` between words and fields, or between several words at once, is no line filter: it becomes a condition in which
//! `__line__` is the line. Words of which one has to be there in any case are then asked for in front.

use weir_model::id::{SpanId, TraceId};

use super::parse::{Condition, Term, parse, span, trace};
use crate::ast::Expr;
use crate::error::ParseError;
use crate::parse::{STAGES, parse_open};

/// A condition with more words than this is not looked up in front: the lookup would cost more than it saves.
const NEEDLES_MAX: usize = 16;

/// What is looked for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Search<'a> {
    /// As typed; blank is every line.
    pub text: &'a str,
    /// Which streams: a LogQL selector; all when empty. LogQL in `text` has its own.
    pub selector: &'a str,
    /// Only lines of this trace: with its id in the record, or in the text.
    pub trace: Option<TraceId>,
    /// Only lines of this span, likewise.
    pub span: Option<SpanId>,
}

/// The search as LogQL for `parse_open`. Errors with the place in the text; and when a trace or span is asked of LogQL.
pub fn to_logql(search: &Search<'_>) -> Result<String, ParseError> {
    let mut clauses = Vec::new();
    if is_logql(search.text) {
        if search.trace.is_some() || search.span.is_some() {
            let message =
                "a trace or span is asked for beside a search text; this is LogQL, which can say | trace_id=\"…\" itself";
            return Err(ParseError::at(search.text, 0, message));
        }
        return Ok(search.text.to_owned());
    }
    if !search.text.trim().is_empty() {
        clauses.push(Clause::of(parse(search.text)?, false));
    }
    let ids = search.trace.map(trace).into_iter().chain(search.span.map(span));
    clauses.extend(ids.map(|term| Clause::of(term, false)));
    let selector = if search.selector.trim().is_empty() { "{}" } else { search.selector.trim() };
    Ok(write(selector, clauses))
}

/// What begins with `{`, and metric queries.
fn is_logql(text: &str) -> bool {
    text.trim_start().starts_with('{')
        || text.contains('{') && parse_open(text).is_ok_and(|expr| !matches!(expr, Expr::Number(_)))
}

/// A term whose negations stand at the conditions.
enum Clause {
    /// The condition, or (true) that it does not hold.
    Is(Condition, bool),
    All(Vec<Clause>),
    Any(Vec<Clause>),
}

impl Clause {
    fn of(term: Term, negated: bool) -> Self {
        let each = |terms: Vec<Term>| terms.into_iter().map(|term| Self::of(term, negated)).collect();
        match term {
            Term::Is(condition) => Self::Is(condition, negated),
            Term::Not(inner) => Self::of(*inner, !negated),
            Term::All(terms) if negated => Self::Any(each(terms)),
            Term::Any(terms) if negated => Self::All(each(terms)),
            Term::All(terms) => Self::All(each(terms)),
            Term::Any(terms) => Self::Any(each(terms)),
        }
    }

    /// What all have to hold, one by one.
    fn split(self, all: &mut Vec<Self>) {
        match self {
            Self::All(clauses) => clauses.into_iter().for_each(|clause| clause.split(all)),
            clause => all.push(clause),
        }
    }

    fn has_field(&self) -> bool {
        match self {
            Self::Is(condition, _) => matches!(condition, Condition::Field(..)),
            Self::All(clauses) | Self::Any(clauses) => clauses.iter().any(Self::has_field),
        }
    }

    /// As a line filter, if it is one.
    fn line_filter(&self) -> Option<String> {
        match self {
            Self::Is(Condition::Text(text), true) => Some(filter(("!=", "!~"), &[text])),
            Self::Is(Condition::Text(text), false) => Some(filter(("|=", "|~"), &[text])),
            Self::Any(clauses) => {
                let text = |clause: &'_ Self| matches!(clause, Self::Is(Condition::Text(_), false));
                clauses.iter().all(text).then(|| self.needles()).flatten().map(|texts| filter(("|=", "|~"), &texts))
            }
            _ => None,
        }
    }

    /// Texts of which one stands in every line that passes.
    fn needles(&self) -> Option<Vec<&str>> {
        match self {
            Self::Is(Condition::Text(text), false) => Some(vec![text]),
            Self::Is(..) => None,
            Self::All(clauses) => clauses.iter().filter_map(Self::needles).min_by_key(Vec::len),
            Self::Any(clauses) => clauses.iter().map(Self::needles).collect::<Option<Vec<_>>>().map(|texts| texts.concat()),
        }
    }

    /// As a condition on labels.
    fn condition(&self) -> String {
        let list = |clauses: &[Self], between: &str| {
            let one = |clause: &Self| match clause {
                Self::Is(..) => clause.condition(),
                _ => format!("({})", clause.condition()),
            };
            clauses.iter().map(one).collect::<Vec<_>>().join(between)
        };
        match self {
            Self::Is(Condition::Text(text), negated) => matches("__line__", *negated, &["", text, ""]),
            Self::Is(Condition::Field(name, value), negated) => {
                let pieces: Vec<&str> = value.iter().map(String::as_str).collect();
                matches(name, *negated, &pieces)
            }
            Self::Is(Condition::Label(name, values), negated) => match &values[..] {
                [value] => format!("{name}{}{}", if *negated { "!=" } else { "=" }, quoted(value)),
                values => format!("{name}{}{}", if *negated { "!~" } else { "=~" }, quoted(&values.join("|"))),
            },
            Self::All(clauses) => list(clauses, " and "),
            Self::Any(clauses) => list(clauses, " or "),
        }
    }
}

fn write(selector: &str, clauses: Vec<Clause>) -> String {
    let mut all = Vec::new();
    Clause::All(clauses).split(&mut all);
    let (mut filters, mut on_labels, mut on_fields) = (Vec::new(), Vec::new(), Vec::new());
    for clause in &all {
        if let Some(filter) = clause.line_filter() {
            filters.push(filter);
            continue;
        }
        filters.extend(clause.needles().filter(|texts| texts.len() <= NEEDLES_MAX).map(|texts| filter(("|=", "|~"), &texts)));
        let stages = if clause.has_field() { &mut on_fields } else { &mut on_labels };
        stages.push(stage(clause.condition()));
    }
    if !on_fields.is_empty() {
        on_labels.push("| json_or_logfmt".to_owned());
    }
    [vec![selector.to_owned()], filters, on_labels, on_fields].concat().join(" ")
}

/// A label that is called as a parser is asked for in brackets.
fn stage(condition: String) -> String {
    let name = condition.split(['=', '!']).next().unwrap_or_default();
    if STAGES.contains(&name.to_ascii_lowercase().as_str()) { format!("| ({condition})") } else { format!("| {condition}") }
}

/// `(literal, pattern)` are the signs of a line filter.
fn filter((literal, pattern): (&str, &str), texts: &[&str]) -> String {
    let exact = texts.iter().all(|text| !has_case(text));
    let one = |text: &&str| quoted(&if exact { (*text).to_owned() } else { any_case(text) });
    format!("{} {}", if exact { literal } else { pattern }, texts.iter().map(one).collect::<Vec<_>>().join(" or "))
}

/// A label's value is the pieces, with anything between them.
fn matches(name: &str, negated: bool, pieces: &[&str]) -> String {
    if let ([one], false) = (pieces, has_case(pieces[0])) {
        return format!("{name}{}{}", if negated { "!=" } else { "=" }, quoted(one));
    }
    let pattern = match pieces {
        // Any value at all.
        ["", ""] => ".+".to_owned(),
        pieces => {
            let escaped: Vec<String> = pieces.iter().map(|piece| regex::escape(piece)).collect();
            let flag = if pieces.iter().any(|piece| has_case(piece)) { "(?i)" } else { "" };
            format!("{flag}{}", escaped.join(".*"))
        }
    };
    format!("{name}{}{}", if negated { "!~" } else { "=~" }, quoted(&pattern))
}

fn has_case(text: &str) -> bool {
    text.chars().any(|letter| letter.is_lowercase() || letter.is_uppercase())
}

fn any_case(text: &str) -> String {
    format!("{}{}", if has_case(text) { "(?i)" } else { "" }, regex::escape(text))
}

/// As LogQL quotes it: in backquotes where that spares escapes.
fn quoted(text: &str) -> String {
    let control = |letter: char| letter.is_control();
    if text.contains(['\\', '"']) && !text.contains('`') && !text.contains(control) {
        return format!("`{text}`");
    }
    let mut out = String::from("\"");
    for letter in text.chars() {
        match letter {
            '"' | '\\' => out.extend(['\\', letter]),
            _ if letter.is_control() => out.push_str(&format!("\\u{:04x}", letter as u32)),
            _ => out.push(letter),
        }
    }
    out.push('"');
    out
}
