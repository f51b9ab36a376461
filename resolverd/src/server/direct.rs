//! Direct references as parts of a question: directories of commits, each of which is the only release of its component.
//!
//! What their descriptors say has been read before, by whoever put the directories on disk; here they take their places beside what
//! the snapshot holds. A directory is known by its commit, so that equal questions to equal snapshots have equal answers. A component
//! that a directory is hides what catalogues list under its id, which is told as shadowed. Never fetches, never chooses.

use std::collections::BTreeSet;

use catalogue_schema::compose::Package;
use catalogue_schema::direct::{self, DirectReference};
use catalogue_schema::error::ParseError;
use catalogue_schema::graph::{Graph, place_of};
use catalogue_schema::id::{CatalogueId, ComponentId, Reference};
use catalogue_schema::model::{Component, Release, Shadow};
use catalogue_schema::packed::{Packed, PackedError};
use catalogue_schema::pointer::Repository;
use catalogue_schema::version::VersionReq;

use crate::api::{Code, Failure};
use crate::resolve::overlay::{Overlay, Wishes};
use crate::resolve::{Candidates, Request, Standing};
use crate::server::files::{Beside, Choice, Part};

/// How many direct references one question may name.
pub const DIRECTS_MAX: usize = 64;

/// The direct references of a question.
#[derive(Debug, Clone)]
pub struct Direct {
    /// Where each of them stands.
    pub named: Vec<Named>,
    /// The project's wishes without them, which are put together anew when it is known what they are.
    pub wishes: Wishes,
}

/// A direct reference in a question.
#[derive(Debug, Clone)]
pub struct Named {
    /// Where it stands.
    pub at: At,
    /// The directory.
    pub reference: DirectReference,
}

/// Where a direct reference stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum At {
    /// It is the request at this position.
    Request(usize),
    /// It stands for this component, whatever it is itself.
    Instead(ComponentId),
    /// It is this component.
    Own(ComponentId),
}

/// A directory of a commit, and the release that its descriptor says it is.
#[derive(Debug, Clone)]
pub struct Described {
    /// The directory.
    pub reference: DirectReference,
    /// The release.
    pub release: Release,
    /// The package that it is, from which relative calls count; `None` where its descriptor names none.
    pub package: Option<Package>,
    /// The listed release beside which it lies, where that led to it.
    pub beside: Option<Box<(Release, CatalogueId)>>,
}

impl Described {
    /// Returns `id@version`.
    pub fn full(&self) -> String {
        format!("{}@{}", self.release.id, self.release.version)
    }

    /// Returns it as something to put on disk.
    pub fn choice(&self) -> Choice {
        let (reference, full) = (self.reference.clone(), self.full());
        match self.beside.clone() {
            None => Choice::Described(reference, full),
            of => Choice::Beside(Box::new(Beside { reference, part: Part::Whole, release: Some(full), of })),
        }
    }
}

impl Direct {
    /// Returns the directories, each once.
    pub fn references(&self) -> Vec<&DirectReference> {
        let mut all: Vec<&DirectReference> = Vec::new();
        for Named { reference, .. } in &self.named {
            if !all.contains(&reference) {
                all.push(reference);
            }
        }
        all
    }

    /// Tells whether one of them lies in a repository of this machine, which only an admin may name.
    pub fn is_local(&self) -> bool {
        self.named.iter().any(|one| matches!(one.reference.repository, Repository::Local(_)))
    }

    /// Returns `request` with these references in their places, now that it is known what they are.
    ///
    /// **Errors**: E008 `direct.id_mismatch`, R011 `direct.twice`, R001 (replacements that never end).
    pub fn settled(&self, request: &Request, described: &[Described]) -> Result<Request, Failure> {
        refuse_twins(described)?;
        let mut request = request.clone();
        let mut wishes = self.wishes.clone();
        for Named { at, reference } in &self.named {
            // Whoever described them has described each.
            let Some(one) = described.iter().find(|one| one.reference == *reference) else { continue };
            let Release { id, version, .. } = &one.release;
            match at {
                At::Request(position) => {
                    let exactly = Reference { id: id.clone(), requirement: VersionReq::exact(version) };
                    let position = (*position).min(request.references.len());
                    request.references.insert(position, exactly);
                }
                At::Own(wanted) if wanted != id => return Err(mismatch(wanted, one)),
                At::Instead(wanted) if wanted != id => {
                    let by = Reference { id: id.clone(), requirement: VersionReq::any() };
                    wishes.replace.insert(wanted.clone(), by);
                }
                At::Own(_) | At::Instead(_) => {}
            }
        }
        if let Some(sources) = &mut wishes.sources {
            // Whoever names a directory takes it.
            sources.insert(direct::owner().source);
        }
        request.overlay = Overlay::of(wishes).map_err(|error: ParseError| {
            Failure::of(Code::ReferenceInvalid, &error)
                .hint("correct the overlay, or the resolve.config.json that it comes from")
        })?;
        Ok(request)
    }
}

