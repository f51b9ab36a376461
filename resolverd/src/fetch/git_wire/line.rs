//! The lines of Git's protocol v2: requests written, capabilities, refs and packs read. Knows no connection, no objects and no
//! files; every length that a server states is checked against what arrived.
//!
//! A line is four hex digits (its length, with them) and its bytes; `0000` ends a message and `0001` a section.
//! Never asked for: `packfile-uris`, `bundle-uri`, `object-info`, refs inside a fetch. Never read: progress (band 2).
//! **Source**: git's `Documentation/gitprotocol-v2.adoc` and `gitprotocol-common.adoc`.

use std::collections::HashSet;

use catalogue_schema::error::escaped;
use catalogue_schema::pointer::RefName;

use crate::fetch::object::ObjectId;

/// The longest line, in bytes.
pub(super) const LINE_BYTES_MAX: usize = 65_520;
/// How much of a server's own words a message shows, in bytes.
pub(super) const WORDS_BYTES_MAX: usize = 300;

/// Why an answer cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum WireError {
    /// It is not protocol v2.
    #[error("{0}")]
    Protocol(String),
    /// The server refused, in its own words, escaped and cut.
    #[error("the server says: {0}")]
    Said(String),
}

fn broken(found: &str) -> WireError {
    WireError::Protocol(found.to_owned())
}

/// Escapes and cuts what a server says.
pub(super) fn words(bytes: &[u8]) -> String {
    let cut = &bytes[..bytes.len().min(WORDS_BYTES_MAX)];
    escaped(String::from_utf8_lossy(cut).trim())
}

/// One line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Line<'a> {
    /// `0000`.
    End,
    /// `0001`.
    Section,
    /// Anything else.
    Data(&'a [u8]),
}

/// What is left of an answer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lines<'a>(pub(super) &'a [u8]);

impl<'a> Lines<'a> {
    /// Takes the next line.
    ///
    /// **Errors**: the answer is cut off or has no lines; or the line is the server's own `ERR`.
    fn line(&mut self) -> Result<Line<'a>, WireError> {
        let Some(length) = length(self.0)? else { return Err(broken("an answer that is cut off")) };
        if length < 4 {
            self.0 = &self.0[4..];
            return Ok(if length == 0 { Line::End } else { Line::Section });
        }
        let Some((line, rest)) = self.0.split_at_checked(length) else {
            return Err(broken("an answer that is cut off"));
        };
        self.0 = rest;
        match line[4..].strip_prefix(b"ERR ") {
            Some(said) => Err(WireError::Said(words(said))),
            None => Ok(Line::Data(&line[4..])),
        }
    }

    /// Takes the next line as text, without its line feed; `None` at the end of a message or section.
    fn text(&mut self) -> Result<Option<&'a str>, WireError> {
        match self.line()? {
            Line::End | Line::Section => Ok(None),
            Line::Data(bytes) => {
                let text = str::from_utf8(bytes).map_err(|_| broken("a line that is not text"))?;
                Ok(Some(text.strip_suffix('\n').unwrap_or(text)))
            }
        }
    }
}

/// Reads a line's length: 0 and 1 are marks, 4 and more count their own digits; `None` when there are not four digits yet.
pub(super) fn length(bytes: &[u8]) -> Result<Option<usize>, WireError> {
    let Some(digits) = bytes.get(..4) else { return Ok(None) };
    let length = str::from_utf8(digits)
        .ok()
        .filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()))
        .and_then(|digits| usize::from_str_radix(digits, 16).ok())
        .filter(|length| matches!(length, 0 | 1 | 4..=LINE_BYTES_MAX));
    match length {
        Some(length) => Ok(Some(length)),
        None => Err(WireError::Protocol(format!("no Git protocol but \"{}\"", words(bytes)))),
    }
}

/// What a server can do, as far as we use it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Capabilities {
    /// `fetch` may leave objects out.
    pub(super) filter: bool,
    /// `fetch` may leave history out.
    pub(super) shallow: bool,
    /// It wants to hear which hash we speak.
    pub(super) object_format: bool,
}

/// Why capabilities do not serve us: the dotted reason, what was expected and found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unfit {
    pub(super) reason: &'static str,
    pub(super) expected: &'static str,
    pub(super) found: String,
}

