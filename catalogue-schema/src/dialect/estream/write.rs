//! The documents of a registry, written: `metadata.json`, `publishers/{name}.json`, `SIGNATURE.ml-dsa`, `checksum.sha3`.
//!
//! **Shape**: JSON with the fields in the order in which seed 002 lists them, those that it does not know behind them by name, two
//! spaces a level and a newline at the end; versions oldest first. Whatever a document holds besides what is changed stays. What is
//! written here the readers of this folder take: each document is read again before it is given out.
//!
//! Never reads a clock, and computes nothing with keys.

use serde::ser::{SerializeMap as _, SerializeSeq as _};
use serde::{Serialize, Serializer};
use serde_json::{Map, Value, json};

use crate::dialect::estream::document::{ALGORITHM, MetadataDocument};
use crate::dialect::estream::publisher;
use crate::digest::{Digest, hex};
use crate::error::ParseError;
use crate::json;
use crate::key::PublicKey;
use crate::version::Version;

/// The reason of a change to a publisher's record that cannot be made.
pub const RECORD: &str = "estream.record";
/// The reason of a change to a version that is not there.
pub const VERSION: &str = "estream.version_unlisted";
/// What the archive of a version is called in its checksum file.
pub const ARCHIVE: &str = "package.tar.gz";

/// The fields of an object in their order, and those of what lies in its fields.
struct Order {
    fields: &'static [&'static str],
    inner: &'static [(&'static str, Order)],
}

const METADATA: Order = Order {
    fields: &[
        "name",
        "category",
        "publisher",
        "description",
        "versions",
        "latest",
        "keywords",
        "badges",
        "stats",
    ],
    inner: &[
        (
            "versions",
            Order {
                fields: &[
                    "version",
                    "published_at",
                    "checksum_sha3",
                    "signature_pubkey_id",
                    "yanked",
                    "estream_min_version",
                    "archive_url",
                ],
                inner: &[],
            },
        ),
        ("stats", Order { fields: &["downloads", "stars"], inner: &[] }),
    ],
};

const PUBLISHER: Order = Order {
    fields: &["name", "display_name", "url", "verified", "signing_keys"],
    inner: &[(
        "signing_keys",
        Order {
            fields: &[
                "key_id",
                "algorithm",
                "public_key_hex",
                "created_at",
                "expires_at",
                "rotated_at",
                "revoked_at",
                "status",
            ],
            inner: &[],
        },
    )],
};

const SIGNATURE: Order = Order {
    fields: &["algorithm", "key_id", "signed_at", "checksum_algorithm", "checksum", "signature_hex"],
    inner: &[],
};

/// What an unknown object has.
const ANY: Order = Order { fields: &[], inner: &[] };

/// A value whose fields come in an order.
struct Ordered<'a>(&'a Value, &'a Order);

impl Serialize for Ordered<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Ordered(value, order) = self;
        match value {
            Value::Object(fields) => {
                let known = order.fields.iter().filter_map(|name| fields.get_key_value(*name));
                let rest = fields.iter().filter(|(name, _)| !order.fields.contains(&name.as_str()));
                let mut map = serializer.serialize_map(Some(fields.len()))?;
                for (name, value) in known.chain(rest) {
                    let inner = order.inner.iter().find(|(field, _)| field == name);
                    map.serialize_entry(name, &Ordered(value, inner.map_or(&ANY, |(_, order)| order)))?;
                }
                map.end()
            }
            Value::Array(values) => {
                let mut list = serializer.serialize_seq(Some(values.len()))?;
                for value in values {
                    list.serialize_element(&Ordered(value, order))?;
                }
                list.end()
            }
            other => other.serialize(serializer),
        }
    }
}

fn text(value: &Value, order: &Order) -> String {
    // Everything in it is text and numbers of JSON.
    let mut text = serde_json::to_string_pretty(&Ordered(value, order)).unwrap_or_default();
    text.push('\n');
    text
}

