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
    if !fields.is_empty() {
        return extract(line, options, fields, labels);
    }
    pairs(line, options, labels, |labels, key, value| {
        if options.keep_empty || !value.is_empty() {
            labels.parsed(&normalise_label_name(key), &value);
        }
    });
}

/// As in Loki: of equal keys the last one counts, with or without a value, and of fields that fill the same label the last one does.
fn extract(line: &str, options: Options, fields: &[Extraction], labels: &mut LineLabels) {
    let mut values = vec![None; fields.len()];
    pairs(line, options, labels, |_, key, value| {
        let hits = fields.iter().zip(&mut values).filter(|(field, _)| field.path == key);
        hits.for_each(|(_, slot)| *slot = Some(value.clone()));
    });
    let is_last = |at: usize| fields[at + 1..].iter().all(|other| other.label != fields[at].label);
    for (_, (field, value)) in fields.iter().zip(values).enumerate().filter(|(at, _)| is_last(*at)) {
        match value {
            Some(value) => labels.parsed(&field.label, &value),
            None if labels.get(&field.label).is_none() => labels.parsed(&field.label, ""),
            None => {}
        }
    }
}

/// Gives every pair to `keep`.
fn pairs<'a>(
    line: &'a str,
    options: Options,
    labels: &mut LineLabels,
    mut keep: impl FnMut(&mut LineLabels, &'a str, Cow<'a, str>),
) {
    let mut rest = line;
    loop {
        rest = rest.trim_start_matches(|letter: char| letter <= ' ');
        if rest.is_empty() {
            return;
        }
        match pair(rest) {
            Ok((key, value, tail)) => {
                rest = tail;
                keep(labels, key, value);
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
