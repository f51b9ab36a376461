//! The one strict JSON reader: what every JSON document from outside passes before it is used.
//!
//! Refused, with line and column: invalid UTF-8, duplicate keys (after unescaping), more than [`DEPTH_MAX`] levels,
//! NUL, integers beyond ±(2^53-1), numbers that overflow a float, keys that start with [`RESERVED`], and trailing data. A UTF-8 byte-order mark is skipped.
//! [`check`] walks a document without building it; [`Document`] then turns the whole of it, or one entry at a time, into
//! typed values. A column is where the offending token ends, since that is where a streaming reader notices it.
//!
//! Never repairs, never guesses, and never recurses deeper than [`DEPTH_MAX`].

pub mod plain;

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashSet};
use std::fmt;

use serde::Deserialize;
use serde::de::{self, DeserializeSeed, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::error::{PATH_CHARS_MAX, ParseError, Places, Position, escaped};

/// How deep a document may nest.
pub const DEPTH_MAX: usize = 64;
/// The largest integer that every JSON reader holds exactly: 2^53 - 1.
pub const INTEGER_MAX: u64 = (1 << 53) - 1;
/// Up to this many keys an object's names are compared one by one; beyond it they are hashed.
const KEYS_SCANNED_MAX: usize = 16;

/// Returns the text of a document that passes the rules above.
///
/// **Errors**: `input.duplicate_key`, `input.reserved_key`, `input.depth`, `input.number`, `input.encoding`, `input.json`.
pub fn check(bytes: &[u8]) -> Result<&str, ParseError> {
    let text = text(bytes)?;
    let rules = Rules::default();
    let mut reader = serde_json::Deserializer::from_str(text);
    let walked = Level { rules: &rules, depth: 0 }.deserialize(&mut reader).and_then(|()| reader.end());
    if let Err(error) = walked {
        let fault = rules.fault.take().unwrap_or_else(|| syntax_fault(&error));
        return Err(placed(fault, text, &error));
    }
    match rules.is_wide.get().then(|| wide_integer(text)).flatten() {
        Some((offset, digits)) => Err(not_exact(digits)
            .in_field(path_at(text, offset))
            .at(Position::of(text.as_bytes(), offset + digits.len() - 1))),
        None => Ok(text),
    }
}

/// How keys start that serde_json reads as its own: a value below one is not the object that was written.
pub const RESERVED: &str = "$serde_json::private::";

/// Returns the lines of a JSONL document that are not blank, numbered from 1, without a byte-order mark.
pub fn lines(bytes: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let lines = bytes.split(|byte| *byte == b'\n').zip(1..).map(|(line, number)| (number, line));
    lines.filter(|(_, line)| !line.trim_ascii().is_empty())
}

/// Returns the bytes as text, without a leading byte-order mark.
///
/// **Errors**: `input.encoding` for invalid UTF-8 and for NUL.
fn text(bytes: &[u8]) -> Result<&str, ParseError> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    // `contains` is the fast scan; the slow one runs only where there is something to find.
    if bytes.contains(&0) {
        let offset = bytes.iter().take_while(|byte| **byte != 0).count();
        return Err(
            ParseError::new("input.encoding", "text without NUL", "\0").at(Position::of(bytes, offset))
        );
    }
    std::str::from_utf8(bytes).map_err(|error| {
        let offset = error.valid_up_to();
        let found = format!("byte 0x{:02x}", bytes.get(offset).copied().unwrap_or_default());
        ParseError::new("input.encoding", "UTF-8", found).at(Position::of(bytes, offset))
    })
}

/// Reads a whole document that has passed [`check`] as a typed value.
///
/// **Errors**: `input.field`, with the field and its place.
pub fn document<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, ParseError> {
    typed(text)
}

/// Returns an error about the fields of `text` with the place of the field that it names, where that is written there.
pub fn located(error: ParseError, text: &str) -> ParseError {
    if error.position.is_some() {
        return error;
    }
    match value_of(text, &error.field) {
        Some(value) => {
            let offset = value.as_ptr() as usize - text.as_ptr() as usize;
            error.at(Position::of(text.as_bytes(), offset))
        }
        None => error,
    }
}

/// Returns the value that a field path such as `files[3].sha256` names in `text`, as a slice of it.
fn value_of<'a>(text: &'a str, path: &str) -> Option<&'a str> {
    let mut value = text;
    for step in path.split_inclusive(['.', '[', ']']).map(|step| step.trim_end_matches(['.', '[', ']'])) {
        value = match step.parse() {
            _ if step.is_empty() => value,
            Ok(index) if value.starts_with('[') => {
                serde_json::from_str::<Vec<&RawValue>>(value).ok()?.into_iter().nth(index)?.get()
            }
            _ => {
                let fields: BTreeMap<Cow<'_, str>, &RawValue> = serde_json::from_str(value).ok()?;
                fields.into_iter().find(|(name, _)| name == step)?.1.get()
            }
        };
    }
    Some(value)
}

