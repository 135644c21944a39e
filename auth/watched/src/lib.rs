//! Values made of files, and made again when the files change: certificates, credentials, policies. Those who use it say how a value
//! is made, and are told when it was made again or could not be.
//!
//! - `watched`: the value, and when its files are looked at.
//! - `file`: one small file, read within a limit, and what tells a changed one.

mod file;
mod watched;

pub use file::{ReadError, read, read_text, secret, text};
pub use watched::{Watched, keep_polling};
