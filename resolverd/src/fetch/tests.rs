//! Tests of the fetchers on real repositories, built by the `git` command in temporary directories. Named after the rows of the
//! threat table that they hold (`c5`, `e3`, `f2` and so on).
#![allow(clippy::unwrap_used)]

mod packs;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use catalogue_schema::path::DocPath;
use catalogue_schema::pointer::{CommitId, LocalPath, Location, RefName, Repository, Revision, Want};
use tempfile::TempDir;

use super::limit::{Budget, Limits};
use super::{Answer, Ask, Fetch, FetchError, Fetched, Origins, file};

/// Mode, name and object id of a tree entry, unchecked.
type RawEntry<'a> = (&'a str, &'a [u8], &'a str);

struct Repo {
    dir: TempDir,
}

impl Repo {
    fn new() -> Repo {
        let repo = Repo { dir: TempDir::new().unwrap() };
        repo.git(&["init", "-q", "-b", "main", "."]);
        repo
    }

    /// A repository with one commit of `catalogue.json` and `packages/a/manifest.json`.
    fn sample() -> (Repo, String) {
        let repo = Repo::new();
        repo.write("catalogue.json", b"{\"catalogue\":1}\n");
        repo.write("packages/a/manifest.json", b"{\"a\":1}\n");
        repo.write("packages/b.txt", b"b\n");
        let commit = repo.commit();
        (repo, commit)
    }

    fn path(&self) -> PathBuf {
        self.dir.path().to_owned()
    }

    fn write(&self, path: &str, bytes: &[u8]) {
        let place = self.dir.path().join(path);
        fs::create_dir_all(place.parent().unwrap()).unwrap();
        fs::write(place, bytes).unwrap();
    }

    fn commit(&self) -> String {
        self.git(&["add", "-A"]);
        self.git(&["commit", "-q", "--allow-empty", "-m", "work"]);
        self.git(&["rev-parse", "HEAD"])
    }

    fn git(&self, arguments: &[&str]) -> String {
        self.git_with(arguments, b"")
    }

