//! Selectors, pipelines and conditions on labels.

use weir_model::label::Matcher;
use weir_model::select::LineFilter;

use crate::pipeline::ip::IpMatch;
use crate::pipeline::pattern::Pattern;

/// A stream selector and its pipeline.
#[derive(Clone, Debug)]
pub struct LogExpr {
    /// All must pass; at least one does not match the empty string.
    pub matchers: Vec<Matcher>,
    /// In order.
    pub stages: Vec<Stage>,
}

/// A stage and the byte of the query it begins at.
#[derive(Clone, Debug)]
pub struct Stage {
    pub kind: StageKind,
    pub at: usize,
}

/// What a stage does.
#[derive(Clone, Debug)]
pub enum StageKind {
    /// `|= "a" or "b"`
    Line(LineStage),
    /// `| json`, `| json a="b.c"`
    Json(Vec<Extraction>),
    /// `| logfmt --strict --keep-empty a, b="c"`
    Logfmt {
        /// A malformed pair is an error.
        strict: bool,
        /// Keys without a value become empty labels.
        keep_empty: bool,
        /// Only these; all when empty.
        fields: Vec<Extraction>,
    },
    /// `| json_or_logfmt`: what the line is; no line is broken for it.
    JsonOrLogfmt,
    /// `| regexp "(?P<a>.*)"`
    Regexp(regex::Regex),
    /// `| pattern "<a> - <_>"`
    Pattern(Pattern),
    /// `| unpack`
    Unpack,
    /// `| decolorize`
    Decolorize,
    /// `| line_format "…"`
    LineFormat(String),
    /// `| label_format a=b, c="{{.d}}"`
    LabelFormat(Vec<(String, LabelFormat)>),
    /// `| a="b" and c > 5`
    Filter(LabelFilter),
    /// `| drop a, b="c"`
    Drop(Vec<LabelChoice>),
    /// `| keep a, b="c"`
    Keep(Vec<LabelChoice>),
}

/// Line filters of one stage, with the text they were written in.
#[derive(Clone, Debug)]
pub struct LineStage {
    /// `|=`, `!=`, `|~`, `!~`, `|>` or `!>`.
    pub op: &'static str,
    /// Alternatives as written.
    pub any: Vec<Needle>,
    pub test: LineTest,
}

/// What a line filter looks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Needle {
    /// `"text"`, which the sign of the filter says how to read.
    Text(String),
    /// `ip("10.0.0.0/8")`
    Ip(IpMatch),
}

/// What a line is tested with.
#[derive(Clone, Debug)]
pub enum LineTest {
    /// What the store understands.
    Store(LineFilter),
    /// `|>` and `!>`: some pattern matches the whole line; `negated`: none does.
    Patterns {
        any: Vec<Pattern>,
        /// `!>`
        negated: bool,
    },
    /// `|=` and `!=` with an `ip(…)` among the alternatives; `negated`: none of them is in the line.
    Addresses { ips: Vec<IpMatch>, texts: LineFilter, negated: bool },
}

/// `label="expression"`, or just `label`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extraction {
    /// The label to set.
    pub label: String,
    /// Where its value is.
    pub path: String,
}

/// The right side of `label_format`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LabelFormat {
    /// `new=old`
    Rename(String),
    /// `new="{{.old}}"`
    Template(String),
}

/// A name, or a name with a condition, of `drop` and `keep`.
#[derive(Clone, Debug)]
pub enum LabelChoice {
    /// Whatever its value.
    Name(String),
    /// Only when it matches.
    Match(Matcher),
}

/// In a condition: the text of the line, as it is at this stage.
pub const LINE: &str = "__line__";

/// A condition on labels.
#[derive(Clone, Debug)]
pub enum LabelFilter {
    /// All of at least two. Lists, so that a long chain is not deep.
    And(Vec<LabelFilter>),
    /// Any of at least two.
    Or(Vec<LabelFilter>),
    /// `a="b"`, and `=~` and so on; of the line itself where the label is [`LINE`].
    Text(Matcher),
    /// `a = ip("10.0.0.0/8")`; `negated`: no such address is in its value.
    Ip { name: String, ip: IpMatch, negated: bool },
    /// `a > 5`, `a >= 5s`, `a < 20MB`
    Number {
        name: String,
        op: CompareOp,
        /// Right side; nanoseconds for durations.
        value: f64,
        /// How the label's value is read.
        unit: Unit,
    },
}

/// How a label's text is read as a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// A plain number.
    Number,
    /// A duration, in nanoseconds.
    Duration,
    /// A byte size.
    Bytes,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CompareOp {
    /// `==`
    Equal,
    /// `!=`
    NotEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterEqual,
    /// `<`
    Less,
    /// `<=`
    LessEqual,
}

impl CompareOp {
    /// Whether `left op right`.
    pub fn holds(self, left: f64, right: f64) -> bool {
        match self {
            Self::Equal => left == right,
            Self::NotEqual => left != right,
            Self::Greater => left > right,
            Self::GreaterEqual => left >= right,
            Self::Less => left < right,
            Self::LessEqual => left <= right,
        }
    }

    /// As written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Equal => "==",
            Self::NotEqual => "!=",
            Self::Greater => ">",
            Self::GreaterEqual => ">=",
            Self::Less => "<",
            Self::LessEqual => "<=",
        }
    }
}
