//! The one place that computes with keys: Ed25519 and ML-DSA-87, verified, signed and made from seeds.
//!
//! Ed25519 (RFC 8032) is verified strictly: exact lengths, canonical encodings, no key and no commitment of small order. ML-DSA-87
//! (FIPS 204) is pure, never pre-hashed; keys and signatures have their exact length before anything else is looked at. The
//! algorithm is always the one of the key that the caller trusts, never the one that a document names.
//!
//! Never reads a file, a clock or the system's random bytes: what is random comes from the caller. The functions that need much
//! stack run in a thread of their own, so that a small one of a caller cannot overflow.

use std::collections::BTreeMap;
use std::thread;

use catalogue_schema::key::{
    Fingerprint, KeyAlgorithm, ML_DSA_87_EXPANDED_BYTES, PrivateKey, PublicKey, SEED_BYTES, Secret,
};
use catalogue_schema::signature::{Envelope, Usage};
use ed25519_dalek::{Signer as _, SigningKey, VerifyingKey};
use fips204::ml_dsa_87;
use fips204::traits::{KeyGen as _, SerDes as _, Signer as _, Verifier as _};
use zeroize::Zeroizing;

/// The stack for one operation of ML-DSA-87, in bytes. Without optimisation the largest takes almost 1 MiB (2026-11).
const STACK_BYTES: usize = 8 << 20;
/// The bytes of a public key of ML-DSA-87 that come before its vector `t1`.
const RHO_BYTES: usize = 32;

/// Why nobody can say whether a signature holds, or cannot make one.
#[derive(Debug, thiserror::Error)]
pub enum SignatureError {
    /// The system gave no thread to compute in.
    #[error("cannot start a thread to compute a signature in: {source}")]
    Thread {
        /// What the system said.
        source: std::io::Error,
    },
    /// The computation ended in a fault of the program.
    #[error("cannot compute a signature: the computation stopped")]
    Stopped,
    /// A private key does not fit itself.
    #[error("cannot use the private key: {found}")]
    PrivateKey {
        /// What does not fit what.
        found: &'static str,
    },
}

/// Tells whether `signature` is one of `key` over `message`, with the context of FIPS 204, which every caller but a test leaves
/// empty. Ed25519 has none: there a signature with a context never holds.
///
/// **Errors**: the system has no thread left.
pub fn verify(
    key: &PublicKey,
    message: &[u8],
    signature: &[u8],
    context: &[u8],
) -> Result<bool, SignatureError> {
    if signature.len() != key.algorithm().signature_bytes() {
        return Ok(false);
    }
    match key.algorithm() {
        KeyAlgorithm::Ed25519 => Ok(context.is_empty() && verify_ed25519(key, message, signature)),
        KeyAlgorithm::MlDsa87 => apart(|| verify_ml_dsa(key, message, signature, context)),
    }
}

fn verify_ed25519(key: &PublicKey, message: &[u8], signature: &[u8]) -> bool {
    let holds = || {
        let key = VerifyingKey::from_bytes(key.as_bytes().try_into().ok()?).ok()?;
        let signature = ed25519_dalek::Signature::from_slice(signature).ok()?;
        key.verify_strict(message, &signature).ok()
    };
    holds().is_some()
}

fn verify_ml_dsa(key: &PublicKey, message: &[u8], signature: &[u8], context: &[u8]) -> bool {
    let (Ok(key), Ok(signature)) = (key.as_bytes().try_into(), signature.try_into()) else { return false };
    ml_dsa_87::PublicKey::try_from_bytes(key).is_ok_and(|key| key.verify(message, &signature, context))
}

/// Runs `work` where there is stack enough.
fn apart<T: Send>(work: impl FnOnce() -> T + Send) -> Result<T, SignatureError> {
    thread::scope(|scope| {
        let started = thread::Builder::new().name("signature".to_owned()).stack_size(STACK_BYTES);
        let running = started.spawn_scoped(scope, work);
        let running = running.map_err(|source| SignatureError::Thread { source })?;
        running.join().map_err(|_| SignatureError::Stopped)
    })
}

