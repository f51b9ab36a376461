//! The https client against a real TLS server: what is asked, how often, what is refused, and who sees a token.

use std::io::Write as _;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use catalogue_schema::digest::Digest;
use catalogue_schema::generation::DocumentRecord;
use catalogue_schema::pointer::{HttpsUrl, Location, Want};
use resolverd::fetch::limit::{Budget, Limits};
use resolverd::fetch::network::{Https, Network, Proxy as ProxyChoice, Token};
use resolverd::fetch::reach::Reach;
use resolverd::fetch::{Answer, Ask, Fetch as _, FetchError, Fetched, Origins};
use serde_json::{Value, json};

use crate::harness::daemon::Sandbox;
use crate::harness::tls::{Certificate, Proxy, Route, TlsServer};

/// A secret that nobody else may ever see.
const SENTINEL: &str = "s3ntinel-0f-a-t0ken";

/// Which error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Missing,
    Refused,
    Unreachable,
    Limit,
}

fn want(url: &str) -> Want {
    Want::Blob(Location::Https { url: HttpsUrl::parse(url).unwrap() })
}

fn trusting(ca_file: PathBuf) -> Network {
    let https = Https { ca_file: Some(ca_file), proxy: ProxyChoice::None, tokens: Vec::new() };
    Network { https, ..Network::default() }
}

fn origins(server: &TlsServer) -> Origins {
    Origins::new(trusting(server.ca_file())).unwrap()
}

fn budget(change: impl FnOnce(&mut Limits)) -> Budget {
    let mut limits = Limits::default();
    change(&mut limits);
    Budget::new(&limits, Instant::now())
}

/// A budget for servers that the operator named.
fn naming(servers: &[&TlsServer], change: impl FnOnce(&mut Limits)) -> Budget {
    let reach = Reach::default();
    let named = |reach: Reach, server: &&TlsServer| reach.also(&want(&server.url("/")));
    budget(change).reaching(servers.iter().fold(reach, named))
}

fn ask(origins: &Origins, url: &str, budget: &Budget) -> Result<Fetched, FetchError> {
    let want = want(url);
    // Servers of tests are on loopback, which only an operator names.
    let budget = budget.reaching(budget.reach().clone().also(&want));
    match origins.fetch(&[Ask::from(&want)], &budget).remove(0)? {
        Answer::Fetched(fetched) => Ok(fetched),
        Answer::Unchanged => panic!("{url} is said to be unchanged"),
    }
}

fn get(server: &TlsServer, path: &str) -> Result<Fetched, FetchError> {
    get_within(server, path, |_| {})
}

fn get_within(
    server: &TlsServer,
    path: &str,
    change: impl FnOnce(&mut Limits),
) -> Result<Fetched, FetchError> {
    ask(&origins(server), &server.url(path), &budget(change))
}

