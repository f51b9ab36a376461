//! What an operator does with a policy before it is in force: looks for what is weak in it, tries it, writes a first one. Reads the
//! files that are named; never writes, and never puts anything in force.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use catalogue_schema::id::{Namespace, SourceId};
use catalogue_schema::model::{Refusal, Source};
use catalogue_schema::policy::lint::{Finding, lint};
use catalogue_schema::policy::{POLICY_BYTES_MAX, Policy};

use crate::api::{Code, Failure};
use crate::config::Settings;
use crate::order::Proposal;
use crate::store::memory::Memory;
use crate::sync::standing::Standing;
use crate::trust::keys::read_guarded;
use crate::trust::policy::{InForce, Policies, PolicyError, given, load, succeeds};
use crate::trust::rotation::turned;

/// A policy that can be used, and what an operator should know about it.
#[derive(Debug)]
pub struct Linted {
    /// The policy with its keys.
    pub policy: InForce,
    /// What was found, in the order of the file.
    pub findings: Vec<Finding>,
}

/// Reads a policy as a daemon would, and looks for what is weak in it, at an instant in seconds since 1970-01-01 UTC.
///
/// **Errors**: R008 with line and column: it cannot be used.
pub fn linted(path: &Path, now_s: i64) -> Result<Linted, Failure> {
    let policy = read(path)?;
    let findings = lint(&policy.policy, now_s);
    Ok(Linted { policy, findings })
}

/// A source, as far as a policy has to do with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Supplier {
    /// Its id.
    pub id: SourceId,
    /// The namespaces that it owns by its configuration.
    pub owns: Vec<Namespace>,
}

impl Supplier {
    /// Returns what a policy has to do with a source.
    pub fn of(source: &Source) -> Supplier {
        Supplier { id: source.id.clone(), owns: source.owns.clone() }
    }
}

/// Returns the sets of signers whose keysets nobody will ever look for: who publishes them is none of the configured sources.
pub fn unread(policy: &Policy, configured: &[Supplier]) -> Vec<Finding> {
    let published = policy.signers.iter().filter_map(|set| Some((set, &set.keysets.as_ref()?.source)));
    let is_unread = |source: &SourceId| configured.iter().all(|one| one.id != *source);
    let unread = published.filter(|(_, source)| is_unread(source));
    unread
        .map(|(set, source)| Finding {
            reason: "lint.keysets_unread",
            place: set.place,
            text: format!(
                "{}: its keysets are published by {source}, which is no configured source, so that newer keys are never looked for",
                set.name
            ),
        })
        .collect()
}

/// Returns where the operator's own policy is looked for.
pub fn own(settings: &Settings) -> PathBuf {
    settings.policy_files.first().map(|file| file.path.clone()).unwrap_or_default()
}

