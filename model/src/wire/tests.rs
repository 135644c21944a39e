//! The wire codec: golden bytes, round trips, hostile bytes; `fuzz` mutates them.

mod fuzz;
mod golden;
mod strategies;

use std::path::Path;
use std::sync::Arc;

use serde_json::json;

use self::golden::Golden;
use super::{Frame, Limits, Mark, RecordBuilder, Section, SectionHeader, WireError, decode};
use crate::histogram::Histogram;
use crate::label::Labels;
use crate::log::LogBatch;
use crate::metric::{MetricBatch, MetricRow, RowExtras, Schema};
use crate::signal::Signal;
use crate::span::{Origin, Span, SpanBatch, Value};

fn header(source: &str, mark: Mark) -> SectionHeader {
    SectionHeader { tenant: "default".into(), source: source.into(), mark, records: 0 }
}

fn encode<S: Signal>(sections: &[Section<S>]) -> Vec<u8> {
    let mut builder = RecordBuilder::new(Limits::default());
    sections.iter().for_each(|section| builder.push(section).unwrap());
    assert_eq!(builder.len(), sections.len());
    builder.finish().unwrap()
}

fn check_round_trip<S: Golden>(sections: &[Section<S>]) {
    let record = encode(sections);
    let read = decode::<S>(&record, &Limits::default()).unwrap();
    assert_eq!(read.len(), sections.len());
    let frame = Frame::read(&record, &Limits::default()).unwrap();
    assert_eq!(frame.kind(), S::KIND);
    for ((wanted, got), header) in sections.iter().zip(&read).zip(frame.headers()) {
        assert_eq!(u64::from(got.header.records), wanted.batch.records());
        assert_eq!(
            (&got.header.tenant, &got.header.source, got.header.mark),
            (&wanted.header.tenant, &wanted.header.source, wanted.header.mark)
        );
        assert_eq!(&got.header, header);
        assert_eq!(got.batch.bits(), wanted.batch.bits());
    }
}

/// The same check of each signal, of samples with extras, and of those of a part of a schema.
macro_rules! each_signal {
    ($check:ident) => {
        $check("logs", LogBatch::golden());
        $check("metrics", MetricBatch::golden());
        $check("extras", golden::extras());
        $check("parts", golden::part());
        $check("spans", SpanBatch::golden());
    };
}

/// What was once written is read for ever. What this version writes is written alike for ever, too, but for the bytes of zstd
/// frames, which change with zstd's version.
#[test]
fn golden_bytes() {
    fn check<S: Golden>(name: &str, section: Section<S>) {
        let version = section.batch.wire_version();
        let path = |version| Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("src/wire/testdata/{name}.{version}.hex"));
        let record = encode(std::slice::from_ref(&section));
        if std::env::var_os("WEIR_WRITE_GOLDEN").is_some() {
            std::fs::write(path(version), hex::encode(&record) + "\n").unwrap();
        }
        let read = |version| hex::decode(std::fs::read_to_string(path(version)).unwrap().trim()).unwrap();
        // Extras are of version 3, parts of 4.
        let (first, second) = (read(if version > 2 { version } else { 1 }), read(version));
        for golden in [&first, &second] {
            let sections = decode::<S>(golden, &Limits::default()).unwrap();
            assert_eq!(sections.len(), 1, "{name}");
            assert_eq!(sections[0].batch.bits(), section.batch.bits());
            assert_eq!(sections[0].header, section.header);
        }
        let [golden, own] = [&second, &record].map(|record| {
            let (head, body) = super::frame::uncompressed(record).unwrap();
            (head, S::unpacked(&body))
        });
        // The length of a section's body is that of packed bytes.
        assert_eq!(golden.1, own.1, "{name}");
        assert_eq!(golden.0[..12], own.0[..12], "{name}");
    }
    each_signal!(check);
}

