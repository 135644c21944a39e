//! Protobuf's wire format, read where it lies: fields of a message, one after the other, borrowed. Knows no message.
//! For what comes in such numbers that a structure a message would be most of the work.

use thiserror::Error;

/// Why bytes are not a message.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub(crate) enum ProtoError {
    #[error("protobuf: {0} ends early")]
    Truncated(&'static str),
    #[error("protobuf: a number of {0} has more than 64 bits")]
    Varint(&'static str),
    #[error("protobuf: field {1} of {0} has wire type {2}")]
    WireType(&'static str, u32, u8),
    #[error("protobuf: {0} is not UTF-8")]
    Text(&'static str),
}

/// What a field holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
    /// Of four or eight bytes.
    Fixed,
}

/// A field with its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Field<'a> {
    pub number: u32,
    pub value: Value<'a>,
    message: &'static str,
}

/// The fields of a message, as they follow each other. Ends after the first error.
#[derive(Clone)]
pub(crate) struct Fields<'a> {
    rest: &'a [u8],
    message: &'static str,
}

impl<'a> Fields<'a> {
    /// `message` is its name, for errors.
    pub fn new(bytes: &'a [u8], message: &'static str) -> Self {
        Self { rest: bytes, message }
    }

    fn read(&mut self) -> Result<Field<'a>, ProtoError> {
        let key = self.varint()?;
        let (number, kind) = (u32::try_from(key >> 3).unwrap_or(u32::MAX), (key & 7) as u8);
        let value = match kind {
            0 => Value::Number(self.varint()?),
            1 => self.take(8).map(|_| Value::Fixed)?,
            2 => {
                let length = self.varint()?;
                Value::Bytes(self.take(usize::try_from(length).unwrap_or(usize::MAX))?)
            }
            5 => self.take(4).map(|_| Value::Fixed)?,
            // Groups were given up before any protocol here was thought of.
            _ => return Err(ProtoError::WireType(self.message, number, kind)),
        };
        Ok(Field { number, value, message: self.message })
    }

    #[inline]
    fn varint(&mut self) -> Result<u64, ProtoError> {
        let mut value = 0;
        for (i, &byte) in self.rest.iter().enumerate().take(10) {
            if i == 9 && byte > 1 {
                break;
            }
            value |= u64::from(byte & 0x7f) << (7 * i);
            if byte < 0x80 {
                self.rest = &self.rest[i + 1..];
                return Ok(value);
            }
        }
        Err(if self.rest.len() < 10 { ProtoError::Truncated(self.message) } else { ProtoError::Varint(self.message) })
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], ProtoError> {
        let (head, rest) = self.rest.split_at_checked(count).ok_or(ProtoError::Truncated(self.message))?;
        self.rest = rest;
        Ok(head)
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<Field<'a>, ProtoError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let field = self.read();
        if field.is_err() {
            self.rest = &[];
        }
        Some(field)
    }
}

impl<'a> Field<'a> {
    /// Errors when it is no number.
    pub fn number(&self) -> Result<u64, ProtoError> {
        match self.value {
            Value::Number(number) => Ok(number),
            Value::Bytes(_) => Err(ProtoError::WireType(self.message, self.number, 2)),
            Value::Fixed => Err(ProtoError::WireType(self.message, self.number, 1)),
        }
    }

    /// Of bytes or a message. Errors when it has no length.
    pub fn bytes(&self) -> Result<&'a [u8], ProtoError> {
        match self.value {
            Value::Bytes(bytes) => Ok(bytes),
            Value::Number(_) => Err(ProtoError::WireType(self.message, self.number, 0)),
            Value::Fixed => Err(ProtoError::WireType(self.message, self.number, 1)),
        }
    }

    /// Errors when it is not UTF-8.
    pub fn text(&self) -> Result<&'a str, ProtoError> {
        std::str::from_utf8(self.bytes()?).map_err(|_| ProtoError::Text(self.message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(bytes: &[u8]) -> Result<Vec<(u32, Value<'_>)>, ProtoError> {
        Fields::new(bytes, "a test").map(|field| field.map(|field| (field.number, field.value))).collect()
    }

    #[test]
    fn fields_of_every_type_are_read() {
        let bytes = [&[8, 0x96, 1, 0x12, 2, b'h', b'i', 0x1d][..], &[0; 4], &[0x21], &[0; 8], &[0x12, 0]].concat();
        let (hi, empty) = (Value::Bytes(b"hi"), Value::Bytes(b""));
        assert_eq!(fields(&bytes), Ok(vec![(1, Value::Number(150)), (2, hi), (3, Value::Fixed), (4, Value::Fixed), (2, empty)]));
        let largest = [&[8][..], &[0xff; 9], &[1]].concat();
        assert_eq!(fields(&largest), Ok(vec![(1, Value::Number(u64::MAX))]));
    }

    #[test]
    fn what_is_wrong_is_an_error() {
        let truncated = Err(ProtoError::Truncated("a test"));
        for bytes in [&[8][..], &[8, 0x80], &[0x12, 3, 1], &[0x1d, 1], &[0x21, 1], &[0x12, 0xff, 0xff, 0xff, 0xff, 0xf]] {
            assert_eq!(fields(bytes), truncated, "{bytes:?}");
        }
        assert_eq!(fields(&[&[8][..], &[0xff; 10]].concat()), Err(ProtoError::Varint("a test")));
        assert_eq!(fields(&[0x0b]), Err(ProtoError::WireType("a test", 1, 3)));
        let [bytes, number] = [&[0x0a, 1, 0xff][..], &[8, 1]].map(|bytes| Fields::new(bytes, "x").next().unwrap().unwrap());
        assert_eq!((bytes.text(), bytes.number()), (Err(ProtoError::Text("x")), Err(ProtoError::WireType("x", 1, 2))));
        assert_eq!((number.number(), number.bytes()), (Ok(1), Err(ProtoError::WireType("x", 1, 0))));
    }
}
