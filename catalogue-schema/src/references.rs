//! References as one text: what a release requires is read, sorted, handed on and packed, and hardly ever looked at one by one.
//! Never holds anything that is no reference.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::id::{REFERENCE_BYTES_MAX, Reference};

/// References in an order.
///
/// **Shape**: what stands in a JSON array of them, `"lcod://ns/a@^1","lcod://ns/b"`; each is printed canonically, and none holds
/// anything that JSON escapes.
#[derive(Clone, Default)]
pub struct References(String);

impl References {
    /// None at all.
    pub const NONE: &'static References = &References(String::new());

    /// Returns the references of these texts sorted by id, where each of them is one beyond doubt, and no id comes twice; `None`
    /// says nothing about any of them.
    ///
    /// Beyond doubt is an LCOD id with a bare version or comparator behind it: nearly every requirement of a manifest.
    pub(crate) fn plain<'a>(texts: impl ExactSizeIterator<Item = &'a str>) -> Option<References> {
        let mut all = Vec::with_capacity(texts.len());
        let mut length = 0;
        for text in texts {
            all.push((plain_id(text)?, text));
            length += text.len() + "\"\",".len();
        }
        let is_in_order = |all: &[(&str, &str)]| all.is_sorted_by(|(one, _), (next, _)| one < next);
        if !is_in_order(&all) {
            all.sort_unstable();
            is_in_order(&all).then_some(())?;
        }
        let mut items = String::with_capacity(length);
        for (_, text) in all {
            push(&mut items, |items| items.push_str(text));
        }
        Some(References(items))
    }

    /// Returns them as they stand in a JSON array.
    pub(crate) fn items(&self) -> &str {
        &self.0
    }

    /// Tells whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns their texts.
    pub fn texts(&self) -> impl Iterator<Item = &str> {
        // Between two quotes stands a text, or the comma behind one.
        self.0.split('"').skip(1).step_by(2)
    }

    /// Reads them.
    pub fn iter(&self) -> impl Iterator<Item = Reference> {
        // Nothing but what can be read is put in here.
        self.texts().filter_map(|text| Reference::parse(text).ok())
    }
}

fn push(items: &mut String, write: impl FnOnce(&mut String)) {
    items.push_str(if items.is_empty() { "\"" } else { ",\"" });
    write(items);
    items.push('"');
}

impl From<Vec<Reference>> for References {
    fn from(references: Vec<Reference>) -> References {
        let mut items = String::new();
        for Reference { id, requirement } in &references {
            push(&mut items, |items| {
                items.push_str(id.as_text());
                if !requirement.as_text().is_empty() {
                    items.push('@');
                    items.push_str(requirement.as_text());
                }
            });
        }
        References(items)
    }
}

/// Requirements that mean the same are the same, however they are written.
impl PartialEq for References {
    fn eq(&self, other: &References) -> bool {
        self.0 == other.0 || self.iter().eq(other.iter())
    }
}

impl fmt::Debug for References {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_list().entries(self.texts()).finish()
    }
}

impl Serialize for References {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        out.collect_seq(self.texts())
    }
}

impl<'de> Deserialize<'de> for References {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<References, D::Error> {
        Vec::<Reference>::deserialize(from).map(References::from)
    }
}

/// Returns the id of a reference that is beyond doubt.
fn plain_id(text: &str) -> Option<&str> {
    let at = text.bytes().rposition(|byte| byte == b'@').filter(|_| text.len() <= REFERENCE_BYTES_MAX)?;
    let (id, requirement) = text.split_at_checked(at)?;
    // The second slash of the scheme stands before the first segment, and the sign behind the last one.
    let path = text.as_bytes().get("lcod:/".len()..=at)?;
    let is_plain = id.starts_with("lcod://")
        && path.iter().skip(1).any(|byte| *byte == b'/')
        && are_segments(path)
        && is_plain_requirement(requirement.as_bytes().get(1..)?);
    is_plain.then_some(id)
}

/// How many bytes are looked at together.
const PIECE: usize = 16;

/// Tells whether each byte but the last may be part of an id, and what stands behind a slash may begin a segment. Looks at many bytes
/// at once, and at some twice: of all that is read of a manifest, most is what it requires.
fn are_segments(path: &[u8]) -> bool {
    let (Some((_, next)), Some((_, bytes))) = (path.split_first(), path.split_last()) else { return false };
    let (Some(last), Some(last_next)) = (bytes.last_chunk(), next.last_chunk()) else {
        return bytes.iter().zip(next).all(|(byte, next)| is_fine(*byte, *next));
    };
    let pieces = bytes.as_chunks().0.iter().zip(next.as_chunks().0);
    pieces.fold(is_fine_piece(last, last_next), |is_fine, (bytes, next)| is_fine & is_fine_piece(bytes, next))
}

fn is_fine_piece(bytes: &[u8; PIECE], next: &[u8; PIECE]) -> bool {
    let mut faults = 0;
    for (byte, next) in bytes.iter().zip(next) {
        faults |= u8::from(!is_fine(*byte, *next));
    }
    faults == 0
}

fn is_fine(byte: u8, next: u8) -> bool {
    // The signs - . / and the digits stand side by side.
    let is_part = (byte.wrapping_sub(b'a') < 26) | (byte.wrapping_sub(b'-') < 13) | (byte == b'_');
    is_part & ((byte != b'/') | is_alphanumeric(next))
}

fn is_alphanumeric(byte: u8) -> bool {
    (byte.wrapping_sub(b'a') < 26) | (byte.wrapping_sub(b'0') < 10)
}

