//! OTLP over gRPC: the three export services, gzip either way.

use axum::Router;
use opentelemetry_proto::tonic::collector::logs::v1::logs_service_server::{LogsService, LogsServiceServer};
use opentelemetry_proto::tonic::collector::logs::v1::{
    ExportLogsPartialSuccess, ExportLogsServiceRequest, ExportLogsServiceResponse,
};
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_server::{MetricsService, MetricsServiceServer};
use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsPartialSuccess, ExportMetricsServiceRequest, ExportMetricsServiceResponse,
};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{TraceService, TraceServiceServer};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use tonic::codec::CompressionEncoding;
use tonic::service::Routes;
use tonic::{Request, Response, Status};

use super::{Outcome, Rejected, finish, logs, metrics, traces};
use crate::body::PushError;
use crate::push::PushContext;

struct Service(PushContext);

/// The three services, for whoever serves HTTP/2.
pub fn router(context: &PushContext) -> Router {
    let limit = context.config.decompressed_bytes_max;
    macro_rules! server {
        ($server:ident) => {
            $server::new(Service(context.clone()))
                .accept_compressed(CompressionEncoding::Gzip)
                .send_compressed(CompressionEncoding::Gzip)
                .max_decoding_message_size(limit)
        };
    }
    let routes = Routes::new(server!(LogsServiceServer))
        .add_service(server!(MetricsServiceServer))
        .add_service(server!(TraceServiceServer));
    routes.prepare().into_axum_router()
}

type Convert<R> = fn(&PushContext, R) -> Result<Outcome, PushError>;

impl Service {
    async fn take<R: Send + 'static>(&self, request: R, convert: Convert<R>) -> Result<Rejected, Status> {
        let result = self.try_take(request, convert).await;
        result.map_err(|error| {
            self.0.metrics.event("otlp_grpc", error.reason(), 1);
            status(&error)
        })
    }

    async fn try_take<R: Send + 'static>(&self, request: R, convert: Convert<R>) -> Result<Rejected, PushError> {
        let _slot = self.0.slot()?;
        let outcome = self.0.decode(bytes::Bytes::new(), move |context, _| convert(context, request)).await?;
        finish(&self.0, outcome).await
    }
}

fn status(error: &PushError) -> Status {
    Status::new(error.grpc_code().into(), error.to_string())
}

#[tonic::async_trait]
impl LogsService for Service {
    async fn export(&self, request: Request<ExportLogsServiceRequest>) -> Result<Response<ExportLogsServiceResponse>, Status> {
        let rejected = self.take(request.into_inner(), logs::outcome).await?;
        Ok(Response::new(logs_response(rejected)))
    }
}

#[tonic::async_trait]
impl MetricsService for Service {
    async fn export(
        &self,
        request: Request<ExportMetricsServiceRequest>,
    ) -> Result<Response<ExportMetricsServiceResponse>, Status> {
        let rejected = self.take(request.into_inner(), metrics::outcome).await?;
        Ok(Response::new(metrics_response(rejected)))
    }
}

#[tonic::async_trait]
impl TraceService for Service {
    async fn export(&self, request: Request<ExportTraceServiceRequest>) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let rejected = self.take(request.into_inner(), traces::outcome).await?;
        Ok(Response::new(trace_response(rejected)))
    }
}

pub(super) fn logs_response(rejected: Rejected) -> ExportLogsServiceResponse {
    let partial =
        |rejected: Rejected| ExportLogsPartialSuccess { rejected_log_records: rejected.count, error_message: rejected.reason };
    ExportLogsServiceResponse { partial_success: (rejected.count > 0).then(|| partial(rejected)) }
}

pub(super) fn metrics_response(rejected: Rejected) -> ExportMetricsServiceResponse {
    let partial =
        |rejected: Rejected| ExportMetricsPartialSuccess { rejected_data_points: rejected.count, error_message: rejected.reason };
    ExportMetricsServiceResponse { partial_success: (rejected.count > 0).then(|| partial(rejected)) }
}

pub(super) fn trace_response(rejected: Rejected) -> ExportTraceServiceResponse {
    let partial =
        |rejected: Rejected| ExportTracePartialSuccess { rejected_spans: rejected.count, error_message: rejected.reason };
    ExportTraceServiceResponse { partial_success: (rejected.count > 0).then(|| partial(rejected)) }
}
