//! From the tables of `trust.toml` to a policy: every rule that holds between its values, each refusal with its place.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use toml::value::{Datetime, Offset};

use crate::digest::Digest;
use crate::error::{ParseError, Places, Position, escaped};
use crate::id::{ComponentId, SourceId};
use crate::instant::Civil;
use crate::key::{Fingerprint, KeyAlgorithm};
use crate::path::DocPath;
use crate::policy::document::{
    AlgorithmsTable, At, DefaultsTable, ExceptionTable, Instant, KeyTable, KeysetsTable, LimitsTable,
    NamespaceTable, PolicyDocument, SignersTable, SourceTable,
};
use crate::policy::{
    Algorithms, CLOCK_SKEW_S, Defaults, DigestName, Direct, ENTRIES_MAX, EXCEPTION_S_MAX, Exception,
    KEYSETS_DIRECTORY, Key, Keysets, LIMITS, MAX_STALE_S, Mode, Name, NamespaceRule, POLICY_BYTES_MAX,
    POLICY_SCHEMA, Pattern, Policy, Removals, Require, Revoked, SignerSet, SourceRule,
};
use crate::signature::Usage;
use crate::sources::duration_s;
use crate::version::{Grammar, VersionReq};

/// The largest clock skew, in seconds: more is no skew but another day.
const CLOCK_SKEW_S_MAX: u64 = 86_400;

/// Reads a policy.
pub(super) fn read(bytes: &[u8]) -> Result<Policy, ParseError> {
    if bytes.len() as u64 > POLICY_BYTES_MAX {
        let expected = format!("a policy of at most {POLICY_BYTES_MAX} bytes");
        return Err(ParseError::new("policy.too_large", expected, format!("{} bytes", bytes.len())));
    }
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let position = Position::of(bytes, error.valid_up_to());
        ParseError::new("policy.syntax", "UTF-8", "other bytes").at(position)
    })?;
    let document: PolicyDocument = toml::from_str(text).map_err(|error| syntax(text, &error))?;
    let places = Places::of(bytes);
    Reader { places: &places }.policy(&document).map_err(|fault| fault.error.at(places.at(fault.offset)))
}

/// Returns what TOML or its fields say is wrong, in our words as far as theirs can be told apart.
fn syntax(text: &str, error: &toml::de::Error) -> ParseError {
    let offset = error.span().map_or(text.len(), |span| span.start);
    let message = error.message();
    let (found, expected) =
        message.split_once(", expected ").unwrap_or((message, "a policy of resolverd/trust@1"));
    // Names of the file stand in the message, and may hold the very words that it is split at.
    let expected = escaped(expected);
    ParseError::new("policy.syntax", expected, found).at(Position::of(text.as_bytes(), offset))
}

/// An error and the byte that it is about.
struct Fault {
    error: ParseError,
    offset: usize,
}

impl Fault {
    fn in_field(self, field: impl AsRef<str>) -> Fault {
        Fault { error: self.error.in_field(field), ..self }
    }
}

type Read<T> = Result<T, Fault>;

fn fault<T, V>(
    at: &At<V>,
    reason: &'static str,
    expected: impl Into<String>,
    found: impl AsRef<str>,
) -> Read<T> {
    Err(Fault { error: ParseError::new(reason, expected, found), offset: at.offset() })
}

fn parsed<T>(at: &At<String>, field: &str, parse: impl Fn(&str) -> Result<T, ParseError>) -> Read<T> {
    parse(at.value()).map_err(|error| Fault { error, offset: at.offset() }.in_field(field))
}

fn duration(at: Option<&At<String>>, field: &str, min_s: u64, default_s: u64) -> Read<u64> {
    let Some(at) = at else { return Ok(default_s) };
    parsed(at, field, |text| {
        let expected = match min_s {
            0 => "a whole number with s, m, h or d behind it, such as 7d".to_owned(),
            least => format!("a whole number with s, m, h or d behind it, such as 7d, and at least {least}s"),
        };
        duration_s(&Value::String(text.to_owned()), min_s)
            .map_err(|error| ParseError::new("input.field", expected, &error.found))
    })
}

