//! Keys, signatures and their verbs through the real binary, and together with the other programs that write and read them: the
//! OpenSSL command line for Ed25519, Python's `cryptography` for ML-DSA-87.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output};

use catalogue_schema::policy::LIMITS;
use resolverd::fetch::limit::Limits;
use serde_json::Value;

use crate::harness::daemon::{Said, Sandbox};
use crate::harness::place;

const ALGORITHMS: [&str; 2] = ["ed25519", "ml-dsa-87"];

/// A sandbox with a file to sign.
struct Desk {
    sandbox: Sandbox,
}

impl Desk {
    fn new() -> Desk {
        let desk = Desk { sandbox: Sandbox::new() };
        std::fs::write(desk.path("list.json"), "{\"catalogues\": []}\n").unwrap();
        desk
    }

    fn path(&self, name: &str) -> String {
        self.sandbox.path(name).to_str().unwrap().to_owned()
    }

    /// Runs a verb; words that start with `%` are files of the sandbox.
    fn run(&self, line: &str) -> Said {
        let words: Vec<String> = line
            .split(' ')
            .map(|word| word.strip_prefix('%').map_or_else(|| word.to_owned(), |name| self.path(name)))
            .collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let said = self.sandbox.run(&words);
        let all = format!("{}{}", said.stdout, said.stderr);
        assert!(!all.contains("PRIVATE KEY-----"), "{line} prints a private key");
        said
    }

    #[track_caller]
    fn good(&self, line: &str) -> String {
        let said = self.run(line);
        assert_eq!((said.status, said.stderr.as_str()), (0, ""), "{line}: {said:?}");
        said.stdout
    }

    #[track_caller]
    fn bad(&self, line: &str, status: i32, reason: &str) {
        let said = self.run(line);
        assert_eq!(said.status, status, "{line}: {said:?}");
        assert!(said.stderr.contains(reason) && said.stderr.contains("hint: "), "{line}: {said:?}");
        assert_eq!(said.stdout, "", "{line}");
    }

    fn json(&self, line: &str) -> Value {
        serde_json::from_str(&self.good(&format!("{line} -o json"))).unwrap()
    }

    fn mode(&self, name: &str) -> u32 {
        std::fs::metadata(self.path(name)).unwrap().permissions().mode() & 0o777
    }

    fn edit(&self, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let mut bytes = std::fs::read(self.path(name)).unwrap();
        change(&mut bytes);
        std::fs::write(self.path(name), bytes).unwrap();
    }
}

#[test]
fn a_key_is_written_for_its_owner_alone_and_never_over_anything() {
    for algorithm in ALGORITHMS {
        let desk = Desk::new();
        let made = desk.json(&format!("keys generate {algorithm} %a"));
        assert_eq!((desk.mode("a.key"), desk.mode("a.pem") & 0o600), (0o600, 0o600));
        assert_eq!(made["algorithm"], algorithm);
        let before = std::fs::read(desk.path("a.key")).unwrap();
        desk.bad(&format!("keys generate {algorithm} %a"), 2, "keys.exists");
        std::fs::write(desk.path("b.pem"), "mine").unwrap();
        desk.bad(&format!("keys generate {algorithm} %b"), 2, "keys.exists");
        desk.bad(&format!("keys generate {algorithm} %none/c"), 2, "keys.file");
        assert_eq!(std::fs::read(desk.path("a.key")).unwrap(), before);
        assert_eq!(std::fs::read(desk.path("b.pem")).unwrap(), b"mine");
        let left: Vec<String> = std::fs::read_dir(desk.sandbox.path(""))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name.starts_with("b.key") || name.starts_with(".tmp"))
            .collect();
        assert_eq!(left, Vec::<String>::new());

        let fingerprint = made["fingerprint"].as_str().unwrap();
        for file in ["%a.key", "%a.pem"] {
            assert_eq!(desk.good(&format!("keys fingerprint {file}")), format!("{fingerprint}\n"));
        }
        let public = std::fs::read_to_string(desk.path("a.pem")).unwrap();
        assert_eq!(desk.good("keys public %a.key"), public);
        assert_eq!(desk.json("keys inspect %a.key")["kind"], "private");
        let inspected = desk.json("keys inspect %a.pem");
        assert_eq!((&inspected["kind"], &inspected["weak"]), (&"public".into(), &false.into()));
        assert!(desk.good("keys inspect %a.pem").contains(fingerprint));
        // Another one is another key.
        assert_ne!(desk.json(&format!("keys generate {algorithm} %d"))["fingerprint"], fingerprint);
    }
}

