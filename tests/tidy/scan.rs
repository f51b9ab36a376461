//! Reads Rust source as tokens: without comments and literals, tests apart from the rest. Never resolves a name.

use std::path::Path;

use crate::harness::place;

/// A word or a sign, and its line.
#[derive(Debug, Clone)]
pub(crate) struct Token {
    /// The word, `::`, `->`, `=>` or one sign; literals are one empty word.
    pub(crate) text: String,
    /// From 1.
    pub(crate) line: usize,
}

/// One source file.
#[derive(Debug)]
pub(crate) struct File {
    /// From the root of the workspace, with `/`.
    pub(crate) path: String,
    /// As it is.
    pub(crate) text: String,
    /// What is compiled into the program.
    pub(crate) code: Vec<Token>,
    /// What is compiled for tests only.
    pub(crate) tests: Vec<Token>,
}

/// A path such as `std::fs::File`, with the groups of a `use` taken apart.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct NamePath {
    /// Its parts.
    pub(crate) segments: Vec<String>,
    /// The line it starts in.
    pub(crate) line: usize,
    /// It names a macro.
    pub(crate) is_macro: bool,
}

/// Reads every Rust file below `folders`, sorted by path.
pub(crate) fn tree(folders: &[&str]) -> Vec<File> {
    let root = place::root();
    let mut found = Vec::new();
    let mut open: Vec<_> = folders.iter().map(|folder| root.join(folder)).collect();
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && path.file_name().is_some_and(|name| name != "target") {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
                found.push(File::read(&name, &std::fs::read_to_string(&path).unwrap()));
            }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

impl File {
    /// Takes a file apart.
    pub(crate) fn read(path: &str, text: &str) -> File {
        let all = tokens(text);
        let only_tests =
            path.starts_with("tests/") || path.ends_with("/tests.rs") || path.contains("/tests/");
        let (code, tests) = if only_tests { (Vec::new(), all) } else { split(all) };
        File { path: path.to_owned(), text: text.to_owned(), code, tests }
    }

    /// Returns the module path inside `krate`: `["fetch", "git"]`; `None` for other crates and for `lib.rs`.
    pub(crate) fn module(&self, krate: &str) -> Option<Vec<String>> {
        let inside = self.path.strip_prefix(krate)?.strip_prefix("/src/")?;
        let inside = Path::new(inside).with_extension("");
        let mut parts: Vec<String> = inside.iter().map(|part| part.to_string_lossy().into_owned()).collect();
        if parts.len() > 1 && parts.last().is_some_and(|last| last == "mod") {
            parts.pop();
        }
        (parts != ["lib"] && parts != ["bin"]).then_some(parts)
    }

    /// Returns the room, the first part of the module path.
    pub(crate) fn room(&self, krate: &str) -> Option<String> {
        self.module(krate)?.into_iter().next()
    }

    /// Returns the rooms that this file names outside tests, each with its line.
    pub(crate) fn imports(&self, krate: &str) -> Vec<(String, usize)> {
        self.inner_paths(krate)
            .into_iter()
            .filter_map(|(path, line)| Some((path.into_iter().next()?, line)))
            .collect()
    }

    /// Returns the modules of its own room that this file names outside tests.
    pub(crate) fn siblings(&self, krate: &str) -> Vec<String> {
        let Some(room) = self.room(krate) else { return Vec::new() };
        let named = self.inner_paths(krate).into_iter().filter(|(path, _)| path.first() == Some(&room));
        named
            .filter_map(|(path, _)| path.into_iter().nth(1))
            .filter(|name| name.starts_with(char::is_lowercase))
            .collect()
    }

    /// Returns the paths into the same crate, counted from its root.
    fn inner_paths(&self, krate: &str) -> Vec<(Vec<String>, usize)> {
        let Some(module) = self.module(krate) else { return Vec::new() };
        let own_name = krate.replace('-', "_");
        let mut inner = Vec::new();
        for path in paths(&self.code).into_iter().filter(|path| !path.is_macro) {
            let ups = path.segments.iter().take_while(|segment| *segment == "super").count();
            let (first, rest) = (path.segments[0].as_str(), &path.segments[ups.max(1)..]);
            let from_root = match first {
                "crate" => rest.to_vec(),
                "super" if ups <= module.len() => [&module[..module.len() - ups], rest].concat(),
                // The binary sees its own library by name.
                first if first == own_name && module == ["main"] => rest.to_vec(),
                _ => continue,
            };
            inner.push((from_root, path.line));
        }
        inner
    }
}

/// Returns every path in `tokens`.
pub(crate) fn paths(tokens: &[Token]) -> Vec<NamePath> {
    let mut found = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        let continues = at > 0 && tokens[at - 1].text == "::";
        at = if is_word(&tokens[at].text) && !continues {
            path_at(tokens, at, &[], &mut found)
        } else {
            at + 1
        };
    }
    found
}

/// Reads the path that starts at `at` below `prefix` and returns where it ends.
fn path_at(tokens: &[Token], mut at: usize, prefix: &[String], found: &mut Vec<NamePath>) -> usize {
    let line = tokens[at].line;
    let mut segments = prefix.to_vec();
    let text = |at: usize| tokens.get(at).map_or("", |token| token.text.as_str());
    loop {
        segments.push(text(at).to_owned());
        at += 1;
        if text(at) != "::" {
            break;
        }
        if text(at + 1) == "{" {
            at += 2;
            while at < tokens.len() && text(at) != "}" {
                at = if is_word(text(at)) { path_at(tokens, at, &segments, found) } else { at + 1 };
            }
            return at + 1;
        }
        if !is_word(text(at + 1)) {
            break;
        }
        at += 1;
    }
    let is_macro = text(at) == "!" && text(at + 1) != "=";
    found.push(NamePath { segments, line, is_macro });
    at
}

