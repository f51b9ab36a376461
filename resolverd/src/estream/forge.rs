//! The REST interface of the forge that seed 002 names: a release with an archive, and a pull request.
//!
//! **Source**: the forge's documentation of its REST API, version 2022-11-28. Releases: `POST /repos/{owner}/{repo}/releases` (201),
//! `PATCH` and `DELETE /repos/{owner}/{repo}/releases/{id}` (200, 204); assets: `POST` of the bytes to the `upload_url` of a release
//! with `?name=` (201); pull requests: `POST /repos/{owner}/{repo}/pulls` (201). Every call carries `Accept:
//! application/vnd.github+json`, `X-GitHub-Api-Version` and the token as `Bearer`.
//!
//! Goes through the one https client, with its certificates, caps and deadlines. Sends nothing twice, sends the token nowhere but to
//! the interface and to where its releases are uploaded, and never prints it.

use std::time::Instant;

use catalogue_schema::error::escaped;
use catalogue_schema::pointer::HttpsUrl;
use serde_json::{Value, json};

use crate::api::{Code, Failure};
use crate::estream::registry::submit::Forge;
use crate::fetch::FetchError;
use crate::fetch::https::{Call, Https};
use crate::fetch::limit::{Budget, Limits};
use crate::fetch::network::Network;
use crate::fetch::reach::Reach;

/// Where the interface is, unless something else is said.
pub const API: &str = "https://api.github.com";
/// Where it takes uploads.
const UPLOADS: &str = "uploads.github.com";
/// The version of the interface.
const VERSION: &str = "2022-11-28";
/// The largest answer in bytes.
const ANSWER_BYTES_MAX: u64 = 4 << 20;
/// The longest message of the interface that is repeated, in characters.
const MESSAGE_CHARS_MAX: usize = 300;

/// The interface, as somebody may use it.
pub struct Interface {
    https: Https,
    base: HttpsUrl,
    token: String,
    budget: Budget,
}

/// A release that nobody sees yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unseen {
    /// Its number.
    pub id: u64,
    upload: HttpsUrl,
}

/// A request that somebody merges a branch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pull {
    /// Its number.
    pub number: u64,
    /// Where people see it.
    pub url: String,
}

impl Interface {
    /// Prepares to call the interface at `base` with a token; connects to nothing.
    ///
    /// **Errors**: R011: `base` is no https URL; R008: what is configured of other machines cannot be used.
    pub fn new(network: &Network, limits: &Limits, base: &str, token: String) -> Result<Interface, Failure> {
        let base = HttpsUrl::parse(base.trim_end_matches('/')).map_err(|error| {
            Failure::of(Code::RequestInvalid, &error)
                .hint("name the interface's address, such as https://host/api/v3")
        })?;
        let https = Https::new(&network.https)
            .map_err(|refusal| Failure { code: Code::ConfigInvalid, ..Failure::of_refusal(&refusal) })?;
        // The monotonic clock alone: a run ends, whatever date it is. Who is named by hand may be reached, wherever they are.
        let budget = Budget::new(limits, Instant::now()).reaching(Reach::naming([base.host(), UPLOADS]));
        Ok(Interface { https, base, token, budget })
    }

    /// Makes a release that nobody sees yet.
    ///
    /// **Errors**: E015: it is refused; E012: the interface cannot be reached, or says something else.
    pub fn draft(&self, forge: &Forge, tag: &str, (title, branch): (&str, &str)) -> Result<Unseen, Failure> {
        let body = json!({ "tag_name": tag, "target_commitish": branch, "name": title, "draft": true });
        let what = format!("make the release {tag}");
        let answer = self.call("POST", &repository(forge, "/releases"), &body, (201, &what))?;
        let id = answer.get("id").and_then(Value::as_u64);
        let upload = answer.get("upload_url").and_then(Value::as_str);
        // A template of RFC 6570: what stands in braces is left out.
        let upload = upload.map(|text| text.split('{').next().unwrap_or_default()).map(HttpsUrl::parse);
        match (id, upload) {
            (Some(id), Some(Ok(upload))) if self.takes_uploads(&upload) => Ok(Unseen { id, upload }),
            _ => Err(unexpected(&what, "id and upload_url of the interface's own")),
        }
    }

    fn takes_uploads(&self, upload: &HttpsUrl) -> bool {
        upload.host() == self.base.host() || (self.base.as_text() == API && upload.host() == UPLOADS)
    }

    /// Adds a file to a release.
    ///
    /// **Errors**: as [`Interface::draft`].
    pub fn upload(&self, draft: &Unseen, name: &str, bytes: Vec<u8>) -> Result<(), Failure> {
        let what = format!("upload {name}");
        let url = HttpsUrl::parse(&format!("{}?name={name}", draft.upload))
            .map_err(|_| unexpected(&what, "an upload_url that can be used"))?;
        self.sent("POST", &url, ("application/gzip", bytes), (201, &what)).map(drop)
    }

