//! The merge: what every catalogue lists becomes one owner per component id. Pure; the security rule of federation.
//!
//! First match wins per component id, not per version: the best-placed catalogue that lists an id owns all of its versions.
//! Catalogues below it are shadowed: never used, always reported. Only ranks count, never the order of arrival.
//!
//! A registered namespace belongs to one source, whoever lists what is in it: to the one that the operator gives it to, else to the
//! best-placed one that registers it and may supply it. What another source lists in it does not count where that source lists it as
//! well, and stays listed where it does not, refused with that reason (seed 002, section 9.2). In a namespace that nobody registers the
//! first match wins, as everywhere.

use std::collections::{BTreeSet, HashMap};

use catalogue_schema::digest::Digest;
use catalogue_schema::generation::{Blocked, SOURCE_EXPIRED};
use catalogue_schema::id::{CatalogueId, ComponentId, Namespace, SourceId};
use catalogue_schema::model::{Rank, Refusal, Shadow, Verdict, Warning};
use catalogue_schema::pace;
use catalogue_schema::packed::write::Packer;
use catalogue_schema::packed::{Listed, Packed, PackedError};
use catalogue_schema::seal::SCOPE_OWNED;
use sha2::{Digest as _, Sha256};

pub mod listing;

/// What one catalogue lists.
#[derive(Debug, Clone, PartialEq)]
pub struct Contribution {
    /// The catalogue.
    pub catalogue: CatalogueId,
    /// Its place in the federation; the lowest owns.
    pub rank: Rank,
    /// Its components as if nobody else listed them, each id once.
    pub components: Vec<Packed>,
}

/// A namespace that the operator gives to a source.
#[derive(Debug, Clone, PartialEq)]
pub struct Owned {
    /// The namespace.
    pub namespace: Namespace,
    /// The source.
    pub source: SourceId,
}

/// A namespace that is registered in a catalogue of a source. It ends at a segment border.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Registered<'a> {
    /// The namespace.
    pub namespace: &'a Namespace,
    /// The source.
    pub source: &'a SourceId,
}

/// Who may list what.
pub struct Rights<'a> {
    /// The namespaces that nobody placed below their owner may answer for.
    pub blocked: &'a [Blocked],
    /// Which namespaces belong to which source by the operator's word, the best-placed first.
    pub owned: &'a [Owned],
    /// Which namespaces are registered where, the best-placed first.
    pub registered: &'a [Registered<'a>],
    /// Tells whether the operator's policies let a source supply a component: one that may not holds it from nobody.
    pub may_supply: &'a dyn Fn(&ComponentId, &SourceId) -> bool,
}

/// Merges what all catalogues list, sorted by id.
///
/// An id inside a blocked namespace is left out when only catalogues of worse-placed sources list it: nobody may answer
/// for it until its owner has been read.
///
/// **Errors**: a component cannot be read or packed.
pub fn merge(mut contributions: Vec<Contribution>, rights: &Rights<'_>) -> Result<Vec<Packed>, PackedError> {
    contributions.sort_by(|one, other| (&one.rank, &one.catalogue).cmp(&(&other.rank, &other.catalogue)));
    let register = Register::of(rights);
    let mut packer = Packer::default();
    let mut places = Vec::with_capacity(contributions.len());
    let mut listed: Vec<(usize, Packed)> = Vec::new();
    for (at, Contribution { catalogue, rank, components }) in contributions.into_iter().enumerate() {
        places.push((catalogue, rank));
        listed.extend(components.into_iter().map(|component| (at, component)));
    }
    // Of those with the same id the best-placed stands first.
    listed.sort_by(|(place, one), (elsewhere, other)| {
        pace::spent(pace::COMPONENT_NS);
        (one.id_bytes(), place).cmp(&(other.id_bytes(), elsewhere))
    });
    let mut merged = Vec::with_capacity(listed.len());
    for same in listed.chunk_by(|(_, one), (_, other)| one.id_bytes() == other.id_bytes()) {
        pace::spent(pace::COMPONENT_NS);
        let allowed = same.iter().filter_map(|(at, component)| Some((places.get(*at)?, component)));
        let mut allowed: Vec<(&(CatalogueId, Rank), &Packed)> = match rights.blocked {
            [] => allowed.collect(),
            blocked => {
                let Some((_, first)) = same.first() else { continue };
                let id = first.id()?;
                allowed
                    .filter(|((_, rank), _)| !blocked.iter().any(|block| blocks(block, &id, rank)))
                    .collect()
            }
        };
        let Some((_, first)) = allowed.first() else { continue };
        let holder = register.holder(first)?;
        // Whoever else lists it, however well placed, lists it beside the one whose it is.
        let own =
            holder.and_then(|(source, _)| allowed.iter().position(|((one, _), _)| one.source == *source));
        let ((catalogue, _), first) = allowed.remove(own.unwrap_or_default());
        let foreign = match holder.filter(|(source, _)| **source != catalogue.source) {
            Some(holder) => Some(of_another(first, holder, &mut packer)?),
            None => None,
        };
        let shadow = |((catalogue, _), component): (&(CatalogueId, Rank), &Packed)| Shadow {
            catalogue: catalogue.clone(),
            versions: component.all().filter_map(|listed| listed.version()).collect(),
        };
        let shadows: Vec<Shadow> = allowed.into_iter().map(shadow).collect();
        merged.push(foreign.as_ref().unwrap_or(first).with_shadows(&shadows)?);
    }
    Ok(merged)
}

