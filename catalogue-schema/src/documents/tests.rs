//! What is listed is read again as it was, and damaged bytes never give another record.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::pointer::RefName;

fn record(want: Want, url: &str, content: &str) -> DocumentRecord {
    DocumentRecord {
        want,
        url: url.to_owned(),
        commit: None,
        blob: None,
        digest: Digest::sha256(content.as_bytes()),
        size: content.len() as u64,
        etag: None,
        modified: None,
        fetched_s: 7,
    }
}

fn commit(digit: char) -> CommitId {
    CommitId::parse(&digit.to_string().repeat(40)).unwrap()
}

fn in_git(repository: &str, revision: Revision, path: &str) -> DocumentRecord {
    let repository = Repository::Https(HttpsUrl::parse(repository).unwrap());
    let url = repository.to_string();
    let location = Location::Git { repository, revision, path: DocPath::parse(path).unwrap() };
    let found = record(Want::Blob(location), &url, path);
    DocumentRecord { commit: Some(commit('c')), blob: Some(commit('b')), ..found }
}

fn over_https(url: &str) -> DocumentRecord {
    record(Want::Blob(Location::Https { url: HttpsUrl::parse(url).unwrap() }), url, url)
}

/// One record of every kind, unsorted.
fn samples() -> Vec<DocumentRecord> {
    let git = "https://example.org/r.git";
    let local = LocalPath::parse("/srv/a.json").unwrap();
    let repository = Repository::Local(LocalPath::parse("/srv/r").unwrap());
    let main = RefName::parse("main").unwrap();
    vec![
        in_git(git, Revision::Commit(commit('a')), "b/lcp.toml"),
        in_git(git, Revision::Commit(commit('a')), "a/lcp.toml"),
        in_git(git, Revision::Commit(commit('a')), "a"),
        in_git(git, Revision::Ref(main.clone()), "a/lcp.toml"),
        in_git("https://example.org/other.git", Revision::Head, "a/lcp.toml"),
        DocumentRecord { fetched_s: -1, ..in_git(git, Revision::Commit(commit('a')), "c") },
        DocumentRecord { url: "https://mirror.org/r".into(), ..in_git(git, Revision::Head, "d") },
        record(Want::Blob(Location::File { path: local.clone() }), "file:///srv/a.json", "x"),
        record(
            Want::Blob(Location::File { path: local.join(&DocPath::parse("b").unwrap()) }),
            "elsewhere",
            "y",
        ),
        over_https("https://example.org/a.json"),
        DocumentRecord {
            url: "https://cdn.example.org/b".into(),
            etag: Some("\"é=\"".into()),
            ..over_https("https://example.org/b.json")
        },
        DocumentRecord {
            etag: Some(String::new()),
            modified: Some("Mon".into()),
            ..over_https("https://example.org/c.json")
        },
        DocumentRecord { modified: Some(String::new()), ..over_https("https://example.org/d.json") },
        record(Want::Refs { repository, prefix: main }, "file:///srv/r", "refs"),
    ]
}

fn read(records: &[DocumentRecord]) -> Documents {
    Documents::read(Listed::of(records).unwrap().content).unwrap()
}

#[test]
fn what_is_listed_is_read_again_as_it_was() {
    let samples = samples();
    let listed = Listed::of(&samples).unwrap();
    assert_eq!(listed.list.digest, Digest::sha256(listed.content.bytes()));
    assert_eq!(listed.list.count, samples.len() as u64);
    let found = Documents::read(listed.content).unwrap();
    assert_eq!((found.len(), found.iter().count()), (samples.len(), samples.len()));
    for sample in &samples {
        assert_eq!(found.document(&sample.want).as_ref(), Some(sample));
        assert!(found.contains(&sample.want));
        assert!(found.all_with(&sample.digest).any(|other| other == *sample));
        assert_eq!(found.by_digest(&sample.digest).map(|other| other.digest), Some(sample.digest.clone()));
    }
    assert_eq!(found.digests().collect::<Vec<_>>(), found.iter().map(|one| one.digest).collect::<Vec<_>>());
    assert_eq!(found.newest_s(), Some(7));
}

#[test]
fn all_documents_with_the_same_bytes_are_found_in_their_order() {
    let at = |number: u32| over_https(&format!("https://example.org/{number:04}.json"));
    // Every third is one document, the others are another one each.
    let same = Digest::sha256(b"same");
    let records: Vec<_> = (0..3000)
        .map(|number| match number % 3 {
            0 => DocumentRecord { digest: same.clone(), ..at(number) },
            _ => at(number),
        })
        .collect();
    let found = read(&records);
    let expected: Vec<_> = records.iter().filter(|record| record.digest == same).cloned().collect();
    assert_eq!(found.all_with(&same).collect::<Vec<_>>(), expected);
    assert_eq!(found.by_digest(&same).as_ref(), expected.first());
    for other in records.iter().filter(|record| record.digest != same) {
        assert_eq!(found.all_with(&other.digest).collect::<Vec<_>>(), std::slice::from_ref(other));
    }
    // The same bytes under another algorithm are another digest.
    assert_eq!(found.all_with(&Digest::of(Algorithm::Sha3_256, b"same")).count(), 0);
}

#[test]
fn what_is_not_listed_is_not_found() {
    let (mut samples, strange) = (samples(), over_https("https://example.org/z.json"));
    let gone = samples.remove(0);
    let found = read(&samples);
    for other in [&gone, &strange] {
        assert_eq!(found.document(&other.want), None);
        assert!(!found.contains(&other.want));
        assert_eq!(found.all_with(&other.digest).find(|one| one.want == other.want), None);
    }
    assert_eq!(found.by_digest(&strange.digest), None);
    let empty = read(&[]);
    assert!(empty.is_empty() && empty.document(&gone.want).is_none() && empty.newest_s().is_none());
    assert_eq!(Listed::of(&[]).unwrap().list, DocumentList::default());
}

