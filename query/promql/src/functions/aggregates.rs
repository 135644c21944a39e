//! What can be told of a window where data is downsampled, from one aggregate of all of it. Functions that are not here cannot be answered:
//! they see the last sample of each stretch, and a warning says so.

use weir_model::metric::Aggregate;

use super::Window;
use super::rate::stretch;

/// Of a window that has at least one sample.
pub(crate) type OfAggregate = fn(&Aggregate, &Window<'_>) -> Option<f64>;

/// How a function is told from aggregates.
#[derive(Clone, Copy)]
pub(crate) struct Coarse {
    pub of: OfAggregate,
    /// It is of the change between the window's edges, and reaches beyond the outermost samples.
    pub is_change: bool,
    /// It is divided by the window's width.
    pub per_second: bool,
    /// It depends on which samples are in the window, not on the last one alone.
    pub is_of_all: bool,
    /// Half a stretch has half of it.
    pub is_additive: bool,
}

/// `None` where aggregates do not tell.
pub(crate) fn coarse(function: &str) -> Option<Coarse> {
    let plain = |of: OfAggregate| Coarse { of, is_change: false, per_second: false, is_of_all: true, is_additive: false };
    let additive = |of: OfAggregate| Coarse { is_additive: true, ..plain(of) };
    let change = |of: OfAggregate| Coarse { is_change: true, ..plain(of) };
    Some(match function {
        "avg_over_time" => plain(|own, _| Some(own.sum / own.count)),
        "count_over_time" => additive(|own, _| Some(own.count)),
        "delta" => change(|own, window| changed(own, window, own.last - own.first, None)),
        "first_over_time" => plain(|own, _| Some(own.first)),
        "increase" => change(increase),
        "last_over_time" => Coarse { is_of_all: false, ..plain(|own, _| Some(own.last)) },
        "max_over_time" => plain(|own, _| Some(own.max)),
        "min_over_time" => plain(|own, _| Some(own.min)),
        "present_over_time" => Coarse { is_of_all: false, ..plain(|_, _| Some(1.0)) },
        "rate" => Coarse { per_second: true, ..change(|own, window| increase(own, window).map(|all| all / window.seconds())) },
        "sum_over_time" => additive(|own, _| Some(own.sum)),
        "ts_of_first_over_time" => plain(|own, _| Some(own.first_ms as f64 / 1000.0)),
        "ts_of_last_over_time" => Coarse { is_of_all: false, ..plain(|own, _| Some(own.last_ms as f64 / 1000.0)) },
        _ => return None,
    })
}

fn increase(own: &Aggregate, window: &Window<'_>) -> Option<f64> {
    let difference = own.last - own.first + own.lost;
    changed(own, window, difference, Some((own.first, difference)))
}

/// As of samples: stretched to the window's edges.
fn changed(own: &Aggregate, window: &Window<'_>, difference: f64, counter: Option<(f64, f64)>) -> Option<f64> {
    let samples = own.count as usize;
    (samples > 1).then(|| difference * stretch(window, (own.first_ms, own.last_ms), samples, counter))
}
