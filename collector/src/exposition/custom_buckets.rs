//! The series of a histogram, `_bucket`, `_count` and `_sum`, as one sample with custom buckets. Pure.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use weir_model::histogram::{Buckets, CUSTOM_BUCKETS_SCHEMA, Histogram, ResetHint, Span};
use weir_model::label::Labels;
use weir_model::metric::{MetricKind, STALE_NAN};

use super::series::Families;
use super::{Exposition, Sample};

/// What one histogram's series say at one time.
#[derive(Default)]
pub(crate) struct Classic {
    /// Upper bounds and how many observations are not above them.
    pub buckets: Vec<(f64, f64)>,
    pub count: Option<f64>,
    pub sum: Option<f64>,
}

impl Classic {
    /// `None` where buckets are missing or contradict each other.
    pub fn histogram(mut self) -> Option<Histogram> {
        self.buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
        let highest = self.buckets.last().filter(|(bound, _)| *bound == f64::INFINITY).map(|(_, count)| *count);
        let count = self.count.or(highest)?;
        if highest.is_none() {
            self.buckets.push((f64::INFINITY, count));
        }
        let ascend = self.buckets.windows(2).all(|pair| pair[0].0 < pair[1].0 && pair[0].1 <= pair[1].1);
        let fits = self.buckets.last().is_some_and(|(_, highest)| *highest == count);
        if !ascend || !fits || self.buckets.iter().any(|(bound, count)| bound.is_nan() || *count < 0.0) {
            return None;
        }
        let mut below = 0.0;
        let counts: Vec<f64> = self.buckets.iter().map(|(_, count)| count - std::mem::replace(&mut below, *count)).collect();
        let spans = vec![Span { offset: 0, length: u32::try_from(counts.len()).ok()? }];
        self.buckets.pop();
        Some(Histogram {
            schema: CUSTOM_BUCKETS_SCHEMA,
            reset: ResetHint::Unknown,
            is_integer: counts.iter().all(|count| count.fract() == 0.0),
            count,
            sum: self.sum.unwrap_or(0.0),
            zero_threshold: 0.0,
            zero_count: 0.0,
            positive: Buckets { spans, counts },
            negative: Buckets::default(),
            custom_bounds: self.buckets.into_iter().map(|(bound, _)| bound).collect(),
        })
    }
}

/// Turns the series of each histogram into one sample, where there is none already and they make one. With `keep` they stay beside it.
pub(crate) fn convert(exposition: &mut Exposition, keep: bool) {
    let families = Families::of(&exposition.families, &[MetricKind::Histogram]);
    if families.is_empty() {
        return;
    }
    let natives: HashSet<Labels> =
        exposition.samples.iter().filter(|sample| sample.histogram.is_some()).map(|sample| sample.labels.clone()).collect();
    let mut classics: HashMap<(Labels, Option<i64>), Classic> = HashMap::new();
    let mut places = Vec::with_capacity(exposition.samples.len());
    for sample in &exposition.samples {
        let place = families.place(&sample.labels).filter(|place| !natives.contains(&place.metric));
        let place = place.filter(|place| matches!(place.suffix, "_bucket" | "_count" | "_sum"));
        let key = place.as_ref().map(|place| (place.metric.clone(), sample.timestamp));
        if let (Some(place), Some(key)) = (place, &key) {
            let classic = classics.entry(key.clone()).or_default();
            match place.suffix {
                "_count" => classic.count = Some(sample.value),
                "_sum" => classic.sum = Some(sample.value),
                _ => classic.buckets.push((sample.labels.get("le").parse().unwrap_or(f64::NAN), sample.value)),
            }
        }
        places.push(key);
    }
    let convertible = |classic: Classic| classic.histogram().filter(|histogram| histogram.validate().is_ok());
    let mut histograms: HashMap<_, _> =
        classics.into_iter().filter_map(|(key, classic)| Some((key, (Some(Arc::new(convertible(classic)?)), 0)))).collect();
    let mut samples = Vec::with_capacity(places.len());
    let mut moved = Vec::with_capacity(places.len());
    for (sample, key) in std::mem::take(&mut exposition.samples).into_iter().zip(places) {
        let found = key.and_then(|key| Some((key.0.clone(), histograms.get_mut(&key)?)));
        let Some((labels, (histogram, at))) = found else {
            moved.push(samples.len());
            samples.push(sample);
            continue;
        };
        if let Some(histogram) = histogram.take() {
            *at = samples.len();
            samples.push(Sample { labels, value: STALE_NAN, histogram: Some(histogram), ..sample.clone() });
        }
        moved.push(*at);
        if keep {
            samples.push(sample);
        }
    }
    exposition.samples = samples;
    exposition.exemplars.iter_mut().for_each(|exemplar| exemplar.sample = moved[exemplar.sample]);
    // Lines of a histogram need not stand together.
    exposition.exemplars.sort_by_key(|exemplar| exemplar.sample);
}

