//! The one decision function: a policy, what is known about a release, an instant in; a decision with its steps out.
//!
//! | step | what is asked | reasons |
//! |---|---|---|
//! | namespace | the most specific rule, and no other | `trust.no_rule` |
//! | source | the rule lists the source | `trust.source_not_allowed` |
//! | preferred | no listed source before it is missing | `sync.source_unavailable` |
//! | pin | every document on the way is pinned | `trust.unpinned` |
//! | catalogue | the source's signers have signed its catalogue, or a list that gives the right to a key which has | those of signatures, `trust.delegation_scope` |
//! | revision | the catalogue does not go back | `trust.rollback` and what the memory says |
//! | expiry | the catalogue says something still | `trust.frozen` |
//! | digest | a digest that counts is there | `trust.digest_missing`, `trust.digest_weak` |
//! | first seen | the version has the bytes that it had | `trust.version_mutated` |
//! | signatures | distinct keys of the set, each in its window, not revoked, verified; the threshold; the algorithms | `trust.unsigned`, `trust.threshold`, `trust.key_unknown`, `trust.key_usage`, `trust.from_future`, `trust.key_not_yet_valid`, `trust.key_expired`, `trust.key_revoked`, `trust.signature_invalid`, `trust.algorithm_mismatch`, `trust.statement_mismatch`, `trust.algorithm_missing` |
//! | age | it was published long enough ago | `trust.age_unknown`, `trust.too_young`, `trust.from_future` |
//! | agreement | enough listed sources carry the same bytes | `trust.no_agreement` |
//! | dependencies | every one of them is known and leads where the rule lets it | `resolve.dep_not_allowed` |
//!
//! The first step that fails ends it, unless a live exception waives that step; one that has ended gives `trust.exception_expired`.
//! What is refused under `warn` and `audit` is used all the same, with the same refusal in the decision.
//!
//! **Monotone**: taking away a signature, a key, the release's own source or an exception, or asking for more, never lets
//! anything in. Two consequences: where a statement names an algorithm of which no signature counts, it is refused even if nobody
//! asks for that algorithm; and an exception from signing holds whatever signatures there are, since it names the bytes.
//!
//! Never verifies a signature, reads a file or a clock, or remembers anything: all of that comes in as facts.

use std::fmt;

use catalogue_schema::digest::Digest;
use catalogue_schema::error::{ParseError, Position};
use catalogue_schema::id::{ComponentId, Namespace, Reference, SourceId};
use catalogue_schema::key::Fingerprint;
use catalogue_schema::model::{Refusal, Warning};
use catalogue_schema::policy::{Exception, Key, Mode, NamespaceRule, Policy, Require, SignerSet, Waiver};
use catalogue_schema::references::References;
use catalogue_schema::signature::{Statement, Usage};
use catalogue_schema::version::Version;

use crate::trust::policy::decide::quorum::{About, Clock, Edition, Lack, Quorum};
use crate::trust::signature::Proof;

mod quorum;

/// The reason of the refusal, or of the warning where only a pin is asked for, that a known version has other bytes.
pub const VERSION_MUTATED: &str = "trust.version_mutated";

/// The reason of a refusal: a catalogue lists what those who let another key sign it do not own.
pub const DELEGATION_SCOPE: &str = "trust.delegation_scope";

/// The reason of the refusal that a dependency leads where the rule lets none lead.
pub const DEP_NOT_ALLOWED: &str = "resolve.dep_not_allowed";

