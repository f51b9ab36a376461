//! Archives of a registry that several of its releases claim: none of them is used. Never looks at a signature itself.

use catalogue_schema::seal::Checksums;

use crate::merge::listing::Listing;

/// Refuses all that state one archive: which of them its publisher meant, nobody can tell here.
pub(super) fn refuse_twice(mut checksums: Checksums, listing: &mut Listing) {
    checksums.keep_twice();
    let ids = checksums.ids();
    if !ids.is_empty() {
        listing.refuse(&ids, |release| checksums.refuse(release));
    }
}
