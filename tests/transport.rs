//! Transport, row by row of the list of threats, as far as the policy and the API are concerned: a real daemon, a real TLS server
//! on loopback. What one document came to is read from the daemon's answers. Rows that a fetch alone shows are in `https.rs`.

use std::fs;
use std::net::{IpAddr, UdpSocket};
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use catalogue_schema::digest::Digest;
use serde_json::{Value, json};

use crate::harness::daemon::{Daemon, Sandbox};
use crate::harness::lcod::{Component, catalogues};
use crate::harness::tls::{Certificate, GitMount, Route, TlsServer};
use crate::harness::{place, poll};

/// A commit of other people's repositories, which manifests name and nobody fetches.
const ELSEWHERE: (&str, &str) = ("https://example.org/elsewhere", "4a569e82930c784d2b4f2a40a39e85daea774a80");

/// A sandbox whose one source is a list on a server.
struct World {
    sandbox: Sandbox,
    server: TlsServer,
}

impl World {
    fn new() -> World {
        World::with(TlsServer::start(), "")
    }

    fn with(server: TlsServer, more: &str) -> World {
        let sandbox = Sandbox::new();
        let home = sandbox.path("config/resolverd");
        fs::create_dir_all(&home).unwrap();
        let config = format!("[https]\nca_file = {:?}\n{more}", server.ca_file().display().to_string());
        fs::write(home.join("config.toml"), config).unwrap();
        let url = server.url("/list.json");
        sandbox.write_sources(&json!({ "sources": [{ "id": "acme", "url": url, "maxStale": 1_000 }] }));
        World { sandbox, server }
    }

    /// Publishes a list of pointers.
    fn publish(&self, pointers: &[Value]) {
        self.server.put("/list.json", &catalogues(pointers));
    }

    /// Publishes a catalogue of one component at a path of a server.
    fn catalogue(&self, server: &TlsServer, path: &str, id: &str) -> Digest {
        let one = Component::new(id, "1.0.0", &[]);
        let (at, manifest) = (one.file("manifest.json"), one.manifest(ELSEWHERE.0, ELSEWHERE.1));
        let directory = path.rsplit_once('/').unwrap().0;
        server.put(&format!("{directory}/{at}"), &manifest);
        let version = json!({ "version": "1.0.0", "manifest": at, "sha256": Digest::sha256(&manifest) });
        let document = json!({ "schema": "lcod-registry/catalogue@1", "id": "all",
            "components": [{ "id": id, "versions": [version] }] });
        let bytes = serde_json::to_vec(&document).unwrap();
        server.put(path, &bytes);
        Digest::sha256(&bytes)
    }
}

fn https(id: &str, url: &str) -> Value {
    json!({ "id": id, "kind": "https", "url": url })
}

/// Why a catalogue of the list is not read; `fresh` where it is.
fn reason(daemon: &Daemon, name: &str) -> String {
    let row = daemon.catalogue(name);
    row["error"]["reason"].as_str().unwrap_or(row["state"].as_str().unwrap_or_default()).to_owned()
}

/// Why entries of the list were skipped, by what they are called.
fn skipped(daemon: &Daemon, name: &str) -> Vec<(String, String)> {
    let row = daemon.catalogue(name);
    let told = row["skippedEntries"].as_array().cloned().unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let one = |skipped: &Value| (text(&skipped["entry"]), text(&skipped["error"]["reason"]));
    told.iter().map(one).collect()
}