/// Reads a policy with its keys, to be sent to whoever tries it.
///
/// **Errors**: as [`linted`].
pub fn proposal(path: &Path) -> Result<Proposal, Failure> {
    let policy = read(path)?;
    let user = rustix::process::geteuid().as_raw();
    let text = |path: &Path| -> Result<String, Failure> {
        let bytes =
            read_guarded(path, user, POLICY_BYTES_MAX).map_err(|error| unusable(path, &error.into()))?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    let directory = policy.path.parent().unwrap_or(Path::new("/"));
    let keys = policy.policy.keys.iter().map(|key| {
        let name = Path::new(&key.file);
        Ok((name.display().to_string(), text(&directory.join(name))?))
    });
    Ok(Proposal { keys: keys.collect::<Result<_, Failure>>()?, policy: text(&policy.path)? })
}

fn read(path: &Path) -> Result<InForce, Failure> {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    load(&path, rustix::process::geteuid().as_raw()).map_err(|error| unusable(&path, &error))
}

fn unusable(path: &Path, error: &PolicyError) -> Failure {
    let failure = Failure::new(Code::ConfigInvalid, error.reason().to_owned(), error.to_string())
        .with("subject", path.display().to_string())
        .hint(match path.symlink_metadata().is_ok() {
            true => "correct the file; resolverd policy lint reads it as the daemon does".to_owned(),
            false => format!("write a first one with: resolverd policy init > {}", path.display()),
        });
    match error.place() {
        Some(place) => failure.with("line", place.line).with("column", place.column),
        None => failure,
    }
}

/// Returns how policies would stand with a proposal in the place of the operator's own, which file that is, and why it would not
/// come into force.
///
/// **Errors**: it cannot be used at all.
pub(super) fn standing(
    proposal: &Proposal,
    settings: &Settings,
    in_force: &Policies,
    memory: &Memory,
) -> Result<(Standing, PathBuf, Vec<Refusal>), Refusal> {
    let path = own(settings);
    let key = |file: &Path| proposal.keys.get(&file.display().to_string()).map(String::as_str);
    let own = given(&path, &proposal.policy, key).map_err(|error| error.refusal(&path))?;
    let problems = succeeds(&own.policy, &path, memory.policy_version(&path).unwrap_or_default()).err();
    let own = turned(&own, memory.keysets());
    let others = in_force.all().iter().filter(|one| one.path != path).cloned();
    let policies = Policies::of(std::iter::once(own).chain(others).collect());
    let standing = Standing { in_force: Arc::new(policies), ..Standing::default() };
    Ok((standing, path, problems.into_iter().collect()))
}

/// Returns the text of a first policy: what every source supplies today it may supply, by pins, and nothing else is let in.
pub fn starter(sources: &[Supplier]) -> String {
    let names = |sources: &[&Supplier]| {
        let quoted: Vec<String> = sources.iter().map(|source| format!("\"{}\"", source.id)).collect();
        quoted.join(", ")
    };
    let mut out = STARTER_HEAD.to_owned();
    for source in sources {
        out.push_str(&format!("[[sources]]\nid = \"{}\"\n", source.id));
        out.push_str(
            "# hosts = [\"git.example\"]          # nothing else is asked for it, redirects included\n",
        );
        out.push_str("# signed_by = \"team\"              # who must have signed its catalogues\n\n");
    }
    let mut owned: Vec<(String, Vec<&Supplier>)> = Vec::new();
    for source in sources {
        for namespace in &source.owns {
            let pattern = namespace.to_string();
            match owned.iter_mut().find(|(known, _)| *known == pattern) {
                Some((_, sources)) => sources.push(source),
                None => owned.push((pattern, vec![source])),
            }
        }
    }
    for (pattern, sources) in owned {
        out.push_str(&format!(
            "[[namespaces]]\nmatch = \"{pattern}\"\nsources = [{}]            # nobody else, whatever its priority\nrequire = \"pin\"\n\n",
            names(&sources)
        ));
    }
    let all: Vec<&Supplier> = sources.iter().collect();
    if !all.is_empty() {
        out.push_str(&format!(
            "# Everything else. Take this out, or narrow it, and what no rule names is refused.\n[[namespaces]]\nmatch = \"**\"\nsources = [{}]\nrequire = \"pin\"                  # \"digest\" or \"signature\" ask for more\n",
            names(&all)
        ));
    }
    out
}

const STARTER_HEAD: &str = "# What may be used, and who says so. The whole file is refused where anything in it is wrong.\n\
# resolverd policy lint says what is weak in it, resolverd policy test what it would change.\n\
schema = \"resolverd/trust@1\"\n\
version = 1                          # higher with every change; it never goes back\n\
\n\
[defaults]\n\
mode = \"audit\"                       # refuses nothing yet: resolverd audit tail shows what \"enforce\" would refuse\n\
\n\
# [[keys]]                           # the only roots of trust; resolverd keys fingerprint FILE prints the last line\n\
# id = \"team-1\"\n\
# algorithm = \"ed25519\"\n\
# file = \"keys/team-1.pem\"\n\
# fingerprint = \"sha256:…\"\n\
# usage = [\"catalogue\", \"package\"]\n\
#\n\
# [[signers]]\n\
# name = \"team\"\n\
# keys = [\"team-1\"]\n\
# threshold = 1\n\
\n";

#[cfg(test)]
mod tests {
    use std::path::Path;

    use catalogue_schema::forge::Forges;

    use super::*;

    #[test]
    fn a_first_policy_can_be_used_and_names_every_source() {
        let check = |text: &str, expected: &[&str]| {
            let sources =
                catalogue_schema::sources::read(text.as_bytes(), Path::new("/"), &Forges::default());
            let sources: Vec<Supplier> = sources.expect("good sources").iter().map(Supplier::of).collect();
            let written = starter(&sources);
            let policy =
                Policy::parse(written.as_bytes()).unwrap_or_else(|error| panic!("{error}\n{written}"));
            let rules: Vec<String> = policy
                .namespaces
                .iter()
                .map(|rule| {
                    let sources: Vec<&str> = rule.sources.iter().map(|id| id.as_text()).collect();
                    format!("{} {}", rule.pattern, sources.join(" "))
                })
                .collect();
            assert_eq!(rules, expected, "{written}");
        };
        check(r#"{"sources":[{"id":"a","path":"a"},{"id":"b/c","path":"b"}]}"#, &["** a b/c"]);
        check(
            r#"{"sources":[{"id":"a","path":"a","owns":["lcod://acme/**"]},{"id":"b","path":"b"}]}"#,
            &["lcod://acme/** a", "** a b"],
        );
    }
}
