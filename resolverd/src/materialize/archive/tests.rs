//! Archives as an attacker makes them, header by header: each is refused as a whole, by name, and leaves nothing behind; and those
//! that everybody makes, which are taken.

use std::fs;
use std::io::Write as _;

use flate2::{Compression, GzBuilder};

use super::*;
use crate::materialize::archive::input::BLOCK_BYTES;
use crate::materialize::archive::write::{tar, tar_gz};
use crate::materialize::stage;

fn path(text: &str) -> DocPath {
    DocPath::parse(text).expect("a path")
}

fn bounds() -> Bounds {
    Bounds::from(&Limits::default())
}

/// A header that is written field by field, so that each can be wrong.
#[derive(Clone)]
struct Made {
    name: Vec<u8>,
    prefix: Vec<u8>,
    kind: u8,
    mode: &'static str,
    size: Option<Vec<u8>>,
    link: &'static str,
    mark: &'static [u8; 8],
    content: Vec<u8>,
    /// What the sum is off by.
    off: u32,
}

/// A file of this name and content.
fn file(name: &str, content: &[u8]) -> Made {
    Made {
        name: name.as_bytes().to_vec(),
        prefix: Vec::new(),
        kind: b'0',
        mode: "0000644",
        size: None,
        link: "",
        mark: b"ustar\x0000",
        content: content.to_vec(),
        off: 0,
    }
}

/// An entry of another type.
fn of(kind: u8, name: &str) -> Made {
    Made { kind, ..file(name, b"") }
}

/// Records about the next entry.
fn records(kind: u8, pairs: &[(&str, &str)]) -> Made {
    let record = |(key, value): &(&str, &str)| {
        let rest = format!(" {key}={value}\n");
        let length = (1..).find(|length: &usize| length.to_string().len() + rest.len() == *length);
        format!("{}{rest}", length.expect("a length"))
    };
    Made {
        kind,
        content: pairs.iter().map(record).collect::<String>().into_bytes(),
        ..file("PaxHeaders/x", b"")
    }
}

/// GNU's way to give a long name.
fn long(name: &str) -> Made {
    Made {
        kind: b'L',
        mark: b"ustar  \0",
        content: [name.as_bytes(), b"\0"].concat(),
        ..file("././@LongLink", b"")
    }
}

fn bytes(entry: &Made) -> Vec<u8> {
    let mut block = vec![0; BLOCK_BYTES];
    let mut put = |at: usize, text: &[u8]| block[at..at + text.len()].copy_from_slice(text);
    put(0, &entry.name);
    put(100, entry.mode.as_bytes());
    put(108, b"0001750\0");
    put(116, b"0001750\0");
    let size = format!("{:011o}\0", entry.content.len()).into_bytes();
    put(124, entry.size.as_ref().unwrap_or(&size));
    put(136, b"37777777777\0");
    put(148, b"        ");
    put(156, &[entry.kind]);
    put(157, entry.link.as_bytes());
    put(257, entry.mark);
    put(345, &entry.prefix);
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{:06o}\0 ", sum + entry.off).as_bytes());
    block.extend_from_slice(&entry.content);
    block.resize(block.len().next_multiple_of(BLOCK_BYTES), 0);
    block
}

fn archive(entries: &[Made]) -> Vec<u8> {
    let mut out: Vec<u8> = entries.iter().flat_map(bytes).collect();
    out.resize(out.len() + 2 * BLOCK_BYTES, 0);
    out
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut writer = GzBuilder::new().write(Vec::new(), Compression::new(9));
    writer.write_all(bytes).expect("written");
    writer.finish().expect("written")
}

