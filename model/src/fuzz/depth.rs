//! For tests of what nests: a stack that is half of what threads of tokio and of Rust have, and the deepest text that is taken.

const STACK_BYTES: usize = 1 << 20;

/// Runs on a small stack. What ends it aborts the test binary.
pub fn on_a_small_stack<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let thread = std::thread::Builder::new().stack_size(STACK_BYTES).spawn(work).expect("a thread starts");
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// `open` as often as the language takes it, then `middle`, then `close` as often.
pub fn deepest(accepts: impl Fn(&str) -> bool, open: &str, middle: &str, close: &str) -> String {
    let nested = |times: usize| format!("{}{middle}{}", open.repeat(times), close.repeat(times));
    let times = (1..500).take_while(|times| accepts(&nested(*times))).last();
    nested(times.unwrap_or_else(|| panic!("{open}{middle}{close} is not accepted")))
}
