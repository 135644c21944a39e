//! Where decoding, building and merging run: so many at once in the process, appends before seals before merges.
//!
//! Every class has a place that the classes behind it cannot take, so that a merge of a minute holds up neither a seal nor an append.
//! Not here: memory (`budget`), and opening blocks, which waits for the object store and takes next to no time of a core.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::oneshot;
use weir_model::panic_guard;

/// What work is for; the first goes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    Append,
    Seal,
    Merge,
}

const CLASSES: usize = 3;

/// Runs work off the async threads, whoever else does. Not part of [`Pool::run`], which is compiled for each kind of work.
async fn off_thread(work: Box<dyn FnOnce() + Send>) -> Result<(), Lost> {
    let joined = tokio::task::spawn_blocking(move || panic_guard::catch(work));
    joined.await.map_err(|error| Lost(error.to_string()))?.map_err(Lost)
}

/// Shared by the partitions of a process.
pub(crate) struct Pool {
    places: usize,
    /// Guards who runs and who waits; held only to count.
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    running: [usize; CLASSES],
    waiting: [VecDeque<oneshot::Sender<Place>>; CLASSES],
}

/// A place of the pool, given back when it is dropped.
struct Place {
    pool: Arc<Pool>,
    class: Class,
}

/// Why work has no result: what its panic said, or that the process is ending.
#[derive(Debug)]
pub(crate) struct Lost(pub String);

impl Pool {
    /// A place for each core, and at least one for each class.
    pub fn new() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self { places: cores.max(CLASSES), state: Mutex::default() }
    }

    /// Runs work off the async threads when it is its turn. When the caller no longer waits, work that has begun goes on.
    pub async fn run<T: Send + 'static>(
        self: &Arc<Self>,
        class: Class,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Lost> {
        let place = self.enter(class).await;
        let (tx, rx) = oneshot::channel();
        let work = move || {
            let _place = place;
            let _nobody_waits = tx.send(work());
        };
        off_thread(Box::new(work)).await?;
        Ok(rx.await.expect("invariant: work that ends has sent its result"))
    }

    async fn enter(self: &Arc<Self>, class: Class) -> Place {
        let (tx, rx) = oneshot::channel();
        self.state.lock().waiting[class as usize].push_back(tx);
        self.admit();
        rx.await.expect("invariant: the pool outlives whoever waits for it, and gives everybody a place")
    }

    /// Gives free places to those that wait.
    fn admit(self: &Arc<Self>) {
        loop {
            let next = self.state.lock().next(self.places);
            let Some((class, tx)) = next else { return };
            // Whoever no longer waits gives it back.
            let _nobody_waits = tx.send(Place { pool: Arc::clone(self), class });
        }
    }
}

impl State {
    fn next(&mut self, places: usize) -> Option<(Class, oneshot::Sender<Place>)> {
        for (class, kept) in [(Class::Append, 0), (Class::Seal, 1), (Class::Merge, 2)] {
            // Those that come no earlier leave a place for each class that does.
            let running: usize = self.running[class as usize..].iter().sum();
            if running + kept < places
                && self.running.iter().sum::<usize>() < places
                && let Some(tx) = self.waiting[class as usize].pop_front()
            {
                self.running[class as usize] += 1;
                return Some((class, tx));
            }
        }
        None
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.pool.state.lock().running[self.class as usize] -= 1;
        self.pool.admit();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(places: usize) -> Arc<Pool> {
        Arc::new(Pool { places, state: Mutex::default() })
    }

    #[tokio::test]
    async fn those_that_wait_enter_by_class_and_each_class_has_a_place() {
        let pool = pool(3);
        let merge = pool.enter(Class::Merge).await;
        let mut second_merge = Box::pin(pool.enter(Class::Merge));
        assert!(futures_util::poll!(&mut second_merge).is_pending(), "two places are kept from merges");
        let seal = pool.enter(Class::Seal).await;
        let mut second_seal = Box::pin(pool.enter(Class::Seal));
        assert!(futures_util::poll!(&mut second_seal).is_pending(), "one place is kept from seals");
        let append = pool.enter(Class::Append).await;
        let (mut second, mut third) = (Box::pin(pool.enter(Class::Append)), Box::pin(pool.enter(Class::Append)));
        assert!(futures_util::poll!(&mut second).is_pending() && futures_util::poll!(&mut third).is_pending());
        drop(merge);
        // The append is first although the others have waited for longer.
        let second = second.await;
        assert!(futures_util::poll!(&mut second_seal).is_pending() && futures_util::poll!(&mut second_merge).is_pending());
        drop((append, third));
        let second_seal = second_seal.await;
        assert!(futures_util::poll!(&mut second_merge).is_pending());
        drop((second, seal, second_seal));
        drop(second_merge.await);
        assert_eq!(pool.state.lock().running, [0; CLASSES]);
    }

    #[tokio::test]
    async fn work_that_panics_gives_its_place_back() {
        let pool = pool(3);
        for _ in 0..10 {
            let Lost(said) = pool.run::<()>(Class::Merge, || panic!("no")).await.unwrap_err();
            assert_eq!(said, "no");
        }
        assert_eq!(pool.run(Class::Merge, || 7).await.unwrap(), 7);
    }
}