#[test]
fn the_order_of_records_is_of_no_account_and_the_last_for_a_want_counts() {
    let samples = samples();
    let listed = Listed::of(&samples).unwrap();
    let mut turned = samples.clone();
    turned.reverse();
    assert!(Listed::of(&turned).unwrap() == listed);
    let mut twice: Vec<DocumentRecord> =
        samples.iter().map(|one| DocumentRecord { fetched_s: 1, size: 1, ..one.clone() }).collect();
    twice.extend(samples);
    assert!(Listed::of(&twice).unwrap() == listed);
}

#[test]
fn what_is_gathered_in_pieces_is_the_same_list() {
    let samples = samples();
    let listed = Listed::of(&samples).unwrap();
    let other: Vec<DocumentRecord> =
        samples.iter().map(|one| DocumentRecord { fetched_s: 1, size: 1, ..one.clone() }).collect();
    for size in 1..=samples.len() {
        let mut all = Gathered::default();
        // What comes later counts, also across pieces.
        for piece in other[..size].chunks(2).chain(samples.chunks(size)) {
            let mut gathered = Gathered::default();
            piece.iter().for_each(|record| gathered.add(record));
            all.append(gathered);
        }
        assert!(all.list().unwrap() == listed, "in pieces of {size}");
    }
}

#[test]
fn what_stands_in_a_list_already_counts_like_a_record_of_its_own() {
    let samples = samples();
    let older: Vec<DocumentRecord> =
        samples.iter().map(|one| DocumentRecord { fetched_s: 1, size: 1, ..one.clone() }).collect();
    let base = Arc::new(read(&older));
    let at = |one: &DocumentRecord| base.recorded([&one.want].into_iter()).remove(0).unwrap().at;
    let whole = || {
        let mut all = Gathered::beside(&base);
        older.iter().for_each(|one| all.add_kept(at(one)));
        all
    };
    assert!(whole().list().unwrap() == Listed::of(&older).unwrap());
    // What comes later counts, wherever it comes from; and what is missing is missing.
    let mut both = whole();
    let mut newer = Gathered::beside(&base);
    samples[..6].iter().for_each(|one| newer.add(one));
    newer.add_kept(at(&older[2]));
    newer.add(&samples[7]);
    both.append(newer);
    let mut expected = older.clone();
    expected.extend(samples[..6].iter().chain([&older[2], &samples[7]]).cloned());
    assert!(both.list().unwrap() == Listed::of(&expected).unwrap());
    let mut fewer = Gathered::beside(&base);
    older[1..].iter().for_each(|one| fewer.add_kept(at(one)));
    assert!(fewer.clone().list().unwrap() == Listed::of(&older[1..]).unwrap());
    // Lists of two bases.
    let other = Arc::new(read(&samples));
    let mut first = Gathered::beside(&other);
    first.add_kept(other.recorded([&samples[3].want].into_iter()).remove(0).unwrap().at);
    first.append(fewer);
    let mut expected = vec![samples[3].clone()];
    expected.extend_from_slice(&older[1..]);
    assert!(first.list().unwrap() == Listed::of(&expected).unwrap());
}

#[test]
fn many_are_found_at_once_as_each_of_them_alone() {
    let mut samples = samples();
    let gone = samples.remove(4);
    let found = read(&samples);
    // The same key in another place, and nothing at all.
    let strange = in_git("https://example.org/third.git", Revision::Head, "a/lcp.toml");
    let asked: Vec<&DocumentRecord> =
        samples.iter().chain([&gone, &strange]).chain(samples.iter().rev()).collect();
    let recorded = found.recorded(asked.iter().map(|one| &one.want));
    assert_eq!(recorded.len(), asked.len());
    for (one, recorded) in asked.into_iter().zip(recorded) {
        let told = recorded.map(|it| (it.digest, it.commit, it.blob));
        let expected = found.document(&one.want).map(|it| (it.digest, it.commit, it.blob));
        assert_eq!(told, expected, "{:?}", one.want);
    }
    assert_eq!(found.document(&gone.want), None);
}

#[test]
fn damage_is_an_error_or_leaves_records_out_and_never_panics() {
    let samples = samples();
    let good = Listed::of(&samples).unwrap().content.into_bytes();
    let ask = |bytes: Vec<u8>| {
        if let Ok(found) = Documents::read(Hashed::of(bytes)) {
            let _ = found.iter().count();
            for sample in &samples {
                let _ = found.document(&sample.want);
                let _ = found.by_digest(&sample.digest);
            }
        }
    };
    for at in 0..good.len() {
        assert!(Documents::read(Hashed::of(good[..at].to_vec())).is_err() || at == 0, "cut at {at}");
        for mask in [1, 0xff] {
            let mut bytes = good.clone();
            bytes[at] ^= mask;
            ask(bytes);
        }
    }
    let check = |bytes: &[u8], expected: &str| {
        let error = Documents::read(Hashed::of(bytes.to_vec())).unwrap_err();
        assert!(error.contains(expected), "{error}");
    };
    check(b"x", "does not start");
    check(b"resolverd/documents@2\n{}\n", "does not start");
    check(&[DOCUMENTS_MAGIC, b"{\"places\":[[\"file\",4294967295]],\"heads\":[]}\n"].concat(), "cut short");
    check(&[&good[..], b"x"].concat(), "behind its end");
}
