//! Metric names of Prometheus' OTLP translation: letters normalised, unit and `_total` as suffixes. Pure.

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

/// `http.server.duration` in `ms` → `http_server_duration_milliseconds`; a monotonic sum ends in `_total`, a gauge in
/// `1` in `_ratio`. A suffix that is there already is not said twice.
pub(super) fn translate(name: &str, unit: &str, gauge: bool, monotonic: bool) -> String {
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
}
