//! Arithmetic and comparison: scalars with scalars, vectors with scalars, vectors with vectors.
//!
//! Series of two vectors find each other by signature; signatures become small numbers once. Series that are a pair at every step
//! are combined as a whole (`binary_series`); for all others each step works on arrays of those numbers.

use std::collections::{HashMap, HashSet};

use weir_model::label::Labels;

use super::binary_series::{Numbered, Signatures, decides, renumber};
use super::histogram_op::{self, Operand, OperatorNotes};
use super::scalar_op::{apply, as_bool};
use super::{ABSENT, Eval, Row, StepRange, Value, finish, is_absent};
use crate::ast::{Cardinality, Chain, Link, Matching};
use crate::error::QueryError;

impl Eval<'_> {
    /// All operators of a chain, from left to right.
    pub(super) fn chain(&mut self, chain: &Chain, step_range: StepRange) -> Result<Value, QueryError> {
        let before = self.tally.bytes();
        let counts_only = self.enter_chain(chain);
        let mut value = self.eval(&chain.first, step_range)?;
        for link in &chain.links {
            let rhs = self.eval(&link.rhs, step_range)?;
            value = self.link(link, chain.first.span.start, value, rhs, step_range)?;
            // What the operator has consumed is gone.
            self.tally.settle(before.saturating_add(value.bytes()))?;
        }
        self.counts_only = counts_only;
        Ok(value)
    }

    /// What is trimmed needs its buckets; answers what was before.
    pub(super) fn enter_chain(&mut self, chain: &Chain) -> bool {
        let before = self.counts_only;
        self.counts_only &= !chain.links.iter().any(|link| link.op.is_trim());
        before
    }

    /// One operator, whose left side begins at `start`.
    pub(super) fn link(
        &mut self,
        link: &Link,
        start: usize,
        lhs: Value,
        rhs: Value,
        step_range: StepRange,
    ) -> Result<Value, QueryError> {
        let op = link.op;
        match (lhs, rhs) {
            (Value::Scalar(a), Value::Scalar(b)) => {
                let value = |(a, b)| {
                    let (value, keep) = apply(op, a, b);
                    if op.is_comparison() { as_bool(keep) } else { value }
                };
                Ok(Value::Scalar(a.into_iter().zip(b).map(value).collect()))
            }
            (Value::Vector(rows), Value::Scalar(scalars)) => self.scaled((link, start), rows, &scalars, Side::Right),
            (Value::Scalar(scalars), Value::Vector(rows)) => self.scaled((link, start), rows, &scalars, Side::Left),
            (Value::Vector(lhs), Value::Vector(rhs)) if op.is_set() => {
                Ok(Value::Vector(super::binary_set::combine(link, lhs, rhs, step_range.steps())))
            }
            (Value::Vector(lhs), Value::Vector(rhs)) => self.vectors(link, start, lhs, rhs, step_range),
            _ => Err(QueryError::execution("binary expression must contain only scalar and instant vector types")),
        }
    }

    /// What is taken for histograms is settled by the caller.
    fn scaled(&mut self, operator: (&Link, usize), mut rows: Vec<Row>, scalars: &[f64], side: Side) -> Result<Value, QueryError> {
        for row in &mut rows {
            self.with_scalar(operator, row, scalars, side)?;
        }
        rows.retain(Row::is_present);
        Ok(Value::Vector(rows))
    }

    /// Puts the result of the operator, whose left side begins at `start`, in the place of each sample; answers the memory that was
    /// taken for histograms.
    pub(super) fn with_scalar(
        &mut self,
        (link, start): (&Link, usize),
        row: &mut Row,
        scalars: &[f64],
        side: Side,
    ) -> Result<u64, QueryError> {
        row.drop_name |= !(link.op.is_comparison() || link.op.is_trim()) || link.returns_bool;
        if link.op.is_trim() {
            histogram_op::trim_numbers(row, &mut self.operator_notes(link, start));
        }
        let present = row.values.iter_mut().zip(scalars).filter(|(value, _)| !is_absent(**value));
        for (value, scalar) in present {
            let (a, b) = if side == Side::Left { (*scalar, *value) } else { (*value, *scalar) };
            let (result, keep) = apply(link.op, a, b);
            *value = match () {
                () if link.returns_bool => as_bool(keep),
                () if !keep => ABSENT,
                // A comparison gives the vector's value, whichever side it stands on.
                () if link.op.is_comparison() => *value,
                () => result,
            };
        }
        if row.histograms.is_empty() { Ok(0) } else { self.histograms_with_scalar((link, start), row, scalars, side) }
    }

    fn vectors(
        &mut self,
        link: &Link,
        start: usize,
        lhs: Vec<Row>,
        rhs: Vec<Row>,
        step_range: StepRange,
    ) -> Result<Value, QueryError> {
        let matching = &link.matching;
        let fills = matching.fill_left.is_some() || matching.fill_right.is_some();
        if (lhs.is_empty() || rhs.is_empty()) && !fills {
            return Ok(Value::Vector(Vec::new()));
        }
        let swapped = matching.cardinality == Cardinality::OneToMany;
        let (many, one) = if swapped { (rhs, lhs) } else { (lhs, rhs) };
        let mut signatures = Signatures::default();
        let [mut many, mut one] = [many, one].map(|rows| signatures.number(rows, matching));
        let (groups, steps) = (signatures.count, step_range.steps());
        // Of a step where a side has nothing nothing is asked, not even whether the other's series can be told apart.
        let asked = match fills {
            true => vec![true; steps],
            false => filled_steps(&many.rows, steps).iter().zip(filled_steps(&one.rows, steps)).map(|(a, b)| *a && b).collect(),
        };
        let mut rows = self.combine_series((link, swapped), (&mut many, &mut one), (groups, steps))?;
        if !(many.rows.is_empty() && one.rows.is_empty()) {
            let groups = renumber(groups, &mut many, &mut one);
            rows.extend(self.by_steps((link, start), swapped, (many, one), (groups, &asked))?);
        }
        // Where the one side changes over time, one series of the answer comes from several pairs.
        Ok(Value::Vector(if steps > 1 { join_where_possible(rows) } else { rows }))
    }

    /// The pairs of each step.
    fn by_steps(
        &mut self,
        (link, start): (&Link, usize),
        swapped: bool,
        (many, one): (Numbered, Numbered),
        (groups, asked): (usize, &[bool]),
    ) -> Result<Vec<Row>, QueryError> {
        let steps = asked.len();
        let mut joiner = Joiner {
            link,
            swapped,
            steps,
            found: vec![FILLED; groups],
            matched: vec![false; groups],
            recent: vec![(FILLED, 0); many.rows.len()],
            many: many.rows,
            one: one.rows,
            rows: Vec::new(),
            at: HashMap::new(),
            by_labels: HashMap::new(),
            label_of: Vec::new(),
            last_step: Vec::new(),
            histogram_bytes: 0,
        };
        let mut accounted = 0;
        for step in (0..steps).filter(|step| asked[*step]) {
            joiner.step(step, &many.ids, &one.ids, &mut self.operator_notes(link, start))?;
            self.tally.take(std::mem::take(&mut joiner.histogram_bytes))?;
            self.account((joiner.rows.len() - accounted).saturating_mul(steps))?;
            accounted = joiner.rows.len();
            if step % 64 == 0 {
                self.engine.budget.check()?;
            }
        }
        Ok(joiner.rows.into_iter().filter(Row::is_present).collect())
    }
}

