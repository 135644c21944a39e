//! No false negatives, and nothing that a plain list would not give: in heads, in blocks, in both, and merged.

use proptest::prelude::{Just, ProptestConfig, Strategy, any, prop, prop_oneof, proptest};
use weir_model::label::Matcher;

use super::*;

/// What a list would answer.
pub(super) fn expected(records: &[Vec<TestSection>], select: &LogSelect) -> Vec<OwnedLine> {
    let mut found = Vec::new();
    for (offset, sections) in (0..).zip(records) {
        let mut ordinal = 0;
        for one in sections {
            for line in &one.lines {
                let id = LineId { partition: PARTITION, offset, ordinal };
                ordinal += 1;
                let passes = select.scope.sees(one.tenant, &one.stream)
                    && select.matchers.iter().all(|matcher| matcher.matches_labels(&one.stream))
                    && select.range.contains(line.timestamp)
                    && select.filters.iter().all(|filter| filter.passes(&line.body));
                if passes {
                    found.push(OwnedLine::new(id, &one.stream, line.record()));
                }
            }
        }
    }
    found
}

/// Texts in which tokens touch every kind of edge: separators, digits short and long, ids, Unicode and letters that it folds into
/// ASCII, bytes that are no UTF-8, and runs above the longest token.
fn any_body() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        4 => "[ab]{1,3}".prop_map(String::into_bytes),
        2 => "[01]{1,8}".prop_map(String::into_bytes),
        3 => "[ :=\\-]".prop_map(String::into_bytes),
        1 => Just("错误ü".as_bytes().to_vec()),
        2 => "[ABsk\u{17f}\u{212a}]{1,3}".prop_map(String::into_bytes),
        2 => "[01ab]{8,34}".prop_map(String::into_bytes),
        2 => "[01A]{4}-[01b]{12}".prop_map(String::into_bytes),
        1 => "[01z]{6,10}".prop_map(String::into_bytes),
        1 => prop::collection::vec(any::<u8>(), 1..4),
        1 => "[ab]{60,70}".prop_map(String::into_bytes),
    ];
    prop::collection::vec(piece, 0..8).prop_map(|pieces| pieces.concat())
}

fn any_line() -> impl Strategy<Value = TestLine> {
    let value = prop_oneof!["[ab]{1,3}", "[01ab]{8,9}", "[01]{1,6}", "[A-Cü. ]{1,3}"];
    let name = prop_oneof![Just("k"), Just("k.l"), Just("trace_id")];
    let pairs = prop::collection::vec((name, value), 1..3).prop_map(Labels::from_pairs);
    let attributes = prop_oneof![1 => Just(Labels::EMPTY), 1 => pairs];
    // Also at the very start of the 10 s of a roll-up, and right behind.
    let timestamp = prop_oneof![
        2 => -40 * SECOND..40 * SECOND,
        1 => (-4..4_i64).prop_map(|tens| tens * 10 * SECOND),
        1 => (-4..4_i64).prop_map(|tens| tens * 10 * SECOND + 1),
    ];
    (timestamp, any::<u16>(), any_body(), 0_u8..25, 0_u8..3, attributes).prop_map(
        |(timestamp, sequence, body, severity, trace, attributes)| TestLine {
            timestamp,
            sequence: u64::from(sequence),
            body,
            severity,
            trace,
            attributes,
        },
    )
}

pub(super) fn any_record() -> impl Strategy<Value = Vec<TestSection>> {
    let section =
        (prop_oneof![Just("a"), Just("b")], 0..3, prop::collection::vec(any_line(), 0..6)).prop_map(|(tenant, stream, lines)| {
            TestSection { tenant, stream: Labels::from_pairs([("pod", format!("p{stream}"))]), lines }
        });
    prop::collection::vec(section, 1..4)
}

