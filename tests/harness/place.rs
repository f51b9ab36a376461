//! Where things lie: the workspace, the data for tests, the `git` command. Never writes outside what a caller names.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Returns the root of the workspace.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate lies in the workspace").to_path_buf()
}

/// Returns the program under test: the one that was built beside the tests, or the one that `RESOLVERD_BIN` names, such as a
/// release build for the large counts.
pub(crate) fn binary() -> PathBuf {
    variable("RESOLVERD_BIN").map_or_else(|| env!("CARGO_BIN_EXE_resolverd").into(), PathBuf::from)
}

/// Returns an environment variable.
#[expect(
    clippy::disallowed_methods,
    reason = "the cases are told by the environment how much to do and where data lies"
)]
pub(crate) fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// Returns a file of the data for tests: below `RESOLVERD_DATA`, else below `../shared/data`. `None` says so on stderr,
/// or panics where `RESOLVERD_FORBID_SKIP` is set.
pub(crate) fn data(name: &str) -> Option<PathBuf> {
    let folder = variable("RESOLVERD_DATA").map_or_else(|| root().join("../shared/data"), PathBuf::from);
    let path = folder.join(name);
    if path.is_file() {
        return Some(path);
    }
    skipped(&format!("{} is not there (set RESOLVERD_DATA)", path.display()));
    None
}

/// Says that a case does not run and why; panics where nothing may be skipped.
pub(crate) fn skipped(why: &str) {
    assert!(variable("RESOLVERD_FORBID_SKIP").is_none(), "skipped: {why}");
    eprintln!("skipped: {why}");
}

/// Says that a case does not run since the system has no such thing, which nobody can install for it.
pub(crate) fn absent(why: &str) {
    eprintln!("skipped: {why}");
}

/// Runs `git` in `directory` with nobody's configuration and fixed dates, and returns what it printed.
pub(crate) fn git(directory: &Path, arguments: &[&str]) -> String {
    let date = "2025-01-01T00:00:00Z";
    let output = Command::new("git")
        .args(["-c", "safe.directory=*", "-c", "init.defaultBranch=main", "-c", "core.autocrlf=false"])
        // What Git does by itself behind a commit would stand in the way of the next one.
        .args(["-c", "gc.auto=0", "-c", "maintenance.auto=false"])
        .args(arguments)
        .current_dir(directory)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .envs(["GIT_AUTHOR_NAME", "GIT_COMMITTER_NAME"].map(|name| (name, "A Tester")))
        .envs(["GIT_AUTHOR_EMAIL", "GIT_COMMITTER_EMAIL"].map(|name| (name, "tester@example.org")))
        .envs(["GIT_AUTHOR_DATE", "GIT_COMMITTER_DATE"].map(|name| (name, date)))
        .env_remove("GIT_DIR")
        .env_remove("GIT_WORK_TREE")
        .env_remove("GIT_INDEX_FILE")
        .output()
        .expect("git runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "git {arguments:?} in {}: {said}", directory.display());
    String::from_utf8(output.stdout).expect("git prints text")
}

/// Copies a directory and what lies below it; what lies at `to` already stays or is replaced.
pub(crate) fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &target),
            false => drop(std::fs::copy(entry.path(), target).unwrap()),
        }
    }
}

/// Changes the content of a sealed file and seals it again, as whoever may write there could.
pub(crate) fn reseal(path: &Path, change: impl FnOnce(&mut serde_json::Value)) {
    let mut file: serde_json::Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    change(&mut file["content"]);
    let (schema, content) = (file["schema"].as_str().unwrap(), file["content"].to_string());
    // From the second format on, a seal covers the name of the format as well.
    let sealed = if schema.ends_with("@1") { content } else { format!("{schema}\n{content}") };
    file["checksum"] = catalogue_schema::digest::Digest::sha256(sealed.as_bytes()).to_string().into();
    std::fs::write(path, file.to_string()).unwrap();
}

/// Lets the owner write below a directory again.
pub(crate) fn open_up(place: &Path) {
    let Ok(found) = place.symlink_metadata() else { return };
    if found.is_dir() {
        std::fs::set_permissions(place, std::fs::Permissions::from_mode(0o700)).unwrap();
        std::fs::read_dir(place).unwrap().for_each(|entry| open_up(&entry.unwrap().path()));
    }
}