/// Returns an error about a part of a document, which starts at `start`, with its place in the whole: the start where it had
/// none.
pub fn moved(mut error: ParseError, start: Position) -> ParseError {
    error.position = Some(match error.position {
        None => start,
        Some(inner) if inner.line == 1 => {
            Position { line: start.line, column: (start.column - 1).saturating_add(inner.column) }
        }
        Some(inner) => Position { line: (start.line - 1).saturating_add(inner.line), ..inner },
    });
    error
}

/// A checked document whose entries are read one by one, so that a bad one spoils only itself.
#[derive(Debug)]
pub struct Document<'a> {
    text: &'a str,
    places: Places<'a>,
}

impl<'a> Document<'a> {
    /// Takes the text that [`check`] returned.
    pub fn of(text: &'a str) -> Document<'a> {
        Document { text, places: Places::of(text.as_bytes()) }
    }

    /// Reads one entry.
    ///
    /// **Errors**: `input.field`, with the field inside the entry and its place in the whole document.
    pub fn entry<'e, T: Deserialize<'e>>(&self, raw: &'e RawValue) -> Result<T, ParseError> {
        typed(raw.get()).map_err(|error| self.in_entry(error, raw))
    }

    /// Returns an error about `raw` with its place in the whole document: that of the field it names, else the entry's start.
    pub fn in_entry(&self, error: ParseError, raw: &RawValue) -> ParseError {
        let error = located(error, raw.get());
        match self.position(raw.get()) {
            Some(start) => moved(error, start),
            None => error,
        }
    }

    /// Returns the place of `part`, which must be a slice of this document's own text; `None` for any other text.
    pub fn position(&self, part: &str) -> Option<Position> {
        let offset = (part.as_ptr() as usize).checked_sub(self.text.as_ptr() as usize)?;
        if offset.checked_add(part.len())? > self.text.len() {
            return None;
        }
        Some(self.places.at(offset))
    }
}

/// What one walk over a document has found out.
#[derive(Default)]
struct Rules {
    fault: RefCell<Option<ParseError>>,
    /// A float beyond 2^53 was seen, which may be an integer literal that no u64 holds.
    is_wide: Cell<bool>,
}

impl Rules {
    fn refuse<E: de::Error>(&self, fault: ParseError) -> E {
        self.fault.borrow_mut().get_or_insert(fault);
        E::custom("refused")
    }
}

/// One value of the document, `depth` levels below its root.
struct Level<'r> {
    rules: &'r Rules,
    depth: usize,
}

impl Level<'_> {
    fn below<E: de::Error>(&self) -> Result<Level<'_>, E> {
        if self.depth == DEPTH_MAX {
            return Err(self.rules.refuse(ParseError::new("input.depth", "at most 64 levels", "65 levels")));
        }
        Ok(Level { rules: self.rules, depth: self.depth + 1 })
    }
}

impl<'de> DeserializeSeed<'de> for Level<'_> {
    type Value = ();

    fn deserialize<D: de::Deserializer<'de>>(self, reader: D) -> Result<(), D::Error> {
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Level<'_> {
    type Value = ();

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<(), E> {
        if number > INTEGER_MAX {
            return Err(self.rules.refuse(not_exact(&number.to_string())));
        }
        Ok(())
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<(), E> {
        if number.unsigned_abs() > INTEGER_MAX {
            return Err(self.rules.refuse(not_exact(&number.to_string())));
        }
        Ok(())
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<(), E> {
        if !number.is_finite() {
            return Err(self.rules.refuse(not_exact(&number.to_string())));
        }
        if number.abs() > INTEGER_MAX as f64 {
            self.rules.is_wide.set(true);
        }
        Ok(())
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<(), E> {
        without_nul(self.rules, text)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        while items.next_element_seed(self.below()?)?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        let mut seen = Seen::default();
        while let Some(key) = {
            self.below::<A::Error>()?;
            entries.next_key_seed(Key(self.rules))?
        } {
            if key.starts_with(RESERVED) {
                let fault =
                    ParseError::new("input.reserved_key", "a key that no reader keeps for itself", key);
                return Err(self.rules.refuse(fault));
            }
            if let Err(key) = seen.insert(key) {
                let fault = ParseError::new("input.duplicate_key", "every key once", key);
                return Err(self.rules.refuse(fault));
            }
            entries.next_value_seed(self.below()?)?;
        }
        Ok(())
    }
}

/// A key of an object, unescaped.
struct Key<'r>(&'r Rules);

impl<'de> DeserializeSeed<'de> for Key<'_> {
    type Value = Cow<'de, str>;

    fn deserialize<D: de::Deserializer<'de>>(self, reader: D) -> Result<Cow<'de, str>, D::Error> {
        reader.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Key<'_> {
    type Value = Cow<'de, str>;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a key")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Cow<'de, str>, E> {
        Ok(Cow::Borrowed(text))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Cow<'de, str>, E> {
        without_nul(self.0, text)?;
        Ok(Cow::Owned(text.to_owned()))
    }
}

/// The keys of one object so far.
#[derive(Default)]
struct Seen<'de> {
    few: Vec<Cow<'de, str>>,
    many: HashSet<Cow<'de, str>>,
}

