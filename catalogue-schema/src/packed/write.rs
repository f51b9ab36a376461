//! Packing: a component in, its block out. Writes what [`super`] describes, and never reads it.

use std::mem::{swap, take};
use std::ops::Range;

use serde::Serialize;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::digest::{Algorithm, Digest};
use crate::extra::Extra;
use crate::id::Reference;
use crate::json::plain::is_plain;
use crate::model::{Component, File, Level, Release, Trust, Verdict};
use crate::pace;
use crate::packed::told::Hidden;
use crate::packed::{
    ANSWER_END, ARCHIVED, ASKED, BASIS, BASIS_HERE, BEFORE_ID, BEFORE_IMPLEMENTS, BEFORE_VERSION, CONTENT,
    CONTENT_HERE, CONTRACT, CONTRACT_KIND, DEPENDENCIES, ENTRY, EXTRA, FORMAT, HEAD, HIDDEN_END, IMPLEMENTS,
    MANIFEST, MARKS, PRERELEASE, PROMISED, Packed, PackedError, REFUSED, SAYS, SEARCH, SHADOWS, SPLICE,
    UNCHECKED_SIGNATURE, UNPINNED, VERSION_BYTES, WARNED, WITHOUT_DOCUMENTS, YANKED, search,
};
use crate::path::DocPath;
use crate::pointer::{CommitId, Repository};
use crate::row::{ArchiveRow, ManifestRow, ShadowRow, SourceRow, TrustRow};

/// Packs one component after the other, and keeps its room between them.
#[derive(Debug, Default)]
pub struct Packer {
    block: Vec<u8>,
    /// What the releases of the block say so far.
    says: Sha256,
    saying: Saying,
}

/// What the release that is written says, in parts: most of what the releases of a component say is what the one before says at the
/// same place, and that is told in one byte.
#[derive(Debug, Default)]
struct Saying {
    /// See [`Packed::says`].
    said: Vec<u8>,
    /// Where in the block the next part begins.
    at: usize,
    /// Where in the block the parts of this release are, and those of the one before.
    parts: Vec<Range<usize>>,
    before: Vec<Range<usize>>,
}

/// What stands before a part of what a release says: it is that of the release before; it is another, whose length and bytes follow;
/// it is no part of the block, and its length and bytes follow. And what stands behind the parts of a release.
const SAME: u8 = 0;
const OTHER: u8 = 1;
const WORD: u8 = 2;
const END: u8 = 3;

impl Saying {
    /// Forgets the releases of another block.
    fn begin(&mut self) {
        self.said.clear();
        self.parts.clear();
        self.before.clear();
    }
}

impl Packer {
    /// Packs a component, as [`Packed::of`].
    ///
    /// **Errors**: [`PackedError::Pack`].
    pub fn pack(&mut self, component: &Component) -> Result<Packed, PackedError> {
        let refused = |found: String| PackedError::Pack { id: component.id.as_text().to_owned(), found };
        self.write(component).map_err(refused)?;
        Ok(Packed(self.block.as_slice().into()))
    }

    fn write(&mut self, component: &Component) -> Result<(), String> {
        let Component { id, owner, releases, shadowed } = component;
        let texts = [id.as_text(), owner.source.as_text(), owner.name.as_text()];
        self.block.clear();
        self.block.push(FORMAT);
        for text in &texts[1..] {
            self.block.push(u8::try_from(text.len()).map_err(|_| too_long(text.len()))?);
        }
        self.block.extend(
            u16::try_from(id.as_text().len()).map_err(|_| too_long(id.as_text().len()))?.to_be_bytes(),
        );
        self.block.extend(short(releases.len())?);
        self.block.resize(SAYS, 0);
        self.block.resize(HEAD + releases.len() * ENTRY, 0);
        self.says = Sha256::new();
        self.saying.begin();
        texts.iter().for_each(|text| self.block.extend(text.as_bytes()));
        let shadows_at = self.block.len();
        self.json(&ShadowRow::all(shadowed))?;
        let search_at = self.block.len();
        if let Some(shown) = shown(releases) {
            search::write(shown, &mut self.block);
        }
        self.put(SHADOWS, short(search_at - shadows_at)?);
        self.put(SEARCH, short(self.block.len() - search_at)?);
        for (at, release) in pace::each(releases, pace::RELEASE_NS).enumerate() {
            let is_later =
                at == 0 || releases.get(at - 1).is_some_and(|before| before.version < release.version);
            if release.id != *id || !is_later {
                return Err(format!("{}@{} at place {at} of its releases", release.id, release.version));
            }
            let entry = self.release(component, release)?;
            self.put(HEAD + at * ENTRY, entry);
        }
        let says = take(&mut self.says).finalize().into();
        self.put::<32>(SAYS, says);
        Ok(())
    }

