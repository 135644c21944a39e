//! What functions of several languages do to texts, as Go's `strings` and `regexp` do it.

use std::borrow::Cow;
use std::time::{Duration, Instant};

use regex::Regex;
use weir_model::pattern::PatternBudget;

use crate::value::Value;

/// `strings.ToUpper`: a letter becomes one letter, so that "ß" stays.
pub fn upper(text: &str) -> String {
    if text.is_ascii() {
        return text.to_ascii_uppercase();
    }
    text.chars().map(upper_letter).collect()
}

/// `strings.ToLower`
pub fn lower(text: &str) -> String {
    if text.is_ascii() {
        return text.to_ascii_lowercase();
    }
    text.chars().map(|letter| single(letter, letter.to_lowercase())).collect()
}

/// `strings.Title`: the first letter of each word in upper case.
pub fn title(text: &str) -> String {
    let mut begins = true;
    let change = |letter: char| {
        let changed = if begins { upper_letter(letter) } else { letter };
        begins = match letter {
            '_' => false,
            _ if letter.is_ascii() => !letter.is_ascii_alphanumeric(),
            _ => letter.is_whitespace(),
        };
        changed
    };
    text.chars().map(change).collect()
}

fn upper_letter(letter: char) -> char {
    single(letter, letter.to_uppercase())
}

fn single(letter: char, mut changed: impl ExactSizeIterator<Item = char>) -> char {
    if changed.len() == 1 { changed.next().unwrap_or(letter) } else { letter }
}

/// All matches of one call may take so long: some patterns look at the whole rest of a text for each match (`.*[^a]|a` in "aaa…").
const MATCHING_MAX: Duration = Duration::from_millis(100);
/// The clock is looked at after so many matches, each of which may take milliseconds in a MiB of text; most texts have fewer.
const MATCHES_A_LOOK: usize = 16;

/// Stops a pattern that takes too long.
#[derive(Default)]
struct Clock {
    matches: usize,
    began: Option<Instant>,
}

impl Clock {
    fn matched(&mut self) -> Result<(), String> {
        self.matches += 1;
        if !self.matches.is_multiple_of(MATCHES_A_LOOK) || self.began.get_or_insert_with(Instant::now).elapsed() <= MATCHING_MAX {
            return Ok(());
        }
        Err("the pattern takes too long on this text".into())
    }
}

/// How many matches the text has. Errors where finding them takes too long.
pub fn count_matches(regex: &Regex, text: &str) -> Result<i64, String> {
    let mut clock = Clock::default();
    regex.find_iter(text).try_fold(0, |count, _| clock.matched().map(|()| count + 1))
}

/// How [`replace_all`] reads the replacement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replacement {
    /// `$1` and `${name}` are groups.
    Expanded,
    Literal,
}

/// Replaces all that matches. Errors where the result could have more than `bytes_max`, and where it takes too long.
pub fn replace_all(
    regex: &Regex,
    text: &str,
    (replacement, how): (&str, Replacement),
    bytes_max: usize,
) -> Result<String, String> {
    let groups = if how == Replacement::Expanded { replacement.matches('$').count() } else { 0 };
    let (mut out, mut at, mut clock) = (String::new(), 0, Clock::default());
    let mut room = |out: &mut String, before: &str, found: usize| {
        clock.matched()?;
        out.push_str(before);
        let most = out.len() as u128 + replacement.len() as u128 + groups as u128 * found as u128;
        if most > bytes_max as u128 { Err("the result is too long".to_owned()) } else { Ok(()) }
    };
    if groups == 0 {
        for found in regex.find_iter(text) {
            room(&mut out, &text[at..found.start()], 0)?;
            out.push_str(replacement);
            at = found.end();
        }
    } else {
        for groups in regex.captures_iter(text) {
            let Some(found) = groups.get(0) else { continue };
            room(&mut out, &text[at..found.start()], found.len())?;
            groups.expand(replacement, &mut out);
            at = found.end();
        }
    }
    out.push_str(&text[at..]);
    Ok(out)
}

impl Value<'_> {
    /// The regular expression of a function's argument: compiled with the template where it is a literal, else now.
    pub fn regex(&self) -> Result<Cow<'_, Regex>, String> {
        match self {
            Self::Pattern(regex) => Ok(Cow::Borrowed(regex)),
            other => {
                let regex = PatternBudget::default().compile(other.text()?);
                regex.map(Cow::Owned).map_err(|error| error.to_string())
            }
        }
    }
}
