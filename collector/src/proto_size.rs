//! How much memory a protobuf message will take once decoded, counted from its bytes before anything is decoded: an empty
//! message of two bytes becomes a structure of hundreds. Pure; knows the layout of a message only as a [`Shape`].
//!
//! Counted as `prost` allocates: a repeated field is a vector that starts with four places and doubles, a text a buffer of its
//! length. Malformed bytes are counted up to where the decoder will stop.

/// A message: the size of its structure, and the fields that allocate beyond their own bytes.
pub(crate) struct Shape {
    pub size: usize,
    pub fields: &'static [(u32, Field)],
}

/// A field that allocates. One that is not named is a text, when it has a length, or takes no room of its own.
pub(crate) enum Field {
    /// A message that lies within its parent's structure.
    One(&'static Shape),
    /// Messages in a vector.
    Many(&'static Shape),
    /// Numbers of eight bytes in a vector, of at least this many bytes each when packed.
    Numbers(usize),
}

/// As `prost` limits recursion: what is deeper is refused by it.
const DEPTH_MAX: usize = 100;
/// A number in a vector, whose room doubles.
const NUMBER_BYTES: usize = 8;
/// What an allocation costs beside its bytes.
const ALLOCATION_BYTES: usize = 16;
/// Places of a vector's first allocation.
const PLACES_MIN: usize = 4;
/// The largest number of a field that any shape names is below it.
const FIELDS: usize = 16;

/// Bytes that decoding `bytes` as a message of `shape` will allocate, the message's own structure included.
pub(crate) fn decoded_bytes(shape: &Shape, bytes: &[u8]) -> usize {
    let (mut rest, mut sum) = (bytes, Sum { total: shape.size, longest: 0 });
    // Where the decoder will stop, so does this: the sum is then that of what it has allocated.
    let _ = within(shape, &mut rest, bytes.len(), 0, &mut sum);
    sum.total.saturating_add(sum.longest)
}

struct Sum {
    total: usize,
    /// The decoder copies bytes twice: one copy at a time is on its way.
    longest: usize,
}

impl Sum {
    fn add(&mut self, bytes: usize) {
        self.total = self.total.saturating_add(bytes);
    }
}

/// Adds what a message of `length` bytes allocates; `None` where the decoder ends with an error. As `prost` does, it reads a
/// field that goes beyond its message to the field's own end, and finds the error afterwards.
fn within(shape: &Shape, bytes: &mut &[u8], length: usize, depth: usize, sum: &mut Sum) -> Option<()> {
    let end = bytes.len().checked_sub(length).filter(|_| depth <= DEPTH_MAX)?;
    let mut counts = [0_usize; FIELDS];
    let mut read = || {
        while bytes.len() > end {
            let key = varint(bytes)?;
            let known = shape.fields.iter().find(|(number, _)| u64::from(*number) == key >> 3);
            if let Some((number, Field::Many(_))) = known {
                counts[*number as usize % FIELDS] += 1;
            }
            field(known.map(|(_, field)| field), key & 7, bytes, depth, sum)?;
        }
        (bytes.len() == end).then_some(())
    };
    let read = read();
    for (number, field) in shape.fields {
        if let (Field::Many(shape), count @ 1..) = (field, counts[*number as usize % FIELDS]) {
            sum.add(shape.size.saturating_mul(count.next_power_of_two().max(PLACES_MIN)));
        }
    }
    read
}

fn field(known: Option<&Field>, kind: u64, bytes: &mut &[u8], depth: usize, sum: &mut Sum) -> Option<()> {
    match kind {
        0 => drop(varint(bytes)?),
        1 => drop(take(bytes, 8)?),
        5 => drop(take(bytes, 4)?),
        // A group is of no known field; its content is counted as if it stood here.
        3 | 4 => return Some(()),
        2 => return delimited(known, bytes, depth, sum),
        _ => return None,
    }
    if let Some(Field::Numbers(_)) = known {
        sum.add(2 * NUMBER_BYTES);
    }
    Some(())
}

fn delimited(known: Option<&Field>, bytes: &mut &[u8], depth: usize, sum: &mut Sum) -> Option<()> {
    let length = usize::try_from(varint(bytes)?).ok()?;
    if let Some(Field::One(shape) | Field::Many(shape)) = known {
        return within(shape, bytes, length, depth + 1, sum);
    }
    let content = take(bytes, length)?;
    sum.longest = sum.longest.max(content.len());
    sum.add(match known {
        Some(Field::Numbers(least)) => (content.len() / least).saturating_mul(2 * NUMBER_BYTES) + ALLOCATION_BYTES,
        _ if content.is_empty() => 0,
        _ => content.len() + ALLOCATION_BYTES,
    });
    Some(())
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for (i, byte) in bytes.iter().enumerate().take(10) {
        value |= u64::from(byte & 0x7f) << (7 * i).min(63);
        if byte & 0x80 == 0 {
            *bytes = &bytes[i + 1..];
            return Some(value);
        }
    }
    None
}

fn take<'a>(bytes: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (head, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    Some(head)
}

/// The same for JSON of the same messages, by its structure alone: an object in an array is an element, any other lies within
/// its parent. Texts and numbers take at most their bytes.
pub(crate) fn decoded_json_bytes(bytes: &[u8], element: usize) -> usize {
    /// As `serde_json` limits recursion.
    const DEPTH_MAX: usize = 128;
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

    static LEAF: Shape = Shape { size: 50, fields: &[] };
    static NESTED: Shape =
        Shape { size: 10, fields: &[(1, Field::Many(&NESTED)), (2, Field::Many(&LEAF)), (3, Field::One(&LEAF))] };
    static NUMBERS: Shape = Shape { size: 1, fields: &[(6, Field::Numbers(8)), (7, Field::Numbers(1))] };

    #[test]
    fn messages_are_counted_as_they_are_allocated() {
        let check = |shape: &Shape, bytes: &[u8], expected: usize| assert_eq!(decoded_bytes(shape, bytes), expected, "{bytes:?}");
        check(&NESTED, &[], 10);
        // Two empty messages: four places. Five: eight places.
        check(&NESTED, &[0x12, 0, 0x12, 0], 10 + 4 * 50);
        check(&NESTED, &[0x12, 0].repeat(5), 10 + 8 * 50);
        check(&NESTED, &[0x1a, 0], 10);
        // A text in a nested message.
        check(&NESTED, &[0x0a, 5, 0x22, 3, b'a', b'b', b'c'], 10 + 4 * 10 + 3 + 16 + 3);
        check(&NUMBERS, &[0x32, 8, 0, 0, 0, 0, 0, 0, 0, 0], 1 + 16 + 16 + 8);
        check(&NUMBERS, &[0x3a, 3, 1, 1, 1], 1 + 48 + 16 + 3);
        // What follows an unknown group, or stands in it, counts.
        check(&NESTED, &[0x7b, 0x12, 0, 0x7c, 0x12, 0], 10 + 4 * 50);
        // Cut off in a length: counted up to there, the place of what was begun included.
        check(&NESTED, &[0x12, 0, 0x12, 9, 1], 10 + 4 * 50);
        // A message that is longer than the one around it is read to its own end before that is found wrong.
        check(&NESTED, &[0x0a, 2, 0x0a, 4, 0x12, 0, 0x12, 0], 10 + 4 * 10 + 4 * 10 + 4 * 50);
        check(&NESTED, &[0xff; 30], 10);
    }

    #[test]
    fn deep_nesting_is_counted_to_the_decoders_limit() {
        let mut bytes = Vec::new();
        for _ in 0..1_000 {
            let mut outer = vec![0x0a];
            let mut length = bytes.len();
            while length >= 0x80 {
                outer.push(length as u8 | 0x80);
                length >>= 7;
            }
            outer.push(length as u8);
            outer.append(&mut bytes);
            bytes = outer;
        }
        assert_eq!(decoded_bytes(&NESTED, &bytes), 10 + 101 * 40);
    }

    #[test]
    fn json_is_counted_by_its_structure() {
        let check =
            |text: &str, expected: usize| assert_eq!(decoded_json_bytes(text.as_bytes(), 100), text.len() + expected, "{text}");
        check("{}", 25);
        check(r#"{"a":[{},{}]}"#, 25 + 25 + 200);
        check(r#"{"a":"[{\"[{"}"#, 25);
        check(r#"{"a":"\\","b":[{}]}"#, 25 + 25 + 100);
        check("]}]}", 0);
    }
}
