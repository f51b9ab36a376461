//! Rewrite rules through the real fetcher and the real binary: documents and repositories come from another place, under
//! their own names.

use std::path::Path;
use std::time::Instant;

use catalogue_schema::digest::Digest;
use catalogue_schema::path::DocPath;
use catalogue_schema::pointer::{CommitId, HttpsUrl, Location, Repository, Revision, Want};
use resolverd::fetch::limit::{Budget, Limits};
use resolverd::fetch::network::{Https, Network, Proxy, Rewrite};
use resolverd::fetch::{Answer, Ask, Fetch as _, FetchError, Fetched, Origins};
use serde_json::json;

use crate::harness::daemon::Sandbox;
use crate::harness::lcod::{self, Component};
use crate::harness::place;
use crate::harness::repository::{self, Files};
use crate::harness::tls::{GitMount, Route, TlsServer};

fn origins(server: &TlsServer, rules: &[(&str, String)]) -> Origins {
    let https = Https { ca_file: Some(server.ca_file()), proxy: Proxy::None, tokens: Vec::new() };
    let rule = |(from, to): &(&str, String)| Rewrite { from: (*from).to_owned(), to: to.clone() };
    let rewrites = rules.iter().map(rule).collect();
    Origins::new(Network { https, rewrites, cache_dir: None }).unwrap()
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
    check(&server.url("/mirror/deep/a.json"), b"served", &server.url("/mirror/deep/a.json"));
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
fn a_file_of_a_forge_comes_from_the_mirror_of_its_raw_address() {
    let server = TlsServer::start();
    let commit = "a".repeat(40);
    server.put(&format!("/raw/o/r/{commit}/a/c.json"), b"pinned");
    server.put("/raw/o/r/refs/heads/main/a/c.json", b"branch");
    server.route("/raw/o/r/HEAD/a/c.json", Route::ok(b"head"));
    let origins = origins(&server, &[("https://raw.githubusercontent.com/", server.url("/raw/"))]);
    let branch = catalogue_schema::pointer::RefName::parse("refs/heads/main").unwrap();
    for (revision, bytes) in
        [(pin(&commit), &b"pinned"[..]), (Revision::Ref(branch), b"branch"), (Revision::Head, b"head")]
    {
        let fetched = ask(&origins, &in_git("https://github.com/o/r", revision, "a/c.json")).unwrap();
        assert_eq!(fetched.bytes, bytes);
        assert!(fetched.url.starts_with(&server.url("/raw/o/r/")), "{}", fetched.url);
    }
}

/// The shape in which LCOD's own registry is published: a list on a branch, catalogues at a commit with a checksum, URLs on
/// the forge's raw host, and descriptors found through the pointer alone.
#[test]
fn the_published_shape_resolves_through_a_mirror_of_the_raw_host() {
    let server = TlsServer::start();
    let directory = tempfile::tempdir().unwrap();
    let components = vec![
        Component::new("lcod://tooling/one", "1.0.0", &["lcod://tooling/two@^0.1"]),
        Component::new("lcod://tooling/two", "0.1.0", &[]),
    ];
    let home = repository::Repository::create(&directory.path().join("home"));
    let mut files = lcod::all_files(&components);
    let rows: Vec<_> = components.iter().map(lcod::row).collect();
    let catalogue = lcod::lines("components/std", &rows);
    files.insert("registry/components.std.jsonl".to_owned(), catalogue.clone());
    let commit = home.commit(&files);
    let raw = "https://raw.githubusercontent.com/lcod-team";
    let list = lcod::lines(
        "lcod-registry/catalogues",
        &[json!({
            "type": "list", "id": "tooling/std",
            "url": format!("{raw}/lcod-components/{commit}/registry/components.std.jsonl"),
            "metadata": {
                "sourceRepo": "https://github.com/lcod-team/lcod-components",
                "manifestPath": "registry/components.std.jsonl",
                "commit": commit,
                "checksum": Digest::sha256(&catalogue),
            },
        })],
    );
    server.put("/m/lcod-team/lcod-registry/main/catalogues.jsonl", &list);
    // As a checkout of that commit would hold it.
    let checkout = directory.path().join("checkout");
    repository::write(&checkout, &files);
    server.put_all(&format!("/m/lcod-team/lcod-components/{commit}"), &checkout);
    let sandbox = Sandbox::with_sources(&json!({
        "schema": "lcod-resolver/sources@1",
        "sources": [{ "id": "official", "entrypoint": { "type": "https",
            "url": format!("{raw}/lcod-registry/main/catalogues.jsonl") } }],
    }));
    let config = format!(
        "[https]\nca_file = \"{}\"\nproxy = \"none\"\n\n[[rewrite]]\nfrom = \"https://raw.githubusercontent.com/\"\nto = \"{}\"\n",
        server.ca_file().display(),
        server.url("/m/")
    );
    std::fs::write(sandbox.path("config.toml"), config).unwrap();
    let config = sandbox.path("config.toml");
    let run =
        |verb: &[&str]| sandbox.run(&[verb, &["-o", "json", "--config", config.to_str().unwrap()]].concat());
    let said = run(&["sync"]);
    assert_eq!(said.status, 0, "{said:?} {:?}", server.lines());
    let said = run(&["resolve", "lcod://tooling/one@1.0.0"]);
    assert_eq!(said.status, 0, "{said:?} {:?}", server.lines());
    assert!(said.stdout.contains("lcod://tooling/two"), "{said:?}");
    // The same sync again asks for what is not pinned, and gets it in no bytes.
    server.forget();
    assert_eq!(run(&["sync"]).status, 0);
    assert_eq!(server.lines(), ["GET /m/lcod-team/lcod-registry/main/catalogues.jsonl"]);
    assert!(server.sent() < 500, "{} bytes", server.sent());
    // A mirror that has something else under the checksum is refused.
    let fresh =
        Sandbox::with_sources(&serde_json::from_slice(&std::fs::read(sandbox.sources()).unwrap()).unwrap());
    server.put(
        &format!("/m/lcod-team/lcod-components/{commit}/registry/components.std.jsonl"),
        &[&catalogue[..], b"\n"].concat(),
    );
    let said = fresh.run(&["sync", "-o", "json", "--config", config.to_str().unwrap()]);
    let said = format!(
        "{}{}{}",
        said.stdout,
        said.stderr,
        fresh.run(&["catalogues", "-o", "json", "--config", config.to_str().unwrap()]).stdout
    );
    assert!(said.contains("trust.digest_mismatch"), "{said}");
}