/// Tells whether anybody could sign for `key`: an Ed25519 key of small order or none at all, an ML-DSA-87 key whose `t1` is zero.
pub fn is_weak(key: &PublicKey) -> bool {
    match key.algorithm() {
        KeyAlgorithm::Ed25519 => {
            let point = key.as_bytes().try_into().ok().and_then(|bytes| VerifyingKey::from_bytes(bytes).ok());
            point.is_none_or(|point| point.is_weak())
        }
        KeyAlgorithm::MlDsa87 => key.as_bytes()[RHO_BYTES..].iter().all(|byte| *byte == 0),
    }
}

/// Public keys by their fingerprints.
#[derive(Debug, Clone, Default)]
pub struct KeyRing(BTreeMap<Fingerprint, PublicKey>);

impl KeyRing {
    /// Returns the key of a fingerprint.
    pub fn key(&self, fingerprint: Fingerprint) -> Option<&PublicKey> {
        self.0.get(&fingerprint)
    }

    /// Returns the keys, in the order of their fingerprints.
    pub fn keys(&self) -> impl Iterator<Item = &PublicKey> {
        self.0.values()
    }

    /// Returns how many keys there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Tells whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<PublicKey> for KeyRing {
    fn from_iter<I: IntoIterator<Item = PublicKey>>(keys: I) -> KeyRing {
        KeyRing(keys.into_iter().map(|key| (key.fingerprint(), key)).collect())
    }
}

/// What computing says about one signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proof {
    /// It is one of that key over these bytes.
    Holds,
    /// It is not.
    Fails,
    /// It names an algorithm that the key does not have; nothing was computed.
    OtherAlgorithm,
    /// The ring has no such key.
    NoKey,
}

impl Proof {
    /// Returns the word for it.
    pub fn word(self) -> &'static str {
        match self {
            Proof::Holds => "valid",
            Proof::Fails => "invalid",
            Proof::OtherAlgorithm => "algorithm-mismatch",
            Proof::NoKey => "unknown-key",
        }
    }
}

/// Looks at every signature of an envelope, in its order. The statement may be read once one of them holds.
///
/// **Errors**: the system has no thread left.
pub fn check(
    envelope: &Envelope,
    usage: Usage,
    ring: &KeyRing,
) -> Result<Vec<(Fingerprint, Proof)>, SignatureError> {
    let message = usage.encoded(envelope.payload());
    let mut checked = Vec::with_capacity(envelope.signatures().len());
    for signature in envelope.signatures() {
        let proof = match ring.key(signature.key) {
            None => Proof::NoKey,
            Some(key) if key.algorithm().name() != signature.algorithm => Proof::OtherAlgorithm,
            Some(key) if verify(key, &message, &signature.bytes, &[])? => Proof::Holds,
            Some(_) => Proof::Fails,
        };
        checked.push((signature.key, proof));
    }
    Ok(checked)
}

/// A private key that is ready to sign, with the public key that was computed from it and never from a file.
#[derive(Debug)]
pub struct Signer {
    public: PublicKey,
    key: SigningSecret,
}

enum SigningSecret {
    Ed25519(Box<SigningKey>),
    MlDsa87(Box<ml_dsa_87::PrivateKey>),
}

impl std::fmt::Debug for SigningSecret {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("(secret)")
    }
}

impl Signer {
    /// Makes a private key from a seed of random bytes.
    pub fn seeded(algorithm: KeyAlgorithm, seed: Zeroizing<[u8; SEED_BYTES]>) -> PrivateKey {
        let secret = match algorithm {
            KeyAlgorithm::Ed25519 => Secret::Ed25519(seed),
            KeyAlgorithm::MlDsa87 => Secret::MlDsa87Seed(seed),
        };
        PrivateKey { secret, public: None }
    }

