//! Every read through the fan-out gives what the owners' own readers give: with all unsealed, half sealed, all sealed.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::time::Duration;

use weir_fanout::PartitionLabels;
use weir_model::config::ByteSize;
use weir_model::id::TraceId;
use weir_model::label::{Labels, MatchOp, Matcher};
use weir_model::scope::Scope;
use weir_model::select::{
    Buckets, CountBy, Coverage, LineFilter, LogSelect, MetricSelect, NoBudget, OwnedLine, TemplateText, TraceSelect,
};
use weir_model::time::TimeRange;
use weir_tls::TlsConfig;

use super::cluster::{BEGIN, Cluster};
use super::extras::{Bits, bits};
use super::readers::{Collect, Readers, TENANT, all_lines, lines_of};
use crate::weir::PATIENCE;

fn selects() -> Vec<LogSelect> {
    let matchers = |op, value: &str| vec![Matcher::new("app", op, value).unwrap()];
    let select =
        |matchers, filters, range, newest_first| LogSelect { scope: Scope::of(TENANT), matchers, range, filters, newest_first };
    let part = TimeRange { start: BEGIN + 1_000_000_000, end: BEGIN + 20_000_000_000 };
    let has = |text: &str| LineFilter::Contains(vec![text.into()]);
    vec![
        select(Vec::new(), Vec::new(), TimeRange::ALL, false),
        select(Vec::new(), Vec::new(), TimeRange::ALL, true),
        select(matchers(MatchOp::Equal, "app1"), vec![has("error")], TimeRange::ALL, true),
        select(matchers(MatchOp::Regex, "app[02]"), vec![LineFilter::NotContains(vec!["ok".into()])], part, false),
        select(Vec::new(), vec![LineFilter::Contains(vec![vec![0xff, 0xfe]])], TimeRange::ALL, true),
        select(
            Vec::new(),
            vec![LineFilter::Matches(regex_of("number [0-9]*7 ")), LineFilter::NotMatches(regex_of("xxx"))],
            part,
            true,
        ),
        select(matchers(MatchOp::Equal, "none"), Vec::new(), TimeRange::ALL, true),
    ]
}

fn regex_of(pattern: &str) -> regex::bytes::Regex {
    regex::bytes::Regex::new(pattern).unwrap()
}

/// The same but for what the owner has learnt of the bus since.
fn same_coverage(mut ours: Coverage, mut theirs: Coverage, what: &str) {
    for coverage in [&mut ours, &mut theirs] {
        coverage.partitions.sort_by_key(|partition| partition.partition);
        coverage
            .partitions
            .iter_mut()
            .for_each(|partition| partition.high_watermark = partition.high_watermark.max(partition.indexed_offset));
    }
    assert!(ours.missing.is_empty(), "{what}: {:?}", ours.missing);
    assert_eq!(ours, theirs, "{what}");
}

async fn same_logs(own: &Readers, far: &Readers, when: &str) {
    for select in selects() {
        let what = format!("{when}: {select:?}");
        let visit = |readers: &Readers, mut collect: Collect, select: &LogSelect| {
            let coverage = readers.logs.visit(select, &NoBudget, &mut collect).unwrap();
            collect.lines.sort_by_key(|line| line.id);
            (collect.lines, coverage)
        };
        let (a, b) = (select.clone(), select.clone());
        let expected = own.read(move |readers| visit(readers, Collect::default(), &a)).await;
        let found = far.read(move |readers| visit(readers, Collect::default(), &b)).await;
        assert_eq!(found.0, expected.0, "{what}");
        same_coverage(found.1, expected.1, &what);
        if select.newest_first {
            let (a, b) = (select.clone(), select.clone());
            let expected = own.read(move |readers| visit(readers, Collect::newest(7), &a)).await.0;
            let found = far.read(move |readers| visit(readers, Collect::newest(7), &b)).await.0;
            assert_eq!(found, expected, "newest of {what}");
        }
        let both = |readers: &Readers, select: &LogSelect| {
            let streams = readers.logs.streams(select, &NoBudget).unwrap().value;
            let mut volume = readers.logs.volume(select, 10_000_000_000, &NoBudget).unwrap().value;
            volume.sort_by(|a, b| (a.bucket, &a.stream, a.level).cmp(&(b.bucket, &b.stream, b.level)));
            (streams, volume, counts(readers, select), templates(readers, select))
        };
        let (a, b) = (select.clone(), select);
        let expected = own.read(move |readers| both(readers, &a)).await;
        assert_eq!(far.read(move |readers| both(readers, &b)).await, expected, "{what}");
    }
    same_lines(own, far, when).await;
}

