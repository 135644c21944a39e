//! Parts of a date in UTC, of values that are Unix seconds: of any that an i64 holds, as in Prometheus, and so of milliseconds that
//! were taken for seconds, too.

const DAY: i128 = 86_400;

pub(super) fn minute(seconds: f64) -> f64 {
    (second_of_day(seconds) / 60 % 60) as f64
}

pub(super) fn hour(seconds: f64) -> f64 {
    (second_of_day(seconds) / 3600) as f64
}

/// 0 is Sunday.
pub(super) fn day_of_week(seconds: f64) -> f64 {
    // The first day was a Thursday.
    (days(seconds) + 4).rem_euclid(7) as f64
}

pub(super) fn day_of_month(seconds: f64) -> f64 {
    Date::of(seconds).day as f64
}

pub(super) fn day_of_year(seconds: f64) -> f64 {
    let days = days(seconds);
    (days - first_day(Date::of(seconds).year, 1) + 1) as f64
}

pub(super) fn days_in_month(seconds: f64) -> f64 {
    let Date { year, month, .. } = Date::of(seconds);
    let (next_year, next) = if month == 12 { (year + 1, 1) } else { (year, month + 1) };
    (first_day(next_year, next) - first_day(year, month)) as f64
}

pub(super) fn month(seconds: f64) -> f64 {
    Date::of(seconds).month as f64
}

pub(super) fn year(seconds: f64) -> f64 {
    Date::of(seconds).year as f64
}

/// Whole seconds. What no i64 holds, and NaN, are the second that Go's conversion makes of them, 2^63 after the epoch.
fn whole(seconds: f64) -> i128 {
    const END: f64 = 9_223_372_036_854_775_808.0;
    if (-END..END).contains(&seconds) { i128::from(seconds as i64) } else { 1 << 63 }
}

fn days(seconds: f64) -> i128 {
    whole(seconds).div_euclid(DAY)
}

fn second_of_day(seconds: f64) -> i128 {
    whole(seconds).rem_euclid(DAY)
}

struct Date {
    year: i128,
    month: i128,
    day: i128,
}

impl Date {
    /// Years begin in March here, so that the day of a leap year is the last one, and 400 years are an era of 146,097 days.
    fn of(seconds: f64) -> Self {
        let days = days(seconds) + 719_468;
        let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
        let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let from_march = (5 * day_of_year + 2) / 153;
        let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
        let year = era * 400 + year_of_era + i128::from(month <= 2);
        Self { year, month, day: day_of_year - (153 * from_march + 2) / 5 + 1 }
    }
}

/// The days from the epoch to the first one of a month.
fn first_day(year: i128, month: i128) -> i128 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let from_march = (month + 9) % 12;
    let day_of_year = (153 * from_march + 2) / 5;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use jiff::tz::TimeZone;
    use proptest::prelude::proptest;

    use super::*;

    type Parts = [f64; 8];

    fn parts(seconds: f64) -> Parts {
        [minute, hour, day_of_week, day_of_month, day_of_year, days_in_month, month, year].map(|part| part(seconds))
    }

    /// As Prometheus 3.14 answers on a 64-bit PC.
    #[test]
    fn far_from_now() {
        let no_date = [30.0, 15.0, 0.0, 4.0, 339.0, 31.0, 12.0, 292_277_026_596.0];
        for seconds in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e300, -1e300] {
            assert_eq!(parts(seconds), no_date, "{seconds}");
        }
        assert_eq!(parts(1_795_913_096_000.0), [53.0, 4.0, 4.0, 21.0, 81.0, 31.0, 3.0, 58_880.0]);
        assert_eq!(parts(-1_795_913_096_001.7), [6.0, 19.0, 3.0, 12.0, 285.0, 31.0, 10.0, -54_941.0]);
        assert_eq!(parts(-9.2e18), [26.0, 12.0, 2.0, 3.0, 123.0, 31.0, 5.0, -291_536_392_293.0]);
    }

    proptest! {
        #[test]
        fn dates_are_those_of_the_calendar(seconds in -62_000_000_000.0..253_000_000_000.0_f64) {
            let at = TimeZone::UTC.to_datetime(Timestamp::from_second(seconds as i64).unwrap());
            let of_month = [at.day_of_year().into(), at.days_in_month().into(), at.month().into(), at.year().into()].map(|part: i32| f64::from(part));
            let of_day = [at.minute(), at.hour(), at.weekday().to_sunday_zero_offset(), at.day()].map(f64::from);
            assert_eq!(parts(seconds).to_vec(), [of_day, of_month].concat());
        }
    }
}
