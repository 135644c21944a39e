//! Whose turn it is: places to run, handed out to tenants in turn. Pure: it knows neither clocks nor tasks, and does not wait.
//!
//! Each tenant has a queue of its own, first come, first served; a place that is free goes to the next tenant that has a query
//! waiting. So a tenant with a thousand queries delays another's by the one query that has to end first. A query of several tenants
//! stands in the queue of each, has to be reached in every one of them, and counts as running for each.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

/// One entrant, for as long as it waits or runs.
pub(crate) type Ticket = u64;

/// A tenant of an entrant, and how many of the tenant's may run at once, and wait.
#[derive(Clone, Debug)]
pub(crate) struct Share {
    pub tenant: Arc<str>,
    pub running_max: u64,
    pub waiting_max: u64,
}

/// Of the whole queue.
#[derive(Clone, Copy, Debug)]
pub(crate) struct QueueLimits {
    /// Places.
    pub running_max: usize,
    /// Entrants that wait.
    pub waiting_max: usize,
}

/// Why an entrant does not wait.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// As many of this tenant wait as may.
    Tenant { tenant: Arc<str>, limit: u64 },
    /// As many wait as may, and of this tenant the most.
    All,
}

/// What became of entrants, each with what it brought.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Turn<T> {
    Run(T),
    Refused(T, Refusal),
}

/// See above. `T`: what an entrant brings, to be told by.
#[derive(Debug)]
pub(crate) struct Queue<T> {
    limits: QueueLimits,
    next: Ticket,
    entrants: HashMap<Ticket, Entrant<T>>,
    /// Places that are taken.
    running: usize,
    /// Entrants that have not got a place.
    waiting: usize,
    tenants: BTreeMap<Arc<str>, Tenant>,
    /// Tenants whose queue is not empty, the next first.
    turns: VecDeque<Arc<str>>,
}

#[derive(Debug)]
struct Entrant<T> {
    shares: Vec<Share>,
    /// Tenants that have not reached it yet.
    due: usize,
    /// Until it runs.
    brought: Option<T>,
}

#[derive(Debug, Default)]
struct Tenant {
    queue: VecDeque<Ticket>,
    /// Entrants that run, or that wait for another tenant's turn alone.
    reached: u64,
}

impl<T> Queue<T> {
    pub fn new(limits: QueueLimits) -> Self {
        let (entrants, tenants, turns) = Default::default();
        Self { limits, next: 0, entrants, running: 0, waiting: 0, tenants, turns }
    }

    pub fn running(&self) -> usize {
        self.running
    }

    pub fn waiting(&self) -> usize {
        self.waiting
    }

    /// One more, of one tenant at least. What became of it, and of others, is in the turns; it waits where it is not among them.
    pub fn enter(&mut self, shares: Vec<Share>, brought: T) -> (Ticket, Vec<Turn<T>>) {
        let ticket = self.next;
        self.next += 1;
        for share in &shares {
            let tenant = self.tenants.entry(Arc::clone(&share.tenant)).or_default();
            if tenant.queue.is_empty() {
                self.turns.push_back(Arc::clone(&share.tenant));
            }
            tenant.queue.push_back(ticket);
        }
        self.entrants.insert(ticket, Entrant { due: shares.len(), shares, brought: Some(brought) });
        self.waiting += 1;
        let mut turns = self.hand_out();
        if let Some((refused, why)) = self.too_many(ticket) {
            let brought = self.remove(refused).and_then(|entrant| entrant.brought);
            turns.extend(brought.map(|brought| Turn::Refused(brought, why)));
            turns.extend(self.hand_out());
        }
        (ticket, turns)
    }

    /// One that has run, does not wait any more, or was refused.
    pub fn leave(&mut self, ticket: Ticket) -> Vec<Turn<T>> {
        if self.remove(ticket).is_none() { Vec::new() } else { self.hand_out() }
    }

    /// The share of a tenant that `ticket` waits for because as many of that tenant's run as may.
    pub fn held_up_by(&self, ticket: Ticket) -> Option<&Share> {
        let holds_up = |share: &&Share| {
            let tenant = &self.tenants[&share.tenant];
            tenant.reached >= share.running_max && tenant.queue.contains(&ticket)
        };
        self.entrants.get(&ticket)?.shares.iter().find(holds_up)
    }

    /// Who has to go because `ticket` has come: itself, where one of its tenants has too many that wait, or the last of the tenant
    /// that has most of all; of several that have as many, the one that came last.
    fn too_many(&self, ticket: Ticket) -> Option<(Ticket, Refusal)> {
        let entrant = self.entrants.get(&ticket).filter(|entrant| entrant.brought.is_some())?;
        let is_deep = |share: &&Share| self.tenants[&share.tenant].queue.len() as u64 > share.waiting_max;
        if let Some(share) = entrant.shares.iter().find(is_deep) {
            return Some((ticket, Refusal::Tenant { tenant: Arc::clone(&share.tenant), limit: share.waiting_max }));
        }
        if self.waiting <= self.limits.waiting_max {
            return None;
        }
        let most = self.tenants.values().max_by_key(|tenant| (tenant.queue.len(), tenant.queue.back().copied()))?;
        // All of them may be waiting for another tenant's turn alone: then nobody has a queue but the one who came.
        Some((most.queue.back().copied().unwrap_or(ticket), Refusal::All))
    }

