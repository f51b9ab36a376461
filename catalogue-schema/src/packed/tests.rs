//! Packing and reading back: every component, every answer, and every damaged byte.

use proptest::prelude::*;
use serde::Serialize;
use serde_json::{Value, json};

use super::*;
use crate::id::Reference;
use crate::model::{Refusal, Verdict, Warning};
use crate::pointer::{LocalPath, Repository};
use crate::references::References;
use crate::row::{IntegrityRow, ShadowRow, SourceRow, TrustRow};

/// A release as answers tell it, in one piece.
#[derive(Serialize)]
struct ReleaseRow<'a> {
    id: &'a ComponentId,
    version: &'a Version,
    kind: Option<&'a str>,
    summary: Option<&'a str>,
    dependencies: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    implements: Vec<String>,
    source: SourceRow<'a>,
    integrity: IntegrityRow<'a>,
    trust: TrustRow<'a>,
    yanked: bool,
    shadowed: Vec<ShadowRow<'a>>,
    warnings: &'a [Warning],
    extra: &'a Extra,
}

fn told(component: &Component, release: &Release) -> String {
    let row = ReleaseRow {
        id: &release.id,
        version: &release.version,
        kind: release.kind.as_deref(),
        summary: release.summary.as_deref(),
        dependencies: release.dependencies.texts().map(str::to_owned).collect(),
        implements: release.implements.iter().map(ToString::to_string).collect(),
        source: SourceRow::of(&component.owner, release),
        integrity: IntegrityRow::of(release),
        trust: TrustRow::of(&release.verdict),
        yanked: release.yanked,
        shadowed: ShadowRow::all(&component.shadowed),
        warnings: &release.warnings,
        extra: &release.extra,
    };
    serde_json::to_string(&row).expect("a JSON form")
}

fn read(value: &Value) -> Component {
    serde_json::from_value(value.clone()).expect("a component")
}

fn release(version: &str, with: &Value) -> Value {
    let mut release = json!({
        "id": "lcod://a/b", "version": version, "origin": {}, "verdict": {"trusted": {"level": "pinned"}},
    });
    let fields = with.as_object().expect("an object").clone();
    release.as_object_mut().expect("an object").extend(fields);
    release
}

fn component(releases: &[Value], shadowed: &Value) -> Component {
    let owner = json!({"source": "main", "name": "tooling/std"});
    read(&json!({"id": "lcod://a/b", "owner": owner, "releases": releases, "shadowed": shadowed}))
}

/// A component with everything that a release can hold.
fn full() -> Component {
    let digest = format!("sha256:{}", "7".repeat(64));
    let long = format!("sha512:{}", "8".repeat(128));
    let refused = json!({"refused": {"reason": "trust.digest_mismatch", "subject": "x.json", "found": "y"}});
    let unpinned =
        json!({"trusted": {"level": "unpinned", "rule": "r", "signers": ["s"], "unchecked": true}});
    let files =
        json!([{"path": "a/b.yaml", "digest": digest, "size": 7}, {"path": "c", "blob": "9".repeat(40)}]);
    let extra = json!({"tags": ["One", "two"], "description": "Ça", "n": 1, "deep": {"x": [null, true]}, "a \"b\"\n": ""});
    component(
        &[
            release(
                "0.1.0-rc.1",
                &json!({"origin": {"repository": {"local": "/srv/é \"q\""}}, "files": files}),
            ),
            release("0.1.0", &json!({"unfetched": true, "manifest": digest, "kind": "component"})),
            release("1.0.0", &json!({"manifest": long, "verdict": refused, "summary": "with \"quotes\"\n"})),
            release("1.0.0+b", &json!({"manifest": digest, "yanked": true, "verdict": unpinned})),
            release(
                "2.0.0",
                &json!({
                    "origin": {"repository": {"https": "https://example.org/x.git"}, "commit": "1".repeat(40), "path": "p/q"},
                    "dependencies": ["lcod://a/c@^1", "lcod://a/d"], "implements": ["lcod://a/x@1", "lcod://a/y"], "summary": "ÉCOLE", "extra": extra,
                    "warnings": [{"reason": "input.odd", "text": "odd"}],
                }),
            ),
            release(
                "3.0.0",
                &json!({"origin": {"repository": {"ssh": "git@example.org:x/y.git"}}, "yanked": true}),
            ),
        ],
        &json!([{"catalogue": {"source": "other", "name": "x"}, "versions": ["9.0.0", "9.1.0"]}]),
    )
}

