//! Which machines a source may be read from: what the operator named, and what the policies in force say. Never connects.

use catalogue_schema::model::Source;

use crate::fetch::reach::Reach;
use crate::trust::policy::Policies;

/// Returns which machines may be asked for a source: what the operator named, within what every policy allows.
pub fn reach(policies: &Policies, source: &Source) -> Reach {
    let rules = || policies.all().iter().map(|one| one.policy.source(&source.id));
    let is_private =
        !policies.is_empty() && rules().all(|rule| rule.is_some_and(|rule| rule.allow_private_addresses));
    let named = Reach::of(source);
    let named = if is_private { named.with_private_addresses() } else { named };
    let hosts = rules().filter_map(|rule| rule?.hosts.clone());
    hosts.fold(named, Reach::within)
}
