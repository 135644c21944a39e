//! One line of OpenMetrics: where every blank is and what may stand there. Pure; knows nothing of other lines.

use std::borrow::Cow;

use weir_model::label::{Labels, NAME, is_label_name, is_metric_name};
use weir_model::metric::MetricKind;

use crate::exposition::line::{self, clip};

/// What is wrong, and at which byte of the line.
#[derive(Debug, PartialEq)]
pub(super) struct Wrong {
    pub at: usize,
    pub reason: String,
}

pub(super) fn wrong<T>(at: usize, reason: impl Into<String>) -> Result<T, Wrong> {
    Err(Wrong { at, reason: reason.into() })
}

pub(super) enum Line<'a> {
    Eof,
    Metadata(Metadata<'a>),
    Sample(RawSample<'a>),
}

pub(super) struct Metadata<'a> {
    pub name: Cow<'a, str>,
    pub says: Says,
}

pub(super) enum Says {
    Kind(MetricKind),
    Help(String),
    Unit(String),
}

pub(super) struct RawSample<'a> {
    pub name: Cow<'a, str>,
    pub labels: Pairs<'a>,
    pub value: f64,
    /// Unix nanoseconds.
    pub timestamp: Option<i64>,
    pub exemplar: Option<RawExemplar<'a>>,
    /// Where a comma stands before a closing brace.
    pub comma: Option<usize>,
    /// Where the value and the exemplar begin.
    pub value_at: usize,
    pub exemplar_at: usize,
}

pub(super) struct RawExemplar<'a> {
    pub labels: Pairs<'a>,
    pub value: f64,
    pub timestamp: Option<i64>,
}

/// Labels in the order in which they are written.
pub(super) type Pairs<'a> = Vec<(Cow<'a, str>, String)>;

/// What stands between braces.
#[derive(Default)]
struct Braces<'a> {
    labels: Pairs<'a>,
    /// What is in quotes and has no value.
    metric: Option<(usize, String)>,
    /// Where a comma stands before the closing one.
    comma: Option<usize>,
}

impl RawSample<'_> {
    pub fn all_labels(&self) -> Labels {
        Labels::from_pairs(self.labels.iter().map(|(name, value)| (&**name, value.as_str())).chain([(NAME, &*self.name)]))
    }

    pub fn label(&self, name: &str) -> Option<&str> {
        self.labels.iter().find(|(own, _)| *own == name).map(|(_, value)| value.as_str())
    }
}

/// Reads a line without its line end.
pub(super) fn line(text: &str) -> Result<Line<'_>, Wrong> {
    match text {
        "" => wrong(0, "an empty line"),
        "# EOF" => Ok(Line::Eof),
        text if text.starts_with('#') => metadata(text).map(Line::Metadata),
        text => Cursor { text, at: 0 }.sample().map(Line::Sample),
    }
}

/// `# TYPE name kind`, `# HELP name text`, `# UNIT name unit`, one blank between; the last may be empty but for a kind.
fn metadata(text: &str) -> Result<Metadata<'_>, Wrong> {
    let mut words = text.splitn(3, ' ');
    let (hash, keyword) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    if hash != "#" || !matches!(keyword, "TYPE" | "HELP" | "UNIT") {
        return wrong(0, format!("a line with # is # TYPE, # HELP, # UNIT or # EOF, not {:?}", clip(text)));
    }
    let name_at = hash.len() + keyword.len() + 2;
    let needs = || wrong(text.len(), format!("# {keyword} needs a name and what is said of it"));
    let Some(named) = words.next() else { return needs() };
    if !named.contains(' ') {
        return needs();
    }
    let (name, rest) = line::metadata_name(named, &[' ']).map_err(|reason| Wrong { at: name_at, reason })?;
    let Some(rest) = rest else { return needs() };
    let says = match keyword {
        "TYPE" => match kind(rest) {
            Some(kind) => Says::Kind(kind),
            None => return wrong(text.len() - rest.len(), format!("not a metric type: {:?}", clip(rest))),
        },
        "HELP" => Says::Help(unescaped(rest)),
        _ => Says::Unit(rest.to_owned()),
    };
    Ok(Metadata { name, says })
}