    fn remove(&mut self, ticket: Ticket) -> Option<Entrant<T>> {
        let entrant = self.entrants.remove(&ticket)?;
        for Share { tenant: name, .. } in &entrant.shares {
            let tenant = self.tenants.get_mut(name).expect("invariant: an entrant's tenants are known");
            match tenant.queue.iter().position(|own| *own == ticket) {
                Some(at) => _ = tenant.queue.remove(at),
                None => tenant.reached -= 1,
            }
            if tenant.queue.is_empty() {
                self.turns.retain(|own| own != name);
                if tenant.reached == 0 {
                    self.tenants.remove(name);
                }
            }
        }
        match entrant.brought {
            Some(_) => self.waiting -= 1,
            None => self.running -= 1,
        }
        Some(entrant)
    }

    fn hand_out(&mut self) -> Vec<Turn<T>> {
        let mut turns = Vec::new();
        while self.running < self.limits.running_max
            && let Some(ticket) = self.reach_next()
        {
            let entrant = self.entrants.get_mut(&ticket).expect("invariant: who stands in a queue is an entrant");
            entrant.due -= 1;
            if entrant.due == 0 {
                (self.running, self.waiting) = (self.running + 1, self.waiting - 1);
                turns.extend(entrant.brought.take().map(Turn::Run));
            }
        }
        turns
    }