/// What is known about a release. Nothing in it depends on a policy.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// Which component.
    pub id: &'a ComponentId,
    /// Which version.
    pub version: &'a Version,
    /// The source that supplies it.
    pub source: &'a SourceId,
    /// The sources placed before that one which cannot be read and have nothing that may be used.
    pub missing: &'a [SourceId],
    /// Every document on the way from the source's entry is pinned.
    pub pinned: bool,
    /// What is known about its catalogue.
    pub catalogue: CatalogueFacts<'a>,
    /// The digests that are promised for its bytes and hold.
    pub digests: &'a [Digest],
    /// Digests are promised that nobody here can compute.
    pub has_unknown_digests: bool,
    /// The digest over everything that its bytes decide, where it is known.
    pub content: Option<&'a Digest>,
    /// What this version was when it was first seen here.
    pub first_seen: Option<FirstSeen<'a>>,
    /// Signatures over a statement about it.
    pub signed: Signed<'a>,
    /// When it was published, in seconds since 1970-01-01 UTC, by a word that counts.
    pub published_s: Option<i64>,
    /// The sources that carry the same bytes.
    pub carried_by: &'a [SourceId],
    /// What it requires, as far as its documents are known.
    pub dependencies: &'a References,
    /// Its documents have not been fetched, so that nobody knows yet what else it requires.
    pub is_unfetched: bool,
}

/// What is known about the catalogue that lists a release.
#[derive(Debug, Clone, Copy)]
pub struct CatalogueFacts<'a> {
    /// The id that it has within its source.
    pub name: &'a SourceId,
    /// The digest of its bytes.
    pub digest: &'a Digest,
    /// Signatures over it.
    pub signed: Signed<'a>,
    /// The right to sign it that a list above it gives to another key.
    pub delegated: Option<Delegated<'a>>,
    /// Why it is not as new as what was accepted before.
    pub rollback: Option<&'a Refusal>,
    /// From when on it says nothing, in seconds since 1970-01-01 UTC, where somebody whose signature counts says so.
    pub expires_s: Option<i64>,
    /// When it was last compared with its source; `None` where it never ages.
    pub checked_s: Option<i64>,
}

/// The right to sign one catalogue, given to a key by the list that names the catalogue.
#[derive(Debug, Clone, Copy)]
pub struct Delegated<'a> {
    /// The id of the list within its source.
    pub by: &'a SourceId,
    /// The digest of its bytes.
    pub digest: &'a Digest,
    /// Signatures over it.
    pub signed: Signed<'a>,
    /// The key.
    pub key: Fingerprint,
    /// What the source of the list owns, which is all that it can give a right to.
    pub scope: &'a [Namespace],
}

impl Delegated<'_> {
    /// Tells whether the right is one for this id.
    pub fn covers(&self, id: &ComponentId) -> bool {
        self.scope.iter().any(|namespace| namespace.contains(id))
    }
}

/// What is known about a keyset document.
#[derive(Debug, Clone, Copy)]
pub struct KeysetFacts<'a> {
    /// Its number.
    pub version: u64,
    /// The digest of its bytes.
    pub digest: &'a Digest,
    /// Signatures over it.
    pub signed: Signed<'a>,
}

/// Signatures as far as computing tells.
#[derive(Debug, Clone, Copy, Default)]
pub struct Signed<'a> {
    /// What computing says about each of them.
    pub proofs: &'a [(Fingerprint, Proof)],
    /// What they are over, where it is not the bytes themselves.
    pub statement: Option<&'a Statement>,
    /// What is wrong with the signatures as a document, where nothing in it can be used.
    pub fault: Option<&'a ParseError>,
}

/// What a version was when it was first seen here.
#[derive(Debug, Clone, Copy)]
pub struct FirstSeen<'a> {
    /// The digest over everything that its bytes decided.
    pub digest: &'a Digest,
    /// When, in seconds since 1970-01-01 UTC.
    pub at_s: i64,
}