/// Unpacks, and returns the files, or the reason of the refusal; then the directory holds nothing, and nothing lies beside it.
fn unpacked(archive: &[u8], bounds: &Bounds, list: Option<&[Expected]>) -> Result<Vec<String>, String> {
    let place = tempfile::tempdir().expect("a directory");
    let trees = place.path().join("trees");
    fs::create_dir(&trees).expect("made");
    fs::write(place.path().join("canary"), b"stays").expect("written");
    let found = unpack(archive, &trees, bounds, list, "an archive");
    let result = match found {
        Ok(mut stage) => {
            let rows = stage.files();
            assert!(stage.publish(&trees.join("one")).expect("published"));
            let row = |line: &crate::api::files::FileLine| {
                let bytes = fs::read(trees.join("one").join(line.path.as_text())).expect("there");
                assert_eq!(Digest::sha256(&bytes), line.digest);
                format!("{}{}", line.path, if line.executable { " x" } else { "" })
            };
            let rows = rows.iter().map(row).collect();
            stage::remove(&trees.join("one")).expect("removed");
            Ok(rows)
        }
        Err(ArchiveError::Refused(refusal)) => {
            assert!(!refusal.expected.is_empty() && !refusal.found.is_empty(), "{refusal}");
            assert!(!refusal.found.contains(|c: char| c.is_control() || c == '\u{202e}'), "{refusal}");
            Err(refusal.reason.into_owned())
        }
        Err(ArchiveError::Taken(error)) => panic!("{error}"),
    };
    assert_eq!(fs::read_dir(&trees).expect("listed").count(), 0, "nothing is left aside");
    assert_eq!(fs::read_dir(place.path()).expect("listed").count(), 2, "nothing lies beside it");
    assert_eq!(fs::read(place.path().join("canary")).expect("there"), b"stays");
    result
}

/// Checks an archive, plain and compressed.
#[track_caller]
fn check(entries: &[Made], expected: Result<&[&str], &str>) {
    let expected: Result<Vec<String>, String> =
        expected.map(|names| names.iter().map(|name| (*name).to_owned()).collect()).map_err(str::to_owned);
    let plain = archive(entries);
    assert_eq!(unpacked(&plain, &bounds(), None), expected, "plain");
    assert_eq!(unpacked(&gzip(&plain), &bounds(), None), expected, "compressed");
}

#[track_caller]
fn refused(entries: &[Made], reason: &str) {
    check(entries, Err(reason));
    // Whatever came before it, and whatever follows.
    check(&[&[file("good", b"x")], entries, &[file("later", b"x")]].concat(), Err(reason));
}

#[test]
fn g1_nothing_leads_out_of_the_directory() {
    for name in
        ["../x", "a/../x", "..", "/etc/passwd", "//x", "a//b", "./../x", "a/./b", "", "a/", ".", "a/.."]
    {
        refused(&[file(name, b"x")], "archive.entry_path");
    }
    for name in ["../x/", "/", "a/../", "..", "a//"] {
        refused(&[of(b'5', name)], "archive.entry_path");
    }
    // Links of either kind, wherever they lead, and with what a chain of them would do.
    for kind in [b'1', b'2'] {
        for link in ["../x", "/etc/passwd", "good", "."] {
            refused(&[Made { link, ..of(kind, "link") }], "archive.entry_type");
            refused(&[Made { link, ..of(kind, "link") }, file("link/x", b"x")], "archive.entry_type");
        }
    }
    refused(&[Made { kind: b'K', ..long("../x") }], "archive.entry_type");
}

#[test]
fn g2_a_link_and_a_directory_of_its_name_change_no_mode() {
    let entries = [Made { link: "../canary", ..of(b'2', "d") }, Made { mode: "0000777", ..of(b'5', "d/") }];
    refused(&entries, "archive.entry_type");
}

