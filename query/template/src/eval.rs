//! Nodes to text, within the limits of the language.

use std::fmt::Write;
use std::time::Instant;

use crate::ast::{Branch, Callee, Command, Definition, Literal, Node, Operand, Pipeline, Targets, Template};
use crate::builtin::Builtin;
use crate::error::{Error, Failure};
use crate::language::Language;
use crate::value::Value;

/// So many bytes of arguments, or of what a function makes, count as an action.
const ACTION_BYTES: usize = 1_024;
/// A regular expression that is compiled on the way counts as so many actions: it takes 10 to 100 µs.
const PATTERN_ACTIONS: usize = 100;
/// So many microseconds in functions with patterns count as an action: what matching takes is not known before, and may be quadratic.
const MATCHING_MICROS: usize = 5;
/// Blocks and templates within each other, when they are executed: a template may execute itself, and each takes some of the stack.
const NESTED_MAX: usize = 100;

impl<L: Language> Template<L> {
    /// Fills it in. Errors when a function fails or a limit is reached; what was made until then is dropped.
    pub fn execute<'a>(&'a self, scope: &L::Scope<'a>) -> Result<String, Error> {
        let (variables, definitions) = (vec![Value::Nil; self.main.slots], &self.definitions[..]);
        let (arguments, out) = (Vec::new(), String::new());
        let mut run = Run::<L> { scope, definitions, variables, root: None, held: 0, arguments, out, actions: 0, nested: 0 };
        match run.whole(self) {
            Ok(_) => Ok(run.out),
            Err(failure) => Err(failure.into_error(&self.source)),
        }
    }
}

struct Run<'a, 's, L: Language> {
    scope: &'s L::Scope<'a>,
    definitions: &'a [Definition<L>],
    /// Of the template that is being executed, as is `root`.
    variables: Vec<Value<'a>>,
    /// `$`; none where it is the first dot.
    root: Option<Value<'a>>,
    /// What the variables hold, and the blocks of `with` and `range` that run.
    held: usize,
    /// Of the functions that are being called, the innermost last.
    arguments: Vec<Value<'a>>,
    out: String,
    actions: usize,
    nested: usize,
}

/// How the nodes of a block ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Flow {
    On,
    Break,
    Continue,
}

