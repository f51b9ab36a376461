//! `install --save`: requirements written into `estream-component.toml`, which people write. Every other byte of it stays.

use catalogue_schema::error::{ParseError, Position};
use toml_edit::{DocumentMut, Item, Table, TableLike, Value};

/// What some editors begin a file with.
const BYTE_ORDER_MARK: char = '\u{feff}';

/// Writes requirements into `[component.dependencies]` of a manifest, and returns its new text.
///
/// A requirement that stands there is replaced where it stands, in either of its forms; a new one goes behind the others.
///
/// **Errors**: `input.toml` for a text that is none; `input.field` where a table is expected and something else stands there, and for a component that would
/// require itself.
pub fn saved(text: &str, requirements: &[(String, String)]) -> Result<String, ParseError> {
    if let Some(bare) = text.strip_prefix(BYTE_ORDER_MARK) {
        return saved(bare, requirements).map(|new| format!("{BYTE_ORDER_MARK}{new}"));
    }
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
    let own = component.get("name").and_then(Item::as_str).unwrap_or_default();
    if requirements.iter().any(|(name, _)| name == own) {
        let found = format!("{own}, which is this component");
        return Err(
            ParseError::new("input.field", "another component", found).in_field("component.dependencies")
        );
    }
    if component.get("dependencies").is_none() {
        component.insert("dependencies", Item::Table(Table::new()));
    }
    let Some(dependencies) = component.get_mut("dependencies").and_then(Item::as_table_like_mut) else {
        return refused("component.dependencies", "another value");
    };
    for (name, requirement) in requirements {
        put(dependencies, name, requirement);
    }
    let mut new = document.to_string();
    // The library ends every line, also one at the end of the file that had none.
    if !text.ends_with('\n') && new.ends_with('\n') {
        new.pop();
    }
    Ok(with_line_ends(text, &new))
}

/// Gives every line the end that it had, which the library writes as a line feed; a new line ends as the one before it.
fn with_line_ends(old: &str, new: &str) -> String {
    let ends: Vec<(&str, &str)> = old
        .split_inclusive('\n')
        .map(|line| match line.strip_suffix("\r\n") {
            Some(text) => (text, "\r\n"),
            None => (line.strip_suffix('\n').unwrap_or(line), "\n"),
        })
        .collect();
    if ends.iter().all(|(_, end)| *end == "\n") {
        return new.to_owned();
    }
    let mut out = String::with_capacity(new.len() + ends.len());
    let (mut at, mut end) = (0, ends.first().map_or("\n", |(_, end)| end));
    let mut lines = new.split_inclusive('\n').peekable();
    while let Some(line) = lines.next() {
        let Some(text) = line.strip_suffix('\n').map(|text| text.strip_suffix('\r').unwrap_or(text)) else {
            out.push_str(line);
            continue;
        };
        if let Some(found) = ends[at..].iter().position(|(before, _)| *before == text) {
            end = ends[at + found].1;
            at += found + 1;
        } else if let (Some(next), [(_, of_this), (after, _), ..]) = (lines.peek(), &ends[at..])
            && next.trim_end_matches(['\r', '\n']) == *after
        {
            // It takes the place of a line, for the next one is what followed that.
            end = of_this;
            at += 1;
        }
        out.push_str(text);
        out.push_str(end);
    }
    out
}

fn put(dependencies: &mut dyn TableLike, name: &str, requirement: &str) {
    match dependencies.get_mut(name) {
        // The form `{ version = "…" }`, or a table of its own, which may say more.
        Some(Item::Value(Value::InlineTable(table))) if !table.contains_key("version") => {
            // What stood before the brace would otherwise stand before the comma.
            let end = table.iter_mut().last().and_then(|(_, last)| {
                let end = last.decor().suffix().cloned();
                last.decor_mut().set_suffix("");
                end
            });
            let mut value = Value::from(requirement);
            value.decor_mut().set_prefix(" ");
            value.decor_mut().set_suffix(end.unwrap_or_else(|| " ".into()));
            table.insert("version", value);
        }
        Some(item) if item.is_table_like() => {
            if let Some(table) = item.as_table_like_mut() {
                set(table, "version", requirement);
            }
        }
        _ => set(dependencies, name, requirement),
    }
}

/// Sets one value; what stands around it stays.
fn set(table: &mut dyn TableLike, name: &str, requirement: &str) {
    match table.get_mut(name).and_then(Item::as_value_mut) {
        Some(value) => {
            let decor = value.decor().clone();
            *value = Value::from(requirement);
            *value.decor_mut() = decor;
        }
        None => {
            table.insert(name, Item::Value(Value::from(requirement)));
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
        check(
            "[component.dependencies]\na = { path = \"../a\" } # mine\nb = {}\n[component.dependencies.c]\npath = \"../c\"\n",
            &[("a", "^2"), ("b", "^3"), ("c", "^4")],
            "[component.dependencies]\na = { path = \"../a\", version = \"^2\" } # mine\nb = { version = \"^3\" }\n[component.dependencies.c]\npath = \"../c\"\nversion = \"^4\"\n",
        );
        // Line ends stay what they are, also where a file has both.
        let windows = text.replace('\n', "\r\n");
        check(&windows, &[("b", "^2.0.0")], &windows.replace("\"1.0.0\"", "\"^2.0.0\""));
        check(&windows, &[("a", "^1.0.0")], &windows.replace("# keep\r\n", "# keep\r\na = \"^1.0.0\"\r\n"));
        let mixed = text.replace("# why\n", "# why\r\n").replace("name\n", "name\r\n");
        check(&mixed, &[("b", "^2.0.0")], &mixed.replace("\"1.0.0\"", "\"^2.0.0\""));
        let lines = "[component]\r\nwhat = \"\"\"\r\none\r\n\r\ntwo\"\"\"\r\ndependencies.b = \"1\"";
        check(lines, &[("b", "^2")], &lines.replace("\"1\"", "\"^2\""));
        check(
            &format!("\u{feff}{text}"),
            &[("b", "^2.0.0")],
            &format!("\u{feff}{}", text.replace("\"1.0.0\"", "\"^2.0.0\"")),
        );
        let error = saved(text, &[("x".to_owned(), "^1.0.0".to_owned())]).unwrap_err();
        assert!(error.to_string().contains("x, which is this component"), "{error}");
        assert_eq!(saved("name = 1\n", &[]).unwrap_err().field, "component");
        assert_eq!(saved("[component\n", &[]).unwrap_err().position.unwrap().line, 1);
        let error = saved("[component]\ndependencies = 1\n", &[]).unwrap_err();
        assert_eq!(error.field, "component.dependencies");
    }
}
