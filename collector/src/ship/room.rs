//! The room of one lane, in units of bytes: whoever has least of it is served first when there is some. A tenant that fills a lane waits
//! for its own sections; another one waits for the next that leaves.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::oneshot;

/// This part is left for tenants that have nothing in the lane.
const RESERVE: u32 = 8;

pub(super) struct Rooms {
    units: u32,
    state: Mutex<State>,
}

struct State {
    free: u32,
    tickets: u64,
    /// Of tenants that hold or wait for something.
    tenants: HashMap<Arc<str>, Tenant>,
}

#[derive(Default)]
struct Tenant {
    held: u32,
    waiting: VecDeque<Waiter>,
}

struct Waiter {
    /// Ascending: whoever came first is served first of tenants that hold as much.
    ticket: u64,
    units: u32,
    tx: oneshot::Sender<Room>,
}

/// Some of the room; given back when it is dropped.
pub(super) struct Room {
    rooms: Arc<Rooms>,
    tenant: Arc<str>,
    units: u32,
}

impl Rooms {
    pub fn new(units: u32) -> Arc<Self> {
        Arc::new(Self { units, state: Mutex::new(State { free: units, tickets: 0, tenants: HashMap::new() }) })
    }

    /// Waits until the tenant may have so many units, at most all. Its requests are served in their order.
    pub async fn take(self: &Arc<Self>, tenant: &str, units: u32) -> Room {
        let (tenant, units): (Arc<str>, u32) = (tenant.into(), units.min(self.units));
        let (tx, rx) = oneshot::channel();
        {
            let mut state = self.state.lock();
            state.tickets += 1;
            let waiter = Waiter { ticket: state.tickets, units, tx };
            state.tenants.entry(tenant).or_default().waiting.push_back(waiter);
        }
        self.grant();
        rx.await.expect("invariant: a request waits in the state until it is served")
    }

    pub fn held(&self) -> u32 {
        self.units - self.state.lock().free
    }

    /// Serves all that can be. A request that was given up is passed over; what could not be handed to it any more is given back when
    /// the state is free.
    fn grant(self: &Arc<Self>) {
        let mut unclaimed = Vec::new();
        let mut state = self.state.lock();
        while let Some((tenant, own)) = next(&mut state.tenants) {
            let tenant = Arc::clone(tenant);
            let waiter = own.waiting.front().expect("invariant: the next tenant waits");
            let (units, reserve) = (waiter.units, if own.held == 0 { 0 } else { self.units / RESERVE });
            if units.saturating_add(reserve) > state.free {
                break;
            }
            state.free -= units;
            let own = state.tenants.entry(Arc::clone(&tenant)).or_default();
            own.held += units;
            let waiter = own.waiting.pop_front().expect("invariant: the next tenant waits");
            let room = Room { rooms: Arc::clone(self), tenant, units };
            unclaimed.extend(waiter.tx.send(room).err());
        }
        drop(state);
        drop(unclaimed);
    }
}

/// The tenant that holds least of those that wait. Forgets requests that were given up, and tenants without any.
fn next(tenants: &mut HashMap<Arc<str>, Tenant>) -> Option<(&Arc<str>, &mut Tenant)> {
    tenants.retain(|_, own| {
        while own.waiting.front().is_some_and(|waiter| waiter.tx.is_closed()) {
            own.waiting.pop_front();
        }
        own.held > 0 || !own.waiting.is_empty()
    });
    let waiting = tenants.iter_mut().filter(|(_, own)| !own.waiting.is_empty());
    waiting.min_by_key(|(_, own)| (own.held, own.waiting.front().map(|waiter| waiter.ticket)))
}

impl Drop for Room {
    fn drop(&mut self) {
        {
            let mut state = self.rooms.state.lock();
            state.free += self.units;
            if let Some(own) = state.tenants.get_mut(&self.tenant) {
                own.held -= self.units;
            }
        }
        self.rooms.grant();
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::{Pin, pin};
    use std::task::{Context, Poll, Waker};

    use super::*;

    fn poll<F: Future>(future: Pin<&mut F>) -> Option<F::Output> {
        match future.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(output) => Some(output),
            Poll::Pending => None,
        }
    }

    #[test]
    fn a_tenant_that_fills_the_lane_waits_for_itself_and_another_for_the_next_that_leaves() {
        let rooms = Rooms::new(80);
        let mut held: Vec<Room> = Vec::new();
        let mut flood: Vec<_> = (0..100).map(|_| Box::pin(rooms.take("noisy", 10))).collect();
        flood.retain_mut(|waiting| match poll(waiting.as_mut()) {
            Some(room) => {
                held.push(room);
                false
            }
            None => true,
        });
        assert_eq!((held.len(), flood.len(), rooms.held()), (7, 93, 70), "an eighth is left");
        let quiet = poll(pin!(rooms.take("quiet", 10))).expect("whoever has nothing is served at once");
        let mut third = pin!(rooms.take("third", 10));
        assert!(poll(third.as_mut()).is_none(), "the lane is full");
        held.pop();
        let third = poll(third.as_mut()).expect("first of all that wait");
        assert!(flood.iter_mut().all(|waiting| poll(waiting.as_mut()).is_none()));
        drop((quiet, third, held));
        assert_eq!(rooms.held(), 70, "then those that wait, in their order");
        let served: Vec<Room> = flood.iter_mut().map_while(|waiting| poll(waiting.as_mut())).collect();
        assert_eq!(served.len(), 7);
    }

    #[test]
    fn of_two_that_hold_as_much_the_first_is_served_first() {
        let rooms = Rooms::new(4);
        let mut all = Some(poll(pin!(rooms.take("a", 4))).unwrap());
        let mut waiting: Vec<_> = ["b", "a", "c", "a"].map(|tenant| (tenant, Box::pin(rooms.take(tenant, 4)))).into();
        assert!(waiting.iter_mut().all(|(_, waiting)| poll(waiting.as_mut()).is_none()));
        for expected in ["b", "a", "c", "a"] {
            drop(all.take());
            let served =
                waiting.iter_mut().position(|(_, waiting)| poll(waiting.as_mut()).map(|room| all = Some(room)).is_some());
            assert_eq!(waiting.remove(served.unwrap()).0, expected);
        }
    }

    #[test]
    fn what_is_given_up_is_passed_over_and_given_back() {
        let rooms = Rooms::new(8);
        let all = poll(pin!(rooms.take("a", 100))).expect("at most all");
        let mut given_up = Box::pin(rooms.take("a", 5));
        assert!(poll(given_up.as_mut()).is_none());
        let mut next = pin!(rooms.take("a", 3));
        assert!(poll(next.as_mut()).is_none());
        // Served, and not told of it before it is given up.
        let mut served = Box::pin(rooms.take("b", 4));
        assert!(poll(served.as_mut()).is_none());
        drop(given_up);
        drop(all);
        drop(served);
        let next = poll(next.as_mut()).expect("served");
        assert_eq!(rooms.held(), 3);
        drop(next);
        assert_eq!(rooms.held(), 0);
        assert!(poll(pin!(rooms.take("a", 8))).is_some());
        rooms.grant();
        assert!(rooms.state.lock().tenants.is_empty(), "who holds nothing and waits for nothing is forgotten");
    }
}
