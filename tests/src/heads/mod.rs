//! Query nodes in another process than the owners: what they answer is what the owners' own readers answer, whatever moves
//! meanwhile. Two aggregators over one simulated bus and one store directory, real sockets, one fan-out.
//!
//! - `cluster`: the two aggregators, and what is written to them; `readers`: what is read through;
//! - `extras`: histograms, starts and exemplars of samples; `equal`: every read against the in-process readers; `faults`: owners that die, move or come back from the dead;
//! - `store`: an object store that does not answer; `tls`: owners that answer nobody without a certificate;
//! - `tenants`: tenants whose data look alike, and scopes that see a part of one;
//! - `race`: seals and merges against queries; `admin`: seals and merges that are asked of the query node.

mod admin;
mod cluster;
mod deletions;
mod equal;
mod extras;
mod faults;
mod race;
mod readers;
mod store;
mod tenants;
mod tls;
