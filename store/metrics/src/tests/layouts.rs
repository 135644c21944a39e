//! How samples lie in a block, now and before: what is read of older blocks, and hostile bytes of both.

use super::*;
use crate::group::{Group, Layout};
use crate::samples::Samples;
use crate::schema::{GROUPS_1, SAMPLES, SAMPLES_1, TIMES};
use weir_blocks::block::BlockData;
use weir_blocks::packed::{Cursor, UNPACKED_BYTES_MAX, put_bytes, put_varint};

/// Sections as a file of golden bytes has them.
fn sections(text: &str) -> BuiltBlock {
    const NAMES: [&str; 10] = [
        "symbols.1",
        "series.1",
        "series.2",
        "postings.1",
        "groups.1",
        "families.1",
        "samples.1",
        "extras.1",
        "histograms.1",
        "starts.1",
    ];
    let sections = text.lines().map(|line| {
        let (name, bytes) = line.split_once(' ').unwrap();
        let name = NAMES.iter().chain(&["exemplars.1"]).find(|own| **own == name).unwrap_or_else(|| panic!("{name}"));
        (*name, hex::decode(bytes).unwrap())
    });
    BuiltBlock { summary: Default::default(), data: BlockData::of(sections.collect()) }
}

fn old() -> BuiltBlock {
    BuiltBlock { summary: golden().summary, ..sections(include_str!("../golden_1.txt")) }
}

/// Three targets with twenty scrapes each and four series of a name: noise, a pod that ended, one that began, and one with its own times.
fn noisy() -> BuiltBlock {
    let head = MetricsEngine::default().head();
    let mut random = 7_u64;
    for target in ["a", "b", "c"] {
        let mut sums = [0_u64; 3];
        for i in 0..20_i64 {
            let series: Vec<Vec<(&str, &str)>> = ["0", "1", "2"].map(|core| vec![(NAME, "cpu_seconds"), ("core", core)]).to_vec();
            for sum in &mut sums {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                *sum += 1_000_000 + (random >> 52);
            }
            let [one, mut two, three] = sums.map(|sum| sum as f64 / 1e6);
            two = if i == 11 { STALE_NAN } else { two };
            let series: Vec<&[(&str, &str)]> = series.iter().map(Vec::as_slice).collect();
            let shown = match i {
                0..=11 => 0..2,
                _ => 0..3,
            };
            let values: Vec<f64> = [one, two, three][shown.clone()].to_vec();
            let (mut series, mut values) = (series[shown].to_vec(), values);
            if i > 11 {
                series.remove(1);
                values.remove(1);
            }
            let at = i * 15_000 + target.len() as i64 + i * i % 9 + i64::from(target.as_bytes()[0]);
            insert(&head, "t", batch(&[("target", target)], &series, vec![row(at, &values)]));
        }
    }
    head.build().unwrap().remove(0)
}

fn all_of(built: &BuiltBlock, tenant: &str) -> Plain {
    let engine = MetricsEngine::default();
    let view = open(&engine, built);
    engine.verify(&view.block, &built.summary).unwrap();
    read(Fixed { blocks: vec![view], heads: Vec::new() }, &all(tenant, Vec::new()))
}

#[test]
fn blocks_of_before_are_read_and_merged() {
    let (old, new) = (old(), golden());
    assert!(old.data.sections.iter().any(|(name, _)| *name == GROUPS_1));
    for tenant in ["a", "b"] {
        assert_eq!(all_of(&old, tenant), all_of(&new, tenant));
    }
    let engine = MetricsEngine::default();
    let blocks = [&old, &noisy()].map(|built| open(&engine, built).block);
    let merged = engine.merge(&blocks).unwrap().remove(0);
    assert!(merged.data.sections.iter().any(|(name, _)| *name == TIMES));
    assert_eq!(all_of(&merged, "a"), all_of(&old, "a"));
    assert_eq!(all_of(&merged, "t"), all_of(&noisy(), "t"));
}

