//! `install --save`: requirements written into `estream-component.toml`, which people write. Every other byte of it stays.

use catalogue_schema::error::{ParseError, Position};
use toml_edit::{DocumentMut, Item, Table, TableLike, Value};

/// Writes requirements into `[component.dependencies]` of a manifest, and returns its new text.
///
/// A requirement that stands there is replaced where it stands, in either of its forms; a new one goes behind the others.
///
/// **Errors**: `input.toml` for a text that is none; `input.field` where a table is expected and something else stands there.
pub fn saved(text: &str, requirements: &[(String, String)]) -> Result<String, ParseError> {
    let mut document: DocumentMut = text.parse().map_err(|error: toml_edit::TomlError| {
        let found =
            ParseError::new("input.toml", "an estream-component.toml that can be read", error.message());
        match error.span() {
            Some(span) => found.at(Position::of(text.as_bytes(), span.start)),
            None => found,
        }
    })?;
    let refused =
        |field: &str, found: &str| Err(ParseError::new("input.field", "a table", found).in_field(field));
    let Some(component) = document.get_mut("component").and_then(Item::as_table_like_mut) else {
        return refused("component", "none");
    };
    if component.get("dependencies").is_none() {
        component.insert("dependencies", Item::Table(Table::new()));
    }
    let Some(dependencies) = component.get_mut("dependencies").and_then(Item::as_table_like_mut) else {
        return refused("component.dependencies", "another value");
    };
    for (name, requirement) in requirements {
        put(dependencies, name, requirement);
    }
    Ok(document.to_string())
}

fn put(dependencies: &mut dyn TableLike, name: &str, requirement: &str) {
    let known = dependencies.get_mut(name);
    let place = match known {
        // The form `{ version = "…" }`, or a table of its own.
        Some(item) if item.is_table_like() => item.get_mut("version"),
        other => other,
    };
    match place.and_then(Item::as_value_mut) {
        Some(value) => {
            let decor = value.decor().clone();
            *value = Value::from(requirement);
            *value.decor_mut() = decor;
        }
        None => {
            dependencies.insert(name, Item::Value(Value::from(requirement)));
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn only_the_requirements_change() {
        let check = |before: &str, pairs: &[(&str, &str)], expected: &str| {
            let pairs: Vec<(String, String)> =
                pairs.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
            assert_eq!(saved(before, &pairs).unwrap(), expected);
        };
        let text = "# mine\n[component]\nname = \"x\" # the name\n\n[component.dependencies]\n# why\nb = \"1.0.0\" # keep\n\n[component.schemas]\nprovides = []\n";
        check(text, &[("b", "^2.0.0")], &text.replace("\"1.0.0\"", "\"^2.0.0\""));
        check(
            text,
            &[("@acme/a", "^1.0.0")],
            &text.replace("# keep\n", "# keep\n\"@acme/a\" = \"^1.0.0\"\n"),
        );
        check(
            "[component]\nname = \"x\"\n",
            &[("a", "=1.0.0")],
            "[component]\nname = \"x\"\n\n[component.dependencies]\na = \"=1.0.0\"\n",
        );
        check(
            "[component]\ndependencies = { a = { version = \"1\", x = 1 } } # all\n",
            &[("a", "^2")],
            "[component]\ndependencies = { a = { version = \"^2\", x = 1 } } # all\n",
        );
        assert_eq!(saved("name = 1\n", &[]).unwrap_err().field, "component");
        assert_eq!(saved("[component\n", &[]).unwrap_err().position.unwrap().line, 1);
        let error = saved("[component]\ndependencies = 1\n", &[]).unwrap_err();
        assert_eq!(error.field, "component.dependencies");
    }
}
