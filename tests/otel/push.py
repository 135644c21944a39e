"""Sends one log, one metric and one span with the real OpenTelemetry SDK, for each case of a JSON list on stdin, over HTTP and
gRPC, and prints per case what the SDK itself has printed (nothing where all went well), as a JSON object.

A case: {"name", "transport": "http" or "grpc", "endpoint", "ca", "headers": {}, "cert", "key"}; the last two may be empty.
"""

import json
import logging
import os
import sys

import grpc
from opentelemetry.exporter.otlp.proto.grpc import _log_exporter as grpc_logs
from opentelemetry.exporter.otlp.proto.grpc import metric_exporter as grpc_metrics
from opentelemetry.exporter.otlp.proto.grpc import trace_exporter as grpc_traces
from opentelemetry.exporter.otlp.proto.http import _log_exporter as http_logs
from opentelemetry.exporter.otlp.proto.http import metric_exporter as http_metrics
from opentelemetry.exporter.otlp.proto.http import trace_exporter as http_traces
from opentelemetry.sdk._logs import LoggerProvider, LoggingHandler
from opentelemetry.sdk._logs.export import SimpleLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

# Of one export, with all that is tried again.
TIMEOUT_SECONDS = 60


class Printed(logging.Handler):
    """What the SDK logs, which it prints where nothing else is said."""

    def __init__(self):
        super().__init__()
        self.lines = []

    def emit(self, record):
        self.lines.append(record.getMessage())


def read(path):
    with open(path, "rb") as file:
        return file.read()


def exporters(case):
    """Of logs, metrics and spans."""
    if case["transport"] == "grpc":
        own = (read(case["key"]), read(case["cert"])) if case["cert"] else (None, None)
        credentials = grpc.ssl_channel_credentials(read(case["ca"]), *own)
        # Names of gRPC's metadata are in small letters.
        headers = {name.lower(): value for name, value in case["headers"].items()}
        options = {"endpoint": case["endpoint"], "credentials": credentials, "headers": headers, "timeout": TIMEOUT_SECONDS}
        return (
            grpc_logs.OTLPLogExporter(**options),
            grpc_metrics.OTLPMetricExporter(**options),
            grpc_traces.OTLPSpanExporter(**options),
        )
    options = {
        "certificate_file": case["ca"],
        "client_certificate_file": case["cert"] or None,
        "client_key_file": case["key"] or None,
        "headers": case["headers"],
        "timeout": TIMEOUT_SECONDS,
    }
    return (
        http_logs.OTLPLogExporter(endpoint=case["endpoint"] + "/v1/logs", **options),
        http_metrics.OTLPMetricExporter(endpoint=case["endpoint"] + "/v1/metrics", **options),
        http_traces.OTLPSpanExporter(endpoint=case["endpoint"] + "/v1/traces", **options),
    )


def push(case):
    name = case["name"]
    resource = Resource.create({"service.name": name})
    logs, metrics, traces = exporters(case)

    logger_provider = LoggerProvider(resource=resource)
    logger_provider.add_log_record_processor(SimpleLogRecordProcessor(logs))
    logger = logging.getLogger(f"application.{name}")
    logger.propagate = False
    logger.setLevel(logging.INFO)
    logger.addHandler(LoggingHandler(logger_provider=logger_provider))
    logger.info("a line of %s", name)

    reader = PeriodicExportingMetricReader(metrics, export_interval_millis=3_600_000)
    meter_provider = MeterProvider(metric_readers=[reader], resource=resource)
    meter_provider.get_meter("test").create_counter("sdk_pushes").add(1)

    tracer_provider = TracerProvider(resource=resource)
    tracer_provider.add_span_processor(SimpleSpanProcessor(traces))
    with tracer_provider.get_tracer("test").start_as_current_span(f"span of {name}"):
        pass

    for provider in (logger_provider, meter_provider, tracer_provider):
        provider.shutdown()


def main():
    # Of the environment: the HTTP client would take these authorities for those of the case.
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        os.environ.pop(name, None)
    # The SDK prints what it has printed within 20 s once, whichever exporter it was.
    for name in list(logging.root.manager.loggerDict):
        if name.startswith("opentelemetry."):
            logging.getLogger(name).filters.clear()
    printed = Printed()
    logging.getLogger("opentelemetry").addHandler(printed)
    said = {}
    for case in json.load(sys.stdin):
        printed.lines = []
        push(case)
        said[case["name"]] = printed.lines
    json.dump(said, sys.stdout)


main()
