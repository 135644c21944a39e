//! What pipelines yield, with Go's ideas of truth and print. Cloning copies a pointer, whatever the size.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Deref;
use std::rc::Rc;

use jiff::Zoned;
use regex::Regex;

use crate::number::general;

/// A value; what is borrowed is of the template or of the scope.
#[derive(Clone, Debug)]
pub enum Value<'a> {
    Nil,
    Bool(bool),
    Integer(i64),
    Number(f64),
    Text(Text<'a>),
    Time(Box<Zoned>),
    /// A literal regular expression, given to a function that takes one.
    Pattern(&'a Regex),
    List(Rc<List<'a>>),
    Map(Rc<Map<'a>>),
    Struct(Rc<Struct<'a>>),
}

/// A text of the scope or of the template, or one that was made.
#[derive(Clone, Debug)]
pub enum Text<'a> {
    Borrowed(&'a str),
    Made(Rc<str>),
}

/// Values in order, and about how much they hold.
#[derive(Debug)]
pub struct List<'a> {
    items: Vec<Value<'a>>,
    bytes: usize,
}

/// Values by name, and about how much they hold.
#[derive(Debug)]
pub struct Map<'a> {
    entries: BTreeMap<String, Value<'a>>,
    missing: Missing,
    bytes: usize,
}

/// What a map has for names that it lacks: Go's zero of its values' type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// A map of texts.
    Empty,
    /// A map of anything.
    Nil,
}

/// Fields of fixed names.
#[derive(Debug)]
pub struct Struct<'a> {
    /// As errors call it.
    pub kind: &'static str,
    pub fields: Vec<(&'static str, Value<'a>)>,
}

/// About what a value takes beside its text.
const OWN_BYTES: usize = 64;

impl<'a> Value<'a> {
    /// Go's idea of true: not the zero value.
    pub fn truth(&self) -> bool {
        match self {
            Self::Nil => false,
            Self::Bool(value) => *value,
            Self::Number(value) => *value != 0.0,
            Self::Integer(value) => *value != 0,
            Self::Text(text) => !text.is_empty(),
            Self::List(list) => !list.is_empty(),
            Self::Map(map) => !map.entries.is_empty(),
            Self::Time(_) | Self::Pattern(_) | Self::Struct(_) => true,
        }
    }

    /// What Go calls its type.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Nil => "<nil>",
            Self::Bool(_) => "bool",
            Self::Number(_) => "float64",
            Self::Integer(_) => "int",
            Self::Text(_) | Self::Pattern(_) => "string",
            Self::Time(_) => "time.Time",
            Self::List(_) => "[]interface {}",
            Self::Map(map) if map.missing == Missing::Empty => "map[string]string",
            Self::Map(_) => "map[string]interface {}",
            Self::Struct(own) => own.kind,
        }
    }

    /// About what it holds in memory.
    pub(crate) fn bytes(&self) -> usize {
        OWN_BYTES
            + match self {
                Self::Text(text) => text.len(),
                Self::List(list) => list.bytes,
                Self::Map(map) => map.bytes,
                Self::Struct(own) => own.fields.iter().map(|(_, value)| value.bytes()).sum(),
                _ => 0,
            }
    }

    /// The text of a function's argument.
    pub fn text(&self) -> Result<&str, String> {
        match self {
            Self::Text(text) => Ok(text),
            Self::Pattern(regex) => Ok(regex.as_str()),
            other => Err(other.instead_of("string")),
        }
    }

    /// The whole number of a function's argument.
    pub fn integer(&self) -> Result<i64, String> {
        match self {
            Self::Integer(value) => Ok(*value),
            // A literal 2.0 is one for Go too.
            Self::Number(value) if value.fract() == 0.0 && value.abs() < 1e15 => Ok(*value as i64),
            other => Err(other.instead_of("int")),
        }
    }

    pub fn instead_of(&self, wanted: &str) -> String {
        format!("wrong type for value; expected {wanted}; got {}", self.kind())
    }

    /// `.name` of it.
    pub(crate) fn field(&self, name: &str) -> Result<Self, String> {
        match self {
            Self::Map(map) => Ok(map.get(name)),
            Self::Nil => Err(format!("nil pointer evaluating interface {{}}.{name}")),
            Self::Struct(own) if own.get(name).is_some() => Ok(own.get(name).cloned().unwrap_or(Self::Nil)),
            _ => Err(format!("can't evaluate field {name} in type {}", self.kind())),
        }
    }
}

