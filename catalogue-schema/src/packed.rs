//! A merged component as one block of bytes: the same in the index, in a snapshot's memory and, in its greater part, in answers.
//! Equal components pack to equal bytes. Never chooses between releases, never touches a disk.
//!
//! # The block
//! Numbers are big endian; places count from the start of the block.
//!
//! | part | what |
//! |---|---|
//! | head | format (u8, [`FORMAT`]); lengths of the owner's source and name (u8 each) and of the id (u16); number of releases, length of the shadows, length of the search (u32 each); what its releases say, see [`Packed::says`] (32 bytes) |
//! | entries | one per release, oldest version first: major, minor, patch (u64 each); length of the version's text (u8); marks (u16); places of the splice, of the extra, and of the ends of the answer and of what is hidden (u32 each); content (32 bytes), basis (16 bytes) |
//! | texts | the id, the owner's source, the owner's name |
//! | shadows | what `"shadowed"` holds in every answer: JSON, `[]` mostly |
//! | search | see [`search`] |
//! | releases | per release its answer, then what is hidden |
//!
//! The **answer** is the JSON object that is told of the release, without the snapshot: `{"id":"lcod://ns/name","version":"1.0.0",
//! "kind":…,"summary":…,"dependencies":[…],"implements":[…],"source":{…},"integrity":{…},"trust":{…},"yanked":false,"shadowed":` — here the splice
//! leaves the shadows out, which stand once in the block and would be repeated by every release — `,"warnings":[…],"extra":{…}}`.
//!
//! What is **hidden** is nothing mostly, else a JSON object of what a [`Release`] holds and its answer does not tell.
//!
//! # Reading
//! [`Packed::read`] checks lengths, order, ids and versions, so that whoever asks for those gets them without reading a release;
//! [`Listed::release`] reads one, and fails where the answer's text is none that was packed. Another format number is refused:
//! whoever keeps blocks rebuilds them.

pub mod search;
mod told;
pub mod write;

use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use semver::Comparator;
use serde::Deserialize;

use crate::basis::Basis;
use crate::digest::Digest;
use crate::extra::Extra;
use crate::id::{CatalogueId, ComponentId, SourceId};
use crate::model::{Component, Level, Release, Shadow, TRUSTED};
use crate::pace;
use crate::packed::search::Searchable;
use crate::packed::told::{Hidden, Told};
use crate::packed::write::{Packer, marks};
use crate::row::{ShadowRow, UNCHECKED};
use crate::version::{Version, write_triple};

/// How blocks are written.
pub const FORMAT: u8 = 4;

/// A component in one block of bytes. Cheap to clone: clones share the block.
#[derive(Clone)]
pub struct Packed(Arc<[u8]>);

/// Why a component cannot be packed or read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PackedError {
    /// It does not fit into a block.
    #[error("cannot pack {id}: {found}")]
    Pack {
        /// Which.
        id: String,
        /// What does not fit.
        found: String,
    },
    /// The bytes are no block, or not one that this program writes.
    #[error("cannot read the packed component {id}: {found}")]
    Read {
        /// Which, as far as it can be read.
        id: String,
        /// What is wrong with it.
        found: String,
    },
}

/// Who a component is: everything but its releases.
#[derive(Debug, Clone, PartialEq)]
pub struct Head {
    /// Which component.
    pub id: ComponentId,
    /// The catalogue that owns it.
    pub owner: CatalogueId,
    /// The catalogues that list it too and are not used.
    pub shadowed: Vec<Shadow>,
}

/// One release in a block: what is known of it without reading its text.
#[derive(Clone, Copy)]
pub struct Listed<'a> {
    packed: &'a Packed,
    at: usize,
    entry: &'a [u8; ENTRY],
}

/// Places inside the head.
const COUNT: usize = 5;
const SHADOWS: usize = 9;
const SEARCH: usize = 13;
const SAYS: usize = 17;

const HEAD: usize = 49;
const ENTRY: usize = 91;

/// Places inside an entry.
const VERSION_BYTES: usize = 24;
const MARKS: usize = 25;
const SPLICE: usize = 27;
const EXTRA: usize = 31;
const ANSWER_END: usize = 35;
const HIDDEN_END: usize = 39;
const CONTENT: usize = 43;
const BASIS: usize = 75;

