//! The listing of a Git directory as the files of a release. Pure: reads the text that a fetcher made of tree objects.
//!
//! A release is files in directories and nothing else: a symlink, a submodule, an unusual mode or a name outside the one grammar
//! of paths refuses the whole release, since a kernel would get something else than its author meant.

use std::fmt;

use catalogue_schema::error::escaped;
use catalogue_schema::model::Refusal;
use catalogue_schema::path::DocPath;
use catalogue_schema::pointer::CommitId;

use crate::fetch::limit::Limits;
use crate::materialize::names;

/// A file of a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its path below the listed directory.
    pub path: DocPath,
    /// Its object id.
    pub blob: CommitId,
    /// It may be executed.
    pub executable: bool,
}

/// Reads the listing of `top`, which was asked for down to `limits.release_depth` levels.
///
/// **Shape**: lines `mode type oid path`, paths from the repository's root, as `Want::Tree` is answered.
/// **Errors**: `files.entry_type`, `files.path`, `files.duplicate`, `files.none`, `limit.release_depth`, `limit.release_files`,
/// about `subject`.
pub fn read(
    listing: &[u8],
    top: &DocPath,
    limits: &Limits,
    subject: &dyn fmt::Display,
) -> Result<Vec<Entry>, Refusal> {
    let text = String::from_utf8_lossy(listing);
    let mut entries = Vec::new();
    for line in text.lines() {
        let mut fields = line.splitn(4, ' ');
        let (Some(mode), Some(_), Some(id), Some(path)) =
            (fields.next(), fields.next(), fields.next(), fields.next())
        else {
            return Err(bad_path(subject, line));
        };
        let path = below(top, path).ok_or_else(|| bad_path(subject, path))?;
        match mode {
            "040000" if path.segments().count() >= levels(limits) => {
                let found = format!("{path}, a directory below that");
                let expected = at_most(limits.release_depth, "levels of directories", "release_depth");
                return Err(Refusal::new("limit.release_depth", subject, expected, found));
            }
            "040000" => {}
            "100644" | "100755" => {
                let blob = CommitId::parse(id).map_err(|_| bad_path(subject, line))?;
                entries.push(Entry { path, blob, executable: mode == "100755" });
            }
            mode => return Err(other_type(subject, &path, mode)),
        }
    }
    if entries.len() as u64 > limits.release_files {
        let expected = at_most(limits.release_files, "files in one release", "release_files");
        return Err(Refusal::new("limit.release_files", subject, expected, entries.len()));
    }
    if entries.is_empty() {
        return Err(Refusal::new("files.none", subject, "a directory with files", "none"));
    }
    names::check(subject, entries.iter().map(|entry| &entry.path))?;
    Ok(entries)
}

/// Reads the descriptors, files of this name, of what lies below `top` out of its listing. What else is listed, whatever it is, does not
/// matter.
///
/// **Errors**: `files.descriptors` where they are more than `most`; `files.duplicate`; about `subject`.
pub fn descriptors(
    listing: &[u8],
    top: &DocPath,
    (descriptor, most): (&str, usize),
    subject: &dyn fmt::Display,
) -> Result<Vec<Entry>, Refusal> {
    let text = String::from_utf8_lossy(listing);
    let entry = |line: &str| {
        let mut fields = line.splitn(4, ' ');
        let (mode, _, id, path) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
        let (directory, name) = path.rsplit_once('/')?;
        let is_descriptor = name == descriptor && directory != top.as_text();
        let is_file = matches!(mode, "100644" | "100755");
        let path = below(top, path).filter(|_| is_descriptor && is_file)?;
        Some(Entry { path, blob: CommitId::parse(id).ok()?, executable: mode == "100755" })
    };
    let entries: Vec<Entry> = text.lines().filter_map(entry).collect();
    if entries.len() > most {
        let expected = format!("at most {most} components in one package");
        return Err(Refusal::new("files.descriptors", subject, expected, entries.len()));
    }
    names::check(subject, entries.iter().map(|entry| &entry.path))?;
    Ok(entries)
}

/// Returns how many levels are asked for.
pub fn levels(limits: &Limits) -> usize {
    usize::try_from(limits.release_depth).unwrap_or(usize::MAX)
}

/// Returns the words that name a limit.
pub fn at_most(limit: u64, unit: &str, key: &str) -> String {
    format!("at most {limit} {unit} (config key limits.{key})")
}

fn below(top: &DocPath, path: &str) -> Option<DocPath> {
    let rest = path.strip_prefix(top.as_text())?.strip_prefix('/')?;
    // What the grammar would take without its first characters is not the name that stands there.
    DocPath::parse(rest).ok().filter(|read| read.as_text() == rest)
}

fn bad_path(subject: &dyn fmt::Display, path: &str) -> Refusal {
    let expected =
        "names of printable ASCII that no file system and no program reserves, at most 255 bytes a path";
    Refusal::new("files.path", subject, expected, escaped(path))
}

