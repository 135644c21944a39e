//! The requests, as they travel: JSON, of which every field is checked before it is worked with.
//!
//! A request is what a reader was asked (`weir_model::select`), less what only the client's side needs.

use serde::{Deserialize, Serialize};
use weir_model::id::TraceId;
use weir_model::label::{Labels, MatchOp, Matcher};
use weir_model::pattern::PatternBudget;
use weir_model::scope::{Scope, TenantScope, Visible};
use weir_model::select::{LineFilter, LogSelect, MetricSelect, TraceSelect};
use weir_model::time::TimeRange;
use weir_model::wire::Kind;

use super::PROTOCOL;

/// To one owner, once for all of its partitions that matter.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HeadRequest {
    /// [`PROTOCOL`].
    pub protocol: u32,
    /// Which engine's partitions.
    pub kind: Kind,
    /// Which of them; one that the owner does not own is refused by itself.
    pub partitions: Vec<u32>,
    /// Whose records.
    pub tenant: String,
    /// Which of them may be seen; absent: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub visible: Option<VisibleQuery>,
    /// The client waits no longer than this, milliseconds.
    pub timeout_ms: u64,
    /// Of each partition's heads.
    #[serde(rename = "ask")]
    pub query: HeadQuery,
}

/// What is asked of one head.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "snake_case", deny_unknown_fields)]
pub enum HeadQuery {
    /// Log lines that pass: as many of the newest (oldest) as fit `page_bytes`; the answer says down (up) to when.
    Lines(LinesQuery),
    /// Streams that may have a line in the range.
    Streams(LinesQuery),
    /// Counts of lines by stream, level, bucket and metadata; answered in rows.
    Counts {
        /// Of which lines.
        lines: LinesQuery,
        /// Width of a bucket, nanoseconds, above 0.
        step: i64,
        /// Where one of them begins.
        origin: i64,
        /// Names of metadata that tells lines apart.
        metadata: Vec<String>,
    },
    /// Counts of lines by template, level and bucket; answered in rows.
    Templates {
        /// Of which lines.
        lines: LinesQuery,
        /// Width of a bucket, nanoseconds, above 0.
        step: i64,
        /// Where one of them begins.
        origin: i64,
    },
    /// A line by its identity with up to `context` neighbours of its stream on each side.
    Line {
        /// Of its record.
        offset: u64,
        /// In its record.
        ordinal: u32,
        /// Neighbours.
        context: usize,
    },
    /// The first `count` lines of exactly this stream: neighbours of a line that is sealed.
    First {
        /// The stream's labels.
        stream: Vec<(String, String)>,
        /// How many.
        count: usize,
    },
    /// Series with their samples.
    Samples(SamplesQuery),
    /// Series without.
    Series(SamplesQuery),
    /// Series with their exemplars.
    Exemplars(SamplesQuery),
    /// Metadata of all families.
    Families,
    /// Whole traces by id.
    Traces {
        /// At most [`TRACES_MAX`].
        ids: Vec<TraceId>,
    },
    /// Which traces pass; answered in rows.
    Search(SearchQuery),
    /// Services and operations with a span in the range.
    Operations(RangeQuery),
    /// Names of attributes in the range.
    AttributeNames(RangeQuery),
    /// Values of an attribute in the range.
    AttributeValues {
        /// When.
        range: RangeQuery,
        /// Which.
        name: String,
        /// At most so many.
        limit: usize,
    },
}

/// Traces asked for at once.
pub const TRACES_MAX: usize = 10_000;

/// A half-open range, Unix nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RangeQuery {
    /// Inclusive.
    pub start: i64,
    /// Exclusive.
    pub end: i64,
}

/// Lists of matchers on labels, or on a span's resource as labels: whatever passes all of one list may be seen.
pub type VisibleQuery = Vec<Vec<MatcherQuery>>;

/// Matchers of all lists of a [`VisibleQuery`], and lists: a principal has a policy a namespace, and a namespace a team.
pub const VISIBLE_MAX: usize = 10_000;

/// A label matcher.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MatcherQuery {
    /// Label.
    pub name: String,
    /// Comparison.
    pub op: MatchOp,
    /// Literal or pattern.
    pub value: String,
}

/// A line filter; needles in hex, since they may be any bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum FilterQuery {
    /// Any of these occurs.
    Contains(Vec<String>),
    /// None of these occurs.
    NotContains(Vec<String>),
    /// Pattern.
    Matches(String),
    /// Pattern.
    NotMatches(String),
}

