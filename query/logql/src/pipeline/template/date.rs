//! Functions on times. Where no zone is said it is UTC, which Loki's servers have as well.

use jiff::civil::{Date, DateTime};
use jiff::tz::{Offset, TimeZone};
use jiff::{Timestamp, Zoned};
use weir_model::clip;
use weir_model::time::UnixNanos;
use weir_template::Value;

use super::layout::{self, Fields, Zone};

/// A layout is looked at letter by letter for every line; the longest of Go's own has 35.
const LAYOUT_BYTES_MAX: usize = 1 << 10;

fn short(layout: &str) -> Result<&str, String> {
    if layout.len() > LAYOUT_BYTES_MAX { Err(format!("a layout of more than {LAYOUT_BYTES_MAX} bytes")) } else { Ok(layout) }
}

pub(super) fn of_nanos<'a>(nanos: UnixNanos) -> Result<Value<'a>, String> {
    from_nanos(i128::from(nanos))
}

fn from_nanos<'a>(nanos: i128) -> Result<Value<'a>, String> {
    let at = Timestamp::from_nanosecond(nanos).map_err(|error| error.to_string())?;
    Ok(at.to_zoned(TimeZone::UTC).into())
}

pub(super) fn now<'a>() -> Value<'a> {
    Timestamp::now().to_zoned(TimeZone::UTC).into()
}

/// A time, or a number of seconds since 1970.
pub(super) fn format<'a>(layout: &str, value: &Value<'a>) -> Result<Value<'a>, String> {
    let time = match value {
        Value::Time(time) => time.with_time_zone(TimeZone::UTC),
        Value::Integer(seconds) => {
            let at = Timestamp::from_second(*seconds).map_err(|error| error.to_string())?;
            at.to_zoned(TimeZone::UTC)
        }
        other => return Err(other.instead_of("time.Time")),
    };
    Ok(layout::format(short(layout)?, &time).into())
}

/// A time in that zone unless the text says one; an unknown zone is UTC, and what is no time the year 1, as for Loki.
pub(super) fn read<'a>(layout: &str, zone: &str, text: &str) -> Result<Value<'a>, String> {
    let zone = TimeZone::get(zone).unwrap_or(TimeZone::UTC);
    let time = layout::read(short(layout)?, text).and_then(|fields| zoned(&fields, &zone));
    let zero = || DateTime::constant(1, 1, 1, 0, 0, 0, 0).to_zoned(TimeZone::UTC).ok();
    Ok(time.or_else(zero).map_or(Value::Nil, Value::from))
}

fn zoned(fields: &Fields, own: &TimeZone) -> Option<Zoned> {
    let date = match fields.year_day {
        Some(day) => Date::new(fields.year, 1, 1).ok()?.checked_add(jiff::Span::new().days(day - 1)).ok()?,
        None => Date::new(fields.year, fields.month, fields.day).ok()?,
    };
    let time = date.at(fields.clock_hour(), fields.minute, fields.second, fields.nanos);
    match fields.zone {
        None => time.to_zoned(own.clone()).ok(),
        Some(Zone::Utc) => time.to_zoned(TimeZone::UTC).ok(),
        Some(Zone::Offset(seconds)) => {
            let offset = Offset::from_seconds(seconds).ok()?;
            let fixed = time.to_zoned(TimeZone::fixed(offset)).ok()?;
            let here = fixed.with_time_zone(own.clone());
            Some(if here.offset() == offset { here } else { fixed })
        }
    }
}

/// Days, seconds, milli-, micro- or nanoseconds since 1970: how many digits there are says which.
pub(super) fn of_unix<'a>(text: &str) -> Result<Value<'a>, String> {
    let number: i64 = text.parse().map_err(|_| format!("unable to parse time '{}': no whole number", clip(text)))?;
    let unit: i128 = match text.len() {
        5 => 86_400_000_000_000,
        10 => 1_000_000_000,
        13 => 1_000_000,
        16 => 1_000,
        19 => 1,
        digits => return Err(format!("unable to parse time '{}': {digits} digits are no known unit", clip(text))),
    };
    from_nanos(i128::from(number) * unit)
}

/// Since 1970 in units of so many nanoseconds, as a text.
pub(super) fn unix<'a>(value: &Value<'a>, unit: i128) -> Result<Value<'a>, String> {
    match value {
        Value::Time(time) => Ok(time.timestamp().as_nanosecond().div_euclid(unit).to_string().into()),
        other => Err(other.instead_of("time.Time")),
    }
}