impl<'de> Seen<'de> {
    /// Remembers a key; gives it back when it was there.
    fn insert(&mut self, key: Cow<'de, str>) -> Result<(), Cow<'de, str>> {
        if self.few.contains(&key) || self.many.contains(&key) {
            return Err(key);
        }
        if self.few.len() < KEYS_SCANNED_MAX {
            self.few.push(key);
        } else {
            self.many.insert(key);
        }
        Ok(())
    }
}

/// Raw NUL never gets here, so only a text that was unescaped can hold one.
fn without_nul<E: de::Error>(rules: &Rules, text: &str) -> Result<(), E> {
    if text.contains('\0') {
        return Err(rules.refuse(ParseError::new("input.encoding", "a string without NUL", text)));
    }
    Ok(())
}

fn not_exact(digits: &str) -> ParseError {
    ParseError::new(
        "input.number",
        "a number that every reader holds exactly, up to 9007199254740991",
        digits,
    )
}

/// Names the rule behind an error of the JSON grammar, which serde_json tells by its words only.
fn syntax_fault(error: &serde_json::Error) -> ParseError {
    let message = error.to_string();
    let message = without_place(&message);
    let json = |expected: &str, found: &str| ParseError::new("input.json", expected, found);
    match message {
        "number out of range" => not_exact(message),
        "lone leading surrogate in hex escape"
        | "unexpected end of hex escape"
        | "invalid unicode code point" => {
            ParseError::new("input.encoding", "escapes of whole characters", message)
        }
        _ if error.is_eof() => json("a whole JSON document", "the end of the text"),
        "trailing characters" => json("the end of the document behind its first value", "more text"),
        "trailing comma" => json("a value behind the comma", "none"),
        "key must be a string" => json("a key in double quotes", "something else"),
        "expected value" | "expected ident" => json("a JSON value", "something else"),
        _ => match message.strip_prefix("expected ") {
            Some(expected) => json(expected, "something else"),
            None => json("JSON", message),
        },
    }
}

/// Finds an integer literal beyond ±(2^53-1) in text that is known to be JSON.
fn wide_integer(text: &str) -> Option<(usize, &str)> {
    let mut tokens = Tokens { bytes: text.as_bytes(), next: 0 };
    while let Some((start, end)) = tokens.step() {
        let token = &text[start..end];
        let digits = token.strip_prefix('-').unwrap_or(token);
        if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) {
            let is_exact = digits.parse().is_ok_and(|number: u64| number <= INTEGER_MAX);
            if !is_exact {
                return Some((start, token));
            }
        }
    }
    None
}

fn typed<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, ParseError> {
    serde_json::from_str(text).map_err(|error| placed(field_fault(&error), text, &error))
}

/// Turns serde's sentence into what was expected and what was found.
fn field_fault(error: &serde_json::Error) -> ParseError {
    let message = error.to_string();
    let message = without_place(&message);
    let named = |rest: &str| {
        rest.strip_prefix('`').and_then(|rest| rest.split_once('`')).map(|(name, _)| name.to_owned())
    };
    if let Some(name) = message.strip_prefix("missing field ").and_then(named) {
        return ParseError::new("input.field", "this field", "nothing").in_field(name);
    }
    if let Some(name) = message.strip_prefix("duplicate field ").and_then(named) {
        return ParseError::new("input.field", "this field once, in one spelling", "two").in_field(name);
    }
    // A Rust struct may be written as an array of its fields, which no document means.
    if message.starts_with("invalid length ") && message.contains(", expected struct ") {
        return ParseError::new("input.field", "an object", "array");
    }
    // What a text says is of no help where none was expected, and it may be somebody's secret.
    if let Some(rest) = message.strip_prefix("invalid type: string ")
        && let Some((_, expected)) = rest.rsplit_once(", expected ")
    {
        return ParseError::new("input.field", plain(expected), "string");
    }
    for kind in ["invalid type: ", "invalid value: ", "unknown field ", "unknown variant "] {
        if let Some((found, expected)) =
            message.strip_prefix(kind).and_then(|rest| rest.rsplit_once(", expected "))
        {
            return ParseError::new("input.field", plain(expected), plain(unticked(found)));
        }
    }
    ParseError::new("input.field", "a value that its reader takes", message)
}

