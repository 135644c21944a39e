//! `and`, `or`, `unless`: which series of one side have a partner on the other, step by step.

use super::binary_series::Signatures;
use super::{Row, is_absent};
use crate::ast::{BinaryOp, Link};

pub(super) fn combine(link: &Link, lhs: Vec<Row>, rhs: Vec<Row>, steps: usize) -> Vec<Row> {
    let mut signatures = Signatures::default();
    let mut ids = |rows: &[Row]| -> Vec<usize> { rows.iter().map(|row| signatures.id(&row.labels, &link.matching)).collect() };
    let (lhs_ids, rhs_ids) = (ids(&lhs), ids(&rhs));
    let count = signatures.count;
    let mut rows = match link.op {
        BinaryOp::And => mask(lhs, &lhs_ids, &presence(&rhs, &rhs_ids, count, steps), true),
        BinaryOp::Unless => mask(lhs, &lhs_ids, &presence(&rhs, &rhs_ids, count, steps), false),
        _ => {
            let present = presence(&lhs, &lhs_ids, count, steps);
            let mut rows = lhs;
            rows.extend(mask(rhs, &rhs_ids, &present, false));
            rows
        }
    };
    rows.retain(Row::is_present);
    rows
}

/// Per signature and step: whether some row has a sample.
fn presence(rows: &[Row], ids: &[usize], count: usize, steps: usize) -> Vec<Vec<bool>> {
    let mut present = vec![vec![false; steps]; count];
    for (row, id) in rows.iter().zip(ids) {
        present[*id].iter_mut().zip(&row.values).for_each(|(present, value)| *present |= !is_absent(*value));
        row.histograms.iter().for_each(|(step, _)| present[*id][*step as usize] = true);
    }
    present
}

/// Rows with the samples gone where their signature's presence is not `keep`.
fn mask(mut rows: Vec<Row>, ids: &[usize], present: &[Vec<bool>], keep: bool) -> Vec<Row> {
    for (row, id) in rows.iter_mut().zip(ids) {
        row.keep(|step| present[*id][step] == keep);
    }
    rows
}
