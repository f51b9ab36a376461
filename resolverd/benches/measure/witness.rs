//! Every root of the real graph, asked of this program's own search and of resolvo, both in this process and without a daemon: how
//! much processor time each takes for all of them. Never compares what they choose: a test does.

use std::collections::HashMap;
use std::fmt::Display;
use std::hint::black_box;

use catalogue_schema::graph::{Graph, Interval, place_of};
use catalogue_schema::id::{ComponentId, Reference};
use catalogue_schema::packed::Packed;
use resolverd::resolve::{Candidates, Limits, Request, Standing, resolve};
use resolvo::{
    Condition, ConditionId, DenseIndex, Dependencies, DependencyProvider, Interner, KnownDependencies,
    NameId, Problem, SolvableId, Solver, SolverCache, StringId, VersionSetId, VersionSetUnionId,
};
use rustix::time::{ClockId, clock_gettime};

use crate::Trouble;
use crate::requests::Pairs;
use crate::table::{Goal, Row};

/// Asks both for every root, in turns, and counts answers in a second of processor time.
pub(crate) fn row(components: Vec<Packed>, roots: &[String], runs: usize) -> Result<Row, Trouble> {
    let world = World { graph: Graph::of(&components), components };
    let requests: Vec<Request> = roots
        .iter()
        .map(|root| Ok(Request { references: vec![Reference::parse(root)?], ..Request::default() }))
        .collect::<Result<_, Trouble>>()?;
    let (other, wanted) = Other::of(&world, &requests);
    let mut rates = Pairs::default();
    for run in 0..runs.max(1) {
        let ((own_s, own), (other_s, others)) =
            (own_seconds(&world, &requests), other_seconds(&other, &wanted));
        println!(
            "run {run}: {own} of {} roots solved in {:.1} ms, {others} by resolvo in {:.1} ms",
            roots.len(),
            own_s * 1e3,
            other_s * 1e3
        );
        rates.push(roots.len() as f64 / own_s, roots.len() as f64 / other_s);
    }
    Ok(rates.row(
        format!(
            "all {} roots of the real graph, answers put together: solves vs resolvo, both in process",
            roots.len()
        ),
        "/s",
        Goal::AtLeast(3.0, 5.0),
    ))
}

fn own_seconds(world: &World, requests: &[Request]) -> (f64, usize) {
    let limits = Limits { steps: 1_000_000, is_over: &|| false };
    timed(|| requests.iter().filter(|request| black_box(resolve(world, request, &limits)).is_ok()).count())
}

fn other_seconds(other: &Other, wanted: &[VersionSetId]) -> (f64, usize) {
    let solve = |set: &&VersionSetId| {
        let problem = Problem::new().requirements(vec![(**set).into()]);
        black_box(Solver::new(other).solve(problem)).is_ok()
    };
    timed(|| wanted.iter().filter(solve).count())
}

fn timed(work: impl FnOnce() -> usize) -> (f64, usize) {
    let started = clock_gettime(ClockId::ThreadCPUTime);
    let done = work();
    let ended = clock_gettime(ClockId::ThreadCPUTime);
    ((ended.tv_sec - started.tv_sec) as f64 + (ended.tv_nsec - started.tv_nsec) as f64 / 1e9, done)
}

/// A graph as a snapshot has it.
struct World {
    components: Vec<Packed>,
    graph: Graph,
}

impl Candidates for World {
    fn standing(&self, id: &ComponentId) -> Standing<'_> {
        let place = place_of(id.as_text(), &self.components);
        place.map_or(Standing::Unknown, |place| Standing::Known(&self.components[place as usize]))
    }

    fn nearest(&self, _id: &ComponentId) -> Vec<ComponentId> {
        Vec::new()
    }

    fn all(&self) -> (&[Packed], &Graph) {
        (&self.components, &self.graph)
    }
}

/// The same graph for resolvo: numbers, with every requirement mapped to versions beforehand.
#[derive(Default)]
struct Other {
    /// Component, version, requirements.
    solvables: Vec<(u32, u32, Vec<VersionSetId>)>,
    by_name: Vec<Vec<SolvableId>>,
    sets: Vec<(u32, Vec<Interval>)>,
    set_ids: HashMap<(u32, Vec<Interval>), VersionSetId>,
}

