//! What a query says of spans: to the reader, which narrows by it, and of each span.

use weir_model::select::TraceSelect;
use weir_model::span::{Attributes, Origin, Span, Value};

use crate::ast::{Compare, Field, Literal, Op, Query};

impl Literal {
    /// The text that names every value that equals this, if there is one.
    fn text(&self) -> Option<String> {
        match self {
            Self::Text(text) => Some(text.clone()),
            Self::Int(number) => Some(number.to_string()),
            Self::Bool(flag) => Some(flag.to_string()),
            Self::Status(status) => Some(status.name().to_owned()),
            Self::Kind(kind) => Some(kind.name().to_owned()),
            Self::Pattern(_) | Self::Number(_) | Self::Duration(_) => None,
        }
    }
}

impl Query {
    /// Hands what the reader understands to `select`. A reader gives more than what passes: [`Self::conditions`] judge it.
    pub fn narrow(&self, select: &mut TraceSelect) {
        for Compare { field, op, value } in &self.0 {
            match (field, op, value) {
                (Field::Name, Op::Equal, Literal::Text(name)) => select.operation = Some(name.clone()),
                (Field::Resource(name), Op::Equal, Literal::Text(service)) if name == "service.name" => {
                    select.service = Some(service.clone())
                }
                (Field::Resource(name) | Field::Span(name) | Field::Either(name), Op::Equal, value) => {
                    select.attributes.extend(value.text().map(|text| (name.clone(), text)));
                }
                (Field::Status, Op::Equal, Literal::Status(_)) => {
                    select.attributes.extend(value.text().map(|text| ("status".to_owned(), text)));
                }
                (Field::Kind, Op::Equal, Literal::Kind(_)) => {
                    select.attributes.extend(value.text().map(|text| ("kind".to_owned(), text)));
                }
                (Field::Duration, Op::Greater | Op::GreaterEqual | Op::Equal, Literal::Duration(least)) => {
                    select.duration_min = select.duration_min.max(Some(*least))
                }
                (Field::Duration, Op::Less | Op::LessEqual, Literal::Duration(most)) => {
                    select.duration_max = Some(select.duration_max.map_or(*most, |own| own.min(*most)));
                }
                _ => {}
            }
        }
    }

    /// What must hold on one span, each by itself.
    pub fn conditions(self) -> impl Iterator<Item = impl Fn(&Origin, &Span) -> bool + Send + Sync + 'static> {
        self.0.into_iter().map(|compare| move |origin: &Origin, span: &Span| compare.holds(origin, span))
    }
}

impl Compare {
    fn holds(&self, origin: &Origin, span: &Span) -> bool {
        let attribute =
            |own: &Attributes, name: &str| own.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone());
        match &self.field {
            Field::Duration => match self.value {
                Literal::Duration(value) => ordered(self.op, (span.end.saturating_sub(span.start)).cmp(&value)),
                _ => false,
            },
            Field::Status => matches!(self.value, Literal::Status(wanted) if (span.status == wanted) == (self.op == Op::Equal)),
            Field::Kind => matches!(self.value, Literal::Kind(wanted) if (span.kind == wanted) == (self.op == Op::Equal)),
            Field::Name => self.compares(&Value::String(span.name.clone())),
            Field::Resource(name) => attribute(&origin.resource, name).is_some_and(|value| self.compares(&value)),
            Field::Span(name) => attribute(&span.attributes, name).is_some_and(|value| self.compares(&value)),
            // As in Tempo: the span's own attribute hides the resource's.
            Field::Either(name) => attribute(&span.attributes, name)
                .or_else(|| attribute(&origin.resource, name))
                .is_some_and(|value| self.compares(&value)),
        }
    }

    /// Values of different types never compare; what answers show as a string is one.
    fn compares(&self, own: &Value) -> bool {
        match (&self.value, own) {
            (Literal::Text(text), Value::String(_) | Value::Bytes(_) | Value::Json(_)) => {
                ordered(self.op, own.text().as_ref().cmp(text))
            }
            (Literal::Pattern(pattern), Value::String(_) | Value::Bytes(_) | Value::Json(_)) => {
                pattern.is_match(&own.text()) == (self.op == Op::Regex)
            }
            (Literal::Bool(flag), Value::Bool(own)) => ordered(self.op, own.cmp(flag)),
            (Literal::Int(number), Value::Int(own)) => ordered(self.op, own.cmp(number)),
            (Literal::Int(number), Value::Double(own)) => {
                own.partial_cmp(&(*number as f64)).is_some_and(|order| ordered(self.op, order))
            }
            (Literal::Number(number), Value::Int(own)) => {
                (*own as f64).partial_cmp(number).is_some_and(|order| ordered(self.op, order))
            }
            (Literal::Number(number), Value::Double(own)) => own.partial_cmp(number).is_some_and(|order| ordered(self.op, order)),
            _ => false,
        }
    }
}

fn ordered(op: Op, order: std::cmp::Ordering) -> bool {
    match op {
        Op::Equal => order.is_eq(),
        Op::NotEqual => order.is_ne(),
        Op::Greater => order.is_gt(),
        Op::GreaterEqual => order.is_ge(),
        Op::Less => order.is_lt(),
        Op::LessEqual => order.is_le(),
        Op::Regex | Op::NotRegex => false,
    }
}