/// As `print` prints it.
impl fmt::Display for Value<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nil => out.write_str("<nil>"),
            Self::Bool(value) => write!(out, "{value}"),
            Self::Number(value) => out.write_str(&general(*value, None)),
            Self::Integer(value) => write!(out, "{value}"),
            Self::Text(text) => out.write_str(text),
            Self::Pattern(regex) => out.write_str(regex.as_str()),
            Self::Time(time) if time.time_zone().iana_name().is_some() => {
                write!(out, "{}", time.strftime("%Y-%m-%d %H:%M:%S%.f %z %Z"))
            }
            // An offset without a name stands twice.
            Self::Time(time) => write!(out, "{}", time.strftime("%Y-%m-%d %H:%M:%S%.f %z %z")),
            Self::List(list) => {
                out.write_str("[")?;
                for (i, item) in list.iter().enumerate() {
                    write!(out, "{}{item}", if i == 0 { "" } else { " " })?;
                }
                out.write_str("]")
            }
            Self::Map(map) => {
                out.write_str("map[")?;
                for (i, (name, value)) in map.entries.iter().enumerate() {
                    write!(out, "{}{name}:{value}", if i == 0 { "" } else { " " })?;
                }
                out.write_str("]")
            }
            Self::Struct(own) => {
                out.write_str("{")?;
                for (i, (_, value)) in own.fields.iter().enumerate() {
                    write!(out, "{}{value}", if i == 0 { "" } else { " " })?;
                }
                out.write_str("}")
            }
        }
    }
}

impl Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        match self {
            Self::Borrowed(text) => text,
            Self::Made(text) => text,
        }
    }
}

impl<'a> List<'a> {
    pub fn new(items: Vec<Value<'a>>) -> Self {
        let bytes = items.iter().map(Value::bytes).sum();
        Self { items, bytes }
    }
}

impl<'a> Deref for List<'a> {
    type Target = [Value<'a>];

    fn deref(&self) -> &[Value<'a>] {
        &self.items
    }
}

impl<'a> Map<'a> {
    pub fn new(entries: BTreeMap<String, Value<'a>>, missing: Missing) -> Self {
        let bytes = entries.iter().map(|(name, value)| OWN_BYTES + name.len() + value.bytes()).sum();
        Self { entries, missing, bytes }
    }

    /// Of texts.
    pub fn of_texts<'t>(pairs: impl Iterator<Item = (&'t str, Text<'a>)>) -> Self {
        Self::new(pairs.map(|(name, value)| (name.to_owned(), Value::Text(value))).collect(), Missing::Empty)
    }

    pub fn get(&self, name: &str) -> Value<'a> {
        let missing = || match self.missing {
            Missing::Empty => Value::from(""),
            Missing::Nil => Value::Nil,
        };
        self.entries.get(name).cloned().unwrap_or_else(missing)
    }

    /// Ascending by name.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &Value<'a>)> {
        self.entries.iter().map(|(name, value)| (name.as_str(), value))
    }
}

impl<'a> Struct<'a> {
    pub fn get(&self, name: &str) -> Option<&Value<'a>> {
        self.fields.iter().find(|(own, _)| *own == name).map(|(_, value)| value)
    }
}

impl<'a> From<&'a str> for Value<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(Text::Borrowed(text))
    }
}

impl From<String> for Value<'_> {
    fn from(text: String) -> Self {
        Self::Text(Text::Made(text.into()))
    }
}

impl From<bool> for Value<'_> {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<i64> for Value<'_> {
    fn from(value: i64) -> Self {
        Self::Integer(value)
    }
}

impl From<f64> for Value<'_> {
    fn from(value: f64) -> Self {
        Self::Number(value)
    }
}

impl From<Zoned> for Value<'_> {
    fn from(time: Zoned) -> Self {
        Self::Time(Box::new(time))
    }
}

impl<'a> From<Vec<Value<'a>>> for Value<'a> {
    fn from(items: Vec<Value<'a>>) -> Self {
        Self::List(Rc::new(List::new(items)))
    }
}

impl<'a> From<Map<'a>> for Value<'a> {
    fn from(map: Map<'a>) -> Self {
        Self::Map(Rc::new(map))
    }
}

impl<'a> From<Struct<'a>> for Value<'a> {
    fn from(own: Struct<'a>) -> Self {
        Self::Struct(Rc::new(own))
    }
}
