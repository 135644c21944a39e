//! What becomes of histograms, starts and exemplars, from an answer to a row, by the settings of its job.

use std::sync::Arc;

use weir_model::label::{Labels, NAME};
use weir_model::metric::{MetricBatch, RowExtras};

use super::batch::{Memory, Scrape, batches};
use super::config::Job;
use super::fetch::Answer;
use super::file::PrometheusConfig;
use super::protocol::NameEscaping;
use crate::exposition::{Format, protobuf};
use crate::quota::Quotas;

fn job(settings: &str) -> Job {
    PrometheusConfig::parse(&format!("scrape_configs: [{{job_name: j{settings}}}]")).unwrap().scrape_configs.remove(0)
}

fn scrape(job: &Job, memory: &mut Memory, at: i64, format: Format, body: &[u8]) -> Vec<MetricBatch> {
    let target = Labels::from_pairs([("job", "j")]);
    let answer = Ok(Answer { body: body.to_vec(), format });
    let quota = Quotas::none().of("t");
    let scraped = batches(Scrape { job, target: &target, at, seconds: 0.5, answer, quota: &quota }, memory);
    assert_eq!(scraped.failure, None);
    scraped.batches
}

fn extras(batch: &MetricBatch) -> RowExtras {
    batch.rows[0].extras.as_deref().cloned().unwrap_or_default()
}

/// Names of the columns of a batch that the target gave.
fn names(batch: &MetricBatch) -> Vec<&str> {
    let names = batch.schema.series.iter().map(|labels| labels.get(NAME));
    names.filter(|name| *name != "up" && !name.starts_with("scrape_")).collect()
}

const OPENMETRICS: &str = "# TYPE c counter\nc_total 1 # {t=\"x\"} 0.5\nc_created 2\n# TYPE h histogram\nh_bucket{le=\"1.0\"} 1\n\
    h_bucket{le=\"+Inf\"} 1 # {t=\"y\"} 3 1.5\nh_count 1\nh_sum 1\nh_created 3\n# EOF\n";

#[test]
fn created_timestamps_are_series_or_starts() {
    let (plain, mut with) = (job(""), job(""));
    with.created_timestamps = true;
    let (format, at) = (Format::OpenMetrics, 10_000_000_000);
    let batch = scrape(&plain, &mut Memory::default(), at, format, OPENMETRICS.as_bytes()).remove(0);
    assert_eq!(names(&batch), ["c_total", "c_created", "h_bucket", "h_bucket", "h_count", "h_sum", "h_created"]);
    assert_eq!(extras(&batch).starts, None);
    let mut memory = Memory::default();
    let batch = scrape(&with, &mut memory, at, format, OPENMETRICS.as_bytes()).remove(0);
    assert_eq!(names(&batch), ["c_total", "h_bucket", "h_bucket", "h_count", "h_sum"]);
    let starts = extras(&batch).starts.unwrap();
    let (two, three) = (2_000_000_000, 3_000_000_000);
    assert_eq!(starts[..], [two, three, three, three, three, 0, 0, 0, 0, 0], "weir's own series have none");
    let again = scrape(&with, &mut memory, at + 1, format, OPENMETRICS.as_bytes()).remove(0);
    assert!(Arc::ptr_eq(&starts, &extras(&again).starts.unwrap()), "shared while nothing changes");
    // One that is later than its sample is none.
    let early = scrape(&with, &mut Memory::default(), two, format, OPENMETRICS.as_bytes()).remove(0);
    assert_eq!(extras(&early).starts.unwrap()[..2], [two, 0]);
}

