//! Rows that owners gave, held in the memory of the query that asked for them. Filled by `collect`, emptied by the readers.

use weir_heads::Row;
use weir_model::select::{Budget, ReadError};

/// Rows of all partitions; their memory is given back with them.
pub(super) struct HeldRows<'a> {
    rows: Vec<Row>,
    bytes: u64,
    budget: &'a dyn Budget,
}

impl<'a> HeldRows<'a> {
    pub(super) fn new(budget: &'a dyn Budget) -> Self {
        Self { rows: Vec::new(), bytes: 0, budget }
    }

    /// Adds a partition's rows. Errors when the query may not hold so much.
    pub(super) fn extend(&mut self, rows: Vec<Row>) -> Result<(), ReadError> {
        let bytes = rows.iter().map(|row| row.memory_bytes() as u64).sum();
        self.budget.reserve(bytes)?;
        self.bytes += bytes;
        self.rows.extend(rows);
        Ok(())
    }

    /// All of them, and none are left here.
    pub(super) fn take(&mut self) -> Self {
        std::mem::replace(self, Self::new(self.budget))
    }

    /// Gives them one by one. Their memory stays reserved until this is dropped: what they are added up to has their texts.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = Row> + '_ {
        self.rows.drain(..)
    }
}

impl Drop for HeldRows<'_> {
    fn drop(&mut self) {
        self.budget.release(self.bytes);
    }
}
