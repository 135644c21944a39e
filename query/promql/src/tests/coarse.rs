//! Downsampled series: what can be told of aggregates is what all samples tell; a warning says what cannot.

use proptest::prelude::{Just, Strategy, any, prop_oneof, proptest};
use proptest::{collection, prop_assert, prop_assert_eq};
use weir_model::label::Labels;
use weir_model::metric::{Aggregate, Family, STALE_NAN, is_stale};
use weir_model::scope::Scope;
use weir_model::select::{Budget, Covered, MetricReader, MetricSelect, NoBudget, ReadError, Series, SeriesCursor, SeriesList};

use crate::{Answer, Engine, Output, Request};

const RESOLUTION: i64 = 300_000;

/// Gives one series whatever is asked, as it is.
struct One(Series);

impl MetricReader for One {
    fn cursor<'a>(&'a self, select: &MetricSelect, _: &'a dyn Budget) -> Result<Box<dyn SeriesCursor + 'a>, ReadError> {
        let (start, end) = (select.start_ms - RESOLUTION, select.end_ms);
        let within = |at: &i64| (start..=end).contains(at);
        let places = self.0.timestamps.iter().enumerate().filter(|(_, at)| within(at)).map(|(i, _)| i);
        let (timestamps, values) = places.map(|i| (self.0.timestamps[i], self.0.values[i])).unzip();
        let aggregates = self.0.aggregates.iter().filter(|own| within(&own.last_ms)).copied().collect();
        let own = Series { labels: self.0.labels.clone(), timestamps, values, aggregates, ..Series::default() };
        Ok(Box::new(SeriesList::new(Covered { value: vec![own], ..Covered::default() })))
    }

    fn series(&self, _: &MetricSelect, _: &dyn Budget) -> Result<Covered<Vec<Labels>>, ReadError> {
        Ok(Covered::default())
    }

    fn families(&self, _: &Scope, _: &dyn Budget) -> Result<Covered<Vec<Family>>, ReadError> {
        Ok(Covered::default())
    }
}

fn raw(samples: &[(i64, f64)]) -> Series {
    let (timestamps, values) = samples.iter().copied().unzip();
    Series { labels: Labels::from_pairs([("__name__", "m_total")]), timestamps, values, ..Series::default() }
}

/// The samples up to a time at [`RESOLUTION`], the others as they are.
fn downsampled(samples: &[(i64, f64)], until: i64) -> Series {
    let mut left: Vec<(i64, f64)> = Vec::new();
    let mut aggregates: Vec<Aggregate> = Vec::new();
    let mut is_open = false;
    for (at, value) in samples.iter().copied() {
        if at > until || is_stale(value) {
            left.push((at, value));
            is_open = false;
            continue;
        }
        let piece = Aggregate::of(RESOLUTION, at, value);
        let end = Aggregate::stretch_end(RESOLUTION, at);
        match aggregates.last_mut().filter(|own| is_open && Aggregate::stretch_end(RESOLUTION, own.last_ms) == end) {
            Some(own) => {
                own.extend(&piece);
                left.pop();
            }
            None => aggregates.push(piece),
        }
        left.push((at, value));
        is_open = true;
    }
    Series { aggregates, ..raw(&left) }
}

fn ask(series: Series, query: &str, (start_ms, end_ms, step_ms): (i64, i64, i64)) -> Answer {
    let reader = One(series);
    let request = Request { scope: Scope::of("t"), query: query.into(), start_ms, end_ms, step_ms, lookback_ms: 300_000 };
    Engine { reader: &reader, budget: &NoBudget }.query(&request).expect("an answer")
}

/// Time and value of each step that has one.
fn points(answer: &Answer) -> Vec<(i64, f64)> {
    match &answer.output {
        Output::Matrix(rows) => rows.iter().flat_map(|row| row.points.clone()).collect(),
        other => panic!("{other:?}"),
    }
}

fn samples() -> impl Strategy<Value = Vec<(i64, f64)>> {
    let number = prop_oneof![
        6 => (0..50_u32).prop_map(f64::from), 2 => -5.0..5.0_f64, 1 => Just(0.0), 1 => Just(STALE_NAN),
    ];
    (collection::vec((1..90_000_i64, number), 1..120), any::<bool>()).prop_map(|(steps, counts_up)| {
        let (mut at, mut sum) = (0, 0.0);
        let mut samples = Vec::new();
        for (gap, value) in steps {
            at += gap;
            // A counter that begins anew now and then.
            sum = if value == 0.0 { 0.0 } else { sum + value.abs() };
            samples.push((at, if counts_up && !is_stale(value) { sum } else { value }));
        }
        samples
    })
}

