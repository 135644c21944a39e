//! Numbers as bits, as Prometheus' chunks have them. Pure. Source: tsdb/chunkenc/{bstream,varbit,xor}.go of Prometheus.

use weir_model::varint::put_varint;

/// Sizes of a varbit: as many ones as there are smaller sizes, then a zero but for the last, then so many bits.
const VARBIT_SIZES: [u32; 9] = [0, 3, 6, 9, 12, 18, 25, 56, 64];

/// Bits, the highest of a byte first.
pub(super) struct Bits {
    bytes: Vec<u8>,
    /// Free bits of the last byte.
    free: u32,
}

/// Leading and trailing zeros of the XOR that was written last.
#[derive(Clone, Copy, Default)]
pub(super) struct Window(Option<(u32, u32)>);

impl Bits {
    /// After whole bytes.
    pub fn after(header: &[u8]) -> Self {
        Self { bytes: header.to_vec(), free: 0 }
    }

    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// The lowest `count` bits of a number, the highest of them first.
    pub fn put(&mut self, number: u64, count: u32) {
        let mut left = count;
        while left > 0 {
            if self.free == 0 {
                self.bytes.push(0);
                self.free = 8;
            }
            let now = left.min(self.free);
            let bits = (number >> (left - now)) as u8 & (0xff_u16 >> (8 - now)) as u8;
            if let Some(last) = self.bytes.last_mut() {
                *last |= bits << (self.free - now);
            }
            self.free -= now;
            left -= now;
        }
    }

    pub fn put_varint(&mut self, number: u64) {
        let mut bytes = Vec::new();
        put_varint(&mut bytes, number);
        bytes.iter().for_each(|byte| self.put(u64::from(*byte), 8));
    }

    pub fn put_varbit(&mut self, number: u64) {
        let bits = u64::BITS - number.leading_zeros();
        self.put_sized(number, |size| bits <= size);
    }

    pub fn put_signed_varbit(&mut self, number: i64) {
        // Two's complement, but that the number above the largest of so many bits has room as well.
        let fits = |size: u32| match size {
            0 => number == 0,
            64 => true,
            size => (-((1 << (size - 1)) - 1)..=1 << (size - 1)).contains(&number),
        };
        self.put_sized(number as u64, fits);
    }

    fn put_sized(&mut self, number: u64, fits: impl Fn(u32) -> bool) {
        let last = VARBIT_SIZES.len() - 1;
        let at = VARBIT_SIZES.iter().position(|size| fits(*size)).unwrap_or(last);
        match at == last {
            true => self.put(0xff, 8),
            false => self.put((1 << (at + 1)) - 2, at as u32 + 1),
        }
        self.put(number, VARBIT_SIZES[at]);
    }

    /// A value's bits XOR those of the one before.
    pub fn put_xor(&mut self, xor: u64, Window(window): &mut Window) {
        if xor == 0 {
            return self.put(0, 1);
        }
        // Five bits say how many lead.
        let (leading, trailing) = (xor.leading_zeros().min(31), xor.trailing_zeros());
        match *window {
            Some((known_leading, known_trailing)) if leading >= known_leading && trailing >= known_trailing => {
                self.put(0b10, 2);
                self.put(xor >> known_trailing, 64 - known_leading - known_trailing);
            }
            _ => {
                *window = Some((leading, trailing));
                let count = 64 - leading - trailing;
                self.put(0b11, 2);
                self.put(u64::from(leading), 5);
                // 64 is written as 0.
                self.put(u64::from(count), 6);
                self.put(xor >> trailing, count);
            }
        }
    }
}
