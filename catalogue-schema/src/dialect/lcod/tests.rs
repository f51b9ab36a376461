//! Tests of the LCOD reader: every published form, every reason to leave something out, and that no bytes make it panic.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::dialect;
use crate::digest::{Digest, Digests};
use crate::id::{CatalogueId, Dialect};
use crate::model::{Level, Place, Rank, Release, Trust, Verdict};
use crate::pointer::{CommitId, HttpsUrl, LocalPath, Repository, Revision};

const C1: &str = "4a569e82930c784d2b4f2a40a39e85daea774a80";
const C2: &str = "72efc538e89eecccd90f4107b3120eb27b2e69a1";
const C3: &str = "8770cf166ff8d874cb8164c5fc1032afbeca8e9c";
/// A published checksum, and the same 32 bytes in hex.
const SRI: &str = "sha256-YjMc8/51mnfk37cJzsUlKT8qpsG9RHQ2XdeZp5UD4W4=";
const SRI_HEX: &str = "62331cf3fe759a77e4dfb709cec525293f2aa6c1bd4474365dd799a79503e16e";
const HEX: &str = "bf1257453a8c8204b8dae67e203b21a72443c7055190745a65804719ffde1f08";

// Where the document under test lies.

fn git(repository: &str, path: &str) -> Location {
    let repository = match repository.strip_prefix("file://") {
        Some(path) => Repository::Local(LocalPath::parse(path).unwrap()),
        None => Repository::Https(HttpsUrl::parse(repository).unwrap()),
    };
    Location::Git { repository, revision: Revision::Head, path: path.parse().unwrap() }
}

fn remote() -> Location {
    git("https://github.com/acme/reg", "lists/catalogues.json")
}

fn local_git() -> Location {
    git("file:///srv/reg.git", "catalogues.json")
}

fn local_file() -> Location {
    Location::File { path: LocalPath::parse("/srv/reg/catalogues.json").unwrap() }
}

fn https() -> Location {
    Location::Https { url: HttpsUrl::parse("https://git.acme.com/platform/catalogues.json").unwrap() }
}

