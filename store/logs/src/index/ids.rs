//! Ids and numbers: tokens that repeat seldom, in tables of rows of one length each. There is no dictionary to build: rows are
//! sorted, a whole id is in the one page whose rows are around it, and a part of one is found by reading the rows from end to end, as
//! fast as memory is.

use std::collections::BTreeMap;

use memchr::memmem::Finder;
use roaring::RoaringBitmap;

use super::super::predicate::Edge;
use super::super::tokens::{NUMBER_BYTES_MIN, TOKEN_BYTES_MAX};
use super::pages::{PageList, PagesBuilder, TableCode, decode_lists};
use super::scan::add_chunks_of_rows;
use super::stored_table::StoredTable;
use super::table::{SECTION_BYTES_MAX, Table, TableBuilder};
use weir_blocks::StoreError;
use weir_blocks::packed::Cursor;
use weir_blocks::scratch::{ScratchSpace, SectionBytes};

/// Parts of fewer characters are in every chunk.
pub(super) const PART_BYTES_MIN: usize = 3;
/// Rows that are looked through for one thing after the other: they stay in the cache of a core.
const ROWS_BYTES: usize = 64 << 10;

/// Fewest digits of a hexadecimal number that is taken for an id: shorter ones are words, such as the middle of a UUID.
const HEX_BYTES_MIN: usize = 8;
/// Most of them; a row has 16 bytes then. Longer ones are digests, which repeat.
const HEX_BYTES_MAX: usize = 32;
/// What has so many characters and so many decimal digits is an id, whatever its letters are.
const MIXED_BYTES_MIN: usize = 6;
const MIXED_DIGITS_MIN: usize = 3;

/// How a row says an id, and how many characters that has: which table it is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Shape {
    /// Hexadecimal digits, two a byte; an odd number of them ends with a 0.
    Hex(usize),
    /// A byte each.
    Text(usize),
}

impl Shape {
    /// Of a folded token; `None` when it is a word.
    fn of(token: &[u8]) -> Option<Self> {
        let (mut digits, mut hex) = (0, 0);
        for byte in token {
            digits += usize::from(byte.is_ascii_digit());
            hex += usize::from(matches!(byte, b'a'..=b'f'));
        }
        let length = token.len();
        let least = if digits == length { NUMBER_BYTES_MIN } else { HEX_BYTES_MIN };
        if digits + hex == length && (least..=HEX_BYTES_MAX).contains(&length) {
            return Some(Self::Hex(length));
        }
        (length >= MIXED_BYTES_MIN && digits >= MIXED_DIGITS_MIN).then_some(Self::Text(length))
    }

    /// Whether it is told by digits alone: not by grams.
    pub(super) fn is_packed(self) -> bool {
        matches!(self, Self::Hex(_))
    }

    /// What a table of it begins with.
    fn code(self) -> TableCode {
        match self {
            Self::Hex(length) => [0, length as u8],
            Self::Text(length) => [1, length as u8],
        }
    }

    /// Errors are sentences.
    fn of_code(code: TableCode) -> Result<Self, String> {
        match code {
            [0, length] if (1..=HEX_BYTES_MAX).contains(&usize::from(length)) => Ok(Self::Hex(length.into())),
            [1, length] if (1..=TOKEN_BYTES_MAX).contains(&usize::from(length)) => Ok(Self::Text(length.into())),
            [code, length] => Err(format!("ids of {length} characters are coded as {code}")),
        }
    }

    fn width(self) -> usize {
        match self {
            Self::Hex(length) => length.div_ceil(2),
            Self::Text(length) => length,
        }
    }

    /// The row of a token of this shape, in `row`.
    fn row<'a>(self, token: &'a [u8], row: &'a mut [u8; TOKEN_BYTES_MAX]) -> &'a [u8] {
        match self {
            Self::Hex(_) => pack(token, row),
            Self::Text(_) => token,
        }
    }
}

/// Whether a folded token is in these tables, and not among the words.
pub(crate) fn is_id(token: &[u8]) -> bool {
    Shape::of(token).is_some()
}

