//! Packing: a component in, its block out. Writes what [`super`] describes, and never reads it.

use serde::Serialize;

use crate::id::{ComponentId, Reference};
use crate::model::{Component, Level, Release, Trust, Verdict};
use crate::packed::told::Hidden;
use crate::packed::{
    ANSWER_END, ASKED, BASIS, BASIS_HERE, CONTENT, CONTENT_HERE, ENTRY, EXTRA, FORMAT, HEAD, HIDDEN_END,
    MANIFEST, MARKS, PRERELEASE, PROMISED, Packed, PackedError, REFUSED, SPLICE, UNCHECKED_SIGNATURE,
    UNPINNED, VERSION_BYTES, WARNED, WITHOUT_DOCUMENTS, YANKED, search,
};
use crate::row::{IntegrityRow, ShadowRow, SourceRow, TrustRow};
use crate::version::Version;

/// Packs one component after the other, and keeps its room between them.
#[derive(Debug, Default)]
pub struct Packer {
    block: Vec<u8>,
}

/// What is told of a release before the splice.
#[derive(Serialize)]
struct Front<'a> {
    id: &'a ComponentId,
    version: &'a Version,
    kind: Option<&'a str>,
    summary: Option<&'a str>,
    dependencies: &'a [Reference],
    source: SourceRow<'a>,
    integrity: IntegrityRow<'a>,
    trust: TrustRow<'a>,
    yanked: bool,
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
        self.block.extend([0; 8]);
        self.block.resize(HEAD + releases.len() * ENTRY, 0);
        texts.iter().for_each(|text| self.block.extend(text.as_bytes()));
        let shadows_at = self.block.len();
        self.json(&ShadowRow::all(shadowed))?;
        let search_at = self.block.len();
        if let Some(shown) = shown(releases) {
            search::write(shown, &mut self.block);
        }
        self.put(9, short(search_at - shadows_at)?);
        self.put(13, short(self.block.len() - search_at)?);
        for (at, release) in releases.iter().enumerate() {
            let is_later =
                at == 0 || releases.get(at - 1).is_some_and(|before| before.version < release.version);
            if release.id != *id || !is_later {
                return Err(format!("{}@{} at place {at} of its releases", release.id, release.version));
            }
            let entry = self.release(component, release)?;
            self.put(HEAD + at * ENTRY, entry);
        }
        Ok(())
    }

    /// Writes answer and hidden of a release and returns its entry.
    fn release(&mut self, component: &Component, release: &Release) -> Result<[u8; ENTRY], String> {
        let mut entry = [0; ENTRY];
        let mut put = |at: usize, bytes: &[u8]| {
            entry.iter_mut().skip(at).zip(bytes).for_each(|(place, byte)| *place = *byte);
        };
        self.json(&Front {
            id: &release.id,
            version: &release.version,
            kind: release.kind.as_deref(),
            summary: release.summary.as_deref(),
            dependencies: &release.dependencies,
            source: SourceRow::of(&component.owner, release),
            integrity: IntegrityRow::of(release),
            trust: TrustRow::of(&release.verdict),
            yanked: release.yanked,
        })?;
        self.block.pop();
        self.block.extend(b",\"shadowed\":");
        put(SPLICE, &short(self.block.len())?);
        self.block.extend(b",\"warnings\":");
        self.json(&release.warnings)?;
        self.block.extend(b",\"extra\":");
        put(EXTRA, &short(self.block.len())?);
        self.json(&release.extra)?;
        self.block.push(b'}');
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
    let has_content = match &release.manifest {
        Some(manifest) => manifest.as_bytes().len() == 32,
        None => release.files.iter().any(|file| file.digest.is_some()),
    };
    let marks = [
        (release.yanked, YANKED),
        (release.verdict.refusal().is_some(), REFUSED),
        (leave.is_some_and(|leave| leave.level() == Level::Unpinned), UNPINNED),
        (leave.is_some_and(Trust::has_unchecked_signature), UNCHECKED_SIGNATURE),
        (leave.is_some_and(Trust::is_asked_for), ASKED),
        (release.promised, PROMISED),
        (release.unfetched, WITHOUT_DOCUMENTS),
        (release.version.is_prerelease(), PRERELEASE),
        (!release.warnings.is_empty(), WARNED),
        (release.manifest.is_some(), MANIFEST),
        (has_content, CONTENT_HERE),
        (release.basis.is_some(), BASIS_HERE),
    ];
    marks.into_iter().filter(|(is_so, _)| *is_so).fold(0, |all, (_, mark)| all | mark)
}