/// What a policy says about a release, and why.
#[derive(Debug, Clone)]
pub struct Decision<'a> {
    /// The rule that decided; `None` where there is none.
    pub rule: Option<&'a NamespaceRule>,
    /// What is wrong, whatever becomes of it.
    pub refusal: Option<Refusal>,
    /// What becomes of a refusal.
    pub mode: Mode,
    /// The keys whose signatures over the release counted.
    pub signers: Vec<&'a Key>,
    /// The exceptions that were needed.
    pub exceptions: Vec<&'a Exception>,
    /// What a reader should know.
    pub warnings: Vec<Warning>,
    /// Every step, in order; the last one is the one that failed, where one did.
    pub why: Vec<Step<'a>>,
    /// Where in the policy the verdict would be changed.
    pub place: Option<Position>,
    /// The earliest instant at which the decision may be another one.
    pub next_change_s: Option<i64>,
}

impl Decision<'_> {
    /// Tells whether the release may be used.
    pub fn is_allowed(&self) -> bool {
        self.refusal.is_none() || self.mode != Mode::Enforce
    }

    /// Returns the steps as lines, the last of which says where the verdict would be changed; `file` is the policy's.
    pub fn lines(&self, file: &dyn fmt::Display) -> Vec<String> {
        let mut lines: Vec<String> = self.why.iter().map(Step::to_string).collect();
        if let Some(refusal) = self.refusal.as_ref().filter(|_| self.mode != Mode::Enforce) {
            lines.push(format!("mode: {}, so it is used although {}", self.mode.name(), refusal.reason));
        }
        lines.push(match self.place {
            Some(place) => format!("to change this: {file}, line {}", place.line),
            None => format!("to change this: add a [[namespaces]] rule to {file}"),
        });
        lines
    }
}

/// One step of a decision.
#[derive(Debug, Clone)]
pub struct Step<'a> {
    /// What was asked.
    pub name: &'static str,
    /// What came of it.
    pub outcome: Outcome<'a>,
}

/// What came of a step.
#[derive(Debug, Clone)]
pub enum Outcome<'a> {
    /// Nothing of the kind is asked for.
    NotAsked,
    /// It holds.
    Holds(Detail<'a>),
    /// It does not hold, and an exception waives it.
    Waived(&'a Exception, Refusal),
    /// It does not hold.
    Refused(Refusal),
}

/// What made a step hold.
#[derive(Debug, Clone, Copy)]
pub enum Detail<'a> {
    /// Nothing more to say.
    Plain,
    /// A rule.
    Rule(&'a NamespaceRule),
    /// A source.
    Source(&'a SourceId),
    /// A digest.
    Digest(&'a Digest),
    /// So many of so many that are asked for, by this set.
    Signers(usize, &'a SignerSet),
    /// By a key to which this list gives the right.
    Delegated(&'a SourceId, Fingerprint),
    /// So many of so many that are asked for.
    Count(usize, usize),
    /// Seconds since 1970-01-01 UTC.
    Since(i64),
    /// Known since then to have other bytes, which is let through.
    Mutated(i64),
}

impl fmt::Display for Step<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: ", self.name)?;
        match &self.outcome {
            Outcome::NotAsked => out.write_str("not asked for"),
            Outcome::Holds(detail) => fmt::Display::fmt(detail, out),
            Outcome::Waived(exception, refusal) => {
                write!(out, "{}, waived by exception {}: {}", refusal.reason, exception.id, exception.reason)
            }
            Outcome::Refused(refusal) => {
                write!(out, "{}: expected {}, found {}", refusal.reason, refusal.expected, refusal.found)
            }
        }
    }
}

impl fmt::Display for Detail<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        use catalogue_schema::revision::rfc3339;
        match self {
            Detail::Plain => out.write_str("ok"),
            Detail::Rule(rule) => {
                write!(out, "rule {} ({}, line {})", rule.name, rule.pattern, rule.place.line)
            }
            Detail::Source(source) => write!(out, "{source}"),
            Detail::Digest(digest) => write!(out, "{digest}"),
            Detail::Signers(count, set) => {
                write!(out, "{count} of the keys of {}, which asks for {}", set.name, set.threshold)
            }
            Detail::Delegated(by, key) => write!(out, "by {key}, to which the list {by} gives the right"),
            Detail::Count(found, asked) => write!(out, "{found}, where {asked} is asked for"),
            Detail::Since(at_s) => write!(out, "since {}", rfc3339(*at_s)),
            Detail::Mutated(at_s) => {
                write!(out, "other bytes than on {}, which the rule lets through", rfc3339(*at_s))
            }
        }
    }
}

/// Decides about one release at an instant, in seconds since 1970-01-01 UTC.
pub fn decide<'a>(policy: &'a Policy, facts: &Facts<'a>, now_s: i64) -> Decision<'a> {
    let rule = policy.rule(facts.id);
    let mut run = Run {
        policy,
        facts,
        clock: Clock::new(now_s, policy.defaults.max_clock_skew_s),
        place: rule.map(|rule| rule.place),
        signers: Vec::new(),
        exceptions: Vec::new(),
        warnings: Vec::new(),
        why: Vec::with_capacity(12),
    };
    let refusal = run.steps(rule).err();
    Decision {
        rule,
        refusal,
        mode: rule.map_or(policy.defaults.mode, |rule| rule.mode),
        signers: run.signers,
        exceptions: run.exceptions,
        warnings: run.warnings,
        why: run.why,
        place: run.place,
        next_change_s: run.clock.next_s(),
    }
}

/// Asks whether a catalogue of `source` is signed as the policy says. Returns the keys that count; none where nobody must sign.
///
/// **Errors**: why it is not.
pub fn catalogue<'a>(
    policy: &'a Policy,
    source: &SourceId,
    facts: &CatalogueFacts<'_>,
    now_s: i64,
) -> Result<Vec<&'a Key>, Refusal> {
    let set = policy.source(source).and_then(|rule| rule.signed_by).map(|index| &policy.signers[index]);
    let Some(set) = set else { return Ok(Vec::new()) };
    let clock = Clock::new(now_s, policy.defaults.max_clock_skew_s);
    let lack = |Lack { reason, expected, found, .. }: Lack| Refusal {
        reason,
        ..Refusal::new("", format_args!("{source}/{}", facts.name), expected, found)
    };
    Quorum { policy, clock: &clock }.catalogue(set, facts).map(|by| by.0).map_err(lack)
}