#[test]
fn an_exemplar_is_stored_once() {
    let (job, mut memory) = (job(""), Memory::default());
    let mut of = |at: i64, body: &str| {
        let batches = scrape(&job, &mut memory, at, Format::OpenMetrics, body.as_bytes());
        let of_batch = |batch: &MetricBatch| {
            let exemplars = extras(batch).exemplars;
            let show =
                exemplars.into_iter().map(|(column, one)| (column, one.labels.get("t").to_owned(), one.value, one.timestamp));
            show.collect::<Vec<_>>()
        };
        batches.iter().flat_map(of_batch).collect::<Vec<_>>()
    };
    let (x, y) = (|at| (0, "x".to_owned(), 0.5, at), (3, "y".to_owned(), 3.0, 1_500_000_000));
    assert_eq!(of(7, OPENMETRICS), [x(7), y]);
    assert_eq!(of(8, OPENMETRICS), []);
    assert_eq!(of(9, &OPENMETRICS.replace("0.5", "0.75")), [(0, "x".to_owned(), 0.75, 9)]);
    assert_eq!(of(10, OPENMETRICS), [x(10)], "the last one is compared with");
    assert_eq!(of(11, "# TYPE c counter\nc_total 1 5 # {t=\"z\"} 1\n# EOF\n"), [(0, "z".to_owned(), 1.0, 5_000_000_000)]);
}

#[test]
fn histograms_have_as_many_buckets_as_the_job_allows() {
    let body = protobuf::tests::body();
    let read = |settings: &str| {
        let (target, quota) = (Labels::from_pairs([("job", "j")]), Quotas::none().of("t"));
        let native = if settings.contains("nhcb") { "" } else { ", scrape_native_histograms: true" };
        let job = job(&format!("{native}{settings}"));
        let answer = Ok(Answer { body: body.clone(), format: Format::Protobuf });
        let at = 10_000_000_000;
        let scraped =
            batches(Scrape { job: &job, target: &target, at, seconds: 0.5, answer, quota: &quota }, &mut Memory::default());
        let histograms = extras(&scraped.batches[0]).histograms;
        (scraped.failure, histograms.iter().map(|(_, one)| (one.schema, one.buckets())).collect::<Vec<_>>())
    };
    assert_eq!(read(", native_histogram_bucket_limit: 3"), (None, vec![(3, 3)]));
    assert_eq!(read(", native_histogram_bucket_limit: 0, native_histogram_min_bucket_factor: 0"), (None, vec![(3, 3)]));
    assert_eq!(read(", native_histogram_min_bucket_factor: 4"), (None, vec![(-1, 3)]));
    let (failure, histograms) = read(", native_histogram_bucket_limit: 2");
    let expected = "histogram has 3 buckets at schema -4, above the limit of 2 (native_histogram_bucket_limit)";
    assert!(failure.unwrap().contains(expected));
    assert_eq!(histograms, []);
    let (failure, _) =
        read(", native_histogram_bucket_limit: 1, metric_relabel_configs: [{source_labels: [a], regex: .+, action: drop}]");
    assert_eq!(failure, None, "a series that is dropped has no limit");
    let (failure, _) = read(", native_histogram_bucket_limit: 1, convert_classic_histograms_to_nhcb: true");
    assert!(
        failure.unwrap_or_default().contains("at schema -53, above the limit of 1"),
        "custom buckets have no lower resolution"
    );
}

