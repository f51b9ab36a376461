//! The policies in force, applied to what a sync has read: who may supply an id, and whether each release may be used.
//!
//! 1. [`Bench::hide`], before the merge: what a source lists that may not supply it, or that lies beside the right to sign its
//!    catalogue, does not exist beside one that may. Where nobody else lists it, it stays, and is refused by name.
//! 2. [`Bench::rule`], behind the merge: the facts of each release go to the policies, and their verdict becomes its own. What the
//!    documents refuse stays refused.
//!
//! Without a policy nothing is changed. Never fetches, never reads a clock, never forgets.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use catalogue_schema::digest::Digest;
use catalogue_schema::generation::{Blocked, CatalogueState, Health, Ruled, SourceState};
use catalogue_schema::id::{CatalogueId, ComponentId, Dialect, Namespace, SourceId};
use catalogue_schema::model::{Component, Level, Rank, Release, Shadow, Verdict, Warning};
use catalogue_schema::pace;
use catalogue_schema::packed::write::Packer;
use catalogue_schema::packed::{Packed, PackedError};
use catalogue_schema::policy::{Mode, NamespaceRule, Pattern, Policy};
use catalogue_schema::version::Version;
use tracing::warn;

use crate::merge::Contribution;
use crate::store::StoreError;
use crate::store::first_seen::FirstSeen;
use crate::sync::{Past, Scope, Sync, everything, key};
use crate::trust::evidence::{Case, Looked, Signatures, Voucher, missing_before};
use crate::trust::policy::decide::{DELEGATION_SCOPE, Delegated, delegated};
use crate::trust::policy::{InForce, Policies};
use crate::trust::verify::{Act, rule};

/// The reason for what a source lists that it may not supply.
pub(super) const NOT_ALLOWED: &str = "trust.source_not_allowed";

/// Of how many releases a generation remembers when they were first seen.
const SEEN_MAX: usize = 10_000;

/// Where releases are ruled upon.
pub(super) struct Bench<'a> {
    policies: &'a Policies,
    now_s: i64,
    /// Who signed what.
    signatures: Signatures,
    /// When each source was last compared with its origin, where its age counts.
    checked: BTreeMap<SourceId, i64>,
    /// The last generation was ruled upon.
    was_ruled: bool,
    /// The sources that list a release of which several must carry the same bytes.
    carried: HashMap<(ComponentId, Version), Vec<Carrier>>,
}

/// Who carries a release, and the digest of its bytes where it is known.
type Carrier = (SourceId, Option<Digest>);

