//! Versions and version requirements: the Cargo grammar of the `semver` crate, with each dialect's reading of bare versions.
//!
//! | text | lcod, eStream CLI, flowctl | eStream manifest |
//! |---|---|---|
//! | `1.2.3`, `v1.2.3` | exact | caret |
//! | `1`, `1.2` | newest `1.x.y`, newest `1.2.y` | caret |
//! | `^ ~ >= > < <= =`, comma lists, `*`, `1.x` | Cargo's, an optional `v` accepted everywhere | |
//! | nothing, `latest` | newest stable version that is not yanked | |
//!
//! npm-only forms (a space as AND, `||`, hyphen ranges) are refused with the comma form as the hint.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use crate::error::ParseError;

/// The longest version or single comparator in bytes; checked before parsing.
pub const VERSION_BYTES_MAX: usize = 128;
/// The longest requirement in bytes; checked before parsing.
pub const REQUIREMENT_BYTES_MAX: usize = 256;

/// A semantic version (SemVer 2.0.0), printed without a leading `v`; ordered by precedence, then build metadata.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(semver::Version);

impl Version {
    /// Reads `1.2.3`, `v1.2.3`, `1.2.3-rc.1+build`.
    ///
    /// **Errors**: `input.version`.
    pub fn parse(text: &str) -> Result<Version, ParseError> {
        let refused =
            || ParseError::new("input.version", "a semantic version such as 1.2.3 (at most 128 bytes)", text);
        if text.len() > VERSION_BYTES_MAX {
            return Err(refused());
        }
        semver::Version::parse(without_v(text)).map(Version).map_err(|_| refused())
    }

    /// Returns the `semver` value, for range arithmetic.
    pub fn semver(&self) -> &semver::Version {
        &self.0
    }

    /// Writes its text: letters, digits, and `.`, `-`, `+` between them.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        let semver::Version { major, minor, patch, pre, build } = &self.0;
        write_triple([*major, *minor, *patch], out);
        for (sign, text) in [(b'-', pre.as_str()), (b'+', build.as_str())] {
            if !text.is_empty() {
                out.push(sign);
                out.extend(text.as_bytes());
            }
        }
    }

    /// Tells whether this is its text.
    pub(crate) fn is_written(&self, text: &str) -> bool {
        let mut written = Vec::with_capacity(text.len());
        self.write(&mut written);
        written == text.as_bytes()
    }

    /// Tells whether this is a prerelease such as `1.0.0-rc.1`.
    pub fn is_prerelease(&self) -> bool {
        !self.0.pre.is_empty()
    }

    /// Tells whether the two differ in build metadata at most: resolution could not tell them apart.
    pub fn is_twin_of(&self, other: &Version) -> bool {
        self.0.cmp_precedence(&other.0).is_eq()
    }
}

/// Writes three numbers as a version has them.
pub(crate) fn write_triple([major, minor, patch]: [u64; 3], out: &mut Vec<u8>) {
    decimal(major, out);
    out.push(b'.');
    decimal(minor, out);
    out.push(b'.');
    decimal(patch, out);
}

/// Writes the decimal digits of a number.
fn decimal(number: u64, out: &mut Vec<u8>) {
    if number >= 10 {
        decimal(number / 10, out);
    }
    // One digit.
    out.push(b'0' + u8::try_from(number % 10).unwrap_or_default());
}

/// How a dialect reads a bare version inside a requirement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grammar {
    /// `1.2.3` is exact, `1.2` is `1.2.y`, `1` is `1.x.y`: references of every dialect and LCOD dependencies.
    Reference,
    /// `1.2.3` is `^1.2.3`, as in Cargo: eStream manifests.
    Caret,
}

/// A version requirement with the text that it was read from.
///
/// **Shape**: `^0.1`, `>=1.0.0, <2.0.0`, `1`; the empty text and `latest` mean any stable version.
///
/// Cheap to clone: thousands of releases require the same.
#[derive(Debug, Clone)]
pub struct VersionReq(Arc<Parsed>);

