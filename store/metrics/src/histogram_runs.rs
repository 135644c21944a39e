//! The histogram codec: neighbouring histograms of one series that are laid out alike as one run, each count a column of its own in
//! time. Every bit is kept. Format: `docs/formats/metrics_block.md`.

use std::ops::Range;
use std::sync::Arc;

use weir_model::histogram::{BUCKETS_MAX, Buckets, Histogram, ResetHint, Span};

use super::aggregates::{self, AGGREGATE_SCHEMA};
use super::values;
use weir_blocks::packed::{Cursor, put_varint, put_zigzag};

/// Numbers of a run (each of its histograms has spans and bounds of its own once decoded), or one histogram if that has more: 512 KiB once decoded.
const RUN_NUMBERS: usize = 1 << 16;
/// Sum, count, count of the zero bucket.
const OTHERS: usize = 3;

const INTEGER: u8 = 0b1;
/// The count is what its buckets have together.
const COUNTED: u8 = 0b10;
/// All have the reset hint of bits 3 and 4; else each has its own.
const ONE_RESET: u8 = 0b100;
const RESET_SHIFT: u8 = 3;
const FLAGS: u8 = 0b1_1111;

const RESETS: [ResetHint; 4] = [ResetHint::Unknown, ResetHint::Reset, ResetHint::NotReset, ResetHint::Gauge];

/// The first of these as one run: how many.
pub(crate) fn run_length(histograms: &[(u32, Arc<Histogram>)]) -> usize {
    let Some((first_place, first)) = histograms.first() else { return 0 };
    let most = (RUN_NUMBERS / numbers(first)).max(1);
    let goes_on = |(i, (place, own)): (u32, &(u32, Arc<Histogram>))| *place == first_place + i && first.is_laid_out_as(own);
    (0..).zip(histograms).take(most).take_while(|next| goes_on(*next)).count()
}

/// What a histogram takes in a run that is written.
fn numbers(own: &Histogram) -> usize {
    columns(own) + own.positive.spans.len() + own.negative.spans.len() + own.custom_bounds.len()
}

/// Its numbers that are its own. A reader asks no more of a run than that these fit: runs were once written so.
fn columns(own: &Histogram) -> usize {
    OTHERS + own.positive.counts.len() + own.negative.counts.len()
}

/// Appends a run, see [`run_length`].
pub(crate) fn encode(run: &[(u32, Arc<Histogram>)], out: &mut Vec<u8>) {
    let Some((place, first)) = run.first() else { return };
    put_varint(out, u64::from(*place));
    put_varint(out, run.len() as u64);
    let is_counted = run.iter().all(|(_, own)| own.observations().to_bits() == own.count.to_bits());
    let one_reset = run.iter().all(|(_, own)| own.reset == first.reset);
    let mut flags = if first.is_integer { INTEGER } else { 0 };
    flags |= if is_counted { COUNTED } else { 0 };
    flags |= if one_reset { ONE_RESET | (first.reset as u8) << RESET_SHIFT } else { 0 };
    out.extend([flags, first.schema as u8]);
    out.extend_from_slice(&first.zero_threshold.to_bits().to_le_bytes());
    for side in [&first.positive, &first.negative] {
        put_varint(out, side.spans.len() as u64);
        for span in &side.spans {
            put_zigzag(out, i64::from(span.offset));
            put_varint(out, u64::from(span.length));
        }
    }
    put_varint(out, first.custom_bounds.len() as u64);
    first.custom_bounds.iter().for_each(|bound| out.extend_from_slice(&bound.to_bits().to_le_bytes()));
    if !one_reset {
        out.extend(run.iter().map(|(_, own)| own.reset as u8));
    }
    let mut column: Vec<f64> = Vec::with_capacity(run.len());
    let mut put = |of: &dyn Fn(&Histogram) -> f64| {
        column.clear();
        column.extend(run.iter().map(|(_, own)| of(own)));
        values::encode(&column, out);
    };
    put(&|own| own.sum);
    if !is_counted {
        put(&|own| own.count);
    }
    put(&|own| own.zero_count);
    (0..first.positive.counts.len()).for_each(|bucket| put(&|own| own.positive.counts[bucket]));
    (0..first.negative.counts.len()).for_each(|bucket| put(&|own| own.negative.counts[bucket]));
}

/// A run of which the layout has been read.
pub(crate) struct Run<'a> {
    /// Which samples of the series.
    pub places: Range<u32>,
    /// Counts are zeros.
    layout: Histogram,
    flags: u8,
    rest: Cursor<'a>,
}

