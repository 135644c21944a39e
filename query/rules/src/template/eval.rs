//! Nodes to text.

use super::parse::{Node, Operand, Pipeline};
use super::{Scope, Value, functions};

/// An expanded template may have this many bytes: Alertmanager's own limit on an alert is of that order.
const OUTPUT_BYTES_MAX: usize = 64 << 10;

/// Arguments of one function may hold this much together: strings may double from one assignment to the next.
const ARGUMENT_BYTES_MAX: usize = 16 << 20;
/// Actions that an expansion may run: nested `range`s over the answers of queries would go on for ever.
const ACTIONS_MAX: usize = 1_000_000;

pub(super) fn expand(nodes: &[Node], scope: &Scope<'_>) -> Result<String, String> {
    let labels = scope.labels.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    let variables = vec![
        ("labels".to_owned(), Value::Map(labels)),
        ("value".to_owned(), Value::Number(scope.value)),
        ("externalURL".to_owned(), Value::Text(scope.external_url.to_owned())),
        ("externalLabels".to_owned(), Value::Map(scope.external_labels.clone())),
    ];
    let mut run = Run { scope, variables, out: String::new(), actions: 0 };
    run.nodes(nodes, None)?;
    Ok(run.out)
}

struct Run<'a> {
    scope: &'a Scope<'a>,
    variables: Vec<(String, Value)>,
    out: String,
    actions: usize,
}

impl Run<'_> {
    /// `dot` is `None` at the top, where it holds Labels, Value and so on.
    fn nodes(&mut self, nodes: &[Node], dot: Option<&Value>) -> Result<(), String> {
        let depth = self.variables.len();
        for node in nodes {
            self.actions += 1;
            if self.actions > ACTIONS_MAX {
                return Err(format!("more than {ACTIONS_MAX} actions"));
            }
            self.node(node, dot)?;
            if self.out.len() > OUTPUT_BYTES_MAX {
                return Err(format!("longer than {OUTPUT_BYTES_MAX} bytes"));
            }
        }
        self.variables.truncate(depth);
        Ok(())
    }

    fn node(&mut self, node: &Node, dot: Option<&Value>) -> Result<(), String> {
        match node {
            Node::Text(text) => self.out.push_str(text),
            Node::Print(pipeline) => {
                let value = self.pipeline(pipeline, dot)?;
                self.out.push_str(&value.show());
            }
            Node::Assign(name, declare, pipeline) => {
                let value = self.pipeline(pipeline, dot)?;
                match self.variables.iter_mut().rev().find(|(own, _)| own == name) {
                    Some((_, own)) if !declare => *own = value,
                    None if !declare => return Err(format!("undefined variable ${name}")),
                    _ => self.variables.push((name.clone(), value)),
                }
            }
            Node::If(pipeline, body, otherwise) => {
                let chosen = if self.pipeline(pipeline, dot)?.truth() { body } else { otherwise };
                self.nodes(chosen, dot)?;
            }
            Node::With(pipeline, body, otherwise) => match self.pipeline(pipeline, dot)? {
                value if value.truth() => self.nodes(body, Some(&value))?,
                _ => self.nodes(otherwise, dot)?,
            },
            Node::Range(names, pipeline, body, otherwise) => {
                let items = match self.pipeline(pipeline, dot)? {
                    Value::List(items) => {
                        items.into_iter().enumerate().map(|(i, item)| (Value::Integer(i as i64), item)).collect()
                    }
                    Value::Map(map) => map.into_iter().map(|(name, value)| (Value::Text(name), Value::Text(value))).collect(),
                    Value::Nil => Vec::new(),
                    other => return Err(format!("range can't iterate over {}", other.show())),
                };
                if items.is_empty() {
                    return self.nodes(otherwise, dot);
                }
                self.range(names, items, body)?;
            }
        }
        Ok(())
    }

    fn range(&mut self, names: &[String], items: Vec<(Value, Value)>, body: &[Node]) -> Result<(), String> {
        let depth = self.variables.len();
        for (key, item) in items {
            match names {
                [one] => self.variables.push((one.clone(), item.clone())),
                [first, second] => {
                    self.variables.push((first.clone(), key));
                    self.variables.push((second.clone(), item.clone()));
                }
                _ => {}
            }
            self.nodes(body, Some(&item))?;
            self.variables.truncate(depth);
        }
        Ok(())
    }

    fn pipeline(&mut self, pipeline: &Pipeline, dot: Option<&Value>) -> Result<Value, String> {
        let mut piped: Option<Value> = None;
        for command in pipeline {
            piped = Some(self.command(command, dot, piped)?);
        }
        Ok(piped.unwrap_or(Value::Nil))
    }

    fn command(&mut self, command: &[Operand], dot: Option<&Value>, piped: Option<Value>) -> Result<Value, String> {
        let Some((first, rest)) = command.split_first() else { return Err("missing value for command".into()) };
        let Operand::Function(name) = first else {
            if !rest.is_empty() || piped.is_some() {
                return Err("can't give argument to non-function".into());
            }
            return self.operand(first, dot);
        };
        let mut arguments = Vec::with_capacity(rest.len() + 1);
        let mut held = piped.as_ref().map_or(0, Value::bytes);
        for operand in rest {
            let argument = self.operand(operand, dot)?;
            held += argument.bytes();
            if held > ARGUMENT_BYTES_MAX {
                return Err(format!("arguments of {name} with more than {ARGUMENT_BYTES_MAX} bytes"));
            }
            arguments.push(argument);
        }
        arguments.extend(piped);
        functions::call(name, arguments, self.scope)
    }

    fn operand(&mut self, operand: &Operand, dot: Option<&Value>) -> Result<Value, String> {
        match operand {
            Operand::Literal(value) => Ok(value.clone()),
            Operand::Field(path) => match (dot, path.split_first()) {
                (None, Some((first, rest))) => access(self.root(first)?, rest),
                (None, None) => Ok(Value::Nil),
                (Some(dot), _) => access(dot.clone(), path),
            },
            Operand::Variable(name, path) if name.is_empty() => match path.split_first() {
                Some((first, rest)) => access(self.root(first)?, rest),
                None => Ok(Value::Nil),
            },
            Operand::Variable(name, path) => {
                let found = self.variables.iter().rev().find(|(own, _)| own == name);
                let (_, value) = found.ok_or_else(|| format!("undefined variable ${name}"))?;
                access(value.clone(), path)
            }
            Operand::Function(name) => functions::call(name, Vec::new(), self.scope),
            Operand::Paren(pipeline, path) => {
                let value = self.pipeline(pipeline, dot)?;
                access(value, path)
            }
        }
    }

    fn root(&self, name: &str) -> Result<Value, String> {
        let variable = match name {
            "Labels" => "labels",
            "Value" => "value",
            "ExternalURL" => "externalURL",
            "ExternalLabels" => "externalLabels",
            _ => return Err(format!("can't evaluate field {name}")),
        };
        let found = self.variables.iter().find(|(own, _)| own == variable);
        Ok(found.map_or(Value::Nil, |(_, value)| value.clone()))
    }
}

/// A map's missing entry is "", as Prometheus sets it up.
fn access(value: Value, path: &[String]) -> Result<Value, String> {
    path.iter().try_fold(value, |value, name| match value {
        Value::Map(map) => Ok(Value::Text(map.get(name).cloned().unwrap_or_default())),
        Value::Sample(_, value) if name == "Value" => Ok(Value::Number(value)),
        Value::Sample(labels, _) if name == "Labels" => {
            Ok(Value::Map(labels.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()))
        }
        other => Err(format!("can't evaluate field {name} of {}", other.show())),
    })
}
