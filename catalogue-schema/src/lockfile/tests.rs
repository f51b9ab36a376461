//! Locks: what is written is read again, in both forms, and nothing that does not hold together is taken.
#![allow(clippy::unwrap_used)]

use serde_json::{Value, json};

use super::*;

const COMMIT: &str = "8770cf166ff8d874cb8164c5fc1032afbeca8e9c";

fn reference(text: &str) -> Reference {
    Reference::parse(text).unwrap()
}

fn id(text: &str) -> ComponentId {
    ComponentId::parse(text).unwrap()
}

fn release(full: &str, requires: &[&str]) -> Locked {
    let (id, version) = crate::id::parse_release_id(full).unwrap();
    let bytes = |name: &str| Digest::sha256(format!("{full} {name}").as_bytes());
    let file = |name: &str| json!({"path": name, "digest": bytes(name)});
    let release: Release = serde_json::from_value(json!({
        "id": id, "version": version, "manifest": bytes("manifest"),
        "origin": {
            "repository": {"https": "https://git.acme.example/components"},
            "commit": COMMIT, "path": format!("components/{}", id.name()),
        },
        "files": [file("lcp.toml"), file("compose.yaml"), {"path": "unread.txt"}],
        "verdict": {"trusted": {"level": "pinned"}},
    }))
    .unwrap();
    let owner = serde_json::from_value(json!({"source": "acme", "name": "acme/billing"})).unwrap();
    let edge = |text: &&str| match text.split_once(" -> ") {
        Some((wanted, NATIVE)) => Edge { wanted: reference(wanted), to: To::Native },
        Some((wanted, other)) if other.starts_with(NATIVE) => {
            Edge { wanted: reference(wanted), to: To::Hosted(reference(&other[NATIVE.len() + 1..])) }
        }
        Some((wanted, other)) => {
            Edge { wanted: reference(wanted), to: To::Component(ComponentId::parse(other).unwrap()) }
        }
        None => Edge::plain(reference(text)),
    };
    Locked::of(&owner, &release, requires.iter().map(edge).collect())
}

fn sample() -> Lock {
    let project = Project { id: id("lcod://demo/app"), version: Version::parse("0.1.0").unwrap() };
    let roots = vec![
        Edge::plain(reference("lcod://acme/invoice@^1")),
        Edge { wanted: reference("lcod://contract/log@1"), to: To::Native },
        Edge::plain(reference("lcod://acme/tax")),
    ];
    let components = vec![
        release("lcod://acme/tax@1.0.1", &["lcod://acme/invoice@>=1.1, <2"]),
        release("lcod://impl/fetch@0.3.0", &[]),
        release(
            "lcod://acme/invoice@1.2.0",
            &[
                "lcod://contract/net/fetch@1 -> lcod://impl/fetch",
                "lcod://acme/tax@1",
                "lcod://contract/core/map@1 -> native",
            ],
        ),
    ];
    Lock::new(Some(project), roots, components).unwrap()
}

#[test]
fn what_is_written_is_read_again_in_both_forms() {
    let lock = sample();
    for form in [Form::Resolverd, Form::Lcp] {
        let text = lock.text(form).unwrap();
        let (read, found) = Lock::parse(text.as_bytes()).unwrap_or_else(|error| panic!("{error}\n{text}"));
        assert_eq!(found, form);
        assert_eq!((read.roots(), read.components()), (lock.roots(), lock.components()));
        assert_eq!(read.text(form).unwrap(), text, "the same lock has the same text");
        assert!(text.is_ascii() && text.ends_with('\n') && !text.contains("unread.txt"), "{text}");
        assert_eq!(Form::named(form.name()), Some(form));
    }
    assert_eq!(Lock::parse(lock.text(Form::Lcp).unwrap().as_bytes()).unwrap().0, lock);
}

#[test]
fn the_order_of_the_parts_does_not_matter() {
    let lock = sample();
    let mut components = lock.components().to_vec();
    components.reverse();
    let mut roots = lock.roots().to_vec();
    roots.reverse();
    roots.push(roots[0].clone());
    assert_eq!(Lock::new(lock.project().cloned(), roots, components).unwrap(), lock);
}

#[test]
fn a_repository_of_a_machine_is_left_out() {
    let mut one: Release = serde_json::from_value(json!({
        "id": "lcod://a/b", "version": "1.0.0", "origin": {"commit": COMMIT},
        "verdict": {"trusted": {"level": "pinned"}},
    }))
    .unwrap();
    let path = crate::pointer::LocalPath::parse("/srv/r").unwrap();
    one.origin.repository = Some(Repository::Local(path));
    let owner = serde_json::from_value(json!({"source": "a", "name": "b"})).unwrap();
    let locked = Locked::of(&owner, &one, Vec::new());
    assert_eq!((locked.repository, locked.commit.unwrap().as_text()), (None, COMMIT));
}

