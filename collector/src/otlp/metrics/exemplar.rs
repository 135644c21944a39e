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
    let (mut attributes, mut value, mut timestamp, mut ids) = (RawList::default(), None, time, Vec::new());
    for field in Fields::new(message, "an exemplar") {
        match field? {
            (2, field) => timestamp = i64::try_from(field.fixed64()?).ok().filter(|time| *time > 0).unwrap_or(time),
            (3, field) => value = Some(f64::from_bits(field.fixed64()?)),
            (4, field) => ids.push(("span_id", hex::encode(id(field.bytes()?)))),
            (5, field) => ids.push(("trace_id", hex::encode(id(field.bytes()?)))),
            (6, field) => value = Some(field.fixed64()? as i64 as f64),
            (7, field) => attributes.push(field, labels_max, admission)?,
            _ => {}
        }
    }
    admission.charge(EXEMPLAR_BYTES + attributes.memory_of_labels())?;
    let ids = Labels::from_pairs(ids.iter().map(|(name, id)| (*name, id.as_str())));
    let all = attributes.labels(|_| true).merged(&ids);
    let characters = all.iter().map(|(name, value)| name.chars().count() + value.chars().count()).sum::<usize>();
    let labels = if characters > CHARACTERS_MAX { ids } else { all };
    Ok(value.filter(|_| !labels.is_empty()).map(|value| Exemplar { labels, value, timestamp }))
}

/// As long as one may be.
fn id(bytes: &[u8]) -> &[u8] {
    &bytes[..bytes.len().min(16)]
}
