//! Where data goes. `weir logs … | head` is not an error: whoever writes hears that nobody reads any more, and ends.

use std::io::{ErrorKind, Write};

use crate::Failure;

/// Writes all of it at once; `false` when nobody reads any more.
pub(crate) fn write(text: &str) -> Result<bool, Failure> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(Failure::failed(format!("write to stdout: {error}"))),
    }
}

/// A line more.
pub(crate) fn line(text: &str) -> Result<(), Failure> {
    write(&format!("{text}\n")).map(drop)
}
