//! Requests to delete records: as they travel and are stored, compiled for the engines, and the seam between the APIs that take them
//! and whoever carries them out. Pure.

use std::pin::Pin;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::clip;
use crate::label::{Labels, MatchOp, Matcher};
use crate::pattern::PatternBudget;
use crate::select::LineFilter;
use crate::time::{TimeRange, UnixNanos};
use crate::wire::Kind;

/// Bytes of the texts of one request: a query of Loki's API has at most 5 KiB by default there.
pub const DELETION_BYTES_MAX: usize = 16 << 10;

/// Of its compiled patterns: they are held for as long as the request is not processed. 250 of a kind take 64 MiB at most, and their
/// budget counts a usual pattern as 16 KiB.
const PATTERN_BYTES_MAX: usize = 256 << 10;

/// Which records of one tenant and kind are to go. Equal in all partitions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeletionRequest {
    /// Eight to sixteen hex digits, of all but `created`: a request that is made again has the same.
    pub id: String,
    pub tenant: String,
    /// As it was asked, for people.
    pub query: String,
    /// Label sets that pass all matchers of one of these; all when there is none. Of spans: the resource's attributes as labels.
    pub selectors: Vec<Vec<MatcherText>>,
    /// Of log lines: all must pass.
    pub filters: Vec<FilterText>,
    /// First timestamp, Unix nanoseconds; of spans: of their start.
    pub start: UnixNanos,
    /// Exclusive, Unix nanoseconds.
    pub end: UnixNanos,
    /// When it was made, by the clock of the process that took it; shown, and nothing goes by it.
    pub created: UnixNanos,
    /// Records stay on disk, unseen, for the cancel period, in which the request may be cancelled.
    pub can_cancel: bool,
}

/// A label matcher as text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MatcherText {
    pub name: String,
    pub op: MatchOp,
    pub value: String,
}

/// A line filter as text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum FilterText {
    /// Any of these occurs.
    Contains(Vec<String>),
    /// None of these occurs.
    NotContains(Vec<String>),
    /// Pattern.
    Matches(String),
    /// Pattern.
    NotMatches(String),
}

/// A request, ready to be asked of many records.
#[derive(Clone, Debug)]
pub struct Deletion {
    pub tenant: Arc<str>,
    selectors: Vec<Vec<Matcher>>,
    filters: Vec<LineFilter>,
    pub range: TimeRange,
}

/// The part of a request that says which records, as the APIs read it.
#[derive(Clone, Debug, Default)]
pub struct DeletionQuery {
    /// As it was asked.
    pub query: String,
    pub selectors: Vec<Vec<Matcher>>,
    pub filters: Vec<LineFilter>,
}

impl DeletionRequest {
    /// Errors with a sentence when its texts are too long, are no UTF-8, or its range is empty.
    pub fn new(
        (tenant, kind): (&str, Kind),
        asked: DeletionQuery,
        range: TimeRange,
        created: UnixNanos,
        can_cancel: bool,
    ) -> Result<Self, String> {
        let text = |matcher: &Matcher| MatcherText { name: matcher.name.clone(), op: matcher.op, value: matcher.value.clone() };
        let mut request = Self {
            id: String::new(),
            tenant: tenant.to_owned(),
            query: asked.query,
            selectors: asked.selectors.iter().map(|list| list.iter().map(text).collect()).collect(),
            filters: asked.filters.iter().map(filter_text).collect::<Result<_, _>>()?,
            start: range.start,
            end: range.end,
            created: 0,
            can_cancel,
        };
        let text = serde_json::to_vec(&request).map_err(|error| error.to_string())?;
        request.id = format!("{:016x}", xxhash_rust::xxh3::xxh3_64_with_seed(&text, kind as u64));
        request.created = created;
        request.check()?;
        Ok(request)
    }

    /// Whether it means everything of its tenant, whatever it is and whenever it was.
    pub fn is_whole(&self) -> bool {
        let range = TimeRange { start: self.start, end: self.end };
        self.selectors.is_empty() && self.filters.is_empty() && range == TimeRange::ALL
    }

