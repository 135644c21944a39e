//! A point's exemplars. Pure.

use weir_model::label::Labels;
use weir_model::metric::Exemplar;
use weir_model::time::UnixNanos;

use crate::admission::Admission;
use crate::otlp::attributes::RawList;
use crate::proto::Fields;
use crate::push_error::PushError;

/// Characters of an exemplar's labels, as in OpenMetrics. Where its attributes are too many it has those of its trace alone.
const CHARACTERS_MAX: usize = 128;
/// Memory of one beside its labels' texts.
const EXEMPLAR_BYTES: usize = 256;

/// `None` where there is nothing to lead to, or no value. `time` is that of its point.
pub(super) fn read(
    message: &[u8],
    time: UnixNanos,
    labels_max: usize,
    admission: &Admission,
) -> Result<Option<Exemplar>, PushError> {
    let (mut attributes, mut value, mut timestamp) = (RawList::default(), None, time);
    let (mut span_id, mut trace_id): (&[u8], &[u8]) = (&[], &[]);
    for field in Fields::new(message, "an exemplar") {
        match field? {
            (2, field) => timestamp = i64::try_from(field.fixed64()?).ok().filter(|time| *time > 0).unwrap_or(time),
            (3, field) => value = Some(f64::from_bits(field.fixed64()?)),
            (4, field) => span_id = field.bytes()?,
            (5, field) => trace_id = field.bytes()?,
            (6, field) => value = Some(field.fixed64()? as i64 as f64),
            (7, field) => attributes.push(field, labels_max, admission)?,
            _ => {}
        }
    }
    admission.charge(EXEMPLAR_BYTES + attributes.memory_of_labels())?;
    let ids = Labels::from_pairs([("span_id", hex::encode(id(span_id))), ("trace_id", hex::encode(id(trace_id)))]);
    let all = attributes.labels(|_| true).merged(&ids);
    let characters = all.iter().map(|(name, value)| name.chars().count() + value.chars().count()).sum::<usize>();
    let labels = if characters > CHARACTERS_MAX { ids } else { all };
    Ok(value.filter(|_| !labels.is_empty()).map(|value| Exemplar { labels, value, timestamp }))
}

/// As long as one may be.
fn id(bytes: &[u8]) -> &[u8] {
    &bytes[..bytes.len().min(16)]
}

#[cfg(test)]
mod tests {
    use prometheus_client::metrics::gauge::Gauge;

    use super::*;
    use crate::admission::Inflight;

    #[test]
    fn of_ids_that_repeat_the_last_is_kept() {
        let admission = Inflight::new(1 << 20, Gauge::default()).admit(&"t".into());
        let ids = [4 << 3 | 2, 1, 0xaa_u8, 5 << 3 | 2, 1, 0xbb];
        let last = [4 << 3 | 2, 1, 0xcc_u8, 3 << 3 | 1, 0, 0, 0, 0, 0, 0, 0, 0];
        let message = [&ids.repeat(1000)[..], &last].concat();
        let exemplar = read(&message, 7, 10, &admission).unwrap().unwrap();
        assert_eq!(exemplar.labels.to_string(), r#"{span_id="cc", trace_id="bb"}"#);
        assert_eq!((exemplar.value, exemplar.timestamp), (0.0, 7));
    }
}
