//! The one grammar for every path that comes from outside.
//!
//! Bytes 0x21 to 0x7e except `" * : < > ? | \`; segments of 1 to 100 bytes, not `.` or `..`, not ending in `.`; no
//! segment that Git, Windows or this program reserves; at most 32 segments and 255 bytes; no leading or trailing `/`.
//! An accepted path stays below the directory that it is joined to, on every file system.

use std::fmt;
use std::sync::Arc;

use crate::error::ParseError;

/// The most segments a path may have.
pub const SEGMENTS_MAX: usize = 32;
/// The longest path in bytes.
pub const PATH_BYTES_MAX: usize = 255;
/// The longest segment in bytes.
pub const SEGMENT_BYTES_MAX: usize = 100;

/// A relative path below a repository root or a directory, in the grammar of this module. Cheap to clone.
///
/// **Shape**: `packages/std/components/tooling/array.append/compose.yaml`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DocPath(Arc<str>);

impl DocPath {
    /// Reads a path; a leading `./` is dropped, since published lists write it.
    ///
    /// **Errors**: `input.path`, naming the offending segment.
    pub fn parse(text: &str) -> Result<DocPath, ParseError> {
        let path = text.strip_prefix("./").unwrap_or(text);
        let refused = |expected: &str| Err(ParseError::new("input.path", expected, text));
        if path.is_empty() {
            return refused("a path");
        }
        if path.len() > PATH_BYTES_MAX {
            return refused("a path of at most 255 bytes");
        }
        if path.starts_with('/') {
            return refused("a relative path without a leading /");
        }
        // Nearly every path is plain; what is wrong with another is looked for segment by segment.
        if !is_plain(path.as_bytes()) {
            if path.split('/').count() > SEGMENTS_MAX {
                return refused("a path of at most 32 segments");
            }
            if let Some(expected) = path.split('/').find_map(segment_fault) {
                return refused(expected);
            }
        }
        Ok(DocPath(path.into()))
    }

    /// Returns the path's text, for messages and for readers that take text.
    pub fn as_text(&self) -> &str {
        &self.0
    }

    /// Returns the segments in order.
    pub fn segments(&self) -> impl DoubleEndedIterator<Item = &str> {
        self.0.split('/')
    }

    /// Returns the directory that holds this path; `None` at the top.
    pub fn parent(&self) -> Option<DocPath> {
        self.0.rsplit_once('/').map(|(parent, _)| DocPath(parent.into()))
    }

    /// Returns `other` below this path.
    ///
    /// **Errors**: `input.path` when the whole grows past the limits.
    pub fn join(&self, other: &DocPath) -> Result<DocPath, ParseError> {
        DocPath::parse(&format!("{}/{}", self.0, other.0))
    }

    /// Returns this path with its last segment replaced.
    ///
    /// **Errors**: `input.path` when `name` is not one good segment.
    pub fn sibling(&self, name: &str) -> Result<DocPath, ParseError> {
        if let Some(expected) = segment_fault(name) {
            return Err(ParseError::new("input.path", expected, name));
        }
        match self.parent() {
            Some(parent) => parent.join(&DocPath::parse(name)?),
            None => DocPath::parse(name),
        }
    }

    /// Tells whether this path lies below `directory` (or is it).
    pub fn is_below(&self, directory: &DocPath) -> bool {
        self.0.strip_prefix(&*directory.0).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }
}

/// Tells what is wrong with one segment, as the words that follow "expected".
pub fn segment_fault(segment: &str) -> Option<&'static str> {
    if segment.is_empty() {
        return Some("no empty segment");
    }
    if segment == "." || segment == ".." {
        return Some("a path that stays below its root, without . or .. segments");
    }
    if segment.len() > SEGMENT_BYTES_MAX {
        return Some("segments of at most 100 bytes");
    }
    if !segment.bytes().all(|byte| matches!(byte, 0x21..=0x7e) && !b"\"*:<>?|\\/".contains(&byte)) {
        return Some("printable ASCII without space or any of \" * : < > ? | \\");
    }
    if segment.ends_with('.') {
        return Some("no segment that ends in a dot");
    }
    if is_reserved(segment) {
        return Some("no name that Git, Windows or resolverd reserves");
    }
    None
}

