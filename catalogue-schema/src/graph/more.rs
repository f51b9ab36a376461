//! Requirements beside those of a graph: what some releases need without saying so. Numbers go on where those of the graph end, so
//! that one search walks both. Good for the graph and the components that it was made for, and for no other.

use std::collections::HashMap;

use crate::graph::{Edge, Graph, Interval, Prereleases, SEVERAL, among, number, place_of};
use crate::id::{ComponentId, Reference};
use crate::packed::Packed;
use crate::version::{Grammar, VersionReq};

/// What releases require beside what they say.
#[derive(Debug)]
pub struct Additions {
    /// The requirements of a release, by its component and version.
    lists: HashMap<(u32, u32), Vec<Edge>>,
    several: Vec<Box<[Interval]>>,
    texts: Vec<Box<str>>,
    strangers: Vec<ComponentId>,
    /// Where each of them stands.
    places: HashMap<ComponentId, u32>,
    /// How many texts and nodes the graph has.
    first_text: u32,
    first_node: u32,
}

impl Additions {
    /// Makes them from what each release requires more, by the places of component and version in `graph`, which is that of
    /// `components`.
    pub fn of<'r>(
        graph: &Graph,
        components: &[Packed],
        required: impl IntoIterator<Item = ((u32, u32), &'r [Reference])>,
    ) -> Additions {
        let mut made = Additions {
            lists: HashMap::new(),
            several: Vec::new(),
            texts: Vec::new(),
            strangers: Vec::new(),
            places: HashMap::new(),
            first_text: number(graph.text_ends.len()),
            first_node: graph.nodes(),
        };
        for (release, references) in required {
            let edges = references.iter().map(|one| made.edge(graph, components, one)).collect();
            made.lists.insert(release, edges);
        }
        made
    }

    fn edge(&mut self, graph: &Graph, components: &[Packed], reference: &Reference) -> Edge {
        let Reference { id, requirement } = reference;
        let known = place_of(id.as_text(), components).or_else(|| graph.stranger_of(id.as_text()));
        let target = known.or_else(|| self.stranger_of(id)).unwrap_or_else(|| {
            let place = number(self.strangers.len());
            self.strangers.push(id.clone());
            self.places.insert(id.clone(), place);
            self.first_node.saturating_add(place)
        });
        let met = components
            .get(target as usize)
            .map(|component| among(component, requirement, Prereleases::Named))
            .unwrap_or_default();
        let interval = match met.as_slice() {
            [one] => *one,
            _ => {
                self.several.push(met.into_boxed_slice());
                (number(self.several.len() - 1), SEVERAL)
            }
        };
        self.texts.push(requirement.as_text().into());
        let text = self.first_text.saturating_add(number(self.texts.len() - 1));
        Edge { target, text, interval }
    }

    /// Returns what a release requires more, in the order in which it was given.
    pub fn required(&self, component: u32, version: u32) -> &[Edge] {
        self.lists.get(&(component, version)).map_or(&[], Vec::as_slice)
    }

    /// Tells whether an edge is one of these, not one of the graph.
    pub fn holds(&self, edge: &Edge) -> bool {
        edge.text >= self.first_text
    }

    /// Returns how many nodes there are, those of the graph among them.
    pub fn nodes(&self) -> u32 {
        self.first_node.saturating_add(number(self.strangers.len()))
    }

    /// Returns the id of a node that nobody lists and the graph does not know.
    pub fn stranger(&self, node: u32) -> Option<&ComponentId> {
        self.strangers.get(node.checked_sub(self.first_node)? as usize)
    }

    /// Returns the node of an id that nobody lists and the graph does not know.
    pub fn stranger_of(&self, id: &ComponentId) -> Option<u32> {
        Some(self.first_node.saturating_add(*self.places.get(id)?))
    }

    /// Returns the versions that meet a requirement of these.
    pub fn met_by<'a>(&'a self, edge: &'a Edge) -> &'a [Interval] {
        match edge.interval {
            (place, SEVERAL) => self.several.get(place as usize).map_or(&[], |several| several),
            _ => std::slice::from_ref(&edge.interval),
        }
    }

    /// Returns the text of a requirement of these; empty for any stable version.
    pub fn text(&self, edge: &Edge) -> &str {
        let place = edge.text.checked_sub(self.first_text);
        place.and_then(|place| self.texts.get(place as usize)).map_or("", |text| text)
    }

    /// Returns a requirement of these.
    pub fn requirement(&self, edge: &Edge) -> VersionReq {
        // The text is that of a requirement which was read.
        VersionReq::parse(self.text(edge), Grammar::Reference).unwrap_or_else(|_| VersionReq::any())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn what_is_added_leads_to_known_ids_and_to_strangers() {
        let graph = Graph::of(&[]);
        let references =
            ["lcod://n/a@^1", "lcod://n/b", "lcod://n/a@2"].map(|text| Reference::parse(text).unwrap());
        let made = Additions::of(&graph, &[], [((0, 0), &references[..])]);
        let told: Vec<(u32, &str)> =
            made.required(0, 0).iter().map(|edge| (edge.target, made.text(edge))).collect();
        assert_eq!(told, [(0, "^1"), (1, ""), (0, "2")]);
        assert_eq!(made.nodes(), 2);
        assert_eq!(made.stranger(1).map(ComponentId::as_text), Some("lcod://n/b"));
        assert!(made.required(0, 0).iter().all(|edge| made.holds(edge) && made.met_by(edge).is_empty()));
        assert!(made.required(0, 1).is_empty());
    }
}
