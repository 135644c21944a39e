//! Go's layouts of times: how `Mon Jan 2 15:04:05 MST 2006` would be written.

use std::fmt::Write;

use jiff::Zoned;

const MONTHS: [&str; 12] =
    ["January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November", "December"];
const WEEKDAYS: [&str; 7] = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];

/// What a chunk of a layout stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Chunk {
    Month(Name),
    MonthNumber(Pad),
    Weekday(Name),
    Day(Pad),
    YearDay(Pad),
    Hour,
    Hour12(Pad),
    Minute(Pad),
    Second(Pad),
    Year,
    YearShort,
    /// `PM` (true) or `pm`
    Half(bool),
    ZoneName,
    Offset(OffsetStyle),
    /// The sign before it, and so many digits: all of them, or without zeros at the end.
    Fraction(char, usize, bool),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Name {
    Long,
    Short,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pad {
    None,
    Zero,
    Blank,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct OffsetStyle {
    /// UTC is `Z`.
    z: bool,
    colon: bool,
    minutes: bool,
    seconds: bool,
}

/// By their beginning; the longer first. Those that may not be followed by a small letter are apart.
const CHUNKS: [(&str, Chunk); 23] = [
    ("January", Chunk::Month(Name::Long)),
    ("Monday", Chunk::Weekday(Name::Long)),
    ("MST", Chunk::ZoneName),
    ("01", Chunk::MonthNumber(Pad::Zero)),
    ("002", Chunk::YearDay(Pad::Zero)),
    ("02", Chunk::Day(Pad::Zero)),
    ("03", Chunk::Hour12(Pad::Zero)),
    ("04", Chunk::Minute(Pad::Zero)),
    ("05", Chunk::Second(Pad::Zero)),
    ("06", Chunk::YearShort),
    ("15", Chunk::Hour),
    ("1", Chunk::MonthNumber(Pad::None)),
    ("2006", Chunk::Year),
    ("2", Chunk::Day(Pad::None)),
    ("__2", Chunk::YearDay(Pad::Blank)),
    ("_2", Chunk::Day(Pad::Blank)),
    ("3", Chunk::Hour12(Pad::None)),
    ("4", Chunk::Minute(Pad::None)),
    ("5", Chunk::Second(Pad::None)),
    ("PM", Chunk::Half(true)),
    ("pm", Chunk::Half(false)),
    ("Jan", Chunk::Month(Name::Short)),
    ("Mon", Chunk::Weekday(Name::Short)),
];

/// The text before the first chunk, the chunk, and what follows.
fn next_chunk(layout: &str) -> (&str, Option<Chunk>, &str) {
    for (at, _) in layout.char_indices() {
        let tail = &layout[at..];
        if let Some((chunk, length)) = chunk_at(tail) {
            return (&layout[..at], Some(chunk), &tail[length..]);
        }
    }
    (layout, None, "")
}

fn chunk_at(tail: &str) -> Option<(Chunk, usize)> {
    // `_2006` is a year behind a line.
    let known = CHUNKS.iter().find(|(text, chunk)| {
        let small = || tail[text.len()..].starts_with(|letter: char| letter.is_ascii_lowercase());
        let short = matches!(chunk, Chunk::Month(Name::Short) | Chunk::Weekday(Name::Short));
        tail.starts_with(text) && !(short && small()) && !(*text == "_2" && tail.starts_with("_2006"))
    });
    if let Some((text, chunk)) = known {
        return Some((*chunk, text.len()));
    }
    match tail.chars().next()? {
        sign @ ('-' | 'Z') => {
            let style = |colon, minutes, seconds| OffsetStyle { z: sign == 'Z', colon, minutes, seconds };
            let styles = [
                ("070000", style(false, true, true)),
                ("07:00:00", style(true, true, true)),
                ("0700", style(false, true, false)),
                ("07:00", style(true, true, false)),
                ("07", style(false, false, false)),
            ];
            let found = styles.into_iter().find(|(text, _)| tail[1..].starts_with(text));
            found.map(|(text, style)| (Chunk::Offset(style), text.len() + 1))
        }
        sign @ ('.' | ',') => {
            let first = tail[1..].chars().next().filter(|first| matches!(first, '0' | '9'))?;
            let digits = tail[1..].len() - tail[1..].trim_start_matches(first).len();
            let ends = !tail[1 + digits..].starts_with(|letter: char| letter.is_ascii_digit());
            ends.then_some((Chunk::Fraction(sign, digits, first == '0'), 1 + digits))
        }
        _ => None,
    }
}

/// Writes a time as the layout is.
pub(super) fn format(mut layout: &str, time: &Zoned) -> String {
    let mut out = String::with_capacity(layout.len() + 8);
    loop {
        let (before, chunk, rest) = next_chunk(layout);
        out.push_str(before);
        let Some(chunk) = chunk else { return out };
        write_chunk(&mut out, chunk, time);
        layout = rest;
    }
}

fn write_chunk(out: &mut String, chunk: Chunk, time: &Zoned) {
    let named = |names: &'static [&'static str], at: i8, name: Name| {
        let long = names[usize::try_from(at).unwrap_or(0)];
        if name == Name::Long { long } else { &long[..3] }
    };
    let hour12 = if time.hour() % 12 == 0 { 12 } else { time.hour() % 12 };
    match chunk {
        Chunk::Month(name) => out.push_str(named(&MONTHS, time.month() - 1, name)),
        Chunk::MonthNumber(pad) => padded(out, time.month().into(), 2, pad),
        Chunk::Weekday(name) => out.push_str(named(&WEEKDAYS, time.weekday().to_monday_zero_offset(), name)),
        Chunk::Day(pad) => padded(out, time.day().into(), 2, pad),
        Chunk::YearDay(pad) => padded(out, time.day_of_year(), 3, pad),
        Chunk::Hour => padded(out, time.hour().into(), 2, Pad::Zero),
        Chunk::Hour12(pad) => padded(out, hour12.into(), 2, pad),
        Chunk::Minute(pad) => padded(out, time.minute().into(), 2, pad),
        Chunk::Second(pad) => padded(out, time.second().into(), 2, pad),
        Chunk::Year => padded(out, time.year(), 4, Pad::Zero),
        Chunk::YearShort => padded(out, time.year().rem_euclid(100), 2, Pad::Zero),
        Chunk::Half(large) => out.push_str(match (time.hour() >= 12, large) {
            (true, true) => "PM",
            (true, false) => "pm",
            (false, true) => "AM",
            (false, false) => "am",
        }),
        Chunk::ZoneName if time.time_zone().iana_name().is_some() => _ = write!(out, "{}", time.strftime("%Z")),
        Chunk::ZoneName => _ = write!(out, "{}", time.strftime("%z")),
        Chunk::Offset(style) => write_offset(out, style, time.offset().seconds()),
        Chunk::Fraction(sign, digits, all) => {
            let nanos = format!("{:09}{}", time.subsec_nanosecond(), "0".repeat(digits.saturating_sub(9)));
            let shown = if all { &nanos[..digits] } else { nanos[..digits.min(9)].trim_end_matches('0') };
            if !shown.is_empty() {
                out.push(sign);
                out.push_str(shown);
            }
        }
    }
}

fn padded(out: &mut String, number: i16, width: usize, pad: Pad) {
    let _ = match pad {
        Pad::None => write!(out, "{number}"),
        Pad::Zero => write!(out, "{number:0width$}"),
        Pad::Blank => write!(out, "{number:width$}"),
    };
}

fn write_offset(out: &mut String, style: OffsetStyle, seconds: i32) {
    if style.z && seconds == 0 {
        return out.push('Z');
    }
    let sign = if seconds < 0 { '-' } else { '+' };
    let (all, colon) = (seconds.abs(), if style.colon { ":" } else { "" });
    let _ = write!(out, "{sign}{:02}", all / 3600);
    if style.minutes {
        let _ = write!(out, "{colon}{:02}", all / 60 % 60);
    }
    if style.seconds {
        let _ = write!(out, "{colon}{:02}", all % 60);
    }
}

/// What a text says of a time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fields {
    pub year: i16,
    pub month: i8,
    pub day: i8,
    /// From 1; instead of month and day.
    pub year_day: Option<i64>,
    hour: i8,
    /// After noon, where it is said.
    half: Option<bool>,
    pub minute: i8,
    pub second: i8,
    pub nanos: i32,
    pub zone: Option<Zone>,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Zone {
    Utc,
    /// Seconds east of UTC.
    Offset(i32),
}

impl Fields {
    pub(super) fn clock_hour(&self) -> i8 {
        match self.half {
            Some(true) if self.hour < 12 => self.hour + 12,
            Some(false) if self.hour == 12 => 0,
            _ => self.hour,
        }
    }
}

/// Reads a time as the layout is; none when the text is otherwise.
pub(super) fn read(mut layout: &str, mut text: &str) -> Option<Fields> {
    let mut fields =
        Fields { year: 0, month: 1, day: 1, year_day: None, hour: 0, half: None, minute: 0, second: 0, nanos: 0, zone: None };
    loop {
        let (before, chunk, rest) = next_chunk(layout);
        text = skip(text, before)?;
        let Some(chunk) = chunk else { return text.is_empty().then_some(fields) };
        text = read_chunk(&mut fields, chunk, text, rest)?;
        layout = rest;
    }
}

/// Blanks of the layout are any number of them in the text.
fn skip<'t>(mut text: &'t str, prefix: &str) -> Option<&'t str> {
    let mut letters = prefix.chars().peekable();
    while let Some(letter) = letters.next() {
        if letter != ' ' {
            text = text.strip_prefix(letter)?;
            continue;
        }
        if !text.is_empty() && !text.starts_with(' ') {
            return None;
        }
        while letters.next_if_eq(&' ').is_some() {}
        text = text.trim_start_matches(' ');
    }
    Some(text)
}