    /// The first entrant of the next tenant that may have one more running; the tenant's next turn comes after all others'.
    fn reach_next(&mut self) -> Option<Ticket> {
        for _ in 0..self.turns.len() {
            let name = self.turns.pop_front()?;
            let tenant = self.tenants.get_mut(&name)?;
            let first = *tenant.queue.front()?;
            let own = self.entrants[&first].shares.iter().find(|share| share.tenant == name)?;
            let reached = tenant.reached < own.running_max;
            if reached {
                tenant.queue.pop_front();
                tenant.reached += 1;
            }
            if !tenant.queue.is_empty() {
                self.turns.push_back(name);
            }
            if reached {
                return Some(first);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WAITING_MAX: u64 = 1000;

    fn queue(running_max: usize, waiting_max: usize) -> Queue<String> {
        Queue::new(QueueLimits { running_max, waiting_max })
    }

    /// `a|b/2`: of tenants a and b, of each of which two may run at once, and [`WAITING_MAX`] wait.
    fn shares(text: &str) -> Vec<Share> {
        let (names, max) = text.split_once('/').unwrap_or((text, "1000"));
        let share = |name: &str| Share { tenant: name.into(), running_max: max.parse().unwrap(), waiting_max: WAITING_MAX };
        names.split('|').map(share).collect()
    }

    /// `+x` runs, `-x` is refused.
    fn texts(turns: Vec<Turn<String>>) -> Vec<String> {
        let text = |turn| match turn {
            Turn::Run(name) => format!("+{name}"),
            Turn::Refused(name, Refusal::Tenant { tenant, .. }) => format!("-{name}: {tenant} has too many"),
            Turn::Refused(name, Refusal::All) => format!("-{name}: all are too many"),
        };
        turns.into_iter().map(text).collect()
    }

    /// Enters one by one as `a1`, `a2`, …; what became of all of them.
    fn enter(queue: &mut Queue<String>, of: &str, count: usize) -> (Vec<Ticket>, Vec<String>) {
        let (mut tickets, mut all) = (Vec::new(), Vec::new());
        for i in 1..=count {
            let (ticket, turns) = queue.enter(shares(of), format!("{of}{i}"));
            tickets.push(ticket);
            all.extend(texts(turns));
        }
        (tickets, all)
    }

    #[test]
    fn a_tenant_with_a_thousand_queries_delays_another_by_one() {
        let mut queue = queue(2, 2000);
        let (noisy, ran) = enter(&mut queue, "a", 1000);
        assert_eq!(ran, ["+a1", "+a2"], "all places where nobody else asks");
        let (_, none) = enter(&mut queue, "b", 3);
        assert!(none.is_empty() && queue.running() == 2 && queue.waiting() == 1001);
        // As places come free, the tenants alternate.
        let order: Vec<String> = (0..4).flat_map(|i| texts(queue.leave(noisy[i]))).collect();
        assert_eq!(order, ["+a3", "+b1", "+a4", "+b2"].map(String::from), "one turn each");
    }

    #[test]
    fn who_comes_first_of_a_tenant_runs_first_and_who_leaves_is_passed_over() {
        let mut queue = queue(1, 10);
        let (a, ran) = enter(&mut queue, "a", 4);
        assert_eq!(ran, ["+a1"]);
        assert!(queue.leave(a[1]).is_empty(), "one that waits leaves nobody a place");
        assert_eq!(texts(queue.leave(a[0])), ["+a3"]);
        assert_eq!(texts(queue.leave(a[2])), ["+a4"]);
        assert!(queue.leave(a[2]).is_empty(), "who has left is gone");
        assert!(queue.leave(a[3]).is_empty());
        assert_eq!((queue.running(), queue.waiting(), queue.tenants.len(), queue.turns.len()), (0, 0, 0, 0));
    }

    #[test]
    fn a_tenants_own_limits_leave_places_to_others() {
        let mut queue = queue(3, 2000);
        let (a, ran) = enter(&mut queue, "a/2", 4);
        assert_eq!(ran, ["+a/21", "+a/22"]);
        let (_, ran) = enter(&mut queue, "b", 2);
        assert_eq!(ran, ["+b1"]);
        assert_eq!(texts(queue.leave(a[0])), ["+a/23"], "its turn comes before b's second");
        let (_, refused) = enter(&mut queue, "a/2", 1000);
        assert_eq!(refused, ["-a/21000: a has too many"], "999 of these wait beside the one that waited");
    }

    #[test]
    fn where_too_many_wait_the_tenant_with_most_loses_its_last() {
        let mut queue = queue(1, 3);
        let (a, _) = enter(&mut queue, "a", 4);
        assert_eq!(enter(&mut queue, "a", 1).1, ["-a1: all are too many"]);
        let (b, refused) = enter(&mut queue, "b", 1);
        assert_eq!(refused, ["-a4: all are too many"]);
        assert!(queue.leave(a[3]).is_empty(), "it is not there any more");
        assert_eq!((texts(queue.leave(a[0])), queue.waiting()), (vec!["+a2".into()], 2));
        assert_eq!(texts(queue.leave(a[1])), ["+b1"]);
        assert_eq!(texts(queue.leave(b[0])), ["+a3"]);
    }

    #[test]
    fn where_several_tenants_have_most_the_one_that_came_last_goes() {
        let mut queue = queue(1, 2);
        ["a", "a", "z"].into_iter().for_each(|of| assert!(!enter(&mut queue, of, 1).1.iter().any(|turn| turn.starts_with('-'))));
        assert_eq!(enter(&mut queue, "b", 1).1, ["-b1: all are too many"], "z was there before it");
        let mut queue = self::queue(1, 4);
        enter(&mut queue, "z", 3);
        enter(&mut queue, "a", 2);
        assert_eq!(enter(&mut queue, "b", 1).1, ["-a2: all are too many"], "b has less than both");
    }

    #[test]
    fn who_waits_knows_whether_its_tenants_own_limit_holds_it_up() {
        let mut queue = queue(2, 100);
        let (a, _) = enter(&mut queue, "a/1", 2);
        let held_up_by = |queue: &Queue<String>, ticket| queue.held_up_by(ticket).map(|share| share.tenant.to_string());
        assert_eq!((held_up_by(&queue, a[0]), held_up_by(&queue, a[1])), (None, Some("a".into())));
        enter(&mut queue, "b", 1);
        let (c, _) = enter(&mut queue, "c/1", 1);
        assert_eq!(held_up_by(&queue, c[0]), None, "nothing of c runs");
        let (both, _) = enter(&mut queue, "a|c/1", 1);
        assert_eq!(held_up_by(&queue, both[0]), Some("a".into()));
    }

    #[test]
    fn a_query_of_several_tenants_waits_for_a_turn_of_each_and_counts_for_each() {
        let mut queue = queue(2, 100);
        let (a, _) = enter(&mut queue, "a/2", 3);
        let (both, _) = enter(&mut queue, "a|b/2", 1);
        let (b, _) = enter(&mut queue, "b/2", 1);
        // b's turn reaches the query of both, which has a's still before it.
        assert_eq!(texts(queue.leave(a[0])), ["+a/23"]);
        assert_eq!(texts(queue.leave(a[1])), ["+a|b/21"]);
        assert_eq!(texts(queue.leave(a[2])), ["+b/21"]);
        // One of a's two places is the query of both.
        let (more, ran) = enter(&mut queue, "a/1", 1);
        assert!(ran.is_empty());
        assert!(queue.leave(b[0]).is_empty(), "a place is free, and a has what it may");
        assert_eq!(texts(queue.leave(both[0])), ["+a/11"]);
        queue.leave(more[0]);
        assert_eq!((queue.running(), queue.waiting(), queue.tenants.len()), (0, 0, 0));
    }

    #[test]
    fn who_waits_for_another_tenants_turn_gives_it_back_when_it_leaves() {
        let mut queue = queue(3, 2000);
        let (b, _) = enter(&mut queue, "b/1", 1);
        let (both, ran) = enter(&mut queue, "a|b/1", 1);
        assert!(ran.is_empty());
        let (_, ran) = enter(&mut queue, "a/1", 1);
        assert!(ran.is_empty(), "a's only turn is taken");
        assert_eq!(texts(queue.leave(both[0])), ["+a/11"]);
        assert!(queue.leave(b[0]).is_empty());
        assert_eq!((queue.running(), queue.waiting()), (1, 0));
    }
}