/// Whether rows have to be read from end to end for a part of a token: longer ones are in few, if in any.
pub(crate) fn is_scanned_for(part: &[u8]) -> bool {
    (PART_BYTES_MIN..HEX_BYTES_MAX).contains(&part.len()) && part.iter().all(u8::is_ascii_hexdigit)
}

/// Whether all bytes are hexadecimal digits: parts of packed ids are.
pub(super) fn is_hex(part: &[u8]) -> bool {
    part.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// How an id lies in its row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Written {
    Packed,
    AsIs,
}

/// Hexadecimal digits, two a byte.
fn pack<'a>(digits: &[u8], row: &'a mut [u8; TOKEN_BYTES_MAX]) -> &'a [u8] {
    let value = |digit: u8| if digit <= b'9' { digit - b'0' } else { digit - b'a' + 10 };
    for (byte, pair) in row.iter_mut().zip(digits.chunks(2)) {
        *byte = value(pair[0]) << 4 | pair.get(1).map_or(0, |digit| value(*digit));
    }
    &row[..digits.len().div_ceil(2)]
}

/// The section in the making.
pub(super) struct IdsBuilder {
    tables: BTreeMap<Shape, TableBuilder>,
    space: ScratchSpace,
}

impl IdsBuilder {
    /// Without ids.
    pub(super) fn new(space: ScratchSpace) -> Self {
        Self { tables: BTreeMap::new(), space }
    }

    /// Takes a folded token of a chunk; chunks ascend. `None` when it is a word.
    pub(super) fn push(&mut self, token: &[u8], chunk: u32) -> Result<Option<Written>, StoreError> {
        let Some(shape) = Shape::of(token) else { return Ok(None) };
        let table = self.tables.entry(shape).or_insert_with(|| TableBuilder::new(shape.width(), self.space.clone()));
        table.push(shape.row(token, &mut [0; TOKEN_BYTES_MAX]), chunk)?;
        Ok(Some(if matches!(shape, Shape::Hex(_)) { Written::Packed } else { Written::AsIs }))
    }

    pub(super) fn memory(&self) -> usize {
        self.tables.values().map(TableBuilder::memory).sum()
    }

    /// Bytes of the rows of the largest table, and of all.
    pub(super) fn rows_bytes(&self) -> (usize, usize) {
        let tables = || self.tables.values().map(TableBuilder::rows_bytes);
        (tables().max().unwrap_or(0), tables().sum())
    }

    /// The section of pages, and the one that says where they begin.
    pub(super) fn finish(self) -> Result<(SectionBytes, Vec<u8>), StoreError> {
        let mut pages = PagesBuilder::new(self.space);
        self.tables.into_iter().try_for_each(|(shape, table)| pages.push(shape.code(), table))?;
        pages.finish()
    }
}

/// Where the pages of each table begin.
pub(super) struct IdLists(pub(super) BTreeMap<Shape, PageList>);

impl IdLists {
    /// Of a section of so many bytes of pages; errors are sentences.
    pub(super) fn decode(section: &[u8], section_bytes: u64) -> Result<Self, String> {
        let lists = decode_lists(section, section_bytes, |code| Ok(Shape::of_code(code)?.width()))?;
        lists.into_iter().map(|(code, list)| Ok((Shape::of_code(code)?, list))).collect::<Result<_, String>>().map(Self)
    }

    pub(super) fn memory(&self) -> usize {
        self.0.values().map(PageList::memory).sum()
    }
}

/// The section of a block of before, opened.
pub(super) struct Ids(pub(super) BTreeMap<Shape, Table>);

impl Ids {
    /// Of a block of so many chunks; errors are sentences.
    pub(super) fn decode(section: &[u8], documents: u32) -> Result<Self, String> {
        let mut cursor = Cursor::new(section);
        let (mut tables, mut left) = (BTreeMap::new(), SECTION_BYTES_MAX);
        for _ in 0..cursor.count(3)? {
            let shape = Shape::of_code(cursor.array::<2>()?)?;
            let table = Table::decode(&mut cursor, shape.width(), documents, &mut left);
            let table = table.map_err(|error| format!("{shape:?}: {error}"))?;
            if tables.insert(shape, table).is_some() {
                return Err(format!("two tables of {shape:?}"));
            }
        }
        cursor.end()?;
        Ok(Self(tables))
    }

