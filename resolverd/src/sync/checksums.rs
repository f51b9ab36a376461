//! Archives of a registry that several of its releases claim: none of them is used. Never looks at a signature itself.

use std::collections::{BTreeSet, HashMap};

use catalogue_schema::digest::Digest;
use catalogue_schema::id::ComponentId;
use catalogue_schema::model::{Refusal, Release, Verdict};
use catalogue_schema::seal::{self, CHECKSUM_TWICE, VERIFICATION, signer};
use catalogue_schema::version::Version;

use crate::merge::listing::Listing;

/// How many of the releases that claim one archive are named.
const NAMED_MAX: usize = 4;

/// Which releases of a registry state which archive, as far as their seals hold. A seal says what an archive is and not of which release,
/// so that a registry could give the archive of one to another: an archive, which names its release itself, is one alone.
#[derive(Debug, Default)]
pub(super) struct Checksums(HashMap<Digest, Vec<(ComponentId, Version)>>);

impl Checksums {
    /// Takes in releases that had seals.
    pub(super) fn note(&mut self, releases: &[Release]) {
        for release in releases.iter().filter(|release| signer(release).is_some()) {
            for digest in release.archive.iter().flat_map(|archive| &archive.digests) {
                let of = (release.id.clone(), release.version.clone());
                self.0.entry(digest.clone()).or_default().push(of);
            }
        }
    }

    /// Refuses all that state one archive: which of them its publisher meant, nobody can tell here.
    pub(super) fn refuse_twice(mut self, listing: &mut Listing) {
        self.0.retain(|_, of| of.len() > 1);
        if self.0.is_empty() {
            return;
        }
        let ids: BTreeSet<ComponentId> = self.0.values().flatten().map(|(id, _)| id.clone()).collect();
        listing.refuse(&ids, |release| {
            if signer(release).is_none() {
                return false;
            }
            let digests = release.archive.iter().flat_map(|archive| &archive.digests);
            let Some((digest, of)) = digests.filter_map(|digest| self.0.get_key_value(digest)).next() else {
                return false;
            };
            let subject = format!("{}@{}", release.id, release.version);
            let told: Vec<String> =
                of.iter().take(NAMED_MAX).map(|(id, version)| format!("{id}@{version}")).collect();
            let found = format!("{digest} of {} releases: {}", of.len(), told.join(", "));
            let refusal = Refusal::new(
                CHECKSUM_TWICE,
                subject,
                "an archive that is one release of its registry",
                found,
            );
            release.extra.extend(seal::broken(CHECKSUM_TWICE).map(|told| (VERIFICATION.to_owned(), told)));
            release.verdict = Verdict::Refused(refusal);
            true
        });
    }
}