#[test]
fn e2_what_came_over_the_network_names_no_machine_behind_the_operator_s_back() {
    let (world, inside) = (World::new(), TlsServer::start());
    let port = world.server.origin().rsplit(':').next().unwrap().to_owned();
    world.catalogue(&world.server, "/own/all.json", "lcod://acme/own");
    let names = [
        ("own", world.server.url("/own/all.json"), "fresh"),
        // Another server of this machine, and the same one by another name.
        ("inside", inside.url("/secret.json"), "net.address_denied"),
        ("loopback", format!("https://127.0.0.1:{port}/own/all.json"), "net.address_denied"),
        ("six", format!("https://[::1]:{port}/own/all.json"), "net.address_denied"),
        ("mapped", format!("https://[::ffff:7f00:1]:{port}/own/all.json"), "net.address_denied"),
        ("clouds", "https://169.254.169.254/latest/meta-data".to_owned(), "net.address_denied"),
        ("clouds-six", "https://[fd00:ec2::254]/latest/meta-data".to_owned(), "net.address_denied"),
        ("private", "https://10.0.0.1/a.json".to_owned(), "net.address_denied"),
        ("anything", "https://0.0.0.0/a.json".to_owned(), "net.address_denied"),
    ];
    let pointers: Vec<Value> = names.iter().map(|(id, url, _)| https(id, url)).collect();
    world.publish(&pointers);
    let daemon = world.sandbox.start_synced();
    for (id, url, expected) in &names {
        assert_eq!(reason(&daemon, id), *expected, "{url}: {:#}", daemon.catalogue(id));
    }
    assert_eq!(inside.connections(), 0, "nobody knocked there");
    let denied = daemon.catalogue("inside")["error"].clone();
    assert!(denied["found"].as_str().unwrap().contains("localhost, in the sources file"), "{denied:#}");
}

#[test]
fn e2_a_redirect_leads_to_no_machine_that_nobody_named() {
    let (world, inside) = (World::new(), TlsServer::start());
    inside.put("/secret.json", b"{}");
    world.server.route("/moved.json", Route::redirect(302, &inside.url("/secret.json")));
    world.server.route("/clouds.json", Route::redirect(307, "https://169.254.169.254/latest"));
    world.server.route("/plain.json", Route::redirect(301, "http://localhost/a.json"));
    let names = [
        ("moved", "net.address_denied"),
        ("clouds", "net.address_denied"),
        ("plain", "net.redirect_downgrade"),
    ];
    let pointer = |(id, _): &(&str, &str)| https(id, &world.server.url(&format!("/{id}.json")));
    world.publish(&names.iter().map(pointer).collect::<Vec<_>>());
    let daemon = world.sandbox.start_synced();
    for (id, expected) in names {
        assert_eq!(reason(&daemon, id), expected, "{:#}", daemon.catalogue(id));
    }
    assert_eq!(inside.connections(), 0);
}

#[test]
fn e2_a_rewrite_rule_names_a_machine_for_whoever_it_leads_there_and_a_local_document_names_none_here() {
    let server = TlsServer::start();
    let far = "https://far.example/reg";
    let more = format!("[[rewrite]]\nfrom = \"{far}\"\nto = \"{}\"\n", server.url("/mirror"));
    let world = World::with(server, &more);
    world.catalogue(&world.server, "/own/all.json", "lcod://acme/own");
    world.catalogue(&world.server, "/mirror/all.json", "lcod://acme/far");
    let list = catalogues(&[https("own", &world.server.url("/own/all.json"))]);
    fs::write(world.sandbox.path("list.json"), list).unwrap();
    world.sandbox.write_sources(&json!({ "sources": [
        { "id": "local", "path": world.sandbox.path("list.json") },
        { "id": "far", "url": format!("{far}/list.json") },
    ]}));
    world.server.put(
        "/mirror/list.json",
        &catalogues(&[
            https("led", &format!("{far}/all.json")),
            https("direct", &world.server.url("/own/all.json")),
            https("moved", &format!("{far}/moved.json")),
        ]),
    );
    let inside = TlsServer::start();
    world.server.route("/mirror/moved.json", Route::redirect(302, &inside.url("/secret.json")));
    let daemon = world.sandbox.start_synced();
    assert_eq!(daemon.ids(), ["lcod://acme/far"], "{}", daemon.log());
    for (id, expected) in [
        ("own", "net.address_denied"),
        ("led", "fresh"),
        ("direct", "net.address_denied"),
        ("moved", "net.address_denied"),
    ] {
        assert_eq!(reason(&daemon, id), expected, "{id}: {:#}", daemon.catalogue(id));
    }
    assert_eq!(inside.connections(), 0);
}

