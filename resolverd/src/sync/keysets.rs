//! The keysets that signers publish: looked for at the start of a run that asks origins, taken one after the other, remembered before
//! anything is judged by them. A run that reads some sources only looks for the keysets of every set that answers for one of them,
//! whoever publishes those.
//!
//! Where one is refused, everything that its set must sign is refused with it and stays what it was: a source that cannot say who
//! speaks for it says nothing new. Where there is none, or where nobody can be reached, those in force stay. Never judges one itself.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use catalogue_schema::id::SourceId;
use catalogue_schema::keyset::Accepted;
use catalogue_schema::model::{Refusal, Source};
use catalogue_schema::path::DocPath;
use catalogue_schema::pointer::{Location, Want};
use catalogue_schema::policy::{Keysets, Name};
use tracing::{info, warn};

use crate::fetch::limit::Budget;
use crate::fetch::{Answer, Ask, FetchError};
use crate::store::audit::{Entry, Event};
use crate::store::{Store, StoreError};
use crate::sync::reach::reach;
use crate::sync::{Scope, Sync};
use crate::trust::evidence::beside;
use crate::trust::policy::{InForce, Policies};
use crate::trust::rotation::{Found, next, turned};

/// How many keysets of one set are taken in one run; the rest waits for the next.
const ROTATIONS_MAX: usize = 256;

/// What came of looking for keysets.
pub(super) struct Rotation {
    /// The policies with every keyset that was accepted.
    pub(super) policies: Arc<Policies>,
    /// The sources that may not be read now, and why.
    pub(super) refused: BTreeMap<SourceId, Refusal>,
}

/// What lies in the place of the next keyset.
enum Lies {
    Nothing,
    Document(Vec<u8>, Vec<u8>),
    Refused(Refusal),
}

impl Sync<'_> {
    /// Takes every keyset that may follow those in force, durably.
    ///
    /// **Errors**: what was accepted cannot be remembered; nothing may be judged by it then.
    pub(super) fn rotated(
        &self,
        store: &mut Store,
        sources: &[Source],
        scope: Scope<'_>,
    ) -> Result<Rotation, StoreError> {
        let policies = &self.rules.policies;
        if policies.all().iter().all(|one| one.policy.signers.iter().all(|set| set.keysets.is_none())) {
            return Ok(Rotation { policies: Arc::clone(policies), refused: BTreeMap::new() });
        }
        let (mut known, mut refused) = (store.memory().keysets().to_vec(), BTreeMap::new());
        let (mut all, mut fresh, mut lines) = (Vec::new(), Vec::new(), Vec::new());
        for one in policies.all() {
            let mut now = turned(one.written(), &known);
            for (set, signers) in one.policy.signers.iter().enumerate() {
                let Some(keysets) = &signers.keysets else { continue };
                let answers = answers_for(one, set, &keysets.source);
                let is_due =
                    sources.iter().any(|source| scope.covers(&source.id) && answers.contains(&source.id));
                let asked = sources.iter().find(|source| source.id == keysets.source);
                let is_asked = |source: &&Source| is_due && !self.offline && !source.offline;
                let Some(source) = asked.filter(is_asked) else { continue };
                let walk = Walk { sync: self, source, keysets, name: &signers.name };
                let Walked { accepted, refusal } = walk.steps(&mut now, set, &mut known);
                lines.extend(accepted.iter().map(|accepted| line(accepted, &source.id)));
                fresh.extend(accepted.into_iter().next_back());
                for id in refusal.iter().flat_map(|_| concerned(&now, set, &keysets.source)) {
                    refused.extend(refusal.clone().map(|refusal| (id, refusal)));
                }
            }
            all.push(now);
        }
        if !fresh.is_empty() {
            // Written down first: nobody's keys change without a line that says so.
            store.audit(&lines, self.now_s)?;
            store.remember_keysets(fresh)?;
        }
        Ok(Rotation { policies: self.put_in_force(all), refused })
    }

    /// Returns the policies of the run: those that it was given, where nothing has changed.
    fn put_in_force(&self, all: Vec<InForce>) -> Arc<Policies> {
        let policies = Policies::of(all);
        match policies.digest() == self.rules.policies.digest() {
            true => Arc::clone(&self.rules.policies),
            false => Arc::new(policies),
        }
    }
}

/// Returns the sources of which something rests on a set of signers: those that it answers for, and those that supply releases which
/// it signs.
fn answers_for(policy: &InForce, set: usize, publisher: &SourceId) -> BTreeSet<SourceId> {
    let rules = policy.policy.namespaces.iter().filter(|rule| rule.signed_by == Some(set));
    let supplied = rules.flat_map(|rule| rule.sources.iter().cloned());
    supplied.chain(concerned(policy, set, publisher)).collect()
}

/// Returns the sources that a set of signers answers for: those whose catalogues it signs, and the one that publishes its keysets.
fn concerned(policy: &InForce, set: usize, publisher: &SourceId) -> Vec<SourceId> {
    let signed = policy.policy.sources.iter().filter(|rule| rule.signed_by == Some(set));
    signed.map(|rule| rule.id.clone()).chain([publisher.clone()]).collect()
}

fn line(accepted: &Accepted, source: &SourceId) -> Entry {
    let Accepted { policy, signers, version, document, .. } = accepted;
    let digest = catalogue_schema::digest::Digest::sha256(document.as_bytes());
    let entry = Entry::new(Event::Rotated, signers)
        .saying(format!("keyset version {version}, {digest}, for {policy}"));
    Entry { source: Some(source.clone()), ..entry }
}

