//! The `compose.yaml` of releases, as verified bytes: from the shelf where it lies there, else out of the release's directory in the
//! cache, which is put there first. Never reads what it says.

use std::path::Path;

use catalogue_schema::compose::COMPOSE_BYTES_MAX;
use catalogue_schema::digest::{Digest, Hashed};
use catalogue_schema::model::Refusal;

use crate::api::files::FilesRow;
use crate::materialize::plan::Plan;
use crate::materialize::tree::at_most;
use crate::materialize::{CHANGED, Cache, Tools, gate};

/// The bytes of a `compose.yaml`, `None` where a release has none, or why they cannot be had.
pub type Composed = Result<Option<Vec<u8>>, Refusal>;

impl Cache {
    /// Returns the `compose.yaml` of each release, in the order of `plans`.
    pub fn composes(&self, plans: &[Plan], tools: &Tools<'_>) -> Vec<Composed> {
        let mut found: Vec<Option<Composed>> = plans.iter().map(|plan| shelved(plan, tools)).collect();
        let missing: Vec<usize> = (0..plans.len()).filter(|at| found[*at].is_none()).collect();
        let open: Vec<Plan> = missing.iter().map(|at| plans[*at].clone()).collect();
        for (at, outcome) in missing.into_iter().zip(self.provide(&open, tools)) {
            found[at] = Some(outcome.and_then(|row| on_disk(&row, tools)));
        }
        let lost = |plan: &Plan| Refusal::new("cache.lost", &plan.release, "an answer", "none");
        plans.iter().zip(found).map(|(plan, one)| one.unwrap_or_else(|| Err(lost(plan)))).collect()
    }
}

/// Reads it from the shelf; `None` where the files have to be put on disk first.
fn shelved(plan: &Plan, tools: &Tools<'_>) -> Option<Composed> {
    let Some(path) = &plan.compose else {
        // A list of files is the whole of them.
        return plan.tree.is_none().then_some(Ok(None));
    };
    let piece = plan.pieces.iter().find(|piece| piece.path == *path)?;
    if piece.size.is_some_and(|size| size > bytes_max(tools)) {
        return Some(Err(too_large(&plan.release, piece.size, tools)));
    }
    let bytes = (tools.shelf)(piece.digest.as_ref()?)?;
    Some(Ok(Some(bytes)))
}

/// Reads it from the directory of its release.
fn on_disk(row: &FilesRow, tools: &Tools<'_>) -> Composed {
    let Some(path) = &row.compose else { return Ok(None) };
    let line = row.files.iter().find(|line| line.path == *path);
    if line.is_some_and(|line| line.size > bytes_max(tools)) {
        return Err(too_large(&row.release, line.map(|line| line.size), tools));
    }
    let bytes = gate::note(&Path::new(&row.directory).join(path.as_text())).map(Hashed::of);
    let expected: Option<&Digest> = line.map(|line| &line.digest);
    match bytes {
        Some(bytes) if Some(bytes.digest()) == expected => Ok(Some(bytes.into_bytes())),
        _ => {
            let subject = format!("{path} of {}", row.release);
            Err(Refusal::new(CHANGED, subject, "the file as it was published", "another one, or none"))
        }
    }
}

/// Returns how large a compose file may be: nothing reads a larger one than the last of these.
fn bytes_max(tools: &Tools<'_>) -> u64 {
    tools.limits.compose_bytes.min(COMPOSE_BYTES_MAX as u64)
}

fn too_large(release: &str, size: Option<u64>, tools: &Tools<'_>) -> Refusal {
    let expected = at_most(bytes_max(tools), "bytes", "compose_bytes");
    let found = size.map_or_else(|| "more".to_owned(), |size| format!("{size} bytes"));
    Refusal::new("limit.compose_bytes", format!("compose.yaml of {release}"), expected, found)
}
