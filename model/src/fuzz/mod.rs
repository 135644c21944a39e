//! Mutation fuzzing for ordinary tests on stable: seeded, without coverage, a few seconds a target.
//!
//! Used by the tests of every crate that reads what strangers send, and by nothing else:
//!
//! ```text
//! use weir_model::fuzz::Fuzz;
//!
//! Fuzz::new("numbers").seed("12.5").words(&["-", "e", "."]).seconds(0).run(|input| {
//!     let _ = std::str::from_utf8(input).map(str::parse::<f64>);
//! });
//! ```
//!
//! Input `i` follows from the seed and `i` alone, so that a failure is found again whatever the machine's speed. All
//! inputs run on a thread with a small stack. A panic, an input that takes too long, and one that takes more memory than
//! it may fail the test with the seed, the number and a file that holds the input; where the process is aborted (the
//! stack ended, or memory far above the limit), the file `weir-fuzz-<target>-<process>.input` in the temporary directory
//! is what ran.
//!
//! - `WEIR_FUZZ_SECONDS`: how long each target runs, 2 when unset.
//! - `WEIR_FUZZ_SEED`: another seed, 1 when unset.
//! - `WEIR_FUZZ_INPUT`: only the input of this number.

mod depth;
mod memory;
mod mutate;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

pub use depth::{deepest, on_a_small_stack};
pub use memory::{CountingAllocator, peak_of};
pub use mutate::Random;

/// As threads of tokio and of Rust have it.
const STACK_BYTES: usize = 2 << 20;
/// As long as weir's longest query.
const INPUT_BYTES_MAX: usize = 128 << 10;
/// No input of 128 KiB may keep a core busy for so long, not even in a debug build on a loaded machine.
const INPUT_TIME_MAX: Duration = Duration::from_secs(30);

/// A limit on what one input may have allocated at once: `bytes + per_input_byte * input.len()`.
#[derive(Clone, Copy, Debug)]
pub struct MemoryLimit {
    /// Whatever the input.
    pub bytes: usize,
    /// For each byte of it.
    pub per_input_byte: usize,
}

impl MemoryLimit {
    fn of(self, input: &[u8]) -> usize {
        self.bytes + self.per_input_byte * input.len()
    }
}

/// One target: what is fed to it and what it may take.
#[derive(Clone, Debug)]
pub struct Fuzz {
    name: &'static str,
    seeds: Vec<Vec<u8>>,
    words: Vec<Vec<u8>>,
    text: bool,
    input_bytes_max: usize,
    memory: Option<MemoryLimit>,
    seconds: u64,
}

impl Fuzz {
    /// A target without seeds. `name` names files of failures.
    pub fn new(name: &'static str) -> Self {
        let seconds = from_environment("WEIR_FUZZ_SECONDS").unwrap_or(2);
        let input_bytes_max = INPUT_BYTES_MAX;
        Self { name, seeds: Vec::new(), words: Vec::new(), text: false, input_bytes_max, memory: None, seconds }
    }

    /// An input to begin from.
    pub fn seed(mut self, seed: impl AsRef<[u8]>) -> Self {
        self.seeds.push(seed.as_ref().to_vec());
        self
    }

