//! Requests for documents as they were received, their values read. The answer is `received`'s.

use catalogue_schema::id::Reference;

use crate::api::documents::DocumentsRequest;
use crate::api::{Code, Failure, REFERENCES_MAX};

/// Which documents are asked for.
#[derive(Debug, Clone)]
pub struct Asked {
    /// Those of these releases.
    pub releases: Vec<Reference>,
    /// The keys of these publishers.
    pub publishers: Vec<String>,
}

impl Asked {
    /// Reads the body of `POST /v1/documents`.
    ///
    /// **Errors**: R001, R005.
    pub fn read(wire: &DocumentsRequest) -> Result<Asked, Failure> {
        let DocumentsRequest { releases, publishers, .. } = wire;
        for (field, count) in [("releases", releases.len()), ("publishers", publishers.len())] {
            if count > REFERENCES_MAX {
                let detail = format!("{field} has {count} entries; the limit is {REFERENCES_MAX}");
                return Err(Failure::new(Code::LimitExceeded, "api.references", detail)
                    .with("limit", REFERENCES_MAX)
                    .with("found", count));
            }
        }
        let read = |text: &String| Reference::parse(text).map_err(|error| Failure::of_reference(&error));
        let releases = releases.iter().map(read).collect::<Result<Vec<_>, _>>()?;
        Ok(Asked { releases, publishers: publishers.clone() })
    }
}
