//! One question over one graph: where each requirement leads once natives, hosts and the overlay have had their say, and which
//! releases may be chosen. Never chooses.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

use catalogue_schema::dialect::estream::KERNEL;
use catalogue_schema::graph::more::Additions;
use catalogue_schema::graph::{Edge, Graph, Interval, Prereleases, among, place_of};
use catalogue_schema::id::{ComponentId, Reference};
use catalogue_schema::packed::{Listed, Packed};
use catalogue_schema::version::{Version, VersionReq};

use crate::resolve::overlay::Substitute;
use crate::resolve::set::{ITEMS_PER_STEP, Set};
use crate::resolve::{Candidates, Closed, Native, Request, Standing, native_for};

/// A question over a graph.
pub(super) struct Ground<'a> {
    pub(super) candidates: &'a dyn Candidates,
    pub(super) components: &'a [Packed],
    pub(super) graph: &'a Graph,
    /// What releases call without saying that they require it.
    calls: Option<&'a Additions>,
    pub(super) request: &'a Request,
    /// The reference that a failure of all together is told of.
    pub(super) first: &'a Reference,
    /// Every requirement leads where the graph says.
    is_plain: bool,
    classes: RefCell<HashMap<u32, Rc<Class<'a>>>>,
    /// Ids that only the overlay names; nodes behind those of the graph.
    extras: RefCell<Extras>,
    /// The version of each component that a lock holds.
    locked: HashMap<u32, u32>,
    /// The versions that the host has.
    hosts: HashMap<&'a ComponentId, &'a Version>,
    /// Where each requirement leads that was not cheap to follow.
    steps: RefCell<HashMap<*const Edge, Step>>,
    /// What was gone through and nobody has counted yet.
    items: Cell<u64>,
    /// Nobody says which version of the platform there is: whatever is required of it is taken for met.
    is_platform_open: bool,
}

/// Ids that only the overlay or the caller names, in the order in which they became nodes.
#[derive(Default)]
struct Extras {
    ids: Vec<ComponentId>,
    places: HashMap<ComponentId, u32>,
}

impl Extras {
    /// Returns the node of an id behind the `nodes` of the graph.
    fn node_of(&mut self, id: &ComponentId, nodes: u32) -> u32 {
        if let Some(known) = self.places.get(id) {
            return *known;
        }
        let place = u32::try_from(self.ids.len()).unwrap_or(u32::MAX);
        let node = nodes.saturating_add(place);
        self.ids.push(id.clone());
        self.places.insert(id.clone(), node);
        node
    }
}

/// Where a requirement leads.
#[derive(Clone)]
pub(super) enum Step {
    /// To the caller itself.
    Native,
    /// To a node, at these of its versions.
    Node(u32, Set),
}

/// What holds for every requirement on one node of the graph.
pub(super) struct Class<'a> {
    /// The node that stands for it.
    pub(super) node: u32,
    /// The id of that node.
    pub(super) id: ComponentId,
    pub(super) substitute: Option<&'a Substitute>,
    natives: Natives,
}

/// Whether the caller implements an id itself.
#[derive(Clone, Copy, PartialEq)]
enum Natives {
    No,
    EveryVersion,
    /// It depends on the requirement.
    Some,
}

