//! Turns the bytes a container writes into CRI log lines: `<RFC 3339> <stdout|stderr> <F|P> <bytes>`. Pure; used by
//! [`super::process`]. Format: kubernetes `staging/src/k8s.io/cri-client/pkg/logs/logs.go` reads it.

use std::io::Write;

use weir_model::time::UnixNanos;

/// A longer line is split into partial ones, as containerd and CRI-O do by default.
pub const LINE_BYTES_MAX: usize = 16 << 10;

/// Splits one stream.
#[derive(Debug)]
pub struct Splitter {
    stream: &'static str,
    /// The beginning of a line whose end has not come; shorter than [`LINE_BYTES_MAX`].
    pending: Vec<u8>,
}

impl Splitter {
    /// For `stdout` or `stderr`.
    pub fn new(stream: &'static str) -> Self {
        Self { stream, pending: Vec::new() }
    }

    /// Takes bytes that came at one instant and appends the log lines that are complete now to `out`.
    pub fn feed(&mut self, mut bytes: &[u8], at: UnixNanos, out: &mut Vec<u8>) {
        while !bytes.is_empty() {
            let room = LINE_BYTES_MAX - self.pending.len();
            let end = bytes.iter().position(|byte| *byte == b'\n');
            match end {
                // A line of exactly the limit is still whole.
                Some(end) if end <= room => {
                    self.record(b'F', &bytes[..end], at, out);
                    bytes = &bytes[end + 1..];
                }
                _ if bytes.len() > room => {
                    self.record(b'P', &bytes[..room], at, out);
                    bytes = &bytes[room..];
                }
                _ => {
                    self.pending.extend_from_slice(bytes);
                    return;
                }
            }
        }
    }

    /// The stream has ended: what is left is a line without its end.
    pub fn finish(&mut self, at: UnixNanos, out: &mut Vec<u8>) {
        if !self.pending.is_empty() {
            self.record(b'F', &[], at, out);
        }
    }

    fn record(&mut self, tag: u8, rest: &[u8], at: UnixNanos, out: &mut Vec<u8>) {
        write_time(at, out);
        out.push(b' ');
        out.extend_from_slice(self.stream.as_bytes());
        out.extend_from_slice(&[b' ', tag, b' ']);
        out.append(&mut self.pending);
        out.extend_from_slice(rest);
        out.push(b'\n');
    }
}

/// RFC 3339 with nine digits of the second, so that all lines have one width.
fn write_time(at: UnixNanos, out: &mut Vec<u8>) {
    let time = jiff::Timestamp::from_nanosecond(i128::from(at)).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    write!(out, "{time:.9}").expect("invariant: a vector takes all");
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: UnixNanos = 1_661_145_522_908_318_000;
    const TIME: &str = "2022-08-22T05:18:42.908318000Z";

    fn check(pieces: &[&str], expected: &[(&str, &str)]) {
        let mut splitter = Splitter::new("stdout");
        let mut out = Vec::new();
        pieces.iter().for_each(|piece| splitter.feed(piece.as_bytes(), AT, &mut out));
        splitter.finish(AT, &mut out);
        let expected: String = expected.iter().map(|(tag, text)| format!("{TIME} stdout {tag} {text}\n")).collect();
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn lines() {
        check(&[], &[]);
        check(&["a\nb\n"], &[("F", "a"), ("F", "b")]);
        check(&["a", "b\n", "\n", "c"], &[("F", "ab"), ("F", ""), ("F", "c")]);
        let full = "x".repeat(LINE_BYTES_MAX);
        check(&[&full, "\n"], &[("F", &full)]);
        check(&[&full, "y\n"], &[("P", &full), ("F", "y")]);
        check(&[&full], &[("F", &full)]);
        check(&[&full[1..], "yz\nw\n"], &[("P", &format!("{}y", &full[1..])), ("F", "z"), ("F", "w")]);
        check(&[&full, &full, "\n"], &[("P", &full), ("F", &full)]);
    }

    #[test]
    fn nothing_is_lost_however_it_comes_in() {
        let text: Vec<u8> = (0..200_000_u32).map(|i| if i % 20_011 == 0 { b'\n' } else { b'a' + (i % 26) as u8 }).collect();
        for piece in [1, 7, 4096, 65_536] {
            let mut splitter = Splitter::new("stderr");
            let mut out = Vec::new();
            text.chunks(piece).for_each(|piece| splitter.feed(piece, AT, &mut out));
            splitter.finish(AT, &mut out);
            let mut back = Vec::new();
            for line in out.split_inclusive(|byte| *byte == b'\n') {
                let body = &line[TIME.len() + " stderr F ".len()..line.len() - 1];
                back.extend_from_slice(body);
                if line[TIME.len() + " stderr ".len()] == b'F' {
                    back.push(b'\n');
                }
            }
            back.pop();
            assert_eq!(back, text, "pieces of {piece}");
        }
    }
}