/// A version that is published.
#[derive(Debug, Clone)]
pub struct Published<'a> {
    /// The component, `name` or `@publisher/name`.
    pub name: &'a str,
    /// Its category.
    pub category: &'a str,
    /// Its publisher.
    pub publisher: &'a str,
    /// One line that describes it.
    pub description: &'a str,
    /// The words that it is found by.
    pub keywords: &'a [String],
    /// The version.
    pub version: &'a Version,
    /// When: an instant in UTC such as `2026-02-10T12:00:00Z`.
    pub published_at: &'a str,
    /// SHA3-256 of its archive.
    pub checksum: &'a Digest,
    /// The key that signs it.
    pub key_id: &'a str,
    /// The oldest platform that it runs on.
    pub min_version: Option<&'a str>,
    /// Where its archive lies: an https URL, or a path from the registry's root.
    pub archive: &'a str,
}

/// Returns the metadata of a component with one version more; `known` is the metadata so far, where there is any. Description and
/// keywords become those of the version where it is the newest.
///
/// **Errors**: the metadata so far cannot be read, or is of another component, or has the version.
pub fn published(known: Option<&[u8]>, one: &Published<'_>) -> Result<String, ParseError> {
    let mut fields = match known {
        Some(bytes) => object(bytes)?,
        None => Map::new(),
    };
    let own = [("name", one.name), ("category", one.category), ("publisher", one.publisher)];
    for (field, value) in own {
        match fields.get(field).map(|known| known.as_str().unwrap_or_default()) {
            Some(known) if known != value => {
                return Err(ParseError::new("estream.metadata_mismatch", value, known).in_field(field));
            }
            _ => fields.insert(field.to_owned(), value.into()),
        };
    }
    let mut row = json!({
        "version": one.version.to_string(),
        "published_at": one.published_at,
        "checksum_sha3": one.checksum.hex(),
        "signature_pubkey_id": one.key_id,
        "yanked": false,
        "archive_url": one.archive,
    });
    if let (Some(version), Some(row)) = (one.min_version, row.as_object_mut()) {
        row.insert("estream_min_version".to_owned(), version.into());
    }
    let mut rows = rows(&mut fields)?;
    if rows.iter().any(|(version, _)| version.is_twin_of(one.version)) {
        let error = ParseError::new(VERSION, "a version that is new", one.version.to_string());
        return Err(error.in_field("versions"));
    }
    rows.push((one.version.clone(), row));
    let newest = written(rows, &mut fields);
    if newest.as_ref() == Some(one.version) || !fields.contains_key("description") {
        fields.insert("description".to_owned(), one.description.into());
        if !one.keywords.is_empty() {
            fields.insert("keywords".to_owned(), one.keywords.into());
        }
    }
    for (name, value) in
        [("keywords", json!([])), ("badges", json!([])), ("stats", json!({ "downloads": 0, "stars": 0 }))]
    {
        fields.entry(name).or_insert(value);
    }
    metadata(fields)
}

/// What becomes of a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Withdrawal {
    /// It is withdrawn.
    Yank,
    /// It is no longer withdrawn.
    Unyank,
}

/// Returns the metadata of a component with a version withdrawn, or back again: that flag, `yank_reason` and `latest` change.
///
/// **Errors**: the metadata cannot be read; it has no such version (`estream.version_unlisted`), or one that is so already
/// (`estream.yanked`).
pub fn withdrawn(
    known: &[u8],
    version: &Version,
    change: Withdrawal,
    reason: Option<&str>,
) -> Result<String, ParseError> {
    let mut fields = object(known)?;
    let mut rows = rows(&mut fields)?;
    let found: Vec<String> = rows.iter().map(|(version, _)| version.to_string()).collect();
    let row = rows.iter_mut().find(|(known, _)| known == version).and_then(|(_, row)| row.as_object_mut());
    let Some(row) = row else {
        return Err(ParseError::new(VERSION, version.to_string(), found.join(", ")).in_field("versions"));
    };
    let is_yanked = change == Withdrawal::Yank;
    if row.get("yanked").and_then(Value::as_bool).unwrap_or_default() == is_yanked {
        let (expected, found) = match is_yanked {
            true => ("a version that is not withdrawn", "one that is"),
            false => ("a version that is withdrawn", "one that is not"),
        };
        return Err(ParseError::new("estream.yanked", expected, found).in_field("versions"));
    }
    row.insert("yanked".to_owned(), is_yanked.into());
    row.remove("yank_reason");
    row.extend(reason.map(|reason| ("yank_reason".to_owned(), reason.into())));
    written(rows, &mut fields);
    metadata(fields)
}

