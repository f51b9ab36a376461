//! Releases on their way: what the documents read so far say about one, and which ones a catalogue has listed already.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::collections::hash_map::Entry as MapEntry;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::basis::Parts;
use crate::dialect::lcod::document::{Dependency, Entry, Required};
use crate::dialect::lcod::{Reading, Task};
use crate::dialect::{Errand, Stage, described};
use crate::digest::{Algorithm, Digest};
use crate::error::ParseError;
use crate::id::{ComponentId, Dialect, Reference};
use crate::lexicon::Lexicon;
use crate::model::{Origin, Refusal, Release, SignatureClaim, Trust, Verdict, Warning};
use crate::path::DocPath;
use crate::pointer::{Location, Want};
use crate::references::References;
use crate::version::{Grammar, Version, VersionReq};

/// A release of which documents are still to be read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Pending {
    pub(super) id: ComponentId,
    pub(super) version: Version,
    /// As far as the catalogue knows it; shared by the releases that it lists at the same place.
    pub(super) origin: Arc<Origin>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) yanked: bool,
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub(super) extra: Map<String, Value>,
}

impl Pending {
    /// Adds what a release takes from here, without repository and commit; `document` is the path of its document.
    pub(super) fn parts(&self, parts: &mut Parts, document: &str) {
        parts.text(self.id.as_text());
        parts.version(&self.version);
        parts.number(u64::from(self.origin.commit.is_some()));
        parts.maybe_same(self.origin.path.as_ref().map(DocPath::as_text), Some(document));
        parts.number(u64::from(self.yanked));
        parts.each(self.extra.iter(), |parts, (field, value)| {
            parts.text(field);
            parts.value(value);
        });
    }

    /// Returns the release as far as it is known, without files and dependencies.
    pub(super) fn release(&self, verdict: Verdict) -> Release {
        self.release_at(Origin::clone(&self.origin), verdict)
    }

    /// Returns the release as far as it is known, whose author keeps it at `origin`.
    pub(super) fn release_at(&self, origin: Origin, verdict: Verdict) -> Release {
        Release {
            id: self.id.clone(),
            version: self.version.clone(),
            origin,
            manifest: None,
            unfetched: false,
            files: Vec::new(),
            archive: None,
            kind: None,
            summary: None,
            dependencies: References::default(),
            implements: Vec::new(),
            promised: false,
            yanked: self.yanked,
            verdict,
            warnings: Vec::new(),
            basis: None,
            extra: self.extra.clone().into(),
        }
    }

    /// Returns the release that rests on trusted bytes.
    pub(super) fn trusted(&self, trust: Trust) -> Release {
        self.release(self.verdict(trust))
    }

    /// Returns the verdict on a release that rests on trusted bytes.
    pub(super) fn verdict(&self, trust: Trust) -> Verdict {
        Verdict::Trusted(trust.noting(SignatureClaim::among(&self.extra).as_ref()))
    }

    /// Returns the release that cannot be used.
    pub(super) fn refused(&self, refusal: Refusal) -> Release {
        self.release(Verdict::Refused(refusal))
    }
}

/// The releases that a catalogue has listed so far: id and version without build metadata, since resolution could not tell
/// twins apart.
///
/// Catalogues mostly list the versions of a component together and in order. Such a version is new since it lies beyond the last
/// one, and nothing is kept of it; only versions that come in another order are hashed.
#[derive(Default)]
pub(super) struct Ledger {
    numbers: HashMap<ComponentId, usize>,
    last: Option<(ComponentId, usize)>,
    /// What is known of each component, by its number.
    runs: Vec<Run>,
    /// The places of the releases of components that have no run.
    listed: HashMap<(usize, semver::Version), usize>,
}

/// The releases of one component, as places in the list of errands.
enum Run {
    /// All of them, one behind the other, each version above the last one, or each below it.
    Ordered { places: Range<usize>, order: Ordering },
    /// They stand in [`Ledger::listed`].
    Hashed,
}

impl Ledger {
    /// Makes room for `components` more.
    pub(super) fn reserve(&mut self, components: usize) {
        self.numbers.reserve(components);
        self.runs.reserve(components);
    }

