//! Which lines of an encoded chunk may have what a filter looks for, as far as their templates and ids tell: the others are not rendered.
//!
//! A false "may" costs a rendered line; a false "may not" would lose one. Where this is not sure, it says "may".

use std::cell::OnceCell;

use memchr::memmem::Finder;

use super::context::Contexts;
use super::filter::Filters;
use super::templates::{Part, Templates};
use super::tokens::is_token_byte;
use super::words::{Words, is_hex_digit as is_hex};

/// What filters leave of a chunk.
pub(crate) struct Candidates {
    needles: Vec<OfFilter>,
    /// Whether filters ask for nothing but their needles.
    is_all: bool,
    /// False when lines of no template may pass.
    any: bool,
}

/// What one filter leaves: of each template, and where these do not tell, of each context.
struct OfFilter {
    templates: Vec<May>,
    contexts: Vec<bool>,
}

/// Whether lines of a template may have a needle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum May {
    Not,
    /// When their ids or attributes have it.
    ByContext,
    Be,
    /// It is in the template's text.
    Surely,
}

impl Candidates {
    /// `contexts` are asked for when templates alone do not tell.
    pub(crate) fn new<'a>(
        filters: &Filters,
        templates: &Templates,
        contexts: impl Fn() -> Result<&'a Contexts, String>,
    ) -> Result<Self, String> {
        let mut needles: Vec<OfFilter> = Vec::new();
        let mut left = vec![true; templates.len()];
        for any in filters.needles() {
            let filter = OfFilter::new(any, templates, &left, &contexts)?;
            left.iter_mut().zip(&filter.templates).for_each(|(left, may)| *left = *may != May::Not);
            needles.push(filter);
        }
        Ok(Self { needles, is_all: filters.are_needles(), any: left.contains(&true) })
    }

    /// False when lines of no template may pass.
    pub(crate) fn any(&self) -> bool {
        self.any
    }

    /// Whether a line of a template (`None`: stored as it is) and a context may pass: not [`May::ByContext`].
    pub(crate) fn may(&self, template: Option<usize>, context: impl Fn() -> usize) -> May {
        let mut least = if self.is_all { May::Surely } else { May::Be };
        for filter in &self.needles {
            least = least.min(match template.map_or(May::Be, |template| filter.templates[template]) {
                May::Not => return May::Not,
                May::ByContext if !filter.contexts[context()] => return May::Not,
                May::ByContext => May::Be,
                may => may,
            });
        }
        least
    }
}

impl OfFilter {
    fn new<'a>(
        any: &[Finder<'_>],
        templates: &Templates,
        left: &[bool],
        contexts: &impl Fn() -> Result<&'a Contexts, String>,
    ) -> Result<Self, String> {
        let needles: Vec<Needle<'_>> = any.iter().map(Needle::new).collect();
        let may = |parts: &[Part]| needles.iter().map(|needle| needle.may(templates, parts)).max().unwrap_or(May::Not);
        let may_be = |(template, left): (usize, &bool)| if *left { may(templates.parts(template)) } else { May::Not };
        let of_all = left.iter().enumerate().map(may_be);
        let templates: Vec<May> = of_all.collect();
        let by_context = templates.contains(&May::ByContext);
        Ok(Self { templates, contexts: if by_context { contexts()?.having(any) } else { Vec::new() } })
    }
}

struct Needle<'a> {
    finder: &'a Finder<'a>,
    /// Of one token or a part of one: then it is in one literal or in one variable.
    is_of_token: bool,
    /// Parts of a longer one that are in a literal of every body that has it.
    fragments: Vec<Finder<'a>>,
    /// Whether any text of templates has it, which all at once say sooner than one by one.
    in_texts: OnceCell<bool>,
    /// Words that have it, and whether any has: found out when it is first asked.
    words: OnceCell<(Vec<bool>, bool)>,
    /// When all of a longer one but a token at its start lies in one literal, that token: a variable ends with it.
    head: Option<&'a [u8]>,
    /// Whether a word ends with it.
    ends_words: OnceCell<bool>,
}

impl<'a> Needle<'a> {
    fn new(finder: &'a Finder<'a>) -> Self {
        let text = finder.needle();
        let is_of_token = text.iter().all(|byte| is_token_byte(*byte));
        let fragments = fragments(text);
        let head = text.iter().take_while(|byte| is_token_byte(**byte)).count();
        let head = (head > 0 && matches!(fragments[..], [rest] if rest.len() == text.len() - head)).then(|| &text[..head]);
        let fragments = fragments.into_iter().map(Finder::new).collect();
        Self {
            finder,
            is_of_token,
            fragments,
            in_texts: OnceCell::new(),
            words: OnceCell::new(),
            head,
            ends_words: OnceCell::new(),
        }
    }