#[test]
fn g3_what_two_programs_would_read_in_two_ways_is_refused() {
    let ambiguous = "archive.ambiguous";
    let sized = |size: &str| Made { size: Some(size.as_bytes().to_vec()), ..file("a", &[b'x'; 1024]) };
    // The header says 0 bytes, the records 1024, and the content is a whole archive.
    refused(&[records(b'x', &[("size", "1024")]), sized("00000000000\0")], ambiguous);
    refused(&[records(b'x', &[("size", "0")]), file("a", &[b'x'; 512])], ambiguous);
    refused(&[records(b'x', &[("path", "b")]), file("a", b"x")], ambiguous);
    refused(&[records(b'x', &[("path", "a"), ("path", "b")]), file("a", b"x")], ambiguous);
    refused(&[records(b'x', &[("path", "")]), file("a", b"x")], ambiguous);
    refused(&[records(b'g', &[("path", "a")]), file("a", b"x")], ambiguous);
    refused(&[records(b'g', &[("size", "1")]), file("a", b"x")], ambiguous);
    refused(&[records(b'x', &[("path", "a")]), records(b'x', &[("path", "a")]), file("a", b"x")], ambiguous);
    refused(&[records(b'x', &[("path", "a")]), long("a"), file("a", b"x")], ambiguous);
    refused(&[long("a"), long("b"), file("b", b"x")], ambiguous);
    refused(&[long("b"), file("a", b"x")], ambiguous);
    refused(&[Made { content: b"a\0b\0".to_vec(), ..long("") }, file("a", b"x")], ambiguous);
    refused(&[Made { content: b"a".to_vec(), ..long("") }, file("a", b"x")], ambiguous);
    refused(&[file("a\0b", b"x")], ambiguous);
    refused(&[Made { prefix: b"d\0e".to_vec(), ..file("a", b"x") }], ambiguous);
    refused(&[Made { prefix: b"d".to_vec(), mark: b"ustar  \0", ..file("a", b"x") }], ambiguous);
    refused(&[Made { prefix: b"d".to_vec(), mark: &[0; 8], ..file("a", b"x") }], ambiguous);
    refused(&[Made { content: b"x".to_vec(), ..of(b'5', "d/") }], ambiguous);
    let binary = |last: u8| [&[0x80][..], &[0; 10], &[last]].concat();
    refused(&[Made { size: Some(binary(1)), ..file("a", b"x") }], ambiguous);
    for sparse in ["GNU.sparse.major", "GNU.sparse.name", "GNU.sparse.realsize"] {
        refused(&[records(b'x', &[(sparse, "1")]), file("a", b"x")], "archive.entry_type");
    }
    refused(&[of(b'S', "a")], "archive.entry_type");
    // What agrees is taken, in every form.
    let deep = format!("{}/{}/f", "d".repeat(90), "e".repeat(90));
    let cut = Made { name: deep.as_bytes()[..100].to_vec(), ..file("", b"x") };
    check(&[records(b'x', &[("path", &deep), ("mtime", "1.5")]), cut.clone()], Ok(&[&deep]));
    check(&[long(&deep), Made { mark: b"ustar  \0", ..cut }], Ok(&[&deep]));
    check(
        &[Made { prefix: deep.as_bytes()[..181 - 100].to_vec(), ..file("x", b"x") }],
        Ok(&[&format!("{}/x", &deep[..81])]),
    );
    check(&[records(b'g', &[("comment", "4a569e8")]), file("a", b"x")], Ok(&["a"]));
    check(&[records(b'x', &[("size", "1"), ("path", "a")]), file("a", b"x")], Ok(&["a"]));
    check(&[Made { mark: &[0; 8], ..file("a", b"x") }], Ok(&["a"]));
    check(&[of(b'5', "./"), of(b'5', "./d/"), file("./d/a", b"x")], Ok(&["d/a"]));
}

