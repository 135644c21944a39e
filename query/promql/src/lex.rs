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
    /// What is no token, and why not; nothing comes after it. Whoever reads up to here says so.
    Wrong(ParseError),
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
const OPERATORS: [&str; 24] = [
    "</", ">/", "==", "!=", "<=", ">=", "<", ">", "=", "+", "-", "*", "/", "%", "^", "(", ")", "{", "}", "[", "]", ",", "@", ":",
];

/// Inside braces.
const OPERATORS_OF_MATCHERS: [&str; 6] = ["!=", "!~", "=~", "=", ",", "}"];

/// Words of durations, inside square brackets.
const DURATION_WORDS: [&str; 4] = ["step", "range", "min_of", "max_of"];

/// A query has at most so many names, literals and signs: chains of 8,000 operators or 2,000 selectors. It bounds what the
/// tree of a query takes.
const TOKENS_MAX: usize = 16_384;

/// Splits a query, up to what is not PromQL. What is wrong is said in Prometheus' words.
pub(crate) fn lex(text: &str) -> Vec<Token> {
    let mut lexer = Lexer { text, at: 0, parentheses: 0, place: Place::Query, tokens: Vec::new() };
    while lexer.at < text.len() {
        let taken = lexer.next();
        if let Some(extra) = lexer.tokens.get(TOKENS_MAX) {
            lexer.at = extra.span.start;
            lexer.tokens.truncate(TOKENS_MAX);
            lexer.wrong(format!("a query may have {TOKENS_MAX} names, literals and signs, this is one more"));
            return lexer.tokens;
        }
        if let Err(why) = taken {
            lexer.wrong(why);
            return lexer.tokens;
        }
    }
    match lexer.place {
        Place::Braces => lexer.wrong("unexpected end of input inside braces"),
        Place::Brackets { has_number: false } => lexer.wrong("unexpected end of input in duration expression"),
        _ if lexer.parentheses > 0 => lexer.wrong("unclosed left parenthesis"),
        Place::Brackets { .. } => lexer.wrong("unclosed left bracket"),
        Place::Query => lexer.push(Tok::End, 0),
    }
    lexer.tokens
}

/// What may come next depends on it.
#[derive(Clone, Copy, PartialEq)]
enum Place {
    Query,
    Braces,
    /// Square brackets: a colon separates range and step.
    Brackets {
        /// One has come since the bracket.
        has_number: bool,
    },
}

struct Lexer<'a> {
    text: &'a str,
    at: usize,
    /// That are open.
    parentheses: usize,
    place: Place,
    tokens: Vec<Token>,
}

