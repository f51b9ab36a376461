//! Where bytes lie and what pins them: Git objects, local files, https documents.
//!
//! A pin is a full commit id or a content digest. A branch or tag is not a pin: it is a [`Revision::Ref`], resolved when it
//! is fetched and recorded.

use std::cmp::Ordering;
use std::fmt;
use std::ops::Range;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use url::Url;

use crate::digest::is_hex;
use crate::error::ParseError;
use crate::path::DocPath;

/// The longest URL in bytes.
pub const URL_BYTES_MAX: usize = 2048;
/// The longest local path in bytes.
pub const LOCAL_PATH_BYTES_MAX: usize = 4096;

/// A full Git object id of a commit: 40 (SHA-1) or 64 (SHA-256) lower-case hex digits. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CommitId(Arc<str>);

impl CommitId {
    /// Reads a full commit id.
    ///
    /// **Errors**: `input.commit` for a short, symbolic or upper-case id.
    pub fn parse(text: &str) -> Result<CommitId, ParseError> {
        match (text.len(), is_hex(text)) {
            (40 | 64, true) => Ok(CommitId(text.into())),
            _ => {
                let expected =
                    "a full commit id of 40 or 64 lower-case hex digits, not a short id, branch or tag";
                Err(ParseError::new("input.commit", expected, text))
            }
        }
    }

    /// Returns the hex digits.
    pub fn as_text(&self) -> &str {
        &self.0
    }
}

/// The name of a branch or tag: `main`, `v1.0.0`, `refs/heads/main`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RefName(Arc<str>);

impl RefName {
    /// Reads a ref name: segments in the path grammar, no leading `-` or `.`, no `..`, `@{`, `~`, `^` or `.lock` ending.
    ///
    /// **Errors**: `input.ref`.
    pub fn parse(text: &str) -> Result<RefName, ParseError> {
        let hostile = text == "@" || text.starts_with('-') || text.contains(['~', '^', '[', '{']);
        let hostile = hostile || text.split('/').any(|part| part.starts_with('.') || part.ends_with(".lock"));
        match DocPath::parse(text) {
            Ok(path) if !hostile && !text.contains("..") && path.as_text() == text => {
                Ok(RefName(text.into()))
            }
            _ => Err(ParseError::new("input.ref", "the name of a branch or tag", text)),
        }
    }

    /// Returns the name.
    pub fn as_text(&self) -> &str {
        &self.0
    }
}

/// Which tree of a repository.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Revision {
    /// A pinned commit.
    Commit(CommitId),
    /// A branch or tag, resolved at fetch time: not a pin.
    Ref(RefName),
    /// Whatever `HEAD` names: not a pin.
    Head,
}

/// An `https:` URL without user, password or fragment. Other schemes, control characters and parts that start with `-` are
/// refused, and so is whatever a URL parser would rewrite: what is printed is what is fetched.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HttpsUrl(Arc<str>);

impl HttpsUrl {
    /// Reads an https URL. The text is kept as it was written, with the host in lower case.
    ///
    /// **Errors**: `input.url_scheme`, `input.url`.
    pub fn parse(text: &str) -> Result<HttpsUrl, ParseError> {
        let refused = |expected: &str| Err(ParseError::new("input.url", expected, text));
        if text.len() > URL_BYTES_MAX {
            return refused("a URL of at most 2048 bytes");
        }
        let has_escaped_control = || {
            let lower = text.to_ascii_lowercase();
            ["%00", "%0a", "%0d"].iter().any(|escape| lower.contains(escape))
        };
        if !text.bytes().all(|byte| matches!(byte, 0x20..=0x7e))
            || (text.contains('%') && has_escaped_control())
        {
            return refused("a URL in printable ASCII without control characters");
        }
        let Some(rest) = text.strip_prefix("https://") else {
            return Err(ParseError::new("input.url_scheme", "an https:// URL", text));
        };
        match url_fault(text, rest) {
            Some(expected) => refused(expected),
            None => {
                let host = authority(rest);
                if !host.bytes().any(|byte| byte.is_ascii_uppercase()) {
                    return Ok(HttpsUrl(text.into()));
                }
                Ok(HttpsUrl(format!("https://{}{}", host.to_ascii_lowercase(), &rest[host.len()..]).into()))
            }
        }
    }

    /// Returns the URL.
    pub fn as_text(&self) -> &str {
        &self.0
    }

    /// Returns the host, lower case, with the port where one is written.
    pub fn host(&self) -> &str {
        authority(&self.0["https://".len()..])
    }

    /// Returns the path segments, without the query.
    pub fn segments(&self) -> Vec<&str> {
        let rest = &self.0["https://".len()..];
        let path = rest.split('?').next().unwrap_or(rest);
        path.split('/').skip(1).collect()
    }

