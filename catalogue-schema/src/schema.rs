//! The JSON Schemas of every document, generated from the types that read them.
//!
//! The files in `catalogue-schema/schemas/` are these texts; a test holds them equal. The schemas help editors and authors:
//! the readers decide, and know rules that a schema cannot say (duplicate keys, depth, pins that must agree).

use schemars::{JsonSchema, SchemaGenerator};

use crate::dialect::estream::bundle::BundleDocument;
use crate::dialect::estream::document as estream;
use crate::dialect::lcod::document::{
    ArrayEntry, CatalogueDocument, CataloguesDocument, Descriptor, ListRow, ManifestDocument, PackageLine,
    RegistryDocument, VersionsDocument,
};
use crate::keyset::KeysetDocument;
use crate::lockfile::document::LockDocument;
use crate::policy::document::PolicyDocument;
use crate::signature::{EnvelopeDocument, StatementDocument};
use crate::sources::{SourcesDocument, SourcesHeader};

/// Returns the file name and the text of every schema in `catalogue-schema/schemas/`, sorted by name.
pub fn all() -> Vec<(&'static str, String)> {
    vec![
        (
            "array.schema.json",
            of::<Vec<ArrayEntry>>(
                "LCOD catalogue as an array",
                "A catalogue without a header: `[{id, composePath}]`, one entry for each component with its version.",
            ),
        ),
        (
            "catalogue.schema.json",
            of::<CatalogueDocument>(
                "LCOD catalogue",
                "A catalogue with schema `lcod-registry/catalogue@1`: components, their versions and manifests.",
            ),
        ),
        (
            "catalogues.schema.json",
            of::<CataloguesDocument>(
                "LCOD list of catalogues",
                "`catalogues.json` with schema `lcod-registry/catalogues@1`: pinned pointers to catalogues and lists.",
            ),
        ),
        (
            "estream-bundle.schema.json",
            of::<BundleDocument>(
                "Bundle of eStream components",
                "`bundle.json` with schema `resolverd/bundle@1`: what a directory holds that `resolverd export` has made.",
            ),
        ),
        (
            "estream-component.schema.json",
            of::<estream::ManifestDocument>(
                "eStream component manifest",
                "`estream-component.toml`: what the author of a component says of one version.",
            ),
        ),
        (
            "estream-config.schema.json",
            of::<estream::ConfigDocument>(
                "eStream registry configuration",
                "`config.json` at the root of an eStream registry; every field may be left out, and so may the file.",
            ),
        ),
        (
            "estream-metadata.schema.json",
            of::<estream::MetadataDocument>(
                "eStream component metadata",
                "`metadata.json`: a component of an eStream registry and all of its versions.",
            ),
        ),
        (
            "estream-publisher.schema.json",
            of::<estream::PublisherDocument>(
                "eStream publisher",
                "`publishers/{name}.json`: who somebody is, and with which keys they sign.",
            ),
        ),
        (
            "estream-signature.schema.json",
            of::<estream::SignatureDocument>(
                "eStream signature",
                "`SIGNATURE.ml-dsa`: an ML-DSA-87 signature over the SHA3-256 checksum of an archive.",
            ),
        ),
        (
            "keyset.schema.json",
            of::<KeysetDocument>(
                "Keyset of resolverd",
                "A document with schema `resolverd/keyset@1`: which keys a set of signers has from now on.",
            ),
        ),
        (
            "lcp.schema.json",
            of::<Descriptor>(
                "LCOD component descriptor",
                "`lcp.toml` in schema version 1.0 or 2.0: the fields that a resolver needs.",
            ),
        ),
        (
            "list-row.schema.json",
            of::<ListRow>(
                "Line of an LCOD list",
                "One line of a JSONL list with schema `lcod-manifest/list@1`: the header first, then lists and components.",
            ),
        ),
        (
            "lock.schema.json",
            of::<LockDocument>(
                "Lockfile of resolverd",
                "`resolverd.lock` with schema `resolverd/lock@1`: which release of every component a project uses.",
            ),
        ),
        (
            "manifest.schema.json",
            of::<ManifestDocument>(
                "LCOD component manifest",
                "A manifest with schema `lcod-registry/manifest@1`: one version of a component, its commit and files.",
            ),
        ),
        (
            "packages-row.schema.json",
            of::<PackageLine>(
                "Line of packages.jsonl",
                "One line of `packages.jsonl`, the layout before the federation: a version of a component, or a registry.",
            ),
        ),
        (
            "registry.schema.json",
            of::<RegistryDocument>(
                "LCOD registry before the federation",
                "`catalog.json` or `registry.json` with schema `lcod-registry@1`: components and where their versions are listed.",
            ),
        ),
        (
            "signature.schema.json",
            of::<EnvelopeDocument>(
                "Signatures of resolverd",
                "An envelope with schema `resolverd/sig@1`: a statement in base64, and signatures over it.",
            ),
        ),
        (
            "sources-header.schema.json",
            of::<SourcesHeader>(
                "First line of a sources file that is a JSONL list",
                "The header of `lcod.sources.jsonl`; the lines behind it have type `list` and the fields of a source.",
            ),
        ),
        (
            "sources.schema.json",
            of::<SourcesDocument>(
                "Sources of resolverd",
                "The sources that a resolver reads, in the order in which they count: lower priority first, then position.",
            ),
        ),
        (
            "statement.schema.json",
            of::<StatementDocument>(
                "Statement of a signer",
                "What the payload of an envelope with schema `resolverd/sig@1` says.",
            ),
        ),
        (
            "trust.schema.json",
            of::<PolicyDocument>(
                "Trust policy of resolverd",
                "`trust.toml` with schema `resolverd/trust@1`: what is asked of whom before a release may be used.",
            ),
        ),
        (
            "versions.schema.json",
            of::<VersionsDocument>(
                "LCOD versions of one component",
                "`versions.json` with schema `lcod-registry/versions@1`: the versions of one component and their manifests.",
            ),
        ),
    ]
}

