//! A quick reader of plain JSON: one walk, no copies, for documents that are as nearly all of them are.
//!
//! Plain is: no escape in any text, no fraction, exponent or sign, no integer above 15 digits, at most
//! [`DEPTH_MAX`] levels, and no key twice. Everything plain passes [`check`](crate::json::check) and means the same to the
//! typed readers. Says of nothing that it is wrong: what is not plain is `None` here, and the strict reader decides about it.

use serde_json::{Map, Value};

use crate::json::RESERVED;

/// How deep a plain document may nest; a strict one may go deeper.
const DEPTH_MAX: u8 = 16;
/// The most digits of a plain integer: every number of that many is exact.
const DIGITS_MAX: usize = 15;
/// The most fields of one object that are carried through; their names are compared one by one.
const CARRIED_MAX: usize = 32;

#[cfg(test)]
thread_local! {
    /// Leaves everything to the strict reader, so that tests can compare.
    pub(crate) static STRICT_ONLY: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}

/// A place in a document that is plain so far.
#[derive(Debug)]
pub struct Plain<'a> {
    text: &'a str,
    at: usize,
    depth: u8,
}

/// The fields of an object that its reader carries through.
pub type Carried = Vec<(String, Value)>;

/// Reads a whole document; `None` when it is not plain, or when `read` does not take it.
pub fn document<'a, T>(text: &'a str, read: impl FnOnce(&mut Plain<'a>) -> Option<T>) -> Option<T> {
    #[cfg(test)]
    if STRICT_ONLY.get() {
        return None;
    }
    let mut plain = Plain { text, at: 0, depth: 0 };
    let value = read(&mut plain)?;
    plain.space();
    (plain.at == text.len()).then_some(value)
}

/// Puts the value of a field into its place; `None` where it was there already or is not plain.
pub fn once<T>(place: &mut Option<T>, value: Option<T>) -> Option<()> {
    if place.is_some() {
        return None;
    }
    *place = Some(value?);
    Some(())
}

/// Carries a field through; `None` where it was there already.
pub fn carry(fields: &mut Carried, name: &str, value: Value) -> Option<()> {
    if fields.len() == CARRIED_MAX || fields.iter().any(|(known, _)| known == name) {
        return None;
    }
    fields.push((name.to_owned(), value));
    Some(())
}

impl<'a> Plain<'a> {
    /// Reads an object: `field` is given each name, and reads its value. That no name comes twice is for `field` to see to.
    pub fn object(&mut self, mut field: impl FnMut(&mut Plain<'a>, &'a str) -> Option<()>) -> Option<()> {
        self.open(b'{')?;
        if self.closes(b'}') {
            return Some(());
        }
        loop {
            let name = self.text()?;
            let is_fine = self.token()? == b':' && !name.starts_with(RESERVED);
            is_fine.then_some(())?;
            field(self, name)?;
            match self.token()? {
                b',' => {}
                b'}' => break,
                _ => return None,
            }
        }
        self.depth -= 1;
        Some(())
    }

