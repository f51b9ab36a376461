//! Patterns of component ids: which of two is the more specific, and what each of them matches.

use std::cmp::Reverse;
use std::fmt;

use crate::error::ParseError;
use crate::id::{ComponentId, REFERENCE_BYTES_MAX};
use crate::policy::Pattern;

impl Pattern {
    /// Reads a pattern.
    ///
    /// **Errors**: `policy.match`.
    pub fn parse(text: &str) -> Result<Pattern, ParseError> {
        let refused = || {
            let expected = "an id, a prefix such as lcod://acme/** or estream:esf-*, or **";
            ParseError::new("policy.match", expected, text)
        };
        if text == "**" {
            return Ok(Pattern::Below("".into()));
        }
        if let Some(prefix) = text.strip_suffix("**") {
            let ends_well = prefix.ends_with('/') || prefix.ends_with(':');
            return match ends_well && ["x", "x/x"].into_iter().any(|rest| goes_on(prefix, rest)) {
                true => Ok(Pattern::Below(prefix.into())),
                false => Err(refused()),
            };
        }
        if let Some(prefix) = text.strip_suffix('*') {
            return match goes_on(prefix, "x") {
                true => Ok(Pattern::Segment(prefix.into())),
                false => Err(refused()),
            };
        }
        ComponentId::parse(text).map(Pattern::Id).map_err(|_| refused())
    }

    /// Tells whether a component is one of these.
    pub fn matches(&self, id: &ComponentId) -> bool {
        match self {
            Pattern::Id(own) => own == id,
            Pattern::Below(prefix) => id.as_text().starts_with(&**prefix),
            Pattern::Segment(prefix) => {
                let rest = id.as_text().strip_prefix(&**prefix);
                rest.is_some_and(|rest| !rest.is_empty() && !rest.contains('/'))
            }
        }
    }

    /// Returns what patterns are sorted by, so that of those that match one id the most specific comes first.
    pub(super) fn order(&self) -> (u8, Reverse<usize>, u8, &str) {
        match self {
            Pattern::Id(id) => (0, Reverse(id.as_text().len()), 0, id.as_text()),
            Pattern::Segment(prefix) => (1, Reverse(prefix.len()), 0, prefix),
            Pattern::Below(prefix) => (1, Reverse(prefix.len()), 1, prefix),
        }
    }
}

/// Tells whether `prefix` with `rest` behind it is an id: a pattern that matches nothing is a mistake.
fn goes_on(prefix: &str, rest: &str) -> bool {
    prefix.len() < REFERENCE_BYTES_MAX && ComponentId::parse(&format!("{prefix}{rest}")).is_ok()
}

impl fmt::Display for Pattern {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Pattern::Id(id) => write!(out, "{id}"),
            Pattern::Segment(prefix) => write!(out, "{prefix}*"),
            Pattern::Below(prefix) => write!(out, "{prefix}**"),
        }
    }
}
