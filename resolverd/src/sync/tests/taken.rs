//! Releases that a sync takes over from the last generation: they are what reading their documents again would have made.
//!
//! The federation lies in a real repository, whose commit moves with every step.

use std::process::Command;

use catalogue_schema::digest::Digest;
use proptest::prelude::*;

use super::*;

/// How a catalogue states the digest of a manifest.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Stated {
    Right,
    Wrong,
    Not,
}

/// One release: what its manifest and its line in the catalogue say.
#[derive(Debug, Clone)]
struct Item {
    content: u8,
    beside: bool,
    stated: Stated,
    yanked: bool,
    /// Which dependency the catalogue declares: none, that of the manifest, another one.
    declared: u8,
    tagged: u8,
}

/// What one step changes.
#[derive(Debug, Clone)]
enum Change {
    Nothing,
    Moved,
    Content(usize),
    Beside(usize),
    Stated(usize, Stated),
    Yanked(usize),
    Declared(usize, u8),
    Tagged(usize, u8),
    Claim(bool),
    Unpinned(bool),
    Elsewhere,
    /// The entry cannot be had, for so long that the source expires.
    Gone(bool),
    /// A document is lost.
    Lost,
}

/// The federation in its repository.
struct Federation {
    world: World,
    items: Vec<Item>,
    claim: bool,
    unpinned: bool,
    gone: bool,
    repository: &'static str,
    commit: String,
    step: usize,
}

