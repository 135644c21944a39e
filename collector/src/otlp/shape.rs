//! What OTLP's requests of logs and metrics take in memory, for admission before they are decoded: the structures of `opentelemetry-proto` and
//! their repeated fields. A field that the protocol gains later counts as text until it is named here.

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, EntityRef, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1::{
    Exemplar, ExponentialHistogramDataPoint, HistogramDataPoint, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics,
    SummaryDataPoint, summary_data_point,
};
use opentelemetry_proto::tonic::resource::v1::Resource;

use crate::proto_size::Field::{Many, Numbers, One};
use crate::proto_size::{Field, Shape};

/// A request whose memory can be told from its bytes.
pub(crate) trait Shaped {
    /// Its layout.
    const SHAPE: &'static Shape;
}

impl Shaped for ExportLogsServiceRequest {
    const SHAPE: &'static Shape = &LOGS;
}

impl Shaped for ExportMetricsServiceRequest {
    const SHAPE: &'static Shape = &METRICS;
}

/// An element of a JSON array: the largest that is common, a log record with its place in a vector that doubles.
pub(crate) const JSON_ELEMENT_BYTES: usize = 320;

const fn shape<T>(fields: &'static [(u32, Field)]) -> Shape {
    Shape { size: size_of::<T>(), fields }
}

static TEXT: Shape = shape::<String>(&[]);
static ANY: Shape = shape::<AnyValue>(&[(5, One(&ARRAY)), (6, One(&PAIRS))]);
static ARRAY: Shape = shape::<()>(&[(1, Many(&ANY))]);
static PAIRS: Shape = shape::<()>(&[(1, Many(&PAIR))]);
static PAIR: Shape = shape::<KeyValue>(&[(2, One(&ANY))]);
static ENTITY: Shape = shape::<EntityRef>(&[(3, Many(&TEXT)), (4, Many(&TEXT))]);
static RESOURCE: Shape = shape::<Resource>(&[(1, Many(&PAIR)), (3, Many(&ENTITY))]);
static SCOPE: Shape = shape::<InstrumentationScope>(&[(3, Many(&PAIR))]);

static LOGS: Shape = shape::<ExportLogsServiceRequest>(&[(1, Many(&RESOURCE_LOGS))]);
static RESOURCE_LOGS: Shape = shape::<ResourceLogs>(&[(1, One(&RESOURCE)), (2, Many(&SCOPE_LOGS))]);
static SCOPE_LOGS: Shape = shape::<ScopeLogs>(&[(1, One(&SCOPE)), (2, Many(&LOG_RECORD))]);
static LOG_RECORD: Shape = shape::<LogRecord>(&[(5, One(&ANY)), (6, Many(&PAIR))]);

static METRICS: Shape = shape::<ExportMetricsServiceRequest>(&[(1, Many(&RESOURCE_METRICS))]);
static RESOURCE_METRICS: Shape = shape::<ResourceMetrics>(&[(1, One(&RESOURCE)), (2, Many(&SCOPE_METRICS))]);
static SCOPE_METRICS: Shape = shape::<ScopeMetrics>(&[(1, One(&SCOPE)), (2, Many(&METRIC))]);
static METRIC: Shape = shape::<Metric>(&[
    (5, One(&NUMBERS)),
    (7, One(&NUMBERS)),
    (9, One(&HISTOGRAM)),
    (10, One(&EXPONENTIAL)),
    (11, One(&SUMMARY)),
    (12, Many(&PAIR)),
]);
static NUMBERS: Shape = shape::<()>(&[(1, Many(&NUMBER))]);
static NUMBER: Shape = shape::<NumberDataPoint>(&[(5, Many(&EXEMPLAR)), (7, Many(&PAIR))]);
static HISTOGRAM: Shape = shape::<()>(&[(1, Many(&HISTOGRAM_POINT))]);
static HISTOGRAM_POINT: Shape =
    shape::<HistogramDataPoint>(&[(6, Numbers(8)), (7, Numbers(8)), (8, Many(&EXEMPLAR)), (9, Many(&PAIR))]);
static EXPONENTIAL: Shape = shape::<()>(&[(1, Many(&EXPONENTIAL_POINT))]);
static EXPONENTIAL_POINT: Shape =
    shape::<ExponentialHistogramDataPoint>(&[(1, Many(&PAIR)), (8, One(&BUCKETS)), (9, One(&BUCKETS)), (11, Many(&EXEMPLAR))]);
static BUCKETS: Shape = shape::<()>(&[(2, Numbers(1))]);
static SUMMARY: Shape = shape::<()>(&[(1, Many(&SUMMARY_POINT))]);
static SUMMARY_POINT: Shape = shape::<SummaryDataPoint>(&[(6, Many(&QUANTILE)), (7, Many(&PAIR))]);
static QUANTILE: Shape = shape::<summary_data_point::ValueAtQuantile>(&[]);
static EXEMPLAR: Shape = shape::<Exemplar>(&[(7, Many(&PAIR))]);
