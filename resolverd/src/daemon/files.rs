//! Wiring: who puts files on disk, with the settings of today. Works on the threads of whoever asks, beside the writer, so that a
//! sync delays nobody who wants files; writes nothing but the cache.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use arc_swap::ArcSwap;
use catalogue_schema::digest::Digest;
use catalogue_schema::direct::DirectReference;
use catalogue_schema::id::CatalogueId;
use catalogue_schema::model::{Refusal, Release};
use catalogue_schema::path::DocPath;
use catalogue_schema::pointer::{Locality, Repository, Want};
use tracing::{info, warn};

use crate::api::files::{CollectRequest, FilesRow, Found, Layout, ViewRow};
use crate::config::Settings;
use crate::fetch::Origins;
use crate::fetch::limit::Limits;
use crate::fetch::reach::Reach;
use crate::materialize::about;
use crate::materialize::collect::{Collection, HoldLimits, UNUSED_S};
use crate::materialize::plan::{self, Plan};
use crate::materialize::view::{self, Shape};
use crate::materialize::{Access, CHANGED, Cache, Fetching, Tools};
use crate::server::files::{Beside, Choice, Composed, Desk, Errand, Listing, Part, Provided, Verified};
use crate::shelf::Shelf;
use crate::sync::reach::reach;
use crate::sync::standing::lowered;

/// Where files are put on disk, and what is needed for it.
pub(super) struct Workshop {
    cache: Option<Cache>,
    shelf: Shelf,
    equipment: ArcSwap<Equipment>,
    weight: Mutex<Option<Weight>>,
}

/// How much there may be in the cache: never less than there is, but for what other processes have put there since it was weighed.
/// Weighing reads the description of every release, so that it is not done where there is room for what has come since.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Weight {
    bytes: u64,
    /// How often something came since it was weighed.
    came: u32,
}

/// How often something may come before the cache is weighed again, since other processes may work there.
const CAME_MAX: u32 = 100;

impl Weight {
    /// Notes that so many bytes came; tells whether there may be more than `most` now.
    fn comes_to_more(&mut self, bytes: u64, most: u64) -> bool {
        self.bytes = self.bytes.saturating_add(bytes);
        self.came += 1;
        self.bytes > most || self.came > CAME_MAX
    }
}

/// Returns how many bytes of the cache a release takes, at most: its files, and its archive where that is kept.
fn weight(row: &FilesRow) -> u64 {
    let archive = row.archive.as_ref().and_then(|place| Path::new(place).symlink_metadata().ok());
    row.files.iter().map(|file| file.size).sum::<u64>() + archive.map_or(0, |found| found.len())
}

/// What the configuration says; another after a reload.
struct Equipment {
    origins: Arc<Origins>,
    limits: Limits,
    is_offline: bool,
}

impl Equipment {
    fn of(settings: &Settings, origins: &Arc<Origins>) -> Arc<Equipment> {
        let (limits, is_offline) = (settings.limits.clone(), settings.offline);
        Arc::new(Equipment { origins: Arc::clone(origins), limits, is_offline })
    }
}

impl Workshop {
    /// Names the place; makes nothing.
    pub(super) fn new(settings: &Settings, origins: &Arc<Origins>, shelf: Shelf) -> Workshop {
        let access = if settings.system { Access::Group } else { Access::Owner };
        let cache = settings.network.cache_dir.as_deref().map(|place| Cache::below(place, access));
        let equipment = ArcSwap::new(Equipment::of(settings, origins));
        Workshop { cache, shelf, equipment, weight: Mutex::default() }
    }

    /// Works by these settings from now on. The cache stays where it is.
    pub(super) fn renew(&self, settings: &Settings, origins: &Arc<Origins>) {
        self.equipment.store(Equipment::of(settings, origins));
    }