fn instant(at: &At<Instant>, field: &str) -> Read<i64> {
    match seconds(&at.value().0) {
        Some(seconds) => Ok(seconds),
        None => {
            let expected = "a date and a time to the second with an offset, such as 2026-05-04T12:00:00Z";
            fault(at, "policy.time", expected, at.value().0.to_string())
                .map_err(|fault| fault.in_field(field))
        }
    }
}

fn maybe_instant(at: Option<&At<Instant>>, field: &str) -> Read<Option<i64>> {
    at.map(|at| instant(at, field)).transpose()
}

fn seconds(written: &Datetime) -> Option<i64> {
    let (date, time) = (written.date?, written.time?);
    if time.nanosecond.is_some_and(|fraction| fraction != 0) {
        return None;
    }
    let minutes = match written.offset? {
        Offset::Z => 0,
        Offset::Custom { minutes } => i64::from(minutes),
    };
    let civil = Civil {
        year: date.year.into(),
        month: date.month.into(),
        day: date.day.into(),
        hour: time.hour.into(),
        minute: time.minute.into(),
        second: time.second.unwrap_or_default().into(),
    };
    Some(civil.seconds()? - minutes * 60)
}

/// Reads tables of one text.
struct Reader<'a> {
    places: &'a Places<'a>,
}

/// What rules may name.
struct Known<'a> {
    keys: &'a [Key],
    signers: &'a [SignerSet],
    /// Where a set is among them: there may be as many rules as sets.
    by_name: BTreeMap<&'a str, usize>,
}

