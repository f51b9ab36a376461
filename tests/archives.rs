//! Archives as other programs make and read them: what GNU tar and Python write is taken, what is written here is theirs byte for
//! byte, and of damaged ones nothing is taken that they would read otherwise.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};

use catalogue_schema::path::DocPath;
use resolverd::fetch::limit::Limits;
use resolverd::materialize::archive::write::{tar, tar_gz};
use resolverd::materialize::archive::{ArchiveError, Bounds, read};
use serde_json::Value;

use crate::harness::chance::{Chance, count};
use crate::harness::place;
use crate::harness::repository::{self, Files};

/// Files by path.
type Found = BTreeMap<String, Vec<u8>>;

fn bounds() -> Bounds {
    Bounds::from(&Limits::default())
}

fn taken(archive: &[u8]) -> Result<Found, String> {
    let mut found = Found::new();
    let mut take = |file: resolverd::materialize::archive::Unpacked| {
        found.insert(file.path.to_string(), file.content.into_bytes());
        Ok(())
    };
    match read(archive, &bounds(), None, "an archive", &mut take) {
        Ok(()) => Ok(found),
        Err(ArchiveError::Refused(refusal)) => Err(refusal.to_string()),
        Err(ArchiveError::Taken(error)) => panic!("{error}"),
    }
}

/// Files of several lengths and names, one of which fits in no field of a header.
fn files() -> Files {
    let deep = format!("{}/{}/{}", "d".repeat(60), "e".repeat(99), "f".repeat(90));
    let split = format!("{}/{}", "g".repeat(90), "h".repeat(60));
    let rows: [(&str, Vec<u8>); 8] = [
        ("compose.yaml", b"compose: []\n".to_vec()),
        ("lib/empty", Vec::new()),
        ("lib/one-block", vec![1; 512]),
        ("lib/more", vec![2; 513]),
        ("lib/large", (0..100_000u32).map(|at| at.wrapping_mul(2_654_435_761).to_le_bytes()[3]).collect()),
        ("lib-x", b"sorts before lib/".to_vec()),
        (&deep, b"deep".to_vec()),
        (&split, b"split".to_vec()),
    ];
    rows.into_iter().map(|(name, bytes)| (name.to_owned(), bytes)).collect()
}

fn piped(command: &mut Command, directory: &Path) -> Vec<u8> {
    let output = command.current_dir(directory).stderr(Stdio::inherit()).output().unwrap();
    assert!(output.status.success(), "{command:?}");
    output.stdout
}

fn has(program: &str) -> bool {
    let is_there = Command::new(program).arg("--version").output().is_ok();
    if !is_there {
        place::skipped(&format!("{program} is not here"));
    }
    is_there
}

#[test]
fn what_other_programs_write_is_taken_in_every_form() {
    let place = tempfile::tempdir().unwrap();
    let all = files();
    repository::write(place.path(), &all);
    for format in ["ustar", "pax", "gnu", "oldgnu"] {
        for (options, names) in
            [(&["-c"][..], "."), (&["-cz"], "."), (&["-c", "--blocking-factor=1"], "compose.yaml")]
        {
            let mut command = Command::new("tar");
            command.args(options).arg(format!("--format={format}")).args(["-f", "-", names]);
            // Two paths fit in no header of the oldest form that has room for 255 bytes.
            let found = match format {
                "ustar" if names == "." => {
                    let names: Vec<&String> = all.keys().filter(|name| name.len() < 200).collect();
                    taken(&piped(
                        Command::new("tar").args(["--format=ustar", "-cf", "-"]).args(names),
                        place.path(),
                    ))
                }
                _ => taken(&piped(&mut command, place.path())),
            };
            let found = found.unwrap_or_else(|refused| panic!("{format} {options:?}: {refused}"));
            assert!(!found.is_empty() && found.iter().all(|(name, bytes)| all[name] == *bytes), "{format}");
            let expected = match (format, names) {
                (_, "compose.yaml") => 1,
                ("ustar", _) => all.len() - 1,
                _ => all.len(),
            };
            assert_eq!(found.len(), expected, "{format} {options:?}");
        }
    }
    if !has("python3") {
        return;
    }
    for format in ["PAX_FORMAT", "GNU_FORMAT"] {
        for mode in ["w|", "w|gz"] {
            let script = format!(
                "import sys, tarfile\nwith tarfile.open(fileobj=sys.stdout.buffer, mode='{mode}', format=tarfile.{format}) as t: t.add('.')\n"
            );
            let found = taken(&piped(Command::new("python3").args(["-c", &script]), place.path()));
            assert_eq!(
                found.unwrap_or_else(|refused| panic!("{format} {mode}: {refused}")),
                all,
                "{format} {mode}"
            );
        }
    }
    // A commit as `git archive` packs it, with a record about everything. What Git calls a path that is too long for a header is
    // not the begin of it: who does not know records sees another file.
    let fitting: Files = all.clone().into_iter().filter(|(name, _)| name.len() < 200).collect();
    let packed = |files: &Files, name: &str| {
        let home = repository::Repository::create(&place.path().join(name));
        home.commit(files);
        piped(Command::new("git").args(["archive", "--format=tar", "HEAD"]), &home.path)
    };
    assert_eq!(taken(&packed(&fitting, "fitting")).unwrap(), fitting);
    assert!(taken(&packed(&all, "all")).unwrap_err().contains("archive.ambiguous"));
}

