//! Commands that ask a running weir over HTTP and print what it says.
//!
//! - [`profile`]: addresses and credentials that are kept; [`login`]: `login`, `logout`, `whoami`; [`device`]:
//!   signing in at weir's issuer, and the tokens that go on from there.
//! - [`address`]: which weir is asked, and as whom; [`http`]: one question and its answer; [`unreachable`]: why there was none, in words.
//! - [`logs`], [`follow`], [`metrics`], [`trace`], [`trace_logs`], [`usage`], [`cardinality`], [`admin`]: a command each.
//! - [`show`]: volume, patterns and fields of log lines. [`lines`]: log lines asked for and written; [`print`]: rows to stdout, and to stderr what the answer does not cover.

mod address;
mod admin;
mod cardinality;
mod context;
mod device;
mod disk;
mod follow;
mod http;
mod lines;
mod login;
mod logs;
mod metrics;
mod print;
mod profile;
mod show;
mod trace;
mod trace_logs;
mod unreachable;
mod usage;

pub(crate) use admin::admin;
pub(crate) use cardinality::cardinality;
pub(crate) use login::{login, logout, whoami};
pub(crate) use logs::logs;
pub(crate) use metrics::metrics;
pub(crate) use trace::trace;
pub(crate) use usage::usage;

use weir_model::time::{SECOND, UnixNanos, parse_duration};

use crate::Failure;
use crate::args::RangeArguments;
use crate::service::lifecycle::now;
use crate::text::clock::Clock;

/// The range of a query when nothing is said.
const RANGE_DEFAULT: i64 = 3600 * SECOND;

/// Begin and end; errors name the option.
fn range(range: &RangeArguments, clock: &Clock) -> Result<(UnixNanos, UnixNanos), Failure> {
    let now = now();
    let time = |flag: &str, text: &str| clock.parse(text, now).map_err(|error| Failure::input(format!("{flag}: {error}")));
    let end = range.to.as_deref().map_or(Ok(now), |to| time("--to", to))?;
    let start = match (&range.from, &range.since) {
        (Some(from), _) => time("--from", from)?,
        (None, Some(since)) => {
            let back = parse_duration(since).map_err(|error| Failure::input(format!("--since: {error}")))?;
            end.saturating_sub(back)
        }
        (None, None) => end.saturating_sub(RANGE_DEFAULT),
    };
    if start >= end {
        let (start, end) = (clock.millis(start), clock.millis(end));
        return Err(Failure::input(format!("the range is empty: it begins at {start} and ends at {end}")));
    }
    Ok((start, end))
}

#[cfg(test)]
mod tests;
