//! A project's wishes for one question: replacements, bindings of contracts, which ids and which sources may be used.
//!
//! Values only. Never reads a file: `resolve.config.json` is read by the client, which sends what it says.

use std::collections::{BTreeMap, BTreeSet};

use catalogue_schema::error::ParseError;
use catalogue_schema::id::{ComponentId, Reference, SourceId};
use catalogue_schema::project::Allowed;
use catalogue_schema::version::VersionReq;

/// What a project wishes. The default wishes nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Overlay {
    /// Whom another component stands for, to the end of the chain.
    replaced: BTreeMap<ComponentId, Substitute>,
    /// Which ids may be used; all where it is empty.
    allowed: Vec<Allowed>,
    /// Whose components may be used; `None` for all.
    sources: Option<BTreeSet<SourceId>>,
}

/// Wishes before they are put together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wishes {
    /// Which reference stands for an id.
    pub replace: BTreeMap<ComponentId, Reference>,
    /// Which reference implements a contract.
    pub bindings: BTreeMap<ComponentId, Reference>,
    /// Which ids may be used; all where it is empty.
    pub allowed: Vec<Allowed>,
    /// Whose components may be used; `None` for all.
    pub sources: Option<BTreeSet<SourceId>>,
}

/// Who stands for a component.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Substitute {
    /// The other component.
    pub id: ComponentId,
    /// What its version has to meet; `None` where whatever was asked of the replaced one holds.
    pub requirement: Option<VersionReq>,
    /// What said so.
    pub by: By,
}

/// What says that one component stands for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum By {
    /// `replace`.
    Replace,
    /// `bindings`: the implementation of a contract.
    Binding,
}

impl By {
    /// Returns the word that answers print.
    pub fn word(self) -> &'static str {
        match self {
            By::Replace => "replace",
            By::Binding => "binding",
        }
    }
}

impl Overlay {
    /// Puts wishes together. `replace` and `bindings` name for an id the reference that stands for it; a chain of them counts as
    /// its end.
    ///
    /// **Errors**: `input.overlay` for a chain that comes back to where it began, and for an id that is both replaced and bound.
    pub fn new(
        replace: BTreeMap<ComponentId, Reference>,
        bindings: BTreeMap<ComponentId, Reference>,
        allowed: Vec<Allowed>,
        sources: Option<BTreeSet<SourceId>>,
    ) -> Result<Overlay, ParseError> {
        if let Some(both) = replace.keys().find(|id| bindings.contains_key(id)) {
            let expected = "an id that is either replaced or bound";
            return Err(ParseError::new("input.overlay", expected, both.as_text()));
        }
        let of = |by: By| move |(id, reference): (ComponentId, Reference)| (id, (reference, by));
        let one_step: BTreeMap<ComponentId, (Reference, By)> = replace
            .into_iter()
            .map(of(By::Replace))
            .chain(bindings.into_iter().map(of(By::Binding)))
            .collect();
        Ok(Overlay { replaced: ends_of(&one_step)?, allowed, sources })
    }

    /// Puts wishes together.
    ///
    /// **Errors**: those of [`Overlay::new`].
    pub fn of(wishes: Wishes) -> Result<Overlay, ParseError> {
        let Wishes { replace, bindings, allowed, sources } = wishes;
        Overlay::new(replace, bindings, allowed, sources)
    }

    /// Returns the components that stand for others.
    pub fn ends(&self) -> impl Iterator<Item = &ComponentId> {
        self.replaced.values().map(|one| &one.id)
    }

    /// Returns who stands for a component.
    pub fn substitute(&self, id: &ComponentId) -> Option<&Substitute> {
        self.replaced.get(id)
    }

    /// Returns how many wishes there are.
    pub fn count(&self) -> usize {
        self.replaced.len() + self.allowed.len() + self.sources.as_ref().map_or(0, BTreeSet::len)
    }

    /// Tells whether nothing stands for anything else.
    pub fn replaces_nothing(&self) -> bool {
        self.replaced.is_empty()
    }

    /// Tells whether every component of every source may be used.
    pub fn allows_everything(&self) -> bool {
        self.allowed.is_empty() && self.sources.is_none()
    }

    /// Tells whether an id may be used.
    pub fn allows(&self, id: &str) -> bool {
        self.allowed.is_empty() || self.allowed.iter().any(|one| one.holds(id))
    }

    /// Tells whether what a source owns may be used.
    pub fn takes(&self, source: &str) -> bool {
        self.sources.as_ref().is_none_or(|sources| sources.iter().any(|one| one.as_text() == source))
    }

    /// Returns the sources that it names.
    pub fn sources(&self) -> impl Iterator<Item = &SourceId> {
        self.sources.iter().flatten()
    }
}

