//! A process' own metrics as whoever asks for them reads them: OpenMetrics, or Prometheus' text format 0.0.4. The registry writes the
//! former; the latter is made of it. Pure.

use std::fmt::{Error, Write};

use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    OpenMetrics,
    /// What is given to whoever does not ask, and what `promtool check metrics` reads.
    Text,
}

impl Format {
    /// By a request's `Accept`: OpenMetrics where it is asked for and preferred.
    pub fn accepted(accept: &str) -> Self {
        let weight = |wanted: &str| {
            let ranges = accept.split(',').map(|range| range.split(';').map(str::trim));
            let weights = ranges.filter_map(|mut parts| {
                let named = parts.next().is_some_and(|kind| kind.eq_ignore_ascii_case(wanted));
                let weight = || parts.find_map(|part| part.strip_prefix("q=")).map_or(Some(1.0), |weight| weight.parse().ok());
                named.then(weight).flatten()
            });
            weights.fold(0.0, f32::max)
        };
        let openmetrics = weight("application/openmetrics-text");
        if openmetrics > 0.0 && openmetrics >= weight("text/plain") { Self::OpenMetrics } else { Self::Text }
    }

    pub fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
        }
    }

    /// All of a registry.
    pub fn write(self, registry: &Registry) -> Result<String, Error> {
        let mut openmetrics = String::new();
        encode(&mut openmetrics, registry)?;
        if self == Self::OpenMetrics {
            return Ok(openmetrics);
        }
        let mut text = String::with_capacity(openmetrics.len());
        write_text(&openmetrics, &mut text)?;
        Ok(text)
    }
}

/// In the text format a family is named as its samples are: a counter's with `_total`, an info's with `_info`. Units and the end have no
/// place in it, nor have exemplars, of which weir's own samples have none.
fn write_text(openmetrics: &str, text: &mut String) -> Result<(), Error> {
    let mut help = None;
    for line in openmetrics.lines() {
        if let Some(said) = line.strip_prefix("# HELP ") {
            help = said.split_once(' ');
        } else if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|said| said.split_once(' ')) {
            let (suffix, kind) = match kind {
                "counter" => ("_total", kind),
                "info" => ("_info", "gauge"),
                "gauge" | "histogram" | "summary" => ("", kind),
                _ => ("", "untyped"),
            };
            if let Some((_, help)) = help.take().filter(|(of, _)| *of == name) {
                writeln!(text, "# HELP {name}{suffix} {help}")?;
            }
            writeln!(text, "# TYPE {name}{suffix} {kind}")?;
        } else if !line.starts_with('#') {
            writeln!(text, "{line}")?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn openmetrics_is_for_whoever_prefers_it() {
        let check = |accept: &str, expected| assert_eq!(Format::accepted(accept), expected, "{accept}");
        // Prometheus 2.42, Prometheus 3, curl, a browser, and whoever does not say.
        let prometheus = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,\
                          text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        check(prometheus, Format::OpenMetrics);
        let prometheus =
            "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,text/plain;version=0.0.4;q=0.2,*/*;q=0.1";
        check(prometheus, Format::OpenMetrics);
        check("*/*", Format::Text);
        check("text/html,application/xhtml+xml,*/*;q=0.8", Format::Text);
        check("", Format::Text);
        check("text/plain, application/openmetrics-text;q=0.5", Format::Text);
        check("text/plain;q=0.5, Application/OpenMetrics-Text; q=0.5", Format::OpenMetrics);
        check("application/openmetrics-text;q=0", Format::Text);
        check("application/openmetrics-text;q=much", Format::Text);
    }

    #[test]
    fn families_are_named_as_their_samples_are() {
        let openmetrics = "# HELP a_seconds How long.\n# TYPE a_seconds counter\n# UNIT a_seconds seconds\n\
            a_seconds_total{b=\"x # {y} z\"} 1\na_seconds_total 2\n# HELP v Which.\n# TYPE v info\n\
            v_info{version=\"1\"} 1\n# HELP h Sizes.\n# TYPE h histogram\nh_sum 1.0\nh_count 1\nh_bucket{le=\"+Inf\"} 1\n\
            # HELP u What.\n# TYPE u unknown\nu 1\n# EOF\n";
        let expected = "# HELP a_seconds_total How long.\n# TYPE a_seconds_total counter\n\
            a_seconds_total{b=\"x # {y} z\"} 1\na_seconds_total 2\n# HELP v_info Which.\n# TYPE v_info gauge\n\
            v_info{version=\"1\"} 1\n# HELP h Sizes.\n# TYPE h histogram\nh_sum 1.0\nh_count 1\nh_bucket{le=\"+Inf\"} 1\n\
            # HELP u What.\n# TYPE u untyped\nu 1\n";
        let mut text = String::new();
        write_text(openmetrics, &mut text).unwrap();
        assert_eq!(text, expected);
    }
}