fn git(directory: &Path, arguments: &[&str]) -> String {
    let mut command = Command::new("git");
    command.args(["-c", "user.name=T", "-c", "user.email=t@example.org", "-c", "gc.auto=0"]).args(arguments);
    command.current_dir(directory).env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1");
    let output = command.output().expect("git runs");
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

impl Federation {
    fn new(items: usize) -> Federation {
        let item =
            Item { content: 0, beside: false, stated: Stated::Right, yanked: false, declared: 0, tagged: 0 };
        let world = World::new();
        for repository in ["one", "two"] {
            std::fs::create_dir(world.path(repository)).expect("a directory");
            git(&world.path(repository), &["init", "-q", "-b", "main", "."]);
        }
        let mut federation = Federation {
            world,
            items: vec![item; items],
            claim: false,
            unpinned: false,
            gone: false,
            repository: "one",
            commit: String::new(),
            step: 0,
        };
        federation.commit();
        federation
    }

    fn commit(&mut self) {
        self.step += 1;
        let mut lines = Vec::new();
        for (at, item) in self.items.iter().enumerate() {
            let source = match item.beside {
                true => r#"{"type":"file","path":"x"}"#.to_owned(),
                false => format!(r#"{{"url":"https://h.example/r","commit":"{}"}}"#, "a".repeat(40)),
            };
            let manifest = format!(
                r#"{{"schema":"lcod-registry/manifest@1","id":"lcod://n/c{at}@1.0.0","source":{source},"dependencies":["lcod://n/d@^1.{}"],"note":"{}"}}"#,
                item.content, item.content
            );
            self.world.write(&format!("{}/m/{at}.json", self.repository), &manifest);
            let digest = match item.stated {
                Stated::Right => Some(Digest::sha256(manifest.as_bytes()).hex()),
                Stated::Wrong => Some("0".repeat(64)),
                Stated::Not => None,
            };
            let digest = digest.map(|hex| format!(r#","sha256":"{hex}""#)).unwrap_or_default();
            let declared = match item.declared {
                0 => String::new(),
                1 => format!(r#","dependencies":["lcod://n/d@^1.{}"]"#, item.content),
                _ => r#","dependencies":["lcod://n/other@^9"]"#.to_owned(),
            };
            let tag = format!(r#","tag":{}"#, item.tagged);
            lines.push(format!(
                r#"{{"id":"lcod://n/c{at}","versions":[{{"version":"1.0.0","manifest":"m/{at}.json","yanked":{}{digest}{declared}{tag}}}]}}"#,
                item.yanked
            ));
        }
        let claim = if self.claim { r#","signature":"s""# } else { "" };
        let text = format!(
            r#"{{"schema":"lcod-registry/catalogue@1","id":"step-{}"{claim},"components":[{}]}}"#,
            self.step,
            lines.join(",\n")
        );
        self.world.write(&format!("{}/catalogue.json", self.repository), &text);
        let directory = self.world.path(self.repository);
        git(&directory, &["add", "-A"]);
        git(&directory, &["commit", "-q", "--allow-empty", "-m", "step"]);
        self.commit = git(&directory, &["rev-parse", "HEAD"]);
    }

    fn change(&mut self, change: &Change) {
        let count = self.items.len();
        let item = |at: &usize| at % count;
        match change {
            Change::Nothing => return,
            Change::Moved => {}
            Change::Content(at) => self.items[item(at)].content += 1,
            Change::Beside(at) => self.items[item(at)].beside ^= true,
            Change::Stated(at, stated) => self.items[item(at)].stated = *stated,
            Change::Yanked(at) => self.items[item(at)].yanked ^= true,
            Change::Declared(at, declared) => self.items[item(at)].declared = *declared,
            Change::Tagged(at, tagged) => self.items[item(at)].tagged = *tagged,
            Change::Claim(claim) => self.claim = *claim,
            Change::Unpinned(unpinned) => self.unpinned = *unpinned,
            Change::Elsewhere => self.repository = if self.repository == "one" { "two" } else { "one" },
            Change::Gone(gone) => {
                self.gone = *gone;
                self.world.now_s += 10_000;
            }
            Change::Lost => {
                let documents = self.world.past.as_ref().map(|last| last.generation.documents.count as usize);
                let live = self.world.store.live().expect("documents");
                let mut live: Vec<Digest> = live.into_iter().collect();
                live.sort();
                live.truncate(documents.unwrap_or_default() / 2);
                self.world.shelf.sweep(&live.into_iter().collect(), name_of_block).expect("swept");
                return;
            }
        }
        self.commit();
    }

    fn sources(&self) -> Vec<Source> {
        let entry = if self.gone { "nothing.json" } else { "catalogue.json" };
        let place = self.world.path(self.repository).display().to_string();
        let commit = if self.unpinned { String::new() } else { format!(r#","commit":"{}""#, self.commit) };
        let text = format!(
            r#"{{"sources":[{{"id":"a","entrypoint":{{"type":"git","url":"file://{place}"{commit},"subpath":"{entry}"}}}}]}}"#
        );
        catalogue_schema::sources::read(text.as_bytes(), self.world.directory.path(), &Forges::default())
            .expect("good sources")
    }

    /// Reads everything in two ways, compares them, and commits.
    fn sync(&mut self) {
        let sources = self.sources();
        let World { shelf, limits, rules, now_s, store, past, .. } = &mut self.world;
        let (origins, forges) = (Origins::default(), Forges::default());
        let sync =
            Sync { shelf, origins: &origins, limits, forges: &forges, offline: false, now_s: *now_s, rules };
        let last = past.clone();
        let last = last.as_deref().map_or(Past::Nothing, Past::Snapshot);
        for scope in [Scope::All, Scope::Named(&[])] {
            let read = |known: &Known<'_>| {
                let tally = Tally::default();
                let readings =
                    sync.read_all(known, store.memory(), &sources, (scope, &BTreeMap::new()), &tally);
                readings.expect("the shelf can be read").iter().flat_map(lines).collect::<Vec<_>>()
            };
            let listed = || match last.generation() {
                Some(generation) => store.documents(generation).expect("the list of documents"),
                None => Documents::default(),
            };
            let taken = read(&Known::of(last, listed()));
            let anew = read(&Known { snapshot: None, ..Known::of(last, listed()) });
            assert_eq!(taken, anew);
        }
        self.commit_sync();
    }

    /// Syncs and commits; returns how many documents were fetched for it.
    fn commit_sync(&mut self) -> u64 {
        let sources = self.sources();
        let World { shelf, limits, rules, now_s, store, past, .. } = &mut self.world;
        let (origins, forges) = (Origins::default(), Forges::default());
        let sync =
            Sync { shelf, origins: &origins, limits, forges: &forges, offline: false, now_s: *now_s, rules };
        let last = past.clone();
        let last = last.as_deref().map_or(Past::Nothing, Past::Snapshot);
        let done = sync.run(store, last, &sources, Scope::All).expect("a sync");
        if let Some(snapshot) = done.snapshot {
            *past = Some(snapshot);
        }
        done.report.documents_fetched
    }
}

/// Everything that a reading says; the order of releases and documents says nothing.
fn lines(reading: &Reading) -> Vec<String> {
    let releases = reading.contributions.iter().flat_map(|listed| {
        let read = |component: &Packed| component.component().expect("it can be read").releases;
        let releases = listed.components.iter().flat_map(read);
        releases.map(|release| format!("{:?} {:?} {release:?}", listed.catalogue, listed.rank))
    });
    let listed = reading.documents.clone().list().expect("a list");
    let documents = Documents::read(listed.content).expect("a list");
    let documents = documents.iter().map(|record| format!("{record:?}"));
    let mut lines: Vec<String> = releases.chain(documents).collect();
    lines.sort();
    lines.push(format!("{:?} {:?} {:?}", reading.state, reading.catalogues, reading.refusals));
    lines
}

#[test]
fn a_commit_that_moves_costs_the_documents_that_changed() {
    let mut federation = Federation::new(5);
    let steps: [(&[Change], u64); 9] = [
        (&[], 6),
        (&[Change::Nothing], 0),
        (&[Change::Moved], 1),
        (&[Change::Content(1)], 2),
        (&[Change::Yanked(2), Change::Tagged(3, 1)], 1),
        // Where no digest is stated only the commit tells what the document is.
        (&[Change::Stated(4, Stated::Not)], 2),
        (&[Change::Moved], 2),
        // The bytes that are promised are on the shelf already, whatever the repository is called.
        (&[Change::Stated(4, Stated::Right), Change::Elsewhere], 1),
        (&[Change::Declared(0, 2)], 1),
    ];
    for (changes, expected) in steps {
        changes.iter().for_each(|change| federation.change(change));
        assert_eq!(federation.commit_sync(), expected, "{changes:?}");
    }
    let refused = federation.world.snapshot().read("lcod://n/c0");
    let refused = refused.and_then(|component| component.releases[0].verdict.refusal().cloned());
    assert_eq!(refused.expect("a refusal").reason, "trust.statement_mismatch");
}

fn any_change() -> impl Strategy<Value = Change> {
    let at = 0usize..4;
    let stated = prop::sample::select(vec![Stated::Right, Stated::Right, Stated::Wrong, Stated::Not]);
    prop_oneof![
        1 => Just(Change::Nothing),
        2 => Just(Change::Moved),
        2 => at.clone().prop_map(Change::Content),
        1 => at.clone().prop_map(Change::Beside),
        2 => (at.clone(), stated).prop_map(|(at, stated)| Change::Stated(at, stated)),
        1 => at.clone().prop_map(Change::Yanked),
        1 => (at.clone(), 0u8..3).prop_map(|(at, declared)| Change::Declared(at, declared)),
        1 => (at, 0u8..3).prop_map(|(at, tagged)| Change::Tagged(at, tagged)),
        1 => any::<bool>().prop_map(Change::Claim),
        1 => any::<bool>().prop_map(Change::Unpinned),
        1 => Just(Change::Elsewhere),
        1 => any::<bool>().prop_map(Change::Gone),
        1 => Just(Change::Lost),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    #[test]
    fn what_is_taken_over_is_what_would_be_read(
        steps in prop::collection::vec(prop::collection::vec(any_change(), 1..3), 4..8),
    ) {
        let mut federation = Federation::new(4);
        federation.sync();
        for changes in steps {
            changes.iter().for_each(|change| federation.change(change));
            federation.sync();
        }
    }
}