fn read_chunk<'t>(fields: &mut Fields, chunk: Chunk, text: &'t str, layout: &str) -> Option<&'t str> {
    match chunk {
        Chunk::Month(name) => {
            let (at, text) = name_of(&MONTHS, name, text)?;
            fields.month = i8::try_from(at + 1).ok()?;
            Some(text)
        }
        Chunk::Weekday(name) => name_of(&WEEKDAYS, name, text).map(|(_, text)| text),
        Chunk::MonthNumber(pad) => number(text, pad, 1..=12, &mut fields.month),
        Chunk::Day(pad) => number(text, pad, 1..=31, &mut fields.day),
        Chunk::YearDay(pad) => {
            let blanks = if pad == Pad::Blank { text.bytes().take(2).take_while(|byte| *byte == b' ').count() } else { 0 };
            let (day, _) = digits(&text[blanks..], 3 - blanks)?;
            fields.year_day = Some(day).filter(|day| (1..=366).contains(day));
            fields.year_day.map(|_| &text[3..])
        }
        Chunk::Hour => number(text, Pad::None, 0..=23, &mut fields.hour),
        Chunk::Hour12(pad) => number(text, pad, 0..=12, &mut fields.hour),
        Chunk::Minute(pad) => number(text, pad, 0..=59, &mut fields.minute),
        Chunk::Second(pad) => {
            let text = number(text, pad, 0..=59, &mut fields.second)?;
            // A fraction that the layout does not have is taken all the same.
            let in_layout = matches!(next_chunk(layout), ("", Some(Chunk::Fraction(..)), _));
            if in_layout { Some(text) } else { Some(fraction(fields, text, None).unwrap_or(text)) }
        }
        Chunk::Year => {
            let (year, text) = digits(text, 4)?;
            fields.year = i16::try_from(year).ok()?;
            Some(text)
        }
        Chunk::YearShort => {
            let (year, text) = digits(text, 2)?;
            fields.year = i16::try_from(if year >= 69 { 1900 + year } else { 2000 + year }).ok()?;
            Some(text)
        }
        Chunk::Half(large) => {
            let (before, after) = if large { ("AM", "PM") } else { ("am", "pm") };
            fields.half = Some(text.starts_with(after));
            text.strip_prefix(after).or_else(|| text.strip_prefix(before))
        }
        Chunk::ZoneName => {
            let length = text.find(|letter: char| !letter.is_ascii_uppercase()).unwrap_or(text.len());
            // What a name means is known of UTC alone.
            fields.zone = Some(if &text[..length] == "UTC" { Zone::Utc } else { Zone::Offset(0) });
            (3..=5).contains(&length).then(|| &text[length..])
        }
        Chunk::Offset(style) => offset(fields, style, text),
        Chunk::Fraction(_, digits, true) => fraction(fields, text, Some(digits)),
        Chunk::Fraction(_, _, false) => Some(fraction(fields, text, None).unwrap_or(text)),
    }
}

