//! A parsed template: functions are pointers, variables are slots, literal patterns are compiled.

use regex::Regex;

use crate::builtin::Builtin;
use crate::language::{Function, Language};

/// A template, ready to be executed.
#[derive(Clone, Debug)]
pub struct Template<L: Language> {
    pub(crate) source: String,
    pub(crate) main: Definition<L>,
    /// Those with a name.
    pub(crate) definitions: Vec<Definition<L>>,
}

#[derive(Clone, Debug)]
pub(crate) struct Definition<L: Language> {
    pub nodes: Vec<Node<L>>,
    /// How many variables may be alive at once.
    pub slots: usize,
}

#[derive(Clone, Debug)]
pub(crate) enum Node<L: Language> {
    Text(String),
    /// Printed, unless it sets a variable.
    Action(Pipeline<L>),
    If(Branch<L>),
    With(Branch<L>),
    Range(Targets, Branch<L>),
    Break,
    Continue,
    /// The definition of this number, and what its dot is; nil where nothing is said.
    Template(usize, Option<Pipeline<L>>),
}

#[derive(Clone, Debug)]
pub(crate) struct Branch<L: Language> {
    pub pipeline: Pipeline<L>,
    pub body: Vec<Node<L>>,
    pub otherwise: Vec<Node<L>>,
}

/// Slots that each iteration of a `range` sets.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Targets {
    pub key: Option<usize>,
    pub item: Option<usize>,
}

/// Commands; each one's value is the next one's last argument.
#[derive(Clone, Debug)]
pub(crate) struct Pipeline<L: Language> {
    /// Byte of the source.
    pub at: usize,
    /// The slot that the value goes to.
    pub set: Option<usize>,
    pub commands: Vec<Command<L>>,
}

#[derive(Clone, Debug)]
pub(crate) enum Command<L: Language> {
    Operand(Operand<L>),
    Call(Callee<L>, Vec<Operand<L>>),
}

#[derive(Clone, Debug)]
pub(crate) enum Callee<L: Language> {
    Builtin(Builtin),
    Own(&'static Function<L>),
}

#[derive(Clone, Debug)]
pub(crate) enum Operand<L: Language> {
    Literal(Literal),
    /// `.a.b`; empty is dot itself.
    Field(Vec<String>),
    /// `$.a.b`: of the first dot.
    Root(Vec<String>),
    /// `$x.a.b`
    Variable(usize, Vec<String>),
    /// A function without arguments among the arguments of another.
    Call(Callee<L>, Vec<String>),
    /// `(…).a.b`
    Pipeline(Pipeline<L>, Vec<String>),
}

#[derive(Clone, Debug)]
pub(crate) enum Literal {
    Nil,
    Bool(bool),
    Integer(i64),
    Number(f64),
    Text(String),
    Pattern(Regex),
}

impl<L: Language> Callee<L> {
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Builtin(builtin) => builtin.name(),
            Self::Own(function) => function.name,
        }
    }

    /// The fewest and the most arguments.
    pub(crate) fn arity(&self) -> (usize, usize) {
        match self {
            Self::Builtin(builtin) => builtin.arity(),
            Self::Own(function) => (function.least, function.most),
        }
    }
}

impl<L: Language> Template<L> {
    /// As written.
    pub fn source(&self) -> &str {
        &self.source
    }
}