#[test]
fn g4_names_that_mean_one_place_somewhere_are_refused() {
    let duplicate = "archive.duplicate";
    refused(&[file("a", b"x"), file("a", b"x")], duplicate);
    refused(&[file("a", b"x"), file("./a", b"y")], duplicate);
    refused(&[file("Readme", b"x"), file("README", b"x")], duplicate);
    refused(&[file("d/a", b"x"), file("D/b", b"x")], duplicate);
    refused(&[file("a", b"x"), file("a/b", b"x")], duplicate);
    refused(&[file("a/b", b"x"), file("a", b"x")], duplicate);
    refused(&[file("a", b"x"), of(b'5', "a/")], duplicate);
    refused(&[of(b'5', "a/"), file("a", b"x")], duplicate);
    refused(&[of(b'5', "a/"), of(b'5', "a/")], duplicate);
    refused(&[of(b'5', "a/"), of(b'5', "A/")], duplicate);
    // Composed and not, which some file systems hold to be one: neither is a name at all.
    refused(&[file("caf\u{e9}", b"x"), file("cafe\u{301}", b"x")], "archive.entry_path");
    check(&[file("a/b", b"x"), of(b'5', "a/"), file("a/c", b"x")], Ok(&["a/b", "a/c"]));
}

#[test]
fn g5_more_than_allowed_is_refused_while_it_streams() {
    let small = |bounds: Bounds, entries: &[Made], reason: &str| {
        let plain = archive(entries);
        for archive in [gzip(&plain), plain] {
            assert_eq!(unpacked(&archive, &bounds, None), Err(reason.to_owned()), "{reason}");
        }
    };
    let all = bounds();
    let (large, many, deep) = ("archive.too_large", "archive.too_many", "archive.too_deep");
    small(Bounds { file_bytes: 10, ..all }, &[file("a", &[0; 11])], large);
    small(Bounds { unpacked_bytes: 20, ..all }, &[file("a", &[0; 11]), file("b", &[0; 11])], large);
    small(Bounds { archive_bytes: 60, ..all }, &[file("a", b"x")], large);
    small(Bounds { entries: 2, ..all }, &[of(b'5', "d/"), file("d/a", b"x"), file("d/b", b"x")], many);
    // A directory that no entry names takes a place all the same.
    small(Bounds { entries: 3, ..all }, &[file("a/b/c/d", b"x")], many);
    small(Bounds { entries: 3, ..all }, &[of(b'5', "a/b/c/d/")], many);
    let full = Bounds { entries: 4, ..all };
    assert!(unpacked(&archive(&[file("a/b/c", b"x"), file("a/b/d", b"x")]), &full, None).is_ok());
    small(Bounds { depth: 2, ..all }, &[file("a/b/c", b"x")], deep);
    small(Bounds { depth: 2, ..all }, &[of(b'5', "a/b/c/")], deep);
    // A header that announces what never comes takes no memory for it.
    let announced = Made { size: Some(b"00077777777\0".to_vec()), ..file("a", b"") };
    assert_eq!(unpacked(&archive(&[announced]), &all, None), Err("archive.corrupt".to_owned()));
    for size in [
        &b"77777777777\0"[..],
        &[0x80, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0],
        &[0x80, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0],
    ] {
        let announced = Made { size: Some(size.to_vec()), ..file("a", b"") };
        assert_eq!(unpacked(&archive(&[announced]), &all, None), Err(large.to_owned()));
    }
    let negative = Made { size: Some(vec![0xff; 12]), ..file("a", b"") };
    assert_eq!(unpacked(&archive(&[negative]), &all, None), Err("archive.ambiguous".to_owned()));
    let huge = Made { content: vec![b'x'; 70_000], ..records(b'x', &[]) };
    assert_eq!(unpacked(&archive(&[huge]), &all, None), Err(large.to_owned()));
}