#[test]
fn what_is_written_here_is_what_gnu_tar_writes() {
    let place = tempfile::tempdir().unwrap();
    // Those that ustar has room for: programs differ in what they call the records of others.
    let all: Files = files().into_iter().filter(|(name, _)| name.len() < 200).collect();
    repository::write(place.path(), &all);
    let typed: BTreeMap<DocPath, Vec<u8>> =
        all.iter().map(|(name, bytes)| (DocPath::parse(name).unwrap(), bytes.clone())).collect();
    let own = tar(&typed, &bounds(), "an archive").unwrap();
    let mut sorted: Vec<&String> = all.keys().collect();
    sorted.sort();
    let mut theirs = Vec::new();
    for (zone, umask, locale) in [("UTC", "022", "C"), ("Asia/Tokyo", "077", "de_DE.UTF-8")] {
        let mut command = Command::new("sh");
        let options = "--format=ustar --mtime=@0 --owner=0 --group=0 --numeric-owner --mode=644";
        command.args(["-c", &format!("umask {umask}; exec tar {options} -cf - \"$@\""), "sh"]).args(&sorted);
        command.env("TZ", zone).env("LC_ALL", locale);
        theirs.push(piped(&mut command, place.path()));
    }
    assert!(theirs.iter().all(|other| *other == own), "{} and {} bytes", own.len(), theirs[0].len());
    let packed = tar_gz(&typed, &bounds(), "an archive").unwrap();
    assert_eq!(packed, tar_gz(&typed, &bounds(), "another").unwrap());
    // Everybody takes it, also with the paths that need a record.
    let typed: BTreeMap<DocPath, Vec<u8>> =
        files().iter().map(|(name, bytes)| (DocPath::parse(name).unwrap(), bytes.clone())).collect();
    let packed = tar_gz(&typed, &bounds(), "an archive").unwrap();
    let out = place.path().join("out");
    std::fs::create_dir(&out).unwrap();
    std::fs::write(place.path().join("packed.tar.gz"), &packed).unwrap();
    piped(Command::new("tar").args(["-xzf", "../packed.tar.gz"]), &out);
    assert!(files().iter().all(|(name, bytes)| std::fs::read(out.join(name)).unwrap() == *bytes));
    if has("python3") {
        assert_eq!(by_python(place.path(), &[packed]), [Some(sizes(&files()))]);
    }
}

fn sizes(found: &Found) -> BTreeMap<String, u64> {
    found.iter().map(|(name, bytes)| (name.clone(), bytes.len() as u64)).collect()
}

/// Returns the regular files that Python reads, with their sizes; `None` where it reads something else as well, or nothing.
fn by_python(place: &Path, archives: &[Vec<u8>]) -> Vec<Option<BTreeMap<String, u64>>> {
    let script = r#"
import json, os, sys, tarfile
for number in range(int(sys.argv[1])):
    try:
        with tarfile.open(f"case-{number}") as archive:
            members = archive.getmembers()
        odd = [one for one in members if not (one.isreg() or one.isdir())]
        files = {os.path.normpath(one.name): one.size for one in members if one.isreg()}
        print(json.dumps(None if odd else files))
    except Exception:
        print("null")
"#;
    for (number, archive) in archives.iter().enumerate() {
        std::fs::write(place.join(format!("case-{number}")), archive).unwrap();
    }
    let said = piped(Command::new("python3").args(["-c", script, &archives.len().to_string()]), place);
    let text = String::from_utf8(said).unwrap();
    let rows = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    rows.map(|row| serde_json::from_value(row).unwrap()).collect()
}