/// A filter that some lines are likely to pass: a piece of one of the bodies, as a literal or as a regular expression.
fn filters_of(records: &[Vec<TestSection>], seeds: &[(usize, usize, usize, u8)]) -> Vec<LineFilter> {
    let bodies: Vec<&[u8]> = records.iter().flatten().flat_map(|one| one.lines.iter().map(|line| &line.body[..])).collect();
    let cut = |&(body, start, length, _): &(usize, usize, usize, u8)| {
        let body = bodies.get(body % bodies.len().max(1)).copied().unwrap_or_default();
        let start = start % (body.len() + 1);
        body[start..(start + length).min(body.len())].to_vec()
    };
    let regex = |needle: &[u8], tail: &str| {
        let text: String = needle.iter().map(|byte| format!("\\x{byte:02x}")).collect();
        regex::bytes::Regex::new(&format!("(?s-u:{text}){tail}")).unwrap()
    };
    let make = |seed: &(usize, usize, usize, u8)| match seed.3 % 11 {
        0 | 1 => LineFilter::Contains(vec![cut(seed)]),
        2 => LineFilter::Contains(vec![cut(seed), b"ba=".to_vec()]),
        3 => LineFilter::NotContains(vec![cut(seed)]),
        4 => LineFilter::Matches(regex(&cut(seed), "(a|b| 0)?")),
        5 => {
            let upper = String::from_utf8_lossy(&cut(seed)).to_uppercase();
            LineFilter::Matches(regex::bytes::Regex::new(&format!("(?i){}", regex::escape(&upper))).unwrap())
        }
        6 => {
            let text = String::from_utf8_lossy(&cut(seed)).into_owned();
            let classes: String = text
                .chars()
                .map(|letter| if letter.is_ascii_alphanumeric() { format!("[{letter}01]") } else { ".".into() })
                .collect();
            LineFilter::Matches(regex::bytes::Regex::new(&format!("(?s-u){classes}")).unwrap())
        }
        7 => {
            let lower = String::from_utf8_lossy(&cut(seed)).to_lowercase();
            let (first, rest) = lower.split_at(lower.char_indices().nth(2).map_or(0, |(at, _)| at));
            let text = format!("{}(?i:{})", regex::escape(first), regex::escape(rest));
            LineFilter::Matches(regex::bytes::Regex::new(&format!("{text}|(ba|{text}) *=")).unwrap())
        }
        8 | 9 => {
            let &(body, start, length, kind) = seed;
            let texts = [cut(seed), cut(&(body, start.wrapping_add(length + 3), length / 2, kind))];
            let [first, second] = texts.map(|text| regex::escape(&String::from_utf8_lossy(&text)));
            let pattern = regex::bytes::Regex::new(&format!("{first}.*{second}|(?i)B A.*=")).unwrap();
            if seed.3 % 11 == 8 { LineFilter::Matches(pattern) } else { LineFilter::NotMatches(pattern) }
        }
        _ => LineFilter::Matches(regex(&cut(seed), "(?:|1)")),
    };
    seeds.iter().map(make).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_shape_answers_as_a_list_does(
        records in prop::collection::vec(any_record(), 1..8),
        seeds in prop::collection::vec((any::<usize>(), any::<usize>(), 0_usize..24, any::<u8>()), 0..3),
        span in (-50 * SECOND..50 * SECOND, 0..100 * SECOND),
        pod in prop_oneof![Just("p.*"), Just("p1"), Just("x|p2")],
        chunk_bytes in prop_oneof![Just(1_usize), Just(40), Just(1 << 20)],
        by in count::any_by(),
    ) {
        let engine = engine(chunk_bytes);
        let mut select = select(filters_of(&records, &seeds));
        select.range = TimeRange { start: span.0, end: span.0 + span.1 };
        select.matchers = vec![Matcher::new("pod", weir_model::label::MatchOp::Regex, pod).unwrap()];
        let wanted = expected(&records, &select);
        let everything = expected(&records, &LogSelect { range: TimeRange::ALL, ..self::select(Vec::new()) });

        let whole = Arc::new(engine.head());
        let halves = [Arc::new(engine.head()), Arc::new(engine.head())];
        for (offset, record) in records.iter().enumerate() {
            insert(&whole, offset as u64, record);
            insert(&halves[usize::from(offset >= records.len() / 2)], offset as u64, record);
        }
        let sealed: Vec<_> = (0..2).map(|i| open_built(&engine, &format!("half{i}"), halves[i].build().unwrap())).collect();
        let both: Vec<_> = sealed.concat();
        let opened: Vec<_> = both.iter().map(|view| Arc::clone(&view.block)).collect();
        let merged = open_built(&engine, "merged", engine.merge(&opened).unwrap());
        let before = count::without_details(&engine, &halves);
        let former: Vec<_> = before.iter().map(|view| Arc::clone(&view.block)).collect();
        let shapes = [
            ("head", reader(Vec::new(), vec![whole])),
            ("block and head", reader(sealed[0].clone(), vec![Arc::clone(&halves[1])])),
            ("blocks", reader(both, Vec::new())),
            ("merged", reader(merged, Vec::new())),
            ("merged of an earlier build", reader(open_built(&engine, "later", engine.merge(&former).unwrap()), Vec::new())),
            ("blocks of an earlier build", reader(before, Vec::new())),
        ];
        for (name, reader) in &shapes {
            assert_eq!(visit(reader, &select), wanted, "{name}");
            assert_eq!(visit(reader, &LogSelect { newest_first: true, ..select.clone() }), wanted, "{name}, from behind");
            assert_eq!(visit(reader, &self::select(Vec::new())), everything, "{name}");
            let unfiltered = LogSelect { filters: Vec::new(), ..select.clone() };
            count::check(reader, &select, &by, &wanted);
            count::check(reader, &unfiltered, &by, &expected(&records, &unfiltered));
            check_context(reader, &everything, seeds.first().map_or(0, |seed| seed.0));
            check_pairs(reader, &everything, seeds.first().map_or(0, |seed| seed.0));
        }
    }
}

