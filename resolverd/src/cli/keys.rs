//! The verbs `keys`, `sign` and `verify`: a signer's own work. Needs no daemon, no store and no network.
//!
//! A private key is read from a file that its owner alone may read, and never printed.

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use catalogue_schema::error::ParseError;
use catalogue_schema::instant;
use catalogue_schema::key::KeyAlgorithm;
use catalogue_schema::keyset::{Keyset, KeysetKey};
use catalogue_schema::pointer::CommitId;
use catalogue_schema::policy::Name;
use catalogue_schema::signature::{Statement, Usage};
use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::api::{Code, Failure};
use crate::cli::render::{Paint, field, list, table};
use crate::cli::{Ended, Terminal};
use crate::signing::{self, Claims, Report, SigningError};

/// What `keys` does.
#[derive(Debug, Clone, Subcommand)]
pub enum KeysAct {
    /// Make a key: NAME.key for its owner alone, NAME.pem for everybody
    Generate {
        /// The algorithm
        #[arg(value_parser = algorithm_parser(), value_name = "ALGORITHM")]
        algorithm: KeyAlgorithm,
        /// The path of both files, without their endings
        #[arg(value_name = "NAME")]
        name: PathBuf,
    },
    /// Show what lies in a key file
    Inspect {
        /// A public key, or a private one that nobody else may read
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
    /// Print the fingerprint by which a policy names a key
    Fingerprint {
        /// A public key, or a private one that nobody else may read
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
    /// Print the public key of a private one
    Public {
        /// A private key that nobody else may read, or a public one
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
    /// Print a keyset, by which signers replace their keys; the old keys and the new sign it
    Keyset(KeysetOf),
}

/// What `keys keyset` takes.
#[derive(Debug, Clone, Args)]
pub struct KeysetOf {
    /// The name that policies have for the set of signers
    #[arg(value_name = "SIGNERS")]
    name: String,
    /// The public keys that it has from now on; each is called like its file
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// Which version it is: one more than the one before, where a policy begins with 1
    #[arg(long, value_name = "NUMBER")]
    release: u64,
    /// How many of the keys must sign
    #[arg(long, value_name = "COUNT", default_value_t = 1)]
    threshold: usize,
    /// What the keys may sign; may be given several times
    #[arg(long, value_parser = usage_parser(), required = true, value_name = "TYPE")]
    usage: Vec<Usage>,
}

/// What `sign` takes.
#[derive(Debug, Clone, Args)]
pub struct Sign {
    /// What is signed
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// A private key; several sign the same statement
    #[arg(long = "key", value_name = "PRIVATE", required = true)]
    keys: Vec<PathBuf>,
    /// Write a signature over the bytes themselves, without a statement
    #[arg(long, conflicts_with_all = ["id", "release", "catalogue_version", "expires", "origin_commit"])]
    raw: bool,
    /// What kind of thing it is
    #[arg(long = "type", value_parser = usage_parser(), default_value = "catalogue", value_name = "TYPE")]
    usage: Usage,
    /// The id of the component or keyset; for a catalogue that of its source in the sources file of who verifies it, or of the entry
    /// that lists it
    #[arg(long, required_unless_present = "raw")]
    id: Option<String>,
    /// The version of the component or keyset
    #[arg(long, value_name = "VERSION")]
    release: Option<String>,
    /// Which version of the catalogue it is
    #[arg(long, value_name = "NUMBER")]
    catalogue_version: Option<u64>,
    /// From when on it says nothing any more, such as 2026-08-04T12:00:00Z
    #[arg(long, value_name = "TIME")]
    expires: Option<String>,
    /// The commit that the catalogue's manifests are read at
    #[arg(long, value_name = "COMMIT")]
    origin_commit: Option<String>,
    /// The file to write [default: FILE.sig]
    #[arg(long, value_name = "FILE", id = "written")]
    write: Option<PathBuf>,
}

/// The file whose signatures are verified, by which keys.
#[derive(Debug, Clone)]
pub struct Verify {
    /// What was signed.
    pub(super) file: PathBuf,
    /// The public keys that must have signed it, all of them.
    pub(super) keys: Vec<PathBuf>,
    /// The signature; beside the file where it is not given.
    pub(super) signature: Option<PathBuf>,
}

fn algorithm_parser() -> impl TypedValueParser<Value = KeyAlgorithm> {
    PossibleValuesParser::new(KeyAlgorithm::ALL.map(KeyAlgorithm::name)).map(|name| {
        KeyAlgorithm::ALL.into_iter().find(|one| one.name() == name).unwrap_or(KeyAlgorithm::Ed25519)
    })
}

fn usage_parser() -> impl TypedValueParser<Value = Usage> {
    PossibleValuesParser::new(Usage::ALL.map(Usage::name))
        .map(|name| Usage::ALL.into_iter().find(|one| one.name() == name).unwrap_or(Usage::Catalogue))
}

/// Makes, shows or names a key.
///
/// **Errors**: a file cannot be read or written, or is no key.
pub(super) fn keys(act: &KeysAct, terminal: &Terminal) -> Result<u8, Ended> {
    match act {
        KeysAct::Generate { algorithm, name } => {
            let [private, public] = ["key", "pem"].map(|ending| {
                let mut path = name.clone().into_os_string();
                path.push(format!(".{ending}"));
                PathBuf::from(path)
            });
            let key = signing::generate(*algorithm, &private, &public).map_err(|error| failure(&error))?;
            let answer = json!({
                "algorithm": algorithm.name(),
                "fingerprint": key.fingerprint(),
                "private": private.display().to_string(),
                "public": public.display().to_string(),
            });
            terminal.print(&answer, rows)?;
        }
        KeysAct::Inspect { file } => {
            let found = signing::inspect(file).map_err(|error| failure(&error))?;
            let answer = json!({
                "kind": if found.private_form.is_some() { "private" } else { "public" },
                "algorithm": found.public.algorithm().name(),
                "form": found.private_form,
                "fingerprint": found.public.fingerprint(),
                "weak": found.is_weak,
            });
            terminal.print(&answer, rows)?;
        }
        KeysAct::Fingerprint { file } => {
            let found = signing::inspect(file).map_err(|error| failure(&error))?;
            let answer = json!({"fingerprint": found.public.fingerprint()});
            terminal.print(&answer, |answer, _| field(answer, "fingerprint"))?;
        }
        KeysAct::Public { file } => {
            let found = signing::inspect(file).map_err(|error| failure(&error))?;
            let answer = json!({"pem": found.public.to_pem()});
            terminal.print(&answer, |answer, _| answer["pem"].as_str().unwrap_or_default().to_owned())?;
        }
        KeysAct::Keyset(of) => {
            let document = keyset(of)?;
            let answer = serde_json::from_str(&document).unwrap_or_default();
            terminal.print(&answer, |_, _| document)?;
        }
    }
    Ok(0)
}

/// Returns a keyset document of public keys.
fn keyset(of: &KeysetOf) -> Result<String, Failure> {
    let refused = |error: ParseError| {
        Failure::of(Code::RequestInvalid, &error)
            .hint("resolverd help keys keyset shows what each flag takes")
    };
    let key = |file: &PathBuf| {
        let public = signing::inspect(file).map_err(|error| failure(&error))?.public;
        let label = file.file_stem().unwrap_or_default().to_string_lossy();
        let id = Name::parse(&label).map_err(&refused)?;
        let usage = of.usage.clone();
        Ok(KeysetKey { id, public, usage, not_before_s: None, not_after_s: None, revoked: None })
    };
    let keyset = Keyset {
        name: Name::parse(&of.name).map_err(&refused)?,
        version: of.release,
        threshold: of.threshold,
        keys: of.files.iter().map(key).collect::<Result<_, Failure>>()?,
    };
    let document = keyset.to_json();
    // What the readers would refuse is not given out.
    Keyset::parse(document.as_bytes()).map_err(refused)?;
    Ok(document)
}

/// Returns the fields of an answer, a line each; what is not there is left out.
fn rows(answer: &Value, _: Paint) -> String {
    let fields = answer.as_object().into_iter().flatten().filter(|(_, value)| !value.is_null());
    let line = |(name, value): (&String, &Value)| {
        let text = value.as_str().map_or_else(|| value.to_string(), crate::cli::render::plain);
        format!("{name:<12} {text}\n")
    };
    fields.map(line).collect()
}

/// Signs a file and writes the signature beside it.
///
/// **Errors**: a file or key cannot be used; what is claimed does not fit the kind of thing.
pub(super) fn sign(arguments: &Sign, terminal: &Terminal) -> Result<u8, Ended> {
    let Sign { file, keys, raw, write, .. } = arguments;
    let written = match raw {
        true => signing::sign_raw(file, keys),
        false => signing::sign(file, keys, &claims(arguments)?).map(|made| made.to_json().into_bytes()),
    };
    let bytes = written.map_err(|error| failure(&error))?;
    let target = write.clone().unwrap_or_else(|| beside(file));
    let made_of: Vec<&Path> = keys.iter().map(PathBuf::as_path).chain([file.as_path()]).collect();
    signing::publish(&target, &bytes, &made_of).map_err(|error| failure(&error))?;
    let answer = json!({"signature": target.display().to_string(), "bytes": bytes.len(), "keys": keys.len()});
    terminal.print(&answer, rows)?;
    Ok(0)
}

fn beside(file: &Path) -> PathBuf {
    let mut path = file.as_os_str().to_owned();
    path.push(".sig");
    PathBuf::from(path)
}

fn claims(arguments: &Sign) -> Result<Claims, Failure> {
    let refused = |error: ParseError| {
        Failure::of(Code::RequestInvalid, &error).hint("resolverd help sign shows what each flag takes")
    };
    let expires = arguments.expires.as_deref().map(instant::parse).transpose();
    let commit = arguments.origin_commit.as_deref().map(CommitId::parse).transpose();
    Ok(Claims {
        usage: arguments.usage,
        id: arguments.id.clone().unwrap_or_default(),
        version: arguments.release.clone(),
        catalogue_version: arguments.catalogue_version,
        expires_s: expires.map_err(|error| refused(error.in_field("--expires")))?,
        origin_commit: commit.map_err(|error| refused(error.in_field("--origin-commit")))?,
        signed_at_s: now_s(),
    })
}

/// Seconds since 1970-01-01 UTC; a clock before that counts as that.
#[expect(clippy::disallowed_methods, reason = "a verb is where the clock is read")]
pub(super) fn now_s() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

/// Verifies a file against public keys, all of which must have signed it. No policy is asked, and no date but the signer's is
/// looked at.
///
/// **Errors**: a file or key cannot be used; a key has not signed these bytes.
pub(super) fn verify(arguments: &Verify, terminal: &Terminal) -> Result<u8, Ended> {
    let Verify { file, keys, signature } = arguments;
    let signature_file = signature.clone().unwrap_or_else(|| beside(file));
    let report = signing::look_at(file, &signature_file, keys).map_err(|error| failure(&error))?;
    let signatures: Vec<Value> = report
        .signatures
        .iter()
        .map(|(key, algorithm, proof)| json!({"key": key, "algorithm": algorithm, "proof": proof.word()}))
        .collect();
    let answer = json!({
        "file": file.display().to_string(),
        "signature": signature_file.display().to_string(),
        "statement": report.statement.as_ref().map(stated),
        "signatures": signatures,
    });
    if !report.is_good() {
        return Err(unproven(&report, &answer).into());
    }
    terminal.print(&answer, verified)?;
    Ok(0)
}

fn stated(statement: &Statement) -> Value {
    // It was read from JSON, and is written as it was read.
    serde_json::from_slice(&statement.to_bytes()).unwrap_or_default()
}

fn unproven(report: &Report, answer: &Value) -> Failure {
    let subject = field(answer, "file");
    let failure = match (&report.mismatch, report.missing.first()) {
        (Some(mismatch), _) => Failure::new(
            Code::SignatureInvalid,
            "trust.statement_mismatch",
            format!("cannot verify {subject}: its signature is about other bytes, {mismatch}"),
        )
        .hint("fetch the file and its signature again, or have it signed anew"),
        (None, missing) => Failure::new(
            Code::SignatureInvalid,
            "trust.signature_invalid",
            format!(
                "cannot verify {subject}: no valid signature of {}",
                missing.map(ToString::to_string).unwrap_or_default()
            ),
        )
        .hint("check that the key is the signer's: resolverd keys inspect FILE"),
    };
    failure.with("signatures", &answer["signatures"])
}

fn verified(answer: &Value, _: Paint) -> String {
    let rows = list(answer, "signatures").iter();
    let rows = rows.map(|one| vec![field(one, "proof"), field(one, "algorithm"), field(one, "key")]);
    let mut out = table(&["PROOF", "ALGORITHM", "KEY"], rows.collect());
    let statement = &answer["statement"];
    if statement.is_object() {
        out.push_str(&format!("{} {}", field(statement, "type"), field(statement, "id")));
        for name in ["version", "catalogue_version", "expires"] {
            let text = field(statement, name);
            if !text.is_empty() {
                out.push_str(&format!(", {name} {text}"));
            }
        }
        out.push_str(&format!(", signed at {}\n", field(statement, "signed_at")));
    }
    out
}

fn failure(error: &SigningError) -> Failure {
    let (code, reason, hint) = match error {
        SigningError::Key { source } => {
            (Code::RequestInvalid, source.reason(), "name the PEM file of a key that nobody else may change")
        }
        SigningError::Signature { .. } => {
            (Code::RequestInvalid, "keys.private", "make another key: resolverd keys generate ALGORITHM NAME")
        }
        SigningError::Document { error, .. } => {
            let failure = Failure::of(Code::RequestInvalid, error);
            return failure.hint("resolverd help sign shows what each flag takes");
        }
        SigningError::Own { .. } => (Code::RequestInvalid, "keys.own_file", "name another file with --write"),
        SigningError::Exists { .. } => (Code::RequestInvalid, "keys.exists", "choose another name"),
        SigningError::File { .. } => {
            (Code::RequestInvalid, "keys.file", "name a file in a directory that exists")
        }
        SigningError::TooLarge { .. } => {
            (Code::LimitExceeded, "keys.too_large", "sign a list of digests instead")
        }
        SigningError::Random { .. } => {
            (Code::Internal, "keys.random", "run it where the system has a source of random bytes")
        }
        SigningError::OneRaw { .. } => {
            (Code::RequestInvalid, "keys.one_raw", "leave --raw out: an envelope holds several signatures")
        }
    };
    Failure::new(code, reason.to_owned(), error.to_string()).hint(hint)
}