    fn git_with(&self, arguments: &[&str], input: &[u8]) -> String {
        let mut child = Command::new("git")
            .args(arguments)
            .current_dir(self.dir.path())
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .envs(["GIT_AUTHOR_NAME", "GIT_COMMITTER_NAME"].map(|key| (key, "Test")))
            .envs(["GIT_AUTHOR_EMAIL", "GIT_COMMITTER_EMAIL"].map(|key| (key, "test@example.org")))
            .envs(["GIT_AUTHOR_DATE", "GIT_COMMITTER_DATE"].map(|key| (key, "2024-01-01T00:00:00Z")))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(input).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// Writes a tree object byte for byte, however bad.
    fn raw_tree(&self, entries: &[RawEntry]) -> String {
        let mut bytes = Vec::new();
        for (mode, name, oid) in entries {
            bytes.extend([mode.as_bytes(), b" ", name, b"\0"].concat());
            bytes.extend(catalogue_schema::digest::unhex(oid).unwrap());
        }
        self.git_with(&["hash-object", "-t", "tree", "--literally", "--stdin", "-w"], &bytes)
    }

    fn blob(&self, bytes: &[u8]) -> String {
        self.git_with(&["hash-object", "--stdin", "-w"], bytes)
    }

    fn commit_of(&self, tree: &str) -> String {
        self.git_with(&["commit-tree", tree], b"work")
    }

    fn loose(&self, oid: &str) -> PathBuf {
        self.dir.path().join(".git/objects").join(&oid[..2]).join(&oid[2..])
    }

    fn location(&self, revision: Revision, path: &str) -> Location {
        let repository = Repository::Local(local(self.dir.path()));
        Location::Git { repository, revision, path: DocPath::parse(path).unwrap() }
    }

    fn at(&self, commit: &str, path: &str) -> Want {
        Want::Blob(self.location(pin(commit), path))
    }

    fn named(&self, name: &str, path: &str) -> Want {
        Want::Blob(self.location(Revision::Ref(RefName::parse(name).unwrap()), path))
    }

    fn refs(&self, prefix: &str) -> Want {
        let repository = Repository::Local(local(self.dir.path()));
        Want::Refs { repository, prefix: RefName::parse(prefix).unwrap() }
    }
}

fn local(path: &Path) -> LocalPath {
    LocalPath::from_path(path).unwrap()
}

fn pin(commit: &str) -> Revision {
    Revision::Commit(CommitId::parse(commit).unwrap())
}

fn budget() -> Budget {
    limited(|_| ())
}

fn limited(change: impl FnOnce(&mut Limits)) -> Budget {
    let mut limits = Limits::default();
    change(&mut limits);
    Budget::new(&limits, Instant::now())
}

fn fetch_all(wants: &[&Want], budget: &Budget) -> Vec<Result<Fetched, FetchError>> {
    let asks: Vec<Ask<'_>> = wants.iter().map(|want| Ask::from(*want)).collect();
    let fetched = |answer| match answer {
        Answer::Fetched(fetched) => fetched,
        Answer::Unchanged => panic!("unchanged, and nothing was known"),
    };
    Origins::default().fetch(&asks, budget).into_iter().map(|answer| answer.map(fetched)).collect()
}

fn fetch_within(want: &Want, budget: &Budget) -> Result<Fetched, FetchError> {
    let mut answers = fetch_all(&[want], budget);
    assert_eq!(answers.len(), 1);
    answers.remove(0)
}

fn fetch(want: &Want) -> Result<Fetched, FetchError> {
    fetch_within(want, &budget())
}

#[track_caller]
fn check_bytes(want: &Want, expected: &[u8]) {
    assert_eq!(fetch(want).unwrap().bytes, expected, "{want}");
}

#[derive(Debug, PartialEq, Eq)]
enum Word {
    Missing,
    Refused,
    Unreachable,
    Limit,
}

/// Checks the variant, the reason, and that expected and found together say `hint`.
#[track_caller]
fn check_error(result: Result<Fetched, FetchError>, word: Word, reason: &str, hint: &str) {
    let error = result.unwrap_err();
    let found = match &error {
        FetchError::Missing(_) => Word::Missing,
        FetchError::Refused(_) => Word::Refused,
        FetchError::Unreachable(_) => Word::Unreachable,
        FetchError::Limit(_) => Word::Limit,
    };
    assert_eq!((found, &*error.refusal().reason), (word, reason), "{error}");
    assert!(error.to_string().contains(hint), "{error} does not say {hint}");
}

#[track_caller]
fn check_refused(want: &Want, reason: &str, hint: &str) {
    check_error(fetch(want), Word::Refused, reason, hint);
}

#[test]
fn f1_a_pinned_blob_arrives_verbatim_with_its_commit_and_id() {
    let (repo, commit) = Repo::sample();
    let fetched = fetch(&repo.at(&commit, "packages/a/manifest.json")).unwrap();
    assert_eq!(fetched.bytes, b"{\"a\":1}\n");
    assert_eq!(fetched.commit.unwrap().as_text(), commit);
    assert_eq!(fetched.blob.unwrap().as_text(), repo.git(&["rev-parse", "HEAD:packages/a/manifest.json"]));
    assert_eq!(fetched.url, format!("file://{}", repo.path().display()));
}

#[test]
fn bare_and_packed_repositories_answer_the_same() {
    let (repo, commit) = Repo::sample();
    repo.git(&["tag", "-a", "v1", "-m", "one"]);
    repo.git(&["gc", "-q", "--prune=now"]);
    assert!(!repo.path().join(".git/refs/heads/main").exists());
    let bare = TempDir::new().unwrap();
    let target = bare.path().join("copy.git");
    repo.git(&["clone", "-q", "--bare", "--no-hardlinks", ".", target.to_str().unwrap()]);
    for place in [repo.path(), repo.path().join(".git"), target] {
        for revision in [pin(&commit), Revision::Head, Revision::Ref(RefName::parse("v1").unwrap())] {
            let repository = Repository::Local(local(&place));
            let path = DocPath::parse("catalogue.json").unwrap();
            let fetched = fetch(&Want::Blob(Location::Git { repository, revision, path })).unwrap();
            assert_eq!(fetched.bytes, b"{\"catalogue\":1}\n");
            assert_eq!(fetched.commit.unwrap().as_text(), commit);
        }
    }
}

#[test]
fn loose_objects_of_every_compression_arrive_verbatim() {
    let repo = Repo::new();
    let text: String =
        (0..20_000u32).map(|n| format!("line {} of {}\n", n.wrapping_mul(2_654_435_761), n % 97)).collect();
    let noise: Vec<u8> =
        (0..100_000u32).map(|n| (n.wrapping_mul(2_654_435_761).wrapping_mul(n | 1) >> 24) as u8).collect();
    let zeros = vec![0; 300_000];
    let rows = [("text", text.as_bytes()), ("noise", &noise), ("zeros", &zeros), ("empty", b"")];
    for (name, content) in rows {
        repo.write(name, content);
    }
    for level in ["0", "1", "9"] {
        repo.git(&["config", "core.looseCompression", level]);
        repo.write("level", level.as_bytes());
        fs::rename(repo.path().join(".git/objects"), repo.path().join(".git/old")).unwrap();
        fs::create_dir(repo.path().join(".git/objects")).unwrap();
        let _ = fs::remove_file(repo.path().join(".git/index"));
        let _ = fs::remove_file(repo.path().join(".git/refs/heads/main"));
        let commit = repo.commit();
        for (name, content) in rows {
            check_bytes(&repo.at(&commit, name), content);
        }
        fs::remove_dir_all(repo.path().join(".git/old")).unwrap();
    }
}

#[test]
fn answers_keep_the_order_of_the_wants() {
    let (one, first) = Repo::sample();
    let two = Repo::new();
    two.write("x", b"x");
    let second = two.commit();
    let wants = [
        two.at(&second, "x"),
        one.at(&first, "packages/b.txt"),
        two.at(&second, "nothing"),
        Want::Blob(Location::File { path: local(&one.path().join("catalogue.json")) }),
        one.at(&first, "catalogue.json"),
    ];
    let wants: Vec<&Want> = wants.iter().collect();
    let answers = fetch_all(&wants, &budget());
    let bytes: Vec<Option<Vec<u8>>> = answers.into_iter().map(|answer| Some(answer.ok()?.bytes)).collect();
    let catalogue = b"{\"catalogue\":1}\n".to_vec();
    assert_eq!(
        bytes,
        [Some(b"x".to_vec()), Some(b"b\n".to_vec()), None, Some(catalogue.clone()), Some(catalogue)]
    );
}

#[test]
fn one_commit_is_read_once_for_many_wants() {
    let (repo, commit) = Repo::sample();
    let one = limited(|limits| limits.total_bytes = 10_000);
    let before = one.for_git_objects().readable_bytes();
    fetch_within(&repo.at(&commit, "packages/b.txt"), &one).unwrap();
    let cost = before - one.for_git_objects().readable_bytes();
    let many = limited(|limits| limits.total_bytes = cost + 2 * 99);
    let want = repo.at(&commit, "packages/b.txt");
    assert!(fetch_all(&[&want; 100], &many).iter().all(Result::is_ok));
    assert_eq!(many.readable_bytes(), 0);
}

#[test]
fn c5_branches_tags_and_head_are_resolved_and_recorded() {
    let (repo, first) = Repo::sample();
    repo.git(&["tag", "-a", "v1", "-m", "one"]);
    repo.git(&["tag", "-a", "v1-again", "-m", "tag of a tag", "v1"]);
    repo.git(&["tag", "light"]);
    repo.write("catalogue.json", b"{}");
    let second = repo.commit();
    let expected = [
        ("v1", &first),
        ("v1-again", &first),
        ("light", &first),
        ("refs/tags/v1", &first),
        ("main", &second),
        ("refs/heads/main", &second),
    ];
    for pass in ["loose", "packed"] {
        for (name, commit) in expected {
            let fetched = fetch(&repo.named(name, "catalogue.json")).unwrap();
            assert_eq!(fetched.commit.unwrap().as_text(), commit, "{name}, {pass}");
        }
        for head in [
            Want::Blob(repo.location(Revision::Head, "catalogue.json")),
            repo.named("HEAD", "catalogue.json"),
        ] {
            assert_eq!(fetch(&head).unwrap().commit.unwrap().as_text(), second);
        }
        repo.git(&["pack-refs", "--all"]);
    }
    repo.git(&["checkout", "-q", "--detach", "v1"]);
    let head = fetch(&Want::Blob(repo.location(Revision::Head, "catalogue.json"))).unwrap();
    assert_eq!(head.commit.unwrap().as_text(), first);
}

#[test]
fn c5_a_ref_that_is_not_there_is_unreachable() {
    let (repo, _) = Repo::sample();
    let result = fetch(&repo.named("gone", "catalogue.json"));
    check_error(
        result,
        Word::Unreachable,
        "git.ref_missing",
        "no refs/heads/gone and no refs/tags/gone; its branches are main",
    );
    let empty = Want::Blob(Repo::new().location(Revision::Head, "x"));
    check_error(fetch(&empty), Word::Unreachable, "git.repository_missing", "nothing there");
    let unborn = Repo::new();
    let want = Want::Blob(unborn.location(Revision::Head, "x"));
    check_error(fetch(&want), Word::Unreachable, "git.ref_missing", "no HEAD; it has no branch");
}

#[test]
fn c5_broken_refs_are_refused() {
    let (repo, _) = Repo::sample();
    let long = "a".repeat(2000);
    for (content, reason) in [
        ("hello", "git.bad_ref"),
        (&long, "git.bad_ref"),
        ("ref: ../../x", "git.bad_ref"),
        ("ref: refs/heads/loop", "git.bad_ref"),
        (&"a".repeat(64), "git.object_format"),
    ] {
        repo.write(".git/refs/heads/loop", content.as_bytes());
        check_refused(&repo.named("loop", "catalogue.json"), reason, "loop");
    }
}

#[test]
fn c8_a_big_blob_is_refused_by_its_header() {
    let repo = Repo::new();
    repo.write("big", &vec![b'x'; 3 << 20]);
    let commit = repo.commit();
    let oid = repo.git(&["rev-parse", "HEAD:big"]);
    // The content is cut off behind its header: only a reader of the whole object would notice.
    let loose = repo.loose(&oid);
    let bytes = fs::read(&loose).unwrap();
    fs::remove_file(&loose).unwrap();
    fs::write(&loose, &bytes[..bytes.len() / 2]).unwrap();
    let want = repo.at(&commit, "big");
    let result = fetch_within(&want, &budget().for_release_documents());
    check_error(result, Word::Limit, "limit.release_document_bytes", "3145728 bytes");
    let result = fetch_within(&want, &limited(|limits| limits.catalogue_bytes = 1 << 20));
    check_error(result, Word::Limit, "limit.catalogue_bytes", "limits.catalogue_bytes");
    let result = fetch_within(&want, &limited(|limits| limits.total_bytes = 1 << 20));
    check_error(result, Word::Limit, "limit.total_bytes", "limits.total_bytes");
    check_refused(&want, "git.corrupt", &oid);
}

#[test]
fn c8_documents_trees_and_time_are_limited() {
    let (repo, commit) = Repo::sample();
    let want = repo.at(&commit, "catalogue.json");
    let tight = limited(|limits| limits.documents = 2);
    let answers = fetch_all(&[&want, &want, &want], &tight);
    assert_eq!(answers.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, true, false]);
    let result = fetch_within(&want, &limited(|limits| limits.git_object_bytes = 10));
    check_error(result, Word::Limit, "limit.git_object_bytes", "limits.git_object_bytes");
    let result = fetch_within(&want, &limited(|limits| limits.total_s = 0));
    check_error(result, Word::Limit, "limit.total_s", "limits.total_s");
}