impl<'a> Ground<'a> {
    pub(super) fn new(
        candidates: &'a dyn Candidates,
        request: &'a Request,
        first: &'a Reference,
    ) -> Ground<'a> {
        let (components, graph) = candidates.all();
        let locked = request.locked.iter().filter_map(|(id, version)| {
            let node = place_of(id.as_text(), components)?;
            let listed = components.get(node as usize)?.exact(version)?;
            Some((node, u32::try_from(listed.at()).ok()?))
        });
        // The first that names an id counts.
        let hosts = request.natives.iter().rev().filter_map(|native| match native {
            Native::Host(id, version) => Some((id, version)),
            _ => None,
        });
        let hosts: HashMap<&ComponentId, &Version> = hosts.collect();
        let is_platform = |id: &ComponentId| id.as_text() == KERNEL;
        let is_required = graph.stranger_of(KERNEL).is_some()
            || request.references.iter().any(|reference| is_platform(&reference.id));
        // Whoever has some versions of it themselves says which there are.
        let is_own = |native: &Native| matches!(native, Native::Id(own) if is_platform(&own.id) && !own.requirement.is_any());
        let is_said = hosts.keys().any(|id| is_platform(id)) || request.natives.iter().any(is_own);
        let is_platform_open = is_required && !is_said;
        Ground {
            candidates,
            components,
            graph,
            calls: request.calls.as_deref(),
            request,
            first,
            is_platform_open,
            is_plain: !is_platform_open
                && request.natives.is_empty()
                && request.overlay.replaces_nothing()
                && request.prereleases() == Prereleases::Named,
            classes: RefCell::default(),
            extras: RefCell::default(),
            locked: locked.collect(),
            hosts,
            steps: RefCell::default(),
            items: Cell::new(0),
        }
    }

    /// Returns what a release requires, and what it calls besides; `None` where that cannot be read.
    pub(super) fn required(
        &self,
        node: u32,
        version: u32,
    ) -> Option<impl Iterator<Item = &'a Edge> + use<'a>> {
        let called = self.calls.map_or(&[][..], |calls| calls.required(node, version));
        Some(self.graph.required(node, version)?.chain(called))
    }

    /// Returns the text of a requirement; empty for any stable version.
    pub(super) fn requirement_text(&self, edge: &'a Edge) -> &'a str {
        self.calls_with(edge).map_or_else(|| self.graph.text(edge), |calls| calls.text(edge))
    }

    /// Tells whether a requirement is one that its release does not state.
    pub(super) fn is_call(&self, edge: &Edge) -> bool {
        self.calls_with(edge).is_some()
    }

    fn calls_with(&self, edge: &Edge) -> Option<&'a Additions> {
        self.calls.filter(|calls| calls.holds(edge))
    }

    fn met_by(&self, edge: &'a Edge) -> &'a [Interval] {
        self.calls_with(edge).map_or_else(|| self.graph.met_by(edge), |calls| calls.met_by(edge))
    }

    fn requirement(&self, edge: &Edge) -> VersionReq {
        self.calls_with(edge).map_or_else(|| self.graph.requirement(edge), |calls| calls.requirement(edge))
    }

    /// Returns how many nodes there are, but for those that only the overlay or the caller names.
    fn nodes(&self) -> u32 {
        self.calls.map_or_else(|| self.graph.nodes(), Additions::nodes)
    }

    fn stranger(&self, node: u32) -> Option<&'a ComponentId> {
        self.graph.stranger(node).or_else(|| self.calls?.stranger(node))
    }

    /// Notes that so many requirements, intervals or versions were gone through.
    pub(super) fn spend(&self, items: u64) {
        self.items.set(self.items.get().saturating_add(items));
    }

    /// Returns how many steps that makes, and forgets them.
    pub(super) fn spent(&self) -> u64 {
        let items = self.items.get();
        self.items.set(items % ITEMS_PER_STEP);
        items / ITEMS_PER_STEP
    }

    /// Returns where a requirement of a release leads. What it takes to find out is noted as spent.
    pub(super) fn step(&self, edge: &'a Edge) -> Step {
        let step = match self.is_plain {
            true => self.as_written(edge),
            false => self.judged(edge),
        };
        self.spend_on(&step);
        step
    }

    /// Returns where the graph says that a requirement leads.
    fn as_written(&self, edge: &'a Edge) -> Step {
        let met = Set::of(self.met_by(edge));
        Step::Node(edge.target, self.with_locked(edge.target, met, || self.requirement(edge)))
    }

    /// Returns where a requirement leads once natives, hosts and the overlay have had their say.
    fn judged(&self, edge: &'a Edge) -> Step {
        if let Some(known) = self.steps.borrow().get(&std::ptr::from_ref(edge)) {
            return known.clone();
        }
        let class = self.class(edge.target);
        if class.natives == Natives::No
            && class.substitute.is_none_or(|one| one.requirement.is_none())
            && class.node == edge.target
            && self.request.prereleases() == Prereleases::Named
        {
            return self.as_written(edge);
        }
        let step = self.lead(&class, || self.requirement(edge));
        self.steps.borrow_mut().insert(std::ptr::from_ref(edge), step.clone());
        step
    }

    fn spend_on(&self, step: &Step) {
        self.spend(match step {
            Step::Native => 1,
            Step::Node(_, set) => set.size() + 1,
        });
    }

    /// Returns the node that a requirement of a release leads to; `None` where the caller has it.
    pub(super) fn target(&self, edge: &'a Edge) -> Option<u32> {
        if self.is_plain {
            return Some(edge.target);
        }
        let class = self.class(edge.target);
        let is_native = match class.natives {
            Natives::No => false,
            Natives::EveryVersion => true,
            Natives::Some => self.is_native(&class, &class.requirement_or(|| self.requirement(edge))),
        };
        (!is_native).then_some(class.node)
    }

    /// Returns what holds for a reference of the caller.
    pub(super) fn first_class(&self, wanted: &Reference) -> Rc<Class<'a>> {
        self.class(self.node_of(&wanted.id))
    }

    /// Returns where a reference of the caller leads.
    pub(super) fn first_step(&self, wanted: &Reference) -> (Rc<Class<'a>>, Step) {
        let class = self.first_class(wanted);
        let step = self.lead(&class, || wanted.requirement.clone());
        self.spend_on(&step);
        (class, step)
    }

    fn lead(&self, class: &Class<'a>, written: impl FnOnce() -> VersionReq) -> Step {
        if class.natives == Natives::EveryVersion {
            return Step::Native;
        }
        let requirement = class.requirement_or(written);
        if class.natives == Natives::Some {
            if self.is_native(class, &requirement) {
                return Step::Native;
            }
            if self.host_version(&class.id).is_some() {
                return Step::Node(class.node, Set::of(&[]));
            }
        }
        let met = self.components.get(class.node as usize).map(|component| {
            self.spend(component.count() as u64);
            among(component, &requirement, self.request.prereleases())
        });
        let met = Set::of(&met.unwrap_or_default());
        Step::Node(class.node, self.with_locked(class.node, met, || requirement.clone()))
    }

    fn is_native(&self, class: &Class<'a>, requirement: &VersionReq) -> bool {
        self.spend(self.request.natives.len() as u64);
        let wanted = Reference { id: class.id.clone(), requirement: requirement.clone() };
        native_for(&wanted, &self.request.natives).is_some()
    }

    /// Adds the prerelease that a lock holds, where only its being one keeps it out.
    fn with_locked(&self, node: u32, met: Set, requirement: impl FnOnce() -> VersionReq) -> Set {
        let Some(locked) = self.locked(node) else { return met };
        let Some(listed) = self.listed(node, locked).filter(Listed::is_prerelease) else { return met };
        match listed.version() {
            Some(version) if requirement().matches_prerelease(&version) => met.with(locked),
            _ => met,
        }
    }

    /// Returns the version that the host has of an id.
    pub(super) fn host_version(&self, id: &ComponentId) -> Option<&'a Version> {
        self.hosts.get(id).copied()
    }

    /// Tells whether the host has a version of what a node is, which another one cannot replace.
    pub(super) fn is_hosted(&self, node: u32) -> bool {
        !self.hosts.is_empty() && self.host_version(&self.id(node)).is_some()
    }

    /// Returns what holds for every requirement on a node.
    pub(super) fn class(&self, target: u32) -> Rc<Class<'a>> {
        if let Some(known) = self.classes.borrow().get(&target) {
            return Rc::clone(known);
        }
        let id = self.id(target);
        let substitute = self.request.overlay.substitute(&id);
        let (node, id) = match substitute {
            Some(one) => (self.node_of(&one.id), one.id.clone()),
            None => (target, id),
        };
        let natives = self.natives(&id);
        let class = Rc::new(Class { node, id, substitute, natives });
        self.classes.borrow_mut().insert(target, Rc::clone(&class));
        class
    }

    fn natives(&self, id: &ComponentId) -> Natives {
        self.spend(self.request.natives.len() as u64);
        if self.is_platform_open && id.as_text() == KERNEL {
            return Natives::EveryVersion;
        }
        let mut found = Natives::No;
        for native in &self.request.natives {
            match native {
                Native::Prefix(prefix) if id.as_text().starts_with(prefix.as_str()) => {
                    return Natives::EveryVersion;
                }
                Native::Id(own) if own.id == *id && own.requirement.is_any() => return Natives::EveryVersion,
                Native::Id(own) if own.id == *id => found = Natives::Some,
                Native::Host(own, _) if own == id => found = Natives::Some,
                _ => {}
            }
        }
        found
    }

    /// Returns the node of an id; one that nobody lists or requires becomes one.
    fn node_of(&self, id: &ComponentId) -> u32 {
        if let Some(place) = place_of(id.as_text(), self.components) {
            return place;
        }
        let called = || self.calls.and_then(|calls| calls.stranger_of(id));
        if let Some(known) = self.graph.stranger_of(id.as_text()).or_else(called) {
            return known;
        }
        self.extras.borrow_mut().node_of(id, self.nodes())
    }

    /// Tells whether what is required of the platform is taken for met, since nobody says which version there is.
    pub(super) fn is_platform_open(&self) -> bool {
        self.is_platform_open
    }

    /// Tells whether every requirement leads where the graph says.
    pub(super) fn is_plain(&self) -> bool {
        self.is_plain
    }

    /// Returns the text of the id of a node of the graph.
    pub(super) fn text(&self, node: u32) -> &'a str {
        let known = self.components.get(node as usize).map(|component| component.id_text());
        known.or_else(|| self.stranger(node).map(ComponentId::as_text)).unwrap_or_default()
    }

    /// Returns the id of a node.
    pub(super) fn id(&self, node: u32) -> ComponentId {
        let known = self.components.get(node as usize).and_then(|component| component.id().ok());
        let known = known.or_else(|| self.stranger(node).cloned());
        let extra = || self.extras.borrow().ids.get(node.saturating_sub(self.nodes()) as usize).cloned();
        // Every node is one of the three.
        known.or_else(extra).unwrap_or_else(|| self.first.id.clone())
    }

    /// Returns how many versions a node has.
    pub(super) fn versions(&self, node: u32) -> u32 {
        self.graph.versions(node)
    }

    /// Returns a release.
    pub(super) fn listed(&self, node: u32, version: u32) -> Option<Listed<'a>> {
        self.components.get(node as usize)?.listed(version as usize)
    }

    /// Returns the version that a lock holds of a component.
    pub(super) fn locked(&self, node: u32) -> Option<u32> {
        self.locked.get(&node).copied()
    }

    /// Tells whether a release may be chosen: it is not refused, and withdrawn only where a lock holds it.
    pub(super) fn is_usable(&self, node: u32, version: u32) -> bool {
        self.listed(node, version).is_some_and(|listed| {
            listed.is_usable() || !listed.is_refused() && self.locked(node) == Some(version)
        })
    }

    /// Returns why the project does not use a component at all.
    pub(super) fn closed(&self, node: u32) -> Option<Closed> {
        let overlay = &self.request.overlay;
        if overlay.allows_everything() {
            return None;
        }
        self.spend(overlay.count() as u64);
        let component = self.components.get(node as usize)?;
        let (source, _) = component.owner_texts();
        match (overlay.allows(component.id_text()), overlay.takes(source)) {
            (false, _) => Some(Closed::NotAllowed),
            (true, false) => Some(Closed::OtherSource(source.to_owned())),
            (true, true) => None,
        }
    }

    /// Says how a node stands that is no component.
    pub(super) fn standing(&self, node: u32) -> Standing<'a> {
        self.candidates.standing(&self.id(node))
    }
}

impl<'a> Class<'a> {
    /// Returns the requirement on the node that stands there, where `written` is what was asked.
    pub(super) fn requirement_or(&self, written: impl FnOnce() -> VersionReq) -> VersionReq {
        self.substitute.and_then(|one| one.requirement.clone()).unwrap_or_else(written)
    }

    /// Returns the text of that requirement.
    pub(super) fn text_or(&self, written: &'a str) -> &'a str {
        let own = self.substitute.and_then(|one| one.requirement.as_ref());
        own.map_or(written, |requirement| requirement.as_text())
    }
}