impl Other {
    /// Returns what resolvo is given, and the set of versions that each request asks for.
    fn of(world: &World, requests: &[Request]) -> (Other, Vec<VersionSetId>) {
        let graph = &world.graph;
        let mut other = Other { by_name: vec![Vec::new(); graph.nodes() as usize], ..Other::default() };
        for node in 0..graph.components() {
            for version in 0..graph.versions(node) {
                let required = graph.required(node, version).into_iter().flatten();
                let required = required.map(|edge| other.set(edge.target, graph.met_by(edge))).collect();
                other.by_name[node as usize].push(SolvableId::from_index(other.solvables.len()));
                other.solvables.push((node, version, required));
            }
        }
        let wanted = requests.iter().flat_map(|request| &request.references).filter_map(|reference| {
            let node = place_of(reference.id.as_text(), &world.components)?;
            let met = world.components[node as usize].all().filter_map(|listed| {
                let at = u32::try_from(listed.at()).ok()?;
                reference.requirement.matches(&listed.version()?).then_some((at, at + 1))
            });
            Some(other.set(node, &met.collect::<Vec<_>>()))
        });
        let wanted = wanted.collect();
        (other, wanted)
    }

    fn set(&mut self, name: u32, met: &[Interval]) -> VersionSetId {
        let sets = &mut self.sets;
        *self.set_ids.entry((name, met.to_vec())).or_insert_with(|| {
            sets.push((name, met.to_vec()));
            VersionSetId::from_index(sets.len() - 1)
        })
    }
}

impl Interner for &Other {
    type NameId = NameId;
    type SolvableId = SolvableId;

    fn display_solvable(&self, solvable: SolvableId) -> impl Display + '_ {
        let (name, version, _) = &self.solvables[solvable.to_index()];
        format!("{name}@{version}")
    }

    fn display_name(&self, name: NameId) -> impl Display + '_ {
        name.to_index()
    }

    fn display_version_set(&self, set: VersionSetId) -> impl Display + '_ {
        format!("{:?}", self.sets[set.to_index()].1)
    }

    fn display_string(&self, _: StringId) -> impl Display + '_ {
        "no text"
    }

    fn version_set_name(&self, set: VersionSetId) -> NameId {
        NameId::from_index(self.sets[set.to_index()].0 as usize)
    }

    fn solvable_name(&self, solvable: SolvableId) -> NameId {
        NameId::from_index(self.solvables[solvable.to_index()].0 as usize)
    }

    fn version_sets_in_union(&self, _: VersionSetUnionId) -> impl Iterator<Item = VersionSetId> {
        std::iter::empty()
    }

    fn resolve_condition(&self, _: ConditionId) -> Condition {
        unreachable!("nothing here has a condition")
    }
}

impl DependencyProvider for &Other {
    async fn filter_candidates(
        &self,
        candidates: &[SolvableId],
        set: VersionSetId,
        inverse: bool,
    ) -> Vec<SolvableId> {
        let met = &self.sets[set.to_index()].1;
        let meets = |one: &&SolvableId| {
            let version = self.solvables[one.to_index()].1;
            met.iter().any(|(from, to)| (*from..*to).contains(&version)) != inverse
        };
        candidates.iter().filter(meets).copied().collect()
    }

    async fn get_candidates(&self, name: NameId) -> Option<resolvo::Candidates<SolvableId>> {
        let candidates = self.by_name.get(name.to_index())?.clone();
        Some(resolvo::Candidates { candidates, ..resolvo::Candidates::default() })
    }

    async fn sort_candidates(&self, _: &SolverCache<Self>, solvables: &mut [SolvableId]) {
        solvables.sort_by_key(|one| std::cmp::Reverse(self.solvables[one.to_index()].1));
    }

    async fn get_dependencies(&self, solvable: SolvableId) -> Dependencies {
        let required = self.solvables[solvable.to_index()].2.iter().map(|set| (*set).into()).collect();
        Dependencies::Known(KnownDependencies { requirements: required, constrains: Vec::new() })
    }
}