#[test]
fn empty_batches_and_many_sections_round_trip() {
    fn empty<S: Signal>(batch: S) -> Section<S> {
        Section::new(header("s", Mark::Digest([0; 16])), batch)
    }
    check_round_trip(&[empty(LogBatch::default())]);
    check_round_trip(&[empty(SpanBatch::default())]);
    let none = MetricBatch { target: Labels::EMPTY, schema: Arc::default(), rows: vec![] };
    check_round_trip(&[empty(none.clone())]);
    check_round_trip(&[empty(MetricBatch { rows: vec![MetricRow::new(1, vec![])], ..none })]);
    check_round_trip(&[LogBatch::golden(), empty(LogBatch::default()), LogBatch::golden()]);
    assert_eq!(decode::<LogBatch>(&encode_none(), &Limits::default()), Ok(vec![]));
}

fn encode_none() -> Vec<u8> {
    RecordBuilder::<LogBatch>::new(Limits::default()).finish().unwrap()
}

#[test]
fn only_what_is_wanted_is_decoded_and_only_of_its_signal() {
    let mut other = LogBatch::golden();
    other.header.source = "other".into();
    let (mut head, body) = super::frame::uncompressed(&encode(&[LogBatch::golden(), other])).unwrap();
    let record = super::frame::sealed(&head, &body);
    let frame = Frame::read(&record, &Limits::default()).unwrap();
    let batches = frame.decode::<LogBatch>(|i| i == 1).unwrap();
    assert_eq!(batches, [None, Some(Arc::unwrap_or_clone(LogBatch::golden().batch))]);
    let error = frame.decode::<SpanBatch>(|_| true).unwrap_err();
    assert_eq!(error.to_string(), "a record of logs where spans are expected");
    // Nothing that is not wanted is looked at, not even decompressed.
    head.extend_from_slice(b"no zstd frame");
    let checksum = crc32c::crc32c(&head[8..]).to_le_bytes();
    head[4..8].copy_from_slice(&checksum);
    let frame = Frame::read(&head, &Limits::default()).unwrap();
    assert_eq!(frame.decode::<LogBatch>(|_| false), Ok(vec![None, None]));
    assert!(frame.decode::<LogBatch>(|i| i == 0).is_err());
}

/// Every byte of every golden record flipped in every bit, and every prefix: an error each time, for the checksum covers
/// all but the magic, and the magic is compared.
#[test]
fn every_damage_is_an_error() {
    fn check<S: Golden>(name: &str, section: Section<S>) {
        let record = encode(&[section]);
        for at in 0..record.len() {
            assert!(decode::<S>(&record[..at], &Limits::default()).is_err(), "{name} cut at {at}");
            for bit in 0..8 {
                let mut bad = record.clone();
                bad[at] ^= 1 << bit;
                assert!(Frame::read(&bad, &Limits::default()).is_err(), "{name} byte {at} bit {bit}");
            }
        }
        assert!(decode::<S>(&[record, vec![0]].concat(), &Limits::default()).is_err(), "{name} with a byte more");
    }
    each_signal!(check);
}

/// The same damage with the checksum made right again, in the body before compression: an error or another batch, never a
/// panic, and what was read can be written and read again.
#[test]
fn damage_under_a_good_checksum_never_panics() {
    fn check<S: Golden>(_: &str, section: Section<S>) {
        let (head, body) = super::frame::uncompressed(&encode(&[section])).unwrap();
        for at in 0..body.len() {
            for byte in [0, 1, 0x7f, 0x80, 0xff, body[at] ^ 1, body[at].wrapping_add(1)] {
                let mut bad = body.clone();
                bad[at] = byte;
                if let Ok(sections) = decode::<S>(&super::frame::sealed(&head, &bad), &Limits::default()) {
                    check_round_trip(&sections);
                }
            }
            assert!(decode::<S>(&super::frame::sealed(&head, &body[..at]), &Limits::default()).is_err(), "body cut at {at}");
        }
        for at in 8..head.len() {
            for byte in [0, 1, 0x7f, 0x80, 0xff, head[at] ^ 1] {
                let mut bad = head.clone();
                bad[at] = byte;
                let _ = decode::<S>(&super::frame::sealed(&bad, &body), &Limits::default());
            }
        }
    }
    each_signal!(check);
}

