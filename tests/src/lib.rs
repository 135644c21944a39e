//! t
pub mod kafka;