/// Marks of a release.
const YANKED: u16 = 1;
const REFUSED: u16 = 1 << 1;
const UNPINNED: u16 = 1 << 2;
const UNCHECKED_SIGNATURE: u16 = 1 << 3;
const WITHOUT_DOCUMENTS: u16 = 1 << 4;
const PRERELEASE: u16 = 1 << 5;
const WARNED: u16 = 1 << 6;
/// It has a manifest, whose digest is its content where it has no archive.
const MANIFEST: u16 = 1 << 7;
/// The content stands in the entry.
const CONTENT_HERE: u16 = 1 << 8;
/// The basis stands in the entry.
const BASIS_HERE: u16 = 1 << 9;
/// A policy asked for more than a pin, and it is there.
const ASKED: u16 = 1 << 10;
/// The document that lists it states the digest of its content.
const PROMISED: u16 = 1 << 11;
/// It has an archive.
const ARCHIVED: u16 = 1 << 12;
/// It is a contract.
const CONTRACT: u16 = 1 << 13;
/// It says what it implements.
const IMPLEMENTS: u16 = 1 << 14;

/// The kind of a contract.
const CONTRACT_KIND: &str = "contract";

/// What stands before and behind the id at the start of an answer.
const BEFORE_ID: &[u8] = b"{\"id\":\"";
const BEFORE_VERSION: &[u8] = b"\",\"version\":\"";
/// What stands before the requirements.
const DEPENDENCIES: &[u8] = b",\"dependencies\":";
/// The text of requirements where there are none.
const NONE_REQUIRED: &str = "[]";
/// What stands before the contracts that it implements, right behind the requirements.
const BEFORE_IMPLEMENTS: &[u8] = b",\"implements\":[";

impl Packed {
    /// Packs a component whose releases carry its id and stand in the order of their versions.
    ///
    /// **Errors**: [`PackedError::Pack`] for any other, and for a block that would be longer than 4 GiB.
    pub fn of(component: &Component) -> Result<Packed, PackedError> {
        Packer::default().pack(component)
    }

    /// Reads a block.
    ///
    /// **Errors**: [`PackedError::Read`] for anything that [`Packed::of`] does not write, as far as it can be seen without reading
    /// the releases.
    pub fn read(bytes: &[u8]) -> Result<Packed, PackedError> {
        let packed = Packed(bytes.into());
        match packed.fault() {
            None => Ok(packed),
            Some(found) => Err(packed.unreadable(found)),
        }
    }

    /// Returns the block.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Returns what stands before the releases: head, entries, texts, shadows and search.
    pub fn front(&self) -> &[u8] {
        self.part(0, self.releases_at())
    }

    /// Tells whether both are the same memory.
    pub fn is_shared_with(&self, other: &Packed) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Returns the text of the id.
    pub fn id_text(&self) -> &str {
        std::str::from_utf8(self.id_bytes()).unwrap_or_default()
    }

    /// Returns the text of the id as bytes.
    pub fn id_bytes(&self) -> &[u8] {
        self.part(self.texts_at(), self.id_length())
    }

    /// Returns the id.
    ///
    /// **Errors**: [`PackedError::Read`].
    pub fn id(&self) -> Result<ComponentId, PackedError> {
        ComponentId::parse(self.id_text()).map_err(|error| self.unreadable(error.to_string()))
    }

    /// Returns source and name of the catalogue that owns it, as texts.
    pub fn owner_texts(&self) -> (&str, &str) {
        let at = self.texts_at() + self.id_length();
        let (source, name) = (usize::from(self.byte(1)), usize::from(self.byte(2)));
        let text = |at, length| std::str::from_utf8(self.part(at, length)).unwrap_or_default();
        (text(at, source), text(at + source, name))
    }

    /// Returns id, owner and shadows.
    ///
    /// **Errors**: [`PackedError::Read`].
    pub fn head(&self) -> Result<Head, PackedError> {
        let (source, name) = self.owner_texts();
        let read = |text| SourceId::parse(text).map_err(|error| self.unreadable(error.to_string()));
        let owner = CatalogueId { source: read(source)?, name: read(name)? };
        Ok(Head { id: self.id()?, owner, shadowed: self.shadowed()? })
    }

