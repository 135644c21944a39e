//! Metric names of Prometheus' OTLP translation: letters normalised, unit and `_total` as suffixes, as far as the strategy says. Pure.

use crate::otlp::config::Translation;

/// UCUM units that have a word.
const UNITS: [(&str, &str); 29] = [
    ("d", "days"),
    ("h", "hours"),
    ("min", "minutes"),
    ("s", "seconds"),
    ("ms", "milliseconds"),
    ("us", "microseconds"),
    ("ns", "nanoseconds"),
    ("By", "bytes"),
    ("KiBy", "kibibytes"),
    ("MiBy", "mebibytes"),
    ("GiBy", "gibibytes"),
    ("TiBy", "tibibytes"),
    ("KBy", "kilobytes"),
    ("MBy", "megabytes"),
    ("GBy", "gigabytes"),
    ("TBy", "terabytes"),
    ("m", "meters"),
    ("V", "volts"),
    ("A", "amperes"),
    ("J", "joules"),
    ("W", "watts"),
    ("g", "grams"),
    ("Cel", "celsius"),
    ("Hz", "hertz"),
    ("%", "percent"),
    ("bit", "bits"),
    ("kbit", "kilobits"),
    ("Mbit", "megabits"),
    ("Gbit", "gigabits"),
];

/// What stands behind the slash of a rate.
const PER_UNITS: [(&str, &str); 7] =
    [("s", "second"), ("m", "minute"), ("min", "minute"), ("h", "hour"), ("d", "day"), ("mo", "month"), ("y", "year")];

/// What a metric is called by a strategy.
pub(super) fn of(strategy: Translation, name: &str, unit: &str, gauge: bool, monotonic: bool) -> String {
    match strategy {
        Translation::UnderscoreEscapingWithSuffixes => translate(name, unit, gauge, monotonic),
        Translation::UnderscoreEscapingWithoutSuffixes => escape(name),
        Translation::NoUTF8EscapingWithSuffixes => suffixed(name, unit, gauge, monotonic),
        Translation::NoTranslation => name.to_owned(),
    }
}

/// Each run of letters that a classic name may not have becomes `_`.
fn escape(name: &str) -> String {
    let parts = name.split(|letter: char| !letter.is_ascii_alphanumeric() && !matches!(letter, ':' | '_'));
    let text = parts.filter(|part| !part.is_empty()).collect::<Vec<_>>().join("_");
    if text.is_empty() || text.as_bytes()[0].is_ascii_digit() { format!("_{text}") } else { text }
}

/// The name as it is, with suffixes that it does not have yet.
fn suffixed(name: &str, unit: &str, gauge: bool, monotonic: bool) -> String {
    let mut name = if monotonic { name.strip_suffix("_total").unwrap_or(name) } else { name }.to_owned();
    let unit_text = words_of_unit(unit).join("_");
    let suffixes = [
        (!unit_text.is_empty()).then_some(unit_text.as_str()),
        monotonic.then_some("total"),
        (gauge && unit == "1").then_some("ratio"),
    ];
    for suffix in suffixes.into_iter().flatten() {
        if !name.ends_with(suffix) {
            name = format!("{name}_{suffix}");
        }
    }
    name
}

/// `http.server.duration` in `ms` → `http_server_duration_milliseconds`; a monotonic sum ends in `_total`, a gauge in
/// `1` in `_ratio`. A suffix that is there already is not said twice.
fn translate(name: &str, unit: &str, gauge: bool, monotonic: bool) -> String {
    let mut words: Vec<String> = words(name);
    let unit_words = words_of_unit(unit);
    if !unit_words.is_empty() && !words.join("_").ends_with(&unit_words.join("_")) {
        // `_total` goes last, wherever it stood.
        let total = monotonic && words.last().is_some_and(|word| word == "total");
        if total {
            words.pop();
        }
        if !words.join("_").ends_with(&unit_words.join("_")) {
            words.extend(unit_words);
        }
    }
    if monotonic {
        words.retain(|word| word != "total");
        words.push("total".to_owned());
    }
    if gauge && unit == "1" && words.last().is_none_or(|word| word != "ratio") {
        words.push("ratio".to_owned());
    }
    let text = words.join("_");
    if text.is_empty() || text.as_bytes()[0].is_ascii_digit() { format!("_{text}") } else { text }
}

/// The unit as metadata shows it: `seconds`, `bytes_per_second`; "" for none.
pub(super) fn unit_word(unit: &str) -> String {
    words_of_unit(unit).join("_")
}

fn words(text: &str) -> Vec<String> {
    let parts = text.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != ':');
    parts.filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

fn words_of_unit(unit: &str) -> Vec<String> {
    // `{request}` is a remark, not a unit.
    if unit.contains('{') || unit.is_empty() || unit == "1" {
        return Vec::new();
    }
    let (main, per) = unit.split_once('/').map_or((unit, None), |(main, per)| (main, Some(per)));
    let look_up = |table: &[(&str, &str)], unit: &str| {
        let known = table.iter().find(|(short, _)| *short == unit).map(|(_, word)| (*word).to_owned());
        known.map_or_else(|| words(unit), |word| vec![word])
    };
    let mut found = look_up(&UNITS, main);
    if let Some(per) = per {
        let per = look_up(&PER_UNITS, per);
        if !per.is_empty() {
            found.push("per".to_owned());
            found.extend(per);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        let check = |name: &str, unit: &str, gauge: bool, monotonic: bool, expected: &str| {
            assert_eq!(translate(name, unit, gauge, monotonic), expected, "{name} {unit}");
        };
        check("http.server.duration", "ms", false, false, "http_server_duration_milliseconds");
        check("system.io", "By", false, true, "system_io_bytes_total");
        check("requests_total", "1", false, true, "requests_total");
        check("requests_total_bytes", "By", false, true, "requests_bytes_total");
        check("cpu.utilization", "1", true, false, "cpu_utilization_ratio");
        check("disk.speed", "By/s", true, false, "disk_speed_bytes_per_second");
        check("queue.size", "{message}", true, false, "queue_size");
        check("memory_bytes", "By", true, false, "memory_bytes");
        check("2xx", "", true, false, "_2xx");
        check("a..b", "", true, false, "a_b");
    }

    #[test]
    fn strategies() {
        use Translation::{NoTranslation, NoUTF8EscapingWithSuffixes, UnderscoreEscapingWithoutSuffixes};
        let check = |strategy, name: &str, unit: &str, gauge: bool, monotonic: bool, expected: &str| {
            assert_eq!(of(strategy, name, unit, gauge, monotonic), expected, "{strategy:?} {name} {unit}");
        };
        check(NoTranslation, "http.requests", "s", false, true, "http.requests");
        check(UnderscoreEscapingWithoutSuffixes, "http..requests__x", "s", false, true, "http_requests__x");
        check(UnderscoreEscapingWithoutSuffixes, "2xx", "", false, true, "_2xx");
        check(NoUTF8EscapingWithSuffixes, "http.requests", "s", false, true, "http.requests_seconds_total");
        check(NoUTF8EscapingWithSuffixes, "http.requests_total", "By", false, true, "http.requests_bytes_total");
        check(NoUTF8EscapingWithSuffixes, "disk.speed", "By/s", true, false, "disk.speed_bytes_per_second");
        check(NoUTF8EscapingWithSuffixes, "cpu.use", "1", true, false, "cpu.use_ratio");
    }
}