/// Which log lines.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LinesQuery {
    /// On the stream.
    pub matchers: Vec<MatcherQuery>,
    /// Line timestamps.
    pub range: RangeQuery,
    /// On the line.
    pub filters: Vec<FilterQuery>,
    /// Which end of the range comes first when not all fit.
    pub newest_first: bool,
    /// Bytes of line bodies to answer with at most, but for lines of one nanosecond; 0 where none travel.
    pub page_bytes: u64,
}

/// Which series, and when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SamplesQuery {
    /// On the series.
    pub matchers: Vec<MatcherQuery>,
    /// Milliseconds, inclusive.
    pub start_ms: i64,
    /// Milliseconds, inclusive.
    pub end_ms: i64,
}

/// Which traces.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SearchQuery {
    /// Of a span's start.
    pub range: RangeQuery,
    /// `service.name`.
    pub service: Option<String>,
    /// Span name.
    pub operation: Option<String>,
    /// Names and texts.
    pub attributes: Vec<(String, String)>,
    /// Nanoseconds, inclusive.
    pub duration_min: Option<i64>,
    /// Nanoseconds, inclusive.
    pub duration_max: Option<i64>,
    /// Newest this many.
    pub limit: usize,
}

/// A live tail: lines of all partitions that the owner owns, as they enter a head.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TailQuery {
    /// [`PROTOCOL`].
    pub protocol: u32,
    /// Whose.
    pub tenant: String,
    /// Which of them may be seen; absent: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub visible: Option<VisibleQuery>,
    /// Which; `page_bytes` and `newest_first` do not matter.
    pub lines: LinesQuery,
}

impl HeadRequest {
    /// Refuses what this version does not speak.
    pub fn check(&self) -> Result<(), String> {
        check_protocol(self.protocol)
    }

    /// Whose records, and which. Errors as [`LinesQuery::select`]. Compiles: not for async threads.
    pub fn scope(&self) -> Result<Scope, String> {
        scope_in(&self.tenant, self.visible.as_ref())
    }
}

impl TailQuery {
    /// Refuses what this version does not speak.
    pub fn check(&self) -> Result<(), String> {
        check_protocol(self.protocol)
    }

    /// As the owner's reader is asked. Errors as [`LinesQuery::select`]. Compiles: not for async threads.
    pub fn select(&self) -> Result<LogSelect, String> {
        self.lines.select(&scope_in(&self.tenant, self.visible.as_ref())?)
    }
}

/// As the owner is told; `None` when all may be seen.
pub fn visible_out(visible: &Visible) -> Option<VisibleQuery> {
    visible.lists().map(|lists| lists.iter().map(|list| matchers_out(list)).collect())
}

fn scope_in(tenant: &str, visible: Option<&VisibleQuery>) -> Result<Scope, String> {
    let Some(lists) = visible else { return Ok(Scope::of(tenant)) };
    let matchers = lists.len().max(lists.iter().map(Vec::len).sum());
    if matchers > VISIBLE_MAX {
        return Err(format!("visible: {matchers} matchers are above {VISIBLE_MAX}"));
    }
    let mut patterns = PatternBudget::default();
    let lists = lists.iter().map(|list| matchers_in(list, &mut patterns)).collect::<Result<_, _>>();
    let visible = Visible::any_of(lists.map_err(|error| format!("visible: {error}"))?);
    Ok(TenantScope { tenant: tenant.into(), visible }.into())
}

fn check_protocol(protocol: u32) -> Result<(), String> {
    if protocol == PROTOCOL {
        return Ok(());
    }
    Err(format!("this weir speaks version {PROTOCOL} of the heads' protocol, it was asked in version {protocol}"))
}

impl From<TimeRange> for RangeQuery {
    fn from(range: TimeRange) -> Self {
        Self { start: range.start, end: range.end }
    }
}

impl From<RangeQuery> for TimeRange {
    fn from(range: RangeQuery) -> Self {
        Self { start: range.start, end: range.end }
    }
}

impl LinesQuery {
    /// As the reader was asked.
    pub fn new(select: &LogSelect, page_bytes: u64) -> Self {
        Self {
            matchers: matchers_out(&select.matchers),
            range: select.range.into(),
            filters: select.filters.iter().map(filter_out).collect(),
            newest_first: select.newest_first,
            page_bytes,
        }
    }

