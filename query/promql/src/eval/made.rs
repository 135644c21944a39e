//! Histograms that are made of others, step by step: once for neighbours that are the same, and charged as they are made.

use std::sync::Arc;

use weir_model::histogram::Histogram;
use weir_model::select::{ReadError, Tally};

/// A result, and whether a filtering comparison keeps it.
type Kept = Option<(Arc<Histogram>, bool)>;

/// What is made for one row.
pub(super) struct Made<'t, 'b> {
    tally: &'t mut Tally<'b>,
    bytes: u64,
    /// What was made last, and of which histogram and number.
    last: Option<(Arc<Histogram>, u64, Kept)>,
}

impl<'t, 'b> Made<'t, 'b> {
    pub fn new(tally: &'t mut Tally<'b>) -> Self {
        Self { tally, bytes: 0, last: None }
    }

    /// The memory that was taken so far.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// What `make` gives of a histogram and a number, to the bit; it is not asked again where both are those of the last time.
    pub fn of(&mut self, own: &Arc<Histogram>, number: f64, make: impl FnOnce() -> Kept) -> Result<Kept, ReadError> {
        let bits = number.to_bits();
        if let Some((_, _, result)) = self.last.as_ref().filter(|last| Arc::ptr_eq(&last.0, own) && last.1 == bits) {
            return Ok(result.clone());
        }
        let result = make();
        if let Some((made, _)) = result.as_ref().filter(|(made, _)| !Arc::ptr_eq(made, own)) {
            self.take(made)?;
        }
        self.last = Some((own.clone(), bits, result.clone()));
        Ok(result)
    }

    /// The same of a histogram alone.
    pub fn one(&mut self, own: &Arc<Histogram>, make: impl FnOnce(&Histogram) -> Histogram) -> Result<Arc<Histogram>, ReadError> {
        let result = self.of(own, 0.0, || Some((Arc::new(make(own)), true)))?;
        Ok(result.map_or_else(|| own.clone(), |(made, _)| made))
    }

    /// One that was made otherwise.
    pub fn take(&mut self, made: &Histogram) -> Result<(), ReadError> {
        let bytes = made.memory() as u64;
        self.tally.take(bytes)?;
        self.bytes += bytes;
        Ok(())
    }
}