#[derive(Debug)]
struct Parsed {
    text: Box<str>,
    semver: semver::VersionReq,
}

impl VersionReq {
    /// Returns the requirement that every stable version meets.
    pub fn any() -> VersionReq {
        VersionReq::of("", semver::VersionReq::STAR)
    }

    fn of(text: &str, semver: semver::VersionReq) -> VersionReq {
        VersionReq(Arc::new(Parsed { text: text.into(), semver }))
    }

    /// Returns the requirement that only `version` meets.
    pub fn exact(version: &Version) -> VersionReq {
        VersionReq::of(&version.to_string(), only(version))
    }

    /// Reads a requirement in the Cargo grammar; `grammar` says what a bare version means.
    ///
    /// **Errors**: `input.requirement`, with the comma form as the hint for npm-only forms.
    pub fn parse(text: &str, grammar: Grammar) -> Result<VersionReq, ParseError> {
        let refused = |expected: &str| Err(ParseError::new("input.requirement", expected, text));
        let trimmed = text.trim_matches(' ');
        if trimmed.is_empty() || trimmed == "latest" {
            return Ok(VersionReq::any());
        }
        if trimmed.len() > REQUIREMENT_BYTES_MAX {
            return refused("a version requirement of at most 256 bytes");
        }
        if grammar == Grammar::Reference
            && let Some(version) = full_version(trimmed)
        {
            return Ok(VersionReq::of(trimmed, only(&version)));
        }
        if !trimmed.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
            return refused("a version requirement in ASCII");
        }
        if trimmed.contains("||") {
            return refused(
                "one range; alternatives with || are not supported, use commas such as >=1.0.0, <3.0.0",
            );
        }
        let parts: Vec<&str> = trimmed.split(',').map(|part| part.trim_matches(' ')).collect();
        let mut comparators = Vec::with_capacity(parts.len());
        for part in &parts {
            let (operator, version) = split_operator(part);
            // Also catches `> =1`, which would read as `>=1` once the space is gone.
            if version.contains([' ', '<', '>', '=', '^', '~']) {
                return refused("comparators separated by commas, such as >=1.0.0, <2.0.0");
            }
            let bare = operator.is_empty() && parts.len() == 1 && grammar == Grammar::Reference;
            let written =
                format!("{}{}", if bare { bare_operator(version) } else { operator }, without_v(version));
            match semver::VersionReq::parse(&written) {
                Ok(parsed) if parsed.comparators.is_empty() && parts.len() > 1 => {
                    return refused("* alone, not in a list");
                }
                Ok(parsed) if written.len() <= VERSION_BYTES_MAX => comparators.extend(parsed.comparators),
                _ => return refused("a version requirement such as ^1.2, ~1.2.3, 1.2.3 or >=1.0.0, <2.0.0"),
            }
        }
        // The text is printed and read again as a reference, so a caret that was only implied is written out.
        let is_implied = parts.len() == 1
            && split_operator(trimmed).0.is_empty()
            && comparators.first().is_some_and(|comparator| comparator.op == semver::Op::Caret);
        if is_implied && trimmed.len() >= VERSION_BYTES_MAX {
            return refused("a version of at most 127 bytes, since a caret is meant before it");
        }
        let text = if is_implied { Cow::Owned(format!("^{trimmed}")) } else { Cow::Borrowed(trimmed) };
        Ok(VersionReq::of(&text, semver::VersionReq { comparators }))
    }

    /// Tells whether `version` meets the requirement. A prerelease meets it only where a comparator names a prerelease
    /// of the same major, minor and patch version (Cargo's rule).
    pub fn matches(&self, version: &Version) -> bool {
        self.0.semver.matches(&version.0)
    }

    /// Tells whether `version` would meet the requirement if prereleases were asked for: a prerelease of a version that meets
    /// it, unless a comparator names that very version as its lower bound (`>=1.0.0` still excludes `1.0.0-rc.1`).
    pub fn matches_prerelease(&self, version: &Version) -> bool {
        self.matches(version) || {
            let mut release = version.0.clone();
            release.pre = semver::Prerelease::EMPTY;
            self.0.semver.matches(&release)
                && self.0.semver.comparators.iter().all(|comparator| !is_bound_above(comparator, &version.0))
        }
    }

    /// Tells whether every stable version meets the requirement.
    pub fn is_any(&self) -> bool {
        self.0.semver.comparators.is_empty()
    }

    /// Returns the text that was read; empty for any version.
    pub fn as_text(&self) -> &str {
        &self.0.text
    }

    /// Returns the version that the text names, where it is a version and nothing else; build metadata included, which
    /// [`VersionReq::matches`] passes over.
    pub fn named(&self) -> Option<Version> {
        full_version(&self.0.text)
    }

    /// Returns the parsed comparators, for range arithmetic.
    pub fn semver(&self) -> &semver::VersionReq {
        &self.0.semver
    }
}