    /// Returns `path` resolved against this document's URL (RFC 3986): below the directory that holds the document.
    ///
    /// **Errors**: `input.url`.
    pub fn sibling(&self, path: &DocPath) -> Result<HttpsUrl, ParseError> {
        let base = self.0.split('?').next().unwrap_or(&self.0);
        let directory = match base["https://".len()..].rfind('/') {
            Some(slash) => &base[.."https://".len() + slash],
            None => base,
        };
        HttpsUrl::parse(&format!("{directory}/{path}"))
    }
}

/// Tells what is wrong with the URL `text`, of which `rest` stands behind the scheme, as the words that follow "expected".
fn url_fault(text: &str, rest: &str) -> Option<&'static str> {
    if rest.contains([' ', '\\', '#']) {
        return Some("a URL without spaces, fragment or backslash");
    }
    let authority = authority(rest);
    if authority.contains('@') {
        return Some("a URL without user or password; credentials belong into the local configuration");
    }
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (authority, None),
    };
    // A host that the parser reads differently (`0x7f.1`, `%6c`, an empty one) would be checked under one name and
    // fetched under another.
    let is_same = (port.is_none() && is_plain_host(host))
        || Url::parse(text).is_ok_and(|url| {
            url.host_str().is_some_and(|parsed| parsed.eq_ignore_ascii_case(host))
                && port.is_none_or(|port| url.port_or_known_default().is_some_and(|n| n.to_string() == port))
        });
    if !is_same || host.starts_with('-') {
        return Some("an https:// URL with a plain host name");
    }
    let path = rest[authority.len()..].split('?').next().unwrap_or_default();
    for segment in path.split('/') {
        // GitLab writes `/-/` between the project and the file.
        if segment.len() > 1 && segment.starts_with('-') {
            return Some("a URL without parts that start with -");
        }
        if segment.starts_with(['.', '%'])
            && matches!(segment.to_ascii_lowercase().replace("%2e", ".").as_str(), "." | "..")
        {
            return Some("a URL without . or .. segments");
        }
    }
    None
}

/// Tells whether every URL parser reads a host as it is written, so that none has to be asked: labels of a-z and 0-9 that
/// start with a letter, hence no number in disguise, with single dashes inside, hence nothing encoded.
fn is_plain_host(host: &str) -> bool {
    let plain = |label: &str| {
        label.len() <= 63
            && label.starts_with(|c: char| c.is_ascii_lowercase())
            && label.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'))
            && !label.ends_with('-')
            && !label.contains("--")
    };
    host.len() <= 253 && host.split('.').all(plain)
}

fn authority(rest: &str) -> &str {
    rest.split(['/', '?']).next().unwrap_or(rest)
}

/// An absolute local path without `.` or `..` segments. Only documents that are themselves local may name one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LocalPath(Arc<Path>);

impl LocalPath {
    /// Reads an absolute path or a `file:` URL with an empty or `localhost` authority.
    ///
    /// **Errors**: `input.path` when it is relative, climbs or holds NUL.
    pub fn parse(text: &str) -> Result<LocalPath, ParseError> {
        let refused = || ParseError::new("input.path", "an absolute path or a file: URL", text);
        let path = match text.strip_prefix("file:") {
            Some(rest) => {
                // The URL parser would resolve `..` and drop a query without a word, and take `file:x` for `/x`.
                let lower = rest.to_ascii_lowercase().replace("%2e", ".");
                if !rest.starts_with('/')
                    || rest.contains(['?', '#', '\\'])
                    || lower.split('/').any(|s| s == "..")
                {
                    return Err(refused());
                }
                let url = Url::parse(text).map_err(|_| refused())?;
                url.to_file_path().map_err(|()| refused())?
            }
            None => PathBuf::from(text),
        };
        LocalPath::from_path(&path).ok_or_else(refused)
    }

    /// Takes an absolute path; `.` segments are dropped.
    pub fn from_path(path: &Path) -> Option<LocalPath> {
        let text = path.to_str()?;
        if text.len() > LOCAL_PATH_BYTES_MAX {
            return None;
        }
        let climbs = path.components().any(|part| matches!(part, Component::ParentDir));
        if !path.is_absolute() || climbs || text.bytes().any(|byte| byte < 0x20 || byte == 0x7f) {
            return None;
        }
        Some(LocalPath(path.components().collect::<PathBuf>().into()))
    }

    /// Returns the path.
    pub fn as_path(&self) -> &Path {
        &self.0
    }

    /// Returns the directory that holds it.
    pub fn parent(&self) -> Option<LocalPath> {
        self.0.parent().map(|parent| LocalPath(parent.into()))
    }