/// What a list from the network may not point at: everything but https and what lies beside it.
const SCHEMES: [&str; 26] = [
    "file:///etc/passwd",
    "file://localhost/etc/passwd",
    "FILE:///etc/passwd",
    "/etc/passwd",
    "//evil.example/a.json",
    "http://evil.example/a.json",
    "HTTP://evil.example/a.json",
    "ftp://evil.example/a.json",
    "git://evil.example/a",
    "ssh://git@evil.example/a",
    "ssh://-oProxyCommand=id/a",
    "git@evil.example:a",
    "evil.example:a",
    "ext::sh -c id",
    "ext::sh%20-c%20id",
    "fd::17/a",
    "data:application/json,{}",
    "javascript:alert(1)",
    "gopher://evil.example/",
    "ldap://evil.example/a",
    "unix:///run/a.sock",
    "git+ssh://evil.example/a",
    "git+file:///etc",
    "-oProxyCommand=id:a",
    "--upload-pack=id",
    "\\\\evil.example\\a",
];

#[test]
fn e3_e4_no_list_from_the_network_names_a_file_a_program_or_an_option() {
    let world = World::new();
    world.catalogue(&world.server, "/own/all.json", "lcod://acme/own");
    let mut pointers = vec![https("own", &world.server.url("/own/all.json"))];
    for (at, url) in SCHEMES.iter().enumerate() {
        for kind in ["https", "git", "file"] {
            pointers
                .push(json!({ "id": format!("{kind}-{at}"), "kind": kind, "url": url, "path": "a.json" }));
        }
    }
    world.publish(&pointers);
    let daemon = world.sandbox.start_synced();
    let page = daemon.get("/v1/catalogues").ok();
    for row in page["items"].as_array().unwrap() {
        let id = row["id"].as_str().unwrap();
        assert!(["own", "acme"].contains(&id) || !row["error"].is_null(), "{row:#}");
    }
    let told = skipped(&daemon, "acme");
    assert!(!told.is_empty(), "{:#}", daemon.catalogue("acme"));
    let reasons = ["input.url_scheme", "input.url", "input.path", "catalogue.field", "input.schema"];
    for (entry, reason) in &told {
        assert!(reasons.contains(&reason.as_str()) || reason.starts_with("catalogue."), "{entry}: {reason}");
    }
    assert!(told.iter().any(|(_, reason)| reason == "input.url_scheme"), "{told:?}");
    let asked = world.server.lines();
    let beside = |line: &&String| !["/list.json", "/own/"].iter().any(|own| line.contains(own));
    assert_eq!(asked.iter().find(beside), None, "nothing else is asked for: {asked:?}");
    assert_eq!(daemon.ids(), ["lcod://acme/own"]);
}

#[test]
fn e4_no_part_of_an_address_is_an_option() {
    let world = World::new();
    let parts = [
        "https://-oProxyCommand=id/a.json",
        "https://-evil.example/a.json",
        "https://user@evil.example/a.json",
        "https://-u:p@evil.example/a.json",
        "https://evil.example:-1/a.json",
    ];
    let pointers: Vec<Value> =
        parts.iter().enumerate().map(|(at, url)| https(&format!("x{at}"), url)).collect();
    world.publish(&pointers);
    let daemon = world.sandbox.start_synced();
    let told = skipped(&daemon, "acme");
    let reasons: Vec<&str> = told.iter().map(|(_, reason)| reason.as_str()).collect();
    assert_eq!(reasons, ["input.url"; 5], "{:#}", daemon.catalogue("acme"));
}

#[test]
fn e11_what_a_server_says_is_told_escaped_and_short() {
    let world = World::new();
    let long = format!("https://evil.example/%1b[31m{}", "x".repeat(5_000));
    let raw = |head: &str| Route::Raw(format!("HTTP/1.1 {head}\r\ncontent-length: 0\r\n\r\n").into_bytes());
    world.server.route("/long", Route::redirect(302, &long));
    world.server.route("/escape", raw("302 x\r\nlocation: ftp://e/\u{1b}[2J"));
    world.server.route("/injected", Route::redirect(302, "https://e.org/%0d%0aSet-Cookie:%20a"));
    let ids = ["long", "escape", "injected"];
    let pointer = |id: &&str| https(id, &world.server.url(&format!("/{id}")));
    world.publish(&ids.iter().map(pointer).collect::<Vec<_>>());
    let daemon = world.sandbox.start_synced();
    for id in ids {
        let error = daemon.catalogue(id)["error"].clone();
        let text = error.to_string();
        assert!(error["reason"].as_str().unwrap().starts_with("net."), "{id}: {error:#}");
        assert!(text.len() < 1_500 && !text.contains('\u{1b}'), "{id}: {} bytes: {text}", text.len());
    }
    let said = world.sandbox.run(&["catalogues"]);
    assert!(!said.stdout.contains('\u{1b}') && !daemon.log().contains('\u{1b}'), "{}", said.stdout);
}

