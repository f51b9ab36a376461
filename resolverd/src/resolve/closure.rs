//! From versions to an answer: who asked for what, in which order, which cycles there are. Never chooses.
//!
//! No recursion: the depth of a graph is what somebody published.

use std::collections::{BTreeMap, BTreeSet};

use catalogue_schema::model::Warning;
use catalogue_schema::packed::{Listed, Packed, PackedError};
use catalogue_schema::version::{Grammar, VersionReq};

use crate::resolve::ground::{Class, Ground};
use crate::resolve::solver::{Undecided, Work};
use crate::resolve::{Asker, Cause, Link, Linked, Pick, Resolution, Substitution, fits};

/// How many releases of a cycle a warning names.
const CYCLE_MAX: usize = 12;
/// How many releases lie between two looks at whether the time is over.
const ROWS_PER_LOOK: usize = 64;

/// Where a reference of the caller leads.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked<'a> {
    /// The node; `None` where the caller has it.
    pub(super) node: Option<u32>,
    /// The text of the requirement that counts.
    pub(super) text: &'a str,
}

/// A chosen release while its place among all is not known.
struct Row<'a> {
    node: u32,
    component: &'a Packed,
    release: Listed<'a>,
    requested: BTreeSet<&'a str>,
    requests: Vec<usize>,
    /// Rows that require it.
    required_by: BTreeSet<usize>,
    links: Vec<(&'a str, &'a str, Option<usize>)>,
}

/// Everything that is needed, found from the caller's references onwards.
#[derive(Default)]
struct Found<'a> {
    rows: Vec<Row<'a>>,
    places: BTreeMap<u32, usize>,
    natives: BTreeSet<String>,
    hidden: BTreeSet<u32>,
    substitutions: BTreeSet<Substitution>,
}

/// Puts the answer together from the version of every node that is needed.
pub(super) fn assemble<'a>(
    ground: &Ground<'a>,
    asked: &[Asked<'a>],
    solution: &BTreeMap<u32, u32>,
    work: &Work<'_>,
) -> Result<Resolution<'a>, Cause> {
    let mut found = Found::default();
    found.follow(ground, asked, solution, work).map_err(Cause::Undecided)?;
    let Found { rows, places, natives, hidden, substitutions } = found;
    let order = in_order(&rows);
    let mut warnings = BTreeSet::new();
    warnings.extend(order.iter().filter_map(|knot| cycle(knot, &rows)));
    let root = |(asked, wanted): (&Asked<'_>, &catalogue_schema::id::Reference)| {
        let row = asked.node.and_then(|node| rows.get(*places.get(&node)?));
        row.map_or_else(|| wanted.to_string(), |row| format!("{:?}", row.release))
    };
    let roots = asked.iter().zip(&ground.request.references).map(root).collect();
    let picks = picked(rows, &order);
    work.look().map_err(Cause::Undecided)?;
    warnings_of(&picks, ground, &mut warnings)?;
    let hidden = hidden.into_iter().filter_map(|node| ground.components.get(node as usize));
    Ok(Resolution {
        roots,
        picks,
        natives: natives.into_iter().collect(),
        hidden_by_natives: hidden.collect(),
        substitutions: substitutions.into_iter().collect(),
        warnings: warnings.into_iter().collect(),
    })
}

