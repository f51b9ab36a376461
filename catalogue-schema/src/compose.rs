//! Which components a `compose.yaml` calls: every `call:` of a step, with its line and column.
//!
//! ```yaml
//! compose:
//!   - call: lcod://flow/foreach@1          # a component
//!     in: { list: $.rows, call: not one }  # what a step is given is data, whatever it looks like
//!     children:                            # or slots
//!       body:
//!         - call: internal/load-config     # one of the same package
//! helpers:
//!   trim:
//!     compose: [{ call: lcod://tooling/text/trim@1 }]
//! ```
//! Steps stand in a list under `compose`, wherever that key is outside the data of a step, and in the lists under `children` and
//! `slots` of a step. Nothing else of the file is looked at. A call that names no component by its id is told as it is written:
//! [`Package::expand`] says what a relative one means where the package is known.
//!
//! The text is read event by event, and no tree is made of it. An alias is never expanded: where one stands for something that may
//! hold a call, the file is refused. Bounded in bytes, depth, events and calls. Never resolves, never opens a file, never recurses.

use std::collections::{BTreeMap, BTreeSet};

use granit_parser::{Event, Parser, StrInput};

use crate::error::{ParseError, Position};
use crate::id::{ComponentId, Dialect, REFERENCE_BYTES_MAX, Reference};
use crate::version::{Grammar, Version, VersionReq};

/// The largest `compose.yaml` in bytes.
pub const COMPOSE_BYTES_MAX: usize = 1 << 20;
/// How deep its lists and maps may lie in each other.
pub const COMPOSE_DEPTH_MAX: usize = 64;
/// How many events it may have: scalars, and beginnings and ends of lists and maps.
pub const COMPOSE_EVENTS_MAX: usize = 200_000;
/// How many calls it may have.
pub const COMPOSE_CALLS_MAX: usize = 10_000;

/// A call of a step.
#[derive(Debug, Clone, PartialEq)]
pub struct Call {
    /// What is called.
    pub target: Target,
    /// Where the name of it stands.
    pub position: Position,
}

/// What a step calls.
#[derive(Debug, Clone, PartialEq)]
pub enum Target {
    /// A component by its id.
    Component(Reference),
    /// A component of the same package: `internal/load-config`, `./load-config`.
    Relative(String),
    /// Something that is neither, and why.
    Unreadable(ParseError),
}

impl Target {
    fn of(text: &str) -> Target {
        if text.contains("://") {
            return Reference::parse(text).map_or_else(Target::Unreadable, Target::Component);
        }
        match segments(text) {
            Some(_) => Target::Relative(text.to_owned()),
            None => Target::Unreadable(ParseError::new(
                "compose.call",
                "an id such as lcod://ns/name@1, or a path such as internal/name",
                text,
            )),
        }
    }
}

/// The package of a component, from which its relative calls count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Package {
    /// Its id, without a version.
    pub base: ComponentId,
    /// Its version, which is that of everything in it.
    pub version: Version,
    /// What the first segment of a relative call stands for.
    pub aliases: BTreeMap<String, String>,
}

impl Package {
    /// Returns what a relative call means: the base of the package, the first segment or what it stands for, the rest, and the
    /// version of the package.
    ///
    /// **Errors**: `compose.call` for a text that is no relative call, those of an id, and `input.reference` for what would be too long.
    pub fn expand(&self, relative: &str) -> Result<Reference, ParseError> {
        let wrong = || ParseError::new("compose.call", "a relative call such as internal/name", relative);
        let segments = segments(relative).ok_or_else(wrong)?;
        let (first, rest) = segments.split_first().ok_or_else(wrong)?;
        let first = self.aliases.get(*first).map_or(*first, String::as_str);
        let path = [self.base.path(), first].into_iter().chain(rest.iter().copied());
        let id = ComponentId::from_path(Dialect::Lcod, &path.collect::<Vec<_>>().join("/"))?;
        let requirement = VersionReq::parse(&self.version.to_string(), Grammar::Reference)?;
        Reference::of(id, requirement)
    }
}