proptest! {
    #[test]
    fn windows_of_whole_stretches_are_as_of_all_samples(samples in samples(), stretches in 1..5_i64, until in 0..40_i64) {
        let steps = (RESOLUTION * stretches, RESOLUTION * 36, RESOLUTION);
        let range = 5 * stretches;
        let exact = ["min", "max", "count", "last", "first", "present", "ts_of_first", "ts_of_last"].map(|own| format!("{own}_over_time"));
        let near = ["sum_over_time", "avg_over_time", "rate", "increase", "delta"].map(str::to_owned);
        for (function, is_exact) in exact.iter().map(|own| (own, true)).chain(near.iter().map(|own| (own, false))) {
            let query = format!("{function}(m_total[{range}m])");
            let all = ask(raw(&samples), &query, steps);
            let coarse = ask(downsampled(&samples, until * RESOLUTION), &query, steps);
            prop_assert!(coarse.warnings.is_empty(), "{:?}", coarse.warnings);
            let (all, coarse) = (points(&all), points(&coarse));
            prop_assert_eq!(all.len(), coarse.len(), "{}", query);
            for ((at, expected), (own_at, own)) in all.iter().zip(&coarse) {
                let close = (expected - own).abs() <= 1e-9 * (1.0 + expected.abs());
                prop_assert!(at == own_at && (expected.to_bits() == own.to_bits() || !is_exact && close),
                    "{query} at {at}: {own} of {expected}");
            }
        }
    }

    /// A series that goes on stays there between the last samples of two stretches, and ends where it ended.
    #[test]
    fn a_selector_has_no_gaps_that_samples_had_not(count in 2..200_i64, step in 1..7_i64) {
        let samples: Vec<(i64, f64)> = (1..=count).map(|i| (i * 15_000, i as f64)).chain([((count + 1) * 15_000, STALE_NAN)]).collect();
        let steps = (RESOLUTION, count * 15_000 + 600_000, step * 13_000);
        let times = |series| points(&ask(series, "m_total", steps)).into_iter().map(|(at, _)| at).collect::<Vec<_>>();
        let (all, coarse) = (times(raw(&samples)), times(downsampled(&samples, i64::MAX)));
        prop_assert_eq!(all, coarse);
    }
}

#[test]
fn what_cannot_be_told_is_said() {
    let samples: Vec<(i64, f64)> = (1..=80).map(|i| (i * 15_000, f64::from(i as u32))).collect();
    let warnings = |query: &str, until: i64| ask(downsampled(&samples, until), query, (1_200_000, 1_200_000, 1000)).warnings;
    let check = |query: &str, expected: &str| {
        let own = warnings(query, i64::MAX);
        assert!(own.len() == 1 && own[0].contains(expected), "{query}: {own:?}");
        assert!(warnings(query, 0).is_empty(), "{query} of what is as it came");
    };
    for function in ["stddev_over_time", "changes", "resets", "deriv", "irate", "mad_over_time"] {
        check(
            &format!("{function}(m_total[10m])"),
            &format!("{function} sees the last sample of each 5m only, where \"m_total\" is downsampled"),
        );
    }
    check("irate(m_total[1m] offset 130s)", "irate sees the last sample of each 5m only");
    check("quantile_over_time(0.5, m_total[10m])", "quantile_over_time sees the last sample");
    check("rate(m_total[7m])", "the range is not a multiple of 5m, to which \"m_total\" is downsampled");
    for query in ["m_total", "rate(m_total[10m])", "last_over_time(m_total[7m])", "max_over_time(m_total[5m])"] {
        assert_eq!(warnings(query, i64::MAX), [""; 0], "{query}");
    }
}