const V2: &str =
    "a server of Git's protocol v2 (git 2.18 or newer); or name a clone on this machine with [[rewrite]]";
/// What a server must allow.
pub(super) const FILTERS: &str = "a server that allows filters (uploadpack.allowFilter = true, and not uploadpackfilter.tree.allow = false); or name a clone on this machine with [[rewrite]]";

impl Capabilities {
    /// Reads what a server says first: `version 2` and its capabilities, behind a `# service` line or not.
    pub(super) fn read(answer: &[u8]) -> Result<Capabilities, Unfit> {
        let protocol = |found: String| Unfit { reason: "git.protocol", expected: V2, found };
        let mut lines = Lines(answer);
        let mut text = || match lines.text() {
            Ok(text) => Ok(text),
            Err(WireError::Said(said)) => {
                let expected = "a server that serves this repository";
                Err(Unfit { reason: "git.remote_error", expected, found: said })
            }
            Err(error) => Err(protocol(error.to_string())),
        };
        let mut first = text()?;
        if first.is_some_and(|line| line.starts_with("# service=")) {
            text()?;
            first = text()?;
        }
        if first != Some("version 2") {
            let found = match first {
                Some("version 1") => "protocol v1".to_owned(),
                _ => "protocol v0, which sends every ref and knows no filters".to_owned(),
            };
            return Err(protocol(found));
        }
        let mut found = Capabilities { filter: false, shallow: false, object_format: false };
        let (mut fetches, mut lists) = (false, false);
        while let Some(line) = text()? {
            let (name, value) = line.split_once('=').unwrap_or((line, ""));
            match name {
                "fetch" => {
                    fetches = true;
                    let features: HashSet<&str> = value.split(' ').collect();
                    found.filter = features.contains("filter");
                    found.shallow = features.contains("shallow");
                }
                "ls-refs" => lists = true,
                "object-format" if value != "sha1" => {
                    let found = format!("object-format {}", words(value.as_bytes()));
                    let expected = "a SHA-1 repository; this build reads no SHA-256 repositories";
                    return Err(Unfit { reason: "git.object_format", expected, found });
                }
                "object-format" => found.object_format = true,
                _ => {}
            }
        }
        match (fetches && lists, found.filter && found.shallow) {
            (true, true) => Ok(found),
            (true, false) => {
                let said = "fetch without the features \"filter\" and \"shallow\"".to_owned();
                Err(Unfit { reason: "git.no_filter", expected: FILTERS, found: said })
            }
            (false, _) => Err(protocol("version 2 without the commands fetch and ls-refs".to_owned())),
        }
    }
}

/// A request while it is written.
struct Writer(Vec<u8>);

impl Writer {
    fn command(name: &str, capabilities: &Capabilities) -> Writer {
        let mut request = Writer(Vec::new());
        request.line(&format!("command={name}\n"));
        if capabilities.object_format {
            request.line("object-format=sha1\n");
        }
        request.0.extend(b"0001");
        request
    }

    fn line(&mut self, text: &str) {
        self.0.extend(format!("{:04x}{text}", text.len() + 4).bytes());
    }

    fn end(mut self) -> Vec<u8> {
        self.0.extend(b"0000");
        self.0
    }
}

/// Writes the request for the refs whose names start with one of `prefixes`.
pub(super) fn ls_refs(capabilities: &Capabilities, prefixes: &[String]) -> Vec<u8> {
    let mut request = Writer::command("ls-refs", capabilities);
    request.line("peel\n");
    for prefix in prefixes {
        request.line(&format!("ref-prefix {prefix}\n"));
    }
    request.end()
}

/// Writes the request for objects alone: no trees and blobs but those named, and `deepen` levels of history for commits.
pub(super) fn fetch(capabilities: &Capabilities, wants: &[ObjectId], deepen: Option<u32>) -> Vec<u8> {
    let mut request = Writer::command("fetch", capabilities);
    request.line("no-progress\n");
    request.line("ofs-delta\n");
    request.line("filter tree:0\n");
    if let Some(levels) = deepen {
        request.line(&format!("deepen {levels}\n"));
    }
    for want in wants {
        request.line(&format!("want {want}\n"));
    }
    request.line("done\n");
    request.end()
}

