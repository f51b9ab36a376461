//! Tokens: read from a file or an environment variable, and given to the addresses that they are bound to.
//!
//! A token is bound to the text of an address: scheme, host, port and path, each as it is written. Nothing is normalised, for
//! what is equal to one server is another registry to the next. Never prints a token.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use catalogue_schema::model::Refusal;
use catalogue_schema::pointer::HttpsUrl;
use hyper::header::HeaderValue;
use rustix::process::geteuid;

use crate::fetch::https::read_file;
use crate::fetch::network::Token;

/// The longest token in bytes.
const TOKEN_BYTES_MAX: usize = 8192;

/// The tokens of this run.
#[derive(Default)]
pub(super) struct Keys(Vec<Key>);

struct Key {
    /// The address, without a `/` at its end.
    prefix: String,
    /// `Bearer …` or `Basic …`, marked as a secret; or why there is none, which concerns only whom it was for.
    value: Result<HeaderValue, Refusal>,
}

impl Keys {
    /// Reads every token now. One that cannot be had is said to whoever needs it, and to nobody else: a verb that fetches
    /// nothing from there does without.
    ///
    /// **Errors**: `net.token`: the configuration itself is wrong.
    pub(super) fn read(
        tokens: &[Token],
        environment: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Keys, Refusal> {
        tokens.iter().map(|token| key(token, environment)).collect::<Result<_, _>>().map(Keys)
    }

    /// Returns what the server at `url` may see: the token with the longest prefix.
    ///
    /// **Errors**: `net.token`: the one that is meant for it cannot be had.
    pub(super) fn authorization(&self, url: &HttpsUrl) -> Result<Option<&HeaderValue>, &Refusal> {
        let fitting = self.0.iter().filter(|key| lies_below(url.as_text(), &key.prefix));
        fitting.max_by_key(|key| key.prefix.len()).map(|key| key.value.as_ref()).transpose()
    }

    /// Returns what is wrong with tokens that cannot be had.
    pub(super) fn problems(&self) -> impl Iterator<Item = &Refusal> {
        self.0.iter().filter_map(|key| key.value.as_ref().err())
    }
}

/// Tells whether `url` is `prefix` or continues it at the end of a path segment.
pub(super) fn lies_below(url: &str, prefix: &str) -> bool {
    url.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', '?']))
}

/// Reads an environment variable.
#[expect(clippy::disallowed_methods, reason = "the configuration names the variable that holds a secret")]
pub(super) fn from_environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

fn key(token: &Token, environment: &dyn Fn(&str) -> Option<String>) -> Result<Key, Refusal> {
    // What the operator wrote may be a secret in the wrong place, so it is not repeated.
    let url = HttpsUrl::parse(&token.url)
        .map_err(|error| Refusal::new("net.token", "[[https.tokens]] url", error.expected, "another text"))?;
    let address = url.as_text().split('?').next().unwrap_or_default();
    let refused = |expected: String, found: &str| {
        Refusal::new("net.token", format!("the token for {address}"), expected, found)
    };
    if url.as_text().contains('?') {
        return Err(refused("the start of an https:// URL, without a query".to_owned(), "a query"));
    }
    let secret = match (&token.file, &token.env) {
        (Some(path), None) => from_file(path, &refused),
        (None, Some(name)) => environment(name).ok_or_else(|| {
            let expected = format!("it in the environment variable {name}; set it for this process");
            refused(expected, "no such variable, or one that is no text")
        }),
        (Some(_), Some(_)) => return Err(refused("one of file and env".to_owned(), "both")),
        (None, None) => return Err(refused("one of file and env".to_owned(), "neither")),
    };
    let user = token.user.as_deref();
    if user.is_some_and(|user| !is_plain(user) || user.contains(':')) {
        let expected = "a user of printable ASCII characters without spaces and colons";
        return Err(refused(expected.to_owned(), "another text"));
    }
    let value = secret.and_then(|secret| {
        authorization(secret.trim(), user)
            .ok_or_else(|| refused(expected_token(), "an empty, longer or other text"))
    });
    Ok(Key { prefix: url.as_text().trim_end_matches('/').to_owned(), value })
}

fn is_plain(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic())
}

