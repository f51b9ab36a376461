//! Schemas that the releases of an answer bring and need (seed 002): each is brought once, and whatever is needed is brought. A
//! judgement of an answer as a whole: nothing is searched for another one.

use std::collections::{BTreeMap, BTreeSet};

use catalogue_schema::dialect::estream::PREFIX;
use catalogue_schema::extra::Extra;
use serde_json::Value;

use crate::resolve::{Brought, Cause, Pick, SchemaTwice, SchemaUnmet};

/// How many schemas are named that nothing brings.
const NAMED_MAX: usize = 100;

/// Checks the schemas of an answer, with those that the caller has itself. What the caller has and the answer replaces brings nothing.
///
/// **Errors**: [`Cause::SchemaTwice`], [`Cause::SchemasUnmet`]; a release cannot be read.
pub(super) fn check(picks: &[Pick<'_>], own: &[Brought]) -> Result<(), Cause> {
    let mut brought: BTreeMap<String, String> = BTreeMap::new();
    let mut needed: Vec<(String, &Pick<'_>)> = Vec::new();
    let has_some = |pick: &&Pick<'_>| {
        pick.component.id_text().starts_with(PREFIX) && pick.release.may_have_extra("schemas")
    };
    if picks.iter().all(|pick| !has_some(&pick)) {
        return Ok(());
    }
    let chosen: BTreeSet<&str> = picks.iter().map(|pick| pick.component.id_text()).collect();
    // Two that the caller has are not the answer's concern.
    for Brought { by, schemas } in own.iter().filter(|one| !chosen.contains(one.by.id.as_text())) {
        brought.extend(schemas.iter().map(|schema| (schema.clone(), by.to_string())));
    }
    for pick in picks.iter().filter(has_some) {
        let (extra, name) = (pick.release.extra()?, pick.name());
        for schema in named(&extra, "provides") {
            let before = brought.insert(schema.clone(), name.clone()).filter(|before| *before != name);
            if let Some(before) = before {
                return Err(Cause::SchemaTwice(SchemaTwice { schema, provided_by: [before, name] }));
            }
        }
        needed.extend(named(&extra, "requires").into_iter().map(|schema| (schema, pick)));
    }
    let unmet = needed.into_iter().filter(|(schema, _)| !brought.contains_key(schema));
    let unmet = unmet.take(NAMED_MAX).map(|(schema, pick)| SchemaUnmet { schema, required_by: pick.name() });
    match unmet.collect::<Vec<_>>() {
        none if none.is_empty() => Ok(()),
        unmet => Err(Cause::SchemasUnmet(unmet)),
    }
}

fn named(extra: &Extra, field: &str) -> Vec<String> {
    let schemas = extra.get("schemas").and_then(|schemas| schemas.get(field)).and_then(Value::as_array);
    schemas.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}
