//! Tests of reading damaged packs: whatever is cut, flipped or gone, the answer is the right bytes or a refusal, in bounded time.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use catalogue_schema::digest::unhex;
use catalogue_schema::pointer::Want;

use super::{
    FetchError, Fetched, Repo, Word, budget, check_bytes, check_error, check_refused, fetch_all, fetch_within,
};

/// How long one read may take; a sound one takes a thousandth of it.
const READ_TIMEOUT: Duration = Duration::from_secs(20);

/// A repository whose objects all lie in one pack, some as deltas, and what its files hold.
struct Packed {
    repo: Repo,
    rows: Vec<(Want, Vec<u8>)>,
}

impl Packed {
    fn new() -> Packed {
        let repo = Repo::new();
        let text = |first: u32| -> Vec<u8> {
            (first..first + 60)
                .flat_map(|n| format!("{}\n", n.wrapping_mul(2_654_435_761)).into_bytes())
                .collect()
        };
        let files = [("dir/one.json", text(0)), ("dir/two.json", text(1)), ("zeros", vec![0; 5000])];
        for (path, bytes) in &files {
            repo.write(path, bytes);
        }
        let commit = repo.commit();
        repo.git(&["repack", "-q", "-a", "-d", "-f"]);
        repo.git(&["prune-packed"]);
        assert!(
            repo.git(&["verify-pack", "-v", repo.pack("idx").to_str().unwrap()]).contains("chain length = 1")
        );
        let rows = files.into_iter().map(|(path, bytes)| (repo.at(&commit, path), bytes)).collect();
        Packed { repo, rows }
    }

    /// Reads all files and returns how many were refused; what is not refused must be right.
    #[track_caller]
    fn read(&self, damage: &str) -> usize {
        let mut refused = 0;
        let wants: Vec<Want> = self.rows.iter().map(|(want, _)| want.clone()).collect();
        for (answer, (want, expected)) in fetch_in_time(wants, damage).into_iter().zip(&self.rows) {
            let reason = match answer {
                Ok(fetched) => {
                    assert!(fetched.bytes == *expected, "{damage}: other bytes at {want}");
                    continue;
                }
                Err(error) => error.refusal().reason.to_string(),
            };
            // A header may lie about the kind and the size; a name that is no longer found is missing.
            let known = ["git.corrupt", "git.not_a_commit", "git.commit_missing"];
            assert!(known.contains(&&*reason) || reason.starts_with("limit."), "{damage}: {reason}");
            refused += 1;
        }
        refused
    }
}

impl Repo {
    fn pack(&self, ending: &str) -> PathBuf {
        let files = fs::read_dir(self.path().join(".git/objects/pack")).unwrap();
        let mut files = files.map(|file| file.unwrap().path());
        files.find(|file| file.extension().is_some_and(|found| found == ending)).unwrap()
    }
}

/// Reads on a thread that is left behind when it does not come back.
#[track_caller]
fn fetch_in_time(wants: Vec<Want>, damage: &str) -> Vec<Result<Fetched, FetchError>> {
    let (sender, receiver) = channel();
    thread::spawn(move || {
        let wants: Vec<&Want> = wants.iter().collect();
        sender.send(fetch_all(&wants, &budget()))
    });
    match receiver.recv_timeout(READ_TIMEOUT) {
        Ok(answers) => answers,
        Err(RecvTimeoutError::Timeout) => panic!("{damage}: the read does not end"),
        Err(RecvTimeoutError::Disconnected) => panic!("{damage}: the read panicked"),
    }
}

/// Puts other content in place of a file that Git made read-only, without touching a mapping of the old one.
fn replace(place: &Path, bytes: &[u8]) {
    fs::remove_file(place).unwrap();
    fs::write(place, bytes).unwrap();
    fs::set_permissions(place, Permissions::from_mode(0o444)).unwrap();
}