pub(super) fn check_volume(reader: &LogsReader, select: &LogSelect, wanted: &[OwnedLine]) {
    let volume = reader.volume(select, 20 * SECOND, &NoBudget).unwrap().value;
    let (lines, bytes) = volume.iter().fold((0, 0), |sum, row| (sum.0 + row.lines, sum.1 + row.bytes));
    assert_eq!((lines, bytes), (wanted.len() as u64, wanted.iter().map(|line| line.body.len() as u64).sum()));
    for row in volume {
        let belongs = |line: &&OwnedLine| {
            line.stream == row.stream
                && weir_model::log::level_name(line.severity) == row.level
                && line.timestamp.div_euclid(20 * SECOND) * 20 * SECOND == row.bucket
        };
        assert_eq!(wanted.iter().filter(belongs).count() as u64, row.lines);
    }
}

pub(super) fn check_context(reader: &LogsReader, everything: &[OwnedLine], seed: usize) {
    let Some(line) = everything.get(seed % everything.len().max(1)) else { return };
    let stream: Vec<&OwnedLine> = everything.iter().filter(|other| other.stream == line.stream).collect();
    let at = stream.iter().position(|other| other.id == line.id).unwrap();
    let wanted = &stream[at.saturating_sub(2)..(at + 3).min(stream.len())];
    let found = reader.line(&Scope::of("a"), line.id, 2, &NoBudget).unwrap().value;
    assert_eq!(found.iter().collect::<Vec<_>>(), wanted);
    assert_eq!(reader.line(&Scope::of("nobody"), line.id, 2, &NoBudget).unwrap().value, Vec::new());
}

/// Every line that has what another has in its metadata, or its trace id, is given out to whoever mentions that.
fn check_pairs(reader: &LogsReader, everything: &[OwnedLine], seed: usize) {
    let Some(line) = everything.get(seed % everything.len().max(1)) else { return };
    let trace = |line: &OwnedLine| (!line.trace_id.is_none()).then(|| ("trace_id".to_owned(), line.trace_id.to_string()));
    let pairs = |line: &OwnedLine| -> Vec<(String, String)> {
        let own = line.attributes.iter().map(|(name, value)| (name.replace('.', "_"), value.to_owned()));
        own.chain(trace(line)).collect()
    };
    for (name, value) in pairs(line) {
        let mut collect = Collect { mention: Some(Mention::Value(name.clone(), value.clone())), ..Collect::default() };
        reader.visit(&select(Vec::new()), &NoBudget, &mut collect).unwrap();
        let has = |line: &&OwnedLine| pairs(line).contains(&(name.clone(), value.clone()));
        let mut found: Vec<&OwnedLine> = collect.lines.iter().filter(has).collect();
        found.sort_by_key(|line| line.id);
        assert_eq!(found, everything.iter().filter(has).collect::<Vec<_>>(), "{name}={value}");
    }
}
