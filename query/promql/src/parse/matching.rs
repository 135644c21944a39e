//! What may stand between a binary operator and its right side: `bool`, `on`, `ignoring`, `group_left`, `fill` and their like.

use super::Parser;
use crate::ast::{BinaryOp, Cardinality, Kind, Matching};
use crate::error::ParseError;
use crate::lex::Tok;

impl Parser<'_> {
    /// What may stand between a binary operator and its right side.
    pub(super) fn modifiers(&mut self, op: BinaryOp) -> Result<(bool, Matching), ParseError> {
        let at = self.span().start;
        let returns_bool = self.eat_word("bool");
        if returns_bool && !op.is_comparison() {
            return Err(ParseError::at(self.text, at, "bool modifier can only be used on comparison operators".into()));
        }
        let cardinality = if op.is_set() { Cardinality::ManyToMany } else { Cardinality::OneToOne };
        let mut matching =
            Matching { cardinality, labels: Vec::new(), on: false, include: Vec::new(), fill_left: None, fill_right: None };
        if self.is_word("on") || self.is_word("ignoring") {
            matching.on = self.is_word("on");
            self.advance();
            matching.labels = self.label_list()?;
            self.group_side(op, &mut matching)?;
        }
        while let Some(side) = ["fill", "fill_left", "fill_right"].into_iter().find(|word| self.is_word(word)) {
            if self.peek_second() != &Tok::Op("(") {
                break;
            }
            if op.is_set() {
                return Err(self.error("filling in missing series not allowed for set operators"));
            }
            self.advance();
            let value = self.fill_value()?;
            matching.fill_left = if side == "fill_right" { matching.fill_left } else { Some(value) };
            matching.fill_right = if side == "fill_left" { matching.fill_right } else { Some(value) };
        }
        Ok((returns_bool, matching))
    }

    fn group_side(&mut self, op: BinaryOp, matching: &mut Matching) -> Result<(), ParseError> {
        let left = self.is_word("group_left");
        if !left && !self.is_word("group_right") {
            return Ok(());
        }
        if op.is_set() {
            return Err(self.error(format!("no grouping allowed for {:?} operation", op.name())));
        }
        self.advance();
        matching.cardinality = if left { Cardinality::ManyToOne } else { Cardinality::OneToMany };
        if self.peek() == &Tok::Op("(") {
            let at = self.span().start;
            matching.include = self.label_list()?;
            if let Some(both) = matching.include.iter().find(|name| matching.on && matching.labels.contains(name)) {
                let message = format!("label {both:?} must not occur in ON and GROUP clause at once");
                return Err(ParseError::at(self.text, at, message));
            }
        }
        Ok(())
    }

    fn fill_value(&mut self) -> Result<f64, ParseError> {
        self.expect("(", "in fill modifier")?;
        let at = self.span().start;
        let value = self.expression(0)?;
        self.expect(")", "in fill modifier")?;
        match value.kind {
            Kind::Number(value, _) => Ok(value),
            _ => Err(ParseError::at(self.text, at, "the value of a fill modifier is a number".into())),
        }
    }
}
