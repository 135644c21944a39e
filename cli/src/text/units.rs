//! Bytes, durations and counts, each written in one way.

/// Bytes in powers of 1024: `512 B`, `1.5 KiB`, `64 MiB`.
pub(crate) fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let (mut value, mut unit) = (bytes as f64 / 1024.0, 0);
    while value >= 1023.95 && unit + 1 < UNITS.len() {
        (value, unit) = (value / 1024.0, unit + 1);
    }
    format!("{} {}", short(value), UNITS[unit])
}

/// A duration by its largest unit: `250 ns`, `1.5 ms`, `12 s`, `2m 5s`, `3h 20m`.
pub(crate) fn duration(nanos: i64) -> String {
    let (sign, nanos) = (if nanos < 0 { "-" } else { "" }, nanos.unsigned_abs());
    let seconds = nanos / 1_000_000_000;
    let text = match nanos {
        0..1000 => format!("{nanos} ns"),
        1000..999_950 => format!("{} µs", short(nanos as f64 / 1e3)),
        999_950..999_950_000 => format!("{} ms", short(nanos as f64 / 1e6)),
        999_950_000..60_000_000_000 => format!("{} s", short(nanos as f64 / 1e9)),
        _ if seconds < 3600 => format!("{}m {}s", seconds / 60, seconds % 60),
        _ if seconds < 86_400 => format!("{}h {}m", seconds / 3600, seconds / 60 % 60),
        _ => format!("{}d {}h", seconds / 86_400, seconds / 3600 % 24),
    };
    format!("{sign}{text}")
}

/// `1 line`, `2 lines`.
pub(crate) fn count(number: u64, one: &str) -> String {
    if number == 1 { format!("1 {one}") } else { format!("{number} {one}s") }
}

/// One digit after the point where it says something.
fn short(value: f64) -> String {
    let text = format!("{value:.1}");
    text.strip_suffix(".0").map_or(text.clone(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_in_one_way() {
        let check = |of: String, expected: &str| assert_eq!(of, expected);
        for (value, expected) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1 KiB"),
            (1536, "1.5 KiB"),
            ((1 << 20) - 1, "1 MiB"),
            (64 << 20, "64 MiB"),
            (3 << 29, "1.5 GiB"),
            (u64::MAX, "16 EiB"),
        ] {
            check(bytes(value), expected);
        }
        for (value, expected) in [
            (0, "0 ns"),
            (999, "999 ns"),
            (1500, "1.5 µs"),
            (999_960, "1 ms"),
            (250_000_000, "250 ms"),
            (999_960_000, "1 s"),
            (12_340_000_000, "12.3 s"),
            (59_960_000_000, "60 s"),
            (125_000_000_000, "2m 5s"),
            (12_000_000_000_000, "3h 20m"),
            (180_000_000_000_000, "2d 2h"),
            (-1500, "-1.5 µs"),
        ] {
            check(duration(value), expected);
        }
        check(count(0, "trace"), "0 traces");
        check(count(1, "trace"), "1 trace");
        check(count(2, "line"), "2 lines");
    }
}