/// Returns the right on which a catalogue of `source` rests, where it is signed as the policy says, and not by its signers themselves.
pub fn delegated<'f>(
    policy: &Policy,
    source: &SourceId,
    facts: &CatalogueFacts<'f>,
    now_s: i64,
) -> Option<Delegated<'f>> {
    let set = policy.signers.get(policy.source(source)?.signed_by?)?;
    let clock = Clock::new(now_s, policy.defaults.max_clock_skew_s);
    Quorum { policy, clock: &clock }.catalogue(set, facts).ok()?.1
}

/// Asks whether a keyset is signed by enough keys of `set`. That every algorithm which the statement names has signed is not asked:
/// the others who signed it count for that as well. Returns the keys that count.
///
/// **Errors**: why there are not enough.
pub fn keyset<'a>(
    policy: &'a Policy,
    set: &'a SignerSet,
    facts: &KeysetFacts<'_>,
    now_s: i64,
) -> Result<Vec<&'a Key>, Refusal> {
    let clock = Clock::new(now_s, policy.defaults.max_clock_skew_s);
    let about = About::keyset(set, facts);
    let lack = |Lack { reason, expected, found, .. }: Lack| Refusal {
        reason,
        ..Refusal::new("", &set.name, expected, found)
    };
    Quorum { policy, clock: &clock }.enough(set, &facts.signed, &about).map_err(lack)
}

/// A decision on its way.
struct Run<'a, 'f> {
    policy: &'a Policy,
    facts: &'f Facts<'a>,
    clock: Clock,
    place: Option<Position>,
    signers: Vec<&'a Key>,
    exceptions: Vec<&'a Exception>,
    warnings: Vec<Warning>,
    why: Vec<Step<'a>>,
}

