//! Any lines come back from a chunk byte for byte, its tokens are those of its lines, and what need not be rendered for a filter has
//! no line that passes.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use proptest::prelude::{Just, ProptestConfig, Strategy, any, prop, prop_oneof, proptest};
use weir_model::id::{LineId, SpanId, TraceId};
use weir_model::label::Labels;
use weir_model::log::LogRecord;
use weir_model::select::{Buckets, LineFilter, TemplateText};
use weir_model::time::{SECOND, TimeRange};

use super::builder::ChunkBuilder;
use super::chunk::EncodedChunk;
use super::filter::Filters;
use super::patterns::pattern_of;
use super::stored::StoredLines;
use super::take::EachLine;
use super::tokens::{TokenSet, Tokens};

/// A piece of a body.
#[derive(Clone, Debug)]
pub(super) enum Piece {
    Text(Vec<u8>),
    Number,
    Padded,
    Word,
    Hex(usize),
    Uuid,
    Clock(usize),
    Trace,
    Span,
    User,
}

#[derive(Clone, Debug)]
pub(super) struct Line {
    pub(super) timestamp: i64,
    sequence: u64,
    seed: u64,
    pub(super) shape: usize,
    context: u8,
}

const CLOCKS: [&str; 6] = [
    "{h}:{m}:{s}",
    "{h}:{m}:{s}.{f}",
    "2023-01-29T{h}:{m}:{s}.{f}Z",
    "{h}:{m}:{s},{f}{f}",
    "1999-12-31 {h}:{m}:{s}",
    "{h}:{m}:{s}.{f}x",
];

impl Piece {
    fn text(&self, line: &Line) -> Vec<u8> {
        let (seed, hex) = (line.seed, format!("{:016x}{:016x}", line.seed, line.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15)));
        let user = Line::user(line.context);
        match self {
            Self::Text(text) => text.clone(),
            Self::Number => (seed >> (seed % 64)).to_string().into(),
            Self::Padded => format!("{:03}", seed % 100).into(),
            Self::Word => format!("node{}", seed % 5).into(),
            Self::Hex(digits) => hex.as_bytes()[..*digits].to_vec(),
            Self::Uuid => format!("{}-{}-{}-abcd-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..28]).into(),
            Self::Clock(format) => {
                let fields = [
                    ("{h}", format!("{:02}", seed % 25)),
                    ("{m}", format!("{:02}", seed % 60)),
                    ("{s}", format!("{:02}", seed % 59)),
                ];
                let text = fields.iter().fold(CLOCKS[*format].to_owned(), |text, (name, value)| text.replace(name, value));
                text.replace("{f}", &format!("{:03}", seed % 1000)).into()
            }
            Self::Trace => hex::encode([line.context; 16]).into(),
            Self::Span => hex::encode([line.context.wrapping_mul(7); 8]).into(),
            Self::User => user.into_bytes(),
        }
    }
}

impl Line {
    fn user(context: u8) -> String {
        format!("abcdefgh{context}")
    }

    pub(super) fn attributes(&self) -> Labels {
        match self.context % 4 {
            0 => Labels::EMPTY,
            1 => Labels::from_pairs([("trace_id", hex::encode([self.context; 16])), ("user", Self::user(self.context))]),
            2 => {
                Labels::from_pairs([("user", Self::user(self.context)), ("span", hex::encode([self.context.wrapping_mul(7); 8]))])
            }
            _ => Labels::from_pairs([(
                "pod_uid",
                format!("{:08x}-0000-4000-8000-0000000000{:02x}", self.seed as u32, self.context),
            )]),
        }
    }

    pub(super) fn body(&self, shapes: &[Vec<Piece>]) -> Vec<u8> {
        shapes[self.shape % shapes.len()].iter().flat_map(|piece| piece.text(self)).collect()
    }
}

