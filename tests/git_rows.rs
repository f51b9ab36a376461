//! Git objects that lie, row by row of the list of threats, as the API tells them: a real daemon reads the same hostile repository
//! in place and through a real `git http-backend`, and what became of every catalogue is read from the socket. A good catalogue
//! stands beside the bad ones in every case, and is served.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use catalogue_schema::digest::unhex;
use serde_json::{Value, json};

use crate::harness::daemon::{Daemon, Sandbox};
use crate::harness::lcod::{Component, all_files, array, catalogues, pointer};
use crate::harness::place;
use crate::harness::repository::{Files, Repository, write};
use crate::harness::tls::{GitMount, Logged, Route, TlsServer};

/// A catalogue without components.
const EMPTY: &[u8] = br#"{"schema":"lcod-registry/catalogue@1","id":"x","components":[]}"#;
const GOOD: &str = "lcod://acme/good";

/// A repository that two sources point into: `here` in place, `wire` through a server.
struct Forge {
    sandbox: Sandbox,
    server: TlsServer,
    bare: PathBuf,
    good: String,
}

/// A catalogue to read: its name, the commit that pins it, its path.
type Pinned<'a> = (&'a str, &'a str, &'a str);

/// Mode, name and object id of an entry of a tree.
type Entry<'a> = (&'a str, &'a [u8], &'a str);

impl Forge {
    fn new() -> Forge {
        Forge::with("")
    }

    /// The same with more lines in its configuration.
    fn with(more: &str) -> Forge {
        let (sandbox, server) = (Sandbox::new(), TlsServer::start());
        let work = Repository::create(&sandbox.path("work"));
        let one = [Component::new(GOOD, "1.0.0", &[])];
        let mut files = all_files(&one);
        files.insert("good.json".to_owned(), array(&one));
        let good = work.commit(&files);
        fs::create_dir_all(sandbox.path("served")).unwrap();
        let bare = work.bare_clone(&sandbox.path("served/r.git")).path;
        place::git(&bare, &["config", "uploadpack.allowFilter", "true"]);
        let home = sandbox.path("config/resolverd");
        let ca_file = server.ca_file().display().to_string();
        let config = format!("[https]\nca_file = {ca_file:?}\nproxy = \"none\"\n{more}");
        write(&home, &Files::from([("config.toml".to_owned(), config.into_bytes())]));
        let sources = json!({ "sources": [
            { "id": "here", "path": sandbox.path("here.json") },
            { "id": "wire", "url": server.url("/wire.json") },
        ]});
        sandbox.write_sources(&sources);
        let forge = Forge { sandbox, server, bare, good };
        forge.mount(|mount| mount);
        forge
    }

    fn mount(&self, change: impl FnOnce(GitMount) -> GitMount) {
        self.server.mount("/git", change(GitMount::of(&self.sandbox.path("served"))));
    }

    fn url(&self, place: &str) -> String {
        match place {
            "here" => format!("file://{}", self.bare.display()),
            _ => self.server.url("/git/r.git"),
        }
    }

    fn git(&self, arguments: &[&str]) -> String {
        place::git(&self.bare, arguments).trim().to_owned()
    }

    /// Writes an object byte for byte, however bad.
    fn object(&self, kind: &str, bytes: &[u8]) -> String {
        fs::write(self.sandbox.path("object"), bytes).unwrap();
        let file = self.sandbox.path("object").display().to_string();
        self.git(&["hash-object", "-t", kind, "--literally", "-w", &file])
    }