/// What sources list that they may not supply, each with the reason.
#[derive(Debug, Default)]
pub(super) struct Hidden(BTreeMap<ComponentId, Vec<(Shadow, &'static str)>>);

impl<'a> Bench<'a> {
    /// Makes the bench of a run that has read `sources`.
    pub(super) fn of(
        sync: &Sync<'a>,
        past: Past<'_>,
        scope: Scope<'_>,
        sources: &[SourceState],
        signatures: Signatures,
    ) -> Bench<'a> {
        let checked = |SourceState { source, health, .. }: &SourceState| {
            let is_checked = *health == Health::Fresh && !sync.offline && scope.covers(&source.id);
            let known = sync.rules.checked.get(&source.id).copied();
            let last_s = past.generation().map(|last| last.committed_s);
            let at_s = match is_checked {
                true => sync.now_s,
                false => known.or(last_s).unwrap_or(sync.now_s),
            };
            // A pinned one never ages. That nothing may be fetched now makes nothing younger.
            (!source.is_pinned() && !source.offline).then(|| (source.id.clone(), at_s))
        };
        let policies: &'a Policies = &sync.rules.policies;
        let checked = match policies.is_empty() {
            true => BTreeMap::new(),
            false => sources.iter().filter_map(checked).collect(),
        };
        let was_ruled = past.generation().is_some_and(|last| last.policy.is_some());
        Bench { policies, now_s: sync.now_s, signatures, checked, was_ruled, carried: HashMap::new() }
    }

    /// Takes away what a source lists that it may not supply, and what lies beside the right to sign a catalogue, where one that may
    /// supply it lists it as well.
    ///
    /// **Errors**: a component cannot be read.
    pub(super) fn hide(
        &mut self,
        contributions: &mut [Contribution],
        catalogues: &[CatalogueState],
    ) -> Result<Hidden, PackedError> {
        let mut hidden = Hidden::default();
        if self.policies.is_empty() {
            return Ok(hidden);
        }
        let Bench { policies, now_s, signatures, carried, .. } = self;
        let excluders: Vec<Excluder<'_>> = contributions
            .iter()
            .map(|one| Excluder::of(policies, &one.catalogue, catalogues, signatures, *now_s))
            .collect();
        let mut permitted = HashSet::new();
        for (Contribution { catalogue, components, .. }, excluder) in contributions.iter().zip(&excluders) {
            for component in pace::each(components, pace::COMPONENT_NS) {
                let id = component.id()?;
                if policies.agree(&id) > 1 {
                    // A copy that may not be used speaks for nothing.
                    for listed in component.all().filter(|listed| !listed.is_refused()) {
                        let Some(version) = listed.version() else { continue };
                        let carriers = carried.entry((id.clone(), version)).or_default();
                        carriers.push((catalogue.source.clone(), listed.content()?));
                    }
                }
                if excluder.reason(&id).is_none() {
                    permitted.insert(id);
                }
            }
        }
        for (Contribution { catalogue, components, .. }, excluder) in contributions.iter_mut().zip(&excluders)
        {
            components.retain(|component| {
                // What cannot be read was refused above.
                let Ok(id) = component.id() else { return true };
                let Some(reason) = excluder.reason(&id).filter(|_| permitted.contains(&id)) else {
                    return true;
                };
                let versions = component.all().filter_map(|listed| listed.version()).collect();
                let shadow = Shadow { catalogue: catalogue.clone(), versions };
                hidden.0.entry(id).or_default().push((shadow, reason));
                false
            });
        }
        Ok(hidden)
    }

    /// Rules on every release, and returns what the generation remembers of it and what an auditor should know.
    ///
    /// **Errors**: a component cannot be read or packed.
    pub(super) fn rule(
        &self,
        components: &mut [Packed],
        sources: &[SourceState],
        catalogues: &mut [CatalogueState],
        ledger: &FirstSeen,
    ) -> Result<Option<(Ruled, Vec<Act>)>, StoreError> {
        let Some(digest) = self.policies.digest().cloned() else {
            if self.was_ruled {
                components.iter_mut().try_for_each(without_rulings)?;
            }
            return Ok(None);
        };
        let mut sheet = Sheet::default();
        let mut grounds: HashMap<CatalogueId, Ground> = HashMap::new();
        let mut packer = Packer::default();
        for component in components {
            let mut read = component.component()?;
            let ground = grounds
                .entry(read.owner.clone())
                .or_insert_with(|| Ground::of(&read.owner, sources, catalogues, &self.signatures));
            if self.rule_component(ground, &mut read, &mut sheet, ledger)? {
                *component = packer.pack(&read)?;
            }
        }
        let Sheet { next_change_s, acts, carried, seen, mut refused } = sheet;
        for state in catalogues.iter_mut().filter(|state| state.releases > 0) {
            let own = state.errand.node().and_then(|node| refused.remove(&node.id));
            state.refused += own.unwrap_or_default();
        }
        let checked = self.checked.clone();
        Ok(Some((Ruled { digest, judged_s: self.now_s, next_change_s, checked, carried, seen }, acts)))
    }

    /// Rules on the releases of a component; tells whether anything in it is another thing now.
    fn rule_component(
        &self,
        ground: &Ground,
        component: &mut Component,
        sheet: &mut Sheet,
        ledger: &FirstSeen,
    ) -> Result<bool, StoreError> {
        let mut is_changed = false;
        for release in &mut component.releases {
            let seen = self.first_seen(&component.owner.source, release, ledger)?;
            if let Some(seen) = seen.as_ref().filter(|seen| self.decides(release, seen))
                && sheet.seen.len() < SEEN_MAX
            {
                sheet.seen.insert(format!("{}@{}", release.id, release.version), seen.clone());
            }
            let Some(ruled) = self.one(ground, &component.owner, (release, seen), &mut sheet.carried) else {
                continue;
            };
            sheet.next_change_s = sheet.next_change_s.into_iter().chain(ruled.next_change_s).min();
            sheet.acts.extend(ruled.acts);
            let is_new =
                |warning: &Warning| release.warnings.iter().all(|known| known.reason != warning.reason);
            let warnings: Vec<Warning> = ruled.warnings.into_iter().filter(is_new).collect();
            is_changed |= !warnings.is_empty() || release.verdict != ruled.verdict;
            release.warnings.extend(warnings);
            release.verdict = ruled.verdict;
            if release.verdict.refusal().is_some() {
                *sheet.refused.entry(component.owner.clone()).or_default() += 1;
                // What a policy has refused is no longer what its document makes of it.
                release.basis = None;
            }
        }
        Ok(is_changed)
    }

    /// Returns what a version was when it was first seen here, and when: now, where nobody has seen it before.
    fn first_seen(
        &self,
        source: &SourceId,
        release: &Release,
        ledger: &FirstSeen,
    ) -> Result<Option<(Digest, i64)>, StoreError> {
        let Some(content) = release.content() else { return Ok(None) };
        let (id, version) = (release.id.as_text(), release.version.to_string());
        let known = ledger.known_as(source.as_text(), id, &version, &content)?;
        Ok(Some(known.map_or((content, self.now_s), |seen| (seen.digest, seen.at_s))))
    }

    /// Tells whether it decides something what a release was when it was first seen.
    fn decides(&self, release: &Release, (digest, _): &(Digest, i64)) -> bool {
        release.content().as_ref() != Some(digest) || self.policies.looks_back(&release.id)
    }

    /// Rules on one release; `None` for one that its documents refuse.
    fn one(
        &self,
        ground: &Ground,
        owner: &CatalogueId,
        (release, seen): (&Release, Option<(Digest, i64)>),
        carried: &mut BTreeMap<String, Vec<SourceId>>,
    ) -> Option<crate::trust::verify::Ruled> {
        let Verdict::Trusted(leave) = &release.verdict else { return None };
        let packages = &self.signatures.packages;
        let looked =
            release.manifest.as_ref().and_then(|manifest| packages.get(&(owner.clone(), manifest.clone())));
        let carriers = self.carriers(release, release.content().as_ref());
        if !carriers.is_empty() {
            carried.insert(format!("{}@{}", release.id, release.version), carriers.clone());
        }
        let mut case = Case::of(release, &owner.source, &ground.voucher, looked.map(Arc::as_ref));
        case.pinned = leave.level() == Level::Pinned;
        case.missing = &ground.missing;
        case.checked_s = self.checked.get(&owner.source).copied();
        case.first_seen = seen;
        case.carriers = &carriers;
        Some(rule(self.policies, &case.facts(), &leave.clone().without_ruling(), self.now_s))
    }

    /// Returns the sources that carry the same bytes, sorted.
    fn carriers(&self, release: &Release, content: Option<&Digest>) -> Vec<SourceId> {
        if self.carried.is_empty() || content.is_none() {
            return Vec::new();
        }
        let listed = self.carried.get(&(release.id.clone(), release.version.clone()));
        let same = listed.into_iter().flatten().filter(|(_, other)| other.as_ref() == content);
        let mut sources: Vec<SourceId> = same.map(|(source, _)| source.clone()).collect();
        sources.sort();
        sources.dedup();
        sources
    }
}

/// Who says which ids one catalogue may not supply.
struct Excluder<'a> {
    policies: &'a Policies,
    source: SourceId,
    /// The rights on which the catalogue rests, each with the policy by which it counts.
    rights: Vec<(&'a Policy, Delegated<'a>)>,
}