/// At which steps any of these has a sample.
fn filled_steps(rows: &[Row], steps: usize) -> Vec<bool> {
    let (mut filled, mut empty) = (vec![false; steps], steps);
    for row in rows {
        if empty == 0 {
            break;
        }
        for (step, filled) in filled.iter_mut().enumerate().filter(|(_, filled)| !**filled) {
            *filled = row.has(step);
            empty -= usize::from(*filled);
        }
    }
    filled
}

fn join_where_possible(rows: Vec<Row>) -> Vec<Row> {
    let distinct: HashSet<&Labels> = rows.iter().map(|row| &row.labels).collect();
    if distinct.len() == rows.len() {
        return rows;
    }
    finish::join(rows.clone()).unwrap_or(rows)
}

/// Where the scalar stands.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Side {
    Left,
    Right,
}

/// The labels that decide which series belong together.
fn signature(labels: &Labels, matching: &Matching) -> Labels {
    labels.without(|name| !decides(name, matching))
}

/// What stands in for an absent sample of a side.
const FILLED: usize = usize::MAX;

struct Joiner<'a> {
    link: &'a Link,
    /// `group_right`: "many" is the right side.
    swapped: bool,
    steps: usize,
    /// By match group, of the step that it is at: which of the one side is there, and whether one of the many side has met it.
    found: Vec<usize>,
    matched: Vec<bool>,
    many: Vec<Row>,
    one: Vec<Row>,
    rows: Vec<Row>,
    /// Which result row a pair (many, one) has.
    at: HashMap<(usize, usize, usize), usize>,
    /// The same of each of the many side, of its pair before: of which of the one side, and the row.
    recent: Vec<(usize, usize)>,
    /// Numbers for the labels of a result row within its match group.
    by_labels: HashMap<(usize, Labels), usize>,
    /// The same, of each result row.
    label_of: Vec<usize>,
    /// The step at which those labels last had a pair, plus one.
    last_step: Vec<usize>,
    /// What histograms of the last step take.
    histogram_bytes: u64,
}

