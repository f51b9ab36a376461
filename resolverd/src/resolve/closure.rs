//! From versions to an answer: who asked for what, in which order, which cycles there are. Never chooses.
//!
//! No recursion: the depth of a graph is what somebody published.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};

use catalogue_schema::dialect::estream::{KERNEL, PREFIX};
use catalogue_schema::model::Warning;
use catalogue_schema::packed::{Listed, Packed, PackedError};
use catalogue_schema::version::{Grammar, VersionReq};

use crate::resolve::contract::implemented;
use crate::resolve::ground::{Class, Ground};
use crate::resolve::solver::{Solution, Undecided, Work};
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
    /// The text of its id.
    id: &'a str,
    release: Listed<'a>,
    /// The requirements on it, some of them several times.
    requested: Vec<&'a str>,
    requests: Vec<usize>,
    /// Rows that require it, each once.
    required_by: Vec<usize>,
    links: Vec<Wanted<'a>>,
}

/// One requirement of a chosen release while the places are not known.
struct Wanted<'a> {
    id: &'a str,
    requirement: &'a str,
    is_called: bool,
    /// The row that meets it; `None` where the caller does.
    to: Option<usize>,
}

impl Row<'_> {
    /// Returns the rows that it requires, some of them several times.
    fn targets(&self) -> impl Iterator<Item = usize> {
        self.links.iter().filter_map(|link| link.to)
    }
}

/// Everything that is needed, found from the caller's references onwards.
struct Found<'a, 's> {
    solution: &'s Solution,
    rows: Vec<Row<'a>>,
    /// The row of each node of the solution.
    places: Vec<Option<usize>>,
    natives: BTreeSet<String>,
    hidden: BTreeSet<u32>,
    substitutions: BTreeSet<Substitution>,
}

/// Puts the answer together from the version of every node that is needed.
pub(super) fn assemble<'a>(
    ground: &Ground<'a>,
    asked: &[Asked<'a>],
    solution: &Solution,
    work: &Work<'_>,
) -> Result<Resolution<'a>, Cause> {
    let mut found = Found::of(solution);
    found.follow(ground, asked, work).map_err(Cause::Undecided)?;
    let root = |(asked, wanted): (&Asked<'_>, &catalogue_schema::id::Reference)| {
        let row = asked.node.and_then(|node| found.rows.get(found.known(node)?));
        row.map_or_else(|| wanted.to_string(), |row| format!("{:?}", row.release))
    };
    let roots = asked.iter().zip(&ground.request.references).map(root).collect();
    let Found { rows, natives, hidden, substitutions, .. } = found;
    let knots = in_order(&rows);
    let mut warnings = BTreeSet::new();
    for (knot, circle) in knots.iter().filter_map(|knot| Some((knot, cycle(knot, &rows)?))) {
        // A registry of that dialect may list none, and what is installed there goes in order.
        if knot.iter().any(|at| rows[*at].component.id_text().starts_with(PREFIX)) {
            return Err(Cause::Circular(circle.text));
        }
        warnings.insert(circle);
    }
    if ground.is_platform_open() && natives.iter().any(|one| is_platform(one)) {
        warnings.insert(platform_unset());
    }
    let mut picks = picked(rows, &knots.concat());
    work.look().map_err(Cause::Undecided)?;
    warnings_of(&picks, ground, &mut warnings)?;
    let substitutions: Vec<Substitution> = substitutions.into_iter().collect();
    warnings.extend(implemented(&mut picks, &substitutions, ground, work).map_err(Cause::Undecided)?);
    let hidden = hidden.into_iter().filter_map(|node| ground.components.get(node as usize));
    Ok(Resolution {
        roots,
        picks,
        natives: natives.into_iter().collect(),
        hidden_by_natives: hidden.collect(),
        substitutions,
        warnings: warnings.into_iter().collect(),
    })
}

impl<'a, 's> Found<'a, 's> {
    fn of(solution: &'s Solution) -> Found<'a, 's> {
        Found {
            solution,
            rows: Vec::with_capacity(solution.count()),
            places: vec![None; solution.count()],
            natives: BTreeSet::new(),
            hidden: BTreeSet::new(),
            substitutions: BTreeSet::new(),
        }
    }