#[test]
fn e12_a_page_for_people_is_no_document() {
    let world = World::new();
    world.catalogue(&world.server, "/own/all.json", "lcod://acme/own");
    world.publish(&[https("own", &world.server.url("/own/all.json"))]);
    let daemon = world.sandbox.start_synced();
    assert_eq!(daemon.ids(), ["lcod://acme/own"]);
    let page = b"<!DOCTYPE html><title>Please log in</title>";
    for coding in ["text/html", "application/json"] {
        let headers = vec![format!("content-type: {coding}")];
        world.server.route("/list.json", Route::Answer(200, headers, page.to_vec()));
        daemon.sync();
        let source = daemon.get("/v1/sources").ok()["items"][0].clone();
        assert_eq!(source["error"]["reason"], "input.schema", "{source:#}");
        assert!(source["error"]["found"].as_str().unwrap().contains("an HTML page"), "{source:#}");
        assert_eq!(daemon.ids(), ["lcod://acme/own"], "the last good generation answers");
    }
}

#[test]
fn e1_a_host_that_the_policy_does_not_list_is_not_asked() {
    let (world, other) = (World::new(), TlsServer::start());
    let port = world.server.origin().rsplit(':').next().unwrap().to_owned();
    let policy = "schema = \"resolverd/trust@1\"\nversion = 1\n[defaults]\nrequire_pin = false\n\
                  [[sources]]\nid = \"acme\"\nhosts = [\"localhost\"]\n\
                  [[namespaces]]\nmatch = \"**\"\nsources = [\"acme\"]\nrequire = \"pin\"\n";
    for directory in ["config", "config/resolverd"] {
        let path = world.sandbox.path(directory);
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let file = world.sandbox.path("config/resolverd/trust.toml");
    fs::write(&file, policy).unwrap();
    fs::set_permissions(file, fs::Permissions::from_mode(0o644)).unwrap();
    world.catalogue(&world.server, "/own/all.json", "lcod://acme/own");
    world
        .server
        .route("/moved.json", Route::redirect(302, &format!("https://127.0.0.1:{port}/own/all.json")));
    world.publish(&[
        https("own", &world.server.url("/own/all.json")),
        https("elsewhere", "https://evil.example/all.json"),
        https("address", &other.url("/all.json").replace("localhost", "127.0.0.1")),
        https("moved", &world.server.url("/moved.json")),
    ]);
    let daemon = world.sandbox.start_synced();
    assert_eq!(reason(&daemon, "own"), "fresh");
    for id in ["elsewhere", "address", "moved"] {
        assert_eq!(reason(&daemon, id), "net.host_not_allowed", "{:#}", daemon.catalogue(id));
    }
    assert_eq!(other.connections(), 0);
}

#[test]
fn e5_control_characters_in_an_address_are_refused_and_told_escaped() {
    let world = World::new();
    world.catalogue(&world.server, "/own/all.json", "lcod://acme/own");
    let own = world.server.url("/own/all.json");
    let pointers = vec![https("own", &own)];
    // NUL refuses the whole document.
    let codes = (1..0x20_u8).chain([0x7f]).map(char::from);
    let plain = codes.map(|code| code.to_string());
    let escaped = ["%00", "%0a", "%0A", "%0d", "%0D", "\u{9b}", "\u{2028}", "\u{202e}"].map(str::to_owned);
    let bad: Vec<String> = plain.chain(escaped).collect();
    // Before and in the host, around the port, before, in and behind the path, and in a query.
    let positions = ["//", "local", "localhost", ":", "/own", "/own/a", "all.json"];
    let daemon = world.sandbox.start();
    for position in positions.iter().chain(&["?"]) {
        let mut pointers = pointers.clone();
        for (at, code) in bad.iter().enumerate() {
            let url = match *position {
                "?" => format!("{own}?a={code}b"),
                position => own.replacen(position, &format!("{position}{code}"), 1),
            };
            assert_ne!(url, own);
            pointers.push(https(&format!("bad-{at}"), &url));
        }
        world.publish(&pointers);
        daemon.sync();
        let row = daemon.catalogue("acme");
        assert_eq!(row["skipped"], bad.len(), "{position}: {row:#}");
        let told = skipped(&daemon, "acme");
        assert!(told.iter().all(|(_, reason)| reason == "input.url"), "{position}: {told:?}");
        assert_eq!(daemon.ids(), ["lcod://acme/own"], "{position}");
    }
    let said = world.sandbox.run(&["catalogues"]);
    let is_plain = |text: &str| text.chars().all(|c| !c.is_control() || c == '\n');
    assert!(is_plain(&said.stdout) && is_plain(&daemon.log()), "{}", said.stdout);
    assert_eq!(daemon.ids(), ["lcod://acme/own"]);
}

/// A name server for one name on an address of its own: how often it was asked, and what it answers, address by address: the
/// first as often as there are more, the last for ever.
struct Names {
    address: IpAddr,
    asked: Arc<AtomicUsize>,
}

impl Names {
    /// Starts one; `None` where nobody may listen there.
    fn start(answers: Vec<Vec<IpAddr>>) -> Option<Names> {
        let [.., high, low] = std::process::id().to_be_bytes();
        let address = IpAddr::from([127, 53, high, low.clamp(1, 254)]);
        let socket = UdpSocket::bind((address, 53)).ok()?;
        let names = Names { address, asked: Arc::default() };
        let asked = Arc::clone(&names.asked);
        std::thread::spawn(move || {
            let mut query = [0; 512];
            while let Ok((length, peer)) = socket.recv_from(&mut query) {
                // A question for each family; both are one look-up.
                let look_up = asked.fetch_add(1, Ordering::Relaxed) / 2;
                let known = &answers[look_up.min(answers.len() - 1)];
                let _ = socket.send_to(&answered(&query[..length], known), peer);
            }
        });
        Some(names)
    }
}

/// Returns the answer to a question for addresses: those of the family that it asks for.
fn answered(query: &[u8], addresses: &[IpAddr]) -> Vec<u8> {
    let name_end = 12 + query[12..].iter().position(|byte| *byte == 0).unwrap() + 1;
    let wants_six = query[name_end + 1] == 28;
    let fitting: Vec<IpAddr> =
        addresses.iter().copied().filter(|address| address.is_ipv6() == wants_six).collect();
    let mut answer = query[..2].to_vec();
    answer.extend([0x81, 0x80, 0, 1, 0, u8::try_from(fitting.len()).unwrap(), 0, 0, 0, 0]);
    answer.extend(&query[12..name_end + 4]);
    for address in fitting {
        let bytes = match address {
            IpAddr::V4(four) => four.octets().to_vec(),
            IpAddr::V6(six) => six.octets().to_vec(),
        };
        answer.extend([0xc0, 12, 0, query[name_end + 1], 0, 1, 0, 0, 0, 0, 0]);
        answer.push(u8::try_from(bytes.len()).unwrap());
        answer.extend(bytes);
    }
    answer
}

#[test]
fn e2_a_name_that_leads_inside_the_second_time_is_checked_whenever_it_is_looked_up() {
    let loopback = IpAddr::from([127, 0, 0, 1]);
    // A place of nobody's: where no route leads there, nobody is asked; where one does, nobody is there.
    let nowhere: IpAddr = "fd53:77::1".parse().unwrap();
    if !rustix::process::geteuid().is_root() {
        return place::skipped("only root gives a daemon a name server of its own");
    }
    let Some(names) = Names::start(vec![vec![nowhere], vec![loopback], vec![loopback, nowhere]]) else {
        return place::skipped("somebody else answers for names here");
    };
    let world = World::new();
    fs::write(
        world.sandbox.path("resolv.conf"),
        format!("nameserver {}\noptions timeout:1\n", names.address),
    )
    .unwrap();
    let config = world.sandbox.path("config/resolverd/config.toml");
    let limits = "proxy = \"none\"\n[limits]\ntries = 1\nconnect_s = 1\n";
    fs::write(&config, fs::read_to_string(&config).unwrap() + limits).unwrap();
    let port = world.server.origin().rsplit(':').next().unwrap().to_owned();
    let url = format!("https://rebound.example:{port}/list.json");
    world.sandbox.write_sources(&json!({ "sources": [{ "id": "acme", "url": url }] }));
    // The daemon alone has this name server: its view of the files of this machine is its own.
    let start = || {
        let mut command = Command::new("unshare");
        world.sandbox.furnish(&mut command);
        let script = "mount --bind \"$0\" /etc/resolv.conf && exec \"$@\"";
        let file = world.sandbox.path("resolv.conf");
        command.args(["--mount", "sh", "-c", script]).arg(file).arg(place::binary());
        world.sandbox.spawn_as(command)
    };
    let reason = |daemon: &Daemon| {
        let answer = daemon.try_ask("GET", "/v1/sources", None).ok().filter(|answer| answer.status == 200);
        let row = answer.map(|answer| answer.json()["items"][0].clone()).unwrap_or_default();
        row["error"]["reason"].as_str().unwrap_or_default().to_owned()
    };
    let asked = || names.asked.load(Ordering::Relaxed);
    let nobody = ["net.connect", "net.timeout"];
    // Allowed, since the operator names it; then it leads inside, and then to both.
    let expected: [&[&str]; 3] = [&nobody, &["net.address_denied"], &nobody];
    for (round, expected) in expected.into_iter().enumerate() {
        let daemon = start();
        poll::until("the first sync", || (asked() > 2 * round).then_some(()));
        daemon.sync();
        let told = reason(&daemon);
        assert!(expected.contains(&told.as_str()), "{round}: {told}");
        // What was checked is what is connected to: nothing looks it up in between, and another answer comes too late.
        assert_eq!(asked(), 2 * (round + 1), "{round}: one look-up of both families");
    }
    assert_eq!(world.server.connections(), 0, "nobody ever knocked inside");
}

#[test]
fn e10_a_small_body_that_unpacks_without_end() {
    let world = World::new();
    world.catalogue(&world.server, "/own/all.json", "lcod://acme/own");
    // One stream of the same blocks again and again: ten megabytes for ten gigabytes.
    let mut packer = flate2::Compress::new(flate2::Compression::fast(), false);
    let mut block = Vec::with_capacity(1 << 20);
    packer.compress_vec(&vec![b' '; 1 << 20], &mut block, flate2::FlushCompress::Full).unwrap();
    assert!(block.len() < 16 << 10, "{}", block.len());
    let head = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3];
    let count = (10 << 30) / (1 << 20);
    let bomb: Vec<u8> =
        head.into_iter().chain(block.iter().copied().cycle().take(block.len() * count)).collect();
    world.server.route("/bomb.json", Route::encoded("gzip", &bomb));
    world.server.route("/nested.json", Route::encoded("gzip, gzip", &bomb));
    world.server.route("/other.json", Route::encoded("br", &bomb));
    let names = [("bomb", "limit.catalogue_bytes"), ("nested", "net.encoding"), ("other", "net.encoding")];
    let mut pointers: Vec<Value> =
        names.iter().map(|(id, _)| https(id, &world.server.url(&format!("/{id}.json")))).collect();
    pointers.push(https("own", &world.server.url("/own/all.json")));
    world.publish(&pointers);
    let daemon = world.sandbox.start_synced();
    for (id, expected) in names {
        assert_eq!(reason(&daemon, id), expected, "{:#}", daemon.catalogue(id));
    }
    assert_eq!(daemon.ids(), ["lcod://acme/own"]);
    let status = fs::read_to_string(format!("/proc/{}/status", daemon.pid())).unwrap();
    let most = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let most_kb: u64 = most.trim().trim_end_matches(" kB").parse().unwrap();
    assert!(most_kb < 400_000, "{most_kb} kB, of which a catalogue may take 64 MiB and its copies");
}