    /// Writes answer and hidden of a release and returns its entry.
    fn release(&mut self, component: &Component, release: &Release) -> Result<[u8; ENTRY], String> {
        let mut entry = [0; ENTRY];
        let mut put = |at: usize, bytes: &[u8]| {
            if let Some(place) = entry.get_mut(at..at + bytes.len()) {
                place.copy_from_slice(bytes);
            }
        };
        self.leave_unsaid();
        self.front(release, &mut put)?;
        self.source(component, release)?;
        self.integrity(release)?;
        self.say();
        self.trust(&release.verdict)?;
        match release.verdict.refusal() {
            None => self.say(),
            Some(refusal) => {
                self.leave_unsaid();
                self.say_words(&["refused", &refusal.reason]);
            }
        }
        self.block.extend(b",\"yanked\":");
        self.block.extend(if release.yanked { b"true".as_slice() } else { b"false" });
        self.block.extend(b",\"shadowed\":");
        self.say();
        put(SPLICE, &short(self.block.len())?);
        self.block.extend(b",\"warnings\":");
        match release.warnings.as_slice() {
            [] => self.block.extend(b"[]"),
            some => self.json(&some)?,
        }
        self.leave_unsaid();
        release.warnings.iter().for_each(|warning| self.say_words(&[&warning.reason]));
        self.block.extend(b",\"extra\":");
        put(EXTRA, &short(self.block.len())?);
        self.extra(&release.extra)?;
        self.block.push(b'}');
        self.say();
        self.end_saying();
        put(ANSWER_END, &short(self.block.len())?);
        let hidden = Hidden::of(release);
        if hidden != Hidden::default() {
            self.json(&hidden)?;
        }
        put(HIDDEN_END, &short(self.block.len())?);
        let semver = release.version.semver();
        for (at, part) in [semver.major, semver.minor, semver.patch].into_iter().enumerate() {
            put(8 * at, &part.to_be_bytes());
        }
        let marks = marks(release);
        put(MARKS, &marks.to_be_bytes());
        if let Some(content) = release.content().filter(|_| marks & CONTENT_HERE != 0) {
            put(CONTENT, content.as_bytes());
        }
        if let Some(basis) = release.basis {
            put(BASIS, basis.as_bytes());
        }
        Ok(entry)
    }

    /// Writes the start of an answer: who it is about, and what that requires.
    fn front(&mut self, release: &Release, put: &mut impl FnMut(usize, &[u8])) -> Result<(), String> {
        self.block.extend(BEFORE_ID);
        self.block.extend(release.id.as_text().as_bytes());
        self.block.extend(BEFORE_VERSION);
        self.say();
        let version_at = self.block.len();
        release.version.write(&mut self.block);
        let length = self.block.len() - version_at;
        put(VERSION_BYTES, &[u8::try_from(length).map_err(|_| too_long(length))?]);
        self.say();
        self.block.extend(b"\",\"kind\":");
        self.maybe_text(release.kind.as_deref())?;
        self.block.extend(b",\"summary\":");
        self.maybe_text(release.summary.as_deref())?;
        self.block.extend(DEPENDENCIES);
        self.block.push(b'[');
        self.say();
        self.block.extend(release.dependencies.items().as_bytes());
        if !release.implements.is_empty() {
            self.block.push(b']');
            self.block.extend(BEFORE_IMPLEMENTS);
            self.references(&release.implements)?;
        }
        self.say();
        self.block.extend(b"],\"source\":");
        Ok(())
    }

    /// Writes what stands in a list of references.
    fn references(&mut self, references: &[Reference]) -> Result<(), String> {
        for (at, Reference { id, requirement }) in references.iter().enumerate() {
            let requirement = requirement.as_text();
            self.separate(at);
            if !is_plain(requirement.as_bytes()) {
                self.json(&references.get(at))?;
                continue;
            }
            // An id holds nothing that JSON escapes.
            self.block.push(b'"');
            self.block.extend(id.as_text().as_bytes());
            if !requirement.is_empty() {
                self.block.push(b'@');
                self.block.extend(requirement.as_bytes());
            }
            self.block.push(b'"');
        }
        Ok(())
    }

