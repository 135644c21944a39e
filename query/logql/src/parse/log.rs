//! Stream selectors and pipelines.

use weir_model::clip;
use weir_model::label::{MatchOp, is_label_name};

use super::go_pattern::translate;
use super::{Parser, Selectors};
use crate::ast::{Extraction, LabelChoice, LabelFormat, LogExpr, Stage, StageKind};
use crate::error::ParseError;
use crate::lex::Token;
use crate::pipeline::labels::ERROR;
use crate::pipeline::{json, pattern::Pattern};

/// Names after a `|` that begin no condition.
pub(crate) const STAGES: [&str; 12] = [
    "json",
    "logfmt",
    "json_or_logfmt",
    "regexp",
    "pattern",
    "unpack",
    "decolorize",
    "line_format",
    "label_format",
    "drop",
    "keep",
    "unwrap",
];

impl Parser<'_> {
    pub(super) fn log_expr(&mut self) -> Result<LogExpr, ParseError> {
        let mut log = self.selector()?;
        while self.at_stage() {
            let stage = self.stage()?;
            log.stages.push(stage);
        }
        Ok(log)
    }

    /// `{a="b", c=~"d"}`
    pub(super) fn selector(&mut self) -> Result<LogExpr, ParseError> {
        let start = self.at();
        self.want("{")?;
        let mut matchers = Vec::new();
        while !self.is("}") {
            let name = self.ident("a label name or \"}\"")?;
            let op = self.match_op()?;
            let at = self.at();
            let value = self.string("a quoted value")?;
            matchers.push(self.matcher(name, op, value, at)?);
            if !self.take(",") {
                break;
            }
        }
        self.want("}")?;
        if self.selectors == Selectors::Narrow && !matchers.iter().any(|matcher| !matcher.matches("")) {
            return Err(self.wrong_at(
                start,
                "queries require at least one regexp or equality matcher that does not have an empty-compatible value. For instance, app=~\".*\" does not meet this requirement, but app=~\".+\" will",
            ));
        }
        Ok(LogExpr { matchers, stages: Vec::new() })
    }

    fn match_op(&mut self) -> Result<MatchOp, ParseError> {
        let op = match self.peek() {
            Token::Punct("=") => MatchOp::Equal,
            Token::Punct("!=") => MatchOp::NotEqual,
            Token::Punct("=~") => MatchOp::Regex,
            Token::Punct("!~") => MatchOp::NotRegex,
            _ => return self.unexpected("one of = != =~ !~"),
        };
        self.next += 1;
        Ok(op)
    }

    /// Whether a stage follows.
    pub(super) fn at_stage(&self) -> bool {
        matches!(self.peek(), Token::Punct("|" | "|=" | "!=" | "|~" | "!~" | "|>" | "!>"))
    }

    pub(super) fn stage(&mut self) -> Result<Stage, ParseError> {
        let at = self.at();
        if !self.take("|") {
            return Ok(Stage { kind: StageKind::Line(self.line_stage()?), at });
        }
        let word = match self.peek() {
            Token::Ident(word) => word.to_ascii_lowercase(),
            _ => String::new(),
        };
        // `| json != "x"` is the parser and a line filter, never a condition on a label called json.
        let kind = self.named_stage(&word)?;
        Ok(Stage { kind, at })
    }

    fn named_stage(&mut self, word: &str) -> Result<StageKind, ParseError> {
        match word {
            "unwrap" => {
                let message = "syntax error: unexpected unwrap: it stands only inside a range aggregation such as sum_over_time(… | unwrap x [5m])";
                return Err(self.wrong(message));
            }
            _ if !STAGES.contains(&word) => return Ok(StageKind::Filter(self.label_filter()?)),
            _ => {}
        }
        self.next += 1;
        Ok(match word {
            "json" => StageKind::Json(self.json_fields()?),
            "logfmt" => self.logfmt()?,
            "json_or_logfmt" => StageKind::JsonOrLogfmt,
            "regexp" => StageKind::Regexp(self.regexp()?),
            "pattern" => {
                let at = self.at();
                let text = self.string("a quoted pattern such as \"<ip> - <_>\"")?;
                let pattern = Pattern::with_captures(&text).map_err(|message| self.wrong_at(at, message))?;
                StageKind::Pattern(pattern)
            }
            "unpack" => StageKind::Unpack,
            "decolorize" => StageKind::Decolorize,
            "line_format" => StageKind::LineFormat(self.string("a quoted template")?),
            "label_format" => StageKind::LabelFormat(self.label_formats()?),
            "drop" => StageKind::Drop(self.choices()?),
            _ => StageKind::Keep(self.choices()?),
        })
    }

    fn regexp(&mut self) -> Result<regex::Regex, ParseError> {
        let at = self.at();
        let text = self.string("a quoted regular expression")?;
        let regex = self.pattern(at, |patterns| patterns.compile(&translate(&text)))?;
        let names: Vec<&str> = regex.capture_names().flatten().collect();
        if names.is_empty() {
            return Err(self.wrong_at(at, "at least one named capture must be supplied, such as (?P<name>…)"));
        }
        match names.iter().find(|name| !is_label_name(name)) {
            Some(name) => Err(self.wrong_at(at, format!("invalid extracted label name '{}'", clip(name)))),
            None => Ok(regex),
        }
    }

    fn logfmt(&mut self) -> Result<StageKind, ParseError> {
        let (mut strict, mut keep_empty) = (false, false);
        while let Token::Flag(flag) = self.peek() {
            match flag.as_str() {
                "strict" => strict = true,
                "keep-empty" => keep_empty = true,
                _ => return self.unexpected("--strict or --keep-empty"),
            }
            self.next += 1;
        }
        Ok(StageKind::Logfmt { strict, keep_empty, fields: self.extractions()? })
    }

    fn json_fields(&mut self) -> Result<Vec<Extraction>, ParseError> {
        let at = self.at();
        let fields = self.extractions()?;
        for field in &fields {
            json::parse_path(&field.path).map_err(|message| self.wrong_at(at, message))?;
        }
        Ok(fields)
    }

    /// `a, b="c"`, possibly none.
    fn extractions(&mut self) -> Result<Vec<Extraction>, ParseError> {
        let mut fields = Vec::new();
        while let Token::Ident(label) = self.peek().clone() {
            self.next += 1;
            let path = if self.take("=") { self.string("a quoted path")? } else { label.clone() };
            fields.push(Extraction { label, path });
            if !self.take(",") {
                break;
            }
        }
        Ok(fields)
    }

    fn label_formats(&mut self) -> Result<Vec<(String, LabelFormat)>, ParseError> {
        let mut formats: Vec<(String, LabelFormat)> = Vec::new();
        loop {
            let at = self.at();
            let name = self.ident("a label name")?;
            if formats.iter().any(|(known, _)| *known == name) {
                let message = format!("multiple label name '{}' not allowed in a single format operation", clip(&name));
                return Err(self.wrong_at(at, message));
            }
            if name == ERROR {
                return Err(self.wrong_at(at, format!("{ERROR} cannot be formatted")));
            }
            self.want("=")?;
            let format = match self.peek().clone() {
                Token::Ident(from) => LabelFormat::Rename(from),
                Token::String(template) => LabelFormat::Template(template),
                _ => return self.unexpected("a label name or a quoted template"),
            };
            self.next += 1;
            formats.push((name, format));
            if !self.take(",") {
                return Ok(formats);
            }
        }
    }

    fn choices(&mut self) -> Result<Vec<LabelChoice>, ParseError> {
        let mut choices = Vec::new();
        loop {
            let name = self.ident("a label name")?;
            let choice = match self.peek() {
                Token::Punct("=" | "!=" | "=~" | "!~") => {
                    let op = self.match_op()?;
                    let at = self.at();
                    let value = self.string("a quoted value")?;
                    LabelChoice::Match(self.matcher(name, op, value, at)?)
                }
                _ => LabelChoice::Name(name),
            };
            choices.push(choice);
            if !self.take(",") {
                return Ok(choices);
            }
        }
    }
}