/// One ref that a server named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RemoteRef {
    /// Its full name, or `HEAD`.
    pub(super) name: RefName,
    /// What it leads to, behind annotated tags where it is one.
    pub(super) id: ObjectId,
}

/// Reads the answer to [`ls_refs`]: lines `oid name [symref-target:…] [peeled:oid]`. Names outside our grammar and unborn refs
/// are left out.
pub(super) fn read_refs(answer: &[u8]) -> Result<Vec<RemoteRef>, WireError> {
    let mut lines = Lines(answer);
    let mut refs = Vec::new();
    while let Some(line) = lines.text()? {
        let mut words = line.split(' ');
        let (Some(id), Some(name)) = (words.next(), words.next()) else {
            return Err(broken("a ref without a name"));
        };
        let peeled = words.find_map(|word| word.strip_prefix("peeled:"));
        let Some(id) = ObjectId::parse(peeled.unwrap_or(id)) else {
            return Err(broken("a ref without an id"));
        };
        if let Ok(name) = RefName::parse(name) {
            refs.push(RemoteRef { name, id });
        }
    }
    match lines.0.is_empty() {
        true => Ok(refs),
        false => Err(broken("more behind the end of an answer")),
    }
}

/// What a fetch brought.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Delivery {
    /// Commits whose parents were left out.
    pub(super) shallow: HashSet<ObjectId>,
    /// The pack.
    pub(super) pack: Vec<u8>,
}