    /// Returns `path` below this directory.
    pub fn join(&self, path: &DocPath) -> LocalPath {
        LocalPath(self.0.join(path.as_text()).into())
    }
}

impl fmt::Display for LocalPath {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0.display(), out)
    }
}

/// A repository that the system's `ssh` reaches: `ssh://[user@]host[:port]/path` or `user@host:path`.
///
/// Only the operator may name one, in the sources file or as the target of a rewrite: no document is ever read for it. No
/// part starts with `-`, no segment of the path is `.` or `..`, and a path has only characters that no shell reads.
///
/// Its parts lie elsewhere: there are few of these, and a pointer to a repository for every document.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SshUrl(Arc<SshParts>);

#[derive(Debug, PartialEq, Eq, Hash)]
struct SshParts {
    text: Box<str>,
    /// Where the user ends, host and port are, and the path begins, so that the parts need no second reading.
    login: Range<usize>,
    port: Option<u16>,
    path: usize,
}

impl PartialOrd for SshUrl {
    fn partial_cmp(&self, other: &SshUrl) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for SshUrl {
    fn cmp(&self, other: &SshUrl) -> Ordering {
        self.as_text().cmp(other.as_text())
    }
}

impl SshUrl {
    /// Reads an ssh URL, or the short form that Git knows.
    ///
    /// **Errors**: `input.url`; `input.url_scheme` for what has neither form.
    pub fn parse(text: &str) -> Result<SshUrl, ParseError> {
        let refused = |expected: &str| Err(ParseError::new("input.url", expected, text));
        if text.len() > URL_BYTES_MAX {
            return refused("a URL of at most 2048 bytes");
        }
        let (start, authority, path) = match text.strip_prefix("ssh://") {
            Some(rest) => match rest.find('/') {
                Some(slash) => (6, &rest[..slash], 6 + slash),
                None => return refused("an ssh:// URL with a path"),
            },
            None => match text.split_once(':') {
                Some((login, path)) if login.contains('@') && !path.starts_with("//") => {
                    (0, login, login.len() + 1)
                }
                _ => {
                    let expected = "ssh://[user@]host[:port]/path or user@host:path";
                    return Err(ParseError::new("input.url_scheme", expected, text));
                }
            },
        };
        let (login, port) = match authority.rsplit_once(':') {
            Some((login, port)) if start > 0 => (login, Some(port)),
            _ => (authority, None),
        };
        let port = match port.map(|digits| (digits.parse::<u16>(), digits)) {
            None => None,
            Some((Ok(port), digits)) if port > 0 && port.to_string() == digits => Some(port),
            Some(_) => return refused("a port from 1 to 65535"),
        };
        if !is_login(login) {
            return refused("a plain [user@]host of letters, digits, ., _ and -; no part starts with -");
        }
        if !is_plain_path(&text[path..]) {
            return refused(
                "a path of letters, digits and ._-+~@%=,/ without . or .. or parts that start with -",
            );
        }
        let login = start..start + login.len();
        Ok(SshUrl(Arc::new(SshParts { text: text.into(), login, port, path })))
    }

    /// Returns the URL as it was written.
    pub fn as_text(&self) -> &str {
        &self.0.text
    }

    /// Returns `host` or `user@host`, as `ssh` takes it.
    pub fn login(&self) -> &str {
        &self.0.text[self.0.login.clone()]
    }

    /// Returns the port, where one is written.
    pub fn port(&self) -> Option<u16> {
        self.0.port
    }

    /// Returns the path on the other machine; `~` at its start is somebody's home there.
    pub fn path(&self) -> &str {
        let path = &self.0.text[self.0.path..];
        if path.starts_with("/~") { &path[1..] } else { path }
    }
}

fn is_login(login: &str) -> bool {
    let plain = |part: &str| {
        !part.is_empty()
            && !part.starts_with('-')
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
    };
    match login.split_once('@') {
        Some((user, host)) => plain(user) && plain(host),
        None => plain(login),
    }
}

/// Tells whether a path means the same to a shell, with or without quotes.
fn is_plain_path(path: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-+~@%=,/".contains(&byte);
    path.bytes().all(plain)
        && path
            .trim_matches('/')
            .split('/')
            .all(|part| !part.starts_with('-') && !matches!(part, "" | "." | ".."))
}

/// A Git repository: over https or ssh, or on this machine.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Repository {
    /// A remote repository.
    Https(HttpsUrl),
    /// A remote repository that only the operator can name.
    Ssh(SshUrl),
    /// A repository on this machine, bare or with a work tree (which is never read).
    Local(LocalPath),
}

