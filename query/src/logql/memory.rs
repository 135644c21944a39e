//! An in-memory log store for tests.
