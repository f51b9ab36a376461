//! Policies in files, with real keys beside them.
#![allow(clippy::unwrap_used)]

use std::fs::Permissions;
use std::os::unix::fs::{PermissionsExt as _, symlink};

use catalogue_schema::key::{KeyAlgorithm, PublicKey, SEED_BYTES};
use catalogue_schema::references::References;
use tempfile::TempDir;
use zeroize::Zeroizing;

use super::*;
use crate::trust::signature::Signer;

fn public(algorithm: KeyAlgorithm, seed: u8) -> PublicKey {
    let private = Signer::seeded(algorithm, Zeroizing::new([seed; SEED_BYTES]));
    Signer::of(&private).unwrap().public().clone()
}

fn write(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, Permissions::from_mode(0o644)).unwrap();
}

/// A directory with a policy and the two keys that it names, `ed.pem` and `pq.pem`.
fn place() -> (TempDir, PathBuf) {
    let root = tempfile::Builder::new().permissions(Permissions::from_mode(0o700)).tempdir().unwrap();
    let mut text = "schema = \"resolverd/trust@1\"\nversion = 3\n".to_owned();
    for (algorithm, id) in KeyAlgorithm::ALL.into_iter().zip(["ed", "pq"]) {
        let key = public(algorithm, 1);
        write(&root.path().join(format!("{id}.pem")), &key.to_pem());
        text += &format!(
            "[[keys]]\nid = \"{id}\"\nalgorithm = \"{algorithm}\"\nfile = \"{id}.pem\"\nfingerprint = \"{}\"\nusage = [\"package\"]\n",
            key.fingerprint()
        );
    }
    let policy = root.path().join("trust.toml");
    write(&policy, &text);
    (root, policy)
}

fn user() -> u32 {
    rustix::process::getuid().as_raw()
}

#[test]
fn a_policy_is_read_with_its_keys() {
    let (_root, path) = place();
    let read = load(&path, user()).unwrap();
    assert_eq!((read.policy.version, read.ring.len()), (3, 2));
    for key in &read.policy.keys {
        assert_eq!(read.ring.key(key.fingerprint).unwrap().algorithm(), key.algorithm);
    }
    assert!(succeeds(&read.policy, &path, 3).is_ok());
    assert_eq!(succeeds(&read.policy, &path, 4).unwrap_err().reason, VERSION_ROLLBACK);
}

/// A policy that lets `lcod://acme/a` in from one source.
fn open_to(source: &str) -> InForce {
    let text = format!(
        "schema = \"resolverd/trust@1\"\nversion = 1\n[[namespaces]]\nmatch = \"**\"\nsources = [\"{source}\"]\nrequire = \"pin\"\n"
    );
    InForce::new(
        PathBuf::from(format!("/etc/{source}.toml")),
        Digest::sha256(text.as_bytes()),
        Policy::parse(text.as_bytes()).unwrap(),
        KeyRing::default(),
    )
}

#[test]
fn a_release_must_pass_every_policy_and_each_is_named() {
    let (id, version) = catalogue_schema::id::parse_release_id("lcod://acme/a@1.0.0").unwrap();
    let source = catalogue_schema::id::SourceId::parse("a").unwrap();
    let digest = Digest::sha256(b"x");
    let facts = Facts {
        id: &id,
        version: &version,
        source: &source,
        missing: &[],
        pinned: true,
        catalogue: decide::CatalogueFacts {
            name: &source,
            digest: &digest,
            signed: decide::Signed::default(),
            delegated: None,
            rollback: None,
            expires_s: Some(100),
            checked_s: None,
        },
        digests: &[],
        has_unknown_digests: false,
        content: None,
        first_seen: None,
        signed: decide::Signed::default(),
        published_s: None,
        carried_by: &[],
        dependencies: References::NONE,
        is_unfetched: false,
    };
    let check = |sources: &[&str], expected: Option<&str>| {
        let policies: Vec<InForce> = sources.iter().map(|source| open_to(source)).collect();
        let judgement = judge(&policies, &facts, 0);
        assert_eq!(judgement.refusal().map(|refusal| &*refusal.reason), expected, "{sources:?}");
        assert_eq!(judgement.is_allowed(), expected.is_none());
        let lines = judgement.lines().join("\n");
        assert!(
            sources.iter().all(|source| lines.contains(&format!("/etc/{source}.toml, line 4"))),
            "{lines}"
        );
    };
    check(&[], None);
    check(&["a"], None);
    check(&["a", "a"], None);
    check(&["a", "b"], Some("trust.source_not_allowed"));
    check(&["b", "a"], Some("trust.source_not_allowed"));
    assert_eq!(judge(&[open_to("a")], &facts, 0).next_change_s(), Some(100));
}

#[test]
fn a_policy_with_one_bad_key_is_refused_whole_at_the_line_that_names_it() {
    #[track_caller]
    fn check(change: impl FnOnce(&Path), reason: &str, line: Option<usize>) {
        let (root, path) = place();
        change(root.path());
        let error = load(&path, user()).expect_err(reason);
        assert_eq!((error.reason(), error.place().map(|place| place.line)), (reason, line), "{error}");
    }
    let edit = |from: &'static str, to: &'static str| {
        move |root: &Path| {
            let path = root.join("trust.toml");
            let text = std::fs::read_to_string(&path).unwrap();
            write(&path, &text.replacen(from, to, 1));
        }
    };
    check(edit("version", "versoin"), "policy.syntax", Some(2));
    check(edit("id = \"pq\"", "id = \"ed\""), "policy.duplicate", Some(10));
    check(edit("file = \"pq.pem\"", "file = \"none.pem\""), "policy.unreadable", Some(12));
    check(edit("file = \"pq.pem\"", "file = \"ed.pem\""), "policy.algorithm", Some(12));
    check(|root| write(&root.join("ed.pem"), ""), "policy.key", Some(6));
    let other = public(KeyAlgorithm::Ed25519, 2).to_pem();
    check(|root| write(&root.join("ed.pem"), &other), "policy.fingerprint", Some(6));
    check(|root| write(&root.join("ed.pem"), &"00".repeat(32)), "policy.key_weak", Some(6));
    let weak = "00".repeat(2592);
    check(|root| write(&root.join("pq.pem"), &weak), "policy.key_weak", Some(12));
    let private = Signer::seeded(KeyAlgorithm::Ed25519, Zeroizing::new([1; SEED_BYTES])).to_pem();
    check(|root| write(&root.join("ed.pem"), &private), "policy.private_key", Some(6));
    let open = |name: &'static str| {
        move |root: &Path| {
            std::fs::set_permissions(root.join(name), Permissions::from_mode(0o666)).unwrap();
        }
    };
    check(open("ed.pem"), "policy.permissions", Some(6));
    check(open("trust.toml"), "policy.permissions", None);
    let linked = |name: &'static str| {
        move |root: &Path| {
            std::fs::rename(root.join(name), root.join("moved")).unwrap();
            symlink("moved", root.join(name)).unwrap();
        }
    };
    check(linked("pq.pem"), "policy.permissions", Some(12));
    check(linked("trust.toml"), "policy.permissions", None);
    check(|root| std::fs::remove_file(root.join("trust.toml")).unwrap(), "policy.unreadable", None);
}