    /// Errors with a sentence when its range is empty, its texts are too long, or its id is none. For what came over a wire.
    pub fn check(&self) -> Result<(), String> {
        if self.start >= self.end {
            return Err(format!("start ({}) is not before end ({})", self.start, self.end));
        }
        if self.id.is_empty() || self.id.len() > 16 || !self.id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(format!("{:?} is no id of a deletion", clip(&self.id)));
        }
        let bytes = serde_json::to_vec(self).map_err(|error| error.to_string())?.len();
        if bytes > DELETION_BYTES_MAX {
            return Err(format!("the request takes {bytes} bytes, at most {DELETION_BYTES_MAX} are taken"));
        }
        Ok(())
    }

    /// Errors with a sentence when a pattern does not compile, or all of them are too large. Not for async threads.
    pub fn compile(&self) -> Result<Deletion, String> {
        let (deletion, bytes) = self.compile_counted()?;
        if bytes > PATTERN_BYTES_MAX {
            return Err(format!("its patterns take {bytes} bytes compiled, at most {PATTERN_BYTES_MAX} are taken"));
        }
        Ok(deletion)
    }

    /// What it means, and the bytes that its patterns take.
    fn compile_counted(&self) -> Result<(Deletion, usize), String> {
        let mut patterns = PatternBudget::default();
        let mut matcher = |text: &MatcherText| Matcher::within(&mut patterns, &*text.name, text.op, &*text.value);
        let lists: Result<Vec<Vec<Matcher>>, _> =
            self.selectors.iter().map(|list| list.iter().map(&mut matcher).collect()).collect();
        let selectors = lists.map_err(|error| error.to_string())?;
        let filters: Result<_, _> = self.filters.iter().map(|filter| filter_of(filter, &mut patterns)).collect();
        let filters = filters?;
        Ok((Deletion { selectors, filters, ..self.everything() }, patterns.spent()))
    }

    /// What a request that was taken hides, and whether it can be read; its size was checked then. One that does not compile, which none
    /// should, hides all of its tenant's records in its range: what is deleted does not come to light again. Which it means is not known.
    pub fn compile_or_all(&self) -> (Deletion, bool) {
        self.compile_counted().map(|(deletion, _)| (deletion, true)).unwrap_or_else(|error| {
            tracing::error!(
                id = self.id,
                error,
                "a deletion cannot be read; all of its tenant in its range is hidden and stays on disk"
            );
            (self.everything(), false)
        })
    }

    /// All of the tenant's records in the range, whatever they say.
    fn everything(&self) -> Deletion {
        Deletion::everything_of(self.tenant.as_str().into(), TimeRange { start: self.start, end: self.end })
    }
}

impl Deletion {
    /// All of a tenant's records in the range, whatever they say.
    pub fn everything_of(tenant: Arc<str>, range: TimeRange) -> Self {
        Self { tenant, selectors: Vec::new(), filters: Vec::new(), range }
    }

    /// Whether records of a label set may be meant.
    pub fn is_of(&self, tenant: &str, labels: &Labels) -> bool {
        let passes = |list: &Vec<Matcher>| list.iter().all(|matcher| matcher.matches_labels(labels));
        *self.tenant == *tenant && (self.selectors.is_empty() || self.selectors.iter().any(passes))
    }

    /// Whether everything of its tenant goes, whatever it is and whenever it was.
    pub fn is_whole(&self) -> bool {
        self.selectors.is_empty() && self.filters.is_empty() && self.range == TimeRange::ALL
    }

    /// Whether a record of such a label set goes; `body` is empty but for log lines.
    pub fn has(&self, timestamp: UnixNanos, body: &[u8]) -> bool {
        self.range.contains(timestamp) && self.filters.iter().all(|filter| filter.passes(body))
    }

    /// Whether every record of such a label set from `first` to `last`, inclusive, goes.
    pub fn covers(&self, first: UnixNanos, last: UnixNanos) -> bool {
        self.filters.is_empty() && self.range.contains(first) && self.range.contains(last)
    }
}

fn filter_text(filter: &LineFilter) -> Result<FilterText, String> {
    let texts = |needles: &[Vec<u8>]| {
        let text = |needle: &Vec<u8>| String::from_utf8(needle.clone()).map_err(|_| "a line filter is not UTF-8".to_owned());
        needles.iter().map(text).collect::<Result<Vec<String>, String>>()
    };
    Ok(match filter {
        LineFilter::Contains(any) => FilterText::Contains(texts(any)?),
        LineFilter::NotContains(none) => FilterText::NotContains(texts(none)?),
        LineFilter::Matches(regex) => FilterText::Matches(regex.as_str().to_owned()),
        LineFilter::NotMatches(regex) => FilterText::NotMatches(regex.as_str().to_owned()),
    })
}

fn filter_of(filter: &FilterText, patterns: &mut PatternBudget) -> Result<LineFilter, String> {
    let needles = |texts: &[String]| texts.iter().map(|text| text.as_bytes().to_vec()).collect();
    let mut regex = |pattern: &str| patterns.compile_bytes(pattern).map_err(|error| error.to_string());
    Ok(match filter {
        FilterText::Contains(any) => LineFilter::Contains(needles(any)),
        FilterText::NotContains(none) => LineFilter::NotContains(needles(none)),
        FilterText::Matches(pattern) => LineFilter::Matches(regex(pattern)?),
        FilterText::NotMatches(pattern) => LineFilter::NotMatches(regex(pattern)?),
    })
}

