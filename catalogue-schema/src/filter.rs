//! Filters: which releases of a list are taken, and of everything below it.
//!
//! A row of a JSONL list may carry `namespace`, `package` and `version`; all that are given must hold, and those of the lists
//! above hold too. What a filter leaves out is no error: it is counted.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::error::ParseError;
use crate::id::{ComponentId, Namespace};
use crate::version::{Grammar, Version, VersionReq};

/// The longest package name in bytes.
pub const PACKAGE_BYTES_MAX: usize = 512;

/// Conditions that a release must meet, all of them; the empty filter takes every release.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "Written")]
pub struct Filter {
    namespaces: Vec<Namespace>,
    packages: Vec<String>,
    versions: Vec<VersionReq>,
}

/// A filter as a generation file holds it.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Written {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    namespaces: Vec<Namespace>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    packages: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    versions: Vec<String>,
}

impl TryFrom<Written> for Filter {
    type Error = ParseError;

    fn try_from(written: Written) -> Result<Filter, ParseError> {
        let Written { namespaces, packages, versions } = written;
        let versions = versions.iter().map(|text| VersionReq::parse(text, Grammar::Reference));
        Ok(Filter { namespaces, packages, versions: versions.collect::<Result<_, _>>()? })
    }
}

impl From<Filter> for Written {
    fn from(filter: Filter) -> Written {
        Written {
            namespaces: filter.namespaces,
            packages: filter.packages,
            versions: filter.versions.iter().map(|one| one.as_text().to_owned()).collect(),
        }
    }
}

impl Filter {
    /// Reads the three fields of a row.
    ///
    /// **Shape**: `namespace` is `ns`, `ns/sub` or `lcod://ns`, with or without `/` or `/**` behind it; `package` a text that
    /// the row's `package` must equal; `version` a requirement such as `^1` that the release's version must meet.
    ///
    /// **Errors**: `input.namespace`, `input.field`, `input.requirement`, with the field.
    pub fn parse(
        namespace: Option<&str>,
        package: Option<&str>,
        version: Option<&str>,
    ) -> Result<Filter, ParseError> {
        let namespaces = namespace.map(self::namespace).transpose();
        let namespaces = namespaces.map_err(|error| error.in_field("namespace"))?;
        if let Some(text) = package.filter(|text| text.is_empty() || text.len() > PACKAGE_BYTES_MAX) {
            let expected = format!("the name of a package, at most {PACKAGE_BYTES_MAX} bytes");
            return Err(ParseError::new("input.field", expected, text).in_field("package"));
        }
        let versions = version.map(|text| VersionReq::parse(text, Grammar::Reference)).transpose();
        let versions = versions.map_err(|error| error.in_field("version"))?;
        Ok(Filter {
            namespaces: namespaces.into_iter().collect(),
            packages: package.map(str::to_owned).into_iter().collect(),
            versions: versions.into_iter().collect(),
        })
    }

    /// Tells whether every release passes.
    pub fn is_empty(&self) -> bool {
        self.namespaces.is_empty() && self.packages.is_empty() && self.versions.is_empty()
    }

    /// Returns the filter that asks for what both ask for.
    pub fn and(&self, other: &Filter) -> Filter {
        let mut both = self.clone();
        both.namespaces.extend(other.namespaces.iter().filter(|one| !self.namespaces.contains(one)).cloned());
        both.packages.extend(other.packages.iter().filter(|one| !self.packages.contains(one)).cloned());
        both.versions.extend(other.versions.iter().filter(|one| !self.versions.contains(one)).cloned());
        both
    }

    /// Tells whether a release in `namespace` may pass whose row states no package.
    pub fn admits_in(&self, namespace: &Namespace) -> bool {
        let meets = |own: &Namespace| own.is_within(namespace) || namespace.is_within(own);
        self.packages.is_empty() && self.namespaces.iter().all(meets)
    }

    /// Tells whether a release passes; `package` is the package that its row states.
    pub fn admits(&self, id: &ComponentId, version: &Version, package: Option<&str>) -> bool {
        self.namespaces.iter().all(|namespace| namespace.contains(id))
            && self.packages.iter().all(|wanted| package == Some(wanted))
            && self.versions.iter().all(|requirement| requirement.matches(version))
    }
}

