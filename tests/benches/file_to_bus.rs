//! CRI files → parsed → compressed → acknowledged by the embedded log (fsync). Limits: reading the same bytes from the page
//! cache, finding the line ends and compressing with zstd 1; writing the compressed bytes to the disk in one go.

use weir_tests::bench::path::{Collecting, disk_bus};
use weir_tests::bench::watch::{Watch, mb};
use weir_tests::bench::{input, limits, run, until};
use weir_tests::nezha::day;

fn main() {
    run(bench());
}

async fn bench() {
    let folder = tempfile::tempdir().expect("a folder");
    let day = day(usize::MAX, 0);
    let files = input::write_files(&folder.path().join("pods"), &day.lines);
    let (limit, _) = limits::read_split_compress(&files.paths);

    let bus = disk_bus(folder.path());
    let watch = Watch::start();
    let collecting = Collecting::start(bus.clone(), folder.path(), Some(&folder.path().join("pods"))).await;
    until("all lines are acknowledged", || bus.records() >= files.lines).await;
    let spent = watch.spent();
    assert_eq!(bus.records(), files.lines, "each line once");
    collecting.end().await;

    let write = limits::write_sync(folder.path(), &bus.values());
    println!(
        "file_to_bus: {}, {} | limit: read + line ends + zstd 1: {}; write + fdatasync of the {} on the bus: {} \
         (of raw bytes: {}) | {} in {} files, {} lines, {}",
        spent.mb_per_core(files.bytes),
        spent.mb_wall(files.bytes),
        limit.mb_per_core(files.bytes),
        mb(bus.bytes()),
        write.mb_wall(bus.bytes()),
        write.mb_wall(files.bytes),
        mb(files.bytes),
        files.paths.len(),
        files.lines,
        input::name(&day),
    );
}
