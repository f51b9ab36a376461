//! Which paths may stand together in one directory. Pure: looks at names, never at a file.
//!
//! Each path has the one grammar already ([`DocPath`]). Here they are held against each other, so that the directory means the
//! same on every file system: no path twice, none that differs from another in the case of letters only, no file where another
//! path needs a directory.

use std::collections::BTreeMap;
use std::fmt;

use catalogue_schema::model::Refusal;
use catalogue_schema::path::DocPath;

/// Two paths that cannot stand in one directory.
pub const DUPLICATE: &str = "files.duplicate";

/// Refuses paths that cannot all be files of one directory.
///
/// **Errors**: `files.duplicate`, about `subject`.
pub fn check<'a>(
    subject: &dyn fmt::Display,
    paths: impl Iterator<Item = &'a DocPath>,
) -> Result<(), Refusal> {
    let mut known: BTreeMap<String, (&str, Use)> = BTreeMap::new();
    for path in paths {
        let text = path.as_text();
        let ends = text.match_indices('/').map(|(at, _)| (at, Use::Directory));
        for (end, usage) in ends.chain([(text.len(), Use::File)]) {
            let part = &text[..end];
            let entry = known.insert(part.to_ascii_lowercase(), (part, usage));
            if let Some((other, before)) = entry
                && (other != part || before != usage || usage == Use::File)
            {
                let expected =
                    "paths that differ in more than the case of letters, and no file in a directory's place";
                let found = format!("{other} and {text}");
                return Err(Refusal::new(DUPLICATE, subject, expected, found));
            }
        }
    }
    Ok(())
}

/// What a path is used as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Use {
    File,
    Directory,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_that_mean_one_place_on_some_file_system_are_refused() {
        let check = |paths: &[&str], good: bool| {
            let paths: Vec<DocPath> =
                paths.iter().map(|text| DocPath::parse(text).expect("a path")).collect();
            let found = check(&"a release", paths.iter());
            assert_eq!(found.is_ok(), good, "{paths:?}: {found:?}");
            if let Err(refusal) = found {
                assert_eq!(refusal.reason, DUPLICATE);
            }
        };
        check(&["a", "b", "c/a", "c/b", "c/d/a"], true);
        check(&["a", "a"], false);
        check(&["Readme", "README"], false);
        check(&["src/a", "SRC/b"], false);
        check(&["x/src/a", "x/Src/b"], false);
        check(&["a", "a/b"], false);
        check(&["a/b", "a"], false);
        check(&["A", "a/b"], false);
        check(&["a.b", "a/b"], true);
    }
}
