//! Tests of the shelf: what was kept is read, what was damaged is not, what nobody needs goes.
#![allow(clippy::unwrap_used)]

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use super::*;

fn document(text: &str) -> (Digest, Vec<u8>) {
    (Digest::sha256(text.as_bytes()), text.as_bytes().to_vec())
}

/// What stands for the blocks of these tests, which is no digest of their bytes.
fn name_of_block(bytes: &[u8]) -> Option<Digest> {
    bytes.starts_with(b"block").then(|| Digest::sha256(&[b"of ", bytes].concat()))
}

fn block(text: &str) -> (Digest, Vec<u8>) {
    let bytes = format!("block {text}").into_bytes();
    (name_of_block(&bytes).unwrap(), bytes)
}

/// Reads a block, as whoever knows what stands for it.
fn read_block(shelf: &Shelf, name: &Digest) -> Option<Vec<u8>> {
    let take = |bytes: &[u8]| (name_of_block(bytes)? == *name).then(|| bytes.to_vec());
    shelf.run().block(name, take).unwrap()
}

fn only_pack(directory: &Path) -> PathBuf {
    let mut packs = durable::entries(&directory.join("shelf/packs")).unwrap();
    packs.retain(|(name, _)| name.ends_with(".pack"));
    assert_eq!(packs.len(), 1, "{packs:?}");
    packs.remove(0).1
}

fn check(shelf: &Shelf, (digest, bytes): &(Digest, Vec<u8>), expected: Presence) {
    let found = shelf.read(digest).unwrap();
    match expected {
        Presence::Here => assert_eq!(found.as_ref(), Some(bytes)),
        Presence::Gone => assert_eq!(found, None),
    }
}

enum Presence {
    Here,
    Gone,
}
use Presence::{Gone, Here};

#[test]
fn what_was_kept_is_read_after_a_restart() {
    let home = tempfile::tempdir().unwrap();
    let (one, two, empty) = (document("one"), document("two"), document(""));
    let large = document(&"x".repeat(OBJECT_BYTES_MIN as usize + 1));
    let shelf = Shelf::open(home.path()).unwrap();
    shelf.keep(&[one.clone(), two.clone(), one.clone(), large.clone(), empty.clone()]).unwrap();
    shelf.keep(std::slice::from_ref(&one)).unwrap();
    let other = Digest::of(Algorithm::Sha512, b"other");
    shelf.keep(&[(other.clone(), b"other".to_vec())]).unwrap();
    for shelf in [&shelf, &Shelf::open(home.path()).unwrap()] {
        for kept in [&one, &two, &large, &empty] {
            assert!(shelf.contains(&kept.0));
            check(shelf, kept, Here);
        }
        check(shelf, &document("never kept"), Gone);
        assert!(!shelf.contains(&other));
    }
    let pack = only_pack(home.path());
    let content = std::fs::read(&pack).unwrap();
    assert_eq!(pack.file_stem().unwrap().to_str().unwrap(), Digest::sha256(&content).hex());
    assert!(home.path().join("shelf/objects").join(large.0.hex()).is_file());
}

#[test]
fn documents_in_any_order_are_read_as_they_are() {
    let home = tempfile::tempdir().unwrap();
    let shelf = Shelf::open(home.path()).unwrap();
    // Some longer than what is read ahead, most much shorter, and together more than that.
    let long = |number: usize| if number % 37 == 5 { AHEAD_BYTES / 3 } else { 2000 };
    let text = |number: usize| format!("{number} ").repeat(long(number));
    let documents: Vec<(Digest, Vec<u8>)> = (0..200).map(|number| document(&text(number))).collect();
    shelf.keep(&documents).unwrap();
    let order = |step: usize| (0..documents.len()).map(move |at| at * step % 200);
    for step in [1, 3, 7, 199] {
        let mut run = shelf.run();
        for at in order(step) {
            let (digest, bytes) = &documents[at];
            assert_eq!(
                run.read(digest).unwrap().as_ref().map(Hashed::bytes),
                Some(bytes.as_slice()),
                "{step} {at}"
            );
        }
    }
    // Damage is noticed wherever it is read from.
    let pack = only_pack(home.path());
    let mut bytes = std::fs::read(&pack).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&pack, bytes).unwrap();
    let mut run = shelf.run();
    let found = documents.iter().filter(|kept| run.read(&kept.0).unwrap().is_some()).count();
    assert_eq!(found, documents.len() - 1);
}

