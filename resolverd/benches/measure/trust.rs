//! What a policy costs: judging everything again, one decision, and a signed catalogue that is verified and read.

use std::borrow::Cow;
use std::hint::black_box;
use std::path::Path;
use std::time::Instant;

use catalogue_schema::dialect::{self, Errand, Received};
use catalogue_schema::digest::{Algorithm, Digest, Hashed};
use catalogue_schema::forge::Forges;
use catalogue_schema::id::{ComponentId, SourceId};
use catalogue_schema::model::Verdict;
use catalogue_schema::references::References;
use catalogue_schema::signature::Usage;
use catalogue_schema::sources;
use catalogue_schema::version::Version;
use resolverd::trust::evidence::Proofs;
use resolverd::trust::policy::decide::{CatalogueFacts, Facts, Signed};
use resolverd::trust::policy::{Policies, judge, load};
use resolverd::trust::verify::{self, Evidence};

use crate::Trouble;
use crate::data::{Federation, Signer, Spread};
use crate::load::framed_file;
use crate::machine::{cpu_s, thread_s};
use crate::merge::parse_typed;
use crate::requests::{Pairs, settle};
use crate::servers::{Place, Server};
use crate::table::{Goal, Row};

/// How many releases the signed catalogue lists.
const SIGNED: usize = 10_000;
/// How many decisions are timed.
const DECISIONS: usize = 1_000_000;
/// How often the signed catalogue is read.
const LOADS: usize = 5;

/// Edits the policy of a daemon, waits until everything is judged by it, and returns the processor time in seconds; `None` where
/// there is no policy.
pub(crate) fn reload(
    home: &Place,
    federation: &Federation,
    daemon: &mut Server,
) -> Result<Option<f64>, Trouble> {
    if federation.signer.is_none() {
        return Ok(None);
    }
    let before = cpu_s(daemon.pid())?;
    let judged_by = |daemon: &mut Server| -> Result<(String, bool), Trouble> {
        let policy = daemon.json("GET", "/v1/health", "")?["policy"].take();
        let digest = policy["digest"].as_str().unwrap_or_default().to_owned();
        Ok((digest, policy["judgedBy"] == policy["digest"]))
    };
    let (first, _) = judged_by(daemon)?;
    home.rule(federation, 2)?;
    daemon.wait_until("the policy is in force", |daemon| {
        let (digest, is_judged) = judged_by(daemon)?;
        Ok(digest != first && is_judged)
    })?;
    settle(daemon)?;
    Ok(Some(cpu_s(daemon.pid())? - before))
}

/// Measures the rows that need no daemon.
pub(crate) fn rows(place: &Path, federation: &Federation) -> Result<Vec<Row>, Trouble> {
    let Some(signer) = &federation.signer else { return Ok(Vec::new()) };
    let policies = policies(place, federation)?;
    let mut rows = vec![decision(&policies)?];
    let signed = Federation::synthetic(&place.join("signed"), SIGNED, Spread::Plain, Some(signer.clone()))?;
    rows.extend(signed_load(&signed, signer, &policies)?);
    Ok(rows)
}

fn policies(place: &Path, federation: &Federation) -> Result<Policies, Trouble> {
    let home = Place::new(place.join("decisions"))?;
    home.rule(federation, 1)?;
    let user = rustix::process::geteuid().as_raw();
    Ok(Policies::of(vec![load(&home.policy_file(), user)?]))
}

/// One decision about a release whose catalogue is signed, its signatures verified before.
fn decision(policies: &Policies) -> Result<Row, Trouble> {
    let ids: Result<Vec<ComponentId>, _> =
        (0..1000).map(|at| ComponentId::parse(&format!("lcod://bench/area/component-{at}"))).collect();
    let (ids, version) = (ids?, Version::parse("1.2.3")?);
    let (source, digest) = (SourceId::parse("source-0")?, [Digest::sha256(b"a manifest")]);
    let proofs: Vec<_> = policies
        .ring()
        .keys()
        .map(|key| (key.fingerprint(), resolverd::trust::signature::Proof::Holds))
        .collect();
    let signed = Signed { proofs: &proofs, ..Signed::default() };
    let facts = |id| Facts {
        id,
        version: &version,
        source: &source,
        missing: &[],
        pinned: true,
        catalogue: CatalogueFacts {
            name: &source,
            digest: &digest[0],
            signed,
            rollback: None,
            expires_s: None,
            checked_s: None,
            delegated: None,
        },
        digests: &digest,
        has_unknown_digests: false,
        content: digest.first(),
        first_seen: None,
        signed: Signed::default(),
        published_s: None,
        carried_by: &[],
        dependencies: References::NONE,
        is_unfetched: false,
    };
    let now_s = 1_800_000_000;
    let started = Instant::now();
    let mut allowed = 0_usize;
    for id in ids.iter().cycle().take(DECISIONS) {
        allowed += usize::from(black_box(judge(policies.all(), &facts(id), now_s)).is_allowed());
    }
    let micros = started.elapsed().as_secs_f64() * 1e6 / DECISIONS as f64;
    match allowed {
        DECISIONS => {
            Ok(alone("one decision, signatures verified before", micros, "us", Goal::AtMost(2.0, 1.0)))
        }
        _ => Err(Trouble::say(format!("{allowed} of {DECISIONS} were allowed"))),
    }
}