#[test]
fn g5_bombs_are_let_go_of_early() {
    // Zeros compress a thousand times.
    let zeros: Vec<Made> = (0..8).map(|number| file(&format!("f{number}"), &vec![0; 1 << 20])).collect();
    let bomb = gzip(&archive(&zeros));
    assert!(bomb.len() < 20_000);
    assert_eq!(unpacked(&bomb, &bounds(), None), Err("archive.too_large".to_owned()));
    let patient = Bounds { ratio: 10_000, ..bounds() };
    assert_eq!(unpacked(&bomb, &patient, None).map(|files| files.len()), Ok(8));
    // So does padding.
    let padded = [archive(&[file("a", b"x")]), vec![0; 8 << 20]].concat();
    assert_eq!(unpacked(&padded, &bounds(), None), Err("archive.trailing".to_owned()));
    assert_eq!(unpacked(&gzip(&padded), &bounds(), None), Err("archive.too_large".to_owned()));
    // Records about nothing are counted as well.
    let endless: Vec<Made> = (0..200).map(|_| records(b'g', &[("comment", "x")])).collect();
    let few = Bounds { entries: 50, ..bounds() };
    assert_eq!(unpacked(&archive(&endless), &few, None), Err("archive.too_many".to_owned()));
}

#[test]
fn g5_thousands_of_levels_in_few_bytes_are_refused_by_their_number() {
    let name = "d/".repeat(2000) + "f";
    for entries in [
        vec![
            records(b'x', &[("path", &name)]),
            Made { name: name.as_bytes()[..100].to_vec(), ..file("", b"") },
        ],
        vec![long(&name), Made { name: name.as_bytes()[..100].to_vec(), ..file("", b"") }],
    ] {
        let small = gzip(&archive(&entries));
        assert!(small.len() < 400, "{}", small.len());
        assert_eq!(unpacked(&small, &bounds(), None), Err("archive.too_deep".to_owned()));
    }
}

#[test]
fn g6_devices_are_refused_and_owners_modes_and_times_are_not_taken_over() {
    for kind in [b'3', b'4', b'6', b'7', b'X', b'V', b'M', b'D', b'N', b'A', b'Z', b'\xff'] {
        refused(&[of(kind, "a")], "archive.entry_type");
    }
    let modes = [
        ("setuid", "0006755", " x"),
        ("open", "0000666", ""),
        ("none", "0000000", ""),
        ("run", "0000711", " x"),
    ];
    for (name, mode, shown) in modes {
        let attributes = [("uid", "0"), ("SCHILY.xattr.user.x", "y"), ("SCHILY.acl.access", "user::rwx")];
        let entries = [records(b'x', &attributes), Made { mode, ..file(name, b"x") }];
        check(&entries, Ok(&[&format!("{name}{shown}")]));
    }
    // What is published has one of two modes, whatever the archive says: `stage` holds that.
    refused(&[Made { mode: "rwxr-xr", ..file("a", b"x") }], "archive.corrupt");
}

#[test]
fn g7_exactly_what_is_listed_is_taken() {
    let promised = |name: &str, bytes: &[u8]| Expected {
        path: path(name),
        digests: vec![Digest::sha256(bytes)],
        size: Some(bytes.len() as u64),
    };
    let list = [promised("a", b"one"), promised("d/b", b"two")];
    let check = |entries: &[Made], expected: Result<usize, &str>| {
        let found = unpacked(&gzip(&archive(entries)), &bounds(), Some(&list)).map(|files| files.len());
        assert_eq!(found, expected.map_err(str::to_owned));
    };
    let (a, b) = (file("a", b"one"), file("d/b", b"two"));
    check(&[a.clone(), b.clone()], Ok(2));
    check(&[b.clone(), of(b'5', "e/"), a.clone()], Ok(2));
    check(&[a.clone(), b.clone(), file("c", b"x")], Err("archive.unlisted"));
    check(&[file("A", b"one"), b.clone()], Err("archive.unlisted"));
    check(std::slice::from_ref(&a), Err("archive.missing"));
    check(&[], Err("archive.missing"));
    check(&[a.clone(), file("d/b", b"twx")], Err("archive.digest"));
    check(&[a.clone(), file("d/b", b"two!")], Err("archive.digest"));
    check(&[a, file("d/b", b"")], Err("archive.digest"));
    // Each digest counts, and a list may know no more than names.
    let two = |second: &[u8]| {
        let digests =
            vec![Digest::sha256(b"one"), Digest::of(catalogue_schema::digest::Algorithm::Sha512, second)];
        [Expected { path: path("a"), digests, size: None }]
    };
    let one = archive(&[file("a", b"one")]);
    assert!(unpacked(&one, &bounds(), Some(&two(b"one"))).is_ok());
    assert_eq!(unpacked(&one, &bounds(), Some(&two(b"other"))), Err("archive.digest".to_owned()));
    let named = [Expected { path: path("a"), digests: Vec::new(), size: None }];
    assert!(unpacked(&one, &bounds(), Some(&named)).is_ok());
}

