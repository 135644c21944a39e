//! Numbers of variables: little-endian, of one width in a part of a template.

use weir_blocks::columns::Reader;

/// Numbers of one width, each to be added to `base`.
pub(super) struct Fixed {
    pub(super) at: u32,
    pub(super) width: u8,
    pub(super) base: u64,
}

impl Fixed {
    /// Of a column of so many bytes from `at` on, which it moves behind them.
    pub(super) fn read(reader: &mut Reader<'_>, at: &mut usize, column: usize, lines: usize) -> Result<Self, String> {
        let [width] = reader.array("width")?;
        if !matches!(width, 0 | 1 | 2 | 4 | 8) {
            return Err(format!("numbers of {width} bytes"));
        }
        let (start, width) = (*at, usize::from(width));
        *at = end_of(start, width, lines, column)?;
        Ok(Self { at: start as u32, width: width as u8, base: 0 })
    }

    pub(super) fn get(&self, column: &[u8], nth: usize) -> u64 {
        let width = usize::from(self.width);
        let start = self.at as usize + nth * width;
        let mut bytes = [0; 8];
        bytes[..width].copy_from_slice(&column[start..start + width]);
        u64::from_le_bytes(bytes).wrapping_add(self.base)
    }
}

/// Where so many things of one width end.
pub(super) fn end_of(start: usize, width: usize, lines: usize, column: usize) -> Result<usize, String> {
    let end = start + width * lines;
    if end > column { Err(format!("variables up to byte {end} of {column}")) } else { Ok(end) }
}