    /// Notes that a release will stand behind all `errands`, or returns the place of the one that is listed already.
    fn place(&mut self, id: &ComponentId, version: &Version, errands: &[Errand]) -> Option<usize> {
        let number = self.number(id);
        let next = errands.len();
        let version_at = |place: usize| {
            let (_, version) = described(errands.get(place)?)?;
            Some(version.semver())
        };
        let Some(run) = self.runs.get_mut(number) else {
            self.runs.push(Run::Ordered { places: next..next + 1, order: Ordering::Equal });
            return None;
        };
        if let Run::Ordered { places, order } = run {
            let beyond = match version_at(places.end - 1).filter(|_| places.end == next) {
                Some(last) => version.semver().cmp_precedence(last),
                None => Ordering::Equal,
            };
            if beyond.is_ne() && (places.len() == 1 || beyond == *order) {
                (places.end, *order) = (next + 1, beyond);
                return None;
            }
            let known =
                places.clone().filter_map(|place| Some(((number, without_build(version_at(place)?)), place)));
            self.listed.extend(known);
            *run = Run::Hashed;
        }
        match self.listed.entry((number, without_build(version.semver()))) {
            MapEntry::Occupied(listed) => Some(*listed.get()),
            MapEntry::Vacant(unlisted) => {
                unlisted.insert(next);
                None
            }
        }
    }

    fn number(&mut self, id: &ComponentId) -> usize {
        match &self.last {
            Some((last, number)) if last == id => *number,
            _ => {
                let next = self.numbers.len();
                let number = *self.numbers.entry(id.clone()).or_insert(next);
                self.last = Some((id.clone(), number));
                number
            }
        }
    }
}

impl Reading<'_> {
    /// Adds the errand of a release's first document, unless the catalogue listed that release before.
    pub(super) fn admit(
        &mut self,
        named: impl fmt::Display,
        entry: &Entry<'_>,
        (location, digests): (Location, Option<Digest>),
        task: Task,
    ) -> Result<(), ParseError> {
        let Some(pending) = task.pending() else { return Ok(()) };
        let package = pending.extra.get("package").map_or(self.package.as_deref(), Value::as_str);
        if !self.filter.admits(&pending.id, &pending.version, package) {
            self.filtered += 1;
            return Ok(());
        }
        let listed = self.ledger.place(&pending.id, &pending.version, &self.finding.errands);
        let errand = Errand {
            want: Want::Blob(location),
            digests: digests.into(),
            size: None,
            signature: None,
            stage: Stage::Release,
            task: crate::dialect::Task::Lcod(task),
        };
        match listed.and_then(|place| self.finding.errands.get(place)) {
            None => {
                self.finding.errands.push(errand);
                Ok(())
            }
            Some(first) => {
                let is_same = says_the_same(first, &errand);
                self.listed_again(named, entry, &errand, is_same)
            }
        }
    }

    /// Leaves out a release that is listed already, in the same words or in others.
    fn listed_again(
        &mut self,
        named: impl fmt::Display,
        entry: &Entry<'_>,
        errand: &Errand,
        is_same: bool,
    ) -> Result<(), ParseError> {
        let Some((id, version)) = described(errand) else { return Ok(()) };
        let release = format!("{id}@{version}");
        let expected = match is_same {
            true => "every release once; this is the same entry again",
            false => "every release once; the first entry is used, and this one says something else",
        };
        let error = entry.refused(ParseError::new("catalogue.duplicate", expected, &release));
        if !is_same {
            let text = format!("{release} is listed again with other content; the first entry is used");
            self.finding.contradiction.get_or_insert_with(|| text.clone());
            self.warn("catalogue.duplicate", text);
        }
        self.skip(named, error)
    }

    /// Adds a warning, as long as there are not too many.
    pub(super) fn warn(&mut self, reason: &'static str, text: String) {
        if self.finding.warnings.len() < WARNINGS_MAX {
            self.finding.warnings.push(Warning::new(reason, text));
        }
    }
}

/// The most warnings that one catalogue collects.
pub(super) const WARNINGS_MAX: usize = 100;

/// Tells whether two entries name the same release by the same pointers.
fn says_the_same(first: &Errand, second: &Errand) -> bool {
    let (crate::dialect::Task::Lcod(one), crate::dialect::Task::Lcod(other)) = (&first.task, &second.task)
    else {
        return false;
    };
    let same_task = match (one, other) {
        (Task::Manifest(one), Task::Manifest(other)) => one.declared == other.declared,
        (Task::Descriptor(one), Task::Descriptor(other)) => {
            one.compose == other.compose && one.digests == other.digests
        }
        _ => false,
    };
    let key = |task: &Task| task.pending().map(|pending| (pending.version.clone(), pending.yanked));
    same_task && first.want == second.want && first.digests == second.digests && key(one) == key(other)
}

