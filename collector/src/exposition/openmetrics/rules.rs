//! What the lines of a family must be together: one family after the other, metadata first and once, groups in order, values
//! that a type allows. Follows what the format's own test cases hold readers to. Pure; keeps one family at a time, and the
//! names of all.

use std::collections::HashSet;

use weir_model::label::Labels;
use weir_model::metric::{Family, MetricKind};

use super::histogram::{Group, Histogram};
use super::syntax::{Metadata, RawSample, Says, Wrong, wrong};

#[derive(Default)]
pub(super) struct Rules {
    /// Names of samples that a family has taken.
    taken: HashSet<String>,
    now: Option<FamilyNow>,
}

/// The family of the last line.
#[derive(Default)]
struct FamilyNow {
    name: String,
    kind: Option<MetricKind>,
    helped: bool,
    unit: Option<String>,
    /// Index in the exposition's families, when it has metadata.
    entry: Option<usize>,
    sampled: bool,
    group: Option<Group>,
    groups: HashSet<Labels>,
    histogram: Histogram,
}

fn suffixes(kind: MetricKind) -> &'static [&'static str] {
    match kind {
        MetricKind::Counter => &["_total", "_created"],
        MetricKind::Summary => &["", "_count", "_sum", "_created"],
        MetricKind::Histogram => &["_count", "_sum", "_bucket", "_created"],
        MetricKind::GaugeHistogram => &["_gcount", "_gsum", "_bucket"],
        MetricKind::Info => &["_info"],
        MetricKind::Unknown | MetricKind::Gauge | MetricKind::StateSet => &[""],
    }
}

/// The error that is met first.
fn first(earlier: Result<(), Wrong>, later: Result<(), Wrong>) -> Result<(), Wrong> {
    earlier.and(later)
}

impl Rules {
    pub fn metadata(&mut self, line: &Metadata<'_>, families: &mut Vec<Family>) -> Result<(), Wrong> {
        let mut closed = Ok(());
        if self.now.as_ref().is_none_or(|now| now.name != line.name) {
            closed = self.close();
            self.now = Some(FamilyNow { name: line.name.clone().into_owned(), ..FamilyNow::default() });
        }
        let Some(now) = &mut self.now else { return closed };
        first(closed, now.metadata(line, families))
    }

    pub fn sample(&mut self, sample: &RawSample<'_>) -> Result<(), Wrong> {
        let ours = |now: &FamilyNow| now.suffix_of(&sample.name).is_some();
        let mut closed = Ok(());
        if !self.now.as_ref().is_some_and(ours) {
            closed = self.close();
            self.now = Some(FamilyNow { name: sample.name.clone().into_owned(), ..FamilyNow::default() });
        }
        let Some(now) = &mut self.now else { return closed };
        first(closed, now.sample(sample))
    }

    /// The family is over.
    pub fn close(&mut self) -> Result<(), Wrong> {
        let Some(now) = self.now.take() else { return Ok(()) };
        let kind = now.kind.unwrap_or_default();
        let mut result = now.histogram.end();
        if let Some(unit) = now.unit.as_deref().filter(|unit| !unit.is_empty()) {
            if !now.name.strip_suffix(unit).is_some_and(|rest| rest.ends_with('_')) {
                result = first(result, wrong(0, format!("{} does not end with its unit _{unit}", now.name)));
            }
            if matches!(kind, MetricKind::Info | MetricKind::StateSet) {
                result = first(result, wrong(0, format!("{}: {} has no unit", now.name, kind.name())));
            }
        }
        let own = suffixes(kind).iter().filter(|suffix| !suffix.is_empty()).chain([&""]);
        for name in own.map(|suffix| format!("{}{suffix}", now.name)) {
            if self.taken.contains(&name) {
                result = first(result, wrong(0, format!("{name} belongs to a family that came before")));
            }
            self.taken.insert(name);
        }
        result
    }
}