impl Reader<'_> {
    fn policy(&self, document: &PolicyDocument) -> Read<Policy> {
        let version = *document.version.value();
        if document.schema.value() != POLICY_SCHEMA {
            let found = fault(&document.schema, "policy.schema", POLICY_SCHEMA, document.schema.value());
            return found.map_err(|fault| fault.in_field("schema"));
        }
        if version == 0 || version > crate::json::INTEGER_MAX {
            let found = fault(&document.version, "policy.version", "a number from 1", version.to_string());
            return found.map_err(|fault| fault.in_field("version"));
        }
        let max_stale_place = document.defaults.max_stale.as_ref().map(|at| self.place(at));
        let defaults = defaults(&document.defaults).map_err(|fault| fault.in_field("defaults"))?;
        let defaults = Defaults { max_stale_place, ..defaults };
        let limits = limits(&document.limits).map_err(|fault| fault.in_field("limits"))?;
        let keys = each(&document.keys, "keys", |table| self.key(table))?;
        unique(&document.keys, "keys", &keys, |table| &table.id, |key| key.id.to_string())?;
        unique(&document.keys, "keys", &keys, |table| &table.fingerprint, |key| key.fingerprint.to_string())?;
        let labels = indices(keys.iter().map(|key| key.id.as_text()));
        let signers = each(&document.signers, "signers", |table| self.signers(table, &keys, &labels))?;
        unique(&document.signers, "signers", &signers, |table| &table.name, |set| set.name.to_string())?;
        let by_name = indices(signers.iter().map(|set| set.name.as_text()));
        let known = Known { keys: &keys, signers: &signers, by_name };
        let sources = each(&document.sources, "sources", |table| self.source(table, &known))?;
        unique(&document.sources, "sources", &sources, |table| &table.id, |rule| rule.id.to_string())?;
        let namespaces = self.namespaces(&document.namespaces, &known, &defaults)?;
        let exceptions = each(&document.exceptions, "exceptions", |table| self.exception(table))?;
        unique(&document.exceptions, "exceptions", &exceptions, |table| &table.id, |one| one.id.to_string())?;
        Ok(Policy { version, defaults, limits, keys, signers, sources, namespaces, exceptions })
    }

    fn place<T>(&self, at: &At<T>) -> Position {
        self.places.at(at.offset())
    }

    fn key(&self, at: &At<KeyTable>) -> Read<Key> {
        let table = at.value();
        let key = Key {
            id: parsed(&table.id, "id", Name::parse)?,
            algorithm: table.algorithm,
            file: parsed(&table.file, "file", key_file)?,
            fingerprint: parsed(&table.fingerprint, "fingerprint", Fingerprint::parse)?,
            usage: set(&table.usage, "usage", |usage| usage.name())?,
            not_before_s: maybe_instant(table.not_before.as_ref(), "not_before")?,
            not_after_s: maybe_instant(table.not_after.as_ref(), "not_after")?,
            revoked: match &table.revoked {
                None => None,
                Some(revoked) => {
                    Some(Revoked { at_s: instant(&revoked.at, "revoked.at")?, reason: revoked.reason })
                }
            },
            published: false,
            place: self.place(&table.id),
            file_place: self.place(&table.file),
        };
        if let (Some(before), Some(after), Some(at)) = (key.not_before_s, key.not_after_s, &table.not_after)
            && after <= before
        {
            let found = fault(at, "policy.window", "an instant behind not_before", at.value().0.to_string());
            return found.map_err(|fault| fault.in_field("not_after"));
        }
        Ok(key)
    }

    fn signers(
        &self,
        at: &At<SignersTable>,
        keys: &[Key],
        labels: &BTreeMap<&str, usize>,
    ) -> Read<SignerSet> {
        let table = at.value();
        let name = parsed(&table.name, "name", Name::parse)?;
        let (mut members, mut seen) = (Vec::new(), BTreeSet::new());
        for (position, label) in table.keys.value().iter().enumerate() {
            let field = format!("keys[{position}]");
            let placed = |fault: Fault| fault.in_field(&field);
            let index = labels.get(&**label.value()).copied().map_or_else(
                || fault(label, "policy.unknown_key", "the id of a key of [[keys]]", label.value()),
                Ok,
            );
            let index = index.map_err(placed)?;
            if !seen.insert(index) {
                return fault(label, "policy.duplicate", "every key once", label.value()).map_err(placed);
            }
            members.push(index);
        }
        let algorithms = algorithms(table.algorithms.as_ref(), &members, keys, &table.keys)?;
        // Both algorithms of `all` are met by different keys, so fewer signatures than that can never do.
        let least = match &algorithms {
            Algorithms::All(named) => named.len(),
            Algorithms::Any(_) => 1,
        };
        let threshold = usize::try_from(*table.threshold.value()).unwrap_or(usize::MAX);
        if !(least..=members.len()).contains(&threshold) {
            let expected = format!("from {least} to {}, the number of its keys", members.len());
            let found = table.threshold.value().to_string();
            let found = fault(&table.threshold, "policy.threshold", expected, found);
            return found.map_err(|fault| fault.in_field("threshold"));
        }
        let place = self.place(&table.name);
        let set = SignerSet { name, keys: members, threshold, algorithms, keysets: None, place };
        let keysets = table.keysets.as_ref().map(|keysets| self::keysets(keysets, &set, keys)).transpose();
        let keysets = keysets.map_err(|fault| fault.in_field("keysets"))?;
        Ok(SignerSet { keysets, ..set })
    }

    fn source(&self, at: &At<SourceTable>, known: &Known<'_>) -> Read<SourceRule> {
        let table = at.value();
        let hosts = match &table.hosts {
            None => None,
            Some(hosts) if hosts.value().is_empty() => {
                let found = fault(hosts, "policy.hosts", "at least one host, or no hosts at all", "none");
                return found.map_err(|fault| fault.in_field("hosts"));
            }
            Some(hosts) => {
                let read = hosts
                    .value()
                    .iter()
                    .enumerate()
                    .map(|(position, host)| parsed(host, &format!("hosts[{position}]"), self::host));
                Some(read.collect::<Read<Vec<String>>>()?)
            }
        };
        Ok(SourceRule {
            id: parsed(&table.id, "id", SourceId::parse)?,
            hosts,
            allow_private_addresses: table.allow_private_addresses,
            signed_by: known.set(table.signed_by.as_ref(), Usage::Catalogue)?,
            place: self.place(&table.id),
        })
    }

    /// Reads the rules and sorts them, the most specific first.
    fn namespaces(
        &self,
        tables: &[At<NamespaceTable>],
        known: &Known<'_>,
        defaults: &Defaults,
    ) -> Read<Vec<NamespaceRule>> {
        let mut rules = each(tables, "namespaces", |table| self.namespace(table, known, defaults))?;
        let named = |table: &NamespaceTable| table.name.clone().unwrap_or_else(|| table.pattern.clone());
        unique_by(tables, "namespaces", &rules, named, |rule| rule.name.to_string())?;
        unique(tables, "namespaces", &rules, |table| &table.pattern, |rule| rule.pattern.to_string())?;
        rules.sort_by(|one, other| one.pattern.order().cmp(&other.pattern.order()));
        Ok(rules)
    }

    fn namespace(
        &self,
        at: &At<NamespaceTable>,
        known: &Known<'_>,
        defaults: &Defaults,
    ) -> Read<NamespaceRule> {
        let table = at.value();
        let pattern = parsed(&table.pattern, "match", Pattern::parse)?;
        let require = *table.require.value();
        let signed_by = known.set(table.signed_by.as_ref(), Usage::Package)?;
        match (&table.signed_by, require) {
            (None, Require::Signature) => {
                let expected = "signed_by beside require = \"signature\"";
                let found = fault(&table.require, "policy.signers", expected, "none");
                return found.map_err(|fault| fault.in_field("require"));
            }
            (Some(set), Require::Pin | Require::Digest) => {
                let expected = "require = \"signature\" beside signed_by";
                let found = fault(set, "policy.signers", expected, require.name());
                return found.map_err(|fault| fault.in_field("signed_by"));
            }
            _ => {}
        }
        let sources = sources(&table.sources)?;
        Ok(NamespaceRule {
            name: match &table.name {
                Some(name) => parsed(name, "name", Name::parse)?,
                None => parsed(&table.pattern, "match", Name::parse)?,
            },
            agree: agreeing(table.agree.as_ref(), sources.len())?,
            allow_deps: table.allow_deps.as_ref().map(patterns).transpose()?,
            pattern,
            sources,
            require,
            signed_by,
            min_age_s: duration(table.min_age.as_ref(), "min_age", 0, 0)?,
            immutable: table.immutable,
            digests: match &table.digests {
                Some(digests) => set(digests, "digests", |digest| digest.name())?,
                None => defaults.digests.clone(),
            },
            mode: table.mode.unwrap_or(defaults.mode),
            place: self.place(&table.pattern),
        })
    }

    fn exception(&self, at: &At<ExceptionTable>) -> Read<Exception> {
        let table = at.value();
        let [waiver] = table.allow.value()[..] else {
            let found = format!("{} of them", table.allow.value().len());
            let found = fault(&table.allow, "policy.exception", "exactly one rule per exception", found);
            return found.map_err(|fault| fault.in_field("allow"));
        };
        let exception = Exception {
            id: parsed(&table.id, "id", Name::parse)?,
            component: parsed(&table.component, "match", one_id)?,
            versions: parsed(&table.versions, "versions", |text| {
                VersionReq::parse(text, Grammar::Reference)
            })?,
            source: parsed(&table.source, "source", SourceId::parse)?,
            waiver,
            digest: parsed(&table.digest, "digest", Digest::parse)?,
            created_s: instant(&table.created, "created")?,
            not_after_s: instant(&table.not_after, "not_after")?,
            reason: table.reason.value().clone(),
            place: self.place(&table.id),
        };
        let lasts = exception.not_after_s - exception.created_s;
        if !(1..=EXCEPTION_S_MAX).contains(&lasts) {
            let expected = "an instant behind created, by at most 90 days";
            let found = table.not_after.value().0.to_string();
            let found = fault(&table.not_after, "policy.exception", expected, found);
            return found.map_err(|fault| fault.in_field("not_after"));
        }
        if exception.reason.trim().is_empty() {
            let found = fault(&table.reason, "policy.exception", "why it is there", "nothing");
            return found.map_err(|fault| fault.in_field("reason"));
        }
        Ok(exception)
    }
}

