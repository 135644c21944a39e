//! Text to nodes.

use weir_promql::parse_go_number;
use weir_promql::unescape_go;

use super::Value;
use super::functions;

/// Actions, `else if`s and parentheses may nest this deep; parsing, expansion and dropping recurse.
const DEPTH_MAX: usize = 64;

#[derive(Clone, Debug)]
pub(super) enum Node {
    Text(String),
    Print(Pipeline),
    /// `$x := …` (true) or `$x = …`
    Assign(String, bool, Pipeline),
    /// `if`: condition and body, then `else`
    If(Pipeline, Vec<Node>, Vec<Node>),
    /// `with`: the same, and dot is the value
    With(Pipeline, Vec<Node>, Vec<Node>),
    /// `range $i, $x := …`
    Range(Vec<String>, Pipeline, Vec<Node>, Vec<Node>),
}

/// Commands; each one's value is the next one's last argument.
pub(super) type Pipeline = Vec<Vec<Operand>>;

#[derive(Clone, Debug)]
pub(super) enum Operand {
    Literal(Value),
    /// `.a.b`; empty is dot itself
    Field(Vec<String>),
    /// `$x.a.b`
    Variable(String, Vec<String>),
    Function(&'static str),
    Paren(Pipeline, Vec<String>),
}

#[derive(Clone, Debug, PartialEq)]
enum Tok {
    Word(String),
    Field(String),
    Variable(String),
    Literal(Value),
    Op(&'static str),
}

/// A piece of the source: text, or the inside of an action and the line it starts on.
enum Piece {
    Text(String),
    Action(Vec<Tok>, usize),
}

pub(super) fn parse(source: &str) -> Result<Vec<Node>, String> {
    let pieces = pieces(source)?;
    let mut parser = Parser { pieces, at: 0, depth: 0 };
    let (nodes, end) = parser.nodes(1)?;
    match end {
        None => Ok(nodes),
        Some((word, line)) => Err(format!("line {line}: unexpected {{{{{word}}}}}")),
    }
}

fn pieces(source: &str) -> Result<Vec<Piece>, String> {
    let mut pieces = Vec::new();
    let mut rest = source;
    let mut trim = false;
    let (mut line, mut counted) = (1, 0);
    while let Some(open) = rest.find("{{") {
        let at = source.len() - rest.len() + open;
        line += source[counted..at].matches('\n').count();
        counted = at;
        let mut text = &rest[..open];
        text = if trim { text.trim_start() } else { text };
        rest = &rest[open + 2..];
        let close = closing(rest).ok_or_else(|| format!("line {line}: unclosed action"))?;
        let mut inner = &rest[..close];
        rest = &rest[close + 2..];
        if let Some(tail) = inner.strip_prefix('-').filter(|tail| tail.starts_with(char::is_whitespace)) {
            inner = tail;
            text = text.trim_end();
        }
        trim = inner.strip_suffix('-').is_some_and(|head| head.ends_with(char::is_whitespace));
        inner = if trim { &inner[..inner.len() - 1] } else { inner }.trim();
        pieces.push(Piece::Text(text.to_owned()));
        if !inner.starts_with("/*") {
            pieces.push(Piece::Action(tokens(inner).map_err(|why| format!("line {line}: {why}"))?, line));
        }
    }
    pieces.push(Piece::Text(if trim { rest.trim_start() } else { rest }.to_owned()));
    pieces.retain(|piece| !matches!(piece, Piece::Text(text) if text.is_empty()));
    Ok(pieces)
}

/// Where `}}` stands, outside of strings.
fn closing(text: &str) -> Option<usize> {
    let (mut quote, mut escaped) = (None, false);
    for (i, letter) in text.char_indices() {
        match (quote, letter) {
            _ if escaped => escaped = false,
            (Some('"'), '\\') => escaped = true,
            (Some(own), letter) if own == letter => quote = None,
            (Some(_), _) => {}
            (None, '"' | '`') => quote = Some(letter),
            (None, '}') if text[i..].starts_with("}}") => return Some(i),
            _ => {}
        }
    }
    None
}

fn tokens(text: &str) -> Result<Vec<Tok>, String> {
    let mut tokens = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let word = |from: usize| rest[from..].find(|c: char| !c.is_alphanumeric() && c != '_').map_or(rest.len(), |n| n + from);
        let length = match first {
            c if c.is_whitespace() => c.len_utf8(),
            '"' | '`' => {
                let end = string_end(rest).ok_or("unterminated string")?;
                let inner = &rest[1..end];
                let value = if first == '`' { inner.to_owned() } else { unescape_go(inner)? };
                tokens.push(Tok::Literal(Value::Text(value)));
                end + 1
            }
            '.' if rest[1..].starts_with(|c: char| c.is_alphabetic() || c == '_') => {
                tokens.push(Tok::Field(rest[1..word(1)].to_owned()));
                word(1)
            }
            '$' => {
                tokens.push(Tok::Variable(rest[1..word(1)].to_owned()));
                word(1)
            }
            c if c.is_alphabetic() || c == '_' => {
                tokens.push(Tok::Word(rest[..word(0)].to_owned()));
                word(0)
            }
            c if c.is_ascii_digit()
                || matches!(c, '-' | '+')
                || c == '.' && rest[1..].starts_with(|c: char| c.is_ascii_digit()) =>
            {
                let end =
                    rest[1..].find(|c: char| c.is_whitespace() || matches!(c, ')' | '|' | ',')).map_or(rest.len(), |n| n + 1);
                tokens.push(Tok::Literal(number(&rest[..end])?));
                end
            }
            _ => {
                let operator = [":=", "=", "|", "(", ")", ",", "."].into_iter().find(|own| rest.starts_with(own));
                let operator = operator.ok_or_else(|| format!("unexpected {first:?} in an action"))?;
                tokens.push(Tok::Op(operator));
                operator.len()
            }
        };
        rest = &rest[length..];
    }
    Ok(tokens)
}

fn string_end(text: &str) -> Option<usize> {
    let quote = text.chars().next()?;
    let mut escaped = false;
    text.char_indices().skip(1).find_map(|(i, letter)| {
        if escaped {
            escaped = false;
            return None;
        }
        escaped = letter == '\\' && quote == '"';
        (letter == quote).then_some(i)
    })
}

fn number(text: &str) -> Result<Value, String> {
    if let Ok(whole) = text.parse::<i64>() {
        return Ok(Value::Integer(whole));
    }
    let (sign, digits) = text.strip_prefix('-').map_or((1.0, text.trim_start_matches('+')), |rest| (-1.0, rest));
    parse_go_number(digits).map(|value| Value::Number(sign * value)).ok_or_else(|| format!("bad number {text:?}"))
}

struct Parser {
    pieces: Vec<Piece>,
    at: usize,
    depth: usize,
}

/// The word of the action that ended a block, and its line.
type BlockEnd = Option<(String, usize)>;

impl Parser {
    fn deeper(&mut self, line: usize) -> Result<(), String> {
        self.depth += 1;
        if self.depth > DEPTH_MAX { Err(format!("line {line}: nested deeper than {DEPTH_MAX}")) } else { Ok(()) }
    }