impl FamilyNow {
    fn suffix_of<'a>(&self, name: &'a str) -> Option<&'a str> {
        let suffix = name.strip_prefix(&self.name)?;
        suffixes(self.kind.unwrap_or_default()).contains(&suffix).then_some(suffix)
    }

    fn metadata(&mut self, line: &Metadata<'_>, families: &mut Vec<Family>) -> Result<(), Wrong> {
        let entry = *self.entry.get_or_insert_with(|| {
            families.push(Family { name: line.name.clone().into_owned(), ..Family::default() });
            families.len() - 1
        });
        let late = if self.sampled { wrong(0, format!("metadata of {} after its samples", self.name)) } else { Ok(()) };
        let repeated = match &line.says {
            Says::Help(help) => {
                families[entry].help.clone_from(help);
                std::mem::replace(&mut self.helped, true)
            }
            Says::Kind(kind) => {
                families[entry].kind = *kind;
                self.kind.replace(*kind).is_some()
            }
            Says::Unit(unit) => {
                families[entry].unit.clone_from(unit);
                self.unit.replace(unit.clone()).is_some()
            }
        };
        let once = if repeated { wrong(0, format!("metadata of {} twice", self.name)) } else { Ok(()) };
        first(late, once)
    }

    fn sample(&mut self, sample: &RawSample<'_>) -> Result<(), Wrong> {
        self.sampled = true;
        let kind = self.kind.unwrap_or_default();
        let suffix = sample.name.strip_prefix(&self.name).unwrap_or_default();
        let comma = sample.comma.map_or(Ok(()), |at| wrong(at, "a comma before }"));
        let labels = first(comma, labels_allowed(kind, suffix, sample));
        let values = first(labels, value_allowed(kind, suffix, sample));
        let exemplars = first(values, exemplar_allowed(kind, suffix, sample));
        let group = Group { labels: self.group_labels(kind, suffix, sample), timestamp: sample.timestamp };
        let mut result = first(exemplars, self.in_order(kind, &group));
        if matches!(kind, MetricKind::Histogram | MetricKind::GaugeHistogram) {
            result = first(result, self.histogram.sample(suffix, sample, &group));
        }
        self.groups.insert(group.labels.clone());
        self.group = Some(group);
        result
    }

    /// The labels that the samples of one metric share. Groups of infos cannot be told apart.
    fn group_labels(&self, kind: MetricKind, suffix: &str, sample: &RawSample<'_>) -> Labels {
        let own = match (kind, suffix) {
            (MetricKind::Info, _) => return Labels::EMPTY,
            (MetricKind::Summary, "") => "quantile",
            (MetricKind::StateSet, _) => &self.name,
            (MetricKind::Histogram | MetricKind::GaugeHistogram, "_bucket") => "le",
            _ => "",
        };
        Labels::from_pairs(sample.labels.iter().filter(|(name, _)| name != own).map(|(name, value)| (&**name, value.as_str())))
    }

    fn in_order(&self, kind: MetricKind, group: &Group) -> Result<(), Wrong> {
        let Some(before) = &self.group else { return Ok(()) };
        if before.labels != group.labels {
            let again = self.groups.contains(&group.labels);
            return if again { wrong(0, format!("samples of {}{} are not together", self.name, group.labels)) } else { Ok(()) };
        }
        match (before.timestamp, group.timestamp) {
            (Some(before), Some(now)) if now < before && kind != MetricKind::Info => wrong(0, "time goes backwards in a group"),
            (Some(_), None) | (None, Some(_)) => wrong(0, "some samples of a group have a time and some have none"),
            _ => Ok(()),
        }
    }
}

fn labels_allowed(kind: MetricKind, suffix: &str, sample: &RawSample<'_>) -> Result<(), Wrong> {
    match (kind, suffix) {
        (MetricKind::StateSet, _) if sample.label(&sample.name).is_none() => {
            wrong(0, format!("a stateset needs a label named {}", sample.name))
        }
        (MetricKind::Summary, "") => match sample.label("quantile").map(str::parse::<f64>) {
            Some(Ok(quantile)) if (0.0..=1.0).contains(&quantile) => Ok(()),
            _ => wrong(0, "a summary needs a label quantile between 0 and 1"),
        },
        _ => Ok(()),
    }
}

fn value_allowed(kind: MetricKind, suffix: &str, sample: &RawSample<'_>) -> Result<(), Wrong> {
    let value = sample.value;
    let counts = matches!(
        (kind, suffix),
        (MetricKind::Counter, "_total")
            | (MetricKind::Histogram | MetricKind::Summary, "_sum" | "_count" | "_bucket")
            | (MetricKind::GaugeHistogram, "_bucket" | "_gcount")
    );
    let whole = matches!(suffix, "_bucket" | "_count" | "_gcount") && counts;
    let reason = match (kind, suffix) {
        _ if counts && (value.is_nan() || value < 0.0) => "must not be negative or NaN",
        _ if whole && value.fract() != 0.0 => "must be a whole number",
        (MetricKind::GaugeHistogram, "_gsum") if value.is_nan() => "must not be NaN",
        (MetricKind::Summary, "") if value < 0.0 => "must not be negative",
        (MetricKind::StateSet, _) if value != 0.0 && value != 1.0 => "must be 0 or 1",
        (MetricKind::Info, _) if value != 1.0 => "must be 1",
        _ => return Ok(()),
    };
    wrong(sample.value_at, format!("the value of {} {reason}", sample.name))
}

fn exemplar_allowed(kind: MetricKind, suffix: &str, sample: &RawSample<'_>) -> Result<(), Wrong> {
    let allowed = matches!(
        (kind, suffix),
        (MetricKind::Counter, "_total") | (MetricKind::Histogram | MetricKind::GaugeHistogram, "_bucket")
    );
    if allowed || sample.exemplar.is_none() {
        return Ok(());
    }
    wrong(sample.exemplar_at, "only a counter's total and a histogram's buckets have exemplars")
}