impl fmt::Display for Filter {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let namespaces = self.namespaces.iter().map(|one| format!("namespace {one}"));
        let packages = self.packages.iter().map(|one| format!("package {one}"));
        let versions = self.versions.iter().map(|one| format!("version {one}"));
        let all: Vec<String> = namespaces.chain(packages).chain(versions).collect();
        out.write_str(&all.join(", "))
    }
}

fn namespace(text: &str) -> Result<Namespace, ParseError> {
    let prefix = text.strip_suffix("**").unwrap_or(text);
    let prefix = prefix.strip_suffix('/').unwrap_or(prefix);
    let scheme = if prefix.starts_with("lcod:") { "" } else { "lcod://" };
    Namespace::parse(&format!("{scheme}{prefix}/"))
        .map_err(|_| ParseError::new("input.namespace", "a namespace such as ns, ns/sub or lcod://ns", text))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    /// A filter is `namespace|package|version`, each empty where it is not given; a release `id@version package`.
    #[track_caller]
    fn check(filter: &str, release: &str, expected: bool) {
        let filter = filter.split(" + ").map(read).reduce(|one, other| one.and(&other)).unwrap();
        let (release, package) =
            release.split_once(' ').map_or((release, None), |(one, two)| (one, Some(two)));
        let (id, version) = crate::id::parse_release_id(&format!("lcod://{release}")).unwrap();
        assert_eq!(filter.admits(&id, &version, package), expected, "{filter}: {release} {package:?}");
        let json = serde_json::to_string(&filter).unwrap();
        assert_eq!(serde_json::from_str::<Filter>(&json).unwrap(), filter, "{json}");
    }

    fn read(text: &str) -> Filter {
        let [namespace, package, version] =
            *text.split('|').map(|part| Some(part).filter(|part| !part.is_empty())).collect::<Vec<_>>()
        else {
            panic!("{text}")
        };
        Filter::parse(namespace, package, version).unwrap()
    }

    #[test]
    fn what_a_filter_takes() {
        check("||", "a/b@1.0.0", true);
        for namespace in ["a||", "a/||", "a/**||", "lcod://a||", "lcod://a/**||"] {
            check(namespace, "a/b@1.0.0", true);
            check(namespace, "a/b/c@1.0.0", true);
            check(namespace, "ab/c@1.0.0", false);
        }
        check("a/b||", "a/b/c@1.0.0", true);
        check("a/b||", "a/bc/d@1.0.0", false);
        check("|p|", "a/b@1.0.0 p", true);
        check("|p|", "a/b@1.0.0 p/q", false);
        check("|p|", "a/b@1.0.0", false);
        check("||1", "a/b@1.9.0", true);
        check("||1.2.3", "a/b@1.2.4", false);
        check("||^0.1", "a/b@0.2.0", false);
        check("||>=1.0.0, <2.0.0", "a/b@1.5.0", true);
        check("||1", "a/b@1.1.0-rc.1", false);
        check("a||1", "a/b@1.0.0", true);
        check("a||1 + b||", "a/b@1.0.0", false);
        check("a|| + a/b|| + ||1", "a/b/c@1.0.0", true);
        check("||1 + ||1.2", "a/b@1.3.0", false);
    }

    #[test]
    fn what_cannot_be_read_names_its_field() {
        let check = |fields: [Option<&str>; 3], reason: &str, field: &str| {
            let error = Filter::parse(fields[0], fields[1], fields[2]).unwrap_err();
            assert_eq!((&*error.reason, &*error.field), (reason, field), "{error}");
        };
        for text in ["", "/", "A b", "lcod:a", "../a", "estream:a", "a//b"] {
            check([Some(text), None, None], "input.namespace", "namespace");
        }
        check([None, Some(""), None], "input.field", "package");
        check([None, None, Some("1 || 2")], "input.requirement", "version");
        check([None, None, Some("soon")], "input.requirement", "version");
    }
}