#[test]
fn f2_hostile_names_anywhere_in_a_tree_are_refused() {
    let repo = Repo::new();
    let blob = repo.blob(b"x");
    let names: [&[u8]; 17] = [
        b"",
        b".",
        b"..",
        b".git",
        b".GIT",
        b".git.",
        b".git ",
        b".git::$INDEX_ALLOCATION",
        b"git~1",
        b"GIT~1",
        ".g\u{200c}it".as_bytes(),
        b"a/b",
        b"/etc",
        b"..\\x",
        b"a\\b",
        b"a\nb",
        b"a\x7fb",
    ];
    for name in names {
        let mut entries = vec![("100644", name, &*blob), ("100644", b"catalogue.json", &*blob)];
        entries.sort_by_key(|entry| entry.1);
        let commit = repo.commit_of(&repo.raw_tree(&entries));
        check_refused(&repo.at(&commit, "catalogue.json"), "git.bad_tree", "in tree");
    }
}

#[test]
fn f2_unusual_names_beside_the_path_do_no_harm() {
    let repo = Repo::new();
    for name in ["with space", "é", "quote\"", "NUL", ".gitignore", ".gitattributes", "git~12"] {
        repo.write(name, b"");
    }
    repo.write("d/catalogue.json", b"{}");
    let commit = repo.commit();
    check_bytes(&repo.at(&commit, "d/catalogue.json"), b"{}");
}

