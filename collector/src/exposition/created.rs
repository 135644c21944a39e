//! OpenMetrics' `_created` as what it says of the other samples of its metric: since when they count. Pure.

use std::collections::HashMap;

use weir_model::label::Labels;
use weir_model::metric::MetricKind;

use super::Exposition;
use super::series::Families;

const KINDS: [MetricKind; 3] = [MetricKind::Counter, MetricKind::Histogram, MetricKind::Summary];

/// Takes the samples named `_created` out, each of which becomes the start of the others of its metric.
pub(crate) fn become_starts(exposition: &mut Exposition) {
    let families = Families::of(&exposition.families, &KINDS);
    let places: Vec<_> = exposition.samples.iter().map(|sample| families.place(&sample.labels)).collect();
    let mut starts: HashMap<&Labels, i64> = HashMap::new();
    for (sample, place) in exposition.samples.iter().zip(&places) {
        if let Some(place) = place.as_ref().filter(|place| place.suffix == "_created") {
            // From seconds; what is no time is 0, which says nothing.
            starts.insert(&place.metric, (sample.value * 1e9) as i64);
        }
    }
    if starts.is_empty() {
        return;
    }
    let mut moved = Vec::with_capacity(places.len());
    let mut kept = Vec::with_capacity(places.len());
    for (mut sample, place) in std::mem::take(&mut exposition.samples).into_iter().zip(&places) {
        if let Some(place) = place {
            if place.suffix == "_created" {
                moved.push(None);
                continue;
            }
            sample.start = starts.get(&place.metric).copied().filter(|start| *start > 0);
        }
        moved.push(Some(kept.len()));
        kept.push(sample);
    }
    exposition.samples = kept;
    // One of a line that is taken out goes with it.
    exposition.exemplars.retain_mut(|exemplar| {
        let place = moved[exemplar.sample];
        exemplar.sample = place.unwrap_or_default();
        place.is_some()
    });
}

#[cfg(test)]
mod tests {
    use super::super::openmetrics;
    use super::*;

    #[test]
    fn a_metric_counts_since_it_was_created() {
        let body = "# TYPE c counter\nc_created{a=\"1\"} 1.5\nc_total{a=\"1\"} 2 # {t=\"x\"} 1\nc_total{a=\"2\"} 3\n\
            # TYPE h histogram\nh_bucket{le=\"1.0\"} 1\nh_bucket{le=\"+Inf\"} 2\nh_count 2\nh_sum 3\nh_created 2\n\
            # TYPE s summary\ns{quantile=\"0.5\"} 1\ns_count 1\ns_created NaN\n# TYPE g gauge\ng_created 7\n# EOF\n";
        let mut exposition = openmetrics::parse(body).unwrap();
        become_starts(&mut exposition);
        let seen: Vec<_> = exposition.samples.iter().map(|sample| (sample.labels.to_string(), sample.start)).collect();
        let expected = [
            (r#"{__name__="c_total", a="1"}"#, Some(1_500_000_000)),
            (r#"{__name__="c_total", a="2"}"#, None),
            (r#"{__name__="h_bucket", le="1.0"}"#, Some(2_000_000_000)),
            (r#"{__name__="h_bucket", le="+Inf"}"#, Some(2_000_000_000)),
            (r#"{__name__="h_count"}"#, Some(2_000_000_000)),
            (r#"{__name__="h_sum"}"#, Some(2_000_000_000)),
            (r#"{__name__="s", quantile="0.5"}"#, None),
            (r#"{__name__="s_count"}"#, None),
            (r#"{__name__="g_created"}"#, None),
        ];
        assert_eq!(seen, expected.map(|(labels, start)| (labels.to_owned(), start)));
        assert_eq!(exposition.exemplars[0].sample, 0, "it is still that of c_total");
    }

    #[test]
    fn an_exemplar_of_what_is_taken_out_goes_with_it() {
        let body = "# TYPE c counter\nc_created 1 # {t=\"x\"} 1\nc_total 2 # {t=\"y\"} 1\n\
            # TYPE d counter\nd_total 2\nd_created 1 # {t=\"z\"} 1\n# EOF\n";
        let mut exposition = openmetrics::read(body).unwrap().0;
        assert_eq!(exposition.exemplars.len(), 3);
        become_starts(&mut exposition);
        let seen: Vec<_> = exposition.exemplars.iter().map(|one| (one.sample, one.labels.get("t"))).collect();
        assert_eq!(seen, [(0, "y")]);
    }
}