fn piece() -> impl Strategy<Value = Piece> {
    prop_oneof![
        4 => prop_oneof![Just(" "), Just("=abc "), Just(" größe "), Just(", ["), Just("-"), Just("x"), Just("-abcdefabcdef] "), Just("7")]
            .prop_map(|text| Piece::Text(text.into())),
        1 => prop::collection::vec(any::<u8>(), 0..6).prop_map(Piece::Text),
        2 => Just(Piece::Number),
        1 => Just(Piece::Padded),
        1 => Just(Piece::Word),
        2 => prop_oneof![Just(16_usize), Just(32), Just(7)].prop_map(Piece::Hex),
        1 => Just(Piece::Uuid),
        2 => (0..CLOCKS.len()).prop_map(Piece::Clock),
        1 => Just(Piece::Trace),
        1 => Just(Piece::Span),
        1 => Just(Piece::User),
    ]
}

fn time() -> impl Strategy<Value = i64> {
    prop_oneof![6 => 1_674_981_742_000_000_000..1_674_981_752_000_000_000_i64, 3 => (0..1000_i64).prop_map(|second| second * SECOND), 1 => any::<i64>()]
}

pub(super) fn lines() -> impl Strategy<Value = (Vec<Vec<Piece>>, Vec<Line>)> {
    let line = (time(), prop_oneof![Just(0_u64), any::<u64>()], prop_oneof![any::<u64>(), 0..4_u64], 0..4_usize, 0..6_u8)
        .prop_map(|(timestamp, sequence, seed, shape, context)| Line { timestamp, sequence, seed, shape, context });
    (prop::collection::vec(prop::collection::vec(piece(), 0..8), 1..4), prop::collection::vec(line, 1..60))
}

/// As a head makes it.
fn encode(shapes: &[Vec<Piece>], lines: &[Line]) -> EncodedChunk {
    let mut builder = ChunkBuilder::new(3);
    for (i, line) in (0..).zip(lines) {
        let (body, attributes) = (line.body(shapes), line.attributes());
        builder.push((i / 3, i as u32 % 3), record(line, &body, &attributes));
    }
    builder.finish().unwrap().remove(0)
}

pub(super) fn record<'a>(line: &Line, body: &'a [u8], attributes: &'a Labels) -> LogRecord<'a> {
    LogRecord {
        timestamp: line.timestamp,
        sequence: line.sequence,
        body,
        severity: line.shape as u8,
        flags: line.context & 1,
        trace_id: TraceId([line.context; 16]),
        span_id: SpanId([line.context.wrapping_mul(7); 8]),
        attributes: attributes.into(),
    }
}

/// The tokens, whether there is a long one, and the pairs.
pub(super) fn set(tokens: &Tokens) -> (BTreeSet<Vec<u8>>, bool, Vec<u32>) {
    (tokens.iter().map(<[u8]>::to_vec).collect(), tokens.long().is_some(), tokens.pairs().to_vec())
}

