//! What `check access` takes.

use std::path::PathBuf;

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use weir_access::{Telemetry, Verb};

/// Somebody, and what they would do.
#[derive(Debug, Args)]
pub(crate) struct AccessArguments {
    /// Only what this selects: {namespace="web"}
    #[arg(value_name = "SELECTOR")]
    pub selector: Option<String>,
    /// Name of the user or workload, as its credentials have it
    #[arg(long = "as", env = "WEIR_CHECK_AS", value_name = "USER")]
    pub user: String,
    /// A group of theirs; several by repetition or with commas between them
    #[arg(long = "group", env = "WEIR_CHECK_GROUPS", value_delimiter = ',', value_name = "GROUP")]
    pub groups: Vec<String>,
    /// A tenant that their credentials name (a claim, a namespace, a project), and so no others; several by repetition or with commas
    #[arg(long = "bound", env = "WEIR_CHECK_BOUND", value_delimiter = ',', value_name = "TENANT")]
    pub bound: Vec<String>,
    /// The tenant that is asked for, or several: a|b [default: the only one that can be meant]
    #[arg(long, env = "WEIR_CHECK_TENANT", value_name = "TENANT")]
    pub tenant: Option<String>,
    /// What they would do
    #[arg(long, env = "WEIR_CHECK_VERB", value_name = "VERB", default_value = "read", value_parser = verb())]
    pub verb: Verb,
    /// To what [default: each of them]
    #[arg(long, env = "WEIR_CHECK_SIGNAL", value_name = "SIGNAL", value_parser = signal())]
    pub signal: Option<Telemetry>,
    /// Configuration file, with its [authorization]
    #[arg(long, env = "WEIR_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
}

fn verb() -> impl TypedValueParser<Value = Verb> {
    named(&Verb::ALL, Verb::name)
}

fn signal() -> impl TypedValueParser<Value = Telemetry> {
    named(&Telemetry::ALL, Telemetry::name)
}

fn named<T: Copy + Send + Sync + 'static>(all: &'static [T], name: fn(T) -> &'static str) -> impl TypedValueParser<Value = T> {
    let names = all.iter().map(move |one| name(*one)).collect::<Vec<_>>();
    PossibleValuesParser::new(names).map(move |text| {
        let found = all.iter().find(|one| name(**one) == text);
        *found.expect("invariant: clap takes none but these names")
    })
}
