//! What a route asks of its caller.

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
    /// The verb on one kind of telemetry at least, of the tenants that the request names: what concerns all three.
    AnyOf(Verb),
    /// The verb on all telemetry of all tenants: what concerns the whole of weir.
    Whole(Verb),
    /// Another process of the same cluster.
    Cluster,
}
