//! What the conditions of a pipeline ask of the lines as they are stored. Only of conditions before the first stage that makes
//! labels or another line: behind it, a label's value need not stand in the line as it is.

use weir_model::label::{MatchOp, Matcher};
use weir_model::log::{SEVERITY_CRITICAL, detected_level};
use weir_model::select::Mention;

use super::labels::LEVEL;
use crate::ast::{LINE, LabelFilter, Stage, StageKind};

/// One of each level.
const SEVERITIES: [u8; 8] = [0, 1, 5, 9, 13, 17, 21, SEVERITY_CRITICAL];

/// `None` when nothing follows for certain.
pub(super) fn of(stages: &[Stage]) -> Option<Mention> {
    let stored = stages.iter().take_while(|stage| matches!(stage.kind, StageKind::Line(_) | StageKind::Filter(_)));
    let conditions = stored.filter_map(|stage| match &stage.kind {
        StageKind::Filter(filter) => of_filter(filter),
        _ => None,
    });
    Some(conditions.collect::<Vec<_>>()).filter(|all| !all.is_empty()).map(Mention::All)
}

fn of_filter(filter: &LabelFilter) -> Option<Mention> {
    match filter {
        LabelFilter::Text(matcher) => of_matcher(matcher),
        LabelFilter::Number { .. } | LabelFilter::Ip { .. } => None,
        LabelFilter::Or(any) => any.iter().map(of_filter).collect::<Option<Vec<_>>>().map(Mention::Any),
        LabelFilter::And(all) => {
            Some(all.iter().filter_map(of_filter).collect::<Vec<_>>()).filter(|all| !all.is_empty()).map(Mention::All)
        }
    }
}

fn of_matcher(matcher: &Matcher) -> Option<Mention> {
    match (matcher.name.as_str(), matcher.op) {
        // Bytes that are no UTF-8 are matched as `\xff`, which they are not in the line.
        (LINE, _) if matcher.value.contains(r"\x") => None,
        (LINE, MatchOp::Regex) => Some(Mention::Pattern(matcher.value.clone())),
        (LEVEL, _) => {
            let of_level = SEVERITIES.into_iter().filter(|severity| matcher.matches(detected_level(*severity)));
            Some(Mention::Any(of_level.map(Mention::Severity).collect()))
        }
        // What weir itself says of a line stands nowhere in it.
        (name, _) if name.starts_with("__") => None,
        (name, MatchOp::Equal) if !matcher.value.is_empty() => Some(Mention::Value(name.into(), matcher.value.clone())),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Expr, parse_open};

    #[test]
    fn conditions_on_stored_labels_and_lines() {
        let check = |pipeline: &str, expected: &str| {
            let Ok(Expr::Log(log)) = parse_open(&format!("{{}} {pipeline}")) else { panic!("{pipeline}") };
            assert_eq!(of(&log.stages).map_or(String::new(), |mention| format!("{mention:?}")), expected, "{pipeline}");
        };
        check("|= \"x\"", "");
        check("| a=\"b\"", r#"All([Value("a", "b")])"#);
        check("| a=\"b\" or __line__=~\".*c.*\"", r#"All([Any([Value("a", "b"), Pattern(".*c.*")])])"#);
        check("| a=\"b\" or c!=\"d\"", "");
        check("| a=\"b\" and c!=\"d\" and e > 5", r#"All([All([Value("a", "b")])])"#);
        check("| a=\"\" | b=~\"c\" | __error__=\"d\"", "");
        check("| detected_level=\"error\"", "All([Any([Severity(17)])])");
        check("| detected_level=~\"critical|fatal\"", "All([Any([Severity(21), Severity(22)])])");
        check("| detected_level=\"other\" or a=\"b\"", r#"All([Any([Any([]), Value("a", "b")])])"#);
        check("| json | a=\"b\"", "");
        check("| a=\"b\" | json | c=\"d\"", r#"All([Value("a", "b")])"#);
        check("| line_format \"x\" | a=\"b\"", "");
    }
}