const DAY: UnixNanos = 24 * 3600 * 1_000_000_000;
/// Processed requests are listed for so long since they were made: a week, in which people look what became of them.
const LISTED_AGE_MAX: UnixNanos = 7 * DAY;
/// Partitions remember what they have processed for so long since they accepted it: a day longer than it is listed, because they do not
/// accept it at the same moment, and what one has forgotten cannot be told from what it has never accepted.
pub const PROCESSED_AGE_MAX: UnixNanos = LISTED_AGE_MAX + DAY;

/// A request, and how far it is in all partitions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeletionStatus {
    pub kind: Kind,
    pub request: DeletionRequest,
    /// Partitions that the kind had when it was accepted, also those that have not accepted it.
    pub partitions: u32,
    /// Those in which its records are gone from the blocks.
    pub processed: u32,
}

impl DeletionStatus {
    pub fn is_processed(&self) -> bool {
        self.processed >= self.partitions
    }

    /// Whether it is shown: what is processed is for a week.
    pub fn is_listed(&self, now: UnixNanos) -> bool {
        !self.is_processed() || now.saturating_sub(self.request.created) <= LISTED_AGE_MAX
    }
}

/// What a partition knows of a request.
pub struct KnownDeletion<'a> {
    pub request: &'a DeletionRequest,
    pub is_processed: bool,
    /// Of the kind when it was accepted; zero where that was not noted.
    pub partitions: u32,
}

/// What an owner is told about deletions, of all of its partitions of the kinds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeletionOrder {
    pub kinds: Vec<Kind>,
    pub change: DeletionChange,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeletionChange {
    /// What lies on the bus now and is meant is unseen from the answer on.
    Accept(DeletionRequest),
    /// What was not deleted yet is seen again.
    Cancel { tenant: String, id: String },
}

/// Why a change was not made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeletionError {
    /// There is no such request.
    NotFound,
    /// It may not be, or no longer: a sentence.
    Refused(String),
    /// It is not known of some partitions: a sentence. The same change may be made again.
    Incomplete(String),
}

pub type DeletionFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T, DeletionError>> + Send + 'a>>;

/// Carries requests out: the owners of this process, or a query node's way to all owners.
pub trait Deletions: Send + Sync {
    /// Done in every partition of the kinds, or an error.
    fn change(&self, order: DeletionOrder) -> DeletionFuture<'_, ()>;
    /// Requests of a tenant, oldest first, as the newest manifests say.
    fn list<'a>(&'a self, kind: Kind, tenant: &'a str) -> DeletionFuture<'a, Vec<DeletionStatus>>;
    /// Deletes from blocks now what may not be cancelled any more, and answers when that is done.
    fn apply(&self) -> DeletionFuture<'_, ()>;
}