impl<'a> Run<'a, '_> {
    /// Takes the steps in their order, up to the first that fails.
    fn steps(&mut self, rule: Option<&'a NamespaceRule>) -> Result<(), Refusal> {
        let Some(rule) = rule else {
            let expected = "a rule of [[namespaces]] that matches it";
            return self.refuse("namespace", self.refusal("trust.no_rule", expected, "none"));
        };
        self.hold("namespace", Detail::Rule(rule));
        self.source(rule)?;
        self.preferred(rule)?;
        self.pin(rule)?;
        self.catalogue()?;
        self.revision()?;
        self.expiry()?;
        self.digest(rule)?;
        self.first_seen(rule)?;
        self.signatures(rule)?;
        self.age(rule)?;
        self.agreement(rule)?;
        self.dependencies(rule)
    }

    fn refusal(
        &self,
        reason: &'static str,
        expected: impl fmt::Display,
        found: impl fmt::Display,
    ) -> Refusal {
        let subject = format!("{}@{}", self.facts.id, self.facts.version);
        Refusal::new(reason, subject, expected, found)
    }

    fn hold(&mut self, name: &'static str, detail: Detail<'a>) {
        self.why.push(Step { name, outcome: Outcome::Holds(detail) });
    }

    fn pass(&mut self, name: &'static str) {
        self.why.push(Step { name, outcome: Outcome::NotAsked });
    }

    fn refuse(&mut self, name: &'static str, refusal: Refusal) -> Result<(), Refusal> {
        self.why.push(Step { name, outcome: Outcome::Refused(refusal.clone()) });
        Err(refusal)
    }

    /// Refuses unless a live exception waives this for exactly these bytes.
    fn refuse_unless(&mut self, waiver: Waiver, name: &'static str, refusal: Refusal) -> Result<(), Refusal> {
        let Facts { id, version, source, digests, content, .. } = *self.facts;
        let has = |digest: &Digest| digests.contains(digest) || content == Some(digest);
        let about = self
            .policy
            .exceptions
            .iter()
            .filter(|one| one.waiver == waiver && one.is_about(id, version, source) && has(&one.digest));
        let mut ended = None;
        for exception in about {
            let is_made = self.clock.has_passed(exception.created_s);
            if is_made && !self.clock.has_passed(exception.not_after_s) {
                self.exceptions.push(exception);
                self.place = Some(exception.place);
                self.why.push(Step { name, outcome: Outcome::Waived(exception, refusal) });
                return Ok(());
            }
            ended = is_made.then_some(exception).or(ended);
        }
        let Some(exception) = ended else { return self.refuse(name, refusal) };
        self.place = Some(exception.place);
        let ended = catalogue_schema::revision::rfc3339(exception.not_after_s);
        let expected = format!("{}, or an exception that is live", refusal.expected);
        let found =
            format!("{} ({}), and exception {} ended {ended}", refusal.found, refusal.reason, exception.id);
        self.refuse(name, self.refusal("trust.exception_expired", expected, found))
    }

    /// Step 2: a source that is not listed is invisible, not merely later.
    fn source(&mut self, rule: &'a NamespaceRule) -> Result<(), Refusal> {
        let own = self.facts.source;
        if rule.sources.contains(own) {
            self.hold("source", Detail::Source(own));
            return Ok(());
        }
        self.refuse("source", self.refusal("trust.source_not_allowed", listed(&rule.sources), own))
    }

    /// Step 3: a listed source that was placed before this one and cannot be read might have owned the id.
    fn preferred(&mut self, rule: &'a NamespaceRule) -> Result<(), Refusal> {
        match self.facts.missing.iter().find(|missing| rule.sources.contains(missing)) {
            None => self.hold("preferred", Detail::Plain),
            Some(missing) => {
                let expected = format!("{missing}, which comes first, to have been read");
                let found = format!("it cannot be read; look at it with: resolverd sync {missing}");
                let refusal = self.refusal("sync.source_unavailable", expected, found);
                return self.refuse("preferred", refusal);
            }
        }
        Ok(())
    }

    /// Step 4: what holds for the source and its catalogue.
    fn pin(&mut self, rule: &'a NamespaceRule) -> Result<(), Refusal> {
        let is_asked = self.policy.defaults.require_pin;
        // Without `require_pin` the release itself must be pinned still, and a digest does that as well as a commit.
        let is_enough = !is_asked && !self.facts.digests.is_empty();
        match self.facts.pinned || is_enough {
            true => self.hold("pin", Detail::Plain),
            false if !is_asked && rule.require != Require::Pin => self.pass("pin"),
            false => {
                let expected = "a commit or digest for every document on the way";
                let refusal = self.refusal("trust.unpinned", expected, "one without");
                return self.refuse_unless(Waiver::Unpinned, "pin", refusal);
            }
        }
        Ok(())
    }

    fn catalogue(&mut self) -> Result<(), Refusal> {
        let policy = self.policy;
        let rule = policy.source(self.facts.source);
        let Some((rule, set)) = rule.and_then(|rule| Some((rule, &policy.signers[rule.signed_by?]))) else {
            self.pass("catalogue");
            return Ok(());
        };
        let facts = self.facts.catalogue;
        match (Quorum { policy, clock: &self.clock }).catalogue(set, &facts) {
            Ok((signers, None)) => self.hold("catalogue", Detail::Signers(signers.len(), set)),
            Ok((_, Some(delegated))) => return self.delegated(&delegated),
            Err(Lack { reason, expected, found, place }) => {
                let of_key = place.unwrap_or(set.place);
                self.place = Some(if is_of_key(&reason) { of_key } else { rule.place });
                let refusal = Refusal { reason, ..self.refusal("", expected, found) };
                return self.refuse("catalogue", refusal);
            }
        }
        Ok(())
    }

    /// Nobody can give a right that he does not have.
    fn delegated(&mut self, delegated: &Delegated<'a>) -> Result<(), Refusal> {
        let Delegated { by, key, scope, .. } = *delegated;
        if delegated.covers(self.facts.id) {
            self.hold("catalogue", Detail::Delegated(by, key));
            return Ok(());
        }
        if scope.is_empty() {
            let own = self.facts.source;
            let expected =
                format!("an id that {own} owns, which is all that its list {by} can give a right to");
            let found = format!("{own} owns nothing; add owns to it in sources.json");
            return self.refuse("catalogue", self.refusal(DELEGATION_SCOPE, expected, found));
        }
        let owned: Vec<String> = scope.iter().map(Namespace::to_string).collect();
        let expected = format!("an id in {}, which is what {} owns", owned.join(", "), self.facts.source);
        let found = format!("one beside it, in a catalogue that {by} has {key} sign");
        self.refuse("catalogue", self.refusal(DELEGATION_SCOPE, expected, found))
    }

    fn revision(&mut self) -> Result<(), Refusal> {
        match self.facts.catalogue.rollback {
            None => self.hold("revision", Detail::Plain),
            Some(refusal) => return self.refuse("revision", refusal.clone()),
        }
        Ok(())
    }

    fn expiry(&mut self) -> Result<(), Refusal> {
        let CatalogueFacts { expires_s, checked_s, .. } = self.facts.catalogue;
        let max_stale_s = i64::try_from(self.policy.defaults.max_stale_s).unwrap_or(i64::MAX);
        // Whose word that is: the signers' whom the policy names for the source, or the policy's own.
        let source = self.policy.source(self.facts.source).map(|rule| rule.place);
        let stale = checked_s.map(|at_s| at_s.saturating_add(max_stale_s));
        let ends = [
            (expires_s, "its signed expiry", source),
            (stale, "max_stale behind its last check", self.policy.defaults.max_stale_place),
        ];
        for (end_s, what, place) in ends {
            let Some(end_s) = end_s else { continue };
            if self.clock.has_passed(end_s) {
                self.place = place.or(source).or(self.place);
                let at = catalogue_schema::revision::rfc3339(end_s);
                let found =
                    format!("{what} was {at}; read it again with: resolverd sync {}", self.facts.source);
                let refusal = self.refusal("trust.frozen", "a catalogue that says something still", found);
                return self.refuse("expiry", refusal);
            }
        }
        self.hold("expiry", Detail::Plain);
        Ok(())
    }

    /// Step 5: a digest that counts.
    fn digest(&mut self, rule: &'a NamespaceRule) -> Result<(), Refusal> {
        if rule.require == Require::Pin {
            self.pass("digest");
            return Ok(());
        }
        if let Some(digest) =
            self.facts.digests.iter().find(|one| rule.digests.contains(&one.algorithm().into()))
        {
            self.hold("digest", Detail::Digest(digest));
            return Ok(());
        }
        let names: Vec<&str> = rule.digests.iter().map(|one| one.name()).collect();
        let expected = format!("a digest of {}", names.join(", "));
        let refusal = match (self.facts.digests.first(), self.facts.has_unknown_digests) {
            (None, false) => self.refusal("trust.digest_missing", expected, "none"),
            (None, true) => self.refusal("trust.digest_weak", expected, "digests that nobody here computes"),
            (Some(weak), _) => self.refusal("trust.digest_weak", expected, weak),
        };
        self.refuse("digest", refusal)
    }

    /// Step 6: a version that was seen before has the bytes that it had.
    fn first_seen(&mut self, rule: &'a NamespaceRule) -> Result<(), Refusal> {
        let Some(first) = self.facts.first_seen else {
            self.hold("first seen", Detail::Plain);
            return Ok(());
        };
        // Bytes that nobody knows any more are other bytes too.
        if self.facts.content == Some(first.digest) {
            self.hold("first seen", Detail::Since(first.at_s));
            return Ok(());
        }
        let found = self.facts.content.map_or_else(|| "no digest".to_owned(), Digest::to_string);
        if rule.require == Require::Pin && !rule.immutable {
            let text = format!(
                "it has other bytes than when it was first seen: {found} instead of {}",
                first.digest
            );
            self.warnings.push(Warning::new(VERSION_MUTATED, text));
            self.hold("first seen", Detail::Mutated(first.at_s));
            return Ok(());
        }
        let Facts { id, version, .. } = *self.facts;
        let expected = format!("{}, as first seen", first.digest);
        let found = format!("{found}; to accept it: resolverd trust forget {id}@{version} --reason TEXT");
        self.refuse("first seen", self.refusal(VERSION_MUTATED, expected, found))
    }

    /// Steps 7 and 8: signatures over the release.
    fn signatures(&mut self, rule: &'a NamespaceRule) -> Result<(), Refusal> {
        let policy = self.policy;
        let Some(set) = rule.signed_by.map(|index| &policy.signers[index]) else {
            self.pass("signatures");
            return Ok(());
        };
        let Facts { id, version, digests, first_seen, signed, content, .. } = *self.facts;
        // What was seen under this version counts for these bytes only.
        let first_seen = first_seen.filter(|first| content == Some(first.digest));
        let about = About {
            usage: Usage::Package,
            id: id.as_text(),
            version: Edition::Release(version),
            digests,
            first_seen,
        };
        match self.quorum(set, &signed, &about) {
            Ok(signers) => {
                self.hold("signatures", Detail::Signers(signers.len(), set));
                self.signers = signers;
                Ok(())
            }
            Err((refusal, place)) => {
                if is_of_key(&refusal.reason) {
                    self.place = Some(place.unwrap_or(set.place));
                }
                self.refuse_unless(Waiver::Unsigned, "signatures", refusal)
            }
        }
    }

    fn quorum(
        &self,
        set: &'a SignerSet,
        signed: &Signed<'_>,
        about: &About<'_>,
    ) -> Result<Vec<&'a Key>, (Refusal, Option<Position>)> {
        let quorum = Quorum { policy: self.policy, clock: &self.clock };
        quorum.of(set, signed, about).map_err(|Lack { reason, expected, found, place }| {
            (Refusal { reason, ..self.refusal("", expected, found) }, place)
        })
    }

    fn age(&mut self, rule: &'a NamespaceRule) -> Result<(), Refusal> {
        if rule.min_age_s == 0 {
            self.pass("age");
            return Ok(());
        }
        let expected = format!("published at least {} s ago", rule.min_age_s);
        let refusal = match self.facts.published_s {
            None => {
                let Facts { id, version, first_seen, content, .. } = self.facts;
                let is_mutated = first_seen.is_some_and(|first| *content != Some(first.digest));
                let found = match is_mutated {
                    true => format!(
                        "other bytes than when it was first seen; to accept them: resolverd trust forget {id}@{version} --reason TEXT"
                    ),
                    false => "no date that can be relied on".to_owned(),
                };
                self.refusal("trust.age_unknown", expected, found)
            }
            Some(at_s) => {
                let min_age_s = i64::try_from(rule.min_age_s).unwrap_or(i64::MAX);
                let found = catalogue_schema::revision::rfc3339(at_s);
                match (self.clock.agrees_on(at_s), self.clock.has_passed(at_s.saturating_add(min_age_s))) {
                    (false, _) => self.refusal("trust.from_future", expected, found),
                    (true, false) => self.refusal("trust.too_young", expected, found),
                    (true, true) => {
                        self.hold("age", Detail::Since(at_s));
                        return Ok(());
                    }
                }
            }
        };
        self.refuse_unless(Waiver::TooYoung, "age", refusal)
    }

    /// Step 9: sources that carry the same bytes.
    fn agreement(&mut self, rule: &'a NamespaceRule) -> Result<(), Refusal> {
        let own = self.facts.source;
        let carries = |source: &&SourceId| *source == own || self.facts.carried_by.contains(source);
        let found = rule.sources.iter().filter(carries).count();
        if found >= rule.agree {
            self.hold("agreement", Detail::Count(found, rule.agree));
            return Ok(());
        }
        let expected = format!("{} of {} to carry the same bytes", rule.agree, listed(&rule.sources));
        let refusal = self.refusal("trust.no_agreement", expected, format!("{found} of them"));
        self.refuse_unless(Waiver::NoAgreement, "agreement", refusal)
    }

    /// Step 10: edges into namespaces that the rule does not let its releases depend on. No exception waives it.
    fn dependencies(&mut self, rule: &'a NamespaceRule) -> Result<(), Refusal> {
        let Some(patterns) = &rule.allow_deps else {
            self.pass("dependencies");
            return Ok(());
        };
        let leads_out = |edge: &Reference| !patterns.iter().any(|pattern| pattern.matches(&edge.id));
        let Facts { id, version, is_unfetched, .. } = *self.facts;
        let found = match self.facts.dependencies.iter().find(leads_out) {
            Some(edge) => edge.id.to_string(),
            None if is_unfetched => {
                format!("not known yet; a refresh fetches it: resolverd resolve --refresh {id}@{version}")
            }
            None => {
                self.hold("dependencies", Detail::Plain);
                return Ok(());
            }
        };
        let expected = match patterns.is_empty() {
            true => "no dependencies".to_owned(),
            false => format!("dependencies within {}", listed(patterns)),
        };
        self.refuse("dependencies", self.refusal(DEP_NOT_ALLOWED, expected, found))
    }
}

/// Tells whether a reason says that a key counts for nothing, whatever it has signed.
fn is_of_key(reason: &str) -> bool {
    reason.starts_with("trust.key_")
}

fn listed(names: &[impl fmt::Display]) -> String {
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    names.join(", ")
}

#[cfg(test)]
mod tests;