    /// Returns the SHA-256 digest over what decides answers about its releases, and nothing that belongs to one machine: neither the
    /// path of a repository on it nor the texts of refusals and warnings, which may name one. Shadows are not part of it.
    ///
    /// **Shape**: over the parts of each release's answer. A part that is, byte for byte, the part at the same place of the release
    /// before is a zero byte; any other is a one, its length (u32, big endian) and its bytes; a two, length and bytes are a word that
    /// stands for what is left out: `local`, `refused` and the reason of the refusal, the reason of a warning. A three ends a release.
    ///
    /// [`Packed::read`] does not compute it again.
    pub fn says(&self) -> Digest {
        let bytes = self.0.get(SAYS..).and_then(|rest| rest.first_chunk::<32>());
        Digest::from_sha256(bytes.copied().unwrap_or_default())
    }

    /// Returns the bytes of `"shadowed"` in its answers: `[]` where nobody else lists it.
    pub fn shadows_text(&self) -> &[u8] {
        self.shadows()
    }

    /// Returns the same component with other shadows, as if it had been packed with them.
    ///
    /// **Errors**: [`PackedError::Pack`] for a block that would be longer than 4 GiB.
    pub fn with_shadows(&self, shadows: &[Shadow]) -> Result<Packed, PackedError> {
        let text = serde_json::to_vec(&ShadowRow::all(shadows)).map_err(|error| self.unpackable(error))?;
        if text == self.shadows() {
            return Ok(self.clone());
        }
        let (at, before) = (self.shadows_at(), self.shadows_length());
        let mut block = Vec::with_capacity(self.0.len() + text.len());
        block.extend_from_slice(self.part(0, at));
        block.extend_from_slice(&text);
        block.extend_from_slice(self.0.get(at + before..).unwrap_or_default());
        u32::try_from(block.len()).map_err(|error| self.unpackable(error))?;
        let mut put = |place: usize, number: usize| {
            // Nothing in a block is longer than the block.
            let number = u32::try_from(number).unwrap_or(u32::MAX);
            if let Some(bytes) = block.get_mut(place..place + 4) {
                bytes.copy_from_slice(&number.to_be_bytes());
            }
        };
        put(SHADOWS, text.len());
        for listed in self.all() {
            for field in [SPLICE, EXTRA, ANSWER_END, HIDDEN_END] {
                put(HEAD + listed.at * ENTRY + field, listed.place(field) - before + text.len());
            }
        }
        Ok(Packed(block.into()))
    }

    /// Tells whether other catalogues list it too.
    pub fn is_shadowing(&self) -> bool {
        self.shadows() != b"[]"
    }

    /// Returns the catalogues that list it too and are not used.
    ///
    /// **Errors**: [`PackedError::Read`].
    pub fn shadowed(&self) -> Result<Vec<Shadow>, PackedError> {
        #[derive(Deserialize)]
        struct Row {
            source: SourceId,
            catalogue: SourceId,
            versions: Vec<Version>,
        }
        if !self.is_shadowing() {
            return Ok(Vec::new());
        }
        let rows: Vec<Row> =
            serde_json::from_slice(self.shadows()).map_err(|error| self.unreadable(error.to_string()))?;
        let shadow = |Row { source, catalogue, versions }| Shadow {
            catalogue: CatalogueId { source, name: catalogue },
            versions,
        };
        Ok(rows.into_iter().map(shadow).collect())
    }

