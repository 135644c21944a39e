//! `| json`, `| json a="b.c[0]"` and `| unpack`.
//!
//! An own scanner, because numbers keep their digits (`1.0`, 20-digit ids), the first of equal keys wins, and nothing is
//! built that no label needs. It takes what RFC 8259 takes, nested at most [`DEPTH_MAX`] deep.

use std::borrow::Cow;

use weir_model::clip;

use super::labels::LineLabels;

/// Loki's parser error label.
const ERROR: &str = "JSONParserErr";

/// The member that is the line.
const ENTRY: &str = "_entry";

/// In Loki's words: the first when no object begins here, the second when one is broken.
const NO_OBJECT: &str = "Value looks like object, but can't find closing '}' symbol";
const MALFORMED: &str = "Malformed JSON error";
/// What Loki says of a line that `unpack` cannot read.
const NOT_PACKED: &str = "expecting json object(6), but it is not";

/// Labels of one line may have this many bytes together: a name repeats the keys around it, so that a few long ones around
/// many short ones would take gigabytes.
const LABEL_BYTES_MAX: usize = 1 << 20;

/// [`LABEL_BYTES_MAX`] in words.
const TOO_LONG: &str = "the names of the labels have more than 1 MiB together";

/// Deeper than any log line that people wrote; guards the stack.
const DEPTH_MAX: usize = 64;

/// A step of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathStep {
    /// `.a` or `["a"]`
    Key(String),
    /// `[0]`
    Index(usize),
}

/// Reads `a.b["c d"][0]`.
pub fn parse_path(path: &str) -> Result<Vec<PathStep>, String> {
    let wrong = || format!("bad JSON path {:?}: write a.b[0] or [\"a b\"].c", clip(path));
    let mut steps = Vec::new();
    let mut rest = path;
    while !rest.is_empty() {
        if let Some(inside) = rest.strip_prefix('[') {
            if let Some(quoted) = inside.strip_prefix('"') {
                let (key, tail) = quoted.split_once("\"]").ok_or_else(wrong)?;
                steps.push(PathStep::Key(key.into()));
                rest = tail;
            } else {
                let (index, tail) = inside.split_once(']').ok_or_else(wrong)?;
                steps.push(PathStep::Index(index.parse().map_err(|_| wrong())?));
                rest = tail;
            }
        } else {
            let key = if steps.is_empty() { rest } else { rest.strip_prefix('.').ok_or_else(wrong)? };
            let end = key.find(['.', '[']).unwrap_or(key.len());
            if end == 0 {
                return Err(wrong());
            }
            steps.push(PathStep::Key(key[..end].into()));
            rest = &key[end..];
        }
    }
    if steps.is_empty() { Err(wrong()) } else { Ok(steps) }
}

/// Every scalar as a label, nested keys joined by `_`; null and arrays are left out.
pub fn parse(line: &str, labels: &mut LineLabels) {
    if let Err(message) = scalars(line, labels) {
        fail(line, &message, labels);
    }
}

fn fail(line: &str, message: &str, labels: &mut LineLabels) {
    // Loki's words and no more: the details are a label of the answer.
    let words = match message {
        TOO_LONG => TOO_LONG,
        _ if line.trim_ascii_start().starts_with('{') => MALFORMED,
        _ => NO_OBJECT,
    };
    labels.fail(ERROR, words);
}

/// The same of a line that may be none: what can be read of an object is, and nothing is marked. False when no object begins
/// here.
pub fn parse_lenient(line: &str, labels: &mut LineLabels) -> bool {
    let is_object = line.trim_ascii_start().starts_with('{');
    if is_object {
        // A line may be cut, or go on after the object.
        let _ = scalars(line, labels);
    }
    is_object
}

fn scalars(line: &str, labels: &mut LineLabels) -> Result<(), String> {
    let mut found = Found::default();
    let mut scanner = Scanner { text: line, at: 0 };
    let result = scanner.object(0, &mut |scanner, key, depth| flatten(scanner, &key, depth, &mut found));
    for (name, value) in &found.labels {
        labels.parsed(name, value);
    }
    // What follows the object is not looked at, as in Loki.
    result
}

