//! Which labels a pipeline reads, so that those that nobody asks for are not made.

use std::collections::BTreeSet;

use super::{Format, Pipeline, Step};
use crate::ast::{LINE, LabelChoice, LabelFilter};

impl Pipeline {
    /// Names of the labels that its steps read; `None` when it may be any.
    pub fn reads(&self) -> Option<BTreeSet<String>> {
        let mut names = BTreeSet::new();
        for step in &self.steps {
            match step {
                Step::Filter(filter) => of_filter(filter, &mut names),
                Step::Drop(choices) | Step::Keep(choices) => {
                    names.extend(choices.iter().filter_map(|choice| match choice {
                        LabelChoice::Match(matcher) => Some(matcher.name.clone()),
                        LabelChoice::Name(_) => None,
                    }));
                }
                Step::LabelFormat(formats) => {
                    for (_, format) in formats {
                        let Format::Rename(from) = format else { return None };
                        names.insert(from.clone());
                    }
                }
                Step::Line(_)
                | Step::Json(_)
                | Step::Logfmt { .. }
                | Step::JsonOrLogfmt
                | Step::Regexp(_)
                | Step::Pattern(_)
                | Step::Decolorize => {}
                _ => return None,
            }
        }
        Some(names)
    }

    /// Whether it passes either all lines with the same labels or none of them, unchanged.
    pub fn is_of_labels(&self) -> bool {
        self.steps.iter().all(|step| matches!(step, Step::Filter(filter) if is_of_texts(filter)))
    }
}

/// Names of the labels that a condition reads.
pub(crate) fn of_filter(filter: &LabelFilter, names: &mut BTreeSet<String>) {
    match filter {
        LabelFilter::Or(some) | LabelFilter::And(some) => some.iter().for_each(|one| of_filter(one, names)),
        LabelFilter::Text(matcher) => _ = names.insert(matcher.name.clone()),
        LabelFilter::Number { name, .. } | LabelFilter::Ip { name, .. } => _ = names.insert(name.clone()),
    }
}

/// Whether it compares texts of labels: a number that is none marks the line.
fn is_of_texts(filter: &LabelFilter) -> bool {
    match filter {
        LabelFilter::Or(some) | LabelFilter::And(some) => some.iter().all(is_of_texts),
        LabelFilter::Text(matcher) => matcher.name != LINE,
        LabelFilter::Number { .. } | LabelFilter::Ip { .. } => false,
    }
}

#[cfg(test)]
mod tests {
    use crate::pipeline::{Lines, Pipeline};
    use crate::{Expr, parse};

    #[test]
    fn what_a_pipeline_reads() {
        let check = |stages: &str, expected: Option<&[&str]>, is_of_labels: bool| {
            let query = format!("{{a=\"b\"}} {stages}");
            let Ok(Expr::Log(log)) = parse(&query) else { panic!("{query}") };
            let pipeline = Pipeline::compile(&query, &log, Lines::Needed).unwrap();
            let reads = pipeline.reads().map(|names| names.into_iter().collect::<Vec<_>>());
            assert_eq!((reads.as_deref(), pipeline.is_of_labels()), (expected.map(own).as_deref(), is_of_labels), "{stages}");
        };
        fn own(names: &[&str]) -> Vec<String> {
            names.iter().map(|name| (*name).to_owned()).collect()
        }
        check("", Some(&[]), true);
        check("|= \"x\" |~ \"y\"", Some(&[]), true);
        check("| a=\"b\" or c=~\"d\" and e!=\"f\"", Some(&["a", "c", "e"]), true);
        check("| a > 5", Some(&["a"]), false);
        check("| __line__=\"x\"", Some(&["__line__"]), false);
        check("| json | logfmt x | a=\"b\" | drop c, d=\"e\" | keep f, g=\"h\"", Some(&["a", "d", "g"]), false);
        check("| label_format a=b", Some(&["b"]), false);
        check("| label_format a=\"{{.b}}\"", None, false);
        check("| line_format \"{{.b}}\" | a=\"b\"", None, false);
        check("| pattern \"<x> <_>\" |= \"y\" | decolorize", Some(&[]), false);
    }
}
