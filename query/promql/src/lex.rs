//! Text to tokens, each with its byte span. Knows no grammar: keywords are identifiers here, the parser tells them apart.

use super::ast::Span;
use super::error::ParseError;

/// What a token is.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Tok {
    /// A name: metric, label, function, keyword. May hold colons outside of square brackets.
    Ident(String),
    /// A float.
    Number(f64),
    /// A duration in milliseconds.
    Duration(i64),
    /// A string literal, unescaped.
    Str(String),
    /// Punctuation and operators.
    Op(&'static str),
    /// The end of the input.
    End,
}

/// A token and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Token {
    pub tok: Tok,
    pub span: Span,
}

/// Longest first, so that `<=` is not read as `<`.
const OPERATORS: [&str; 28] = [
    "</", ">/", "==", "!=", "!~", "=~", "<=", ">=", "<", ">", "=", "+", "-", "*", "/", "%", "^", "(", ")", "{", "}", "[", "]",
    ",", "@", ":", "!", ";",
];

/// A query has at most so many names, literals and signs: chains of 8,000 operators or 2,000 selectors. It bounds what the
/// tree of a query takes.
const TOKENS_MAX: usize = 16_384;

/// Splits a query. Errors name the position of what is not PromQL.
pub(crate) fn lex(text: &str) -> Result<Vec<Token>, ParseError> {
    let mut lexer = Lexer { text, at: 0, brackets: 0, tokens: Vec::new() };
    while lexer.at < text.len() {
        lexer.next()?;
        if lexer.tokens.len() > TOKENS_MAX {
            let start = lexer.tokens.last().map_or(0, |token| token.span.start);
            return Err(ParseError::at(
                text,
                start,
                format!("a query may have {TOKENS_MAX} names, literals and signs, this is one more"),
            ));
        }
    }
    lexer.tokens.push(Token { tok: Tok::End, span: Span::new(text.len(), text.len()) });
    Ok(lexer.tokens)
}

struct Lexer<'a> {
    text: &'a str,
    at: usize,
    /// Open `[`: within, a colon separates range and step.
    brackets: usize,
    tokens: Vec<Token>,
}

impl Lexer<'_> {
    fn next(&mut self) -> Result<(), ParseError> {
        let rest = &self.text[self.at..];
        let Some(first) = rest.chars().next() else { return Ok(()) };
        match first {
            ' ' | '\t' | '\n' | '\r' => self.at += 1,
            '#' => self.at += rest.find('\n').unwrap_or(rest.len()),
            '"' | '\'' | '`' => self.string(first)?,
            '0'..='9' => self.number()?,
            '.' if rest[1..].starts_with(|next: char| next.is_ascii_digit()) => self.number()?,
            'a'..='z' | 'A'..='Z' | '_' => self.ident(),
            ':' if self.brackets == 0 => self.ident(),
            _ => self.operator(first)?,
        }
        Ok(())
    }

    fn push(&mut self, tok: Tok, length: usize) {
        self.tokens.push(Token { tok, span: Span::new(self.at, self.at + length) });
        self.at += length;
    }

    fn operator(&mut self, first: char) -> Result<(), ParseError> {
        let rest = &self.text[self.at..];
        let Some(operator) = OPERATORS.iter().find(|operator| rest.starts_with(**operator)) else {
            return Err(ParseError::at(self.text, self.at, format!("unexpected character: {first:?}")));
        };
        match *operator {
            "[" => self.brackets += 1,
            "]" => self.brackets = self.brackets.saturating_sub(1),
            _ => {}
        }
        self.push(Tok::Op(operator), operator.len());
        Ok(())
    }

    fn ident(&mut self) {
        let rest = &self.text[self.at..];
        let colons = self.brackets == 0;
        let part = |letter: char| letter.is_ascii_alphanumeric() || letter == '_' || (colons && letter == ':');
        let length = rest.find(|letter| !part(letter)).unwrap_or(rest.len());
        self.push(Tok::Ident(rest[..length].to_owned()), length);
    }

    fn number(&mut self) -> Result<(), ParseError> {
        let rest = &self.text[self.at..];
        let bytes = rest.as_bytes();
        let hex = rest.starts_with("0x") || rest.starts_with("0X");
        let mut length = 0;
        while let Some(byte) = bytes.get(length) {
            let exponent_sign = matches!(byte, b'+' | b'-') && !hex && length > 0 && matches!(bytes[length - 1], b'e' | b'E');
            if !(byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.') || exponent_sign) {
                break;
            }
            length += 1;
        }
        let word = &rest[..length];
        if let Some(value) = parse_number(word) {
            self.push(Tok::Number(value), length);
        } else if let Some(millis) = parse_duration_ms(word) {
            self.push(Tok::Duration(millis), length);
        } else {
            let clipped: String = word.chars().take(40).collect();
            return Err(ParseError::at(self.text, self.at, format!("bad number or duration syntax: {clipped:?}")));
        }
        Ok(())
    }

    fn string(&mut self, quote: char) -> Result<(), ParseError> {
        let rest = &self.text[self.at..];
        let mut escaped = false;
        let end = rest.char_indices().skip(1).find_map(|(i, letter)| {
            if escaped {
                escaped = false;
                return None;
            }
            escaped = letter == '\\' && quote != '`';
            (letter == quote).then_some(i)
        });
        let Some(end) = end else {
            return Err(ParseError::at(self.text, self.at, "unterminated quoted string".into()));
        };
        let inner = &rest[1..end];
        let value = if quote == '`' {
            inner.to_owned()
        } else {
            unescape(inner).map_err(|why| ParseError::at(self.text, self.at, why))?
        };
        self.push(Tok::Str(value), end + 1);
        Ok(())
    }
}