/// By stream, bucket, severity and a name of metadata, in buckets that cut roll-ups.
fn counts(readers: &Readers, select: &LogSelect) -> BTreeMap<(Labels, i64, u8, Labels), (u64, u64)> {
    let by = CountBy { metadata: vec!["user".into()], ..CountBy::of(Buckets::new(7_000_000_000, BEGIN + 3).unwrap()) };
    let mut sums = BTreeMap::<_, (u64, u64)>::new();
    let coverage = readers.logs.counts(select, &by, &NoBudget, &mut |count| {
        let key = (count.stream.clone(), count.bucket, count.severity, count.metadata.clone());
        let sum = sums.entry(key).or_default();
        *sum = (sum.0 + count.lines, sum.1 + count.bytes);
        ControlFlow::Continue(())
    });
    assert_eq!(coverage.unwrap().missing, Vec::<String>::new());
    sums
}

/// By template or line, level and bucket.
fn templates(readers: &Readers, select: &LogSelect) -> BTreeMap<(bool, Vec<u8>, u8, i64), u64> {
    let buckets = Buckets::new(7_000_000_000, BEGIN + 3).unwrap();
    let mut sums = BTreeMap::<_, u64>::new();
    let coverage = readers.logs.templates(select, buckets, &NoBudget, &mut |count| {
        let (has_template, text) = match count.text {
            TemplateText::Constant(text) => (true, text.as_bytes()),
            TemplateText::Line(line) => (false, line),
        };
        *sums.entry((has_template, text.to_vec(), count.severity, count.bucket)).or_default() += count.lines;
        ControlFlow::Continue(())
    });
    assert_eq!(coverage.unwrap().missing, Vec::<String>::new());
    sums
}

/// Every line by its permanent identity, with neighbours.
async fn same_lines(own: &Readers, far: &Readers, when: &str) {
    let lines = own.read(all_lines).await;
    assert!(lines.len() > 50, "{when}");
    for line in lines.into_iter().step_by(5) {
        let id = line.id;
        let expected = own.read(move |readers| readers.logs.line(&Scope::of(TENANT), id, 4, &NoBudget).unwrap()).await;
        let found = far.read(move |readers| readers.logs.line(&Scope::of(TENANT), id, 4, &NoBudget).unwrap()).await;
        assert!(expected.value.contains(&line), "{when}");
        assert_eq!(found.value, expected.value, "{when}: {id}");
    }
}