fn expected_token() -> String {
    format!("one line of 1 to {TOKEN_BYTES_MAX} printable ASCII characters without spaces")
}

fn from_file(path: &Path, refused: &dyn Fn(String, &str) -> Refusal) -> Result<String, Refusal> {
    let shown = path.display();
    let unreadable = |error: std::io::Error| refused(format!("it in {shown}"), &error.to_string());
    let metadata = std::fs::metadata(path).map_err(unreadable)?;
    // A file of root's that our group may read is how a service is given a secret that it cannot change.
    let (ours, forbidden) = match metadata.uid() == geteuid().as_raw() {
        true => (true, 0o077),
        false => (metadata.uid() == 0, 0o037),
    };
    let mode = metadata.mode() & 0o777;
    if !ours || mode & forbidden != 0 {
        let expected = format!("{shown} readable by its owner only; run: chmod 600 {shown}");
        return Err(refused(expected, &format!("mode {mode:o}, owner {}", metadata.uid())));
    }
    let bytes = read_file(path, TOKEN_BYTES_MAX as u64).map_err(unreadable)?;
    String::from_utf8(bytes).map_err(|_| refused(expected_token(), "other bytes"))
}

/// Returns the header: `Basic` with a user name, `Bearer` without one.
fn authorization(secret: &str, user: Option<&str>) -> Option<HeaderValue> {
    if !is_plain(secret) || secret.len() > TOKEN_BYTES_MAX {
        return None;
    }
    let text = match user {
        None => format!("Bearer {secret}"),
        Some(user) if is_plain(user) && !user.contains(':') => {
            format!("Basic {}", base64(format!("{user}:{secret}").as_bytes()))
        }
        Some(_) => return None,
    };
    let mut value = HeaderValue::from_str(&text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// RFC 4648 §4, with padding.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let word = chunk.iter().fold(0u32, |word, byte| (word << 8) | u32::from(*byte));
        let word = word << (8 * (3 - chunk.len()));
        for place in 0..4usize {
            match place <= chunk.len() {
                true => out.push(char::from(DIGITS[(word >> (18 - 6 * place)) as usize & 63])),
                false => out.push('='),
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn token(url: &str) -> Token {
        Token { url: url.to_owned(), file: None, env: Some("T".to_owned()), user: None }
    }

    fn keys(tokens: &[(&str, &str)]) -> Keys {
        let named = |index: usize| format!("T{index}");
        let table: Vec<Token> = tokens
            .iter()
            .enumerate()
            .map(|(index, (url, _))| Token { env: Some(named(index)), ..token(url) })
            .collect();
        let environment = |name: &str| {
            let index = (0..tokens.len()).find(|index| named(*index) == name)?;
            Some(tokens[index].1.to_owned())
        };
        Keys::read(&table, &environment).unwrap()
    }

    #[test]
    fn a_token_goes_below_its_own_address_only() {
        let keys = keys(&[
            ("https://e.org/reg", "one"),
            ("https://e.org/reg/inner/", "two"),
            ("https://f.org:8443", "three"),
        ]);
        let check = |url: &str, expected: Option<&str>| {
            let found = keys.authorization(&HttpsUrl::parse(url).unwrap()).unwrap();
            assert_eq!(
                found.map(|value| value.to_str().unwrap().to_owned()),
                expected.map(|secret| format!("Bearer {secret}")),
                "{url}"
            );
        };
        check("https://e.org/reg", Some("one"));
        check("https://E.org/reg/", Some("one"));
        check("https://e.org/reg/a.json?x", Some("one"));
        check("https://e.org/reg?x", Some("one"));
        check("https://e.org/reg/inner", Some("two"));
        check("https://e.org/reg/inner/a", Some("two"));
        check("https://e.org/reg/inners", Some("one"));
        check("https://f.org:8443/any", Some("three"));
        for url in [
            "https://e.org/reg.git",
            "https://e.org/registry",
            "https://e.org/Reg",
            "https://e.org//reg",
            "https://e.org/%72eg",
            "https://e.org:443/reg",
            "https://e.org/",
            "https://e.org",
            "https://a.e.org/reg",
            "https://e.org.evil.org/reg",
            "https://f.org/any",
            "https://f.org:84430/any",
            "https://f.org:8444/any",
        ] {
            match HttpsUrl::parse(url) {
                Ok(_) => check(url, None),
                Err(_) => assert!(url.contains("84430")),
            }
        }
    }

    #[test]
    fn with_a_user_it_is_a_password() {
        for (user, secret, expected) in [
            ("u", "p", "Basic dTpw"),
            ("us", "p", "Basic dXM6cA=="),
            ("user", "p", "Basic dXNlcjpw"),
            ("user", "pa", "Basic dXNlcjpwYQ=="),
            ("Aladdin", "opensesame", "Basic QWxhZGRpbjpvcGVuc2VzYW1l"),
        ] {
            let value = authorization(secret, Some(user)).unwrap();
            assert_eq!(value.to_str().unwrap(), expected);
            assert!(value.is_sensitive());
        }
    }

    /// Returns why a token cannot be used: said at once where the configuration is wrong, and else to those it is for.
    fn refused(token: &Token, secret: Option<&str>) -> Refusal {
        match Keys::read(std::slice::from_ref(token), &|_| secret.map(str::to_owned)) {
            Err(refusal) => refusal,
            Ok(keys) => {
                let elsewhere = HttpsUrl::parse("https://elsewhere.org/").unwrap();
                assert_eq!(keys.authorization(&elsewhere), Ok(None), "{token:?}");
                let found = keys.authorization(&HttpsUrl::parse(&token.url).unwrap());
                assert_eq!(keys.problems().collect::<Vec<_>>(), [found.unwrap_err()]);
                found.unwrap_err().clone()
            }
        }
    }

    #[test]
    fn what_is_no_token_is_refused_without_showing_it() {
        let both = Token { file: Some("/x".into()), ..token("https://e.org") };
        let neither = Token { env: None, ..token("https://e.org") };
        let colon = Token { user: Some("a:b".to_owned()), ..token("https://e.org") };
        let rows = [
            (token("http://e.org"), "s3cret"),
            (token("https://user:s3cret@e.org"), "s3cret"),
            (token("https://e.org/?s3cret"), "s3cret"),
            (token("https://e.org"), ""),
            (token("https://e.org"), "s3cret s3cret"),
            (token("https://e.org"), "s3cret\r\nX: y"),
            (token("https://e.org"), "s3cr\u{e9}t"),
            (both, "s3cret"),
            (neither, "s3cret"),
            (colon, "s3cret"),
        ];
        for (row, secret) in &rows {
            let shown = format!("{row:?}");
            let refusal = refused(row, Some(secret));
            assert_eq!(refusal.reason, "net.token", "{shown}");
            assert!(!refusal.to_string().contains("s3cr"), "{refusal}");
        }
        let refusal = refused(&token("https://e.org"), None);
        assert!(refusal.to_string().contains("environment variable T"), "{refusal}");
    }

    #[test]
    fn a_token_file_that_others_read_is_refused_with_what_to_do() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("token");
        std::fs::write(&path, "s3cret\n").unwrap();
        let token = Token { env: None, file: Some(path.clone()), ..token("https://e.org") };
        let read = || Keys::read(std::slice::from_ref(&token), &|_| None);
        for (mode, good) in [(0o600, true), (0o400, true), (0o640, false), (0o604, false), (0o660, false)] {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            let keys = read().unwrap();
            match keys.authorization(&HttpsUrl::parse("https://e.org/a").unwrap()) {
                Ok(value) => {
                    assert!(good, "{mode:o}");
                    assert_eq!(value.unwrap().to_str().unwrap(), "Bearer s3cret");
                }
                Err(refusal) => {
                    assert!(!good && refusal.to_string().contains("chmod 600"), "{mode:o}: {refusal}");
                    assert!(!refusal.to_string().contains("s3cret"), "{refusal}");
                }
            }
        }
        std::fs::remove_file(&path).unwrap();
        assert_eq!(refused(&token, None).reason, "net.token");
    }
}
