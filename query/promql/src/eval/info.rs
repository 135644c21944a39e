//! `info(v, {selector})`: the labels of info series of the same `instance` and `job` added to those of a vector, step by step.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use weir_model::label::{Labels, MatchOp, Matcher, NAME};

use super::{ABSENT, Eval, Row, StepRange, Value, Want};
use crate::ast::{At, Duration, Expr, Kind, Modifiers, Selector};
use crate::error::QueryError;
use crate::functions::Call;

/// What a series and its info series have in common.
const IDENTIFYING: [&str; 2] = ["instance", "job"];
/// The info series that are meant when no other is named.
const TARGET_INFO: &str = "target_info";
/// So many values of an identifying label are asked of the store; with more, all info series are read.
const VALUES_MAX: usize = 64;

/// What is asked of info series.
struct Asked {
    names: Vec<Matcher>,
    /// Of other labels; where there are any, only these labels are added.
    data: Vec<Matcher>,
}

/// Info series of one `instance` and `job`, by name.
type Group = BTreeMap<String, Vec<usize>>;

impl Eval<'_> {
    pub(crate) fn info(&mut self, call: &Call<'_>, step_range: StepRange) -> Result<Value, QueryError> {
        let base = self.argument(call, 0, step_range)?.rows()?;
        let asked = self.asked(call.arguments.get(1))?;
        let is_info = |row: &Row| asked.names.iter().all(|matcher| matcher.matches(row.labels.get(NAME)));
        let infos = self.info_rows(&base, &is_info, &asked, &call.arguments[0], step_range)?;
        let mut groups: HashMap<[&str; 2], Group> = HashMap::new();
        for (i, info) in infos.iter().enumerate() {
            let group = groups.entry(IDENTIFYING.map(|name| info.labels.get(name))).or_default();
            group.entry(info.labels.get(NAME).to_owned()).or_default().push(i);
        }
        let mut made = Enriched { rows: Vec::new(), at: HashMap::new(), steps: step_range.steps() };
        let none = Group::new();
        for row in &base {
            let group = if is_info(row) { None } else { Some(groups.get(&IDENTIFYING.map(|name| row.labels.get(name)))) };
            let group = group.map(|group| group.unwrap_or(&none));
            let before = made.rows.len();
            made.add(row, group, &infos, &asked.data)?;
            made.rows[before..].iter().try_for_each(|row| self.tally.take(row.bytes()))?;
            self.engine.budget.check()?;
        }
        Ok(Value::Vector(made.rows))
    }

    fn asked(&mut self, selector: Option<&Expr>) -> Result<Asked, QueryError> {
        let matchers = match selector.map(|expr| &expr.bare().kind) {
            Some(Kind::Selector(selector)) => selector.matchers.clone(),
            _ => Vec::new(),
        };
        let (mut names, data): (Vec<_>, Vec<_>) = matchers.into_iter().partition(|matcher| matcher.name == NAME);
        if names.is_empty() {
            names.push(Matcher::equal(NAME, TARGET_INFO.to_owned()));
        } else if !names.iter().any(|matcher| matches!(matcher.op, MatchOp::Equal | MatchOp::Regex)) {
            names.push(self.pattern(NAME, ".+_info".to_owned())?);
        }
        Ok(Asked { names, data })
    }

    fn pattern(&mut self, name: &str, pattern: String) -> Result<Matcher, QueryError> {
        Matcher::within(&mut self.patterns, name.to_owned(), MatchOp::Regex, pattern)
            .map_err(|error| QueryError::execution(error.to_string()))
    }

    /// The info series that may go with some row; a row's values are the times of its samples.
    fn info_rows(
        &mut self,
        base: &[Row],
        is_info: &dyn Fn(&Row) -> bool,
        asked: &Asked,
        argument: &Expr,
        step_range: StepRange,
    ) -> Result<Vec<Row>, QueryError> {
        let mut matchers: Vec<Matcher> = asked.names.iter().chain(&asked.data).cloned().collect();
        let mut any = false;
        for name in IDENTIFYING {
            let rows = base.iter().filter(|row| !is_info(row));
            let values: BTreeSet<&str> = rows.map(|row| row.labels.get(name)).filter(|value| !value.is_empty()).collect();
            any |= !values.is_empty();
            // Rows without the label find no partner with one, so that no row that matters is lost.
            match values.len() {
                0 => {}
                1 => matchers.extend(values.into_iter().map(|value| Matcher::equal(name, value.to_owned()))),
                2..=VALUES_MAX => {
                    let escaped: Vec<String> = values.into_iter().map(regex::escape).collect();
                    matchers.push(self.pattern(name, escaped.join("|"))?);
                }
                _ => {}
            }
        }
        if !any {
            return Ok(Vec::new());
        }
        let modifiers = self.modifiers_within(argument)?.unwrap_or_default();
        let selector = Selector { name: String::new(), matchers, modifiers, smoothed: false };
        let mut rows = Vec::new();
        self.each_selected((&selector, argument.span), step_range, Want::NumberTimes, &mut |eval, row| {
            if !row.histograms.is_empty() {
                let message = format!("this should be an info metric, with float samples: {}", row.labels);
                return Err(QueryError::execution(message));
            }
            eval.tally.take(row.bytes())?;
            rows.push(std::mem::take(row));
            Ok(())
        })?;
        Ok(rows)
    }

    /// When the first selector of an expression looks, with the subqueries around it.
    fn modifiers_within(&self, expr: &Expr) -> Result<Option<Modifiers>, QueryError> {
        let own = match &expr.kind {
            Kind::Selector(selector) => return self.resolved(&selector.modifiers, 0).map(Some),
            Kind::Range(range) => return self.resolved(&range.selector.modifiers, 0).map(Some),
            Kind::Subquery(subquery) => Some(&subquery.modifiers),
            _ => None,
        };
        for child in expr.children() {
            let Some(inner) = self.modifiers_within(child)? else { continue };
            return match own {
                Some(own) if inner.at.is_none() => {
                    let inner_ms = inner.offset.as_ref().map_or(Ok(0), |offset| self.duration(offset))?;
                    self.resolved(own, inner_ms).map(Some)
                }
                _ => Ok(Some(inner)),
            };
        }
        Ok(None)
    }

    fn resolved(&self, modifiers: &Modifiers, more_ms: i64) -> Result<Modifiers, QueryError> {
        let offset_ms = modifiers.offset.as_ref().map_or(Ok(0), |offset| self.duration(offset))?;
        let at: Option<At> = modifiers.at;
        Ok(Modifiers { offset: Some(Duration::Millis(offset_ms.saturating_add(more_ms))), at })
    }
}