/// Says what in `value` the published schema of `lcp.lock` does not know or misses.
fn faults(value: &Value) -> Vec<String> {
    let known = |value: &Value, at: &str, names: &[&str], needed: &[&str]| -> Vec<String> {
        let fields = value.as_object().unwrap();
        let strange = fields.keys().filter(|name| !names.contains(&name.as_str()));
        let absent = needed.iter().filter(|name| !fields.contains_key(**name));
        strange
            .map(|name| format!("{at}.{name}"))
            .chain(absent.map(|name| format!("{at}: no {name}")))
            .collect()
    };
    let top = ["schemaVersion", "resolverVersion", "projectId", "components"];
    let mut found = known(value, "$", &top, &["schemaVersion", "components"]);
    for one in value["components"].as_array().unwrap() {
        let fields = ["id", "resolved", "integrity", "source", "path", "bindings", "dependencies"];
        found.extend(known(one, "component", &fields, &["id", "resolved", "source"]));
        found.extend((!one["source"]["type"].is_string()).then(|| "source: no type".to_owned()));
        for edge in one["dependencies"].as_array().into_iter().flatten() {
            found.extend(known(edge, "dependency", &["id", "requested", "resolved", "source"], &["id"]));
        }
    }
    found
}

#[test]
fn an_lcp_lock_is_as_the_published_schema_says() {
    let text = sample().text(Form::Lcp).unwrap();
    let value: Value = toml::from_str(&text).unwrap();
    assert_eq!(faults(&value), <[String; 0]>::default(), "{text}");
    assert_eq!(value["schemaVersion"], "1.0");
    assert_eq!(value["components"][0]["id"], "lcod://demo/app@0.1.0");
    let invoice = &value["components"][1];
    assert_eq!(invoice["source"]["rev"], COMMIT);
    assert_eq!(invoice["dependencies"][0]["resolved"], "lcod://acme/tax@1.0.1");
    let lcp = Digest::sha256(b"lcod://acme/invoice@1.2.0 lcp.toml").hex();
    assert_eq!(invoice["integrity"], format!("sha256-{lcp}"));
    let alone = Lock::new(None, Vec::new(), Vec::new()).unwrap();
    assert_eq!(alone.text(Form::Lcp).unwrap_err().reason, "lock.project");
}

#[test]
fn a_release_in_an_archive_is_known_by_its_digests_and_not_by_a_commit() {
    let digest = Digest::of(crate::digest::Algorithm::Sha3_256, b"an archive");
    let other = Digest::sha256(b"an archive");
    let release: Release = serde_json::from_value(json!({
        "id": "estream:wire", "version": "1.0.0", "manifest": Digest::sha256(b"a manifest"),
        "origin": {
            "repository": {"https": "https://git.acme.example/parts"},
            "commit": COMMIT, "path": "index/wire-adapter/wire/1.0.0",
        },
        "archive": {
            "location": {"https": {"url": "https://acme.example/wire.tar.gz"}}, "digests": [&digest, &other],
        },
        "verdict": {"trusted": {"level": "pinned"}},
    }))
    .unwrap();
    let owner = serde_json::from_value(json!({"source": "parts", "name": "parts"})).unwrap();
    let locked = Locked::of(&owner, &release, Vec::new());
    assert_eq!((&locked.commit, &locked.archive), (&None, &vec![other.clone(), digest.clone()]));
    let project = Project { id: id("lcod://demo/app"), version: Version::parse("0.1.0").unwrap() };
    let roots = vec![Edge::plain(reference("estream:wire"))];
    let lock = Lock::new(Some(project), roots, vec![locked]).unwrap();
    for form in [Form::Resolverd, Form::Lcp] {
        let text = lock.text(form).unwrap();
        assert!(text.contains(&format!("archive = [\n    \"{other}\",\n    \"{digest}\",\n]")), "{text}");
        assert!(!text.contains(COMMIT), "{text}");
        assert_eq!(Lock::parse(text.as_bytes()).unwrap().0.components(), lock.components());
        let spoiled = text.replace("sha3-256:", "sha3-255:");
        let error = Lock::parse(spoiled.as_bytes()).unwrap_err();
        assert!(error.field.ends_with("archive[1]"), "{error:?}");
    }
}

