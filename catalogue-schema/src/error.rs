//! What was wrong with a text or a document: where it stood, what was found and what was expected.
//!
//! Never holds more than a cut, escaped copy of foreign text, so that an error can be printed and logged as one line.

use std::borrow::Cow;
use std::cell::OnceCell;
use std::fmt;

use serde::{Deserialize, Serialize};

/// The longest copy of foreign text that an error carries, in characters.
pub const FOUND_CHARS_MAX: usize = 120;

/// A refusal of a text or document, with its place.
///
/// **Shape**: `sources[0].id: expected lower-case letters, found "A" (line 3, column 9)`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub struct ParseError {
    /// The dotted reason that programs read, such as `input.digest`.
    pub reason: Cow<'static, str>,
    /// The field path inside the document, such as `components[3].id`; empty for the whole text.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub field: String,
    /// Line and column, both from 1, where they are known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<Position>,
    /// What would have been accepted.
    pub expected: String,
    /// What stood there, escaped and cut to [`FOUND_CHARS_MAX`] characters.
    pub found: String,
}

/// A place in a text; line and column count from 1, the column in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// The line, from 1.
    pub line: usize,
    /// The byte within the line, from 1.
    pub column: usize,
}

impl Position {
    /// Returns the place of byte `offset` in `text`; an offset past the end gives the end. Walks all that stands before it: whoever
    /// asks for more than one place of a text asks [`Places`].
    pub fn of(text: &[u8], offset: usize) -> Position {
        let offset = offset.min(text.len());
        Mark::FIRST.behind(&text[..offset], 0).position(offset)
    }
}

/// The places of one text, of which many may be asked for: the text is walked once, whatever their number.
#[derive(Debug)]
pub struct Places<'a> {
    text: &'a [u8],
    /// The line at the start of each block of [`BLOCK_BYTES`]; found when the first place is asked for, so that a million bad
    /// entries cost one pass, and a document of nothing but newlines little memory.
    marks: OnceCell<Vec<Mark>>,
}

/// How many characters of a field path are told.
pub(crate) const PATH_CHARS_MAX: usize = 1000;

/// How many bytes of a text are walked at most to find a place.
const BLOCK_BYTES: usize = 512;

impl<'a> Places<'a> {
    /// Takes a text, and does not look at it before the first place is asked for.
    pub fn of(text: &'a [u8]) -> Places<'a> {
        Places { text, marks: OnceCell::new() }
    }

    /// Returns the place of byte `offset`; an offset past the end gives the end.
    pub fn at(&self, offset: usize) -> Position {
        let offset = offset.min(self.text.len());
        let block = offset / BLOCK_BYTES;
        let marks = self.marks.get_or_init(|| marks(self.text));
        let mark = marks.get(block).copied().unwrap_or(Mark::FIRST);
        let walked = block * BLOCK_BYTES;
        mark.behind(&self.text[walked..offset], walked).position(offset)
    }
}

/// A line of a text, and the byte at which it starts.
#[derive(Debug, Clone, Copy)]
struct Mark {
    line: usize,
    start: usize,
}

impl Mark {
    const FIRST: Mark = Mark { line: 1, start: 0 };

    /// Returns the line that holds the byte behind `bytes`, which starts at `offset`.
    fn behind(mut self, bytes: &[u8], offset: usize) -> Mark {
        #[cfg(test)]
        tests::WALKED.set(tests::WALKED.get() + bytes.len());
        for (index, byte) in bytes.iter().enumerate() {
            if *byte == b'\n' {
                self = Mark { line: self.line + 1, start: offset + index + 1 };
            }
        }
        self
    }

    /// Returns the place of a byte of this line.
    fn position(self, offset: usize) -> Position {
        Position { line: self.line, column: offset - self.start + 1 }
    }
}

fn marks(text: &[u8]) -> Vec<Mark> {
    let mut marks = vec![Mark::FIRST];
    for (index, block) in text.chunks(BLOCK_BYTES).enumerate() {
        marks.extend(marks.last().map(|mark| mark.behind(block, index * BLOCK_BYTES)));
    }
    marks
}

impl ParseError {
    /// Makes an error about a text; `found` is escaped and cut here, and loses what stands before the `@` of a URL's host.
    pub fn new(reason: &'static str, expected: impl Into<String>, found: impl AsRef<str>) -> ParseError {
        ParseError {
            reason: Cow::Borrowed(reason),
            field: String::new(),
            position: None,
            expected: expected.into(),
            found: quoted(&without_user(found.as_ref())),
        }
    }

