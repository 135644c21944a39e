//! What is left of a selector for somebody who sees a part only: for explanations. Queries themselves are restricted by readers.

use weir_model::label::{MatchOp, Matcher};
use weir_model::scope::Visible;

/// The selector with what is visible, one list for each alternative; none where nothing that it selects is visible, as far as
/// equalities (`a="b"`) tell. Matchers that an equality of the selector satisfies are left out.
pub fn effective(visible: &Visible, selector: &[Matcher]) -> Vec<Vec<Matcher>> {
    let Some(lists) = visible.lists() else { return vec![selector.to_vec()] };
    lists.iter().filter_map(|list| narrow(list, selector)).collect()
}

fn narrow(list: &[Matcher], selector: &[Matcher]) -> Option<Vec<Matcher>> {
    let mut narrowed = selector.to_vec();
    for matcher in list {
        let is_equal = |own: &&Matcher| own.name == matcher.name && own.op == MatchOp::Equal;
        let mut values = selector.iter().filter(is_equal).map(|own| &own.value).peekable();
        if values.peek().is_some() {
            if !values.all(|value| matcher.matches(value)) {
                return None;
            }
        } else if !selector.contains(matcher) {
            narrowed.push(matcher.clone());
        }
    }
    Some(narrowed)
}

#[cfg(test)]
mod tests {
    use weir_model::pattern::PatternBudget;
    use weir_model::selector::parse;

    use super::super::policies::selector_text;
    use super::*;

    #[test]
    fn a_selector_is_narrowed_to_what_is_visible() {
        let read = |text: &str| parse(text, &mut PatternBudget::default()).unwrap();
        let check = |visible: &[&str], selector: &str, expected: &[&str]| {
            let lists = visible.iter().map(|text| read(text)).collect();
            let visible = if visible.is_empty() { Visible::default() } else { Visible::any_of(lists) };
            let texts: Vec<String> = effective(&visible, &read(selector)).iter().map(|list| selector_text(list)).collect();
            assert_eq!(texts, expected, "{selector}");
        };
        check(&[], r#"{a="1"}"#, &[r#"{a="1"}"#]);
        check(&[r#"{ns="web"}"#], r#"{ns="web"}"#, &[r#"{ns="web"}"#]);
        check(&[r#"{ns="web"}"#], r#"{ns="db"}"#, &[]);
        check(&[r#"{ns="web"}"#], "{}", &[r#"{ns="web"}"#]);
        check(&[r#"{ns=~"web|db"}"#, r#"{team="a"}"#], r#"{ns="db"}"#, &[r#"{ns="db"}"#, r#"{ns="db", team="a"}"#]);
        check(&[r#"{ns!="db"}"#, r#"{ns="web"}"#], r#"{ns="db"}"#, &[]);
        check(&[r#"{ns=~"w.*"}"#], r#"{ns=~"w.*"}"#, &[r#"{ns=~"w.*"}"#]);
        check(&[r#"{ns="web"}"#], r#"{ns="web", ns="db"}"#, &[]);
    }
}