fn name_of<'t>(names: &[&str], name: Name, text: &'t str) -> Option<(usize, &'t str)> {
    names.iter().enumerate().find_map(|(at, long)| {
        let own = if name == Name::Long { long } else { &long[..3] };
        text.get(..own.len()).filter(|text| text.eq_ignore_ascii_case(own)).map(|_| (at, &text[own.len()..]))
    })
}

/// Exactly so many digits.
fn digits(text: &str, count: usize) -> Option<(i64, &str)> {
    let number = text.get(..count).filter(|number| number.bytes().all(|digit| digit.is_ascii_digit()))?;
    Some((number.parse().ok()?, &text[count..]))
}

/// One or two digits; two where zeros are written.
fn number<'t>(text: &'t str, pad: Pad, range: std::ops::RangeInclusive<i64>, own: &mut i8) -> Option<&'t str> {
    let text = if pad == Pad::Blank { text.strip_prefix(' ').unwrap_or(text) } else { text };
    let two = digits(text, 2);
    let (number, text) = if pad == Pad::Zero { two? } else { two.or_else(|| digits(text, 1))? };
    *own = i8::try_from(number).ok().filter(|_| range.contains(&number))?;
    Some(text)
}

/// `.` or `,` and digits: so many, or as many as there are up to nine.
fn fraction<'t>(fields: &mut Fields, text: &'t str, count: Option<usize>) -> Option<&'t str> {
    let tail = text.strip_prefix(['.', ','])?;
    let found = tail.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(tail.len());
    let count = count.unwrap_or(found);
    if count == 0 || count > found {
        return None;
    }
    fields.nanos = format!("{:0<9}", &tail[..count])[..9].parse().ok()?;
    Some(&tail[count..])
}

fn offset<'t>(fields: &mut Fields, style: OffsetStyle, text: &'t str) -> Option<&'t str> {
    if let Some(text) = text.strip_prefix('Z').filter(|_| style.z) {
        fields.zone = Some(Zone::Utc);
        return Some(text);
    }
    let sign = if text.starts_with('-') { -1 } else { 1 };
    let (hours, mut text) = digits(text.strip_prefix(['-', '+'])?, 2)?;
    let mut seconds = hours * 3600;
    for (wanted, unit) in [(style.minutes, 60), (style.seconds, 1)] {
        if wanted {
            let tail = if style.colon { text.strip_prefix(':')? } else { text };
            let (part, rest) = digits(tail, 2)?;
            seconds += part * unit;
            text = rest;
        }
    }
    fields.zone = Some(Zone::Offset(sign * i32::try_from(seconds).ok()?));
    Some(text)
}
