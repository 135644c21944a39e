//! Text to pieces, and the insides of actions to tokens with their places.

use crate::error::Failure;

/// A piece of the source: text, or the inside of an action and the byte that it begins at.
pub(crate) enum Piece<'s> {
    Text(&'s str),
    Action(Vec<Token<'s>>, usize),
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Token<'s> {
    pub kind: Kind<'s>,
    /// Byte of the source.
    pub at: usize,
    /// Whether it follows the one before without a space: `.a.b` is one operand, `.a .b` are two.
    pub glued: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Kind<'s> {
    Word(&'s str),
    Field(&'s str),
    /// Without the `$`.
    Variable(&'s str),
    Text(String),
    Integer(i64),
    Number(f64),
    Sign(&'static str),
}

const SIGNS: [&str; 7] = [":=", "=", "|", "(", ")", ",", "."];

pub(crate) fn pieces(source: &str) -> Result<Vec<Piece<'_>>, Failure> {
    let mut pieces = Vec::new();
    let mut at = 0;
    let mut trim = false;
    while let Some(open) = source[at..].find("{{").map(|open| open + at) {
        let mut text = &source[at..open];
        text = if trim { text.trim_start() } else { text };
        let mut inside = open + 2;
        if source[inside..].strip_prefix('-').is_some_and(|tail| tail.starts_with(char::is_whitespace)) {
            text = text.trim_end();
            inside += 1 + source[inside + 1..].chars().next().map_or(0, char::len_utf8);
        }
        if !text.is_empty() {
            pieces.push(Piece::Text(text));
        }
        let lexed = if source[inside..].starts_with("/*") {
            Lexed { tokens: None, end: comment_end(source, open, inside)? }
        } else {
            action(source, open, inside)?
        };
        pieces.extend(lexed.tokens.map(|tokens| Piece::Action(tokens, open)));
        trim = source[..lexed.end].ends_with('-');
        at = lexed.end + 2;
    }
    let rest = if trim { source[at..].trim_start() } else { &source[at..] };
    if !rest.is_empty() {
        pieces.push(Piece::Text(rest));
    }
    Ok(pieces)
}

/// The tokens of an action, none of a comment, and where its `}}` stands.
struct Lexed<'s> {
    tokens: Option<Vec<Token<'s>>>,
    end: usize,
}

fn comment_end(source: &str, open: usize, inside: usize) -> Result<usize, Failure> {
    let close = source[inside..].find("*/").ok_or_else(|| Failure::at(open, "unclosed comment"))?;
    let end = inside + close + 2;
    let tail = &source[end..];
    if tail.starts_with("}}") {
        return Ok(end);
    }
    let marker = tail.trim_start().strip_prefix("-}}").filter(|_| tail.starts_with(char::is_whitespace));
    let marker = marker.ok_or_else(|| Failure::at(open, "comment ends before closing delimiter"))?;
    Ok(source.len() - marker.len() - 2)
}

fn action(source: &str, open: usize, mut at: usize) -> Result<Lexed<'_>, Failure> {
    let mut tokens: Vec<Token<'_>> = Vec::new();
    let mut glued = false;
    loop {
        let rest = &source[at..];
        let Some(first) = rest.chars().next() else { return Err(Failure::at(open, "unclosed action")) };
        if rest.starts_with("}}") {
            return Ok(Lexed { tokens: Some(tokens), end: at });
        }
        if first.is_whitespace() {
            at += first.len_utf8();
            if source[at..].starts_with("-}}") {
                return Ok(Lexed { tokens: Some(tokens), end: at + 1 });
            }
            glued = false;
            continue;
        }
        let (kind, length) = token(rest, first).map_err(|message| Failure::at(at, message))?;
        tokens.push(Token { kind, at, glued });
        at += length;
        glued = true;
    }
}

/// The first token of `rest` and how many bytes it has.
fn token(rest: &str, first: char) -> Result<(Kind<'_>, usize), String> {
    let second = rest[first.len_utf8()..].chars().next();
    let begins_name = |letter: char| letter.is_alphabetic() || letter == '_';
    match first {
        '"' | '`' => text(rest, first),
        '\'' => letter(rest),
        '.' if second.is_some_and(begins_name) => {
            let end = word_end(rest, 1)?;
            Ok((Kind::Field(&rest[1..end]), end))
        }
        '$' => {
            let end = word_end(rest, 1)?;
            Ok((Kind::Variable(&rest[1..end]), end))
        }
        _ if begins_name(first) => {
            let end = word_end(rest, 0)?;
            Ok((Kind::Word(&rest[..end]), end))
        }
        _ if first.is_ascii_digit()
            || matches!(first, '-' | '+')
            || first == '.' && second.is_some_and(|c| c.is_ascii_digit()) =>
        {
            number(rest)
        }
        _ => {
            let sign = SIGNS.into_iter().find(|sign| rest.starts_with(sign));
            sign.map(|sign| (Kind::Sign(sign), sign.len())).ok_or_else(|| format!("unexpected {first:?} in an action"))
        }
    }
}

/// Where a name ends. What follows has to be something that ends it.
fn word_end(rest: &str, from: usize) -> Result<usize, String> {
    let end = rest[from..].find(|letter: char| !letter.is_alphanumeric() && letter != '_').map_or(rest.len(), |end| end + from);
    match rest[end..].chars().next() {
        Some(letter) if !letter.is_whitespace() && !".,|:()=".contains(letter) && !rest[end..].starts_with("}}") => {
            Err(format!("bad character U+{:04X} {letter:?}", u32::from(letter)))
        }
        _ => Ok(end),
    }
}

fn text(rest: &str, quote: char) -> Result<(Kind<'_>, usize), String> {
    let mut escaped = false;
    let end = rest.char_indices().skip(1).find_map(|(at, letter)| {
        let ends = !escaped && letter == quote;
        escaped = !escaped && letter == '\\' && quote == '"';
        ends.then_some(at)
    });
    let end = end.ok_or(if quote == '"' { "unterminated quoted string" } else { "unterminated raw quoted string" })?;
    let inner = &rest[1..end];
    let text = if quote == '`' { inner.to_owned() } else { unescape(inner)? };
    Ok((Kind::Text(text), end + 1))
}

/// `'a'`: the number of the letter.
fn letter(rest: &str) -> Result<(Kind<'_>, usize), String> {
    let wrong = || "malformed character constant".to_owned();
    let from = match rest[1..].chars().next() {
        Some('\\') => 3,
        first => 1 + first.map_or(0, char::len_utf8),
    };
    let end = rest.get(from..).and_then(|tail| tail.find('\'')).ok_or_else(wrong)? + from;
    let letter = unescape(&rest[1..end])?;
    let mut letters = letter.chars();
    match (letters.next(), letters.next()) {
        (Some(letter), None) => Ok((Kind::Integer(i64::from(u32::from(letter))), end + 1)),
        _ => Err(wrong()),
    }
}

/// Resolves Go's escapes. Bytes that make no UTF-8 become U+FFFD.
fn unescape(inner: &str) -> Result<String, String> {
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
        let wrong = || "invalid syntax: an unknown escape in a string".to_owned();
        let escape = letters.next().ok_or_else(wrong)?;
        let mut digits = |count: usize, radix: u32, first: &str| {
            let digits: String = first.chars().chain(letters.by_ref().take(count)).collect();
            let whole = digits.chars().count() == count + first.len();
            u32::from_str_radix(&digits, radix).ok().filter(|_| whole).ok_or_else(wrong)
        };
        let code = match escape {
            'a' => 7,
            'b' => 8,
            'f' => 12,
            'n' => 10,
            'r' => 13,
            't' => 9,
            'v' => 11,
            '\\' | '\'' | '"' => u32::from(escape),
            'x' => {
                out.push(digits(2, 16, "")? as u8);
                continue;
            }
            '0'..='7' => {
                out.push(u8::try_from(digits(2, 8, escape.encode_utf8(&mut [0; 4]))?).map_err(|_| wrong())?);
                continue;
            }
            'u' => digits(4, 16, "")?,
            'U' => digits(8, 16, "")?,
            _ => return Err(wrong()),
        };
        let letter = char::from_u32(code).ok_or_else(wrong)?;
        out.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes());
    }
    Ok(String::from_utf8(out).unwrap_or_else(|wrong| String::from_utf8_lossy(wrong.as_bytes()).into_owned()))
}

fn number(rest: &str) -> Result<(Kind<'_>, usize), String> {
    let mut before = ' ';
    let end = rest.find(|letter: char| {
        let exponent = matches!(letter, '+' | '-') && matches!(before, 'e' | 'E' | 'p' | 'P') || before == ' ';
        before = letter;
        !(letter.is_alphanumeric() || matches!(letter, '.' | '_') || exponent)
    });
    let end = end.unwrap_or(rest.len());
    let text = &rest[..end];
    if let Some(whole) = crate::number::parse_integer(text) {
        return Ok((Kind::Integer(whole), end));
    }
    let float = text.replace('_', "").parse::<f64>().ok().filter(|_| text.contains(|letter: char| letter.is_ascii_digit()));
    float.map(|float| (Kind::Number(float), end)).ok_or_else(|| format!("bad number syntax: {text:?}"))
}