fn without_build(version: &semver::Version) -> semver::Version {
    let mut version = version.clone();
    version.build = semver::BuildMetadata::EMPTY;
    version
}

/// Reads an LCOD component id without a version.
///
/// **Errors**: `input.id`.
pub(super) fn component_id(text: &str, lexicon: &mut Lexicon) -> Result<ComponentId, ParseError> {
    let id = lexicon.id(text)?;
    lcod_only(&id)?;
    Ok(id)
}

/// Refuses ids of other dialects: identity is never guessed across dialects.
///
/// **Errors**: `input.id`.
pub(super) fn lcod_only(id: &ComponentId) -> Result<(), ParseError> {
    match id.dialect() {
        Dialect::Lcod => Ok(()),
        Dialect::Estream | Dialect::Flowctl => {
            Err(ParseError::new("input.id", "an id that starts with lcod://", id.as_text()))
        }
    }
}

/// Reads one dependency.
///
/// **Errors**: `input.id`, `input.requirement`, `input.reference`.
pub(super) fn dependency(written: Required<'_>, lexicon: &mut Lexicon) -> Result<Reference, ParseError> {
    let reference = match written {
        Required::Table { id, version: Some(version) } => {
            Reference::of(ComponentId::parse(id)?, VersionReq::parse(version, Grammar::Reference)?)?
        }
        Required::Text(text) | Required::Table { id: text, version: None } => {
            if !text.starts_with("lcod://") {
                return Err(ParseError::new("input.id", "an id that starts with lcod://", text));
            }
            lexicon.reference(text)?
        }
    };
    lcod_only(&reference.id)?;
    Ok(reference)
}

/// Reads dependencies, all or none.
///
/// **Errors**: those of [`dependency`], with the field.
pub(super) fn dependencies(
    written: &[Required<'_>],
    lexicon: &mut Lexicon,
) -> Result<References, ParseError> {
    let plain = written.iter().map(|one| match *one {
        Required::Text(text) => text,
        // No text is not plain.
        Required::Table { .. } => "",
    });
    if let Some(plain) = References::plain(plain) {
        return Ok(plain);
    }
    let read = |(index, one): (usize, &Required<'_>)| {
        dependency(*one, lexicon).map_err(|error| error.in_field(format!("dependencies[{index}]")))
    };
    let all = written.iter().enumerate().map(read).collect::<Result<Vec<_>, _>>()?;
    Ok(in_order(all).into())
}

/// Reads which contracts a component says that it implements: one, or a list of them.
///
/// **Errors**: those of [`dependency`], and `input.field`.
pub(super) fn implemented(value: &Value, lexicon: &mut Lexicon) -> Result<Vec<Reference>, ParseError> {
    let all = match value {
        Value::Array(all) => all.as_slice(),
        one => std::slice::from_ref(one),
    };
    let read = |value: &Value| {
        let expected = "the id of a contract, or a list of them";
        let written = serde_json::from_value::<Dependency>(value.clone())
            .map_err(|_| ParseError::new("input.field", expected, value.to_string()))?;
        dependency(written.required(), lexicon)
    };
    Ok(in_order(all.iter().map(read).collect::<Result<_, _>>()?))
}

/// Returns references sorted by id, each once.
pub(super) fn in_order(mut references: Vec<Reference>) -> Vec<Reference> {
    // Most are written in that order.
    if references.is_sorted_by(|one, next| one.id < next.id) {
        return references;
    }
    references.sort_by(|a, b| (&a.id, a.requirement.as_text()).cmp(&(&b.id, b.requirement.as_text())));
    references.dedup();
    references
}

/// Reads a field that holds a SHA-256 digest.
///
/// **Errors**: `input.digest`.
pub(super) fn sha256(text: &str) -> Result<Digest, ParseError> {
    let digest = Digest::parse(text)?;
    match digest.algorithm() {
        Algorithm::Sha256 => Ok(digest),
        Algorithm::Sha512 | Algorithm::Sha3_256 => {
            Err(ParseError::new("input.digest", "a SHA-256 digest", text))
        }
    }
}
