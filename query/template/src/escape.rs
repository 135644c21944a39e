//! Texts made safe to stand in URLs, HTML and JavaScript.

use std::fmt::Write;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// What a query parameter's value has escaped: all but letters, digits and `-_.~`; a blank becomes `+` afterwards.
const QUERY: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~').remove(b' ');

/// As a query parameter's value: Go's `url.QueryEscape`.
pub fn escape_query(text: &str) -> String {
    utf8_percent_encode(text, QUERY).to_string().replace(' ', "+")
}

pub(crate) fn html(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '\0' => out.push('\u{fffd}'),
            '"' => out.push_str("&#34;"),
            '\'' => out.push_str("&#39;"),
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            _ => out.push(letter),
        }
    }
    out
}

pub(crate) fn js(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '\\' | '\'' | '"' => out.extend(['\\', letter]),
            '<' | '>' | '&' | '=' => _ = write!(out, "\\u{:04X}", u32::from(letter)),
            _ if !printable(letter) => _ = write!(out, "\\u{:04X}", u32::from(letter)),
            _ => out.push(letter),
        }
    }
    out
}

/// About what Go's `unicode.IsPrint` says.
pub(crate) fn printable(letter: char) -> bool {
    matches!(letter, '"' | '\'' | '\\') || letter.is_alphanumeric() || letter.escape_debug().count() == 1
}

/// A text as Go's `strconv.Quote` writes it; of ASCII alone when wanted.
pub(crate) fn quote(text: &str, ascii: bool) -> String {
    let mut out = String::from("\"");
    for letter in text.chars() {
        quoted(&mut out, letter, '"', ascii);
    }
    out.push('"');
    out
}

/// A letter between quotes of that kind.
pub(crate) fn quoted(out: &mut String, letter: char, quote: char, ascii: bool) {
    let code = u32::from(letter);
    let short = ['\x07', '\x08', '\x0c', '\n', '\r', '\t', '\x0b'].iter().position(|own| *own == letter);
    match letter {
        _ if letter == quote || letter == '\\' => out.extend(['\\', letter]),
        _ if short.is_some() => out.extend(['\\', ['a', 'b', 'f', 'n', 'r', 't', 'v'][short.unwrap_or(0)]]),
        _ if printable(letter) && (letter.is_ascii() || !ascii) => out.push(letter),
        _ if code < 0x80 => _ = write!(out, "\\x{code:02x}"),
        _ if code < 0x10000 => _ = write!(out, "\\u{code:04x}"),
        _ => _ = write!(out, "\\U{code:08x}"),
    }
}
