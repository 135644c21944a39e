//! Pairs of series that are a pair at every step: found once, and combined as a whole. What may be another pair at another step,
//! and what has histograms, is left to `binary`, which goes step by step.

use std::collections::HashSet;

use weir_model::label::{Labels, NAME};
use weir_model::select::label_bytes;

use super::binary::result_labels;
use super::group_keys::GroupKeys;
use super::scalar_op::{apply, as_bool};
use super::{ABSENT, Eval, Row, is_absent};
use crate::ast::{Cardinality, Link, Matching};
use crate::error::QueryError;

/// The budget is checked every so many series.
const CHECK_EVERY: usize = 256;

/// Whether a label is one of those that decide which series belong together.
pub(super) fn decides(name: &str, matching: &Matching) -> bool {
    let named = matching.labels.iter().any(|own| own == name);
    if matching.on { named } else { !named && name != NAME }
}

/// Numbers for what the deciding labels are: one a match group.
#[derive(Default)]
pub(super) struct Signatures {
    keys: GroupKeys,
    /// How many there are.
    pub count: usize,
}

impl Signatures {
    pub fn id(&mut self, labels: &Labels, matching: &Matching) -> usize {
        let id = self.keys.number(labels.iter().filter(|(name, _)| decides(name, matching)));
        self.count = self.count.max(id + 1);
        id
    }

    pub fn number(&mut self, rows: Vec<Row>, matching: &Matching) -> Numbered {
        let ids = rows.iter().map(|row| self.id(&row.labels, matching)).collect();
        Numbered { rows, ids }
    }
}

/// The series of a side, and the match group of each.
#[derive(Default)]
pub(super) struct Numbered {
    pub rows: Vec<Row>,
    pub ids: Vec<usize>,
}

impl Numbered {
    fn retain(&mut self, keep: impl Fn(usize) -> bool) {
        let mut ids = self.ids.iter();
        self.rows.retain(|_| ids.next().is_some_and(|id| keep(*id)));
        self.ids.retain(|id| keep(*id));
    }
}

/// Numbers from zero for the match groups that are left of so many: each step pays for these alone. How many there are.
pub(super) fn renumber(groups: usize, many: &mut Numbered, one: &mut Numbered) -> usize {
    let (mut numbers, mut count) = (vec![None; groups], 0);
    for id in many.ids.iter_mut().chain(&mut one.ids) {
        *id = *numbers[*id].get_or_insert_with(|| {
            count += 1;
            count - 1
        });
    }
    count
}

/// What series of a match group meet on the one side.
#[derive(Clone, Copy, PartialEq)]
enum Partner {
    None,
    /// This one at every step.
    Always(usize),
    /// That has to be found out at each.
    ByStep,
}

impl Eval<'_> {
    /// Combines the series of groups with one series on the one side, and leaves those of other groups on both sides. Of one step
    /// all are left or none, since an instant's answer is in the order of the many side.
    pub(super) fn combine_series(
        &mut self,
        (link, swapped): (&Link, bool),
        (many, one): (&mut Numbered, &mut Numbered),
        (groups, steps): (usize, usize),
    ) -> Result<Vec<Row>, QueryError> {
        let mut partners = partners(link, many, one, groups);
        let labels = self.labels_of_pairs(link, &mut partners, many, one)?;
        let stays = |id: usize| partners[id] == Partner::ByStep;
        if steps == 1 && many.ids.iter().any(|id| stays(*id)) {
            return Ok(Vec::new());
        }
        let (mut rows, mut left) = (Vec::new(), Numbered::default());
        let all = std::mem::take(many);
        for (at, ((mut row, id), labels)) in all.rows.into_iter().zip(all.ids).zip(labels).enumerate() {
            if at % CHECK_EVERY == 0 {
                self.engine.budget.check()?;
            }
            match partners[id] {
                Partner::None => {}
                Partner::Always(partner) => {
                    combine((link, swapped), &mut row, &one.rows[partner].values);
                    row.labels = labels;
                    row.drop_name |= link.returns_bool;
                    rows.extend(Some(row).filter(Row::is_present));
                }
                Partner::ByStep => {
                    left.rows.push(row);
                    left.ids.push(id);
                }
            }
        }
        *many = left;
        one.retain(stays);
        Ok(rows)
    }

    /// The labels of each series of the many side that has a partner, combined with it. Groups of which several would have the same
    /// are looked at by step: they may be there at different ones.
    fn labels_of_pairs(
        &mut self,
        link: &Link,
        partners: &mut [Partner],
        many: &Numbered,
        one: &Numbered,
    ) -> Result<Vec<Labels>, QueryError> {
        let (mut labels, mut seen) = (Vec::with_capacity(many.rows.len()), HashSet::new());
        for (at, (row, id)) in many.rows.iter().zip(&many.ids).enumerate() {
            if at % CHECK_EVERY == 0 {
                self.engine.budget.check()?;
            }
            let Partner::Always(partner) = partners[*id] else {
                labels.push(Labels::EMPTY);
                continue;
            };
            let own = result_labels(link, &row.labels, &one.rows[partner].labels);
            self.tally.take(label_bytes(&own))?;
            if link.matching.cardinality != Cardinality::OneToOne && !seen.insert((*id, own.clone())) {
                partners[*id] = Partner::ByStep;
            }
            labels.push(own);
        }
        Ok(labels)
    }
}

/// By group.
fn partners(link: &Link, many: &Numbered, one: &Numbered, groups: usize) -> Vec<Partner> {
    let matching = &link.matching;
    if link.op.is_trim() || matching.fill_left.is_some() || matching.fill_right.is_some() {
        return vec![Partner::ByStep; groups];
    }
    let mut partners = vec![Partner::None; groups];
    for (at, (row, id)) in one.rows.iter().zip(&one.ids).enumerate() {
        let is_only = partners[*id] == Partner::None && row.histograms.is_empty();
        partners[*id] = if is_only { Partner::Always(at) } else { Partner::ByStep };
    }
    let mut is_met = vec![false; groups];
    for (row, id) in many.rows.iter().zip(&many.ids) {
        let is_second = std::mem::replace(&mut is_met[*id], true);
        let is_by_step = !row.histograms.is_empty() || is_second && matching.cardinality == Cardinality::OneToOne;
        if is_by_step && partners[*id] != Partner::None {
            partners[*id] = Partner::ByStep;
        }
    }
    partners
}

/// Puts the result in the place of each value of the many side.
fn combine((link, swapped): (&Link, bool), many: &mut Row, one: &[f64]) {
    for (value, other) in many.values.iter_mut().zip(one).filter(|(value, _)| !is_absent(**value)) {
        let (a, b) = if swapped { (*other, *value) } else { (*value, *other) };
        *value = match apply(link.op, a, b) {
            _ if is_absent(*other) => ABSENT,
            (_, keep) if link.returns_bool => as_bool(keep),
            (result, true) => result,
            _ => ABSENT,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_that_are_left_are_numbered_from_zero() {
        let of = |ids: &[usize]| Numbered { rows: Vec::new(), ids: ids.to_vec() };
        let (mut many, mut one) = (of(&[9001, 7, 9001]), of(&[7, 4242]));
        assert_eq!(renumber(10_000, &mut many, &mut one), 3);
        assert_eq!((many.ids, one.ids), (vec![0, 1, 0], vec![1, 2]));
    }
}