impl<'a> Excluder<'a> {
    fn of(
        policies: &'a Policies,
        id: &CatalogueId,
        catalogues: &[CatalogueState],
        signatures: &'a Signatures,
        now_s: i64,
    ) -> Excluder<'a> {
        // That it is signed is computed again only where somebody else may have signed it.
        let voucher = voucher(id, catalogues, signatures).filter(|voucher| voucher.delegation.is_some());
        let right = |voucher: &'a Voucher| {
            let facts = voucher.facts(None);
            let of =
                |one: &'a InForce| Some((&one.policy, delegated(&one.policy, &id.source, &facts, now_s)?));
            policies.all().iter().filter_map(of).collect()
        };
        let rights = voucher.map(right).unwrap_or_default();
        Excluder { policies, source: id.source.clone(), rights }
    }

    /// Returns why the catalogue may not supply an id, where that is enforced.
    fn reason(&self, id: &ComponentId) -> Option<&'static str> {
        if self.policies.excluding(id, &self.source).is_some() {
            return Some(NOT_ALLOWED);
        }
        let is_beside = |(policy, right): &(&Policy, Delegated<'_>)| {
            policy.rule(id).is_some_and(|rule| rule.mode == Mode::Enforce) && !right.covers(id)
        };
        self.rights.iter().any(is_beside).then_some(DELEGATION_SCOPE)
    }
}