#[test]
fn one_run_reads_from_several_files_and_notices_damage_and_loss() {
    let home = tempfile::tempdir().unwrap();
    let shelf = Shelf::open(home.path()).unwrap();
    let (one, two) = (document("one"), document("two"));
    let large = document(&"x".repeat(OBJECT_BYTES_MIN as usize + 1));
    shelf.keep(std::slice::from_ref(&one)).unwrap();
    let pack = only_pack(home.path());
    shelf.keep(&[two.clone(), large.clone()]).unwrap();

    let mut run = shelf.run();
    for kept in [&one, &two, &large, &one, &one, &two] {
        assert_eq!(run.read(&kept.0).unwrap().as_ref().map(Hashed::bytes), Some(kept.1.as_slice()));
    }
    assert_eq!(run.read(&document("never kept").0).unwrap(), None);
    assert_eq!(run.read(&one.0).unwrap().map(Hashed::into_bytes), Some(one.1.clone()));
    // The open file is the file: what is cut off it is missing at once.
    std::fs::OpenOptions::new().write(true).open(&pack).unwrap().set_len(20).unwrap();
    assert_eq!(run.read(&one.0).unwrap(), None);
    assert!(!shelf.contains(&one.0));
    // A file that was taken away is missed by the next run, or by this one where it begins anew.
    assert_eq!(run.read(&large.0).unwrap().map(Hashed::into_bytes), Some(large.1.clone()));
    std::fs::remove_file(home.path().join("shelf/objects").join(large.0.hex())).unwrap();
    run.renew();
    assert_eq!(run.read(&large.0).unwrap(), None);
    check(&shelf, &large, Gone);
    check(&shelf, &two, Here);
}

#[test]
fn several_threads_keep_and_read_at_once() {
    let home = tempfile::tempdir().unwrap();
    let shelf = Shelf::open(home.path()).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let shelf = &shelf;
            scope.spawn(move || {
                for round in 0..5 {
                    let documents =
                        [document(&format!("{thread} {round}")), document(&format!("all {round}"))];
                    shelf.keep(&documents).unwrap();
                    documents.iter().for_each(|kept| check(shelf, kept, Here));
                }
            });
        }
    });
    let again = Shelf::open(home.path()).unwrap();
    check(&again, &document("3 4"), Here);
    check(&again, &document("all 4"), Here);
}

#[test]
fn modes_do_not_depend_on_the_umask() {
    let home = tempfile::tempdir().unwrap();
    let shelf = Shelf::open(home.path()).unwrap();
    shelf.keep(&[document("one")]).unwrap();
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode(&only_pack(home.path())), 0o600);
    assert_eq!(mode(&home.path().join("shelf/packs")), 0o700);
}

#[test]
fn a_tampered_byte_is_never_handed_out_and_can_be_repaired() {
    let home = tempfile::tempdir().unwrap();
    let (one, two) = (document("first"), document("second"));
    Shelf::open(home.path()).unwrap().keep(&[one.clone(), two.clone()]).unwrap();
    let pack = only_pack(home.path());
    let good = std::fs::read(&pack).unwrap();
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 0x40;
        std::fs::write(&pack, &bad).unwrap();
        let shelf = Shelf::open(home.path()).unwrap();
        for kept in [&one, &two] {
            let found = shelf.read(&kept.0).unwrap();
            assert!(found.is_none() || found.as_ref() == Some(&kept.1), "byte {at}");
        }
        shelf.keep(&[one.clone(), two.clone()]).unwrap();
        check(&shelf, &one, Here);
        check(&shelf, &two, Here);
    }
}

