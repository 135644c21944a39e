//! Lines of all partitions by template: those of blocks from their chunks, those of heads as their owners have counted them.

use std::ops::ControlFlow;

use weir_heads::request::LinesQuery;
use weir_heads::{HeadQuery, Row};
use weir_logs::take_line;
use weir_model::id::LineId;
use weir_model::label::Labels;
use weir_model::log::LogRecord;
use weir_model::select::{
    Buckets, Budget, Coverage, LogReader, LogSelect, LogVisitor, ReadError, TakeTemplate, TemplateCount, TemplateText,
};
use weir_model::time::UnixNanos;

use super::collect::EXTRACT_MAX;
use super::logs::{FanOutLogs, reader};
use super::owners::ANSWER_MAX;

impl FanOutLogs {
    /// Reads once more when a block was deleted meanwhile, as long as nothing was given.
    pub(super) fn count_templates(
        &self,
        select: &LogSelect,
        buckets: Buckets,
        budget: &dyn Budget,
        take: TakeTemplate<'_>,
    ) -> Result<Coverage, ReadError> {
        let mut watched = Watched { take, given: false, done: false };
        let noted = self.shared.logs.gone();
        let read = self.templates_once(select, buckets, budget, &mut watched);
        // What was given cannot be taken back: then the coverage says what is missing.
        if !self.shared.logs.forget_gone(noted) || watched.given {
            return read;
        }
        self.shared.heads.metrics.blocks_gone.inc();
        self.templates_once(select, buckets, budget, &mut watched)
    }

    fn templates_once(
        &self,
        select: &LogSelect,
        buckets: Buckets,
        budget: &dyn Budget,
        watched: &mut Watched<'_>,
    ) -> Result<Coverage, ReadError> {
        let (step, origin) = (buckets.step(), buckets.origin());
        let query = HeadQuery::Templates { lines: LinesQuery::new(select, 0), step, origin };
        let mut collected = match self.collect_views(&select.scope, query, None, budget) {
            // Of lines that hardly have a word in common, the lines are smaller than the templates in one piece: they come in pages.
            Err(ReadError::Budget { key: EXTRACT_MAX | ANSWER_MAX, .. }) => {
                return self.visit(select, budget, &mut EachTemplate { buckets, watched });
            }
            collected => collected?,
        };
        let mut rows = collected.rows.take();
        let coverage = reader(collected).templates(select, buckets, budget, &mut |count| watched.count(count))?;
        for row in rows.drain() {
            if watched.done {
                break;
            }
            watched.row(&row);
        }
        Ok(coverage)
    }
}

/// Who takes counts, whether any were given, and whether there were enough.
struct Watched<'a> {
    take: TakeTemplate<'a>,
    given: bool,
    done: bool,
}

impl Watched<'_> {
    fn count(&mut self, count: &TemplateCount<'_>) -> ControlFlow<()> {
        self.given = true;
        let flow = (self.take)(count);
        self.done |= flow.is_break();
        flow
    }

    fn row(&mut self, row: &Row) {
        let (text, bucket, severity, lines) = match row {
            Row::Template { text, bucket, severity, lines } => (TemplateText::Constant(text), *bucket, *severity, *lines),
            Row::Line { body, bucket, severity, lines } => (TemplateText::Line(body), *bucket, *severity, *lines),
            Row::Count { .. } | Row::Trace { .. } => return,
        };
        let _flow = self.count(&TemplateCount { text, severity, bucket, lines });
    }
}

/// Gives the template of each line.
struct EachTemplate<'a, 'b> {
    buckets: Buckets,
    watched: &'a mut Watched<'b>,
}

impl LogVisitor for EachTemplate<'_, '_> {
    fn wants(&mut self, _: UnixNanos, _: UnixNanos) -> bool {
        true
    }

    fn stream(&mut self, _: &Labels) {}