/// Packs and reads back, and compares everything that is read off the entries with what the releases say.
fn check(component: &Component) {
    let packed = Packed::of(component).expect("it can be packed");
    let block = Packed::read(packed.as_bytes()).expect("it can be read");
    assert_eq!(block, packed);
    assert_eq!(block.component().as_ref(), Ok(component));
    let head = block.head().expect("a head");
    assert_eq!(
        (&head.id, &head.owner, &head.shadowed),
        (&component.id, &component.owner, &component.shadowed)
    );
    assert_eq!(block.is_shadowing(), !component.shadowed.is_empty());
    let alone =
        Packed::of(&Component { shadowed: Vec::new(), ..component.clone() }).expect("it can be packed");
    assert_eq!(packed.with_shadows(&[]).as_ref(), Ok(&alone));
    assert_eq!(alone.with_shadows(&component.shadowed), Ok(packed));
    assert_eq!(alone.says(), block.says());
    assert_eq!(block.all().len(), component.releases.len());
    for (listed, release) in block.all().zip(&component.releases) {
        check_release(&listed, release, component);
    }
}

fn check_release(listed: &Listed<'_>, release: &Release, component: &Component) {
    let text = [b"{".as_slice(), &listed.answer().concat()].concat();
    assert_eq!(String::from_utf8(text).expect("a text"), told(component, release));
    assert_eq!(listed.version().as_ref(), Some(&release.version));
    assert_eq!(listed.kind().as_deref(), release.kind.as_deref());
    assert_eq!(listed.summary().as_deref(), release.summary.as_deref());
    let dependencies: Vec<Reference> = serde_json::from_str(listed.dependencies_text()).expect("references");
    assert!(release.dependencies.iter().eq(dependencies));
    assert_eq!(listed.extra().as_ref(), Ok(&release.extra));
    for field in ["tags", "description"] {
        assert!(release.extra.get(field).is_none() || listed.may_have_extra(field), "{field}");
    }
    assert!(!listed.may_have_extra("schemas"));
    assert_eq!(listed.content(), Ok(release.content()));
    assert_eq!(listed.manifest().as_ref(), Ok(&release.manifest));
    assert_eq!(
        (listed.is_yanked(), listed.is_refused(), listed.is_unfetched(), listed.has_warnings()),
        (
            release.yanked,
            release.verdict.refusal().is_some(),
            release.unfetched,
            !release.warnings.is_empty()
        )
    );
    assert_eq!(
        (listed.verdict_word(), listed.unchecked()),
        (release.verdict.word(), crate::row::unchecked(&release.verdict))
    );
    assert_eq!(listed.is_prerelease(), release.version.is_prerelease());
    let found = listed.packed.exact(&release.version).expect("it is listed");
    assert_eq!(found.at(), listed.at());
    assert!(found.is_same(listed));
}

#[test]
fn a_component_is_read_as_it_was_packed() {
    check(&full());
    check(&component(&[], &json!([])));
    check(&component(&[release("1.0.0", &json!({}))], &json!([])));
}

