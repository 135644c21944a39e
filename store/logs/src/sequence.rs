//! Regular expressions that are texts one after the other, with anything between that is no end of a line: `order.*failed`, `(?i)timeout|refused`.
//! What people type is mostly of this kind, and it is told by what is constant of a line ([`super::constant`]).

use memchr::memmem::Finder;
use regex_syntax::hir::{Class, Hir, HirKind};

/// More alternatives of one part are not told one by one, nor more parts.
const TEXTS_MAX: usize = 16;
/// Nor are longer ones.
const TEXT_BYTES_MAX: usize = 256;

/// A text that is looked for.
pub(crate) struct Text {
    pub(crate) finder: Finder<'static>,
    /// Letters of ASCII may be in upper or lower case; here they are in lower case.
    pub(crate) any_case: bool,
}

impl Text {
    /// As it is written.
    pub(crate) fn exact(text: &[u8]) -> Self {
        Self { finder: Finder::new(text).into_owned(), any_case: false }
    }
}

/// Parts in their order: of each one of several texts.
pub(crate) struct Sequence(pub(crate) Vec<Vec<Text>>);

/// The sequences of which a line has one when, and only when, the expression matches it; `None` of another kind of expression.
pub(crate) fn sequences(pattern: &str) -> Option<Vec<Sequence>> {
    let hir = regex_syntax::ParserBuilder::new().utf8(false).build().parse(pattern).ok()?;
    of_any(&hir).filter(|sequences| sequences.len() <= TEXTS_MAX)
}

fn of_any(hir: &Hir) -> Option<Vec<Sequence>> {
    match hir.kind() {
        HirKind::Capture(capture) => of_any(&capture.sub),
        HirKind::Alternation(parts) if exact_texts(hir).is_none() => {
            let all = parts.iter().map(of_any).collect::<Option<Vec<_>>>()?;
            Some(all.into_iter().flatten().collect())
        }
        HirKind::Concat(parts) => Some(vec![of_parts(parts)?]),
        _ => Some(vec![of_parts(std::slice::from_ref(hir))?]),
    }
}

/// Gaps at the start and at the end ask for nothing.
fn of_parts(parts: &[Hir]) -> Option<Sequence> {
    let runs = parts.split(is_gap).filter(|run| !run.is_empty());
    let texts = runs.map(texts_of_run).collect::<Option<Vec<_>>>()?;
    (texts.len() <= TEXTS_MAX).then_some(Sequence(texts))
}

/// `.*`, greedy or not.
fn is_gap(hir: &Hir) -> bool {
    let HirKind::Repetition(repetition) = hir.kind() else {
        return matches!(hir.kind(), HirKind::Capture(capture) if is_gap(&capture.sub));
    };
    let HirKind::Class(class) = repetition.sub.kind() else { return false };
    let dots = [Hir::dot(regex_syntax::hir::Dot::AnyCharExceptLF), Hir::dot(regex_syntax::hir::Dot::AnyChar)];
    let is_dot = dots.iter().any(|dot| matches!(dot.kind(), HirKind::Class(any) if any == class));
    is_dot && repetition.min == 0 && repetition.max.is_none()
}

fn texts_of_run(run: &[Hir]) -> Option<Vec<Text>> {
    if let Some(text) = any_case_text(run) {
        return Some(vec![Text { finder: Finder::new(&text).into_owned(), any_case: true }]);
    }
    let texts = product(run)?;
    Some(texts.iter().map(|text| Text::exact(text)).collect())
}

/// The text of letters in either case, and of what has no case.
fn any_case_text(run: &[Hir]) -> Option<Vec<u8>> {
    let mut text = Vec::new();
    for part in run {
        match part.kind() {
            HirKind::Literal(literal) if literal.0.iter().all(|byte| byte.is_ascii() && !byte.is_ascii_alphabetic()) => {
                text.extend_from_slice(&literal.0);
            }
            HirKind::Class(class) => text.push(either_case(class)?),
            _ => return None,
        }
    }
    (text.len() <= TEXT_BYTES_MAX && text.iter().any(u8::is_ascii_lowercase)).then_some(text)
}

