//! What a YAML file of a component names: the schemas of an `.esf.yaml`, the circuit of a `.circuit.yaml`.
//!
//! ```yaml
//! name: FixNewOrderSingle        # one schema, or the circuit
//! ---
//! schemas:                       # or several, by their names
//!   IoTTelemetry: { fields: {} }
//! ---
//! schemas: [{ name: IoTCommand }]
//! ```
//! The same stands for `schema` and `circuit`, whose value may be the name itself or a map with `name`. Which of its other fields a
//! schema or a circuit needs is for the toolchain of eStream to say. The text is read event by event, and no tree is made of it; an
//! alias is never expanded, so that what it stands for names nothing. Bounded in bytes, depth and events. Never opens a file, never
//! recurses.
//!
//! **Source**: ours, after seed 002, sections 2.1 and 5.2; it shows no such file.

use std::collections::BTreeSet;

use granit_parser::{Event, Parser, StrInput};

use crate::error::{ParseError, Position};

/// The largest file in bytes.
pub const OUTLINE_BYTES_MAX: usize = 4 << 20;
/// How deep its lists and maps may lie in each other.
pub const OUTLINE_DEPTH_MAX: usize = 64;
/// How many events it may have.
pub const OUTLINE_EVENTS_MAX: usize = 1_000_000;

/// What a file names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outline {
    /// The value of `name`, `schema` or `circuit` at the top.
    pub names: BTreeSet<String>,
    /// The names below `schemas` or `circuits`, and the keys at the top that hold a map or a list.
    pub inner: BTreeSet<String>,
}

/// Reads a file; a JSON file is one as well.
///
/// **Errors**: `limit.document_bytes`, `limit.depth`, `limit.events`, `input.encoding`, `input.yaml`; `input.yaml_root` where a
/// document of it is no map, or there is none.
pub fn read(bytes: &[u8]) -> Result<Outline, ParseError> {
    let mut reader = Reader::default();
    events(bytes, &mut |event| reader.take(event))?;
    match reader.documents {
        0 => Err(no_map("an empty file")),
        _ => Ok(reader.outline),
    }
}

/// Reads a file of which only the form counts.
///
/// **Errors**: as [`read`], but for `input.yaml_root`.
pub fn check(bytes: &[u8]) -> Result<(), ParseError> {
    events(bytes, &mut |_| Ok(()))
}

/// Hands every event of a file to `take`, within the bounds.
fn events(
    bytes: &[u8],
    take: &mut dyn FnMut(&Event<'_>) -> Result<(), ParseError>,
) -> Result<(), ParseError> {
    if bytes.len() > OUTLINE_BYTES_MAX {
        let expected = format!("a file of at most {OUTLINE_BYTES_MAX} bytes");
        return Err(ParseError::new("limit.document_bytes", expected, format!("{} bytes", bytes.len())));
    }
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let at = Position::of(bytes, error.valid_up_to());
        ParseError::new("input.encoding", "UTF-8", "other bytes").at(at)
    })?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let options = granit_parser::options! {
        emit_comments: false,
        flow_nesting_limit: OUTLINE_DEPTH_MAX + 1,
        block_nesting_limit: OUTLINE_DEPTH_MAX + 1,
    };
    let place = |offset: Option<usize>, line: usize| match offset {
        Some(offset) => Position::of(text.as_bytes(), offset),
        None => Position { line: line.max(1), column: 1 },
    };
    let (mut depth, mut count) = (0usize, 0usize);
    for next in Parser::with_options(StrInput::new(text), options) {
        let (event, span) = next.map_err(|error| {
            let marker = error.marker();
            let at = place(marker.byte_offset(), marker.line());
            ParseError::new("input.yaml", "YAML that can be read", error.info()).at(at)
        })?;
        count += 1;
        match event {
            Event::SequenceStart(..) | Event::MappingStart(..) => depth += 1,
            Event::SequenceEnd | Event::MappingEnd => depth = depth.saturating_sub(1),
            _ => {}
        }
        let limit = match (depth > OUTLINE_DEPTH_MAX, count > OUTLINE_EVENTS_MAX) {
            (true, _) => Some(("limit.depth", format!("lists and maps at most {OUTLINE_DEPTH_MAX} deep"))),
            (_, true) => {
                Some(("limit.events", format!("at most {OUTLINE_EVENTS_MAX} texts, lists and maps")))
            }
            _ => None,
        };
        let wrong = match limit {
            Some((reason, expected)) => Err(ParseError::new(reason, expected, "more")),
            None => take(&event),
        };
        // Only what is wrong needs its place, and to count lines costs time.
        wrong.map_err(|error| error.at(place(span.start.byte_offset(), span.start.line())))?;
    }
    Ok(())
}

fn no_map(found: &str) -> ParseError {
    ParseError::new("input.yaml_root", "a map at the top of the file", found)
}

/// A map or a list that has begun.
#[derive(Debug)]
struct Frame {
    /// It is a map, whose next text is a key where `key` is `None`.
    is_map: bool,
    key: Option<String>,
    /// It is itself a key, which names nothing.
    is_key: bool,
}

#[derive(Debug, Default)]
struct Reader {
    frames: Vec<Frame>,
    documents: usize,
    outline: Outline,
}