    /// Most often none has it, which all at once say sooner than one by one.
    fn words(&self, words: &Words) -> &(Vec<bool>, bool) {
        self.words.get_or_init(|| {
            let has = |word| self.finder.find(word).is_some();
            let any = words.have(self.finder);
            (if any { words.iter().map(has).collect() } else { vec![false; words.len()] }, any)
        })
    }

    /// Whether lines of a template with these parts may have it.
    fn may(&self, templates: &Templates, parts: &[Part]) -> May {
        let literals = || {
            parts.iter().filter_map(|part| match part {
                Part::Literal(range) => Some(templates.literal(range)),
                _ => None,
            })
        };
        let in_texts = || *self.in_texts.get_or_init(|| self.finder.find(templates.outline.texts()).is_some());
        let is_in = |literal| self.finder.find(literal).is_some();
        if in_texts() && literals().any(is_in) || self.finder.needle().is_empty() {
            return May::Surely;
        }
        if self.is_of_token {
            return parts.iter().map(|part| self.may_in(part, &templates.words)).max().unwrap_or(May::Not);
        }
        if self.head.is_some_and(|head| !parts.iter().any(|part| self.may_end(part, head, &templates.words))) {
            return May::Not;
        }
        let has_all = self.fragments.iter().all(|fragment| literals().any(|literal| fragment.find(literal).is_some()));
        if has_all { May::Be } else { May::Not }
    }

    /// Whether a variable's text may end with this.
    fn may_end(&self, part: &Part, token: &[u8], words: &Words) -> bool {
        match part {
            Part::Literal(_) => false,
            Part::Same(_) | Part::Words(_) => *self.ends_words.get_or_init(|| words.iter().any(|word| word.ends_with(token))),
            Part::Numbers(_) => token.iter().all(u8::is_ascii_digit),
            Part::Ids(..) | Part::Trace | Part::Span => token.iter().all(is_hex),
            Part::Clock(..) => token.iter().all(|byte| byte.is_ascii_digit() || matches!(byte, b'T' | b'Z')),
            Part::Attribute(_) => true,
        }
    }

    /// A needle of one token in a variable.
    fn may_in(&self, part: &Part, words: &Words) -> May {
        let needle = self.finder.needle();
        let may = match part {
            Part::Literal(_) => false,
            Part::Same(word) => self.words(words).0[*word as usize],
            Part::Words(_) => self.words(words).1,
            Part::Numbers(_) => needle.iter().all(u8::is_ascii_digit),
            Part::Ids(..) => needle.iter().all(is_hex),
            Part::Clock(..) => needle.iter().all(|byte| byte.is_ascii_digit() || matches!(byte, b'T' | b'Z')),
            Part::Trace | Part::Span if !needle.iter().all(is_hex) => false,
            Part::Trace | Part::Span | Part::Attribute(_) => return May::ByContext,
        };
        if may { May::Be } else { May::Not }
    }
}

/// The longest parts of a needle between its first and its last separator without a token that may be one of a variable: with a digit,
/// or a group of a UUID. Each lies in one literal, unless it is nothing but what a UUID or a time has between its tokens.
pub(super) fn fragments(needle: &[u8]) -> Vec<&[u8]> {
    let is_separator = |byte: &u8| !is_token_byte(*byte);
    let (Some(first), Some(last)) = (needle.iter().position(is_separator), needle.iter().rposition(is_separator)) else {
        return Vec::new();
    };
    let (mut found, mut start) = (Vec::new(), first);
    let mut at = first;
    while at <= last {
        let token = needle[at..=last].iter().take_while(|byte| is_token_byte(**byte)).count();
        let token_text = &needle[at..at + token];
        if token > 0 && (token_text.iter().any(u8::is_ascii_digit) || token_text.iter().all(|byte| matches!(byte, b'a'..=b'f'))) {
            found.push(&needle[start..at]);
            start = at + token;
        }
        at += token.max(1);
    }
    found.push(&needle[start..=last]);
    found.retain(|fragment| !fragment.iter().all(|byte| b"-:., ".contains(byte)));
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fragments_are_what_no_variable_has() {
        let check = |needle: &str, expected: &[&str]| {
            let found: Vec<&str> =
                fragments(needle.as_bytes()).into_iter().map(|part| std::str::from_utf8(part).unwrap()).collect();
            assert_eq!(found, expected, "{needle:?}");
        };
        check("token", &[]);
        check("TraceID: ffc8ca7e SpanID: x", &[" SpanID: "]);
        check("a=x y=1, [x]", &["=x y=", ", [x]"]);
        check("-abcdefabcdef] x y", &["] x "]);
        check("f3d4d4ef-693b-abcd-cafe-1", &[]);
        check("(12)", &["(", ")"]);
    }
}