    fn tree(&self, entries: &[Entry<'_>]) -> String {
        let one =
            |(mode, name, id): &Entry<'_>| [mode.as_bytes(), b" ", name, b"\0", &unhex(id).unwrap()].concat();
        self.object("tree", &entries.iter().flat_map(one).collect::<Vec<u8>>())
    }

    /// Commits a tree with these entries.
    fn commit(&self, entries: &[Entry<'_>]) -> String {
        let tree = self.tree(entries);
        self.git(&["commit-tree", "-m", "work", &tree])
    }

    fn loose(&self, id: &str) -> PathBuf {
        self.bare.join("objects").join(&id[..2]).join(&id[2..])
    }

    /// Publishes both lists: the good catalogue, and what is to be looked at.
    fn publish(&self, pinned: &[Pinned<'_>]) {
        for place in ["here", "wire"] {
            let good = ("good", self.good.as_str(), "good.json");
            let of = |(name, commit, path): &Pinned<'_>| {
                pointer(&format!("{name}-{place}"), &self.url(place), commit, path)
            };
            let rows: Vec<Value> = [good].iter().chain(pinned).map(of).collect();
            self.list(place, &rows);
        }
    }

    fn list(&self, place: &str, rows: &[Value]) {
        match place {
            "here" => fs::write(self.sandbox.path("here.json"), catalogues(rows)).unwrap(),
            _ => self.server.put("/wire.json", &catalogues(rows)),
        }
    }

    /// Reads what was published; the good catalogue must be served.
    fn read(&self) -> Daemon {
        let daemon = self.sandbox.start_synced();
        assert_eq!(daemon.ids(), [GOOD], "{:#}", daemon.get("/v1/catalogues").ok());
        daemon
    }

    /// Publishes, reads, and compares what became of each catalogue: why it is refused, or `fresh`.
    #[track_caller]
    fn check(&self, pinned: &[Pinned<'_>], expected: &[(&str, &str)]) -> Daemon {
        self.publish(pinned);
        let daemon = self.read();
        for ((name, ..), (here, wire)) in pinned.iter().zip(expected) {
            assert_eq!(told(&daemon, &format!("{name}-here")), *here, "{name}, in place");
            assert_eq!(told(&daemon, &format!("{name}-wire")), *wire, "{name}, over the wire");
        }
        assert_eq!(pinned.len(), expected.len());
        daemon
    }

    /// The same where both places say the same.
    #[track_caller]
    fn check_all(&self, pinned: &[Pinned<'_>], expected: &str) -> Daemon {
        self.check(pinned, &vec![(expected, expected); pinned.len()])
    }

    /// Lets the server answer whoever wants one object with another one, or with one that Git itself would not send.
    fn lie(&self, lies: &[(&str, &str)]) {
        let lies: HashMap<String, String> =
            lies.iter().map(|(wanted, given)| ((*wanted).to_owned(), (*given).to_owned())).collect();
        let bare = self.bare.clone();
        self.mount(move |mount| {
            mount.before(move |request| {
                let wants = wants(request);
                wants.iter().any(|id| lies.contains_key(id)).then(|| {
                    let given: Vec<&str> =
                        wants.iter().map(|id| lies.get(id).unwrap_or(id).as_str()).collect();
                    answer(&packed(&bare, &given))
                })
            })
        });
    }
}

/// Returns what a request of the protocol wants.
fn wants(request: &Logged) -> Vec<String> {
    let text = String::from_utf8_lossy(&request.body);
    text.split("want ").skip(1).map(|rest| rest[..40].to_owned()).collect()
}

/// Packs objects as they are, without a look into them.
fn packed(bare: &Path, ids: &[&str]) -> Vec<u8> {
    let list = bare.join(format!("wanted-{}", ids[0]));
    fs::write(&list, ids.join("\n") + "\n").unwrap();
    let line = format!("alias.p=!git pack-objects -q made < {}", list.display());
    let name = place::git(bare, &["-c", &line, "p"]);
    fs::read(bare.join(format!("made-{}.pack", name.trim()))).unwrap()
}

/// Returns the answer to a fetch with this pack.
fn answer(pack: &[u8]) -> Route {
    let mut body = b"000dpackfile\n".to_vec();
    for piece in pack.chunks(60_000) {
        body.extend(format!("{:04x}\x01", piece.len() + 5).bytes());
        body.extend_from_slice(piece);
    }
    body.extend(b"0000");
    Route::Answer(200, vec!["content-type: application/x-git-upload-pack-result".to_owned()], body)
}

/// Returns what became of a catalogue.
fn told(daemon: &Daemon, name: &str) -> String {
    let row = daemon.catalogue(name);
    row["error"]["reason"].as_str().unwrap_or(row["state"].as_str().unwrap_or_default()).to_owned()
}

/// Returns what a refusal says was found.
fn found(daemon: &Daemon, name: &str) -> String {
    daemon.catalogue(name)["error"]["found"].as_str().unwrap_or_default().to_owned()
}

#[test]
fn f1_a_pin_that_cannot_be_checked_or_does_not_hold() {
    let forge = Forge::new();
    let blob = forge.object("blob", EMPTY);
    let commit = forge.commit(&[("100644", b"c.json", &blob)]);
    let other = forge.object("blob", br#"{"schema":"lcod-registry/catalogue@1","id":"y","components":[]}"#);
    // The server names the blob that is wanted, and sends another one.
    forge.lie(&[(&blob, &other)]);
    forge.publish(&[("swapped", &commit, "c.json")]);
    let plain = forge.server.url(&format!("/raw/{commit}/c.json"));
    forge.server.put(&format!("/raw/{commit}/c.json"), EMPTY);
    let unpinned = json!({ "id": "unpinned", "kind": "https", "url": plain, "commit": commit });
    let rows = [
        pointer("swapped-wire", &forge.url("wire"), &commit, "c.json"),
        pointer("good-wire", &forge.url("wire"), &forge.good, "good.json"),
        unpinned,
    ];
    forge.list("wire", &rows);
    let daemon = forge.read();
    assert_eq!(told(&daemon, "swapped-here"), "fresh");
    assert_eq!(told(&daemon, "swapped-wire"), "git.bad_pack", "{:#}", daemon.catalogue("swapped-wire"));
    // A commit beside a plain file proves nothing, whatever its address looks like.
    assert_eq!(told(&daemon, "unpinned"), "input.commit", "{:#}", daemon.catalogue("unpinned"));
    assert!(!forge.server.lines().iter().any(|line| line.contains("/raw/")), "it is not even asked for");
}

#[test]
fn f2_hostile_names_in_a_tree() {
    let forge = Forge::new();
    let blob = forge.object("blob", EMPTY);
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
    let mut lies = Vec::new();
    let commits: Vec<(String, String)> = names
        .iter()
        .enumerate()
        .map(|(at, name)| {
            let mut entries = vec![("100644", *name, &*blob), ("100644", b"catalogue.json", &*blob)];
            entries.sort_by_key(|entry| entry.1);
            let tree = forge.tree(&entries);
            lies.push(tree.clone());
            (format!("name{at}"), forge.git(&["commit-tree", "-m", "work", &tree]))
        })
        .collect();
    // Git itself would send most of them, and die of some.
    forge.lie(&lies.iter().map(|tree| (tree.as_str(), tree.as_str())).collect::<Vec<_>>());
    let pinned: Vec<Pinned<'_>> =
        commits.iter().map(|(name, commit)| (name.as_str(), commit.as_str(), "catalogue.json")).collect();
    forge.check_all(&pinned, "git.bad_tree");
}

#[test]
fn f3_what_is_no_file_in_a_tree() {
    let forge = Forge::new();
    let link = forge.object("blob", b"/etc/passwd");
    let file = forge.object("blob", EMPTY);
    let inner = forge.tree(&[("100644", b"x.json", &file)]);
    let commit = forge.commit(&[
        ("40000", b"dir", &inner),
        ("120000", b"link.json", &link),
        ("160000", b"module", &"1".repeat(40)),
        ("100600", b"odd.json", &file),
    ]);
    let paths = ["link.json", "link.json/x", "module", "module/x.json", "dir", "odd.json"];
    let names = ["link", "below-link", "module", "below-module", "dir", "odd"];
    let pinned: Vec<Pinned<'_>> =
        names.iter().zip(paths).map(|(name, path)| (*name, commit.as_str(), path)).collect();
    let daemon = forge.check_all(&pinned, "git.not_a_blob");
    let row = daemon.catalogue("link-wire").to_string();
    assert!(
        row.contains("symlink") && !row.contains("passwd"),
        "what it leads to is nobody's catalogue: {row}"
    );
}

#[test]
fn f4_a_pin_that_is_no_commit() {
    let forge = Forge::new();
    let file = forge.object("blob", EMPTY);
    let tree = forge.tree(&[("100644", b"c.json", &file)]);
    let commit = forge.git(&["commit-tree", "-m", "work", &tree]);
    forge.git(&["tag", "-a", "-m", "one", "v1", &commit]);
    let tag = forge.git(&["rev-parse", "v1"]);
    let pinned = [
        ("tag", tag.as_str(), "c.json"),
        ("tree", tree.as_str(), "c.json"),
        ("blob", file.as_str(), "c.json"),
    ];
    let daemon = forge.check_all(&pinned, "git.not_a_commit");
    for place in ["here", "wire"] {
        let found = found(&daemon, &format!("tag-{place}"));
        assert!(found.contains(&commit), "it says which commit to pin: {found}");
    }
}

#[test]
fn f5_a_large_file_pointer() {
    let forge = Forge::new();
    let file = forge.object("blob", b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n");
    let commit = forge.commit(&[("100644", b"c.json", &file)]);
    forge.check_all(&[("lfs", &commit, "c.json")], "git.lfs_pointer");
}

#[test]
fn f6_attributes_change_no_byte() {
    let forge = Forge::new();
    let bytes = b"{\"schema\":\"lcod-registry/catalogue@1\",\"id\":\"$Id$\",\n\"components\":[]}\n";
    let attributes = b"*.json ident eol=crlf working-tree-encoding=UTF-16 filter=evil\n";
    let (file, attributes) = (forge.object("blob", bytes), forge.object("blob", attributes));
    let commit = forge.commit(&[("100644", b".gitattributes", &attributes), ("100644", b"c.json", &file)]);
    let digest = catalogue_schema::digest::Digest::sha256(bytes);
    for (place, good) in [("here", "good-here"), ("wire", "good-wire")] {
        // The digest beside the pin is of the bytes as they were committed.
        let mut raw = pointer(&format!("raw-{place}"), &forge.url(place), &commit, "c.json");
        raw["checksum"] = json!(digest);
        forge.list(place, &[pointer(good, &forge.url(place), &forge.good, "good.json"), raw]);
    }
    let daemon = forge.read();
    for place in ["here", "wire"] {
        assert_eq!(
            told(&daemon, &format!("raw-{place}")),
            "fresh",
            "{:#}",
            daemon.get("/v1/catalogues").ok()
        );
    }
}

#[test]
fn f7_submodules_are_neither_read_nor_run() {
    let forge = Forge::new();
    let canary = forge.sandbox.path("canary");
    let run = format!("touch {}", canary.display());
    let modules = format!(
        "[submodule \"a\"]\n\tpath = module\r\n\turl = ext::sh -c \"{run}\"\n\tupdate = !{run}\n\
         [submodule \"../../b\"]\n\tpath = -u./x\n\turl = --upload-pack={run}\n\tfetchRecurseSubmodules = true\n"
    );
    let (modules, file) = (forge.object("blob", modules.as_bytes()), forge.object("blob", EMPTY));
    let commit = forge.commit(&[
        ("100644", b".gitmodules", &modules),
        ("100644", b"c.json", &file),
        ("160000", b"module", &"1".repeat(40)),
    ]);
    let pinned = [
        ("beside", commit.as_str(), "c.json"),
        ("module", commit.as_str(), "module"),
        ("inside", commit.as_str(), "module/c.json"),
    ];
    let refused = ("git.not_a_blob", "git.not_a_blob");
    forge.check(&pinned, &[("fresh", "fresh"), refused, refused]);
    assert!(!canary.exists(), "nobody ran what the repository says");
}

#[test]
fn f8_trees_out_of_order_and_twins() {
    let forge = Forge::new();
    let file = forge.object("blob", EMPTY);
    let inner = forge.tree(&[("100644", b"x", &file)]);
    let bad: [&[Entry<'_>]; 4] = [
        &[("100644", b"b", &file), ("100644", b"a", &file)],
        &[("40000", b"a", &inner), ("100644", b"a.b", &file)],
        &[("100644", b"a", &file), ("100644", b"a", &file)],
        &[("100644", b"a", &file), ("100644", b"a.b", &file), ("40000", b"a", &inner)],
    ];
    let mut trees: Vec<String> = bad.iter().map(|entries| forge.tree(entries)).collect();
    for raw in [&b"100644 a\0short"[..], b"100644", b"9 a\0", b" a\0aaaaaaaaaaaaaaaaaaaa", b"123456789 a\0"] {
        trees.push(forge.object("tree", raw));
    }
    forge.lie(&trees.iter().map(|tree| (tree.as_str(), tree.as_str())).collect::<Vec<_>>());
    let commits: Vec<(String, String)> = trees
        .iter()
        .enumerate()
        .map(|(at, tree)| (format!("tree{at}"), forge.git(&["commit-tree", "-m", "work", tree])))
        .collect();
    let pinned: Vec<Pinned<'_>> =
        commits.iter().map(|(name, commit)| (name.as_str(), commit.as_str(), "a")).collect();
    forge.check_all(&pinned, "git.bad_tree");

    let twins = forge.commit(&[
        ("100644", b"C.json", &file),
        ("40000", b"DIR", &inner),
        ("100644", b"c.json", &file),
        ("40000", b"dir", &inner),
    ]);
    forge.check_all(&[("file", &twins, "c.json"), ("directory", &twins, "dir/x")], "git.ambiguous_path");
}

#[test]
fn f9_a_repository_that_borrows_replaces_or_belongs_to_somebody_else() {
    let rows = [
        ("objects/info/alternates", "/elsewhere\n"),
        ("objects/info/http-alternates", ""),
        ("info/grafts", ""),
        ("commondir", ".."),
        ("reftable/tables.list", ""),
        ("refs/replace/1111111111111111111111111111111111111111", "x"),
    ];
    let forge = Forge::new();
    // Each a copy of its own, since what is wrong with one is wrong with all that is read from it.
    let copy = |name: &str| {
        let to = forge.sandbox.path(&format!("copies/{name}"));
        place::copy(&forge.bare, &to);
        to
    };
    let mut pointers = vec![pointer("good-here", &forge.url("here"), &forge.good, "good.json")];
    let named =
        |name: &str, at: &Path| pointer(name, &format!("file://{}", at.display()), &forge.good, "good.json");
    for (at, (file, text)) in rows.iter().enumerate() {
        let bare = copy(&format!("unsafe{at}.git"));
        write(&bare, &Files::from([((*file).to_owned(), text.as_bytes().to_vec())]));
        pointers.push(named(&format!("unsafe{at}"), &bare));
    }
    // Configuration and hooks are not even read.
    let strange = copy("strange.git");
    let files =
        [("config", "[this is no configuration"), ("hooks/post-checkout", "#!/bin/sh\ntouch canary\n")];
    write(&strange, &files.map(|(name, text)| (name.to_owned(), text.as_bytes().to_vec())).into());
    pointers.push(named("strange", &strange));
    let is_root = rustix::process::geteuid().is_root();
    if is_root {
        let foreign = copy("foreign.git");
        std::os::unix::fs::chown(&foreign, Some(12345), None).unwrap();
        pointers.push(named("foreign", &foreign));
    } else {
        place::skipped("only root can give a repository away");
    }
    forge.list("here", &pointers);
    forge.list("wire", &[]);
    let daemon = forge.read();
    for (at, row) in rows.iter().enumerate() {
        assert_eq!(told(&daemon, &format!("unsafe{at}")), "git.unsafe_layout", "{row:?}");
    }
    assert_eq!(told(&daemon, "strange"), "fresh", "{:#}", daemon.catalogue("strange"));
    if is_root {
        assert_eq!(told(&daemon, "foreign"), "git.unsafe_owner", "{:#}", daemon.catalogue("foreign"));
    }
}

#[test]
fn f10_objects_that_are_damaged_or_gone() {
    let forge = Forge::new();
    let good = forge.object("blob", EMPTY);
    let other = forge.object("blob", b"other bytes");
    let names = ["damaged", "exchanged", "gone"];
    let blobs: Vec<String> =
        names.iter().map(|name| forge.object("blob", &[EMPTY, name.as_bytes()].concat())).collect();
    let commits: Vec<String> =
        blobs.iter().map(|blob| forge.commit(&[("100644", b"c.json", blob)])).collect();
    let lost = forge.commit(&[("100644", b"c.json", &good)]);
    let mut bytes = fs::read(forge.loose(&blobs[0])).unwrap();
    let at = bytes.len() / 2;
    bytes[at] ^= 0x55;
    for (blob, content) in
        [(&blobs[0], Some(bytes)), (&blobs[1], fs::read(forge.loose(&other)).ok()), (&blobs[2], None)]
    {
        fs::remove_file(forge.loose(blob)).unwrap();
        if let Some(content) = content {
            fs::write(forge.loose(blob), content).unwrap();
        }
    }
    fs::remove_file(forge.loose(&lost)).unwrap();
    // What a server has lost or finds damaged it does not send; what it sends in its place is not taken.
    forge.lie(&[(&blobs[0], &other), (&blobs[1], &other), (&blobs[2], &other)]);
    let mut pinned: Vec<Pinned<'_>> =
        names.iter().zip(&commits).map(|(name, commit)| (*name, commit.as_str(), "c.json")).collect();
    pinned.push(("lost", &lost, "c.json"));
    let corrupt = ("git.corrupt", "git.bad_pack");
    forge.check(&pinned, &[corrupt, corrupt, corrupt, ("git.commit_missing", "git.commit_missing")]);
}

/// The first 320 bytes of the two documents that were published in 2017: they have one SHA-1, which git ids are not, since an
/// object's kind and length are digested before its content.
const SHATTERED: [&str; 3] = [
    "255044462d312e330a25e2e3cfd30a0a0a312030206f626a0a3c3c2f57696474682032203020522f4865696768742033203020522f547970652034203020522f537562747970652035203020522f46696c7465722036203020522f436f6c6f7253706163652037203020522f4c656e6774682038203020522f42697473506572436f6d706f6e656e7420383e3e0a73747265616d0affd8fffe00245348412d3120697320646561642121212121852fec092339759c39b1a1c63c4c97e1fffe01",
    "7f46dc93a6b67e013b029aaa1db2560b45ca67d688c7f84b8c4c791fe02b3df614f86db1690901c56b45c1530afedfb76038e972722fe7ad728f0e4904e046c230570fe9d41398abe12ef5bc942be33542a4802d98b5d70f2a332ec37fac3514e74ddc0f2cc1a874cd0c78305a21566461309789606bd0bf3f98cda8044629a1",
    "7346dc9166b67e118f029ab621b2560ff9ca67cca8c7f85ba84c79030c2b3de218f86db3a90901d5df45c14f26fedfb3dc38e96ac22fe7bd728f0e45bce046d23c570feb141398bb552ef5a0a82be331fea48037b8b5d71f0e332edf93ac3500eb4ddc0decc1a864790c782c76215660dd309791d06bd0af3f98cda4bc4629b1",
];

#[test]
fn f11_two_contents_of_one_sha_1_are_two_objects_and_no_pack_lends_one_the_other_s_name() {
    let forge = Forge::new();
    let half = |at: usize| unhex(&(SHATTERED[0].to_owned() + SHATTERED[at])).unwrap();
    let (one, two) = (forge.object("blob", &half(1)), forge.object("blob", &half(2)));
    assert_ne!(one, two, "their ids differ, and so they are told apart");
    let commits = [&one, &two].map(|blob| forge.commit(&[("100644", b"c.json", blob)]));
    // In place the second has the name of the first; on the wire each comes for the other.
    let honest = fs::read(forge.loose(&one)).unwrap();
    fs::remove_file(forge.loose(&one)).unwrap();
    fs::copy(forge.loose(&two), forge.loose(&one)).unwrap();
    let pinned: [Pinned<'_>; 2] = [("one", &commits[0], "c.json"), ("two", &commits[1], "c.json")];
    forge.lie(&[(&two, &forge.good)]);
    forge.check(&pinned[..1], &[("git.corrupt", "git.bad_pack")]);
    fs::remove_file(forge.loose(&one)).unwrap();
    fs::write(forge.loose(&one), honest).unwrap();
    forge.lie(&[(&one, &two), (&two, &one)]);
    forge.check(&pinned, &[("input.schema", "git.bad_pack"), ("input.schema", "git.bad_pack")]);
    // Under its own name each arrives, and is no JSON.
    forge.mount(|mount| mount);
    forge.check_all(&pinned, "input.schema");
}

#[test]
fn f11_where_a_digest_is_asked_for_a_commit_alone_is_not_enough() {
    let forge = Forge::new();
    forge.publish(&[]);
    let policy = "schema = \"resolverd/trust@1\"\nversion = 1\n\
                  [[sources]]\nid = \"here\"\n[[sources]]\nid = \"wire\"\nhosts = [\"localhost\"]\n\
                  [[namespaces]]\nmatch = \"**\"\nsources = [\"here\", \"wire\"]\nrequire = \"digest\"\n";
    let file = Files::from([("trust.toml".to_owned(), policy.as_bytes().to_vec())]);
    write(&forge.sandbox.path("config/resolverd"), &file);
    closed(&forge.sandbox);
    let daemon = forge.read();
    let answer = daemon.resolve(&[GOOD]);
    assert_eq!((answer.status, answer.reason().as_str()), (403, "trust.digest_missing"), "{answer}");
}

/// Takes the right to write from everybody but the owner, as a policy asks for.
fn closed(sandbox: &Sandbox) {
    use std::os::unix::fs::PermissionsExt as _;
    for (place, mode) in
        [("config", 0o755), ("config/resolverd", 0o755), ("config/resolverd/trust.toml", 0o644)]
    {
        fs::set_permissions(sandbox.path(place), fs::Permissions::from_mode(mode)).unwrap();
    }
}

#[test]
fn f12_bombs_cost_their_path_and_what_is_too_large_or_too_deep_is_refused() {
    let forge = Forge::with("[limits]\ncatalogue_bytes = 1_000_000\n");
    let mut id = forge.object("blob", EMPTY);
    let mut mode = "100644";
    for _ in 0..10 {
        let names = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"];
        let entries: Vec<Entry<'_>> = names.iter().map(|name| (mode, name.as_bytes(), &*id)).collect();
        id = forge.tree(&entries);
        mode = "40000";
    }
    let bomb = forge.git(&["commit-tree", "-m", "work", &id]);
    let big = forge.object("blob", &vec![b' '; 4 << 20]);
    let big = forge.commit(&[("100644", b"c.json", &big)]);
    let mut deep = forge.tree(&[("100644", b"c.json", &forge.object("blob", EMPTY))]);
    for _ in 0..39 {
        deep = forge.tree(&[("40000", b"d", &deep)]);
    }
    let deep = forge.git(&["commit-tree", "-m", "work", &deep]);
    let far = format!("{}/c.json", vec!["d"; 39].join("/"));
    let pinned = [("bomb", bomb.as_str(), "a/b/c/d/e/f/g/h/i/j"), ("big", big.as_str(), "c.json")];
    let large = "limit.catalogue_bytes";
    let daemon = forge.check(&pinned, &[("fresh", "fresh"), (large, large)]);
    let asked = forge.server.requests().len();
    assert!(asked < 40, "{asked} requests for a path of ten levels among 10^10");
    drop(daemon);
    forge.check_all(&[("deep", &deep, &far)], "input.path");
}

#[test]
fn f13_packs_that_lie() {
    let forge = Forge::new();
    let blob = forge.object("blob", EMPTY);
    let commit = forge.commit(&[("100644", b"c.json", &blob)]);
    let head = b"PACK\0\0\0\x02\0\0\0\x01".as_slice();
    let trailer = [0; 20].as_slice();
    let packs: [(&str, Vec<u8>); 6] = [
        ("a blob of 255 MB, as it says, in nine bytes", {
            [head, &[0xbf, 0xff, 0xff, 0x7f, 0x78, 0x9c, 0x03, 0, 0, 0, 0, 1], trailer].concat()
        }),
        ("an unknown type", [head, b"\x50x", trailer].concat()),
        ("a delta that stands on nothing", [head, b"\x61\x05x", trailer].concat()),
        ("objects without number", [b"PACK\0\0\0\x02\xff\xff\xff\xff".as_slice(), trailer].concat()),
        ("no pack", b"PUCK".to_vec()),
        ("a pack cut off", packed(&forge.bare, &[&blob])[..20].to_vec()),
    ];
    forge.publish(&[("lie", &commit, "c.json")]);
    let daemon = forge.read();
    assert_eq!(told(&daemon, "lie-wire"), "fresh");
    drop(daemon);
    for (what, pack) in packs {
        // A state and a cache of its own, so that nothing is known yet.
        for place in ["state", "cache"] {
            fs::remove_dir_all(forge.sandbox.path(place)).unwrap();
        }
        let wanted = blob.clone();
        forge.mount(move |mount| {
            mount.before(move |request| wants(request).contains(&wanted).then(|| answer(&pack)))
        });
        let daemon = forge.sandbox.start_synced();
        assert_eq!(told(&daemon, "lie-wire"), "git.bad_pack", "{what}");
        assert_eq!(told(&daemon, "lie-here"), "fresh", "{what}");
    }
}

#[test]
fn f14_what_a_server_proposes_beside_its_objects_is_never_asked_for() {
    let (forge, trap) = (Forge::new(), TlsServer::start());
    let blob = forge.object("blob", EMPTY);
    let commit = forge.commit(&[("100644", b"c.json", &blob)]);
    for (key, value) in [
        ("uploadpack.advertiseBundleURIs", "true"),
        ("uploadpack.blobPackfileUri", &format!("{blob} {commit} {}", trap.url("/pack"))),
        ("bundle.version", "1"),
        ("bundle.mode", "all"),
        ("bundle.trap.uri", &trap.url("/all.bundle")),
    ] {
        forge.git(&["config", key, value]);
    }
    // Real Git names its bundles; newer ones name promisors as well.
    let promisor = format!("promisor-remote=name=trap,url={}\n", trap.url("/trap.git"));
    let line = format!("{:04x}{promisor}0000", promisor.len() + 4);
    forge.mount(|mount| {
        mount.alter(move |request, mut body| {
            if request.method == "GET" {
                assert!(body.ends_with(b"0000") && String::from_utf8_lossy(&body).contains("bundle-uri"));
                body.truncate(body.len() - 4);
                body.extend(line.bytes());
            }
            body
        })
    });
    forge.check_all(&[("plain", &commit, "c.json")], "fresh");
    let asked = forge.server.requests();
    let posts: Vec<String> = asked
        .iter()
        .filter(|request| request.method == "POST")
        .map(|request| String::from_utf8_lossy(&request.body).into_owned())
        .collect();
    assert!(!posts.is_empty());
    for body in &posts {
        assert!(body.contains("command=fetch") || body.contains("command=ls-refs"), "{body}");
        for word in ["bundle-uri", "packfile-uris", "promisor"] {
            assert!(!body.contains(word), "{body}");
        }
    }
    assert_eq!(trap.connections(), 0, "nobody went where the server pointed");
}

#[test]
fn c5_what_is_no_commit_pins_nothing_and_a_ref_leads_somewhere_or_nowhere() {
    let forge = Forge::new();
    let blob = forge.object("blob", EMPTY);
    let commit = forge.commit(&[("100644", b"c.json", &blob)]);
    forge.git(&["update-ref", "refs/heads/side", &commit]);
    forge.git(&["tag", "-a", "-m", "one", "v1", &commit]);
    let no_commits = ["HEAD", "main", "side", "v1", &commit[..7], &commit[..39], &commit.to_uppercase()];
    for place in ["here", "wire"] {
        let mut rows = vec![pointer("good", &forge.url(place), &forge.good, "good.json")];
        rows[0]["id"] = json!(format!("good-{place}"));
        for (at, text) in no_commits.iter().enumerate() {
            rows.push(pointer(&format!("pin{at}-{place}"), &forge.url(place), text, "c.json"));
        }
        for name in ["side", "v1", "refs/tags/v1", "gone", "refs/heads/gone", "bad"] {
            let id = format!("{}-{place}", name.replace('/', "."));
            rows.push(
                json!({ "id": id, "kind": "git", "url": forge.url(place), "ref": name, "path": "c.json" }),
            );
        }
        forge.list(place, &rows);
    }
    // What Git would not write itself; over the wire it is not even named.
    fs::write(forge.bare.join("refs/heads/bad"), "ref: ../../x\n").unwrap();
    let daemon = forge.read();
    for (place, source) in [("here", "here"), ("wire", "wire")] {
        let row = daemon.catalogue(source);
        let told: Vec<&str> = row["skippedEntries"]
            .as_array()
            .unwrap()
            .iter()
            .map(|skipped| skipped["error"]["reason"].as_str().unwrap())
            .collect();
        assert_eq!(told, vec!["input.commit"; no_commits.len()], "{place}: {row:#}");
        for name in ["side", "v1", "refs.tags.v1"] {
            let row = daemon.catalogue(&format!("{name}-{place}"));
            assert_eq!((&row["state"], &row["commit"]), (&json!("fresh"), &json!(commit)), "{row:#}");
        }
        for name in ["gone", "refs.heads.gone"] {
            assert_eq!(told_of(&daemon, name, place), "git.ref_missing");
        }
    }
    assert_eq!(told_of(&daemon, "bad", "here"), "git.bad_ref");
    assert_eq!(told_of(&daemon, "bad", "wire"), "git.ref_missing");
    // The branch moves; what it led to is recorded, and where it leads now is read, which the memory holds to its order.
    let next = forge.git(&["commit-tree", "-m", "next", "-p", &commit, &format!("{commit}^{{tree}}")]);
    forge.git(&["update-ref", "refs/heads/side", &next]);
    daemon.sync();
    assert_eq!(daemon.catalogue("side-wire")["commit"], json!(next));
    forge.git(&["update-ref", "refs/heads/side", &commit]);
    daemon.sync();
    let row = daemon.catalogue("side-wire");
    assert_eq!(
        (&row["commit"], &row["error"]["reason"]),
        (&json!(next), &json!("trust.rollback")),
        "{row:#}"
    );
}

fn told_of(daemon: &Daemon, name: &str, place: &str) -> String {
    told(daemon, &format!("{name}-{place}"))
}