    /// Returns the desk at which this workshop is asked; `None` without a cache directory. What killed processes left goes. `now` tells
    /// the time.
    pub(super) fn desk(self: &Arc<Self>, now: fn() -> SystemTime) -> Option<Desk> {
        let cache = self.cache.as_ref()?;
        if let Err(error) = cache.sweep() {
            warn!(%error, "what was left half-done in the cache could not be removed");
        }
        let unusable = |error: std::io::Error| {
            let found = format!("{error}; the cache may be deleted at any time");
            Refusal::new("cache.unusable", "the files in the cache", "a cache that can be read", found)
        };
        let [provide, compose, verify, collect, release, list] = std::array::from_fn(|_| Arc::clone(self));
        Some(Desk {
            provide: Box::new(move |errand| {
                let provided = provide.provide(errand)?;
                let fetched = provided.rows.iter().filter(|row| row.from == Found::Fetched);
                let bytes: Vec<u64> = fetched.map(weight).collect();
                if !bytes.is_empty() {
                    provide.trim(bytes.iter().sum(), now());
                }
                Ok(provided)
            }),
            compose: Box::new(move |errand| compose.composes(errand)),
            read: Box::new(|(row, path)| read(&row, &path)),
            verify: Box::new(move |releases| {
                let place = verify.place()?;
                let rows = place.verify(&releases).map_err(unusable)?;
                Ok(Verified { rows, skipped: place.strangers().map_err(unusable)? })
            }),
            collect: Box::new(move |(request, uid)| {
                collect.place()?.collect(&collection(request, uid), now()).map_err(unusable)
            }),
            release: Box::new(move |(names, uid)| release.place()?.release(uid, &names).map_err(unusable)),
            list: Box::new(move |()| {
                let place = list.place()?;
                let row = |(directory, components): (std::path::PathBuf, usize)| ViewRow {
                    directory: directory.display().to_string(),
                    components,
                };
                let views = place.all_views().map_err(unusable)?.into_iter().map(row).collect();
                let skipped = place.strangers().map_err(unusable)?;
                Ok(Listing { holds: place.all_holds().map_err(unusable)?, views, skipped })
            }),
        })
    }

    fn place(&self) -> Result<&Cache, Refusal> {
        let expected = "a cache directory (cache_dir, RESOLVERD_CACHE_DIR or HOME)";
        self.cache.as_ref().ok_or_else(|| Refusal::new("cache.unusable", "the cache", expected, "none"))
    }

