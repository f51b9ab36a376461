//! Namespaces of catalogues of which nobody knows which are registered there: a catalogue that an older program read, or whose list of
//! publishers could not be had. Not to know it must not hand the names to somebody placed below.

use std::collections::{BTreeSet, HashMap};

use catalogue_schema::dialect;
use catalogue_schema::generation::CatalogueState;
use catalogue_schema::id::{CatalogueId, Namespace};
use catalogue_schema::packed::{Listed, Packed};
use catalogue_schema::seal::{PUBLISHER_UNKNOWN, SCOPE_OWNED};

use crate::merge::Contribution;

/// Notes the namespaces of what each catalogue lists where nobody knows which ones are registered in it.
pub(super) fn note(catalogues: &mut [CatalogueState], contributions: &[Contribution]) {
    let mut listed: HashMap<&CatalogueId, Vec<&Contribution>> = HashMap::new();
    for contribution in contributions {
        listed.entry(&contribution.catalogue).or_default().push(contribution);
    }
    for state in catalogues {
        let Some(node) = state.errand.node().filter(|_| state.registers.is_none()) else { continue };
        let own = listed.get(&node.id).into_iter().flatten();
        state.scopes = of(own.flat_map(|one| &one.components));
    }
}

/// Returns the namespaces of components that have a release by somebody who is registered, sorted.
fn of<'a>(components: impl Iterator<Item = &'a Packed>) -> Vec<Namespace> {
    let mut scopes = BTreeSet::new();
    for component in components {
        let Some(scope) = dialect::scope(component.id_text()) else { continue };
        if !scopes.contains(scope) && component.all().any(|release| is_by_registered(&release)) {
            scopes.insert(scope);
        }
    }
    scopes.into_iter().filter_map(|scope| Namespace::parse(scope).ok()).collect()
}

/// Tells whether nothing says that the publisher of a release is not registered. Of what another source held before that is not known.
fn is_by_registered(listed: &Listed<'_>) -> bool {
    let refused = || listed.release().ok()?.verdict.refusal().map(|refusal| refusal.reason.clone());
    !listed.is_refused()
        || refused().is_none_or(|reason| reason != PUBLISHER_UNKNOWN && reason != SCOPE_OWNED)
}