    /// As the owner's reader is asked. Errors name the matcher or filter that makes no sense, or with which the patterns are larger
    /// than those of one query may be. Compiles: not for async threads.
    pub fn select(&self, scope: &Scope) -> Result<LogSelect, String> {
        let mut patterns = PatternBudget::default();
        let matchers = matchers_in(&self.matchers, &mut patterns)?;
        Ok(LogSelect {
            scope: scope.clone(),
            matchers,
            range: self.range.into(),
            filters: self.filters.iter().map(|filter| filter_in(filter, &mut patterns)).collect::<Result<_, _>>()?,
            newest_first: self.newest_first,
        })
    }
}

impl SamplesQuery {
    /// As the reader was asked.
    pub fn new(select: &MetricSelect) -> Self {
        Self { matchers: matchers_out(&select.matchers), start_ms: select.start_ms, end_ms: select.end_ms }
    }

    /// As the owner's reader is asked. Errors and patterns as in [`LinesQuery::select`].
    pub fn select(&self, scope: &Scope) -> Result<MetricSelect, String> {
        let matchers = matchers_in(&self.matchers, &mut PatternBudget::default())?;
        Ok(MetricSelect { scope: scope.clone(), matchers, start_ms: self.start_ms, end_ms: self.end_ms })
    }
}

impl SearchQuery {
    /// As the reader was asked.
    pub fn new(select: &TraceSelect) -> Self {
        Self {
            range: select.range.into(),
            service: select.service.clone(),
            operation: select.operation.clone(),
            attributes: select.attributes.clone(),
            duration_min: select.duration_min,
            duration_max: select.duration_max,
            limit: select.limit,
        }
    }

    /// As the owner's reader is asked.
    pub fn select(&self, scope: &Scope) -> TraceSelect {
        TraceSelect {
            scope: scope.clone(),
            range: self.range.into(),
            service: self.service.clone(),
            operation: self.operation.clone(),
            attributes: self.attributes.clone(),
            duration_min: self.duration_min,
            duration_max: self.duration_max,
            limit: self.limit,
        }
    }
}

/// A label set as pairs.
pub fn pairs(labels: &Labels) -> Vec<(String, String)> {
    labels.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

fn matchers_out(matchers: &[Matcher]) -> Vec<MatcherQuery> {
    let out = |matcher: &Matcher| MatcherQuery { name: matcher.name.clone(), op: matcher.op, value: matcher.value.clone() };
    matchers.iter().map(out).collect()
}

fn matchers_in(matchers: &[MatcherQuery], patterns: &mut PatternBudget) -> Result<Vec<Matcher>, String> {
    let read = |matcher: &MatcherQuery| {
        Matcher::within(patterns, &matcher.name, matcher.op, &matcher.value).map_err(|error| error.to_string())
    };
    matchers.iter().map(read).collect()
}

fn filter_out(filter: &LineFilter) -> FilterQuery {
    let needles = |needles: &[Vec<u8>]| needles.iter().map(hex::encode).collect();
    match filter {
        LineFilter::Contains(any) => FilterQuery::Contains(needles(any)),
        LineFilter::NotContains(none) => FilterQuery::NotContains(needles(none)),
        LineFilter::Matches(regex) => FilterQuery::Matches(regex.as_str().to_owned()),
        LineFilter::NotMatches(regex) => FilterQuery::NotMatches(regex.as_str().to_owned()),
    }
}

fn filter_in(filter: &FilterQuery, patterns: &mut PatternBudget) -> Result<LineFilter, String> {
    let needles = |texts: &[String]| -> Result<Vec<Vec<u8>>, String> {
        texts.iter().map(|text| hex::decode(text).map_err(|error| format!("needle {text:?}: {error}"))).collect()
    };
    let mut regex = |pattern: &str| patterns.compile_bytes(pattern).map_err(|error| error.to_string());
    Ok(match filter {
        FilterQuery::Contains(any) => LineFilter::Contains(needles(any)?),
        FilterQuery::NotContains(none) => LineFilter::NotContains(needles(none)?),
        FilterQuery::Matches(pattern) => LineFilter::Matches(regex(pattern)?),
        FilterQuery::NotMatches(pattern) => LineFilter::NotMatches(regex(pattern)?),
    })
}