impl Reader {
    fn take(&mut self, event: &Event<'_>) -> Result<(), ParseError> {
        match event {
            Event::DocumentStart(..) => self.documents += 1,
            Event::Scalar(text, ..) => return self.scalar(text),
            // It may stand for a key or a value; what it stands for names nothing.
            Event::Alias(..) => return self.scalar(""),
            Event::SequenceStart(..) => return self.begin(false),
            Event::MappingStart(..) => return self.begin(true),
            Event::SequenceEnd | Event::MappingEnd => self.end(),
            _ => {}
        }
        Ok(())
    }

    fn end(&mut self) {
        if self.frames.pop().is_some_and(|frame| !frame.is_key) {
            self.value_ends();
        }
    }

    /// Returns the keys that lead to where the reader is, those of lists left out.
    fn keys(&self) -> Vec<&str> {
        self.frames.iter().filter_map(|frame| frame.key.as_deref()).collect()
    }

    fn scalar(&mut self, text: &str) -> Result<(), ParseError> {
        let Some(frame) = self.frames.last_mut() else { return Err(no_map("a text")) };
        if frame.is_map && frame.key.is_none() {
            frame.key = Some(text.to_owned());
            return Ok(());
        }
        let is_name = match self.keys().as_slice() {
            ["name" | "schema" | "circuit"] | ["schema" | "circuit", "name"] => Some(true),
            ["schemas" | "circuits", "name"] | ["schemas" | "circuits"] => Some(false),
            _ => None,
        };
        match is_name {
            Some(true) => drop(self.outline.names.insert(text.to_owned())),
            Some(false) => drop(self.outline.inner.insert(text.to_owned())),
            None => {}
        }
        self.value_ends();
        Ok(())
    }

    fn begin(&mut self, is_map: bool) -> Result<(), ParseError> {
        let is_key = match self.frames.last_mut() {
            None if is_map => false,
            None => return Err(no_map("a list")),
            Some(frame) => {
                let is_key = frame.is_map && frame.key.is_none();
                if is_key {
                    frame.key = Some(String::new());
                }
                is_key
            }
        };
        let found = match self.keys().as_slice() {
            [key] if self.frames.len() == 1 && !is_key => Some((*key).to_owned()),
            ["schemas" | "circuits", key] if self.frames.len() == 2 && !is_key => Some((*key).to_owned()),
            _ => None,
        };
        self.outline.inner.extend(found);
        self.frames.push(Frame { is_map, key: None, is_key });
        Ok(())
    }

    /// What comes next in a map is a key.
    fn value_ends(&mut self) {
        if let Some(frame) = self.frames.last_mut().filter(|frame| frame.is_map) {
            frame.key = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(text: &str) -> String {
        match read(text.as_bytes()) {
            Ok(Outline { names, inner }) => {
                let list = |names: &BTreeSet<String>| names.iter().cloned().collect::<Vec<_>>().join(" ");
                format!("{} | {}", list(&names), list(&inner))
            }
            Err(error) => {
                let at = error.position.map(|at| format!(" {}:{}", at.line, at.column)).unwrap_or_default();
                format!("{}{at}", error.reason)
            }
        }
    }

    #[test]
    fn names_stand_in_known_places() {
        let rows = [
            ("name: A\nfields: {name: B}\n", "A | fields"),
            ("schema: A\n", "A | "),
            ("schema:\n  name: A\n  fields: [{name: B}]\n", "A | schema"),
            ("circuit: {name: a_b, inputs: [{name: x}]}\n", "a_b | circuit"),
            ("schemas:\n  A: {fields: {x: {name: y}}}\n  B: {}\n", " | A B schemas"),
            ("schemas: [{name: A, x: {name: no}}, {name: B}]\n", " | A B schemas"),
            ("schemas: [A, B]\n", " | A B schemas"),
            ("Order:\n  fields: {}\nversion: 1\n", " | Order"),
            ("name: A\n---\nname: B\n", "A B | "),
            ("a: &x {name: no}\nname: *x\n", " | a"),
            ("? {a: b}\n: c\nname: A\n", "A | "),
            ("? [a]\n: {b: c}\nname: A\n", "A | "),
            ("{\"name\": \"A\"}", "A | "),
            ("", "input.yaml_root"),
            ("# nothing\n", "input.yaml_root"),
            ("- a\n", "input.yaml_root 1:1"),
            ("text\n", "input.yaml_root 1:1"),
            ("name: [\n", "input.yaml 1:7"),
            ("name: A\n\tx: 1\n", "input.yaml 1:7"),
        ];
        for (text, expected) in rows {
            let found = told(text);
            assert_eq!(
                found.split(" | ").collect::<Vec<_>>(),
                expected.split(" | ").collect::<Vec<_>>(),
                "{text}"
            );
        }
        assert_eq!(read(b"a: \xff").unwrap_err().reason, "input.encoding");
        let deep = format!("a: {}{}", "[".repeat(80), "]".repeat(80));
        assert!(read(deep.as_bytes()).is_err());
        assert!(check(b"[1, 2]").is_ok() && check(b"text").is_ok() && check(b"[1, 2").is_err());
    }
}
