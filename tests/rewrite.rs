//! Rewrite rules through the real fetcher and the real binary: documents and repositories come from another place, under
//! their own names.

use std::path::Path;
use std::time::Instant;

use catalogue_schema::path::DocPath;
use catalogue_schema::pointer::{CommitId, HttpsUrl, Location, Repository, Revision, Want};
use resolverd::fetch::limit::{Budget, Limits};
use resolverd::fetch::network::{Https, Network, Proxy, Rewrite};
use resolverd::fetch::reach::Reach;
use resolverd::fetch::{Answer, Ask, Fetch as _, FetchError, Fetched, Origins};

use crate::harness::place;
use crate::harness::repository::{self, Files};
use crate::harness::tls::{GitMount, TlsServer};

fn origins(server: &TlsServer, rules: &[(&str, String)]) -> Origins {
    let https = Https { ca_file: Some(server.ca_file()), proxy: Proxy::None, tokens: Vec::new() };
    let rule = |(from, to): &(&str, String)| Rewrite { from: (*from).to_owned(), to: to.clone() };
    let rewrites = rules.iter().map(rule).collect();
    Origins::new(Network { https, rewrites, ..Network::default() }).unwrap()
}

fn ask(origins: &Origins, want: &Want) -> Result<Fetched, FetchError> {
    let limits = Limits { tries: 1, connect_s: 1, ..Limits::default() };
    match origins.fetch(&[Ask::from(want)], &Budget::new(&limits, Instant::now())).remove(0)? {
        Answer::Fetched(fetched) => Ok(fetched),
        Answer::Unchanged => panic!("{want} is said to be unchanged"),
    }
}

fn document(url: &str) -> Want {
    Want::Blob(Location::Https { url: HttpsUrl::parse(url).unwrap() })
}

fn in_git(repository: &str, revision: Revision, path: &str) -> Want {
    let repository = Repository::Https(HttpsUrl::parse(repository).unwrap());
    Want::Blob(Location::Git { repository, revision, path: DocPath::parse(path).unwrap() })
}

fn pin(commit: &str) -> Revision {
    Revision::Commit(CommitId::parse(commit).unwrap())
}

/// Makes a repository with one file `a/c.json` and a bare clone of it at `to`, served with filters; returns the commit.
fn bare(directory: &Path, to: &Path) -> String {
    let home = repository::Repository::create(&directory.join("home"));
    let commit = home.commit(&Files::from([("a/c.json".to_owned(), b"{\"in\":\"git\"}".to_vec())]));
    let clone = home.bare_clone(to);
    place::git(&clone.path, &["config", "uploadpack.allowFilter", "true"]);
    commit
}

#[test]
fn a_document_comes_from_where_the_rule_says_and_says_so() {
    let server = TlsServer::start();
    let directory = tempfile::tempdir().unwrap();
    server.put("/mirror/deep/a.json", b"served");
    std::fs::create_dir(directory.path().join("d")).unwrap();
    std::fs::write(directory.path().join("d/a b.json"), "a file").unwrap();
    let rules = [
        ("https://far.example/", server.url("/mirror")),
        ("https://far.example/files/", directory.path().display().to_string()),
    ];
    let origins = origins(&server, &rules);
    let check = |url: &str, bytes: &[u8], place: &str| {
        let fetched = ask(&origins, &document(url)).unwrap();
        assert_eq!((&*fetched.bytes, &*fetched.url), (bytes, place), "{url}");
    };
    check("https://far.example/deep/a.json?x=1", b"served", &server.url("/mirror/deep/a.json?x=1"));
    let file = format!("file://{}/d/a b.json", directory.path().display());
    check("https://far.example/files/d/a%20b.json", b"a file", &file);
    // No rule leads who names the mirror itself, and so none names it for them.
    let direct = document(&server.url("/mirror/deep/a.json"));
    assert_eq!(ask(&origins, &direct).unwrap_err().refusal().reason, "net.address_denied");
    let limits = Limits { tries: 1, connect_s: 1, ..Limits::default() };
    let budget = Budget::new(&limits, Instant::now()).reaching(Reach::default().also(&direct));
    let named = origins.fetch(&[Ask::from(&direct)], &budget).remove(0).unwrap();
    assert!(matches!(named, Answer::Fetched(fetched) if *fetched.bytes == *b"served"));
    for (url, reason, place) in [
        ("https://far.example/gone.json", "net.not_found", server.url("/mirror/gone.json")),
        ("https://far.example/files/gone", "file_missing", format!("{}/gone", directory.path().display())),
        ("https://far.example/files/d", "file.not_a_file", format!("{}/d", directory.path().display())),
        ("https://far.example/files/d?x", "net.rewrite", "a query".to_owned()),
    ] {
        let error = ask(&origins, &document(url)).expect_err(url);
        assert_eq!((&*error.refusal().reason, &*error.refusal().subject), (reason, url), "{error}");
        assert!(error.to_string().contains(&place), "{error} does not name {place}");
    }
    let mut lines = server.lines();
    lines.sort();
    assert_eq!(lines, ["GET /mirror/deep/a.json", "GET /mirror/deep/a.json?x=1", "GET /mirror/gone.json"]);
}