#[derive(Default)]
struct Found<'a> {
    labels: Vec<(String, Cow<'a, str>)>,
    bytes: usize,
}

fn flatten<'a>(scanner: &mut Scanner<'a>, name: &str, depth: usize, found: &mut Found<'a>) -> Result<(), String> {
    found.bytes += name.len();
    if found.bytes > LABEL_BYTES_MAX {
        return Err(TOO_LONG.into());
    }
    if scanner.peek() == Some(b'{') {
        return scanner.object(depth, &mut |scanner, key, depth| flatten(scanner, &format!("{name}_{key}"), depth, found));
    }
    let raw = scanner.value(depth)?;
    if raw != "null" && !raw.starts_with('[') {
        found.labels.push((label_name(name), text_of(raw)?));
    }
    Ok(())
}

/// Only letters, digits and `_`; a leading digit gets a `_` before it.
fn label_name(key: &str) -> String {
    weir_model::label::normalise_label_name(key).into_owned()
}

/// Only what the paths lead to; what is missing is an empty label. As in Loki, an empty line has none and no error, and of a broken line only a
/// value that is asked for and cannot be read is one: what a container cut off answers as far as it goes.
pub fn extract(line: &str, fields: &[(String, Vec<PathStep>)], labels: &mut LineLabels) {
    if line.is_empty() {
        return;
    }
    if !matches!(Scanner { text: line, at: 0 }.peek(), Some(b'{' | b'[' | b'"')) {
        return labels.fail(ERROR, "");
    }
    // Of fields that fill the same label, the last one that is there does.
    for (label, path) in fields.iter().rev() {
        match find(line, path) {
            Ok(Some(raw)) if raw != "null" => labels.parsed(label, &text_of(raw).unwrap_or_default()),
            Ok(_) => {}
            Err(message) => fail(line, &message, labels),
        }
    }
    for (label, _) in fields {
        if labels.get(label).is_none() {
            labels.parsed(label, "");
        }
    }
}

/// The raw text of the value at a path. Nothing behind it is looked at; errors when it is there and broken.
fn find<'a>(text: &'a str, path: &[PathStep]) -> Result<Option<&'a str>, String> {
    let mut raw = text;
    for (place, step) in path.iter().enumerate() {
        let is_last = place + 1 == path.len();
        let mut scanner = Scanner { text: raw, at: 0 };
        let mut hit = None;
        // An error ends the walk.
        let mut see = |scanner: &mut Scanner<'a>, is_wanted: bool, depth: usize| {
            if !is_wanted {
                return scanner.value(depth).map(|_| ());
            }
            hit = Some(if is_last { scanner.value(depth) } else { Ok(&scanner.text[scanner.at..]) });
            Err(String::new())
        };
        let mut index = 0;
        let _ = match step {
            PathStep::Key(wanted) => scanner.object(0, &mut |scanner, key, depth| see(scanner, key == wanted.as_str(), depth)),
            PathStep::Index(wanted) => scanner.array(0, &mut |scanner, depth| {
                index += 1;
                see(scanner, index > *wanted, depth)
            }),
        };
        match hit {
            Some(value) => raw = value?,
            None => return Ok(None),
        }
    }
    Ok(Some(raw.trim()))
}

/// String members as labels, and `_entry`, the new line; none when the line has no such member.
pub fn unpack(line: &str, labels: &mut LineLabels) -> Option<String> {
    if line.is_empty() {
        return None;
    }
    let mut found = Vec::new();
    let mut scanner = Scanner { text: line, at: 0 };
    if scanner.peek() != Some(b'{') {
        labels.fail(ERROR, NOT_PACKED);
        return None;
    }
    let result = scanner.object(0, &mut |scanner, key, depth| {
        let raw = scanner.value(depth)?;
        if raw.starts_with('"') {
            found.push((key.into_owned(), text_of(raw)?));
        }
        Ok(())
    });
    if let Err(message) = result {
        fail(line, &message, labels);
        return None;
    }
    // Without it, it is some other object, and stays as it is.
    let entry = found.iter().find(|(key, _)| key == ENTRY).map(|(_, value)| value.clone().into_owned())?;
    for (key, value) in found.iter().filter(|(key, _)| key != ENTRY) {
        labels.parsed(&label_name(key), value);
    }
    Some(entry)
}