impl<'a> Run<'a> {
    /// Errors with a sentence.
    pub(crate) fn parse(bytes: &'a [u8]) -> Result<Self, String> {
        let mut cursor = Cursor::new(bytes);
        let (place, length) = (cursor.small()?, cursor.small()?);
        let end = place.checked_add(length).filter(|_| length > 0).ok_or("a run of no histograms")?;
        let flags = cursor.byte()?;
        if flags & !FLAGS != 0 {
            return Err(format!("flags {flags:#04x}"));
        }
        let schema = cursor.byte()? as i8;
        let zero_threshold = f64::from_bits(u64::from_le_bytes(cursor.array()?));
        let positive = side(&mut cursor)?;
        let negative = side(&mut cursor)?;
        let bounds = cursor.count(8)?;
        if bounds > BUCKETS_MAX {
            return Err(format!("{bounds} custom bounds"));
        }
        let mut custom_bounds = Vec::with_capacity(bounds);
        for _ in 0..bounds {
            custom_bounds.push(f64::from_bits(u64::from_le_bytes(cursor.array()?)));
        }
        let (reset, is_integer) = (RESETS[usize::from(flags >> RESET_SHIFT)], flags & INTEGER != 0);
        let (count, sum, zero_count) = (0.0, 0.0, 0.0);
        let layout =
            Histogram { schema, reset, is_integer, count, sum, zero_threshold, zero_count, positive, negative, custom_bounds };
        if length > 1 && length as usize * columns(&layout) > RUN_NUMBERS {
            return Err(format!("a run of {length} histograms of {} numbers", columns(&layout)));
        }
        check(&layout, true)?;
        Ok(Self { places: place..end, layout, flags, rest: cursor })
    }

    /// Memory of so many of its histograms.
    pub(crate) fn memory(&self, count: usize) -> usize {
        self.layout.memory() * count
    }

    /// Memory while they are decoded.
    pub(crate) fn decoding_memory(&self) -> usize {
        columns(&self.layout) * (self.places.len() * 8 + 32)
    }

    /// Those of these places, which are its own.
    pub(crate) fn decode(mut self, wanted: Range<u32>) -> Result<Vec<Arc<Histogram>>, String> {
        let length = self.places.len();
        let resets = if self.flags & ONE_RESET == 0 { Some(self.rest.take(length)?) } else { None };
        let mut next = || -> Result<Vec<f64>, String> {
            let mut column = Vec::with_capacity(length);
            values::decode(&mut self.rest, length, &mut column).map(|()| column)
        };
        let sum = next()?;
        let count = if self.flags & COUNTED == 0 { Some(next()?) } else { None };
        let zero_count = next()?;
        let positive = (0..self.layout.positive.counts.len()).map(|_| next()).collect::<Result<Vec<_>, _>>()?;
        let negative = (0..self.layout.negative.counts.len()).map(|_| next()).collect::<Result<Vec<_>, _>>()?;
        self.rest.end()?;
        let first = self.places.start;
        let one = |place: u32| {
            let at = (place - first) as usize;
            let mut own = self.layout.clone();
            (own.sum, own.zero_count) = (sum[at], zero_count[at]);
            own.positive.counts.iter_mut().zip(&positive).for_each(|(count, column)| *count = column[at]);
            own.negative.counts.iter_mut().zip(&negative).for_each(|(count, column)| *count = column[at]);
            own.count = count.as_ref().map_or_else(|| own.observations(), |count| count[at]);
            if let Some(resets) = resets {
                own.reset = *RESETS.get(usize::from(resets[at])).ok_or_else(|| format!("reset hint {}", resets[at]))?;
            }
            check(&own, false)?;
            Ok(Arc::new(own))
        };
        wanted.map(one).collect()
    }
}

/// Errors with a sentence where it is neither a histogram nor an aggregate; of a layout numbers are not looked at.
fn check(own: &Histogram, is_layout: bool) -> Result<(), String> {
    match own.schema {
        AGGREGATE_SCHEMA => aggregates::check(own, is_layout),
        _ => own.check_shape().map_err(|error| error.to_string()),
    }
}

