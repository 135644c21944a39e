//! Whatever lies in a log file, a checkpoint or a file of carried lines: a value or a refusal, within a thread's stack, and
//! never a panic.

use weir_model::fuzz::{Fuzz, MemoryLimit};
use weir_model::label::Labels;

use super::assemble::{Assembler, Snapshot};
use super::{Stream, checkpoint, cri, docker, file_set};
use crate::config::FileFormat;

const CRI: &str = "2016-10-06T00:17:09.669794202Z stdout F log content 1\n2016-10-06T02:17:09+02:00 stderr P:a:b half\n";
const DOCKER: &str = concat!(
    r#"{"log":"q\\u0022 \\\\ \\n","stream":"stdout","attrs":{"a":"b"},"time":"2016-10-06T00:17:09.669794202Z"}"#,
    "\n",
    r#"{"log":"half","stream":"stderr","time":"2016-10-06T00:17:09Z"}"#,
    "\n",
);

/// A line or an entry is held about once; a file that is nothing but line breaks is read twice into lines of some 150 bytes.
const LINE: MemoryLimit = MemoryLimit { bytes: 1 << 20, per_input_byte: 64 };
const FILE: MemoryLimit = MemoryLimit { bytes: 4 << 20, per_input_byte: 1 << 10 };

fn lines(format: FileFormat, name: &'static str) -> Fuzz {
    let words =
        ["stdout ", "stderr ", " F ", " P ", "2016-10-06T00:17:09Z", "\n", "\r\n", "{\"log\":", "\\u", "[[", "9999999999"];
    Fuzz::new(name).seed(if format == FileFormat::DockerJson { DOCKER } else { CRI }).words(&words)
}

#[test]
fn a_cri_line() {
    lines(FileFormat::Cri, "cri").memory(LINE).run(|input| {
        for line in input.split(|byte| *byte == b'\n') {
            if let Some(part) = cri::parse(line) {
                assert!(line.ends_with(&part.body));
                assert!(part.timestamp > -86_400_000_000_000, "{}", part.timestamp);
            }
        }
    });
}

#[test]
fn a_docker_line() {
    lines(FileFormat::DockerJson, "docker-json").memory(LINE).run(|input| {
        for line in input.split(|byte| *byte == b'\n') {
            if let Some(part) = docker::parse(line) {
                assert!(part.body.len() <= line.len());
            }
        }
    });
}

/// All lines of a file, read in blocks of `block` bytes.
fn read(format: FileFormat, file: &[u8], block: usize) -> Vec<(usize, u64, u8, Vec<u8>)> {
    let labels = Stream::ALL.map(|stream| Labels::from_pairs([("stream", stream.name())]));
    let mut assembler = Assembler::new(format, labels, Snapshot::default());
    let mut end = 0;
    while end < file.len() {
        end = file.len().min(end + block);
        assembler.feed(&file[assembler.position() as usize..end], 7);
    }
    assembler.finish(&file[assembler.position() as usize..], 7);
    assembler.close_all();
    let chunks = assembler.take();
    let of_chunk = |chunk: &super::assemble::Chunk| -> Vec<_> {
        let stream = chunk.stream as usize;
        chunk.batch.iter().map(|record| (stream, record.sequence, record.flags, record.body.to_vec())).collect()
    };
    chunks.iter().flat_map(of_chunk).collect()
}

#[test]
fn a_file_reads_the_same_in_blocks_of_any_size() {
    for (format, name) in
        [(FileFormat::Plain, "plain-file"), (FileFormat::Cri, "cri-file"), (FileFormat::DockerJson, "docker-json-file")]
    {
        lines(format, name).memory(FILE).run(move |input| {
            let whole = read(format, input, usize::MAX >> 1);
            assert!(whole.windows(2).all(|pair| pair[0].0 != pair[1].0 || pair[0].1 < pair[1].1), "sequences grow");
            assert_eq!(read(format, input, 4099), whole);
        });
    }
}

#[test]
fn a_checkpoint() {
    let entry = concat!(
        "{\"weir_checkpoint\":1}\n",
        "{\"chain\":\"/var/log/a.log\",\"epoch\":7,\"id\":{\"inode\":1,\"born\":2},",
        "\"fingerprint\":{\"bytes\":3,\"hash\":4},\"restart\":5,\"last\":[6,8]}\n",
    );
    Fuzz::new("checkpoint")
        .seed(entry)
        .words(&["18446744073709551615", "\"last\":[", "\n", "{\"crc32c\":", "-1"])
        .memory(LINE)
        .run(|input| {
            let _ = checkpoint::decode(input);
            // With a checksum that is right whatever was written.
            let signed = [input, format!("\n{{\"crc32c\":{}}}\n", crc32c::crc32c(&[input, b"\n"].concat())).as_bytes()].concat();
            if let Ok(entries) = checkpoint::decode(&signed) {
                let again = checkpoint::decode(&checkpoint::encode(entries.values()));
                assert_eq!(again.as_ref(), Ok(&entries));
            }
        });
}

#[test]
fn carried_lines() {
    let whole = format!("{{\"weir_carried\":1,\"epoch\":9,\"parts\":[null,[7,4]],\"crc32c\":{}}}\nhalf", crc32c::crc32c(b"half"));
    Fuzz::new("carried").seed(whole).words(&["[", "null", "18446744073709551615", "-1", "\n"]).memory(LINE).run(|input| {
        if let Some((_, carried)) = file_set::decode_carried(input) {
            assert!(carried.iter().flatten().map(|line| line.body.len()).sum::<usize>() < input.len());
        }
    });
}
