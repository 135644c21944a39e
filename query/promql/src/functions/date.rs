//! Parts of a date in UTC, of values that are Unix seconds.

use jiff::civil::DateTime;
use jiff::tz::TimeZone;

pub(super) fn minute(seconds: f64) -> f64 {
    part(seconds, |at| at.minute().into())
}

pub(super) fn hour(seconds: f64) -> f64 {
    part(seconds, |at| at.hour().into())
}

/// 0 is Sunday.
pub(super) fn day_of_week(seconds: f64) -> f64 {
    part(seconds, |at| at.weekday().to_sunday_zero_offset().into())
}

pub(super) fn day_of_month(seconds: f64) -> f64 {
    part(seconds, |at| at.day().into())
}

pub(super) fn day_of_year(seconds: f64) -> f64 {
    part(seconds, |at| at.day_of_year().into())
}

pub(super) fn days_in_month(seconds: f64) -> f64 {
    part(seconds, |at| at.days_in_month().into())
}

pub(super) fn month(seconds: f64) -> f64 {
    part(seconds, |at| at.month().into())
}

pub(super) fn year(seconds: f64) -> f64 {
    part(seconds, |at| at.year().into())
}

/// NaN when the value is no date.
fn part(seconds: f64, of: fn(DateTime) -> i32) -> f64 {
    if !seconds.is_finite() {
        return f64::NAN;
    }
    // `as` saturates: what is no date stays none.
    jiff::Timestamp::from_second(seconds as i64).map_or(f64::NAN, |at| of(TimeZone::UTC.to_datetime(at)).into())
}
