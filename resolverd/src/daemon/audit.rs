//! The audit log for whoever reads it: verified, or its newest lines. The files are read as they lie there, by whoever may read
//! them; no daemon is asked, since a daemon could be the one to be checked. Never writes.

use catalogue_schema::model::Refusal;

use crate::api::{Code, Failure};
use crate::config::Settings;
use crate::store::audit::verify::{self, Seen, Tail, Verified};

/// What no verification of these files can see.
pub const UNSEEN: &str = verify::UNSEEN;

/// Verifies the log in the state directory, also against lines that were noted elsewhere as `LINE:DIGEST`.
///
/// **Errors**: R011 for a line that was noted in another form; R010 where a file cannot be read.
pub fn verified(settings: &Settings, seen: &[String]) -> Result<Verified, Failure> {
    let parsed: Option<Vec<Seen>> = seen.iter().map(|text| Seen::parse(text)).collect();
    let seen = parsed.ok_or_else(|| {
        let detail = "--seen: expected LINE:DIGEST, such as 12:sha256:…";
        Failure::new(Code::RequestInvalid, "input.seen", detail).hint("resolverd audit verify prints one")
    })?;
    verify::verify(&settings.state_dir, &seen).map_err(|error| unreadable(&error))
}

/// Returns the newest `limit` lines, oldest first, and where they are not what was written.
///
/// **Errors**: R010 where a file cannot be read.
pub fn tail(settings: &Settings, limit: usize) -> Result<Tail, Failure> {
    verify::tail(&settings.state_dir, limit).map_err(|error| unreadable(&error))
}

/// Returns what a log is refused for that is not what was written.
pub fn refused(settings: &Settings, found: &Verified) -> Option<Refusal> {
    let first = found.faults.first()?;
    let place = match first.line {
        0 => first.file.clone(),
        line => format!("{}, line {line}", first.file),
    };
    let more = match found.faults.len() - 1 {
        0 => String::new(),
        more => format!(" (and {more} more)"),
    };
    Some(Refusal::new(
        "trust.audit_damaged",
        settings.state_dir.join(place).display(),
        "the lines that were written, and no others",
        format!("{}{more}", first.found),
    ))
}

fn unreadable(error: &dyn std::fmt::Display) -> Failure {
    Failure::new(Code::StoreUnavailable, "read", error.to_string())
        .hint("read it as the user whom the daemon runs as, or as root")
}
