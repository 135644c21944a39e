//! `| pattern "<ip> - <_>"` and `|> "<_>error<_>"`: literals and wildcards between them.

use weir_model::clip;
use weir_model::label::is_label_name;

/// A compiled pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    /// As written.
    pub text: String,
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Literal(String),
    /// `None` for `<_>`.
    Capture(Option<String>),
}

impl Pattern {
    /// For the parser stage: at least one named capture.
    pub fn with_captures(text: &str) -> Result<Self, String> {
        let pattern = Self::parse(text)?;
        let names: Vec<&String> = pattern.names().collect();
        if names.is_empty() {
            return Err(format!("at least one capture is required, such as <ip>: the pattern {:?} has none", clip(text)));
        }
        let mut seen = std::collections::HashSet::new();
        if let Some(twice) = names.iter().find(|name| !seen.insert(name.as_str())) {
            return Err(format!("invalid expression: the pattern captures {} twice", clip(twice)));
        }
        Ok(pattern)
    }

    /// For the line filter: only `<_>`; may be empty.
    pub fn for_lines(text: &str) -> Result<Self, String> {
        let pattern = Self::parse(text)?;
        if let Some(name) = pattern.names().next() {
            return Err(format!("named captures are not allowed: a line filter has <_> instead of <{}>", clip(name)));
        }
        Ok(pattern)
    }

    fn names(&self) -> impl Iterator<Item = &String> {
        self.parts.iter().filter_map(|part| match part {
            Part::Capture(name) => name.as_ref(),
            Part::Literal(_) => None,
        })
    }

    fn parse(text: &str) -> Result<Self, String> {
        let mut parts: Vec<Part> = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            if let Some((name, tail)) =
                rest.strip_prefix('<').and_then(|tail| tail.split_once('>')).filter(|(name, _)| is_label_name(name))
            {
                if matches!(parts.last(), Some(Part::Capture(_))) {
                    let message = "invalid expression: found consecutive capture: nothing stands between two captures of";
                    return Err(format!("{message} {:?}", clip(text)));
                }
                parts.push(Part::Capture((name != "_").then(|| name.to_owned())));
                rest = tail;
                continue;
            }
            let end = rest.char_indices().skip(1).find(|(_, letter)| *letter == '<').map_or(rest.len(), |(at, _)| at);
            match parts.last_mut() {
                Some(Part::Literal(literal)) => literal.push_str(&rest[..end]),
                _ => parts.push(Part::Literal(rest[..end].into())),
            }
            rest = &rest[end..];
        }
        Ok(Self { text: text.into(), parts })
    }

    /// What the named captures hold; nothing in an empty line. A capture whose end is missing goes to the end of the line and is the last.
    pub fn captures<'a>(&'a self, line: &'a str) -> Vec<(&'a str, &'a str)> {
        let mut found = Vec::new();
        let mut rest = line;
        let mut open: Option<&Option<String>> = None;
        if line.is_empty() {
            return found;
        }
        for part in &self.parts {
            match part {
                Part::Capture(name) => open = Some(name),
                Part::Literal(literal) => {
                    let at = match open {
                        Some(_) => rest.find(literal.as_str()),
                        None => rest.starts_with(literal.as_str()).then_some(0),
                    };
                    let Some(at) = at else { break };
                    if let Some(Some(name)) = open.take() {
                        found.push((name.as_str(), &rest[..at]));
                    }
                    rest = &rest[at + literal.len()..];
                }
            }
        }
        if let Some(Some(name)) = open {
            found.push((name, rest));
        }
        found
    }

    /// Whether the line is the literals in order with something in place of each capture, to its end, as Loki's line filter
    /// has it: a literal at the beginning of the pattern may stand anywhere, a capture holds at least one byte and ends where
    /// the literal behind it is found first, and is never tried longer. An empty pattern is the empty line.
    pub fn matches_line(&self, line: &str) -> bool {
        let (mut rest, mut wild) = (line, false);
        for (place, part) in self.parts.iter().enumerate() {
            let Part::Literal(literal) = part else {
                wild = true;
                continue;
            };
            let found = rest.find(literal.as_str()).filter(|at| place == 0 || *at > 0);
            let Some(at) = found else { return false };
            rest = &rest[at + literal.len()..];
            wild = false;
        }
        wild != rest.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::Pattern;

    #[test]
    fn whole_lines() {
        let check = |pattern: &str, line: &str, expected: bool| {
            assert_eq!(Pattern::for_lines(pattern).unwrap().matches_line(line), expected, "{pattern} on {line}");
        };
        check("foo", "foo", true);
        check("foo", "foo bar", false);
        check("foo", "a foo", true);
        check("foo", "foo foo", false);
        check("pay <_>", "GET /pay 500", true);
        check("pay <_>", "GET /pay ", false);
        check("<_>", "anything", true);
        check("<_>", "", false);
        check("", "", true);
        check("", "x", false);
        check("<_> /pay <_>", "GET /pay 500", true);
        check("<_> /pay <_>", "GET /pay ", false);
        check("<_>foo", "a foo", true);
        check("<_>foo", "foo", false);
        check("<_> bar", "a bar b bar", false);
        check("<_> bar<_>", "a bar b bar", true);
        check("a<_>c", "abc", true);
        check("a<_>c", "ac", false);
        check("<_>ü<_>", "größe ü x", true);
        check("<- <_>", "<- x", true);
    }
}