#[track_caller]
fn check_error(result: Result<Fetched, FetchError>, kind: Kind, reason: &str, hint: &str) {
    let error = result.expect_err(reason);
    let found = match &error {
        FetchError::Missing(_) => Kind::Missing,
        FetchError::Refused(_) => Kind::Refused,
        FetchError::Unreachable(_) => Kind::Unreachable,
        FetchError::Limit(_) => Kind::Limit,
    };
    assert_eq!((found, &*error.refusal().reason), (kind, reason), "{error}");
    assert!(error.to_string().contains(hint), "{error} does not say {hint:?}");
    assert!(error.refusal().subject.starts_with("https://"), "{error}");
    assert!(error.to_string().chars().all(|c| !c.is_control()), "{error:?}");
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn recorded(want: &Want, fetched: &Fetched) -> DocumentRecord {
    DocumentRecord {
        want: want.clone(),
        url: fetched.url.clone(),
        commit: None,
        blob: None,
        digest: Digest::sha256(&fetched.bytes),
        size: fetched.bytes.len() as u64,
        etag: fetched.etag.clone(),
        modified: fetched.modified.clone(),
        fetched_s: 0,
    }
}

#[test]
fn a_document_arrives_with_what_its_server_said_of_it() {
    let server = TlsServer::start();
    server.put("/a.json", b"{}");
    let fetched = get(&server, "/a.json?x=1").unwrap();
    assert_eq!((&*fetched.bytes, &*fetched.url), (&b"{}"[..], &*server.url("/a.json?x=1")));
    assert_eq!(fetched.etag.as_deref(), Some("\"v0\""));
    assert_eq!(fetched.modified.as_deref(), Some("Wed, 01 Jan 2025 00:00:00 GMT"));
    assert_eq!((fetched.commit, fetched.blob), (None, None));
    let [request] = &server.requests()[..] else { panic!("{:?}", server.lines()) };
    assert_eq!((&*request.method, request.header("accept-encoding")), ("GET", Some("identity")));
    assert_eq!(request.header("host"), Some(server.origin().trim_start_matches("https://")));
    assert_eq!((request.header("authorization"), request.header("if-none-match")), (None, None));
}

#[test]
fn an_unchanged_document_costs_one_request_and_no_body() {
    let server = TlsServer::start();
    let (dated, body) = (Some("Wed, 01 Jan 2025 00:00:00 GMT".to_owned()), vec![b'x'; 50_000]);
    let rows = [(Some("\"e\"".to_owned()), dated.clone()), (Some("\"e\"".to_owned()), None), (None, dated)];
    for (etag, modified) in rows {
        server.route("/a.json", Route::Document { bytes: body.clone(), etag, modified });
        let origins = origins(&server);
        let want = want(&server.url("/a.json"));
        let first = ask(&origins, &server.url("/a.json"), &budget(|_| {})).unwrap();
        let known = recorded(&want, &first);
        server.forget();
        let again =
            |budget: &Budget| origins.fetch(&[Ask { want: &want, known: Some(&known) }], budget).remove(0);
        let naming = |change: fn(&mut Limits)| naming(&[&server], change);
        assert_eq!(again(&naming(|limits| limits.total_bytes = 0)), Ok(Answer::Unchanged));
        assert_eq!(server.lines(), ["GET /a.json"]);
        assert!(server.sent() < 500, "{} bytes", server.sent());
        server.put("/a.json", b"new");
        assert!(matches!(again(&naming(|_| {})), Ok(Answer::Fetched(fetched)) if fetched.bytes == b"new"));
        server.route("/a.json", Route::ok(b"no validators"));
        assert!(matches!(again(&naming(|_| {})), Ok(Answer::Fetched(fetched)) if fetched.etag.is_none()));
    }
}

#[test]
fn only_the_server_that_sent_a_document_is_asked_whether_it_changed() {
    let server = TlsServer::start();
    server.put("/a.json", b"one");
    server.route("/moved.json", Route::redirect(302, "/a.json?token=s3cret"));
    let origins = origins(&server);
    let moved = want(&server.url("/moved.json"));
    let first = ask(&origins, &server.url("/moved.json"), &budget(|_| {})).unwrap();
    assert_eq!(first.url, server.url("/a.json?…"), "what a redirect adds may be a secret");
    let mut known = recorded(&moved, &first);
    server.forget();
    let within = naming(&[&server], |_| {});
    let answer = origins.fetch(&[Ask { want: &moved, known: Some(&known) }], &within).remove(0);
    assert_eq!(answer, Ok(Answer::Unchanged));
    let asked: Vec<bool> =
        server.requests().iter().map(|request| request.header("if-none-match").is_some()).collect();
    assert_eq!(asked, [false, true]);
    known.url = "https://elsewhere.example/a.json".to_owned();
    server.forget();
    let answer = origins.fetch(&[Ask { want: &moved, known: Some(&known) }], &within).remove(0);
    assert!(matches!(answer, Ok(Answer::Fetched(_))), "{answer:?}");
    assert!(server.requests().iter().all(|request| request.header("if-modified-since").is_none()));
    // A 304 that nobody asked for is no document.
    server.route("/a.json", Route::status(304));
    check_error(
        ask(&origins, &server.url("/a.json"), &budget(|_| {})),
        Kind::Unreachable,
        "net.status",
        "304",
    );
}

#[test]
fn a_batch_keeps_its_order_and_opens_few_connections() {
    let server = TlsServer::start();
    let wants: Vec<Want> = (0..40).map(|n| want(&server.url(&format!("/{n}.json")))).collect();
    for n in (0..40).filter(|n| n % 7 != 3) {
        server.put(&format!("/{n}.json"), n.to_string().as_bytes());
    }
    let asks: Vec<Ask<'_>> = wants.iter().map(Ask::from).collect();
    let origins = origins(&server);
    let answers = origins.fetch(&asks, &naming(&[&server], |_| {}));
    assert_eq!(answers.len(), 40);
    for (n, answer) in answers.into_iter().enumerate() {
        match answer {
            Ok(Answer::Fetched(fetched)) => assert_eq!(fetched.bytes, n.to_string().as_bytes()),
            Ok(Answer::Unchanged) => panic!("{n}"),
            Err(error) => assert_eq!((&*error.refusal().reason, n % 7), ("net.not_found", 3), "{error}"),
        }
    }
    assert_eq!(server.requests().len(), 40);
    // Eight at once; one that comes back a moment after it was looked for is opened once more.
    assert!(server.connections() <= 16, "{} connections", server.connections());
    let before = server.connections();
    for n in [0, 1, 2] {
        ask(&origins, &server.url(&format!("/{n}.json")), &budget(|_| {})).unwrap();
    }
    assert!(server.connections() <= before.max(8), "a connection is used again");
}

#[test]
fn a_connection_that_its_server_closed_is_replaced() {
    let server = TlsServer::start();
    server.put("/a.json", b"a");
    let origins = origins(&server);
    for _ in 0..3 {
        ask(&origins, &server.url("/a.json"), &budget(|_| {})).unwrap();
        server.hang_up();
    }
    assert!(server.connections() >= 3);
}

#[test]
fn a_refusal_with_a_short_page_costs_no_connection() {
    let server = TlsServer::start();
    server.put("/a.json", b"a");
    server.route("/gone", Route::Answer(404, Vec::new(), vec![b'x'; 5000]));
    server.route("/moved", Route::Answer(302, vec!["location: /a.json".to_owned()], vec![b'x'; 5000]));
    let origins = origins(&server);
    for _ in 0..3 {
        let gone = ask(&origins, &server.url("/gone"), &budget(|_| {}));
        check_error(gone, Kind::Missing, "net.not_found", "404");
        assert_eq!(ask(&origins, &server.url("/moved"), &budget(|_| {})).unwrap().bytes, b"a");
    }
    assert_eq!((server.requests().len(), server.connections()), (9, 1));
    // A long one is not read to its end.
    server.route("/gone", Route::Endless(b"HTTP/1.1 404 x\r\n\r\n".to_vec(), vec![b'x'; 5000]));
    check_error(get(&server, "/gone"), Kind::Missing, "net.not_found", "404");
    server.route("/gone", Route::Stall(b"HTTP/1.1 404 x\r\ncontent-length: 9\r\n\r\n".to_vec()));
    check_error(get(&server, "/gone"), Kind::Missing, "net.not_found", "404");
    server.remove("/gone");
    check_error(get(&server, "/gone"), Kind::Missing, "net.not_found", "404");
}

#[test]
fn a_head_without_end_is_cut_off() {
    let server = TlsServer::start();
    let (start, more) = (&b"HTTP/1.1 200 OK\r\nx: "[..], &b"x-more: and more\r\n"[..]);
    for (start, more, reason) in [
        (start, more, "net.protocol"),
        (start, b"x", "net.protocol"),
        (b"", b"HTTP/1.1 103 Early\r\n\r\n", "net.timeout"),
    ] {
        server.route("/a", Route::Endless(start.to_vec(), more.repeat(1000)));
        let found = get_within(&server, "/a", |limits| limits.stall_s = 2);
        check_error(found, Kind::Unreachable, reason, "localhost");
    }
}

#[test]
fn e1_redirects_are_followed_over_https_only() {
    let (server, other) = (TlsServer::start(), TlsServer::start());
    server.put("/d/end.json", b"end");
    other.put("/end.json", b"end");
    let both = tempfile::NamedTempFile::new().unwrap();
    let pem = [server.ca_file(), other.ca_file()].map(|file| std::fs::read(file).unwrap()).concat();
    std::fs::write(both.path(), pem).unwrap();
    let origins = Origins::new(trusting(both.path().to_owned())).unwrap();
    let check = |status: u16, location: &str, expected: Result<&str, (&str, &str)>| {
        server.route("/d/start", Route::redirect(status, location));
        let found = ask(&origins, &server.url("/d/start"), &naming(&[&other], |_| {}));
        match expected {
            Ok(url) => assert_eq!(found.unwrap().url, url, "{status} {location}"),
            Err((reason, hint)) => check_error(found, Kind::Unreachable, reason, hint),
        }
    };
    let end = server.url("/d/end.json");
    for status in [301, 302, 303, 307, 308] {
        check(status, "end.json", Ok(&end));
        check(status, "/d/end.json", Ok(&end));
        check(status, "../d/./end.json", Ok(&end));
        check(status, &end, Ok(&end));
        check(status, &end["https:".len()..], Ok(&end));
        check(status, &other.url("/end.json"), Ok(&other.url("/end.json")));
        check(status, &end.replace("https:", "http:"), Err(("net.redirect_downgrade", "http://localhost")));
    }
    for location in
        ["file:///etc/passwd", "ftp://e.org/a", "git://e.org/a", "data:,x", "javascript:x", "ssh://e.org/a"]
    {
        check(302, location, Err(("net.redirect_downgrade", "after a redirect")));
    }
    check(302, "https://user:s3cret@localhost/", Err(("net.redirects", "***@localhost")));
    check(302, "https://e.org/%0aevil", Err(("net.redirects", "%0aevil")));
    check(302, "https://e.org/a/../b", Err(("net.redirects", "..")));
    check(302, "https://2130706433/", Err(("net.redirects", "2130706433")));
    check(302, "https://\u{e9}.org/", Err(("net.redirects", "to")));
    check(302, "end json", Err(("net.redirects", "to")));
    check(302, "\\\\e.org\\a", Err(("net.redirects", "to")));
    check(302, "start", Err(("net.redirects", "a circle")));
    server.route("/d/start", Route::status(302));
    check_error(
        ask(&origins, &server.url("/d/start"), &budget(|_| {})),
        Kind::Unreachable,
        "net.redirects",
        "nowhere",
    );
    let raw = b"HTTP/1.1 302 x\r\nlocation: /\x1b[31m\r\ncontent-length: 0\r\n\r\n";
    server.route("/d/start", Route::Raw(raw.to_vec()));
    let error = ask(&origins, &server.url("/d/start"), &budget(|_| {})).unwrap_err();
    assert!(!error.to_string().contains('\x1b'), "{error:?}");
}

#[test]
fn e1_there_are_at_most_five_redirects() {
    let server = TlsServer::start();
    for n in 0..9 {
        server.route(&format!("/{n}"), Route::redirect(302, &format!("/{}", n + 1)));
    }
    server.put("/9", b"end");
    assert_eq!(get(&server, "/4").unwrap().bytes, b"end");
    server.forget();
    check_error(get(&server, "/3"), Kind::Unreachable, "net.redirects", "limits.redirects");
    assert_eq!(server.requests().len(), 6);
    check_error(
        get_within(&server, "/8", |limits| limits.redirects = 0),
        Kind::Unreachable,
        "net.redirects",
        "at most 0 redirects",
    );
    server.route("/a", Route::redirect(302, "/b"));
    server.route("/b", Route::redirect(302, "/a"));
    check_error(get(&server, "/a"), Kind::Unreachable, "net.redirects", "a circle");
}

#[test]
fn what_may_pass_is_tried_again_and_what_may_not_is_not() {
    let server = TlsServer::start();
    let check = |routes: Vec<Route>, expected: Result<(), (Kind, &str, &str)>, requests: usize| {
        server.forget();
        let shown = format!("{routes:?}");
        server.script("/a", routes);
        let found = get_within(&server, "/a", |limits| limits.total_s = 30);
        match expected {
            Ok(()) => assert_eq!(found.unwrap().bytes, b"good", "{shown}"),
            Err((kind, reason, hint)) => check_error(found, kind, reason, hint),
        }
        assert_eq!(server.requests().len(), requests, "{shown}");
    };
    let good = || Route::ok(b"good");
    for status in [429, 500, 502, 503, 504] {
        check(vec![Route::status(status), good()], Ok(()), 2);
    }
    check(vec![Route::status(503); 3].into_iter().chain([good()]).collect(), Ok(()), 4);
    check(vec![Route::status(503)], Err((Kind::Unreachable, "net.status", "tried 4 times")), 4);
    check(vec![Route::status_with(503, "retry-after: 0"), good()], Ok(()), 2);
    check(vec![Route::status_with(429, "retry-after: 1"), good()], Ok(()), 2);
    check(vec![Route::status_with(503, "retry-after: soon"), good()], Ok(()), 2);
    let dated = |until: &str| {
        let headers = [format!("retry-after: {until}"), "date: Sun, 06 Nov 1994 08:49:37 GMT".to_owned()];
        Route::Answer(503, headers.to_vec(), Vec::new())
    };
    check(vec![dated("Sun, 06 Nov 1994 08:49:38 GMT"), good()], Ok(()), 2);
    let tomorrow = Err((Kind::Unreachable, "net.status", "503"));
    check(vec![dated("Mon, 07 Nov 1994 08:49:37 GMT"), good()], tomorrow, 1);
    // More than a sum of times holds.
    let ever = Route::status_with(503, &format!("retry-after: {}", u64::MAX));
    check(vec![ever, good()], Err((Kind::Unreachable, "net.status", "503")), 1);
    // Longer than we wait, and longer than this run lasts.
    for seconds in ["61", "45", "99999999999999999999999"] {
        let tried = if seconds.len() > 2 { 2 } else { 1 };
        let routes = vec![Route::status_with(503, &format!("retry-after: {seconds}")), good()];
        match tried {
            1 => check(routes, Err((Kind::Unreachable, "net.status", "503")), 1),
            _ => check(routes, Ok(()), 2),
        }
    }
    check(vec![Route::declared(10, b"goo"), Route::declared(10, b""), good()], Ok(()), 3);
    check(vec![Route::declared(10, b"goo")], Err((Kind::Unreachable, "net.cut", "the whole answer")), 4);
    check(vec![Route::Raw(b"".to_vec()), good()], Ok(()), 2);
    check(
        vec![Route::Raw(b"HTTP/1.1 200 OK\r\ncontent-le".to_vec())],
        Err((Kind::Unreachable, "net.cut", "")),
        4,
    );
    let chunked = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\ngo";
    check(vec![Route::Raw(chunked.to_vec()), good()], Ok(()), 2);
    let unmeasured = b"HTTP/1.1 200 OK\r\n\r\ngoo";
    check(vec![Route::Raw(unmeasured.to_vec()), good()], Ok(()), 2);
    for (status, kind, reason, hint) in [
        (404, Kind::Missing, "net.not_found", "404"),
        (410, Kind::Missing, "net.not_found", "410"),
        (401, Kind::Refused, "net.forbidden", "[[https.tokens]]"),
        (403, Kind::Refused, "net.forbidden", "[[https.tokens]]"),
        (400, Kind::Unreachable, "net.status", "400"),
        (418, Kind::Unreachable, "net.status", "418"),
        (204, Kind::Unreachable, "net.status", "204"),
        (206, Kind::Unreachable, "net.status", "206"),
        (300, Kind::Unreachable, "net.status", "300"),
    ] {
        check(vec![Route::status(status), good()], Err((kind, reason, hint)), 1);
    }
    check(
        vec![Route::Raw(b"\x1b[31mwhat?\r\n\r\n".to_vec()), good()],
        Err((Kind::Unreachable, "net.protocol", "")),
        1,
    );
    server.forget();
    server.script("/a", vec![Route::status(503), good()]);
    let once = get_within(&server, "/a", |limits| limits.tries = 1);
    check_error(once, Kind::Unreachable, "net.status", "503");
}

#[test]
fn no_declared_length_is_trusted() {
    let server = TlsServer::start();
    let check = |route: Route, reason: &str, key: &str| {
        server.forget();
        server.route("/a", route);
        let found = get_within(&server, "/a", |limits| limits.catalogue_bytes = 100_000);
        check_error(found, Kind::Limit, reason, key);
        assert_eq!(server.requests().len(), 1);
        // What lies in the buffers of the two sockets is sent all the same.
        assert!(server.sent() < 32 << 20, "{} bytes", server.sent());
    };
    let zeros = vec![0; 16 << 10];
    let chunk = [&b"4000\r\n"[..], &zeros, b"\r\n"].concat();
    let over = ("limit.catalogue_bytes", "limits.catalogue_bytes");
    check(Route::Endless(b"HTTP/1.1 200 OK\r\n\r\n".to_vec(), zeros.clone()), over.0, over.1);
    let head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
    check(Route::Endless(head, chunk), over.0, over.1);
    check(Route::declared(1 << 60, b"x"), over.0, over.1);
    check(Route::ok(&vec![b'x'; 100_001]), over.0, over.1);
    let head = b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\n\r\n".to_vec();
    let start = gzip(b"");
    check(Route::encoded("gzip", &gzip(&vec![0; 64 << 20])), over.0, over.1);
    // Blocks that hold nothing: the packed bytes are counted as well.
    let stored = [0u8, 0, 0, 0xff, 0xff].repeat(4096);
    check(Route::Endless([head, start[..10].to_vec()].concat(), stored), over.0, over.1);
    server.route("/a", Route::ok(&vec![b'x'; 1000]));
    let found = get_within(&server, "/a", |limits| limits.total_bytes = 999);
    check_error(found, Kind::Limit, "limit.total_bytes", "limits.total_bytes");
    // A length that is too small: what was declared is the document, and the connection is not used again.
    server.route("/a", Route::declared(4, b"goodHTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil"));
    let origins = origins(&server);
    for _ in 0..2 {
        assert_eq!(ask(&origins, &server.url("/a"), &budget(|_| {})).unwrap().bytes, b"good");
    }
}

#[test]
fn e10_a_body_is_packed_once_with_gzip_or_not_at_all() {
    let server = TlsServer::start();
    let check = |route: Route, expected: Result<&[u8], &str>| {
        server.route("/a", route);
        match (get(&server, "/a"), expected) {
            (found, Ok(bytes)) => assert_eq!(found.unwrap().bytes, bytes),
            (found, Err(hint)) => check_error(found, Kind::Refused, "net.encoding", hint),
        }
    };
    check(Route::encoded("gzip", &gzip(b"text")), Ok(b"text"));
    check(Route::encoded("x-gzip", &gzip(b"text")), Ok(b"text"));
    check(Route::encoded("identity", b"text"), Ok(b"text"));
    check(Route::encoded("br", b"text"), Err("\"br\""));
    check(Route::encoded("gzip, gzip", &gzip(&gzip(b"text"))), Err("gzip, gzip"));
    check(Route::encoded("gzip", b"text"), Err("packed once with gzip"));
    check(Route::encoded("gzip", &gzip(b"text")[..12]), Err("packed once with gzip"));
    let doubled = vec!["content-encoding: gzip".to_owned(), "content-encoding: gzip".to_owned()];
    check(Route::Answer(200, doubled, gzip(b"text")), Err("gzip, gzip"));
}

#[test]
fn the_silent_and_the_slow_are_cut_off() {
    let server = TlsServer::start();
    let check = |route: Route, change: fn(&mut Limits), kind: Kind, reason: &str, hint: &str| {
        server.forget();
        server.route("/a", route);
        check_error(get_within(&server, "/a", change), kind, reason, hint);
        assert_eq!(server.requests().len(), 1);
    };
    let head = b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n".to_vec();
    let (soon, step) = (|limits: &mut Limits| limits.stall_s = 1, Duration::from_millis(20));
    check(Route::Stall(Vec::new()), soon, Kind::Unreachable, "net.timeout", "limits.stall_s");
    check(Route::Stall(head[..20].to_vec()), soon, Kind::Unreachable, "net.timeout", "limits.stall_s");
    check(Route::Stall(head.clone()), soon, Kind::Unreachable, "net.timeout", "limits.stall_s");
    let begun = [head.clone(), b"abc".to_vec()].concat();
    check(Route::Stall(begun), soon, Kind::Unreachable, "net.timeout", "limits.stall_s");
    check(
        Route::Drip(b"HTTP/1.1 200 OK\r\n\r\n".to_vec(), step),
        soon,
        Kind::Unreachable,
        "net.too_slow",
        "limits.rate_bytes_s",
    );
    let ends = |limits: &mut Limits| limits.total_s = 1;
    check(Route::Stall(Vec::new()), ends, Kind::Limit, "limit.total_s", "limits.total_s");
    check(Route::Stall(head), ends, Kind::Limit, "limit.total_s", "limits.total_s");
    // Without a minimum rate, time is what ends it.
    let patient = |limits: &mut Limits| (limits.rate_bytes_s, limits.total_s) = (0, 2);
    check(
        Route::Drip(b"HTTP/1.1 200 OK\r\n\r\n".to_vec(), step),
        patient,
        Kind::Limit,
        "limit.total_s",
        "limits.total_s",
    );
}

#[test]
fn what_cannot_be_reached_is_told_apart() {
    let server = TlsServer::start();
    let origins = origins(&server);
    let once = || budget(|limits| (limits.tries, limits.connect_s) = (1, 1));
    let check = |url: &str, reason: &str, hint: &str| {
        check_error(ask(&origins, url, &once()), Kind::Unreachable, reason, hint);
    };
    check(&format!("https://{}.invalid/a", "x".repeat(70)), "net.dns", "an address for xxx");
    // Nobody has this name. How long it takes to hear that is the resolver's business.
    let unknown = ask(
        &origins,
        "https://nobody.invalid/a",
        &budget(|limits| (limits.tries, limits.connect_s) = (1, 120)),
    );
    check_error(unknown, Kind::Unreachable, "net.dns", "an address for nobody.invalid");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    // It takes connections and says nothing.
    check(&format!("https://127.0.0.1:{port}/a"), "net.timeout", "limits.connect_s");
    drop(listener);
    check(&format!("https://127.0.0.1:{port}/a"), "net.refused", &format!("a server at 127.0.0.1:{port}"));
    let repeated = ask(&origins, &format!("https://127.0.0.1:{port}/a"), &budget(|_| {}));
    check_error(repeated, Kind::Unreachable, "net.refused", "tried 4 times");
    let plain = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = plain.local_addr().unwrap().port();
    let speaker = std::thread::spawn(move || {
        let (mut stream, _) = plain.accept().unwrap();
        stream.write_all(b"HTTP/1.1 400 plain\r\n\r\n").unwrap();
        let _ = std::io::copy(&mut stream, &mut std::io::sink());
    });
    check(&format!("https://127.0.0.1:{port}/a"), "net.tls", "TLS 1.2 or 1.3");
    speaker.join().unwrap();
    let closing = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = closing.local_addr().unwrap().port();
    let closer = std::thread::spawn(move || drop(closing.accept().unwrap()));
    check(&format!("https://127.0.0.1:{port}/a"), "net.connect", "a connection to");
    closer.join().unwrap();
}

#[test]
fn e8_bad_certificates_are_refused_with_their_fault() {
    for (kind, hint) in [
        (Certificate::Expired, "has expired"),
        (Certificate::NotYetValid, "not valid yet"),
        (Certificate::OtherHost, "another host"),
        (Certificate::SelfSigned, "no known authority"),
        (Certificate::UnknownAuthority, "not signed by the known authority"),
        (Certificate::ForClients, "not for servers"),
        (Certificate::Authority, "basicConstraints=CA:FALSE"),
    ] {
        let server = TlsServer::start_as(&[], kind);
        server.put("/a", b"never");
        let found = get(&server, "/a");
        check_error(found.clone(), Kind::Unreachable, "net.tls", hint);
        check_error(found, Kind::Unreachable, "net.tls", "https.ca_file");
        assert_eq!((server.requests().len(), server.connections()), (0, 1), "{kind:?} is not tried again");
    }
    let server = TlsServer::start();
    let unknown =
        Network { https: Https { proxy: ProxyChoice::None, ..Https::default() }, ..Network::default() };
    let origins = Origins::new(unknown).unwrap();
    let found = ask(&origins, &server.url("/a"), &budget(|_| {}));
    check_error(found, Kind::Unreachable, "net.tls", "https.ca_file");
}

#[test]
fn a_file_without_authorities_is_refused_before_anything_is_fetched() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ca.pem");
    let check = |hint: &str| {
        let refusal = Origins::new(trusting(path.clone())).expect_err(hint);
        assert_eq!(refusal.reason, "net.ca_file");
        assert!(refusal.to_string().contains("https.ca_file"), "{refusal}");
    };
    check("missing");
    std::fs::write(&path, "").unwrap();
    check("empty");
    std::fs::write(&path, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").unwrap();
    check("no certificate");
    std::fs::remove_file(&path).unwrap();
    std::fs::create_dir(&path).unwrap();
    check("a directory");
}

/// Writes a token file that only we can read.
fn token_file(directory: &Path, text: &str) -> PathBuf {
    use std::os::unix::fs::OpenOptionsExt as _;
    let path = directory.join("token");
    let mut file =
        std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path).unwrap();
    file.write_all(text.as_bytes()).unwrap();
    path
}

