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

use super::shape::Shaped;
use super::{Outcome, Rejected, logs, metrics, traces};
use crate::admission::Admission;
use crate::body::PushError;
use crate::push::PushContext;

/// What is exported by one call.
pub(super) trait Signal: 'static {
    /// The call's request.
    type Request: Message + Default + DeserializeOwned + Shaped + 'static;
    /// Its answer.
    type Response: Message + Serialize;

    /// A request's sections, and what is rejected of it.
    fn outcome(context: &PushContext, admission: &Admission, request: Self::Request) -> Result<Outcome, PushError>;

    /// The answer of success, with `partial_success` when something was rejected.
    fn response(rejected: Rejected) -> Self::Response;
}

pub(super) struct Logs;
pub(super) struct Metrics;
pub(super) struct Traces;

impl Signal for Logs {
    type Request = ExportLogsServiceRequest;
    type Response = ExportLogsServiceResponse;

    fn outcome(context: &PushContext, admission: &Admission, request: Self::Request) -> Result<Outcome, PushError> {
        logs::outcome(context, admission, request)
    }

    fn response(rejected: Rejected) -> Self::Response {
        let Rejected { count, reason, .. } = rejected;
        let partial = || ExportLogsPartialSuccess { rejected_log_records: count, error_message: reason };
        ExportLogsServiceResponse { partial_success: (count > 0).then(partial) }
    }
}

impl Signal for Metrics {
    type Request = ExportMetricsServiceRequest;
    type Response = ExportMetricsServiceResponse;

    fn outcome(context: &PushContext, admission: &Admission, request: Self::Request) -> Result<Outcome, PushError> {
        metrics::outcome(context, admission, request)
    }

    fn response(rejected: Rejected) -> Self::Response {
        let Rejected { count, reason, .. } = rejected;
        let partial = || ExportMetricsPartialSuccess { rejected_data_points: count, error_message: reason };
        ExportMetricsServiceResponse { partial_success: (count > 0).then(partial) }
    }
}

impl Signal for Traces {
    type Request = ExportTraceServiceRequest;
    type Response = ExportTraceServiceResponse;

    fn outcome(context: &PushContext, admission: &Admission, request: Self::Request) -> Result<Outcome, PushError> {
        traces::outcome(context, admission, request)
    }

    fn response(rejected: Rejected) -> Self::Response {
        let Rejected { count, reason, .. } = rejected;
        let partial = || ExportTracePartialSuccess { rejected_spans: count, error_message: reason };
        ExportTraceServiceResponse { partial_success: (count > 0).then(partial) }
    }
}