    /// Returns what a search looks at besides id and summary.
    pub fn searchable(&self) -> Searchable<'_> {
        Searchable::read(self.part(self.search_at(), self.search_length())).unwrap_or_default()
    }

    /// Returns how many releases there are.
    pub fn count(&self) -> usize {
        self.number(COUNT)
    }

    /// Returns the release at a place, counted from the oldest.
    pub fn listed(&self, at: usize) -> Option<Listed<'_>> {
        if at >= self.count() {
            return None;
        }
        let entry = self.0.get(HEAD + at * ENTRY..)?.first_chunk()?;
        Some(Listed { packed: self, at, entry })
    }

    /// Returns the releases, oldest version first.
    pub fn all(&self) -> impl DoubleEndedIterator<Item = Listed<'_>> + ExactSizeIterator {
        let places: std::ops::Range<u32> = 0..u32::try_from(self.count()).unwrap_or_default();
        let nothing = Listed { packed: self, at: usize::MAX, entry: &[0; ENTRY] };
        places.map(move |at| self.listed(at as usize).unwrap_or(nothing))
    }

    /// Returns the release with this very version, build metadata included.
    pub fn exact(&self, version: &Version) -> Option<Listed<'_>> {
        let (mut low, mut high) = (0, self.count());
        while low < high {
            let middle = low.midpoint(high);
            let listed = self.listed(middle)?;
            match listed.order(version) {
                Ordering::Equal => return Some(listed),
                Ordering::Less => low = middle + 1,
                Ordering::Greater => high = middle,
            }
        }
        None
    }

    /// Returns the release that stands for the component: the newest that may be chosen where nothing is asked for, else the newest.
    pub fn shown(&self) -> Option<Listed<'_>> {
        self.latest().or_else(|| self.listed(self.count().checked_sub(1)?))
    }

    /// Returns the newest release that may be chosen where nothing is asked for.
    pub fn latest(&self) -> Option<Listed<'_>> {
        self.all().rfind(|listed| listed.is_usable() && !listed.is_prerelease())
    }

    /// Returns the whole component.
    ///
    /// **Errors**: [`PackedError::Read`].
    pub fn component(&self) -> Result<Component, PackedError> {
        let Head { id, owner, shadowed } = self.head()?;
        let releases = pace::each(self.all(), pace::RELEASE_NS)
            .map(|listed| listed.release_of(&id))
            .collect::<Result<_, _>>()?;
        Ok(Component { id, owner, releases, shadowed })
    }

    fn shadows(&self) -> &[u8] {
        self.part(self.shadows_at(), self.shadows_length())
    }

    fn byte(&self, at: usize) -> u8 {
        self.0.get(at).copied().unwrap_or_default()
    }

    fn number(&self, at: usize) -> usize {
        let bytes = self.0.get(at..).and_then(|rest| rest.first_chunk::<4>());
        bytes.map_or(0, |bytes| u32::from_be_bytes(*bytes) as usize)
    }

    fn id_length(&self) -> usize {
        usize::from(u16::from_be_bytes([self.byte(3), self.byte(4)]))
    }

    fn shadows_length(&self) -> usize {
        self.number(SHADOWS)
    }

    fn search_length(&self) -> usize {
        self.number(SEARCH)
    }

    fn texts_at(&self) -> usize {
        HEAD + self.count() * ENTRY
    }

    fn shadows_at(&self) -> usize {
        self.texts_at() + self.id_length() + usize::from(self.byte(1)) + usize::from(self.byte(2))
    }

    fn search_at(&self) -> usize {
        self.shadows_at() + self.shadows_length()
    }

    /// Returns where the first answer begins.
    fn releases_at(&self) -> usize {
        self.search_at() + self.search_length()
    }

    fn part(&self, at: usize, length: usize) -> &[u8] {
        at.checked_add(length).and_then(|end| self.0.get(at..end)).unwrap_or_default()
    }

    fn unpackable(&self, found: impl fmt::Display) -> PackedError {
        PackedError::Pack { id: self.id_text().to_owned(), found: found.to_string() }
    }

    fn unreadable(&self, found: impl Into<String>) -> PackedError {
        PackedError::Read { id: self.id_text().to_owned(), found: found.into() }
    }

    /// Says what is wrong with the block, as far as it can be seen without reading the releases.
    fn fault(&self) -> Option<String> {
        let length = self.0.len();
        if length < HEAD || self.byte(0) != FORMAT {
            return Some(format!("{length} bytes of format {}, expected format {FORMAT}", self.byte(0)));
        }
        let releases_at = self.releases_at();
        if releases_at > length {
            return Some(format!("{length} bytes, expected at least {releases_at}"));
        }
        if let Err(error) = self.id() {
            return Some(error.to_string());
        }
        let (source, name) = self.owner_texts();
        if let Some(error) = [source, name].iter().find_map(|text| SourceId::parse(text).err()) {
            return Some(error.to_string());
        }
        match Searchable::read(self.part(self.search_at(), self.search_length())) {
            Some(searchable) if searchable.is_sound() => {}
            _ => return Some("texts for a search that cannot be read".to_owned()),
        }
        let (mut start, mut before) = (releases_at, None);
        for listed in self.all() {
            match listed.checked(start, before.as_ref()) {
                Some(version) => (start, before) = (listed.place(HIDDEN_END), Some(version)),
                None => return Some(format!("entry {} of {}", listed.at, self.count())),
            }
        }
        (start != length).then(|| format!("{length} bytes, expected {start}"))
    }
}

