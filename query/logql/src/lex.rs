//! Cuts LogQL into tokens. Pure; knows no grammar beyond strings, numbers and units. Called by the parser only.

use std::borrow::Cow;

use weir_model::clip;
use weir_model::time::parse_duration;

use super::error::ParseError;

#[derive(Clone, Debug, PartialEq)]
pub enum Token {
    /// A name or keyword.
    Ident(String),
    /// A quoted string, unescaped.
    String(String),
    Number(f64),
    /// A duration in nanoseconds.
    Duration(i64),
    /// A size in bytes: `20MB`, `1.5KiB`.
    Bytes(f64),
    /// `--strict`, without the dashes.
    Flag(String),
    /// An operator or bracket.
    Punct(&'static str),
    /// The end of the query.
    End,
}

impl Token {
    /// What Loki's parser calls it: `IDENTIFIER`, `STRING`, `)`, `$end`.
    pub fn kind(&self) -> Cow<'static, str> {
        match self {
            Self::Ident(name) => match KEYWORDS.iter().find(|word| name.eq_ignore_ascii_case(word)) {
                Some(word) => (*word).into(),
                None => "IDENTIFIER".into(),
            },
            Self::String(_) => "STRING".into(),
            Self::Number(_) => "NUMBER".into(),
            Self::Duration(_) => "DURATION".into(),
            Self::Bytes(_) => "BYTES".into(),
            Self::Flag(_) => "PARSER_FLAG".into(),
            Self::Punct("[") => "RANGE".into(),
            Self::Punct(sign) => (*sign).into(),
            Self::End => "$end".into(),
        }
    }

    /// As an error message names it beside its kind.
    pub fn describe(&self) -> String {
        match self {
            Self::Ident(name) => format!("identifier {}", clip(name)),
            Self::String(text) => format!("string {:?}", clip(text)),
            Self::Number(number) => format!("number {number}"),
            Self::Duration(_) => "a duration".into(),
            Self::Bytes(_) => "a byte size".into(),
            Self::Flag(name) => format!("flag --{}", clip(name)),
            Self::Punct(sign) => format!("{sign:?}"),
            Self::End => "the end of the query".into(),
        }
    }
}

/// Words that Loki's parser calls by their name wherever they stand.
const KEYWORDS: [&str; 24] = [
    "json",
    "logfmt",
    "regexp",
    "unpack",
    "pattern",
    "label_format",
    "line_format",
    "decolorize",
    "drop",
    "keep",
    "unwrap",
    "by",
    "without",
    "bool",
    "offset",
    "on",
    "ignoring",
    "group_left",
    "group_right",
    "or",
    "and",
    "unless",
    "variants",
    "of",
];

/// A token and the byte it begins at.
#[derive(Clone, Debug, PartialEq)]
pub struct Spanned {
    pub token: Token,
    pub at: usize,
}

/// Longest first, so that `!=` is not `!` and `=`.
const PUNCT: [&str; 31] = [
    "|=", "|~", "|>", "!=", "!~", "!>", "=~", "==", ">=", "<=", "(", ")", "{", "}", "[", "]", ",", "|", "=", ">", "<", "+", "-",
    "*", "/", "%", "^", ".", ":", "&", "@",
];

/// A query has at most so many names, literals and signs: chains of 8,000 operators, pipelines of 5,000 stages. It bounds
/// what the tree of a query takes.
const TOKENS_MAX: usize = 16_384;

/// All tokens and the end.
pub fn lex(text: &str) -> Result<Vec<Spanned>, ParseError> {
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(letter) = text[at..].chars().next() {
        if letter.is_whitespace() {
            at += letter.len_utf8();
        } else if letter == '#' || text[at..].starts_with("//") {
            at = text[at..].find('\n').map_or(text.len(), |end| at + end);
        } else if text[at..].starts_with("/*") {
            let end = text[at + 2..].find("*/");
            let end = end.ok_or_else(|| ParseError::at(text, at, "comment not terminated: no */ ends what begins here"))?;
            at += 2 + end + 2;
        } else {
            if tokens.len() == TOKENS_MAX {
                let message = format!("a query may have {TOKENS_MAX} names, literals and signs, this is one more");
                return Err(ParseError::at(text, at, message));
            }
            let (token, next) = one(text, at, letter)?;
            tokens.push(Spanned { token, at });
            at = next;
        }
    }
    tokens.push(Spanned { token: Token::End, at: text.len() });
    Ok(tokens)
}