#[test]
fn a_hybrid_signature_holds_only_for_these_bytes_and_all_of_its_keys() {
    let desk = Desk::new();
    for (algorithm, name) in ALGORITHMS.into_iter().zip(["ed", "pq"]) {
        desk.good(&format!("keys generate {algorithm} %{name}"));
    }
    desk.good("keys generate ed25519 %other");
    let claims = "--id acme/tooling --catalogue-version 42 --expires 2126-08-04T12:00:00Z";
    desk.good(&format!("sign %list.json --key %ed.key --key %pq.key {claims}"));
    let verified = desk.json("verify %list.json --key %ed.pem --key %pq.pem");
    let proofs: Vec<&Value> =
        verified["signatures"].as_array().unwrap().iter().map(|one| &one["proof"]).collect();
    assert_eq!(proofs, ["valid", "valid"]);
    let statement = &verified["statement"];
    assert_eq!((&statement["type"], &statement["id"]), (&"catalogue".into(), &"acme/tooling".into()));
    assert_eq!(statement["algorithms"], serde_json::json!(ALGORITHMS));
    assert_eq!(statement["catalogue_version"], 42);
    let text = desk.good("verify %list.json --key %ed.pem");
    assert!(text.contains("unknown-key") && text.contains("catalogue acme/tooling"), "{text}");

    desk.bad("verify %list.json --key %other.pem", 7, "trust.signature_invalid");
    desk.bad("verify %list.json --key %ed.pem --key %other.pem", 7, "trust.signature_invalid");
    let good = std::fs::read_to_string(desk.path("list.json.sig")).unwrap();
    let half: Value = serde_json::from_str(&good).unwrap();
    let mut stripped = half.clone();
    stripped["signatures"].as_array_mut().unwrap().pop();
    std::fs::write(desk.path("list.json.sig"), stripped.to_string()).unwrap();
    desk.good("verify %list.json --key %ed.pem");
    desk.bad("verify %list.json --key %ed.pem --key %pq.pem", 7, "trust.signature_invalid");
    for (from, to) in [("\"ed25519\"", "\"ml-dsa-87\""), ("\"payload\": \"ey", "\"payload\": \"eY")] {
        std::fs::write(desk.path("list.json.sig"), good.replacen(from, to, 1)).unwrap();
        assert!(desk.run("verify %list.json --key %ed.pem").status != 0, "{from}");
    }
    std::fs::write(desk.path("list.json.sig"), &good).unwrap();
    desk.edit("list.json", |bytes| bytes.push(b' '));
    desk.bad("verify %list.json --key %ed.pem", 7, "trust.statement_mismatch");
    desk.edit("list.json", |bytes| {
        bytes.pop();
        bytes[0] ^= 1;
    });
    desk.bad("verify %list.json --key %ed.pem", 7, "trust.statement_mismatch");
}