    /// Nodes up to `else`, `end` or the end of the source, in a block that begins on that line.
    fn nodes(&mut self, line: usize) -> Result<(Vec<Node>, BlockEnd), String> {
        self.deeper(line)?;
        let mut nodes = Vec::new();
        while let Some(piece) = self.pieces.get(self.at) {
            let (tokens, line) = match piece {
                Piece::Text(text) => {
                    nodes.push(Node::Text(text.clone()));
                    self.at += 1;
                    continue;
                }
                Piece::Action(tokens, line) => (tokens.clone(), *line),
            };
            if let Some(Tok::Word(word)) = tokens.first()
                && matches!(word.as_str(), "end" | "else")
            {
                self.depth -= 1;
                return Ok((nodes, Some((word.clone(), line))));
            }
            self.at += 1;
            nodes.push(self.action(&tokens, line)?);
        }
        self.depth -= 1;
        Ok((nodes, None))
    }

    fn action(&mut self, tokens: &[Tok], line: usize) -> Result<Node, String> {
        let at = |why: String| format!("line {line}: {why}");
        match tokens {
            [] => Err(at("empty action".into())),
            [Tok::Word(word), rest @ ..] if matches!(word.as_str(), "if" | "with" | "range") => {
                let (names, rest) = if word == "range" { declared(rest) } else { (Vec::new(), rest) };
                let pipeline = pipeline(rest).map_err(at)?;
                let (body, otherwise) = self.block(word, line)?;
                Ok(match word.as_str() {
                    "if" => Node::If(pipeline, body, otherwise),
                    "with" => Node::With(pipeline, body, otherwise),
                    _ => Node::Range(names, pipeline, body, otherwise),
                })
            }
            [Tok::Word(word), ..] if matches!(word.as_str(), "define" | "template" | "block" | "break" | "continue") => {
                Err(at(format!("{word} is not supported in rule templates")))
            }
            [Tok::Variable(name), Tok::Op(operator @ (":=" | "=")), rest @ ..] => {
                Ok(Node::Assign(name.clone(), *operator == ":=", pipeline(rest).map_err(at)?))
            }
            _ => Ok(Node::Print(pipeline(tokens).map_err(at)?)),
        }
    }