    /// Makes a key ready. An expanded key that is not the one of the seed beside it is refused, and so is a public key in the
    /// file that is not the one of the private key.
    ///
    /// **Errors**: the key does not fit itself; the system has no thread left.
    pub fn of(private: &PrivateKey) -> Result<Signer, SignatureError> {
        let signer = match &private.secret {
            Secret::Ed25519(seed) => Signer::ed25519(seed)?,
            Secret::MlDsa87Seed(seed) => apart(|| Signer::ml_dsa(expand(seed)))??,
            Secret::MlDsa87Expanded(expanded) => apart(|| Signer::ml_dsa(decode(expanded)?))??,
            Secret::MlDsa87Both(seed, expanded) => apart(|| {
                let key = expand(seed);
                let found = "the expanded key is not the one of the seed beside it";
                match Zeroizing::new(key.clone().into_bytes()).as_slice() == expanded.as_slice() {
                    true => Signer::ml_dsa(key),
                    false => Err(SignatureError::PrivateKey { found }),
                }
            })??,
        };
        match &private.public {
            Some(beside) if *beside != signer.public => {
                let found = "the public key in its file belongs to another one";
                Err(SignatureError::PrivateKey { found })
            }
            _ => Ok(signer),
        }
    }

    fn ed25519(seed: &[u8; SEED_BYTES]) -> Result<Signer, SignatureError> {
        let key = SigningKey::from_bytes(seed);
        let public = PublicKey::from_bytes(KeyAlgorithm::Ed25519, key.verifying_key().as_bytes());
        Ok(Signer { public: public.map_err(|_| WRONG_PUBLIC)?, key: SigningSecret::Ed25519(Box::new(key)) })
    }

    fn ml_dsa(key: ml_dsa_87::PrivateKey) -> Result<Signer, SignatureError> {
        let public = PublicKey::from_bytes(KeyAlgorithm::MlDsa87, &key.get_public_key().into_bytes());
        Ok(Signer { public: public.map_err(|_| WRONG_PUBLIC)?, key: SigningSecret::MlDsa87(Box::new(key)) })
    }

    /// Returns the public key.
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// Signs `message` with an empty context. ML-DSA-87 mixes `random` into the signature (the hedged form of FIPS 204); Ed25519
    /// needs none. The signature is verified before it is given out.
    ///
    /// **Errors**: a private key that is not what it should be; the system has no thread left.
    pub fn sign(&self, message: &[u8], random: &[u8; SEED_BYTES]) -> Result<Vec<u8>, SignatureError> {
        let signature = match &self.key {
            SigningSecret::Ed25519(key) => key.sign(message).to_bytes().to_vec(),
            SigningSecret::MlDsa87(key) => {
                let signed = apart(|| key.try_sign_with_seed(random, message, &[]))?;
                signed.map_err(|found| SignatureError::PrivateKey { found })?.to_vec()
            }
        };
        let found = "what it signs does not verify";
        match verify(&self.public, message, &signature, &[])? {
            true => Ok(signature),
            false => Err(SignatureError::PrivateKey { found }),
        }
    }
}

const WRONG_PUBLIC: SignatureError =
    SignatureError::PrivateKey { found: "the public key that follows from it has another length" };

fn expand(seed: &[u8; SEED_BYTES]) -> ml_dsa_87::PrivateKey {
    ml_dsa_87::KG::keygen_from_seed(seed).1
}

fn decode(expanded: &[u8]) -> Result<ml_dsa_87::PrivateKey, SignatureError> {
    let bytes = <[u8; ML_DSA_87_EXPANDED_BYTES]>::try_from(expanded).ok();
    let key = bytes.and_then(|bytes| ml_dsa_87::PrivateKey::try_from_bytes(bytes).ok());
    key.ok_or(SignatureError::PrivateKey { found: "the expanded key has numbers that no key has" })
}

#[cfg(test)]
mod tests;