/// Returns what GNU tar lists of an archive: its regular files with their sizes.
fn by_tar(place: &Path, number: usize) -> Option<BTreeMap<String, u64>> {
    let mut command = Command::new("tar");
    command.args(["--quoting-style=literal", "--numeric-owner", "-tvf", &format!("case-{number}")]);
    let output = command.current_dir(place).env("LC_ALL", "C").output().unwrap();
    if !output.status.success() {
        return None;
    }
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut found = BTreeMap::new();
    for line in text.lines() {
        let mut fields = line.split_whitespace();
        let (mode, _, size) = (fields.next()?, fields.next()?, fields.next()?);
        let name = fields.nth(2)?;
        match mode.as_bytes()[0] {
            b'-' => drop(found.insert(name.trim_start_matches("./").to_owned(), size.parse().ok()?)),
            b'd' => {}
            _ => return None,
        }
    }
    Some(found)
}

#[test]
fn of_damaged_archives_nothing_is_taken_that_others_read_otherwise() {
    if !has("python3") {
        return;
    }
    let place = tempfile::tempdir().unwrap();
    let all: Files = files().into_iter().filter(|(name, _)| name != "lib/large").collect();
    repository::write(place.path(), &all);
    let seeds: Vec<Vec<u8>> = ["pax", "gnu"]
        .iter()
        .map(|format| {
            let mut command = Command::new("tar");
            command.args([&format!("--format={format}"), "-cf", "-"]).args(all.keys());
            piped(&mut command, place.path())
        })
        .collect();
    let mut chance = Chance::told();
    let cases = usize::try_from(count("RESOLVERD_ARCHIVES", 300, 10_000)).unwrap();
    let mutated: Vec<Vec<u8>> = (0..cases).map(|number| mutation(&seeds[number % 2], &mut chance)).collect();
    let theirs = by_python(place.path(), &mutated);
    let mut agreed = 0;
    for (number, (archive, python)) in mutated.iter().zip(theirs).enumerate() {
        let Ok(own) = taken(archive) else { continue };
        let own = sizes(&own);
        assert_eq!(python.as_ref(), Some(&own), "case {number}: Python");
        assert_eq!(by_tar(place.path(), number).as_ref(), Some(&own), "case {number}: GNU tar");
        agreed += 1;
    }
    eprintln!("{agreed} of {cases} damaged archives are taken, and read alike");
    assert!(agreed > 0 && agreed < cases);
}

/// Changes a field of a header or two, and makes their sums right; or moves, doubles or cuts blocks.
fn mutation(seed: &[u8], chance: &mut Chance) -> Vec<u8> {
    let mut blocks: Vec<[u8; 512]> = seed.as_chunks::<512>().0.to_vec();
    let headers: Vec<usize> = (0..blocks.len()).filter(|at| blocks[*at][257..262] == *b"ustar").collect();
    for _ in 0..=chance.index(2) {
        let header = headers[chance.index(headers.len())];
        match chance.index(8) {
            0 => {
                let block = blocks[chance.index(blocks.len())];
                blocks.insert(header, block);
            }
            1 => drop(blocks.remove(header)),
            2 => blocks.truncate(header + chance.index(3)),
            3 => blocks[header] = [0; 512],
            _ => {
                let fields = [0..100, 100..108, 124..136, 156..157, 257..265, 345..500];
                let field = fields[chance.index(fields.len())].clone();
                let at = field.start + chance.index(field.len());
                let bytes = b"0127xgL5S\0 ./a";
                blocks[header][at] = bytes[chance.index(bytes.len())];
            }
        }
        if blocks.len() <= header || headers.iter().any(|at| *at >= blocks.len()) {
            break;
        }
    }
    for block in blocks.iter_mut().filter(|block| block[257..262] == *b"ustar") {
        block[148..156].fill(b' ');
        let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    }
    blocks.concat()
}