async fn same_samples(own: &Readers, far: &Readers, when: &str) {
    let start_ms = BEGIN / 1_000_000;
    for (matchers, start, end) in [
        (vec![Matcher::equal("job", "j")], 0, 60_000),
        (
            vec![Matcher::equal("__name__", "metric_1"), Matcher::new("instance", MatchOp::NotRegex, "i[01]").unwrap()],
            5_000,
            30_500,
        ),
        (vec![Matcher::new("i", MatchOp::Regex, "1|3|").unwrap()], 10_000, 10_500),
    ] {
        let select = MetricSelect { scope: Scope::of(TENANT), matchers, start_ms: start_ms + start, end_ms: start_ms + end };
        let read = |readers: &Readers, select: &MetricSelect| {
            let series = readers.metrics.select(select, &NoBudget).unwrap();
            let exemplars = readers.metrics.exemplars(select, &NoBudget).unwrap();
            assert_eq!(exemplars.coverage.missing, Vec::<String>::new());
            let names = readers.metrics.series(select, &NoBudget).unwrap().value;
            (series.value.into_iter().map(bits).collect::<Vec<_>>(), names, series.coverage, exemplars.value)
        };
        let (a, b) = (select.clone(), select.clone());
        let expected = own.read(move |readers| read(readers, &a)).await;
        let found = far.read(move |readers| read(readers, &b)).await;
        assert!(!expected.0.is_empty(), "{when}: {select:?}");
        let has_more =
            |series: &[Bits]| series.iter().any(|(.., histograms, starts)| !histograms.is_empty() && !starts.is_empty());
        assert!(select.matchers[0].name != "job" || has_more(&expected.0) && !expected.3.is_empty(), "{when}: {select:?}");
        assert_eq!(found.3, expected.3, "{when}: {select:?}");
        assert_eq!(found.0, expected.0, "{when}: {select:?}");
        assert_eq!(found.1, expected.1, "{when}: {select:?}");
        same_coverage(found.2, expected.2, when);
        // Counted in what is collected as in what lies here, and each series once.
        let count = |readers: &Readers, select: &MetricSelect| readers.metrics.cardinality(select, &NoBudget).unwrap().value;
        let (a, b) = (select.clone(), select);
        let counted = own.read(move |readers| count(readers, &a)).await;
        assert_eq!(counted.series, expected.1.len() as u64, "{when}");
        assert_eq!(far.read(move |readers| count(readers, &b)).await, counted, "{when}");
    }
    let families = |readers: &Readers| readers.metrics.families(&Scope::of(TENANT), &NoBudget).unwrap().value;
    let expected = own.read(families).await;
    assert_eq!(far.read(families).await, expected, "{when}");
}

