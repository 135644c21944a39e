//! The front door: every socket that weir listens on, of every role, is served by [`Front::serve`] and by nothing else
//! ([`Listener`] hands its socket to no one). Routers behind it never see what it refuses.
//!
//! - [`config`]: what `[front]` says.
//! - [`hosts`]: which names weir answers to, against DNS rebinding.
//! - [`admit`]: whether a request may come in: host, origin, site. Pure.
//! - [`identity`]: who asks and for whom: credentials into what the routes' needs are held against. [`whoami`]: that, told.
//! - [`answer`]: what a refused or denied request is told, in the [`shape`] of the API that it asked; preflights, headers of every
//!   answer.
//! - [`gate`]: what a request passes on its way to a router: the above, and a body that has to come.
//! - [`compress`]: what its answer passes on its way out, in a [`coding`] that the client takes, by [`encoder`].
//! - [`serve`]: the door itself; [`accept`]: a listener's connections; [`connection`]: what one does and how long it may;
//!   [`handshake`]: what comes before where there is TLS; [`socket`], [`body`]: what tells it.
//! - [`metrics`]: what was refused and what took too long.

mod accept;
mod admit;
mod answer;
mod body;
mod coding;
mod compress;
mod config;
mod connection;
mod encoder;
mod gate;
mod handshake;
mod hosts;
mod identity;
mod metrics;
mod serve;
mod shape;
mod socket;
pub(crate) mod whoami;

pub(crate) use compress::COMPRESSOR_BYTES;
pub(crate) use config::FrontConfig;
pub(crate) use identity::Identity;
pub(crate) use serve::{Front, Listener, Servers, raise_descriptors};

#[cfg(test)]
mod tests;