/// Reads the answer to [`fetch`]: the section `shallow-info`, then the section `packfile`, its bands parted.
pub(super) fn read_fetch(answer: &[u8]) -> Result<Delivery, WireError> {
    let mut lines = Lines(answer);
    let mut delivery = Delivery::default();
    loop {
        match lines.text()? {
            Some("shallow-info") => {
                while let Some(line) = lines.text()? {
                    let id = line.strip_prefix("shallow ").and_then(ObjectId::parse);
                    delivery.shallow.insert(id.ok_or_else(|| broken("a shallow line without an id"))?);
                }
            }
            Some("packfile") => break,
            Some(section) => {
                return Err(WireError::Protocol(format!(
                    "a section \"{}\" that was not asked for",
                    words(section.as_bytes())
                )));
            }
            None => return Err(broken("an answer without a pack")),
        }
    }
    loop {
        match lines.line()? {
            Line::End => break,
            Line::Section => return Err(broken("a section inside a pack")),
            Line::Data([1, pack @ ..]) => delivery.pack.extend_from_slice(pack),
            Line::Data([2, ..]) => {}
            Line::Data([3, said @ ..]) => return Err(WireError::Said(words(said))),
            Line::Data(_) => return Err(broken("a line of an unknown band")),
        }
    }
    match lines.0.is_empty() {
        true => Ok(delivery),
        false => Err(broken("more behind the end of an answer")),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn lines(rows: &[&[u8]]) -> Vec<u8> {
        let mut out = Vec::new();
        for row in rows {
            match *row {
                b"0000" | b"0001" => out.extend_from_slice(row),
                row => {
                    out.extend(format!("{:04x}", row.len() + 4).bytes());
                    out.extend_from_slice(row);
                }
            }
        }
        out
    }

    #[test]
    fn capabilities_say_whether_a_server_serves_us() {
        let check = |rows: &[&[u8]], expected: Result<bool, &str>| {
            let found = Capabilities::read(&lines(rows));
            let found = found.map(|capabilities| capabilities.object_format).map_err(|unfit| unfit.reason);
            assert_eq!(found, expected, "{}", lines(rows).escape_ascii());
        };
        let fetch: &[u8] = b"fetch=shallow wait-for-done filter\n";
        check(&[b"version 2\n", b"ls-refs=unborn\n", fetch, b"0000"], Ok(false));
        check(&[b"version 2\n", b"ls-refs\n", fetch, b"object-format=sha1\n", b"0000"], Ok(true));
        let service: &[u8] = b"# service=git-upload-pack\n";
        check(&[service, b"0000", b"version 2\n", b"ls-refs\n", fetch, b"0000"], Ok(false));
        check(&[b"version 2\n", b"ls-refs\n", b"fetch=shallow\n", b"0000"], Err("git.no_filter"));
        check(&[b"version 2\n", b"ls-refs\n", b"fetch=filter\n", b"0000"], Err("git.no_filter"));
        check(&[b"version 2\n", b"ls-refs\n", b"fetch\n", b"0000"], Err("git.no_filter"));
        check(&[b"version 2\n", fetch, b"object-format=sha256\n", b"0000"], Err("git.object_format"));
        check(&[b"version 2\n", b"ls-refs\n", b"0000"], Err("git.protocol"));
        check(&[b"version 2\n", b"ls-refs\n", fetch], Err("git.protocol"));
        check(&[b"version 1\n", b"0000"], Err("git.protocol"));
        check(&[service, b"0000", b"0123456789 HEAD\0multi_ack\n", b"0000"], Err("git.protocol"));
        check(&[b"ERR no such repository\n"], Err("git.remote_error"));
        check(&[], Err("git.protocol"));
        assert_eq!(Capabilities::read(b"<html>").unwrap_err().reason, "git.protocol");
    }

    #[test]
    fn refs_are_read_peeled() {
        let (one, two) = ("1".repeat(40), "2".repeat(40));
        let rows = [
            format!("{one} HEAD symref-target:refs/heads/main\n"),
            format!("{one} refs/tags/v1 peeled:{two}\n"),
            format!("{one} refs/heads/bad..name\n"),
        ];
        let mut rows: Vec<&[u8]> = rows.iter().map(|row| row.as_bytes()).collect();
        rows.push(b"0000");
        let refs = read_refs(&lines(&rows)).unwrap();
        let found: Vec<(&str, String)> = refs.iter().map(|r| (r.name.as_text(), r.id.to_string())).collect();
        assert_eq!(found, [("HEAD", one), ("refs/tags/v1", two)]);
        assert!(read_refs(&lines(&[b"xyz HEAD\n", b"0000"])).is_err());
        assert!(read_refs(&lines(&[b"0000", b"more"])).is_err());
        assert!(read_refs(&lines(&[])).is_err(), "cut off");
    }

    #[test]
    fn packs_are_parted_from_what_is_said_beside_them() {
        let id = "3".repeat(40);
        let shallow = format!("shallow {id}\n");
        let head: [&[u8]; 4] = [b"shallow-info\n", shallow.as_bytes(), b"0001", b"packfile\n"];
        let with = |rest: &[&[u8]]| read_fetch(&lines(&[&head, rest].concat()));
        let whole = with(&[b"\x01PA", b"\x02counting", b"\x01CK", b"0000"]).unwrap();
        assert_eq!(whole.pack, b"PACK");
        assert_eq!(whole.shallow, HashSet::from([ObjectId::parse(&id).unwrap()]));
        assert_eq!(with(&[b"\x03bad\x1b[1m", b"0000"]), Err(WireError::Said(words(b"bad\x1b[1m"))));
        assert!(!words(b"bad\x1b[1m").contains('\x1b'));
        assert!(words(&[b'x'; 9000]).len() <= WORDS_BYTES_MAX);
        for rest in
            [&[b"\x01PA".as_slice()][..], &[b"\x04x", b"0000"], &[b"", b"0000"], &[b"0001"], &[b"0000", b"x"]]
        {
            assert!(matches!(with(rest), Err(WireError::Protocol(_))), "{rest:?}");
        }
        for section in [b"packfile-uris\n".as_slice(), b"acknowledgments\n", b"wanted-refs\n"] {
            assert!(read_fetch(&lines(&[section, b"0001", b"packfile\n", b"0000"])).is_err());
        }
        assert_eq!(
            read_fetch(&lines(&[b"ERR upload-pack: not our ref 12"])),
            Err(WireError::Said("upload-pack: not our ref 12".to_owned()))
        );
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>) {
            let _ = (Capabilities::read(&bytes), read_refs(&bytes), read_fetch(&bytes));
            let framed = lines(&[&bytes[..bytes.len().min(1000)], b"0000"]);
            let _ = (Capabilities::read(&framed), read_refs(&framed), read_fetch(&framed));
        }
    }
}