/// Returns the state of the catalogue that lists what `owner` lists.
fn state_of<'c>(owner: &CatalogueId, catalogues: &'c [CatalogueState]) -> Option<&'c CatalogueState> {
    let named = |state: &&CatalogueState| state.errand.node().is_some_and(|node| node.id == *owner);
    catalogues.iter().filter(named).max_by_key(|state| state.releases > 0)
}

/// Returns who vouches for a catalogue; `None` where nobody looked at signatures.
fn voucher<'v>(
    owner: &CatalogueId,
    catalogues: &[CatalogueState],
    signatures: &'v Signatures,
) -> Option<&'v Voucher> {
    signatures.vouchers.get(&key(state_of(owner, catalogues)?.errand.node()?))
}

/// Takes away what policies said that are not in force any more.
fn without_rulings(component: &mut Packed) -> Result<(), PackedError> {
    let mut read = component.component()?;
    let mut is_changed = false;
    for release in &mut read.releases {
        if let Verdict::Trusted(leave) = &release.verdict
            && leave.rule().is_some()
        {
            release.verdict = Verdict::Trusted(leave.clone().without_ruling());
            is_changed = true;
        }
    }
    if is_changed {
        *component = Packer::default().pack(&read)?;
    }
    Ok(())
}

/// What comes of ruling on releases, beside their verdicts.
#[derive(Default)]
struct Sheet {
    next_change_s: Option<i64>,
    acts: Vec<Act>,
    carried: BTreeMap<String, Vec<SourceId>>,
    seen: BTreeMap<String, (Digest, i64)>,
    /// How many releases of a catalogue were refused.
    refused: HashMap<CatalogueId, u64>,
}

/// What is the same for every release of a catalogue.
struct Ground {
    missing: Vec<SourceId>,
    voucher: Voucher,
}

impl Ground {
    fn of(
        owner: &CatalogueId,
        sources: &[SourceState],
        catalogues: &[CatalogueState],
        signatures: &Signatures,
    ) -> Ground {
        let state = state_of(owner, catalogues);
        let known = voucher(owner, catalogues, signatures).cloned();
        let digest = state.and_then(|state| state.digest.clone()).unwrap_or_else(|| Digest::sha256(b""));
        let looked: Arc<Looked> = Arc::default();
        let voucher = known.unwrap_or_else(|| Voucher {
            name: owner.name.clone(),
            digest,
            looked,
            delegation: None,
            rollback: None,
        });
        Ground { missing: missing_before(&owner.source, sources, catalogues), voucher }
    }
}