#[test]
fn a_rate_between_two_boundaries_is_of_the_window_before() {
    let samples: Vec<(i64, f64)> = (1..=160).map(|i| (i * 15_000, f64::from(i as u32) * 30.0)).collect();
    for minutes in 0..10 {
        let at = 1_200_000 + minutes * 30_000;
        let rates = points(&ask(downsampled(&samples, i64::MAX), "rate(m_total[5m])", (at, at + 300_000, 300_000)));
        assert!(rates.len() == 2 && rates.iter().all(|(_, rate)| (rate - 2.0).abs() < 1e-9), "{at}: {rates:?}");
    }
}

/// Ends a query after so many looks.
struct Ending(std::sync::atomic::AtomicU64);

impl Budget for Ending {
    fn check(&self) -> Result<(), ReadError> {
        let before = self.0.fetch_sub(1, std::sync::atomic::Ordering::Relaxed);
        if before > 0 { Ok(()) } else { Err(ReadError::Cancelled("told to")) }
    }

    fn spend(&self, _: u64) -> Result<(), ReadError> {
        Ok(())
    }
}

#[test]
fn a_query_of_one_long_series_ends_when_it_is_told_to() {
    let reader = One(downsampled(&steady(20_000), i64::MAX));
    let (start_ms, end_ms, step_ms) = (RESOLUTION * 1000, RESOLUTION * 1000 + 1_000_000, 1000);
    let query = "rate(m_total[3d])".to_owned();
    let request = Request { scope: Scope::of("t"), query, start_ms, end_ms, step_ms, lookback_ms: 300_000 };
    // More than a query of one series takes beside.
    let budget = Ending(6.into());
    let error = Engine { reader: &reader, budget: &budget }.query(&request).expect_err("ended");
    assert!(format!("{error:?}").contains("Cancelled"), "{error:?}");
}

/// Last samples lie up to a scrape before the ends of stretches.
#[test]
fn a_window_as_wide_as_stretches_has_as_many_of_them_wherever_it_begins() {
    let samples: Vec<(i64, f64)> = (1..=300).map(|i| (i * 40_000, i as f64)).collect();
    let steps = (1_500_000, 9_000_000, 7_000);
    for (minutes, expected) in [(4, 6.0), (5, 7.5), (10, 15.0), (20, 30.0)] {
        for (query, most) in [("count_over_time", 0.5), ("increase", 0.2)] {
            // Of all samples, of stretches, and where these end in between.
            for until in [0, i64::MAX, 10 * RESOLUTION] {
                let query = format!("{query}(m_total[{minutes}m])");
                let own = points(&ask(downsampled(&samples, until), &query, steps));
                let times: Vec<i64> = own.iter().map(|(at, _)| *at).collect();
                assert_eq!(times, (1_500_000..=9_000_000).step_by(7_000).collect::<Vec<_>>(), "{query}");
                for (at, own) in own {
                    assert!((own - expected).abs() <= most * 2.0, "{query} at {at}: {own} of {expected}");
                }
            }
        }
    }
    assert!(points(&ask(downsampled(&samples, i64::MAX), "absent_over_time(m_total[5m])", steps)).is_empty());
}

/// What lies between two last samples is told from both, from the earlier one alone where the later one is too far ahead.
#[test]
fn smoothed_has_no_gaps_between_last_samples_and_says_that_they_are_that() {
    let mut samples: Vec<(i64, f64)> = (1..=100).map(|i| (i * 40_000, i as f64)).collect();
    samples.push((4_040_000, STALE_NAN));
    let smoothed = |series| ask(series, "m_total smoothed", (RESOLUTION, 4_500_000, 7_000));
    let (all, coarse) = (smoothed(raw(&samples)), smoothed(downsampled(&samples, i64::MAX)));
    let times = |answer: &Answer| points(answer).into_iter().map(|(at, _)| at).collect::<Vec<_>>();
    assert_eq!(times(&all), times(&coarse));
    assert!(all.warnings.is_empty(), "{:?}", all.warnings);
    assert!(
        coarse.warnings.len() == 1 && coarse.warnings[0].contains("of each 5m only the last sample is left"),
        "{:?}",
        coarse.warnings
    );
}

/// A sample every 15 seconds, which counts up by one, until a marker after so many.
fn steady(count: i64) -> Vec<(i64, f64)> {
    (1..=count).map(|i| (i * 15_000, i as f64)).chain([((count + 1) * 15_000, STALE_NAN)]).collect()
}