fn is_word(text: &str) -> bool {
    text.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

/// Parts what is compiled into the program from the items under `#[cfg(test)]`.
fn split(all: Vec<Token>) -> (Vec<Token>, Vec<Token>) {
    let (mut code, mut tests) = (Vec::new(), Vec::new());
    let mut at = 0;
    while at < all.len() {
        let end = if is_test_attribute(&all[at..]) { item_end(&all, at) } else { at };
        tests.extend_from_slice(&all[at..end]);
        if end == at {
            code.push(all[at].clone());
        }
        at = end.max(at + 1);
    }
    (code, tests)
}

/// Tells whether an attribute stands here that leaves its item to tests: a `cfg` with `test` in it and no `not`.
fn is_test_attribute(at: &[Token]) -> bool {
    let text: Vec<&str> = at.iter().take(12).map(|token| token.text.as_str()).collect();
    let inside = text.iter().position(|text| *text == "]").map_or(&text[..0], |end| &text[..end]);
    text.starts_with(&["#", "[", "cfg", "("]) && inside.contains(&"test") && !inside.contains(&"not")
}

/// Returns where the item that starts at `at` ends: after its `;` or its braces.
fn item_end(all: &[Token], at: usize) -> usize {
    let mut depth = 0_usize;
    for (index, token) in all.iter().enumerate().skip(at) {
        match token.text.as_str() {
            "{" | "(" | "[" => depth += 1,
            ")" | "]" => depth = depth.saturating_sub(1),
            "}" => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return index + 1;
                }
            }
            ";" if depth == 0 => return index + 1,
            _ => {}
        }
    }
    all.len()
}

/// Cuts text into words and signs; comments vanish, literals become one empty word.
fn tokens(text: &str) -> Vec<Token> {
    let chars: Vec<char> = text.chars().collect();
    let (mut found, mut at, mut line) = (Vec::new(), 0, 1);
    while at < chars.len() {
        let end = token_end(&chars, at);
        let piece: String = chars[at..end].iter().collect();
        let word = match piece.as_str() {
            comment if comment.starts_with("//") || comment.starts_with("/*") => None,
            space if space.trim().is_empty() => None,
            literal if literal.contains('"') || literal.starts_with('\'') => Some(String::new()),
            word => Some(word.to_owned()),
        };
        found.extend(word.map(|text| Token { text, line }));
        line += piece.matches('\n').count();
        at = end;
    }
    found
}

/// Returns where the token that starts at `at` ends.
fn token_end(chars: &[char], at: usize) -> usize {
    let peek = |offset: usize| chars.get(at + offset).copied().unwrap_or(' ');
    match (chars[at], peek(1)) {
        ('/', '/') => at + chars[at..].iter().position(|c| *c == '\n').unwrap_or(chars.len() - at),
        ('/', '*') => comment_end(chars, at),
        ('"', _) => string_end(chars, at + 1),
        ('b' | 'c', '"') => string_end(chars, at + 2),
        ('r', '"' | '#') if raw_start(chars, at + 1).is_some() => raw_end(chars, at + 1),
        ('b' | 'c', 'r') if raw_start(chars, at + 2).is_some() => raw_end(chars, at + 2),
        ('b', '\'') => char_end(chars, at + 1),
        ('\'', _) => char_end(chars, at),
        (':', ':') | ('-' | '=', '>') => at + 2,
        (c, _) if c.is_alphanumeric() || c == '_' => {
            let word = |c: &char| c.is_alphanumeric() || *c == '_';
            at + chars[at..].iter().take_while(|c| word(c)).count()
        }
        _ => at + 1,
    }
}

fn comment_end(chars: &[char], at: usize) -> usize {
    let (mut depth, mut at) = (1, at + 2);
    while at + 1 < chars.len() && depth > 0 {
        (depth, at) = match (chars[at], chars[at + 1]) {
            ('/', '*') => (depth + 1, at + 2),
            ('*', '/') => (depth - 1, at + 2),
            _ => (depth, at + 1),
        };
    }
    if depth > 0 { chars.len() } else { at }
}

fn string_end(chars: &[char], mut at: usize) -> usize {
    while at < chars.len() && chars[at] != '"' {
        at += if chars[at] == '\\' { 2 } else { 1 };
    }
    (at + 1).min(chars.len())
}

/// Returns how many `#` open the raw string whose first `#` or quote is at `at`.
fn raw_start(chars: &[char], at: usize) -> Option<usize> {
    let hashes = chars[at..].iter().take_while(|c| **c == '#').count();
    (chars.get(at + hashes) == Some(&'"')).then_some(hashes)
}

fn raw_end(chars: &[char], at: usize) -> usize {
    let hashes = raw_start(chars, at).unwrap_or(0);
    let mut end = at + hashes + 1;
    while end < chars.len() {
        if chars[end] == '"' && chars[end + 1..].iter().take_while(|c| **c == '#').count() >= hashes {
            return end + 1 + hashes;
        }
        end += 1;
    }
    chars.len()
}

/// Returns the end of a character literal, or of a lifetime.
fn char_end(chars: &[char], at: usize) -> usize {
    let peek = |offset: usize| chars.get(at + offset).copied().unwrap_or(' ');
    if peek(1) == '\\' {
        let close = chars.iter().skip(at + 3).position(|c| *c == '\'').unwrap_or(0);
        return (at + 4 + close).min(chars.len());
    }
    if peek(2) == '\'' {
        return at + 3;
    }
    at + 1 + chars[at + 1..].iter().take_while(|c| c.is_alphanumeric() || **c == '_').count()
}
