//! What an engine lists: what each of the engines' files returns to [`super::inventory`].

use std::path::Path;

use super::container::Container;
use crate::RuntimeError;

/// The containers of one engine.
pub(super) enum Listing {
    /// There is no such engine here.
    Absent,
    Containers(Vec<Container>),
}

/// Whether there is such a path. Not being allowed to look is no "no".
pub(super) fn exists(path: &Path) -> Result<bool, RuntimeError> {
    path.try_exists().map_err(RuntimeError::file("look for", path))
}
