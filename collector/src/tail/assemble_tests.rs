//! Joining, cutting, and the property on which exactly-once rests: reading on from any snapshot gives the same lines.

use weir_model::label::Labels;
use weir_model::log::FLAG_CONTINUED;

use super::assemble::{Assembler, Carried, Snapshot};
use super::{STREAMS, Stream};
use crate::LINE_BYTES_MAX;
use crate::config::FileFormat;

type Line = (Stream, u64, u8, Vec<u8>);

fn labels() -> [Labels; STREAMS] {
    Stream::ALL.map(|stream| Labels::from_pairs([("stream", stream.name())]))
}

fn collect(assembler: &mut Assembler, out: &mut Vec<Line>) {
    for chunk in assembler.take() {
        assert!(chunk.first < chunk.last);
        let mut before = chunk.first;
        for record in chunk.batch.iter() {
            assert!(record.sequence > before, "sequences grow");
            before = record.sequence;
            out.push((chunk.stream, record.sequence, record.flags, record.body.to_vec()));
        }
        assert_eq!(before, chunk.last);
    }
}

/// Reads `file` from a snapshot in blocks of `block` bytes; lines and the snapshot after each block, with the number of
/// lines given out by then.
fn read(format: FileFormat, file: &[u8], from: Snapshot, block: usize, finish: bool) -> (Vec<Line>, Vec<(Snapshot, usize)>) {
    let mut assembler = Assembler::new(format, labels(), from);
    let (mut lines, mut snapshots) = (Vec::new(), Vec::new());
    let mut end = from.restart as usize;
    loop {
        let start = assembler.position() as usize;
        assembler.feed(&file[start..end], 7);
        collect(&mut assembler, &mut lines);
        snapshots.push((assembler.snapshot(), lines.len()));
        if end == file.len() {
            break;
        }
        end = file.len().min(end + block);
    }
    if finish {
        let start = assembler.position() as usize;
        assembler.finish(&file[start..], 7);
        assembler.close_all();
        collect(&mut assembler, &mut lines);
        snapshots.push((assembler.snapshot(), lines.len()));
    }
    (lines, snapshots)
}

fn check(format: FileFormat, file: &str, expected: &[(&str, &str)]) {
    let (lines, _) = read(format, file.as_bytes(), Snapshot::default(), 3, true);
    let seen: Vec<(&str, String)> = lines
        .iter()
        .map(|(stream, _, flags, body)| {
            let mark = if flags & FLAG_CONTINUED != 0 { "…" } else { "" };
            (stream.name(), format!("{}{mark}", String::from_utf8_lossy(body)))
        })
        .collect();
    let expected: Vec<(&str, String)> = expected.iter().map(|(stream, text)| (*stream, (*text).to_owned())).collect();
    assert_eq!(seen, expected, "{file}");
}

#[test]
fn partials_are_joined_per_stream() {
    let cri = |lines: &[&str]| lines.iter().map(|line| format!("2016-10-06T00:17:09.669794202Z {line}\n")).collect::<String>();
    let check = |lines: &[&str], expected: &[(&str, &str)]| check(FileFormat::Cri, &cri(lines), expected);
    check(&["stdout F a", "stderr F b"], &[("stdout", "a"), ("stderr", "b")]);
    check(&["stdout P 1", "stderr F 2", "stdout P 3", "stdout F 4"], &[("stderr", "2"), ("stdout", "134")]);
    check(&["stdout P 1", "stdout F"], &[("stdout", "1")]);
    check(&["stdout P 1", "stderr P 2"], &[("stdout", "1…"), ("stderr", "2…")]);
    check(&["stdout F ", "stdout F x"], &[("stdout", ""), ("stdout", "x")]);
}

