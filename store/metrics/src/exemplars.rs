//! Exemplars of one series: settled, and the codec of those that a block has. Format: `docs/formats/metrics_block.md`.

use weir_model::label::Labels;
use weir_model::metric::Exemplar;

use super::schema::MILLISECOND;
use weir_blocks::packed::{Cursor, put_bytes, put_varint, put_zigzag};

/// Of a series in one block: a page shows some tens of them, and a block is a few hours long.
pub(crate) const EXEMPLARS_MAX: usize = 100;

/// Sorts them by time; one that was told more than once is there once.
pub(crate) fn settle(exemplars: &mut Vec<Exemplar>) {
    exemplars.sort_by(|a, b| {
        let order = a.timestamp.cmp(&b.timestamp).then_with(|| a.value.to_bits().cmp(&b.value.to_bits()));
        order.then_with(|| a.labels.cmp(&b.labels))
    });
    exemplars.dedup_by(|a, b| a.same_bits(b));
}

/// Leaves the newest of settled ones, as many as a block may have; how many went.
pub(crate) fn cap(exemplars: &mut Vec<Exemplar>) -> u64 {
    let dropped = exemplars.len().saturating_sub(EXEMPLARS_MAX);
    exemplars.drain(..dropped);
    dropped as u64
}

/// Earliest and latest millisecond of settled ones.
pub(crate) fn times(exemplars: &[Exemplar]) -> Option<(i64, i64)> {
    let of = |exemplar: &Exemplar| exemplar.timestamp.div_euclid(MILLISECOND);
    Some((of(exemplars.first()?), of(exemplars.last()?)))
}

pub(crate) fn encode(exemplars: &[Exemplar], out: &mut Vec<u8>) {
    put_varint(out, exemplars.len() as u64);
    let mut before = 0_i64;
    for exemplar in exemplars {
        put_zigzag(out, exemplar.timestamp.wrapping_sub(before));
        out.extend_from_slice(&exemplar.value.to_bits().to_le_bytes());
        put_varint(out, exemplar.labels.len() as u64);
        for text in exemplar.labels.iter().flat_map(|(name, value)| [name, value]) {
            put_bytes(out, text.as_bytes());
        }
        before = exemplar.timestamp;
    }
}

/// Errors with a sentence.
pub(crate) fn decode(bytes: &[u8]) -> Result<Vec<Exemplar>, String> {
    let mut cursor = Cursor::new(bytes);
    let mut timestamp = 0_i64;
    let mut exemplars = Vec::new();
    for _ in 0..cursor.count(10)? {
        timestamp = timestamp.wrapping_add(cursor.zigzag()?);
        let value = f64::from_bits(u64::from_le_bytes(cursor.array()?));
        let count = cursor.count(2)?;
        let mut pairs = Vec::with_capacity(count);
        for _ in 0..count {
            pairs.push((cursor.text()?, cursor.text()?));
        }
        exemplars.push(Exemplar { labels: Labels::from_pairs(pairs), value, timestamp });
    }
    cursor.end()?;
    Ok(exemplars)
}

/// Memory of a list of them.
pub(crate) fn memory(exemplars: &[Exemplar]) -> usize {
    size_of_val(exemplars) + exemplars.iter().map(|exemplar| exemplar.labels.memory()).sum::<usize>()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, proptest};

    use super::*;

    fn exemplar(trace: &str, value: f64, timestamp: i64) -> Exemplar {
        Exemplar { labels: Labels::from_pairs([("trace_id", trace)]), value, timestamp }
    }

    #[test]
    fn each_is_there_once_and_the_newest_stay() {
        let mut all = vec![exemplar("b", 1.0, 9), exemplar("a", 1.0, 5), exemplar("b", 1.0, 9), exemplar("a", 2.0, 5)];
        settle(&mut all);
        assert_eq!(all, [exemplar("a", 1.0, 5), exemplar("a", 2.0, 5), exemplar("b", 1.0, 9)]);
        assert_eq!((cap(&mut all), times(&all)), (0, Some((0, 0))));
        let mut many: Vec<_> = (0..130).map(|i| exemplar("x", 0.5, i)).collect();
        assert_eq!((cap(&mut many), many.len(), many[0].timestamp), (30, 100, 30));
    }

    proptest! {
        #[test]
        fn they_come_back(all in proptest::collection::vec((any::<i64>(), any::<u64>(), "[a-c]{0,3}"), 0..20)) {
            let all: Vec<_> = all.into_iter().map(|(at, bits, trace)| exemplar(&trace, f64::from_bits(bits), at)).collect();
            let mut out = Vec::new();
            encode(&all, &mut out);
            let read = decode(&out).unwrap();
            assert!(read.len() == all.len() && read.iter().zip(&all).all(|(one, other)| one.same_bits(other)));
        }

        #[test]
        fn hostile_bytes_are_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _refused = decode(&bytes);
        }
    }
}
