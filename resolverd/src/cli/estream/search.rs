//! The table of a search in eStream registries (seed 002, section 5.1). A page that holds other components as well stays the table
//! of [`crate::cli::search`], since these columns say nothing of them.

use catalogue_schema::dialect::estream::PREFIX;
use serde_json::{Value, json};

use crate::api::Call;
use crate::cli::Ended;
use crate::cli::ask::Asker;
use crate::cli::render::{Paint, field, list, plain, table};

/// How many characters a badge of a publisher may have; longer ones are cut.
const BADGE_CHARS_MAX: usize = 24;

/// Tells whether a hit is of an eStream registry.
fn is_ours(one: &Value) -> bool {
    one["id"].as_str().is_some_and(|id| id.starts_with(PREFIX))
}

/// Asks what the table shows beside the hits; `None` where not every hit is of an eStream registry.
///
/// **Errors**: those of the answer.
pub fn facts(answer: &Value, asker: &mut Asker<'_>) -> Result<Option<Value>, Ended> {
    let items = list(answer, "items");
    match items.is_empty() || !items.iter().all(is_ours) {
        true => Ok(None),
        false => looked_up(items.iter(), &answer["snapshot"], asker).map(Some),
    }
}

/// Adds to each hit of an eStream registry what its line in the table shows: `publisher`, `publisherVerified`, `official`, and `badges`,
/// which are the publisher's own words.
///
/// **Errors**: those of the answer.
pub fn add(answer: &mut Value, asker: &mut Asker<'_>) -> Result<(), Ended> {
    let ours = list(answer, "items").iter().filter(|one| is_ours(one));
    if ours.clone().next().is_none() {
        return Ok(());
    }
    let mut facts = looked_up(ours, &answer["snapshot"], asker)?;
    let facts = facts.as_array_mut().map_or(&mut [][..], Vec::as_mut_slice);
    let items = answer["items"].as_array_mut().map_or(&mut [][..], Vec::as_mut_slice);
    for (one, facts) in items.iter_mut().filter(|one| is_ours(one)).zip(facts) {
        let extra = &facts["extra"];
        one["badges"] = own_badges(extra).collect();
        one["official"] = (extra["official"] == true).into();
        one["publisher"] = extra["publisher"].clone();
        one["publisherVerified"] = (extra["publisherVerified"] == true).into();
    }
    Ok(())
}

fn looked_up<'v>(
    items: impl Iterator<Item = &'v Value>,
    snapshot: &Value,
    asker: &mut Asker<'_>,
) -> Result<Value, Ended> {
    let reference = |one: &Value| match one["version"].as_str() {
        Some(version) => format!("{}@={version}", field(one, "id")),
        None => field(one, "id"),
    };
    let ids: Vec<String> = items.map(reference).collect();
    let body = json!({ "ids": ids, "snapshot": snapshot });
    asker.ask(&Call::post("/v1/lookup", &body))
}

/// Returns the table.
pub fn text(answer: &Value, facts: &Value, paint: Paint) -> String {
    let items = list(answer, "items");
    let known = facts.as_array().map_or(&[][..], Vec::as_slice);
    let rows = items.iter().enumerate().map(|(index, one)| {
        let extra = &known.get(index).unwrap_or(&Value::Null)["extra"];
        let id = field(one, "id");
        vec![
            id.strip_prefix(PREFIX).unwrap_or(&id).to_owned(),
            field(one, "version"),
            field(one, "kind"),
            field(extra, "publisher"),
            badges(one, extra, paint),
        ]
    });
    let mut out = table(&["NAME", "VERSION", "CATEGORY", "PUBLISHER", "BADGES"], rows.collect());
    let total = answer["total"].as_u64().unwrap_or_default();
    let results = if total == 1 { "result" } else { "results" };
    out.push_str(&format!("\n{total} {results} found"));
    let cursor = field(answer, "nextCursor");
    if !cursor.is_empty() {
        out.push_str(&format!("; {} shown, more: --cursor {cursor}", items.len()));
    }
    out + "\n"
}

/// Returns what speaks for a component, and what a reader must know: `✓ Official, Tested`. Who is official or verified is said by
/// the registry and the operator; what publishers say of themselves under these words is left out.
fn badges(one: &Value, extra: &Value, paint: Paint) -> String {
    let mut all = Vec::new();
    match (extra["official"] == true, extra["publisherVerified"] == true) {
        (true, _) => all.push("✓ Official".to_owned()),
        (false, true) => all.push("Verified".to_owned()),
        (false, false) => {}
    }
    all.extend(own_badges(extra).map(titled));
    if one["verdict"] == "refused" {
        all.push(paint.bad("refused"));
    }
    if one["stale"] == true {
        all.push(paint.note("stale"));
    }
    let shadowed = list(one, "shadowed").len();
    if shadowed > 0 {
        all.push(paint.note(&format!("shadows {shadowed}")));
    }
    all.join(", ")
}

fn own_badges(extra: &Value) -> impl Iterator<Item = &str> {
    let is_own = |badge: &&str| !["official", "verified"].iter().any(|word| badge.eq_ignore_ascii_case(word));
    list(extra, "badges").iter().filter_map(Value::as_str).filter(is_own)
}

fn titled(badge: &str) -> String {
    let mut chars = badge.chars().take(BADGE_CHARS_MAX);
    let first = chars.next().into_iter().flat_map(char::to_uppercase);
    let whole: String = first.collect::<String>() + &chars.collect::<String>();
    plain(&whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_that_of_the_seed() {
        let hit = |id: &str, version: &str, kind: &str| json!({"id": id, "version": version, "kind": kind, "verdict": "pinned", "stale": false, "shadowed": []});
        let mut answer = json!({"total": 2, "nextCursor": null, "items": [
            hit("estream:estream-wire-fix", "1.0.0", "wire-adapter"),
            hit("estream:@acme/fix-order-router", "0.3.0", "smart-circuit"),
        ]});
        let facts = json!([
            {"extra": {"publisher": "estream", "official": true, "publisherVerified": true, "badges": ["official", "tested"]}},
            {"extra": {"publisher": "acme-fin", "official": false, "publisherVerified": true, "badges": ["Official", 7]}},
        ]);
        assert_eq!(
            text(&answer, &facts, Paint::Plain),
            "NAME                    VERSION  CATEGORY       PUBLISHER  BADGES\n\
             estream-wire-fix        1.0.0    wire-adapter   estream    ✓ Official, Tested\n\
             @acme/fix-order-router  0.3.0    smart-circuit  acme-fin   Verified\n\n\
             2 results found\n"
        );
        answer["items"][1]["stale"] = json!(true);
        answer["items"][1]["verdict"] = json!("refused");
        (answer["nextCursor"], answer["total"]) = (json!("0a"), json!(9));
        let table = text(&answer, &json!([]), Paint::Plain);
        assert!(table.contains("refused, stale\n"), "{table}");
        assert!(table.ends_with("9 results found; 2 shown, more: --cursor 0a\n"), "{table}");
    }
}