fn trust(level: &str) -> Trust {
    serde_json::from_str(&format!(r#"{{"level":"{level}"}}"#)).unwrap()
}

fn received(bytes: &[u8], commit: Option<&str>) -> Received {
    Received {
        trust: trust("pinned"),
        digest: Digest::sha256(bytes),
        size: bytes.len() as u64,
        commit: commit.map(|commit| CommitId::parse(commit).unwrap()),
        blob: None,
    }
}

fn errand(location: &Location, base: Option<Base>) -> Errand {
    let id = CatalogueId { source: "acme".parse().unwrap(), name: "acme".parse().unwrap() };
    Errand {
        want: Want::Blob(location.clone()),
        digests: Digests::default(),
        size: None,
        signature: None,
        stage: Stage::Node(Box::new(Node {
            id,
            via: Vec::new(),
            rank: Rank(vec![Place { priority: 50, position: 0 }]),
        })),
        task: dialect::Task::Lcod(Task::Node(Box::new(NodeTask { base, ..NodeTask::default() }))),
    }
}

fn read_with_known_forges(errand: &Errand, bytes: &[u8], received: &Received) -> Result<Finding, ParseError> {
    dialect::read(errand, bytes, received, &Forges::default())
}

fn read_at(location: &Location, text: &str) -> Result<Finding, ParseError> {
    let commit = matches!(location, Location::Git { .. }).then_some(C1);
    read_with_known_forges(&errand(location, None), text.as_bytes(), &received(text.as_bytes(), commit))
}

/// One line per thing found, so that tables can say what they expect.
fn lines(finding: &Finding) -> Vec<String> {
    let mut lines = Vec::new();
    for errand in &finding.errands {
        let kind = match &errand.stage {
            Stage::Node(node) => {
                let place = node.rank.0.last().unwrap();
                format!("node {} {}.{}", node.id.name, place.priority, place.position)
            }
            Stage::Release => {
                let dialect::Task::Lcod(task) = &errand.task else { panic!("another dialect") };
                let pending = task.pending().unwrap();
                format!("release {}@{}", pending.id, pending.version)
            }
        };
        let digests: Vec<String> = errand.digests.iter().map(|digest| format!(" {digest}")).collect();
        lines.push(format!("{kind} {}{}", errand.want, digests.concat()));
    }
    lines.extend(
        finding.skipped.iter().map(|skipped| format!("skip {} {}", skipped.entry, skipped.error.reason)),
    );
    lines.extend(finding.warnings.iter().map(|warning| format!("warn {}", warning.reason)));
    lines
}

#[track_caller]
fn check(location: &Location, text: &str, expected: &[&str]) {
    assert_eq!(lines(&read_at(location, text).unwrap()), expected, "{text}");
}

#[track_caller]
fn check_refused(location: &Location, text: &str, reason: &str, found: &str) {
    let error = read_at(location, text).unwrap_err();
    assert_eq!(error.reason, reason, "{error}");
    assert!(error.to_string().contains(found), "{error}");
}

/// A `catalogues@1` list with one pointer.
fn one_pointer(pointer: &str) -> String {
    format!(r#"{{"schema":"lcod-registry/catalogues@1","catalogues":[{pointer}]}}"#)
}

/// Checks what a list at `location` makes of one pointer with id `x`, given by its other fields.
#[track_caller]
fn check_pointer(location: &Location, fields: &str, expected: &str) {
    check(location, &one_pointer(&format!(r#"{{"id":"x",{fields}}}"#)), &[expected]);
}

/// A `catalogue@1` document with an origin and one version of `lcod://a/b`.
fn one_version(origin: &str, version: &str) -> String {
    format!(
        r#"{{"schema":"lcod-registry/catalogue@1",{origin}"components":[{{"id":"lcod://a/b","versions":[{version}]}}]}}"#
    )
}

// Filters, cycles, and the layout before the federation.

/// A node's task with a filter, for an errand at `location`.
fn filtered(location: &Location, text: &str, fields: [Option<&str>; 3]) -> Finding {
    let filter = Filter::parse(fields[0], fields[1], fields[2]).unwrap();
    let mut errand = errand(location, None);
    errand.task = dialect::Task::Lcod(Task::Node(Box::new(NodeTask { filter, ..NodeTask::default() })));
    let commit = matches!(location, Location::Git { .. }).then_some(C1);
    read_with_known_forges(&errand, text.as_bytes(), &received(text.as_bytes(), commit)).unwrap()
}

const LIST_HEAD: &str = r#"{"type":"manifest","schema":"lcod-manifest/list@1","id":"x"}"#;

#[test]
fn filters_leave_out_and_count() {
    let rows = format!(
        "{}\n{{\"type\":\"component\",\"id\":\"lcod://a/b@1.0.0\",\"compose\":\"c\"}}\n{{\"type\":\"component\",\"id\":\"lcod://a/b@2.0.0\",\"compose\":\"c\",\"package\":\"q\"}}\n{{\"type\":\"component\",\"id\":\"lcod://ab/c@1.0.0\",\"compose\":\"c\"}}\n",
        LIST_HEAD.replace("}", ",\"package\":\"p\"}")
    );
    let catalogue = r#"{"schema":"lcod-registry/catalogue@1","components":[{"id":"lcod://a/b","package":"p","versions":[{"version":"1.0.0","manifest":"m"},{"version":"2.0.0","manifest":"m","package":"q"}]},{"id":"lcod://ab/c","package":"p","versions":[{"version":"1.0.0","manifest":"m"}]}]}"#;
    let packages = "{\"kind\":\"component\",\"id\":\"lcod://a/b\",\"version\":\"1.0.0\",\"manifest\":\"m\",\"package\":\"p\"}\n{\"kind\":\"component\",\"id\":\"lcod://a/b\",\"version\":\"2.0.0\",\"manifest\":\"m\",\"package\":\"q\"}\n{\"kind\":\"component\",\"id\":\"lcod://ab/c\",\"version\":\"1.0.0\",\"manifest\":\"m\",\"package\":\"p\"}\n";
    let check = |fields: [Option<&str>; 3], expected: &[&str], count: u64| {
        for text in [&*rows, catalogue, packages] {
            let finding = filtered(&local_git(), text, fields);
            let named: Vec<String> = lines(&finding)
                .iter()
                .filter_map(|line| Some(line.strip_prefix("release lcod://")?.split(' ').next()?.to_owned()))
                .collect();
            assert_eq!(named, expected, "{fields:?} {text}");
            let warned = finding.warnings.iter().find(|one| one.reason == "catalogue.filtered");
            assert_eq!(warned.is_some(), count > 0);
            assert!(warned.is_none_or(|one| one.text.ends_with(&format!(": {count}"))), "{warned:?}");
            assert!(finding.skipped.is_empty());
        }
    };
    check([None, None, None], &["a/b@1.0.0", "a/b@2.0.0", "ab/c@1.0.0"], 0);
    check([Some("a"), None, None], &["a/b@1.0.0", "a/b@2.0.0"], 1);
    check([None, Some("p"), None], &["a/b@1.0.0", "ab/c@1.0.0"], 1);
    check([None, None, Some("1")], &["a/b@1.0.0", "ab/c@1.0.0"], 1);
    check([Some("a"), Some("p"), Some("^1")], &["a/b@1.0.0"], 2);
    check([Some("nobody"), None, None], &[], 3);
}

#[test]
fn filters_combine_downwards_and_one_that_cannot_be_read_makes_the_pointer_unusable() {
    let list =
        format!("{LIST_HEAD}\n{{\"type\":\"list\",\"id\":\"c\",\"path\":\"c.jsonl\",\"version\":\"1\"}}\n");
    let finding = filtered(&local_git(), &list, [Some("a"), None, None]);
    let dialect::Task::Lcod(task) = &finding.errands[0].task else { panic!("another dialect") };
    let Task::Node(task) = task else { panic!("a node") };
    assert_eq!(task.filter.to_string(), "namespace lcod://a/**, version 1");
    for broken in [r#""version":"1 || 2""#, r#""version":3"#, r#""namespace":"A b""#, r#""package":"""#] {
        let list = format!("{LIST_HEAD}\n{{\"type\":\"list\",\"id\":\"c\",\"path\":\"c.jsonl\",{broken}}}\n");
        let finding = read_at(&local_git(), &list).unwrap();
        assert_eq!(
            (finding.errands.len(), finding.unusable.len(), finding.skipped.len()),
            (0, 1, 1),
            "{broken}"
        );
    }
    // A pointer of catalogues@1 may call anything its version.
    check_pointer(
        &local_git(),
        r#""path":"c","version":3"#,
        &format!("node x 100.0 file:///srv/reg.git at {C1}: c"),
    );
}

#[test]
fn the_operators_forges_are_understood_in_documents() {
    let pattern = crate::forge::ForgePattern::parse(
        "https://git.acme.example/{repository}/raw/{revision}/{path}",
        "https://git.acme.example/{repository}.git",
    );
    let forges = Forges::new(vec![pattern.unwrap()]);
    let shown = |text: &str| {
        let commit = received(text.as_bytes(), Some(C1));
        lines(&dialect::read(&errand(&remote(), None), text.as_bytes(), &commit, &forges).unwrap())
    };
    let url = "https://git.acme.example/g/r/raw/main/c.json";
    let pointer = shown(&one_pointer(&format!(r#"{{"id":"x","url":"{url}","commit":"{C2}"}}"#)));
    assert_eq!(pointer, [format!("node x 100.0 https://git.acme.example/g/r.git at {C2}: c.json")]);
    let summed =
        shown(&one_pointer(&format!(r#"{{"id":"x","url":"{url}","commit":"{C2}","checksum":"{SRI}"}}"#)));
    assert_eq!(
        summed,
        [format!("node x 100.0 https://git.acme.example/g/r/raw/{C2}/c.json sha256:{SRI_HEX}")]
    );
    let version = shown(&one_version("", &format!(r#"{{"version":"1.0.0","manifest":"{url}"}}"#)));
    assert_eq!(version, ["release lcod://a/b@1.0.0 https://git.acme.example/g/r.git at main: c.json"]);
}

#[test]
fn a_pointer_that_leads_back_is_not_followed() {
    let list = |path: &str| format!("{LIST_HEAD}\n{{\"type\":\"list\",\"id\":\"y\",\"path\":\"{path}\"}}\n");
    check(&local_git(), &list("catalogues.json"), &["warn catalogue.cycle"]);
    let below = read_at(&local_git(), &list("other.jsonl")).unwrap().errands.remove(0);
    for (path, cycle) in [("catalogues.json", true), ("other.jsonl", true), ("third.jsonl", false)] {
        let text = list(path);
        let finding =
            read_with_known_forges(&below, text.as_bytes(), &received(text.as_bytes(), Some(C1))).unwrap();
        assert_eq!(finding.errands.is_empty(), cycle, "{path}");
    }
}

#[test]
fn packages_jsonl_is_a_catalogue_without_a_header() {
    let text = format!(
        "\u{feff}{{\"kind\":\"registry\",\"id\":\"official\",\"type\":\"git\",\"url\":\"https://github.com/o/r\"}}\r\n{{\"kind\":\"component\",\"id\":\"lcod://a/b\",\"version\":\"0.1.0\",\"manifest\":\"packages/a/b/0.1.0/manifest.json\",\"registryId\":\"official\",\"sha256\":\"{HEX}\"}}\r\n\
         {{\"kind\":\"component\",\"id\":\"lcod://a/b@0.2.0\",\"manifest\":\"m.json\"}}\n{{\"kind\":\"component\",\"id\":\"lcod://a/b\",\"manifest\":\"m.json\"}}\n{{\"kind\":\"component\",\"id\":\"lcod://a/c\",\"version\":\"1.0.0\",\"manifest\":\"../m.json\"}}\nnot json\n{{\"kind\":\"other\"}}\n"
    );
    let released = |root: &str| {
        [
            format!("release lcod://a/b@0.1.0 {root}packages/a/b/0.1.0/manifest.json sha256:{HEX}"),
            format!("release lcod://a/b@0.2.0 {root}m.json"),
            "skip lcod://a/b version_missing".to_owned(),
            "skip lcod://a/c@1.0.0 input.path".to_owned(),
            "skip line 6 input.json".to_owned(),
            "skip line 7 input.row_type".to_owned(),
        ]
    };
    for (location, root) in [
        (local_git(), format!("file:///srv/reg.git at {C1}: ")),
        (local_file(), "/srv/reg/".to_owned()),
        (https(), "https://git.acme.com/platform/".to_owned()),
    ] {
        let expected = released(&root);
        check(&location, &text, &expected.each_ref().map(String::as_str));
    }
    let finding = read_at(&local_git(), &text).unwrap();
    let dialect::Task::Lcod(task) = &finding.errands[0].task else { panic!("another dialect") };
    assert_eq!(task.pending().unwrap().extra["registryId"], "official");
    let one = r#"{"kind":"component","id":"lcod://a/b","version":"0.1.0","manifest":"m.json"}"#;
    check(&local_file(), one, &["release lcod://a/b@0.1.0 /srv/reg/m.json"]);
}

#[test]
fn versions_json_leads_to_manifests_from_the_root_or_from_its_own_directory() {
    let text = |path: &str| {
        format!(
            r#"{{"schema":"lcod-registry/versions@1","id":"lcod://a/b","versions":[{{"version":"0.1.0","manifest":"{path}"}}]}}"#
        )
    };
    let file = |path: &str| Location::File { path: LocalPath::parse(path).unwrap() };
    for path in ["packages/a/b/0.1.0/manifest.json", "0.1.0/manifest.json", "b/0.1.0/manifest.json"] {
        check(
            &git("file:///srv/reg.git", "packages/a/b/versions.json"),
            &text(path),
            &[&format!(
                "release lcod://a/b@0.1.0 file:///srv/reg.git at {C1}: packages/a/b/0.1.0/manifest.json"
            )],
        );
        check(
            &file("/srv/reg/packages/a/b/versions.json"),
            &text(path),
            &["release lcod://a/b@0.1.0 /srv/reg/packages/a/b/0.1.0/manifest.json"],
        );
    }
    check(&local_file(), &text("../m.json"), &["skip lcod://a/b@0.1.0 input.path"]);
}

#[test]
fn the_old_registry_documents_lead_to_their_versions() {
    let catalog = r#"{"schema":"lcod-registry@1","packages":[{"id":"lcod://a/b","registryId":"o","versionsPath":"packages/a/b/versions.json","priority":10},{"id":"lcod://a/c"},{"id":"lcod://a/d","versionsPath":"../x"}]}"#;
    check(
        &local_git(),
        catalog,
        &[
            &format!("node a/b 10.0 file:///srv/reg.git at {C1}: packages/a/b/versions.json"),
            "skip packages[1] input.field",
            "skip lcod://a/d input.path",
        ],
    );
    let registry = r#"{"schema":"lcod-registry@1","packages":{"lcod://a/b":{"registry":"o"}}}"#;
    check(&local_file(), registry, &["node packages 100.0 /srv/reg/packages.jsonl"]);
    check(&local_file(), r#"{"schema":"lcod-registry@1","packages":{}}"#, &[]);
    check_refused(&local_file(), r#"{"schema":"lcod-registry@1","packages":7}"#, "input.field", "packages");
}

#[test]
fn a_release_whose_documents_wait_is_listed_with_what_its_catalogue_says() {
    let text =
        one_version("", r#"{"version":"1.0.0","manifest":"m.json","dependencies":["lcod://x/y@1"],"tag":7}"#);
    let errand = read_at(&https(), &text).unwrap().errands.remove(0);
    assert_eq!((errand.documents(), errand.component().unwrap().as_text()), (1, "lcod://a/b"));
    let release = dialect::defer(&errand, &trust("pinned")).unwrap().releases.remove(0);
    assert!(release.unfetched && release.manifest.is_none());
    assert_eq!(
        (release.dependencies.texts().next(), &release.extra["tag"]),
        (Some("lcod://x/y@1"), &7.into())
    );
    assert_eq!(release.verdict.word(), "unpinned");
    let pinned = text.replace("\"tag\"", &format!("\"sha256\":\"{HEX}\",\"tag\""));
    let errand = read_at(&https(), &pinned).unwrap().errands.remove(0);
    let release = dialect::defer(&errand, &trust("pinned")).unwrap().releases.remove(0);
    assert_eq!(release.verdict.word(), "pinned");
    let node = read_at(&https(), &one_pointer(r#"{"id":"x","path":"c"}"#)).unwrap().errands.remove(0);
    assert_eq!((node.documents(), dialect::defer(&node, &trust("pinned")).is_none()), (0, true));
}

// Lists.

#[test]
fn the_seeds_own_catalogues_json() {
    let text = r#"{
  "schema": "lcod-registry/catalogues@1",
  "catalogues": [
    {
      "id": "tooling/std",
      "description": "Standard tooling components maintained by the LCOD team",
      "url": "https://raw.githubusercontent.com/lcod-team/lcod-components/main/registry/components.std.json",
      "kind": "git",
      "commit": "4a569e82930c784d2b4f2a40a39e85daea774a80",
      "publicKey": "keys/tooling/lcod-team.pem",
      "priority": 50
    },
    {
      "id": "acme/payments",
      "url": "https://git.acme.com/platform/payments/registry/components.json",
      "kind": "https",
      "checksum": "sha256-YjMc8/51mnfk37cJzsUlKT8qpsG9RHQ2XdeZp5UD4W4=",
      "priority": 90
    },
    { "id": "elided", "url": "https://git.acme.com/c.json", "kind": "https", "checksum": "sha256-…" }
  ]
}"#;
    let std = format!(
        "node tooling/std 50.0 https://github.com/lcod-team/lcod-components at {C1}: registry/components.std.json"
    );
    let payments = format!(
        "node acme/payments 90.1 https://git.acme.com/platform/payments/registry/components.json sha256:{SRI_HEX}"
    );
    check(&remote(), text, &[&std, &payments, "skip elided input.digest"]);

    let finding = read_at(&remote(), text).unwrap();
    let claim = finding.errands[0].signature.as_ref().unwrap();
    assert_eq!(claim.public_key.as_deref(), Some("keys/tooling/lcod-team.pem"));
    assert_eq!(finding.errands[1].signature, None);
    let error = &finding.skipped[0].error;
    assert_eq!(error.field, "catalogues[2].checksum");
    assert_eq!(error.position, Some(Position { line: 20, column: 90 }));
}

#[test]
fn published_lists_pin_three_times() {
    let json = one_pointer(&format!(
        r#"{{"id":"tooling/std","kind":"https","url":"https://raw.githubusercontent.com/lcod-team/lcod-components/{C2}/registry/components.std.json","commit":"{C2}","checksum":"{SRI}","priority":60,"metadata":{{"sourceRepo":"https://github.com/lcod-team/lcod-components","manifestPath":"registry/components.std.json"}}}}"#
    ));
    let url = format!(
        "https://raw.githubusercontent.com/lcod-team/lcod-components/{C2}/registry/components.std.json"
    );
    check(&remote(), &json, &[&format!("node tooling/std 60.0 {url} sha256:{SRI_HEX}")]);

    let jsonl = format!(
        "\u{feff}{{\"type\":\"manifest\",\"schema\":\"lcod-manifest/list@1\",\"id\":\"lcod-registry/catalogues\"}}\r\n\r\n\
         {{\"type\":\"list\",\"id\":\"tooling/std\",\"url\":\"{url}\",\"metadata\":{{\"sourceRepo\":\"https://github.com/lcod-team/lcod-components\",\"commit\":\"{C2}\",\"checksum\":\"{SRI}\"}}}}\r\n"
    );
    check(&remote(), &jsonl, &[&format!("node tooling/std 100.0 {url} sha256:{SRI_HEX}")]);
    let finding = read_at(&remote(), &jsonl).unwrap();
    assert_eq!(finding.named.unwrap().as_text(), "lcod-registry/catalogues");

    // The rows of such a catalogue lie in the repository that its pointer names.
    let child = &finding.errands[0];
    let rows = r#"[{"id":"lcod://tooling/a@0.1.0","composePath":"packages/a/compose.yaml"}]"#;
    let found = read_with_known_forges(child, rows.as_bytes(), &received(rows.as_bytes(), None)).unwrap();
    let lcp = format!("https://github.com/lcod-team/lcod-components at {C2}: packages/a/lcp.toml");
    assert_eq!(lines(&found), [format!("release lcod://tooling/a@0.1.0 {lcp}")]);
}

#[test]
fn pointers_name_their_document_in_many_ways() {
    let raw = "https://raw.githubusercontent.com/o/r/main/c.json";
    let https_repo = format!(r#""kind":"git","url":"https://h.io/o/r.git","commit":"{C2}""#);
    let on_this_commit = format!("node x 100.0 https://github.com/acme/reg at {C1}: c.json");
    let rows: Vec<(Location, String, String)> = vec![
        (
            remote(),
            format!(r#"{https_repo},"path":"c.json""#),
            format!("https://h.io/o/r.git at {C2}: c.json"),
        ),
        (
            remote(),
            format!(r#"{https_repo},"subpath":"c.json""#),
            format!("https://h.io/o/r.git at {C2}: c.json"),
        ),
        (
            remote(),
            format!(r#"{https_repo},"metadata":{{"manifestPath":"c.json"}}"#),
            format!("https://h.io/o/r.git at {C2}: c.json"),
        ),
        (
            remote(),
            r#""kind":"git","url":"https://h.io/o/r","path":"c.json","ref":"v1""#.into(),
            "https://h.io/o/r at v1: c.json".into(),
        ),
        (
            remote(),
            r#""url":"https://h.io/o/r","path":"c.json""#.into(),
            "https://h.io/o/r at HEAD: c.json".into(),
        ),
        (remote(), format!(r#""type":"git","url":"{raw}""#), "https://github.com/o/r at main: c.json".into()),
        (
            remote(),
            format!(r#""kind":"https","url":"{raw}","commit":"{C2}""#),
            format!("https://github.com/o/r at {C2}: c.json"),
        ),
        (
            remote(),
            format!(
                r#""url":"https://g.io/o/r/raw/branch/main/c.json?x=1","commit":"{C2}","checksum":"{SRI}""#
            ),
            format!("https://g.io/o/r/raw/commit/{C2}/c.json?x=1 sha256:{SRI_HEX}"),
        ),
        (
            https(),
            format!(r#""url":"c.json","metadata":{{"commit":"{C2}","checksum":"{SRI}"}}"#),
            format!("https://git.acme.com/platform/c.json sha256:{SRI_HEX}"),
        ),
        (
            local_git(),
            format!(r#""kind":"git","url":"file:///srv/cat.git","path":"c.json","commit":"{C2}""#),
            format!("file:///srv/cat.git at {C2}: c.json"),
        ),
        (
            local_file(),
            r#""kind":"git","url":"/srv/cat","path":"c.json""#.into(),
            "file:///srv/cat at HEAD: c.json".into(),
        ),
        (local_file(), r#""kind":"file","path":"/srv/other/c.json""#.into(), "/srv/other/c.json".into()),
        (local_file(), r#""url":"file:///srv/other/c.json""#.into(), "/srv/other/c.json".into()),
        (local_file(), r#""kind":"file","path":"sub/c.json""#.into(), "/srv/reg/sub/c.json".into()),
        (
            https(),
            r#""kind":"file","path":"sub/c.json""#.into(),
            "https://git.acme.com/platform/sub/c.json".into(),
        ),
        (https(), r#""url":"./c.json""#.into(), "https://git.acme.com/platform/c.json".into()),
        (local_git(), r#""path":"c.json""#.into(), format!("file:///srv/reg.git at {C1}: c.json")),
    ];
    for (location, fields, want) in rows {
        check_pointer(&location, &fields, &format!("node x 100.0 {want}"));
    }
    // A list that was read through a branch gives its children the commit that the branch meant.
    check_pointer(&remote(), r#""kind":"file","path":"c.json""#, &on_this_commit);
    check_pointer(&remote(), r#""kind":"git","path":"c.json""#, &on_this_commit);
}

#[test]
fn a_bad_pointer_is_left_out_with_its_reason() {
    let other = "sha256:bf1257453a8c8204b8dae67e203b21a72443c7055190745a65804719ffde1f08";
    let pinned = format!("https://raw.githubusercontent.com/o/r/{C1}/c.json");
    let rows: Vec<(String, &str)> = vec![
        (r#""url":"https://h.io/c.json","commit":"4a569e8""#.into(), "input.commit"),
        (r#""url":"https://h.io/c.json","commit":"main""#.into(), "input.commit"),
        (r#""url":"https://h.io/c.json","metadata":{"commit":"local"}"#.into(), "input.commit"),
        (r#""url":"https://h.io/c.json","checksum":"md5-abc""#.into(), "input.digest"),
        (format!(r#""url":"{pinned}","commit":"{C2}""#), "trust.pin_conflict"),
        (format!(r#""url":"{pinned}","metadata":{{"commit":"{C2}"}}"#), "trust.pin_conflict"),
        (
            format!(r#""url":"https://h.io/c","commit":"{C1}","metadata":{{"commit":"{C2}"}}"#),
            "trust.pin_conflict",
        ),
        (
            format!(r#""url":"https://h.io/c","checksum":"{SRI}","metadata":{{"checksum":"{other}"}}"#),
            "trust.pin_conflict",
        ),
        (r#""kind":"git","url":"https://h.io/o/r""#.into(), "input.field"),
        (format!(r#""kind":"git","url":"{pinned}","path":"other.json""#), "input.path"),
        (r#""kind":"ftp","url":"https://h.io/c""#.into(), "input.kind"),
        (r#""type":"git","kind":"https","url":"https://h.io/c""#.into(), "input.kind"),
        (r#""description":"nothing""#.into(), "input.field"),
        (r#""kind":"git","url":"https://h.io/r","path":"a","subpath":"b""#.into(), "input.path"),
        (
            r#""kind":"git","url":"https://h.io/r","path":"a","metadata":{"manifestPath":"b"}"#.into(),
            "input.path",
        ),
        (
            format!(r#""kind":"git","url":"{pinned}","metadata":{{"manifestPath":"other.json"}}"#),
            "input.path",
        ),
        (r#""path":"../c.json""#.into(), "input.path"),
        (r#""kind":"git","url":"https://h.io/o/r","path":"a/../../c""#.into(), "input.path"),
        (r#""kind":"git","url":"https://h.io/o/r","path":"c","ref":"--upload-pack=x""#.into(), "input.ref"),
        (r#""url":"https://user:pw@h.io/c""#.into(), "input.url"),
        (r#""url":"https://h.io/c","priority":1.5"#.into(), "input.field"),
        (r#""url":"https://h.io/c","priority":"5""#.into(), "input.field"),
        (r#""url":["https://h.io/c"]"#.into(), "input.field"),
        (r#""url":"https://h.io/c","metadata":{"sourceRepo":"git@h.io:o/r"}"#.into(), "input.url_scheme"),
    ];
    for (fields, reason) in rows {
        let text = one_pointer(&format!(r#"{{"id":"x",{fields}}}, {{"id":"y","path":"c.json"}}"#));
        let finding = read_at(&remote(), &text).unwrap();
        let reasons: Vec<&str> = finding.skipped.iter().map(|skipped| &*skipped.error.reason).collect();
        assert_eq!(reasons, [reason], "{fields}");
        assert_eq!(finding.errands.len(), 1, "{fields}");
    }
}

/// A commit beside a plain file cannot be checked, so alone it would be a pin in name only.
#[test]
fn a_commit_that_nothing_can_check_is_no_pin() {
    let pin = format!(r#""commit":"{C2}""#);
    for (location, fields) in [
        (remote(), r#""kind":"https","url":"https://h.io/c.json""#),
        (remote(), r#""url":"https://h.io/c.json","metadata":{"sourceRepo":"https://h.io/o/r"}"#),
        (https(), r#""path":"c.json""#),
        (local_file(), r#""path":"c.json""#),
        (local_file(), r#""kind":"file","url":"file:///srv/c.json""#),
    ] {
        check(&location, &one_pointer(&format!(r#"{{"id":"x",{fields},{pin}}}"#)), &["skip x input.commit"]);
        let with_digest = one_pointer(&format!(r#"{{"id":"x",{fields},{pin},"checksum":"{SRI}"}}"#));
        assert_eq!(read_at(&location, &with_digest).unwrap().skipped, [], "{fields}");
    }
}

#[test]
fn a_bad_pointer_names_the_field() {
    let check = |fields: &str, field: &str| {
        let finding = read_at(&remote(), &one_pointer(&format!(r#"{{"id":"x",{fields}}}"#))).unwrap();
        assert_eq!(finding.skipped[0].error.field, format!("catalogues[0].{field}"), "{fields}");
    };
    check(r#""url":"https://user:pw@h.io/c""#, "url");
    check(r#""kind":"git","url":"ext::sh -c id","path":"c""#, "url");
    check(r#""kind":"git","url":"https://h.io/o/r","path":"../c""#, "path");
    check(r#""kind":"git","url":"https://h.io/o/r","subpath":"../c""#, "subpath");
    check(
        r#""kind":"git","url":"https://h.io/o/r","metadata":{"manifestPath":"../c"}"#,
        "metadata.manifestPath",
    );
    check(r#""kind":"git","url":"https://h.io/o/r","path":"c","ref":"-x""#, "ref");
    check(r#""kind":"git","url":"https://h.io/o/r""#, "path");
    check(r#""path":"/etc/shadow""#, "path");
    check(r#""subpath":"../c""#, "subpath");
    check(r#""kind":"svn","url":"https://h.io/c""#, "kind");
    check(r#""type":"svn","url":"https://h.io/c""#, "type");
    check(r#""description":"nothing""#, "url");
}

#[test]
fn remote_documents_never_name_local_files() {
    let hostile = [
        "file:///etc/shadow",
        "/etc/shadow",
        "//etc/shadow",
        "file://localhost/etc/shadow",
        "http://h.io/c",
        "ssh://h.io/c",
        "git://h.io/c",
        "ftp://h.io/c",
        "ext::sh -c id",
        "git@h.io:o/r",
        "data:text/plain,x",
        "C:/windows/x",
    ];
    for url in hostile {
        for kind in ["git", "https", "file", "list"] {
            let pointer = format!(r#"{{"id":"x","type":"{kind}","url":"{url}","path":"c.json"}}"#);
            for location in [remote(), https()] {
                check(&location, &one_pointer(&pointer), &["skip x input.url_scheme"]);
            }
        }
        let version = format!(r#"{{"version":"1.0.0","manifest":"{url}"}}"#);
        check(&remote(), &one_version("", &version), &["skip lcod://a/b@1.0.0 input.url_scheme"]);
        let row = format!(r#"[{{"id":"lcod://a/b@1.0.0","composePath":"{url}"}}]"#);
        check(&remote(), &row, &["skip lcod://a/b@1.0.0 input.url_scheme"]);
        let row = format!(
            r#"[{{"id":"lcod://a/b@1.0.0","composePath":"c","origin":{{"sourceRepo":"{url}","commit":"{C1}"}}}}]"#
        );
        check(&remote(), &row, &["skip lcod://a/b@1.0.0 input.url_scheme"]);
        for kind in ["git", "https", "file"] {
            let origin = format!(r#""origin":{{"type":"{kind}","url":"{url}","commit":"{C1}"}},"#);
            let text = one_version(&origin, r#"{"version":"1.0.0","manifest":"m.json"}"#);
            check_refused(&remote(), &text, "input.url_scheme", "origin.url");
        }
    }
}

#[test]
fn ids_of_catalogues_are_given_once() {
    let text = r#"{"schema":"lcod-manifest/list@1","id":"std"}
{"type":"list","path":"a.json"}
{"type":"list","path":"b.json"}
{"type":"list","id":"c","path":"c.json"}
{"type":"list","id":"c","path":"d.json"}
{"type":"list","id":"Not An Id","path":"e.json"}
"#;
    let at = |name: &str| format!("https://github.com/acme/reg at {C1}: {name}.json");
    check(
        &remote(),
        text,
        &[
            &format!("node std 100.0 {}", at("a")),
            &format!("node std-1 100.1 {}", at("b")),
            &format!("node c 100.2 {}", at("c")),
            "skip c catalogue.duplicate",
            "skip Not An Id input.source_id",
        ],
    );
    // Without any id the list's own would be taken for the list itself.
    let text = "{\"schema\":\"lcod-manifest/list@1\"}\n{\"type\":\"list\",\"path\":\"a.json\"}\n";
    check(&remote(), text, &[&format!("node acme-0 100.0 {}", at("a"))]);
}

#[test]
fn a_bad_line_spoils_only_itself() {
    let text = r#"{"type":"manifest","schema":"lcod-manifest/list@1","label":"x","spec":{}}
{"type":"component","id":"lcod://a/b@1.0.0","compose":"b/compose.yaml"}
{"type":"component",

{"type":"component","id":"lcod://a/c@1.0.0"}
{"type":"registry","id":"official"}
[1]
{"type":"manifest","schema":"lcod-manifest/list@1"}
{"kind":"component","id":"lcod://a/d@1.0.0","compose":"d/compose.yaml"}"#;
    let at = |path: &str| format!("https://github.com/acme/reg at {C1}: {path}");
    check(
        &remote(),
        text,
        &[
            &format!("release lcod://a/b@1.0.0 {}", at("b/lcp.toml")),
            &format!("release lcod://a/d@1.0.0 {}", at("d/lcp.toml")),
            "skip line 3 input.json",
            "skip lcod://a/c@1.0.0 input.field",
            "skip official input.row_type",
            "skip line 7 input.field",
            "skip line 8 input.row_type",
        ],
    );
    let finding = read_at(&remote(), text).unwrap();
    assert!(finding.skipped.iter().all(|skipped| skipped.error.position.is_some()));
    assert_eq!(finding.skipped[0].error.position.unwrap().line, 3);
}

/// Where the rest of a document is missing, nobody can tell whose ids it would have brought.
#[test]
fn lines_that_end_in_the_middle_of_one_are_refused_whole() {
    let whole = |text: &str, entries: usize| {
        let finding = read_at(&local_git(), text).unwrap();
        assert_eq!((finding.errands.len(), finding.skipped.len()), (entries, 0), "{text}");
    };
    let list = r#"{"type":"manifest","schema":"lcod-manifest/list@1"}
{"type":"list","id":"one","path":"one.json"}
{"type":"component","id":"lcod://a/b@1.0.0","compose":"b/compose.yaml"}"#;
    let packages = r#"{"kind":"registry","id":"official"}
{"kind":"component","id":"lcod://a/b","version":"1.0.0","manifest":"b.json"}
{"kind":"component","id":"lcod://a/c","version":"1.0.0","manifest":"c.json"}"#;
    for text in [list, packages] {
        let last = text.rfind('\n').unwrap();
        for end in ["", "\n", "\r\n", " \t", "\n\n", "\n  "] {
            whole(&format!("{text}{end}"), 2);
        }
        for cut in (last + 2)..text.len() {
            let error = read_at(&local_git(), &text[..cut]).unwrap_err();
            assert_eq!((&*error.reason, error.position.unwrap().line), ("input.json", 3), "{error}");
            assert!(error.to_string().contains("line 3"), "{error}");
            for mark in ["\u{feff}", "\r\n", "\n\n"] {
                let (marked, end) = (format!("{mark}{}", text[..cut].replace('\n', "\r\n")), "\r\n");
                assert_eq!(read_at(&local_git(), &marked).unwrap_err().reason, "input.json", "{marked}");
                // With its line's end it is one bad line among good ones.
                let finding = read_at(&local_git(), &format!("{marked}{end}")).unwrap();
                assert_eq!((finding.errands.len(), finding.skipped.len()), (1, 1), "{marked}");
            }
        }
    }
    let location = local_git();
    let bytes = [list.as_bytes(), b"\n{\"id\":\"\xc3"].concat();
    let read =
        |bytes: &[u8]| read_with_known_forges(&errand(&location, None), bytes, &received(bytes, Some(C1)));
    assert_eq!(read(&bytes).unwrap_err().reason, "input.encoding", "in the middle of a character");
    assert_eq!(read(&[&bytes[..], b"\n"].concat()).unwrap().skipped.len(), 1);
}

#[test]
fn other_documents_are_refused_by_name() {
    let rows = [
        (r#"{"schema":"lcod-registry/catalogue@2","components":[]}"#, "input.schema", "catalogue@2"),
        (r#"{"schema":"lcod-registry/catalogues@2","catalogues":[]}"#, "input.schema", "catalogues@2"),
        ("{\"schema\":\"lcod-manifest/list@2\"}\n{}\n", "input.schema", "list@2"),
        ("{\"type\":\"component\",\"id\":\"lcod://a/b@1.0.0\"}\n{}\n", "input.schema", "header line"),
        (r#"{"catalogues":[]}"#, "input.schema", "no schema"),
        (r#"{"schema":"lcod-registry/catalogues@1"}"#, "input.field", "catalogues"),
        (
            r#"{"schema":"lcod-registry/catalogue@1","components":{}}"#,
            "input.field",
            "components: expected an array, found \"object\"",
        ),
        (r#"{"schema":7}"#, "input.field", "7"),
        ("<!DOCTYPE html><title>Sign in</title>", "input.schema", "HTML page"),
        ("version https://git-lfs.github.com/spec/v1\noid sha256:1", "input.schema", "Git LFS pointer"),
        (" \r\n", "input.schema", "empty document"),
        ("sources: []", "input.schema", "sources: []"),
        ("{\"schema\":", "input.json", "line 1"),
        ("[{\"id\":", "input.json", "line 1"),
        ("\"text\"", "input.schema", "text"),
    ];
    for (text, reason, found) in rows {
        check_refused(&remote(), text, reason, found);
    }
    check_refused(&remote(), rows[0].0, "input.schema", "lcod-registry/catalogue@1, lcod-manifest/list@1");
}

/// `threats.md` A5: what a document is stands in it, and nothing is read as something else.
#[test]
fn no_document_passes_for_another() {
    let sources = r#"{"schema":"lcod-resolver/sources@1","sources":[]}"#;
    let list = one_pointer("");
    let catalogue = one_version("", r#"{"version":"1.0.0","manifest":"m"}"#);
    let manifest = manifest("");
    let rows = "{\"schema\":\"lcod-manifest/list@1\"}\n{}\n";
    let as_sources = |text: &str| {
        crate::sources::read(text.as_bytes(), std::path::Path::new("/etc"), &Forges::default()).map(drop)
    };
    let as_node = |text: &str| read_at(&remote(), text).map(drop);
    let as_manifest = |text: &str| manifest_at(&remote(), "", text).map(drop);
    let as_descriptor = |text: &str| {
        row_release(r#"{"id":"lcod://a/b@1.0.0","composePath":"c/compose.yaml"}"#, text).map(drop)
    };
    let check = |read: &dyn Fn(&str) -> Result<(), ParseError>, reason: &str, others: &[&str]| {
        for other in others {
            let error = read(other).expect_err(other);
            assert_eq!(error.reason, reason, "{other}: {error}");
            assert!(error.position.is_some(), "{other}: {error}");
        }
    };
    check(&as_sources, "input.schema", &[&list, &catalogue, &manifest, "[]"]);
    check(&as_node, "input.schema", &[sources, &manifest, "schemaVersion = \"2.0\""]);
    check(&as_manifest, "input.schema", &[sources, &list, &catalogue]);
    check(&as_manifest, "input.json", &[rows, "schemaVersion = \"2.0\""]);
    check(&as_descriptor, "input.toml", &[sources, &list, &catalogue, &manifest, rows, "[]"]);
}

/// What was read, where, what stood there and what was expected, as the operator reads it.
#[test]
fn refusals_say_it_all_in_one_line() {
    let check = |text: &str, expected: &str| {
        let finding = read_at(&remote(), text).unwrap();
        let errors: Vec<String> = finding.skipped.iter().map(|skipped| skipped.error.to_string()).collect();
        assert_eq!(errors, [expected], "{text}");
    };
    check(
        &one_pointer(r#"{"id":"x","path":"c","priority":1.0}"#),
        "catalogues[0].priority: expected an integer, found \"floating point `1.0`\" (line 1, column 88)",
    );
    check("[\n7]", "[0]: expected an object, found \"integer `7`\" (line 2, column 1)");
    check(
        "[{\"id\":\"lcod://a/b@1.0.0\",\n\"composePath\":\"../x\"}]",
        "[0].composePath: expected a path that stays below its root, without . or .. segments, found \"../x\" (line 2, column 15)",
    );
    check(
        "{\"type\":\"manifest\",\"schema\":\"lcod-manifest/list@1\"}\n\n{\"type\":\"list\",\"path\":7}",
        "line 3.path: expected a string, found \"integer `7`\" (line 3, column 23)",
    );
    check(
        &one_version("", r#"{"version":"1.0.0","manifest":"m","dependencies":[7]}"#),
        "components[0].versions[0].dependencies: expected a text or an object with id and version, found \"something else\" (line 1, column 135)",
    );
    let subject = Refusal::of("h.io/c.json", &read_at(&remote(), r#"{"schema":7}"#).unwrap_err());
    assert_eq!(
        subject.to_string(),
        "h.io/c.json: input.field: expected a string, found \"integer `7`\" in schema (line 1, column 11)"
    );
}

#[test]
fn an_empty_list_is_a_list() {
    check(&remote(), r#"{"schema":"lcod-manifest/list@1","id":"empty"}"#, &[]);
    check(&remote(), "\u{feff}[]", &[]);
    check(&remote(), &one_pointer(""), &[]);
}

#[test]
fn nothing_but_bad_entries_is_a_bad_document() {
    let fine = format!("[{}1]", "1,".repeat(SKIPPED_MAX - 1));
    assert_eq!(read_at(&remote(), &fine).unwrap().skipped.len(), SKIPPED_MAX);
    let flood = format!("[{}1]", "1,".repeat(SKIPPED_MAX));
    check_refused(&remote(), &flood, "limit.skipped", "10000");
}

// Catalogues.

#[test]
fn the_seeds_own_catalogue() {
    let text = format!(
        r#"{{
  "schema": "lcod-registry/catalogue@1",
  "id": "tooling/std",
  "origin": {{ "type": "git", "url": "https://github.com/lcod-team/lcod-components", "commit": "{C1}" }},
  "components": [
    {{
      "id": "lcod://tooling/array/append",
      "docs": "https://lcod.dev",
      "tags": ["array"],
      "versions": [
        {{ "version": "0.1.0", "manifest": "packages/append/0.1.0/manifest.json", "sha256": "{SRI}", "priority": 3, "tags": [] }}
      ]
    }},
    {{
      "id": "lcod://tooling/registry_catalog/collect",
      "versions": [ {{ "version": "0.1.0", "manifest": "packages/collect/0.1.0/manifest.json", "yanked": true }} ]
    }}
  ]
}}"#
    );
    let repository = format!("https://github.com/lcod-team/lcod-components at {C1}");
    let append = format!(
        "release lcod://tooling/array/append@0.1.0 {repository}: packages/append/0.1.0/manifest.json sha256:{SRI_HEX}"
    );
    let collect = format!(
        "release lcod://tooling/registry_catalog/collect@0.1.0 {repository}: packages/collect/0.1.0/manifest.json"
    );
    check(&remote(), &text, &[&append, &collect]);

    let finding = read_at(&remote(), &text).unwrap();
    assert_eq!(finding.named.unwrap().as_text(), "tooling/std");
    let refusal = Refusal::new("file_missing", "manifest.json", "a file", "nothing");
    let append = &dialect::refuse(&finding.errands[0], refusal.clone()).releases[0];
    assert_eq!(append.verdict, Verdict::Refused(refusal.clone()));
    // The version's own field wins over the component's of the same name.
    let extra = serde_json::to_string(&append.extra).unwrap();
    assert_eq!(extra, r#"{"docs":"https://lcod.dev","priority":3,"tags":[]}"#);
    assert_eq!(append.origin.commit.as_ref().unwrap().as_text(), C1);
    assert!(dialect::refuse(&finding.errands[1], refusal).releases[0].yanked);
}

#[test]
fn relative_manifests_lead_to_the_origin() {
    let base = Base {
        repository: Repository::Https(HttpsUrl::parse("https://h.io/o/r").unwrap()),
        revision: Revision::Commit(CommitId::parse(C2).unwrap()),
    };
    let registry = Location::File { path: LocalPath::parse("/srv/reg/registry/components.json").unwrap() };
    let git_origin =
        format!(r#""origin":{{"type":"git","url":"https://h.io/x","commit":"{C3}","path":"sub/"}},"#);
    let local_origin = format!(r#""origin":{{"type":"git","url":"file:///srv/x","commit":"{C3}"}},"#);
    let rows: Vec<(Location, Option<Base>, String, String)> = vec![
        // (1) a git origin: that repository at that commit; its path is a prefix
        (remote(), None, git_origin.clone(), format!("https://h.io/x at {C3}: sub/m.json")),
        (https(), Some(base.clone()), git_origin, format!("https://h.io/x at {C3}: sub/m.json")),
        (local_file(), None, local_origin, format!("file:///srv/x at {C3}: m.json")),
        (
            remote(),
            None,
            r#""origin":{"type":"git","url":"https://h.io/x"},"#.into(),
            "https://h.io/x at HEAD: m.json".into(),
        ),
        (
            remote(),
            None,
            r#""origin":{"type":"git","url":"https://github.com/acme/reg","commit":"local"},"#.into(),
            format!("https://github.com/acme/reg at {C1}: m.json"),
        ),
        // (2) no origin: what the pointer named
        (remote(), None, String::new(), format!("https://github.com/acme/reg at {C1}: m.json")),
        (https(), Some(base.clone()), String::new(), format!("https://h.io/o/r at {C2}: m.json")),
        // (4) https: beside origin.url, else beside the catalogue
        (https(), None, String::new(), "https://git.acme.com/platform/m.json".into()),
        (
            https(),
            Some(base),
            r#""origin":{"type":"https","url":"https://cdn.io/a/","path":"p"},"#.into(),
            "https://cdn.io/a/p/m.json".into(),
        ),
        // (5) files: the catalogue's directory, or its parent when that is called registry
        (local_file(), None, String::new(), "/srv/reg/m.json".into()),
        (registry.clone(), None, String::new(), "/srv/reg/m.json".into()),
        (registry, None, r#""origin":{"type":"file","path":"p"},"#.into(), "/srv/reg/p/m.json".into()),
        (
            local_file(),
            None,
            r#""origin":{"type":"file","url":"file:///srv/y"},"#.into(),
            "/srv/y/m.json".into(),
        ),
        (
            local_file(),
            None,
            r#""origin":{"type":"file","url":"y","path":"z"},"#.into(),
            "/srv/reg/y/z/m.json".into(),
        ),
    ];
    for (location, base, origin, want) in rows {
        let text = one_version(&origin, r#"{"version":"1.0.0","manifest":"m.json"}"#);
        let commit = matches!(location, Location::Git { .. }).then_some(C1);
        let finding = read_with_known_forges(
            &errand(&location, base),
            text.as_bytes(),
            &received(text.as_bytes(), commit),
        );
        assert_eq!(lines(&finding.unwrap()), [format!("release lcod://a/b@1.0.0 {want}")], "{text}");
    }
}

#[test]
fn manifests_may_be_urls() {
    let rows = [
        (remote(), "https://cdn.io/m.json", "https://cdn.io/m.json"),
        (
            remote(),
            "https://raw.githubusercontent.com/o/r/4a569e82930c784d2b4f2a40a39e85daea774a80/m.json",
            "https://github.com/o/r at 4a569e82930c784d2b4f2a40a39e85daea774a80: m.json",
        ),
        (local_file(), "file:///srv/x/m.json", "/srv/x/m.json"),
    ];
    for (location, manifest, want) in rows {
        let version = format!(r#"{{"version":"1.0.0","manifest":"{manifest}"}}"#);
        check(&location, &one_version("", &version), &[&format!("release lcod://a/b@1.0.0 {want}")]);
    }
}

#[test]
fn a_bad_origin_refuses_the_catalogue() {
    let rows = [
        (r#"{"type":"git","url":"https://h.io/x","commit":"4a569e8"}"#, "input.commit"),
        (r#"{"type":"git"}"#, "input.field"),
        (r#"{"type":"git","url":"https://h.io/x","path":"../y"}"#, "input.path"),
        (r#"{"type":"svn","url":"https://h.io/x"}"#, "input.kind"),
        (r#"{"url":"https://h.io/x"}"#, "input.kind"),
        (r#"{"type":"https","url":"sub/dir"}"#, "input.url_scheme"),
        (r#"{"type":"file","url":"https://h.io/x"}"#, "input.url_scheme"),
    ];
    for (origin, reason) in rows {
        check_refused(&remote(), &one_version(&format!(r#""origin":{origin},"#), ""), reason, "origin");
    }
}

#[test]
fn a_bad_version_spoils_only_itself() {
    let text = r#"{"schema":"lcod-registry/catalogue@1","id":"Bad Id","components":[
 {"id":"lcod://a/b@1.0.0","versions":[{"version":"1.0.0","manifest":"m"}]},
 {"id":"estream:b","versions":[]},
 {"id":"lcod://../b","versions":[]},
 {"id":"lcod://a/none"},
 7,
 {"id":"lcod://a/b","versions":[
  {"version":"1.0","manifest":"m"},
  {"version":"1.0.0"},
  {"version":"1.0.0","manifest":"../m"},
  {"version":"1.0.0","manifest":"m","sha256":"short"},
  {"version":"1.0.0","manifest":"m","dependencies":["x"]},
  {"version":"1.0.0","manifest":"m","dependencies":[7]},
  {"version":"1.0.0","manifest":"m"}]}]}"#;
    let good = format!("release lcod://a/b@1.0.0 https://github.com/acme/reg at {C1}: m");
    check(
        &remote(),
        text,
        &[
            &good,
            "skip lcod://a/b@1.0.0 input.id",
            "skip estream:b input.id",
            "skip lcod://../b input.id",
            "skip components[3] input.field",
            "skip components[4] input.field",
            "skip lcod://a/b@1.0 input.version",
            "skip components[5].versions[1] input.field",
            "skip lcod://a/b@1.0.0 input.path",
            "skip lcod://a/b@1.0.0 input.digest",
            "skip lcod://a/b@1.0.0 input.id",
            "skip components[5].versions[5] input.field",
            "warn catalogue.id",
        ],
    );
    let finding = read_at(&remote(), text).unwrap();
    let error = &finding.skipped[7].error;
    assert_eq!(error.field, "components[5].versions[2].manifest");
    assert_eq!(error.position, Some(Position { line: 10, column: 33 }));
}

#[test]
fn the_first_of_two_equal_releases_wins() {
    let text = format!(
        r#"{{"schema":"lcod-registry/catalogue@1","components":[
 {{"id":"lcod://a/b","versions":[
  {{"version":"1.0.0","manifest":"m"}},
  {{"version":"1.0.0","manifest":"m"}},
  {{"version":"1.0.0","manifest":"n"}},
  {{"version":"1.0.0","manifest":"m","sha256":"{SRI}"}},
  {{"version":"1.0.0","manifest":"m","yanked":true}},
  {{"version":"1.0.0+build","manifest":"m"}},
  {{"version":"1.0.0-rc.1","manifest":"m"}}]}},
 {{"id":"lcod://a/b","versions":[{{"version":"2.0.0","manifest":"m"}},{{"version":"v1.0.0","manifest":"m"}}]}}]}}"#
    );
    let at = format!("https://github.com/acme/reg at {C1}: m");
    let mut expected: Vec<String> =
        ["1.0.0", "1.0.0-rc.1", "2.0.0"].map(|version| format!("release lcod://a/b@{version} {at}")).into();
    for version in ["1.0.0", "1.0.0", "1.0.0", "1.0.0", "1.0.0+build", "v1.0.0"] {
        expected.push(format!("skip lcod://a/b@{version} catalogue.duplicate"));
    }
    // Only what says something else is worth a warning.
    expected.extend(["warn catalogue.duplicate"; 4].map(str::to_owned));
    let finding = read_at(&remote(), &text).unwrap();
    assert_eq!(lines(&finding), expected);
    let twice = "lcod://a/b@1.0.0 is listed again with other content; the first entry is used";
    assert_eq!(finding.contradiction.as_deref(), Some(twice));
    let again = text.lines().take(4).collect::<Vec<_>>().join("\n").trim_end_matches(',').to_owned() + "]}]}";
    assert_eq!(read_at(&remote(), &again).unwrap().contradiction, None, "the same again");

    let rows = r#"[{"id":"lcod://a/b@1.0.0","composePath":"b/compose.yaml"},
{"id":"lcod://a/b@1.0.0","composePath":"b/compose.yaml"},
{"id":"lcod://a/b@1.0.0","composePath":"b/other.yaml"}]"#;
    check(
        &remote(),
        rows,
        &[
            &format!("release lcod://a/b@1.0.0 https://github.com/acme/reg at {C1}: b/lcp.toml"),
            "skip lcod://a/b@1.0.0 catalogue.duplicate",
            "skip lcod://a/b@1.0.0 catalogue.duplicate",
            "warn catalogue.duplicate",
        ],
    );
}

#[test]
fn a_catalogue_says_what_it_has_withdrawn() {
    let read = |withdrawn: &str| {
        let text = format!(
            r#"{{"schema":"lcod-registry/catalogue@1","components":[{{"id":"lcod://a/b","versions":[{{"version":"1.0.0","manifest":"m"}}]}}],"withdrawn":{withdrawn}}}"#
        );
        let finding = read_at(&remote(), &text).unwrap();
        assert_eq!(finding.errands.len(), 1, "the rest is read");
        let shown = |one: &dialect::Withdrawn| match &one.version {
            Some(version) => format!("{}@{version}", one.id),
            None => one.id.to_string(),
        };
        let skipped = finding.skipped.iter().map(|one| format!("skip {} {}", one.entry, one.error.reason));
        finding.withdrawn.iter().map(shown).chain(skipped).collect::<Vec<String>>()
    };
    assert_eq!(read("null"), <[String; 0]>::default());
    assert_eq!(read("[]"), <[String; 0]>::default());
    assert_eq!(read(r#"["lcod://a/c","lcod://a/b@v0.1.0"]"#), ["lcod://a/c", "lcod://a/b@0.1.0"]);
    assert_eq!(
        read(r#"["lcod://a/c","a b",7,"lcod://a/b@1"]"#),
        [
            "lcod://a/c",
            "skip withdrawn[1] input.id",
            "skip withdrawn[2] input.id",
            "skip withdrawn[3] input.version"
        ]
    );
    assert_eq!(read(r#""lcod://a/c""#), ["skip withdrawn input.field"]);
}

#[test]
fn a_list_says_which_catalogues_it_has_withdrawn() {
    let forms = [
        r#"{"schema":"lcod-registry/catalogues@1","catalogues":[],"withdrawn":%}"#,
        "{\"type\":\"manifest\",\"schema\":\"lcod-manifest/list@1\",\"id\":\"x\",\"withdrawn\":%}\n{\"type\":\"list\",\"id\":\"c\",\"path\":\"c.jsonl\"}\n",
        r#"{"type":"manifest","schema":"lcod-manifest/list@1","id":"x","withdrawn":%}"#,
    ];
    for form in forms {
        let check = |withdrawn: &str, expected: (&[&str], usize, usize)| {
            let finding = read_at(&remote(), &form.replace('%', withdrawn)).unwrap();
            let names: Vec<&str> = finding.withdrawn_catalogues.iter().map(|name| name.as_text()).collect();
            let found = (names.as_slice(), finding.withdrawn.len(), finding.skipped.len());
            assert_eq!(found, expected, "{form} {withdrawn}");
        };
        check("null", (&[], 0, 0));
        check(r#"["tools","acme/old"]"#, (&["tools", "acme/old"], 0, 0));
        check(r#"["tools","lcod://a/c","lcod://a/b@1.0.0",7,"No Id"]"#, (&["tools"], 2, 2));
        check(r#""tools""#, (&[], 0, 1));
    }
}

#[test]
fn large_component_fields_are_not_multiplied_without_bound() {
    let versions: Vec<String> =
        (0..200).map(|patch| format!(r#"{{"version":"1.0.{patch}","manifest":"m"}}"#)).collect();
    let text = format!(
        r#"{{"schema":"lcod-registry/catalogue@1","components":[{{"id":"lcod://a/b","big":"{}","versions":[{}]}}]}}"#,
        "x".repeat(100_000),
        versions.join(",")
    );
    let finding = read_at(&remote(), &text).unwrap();
    assert_eq!(finding.errands.len(), 200);
    assert_eq!(finding.warnings[0].reason, "catalogue.extra_dropped");
    let refused = dialect::refuse(&finding.errands[0], Refusal::new("x", "x", "", ""));
    assert!(refused.releases[0].extra.is_empty());
    assert_eq!(finding.warnings.len(), 1);
}

// Rows.

#[test]
fn rows_lead_to_their_descriptor_and_compose() {
    let of = |row: &str| format!(r#"[{{"id":"lcod://a/b@1.0.0",{row}}}]"#);
    let here = format!("https://github.com/acme/reg at {C1}");
    let rows: Vec<(Location, String, String)> = vec![
        (remote(), r#""composePath":"p/compose.yaml""#.into(), format!("{here}: p/lcp.toml")),
        (remote(), r#""compose":"p/compose.yaml","lcp":"q/lcp.toml""#.into(), format!("{here}: q/lcp.toml")),
        (remote(), r#""composePath":"./compose.yaml""#.into(), format!("{here}: lcp.toml")),
        (remote(), r#""url":"https://cdn.io/b/compose.yaml""#.into(), "https://cdn.io/b/lcp.toml".into()),
        (
            remote(),
            format!(r#""compose":"p/c","origin":{{"source_repo":"https://h.io/r","commit":"{C2}"}}"#),
            format!("https://h.io/r at {C2}: p/lcp.toml"),
        ),
        (
            remote(),
            format!(
                r#""compose":"p/c","origin":{{"sourceRepo":"https://h.io/r","commit":"{C2}","path":"d"}}"#
            ),
            format!("https://h.io/r at {C2}: d/p/lcp.toml"),
        ),
        (
            remote(),
            r#""compose":"p/c","origin":{"source_repo":"https://h.io/r"}"#.into(),
            format!("https://h.io/r at {C1}: p/lcp.toml"),
        ),
        (
            remote(),
            r#""compose":"p/c","origin":{"source_repo":"https://h.io/r","commit":"local"}"#.into(),
            format!("{here}: p/lcp.toml"),
        ),
        (
            remote(),
            format!(r#""compose":"p/c","origin":{{"commit":"{C2}"}}"#),
            format!("https://github.com/acme/reg at {C2}: p/lcp.toml"),
        ),
        (
            local_file(),
            r#""compose":"p/c","origin":{"source_repo":"https://h.io/r","commit":"local"}"#.into(),
            "/srv/reg/p/lcp.toml".into(),
        ),
        (https(), r#""compose":"p/c""#.into(), "https://git.acme.com/platform/p/lcp.toml".into()),
        (local_git(), r#""compose":"p/c""#.into(), format!("file:///srv/reg.git at {C1}: p/lcp.toml")),
        (local_git(), r#""compose":"file:///srv/z/c""#.into(), "/srv/z/lcp.toml".into()),
    ];
    for (location, row, want) in rows {
        check(&location, &of(&row), &[&format!("release lcod://a/b@1.0.0 {want}")]);
    }
}

#[test]
fn a_bad_row_is_left_out_with_its_reason() {
    let rows = [
        (r#"{"id":"lcod://a/b","composePath":"c","version":"1.0.0"}"#, "lcod://a/b version_missing"),
        (r#"{"id":"lcod://a/b@1","composePath":"c"}"#, "lcod://a/b@1 input.version"),
        (r#"{"id":"estream:b@1.0.0","composePath":"c"}"#, "estream:b@1.0.0 input.id"),
        (
            r#"{"id":"lcod://a/b@1.0.0","composePath":"../lcod-components/c.yaml"}"#,
            "lcod://a/b@1.0.0 input.path",
        ),
        (r#"{"id":"lcod://a/b@1.0.0","composePath":"c","lcp":"../lcp.toml"}"#, "lcod://a/b@1.0.0 input.path"),
        (
            r#"{"id":"lcod://a/b@1.0.0","composePath":"c","origin":{"path":"../x"}}"#,
            "lcod://a/b@1.0.0 input.path",
        ),
        (
            r#"{"id":"lcod://a/b@1.0.0","composePath":"c","origin":{"commit":"5655cf4"}}"#,
            "lcod://a/b@1.0.0 input.commit",
        ),
        (r#"{"id":"lcod://a/b@1.0.0"}"#, "lcod://a/b@1.0.0 input.field"),
        (r#"{"composePath":"c"}"#, "[0] input.field"),
        (r#"{"id":"lcod://a/b@1.0.0","composePath":"c","sha256":"x"}"#, "lcod://a/b@1.0.0 input.digest"),
        (
            r#"{"id":"lcod://a/b@1.0.0","composePath":"c","sha256":"bf1257453a8c8204b8dae67e203b21a72443c7055190745a65804719ffde1f08","checksum":"sha256-YjMc8/51mnfk37cJzsUlKT8qpsG9RHQ2XdeZp5UD4W4="}"#,
            "lcod://a/b@1.0.0 trust.pin_conflict",
        ),
        ("null", "[0] input.field"),
    ];
    for (row, expected) in rows {
        check(&remote(), &format!("[{row}]"), &[&format!("skip {expected}")]);
    }
}

/// Reads the one row of a list, then its `lcp.toml`, then its `compose.yaml`.
fn row_release(row: &str, lcp: &str) -> Result<Release, ParseError> {
    let found = read_at(&remote(), &format!("[{row}]"))?;
    let found =
        read_with_known_forges(&found.errands[0], lcp.as_bytes(), &received(lcp.as_bytes(), Some(C1)))?;
    let mut last = received(b"compose: []", Some(C1));
    last.trust = trust("unpinned");
    last.blob = Some(CommitId::parse(C3).unwrap());
    let found = read_with_known_forges(&found.errands[0], b"compose: []", &last)?;
    Ok(found.releases.into_iter().next().unwrap())
}

#[test]
fn a_row_its_descriptor_and_its_compose_make_a_release() {
    let row = format!(
        r#"{{"type":"component","id":"lcod://core/append@0.1.0","compose":"packages/append/compose.yaml","package":"lcod-components/std","version":"9.9.9","namespace":"core","sha256":"{HEX}"}}"#
    );
    let lcp = r#"schemaVersion = "2.0"
id = "lcod://core/append@0.1.0"
version = "0.1.0"
kind = "component"
summary = "Append items"

[deps]
requires = ["lcod://tooling/script@1", "lcod://contract/x@^1.2", "lcod://tooling/script@1", { id = "lcod://b/c", version = "~2.0" }]

[inputs.items]
required = true
schema = '{"type":"array"}'
"#;
    let release = row_release(&row, lcp).unwrap();
    assert_eq!(release.id.as_text(), "lcod://core/append");
    assert_eq!(release.version.to_string(), "0.1.0");
    assert_eq!(release.manifest, None);
    assert_eq!(release.kind.as_deref(), Some("component"));
    assert_eq!(release.summary.as_deref(), Some("Append items"));
    let dependencies: Vec<String> = release.dependencies.texts().map(str::to_owned).collect();
    assert_eq!(dependencies, ["lcod://b/c@~2.0", "lcod://contract/x@^1.2", "lcod://tooling/script@1"]);
    let files: Vec<&str> = release.files.iter().map(|file| file.path.as_text()).collect();
    assert_eq!(files, ["packages/append/compose.yaml", "packages/append/lcp.toml"]);
    assert_eq!(release.files[0].digest, Some(Digest::sha256(b"compose: []")));
    assert_eq!(release.files[0].size, Some(11));
    assert_eq!(release.files[0].blob.as_ref().unwrap().as_text(), C3);
    assert_eq!(release.files[1].size, Some(lcp.len() as u64));
    assert_eq!(release.origin.repository.as_ref().unwrap().to_string(), "https://github.com/acme/reg");
    assert_eq!(release.origin.commit.as_ref().unwrap().as_text(), C1);
    assert_eq!(release.origin.path.as_ref().unwrap().as_text(), "packages/append");
    assert_eq!(
        serde_json::to_string(&release.extra).unwrap(),
        r#"{"namespace":"core","package":"lcod-components/std","version":"9.9.9"}"#
    );
    // The weaker of the two documents decides.
    let Verdict::Trusted(trust) = release.verdict else { panic!("refused") };
    assert_eq!(trust.level(), Level::Unpinned);
    assert_eq!(release.warnings, []);
}

#[test]
fn a_rows_digest_pins_its_compose() {
    let row = format!(r#"[{{"id":"lcod://a/b@1.0.0","compose":"c","checksum":"{SRI}"}}]"#);
    let found = read_at(&remote(), &row).unwrap();
    assert!(found.errands[0].digests.is_empty());
    let found = read_with_known_forges(&found.errands[0], b"", &received(b"", Some(C1))).unwrap();
    assert_eq!(*found.errands[0].digests, [Digest::parse(SRI_HEX).unwrap()]);
}

#[test]
fn descriptors_of_every_age_are_read() {
    let row = r#"{"id":"lcod://a/b@1.0.0","compose":"b/compose.yaml"}"#;
    let rows: &[(&str, &[&str])] = &[
        ("", &[]),
        (
            "\u{feff}schemaVersion = \"1.0\"\r\nid = \"lcod://a/b@1.0.0\"\r\nname = \"b\"\r\nnamespace = \"a\"\r\n[[io.input]]\r\nname = \"x\"\r\n[docs]\r\n",
            &[],
        ),
        ("schemaVersion = 2.0\nid = \"lcod://a/b\"\nversion = \"1.0.0\"", &[]),
        ("schemaVersion = \"2.1\"", &[]),
        ("id = \"lcod://a/other@1.0.0\"", &["descriptor.id_mismatch"]),
        ("id = \"lcod://a/b@1.0.1\"", &["descriptor.id_mismatch"]),
        (
            "[deps]\nrequires = [\"core/x\", 7, { name = \"x\" }, \"lcod://a/c@1 || 2\", \"lcod://a/c@\", \"lcod://a/d\"]",
            &[
                "descriptor.requirement",
                "descriptor.requirement",
                "descriptor.requirement",
                "descriptor.requirement",
                "descriptor.requirement",
            ],
        ),
    ];
    for (lcp, warnings) in rows {
        let release = row_release(row, lcp).unwrap();
        let reasons: Vec<&str> = release.warnings.iter().map(|warning| &*warning.reason).collect();
        assert_eq!(reasons, *warnings, "{lcp}");
    }
}

#[test]
fn a_bad_descriptor_refuses_its_release() {
    let row = r#"{"id":"lcod://a/b@1.0.0","compose":"b/compose.yaml"}"#;
    let deep_array = format!("x = {}{}", "[".repeat(100_000), "]".repeat(100_000));
    let deep_key = format!("{}b = 1", "a.".repeat(100_000));
    let deep_table = format!("[{}b]\nc = 1", "a.".repeat(100_000));
    let large = format!("summary = \"{}\"", "x".repeat(300_000));
    let rows = [
        ("schemaVersion = \"3.0\"", "input.schema"),
        ("kind = ", "input.toml"),
        ("kind = 1", "input.toml"),
        ("id = \"a\"\nid = \"b\"", "input.toml"),
        (&deep_array, "input.toml"),
        (&deep_key, "input.toml"),
        (&deep_table, "input.toml"),
        (&large, "limit.document_bytes"),
    ];
    for (lcp, reason) in rows {
        let error = row_release(row, lcp).unwrap_err();
        assert_eq!(error.reason, reason, "{error}");
    }
    assert_eq!(row_release(row, "a = 1\nkind = 1").unwrap_err().position.unwrap().line, 2);
    let found = read_at(&remote(), &format!("[{row}]")).unwrap();
    assert!(read_with_known_forges(&found.errands[0], b"\xff", &received(b"", None)).is_err());

    let refusal = Refusal::new("file_missing", "b/lcp.toml", "a file", "nothing");
    let release = dialect::refuse(&found.errands[0], refusal.clone()).releases.remove(0);
    assert_eq!(release.verdict, Verdict::Refused(refusal));
    assert_eq!(release.origin.path.unwrap().as_text(), "b");
}

#[test]
fn both_files_of_a_release_come_from_one_commit() {
    let row =
        r#"[{"id":"lcod://a/b@1.0.0","url":"https://raw.githubusercontent.com/o/r/main/b/compose.yaml"}]"#;
    let found = read_at(&remote(), row).unwrap();
    assert_eq!(found.errands[0].want.to_string(), "https://github.com/o/r at main: b/lcp.toml");
    let found = read_with_known_forges(&found.errands[0], b"", &received(b"", Some(C2))).unwrap();
    assert_eq!(found.errands[0].want.to_string(), format!("https://github.com/o/r at {C2}: b/compose.yaml"));
}

// Manifests.

#[test]
fn a_manifest_may_name_a_component_beside_its_catalogue() {
    let text = |source: &str| {
        format!(
            r#"{{"schema":"lcod-registry/manifest@1","id":"lcod://tooling/array/append@0.1.0","source":{source},"files":[{{"path":"lcp.toml","sha256":"{SRI}"}}],"dependencies":[]}}"#
        )
    };
    let beside = text(r#"{"type":"file","path":"parts/append"}"#);

    // In a repository its commit is known; among plain files there is none.
    let in_git = manifest_at(&local_git(), "", &beside).unwrap();
    assert_eq!(in_git.origin.repository.unwrap().to_string(), "file:///srv/reg.git");
    assert_eq!(in_git.origin.commit.unwrap().as_text(), C1);
    assert_eq!(in_git.origin.path.unwrap().as_text(), "parts/append");
    assert_eq!(in_git.files[0].path.as_text(), "parts/append/lcp.toml");
    let in_files = manifest_at(&local_file(), "", &beside).unwrap();
    assert_eq!((in_files.origin.repository, in_files.origin.commit), (None, None));

    let check = |location: &Location, source: &str, reason: &str, field: &str| {
        let error = manifest_at(location, "", &text(source)).unwrap_err();
        assert_eq!((&*error.reason, &*error.field), (reason, field), "{error}");
    };
    check(&remote(), r#"{"type":"file","path":"parts"}"#, "input.kind", "source.type");
    check(&local_file(), r#"{"type":"file","path":"parts","url":"file:///x"}"#, "input.kind", "source.type");
    check(&local_file(), r#"{"type":"svn","path":"parts"}"#, "input.kind", "source.type");
    check(&local_file(), r#"{"type":"git","path":"parts"}"#, "input.field", "source.url");
    check(&local_file(), r#"{"type":"file","path":"../parts"}"#, "input.path", "source.path");
}

/// Reads a manifest of `lcod://tooling/array/append@0.1.0` that a catalogue at `location` points to.
fn manifest_at(location: &Location, version: &str, manifest: &str) -> Result<Release, ParseError> {
    let text = format!(
        r#"{{"schema":"lcod-registry/catalogue@1","components":[{{"id":"lcod://tooling/array/append","team":"x","versions":[{{"version":"0.1.0","manifest":"m.json"{version}}}]}}]}}"#
    );
    let found = read_at(location, &text)?;
    let received = received(manifest.as_bytes(), Some(C1));
    let found = read_with_known_forges(&found.errands[0], manifest.as_bytes(), &received)?;
    Ok(found.releases.into_iter().next().unwrap())
}

fn manifest(dependencies: &str) -> String {
    format!(
        r#"{{"schema":"lcod-registry/manifest@1","id":"lcod://tooling/array/append@0.1.0","publishedAt":"2025-10-14T18:00:00Z","kind":"component","summary":7,
 "source":{{"type":"git","url":"https://github.com/lcod-team/lcod-components","commit":"{C1}","path":"packages/append"}},
 "files":[{{"path":"packages/append/compose.yaml","sha256":"{HEX}","size":399}},{{"path":"lcp.toml","sha256":"{SRI}"}}],
 "dependencies":[{dependencies}],"artifact":null}}"#
    )
}

#[test]
fn a_manifest_makes_a_release() {
    let text = manifest(r#""lcod://b/c@1", {"id":"lcod://a/b","version":"^1.2"}, {"id":"lcod://a/a"}"#);
    let release = manifest_at(&remote(), r#","summary":"from the catalogue""#, &text).unwrap();
    assert_eq!(release.manifest, Some(Digest::sha256(text.as_bytes())));
    assert_eq!(release.origin.commit.as_ref().unwrap().as_text(), C1);
    assert_eq!(release.origin.path.as_ref().unwrap().as_text(), "packages/append");
    let files: Vec<String> = release
        .files
        .iter()
        .map(|file| format!("{} {} {:?}", file.path, file.digest.as_ref().unwrap(), file.size))
        .collect();
    // Paths from the root and paths below source.path come out the same.
    assert_eq!(
        files,
        [
            format!("packages/append/compose.yaml sha256:{HEX} Some(399)"),
            format!("packages/append/lcp.toml sha256:{SRI_HEX} None"),
        ]
    );
    let dependencies: Vec<String> = release.dependencies.texts().map(str::to_owned).collect();
    assert_eq!(dependencies, ["lcod://a/a", "lcod://a/b@^1.2", "lcod://b/c@1"]);
    assert_eq!(release.kind.as_deref(), Some("component"));
    assert_eq!(release.summary, None);
    assert_eq!(
        serde_json::to_string(&release.extra).unwrap(),
        r#"{"artifact":null,"publishedAt":"2025-10-14T18:00:00Z","summary":7,"team":"x"}"#
    );
    assert_eq!(release.verdict.word(), "pinned");
}

#[test]
fn the_catalogues_dependencies_must_be_the_manifests() {
    let text = manifest(r#""lcod://b/c@1", {"id":"lcod://a/b","version":"^1.2"}"#);
    let same = r#","dependencies":["lcod://a/b@^1.2","lcod://b/c@1"]"#;
    assert!(manifest_at(&remote(), same, &text).is_ok());
    for other in ["[]", r#"["lcod://b/c@1"]"#, r#"["lcod://a/b@^1.3","lcod://b/c@1"]"#] {
        let error = manifest_at(&remote(), &format!(r#","dependencies":{other}"#), &text).unwrap_err();
        assert_eq!(error.reason, "trust.statement_mismatch");
        assert!(error.found.contains("lcod://a/b@^1.2, lcod://b/c@1"), "{error}");
    }
}

#[test]
fn a_bad_manifest_refuses_its_release() {
    let good = manifest("");
    let rows = [
        ("append@0.1.0", "append@0.2.0", "trust.statement_mismatch"),
        ("array/append@", "array/pluck@", "trust.statement_mismatch"),
        ("manifest@1", "manifest@2", "input.schema"),
        (C1, "4a569e8", "input.commit"),
        (C1, "main", "input.commit"),
        ("https://github.com/", "file:///srv/", "input.url_scheme"),
        ("\"type\":\"git\"", "\"type\":\"hg\"", "input.kind"),
        ("packages/append\"}", "../append\"}", "input.path"),
        ("packages/append/compose.yaml", "/etc/passwd", "input.path"),
        ("packages/append/compose.yaml", "a/../../b", "input.path"),
        ("packages/append/compose.yaml", "lcp.toml", "input.path"),
        (HEX, "BF12", "input.digest"),
        ("\"sha256\"", "\"md5\"", "input.field"),
        ("\"files\":[", "\"files\":[7,", "input.field"),
        ("\"dependencies\":[", "\"dependencies\":[\"x\"", "input.id"),
        ("\"source\"", "\"sauce\"", "input.field"),
        ("}", "", "input.json"),
    ];
    for (from, to, reason) in rows {
        let error = manifest_at(&remote(), "", &good.replace(from, to)).unwrap_err();
        assert_eq!(error.reason, reason, "{from} -> {to}: {error}");
    }
    let local = good.replace("https://github.com/", "file:///srv/");
    let release = manifest_at(&local_git(), "", &local).unwrap();
    assert_eq!(release.origin.repository.unwrap().to_string(), "file:///srv/lcod-team/lcod-components");

    let error = manifest_at(&remote(), "", &good.replace("append@0.1.0", "append@0.2.0")).unwrap_err();
    assert_eq!(error.expected, "lcod://tooling/array/append@0.1.0");
    assert!(error.found.contains("lcod://tooling/array/append@0.2.0"));
}

// The schemas of the documents.

#[test]
fn every_document_has_a_schema() {
    let schemas = [
        schemars::schema_for!(document::CataloguesDocument),
        schemars::schema_for!(document::ListRow),
        schemars::schema_for!(document::CatalogueDocument),
        schemars::schema_for!(Vec<document::ArrayEntry>),
        schemars::schema_for!(document::ManifestDocument),
        schemars::schema_for!(document::Descriptor),
    ];
    let text = serde_json::to_string(&schemas).unwrap();
    for name in ["composePath", "publicKey", "source_repo", "schemaVersion", "lcp", "manifestPath"] {
        assert!(text.contains(&format!("\"{name}\"")), "{name}");
    }
}

// What travels between documents.

#[test]
fn tasks_survive_being_written_down() {
    let samples = [
        one_version(
            "",
            &format!(
                r#"{{"version":"1.0.0","manifest":"m","sha256":"{SRI}","dependencies":["lcod://a/c@1"],"x":1}}"#
            ),
        ),
        format!(r#"[{{"id":"lcod://a/b@1.0.0","compose":"c","sha256":"{SRI}","y":[1]}}]"#),
        one_pointer(&format!(r#"{{"id":"x","url":"https://raw.githubusercontent.com/o/r/{C2}/c.json"}}"#)),
    ];
    for text in samples {
        let found = read_at(&remote(), &text).unwrap();
        for errand in &found.errands {
            let written = serde_json::to_string(errand).unwrap();
            assert_eq!(serde_json::from_str::<Errand>(&written).unwrap(), *errand);
        }
    }
}

#[test]
fn a_source_may_name_a_forge_file() {
    let url = HttpsUrl::parse("https://raw.githubusercontent.com/o/r/main/c.json").unwrap();
    let source = Source {
        id: "acme".parse().unwrap(),
        dialect: Dialect::Lcod,
        place: Place { priority: 1, position: 0 },
        entry: Location::Https { url },
        digests: Vec::new(),
        owns: Vec::new(),
        offline: false,
        refresh_s: None,
        max_stale_s: None,
        filter: Filter::default(),
        origin: None,
        signature: None,
        declared_in: None,
    };
    let text = r#"[{"id":"lcod://a/b@1.0.0","composePath":"b/compose.yaml"}]"#;
    let found = read_with_known_forges(
        &dialect::start(&source, &Forges::default()),
        text.as_bytes(),
        &received(text.as_bytes(), None),
    )
    .unwrap();
    assert_eq!(lines(&found), ["release lcod://a/b@1.0.0 https://github.com/o/r at main: b/lcp.toml"]);
}

/// Good documents to start mutations from, each with the errand that reads it.
fn samples() -> Vec<(Errand, Vec<u8>)> {
    let list = one_pointer(&format!(
        r#"{{"id":"x","kind":"git","url":"https://h.io/r","path":"c","commit":"{C1}"}}"#
    ));
    let rows = r#"[{"id":"lcod://a/b@1.0.0","composePath":"b/compose.yaml"}]"#.to_owned();
    let jsonl = "{\"schema\":\"lcod-manifest/list@1\",\"id\":\"a\"}\n{\"type\":\"component\",\"id\":\"lcod://a/b@1.0.0\",\"compose\":\"c\"}\n".to_owned();
    let catalogue = one_version("", r#"{"version":"0.1.0","manifest":"m"}"#)
        .replace("lcod://a/b", "lcod://tooling/array/append");
    let lcp = "schemaVersion = \"2.0\"\nid = \"lcod://a/b@1.0.0\"\n[deps]\nrequires = [\"lcod://a/c@1\"]\n";
    let manifest_errand = read_at(&remote(), &catalogue).unwrap().errands.remove(0);
    let descriptor_errand = read_at(&remote(), &rows).unwrap().errands.remove(0);
    let mut samples: Vec<(Errand, Vec<u8>)> = [list, rows, jsonl, catalogue]
        .into_iter()
        .map(|text| (errand(&remote(), None), text.into_bytes()))
        .collect();
    samples.push((manifest_errand, manifest("").into_bytes()));
    samples.push((descriptor_errand, lcp.as_bytes().to_vec()));
    samples
}

/// The same, and a catalogue and a manifest with every field.
fn full_samples() -> Vec<(Errand, Vec<u8>)> {
    let mut samples = samples();
    let version = format!(
        r#"{{"version":"0.1.0","manifest":"m/1.json","sha256":"{HEX}","yanked":true,"dependencies":["lcod://a/c@^1.2","lcod://a/d"],"kind":"x","tags":["y",1,null]}}"#
    );
    let catalogue = format!(
        r#"{{"schema":"lcod-registry/catalogue@1","id":"cat","origin":{{"type":"git","url":"https://h.io/r","commit":"{C2}","path":"p"}},"other":{{"a":1}},
"components":[{{"id":"lcod://a/b","versions":[{version},
{{"version":"1.0.0","manifest":"m/2.json"}}],"note":"n","signature":"s"}},{{"id":"lcod://a/b","versions":[{version}]}}]}}"#
    );
    let manifest = format!(
        r#"{{"schema":"lcod-registry/manifest@1","id":"lcod://tooling/array/append@0.1.0","source":{{"type":"git","url":"https://h.io/r","commit":"{C3}","path":"p"}},
"files":[{{"path":"p/x","sha256":"{HEX}","size":7}},{{"path":"y","sha256":"{HEX}"}}],"dependencies":["lcod://a/c@^1.2","lcod://a/d"],"kind":"flow","publicKey":"k"}}"#
    );
    let of_manifest = samples[4].0.clone();
    samples.push((errand(&remote(), None), catalogue.into_bytes()));
    samples.push((of_manifest, manifest.into_bytes()));
    samples
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), which in 0usize..6) {
        let (errand, _) = samples().swap_remove(which);
        let _ = read_with_known_forges(&errand, &bytes, &received(&bytes, Some(C1)));
    }

    #[test]
    fn no_text_makes_it_panic(text in "[\\[{]?[\\[\\]{}\",:a-z0-9@/.\\\\ \n=é\u{feff}-]{0,80}", which in 0usize..6) {
        let (errand, _) = samples().swap_remove(which);
        let _ = read_with_known_forges(&errand, text.as_bytes(), &received(text.as_bytes(), Some(C1)));
    }

    #[test]
    fn the_plain_reader_says_what_the_strict_one_says(
        which in 0usize..8,
        edits in proptest::collection::vec((any::<prop::sample::Index>(), "[a-z0-9@/.,:\"{}\\[\\] -]", 0u8..3), 0..4),
    ) {
        let (errand, mut bytes) = full_samples().swap_remove(which);
        for (at, text, how) in edits {
            let at = at.index(bytes.len());
            match how {
                0 => bytes[at] = text.as_bytes()[0],
                1 => bytes.insert(at, text.as_bytes()[0]),
                _ => { bytes.remove(at); }
            }
        }
        let read = |strict_only| {
            json::plain::STRICT_ONLY.set(strict_only);
            let found = read_with_known_forges(&errand, &bytes, &received(&bytes, Some(C1)));
            json::plain::STRICT_ONLY.set(false);
            format!("{found:?}")
        };
        prop_assert_eq!(read(false), read(true));
    }

    #[test]
    fn a_release_is_listed_once_in_whatever_order(
        rows in proptest::collection::vec((0u8..3, 0u8..3, 0u8..3, prop::sample::select(vec!["", "-rc.1", "+b"])), 0..24),
        is_sorted in any::<bool>(),
    ) {
        let mut rows = rows;
        if is_sorted {
            rows.sort_by_key(|(id, major, minor, _)| (*id, *major, *minor));
        }
        let named = |(id, major, minor, rest): &(u8, u8, u8, &str)| (format!("lcod://a/b{id}"), format!("{major}.{minor}.0{rest}"));
        let (mut seen, mut expected) = (BTreeSet::new(), Vec::new());
        for (id, version) in rows.iter().map(named) {
            if seen.insert((id.clone(), version.trim_end_matches("+b").to_owned())) {
                expected.push(format!("{id}@{version}"));
            }
        }
        let listed: Vec<String> = rows.iter().map(named).map(|(id, version)| format!(r#"{{"id":"{id}@{version}","composePath":"c/compose.yaml"}}"#)).collect();
        let components: Vec<String> = rows.iter().map(named).map(|(id, version)| format!(r#"{{"id":"{id}","versions":[{{"version":"{version}","manifest":"m"}}]}}"#)).collect();
        let catalogue = format!(r#"{{"schema":"lcod-registry/catalogue@1","components":[{}]}}"#, components.join(","));
        for text in [format!("[{}]", listed.join(",")), catalogue] {
            let finding = read_at(&remote(), &text).unwrap();
            let found: Vec<String> = finding.errands.iter().filter_map(dialect::described).map(|(id, version)| format!("{id}@{version}")).collect();
            prop_assert_eq!(&found, &expected, "{}", text);
            prop_assert_eq!(finding.skipped.len(), rows.len() - expected.len());
        }
    }

    #[test]
    fn no_mutation_makes_it_panic(
        which in 0usize..6,
        edits in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0u8..4), 1..6),
    ) {
        let (errand, mut bytes) = samples().swap_remove(which);
        for (at, byte, how) in edits {
            let at = at.index(bytes.len().max(1)).min(bytes.len());
            match how {
                0 if at < bytes.len() => bytes[at] = byte,
                1 => bytes.insert(at, byte),
                2 if at < bytes.len() => { bytes.remove(at); }
                _ => bytes.truncate(at.max(1)),
            }
        }
        if let Ok(found) = read_with_known_forges(&errand, &bytes, &received(&bytes, Some(C1))) {
            for errand in &found.errands {
                let written = serde_json::to_string(errand).unwrap();
                prop_assert_eq!(&serde_json::from_str::<Errand>(&written).unwrap(), errand);
            }
        }
    }
}

#[test]
fn a_file_of_this_machine_that_is_none_of_ours_is_never_quoted() {
    let read_as = |task: &dyn Fn(Location) -> Errand, location: &Location, text: &str| {
        let errand = task(location.clone());
        match read_with_known_forges(&errand, text.as_bytes(), &received(text.as_bytes(), Some(C1))) {
            Err(error) => format!("{error:?}"),
            Ok(finding) => format!("{:?} {:?}", finding.skipped, finding.warnings),
        }
    };
    let node = |location: Location| errand(&location, None);
    let manifest = |location: Location| {
        let catalogue = r#"{"schema":"lcod-registry/catalogue@1","components":[{"id":"lcod://a/b","versions":[{"version":"1.0.0","manifest":"m.json"}]}]}"#;
        let below = read_at(&location, catalogue).unwrap().errands.remove(0);
        Errand { want: Want::Blob(location), ..below }
    };
    let secrets = [
        "root:$6$SECRET:19000:0:99999:7:::\n",
        "SECRET",
        "\"SECRET\"",
        "[\"SECRET\"]",
        "[{\"SECRET\": 1, \"SECRET\": 2}]",
        "{\"SECRET\": 1, \"SECRET\": 2}",
        "{\"SECRET\": {\"x\": 99999999999999999999}}",
        "{\"schema\": \"SECRET\"}",
        "{\"schema\": [\"SECRET\"]}",
        "{\"token\": \"SECRET\\u0000\"}",
        "{\"schema\": \"SECRET\"}\n{\"token\": \"SECRET\"}\n",
        "SECRET = \"SECRET\"\n",
    ];
    for secret in secrets {
        for location in [local_file(), local_git()] {
            for task in [&node as &dyn Fn(Location) -> Errand, &manifest] {
                let said = read_as(task, &location, secret);
                assert!(!said.contains("SECRET"), "{secret:?} at {location}: {said}");
            }
        }
    }
    // What comes from the network belongs to whoever serves it, and what is one of ours is its author's.
    assert!(read_as(&node, &remote(), "SECRET").contains("SECRET"));
    let own = "{\"schema\": \"lcod-registry/catalogues@2\"}";
    assert!(read_as(&node, &local_file(), own).contains("catalogues@2"));
    assert!(read_as(&node, &local_git(), "version https://git-lfs.github.com/spec/v1").contains("Git LFS"));
}
