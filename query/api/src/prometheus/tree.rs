//! `parse_query`: a query's tree, in the shape that Prometheus' page and Grafana's query builder read.

use axum::response::Response;
use serde_json::{Map, Value, json};
use weir_budget::RequestBudget;
use weir_model::label::Matcher;
use weir_promql::QueryError;
use weir_promql::ast::{At, BinaryOp, Cardinality, Duration, DurationExpr, Edge, Expr, Kind, Link, Modifiers, Selector, Type};
use weir_promql::parse::parse;

use super::Api;
use super::answer::{ApiError, Success, sample};
use super::params::Params;
use crate::call::Call;

/// Of a tree as JSON: writers and readers of JSON recurse. Operators in a row are nested in it.
const DEPTH_MAX: usize = 400;

/// `GET|POST parse_query?query`
pub(super) async fn parse_query(api: Call, params: Params) -> Result<Response, ApiError> {
    let work = move |_: &Api, budget: &RequestBudget| {
        let expr = parse(&params.query()?).map_err(QueryError::from)?;
        if depth(&expr) > DEPTH_MAX {
            return Err(ApiError::bad_data(format!(
                "invalid parameter \"query\": a tree may be {DEPTH_MAX} deep, this is deeper"
            )));
        }
        Success::of(budget, &node(&expr))?.reply(None)
    };
    api.answer(work).await
}

fn depth(expr: &Expr) -> usize {
    let below = expr.children().into_iter().map(depth).max().unwrap_or(0);
    let links = if let Kind::Chain(chain) = &expr.kind { chain.links.len() } else { 1 };
    below.max(durations(&expr.kind)) + links
}

/// The deepest of a selector's or subquery's durations.
fn durations(kind: &Kind) -> usize {
    let own = match kind {
        Kind::Selector(own) => [own.modifiers.offset.as_ref(), None, None],
        Kind::Range(own) => [own.selector.modifiers.offset.as_ref(), Some(&own.range), None],
        Kind::Subquery(own) => [own.modifiers.offset.as_ref(), Some(&own.range), own.step.as_ref()],
        _ => return 0,
    };
    let of = |duration: &Duration| match duration {
        Duration::Millis(_) => 0,
        Duration::Computed(expr, _) => duration_depth(expr),
    };
    own.into_iter().flatten().map(of).max().unwrap_or(0)
}

fn duration_depth(expr: &DurationExpr) -> usize {
    match expr {
        DurationExpr::Literal(..) | DurationExpr::Step | DurationExpr::Range => 1,
        DurationExpr::Extreme(_, one, other) => 1 + duration_depth(one).max(duration_depth(other)),
        DurationExpr::Negative(inner) | DurationExpr::Paren(inner) => 1 + duration_depth(inner),
        DurationExpr::Chain(first, rest) => {
            let below = rest.iter().map(|(_, rhs)| duration_depth(rhs)).max().unwrap_or(0);
            rest.len() + below.max(duration_depth(first))
        }
    }
}

fn node(expr: &Expr) -> Value {
    match &expr.kind {
        Kind::Number(value, _) => json!({"type": "numberLiteral", "val": number(*value)}),
        Kind::String(text) => json!({"type": "stringLiteral", "val": text}),
        Kind::Paren(inner) => json!({"type": "parenExpr", "expr": node(inner)}),
        Kind::Unary(is_negative, inner) => {
            json!({"type": "unaryExpr", "op": if *is_negative { "-" } else { "+" }, "expr": node(inner)})
        }
        Kind::Selector(own) => {
            Value::Object(selector("vectorSelector", own, if own.smoothed { Edge::Smoothed } else { Edge::Plain }))
        }
        Kind::Range(own) => {
            let mut fields = selector("matrixSelector", &own.selector, own.edge);
            put_duration(&mut fields, "range", Some(&own.range));
            Value::Object(fields)
        }
        Kind::Subquery(own) => {
            let mut fields = fields_of("subquery", &own.modifiers);
            fields.insert("expr".into(), node(&own.expr));
            put_duration(&mut fields, "range", Some(&own.range));
            put_duration(&mut fields, "step", own.step.as_ref());
            Value::Object(fields)
        }
        Kind::Call(function, arguments) => {
            let args: Vec<Value> = arguments.iter().map(node).collect();
            let types: Vec<&str> = function.args.iter().map(|own| type_name(*own)).collect();
            let func = json!({"name": function.name, "argTypes": types, "variadic": function.variadic,
                "returnType": type_name(function.returns)});
            json!({"type": "call", "func": func, "args": args})
        }
        Kind::Aggregate(own) => json!({
            "type": "aggregation", "op": own.op.name(), "expr": node(&own.expr), "param": own.param.as_ref().map(node),
            "grouping": own.grouping, "without": own.without,
        }),
        Kind::Chain(chain) => {
            let (mut lhs, mut is_vector) = (node(&chain.first), chain.first.kind_type() == Type::Vector);
            for link in &chain.links {
                let is_right = link.rhs.kind_type() == Type::Vector;
                lhs = binary(lhs, link, is_vector && is_right);
                is_vector |= is_right;
            }
            lhs
        }
    }
}

