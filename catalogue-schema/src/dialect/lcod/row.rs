//! Component rows: releases without a manifest, as JSONL lists and JSON arrays name them.

use std::sync::Arc;

use crate::dialect::lcod::descriptor::DescriptorTask;
use crate::dialect::lcod::document::{ArrayEntry, Entry, RowOrigin};
use crate::dialect::lcod::pending::{Pending, lcod_only, sha256};
use crate::dialect::lcod::place::{Root, RootPlace, Spot, prefix, repository};
use crate::dialect::lcod::{Reading, Task};
use crate::digest::Digest;
use crate::error::ParseError;
use crate::id::parse_release_id;
use crate::pointer::{CommitId, Location, Revision};

impl Reading<'_> {
    /// Reads one row.
    pub(super) fn component_row(&mut self, entry: &Entry<'_>) -> Result<(), ParseError> {
        let row: ArrayEntry = match entry.read() {
            Ok(row) => row,
            Err(error) => return self.skip(entry.field, error),
        };
        let id = row.id.clone();
        match self.descriptor_errand(row) {
            Ok((location, task)) => self.admit(&id, entry, (location, None), task),
            Err(error) => self.skip(&id, entry.refused(error)),
        }
    }

    fn descriptor_errand(&self, row: ArrayEntry) -> Result<(Location, Task), ParseError> {
        let (id, version) = parse_release_id(&row.id).map_err(|error| error.in_field("id"))?;
        lcod_only(&id).map_err(|error| error.in_field("id"))?;
        let root = match &row.origin {
            Some(origin) => self.row_root(origin).map_err(|error| error.in_field("origin"))?,
            None => self.root.clone(),
        };
        let (field, text) =
            [("compose", &row.compose), ("composePath", &row.compose_path), ("url", &row.url)]
                .into_iter()
                .find_map(|(field, text)| Some((field, text.as_deref()?)))
                .ok_or_else(|| {
                    ParseError::new("input.field", "the field compose, composePath or url", "none of them")
                })?;
        let compose = root.spot(text, self.locality, self.forges).map_err(|error| error.in_field(field))?;
        let lcp = match row.lcp.as_deref() {
            Some(text) => root.spot(text, self.locality, self.forges),
            None => compose.sibling("lcp.toml"),
        };
        let lcp: Spot = lcp.map_err(|error| error.in_field("lcp"))?;
        let digests = pins(&row)?;
        let pending = Pending {
            id,
            version,
            origin: Arc::new(compose.origin()),
            yanked: row.yanked.unwrap_or(false),
            extra: row.extra,
        };
        let task = DescriptorTask { pending, lcp: lcp.path, compose, digests };
        Ok((lcp.location, Task::Descriptor(Box::new(task))))
    }

    /// Returns where the paths of a row with its own origin lead. Without a commit (or with `local`, which says that the row
    /// was written from a work tree) the pointer's own commit counts; `local` means the pointer's repository too.
    fn row_root(&self, origin: &RowOrigin) -> Result<Root, ParseError> {
        let prefix = prefix(origin.path.as_deref()).map_err(|error| error.in_field("path"))?;
        let source = origin.source_repo.as_deref().or(origin.source_repo_snake.as_deref());
        let source = source.map(|text| repository(text, self.locality)).transpose();
        let source = source.map_err(|error| error.in_field("sourceRepo"))?;
        let local = origin.commit.as_deref() == Some("local");
        let commit = origin.commit.as_deref().filter(|_| !local).map(CommitId::parse).transpose();
        let commit = commit.map_err(|error| error.in_field("commit"))?;
        let own = &self.root.place;
        let place = match (own, source.filter(|_| !local), commit) {
            (_, Some(repository), Some(commit)) => {
                RootPlace::Git { repository, revision: Revision::Commit(commit) }
            }
            (RootPlace::Git { revision, .. }, Some(repository), None) => {
                RootPlace::Git { repository, revision: revision.clone() }
            }
            (RootPlace::Git { repository, .. }, None, Some(commit)) => {
                RootPlace::Git { repository: repository.clone(), revision: Revision::Commit(commit) }
            }
            _ => own.clone(),
        };
        Ok(Root { place, prefix: prefix.or_else(|| self.root.prefix.clone()) })
    }
}

/// Returns the digests that a row promises for its `compose.yaml`.
fn pins(row: &ArrayEntry) -> Result<Vec<Digest>, ParseError> {
    let own = row.sha256.as_deref().map(sha256).transpose().map_err(|error| error.in_field("sha256"))?;
    let other = row.checksum.as_deref().map(Digest::parse).transpose();
    let other = other.map_err(|error| error.in_field("checksum"))?;
    match (&own, &other) {
        (Some(one), Some(two)) if one.algorithm() == two.algorithm() && one != two => {
            let expected = format!("pins that agree, {one} as in sha256");
            Err(ParseError::new("trust.pin_conflict", expected, two.to_string()).in_field("checksum"))
        }
        (Some(one), Some(two)) if one == two => Ok(vec![one.clone()]),
        _ => Ok(own.into_iter().chain(other).collect()),
    }
}