/// Verifies and reads a signed catalogue, as the reader of a source does it, against one typed parse of the same bytes.
///
/// Both digests of the document are told apart: the SHA-256 that pins it, and the SHA-512 that an Ed25519 signature is over, which is
/// timed on its own. Time is that of the processor for all of them, as for the parse.
fn signed_load(federation: &Federation, signer: &Signer, policies: &Policies) -> Result<[Row; 3], Trouble> {
    let raw = std::fs::read(&federation.raw)?;
    let forges = Forges::default();
    let text = federation.sources_file(0).to_string();
    let source = sources::read(text.as_bytes(), Path::new("/"), &forges)?.into_iter().next();
    let source = source.ok_or_else(|| Trouble::say("a federation without a source"))?;
    let entry = dialect::start(&source, &forges);
    let missing = || Trouble::say("a federation without a list or catalogue");
    let document =
        |schema: &[u8]| framed_file(&raw).find(|bytes| contains(bytes, schema)).ok_or_else(missing);
    let list = document(b"lcod-registry/catalogues@1")?;
    let catalogue = document(b"lcod-registry/catalogue@1")?;
    let signature = signer.sign(catalogue)?;
    let (content, leave) = received(&entry, Hashed::of(list.to_vec()))?;
    let list = dialect::read(&entry, content.bytes(), &leave, &forges)?;
    let errand = list.errands.first().ok_or_else(missing)?;
    let (mut loads, mut pins, mut signed) = (Pairs::default(), Pairs::default(), Pairs::default());
    for _ in 0..LOADS {
        let (parse, _) = parse_typed(&[catalogue])?;
        let started = thread_s();
        let content = Hashed::of(catalogue.to_vec());
        let pin = thread_s() - started;
        let (content, received) = received(errand, content)?;
        let bytes = || Some(Cow::Borrowed(content.bytes()));
        // What was found before is forgotten with these proofs.
        let looked = Proofs::default().look(
            (policies, &source.id),
            Usage::Catalogue,
            (content.digest(), &bytes),
            &signature,
        );
        let found = dialect::read(errand, content.bytes(), &received, &forges)?;
        let took = thread_s() - started;
        if !looked.has_one_that_holds() || found.errands.len() < SIGNED {
            return Err(Trouble::say("the signed catalogue was not read whole"));
        }
        let started = thread_s();
        black_box(Digest::of(Algorithm::Sha512, content.bytes()));
        let sha512 = thread_s() - started;
        loads.push((took - pin - sha512) * 1e3, parse * 1e3);
        pins.push(pin * 1e3, parse * 1e3);
        signed.push(sha512 * 1e3, parse * 1e3);
    }
    Ok([
        loads.row(
            "signed catalogue of 10,000 releases: verify, parse; digesting left out",
            "ms",
            Goal::AtMost(2.0, 1.0),
        ),
        pins.row("the same: digesting, SHA-256 for its pin", "ms", Goal::None),
        signed.row("the same: digesting, SHA-512 for its Ed25519 signature", "ms", Goal::None),
    ])
}

/// Returns the leave to read a document, as a sync gets it.
fn received(errand: &Errand, content: Hashed) -> Result<(Hashed, Received), Trouble> {
    let evidence = Evidence {
        subject: &"a document of the bench",
        digests: &errand.digests,
        size: errand.size,
        commit_pinned: true,
        signature: None,
        named_by: None,
    };
    let Verdict::Trusted(trust) = verify::judge(&evidence, &content) else {
        return Err(Trouble::say("a document of the bench is refused"));
    };
    let (digest, size) = (content.digest().clone(), content.bytes().len() as u64);
    Ok((content, Received { trust, digest, size, commit: None, blob: None }))
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

fn alone(name: &str, value: f64, unit: &'static str, goal: Goal) -> Row {
    Row { name: name.to_owned(), values: vec![value], baselines: Vec::new(), unit, goal }
}
