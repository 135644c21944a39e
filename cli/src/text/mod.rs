//! How the command line writes for people; `-o json` has what is cut or rounded here.
//!
//! - [`safe`]: text of others, without what would move a terminal's cursor.
//! - [`table`]: rows whose columns hold, whatever stands in them.
//! - [`clock`]: times, in one zone. [`units`]: bytes, durations, counts.
//! - [`color`]: when, and which for whom.
//! - [`plain`]: errors of libraries without the names of types.

pub(crate) mod clock;
pub(crate) mod color;
pub(crate) mod plain;
pub(crate) mod safe;
pub(crate) mod table;
pub(crate) mod units;
