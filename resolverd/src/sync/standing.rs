//! Which trust policies are in force: read at the start and after every edit, all of them or none.
//!
//! A policy that cannot be used leaves those in force that were; at a cold start nothing but the status is served until it can be
//! used. A file that was in force and is gone stays in force while the process lives. Never decides about a release.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use catalogue_schema::model::Refusal;
use tracing::{error, info};

use crate::fetch::limit::Limits;
use crate::store::memory::Memory;
use crate::trust::evidence::Proofs;
use crate::trust::policy::{InForce, Policies, PolicyError, PolicyFile, load, rests_on, succeeds};
use crate::trust::rotation::turned;

/// The reason that a policy that was in force is not there any more.
pub const GONE: &str = "policy.missing";

/// The policies in force, and what is wrong with what was found instead of them.
#[derive(Debug, Default)]
pub struct Standing {
    /// Those in force.
    pub in_force: Arc<Policies>,
    /// What is wrong.
    pub problem: Option<Refusal>,
    /// Nothing was ever in force in this process, and what is there cannot be used.
    pub is_locked: bool,
    /// What is known of signatures.
    pub proofs: Arc<Proofs>,
}

impl Standing {
    /// Reads the policies at the start of a process.
    pub fn first(files: &[PolicyFile], memory: &Memory) -> Standing {
        match found(files, memory) {
            Ok(policies) => {
                let problem = gone(files, memory, &policies);
                Standing { in_force: Arc::new(policies), problem, ..Standing::default() }
            }
            Err(problem) => {
                error!(%problem, "the trust policy cannot be used: nothing is served until it is corrected");
                Standing { problem: Some(problem), is_locked: true, ..Standing::default() }
            }
        }
    }

    /// Returns the files whose edits matter beside the policies: the keys that they name, and while something is wrong whatever
    /// those in `files` rest on.
    pub fn key_files(&self, files: &[PolicyFile]) -> Vec<PathBuf> {
        let user = rustix::process::geteuid().as_raw();
        let found = files.iter().filter(|_| self.problem.is_some());
        self.in_force.key_files().chain(found.flat_map(|file| rests_on(&file.path, user))).collect()
    }

    /// Reads the policies again; tells whether others are in force now.
    ///
    /// **Errors**: why those that were in force stay.
    pub fn again(&mut self, files: &[PolicyFile], memory: &Memory) -> Result<bool, Refusal> {
        let policies = found(files, memory).and_then(|policies| {
            // Whether the file is there is not asked a second time: an editor may have put it back meanwhile.
            let is_looked_for = |old: &&InForce| files.iter().any(|file| file.path == old.path);
            let is_left = |old: &&InForce| policies.all().iter().all(|new| new.path != old.path);
            let left = self.in_force.all().iter().filter(is_looked_for).find(is_left);
            match left {
                Some(old) => Err(missing(&old.path, old.policy.version, "it stays in force until a restart")),
                None => Ok(policies),
            }
        });
        match policies {
            Ok(policies) => {
                let is_new = self.is_locked || policies.digest() != self.in_force.digest();
                (self.in_force, self.problem, self.is_locked) = (Arc::new(policies), None, false);
                if is_new {
                    info!(policies = self.in_force.all().len(), "the trust policy changed");
                }
                Ok(is_new)
            }
            Err(problem) => {
                error!(%problem, "the trust policy cannot be used; what was in force stays");
                self.problem = Some(problem.clone());
                Err(problem)
            }
        }
    }

    /// Returns the limits of a sync: a policy may lower them.
    pub fn lowered(&self, limits: &Limits) -> Limits {
        lowered(&self.in_force, limits)
    }
}

/// Returns the limits of a sync under these policies, each of which may lower them.
pub fn lowered(policies: &Policies, limits: &Limits) -> Limits {
    let mut lowered = limits.clone();
    for (name, most) in policies.limits() {
        let narrow = |own: u32| own.min(u32::try_from(most).unwrap_or(u32::MAX));
        match name {
            "catalogue_bytes" => lowered.catalogue_bytes = lowered.catalogue_bytes.min(most),
            "catalogues" => lowered.catalogues = narrow(lowered.catalogues),
            "depth" => lowered.depth = narrow(lowered.depth),
            "documents" => lowered.documents = lowered.documents.min(most),
            "git_object_bytes" => lowered.git_object_bytes = lowered.git_object_bytes.min(most),
            "release_document_bytes" => {
                lowered.release_document_bytes = lowered.release_document_bytes.min(most);
            }
            "total_bytes" => lowered.total_bytes = lowered.total_bytes.min(most),
            _ => {}
        }
    }
    lowered
}

