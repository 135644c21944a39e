//! One point of the line protocol: `measurement,tag=value field=1i,other="text" 1465839830100400200`. Pure.

use std::borrow::Cow;

/// What may stand around a line.
pub(super) const BLANKS: [char; 3] = [' ', '\t', '\r'];

/// A point, borrowed from the body where nothing is escaped.
#[derive(Debug, PartialEq)]
pub(super) struct Point<'a> {
    pub measurement: Cow<'a, str>,
    pub tags: Vec<(Cow<'a, str>, Cow<'a, str>)>,
    /// With the number that each has; `None` for a text, of which there is no sample.
    pub fields: Vec<(Cow<'a, str>, Option<f64>)>,
    pub timestamp: Option<i64>,
}

/// A line's text, from the front.
struct Cursor<'a> {
    rest: &'a str,
}

/// The next point's text and what follows it: lines end outside of quoted texts, which may hold line ends.
pub(super) fn split(body: &str) -> (&str, &str) {
    let start = body.len() - body.trim_start_matches(BLANKS).len();
    if body[start..].starts_with('#') {
        return body.split_once('\n').unwrap_or((body, ""));
    }
    let (mut is_quoted, mut is_escaped) = (false, false);
    // A quote begins a text where a field's value begins: behind the first blank that is not escaped, right after a `=`.
    let (mut is_among_fields, mut is_after_equals) = (false, false);
    for (at, byte) in body.bytes().enumerate().skip(start) {
        let is_first = std::mem::take(&mut is_after_equals);
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = true,
            b'"' if is_quoted || (is_among_fields && is_first) => is_quoted = !is_quoted,
            b'=' => is_after_equals = true,
            b' ' => is_among_fields = true,
            b'\n' if !is_quoted => return (&body[..at], &body[at + 1..]),
            _ => {}
        }
    }
    (body, "")
}

/// A line that is neither empty nor a comment.
pub(super) fn parse(text: &str) -> Result<Point<'_>, String> {
    let mut cursor = Cursor { rest: text };
    let measurement = cursor.word(&[',', ' ']);
    if measurement.is_empty() {
        return Err("missing measurement".into());
    }
    let mut tags = Vec::new();
    while cursor.eat(',') {
        let name = cursor.word(&['=', ',', ' ']);
        if name.is_empty() || !cursor.eat('=') {
            return Err("missing tag value".into());
        }
        let value = cursor.word(&[',', ' ']);
        if value.is_empty() {
            return Err(format!("tag {name:?} has no value"));
        }
        tags.push((name, value));
    }
    cursor.blanks();
    let mut fields = Vec::new();
    loop {
        let name = cursor.word(&['=', ',', ' ']);
        if name.is_empty() || !cursor.eat('=') {
            return Err(if fields.is_empty() { "missing fields" } else { "missing field value" }.into());
        }
        let value = cursor.value().map_err(|reason| format!("field {name:?}: {reason}"))?;
        fields.push((name, value));
        if !cursor.eat(',') {
            break;
        }
    }
    let rest = cursor.rest.trim_matches(' ');
    if !rest.is_empty() && !cursor.rest.starts_with(' ') {
        return Err(format!("unexpected {:?} after a field", clip(rest)));
    }
    let timestamp =
        if rest.is_empty() { None } else { Some(rest.parse().map_err(|_| format!("bad timestamp {:?}", clip(rest)))?) };
    Ok(Point { measurement, tags, fields, timestamp })
}

impl<'a> Cursor<'a> {
    fn eat(&mut self, letter: char) -> bool {
        let rest = self.rest.strip_prefix(letter);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn blanks(&mut self) {
        self.rest = self.rest.trim_start_matches(' ');
    }

    /// Up to one of `ends` that is not escaped. A backslash before any other letter stays as it is.
    fn word(&mut self, ends: &[char]) -> Cow<'a, str> {
        let mut is_escaped = false;
        let end = self.rest.find(|letter: char| {
            let ends = !is_escaped && ends.contains(&letter);
            is_escaped = !is_escaped && letter == '\\';
            ends
        });
        let (word, rest) = self.rest.split_at(end.unwrap_or(self.rest.len()));
        self.rest = rest;
        if !word.contains('\\') {
            return word.into();
        }
        let mut plain = String::with_capacity(word.len());
        let mut letters = word.chars().peekable();
        while let Some(letter) = letters.next() {
            match letters.peek() {
                Some(next @ (',' | '=' | ' ')) if letter == '\\' => {
                    plain.push(*next);
                    letters.next();
                }
                _ => plain.push(letter),
            }
        }
        plain.into()
    }