#[test]
fn f3_symlinks_submodules_and_directories_are_not_blobs() {
    let repo = Repo::new();
    let blob = repo.blob(b"/etc/passwd");
    let other = "1111111111111111111111111111111111111111";
    repo.write("dir/x", b"");
    repo.git(&["update-index", "--add", "--cacheinfo", &format!("120000,{blob},link")]);
    repo.git(&["update-index", "--add", "--cacheinfo", &format!("160000,{other},module")]);
    repo.git(&["add", "dir"]);
    let tree = repo.git(&["write-tree"]);
    let commit = repo.commit_of(&tree);
    for (path, hint) in [
        ("link", "\"link\" is a symlink; name the file that it leads to"),
        ("link/x", "\"link\" is a symlink"),
        ("module", "\"module\" is a submodule; name the repository"),
        ("module/x", "\"module\" is a submodule"),
        ("dir", "\"dir\" is a directory; name a file in it"),
    ] {
        check_refused(&repo.at(&commit, path), "git.not_a_blob", hint);
    }
    let odd = repo.commit_of(&repo.raw_tree(&[("100600", b"odd", &blob)]));
    check_refused(&repo.at(&odd, "odd"), "git.not_a_blob", "mode 100600");
}

#[test]
fn f4_a_pin_must_be_a_commit() {
    let (repo, commit) = Repo::sample();
    repo.git(&["tag", "-a", "v1", "-m", "one"]);
    for (revision, hint) in [("v1", "a tag"), ("HEAD^{tree}", "a tree"), ("HEAD:catalogue.json", "a blob")] {
        let oid = repo.git(&["rev-parse", revision]);
        check_refused(&repo.at(&oid, "catalogue.json"), "git.not_a_commit", hint);
    }
    let tag = repo.git(&["rev-parse", "v1"]);
    check_refused(
        &repo.at(&tag, "catalogue.json"),
        "git.not_a_commit",
        &format!("a tag of commit {commit}; pin that"),
    );
    repo.git(&["tag", "-a", "of-a-tree", "-m", "tree", "HEAD^{tree}"]);
    check_refused(&repo.named("of-a-tree", "catalogue.json"), "git.not_a_commit", "a tree");
    let absent = "2222222222222222222222222222222222222222";
    let result = fetch(&repo.at(absent, "catalogue.json"));
    check_error(result, Word::Unreachable, "git.commit_missing", absent);
    let sha256 = format!("{commit}{}", "0".repeat(24));
    check_refused(&repo.at(&sha256, "catalogue.json"), "git.object_format", "40 digits");
}