/// Refuses two directories that say they are the same component.
///
/// **Errors**: R011 `direct.twice`.
pub(super) fn refuse_twins(described: &[Described]) -> Result<(), Failure> {
    for (at, one) in described.iter().enumerate() {
        let is_twin =
            |other: &&Described| other.release.id == one.release.id && other.reference != one.reference;
        if let Some(other) = described.iter().skip(at + 1).find(is_twin) {
            let detail = format!("{} and {} are both {}", one.reference, other.reference, one.release.id);
            return Err(Failure::new(Code::RequestInvalid, "direct.twice", detail)
                .with("id", &one.release.id)
                .hint("one version of each component is used: name one of the two"));
        }
    }
    Ok(())
}

fn mismatch(wanted: &ComponentId, found: &Described) -> Failure {
    let detail = format!("{} is {}, and {wanted} is to come from there", found.reference, found.full());
    Failure::new(Code::ManifestInvalid, "direct.id_mismatch", detail)
        .with("expected", wanted)
        .with("found", &found.release.id)
        .hint("name the directory of that component, or let replace put the other one in its place")
}

/// What may be chosen where directories take part: they, and everything that the request can lead to beside them.
pub struct World<'a, C> {
    beyond: &'a C,
    /// Sorted by id.
    components: Vec<Packed>,
    graph: Graph,
}

impl<'a, C: Candidates> World<'a, C> {
    /// Puts the directories in the places of what `beyond` has under their ids; what `more` leads to can be chosen as well.
    ///
    /// **Errors**: one of them cannot be packed.
    pub fn new<'i>(
        beyond: &'a C,
        request: &'i Request,
        described: &'i [Described],
        more: impl IntoIterator<Item = &'i ComponentId>,
    ) -> Result<World<'a, C>, PackedError> {
        let (all, graph) = beyond.all();
        let own: BTreeSet<&ComponentId> = described.iter().map(|one| &one.release.id).collect();
        let place = |id: &ComponentId| place_of(id.as_text(), all);
        let required = described.iter().flat_map(|one| one.release.dependencies.iter());
        let named = request.references.iter().map(|wanted| &wanted.id);
        let starts = named.chain(request.overlay.ends()).chain(more);
        let nodes = starts.filter_map(place).chain(required.filter_map(|wanted| place(&wanted.id))).collect();
        let is_own = |packed: &Packed| own.iter().any(|id| id.as_text() == packed.id_text());
        let mut components: Vec<Packed> = reached(nodes, graph)
            .into_iter()
            .filter_map(|node| all.get(node as usize))
            .filter(|packed| !is_own(packed))
            .cloned()
            .collect();
        let mut known = BTreeSet::new();
        for one in described.iter().filter(|one| known.insert(&one.release.id)) {
            let hidden = place_of(one.release.id.as_text(), all).and_then(|place| all.get(place as usize));
            components.push(packed(&one.release, hidden)?);
        }
        components.sort_by(|one, other| one.id_bytes().cmp(other.id_bytes()));
        let graph = Graph::of(&components);
        Ok(World { beyond, components, graph })
    }

    /// Returns a component.
    pub fn component(&self, id: &ComponentId) -> Option<&Packed> {
        self.components.get(place_of(id.as_text(), &self.components)? as usize)
    }
}

/// Returns the nodes that `open` lead to, themselves among them, whichever versions are chosen. A node that a directory takes the
/// place of is gone through as well: that costs a little and changes nothing.
fn reached(mut open: Vec<u32>, graph: &Graph) -> BTreeSet<u32> {
    let mut found = BTreeSet::new();
    while let Some(node) = open.pop() {
        if node >= graph.components() || !found.insert(node) {
            continue;
        }
        for version in 0..graph.versions(node) {
            let required = graph.required(node, version).into_iter().flatten();
            open.extend(required.map(|edge| edge.target).filter(|target| !found.contains(target)));
        }
    }
    found
}