/// Tells whether the comparator's full lower bound has the version's triple and lies above the version.
fn is_bound_above(comparator: &semver::Comparator, version: &semver::Version) -> bool {
    use semver::Op::{Caret, Exact, Greater, GreaterEq, Tilde};
    let triple = (version.major, Some(version.minor), Some(version.patch));
    matches!(comparator.op, Exact | Greater | GreaterEq | Tilde | Caret)
        && (comparator.major, comparator.minor, comparator.patch) == triple
        && (comparator.pre.is_empty() || version.pre < comparator.pre)
        && !version.pre.is_empty()
}

/// Reads a bare version, three numbers and all; what is none may be a requirement.
fn full_version(text: &str) -> Option<Version> {
    let is_bare = matches!(text.as_bytes(), [b'0'..=b'9', ..] | [b'v' | b'V', b'0'..=b'9', ..]);
    // The written form of an exact comparator is one byte longer than the version.
    let fits = text.len() <= VERSION_BYTES_MAX && without_v(text).len() < VERSION_BYTES_MAX;
    (is_bare && fits).then(|| semver::Version::parse(without_v(text)).ok().map(Version)).flatten()
}

/// Returns what only `version` meets, whatever its build metadata.
fn only(version: &Version) -> semver::VersionReq {
    let semver::Version { major, minor, patch, pre, .. } = &version.0;
    let comparator = semver::Comparator {
        op: semver::Op::Exact,
        major: *major,
        minor: Some(*minor),
        patch: Some(*patch),
        pre: pre.clone(),
    };
    semver::VersionReq { comparators: vec![comparator] }
}

fn without_v(text: &str) -> &str {
    match text.as_bytes() {
        [b'v' | b'V', b'0'..=b'9', ..] => &text[1..],
        _ => text,
    }
}

fn split_operator(part: &str) -> (&str, &str) {
    let end = part.find(|c: char| !"^~<>=".contains(c)).unwrap_or(part.len());
    (&part[..end], part[end..].trim_start_matches(' '))
}

/// A bare full version is exact; `1.2` means `1.2.y` and `1` means `1.x.y`, which is what `~` says for both.
fn bare_operator(version: &str) -> &'static str {
    let core = version.split(['-', '+']).next().unwrap_or(version);
    let wildcard =
        version.contains(['*', 'x', 'X']) && core.split('.').any(|part| matches!(part, "*" | "x" | "X"));
    match (wildcard, core.split('.').count()) {
        (true, _) => "",
        (false, 3) => "=",
        (false, _) => "~",
    }
}

impl PartialEq for VersionReq {
    fn eq(&self, other: &VersionReq) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.0.semver == other.0.semver
    }
}

impl Eq for VersionReq {}

impl fmt::Display for VersionReq {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(if self.0.text.is_empty() { "latest" } else { &self.0.text })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, out)
    }
}

crate::text_forms!(Version);

#[cfg(test)]
mod tests;