fn of<T: JsonSchema>(title: &str, description: &str) -> String {
    let mut schema = SchemaGenerator::default().into_root_schema_for::<T>();
    schema.insert("title".to_owned(), title.into());
    schema.insert("description".to_owned(), description.into());
    let mut text = serde_json::to_string_pretty(&schema).expect("a schema is JSON with text keys");
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::path::Path;

    use serde_json::Value;

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

    /// Says what in `value` is not as `schema` has it; knows the words that our schemas use for shape.
    fn faults(root: &Value, schema: &Value, value: &Value, path: &str) -> Vec<String> {
        let named = schema["$ref"].as_str().and_then(|text| text.strip_prefix("#/$defs/"));
        let mut found = named.map(|name| faults(root, &root["$defs"][name], value, path)).unwrap_or_default();
        for (word, fits) in [("anyOf", 1..=usize::MAX), ("oneOf", 1..=1)] {
            let Some(forms) = schema[word].as_array() else { continue };
            let good = forms.iter().filter(|form| faults(root, form, value, path).is_empty()).count();
            if !fits.contains(&good) {
                found.push(format!("{path}: {good} of {word} fit"));
            }
        }
        let kind = match value {
            Value::Null => "null",
            Value::Bool(_) => "boolean",
            Value::Number(number) if number.is_f64() => "number",
            Value::Number(_) => "integer",
            Value::String(_) => "string",
            Value::Array(_) => "array",
            Value::Object(_) => "object",
        };
        let kinds = schema["type"].as_array().cloned().unwrap_or_else(|| vec![schema["type"].clone()]);
        if !schema["type"].is_null() && !kinds.iter().any(|one| one == kind) {
            found.push(format!("{path}: {kind} instead of {}", schema["type"]));
        }
        if !schema["const"].is_null() && schema["const"] != *value {
            found.push(format!("{path}: not {}", schema["const"]));
        }
        for (index, item) in value.as_array().into_iter().flatten().enumerate() {
            found.extend(faults(root, &schema["items"], item, &format!("{path}[{index}]")));
        }
        let Some(fields) = value.as_object() else { return found };
        let required = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str);
        found.extend(
            required.filter(|name| !fields.contains_key(*name)).map(|name| format!("{path}: no {name}")),
        );
        for (name, inner) in fields {
            match &schema["properties"][name] {
                Value::Null if schema["additionalProperties"] == false => {
                    found.push(format!("{path}.{name}: unknown"));
                }
                property => found.extend(faults(root, property, inner, &format!("{path}.{name}"))),
            }
        }
        found
    }

    fn check(schema: &str, value: &Value, is_good: bool) {
        let (_, text) = all().into_iter().find(|(name, _)| *name == schema).unwrap();
        let root: Value = serde_json::from_str(&text).unwrap();
        let found = faults(&root, &root, value, "$");
        assert_eq!(found.is_empty(), is_good, "{schema}: {found:?} in {value:#}");
    }

    #[test]
    fn our_own_documents_are_as_the_schemas_say() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let text = |path: &str| std::fs::read_to_string(root.join(path)).unwrap();
        let json = |path: &str| serde_json::from_str::<Value>(&text(path)).unwrap();
        check("sources.schema.json", &json("sources.example.json"), true);
        check("catalogues.schema.json", &json("tests/federation/acme/catalogues.json"), true);
        check("catalogue.schema.json", &json("tests/federation/acme/billing.json"), true);
        let manifest = "tests/federation/acme/components/acme.billing.invoice/1.0.0/manifest.json";
        check("manifest.schema.json", &json(manifest), true);
        let lcp = manifest.replace("manifest.json", "lcp.toml");
        check("lcp.schema.json", &toml::from_str(&text(&lcp)).unwrap(), true);
        for list in ["catalogues.jsonl", "registry/components.std.jsonl"] {
            for line in text(&format!("tests/federation/community/{list}")).lines() {
                check("list-row.schema.json", &serde_json::from_str(line).unwrap(), true);
            }
        }
        let part = "tests/federation/parts/index/wire-adapter/estream-wire-fix";
        check("estream-metadata.schema.json", &json(&format!("{part}/metadata.json")), true);
        check("estream-signature.schema.json", &json(&format!("{part}/1.0.0/SIGNATURE.ml-dsa")), true);
        let component = toml::from_str(&text(&format!("{part}/1.0.0/estream-component.toml"))).unwrap();
        check("estream-component.schema.json", &component, true);
        check("estream-component.schema.json", &json("sources.example.json"), false);
        check("estream-publisher.schema.json", &json("tests/federation/parts/publishers/acme.json"), true);
        check("estream-config.schema.json", &json("tests/federation/parts/config.json"), true);
        let policy =
            |text: &str| toml::from_str::<Value>(&format!("schema = \"resolverd/trust@1\"\n{text}")).unwrap();
        let rule = "version = 1\n[[namespaces]]\nmatch = \"**\"\nsources = [\"a\"]\nrequire = \"pin\"\n";
        check("trust.schema.json", &policy(rule), true);
        check("trust.schema.json", &policy("version = 1\nmode = \"warn\""), false);
        check("trust.schema.json", &policy(&rule.replace("sources", "source")), false);
        check("sources.schema.json", &json(manifest), false);
        check("catalogue.schema.json", &json("sources.example.json"), false);
        check("array.schema.json", &serde_json::json!([{ "id": 7 }]), false);
        check("list-row.schema.json", &serde_json::json!({ "type": "registry" }), false);
    }
}