#[test]
fn a_document_does_not_come_over_ssh() {
    let server = TlsServer::start();
    let origins = origins(&server, &[("https://far.example", "ssh://git@near.example/srv".to_owned())]);
    let error = ask(&origins, &document("https://far.example/a.json")).unwrap_err();
    assert!(matches!(&error, FetchError::Refused(refusal) if refusal.reason == "net.rewrite"), "{error}");
}

#[test]
fn a_repository_comes_from_a_path_with_or_without_its_ending() {
    let server = TlsServer::start();
    let directory = tempfile::tempdir().unwrap();
    let commit = bare(directory.path(), &directory.path().join("mirror/o/r.git"));
    let mirror = directory.path().join("mirror").display().to_string();
    for to in [mirror.clone(), format!("file://{mirror}/")] {
        let origins = origins(&server, &[("https://forge.example", to)]);
        for url in ["https://forge.example/o/r.git", "https://forge.example/o/r"] {
            for revision in [pin(&commit), Revision::Head] {
                let fetched = ask(&origins, &in_git(url, revision, "a/c.json")).unwrap();
                assert_eq!(
                    (&*fetched.bytes, fetched.url),
                    (&b"{\"in\":\"git\"}"[..], format!("file://{mirror}/o/r.git"))
                );
                assert_eq!(fetched.commit.unwrap().as_text(), commit);
            }
        }
        let want = in_git("https://forge.example/o/gone", pin(&commit), "a/c.json");
        let error = ask(&origins, &want).unwrap_err();
        assert_eq!(
            (&*error.refusal().reason, error.refusal().subject.clone()),
            ("git.repository_missing", want.to_string())
        );
    }
    assert!(server.requests().is_empty());
}

#[test]
fn a_repository_comes_from_a_mirror_over_https() {
    let server = TlsServer::start();
    let directory = tempfile::tempdir().unwrap();
    let commit = bare(directory.path(), &directory.path().join("mirror/o/r.git"));
    server.mount("/git", GitMount::of(&directory.path().join("mirror")));
    let origins = origins(&server, &[("https://github.com", server.url("/git"))]);
    let fetched = ask(&origins, &in_git("https://github.com/o/r.git", pin(&commit), "a/c.json")).unwrap();
    assert_eq!(fetched.bytes, b"{\"in\":\"git\"}");
    assert!(fetched.url.starts_with(&server.url("/git/o/r.git")), "{}", fetched.url);
    assert_eq!(fetched.commit.unwrap().as_text(), commit);
    assert!(server.requests().iter().all(|request| request.path().starts_with("/git/o/r.git/")));
    let connections: Vec<usize> = server.requests().iter().map(|request| request.connection).collect();
    assert!(connections.iter().all(|number| *number == connections[0]), "one connection: {connections:?}");
}

#[test]
fn a_file_at_a_commit_never_comes_from_a_mirror_of_single_files() {
    let server = TlsServer::start();
    let directory = tempfile::tempdir().unwrap();
    let commit = bare(directory.path(), &directory.path().join("mirror/o/r.git"));
    server.put(&format!("/raw/o/r/{commit}/a/c.json"), b"{\"in\":\"nobody knows\"}");
    server.mount("/git", GitMount::of(&directory.path().join("mirror")));
    let rules = [
        ("https://raw.githubusercontent.com/", server.url("/raw/")),
        ("https://github.com/", server.url("/git/")),
    ];
    let fetched =
        ask(&origins(&server, &rules), &in_git("https://github.com/o/r", pin(&commit), "a/c.json")).unwrap();
    assert_eq!(fetched.bytes, b"{\"in\":\"git\"}");
    assert_eq!(fetched.commit.unwrap().as_text(), commit);
    assert!(server.requests().iter().all(|request| request.path().starts_with("/git/o/r")));
}