#[test]
fn a_truncated_pack_gives_its_whole_frames() {
    let home = tempfile::tempdir().unwrap();
    let documents: Vec<_> = ["a", "bb", "ccc"].map(document).into_iter().collect();
    Shelf::open(home.path()).unwrap().keep(&documents).unwrap();
    let pack = only_pack(home.path());
    let good = std::fs::read(&pack).unwrap();
    let mut counts = Vec::new();
    for length in 0..=good.len() {
        std::fs::write(&pack, &good[..length]).unwrap();
        let shelf = Shelf::open(home.path()).unwrap();
        counts.push(documents.iter().filter(|kept| shelf.read(&kept.0).unwrap().is_some()).count());
    }
    assert!(counts.is_sorted());
    assert_eq!((counts.first(), counts.last()), (Some(&0), Some(&3)));
    counts.dedup();
    assert_eq!(counts, [0, 1, 2, 3]);
}

#[test]
fn leftovers_of_a_killed_process_go_when_the_shelf_is_opened() {
    let home = tempfile::tempdir().unwrap();
    Shelf::open(home.path()).unwrap();
    let leftover = home.path().join("shelf/packs/.tmp-abc");
    std::fs::write(&leftover, b"half").unwrap();
    Shelf::open(home.path()).unwrap();
    assert!(!leftover.exists());
}

#[test]
fn sweeping_removes_what_nobody_needs() {
    let home = tempfile::tempdir().unwrap();
    let shelf = Shelf::open(home.path()).unwrap();
    let small = document("small");
    let padding = document(&"p".repeat(1000));
    let dead = document("dead");
    let (large, dead_large) = (
        document(&"x".repeat(OBJECT_BYTES_MIN as usize + 1)),
        document(&"y".repeat(OBJECT_BYTES_MIN as usize + 1)),
    );
    shelf.keep(&[small.clone(), padding.clone(), large.clone(), dead_large.clone()]).unwrap();
    shelf.keep(std::slice::from_ref(&dead)).unwrap();
    let both: Live = [&padding, &large].into_iter().map(|kept| kept.0.clone()).collect();
    shelf.sweep(&both, name_of_block).unwrap();
    // More than half of the first pack is live, so it stays as it is.
    check(&shelf, &small, Here);
    check(&shelf, &dead, Gone);
    check(&shelf, &dead_large, Gone);
    let before = only_pack(home.path());
    shelf.sweep(&Live::from_iter([small.0.clone()]), name_of_block).unwrap();
    let after = only_pack(home.path());
    assert_ne!(before, after);
    for shelf in [&shelf, &Shelf::open(home.path()).unwrap()] {
        check(shelf, &small, Here);
        check(shelf, &padding, Gone);
        check(shelf, &large, Gone);
    }
    shelf.sweep(&Live::default(), name_of_block).unwrap();
    assert!(durable::entries(&home.path().join("shelf/packs")).unwrap().is_empty());
    assert!(durable::entries(&home.path().join("shelf/objects")).unwrap().is_empty());
}

#[test]
fn a_damaged_document_that_comes_again_is_kept_again_though_nobody_read_it() {
    let home = tempfile::tempdir().unwrap();
    let (small, large) = (document("small"), document(&"x".repeat(OBJECT_BYTES_MIN as usize + 1)));
    let documents = [small.clone(), large.clone()];
    Shelf::open(home.path()).unwrap().keep(&documents).unwrap();
    let object = home.path().join("shelf/objects").join(large.0.hex());
    for path in [only_pack(home.path()), object] {
        let mut bytes = std::fs::read(&path).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        std::fs::write(&path, bytes).unwrap();
    }
    Shelf::open(home.path()).unwrap().keep(&documents).unwrap();
    let shelf = Shelf::open(home.path()).unwrap();
    check(&shelf, &small, Here);
    check(&shelf, &large, Here);
}

