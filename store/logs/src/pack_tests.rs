//! Chunks of one pack: each has its own lines and tokens, and is asked for its own alone.

use std::ops::{ControlFlow, Range};

use proptest::prelude::{ProptestConfig, prop, proptest};
use weir_model::id::{LineId, TraceId};
use weir_model::label::Labels;
use weir_model::log::LogRecord;
use weir_model::select::LineFilter;
use weir_model::time::{TimeRange, UnixNanos};

use super::builder::OpenChunk;
use super::chunk::PackedChunk;
use super::encode_tests::{Line, Piece, lines, record, set};
use super::filter::Filters;
use super::stored::StoredLines;
use super::take::EachLine;

/// Lines of several chunks, of which the first is the line of that number; `ends` are relative to it.
fn pack(shapes: &[Vec<Piece>], lines: &[Line], first: usize, ends: &[u32]) -> (StoredLines, Vec<PackedChunk>) {
    let mut open = OpenChunk::new(3);
    for (i, line) in (first as u64..).zip(lines) {
        let (body, attributes) = (line.body(shapes), line.attributes());
        open.push((i / 3, i as u32 % 3), record(line, &body, &attributes));
    }
    let (bytes, chunks) = open.finish_pack(ends).unwrap();
    let stored = StoredLines::open(bytes.into()).unwrap();
    stored.load().unwrap();
    (stored, chunks)
}

type Found = (LineId, Vec<u8>, u64, TraceId, Labels);

/// The lines that pass, and of each its time, severity and bytes.
fn ask(stored: &StoredLines, within: Range<usize>, filters: &Filters) -> (Vec<Found>, Vec<(UnixNanos, u8, usize)>) {
    let (mut found, mut measured, mut tallied) = (Vec::new(), Vec::new(), Vec::new());
    let mut take = |id: LineId, line: LogRecord<'_>| {
        found.push((id, line.body.to_vec(), line.sequence, line.trace_id, line.attributes.to_labels()));
        ControlFlow::Continue(())
    };
    let all = (within.clone(), TimeRange::ALL);
    let flow = stored.visit(all.clone(), filters, None, &mut EachLine(&mut take));
    assert_eq!(flow, Ok(ControlFlow::Continue(())));
    let mut measure = |time, severity, bytes| measured.push((time, severity, bytes));
    stored.measure(all, filters, &|_, _| true, &mut measure).unwrap();
    let mut tally = |time, severity| tallied.push((time, severity));
    if stored.tally((within, Some(TimeRange::ALL)), filters, &mut tally).unwrap() {
        assert!(tallied.iter().copied().eq(measured.iter().map(|(time, severity, _)| (*time, *severity))));
    }
    (found, measured)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn chunks_of_a_pack_are_as_if_each_were_alone(
        (shapes, lines) in lines(),
        cuts in prop::collection::vec(0..60_usize, 0..6),
        (line, at, length) in (0..60_usize, 0..40_usize, 0..20_usize),
    ) {
        let cuts = cuts.iter().map(|cut| (cut % lines.len()) as u32).filter(|end| *end > 0);
        let mut ends: Vec<u32> = cuts.chain([lines.len() as u32]).collect();
        ends.sort_unstable();
        ends.dedup();
        let (stored, chunks) = pack(&shapes, &lines, 0, &ends);
        let body = lines[line % lines.len()].body(&shapes);
        let at = at % (body.len() + 1);
        let filters = Filters::new(&[LineFilter::Contains(vec![body[at..(at + length).min(body.len())].to_vec()])]);
        let mut start = 0;
        for (end, chunk) in ends.iter().map(|end| *end as usize).zip(chunks) {
            let (own, within) = (&lines[start..end], start..end);
            let (alone, mut expected) = pack(&shapes, own, start, &[own.len() as u32]);
            let expected = expected.remove(0);
            assert_eq!((&chunk.meta, &chunk.runs), (&expected.meta, &expected.runs));
            assert_eq!(set(&chunk.tokens), set(&expected.tokens));
            let (everything, measured) = ask(&alone, 0..own.len(), &Filters::new(&[]));
            let passing = everything.into_iter().zip(measured).filter(|((_, body, ..), _)| filters.passes(body));
            let passing: (Vec<Found>, Vec<(UnixNanos, u8, usize)>) = passing.unzip();
            assert_eq!(ask(&stored, within.clone(), &filters), passing);
            let last = expected.runs.iter().flat_map(|run| run.places()).last().unwrap();
            assert_eq!(stored.find(within.clone(), last), Ok(Some(end - 1)));
            assert_eq!(stored.find(within, (u64::MAX, 0)), Ok(None));
            start = end;
        }
    }
}
