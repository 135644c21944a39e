//! How much memory a message in JSON will take once decoded, counted from its bytes before anything is decoded: an empty object of
//! two bytes becomes a structure of hundreds. Pure; knows no message.

/// As `serde_json` limits recursion.
const DEPTH_MAX: usize = 128;

/// Bytes that decoding will allocate, when an element of an array takes `element` bytes. By the structure alone: an object in an
/// array is an element, any other lies within its parent. Texts and numbers take at most their bytes.
pub(crate) fn decoded_bytes(bytes: &[u8], element: usize) -> usize {
    let (mut sum, mut in_text, mut escaped) = (0_usize, false, false);
    let mut inside = Vec::with_capacity(DEPTH_MAX);
    for byte in bytes {
        match (in_text, byte) {
            (true, _) if escaped => escaped = false,
            (true, b'\\') => escaped = true,
            (true, b'"') => in_text = false,
            (true, _) => {}
            (false, b'"') => in_text = true,
            (false, b'{' | b'[') => {
                let of_array = inside.last() == Some(&b'[');
                sum = sum.saturating_add(if of_array { element } else { element / 4 });
                if inside.len() > DEPTH_MAX {
                    break;
                }
                inside.push(*byte);
            }
            (false, b'}' | b']') => {
                inside.pop();
            }
            _ => {}
        }
    }
    sum.saturating_add(bytes.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_counted_by_its_structure() {
        let check =
            |text: &str, expected: usize| assert_eq!(decoded_bytes(text.as_bytes(), 100), text.len() + expected, "{text}");
        check("{}", 25);
        check(r#"{"a":[{},{}]}"#, 25 + 25 + 200);
        check(r#"{"a":"[{\"[{"}"#, 25);
        check(r#"{"a":"\\","b":[{}]}"#, 25 + 25 + 100);
        check("]}]}", 0);
    }
}
