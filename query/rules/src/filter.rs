//! Which rules `/api/v1/rules` shows: by language, kind, name, group, file and labels, and a page of groups at a time.

use serde_json::{Value, json};
use weir_model::label::{Labels, Matcher};
use weir_model::scope::Scope;

use super::ask::RuleLanguage;
use super::file::RuleKind;
use super::state::{Group, Rule, RuleSet, among_others};

/// What is wanted. The default is everything.
#[derive(Clone, Debug, Default)]
pub struct RuleFilter {
    /// PromQL's by default.
    pub language: RuleLanguage,
    /// Only alerting, or only recording rules.
    pub kind: Option<WantedKind>,
    /// Names of rules; empty for any.
    pub names: Vec<String>,
    /// Names of groups; empty for any.
    pub groups: Vec<String>,
    /// Files; empty for any.
    pub files: Vec<String>,
    /// Labels of rules as written, templates not expanded: any of these lists passes, all of a list must. Empty for any.
    pub selectors: Vec<Vec<Matcher>>,
    /// Leave out the alerts of each rule.
    pub exclude_alerts: bool,
    /// Groups of one page, above 0.
    pub group_limit: Option<usize>,
    /// Where the page begins: `groupNextToken` of the page before.
    pub next_token: Option<String>,
}

/// One of the two kinds of rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WantedKind {
    /// `alert:`
    Alert,
    /// `record:`
    Record,
}

impl RuleSet {
    /// `data` of `/api/v1/rules`: groups in which a rule passes, with the alerts whose labels are in the scope; none for another
    /// tenant's. Errors when the page's token is of no group.
    pub fn rules_json(&self, filter: &RuleFilter, scope: &Scope) -> Result<Value, String> {
        let groups: Vec<_> = self.visible(scope, filter.language).collect();
        let begin = match &filter.next_token {
            None => 0,
            Some(token) => {
                let place = groups.iter().position(|(group, _)| group.token() == *token);
                place.ok_or("invalid group_next_token: no rule group has it; were the rules changed?")?
            }
        };
        let mut shown = Vec::new();
        for (group, visible) in groups.into_iter().skip(begin) {
            if !is_named(&filter.groups, &group.spec.name) || !is_named(&filter.files, &group.file) {
                continue;
            }
            let passing = group.rules.iter().filter(|rule| filter.passes(rule));
            let tenant = among_others(group, scope);
            let rules: Vec<Value> = passing.map(|rule| rule.json(!filter.exclude_alerts, visible, tenant)).collect();
            if rules.is_empty() {
                continue;
            }
            if filter.group_limit.is_some_and(|limit| shown.len() >= limit) {
                return Ok(json!({"groups": shown, "groupNextToken": group.token()}));
            }
            shown.push(group.json(rules, scope));
        }
        Ok(json!({"groups": shown}))
    }
}

impl RuleFilter {
    fn passes(&self, rule: &Rule) -> bool {
        let kind = match rule.spec.kind {
            RuleKind::Alert(_) => WantedKind::Alert,
            RuleKind::Record => WantedKind::Record,
        };
        if self.kind.is_some_and(|wanted| wanted != kind) || !is_named(&self.names, &rule.spec.name) {
            return false;
        }
        if self.selectors.is_empty() {
            return true;
        }
        let labels = Labels::from_pairs(rule.spec.labels.iter().map(|(name, text)| (name.as_str(), text.source())));
        self.selectors.iter().any(|matchers| matchers.iter().all(|matcher| matcher.matches_labels(&labels)))
    }
}

fn is_named(names: &[String], name: &str) -> bool {
    names.is_empty() || names.iter().any(|own| own == name)
}

impl Group {
    /// The group's name for a page, as long as its file and name stay.
    fn token(&self) -> String {
        format!("{:016x}", Labels::from_pairs([("file", &self.file), ("group", &self.spec.name)]).stable_hash())
    }
}