impl<'a> Found<'a> {
    fn follow(
        &mut self,
        ground: &Ground<'a>,
        asked: &[Asked<'a>],
        solution: &BTreeMap<u32, u32>,
        work: &Work<'_>,
    ) -> Result<(), Undecided> {
        for (position, (one, wanted)) in asked.iter().zip(&ground.request.references).enumerate() {
            let class = ground.first_class(wanted);
            self.note_substitute(&class, wanted.id.as_text());
            let Some(node) = one.node else {
                self.note_native(ground, &class, one.text);
                continue;
            };
            if let Some(row) = self.row(ground, node, solution).and_then(|at| self.rows.get_mut(at)) {
                row.requested.insert(one.text);
                row.requests.push(position);
            }
        }
        let mut at = 0;
        while at < self.rows.len() {
            if at.is_multiple_of(ROWS_PER_LOOK) {
                work.look()?;
            }
            self.follow_row(ground, at, solution);
            at += 1;
        }
        Ok(())
    }

    /// Follows what one release requires.
    fn follow_row(&mut self, ground: &Ground<'a>, at: usize, solution: &BTreeMap<u32, u32>) {
        let (node, release) = (self.rows[at].node, self.rows[at].release);
        let version = u32::try_from(release.at()).unwrap_or(u32::MAX);
        let Some(required) = ground.graph.required(node, version) else { return };
        let mut links = Vec::with_capacity(required.len());
        for edge in required {
            let (id, declared) = (ground.text(edge.target), ground.graph.text(edge));
            let class = (!ground.is_plain()).then(|| ground.class(edge.target));
            let text = class.as_ref().map_or(declared, |class| class.text_or(declared));
            if let Some(class) = &class {
                self.note_substitute(class, id);
            }
            let to = match (ground.target(edge), &class) {
                (None, Some(class)) => {
                    self.note_native(ground, class, text);
                    None
                }
                (None, None) => None,
                (Some(target), _) => {
                    let Some(row) = self.row(ground, target, solution) else { continue };
                    self.rows[row].requested.insert(text);
                    self.rows[row].required_by.insert(at);
                    Some(row)
                }
            };
            links.push((id, declared, to));
        }
        self.rows[at].links = links;
    }

    /// Returns the row of a node, a new one where it has none; `None` for a node that is no component.
    fn row(&mut self, ground: &Ground<'a>, node: u32, solution: &BTreeMap<u32, u32>) -> Option<usize> {
        if let Some(known) = self.places.get(&node) {
            return Some(*known);
        }
        let component = ground.components.get(node as usize)?;
        let release = ground.listed(node, *solution.get(&node)?)?;
        let place = self.rows.len();
        self.places.insert(node, place);
        self.rows.push(Row {
            node,
            component,
            release,
            requested: BTreeSet::new(),
            requests: Vec::new(),
            required_by: BTreeSet::new(),
            links: Vec::new(),
        });
        Some(place)
    }

    fn note_native(&mut self, ground: &Ground<'a>, class: &Class<'a>, text: &str) {
        self.natives.insert(written(class.id.as_text(), text));
        if (class.node as usize) < ground.components.len() {
            self.hidden.insert(class.node);
        }
    }

    fn note_substitute(&mut self, class: &Class<'a>, id: &str) {
        if let Some(substitute) = class.substitute {
            let by = substitute.by;
            self.substitutions.insert(Substitution { id: id.to_owned(), to: substitute.id.to_string(), by });
        }
    }
}

/// Returns a reference as it is written.
pub(super) fn written(id: &str, requirement: &str) -> String {
    if requirement.is_empty() { id.to_owned() } else { format!("{id}@{requirement}") }
}

/// Makes the picks, each in its place.
fn picked<'a>(rows: Vec<Row<'a>>, order: &[Vec<usize>]) -> Vec<Pick<'a>> {
    let mut places = vec![0; rows.len()];
    for (place, row) in order.iter().flatten().enumerate() {
        places[*row] = place;
    }
    let mut picks: Vec<(usize, Pick<'a>)> = Vec::with_capacity(rows.len());
    for (at, row) in rows.into_iter().enumerate() {
        let mut askers: Vec<usize> = row.required_by.into_iter().map(|one| places[one]).collect();
        askers.sort_unstable();
        let requests = row.requests.into_iter().map(Asker::Request);
        let link = |(id, requirement, to): (&'a str, &'a str, Option<usize>)| Link {
            id,
            requirement,
            to: to.map_or(Linked::Native, |to| Linked::Pick(places[to])),
        };
        let pick = Pick {
            component: row.component,
            release: row.release,
            requested: row.requested.into_iter().collect(),
            required_by: requests.chain(askers.into_iter().map(Asker::Pick)).collect(),
            dependencies: row.links.into_iter().map(link).collect(),
        };
        picks.push((places[at], pick));
    }
    picks.sort_unstable_by_key(|(place, _)| *place);
    picks.into_iter().map(|(_, pick)| pick).collect()
}