/// Of each kind that a request may have, of these texts.
fn filters_of(kind: u8, needles: &[Vec<u8>]) -> Vec<LineFilter> {
    let escaped: Vec<_> = needles.iter().map(|needle| regex::escape(&String::from_utf8_lossy(needle))).collect();
    let (joined, regex) = (|with: &str| escaped.join(with), |pattern: &str| regex::bytes::Regex::new(pattern).unwrap());
    match kind {
        0 | 1 => vec![LineFilter::Contains(needles.to_vec())],
        2 => vec![LineFilter::NotContains(needles.to_vec())],
        3 => vec![LineFilter::Matches(regex(&joined(".*")))],
        4 => vec![LineFilter::Matches(regex(&format!("(?i){}", joined(".*?").to_uppercase())))],
        5 => vec![LineFilter::Matches(regex(&format!("(?i){}", joined("|"))))],
        6 => vec![LineFilter::NotMatches(regex(&joined("(.*|x)")))],
        _ => vec![LineFilter::Matches(regex(&joined(".*|"))), LineFilter::NotContains(vec![b"7 ".to_vec()])],
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn every_line_comes_back_with_its_tokens((shapes, lines) in lines()) {
        let chunk = encode(&shapes, &lines);
        let stored = StoredLines::open(chunk.bytes.clone()).unwrap();
        stored.load().unwrap();
        let mut tokens = TokenSet::new();
        for (i, line) in lines.iter().enumerate() {
            let (expected, attributes, mut body) = (line.body(&shapes), line.attributes(), Vec::new());
            stored.render(i, &mut body).unwrap();
            assert_eq!(String::from_utf8_lossy(&body), String::from_utf8_lossy(&expected), "line {i}");
            assert_eq!(body, expected, "line {i}");
            assert_eq!(stored.lengths().unwrap()[i] as usize, body.len());
            let (id, found) = stored.record(i, &body).unwrap();
            assert_eq!((id.partition, id.offset, id.ordinal), (3, i as u64 / 3, i as u32 % 3));
            let wanted = record(line, &expected, &attributes);
            assert_eq!((found.timestamp, found.sequence, found.severity, found.flags), (wanted.timestamp, wanted.sequence, wanted.severity, wanted.flags));
            assert_eq!((found.trace_id, found.span_id, found.attributes), (wanted.trace_id, wanted.span_id, wanted.attributes));
            tokens.add_text(&expected);
        }
        // An id that is among the bodies' tokens is no pair.
        for line in &lines {
            if line.context != 0 {
                tokens.add_pair("trace_id", &Piece::Trace.text(line));
                tokens.add_pair("span_id", &Piece::Span.text(line));
            }
            line.attributes().iter().for_each(|(name, value)| tokens.add_pair(name, value.as_bytes()));
        }
        assert_eq!(set(&chunk.tokens), set(&tokens.finish()));
        assert_eq!(set(&stored.tokens().unwrap()), set(&chunk.tokens));
    }

    /// What is looked for is a part of a line, or nearly.
    #[test]
    fn filters_find_what_they_find_in_every_body((shapes, lines) in lines(), parts in prop::collection::vec((0..60_usize, 0..40_usize, 0..20_usize, any::<bool>()), 1..4), kind in 0..8_u8) {
        let bodies: Vec<Vec<u8>> = lines.iter().map(|line| line.body(&shapes)).collect();
        let needle = |(line, at, length, other): &(usize, usize, usize, bool)| {
            let body = &bodies[line % bodies.len()];
            let at = at % (body.len() + 1);
            let mut needle = body[at..(at + length).min(body.len())].to_vec();
            if *other {
                needle.extend(b"1");
            }
            needle
        };
        let needles: Vec<Vec<u8>> = parts.iter().map(needle).collect();
        let filter = filters_of(kind, &needles);
        let filters = Filters::new(&filter);
        let stored = StoredLines::open(encode(&shapes, &lines).bytes).unwrap();
        let mut found = Vec::new();
        let mut take = |id: LineId, _: LogRecord<'_>| {
            found.push(id.offset as usize * 3 + id.ordinal as usize);
            ControlFlow::Continue(())
        };
        let flow = stored.visit((0..lines.len(), TimeRange::ALL), &filters, None, &mut EachLine(&mut take));
        assert_eq!(flow, Ok(ControlFlow::Continue(())));
        assert_eq!(found, (0..bodies.len()).filter(|i| filters.passes(&bodies[*i])).collect::<Vec<_>>());
        let (mut patterns, mut expected) = (BTreeMap::new(), BTreeMap::new());
        // A bucket for each nanosecond.
        let range = (0..lines.len(), TimeRange::ALL, Buckets::new(1, 0).unwrap());
        let flow = stored.count_templates(range, &filters, &mut |one| {
            *patterns.entry((one.bucket, format!("{:?}", one.text))).or_insert(0) += one.lines;
            ControlFlow::Continue(())
        });
        assert_eq!(flow, Ok(ControlFlow::Continue(())));
        for i in &found {
            let text = pattern_of(&bodies[*i]);
            let text = text.as_deref().map_or(TemplateText::Line(&bodies[*i]), TemplateText::Constant);
            *expected.entry((lines[*i].timestamp, format!("{text:?}"))).or_insert(0) += 1;
        }
        assert_eq!(patterns, expected);
        // Of a fresh one: nothing of it is unpacked yet.
        for stored in [stored, StoredLines::open(encode(&shapes, &lines).bytes).unwrap()] {
            for range in [None, Some(TimeRange { start: lines[0].timestamp, end: i64::MAX })] {
                let mut counted = Vec::new();
                let known = stored.tally((0..lines.len(), range), &filters, &mut |time, severity| counted.push((time, severity))).unwrap();
                let inside = found.iter().map(|i| &lines[*i]).filter(|line| range.is_none_or(|range| range.contains(line.timestamp)));
                let expected = inside.map(|line| (range.map_or(0, |_| line.timestamp), line.shape as u8));
                assert_eq!(counted, if known { expected.collect() } else { Vec::new() });
            }
        }
    }
}

