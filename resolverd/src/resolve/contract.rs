//! Contracts of a solution: which component of the same solution implements each, and what to write where that is not clear.
//!
//! Chooses no version and adds no component: what is not in the solution changes nothing but the words of a warning.

use catalogue_schema::id::Reference;
use catalogue_schema::model::Warning;
use catalogue_schema::packed::Listed;

use crate::resolve::ground::Ground;
use crate::resolve::overlay::By;
use crate::resolve::solver::{Undecided, Work};
use crate::resolve::{Pick, Substitution};

/// How many components a warning names that implement a contract.
const NAMED_MAX: usize = 5;
/// How many components lie between two looks at whether the time is over.
const COMPONENTS_PER_LOOK: usize = 4_096;

/// The reason of a contract that nothing in the solution implements, or more than one component.
pub const UNBOUND: &str = "contract.unbound";
/// The reason of a binding to a component that does not implement the contract.
pub const NOT_IMPLEMENTING: &str = "binding.not_implementing";

/// Finds the implementation of every contract among `picks`, and returns what there is to say.
pub(super) fn implemented(
    picks: &mut [Pick<'_>],
    substitutions: &[Substitution],
    ground: &Ground<'_>,
    work: &Work<'_>,
) -> Result<Vec<Warning>, Undecided> {
    let mut warnings = Vec::new();
    let contracts: Vec<usize> = (0..picks.len()).filter(|at| picks[*at].release.is_contract()).collect();
    for at in contracts {
        let contract = &picks[at];
        let (id, name) = (contract.component.id_text(), contract.name());
        let version = contract.release.version();
        let meets = |listed: &Listed<'_>| {
            listed.implements().filter_map(|text| Reference::parse(text).ok()).any(|one| {
                one.id.as_text() == id
                    && version.as_ref().is_some_and(|version| one.requirement.matches_prerelease(version))
            })
        };
        let inside: Vec<usize> = (0..picks.len()).filter(|other| meets(&picks[*other].release)).collect();
        if let [one] = inside.as_slice() {
            picks[at].implementation = Some(*one);
            continue;
        }
        let known: Vec<String> = match inside.as_slice() {
            [] => implementers(id, ground, work)?,
            several => {
                several.iter().take(NAMED_MAX).map(|at| picks[*at].component.id_text().to_owned()).collect()
            }
        };
        let found = match (inside.len(), known.len()) {
            (0, 0) => "nothing that is known implements it".to_owned(),
            (0, _) => format!("nothing in the solution implements it; {} would", known.join(", ")),
            (several, _) => {
                format!("{several} components of the solution implement it: {}", known.join(", "))
            }
        };
        let one = known.first().map_or("lcod://…", String::as_str);
        let text = format!(
            "{name} is a contract without a binding, and {found}; bind one in resolve.config.json: \"bindings\": {{\"{id}\": \"{one}\"}}"
        );
        warnings.push(Warning::new(UNBOUND, text));
    }
    for one in substitutions.iter().filter(|one| one.by == By::Binding) {
        warnings.extend(not_implementing(one, picks, ground, work)?);
    }
    Ok(warnings)
}

/// Warns of a binding to a component that does not say that it implements the contract.
fn not_implementing(
    binding: &Substitution,
    picks: &[Pick<'_>],
    ground: &Ground<'_>,
    work: &Work<'_>,
) -> Result<Option<Warning>, Undecided> {
    // What the host implements says nothing of itself.
    let Some(bound) = picks.iter().find(|pick| pick.component.id_text() == binding.to) else {
        return Ok(None);
    };
    if names(&bound.release, &binding.id) {
        return Ok(None);
    }
    let known = implementers(&binding.id, ground, work)?;
    let others = match known.is_empty() {
        true => "nothing that is known does".to_owned(),
        false => format!("these do: {}", known.join(", ")),
    };
    let text = format!(
        "{} is bound to {}, which does not say that it implements it; {others}",
        binding.id,
        bound.name()
    );
    Ok(Some(Warning::new(NOT_IMPLEMENTING, text)))
}

/// Returns the components whose newest release that may be used says that it implements `contract`, by id, a few of them.
fn implementers(contract: &str, ground: &Ground<'_>, work: &Work<'_>) -> Result<Vec<String>, Undecided> {
    let mut found = Vec::new();
    for (at, component) in ground.components.iter().enumerate() {
        if at.is_multiple_of(COMPONENTS_PER_LOOK) {
            work.look()?;
        }
        if component.latest().is_some_and(|latest| names(&latest, contract)) {
            found.push(component.id_text().to_owned());
            if found.len() == NAMED_MAX {
                break;
            }
        }
    }
    Ok(found)
}

/// Tells whether a release says that it implements some version of a contract.
fn names(listed: &Listed<'_>, contract: &str) -> bool {
    listed
        .implements()
        .any(|text| text.strip_prefix(contract).is_some_and(|rest| rest.is_empty() || rest.starts_with('@')))
}
