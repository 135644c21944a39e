//! Where a panic may stay: the work of one request.
//!
//! Anywhere else a panic means that a part which others count on is gone, and the process has to end; its panic hook
//! asks [`is_contained`]. Called by whoever runs work on behalf of one client, and by the binary's hook.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};

thread_local! {
    /// How many [`catch`] calls this thread is inside of.
    static DEPTH: Cell<u32> = const { Cell::new(0) };
}

struct Inside;

impl Inside {
    fn enter() -> Self {
        DEPTH.set(DEPTH.get() + 1);
        Self
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        DEPTH.set(DEPTH.get() - 1);
    }
}

/// Runs the work of one request. A panic ends this request alone: errors with what the panic said. What the work shares
/// with others has to be whole at every instant.
pub fn catch<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    let _inside = Inside::enter();
    catch_unwind(AssertUnwindSafe(work)).map_err(|payload| {
        let text = payload.downcast_ref::<&str>().map(ToString::to_string);
        text.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_else(|| "a panic without words".into())
    })
}

/// Whether this thread is inside of [`catch`].
pub fn is_contained() -> bool {
    DEPTH.get() > 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_stays_inside() {
        assert!(!is_contained());
        assert_eq!(catch(|| catch(is_contained)), Ok(Ok(true)));
        let outcome: Result<(), String> = catch(|| panic!("the {} is wrong", "index"));
        assert_eq!(outcome, Err("the index is wrong".into()));
        assert!(!is_contained());
    }
}