#[test]
fn hostile_sizes_are_refused_before_they_are_allocated() {
    let record = encode(&[LogBatch::golden()]);
    let (head, body) = super::frame::uncompressed(&record).unwrap();
    let patched = |at: usize, value: u32| {
        let mut head = head.clone();
        head[at..at + 4].copy_from_slice(&value.to_le_bytes());
        decode::<LogBatch>(&super::frame::sealed(&head, &body), &Limits::default()).unwrap_err()
    };
    assert_eq!(patched(12, u32::MAX), WireError::Limit { what: "sections", value: u32::MAX.into(), limit: 4096 });
    assert_eq!(patched(16, u32::MAX), WireError::Truncated { what: "record head" });
    assert_eq!(patched(20, u32::MAX), WireError::Limit { what: "body bytes", value: u32::MAX.into(), limit: 64 << 20 });
    let small = |limits: Limits| decode::<LogBatch>(&record, &limits).unwrap_err().to_string();
    assert_eq!(
        small(Limits { record_bytes: 10, ..Limits::default() }),
        format!("record bytes of {} is above the limit of 10", record.len())
    );
    assert_eq!(small(Limits { records: 2, ..Limits::default() }), "records of 3 is above the limit of 2");
    assert_eq!(small(Limits { labels: 1, ..Limits::default() }), "labels of 2 is above the limit of 1");
    assert_eq!(small(Limits { text_bytes: 8, ..Limits::default() }), "text bytes of 12 is above the limit of 8");
}

/// One long text named a million times by one-byte numbers must not become a terabyte.
#[test]
fn a_dictionary_does_not_multiply() {
    let long = "x".repeat(1 << 16);
    let set = Labels::from_pairs((0..20).map(|i| (format!("l{i}"), &long)));
    let batch = MetricBatch { target: Labels::EMPTY, schema: Arc::new(Schema::new(vec![set; 1000], vec![])), rows: vec![] };
    let mut builder = RecordBuilder::new(Limits::default());
    let error = builder.push(&Section::new(header("s", Mark::Digest([0; 16])), batch)).unwrap_err();
    assert!(matches!(error, WireError::Limit { what: "memory of the decoded record", .. }), "{error}");
    assert!(builder.is_empty() && builder.body_bytes() == 0);
    builder.push(&MetricBatch::golden()).unwrap();
}

#[test]
fn a_builder_refuses_what_is_wrong() {
    let refused = |section: Section<LogBatch>| RecordBuilder::new(Limits::default()).push(&section).unwrap_err().to_string();
    let with = |change: fn(&mut SectionHeader)| {
        let mut section = LogBatch::golden();
        change(&mut section.header);
        refused(section)
    };
    assert_eq!(with(|header| header.tenant.clear()), "bad tenant: it is empty");
    assert_eq!(with(|header| header.source.clear()), "bad source: it is empty");
    assert_eq!(with(|header| header.mark = Mark::Sequence { epoch: 0, first: 2, last: 1 }), "bad mark: first 2 after last 1");
    let mut deep = json!(1);
    (0..80).for_each(|_| deep = json!([deep]));
    let span = Span { attributes: vec![("a".into(), Value::Json(Box::new(deep)))], ..Span::default() };
    let batch = SpanBatch::new(Origin::default(), &[span]);
    let section = Section::new(header("s", Mark::Digest([0; 16])), batch);
    let error = RecordBuilder::new(Limits::default()).push(&section).unwrap_err();
    assert_eq!(error.to_string(), "bad attribute: JSON nested deeper than 64");
}