impl Lexer<'_> {
    fn next(&mut self) -> Result<(), String> {
        let rest = &self.text[self.at..];
        let Some(first) = rest.chars().next() else { return Ok(()) };
        let is_number = first.is_ascii_digit() || first == '.' && rest[1..].starts_with(|next: char| next.is_ascii_digit());
        match (first, self.place) {
            (' ' | '\t' | '\n' | '\r', _) => self.at += 1,
            ('#', _) => self.at += rest.find('\n').unwrap_or(rest.len()),
            ('"' | '\'' | '`', Place::Query | Place::Braces) => self.string(first)?,
            ('a'..='z' | 'A'..='Z' | '_', Place::Query | Place::Braces) | (':', Place::Query) => self.ident(),
            (_, Place::Query) if is_number => self.number()?,
            (_, Place::Brackets { .. }) if is_number => {
                self.place = Place::Brackets { has_number: true };
                self.number()?;
            }
            ('a'..='z' | 'A'..='Z' | '_', Place::Brackets { has_number }) => self.word_of_duration(first, has_number)?,
            _ => self.operator(first)?,
        }
        Ok(())
    }

    fn push(&mut self, tok: Tok, length: usize) {
        self.tokens.push(Token { tok, span: Span::new(self.at, self.at + length) });
        self.at += length;
    }

    /// Ends the tokens here.
    fn wrong(&mut self, why: impl Into<String>) {
        self.push(Tok::Wrong(ParseError::at(self.text, self.at, why.into())), 0);
    }

    fn operator(&mut self, first: char) -> Result<(), String> {
        let rest = &self.text[self.at..];
        let operators = if self.place == Place::Braces { &OPERATORS_OF_MATCHERS[..] } else { &OPERATORS };
        let found = operators.iter().find(|operator| rest.starts_with(**operator)).copied();
        let operator = match (found, self.place) {
            (Some("="), Place::Query) if rest.starts_with("=~") => return Err("unexpected character after '=': '~'".into()),
            (Some("}"), Place::Query | Place::Brackets { .. }) => return Err("unexpected character: '}'".into()),
            (Some("]"), Place::Query) => return Err("unexpected right bracket ']'".into()),
            (Some("["), Place::Brackets { .. }) => return Err("unexpected left bracket '['".into()),
            (Some(")"), _) if self.parentheses == 0 => return Err("unexpected right parenthesis ')'".into()),
            (Some(operator), _) => operator,
            (None, Place::Braces) if first == '{' => return Err("unexpected left brace '{'".into()),
            (None, place) if first == '!' => {
                let next = rest[1..].chars().next().map_or("end of input".to_owned(), |next| format!("{next:?}"));
                let inside = if place == Place::Braces { " inside braces" } else { "" };
                return Err(format!("unexpected character after '!'{inside}: {next}"));
            }
            (None, Place::Braces) => return Err(format!("unexpected character inside braces: {first:?}")),
            (None, Place::Brackets { has_number: false }) => {
                return Err(format!("unexpected character in duration expression: {first:?}"));
            }
            (None, _) => return Err(format!("unexpected character: {first:?}")),
        };
        match operator {
            "(" => self.parentheses += 1,
            ")" => self.parentheses -= 1,
            "{" => self.place = Place::Braces,
            "[" => self.place = Place::Brackets { has_number: false },
            "}" | "]" => self.place = Place::Query,
            _ => {}
        }
        self.push(Tok::Op(operator), operator.len());
        Ok(())
    }

    fn word_of_duration(&mut self, first: char, has_number: bool) -> Result<(), String> {
        let rest = &self.text[self.at..];
        let length = rest.find(|letter: char| !(letter.is_ascii_alphanumeric() || letter == '_')).unwrap_or(rest.len());
        let word = &rest[..length];
        match DURATION_WORDS.iter().any(|own| own.eq_ignore_ascii_case(word)) {
            true => self.push(Tok::Ident(word.to_owned()), length),
            false if has_number => return Err(format!("unexpected character: {first:?}, expected ':'")),
            false => return Err(format!("unexpected character in duration expression: {first:?}")),
        }
        Ok(())
    }

    fn ident(&mut self) {
        let rest = &self.text[self.at..];
        let colons = self.place == Place::Query;
        let part = |letter: char| letter.is_ascii_alphanumeric() || letter == '_' || (colons && letter == ':');
        let length = rest.find(|letter| !part(letter)).unwrap_or(rest.len());
        self.push(Tok::Ident(rest[..length].to_owned()), length);
    }

    fn number(&mut self) -> Result<(), String> {
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
        let clipped = || word.chars().take(40).collect::<String>();
        if let Some(value) = parse_number(word) {
            if value.is_infinite() {
                return Err(format!("error parsing number: {:?}: value out of range", clipped()));
            }
            self.push(Tok::Number(value), length);
        } else if let Some(millis) = parse_duration_ms(word) {
            self.push(Tok::Duration(millis), length);
        } else if is_of_durations(word) {
            return Err(format!("not a valid duration string: {:?}", clipped()));
        } else {
            return Err(format!("bad number or duration syntax: {:?}", clipped()));
        }
        Ok(())
    }

    fn string(&mut self, quote: char) -> Result<(), String> {
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
            return Err(match quote {
                _ if escaped => "escape sequence not terminated",
                '`' => "unterminated raw string",
                _ => "unterminated quoted string",
            }
            .into());
        };
        let inner = &rest[1..end];
        if inner.contains('\u{fffd}') {
            return Err("invalid UTF-8 rune".into());
        }
        let value = if quote == '`' { inner.to_owned() } else { unescape(inner)? };
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

/// Numbers with units, whichever and in whatever order.
fn is_of_durations(word: &str) -> bool {
    let is_unit = |unit: &str| UNITS.iter().any(|(name, _)| unit == *name) || matches!(unit, "ss" | "hs" | "ds" | "ws" | "ys");
    let mut units = word.split(|letter: char| letter.is_ascii_digit()).filter(|part| !part.is_empty());
    let (first, last) = (word.bytes().next(), word.bytes().last());
    first.is_some_and(|byte| byte.is_ascii_digit()) && last.is_some_and(|byte| byte.is_ascii_alphabetic()) && units.all(is_unit)
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
        let escape = letters.next().ok_or("escape sequence not terminated")?;
        let mut digits = |count: usize, radix: u32, first: &str| {
            let text: String = first.chars().chain(letters.by_ref().take(count)).collect();
            let wrong = text.chars().find(|digit| !digit.is_digit(radix));
            let why = wrong.map_or("escape sequence not terminated".to_owned(), |letter| {
                format!("illegal character U+{:04X} {letter:?} in escape sequence", u32::from(letter))
            });
            u32::from_str_radix(&text, radix).map_err(|_| why)
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
            _ => return Err(format!("unknown escape sequence U+{:04X} {escape:?}", u32::from(escape))),
        };
        let letter = char::from_u32(code).ok_or("escape sequence is an invalid Unicode code point")?;
        out.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes());
    }
    Ok(String::from_utf8(out).unwrap_or_else(|wrong| String::from_utf8_lossy(wrong.as_bytes()).into_owned()))
}
