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

use super::outcome::{Outcome, Rejected};
use super::{logs, metrics, traces};
use crate::admission::Admission;
use crate::push::PushContext;
use crate::push_error::PushError;
use crate::ship::Shipped;

/// What is exported by one call.
pub(crate) trait Export: 'static {
    /// The protocol's request: what JSON is read as.
    type Request: Message + DeserializeOwned;
    /// What it becomes.
    type Batch: Shipped;
    /// The protocol's answer.
    type Response: Message + Serialize;

    /// The sections of a request in protobuf, and what is rejected of it.
    fn outcome(context: &PushContext, admission: &Admission, request: &[u8]) -> Result<Outcome<Self::Batch>, PushError>;

    /// The answer of success, with `partial_success` when something was rejected, or left out beside the records.
    fn response(rejected: Rejected) -> Self::Response;
}

/// A signal by the module of its conversion, its batch, and the protocol's names: request, answer, partial success, count.
macro_rules! signal {
    ($signal:ident, $module:ident, $batch:ident, $request:ident, $response:ident, $partial:ident, $count:ident) => {
        pub(crate) struct $signal;

        impl Export for $signal {
            type Request = $request;
            type Batch = $batch;
            type Response = $response;

            fn outcome(context: &PushContext, admission: &Admission, request: &[u8]) -> Result<Outcome<$batch>, PushError> {
                $module::outcome(context, admission, request)
            }

            fn response(Rejected { count, reason, .. }: Rejected) -> $response {
                let is_partial = count > 0 || !reason.is_empty();
                let partial = || $partial { $count: count, error_message: reason };
                $response { partial_success: is_partial.then(partial) }
            }
        }
    };
}

signal!(
    Logs,
    logs,
    LogBatch,
    ExportLogsServiceRequest,
    ExportLogsServiceResponse,
    ExportLogsPartialSuccess,
    rejected_log_records
);
signal!(
    Metrics,
    metrics,
    MetricBatch,
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
    ExportMetricsPartialSuccess,
    rejected_data_points
);
signal!(
    Traces,
    traces,
    SpanBatch,
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
    ExportTracePartialSuccess,
    rejected_spans
);