/// Of lines of a few templates: what is constant of them says which pass, unless what is looked for may be in a variable.
#[test]
fn what_is_constant_tells_which_lines_pass() {
    let text = |text: &str| Piece::Text(text.into());
    let shapes = [
        vec![Piece::Clock(1), text(" order "), Piece::Number, text(" has failed: user "), Piece::User],
        vec![Piece::Clock(0), text(" order "), Piece::Word, text(" is done, trace "), Piece::Trace],
        vec![text("alone and failed")],
    ];
    let line = |i: u64, shape| Line { timestamp: i as i64 * SECOND, sequence: 0, seed: i * 77, shape, context: 1 + i as u8 % 2 };
    let lines: Vec<Line> = (0..41).map(|i| line(i, if i == 40 { 2 } else { i as usize % 2 })).collect();
    let stored = StoredLines::open(encode(&shapes, &lines).bytes).unwrap();
    let check_filter = |filter: LineFilter, expected: Option<usize>| {
        let (filters, mut counted) = (Filters::new(std::slice::from_ref(&filter)), 0);
        let known = stored.tally((0..41, None), &filters, &mut |_, _| counted += 1).unwrap();
        assert_eq!(known.then_some(counted), expected, "{filter:?}");
        let passing = lines.iter().filter(|line| filters.passes(&line.body(&shapes))).count();
        assert!(!known || counted == passing, "{filter:?}: {counted} of {passing}");
    };
    let check = |needle: &str, expected| check_filter(LineFilter::Contains(vec![needle.into()]), expected);
    check("failed", Some(21));
    check("has failed: user", Some(20));
    check("order ", Some(40));
    check("done", Some(20));
    check("is done, trace ", Some(20));
    check("zebra", Some(0));
    check("order failed", Some(0));
    check("one and fail", Some(1));
    // A part of a word, of an attribute, of a number, of an id.
    ["node", "efgh", "7", "order 7", "cafe"].into_iter().for_each(|part| check(part, None));
    let expression = |pattern: &str| regex::bytes::Regex::new(pattern).unwrap();
    let regex = |pattern: &str, expected| check_filter(LineFilter::Matches(expression(pattern)), expected);
    let not = |pattern: &str, expected| check_filter(LineFilter::NotMatches(expression(pattern)), expected);
    regex("order.*failed", Some(20));
    regex("[Oo]rder.*[Ff]ail", Some(20));
    regex("failed.*order", Some(0));
    regex("(?i)FAILED|done", Some(41));
    regex("zebra|alone.*failed", Some(1));
    // Bytes that stand for variables in templates are no texts of lines.
    regex("\\x01|order.*\\x05", Some(0));
    check("\x01", Some(0));
    regex("user.*x", Some(0));
    // A word may have it in another case; and numbers are no text.
    regex("(?i)NODE", None);
    regex("order [0-9]+ has", None);
    not("order.*failed", Some(21));
    not("order [0-9]+ has", None);
    check_filter(LineFilter::NotContains(vec![b"failed".to_vec(), b"zebra".to_vec()]), Some(20));
    check_filter(LineFilter::NotContains(vec![b"7".to_vec()]), None);
    assert!(stored.memory() < 20_000, "{} bytes", stored.memory());
}