impl AsRef<[u8]> for Packed {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// Equal bytes, which is what equal components pack to.
impl PartialEq for Packed {
    fn eq(&self, other: &Packed) -> bool {
        self.is_shared_with(other) || self.0 == other.0
    }
}

impl Eq for Packed {}

impl fmt::Debug for Packed {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let versions: Vec<&str> = self.all().map(|listed| listed.version_text()).collect();
        write!(out, "{} {}", self.id_text(), versions.join(" "))
    }
}

impl<'a> Listed<'a> {
    /// Returns the text of the version.
    pub fn version_text(&self) -> &'a str {
        let text = self.packed.part(self.version_at(), usize::from(self.entry[VERSION_BYTES]));
        std::str::from_utf8(text).unwrap_or_default()
    }

    /// Returns the version; `None` where the text is none, which [`Packed::read`] has excluded.
    pub fn version(&self) -> Option<Version> {
        Version::parse(self.version_text()).ok()
    }

    /// Tells whether its version meets a comparator. Reads the entry only where that says all of it.
    pub fn meets(&self, comparator: &Comparator) -> bool {
        match (self.is_plain(), self.triple()) {
            (true, (major, minor, patch)) => comparator.matches(&semver::Version::new(major, minor, patch)),
            (false, _) => self.version().is_some_and(|version| comparator.matches(version.semver())),
        }
    }

    /// Tells whether its version differs from `version` in nothing but build metadata.
    pub fn is_twin_of(&self, version: &Version) -> bool {
        let other = version.semver();
        self.triple() == (other.major, other.minor, other.patch)
            && self.version().is_some_and(|own| own.is_twin_of(version))
    }

    /// Returns major, minor and patch version.
    pub fn triple(&self) -> (u64, u64, u64) {
        let part =
            |at: usize| self.entry[at..].first_chunk::<8>().map_or(0, |part| u64::from_be_bytes(*part));
        (part(0), part(8), part(16))
    }

    /// Returns its place, counted from the oldest.
    pub fn at(&self) -> usize {
        self.at
    }

    /// Tells whether its author has withdrawn it.
    pub fn is_yanked(&self) -> bool {
        self.has(YANKED)
    }

    /// Tells whether it may not be used.
    pub fn is_refused(&self) -> bool {
        self.has(REFUSED)
    }

    /// Tells whether it is neither refused nor withdrawn.
    pub fn is_usable(&self) -> bool {
        !self.has(YANKED | REFUSED)
    }

    /// Tells whether it is a prerelease.
    pub fn is_prerelease(&self) -> bool {
        self.has(PRERELEASE)
    }

    /// Tells whether its documents have not been fetched.
    pub fn is_unfetched(&self) -> bool {
        self.has(WITHOUT_DOCUMENTS)
    }

    /// Tells whether it is a contract, which others implement.
    pub fn is_contract(&self) -> bool {
        self.has(CONTRACT)
    }

    /// Returns the contracts that it says it implements, as they are written: `lcod://ns/name@1`.
    pub fn implements(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        let text = if self.has(IMPLEMENTS) { self.implements_found() } else { None };
        // A requirement may hold commas, and no quotes.
        text.into_iter().flat_map(|text| text.trim_matches('"').split("\",\""))
    }

    /// Tells whether a reader of it should know something.
    pub fn has_warnings(&self) -> bool {
        self.has(WARNED)
    }

    /// Returns the word of its verdict.
    pub fn verdict_word(&self) -> &'static str {
        match (self.has(REFUSED), self.has(UNPINNED)) {
            (true, _) => "refused",
            (false, _) if self.has(ASKED) => TRUSTED,
            (false, true) => Level::Unpinned.word(),
            (false, false) => Level::Pinned.word(),
        }
    }

    /// Returns `unchecked` where a signature is claimed that nobody has checked.
    pub fn unchecked(&self) -> Option<&'static str> {
        self.has(UNCHECKED_SIGNATURE).then_some(UNCHECKED)
    }

    /// Returns what [`Release::content`] says of it.
    ///
    /// **Errors**: [`PackedError::Read`].
    pub fn content(&self) -> Result<Option<Digest>, PackedError> {
        match self.entry[CONTENT..].first_chunk() {
            Some(content) if self.has(CONTENT_HERE) => Ok(Some(Digest::from_sha256(*content))),
            _ if self.has(MANIFEST) => Ok(self.release()?.content()),
            _ => Ok(None),
        }
    }

    /// Returns what made it, where that is known.
    pub fn basis(&self) -> Option<Basis> {
        let basis = self.entry[BASIS..].first_chunk().copied().map(Basis::from_bytes);
        basis.filter(|_| self.has(BASIS_HERE))
    }

    /// Returns the digest of its manifest.
    ///
    /// **Errors**: [`PackedError::Read`].
    pub fn manifest(&self) -> Result<Option<Digest>, PackedError> {
        match (self.has(MANIFEST), self.has(ARCHIVED)) {
            (false, _) => Ok(None),
            (true, false) => self.content(),
            (true, true) => Ok(self.release()?.manifest),
        }
    }

    /// Returns its answer as a JSON object without the opening brace, in parts that follow each other.
    pub fn answer(&self) -> [&'a [u8]; 3] {
        let [start, splice, end] = self.answer_at();
        [self.between(start, splice), self.packed.shadows(), self.between(splice, end)]
    }

    /// Returns where in the block the first part of its answer begins, where the last one does, and where that ends.
    pub fn answer_at(&self) -> [usize; 3] {
        [self.start() + 1, self.place(SPLICE), self.place(ANSWER_END)]
    }

    /// Returns the whole release where [`Packed::says`] leaves out more of it than the place of a repository on this machine: texts of
    /// refusals and warnings, and what is hidden. `None` for most.
    pub fn unsaid(&self) -> Option<&'a [u8]> {
        let (start, end) = (self.start(), self.place(HIDDEN_END));
        let hides = end > self.place(ANSWER_END);
        (hides || self.is_refused() || self.has_warnings())
            .then(|| self.packed.part(start, end.saturating_sub(start)))
    }

    /// Returns `component`, `contract`, … where a descriptor says so.
    pub fn kind(&self) -> Option<Cow<'a, str>> {
        self.text_behind(self.version_end(), ",\"kind\":")?.0
    }

    /// Returns the line that describes it.
    pub fn summary(&self) -> Option<Cow<'a, str>> {
        let (_, behind) = self.text_behind(self.version_end(), ",\"kind\":")?;
        self.text_behind(behind, ",\"summary\":")?.0
    }

    /// Returns the fields that nobody here interprets.
    ///
    /// **Errors**: [`PackedError::Read`].
    pub fn extra(&self) -> Result<Extra, PackedError> {
        let extra = self.between(self.place(EXTRA), self.place(ANSWER_END).saturating_sub(1));
        serde_json::from_slice(extra).map_err(|error| self.unreadable(error.to_string()))
    }

    /// Tells whether those may have a field of this name; reads none of them.
    pub fn may_have_extra(&self, field: &str) -> bool {
        let extra = self.between(self.place(EXTRA), self.place(ANSWER_END).saturating_sub(1));
        std::str::from_utf8(extra).is_ok_and(|extra| extra.contains(&format!("\"{field}\"")))
    }

    /// Returns what it requires as the text of a JSON array, without reading it: `["lcod://ns/name@^1"]`.
    pub fn dependencies_text(&self) -> &'a str {
        self.dependencies_found().map_or(NONE_REQUIRED, |(text, _)| text)
    }

    /// Returns [`Listed::dependencies_text`], and the part of its answer behind it that says where it comes from and what vouches for
    /// it, in parts that follow each other: `,"source":{…},"integrity":{…},"trust":{…},"yanked":false,"shadowed":[…]`.
    pub fn dependencies_and_provenance(&self) -> (&'a str, [&'a [u8]; 2]) {
        let (text, provenance) = match self.dependencies_found() {
            Some((text, end)) => (text, self.between(end, self.place(SPLICE))),
            None => (NONE_REQUIRED, &[][..]),
        };
        (text, [provenance, self.packed.shadows()])
    }

    /// Returns the release.
    ///
    /// **Errors**: [`PackedError::Read`].
    pub fn release(&self) -> Result<Release, PackedError> {
        self.release_of(&self.packed.id()?)
    }

    /// Tells whether both say the same of the same version, whatever their components say and whatever made them.
    pub fn is_same(&self, other: &Listed<'_>) -> bool {
        let own = |one: &Listed<'_>| {
            let parts = one.answer();
            (parts[0].len(), one.entry[..MARKS].to_owned(), one.marks() & !BASIS_HERE)
        };
        own(self) == own(other)
            && [self.answer()[0], self.answer()[2], self.hidden()]
                == [other.answer()[0], other.answer()[2], other.hidden()]
    }

    fn release_of(&self, id: &ComponentId) -> Result<Release, PackedError> {
        let [front, _, back] = self.answer();
        let mut text = Vec::with_capacity(front.len() + back.len() + 3);
        text.push(b'{');
        text.extend_from_slice(front);
        text.extend_from_slice(b"[]");
        text.extend_from_slice(back);
        let unreadable = |error: serde_json::Error| self.unreadable(error.to_string());
        let told: Told<'_> = serde_json::from_slice(&text).map_err(unreadable)?;
        let hidden: Hidden = match self.hidden() {
            [] => Hidden::default(),
            hidden => serde_json::from_slice(hidden).map_err(unreadable)?,
        };
        let told = told.release(hidden, id, self.has(UNPINNED)).map_err(|found| self.unreadable(found))?;
        let release = Release { basis: self.basis(), promised: self.has(PROMISED), ..told };
        // What is read off the entry and what is told have to agree.
        if release.version.to_string() != self.version_text() || marks(&release) != self.marks() {
            return Err(self.unreadable("an entry that does not fit its answer"));
        }
        Ok(release)
    }

    /// Tells whether its version is three numbers and nothing else. Reads the entry only.
    pub fn is_plain(&self) -> bool {
        let (major, minor, patch) = self.triple();
        let digits = |number: u64| number.checked_ilog10().unwrap_or(0) as usize + 1;
        usize::from(self.entry[VERSION_BYTES]) == digits(major) + digits(minor) + digits(patch) + 2
    }

    /// Adds the text of its version. Reads the entry only where that is three numbers.
    pub fn write_version(&self, out: &mut Vec<u8>) {
        match self.is_plain() {
            true => {
                let (major, minor, patch) = self.triple();
                write_triple([major, minor, patch], out);
            }
            false => out.extend(self.version_text().as_bytes()),
        }
    }

    fn has(&self, mark: u16) -> bool {
        self.marks() & mark != 0
    }

    fn marks(&self) -> u16 {
        u16::from_be_bytes([self.entry[MARKS], self.entry[MARKS + 1]])
    }

    fn place(&self, field: usize) -> usize {
        let bytes = self.entry.get(field..).and_then(|rest| rest.first_chunk::<4>());
        bytes.map_or(0, |bytes| u32::from_be_bytes(*bytes) as usize)
    }

    /// Returns where its answer begins: where the release before ends.
    fn start(&self) -> usize {
        let before = self.at.checked_sub(1).and_then(|before| self.packed.listed(before));
        before.map_or_else(|| self.packed.releases_at(), |before| before.place(HIDDEN_END))
    }

    fn version_at(&self) -> usize {
        self.start() + BEFORE_ID.len() + self.packed.id_length() + BEFORE_VERSION.len()
    }

    /// Returns the place behind the closing quote of the version.
    fn version_end(&self) -> usize {
        self.version_at() + usize::from(self.entry[VERSION_BYTES]) + 1
    }

    fn hidden(&self) -> &'a [u8] {
        self.between(self.place(ANSWER_END), self.place(HIDDEN_END))
    }

    fn between(&self, start: usize, end: usize) -> &'a [u8] {
        self.packed.0.get(start..end).unwrap_or_default()
    }

    fn order(&self, version: &Version) -> Ordering {
        let other = version.semver();
        let order = self.triple().cmp(&(other.major, other.minor, other.patch));
        let is_plain = other.pre.is_empty() && other.build.is_empty();
        if order.is_ne() || is_plain && self.is_plain() {
            return order;
        }
        self.version().map_or(Ordering::Less, |own| own.cmp(version))
    }

    /// Reads the text, or the `null`, behind `field`, which must stand at `at`; returns the place behind it as well.
    fn text_behind(&self, at: usize, field: &str) -> Option<(Option<Cow<'a, str>>, usize)> {
        let rest = self.between(at, self.place(SPLICE)).strip_prefix(field.as_bytes())?;
        let at = at + field.len();
        if rest.starts_with(b"null") {
            return Some((None, at + 4));
        }
        let length = text_length(rest)?;
        let text = rest.get(..length)?;
        let plain = std::str::from_utf8(text.get(1..length - 1)?).ok()?;
        let text = match plain.contains('\\') {
            false => Cow::Borrowed(plain),
            true => Cow::Owned(serde_json::from_slice(text).ok()?),
        };
        Some((Some(text), at + length))
    }

    /// Returns the text of what it requires, and the place behind it.
    fn dependencies_found(&self) -> Option<(&'a str, usize)> {
        let (_, at) = self.text_behind(self.version_end(), ",\"kind\":")?;
        let (_, at) = self.text_behind(at, ",\"summary\":")?;
        let rest = self.between(at, self.place(SPLICE)).strip_prefix(DEPENDENCIES)?;
        // Neither ids nor requirements hold a bracket.
        let length = position(b']', rest)? + 1;
        Some((std::str::from_utf8(rest.get(..length)?).ok()?, at + DEPENDENCIES.len() + length))
    }

    fn implements_found(&self) -> Option<&'a str> {
        let (_, end) = self.dependencies_found()?;
        let rest = self.between(end, self.place(SPLICE)).strip_prefix(BEFORE_IMPLEMENTS)?;
        std::str::from_utf8(rest.get(..position(b']', rest)?)?).ok()
    }

    /// Checks an entry whose answer begins at `start`, behind a release of version `before`; returns its version.
    fn checked(&self, start: usize, before: Option<&Version>) -> Option<Version> {
        let places = [SPLICE, EXTRA, ANSWER_END, HIDDEN_END].map(|field| self.place(field));
        let is_within = places.is_sorted() && places[3] <= self.packed.0.len() && start < places[0];
        let answer = self.between(start, places[0]);
        let rest = answer.strip_prefix(BEFORE_ID)?.strip_prefix(self.packed.id_bytes())?;
        let rest = rest.strip_prefix(BEFORE_VERSION)?.strip_prefix(self.version_text().as_bytes())?;
        let version = self.version()?;
        let semver = version.semver();
        let is_same = (semver.major, semver.minor, semver.patch) == self.triple()
            && version.is_prerelease() == self.has(PRERELEASE);
        let is_later = before.is_none_or(|before| *before < version);
        (is_within && is_same && is_later && rest.first() == Some(&b'"')).then_some(version)
    }

    fn unreadable(&self, found: impl Into<String>) -> PackedError {
        self.packed.unreadable(format!("{}: {}", self.version_text(), found.into()))
    }
}

