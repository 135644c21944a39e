//! `define`, `template` and `block`: templates with a name, of one source.

use super::{Cursor, Definition, Failure, Kind, Language, Node, Parser, Token};

impl<'s, L: Language> Parser<'s, '_, L> {
    /// `define`, from behind the word to its `end`.
    pub(super) fn define(&mut self, tokens: &[Token<'s>], at: usize) -> Result<(), Failure> {
        let mut cursor = Cursor::new(tokens, at);
        let name = name(&mut cursor, "define clause")?;
        if cursor.peek().is_some() {
            return Err(cursor.unexpected("define clause"));
        }
        self.definition(&name, "define", at).map(drop)
    }

    /// `template`, from behind the word.
    pub(super) fn template(&mut self, tokens: &[Token<'s>], at: usize) -> Result<Node<L>, Failure> {
        let mut cursor = Cursor::new(tokens, at);
        let index = self.index(&name(&mut cursor, "template clause")?, at);
        let dot = if cursor.peek().is_some() { Some(self.value(&mut cursor, "template clause")?) } else { None };
        Ok(Node::Template(index, dot))
    }

    /// `block`, from behind the word to its `end`: a definition that is executed where it stands.
    pub(super) fn block(&mut self, tokens: &[Token<'s>], at: usize) -> Result<Node<L>, Failure> {
        let mut cursor = Cursor::new(tokens, at);
        let name = name(&mut cursor, "block clause")?;
        let dot = self.value(&mut cursor, "block clause")?;
        Ok(Node::Template(self.definition(&name, "block", at)?, Some(dot)))
    }

    /// Definitions, in the order of their numbers. Errors when one that is executed is missing.
    pub(super) fn definitions(self) -> Result<Vec<Definition<L>>, Failure> {
        let missing = |name: &str, at| Failure::at(at, format!("template {name:?} not defined"));
        self.named.into_iter().map(|named| named.definition.ok_or_else(|| missing(&named.name, named.at))).collect()
    }

    /// Sees no variable from outside, as in Go. A second one of a name may be there only where one of both is empty.
    fn definition(&mut self, name: &str, word: &str, at: usize) -> Result<usize, Failure> {
        let variables = std::mem::take(&mut self.variables);
        let (slots, ranges) = (std::mem::take(&mut self.slots), std::mem::take(&mut self.ranges));
        let (nodes, end) = self.nodes(at)?;
        let end = end.ok_or_else(|| Failure::at(at, format!("{{{{{word}}}}} lacks its {{{{end}}}}")))?;
        if end.word == "else" {
            return Err(Failure::at(end.at, format!("unexpected {{{{else}}}} in {word} clause")));
        }
        self.ended(end)?;
        let own = Definition { nodes, slots: self.slots };
        (self.variables, self.slots, self.ranges) = (variables, slots, ranges);
        let index = self.index(name, at);
        let known = &mut self.named[index].definition;
        match known {
            Some(known) if !known.is_empty() && !own.is_empty() => {
                return Err(Failure::at(at, format!("multiple definition of template {name:?}")));
            }
            Some(_) if own.is_empty() => {}
            _ => *known = Some(own),
        }
        Ok(index)
    }

    /// The number of a name, which need not be defined yet.
    fn index(&mut self, name: &str, at: usize) -> usize {
        self.named.iter().position(|named| named.name == name).unwrap_or_else(|| {
            self.named.push(Named { name: name.to_owned(), at, definition: None });
            self.named.len() - 1
        })
    }
}

/// A name that was defined or is executed.
pub(super) struct Named<L: Language> {
    name: String,
    /// Where it came first.
    at: usize,
    definition: Option<Definition<L>>,
}

impl<L: Language> Definition<L> {
    fn is_empty(&self) -> bool {
        self.nodes.iter().all(|node| matches!(node, Node::Text(text) if text.trim().is_empty()))
    }
}

fn name(cursor: &mut Cursor<'_, '_>, place: &str) -> Result<String, Failure> {
    match cursor.peek().map(|token| &token.kind) {
        Some(Kind::Text(name)) => {
            cursor.next += 1;
            Ok(name.clone())
        }
        _ => Err(cursor.unexpected(place)),
    }
}