/// Lines of one template whose variables are ids of theirs, a time and a number take a few bytes each beside these ids.
#[test]
fn what_the_metadata_has_is_not_stored_twice() {
    let mut builder = ChunkBuilder::new(0);
    let (mut raw, mut random) = (0, 0x9e37_79b9_7f4a_7c15_u64);
    let mut next = || {
        random = random.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
        (random ^ random >> 31).to_be_bytes()
    };
    for i in 0..1000_u64 {
        let (trace, span) = ([next(), next()].concat(), next());
        let trace_id = TraceId(trace.clone().try_into().unwrap());
        let attributes = Labels::from_pairs([("trace_id", hex::encode(&trace)), ("pod", "p".repeat(30))]);
        let second = i / 10 % 60;
        let body = format!(
            "16:42:{second:02}.{:03} INFO TraceID: {} SpanID: {} [query][order {i}]",
            i % 1000,
            hex::encode(&trace),
            hex::encode(span)
        );
        raw += body.len();
        let timestamp = 1_674_981_720 * SECOND + (second * 1000 + i % 1000) as i64 * 1_000_000;
        let record = LogRecord {
            timestamp,
            sequence: 0,
            body: body.as_bytes(),
            severity: 9,
            flags: 0,
            trace_id,
            span_id: SpanId(span),
            attributes: (&attributes).into(),
        };
        builder.push((i, 0), record);
    }
    let chunk = builder.finish().unwrap().remove(0);
    // Ids alone are 24 bytes a line.
    assert!(chunk.bytes.len() < 30 * 1000, "{} bytes of {raw}", chunk.bytes.len());
}

/// Three lines of a template, of which each kind of variable has a column, and one that is stored as it is.
#[test]
fn golden_columns() {
    let text = |text: &str| Piece::Text(text.into());
    let template = vec![
        Piece::Clock(1),
        text(" INFO ["),
        Piece::Word,
        text("] trace="),
        Piece::Trace,
        text(" user="),
        Piece::User,
        text(" n="),
        Piece::Number,
        text(" id="),
        Piece::Uuid,
        text(" k8s"),
    ];
    let line = |i: u64, shape| Line {
        timestamp: 1_674_981_742_000_000_000 + i as i64 * SECOND,
        sequence: 0,
        seed: i * 77,
        shape,
        context: 1,
    };
    let lines = [line(1, 0), line(2, 0), line(3, 1), line(4, 0)];
    let chunk = encode(&[template, vec![text("alone")]], &lines);
    assert_eq!(hex::encode(&chunk.bytes), include_str!("golden_columns.hex").trim());
}

#[test]
fn damage_is_a_sentence() {
    let shape = vec![Piece::Text(b"a ".to_vec()), Piece::Number, Piece::Text(b" b ".to_vec()), Piece::Trace, Piece::Clock(2)];
    let lines: Vec<Line> = (0..20)
        .map(|i| Line { timestamp: i * SECOND, sequence: 0, seed: i as u64 * 999, shape: 0, context: i as u8 % 5 })
        .collect();
    let bytes = encode(&[shape], &lines).bytes;
    for at in 0..bytes.len() {
        let mut bad = bytes.to_vec();
        bad[at] ^= 0x10;
        assert!(StoredLines::open(bad.into()).is_err_and(|error| error.starts_with("checksum")), "byte {at}");
    }
    for length in 0..bytes.len() {
        assert!(StoredLines::open(bytes.slice(..length)).is_err(), "{length} bytes");
    }
}
