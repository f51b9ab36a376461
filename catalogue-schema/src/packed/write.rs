//! Packing: a component in, its block out. Writes what [`super`] describes, and never reads it.

use std::mem::take;

use serde::Serialize;
use sha2::{Digest as _, Sha256};

use crate::digest::Algorithm;
use crate::id::{ComponentId, Reference};
use crate::model::{Component, Level, Release, Trust, Verdict};
use crate::packed::told::Hidden;
use crate::packed::{
    ANSWER_END, ARCHIVED, ASKED, BASIS, BASIS_HERE, CONTENT, CONTENT_HERE, CONTRACT, CONTRACT_KIND, ENTRY,
    EXTRA, FORMAT, HEAD, HIDDEN_END, IMPLEMENTS, MANIFEST, MARKS, PRERELEASE, PROMISED, Packed, PackedError,
    REFUSED, SAYS, SEARCH, SHADOWS, SPLICE, UNCHECKED_SIGNATURE, UNPINNED, VERSION_BYTES, WARNED,
    WITHOUT_DOCUMENTS, YANKED, search, text_length,
};
use crate::pointer::Repository;
use crate::row::{IntegrityRow, ShadowRow, SourceRow, TrustRow};
use crate::version::Version;

/// Packs one component after the other, and keeps its room between them.
#[derive(Debug, Default)]
pub struct Packer {
    block: Vec<u8>,
    /// What the releases of the block say so far.
    says: Sha256,
}

/// What stands before the repository in what is told of where a release comes from.
const BEFORE_REPOSITORY: &[u8] = b",\"repository\":";

/// What is told of a release first.
#[derive(Serialize)]
struct Front<'a> {
    id: &'a ComponentId,
    version: &'a Version,
    kind: Option<&'a str>,
    summary: Option<&'a str>,
    dependencies: &'a [Reference],
    #[serde(skip_serializing_if = "<[Reference]>::is_empty")]
    implements: &'a [Reference],
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
        texts.iter().for_each(|text| self.block.extend(text.as_bytes()));
        let shadows_at = self.block.len();
        self.json(&ShadowRow::all(shadowed))?;
        let search_at = self.block.len();
        if let Some(shown) = shown(releases) {
            search::write(shown, &mut self.block);
        }
        self.put(SHADOWS, short(search_at - shadows_at)?);
        self.put(SEARCH, short(self.block.len() - search_at)?);
        for (at, release) in releases.iter().enumerate() {
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
            entry.iter_mut().skip(at).zip(bytes).for_each(|(place, byte)| *place = *byte);
        };
        let start = self.block.len();
        self.json(&Front {
            id: &release.id,
            version: &release.version,
            kind: release.kind.as_deref(),
            summary: release.summary.as_deref(),
            dependencies: &release.dependencies,
            implements: &release.implements,
        })?;
        self.block.pop();
        self.block.extend(b",\"source\":");
        let source_at = self.block.len();
        self.json(&SourceRow::of(&component.owner, release))?;
        self.say_place(start, source_at, release);
        let integrity_at = self.block.len();
        self.block.extend(b",\"integrity\":");
        self.json(&IntegrityRow::of(release))?;
        self.say_from(integrity_at);
        let trust_at = self.block.len();
        self.block.extend(b",\"trust\":");
        self.json(&TrustRow::of(&release.verdict))?;
        match release.verdict.refusal() {
            None => self.say_from(trust_at),
            Some(refusal) => self.say(&["refused", &refusal.reason]),
        }
        let rest_at = self.block.len();
        self.block.extend(b",\"yanked\":");
        self.block.extend(if release.yanked { b"true".as_slice() } else { b"false" });
        self.block.extend(b",\"shadowed\":");
        self.say_from(rest_at);
        put(SPLICE, &short(self.block.len())?);
        self.block.extend(b",\"warnings\":");
        self.json(&release.warnings)?;
        release.warnings.iter().for_each(|warning| self.say(&[&warning.reason]));
        let extra_at = self.block.len();
        self.block.extend(b",\"extra\":");
        put(EXTRA, &short(self.block.len())?);
        self.json(&release.extra)?;
        self.block.push(b'}');
        self.say_from(extra_at);
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
        let text = release.version.to_string().len();
        put(VERSION_BYTES, &[u8::try_from(text).map_err(|_| too_long(text))?]);
        put(MARKS, &marks(release).to_be_bytes());
        if let Some(content) = release.content().filter(|_| marks(release) & CONTENT_HERE != 0) {
            put(CONTENT, content.as_bytes());
        }
        if let Some(basis) = release.basis {
            put(BASIS, basis.as_bytes());
        }
        Ok(entry)
    }

    /// Adds the answer from `start` to its end so far, where the source begins at `source_at`, without the path of a repository on this
    /// machine.
    fn say_place(&mut self, start: usize, source_at: usize, release: &Release) {
        if !matches!(release.origin.repository, Some(Repository::Local(_))) {
            return self.say_from(start);
        }
        let source = self.block.get(source_at..).unwrap_or_default();
        // The ids before it hold neither quotes nor commas.
        let path = source.windows(BEFORE_REPOSITORY.len()).position(|part| part == BEFORE_REPOSITORY);
        let path_at = source_at + path.unwrap_or_default() + BEFORE_REPOSITORY.len();
        let length = self.block.get(path_at..).and_then(text_length).unwrap_or_default();
        self.says.update(self.block.get(start..path_at).unwrap_or_default());
        self.say_from(path_at + length);
    }

    /// Adds what the block holds from a place on.
    fn say_from(&mut self, start: usize) {
        self.says.update(self.block.get(start..).unwrap_or_default());
    }

    /// Adds words that hold no line break.
    fn say(&mut self, words: &[&str]) {
        for word in words {
            self.says.update(word);
            self.says.update(b"\n");
        }
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