#[cfg(test)]
mod tests {
    use weir_model::histogram::BUCKETS_MAX;

    use super::super::{openmetrics, text};
    use super::*;

    const BODY: &str = "# TYPE h histogram\nh_bucket{a=\"1\",le=\"1\"} 1\nh_bucket{a=\"1\",le=\"2\"} 1\nh_bucket{a=\"1\",le=\"+Inf\"} 4\n\
        h_sum{a=\"1\"} 9.5\nh_count{a=\"1\"} 4\nx 1\n";

    #[test]
    fn series_become_one_sample() {
        let names =
            |exposition: &Exposition| -> Vec<String> { exposition.samples.iter().map(|s| s.labels.to_string()).collect() };
        let mut exposition = text::parse(BODY).unwrap();
        convert(&mut exposition, false);
        assert_eq!(names(&exposition), [r#"{__name__="h", a="1"}"#, r#"{__name__="x"}"#]);
        let histogram = exposition.samples[0].histogram.as_ref().unwrap();
        assert_eq!((histogram.count, histogram.sum, histogram.is_integer), (4.0, 9.5, true));
        assert_eq!((&histogram.custom_bounds[..], &histogram.positive.counts[..]), (&[1.0, 2.0][..], &[1.0, 0.0, 3.0][..]));
        assert_eq!(histogram.validate(), Ok(()));
        let mut exposition = text::parse(BODY).unwrap();
        convert(&mut exposition, true);
        assert_eq!(exposition.samples.len(), 7);
        assert!(exposition.samples[0].histogram.is_some() && exposition.samples[1].histogram.is_none());
    }

    #[test]
    fn what_is_no_histogram_stays_as_it_is() {
        let unchanged = |body: &str| {
            let exposition = text::parse(body).unwrap();
            let mut converted = exposition.clone();
            convert(&mut converted, false);
            assert_eq!(converted, exposition, "{body}");
        };
        unchanged("# TYPE h histogram\nh_bucket{le=\"1\"} 3\nh_bucket{le=\"+Inf\"} 2\nh_count 2\n");
        unchanged("# TYPE h histogram\nh_bucket{le=\"+Inf\"} 2\nh_count 3\n");
        unchanged("# TYPE h histogram\nh_bucket{le=\"x\"} 2\nh_count 2\n");
        unchanged("# TYPE h histogram\nh_bucket{le=\"1\"} 2\nh_bucket{le=\"1\"} 2\nh_count 2\n");
        unchanged("# TYPE h histogram\nh_sum 2\n");
        unchanged("# TYPE h histogram\nh_bucket{le=\"-Inf\"} 1\nh_bucket{le=\"+Inf\"} 2\nh_count 2\n");
        let buckets: String = (0..=BUCKETS_MAX).map(|bound| format!("h_bucket{{le=\"{bound}\"}} 1\n")).collect();
        unchanged(&format!("# TYPE h histogram\n{buckets}h_count 1\n"));
        unchanged("# TYPE h gauge\nh_bucket{le=\"+Inf\"} 2\n");
    }

    #[test]
    fn exemplars_go_with_the_sample() {
        let body = "# TYPE h histogram\nh_bucket{le=\"1\"} 1 # {t=\"x\"} 0.5\nh_bucket{le=\"+Inf\"} 1 # {t=\"y\"} 0.5\nh_count 1\nh_sum 1\n\
            # TYPE c counter\nc_total 1 # {t=\"z\"} 1\n# EOF\n";
        let mut exposition = openmetrics::parse(body).unwrap();
        convert(&mut exposition, false);
        let of: Vec<usize> = exposition.exemplars.iter().map(|exemplar| exemplar.sample).collect();
        assert_eq!(of, [0, 0, 1]);
    }
}