#[test]
fn a_place_that_leads_elsewhere_is_refused_and_not_touched() {
    for name in ["shelf", "shelf/packs", "shelf/objects"] {
        let home = tempfile::tempdir().unwrap();
        drop(Shelf::open(home.path()).unwrap());
        let (place, outside) = (home.path().join(name), home.path().join("outside"));
        std::fs::rename(&place, &outside).unwrap();
        std::fs::set_permissions(&outside, std::fs::Permissions::from_mode(0o755)).unwrap();
        std::os::unix::fs::symlink(&outside, &place).unwrap();
        let error = Shelf::open(home.path()).unwrap_err().to_string();
        assert!(error.contains("symbolic link"), "{name}: {error}");
        assert_eq!(std::fs::metadata(&outside).unwrap().permissions().mode() & 0o777, 0o755, "{name}");
    }
}

#[test]
fn the_heads_beside_a_pack_say_what_the_pack_says() {
    let home = tempfile::tempdir().unwrap();
    let documents: Vec<_> = (0..200).map(|at| document(&"d".repeat(at * 7))).collect();
    let shelf = Shelf::open(home.path()).unwrap();
    shelf.keep(&documents).unwrap();
    let packs = home.path().join("shelf/packs");
    let names = || durable::entries(&packs).unwrap().into_iter().map(|(name, _)| name).collect::<Vec<_>>();
    let [heads, pack]: [String; 2] = names().try_into().unwrap();
    assert_eq!(heads.strip_suffix(".heads"), pack.strip_suffix(".pack"));
    let (heads, pack) = (packs.join(heads), packs.join(pack));
    let length = std::fs::metadata(&pack).unwrap().len();
    let whole = std::fs::read(&heads).unwrap();
    let told = heads::read(&pack, Kind::Documents, length).unwrap();
    let all_here = || {
        let shelf = Shelf::open(home.path()).unwrap();
        documents.iter().for_each(|kept| check(&shelf, kept, Here));
    };
    all_here();
    assert!(heads::read(&pack, Kind::Documents, length + 1).is_none());
    // Whatever is wrong with them, the pack itself is read.
    let damaged = (0..whole.len()).map(|at| {
        let mut damaged = whole.clone();
        damaged[at] ^= 1 << (at % 8);
        damaged
    });
    let cut = [0, 1, 17, whole.len() / 2, whole.len() - 1].map(|length| whole[..length].to_vec());
    for bytes in damaged.chain(cut).chain([[whole.as_slice(), b"x"].concat()]) {
        std::fs::write(&heads, bytes).unwrap();
        assert!(heads::read(&pack, Kind::Documents, length).is_none());
    }
    // Then they are written anew, by whoever may write.
    let is_written_anew = || {
        Shelf::to_read(home.path()).unwrap();
        assert_ne!(std::fs::read(&heads).ok().as_ref(), Some(&whole));
        all_here();
        assert_eq!(std::fs::read(&heads).unwrap(), whole);
        std::fs::remove_file(&heads).unwrap();
    };
    is_written_anew();
    is_written_anew();
    // A link is not followed, and nobody waits for a device.
    std::os::unix::fs::symlink("/dev/zero", &heads).unwrap();
    all_here();
    std::fs::remove_file(&heads).unwrap();
    let (_, scanned) = frames(&pack, Kind::Documents, Heads::Unused).unwrap();
    let parts = |frames: Vec<Frame>| -> Vec<_> {
        frames.iter().map(|frame| (frame.name, frame.offset, frame.length)).collect()
    };
    assert_eq!(parts(told), parts(scanned));
    // They go with their pack, also where a killed process has left them behind.
    std::fs::write(&heads, &whole).unwrap();
    Shelf::open(home.path()).unwrap().sweep(&Live::default(), name_of_block).unwrap();
    assert_eq!(names(), [""; 0]);
    std::fs::write(&heads, &whole).unwrap();
    Shelf::open(home.path()).unwrap();
    assert_eq!(names(), [""; 0]);
}

