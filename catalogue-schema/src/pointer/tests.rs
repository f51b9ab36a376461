//! URLs, refs, local paths and forge files: what is read, and what is refused before anything is fetched.

#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;

const COMMIT: &str = "4a569e82930c784d2b4f2a40a39e85daea774a80";

#[test]
fn commits_are_full_ids() {
    assert_eq!(CommitId::parse(COMMIT).unwrap().as_text(), COMMIT);
    assert!(CommitId::parse(&"0".repeat(64)).is_ok());
    for text in [
        "",
        "4a569e8",
        "main",
        "HEAD",
        "local",
        &COMMIT[1..],
        &format!("{COMMIT}0"),
        &COMMIT.to_uppercase(),
        &"g".repeat(40),
    ] {
        assert_eq!(CommitId::parse(text).expect_err(text).reason, "input.commit", "{text}");
    }
}

#[test]
fn refs_are_plain_names() {
    for text in ["main", "v1.0.0", "refs/heads/main", "feature/a-b", "HEAD"] {
        assert_eq!(RefName::parse(text).unwrap().as_text(), text);
    }
    for text in [
        "",
        "@",
        "-x",
        "--upload-pack=x",
        "a..b",
        "a~1",
        "a^",
        "a@{1}",
        "a.lock",
        "a.lock/b",
        ".a",
        "a/.b",
        "./a",
        "/a",
        "a/",
        "a//b",
        "a b",
        "a:b",
        "a?",
        "a*",
        "a[",
        "a\\b",
        "a\n",
        "a.",
    ] {
        assert_eq!(RefName::parse(text).expect_err(text).reason, "input.ref", "{text}");
    }
}

#[test]
fn https_urls_are_kept_as_written() {
    for text in [
        "https://e.org",
        "https://e.org/",
        "https://e.org/a/b.json",
        "https://e.org:8443/a",
        "https://e.org:443/a",
        "https://e.org/a?b=c&d=..",
        "https://192.0.2.1/a",
        "https://[2001:db8::1]/a",
        "https://[2001:db8::1]:8443/a",
        "https://e.org/a%20b",
        "https://e.org/g/p/-/raw/main/x",
        "https://xn--bcher-kva.example/a",
        "https://e.org/A/b.git",
        "https://e.org/a/",
        "https://e.org/a@b:c",
    ] {
        assert_eq!(HttpsUrl::parse(text).unwrap().as_text(), text);
    }
    let url = HttpsUrl::parse("https://E.Org:8443/A?b").unwrap();
    assert_eq!(
        (url.as_text(), url.host(), url.segments()),
        ("https://e.org:8443/A?b", "e.org:8443", vec!["A"])
    );
}

#[test]
fn other_urls_are_refused() {
    let check = |text: &str, reason: &str| {
        assert_eq!(HttpsUrl::parse(text).expect_err(text).reason, reason, "{text:?}")
    };
    for text in [
        "",
        "e.org/a",
        "//e.org/a",
        "/a",
        "../a",
        "http://e.org/a",
        "HTTP://e.org",
        "file:///etc/shadow",
        "file://e.org/a",
        "ssh://e.org/a",
        "git://e.org/a",
        "ftp://e.org/a",
        "ext::sh -c x",
        "git@e.org:p",
        "-oProxyCommand=x",
        "--upload-pack=x",
        "data:,x",
        "javascript:x",
        "https:e.org",
        "https:/e.org",
        "git+https://e.org/a",
        " https://e.org",
        "fd::17/x",
        "localhost:80",
    ] {
        check(text, "input.url_scheme");
    }
    for text in [
        "https://",
        "https:///a",
        "https://?a",
        "https://u@e.org/",
        "https://u:p@e.org/",
        "https://@e.org/",
        "https://e.org\\a",
        "https://e.org/a\\b",
        "https://e.org/#a",
        "https://e.org#",
        "https://-e.org/",
        "https://e.org/-x",
        "https://e.org/a/--upload-pack=x",
        "https://e.org/../a",
        "https://e.org/a/..",
        "https://e.org/a/..?b",
        "https://e.org/a/./b",
        "https://e.org/%2e%2e/a",
        "https://e.org/.%2E/a",
        "https://e.org/a b",
        "https://e.org/%00",
        "https://e.org/%0a",
        "https://e.org/%0D",
        "https://e.org/a\nb",
        "https://e.org/\u{e9}",
        "https://\u{e9}.org/",
        "https://0x7f.1/",
        "https://2130706433/",
        "https://0177.0.0.1/",
        "https://127.1/",
        "https://ex%61mple.org/",
        "https://e.org:99999/",
        "https://e.org:/",
        "https://e.org:x/",
        "https://[::1/",
        "https://e org/",
        "https://e.org:0443/",
    ] {
        check(text, "input.url");
    }
    check(&format!("https://e.org/{}", "a".repeat(URL_BYTES_MAX)), "input.url");
    for control in (0..0x20).chain([0x7f]).map(char::from) {
        for offset in [0, 5, 8, 12, 14, 15] {
            let mut text = "https://e.org/a".to_owned();
            text.insert(offset, control);
            check(&text, "input.url");
        }
    }
}

