//! How far clocks are apart. A call is a span with a child on another clock: the child began after the call did, and where
//! the call waited for its answer, the child was over before. Each call so bounds what has to be added to one clock for the
//! times of another, as each exchange of NTP does (RFC 5905 §8), and all calls between two clocks together bound it best.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use weir_model::span::{Span, SpanKind};

/// A clock of the trace, and how it goes beside that of the trace's root.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Clock {
    /// Whose: the node, or what else the spans name.
    pub(crate) name: String,
    /// Nanoseconds to add to its times for those of the root's clock.
    pub(crate) offset: i64,
    /// Calls from which that is known; 0: nothing is, so its times are taken as they are.
    pub(crate) calls: u64,
}

/// Bounds of what has to be added to the second clock's times for those of the first.
#[derive(Clone, Copy, Debug)]
struct Bounds {
    least: i64,
    most: i64,
    /// One of the calls was a request that waited for its answer: then the middle is likelier than an edge, since both
    /// ways through the network take about as long.
    has_request: bool,
    calls: u64,
}

impl Bounds {
    const NONE: Self = Self { least: i64::MIN, most: i64::MAX, has_request: false, calls: 0 };

    fn of(parent: &Span, child: &Span) -> Self {
        let least = parent.start.saturating_sub(child.start);
        let most = parent.end.saturating_sub(child.end);
        // A child that takes longer than the call was not waited for, whatever the kinds say.
        let is_request = parent.kind == SpanKind::Client && child.kind == SpanKind::Server && most >= least;
        Self { least, most: if is_request { most } else { i64::MAX }, has_request: is_request, calls: 1 }
    }

    /// The same with the clocks in each other's place.
    fn turned(self) -> Self {
        let negated = |bound: i64| bound.checked_neg().unwrap_or(i64::MAX);
        let least = if self.most == i64::MAX { i64::MIN } else { negated(self.most) };
        let most = if self.least == i64::MIN { i64::MAX } else { negated(self.least) };
        Self { least, most, ..self }
    }

    fn and(self, other: Self) -> Self {
        Self {
            least: self.least.max(other.least),
            most: self.most.min(other.most),
            has_request: self.has_request || other.has_request,
            calls: self.calls + other.calls,
        }
    }

    fn width(self) -> u64 {
        if self.least > self.most { 0 } else { self.most.abs_diff(self.least) }
    }

    /// The second clock's offset where the first has `first`: none where clocks that go alike explain the calls.
    fn choose(self, first: i64) -> i64 {
        let bound = |bound: i64| if bound == i64::MIN || bound == i64::MAX { bound } else { bound.saturating_add(first) };
        let (least, most) = (bound(self.least), bound(self.most));
        let middle = ((i128::from(least) + i128::from(most)) / 2) as i64;
        match () {
            // The calls contradict each other: a clock was set meanwhile, or spans end late. Both give way.
            () if least > most => middle,
            () if least <= 0 && 0 <= most => 0,
            () if self.has_request && least != i64::MIN && most != i64::MAX => middle,
            () if least > 0 => least,
            () => most,
        }
    }
}

/// The calls between the clocks of a trace, by their numbers.
#[derive(Debug, Default)]
pub(super) struct Calls(BTreeMap<(usize, usize), Bounds>);

impl Calls {
    /// A span and its child; of one clock they say nothing.
    pub(super) fn add(&mut self, (parent_clock, parent): (usize, &Span), (child_clock, child): (usize, &Span)) {
        let bounds = Bounds::of(parent, child);
        let (key, bounds) = match parent_clock.cmp(&child_clock) {
            std::cmp::Ordering::Equal => return,
            std::cmp::Ordering::Less => ((parent_clock, child_clock), bounds),
            std::cmp::Ordering::Greater => ((child_clock, parent_clock), bounds.turned()),
        };
        let known = self.0.entry(key).or_insert(Bounds::NONE);
        *known = known.and(bounds);
    }

