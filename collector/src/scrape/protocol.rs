//! The formats that a job asks its targets for, in the order in which it prefers them, as Prometheus' `scrape_protocols` name them; and
//! how they are to spell names that are no identifiers, `metric_name_validation_scheme` and `metric_name_escaping_scheme`.

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

/// Which names of metrics and labels a job takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NameValidation {
    /// Any text.
    #[default]
    Utf8,
    /// Identifiers.
    Legacy,
}

/// How a target is asked to spell names that are no identifiers. What comes is kept as it comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum NameEscaping {
    #[serde(rename = "allow-utf-8")]
    AllowUtf8,
    #[serde(rename = "underscores")]
    Underscores,
    #[serde(rename = "dots")]
    Dots,
    #[serde(rename = "values")]
    Values,
}

impl NameEscaping {
    /// Of the parameter `escaping`.
    fn parameter(self) -> &'static str {
        match self {
            Self::AllowUtf8 => "allow-utf-8",
            Self::Underscores => "underscores",
            Self::Dots => "dots",
            Self::Values => "values",
        }
    }
}

/// Without `scrape_protocols`. Where native histograms are asked for, the only format that has them comes first.
pub(super) fn default_of(native_histograms: bool) -> Vec<ScrapeProtocol> {
    use ScrapeProtocol::{OpenMetricsText001, OpenMetricsText100, PrometheusProto, PrometheusText004, PrometheusText100};
    let native = native_histograms.then_some(PrometheusProto);
    native.into_iter().chain([OpenMetricsText100, OpenMetricsText001, PrometheusText100, PrometheusText004]).collect()
}

impl ScrapeProtocol {
    /// Whether the format may have names in quotes, so that the escaping has to be said.
    fn has_escaping(self) -> bool {
        matches!(self, Self::OpenMetricsText100 | Self::PrometheusText100)
    }

    fn range(self) -> &'static str {
        match self {
            Self::PrometheusProto => protobuf::CONTENT_TYPE,
            Self::OpenMetricsText001 => "application/openmetrics-text;version=0.0.1",
            Self::OpenMetricsText100 => "application/openmetrics-text;version=1.0.0",
            Self::PrometheusText004 => "text/plain;version=0.0.4",
            Self::PrometheusText100 => "text/plain;version=1.0.0",
        }
    }
}

/// The value of `Accept`, with the weights that Prometheus gives. There are at most five, none twice.
pub(super) fn accept(protocols: &[ScrapeProtocol], escaping: NameEscaping) -> String {
    let range = |protocol: &ScrapeProtocol| match protocol.has_escaping() {
        true => format!("{};escaping={}", protocol.range(), escaping.parameter()),
        false => protocol.range().to_owned(),
    };
    let ranges = protocols.iter().map(range).chain(["*/*".to_owned()]);
    let weighted = ranges.zip((1..=6).rev()).map(|(range, weight)| format!("{range};q=0.{weight}"));
    weighted.collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_asked_as_prometheus_asks_them() {
        let plain = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
                     application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,\
                     text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
        assert_eq!(accept(&default_of(false), NameEscaping::AllowUtf8), plain);
        for (escaping, spelled) in
            [(NameEscaping::Underscores, "underscores"), (NameEscaping::Dots, "dots"), (NameEscaping::Values, "values")]
        {
            assert_eq!(accept(&default_of(false), escaping), plain.replace("allow-utf-8", spelled));
        }
        let native = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;q=0.6,";
        assert!(accept(&default_of(true), NameEscaping::AllowUtf8).starts_with(native));
        assert_eq!(
            accept(&[ScrapeProtocol::PrometheusText004], NameEscaping::Values),
            "text/plain;version=0.0.4;q=0.6,*/*;q=0.5"
        );
    }
}