#[test]
fn e6_a_token_reaches_its_own_prefix_and_nobody_else() {
    let (server, other) = (TlsServer::start(), TlsServer::start());
    let directory = tempfile::tempdir().unwrap();
    let both = directory.path().join("both.pem");
    std::fs::write(
        &both,
        [server.ca_file(), other.ca_file()].map(|file| std::fs::read(file).unwrap()).concat(),
    )
    .unwrap();
    let mut network = trusting(both);
    let file = Some(token_file(directory.path(), SENTINEL));
    network.https.tokens = vec![Token { url: server.url("/private"), file, env: None, user: None }];
    let origins = Origins::new(network).unwrap();
    assert!(!format!("{origins:?}").contains(SENTINEL));
    server.put("/private/a.json", b"a");
    server.put("/open/a.json", b"a");
    server.put("/privates/a.json", b"a");
    other.put("/private/a.json", b"a");
    server.route("/private/away", Route::redirect(307, &other.url("/private/a.json")));
    server.route("/private/out", Route::redirect(302, "/open/a.json"));
    server.route("/open/in", Route::redirect(302, "/private/a.json"));
    server.route("/private/no", Route::status(403));
    server.route("/private/bad", Route::declared(9, b"x"));
    server.route("/private/down", Route::redirect(302, "http://e.org/"));
    let mut said = String::new();
    for path in [
        "/private/a.json",
        "/open/a.json",
        "/privates/a.json",
        "/private/away",
        "/private/out",
        "/open/in",
        "/private/no",
        "/private/bad",
        "/private/down",
        "/private/gone",
    ] {
        match ask(&origins, &server.url(path), &naming(&[&other], |_| {})) {
            Ok(fetched) => said.push_str(&format!("{fetched:?}\n")),
            Err(error) => said.push_str(&format!("{error}\n{error:?}\n")),
        }
    }
    assert!(said.contains("net.forbidden") && said.contains("renew it"), "{said}");
    assert!(!said.contains(SENTINEL), "{said}");
    let bearer = format!("Bearer {SENTINEL}");
    for request in server.requests() {
        let expected = request.path().starts_with("/private/").then_some(bearer.as_str());
        assert_eq!(request.header("authorization"), expected, "{}", request.target);
    }
    assert_eq!(other.lines(), ["GET /private/a.json"]);
    assert!(!format!("{:?}", other.requests()).contains(SENTINEL));
}