#[test]
fn what_cannot_be_used_is_refused_with_what_to_do() {
    let desk = Desk::new();
    desk.good("keys generate ed25519 %a");
    desk.good("keys generate ml-dsa-87 %b");
    desk.bad("sign %list.json --key %a.key --key %b.key --raw", 2, "keys.one_raw");
    desk.bad("sign %list.json --key %a.key --key %a.key --id x", 2, "input.signature_duplicate");
    desk.bad("sign %list.json --key %a.pem --id x", 2, "policy.permissions");
    desk.bad("sign %none.json --key %a.key --id x", 2, "keys.file");
    desk.bad("sign %list.json --key %none.key --id x", 2, "policy.unreadable");
    desk.bad("sign %list.json --key %a.key --id x --release 1.0.0", 2, "input.field");
    desk.bad("sign %list.json --key %a.key --id x --type package", 2, "input.field");
    desk.bad("sign %list.json --key %a.key --id x --expires tomorrow", 2, "input.time");
    desk.bad("sign %list.json --key %a.key --id x --origin-commit main", 2, "input.commit");
    for own in ["list.json", "a.key", "b.key"] {
        desk.bad(
            &format!("sign %list.json --key %a.key --key %b.key --id x --write %{own}"),
            2,
            "keys.own_file",
        );
    }
    desk.bad("verify %list.json --key %a.pem", 2, "keys.file");
    desk.bad("verify %list.json --signature %a.pem --key %a.pem", 2, "input.signature");
    desk.good("sign %list.json --key %a.key --id x");
    desk.bad("verify %list.json --key %a.key", 2, "policy.private_key");
    desk.bad("keys inspect %list.json", 2, "policy.key");
    std::fs::write(desk.path("weak.pem"), "00".repeat(32)).unwrap();
    assert_eq!(desk.json("keys inspect %weak.pem")["weak"], true);
    desk.bad("verify %list.json --key %weak.pem", 2, "policy.key_weak");
    for open in [0o640, 0o604, 0o666] {
        std::fs::set_permissions(desk.path("a.key"), std::fs::Permissions::from_mode(open)).unwrap();
        desk.bad("sign %list.json --key %a.key --id x", 2, "policy.permissions");
        desk.bad("keys inspect %a.key", 2, "policy.permissions");
    }
}

#[test]
fn a_policy_may_set_limits_that_the_configuration_has_and_none_below_the_usual() {
    let usual = serde_json::to_value(Limits::default()).unwrap();
    for (name, ceiling) in LIMITS {
        let usual = usual[name].as_u64();
        assert!(usual.is_some_and(|usual| usual <= ceiling), "{name}: {usual:?}, {ceiling}");
    }
}

/// Runs another program in the sandbox; `None` where it is not installed.
fn other(desk: &Desk, program: &str, arguments: &[&str]) -> Option<Output> {
    Command::new(program).args(arguments).current_dir(desk.sandbox.path("")).output().ok()
}

#[track_caller]
fn openssl(desk: &Desk, line: &str) -> bool {
    let words: Vec<&str> = line.split(' ').collect();
    let output = other(desk, "openssl", &words).unwrap();
    output.status.success()
}