/// The way from one keyset of a set to the next.
struct Walk<'a> {
    sync: &'a Sync<'a>,
    source: &'a Source,
    keysets: &'a Keysets,
    name: &'a Name,
}

/// The keysets that were accepted on the way, oldest first, and why it went no further where that is somebody's fault.
struct Walked {
    accepted: Vec<Accepted>,
    refusal: Option<Refusal>,
}

impl Walk<'_> {
    /// Goes on from the keyset in force of a set as far as it leads; `now` and `known` say what is in force behind it.
    fn steps(&self, now: &mut InForce, set: usize, known: &mut Vec<Accepted>) -> Walked {
        let mut walked = Walked { accepted: Vec::new(), refusal: None };
        let reach = reach(&self.sync.rules.policies, self.source);
        let budget = Budget::new(self.sync.limits, Instant::now()).for_release_documents().reaching(reach);
        while walked.accepted.len() < ROTATIONS_MAX {
            let version = now.keyset_version(set).unwrap_or_default().saturating_add(1);
            let Some(want) = place(&self.source.entry, self.keysets, self.name, version) else { break };
            let (document, signature) = match self.lies(&want, &budget) {
                Lies::Nothing => break,
                Lies::Document(document, signature) => (document, signature),
                Lies::Refused(refusal) => {
                    walked.refusal = Some(refusal);
                    break;
                }
            };
            let found = Found { subject: &want, document: &document, signature: &signature };
            match next(now, set, found, self.sync.now_s) {
                Ok(accepted) => {
                    info!(signers = %self.name, version, "a keyset was accepted");
                    known.retain(|one| (&one.policy, &one.signers) != (&accepted.policy, &accepted.signers));
                    known.push(accepted.clone());
                    *now = turned(now.written(), &*known);
                    walked.accepted.push(accepted);
                }
                Err(refusal) => {
                    warn!(signers = %self.name, version, %refusal, "a keyset was refused");
                    walked.refusal = Some(refusal);
                    break;
                }
            }
        }
        walked
    }

    fn lies(&self, want: &Want, budget: &Budget) -> Lies {
        let Some(signature) = beside(want) else { return Lies::Nothing };
        let asks = [Ask::from(want), Ask::from(&signature)];
        let mut answers = self.sync.origins.fetch(&asks, budget).into_iter();
        let document = match answers.next() {
            Some(Ok(Answer::Fetched(fetched))) => fetched.bytes,
            // What a server says instead of a document says nothing of signers: it might as well have said that there is none.
            Some(Err(FetchError::Refused(refusal))) if !refusal.reason.starts_with("net.") => {
                return Lies::Refused(refusal);
            }
            // That one cannot be reached, its source will say when it is read.
            _ => return Lies::Nothing,
        };
        match answers.next() {
            Some(Ok(Answer::Fetched(fetched))) => Lies::Document(document, fetched.bytes),
            Some(Err(FetchError::Missing(_))) => Lies::Document(document, Vec::new()),
            Some(Err(FetchError::Refused(refusal))) if !refusal.reason.starts_with("net.") => {
                Lies::Refused(refusal)
            }
            _ => Lies::Nothing,
        }
    }
}

/// Returns where a keyset document lies: in the directory of keysets beside a source's entry document.
fn place(entry: &Location, keysets: &Keysets, name: &Name, version: u64) -> Option<Want> {
    let path = keysets.directory.join(&DocPath::parse(&format!("{name}.{version}.json")).ok()?).ok()?;
    let location = match entry {
        Location::Git { repository, revision, path: entry } => {
            let path = match entry.parent() {
                Some(parent) => parent.join(&path).ok()?,
                None => path,
            };
            Location::Git { repository: repository.clone(), revision: revision.clone(), path }
        }
        Location::File { path: entry } => Location::File { path: entry.parent()?.join(&path) },
        Location::Https { url } => Location::Https { url: url.sibling(&path).ok()? },
    };
    Some(Want::Blob(location))
}

#[cfg(test)]
mod tests {
    use catalogue_schema::id::SourceId;

    use super::*;

    #[test]
    fn keysets_lie_beside_the_entry_of_their_source() {
        let check = |entry: &str, expected: &str| {
            let text = format!("{{\"sources\":[{{\"id\":\"a\",\"entrypoint\":{entry}}}]}}");
            let forges = catalogue_schema::forge::Forges::default();
            let sources = catalogue_schema::sources::read(text.as_bytes(), "/".as_ref(), &forges);
            let source = sources.expect("a source").remove(0);
            let keysets = Keysets {
                source: SourceId::parse("a").expect("an id"),
                directory: DocPath::parse("keysets").expect("a path"),
                version: 1,
            };
            let name = Name::parse("roots").expect("a name");
            let want = place(&source.entry, &keysets, &name, 2).expect("a place");
            assert_eq!(want.to_string(), expected);
        };
        check(r#"{"type":"file","path":"/srv/list/catalogue.json"}"#, "/srv/list/keysets/roots.2.json");
        check(
            r#"{"type":"https","url":"https://e.org/list/catalogue.json?x=1"}"#,
            "https://e.org/list/keysets/roots.2.json",
        );
    }
}