/// A daemon whose sources are single documents on servers: their names and where they lie.
fn single(servers: &[&TlsServer], more: &str, sources: &[(String, String)]) -> (Sandbox, Daemon) {
    let sandbox = Sandbox::new();
    let home = sandbox.path("config/resolverd");
    fs::create_dir_all(&home).unwrap();
    let authorities: String =
        servers.iter().map(|server| fs::read_to_string(server.ca_file()).unwrap()).collect();
    fs::write(home.join("ca.pem"), authorities).unwrap();
    let ca_file = home.join("ca.pem").display().to_string();
    let config = format!("[https]\nca_file = {ca_file:?}\nproxy = \"none\"\n{more}");
    fs::write(home.join("config.toml"), config).unwrap();
    let local = sandbox.path("empty.json");
    fs::write(&local, EMPTY).unwrap();
    let mut rows = vec![json!({ "id": "local", "path": local })];
    rows.extend(sources.iter().map(|(id, url)| json!({ "id": id, "url": url })));
    sandbox.write_sources(&json!({ "sources": rows }));
    let daemon = sandbox.start_synced();
    (sandbox, daemon)
}

/// A catalogue without components.
const EMPTY: &[u8] = br#"{"schema":"lcod-registry/catalogue@1","components":[]}"#;

#[test]
fn e1_redirects_that_lead_out_of_https_or_nowhere() {
    let server = TlsServer::start();
    let mut rows: Vec<(String, &str)> = Vec::new();
    let mut add = |name: String, status: u16, to: &str, expected: &'static str| {
        server.route(&format!("/{name}"), Route::redirect(status, to));
        rows.push((name, expected));
    };
    for status in [301, 302, 303, 307, 308] {
        add(format!("plain-{status}"), status, "http://localhost/a.json", "net.redirect_downgrade");
    }
    add("file".to_owned(), 302, "file:///etc/passwd", "net.redirect_downgrade");
    add("ftp".to_owned(), 302, "ftp://localhost/a", "net.redirect_downgrade");
    add("inside".to_owned(), 302, "//169.254.169.254/a", "net.address_denied");
    add("loop".to_owned(), 302, "/loop", "net.redirects");
    for hop in 0..7 {
        add(format!("hop-{hop}"), 302, &format!("/hop-{}", hop + 1), "net.redirects");
    }
    rows.retain(|(name, _)| !name.starts_with("hop-") || name == "hop-0");
    let sources: Vec<(String, String)> =
        rows.iter().map(|(name, _)| (name.clone(), server.url(&format!("/{name}")))).collect();
    let (_sandbox, daemon) = single(&[&server], "", &sources);
    for (name, expected) in &rows {
        assert_eq!(reason(&daemon, name), *expected, "{:#}", daemon.catalogue(name));
    }
}