/// The registered namespaces by what their ids start with, each with the sources that register it, the best-placed first.
struct Register<'a> {
    rights: &'a Rights<'a>,
    sources: HashMap<&'a str, Vec<Registered<'a>>>,
}

impl<'a> Register<'a> {
    fn of(rights: &'a Rights<'a>) -> Register<'a> {
        let mut sources: HashMap<&str, Vec<Registered<'_>>> = HashMap::with_capacity(rights.registered.len());
        for one in rights.registered {
            sources.entry(one.namespace.prefix()).or_default().push(*one);
        }
        Register { rights, sources }
    }

    /// Returns the source whose the names are that a component's is one of, and why; `None` where they are nobody's. A namespace that
    /// the operator gives to a source counts as far as it lies in the registered one: what is given with everything else says nothing
    /// of it.
    fn holder(&self, component: &Packed) -> Result<Option<(&'a SourceId, &'static str)>, PackedError> {
        if self.sources.is_empty() {
            return Ok(None);
        }
        let text = component.id_text();
        // The narrowest one counts.
        let mut borders = text.rmatch_indices('/').map(|(at, _)| at + 1);
        let Some(registered) = borders.find_map(|end| self.sources.get(&text[..end])) else {
            return Ok(None);
        };
        let id = component.id()?;
        let is_given = |one: &&Owned| {
            registered.first().is_some_and(|first| one.namespace.is_within(first.namespace))
                && one.namespace.contains(&id)
        };
        let given = self.rights.owned.iter().find(is_given).map(|one| (&one.source, OWNS));
        let may_supply = |one: &&Registered<'_>| (self.rights.may_supply)(&id, one.source);
        Ok(given.or_else(|| registered.iter().find(may_supply).map(|one| (one.source, REGISTERS))))
    }
}

/// Why names are a source's: the operator says so.
const OWNS: &str = "owns these names";
/// Why names are a source's: they are registered there.
const REGISTERS: &str = "registers them and counts first";

/// Refuses every release of a component whose names are another source's.
fn of_another(
    component: &Packed,
    (source, why): (&SourceId, &str),
    packer: &mut Packer,
) -> Result<Packed, PackedError> {
    let mut read = component.component()?;
    let (scope, other) = (read.id.scope().to_owned(), read.owner.source.clone());
    for release in &mut read.releases {
        let expected = format!("components of {scope} out of {source}, which {why}");
        let subject = format!("{}@{}", release.id, release.version);
        let refusal = Refusal::new(SCOPE_OWNED, subject, expected, format!("one out of {other}"));
        release.verdict = Verdict::Refused(refusal.between(source, &other));
        // What is refused for another's sake is no longer what its documents make of it.
        release.basis = None;
    }
    packer.pack(&read)
}

fn blocks(block: &Blocked, id: &ComponentId, rank: &Rank) -> bool {
    block.namespace.contains(id) && rank.0.first().is_some_and(|source| *source > block.place)
}

