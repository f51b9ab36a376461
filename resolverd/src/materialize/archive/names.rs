//! The names of an archive: each by the one grammar, and none that means the place of another. Pure.

use std::collections::BTreeMap;

use catalogue_schema::error::escaped;
use catalogue_schema::model::Refusal;
use catalogue_schema::path::DocPath;

use crate::materialize::tree::at_most;

/// Reads the name of a file, or of a directory without its last slash.
///
/// **Errors**: `archive.too_deep`, `archive.reserved_name`, `archive.entry_path`.
pub(super) fn path(name: &[u8], depth: u64, subject: &str) -> Result<DocPath, Refusal> {
    // Counted before anything is made of it: a few bytes can name thousands of levels.
    let levels = name.split(|byte| *byte == b'/').filter(|segment| !matches!(segment, [] | [b'.'])).count();
    if levels as u64 > depth {
        let expected = at_most(depth, "levels of directories", "release_depth");
        return Err(Refusal::new("archive.too_deep", subject, expected, format!("{levels} levels")));
    }
    let text = String::from_utf8_lossy(name);
    if let Some(segment) = text.split('/').find(|segment| is_reserved(segment)) {
        let expected = "no name that Git or resolverd uses itself";
        return Err(Refusal::new("archive.reserved_name", subject, expected, escaped(segment)));
    }
    let read = DocPath::parse(&text)
        .map_err(|error| Refusal::new("archive.entry_path", subject, &error.expected, quoted(&text)))?;
    // What the grammar would take without its first characters stands there where a whole directory was packed, and only so.
    let is_itself = text.strip_prefix("./").unwrap_or(&text) == read.as_text();
    if is_itself { Ok(read) } else { Err(bad(subject, &text)) }
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", escaped(text))
}

fn bad(subject: &str, text: &str) -> Refusal {
    Refusal::new("archive.entry_path", subject, "a path below the archive's root", quoted(text))
}

/// Tells whether a segment is one that Git or this program gives a meaning of its own; those that Windows reserves are a matter of
/// the grammar.
fn is_reserved(segment: &str) -> bool {
    let folded = segment.to_ascii_lowercase();
    let short = folded.strip_prefix("git~");
    [".git", ".gitmodules", ".gitattributes"].contains(&folded.as_str())
        || folded.starts_with(".resolverd")
        || short.is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_digit()))
}

/// The places that are taken, by their names without regard to case.
#[derive(Default)]
pub(super) struct Places(BTreeMap<String, Place>);

/// What stands at a place.
struct Place {
    name: String,
    /// A file, or a directory that has an entry of its own.
    is_listed: bool,
    is_file: bool,
}

impl Places {
    /// Takes the place of a file.
    ///
    /// **Errors**: `archive.duplicate`.
    pub(super) fn file(&mut self, path: &DocPath, subject: &str) -> Result<(), Refusal> {
        self.above(path, subject)?;
        self.at(path.as_text(), (true, true), subject)
    }

    /// Takes the place of a directory.
    ///
    /// **Errors**: `archive.duplicate`.
    pub(super) fn directory(&mut self, path: &DocPath, subject: &str) -> Result<(), Refusal> {
        self.above(path, subject)?;
        self.at(path.as_text(), (true, false), subject)
    }

    /// Returns how many places are taken, with or without an entry of their own.
    pub(super) fn count(&self) -> u64 {
        self.0.len() as u64
    }

    fn above(&mut self, path: &DocPath, subject: &str) -> Result<(), Refusal> {
        let text = path.as_text();
        text.match_indices('/').try_for_each(|(at, _)| self.at(&text[..at], (false, false), subject))
    }

    fn at(&mut self, name: &str, (is_listed, is_file): (bool, bool), subject: &str) -> Result<(), Refusal> {
        let Some(known) = self.0.get_mut(&name.to_ascii_lowercase()) else {
            let place = Place { name: name.to_owned(), is_listed, is_file };
            self.0.insert(name.to_ascii_lowercase(), place);
            return Ok(());
        };
        let is_one_file = known.is_file || is_file;
        let is_listed_twice = known.is_listed && is_listed;
        if known.name == name && !is_one_file && !is_listed_twice {
            known.is_listed |= is_listed;
            return Ok(());
        }
        let expected = "names that stand once, differ in more than the case of letters, and no file in a directory's place";
        let found = format!("{} and {name}", known.name);
        Err(Refusal::new("archive.duplicate", subject, expected, found))
    }
}
