//! What the tests of the engines share: the memory that a decoder may take, and what heads say they hold against what a
//! thread's allocations say, and a disk in memory.

use std::alloc::{GlobalAlloc, Layout};
use std::cell::Cell;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use weir_model::fuzz::{CountingAllocator, MemoryLimit};
use weir_model::label::Labels;
use weir_model::memory::allocation;
use weir_model::wire::{self, Limits, Mark, RecordBuilder, Section, SectionHeader};

use crate::engine::{Engine, Head, Position};
use crate::scratch::{Scratch, ScratchFile, SectionBytes};

/// A disk for blocks in the making that is memory, and full when all files together have so many bytes.
#[derive(Debug, Default)]
pub struct MemoryScratch {
    written: Arc<AtomicU64>,
    bytes_max: Option<u64>,
}

impl MemoryScratch {
    /// Full at so many bytes.
    pub fn of(bytes_max: u64) -> Self {
        Self { bytes_max: Some(bytes_max), ..Self::default() }
    }

    /// Bytes written to all files.
    pub fn written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }
}

#[derive(Debug)]
struct MemoryFile {
    bytes: Vec<u8>,
    written: Arc<AtomicU64>,
    bytes_max: u64,
}

impl Scratch for MemoryScratch {
    fn create(&self) -> io::Result<Box<dyn ScratchFile>> {
        let (written, bytes_max) = (Arc::clone(&self.written), self.bytes_max.unwrap_or(u64::MAX));
        Ok(Box::new(MemoryFile { bytes: Vec::new(), written, bytes_max }))
    }

    fn place(&self) -> String {
        "memory".to_owned()
    }
}

impl ScratchFile for MemoryFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let length = bytes.len() as u64;
        if self.written.fetch_add(length, Ordering::Relaxed) + length > self.bytes_max {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<()> {
        let own = self.bytes.get(at as usize..).and_then(|rest| rest.get(..buffer.len()));
        buffer.copy_from_slice(own.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
}

/// A section that was built.
pub fn bytes_of(section: &SectionBytes) -> Vec<u8> {
    match section {
        SectionBytes::Memory(bytes) => bytes.clone(),
        SectionBytes::Spilled(spilled) => {
            let mut bytes = Vec::new();
            spilled.read(0..spilled.size(), &mut bytes).expect("reads");
            bytes
        }
    }
}

/// What a decoder may hold: columns of bytes become structures.
pub const MEMORY: MemoryLimit = MemoryLimit { bytes: 8 << 20, per_input_byte: 1 << 10 };

/// Counts what each thread has allocated and not freed, as malloc rounds it; below is what fuzz targets count with. In a test
/// binary: `#[global_allocator] static COUNTING: Counting = Counting;`
pub struct Counting;

thread_local! {
    static HELD: Cell<i64> = const { Cell::new(0) };
}

fn add(bytes: i64) {
    // A thread that ends frees after its counter is gone; nobody asks for that one.
    let _ended = HELD.try_with(|held| held.set(held.get() + bytes));
}

/// What this thread has allocated and not freed; counts from any number.
pub fn held() -> i64 {
    HELD.get()
}

// SAFETY: every call goes to the allocator below as it came; counting touches a thread-local number without a
// destructor, which allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        add(allocation(layout.size()) as i64);
        // SAFETY: the caller's promise about `layout`.
        unsafe { CountingAllocator.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        add(-(allocation(layout.size()) as i64));
        // SAFETY: the caller's promise about `pointer` and `layout`.
        unsafe { CountingAllocator.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        add(allocation(size) as i64 - allocation(layout.size()) as i64);
        // SAFETY: the caller's promise about `pointer`, `layout` and `size`.
        unsafe { CountingAllocator.realloc(pointer, layout, size) }
    }
}

/// What may be held beside: tables of a new head, and rounding.
const SLACK: i64 = 8 << 10;

/// Puts `count` sections into a head; what it then says must be within half and twice of what is held.
pub fn check_memory<E: Engine>(what: &str, engine: &E, count: u64, make: impl Fn(u64) -> (String, E::Batch)) {
    let head = engine.head();
    let before = HELD.get();
    for offset in 0..count {
        let (tenant, batch) = make(offset);
        let mark = Mark::Sequence { epoch: 1, first: 0, last: 1 };
        let section = Section::new(SectionHeader { tenant, source: format!("source {offset}"), mark, records: 0 }, batch);
        let mut builder = RecordBuilder::new(Limits { record_bytes: 64 << 20, ..Limits::DEFAULT });
        builder.push(&section).expect("a section that the wire takes");
        drop(section);
        let record = builder.finish().expect("a section that the wire takes");
        let sections = wire::decode::<E::Batch>(&record, &Limits { record_bytes: 64 << 20, ..Limits::DEFAULT })
            .expect("a section that the wire takes");
        drop(record);
        for section in sections {
            head.insert(Position { partition: 0, offset, ordinal: 0 }, &section).expect("a section that the wire takes");
        }
    }
    let (held, said) = (HELD.get() - before, head.bytes() as i64);
    assert!(held <= 2 * said + SLACK && said <= 2 * held + SLACK, "{what}: {held} bytes are held, the head says {said}");
    assert!(head.records() > 0, "{what}");
}

pub fn tenant() -> String {
    "t".into()
}

/// `count` labels with values of about `length` bytes, others for each `seed`.
pub fn labels(count: usize, length: usize, seed: u64) -> Labels {
    Labels::from_pairs((0..count).map(|i| (format!("name{i}"), format!("{seed}-{}", "v".repeat(length)))))
}
