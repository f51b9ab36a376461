//! The texts by which a search finds a component, folded once when it is packed. Never ranks and never filters.
//!
//! Folding is Unicode lower case. Ids are lower case already and are not kept again; a summary is kept only where folding
//! changes it, since the block holds it anyway.
//!
//! **Shape**: nothing where there is nothing to keep; else one byte (1: a summary comes, 2: a description comes, 3: both), then
//! texts, each behind its length (u32, big endian): summary, description, keywords.

use serde_json::Value;

use crate::extra::Extra;
use crate::model::Release;

/// How many keywords and tags of one release are searched.
pub const KEYWORDS_MAX: usize = 64;

/// Where a release's documents carry words for a search: arrays of texts, or texts that separate them by commas.
const KEYWORD_FIELDS: [&str; 2] = ["keywords", "tags"];

const SUMMARY: u8 = 1;
const DESCRIPTION: u8 = 2;

/// What is searched of one component besides its id.
#[derive(Debug, Clone, Copy, Default)]
pub struct Searchable<'a> {
    summary: Option<&'a str>,
    description: Option<&'a str>,
    /// Keywords and tags, each behind its length, sorted, each once.
    keywords: &'a [u8],
}

impl<'a> Searchable<'a> {
    /// Reads what [`write`] has written; `None` for anything else.
    pub(super) fn read(bytes: &'a [u8]) -> Option<Searchable<'a>> {
        let Some((flags, mut rest)) = bytes.split_first() else { return Some(Searchable::default()) };
        if !(0..=SUMMARY | DESCRIPTION).contains(flags) {
            return None;
        }
        let mut text = |flag| match flags & flag {
            0 => Some(None),
            _ => {
                let (text, behind) = next(rest)?;
                rest = behind;
                Some(Some(text))
            }
        };
        Some(Searchable { summary: text(SUMMARY)?, description: text(DESCRIPTION)?, keywords: rest })
    }

    /// Tells whether every keyword can be read.
    pub(super) fn is_sound(&self) -> bool {
        let mut rest = self.keywords;
        while !rest.is_empty() {
            let Some((_, behind)) = next(rest) else { return false };
            rest = behind;
        }
        true
    }

    /// Returns the keywords and tags, folded and sorted.
    pub fn keywords(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        let mut rest = self.keywords;
        std::iter::from_fn(move || {
            let (text, behind) = next(rest)?;
            rest = behind;
            Some(text)
        })
    }

    /// Tells whether the description, or the summary, which is written as `summary`, hold the folded `word`.
    pub fn describes(&self, summary: Option<&str>, word: &str) -> bool {
        [self.summary.or(summary), self.description].into_iter().flatten().any(|text| text.contains(word))
    }
}

/// Writes what is searched of the release that stands for a component.
pub(super) fn write(release: &Release, out: &mut Vec<u8>) {
    let changed = |text: &str| Some(folded(text)).filter(|folded| **folded != *text);
    let summary = release.summary.as_deref().and_then(changed);
    let description = release.extra.get("description").and_then(Value::as_str);
    let description = description.filter(|text| release.summary.as_deref() != Some(text)).map(folded);
    let keywords = keywords(&release.extra);
    if summary.is_none() && description.is_none() && keywords.is_empty() {
        return;
    }
    let flag = |text: &Option<Box<str>>, flag: u8| if text.is_some() { flag } else { 0 };
    out.push(flag(&summary, SUMMARY) | flag(&description, DESCRIPTION));
    for text in summary.into_iter().chain(description).chain(keywords) {
        // A longer one would make the block too long as well, which is refused there.
        out.extend(u32::try_from(text.len()).unwrap_or(u32::MAX).to_be_bytes());
        out.extend(text.as_bytes());
    }
}

/// Splits the next text off.
fn next(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    let (text, rest) = rest.split_at_checked(u32::from_be_bytes(*length) as usize)?;
    Some((std::str::from_utf8(text).ok()?, rest))
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

fn keywords(extra: &Extra) -> Vec<Box<str>> {
    let written = KEYWORD_FIELDS.into_iter().flat_map(|field| texts(extra.get(field)));
    let words = written.flat_map(|text| text.split(',')).map(str::trim).filter(|word| !word.is_empty());
    let mut words: Vec<Box<str>> = words.take(KEYWORDS_MAX).map(folded).collect();
    words.sort_unstable();
    words.dedup();
    words
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