#[test]
fn a_newer_version_is_named() {
    let (mut head, body) = super::frame::uncompressed(&encode(&[LogBatch::golden()])).unwrap();
    head[8] = 5;
    assert_eq!(decode::<LogBatch>(&super::frame::sealed(&head, &body), &Limits::default()), Err(WireError::Version(5)));
}

#[test]
fn only_a_record_with_extras_is_of_the_version_that_has_them() {
    let version = |sections: &[Section<MetricBatch>]| encode(sections)[8];
    assert_eq!([version(&[MetricBatch::golden()]), version(&[MetricBatch::golden(), golden::extras()])], [2, 3]);
    // What is empty is not there.
    let mut bare = golden::extras();
    let batch = Arc::make_mut(&mut bare.batch);
    batch.rows.iter_mut().for_each(|row| row.extras = Some(Box::default()));
    assert_eq!(version(std::slice::from_ref(&bare)), 2);
    check_round_trip(&[bare]);
}

#[test]
fn a_part_travels_with_the_bytes_of_its_whole() {
    let part = golden::part();
    assert_eq!(encode(std::slice::from_ref(&part))[8], 4);
    let read = decode::<MetricBatch>(&encode(std::slice::from_ref(&part)), &Limits::default()).unwrap();
    let [own, other] = [&part, &read[0]].map(|section| section.batch.schema.whole());
    assert!(Arc::ptr_eq(own.0, other.0) && own.1 == other.1, "a whole that is held is known again");
    // Somewhere there is a limit that the whole keeps to and a part of it does not.
    let whole = Arc::new(Schema::new(vec![Labels::from_pairs([("a", "b")]); 900], vec![]));
    let fits = |schema: Arc<Schema>, body_bytes: u32| {
        let mut section = part.clone();
        let batch = Arc::make_mut(&mut section.batch);
        (batch.schema, batch.rows) = (schema, Vec::new());
        RecordBuilder::new(Limits { body_bytes, ..Limits::default() }).push(&section).is_ok()
    };
    let least = (1..1 << 20).find(|bytes| fits(Arc::new(Schema::clone(&whole)), *bytes)).unwrap();
    assert!(!fits(Arc::new(Schema::part(&Arc::new(Schema::clone(&whole)), 0..899)), least), "its columns are charged");
}

#[test]
fn columns_that_a_schema_does_not_have_are_refused() {
    let refused = |column: &[u8]| {
        let body = super::metrics::around_rows(&[("a", "1"), ("a", "2")], (super::metrics::PART, column));
        decode::<MetricBatch>(&super::frame::around(super::Kind::Metrics, 1, &body), &Limits::default()).unwrap_err().to_string()
    };
    assert_eq!(refused(&[1, 2]), "bad part of a schema: 2 columns from 1 on of 2");
    assert_eq!(refused(&[0, 0]), "bad part of a schema: 0 columns from 0 on of 2");
    let end = [&[0xff; 9][..], &[1, 1]].concat();
    assert_eq!(refused(&end), format!("bad part of a schema: 1 columns from {} on of 2", u64::MAX));
    assert_eq!(refused(&[1]), "record ends early: part of a schema needs more bytes");
    assert_eq!(refused(&[0, 1, 0]), "bad part of a schema: 1 bytes too many");
    assert_eq!(refused(&[0, 1]), "bad values: 16 bytes for 8 items of 1", "of one column, where two are there");
}

