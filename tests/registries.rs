//! Several registries of eStream: those that its own configuration names, whose names are whose, and how large their files become.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use catalogue_schema::digest::Digest;
use resolverd::config::{Overrides, Settings};
use serde_json::{Value, json};

use crate::harness::daemon::{Daemon, Sandbox};
use crate::harness::estream::{Part, Registry, sample};
use crate::harness::poll;
use crate::harness::repository::Repository;

const TRADING: &str = "estream:esf-trading";

/// Writes eStream's own configuration below the sandbox's home.
fn configure(sandbox: &Sandbox, name: &str, text: &str) -> PathBuf {
    let place = sandbox.path("home").join(name);
    std::fs::create_dir_all(place.parent().unwrap()).unwrap();
    let fresh = place.with_extension("new");
    std::fs::write(&fresh, text).unwrap();
    std::fs::rename(fresh, &place).unwrap();
    place
}

fn repository(sandbox: &Sandbox, name: &str, registry: &Registry) -> Repository {
    let repository = Repository::create(&sandbox.path(name));
    repository.commit(&registry.files);
    repository
}

/// A registry of another company, which knows some of the same names.
fn enterprise() -> Registry {
    let mut registry = Registry::new();
    for name in ["acme", "inner"] {
        registry.publisher(name);
    }
    let part =
        |name, publisher, version| Part { category: "integration", name, publisher, version, more: "" };
    registry.publish(&part("@inner/ledger", "inner", "1.0.0"));
    registry.publish(&part("@acme/impact-counter", "acme", "9.0.0"));
    registry.publish(&part("@acme/backdoor", "acme", "1.0.0"));
    registry
}

