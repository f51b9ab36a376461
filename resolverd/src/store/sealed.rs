//! Small files that nothing can rebuild: a value with the digest of its bytes, so that a flipped bit is damage and never
//! another value. Never touches a disk.
//!
//! **Shape**: `{"schema": "resolverd/…@2", "checksum": "sha256:…", "content": …}`; `checksum` is the digest of the bytes of the
//! schema, a line feed, and the bytes of `content`. Format 1 of every file has that of `content` alone. Another schema is refused
//! like damage, but for one with a higher number whose seal holds: that is what a newer program wrote. This shape is for every
//! format to come.

use catalogue_schema::digest::{Algorithm, Digest};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::store::{StoreError, files};

#[derive(Deserialize)]
struct File<'a> {
    schema: String,
    checksum: Digest,
    #[serde(borrow)]
    content: &'a RawValue,
}

#[derive(Serialize)]
struct FileOut<'a> {
    schema: &'static str,
    checksum: &'a Digest,
    content: &'a RawValue,
}

/// Returns the bytes of the file called `name`; equal values give equal bytes.
pub(super) fn seal(
    name: &str,
    schema: &'static str,
    content: &impl Serialize,
) -> Result<Vec<u8>, StoreError> {
    let json = serde_json::value::to_raw_value(content)
        .map_err(|error| StoreError::Encode { what: name.to_owned(), found: error.to_string() })?;
    let checksum = checksum(Algorithm::Sha256, schema, &json);
    files::encode(name, &FileOut { schema, checksum: &checksum, content: &json })
}

/// Reads the value in a file's bytes; the error says why it cannot be used.
pub(super) fn unseal<T: DeserializeOwned>(schema: &str, bytes: &[u8]) -> Result<T, String> {
    let file: File<'_> = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    if file.schema != schema {
        return Err(format!("schema {:?}", file.schema));
    }
    let found = file.digest();
    if found != file.checksum {
        return Err(format!("its content has digest {found}, expected {}", file.checksum));
    }
    serde_json::from_str(file.content.get()).map_err(|error| error.to_string())
}

/// Tells whether a file's bytes name this schema.
pub(super) fn is_of(schema: &str, bytes: &[u8]) -> bool {
    serde_json::from_slice::<File<'_>>(bytes).is_ok_and(|file| file.schema == schema)
}

/// Returns the schema in a file's bytes where it is one of the same kind as `schema` with a higher number, and the seal holds: a
/// flipped bit of a number is damage.
pub(super) fn newer(schema: &str, bytes: &[u8]) -> Option<String> {
    let file: File<'_> = serde_json::from_slice(bytes).ok()?;
    let (own, found) = (numbered(schema)?, numbered(&file.schema)?);
    let is_newer = own.0 == found.0 && found.1 > own.1 && file.digest() == file.checksum;
    is_newer.then_some(file.schema)
}

impl File<'_> {
    /// Returns what the checksum has to be.
    fn digest(&self) -> Digest {
        checksum(self.checksum.algorithm(), &self.schema, self.content)
    }
}

/// Returns what seals a value.
fn checksum(algorithm: Algorithm, schema: &str, content: &RawValue) -> Digest {
    let content = content.get();
    match numbered(schema) {
        Some((_, 1)) => Digest::of(algorithm, content.as_bytes()),
        _ => Digest::of(algorithm, [schema, "\n", content].concat().as_bytes()),
    }
}

/// Splits a schema into its kind and the number of its format.
fn numbered(schema: &str) -> Option<(&str, u64)> {
    let (kind, number) = schema.rsplit_once('@')?;
    Some((kind, number.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_newer_program_wrote_is_told_from_damage() {
        let check = |written: &'static str, expected: Option<&str>| {
            let sealed = seal("a file", written, &7).expect("sealed");
            assert_eq!(newer("s@2", &sealed).as_deref(), expected, "{written}");
        };
        check("s@1", None);
        check("s@2", None);
        check("s@3", Some("s@3"));
        check("s@10", Some("s@10"));
        check("t@3", None);
        check("s@x", None);
        check("s", None);
        assert_eq!(newer("s@2", b"{\"schema\":\"s@3\"}"), None, "half of a file");
    }

    #[test]
    fn no_flipped_bit_makes_a_newer_program_of_this_one() {
        for written in ["s@1", "s@2"] {
            let sealed = seal("a file", written, &[1_234_567_u64, 89]).expect("sealed");
            for (at, bit) in (0..sealed.len()).flat_map(|at| (0..8).map(move |bit| (at, bit))) {
                let mut bad = sealed.clone();
                bad[at] ^= 1 << bit;
                assert_eq!(newer(written, &bad), None, "{written}: bit {bit} of byte {at}");
            }
            let text = String::from_utf8(sealed).expect("text");
            for other in ["s@1", "s@2", "s@3"].into_iter().filter(|other| *other != written) {
                let renamed = text.replace(written, other);
                assert!(unseal::<Vec<u64>>(other, renamed.as_bytes()).is_err(), "{written} as {other}");
            }
        }
    }

    #[test]
    fn format_1_is_sealed_as_it_always_was() {
        let old = "{\"schema\":\"s@1\",\"checksum\":\"sha256:7902699be42c8a8e46fbbb4501726517e86b22c56a189f7625a6da49081b2451\",\"content\":7}";
        assert_eq!(unseal::<u64>("s@1", old.as_bytes()), Ok(7));
        assert_eq!(seal("a file", "s@1", &7).expect("sealed"), old.as_bytes());
    }

    #[test]
    fn no_flipped_bit_gives_another_value() {
        for (schema, other) in [("s@1", "s@2"), ("s@2", "s@1")] {
            let sealed = seal("a file", schema, &[1_234_567_u64, 89]).expect("sealed");
            assert_eq!(unseal::<Vec<u64>>(schema, &sealed), Ok(vec![1_234_567, 89]));
            assert!(unseal::<Vec<u64>>(other, &sealed).is_err());
            for (at, bit) in (0..sealed.len()).flat_map(|at| (0..8).map(move |bit| (at, bit))) {
                let mut bad = sealed.clone();
                bad[at] ^= 1 << bit;
                let found = unseal::<Vec<u64>>(schema, &bad);
                assert!(
                    found.is_err() || found == Ok(vec![1_234_567, 89]),
                    "bit {bit} of byte {at}: {found:?}"
                );
            }
        }
    }
}