impl Known<'_> {
    /// Returns the set that a rule names, which must be able to sign for this use.
    fn set(&self, at: Option<&At<String>>, usage: Usage) -> Read<Option<usize>> {
        let Some(at) = at else { return Ok(None) };
        let placed = |fault: Fault| fault.in_field("signed_by");
        let Some(index) = self.by_name.get(&**at.value()).copied() else {
            let expected = "the name of a set of [[signers]]";
            return fault(at, "policy.unknown_signers", expected, at.value()).map_err(placed);
        };
        can_sign(&self.signers[index], self.keys, usage, at).map_err(placed)?;
        Ok(Some(index))
    }
}

/// Checks that a set can be met by keys that may sign for this use.
fn can_sign(set: &SignerSet, keys: &[Key], usage: Usage, at: &At<String>) -> Read<()> {
    let may_sign: Vec<&Key> =
        set.keys.iter().map(|key| &keys[*key]).filter(|key| key.usage.contains(&usage)).collect();
    let has = |algorithm: &KeyAlgorithm| may_sign.iter().any(|key| key.algorithm == *algorithm);
    let is_met = match &set.algorithms {
        Algorithms::All(named) => named.iter().all(has),
        Algorithms::Any(_) => true,
    };
    if may_sign.len() < set.threshold || !is_met {
        let expected = format!(
            "a set that can be met by keys whose usage has \"{}\" (its threshold is {})",
            usage.name(),
            set.threshold
        );
        let found = format!("{} with {} such keys", set.name, may_sign.len());
        return fault(at, "policy.threshold", expected, found);
    }
    Ok(())
}