    /// Body and `else` part of a block; `else if` nests.
    fn block(&mut self, word: &str, line: usize) -> Result<(Vec<Node>, Vec<Node>), String> {
        let unclosed = || format!("line {line}: {{{{{word}}}}} lacks its {{{{end}}}}");
        let (body, end) = self.nodes(line)?;
        let (end, _) = end.ok_or_else(unclosed)?;
        let Some(Piece::Action(tokens, else_line)) = self.pieces.get(self.at) else { return Err(unclosed()) };
        let (tokens, else_line) = (tokens.clone(), *else_line);
        self.at += 1;
        if end == "end" {
            return Ok((body, Vec::new()));
        }
        if tokens.len() > 1 {
            self.deeper(else_line)?;
            let nested = self.action(&tokens[1..], else_line)?;
            self.depth -= 1;
            return Ok((body, vec![nested]));
        }
        let (otherwise, end) = self.nodes(else_line)?;
        if end.is_none_or(|(word, _)| word != "end") {
            return Err(unclosed());
        }
        self.at += 1;
        Ok((body, otherwise))
    }
}

/// `$i, $x :=` before a range's pipeline.
fn declared(tokens: &[Tok]) -> (Vec<String>, &[Tok]) {
    match tokens {
        [Tok::Variable(a), Tok::Op(","), Tok::Variable(b), Tok::Op(":="), rest @ ..] => (vec![a.clone(), b.clone()], rest),
        [Tok::Variable(a), Tok::Op(":="), rest @ ..] => (vec![a.clone()], rest),
        _ => (Vec::new(), tokens),
    }
}

fn pipeline(tokens: &[Tok]) -> Result<Pipeline, String> {
    let mut at = 0;
    let pipeline = commands(tokens, &mut at, 0)?;
    if at < tokens.len() { Err("unexpected \")\"".into()) } else { Ok(pipeline) }
}

fn commands(tokens: &[Tok], at: &mut usize, depth: usize) -> Result<Pipeline, String> {
    if depth > DEPTH_MAX {
        return Err(format!("nested deeper than {DEPTH_MAX}"));
    }
    let mut commands: Pipeline = vec![Vec::new()];
    while let Some(token) = tokens.get(*at) {
        if *token == Tok::Op(")") {
            break;
        }
        *at += 1;
        let operand = match token {
            Tok::Op("|") => {
                commands.push(Vec::new());
                continue;
            }
            Tok::Op("(") => {
                let inner = self::commands(tokens, at, depth + 1)?;
                if tokens.get(*at) != Some(&Tok::Op(")")) {
                    return Err("unclosed \"(\"".into());
                }
                *at += 1;
                Operand::Paren(inner, fields(tokens, at))
            }
            Tok::Op(".") => Operand::Field(Vec::new()),
            Tok::Op(operator) => return Err(format!("unexpected {operator:?}")),
            Tok::Field(name) => {
                let mut path = vec![name.clone()];
                path.extend(fields(tokens, at));
                Operand::Field(path)
            }
            Tok::Variable(name) => Operand::Variable(name.clone(), fields(tokens, at)),
            Tok::Literal(value) => Operand::Literal(value.clone()),
            Tok::Word(word) => match word.as_str() {
                "true" | "false" => Operand::Literal(Value::Bool(word == "true")),
                "nil" => Operand::Literal(Value::Nil),
                _ => Operand::Function(functions::known(word).ok_or_else(|| format!("function {word:?} not defined"))?),
            },
        };
        if let Some(last) = commands.last_mut() {
            last.push(operand);
        }
    }
    if commands.iter().any(Vec::is_empty) { Err("missing value for command".into()) } else { Ok(commands) }
}

/// Field accesses that directly follow.
fn fields(tokens: &[Tok], at: &mut usize) -> Vec<String> {
    let mut path = Vec::new();
    while let Some(Tok::Field(name)) = tokens.get(*at) {
        path.push(name.clone());
        *at += 1;
    }
    path
}