#[test]
fn f10_every_flipped_byte_of_a_pack_is_noticed() {
    let packed = Packed::new();
    for ending in ["pack", "idx"] {
        let place = packed.repo.pack(ending);
        let good = fs::read(&place).unwrap();
        // The index repeats itself; three and the four flips have no common factor, so all of them meet all of its fields.
        for at in (0..good.len()).step_by(if ending == "idx" { 3 } else { 1 }) {
            let flip = [0x01, 0x10, 0x80, 0xff][at % 4];
            let mut bad = good.clone();
            bad[at] ^= flip;
            replace(&place, &bad);
            packed.read(&format!("byte {at} of {} in the {ending} flipped by {flip:#x}", good.len()));
        }
        replace(&place, &good);
        assert_eq!(packed.read("mended"), 0);
    }
}

#[test]
fn f10_a_pack_that_is_cut_off_is_refused() {
    let packed = Packed::new();
    for ending in ["pack", "idx"] {
        let place = packed.repo.pack(ending);
        let good = fs::read(&place).unwrap();
        for length in (0..good.len()).step_by(7).chain([good.len() - 1]) {
            replace(&place, &good[..length]);
            assert_eq!(
                packed.read(&format!("{ending} cut at {length}")),
                packed.rows.len(),
                "{ending}, {length}"
            );
        }
        replace(&place, &good);
        assert_eq!(packed.read("mended"), 0);
    }
}

#[test]
fn f10_a_pack_or_index_that_is_gone_is_missed() {
    for ending in ["pack", "idx"] {
        let packed = Packed::new();
        fs::remove_file(packed.repo.pack(ending)).unwrap();
        assert_eq!(packed.read(&format!("no {ending}")), packed.rows.len());
    }
}

#[test]
fn packs_of_every_form_are_read() {
    let forms: [&[&str]; 4] = [
        &["-c", "repack.useDeltaBaseOffset=false", "repack", "-q", "-a", "-d", "-f"],
        &["-c", "pack.compression=0", "repack", "-q", "-a", "-d", "-F"],
        &["-c", "pack.window=0", "repack", "-q", "-a", "-d", "-F"],
        &["repack", "-q", "-a", "-d", "-F", "--write-midx"],
    ];
    for form in forms {
        let packed = Packed::new();
        packed.repo.git(form);
        assert_eq!(packed.read(&form.join(" ")), 0);
    }
    // Offsets of 64 bits for whatever lies behind the first 64 bytes.
    let packed = Packed::new();
    let pack = packed.repo.pack("pack");
    fs::remove_file(packed.repo.pack("idx")).unwrap();
    packed.repo.git(&["index-pack", "--index-version=2,0x40", pack.to_str().unwrap()]);
    assert_eq!(packed.read("long offsets"), 0);
    fs::remove_file(packed.repo.pack("idx")).unwrap();
    packed.repo.git(&["index-pack", "--index-version=1", pack.to_str().unwrap()]);
    check_refused(&packed.rows[0].0, "git.corrupt", "not of version 2; run `git repack -ad`");
}

#[test]
fn objects_are_found_in_every_pack_and_beside_them() {
    let repo = Repo::new();
    for name in ["a", "b", "c"] {
        repo.write(name, name.as_bytes());
        repo.commit();
        repo.git(&["repack", "-q", "-d"]);
    }
    repo.write("d", b"d");
    let commit = repo.commit();
    for name in ["a", "b", "c", "d"] {
        check_bytes(&repo.at(&commit, name), name.as_bytes());
    }
}

#[test]
fn c8_a_big_packed_blob_is_refused_by_its_header_also_as_a_delta() {
    let repo = Repo::new();
    let lines =
        |last: u32| (0..last).flat_map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes()).collect::<Vec<u8>>();
    repo.write("one", &lines(300_000));
    repo.write("two", &lines(300_001));
    let commit = repo.commit();
    repo.git(&["repack", "-q", "-a", "-d", "-f"]);
    for (name, size) in [("one", "1200000 bytes"), ("two", "1200004 bytes")] {
        let result = fetch_within(&repo.at(&commit, name), &budget().for_release_documents());
        check_error(result, Word::Limit, "limit.release_document_bytes", size);
    }
}