/// Reads where the keyset documents of a set are found.
fn keysets(table: &KeysetsTable, set: &SignerSet, keys: &[Key]) -> Read<Keysets> {
    can_sign(set, keys, Usage::Keyset, &table.source)?;
    let version = table.version.as_ref().map_or(1, |version| *version.value());
    if let Some(at) = table.version.as_ref().filter(|_| !(1..=crate::json::INTEGER_MAX).contains(&version)) {
        let found = fault(at, "policy.version", "a number from 1", version.to_string());
        return found.map_err(|fault| fault.in_field("version"));
    }
    let directory = match &table.directory {
        Some(at) => parsed(at, "directory", DocPath::parse)?,
        None => DocPath::parse(KEYSETS_DIRECTORY).expect("one plain segment is a path"),
    };
    let file = format!("{}.{}.json.sig", set.name, crate::json::INTEGER_MAX);
    if DocPath::parse(&file).and_then(|file| directory.join(&file)).is_err()
        || set.name.as_text().contains('/')
    {
        let expected = "a set whose name can be that of a file";
        return fault(&table.source, "policy.name", expected, set.name.as_text());
    }
    Ok(Keysets { source: parsed(&table.source, "source", SourceId::parse)?, directory, version })
}

/// Returns where each of some names, no two of which are alike, is among them.
fn indices<'a>(names: impl Iterator<Item = &'a str>) -> BTreeMap<&'a str, usize> {
    names.enumerate().map(|(index, name)| (name, index)).collect()
}

fn each<T, V>(tables: &[At<T>], field: &str, read: impl Fn(&At<T>) -> Read<V>) -> Read<Vec<V>> {
    if let Some(first) = tables.get(ENTRIES_MAX) {
        let expected = format!("at most {ENTRIES_MAX} entries");
        let found = fault(first, "policy.too_large", expected, tables.len().to_string());
        return found.map_err(|fault| fault.in_field(field));
    }
    let placed = |(position, table): (usize, &At<T>)| {
        read(table).map_err(|fault| fault.in_field(format!("{field}[{position}]")))
    };
    tables.iter().enumerate().map(placed).collect()
}

/// Checks that no two entries have the same text in a field, which `at` finds again.
fn unique<T, V>(
    tables: &[At<T>],
    field: &str,
    values: &[V],
    at: impl Fn(&T) -> &At<String>,
    text: impl Fn(&V) -> String,
) -> Read<()> {
    unique_by(tables, field, values, |table| at(table).clone(), text)
}