/// Returns who stands for each id in the end. The last requirement that a chain names holds; its first step says by what. Each step
/// is walked once, however many chains go through it.
fn ends_of(
    steps: &BTreeMap<ComponentId, (Reference, By)>,
) -> Result<BTreeMap<ComponentId, Substitute>, ParseError> {
    let mut ends: BTreeMap<ComponentId, Substitute> = BTreeMap::new();
    for id in steps.keys() {
        let mut path = Vec::new();
        let mut at = id;
        while !ends.contains_key(at)
            && let Some((next, by)) = steps.get(at)
        {
            if path.len() == steps.len() {
                let expected = "a chain of replacements that ends";
                return Err(ParseError::new("input.overlay", expected, id.as_text()));
            }
            path.push((at, next, *by));
            at = &next.id;
        }
        for (at, next, by) in path.into_iter().rev() {
            let end = end_after(next, by, ends.get(&next.id));
            ends.insert(at.clone(), end);
        }
    }
    Ok(ends)
}

/// Returns who stands for an id in whose place `next` is put, where `beyond` stands for that one.
fn end_after(next: &Reference, by: By, beyond: Option<&Substitute>) -> Substitute {
    // The version of a contract is not the version of what implements it.
    let own = match (next.requirement.is_any(), by) {
        (false, _) => Some(next.requirement.clone()),
        (true, By::Binding) => Some(VersionReq::any()),
        (true, By::Replace) => None,
    };
    Substitute {
        id: beyond.map_or(&next.id, |beyond| &beyond.id).clone(),
        requirement: beyond.and_then(|beyond| beyond.requirement.clone()).or(own),
        by,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn id(text: &str) -> ComponentId {
        ComponentId::parse(&format!("lcod://{text}")).unwrap()
    }

    fn map(rows: &[(&str, &str)]) -> BTreeMap<ComponentId, Reference> {
        let row = |(from, to): &(&str, &str)| (id(from), Reference::parse(&format!("lcod://{to}")).unwrap());
        rows.iter().map(row).collect()
    }

    #[test]
    fn a_chain_of_replacements_counts_as_its_end() {
        let replace = map(&[("n/a", "n/b"), ("n/b", "n/c@^2"), ("n/d", "n/e")]);
        let overlay = Overlay::new(replace, map(&[("c/x", "n/a"), ("c/y", "n/d")]), vec![], None).unwrap();
        let check = |from: &str, expected: Option<(&str, Option<&str>, By)>| {
            let found = overlay.substitute(&id(from));
            let told = found
                .map(|one| (one.id.path(), one.requirement.as_ref().map(|wanted| wanted.as_text()), one.by));
            assert_eq!(told, expected, "{from}");
        };
        check("n/a", Some(("n/c", Some("^2"), By::Replace)));
        check("n/b", Some(("n/c", Some("^2"), By::Replace)));
        check("n/c", None);
        check("n/d", Some(("n/e", None, By::Replace)));
        check("c/x", Some(("n/c", Some("^2"), By::Binding)));
        check("c/y", Some(("n/e", Some(""), By::Binding)));
    }

    #[test]
    fn each_step_of_long_chains_is_walked_once() {
        // Walked anew for each id, these are more than a billion steps.
        let length = 50_000;
        let row = |at: usize| {
            (id(&format!("n/c{at}")), Reference::parse(&format!("lcod://n/c{}", at + 1)).unwrap())
        };
        let overlay = Overlay::new((0..length).map(row).collect(), map(&[]), vec![], None).unwrap();
        let end = id(&format!("n/c{length}"));
        assert!((0..length).all(|at| overlay.substitute(&id(&format!("n/c{at}"))).unwrap().id == end));
        assert_eq!(overlay.count(), length);
    }

    #[test]
    fn what_never_ends_or_is_said_twice_is_refused() {
        let check = |replace: &[(&str, &str)], bindings: &[(&str, &str)]| {
            let found = Overlay::new(map(replace), map(bindings), vec![], None);
            assert_eq!(found.unwrap_err().reason, "input.overlay", "{replace:?} {bindings:?}");
        };
        check(&[("n/a", "n/a")], &[]);
        check(&[("n/a", "n/b"), ("n/b", "n/a")], &[]);
        check(&[("n/a", "n/b")], &[("n/b", "n/a")]);
        check(&[("n/a", "n/b")], &[("n/a", "n/c")]);
    }

    #[test]
    fn an_allowlist_holds_ids_and_what_lies_below_them() {
        let check = |pattern: &str, id: &str, expected: bool| {
            assert_eq!(Allowed::parse(pattern).unwrap().holds(id), expected, "{pattern} {id}");
        };
        check("lcod://n/a", "lcod://n/a", true);
        check("lcod://n/a", "lcod://n/a/b", true);
        check("lcod://n/a", "lcod://n/ab", false);
        check("lcod://n/", "lcod://n/ab", true);
        check("lcod://n/", "lcod://na/b", false);
        check("lcod://n*", "lcod://na/b", true);
        check("*", "lcod://na/b", true);
        for wrong in ["", "lcod://*/a", "a b"] {
            assert!(Allowed::parse(wrong).is_err(), "{wrong}");
        }
        assert!(Overlay::default().allows("lcod://n/a") && Overlay::default().takes("any"));
    }
}
