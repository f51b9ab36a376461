//! Small files that nothing can rebuild: a value with the digest of its bytes, so that a flipped bit is damage and never
//! another value. Never touches a disk.
//!
//! **Shape**: `{"schema": "resolverd/…@1", "checksum": "sha256:…", "content": …}`; `checksum` is the digest of the bytes of
//! `content`. Another schema is refused like damage, but for one with a higher number: that is what a newer program wrote.

use catalogue_schema::digest::Digest;
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
    let checksum = Digest::sha256(json.get().as_bytes());
    files::encode(name, &FileOut { schema, checksum: &checksum, content: &json })
}

/// Reads the value in a file's bytes; the error says why it cannot be used.
pub(super) fn unseal<T: DeserializeOwned>(schema: &str, bytes: &[u8]) -> Result<T, String> {
    let file: File<'_> = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    if file.schema != schema {
        return Err(format!("schema {:?}", file.schema));
    }
    let found = Digest::of(file.checksum.algorithm(), file.content.get().as_bytes());
    if found != file.checksum {
        return Err(format!("its content has digest {found}, expected {}", file.checksum));
    }
    serde_json::from_str(file.content.get()).map_err(|error| error.to_string())
}

/// Tells whether a file's bytes name this schema.
pub(super) fn is_of(schema: &str, bytes: &[u8]) -> bool {
    serde_json::from_slice::<File<'_>>(bytes).is_ok_and(|file| file.schema == schema)
}

/// Returns the schema in a file's bytes where it is one of the same kind as `schema` with a higher number.
pub(super) fn newer(schema: &str, bytes: &[u8]) -> Option<String> {
    let file: File<'_> = serde_json::from_slice(bytes).ok()?;
    let number = |text: &str| -> Option<(String, u64)> {
        let (kind, number) = text.rsplit_once('@')?;
        Some((kind.to_owned(), number.parse().ok()?))
    };
    let (own, found) = (number(schema)?, number(&file.schema)?);
    (own.0 == found.0 && found.1 > own.1).then_some(file.schema)
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
    fn no_flipped_bit_gives_another_value() {
        let sealed = seal("a file", "s@1", &[1_234_567_u64, 89]).expect("sealed");
        assert_eq!(unseal::<Vec<u64>>("s@1", &sealed), Ok(vec![1_234_567, 89]));
        assert!(unseal::<Vec<u64>>("s@2", &sealed).is_err());
        for (at, bit) in (0..sealed.len()).flat_map(|at| (0..8).map(move |bit| (at, bit))) {
            let mut bad = sealed.clone();
            bad[at] ^= 1 << bit;
            let found = unseal::<Vec<u64>>("s@1", &bad);
            assert!(found.is_err() || found == Ok(vec![1_234_567, 89]), "bit {bit} of byte {at}: {found:?}");
        }
    }
}