    pub(super) fn memory(&self) -> usize {
        self.0.values().map(Table::memory).sum()
    }
}

/// Adds the chunks with a folded token; `table_of` gives the table of a shape. Errors with `Corrupt`.
pub(super) fn add_chunks_with<'t>(
    token: &[u8],
    table_of: impl FnOnce(Shape) -> Option<StoredTable<'t>>,
    found: &mut RoaringBitmap,
) -> Result<(), StoreError> {
    let Some(shape) = Shape::of(token) else { return Ok(()) };
    match table_of(shape) {
        Some(table) => table.add_chunks_with(shape.row(token, &mut [0; TOKEN_BYTES_MAX]), found),
        None => Ok(()),
    }
}

/// Whether every token with a folded part is an id, or longer than any in the index: no word has it.
pub(super) fn are_in_ids_alone(part: &[u8]) -> bool {
    part.len() >= MIXED_BYTES_MIN && digits_of(part) >= MIXED_DIGITS_MIN
}

fn digits_of(text: &[u8]) -> usize {
    text.iter().filter(|byte| byte.is_ascii_digit()).count()
}

/// Whether the rows of a shape may have a part that is shorter than they are.
fn may_have_part(shape: Shape, part: &[u8]) -> bool {
    match shape {
        Shape::Hex(length) => length > part.len() && is_hex(part),
        // Of the digits that it has the part may lack some, and then there are other characters.
        Shape::Text(length) => length > part.len() && length >= part.len() + MIXED_DIGITS_MIN.saturating_sub(digits_of(part)),
    }
}