/// A number as Go reads one: decimal, `0x`, octal with a leading 0, `_` between digits.
pub fn parse_number(word: &str) -> Option<f64> {
    let clean = word.replace('_', "");
    if word.ends_with('_') || word.contains("__") || word.starts_with('_') {
        return None;
    }
    if let Some(hex) = clean.strip_prefix("0x").or_else(|| clean.strip_prefix("0X")) {
        return u64::from_str_radix(hex, 16).ok().map(|value| value as f64);
    }
    if !clean.starts_with(|first: char| first.is_ascii_digit() || first == '.') {
        return None;
    }
    if clean.len() > 1 && clean.starts_with('0') && clean.bytes().all(|byte| (b'0'..=b'7').contains(&byte)) {
        return u64::from_str_radix(&clean, 8).ok().map(|value| value as f64);
    }
    clean.parse().ok()
}

const UNITS: [(&str, i64); 7] =
    [("y", 365 * 86_400_000), ("w", 7 * 86_400_000), ("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];

/// A duration as PromQL writes it: whole numbers, units descending, each at most once.
pub(crate) fn parse_duration_ms(word: &str) -> Option<i64> {
    let mut rest = word;
    let mut units = UNITS.iter();
    let mut total = 0_i64;
    while !rest.is_empty() {
        let digits = rest.find(|letter: char| !letter.is_ascii_digit()).filter(|digits| *digits > 0)?;
        let (number, tail) = rest.split_at(digits);
        let letters = tail.find(|letter: char| letter.is_ascii_digit()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(letters);
        let (_, millis) = units.find(|(name, _)| *name == unit)?;
        total = total.checked_add(number.parse::<i64>().ok()?.checked_mul(*millis)?)?;
        rest = tail;
    }
    (!word.is_empty()).then_some(total)
}

/// Milliseconds as Prometheus prints a duration in a query: `1h30m`, `0s`.
pub(crate) fn format_duration_ms(millis: i64) -> String {
    if millis == 0 {
        return "0s".into();
    }
    let mut text = String::from(if millis < 0 { "-" } else { "" });
    let mut rest = millis.unsigned_abs();
    for (name, unit) in UNITS {
        let unit = unit.unsigned_abs();
        // Years and weeks only when they are the whole of it, as Prometheus does it.
        if matches!(name, "y" | "w") && !rest.is_multiple_of(unit) {
            continue;
        }
        if rest / unit > 0 {
            text.push_str(&format!("{}{name}", rest / unit));
            rest %= unit;
        }
    }
    text
}

/// Go's escapes. Bytes given as `\xNN` that are no UTF-8 become U+FFFD.
pub fn unescape(inner: &str) -> Result<String, String> {
    let mut out = Vec::with_capacity(inner.len());
    let mut letters = inner.chars();
    while let Some(letter) = letters.next() {
        if letter == '\n' {
            return Err("unterminated quoted string".into());
        }
        if letter != '\\' {
            out.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes());
            continue;
        }
        let escape = letters.next().ok_or("unterminated escape in a string")?;
        let mut digits = |count: usize, radix: u32, first: &str| {
            let text: String = first.chars().chain(letters.by_ref().take(count)).collect();
            u32::from_str_radix(&text, radix).map_err(|_| format!("bad escape sequence \\{escape} in a string"))
        };
        let code = match escape {
            'a' => 7,
            'b' => 8,
            'f' => 12,
            'n' => 10,
            'r' => 13,
            't' => 9,
            'v' => 11,
            '\\' | '\'' | '"' => escape as u32,
            'x' => {
                out.push(digits(2, 16, "")? as u8);
                continue;
            }
            '0'..='7' => {
                out.push(digits(2, 8, escape.encode_utf8(&mut [0; 4]))? as u8);
                continue;
            }
            'u' => digits(4, 16, "")?,
            'U' => digits(8, 16, "")?,
            _ => return Err(format!("unknown escape sequence \\{escape} in a string")),
        };
        let letter = char::from_u32(code).ok_or("an escape is no Unicode code point")?;
        out.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes());
    }
    Ok(String::from_utf8(out).unwrap_or_else(|wrong| String::from_utf8_lossy(wrong.as_bytes()).into_owned()))
}