    /// Lends what files are fetched with: origins, the shelf, and what the generation knows of places.
    fn with_tools<T>(
        &self,
        errand: &Errand<'_>,
        equipment: &Equipment,
        limits: &Limits,
        act: impl FnOnce(&Tools<'_>) -> T,
    ) -> T {
        let forbidden = errand.offline || equipment.is_offline;
        act(&Tools {
            origins: &*equipment.origins,
            shelf: &|digest| self.shelf.read(digest).ok().flatten(),
            recorded: &|digest| Some((errand.documents)()?.by_digest(digest)?.want),
            limits,
            fetching: match (forbidden, errand.refetch) {
                (true, _) => Fetching::Forbidden,
                (false, true) => Fetching::Anew,
                (false, false) => Fetching::Allowed,
            },
            gone: errand.gone,
            progress: errand.progress,
            audience: None,
            together: None,
        })
    }

    /// Removes what nobody needs, as far as there is more than is allowed, once `bytes` have come. What cannot be removed now is looked
    /// at the next time.
    fn trim(&self, bytes: u64, now: SystemTime) {
        let most = self.equipment.load().limits.files_bytes;
        let (Some(cache), true) = (&self.cache, most > 0) else { return };
        let mut weight = self.weight.lock().unwrap_or_else(PoisonError::into_inner);
        if weight.as_mut().is_some_and(|known| !known.comes_to_more(bytes, most)) {
            return;
        }
        // Whoever fetches meanwhile is counted by their own turn, or by this look.
        *weight = match cache.trim(most, now) {
            Ok(Some((gone, bytes))) => {
                if !gone.removed.is_empty() {
                    let (releases, bytes) = (gone.removed.len(), gone.bytes);
                    info!(
                        releases,
                        bytes,
                        files_bytes = most,
                        "released files were removed: there were too many"
                    );
                }
                Some(Weight { bytes, came: 0 })
            }
            Ok(None) => None,
            Err(error) => {
                warn!(%error, "too many released files could not be removed");
                None
            }
        };
    }

    fn provide(&self, errand: &Errand<'_>) -> Result<Provided, Refusal> {
        let (cache, equipment) = (self.place()?, self.equipment.load_full());
        if errand.refetch && (errand.offline || equipment.is_offline) {
            let expected = "leave to fetch, since everything is asked for anew";
            return Err(Refusal::new("offline", "the files", expected, "that nothing may be fetched"));
        }
        let limits = lowered(errand.policies, &equipment.limits);
        let plan = |choice: &Choice| planned(choice, errand, &limits);
        let plans = errand.choices.iter().map(plan).collect::<Result<Vec<Plan>, _>>()?;
        let provided = self.with_tools(errand, &equipment, &limits, |tools| cache.provide(&plans, tools));
        let mut rows = provided.into_iter().collect::<Result<Vec<FilesRow>, _>>()?;
        for (row, choice) in rows.iter_mut().zip(errand.choices) {
            match choice {
                Choice::Described(_, release) => row.release.clone_from(release),
                Choice::Beside(beside) => {
                    if let Some(release) = &beside.release {
                        row.release.clone_from(release);
                    }
                }
                Choice::Listed(_) | Choice::Direct(_) => {}
            }
        }
        if let Some(name) = errand.hold {
            let releases = plans.into_iter().map(|plan| (plan.release, plan.promise));
            let releases = releases.collect::<Vec<(String, Digest)>>();
            cache.hold(errand.uid, name, &releases, HoldLimits::from(&limits))?;
        }
        let view = match errand.layout {
            None => None,
            Some(Layout::LcodView) => {
                let directory = cache.view(&rows)?.display().to_string();
                let releases: BTreeSet<&str> = rows.iter().map(|row| row.release.as_str()).collect();
                Some(ViewRow { directory, components: releases.len() })
            }
        };
        Ok(Provided { rows, view })
    }
}

/// Reads a file of a release that was put on disk, as long as it is the one that was put there.
fn read(row: &FilesRow, path: &DocPath) -> Result<Option<Vec<u8>>, Refusal> {
    let Some(line) = row.files.iter().find(|line| line.path == *path) else { return Ok(None) };
    let place = Path::new(&row.directory).join(path.as_text());
    let refused = |found: String| {
        let subject = format!("{path} of {}", row.release);
        Refusal::new(CHANGED, subject, line.digest.to_string(), found)
    };
    let bytes = about::read(&place, line.size).map_err(|error| refused(error.to_string()))?;
    match Digest::sha256(&bytes) {
        found if found == line.digest => Ok(Some(bytes)),
        found => Err(refused(found.to_string())),
    }
}

impl Workshop {
    /// Returns the compose files of releases; one that cannot be had spoils only itself.
    fn composes(&self, errand: &Errand<'_>) -> Result<Vec<Composed>, Refusal> {
        let (cache, equipment) = (self.place()?, self.equipment.load_full());
        let limits = lowered(errand.policies, &equipment.limits);
        let planned: Vec<Result<Plan, Refusal>> =
            errand.choices.iter().map(|choice| planned(choice, errand, &limits)).collect();
        let good: Vec<Plan> = planned.iter().filter_map(|plan| plan.as_ref().ok()).cloned().collect();
        let found = self.with_tools(errand, &equipment, &limits, |tools| cache.composes(&good, tools));
        let mut found = found.into_iter();
        let lost = || Refusal::new("cache.lost", "a compose file", "an answer", "none");
        let answer =
            |plan: Result<Plan, Refusal>| plan.and_then(|_| found.next().unwrap_or_else(|| Err(lost())));
        Ok(planned.into_iter().map(answer).collect())
    }
}

/// Plans a choice, with the machines that are asked for it.
fn planned(choice: &Choice, errand: &Errand<'_>, limits: &Limits) -> Result<Plan, Refusal> {
    let mut plan = match choice {
        Choice::Listed(listed) => listed_plan(&listed.0, &listed.1, errand, limits)?,
        // Nobody vouches for the place, so that only public machines are asked.
        Choice::Direct(direct) | Choice::Described(direct, _) => {
            plan::direct(direct.to_string(), direct.location(), direct.path.clone())
        }
        Choice::Beside(beside) => {
            let Beside { reference, part, of, .. } = &**beside;
            let (name, location) = (reference.to_string(), reference.location());
            let plan = match part {
                Part::Files(files) => {
                    let place = |path: &DocPath| {
                        let own = DocPath::parse(path.segments().next_back()?).ok()?;
                        Some((own, DirectReference { path: path.clone(), ..reference.clone() }.location()))
                    };
                    plan::some(&name, files.iter().filter_map(place), (location, reference.path.clone()))
                }
                Part::Descriptors(most) => plan::descriptors(&name, location, reference.path.clone(), *most),
                Part::Whole => plan::direct(name, location, reference.path.clone()),
            };
            // Whoever may be asked for a release may be asked for what lies beside it.
            match of {
                Some(of) => {
                    let Plan { reach, is_offline, .. } = listed_plan(&of.0, &of.1, errand, limits)?;
                    Plan { reach, is_offline, ..plan }
                }
                None => plan,
            }
        }
    };
    plan.reach = std::mem::take(&mut plan.reach).through(errand.mirrors.clone());
    Ok(plan)
}

/// Plans a listed release, with the machines that a sync would ask for it.
fn listed_plan(
    release: &Release,
    owner: &CatalogueId,
    errand: &Errand<'_>,
    limits: &Limits,
) -> Result<Plan, Refusal> {
    let generation = errand.snapshot.map(|snapshot| &snapshot.generation);
    let catalogue = generation.and_then(|generation| {
        let mut states = generation.catalogues.iter();
        states.find(|state| state.errand.node().is_some_and(|node| node.id == *owner))
    });
    let mut plan = plan::of(release, catalogue, limits)?;
    let state = generation.and_then(|one| one.sources.iter().find(|state| state.source.id == owner.source));
    let (reach, is_offline) = match state {
        Some(state) => (reach(errand.policies, &state.source), state.source.offline),
        None => (Reach::default(), false),
    };
    // Only what lies on another machine has to be reached.
    let is_remote = matches!(release.origin.repository, Some(Repository::Https(_)));
    let is_noted = is_remote
        && catalogue.is_some_and(|catalogue| is_local(&catalogue.errand.want))
        && release.manifest.as_ref().is_none_or(|manifest| {
            (errand.documents)()
                .and_then(|documents| documents.by_digest(manifest))
                .is_some_and(|known| is_local(&known.want))
        });
    plan.is_offline = is_offline;
    plan.reach = if is_noted { noting(reach, &plan, limits) } else { reach };
    Ok(plan)
}

/// Adds what a local document names.
fn noting(reach: Reach, plan: &Plan, limits: &Limits) -> Reach {
    let tree = plan.tree.as_ref().map(|tree| tree.want(limits));
    let wants = plan.pieces.iter().filter_map(|piece| piece.want.as_ref()).chain(tree.as_ref());
    wants.fold(reach, |reach, want| reach.noting(want))
}

fn is_local(want: &Want) -> bool {
    matches!(want, Want::Blob(location) if location.locality() == Locality::Local)
}

fn collection(request: CollectRequest, uid: u32) -> Collection {
    let CollectRequest { dry_run, ended, unused_s, views, max_bytes } = request;
    Collection { dry_run, uid, ended, unused_s: unused_s.unwrap_or(UNUSED_S), views, max_bytes }
}

/// Makes a directory of released files with the rights of this process, for a verb.
///
/// **Errors**: those of [`view::put`].
pub fn put(place: &Path, layout: Option<Layout>, rows: &[FilesRow]) -> Result<(), Refusal> {
    let shape = match layout {
        None => Shape::Plain,
        Some(Layout::LcodView) => Shape::LcodView,
    };
    view::put(place, shape, rows)
}

/// Tells whether nothing is at `place`, with the rights of this process; `None` where nobody can tell.
pub fn is_absent(place: &Path) -> Option<bool> {
    match place.symlink_metadata() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Some(true),
        Err(_) => None,
        Ok(_) => Some(false),
    }
}

/// Tells whether a directory was made by [`put`], with the rights of this process; `None` where nobody can tell.
pub fn is_gone(place: &Path) -> Option<bool> {
    match place.symlink_metadata() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Some(true),
        Err(_) => None,
        Ok(_) => Some(!view::is_view(place)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cache_is_weighed_when_there_may_be_too_much_and_now_and_then() {
        let mut weight = Weight { bytes: 90, came: 0 };
        assert!(!weight.comes_to_more(10, 100));
        assert!(weight.comes_to_more(1, 100));
        let mut weight = Weight { bytes: 0, came: 0 };
        let quiet = (0..CAME_MAX).all(|_| !weight.comes_to_more(0, 100));
        assert!(quiet && weight.comes_to_more(0, 100));
    }
}