    fn line(&mut self, _: LineId, record: LogRecord<'_>) -> ControlFlow<()> {
        let bucket = self.buckets.start_of(record.timestamp);
        take_line(record.body, record.severity, bucket, &mut |count| self.watched.count(count))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use axum::Json;
    use object_store::ObjectStore;
    use object_store::memory::InMemory;
    use tokio_util::sync::CancellationToken;
    use weir_blocks::blob::BlobCache;
    use weir_blocks::engine::{Engine, Head, Position};
    use weir_blocks::manifest::{Manifest, ManifestStore, random_nonces};
    use weir_heads::{ExtractLimits, HEADS_PATH, HeadInstant, HeadProtocol, HeadRequest, encode_extract, frame};
    use weir_logs::{LogsEngine, LogsHead};
    use weir_metrics::{MetricsCounters, MetricsEngine};
    use weir_model::config::ByteSize;
    use weir_model::limits::Limits;
    use weir_model::log::LogBatch;
    use weir_model::scope::Scope;
    use weir_model::select::NoBudget;
    use weir_model::time::TimeRange;
    use weir_model::wire::{Kind, Mark, Section, SectionHeader};
    use weir_traces::{TracesCounters, TracesEngine};

    use super::*;
    use crate::config::FanOutConfig;
    use crate::metrics::{FanOutMetrics, PartitionLabels};
    use crate::start::{FanOut, FanOutDeps};

    const PARTITIONS: u32 = 3;
    /// Of each partition.
    const LINES: u32 = 40;
    /// No two alike, and they do not get smaller on the way.
    const LINE_BYTES: usize = 400;

    /// What a query holds, and how much that has been at most.
    #[derive(Default)]
    struct Memory {
        held: AtomicU64,
        most: AtomicU64,
        limit: u64,
    }

    impl Budget for Memory {
        fn check(&self) -> Result<(), ReadError> {
            Ok(())
        }

        fn spend(&self, _: u64) -> Result<(), ReadError> {
            Ok(())
        }

        fn reserve(&self, bytes: u64) -> Result<(), ReadError> {
            let held = self.held.fetch_add(bytes, Ordering::Relaxed) + bytes;
            self.most.fetch_max(held, Ordering::Relaxed);
            if held <= self.limit {
                return Ok(());
            }
            self.held.fetch_sub(bytes, Ordering::Relaxed);
            Err(ReadError::Budget { limit: self.limit, what: "bytes", key: "test.memory_max" })
        }

        fn release(&self, bytes: u64) {
            self.held.fetch_sub(bytes, Ordering::Relaxed);
        }
    }

    fn head(partition: u32) -> Arc<LogsHead> {
        let (head, mut state) = (LogsEngine::default().head(), u64::from(partition));
        let mut batch = LogBatch::new(Labels::from_pairs([("app", "x")]));
        for i in 0..LINES {
            let mut random = || {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (state >> 40) as u8
            };
            let body: Vec<u8> = std::iter::once(0xff).chain((1..LINE_BYTES).map(|_| random())).collect();
            batch.push(LogRecord {
                timestamp: i64::from(i) + 1,
                sequence: 0,
                body: &body,
                severity: 9,
                flags: 0,
                trace_id: Default::default(),
                span_id: Default::default(),
                attributes: (&Labels::EMPTY).into(),
            });
        }
        let mark = Mark::Digest([1; 16]);
        let section = Section::new(SectionHeader { tenant: "t".into(), source: "s".into(), mark, records: LINES }, batch);
        head.insert(Position { partition, offset: 0, ordinal: 0 }, &section).expect("inserts");
        Arc::new(head)
    }

    /// An owner of all partitions, and its URL.
    async fn owner() -> String {
        let heads: Vec<_> = (0..PARTITIONS).map(head).collect();
        let answer = async move |Json(request): Json<HeadRequest>| {
            let mut out = frame::preamble(Kind::Logs).to_vec();
            for partition in request.partitions.iter().copied().filter(|_| request.kind == Kind::Logs) {
                let (scope, heads) = (request.scope().expect("a scope"), [Arc::clone(&heads[partition as usize])]);
                let limits = ExtractLimits { bytes_max: 1 << 20, key: EXTRACT_MAX };
                let extract = LogsEngine::extract(&scope, &request.query, &heads, limits, &NoBudget).expect("an extract");
                let instant =
                    HeadInstant { partition, epoch: 1, version: 1, bus_silent_seconds: Some(0), ..HeadInstant::default() };
                encode_extract(&mut out, &instant, &extract);
            }
            frame::put(&mut out, frame::Tag::End, &[]);
            out
        };
        let router = axum::Router::new().route(HEADS_PATH, axum::routing::post(answer));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("binds");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        tokio::spawn(async move { axum::serve(listener, router).await });
        url
    }

    async fn fan_out(config: FanOutConfig) -> (FanOut, FanOutMetrics) {
        let (object_store, owner) = (Arc::new(InMemory::new()) as Arc<dyn ObjectStore>, owner().await);
        for partition in 0..PARTITIONS {
            let (object_store, nonces) = (Arc::clone(&object_store), random_nonces());
            let manifests = ManifestStore { object_store, kind: Kind::Logs, partition, nonces };
            let manifest = Manifest { epoch: 1, owner: owner.clone(), ..Manifest::default() };
            manifests.publish(1, &manifest).await.expect("publishes");
        }
        let (clock, metrics) = (Arc::new(|| 0), FanOutMetrics::default());
        let spans = TracesEngine::new(Arc::clone(&clock) as _, TracesCounters::default());
        let deps = FanOutDeps {
            object_store,
            cache: BlobCache::new(1 << 20),
            engines: (LogsEngine::default(), MetricsEngine::new(MetricsCounters::default()), spans),
            clock,
            metrics: metrics.clone(),
            shutdown: CancellationToken::new(),
            limits: Limits::default(),
        };
        (FanOut::start(config, deps).expect("starts"), metrics)
    }

    /// Different lines, all lines, and what the coverage has missed.
    fn count(fan_out: &FanOut, budget: &dyn Budget) -> Result<(usize, u64, Vec<String>), ReadError> {
        let (matchers, filters) = Default::default();
        let select = LogSelect { scope: Scope::of("t"), matchers, range: TimeRange::ALL, filters, newest_first: true };
        let (mut texts, mut lines) = (BTreeSet::new(), 0);
        let buckets = Buckets::new(1000, 0).expect("a step");
        let coverage = fan_out.logs().templates(&select, buckets, budget, &mut |count| {
            if let TemplateText::Line(line) = count.text {
                texts.insert(line.to_vec());
            }
            lines += count.lines;
            ControlFlow::Continue(())
        })?;
        Ok((texts.len(), lines, coverage.missing))
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn an_answer_that_is_too_large_is_asked_for_in_pages() {
        // Rows of one partition take 36 kB, its share of a page of 8 KiB some 6 kB that three times are above the limit too.
        let (answer_max, page_min) = (ByteSize::kib(16), ByteSize::kib(1));
        let (fan_out, metrics) = fan_out(FanOutConfig { answer_max, page_min, ..FanOutConfig::default() }).await;
        let counted = tokio::task::spawn_blocking(move || count(&fan_out, &NoBudget)).await.expect("no panic");
        let all = PARTITIONS * LINES;
        assert_eq!(counted.expect("an answer"), (all as usize, u64::from(all), Vec::new()));
        let labels = PartitionLabels { kind: "logs", outcome: "too_large" };
        let refused = metrics.parts.get_or_create(&labels).get();
        assert_eq!(refused, 2 * u64::from(PARTITIONS), "rows and one page");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn rows_are_held_in_the_memory_of_their_query() {
        let (fan_out, _) = fan_out(FanOutConfig::default()).await;
        let texts = u64::from(PARTITIONS * LINES) * LINE_BYTES as u64;
        let check = move |limit: u64| {
            let budget = Memory { limit, ..Memory::default() };
            let counted = count(&fan_out, &budget);
            assert_eq!(budget.held.into_inner(), 0, "what was held is given back");
            (counted, budget.most.into_inner())
        };
        let (few, enough) = tokio::task::spawn_blocking(move || (check(texts / 2).0, check(10 * texts))).await.expect("no panic");
        let refused = few.expect_err("more than the query may hold");
        assert!(matches!(refused, ReadError::Budget { key: "test.memory_max", .. }), "{refused}");
        let (counted, most) = enough;
        assert_eq!(counted.expect("an answer").1, u64::from(PARTITIONS * LINES));
        assert!(most > texts, "{most} of {texts}");
    }
}
