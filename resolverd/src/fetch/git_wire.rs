//! Git repositories on other machines. A placeholder that answers nothing: the protocol is written elsewhere.

use std::path::Path;

use catalogue_schema::model::Refusal;
use catalogue_schema::pointer::{HttpsUrl, SshUrl, Want};

use crate::fetch::https::Https;
use crate::fetch::limit::Budget;
use crate::fetch::{FetchError, Fetched};

/// A repository on another machine.
pub(super) enum Remote<'a> {
    /// Over https.
    Https {
        /// Where.
        url: HttpsUrl,
        /// Who asks.
        client: &'a Https,
    },
    /// Through the system's ssh.
    Ssh(SshUrl),
}

/// Answers wants about one repository, in order.
pub(super) fn fetch(
    remote: &Remote<'_>,
    cache_dir: Option<&Path>,
    wants: &[&Want],
    budget: &Budget,
) -> Vec<Result<Fetched, FetchError>> {
    let _ = (cache_dir, budget);
    let place = match remote {
        Remote::Https { url, client } => format!("{url} ({client:?})"),
        Remote::Ssh(url) => url.as_text().to_owned(),
    };
    let error = |want: &&Want| FetchError::Unreachable(Refusal::new("git.unavailable", want, "", &place));
    wants.iter().map(|want| Err(error(want))).collect()
}
