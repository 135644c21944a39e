//! Label messages of version 1, of a series or an exemplar, as a label set. Pure. Called where one is not known: [`super::sections`],
//! [`super::exemplars`].

use weir_model::label::Labels;

use crate::proto::{Fields, ProtoError};

/// A label's name or value; what is longer is no label.
pub(super) const LABEL_BYTES_MAX: usize = 64 << 10;
/// Labels that most series do not have more of.
const LABELS_USUAL: usize = 16;

/// Errors with what is wrong with it.
pub(super) fn read(raw: &[u8], labels_max: usize) -> Result<Labels, String> {
    let pairs = pairs(raw, labels_max).map_err(|error| error.to_string())?;
    if pairs.len() > labels_max {
        return Err(format!("more labels than push.labels_max, {labels_max}"));
    }
    if !pairs.is_sorted_by(|one, other| one.0 < other.0) {
        let mut names: Vec<&str> = pairs.iter().map(|(name, _)| *name).collect();
        names.sort_unstable();
        if let Some(twice) = names.windows(2).find(|two| two[0] == two[1]) {
            return Err(format!("label {:?} stands twice", weir_model::clip(twice[0])));
        }
    }
    if pairs.iter().any(|(name, _)| name.is_empty()) {
        return Err("a label without a name".to_owned());
    }
    if let Some((name, _)) = pairs.iter().find(|(name, value)| name.len().max(value.len()) > LABEL_BYTES_MAX) {
        return Err(format!("label {:?} is longer than {LABEL_BYTES_MAX} bytes", weir_model::clip(name)));
    }
    Ok(Labels::from_pairs(pairs))
}

/// No more than one more than `labels_max`.
fn pairs(raw: &[u8], labels_max: usize) -> Result<Vec<(&str, &str)>, ProtoError> {
    let mut pairs = Vec::with_capacity(LABELS_USUAL);
    for label in Fields::new(raw, "labels").take(labels_max + 1) {
        let (mut name, mut value) = ("", "");
        for field in Fields::new(label?.1.bytes()?, "a label") {
            match field? {
                (1, field) => name = field.text()?,
                (2, field) => value = field.text()?,
                _ => {}
            }
        }
        pairs.push((name, value));
    }
    Ok(pairs)
}
