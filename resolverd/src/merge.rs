//! The merge: what every catalogue lists becomes one owner per component id. Pure; the security rule of federation.
//!
//! First match wins per component id, not per version: the best-placed catalogue that lists an id owns all of its versions.
//! Catalogues below it are shadowed: never used, always reported. Only ranks count, never the order of arrival.
//!
//! Names of eStream that a publisher scopes, `@publisher/name`, belong together: the source that `owns` them has them all, else the
//! best-placed one that lists one of them and has a record of that publisher. Another source's stay listed, refused with that reason
//! (seed 002, section 9.2).

use std::collections::{BTreeSet, HashMap};

use catalogue_schema::digest::Digest;
use catalogue_schema::generation::{Blocked, SOURCE_EXPIRED};
use catalogue_schema::id::{CatalogueId, ComponentId, Namespace, SourceId};
use catalogue_schema::model::{Rank, Refusal, Shadow, Verdict, Warning};
use catalogue_schema::packed::write::Packer;
use catalogue_schema::packed::{Listed, Packed, PackedError};
use catalogue_schema::seal::{PUBLISHER_UNKNOWN, SCOPE_OWNED};
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

/// Merges what all catalogues list, sorted by id. `owned` says which names of publishers belong to which source, the best-placed first.
///
/// An id inside a `blocked` namespace is left out when only catalogues of worse-placed sources list it: nobody may answer
/// for it until its owner has been read.
///
/// **Errors**: a component cannot be read or packed.
pub fn merge(
    mut contributions: Vec<Contribution>,
    blocked: &[Blocked],
    owned: &[Owned],
) -> Result<Vec<Packed>, PackedError> {
    contributions.sort_by(|one, other| (&one.rank, &one.catalogue).cmp(&(&other.rank, &other.catalogue)));
    let scopes = scopes(&contributions);
    let mut packer = Packer::default();
    let mut places = Vec::with_capacity(contributions.len());
    let mut listed: Vec<(usize, Packed)> = Vec::new();
    for (at, Contribution { catalogue, rank, components }) in contributions.into_iter().enumerate() {
        places.push((catalogue, rank));
        listed.extend(components.into_iter().map(|component| (at, component)));
    }
    // Of those with the same id the best-placed stands first.
    listed.sort_by(|(place, one), (elsewhere, other)| {
        (one.id_bytes(), place).cmp(&(other.id_bytes(), elsewhere))
    });
    let mut merged = Vec::with_capacity(listed.len());
    for same in listed.chunk_by(|(_, one), (_, other)| one.id_bytes() == other.id_bytes()) {
        let allowed = same.iter().filter_map(|(at, component)| Some((places.get(*at)?, component)));
        let mut allowed = match blocked {
            [] => allowed.collect::<Vec<_>>(),
            _ => {
                let Some((_, first)) = same.first() else { continue };
                let id = first.id()?;
                allowed
                    .filter(|((_, rank), _)| !blocked.iter().any(|block| blocks(block, &id, rank)))
                    .collect()
            }
        }
        .into_iter();
        let Some(((catalogue, _), first)) = allowed.next() else { continue };
        let given = given(first.id_text(), owned);
        let known = scope(first.id_text()).and_then(|scope| scopes.get(scope));
        let foreign = match given.or(known).filter(|source| **source != catalogue.source) {
            Some(source) => {
                let why = if given.is_some() { OWNS } else { KNOWS };
                Some(of_another(first, (source, why), &mut packer)?)
            }
            None => None,
        };
        let shadow = |((catalogue, _), component): (&(CatalogueId, Rank), &Packed)| Shadow {
            catalogue: catalogue.clone(),
            versions: component.all().filter_map(|listed| listed.version()).collect(),
        };
        let shadows: Vec<Shadow> = allowed.map(shadow).collect();
        merged.push(foreign.as_ref().unwrap_or(first).with_shadows(&shadows)?);
    }
    Ok(merged)
}