/// Reads every policy that is there.
fn found(files: &[PolicyFile], memory: &Memory) -> Result<Policies, Refusal> {
    let mut all: Vec<InForce> = Vec::new();
    for file in files {
        let Some(policy) = look(file)? else { continue };
        let path = &file.path;
        succeeds(&policy.policy, path, memory.policy_version(path).unwrap_or_default())?;
        all.push(turned(&policy, memory.keysets()));
    }
    Ok(Policies::of(all))
}

/// Reads one policy, whatever version was in force before; `None` where there is none and nobody named it.
///
/// **Errors**: why it cannot be used.
fn look(PolicyFile { path, is_named }: &PolicyFile) -> Result<Option<InForce>, Refusal> {
    // A link that leads nowhere is there: somebody meant it to be.
    if !is_named && path.symlink_metadata().is_err_and(|error| is_absent(&error)) {
        return Ok(None);
    }
    let user = rustix::process::geteuid().as_raw();
    load(path, user).map(Some).map_err(|error| refusal(path, &error))
}

/// Looks at one policy and returns what it is in short; `None` where there is none and nobody named it.
///
/// **Errors**: why it cannot be used.
pub fn told(file: &PolicyFile) -> Result<Option<String>, Refusal> {
    let short = |one: InForce| {
        format!(
            "version {}, keys: {}, rules: {}",
            one.policy.version,
            one.policy.keys.len(),
            one.policy.namespaces.len()
        )
    };
    Ok(look(file)?.map(short))
}

fn is_absent(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory)
}

fn refusal(path: &Path, error: &PolicyError) -> Refusal {
    let refusal = error.refusal(path);
    Refusal { found: format!("{}; correct it, and it is read again by itself", refusal.found), ..refusal }
}

/// Says that a policy was in force before this process, and is not there any more.
fn gone(files: &[PolicyFile], memory: &Memory, policies: &Policies) -> Option<Refusal> {
    let lost = files.iter().find(|file| policies.all().iter().all(|one| one.path != file.path));
    let (path, version) = lost.and_then(|file| Some((&file.path, memory.policy_version(&file.path)?)))?;
    Some(missing(path, version, "nothing that it asked for is asked for now"))
}

fn missing(path: &Path, version: u64, consequence: &str) -> Refusal {
    let expected = format!("the policy of version {version} that was in force");
    Refusal::new(GONE, path.display(), expected, format!("no file; {consequence}"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_policy_stays_until_another_can_be_used_and_what_is_at_fault_is_watched() {
        let root = tempfile::Builder::new().permissions(Permissions::from_mode(0o700)).tempdir().unwrap();
        let (path, key) = (root.path().join("trust.toml"), root.path().join("root.pem"));
        let write = |text: &str| {
            std::fs::write(&path, format!("schema = \"resolverd/trust@1\"\nversion = 1\n{text}")).unwrap();
            std::fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        };
        write("");
        let files = [PolicyFile { path: path.clone(), is_named: false }];
        let memory = Memory::default();
        let mut standing = Standing::first(&files, &memory);
        assert_eq!((standing.problem.clone(), standing.key_files(&files).len()), (None, 0));
        let in_force = standing.in_force.digest().cloned();

        std::fs::remove_file(&path).unwrap();
        assert_eq!(standing.again(&files, &memory).unwrap_err().reason, GONE);
        write(&format!(
            "[[keys]]\nid = \"root\"\nalgorithm = \"ed25519\"\nfile = \"root.pem\"\nfingerprint = \"sha256:{}\"\nusage = [\"package\"]\n",
            "1".repeat(64)
        ));
        for (text, mode) in [("", 0o644), ("no key", 0o644), ("no key", 0o666)] {
            std::fs::write(&key, text).unwrap();
            std::fs::set_permissions(&key, Permissions::from_mode(mode)).unwrap();
            standing.again(&files, &memory).unwrap_err();
            assert!(standing.key_files(&files).contains(&key), "{text} {mode:o}");
            assert_eq!(standing.in_force.digest(), in_force.as_ref());
        }
        std::fs::set_permissions(root.path(), Permissions::from_mode(0o777)).unwrap();
        standing.again(&files, &memory).unwrap_err();
        assert_eq!(standing.key_files(&files), [root.path()], "the directory that others may write");
        std::fs::set_permissions(root.path(), Permissions::from_mode(0o700)).unwrap();

        // Nobody looks for it any more, which is no accident.
        assert!(standing.again(&[], &memory).unwrap() && standing.in_force.is_empty());
    }
}