    /// Sets the offsets of all clocks: from the root's outward, always by the calls that bound one best. Clocks that no call
    /// leads to go as they are, and so does the first of each group of them.
    pub(super) fn estimate(&self, clocks: &mut [Clock], root: usize) {
        let mut beside: Vec<Vec<(usize, Bounds)>> = vec![Vec::new(); clocks.len()];
        for ((first, second), bounds) in &self.0 {
            beside[*first].push((*second, *bounds));
            beside[*second].push((*first, bounds.turned()));
        }
        let mut is_known = vec![false; clocks.len()];
        for start in std::iter::once(root).chain(0..clocks.len()) {
            // By width, then by how many calls; at the end what the clock is told from, and in which of its bounds.
            let mut next = BinaryHeap::from([Reverse((0, Reverse(0), start, start, usize::MAX))]);
            while let Some(Reverse((_, Reverse(calls), clock, from, place))) = next.pop() {
                if std::mem::replace(&mut is_known[clock], true) {
                    continue;
                }
                if let Some((_, bounds)) = beside[from].get(place) {
                    (clocks[clock].offset, clocks[clock].calls) = (bounds.choose(clocks[from].offset), calls);
                }
                for (place, (second, bounds)) in beside[clock].iter().enumerate() {
                    if !is_known[*second] {
                        next.push(Reverse((bounds.width(), Reverse(bounds.calls), *second, clock, place)));
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REQUEST: (SpanKind, SpanKind) = (SpanKind::Client, SpanKind::Server);

    /// Parent's clock, start and end, the same of the child, and their kinds.
    type Call = ((usize, i64, i64), (usize, i64, i64), (SpanKind, SpanKind));

    fn check(clocks: usize, calls: &[Call], expected: &[i64]) {
        let span = |start, end, kind| Span { start, end, kind, ..Span::default() };
        let mut all = Calls::default();
        for ((a, a_start, a_end), (b, b_start, b_end), (parent, child)) in calls {
            all.add((*a, &span(*a_start, *a_end, *parent)), (*b, &span(*b_start, *b_end, *child)));
        }
        let mut told = vec![Clock::default(); clocks];
        all.estimate(&mut told, 0);
        assert_eq!(told.iter().map(|clock| clock.offset).collect::<Vec<_>>(), expected, "{calls:?}");
    }

    #[test]
    fn a_request_puts_its_answerer_in_its_middle() {
        check(2, &[((0, 0, 100), (1, -4990, -4910), REQUEST)], &[0, 5000]);
        check(2, &[((0, 0, 100), (1, 5010, 5090), REQUEST)], &[0, -5000]);
        // A second call is narrower, so it says more.
        check(2, &[((0, 0, 100), (1, -4990, -4910), REQUEST), ((0, 200, 300), (1, -4798, -4706), REQUEST)], &[0, 5002]);
    }

    #[test]
    fn clocks_that_can_go_alike_are_left_alone() {
        check(2, &[((0, 0, 100), (1, 60, 99), REQUEST)], &[0, 0]);
        check(3, &[((0, 0, 100), (1, 10, 90), REQUEST)], &[0, 0, 0]);
        check(1, &[((0, 50, 100), (0, 10, 20), REQUEST)], &[0]);
    }

    #[test]
    fn what_nobody_waits_for_is_only_not_before() {
        let message = (SpanKind::Producer, SpanKind::Consumer);
        check(2, &[((0, 1000, 1001), (1, 400, 9000), message)], &[0, 600]);
        check(2, &[((0, 1000, 1001), (1, 5000, 9000), message)], &[0, 0]);
        // Longer than the call: not waited for.
        check(2, &[((0, 1000, 1010), (1, 400, 9000), REQUEST)], &[0, 600]);
        // Calls both ways bound it on both sides.
        check(2, &[((0, 1000, 1001), (1, 400, 500), message), ((1, 600, 601), (0, 1230, 1231), message)], &[0, 600]);
    }

    #[test]
    fn offsets_add_up_along_calls_and_contradictions_meet_in_the_middle() {
        check(3, &[((0, 0, 100), (1, -990, -910), REQUEST), ((1, -980, -920), (2, 4030, 4070), REQUEST)], &[0, 1000, -4000]);
        // The root is called by nobody, and the order of calls does not matter.
        check(3, &[((1, -980, -920), (2, 4030, 4070), REQUEST), ((0, 0, 100), (1, -990, -910), REQUEST)], &[0, 1000, -4000]);
        check(2, &[((0, 0, 10), (1, 100, 110), REQUEST), ((0, 0, 10), (1, 300, 310), REQUEST)], &[0, -200]);
        // Two that nothing leads to: the first of them as it is.
        check(4, &[((2, 0, 100), (3, 5010, 5090), REQUEST)], &[0, 0, 0, -5000]);
    }

    #[test]
    fn times_at_the_edges_of_what_can_be_told_do_not_overflow() {
        check(2, &[((0, i64::MIN, i64::MAX), (1, i64::MAX, i64::MIN), REQUEST)], &[0, 0]);
        check(2, &[((1, i64::MAX, i64::MAX), (0, i64::MIN, i64::MIN), REQUEST)], &[0, -i64::MAX]);
    }
}
