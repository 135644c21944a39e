//! The engine finds what it is there to find, and finds it again.

use std::panic::catch_unwind;
use std::sync::{Arc, Mutex};

use super::{CountingAllocator, Fuzz, MemoryLimit, peak_of};

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

#[track_caller]
fn fails(fuzz: Fuzz, check: fn(&[u8]), expected: &str) {
    let panic = catch_unwind(move || fuzz.run(check)).expect_err("the target fails");
    let text = panic.downcast_ref::<String>().expect("a message");
    assert!(text.contains(expected), "{text}");
    assert!(text.contains("WEIR_FUZZ_SEED="), "{text}");
}

fn inputs(fuzz: Fuzz, count: usize) -> Vec<Vec<u8>> {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let own = Arc::clone(&seen);
    fuzz.run(move |input| {
        let mut seen = own.lock().unwrap();
        if seen.len() < count {
            seen.push(input.to_vec());
        }
    });
    Arc::try_unwrap(seen).unwrap().into_inner().unwrap()
}

#[test]
fn panics_long_inputs_and_deep_ones_are_found() {
    let fuzz = || Fuzz::new("itself").seed("a(b)c 12").words(&["(", ")"]).seconds(60);
    fails(fuzz(), |input| assert!(!input.starts_with(b"((((")), "panicked: assertion failed");
    fails(fuzz(), |input| assert!(input.len() < 100_000, "long"), "panicked: long");
    fails(fuzz(), |input| assert!(!input.windows(5).any(|part| part == b"1e308"), "number"), "panicked: number");
    fails(fuzz().text(), |input| assert!(!String::from_utf8(input.to_vec()).unwrap().contains('\u{fffd}')), "panicked");
}

#[test]
fn memory_beyond_the_limit_is_found() {
    let limit = MemoryLimit { bytes: 1 << 20, per_input_byte: 4 };
    let fuzz = Fuzz::new("memory").seed("abc").words(&["x"]).memory(limit).seconds(60);
    fails(fuzz.clone(), |input| drop(vec![1_u8; input.len() * 20]), "bytes of memory at once");
    fuzz.seconds(0).run(|input| drop(vec![1_u8; input.len() * 3]));
    assert!((1_000..2_000).contains(&peak_of(None, || drop(vec![1_u8; 1_000])).1));
}

#[test]
fn the_same_seed_makes_the_same_inputs_and_none_is_too_long() {
    let fuzz = || Fuzz::new("same").seed("one two").seed("three").words(&["+", "1"]).input_bytes_max(1_000).seconds(1);
    let (first, second) = (inputs(fuzz(), 50), inputs(fuzz(), 50));
    assert_eq!(first.len(), 50);
    assert_eq!(first, second);
    assert_eq!(first[..2], [b"one two".to_vec(), b"three".to_vec()]);
    assert!(first.iter().all(|input| input.len() <= 1_000));
}
