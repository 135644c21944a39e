//! Protobuf read where it lies: the fields of a message, its texts borrowed. Pure; what the fields mean is the caller's to say.
//!
//! For messages that come by the hundred thousand: decoding them into structures takes an allocation for every key and value.
//! Groups, which no OTLP ever had, are refused.

/// Why bytes are no message.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Malformed(pub String);

fn malformed<T>(reason: &str) -> Result<T, Malformed> {
    Err(Malformed(reason.to_owned()))
}

/// The content of a field.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Field<'a> {
    Varint(u64),
    Fixed64(u64),
    Fixed32(u32),
    /// A text, bytes or a message.
    Bytes(&'a [u8]),
}

impl<'a> Field<'a> {
    pub(super) fn varint(self) -> Result<u64, Malformed> {
        if let Self::Varint(number) = self { Ok(number) } else { malformed("a field that should be a number is none") }
    }

    pub(super) fn fixed64(self) -> Result<u64, Malformed> {
        if let Self::Fixed64(number) = self { Ok(number) } else { malformed("a field that should have eight bytes has not") }
    }

    pub(super) fn bytes(self) -> Result<&'a [u8], Malformed> {
        if let Self::Bytes(bytes) = self { Ok(bytes) } else { malformed("a field that should have a length has none") }
    }

    pub(super) fn text(self) -> Result<&'a str, Malformed> {
        std::str::from_utf8(self.bytes()?).map_err(|error| Malformed(format!("a text is not UTF-8: {error}")))
    }
}

/// Numbers and contents of a message's fields, in their order. Nothing comes after an error.
#[derive(Clone)]
pub(super) struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    pub(super) fn new(message: &'a [u8]) -> Self {
        Self { rest: message }
    }

    fn read(&mut self) -> Result<(u32, Field<'a>), Malformed> {
        let key = self.varint()?;
        let Some(number) = u32::try_from(key >> 3).ok().filter(|number| *number > 0) else {
            return malformed("a field has no number that may be");
        };
        let field = match key & 7 {
            0 => Field::Varint(self.varint()?),
            1 => Field::Fixed64(u64::from_le_bytes(self.array()?)),
            2 => {
                let length = self.varint()?;
                let Some((head, rest)) = usize::try_from(length).ok().and_then(|length| self.rest.split_at_checked(length))
                else {
                    return malformed("a field is longer than its message");
                };
                self.rest = rest;
                Field::Bytes(head)
            }
            5 => Field::Fixed32(u32::from_le_bytes(self.array()?)),
            _ => return malformed("a field is of a type that OTLP does not have"),
        };
        Ok((number, field))
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let Some((head, rest)) = self.rest.split_first_chunk() else { return malformed("a field ends early") };
        self.rest = rest;
        Ok(*head)
    }

    fn varint(&mut self) -> Result<u64, Malformed> {
        let mut value = 0;
        for (i, byte) in self.rest.iter().enumerate().take(10) {
            value |= u64::from(byte & 0x7f) << (7 * i);
            if byte & 0x80 == 0 {
                if i == 9 && *byte > 1 {
                    break;
                }
                self.rest = &self.rest[i + 1..];
                return Ok(value);
            }
        }
        malformed("a number ends early or has more than 64 bits")
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u32, Field<'a>), Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let read = self.read();
        if read.is_err() {
            self.rest = &[];
        }
        Some(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_read_or_refused() {
        let check = |bytes: &[u8], expected: Result<&[(u32, Field<'_>)], &str>| {
            let read: Result<Vec<_>, _> = Fields::new(bytes).collect();
            match (read, expected) {
                (Ok(read), Ok(expected)) => assert_eq!(read, expected, "{bytes:?}"),
                (Err(Malformed(reason)), Err(part)) => assert!(reason.contains(part), "{bytes:?}: {reason}"),
                (read, _) => panic!("{bytes:?}: {read:?}"),
            }
        };
        check(&[], Ok(&[]));
        check(&[0x08, 0xac, 0x02, 0x12, 2, 7, 8], Ok(&[(1, Field::Varint(300)), (2, Field::Bytes(&[7, 8]))]));
        check(&[0x09, 1, 0, 0, 0, 0, 0, 0, 0, 0x15, 2, 0, 0, 0], Ok(&[(1, Field::Fixed64(1)), (2, Field::Fixed32(2))]));
        let most = [&[0x08][..], &[0xff; 9], &[1]].concat();
        check(&most, Ok(&[(1, Field::Varint(u64::MAX))]));
        check(&[&[0x08][..], &[0xff; 9], &[2]].concat(), Err("more than 64 bits"));
        check(&[0x08], Err("ends early"));
        check(&[0x09, 1, 2, 3], Err("ends early"));
        check(&[0x12, 3, 7, 8], Err("longer than its message"));
        check(&[0x02, 0], Err("no number"));
        check(&[0x0b, 0x0c], Err("of a type"));
        assert!(Field::Bytes(&[0xff]).text().is_err() && Field::Varint(1).bytes().is_err());
    }
}
