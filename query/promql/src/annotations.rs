//! Warnings and hints that an evaluation leaves beside its answer, each with the position it is about.

use super::ast::Span;
use super::error::line_column;
use super::histogram::Merged;

/// How grave a note is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    /// The answer may be wrong.
    Warning,
    /// The query may not be what was meant.
    Info,
}

/// An answer carries at most this many notes of a level, as Prometheus' API does by default.
const ANNOTATIONS_MAX: usize = 10;

/// The notes of one evaluation, each once.
#[derive(Default)]
pub(crate) struct Annotations {
    notes: Vec<(Level, String, Span)>,
    monotonicity: Vec<Forced>,
    /// Annotations beyond [`ANNOTATIONS_MAX`], per level.
    dropped: [usize; 2],
}

/// What `histogram_quantile` had to mend, merged over steps and groups.
pub(crate) struct Forced {
    pub metric: String,
    pub span: Span,
    pub first_ms: i64,
    pub last_ms: i64,
    pub bucket_min: f64,
    pub bucket_max: f64,
    pub difference_max: f64,
    pub samples: usize,
}

impl Annotations {
    pub(crate) fn add(&mut self, level: Level, message: impl Into<String>, span: Span) {
        let note = (level, message.into(), span);
        if self.notes.contains(&note) {
            return;
        }
        if self.notes.iter().filter(|(own, ..)| *own == level).count() >= ANNOTATIONS_MAX {
            self.dropped[level as usize] += 1;
            return;
        }
        self.notes.push(note);
    }

    pub(crate) fn warn(&mut self, message: impl Into<String>, span: Span) {
        self.add(Level::Warning, message, span);
    }

    pub(crate) fn info(&mut self, message: impl Into<String>, span: Span) {
        self.add(Level::Info, message, span);
    }

    /// Exponential buckets and custom ones do not go together.
    pub(crate) fn mixed_schemas(&mut self, metric: &str, span: Span) {
        let message =
            format!("vector contains a mix of histograms with exponential and custom buckets schemas for metric name {metric:?}");
        self.warn(message, span);
    }

    /// What was done to make histograms one in an `operation`.
    pub(crate) fn merged(&mut self, merged: Merged, operation: &str, span: Span) {
        if merged.bounds {
            self.info(format!("mismatched custom buckets were reconciled during {operation}"), span);
        }
        if merged.resets_collide {
            self.warn(format!("conflicting counter resets during histogram {operation}"), span);
        }
    }

    pub(crate) fn forced(&mut self, forced: Forced) {
        let found = self.monotonicity.iter().position(|own| own.metric == forced.metric && own.span == forced.span);
        match found {
            Some(at) => {
                let own = &mut self.monotonicity[at];
                own.first_ms = own.first_ms.min(forced.first_ms);
                own.last_ms = own.last_ms.max(forced.last_ms);
                own.bucket_min = own.bucket_min.min(forced.bucket_min);
                own.bucket_max = own.bucket_max.max(forced.bucket_max);
                own.difference_max = own.difference_max.max(forced.difference_max);
                own.samples += forced.samples;
            }
            None if self.monotonicity.len() < ANNOTATIONS_MAX => self.monotonicity.push(forced),
            None => self.dropped[Level::Info as usize] += 1,
        }
    }

    /// The notes of a level as Prometheus prints them: `PromQL warning: … (1:7)`.
    pub(crate) fn texts(&self, level: Level, query: &str) -> Vec<String> {
        let place = |span: Span| {
            let (line, column) = line_column(query, span.start);
            format!("({line}:{column})")
        };
        let word = if level == Level::Warning { "warning" } else { "info" };
        let own = self.notes.iter().filter(|(own, ..)| *own == level);
        let mut texts: Vec<String> = own.map(|(_, message, span)| format!("PromQL {word}: {message} {}", place(*span))).collect();
        if level == Level::Info {
            texts.extend(self.monotonicity.iter().map(|forced| forced_text(forced, &place(forced.span))));
        }
        if self.dropped[level as usize] > 0 {
            texts.push(format!("{} more {word} annotations omitted", self.dropped[level as usize]));
        }
        texts
    }
}

fn forced_text(forced: &Forced, place: &str) -> String {
    let time = |millis: i64| weir_model::time::format_rfc3339(millis.div_euclid(1000).saturating_mul(weir_model::time::SECOND));
    let metric = if forced.metric.is_empty() { String::new() } else { format!(" for metric name {:?}", forced.metric) };
    format!(
        "PromQL info: input to histogram_quantile needed to be fixed for monotonicity (see \
         https://prometheus.io/docs/prometheus/latest/querying/functions/#histogram_quantile){metric}, from buckets {} to {}, \
         with a max diff of {}, over {} samples from {} to {} {place}",
        forced.bucket_min,
        forced.bucket_max,
        forced.difference_max,
        forced.samples,
        time(forced.first_ms),
        time(forced.last_ms)
    )
}

/// ` for metric name "x"`, or nothing when the name is not known.
pub(crate) fn for_metric(name: &str) -> String {
    if name.is_empty() { String::new() } else { format!(" for metric name {name:?}") }
}