impl Joiner<'_> {
    fn step(
        &mut self,
        step: usize,
        many_ids: &[usize],
        one_ids: &[usize],
        notes: &mut OperatorNotes<'_>,
    ) -> Result<(), QueryError> {
        self.found.fill(FILLED);
        self.matched.fill(false);
        for (i, row) in self.one.iter().enumerate().filter(|(_, row)| row.has(step)) {
            let id = one_ids[i];
            if self.found[id] != FILLED {
                return Err(self.duplicate(self.found[id], i));
            }
            self.found[id] = i;
            debug_assert!(row.values.len() == self.steps);
        }
        let (fill_many, fill_one) = self.fills();
        for (i, id) in many_ids.iter().enumerate() {
            if !self.many[i].has(step) {
                continue;
            }
            let value = self.many[i].values[step];
            let found = self.found[*id];
            let other = match found {
                FILLED => fill_one,
                own => Some(self.one[own].values[step]),
            };
            if let Some(other) = other {
                self.pair((i, found, *id), (value, other), step, notes)?;
            }
        }
        let Some(fill) = fill_many else { return Ok(()) };
        for (i, id) in one_ids.iter().enumerate() {
            if self.one[i].has(step) && !self.matched[*id] {
                let value = self.one[i].values[step];
                self.pair((FILLED, i, *id), (fill, value), step, notes)?;
            }
        }
        Ok(())
    }

    /// Fill values of the many and of the one side. With `group_right`, Prometheus still fills the many side by
    /// `fill_left`; so do we.
    fn fills(&self) -> (Option<f64>, Option<f64>) {
        (self.link.matching.fill_left, self.link.matching.fill_right)
    }

    fn pair(
        &mut self,
        key: (usize, usize, usize),
        (many, one): (f64, f64),
        step: usize,
        notes: &mut OperatorNotes<'_>,
    ) -> Result<(), QueryError> {
        let (op, id) = (self.link.op, key.2);
        let (a, b) = if self.swapped { (one, many) } else { (many, one) };
        let (mut value, mut keep) = apply(op, a, b);
        let histogram = |rows: &[Row], i: usize| rows.get(i).and_then(|row| row.histogram(step)).cloned();
        let (own, other) = (histogram(&self.many, key.0), histogram(&self.one, key.1));
        let mut result = None;
        if op.is_trim() || own.is_some() || other.is_some() {
            let (own, other) = (Operand::of(own.as_ref(), many), Operand::of(other.as_ref(), one));
            let (a, b) = if self.swapped { (other, own) } else { (own, other) };
            let Some(found) = histogram_op::apply(a, b, notes) else { return Ok(()) };
            (value, keep, result) = (ABSENT, found.1, Some(found.0));
        }
        if self.link.returns_bool {
            (value, result) = (as_bool(keep), None);
        }
        let row = self.row(key);
        if self.link.matching.cardinality == Cardinality::OneToOne {
            if self.matched[id] {
                let message = "multiple matches for labels: many-to-one matching must be explicit (group_left/group_right)";
                return Err(QueryError::execution(message));
            }
        } else {
            if std::mem::replace(&mut self.last_step[self.label_of[row]], step + 1) == step + 1 {
                let message = "multiple matches for labels: grouping labels must ensure unique matches";
                return Err(QueryError::execution(message));
            }
        }
        self.matched[id] = true;
        if keep || self.link.returns_bool {
            self.rows[row].values[step] = value;
            if let Some(result) = result {
                self.histogram_bytes += result.memory() as u64;
                self.rows[row].histograms.push((step as u32, result));
            }
        }
        Ok(())
    }

    /// The result row of a pair.
    fn row(&mut self, key: (usize, usize, usize)) -> usize {
        let (many, one, _) = key;
        // One that is filled in has other labels than its neighbours here.
        if let Some((recent, row)) = self.recent.get(many)
            && *recent == one
            && one != FILLED
        {
            return *row;
        }
        let row = self.at.get(&key).copied().unwrap_or_else(|| self.new_row(key));
        if let Some(recent) = self.recent.get_mut(many) {
            *recent = (one, row);
        }
        row
    }

    fn new_row(&mut self, key: (usize, usize, usize)) -> usize {
        let (many, one, id) = key;
        let known = self.many.get(many).or(self.one.get(one));
        let group = || known.map_or(Labels::EMPTY, |row| signature(&row.labels, &self.link.matching));
        let side = |rows: &[Row], i: usize| rows.get(i).map_or_else(group, |row| row.labels.clone());
        let labels = result_labels(self.link, &side(&self.many, many), &side(&self.one, one));
        let drop_name = self.link.returns_bool || self.many.get(many).is_some_and(|row| row.drop_name);
        let number = *self.by_labels.entry((id, labels.clone())).or_insert(self.last_step.len());
        if number == self.last_step.len() {
            self.last_step.push(0);
        }
        self.label_of.push(number);
        self.rows.push(Row { labels, drop_name, values: vec![ABSENT; self.steps], ..Row::default() });
        self.at.insert(key, self.rows.len() - 1);
        self.rows.len() - 1
    }

    fn duplicate(&self, a: usize, b: usize) -> QueryError {
        let shown = |labels: &Labels| labels.to_string();
        let mut pair = [shown(&self.one[a].labels), shown(&self.one[b].labels)];
        pair.sort();
        let side = if self.swapped { "left" } else { "right" };
        let group = signature(&self.one[a].labels, &self.link.matching);
        QueryError::execution(format!(
            "found duplicate series for the match group {group} on the {side} hand-side of the operation: [{}, {}];many-to-many \
             matching not allowed: matching labels must be unique on one side",
            pair[0], pair[1]
        ))
    }
}

/// The labels of what a pair gives.
pub(super) fn result_labels(link: &Link, many: &Labels, one: &Labels) -> Labels {
    let matching = &link.matching;
    let named = |name: &str| matching.labels.iter().any(|own| own == name);
    let keeps_metadata = link.op.is_comparison() || link.op.is_trim();
    let goes = |name: &str| {
        let is_one = matching.cardinality == Cardinality::OneToOne;
        !keeps_metadata && finish::is_metadata(name) || is_one && named(name) != matching.on
    };
    if matching.include.is_empty() {
        return many.without(goes);
    }
    // Of a name that is there twice the last stays, and an empty value takes it away.
    let included = matching.include.iter().map(|name| (name.as_str(), one.get(name)));
    Labels::from_pairs(many.iter().filter(|(name, _)| !goes(name)).chain(included))
}
