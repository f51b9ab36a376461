//! Mirrors: where one request wants to have files fetched from instead. Never connects to anything.
//!
//! A mirror is the start of an `https://` address that stands for the start of another one. The operator's own rewrite rules come
//! first: what one of them leads elsewhere goes there, whatever a mirror says; and they hold for the address that a mirror gives, as
//! for any other. Nobody vouches for a mirror: hosts, addresses and schemes are checked for where it really leads, by the leave of
//! the source that the files belong to, and what it sends is verified like what the origin sends. Nothing remembers it.

use std::sync::Arc;

use catalogue_schema::digest::Digest;
use catalogue_schema::model::Refusal;
use catalogue_schema::pointer::{HttpsUrl, Location, Repository, Want};

use crate::fetch::network::Rewrite;
use crate::fetch::rewrite::shown;
use crate::fetch::rewrite::{Real, Rules};

/// How many mirrors one request may name.
pub const MIRRORS_MAX: usize = 64;
/// The reason of mirrors that cannot be used.
pub const MIRROR: &str = "net.mirror";

/// The mirrors of one request. Cheap to clone; none by default.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mirrors(Option<Arc<Known>>);

#[derive(Debug, PartialEq, Eq)]
struct Known {
    rules: Rules,
    digest: Digest,
}

impl Mirrors {
    /// Reads mirrors: the start of an address, and what it becomes. Both are the start of an `https://` URL without a query.
    ///
    /// **Errors**: `net.mirror`, about the address that cannot be one, or about too many of them.
    pub fn read<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Mirrors, Refusal> {
        let mut pairs: Vec<(&str, &str)> = pairs.into_iter().collect();
        pairs.sort_unstable();
        if pairs.len() > MIRRORS_MAX {
            let expected = format!("at most {MIRRORS_MAX} of them");
            return Err(Refusal::new(MIRROR, "mirrors", expected, pairs.len()));
        }
        if pairs.is_empty() {
            return Ok(Mirrors::default());
        }
        let start = |text: &str| HttpsUrl::parse(text).is_ok_and(|url| !url.as_text().contains('?'));
        let wrong = pairs.iter().flat_map(|(from, to)| [*from, *to]).find(|text| !start(text));
        if let Some(wrong) = wrong {
            let expected = "the start of an https:// URL, with a host, without a query and without a user: \
                            files from other places are the operator's to allow, below [[rewrite]] of config.toml";
            return Err(Refusal::new(MIRROR, "mirrors", expected, shown(wrong)));
        }
        let lines = pairs.iter().map(|(from, to)| format!("{from} {to}\n")).collect::<String>();
        let rewrite = |(from, to): &(&str, &str)| Rewrite { from: (*from).to_owned(), to: (*to).to_owned() };
        let rules = Rules::read(&pairs.iter().map(rewrite).collect::<Vec<_>>())
            .map_err(|refusal| Refusal::new(MIRROR, "mirrors", refusal.expected, refusal.found))?;
        Ok(Mirrors(Some(Arc::new(Known { rules, digest: Digest::sha256(lines.as_bytes()) }))))
    }

    /// Tells whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Returns a digest over them, by which one set is told from another; `None` where there is none.
    pub fn digest(&self) -> Option<&Digest> {
        self.0.as_ref().map(|known| &known.digest)
    }

    /// Returns where `url` is wanted from instead; `None` where no mirror has it.
    ///
    /// **Errors**: `net.rewrite`, about `want`, where that is no address.
    pub(super) fn instead(&self, url: &HttpsUrl, want: &Want) -> Result<Option<HttpsUrl>, Refusal> {
        let Some(known) = self.0.as_ref().filter(|known| known.rules.has(url)) else { return Ok(None) };
        match known.rules.real(url, want)? {
            Real::Https(mirrored) => Ok(Some(mirrored)),
            // Nothing else was read.
            Real::Ssh(_) | Real::Path(_) => Ok(None),
        }
    }
}

/// Returns the https address that a want begins with, which rules may lead elsewhere; `None` for what lies on this machine or
/// behind ssh.
pub(super) fn address(want: &Want) -> Option<&HttpsUrl> {
    match want {
        Want::Blob(Location::Https { url }) | Want::Tree { location: Location::Https { url }, .. } => {
            Some(url)
        }
        Want::Blob(Location::Git { repository: Repository::Https(url), .. })
        | Want::Tree { location: Location::Git { repository: Repository::Https(url), .. }, .. }
        | Want::Refs { repository: Repository::Https(url), .. }
        | Want::History { repository: Repository::Https(url), .. } => Some(url),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_longest_start_counts_and_everything_behind_it_stays() {
        let mirrors = Mirrors::read([
            ("https://e.org", "https://m.example/e/"),
            ("https://e.org/deep/", "https://n.example"),
        ])
        .unwrap();
        let check = |url: &str, expected: Option<&str>| {
            let url = HttpsUrl::parse(url).unwrap();
            let want = Want::Blob(Location::Https { url: url.clone() });
            let found = mirrors.instead(&url, &want).unwrap();
            assert_eq!(found.as_ref().map(HttpsUrl::as_text), expected, "{url}");
        };
        check("https://e.org/a/b.git", Some("https://m.example/e/a/b.git"));
        check("https://e.org/deep/b?x=1", Some("https://n.example/b?x=1"));
        check("https://e.org/deeper", Some("https://m.example/e/deeper"));
        check("https://e.org.evil.example/a", None);
        check("https://f.org/a", None);
        let none = Mirrors::read([]).unwrap();
        assert_eq!((none.is_empty(), none.digest()), (true, None));
    }

    #[test]
    fn mirrors_lead_from_https_to_https_alone() {
        let good = "https://e.org";
        for (from, to) in [
            (good, "http://m.example"),
            ("http://e.org", "https://m.example"),
            (good, "file:///srv/mirror"),
            (good, "/srv/mirror"),
            (good, "../mirror"),
            (good, "ssh://git@m.example/srv"),
            (good, "git://m.example"),
            (good, "https://m.example/?x="),
            (good, "https://u:s3cret@m.example"),
            ("", "https://m.example"),
            (good, ""),
        ] {
            let refusal = Mirrors::read([(from, to)]).expect_err(to);
            assert_eq!(refusal.reason, MIRROR, "{from} {to}");
            assert!(!refusal.to_string().contains("s3cret"), "{refusal}");
        }
        let many: Vec<String> = (0..=MIRRORS_MAX).map(|at| format!("https://e{at}.org")).collect();
        let pairs = |count: usize| many.iter().take(count).map(|from| (from.as_str(), "https://m.example"));
        assert!(Mirrors::read(pairs(MIRRORS_MAX)).is_ok());
        assert_eq!(Mirrors::read(pairs(MIRRORS_MAX + 1)).unwrap_err().reason, MIRROR);
    }

    #[test]
    fn sets_of_mirrors_are_told_apart_whatever_their_order() {
        let one =
            Mirrors::read([("https://a.org", "https://b.org"), ("https://c.org", "https://d.org")]).unwrap();
        let same =
            Mirrors::read([("https://c.org", "https://d.org"), ("https://a.org", "https://b.org")]).unwrap();
        let other = Mirrors::read([("https://a.org", "https://b.org")]).unwrap();
        assert!(one == same && one.digest() == same.digest());
        assert!(one != other && one.digest() != other.digest());
    }
}
