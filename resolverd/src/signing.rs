//! A signer's own work, in the client: keys made and read, files signed, signatures looked at. The daemon never comes here, and
//! never sees a private key.
//!
//! A private key is written once, whole, readable by its owner alone, and never over anything. Every signature is verified with
//! the public key that follows from the private one before it is given out.

use std::fs::{File, Permissions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use catalogue_schema::digest::{Algorithm, Digest};
use catalogue_schema::error::ParseError;
use catalogue_schema::key::{Fingerprint, KeyAlgorithm, PrivateKey, PublicKey, SEED_BYTES};
use catalogue_schema::pointer::CommitId;
use catalogue_schema::signature::{
    Envelope, SIGNATURE_BYTES_MAX, Signature, SignatureFile, Statement, Usage,
};
use rustix::rand::{GetRandomFlags, getrandom};
use zeroize::Zeroizing;

use crate::trust::keys::{KeyError, read_named_public, read_private};
use crate::trust::signature::{KeyRing, Proof, SignatureError, Signer, check, is_weak, verify};

/// The largest file that is signed or verified, in bytes.
pub const SIGNED_BYTES_MAX: u64 = 1 << 30;
/// The mode of a private key.
const PRIVATE_MODE: u32 = 0o600;
/// The mode of everything that is published, before the umask.
const PUBLIC_MODE: u32 = 0o666;

/// Why something could not be signed or looked at.
#[derive(Debug, thiserror::Error)]
pub enum SigningError {
    /// A key cannot be used.
    #[error(transparent)]
    Key {
        /// Why.
        #[from]
        source: KeyError,
    },
    /// Computing with a key failed.
    #[error("{}: {source}", path.display())]
    Signature {
        /// The key's file, or the signature's.
        path: PathBuf,
        /// Why.
        source: SignatureError,
    },
    /// A signature file is none.
    #[error("cannot use {}: {error}", path.display())]
    Document {
        /// Which.
        path: PathBuf,
        /// What was expected and found.
        error: ParseError,
    },
    /// A key file is there already.
    #[error("cannot write {}: it exists, and a key is never written over anything", path.display())]
    Exists {
        /// Which.
        path: PathBuf,
    },
    /// A signature would replace what it is made of.
    #[error("cannot write the signature to {}: that is the file that is signed, or a key", path.display())]
    Own {
        /// Which.
        path: PathBuf,
    },
    /// A file cannot be read or written.
    #[error("cannot {act} {}: {source}", path.display())]
    File {
        /// `read` or `write`.
        act: &'static str,
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file is larger than what is signed.
    #[error("cannot read {}: it has more than {bytes_max} bytes", path.display())]
    TooLarge {
        /// Which.
        path: PathBuf,
        /// The most that is read.
        bytes_max: u64,
    },
    /// The system has no random bytes.
    #[error("cannot make a key: the system gave no random bytes: {source}")]
    Random {
        /// What it said.
        source: io::Error,
    },
    /// Several raw signatures cannot lie in one file.
    #[error("cannot write a raw signature of {keys} keys: it holds one")]
    OneRaw {
        /// How many keys were named.
        keys: usize,
    },
}

/// Makes a key and writes both halves, each into a file that does not exist yet.
///
/// **Errors**: one of the files exists or cannot be written; neither is there then.
pub fn generate(
    algorithm: KeyAlgorithm,
    private_file: &Path,
    public_file: &Path,
) -> Result<PublicKey, SigningError> {
    if let Some(path) = [private_file, public_file].into_iter().find(|path| path.symlink_metadata().is_ok()) {
        return Err(SigningError::Exists { path: path.to_owned() });
    }
    let private = Signer::seeded(algorithm, random()?);
    let failed = |source| SigningError::Signature { path: private_file.to_owned(), source };
    let public = Signer::of(&private).map_err(failed)?.public().clone();
    write_new(private_file, private.to_pem().as_bytes(), PRIVATE_MODE)?;
    if let Err(error) = write_new(public_file, public.to_pem().as_bytes(), PUBLIC_MODE) {
        // Nobody has seen the key, and half a pair helps nobody.
        let _ = std::fs::remove_file(private_file);
        return Err(error);
    }
    Ok(public)
}

fn random() -> Result<Zeroizing<[u8; SEED_BYTES]>, SigningError> {
    let mut bytes = Zeroizing::new([0; SEED_BYTES]);
    let mut filled = 0;
    while filled < SEED_BYTES {
        let got = getrandom(&mut bytes[filled..], GetRandomFlags::empty());
        filled += got.map_err(|errno| SigningError::Random { source: errno.into() })?;
    }
    Ok(bytes)
}

/// What lies in a key file.
#[derive(Debug, Clone)]
pub struct Found {
    /// The public key, computed where a private one lies there.
    pub public: PublicKey,
    /// The form of the private key; `None` for a public one.
    pub private_form: Option<&'static str>,
    /// Anybody could sign for it.
    pub is_weak: bool,
}

/// Reads a key file of either kind.
///
/// **Errors**: it cannot be read, it is no key, or a private key that does not fit itself or that others may read.
pub fn inspect(path: &Path) -> Result<Found, SigningError> {
    let bytes = Zeroizing::new(read(path, catalogue_schema::key::KEY_FILE_BYTES_MAX)?);
    match PublicKey::parse(&bytes) {
        Ok(public) => Ok(Found { is_weak: is_weak(&public), public, private_form: None }),
        Err(error) if error.reason == catalogue_schema::key::PRIVATE_KEY => {
            let private = read_private(path, user())?;
            let signer = signer(path, &private)?;
            let public = signer.public().clone();
            Ok(Found { is_weak: is_weak(&public), public, private_form: Some(private.form()) })
        }
        Err(error) => Err(KeyError::Key { path: path.to_owned(), error }.into()),
    }
}

/// Reads a private key, and the text of its file.
///
/// **Errors**: those of [`inspect`].
pub fn private(path: &Path) -> Result<(PrivateKey, Zeroizing<Vec<u8>>), SigningError> {
    let private = read_private(path, user())?;
    Ok((private, Zeroizing::new(read(path, catalogue_schema::key::KEY_FILE_BYTES_MAX)?)))
}

fn signer(path: &Path, private: &PrivateKey) -> Result<Signer, SigningError> {
    Signer::of(private).map_err(|source| SigningError::Signature { path: path.to_owned(), source })
}

fn user() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// What a statement says about a file, beside what its bytes say.
#[derive(Debug, Clone)]
pub struct Claims {
    /// What kind of thing it is.
    pub usage: Usage,
    /// Its id.
    pub id: String,
    /// Its version, for packages and keysets.
    pub version: Option<String>,
    /// Which version of the catalogue it is.
    pub catalogue_version: Option<u64>,
    /// From when on it says nothing any more, in seconds since 1970-01-01 UTC.
    pub expires_s: Option<i64>,
    /// The commit that the catalogue's manifests are read at.
    pub origin_commit: Option<CommitId>,
    /// When it is signed.
    pub signed_at_s: i64,
}

/// Returns an envelope of signatures by every key over a statement about `file`.
///
/// **Errors**: a file or key cannot be used; the claims do not fit their kind.
pub fn sign(file: &Path, keys: &[PathBuf], claims: &Claims) -> Result<Envelope, SigningError> {
    let content = read(file, SIGNED_BYTES_MAX)?;
    let signers = signers(keys)?;
    let mut algorithms: Vec<KeyAlgorithm> =
        signers.iter().map(|(_, signer)| signer.public().algorithm()).collect();
    algorithms.sort_unstable();
    algorithms.dedup();
    let statement = Statement {
        usage: claims.usage,
        id: claims.id.clone(),
        version: claims.version.clone(),
        digests: [Algorithm::Sha256, Algorithm::Sha512].map(|one| Digest::of(one, &content)).to_vec(),
        size: content.len() as u64,
        signed_at_s: claims.signed_at_s,
        algorithms,
        catalogue_version: claims.catalogue_version,
        expires_s: claims.expires_s,
        origin_commit: claims.origin_commit.clone(),
    };
    let payload = statement.to_bytes();
    let refused = |error| SigningError::Document { path: file.to_owned(), error };
    // What the readers would refuse is not signed.
    Statement::parse(&payload).map_err(refused)?;
    let message = claims.usage.encoded(&payload);
    let mut signatures = Vec::with_capacity(signers.len());
    for (path, signer) in &signers {
        signatures.push(Signature {
            key: signer.public().fingerprint(),
            algorithm: signer.public().algorithm().name().to_owned(),
            bytes: signed(path, signer, &message)?,
        });
    }
    let envelope = Envelope::new(payload, signatures);
    Envelope::parse(envelope.to_json().as_bytes()).map_err(refused)
}

/// Returns one signature over the bytes of `file` themselves, as `openssl pkeyutl -sign -rawin` writes it.
///
/// **Errors**: a file or key cannot be used; not exactly one key is named.
pub fn sign_raw(file: &Path, keys: &[PathBuf]) -> Result<Vec<u8>, SigningError> {
    let content = read(file, SIGNED_BYTES_MAX)?;
    match &signers(keys)?[..] {
        [(path, signer)] => signed(path, signer, &content),
        several => Err(SigningError::OneRaw { keys: several.len() }),
    }
}

/// Returns the public half of a private key, and its signature over `message` as it stands.
///
/// **Errors**: the key cannot be used.
pub fn sign_message(key: &Path, message: &[u8]) -> Result<(PublicKey, Vec<u8>), SigningError> {
    let signer = signer(key, &read_private(key, user())?)?;
    let signature = signed(key, &signer, message)?;
    Ok((signer.public().clone(), signature))
}

fn signers(keys: &[PathBuf]) -> Result<Vec<(&Path, Signer)>, SigningError> {
    let ready =
        |path: &PathBuf| -> Result<Signer, SigningError> { signer(path, &read_private(path, user())?) };
    keys.iter().map(|path| Ok((path.as_path(), ready(path)?))).collect()
}

fn signed(path: &Path, signer: &Signer, message: &[u8]) -> Result<Vec<u8>, SigningError> {
    let failed = |source| SigningError::Signature { path: path.to_owned(), source };
    signer.sign(message, &*random()?).map_err(failed)
}

/// What was found in a signature file.
#[derive(Debug, Clone)]
pub struct Report {
    /// What the signatures are over, where at least one of them holds.
    pub statement: Option<Statement>,
    /// In which way the statement is not about the file.
    pub mismatch: Option<String>,
    /// Every signature: by which key, with which algorithm as written, and whether it holds.
    pub signatures: Vec<(Option<Fingerprint>, String, Proof)>,
    /// The keys that were named and of which no signature holds.
    pub missing: Vec<Fingerprint>,
}

impl Report {
    /// Tells whether every named key has signed this very file.
    pub fn is_good(&self) -> bool {
        self.missing.is_empty() && self.mismatch.is_none()
    }
}

/// Looks at the signatures of `file`, with the public keys that lie in `keys`.
///
/// **Errors**: a file or key cannot be used. What does not hold is no error.
pub fn look_at(file: &Path, signature_file: &Path, keys: &[PathBuf]) -> Result<Report, SigningError> {
    let public: Vec<PublicKey> =
        keys.iter().map(|path| read_named_public(path)).collect::<Result<_, KeyError>>()?;
    let content = read(file, SIGNED_BYTES_MAX)?;
    let refused = |error| SigningError::Document { path: signature_file.to_owned(), error };
    let written = SignatureFile::parse(&read(signature_file, SIGNATURE_BYTES_MAX)?).map_err(refused)?;
    let failed = |source| SigningError::Signature { path: signature_file.to_owned(), source };
    match written {
        SignatureFile::Detached { algorithm, bytes } => {
            detached(algorithm, &bytes, &content, &public).map_err(failed)
        }
        SignatureFile::Envelope(envelope) => {
            // The kind is part of what is signed, so a statement that lies about it verifies under none.
            let stated = envelope.statement().map_err(refused)?;
            let ring: KeyRing = public.iter().cloned().collect();
            let proofs = check(&envelope, stated.usage, &ring).map_err(failed)?;
            Ok(enveloped(&envelope, stated, &proofs, &public, &content))
        }
    }
}

fn detached(
    algorithm: KeyAlgorithm,
    signature: &[u8],
    content: &[u8],
    keys: &[PublicKey],
) -> Result<Report, SignatureError> {
    let mut by = None;
    for key in keys.iter().filter(|key| key.algorithm() == algorithm) {
        if verify(key, content, signature, &[])? {
            by = Some(key.fingerprint());
        }
    }
    let proof = if by.is_some() { Proof::Holds } else { Proof::Fails };
    Ok(Report {
        statement: None,
        mismatch: None,
        signatures: vec![(by, algorithm.name().to_owned(), proof)],
        missing: keys.iter().map(PublicKey::fingerprint).filter(|key| Some(*key) != by).collect(),
    })
}

fn enveloped(
    envelope: &Envelope,
    stated: Statement,
    proofs: &[(Fingerprint, Proof)],
    keys: &[PublicKey],
    content: &[u8],
) -> Report {
    let holds = |key: Fingerprint| proofs.contains(&(key, Proof::Holds));
    let is_true = proofs.iter().any(|(_, proof)| *proof == Proof::Holds);
    let signatures = envelope.signatures().iter().zip(proofs);
    Report {
        mismatch: is_true.then(|| stated.differs_from(content)).flatten(),
        statement: is_true.then_some(stated),
        signatures: signatures
            .map(|(signature, (key, proof))| (Some(*key), signature.algorithm.clone(), *proof))
            .collect(),
        missing: keys.iter().map(PublicKey::fingerprint).filter(|key| !holds(*key)).collect(),
    }
}

/// Writes what is published, as [`replace`] does, unless that would replace one of the files `made_of`.
///
/// **Errors**: the file cannot be written, or is one that it must not replace.
pub fn publish(path: &Path, bytes: &[u8], made_of: &[&Path]) -> Result<(), SigningError> {
    let place = |path: &Path| std::fs::metadata(path).ok().map(|found| (found.dev(), found.ino()));
    let target = place(path);
    if target.is_some() && made_of.iter().any(|own| place(own) == target) {
        return Err(SigningError::Own { path: path.to_owned() });
    }
    replace(path, bytes).map_err(|source| SigningError::File { act: "write", path: path.to_owned(), source })
}

/// Writes a file whole, in place of what was there: a reader sees the old one or the new one. A link is followed, and what is no
/// regular file, such as a pipe or a device, is written into and stays what it is.
///
/// **Errors**: it cannot be written; a link leads nowhere, or to where the program prints.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let is_link = path.symlink_metadata().is_ok_and(|found| found.is_symlink());
    let target = if is_link { path.canonicalize() } else { Ok(path.to_owned()) };
    let target = match std::fs::metadata(path) {
        Ok(found) if !found.is_file() => return File::options().write(true).open(path)?.write_all(bytes),
        // What is printed would go into a file that no name leads to any more.
        Ok(found) if is_link && is_stdout(&found) => {
            return Err(io::Error::other("what is printed goes there: name another file"));
        }
        _ => target?,
    };
    let file = prepared(&target, bytes, PUBLIC_MODE)?;
    let directory = File::open(directory(&target))?;
    file.persist(&target).map_err(|error| error.error)?;
    directory.sync_all()
}

fn is_stdout(found: &std::fs::Metadata) -> bool {
    rustix::fs::fstat(io::stdout()).is_ok_and(|own| (own.st_dev, own.st_ino) == (found.dev(), found.ino()))
}

/// Writes a file that must not exist yet.
fn write_new(path: &Path, bytes: &[u8], mode: u32) -> Result<(), SigningError> {
    let written = prepared(path, bytes, mode).and_then(|file| {
        let directory = File::open(directory(path))?;
        file.persist_noclobber(path).map_err(|error| error.error)?;
        directory.sync_all().inspect_err(|_| drop(std::fs::remove_file(path)))
    });
    written.map_err(|source| match source.kind() {
        io::ErrorKind::AlreadyExists => SigningError::Exists { path: path.to_owned() },
        _ => SigningError::File { act: "write", path: path.to_owned(), source },
    })
}

/// Writes the bytes beside where they belong; the file goes when it is dropped.
fn prepared(path: &Path, bytes: &[u8], mode: u32) -> io::Result<tempfile::NamedTempFile> {
    let permissions = Permissions::from_mode(mode);
    let mut file = tempfile::Builder::new().permissions(permissions).tempfile_in(directory(path))?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    Ok(file)
}

fn directory(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Longer files than this are no keys.
const GROWS_FROM: usize = 64 << 10;

fn read(path: &Path, bytes_max: u64) -> Result<Vec<u8>, SigningError> {
    let failed = |source| SigningError::File { act: "read", path: path.to_owned(), source };
    // A key that is read here is wiped with its buffer: one that grew would leave copies behind.
    let room = usize::try_from(bytes_max).unwrap_or(usize::MAX).min(GROWS_FROM) + 64;
    let mut bytes = Vec::with_capacity(room);
    let file = File::open(path).map_err(failed)?;
    file.take(bytes_max + 1).read_to_end(&mut bytes).map_err(failed)?;
    match bytes.len() as u64 > bytes_max {
        true => Err(SigningError::TooLarge { path: path.to_owned(), bytes_max }),
        false => Ok(bytes),
    }
}