/// The most digits of a number that fits whatever it is read into.
const DIGITS_MAX: usize = 15;

/// Tells whether a requirement is up to three numbers with a comparator before them or none: it is printed as it is written.
fn is_plain_requirement(text: &[u8]) -> bool {
    let mut rest = match text {
        [b'>' | b'<', b'=', rest @ ..] | [b'>' | b'<' | b'=' | b'^' | b'~', rest @ ..] => rest,
        all => all,
    };
    for _ in 0..3 {
        let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let is_number = (1..=DIGITS_MAX).contains(&digits) && (digits == 1 || rest.first() != Some(&b'0'));
        match rest.split_at(digits).1 {
            _ if !is_number => return false,
            [] => return true,
            [b'.', behind @ ..] => rest = behind,
            _ => return false,
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::id::ComponentId;
    use crate::version::{Grammar, VersionReq};

    fn strict(texts: &[&str]) -> Option<Vec<Reference>> {
        texts.iter().map(|text| Reference::parse(text).ok()).collect()
    }

    /// What is plain is what the strict reader makes of it.
    fn check(texts: &[&str]) -> bool {
        let Some(plain) = References::plain(texts.iter().copied()) else { return false };
        let mut read = strict(texts).unwrap_or_else(|| panic!("plain and no reference: {texts:?}"));
        read.sort_by(|one, other| one.id.cmp(&other.id));
        assert!(read.is_sorted_by(|one, next| one.id < next.id), "{texts:?}");
        let references = References::from(read.clone());
        assert_eq!(plain.items(), references.items());
        assert_eq!(plain, references);
        assert!(plain.iter().eq(read));
        true
    }

    #[test]
    fn what_is_beyond_doubt_is_plain_and_nothing_else() {
        for plain in [
            "lcod://n/x@1",
            "lcod://n/x@1.2",
            "lcod://n/x@1.2.3",
            "lcod://n/x@>=1.0.0",
            "lcod://n/x@<=0.10",
            "lcod://n/x@^0",
            "lcod://n/x@~10.20.30",
            "lcod://n/x@=1",
            "lcod://n/x@>1",
            "lcod://0/9-_./a@<999999999999999",
        ] {
            assert!(check(&[plain]), "{plain}");
        }
        let long = format!("lcod://n/{}@1", "x".repeat(REFERENCE_BYTES_MAX));
        for other in [
            "",
            "lcod://n/x",
            "lcod://n/x@",
            "lcod://n@1",
            "lcod://n//x@1",
            "lcod:///x@1",
            "lcod://n/@1",
            "lcod://n/-x@1",
            "lcod://n/.@1",
            "lcod://n/X@1",
            "lcod://n/é@1",
            "lcod://n/x@1@2",
            "lcod://n/x@01",
            "lcod://n/x@1.",
            "lcod://n/x@1.2.3.4",
            "lcod://n/x@1.x",
            "lcod://n/x@*",
            "lcod://n/x@v1",
            "lcod://n/x@1.0.0-rc.1",
            "lcod://n/x@> 1",
            "lcod://n/x@>=1, <2",
            "lcod://n/x@==1",
            "lcod://n/x@<>1",
            "lcod://n/x@1000000000000000",
            "lcod://n/x@latest",
            "estream:x@1",
            "n/x@1",
            "lcod://n/x\"@1",
            &long,
        ] {
            assert!(!check(&[other]), "{other}");
        }
        assert!(check(&[]) && References::default().is_empty());
        assert!(check(&["lcod://n/b@1", "lcod://n/a-c@1", "lcod://n/a@^2"]));
        assert!(!check(&["lcod://n/b@1", "lcod://n/a@1", "lcod://n/b@2"]));
    }

    #[test]
    fn all_of_them_are_written_and_read_back() {
        let texts = ["estream:x@^1.0, <3", "lcod://n/x", "flowctl:n/x@*"];
        let read = strict(&texts).expect("references");
        let references = References::from(read.clone());
        assert!(references.texts().eq(texts) && references.iter().eq(read));
        let json = serde_json::to_string(&references).expect("text");
        assert_eq!(json, format!("[{}]", references.items()));
        assert_eq!(serde_json::from_str::<References>(&json).expect("references"), references);
        // The same in other words.
        let other = References::from(strict(&["lcod://n/x@1.2.3"]).expect("references"));
        assert_eq!(other, References::from(strict(&["lcod://n/x@=1.2.3"]).expect("references")));
        assert_ne!(other, references);
    }

    #[test]
    fn what_would_be_too_long_to_be_read_again_is_refused() {
        let id = format!("lcod://n/{}", "x".repeat(300));
        let of = |ors: usize| {
            let requirement = vec![">=1.0.0"; ors].join(", ");
            let requirement = VersionReq::parse(&requirement, Grammar::Reference).expect("a requirement");
            Reference::of(ComponentId::parse(&id).expect("an id"), requirement)
        };
        let short = of(20).expect("a reference");
        assert!(References::from(vec![short.clone()]).iter().eq([short]));
        assert_eq!(of(28).expect_err("too long").reason, "input.reference");
    }

    proptest! {
        #[test]
        fn whatever_is_plain_is_a_reference(texts in prop::collection::vec("lcod://[a-c_/.-]{1,4}[a-z0-9]@[<>=^~]{0,2}[0-9]{1,2}[.0-9]{0,4}", 0..4)) {
            let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
            check(&texts);
        }
    }
}