#[test]
fn siblings_stay_below_the_directory() {
    let check = |url: &str, path: &str, expected: Option<&str>| {
        let found = HttpsUrl::parse(url).unwrap().sibling(&DocPath::parse(path).unwrap()).ok();
        assert_eq!(found.as_ref().map(HttpsUrl::as_text), expected, "{url} {path}");
    };
    check("https://e.org/a/c.json?x=/y", "m/n.json", Some("https://e.org/a/m/n.json"));
    check("https://e.org/a/", "m", Some("https://e.org/a/m"));
    check("https://e.org", "m", Some("https://e.org/m"));
    check("https://e.org/c.json", "%2e%2e/m", None);
    check("https://e.org/c.json", "a#b", None);
}

#[test]
fn local_paths_are_absolute_and_do_not_climb() {
    let check = |text: &str, expected: Option<&str>| {
        let found = LocalPath::parse(text).ok();
        assert_eq!(found.as_ref().map(ToString::to_string).as_deref(), expected, "{text:?}");
    };
    check("/srv/a", Some("/srv/a"));
    check("/srv/./a/", Some("/srv/a"));
    check("file:///srv/a%20b", Some("/srv/a b"));
    check("file:/srv/a", Some("/srv/a"));
    check("file://localhost/srv/a", Some("/srv/a"));
    for text in [
        "",
        "a",
        "./a",
        "../a",
        "/a/../b",
        "/..",
        "/a\nb",
        "/a\0b",
        "file:a",
        "file:",
        "file:../a",
        "file:///a/../b",
        "file:///a/%2e%2e/b",
        "file://host/a",
        "file:///a?b",
        "file:///a#b",
        "file:///a%00b",
        "file:///a%ff",
        "FILE:///a",
        "https://e.org/a",
        "~/a",
    ] {
        check(text, None);
    }
    check(&format!("/{}", "a".repeat(LOCAL_PATH_BYTES_MAX)), None);
}