fn one(text: &str, at: usize, letter: char) -> Result<(Token, usize), ParseError> {
    let rest = &text[at..];
    match letter {
        '"' => quoted(text, at),
        '`' => match rest[1..].find('`') {
            Some(end) => Ok((Token::String(rest[1..=end].into()), at + end + 2)),
            None => Err(ParseError::at(text, at, "literal not terminated: the string that begins here has no closing `")),
        },
        _ if letter.is_ascii_alphabetic() || letter == '_' => {
            let end = rest.find(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_').unwrap_or(rest.len());
            Ok((Token::Ident(rest[..end].into()), at + end))
        }
        _ if letter.is_ascii_digit() || (letter == '.' && rest[1..].starts_with(|digit: char| digit.is_ascii_digit())) => {
            number(text, at)
        }
        '-' if rest[1..].starts_with('-') && rest[2..].starts_with(|letter: char| letter.is_ascii_alphabetic()) => {
            let name = &rest[2..];
            let end = name.find(|letter: char| !letter.is_ascii_alphanumeric() && letter != '-').unwrap_or(name.len());
            Ok((Token::Flag(name[..end].into()), at + 2 + end))
        }
        _ => match PUNCT.iter().find(|sign| rest.starts_with(**sign)) {
            Some(sign) => Ok((Token::Punct(sign), at + sign.len())),
            None => Err(ParseError::at(text, at, format!("syntax error: unexpected character {letter:?}"))),
        },
    }
}

fn number(text: &str, at: usize) -> Result<(Token, usize), ParseError> {
    let rest = &text[at..];
    let mut end = 0;
    for (i, letter) in rest.char_indices() {
        let exponent = i > 0 && matches!(letter, '+' | '-') && is_exponent(&rest[..i]);
        if !(letter.is_ascii_alphanumeric() || matches!(letter, '.' | 'µ' | '_') || exponent) {
            break;
        }
        end = i + letter.len_utf8();
    }
    let word = &rest[..end];
    let next = at + end;
    let plain = without_underscores(word).unwrap_or(Cow::Borrowed(word));
    if let Some(number) = plain.parse::<f64>().ok().or_else(|| parse_hex_float(&plain)) {
        return Ok((Token::Number(number), next));
    }
    if let Ok(nanos) = parse_duration(word) {
        return Ok((Token::Duration(nanos), next));
    }
    match parse_bytes_literal(word) {
        Some(bytes) => Ok((Token::Bytes(bytes), next)),
        None => {
            let number = word.find(|letter: char| letter.is_ascii_alphabetic() || letter == 'µ').unwrap_or(word.len());
            let unit = match word[number..].find(|letter: char| letter.is_ascii_digit()) {
                None if number < word.len() => format!(", unknown unit {:?} in duration {:?}", clip(&word[number..]), clip(word)),
                _ => String::new(),
            };
            let message = format!("not a valid duration string: {:?}{unit}, and no number or byte size (20MB)", clip(word));
            Err(ParseError::at(text, at, message))
        }
    }
}

/// `1_000` as `1000`: in Go's numbers an underscore may stand between two digits, and behind `0x`. `None` where one stands
/// elsewhere.
pub fn without_underscores(text: &str) -> Option<Cow<'_, str>> {
    if !text.contains('_') {
        return Some(Cow::Borrowed(text));
    }
    let bytes = text.as_bytes();
    let hex = text.trim_start_matches(['-', '+']).get(..2).is_some_and(|start| start.eq_ignore_ascii_case("0x"));
    let is_digit = |byte: Option<&u8>| byte.is_some_and(|byte| byte.is_ascii_digit() || hex && byte.is_ascii_hexdigit());
    let fine = |at: usize| {
        let before = at.checked_sub(1).and_then(|before| bytes.get(before));
        (is_digit(before) || hex && matches!(before, Some(b'x' | b'X'))) && is_digit(bytes.get(at + 1))
    };
    let all = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'_').all(|(at, _)| fine(at));
    all.then(|| Cow::Owned(text.replace('_', "")))
}