fn other_type(subject: &dyn fmt::Display, path: &DocPath, mode: &str) -> Refusal {
    let what = match mode {
        "120000" => "a symlink".to_owned(),
        "160000" => "a submodule".to_owned(),
        other => format!("an entry of mode {}", escaped(other)),
    };
    let expected = "regular files and directories only";
    Refusal::new("files.entry_type", subject, expected, format!("{path} is {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0123456789abcdef0123456789abcdef01234567";

    fn found(lines: &[&str], limits: &Limits) -> Result<Vec<String>, String> {
        let listing: String = lines.iter().map(|line| line.replace("ID", ID) + "\n").collect();
        let top = DocPath::parse("packages/x").expect("a path");
        let read = read(listing.as_bytes(), &top, limits, &"a release");
        read.map(|entries| {
            entries
                .iter()
                .map(|one| format!("{}{}", one.path, ["", " x"][usize::from(one.executable)]))
                .collect()
        })
        .map_err(|refusal| refusal.reason.into_owned())
    }

    #[track_caller]
    fn check(lines: &[&str], expected: Result<&[&str], &str>) {
        let expected = expected
            .map(|paths| paths.iter().map(|path| (*path).to_owned()).collect::<Vec<_>>())
            .map_err(str::to_owned);
        assert_eq!(found(lines, &Limits::default()), expected, "{lines:?}");
    }

    #[test]
    fn files_and_directories_are_read_and_nothing_else() {
        check(
            &[
                "100644 blob ID packages/x/compose.yaml",
                "040000 tree ID packages/x/lib",
                "100755 blob ID packages/x/lib/run.sh",
            ],
            Ok(&["compose.yaml", "lib/run.sh x"]),
        );
        check(&[], Err("files.none"));
        check(&["120000 blob ID packages/x/link"], Err("files.entry_type"));
        check(&["160000 commit ID packages/x/module"], Err("files.entry_type"));
        check(&["100664 blob ID packages/x/old"], Err("files.entry_type"));
    }

    #[test]
    fn names_that_some_system_reads_otherwise_refuse_the_release() {
        let long = "y".repeat(101);
        for name in [
            "NUL.txt",
            "con",
            "a.",
            "a b",
            "a:b",
            "C:\\x",
            ".gitmodules",
            ".resolverd-ok",
            "a\\b",
            "*",
            &long,
            "\"a\\302\\240b\"",
            "./a",
            "../a",
            "/a",
            "a//b",
        ] {
            check(&[&format!("100644 blob ID packages/x/{name}")], Err("files.path"));
        }
        check(&["100644 blob ID packages/other/a"], Err("files.path"));
        check(&["100644 blob ID packages/xa"], Err("files.path"));
        check(&["100644 blob ID \"packages/x/\\033[2J\""], Err("files.path"));
        check(&["100644 blob ID packages/x/A", "100644 blob ID packages/x/a"], Err("files.duplicate"));
        check(&["100644 blob ID packages/x/d/f", "100644 blob ID packages/x/D/g"], Err("files.duplicate"));
    }

    #[test]
    fn files_and_levels_are_counted() {
        let limits = |files: u64, depth: u64| Limits {
            release_files: files,
            release_depth: depth,
            ..Limits::default()
        };
        let lines =
            ["100644 blob ID packages/x/a", "040000 tree ID packages/x/d", "100644 blob ID packages/x/d/b"];
        assert_eq!(found(&lines, &limits(2, 2)).map(|found| found.len()), Ok(2));
        assert_eq!(found(&lines, &limits(1, 2)), Err("limit.release_files".to_owned()));
        assert_eq!(found(&lines[..2], &limits(2, 1)), Err("limit.release_depth".to_owned()));
    }

    #[test]
    fn of_a_package_the_descriptors_below_it_are_found_whatever_lies_beside_them() {
        let check = |lines: &[&str], most: usize, expected: Result<&[&str], &str>| {
            let listing: String = lines.iter().map(|line| line.replace("ID", ID) + "\n").collect();
            let top = DocPath::parse("packages/x").expect("a path");
            let found = descriptors(listing.as_bytes(), &top, ("lcp.toml", most), &"a package");
            let found = found.map(|all| all.iter().map(|one| one.path.to_string()).collect::<Vec<_>>());
            let expected = expected.map(|all| all.iter().map(|one| (*one).to_owned()).collect::<Vec<_>>());
            assert_eq!(found.map_err(|one| one.reason.into_owned()), expected.map_err(str::to_owned));
        };
        let lines = [
            "100644 blob ID packages/x/lcp.toml",
            "040000 tree ID packages/x/a",
            "100644 blob ID packages/x/a/lcp.toml",
            "100755 blob ID packages/x/a/b/lcp.toml",
            "100644 blob ID packages/x/a/LCP.toml",
            "120000 blob ID packages/x/link/lcp.toml",
            "160000 commit ID packages/x/module",
            "100644 blob ID packages/x/c d?/lcp.toml",
            "100644 blob ID packages/x/CON/lcp.toml",
            "100644 blob ID packages/xa/y/lcp.toml",
            "nothing",
        ];
        check(&lines, 2, Ok(&["a/lcp.toml", "a/b/lcp.toml"]));
        check(&lines, 1, Err("files.descriptors"));
        check(&[], 1, Ok(&[]));
        let twins = ["100644 blob ID packages/x/A/lcp.toml", "100644 blob ID packages/x/a/lcp.toml"];
        check(&twins, 2, Err("files.duplicate"));
    }
}
