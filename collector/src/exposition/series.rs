//! Of which family a sample is, by its name: `x_bucket` of the histogram `x`. Pure.

use std::collections::HashMap;

use weir_model::label::{Labels, NAME};
use weir_model::metric::{Family, MetricKind};

/// The families of a body that have more series than one, or another name than their series.
pub(super) struct Families<'a>(HashMap<&'a str, MetricKind>);

/// What a sample is to its family.
pub(super) struct Place {
    /// The family's name and the labels that the samples of one metric share.
    pub metric: Labels,
    /// `_bucket`, `_count`, `_created` and the like.
    pub suffix: &'static str,
}

fn suffixes(kind: MetricKind) -> &'static [&'static str] {
    match kind {
        MetricKind::Counter => &["", "_total", "_created"],
        MetricKind::Histogram => &["", "_bucket", "_count", "_sum", "_created"],
        MetricKind::Summary => &["", "_count", "_sum", "_created"],
        _ => &[],
    }
}

impl<'a> Families<'a> {
    pub fn of(families: &'a [Family], wanted: &[MetricKind]) -> Self {
        let wanted = families.iter().filter(|family| wanted.contains(&family.kind));
        Self(wanted.map(|family| (family.name.as_str(), family.kind)).collect())
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// `None` for a sample of another family.
    pub fn place(&self, labels: &Labels) -> Option<Place> {
        let name = labels.get(NAME);
        let known = ["_bucket", "_count", "_sum", "_created", "_total", ""];
        let (family, kind, suffix) = known.into_iter().find_map(|suffix| {
            let family = name.strip_suffix(suffix)?;
            let kind = *self.0.get(family)?;
            suffixes(kind).contains(&suffix).then_some((family, kind, suffix))
        })?;
        let own = match (kind, suffix) {
            (MetricKind::Histogram, "_bucket") => "le",
            (MetricKind::Summary, "") => "quantile",
            _ => "",
        };
        let shared = labels.iter().filter(|(name, _)| *name != own && *name != NAME);
        Some(Place { metric: Labels::from_pairs(shared.chain([(NAME, family)])), suffix })
    }
}