    /// Reads an array: `item` reads each of its items.
    pub fn array(&mut self, mut item: impl FnMut(&mut Plain<'a>) -> Option<()>) -> Option<()> {
        self.open(b'[')?;
        if self.closes(b']') {
            return Some(());
        }
        loop {
            item(self)?;
            match self.token()? {
                b',' => {}
                b']' => break,
                _ => return None,
            }
        }
        self.depth -= 1;
        Some(())
    }

    /// Reads a value, and returns the text that it was read from beside it.
    pub fn spelled<T>(&mut self, read: impl FnOnce(&mut Plain<'a>) -> Option<T>) -> Option<(T, &'a str)> {
        self.space();
        let start = self.at;
        let value = read(self)?;
        Some((value, self.text.get(start..self.at)?))
    }

    /// Reads a text without escapes.
    pub fn text(&mut self) -> Option<&'a str> {
        (self.token()? == b'"').then_some(())?;
        let rest = self.text.as_bytes().get(self.at..)?;
        let length = text_length(rest)?;
        let start = self.at;
        self.at += length + 1;
        self.text.get(start..start + length)
    }

    /// Reads an integer that is not negative.
    pub fn integer(&mut self) -> Option<u64> {
        self.space();
        let rest = self.text.as_bytes().get(self.at..)?;
        let digits = rest.iter().take(DIGITS_MAX + 1).take_while(|byte| byte.is_ascii_digit()).count();
        let is_plain = match rest {
            [b'0', ..] => digits == 1,
            _ => (1..=DIGITS_MAX).contains(&digits),
        };
        if !is_plain || matches!(rest.get(digits), Some(b'.' | b'e' | b'E')) {
            return None;
        }
        self.at += digits;
        Some(rest[..digits].iter().fold(0, |number, digit| number * 10 + u64::from(digit - b'0')))
    }

    /// Reads `true` or `false`.
    pub fn truth(&mut self) -> Option<bool> {
        if self.word("true") {
            return Some(true);
        }
        self.word("false").then_some(false)
    }

    /// Reads any plain value.
    pub fn value(&mut self) -> Option<Value> {
        self.space();
        match self.text.as_bytes().get(self.at)? {
            b'"' => self.text().map(|text| Value::String(text.to_owned())),
            b'{' => {
                let mut fields = Map::new();
                self.object(|plain, name| {
                    let value = plain.value()?;
                    fields.insert(name.to_owned(), value).is_none().then_some(())
                })?;
                Some(Value::Object(fields))
            }
            b'[' => {
                let mut items = Vec::new();
                self.array(|plain| {
                    items.push(plain.value()?);
                    Some(())
                })?;
                Some(Value::Array(items))
            }
            b'n' => self.word("null").then_some(Value::Null),
            b't' | b'f' => self.truth().map(Value::Bool),
            _ => self.integer().map(Value::from),
        }
    }

    fn word(&mut self, word: &str) -> bool {
        self.space();
        let is_there =
            self.text.as_bytes().get(self.at..).is_some_and(|rest| rest.starts_with(word.as_bytes()));
        if is_there {
            self.at += word.len();
        }
        is_there
    }

    fn open(&mut self, bracket: u8) -> Option<()> {
        (self.token()? == bracket && self.depth < DEPTH_MAX).then_some(())?;
        self.depth += 1;
        Some(())
    }

    fn closes(&mut self, bracket: u8) -> bool {
        self.space();
        let closes = self.text.as_bytes().get(self.at) == Some(&bracket);
        if closes {
            self.at += 1;
            self.depth -= 1;
        }
        closes
    }

    /// Takes the next byte that is no space.
    fn token(&mut self) -> Option<u8> {
        self.space();
        let byte = *self.text.as_bytes().get(self.at)?;
        self.at += 1;
        Some(byte)
    }

    fn space(&mut self) {
        while let Some(b' ' | b'\n' | b'\t' | b'\r') = self.text.as_bytes().get(self.at) {
            self.at += 1;
        }
    }
}

/// Returns how long the text is that starts here, up to its closing quote; `None` for one that escapes something, holds a
/// control character or does not end.
fn text_length(rest: &[u8]) -> Option<usize> {
    let at = first_stop(rest)?;
    (rest.get(at) == Some(&b'"')).then_some(at)
}

/// Tells whether a text can be written in quotes as it is.
pub(crate) fn is_plain(text: &[u8]) -> bool {
    first_stop(text).is_none()
}

/// Returns where the first quote, backslash or control character stands.
fn first_stop(rest: &[u8]) -> Option<usize> {
    // Eight bytes at a time: a byte of `stops` has its highest bit set where a quote, a backslash or a control character
    // stands. Borrows may set the bits of bytes behind such a one, never of bytes before it.
    const ONES: u64 = u64::from_le_bytes([1; 8]);
    const HIGHS: u64 = u64::from_le_bytes([0x80; 8]);
    const QUOTES: u64 = u64::from_le_bytes([b'"'; 8]);
    const BACKSLASHES: u64 = u64::from_le_bytes([b'\\'; 8]);
    const SPACES: u64 = u64::from_le_bytes([b' '; 8]);
    let zeros = |word: u64| word.wrapping_sub(ONES) & !word & HIGHS;
    let (words, tail) = rest.as_chunks::<8>();
    for (index, bytes) in words.iter().enumerate() {
        let word = u64::from_le_bytes(*bytes);
        let controls = word.wrapping_sub(SPACES) & !word & HIGHS;
        let stops = zeros(word ^ QUOTES) | zeros(word ^ BACKSLASHES) | controls;
        if stops != 0 {
            return Some(index * 8 + (stops.trailing_zeros() / 8) as usize);
        }
    }
    let at = tail.iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..b' '))?;
    Some(words.len() * 8 + at)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> Option<Value> {
        document(text, Plain::value)
    }

    fn check(text: &str, expected: bool) {
        assert_eq!(read(text).is_some(), expected, "{text}");
    }

    #[test]
    fn what_is_plain_is_taken_and_nothing_else() {
        for plain in [
            r#" { "a" : [ 1 , "é" , true , null , { } ] , "b" : [ ] } "#,
            "0",
            "999999999999999",
            "\"\u{7f}\"",
        ] {
            check(plain, true);
        }
        let deep = |levels| "[".repeat(levels) + &"]".repeat(levels);
        check(&deep(usize::from(DEPTH_MAX)), true);
        check(&deep(usize::from(DEPTH_MAX) + 1), false);
        for other in [
            "",
            " ",
            "{",
            "[1",
            "[1,]",
            "{\"a\":1,}",
            "{\"a\"}",
            "{a:1}",
            "1 2",
            "01",
            "00",
            "-1",
            "1.0",
            "1e3",
            "1E3",
            "1000000000000000",
            "\"\\n\"",
            "\"\\\"\"",
            "\"\n\"",
            "\"\u{0}\"",
            "\"long text with a tab\tin it\"",
            "\"open",
            "{\"a\":1,\"a\":2}",
            "nul",
            "truefalse",
            "\u{feff}{}",
            "[1 2]",
            "{\"a\":1 \"b\":2}",
            "[,]",
            "+1",
        ] {
            check(other, false);
        }
    }

    #[test]
    fn a_text_ends_where_it_ends_whatever_stands_around() {
        for before in 0..20 {
            for stop in ["\"", "\\\"", "\t\"", "é\"", "\u{7f}\""] {
                let text = format!("\"{}{stop}        ", "x".repeat(before));
                let strict = serde_json::from_str::<String>(&text).ok().filter(|_| !stop.starts_with('\\'));
                assert_eq!(read(&text), strict.map(Value::String), "{text:?}");
            }
        }
    }

    fn any_json() -> impl Strategy<Value = String> {
        let leaf = prop::sample::select(vec![
            "1",
            "0",
            "-1",
            "1.5",
            "12345678901234567",
            "\"a\"",
            "\"long enough for a word of eight\"",
            "\"\\u0041\"",
            "\"é\"",
            "true",
            "false",
            "null",
            "\"a\\\"b\"",
        ])
        .prop_map(str::to_owned);
        leaf.prop_recursive(4, 24, 4, |inner| {
            let item = prop::collection::vec(inner.clone(), 0..4);
            let field =
                prop::collection::vec((prop::sample::select(vec!["a", "b", "\\u0061", "c"]), inner), 0..4);
            prop_oneof![
                item.prop_map(|items| format!("[{}]", items.join(" , "))),
                field.prop_map(|fields| {
                    let fields: Vec<String> =
                        fields.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
                    format!("{{{}}}", fields.join(","))
                }),
            ]
        })
    }

    proptest! {
        #[test]
        fn whatever_is_plain_is_the_same_to_the_strict_reader(
            text in any_json(),
            cuts in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3),
        ) {
            let mut bytes = text.into_bytes();
            for (at, byte) in cuts {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            let plain = std::str::from_utf8(&bytes).ok().and_then(|text| document(text, Plain::value));
            if let Some(value) = plain {
                let text = crate::json::check(&bytes).expect("plain is strict");
                prop_assert_eq!(value, serde_json::from_str::<Value>(text).expect("a value"));
            }
        }
    }
}
