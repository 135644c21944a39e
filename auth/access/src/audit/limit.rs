//! How many events of a kind are written. A kind is an action and a status: what is above the limit is counted until the window is
//! over, and then said in one line.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;
use weir_model::time::format_rfc3339;

use super::Action;

/// A flood of refusals writes ten lines a second, 4 kB, of each kind.
const LINES_MAX: u64 = 100;
const WINDOW: Duration = Duration::from_secs(10);
/// Kinds that are told apart; there are two actions and a handful of statuses.
const KINDS_MAX: usize = 32;

#[derive(Debug)]
struct Window {
    began: Instant,
    events: u64,
}

/// Events of each kind in its window.
#[derive(Debug, Default)]
pub(super) struct Limits(BTreeMap<(&'static str, u16), Window>);

/// Events that were not written.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Counted {
    action: &'static str,
    status: u16,
    pub count: u64,
}

impl Limits {
    /// Counts an event; whether it is to be written.
    pub fn admits(&mut self, action: Action, status: u16, now: Instant) -> bool {
        let kind = (action.name(), status);
        if !self.0.contains_key(&kind) && self.0.len() == KINDS_MAX {
            return false;
        }
        let window = self.0.entry(kind).or_insert(Window { began: now, events: 0 });
        // A window that is over and hides nothing begins anew; one that hides something is said first, by `take`.
        if now.duration_since(window.began) >= WINDOW && window.events <= LINES_MAX {
            *window = Window { began: now, events: 0 };
        }
        window.events += 1;
        window.events <= LINES_MAX
    }

    /// Ends the windows that are over, all of them without a time; what each has hidden.
    pub fn take(&mut self, now: Option<Instant>) -> Vec<Counted> {
        let mut counted = Vec::new();
        self.0.retain(|(action, status), window| {
            let is_over = now.is_none_or(|now| now.duration_since(window.began) >= WINDOW);
            if is_over && window.events > LINES_MAX {
                counted.push(Counted { action, status: *status, count: window.events - LINES_MAX });
            }
            !is_over
        });
        counted
    }
}

impl Counted {
    /// `at`: Unix nanoseconds.
    pub fn line(&self, at: i64) -> String {
        let reason = format!("{} more events of this kind within {} s were counted only", self.count, WINDOW.as_secs());
        json!({
            "time": format_rfc3339(at),
            "action": self.action,
            "status": self.status,
            "summarised": self.count,
            "reason": reason,
        })
        .to_string()
    }
}