impl fmt::Debug for Listed<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}@{}", self.packed.id_text(), self.version_text())
    }
}

/// Tells whether an answer, of which `front` is the first part, is about the component whose id stands in parts that follow each other,
/// and about this version where one is given: that is what is read next anyway, and the id in the block is not.
///
/// No part should be empty: an empty text may stand nowhere in memory, and to compare none of its bytes takes some processors longer
/// than all the rest.
pub fn is_answer_about(front: &[u8], id: &[&str], version: Option<&str>) -> bool {
    let mut rest = front;
    for text in
        [&BEFORE_ID[1..]].into_iter().chain(id.iter().map(|part| part.as_bytes())).chain([BEFORE_VERSION])
    {
        match rest.strip_prefix(text) {
            Some(behind) => rest = behind,
            None => return false,
        }
    }
    let is_version =
        |version: &str| rest.strip_prefix(version.as_bytes()).and_then(<[u8]>::first) == Some(&b'"');
    version.is_none_or(is_version)
}

/// Returns the place of the first such byte. Whole pieces are looked through at once, which is many times faster than byte by byte.
fn position(wanted: u8, bytes: &[u8]) -> Option<usize> {
    const PIECE: usize = 64;
    let start = bytes.chunks(PIECE).position(|piece| piece.contains(&wanted))? * PIECE;
    Some(start + bytes.get(start..)?.iter().position(|byte| *byte == wanted)?)
}

/// Returns the length of the JSON text that `bytes` start with, both quotes included.
fn text_length(bytes: &[u8]) -> Option<usize> {
    let mut rest = bytes.strip_prefix(b"\"")?.iter().enumerate();
    loop {
        match rest.next()? {
            (at, b'"') => return Some(at + 2),
            (_, b'\\') => drop(rest.next()),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests;
