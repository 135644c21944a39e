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
            return Err(format!("the pattern {:?} has no named capture such as <ip>", clip(text)));
        }
        let mut seen = std::collections::HashSet::new();
        if let Some(twice) = names.iter().find(|name| !seen.insert(name.as_str())) {
            return Err(format!("the pattern captures {} twice", clip(twice)));
        }
        Ok(pattern)
    }

    /// For the line filter: only `<_>`.
    pub fn for_lines(text: &str) -> Result<Self, String> {
        let pattern = Self::parse(text)?;
        if let Some(name) = pattern.names().next() {
            return Err(format!("a line filter's pattern captures nothing: write <_> instead of <{}>", clip(name)));
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
                    return Err(format!("the pattern {:?} has two captures with nothing between them", clip(text)));
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
        if parts.is_empty() { Err("the pattern is empty".into()) } else { Ok(Self { text: text.into(), parts }) }
    }

    /// What the named captures hold. A capture whose end is missing goes to the end of the line and is the last.
    pub fn captures<'a>(&'a self, line: &'a str) -> Vec<(&'a str, &'a str)> {
        let mut found = Vec::new();
        let mut rest = line;
        let mut open: Option<&Option<String>> = None;
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

    /// Whether the whole line is literals in order with anything in place of the captures.
    pub fn matches_line(&self, line: &str) -> bool {
        let mut rest = line;
        let mut wild = false;
        for (i, part) in self.parts.iter().enumerate() {
            let Part::Literal(literal) = part else {
                wild = true;
                continue;
            };
            let last = i + 1 == self.parts.len();
            rest = match (wild, last) {
                (true, true) => return rest.ends_with(literal.as_str()),
                (true, false) => match rest.split_once(literal.as_str()) {
                    Some((_, tail)) => tail,
                    None => return false,
                },
                (false, _) => match rest.strip_prefix(literal.as_str()) {
                    Some(tail) => tail,
                    None => return false,
                },
            };
            wild = false;
        }
        wild || rest.is_empty()
    }
}
