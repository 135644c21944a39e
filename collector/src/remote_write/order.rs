//! Which series is named next: a sender names its series in one order, so that the one that came after a series the last time is mostly
//! that which comes now. It is known again by its fingerprint, like all others; a right guess spares the table, and what is known of
//! the series is on its way to the processor while its message is read. Called by [`super::sections`]; nothing but time depends on it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use super::series::Known;
use crate::fingerprint::Fingerprint;

/// The index of none. A series beyond four billion is not guessed.
const NONE: u32 = u32::MAX;

/// A series' place among its tenant's, and that of the series which a request named after it last.
pub(super) struct Turn {
    index: u32,
    next: AtomicU32,
}

/// A tenant's series by index.
#[derive(Default)]
pub(super) struct Order(Vec<Arc<Known>>);

/// Where a request is.
pub(super) struct Walk {
    /// The series before.
    before: u32,
}

impl Order {
    /// What a series takes here: the list doubles, and may be half full.
    pub const BYTES: usize = 2 * size_of::<Arc<Known>>();

    /// Of the series that is added next.
    pub fn turn(&self) -> Turn {
        Turn { index: u32::try_from(self.0.len()).unwrap_or(NONE), next: AtomicU32::new(NONE) }
    }

    pub fn push(&mut self, known: &Arc<Known>) {
        self.0.push(Arc::clone(known));
    }

    fn get(&self, index: u32) -> Option<&Arc<Known>> {
        self.0.get(index as usize)
    }

    /// The series that is expected, with its fingerprint.
    #[inline]
    pub fn expected(&self, walk: &Walk) -> Option<(&Arc<Known>, Fingerprint)> {
        let next = self.get(walk.before)?.turn.next.load(Ordering::Relaxed);
        self.get(next).map(|known| (known, known.fingerprint))
    }

    /// It was this one that came.
    pub fn came(&self, walk: &mut Walk, known: &Known) {
        let index = known.turn.index;
        // What has an exemplar is named twice.
        if let Some(before) = self.get(walk.before).filter(|_| index != walk.before) {
            before.turn.next.store(index, Ordering::Relaxed);
        }
        walk.before = index;
    }
}

impl Walk {
    pub fn begin() -> Self {
        Self { before: NONE }
    }

    /// It was the one that was expected.
    #[inline]
    pub fn as_expected(&mut self, known: &Known) {
        self.before = known.turn.index;
    }
}

#[cfg(test)]
mod tests {
    use prost::Message;
    use weir_model::fuzz::Random;
    use weir_model::prompb::{TimeSeries, WriteRequest, labels, upgrade};

    use super::super::tests::{NOW, request, sample, series};
    use crate::config::PushConfig;
    use crate::hostile::{Bench, bench};

    /// A sample's bits, by series and time.
    type Taken = (String, i64, u64);

    /// Everything that a request comes to: its samples, and what is refused.
    fn outcome(bench: &Bench, is_2: bool, message: &[u8]) -> Result<(Vec<Taken>, String), String> {
        let packed = snap::raw::Encoder::new().compress_vec(message).unwrap();
        let taken = bench.remote_write(is_2, &packed).map_err(|error| error.to_string())?;
        let mut all = Vec::new();
        for batch in taken.sections.iter().map(|section| &section.batch) {
            for row in &batch.rows {
                let own = batch.schema.series.iter().zip(&row.values);
                all.extend(own.map(|(own, value)| (batch.target.merged(own).to_string(), row.timestamp, value.to_bits())));
            }
        }
        all.sort();
        // Of several that are refused, the first is that of the first column, which another order makes another one.
        Ok((all, format!("{:?} {:?}", taken.written, taken.refused.by_reason)))
    }

    /// Some of these series in their order, in which something may have changed.
    fn some(random: &mut Random, all: &[TimeSeries]) -> WriteRequest {
        let (start, count) = (random.below(all.len()), 1 + random.below(all.len()));
        let mut own: Vec<TimeSeries> = all.iter().cycle().skip(start).take(count).cloned().collect();
        for at in 0..own.len() {
            own[at].samples[0].value = random.below(1000) as f64;
            match random.below(20) {
                0 => own.swap(at, start % count),
                1 => own[at] = own[start % count].clone(),
                2 => own[at].labels.reverse(),
                3 => own[at].labels.last_mut().unwrap().value.push(b'x'),
                4 => own[at].samples.clear(),
                _ => {}
            }
            if own[at].samples.is_empty() {
                own[at].samples.push(sample(NOW + 1, 0.5));
            }
        }
        request(own)
    }

    #[test]
    fn what_was_named_before_changes_nothing() {
        let mut random = Random::new(7);
        let plain = (0..24).map(|i| series(&format!("m{}", i % 7), &format!("job{}", i / 7), vec![sample(NOW, 1.0)]));
        let bare = TimeSeries { labels: labels([("__name__", "up")]), samples: vec![sample(NOW, 1.0)], ..TimeSeries::default() };
        let all: Vec<TimeSeries> = plain.chain([bare]).collect();
        let known = bench(PushConfig::default());
        let (mut taken, mut refused) = (0, 0);
        for round in 0..600 {
            let request = some(&mut random, &all);
            let is_2 = round % 2 == 0;
            let mut message = if is_2 { upgrade(&request).encode_to_vec() } else { request.encode_to_vec() };
            // As they are, and with bytes that say something else.
            for _ in 0..random.below(4) {
                let at = random.below(message.len());
                message[at] ^= 1 << random.below(8);
            }
            let (seen, expected) = (outcome(&known, is_2, &message), outcome(&bench(PushConfig::default()), is_2, &message));
            assert_eq!(seen, expected, "round {round}");
            match seen {
                Ok(_) => taken += 1,
                Err(_) => refused += 1,
            }
        }
        assert!(taken > 200 && refused > 20, "{taken} were read, {refused} were not");
    }
}
