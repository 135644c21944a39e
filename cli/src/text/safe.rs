//! Text of others on a terminal: nothing in it may move the cursor, change colours or reverse the direction of what follows.

use std::borrow::Cow;

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// One line: line breaks and tabs too are written as `\n` and `\t`.
pub(crate) fn line(text: &str) -> Cow<'_, str> {
    escaped(text, is_unsafe)
}

/// One line of a log: tabs stay tabs.
pub(crate) fn log_line(text: &str) -> Cow<'_, str> {
    escaped(text, |letter| is_unsafe(letter) && letter != '\t')
}

/// Lines stay lines, and tabs tabs, as in a stack trace; the rest as in [`line`].
pub(crate) fn block(text: &str) -> String {
    escaped(&text.replace("\r\n", "\n"), |letter| is_unsafe(letter) && letter != '\n' && letter != '\t').into_owned()
}

/// The first of `text` that takes at most `columns`, with `…` in the last one when something was cut.
pub(crate) fn clipped(text: &str, columns: usize) -> Cow<'_, str> {
    if text.width() <= columns {
        return Cow::Borrowed(text);
    }
    let mut left = columns.saturating_sub(1);
    let fits = |letter: &char| {
        let width = letter.width().unwrap_or(0);
        let fits = width <= left;
        left = left.saturating_sub(width);
        fits
    };
    let mut kept: String = text.chars().take_while(fits).collect();
    kept.push('…');
    Cow::Owned(kept)
}

fn escaped(text: &str, is_unsafe: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.contains(&is_unsafe) {
        return Cow::Borrowed(text);
    }
    let mut written = String::with_capacity(text.len() + 8);
    for letter in text.chars() {
        match letter {
            _ if !is_unsafe(letter) => written.push(letter),
            '\0'..='\u{ff}' if !matches!(letter, '\n' | '\t' | '\r') => written.push_str(&format!("\\x{:02x}", letter as u32)),
            _ => written.extend(letter.escape_default()),
        }
    }
    Cow::Owned(written)
}

/// Control characters, and those that change the direction of text or have no width.
fn is_unsafe(letter: char) -> bool {
    let is_hidden = matches!(letter, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}');
    letter.is_control() || is_hidden && letter != '\u{200d}'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_moves_the_cursor() {
        let check = |text: &str, one_line: &str, many: &str| {
            assert_eq!(line(text), one_line, "{text:?}");
            assert_eq!(block(text), many, "{text:?}");
            assert_eq!(log_line(text), one_line.replace("a\\t", "a\t"), "{text:?}");
        };
        check("plain größe 日本", "plain größe 日本", "plain größe 日本");
        check("a\tb\nc\r\n", "a\\tb\\nc\\r\\n", "a\tb\nc\n");
        check("\x1b[31mred\x1b[0m", "\\x1b[31mred\\x1b[0m", "\\x1b[31mred\\x1b[0m");
        check("back\rwards\x08", "back\\rwards\\x08", "back\\rwards\\x08");
        check("\u{9b}2J", "\\x9b2J", "\\x9b2J");
        check("\u{202e}txt.exe", "\\u{202e}txt.exe", "\\u{202e}txt.exe");
    }

    #[test]
    fn what_is_cut_says_so_and_fits() {
        let check = |text: &str, columns: usize, expected: &str| assert_eq!(clipped(text, columns), expected, "{text:?}");
        check("short", 5, "short");
        check("longer", 5, "long…");
        check("日本語", 6, "日本語");
        check("日本語", 5, "日本…");
        check("日本語", 4, "日…");
        check("ab", 0, "…");
    }
}