#[test]
fn g7_nothing_follows_the_end() {
    let one = archive(&[file("a", b"x")]);
    let trailing = |bytes: Vec<u8>| {
        assert_eq!(unpacked(&bytes, &bounds(), None), Err("archive.trailing".to_owned()));
    };
    trailing([one.clone(), b"x".to_vec()].concat());
    trailing([one.clone(), one.clone()].concat());
    trailing(gzip(&[one.clone(), one.clone()].concat()));
    trailing([gzip(&one), gzip(&one)].concat());
    trailing([gzip(&one), b"x".to_vec()].concat());
    trailing([gzip(&one), vec![0; BLOCK_BYTES]].concat());
    // A part of the archive in a member of its own.
    trailing([gzip(&one), gzip(b"")].concat());
    // One block of zeros in the middle ends it for some programs only.
    trailing([bytes(&file("a", b"x")), vec![0; BLOCK_BYTES], archive(&[file("b", b"x")])].concat());
    let padded = [one, vec![0; 17 * BLOCK_BYTES]].concat();
    assert_eq!(unpacked(&padded, &bounds(), None), Ok(vec!["a".to_owned()]));
    assert_eq!(unpacked(&gzip(&padded), &bounds(), None), Ok(vec!["a".to_owned()]));
}

#[test]
fn g8_names_of_our_own_and_of_git_are_refused() {
    let reserved =
        [".resolverd-ok", ".resolverd-view.json", ".git", ".GIT", ".gitmodules", ".gitattributes", "git~1"];
    for name in reserved {
        for name in [name.to_owned(), format!("d/{name}"), format!("{name}/x")] {
            refused(&[file(&name, b"x")], "archive.reserved_name");
        }
    }
    check(&[file(".gitignore", b"x"), file(".github/x", b"x")], Ok(&[".github/x", ".gitignore"]));
}

#[test]
fn g9_names_that_show_or_mean_something_else_elsewhere_are_refused() {
    let long = "x".repeat(101);
    for name in [
        "a\nb",
        "\x1b[2J",
        "\u{202e}cod.exe",
        "CON",
        "NUL.txt",
        "com1",
        "a.",
        "a ",
        " a",
        "C:\\x",
        "C:x",
        "a\\b",
        "a*",
        "a?",
        "\x7f",
        "a\tb",
        "\u{feff}a",
    ] {
        refused(&[file(name, b"x")], "archive.entry_path");
    }
    refused(&[file("\0", b"x")], "archive.entry_path");
    refused(&[Made { name: b"a\xff".to_vec(), ..file("", b"x") }], "archive.entry_path");
    let header = Made { name: long.as_bytes()[..100].to_vec(), ..file("", b"x") };
    refused(&[records(b'x', &[("path", &long)]), header], "archive.entry_path");
}