fn object(bytes: &[u8]) -> Result<Map<String, Value>, ParseError> {
    json::document(json::check(bytes)?)
}

/// Takes the versions out of the metadata.
fn rows(fields: &mut Map<String, Value>) -> Result<Vec<(Version, Value)>, ParseError> {
    let rows = match fields.remove("versions") {
        None => Vec::new(),
        Some(Value::Array(rows)) => rows,
        Some(other) => {
            return Err(ParseError::new("input.field", "a list", other.to_string()).in_field("versions"));
        }
    };
    let version = |(index, row): (usize, Value)| {
        let text = row.get("version").and_then(Value::as_str).unwrap_or_default();
        let read = Version::parse(text).map_err(|error| error.in_field(format!("versions[{index}].version")));
        Ok((read?, row))
    };
    rows.into_iter().enumerate().map(version).collect()
}

/// Puts the versions back, oldest first, and says which of them is the newest that may be chosen.
fn written(mut rows: Vec<(Version, Value)>, fields: &mut Map<String, Value>) -> Option<Version> {
    rows.sort_by(|(one, _), (other, _)| one.cmp(other));
    let may_be = |(_, row): &&(Version, Value)| !row.get("yanked").and_then(Value::as_bool).unwrap_or(false);
    let stable = rows.iter().filter(may_be).rfind(|(version, _)| !version.is_prerelease());
    let newest = stable.or_else(|| rows.iter().rfind(may_be)).map(|(version, _)| version.clone());
    match &newest {
        Some(version) => fields.insert("latest".to_owned(), version.to_string().into()),
        None => fields.remove("latest"),
    };
    fields.insert("versions".to_owned(), rows.into_iter().map(|(_, row)| row).collect());
    newest
}

fn metadata(fields: Map<String, Value>) -> Result<String, ParseError> {
    let text = text(&Value::Object(fields), &METADATA);
    json::document::<MetadataDocument>(json::check(text.as_bytes())?)?;
    Ok(text)
}

/// Returns a signature file: who signed which checksum, and the signature.
pub fn signature(key_id: &str, signed_at: &str, checksum: &Digest, signature: &[u8]) -> String {
    let value = json!({
        "algorithm": ALGORITHM,
        "key_id": key_id,
        "signed_at": signed_at,
        "checksum_algorithm": "SHA3-256",
        "checksum": checksum.hex(),
        "signature_hex": hex(signature),
    });
    text(&value, &SIGNATURE)
}

/// Returns a checksum file.
pub fn checksum(checksum: &Digest) -> String {
    format!("{}  {ARCHIVE}\n", checksum.hex())
}

/// A key that is given to a publisher.
#[derive(Debug, Clone)]
pub struct NewKey<'a> {
    /// Its id; the next free one where none is given.
    pub id: Option<&'a str>,
    /// The key.
    pub key: &'a PublicKey,
    /// From when on it signs: an instant in UTC.
    pub created_at: &'a str,
    /// Until when it signs.
    pub expires_at: Option<&'a str>,
}

/// A publisher who is registered.
#[derive(Debug, Clone)]
pub struct NewPublisher<'a> {
    /// The name, which is also that of the file.
    pub name: &'a str,
    /// The name that people read.
    pub display_name: Option<&'a str>,
    /// Where they are found.
    pub url: Option<&'a str>,
    /// The registry has verified who they are.
    pub is_verified: bool,
}

/// Returns the record of a new publisher with one key.
///
/// **Errors**: what the reader of records would not take.
pub fn registered(one: &NewPublisher<'_>, key: &NewKey<'_>) -> Result<String, ParseError> {
    let mut fields = Map::from_iter([
        ("name".to_owned(), one.name.into()),
        ("verified".to_owned(), one.is_verified.into()),
        ("signing_keys".to_owned(), json!([])),
    ]);
    for (field, value) in [("display_name", one.display_name), ("url", one.url)] {
        fields.extend(value.map(|value| (field.to_owned(), value.into())));
    }
    keyed(&mut fields, one.name, key)?;
    record(fields, one.name)
}