/// Where a hundred documents are kept, the documents, and the files with their heads and themselves.
type WithHeads = (tempfile::TempDir, Vec<(Digest, Vec<u8>)>, [std::path::PathBuf; 2]);

/// Keeps a hundred documents in a pack that has heads.
fn with_heads() -> WithHeads {
    let home = tempfile::tempdir().unwrap();
    let documents: Vec<_> = (0..100).map(|at| document(&format!("document {at}"))).collect();
    Shelf::open(home.path()).unwrap().keep(&documents).unwrap();
    let files = durable::entries(&home.path().join("shelf/packs")).unwrap();
    let paths: Vec<_> = files.into_iter().map(|(_, path)| path).collect();
    (home, documents, paths.try_into().unwrap())
}

#[test]
fn a_pack_whose_bytes_are_others_than_its_heads_say_gives_none_of_them() {
    let (home, documents, [_, pack]) = with_heads();
    let length = std::fs::metadata(&pack).unwrap().len();
    std::fs::write(&pack, vec![0; length as usize]).unwrap();
    let shelf = Shelf::open(home.path()).unwrap();
    documents.iter().for_each(|kept| check(&shelf, kept, Gone));
    shelf.keep(&documents).unwrap();
    let shelf = Shelf::open(home.path()).unwrap();
    documents.iter().for_each(|kept| check(&shelf, kept, Here));
}

#[test]
fn who_looks_for_damage_believes_the_packs_and_not_their_heads() {
    let (home, documents, [_, pack]) = with_heads();
    let mut bytes = std::fs::read(&pack).unwrap();
    let frame = PACK_MAGIC.len() + 50 * (HEAD_BYTES as usize + "document 10".len());
    bytes[frame..frame + 100].fill(0);
    std::fs::write(pack, bytes).unwrap();
    let here = |shelf: Shelf| documents.iter().filter(|(digest, _)| shelf.contains(digest)).count();
    assert_eq!(here(Shelf::to_read(home.path()).unwrap()), 100);
    assert!(here(Shelf::to_examine(home.path()).unwrap()) < 60);
}

#[test]
fn heads_that_cannot_be_removed_disturb_nobody() {
    let (home, documents, [heads, pack]) = with_heads();
    let (shelf, packs) = (Shelf::open(home.path()).unwrap(), home.path().join("shelf/packs"));
    // Directories are removed by no call that removes files.
    std::fs::remove_file(&heads).unwrap();
    std::fs::create_dir(&heads).unwrap();
    std::fs::create_dir(packs.join("0000.heads")).unwrap();
    shelf.sweep(&Live::default(), name_of_block).unwrap();
    assert!(!pack.exists());
    let shelf = Shelf::open(home.path()).unwrap();
    shelf.keep(&documents).unwrap();
    documents.iter().for_each(|kept| check(&shelf, kept, Here));
}

/// Whoever keeps a document keeps what was read ahead with it, and the order of a catalogue is its author's choice.
#[test]
fn what_is_kept_of_a_run_is_a_few_times_what_was_asked_for() {
    let home = tempfile::tempdir().unwrap();
    let documents: Vec<_> = (0..4000).map(|at| document(&format!("{at:0600}"))).collect();
    Shelf::open(home.path()).unwrap().keep(&documents).unwrap();
    let shelf = Shelf::open(home.path()).unwrap();
    // Neighbours, by turns in one half and in the other; then every seventh, and all, in their order.
    let pairs = (0..1000).flat_map(|at| [2 * at, 2 * at + 1, 2000 + 2 * at, 2001 + 2 * at]);
    for order in [pairs.collect::<Vec<usize>>(), (0..4000).step_by(7).collect(), (0..4000).collect()] {
        let mut run = shelf.run();
        let (mut held, mut asked) = (HashMap::new(), 0);
        for at in order {
            let (digest, bytes) = &documents[at];
            let (range, whole) = run.look(Kind::Documents, digest, Some).unwrap().unwrap();
            assert_eq!(&whole[range], bytes);
            asked += bytes.len();
            held.insert(Arc::as_ptr(&whole), whole);
        }
        let held: usize = held.values().map(|whole| whole.capacity()).sum();
        assert!(held <= 2 * AHEAD_AT_FIRST * asked, "{held} bytes for {asked}");
    }
}

