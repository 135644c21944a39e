//! Pieces to nodes: names of functions and variables are resolved, so that unknown ones are errors here.

mod define;

use std::iter::Peekable;
use std::vec::IntoIter;

use weir_model::pattern::PatternBudget;

use crate::ast::{Branch, Callee, Command, Definition, Literal, Node, Operand, Pipeline, Targets, Template};
use crate::builtin::Builtin;
use crate::error::{Error, Failure};
use crate::language::Language;
use crate::lex::{Kind, Piece, Token, pieces};
use define::Named;

/// Blocks, `else if`s and parentheses may nest this deep; parsing, executing and dropping recurse.
const DEPTH_MAX: usize = 64;

impl<L: Language> Template<L> {
    /// Parses. Literal regular expressions are compiled within `patterns`, the budget of the whole query.
    pub fn parse(source: &str, patterns: &mut PatternBudget) -> Result<Self, Error> {
        parse(source, patterns).map_err(|failure| failure.into_error(source))
    }
}

fn parse<L: Language>(source: &str, patterns: &mut PatternBudget) -> Result<Template<L>, Failure> {
    let variables: Vec<&str> = L::VARIABLES.iter().map(|(name, _)| *name).collect();
    let slots = variables.len();
    let pieces = pieces(source)?.into_iter().peekable();
    let (named, functions) = (Vec::new(), L::functions());
    let mut parser = Parser::<L> { pieces, variables, slots, depth: 0, ranges: 0, patterns, functions, named };
    match parser.nodes(0)? {
        (nodes, None) => {
            let main = Definition { nodes, slots: parser.slots };
            Ok(Template { source: source.to_owned(), main, definitions: parser.definitions()? })
        }
        (_, Some(end)) => Err(Failure::at(end.at, format!("unexpected {{{{{}}}}}", end.word))),
    }
}

struct Parser<'s, 'p, L: Language> {
    pieces: Peekable<IntoIter<Piece<'s>>>,
    /// Those that are visible; the place is the slot.
    variables: Vec<&'s str>,
    slots: usize,
    depth: usize,
    /// How many `range`s are around.
    ranges: usize,
    patterns: &'p mut PatternBudget,
    functions: &'static [crate::language::Function<L>],
    named: Vec<Named<L>>,
}

/// The `end` or `else` that ended a block, and what stands behind the word.
struct End<'s> {
    word: &'s str,
    rest: Vec<Token<'s>>,
    at: usize,
}

/// The tokens of an action, on their way.
struct Cursor<'t, 's> {
    tokens: &'t [Token<'s>],
    /// Byte that the action begins at.
    action: usize,
    next: usize,
}

impl<'t, 's> Cursor<'t, 's> {
    fn new(tokens: &'t [Token<'s>], action: usize) -> Self {
        Self { tokens, action, next: 0 }
    }

    fn peek(&self) -> Option<&'t Token<'s>> {
        self.tokens.get(self.next)
    }

    fn at(&self) -> usize {
        self.peek().map_or(self.action, |token| token.at)
    }

    fn take(&mut self, sign: &str) -> bool {
        let taken = matches!(self.peek(), Some(Token { kind: Kind::Sign(own), .. }) if *own == sign);
        self.next += usize::from(taken);
        taken
    }

    fn unexpected(&self, place: &str) -> Failure {
        let shown = match self.peek().map(|token| &token.kind) {
            None => "end of the action".to_owned(),
            Some(Kind::Sign(sign)) => format!("{sign:?}"),
            Some(Kind::Word(word)) => format!("<{word}>"),
            Some(Kind::Field(name)) => format!("<.{name}>"),
            Some(Kind::Variable(name)) => format!("<${name}>"),
            Some(Kind::Text(text)) => format!("{text:?}"),
            Some(Kind::Integer(value)) => format!("\"{value}\""),
            Some(Kind::Number(value)) => format!("\"{value}\""),
        };
        Failure::at(self.at(), format!("unexpected {shown} in {place}"))
    }

    /// Field accesses that directly follow.
    fn path(&mut self) -> Vec<String> {
        let mut path = Vec::new();
        while let Some(Token { kind: Kind::Field(name), glued: true, .. }) = self.peek() {
            path.push((*name).to_owned());
            self.next += 1;
        }
        path
    }
}

