//! The texts by which a search finds a component, folded once when a snapshot is made. Never ranks and never filters.
//!
//! Folding is Unicode lower case. Ids are lower case already and are not kept again; a summary is kept only where folding
//! changes it.

use catalogue_schema::extra::Extra;
use catalogue_schema::model::{Component, Release};
use serde_json::Value;

/// How many keywords and tags of one release are searched.
pub const KEYWORDS_MAX: usize = 64;

/// Where a release's documents carry words for a search: arrays of texts, or texts that separate them by commas.
const KEYWORD_FIELDS: [&str; 2] = ["keywords", "tags"];

/// What is searched of one component besides its id.
#[derive(Debug, Default)]
pub struct Searchable {
    /// The position of the release that stands for the component.
    shown: usize,
    /// The summary where folding changes it.
    summary: Option<Box<str>>,
    /// The `description` that the documents carry beside the summary, folded.
    description: Option<Box<str>>,
    /// Keywords and tags, folded, sorted, each once.
    keywords: Box<[Box<str>]>,
}

impl Searchable {
    /// Prepares the texts of a component: those of the newest release that may be chosen, or of the newest where none may.
    pub fn of(component: &Component) -> Searchable {
        let may_be_chosen = |release: &Release| {
            !release.yanked && !release.version.is_prerelease() && release.verdict.refusal().is_none()
        };
        let last = component.releases.len().saturating_sub(1);
        let shown = component.releases.iter().rposition(may_be_chosen).unwrap_or(last);
        let Some(release) = component.releases.get(shown) else { return Searchable::default() };
        let changed = |text: &str| Some(folded(text)).filter(|folded| **folded != *text);
        let description = release.extra.get("description").and_then(Value::as_str);
        Searchable {
            shown,
            summary: release.summary.as_deref().and_then(changed),
            description: description.filter(|text| release.summary.as_deref() != Some(text)).map(folded),
            keywords: keywords(&release.extra),
        }
    }

    /// Returns the release that stands for `component`, which is the one that this was made of.
    pub fn shown<'c>(&self, component: &'c Component) -> Option<&'c Release> {
        component.releases.get(self.shown)
    }

    /// Returns the keywords and tags, folded and sorted.
    pub fn keywords(&self) -> &[Box<str>] {
        &self.keywords
    }

    /// Tells whether summary or description of `release`, the one that is shown, hold the folded `word`.
    pub fn describes(&self, release: &Release, word: &str) -> bool {
        let summary = self.summary.as_deref().or(release.summary.as_deref());
        [summary, self.description.as_deref()].into_iter().flatten().any(|text| text.contains(word))
    }
}

/// Returns `text` in Unicode lower case.
pub fn folded(text: &str) -> Box<str> {
    text.to_lowercase().into()
}

/// Returns the texts of a field that holds a text or an array of texts.
pub fn texts(value: Option<&Value>) -> Vec<&str> {
    match value {
        Some(Value::String(text)) => vec![text],
        Some(Value::Array(values)) => values.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    }
}

fn keywords(extra: &Extra) -> Box<[Box<str>]> {
    let written = KEYWORD_FIELDS.into_iter().flat_map(|field| texts(extra.get(field)));
    let words = written.flat_map(|text| text.split(',')).map(str::trim).filter(|word| !word.is_empty());
    let mut words: Vec<Box<str>> = words.take(KEYWORDS_MAX).map(folded).collect();
    words.sort_unstable();
    words.dedup();
    words.into_boxed_slice()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(extra: &Value) -> Extra {
        extra.as_object().expect("an object").clone().into()
    }

    #[test]
    fn keywords_are_read_from_arrays_and_texts() {
        let check = |extra: Value, expected: &[&str]| {
            let found = keywords(&read(&extra));
            assert_eq!(found.iter().map(|word| &**word).collect::<Vec<_>>(), expected, "{extra}");
        };
        check(json!({}), &[]);
        check(json!({"keywords": ["Text", "ÉCOLE"], "tags": "b, A ,,b"}), &["a", "b", "text", "école"]);
        check(json!({"keywords": 7, "tags": [1, null, "x"]}), &["x"]);
        let many: Vec<String> = (0..KEYWORDS_MAX + 9).map(|at| format!("{at:03}")).collect();
        assert_eq!(keywords(&read(&json!({"tags": many}))).len(), KEYWORDS_MAX);
    }
}
