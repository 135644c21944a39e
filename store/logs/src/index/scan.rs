//! The rows of tables read from end to end, for a part of an id. Tables of a block lie one after the other, one for each length of ids and
//! most of them small: what is not in memory is read together, and the pages of rows that are found are taken out of what was read.
//! Called by `ids`.

use std::sync::Arc;

use roaring::RoaringBitmap;

use super::cache::OpenSection;
use super::stored_table::{PIECE_BYTES, PagedTable, StoredTable};
use weir_blocks::StoreError;

/// What lies between two tables is read with them up to so much: about what a store gives in the time that a request takes.
const GAP_BYTES: u64 = 256 << 10;

/// Adds the chunks of the rows that `select` names of each table, until there are `all` chunks. Tables in memory are asked first. Errors
/// with `Corrupt`.
pub(super) fn add_chunks_of_rows<K: Copy>(
    tables: &[(K, &StoredTable<'_>)],
    all: u64,
    found: &mut RoaringBitmap,
    select: impl Fn(K, &[u8]) -> RoaringBitmap,
) -> Result<(), StoreError> {
    let mut missing = Vec::new();
    for (key, table) in tables {
        let named = match table {
            StoredTable::Whole(whole) => select(*key, whole.rows()),
            StoredTable::Paged(paged) => match paged.kept_rows()? {
                Some(rows) => select(*key, &rows),
                None => {
                    missing.push((*key, paged));
                    continue;
                }
            },
        };
        table.add_chunks_of(&named, found)?;
        if found.len() == all {
            return Ok(());
        }
    }
    let mut left = &missing[..];
    while !left.is_empty() && found.len() < all {
        let (own, rest) = left.split_at(lying_together(left));
        read(own, found, &select)?;
        left = rest;
    }
    Ok(())
}

/// How many of the tables, from the first on, are read in one piece: at least one.
fn lying_together<K>(tables: &[(K, &PagedTable<'_>)]) -> usize {
    let memory = |table: &PagedTable<'_>| table.list.rows_bytes() as u64;
    let first = tables[0].1;
    let (start, mut end, mut rows) = (first.list.all().start, first.list.all().end, memory(first));
    let joins = |(_, table): &&(K, &PagedTable<'_>)| {
        let range = table.list.all();
        let is_near = range.start.saturating_sub(end) <= GAP_BYTES;
        (end, rows) = (range.end, rows + memory(table));
        is_near && end - start + rows <= PIECE_BYTES
    };
    1 + tables[1..].iter().take_while(joins).count()
}

/// Reads tables of one section in one piece, keeps their rows, and adds the chunks of those that are named.
fn read<K: Copy>(
    tables: &[(K, &PagedTable<'_>)],
    found: &mut RoaringBitmap,
    select: impl Fn(K, &[u8]) -> RoaringBitmap,
) -> Result<(), StoreError> {
    let (first, last) = (tables[0].1, tables[tables.len() - 1].1);
    let (index, range) = (first.index, first.list.all().start..last.list.all().end);
    index.may_read()?;
    let rows: u64 = tables.iter().map(|(_, table)| table.list.rows_bytes() as u64).sum();
    let _turn = index.cache.turns.bytes((range.end - range.start).saturating_add(rows), index.budget)?;
    let stored = index.reader.section_range(first.section, range.clone())?;
    for (key, table) in tables {
        index.check_ended()?;
        let own = table.list.all();
        let bytes = &stored[(own.start - range.start) as usize..(own.end - range.start) as usize];
        let rows = table.list.decode_rows(bytes).map_err(|detail| index.wrong(first.section, detail))?;
        let named = select(*key, &rows);
        index.cache.keep(table.rows_key(), OpenSection::Rows(Arc::new(rows)));
        table.add_chunks_out_of((&stored, range.start), &named, found)?;
    }
    Ok(())
}
