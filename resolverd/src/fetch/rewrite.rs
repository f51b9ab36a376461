//! Rewrite rules: where an address is really fetched from. Applied here and nowhere else, so what a document is called, its
//! pins and its locality never change. Never connects to anything.

use std::path::{Path, PathBuf};

use catalogue_schema::model::Refusal;
use catalogue_schema::pointer::{HttpsUrl, LocalPath, SshUrl, Want};

use crate::fetch::network::Rewrite;

/// The rules of this run.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Rules(Vec<Rule>);

#[derive(Debug, PartialEq, Eq)]
struct Rule {
    /// The start of a URL, without a `/` at its end.
    from: String,
    to: To,
}

#[derive(Debug, PartialEq, Eq)]
enum To {
    /// The start of a URL, without a `/` at its end.
    Https(String),
    /// As `Https`.
    Ssh(String),
    Path(LocalPath),
}

/// Where an address leads.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Real {
    Https(HttpsUrl),
    Ssh(SshUrl),
    Path(LocalPath),
}

impl Rules {
    /// Reads the rules.
    ///
    /// **Errors**: `net.rewrite` for a `from` that is no start of an https URL, or a `to` that nothing can be fetched from.
    pub(super) fn read(rewrites: &[Rewrite]) -> Result<Rules, Refusal> {
        rewrites.iter().map(rule).collect::<Result<_, _>>().map(Rules)
    }

    /// Returns where `url` leads: itself where no rule has it.
    ///
    /// **Errors**: `net.rewrite`, about `want`, where the rule makes something of it that cannot be fetched.
    pub(super) fn real(&self, url: &HttpsUrl, want: &Want) -> Result<Real, Refusal> {
        match self.fitting(url) {
            Some((rule, rest)) => rule.real(rest, want),
            None => Ok(Real::Https(url.clone())),
        }
    }

    /// Tells whether a rule leads `url` to another address.
    pub(super) fn has(&self, url: &HttpsUrl) -> bool {
        self.fitting(url).is_some()
    }

    /// Returns the rule with the longest `from`, and what follows it in the URL.
    fn fitting<'a>(&'a self, url: &'a HttpsUrl) -> Option<(&'a Rule, &'a str)> {
        let rest = |rule: &'a Rule| {
            let rest = url.as_text().strip_prefix(&rule.from)?;
            // A rule for a directory does not hold for its neighbour whose name starts the same.
            (rest.is_empty() || rest.starts_with(['/', '?'])).then_some((rule, rest))
        };
        // The first of equals wins: `max_by_key` would take the last.
        self.0.iter().rev().filter_map(rest).max_by_key(|(rule, _)| rule.from.len())
    }
}

impl Rule {
    fn real(&self, rest: &str, want: &Want) -> Result<Real, Refusal> {
        let refused = |found: &str| {
            let expected = format!("an address that the rewrite rule for {} can serve", self.from);
            Refusal::new("net.rewrite", want, expected, found)
        };
        let read = match &self.to {
            To::Https(to) => HttpsUrl::parse(&format!("{to}{rest}")).map(Real::Https),
            To::Ssh(to) => SshUrl::parse(&format!("{to}{rest}")).map(Real::Ssh),
            To::Path(_) if rest.contains('?') => return Err(refused("a query, which no file has")),
            To::Path(to) if rest.is_empty() => return Ok(Real::Path(to.clone())),
            // The URL's escapes are read by the same code that reads a file URL.
            To::Path(to) => {
                return LocalPath::parse(&format!("file://{rest}"))
                    .map(|below| Real::Path(joined(to, &below)))
                    .map_err(|error| refused(&error.found));
            }
        };
        read.map_err(|error| refused(&error.found))
    }
}

/// Returns `below`, which is absolute and has no `..`, as a place below `to`.
fn joined(to: &LocalPath, below: &LocalPath) -> LocalPath {
    let path: PathBuf = to.as_path().components().chain(below.as_path().components().skip(1)).collect();
    LocalPath::from_path(&path).unwrap_or_else(|| to.clone())
}

/// Returns the repository at `path`, or the bare one that is named after it.
pub(super) fn repository(path: LocalPath) -> LocalPath {
    let bare = PathBuf::from(format!("{path}.git"));
    match path.as_path().exists() {
        true => path,
        false => Some(bare)
            .filter(|bare| bare.is_dir())
            .and_then(|bare| LocalPath::from_path(&bare))
            .unwrap_or(path),
    }
}

fn rule(rewrite: &Rewrite) -> Result<Rule, Refusal> {
    let refused = |expected: &str, found: &str| Refusal::new("net.rewrite", "[[rewrite]]", expected, found);
    let from =
        HttpsUrl::parse(&rewrite.from).ok().filter(|url| !url.as_text().contains('?')).ok_or_else(|| {
            refused(
                "from: the start of an https:// URL, with a host and without a query",
                &shown(&rewrite.from),
            )
        })?;
    let to = target(rewrite.to.as_str()).ok_or_else(|| {
        refused(
            "to: the start of an https:// or ssh:// URL without a query, a file: URL, or an absolute path",
            &shown(&rewrite.to),
        )
    })?;
    Ok(Rule { from: from.as_text().trim_end_matches('/').to_owned(), to })
}