#[test]
fn c9_servers_that_are_slow_or_silent() {
    let server = TlsServer::start();
    let head = b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n".to_vec();
    server.route("/silent", Route::Stall(Vec::new()));
    server.route("/begun", Route::Stall([head.clone(), b"{".to_vec()].concat()));
    let endless = b"HTTP/1.1 200 OK\r\n\r\n".to_vec();
    server.route("/slow", Route::Drip(endless, std::time::Duration::from_millis(20)));
    server.put("/good", EMPTY);
    let names = ["silent", "begun", "slow", "good"];
    let sources = names.map(|name| (name.to_owned(), server.url(&format!("/{name}"))));
    let (_sandbox, daemon) = single(&[&server], "[limits]\nstall_s = 1\ntries = 1\n", &sources);
    for (name, expected) in
        [("silent", "net.timeout"), ("begun", "net.timeout"), ("slow", "net.too_slow"), ("good", "fresh")]
    {
        assert_eq!(reason(&daemon, name), expected, "{:#}", daemon.catalogue(name));
    }
}

#[test]
fn e8_certificates_that_are_not_the_server_s() {
    let kinds = [
        Certificate::Expired,
        Certificate::NotYetValid,
        Certificate::OtherHost,
        Certificate::SelfSigned,
        Certificate::UnknownAuthority,
        Certificate::ForClients,
        Certificate::Authority,
        Certificate::Good,
    ];
    let servers = kinds.map(|kind| TlsServer::start_as(&[], kind));
    let sources: Vec<(String, String)> = kinds
        .iter()
        .zip(&servers)
        .map(|(kind, server)| {
            server.put("/a.json", EMPTY);
            (format!("{kind:?}").to_ascii_lowercase(), server.url("/a.json"))
        })
        .collect();
    let (_sandbox, daemon) = single(&servers.iter().collect::<Vec<_>>(), "", &sources);
    for ((name, _), server) in sources.iter().zip(&servers) {
        let (expected, asked) = if name == "good" { ("fresh", true) } else { ("net.tls", false) };
        assert_eq!(reason(&daemon, name), expected, "{:#}", daemon.catalogue(name));
        assert_eq!(!server.requests().is_empty(), asked, "{name}: nothing is asked of a stranger");
    }
}