    /// All files of a folder, in the order of their names. Panics when there is none.
    pub fn corpus(mut self, folder: impl AsRef<Path>) -> Self {
        let folder = folder.as_ref();
        let entries = std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).filter(|path| path.is_file()).collect();
        paths.sort();
        assert!(!paths.is_empty(), "{} is empty", folder.display());
        for path in paths {
            self.seeds.push(std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())));
        }
        self
    }

    /// Tokens that mutations put in, repeat and nest.
    pub fn words(mut self, words: &[&str]) -> Self {
        self.words.extend(words.iter().map(|word| word.as_bytes().to_vec()));
        self
    }

    /// Inputs are UTF-8: what mutations broke becomes U+FFFD.
    pub fn text(mut self) -> Self {
        self.text = true;
        self
    }

    /// Inputs have at most this many bytes; 128 KiB by default.
    pub fn input_bytes_max(mut self, bytes: usize) -> Self {
        self.input_bytes_max = bytes;
        self
    }

    /// Fails inputs that hold more memory at once. The test binary needs [`CountingAllocator`] as its allocator.
    pub fn memory(mut self, limit: MemoryLimit) -> Self {
        self.memory = Some(limit);
        self
    }

    /// Instead of `WEIR_FUZZ_SECONDS`. The seeds run in any case.
    pub fn seconds(mut self, seconds: u64) -> Self {
        self.seconds = seconds;
        self
    }

    /// Feeds all seeds as they are, then mutations of them until the time is over. Panics at the first failure.
    pub fn run(self, check: impl Fn(&[u8]) + Send + 'static) {
        assert!(!self.seeds.is_empty(), "{}: a target needs a seed", self.name);
        if self.memory.is_some() {
            assert!(memory::is_counting(), "{}: a memory limit needs CountingAllocator as #[global_allocator]", self.name);
        }
        let thread = std::thread::Builder::new().name(format!("fuzz-{}", self.name)).stack_size(STACK_BYTES);
        let thread = thread.spawn(move || self.feed(&check)).expect("invariant: a test may start a thread");
        if let Err(panic) = thread.join() {
            resume_unwind(panic);
        }
    }

    fn feed(&self, check: &dyn Fn(&[u8])) {
        let seed = from_environment("WEIR_FUZZ_SEED").unwrap_or(1);
        if let Some(only) = from_environment("WEIR_FUZZ_INPUT") {
            return self.one(check, &self.input(seed, only), seed, only);
        }
        let begun = Instant::now();
        let until = Duration::from_secs(self.seconds);
        let mut number = 0;
        while number < self.seeds.len() as u64 || begun.elapsed() < until {
            self.one(check, &self.input(seed, number), seed, number);
            number += 1;
        }
        println!("fuzz {}: {number} inputs from {} seeds, seed {seed}", self.name, self.seeds.len());
        let _ = std::fs::remove_file(self.file("input"));
    }

    /// Input `number`: the seeds as they are come first.
    fn input(&self, seed: u64, number: u64) -> Vec<u8> {
        if let Some(plain) = self.seeds.get(usize::try_from(number).unwrap_or(usize::MAX)) {
            return plain.clone();
        }
        let mut random = Random::new(seed ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let input = mutate::mutated(&mut random, &self.seeds, &self.words, self.input_bytes_max);
        if !self.text {
            return input;
        }
        let mut text = String::from_utf8_lossy(&input).into_owned();
        while text.len() > self.input_bytes_max {
            text.pop();
        }
        text.into_bytes()
    }

    fn one(&self, check: &dyn Fn(&[u8]), input: &[u8], seed: u64, number: u64) {
        // Before it runs: an aborted process cannot tell any more.
        let running = self.file("input");
        let _ = std::fs::write(&running, input);
        let begun = Instant::now();
        let limit = self.memory.map(|limit| limit.of(input));
        let (result, peak) =
            peak_of(limit.map(|limit| limit.saturating_mul(4)), || catch_unwind(AssertUnwindSafe(|| check(input))));
        let took = begun.elapsed();
        let why = match result {
            Err(panic) => panic_text(&*panic),
            Ok(()) if limit.is_some_and(|limit| peak > limit) => format!("held {peak} bytes of memory at once"),
            Ok(()) if took > INPUT_TIME_MAX => format!("took {took:?}"),
            Ok(()) => return,
        };
        let kept = self.file("failure");
        let _ = std::fs::rename(&running, &kept);
        let shown: String = String::from_utf8_lossy(input).chars().take(200).collect();
        panic!(
            "fuzz target {}, WEIR_FUZZ_SEED={seed} WEIR_FUZZ_INPUT={number}: {why}\n{} bytes, in {}: {shown:?}",
            self.name,
            input.len(),
            kept.display(),
        );
    }

    fn file(&self, what: &str) -> PathBuf {
        std::env::temp_dir().join(format!("weir-fuzz-{}-{}.{what}", self.name, std::process::id()))
    }
}

fn from_environment(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is no whole number: {text:?}")))
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    format!("panicked: {}", text.unwrap_or("without a message"))
}

#[cfg(test)]
mod tests;
