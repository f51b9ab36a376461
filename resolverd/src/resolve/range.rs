//! Ranges over versions.