#[test]
fn e6_e7_a_token_goes_to_the_very_address_that_was_written_and_is_told_to_nobody() {
    const TOKEN: &str = "t0ken-of-the-operator";
    let (server, other) = (TlsServer::start(), TlsServer::start());
    let nowhere = GitMount::of(std::path::Path::new("/nonexistent"));
    let guarded = nowhere.before(|request| {
        let is_known = request.header("authorization") == Some(&format!("Bearer {TOKEN}"));
        Some(if is_known { Route::ok(EMPTY) } else { Route::status(403) })
    });
    server.mount("/", guarded.clone());
    other.mount("/", guarded);
    server.route("/reg/away.json", Route::redirect(302, &server.url("/else/a.json")));
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("token");
    fs::write(&file, TOKEN).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    let tokens = format!(
        "[[https.tokens]]\nurl = {:?}\nfile = {:?}\n",
        server.url("/reg"),
        file.display().to_string()
    );
    let rows = [
        ("own", server.url("/reg/a.json"), "fresh"),
        ("suffix", server.url("/reg.git/a.json"), "net.forbidden"),
        ("longer", server.url("/regs/a.json"), "net.forbidden"),
        ("case", server.url("/Reg/a.json"), "net.forbidden"),
        ("deeper", server.url("/a/reg/a.json"), "net.forbidden"),
        ("port", other.url("/reg/a.json"), "net.forbidden"),
        ("moved", server.url("/reg/away.json"), "net.forbidden"),
    ];
    let sources: Vec<(String, String)> =
        rows.iter().map(|(name, url, _)| ((*name).to_owned(), url.clone())).collect();
    let (sandbox, daemon) = single(&[&server, &other], &tokens, &sources);
    for (name, _, expected) in &rows {
        assert_eq!(reason(&daemon, name), *expected, "{:#}", daemon.catalogue(name));
    }
    let told = daemon.get("/v1/sources").ok().to_string() + &daemon.get("/v1/catalogues").ok().to_string();
    let said = sandbox.run(&["status"]);
    for text in [told, daemon.log(), said.stdout + &said.stderr] {
        assert!(!text.contains(TOKEN), "{text}");
    }
}

#[test]
fn e13_a_server_that_speaks_another_protocol() {
    let server = TlsServer::start();
    let settings = b"\0\0\0\x04\0\0\0\0\0".to_vec();
    let flood = [&b"\0\0\x04\x09\0\0\0\0\x01"[..], &[0; 4]].concat();
    server.route("/flood", Route::Endless(settings, flood));
    server.put("/good", EMPTY);
    let sources = ["flood", "good"].map(|name| (name.to_owned(), server.url(&format!("/{name}"))));
    let (_sandbox, daemon) = single(&[&server], "[limits]\ntries = 1\n", &sources);
    assert_eq!(reason(&daemon, "flood"), "net.protocol", "{:#}", daemon.catalogue("flood"));
    assert_eq!(reason(&daemon, "good"), "fresh");
}