/// The result under way.
struct Enriched {
    rows: Vec<Row>,
    at: HashMap<Labels, usize>,
    steps: usize,
}

impl Enriched {
    /// Adds a row: to one row of the result for each set of info series that it meets over time. Without a group, it stays as it is.
    fn add(&mut self, row: &Row, group: Option<&Group>, infos: &[Row], data: &[Matcher]) -> Result<(), QueryError> {
        let mut known: HashMap<Vec<usize>, Option<usize>> = HashMap::new();
        for step in (0..self.steps).filter(|step| row.has(*step)) {
            let chosen = match group {
                Some(group) => group.values().filter_map(|own| newest(own, infos, step).transpose()).collect::<Result<_, _>>()?,
                None => Vec::new(),
            };
            let target = match known.get(&chosen) {
                Some(target) => *target,
                None => {
                    let labels = match group {
                        Some(_) => enriched(row, &chosen, infos, data)?,
                        None => Some(row.labels.clone()),
                    };
                    let target = labels.map(|labels| self.target(labels, row.drop_name));
                    known.insert(chosen, target);
                    target
                }
            };
            let Some(target) = target.map(|target| &mut self.rows[target]) else { continue };
            if target.has(step) {
                return Err(QueryError::execution(super::finish::DUPLICATE));
            }
            target.values[step] = row.values[step];
            if let Some(histogram) = row.histogram(step) {
                target.histograms.push((step as u32, histogram.clone()));
                target.histograms.sort_by_key(|(step, _)| *step);
            }
        }
        Ok(())
    }

    fn target(&mut self, labels: Labels, drop_name: bool) -> usize {
        *self.at.entry(labels).or_insert_with_key(|labels| {
            let values = vec![ABSENT; self.steps];
            self.rows.push(Row { labels: labels.clone(), drop_name, values, ..Row::default() });
            self.rows.len() - 1
        })
    }
}

/// Which of the info series of one name has the newest sample.
fn newest(own: &[usize], infos: &[Row], step: usize) -> Result<Option<usize>, QueryError> {
    let mut best: Option<usize> = None;
    for i in own.iter().copied().filter(|i| infos[*i].has(step)) {
        let at = |i: usize| infos[i].values[step];
        match best {
            Some(known) if at(known) > at(i) => {}
            Some(known) if at(known) == at(i) => {
                let millis = at(i) * 1000.0;
                let (known, new) = (&infos[known].labels, &infos[i].labels);
                let message =
                    format!("found duplicate series for info metric: existing {known} @ {millis:.0}, new {new} @ {millis:.0}");
                return Err(QueryError::execution(message));
            }
            _ => best = Some(i),
        }
    }
    Ok(best)
}

/// The labels of a row with those of its info series; `None` where a label is asked for that no info series has.
fn enriched(row: &Row, chosen: &[usize], infos: &[Row], data: &[Matcher]) -> Result<Option<Labels>, QueryError> {
    if chosen.is_empty() && !data.iter().all(|matcher| matcher.matches("")) {
        return Ok(None);
    }
    let mut added: BTreeMap<&str, &str> = BTreeMap::new();
    for info in chosen.iter().map(|i| &infos[*i].labels) {
        for (name, value) in info.iter().filter(|(name, _)| *name != NAME) {
            if !data.is_empty() && !data.iter().any(|matcher| matcher.name == name) {
                continue;
            }
            if added.get(name).is_some_and(|own| *own != value) {
                return Err(QueryError::execution(format!("conflicting label: {name}")));
            }
            if row.labels.get(name).is_empty() {
                added.insert(name, value);
            }
        }
    }
    Ok(Some(added.into_iter().fold(row.labels.clone(), |labels, (name, value)| labels.with(name, value))))
}