#[test]
fn what_is_broken_is_kept_whole() {
    check(FileFormat::Cri, "junk\n2016-10-06T00:17:09Z stdout F ok\n", &[("stdout", "junk"), ("stdout", "ok")]);
    check(FileFormat::DockerJson, "{\"log\":\n", &[("stdout", "{\"log\":")]);
    check(FileFormat::Plain, "a\r\n\nb", &[("stdout", "a"), ("stdout", ""), ("stdout", "b")]);
    let mut assembler = Assembler::new(FileFormat::Cri, labels(), Snapshot::default());
    assembler.feed(b"2016-10-06T00:17:09Z stdout F \xff\xfe\n", 7);
    let mut lines = Vec::new();
    collect(&mut assembler, &mut lines);
    assert_eq!(lines[0].3, b"\xff\xfe");
}

#[test]
fn long_lines_are_cut_with_marks() {
    let long = "x".repeat(2 * LINE_BYTES_MAX + 5);
    let lengths = |format, file: &str| -> Vec<(usize, u8)> {
        let (lines, _) = read(format, file.as_bytes(), Snapshot::default(), 100_000, true);
        lines.iter().map(|(_, _, flags, body)| (body.len(), *flags)).collect()
    };
    let expected = vec![(LINE_BYTES_MAX, 1), (LINE_BYTES_MAX, 1), (5, 0)];
    assert_eq!(lengths(FileFormat::Plain, &format!("{long}\n")), expected);
    assert_eq!(lengths(FileFormat::Cri, &format!("2016-10-06T00:17:09Z stdout F {long}\n")), expected);
    let part = "y".repeat(100 << 10);
    let parts = format!("2016-10-06T00:17:09Z stdout P {part}\n").repeat(3) + "2016-10-06T00:17:09Z stdout F z\n";
    assert_eq!(lengths(FileFormat::Cri, &parts), vec![(200 << 10, 1), ((100 << 10) + 1, 0)]);
    assert_eq!(lengths(FileFormat::Plain, &format!("{}\n", "x".repeat(LINE_BYTES_MAX))), vec![(LINE_BYTES_MAX, 0)]);
}

/// A file with everything in it, from a seed.
fn random_file(seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = move |below: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) % below
    };
    let mut file = Vec::new();
    for i in 0..60 {
        let stream = if next(2) == 0 { "stdout" } else { "stderr" };
        let tag = if next(3) == 0 { "F" } else { "P" };
        let length = match next(12) {
            0 => 90_000 + next(60_000),
            1 => 300_000,
            _ => next(40),
        };
        match next(10) {
            0 => file.extend_from_slice(b"not a CRI line\n"),
            _ => {
                file.extend_from_slice(format!("2016-10-06T00:17:09.669794202Z {stream} {tag} {i}").as_bytes());
                file.extend(std::iter::repeat_n(b'a' + (i % 26) as u8, length as usize));
                file.push(b'\n');
            }
        }
    }
    file
}

#[test]
fn reading_on_from_any_snapshot_gives_the_same_lines() {
    for seed in 1..40 {
        let file = random_file(seed);
        let (whole, _) = read(FileFormat::Cri, &file, Snapshot::default(), usize::MAX >> 1, true);
        let (lines, snapshots) = read(FileFormat::Cri, &file, Snapshot::default(), 150_001, true);
        let per_stream =
            |lines: &[Line], stream: Stream| -> Vec<Line> { lines.iter().filter(|line| line.0 == stream).cloned().collect() };
        for stream in Stream::ALL {
            assert_eq!(per_stream(&whole, stream), per_stream(&lines, stream), "seed {seed}: blocks change nothing");
        }
        for (snapshot, given) in snapshots {
            let (rest, _) = read(FileFormat::Cri, &file, snapshot, 70_003, true);
            for stream in Stream::ALL {
                let mut both = per_stream(&lines[..given], stream);
                both.extend(per_stream(&rest, stream));
                assert!(both == per_stream(&lines, stream), "seed {seed}, from {snapshot:?}");
            }
        }
    }
}