fn packed(release: &Release, hidden: Option<&Packed>) -> Result<Packed, PackedError> {
    let mut shadowed = Vec::new();
    if let Some(hidden) = hidden {
        let head = hidden.head()?;
        let versions = hidden.all().filter_map(|listed| listed.version()).collect();
        shadowed.push(Shadow { catalogue: head.owner, versions });
        shadowed.extend(head.shadowed);
    }
    Packed::of(&Component {
        id: release.id.clone(),
        owner: direct::owner(),
        releases: vec![release.clone()],
        shadowed,
    })
}

impl<C: Candidates> Candidates for World<'_, C> {
    fn standing(&self, id: &ComponentId) -> Standing<'_> {
        self.component(id).map_or_else(|| self.beyond.standing(id), Standing::Known)
    }

    fn nearest(&self, id: &ComponentId) -> Vec<ComponentId> {
        self.beyond.nearest(id)
    }

    fn all(&self) -> (&[Packed], &Graph) {
        (&self.components, &self.graph)
    }
}

impl<C> std::fmt::Debug for World<'_, C> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "World of {} components", self.components.len())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use catalogue_schema::model::Verdict;
    use catalogue_schema::version::Version;

    use super::*;
    use crate::trust::verify::{Evidence, judge};

    fn directory(name: &str) -> DirectReference {
        let commit = "0123456789".repeat(4);
        DirectReference::parse(&format!("git+https://e.org/r@{commit}#{name}")).unwrap()
    }

    fn described(name: &str, id: &str, version: &str) -> Described {
        let reference = directory(name);
        let evidence = Evidence {
            subject: &reference,
            digests: &[],
            size: None,
            commit_pinned: true,
            signature: None,
            named_by: None,
        };
        let verdict: Verdict = judge(&evidence, &catalogue_schema::digest::Hashed::of(Vec::new()));
        let named = (ComponentId::parse(id).unwrap(), Version::parse(version).unwrap());
        let release = reference.release(named, Vec::new(), Vec::new(), verdict).unwrap();
        Described { reference, release, package: None, beside: None }
    }

    fn settled(named: &[(At, &str)], listed: &[&str], described: &[Described]) -> Result<Request, String> {
        let named = named.iter().map(|(at, name)| Named { at: at.clone(), reference: directory(name) });
        let sources = Some(BTreeSet::new());
        let direct = Direct { named: named.collect(), wishes: Wishes { sources, ..Wishes::default() } };
        let references = listed.iter().map(|text| Reference::parse(text).unwrap()).collect();
        let request = Request { references, ..Request::default() };
        direct.settled(&request, described).map_err(|failure| failure.reason.into_owned())
    }

    #[test]
    fn directories_take_the_places_in_which_they_were_named() {
        let all = [described("one", "lcod://a/one", "1.0.0"), described("two", "lcod://a/two", "2.0.0-rc.1")];
        let named = [(At::Request(0), "one"), (At::Request(2), "two"), (At::Request(4), "one")];
        let request = settled(&named, &["lcod://b/x@1", "lcod://b/y"], &all).unwrap();
        let texts: Vec<String> = request.references.iter().map(ToString::to_string).collect();
        let expected = [
            "lcod://a/one@1.0.0",
            "lcod://b/x@1",
            "lcod://a/two@2.0.0-rc.1",
            "lcod://b/y",
            "lcod://a/one@1.0.0",
        ];
        assert_eq!(texts, expected);
        assert!(
            request.overlay.takes("direct") && !request.overlay.takes("main"),
            "whoever names it takes it"
        );
    }

    #[test]
    fn a_directory_stands_for_another_id_and_is_what_it_is_said_to_be() {
        let id = |text: &str| ComponentId::parse(text).unwrap();
        let all = [described("one", "lcod://a/one", "1.0.0")];
        let instead = |wanted: &str| settled(&[(At::Instead(id(wanted)), "one")], &[], &all);
        let request = instead("lcod://b/x").unwrap();
        assert_eq!(request.overlay.substitute(&id("lcod://b/x")).unwrap().id, id("lcod://a/one"));
        assert!(instead("lcod://a/one").unwrap().overlay.replaces_nothing());
        let own = |wanted: &str| settled(&[(At::Own(id(wanted)), "one")], &[], &all).map(drop);
        assert_eq!(own("lcod://a/one"), Ok(()));
        assert_eq!(own("lcod://b/x"), Err("direct.id_mismatch".to_owned()));
        let twins = [described("one", "lcod://a/one", "1.0.0"), described("two", "lcod://a/one", "1.0.0")];
        let named = [(At::Request(0), "one"), (At::Request(1), "two")];
        assert_eq!(settled(&named, &[], &twins).map(drop), Err("direct.twice".to_owned()));
    }
}