/// Says in the words of JSON what serde says in those of Rust.
fn plain(words: &str) -> &str {
    match words {
        "i64" => "an integer",
        "u64" => "an integer that is not negative",
        "a sequence" => "an array",
        "a map" => "an object",
        "sequence" => "array",
        "map" => "object",
        words if words.starts_with("struct ") => "an object",
        words => words,
    }
}

/// Takes the quotes off a whole name; a value such as `integer `7`` keeps them.
fn unticked(found: &str) -> &str {
    found.strip_prefix('`').and_then(|rest| rest.strip_suffix('`')).unwrap_or(found)
}

fn without_place(message: &str) -> &str {
    message.rfind(" at line ").map_or(message, |end| &message[..end])
}

/// Adds the place that serde_json noticed, and the path of the field that ends there.
fn placed(fault: ParseError, text: &str, error: &serde_json::Error) -> ParseError {
    if error.line() == 0 {
        return fault;
    }
    let place = Position { line: error.line(), column: error.column().max(1) };
    let start = text.split_inclusive('\n').take(place.line - 1).map(str::len).sum::<usize>();
    fault.in_field(path_at(text, start + place.column - 1)).at(place)
}

/// Returns the path of the value or key at byte `offset`, such as `components[3].id`; the text may be broken behind it.
fn path_at(text: &str, offset: usize) -> String {
    let mut tokens = Tokens { bytes: text.as_bytes(), next: 0 };
    let mut open: Vec<Step> = Vec::new();
    while let Some((start, end)) = tokens.step() {
        if start > offset {
            break;
        }
        match (&text.as_bytes()[start], open.last_mut()) {
            (b'{', _) => open.push(Step::Key { token: None, is_value: false }),
            (b'[', _) => open.push(Step::Index(0)),
            (b'}' | b']', _) => {
                open.pop();
            }
            (b',', Some(Step::Index(index))) => *index += 1,
            (b',', Some(Step::Key { token, is_value })) => (*token, *is_value) = (None, false),
            (b':', Some(Step::Key { is_value, .. })) => *is_value = true,
            (b'"', Some(Step::Key { token, is_value: false })) => *token = Some((start, end)),
            _ => {}
        }
    }
    let path = open.iter().fold(String::new(), |path, step| step.below(path, text));
    match path.char_indices().rev().nth(PATH_CHARS_MAX) {
        Some((at, first)) => format!("…{}", &path[at + first.len_utf8()..]),
        None => path,
    }
}

/// Where a walk stands inside one object or array.
enum Step {
    Index(usize),
    Key { token: Option<(usize, usize)>, is_value: bool },
}

impl Step {
    fn below(&self, path: String, text: &str) -> String {
        match self {
            Step::Index(index) => format!("{path}[{index}]"),
            Step::Key { token: None, .. } => path,
            Step::Key { token: Some((start, end)), .. } => {
                let token = &text[*start..*end];
                let key = serde_json::from_str(token).unwrap_or_else(|_| token.to_owned());
                let dot = if path.is_empty() { "" } else { "." };
                format!("{path}{dot}{}", escaped(&key))
            }
        }
    }
}

/// The tokens of a JSON text as byte ranges. Every range lies on character borders, since tokens end at ASCII bytes.
struct Tokens<'a> {
    bytes: &'a [u8],
    next: usize,
}

impl Tokens<'_> {
    fn step(&mut self) -> Option<(usize, usize)> {
        let is_space = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\n' | b'\r');
        let start = self.next + self.bytes.get(self.next..)?.iter().position(|byte| !is_space(byte))?;
        let rest = &self.bytes[start..];
        let length = match rest {
            [b'{' | b'}' | b'[' | b']' | b',' | b':', ..] => 1,
            [b'"', inner @ ..] => string_length(inner) + 1,
            _ => rest
                .iter()
                .position(|byte| is_space(byte) || b"{}[],:\"".contains(byte))
                .unwrap_or(rest.len()),
        };
        self.next = start + length;
        Some((start, self.next))
    }
}

/// Returns how many bytes a string takes behind its opening quote, with the closing one.
fn string_length(inner: &[u8]) -> usize {
    let mut is_escaped = false;
    for (index, byte) in inner.iter().enumerate() {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = true,
            b'"' => return index + 1,
            _ => {}
        }
    }
    inner.len()
}

#[cfg(test)]
mod tests;
