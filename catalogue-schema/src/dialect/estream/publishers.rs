//! The listing of `publishers`: who is registered here. One file, `{name}.json`, for each publisher; what it says is read where one of
//! their components is.
//!
//! A record that is there registers, whatever is wrong with it: the name is taken, and nothing of it may be used until the record is in
//! order. What is no file and a name that no publisher can have register nobody;
//! other files are for people.

use crate::dialect::Finding;
use crate::dialect::estream::PREFIX;
use crate::dialect::estream::index::{SKIPPED_MAX, lines};
use crate::error::{ParseError, escaped};
use crate::filter::Filter;
use crate::id::{ComponentId, Dialect, Namespace};
use crate::model::{Refusal, Skipped};

/// What is known before the records are listed.
#[derive(Debug, Clone, PartialEq)]
pub struct PublishersTask {
    pub(super) filter: Filter,
}

/// Reads the listing: a namespace for each record, of those in which the source takes anything.
///
/// **Errors**: it is no listing.
pub(super) fn read(task: &PublishersTask, bytes: &[u8]) -> Result<Finding, ParseError> {
    let (mut finding, mut registers) = (Finding::default(), Vec::new());
    for (kind, path) in lines(bytes)? {
        let file = path.rsplit('/').next().unwrap_or_default();
        let Some(name) = file.strip_suffix(".json") else { continue };
        let read = match kind {
            "blob" => namespace(name),
            _ => Err(ParseError::new("input.field", "the record of a publisher, a file", kind)),
        };
        match read {
            Ok(namespace) if task.filter.admits_in(&namespace) => registers.push(namespace),
            Ok(_) => {}
            Err(error) if finding.skipped.len() < SKIPPED_MAX => {
                let entry = format!("publishers/{}", escaped(file));
                finding.skipped.push(Skipped { entry, error });
            }
            Err(_) => {}
        }
    }
    finding.registers = Some(registers);
    Ok(finding)
}

/// Returns the namespace of the names that a publisher scopes.
fn namespace(publisher: &str) -> Result<Namespace, ParseError> {
    let expected = "a publisher's name of a-z, 0-9 and -, which begins and ends with none of these -";
    let wrong = |_| ParseError::new("input.field", expected, publisher);
    if publisher.starts_with('-') || publisher.ends_with('-') {
        return Err(ParseError::new("input.field", expected, publisher));
    }
    // Without this a scope would be read as a part of the name.
    ComponentId::from_path(Dialect::Estream, publisher).map_err(wrong)?;
    Namespace::parse(&format!("{PREFIX}@{publisher}/")).map_err(wrong)
}

/// Goes on where the records cannot be listed. A registry without any registers nobody; whom another one registers is not known.
pub(super) fn without(refusal: Refusal) -> Finding {
    match &*refusal.reason {
        "file_missing" => Finding { registers: Some(Vec::new()), ..Finding::default() },
        _ => Finding { gap: Some(refusal), ..Finding::default() },
    }
}