#[test]
fn blocks_of_before_with_extras_are_read() {
    let path = |name: &str| format!("{}/src/{name}", env!("CARGO_MANIFEST_DIR"));
    let before = sections(&std::fs::read_to_string(path("golden_extras_1.txt")).unwrap());
    let built = extras::golden_extras();
    let before = BuiltBlock { summary: built.summary.clone(), ..before };
    assert_eq!(extras::all_of(&before), extras::all_of(&built));
}

#[test]
fn noise_is_split_and_times_are_shared() {
    let built = noisy();
    let found: String = built.data.sections.iter().map(|(name, bytes)| format!("{name} {}\n", hex::encode(bytes))).collect();
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/golden_noise.txt");
    if std::env::var_os("WEIR_WRITE_GOLDEN").is_some() {
        std::fs::write(path, &found).unwrap();
    }
    assert_eq!(found, std::fs::read_to_string(path).unwrap(), "found:\n{found}");
    // Of nine series one a target has times of its own, once.
    let of = |name: &str| built.data.sections.iter().find(|(own, _)| *own == name).unwrap().1.clone();
    let times = Cursor::new(&of(TIMES)).unpacked(UNPACKED_BYTES_MAX).unwrap();
    assert_eq!(times[0], 3);
    let (_, highs, lows) = parts(&of(SAMPLES));
    assert!(highs.len() >= 3 * 19 && lows.len() > 2 * 19, "{} {}", highs.len(), lows.len());
    assert_eq!(all_of(&built, "t").values().map(Vec::len).collect::<Vec<_>>(), [20, 20, 20, 12, 12, 12, 8, 8, 8]);
}

/// Main run, upper parts and low bits of a group.
fn parts(group: &[u8]) -> (Vec<u8>, Vec<u8>, Vec<u8>) {
    let mut cursor = Cursor::new(group);
    let main = cursor.unpacked(UNPACKED_BYTES_MAX).unwrap();
    let highs = if cursor.left() > 0 { cursor.unpacked(UNPACKED_BYTES_MAX).unwrap() } else { Vec::new() };
    (main, highs, cursor.take(cursor.left()).unwrap().to_vec())
}

#[test]
fn a_group_of_hostile_bytes_is_refused_or_read_within_bounds() {
    for (built, name) in [(old(), SAMPLES_1), (golden(), SAMPLES), (noisy(), SAMPLES)] {
        let block = open(&MetricsEngine::default(), &built).block;
        let (entry, layout) = (block.groups()[0].clone(), block.layout().clone());
        let (_, good) = built.data.sections.iter().find(|(own, _)| *own == name).unwrap();
        // Raw, so that a flip reaches the columns and not only zstd.
        let (main, highs, lows) = parts(good);
        let mut plain = Vec::new();
        for run in [&main, &highs].into_iter().take(if matches!(layout, Layout::One) { 1 } else { 2 }) {
            put_varint(&mut plain, run.len() as u64);
            put_bytes(&mut plain, run);
        }
        plain.extend(lows);
        let mut read = 0;
        for at in 0..plain.len() {
            for flip in [0x01, 0x10, 0x7f, 0xff] {
                let mut bad = plain.clone();
                bad[at] ^= flip;
                let Ok(group) = Group::parse(&bad, &entry, &layout) else { continue };
                for series in (0..entry.series as usize).filter(|series| group.count(*series) < 1000) {
                    let mut samples = Samples::default();
                    let Ok(_) = group.read(series, i64::MIN, i64::MAX, &mut samples) else { continue };
                    assert_eq!((samples.timestamps.len(), samples.values.len()), (group.count(series), group.count(series)));
                    read += 1;
                }
            }
            assert!(Group::parse(&plain[..at], &entry, &layout).is_err(), "{name} cut at {at}");
        }
        assert!(read > 0);
    }
}
