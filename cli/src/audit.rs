//! The audit log on its way into weir's own logs: tenant `weir-audit`, stream `{job="weir/audit", node="…"}`. What it says and how much of
//! it is `weir_access::audit`'s business.

use std::time::Duration;

use tokio_util::sync::CancellationToken;
use weir_access::AUDIT_TENANT;
use weir_access::audit::{AuditLine, AuditLines};
use weir_collector::ship::Shipper;
use weir_model::id::{SpanId, TraceId};
use weir_model::label::Labels;
use weir_model::log::{LogAttributes, LogBatch, LogRecord};
use weir_model::wire::{Mark, Section, SectionHeader};
use xxhash_rust::xxh3::Xxh3;

use crate::front::Front;
use crate::service::lifecycle::{self, Running};

/// Lines that the bus does not take within this are lost, and counted: the queue behind them is full long before.
const SHIP_PATIENCE: Duration = Duration::from_secs(60);

/// The audit log at work.
pub(crate) struct Auditing {
    task: Running,
    stop: CancellationToken,
}

impl Auditing {
    /// Ships what the front door says of its requests. Without a shipper it goes into this process' own log: an aggregator has no right to
    /// push.
    pub fn start(front: &Front, shipper: Option<Shipper>, node: String) -> Self {
        let (lines, stop) = (front.audit_lines(), CancellationToken::new());
        let stopped = stop.clone();
        let task = tokio::spawn(async move {
            if let Some(lines) = lines {
                ship(lines, shipper, &node, stopped).await;
            }
            Ok(())
        });
        Self { task, stop }
    }

    /// Ships what is left, for a bounded time; call it when no request is under way any more, before the shipper ends.
    pub async fn end(mut self) {
        self.stop.cancel();
        lifecycle::leave("the audit log", &mut self.task).await;
    }
}

async fn ship(mut lines: AuditLines, shipper: Option<Shipper>, node: &str, stopped: CancellationToken) {
    let (started, mut batches) = (lifecycle::now(), 0_u64);
    loop {
        let batch = tokio::select! {
            batch = lines.batch() => batch,
            () = stopped.cancelled(), if !lines.is_closed() => {
                lines.close();
                continue;
            }
        };
        let Some(batch) = batch else { return };
        let Some(shipper) = &shipper else {
            batch.iter().for_each(|line| tracing::info!(event = line.text, "audit event"));
            continue;
        };
        batches += 1;
        let section = section(node, (started, batches), &batch);
        if let Err(error) = shipper.send_and_wait(vec![section], SHIP_PATIENCE).await {
            lines.lost(batch.len());
            tracing::warn!(%error, lines = batch.len(), "lines of the audit log were lost");
        }
    }
}

/// `number`: when this process started, and how many batches it has shipped: no two are taken for the same.
fn section(node: &str, number: (i64, u64), lines: &[AuditLine]) -> Section<LogBatch> {
    let stream = Labels::from_pairs([("job", "weir/audit"), ("node", node)]);
    let bytes = lines.iter().map(|line| line.text.len()).sum();
    let mut batch = LogBatch::with_capacity(stream, lines.len(), bytes);
    let mut hash = Xxh3::new();
    hash.update(&number.0.to_le_bytes());
    hash.update(&number.1.to_le_bytes());
    hash.update(node.as_bytes());
    for line in lines {
        hash.update(line.text.as_bytes());
        batch.push(LogRecord {
            timestamp: line.at,
            sequence: 0,
            body: line.text.as_bytes(),
            severity: 0,
            flags: 0,
            trace_id: TraceId::default(),
            span_id: SpanId::default(),
            attributes: LogAttributes::NONE,
        });
    }
    let header = SectionHeader {
        tenant: AUDIT_TENANT.into(),
        source: "audit".into(),
        mark: Mark::Digest(hash.digest128().to_be_bytes()),
        records: u32::try_from(lines.len()).unwrap_or(u32::MAX),
    };
    Section::new(header, batch)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_become_a_batch_of_their_own_tenant() {
        let lines = [AuditLine { at: 5, text: "{\"a\":1}".into() }, AuditLine { at: 7, text: "{\"a\":2}".into() }];
        let one = section("n1", (1, 1), &lines);
        assert_eq!((one.header.tenant.as_str(), one.header.records), ("weir-audit", 2));
        assert_eq!(one.batch.stream.to_string(), r#"{job="weir/audit", node="n1"}"#);
        let read: Vec<_> = one.batch.iter().map(|record| (record.timestamp, record.body.to_vec())).collect();
        assert_eq!(read, [(5, b"{\"a\":1}".to_vec()), (7, b"{\"a\":2}".to_vec())]);
        for other in [section("n1", (1, 2), &lines), section("n1", (2, 1), &lines), section("n2", (1, 1), &lines)] {
            assert_ne!(one.header.mark, other.header.mark);
        }
    }
}
