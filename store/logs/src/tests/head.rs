//! Heads and their tail.

use weir_model::select::TailEvent;

use super::*;

#[test]
fn a_head_refuses_what_it_cannot_hold() {
    let head = engine(100).head();
    let position = Position { partition: 1, offset: 1, ordinal: u32::MAX };
    let one = section("a", &Labels::EMPTY, &[TestLine::new(0, "x")]);
    assert!(head.insert(position, &one).is_err());
    assert_eq!((head.records(), head.build().unwrap().len()), (0, 0));
}

#[test]
fn a_tail_gives_what_passes_and_says_what_was_dropped() {
    let stream = Labels::from_pairs([("pod", "p")]);
    let lines = [TestLine::new(1, "keep"), TestLine::new(2, "other"), TestLine::new(3, "keep")];
    let arrived = |tenant: &str, dropped| TailSection {
        position: Position { partition: 2, offset: 9, ordinal: 4 },
        section: section(tenant, &stream, &lines),
        dropped,
    };
    let tails = FixedTails(Mutex::new(vec![arrived("b", 0), arrived("a", 3)]));
    let reader = LogsReader { views: Arc::new(FixedViews::default()), tails: Arc::new(tails) };
    let mut tail = reader.tail(select(vec![LineFilter::Contains(vec![b"keep".to_vec()])]));
    let events = tail.poll();
    let ordinals: Vec<u32> =
        events.iter().filter_map(|event| if let TailEvent::Line(line) = event { Some(line.id.ordinal) } else { None }).collect();
    assert_eq!((&events[0], ordinals), (&TailEvent::Dropped(3), vec![4, 6]));
    assert!(tail.poll().is_empty());
}

/// While chunks fill, are encoded and swapped, a reader always sees the first so many lines, each once.
#[test]
fn a_reader_beside_a_writer_sees_a_prefix() {
    const RECORDS: u64 = 200;
    let head = Arc::new(engine(200).head());
    let reader = reader(Vec::new(), vec![Arc::clone(&head)]);
    let one = [TestSection {
        tenant: "a",
        stream: Labels::from_pairs([("pod", "p")]),
        lines: vec![TestLine::new(1, "some words of a line"), TestLine::new(2, "and of another one")],
    }];
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| (0..RECORDS).for_each(|offset| insert(&head, offset, &one)));
        let mut seen = 0;
        loop {
            let written = writer.is_finished();
            let lines = visit(&reader, &select(Vec::new()));
            assert!(lines.len() >= seen, "{} after {seen}", lines.len());
            seen = lines.len();
            for (i, line) in (0..).zip(&lines) {
                assert_eq!((line.id.offset, line.id.ordinal), (i / 2, (i % 2) as u32));
            }
            if written {
                break assert_eq!(seen as u64, RECORDS * 2);
            }
        }
    });
    assert_eq!(head.records(), RECORDS * 2);
}