/// A string without its quotes and escapes; anything else as it stands.
fn text_of(raw: &str) -> Result<Cow<'_, str>, String> {
    match raw.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
        Some(plain) if !plain.contains('\\') => Ok(Cow::Borrowed(plain)),
        Some(_) => serde_json::from_str::<String>(raw).map(Cow::Owned).map_err(|error| format!("bad string: {error}")),
        None => Ok(Cow::Borrowed(raw)),
    }
}

struct Scanner<'a> {
    text: &'a str,
    at: usize,
}

/// Reads one member of an object: its key is read, its value follows.
type Member<'m, 'a> = &'m mut dyn FnMut(&mut Scanner<'a>, Cow<'a, str>, usize) -> Result<(), String>;

impl<'a> Scanner<'a> {
    fn wrong<T>(&self, wanted: &str) -> Result<T, String> {
        Err(format!("byte {}: expected {wanted}", self.at))
    }

    /// The next byte that is no white space.
    fn peek(&mut self) -> Option<u8> {
        let bytes = self.text.as_bytes();
        while matches!(bytes.get(self.at), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
        bytes.get(self.at).copied()
    }

    fn take(&mut self, wanted: u8) -> bool {
        let found = self.peek() == Some(wanted);
        self.at += usize::from(found);
        found
    }

    fn object(&mut self, depth: usize, member: Member<'_, 'a>) -> Result<(), String> {
        if depth > DEPTH_MAX {
            return self.wrong("less nesting");
        }
        if !self.take(b'{') {
            return self.wrong("an object");
        }
        if self.take(b'}') {
            return Ok(());
        }
        loop {
            if self.peek() != Some(b'"') {
                return self.wrong("a key");
            }
            let key = text_of(self.string()?)?;
            if !self.take(b':') {
                return self.wrong("':'");
            }
            self.peek();
            member(self, key, depth + 1)?;
            if self.take(b'}') {
                return Ok(());
            }
            if !self.take(b',') {
                return self.wrong("',' or '}'");
            }
        }
    }

    fn array(&mut self, depth: usize, item: &mut dyn FnMut(&mut Self, usize) -> Result<(), String>) -> Result<(), String> {
        if depth > DEPTH_MAX {
            return self.wrong("less nesting");
        }
        if !self.take(b'[') {
            return self.wrong("an array");
        }
        if self.take(b']') {
            return Ok(());
        }
        loop {
            self.peek();
            item(self, depth + 1)?;
            if self.take(b']') {
                return Ok(());
            }
            if !self.take(b',') {
                return self.wrong("',' or ']'");
            }
        }
    }

    /// Skips one value and gives its text.
    fn value(&mut self, depth: usize) -> Result<&'a str, String> {
        let first = self.peek();
        let start = self.at;
        match first {
            Some(b'{') => self.object(depth, &mut |scanner, _, depth| scanner.value(depth).map(|_| ()))?,
            Some(b'[') => self.array(depth, &mut |scanner, depth| scanner.value(depth).map(|_| ()))?,
            Some(b'"') => return self.string(),
            _ => {
                let rest = &self.text[start..];
                let end = rest.find([',', '}', ']', ' ', '\t', '\n', '\r']).unwrap_or(rest.len());
                let word = &rest[..end];
                if !matches!(word, "true" | "false" | "null") && !is_number(word) {
                    return self.wrong("a value");
                }
                self.at += end;
            }
        }
        Ok(&self.text[start..self.at])
    }

    /// A string with its quotes; the next byte is the opening one.
    fn string(&mut self) -> Result<&'a str, String> {
        let start = self.at;
        let bytes = self.text.as_bytes();
        let mut at = start + 1;
        loop {
            match bytes.get(at) {
                None => return self.wrong("a closing quote"),
                Some(b'"') => break,
                Some(b'\\') => at += 2,
                Some(_) => at += 1,
            }
        }
        self.at = at + 1;
        Ok(&self.text[start..self.at])
    }
}

fn is_number(word: &str) -> bool {
    word.starts_with(|first: char| first == '-' || first.is_ascii_digit())
        && word.ends_with(|last: char| last.is_ascii_digit())
        && word.parse::<f64>().is_ok()
}