#[test]
fn a_job_says_which_names_it_takes() {
    let failure = |settings: &str, body: &str, format| {
        let (target, quota) = (Labels::from_pairs([("job", "j")]), Quotas::none().of("t"));
        let answer = Ok(Answer { body: body.as_bytes().to_vec(), format });
        let (job, at) = (job(settings), 10_000_000_000);
        let scraped =
            batches(Scrape { job: &job, target: &target, at, seconds: 0.5, answer, quota: &quota }, &mut Memory::default());
        scraped.failure.unwrap_or_default()
    };
    let legacy = ", metric_name_validation_scheme: legacy";
    for (body, format) in [("{\"a.b\"} 1\n", Format::Text), ("a{\"b.c\"=\"d\"} 1\n# EOF\n", Format::OpenMetrics)] {
        assert_eq!(failure("", body, format), "");
        let told = failure(legacy, body, format);
        assert!(told.contains("has a name that is no identifier (metric_name_validation_scheme is legacy)"), "{told}");
    }
    assert_eq!(failure(legacy, "a:b{c=\"d.e\"} 1\n", Format::Text), "");
    let relabelled = ", metric_relabel_configs: [{source_labels: [__name__], regex: a.*, action: drop}]";
    assert_eq!(failure(&format!("{legacy}{relabelled}"), "{\"a.b\"} 1\n", Format::Text), "", "what is dropped is not looked at");
    let asked = |settings: &str| job(settings).escaping();
    assert_eq!((asked(""), asked(legacy)), (NameEscaping::AllowUtf8, NameEscaping::Underscores));
    assert_eq!(asked(", metric_name_escaping_scheme: values"), NameEscaping::Values);
    let parse = |text: &str| PrometheusConfig::parse(text);
    let global = parse("global: {metric_name_escaping_scheme: dots}\nscrape_configs: [{job_name: a}]").unwrap();
    assert_eq!(global.scrape_configs[0].escaping(), NameEscaping::Dots);
    let both = format!("scrape_configs: [{{job_name: a{legacy}, metric_name_escaping_scheme: allow-utf-8}}]");
    assert!(parse(&both).unwrap_err().contains("job \"a\": metric_name_escaping_scheme is allow-utf-8, but"));
}

#[test]
fn histograms_are_what_the_job_asks_for() {
    let check = |settings: &str, format, body: &[u8], columns: usize, histograms: &[(u32, i8)]| {
        let job = job(settings);
        let batch = scrape(&job, &mut Memory::default(), 10_000_000_000, format, body).remove(0);
        let seen: Vec<(u32, i8)> = extras(&batch).histograms.iter().map(|(column, one)| (*column, one.schema)).collect();
        assert_eq!((names(&batch).len(), &seen[..]), (columns, histograms), "{settings}");
    };
    let (native, classic, convert) = (
        ", scrape_native_histograms: true",
        ", always_scrape_classic_histograms: true",
        ", convert_classic_histograms_to_nhcb: true",
    );
    // Of the protobuf body one series says its own time.
    let body = protobuf::tests::body();
    check("", Format::Protobuf, &body, 9, &[]);
    check(native, Format::Protobuf, &body, 6, &[(5, 3)]);
    check(&format!("{native}{classic}"), Format::Protobuf, &body, 10, &[(5, 3)]);
    check(convert, Format::Protobuf, &body, 6, &[(5, -53)]);
    check(&format!("{native}{convert}"), Format::Protobuf, &body, 6, &[(5, 3)]);
    let text = b"# TYPE h histogram\nh_bucket{le=\"1\"} 1\nh_bucket{le=\"+Inf\"} 3\nh_sum 2\nh_count 3\n";
    check("", Format::Text, text, 4, &[]);
    check(convert, Format::Text, text, 1, &[(0, -53)]);
    check(&format!("{convert}{classic}"), Format::Text, text, 5, &[(0, -53)]);
    check(convert, Format::OpenMetrics, OPENMETRICS.as_bytes(), 4, &[(2, -53)]);
    let yaml = "global: {convert_classic_histograms_to_nhcb: true, scrape_native_histograms: true}\n\
                scrape_configs: [{job_name: a}, {job_name: b, convert_classic_histograms_to_nhcb: false}]";
    let jobs = PrometheusConfig::parse(yaml).unwrap().scrape_configs;
    assert_eq!(jobs.iter().map(Job::converts_histograms).collect::<Vec<_>>(), [true, false]);
    assert_eq!(jobs[0].scrape_protocols.len(), 5, "protobuf first");
    let wrong = PrometheusConfig::parse("scrape_configs: [{job_name: a, scrape_protocols: [PrometheusProto, PrometheusProto]}]");
    assert!(wrong.unwrap_err().contains("job \"a\": scrape_protocols names a format twice"));
    assert!(PrometheusConfig::parse("scrape_configs: [{job_name: a, scrape_protocols: [Json]}]").unwrap_err().contains("Json"));
}