impl fmt::Display for Repository {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Repository::Https(url) => fmt::Display::fmt(url, out),
            Repository::Ssh(url) => fmt::Display::fmt(url, out),
            Repository::Local(path) => write!(out, "file://{path}"),
        }
    }
}

/// Where one document lies.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Location {
    /// A file in a tree of a Git repository.
    Git {
        /// The repository.
        repository: Repository,
        /// Which tree.
        revision: Revision,
        /// The file, from the repository's root.
        path: DocPath,
    },
    /// A file on this machine.
    File {
        /// The file.
        path: LocalPath,
    },
    /// A document served over https.
    Https {
        /// Its URL.
        url: HttpsUrl,
    },
}

impl Location {
    /// Returns the commit that pins the document, where one does.
    pub fn commit(&self) -> Option<&CommitId> {
        match self {
            Location::Git { revision: Revision::Commit(commit), .. } => Some(commit),
            _ => None,
        }
    }
}

impl fmt::Display for Location {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Location::Git { repository, revision, path } => match revision {
                Revision::Commit(commit) => write!(out, "{repository} at {commit}: {path}"),
                Revision::Ref(name) => write!(out, "{repository} at {name}: {path}"),
                Revision::Head => write!(out, "{repository} at HEAD: {path}"),
            },
            Location::File { path } => fmt::Display::fmt(path, out),
            Location::Https { url } => fmt::Display::fmt(url, out),
        }
    }
}

/// What a sync asks a fetcher for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Want {
    /// The bytes of one document.
    Blob(Location),
    /// The listing of a directory, down to `depth` levels: sorted lines `mode type oid path`.
    Tree {
        /// The directory; its path may not be empty.
        location: Location,
        /// How many levels below it are listed, from 1.
        depth: u8,
    },
    /// The names of the directories below a directory, down to `depth` levels: a line `oid path` of the directory itself, then one
    /// line for each of them, whose name follows as many tabs as levels lie between.
    Directories {
        /// The directory; its path may not be empty.
        location: Location,
        /// How many levels below it are named, from 1.
        depth: u8,
    },
    /// The refs of a repository whose full names start with `prefix`: sorted lines `oid ref`.
    Refs {
        /// The repository.
        repository: Repository,
        /// The start of the full ref name, such as `refs/heads` or `refs/tags/v1`; without a trailing `/`.
        prefix: RefName,
    },
    /// The ids of a commit and its ancestors, nearest first, one a line, at most `commits_max` of them.
    History {
        /// The repository.
        repository: Repository,
        /// Where to start.
        commit: CommitId,
        /// How many commits are listed.
        commits_max: u32,
    },
}

impl Want {
    /// Returns the place of a document or directory; `None` for refs and history, which are a repository's.
    pub fn location(&self) -> Option<&Location> {
        match self {
            Want::Blob(location) | Want::Tree { location, .. } | Want::Directories { location, .. } => {
                Some(location)
            }
            Want::Refs { .. } | Want::History { .. } => None,
        }
    }

    /// Tells whether the answer can never change: it is addressed by a commit.
    pub fn is_pinned(&self) -> bool {
        match self {
            Want::Blob(location) | Want::Tree { location, .. } | Want::Directories { location, .. } => {
                location.commit().is_some()
            }
            Want::Refs { .. } => false,
            Want::History { .. } => true,
        }
    }
}

impl fmt::Display for Want {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Want::Blob(location) => fmt::Display::fmt(location, out),
            Want::Tree { location, depth } => write!(out, "{location} (listing, {depth} levels)"),
            Want::Directories { location, depth } => write!(out, "{location} (directories, {depth} levels)"),
            Want::Refs { repository, prefix } => write!(out, "{repository} ({prefix}…)"),
            Want::History { repository, commit, commits_max } => {
                write!(out, "{repository} at {commit} (history, {commits_max} commits)")
            }
        }
    }
}

/// Whether the bytes that name a pointer came from this machine: only such bytes may name local files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Locality {
    /// From a `file:` document, a local repository, or the operator.
    Local,
    /// From the network.
    Remote,
}

impl Location {
    /// Returns the locality of the bytes found here.
    pub fn locality(&self) -> Locality {
        match self {
            Location::File { .. } | Location::Git { repository: Repository::Local(_), .. } => Locality::Local,
            _ => Locality::Remote,
        }
    }
}

macro_rules! prints_text {
    ($($type:ty),*) => {$(
        impl fmt::Display for $type {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str(&self.0)
            }
        }
    )*};
}

impl fmt::Display for SshUrl {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_text())
    }
}

crate::text_forms!(LocalPath);
crate::text_forms!(CommitId, RefName, HttpsUrl, SshUrl; as_text);
prints_text!(CommitId, RefName, HttpsUrl);

impl fmt::Debug for CommitId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests;
