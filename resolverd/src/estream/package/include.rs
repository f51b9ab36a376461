//! Which files of a directory belong to a component: the patterns of `[component.include]`, met name by name on the way down. Pure.
//!
//! **Shape**: names separated by `/`, from the component's directory. In a name `*` is any text, `?` any character, `[ab]`, `[a-z]`
//! and `[!a]` one of some; `**` as a whole name is any number of directories, at the end everything below. `*` and `**` never stand for
//! what begins with a dot. Upper and lower case differ.

use catalogue_schema::dialect::estream::component::Written;
use catalogue_schema::error::ParseError;
use catalogue_schema::path::{PATH_BYTES_MAX, SEGMENTS_MAX};
use glob::{MatchOptions, Pattern};

/// The most patterns of one component.
pub const PATTERNS_MAX: usize = 1_000;

const OPTIONS: MatchOptions =
    MatchOptions { case_sensitive: true, require_literal_separator: true, require_literal_leading_dot: true };

/// A pattern.
#[derive(Debug, Clone)]
pub struct Glob {
    /// As it is written.
    text: String,
    steps: Vec<Step>,
}

#[derive(Debug, Clone)]
enum Step {
    /// Any number of directories.
    Below,
    /// One name.
    Name(Pattern),
}

/// How far each pattern has come on the way to a directory: bit `n` where its step `n` is next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress(Vec<u64>);

/// All patterns of a component.
#[derive(Debug, Clone, Default)]
pub struct Globs(Vec<Glob>);

impl Glob {
    /// Reads a pattern.
    ///
    /// **Errors**: `estream.include`.
    pub fn parse(written: &Written) -> Result<Glob, ParseError> {
        let text = &written.text;
        let wrong = |expected: &str| Err(written.wrong("estream.include", expected));
        if text.is_empty() || text.len() > PATH_BYTES_MAX {
            return wrong("a pattern of 1 to 255 bytes");
        }
        if text.starts_with('/') || text.contains('\\') {
            return wrong("a pattern from the component's directory, with / between names");
        }
        let names: Vec<&str> = text.split('/').collect();
        if names.len() >= SEGMENTS_MAX {
            return wrong("a pattern of fewer than 32 names");
        }
        let mut steps = Vec::with_capacity(names.len() + 1);
        for name in &names {
            match *name {
                "" | "." | ".." => return wrong("a pattern without empty, . or .. names"),
                // Two in a row say what one says.
                "**" if matches!(steps.last(), Some(Step::Below)) => {}
                "**" => steps.push(Step::Below),
                name => match Pattern::new(name) {
                    Ok(pattern) => steps.push(Step::Name(pattern)),
                    Err(error) => return wrong(&format!("a pattern that can be read ({})", error.msg)),
                },
            }
        }
        if matches!(steps.last(), Some(Step::Below)) {
            let everything = Pattern::new("*").map_err(|_| written.wrong("estream.include", "a pattern"))?;
            steps.push(Step::Name(everything));
        }
        Ok(Glob { text: text.clone(), steps })
    }

    /// Returns the pattern as it is written.
    pub fn as_text(&self) -> &str {
        &self.text
    }

    /// Adds the steps that are next where a directory more is none.
    fn closed(&self, mut states: u64) -> u64 {
        for (at, step) in self.steps.iter().enumerate() {
            if states & (1 << at) != 0 && matches!(step, Step::Below) {
                states |= 1 << (at + 1);
            }
        }
        states
    }

    fn step(&self, states: u64, name: &str) -> u64 {
        let mut next = 0;
        for (at, step) in self.steps.iter().enumerate().filter(|(at, _)| states & (1 << at) != 0) {
            match step {
                Step::Below if !name.starts_with('.') => next |= 1 << at,
                Step::Below => {}
                Step::Name(pattern) if pattern.matches_with(name, OPTIONS) => next |= 1 << (at + 1),
                Step::Name(_) => {}
            }
        }
        self.closed(next)
    }
}

impl Globs {
    /// Takes patterns.
    pub fn new(globs: Vec<Glob>) -> Globs {
        Globs(globs)
    }

    /// Returns how far they are in the component's directory.
    pub fn start(&self) -> Progress {
        Progress(self.0.iter().map(|glob| glob.closed(1)).collect())
    }

    /// Returns how far they are one name further.
    pub fn step(&self, progress: &Progress, name: &str) -> Progress {
        let steps = self.0.iter().zip(&progress.0).map(|(glob, states)| glob.step(*states, name));
        Progress(steps.collect())
    }