/// Layouts and label sets are written once and held by each that has them: both directions count that alike.
#[test]
fn a_histogram_does_not_multiply() {
    let mut section = golden::extras();
    let batch = Arc::make_mut(&mut section.batch);
    let custom_bounds: Vec<f64> = (0..16_000).map(f64::from).collect();
    let [_, (_, custom)] = &batch.rows[0].extras.as_ref().unwrap().histograms[..] else { panic!("two histograms") };
    let large = Arc::new(Histogram { custom_bounds, ..(**custom).clone() });
    let row = |at: i64| {
        let extras = RowExtras { histograms: vec![(1, Arc::clone(&large)), (2, Arc::clone(&large))], ..RowExtras::default() };
        MetricRow { extras: Some(Box::new(extras)), ..MetricRow::new(at, vec![0.0; 3]) }
    };
    batch.rows = (0..10).map(row).collect();
    let limits = Limits { body_bytes: 1 << 20, ..Limits::default() };
    let mut builder = RecordBuilder::new(limits);
    builder.push(&section).unwrap();
    assert_eq!(decode::<MetricBatch>(&builder.finish().unwrap(), &limits).unwrap()[0].batch, section.batch);
    Arc::make_mut(&mut section.batch).rows = (0..20).map(row).collect();
    let error = RecordBuilder::new(limits).push(&section).unwrap_err();
    assert!(matches!(error, WireError::Limit { what: "memory of the decoded record", .. }), "{error}");
}

#[test]
fn extras_that_do_not_belong_to_their_row_are_refused() {
    let refused = |change: fn(&mut RowExtras)| {
        let mut section = golden::extras();
        change(Arc::make_mut(&mut section.batch).rows[0].extras.as_mut().unwrap());
        RecordBuilder::new(Limits::default()).push(&section).unwrap_err().to_string()
    };
    assert_eq!(refused(|own| own.starts = Some([1].into())), "bad metric row: 1 starts for 3 columns");
    assert_eq!(refused(|own| own.histograms[1].0 = 3), "bad metric row: columns of histograms do not ascend below 3");
    let spans = "bad metric row: column 1: positive spans of the histogram have 8 buckets, 3 counts are there";
    assert_eq!(refused(|own| Arc::make_mut(&mut own.histograms[0].1).positive.spans[1].length = 7), spans);
}

/// A body of one row and two series with this column of histograms: what is said of it.
fn read_histograms(column: &[u8]) -> String {
    let body = super::metrics::around_rows(&[("a", "1"), ("a", "2")], (super::extras::HISTOGRAMS, column));
    let record = super::frame::around(super::Kind::Metrics, 2, &body);
    decode::<MetricBatch>(&record, &Limits::default()).unwrap_err().to_string()
}

#[test]
fn hostile_histograms_are_refused_before_they_are_allocated() {
    let layout = |spans: &[u8]| [&[1, 0][..], &[0; 8], spans].concat();
    assert_eq!(read_histograms(&[0xff, 0xff, 0xff, 0xff, 0x7f]), "record ends early: histograms needs more bytes");
    let many = layout(&[1, 0, 0xff, 0xff, 0xff, 0xff, 0x0f, 0, 0]);
    assert_eq!(read_histograms(&many), "buckets of a histogram of 4294967295 is above the limit of 16384");
    let wide = layout(&[1, 0, 0xff, 0xff, 0xff, 0xff, 0x7f, 0, 0]);
    assert_eq!(read_histograms(&wide), "bad histograms: a span of 34359738367 buckets after 0");
    let empty = [layout(&[0, 0, 0]), vec![1, 2, 0]].concat();
    assert_eq!(read_histograms(&empty), "bad histograms: one of value 2 of 2");
    let unknown = [layout(&[0, 0, 0]), vec![1, 1, 7]].concat();
    assert_eq!(read_histograms(&unknown), "bad histograms: no layout 7 of 1");
    let flags = [layout(&[0, 0, 0]), vec![1, 1, 0, 0x18]].concat();
    assert_eq!(read_histograms(&flags), "bad histograms: flags 0x18");
    let one = [&[0, 0x0c][..], &[0; 8], &[0, 0]].concat();
    let twice = [layout(&[0, 0, 0]), vec![2, 0], one.clone(), vec![0], one.clone()].concat();
    assert_eq!(read_histograms(&twice), "bad histograms: two of value 0");
    let back = [layout(&[2, 0, 0, 1, 0, 0, 0]), vec![1, 0], one].concat();
    assert!(read_histograms(&back).contains("positive span 1 of the histogram has offset -1"), "{}", read_histograms(&back));
}