/// Writes a pack with the only entry `blob`, and an index that says so.
fn forged(repo: &Repo, blob: &str, entry: &[u8]) {
    let name = unhex(blob).unwrap();
    let mut pack = [b"PACK\0\0\0\x02\0\0\0\x01", entry].concat();
    // Any twenty bytes will do: they are compared with those of the index only.
    let sum = [9; 20];
    pack.extend(sum);
    let mut index = b"\xfftOc\0\0\0\x02".to_vec();
    for first in 0..=255 {
        index.extend(u32::from(first >= name[0]).to_be_bytes());
    }
    index.extend([&name[..], &[0; 4], &12u32.to_be_bytes(), &sum, &sum].concat());
    repo.write(".git/objects/pack/pack-forged.pack", &pack);
    repo.write(".git/objects/pack/pack-forged.idx", &index);
}

#[test]
fn f11_forged_entries_are_refused() {
    let repo = Repo::new();
    repo.write("x", b"x");
    let commit = repo.commit();
    let blob = repo.git(&["rev-parse", "HEAD:x"]);
    fs::remove_file(repo.loose(&blob)).unwrap();
    let own_id = unhex(&blob).unwrap();
    let rows: [(&[u8], &str); 8] = [
        (&[&[0x71][..], &own_id].concat(), "deltas stand on each other"),
        (&[&[0x71][..], &[7; 20]].concat(), "the base of a delta is gone"),
        (&[0x61, 0x00], "a delta stands on itself"),
        (&[0x61, 0x7f], "a delta stands on itself"),
        (&[0x01], "unknown type"),
        (&[0x51], "unknown type"),
        (&[0xb1], "an entry is cut off"),
        (&[0xbf; 24], "too many digits"),
    ];
    for (entry, hint) in rows {
        forged(&repo, &blob, entry);
        let answers = fetch_in_time(vec![repo.at(&commit, "x")], hint);
        check_error(answers.into_iter().next().unwrap(), Word::Refused, "git.corrupt", hint);
    }
}

#[test]
fn every_version_of_a_file_arrives_through_long_chains() {
    let repo = Repo::new();
    // Each version changes one line in the middle and adds one.
    let version = |n: usize| -> String {
        (0..300 + n).map(|line| format!("{}\n", if line == 7 * n % 300 { n } else { line * line })).collect()
    };
    let stream: String = (1..=120)
        .map(|n| {
            let text = version(n);
            let from = if n > 1 { format!("from :{}\n", n - 1) } else { String::new() };
            format!(
                "commit refs/heads/main\nmark :{n}\ncommitter T <t@example.org> {n} +0000\ndata 0\n\
                 {from}M 100644 inline dir/file\ndata {}\n{text}\n",
                text.len()
            )
        })
        .collect();
    repo.git_with(
        &["-c", "fastimport.unpackLimit=1", "fast-import", "--quiet", "--depth=200"],
        stream.as_bytes(),
    );
    let listed = repo.git(&["verify-pack", "-s", repo.pack("idx").to_str().unwrap()]);
    assert!(listed.contains("chain length = 50:"), "{listed}");
    let commits = repo.git(&["rev-list", "--reverse", "main"]);
    let wants: Vec<Want> = commits.lines().map(|commit| repo.at(commit, "dir/file")).collect();
    let answers = fetch_in_time(wants, "a long chain");
    assert_eq!(answers.len(), 120);
    for (n, answer) in answers.into_iter().enumerate() {
        assert!(answer.unwrap().bytes == version(n + 1).as_bytes(), "version {}", n + 1);
    }
}