fn unique_by<T, V>(
    tables: &[At<T>],
    field: &str,
    values: &[V],
    at: impl Fn(&T) -> At<String>,
    text: impl Fn(&V) -> String,
) -> Read<()> {
    let mut seen = BTreeMap::new();
    for (position, (table, value)) in tables.iter().zip(values).enumerate() {
        let text = text(value);
        if let Some(first) = seen.insert(text.clone(), position) {
            let expected = format!("another one than that of {field}[{first}]");
            let found = fault(&at(table.value()), "policy.duplicate", expected, text);
            return found.map_err(|fault| fault.in_field(format!("{field}[{position}]")));
        }
    }
    Ok(())
}

/// Returns a list that has at least one value and none twice.
fn set<T: Copy + Ord>(at: &At<Vec<T>>, field: &str, name: impl Fn(T) -> &'static str) -> Read<Vec<T>> {
    let mut seen = BTreeSet::new();
    let twice = at.value().iter().find(|value| !seen.insert(**value));
    let found = match twice {
        Some(value) => format!("{} twice", name(*value)),
        None if at.value().is_empty() => "none".to_owned(),
        None => return Ok(at.value().clone()),
    };
    fault(at, "policy.duplicate", "at least one, and each once", found).map_err(|fault| fault.in_field(field))
}

fn defaults(table: &DefaultsTable) -> Read<Defaults> {
    let skew = duration(table.max_clock_skew.as_ref(), "max_clock_skew", 0, CLOCK_SKEW_S)?;
    if let Some(at) = table.max_clock_skew.as_ref().filter(|_| skew > CLOCK_SKEW_S_MAX) {
        let found = fault(at, "policy.clock_skew", "at most 1d", at.value());
        return found.map_err(|fault| fault.in_field("max_clock_skew"));
    }
    Ok(Defaults {
        digests: match &table.digests {
            Some(digests) => set(digests, "digests", |digest| digest.name())?,
            None => DigestName::ALL.to_vec(),
        },
        require_pin: table.require_pin.unwrap_or(true),
        max_clock_skew_s: skew,
        max_stale_s: duration(table.max_stale.as_ref(), "max_stale", 1, MAX_STALE_S)?,
        max_stale_place: None,
        mode: table.mode.unwrap_or(Mode::Enforce),
        removals: table.removals.unwrap_or(Removals::Warn),
        direct: table.direct.unwrap_or(Direct::Refuse),
    })
}

/// Returns the limits that are given, each at most its hard ceiling.
fn limits(table: &LimitsTable) -> Read<Vec<(&'static str, u64)>> {
    let written = [
        &table.catalogue_bytes,
        &table.catalogues,
        &table.depth,
        &table.documents,
        &table.git_object_bytes,
        &table.release_document_bytes,
        &table.total_bytes,
    ];
    let mut given = Vec::new();
    for ((name, ceiling), at) in LIMITS.into_iter().zip(written) {
        let Some(at) = at else { continue };
        if !(1..=ceiling).contains(at.value()) {
            let expected = format!("from 1 to {ceiling}, the hard ceiling");
            let found = fault(at, "policy.limit", expected, at.value().to_string());
            return found.map_err(|fault| fault.in_field(name));
        }
        given.push((name, *at.value()));
    }
    Ok(given)
}