/// Returns the record of a publisher in which a key has been replaced by another one.
///
/// **Errors**: the record cannot be read; it has no such key (`estream.key_unknown`), or one that does not sign (`estream.record`);
/// the new key or its id is there already.
pub fn rotated(known: &[u8], name: &str, id: &str, new: &NewKey<'_>) -> Result<String, ParseError> {
    let mut fields = held(known, name)?;
    let old = entry(&mut fields, name, id)?;
    let status = old.get("status").and_then(Value::as_str).unwrap_or_default();
    if status != "active" {
        return Err(ParseError::new(RECORD, "a key that is active", format!("{id}, {status}")));
    }
    old.insert("status".to_owned(), "rotated".into());
    old.insert("rotated_at".to_owned(), new.created_at.into());
    keyed(&mut fields, name, new)?;
    record(fields, name)
}

/// Returns the record of a publisher in which a key has been revoked.
///
/// **Errors**: the record cannot be read; it has no such key (`estream.key_unknown`), or one that is revoked already
/// (`estream.record`).
pub fn revoked(known: &[u8], name: &str, id: &str, at: &str) -> Result<String, ParseError> {
    let mut fields = held(known, name)?;
    let old = entry(&mut fields, name, id)?;
    if old.get("status").and_then(Value::as_str) == Some("revoked") {
        return Err(ParseError::new(RECORD, "a key that is not revoked", format!("{id}, revoked")));
    }
    old.insert("status".to_owned(), "revoked".into());
    old.insert("revoked_at".to_owned(), at.into());
    record(fields, name)
}

/// Reads the record of a publisher who is changed.
fn held(known: &[u8], name: &str) -> Result<Map<String, Value>, ParseError> {
    publisher::record(name, known)?;
    object(known)
}

fn keys(fields: &mut Map<String, Value>) -> Result<&mut Vec<Value>, ParseError> {
    let keys = fields.get_mut("signing_keys").and_then(Value::as_array_mut);
    keys.ok_or_else(|| ParseError::new("input.field", "a list", "another value").in_field("signing_keys"))
}

fn entry<'a>(
    fields: &'a mut Map<String, Value>,
    name: &str,
    id: &str,
) -> Result<&'a mut Map<String, Value>, ParseError> {
    let keys = keys(fields)?;
    let is = |key: &Value| key.get("key_id").and_then(Value::as_str) == Some(id);
    let known: Vec<&str> = keys.iter().filter_map(|key| key.get("key_id")?.as_str()).collect();
    let unknown =
        ParseError::new(crate::seal::KEY_UNKNOWN, format!("a key of {name}: {}", known.join(", ")), id);
    keys.iter_mut().find(|key| is(key)).and_then(Value::as_object_mut).ok_or(unknown)
}

/// Adds a key to a record.
fn keyed(fields: &mut Map<String, Value>, name: &str, new: &NewKey<'_>) -> Result<(), ParseError> {
    let keys = keys(fields)?;
    let known = |id: &str| keys.iter().any(|key| key.get("key_id").and_then(Value::as_str) == Some(id));
    let id = match new.id {
        Some(id) if known(id) => {
            return Err(ParseError::new(RECORD, format!("an id that no key of {name} has"), id));
        }
        Some(id)
            if id.is_empty()
                || !id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte)) =>
        {
            return Err(ParseError::new(RECORD, "an id of letters, digits, '.', '_' and '-'", id));
        }
        Some(id) => id.to_owned(),
        None => {
            let mut ids = (1..).map(|number| format!("{name}-signing-key-{number:02}"));
            ids.find(|id| !known(id)).unwrap_or_default()
        }
    };
    let own = new.key.to_hex();
    let is_same = |key: &&Value| {
        let text = key.get("public_key_hex").and_then(Value::as_str).unwrap_or_default();
        text.eq_ignore_ascii_case(&own) || PublicKey::parse(text.as_bytes()).ok().as_ref() == Some(new.key)
    };
    if let Some(same) = keys.iter().find(is_same) {
        let found = same.get("key_id").and_then(Value::as_str).unwrap_or_default();
        return Err(ParseError::new(
            RECORD,
            format!("a key that {name} has not had"),
            format!("that of {found}"),
        ));
    }
    let mut entry = json!({
        "key_id": id,
        "algorithm": ALGORITHM,
        "public_key_hex": own,
        "created_at": new.created_at,
        "status": "active",
    });
    if let (Some(at), Some(entry)) = (new.expires_at, entry.as_object_mut()) {
        entry.insert("expires_at".to_owned(), at.into());
    }
    keys.push(entry);
    // A key that was wrong before stays what it was; a new one has to be right.
    let read = publisher::record(name, text(&Value::Object(fields.clone()), &PUBLISHER).as_bytes())?;
    match read.keys.into_iter().last() {
        Some((_, Err(error))) => Err(error),
        _ => Ok(()),
    }
}