/// Whether `1.5e` or `0x1p` has been read, so that a sign may follow.
fn is_exponent(read: &str) -> bool {
    let decimal = |mantissa: &str| mantissa.parse::<f64>().is_ok();
    read.strip_suffix(['e', 'E']).is_some_and(decimal) || read.starts_with("0x") && read.ends_with(['p', 'P'])
}

/// `0x1.8p3`, as Go writes floats to the base of 16. The exponent is not optional.
pub fn parse_hex_float(word: &str) -> Option<f64> {
    let (mantissa, exponent) = word.strip_prefix("0x").or_else(|| word.strip_prefix("0X"))?.split_once(['p', 'P'])?;
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    // More digits than a float has would not fit into the integer.
    let digits = format!("{whole}{fraction}");
    let hex = |text: &str| !text.is_empty() && text.len() <= 13 && text.bytes().all(|digit| digit.is_ascii_hexdigit());
    let mantissa = if hex(&digits) { u64::from_str_radix(&digits, 16).ok()? } else { return None };
    let exponent = exponent.parse::<i32>().ok()?.checked_sub(4 * fraction.len() as i32)?;
    Some(mantissa as f64 * 2_f64.powi(exponent))
}

/// Byte sizes of queries: case counts (`1mb` is none), and `B` may be left out (`5K`, `5Ki`).
fn parse_bytes_literal(word: &str) -> Option<f64> {
    let digits = word.find(|letter: char| letter.is_ascii_alphabetic())?;
    let (number, unit) = word.split_at(digits);
    if unit.starts_with(|first: char| "mgtpe".contains(first)) || unit.contains('b') {
        return None;
    }
    Some(number.parse::<f64>().ok()? * byte_unit(unit)?)
}

/// How many bytes a unit is, whatever its case: `B`, `kB`, `KiB`, `M`, `MiB`, …
pub fn byte_unit(unit: &str) -> Option<f64> {
    let lower = unit.to_ascii_lowercase();
    let stem = lower.strip_suffix('b').unwrap_or(&lower);
    let (base, prefix) = match stem.strip_suffix('i') {
        Some(prefix) => (1024.0_f64, prefix),
        None => (1000.0, stem),
    };
    let power = ["", "k", "m", "g", "t", "p", "e"].iter().position(|known| *known == prefix)?;
    if power == 0 && base > 1000.0 { None } else { Some(base.powi(power as i32)) }
}

/// A double-quoted string with Go's escapes.
fn quoted(text: &str, at: usize) -> Result<(Token, usize), ParseError> {
    let mut out = String::new();
    let mut letters = text[at + 1..].char_indices().map(|(i, letter)| (at + 1 + i, letter));
    while let Some((here, letter)) = letters.next() {
        match letter {
            '"' => return Ok((Token::String(out), here + 1)),
            '\n' => break,
            '\\' => {
                let (_, escape) = letters.next().ok_or_else(|| ParseError::at(text, here, "the query ends within an escape"))?;
                let mut digits = |count: usize, radix: u32| {
                    (0..count).try_fold(0_u32, |value, _| Some(value * radix + letters.next()?.1.to_digit(radix)?))
                };
                let code = match escape {
                    'n' => Some(10),
                    't' => Some(9),
                    'r' => Some(13),
                    'a' => Some(7),
                    'b' => Some(8),
                    'f' => Some(12),
                    'v' => Some(11),
                    '\\' | '"' | '\'' => Some(escape as u32),
                    '0'..='3' => digits(2, 8).map(|low| escape.to_digit(8).unwrap_or(0) * 64 + low),
                    'x' => digits(2, 16),
                    'u' => digits(4, 16),
                    'U' => digits(8, 16),
                    _ => None,
                };
                let code = code.and_then(char::from_u32);
                out.push(code.ok_or_else(|| {
                    ParseError::at(text, here, format!("invalid char escape \\{escape} (a raw string stands in backquotes)"))
                })?);
            }
            _ => out.push(letter),
        }
    }
    Err(ParseError::at(text, at, "literal not terminated: the string that begins here has no closing \""))
}
