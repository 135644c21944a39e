//! What is on disk: bytes of each section of all blocks of logs, and how many times as large the bodies are.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use weir_blocks::blob::MemoryBlob;
use weir_blocks::block::BlockReader;

/// Prints the ratio of bodies to bytes on disk, and each part. Returns the bytes of all.
pub fn print(data: &Path, body_bytes: u64) -> u64 {
    let (mut parts, mut all, mut count) = (BTreeMap::<String, u64>::new(), 0, 0);
    let logs = data.join("store/logs");
    for partition in std::fs::read_dir(&logs).unwrap_or_else(|error| panic!("{}: {error}", logs.display())) {
        let blocks = partition.expect("a folder is read").path().join("blocks");
        for file in std::fs::read_dir(&blocks).into_iter().flatten() {
            let path = file.expect("a folder is read").path();
            let bytes = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            let block = BlockReader::open(Arc::new(MemoryBlob::new("block", bytes.clone()))).expect("a block is read");
            for name in block.names() {
                *parts.entry(name.to_owned()).or_default() += block.section_len(name).unwrap_or_default();
            }
            all += bytes.len() as u64;
            count += 1;
        }
    }
    assert!(count > 0, "no block in {}", logs.display());
    println!("| on disk, {count} blocks | MB | bodies / bytes |\n| --- | --- | --- |");
    let ratio = |bytes: u64| body_bytes as f64 / bytes.max(1) as f64;
    println!("| all (goal ≥ 25) | {:.2} | {:.1} |", all as f64 / 1e6, ratio(all));
    for (name, bytes) in parts {
        println!("| {name} | {:.2} | {:.1} |", bytes as f64 / 1e6, ratio(bytes));
    }
    all
}
