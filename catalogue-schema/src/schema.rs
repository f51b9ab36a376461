//! The JSON Schemas of every document, generated from the types that read them.

/// Returns the file name and the text of every schema in `catalogue-schema/schemas/`.
pub fn all() -> Vec<(&'static str, String)> {
    Vec::new()
}
