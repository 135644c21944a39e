//! `| logfmt`: `key=value key="quoted value" flag`.

use std::borrow::Cow;

use weir_model::label::normalise_label_name;

use super::labels::LineLabels;
use crate::ast::Extraction;

/// How strict.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// `--strict`: a malformed pair marks the line.
    pub strict: bool,
    /// `--keep-empty`: a key without a value is an empty label.
    pub keep_empty: bool,
}

/// Sets the labels found; with `fields`, only those, by their paths, and what is missing is an empty label. Without `--strict` the good pairs of a broken line
/// are kept and nothing is marked.
pub fn parse(line: &str, options: Options, fields: &[Extraction], labels: &mut LineLabels) {
    pairs(line, options, fields, labels);
    for field in fields {
        if labels.get(&field.label).is_none() {
            labels.parsed(&field.label, "");
        }
    }
}

fn pairs(line: &str, options: Options, fields: &[Extraction], labels: &mut LineLabels) {
    let mut rest = line;
    loop {
        rest = rest.trim_start_matches(|letter: char| letter <= ' ');
        if rest.is_empty() {
            return;
        }
        match pair(rest) {
            Ok((key, value, tail)) => {
                rest = tail;
                if value.is_empty() && !options.keep_empty {
                    continue;
                }
                if fields.is_empty() {
                    labels.parsed(&normalise_label_name(key), &value);
                } else {
                    // Of fields that fill the same label, the last one does.
                    let is_last = |at: usize| fields[at + 1..].iter().all(|other| other.label != fields[at].label);
                    for (_, field) in fields.iter().enumerate().filter(|(at, field)| field.path == key && is_last(*at)) {
                        labels.parsed(&field.label, &value);
                    }
                }
            }
            Err((message, at, tail)) => {
                if options.strict {
                    let place = line.len() - rest.len() + at + 1;
                    labels.fail("LogfmtParserErr", format!("logfmt syntax error at pos {place} : {message}"));
                    return;
                }
                rest = &rest[tail..];
            }
        }
    }
}

type Pair<'a> = (&'a str, Cow<'a, str>, &'a str);

/// One pair and what follows it; an error says what is wrong, at which byte, and at which one to go on.
fn pair(text: &str) -> Result<Pair<'_>, (String, usize, usize)> {
    let end = text.find(|letter: char| letter <= ' ' || letter == '=' || letter == '"').unwrap_or(text.len());
    let (key, tail) = text.split_at(end);
    let word_end = |text: &str| text.find(|letter: char| letter <= ' ').unwrap_or(text.len());
    let unexpected = |at: usize| (format!("unexpected '{}'", text[at..].chars().next().unwrap_or(' ')), at, word_end(text));
    if key.is_empty() || tail.starts_with('"') {
        return Err(unexpected(end));
    }
    let Some(tail) = tail.strip_prefix('=') else { return Ok((key, Cow::Borrowed(""), tail)) };
    let Some(quoted) = tail.strip_prefix('"') else {
        let (value, rest) = tail.split_at(word_end(tail));
        return match value.find(['"', '=']) {
            Some(at) => Err(unexpected(end + 1 + at)),
            None => Ok((key, Cow::Borrowed(value), rest)),
        };
    };
    let mut escaped = false;
    for (at, letter) in quoted.char_indices() {
        match letter {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => {
                let value = &quoted[..at];
                let value = if value.contains('\\') { unescape(value) } else { Cow::Borrowed(value) };
                return Ok((key, value, &quoted[at + 1..]));
            }
            _ => {}
        }
    }
    Err(("unterminated quoted value".to_owned(), text.len(), text.len()))
}

/// JSON's escapes; what is no escape stays as it is.
fn unescape(text: &str) -> Cow<'_, str> {
    match serde_json::from_str::<String>(&format!("\"{text}\"")) {
        Ok(text) => Cow::Owned(text),
        Err(_) => Cow::Borrowed(text),
    }
}