impl<'a, L: Language> Run<'a, '_, L> {
    fn whole(&mut self, template: &'a Template<L>) -> Result<Flow, Failure> {
        for (slot, (_, field)) in L::VARIABLES.iter().enumerate() {
            let value = L::field(self.scope, field)?;
            self.set(slot, value)?;
        }
        self.nodes(&template.main.nodes, None)
    }

    /// `dot` is none where it is the first.
    fn nodes(&mut self, nodes: &'a [Node<L>], dot: Option<&Value<'a>>) -> Result<Flow, Failure> {
        self.nested += 1;
        if self.nested > NESTED_MAX {
            return Err(format!("blocks and templates nested deeper than {NESTED_MAX}").into());
        }
        let flow = self.each(nodes, dot);
        self.nested -= 1;
        flow
    }

    fn each(&mut self, nodes: &'a [Node<L>], dot: Option<&Value<'a>>) -> Result<Flow, Failure> {
        for node in nodes {
            self.spend(1)?;
            let flow = match node {
                Node::Text(text) => {
                    self.out.push_str(text);
                    Flow::On
                }
                Node::Action(pipeline) => {
                    let value = self.pipeline(pipeline, dot)?;
                    if pipeline.set.is_none() {
                        self.print(&value);
                    }
                    Flow::On
                }
                Node::If(branch) => {
                    let truth = self.pipeline(&branch.pipeline, dot)?.truth();
                    self.nodes(if truth { &branch.body } else { &branch.otherwise }, dot)?
                }
                Node::With(branch) => match self.pipeline(&branch.pipeline, dot)? {
                    value if value.truth() => {
                        self.hold(value.bytes())?;
                        let flow = self.nodes(&branch.body, Some(&value))?;
                        self.held -= value.bytes();
                        flow
                    }
                    _ => self.nodes(&branch.otherwise, dot)?,
                },
                Node::Range(targets, branch) => self.range(*targets, branch, dot)?,
                Node::Template(index, pipeline) => self.template(&self.definitions[*index], pipeline.as_ref(), dot)?,
                Node::Break => Flow::Break,
                Node::Continue => Flow::Continue,
            };
            if self.out.len() > L::LIMITS.output_bytes {
                return Err(format!("longer than {} bytes", L::LIMITS.output_bytes).into());
            }
            if flow != Flow::On {
                return Ok(flow);
            }
        }
        Ok(Flow::On)
    }

    fn print(&mut self, value: &Value<'a>) {
        match value {
            Value::Text(text) => self.out.push_str(text),
            Value::Nil => self.out.push_str("<no value>"),
            value => _ = write!(self.out, "{value}"),
        }
    }

    fn spend(&mut self, actions: usize) -> Result<(), Failure> {
        self.actions += actions;
        if self.actions > L::LIMITS.actions { Err(format!("more than {} actions", L::LIMITS.actions).into()) } else { Ok(()) }
    }

    fn set(&mut self, slot: usize, value: Value<'a>) -> Result<(), Failure> {
        self.held = self.held.saturating_sub(self.variables[slot].bytes());
        self.hold(value.bytes())?;
        self.variables[slot] = value;
        Ok(())
    }

    fn hold(&mut self, bytes: usize) -> Result<(), Failure> {
        self.held += bytes;
        let most = L::LIMITS.argument_bytes;
        if self.held > most { Err(format!("variables and blocks with more than {most} bytes").into()) } else { Ok(()) }
    }

    /// With variables of its own; the dot that it is given is also its `$`.
    fn template(
        &mut self,
        definition: &'a Definition<L>,
        pipeline: Option<&'a Pipeline<L>>,
        dot: Option<&Value<'a>>,
    ) -> Result<Flow, Failure> {
        let next = match pipeline.map(|pipeline| (pipeline, &pipeline.commands[..])) {
            None => Some(Value::Nil),
            // The first dot is not made a value.
            Some((_, [Command::Operand(Operand::Field(path))])) if path.is_empty() => dot.cloned(),
            Some((_, [Command::Operand(Operand::Root(path))])) if path.is_empty() => self.root.clone(),
            Some((pipeline, _)) => Some(self.pipeline(pipeline, dot)?),
        };
        let held = self.held;
        self.hold(next.as_ref().map_or(0, Value::bytes))?;
        let variables = std::mem::replace(&mut self.variables, vec![Value::Nil; definition.slots]);
        let root = std::mem::replace(&mut self.root, next.clone());
        self.nodes(&definition.nodes, next.as_ref())?;
        (self.variables, self.root, self.held) = (variables, root, held);
        Ok(Flow::On)
    }

    fn range(&mut self, targets: Targets, branch: &'a Branch<L>, dot: Option<&Value<'a>>) -> Result<Flow, Failure> {
        let value = self.pipeline(&branch.pipeline, dot)?;
        let wrong = |why: String| Failure::at(branch.pipeline.at, why);
        let mut empty = true;
        self.hold(value.bytes())?;
        match &value {
            Value::Nil => {}
            Value::Integer(_) if targets.key.is_some() => {
                return Err(wrong(format!("can't use {value} to iterate over more than one variable")));
            }
            Value::Integer(count) => {
                for i in 0..*count {
                    empty = false;
                    if !self.iterate(targets, &branch.body, (Value::Nil, Value::Integer(i)))? {
                        break;
                    }
                }
            }
            Value::List(list) => {
                for (i, item) in list.iter().enumerate() {
                    empty = false;
                    if !self.iterate(targets, &branch.body, (Value::Integer(i as i64), item.clone()))? {
                        break;
                    }
                }
            }
            Value::Map(map) => {
                for (name, item) in map.iter() {
                    empty = false;
                    if !self.iterate(targets, &branch.body, (name.to_owned().into(), item.clone()))? {
                        break;
                    }
                }
            }
            other => return Err(wrong(format!("range can't iterate over {other}"))),
        }
        self.held -= value.bytes();
        if empty { self.nodes(&branch.otherwise, dot) } else { Ok(Flow::On) }
    }

    /// Whether more may follow.
    fn iterate(&mut self, targets: Targets, body: &'a [Node<L>], (key, item): (Value<'a>, Value<'a>)) -> Result<bool, Failure> {
        self.spend(1)?;
        if let Some(slot) = targets.key {
            self.set(slot, key)?;
        }
        if let Some(slot) = targets.item {
            self.set(slot, item.clone())?;
        }
        Ok(self.nodes(body, Some(&item))? != Flow::Break)
    }

    fn pipeline(&mut self, pipeline: &'a Pipeline<L>, dot: Option<&Value<'a>>) -> Result<Value<'a>, Failure> {
        self.commands(pipeline, dot).map_err(|failure| failure.or_at(pipeline.at))
    }

    #[inline]
    fn commands(&mut self, pipeline: &'a Pipeline<L>, dot: Option<&Value<'a>>) -> Result<Value<'a>, Failure> {
        // Most are of this form.
        if let ([Command::Operand(operand)], None) = (&pipeline.commands[..], pipeline.set) {
            return self.operand(operand, dot);
        }
        let mut piped: Option<Value<'a>> = None;
        for command in &pipeline.commands {
            piped = Some(match command {
                Command::Operand(operand) => self.operand(operand, dot)?,
                Command::Call(callee, operands) => self.call(callee, operands, piped, dot)?,
            });
        }
        let value = piped.unwrap_or(Value::Nil);
        if let Some(slot) = pipeline.set {
            self.set(slot, value.clone())?;
        }
        Ok(value)
    }

    fn call(
        &mut self,
        callee: &'a Callee<L>,
        operands: &'a [Operand<L>],
        piped: Option<Value<'a>>,
        dot: Option<&Value<'a>>,
    ) -> Result<Value<'a>, Failure> {
        if let Callee::Builtin(builtin @ (Builtin::And | Builtin::Or)) = callee {
            return self.decide(*builtin, operands, piped, dot);
        }
        let most = L::LIMITS.argument_bytes;
        let first = self.arguments.len();
        let mut held = piped.as_ref().map_or(0, Value::bytes);
        for operand in operands {
            let argument = self.operand(operand, dot)?;
            held += argument.bytes();
            if held > most {
                return Err(format!("arguments of {} with more than {most} bytes", callee.name()).into());
            }
            self.arguments.push(argument);
        }
        self.arguments.extend(piped);
        let literal = matches!(self.arguments.get(first), Some(Value::Pattern(_)));
        let matches = matches!(callee, Callee::Own(function) if function.pattern);
        let compiles = matches && !literal;
        self.spend(1 + held / ACTION_BYTES + if compiles { PATTERN_ACTIONS } else { 0 })?;
        let began = matches.then(Instant::now);
        let arguments = &self.arguments[first..];
        let made = match callee {
            Callee::Builtin(builtin) => builtin.call(arguments, most),
            Callee::Own(function) => (function.call)(self.scope, arguments),
        };
        self.arguments.truncate(first);
        let made = made.map_err(|message| Failure::from(message).within(callee.name()))?;
        let micros = began.map_or(0, |began| began.elapsed().as_micros() as usize);
        self.spend(made.bytes() / ACTION_BYTES + micros / MATCHING_MICROS)?;
        Ok(made)
    }

    /// `and` and `or`: what comes after the argument that decides is not evaluated.
    fn decide(
        &mut self,
        builtin: Builtin,
        operands: &'a [Operand<L>],
        piped: Option<Value<'a>>,
        dot: Option<&Value<'a>>,
    ) -> Result<Value<'a>, Failure> {
        self.spend(operands.len().max(1))?;
        let mut last = Value::Nil;
        for operand in operands {
            last = self.operand(operand, dot)?;
            if last.truth() == (builtin == Builtin::Or) {
                return Ok(last);
            }
        }
        Ok(piped.unwrap_or(last))
    }

    fn operand(&mut self, operand: &'a Operand<L>, dot: Option<&Value<'a>>) -> Result<Value<'a>, Failure> {
        match operand {
            Operand::Literal(literal) => Ok(literal.value()),
            Operand::Field(path) => match dot {
                Some(dot) => access(dot.clone(), path),
                None => self.first(path),
            },
            Operand::Root(path) => match &self.root {
                Some(root) => access(root.clone(), path),
                None => self.first(path),
            },
            Operand::Variable(slot, path) => access(self.variables[*slot].clone(), path),
            Operand::Call(callee, path) => {
                let (least, _) = callee.arity();
                if least > 0 {
                    return Err(format!("wrong number of args for {}: want {least} got 0", callee.name()).into());
                }
                access(self.call(callee, &[], None, dot)?, path)
            }
            Operand::Pipeline(pipeline, path) => access(self.pipeline(pipeline, dot)?, path),
        }
    }

    /// The first dot and what is below it.
    fn first(&mut self, path: &'a [String]) -> Result<Value<'a>, Failure> {
        match path.split_first() {
            Some((first, rest)) => access(L::field(self.scope, first)?, rest),
            None => {
                let dot = L::dot(self.scope);
                self.spend(dot.bytes() / ACTION_BYTES)?;
                Ok(dot)
            }
        }
    }
}

fn access<'a>(mut value: Value<'a>, path: &[String]) -> Result<Value<'a>, Failure> {
    for name in path {
        value = value.field(name)?;
    }
    Ok(value)
}

impl Literal {
    fn value(&self) -> Value<'_> {
        match self {
            Self::Nil => Value::Nil,
            Self::Bool(value) => Value::Bool(*value),
            Self::Integer(value) => Value::Integer(*value),
            Self::Number(value) => Value::Number(*value),
            Self::Text(text) => text.as_str().into(),
            Self::Pattern(regex) => Value::Pattern(regex),
        }
    }
}
