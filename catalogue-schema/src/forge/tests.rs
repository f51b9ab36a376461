//! Tests of forge URLs: the known forms, the operator's patterns, and what is neither.

#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;

const COMMIT: &str = "4a569e82930c784d2b4f2a40a39e85daea774a80";

/// `repository | revision | path`, or nothing.
fn shown(file: Option<ForgeFile>) -> Option<String> {
    let file = file?;
    let revision = match &file.revision {
        Revision::Commit(commit) => format!("commit {commit}"),
        Revision::Ref(name) => format!("ref {name}"),
        Revision::Head => "head".to_owned(),
    };
    Some(format!("{} | {} | {}", file.repository, revision.replace(COMMIT, "COMMIT"), file.path))
}

fn url(text: &str) -> HttpsUrl {
    HttpsUrl::parse(&text.replace("COMMIT", COMMIT)).unwrap()
}

#[track_caller]
fn check(text: &str, expected: &str) {
    assert_eq!(shown(Forges::default().file(&url(text))).as_deref(), Some(expected), "{text}");
}

#[test]
fn the_file_urls_of_known_forges_are_taken_apart() {
    let raw = "https://raw.githubusercontent.com/o/r";
    let main = "https://github.com/o/r | ref main | a/c.json";
    check(&format!("{raw}/main/a/c.json"), main);
    check(&format!("{raw}/COMMIT/c.json"), "https://github.com/o/r | commit COMMIT | c.json");
    check(&format!("{raw}/refs/heads/main/c.json"), "https://github.com/o/r | ref refs/heads/main | c.json");
    check(
        &format!("{raw}/refs/tags/v1/a/c.json?token=x"),
        "https://github.com/o/r | ref refs/tags/v1 | a/c.json",
    );
    check("https://raw.githubusercontent.com:443/o/r/main/a/c.json", main);
    check("https://GitHub.com/o/r/raw/main/a/c.json", main);
    check("https://www.github.com/o/r/raw/main/a/c.json", main);
    check("https://www.github.com:443/o/r/blob/main/a/c.json", main);
    check("https://github.com/o/r/blob/COMMIT/a/c.json", "https://github.com/o/r | commit COMMIT | a/c.json");
    check(
        "https://github.com/o/r/raw/refs/heads/main/c.json",
        "https://github.com/o/r | ref refs/heads/main | c.json",
    );
    check("https://gitlab.com:443/g/r/-/raw/main/c.json", "https://gitlab.com/g/r | ref main | c.json");
    check(
        "https://git.e.org:8443/g/s/r/-/blob/COMMIT/a/c.json?ref_type=heads",
        "https://git.e.org:8443/g/s/r | commit COMMIT | a/c.json",
    );
    check(
        "https://codeberg.org/o/r/raw/branch/main/a/c.json",
        "https://codeberg.org/o/r | ref main | a/c.json",
    );
    check(
        "https://codeberg.org/o/r/raw/commit/COMMIT/c.json",
        "https://codeberg.org/o/r | commit COMMIT | c.json",
    );
    check("https://git.e.org/o/r/src/tag/v1/c.json", "https://git.e.org/o/r | ref v1 | c.json");
}

#[test]
fn other_urls_are_no_forge_files() {
    for text in [
        "https://e.org/c.json",
        "https://e.org/o/r/raw/main/c.json",
        "https://github.com:8443/o/r/raw/main/c.json",
        "https://www.gitlab.com/o/r/raw/main/c.json",
        "https://raw.githubusercontent.com/o/r/main",
        "https://raw.githubusercontent.com/o/r/main/",
        "https://raw.githubusercontent.com/o/r/refs/heads/main",
        "https://raw.githubusercontent.com/o/r/refs/pull/1/c.json",
        "https://raw.githubusercontent.com//r/main/c.json",
        "https://raw.githubusercontent.com/o/r/main/a%20b.json",
        "https://raw.githubusercontent.com/o/r/a~1/c.json",
        "https://github.com/o/r",
        "https://github.com/o/r/tree/main/a",
        "https://gitlab.com/g/-/raw/main/c.json",
        "https://gitlab.com/g/r/-/tree/main/c",
        "https://gitlab.com/g/r/-/raw/main",
        "https://codeberg.org/o/r/raw/commit/4a569e8/c.json",
        "https://raw.githubusercontent.com/o/r/main/.git/config",
        "https://raw.githubusercontent.com/o/r/main/a//b",
    ] {
        assert_eq!(Forges::default().file(&url(text)), None, "{text}");
    }
}

/// The patterns of three forges.
fn own() -> Forges {
    let pattern = |file: &str, repository: &str| ForgePattern::parse(file, repository).unwrap();
    Forges::new(vec![
        pattern(
            "https://git.acme.example/{repository}/raw/{revision}/{path}",
            "https://git.acme.example/{repository}.git",
        ),
        pattern(
            "https://raw.acme.example:8443/{repository}/{revision}/{path}",
            "https://acme.example/{repository}",
        ),
        pattern(
            "https://files.example/v1/{repository}/at/{revision}/file/{path}",
            "https://clone.example/scm/{repository}.git",
        ),
    ])
}