/// Returns which source knows each publisher that names are scoped by: the best-placed that lists one of them and has a record of
/// that publisher. The contributions come in their order.
fn scopes(contributions: &[Contribution]) -> HashMap<String, SourceId> {
    let mut scopes: HashMap<String, SourceId> = HashMap::new();
    for Contribution { catalogue, components, .. } in contributions {
        for component in components {
            let Some(scope) = scope(component.id_text()) else { continue };
            if !scopes.contains_key(scope) && is_recorded(component) {
                scopes.insert(scope.to_owned(), catalogue.source.clone());
            }
        }
    }
    scopes
}

/// Tells whether the source of a component has a record of its publisher. Whatever else a release is refused for, names stay where they
/// are: a source that fails keeps them.
fn is_recorded(component: &Packed) -> bool {
    let is_unknown = |listed: &Listed<'_>| refused_for(listed).is_some_and(|one| one == PUBLISHER_UNKNOWN);
    component.all().any(|listed| !listed.is_refused() || !is_unknown(&listed))
}

/// Returns the source to which the operator gives the names of a publisher that `id` is one of. What is given as a whole, such as
/// `estream:**`, says nothing of single publishers.
fn given<'o>(id: &str, owned: &'o [Owned]) -> Option<&'o SourceId> {
    let names = format!("estream:@{}/", scope(id)?);
    let id = ComponentId::parse(id).ok()?;
    let is_given =
        |one: &&Owned| one.namespace.to_string().starts_with(&names) && one.namespace.contains(&id);
    owned.iter().find(is_given).map(|one| &one.source)
}

/// Returns the publisher by whom an id of eStream is scoped.
fn scope(id: &str) -> Option<&str> {
    id.strip_prefix("estream:@")?.split_once('/').map(|(scope, _)| scope)
}

/// Why names are a source's: the operator says so.
const OWNS: &str = "owns these names";
/// Why names are a source's: it has them.
const KNOWS: &str = "knows that publisher and counts first";
/// What stands before the sources in a refusal of [`of_another`].
const OUT_OF: &str = " out of ";

/// Refuses every release of a component whose publisher another source knows.
fn of_another(
    component: &Packed,
    (source, why): (&SourceId, &str),
    packer: &mut Packer,
) -> Result<Packed, PackedError> {
    let mut read = component.component()?;
    let publisher = read.id.scope().to_owned();
    for release in &mut read.releases {
        let expected = format!("components of {publisher}{OUT_OF}{source}, which {why}");
        let found = format!("one{OUT_OF}{}", read.owner.source);
        let subject = format!("{}@{}", release.id, release.version);
        release.verdict = Verdict::Refused(Refusal::new(SCOPE_OWNED, subject, expected, found));
    }
    packer.pack(&read)
}

/// Returns the source that has a publisher's names and the one that lists one of them beside it, where that is why a release is refused.
pub fn rivals(refusal: &Refusal) -> Option<(&str, &str)> {
    let (_, told) = refusal.expected.split_once(OUT_OF).filter(|_| refusal.reason == SCOPE_OWNED)?;
    let (_, other) = refusal.found.split_once(OUT_OF)?;
    Some((told.split_once(',')?.0, other))
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
    for component in components {
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
pub const SNAPSHOT_MAGIC: &str = "resolverd/snapshot@2\n";

/// Returns the digest that names a snapshot: over everything that decides answers and nothing that belongs to one machine
/// (local paths, times, generation numbers), so that two machines can compare.
///
/// **Shape**: SHA-256 over [`SNAPSHOT_MAGIC`], then per component its id and a line break, what its releases say
/// ([`Packed::says`], 32 bytes), its shadows and a line break; then a line per source that is stale and per namespace that is blocked.
pub fn snapshot_digest(components: &[Packed], stale: &BTreeSet<SourceId>, blocked: &[Blocked]) -> Digest {
    let mut hash = Sha256::new();
    hash.update(SNAPSHOT_MAGIC);
    for component in components {
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
