//! The formats that a job asks its targets for, in the order in which it prefers them, as Prometheus' `scrape_protocols` name them.

use serde::Deserialize;

use crate::exposition::protobuf;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum ScrapeProtocol {
    PrometheusProto,
    #[serde(rename = "OpenMetricsText0.0.1")]
    OpenMetricsText001,
    #[serde(rename = "OpenMetricsText1.0.0")]
    OpenMetricsText100,
    #[serde(rename = "PrometheusText0.0.4")]
    PrometheusText004,
    #[serde(rename = "PrometheusText1.0.0")]
    PrometheusText100,
}

/// Without `scrape_protocols`. Where native histograms are asked for, the only format that has them comes first.
pub(super) fn default_of(native_histograms: bool) -> Vec<ScrapeProtocol> {
    use ScrapeProtocol::{OpenMetricsText001, OpenMetricsText100, PrometheusProto, PrometheusText004, PrometheusText100};
    let native = native_histograms.then_some(PrometheusProto);
    native.into_iter().chain([OpenMetricsText100, OpenMetricsText001, PrometheusText100, PrometheusText004]).collect()
}

impl ScrapeProtocol {
    /// Names beyond the classic letters are asked for with underscores: only protobuf has them otherwise.
    fn range(self) -> &'static str {
        match self {
            Self::PrometheusProto => protobuf::CONTENT_TYPE,
            Self::OpenMetricsText001 => "application/openmetrics-text;version=0.0.1",
            Self::OpenMetricsText100 => "application/openmetrics-text;version=1.0.0;escaping=underscores",
            Self::PrometheusText004 => "text/plain;version=0.0.4",
            Self::PrometheusText100 => "text/plain;version=1.0.0;escaping=underscores",
        }
    }
}

/// The value of `Accept`, with the weights that Prometheus gives. There are at most five, none twice.
pub(super) fn accept(protocols: &[ScrapeProtocol]) -> String {
    let ranges = protocols.iter().map(|protocol| protocol.range()).chain(["*/*"]);
    let weighted = ranges.zip((1..=6).rev()).map(|(range, weight)| format!("{range};q=0.{weight}"));
    weighted.collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_asked_as_prometheus_asks_them() {
        let plain = "application/openmetrics-text;version=1.0.0;escaping=underscores;q=0.6,\
                     application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=underscores;q=0.4,\
                     text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
        assert_eq!(accept(&default_of(false)), plain);
        let native = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;q=0.6,";
        assert!(accept(&default_of(true)).starts_with(native));
        assert_eq!(accept(&[ScrapeProtocol::PrometheusText004]), "text/plain;version=0.0.4;q=0.6,*/*;q=0.5");
    }
}
