//! Go's `text/template`: `lex ast parse eval`, once for all languages that have templates.
//!
//! - [`Template::parse`] resolves functions and variables, and compiles literal patterns: an unknown name is an error then, with
//!   line and column, never when the template is executed.
//! - [`Template::execute`] fills it in, within the [`Limits`] of its language.
//! - A [`Language`] says what dot is and which functions there are; Go's own (`eq`, `printf`, …) are here.
//! - [`Value`]: what pipelines yield, with Go's ideas of truth and print.
//!
//! Not here: complex numbers, methods, and `call`, as no value is a function.
//! Pure and sync; used by `rules` and `logql`.

mod ast;
mod builtin;
mod compare;
mod error;
mod escape;
mod eval;
mod language;
mod lex;
mod number;
mod parse;
mod printf;
#[cfg(test)]
mod tests;
mod text;
mod value;

pub use ast::Template;
pub use error::Error;
pub use escape::escape_query;
pub use language::{Function, Language, Limits};
pub use number::{general, pad_exponent, parse_integer};
pub use text::{Replacement, count_matches, lower, replace_all, title, upper};
pub use value::{List, Map, Missing, Struct, Text, Value};
