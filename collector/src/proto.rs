//! Protobuf's wire format, read where it lies: fields of a message, one after the other, borrowed. Pure; knows no message.
//!
//! For what comes by the hundred thousand: structures of a message take an allocation for every text.

use thiserror::Error;

/// Why bytes are not the message that they should be, which is named first.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub(crate) enum ProtoError {
    #[error("protobuf: {0} ends early")]
    Truncated(&'static str),
    #[error("protobuf: a number of {0} has more than 64 bits")]
    Varint(&'static str),
    #[error("protobuf: a field of {0} has a number that none may have")]
    Number(&'static str),
    #[error("protobuf: field {1} of {0} has wire type {2}")]
    WireType(&'static str, u32, u8),
    #[error("protobuf: field {1} of {0} is not UTF-8")]
    Text(&'static str, u32),
    #[error("protobuf: recursion limit of {1} values within values exceeded by {0}")]
    Depth(&'static str, usize),
    #[error("protobuf: {0} stands twice")]
    Repeated(&'static str),
}

/// What a field holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Value<'a> {
    Varint(u64),
    Fixed64(u64),
    Fixed32(u32),
    /// A text, bytes, a message or packed numbers.
    Bytes(&'a [u8]),
}

/// The content of a field, and whose it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Field<'a> {
    pub value: Value<'a>,
    number: u32,
    message: &'static str,
}

impl<'a> Field<'a> {
    pub fn varint(self) -> Result<u64, ProtoError> {
        if let Value::Varint(number) = self.value { Ok(number) } else { Err(self.wrong_type()) }
    }

    pub fn fixed64(self) -> Result<u64, ProtoError> {
        if let Value::Fixed64(number) = self.value { Ok(number) } else { Err(self.wrong_type()) }
    }

    /// Of a repeated field: packed numbers or one of them.
    pub fn each_fixed64(self, mut each: impl FnMut(u64)) -> Result<(), ProtoError> {
        let Value::Bytes(packed) = self.value else { return self.fixed64().map(each) };
        let (numbers, rest) = packed.as_chunks();
        if !rest.is_empty() {
            return Err(ProtoError::Truncated(self.message));
        }
        numbers.iter().for_each(|number| each(u64::from_le_bytes(*number)));
        Ok(())
    }

    /// Of a repeated field: packed numbers or one of them.
    pub fn each_varint(self, mut each: impl FnMut(u64)) -> Result<(), ProtoError> {
        let Value::Bytes(packed) = self.value else { return self.varint().map(each) };
        let mut numbers = Fields::new(packed, self.message);
        while !numbers.rest.is_empty() {
            each(numbers.varint()?);
        }
        Ok(())
    }

    pub fn bytes(self) -> Result<&'a [u8], ProtoError> {
        if let Value::Bytes(bytes) = self.value { Ok(bytes) } else { Err(self.wrong_type()) }
    }

    pub fn text(self) -> Result<&'a str, ProtoError> {
        std::str::from_utf8(self.bytes()?).map_err(|_| ProtoError::Text(self.message, self.number))
    }

    fn wrong_type(self) -> ProtoError {
        let wire_type = match self.value {
            Value::Varint(_) => 0,
            Value::Fixed64(_) => 1,
            Value::Bytes(_) => 2,
            Value::Fixed32(_) => 5,
        };
        ProtoError::WireType(self.message, self.number, wire_type)
    }
}

/// The fields of a message with their numbers, in their order. Nothing comes after an error.
#[derive(Clone)]
pub(crate) struct Fields<'a> {
    rest: &'a [u8],
    message: &'static str,
}

impl<'a> Fields<'a> {
    /// `message` is what errors call it.
    pub fn new(bytes: &'a [u8], message: &'static str) -> Self {
        Self { rest: bytes, message }
    }

    /// Bytes that are not read yet.
    pub fn remaining(&self) -> usize {
        self.rest.len()
    }

    #[inline]
    fn read(&mut self) -> Result<(u32, Field<'a>), ProtoError> {
        let key = self.varint()?;
        let number = u32::try_from(key >> 3).ok().filter(|number| *number > 0).ok_or(ProtoError::Number(self.message))?;
        let value = match key & 7 {
            0 => Value::Varint(self.varint()?),
            1 => Value::Fixed64(u64::from_le_bytes(self.array()?)),
            2 => Value::Bytes(self.bytes()?),
            5 => Value::Fixed32(u32::from_le_bytes(self.array()?)),
            // Groups, 3 and 4, were given up before any protocol here was thought of.
            wire_type => return Err(ProtoError::WireType(self.message, number, wire_type as u8)),
        };
        Ok((number, Field { value, number, message: self.message }))
    }

    fn bytes(&mut self) -> Result<&'a [u8], ProtoError> {
        let length = usize::try_from(self.varint()?).unwrap_or(usize::MAX);
        let (bytes, rest) = self.rest.split_at_checked(length).ok_or(ProtoError::Truncated(self.message))?;
        self.rest = rest;
        Ok(bytes)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], ProtoError> {
        let (head, rest) = self.rest.split_first_chunk().ok_or(ProtoError::Truncated(self.message))?;
        self.rest = rest;
        Ok(*head)
    }

    #[inline]
    fn varint(&mut self) -> Result<u64, ProtoError> {
        // Keys and most lengths.
        if let [byte @ ..0x80, rest @ ..] = self.rest {
            self.rest = rest;
            return Ok(u64::from(*byte));
        }
        self.long_varint()
    }

    fn long_varint(&mut self) -> Result<u64, ProtoError> {
        // Up to 56 bits, as references and times have, at once: the first byte without its eighth bit is the last.
        if let Some(word) = self.rest.first_chunk().map(|bytes| u64::from_le_bytes(*bytes))
            && let last = (!word & 0x8080_8080_8080_8080).trailing_zeros()
            && last < u64::BITS
        {
            let groups = word & (u64::MAX >> (u64::BITS - 1 - last)) & 0x7f7f_7f7f_7f7f_7f7f;
            let pairs = groups & 0x007f_007f_007f_007f | (groups & 0x7f00_7f00_7f00_7f00) >> 1;
            let fours = pairs & 0x0000_3fff_0000_3fff | (pairs & 0x3fff_0000_3fff_0000) >> 2;
            self.rest = &self.rest[last as usize / 8 + 1..];
            return Ok(fours & 0x0fff_ffff | (fours & 0x0fff_ffff_0000_0000) >> 4);
        }
        let mut value = 0;
        for (i, &byte) in self.rest.iter().enumerate().take(10) {
            if i == 9 && byte > 1 {
                return Err(ProtoError::Varint(self.message));
            }
            value |= u64::from(byte & 0x7f) << (7 * i);
            if byte < 0x80 {
                self.rest = &self.rest[i + 1..];
                return Ok(value);
            }
        }
        Err(ProtoError::Truncated(self.message))
    }
}

/// Messages one after the other, each after its length. Nothing comes after an error.
pub(crate) fn delimited<'a>(bytes: &'a [u8], message: &'static str) -> impl Iterator<Item = Result<&'a [u8], ProtoError>> {
    let mut stream = Fields::new(bytes, message);
    std::iter::from_fn(move || {
        let read = (!stream.rest.is_empty()).then(|| stream.bytes())?;
        if read.is_err() {
            stream.rest = &[];
        }
        Some(read)
    })
}

/// A number of the types `sint32` and `sint64`.
pub(crate) fn signed(number: u64) -> i64 {
    (number >> 1) as i64 ^ -((number & 1) as i64)
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u32, Field<'a>), ProtoError>;

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
        let check = |bytes: &[u8], expected: Result<&[(u32, Value<'_>)], ProtoError>| {
            let read = Fields::new(bytes, "x").map(|field| field.map(|(number, field)| (number, field.value)));
            assert_eq!(read.collect::<Result<Vec<_>, _>>(), expected.map(<[_]>::to_vec), "{bytes:?}");
        };
        check(&[], Ok(&[]));
        check(
            &[8, 0x96, 1, 0x12, 2, 7, 8, 0x12, 0],
            Ok(&[(1, Value::Varint(150)), (2, Value::Bytes(&[7, 8])), (2, Value::Bytes(&[]))]),
        );
        check(&[9, 1, 0, 0, 0, 0, 0, 0, 0, 0x15, 2, 0, 0, 0], Ok(&[(1, Value::Fixed64(1)), (2, Value::Fixed32(2))]));
        check(&[&[8][..], &[0xff; 9], &[1]].concat(), Ok(&[(1, Value::Varint(u64::MAX))]));
        check(&[&[8][..], &[0xff; 9], &[2]].concat(), Err(ProtoError::Varint("x")));
        check(&[&[8][..], &[0xff; 10]].concat(), Err(ProtoError::Varint("x")));
        for truncated in [&[8][..], &[8, 0x80], &[0x12, 3, 1], &[0x15, 1], &[9, 1], &[0x12, 0xff, 0xff, 0xff, 0xff, 0xf]] {
            check(truncated, Err(ProtoError::Truncated("x")));
        }
        check(&[2, 0], Err(ProtoError::Number("x")));
        check(&[0x0b, 0x0c], Err(ProtoError::WireType("x", 1, 3)));
    }

    #[test]
    fn numbers_of_every_length_are_read_whatever_follows() {
        for bits in 0..64 {
            for number in [1 << bits, u64::MAX >> bits, 0x0123_4567_89ab_cdef >> bits] {
                let mut bytes = Vec::new();
                weir_model::varint::put_varint(&mut bytes, number);
                let length = bytes.len();
                for more in [&[][..], &[0], &[0xff; 12]] {
                    bytes.truncate(length);
                    bytes.extend_from_slice(more);
                    let mut fields = Fields::new(&bytes, "x");
                    assert_eq!((fields.varint(), fields.remaining()), (Ok(number), more.len()), "{bytes:x?}");
                }
            }
        }
        // Longer than it has to be.
        let mut fields = Fields::new(&[0x81, 0x80, 0, 9, 9, 9, 9, 9], "x");
        assert_eq!((fields.varint(), fields.remaining()), (Ok(1), 5));
    }

    #[test]
    fn a_field_is_of_one_type() {
        let field = |value| Field { value, number: 7, message: "x" };
        let wrong = |wire_type| ProtoError::WireType("x", 7, wire_type);
        let bytes = field(Value::Bytes(b"hi"));
        assert_eq!(
            (bytes.bytes(), bytes.text(), bytes.varint(), bytes.fixed64()),
            (Ok(&b"hi"[..]), Ok("hi"), Err(wrong(2)), Err(wrong(2)))
        );
        assert_eq!(field(Value::Bytes(&[0xff])).text(), Err(ProtoError::Text("x", 7)));
        assert_eq!((field(Value::Varint(1)).varint(), field(Value::Varint(1)).text()), (Ok(1), Err(wrong(0))));
        assert_eq!((field(Value::Fixed64(1)).fixed64(), field(Value::Fixed64(1)).bytes()), (Ok(1), Err(wrong(1))));
        assert_eq!(field(Value::Fixed32(1)).fixed64(), Err(wrong(5)));
        let numbers = |value| {
            let mut numbers = Vec::new();
            field(value).each_fixed64(|number| numbers.push(number)).map(|()| numbers)
        };
        assert_eq!(numbers(Value::Fixed64(5)), Ok(vec![5]));
        assert_eq!(numbers(Value::Bytes(&[1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0])), Ok(vec![1, 2]));
        assert_eq!(numbers(Value::Bytes(&[1, 0, 0])), Err(ProtoError::Truncated("x")));
        assert_eq!(numbers(Value::Varint(1)), Err(wrong(0)));
        let varints = |value| {
            let mut numbers = Vec::new();
            field(value).each_varint(|number| numbers.push(number)).map(|()| numbers)
        };
        assert_eq!(varints(Value::Varint(5)), Ok(vec![5]));
        assert_eq!(varints(Value::Bytes(&[1, 0x96, 1])), Ok(vec![1, 150]));
        assert_eq!(varints(Value::Bytes(&[1, 0x96])), Err(ProtoError::Truncated("x")));
        assert_eq!(varints(Value::Fixed64(1)), Err(wrong(1)));
    }

    #[test]
    fn numbers_and_messages_stand_in_a_row() {
        let numbers = |value| {
            let mut numbers = Vec::new();
            Field { value, number: 7, message: "x" }.each_varint(|number| numbers.push(signed(number))).map(|()| numbers)
        };
        assert_eq!(numbers(Value::Bytes(&[0, 1, 2, 0xff, 1])), Ok(vec![0, -1, 1, -128]));
        assert_eq!(numbers(Value::Varint(u64::MAX)), Ok(vec![i64::MIN]));
        assert_eq!(numbers(Value::Bytes(&[0, 0x80])), Err(ProtoError::Truncated("x")));
        assert_eq!(numbers(Value::Fixed64(0)), Err(ProtoError::WireType("x", 7, 1)));
        let messages = |bytes| delimited(bytes, "x").collect::<Vec<_>>();
        assert_eq!(messages(&[2, 7, 8, 0, 1, 9]), [Ok(&[7, 8][..]), Ok(&[]), Ok(&[9])]);
        assert_eq!(messages(&[1, 7, 2, 8]), [Ok(&[7][..]), Err(ProtoError::Truncated("x"))]);
    }
}