#[test]
fn blocks_lie_under_what_stands_for_them_and_apart_from_documents() {
    let home = tempfile::tempdir().unwrap();
    let (small, large) = (block("small"), block(&"x".repeat(OBJECT_BYTES_MIN as usize)));
    let twin = (Digest::sha256(&small.1), small.1.clone());
    let shelf = Shelf::open(home.path()).unwrap();
    shelf.keep(std::slice::from_ref(&twin)).unwrap();
    shelf.keep_blocks(&[small.clone(), large.clone()]).unwrap();
    let files = |place: &str| std::fs::read_dir(home.path().join("shelf").join(place)).unwrap().count();
    assert_eq!((files("packs"), files("objects")), (2, 1));
    for shelf in [&shelf, &Shelf::open(home.path()).unwrap(), &Shelf::to_examine(home.path()).unwrap()] {
        for (name, bytes) in [&small, &large] {
            assert_eq!(read_block(shelf, name).as_ref(), Some(bytes));
            // Nobody gets a block for a document, or the other way round, and nothing counts as damaged for having been asked for.
            assert!(!shelf.contains(name) && shelf.read(name).unwrap().is_none() && !shelf.has_read(name));
            assert_eq!(read_block(shelf, name).as_ref(), Some(bytes));
        }
        assert!(read_block(shelf, &twin.0).is_none());
        assert_eq!(shelf.read(&twin.0).unwrap(), Some(twin.1.clone()));
    }
    // What is kept already is not written again.
    Shelf::open(home.path()).unwrap().keep_blocks(&[small, large]).unwrap();
    assert_eq!((files("packs"), files("objects")), (2, 1));
}

#[test]
fn a_damaged_block_is_forgotten_and_taken_again() {
    let home = tempfile::tempdir().unwrap();
    let blocks: Vec<_> = (0..100).map(|number| block(&format!("number {number:03}"))).collect();
    Shelf::open(home.path()).unwrap().keep_blocks(&blocks).unwrap();
    let packs = home.path().join("shelf/packs");
    let find = |extension: &str| {
        let mut entries = std::fs::read_dir(&packs).unwrap().map(|entry| entry.unwrap().path());
        entries.find(|path| path.extension().is_some_and(|found| found == extension)).unwrap()
    };
    assert!(find("heads").exists());
    let pack = find("blocks");
    let mut bytes = std::fs::read(&pack).unwrap();
    let at = BLOCKS_MAGIC.len() + HEAD_BYTES as usize + 3;
    bytes[at] ^= 1;
    std::fs::write(&pack, &bytes).unwrap();
    let shelf = Shelf::open(home.path()).unwrap();
    assert!(read_block(&shelf, &blocks[0].0).is_none());
    assert_eq!(read_block(&shelf, &blocks[1].0).as_ref(), Some(&blocks[1].1));
    shelf.keep_blocks(&blocks).unwrap();
    assert_eq!(read_block(&shelf, &blocks[0].0).as_ref(), Some(&blocks[0].1));
    // A sweep writes what is needed of a pack anew, and passes over what is damaged.
    let live = Live::from_iter(blocks[..10].iter().map(|(name, _)| name.clone()));
    shelf.sweep(&live, name_of_block).unwrap();
    for shelf in [&shelf, &Shelf::open(home.path()).unwrap()] {
        let here: Vec<bool> = blocks.iter().map(|(name, _)| read_block(shelf, name).is_some()).collect();
        assert!(here[..10].iter().all(|is_here| *is_here) && !here[10..].iter().any(|is_here| *is_here));
    }
    assert!(find("blocks") != pack || std::fs::read(&pack).unwrap() != bytes);
}