/// One status a request, oldest first: what each partition has of it that knows it, of so many that a kind has now.
pub fn sum_statuses<'a>(
    (kind, partitions): (Kind, u32),
    of_partitions: impl Iterator<Item = KnownDeletion<'a>>,
) -> Vec<DeletionStatus> {
    let mut sums: Vec<DeletionStatus> = Vec::new();
    for own in of_partitions {
        let at = sums.iter().position(|sum| sum.request.id == own.request.id).unwrap_or(sums.len());
        if at == sums.len() {
            sums.push(DeletionStatus { kind, request: own.request.clone(), partitions: 0, processed: 0 });
        }
        let noted = if own.partitions > 0 { own.partitions } else { partitions };
        sums[at].partitions = sums[at].partitions.max(noted);
        sums[at].processed += u32::from(own.is_processed);
    }
    sums.sort_by(|a, b| (a.request.created, &a.request.id).cmp(&(b.request.created, &b.request.id)));
    sums
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query() -> DeletionQuery {
        DeletionQuery {
            query: r#"{app="shop"} |= "card""#.into(),
            selectors: vec![vec![Matcher::equal("app", "shop")], vec![Matcher::new("app", MatchOp::Regex, "x.*").unwrap()]],
            filters: vec![LineFilter::Contains(vec![b"card".to_vec()])],
        }
    }

    #[test]
    fn a_request_made_again_is_the_same_and_another_is_not() {
        let range = TimeRange { start: 5, end: 9 };
        let make = |kind, query, range| DeletionRequest::new(("t", kind), query, range, 77, true).unwrap();
        let one = make(Kind::Logs, query(), range);
        let again = DeletionRequest::new(("t", Kind::Logs), query(), range, 99, true).unwrap();
        assert_eq!((one.id.len(), &one.id, again.created), (16, &again.id, 99));
        let others = [
            make(Kind::Metrics, query(), range),
            make(Kind::Logs, query(), TimeRange { end: 8, ..range }),
            make(Kind::Logs, DeletionQuery { filters: Vec::new(), ..query() }, range),
        ];
        assert!(others.iter().all(|other| other.id != one.id));
        assert!(DeletionRequest::new(("t", Kind::Logs), query(), TimeRange { start: 9, end: 9 }, 0, true).is_err());
        let long = DeletionQuery { query: "x".repeat(DELETION_BYTES_MAX), ..query() };
        assert!(DeletionRequest::new(("t", Kind::Logs), long, range, 0, true).is_err());
        let with = |id: &str| DeletionRequest { id: id.into(), ..one.clone() }.check().is_ok();
        assert_eq!(["1f", "", "xyz", "0123456789abcdef0"].map(with), [true, false, false, false]);
    }

    #[test]
    fn a_compiled_request_means_what_it_says() {
        let request = DeletionRequest::new(("t", Kind::Logs), query(), TimeRange { start: 5, end: 9 }, 0, true).unwrap();
        let deletion = request.compile().unwrap();
        let labels = |value: &str| Labels::from_pairs([("app", value)]);
        let of =
            [("t", "shop"), ("t", "xy"), ("t", "y"), ("u", "shop")].map(|(tenant, app)| deletion.is_of(tenant, &labels(app)));
        assert_eq!(of, [true, true, false, false]);
        let has = [(5, "a card"), (4, "a card"), (9, "a card"), (8, "none")].map(|(at, body)| deletion.has(at, body.as_bytes()));
        assert_eq!(has, [true, false, false, false]);
        assert!(!deletion.covers(5, 8), "it has a filter");
        let large = Matcher::new("app", MatchOp::Regex, r"\w{30}").unwrap();
        let asked = DeletionQuery { selectors: vec![vec![large]], ..query() };
        let large = DeletionRequest::new(("t", Kind::Logs), asked, TimeRange { start: 5, end: 9 }, 0, true).unwrap();
        assert!(large.compile().unwrap_err().contains("compiled"), "its patterns are too large");
        let whole = DeletionRequest::new(("t", Kind::Logs), DeletionQuery::default(), TimeRange::ALL, 0, false).unwrap();
        assert!(whole.compile().unwrap().is_whole() && !deletion.is_whole() && !request.everything().is_whole());
        let all = request.everything();
        assert!(all.is_of("t", &labels("y")) && all.covers(5, 8) && !all.covers(5, 9) && !all.is_of("u", &labels("y")));
    }

    #[test]
    fn a_request_is_processed_where_all_partitions_say_so() {
        let request =
            |created| DeletionRequest::new(("t", Kind::Logs), query(), TimeRange { start: 0, end: created }, created, true);
        let (old, new) = (request(1).unwrap(), request(2).unwrap());
        let of = |partitions, known: &[(&DeletionRequest, bool, u32)]| {
            let known = known.iter().map(|(request, is_processed, partitions)| KnownDeletion {
                request,
                is_processed: *is_processed,
                partitions: *partitions,
            });
            sum_statuses((Kind::Logs, partitions), known)
        };
        let sums = of(2, &[(&new, true, 0), (&old, true, 0), (&new, false, 0), (&old, true, 0)]);
        let said: Vec<_> = sums.iter().map(|sum| (sum.request.created, sum.is_processed(), sum.processed)).collect();
        assert_eq!(said, [(1, true, 2), (2, false, 1)]);
        let (week, later) = (LISTED_AGE_MAX + 1, LISTED_AGE_MAX + 2);
        let check = |what: &str, partitions, known: &[(&DeletionRequest, bool, u32)], expected: (bool, bool)| {
            let sums = of(partitions, known);
            assert!(sums[0].is_listed(week), "{what}: {sums:?}");
            assert_eq!((sums[0].is_processed(), sums[0].is_listed(later)), expected, "{what}: {sums:?}");
        };
        check("one has not accepted it", 3, &[(&old, true, 3), (&old, true, 3)], (false, true));
        check("one has not processed it", 3, &[(&old, true, 3), (&old, false, 3), (&old, true, 3)], (false, true));
        check("a partition was added", 3, &[(&old, true, 2), (&old, true, 2)], (true, false));
        check("it came again when a partition had been added", 3, &[(&old, true, 2), (&old, true, 3)], (false, true));
    }
}