/// What a byte may be in the name of a plain path: nothing, a part inside it, one that may not begin it, or any part.
const KINDS: [Kind; 256] = {
    let mut kinds = [Kind::Other; 256];
    let mut byte = 0;
    while byte < kinds.len() {
        #[expect(clippy::cast_possible_truncation, reason = "below 256")]
        let kind = match byte as u8 {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => Kind::Alphanumeric,
            b'-' | b'_' => Kind::Dash,
            b'.' => Kind::Dot,
            _ => Kind::Other,
        };
        kinds[byte] = kind;
        byte += 1;
    }
    kinds
};

/// In this order: what ends a segment stands before what may be part of one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Other,
    Dot,
    Dash,
    Alphanumeric,
}

/// Tells whether a path is beyond doubt, in one walk: not many segments of letters, digits, `-` and `_`, with dots inside, and no
/// name as long as a device's that starts like one. Says nothing about the others.
fn is_plain(path: &[u8]) -> bool {
    let (mut rest, mut segments) = (path, 0);
    loop {
        // Most bytes are part of a name: that they are is all that is asked of each of them.
        let length = rest.iter().take_while(|byte| kind(byte) >= Kind::Dot).count();
        let (segment, behind) = rest.split_at(length);
        let is_fine = matches!(segment.first().map(kind), Some(Kind::Alphanumeric))
            && segment.last().map(kind) != Some(Kind::Dot)
            && is_plain_name(segment);
        segments += 1;
        match behind {
            _ if !is_fine => return false,
            [] => return segments <= SEGMENTS_MAX,
            [b'/', behind @ ..] => rest = behind,
            _ => return false,
        }
    }
}

fn kind(byte: &u8) -> Kind {
    KINDS[usize::from(*byte)]
}

/// Tells whether a segment of good bytes is not too long and cannot be taken for a device.
fn is_plain_name(segment: &[u8]) -> bool {
    let ends = |at: usize| matches!(segment.get(at), None | Some(b'.'));
    let is_like_a_device = || {
        let first = segment.first().map(u8::to_ascii_lowercase);
        matches!(first, Some(b'a' | b'c' | b'l' | b'n' | b'p')) && (ends(3) || ends(4))
    };
    segment.len() <= SEGMENT_BYTES_MAX && !is_like_a_device()
}

/// Compares without regard to case and without a copy: every path of every document passes here.
fn is_reserved(segment: &str) -> bool {
    let is = |name: &&str| segment.eq_ignore_ascii_case(name);
    if [".git", ".gitmodules", ".gitattributes"].iter().any(is) || behind(segment, ".resolverd").is_some() {
        return true;
    }
    if behind(segment, "git~")
        .is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_digit()))
    {
        return true;
    }
    let stem = segment.split('.').next().unwrap_or(segment);
    let device = ["con", "prn", "aux", "nul"].iter().any(|name| stem.eq_ignore_ascii_case(name));
    let numbered =
        |prefix: &str| behind(stem, prefix).is_some_and(|rest| matches!(rest.as_bytes(), [b'1'..=b'9']));
    device || numbered("com") || numbered("lpt")
}

/// Returns what stands behind `prefix`, in whatever case that is written.
fn behind<'a>(text: &'a str, prefix: &str) -> Option<&'a str> {
    let (start, rest) = text.split_at_checked(prefix.len())?;
    start.eq_ignore_ascii_case(prefix).then_some(rest)
}

impl fmt::Display for DocPath {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl fmt::Debug for DocPath {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, out)
    }
}

crate::text_forms!(DocPath; as_text);

#[cfg(test)]
mod tests;