fn kind(text: &str) -> Option<MetricKind> {
    use MetricKind::{Counter, Gauge, GaugeHistogram, Histogram, Info, StateSet, Summary, Unknown};
    [Unknown, Counter, Gauge, Histogram, Summary, Info, StateSet, GaugeHistogram].into_iter().find(|kind| kind.name() == text)
}

/// `\\`, `\"` and `\n` undone; another backslash stays as it is.
fn unescaped(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        match (letter, letters.clone().next()) {
            ('\\', Some('n')) => plain.push('\n'),
            ('\\', Some(escaped @ ('\\' | '"'))) => plain.push(escaped),
            _ => {
                plain.push(letter);
                continue;
            }
        }
        letters.next();
    }
    plain
}

struct Cursor<'a> {
    text: &'a str,
    /// A byte, always at a character's start.
    at: usize,
}

impl<'a> Cursor<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn eat(&mut self, token: &str) -> bool {
        let found = self.rest().starts_with(token);
        self.at += if found { token.len() } else { 0 };
        found
    }

    fn expect(&mut self, token: &str, reason: &str) -> Result<(), Wrong> {
        if self.eat(token) { Ok(()) } else { wrong(self.at, reason) }
    }

    fn until(&mut self, stops: &[char]) -> &'a str {
        let rest = self.rest();
        let word = &rest[..rest.find(stops).unwrap_or(rest.len())];
        self.at += word.len();
        word
    }

    fn sample(mut self) -> Result<RawSample<'a>, Wrong> {
        let plain = self.until(&['{', ' ']);
        let is_quoted = plain.is_empty() && self.rest().starts_with('{');
        if !is_quoted && !is_metric_name(plain) {
            return wrong(0, format!("not a metric name: {:?}", clip(plain)));
        }
        let Braces { labels, metric, mut comma } = if self.eat("{") { self.labels()? } else { Braces::default() };
        let name = match metric {
            None if is_quoted => return wrong(0, "a sample needs a metric name"),
            None => Cow::Borrowed(plain),
            Some((_, name)) if is_quoted => name.into(),
            Some((at, name)) => return wrong(at, format!("{:?} is a second metric name", clip(&name))),
        };
        self.expect(" ", "expected one blank and a value")?;
        let value_at = self.at;
        let value = self.number()?;
        let (mut timestamp, mut exemplar) = (None, None);
        if !self.rest().starts_with(" # ") && self.eat(" ") {
            timestamp = Some(self.timestamp()?);
        }
        let exemplar_at = self.at;
        if self.eat(" # ") {
            let (read, late) = self.exemplar()?;
            (exemplar, comma) = (Some(read), comma.or(late));
        }
        match self.rest() {
            "" => Ok(RawSample { name, labels, value, timestamp, exemplar, comma, value_at, exemplar_at }),
            rest => wrong(self.at, format!("unexpected {:?} at the end", clip(rest))),
        }
    }

    /// After `{`, up to and with `}`.
    fn labels(&mut self) -> Result<Braces<'a>, Wrong> {
        let mut read = Braces::default();
        while !self.eat("}") {
            let at = self.at;
            let name = self.name()?;
            if matches!(name, Cow::Owned(_)) && self.rest().starts_with([',', '}']) {
                if let Some((_, name)) = read.metric.replace((at, name.into_owned())) {
                    return wrong(at, format!("a second metric name after {:?}", clip(&name)));
                }
            } else {
                if read.labels.iter().any(|(other, _)| *other == name) {
                    return wrong(at, format!("label {} appears twice", clip(&name)));
                }
                self.expect("=\"", "expected =\" after a label's name")?;
                read.labels.push((name, self.quoted()?));
            }
            read.comma = self.rest().starts_with(',').then_some(self.at);
            if !self.eat(",") && !self.rest().starts_with('}') {
                return wrong(self.at, "expected , or } after a label");
            }
        }
        Ok(read)
    }

    /// A label's name, or the metric's; owned where it stands in quotes.
    fn name(&mut self) -> Result<Cow<'a, str>, Wrong> {
        let at = self.at;
        if self.eat("\"") {
            let name = self.quoted()?;
            return if name.is_empty() { wrong(at, "a name in quotes is empty") } else { Ok(name.into()) };
        }
        let name = self.until(&['=', '}', ',', '"', ' ']);
        if is_label_name(name) { Ok(name.into()) } else { wrong(at, format!("not a label name: {:?}", clip(name))) }
    }

    /// After the opening quote, up to and with the closing one.
    fn quoted(&mut self) -> Result<String, Wrong> {
        let (began, rest) = (self.at - 1, self.rest());
        let mut escaped = false;
        for (at, byte) in rest.bytes().enumerate() {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => {
                    self.at += at + 1;
                    return Ok(unescaped(&rest[..at]));
                }
                _ => {}
            }
        }
        wrong(began, "a label's value, or a name in quotes, does not end")
    }

    /// After ` # `.
    fn exemplar(&mut self) -> Result<(RawExemplar<'a>, Option<usize>), Wrong> {
        self.expect("{", "expected an exemplar's labels")?;
        let at = self.at;
        let Braces { labels, metric, comma } = self.labels()?;
        if let Some((at, _)) = metric {
            return wrong(at, "expected =\" after a label's name");
        }
        let length: usize = labels.iter().map(|(name, value)| name.len() + value.chars().count()).sum();
        if length > EXEMPLAR_CHARACTERS_MAX {
            return wrong(at, format!("an exemplar's labels have {length} characters, above {EXEMPLAR_CHARACTERS_MAX}"));
        }
        self.expect(" ", "expected one blank and an exemplar's value")?;
        let value = self.number()?;
        let timestamp = if self.eat(" ") { Some(self.timestamp()?) } else { None };
        Ok((RawExemplar { labels, value, timestamp }, comma))
    }

    fn number(&mut self) -> Result<f64, Wrong> {
        let at = self.at;
        let text = self.until(&[' ']);
        let signed_nan = text.len() == 4 && text.get(1..).is_some_and(|rest| rest.eq_ignore_ascii_case("nan"));
        match line::number(text) {
            Ok(number) if !signed_nan => Ok(number),
            _ => wrong(at, format!("not a number: {:?}", clip(text))),
        }
    }

    /// Seconds.
    fn timestamp(&mut self) -> Result<i64, Wrong> {
        let at = self.at;
        let text = self.until(&[' ']);
        let seconds = line::number(text).ok().filter(|seconds| seconds.is_finite());
        match seconds {
            Some(seconds) => Ok(nanos(text).unwrap_or((seconds * 1e9) as i64)),
            None => wrong(at, format!("not a time in seconds: {:?}", clip(text))),
        }
    }
}

/// OpenMetrics 1.0, "Exemplars".
const EXEMPLAR_CHARACTERS_MAX: usize = 128;

/// Decimal seconds, exactly: a double has only some 200 ns at today's times. `None` with an exponent or beyond the year
/// 2262, where the double saturates.
fn nanos(text: &str) -> Option<i64> {
    let (digits, sign) = match text.strip_prefix('-') {
        Some(digits) => (digits, -1),
        None => (text.strip_prefix('+').unwrap_or(text), 1),
    };
    let (whole, part) = digits.split_once('.').unwrap_or((digits, ""));
    if !whole.bytes().chain(part.bytes()).all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let whole: i64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let part: i64 = format!("{part:0<9}")[..9].parse().ok()?;
    whole.checked_mul(1_000_000_000)?.checked_add(part)?.checked_mul(sign)
}