    /// Writes what a [`SourceRow`] says.
    fn source(&mut self, component: &Component, release: &Release) -> Result<(), String> {
        let SourceRow { id, catalogue, repository, commit, path } = SourceRow::of(&component.owner, release);
        self.block.extend(b"{\"id\":\"");
        self.block.extend(id.as_text().as_bytes());
        self.block.extend(b"\",\"catalogue\":\"");
        self.block.extend(catalogue.as_text().as_bytes());
        self.block.extend(b"\",\"repository\":");
        match repository {
            Some(Repository::Https(url)) => self.text(url.as_text())?,
            Some(local @ Repository::Local(_)) => {
                self.say();
                self.text(&local.to_string())?;
                self.leave_unsaid();
                self.say_words(&["local"]);
            }
            other => self.maybe_text(other.map(ToString::to_string).as_deref())?,
        }
        self.block.extend(b",\"commit\":");
        self.say();
        self.maybe_quoted(commit.map(CommitId::as_text));
        self.say();
        self.block.extend(b",\"path\":");
        self.maybe_quoted(path.map(DocPath::as_text));
        self.block.push(b'}');
        Ok(())
    }

    /// Writes what an [`IntegrityRow`] says.
    fn integrity(&mut self, release: &Release) -> Result<(), String> {
        self.block.extend(b",\"integrity\":{\"manifest\":");
        self.say();
        match ManifestRow::of(release) {
            ManifestRow::Known(digest) => self.maybe_digest(digest),
            ManifestRow::Unfetched(word) => self.text(word)?,
        }
        self.say();
        self.block.extend(b",\"files\":[");
        for (at, File { path, digest, blob, size }) in release.files.iter().enumerate() {
            self.separate(at);
            self.block.extend(b"{\"path\":");
            self.maybe_quoted(Some(path.as_text()));
            self.block.extend(b",\"digest\":");
            self.say();
            self.maybe_digest(digest.as_ref());
            self.say();
            self.block.extend(b",\"blob\":");
            self.maybe_quoted(blob.as_ref().map(CommitId::as_text));
            self.block.extend(b",\"size\":");
            self.json(size)?;
            self.block.push(b'}');
        }
        self.block.push(b']');
        if let Some(archive) = &release.archive {
            self.block.extend(b",\"archive\":");
            self.json(&ArchiveRow::of(archive))?;
        }
        self.block.push(b'}');
        Ok(())
    }

    /// Writes what a [`TrustRow`] says.
    fn trust(&mut self, verdict: &Verdict) -> Result<(), String> {
        self.block.extend(b",\"trust\":");
        match TrustRow::of(verdict) {
            TrustRow { verdict, rule: None, signers: [], signature: None, refusal: None } => {
                self.block.extend(b"{\"verdict\":");
                self.text(verdict)?;
                self.block.extend(b",\"rule\":null,\"signers\":[]}");
                Ok(())
            }
            row => self.json(&row),
        }
    }

    /// Writes the fields that nobody here interprets.
    fn extra(&mut self, extra: &Extra) -> Result<(), String> {
        self.block.push(b'{');
        for (at, (field, value)) in extra.iter().enumerate() {
            self.separate(at);
            self.text(field)?;
            self.block.push(b':');
            match value {
                Value::String(text) => self.text(text)?,
                other => self.json(other)?,
            }
        }
        self.block.push(b'}');
        Ok(())
    }

    /// Notes that what was written since the last part is said, as the next part.
    fn say(&mut self) {
        let Saying { said, at, parts, before } = &mut self.saying;
        let part = *at..self.block.len();
        let read = |part: &Range<usize>| self.block.get(part.clone()).unwrap_or_default();
        let bytes = read(&part);
        match before.get(parts.len()) {
            Some(before) if read(before) == bytes => said.push(SAME),
            _ => told(said, OTHER, bytes),
        }
        *at = part.end;
        parts.push(part);
    }

    /// Notes that what was written since the last part is not said.
    fn leave_unsaid(&mut self) {
        self.saying.at = self.block.len();
    }

    /// Adds words that the block does not hold.
    fn say_words(&mut self, words: &[&str]) {
        words.iter().for_each(|word| told(&mut self.saying.said, WORD, word.as_bytes()));
    }