#[test]
fn the_client_ends_cleanly_also_inside_somebody_s_runtime() {
    let server = TlsServer::start();
    server.put("/a", b"a");
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let bytes = runtime.block_on(async { get(&server, "/a").unwrap().bytes });
    assert_eq!(bytes, b"a");
    let many = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
    let bytes = many.block_on(async { get(&server, "/a").unwrap().bytes });
    assert_eq!(bytes, b"a");
    // One that never connected.
    drop(origins(&server));
    assert_eq!(server.requests().len(), 2);
}

/// Writes a configuration that trusts `server`, and a sources file with one list of it.
fn sandbox(server: &TlsServer, more: &str) -> Sandbox {
    let sandbox = Sandbox::with_sources(&json!({
        "schema": "lcod-resolver/sources@1",
        "sources": [{ "id": "far", "priority": 1,
            "entrypoint": { "type": "https", "url": server.url("/private/catalogues.json") } }],
    }));
    let config = format!("[https]\nca_file = \"{}\"\n{more}", server.ca_file().display());
    std::fs::write(sandbox.path("config.toml"), config).unwrap();
    server.put("/private/catalogues.json", br#"{"schema":"lcod-registry/catalogues@1","catalogues":[]}"#);
    sandbox
}

#[test]
fn e6_no_token_is_in_the_log_or_in_what_a_verb_says() {
    let server = TlsServer::start();
    let (user, variable) = ("reader", "THE_TOKEN");
    let tokens = format!(
        "[[https.tokens]]\nurl = \"{}\"\nenv = \"{variable}\"\nuser = \"{user}\"\n",
        server.url("/private")
    );
    let sandbox = sandbox(&server, &tokens);
    let encoded = "cmVhZGVyOnMzbnRpbmVsLTBmLWEtdDBrZW4=";
    let run = |arguments: &[&str]| {
        let mut command = sandbox.command();
        command.env(variable, SENTINEL).env("RESOLVERD_LOG", "trace");
        command.args(arguments).args(["--config", sandbox.path("config.toml").to_str().unwrap()]);
        let output = command.output().unwrap();
        let said =
            [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
        for secret in [SENTINEL, encoded] {
            assert!(!said.contains(secret), "{arguments:?}: {said}");
        }
        said
    };
    let said = run(&["sync", "-o", "json"]);
    let seen: Vec<_> =
        server.requests().iter().map(|one| one.header("authorization").map(str::to_owned)).collect();
    assert_eq!(seen, [Some(format!("Basic {encoded}"))], "{said}");
    server.script("/private/catalogues.json", vec![Route::status(403)]);
    let said = [run(&["sync"]), run(&["sources", "-o", "json"])].concat();
    assert!(said.contains("net.forbidden"), "{said}");
    let state = sandbox.state();
    let kept = std::process::Command::new("grep")
        .args(["-r", "-a", "-e", SENTINEL, "-e", encoded])
        .arg(&state)
        .output()
        .unwrap();
    assert!(kept.stdout.is_empty(), "{}", String::from_utf8_lossy(&kept.stdout));
}

#[test]
fn a_token_that_is_not_there_concerns_only_what_needs_it() {
    let server = TlsServer::start();
    let tokens = format!("[[https.tokens]]\nurl = \"{}\"\nenv = \"NO_SUCH_TOKEN\"\n", server.url("/private"));
    let sandbox = sandbox(&server, &tokens);
    let near = serde_json::json!({ "id": "near", "priority": 2,
        "entrypoint": { "type": "file", "path": sandbox.path("near.json") } });
    std::fs::write(sandbox.path("near.json"), r#"{"schema":"lcod-registry/catalogues@1","catalogues":[]}"#)
        .unwrap();
    let mut sources: Value = serde_json::from_slice(&std::fs::read(sandbox.sources()).unwrap()).unwrap();
    sources["sources"].as_array_mut().unwrap().push(near);
    sandbox.write_sources(&sources);
    let config = sandbox.path("config.toml");
    let run =
        |arguments: &[&str]| sandbox.run(&[arguments, &["--config", config.to_str().unwrap()]].concat());
    // What can be read is read, and the source that cannot is named with the variable.
    let said = run(&["sync", "-o", "json"]);
    assert_eq!(said.status, 0, "{said:?}");
    let report: Value = serde_json::from_str(&said.stdout).unwrap();
    let row =
        |id: &str| report["sources"].as_array().unwrap().iter().find(|row| row["id"] == id).unwrap().clone();
    assert_eq!(
        (&row("near")["health"], &row("far")["health"]),
        (&json!("fresh"), &json!("unread")),
        "{report:#}"
    );
    let why = row("far")["error"].to_string();
    assert!(why.contains("net.token") && why.contains("NO_SUCH_TOKEN"), "{report:#}");
    assert!(server.requests().is_empty(), "nothing is sent without the token");
    for verb in [&["status"][..], &["sources"], &["components"]] {
        let said = run(verb);
        assert_eq!(said.status, 0, "{verb:?}: {said:?}");
    }
    assert!(run(&["doctor"]).stdout.contains("NO_SUCH_TOKEN"));
}

#[test]
fn the_machine_s_own_authorities_are_trusted_and_having_none_is_said_when_it_matters() {
    let server = TlsServer::start();
    let sandbox = sandbox(&server, "");
    std::fs::write(sandbox.path("config.toml"), "").unwrap();
    std::fs::write(sandbox.path("none.pem"), "").unwrap();
    let run = |file: &Path, arguments: &[&str]| {
        let mut command = sandbox.command();
        command.args(arguments).args(["--config", sandbox.path("config.toml").to_str().unwrap()]);
        let output = command.env("SSL_CERT_FILE", file).output().unwrap();
        [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat()
    };
    let none = sandbox.path("none.pem");
    let said = [run(&none, &["sync"]), run(&none, &["sources", "-o", "json"])].concat();
    assert!(said.contains("net.tls") && said.contains("https.ca_file"), "{said}");
    assert_eq!(server.connections(), 0);
    run(&server.ca_file(), &["sync"]);
    assert_eq!(server.lines(), ["GET /private/catalogues.json"]);
}

#[test]
fn e9_the_environment_s_proxy_is_used_unless_the_operator_says_none() {
    let server = TlsServer::start();
    let proxy = Proxy::start();
    let check = |config: &str, environment: &[(&str, &str)], through: usize| {
        let sandbox = sandbox(&server, config);
        server.forget();
        let before = proxy.heads().len();
        let mut command = sandbox.command();
        command.args(["sync", "--config", sandbox.path("config.toml").to_str().unwrap()]);
        command.envs(environment.iter().copied());
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(server.lines(), ["GET /private/catalogues.json"], "{environment:?}: {said}");
        assert!(!said.contains("pr0xy"), "{said}");
        assert_eq!(proxy.heads().len() - before, through, "{config} {environment:?}");
    };
    let url = proxy.url("someone:pr0xy");
    check("", &[("HTTPS_PROXY", &url)], 1);
    check("", &[("ALL_PROXY", &url)], 1);
    check("", &[("HTTPS_PROXY", &url), ("NO_PROXY", "localhost")], 0);
    check("", &[("HTTP_PROXY", &url)], 0);
    check("proxy = \"none\"\n", &[("HTTPS_PROXY", &url)], 0);
    let heads = proxy.heads();
    let place = server.origin().trim_start_matches("https://").to_owned();
    assert!(heads[0].starts_with(&format!("CONNECT {place} ")), "{heads:?}");
    assert!(heads[0].to_ascii_lowercase().contains("proxy-authorization: basic "), "{heads:?}");
}

#[test]
fn e7_a_token_is_bound_to_the_very_address_that_was_written() {
    let (server, other) = (TlsServer::start(), TlsServer::start());
    let directory = tempfile::tempdir().unwrap();
    let mut network = trusting(server.ca_file());
    let file = Some(token_file(directory.path(), SENTINEL));
    network.https.tokens = vec![Token { url: server.url("/reg"), file, env: None, user: None }];
    let origins = Origins::new(network).unwrap();
    let paths = [
        ("/reg", true),
        ("/reg/", true),
        ("/reg/a.json", true),
        ("/reg?a", true),
        ("/reg.git", false),
        ("/reg.git/a.json", false),
        ("/regs/a.json", false),
        ("/Reg/a.json", false),
        ("/re%67/a.json", false),
        ("/a/reg/a.json", false),
    ];
    for (path, expected) in paths {
        server.forget();
        server.route(path.split('?').next().unwrap(), Route::ok(b"a"));
        let found = ask(&origins, &server.url(path), &budget(|_| {}));
        assert!(found.is_ok(), "{path}: {found:?}");
        let sent = server.requests()[0].header("authorization").is_some();
        assert_eq!(sent, expected, "{path}");
    }
    let elsewhere = ask(&origins, &other.url("/reg/a.json"), &budget(|_| {}));
    check_error(elsewhere, Kind::Unreachable, "net.tls", "known authority");
}

#[test]
fn e13_nothing_but_http_1_is_spoken() {
    let server = TlsServer::start();
    // A server's settings, then an endless continuation of headers, as HTTP/2 writes them.
    let settings = b"\0\0\0\x04\0\0\0\0\0".to_vec();
    let flood = [&b"\0\0\x04\x09\0\0\0\0\x01"[..], &[0; 4]].concat();
    server.route("/a", Route::Endless(settings, flood));
    check_error(get(&server, "/a"), Kind::Unreachable, "net.protocol", "HTTP/1.1 from localhost");
    let upgrade = b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n".to_vec();
    server.route("/a", Route::Raw(upgrade));
    let error = get(&server, "/a").expect_err("no document");
    assert!(["net.status", "net.protocol", "net.cut"].contains(&&*error.refusal().reason), "{error}");
}