/// Returns the segments of a relative call; `None` for what is none, such as one that leads upwards, has a version, or is longer than
/// any id.
fn segments(text: &str) -> Option<Vec<&str>> {
    if text.len() > REFERENCE_BYTES_MAX {
        return None;
    }
    let path = text.strip_prefix("./").unwrap_or(text);
    let is_plain = |segment: &str| {
        let is_known =
            |byte: u8| matches!(byte, b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.');
        !segment.is_empty() && segment != "." && segment != ".." && segment.bytes().all(is_known)
    };
    let segments: Vec<&str> = path.split('/').collect();
    segments.iter().all(|segment| is_plain(segment)).then_some(segments)
}

/// Returns the calls of a `compose.yaml`, in the order in which they stand there.
///
/// **Errors**: `limit.document_bytes`, `limit.compose_depth`, `limit.compose_events`, `limit.compose_calls`, `input.encoding`,
/// `input.yaml`, `compose.documents` (there is more than one), `compose.root` (it is no map), `compose.alias` (an alias stands where
/// a call may be), `compose.duplicate_key` (a key of a step or of the file stands twice), `compose.call` (a call is no text).
pub fn calls(bytes: &[u8]) -> Result<Vec<Call>, ParseError> {
    if bytes.len() > COMPOSE_BYTES_MAX {
        let expected = format!("a compose.yaml of at most {COMPOSE_BYTES_MAX} bytes");
        return Err(ParseError::new("limit.document_bytes", expected, format!("{} bytes", bytes.len())));
    }
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let at = Position::of(bytes, error.valid_up_to());
        ParseError::new("input.encoding", "UTF-8", "other bytes").at(at)
    })?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    // What nests deeper than it may is told by the reader below, one level before the parser gives up.
    let options = granit_parser::options! {
        emit_comments: false,
        flow_nesting_limit: COMPOSE_DEPTH_MAX + 1,
        block_nesting_limit: COMPOSE_DEPTH_MAX + 1,
    };
    let mut reader = Reader::new(text);
    for next in Parser::with_options(StrInput::new(text), options) {
        let (event, span) = next.map_err(|error| {
            let marker = error.marker();
            let at = reader.place(marker.byte_offset(), marker.line());
            ParseError::new("input.yaml", "YAML that can be read", error.info()).at(at)
        })?;
        let at = reader.place(span.start.byte_offset(), span.start.line());
        reader.take(&event, at).map_err(|error| error.at(at))?;
    }
    Ok(reader.calls)
}

/// What stands at a place of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Room {
    /// Neither steps nor their data: a `compose` in here holds steps.
    Outside,
    /// A list of steps, or a map of such lists by the names of their slots.
    Steps,
    /// One step.
    Step,
    /// What a step is given and gives: nothing in here is a call.
    Data,
}

/// A list or map that has begun.
#[derive(Debug)]
struct Frame {
    room: Room,
    shape: Shape,
}

#[derive(Debug)]
enum Shape {
    List,
    /// A map: the keys so far where they count, and what the value that comes next is, `None` where a key comes next.
    Map {
        keys: BTreeSet<String>,
        next: Option<Value>,
    },
}

/// What a value of a map is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Value {
    /// What is called.
    Called,
    /// Whatever it is, it is in this room.
    In(Room),
}

struct Reader<'t> {
    text: &'t str,
    /// Where each line begins.
    lines: Vec<usize>,
    frames: Vec<Frame>,
    events: usize,
    documents: usize,
    calls: Vec<Call>,
}

impl<'t> Reader<'t> {
    fn new(text: &'t str) -> Reader<'t> {
        let behind = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at + 1);
        Reader {
            text,
            lines: std::iter::once(0).chain(behind).collect(),
            frames: Vec::new(),
            events: 0,
            documents: 0,
            calls: Vec::new(),
        }
    }

    /// Returns the place of a byte; the start of `line` where nobody knows the byte.
    fn place(&self, offset: Option<usize>, line: usize) -> Position {
        let Some(offset) = offset.map(|offset| offset.min(self.text.len())) else {
            return Position { line: line.max(1), column: 1 };
        };
        let line = self.lines.partition_point(|start| *start <= offset);
        let start = self.lines.get(line.saturating_sub(1)).copied().unwrap_or_default();
        Position { line, column: offset.saturating_sub(start) + 1 }
    }

