//! The three signals of OTLP, as far as they differ: each transport serves any of them. Not here: how one becomes sections ([`super::logs`],
//! [`super::metrics`], [`super::traces`]).

use opentelemetry_proto::tonic::collector::logs::v1::{
    ExportLogsPartialSuccess, ExportLogsServiceRequest, ExportLogsServiceResponse,
};
use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsPartialSuccess, ExportMetricsServiceRequest, ExportMetricsServiceResponse,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use prost::Message;
use serde::Serialize;
use serde::de::DeserializeOwned;
use weir_model::log::LogBatch;
use weir_model::metric::MetricBatch;
use weir_model::span::SpanBatch;

use super::shape::Shaped;
use super::{Outcome, Rejected, logs, metrics, traces};
use crate::admission::Admission;
use crate::body::PushError;
use crate::push::PushContext;
use crate::ship::Shipped;

/// What is exported by one call.
pub(crate) trait Export: 'static {
    /// What it becomes.
    type Batch: Shipped;
    /// The call's request.
    type Request: Message + Default + DeserializeOwned + Shaped + 'static;
    /// Its answer.
    type Response: Message + Serialize;

    /// A request's sections, and what is rejected of it.
    fn outcome(context: &PushContext, admission: &Admission, request: Self::Request) -> Result<Outcome<Self::Batch>, PushError>;

    /// The answer of success, with `partial_success` when something was rejected.
    fn response(rejected: Rejected) -> Self::Response;
}

pub(crate) struct Logs;
pub(crate) struct Metrics;
pub(crate) struct Traces;

impl Export for Logs {
    type Batch = LogBatch;
    type Request = ExportLogsServiceRequest;
    type Response = ExportLogsServiceResponse;

    fn outcome(context: &PushContext, admission: &Admission, request: Self::Request) -> Result<Outcome<Self::Batch>, PushError> {
        logs::outcome(context, admission, request)
    }

    fn response(rejected: Rejected) -> Self::Response {
        let Rejected { count, reason, .. } = rejected;
        let partial = || ExportLogsPartialSuccess { rejected_log_records: count, error_message: reason };
        ExportLogsServiceResponse { partial_success: (count > 0).then(partial) }
    }
}

impl Export for Metrics {
    type Batch = MetricBatch;
    type Request = ExportMetricsServiceRequest;
    type Response = ExportMetricsServiceResponse;

    fn outcome(context: &PushContext, admission: &Admission, request: Self::Request) -> Result<Outcome<Self::Batch>, PushError> {
        metrics::outcome(context, admission, request)
    }

    fn response(rejected: Rejected) -> Self::Response {
        let Rejected { count, reason, .. } = rejected;
        let partial = || ExportMetricsPartialSuccess { rejected_data_points: count, error_message: reason };
        ExportMetricsServiceResponse { partial_success: (count > 0).then(partial) }
    }
}

impl Export for Traces {
    type Batch = SpanBatch;
    type Request = ExportTraceServiceRequest;
    type Response = ExportTraceServiceResponse;

    fn outcome(context: &PushContext, admission: &Admission, request: Self::Request) -> Result<Outcome<Self::Batch>, PushError> {
        traces::outcome(context, admission, request)
    }

    fn response(rejected: Rejected) -> Self::Response {
        let Rejected { count, reason, .. } = rejected;
        let partial = || ExportTracePartialSuccess { rejected_spans: count, error_message: reason };
        ExportTraceServiceResponse { partial_success: (count > 0).then(partial) }
    }
}