    fn follow(&mut self, ground: &Ground<'a>, asked: &[Asked<'a>], work: &Work<'_>) -> Result<(), Undecided> {
        for (position, (one, wanted)) in asked.iter().zip(&ground.request.references).enumerate() {
            let class = ground.first_class(wanted);
            self.note_substitute(&class, wanted.id.as_text());
            let Some(node) = one.node else {
                self.note_native(ground, &class, one.text);
                continue;
            };
            if let Some(row) = self.row(ground, node).and_then(|at| self.rows.get_mut(at)) {
                row.requested.push(one.text);
                row.requests.push(position);
            }
        }
        let mut at = 0;
        while at < self.rows.len() {
            if at.is_multiple_of(ROWS_PER_LOOK) {
                work.look()?;
            }
            self.follow_row(ground, at);
            at += 1;
        }
        Ok(())
    }

    /// Follows what one release requires.
    fn follow_row(&mut self, ground: &Ground<'a>, at: usize) {
        let (node, release) = (self.rows[at].node, self.rows[at].release);
        let version = u32::try_from(release.at()).unwrap_or(u32::MAX);
        let Some(required) = ground.required(node, version) else { return };
        let mut links = Vec::with_capacity(required.size_hint().0);
        for edge in required {
            let (declared, is_called) = (ground.requirement_text(edge), ground.is_call(edge));
            if ground.is_plain() {
                let Some(to) = self.note_required(ground, edge.target, (at, declared)) else { continue };
                links.push(Wanted { id: self.rows[to].id, requirement: declared, is_called, to: Some(to) });
                continue;
            }
            let (id, class) = (ground.text(edge.target), ground.class(edge.target));
            let text = class.text_or(declared);
            self.note_substitute(&class, id);
            let to = match ground.target(edge) {
                None => {
                    self.note_native(ground, &class, text);
                    None
                }
                Some(target) => {
                    let Some(row) = self.note_required(ground, target, (at, text)) else { continue };
                    Some(row)
                }
            };
            links.push(Wanted { id, requirement: declared, is_called, to });
        }
        self.rows[at].links = links;
    }

    /// Notes that a row requires a node; returns the row of that, where it is a component.
    fn note_required(
        &mut self,
        ground: &Ground<'a>,
        node: u32,
        (by, text): (usize, &'a str),
    ) -> Option<usize> {
        let place = self.row(ground, node)?;
        let row = &mut self.rows[place];
        row.requested.push(text);
        // What one release requires twice stands side by side.
        if row.required_by.last() != Some(&by) {
            row.required_by.push(by);
        }
        Some(place)
    }

    /// Returns the row of a node, a new one where it has none; `None` for a node that is no component.
    fn row(&mut self, ground: &Ground<'a>, node: u32) -> Option<usize> {
        let (at, version) = self.solution.find(node)?;
        if let Some(known) = self.places[at] {
            return Some(known);
        }
        let component = ground.components.get(node as usize)?;
        let release = ground.listed(node, version)?;
        let place = self.rows.len();
        self.places[at] = Some(place);
        self.rows.push(Row {
            node,
            component,
            id: component.id_text(),
            release,
            requested: Vec::new(),
            requests: Vec::new(),
            required_by: Vec::new(),
            links: Vec::new(),
        });
        Some(place)
    }

    /// Returns the row of a node that has one.
    fn known(&self, node: u32) -> Option<usize> {
        self.places[self.solution.find(node)?.0]
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

/// Makes the picks in this order of the rows.
fn picked<'a>(rows: Vec<Row<'a>>, order: &[usize]) -> Vec<Pick<'a>> {
    let mut places = vec![0; rows.len()];
    for (place, row) in order.iter().enumerate() {
        places[*row] = place;
    }
    let mut rows: Vec<Option<Row<'a>>> = rows.into_iter().map(Some).collect();
    let pick = |at: &usize| {
        let row = rows[*at].take()?;
        let mut requested = row.requested;
        requested.sort_unstable();
        requested.dedup();
        let mut askers: Vec<usize> = row.required_by.into_iter().map(|one| places[one]).collect();
        askers.sort_unstable();
        let requests = row.requests.into_iter().map(Asker::Request);
        let link = |Wanted { id, requirement, is_called, to }: Wanted<'a>| Link {
            id,
            requirement,
            is_called,
            to: to.map_or(Linked::Native, |to| Linked::Pick(places[to])),
        };
        Some(Pick {
            component: row.component,
            release: row.release,
            requested,
            required_by: requests.chain(askers.into_iter().map(Asker::Pick)).collect(),
            dependencies: row.links.into_iter().map(link).collect(),
            implementation: None,
        })
    };
    order.iter().filter_map(pick).collect()
}