    fn take(&mut self, event: &Event<'_>, at: Position) -> Result<(), ParseError> {
        self.events += 1;
        if self.events > COMPOSE_EVENTS_MAX {
            let expected = format!("at most {COMPOSE_EVENTS_MAX} events");
            return Err(ParseError::new("limit.compose_events", expected, "more"));
        }
        match event {
            Event::DocumentStart(..) => {
                self.documents += 1;
                match self.documents {
                    1 => Ok(()),
                    _ => Err(ParseError::new("compose.documents", "one document", "another one")),
                }
            }
            Event::Scalar(text, ..) => self.scalar(text, at),
            Event::Alias(..) => self.alias(),
            Event::SequenceStart(..) => self.begin(Shape::List),
            Event::MappingStart(..) => self.begin(Shape::Map { keys: BTreeSet::new(), next: None }),
            Event::SequenceEnd | Event::MappingEnd => {
                self.frames.pop();
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Takes a text: a key, what is called, or nothing that counts.
    fn scalar(&mut self, text: &str, at: Position) -> Result<(), ParseError> {
        let Some(Frame { room, shape }) = self.frames.last_mut() else { return Err(no_map("a text")) };
        let Shape::Map { keys, next } = shape else { return Ok(()) };
        match next.take() {
            None => {
                *next = Some(value_of(*room, text));
                let is_twice = *room != Room::Data && !keys.insert(text.to_owned());
                match is_twice {
                    true => Err(ParseError::new("compose.duplicate_key", "each key once", text)),
                    false => Ok(()),
                }
            }
            Some(Value::Called) => {
                if self.calls.len() == COMPOSE_CALLS_MAX {
                    let expected = format!("at most {COMPOSE_CALLS_MAX} calls");
                    return Err(ParseError::new("limit.compose_calls", expected, "more"));
                }
                self.calls.push(Call { target: Target::of(text), position: at });
                Ok(())
            }
            Some(Value::In(_)) => Ok(()),
        }
    }

    fn alias(&mut self) -> Result<(), ParseError> {
        let expected = "what it stands for, since a call may be in it";
        let refused = Err(ParseError::new("compose.alias", expected, "an alias"));
        let Some(Frame { room, shape }) = self.frames.last_mut() else { return refused };
        let is_data = match shape {
            Shape::List => *room == Room::Data,
            Shape::Map { next, .. } => match next.take() {
                None => {
                    *room == Room::Data && {
                        *next = Some(Value::In(Room::Data));
                        true
                    }
                }
                Some(value) => value == Value::In(Room::Data),
            },
        };
        if is_data { Ok(()) } else { refused }
    }

    /// Begins a list or a map.
    fn begin(&mut self, shape: Shape) -> Result<(), ParseError> {
        if self.frames.len() == COMPOSE_DEPTH_MAX {
            let expected = format!("lists and maps at most {COMPOSE_DEPTH_MAX} deep");
            return Err(ParseError::new("limit.compose_depth", expected, "deeper ones"));
        }
        let is_map = matches!(shape, Shape::Map { .. });
        let room = match self.frames.last_mut() {
            None if is_map => Room::Outside,
            None => return Err(no_map("a list")),
            Some(Frame { room, shape: Shape::List }) => match *room {
                Room::Steps if is_map => Room::Step,
                room => room,
            },
            Some(Frame { room, shape: Shape::Map { next, .. } }) => match next.take() {
                // A key that is a list or a map is none that anybody here knows.
                None => {
                    *next = Some(Value::In(if *room == Room::Outside { Room::Outside } else { Room::Data }));
                    Room::Data
                }
                // A slot may be called so as well.
                Some(Value::Called) if *room == Room::Steps => Room::Steps,
                Some(Value::Called) => {
                    let found = if is_map { "a map" } else { "a list" };
                    return Err(ParseError::new("compose.call", "the id of a component", found));
                }
                Some(Value::In(room)) => room,
            },
        };
        self.frames.push(Frame { room, shape });
        Ok(())
    }
}

/// Says what the value of a key is.
fn value_of(room: Room, key: &str) -> Value {
    match (room, key) {
        (Room::Data, _) => Value::In(Room::Data),
        (Room::Step | Room::Steps, "call") => Value::Called,
        (_, "compose") | (Room::Step, "children" | "slots") => Value::In(Room::Steps),
        // A merge brings keys along that nobody has seen.
        (Room::Step | Room::Steps | Room::Outside, "<<") => Value::In(room),
        (Room::Outside, _) => Value::In(Room::Outside),
        // A single step may stand where a map of slots may.
        (Room::Steps, "in" | "out") | (Room::Step, _) => Value::In(Room::Data),
        (Room::Steps, _) => Value::In(Room::Steps),
    }
}

fn no_map(found: &str) -> ParseError {
    ParseError::new("compose.root", "a map with the key compose", found)
}

#[cfg(test)]
mod tests;