/// A letter of ASCII that is there in both cases, with nothing but what folds to it.
fn either_case(class: &Class) -> Option<u8> {
    let letters: Vec<char> = letters(class)?;
    let lower = *letters.iter().find(|letter| letter.is_ascii_lowercase())?;
    let folds = |letter: &char| match lower {
        _ if letter.is_ascii() => letter.to_ascii_lowercase() == lower,
        's' => *letter == '\u{17f}',
        'k' => *letter == '\u{212a}',
        _ => false,
    };
    (letters.contains(&lower.to_ascii_uppercase()) && letters.iter().all(folds)).then_some(lower as u8)
}

/// Few letters; `None` of more, and of bytes that are none.
fn letters(class: &Class) -> Option<Vec<char>> {
    let letters: Vec<char> = match class {
        Class::Unicode(class) => class.iter().flat_map(|range| range.start()..=range.end()).take(TEXTS_MAX + 1).collect(),
        Class::Bytes(class) if class.is_ascii() => {
            class.iter().flat_map(|range| range.start()..=range.end()).map(char::from).take(TEXTS_MAX + 1).collect()
        }
        Class::Bytes(_) => return None,
    };
    (letters.len() <= TEXTS_MAX).then_some(letters)
}

/// All texts that it matches, if these are few.
fn exact_texts(hir: &Hir) -> Option<Vec<Vec<u8>>> {
    match hir.kind() {
        HirKind::Empty => Some(vec![Vec::new()]),
        HirKind::Literal(literal) => Some(vec![literal.0.to_vec()]),
        HirKind::Class(class) => Some(letters(class)?.into_iter().map(|letter| letter.to_string().into_bytes()).collect()),
        HirKind::Capture(capture) => exact_texts(&capture.sub),
        HirKind::Concat(parts) => product(parts),
        HirKind::Alternation(parts) => {
            let all: Vec<Vec<u8>> = parts.iter().map(exact_texts).collect::<Option<Vec<_>>>()?.concat();
            (all.len() <= TEXTS_MAX).then_some(all)
        }
        HirKind::Repetition(repetition) if (repetition.min, repetition.max) == (0, Some(1)) => {
            let mut all = exact_texts(&repetition.sub)?;
            all.push(Vec::new());
            (all.len() <= TEXTS_MAX).then_some(all)
        }
        HirKind::Repetition(_) | HirKind::Look(_) => None,
    }
}

/// Each text of a part behind each of those before it.
fn product(parts: &[Hir]) -> Option<Vec<Vec<u8>>> {
    let mut all = vec![Vec::new()];
    for part in parts {
        let next = exact_texts(part)?;
        let pairs = all.iter().flat_map(|text: &Vec<u8>| next.iter().map(move |next| [&text[..], next].concat()));
        all = pairs.take(TEXTS_MAX + 1).collect();
        if all.len() > TEXTS_MAX || all.iter().any(|text| text.len() > TEXT_BYTES_MAX) {
            return None;
        }
    }
    Some(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_type() {
        let check = |pattern: &str, expected: Option<&str>| {
            let text = |text: &Text| {
                let own = String::from_utf8_lossy(text.finder.needle()).into_owned();
                if text.any_case { format!("~{own}") } else { own }
            };
            let part = |part: &Vec<Text>| part.iter().map(text).collect::<Vec<_>>().join("/");
            let sequence = |own: &Sequence| own.0.iter().map(part).collect::<Vec<_>>().join(" .. ");
            let found = sequences(pattern).map(|all| all.iter().map(sequence).collect::<Vec<_>>().join(" | "));
            assert_eq!(found.as_deref(), expected, "{pattern}");
        };
        check("order", Some("order"));
        check("[Oo]rder.*[Ff]ail", Some("Order/order .. Fail/fail"));
        check(".*order.*?failed.*", Some("order .. failed"));
        check("(order)(.*)(failed|lost)", Some("order .. failed/lost"));
        check("(?s)a.*b", Some("a .. b"));
        check("(?i)exception", Some("~exception"));
        check("(?i)disk 5: full", Some("~disk 5: full"));
        check("(?i)error|fail.*twice", Some("~error | ~fail .. ~twice"));
        check("timeout|refused", Some("timeout/refused"));
        check("colou?r", Some("colour/color"));
        check(".*", Some(""));
        check("", Some(""));
        // Something in them is neither.
        for pattern in ["^order", "order$", "a\\b", "a.+b", "a.b", "[a-z]+", "a[^x]*b", "(ab)*c", "\\d", "(?i)[a-f]x", "("] {
            check(pattern, None);
        }
        check(&"(?i)x".repeat(300), None);
        check("[a-p][a-p]", None);
    }
}
