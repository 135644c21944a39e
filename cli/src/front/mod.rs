//! The front door: every socket that weir listens on, of every role, is served by [`Front::serve`] and by nothing else
//! ([`Listener`] hands its socket to no one). Routers behind it never see what it refuses.
//!
//! - [`config`]: `[front]`.
//! - [`hosts`]: which names weir answers to, against DNS rebinding.
//! - [`admit`]: whether a request may come in: host, origin, site. Pure.
//! - [`answer`]: what a refused request is told, preflights, headers of every answer.
//! - [`serve`]: the listeners, and what a request passes on its way in.
//! - [`metrics`]: what was refused and why.

mod admit;
mod answer;
mod config;
mod hosts;
mod metrics;
mod serve;

pub(crate) use config::FrontConfig;
pub(crate) use serve::{Front, Listener, Servers};

#[cfg(test)]
mod tests;