    /// Takes in what the release says.
    fn end_saying(&mut self) {
        let Saying { said, parts, before, .. } = &mut self.saying;
        said.push(END);
        self.says.update(&*said);
        said.clear();
        swap(parts, before);
        parts.clear();
    }

    /// Writes what stands between the items of a list before the one at place `at`.
    fn separate(&mut self, at: usize) {
        if at > 0 {
            self.block.push(b',');
        }
    }

    /// Writes a text. Nearly none holds anything that JSON escapes.
    fn text(&mut self, text: &str) -> Result<(), String> {
        if !is_plain(text.as_bytes()) {
            return self.json(&text);
        }
        self.block.push(b'"');
        self.block.extend(text.as_bytes());
        self.block.push(b'"');
        Ok(())
    }

    fn maybe_text(&mut self, text: Option<&str>) -> Result<(), String> {
        match text {
            Some(text) => self.text(text)?,
            None => self.block.extend(b"null"),
        }
        Ok(())
    }

    /// Writes what holds nothing that JSON escapes: a path, a commit.
    fn maybe_quoted(&mut self, text: Option<&str>) {
        let Some(text) = text else { return self.block.extend(b"null") };
        self.block.push(b'"');
        self.block.extend(text.as_bytes());
        self.block.push(b'"');
    }

    fn maybe_digest(&mut self, digest: Option<&Digest>) {
        let Some(digest) = digest else { return self.block.extend(b"null") };
        self.block.push(b'"');
        digest.write(&mut self.block);
        self.block.push(b'"');
    }

    fn json(&mut self, value: &impl Serialize) -> Result<(), String> {
        serde_json::to_writer(&mut self.block, value).map_err(|error| error.to_string())
    }

    fn put<const N: usize>(&mut self, at: usize, bytes: [u8; N]) {
        if let Some(place) = self.block.get_mut(at..at + N) {
            place.copy_from_slice(&bytes);
        }
    }
}

fn told(said: &mut Vec<u8>, how: u8, bytes: &[u8]) {
    said.push(how);
    // A longer part stands in no block.
    said.extend(u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes());
    said.extend(bytes);
}

fn short(number: usize) -> Result<[u8; 4], String> {
    u32::try_from(number).map(u32::to_be_bytes).map_err(|_| too_long(number))
}

fn too_long(length: usize) -> String {
    format!("a part of {length} bytes, which is too long for a block")
}

/// Returns the release that stands for a component, as [`Packed::shown`].
fn shown(releases: &[Release]) -> Option<&Release> {
    let may_be_chosen = |release: &&Release| {
        !release.yanked && !release.version.is_prerelease() && release.verdict.refusal().is_none()
    };
    releases.iter().rfind(may_be_chosen).or(releases.last())
}

pub(super) fn marks(release: &Release) -> u16 {
    let leave = match &release.verdict {
        Verdict::Trusted(leave) => Some(leave),
        Verdict::Refused(_) => None,
    };
    let has_content = match (&release.archive, &release.manifest) {
        (Some(_), _) => true,
        (None, Some(manifest)) => manifest.algorithm() == Algorithm::Sha256,
        (None, None) => release.files.iter().any(|file| file.digest.is_some()),
    };
    let marks = [
        (release.yanked, YANKED),
        (release.verdict.refusal().is_some(), REFUSED),
        (leave.is_some_and(|leave| leave.level() == Level::Unpinned), UNPINNED),
        (leave.is_some_and(Trust::has_unchecked_signature), UNCHECKED_SIGNATURE),
        (leave.is_some_and(Trust::is_asked_for), ASKED),
        (release.promised, PROMISED),
        (release.kind.as_deref() == Some(CONTRACT_KIND), CONTRACT),
        (!release.implements.is_empty(), IMPLEMENTS),
        (release.unfetched, WITHOUT_DOCUMENTS),
        (release.version.is_prerelease(), PRERELEASE),
        (!release.warnings.is_empty(), WARNED),
        (release.manifest.is_some(), MANIFEST),
        (release.archive.is_some(), ARCHIVED),
        (has_content, CONTENT_HERE),
        (release.basis.is_some(), BASIS_HERE),
    ];
    marks.into_iter().filter(|(is_so, _)| *is_so).fold(0, |all, (_, mark)| all | mark)
}