    /// `None` for a quoted text.
    fn value(&mut self) -> Result<Option<f64>, String> {
        if let Some(text) = self.rest.strip_prefix('"') {
            let mut is_escaped = false;
            let end = text.find(|letter: char| {
                let ends = !is_escaped && letter == '"';
                is_escaped = !is_escaped && letter == '\\';
                ends
            });
            let end = end.ok_or("unbalanced quotes")?;
            self.rest = &text[end + 1..];
            return Ok(None);
        }
        let end = self.rest.find([',', ' ']).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        let number = match word {
            "" => return Err("missing value".into()),
            "t" | "T" | "true" | "True" | "TRUE" => Some(1.0),
            "f" | "F" | "false" | "False" | "FALSE" => Some(0.0),
            word => number(word),
        };
        number.map(Some).ok_or_else(|| format!("invalid number {:?}", clip(word)))
    }
}

fn number(word: &str) -> Option<f64> {
    if let Some(integer) = word.strip_suffix('i') {
        return integer.parse::<i64>().ok().map(|integer| integer as f64);
    }
    if let Some(unsigned) = word.strip_suffix('u') {
        return unsigned.parse::<u64>().ok().map(|unsigned| unsigned as f64);
    }
    let is_plain = word.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b'-' | b'+' | b'e' | b'E'));
    is_plain.then(|| word.parse().ok()).flatten().filter(|number: &f64| number.is_finite())
}

fn clip(text: &str) -> String {
    text.chars().take(64).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(line: &str, measurement: &str, tags: &[(&str, &str)], fields: &[(&str, Option<f64>)], timestamp: Option<i64>) {
        let point = parse(line).unwrap();
        let texts = |pairs: &[(&str, &str)]| {
            pairs.iter().map(|(a, b)| (Cow::from(a.to_string()), Cow::from(b.to_string()))).collect::<Vec<_>>()
        };
        let fields = fields.iter().map(|(name, value)| (Cow::from(name.to_string()), *value)).collect();
        assert_eq!(point, Point { measurement: measurement.into(), tags: texts(tags), fields, timestamp });
    }

    #[test]
    fn points() {
        check("m f=1", "m", &[], &[("f", Some(1.0))], None);
        check(
            "m,a=b,c=d f=-1.5e3,g=7i,h=8u 12",
            "m",
            &[("a", "b"), ("c", "d")],
            &[("f", Some(-1500.0)), ("g", Some(7.0)), ("h", Some(8.0))],
            Some(12),
        );
        check("m t=t,f=FALSE,s=\"a, b=\\\" c\" -5 ", "m", &[], &[("t", Some(1.0)), ("f", Some(0.0)), ("s", None)], Some(-5));
        check("m\\,x\\ y,a\\=b=c\\,d\\e f\\ g=1", "m,x y", &[("a=b", "c,d\\e")], &[("f g", Some(1.0))], None);
        check("m,a=\"q\" f=1", "m", &[("a", "\"q\"")], &[("f", Some(1.0))], None);
        check("ü,ä=ö   ß=1   3", "ü", &[("ä", "ö")], &[("ß", Some(1.0))], Some(3));
    }

    #[test]
    fn what_is_wrong_is_said() {
        let wrong = |line: &str, part: &str| {
            let error = parse(line).unwrap_err();
            assert!(error.contains(part), "{line}: {error}");
        };
        wrong("m", "missing fields");
        wrong(",a=b f=1", "missing measurement");
        wrong("m,a f=1", "missing tag value");
        wrong("m,a= f=1", "has no value");
        wrong("m f", "missing fields");
        wrong("m f=1,", "missing field value");
        wrong("m f=", "missing value");
        wrong("m f=1x", "invalid number \"1x\"");
        wrong("m f=9223372036854775808i", "invalid number");
        wrong("m f=NaN", "invalid number");
        wrong("m f=1e999", "invalid number");
        wrong("m f=\"x", "unbalanced quotes");
        wrong("m f=\"x\"y", "unexpected \"y\" after a field");
        wrong("m f=1 soon", "bad timestamp \"soon\"");
        wrong("m f=1 1 2", "bad timestamp \"1 2\"");
    }

    #[test]
    fn a_line_ends_outside_of_quotes() {
        assert_eq!(split("m f=\"a\nb\"\nn f=1"), ("m f=\"a\nb\"", "n f=1"));
        assert_eq!(split("m,a=\"x f=1\nn f=1"), ("m,a=\"x f=1", "n f=1"));
        assert_eq!(split("m f=\"a\\\"\nb\"\n"), ("m f=\"a\\\"\nb\"", ""));
        assert_eq!(split("m f=1"), ("m f=1", ""));
        assert_eq!(split("# a 5\" b\nm f=1"), ("# a 5\" b", "m f=1"));
        assert_eq!(split(" \t# a f=\"\\\nm f=1"), (" \t# a f=\"\\", "m f=1"));
        assert_eq!(split("m f\"g=1\nn f=1"), ("m f\"g=1", "n f=1"));
        assert_eq!(split("m f\\=\"g=1\nn f=1"), ("m f\\=\"g=1", "n f=1"));
        assert_eq!(split("  m,a=\"x f=1\nn f=1"), ("  m,a=\"x f=1", "n f=1"));
        assert_eq!(split("m f=\"=\"\nn f=1"), ("m f=\"=\"", "n f=1"));
    }
}
