//! The queue of one lane: tenants take turns by bytes (deficit round robin), each tenant's sections stay in their order. It is bounded by
//! the [room](super::room) that every section in it holds.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::queue::QueuedSection;
use crate::error::ShipError;

/// Bytes of a turn: a tenant with something small waits for so many bytes of each other one, and sections of usual pushes take a turn
/// or less.
const TURN_BYTES: usize = 256 << 10;

/// Where sections go in; there is one. The queue ends with it, when all that is in it has been taken.
pub(super) struct Entrance<S>(Arc<Queue<S>>);

/// Where they are taken out; there is one.
pub(super) struct Exit<S>(Arc<Queue<S>>);

struct Queue<S> {
    waiting: Mutex<Waiting<S>>,
    changed: Notify,
}

struct Waiting<S> {
    tenants: HashMap<Arc<str>, OfTenant<S>>,
    /// Those with sections, the next first.
    turns: VecDeque<Arc<str>>,
    is_closed: bool,
}

struct OfTenant<S> {
    sections: VecDeque<QueuedSection<S>>,
    /// Bytes that it may still take in its turn.
    credit: usize,
}

pub(super) fn queue<S>() -> (Entrance<S>, Exit<S>) {
    let waiting = Mutex::new(Waiting { tenants: HashMap::new(), turns: VecDeque::new(), is_closed: false });
    let queue = Arc::new(Queue { waiting, changed: Notify::new() });
    (Entrance(Arc::clone(&queue)), Exit(queue))
}

impl<S> Entrance<S> {
    /// Errors when nobody takes any more.
    pub fn push(&self, queued: QueuedSection<S>) -> Result<(), ShipError> {
        {
            let mut waiting = self.0.waiting.lock();
            if waiting.is_closed {
                return Err(ShipError::Stopped);
            }
            waiting.push(queued);
        }
        self.0.changed.notify_one();
        Ok(())
    }
}

impl<S> Exit<S> {
    /// The next section; `None` when there will be none. Cancel-safe.
    pub async fn next(&self) -> Option<QueuedSection<S>> {
        loop {
            let changed = self.0.changed.notified();
            {
                let mut waiting = self.0.waiting.lock();
                let next = waiting.pop();
                if next.is_some() || waiting.is_closed {
                    return next;
                }
            }
            changed.await;
        }
    }
}

impl<S> Waiting<S> {
    fn push(&mut self, queued: QueuedSection<S>) {
        let tenant = queued.section.header.tenant.as_str();
        if let Some(own) = self.tenants.get_mut(tenant) {
            return own.sections.push_back(queued);
        }
        let tenant: Arc<str> = tenant.into();
        self.turns.push_back(Arc::clone(&tenant));
        self.tenants.insert(tenant, OfTenant { sections: VecDeque::from([queued]), credit: TURN_BYTES });
    }

    fn pop(&mut self) -> Option<QueuedSection<S>> {
        loop {
            let tenant = Arc::clone(self.turns.front()?);
            let own = self.tenants.get_mut(&tenant).expect("invariant: who has a turn has sections");
            let weight = own.sections.front().expect("invariant: who has a turn has sections").weight;
            if own.credit < weight {
                own.credit += TURN_BYTES;
                self.turns.rotate_left(1);
                continue;
            }
            own.credit -= weight;
            let taken = own.sections.pop_front();
            if own.sections.is_empty() {
                self.tenants.remove(&tenant);
                self.turns.pop_front();
            }
            return taken;
        }
    }
}

impl<S> Drop for Entrance<S> {
    fn drop(&mut self) {
        self.0.waiting.lock().is_closed = true;
        self.0.changed.notify_one();
    }
}

/// Whoever waits for a section that is left hears that it will not be stored.
impl<S> Drop for Exit<S> {
    fn drop(&mut self) {
        let left = {
            let mut waiting = self.0.waiting.lock();
            waiting.is_closed = true;
            waiting.turns.clear();
            std::mem::take(&mut waiting.tenants)
        };
        drop(left);
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use tokio::sync::oneshot;
    use weir_model::usage::Amount;
    use weir_model::wire::{Mark, Section, SectionHeader};

    use super::super::queue::Completion;
    use super::super::room::Rooms;
    use super::*;

    fn poll<F: Future>(future: F) -> Option<F::Output> {
        match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(output) => Some(output),
            Poll::Pending => None,
        }
    }

    /// The `number`th section of a tenant.
    fn section(rooms: &Arc<Rooms>, tenant: &str, number: usize, weight: usize) -> QueuedSection<usize> {
        let room = poll(rooms.take(tenant, 1)).unwrap();
        let mark = Mark::Digest([0; 16]);
        let header = SectionHeader { tenant: tenant.into(), source: "s".into(), mark, records: 1 };
        let done = Completion { tx: oneshot::channel().0, amount: Amount::default(), _room: room };
        QueuedSection { section: Section { header, batch: Arc::new(number) }, weight, done }
    }

    #[test]
    fn a_small_push_passes_a_flood() {
        let (rooms, (entrance, exit)) = (Rooms::new(10_000), queue());
        for number in 0..1_000 {
            assert!(entrance.push(section(&rooms, "noisy", number, 64 << 10)).is_ok());
        }
        let mut taken = Vec::new();
        let mut take = |count| {
            let next = || poll(exit.next()).flatten().unwrap();
            let sections: Vec<_> =
                (0..count).map(|_| next()).map(|queued| (queued.section.header.tenant, *queued.section.batch)).collect();
            taken.extend(sections.clone());
            sections
        };
        take(100);
        for number in 0..3 {
            assert!(entrance.push(section(&rooms, "quiet", number, 1 << 10)).is_ok());
        }
        // A turn of the flood is four sections of 64 KiB; all that is small goes in the turn that follows.
        let next: Vec<String> = take(8).into_iter().map(|(tenant, _)| tenant).collect();
        let place = next.iter().position(|tenant| tenant == "quiet").unwrap();
        assert!(place <= 4 && next[place..place + 3].iter().all(|tenant| tenant == "quiet"), "{next:?}");
        take(895);
        for tenant in ["noisy", "quiet"] {
            let own = taken.iter().filter(|(of, _)| of == tenant).map(|(_, number)| *number);
            assert!(own.is_sorted(), "the sections of {tenant} stay in their order");
        }
        assert!(poll(exit.next()).is_none(), "empty, and more may come");
        drop(entrance);
        assert!(matches!(poll(exit.next()), Some(None)), "nothing more comes");
        assert_eq!(rooms.held(), 0);
    }

    #[test]
    fn large_and_small_sections_share_by_bytes() {
        let (rooms, (entrance, exit)) = (Rooms::new(10_000), queue());
        for number in 0..100 {
            assert!(entrance.push(section(&rooms, "large", number, 2 << 20)).is_ok());
            for of_small in 0..10 {
                assert!(entrance.push(section(&rooms, "small", number * 10 + of_small, 128 << 10)).is_ok());
            }
        }
        let mut bytes: HashMap<String, usize> = HashMap::new();
        for _ in 0..500 {
            let queued = poll(exit.next()).flatten().unwrap();
            *bytes.entry(queued.section.header.tenant.clone()).or_default() += queued.weight;
        }
        let (large, small) = (bytes["large"], bytes["small"]);
        assert!(large.abs_diff(small) <= (2 << 20) + TURN_BYTES, "{large} and {small}");
        drop(exit);
        assert!(entrance.push(section(&rooms, "small", 0, 1)).is_err());
        assert_eq!(rooms.held(), 0, "what is left is given up with the exit");
    }
}
