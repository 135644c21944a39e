//! One line of Docker's json-file driver: `{"log":"…\n","stream":"stdout","time":"…"}`. A log without a line end goes on
//! in the stream's next line. Pure; called by [`super::assemble`].

use std::borrow::Cow;

use serde::Deserialize;

use super::{Part, Stream, cri};

#[derive(Deserialize)]
struct Line<'a> {
    #[serde(borrow, default)]
    log: Cow<'a, str>,
    #[serde(borrow, default)]
    stream: Cow<'a, str>,
    #[serde(borrow)]
    time: Cow<'a, str>,
}

/// The line without its line end; `None` when it is no such object.
pub(super) fn parse(line: &[u8]) -> Option<Part<'_>> {
    let line: Line<'_> = serde_json::from_slice(line).ok()?;
    let stream = match &*line.stream {
        "stdout" => Stream::Stdout,
        "stderr" => Stream::Stderr,
        _ => return None,
    };
    let timestamp = cri::timestamp(line.time.as_bytes())?;
    let whole = line.log.ends_with('\n');
    let body = match line.log {
        Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
        Cow::Owned(text) => {
            let mut bytes = text.into_bytes();
            bytes.truncate(bytes.len() - usize::from(whole));
            Cow::Owned(bytes)
        }
    };
    Some(Part { timestamp, stream, partial: !whole, body })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines() {
        let check = |line: &str, expected: Option<(i64, Stream, bool, &str)>| {
            let part = parse(line.as_bytes());
            let seen =
                part.as_ref().map(|part| (part.timestamp, part.stream, part.partial, std::str::from_utf8(&part.body).unwrap()));
            assert_eq!(seen, expected, "{line}");
        };
        let at = 1_475_713_029_669_794_202;
        let line =
            |log: &str, stream: &str| format!(r#"{{"log":"{log}","stream":"{stream}","time":"2016-10-06T00:17:09.669794202Z"}}"#);
        check(&line(r"a line\n", "stdout"), Some((at, Stream::Stdout, false, "a line")));
        check(&line(r"half", "stderr"), Some((at, Stream::Stderr, true, "half")));
        check(&line(r"q\u0022 \\ \u00e9\t\n", "stdout"), Some((at, Stream::Stdout, false, "q\" \\ é\t")));
        check(&line(r"\n", "stdout"), Some((at, Stream::Stdout, false, "")));
        check(&line("", "stdout"), Some((at, Stream::Stdout, true, "")));
        check(&line("x", "other"), None);
        check(r#"{"log":"x\n","stream":"stdout"}"#, None);
        check(r#"{"log":"x\n","stream":"stdout","time":"yesterday"}"#, None);
        check(
            r#"{"log":"x\n","stream":"stdout","attrs":{"a":"b"},"time":"2016-10-06T00:17:09.669794202Z"}"#,
            Some((at, Stream::Stdout, false, "x")),
        );
        check(r#"{"log":"x"#, None);
        check("", None);
    }
}