#[test]
fn g10_half_an_archive_is_none() {
    let (corrupt, format) = ("archive.corrupt".to_owned(), "archive.format".to_owned());
    assert_eq!(unpacked(b"", &bounds(), None), Err(corrupt.clone()));
    let deep = format!("{}/{}", "d".repeat(90), "e".repeat(90));
    let cut = Made { name: deep.as_bytes()[..100].to_vec(), ..file("", &[7; 700]) };
    let entries = [file("a", &[b'x'; 1500]), of(b'5', "d/"), long(&deep), cut, file("z", b"x")];
    let plain = archive(&entries);
    for at in (BLOCK_BYTES..plain.len()).step_by(BLOCK_BYTES).chain([1, 511, 513, plain.len() - 1]) {
        assert_eq!(unpacked(&plain[..at], &bounds(), None), Err(corrupt.clone()), "cut at {at}");
    }
    let packed = gzip(&plain);
    for at in 2..packed.len() {
        assert_eq!(unpacked(&packed[..at], &bounds(), None), Err(corrupt.clone()), "cut at {at}");
    }
    // The sum of the content, its length, and one bit of what is compressed.
    for at in [packed.len() - 8, packed.len() - 1, packed.len() / 2] {
        let mut wrong = packed.clone();
        wrong[at] ^= 1;
        assert!(unpacked(&wrong, &bounds(), None).is_err(), "a bit at {at}");
    }
    for off in [1, 7] {
        refused(&[Made { off, ..file("a", b"x") }], &corrupt);
    }
    check(&[Made { off: 1, mark: &[0; 8], ..file("a", b"x") }], Err("archive.format"));
    check(&[file("b", b"x"), Made { off: 1, mark: &[0; 8], ..file("a", b"x") }], Err("archive.corrupt"));
    for size in ["0000000000x\0", "           \0", "-0000000001\0"] {
        refused(&[Made { size: Some(size.as_bytes().to_vec()), ..file("a", b"x") }], &corrupt);
    }
    for text in ["", "x", "4 a=\n", "6 a=b", "9 a=b\n", "99999999999 a=b\n", "5 =b\n", "06 a=b\n"] {
        let records = Made { content: text.as_bytes().to_vec(), ..records(b'x', &[]) };
        match text {
            "" => check(&[records, file("a", b"x")], Ok(&["a"])),
            _ => refused(&[records, file("a", b"x")], &corrupt),
        }
    }
    // What is announced has to come.
    assert_eq!(unpacked(&archive(&[long("a")]), &bounds(), None), Err(corrupt.clone()));
    for text in [&b"x"[..], b"not an archive at all", &[b'x'; 2000]] {
        let found = unpacked(text, &bounds(), None);
        assert_eq!(found, Err(if text.len() < BLOCK_BYTES { corrupt.clone() } else { format.clone() }));
        assert!(unpacked(&gzip(text), &bounds(), None).is_err());
    }
    assert_eq!(unpacked(&[0; 1024], &bounds(), None), Ok(Vec::new()), "an archive of nothing is one");
}

#[test]
fn g12_what_is_not_published_leaves_nothing() {
    let place = tempfile::tempdir().expect("a directory");
    let one = archive(&[file("a", b"x")]);
    let stage = unpack(&one[..], place.path(), &bounds(), None, "an archive").expect("unpacked");
    assert_eq!(fs::read_dir(place.path()).expect("listed").count(), 1, "aside, and not under a name");
    drop(stage);
    assert_eq!(fs::read_dir(place.path()).expect("listed").count(), 0);
    // What a killed process leaves is swept.
    std::mem::forget(unpack(&one[..], place.path(), &bounds(), None, "an archive").expect("unpacked"));
    stage::sweep(place.path()).expect("swept");
    assert_eq!(fs::read_dir(place.path()).expect("listed").count(), 0);
    let absent = place.path().join("absent");
    assert!(matches!(unpack(&one[..], &absent, &bounds(), None, "an archive"), Err(ArchiveError::Taken(_))));
}