impl Hidden {
    /// Reports what was hidden: as shadows of its component, and as a warning on the catalogue that lists it.
    ///
    /// **Errors**: a component cannot be read or packed.
    pub(super) fn tell(
        self,
        components: &mut [Packed],
        catalogues: &mut [CatalogueState],
    ) -> Result<(), PackedError> {
        let mut told: BTreeMap<(CatalogueId, &'static str), (usize, ComponentId)> = BTreeMap::new();
        let nodes = || catalogues.iter().filter_map(|state| state.errand.node());
        let ranks: HashMap<&CatalogueId, &Rank> = nodes().map(|node| (&node.id, &node.rank)).collect();
        for (id, shadows) in self.0 {
            for (shadow, reason) in &shadows {
                told.entry((shadow.catalogue.clone(), reason)).or_insert_with(|| (0, id.clone())).0 += 1;
            }
            let at = components.binary_search_by(|component| component.id_text().cmp(id.as_text()));
            if let Some(component) = at.ok().and_then(|at| components.get_mut(at)) {
                let mut shadowed = component.shadowed()?;
                shadowed.extend(shadows.into_iter().map(|(shadow, _)| shadow));
                shadowed.sort_by_key(|shadow| ranks.get(&shadow.catalogue).copied());
                *component = component.with_shadows(&shadowed)?;
            }
        }
        for ((catalogue, reason), (count, first)) in told {
            warn!(%catalogue, count, example = %first, reason, "a source lists what it may not supply");
            let text = match reason {
                DELEGATION_SCOPE => format!(
                    "another key may sign it for what {} owns, and {count} of the components that it lists are others, such as {first}: what it lists of them is not used",
                    catalogue.source
                ),
                _ => format!(
                    "by the policy other sources supply {count} of the components that it lists, such as {first}: what it lists of them is not used"
                ),
            };
            let own = |state: &&mut CatalogueState| {
                state.releases > 0 && state.errand.node().is_some_and(|node| node.id == catalogue)
            };
            if let Some(state) = catalogues.iter_mut().find(own) {
                state.warnings.push(Warning::new(reason, text));
            }
        }
        Ok(())
    }
}

/// Returns the namespaces that wait for a source which a policy names for them and which has never been read, where that is
/// enforced. A namespace inside of
/// which another rule decides is left out: what waits there is refused release by release.
pub(super) fn waiting(
    policies: &Policies,
    sources: &[SourceState],
    catalogues: &[CatalogueState],
) -> Vec<Blocked> {
    let is_unread = |state: &&SourceState| {
        let below = |other: &CatalogueState| {
            let is_own = other.errand.node().is_some_and(|node| node.id.source == state.source.id);
            is_own && other.health == Health::Unread
        };
        state.health == Health::Unread || catalogues.iter().any(below)
    };
    let unread: Vec<&SourceState> = sources.iter().filter(is_unread).collect();
    let mut blocked = Vec::new();
    for one in policies.all().iter().filter(|_| !unread.is_empty()) {
        for rule in one.policy.namespaces.iter().filter(|rule| rule.mode == Mode::Enforce) {
            for state in unread.iter().filter(|state| rule.sources.contains(&state.source.id)) {
                let namespace = whole(rule, &one.policy, state.source.dialect);
                blocked.extend(namespace.map(|namespace| Blocked {
                    namespace,
                    source: state.source.id.clone(),
                    place: state.source.place,
                }));
            }
        }
    }
    blocked
}

/// Returns the namespace of a rule that decides about all of it; of one about every id, those that a source of `dialect` has.
fn whole(rule: &NamespaceRule, policy: &Policy, dialect: Dialect) -> Option<Namespace> {
    let Pattern::Below(prefix) = &rule.pattern else { return None };
    let is_inside = |other: &NamespaceRule| {
        other.pattern != rule.pattern && other.pattern.to_string().starts_with(&**prefix)
    };
    let text = if prefix.is_empty() { everything(dialect).to_owned() } else { rule.pattern.to_string() };
    Namespace::parse(&text).ok().filter(|_| !policy.namespaces.iter().any(is_inside))
}

/// Returns the digest that names a snapshot which was judged by policies: that of the releases alone is not enough.
pub(super) fn named(snapshot: Digest, policies: &Policies) -> Digest {
    match policies.digest() {
        None => snapshot,
        Some(policy) => Digest::sha256(format!("{snapshot}\npolicy {policy}\n").as_bytes()),
    }
}