/// Returns the rows in the order of the answer: what is required before whoever requires it, else by id. Rows that require each
/// other in a circle stand together, by id.
fn in_order(rows: &[Row<'_>]) -> Vec<Vec<usize>> {
    let (mut knots, knot_of) = knots(rows);
    for knot in &mut knots {
        knot.sort_unstable_by_key(|at| rows[*at].node);
    }
    let outward = |at: usize| {
        let knot = knot_of[at];
        rows[at].targets().map(|to| knot_of[to]).filter(move |to| *to != knot)
    };
    // A knot is waited for once for every link that leads to it. Those who wait stand behind each other, the first of each at its start.
    let mut waits_for = vec![0_usize; knots.len()];
    let mut starts = vec![0_usize; knots.len() + 1];
    for (at, knot) in knot_of.iter().enumerate() {
        for target in outward(at) {
            waits_for[*knot] += 1;
            starts[target + 1] += 1;
        }
    }
    for at in 1..starts.len() {
        starts[at] += starts[at - 1];
    }
    let (mut waiting, mut ends) = (vec![0_usize; starts.last().copied().unwrap_or_default()], starts.clone());
    for (at, knot) in knot_of.iter().enumerate() {
        for target in outward(at) {
            waiting[ends[target]] = *knot;
            ends[target] += 1;
        }
    }
    // Nodes are numbered in the order of their ids.
    let key = |knot: usize, knots: &[Vec<usize>]| {
        Reverse((knots[knot].first().map_or(0, |at| rows[*at].node), knot))
    };
    let free = (0..knots.len()).filter(|knot| waits_for[*knot] == 0);
    let mut ready: BinaryHeap<Reverse<(u32, usize)>> = free.map(|knot| key(knot, &knots)).collect();
    let mut order = Vec::with_capacity(knots.len());
    while let Some(Reverse((_, knot))) = ready.pop() {
        order.push(std::mem::take(&mut knots[knot]));
        for next in &waiting[starts[knot]..starts[knot + 1]] {
            waits_for[*next] -= 1;
            if waits_for[*next] == 0 {
                ready.push(key(*next, &knots));
            }
        }
    }
    order
}

/// Returns the strongly connected parts of the rows, and the part of each of them: Tarjan's algorithm with its stack on the heap.
fn knots(rows: &[Row<'_>]) -> (Vec<Vec<usize>>, Vec<usize>) {
    const NONE: usize = usize::MAX;
    let count = rows.len();
    let (mut number, mut low, mut knot_of) = (vec![NONE; count], vec![NONE; count], vec![NONE; count]);
    let (mut open, mut path, mut next) = (Vec::with_capacity(count), Vec::with_capacity(count), 0);
    let mut knots = Vec::with_capacity(count);
    for start in 0..count {
        let mut enter = (number[start] == NONE).then_some(start);
        loop {
            if let Some(at) = enter.take() {
                (number[at], low[at]) = (next, next);
                next += 1;
                open.push(at);
                path.push((at, rows[at].targets()));
            }
            let Some((at, left)) = path.last_mut() else { break };
            let at = *at;
            match left.next() {
                Some(to) if number[to] == NONE => enter = Some(to),
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
    if knot.len() == 1 && !rows[first].targets().any(|to| to == first) {
        return None;
    }
    let inside: BTreeSet<usize> = knot.iter().copied().collect();
    let mut before: BTreeMap<usize, usize> = BTreeMap::new();
    let mut queue = vec![first];
    let mut looked = 0;
    while !before.contains_key(&first) {
        let at = *queue.get(looked)?;
        looked += 1;
        for to in rows[at].targets().filter(|to| inside.contains(to)) {
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

/// The reason of the warning that requirements on the platform were not looked at.
const PLATFORM_UNSET: &str = "resolve.platform_unset";

fn is_platform(native: &str) -> bool {
    native.strip_prefix(KERNEL).is_some_and(|rest| rest.is_empty() || rest.starts_with('@'))
}

fn platform_unset() -> Warning {
    let text = format!(
        "nobody says which version of {KERNEL} there is, so that requirements on it were not looked at; say it in a request, or as version below [platforms.estream] in config.toml"
    );
    Warning::new(PLATFORM_UNSET, text)
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
        if pick.release.is_unfetched() {
            let full = pick.name();
            let text = format!(
                "{full}: its documents have not been fetched, so that only what its catalogue says of it is known; resolverd resolve --refresh {full} fetches them"
            );
            warnings.insert(Warning::new("manifest_unfetched", text));
        }
        if pick.release.is_yanked() {
            let text = format!(
                "{} was withdrawn by its author, and is chosen because the lock holds it",
                pick.name()
            );
            warnings.insert(Warning::new("resolve.yanked", text));
        }
        refused_newer(pick, ground, warnings)?;
        if pick.release.has_warnings() {
            for warning in pick.release.release()?.warnings {
                let text = format!("{}: {}", pick.name(), warning.text);
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