impl<'s, L: Language> Parser<'s, '_, L> {
    fn deeper(&mut self, at: usize) -> Result<(), Failure> {
        self.depth += 1;
        if self.depth > DEPTH_MAX { Err(Failure::at(at, format!("nested deeper than {DEPTH_MAX}"))) } else { Ok(()) }
    }

    /// Nodes up to `else`, `end` or the end of the source, in a block that begins there.
    fn nodes(&mut self, at: usize) -> Result<(Vec<Node<L>>, Option<End<'s>>), Failure> {
        self.deeper(at)?;
        let mut nodes = Vec::new();
        while let Some(piece) = self.pieces.next() {
            let (mut tokens, at) = match piece {
                Piece::Text(text) => {
                    nodes.push(Node::Text(text.to_owned()));
                    continue;
                }
                Piece::Action(tokens, at) => (tokens, at),
            };
            if let Some(Kind::Word(word @ ("end" | "else"))) = tokens.first().map(|token| &token.kind) {
                let word = *word;
                self.depth -= 1;
                return Ok((nodes, Some(End { word, rest: tokens.split_off(1), at })));
            }
            match tokens.first().map(|token| &token.kind) {
                Some(Kind::Word("define")) if self.depth == 1 => self.define(&tokens[1..], at)?,
                _ => nodes.push(self.action(&tokens, at)?),
            }
        }
        self.depth -= 1;
        Ok((nodes, None))
    }

    fn action(&mut self, tokens: &[Token<'s>], at: usize) -> Result<Node<L>, Failure> {
        let mut cursor = Cursor::new(tokens, at);
        match tokens.first().map(|token| &token.kind) {
            Some(Kind::Word(word @ ("if" | "with" | "range"))) => self.control(word, &tokens[1..], at),
            Some(Kind::Word("template")) => self.template(&tokens[1..], at),
            Some(Kind::Word("block")) => self.block(&tokens[1..], at),
            Some(Kind::Word("define")) => Err(cursor.unexpected("command")),
            Some(Kind::Word(word @ ("break" | "continue"))) => {
                cursor.next = 1;
                match cursor.peek() {
                    Some(_) => Err(cursor.unexpected(&format!("{{{{{word}}}}}"))),
                    None if self.ranges == 0 => Err(Failure::at(at, format!("{{{{{word}}}}} outside {{{{range}}}}"))),
                    None if *word == "break" => Ok(Node::Break),
                    None => Ok(Node::Continue),
                }
            }
            _ => Ok(Node::Action(self.whole(&mut cursor, "command")?)),
        }
    }

    /// `if`, `with` or `range`, from behind the word to its `end`.
    fn control(&mut self, word: &str, tokens: &[Token<'s>], at: usize) -> Result<Node<L>, Failure> {
        let outside = self.variables.len();
        let mut cursor = Cursor::new(tokens, at);
        let is_range = word == "range";
        let (targets, pipeline) =
            if is_range { self.range_head(&mut cursor)? } else { (Targets::default(), self.whole(&mut cursor, word)?) };
        let inside = self.variables.len();
        self.ranges += usize::from(is_range);
        let (body, end) = self.nodes(at)?;
        self.ranges -= usize::from(is_range);
        self.variables.truncate(inside);
        let unclosed = || Failure::at(at, format!("{{{{{word}}}}} lacks its {{{{end}}}}"));
        let end = end.ok_or_else(unclosed)?;
        let otherwise = if end.word == "else" { self.otherwise(word, &end)?.ok_or_else(unclosed)? } else { self.ended(end)? };
        self.variables.truncate(outside);
        let branch = Branch { pipeline, body, otherwise };
        Ok(match word {
            "if" => Node::If(branch),
            "with" => Node::With(branch),
            _ => Node::Range(targets, branch),
        })
    }

    fn ended(&self, end: End<'s>) -> Result<Vec<Node<L>>, Failure> {
        let cursor = Cursor::new(&end.rest, end.at);
        if end.rest.is_empty() { Ok(Vec::new()) } else { Err(cursor.unexpected("end")) }
    }

    /// What stands behind an `else`; none when the `end` is missing. `else if` is a block within.
    fn otherwise(&mut self, word: &str, own: &End<'s>) -> Result<Option<Vec<Node<L>>>, Failure> {
        if let Some(Token { kind: Kind::Word(next), .. }) = own.rest.first()
            && *next == word
            && word != "range"
        {
            self.deeper(own.at)?;
            let nested = self.control(word, &own.rest[1..], own.at)?;
            self.depth -= 1;
            return Ok(Some(vec![nested]));
        }
        if !own.rest.is_empty() {
            return Err(Cursor::new(&own.rest, own.at).unexpected("else"));
        }
        let (otherwise, end) = self.nodes(own.at)?;
        match end {
            None => Ok(None),
            Some(end) if end.word == "else" => Err(Failure::at(end.at, "expected end; found {{else}}")),
            Some(end) => self.ended(end).map(|_| Some(otherwise)),
        }
    }

    /// `$i, $x := …` and its kin, and the pipeline.
    fn range_head(&mut self, cursor: &mut Cursor<'_, 's>) -> Result<(Targets, Pipeline<L>), Failure> {
        let kinds: Vec<&Kind<'s>> = cursor.tokens.iter().take(4).map(|token| &token.kind).collect();
        let (names, sign) = match kinds[..] {
            [Kind::Variable(one), Kind::Sign(sign @ (":=" | "=")), ..] => (vec![*one], *sign),
            [Kind::Variable(first), Kind::Sign(","), Kind::Variable(second), Kind::Sign(sign @ (":=" | "="))] => {
                (vec![*first, *second], *sign)
            }
            [Kind::Variable(_), Kind::Sign(","), Kind::Variable(_), Kind::Sign(",")] => {
                return Err(Failure::at(cursor.action, "too many declarations in range"));
            }
            _ => return Ok((Targets::default(), self.whole(cursor, "range")?)),
        };
        cursor.next = names.len() * 2;
        let pipeline = self.commands(cursor, "range", 0)?;
        self.finished(cursor)?;
        let mut slots = Vec::new();
        for name in names {
            slots.push(if sign == "=" { self.slot(name, cursor.action)? } else { self.declare(name) });
        }
        let item = slots.pop();
        Ok((Targets { key: slots.pop(), item }, pipeline))
    }

    /// A pipeline that an action consists of, with the variable that it sets.
    fn whole(&mut self, cursor: &mut Cursor<'_, 's>, place: &str) -> Result<Pipeline<L>, Failure> {
        let (name, sign) = match cursor.tokens {
            [Token { kind: Kind::Variable(name), .. }, Token { kind: Kind::Sign(sign @ (":=" | "=")), .. }, ..] => (*name, *sign),
            [Token { kind: Kind::Variable(_), .. }, Token { kind: Kind::Sign(","), .. }, ..] => {
                return Err(Failure::at(cursor.action, format!("too many declarations in {place}")));
            }
            _ => return self.value(cursor, place),
        };
        cursor.next = 2;
        let pipeline = self.commands(cursor, "command", 0)?;
        self.finished(cursor)?;
        // Only now: in `$x := $x` the second is the one of before.
        let slot = if sign == "=" { self.slot(name, cursor.action)? } else { self.declare(name) };
        Ok(Pipeline { set: Some(slot), ..pipeline })
    }

    /// A pipeline up to the end of the action.
    fn value(&mut self, cursor: &mut Cursor<'_, 's>, place: &str) -> Result<Pipeline<L>, Failure> {
        let pipeline = self.commands(cursor, place, 0)?;
        self.finished(cursor)?;
        Ok(pipeline)
    }

    fn finished(&self, cursor: &Cursor<'_, 's>) -> Result<(), Failure> {
        if cursor.peek().is_none() { Ok(()) } else { Err(cursor.unexpected("operand")) }
    }

    fn declare(&mut self, name: &'s str) -> usize {
        self.variables.push(name);
        self.slots = self.slots.max(self.variables.len());
        self.variables.len() - 1
    }

    fn slot(&self, name: &str, at: usize) -> Result<usize, Failure> {
        let slot = self.variables.iter().rposition(|own| *own == name);
        slot.ok_or_else(|| Failure::at(at, format!("undefined variable \"${name}\"")))
    }

    /// Commands up to a `)` or the end of the action.
    fn commands(&mut self, cursor: &mut Cursor<'_, 's>, place: &str, depth: usize) -> Result<Pipeline<L>, Failure> {
        if depth > DEPTH_MAX {
            return Err(Failure::at(cursor.action, format!("nested deeper than {DEPTH_MAX}")));
        }
        let at = cursor.at();
        let mut commands = Vec::new();
        loop {
            let command = self.command(cursor, place, depth, commands.len())?;
            commands.push(command);
            if !cursor.take("|") {
                return Ok(Pipeline { at, set: None, commands });
            }
        }
    }

    /// The `stage`th command of a pipeline, from 0; what the one before yields is piped into it.
    fn command(&mut self, cursor: &mut Cursor<'_, 's>, place: &str, depth: usize, stage: usize) -> Result<Command<L>, Failure> {
        let at = cursor.at();
        let place = if stage == 0 { place } else { "command" };
        let first = self.operand(cursor, depth)?.ok_or_else(|| Failure::at(at, format!("missing value for {place}")))?;
        let mut operands = Vec::new();
        while let Some(token) = cursor.peek() {
            if token.glued && !matches!(token.kind, Kind::Sign(_)) {
                return Err(cursor.unexpected("operand"));
            }
            match self.operand(cursor, depth)? {
                Some(operand) => operands.push(operand),
                None => break,
            }
        }
        match first {
            Operand::Call(callee, path) if path.is_empty() => {
                arity(&callee, operands.len() + usize::from(stage > 0), at)?;
                self.compile_pattern(&callee, &mut operands, at)?;
                Ok(Command::Call(callee, operands))
            }
            Operand::Literal(Literal::Nil) => Err(Failure::at(at, "nil is not a command")),
            Operand::Literal(_) if stage > 0 => {
                Err(Failure::at(at, format!("non executable command in pipeline stage {}", stage + 1)))
            }
            _ if stage > 0 || !operands.is_empty() => Err(Failure::at(at, "can't give argument to non-function")),
            operand => Ok(Command::Operand(operand)),
        }
    }

    fn compile_pattern(&mut self, callee: &Callee<L>, operands: &mut [Operand<L>], at: usize) -> Result<(), Failure> {
        if let (Callee::Own(function), Some(Operand::Literal(literal))) = (callee, operands.first_mut())
            && let (true, Literal::Text(text)) = (function.pattern, &*literal)
        {
            let regex = self.patterns.compile(text).map_err(|error| Failure::at(at, error.to_string()))?;
            *literal = Literal::Pattern(regex);
        }
        Ok(())
    }

    /// None at a `|`, a `)` or the end of the action.
    fn operand(&mut self, cursor: &mut Cursor<'_, 's>, depth: usize) -> Result<Option<Operand<L>>, Failure> {
        let Some(token) = cursor.peek() else { return Ok(None) };
        cursor.next += 1;
        let operand = match &token.kind {
            Kind::Sign("|" | ")") => {
                cursor.next -= 1;
                return Ok(None);
            }
            Kind::Sign("(") => {
                let inner = self.commands(cursor, "parenthesized pipeline", depth + 1)?;
                if !cursor.take(")") {
                    return Err(Failure::at(token.at, "unclosed left paren"));
                }
                return Ok(Some(Operand::Pipeline(inner, cursor.path())));
            }
            Kind::Sign(".") => Operand::Field(Vec::new()),
            Kind::Sign(_) => {
                cursor.next -= 1;
                return Err(cursor.unexpected("operand"));
            }
            Kind::Field(name) => {
                let mut path = vec![(*name).to_owned()];
                path.append(&mut cursor.path());
                Operand::Field(path)
            }
            Kind::Variable("") => Operand::Root(cursor.path()),
            Kind::Variable(name) => Operand::Variable(self.slot(name, token.at)?, cursor.path()),
            Kind::Text(text) => Operand::Literal(Literal::Text(text.clone())),
            Kind::Integer(value) => Operand::Literal(Literal::Integer(*value)),
            Kind::Number(value) => Operand::Literal(Literal::Number(*value)),
            Kind::Word(word @ ("true" | "false")) => Operand::Literal(Literal::Bool(*word == "true")),
            Kind::Word("nil") => Operand::Literal(Literal::Nil),
            Kind::Word(word) => {
                let own = self.functions.iter().find(|function| function.name == *word).map(Callee::Own);
                let callee = own.or_else(|| Builtin::named(word).map(Callee::Builtin));
                let callee = callee.ok_or_else(|| Failure::at(token.at, format!("function {word:?} not defined")))?;
                Operand::Call(callee, cursor.path())
            }
        };
        Ok(Some(operand))
    }
}

fn arity<L: Language>(callee: &Callee<L>, arguments: usize, at: usize) -> Result<(), Failure> {
    let (name, (least, most)) = (callee.name(), callee.arity());
    if (least..=most).contains(&arguments) {
        return Ok(());
    }
    let wanted = match () {
        () if least == most => format!("{least}"),
        () if arguments < least => format!("at least {least}"),
        () => format!("at most {most}"),
    };
    Err(Failure::at(at, format!("wrong number of args for {name}: want {wanted} got {arguments}")))
}