/// Reads two files one after the other; lines with the file that they belong to.
fn read_two(first: &[u8], second: &[u8], block: usize) -> (Vec<(usize, Line)>, [Option<Carried>; STREAMS]) {
    let (mut lines, mut of_one) = (Vec::new(), Vec::new());
    let mut assembler = Assembler::new(FileFormat::Cri, labels(), Snapshot::default());
    assembler.feed(first, 7);
    let rest = assembler.position() as usize;
    assembler.finish(&first[rest..], 7);
    collect(&mut assembler, &mut of_one);
    lines.extend(of_one.drain(..).map(|line| (0, line)));
    let carried = assembler.carried();
    for (given, line) in read_carried(second, Snapshot::default(), &carried, block).0 {
        lines.push((given + 1, line));
    }
    (lines, carried)
}

/// Lines (with a 0 each) of a file into which lines go on, and the snapshots with the number of lines given by then.
#[expect(clippy::type_complexity, reason = "a test's own")]
fn read_carried(
    file: &[u8],
    from: Snapshot,
    carried: &[Option<Carried>; STREAMS],
    block: usize,
) -> (Vec<(usize, Line)>, Vec<(Snapshot, usize)>) {
    let mut assembler = Assembler::new(FileFormat::Cri, labels(), from);
    assembler.carry(carried.clone());
    let (mut lines, mut snapshots) = (Vec::new(), Vec::new());
    let mut end = from.restart as usize;
    while end < file.len() {
        end = file.len().min(end + block);
        assembler.feed(&file[assembler.position() as usize..end], 7);
        collect(&mut assembler, &mut lines);
        snapshots.push((assembler.snapshot(), lines.len()));
    }
    assembler.finish(&file[assembler.position() as usize..], 7);
    assembler.close_all();
    collect(&mut assembler, &mut lines);
    (lines.into_iter().map(|line| (0, line)).collect(), snapshots)
}

#[test]
fn a_line_goes_on_in_the_next_file() {
    let time = "2016-10-06T00:17:09Z";
    let text = |lines: &[(usize, Line)]| -> Vec<(usize, String)> {
        lines.iter().map(|(file, line)| (*file, String::from_utf8_lossy(&line.3).into_owned())).collect()
    };
    let first = format!("{time} stdout F a\n{time} stdout P b1\n{time} stderr P c1\n");
    let second = format!("{time} stdout P b2\n{time} stdout F b3\n{time} stdout F d\n{time} stderr F c2\n");
    let (lines, _) = read_two(first.as_bytes(), second.as_bytes(), 10);
    let expected = [(0, "a"), (1, "b1b2b3"), (1, "d"), (1, "c1c2")].map(|(file, text)| (file, text.to_owned()));
    assert_eq!(text(&lines), expected);
    assert!(lines.iter().all(|line| line.1.2 == 0), "none is marked as continued");
    // Nothing but a broken line follows: both are kept, in order.
    for (broken, expected) in [("junk\n", vec!["b1", "junk"]), ("\n", vec!["b1"]), ("x", vec!["b1x"])] {
        let (lines, _) = read_two(format!("{time} stdout P b1\n").as_bytes(), broken.as_bytes(), 10);
        assert_eq!(lines.iter().map(|line| String::from_utf8_lossy(&line.1.3).into_owned()).collect::<Vec<_>>(), expected);
    }
}

#[test]
fn a_file_into_which_lines_go_on_can_be_read_from_any_snapshot() {
    let mut carried_once = 0;
    for seed in 1..40 {
        let (first, second) = (random_file(seed), random_file(seed + 1000));
        let (_, carried) = read_two(&first, &second, usize::MAX >> 1);
        carried_once += usize::from(carried.iter().any(Option::is_some));
        let (lines, snapshots) = read_carried(&second, Snapshot::default(), &carried, 90_001);
        let per_stream = |lines: &[(usize, Line)], stream: Stream| -> Vec<Line> {
            lines.iter().map(|line| &line.1).filter(|line| line.0 == stream).cloned().collect()
        };
        for (snapshot, given) in snapshots {
            let (rest, _) = read_carried(&second, snapshot, &carried, 70_003);
            for stream in Stream::ALL {
                let mut both = per_stream(&lines[..given], stream);
                both.extend(per_stream(&rest, stream));
                assert!(both == per_stream(&lines, stream), "seed {seed}, from {snapshot:?}");
            }
        }
    }
    assert!(carried_once > 20, "the files leave lines open");
}
