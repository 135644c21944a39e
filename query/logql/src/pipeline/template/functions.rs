//! Loki's functions, by name. The value that is piped in comes last.

use weir_template::{Function, Value, count_matches, escape_query, lower, title, upper};

use super::number::{decimal, divide, float, fold, fold_float, integer, round};
use super::text::{from_text, long_text};
use super::{LineTemplates, date, text};

const ANY: usize = usize::MAX;

pub(super) static FUNCTIONS: [Function<LineTemplates>; 67] = [
    Function::new("__line__", 0, |line, _| Ok(line.text.into())),
    Function::new("__timestamp__", 0, |line, _| date::of_nanos(line.at)),
    // Of Go's `strings`: the text comes first.
    Function::new("ToLower", 1, |_, a| from_text(&a[0], lower)),
    Function::new("ToUpper", 1, |_, a| from_text(&a[0], upper)),
    Function::new("Replace", 4, |_, a| text::replace(&a[0], (&a[1], &a[2]), a[3].integer()?)),
    Function::new("Trim", 2, |_, a| text::trim(&a[0], &a[1], |text, set| text.trim_matches(set))),
    Function::new("TrimLeft", 2, |_, a| text::trim(&a[0], &a[1], |text, set| text.trim_start_matches(set))),
    Function::new("TrimRight", 2, |_, a| text::trim(&a[0], &a[1], |text, set| text.trim_end_matches(set))),
    Function::new("TrimPrefix", 2, |_, a| text::without(&a[0], &a[1], |text, part| text.strip_prefix(part))),
    Function::new("TrimSuffix", 2, |_, a| text::without(&a[0], &a[1], |text, part| text.strip_suffix(part))),
    Function::new("TrimSpace", 1, |_, a| from_text(&a[0], |text| text.trim().to_owned())),
    // Of Sprig: the text comes last.
    Function::new("lower", 1, |_, a| from_text(&a[0], lower)),
    Function::new("upper", 1, |_, a| from_text(&a[0], upper)),
    Function::new("title", 1, |_, a| from_text(&a[0], title)),
    Function::new("replace", 3, |_, a| text::replace(&a[2], (&a[0], &a[1]), -1)),
    Function::new("trim", 1, |_, a| from_text(&a[0], |text| text.trim().to_owned())),
    Function::new("trimAll", 2, |_, a| text::trim(&a[1], &a[0], |text, set| text.trim_matches(set))),
    Function::new("trimPrefix", 2, |_, a| text::without(&a[1], &a[0], |text, part| text.strip_prefix(part))),
    Function::new("trimSuffix", 2, |_, a| text::without(&a[1], &a[0], |text, part| text.strip_suffix(part))),
    Function::new("trunc", 2, |_, a| text::truncate(a[0].integer()?, a[1].text()?)),
    Function::new("substr", 3, |_, a| text::substring((a[0].integer()?, a[1].integer()?), a[2].text()?)),
    Function::new("contains", 2, |_, a| Ok(a[1].text()?.contains(a[0].text()?).into())),
    Function::new("hasPrefix", 2, |_, a| Ok(a[1].text()?.starts_with(a[0].text()?).into())),
    Function::new("hasSuffix", 2, |_, a| Ok(a[1].text()?.ends_with(a[0].text()?).into())),
    Function::new("repeat", 2, |_, a| text::repeat(a[1].text()?, a[0].integer()?).map(Value::from)),
    Function::new("indent", 2, |_, a| text::indent("", a[0].integer()?, a[1].text()?)),
    Function::new("nindent", 2, |_, a| text::indent("\n", a[0].integer()?, a[1].text()?)),
    Function::new("alignLeft", 2, |_, a| text::align(text::Side::Left, a[0].integer()?, a[1].text()?)),
    Function::new("alignRight", 2, |_, a| text::align(text::Side::Right, a[0].integer()?, a[1].text()?)),
    Function::new("default", 1, |_, a| Ok(a.get(1).filter(|given| given.truth()).unwrap_or(&a[0]).clone())).up_to(ANY),
    // Regular expressions.
    Function::new("regexReplaceAll", 3, |_, a| text::replace_matches(a, weir_template::Replacement::Expanded)).pattern(),
    Function::new("regexReplaceAllLiteral", 3, |_, a| text::replace_matches(a, weir_template::Replacement::Literal)).pattern(),
    Function::new("count", 2, |_, a| count_matches(&*a[0].regex()?, a[1].text()?).map(Value::from)).pattern(),
    // Codes.
    Function::new("urlencode", 1, |_, a| long_text(&a[0], escape_query)),
    Function::new("urldecode", 1, |_, a| text::url_decode(a[0].text()?)),
    Function::new("b64enc", 1, |_, a| long_text(&a[0], text::base64_encode)),
    Function::new("b64dec", 1, |_, a| from_text(&a[0], text::base64_decode)),
    Function::new("fromJson", 1, |_, a| Ok(text::from_json(a[0].text()?))),
    // Units.
    Function::new("bytes", 1, |_, a| text::unit(a[0].text()?, crate::ast::Unit::Bytes, 1.0)),
    Function::new("duration", 1, |_, a| text::unit(a[0].text()?, crate::ast::Unit::Duration, 1e9)),
    Function::new("duration_seconds", 1, |_, a| text::unit(a[0].text()?, crate::ast::Unit::Duration, 1e9)),
    // Numbers: texts are read as such, and are 0 where they are none.
    Function::new("int", 1, |_, a| Ok(integer(&a[0]).into())),
    Function::new("float64", 1, |_, a| Ok(float(&a[0]).into())),
    Function::new("add", 0, |_, a| fold(a, i64::wrapping_add)).up_to(ANY),
    Function::new("sub", 2, |_, a| fold(a, i64::wrapping_sub)),
    Function::new("mul", 1, |_, a| fold(a, i64::wrapping_mul)).up_to(ANY),
    Function::new("div", 2, |_, a| divide(a, i64::wrapping_div)),
    Function::new("mod", 2, |_, a| divide(a, i64::wrapping_rem)),
    Function::new("max", 1, |_, a| fold(a, i64::max)).up_to(ANY),
    Function::new("min", 1, |_, a| fold(a, i64::min)).up_to(ANY),
    Function::new("addf", 0, |_, a| decimal(a, '+')).up_to(ANY),
    Function::new("subf", 1, |_, a| decimal(a, '-')).up_to(ANY),
    Function::new("mulf", 1, |_, a| decimal(a, '*')).up_to(ANY),
    Function::new("divf", 1, |_, a| decimal(a, '/')).up_to(ANY),
    Function::new("maxf", 1, |_, a| fold_float(a, f64::max)).up_to(ANY),
    Function::new("minf", 1, |_, a| fold_float(a, f64::min)).up_to(ANY),
    Function::new("ceil", 1, |_, a| Ok(float(&a[0]).ceil().into())),
    Function::new("floor", 1, |_, a| Ok(float(&a[0]).floor().into())),
    Function::new("round", 2, |_, a| round(a)).up_to(3),
    // Times, in UTC where nothing else is said.
    Function::new("now", 0, |_, _| Ok(date::now())),
    Function::new("date", 2, |_, a| date::format(a[0].text()?, &a[1])),
    Function::new("toDate", 2, |_, a| date::read(a[0].text()?, "UTC", a[1].text()?)),
    Function::new("toDateInZone", 3, |_, a| date::read(a[0].text()?, a[1].text()?, a[2].text()?)),
    Function::new("unixToTime", 1, |_, a| date::of_unix(a[0].text()?)),
    Function::new("unixEpoch", 1, |_, a| date::unix(&a[0], 1_000_000_000)),
    Function::new("unixEpochMillis", 1, |_, a| date::unix(&a[0], 1_000_000)),
    Function::new("unixEpochNanos", 1, |_, a| date::unix(&a[0], 1)),
];
