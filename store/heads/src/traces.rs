//! Traces of a head for another process: their spans in the order of arrival, and when they arrived.
//!
//! A section holds neighbouring spans of one origin. Side data of a record: for each trace that begins in it, `trace id 16
//! bytes, first zigzag, last zigzag, revision varint, reopened varint`. Queries for names and values are answered with
//! spans that have nothing but these. Drawn in `docs/formats/heads.md`.

use std::collections::BTreeSet;
use std::sync::Arc;

use weir_model::id::{SpanId, TraceId};
use weir_model::scope::{Scope, TenantScope};
use weir_model::select::{Budget, PartitionCoverage, ReadError, TraceReader};
use weir_model::span::{Attributes, Origin, Span, SpanBatch, SpanKind, SpansBuilder, Value};
use weir_model::time::TimeRange;
use weir_model::wire::{self, Mark, Section, SectionHeader};

use crate::extract::{Packer, check_bytes, not_mine};
use crate::request::TRACES_MAX;
use crate::{ExtractLimits, ExtractRecord, HeadExtract, HeadProtocol, HeadQuery, RECORD_LIMITS, Row};
use weir_blocks::columns::{Reader, put_varint, put_zigzag};
use weir_blocks::engine::{Head, Position};
use weir_blocks::limits::pieces;
use weir_blocks::view::{Fixed, PartitionView};
use weir_traces::{Arrival, HeadTrace, KINDS, OriginSpan, TracesEngine, TracesHead, TracesReader};

/// Spans of one section: with a KiB of attributes each, a MiB; and bytes of larger ones.
const SECTION_SPANS: usize = 1024;
const SECTION_BYTES: usize = 1 << 20;
/// Attributes of one synthetic span, and bytes of their names.
const ATTRIBUTES_EACH: usize = 512;
const NAMES_BYTES: usize = 256 << 10;
/// A trace's side data.
const ARRIVAL_BYTES_MIN: usize = 20;

impl HeadProtocol for TracesEngine {
    fn extract(
        scope: &Scope,
        query: &HeadQuery,
        heads: &[Arc<TracesHead>],
        limits: ExtractLimits,
        budget: &dyn Budget,
    ) -> Result<HeadExtract, ReadError> {
        let own = scope.one()?;
        let tenant = &*own.tenant;
        match query {
            HeadQuery::Traces { ids } if ids.len() <= TRACES_MAX => {
                HeadExtract::of_heads(heads.iter().map(|head| extract_traces(own, head, ids, limits, budget)))
            }
            HeadQuery::Traces { ids } => Err(ReadError::Store(format!("{} traces are above {TRACES_MAX}", ids.len()))),
            HeadQuery::Search(search) => {
                let found = reader(heads).candidates(&search.select(scope), budget)?.value;
                let rows = found.into_iter().map(|(id, start)| Row::Trace { id, start }).collect();
                Ok(HeadExtract { rows, ..HeadExtract::default() })
            }
            HeadQuery::Operations(range) => {
                let names = reader(heads).names(scope, (*range).into(), budget)?.value;
                synthetic(tenant, (*range).into(), names.into_iter().map(operation), limits)
            }
            HeadQuery::AttributeNames(range) => {
                let names = reader(heads).attribute_names(scope, (*range).into(), usize::MAX, budget)?.value;
                let (resource, own): (Vec<_>, Vec<_>) = names.into_iter().partition(|(scope, _)| scope == "resource");
                let list = |names: Vec<(String, String)>| -> Attributes {
                    names.into_iter().map(|(_, name)| (name, Value::Bool(true))).collect()
                };
                let (resource, own) = (list(resource), list(own));
                let cut = |names| pieces(names, ATTRIBUTES_EACH, NAMES_BYTES, |(name, _): &(String, Value)| name.len());
                let resources = cut(&resource).map(|some| (some.to_vec(), Vec::new()));
                let owns = cut(&own).map(|some| (Vec::new(), some.to_vec()));
                synthetic(tenant, (*range).into(), resources.chain(owns).map(with_attributes), limits)
            }
            HeadQuery::AttributeValues { range, name, limit } => {
                let values = reader(heads).attribute_values(scope, name, (*range).into(), *limit, budget)?.value;
                let spans = values.into_iter().map(|value| with_attributes((Vec::new(), vec![(name.clone(), value)])));
                synthetic(tenant, (*range).into(), spans, limits)
            }
            _ => Err(not_mine("traces")),
        }
    }

    fn rebuild_head(
        &self,
        partition: u32,
        tenant: &str,
        records: &[ExtractRecord],
        bytes_max: u64,
    ) -> Result<TracesHead, String> {
        let head = self.head_selected();
        let mut arrivals = Vec::new();
        for record in records {
            let sections = wire::decode::<SpanBatch>(&record.record, &RECORD_LIMITS).map_err(|error| error.to_string())?;
            for section in sections {
                let position = Position { partition, offset: 0, ordinal: 0 };
                head.insert(position, &section).map_err(|error| error.to_string())?;
            }
            check_bytes(head.bytes(), bytes_max)?;
            read_arrivals(&record.side, &mut arrivals)?;
        }
        head.set_arrivals(tenant, &arrivals);
        Ok(head)
    }
}

