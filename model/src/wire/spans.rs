//! See the module's door.