proptest! {
    #[test]
    fn what_is_printed_reads_the_same(rest in "[a-zA-Z0-9./%:?=@~-]{0,40}", hex in "[0-9a-f]{40}") {
        let text = format!("https://{rest}");
        if let Ok(url) = HttpsUrl::parse(&text) {
            prop_assert_eq!(&HttpsUrl::parse(url.as_text()).unwrap(), &url);
            let parsed = Url::parse(url.as_text()).unwrap();
            prop_assert_eq!(parsed.host_str().unwrap(), url.host().split(':').next().unwrap());
        }
        let commit = CommitId::parse(&hex).unwrap();
        prop_assert_eq!(&CommitId::parse(commit.as_text()).unwrap(), &commit);
        if let Ok(path) = LocalPath::parse(&format!("/{rest}")) {
            prop_assert_eq!(&LocalPath::parse(&path.to_string()).unwrap(), &path);
        }
    }

    #[test]
    fn plain_hosts_are_what_a_url_parser_reads(
        host in "[a-z0-9x][a-zA-Z0-9.-]{0,12}(\\.[a-z0-9-]{1,6})?",
        rest in "(/[a-zA-Z0-9.%?=@:~-]{0,12})?",
    ) {
        if is_plain_host(&host) {
            let url = Url::parse(&format!("https://{host}{rest}")).unwrap();
            prop_assert_eq!(url.host_str(), Some(host.as_str()));
        }
    }

    #[test]
    fn arbitrary_text_never_panics(text in ".{0,80}") {
        let _ = HttpsUrl::parse(&text);
        let _ = HttpsUrl::parse(&format!("https://{text}"));
        let _ = CommitId::parse(&text);
        let _ = RefName::parse(&text);
        let _ = LocalPath::parse(&text);
        let _ = LocalPath::parse(&format!("file:/{text}"));
    }
}

#[test]
fn ssh_urls_are_taken_apart_for_the_operator() {
    let rows = [
        ("ssh://git@e.org/o/r.git", "git@e.org", None, "/o/r.git"),
        ("ssh://e.org:2222/o/r", "e.org", Some(2222), "/o/r"),
        ("ssh://e.org/~me/r", "e.org", None, "~me/r"),
        ("git@e.org:o/r.git", "git@e.org", None, "o/r.git"),
        ("git@e.org:/srv/r/", "git@e.org", None, "/srv/r/"),
        ("a.b-c@e.org:22/r", "a.b-c@e.org", None, "22/r"),
    ];
    for (text, login, port, path) in rows {
        let url = SshUrl::parse(text).unwrap();
        assert_eq!((url.login(), url.port(), url.path()), (login, port, path), "{text}");
        assert_eq!(url.to_string(), text);
    }
}

#[test]
fn ssh_urls_hold_nothing_that_a_program_or_shell_would_read() {
    for text in [
        "ssh://-oProxyCommand=x/r",
        "ssh://-u@e.org/r",
        "ssh://u@-h/r",
        "-u@e.org:r",
        "u@-oProxyCommand=x:r",
        "u@e.org:-r",
        "ssh://e.org/-r",
        "ssh://e.org/a/--x",
        "ssh://e.org/",
        "ssh://e.org",
        "ssh:///r",
        "ssh://u:p@e.org/r",
        "ssh://@e.org/r",
        "ssh://a@b@e.org/r",
        "ssh://e.org:0/r",
        "ssh://e.org:65536/r",
        "ssh://e.org:022/r",
        "ssh://e.org:/r",
        "ssh://e.org/../r",
        "ssh://e.org/a//r",
        "ssh://e.org/r'x",
        "ssh://e.org/r x",
        "ssh://e.org/$(x)",
        "ssh://e.org/r\n",
        "ssh://e.org/r;x",
        "ssh://e.org/r\\x",
        "u@e.org:",
        "u@e.org:a`x`",
        "u@[::1]:r",
        "ssh://é.org/r",
    ] {
        assert_eq!(SshUrl::parse(text).expect_err(text).reason, "input.url", "{text}");
    }
    for text in ["", "e.org:r", "https://e.org/r", "/r", "file:///r", "ext::sh -c x", "a@b"] {
        assert_eq!(SshUrl::parse(text).expect_err(text).reason, "input.url_scheme", "{text}");
    }
    for byte in (0u8..0x21).chain([0x7f]) {
        for text in ["ssh://u@e.org/r", "u@e.org:a/r"] {
            for at in 0..=text.len() {
                let mut bytes = text.as_bytes().to_vec();
                bytes.insert(at, byte);
                let text = String::from_utf8(bytes).unwrap();
                assert!(SshUrl::parse(&text).is_err(), "{text:?}");
            }
        }
    }
}