#[test]
fn what_releases_say_is_what_decides_answers() {
    let says = |component: &Component| Packed::of(component).expect("it can be packed").says();
    let same = |change: fn(&mut Component)| {
        let mut other = full();
        change(&mut other);
        says(&other) == says(&full())
    };
    let local = |path: &str| {
        let path = LocalPath::parse(path).expect("a path");
        Some(Repository::Local(path))
    };
    // What belongs to one machine.
    let mut moved = full();
    moved.releases[0].origin.repository = local("/elsewhere,\"repository\":");
    assert_eq!(says(&moved), says(&full()));
    assert!(same(|component| component.releases[4].warnings[0].text = "another".into()));
    assert!(same(|component| {
        let refused = Refusal::new("trust.digest_mismatch", "z.json", "w", "q");
        component.releases[2].verdict = Verdict::Refused(refused);
    }));
    assert!(same(|component| component.shadowed.clear()));
    assert!(same(|component| component.releases[1].basis = Some(Basis::from_bytes([7; 16]))));
    // Everything else.
    let changes = [
        (|component| component.releases[0].origin.repository = None) as fn(&mut Component),
        |component| component.releases[0].files[0].size = Some(8),
        |component| component.releases[1].unfetched = false,
        |component| {
            component.releases[2].verdict = Verdict::Refused(Refusal::new("other", "x.json", "", "y"))
        },
        |component| component.releases[3].yanked = false,
        |component| component.releases[3].verdict = component.releases[0].verdict.clone(),
        |component| component.releases[4].origin.path = None,
        |component| component.releases[4].dependencies = References::default(),
        |component| component.releases[4].warnings.clear(),
        |component| component.releases[4].warnings[0].reason = "other".into(),
        |component| component.releases[4].extra = Extra::default(),
        |component| component.releases[4].summary = None,
        |component| drop(component.releases.pop()),
        |component| component.owner.name = SourceId::parse("other").expect("an id"),
        |component| component.releases[0].files = Vec::new(),
        |component| component.releases[4].origin.commit = None,
        |component| component.releases[1].extra = component.releases[4].extra.clone(),
        |component| component.releases[1].summary = component.releases[4].summary.clone(),
        |component| component.releases[2].yanked = true,
        // What one says may be what the one before says: neither is lost for that.
        |component| component.releases[3].dependencies = component.releases[4].dependencies.clone(),
        |component| component.releases.iter_mut().for_each(|one| one.summary = Some("one for all".into())),
        |component| component.releases.iter_mut().for_each(|one| one.summary = None),
    ];
    for (at, change) in changes.into_iter().enumerate() {
        assert!(!same(change), "change {at}");
    }
    // A packer says nothing of a block that it could not end, or of the one before.
    let mut packer = Packer::default();
    let mut broken = full();
    broken.releases.swap(3, 4);
    for before in [&broken, &moved] {
        let _ = packer.pack(before);
        assert_eq!(packer.pack(&full()).map(|packed| packed.says()), Ok(says(&full())));
    }
}

#[test]
fn the_texts_for_a_search_are_those_of_the_release_that_is_shown() {
    let block = Packed::of(&full()).expect("it can be packed");
    let shown = block.shown().expect("a release");
    assert_eq!(shown.version_text(), "2.0.0");
    let texts = block.searchable();
    assert_eq!(texts.keywords().collect::<Vec<_>>(), ["one", "two"]);
    for (word, expected) in [("école", true), ("ÉCOLE", false), ("ça", true), ("one", false)] {
        assert_eq!(texts.describes(shown.summary().as_deref(), word), expected, "{word}");
    }
}

#[test]
fn a_version_that_is_not_listed_is_not_found() {
    let block = Packed::of(&full()).expect("it can be packed");
    for text in ["0.0.9", "0.1.0-rc.2", "1.0.0+a", "1.0.0+c", "2.0.0-a", "2.0.1", "4.0.0"] {
        assert!(block.exact(&Version::parse(text).expect("a version")).is_none(), "{text}");
    }
}

#[test]
fn what_is_no_merged_component_is_not_packed() {
    let mut other = release("1.0.0", &json!({}));
    other["id"] = "lcod://a/c".into();
    for releases in [
        vec![other],
        vec![release("2.0.0", &json!({})), release("1.0.0", &json!({}))],
        vec![release("1.0.0", &json!({})), release("1.0.0", &json!({}))],
    ] {
        let refused = Packed::of(&component(&releases, &json!([])));
        assert!(matches!(refused, Err(PackedError::Pack { .. })), "{refused:?}");
    }
}

/// Reads all there is to read; what is damaged may be noticed by any of it, and nothing panics.
fn read_all(block: &[u8]) -> Result<Component, PackedError> {
    let packed = Packed::read(block)?;
    let _ = (format!("{packed:?}"), packed.searchable().keywords().count(), packed.head());
    for listed in packed.all() {
        let _ = (format!("{listed:?}"), listed.answer(), listed.kind(), listed.summary(), listed.extra());
        let _ = (listed.content(), listed.manifest(), listed.dependencies_text(), listed.verdict_word());
        let _ = (listed.is_same(&listed), packed.exact(&Version::parse("1.0.0").expect("a version")));
    }
    packed.component()
}

#[test]
fn damage_is_an_error_or_another_component_and_never_a_panic() {
    let component = full();
    let block = Packed::of(&component).expect("it can be packed").as_bytes().to_vec();
    assert_eq!(read_all(&block).as_ref(), Ok(&component));
    for at in 0..block.len() {
        assert!(read_all(&block[..at]).is_err(), "cut at {at}");
        for bits in [1, 0x80, 0xff] {
            let mut bad = block.clone();
            bad[at] ^= bits;
            let _ = read_all(&bad);
        }
    }
    // The head and the places of the entries are told apart from others one by one; a digest is not: rows carry checksums.
    for at in (0..SAYS).chain((0..6).flat_map(|entry| HEAD + entry * ENTRY..HEAD + entry * ENTRY + MARKS)) {
        let mut bad = block.clone();
        bad[at] ^= 1;
        assert!(read_all(&bad).is_err(), "byte {at}");
    }
    assert!(read_all(&[block.as_slice(), b" "].concat()).is_err());
}