    /// Lets everybody see a release, and returns where its file of this name is downloaded.
    ///
    /// **Errors**: as [`Interface::draft`].
    pub fn publish(&self, forge: &Forge, draft: &Unseen, name: &str) -> Result<String, Failure> {
        let what = "publish the release";
        let path = repository(forge, &format!("/releases/{}", draft.id));
        let answer = self.call("PATCH", &path, &json!({ "draft": false }), (200, what))?;
        let assets = answer.get("assets").and_then(Value::as_array).into_iter().flatten();
        let asset = assets.into_iter().find(|asset| asset.get("name").and_then(Value::as_str) == Some(name));
        let url = asset.and_then(|asset| asset.get("browser_download_url")?.as_str());
        url.map(str::to_owned).ok_or_else(|| unexpected(what, "browser_download_url of its file"))
    }

    /// Takes a release away again.
    ///
    /// **Errors**: as [`Interface::draft`].
    pub fn discard(&self, forge: &Forge, draft: &Unseen) -> Result<(), Failure> {
        let path = repository(forge, &format!("/releases/{}", draft.id));
        let url = self.url(&path)?;
        let what = "take the release away";
        self.sent("DELETE", &url, ("application/json", Vec::new()), (204, what)).map(drop)
    }

    /// Asks for a branch to be merged.
    ///
    /// **Errors**: as [`Interface::draft`].
    pub fn pull(
        &self,
        forge: &Forge,
        (title, body): (&str, &str),
        (head, base): (&str, &str),
    ) -> Result<Pull, Failure> {
        let what = format!("ask for {head} to be merged");
        let body = json!({ "title": title, "body": body, "head": head, "base": base });
        let answer = self.call("POST", &repository(forge, "/pulls"), &body, (201, &what))?;
        let number = answer.get("number").and_then(Value::as_u64);
        let url = answer.get("html_url").and_then(Value::as_str);
        match (number, url) {
            (Some(number), Some(url)) => Ok(Pull { number, url: escaped(url) }),
            _ => Err(unexpected(&what, "number and html_url")),
        }
    }

    fn url(&self, path: &str) -> Result<HttpsUrl, Failure> {
        HttpsUrl::parse(&format!("{}{path}", self.base))
            .map_err(|error| Failure::of(Code::RequestInvalid, &error))
    }

    fn call(
        &self,
        method: &'static str,
        path: &str,
        body: &Value,
        asked: (u16, &str),
    ) -> Result<Value, Failure> {
        let url = self.url(path)?;
        let answer = self.sent(method, &url, ("application/json", body.to_string().into_bytes()), asked)?;
        serde_json::from_slice(&answer).map_err(|_| unexpected(asked.1, "an answer in JSON"))
    }

    fn sent(
        &self,
        method: &'static str,
        url: &HttpsUrl,
        (kind, body): (&str, Vec<u8>),
        (expected, what): (u16, &str),
    ) -> Result<Vec<u8>, Failure> {
        let headers = [
            ("accept", "application/vnd.github+json"),
            ("x-github-api-version", VERSION),
            ("content-type", kind),
        ];
        let call = Call { method, url, headers: &headers, body, token: &self.token };
        let answer = self.https.call(&call, ANSWER_BYTES_MAX, &self.budget, &format!("{method} {url}"));
        let answer = answer.map_err(|error| unreached(what, &error))?;
        match answer.status {
            status if status == expected => Ok(answer.body),
            status => Err(self.refused(what, status, &answer.body)),
        }
    }

    fn refused(&self, what: &str, status: u16, body: &[u8]) -> Failure {
        let said = serde_json::from_slice::<Value>(body).unwrap_or_default();
        let said: String = said
            .get("message")
            .and_then(Value::as_str)
            .map(|text| escaped(text).chars().take(MESSAGE_CHARS_MAX).collect())
            .unwrap_or_default();
        let said = if said.is_empty() { String::new() } else { format!(": {said}") };
        let detail = format!("cannot {what}: status {status} from {}{said}", self.base.host());
        match status {
            500.. | 429 => {
                Failure::new(Code::NetworkError, "forge.unavailable", detail).hint("try again later")
            }
            422 => Failure::new(Code::PermissionDenied, "forge.refused", detail)
                .hint("it may exist already: look at the releases and pull requests of the registry"),
            _ => Failure::new(Code::PermissionDenied, "forge.forbidden", detail)
                .hint("the token must be allowed to write contents and pull requests of the registry"),
        }
        .with("httpStatus", status)
    }
}

fn repository(forge: &Forge, rest: &str) -> String {
    format!("/repos/{}/{}{rest}", forge.owner, forge.repository)
}

fn unexpected(what: &str, expected: &str) -> Failure {
    let detail = format!("cannot {what}: the interface answered without {expected}");
    Failure::new(Code::NetworkError, "forge.answer", detail)
        .hint("check the address of the interface: --api URL")
}

fn unreached(what: &str, error: &FetchError) -> Failure {
    let refusal = error.refusal();
    let detail = format!("cannot {what}: {refusal}");
    Failure::new(Code::NetworkError, refusal.reason.clone(), detail).hint("try again once it can be reached")
}
