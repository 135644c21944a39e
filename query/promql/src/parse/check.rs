//! Types: what each function, operator and aggregation takes.

use crate::ast::{Cardinality, Chain, Duration, Expr, Kind, Link, Type};
use crate::error::ParseError;
use crate::functions::Function;

/// Checks the whole tree.
pub(super) fn check(text: &str, expr: &Expr) -> Result<(), ParseError> {
    let wrong = |at: &Expr, message: String| Err(ParseError::at(text, at.span.start, message));
    match &expr.kind {
        Kind::Call(function, arguments) => call(text, expr, function, arguments)?,
        Kind::Chain(operators) => chain(text, operators)?,
        Kind::Unary(_, inner) if !matches!(inner.kind_type(), Type::Scalar | Type::Vector) => {
            let got = inner.kind_type().name();
            return wrong(
                expr,
                format!("unary expression only allowed on expressions of type scalar or instant vector, got {got:?}"),
            );
        }
        Kind::Aggregate(aggregate) => {
            expect(text, &aggregate.expr, Type::Vector, "aggregation expression")?;
            if let (Some(wanted), Some(param)) = (aggregate.op.parameter(), &aggregate.param) {
                expect(text, param, wanted, "aggregation parameter")?;
            }
        }
        Kind::Range(range) => positive(text, expr, &range.range)?,
        Kind::Subquery(subquery) => {
            positive(text, expr, &subquery.range)?;
            if let Some(step) = &subquery.step {
                positive(text, expr, step)?;
            }
        }
        _ => {}
    }
    expr.children().into_iter().try_for_each(|child| check(text, child))
}

fn positive(text: &str, expr: &Expr, duration: &Duration) -> Result<(), ParseError> {
    match duration {
        Duration::Millis(millis) if *millis <= 0 => {
            Err(ParseError::at(text, expr.span.start, "duration must be greater than 0".into()))
        }
        _ => Ok(()),
    }
}

fn expect(text: &str, expr: &Expr, wanted: Type, context: &str) -> Result<(), ParseError> {
    let got = expr.kind_type();
    if got == wanted {
        return Ok(());
    }
    let message = format!("expected type {} in {context}, got {}", wanted.name(), got.name());
    Err(ParseError::at(text, expr.span.start, message))
}

fn call(text: &str, expr: &Expr, function: &'static Function, arguments: &[Expr]) -> Result<(), ParseError> {
    let (least, most) = function.arity();
    let (name, given) = (function.name, arguments.len());
    let bound = match () {
        () if least == most && given != least => format!("expected {least}"),
        () if given < least => format!("expected at least {least}"),
        () if given > most => format!("expected at most {most}"),
        () => String::new(),
    };
    if !bound.is_empty() {
        let message = format!("{bound} argument(s) in call to {name:?}, got {given}");
        return Err(ParseError::at(text, expr.span.start, message));
    }
    for (i, argument) in arguments.iter().enumerate() {
        let wanted = function.args.get(i).or(function.args.last()).copied().unwrap_or(Type::Vector);
        expect(text, argument, wanted, &format!("call to function {name:?}"))?;
    }
    if let ("info", Some(selector)) = (name, arguments.get(1)) {
        let wrong = match &selector.bare().kind {
            Kind::Selector(selector) if selector.name.is_empty() => return Ok(()),
            Kind::Selector(_) => "expected label selectors only, got vector selector instead",
            _ => "expected label selectors only",
        };
        return Err(ParseError::at(text, selector.span.start, wrong.into()));
    }
    Ok(())
}

fn chain(text: &str, chain: &Chain) -> Result<(), ParseError> {
    let start = chain.first.span.start;
    let mut lhs = chain.first.kind_type();
    for link in &chain.links {
        let rhs = link.rhs.kind_type();
        for (kind, at) in [(lhs, start), (rhs, link.rhs.span.start)] {
            if !matches!(kind, Type::Scalar | Type::Vector) {
                let message = "binary expression must contain only scalar and instant vector types".into();
                return Err(ParseError::at(text, at, message));
            }
        }
        binary(text, start, link, (lhs, rhs))?;
        lhs = if lhs == Type::Scalar { rhs } else { lhs };
    }
    Ok(())
}

/// One operator, with the types of its sides; `start` is where its left side begins.
fn binary(text: &str, start: usize, link: &Link, (lhs, rhs): (Type, Type)) -> Result<(), ParseError> {
    let wrong = |message: String| Err(ParseError::at(text, start, message));
    let vectors = lhs == Type::Vector && rhs == Type::Vector;
    if link.op.is_set() && !vectors {
        return wrong(format!("set operator {:?} not allowed in binary scalar expression", link.op.name()));
    }
    if link.op.is_trim() && lhs == Type::Scalar && rhs == Type::Scalar {
        return wrong(format!("operator {:?} not allowed for Scalar operations", link.op.name()));
    }
    if link.op.is_comparison() && !link.returns_bool && lhs == Type::Scalar && rhs == Type::Scalar {
        return wrong("comparisons between scalars must use BOOL modifier".into());
    }
    let matching = &link.matching;
    let grouped = matches!(matching.cardinality, Cardinality::ManyToOne | Cardinality::OneToMany);
    if !vectors && (matching.on || !matching.labels.is_empty() || grouped) {
        return wrong("vector matching only allowed between instant vectors".into());
    }
    if !vectors && (matching.fill_left.is_some() || matching.fill_right.is_some()) {
        return wrong("filling in missing series only allowed between instant vectors".into());
    }
    Ok(())
}