fn binary(lhs: Value, link: &Link, has_matching: bool) -> Value {
    let own = &link.matching;
    let card = match own.cardinality {
        _ if matches!(link.op, BinaryOp::And | BinaryOp::Or | BinaryOp::Unless) => "many-to-many",
        Cardinality::OneToOne => "one-to-one",
        Cardinality::ManyToOne => "many-to-one",
        Cardinality::OneToMany => "one-to-many",
        Cardinality::ManyToMany => "many-to-many",
    };
    let matching = has_matching.then(|| {
        json!({"card": card, "labels": own.labels, "on": own.on, "include": own.include,
            "fillValues": {"lhs": own.fill_left, "rhs": own.fill_right}})
    });
    json!({"type": "binaryExpr", "op": link.op.name(), "lhs": lhs, "rhs": node(&link.rhs), "matching": matching,
        "bool": link.returns_bool})
}

fn selector(kind: &str, own: &Selector, edge: Edge) -> Map<String, Value> {
    let mut fields = fields_of(kind, &own.modifiers);
    let matcher = |own: &Matcher| json!({"name": own.name, "value": own.value, "type": own.op.as_str()});
    fields.insert("name".into(), json!(own.name));
    fields.insert("matchers".into(), own.matchers.iter().map(matcher).collect());
    fields.insert("anchored".into(), json!(edge == Edge::Anchored));
    fields.insert("smoothed".into(), json!(edge == Edge::Smoothed));
    fields
}

/// What selectors and subqueries share.
fn fields_of(kind: &str, modifiers: &Modifiers) -> Map<String, Value> {
    let (timestamp, edge) = match modifiers.at {
        None => (None, None),
        Some(At::Time(at)) => (Some(at), None),
        Some(At::Start) => (None, Some("start")),
        Some(At::End) => (None, Some("end")),
    };
    let mut fields = Map::new();
    fields.insert("type".into(), json!(kind));
    fields.insert("timestamp".into(), json!(timestamp));
    fields.insert("startOrEnd".into(), json!(edge));
    put_duration(&mut fields, "offset", modifiers.offset.as_ref());
    fields
}

/// Milliseconds; of one that is computed, 0 and the expression.
fn put_duration(fields: &mut Map<String, Value>, name: &str, duration: Option<&Duration>) {
    let (millis, expr) = match duration {
        None => (0, Value::Null),
        Some(Duration::Millis(millis)) => (*millis, Value::Null),
        Some(Duration::Computed(expr, _)) => (0, duration_node(expr)),
    };
    fields.insert(name.into(), json!(millis));
    fields.insert(format!("{name}Expr"), expr);
}

fn duration_node(expr: &DurationExpr) -> Value {
    let of =
        |op: &str, lhs: Value, rhs: Value| json!({"type": "durationExpr", "op": op, "lhs": lhs, "rhs": rhs, "wrapped": false});
    match expr {
        DurationExpr::Literal(seconds, has_unit) => {
            json!({"type": "numberLiteral", "val": number(*seconds), "duration": has_unit})
        }
        DurationExpr::Step => of("step", Value::Null, Value::Null),
        DurationExpr::Range => of("range", Value::Null, Value::Null),
        DurationExpr::Extreme(is_max, one, other) => {
            of(if *is_max { "max_of" } else { "min_of" }, duration_node(one), duration_node(other))
        }
        DurationExpr::Negative(inner) => of("-", Value::Null, duration_node(inner)),
        DurationExpr::Paren(inner) => {
            let mut inner = duration_node(inner);
            if inner.get("wrapped").is_some() {
                inner["wrapped"] = json!(true);
            }
            inner
        }
        DurationExpr::Chain(first, rest) => {
            rest.iter().fold(duration_node(first), |lhs, (op, rhs)| of(&op.to_string(), lhs, duration_node(rhs)))
        }
    }
}

/// Plain, also where it is long.
fn number(value: f64) -> String {
    if value.is_finite() { value.to_string() } else { sample(value) }
}

/// As Prometheus' API names types.
fn type_name(of: Type) -> &'static str {
    match of {
        Type::Scalar => "scalar",
        Type::String => "string",
        Type::Vector => "vector",
        Type::Matrix => "matrix",
    }
}
