//! Rule files of Prometheus and Loki: read and checked (`file`, `template`), evaluated on their interval (`ask`, `evaluate`, `run`), their
//! alerts kept (`alert`, `state`), brought back after a restart (`restore`) and posted to Alertmanager (`notify`).
//!
//! Each group is a tenant's: it reads that tenant's series, makes series of that tenant, and is shown to nobody else.
//!
//! Expressions are PromQL's, or in files of their own LogQL's; what they make are series in both.
//!
//! [`RuleSet`] is shared: the loop writes what became of the rules, `/api/v1/rules` (through `filter`), `/api/v1/alerts` and Loki's
//! (`loki`) read it.
//! Samples of recording rules, `ALERTS` and `ALERTS_FOR_STATE` go to a [`SampleSink`]; without one, recording rules are
//! refused when loaded, and alerts start anew after a restart.

mod alert;
mod ask;
mod evaluate;
mod file;
mod filter;
mod loki;
mod metrics;
mod notify;
mod restore;
mod run;
mod state;
mod template;

pub use alert::{Alert, AlertState};
pub use ask::RuleLanguage;
pub use evaluate::{RuleDeps, RuleOrigin, RuleSample, SampleSink};
pub use file::{Recording, RuleFileError, Summary, check_rules};
pub use filter::{RuleFilter, WantedKind};
pub use metrics::RuleMetrics;
pub use run::{RulesConfig, run};
pub use state::{RuleFile, RuleSet};

#[cfg(test)]
mod tests;

#[cfg(test)]
#[global_allocator]
static ALLOCATOR: weir_model::fuzz::CountingAllocator = weir_model::fuzz::CountingAllocator;