fn record(fields: Map<String, Value>, name: &str) -> Result<String, ParseError> {
    let text = text(&Value::Object(fields), &PUBLISHER);
    publisher::record(name, text.as_bytes())?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use crate::digest::Algorithm;
    use crate::key::KeyAlgorithm;
    use crate::seal::KeyStatus;

    use super::*;

    fn version(text: &str) -> Version {
        Version::parse(text).unwrap()
    }

    fn publish(known: Option<&str>, at: &str) -> Result<String, ParseError> {
        let (version, checksum) = (version(at), Digest::of(Algorithm::Sha3_256, at.as_bytes()));
        let keywords = [format!("word {at}")];
        let one = Published {
            name: "part",
            category: "integration",
            publisher: "acme",
            description: at,
            keywords: &keywords,
            version: &version,
            published_at: "2026-02-10T12:00:00Z",
            checksum: &checksum,
            key_id: "acme-1",
            min_version: Some("0.8.0").filter(|_| at == "1.0.0"),
            archive: "https://e.org/x",
        };
        published(known.map(str::as_bytes), &one)
    }

    #[test]
    fn metadata_has_the_order_of_the_seed_and_keeps_what_it_holds() {
        let first = publish(None, "1.0.0").unwrap();
        let names: Vec<&str> = first
            .lines()
            .filter_map(|line| line.trim().split_once('"')?.1.split_once('"'))
            .map(|one| one.0)
            .collect();
        let expected = "name category publisher description versions version published_at checksum_sha3 \
                        signature_pubkey_id yanked estream_min_version archive_url latest keywords word 1.0.0 \
                        badges stats downloads stars";
        assert_eq!(names.join(" "), expected, "{first}");
        let own =
            first.replace("\"badges\": []", "\"a\": {\"z\": 1, \"b\": 1.5},\n  \"badges\": [\"tested\"]");
        let second = publish(Some(&own), "1.2.0").unwrap();
        let value: Value = serde_json::from_str(&second).unwrap();
        assert_eq!(value["a"], json!({"z": 1, "b": 1.5}));
        assert_eq!((&value["badges"], &value["latest"]), (&json!(["tested"]), &json!("1.2.0")));
        assert_eq!(value["description"], "1.2.0");
        // An older one, and one before its release, do not speak for the component.
        for older in ["1.1.0", "2.0.0-rc.1"] {
            let third: Value = serde_json::from_str(&publish(Some(&second), older).unwrap()).unwrap();
            assert_eq!((&third["latest"], &third["description"]), (&json!("1.2.0"), &json!("1.2.0")));
            assert_eq!(third["versions"].as_array().unwrap().len(), 3);
        }
        assert_eq!(publish(Some(&second), "1.2.0").unwrap_err().reason, VERSION);
        let other = second.replace("\"acme\"", "\"other\"");
        assert_eq!(publish(Some(&other), "1.3.0").unwrap_err().reason, "estream.metadata_mismatch");
        for broken in ["", "[]", "{\"versions\": 1}", "{\"versions\": [{}]}", "{\"a\": 1, \"a\": 2}"] {
            assert!(publish(Some(broken), "1.3.0").is_err(), "{broken}");
        }
    }

    #[test]
    fn a_withdrawal_changes_its_flag_and_latest_alone() {
        let both = publish(Some(&publish(None, "1.0.0").unwrap()), "1.2.0").unwrap();
        let yanked = withdrawn(both.as_bytes(), &version("1.2.0"), Withdrawal::Yank, Some("why")).unwrap();
        let differing: Vec<&str> =
            yanked.lines().filter(|line| !both.lines().any(|known| known == *line)).collect();
        assert_eq!(
            differing,
            [
                "      \"yanked\": true,",
                "      \"archive_url\": \"https://e.org/x\",",
                "      \"yank_reason\": \"why\"",
                "  \"latest\": \"1.0.0\","
            ]
        );
        assert_eq!(yanked.matches("\"yanked\": true").count(), 1);
        let again = withdrawn(yanked.as_bytes(), &version("1.2.0"), Withdrawal::Unyank, None).unwrap();
        assert_eq!(again, both);
        let reason =
            |at: &str, change| withdrawn(both.as_bytes(), &version(at), change, None).unwrap_err().reason;
        assert_eq!(reason("1.2.0", Withdrawal::Unyank), "estream.yanked");
        assert_eq!(reason("1.3.0", Withdrawal::Yank), VERSION);
        let none =
            withdrawn(publish(None, "1.0.0").unwrap().as_bytes(), &version("1.0.0"), Withdrawal::Yank, None);
        assert!(!none.unwrap().contains("latest"), "nothing is left to choose");
    }

    const AT: &str = "2026-02-10T12:00:00Z";

    fn key(byte: u8) -> PublicKey {
        let bytes = vec![byte; KeyAlgorithm::MlDsa87.public_bytes()];
        PublicKey::from_bytes(KeyAlgorithm::MlDsa87, &bytes).unwrap()
    }

    #[test]
    fn keys_are_added_replaced_and_revoked_once() {
        let (one, two, three) = (key(1), key(2), key(3));
        let of = |key, id| NewKey { id, key, created_at: AT, expires_at: Some(AT) };
        let acme = NewPublisher { name: "acme", display_name: None, url: None, is_verified: true };
        let first = registered(&acme, &of(&one, None)).unwrap();
        assert!(first.contains("\"key_id\": \"acme-signing-key-01\""), "{first}");
        let own = first.replace("\"verified\"", "\"x\": 7,\n  \"verified\"");
        let second = rotated(own.as_bytes(), "acme", "acme-signing-key-01", &of(&two, None)).unwrap();
        assert!(second.contains("\"x\": 7"));
        let keys = publisher::record("acme", second.as_bytes()).unwrap().keys;
        let told: Vec<_> = keys.iter().map(|(id, key)| (id.as_str(), key.as_ref().unwrap().status)).collect();
        assert_eq!(
            told,
            [("acme-signing-key-01", KeyStatus::Rotated), ("acme-signing-key-02", KeyStatus::Active)]
        );
        let third = revoked(second.as_bytes(), "acme", "acme-signing-key-01", AT).unwrap();
        let reason = |result: Result<String, ParseError>| result.unwrap_err().reason;
        assert_eq!(reason(revoked(third.as_bytes(), "acme", "acme-signing-key-01", AT)), RECORD);
        assert_eq!(reason(revoked(third.as_bytes(), "acme", "nobody", AT)), crate::seal::KEY_UNKNOWN);
        assert_eq!(
            reason(rotated(third.as_bytes(), "acme", "acme-signing-key-01", &of(&three, None))),
            RECORD
        );
        // Neither a key nor an id comes back.
        assert_eq!(reason(rotated(third.as_bytes(), "acme", "acme-signing-key-02", &of(&one, None))), RECORD);
        let again = rotated(
            third.as_bytes(),
            "acme",
            "acme-signing-key-02",
            &of(&three, Some("acme-signing-key-01")),
        );
        assert_eq!(reason(again), RECORD);
        assert!(rotated(b"{}", "acme", "acme-signing-key-02", &of(&one, None)).is_err());
        assert_eq!(
            reason(revoked(third.as_bytes(), "other", "acme-signing-key-02", AT)),
            "estream.publisher_malformed"
        );
    }
}
