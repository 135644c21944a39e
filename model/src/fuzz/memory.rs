//! An allocator that counts what each thread holds, for tests that put a limit on it.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// The system's allocator, with counters a thread. In a test binary:
/// `#[global_allocator] static ALLOCATOR: CountingAllocator = CountingAllocator;`
///
/// What one thread allocates and another one frees is counted wrong; parsers and codecs do neither.
#[derive(Clone, Copy, Debug)]
pub struct CountingAllocator;

thread_local! {
    /// Bytes allocated less bytes freed. Below zero where a thread frees what others made.
    static LIVE: Cell<isize> = const { Cell::new(0) };
    /// The most of it since the last reset.
    static PEAK: Cell<isize> = const { Cell::new(0) };
    /// An allocation that would lead beyond is refused, which aborts the process.
    static HARD_MAX: Cell<isize> = const { Cell::new(isize::MAX) };
}

/// Takes note of `bytes` more (or fewer); false when they are too many. Threads about to end are not counted.
fn note(bytes: isize) -> bool {
    let counted = LIVE.try_with(|live| {
        let now = live.get().saturating_add(bytes);
        // A panic under way may have its memory: one that cannot print its backtrace never ends.
        if bytes > 0 && now > HARD_MAX.try_with(Cell::get).unwrap_or(isize::MAX) && !std::thread::panicking() {
            return false;
        }
        live.set(now);
        let _ = PEAK.try_with(|peak| peak.set(peak.get().max(now)));
        true
    });
    counted.unwrap_or(true)
}

// SAFETY: all memory comes from and goes back to `System` with the caller's own layouts; the counters are plain cells
// without destructors, which allocate nothing.
unsafe impl GlobalAlloc for CountingAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if !note(layout.size() as isize) {
            return std::ptr::null_mut();
        }
        // SAFETY: as the caller's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if !note(layout.size() as isize) {
            return std::ptr::null_mut();
        }
        // SAFETY: as the caller's.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        note(-(layout.size() as isize));
        // SAFETY: as the caller's.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if !note(size as isize - layout.size() as isize) {
            return std::ptr::null_mut();
        }
        // SAFETY: as the caller's.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

/// Runs `work` and tells how many bytes more than before this thread held at once, at most. Beyond `hard_max` the process is
/// aborted, which saves the machine. 0 without [`CountingAllocator`].
pub fn peak_of<T>(hard_max: Option<usize>, work: impl FnOnce() -> T) -> (T, usize) {
    let before = LIVE.with(Cell::get);
    PEAK.with(|peak| peak.set(before));
    let max = hard_max.map_or(isize::MAX, |max| before.saturating_add_unsigned(max));
    HARD_MAX.with(|hard| hard.set(max));
    let result = work();
    HARD_MAX.with(|hard| hard.set(isize::MAX));
    (result, usize::try_from(PEAK.with(Cell::get) - before).unwrap_or(0))
}

/// Whether the process allocates through [`CountingAllocator`].
pub(super) fn is_counting() -> bool {
    peak_of(None, || drop(std::hint::black_box(Box::new([0_u8; 64])))).1 > 0
}