    /// Returns the patterns that name a file with this progress.
    pub fn that_end<'g>(&'g self, progress: &'g Progress) -> impl Iterator<Item = usize> + 'g {
        let ends = |(glob, states): (&Glob, &u64)| states & (1 << glob.steps.len()) != 0;
        self.0.iter().zip(&progress.0).enumerate().filter(move |(_, pair)| ends(*pair)).map(|(at, _)| at)
    }

    /// Tells whether a pattern may name something below a directory with this progress.
    pub fn lead_below(&self, progress: &Progress) -> bool {
        self.0.iter().zip(&progress.0).any(|(glob, states)| states & !(1 << glob.steps.len()) != 0)
    }

    /// Returns a pattern by its number.
    pub fn glob(&self, at: usize) -> Option<&Glob> {
        self.0.get(at)
    }

    /// Returns how many there are.
    pub fn count(&self) -> usize {
        self.0.len()
    }
}

#[cfg(test)]
mod tests {
    use catalogue_schema::error::Position;

    use super::*;

    fn written(text: &str) -> Written {
        let position = Position { line: 1, column: 1 };
        Written { text: text.to_owned(), field: "component.include.x[0]".to_owned(), position }
    }

    fn matches(pattern: &str, path: &str) -> bool {
        let globs = Globs::new(vec![Glob::parse(&written(pattern)).expect(pattern)]);
        let mut progress = globs.start();
        let names: Vec<&str> = path.split('/').collect();
        for (at, name) in names.iter().enumerate() {
            if at > 0 && !globs.lead_below(&progress) {
                return false;
            }
            progress = globs.step(&progress, name);
        }
        globs.that_end(&progress).next().is_some()
    }

    #[test]
    fn patterns_name_what_they_say() {
        let rows: &[(&str, &[&str], &[&str])] = &[
            (
                "schemas/*.esf.yaml",
                &["schemas/a.esf.yaml"],
                &["schemas/a/b.esf.yaml", "schemas/.a.esf.yaml", "a.esf.yaml", "Schemas/a.esf.yaml"],
            ),
            (
                "tests/golden/**",
                &["tests/golden/a", "tests/golden/a/b.json"],
                &["tests/golden", "tests/a", "tests/golden/.gitkeep", "tests/golden/.x/a"],
            ),
            ("**", &["a", "a/b/c"], &[".a", "a/.b/c"]),
            ("**/*.json", &["a.json", "a/b/c.json"], &["a.yaml", ".x/a.json"]),
            (
                "docs/**/img/*.png",
                &["docs/img/a.png", "docs/a/b/img/c.png"],
                &["docs/a.png", "docs/img/a/b.png"],
            ),
            ("a/**/**/b", &["a/b", "a/x/y/b"], &["a", "b"]),
            ("docs/.hidden/x", &["docs/.hidden/x"], &["docs/hidden/x"]),
            ("fpga/[ab]?.bit", &["fpga/a1.bit"], &["fpga/c1.bit", "fpga/a.bit", "fpga/a/.bit"]),
            ("[!a]", &["b"], &["a"]),
            ("[*]", &["*"], &["a"]),
        ];
        for (pattern, good, bad) in rows {
            for path in *good {
                assert!(matches(pattern, path), "{pattern} names {path}");
            }
            for path in *bad {
                assert!(!matches(pattern, path), "{pattern} does not name {path}");
            }
        }
    }

    #[test]
    fn what_is_no_pattern_is_refused() {
        let long = "a".repeat(256);
        let many = vec!["a"; 32].join("/");
        for text in [
            "", "/a", "a//b", "a/", "./a", "../a", "a/../b", "a\\b", "a**", "**a/b", "[a", "***", &long,
            &many,
        ] {
            let error = Glob::parse(&written(text)).expect_err(text);
            assert_eq!((&*error.reason, error.field.as_str()), ("estream.include", "component.include.x[0]"));
        }
    }

    #[test]
    fn many_steps_cost_no_more_than_their_number() {
        let pattern = vec!["**/a"; 15].join("/");
        let path = vec!["a"; 31].join("/");
        assert!(matches(&pattern, &path));
        assert!(!matches(&pattern, &format!("{}/b", vec!["a"; 30].join("/"))));
        let name = format!("{}b", "*a".repeat(40));
        assert!(!matches(&name, &"a".repeat(100)));
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_a_pattern_or_is_refused_and_no_path_panics(pattern in "[a.*?/\\[\\]!-]{0,24}", path in "[a.b/]{0,24}") {
            if let Ok(glob) = Glob::parse(&written(&pattern)) {
                let globs = Globs::new(vec![glob]);
                let mut progress = globs.start();
                for name in path.split('/') {
                    progress = globs.step(&progress, name);
                }
                let _ = globs.that_end(&progress).count();
            }
        }
    }
}