fn texts() -> impl Strategy<Value = String> {
    prop_oneof![".{0,12}", r#"[a-zA-Z"\\,\n \x00-\x1fÀ-ü]{0,16}"#]
}

prop_compose! {
    fn fields()(
        marks in any::<[bool; 8]>(),
        word in texts(),
        other in texts(),
        size in any::<Option<u64>>(),
        place in 0_usize..4,
        require in prop::collection::vec(0_usize..4, 0..4),
    ) -> Value {
        let digest = Digest::sha256(word.as_bytes()).to_string();
        let repository = [
            json!(null),
            json!({"https": "https://example.org/a%20b.git"}),
            json!({"ssh": "ssh://git@example.org:22/x"}),
            json!({"local": "/srv/x y"}),
        ];
        let references = ["lcod://a/c", "lcod://a/c@1", "estream:@p/n@>=1.0.0, <2.0.0", "flowctl:a/b@=1.2.3-a+b"];
        let files = json!([{"path": "a", "digest": if marks[0] { json!(digest) } else { json!(null) }, "size": size}]);
        let refused = json!({"refused": {"reason": word, "subject": other, "expected": word, "found": other}});
        let level = if marks[6] { "pinned" } else { "unpinned" };
        let trusted = json!({"trusted": {"level": level, "signers": [word], "rule": other, "unchecked": marks[7]}});
        json!({
            "origin": {"repository": repository[place], "commit": marks[1].then(|| "a".repeat(40))},
            "manifest": marks[2].then_some(&digest),
            "unfetched": marks[3],
            "files": if marks[4] { files } else { json!([]) },
            "kind": marks[4].then_some(&word),
            "summary": marks[5].then_some(&other),
            "dependencies": require.iter().map(|at| references[*at]).collect::<Vec<_>>(),
            "yanked": marks[5] && marks[1],
            "verdict": if marks[0] && marks[7] { refused } else { trusted },
            "warnings": if marks[1] { json!([{"reason": other, "text": word}]) } else { json!([]) },
            "extra": if marks[2] { json!({"tags": [word], "description": other, word: [size, null]}) } else { json!({}) },
        })
    }
}

proptest! {
    #[test]
    fn every_component_is_read_as_it_was_packed(
        releases in prop::collection::btree_map((0_u64..3, 0_u64..3, 0_usize..4), fields(), 0..5),
        shadows in prop::collection::vec(0_u8..9, 0..3),
    ) {
        let releases: Vec<Value> = releases.iter().map(|((major, minor, tail), fields)| {
            // In the order of versions: a prerelease stands before its version, build metadata behind it.
            release(&format!("{major}.{minor}.0{}", ["-a.1", "-b", "", "+b"][*tail]), fields)
        }).collect();
        let shadow = |name: &u8| json!({
            "catalogue": {"source": "s", "name": format!("c{name}")}, "versions": [format!("{name}.0.0")],
        });
        check(&component(&releases, &Value::Array(shadows.iter().map(shadow).collect())));
    }

    #[test]
    fn bytes_from_anywhere_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = read_all(&bytes);
        let _ = read_all(&[&[FORMAT], bytes.as_slice()].concat());
    }
}

/// What is packed and read over and over stays what it was: numbers of documents go through the block at every sync.
#[test]
fn numbers_stay_the_same_however_often_they_are_packed() {
    for text in ["5.4221962301258364e-21", "8.593879490669778e-35", "1.7976931348623157e308", "5e-324", "0.1"]
    {
        let written = format!(r#"{{"extra": {{"weight": {text}}}}}"#);
        let fields: Value = serde_json::from_str(&written).expect("JSON");
        let owner = json!({"source": "s", "name": "c"});
        let releases = [release("1.0.0", &fields)];
        let mut component = read(&json!({"id": "lcod://a/b", "owner": owner, "releases": releases}));
        let first = Packed::of(&component).expect("it can be packed");
        for _ in 0..4 {
            component =
                Packed::of(&component).expect("it can be packed").component().expect("it can be read");
        }
        assert_eq!(Packed::of(&component).expect("it can be packed"), first, "{text}");
    }
}