#[test]
fn f5_a_large_file_pointer_is_refused() {
    let repo = Repo::new();
    repo.write("catalogue.json", b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n");
    let commit = repo.commit();
    check_refused(&repo.at(&commit, "catalogue.json"), "git.lfs_pointer", "LFS");
}

#[test]
fn f6_attributes_change_no_byte() {
    let repo = Repo::new();
    repo.write(".gitattributes", b"*.json ident eol=crlf\n");
    repo.write("catalogue.json", b"{\"id\":\"$Id$\"}\n");
    let commit = repo.commit();
    check_bytes(&repo.at(&commit, "catalogue.json"), b"{\"id\":\"$Id$\"}\n");
}

#[test]
fn f7_submodules_are_neither_read_nor_run() {
    let repo = Repo::new();
    let canary = repo.path().join("canary");
    let run = format!("touch {}", canary.display());
    let modules = format!(
        "[submodule \"a\"]\n\tpath = module\r\n\turl = ext::sh -c \"{run}\"\n\tupdate = !{run}\n\
         [submodule \"../../b\"]\n\tpath = -u./x\n\turl = --upload-pack={run}\n\tfetchRecurseSubmodules = true\n"
    );
    repo.write(".gitmodules", modules.as_bytes());
    repo.write("catalogue.json", b"{}");
    let inside = "1111111111111111111111111111111111111111";
    repo.git(&["add", ".gitmodules", "catalogue.json"]);
    repo.git(&["update-index", "--add", "--cacheinfo", &format!("160000,{inside},module")]);
    let commit = repo.commit_of(&repo.git(&["write-tree"]));
    check_bytes(&repo.at(&commit, "catalogue.json"), b"{}");
    for path in ["module", "module/a.json"] {
        check_refused(&repo.at(&commit, path), "git.not_a_blob", "a submodule");
    }
    assert!(!canary.exists(), "nobody ran what the repository says");
}

#[test]
fn f8_unsorted_doubled_and_cut_trees_are_refused() {
    let repo = Repo::new();
    let blob = repo.blob(b"x");
    let empty = repo.git(&["mktree"]);
    let tables: [(&[RawEntry], &str); 4] = [
        (&[("100644", b"b", &blob), ("100644", b"a", &blob)], "out of order"),
        (&[("40000", b"a", &empty), ("100644", b"a.b", &blob)], "out of order"),
        (&[("100644", b"a", &blob), ("100644", b"a", &blob)], "stands twice"),
        (&[("100644", b"a", &blob), ("100644", b"a.b", &blob), ("40000", b"a", &empty)], "stands twice"),
    ];
    for (entries, hint) in tables {
        let commit = repo.commit_of(&repo.raw_tree(entries));
        check_refused(&repo.at(&commit, "a"), "git.bad_tree", hint);
    }
    for raw in [&b"100644 a\0short"[..], b"100644", b"9 a\0", b" a\0aaaaaaaaaaaaaaaaaaaa", b"123456789 a\0"] {
        let tree = repo.git_with(&["hash-object", "-t", "tree", "--literally", "--stdin", "-w"], raw);
        check_refused(&repo.at(&repo.commit_of(&tree), "a"), "git.bad_tree", "malformed");
    }
}

#[test]
fn f8_case_twins_of_the_path_are_ambiguous() {
    let repo = Repo::new();
    let blob = repo.blob(b"x");
    let inner = repo.raw_tree(&[("100644", b"x", &blob)]);
    let root = repo.raw_tree(&[
        ("100644", b"Catalogue.json", &blob),
        ("40000", b"DIR", &inner),
        ("100644", b"alone.JSON", &blob),
        ("100644", b"catalogue.json", &blob),
        ("40000", b"dir", &inner),
        ("100644", b"other", &blob),
    ]);
    let commit = repo.commit_of(&root);
    check_refused(&repo.at(&commit, "catalogue.json"), "git.ambiguous_path", "Catalogue.json");
    check_refused(&repo.at(&commit, "dir/x"), "git.ambiguous_path", "DIR");
    check_bytes(&repo.at(&commit, "other"), b"x");
    check_error(fetch(&repo.at(&commit, "alone.json")), Word::Missing, "file_missing", "alone.json");
}

#[test]
fn f9_borrowed_objects_grafts_and_replacements_are_refused() {
    let rows = [
        ("objects/info/alternates", "/elsewhere\n", "git repack"),
        ("objects/info/http-alternates", "", "borrowed"),
        ("info/grafts", "", "grafts"),
        ("commondir", "..", "linked work tree"),
        ("reftable/tables.list", "", "reftable"),
        ("refs/replace/1111111111111111111111111111111111111111", "x", "git replace -d"),
        (
            "packed-refs",
            "1111111111111111111111111111111111111111 refs/replace/2222222222222222222222222222222222222222\n",
            "git replace -d",
        ),
    ];
    for (place, content, hint) in rows {
        let (repo, commit) = Repo::sample();
        repo.write(&format!(".git/{place}"), content.as_bytes());
        check_refused(&repo.at(&commit, "catalogue.json"), "git.unsafe_layout", hint);
    }
}

#[test]
fn f9_a_git_directory_that_lies_elsewhere_is_refused() {
    let (repo, commit) = Repo::sample();
    repo.git(&["worktree", "add", "-q", "linked"]);
    let path = DocPath::parse("catalogue.json").unwrap();
    let at = |place: &Path| {
        let repository = Repository::Local(local(place));
        Want::Blob(Location::Git { repository, revision: pin(&commit), path: path.clone() })
    };
    let hint = format!("leads to \"{}/.git/worktrees/linked\" (a linked", repo.path().display());
    check_refused(&at(&repo.path().join("linked")), "git.unsafe_layout", &hint);
    let linked = TempDir::new().unwrap();
    std::os::unix::fs::symlink(repo.path().join(".git"), linked.path().join(".git")).unwrap();
    check_refused(&at(linked.path()), "git.unsafe_layout", "a symlink");
    fs::rename(repo.path().join(".git/objects"), repo.path().join("moved")).unwrap();
    std::os::unix::fs::symlink(repo.path().join("moved"), repo.path().join(".git/objects")).unwrap();
    check_refused(&at(&repo.path()), "git.unsafe_layout", "a symlink");
}

#[test]
fn f9_a_ref_that_is_a_symlink_is_refused() {
    let (repo, _) = Repo::sample();
    std::os::unix::fs::symlink("/etc/passwd", repo.path().join(".git/refs/heads/link")).unwrap();
    check_refused(&repo.named("link", "catalogue.json"), "git.unsafe_layout", "a symlink");
}

#[test]
fn f9_configuration_and_hooks_are_not_read() {
    let (repo, commit) = Repo::sample();
    repo.write(".git/config", b"[this is no configuration");
    repo.write(".git/hooks/post-checkout", b"#!/bin/sh\ntouch canary\n");
    check_bytes(&repo.at(&commit, "catalogue.json"), b"{\"catalogue\":1}\n");
    assert!(!repo.path().join("canary").exists());
}

#[test]
fn f9_a_foreign_owner_is_refused() {
    if !rustix::process::geteuid().is_root() {
        return; // Only root can give a directory away.
    }
    for place in [".git", ".git/objects"] {
        let (repo, commit) = Repo::sample();
        std::os::unix::fs::chown(repo.path().join(place), Some(12345), None).unwrap();
        check_refused(&repo.at(&commit, "catalogue.json"), "git.unsafe_owner", "user 12345");
    }
}

#[test]
fn f9_a_missing_repository_is_unreachable() {
    let dir = TempDir::new().unwrap();
    for (place, hint) in [(dir.path().to_owned(), "neither"), (dir.path().join("gone"), "nothing there")] {
        let repository = Repository::Local(local(&place));
        let path = DocPath::parse("x").unwrap();
        let want = Want::Blob(Location::Git { repository, revision: Revision::Head, path });
        check_error(fetch(&want), Word::Unreachable, "git.repository_missing", hint);
    }
}

#[test]
fn f10_damaged_and_missing_objects_are_corrupt() {
    let (repo, commit) = Repo::sample();
    let rows = [("HEAD:catalogue.json", "blob"), ("HEAD^{tree}", "tree"), ("HEAD", "commit")];
    for (name, kind) in rows {
        let oid = repo.git(&["rev-parse", name]);
        let loose = repo.loose(&oid);
        let good = fs::read(&loose).unwrap();
        fs::remove_file(&loose).unwrap();
        // Every byte in turn: whatever still inflates must fail the comparison with the id.
        for index in 0..good.len() {
            let mut bad = good.clone();
            bad[index] ^= 0x55;
            fs::write(&loose, &bad).unwrap();
            match fetch(&repo.at(&commit, "catalogue.json")) {
                // The same content may be compressed in another way; anything else is refused.
                Ok(fetched) => assert_eq!(fetched.bytes, b"{\"catalogue\":1}\n"),
                Err(FetchError::Refused(refusal)) => {
                    assert!(matches!(&*refusal.reason, "git.corrupt" | "git.not_a_commit"), "{refusal}");
                }
                Err(FetchError::Limit(_)) => {}
                Err(error) => panic!("{kind}, byte {index}: {error}"),
            }
        }
        fs::remove_file(&loose).unwrap();
        let (word, reason) = match kind {
            "commit" => (Word::Unreachable, "git.commit_missing"),
            _ => (Word::Refused, "git.corrupt"),
        };
        check_error(fetch(&repo.at(&commit, "catalogue.json")), word, reason, &oid);
        fs::write(&loose, &good).unwrap();
    }
    // A good object under another object's name.
    let (one, two) = (repo.blob(b"one"), repo.git(&["rev-parse", "HEAD:catalogue.json"]));
    fs::remove_file(repo.loose(&two)).unwrap();
    fs::copy(repo.loose(&one), repo.loose(&two)).unwrap();
    check_refused(&repo.at(&commit, "catalogue.json"), "git.corrupt", &two);
}

#[test]
fn f10_an_entry_that_lies_about_its_kind_is_corrupt() {
    let repo = Repo::new();
    let empty = repo.git(&["mktree"]);
    let blob = repo.blob(b"x");
    let tree = repo.raw_tree(&[("40000", b"dir", &blob), ("100644", b"file", &empty)]);
    let commit = repo.commit_of(&tree);
    check_refused(&repo.at(&commit, "file"), "git.corrupt", "not a blob");
    check_refused(&repo.at(&commit, "dir/x"), "git.corrupt", "not a tree");
}

#[test]
fn f12_a_tree_bomb_costs_the_path_only_and_its_listing_is_refused() {
    let repo = Repo::new();
    let mut oid = repo.blob(b"x");
    let mut mode = "100644";
    for _ in 0..10 {
        let names = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"];
        let entries: Vec<RawEntry> = names.map(|name| (mode, name.as_bytes(), &*oid)).to_vec();
        oid = repo.raw_tree(&entries);
        mode = "40000";
    }
    let commit = repo.commit_of(&oid);
    let small = limited(|limits| limits.total_bytes = 1 << 16);
    let fetched = fetch_within(&repo.at(&commit, "a/b/c/d/e/f/g/h/i/j"), &small).unwrap();
    assert_eq!(fetched.bytes, b"x");
    let want = Want::Tree { location: repo.location(pin(&commit), "a"), depth: 32 };
    let result = fetch_within(&want, &limited(|limits| limits.documents = 5000));
    check_error(result, Word::Limit, "limit.documents", "limits.documents");
    let result = fetch_within(&want, &limited(|limits| limits.catalogue_bytes = 5000));
    check_error(result, Word::Limit, "limit.catalogue_bytes", "limits.catalogue_bytes");
}

#[test]
fn f12_paths_and_listings_have_at_most_32_levels() {
    let repo = Repo::new();
    let deep = vec!["d"; 32].join("/");
    repo.write(&format!("{}/x", &deep[2..]), b"deep");
    let commit = repo.commit();
    check_bytes(&repo.at(&commit, &format!("{}/x", &deep[2..])), b"deep");
    assert!(DocPath::parse(&format!("{deep}/x")).is_err());
    for depth in [0, 33] {
        let want = Want::Tree { location: repo.location(pin(&commit), "d"), depth };
        check_error(fetch(&want), Word::Limit, "limit.listing_levels", "1 to 32");
    }
}

#[test]
fn a_path_that_is_not_there_is_missing() {
    let (repo, commit) = Repo::sample();
    for path in ["gone", "packages/gone", "packages/a/manifest.json/x", "gone/a"] {
        check_error(
            fetch(&repo.at(&commit, path)),
            Word::Missing,
            "file_missing",
            path.split('/').next().unwrap(),
        );
    }
}

#[test]
fn a_listing_has_sorted_lines_down_to_its_depth() {
    let (repo, _) = Repo::sample();
    repo.write("packages/a/é b", b"");
    repo.write("packages/a-b/x", b"");
    let commit = repo.commit();
    let id = |path: &str| repo.git(&["rev-parse", &format!("HEAD:{path}")]);
    let empty = id("packages/a-b/x");
    let (a, a_b, b) = (id("packages/a"), id("packages/a-b"), id("packages/b.txt"));
    let manifest = id("packages/a/manifest.json");
    let rows = [
        (
            1,
            format!(
                "040000 tree {a} packages/a\n040000 tree {a_b} packages/a-b\n100644 blob {b} packages/b.txt\n"
            ),
        ),
        (
            2,
            format!(
                "040000 tree {a} packages/a\n040000 tree {a_b} packages/a-b\n100644 blob {empty} packages/a-b/x\n\
                 100644 blob {manifest} packages/a/manifest.json\n\
                 100644 blob {empty} \"packages/a/\\303\\251 b\"\n100644 blob {b} packages/b.txt\n"
            ),
        ),
    ];
    for (depth, expected) in rows {
        let fetched =
            fetch(&Want::Tree { location: repo.location(pin(&commit), "packages"), depth }).unwrap();
        assert_eq!(String::from_utf8(fetched.bytes).unwrap(), expected);
        assert_eq!(fetched.commit.unwrap().as_text(), commit);
        assert_eq!(fetched.blob.unwrap().as_text(), id("packages"));
    }
    let want = Want::Tree { location: repo.location(pin(&commit), "packages/b.txt"), depth: 1 };
    check_refused(&want, "git.not_a_tree", "a file");
}

#[test]
fn refs_are_listed_sorted_with_their_commits() {
    let (repo, first) = Repo::sample();
    repo.git(&["tag", "-a", "v1", "-m", "one"]);
    repo.git(&["branch", "feature/x"]);
    repo.git(&["pack-refs", "--all"]);
    repo.write("catalogue.json", b"{}");
    let second = repo.commit();
    repo.git(&["tag", "v2"]);
    repo.git(&["tag", "a-tree", "HEAD^{tree}"]);
    repo.write(".git/refs/tags/broken", b"hello");
    let rows = [
        ("refs/heads", format!("{first} refs/heads/feature/x\n{second} refs/heads/main\n")),
        ("refs/heads/fea", format!("{first} refs/heads/feature/x\n")),
        ("refs/tags", format!("{first} refs/tags/v1\n{second} refs/tags/v2\n")),
        ("refs/nothing", String::new()),
    ];
    for (prefix, expected) in rows {
        let fetched = fetch(&repo.refs(prefix)).unwrap();
        assert_eq!(String::from_utf8(fetched.bytes).unwrap(), expected, "{prefix}");
    }
    let result = fetch_within(&repo.refs("refs/heads"), &limited(|limits| limits.documents = 2));
    check_error(result, Word::Limit, "limit.documents", "limits.documents");
}

#[test]
fn a_batch_sees_one_commit_of_a_branch() {
    let (repo, commit) = Repo::sample();
    let wants = [repo.named("main", "catalogue.json"), repo.named("main", "packages/b.txt")];
    let wants: Vec<&Want> = wants.iter().collect();
    for answer in fetch_all(&wants, &budget()) {
        assert_eq!(answer.unwrap().commit.unwrap().as_text(), commit);
    }
}

#[test]
fn files_are_read_whole_or_not_at_all() {
    let dir = TempDir::new().unwrap();
    let at = |name: &str| Want::Blob(Location::File { path: local(&dir.path().join(name)) });
    fs::write(dir.path().join("a.json"), b"12345").unwrap();
    std::os::unix::fs::symlink("a.json", dir.path().join("link.json")).unwrap();
    std::os::unix::fs::symlink("circle", dir.path().join("circle")).unwrap();
    let fetched = fetch(&at("a.json")).unwrap();
    assert_eq!(fetched.bytes, b"12345");
    assert_eq!(fetched.url, format!("file://{}/a.json", dir.path().display()));
    assert_eq!((fetched.commit, fetched.blob), (None, None));
    check_bytes(&at("link.json"), b"12345");
    check_error(fetch(&at("gone")), Word::Missing, "file_missing", "gone");
    check_error(fetch(&at("a.json/x")), Word::Missing, "file_missing", "a.json/x");
    check_error(fetch(&at("circle")), Word::Unreachable, "file.unreadable", "circle");
    let result = fetch_within(&at("a.json"), &limited(|limits| limits.catalogue_bytes = 4));
    check_error(result, Word::Limit, "limit.catalogue_bytes", "5 bytes");
    let result = fetch_within(&at("a.json"), &limited(|limits| limits.total_bytes = 4));
    check_error(result, Word::Limit, "limit.total_bytes", "5 more with 4 left");
}

#[test]
fn what_is_no_file_is_refused_without_waiting() {
    let dir = TempDir::new().unwrap();
    let fifo = dir.path().join("fifo");
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    let socket = dir.path().join("socket");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    for place in [dir.path(), &fifo, &socket, Path::new("/dev/zero")] {
        check_refused(
            &Want::Blob(Location::File { path: local(place) }),
            "file.not_a_file",
            "a regular file",
        );
    }
    let want = Want::History {
        repository: Repository::Local(local(dir.path())),
        commit: CommitId::parse(&"0".repeat(40)).unwrap(),
        commits_max: 1,
    };
    let refused = file::fetch(&want, &budget()).unwrap_err();
    assert_eq!(refused.refusal().reason, "file.not_git");
}

#[test]
fn a_directory_is_listed_without_its_links() {
    let dir = tempfile::tempdir().unwrap();
    let top = dir.path().join("index");
    std::fs::create_dir_all(top.join("b/x/1.0.0")).unwrap();
    std::fs::create_dir_all(top.join("a-b")).unwrap();
    std::fs::write(top.join("b/x/metadata.json"), "{}").unwrap();
    std::fs::write(top.join("a \"quoted\""), "").unwrap();
    std::os::unix::fs::symlink(&top, top.join("b/loop")).unwrap();
    let listed = |path: &Path, depth: u8| {
        let want = Want::Tree { location: Location::File { path: local(path) }, depth };
        file::fetch(&want, &budget()).map(|fetched| String::from_utf8(fetched.bytes).unwrap())
    };
    let zeros = "0".repeat(40);
    let tree = |path: &str| format!("040000 tree {zeros} {path}\n");
    let file = format!("100644 blob {zeros} index/b/x/metadata.json\n");
    assert_eq!(listed(&top, 1).unwrap(), [tree("index/a-b"), tree("index/b")].concat());
    let all = [tree("index/a-b"), tree("index/b"), tree("index/b/x"), tree("index/b/x/1.0.0"), file];
    assert_eq!(listed(&top, 3).unwrap(), all.concat());
    let reason = |path: &Path| listed(path, 1).unwrap_err().refusal().reason.clone();
    assert_eq!(reason(&top.join("none")), "file_missing");
    assert_eq!(reason(&top.join("b/x/metadata.json")), "file.not_a_directory");
    let tight = Limits { documents: 1, ..Limits::default() };
    let want = Want::Tree { location: Location::File { path: local(&top) }, depth: 3 };
    let refused = file::fetch(&want, &Budget::new(&tight, Instant::now())).unwrap_err();
    assert_eq!(refused.refusal().reason, "limit.documents");
}
