//! What a route asks of its caller.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verb {
    Push,
    Read,
    Tail,
    Admin,
    Rules,
}

/// To which telemetry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Telemetry {
    Logs,
    Metrics,
    Traces,
}

impl Verb {
    pub const ALL: [Self; 5] = [Self::Push, Self::Read, Self::Tail, Self::Admin, Self::Rules];

    /// As policies name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Push => "push",
            Self::Read => "read",
            Self::Tail => "tail",
            Self::Admin => "admin",
            Self::Rules => "rules",
        }
    }
}

impl Telemetry {
    pub const ALL: [Self; 3] = [Self::Logs, Self::Metrics, Self::Traces];

    /// As policies name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Logs => "logs",
            Self::Metrics => "metrics",
            Self::Traces => "traces",
        }
    }
}

/// What a route needs before its handler runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Needs {
    /// Open to all: health, the page's files.
    Nothing,
    /// Any principal that is known, whatever it may: who am I, build information.
    Caller,
    /// The verb on this telemetry of the tenants that the request names; a push names one.
    Tenant(Verb, Telemetry),
    /// The verb on one kind of telemetry at least, of the tenants that the request names: what concerns all three. What is visible
    /// is what is visible of any of them; a handler that reads records of one asks [`Access::grant`](super::Access::grant) for it.
    AnyOf(Verb),
    /// The verb on all telemetry of all tenants: what concerns the whole of weir.
    Whole(Verb),
    /// Another process of the same cluster.
    Cluster,
}

impl Needs {
    /// `None` where no verb is asked for.
    pub fn verb(self) -> Option<Verb> {
        match self {
            Self::Nothing | Self::Caller | Self::Cluster => None,
            Self::Tenant(verb, _) | Self::AnyOf(verb) | Self::Whole(verb) => Some(verb),
        }
    }

    /// In metrics and the audit log: `logs`, `metrics`, `traces`, `any`, `all`, or nothing.
    pub fn signal(self) -> &'static str {
        match self {
            Self::Nothing | Self::Caller | Self::Cluster => "",
            Self::Tenant(_, telemetry) => telemetry.name(),
            Self::AnyOf(_) => "any",
            Self::Whole(_) => "all",
        }
    }

    /// Reads can be answered for several tenants at once; what changes something is for one.
    pub(crate) fn takes_several_tenants(self) -> bool {
        !matches!(self.verb(), Some(Verb::Push | Verb::Admin))
    }
}

/// As it stands behind "may".
impl fmt::Display for Needs {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing | Self::Caller => out.write_str("ask"),
            Self::Tenant(verb, telemetry) => write!(out, "{} {}", verb.name(), telemetry.name()),
            Self::AnyOf(verb) => write!(out, "{} anything", verb.name()),
            Self::Whole(Verb::Admin) => out.write_str("administer weir"),
            Self::Whole(verb) => write!(out, "{} the telemetry of all tenants", verb.name()),
            Self::Cluster => out.write_str("act as a process of this cluster"),
        }
    }
}