#[test]
fn openssl_reads_our_ed25519_and_we_read_its() {
    let desk = Desk::new();
    if other(&desk, "openssl", &["version"]).is_none() {
        return place::skipped("openssl is not installed");
    }
    // Its key, its signature.
    assert!(openssl(&desk, "genpkey -algorithm ed25519 -out theirs.key"));
    std::fs::set_permissions(desk.path("theirs.key"), std::fs::Permissions::from_mode(0o600)).unwrap();
    assert!(openssl(&desk, "pkey -in theirs.key -pubout -out theirs.pem"));
    assert!(openssl(&desk, "pkeyutl -sign -rawin -inkey theirs.key -in list.json -out list.json.sig"));
    desk.good("verify %list.json --key %theirs.pem");
    assert_eq!(
        desk.good("keys public %theirs.key"),
        std::fs::read_to_string(desk.path("theirs.pem")).unwrap()
    );
    // As it stands in a document.
    assert!(openssl(&desk, "base64 -A -in list.json.sig -out text.sig"));
    desk.good("verify %list.json --signature %text.sig --key %theirs.pem");
    // Ed25519 is deterministic, so both write the same bytes.
    desk.good("sign %list.json --raw --key %theirs.key --write %again.sig");
    assert_eq!(
        std::fs::read(desk.path("again.sig")).unwrap(),
        std::fs::read(desk.path("list.json.sig")).unwrap()
    );
    // Our key, our signature.
    desk.good("keys generate ed25519 %ours");
    desk.good("sign %list.json --raw --key %ours.key --write %ours.sig");
    let verify = "pkeyutl -verify -rawin -pubin -inkey ours.pem -sigfile ours.sig -in list.json";
    assert!(openssl(&desk, verify));
    assert!(openssl(&desk, "pkey -in ours.key -pubout -out derived.pem"));
    assert_eq!(
        std::fs::read(desk.path("derived.pem")).unwrap(),
        std::fs::read(desk.path("ours.pem")).unwrap()
    );
    desk.edit("list.json", |bytes| bytes.push(b'\n'));
    assert!(!openssl(&desk, verify));
    desk.bad("verify %list.json --signature %ours.sig --key %ours.pem", 7, "trust.signature_invalid");
    desk.bad("verify %list.json --key %theirs.pem", 7, "trust.signature_invalid");
}

const PYTHON: &str = r#"
import os, sys
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA87PrivateKey
from cryptography.hazmat.primitives import serialization as form
content = open("list.json", "rb").read()
if sys.argv[1] == "write":
    key = MLDSA87PrivateKey.generate()
    private = key.private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, form.NoEncryption())
    public = key.public_key().public_bytes(form.Encoding.PEM, form.PublicFormat.SubjectPublicKeyInfo)
    with os.fdopen(os.open("theirs.key", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(private)
    open("theirs.pem", "wb").write(public)
    open("list.json.sig", "wb").write(key.sign(content))
elif sys.argv[1] == "read":
    private = form.load_pem_private_key(open("ours.key", "rb").read(), None)
    public = form.load_pem_public_key(open("ours.pem", "rb").read())
    encoding = (form.Encoding.PEM, form.PublicFormat.SubjectPublicKeyInfo)
    assert private.public_key().public_bytes(*encoding) == public.public_bytes(*encoding)
    public.verify(open("ours.sig", "rb").read(), content)
"#;

fn python(desk: &Desk, act: &str) -> Option<Output> {
    let program = place::variable("RESOLVERD_PYTHON").unwrap_or_else(|| "python3".to_owned());
    other(desk, &program, &["-c", PYTHON, act])
}

#[test]
fn python_reads_our_ml_dsa_87_and_we_read_its() {
    let desk = Desk::new();
    if !python(&desk, "try").is_some_and(|output| output.status.success()) {
        eprintln!("python's cryptography with ML-DSA is not installed: ours was not compared with it");
        return;
    }
    let done = |act: &str| {
        let output = python(&desk, act).unwrap();
        assert!(output.status.success(), "{act}: {}", String::from_utf8_lossy(&output.stderr));
    };
    done("write");
    desk.good("verify %list.json --key %theirs.pem");
    let public = desk.good("keys public %theirs.key");
    assert_eq!(public, std::fs::read_to_string(desk.path("theirs.pem")).unwrap());
    desk.good("sign %list.json --raw --key %theirs.key --write %again.sig");
    desk.good("verify %list.json --signature %again.sig --key %theirs.pem");
    desk.good("keys generate ml-dsa-87 %ours");
    desk.good("sign %list.json --raw --key %ours.key --write %ours.sig");
    done("read");
    desk.edit("list.json", |bytes| bytes.push(b'\n'));
    assert!(!python(&desk, "read").unwrap().status.success());
    desk.bad("verify %list.json --key %theirs.pem", 7, "trust.signature_invalid");
    assert!(Path::new(&desk.path("list.json.sig")).is_file());
}