/// Returns the rows in the order of the answer: what is required before whoever requires it, else by id. Rows that require each
/// other in a circle stand together, by id.
fn in_order(rows: &[Row<'_>]) -> Vec<Vec<usize>> {
    let targets = |at: usize| rows[at].links.iter().filter_map(|(_, _, to)| *to).collect::<Vec<usize>>();
    let (mut knots, knot_of) = knots(rows.len(), &targets);
    for knot in &mut knots {
        knot.sort_by_key(|at| rows[*at].node);
    }
    let mut waits_for = vec![0_usize; knots.len()];
    let mut waiting: Vec<BTreeSet<usize>> = vec![BTreeSet::new(); knots.len()];
    for (at, knot) in knot_of.iter().enumerate() {
        for target in targets(at).into_iter().map(|target| knot_of[target]).filter(|target| target != knot) {
            if waiting[target].insert(*knot) {
                waits_for[*knot] += 1;
            }
        }
    }
    // Nodes are numbered in the order of their ids.
    let key = |knot: usize| (knots[knot].first().map_or(0, |at| rows[*at].node), knot);
    let free = (0..knots.len()).filter(|knot| waits_for[*knot] == 0);
    let mut ready: BTreeSet<(u32, usize)> = free.map(key).collect();
    let mut order = Vec::with_capacity(knots.len());
    while let Some((_, knot)) = ready.pop_first() {
        order.push(knots[knot].clone());
        for next in &waiting[knot] {
            waits_for[*next] -= 1;
            if waits_for[*next] == 0 {
                ready.insert(key(*next));
            }
        }
    }
    order
}

/// Returns the strongly connected parts of a graph, and the part of each of its points: Tarjan's algorithm with its stack on the
/// heap.
fn knots(count: usize, targets: &dyn Fn(usize) -> Vec<usize>) -> (Vec<Vec<usize>>, Vec<usize>) {
    const NONE: usize = usize::MAX;
    let (mut number, mut low, mut knot_of) = (vec![NONE; count], vec![NONE; count], vec![NONE; count]);
    let (mut open, mut knots, mut next) = (Vec::new(), Vec::new(), 0);
    for start in 0..count {
        if number[start] != NONE {
            continue;
        }
        let mut path = vec![(start, targets(start))];
        (number[start], low[start]) = (next, next);
        next += 1;
        open.push(start);
        while let Some((at, left)) = path.last_mut() {
            let at = *at;
            match left.pop() {
                Some(to) if number[to] == NONE => {
                    (number[to], low[to]) = (next, next);
                    next += 1;
                    open.push(to);
                    path.push((to, targets(to)));
                }
                Some(to) if knot_of[to] == NONE => low[at] = low[at].min(number[to]),
                Some(_) => {}
                None => {
                    path.pop();
                    if let Some((before, _)) = path.last() {
                        low[*before] = low[*before].min(low[at]);
                    }
                    if low[at] == number[at] {
                        let from = open.iter().rposition(|one| *one == at).unwrap_or(0);
                        let knot = open.split_off(from);
                        knot.iter().for_each(|one| knot_of[*one] = knots.len());
                        knots.push(knot);
                    }
                }
            }
        }
    }
    (knots, knot_of)
}

/// Warns of releases that require each other in a circle, and names the shortest one from the first of them.
fn cycle(knot: &[usize], rows: &[Row<'_>]) -> Option<Warning> {
    let first = *knot.first()?;
    let inside: BTreeSet<usize> = knot.iter().copied().collect();
    let mut before: BTreeMap<usize, usize> = BTreeMap::new();
    let mut queue = vec![first];
    let mut looked = 0;
    while !before.contains_key(&first) {
        let at = *queue.get(looked)?;
        looked += 1;
        for to in rows[at].links.iter().filter_map(|(_, _, to)| *to).filter(|to| inside.contains(to)) {
            before.entry(to).or_insert_with(|| {
                queue.push(to);
                at
            });
        }
    }
    let mut path = vec![first];
    let mut at = *before.get(&first)?;
    while at != first {
        path.push(at);
        at = *before.get(&at)?;
    }
    path.push(first);
    path.reverse();
    let left_out = path.len().saturating_sub(CYCLE_MAX);
    let mut names: Vec<String> =
        path.iter().take(CYCLE_MAX).map(|at| format!("{:?}", rows[*at].release)).collect();
    if left_out > 0 {
        names.push(format!("… {left_out} more"));
    }
    let others = match knot.len().saturating_sub(path.len() - 1) {
        0 => String::new(),
        more => format!("; {more} more releases are part of it"),
    };
    Some(Warning::new(
        CYCLE,
        format!("releases require each other in a circle: {}{others}", names.join(" -> ")),
    ))
}

/// The reason of the warning that releases require each other in a circle.
pub const CYCLE: &str = "resolve.cycle";

/// Says what the caller should know of the releases that were chosen, and of the newer ones that were refused for each.
fn warnings_of(
    picks: &[Pick<'_>],
    ground: &Ground<'_>,
    warnings: &mut BTreeSet<Warning>,
) -> Result<(), PackedError> {
    for pick in picks {
        let full = pick.name();
        if pick.release.is_unfetched() {
            let text = format!(
                "{full}: its documents have not been fetched, so that only what its catalogue says of it is known; resolverd resolve --refresh {full} fetches them"
            );
            warnings.insert(Warning::new("manifest_unfetched", text));
        }
        if pick.release.is_yanked() {
            let text = format!("{full} was withdrawn by its author, and is chosen because the lock holds it");
            warnings.insert(Warning::new("resolve.yanked", text));
        }
        refused_newer(pick, ground, warnings)?;
        if pick.release.has_warnings() {
            for warning in pick.release.release()?.warnings {
                let text = format!("{full}: {}", warning.text);
                warnings.insert(Warning { reason: warning.reason, text });
            }
        }
    }
    Ok(())
}

/// Says which newer releases would do as well if they were not refused.
fn refused_newer(
    pick: &Pick<'_>,
    ground: &Ground<'_>,
    warnings: &mut BTreeSet<Warning>,
) -> Result<(), PackedError> {
    let newer = (pick.release.at() + 1..pick.component.count()).filter_map(|at| pick.component.listed(at));
    let mut refused = newer.filter(|listed| listed.is_refused() && !listed.is_yanked()).peekable();
    if refused.peek().is_none() {
        return Ok(());
    }
    let read = |text: &&str| VersionReq::parse(text, Grammar::Reference).ok();
    let requirements: Vec<VersionReq> = pick.requested.iter().filter_map(read).collect();
    let requirements: Vec<&VersionReq> = requirements.iter().collect();
    for listed in refused.filter(|listed| fits(listed, &requirements, ground.request.prerelease)) {
        let newer = listed.release()?;
        let Some(refusal) = newer.verdict.refusal() else { continue };
        let full = format!("{}@{}", newer.id, newer.version);
        let why = match refusal.subject == full {
            true => refusal.why().to_string(),
            false => refusal.to_string(),
        };
        let version = pick.release.version_text();
        let text = format!("{full} is newer than {version} and may not be used: {why}");
        warnings.insert(Warning::new("resolve.refused_newer", text));
    }
    Ok(())
}