/// Where windows are narrower than stretches, many have no last sample.
#[test]
fn narrow_windows_have_no_gaps_and_end_where_the_series_ends() {
    let (samples, ended) = (steady(100), 101 * 15_000);
    let coarse = |query: &str, steps| ask(downsampled(&samples, i64::MAX), query, steps);
    // From the end of the first stretch, at times that are no multiples of anything.
    let steps = (RESOLUTION, 3_000_000, 7_000);
    for (query, expected) in [
        ("rate(m_total[1m])", 1.0 / 15.0),
        ("increase(m_total[1m])", 4.0),
        ("delta(m_total[2m])", 8.0),
        ("count_over_time(m_total[1m])", 4.0),
        ("present_over_time(m_total[30s])", 1.0),
    ] {
        let answer = coarse(query, steps);
        let points = points(&answer);
        let times: Vec<i64> = points.iter().map(|(at, _)| *at).collect();
        let own = (RESOLUTION..).step_by(7_000).take_while(|at| *at < ended).count();
        // A window that begins before the marker ends after it.
        assert!(times.len() >= own && times.len() <= own + 18, "{query}: {} of {own}", times.len());
        assert!(times.windows(2).all(|pair| pair[1] - pair[0] == 7_000), "{query}: {times:?}");
        // The last stretch was over when the series was not.
        let whole = points.iter().filter(|(at, _)| *at < 1_500_000);
        for (at, own) in whole.clone() {
            assert!((own - expected).abs() < 1e-9, "{query} at {at}: {own} of {expected}");
        }
        assert_eq!(answer.warnings.len(), usize::from(!query.starts_with("present")), "{query}: {:?}", answer.warnings);
    }
    for (query, expected) in
        [("max_over_time(m_total[1m])", 40.0), ("min_over_time(m_total[1m])", 21.0), ("avg_over_time(m_total[1m])", 30.5)]
    {
        let points = points(&coarse(query, (700_000, 800_000, 50_000)));
        assert_eq!(points, [(700_000, expected), (750_000, expected), (800_000, expected)], "{query}");
    }
    assert!(points(&coarse("absent_over_time(m_total[1m])", (RESOLUTION, ended - 1000, 7_000))).is_empty());
    assert!(!points(&coarse("absent_over_time(m_total[1m])", (ended + 60_000, ended + 90_000, 7_000))).is_empty());
    let at = |offset: &str, start: i64| points(&coarse(&format!("rate(m_total[1m] {offset})"), (start, start + 100_000, 50_000)));
    assert_eq!(at("offset 5m", 1_000_000).len(), 3);
    assert_eq!(at("@ 700", 9_000_000).len(), 3);
}

/// The sum of what stretches say of parts of them is what there was.
#[test]
fn sums_of_narrow_windows_are_no_more_than_there_was() {
    let samples = steady(400);
    for query in ["count_over_time(m_total[1m])", "count_over_time(m_total[100s])", "increase(m_total[1m])"] {
        let range = if query.contains("100s") { 100_000 } else { 60_000 };
        let sum = |series| points(&ask(series, query, (RESOLUTION, 6_000_000, range))).iter().map(|(_, own)| own).sum::<f64>();
        let (all, coarse) = (sum(raw(&samples)), sum(downsampled(&samples, i64::MAX)));
        assert!((all - coarse).abs() <= 0.05 * all, "{query}: {coarse} of {all}");
        // Where what is downsampled ends in between.
        let mixed = sum(downsampled(&samples, 10 * RESOLUTION));
        assert!((all - mixed).abs() <= 0.05 * all, "{query}: {mixed} of {all}");
    }
}

/// What came late lies beside an aggregate, and is no reset.
#[test]
fn a_late_sample_is_no_reset() {
    let samples = steady(100);
    let mut coarse = downsampled(&samples, i64::MAX);
    let place = coarse.timestamps.partition_point(|at| *at < 700_000);
    coarse.timestamps.insert(place, 700_000);
    coarse.values.insert(place, 46.0);
    for range in [5, 10, 20] {
        let rates = points(&ask(coarse.clone(), &format!("rate(m_total[{range}m])"), (1_200_000, 1_200_000, 1000)));
        assert!(rates.len() == 1 && (rates[0].1 - 1.0 / 15.0).abs() < 1e-3, "{range}: {rates:?}");
    }
}
