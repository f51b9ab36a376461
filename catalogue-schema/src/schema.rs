//! The JSON Schemas of every document, generated from the types that read them.
//!
//! The files in `catalogue-schema/schemas/` are these texts; a test holds them equal. The schemas help editors and authors:
//! the readers decide, and know rules that a schema cannot say (duplicate keys, depth, pins that must agree).

use schemars::{JsonSchema, SchemaGenerator};

use crate::dialect::lcod::document::{
    ArrayEntry, CatalogueDocument, CataloguesDocument, Descriptor, ListRow, ManifestDocument,
};
use crate::sources::SourcesDocument;

/// Returns the file name and the text of every schema in `catalogue-schema/schemas/`, sorted by name.
pub fn all() -> Vec<(&'static str, String)> {
    // One line per document.
    vec![
        ("array.schema.json", of::<Vec<ArrayEntry>>()),
        ("catalogue.schema.json", of::<CatalogueDocument>()),
        ("catalogues.schema.json", of::<CataloguesDocument>()),
        ("lcp.schema.json", of::<Descriptor>()),
        ("list-row.schema.json", of::<ListRow>()),
        ("manifest.schema.json", of::<ManifestDocument>()),
        ("sources.schema.json", of::<SourcesDocument>()),
    ]
}

fn of<T: JsonSchema>() -> String {
    let schema = SchemaGenerator::default().into_root_schema_for::<T>();
    let mut text = serde_json::to_string_pretty(&schema).expect("a schema is JSON with text keys");
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::path::Path;

    use super::*;

    #[test]
    #[expect(clippy::disallowed_methods, reason = "the switch that writes the files anew is for people only")]
    fn the_committed_schemas_are_the_generated_ones() {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas");
        let is_writing = std::env::var_os("RESOLVERD_WRITE_SCHEMAS").is_some();
        for (name, text) in all() {
            let file = directory.join(name);
            if is_writing {
                std::fs::create_dir_all(&directory).unwrap();
                std::fs::write(&file, &text).unwrap();
            }
            let committed = std::fs::read_to_string(&file).unwrap_or_default();
            assert!(
                committed == text,
                "{name} is not what the types say; RESOLVERD_WRITE_SCHEMAS=1 cargo test -p catalogue-schema schema"
            );
        }
        let files = std::fs::read_dir(&directory).unwrap().count();
        assert_eq!(files, all().len(), "schemas/ holds a file that no type generates");
    }
}