#[test]
fn the_operators_patterns_count_first() {
    let check = |text: &str, expected: Option<&str>| {
        assert_eq!(shown(own().file(&url(text))).as_deref(), expected, "{text}");
    };
    let deep = Some("https://git.acme.example/g/s/r.git | ref main | a/c.json");
    check("https://git.acme.example/g/s/r/raw/main/a/c.json", deep);
    check("https://git.acme.example:443/g/s/r/raw/main/a/c.json?raw=1", deep);
    check(
        "https://git.acme.example/r/raw/COMMIT/raw/x/c.json",
        Some("https://git.acme.example/r.git | commit COMMIT | raw/x/c.json"),
    );
    check(
        "https://git.acme.example/r/raw/refs/heads/main/c.json",
        Some("https://git.acme.example/r.git | ref refs/heads/main | c.json"),
    );
    check("https://git.acme.example/raw/main/c.json", None);
    check("https://git.acme.example/r/raw/main", None);
    check("https://git.acme.example/r%20/raw/main/c.json", None);
    check("https://git.acme.example:8443/r/raw/main/c.json", None);
    let two = Some("https://acme.example/o/r | ref main | c.json");
    check("https://raw.acme.example:8443/o/r/main/c.json", two);
    check("https://raw.acme.example:8443/o/r/main", None);
    check(
        "https://files.example/v1/o/r/at/COMMIT/file/c.json",
        Some("https://clone.example/scm/o/r.git | commit COMMIT | c.json"),
    );
    check("https://files.example/v2/o/r/at/COMMIT/file/c.json", None);
    check("https://github.com/o/r/raw/main/c.json", Some("https://github.com/o/r | ref main | c.json"));
}

#[test]
fn a_commit_takes_the_place_of_a_branch() {
    let commit = CommitId::parse(COMMIT).unwrap();
    let check = |text: &str, expected: &str| {
        let found = own().at_commit(&url(text), &commit).map(|url| url.to_string().replace(COMMIT, "COMMIT"));
        assert_eq!(found.unwrap(), expected, "{text}");
    };
    check(
        "https://git.acme.example/g/r/raw/main/c.json?x",
        "https://git.acme.example/g/r/raw/COMMIT/c.json?x",
    );
    check(
        "https://git.acme.example/g/r/raw/refs/heads/a/c.json",
        "https://git.acme.example/g/r/raw/COMMIT/c.json",
    );
    check("https://files.example/v1/o/r/at/main/file/c", "https://files.example/v1/o/r/at/COMMIT/file/c");
    check("https://github.com/o/r/raw/main/c.json", "https://github.com/o/r/raw/COMMIT/c.json");
    check(
        "https://codeberg.org/o/r/raw/branch/main/c.json",
        "https://codeberg.org/o/r/raw/commit/COMMIT/c.json",
    );
    check("https://codeberg.org/o/r/src/tag/v1/c.json", "https://codeberg.org/o/r/src/commit/COMMIT/c.json");
    check("https://github.com/o/r/raw/COMMIT/c.json", "https://github.com/o/r/raw/COMMIT/c.json");
    check("https://e.org/c.json", "https://e.org/c.json");
}

#[test]
fn a_pattern_that_cannot_be_used_says_what_is_missing() {
    let good = "https://e.org/{repository}/raw/{revision}/{path}";
    let check = |file: &str, repository: &str, field: &str, expected: &str| {
        let error = ForgePattern::parse(file, repository).unwrap_err();
        assert_eq!((&*error.reason, &*error.field), ("input.forge", field), "{error}");
        assert!(error.expected.contains(expected), "{error}");
    };
    let file = |file: &str, expected: &str| check(file, "https://e.org/{repository}", "file", expected);
    file("https://e.org/raw/{revision}/{path}", "{repository} once");
    file("https://e.org/{repository}/raw/{path}", "{revision} once");
    file("https://e.org/{repository}/raw/{revision}", "{path} once");
    file("https://e.org/{repository}/{repository}/{revision}/{path}", "{repository} once");
    file("https://e.org/{repository}/{path}/{revision}", "{path} as the last part");
    file("https://e.org/{revision}/{repository}/{path}", "{repository} before {revision}");
    file("https://e.org/{repository}.git/{revision}/{path}", "alone");
    file("https://e.org/{owner}/{repository}/{revision}/{path}", "alone");
    file("https://e.org/{repository}//{revision}/{path}", "fixed");
    file("https://{repository}/raw/{revision}/{path}", "host");
    file("http://e.org/{repository}/raw/{revision}/{path}", "https://");
    file("https://e.org/{repository}/raw/{path}?at={revision}", "query");
    let repository = |text: &str, expected: &str| check(good, text, "repository", expected);
    repository("https://e.org/r.git", "{repository} once");
    repository("https://{repository}", "in its path");
    repository("https://e.org/{repository}/{path}", "no other placeholder");
    repository("ssh://e.org/{repository}", "https://");
}

proptest! {
    #[test]
    fn forge_files_never_panic(host in "(raw.githubusercontent.com|github.com|e.org|git.acme.example|files.example|raw.acme.example:8443)", rest in "(/(a|-|raw|blob|src|refs|heads|commit|branch|x%20|at|v1|file|)){0,9}") {
        if let Ok(url) = HttpsUrl::parse(&format!("https://{host}{rest}")) {
            let commit = CommitId::parse(COMMIT).unwrap();
            if let Some(file) = own().file(&url) {
                let moved = own().at_commit(&url, &commit);
                let there = moved.ok().and_then(|url| own().file(&url));
                prop_assert!(there.is_none_or(|there| there.path == file.path && there.repository == file.repository));
            }
        }
    }

    #[test]
    fn patterns_never_panic(file in "https://[a-z.{}/?:]{0,20}(/(\\{repository\\}|\\{revision\\}|\\{path\\}|a)){0,5}", repository in "https://e/[a-z{}/]{0,12}(\\{repository\\})?.{0,4}") {
        let _ = ForgePattern::parse(&file, &repository);
    }
}
