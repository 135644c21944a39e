//! The web page in the binary. Source: `ui/` (TypeScript); built and committed: `dist/`; served: [`router`].
//!
//! - [`assets`]: the embedded files, compressed once at start
//! - [`serve`]: which request gets which file, and the headers that keep the page safe
//!
//! It knows no weir crate: the page asks the HTTP API like any other client (`docs/api.md`).

mod assets;
mod serve;

pub use serve::{is_api, router};