fn algorithms(
    at: Option<&At<AlgorithmsTable>>,
    members: &[usize],
    keys: &[Key],
    keys_at: &At<Vec<At<String>>>,
) -> Read<Algorithms> {
    let own: BTreeSet<KeyAlgorithm> = members.iter().map(|index| keys[*index].algorithm).collect();
    let Some(at) = at else { return Ok(Algorithms::Any(own.into_iter().collect())) };
    let placed = |fault: Fault| fault.in_field("algorithms");
    let algorithms = match (&at.value().all, &at.value().any) {
        (Some(named), None) => Algorithms::All(named.clone()),
        (None, Some(named)) => Algorithms::Any(named.clone()),
        _ => {
            let expected = "either all = [...] or any = [...]";
            return fault(at, "policy.algorithms", expected, "both or neither").map_err(placed);
        }
    };
    let named: BTreeSet<KeyAlgorithm> = algorithms.named().iter().copied().collect();
    if named.is_empty() || named.len() < algorithms.named().len() {
        return fault(at, "policy.algorithms", "at least one, and each once", "another list").map_err(placed);
    }
    // A key that can never count is a mistake, and so is an algorithm that no key has.
    match own == named {
        true => Ok(algorithms),
        false => {
            let list = |all: &BTreeSet<KeyAlgorithm>| {
                all.iter().map(|one| one.name()).collect::<Vec<_>>().join(" and ")
            };
            let expected = format!("keys of {}", list(&named));
            fault(keys_at, "policy.algorithms", expected, format!("keys of {}", list(&own)))
                .map_err(|fault| fault.in_field("keys"))
        }
    }
}

fn sources(at: &At<Vec<At<String>>>) -> Read<Vec<SourceId>> {
    let placed = |fault: Fault| fault.in_field("sources");
    if at.value().is_empty() {
        return fault(at, "policy.sources", "at least one source", "none").map_err(placed);
    }
    let (mut sources, mut seen) = (Vec::new(), BTreeSet::new());
    for (position, text) in at.value().iter().enumerate() {
        let source = parsed(text, &format!("sources[{position}]"), SourceId::parse)?;
        if !seen.insert(source.clone()) {
            return fault(text, "policy.duplicate", "every source once", text.value()).map_err(placed);
        }
        sources.push(source);
    }
    Ok(sources)
}

fn patterns(at: &At<Vec<At<String>>>) -> Read<Vec<Pattern>> {
    let (mut patterns, mut seen) = (Vec::new(), BTreeSet::new());
    for (position, text) in at.value().iter().enumerate() {
        let field = format!("allow_deps[{position}]");
        let pattern = parsed(text, &field, Pattern::parse)?;
        if !seen.insert(pattern.to_string()) {
            let found = fault(text, "policy.duplicate", "every pattern once", text.value());
            return found.map_err(|fault| fault.in_field(field));
        }
        patterns.push(pattern);
    }
    Ok(patterns)
}

fn agreeing(at: Option<&At<u64>>, sources: usize) -> Read<usize> {
    let Some(at) = at else { return Ok(1) };
    match usize::try_from(*at.value()).ok().filter(|agree| (1..=sources).contains(agree)) {
        Some(agree) => Ok(agree),
        None => {
            let expected = format!("from 1 to {sources}, the number of sources that are listed");
            let found = fault(at, "policy.agree", expected, at.value().to_string());
            found.map_err(|fault| fault.in_field("agree"))
        }
    }
}

/// Reads the name of a key file: below the policy's directory, or absolute; never climbing.
fn key_file(text: &str) -> Result<String, ParseError> {
    let path = text.strip_prefix('/').unwrap_or(text);
    let fits = |part: &str| !part.is_empty() && part != "." && part != ".." && !part.contains('\0');
    match text.len() <= 4096 && path.split('/').all(fits) {
        true => Ok(text.to_owned()),
        false => Err(ParseError::new("policy.file", "the path of a file, without . and ..", text)),
    }
}

/// Reads the id of an exception's component, which is never a wildcard.
fn one_id(text: &str) -> Result<ComponentId, ParseError> {
    let expected = match text.contains('*') {
        true => "one id: an exception is never for a pattern",
        false => "the id of one component, such as lcod://acme/x",
    };
    ComponentId::parse(text).map_err(|_| ParseError::new("policy.exception", expected, text))
}

/// Reads the name or address of a host, without a port.
fn host(text: &str) -> Result<String, ParseError> {
    let refused = || ParseError::new("policy.hosts", "a host such as git.acme.example, in lower case", text);
    let host = match url::Host::parse(text) {
        Ok(host) => host.to_string(),
        Err(_) => return Err(refused()),
    };
    // What the parser had to change would not be found again in a URL as the operator reads it.
    if host == text && !text.ends_with('.') { Ok(host) } else { Err(refused()) }
}