fn target(text: &str) -> Option<To> {
    let trimmed = text.trim_end_matches('/').to_owned();
    if text.starts_with("ssh://") {
        // What follows is a path, so the rule is tried with one.
        return SshUrl::parse(&format!("{trimmed}/x")).ok().map(|_| To::Ssh(trimmed));
    }
    if text.starts_with("https:") {
        return HttpsUrl::parse(text).ok().filter(|_| !text.contains('?')).map(|_| To::Https(trimmed));
    }
    let is_local = text.starts_with("file:") || Path::new(text).is_absolute();
    LocalPath::parse(text).ok().filter(|_| is_local).map(To::Path)
}

/// Returns what somebody wrote as an address, without a password that may stand in it.
pub(super) fn shown(text: &str) -> String {
    let text = match (text.find("//"), text.rfind('@')) {
        (Some(slashes), Some(at)) if at > slashes => format!("{}//…{}", &text[..slashes], &text[at..]),
        _ => text.to_owned(),
    };
    catalogue_schema::error::quoted(&text)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use catalogue_schema::pointer::Location;

    use super::*;

    fn rules(rows: &[(&str, &str)]) -> Result<Rules, Refusal> {
        let rewrite = |(from, to): &(&str, &str)| Rewrite { from: (*from).to_owned(), to: (*to).to_owned() };
        Rules::read(&rows.iter().map(rewrite).collect::<Vec<_>>())
    }

    fn shown(real: Result<Real, Refusal>) -> String {
        match real {
            Ok(Real::Https(url)) => url.to_string(),
            Ok(Real::Ssh(url)) => url.as_text().to_owned(),
            Ok(Real::Path(path)) => path.to_string(),
            Err(refusal) => refusal.reason.into_owned(),
        }
    }

    #[test]
    fn the_longest_rule_wins_and_ends_at_a_segment() {
        let rules = rules(&[
            ("https://e.org/", "https://mirror.example/e/"),
            ("https://E.org/deep", "/srv/deep/"),
            ("https://e.org/deep/er/", "file:///srv/deeper"),
            ("https://e.org/deep", "/srv/second"),
            ("https://git.e.org", "ssh://git@inner.example:2222/srv/"),
        ])
        .unwrap();
        let check = |url: &str, expected: &str| {
            let url = HttpsUrl::parse(url).unwrap();
            let want = Want::Blob(Location::Https { url: url.clone() });
            assert_eq!(shown(rules.real(&url, &want)), expected, "{url}");
        };
        check("https://e.org/a/b.json?x=1", "https://mirror.example/e/a/b.json?x=1");
        check("https://e.org", "https://mirror.example/e");
        check("https://e.org/deeper/b", "https://mirror.example/e/deeper/b");
        check("https://e.org/deep", "/srv/deep");
        check("https://e.org/deep/a%20b/c", "/srv/deep/a b/c");
        check("https://e.org/deep/er/b", "/srv/deeper/b");
        check("https://e.org/deep/er", "/srv/deeper");
        check("https://git.e.org/a/b.git", "ssh://git@inner.example:2222/srv/a/b.git");
        for untouched in
            ["https://e.org.evil.org/a", "https://e.org:443/a", "https://f.org/a", "https://a.e.org/"]
        {
            check(untouched, untouched);
        }
        for refused in
            ["https://e.org/deep/a?x", "https://e.org/deep/a%2f..%2f..%2fb", "https://git.e.org/a%20b"]
        {
            check(
                refused,
                if refused.ends_with("%20b") {
                    "ssh://git@inner.example:2222/srv/a%20b"
                } else {
                    "net.rewrite"
                },
            );
        }
    }

    #[test]
    fn nothing_leaves_the_directory_of_a_rule() {
        let rules = rules(&[("https://e.org", "/srv/mirror")]).unwrap();
        for rest in
            ["/%2fetc/passwd", "//etc/passwd", "/a%2f%2fetc", "/%2e/a", "/..%2fa", "/%2e%2e%2fa", "/a%00"]
        {
            let Ok(url) = HttpsUrl::parse(&format!("https://e.org{rest}")) else { continue };
            let want = Want::Blob(Location::Https { url: url.clone() });
            match rules.real(&url, &want) {
                Ok(Real::Path(path)) => assert!(path.as_path().starts_with("/srv/mirror"), "{url}: {path}"),
                Ok(real) => panic!("{url}: {real:?}"),
                Err(refusal) => assert_eq!(refusal.reason, "net.rewrite"),
            }
        }
    }

    #[test]
    fn rules_that_cannot_work_are_refused() {
        let good = "https://e.org";
        for (from, to) in [
            ("http://e.org", "/srv"),
            ("e.org", "/srv"),
            ("https://", "/srv"),
            ("https://e.org/?a", "/srv"),
            ("https://u:s3cret@e.org", "/srv"),
            ("", "/srv"),
            (good, ""),
            (good, "srv"),
            (good, "../srv"),
            (good, "/srv/../etc"),
            (good, "http://m.example"),
            (good, "https://m.example/?x"),
            (good, "https://u:s3cret@m.example"),
            (good, "git://m.example"),
            (good, "ext::sh -c x"),
            (good, "ssh://-oProxyCommand=x/a"),
            (good, "user@m.example:x"),
        ] {
            let refusal = rules(&[(from, to)]).expect_err(to);
            assert_eq!(refusal.reason, "net.rewrite", "{from} {to}");
            assert!(!refusal.to_string().contains("s3cret"), "{refusal}");
        }
    }
}