async fn same_traces(own: &Readers, far: &Readers, when: &str) {
    let mut seen = 0;
    for trace in 0..10 {
        let read = move |readers: &Readers| readers.traces.trace(&Scope::of(TENANT), TraceId([trace; 16])).unwrap();
        let expected = own.read(read).await;
        let found = far.read(read).await;
        seen += usize::from(expected.value.is_some());
        assert_eq!(found.value, expected.value, "{when}: trace {trace}");
        same_coverage(found.coverage, expected.coverage, when);
    }
    assert!(seen > 3, "{when}");
    let range = TimeRange { start: BEGIN, end: BEGIN + 5_000_000_000 };
    let any = TraceSelect::any(&Scope::of(TENANT), range, 20);
    for select in [
        any.clone(),
        TraceSelect { limit: 2, ..any.clone() },
        TraceSelect { service: Some("svc1".into()), operation: Some("op2".into()), ..any.clone() },
        TraceSelect { attributes: vec![("id".into(), "3".into())], duration_min: Some(1_000_000), ..any },
    ] {
        let (a, b) = (select.clone(), select.clone());
        let expected = own.read(move |readers| readers.traces.search(&a, &NoBudget).unwrap().value).await;
        let found = far.read(move |readers| readers.traces.search(&b, &NoBudget).unwrap().value).await;
        assert_eq!(found, expected, "{when}: {select:?}");
    }
    let names = move |readers: &Readers| {
        let traces = &readers.traces;
        (
            traces.services(&Scope::of(TENANT), range, &NoBudget).unwrap().value,
            traces.operations(&Scope::of(TENANT), Some("svc2"), range, &NoBudget).unwrap().value,
            traces.attribute_names(&Scope::of(TENANT), range, 100, &NoBudget).unwrap().value,
            traces.attribute_values(&Scope::of(TENANT), "id", range, 100, &NoBudget).unwrap().value,
            traces.attribute_values(&Scope::of(TENANT), "raw", range, 5, &NoBudget).unwrap().value,
            traces.attribute_values(&Scope::of(TENANT), "host", range, 5, &NoBudget).unwrap().value,
        )
    };
    let expected = own.read(names).await;
    assert_eq!(far.read(names).await, expected, "{when}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_query_node_answers_what_the_owners_would() {
    let mut cluster = Cluster::start().await;
    let (fan_out, _) = cluster.fan_out();
    let (own, far) = (cluster.own(), Readers::of(&fan_out));
    for when in ["unsealed", "half sealed", "mostly sealed"] {
        cluster.write_lines(40).await;
        cluster.write_samples(60).await;
        cluster.write_spans(20).await;
        cluster.caught_up().await;
        same_logs(&own, &far, when).await;
        same_samples(&own, &far, when).await;
        same_traces(&own, &far, when).await;
        cluster.seal().await;
        cluster.pass(3_000_000_000);
    }
    same_logs(&own, &far, "sealed").await;
    same_samples(&own, &far, "sealed").await;
    same_traces(&own, &far, "sealed").await;
    for node in &cluster.nodes {
        node.aggregator.compact().await.unwrap();
    }
    same_logs(&own, &far, "compacted").await;
    same_samples(&own, &far, "compacted").await;
    same_traces(&own, &far, "compacted").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn templates_that_are_more_than_an_owner_gives_are_counted_from_lines() {
    let mut cluster = Cluster::start_within(ByteSize::kib(2), TlsConfig::default()).await;
    let (fan_out, metrics) = cluster.fan_out();
    let (own, far) = (cluster.own(), Readers::of(&fan_out));
    for when in ["unsealed", "half sealed"] {
        cluster.write_lines(40).await;
        cluster.caught_up().await;
        for select in selects() {
            let (a, b) = (select.clone(), select.clone());
            let expected = own.read(move |readers| templates(readers, &a)).await;
            assert_eq!(far.read(move |readers| templates(readers, &b)).await, expected, "{when}: {select:?}");
        }
        cluster.seal().await;
        cluster.pass(3_000_000_000);
    }
    let labels = PartitionLabels { kind: "logs", outcome: "too_large" };
    assert!(metrics.parts.get_or_create(&labels).get() > 0, "owners have refused");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tail_sees_every_line_of_all_owners_once() {
    let mut cluster = Cluster::start().await;
    let (fan_out, _) = cluster.fan_out();
    let far = Readers::of(&fan_out);
    let select = selects()[2].clone();
    let mut tail = far.logs.tail(select.clone()).unwrap();
    // A line a round until one arrives: then both owners are listened to, since both are asked at once.
    let mut seen: Vec<OwnedLine> = Vec::new();
    let mut first = None;
    let arrived = async {
        loop {
            cluster.write_lines(12).await;
            cluster.caught_up().await;
            seen.extend(lines_of(tail.poll()));
            let partitions: std::collections::BTreeSet<u32> = seen.iter().map(|line| line.id.partition).collect();
            // app1 lies in partition 1 alone.
            if partitions.contains(&1) && first.is_none() {
                first = Some(seen.iter().map(|line| line.id).min().unwrap());
            }
            if first.is_some() && seen.len() > 20 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, arrived).await.expect("lines arrive");
    let first = first.unwrap();
    let wanted = move |readers: &Readers| {
        let mut collect = Collect::default();
        readers.logs.visit(&select, &NoBudget, &mut collect).unwrap();
        collect.lines.retain(|line| line.id >= first);
        collect.lines.sort_by_key(|line| line.id);
        collect.lines
    };
    let expected = cluster.own().read(wanted).await;
    let all = async {
        while seen.len() < expected.len() {
            seen.extend(lines_of(tail.poll()));
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, all).await.expect("all lines arrive");
    seen.sort_by_key(|line| line.id);
    assert_eq!(seen, expected);
}