    /// Names the field; an inner field path already there is kept behind it (`a` in `b` becomes `b.a`).
    pub fn in_field(mut self, field: impl AsRef<str>) -> ParseError {
        let field = field.as_ref();
        self.field = match (field.is_empty(), self.field.as_str()) {
            (true, _) => self.field,
            (false, "") => field.to_owned(),
            (false, inner) if inner.starts_with('[') => format!("{field}{inner}"),
            (false, inner) => format!("{field}.{inner}"),
        };
        self
    }

    /// Returns the same refusal without a word of the text: for a file of this machine that may be anything.
    pub fn unquoted(mut self) -> ParseError {
        // The words about the grammar are ours; everything else may be the file's.
        if !matches!(&*self.reason, "input.json" | "input.depth" | "limit.document_bytes" | "limit.skipped") {
            self.found = "something else, which is not repeated here".to_owned();
        }
        self.field.clear();
        self
    }

    /// Sets the place unless one is known already.
    pub fn at(mut self, position: Position) -> ParseError {
        self.position.get_or_insert(position);
        self
    }
}

impl fmt::Display for ParseError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.field.is_empty() {
            write!(out, "{}: ", printed(&self.field))?;
        }
        write!(out, "expected {}, found {}", self.expected, self.found)?;
        if let Some(Position { line, column }) = self.position {
            write!(out, " (line {line}, column {column})")?;
        }
        Ok(())
    }
}

/// Replaces user and password of every URL in `text`, since errors are logged, answered and kept.
fn without_user(text: &str) -> Cow<'_, str> {
    let mut shown = String::new();
    let mut rest = text;
    while let Some(scheme) = rest.find("://") {
        let (before, behind) = rest.split_at(scheme + "://".len());
        let authority = behind.split(['/', '?', '#', '\\', ' ', '"']).next().unwrap_or_default();
        shown.push_str(before);
        rest = behind;
        // In `lcod://name@1.0.0` it is a version that stands behind the sign.
        if let Some((user, _)) = authority.rsplit_once('@').filter(|_| !before.ends_with("lcod://")) {
            shown.push_str("***");
            rest = &behind[user.len()..];
        }
    }
    if shown.is_empty() {
        return Cow::Borrowed(text);
    }
    shown.push_str(rest);
    Cow::Owned(shown)
}

/// Returns a field path as it is told: some of its names come from outside. Control and bidirectional characters are escaped, and of a long
/// path its end says more than its start.
fn printed(path: &str) -> String {
    let is_plain = |c: char| matches!(c, ' '..='~' | '…') || c.is_alphanumeric();
    // From its end: an escape is told whole or not at all.
    let mut chars = 0;
    let start = path.char_indices().rev().find(|(_, c)| {
        chars += if is_plain(*c) { 1 } else { c.escape_unicode().len() };
        chars > PATH_CHARS_MAX
    });
    let (mark, told) = match start {
        Some((at, c)) => ("…", &path[at + c.len_utf8()..]),
        None => ("", path),
    };
    let mut out = mark.to_owned();
    for c in told.chars() {
        if is_plain(c) { out.push(c) } else { out.extend(c.escape_unicode()) }
    }
    out
}

/// Returns `text` in double quotes, control and bidirectional characters escaped, cut to [`FOUND_CHARS_MAX`].
pub fn quoted(text: &str) -> String {
    format!("\"{}\"", escaped(text))
}

/// Returns `text` with control, non-ASCII-space and bidirectional characters escaped, cut to [`FOUND_CHARS_MAX`].
pub fn escaped(text: &str) -> String {
    let mut out = String::new();
    for (count, c) in text.chars().enumerate() {
        if count == FOUND_CHARS_MAX {
            out.push('…');
            break;
        }
        match c {
            '"' | '\\' => {
                out.push('\\');
                out.push(c);
            }
            ' '..='~' => out.push(c),
            c if c.is_alphanumeric() => out.push(c),
            c => out.extend(c.escape_unicode()),
        }
    }
    out
}

#[cfg(test)]
pub(crate) mod tests;