/// Warns on every release whose bytes differ from those that the same source published before under the same id and version.
///
/// The warning stays on the release in later generations; `before` gives the component of the previous generation.
///
/// **Errors**: a component of the previous generation cannot be read.
pub fn note_mutations<'a>(
    components: &mut [Packed],
    before: impl Fn(&Packed) -> Option<&'a Packed>,
) -> Result<(), PackedError> {
    let mut packer = Packer::default();
    for component in pace::each(components, pace::COMPONENT_NS) {
        let is_of_source = |earlier: &&Packed| earlier.owner_texts().0 == component.owner_texts().0;
        let Some(earlier) = before(component).filter(is_of_source) else { continue };
        // What is the same block has the same bytes and the same warnings.
        if *component == *earlier {
            continue;
        }
        let mut noted = Vec::new();
        for listed in component.all() {
            let Some(version) = listed.version() else { continue };
            let Some(known) = earlier.exact(&version) else { continue };
            let warnings = mutations(&listed, &known)?;
            if !warnings.is_empty() {
                noted.push((listed.at(), warnings));
            }
        }
        if noted.is_empty() {
            continue;
        }
        let mut read = component.component()?;
        for (at, warnings) in noted {
            if let Some(release) = read.releases.get_mut(at) {
                release.warnings.extend(warnings);
            }
        }
        *component = packer.pack(&read)?;
    }
    Ok(())
}

/// Returns the warnings that a release gets because of what the previous generation knows of it.
fn mutations(listed: &Listed<'_>, known: &Listed<'_>) -> Result<Vec<Warning>, PackedError> {
    match (known.content()?, listed.content()?) {
        (Some(old), Some(new)) if old != new && was_let_in(known) => Ok(vec![mutation(&old, &new)]),
        // What was refused is no forerunner, and what was told of it was about its own bytes.
        (Some(old), Some(new)) if old != new => Ok(Vec::new()),
        _ if !known.has_warnings() => Ok(Vec::new()),
        // What was taken over as it was has its warnings still.
        _ if listed.has_warnings() && listed.release()?.warnings.iter().any(is_mutation) => Ok(Vec::new()),
        _ => Ok(known.release()?.warnings.into_iter().filter(is_mutation).collect()),
    }
}

/// Why a release is refused that is let in later without being another one: only time is missing.
const TOO_SOON: [&str; 2] = ["trust.too_young", "trust.age_unknown"];

/// Tells whether a release counts as seen: it is let in, or will be without being another one.
pub fn is_seen(listed: &Listed<'_>) -> bool {
    !listed.is_refused() || refused_for(listed).is_some_and(|reason| TOO_SOON.contains(&reason.as_str()))
}

/// Tells whether the bytes of a release were let in: they count as seen, or did until their source was not checked for too long.
pub fn was_let_in(listed: &Listed<'_>) -> bool {
    is_seen(listed) || refused_for(listed).is_some_and(|reason| reason == SOURCE_EXPIRED)
}

fn refused_for(listed: &Listed<'_>) -> Option<String> {
    let release = listed.release().ok()?;
    release.verdict.refusal().map(|refusal| refusal.reason.to_string())
}

fn is_mutation(warning: &Warning) -> bool {
    warning.reason == VERSION_MUTATED
}

/// The reason of the warning that the bytes of a release changed.
pub const VERSION_MUTATED: &str = "trust.version_mutated";

/// Makes the warning that the bytes of a release changed.
pub fn mutation(old: &Digest, new: &Digest) -> Warning {
    Warning::new(
        VERSION_MUTATED,
        format!("its bytes changed under the same version: they were {old}, now they are {new}"),
    )
}

/// What the digest of a snapshot begins with; another way of computing it has another.
pub const SNAPSHOT_MAGIC: &str = "resolverd/snapshot@3\n";

/// Returns the digest that names a snapshot: over everything that decides answers and nothing that belongs to one machine
/// (local paths, times, generation numbers), so that two machines can compare.
///
/// **Shape**: SHA-256 over [`SNAPSHOT_MAGIC`], then per component its id and a line break, what its releases say
/// ([`Packed::says`], 32 bytes), its shadows and a line break; then a line per source that is stale and per namespace that is blocked.
pub fn snapshot_digest(components: &[Packed], stale: &BTreeSet<SourceId>, blocked: &[Blocked]) -> Digest {
    let mut hash = Sha256::new();
    hash.update(SNAPSHOT_MAGIC);
    for component in pace::each(components, pace::COMPONENT_NS) {
        hash.update(component.id_bytes());
        hash.update(b"\n");
        hash.update(component.says().as_bytes());
        hash.update(component.shadows_text());
        hash.update(b"\n");
    }
    for source in stale {
        hash.update(format!("stale {source}\n"));
    }
    for block in blocked {
        hash.update(format!("blocked {} {}\n", block.namespace, block.source));
    }
    Digest::from_sha256(hash.finalize().into())
}

#[cfg(test)]
mod tests;