/// Adds the chunks of the tables' tokens that have a folded part at this edge, of a block of `chunks`; the part has at least three
/// characters. Errors with `Corrupt`.
pub(super) fn add_chunks_with_part(
    tables: &[(Shape, StoredTable<'_>)],
    (edge, part): (Edge, &[u8]),
    chunks: u32,
    found: &mut RoaringBitmap,
) -> Result<(), StoreError> {
    let own = Shape::of(part);
    if let Some((shape, table)) = tables.iter().find(|(shape, _)| Some(*shape) == own) {
        table.add_chunks_with(shape.row(part, &mut [0; TOKEN_BYTES_MAX]), found)?;
    }
    let longer: Vec<_> =
        tables.iter().filter(|(shape, _)| may_have_part(*shape, part)).map(|(shape, table)| (*shape, table)).collect();
    add_chunks_of_rows(&longer, u64::from(chunks), found, |shape, rows| match shape {
        Shape::Hex(length) => rows_with_digits(rows, length, edge, part),
        Shape::Text(length) => {
            let mut having = RoaringBitmap::new();
            add_rows_with(
                (rows, length),
                &Finder::new(part),
                |row| edge.has(row, part),
                |row| {
                    having.insert(row);
                },
            );
            having
        }
    })
}

/// The part begins in the upper or in the lower half of a byte; what of it fills whole bytes is looked for, the rest compared.
fn rows_with_digits(rows: &[u8], length: usize, edge: Edge, part: &[u8]) -> RoaringBitmap {
    let mut digits = [0; 2 * TOKEN_BYTES_MAX];
    let width = Shape::Hex(length).width();
    let mut has_part = |row: &[u8]| {
        let text = &mut digits[..2 * row.len()];
        hex::encode_to_slice(row, text).expect("invariant: two digits a byte");
        edge.has(&text[..length], part)
    };
    let finders = [0, 1].map(|begun| {
        let whole = &part[begun..begun + (part.len() - begun) / 2 * 2];
        Finder::new(pack(whole, &mut [0; TOKEN_BYTES_MAX])).into_owned()
    });
    let (mut having, count) = (RoaringBitmap::new(), ROWS_BYTES / width);
    for (some, first) in rows.chunks(count * width).zip((0..).step_by(count)) {
        for finder in &finders {
            add_rows_with((some, width), finder, &mut has_part, |row| {
                having.insert(first + row);
            });
        }
    }
    having
}

/// Gives the numbers of rows of a width that contain what is looked for, at least a byte, and pass.
fn add_rows_with(
    (rows, width): (&[u8], usize),
    finder: &Finder<'_>,
    mut passes: impl FnMut(&[u8]) -> bool,
    mut take: impl FnMut(u32),
) {
    let (bytes, mut from) = (finder.needle(), 0);
    while let Some(at) = finder.find(&rows[from..]).map(|at| from + at) {
        let (row, within) = (at / width, at % width);
        let start = row * width;
        if within + bytes.len() <= width && passes(&rows[start..start + width]) {
            take(row as u32);
            from = start + width;
        } else {
            from = at + 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_an_id() {
        let check = |token: &str, expected: Option<Shape>| assert_eq!(Shape::of(token.as_bytes()), expected, "{token}");
        check("ffc8ca7e4c8f06c75142c880d5595d96", Some(Shape::Hex(32)));
        check("59c0d717dd08", Some(Shape::Hex(12)));
        check("deadbeef", Some(Shape::Hex(8)));
        check("123456", Some(Shape::Hex(6)));
        check("12345", None);
        check("facade", None);
        check("8eed", None);
        check("908318z", Some(Shape::Text(7)));
        check("utf8", None);
        check(&"0f".repeat(20), Some(Shape::Text(40)));
        check(&"f".repeat(40), None);
        check("größe", None);
    }

    /// Every part of every id at every edge, against looking at each.
    #[test]
    fn whole_ids_and_parts_of_them() {
        let mut state = 7_u64;
        let mut next = |below: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % below
        };
        let letters = b"0123456789abcdefz";
        let mut chunks = vec![Vec::<Vec<u8>>::new(); 12];
        for chunk in &mut chunks {
            for _ in 0..30 {
                let (length, alphabet) = (6 + next(30) as usize, [3, 10, 16, 17][next(4) as usize]);
                let token: Vec<u8> = (0..length).map(|_| letters[next(alphabet) as usize]).collect();
                if is_id(&token) && !chunk.contains(&token) {
                    chunk.push(token);
                }
            }
        }
        let mut builder = IdsBuilder::new(ScratchSpace::default());
        for (chunk, tokens) in (0..).zip(&chunks) {
            assert!(tokens.iter().all(|token| builder.push(token, chunk).unwrap().is_some()));
        }
        let (pages, directory) = builder.finish().unwrap();
        let pages = weir_blocks::testing::bytes_of(&pages);
        let lists = IdLists::decode(&directory, pages.len() as u64).unwrap();
        let tables: BTreeMap<Shape, Table> = lists
            .0
            .iter()
            .map(|(shape, list)| {
                (*shape, list.decode_page(0, &pages[list.range(0).start as usize..list.range(0).end as usize], 12).unwrap())
            })
            .collect();
        let mut asked = 0;
        for token in chunks.iter().flatten() {
            for start in (0..token.len() - 3).step_by(3) {
                for end in [start + 3, start + 4, start + 7, token.len() - 1, token.len()] {
                    let Some(part) = token.get(start..end).filter(|part| part.len() >= 3) else { continue };
                    for edge in [Edge::Start, Edge::End, Edge::Anywhere] {
                        let mut found = RoaringBitmap::new();
                        let tables: Vec<_> = tables.iter().map(|(shape, table)| (*shape, StoredTable::Whole(table))).collect();
                        add_chunks_with_part(&tables, (edge, part), 12, &mut found).unwrap();
                        let has = |chunk: &u32| chunks[*chunk as usize].iter().any(|token| edge.has(token, part));
                        let expected: Vec<u32> = (0..12).filter(has).collect();
                        assert_eq!(found.iter().collect::<Vec<_>>(), expected, "{edge:?} {}", String::from_utf8_lossy(part));
                        asked += 1;
                    }
                }
            }
            let mut found = RoaringBitmap::new();
            add_chunks_with(token, |shape| tables.get(&shape).map(StoredTable::Whole), &mut found).unwrap();
            let has = |chunk: &u32| chunks[*chunk as usize].contains(token);
            assert_eq!(found.iter().collect::<Vec<_>>(), (0..12).filter(has).collect::<Vec<_>>());
        }
        assert!(asked > 1000, "{asked}");
    }
}