#[test]
fn g17_other_forms_are_named() {
    let forms: [&[u8]; 8] = [
        b"PK\x03\x04",
        b"PK\x05\x06",
        b"7z\xbc\xaf\x27\x1c",
        b"\x28\xb5\x2f\xfd",
        b"\xfd7zXZ\0",
        b"BZh9",
        b"Rar!\x1a\x07",
        b"\x1f\x9d",
    ];
    for form in forms {
        let bytes = [form, &[0; 600]].concat();
        assert_eq!(unpacked(&bytes, &bounds(), None), Err("archive.format".to_owned()), "{form:?}");
    }
    let zip = [&b"PK\x03\x04"[..], &[7; 600]].concat();
    assert_eq!(unpacked(&gzip(&zip), &bounds(), None), Err("archive.format".to_owned()));
}

fn files(rows: &[(&str, &[u8])]) -> BTreeMap<DocPath, Vec<u8>> {
    rows.iter().map(|(name, bytes)| (path(name), bytes.to_vec())).collect()
}

#[test]
fn what_is_written_is_read_and_says_nothing_of_who_wrote_it() {
    // Two that fit in no field of the header, and one that just does.
    let deep = format!("{}/{}/{}", "d".repeat(60), "e".repeat(99), "f".repeat(90));
    let longest = format!("{}/{}/{}", "j".repeat(90), "k".repeat(71), "l".repeat(92));
    let split = format!("{}/{}/{}", "g".repeat(99), "h".repeat(54), "i".repeat(100));
    let rows: [(&str, &[u8]); 7] = [
        ("b", b"two"),
        ("a-b", b""),
        ("a/c", &[7; 1024]),
        ("a.d", &[8; 513]),
        (&deep, b"deep"),
        (&split, b"split"),
        (&longest, b"longest"),
    ];
    let all = files(&rows);
    let packed = tar_gz(&all, &bounds(), "an archive").expect("packed");
    assert_eq!(packed, tar_gz(&all, &bounds(), "another").expect("packed"));
    assert_eq!(packed[..10], [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 2, 255], "no time, no name, level 9, no system");
    let mut read_back = BTreeMap::new();
    let mut order = Vec::new();
    read(&packed[..], &bounds(), None, "an archive", &mut |file| {
        assert!(!file.executable);
        order.push(file.path.clone());
        read_back.insert(file.path, file.content.into_bytes());
        Ok(())
    })
    .expect("read");
    assert_eq!(read_back, all);
    assert!(order.is_sorted(), "in the order of bytes: {order:?}");
    let plain = tar(&all, &bounds(), "an archive").expect("packed");
    assert_eq!(plain.len() % (20 * BLOCK_BYTES), 0);
    assert_eq!(unpacked(&plain, &bounds(), None).map(|files| files.len()), Ok(7));
    assert_eq!(tar(&BTreeMap::new(), &bounds(), "").expect("packed"), vec![0; 20 * BLOCK_BYTES]);
}

#[test]
fn what_would_not_be_read_is_not_written() {
    let check = |rows: &[(&str, &[u8])], bounds: Bounds, reason: &str| {
        let refused = tar_gz(&files(rows), &bounds, "an archive").expect_err(reason);
        assert_eq!(refused.reason, reason);
    };
    check(&[("a", b""), ("A", b"")], bounds(), "archive.duplicate");
    check(&[("a", b""), ("a/b", b"")], bounds(), "archive.duplicate");
    check(&[("a", b""), ("b", b"")], Bounds { entries: 1, ..bounds() }, "archive.too_many");
    check(&[("a/b/c", b"")], Bounds { depth: 2, ..bounds() }, "archive.too_deep");
    check(&[("a", b"xy")], Bounds { file_bytes: 1, ..bounds() }, "archive.too_large");
    check(&[("a", b"x"), ("b", b"x")], Bounds { unpacked_bytes: 1, ..bounds() }, "archive.too_large");
    check(&[("a", b"x")], Bounds { archive_bytes: 50, ..bounds() }, "archive.too_large");
}
