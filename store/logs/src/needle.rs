//! Which lines of an encoded chunk may have what a filter looks for, as far as their templates and ids tell: the others are not rendered.
//!
//! A false "may" costs a rendered line; a false "may not" would lose one. Where this is not sure, it says "may".

use memchr::memmem::Finder;
use weir_model::id::{SpanId, TraceId};
use weir_model::log::LogAttributes;

use super::bodies::{Bodies, Part};
use super::context::Contexts;
use super::filter::Filters;
use super::tokens::is_token_byte;
use super::words::{Class, put_id_text};

/// What filters leave of a chunk.
pub(crate) struct Candidates(Vec<OfFilter>);

/// What one filter leaves: of each template, and where these do not tell, of each context.
struct OfFilter {
    templates: Vec<May>,
    contexts: Vec<bool>,
}

/// Whether lines of a template may have a needle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum May {
    Not,
    /// When their ids or attributes have it.
    ByContext,
    Be,
}

impl Candidates {
    /// `contexts` are asked for when templates alone do not tell.
    pub(crate) fn new<'a>(
        filters: &Filters,
        bodies: &Bodies,
        contexts: impl Fn() -> Result<&'a Contexts, String>,
    ) -> Result<Self, String> {
        filters.needles().map(|any| OfFilter::new(any, bodies, &contexts)).collect::<Result<_, _>>().map(Self)
    }

    /// Whether a line of a template (`None`: stored as it is) and a context may pass.
    pub(crate) fn has(&self, template: Option<usize>, context: impl Fn() -> usize) -> bool {
        self.0.iter().all(|filter| match template.map_or(May::Be, |template| filter.templates[template]) {
            May::Not => false,
            May::ByContext => filter.contexts[context()],
            May::Be => true,
        })
    }
}

impl OfFilter {
    fn new<'a>(
        any: &[Finder<'_>],
        bodies: &Bodies,
        contexts: &impl Fn() -> Result<&'a Contexts, String>,
    ) -> Result<Self, String> {
        let needles: Vec<Needle<'_>> = any.iter().map(|finder| Needle::new(finder, bodies)).collect();
        let may = |template| needles.iter().map(|needle| needle.may(bodies, template)).max().unwrap_or(May::Not);
        let templates: Vec<May> = (0..bodies.templates.len()).map(may).collect();
        let by_context = templates.contains(&May::ByContext);
        let mut text = Vec::new();
        let has = |context| any.iter().any(|finder| says(context, finder, &mut text));
        Ok(Self { templates, contexts: if by_context { contexts()?.iter().map(has).collect() } else { Vec::new() } })
    }
}

/// Whether a context's ids or attributes have a needle.
fn says((trace_id, span_id, attributes): (TraceId, SpanId, LogAttributes<'_>), needle: &Finder<'_>, text: &mut Vec<u8>) -> bool {
    let mut has_id = |id: &[u8], class| {
        text.clear();
        put_id_text(text, id, class);
        needle.find(text).is_some()
    };
    has_id(&trace_id.0, Class::Hex16)
        || has_id(&span_id.0, Class::Hex8)
        || attributes.iter().any(|(_, value)| needle.find(value.as_bytes()).is_some())
}

struct Needle<'a> {
    finder: &'a Finder<'a>,
    /// Of one token or a part of one: then it is in one literal or in one variable.
    is_of_token: bool,
    /// Parts of a longer one that are in a literal of every body that has it.
    fragments: Vec<Finder<'a>>,
    /// Words that have it.
    words: Vec<bool>,
}

impl<'a> Needle<'a> {
    fn new(finder: &'a Finder<'a>, bodies: &Bodies) -> Self {
        let text = finder.needle();
        let is_of_token = text.iter().all(|byte| is_token_byte(*byte));
        let words = if is_of_token { bodies.words.iter().map(|word| finder.find(word).is_some()).collect() } else { Vec::new() };
        let fragments = fragments(text).into_iter().map(Finder::new).collect();
        Self { finder, is_of_token, fragments, words }
    }

    fn may(&self, bodies: &Bodies, template: usize) -> May {
        let parts = &bodies.templates[template].parts;
        let literals = || {
            parts.iter().filter_map(|part| match part {
                Part::Literal(range) => Some(bodies.literal(range)),
                _ => None,
            })
        };
        if literals().any(|literal| self.finder.find(literal).is_some()) || self.finder.needle().is_empty() {
            return May::Be;
        }
        if self.is_of_token {
            return parts.iter().map(|part| self.may_in(part)).max().unwrap_or(May::Not);
        }
        let has_all = self.fragments.iter().all(|fragment| literals().any(|literal| fragment.find(literal).is_some()));
        if has_all { May::Be } else { May::Not }
    }

    /// A needle of one token in a variable.
    fn may_in(&self, part: &Part) -> May {
        let needle = self.finder.needle();
        let may = match part {
            Part::Literal(_) => false,
            Part::Same(word) => self.words[*word as usize],
            Part::Words(_) => self.words.contains(&true),
            Part::Numbers(_) => needle.iter().all(u8::is_ascii_digit),
            Part::Ids(..) => needle.iter().all(is_hex),
            Part::Clock(..) => needle.iter().all(|byte| byte.is_ascii_digit() || matches!(byte, b'T' | b'Z')),
            Part::Trace | Part::Span if !needle.iter().all(is_hex) => false,
            Part::Trace | Part::Span | Part::Attribute(_) => return May::ByContext,
        };
        if may { May::Be } else { May::Not }
    }
}

fn is_hex(byte: &u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'a'..=b'f')
}

/// The longest parts of a needle between its first and its last separator without a token that may be one of a variable: with a digit,
/// or a group of a UUID. Each lies in one literal, unless it is nothing but what a UUID or a time has between its tokens.
fn fragments(needle: &[u8]) -> Vec<&[u8]> {
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