/// Buckets of zeros.
fn side(cursor: &mut Cursor<'_>) -> Result<Buckets, String> {
    let count = cursor.count(2)?;
    if count > BUCKETS_MAX {
        return Err(format!("{count} spans"));
    }
    let mut spans = Vec::with_capacity(count);
    let mut buckets = 0_u64;
    for _ in 0..count {
        let (offset, length) = (cursor.zigzag()?, cursor.small()?);
        let offset = i32::try_from(offset).map_err(|_| format!("a span after {offset} buckets"))?;
        buckets += u64::from(length);
        spans.push(Span { offset, length });
    }
    if buckets > BUCKETS_MAX as u64 {
        return Err(format!("{buckets} buckets"));
    }
    Ok(Buckets { spans, counts: vec![0.0; buckets as usize] })
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::{Just, Strategy, any, prop_oneof, proptest};
    use weir_model::histogram::CUSTOM_BUCKETS_SCHEMA;
    use weir_model::metric::STALE_NAN;

    use super::*;

    fn number() -> impl Strategy<Value = f64> {
        prop_oneof![
            6 => (0..1000_u32).prop_map(f64::from),
            1 => any::<u64>().prop_map(f64::from_bits),
            1 => Just(-0.0),
            1 => Just(STALE_NAN),
        ]
    }

    /// Of a few layouts, so that neighbours are often alike.
    pub(crate) fn histogram() -> impl Strategy<Value = Arc<Histogram>> {
        let numbers = proptest::collection::vec(number(), 8);
        (0..4_usize, numbers, 0..6_usize, any::<bool>()).prop_map(|(layout, numbers, reset, whole)| {
            let spans = [vec![(-3, 2), (4, 1)], vec![(0, 3)], vec![], vec![(0, 1), (0, 0), (1, 1)]];
            let side = |spans: &[(i32, u32)], counts: &[f64]| {
                let spans: Vec<Span> = spans.iter().map(|(offset, length)| Span { offset: *offset, length: *length }).collect();
                let buckets = spans.iter().map(|span| span.length as usize).sum();
                Buckets { spans, counts: counts[..buckets].to_vec() }
            };
            let is_custom = layout == 3;
            let positive = side(&spans[layout], &numbers[..3]);
            let negative = if layout == 1 { side(&[(1, 2)], &numbers[3..5]) } else { Buckets::default() };
            let mut own = Histogram {
                schema: if is_custom { CUSTOM_BUCKETS_SCHEMA } else { layout as i8 },
                reset: *RESETS.get(reset).unwrap_or(&ResetHint::Unknown),
                is_integer: whole,
                count: numbers[5],
                sum: numbers[6],
                zero_threshold: if is_custom { 0.0 } else { 1e-3 },
                zero_count: if is_custom { 0.0 } else { numbers[7] },
                positive,
                negative,
                custom_bounds: if is_custom { vec![0.5, 1.0, 2.0] } else { Vec::new() },
            };
            if whole {
                own.count = own.observations();
            }
            Arc::new(own)
        })
    }

    fn through(all: &[(u32, Arc<Histogram>)]) -> Vec<(u32, Arc<Histogram>)> {
        let (mut rest, mut read) = (all, Vec::new());
        while !rest.is_empty() {
            let (run, after) = rest.split_at(run_length(rest));
            let mut bytes = Vec::new();
            encode(run, &mut bytes);
            let parsed = Run::parse(&bytes).unwrap();
            let places = parsed.places.clone();
            read.extend(places.clone().zip(parsed.decode(places).unwrap()));
            rest = after;
        }
        read
    }

    proptest! {
        #[test]
        fn every_bit_comes_back(all in proptest::collection::vec((histogram(), 0..2_u32), 0..40)) {
            let mut next = 0;
            let all: Vec<_> = all.into_iter().map(|(own, gap)| {
                next += 1 + gap;
                (next, own)
            }).collect();
            let read = through(&all);
            assert_eq!(read.len(), all.len());
            assert!(read.iter().zip(&all).all(|(one, other)| one.0 == other.0 && one.1.same_bits(&other.1)));
        }

        #[test]
        fn hostile_bytes_are_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(run) = Run::parse(&bytes) {
                let places = run.places.clone();
                let _refused = run.decode(places);
            }
        }
    }

    #[test]
    fn a_run_has_a_bounded_number_of_numbers() {
        let counts = vec![1.0; 1000];
        let positive = Buckets { spans: vec![Span { offset: 0, length: 1000 }], counts };
        let own = Histogram {
            schema: 0,
            reset: ResetHint::Unknown,
            is_integer: true,
            count: 1000.0,
            sum: 7.0,
            zero_threshold: 0.0,
            zero_count: 0.0,
            positive,
            negative: Buckets::default(),
            custom_bounds: Vec::new(),
        };
        let all: Vec<_> = (0..200).map(|place| (place, Arc::new(own.clone()))).collect();
        assert_eq!(run_length(&all), 65);
        let positive = Buckets { spans: vec![Span { offset: 1, length: 0 }; 1000], counts: Vec::new() };
        let empty = Histogram { positive, count: 0.0, ..own.clone() };
        assert_eq!(run_length(&(0..200).map(|place| (place, Arc::new(empty.clone()))).collect::<Vec<_>>()), 65);
        assert!(through(&all) == all);
        let mut bytes = Vec::new();
        encode(&all[..66], &mut bytes);
        assert_eq!(Run::parse(&bytes).err().unwrap(), "a run of 66 histograms of 1003 numbers");
    }
}