fn ids(daemon: &Daemon) -> Vec<String> {
    let answer = daemon.get("/v1/sources").ok();
    answer["items"].as_array().unwrap().iter().map(|one| one["id"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn registries_of_estream_s_own_configuration_stand_behind_the_sources_file() {
    let sandbox = Sandbox::with_sources(&json!({"sources": []}));
    let (parts, inner) =
        (repository(&sandbox, "parts", &sample()), repository(&sandbox, "inner", &enterprise()));
    let text = format!(
        "[registry]\ndefault = \"{}\"\n\n[[registry.sources]]\nname = \"enterprise\"\nurl = \"{}\"\n\n[cache]\nttl_hours = 12\n\n[later]\nx = 1\n",
        parts.url(),
        inner.url()
    );
    configure(&sandbox, ".estream/config.toml", &text);
    let daemon = sandbox.start_synced();
    assert_eq!(ids(&daemon), ["estream", "enterprise"]);
    let sources = daemon.get("/v1/sources").ok();
    assert_eq!(sources["items"][0]["declaredIn"], "~/.estream/config.toml");
    let answer = daemon.resolve(&["estream-wire-fix", "@inner/ledger"]).ok();
    let of = |id: &str| {
        let all = answer["components"].as_array().unwrap().clone();
        let found = all.into_iter().find(|one| one["id"] == id);
        found.map(|one| one["source"]["id"].clone()).unwrap_or_default()
    };
    assert_eq!((of(TRADING), of("estream:@inner/ledger")), (json!("estream"), json!("enterprise")));
    let status = sandbox.run(&["status"]).stdout;
    assert!(status.contains("~/.estream/config.toml; registries: estream, enterprise"), "{status}");
    let doctor = sandbox.run(&["doctor"]).stdout;
    assert!(doctor.contains("~/.estream/config.toml"), "{doctor}");

    // The sources file counts first: by its id and by its place a registry stands once.
    let own = json!({"id": "own", "dialect": "estream", "url": inner.url()});
    sandbox.write_sources(&json!({"sources": [own]}));
    poll::until("the sources file is read", || (ids(&daemon) == ["own", "estream"]).then_some(()));

    // An edit is in force without a restart; what is wrong keeps what is in force, and is named with its line.
    let wrong = configure(&sandbox, ".estream/config.toml", "[registry]\n\ndefault = 7\n");
    poll::until("the fault is told", || {
        let health = daemon.get("/v1/health").ok();
        let found = health["configuration"]["found"].as_str().unwrap_or_default().to_owned();
        (found.contains(wrong.to_str().unwrap()) && found.contains("line 3")).then_some(())
    });
    assert_eq!(ids(&daemon), ["own", "estream"]);
    configure(&sandbox, ".estream/config.toml", "[cache]\nttl_hours = 1\n");
    poll::until("the registry is gone", || (ids(&daemon) == ["own"]).then_some(()));
    drop(daemon);
    configure(&sandbox, ".estream/config.toml", "[registry]\n\ndefault = 7\n");
    let said = sandbox.run(&["sources"]);
    assert_eq!(said.status, 2, "{said:?}");
    assert!(said.stderr.contains("R008") && said.stderr.contains(".estream/config.toml"), "{said:?}");
    assert!(said.stderr.contains("line 3"), "{said:?}");
    let off = sandbox.path("off.toml");
    std::fs::write(&off, "[estream]\nhome_config = false\n").unwrap();
    let said = sandbox.run(&["sources", "--config", off.to_str().unwrap()]);
    assert_eq!(said.status, 0, "{said:?}");
}

#[test]
fn what_the_configuration_of_estream_says_becomes_settings() {
    let sandbox = Sandbox::new();
    let home = sandbox.path("home");
    let load = |overrides: Overrides| {
        let env = |name: &str| (name == "HOME").then(|| home.to_str().unwrap().to_owned());
        Settings::load(&overrides, &env)
    };
    let settings = load(Overrides::default()).unwrap();
    assert!(settings.home.is_none() && settings.limits.files_bytes == 0);

    configure(&sandbox, ".estream/cache/config.toml", "[cache]\nttl_hours = 2\nmax_size_mb = 7\n");
    let settings = load(Overrides::default()).unwrap();
    assert_eq!(settings.limits.files_bytes, 7_000_000, "the file in the cache speaks where it is alone");
    let text = "[registry]\ndefault = \"estream-io/registry\"\n[[registry.sources]]\nname = \"enterprise\"\nurl = \"my-org/internal\"\ntoken_env = \"T\"\n[cache]\ndir = \"c\"\n[signing]\ndefault_key = \"keys/k.pem\"\n";
    configure(&sandbox, ".estream/config.toml", text);
    let settings = load(Overrides::default()).unwrap();
    let home_of = |name: &str| home.join(".estream").join(name);
    assert_eq!(settings.network.cache_dir, Some(home_of("c")));
    assert_eq!(settings.default_key, Some(home_of("keys/k.pem")));
    assert_eq!(settings.limits.files_bytes, 7_000_000, "what one does not say the other does");
    let sources = settings.sources().unwrap();
    let told: Vec<(String, String, Option<u64>)> =
        sources.iter().map(|one| (one.id.to_string(), one.entry.to_string(), one.refresh_s)).collect();
    assert_eq!(told.len(), 2);
    assert_eq!((&*told[0].0, &*told[1].0, told[0].2), ("estream", "enterprise", Some(7_200)));
    assert!(told[0].1.contains("https://github.com/estream-io/registry"), "{told:?}");
    let tokens = &settings.network.https.tokens;
    assert_eq!(tokens.len(), 1);
    assert_eq!(
        (&*tokens[0].url, tokens[0].env.as_deref()),
        ("https://github.com/my-org/internal", Some("T"))
    );
    std::fs::remove_file(home_of("cache/config.toml")).unwrap();
    let settings = load(Overrides::default()).unwrap();
    assert_eq!(settings.limits.files_bytes, 500_000_000, "the built-in size of a cache that is configured");
    assert_eq!(settings.sources().unwrap()[0].refresh_s, Some(86_400));

    // The operator's own configuration counts first, and the system's daemon has no home.
    let own = sandbox.path("own.toml");
    let text = "[estream]\ndefault_key = \"own.pem\"\n[limits]\nfiles_bytes = 5\n";
    std::fs::write(&own, text).unwrap();
    let settings = load(Overrides { config: Some(own), ..Overrides::default() }).unwrap();
    assert_eq!(settings.default_key, Some(sandbox.path("own.pem")));
    assert_eq!(settings.limits.files_bytes, 5);
    assert!(load(Overrides { system: true, ..Overrides::default() }).unwrap().home.is_none());

    let refused = |text: &str, said: &str| {
        configure(&sandbox, ".estream/config.toml", text);
        let error = load(Overrides::default()).unwrap_err().to_string();
        assert!(error.contains(".estream/config.toml") && error.contains(said), "{error}");
    };
    refused("[registry]\ndefault = \"no scheme: x\"\n", "line 2");
    refused("[[registry.sources]]\nname = \"a\"\nurl = \"file:///r\"\ntoken_env = \"T\"\n", "line 3");
    refused("[cache]\nmax_size_mb = \"big\"\n", "line 2");
}

/// Two registries, and a daemon that reads both.
struct Two {
    sandbox: Sandbox,
    parts: Repository,
    inner: Repository,
}

impl Two {
    fn new(parts: &Registry, inner: &Registry) -> Two {
        let sandbox = Sandbox::new();
        let (parts, inner) = (repository(&sandbox, "parts", parts), repository(&sandbox, "inner", inner));
        let two = Two { sandbox, parts, inner };
        two.reads(json!({"priority": 10}), json!({"priority": 20}));
        two
    }

    /// Writes the sources file, each with more fields.
    fn reads(&self, parts: Value, inner: Value) {
        let source = |id: &str, repository: &Repository, more: Value| {
            let mut source = json!({"id": id, "dialect": "estream", "url": repository.url()});
            source.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            source
        };
        let sources = [source("parts", &self.parts, parts), source("inner", &self.inner, inner)];
        self.sandbox.write_sources(&json!({ "sources": sources }));
    }

    fn reload(&self, parts: Value, inner: Value) {
        self.reads(parts, inner);
        let said = self.sandbox.run(&["reload"]);
        assert_eq!(said.status, 0, "{said:?}");
    }
}

/// Returns the version and source of what is chosen, or the reason of the refusal.
fn answered(daemon: &Daemon, reference: &str) -> String {
    let answer = daemon.resolve(&[reference]).json();
    let found = &answer["components"][0];
    match answer["reason"].as_str() {
        Some(reason) => format!("{} {reason}", answer["code"].as_str().unwrap()),
        None => {
            format!("{} of {}", found["version"].as_str().unwrap(), found["source"]["id"].as_str().unwrap())
        }
    }
}

const OWNED: &str = "E015 estream.scope_owned";

#[test]
fn a_scoped_name_is_answered_by_the_first_registry_that_registers_its_publisher() {
    let two = Two::new(&sample(), &enterprise());
    let daemon = two.sandbox.start_synced();
    assert_eq!(answered(&daemon, "@acme/impact-counter"), "0.3.0 of parts");
    assert_eq!(answered(&daemon, "@inner/ledger"), "1.0.0 of inner");
    let refused = daemon.resolve(&["@acme/backdoor"]).json();
    assert_eq!(refused["reason"], "estream.scope_owned", "{refused}");
    assert_eq!((&refused["code"], &refused["status"]), (&json!("E015"), &json!(403)), "{refused}");
    assert!(refused["detail"].as_str().unwrap().contains("out of parts, which registers them"), "{refused}");
    let hint = refused["hint"].as_str().unwrap();
    assert!(["parts", "inner", "own"].iter().all(|word| hint.contains(word)), "{refused}");
    let explained = daemon.post("/v1/explain", &json!({"id": "estream:@acme/backdoor@1.0.0"})).ok();
    assert!(explained.to_string().contains("out of parts, which registers them"), "{explained:#}");
    // Turned round, the other one counts first.
    two.reload(json!({"priority": 30}), json!({"priority": 20}));
    assert_eq!(answered(&daemon, "@acme/backdoor"), "1.0.0 of inner");
    assert_eq!(answered(&daemon, "@acme/impact-counter"), "9.0.0 of inner");
    // Without a record it has no name of the publisher, whatever it lists and however well it is placed.
    let mut registry = enterprise();
    registry.files.remove("publishers/acme.json");
    two.inner.commit(&registry.files);
    daemon.sync();
    assert_eq!(answered(&daemon, "@acme/impact-counter"), "0.3.0 of parts");
    assert_eq!(answered(&daemon, "@acme/backdoor"), OWNED);
    let told = || {
        let found = daemon.post("/v1/explain", &json!({"id": "estream:@acme/impact-counter"})).ok();
        [&found["whySource"], &found["shadowed"][0]["why"]].map(|why| why.as_str().unwrap().to_owned())
    };
    let whose = "estream:@acme/** is registered in parts";
    assert_eq!(told(), [whose.to_owned(), format!("{whose}; inner does not register it")]);
    let refused = daemon.post("/v1/explain", &json!({"id": "estream:@acme/backdoor"})).ok();
    let why = format!("{whose}, which does not list it; only inner/inner lists it");
    assert_eq!(refused["whySource"], json!(why), "{refused:#}");
    // The operator's word stands above both.
    two.inner.commit(&enterprise().files);
    two.reload(json!({"priority": 30, "owns": ["@acme"]}), json!({"priority": 20}));
    daemon.sync();
    assert_eq!(answered(&daemon, "@acme/impact-counter"), "0.3.0 of parts");
    assert_eq!(answered(&daemon, "@acme/backdoor"), OWNED);
    let whose = "parts owns estream:@acme/**".to_owned();
    assert_eq!(told(), [whose.clone(), whose]);
    // Also where another one registers it first.
    two.reload(json!({"priority": 10}), json!({"priority": 20, "owns": ["@acme"]}));
    let unlisted = daemon.resolve(&["@acme/nothing"]).json();
    let hint = unlisted["hint"].as_str().unwrap();
    assert!(hint.starts_with("inner owns estream:@acme/**, and does not list it"), "{unlisted}");
    assert_eq!(unlisted["registeredBy"], "inner");
}

#[test]
fn a_publisher_who_publishes_nothing_keeps_the_names_and_frees_them_when_unregistered() {
    let mut registering = sample();
    registering.publisher("inner");
    let two = Two::new(&registering, &enterprise());
    let daemon = two.sandbox.start_synced();
    assert_eq!(answered(&daemon, "@inner/ledger"), OWNED, "registered without components");
    let unlisted = daemon.resolve(&["@inner/nothing"]).json();
    assert_eq!(
        (&unlisted["code"], &unlisted["registeredBy"]),
        (&json!("E001"), &json!("parts")),
        "{unlisted}"
    );
    // A record that says nothing that can be read is there all the same.
    registering.put("publishers/inner.json", "{");
    two.parts.commit(&registering.files);
    daemon.sync();
    assert_eq!(answered(&daemon, "@inner/ledger"), OWNED, "malformed");

    // A source that cannot be had keeps what is registered there: while it runs, from the shelf, and without network.
    let gone = two.sandbox.path("gone");
    std::fs::rename(&two.parts.path, &gone).unwrap();
    let report = daemon.sync();
    assert_eq!(answered(&daemon, "@inner/ledger"), OWNED, "stale: {report:#}");
    assert_eq!(daemon.get("/v1/sources").ok()["items"][0]["state"], "stale");
    let idle = daemon.sync();
    assert_eq!(idle["changed"], false, "{idle:#}");
    drop(daemon);
    let said = two.sandbox.run(&["--offline", "resolve", "@inner/ledger"]);
    assert!(said.status == 6 && said.stderr.contains("scope_owned"), "{said:?}");
    // Also where the shelf has lost the listing, and only the last generation knows it.
    let shelf = two.sandbox.state().join("shelf");
    std::fs::rename(&shelf, two.sandbox.path("lost")).unwrap();
    let daemon = two.sandbox.start();
    daemon.sync();
    assert_eq!(answered(&daemon, "@inner/ledger"), OWNED, "salvaged");
    // And a held one, while another is read.
    std::fs::rename(&gone, &two.parts.path).unwrap();
    daemon.post("/v1/sync", &json!({"sources": ["inner"]})).ok();
    assert_eq!(answered(&daemon, "@inner/ledger"), OWNED, "held");
    daemon.sync();
    assert_eq!(answered(&daemon, "@inner/ledger"), OWNED, "read again");

    registering.files.remove("publishers/inner.json");
    two.parts.commit(&registering.files);
    let before = daemon.sync()["generation"].as_u64();
    assert_eq!(answered(&daemon, "@inner/ledger"), "1.0.0 of inner", "unregistered");
    registering.publisher("inner");
    two.parts.commit(&registering.files);
    let again = daemon.sync();
    // The daemon may have seen it by itself before it was told to look.
    let after = again["generation"].as_u64();
    assert!(after > before, "who registers what is a change of its own: {again:#}");
    assert_eq!(answered(&daemon, "@inner/ledger"), OWNED);
}

#[test]
fn a_registry_whose_publishers_cannot_be_listed_stays_as_it_was() {
    let two = Two::new(&sample(), &enterprise());
    let daemon = two.sandbox.start_synced();
    let mut broken = sample();
    broken.files.retain(|path, _| !path.starts_with("publishers/"));
    broken.put("publishers", "no directory");
    two.parts.commit(&broken.files);
    daemon.sync();
    let source = daemon.get("/v1/sources").ok()["items"][0].clone();
    assert_eq!((&source["state"], &source["error"]["reason"]), (&json!("stale"), &json!("git.not_a_tree")));
    assert_eq!(answered(&daemon, "@acme/backdoor"), OWNED);
    assert_eq!(answered(&daemon, "@acme/impact-counter"), "0.3.0 of parts");
    // A directory that is not there is no fault: nobody is registered.
    broken.files.remove("publishers");
    two.parts.commit(&broken.files);
    daemon.sync();
    assert_eq!(daemon.get("/v1/sources").ok()["items"][0]["state"], "fresh");
    assert_eq!(answered(&daemon, "@acme/backdoor"), "1.0.0 of inner");
}

/// Takes out of the generation in force what a program of before did not write: who is registered where.
fn as_written_before(sandbox: &Sandbox) {
    let pointer = sandbox.state().join("current");
    let mut current: Value = serde_json::from_slice(&std::fs::read(&pointer).unwrap()).unwrap();
    let file = sandbox.state().join(format!("generations/{}.json", current["number"]));
    let mut generation: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    let mut taken = 0;
    for catalogue in generation["catalogues"].as_array_mut().unwrap() {
        let fields = catalogue.as_object_mut().unwrap();
        taken += ["registers", "scopes"].into_iter().filter_map(|field| fields.remove(field)).count();
    }
    assert!(taken > 0, "{generation:#}");
    let bytes = serde_json::to_vec(&generation).unwrap();
    current["digest"] = json!(Digest::sha256(&bytes));
    std::fs::write(&file, bytes).unwrap();
    std::fs::write(&pointer, current.to_string()).unwrap();
}

#[test]
fn names_stay_with_a_source_that_an_older_program_read_last() {
    let two = Two::new(&sample(), &enterprise());
    drop(two.sandbox.start_synced());
    as_written_before(&two.sandbox);
    let gone = two.sandbox.path("gone");
    std::fs::rename(&two.parts.path, &gone).unwrap();
    let kept = |daemon: &Daemon, how: &str| {
        assert_eq!(answered(daemon, "@acme/impact-counter"), "0.3.0 of parts", "{how}");
        assert_eq!(answered(daemon, "@acme/backdoor"), OWNED, "{how}");
        let unlisted = daemon.resolve(&["@acme/nothing"]).json();
        assert_eq!(unlisted["registeredBy"], "parts", "{how}: {unlisted}");
    };
    let daemon = two.sandbox.start();
    daemon.sync();
    kept(&daemon, "unreachable, read again from the shelf");
    let idle = daemon.sync();
    assert_eq!(idle["changed"], false, "{idle:#}");
    drop(daemon);
    // Where the shelf cannot be read as it is today, the last snapshot says what was listed.
    as_written_before(&two.sandbox);
    std::fs::rename(two.sandbox.state().join("shelf"), two.sandbox.path("lost")).unwrap();
    let daemon = two.sandbox.start();
    daemon.post("/v1/sync", &json!({"sources": ["inner"]})).ok();
    kept(&daemon, "held, out of the snapshot");
    daemon.sync();
    kept(&daemon, "unreachable, out of the snapshot");
    two.reload(json!({"priority": 10, "offline": true}), json!({"priority": 20}));
    daemon.sync();
    kept(&daemon, "offline");

    std::fs::rename(&gone, &two.parts.path).unwrap();
    two.reload(json!({"priority": 10}), json!({"priority": 20}));
    daemon.sync();
    kept(&daemon, "read again");
    // Who is not registered holds nothing, whatever is listed of them.
    let mut registry = sample();
    registry.files.remove("publishers/acme.json");
    two.parts.commit(&registry.files);
    daemon.sync();
    assert_eq!(answered(&daemon, "@acme/backdoor"), "1.0.0 of inner");
    drop(daemon);
    as_written_before(&two.sandbox);
    std::fs::rename(&two.parts.path, &gone).unwrap();
    let daemon = two.sandbox.start();
    daemon.sync();
    assert_eq!(answered(&daemon, "@acme/backdoor"), "1.0.0 of inner");
}

#[test]
fn a_registry_first_read_without_its_list_of_publishers_keeps_what_it_lists() {
    let mut registry = sample();
    for number in 0..600 {
        registry.put(&format!("publishers/somebody-whose-name-is-long-{number}.json"), "{}");
    }
    let two = Two::new(&registry, &enterprise());
    let config = two.sandbox.path("own.toml");
    std::fs::write(&config, "[limits]\ncatalogue_bytes = 20000\n").unwrap();
    let mut daemon = two.sandbox.spawn_with(&["--config", config.to_str().unwrap()]);
    daemon.wait_for("/readyz");
    // The first time nothing else is known, and later what was read then.
    for time in ["first", "second"] {
        daemon.sync();
        let source = daemon.get("/v1/sources").ok()["items"][0].clone();
        assert_eq!(source["state"], "stale", "{source}");
        assert_eq!(answered(&daemon, "@acme/impact-counter"), "0.3.0 of parts", "{time}");
        assert_eq!(answered(&daemon, "@acme/backdoor"), OWNED, "{time}");
    }
    // What the operator says counts all the same.
    two.reload(json!({"priority": 10}), json!({"priority": 20, "owns": ["@acme"]}));
    daemon.sync();
    assert_eq!(answered(&daemon, "@acme/backdoor"), "1.0.0 of inner");
}

#[test]
fn a_pipe_in_the_place_of_the_home_configuration_is_refused_and_keeps_nobody_waiting() {
    let sandbox = Sandbox::new();
    let place = sandbox.path("home/.estream/config.toml");
    std::fs::create_dir_all(place.parent().unwrap()).unwrap();
    assert!(std::process::Command::new("mkfifo").arg(&place).status().unwrap().success());
    let said = sandbox.run(&["status"]);
    assert_eq!(said.status, 2, "{said:?}");
    assert!(said.stderr.contains("R008") && said.stderr.contains("no regular file"), "{said:?}");
}

/// Lets a release look as if nobody had asked for it for days.
fn backdate(cache: &Path, days: u64) {
    for entry in std::fs::read_dir(cache.join("files/about")).unwrap() {
        let file = std::fs::File::options().append(true).open(entry.unwrap().path()).unwrap();
        let then = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000 - days * 86_400);
        file.set_modified(then).unwrap();
    }
}

#[test]
fn the_cache_keeps_what_was_asked_for_last_and_what_somebody_holds() {
    let sandbox = Sandbox::new();
    let parts = repository(&sandbox, "parts", &sample());
    sandbox.write_sources(&json!({"sources": [{"id": "parts", "dialect": "estream", "url": parts.url()}]}));
    let cache = sandbox.path("cache/resolverd");
    let here = |daemon: &Daemon| -> Vec<String> {
        let answer = daemon.post("/v1/files/verify", &json!({})).ok();
        let rows = answer["items"].as_array().unwrap().iter();
        rows.map(|row| row["release"].as_str().unwrap().rsplit_once(':').unwrap().1.to_owned()).collect()
    };
    let config = sandbox.path("own.toml");
    // Less than one archive: of what nobody has asked for within the hour nothing may stay.
    std::fs::write(&config, "[limits]\nfiles_bytes = 1000\n").unwrap();
    let mut daemon = sandbox.spawn_with(&["--config", config.to_str().unwrap()]);
    daemon.wait_for("/readyz");
    daemon.sync();
    let put = |release: &str, hold: Option<&str>| {
        daemon.post("/v1/materialize", &json!({"releases": [release], "hold": hold})).ok();
    };
    put("esf-trading@1.1.0", Some("a lock"));
    put("esf-trading@1.2.0", None);
    assert_eq!(here(&daemon), ["esf-trading@1.1.0", "esf-trading@1.2.0"], "both were asked for just now");
    backdate(&cache, 9);
    put("estream-wire-fix@1.0.0", None);
    assert_eq!(here(&daemon), ["esf-trading@1.1.0", "estream-wire-fix@1.0.0"]);
    assert!(daemon.log().contains("released files were removed"), "{}", daemon.log());

    // By hand only as much goes as has to, the oldest first.
    std::fs::write(&config, "").unwrap();
    daemon.post("/v1/reload", &json!({})).ok();
    backdate(&cache, 5);
    put("esf-trading@1.2.0", None);
    put("@acme/impact-counter@0.3.0", None);
    let gc = |size: &str| sandbox.run(&["gc", "--unused", "0", "--max-size", size]);
    assert_eq!(gc("1").status, 0);
    assert_eq!(here(&daemon).len(), 4, "there is less than that");
    let answer = daemon.post("/v1/files/gc", &json!({"unusedS": 0, "maxBytes": 11_000, "dryRun": true})).ok();
    assert_eq!(answer["removed"], json!(["estream:estream-wire-fix@1.0.0"]), "{answer}");
    assert_eq!(gc("0").status, 0);
    assert_eq!(here(&daemon), ["esf-trading@1.1.0"], "what is held stays, whatever its size");
}