/// The heads as one reader that has no blocks. It is asked nothing that depends on the time.
fn reader(heads: &[Arc<TracesHead>]) -> TracesReader {
    let (coverage, heads) = (PartitionCoverage::default(), heads.to_vec());
    let view = PartitionView { coverage, blocks: Vec::new(), heads, missing: Vec::new() };
    TracesReader::new(Arc::new(Fixed::new(vec![view])), Arc::new(|| 0))
}

fn packer(limits: ExtractLimits) -> Packer<SpanBatch> {
    Packer::new(limits, "bytes of unsealed spans")
}

fn section(tenant: &str, batch: SpanBatch) -> Section<SpanBatch> {
    let mark = Mark::Sequence { epoch: 0, first: 0, last: 0 };
    let header = SectionHeader { tenant: tenant.into(), source: "head".into(), mark, records: 0 };
    Section::new(header, batch)
}

fn extract_traces(
    TenantScope { tenant, visible }: &TenantScope,
    head: &TracesHead,
    ids: &[TraceId],
    limits: ExtractLimits,
    budget: &dyn Budget,
) -> Result<Vec<ExtractRecord>, ReadError> {
    let mut packer = packer(limits);
    let unique: BTreeSet<&TraceId> = ids.iter().collect();
    for id in unique {
        budget.check()?;
        if let Some(trace) = head.trace(tenant, *id).and_then(|trace| trace.visible(visible)) {
            push_trace(&mut packer, tenant, *id, &trace)?;
        }
    }
    packer.finish()
}

fn push_trace(packer: &mut Packer<SpanBatch>, tenant: &str, id: TraceId, trace: &HeadTrace) -> Result<(), ReadError> {
    let mut side = put_arrival(id, &trace.arrival);
    for run in trace.spans.chunk_by(|a, b| Arc::ptr_eq(&a.origin, &b.origin)) {
        for some in pieces(run, SECTION_SPANS, SECTION_BYTES, OriginSpan::raw_bytes) {
            let mut builder = SpansBuilder::default();
            some.iter().for_each(|own| builder.push_ref(own.span()));
            let (origin, spans) = (some[0].origin.origin.clone(), Arc::new(builder.finish()));
            packer.push(&section(tenant, SpanBatch { origin, spans }), &side)?;
            side.clear();
        }
    }
    Ok(())
}

fn put_arrival(id: TraceId, arrival: &Arrival) -> Vec<u8> {
    let mut out = id.0.to_vec();
    put_zigzag(&mut out, arrival.first);
    put_zigzag(&mut out, arrival.last);
    put_varint(&mut out, u64::from(arrival.revision));
    put_varint(&mut out, u64::from(arrival.reopened));
    out
}

fn read_arrivals(side: &[u8], arrivals: &mut Vec<(TraceId, Arrival)>) -> Result<(), String> {
    let mut reader = Reader::new(side);
    let mut left = side.len();
    while left >= ARRIVAL_BYTES_MIN {
        let id = TraceId(reader.array("trace id")?);
        let (first, last) = (reader.zigzag("first arrival")?, reader.zigzag("last arrival")?);
        let (revision, reopened) = (reader.varint_u32("revision")?, reader.varint_u32("reopened")?);
        arrivals.push((id, Arrival { first, last, revision, reopened, complete: false }));
        left = reader.left();
    }
    reader.finish()
}

type Described = (Attributes, Span);

fn with_attributes((resource, own): (Attributes, Attributes)) -> Described {
    (resource, Span { attributes: own, ..Span::default() })
}

fn operation((service, name, kind): (String, String, u8)) -> Described {
    let kind = KINDS.get(kind as usize).copied().unwrap_or(SpanKind::Unspecified);
    (vec![("service.name".into(), Value::String(service))], Span { name, kind, ..Span::default() })
}

/// Spans that say nothing but what was asked for, each a trace of its own, at the beginning of the range.
fn synthetic(
    tenant: &str,
    range: TimeRange,
    spans: impl Iterator<Item = Described>,
    limits: ExtractLimits,
) -> Result<HeadExtract, ReadError> {
    let mut packer = packer(limits);
    for ((resource, span), number) in spans.zip(1_u64..) {
        let mut trace_id = TraceId::default();
        trace_id.0[8..].copy_from_slice(&number.to_be_bytes());
        let (span_id, start) = (SpanId(number.to_be_bytes()), range.start);
        let span = Span { trace_id, span_id, start, end: start, ..span };
        let origin = Origin { resource, ..Origin::default() };
        let spans = Arc::new([span].iter().collect());
        packer.push(&section(tenant, SpanBatch { origin, spans }), &[])?;
    }
    packer.into_extract()
}
