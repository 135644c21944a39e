//! Block files of any bytes are refused or read. Each engine has targets of its own for what their sections hold.

use std::sync::Arc;

use weir_model::fuzz::{CountingAllocator, Fuzz};
use weir_model::wire::Kind;

use crate::blob::MemoryBlob;
use crate::block::{BlockData, BlockReader};
use crate::testing::MEMORY;

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

#[test]
fn block_files() {
    let sections = vec![("a.1", b"hello".to_vec()), ("empty.1", Vec::new()), ("b.2", vec![7; 9])];
    let seed = BlockData::of(sections).encode(Kind::Logs);
    Fuzz::new("store-block").seed(seed).words(&["WBLK", "WEND", "a.1"]).memory(MEMORY).run(|input| {
        // The directory's checksum made right, so that what it says is read.
        let mut file = input.to_vec();
        if let Some(end) = file.len().checked_sub(12) {
            let length = u32::from_le_bytes([file[end], file[end + 1], file[end + 2], file[end + 3]]) as usize;
            let start = end.saturating_sub(length);
            let crc = crc32c::crc32c(&file[start..end]).to_le_bytes();
            file[end + 4..end + 8].copy_from_slice(&crc);
        }
        let Ok(block) = BlockReader::open(Arc::new(MemoryBlob::new("fuzz", file))) else { return };
        let names: Vec<String> = block.names().map(str::to_owned).collect();
        names.iter().for_each(|name| drop(block.section(name)));
    });
}