/// Replaces `from` in the sample's text, and compares reason, field and line of what that gives.
fn check(form: Form, from: &str, to: &str, expected: &str) {
    let text = sample().text(form).unwrap();
    assert!(text.contains(from), "{from} is not in\n{text}");
    let text = text.replacen(from, to, 1);
    let found = match Lock::parse(text.as_bytes()) {
        Ok(_) => "taken".to_owned(),
        Err(error) => format!("{} {} {}", error.reason, error.field, error.position.is_some()),
    };
    assert_eq!(found, expected, "{from} -> {to}");
}

#[test]
fn what_does_not_hold_together_is_refused_with_its_place() {
    use Form::{Lcp, Resolverd};
    check(Resolverd, "# Written", "# written", "taken");
    check(Resolverd, "resolverd/lock@1", "resolverd/lock@2", "input.schema schema true");
    check(Resolverd, "version = \"1.0.1\"", "verson = \"1.0.1\"", "input.toml  true");
    check(Resolverd, "version = \"1.0.1\"", "version = \"1\"", "input.version components[1].version true");
    check(Resolverd, "version = \"1.0.1\"", "version = \"2.0.1\"", "lock.unmet components[0] true");
    check(
        Resolverd,
        "id = \"lcod://acme/tax\"",
        "id = \"lcod://acme/tux\"",
        "lock.dangling components[0] true",
    );
    check(
        Resolverd,
        "id = \"lcod://acme/tax\"",
        "id = \"lcod://acme/invoice\"",
        "lock.duplicate components[1] true",
    );
    check(Resolverd, "-> lcod://impl/fetch", "-> native", "lock.unused components[2] true");
    check(Resolverd, "-> lcod://impl/fetch", "-> lcod://impl/fitch", "lock.dangling components[0] true");
    check(
        Resolverd,
        "requiredBy = [\n    \"lcod://acme/tax\",",
        "requiredBy = [\n    \"lcod://acme/tux\",",
        "lock.inconsistent components[0].requiredBy true",
    );
    check(
        Resolverd,
        "https://git.acme.example/components",
        "file:///srv/components",
        "lock.host_path components[0].repository true",
    );
    check(Resolverd, COMMIT, "main", "input.commit components[0].commit true");
    check(Resolverd, "components/invoice", "../invoice", "input.path components[0].path true");
    check(Lcp, "schemaVersion = \"1.0\"", "schemaVersion = \"2.0\"", "input.schema schemaVersion true");
    check(
        Lcp,
        "resolverVersion = \"resolverd/lock@1\"",
        "resolverVersion = \"0.1.0\"",
        "lock.foreign resolverVersion false",
    );
    check(Lcp, "path = \".\"", "path = \"/srv/app\"", "lock.host_path components[0].source.path true");
    check(
        Lcp,
        "resolved = \"lcod://acme/tax@1.0.1\"\nintegrity",
        "resolved = \"lcod://acme/tax@1.0.2\"\nintegrity",
        "lock.inconsistent components[2].resolved true",
    );
    check(
        Lcp,
        "integrity = \"sha256-",
        "integrity = \"sha256-00",
        "input.digest components[1].integrity true",
    );
    check(
        Lcp,
        "source = { type = \"native\" }",
        "source = { type = \"magic\" }",
        "lock.inconsistent components[0].dependencies[2].source.type true",
    );
    assert_eq!(Lock::parse(b"").unwrap_err().reason, "input.schema");
    assert_eq!(Lock::parse(b"\xff").unwrap_err().reason, "input.encoding");
    assert_eq!(Lock::parse(&vec![b'#'; LOCK_BYTES_MAX + 1]).unwrap_err().reason, "limit.document_bytes");
}

#[test]
fn what_the_host_implements_instead_is_kept_in_both_forms() {
    let project = sample().project().cloned();
    let instead = Edge { wanted: reference("lcod://old/log@1"), to: To::Hosted(reference("lcod://k/log@2")) };
    let component = release("lcod://acme/tax@1.0.1", &["lcod://old/log@^1 -> native lcod://k/log@2"]);
    let roots = vec![Edge::plain(reference("lcod://acme/tax")), instead];
    let lock = Lock::new(project, roots, vec![component]).unwrap();
    assert_eq!(Lock::parse(lock.text(Form::Lcp).unwrap().as_bytes()).unwrap(), (lock.clone(), Form::Lcp));
    let text = lock.text(Form::Resolverd).unwrap();
    let (read, _) = Lock::parse(text.as_bytes()).unwrap();
    assert_eq!((read.roots(), read.components()), (lock.roots(), lock.components()));
    assert!(Lock::parse(text.replace("native lcod", "nobody lcod").as_bytes()).is_err());
}
