//! What the operator's configuration says about reaching other machines: certificates, proxy, tokens, rewritten addresses,
//! and where Git objects are cached. Values only; never opens a connection.

use std::path::PathBuf;

use serde::Deserialize;

/// How other machines are reached. Config tables `[https]` and `[[rewrite]]`; unknown keys are refused.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Network {
    /// The table `[https]`.
    pub https: Https,
    /// The tables `[[rewrite]]`, in their order.
    pub rewrites: Vec<Rewrite>,
    /// Where Git objects of remote repositories are cached; `None` keeps them for one run only.
    pub cache_dir: Option<PathBuf>,
    /// No other machine is asked, whatever a document names.
    pub local_only: bool,
}

impl Network {
    /// Adds tokens behind those that there are: for one address the first counts.
    pub fn and_tokens(mut self, tokens: impl IntoIterator<Item = Token>) -> Network {
        let new =
            tokens.into_iter().filter(|token| !self.https.tokens.iter().any(|known| known.url == token.url));
        let new: Vec<Token> = new.collect();
        self.https.tokens.extend(new);
        self
    }
}

/// What the tables `[https]` say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Https {
    /// A PEM file of certificate authorities that are trusted besides the machine's own.
    pub ca_file: Option<PathBuf>,
    /// Whether the environment's proxy variables are honoured. Default `environment`.
    pub proxy: Proxy,
    /// The tables `[[https.tokens]]`.
    pub tokens: Vec<Token>,
}

/// Where the proxy comes from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Proxy {
    /// From `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY`.
    #[default]
    Environment,
    /// No proxy, whatever the environment says.
    None,
}

/// A secret, and the only addresses that ever see it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Token {
    /// Scheme, host, port and path prefix to which it is sent, as they are written in the addresses; the prefix ends where a
    /// path segment ends, and the longest one wins. After a rewrite it is the new address that counts.
    pub url: String,
    /// The file that holds it, readable by its owner only. Exactly one of `file` and `env` is given.
    #[serde(default)]
    pub file: Option<PathBuf>,
    /// The environment variable that holds it.
    #[serde(default)]
    pub env: Option<String>,
    /// With a user name it is sent as a password (`Basic`), without one as `Bearer`.
    #[serde(default)]
    pub user: Option<String>,
}

/// Addresses that start with `from` are fetched from `to` instead, like Git's `insteadOf`: documents and Git repositories.
/// The longest `from` wins. What a document is called, its pins and its locality do not change.
///
/// `from` ends where a path segment ends, with or without a `/`: a rule for `https://e.org/a` has `https://e.org/a/b`, and
/// neither `https://e.org/ab` nor `https://e.org.example/`. A repository that leads to a path is also looked for with `.git`
/// at its end. A file that is pinned to a commit always comes out of its repository, so it follows the rule for the repository
/// and never one for the address at which a forge serves single files: only Git objects prove a commit. Redirects are not
/// rewritten.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rewrite {
    /// The start of an `https://` URL.
    pub from: String,
    /// The start of an `https://`, `file:` or `ssh://` URL, or of an absolute path.
    pub to: String,
}
