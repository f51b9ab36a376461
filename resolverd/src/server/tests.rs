//! The server over a real socket, asked by the blocking client.
#![allow(clippy::unwrap_used)]

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::net::UnixListener;
use tokio::sync::oneshot;

use super::*;
use crate::client::Client;
use crate::order::{OrderError, SyncReport};
use crate::server::connection::run_with;
use crate::server::quick::{Next, Quick};
use crate::server::stream::Patience;

mod searches;

fn state(orders: Option<Sender<Order>>) -> State {
    let state = State::new(orders, Box::new(|_| Some(b"{\"schema\": \"x\"}".to_vec())));
    state.publish(Arc::new(crate::server::answer::tests::world()));
    state
}

/// A state whose plain questions are answered before the full server sees them, as the daemon's.
fn ahead() -> State {
    state(None).with_clock(|| 784_111_777)
}

/// Runs a server on a socket while `work` asks it.
fn serving(state: impl Into<Arc<State>>, patience: Patience, work: impl FnOnce(&Path) + Send) {
    let state = state.into();
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("s");
    let (stop, stopped) = oneshot::channel::<()>();
    let (up, is_up) = channel();
    let path = socket.clone();
    thread::scope(|scope| {
        scope.spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = UnixListener::bind(&path).unwrap();
                up.send(()).unwrap();
                let stop = async { drop(stopped.await) };
                run_with(listener, state, patience, stop).await;
            });
        });
        is_up.recv().unwrap();
        // Dropped when `work` panics too, so that the server ends.
        let _stop = stop;
        work(&socket);
    });
}

fn json_of(reply: &Reply) -> Value {
    serde_json::from_slice(&reply.body).unwrap()
}

/// Sends raw bytes and returns everything that comes back until the server closes.
fn raw(socket: &Path, request: &str) -> String {
    let mut stream = UnixStream::connect(socket).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    // A reset behind the answer is a close too.
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

#[test]
fn one_connection_takes_many_calls() {
    serving(state(None), Patience::default(), |socket| {
        let mut client = Client::connect(socket).unwrap();
        for _ in 0..3 {
            assert_eq!(client.call(&Call::get("/livez")).unwrap().status, 200);
        }
        let document = client.call(&Call::get("/v1/components/lcod/a/one/0.1.0/manifest")).unwrap();
        assert_eq!(document.body, b"{\"schema\": \"x\"}");
        let problem = client.call(&Call::get("/v1/nothing")).unwrap();
        assert_eq!((problem.status, problem.content_type), (404, crate::api::PROBLEM_JSON));
        assert!(json_of(&problem)["requestId"].is_string());
        let lookups = json!({"ids": vec!["lcod://a/one"; 1000]});
        let many = client.call(&Call::post("/v1/lookup", &lookups)).unwrap();
        assert_eq!(json_of(&many).as_array().unwrap().len(), 1000);
    });
}

/// Sends `pieces` one after the other and a last request behind them, and returns what comes back, without dates.
fn undated(socket: &Path, pieces: &[&[u8]]) -> String {
    let mut stream = UnixStream::connect(socket).unwrap();
    let last: &[u8] = b"GET /livez HTTP/1.1\r\nConnection: close\r\n\r\n";
    for piece in pieces.iter().copied().chain([last]) {
        // Who is refused may be cut off before everything is sent.
        if stream.write_all(piece).is_err() {
            break;
        }
    }
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    let text = String::from_utf8_lossy(&answer).into_owned();
    let is_date = |line: &&str| line.starts_with("date: ");
    assert_eq!(text.lines().filter(is_date).count(), text.matches("HTTP/1.").count(), "{text}");
    text.split_inclusive('\n').filter(|line| !is_date(line)).collect()
}

/// Requests that are plain, nearly plain, and not plain at all.
fn requests_of_all_kinds() -> Vec<String> {
    let get = |target: &str, headers: &str| format!("GET {target} HTTP/1.1\r\n{headers}\r\n");
    let one = "/v1/components/lcod/a/one/0.1.0";
    let mut all: Vec<String> = [
        one,
        "/v1/components/lcod/a/one/v0.1.0",
        "/v1/components/lcod/a/one/0.2.0",
        "/v1/components/lcod/a/one/0.9.9",
        "/v1/components/lcod/a/one/%5E0.1",
        "/v1/components/lcod/a/one/^0.1",
        "/v1/components/lcod/a/one/latest",
        "/v1/components/lcod/a/one/=0.1.0",
        "/v1/components/lcod/a/one/0.1.0+x",
        "/v1/components/lcod%3A%2F%2Fa%2Fone/0.1.0",
        "/v1/components/lcod://a/one/0.1.0",
        "/v1/components/lcod/a//one/0.1.0",
        "/v1/components/lcod/a/One/0.1.0",
        "/v1/components/lcod/0.1.0",
        "/v1/components/lcod/a/one",
        "/v1/components/lcod/a/one/versions",
        "/v1/components/lcod/a/one/0.1.0/manifest",
        "/v1/components/lcod/a/one/download",
        "/v1/components/lcod/a/none/0.1.0",
        "/v1/components/a/one/0.1.0",
        "/v1/components/lcod/a/one/99999999999999999999.0.0",
        "/v1/components/lcod/a/one/01.0.0",
        "/v1/components/lcod/a/one/%zz",
        "/v1/components/lcod/a/one/0.1.0/",
        "/v1/components/search",
        "/v1/components/",
        "/v1/components/lcod/a/one/0.1.0?snapshot=x",
    ]
    .map(|target| get(target, "Host: localhost\r\n"))
    .into();
    all.extend(
        [
            "",
            "Host: x\r\nConnection: keep-alive\r\nUser-Agent: a/1\r\nAccept: */*\r\n",
            "Host: x\r\nContent-Length: 0\r\n",
            "Host: x\r\nContent-Length: 2\r\n\r\n{}",
            "Host: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n",
            "Host: x\r\nExpect: 100-continue\r\n",
            "Host: example.org\r\n",
            "Host: x\r\nhost: 1.2.3.4\r\n",
            "Origin: null\r\n",
            "Sec-Fetch-Mode: cors\r\n",
            "Host : x\r\n",
            "Host: x\r\n folded: y\r\n",
            "Accept: a\tb\r\n",
            "Accept: \u{e9}\r\n",
            "no colon\r\n",
        ]
        .map(|headers| get(one, headers)),
    );
    all.push(get(one, &"Accept: x\r\n".repeat(40)));
    all.push(get(one, &format!("User-Agent: {}\r\n", "x".repeat(9_000))));
    all.push(get(one, &format!("User-Agent: {}\r\n", "x".repeat(20_000))));
    all.push(format!("GET {one} HTTP/1.1\nHost: x\n\n"));
    all.push(format!("\r\nGET {one} HTTP/1.1\r\nHost: x\r\n\r\n"));
    all.push(format!("HEAD {one} HTTP/1.1\r\nHost: x\r\n\r\n"));
    all.push(format!("DELETE {one} HTTP/1.1\r\nHost: x\r\n\r\n"));
    all.push(format!("GET http://localhost{one} HTTP/1.1\r\nHost: x\r\n\r\n"));
    all.push(format!("GET {one} HTTP/1.0\r\nHost: x\r\n\r\n"));
    all.push(format!("GET {one} HTTP/1.1\r\nHost: x"));
    all.push(format!("GET {one} HTT"));
    all
}

#[test]
fn answers_are_the_same_with_and_without_the_first_reader() {
    let full = state(None);
    let requests = requests_of_all_kinds();
    // The number of a request stands in a problem, so both are asked as often.
    serving(full, Patience::default(), |full| {
        let ahead = ahead();
        ahead.learn();
        serving(ahead, Patience::default(), |socket| {
            let plain = requests[0].as_str();
            for request in &requests {
                // Alone, behind a plain one, and before one: each on a connection of its own.
                for text in [request.clone(), format!("{plain}{request}"), format!("{request}{plain}")] {
                    let expected = undated(full, &[text.as_bytes()]);
                    assert_eq!(undated(socket, &[text.as_bytes()]), expected, "{text:?}");
                }
            }
            let text = format!("{plain}{}{}{plain}", requests[4], requests[18]);
            let expected = undated(full, &[text.as_bytes()]);
            assert_eq!(expected.matches("HTTP/1.1 200").count(), 4, "{expected}");
            assert_eq!(undated(socket, &[text.as_bytes()]), expected);
            for at in 0..text.len() {
                let (head, tail) = text.as_bytes().split_at(at);
                let expected = undated(full, &[head, tail]);
                assert_eq!(undated(socket, &[head, tail]), expected, "cut at {at}");
            }
            // Where another connection is open, whoever has read a question lets others go first.
            let _other = UnixStream::connect(socket).unwrap();
            for request in &requests {
                let text = format!("{plain}{request}");
                let expected = undated(full, &[text.as_bytes()]);
                assert_eq!(undated(socket, &[text.as_bytes()]), expected, "{text:?} beside another");
            }
        });
    });
}

#[test]
fn questions_that_arrive_together_are_answered_each_on_its_own() {
    let state = both().into_iter().next_back().unwrap();
    let question = |version: &str| {
        format!("GET /v1/components/lcod/a/one/{version} HTTP/1.1\r\nhost: localhost\r\n\r\n")
    };
    serving(state, Patience::default(), |socket| {
        let versions = ["0.1.0", "0.2.2", "1.4.0", "9.9.9", "0.2.1", "2.0.0-a", "1.5.0", "0.9.9"];
        let expected = versions.map(|version| undated(socket, &[question(version).as_bytes()]));
        assert!(expected.iter().any(|answer| answer.contains("\"version\":\"1.4.0\"")), "{expected:?}");
        thread::scope(|scope| {
            for at in 0..24 {
                let place = at % versions.len();
                let (version, expected) = (versions[place], &expected[place]);
                scope.spawn(move || {
                    for _ in 0..50 {
                        let without_number = |text: &str| text.split("requestId").next().map(str::to_owned);
                        let found = undated(socket, &[question(version).as_bytes()]);
                        assert_eq!(without_number(&found), without_number(expected), "{version}");
                    }
                });
            }
        });
    });
}

/// Polls `work` once and tells whether it waits.
fn waits<T>(work: std::pin::Pin<&mut impl Future<Output = T>>) -> bool {
    work.poll(&mut std::task::Context::from_waker(std::task::Waker::noop())).is_pending()
}

#[test]
fn a_question_that_let_others_go_first_is_answered_though_the_daemon_stops() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let state = both().into_iter().next_back().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let check = |connections: usize, expected: [bool; 2], behind: &str| {
        (0..connections).for_each(|_| state.metrics().connected());
        let told = runtime.block_on(async {
            let (mut peer, mut own) = tokio::io::duplex(64 << 10);
            let question = "GET /v1/components/lcod/a/one/0.1.0 HTTP/1.1\r\n\r\n";
            peer.write_all(format!("{question}{behind}").as_bytes()).await.unwrap();
            let mut quick = Quick::new();
            assert!(waits(std::pin::pin!(quick.serve(&mut own, &state))));
            let mut answer = [0; 12];
            let is_answered = !waits(std::pin::pin!(peer.read_exact(&mut answer)));
            let next = quick.stop(&mut own, &state).await.unwrap();
            drop(own);
            let mut rest = Vec::new();
            peer.read_to_end(&mut rest).await.unwrap();
            let all = [if is_answered { &answer[..] } else { &[] }, &rest].concat();
            assert!(all.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&all));
            [is_answered, next == Next::Closed]
        });
        (0..connections).for_each(|_| state.metrics().disconnected());
        assert_eq!(told, expected, "{connections} connections, {behind:?} behind the question");
    };
    check(1, [true, true], "");
    check(2, [false, true], "");
    // What only the full server answers is left to it.
    check(2, [false, false], "GET /livez HTTP/1.1\r\n\r\n");
}

#[test]
fn questions_of_two_connections_are_fetched_for_together() {
    use tokio::io::AsyncWriteExt as _;
    let state = both().into_iter().next_back().unwrap();
    (0..2).for_each(|_| state.metrics().connected());
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let mut open = Vec::new();
        for version in ["0.1.0", "^1"] {
            let (mut peer, mut own) = tokio::io::duplex(64 << 10);
            let question = format!("GET /v1/components/lcod/a/one/{version} HTTP/1.1\r\n\r\n");
            peer.write_all(question.as_bytes()).await.unwrap();
            assert!(waits(std::pin::pin!(Quick::new().serve(&mut own, &state))));
            open.push((peer, own));
        }
    });
    assert_eq!(state.together.take().count(), 2);
}

/// A state that knows where releases stand, and one that does not yet.
fn both() -> [State; 2] {
    [false, true].map(|is_known| {
        let state = ahead();
        state.publish(Arc::new(crate::server::encoded::tests::crowded()));
        if is_known {
            state.learn();
        }
        state
    })
}

/// Asks in both ways; `is_found` says whether the short one has to know the answer.
fn check_found(state: &State, call: &Call, is_found: bool) {
    let mut found = Vec::new();
    let take = |answer: Encoded<'_>| found = answer.into_bytes();
    let operation = state.encoded(call.method, &call.target, &call.body, take);
    assert_eq!(operation.is_some(), is_found, "{call:?}");
    if operation.is_some() {
        let reply = respond(state, call, Caller::Reader);
        assert_eq!(
            (reply.status, String::from_utf8(reply.body)),
            (200, String::from_utf8(found)),
            "{call:?}"
        );
    }
}

#[test]
fn what_is_found_at_once_is_what_is_answered() {
    both().iter().for_each(what_is_found_is_answered);
}

fn what_is_found_is_answered(state: &State) {
    for version in [
        "0.1.0",
        "0.2.0",
        "0.2.1",
        "0.2.2",
        "1.0.0",
        "1.4.0",
        "1.5.0",
        "v1.0.0",
        "%5E1",
        "%5e0.1",
        "^0",
        "^0.2",
        "^0.2.0",
        "^1.0.0",
        "^1.4.0",
        "~1",
        "~1.0",
        "~0.2.0",
        "1",
        "1.0",
        "latest",
        "*",
        "%3C1.4.0",
        "=1.0.0",
        "1.0.0-rc.1",
        "1.0.0+build",
    ] {
        check_found(state, &Call::get(format!("/v1/components/lcod/a/one/{version}")), true);
        check_found(state, &Call::get(format!("/v1/components/lcod%3A%2F%2Fa%2Fone/{version}")), true);
    }
    for version in
        ["9.9.9", "^7", "~1.2", "^1.5.0", "^2", "^0.0", "^", "~", "1.0.0.0", "00.1.0", "^01", "^1."]
    {
        check_found(state, &Call::get(format!("/v1/components/lcod/a/one/{version}")), false);
    }
    // A version of one id and another id: neither is guessed.
    check_found(state, &Call::get("/v1/components/lcod/a/two/1.0.0"), false);
    check_found(state, &Call::get("/livez"), false);
    check_found(state, &Call::get("/v1/components/lcod/a/one/0.1.0?snapshot=0123456789ab"), false);
}

#[test]
fn batches_are_found_at_once_where_they_are_written_plainly() {
    both().iter().for_each(what_is_written_plainly_is_found);
}

fn what_is_written_plainly_is_found(state: &State) {
    let check = |body: &str, is_found: bool| {
        let call = Call { method: "POST", target: LOOKUP.to_owned(), body: body.as_bytes().to_vec() };
        check_found(state, &call, is_found);
    };
    let lookup = |ids: &[&str]| json!({ "ids": ids }).to_string();
    check(&lookup(&[]), true);
    for version in
        ["0.1.0", "0.2.1", "0.2.2", "1.0.0", "1.4.0", "1.5.0", "1.0.0+build", "v1.4.0", "^1", "9", ""]
    {
        check(&lookup(&[&format!("lcod://a/one@{version}")]), true);
    }
    let mixed = ["lcod://a/one@0.1.0", "lcod://a/one@0.2.1", "lcod://a/on", "no reference", "", "a b@1.0.0"];
    check(&lookup(&mixed), true);
    check(&lookup(&["lcod://a/one@0.1.0"; INLINE_MAX]), true);
    check(&lookup(&["lcod://a/one@0.1.0"; INLINE_MAX + 1]), false);
    check(" {\n\t\"ids\" : [ \"lcod://a/one@0.1.0\" ,\r\n\"lcod://a/one\" ] } ", true);
    for text in [
        "",
        "{}",
        "[]",
        "{\"ids\":[\"a\",]}",
        "{\"ids\":[,\"a\"]}",
        "{\"ids\":[\"a\" \"b\"]}",
        "{\"ids\":[\"a]}",
        "{\"ids\":[\"\\u0061\"]}",
        "{\"ids\":[\"\u{e9}\"]}",
        "{\"ids\":[\"a\nb\"]}",
        "{\"ids\":[1]}",
        "{\"ids\":[]} x",
        "{\"ids\":[]",
        "{\"ids\":[],\"ids\":[]}",
        "{\"ids\":[],\"snapshot\":\"0123456789ab\"}",
        "{\"id\":[]}",
        "\u{feff}{\"ids\":[]}",
    ] {
        check(text, false);
    }
}

#[test]
fn plain_requests_are_counted_and_dated_like_all_others() {
    let state = Arc::new(ahead());
    serving(Arc::clone(&state), Patience::default(), |socket| {
        let plain = "GET /v1/components/lcod/a/one/0.1.0 HTTP/1.1\r\nHost: x\r\n\r\n";
        let answer = raw(socket, &format!("{plain}{plain}GET /livez HTTP/1.1\r\nConnection: close\r\n\r\n"));
        assert_eq!(answer.matches("date: Sun, 06 Nov 1994 08:49:37 GMT\r\n").count(), 2, "{answer}");
        let facts = state.facts();
        let text = state.metrics.text(None, &facts);
        let row = "resolverd_requests_total{route=\"/v1/components/{id}/{version}\",code=\"200\"} 2\n";
        assert!(text.contains(row), "{text}");
        assert_eq!((facts.requests, facts.failures), (3, 0));
    });
}

#[test]
fn a_peer_that_asks_plainly_and_never_reads_is_cut_off() {
    let short = Duration::from_millis(50);
    serving(ahead(), Patience { write: short, ..Patience::default() }, |socket| {
        let mut stream = UnixStream::connect(socket).unwrap();
        let plain = "GET /v1/components/lcod/a/one/0.1.0 HTTP/1.1\r\nHost: x\r\n\r\n".repeat(1_000);
        while stream.write_all(plain.as_bytes()).is_ok() {}
        let mut client = Client::connect(socket).unwrap();
        assert_eq!(client.call(&Call::get("/livez")).unwrap().status, 200);
    });
}

#[test]
fn a_plain_connection_that_says_no_more_is_closed() {
    let short = Duration::from_millis(50);
    let check = |patience: Patience, text: &str, answers: usize| {
        serving(ahead(), patience, |socket| {
            assert_eq!(raw(socket, text).matches("HTTP/1.1 200").count(), answers, "{text:?}");
        });
    };
    let plain = "GET /v1/components/lcod/a/one/0.1.0 HTTP/1.1\r\nHost: x\r\n\r\n";
    check(Patience { idle: short, ..Patience::default() }, plain, 1);
    check(Patience { head: short, ..Patience::default() }, "", 0);
    check(Patience { head: short, ..Patience::default() }, &plain[..20], 0);
    check(Patience { idle: short, ..Patience::default() }, &format!("{plain}{}", &plain[..20]), 1);
}

#[test]
fn a_stop_closes_what_is_idle_and_waits_for_a_first_head_that_has_begun() {
    let plain = "GET /v1/components/lcod/a/one/0.1.0 HTTP/1.1\r\nHost: x\r\n\r\n";
    let mut idle = None;
    serving(ahead(), Patience::default(), |socket| {
        let mut stream = UnixStream::connect(socket).unwrap();
        stream.write_all(plain.as_bytes()).unwrap();
        assert!(stream.read(&mut [0; 4096]).unwrap() > 0);
        idle = Some(stream);
    });
    assert_eq!(idle.unwrap().read(&mut [0; 16]).unwrap(), 0);
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    const REQUESTS: usize = 50;
    serving(ahead(), Patience::default(), |socket| {
        let lookup = r#"{"ids": ["lcod://a/one@0.1.0"]}"#;
        // What answers at once stands beside what waits for a body, for a thread, or is refused.
        let kinds = [
            ("GET", "/v1/components/lcod/a/one/0.1.0", "", "\"version\":\"0.1.0\""),
            ("GET", "/v1/components/lcod%3A%2F%2Fa%2Fone/latest", "", "\"version\":\"0.2.0\""),
            ("POST", "/v1/lookup", lookup, "[{\"snapshot\":"),
            ("GET", "/v1/components/lcod/a/one/0.1.0/manifest", "", "{\"schema\": \"x\"}"),
            ("GET", "/v1/nothing", "", "\"reason\":\"api.route\""),
            ("GET", "/v1/components?limit=1", "", "\"nextCursor\":\""),
        ];
        let mut requests = String::new();
        for number in 0..REQUESTS {
            let (method, path, body, _) = kinds[number % kinds.len()];
            let close = if number + 1 == REQUESTS { "Connection: close\r\n" } else { "" };
            let length =
                if body.is_empty() { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
            requests.push_str(&format!(
                "{method} {path} HTTP/1.1\r\nHost: localhost\r\n{length}{close}\r\n{body}"
            ));
        }
        let answer = raw(socket, &requests);
        let answers: Vec<&str> = answer.split("HTTP/1.1 ").skip(1).collect();
        assert_eq!(answers.len(), REQUESTS, "{answer}");
        for (number, answer) in answers.iter().enumerate() {
            let (.., expected) = kinds[number % kinds.len()];
            assert!(answer.contains(expected), "{number}: expected {expected} in {answer}");
        }
    });
}

#[test]
fn a_head_that_comes_in_pieces_is_answered() {
    serving(state(None), Patience::default(), |socket| {
        let mut stream = UnixStream::connect(socket).unwrap();
        let mut seen = Vec::new();
        for (piece, is_answered) in
            [("GET /liv", false), ("ez HTTP/1.1\r\nHo", false), ("st: x\r\n\r\nGET /livez H", true)]
        {
            stream.write_all(piece.as_bytes()).unwrap();
            if is_answered {
                let mut answer = [0; 4096];
                let read = stream.read(&mut answer).unwrap();
                seen.extend_from_slice(&answer[..read]);
            }
        }
        stream.write_all(b"TTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
        stream.read_to_end(&mut seen).unwrap();
        let text = String::from_utf8(seen).unwrap();
        assert_eq!(text.matches("HTTP/1.1 200").count(), 2, "{text}");
    });
}

#[test]
fn web_pages_and_smugglers_are_refused() {
    serving(state(None), Patience::default(), |socket| {
        let check = |headers: &str, expected: &str| {
            let answer = raw(socket, &format!("GET /livez HTTP/1.1\r\nConnection: close\r\n{headers}\r\n"));
            assert!(answer.starts_with(&format!("HTTP/1.1 {expected}")), "{headers}: {answer}");
        };
        for host in ["", "localhost", "localhost:80", "resolverd", "x"] {
            check(&format!("Host: {host}\r\n"), "200");
        }
        for host in ["evil.example", "127.0.0.1", "[::1]", "2130706433", "localhost.evil.example", "a@b"] {
            check(&format!("Host: {host}\r\n"), "403");
        }
        check("Host: localhost\r\nHost: evil.example\r\n", "403");
        check("Host: localhost\r\nOrigin: http://localhost\r\n", "403");
        check("Host: localhost\r\nReferer: http://localhost/\r\n", "403");
        check("Host: localhost\r\nSec-Fetch-Mode: no-cors\r\n", "403");
        let smuggled = "0\r\n\r\nGET /livez HTTP/1.1\r\nHost: x\r\n\r\n";
        let both =
            "POST /v1/sync HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n";
        let answer = raw(socket, &format!("{both}{smuggled}"));
        assert_eq!(answer.matches("HTTP/1.1").count(), 1, "{answer}");
        check(&"X-Y: z\r\n".repeat(101), "431");
        let absolute = raw(socket, "GET http://evil.example/livez HTTP/1.1\r\nConnection: close\r\n\r\n");
        assert!(absolute.starts_with("HTTP/1.1 403"), "{absolute}");
        let method = raw(socket, "DELETE /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        assert!(method.starts_with("HTTP/1.1 405") && method.contains("allow: GET"), "{method}");
        let length = crate::api::BODY_BYTES_MAX + 1;
        let large = format!("POST /v1/lookup HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n");
        assert!(raw(socket, &large).starts_with("HTTP/1.1 413"));
        let chunk = "x".repeat(length);
        let chunked = "POST /v1/lookup HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n";
        let answer = raw(socket, &format!("{chunked}{length:x}\r\n{chunk}\r\n0\r\n\r\n"));
        assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    });
}

#[test]
fn a_head_beyond_the_bounds_is_told_which_one() {
    serving(state(None), Patience::default(), |socket| {
        let check = |headers: &str, status: &str, reason: &str| {
            let answer = raw(socket, &format!("GET /livez HTTP/1.1\r\nConnection: close\r\n{headers}\r\n"));
            assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{answer}");
            assert!(answer.contains(reason), "{answer}");
        };
        check(&"X-Y: z\r\n".repeat(31), "200", "ok");
        check(&"X-Y: z\r\n".repeat(32), "431", "api.headers");
        check(&format!("X-Y: {}\r\n", "z".repeat(16_000)), "200", "ok");
        check(&format!("X-Y: {}\r\n", "z".repeat(17_000)), "431", "api.head_bytes");
        check(&format!("X-Y: {}\r\n", "z".repeat(17_000)), "431", crate::api::PROBLEM_JSON);
    });
}

#[test]
fn slow_peers_are_cut_off() {
    let short = Duration::from_millis(30);
    let patience = Patience { head: short, idle: short, body: short, ..Patience::default() };
    serving(state(None), patience, |socket| {
        assert_eq!(raw(socket, ""), "");
        assert_eq!(raw(socket, "GET /livez HT"), "");
        let idle = raw(socket, "GET /livez HTTP/1.1\r\nHost: x\r\n\r\n");
        assert!(idle.starts_with("HTTP/1.1 200"), "{idle}");
        let body = raw(socket, "POST /v1/lookup HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{");
        assert!(body.starts_with("HTTP/1.1 408"), "{body}");
    });
}

#[test]
fn the_seats_of_a_user_are_counted() {
    use crate::server::connection::CONNECTIONS_PER_UID_MAX;
    serving(state(None), Patience::default(), |socket| {
        let mut seated = Vec::new();
        for _ in 0..CONNECTIONS_PER_UID_MAX {
            let mut client = Client::connect(socket).unwrap();
            assert_eq!(client.call(&Call::get("/livez")).unwrap().status, 200);
            seated.push(client);
        }
        let mut stream = UnixStream::connect(socket).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("api.busy"), "{answer}");
        assert_eq!(seated[0].call(&Call::get("/livez")).unwrap().status, 200);
    });
}

#[test]
fn a_sync_is_ordered_and_reported() {
    let (orders, writer) = channel();
    let worker = thread::spawn(move || {
        let mut seen = Vec::new();
        for order in writer {
            let (name, reply, outcome) = match order {
                Order::Sync { sources, reply } => {
                    (format!("sync {}", sources.len()), reply, Ok(sample_report()))
                }
                Order::Refresh { ids, reply } => {
                    (format!("refresh {}", ids.len()), reply, Ok(sample_report()))
                }
                Order::Reload { reply } => {
                    let refusal = Refusal::new("input.json", "sources.json", "JSON", "}");
                    ("reload".to_owned(), reply, Err(OrderError::Config(refusal)))
                }
                Order::Stop
                | Order::Judge
                | Order::Forget { .. }
                | Order::Rehearse { .. }
                | Order::Note { .. } => break,
            };
            seen.push(name);
            reply.unwrap().send(outcome).unwrap();
        }
        seen
    });
    serving(state(Some(orders)), Patience::default(), |socket| {
        let mut client = Client::connect(socket).unwrap();
        let sync = client.call(&Call::post("/v1/sync", &json!({"sources": ["main"]}))).unwrap();
        assert_eq!((sync.status, &json_of(&sync)["generation"]), (200, &json!(13)));
        let reload = client.call(&Call::post("/v1/reload", &json!({}))).unwrap();
        assert_eq!((reload.status, &json_of(&reload)["code"]), (422, &json!("R008")));
        let named = client.call(&Call::post("/v1/reload", &json!({"sources": []}))).unwrap();
        assert_eq!((named.status, &json_of(&named)["reason"]), (400, &json!("api.body")));
        let body = json!({"requests": ["lcod://away/x"], "refresh": true});
        let refreshed = client.call(&Call::post("/v1/resolve", &body)).unwrap();
        assert_eq!(json_of(&refreshed)["code"], "R002");
    });
    assert_eq!(worker.join().unwrap(), ["sync 1", "reload", "refresh 1"]);
}

#[test]
fn orders_of_callers_who_have_gone_are_counted_until_the_writer_answers() {
    use crate::server::connection::ORDERS_MAX;
    let (orders, writer) = channel();
    serving(state(Some(orders)), Patience::default(), move |socket| {
        let request = b"POST /v1/sync HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}";
        let mut held = Vec::new();
        for _ in 0..ORDERS_MAX {
            let mut stream = UnixStream::connect(socket).unwrap();
            stream.write_all(request).unwrap();
            // The order has reached the writer before the connection is cut.
            held.push(writer.recv().unwrap());
        }
        let mut client = Client::connect(socket).unwrap();
        let busy = client.call(&Call::post("/v1/sync", &json!({}))).unwrap();
        assert_eq!((busy.status, &json_of(&busy)["reason"]), (503, &json!("api.busy")));
        assert_eq!(client.call(&Call::get("/livez")).unwrap().status, 200);
        for order in held.drain(..) {
            let Order::Sync { reply: Some(reply), .. } = order else { panic!("a sync was ordered") };
            reply.send(Ok(sample_report())).unwrap();
        }
        // The places come back as the waiting threads notice.
        let answered = loop {
            let mut stream = UnixStream::connect(socket).unwrap();
            stream.write_all(request).unwrap();
            match writer.recv_timeout(Duration::from_millis(100)) {
                Ok(Order::Sync { reply: Some(reply), .. }) => break reply.send(Ok(sample_report())),
                _ => continue,
            }
        };
        answered.unwrap();
    });
}

fn sample_report() -> SyncReport {
    SyncReport {
        generation: 13,
        snapshot: Digest::sha256(b"13"),
        changed: true,
        documents_fetched: 1,
        bytes_fetched: 2,
        rows_written: 3,
        sources: Vec::new(),
    }
}

#[test]
fn readers_order_nothing() {
    let state = state(None);
    let check = |call: Call, caller: Caller, expected: &str| {
        assert_eq!(json_of(&respond(&state, &call, caller))["code"], expected, "{}", call.target);
    };
    check(Call::post("/v1/sync", &json!({})), Caller::Reader, "E015");
    check(Call::post("/v1/reload", &json!({})), Caller::Reader, "E015");
    check(Call::post("/v1/resolve", &json!({"requests": [], "refresh": true})), Caller::Reader, "E015");
    // A repository of the daemon's machine is read for admins alone, wherever it is named.
    let local = format!("git+file:///srv/repository@{}#x", "0123456789".repeat(4));
    let resolve = json!({"requests": [local]});
    let direct = json!({"requests": [], "overlay": {"direct": {"lcod://a/b": local}}});
    let replace = json!({"requests": [], "overlay": {"replace": {"lcod://a/b": local}}});
    for (target, body) in [
        ("/v1/resolve", resolve.clone()),
        ("/v1/resolve", direct),
        ("/v1/resolve", replace),
        ("/v1/lock", json!({"resolve": resolve})),
        ("/v1/materialize", json!({"resolve": resolve})),
        ("/v1/explain", json!({"id": local})),
        // Anybody could have the same archives fetched again and again.
        ("/v1/materialize", json!({"releases": ["lcod://a/b@1.0.0"], "refetch": true})),
        ("/v1/materialize", json!({"resolve": {"requests": []}, "refetch": true})),
    ] {
        check(Call::post(target, &body), Caller::Reader, "E015");
    }
    check(Call::post("/v1/sync", &json!({})), Caller::Admin, "R010");
    assert_eq!(state.caller(0), Some(Caller::Admin));
    assert_eq!(state.caller(state.admin), Some(Caller::Admin));
    assert_eq!(state.caller(1_234_567), Some(Caller::Reader));
    assert_eq!(state.caller(OVERFLOW_UID), None);
    assert_eq!(work(&Call::post("/v1/sync", &json!({}))), Work::Sync(Vec::new()));
    assert_eq!(
        work(&Call::post("/v1/resolve", &json!({"requests": [], "refresh": true}))),
        Work::Refresh(Vec::new())
    );
    assert_eq!(work(&Call::get("/v1/nothing")), Work::None);
    assert!(
        reads_generation(&Call::get("/v1/sources"))
            && reads_generation(&Call::get("/v1/components/lcod/a/b"))
    );
    assert!(!reads_generation(&Call::get("/v1/health")) && !reads_generation(&Call::get("/v1/nothing")));
}

#[test]
fn a_panic_is_contained_and_counted() {
    let state = State::new(None, Box::new(|_| panic!("the shelf broke")));
    state.publish(Arc::new(crate::server::answer::tests::world()));
    let call = Call::get("/v1/components/lcod/a/one/0.1.0/manifest");
    let reply = respond(&state, &call, Caller::Reader);
    assert_eq!((reply.status, &json_of(&reply)["code"]), (500, &json!("R009")));
    let stats = respond(&state, &Call::get("/v1/stats"), Caller::Reader);
    assert_eq!((&json_of(&stats)["panics"], &json_of(&stats)["failures"]), (&json!(1), &json!(1)));
}

#[test]
fn a_panic_in_any_route_is_a_500_with_an_id_and_counted() {
    let (orders, writer) = channel();
    // Orders are carried out at once: what breaks is the answer to them.
    let working = thread::spawn(move || {
        for order in writer {
            match order {
                Order::Sync { reply, .. }
                | Order::Reload { reply }
                | Order::Refresh { reply, .. }
                | Order::Forget { reply, .. } => {
                    let _ = reply.map(|reply| reply.send(Ok(sample_report())));
                }
                Order::Rehearse { reply, .. } => drop(reply),
                Order::Note { .. } => {}
                Order::Stop | Order::Judge => return,
            }
        }
    });
    let state = Arc::new(state(Some(orders)));
    let document: Value = serde_json::from_str(include_str!("../../docs/openapi.json")).unwrap();
    serving(Arc::clone(&state), Patience::default(), |socket| {
        let mut broken = 0;
        for (path, methods) in document["paths"].as_object().unwrap() {
            let target = path.replace("{id}", "lcod%3A%2F%2Fa%2Fone").replace("{version}", "0.1.0");
            let target = if path.ends_with("/diff") { target + "?from=000000000000" } else { target };
            let body = match path.as_str() {
                "/v1/resolve" => json!({"requests": ["lcod://a/one"]}),
                "/v1/lookup" => json!({"ids": ["lcod://a/one"]}),
                "/v1/explain" => json!({"id": "lcod://a/one"}),
                "/v1/documents" => json!({"releases": ["lcod://a/one"]}),
                "/v1/lock" => json!({"resolve": {"requests": ["lcod://a/one"]}}),
                "/v1/lock/check" => json!({"lock": "schema = \"resolverd/lock@1\""}),
                "/v1/materialize" => json!({"releases": ["lcod://a/one"]}),
                "/v1/locate" => json!({"id": "lcod://a/one"}),
                "/v1/files/release" => json!({"holds": ["a case"]}),
                "/v1/trust/forget" => json!({"source": "s", "reason": "a case"}),
                "/v1/trust/reset" => json!({"reason": "a case"}),
                "/v1/policy/test" => json!({"policy": ""}),
                _ => json!({}),
            };
            // A stream has no answer that could break; `caught` contains what opens it.
            for method in ["get", "post"]
                .into_iter()
                .filter(|method| path != "/v1/events" && methods[*method].is_object())
            {
                let call = if method == "get" {
                    Call::get(target.clone())
                } else {
                    Call::post(target.clone(), &body)
                };
                let mut client = Client::connect(socket).unwrap();
                state.breaks.store(true, Ordering::Relaxed);
                let reply = client.call(&call).unwrap();
                let problem = json_of(&reply);
                assert_eq!(
                    (reply.status, &problem["code"]),
                    (500, &json!("R009")),
                    "{method} {path}: {problem}"
                );
                assert!(problem["requestId"].is_string(), "{method} {path}: {problem}");
                broken += 1;
                state.breaks.store(false, Ordering::Relaxed);
                // The same connection goes on, and the panic was counted.
                let stats = json_of(&client.call(&Call::get("/v1/stats")).unwrap());
                assert_eq!(stats["panics"], json!(broken), "{method} {path}");
            }
        }
        assert!(broken > 20, "{broken} routes");
    });
    state.order::<()>(|_| Order::Stop).unwrap();
    working.join().unwrap();
}

#[test]
fn a_broken_configuration_shows_until_it_is_mended() {
    let state = state(None);
    state.show_problem(Some(Refusal::new("input.json", "sources.json", "JSON", "}")));
    let shown = json_of(&respond(&state, &Call::get("/v1/health"), Caller::Reader));
    assert_eq!(shown["configuration"]["subject"], "sources.json");
    state.show_problem(None);
    assert!(json_of(&respond(&state, &Call::get("/v1/health"), Caller::Reader))["configuration"].is_null());
}

/// The world of the answers' tests under another digest, with one component.
fn older() -> Snapshot {
    let world = crate::server::answer::tests::world();
    let mut generation = world.generation.clone();
    (generation.number, generation.snapshot) = (11, Digest::sha256(b"older"));
    Snapshot::new(generation, vec![world.components()[0].clone()])
}

#[test]
fn a_kept_snapshot_is_asked_by_its_digest() {
    let state = state(None);
    let current = state.snapshot().unwrap();
    let ask = |target: &str| respond(&state, &Call::get(target), Caller::Reader);
    let old = older().generation.snapshot;
    assert_eq!(ask(&format!("/v1/components?snapshot={old}")).status, 410);
    state.publish_kept(vec![current, Arc::new(older())]);
    let ids = |reply: &Reply| json_of(reply)["items"].as_array().unwrap().len();
    assert_eq!(ids(&ask("/v1/components")), 3);
    let page = ask(&format!("/v1/components?snapshot={old}"));
    assert_eq!((ids(&page), &json_of(&page)["snapshot"]), (1, &json!(old)));
    let manifest = ask(&format!("/v1/components/lcod/a/one/0.1.0/manifest?snapshot={}", &old.hex()[..12]));
    assert_eq!(manifest.body, b"{\"schema\": \"x\"}");
    let diff = json_of(&ask(&format!("/v1/snapshots/diff?from={old}")));
    assert_eq!(diff["counts"], json!({"added": 2, "removed": 0, "changed": 0}));
    assert_eq!(json_of(&ask("/v1/snapshots"))["items"][1]["generation"], 11);
    assert_eq!(ask("/metrics").status, 503, "nobody counts where nobody can sync");
}

/// Opens a stream and reads up to its opening comment.
fn listening(socket: &Path, last: &str) -> UnixStream {
    let mut stream = UnixStream::connect(socket).unwrap();
    let request = format!("GET /v1/events HTTP/1.1\r\nHost: localhost\r\n{last}\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let (mut text, mut byte) = (Vec::new(), [0]);
    while !text.ends_with(b": resolverd\n\n") {
        assert_eq!(stream.read(&mut byte).unwrap(), 1, "{}", String::from_utf8_lossy(&text));
        text.push(byte[0]);
    }
    stream
}

#[test]
fn a_listener_that_reads_nothing_is_cut_off_and_holds_nobody_up() {
    let state = Arc::new(state(None));
    let short = Duration::from_millis(50);
    serving(Arc::clone(&state), Patience { write: short, ..Patience::default() }, |socket| {
        let mut slow = listening(socket, "");
        let filler = "x".repeat(64 << 10);
        let events = (0..64).map(|n| events::Event { name: "synced", data: json!([n, filler]) });
        state.events.emit(events);
        // Its own connection alone is ended: the kernel's buffer is all that it gets.
        let mut client = Client::connect(socket).unwrap();
        assert_eq!(client.call(&Call::get("/livez")).unwrap().status, 200, "now both are counted");
        while state.metrics.text(None, &state.facts()).contains("resolverd_connections 2\n") {
            assert_eq!(client.call(&Call::get("/livez")).unwrap().status, 200);
        }
        let mut rest = Vec::new();
        let _ = slow.read_to_end(&mut rest);
        assert!(rest.len() < 64 * filler.len(), "{} bytes", rest.len());
        // Whoever reads gets everything, and what the slow one missed can be asked again.
        let mut quick = listening(socket, "Last-Event-ID: 63\r\n");
        let mut text = String::new();
        while !text.contains("\n\n") {
            let mut some = [0; 4096];
            let count = quick.read(&mut some).unwrap();
            text.push_str(&String::from_utf8_lossy(&some[..count]));
        }
        assert!(text.contains("id: 64\nevent: synced\ndata: [63,"), "{}", &text[..80]);
        drop(client);
    });
}

#[test]
fn a_stream_outlives_the_patience_for_idle_connections_and_ends_with_the_server() {
    let state = Arc::new(state(None));
    let short = Duration::from_millis(200);
    let mut left = None;
    serving(Arc::clone(&state), Patience { head: short, idle: short, ..Patience::default() }, |socket| {
        let mut stream = listening(socket, "");
        // Another connection is cut off for being idle meanwhile.
        assert_eq!(raw(socket, ""), "");
        assert!(raw(socket, "GET /livez HTTP/1.1\r\nHost: x\r\n\r\n").starts_with("HTTP/1.1 200"));
        state.events.emit([events::configured(None)]);
        let (mut text, mut byte) = (Vec::new(), [0]);
        while !text.ends_with(b"event: config.accepted\n") {
            assert_eq!(stream.read(&mut byte).unwrap(), 1, "{}", String::from_utf8_lossy(&text));
            text.push(byte[0]);
        }
        left = Some(stream);
    });
    let mut rest = String::new();
    left.unwrap().read_to_string(&mut rest).unwrap();
    assert!(rest.ends_with("0\r\n\r\n"), "the stream ends whole: {rest:?}");
}

#[test]
fn streams_are_counted() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let events: Arc<Events> = Arc::default();
        let (_draining, drained) = tokio::sync::watch::channel(());
        let open = || {
            let flight = crate::server::stream::Flights::default().start();
            events::open(&events, events::Start::Now, flight, drained.clone())
        };
        let mut streams: Vec<_> = (0..events::STREAMS_MAX).map(|_| open().unwrap()).collect();
        let failure = open().unwrap_err();
        assert_eq!((failure.code, failure.status), (Code::LimitExceeded, Some(429)));
        streams.pop();
        assert!(open().is_ok());
    });
}

/// A client that ends what it says right behind its request is no client that has gone, however long the answer is.
#[test]
fn who_has_nothing_more_to_say_still_gets_an_answer() {
    const LARGE: usize = 2 << 20;
    let state = State::new(None, Box::new(|_| Some(vec![b' '; LARGE])));
    state.publish(Arc::new(crate::server::answer::tests::world()));
    let told = |socket: &Path, target: &str| {
        let mut stream = UnixStream::connect(socket).unwrap();
        let head = format!("GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        stream.write_all(head.as_bytes()).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    };
    serving(state.with_clock(|| 784_111_777), Patience::default(), |socket| {
        for round in 0..300 {
            let answer = told(socket, "/livez");
            assert!(answer.starts_with("HTTP/1.1 200 "), "round {round}: {answer:?}");
        }
        for round in 0..10 {
            let answer = told(socket, "/v1/components/lcod%3A%2F%2Fa%2Fone/0.1.0/manifest");
            assert!(answer.len() > LARGE, "round {round}: {} bytes", answer.len());
        }
    });
}

#[test]
fn nothing_is_answered_while_the_policy_cannot_be_used() {
    let state = ahead();
    let lookup = json!({ "ids": ["lcod://a/one@0.2.0"] }).to_string().into_bytes();
    let calls = [("GET", "/v1/components/lcod/a/one/0.2.0", Vec::new()), ("POST", LOOKUP, lookup)];
    let asked = |(method, target, body): &(&str, &str, Vec<u8>)| {
        let call = Call { body: body.clone(), ..Call::get(*target) };
        let call = if *method == "POST" { Call { method: "POST", ..call } } else { call };
        respond(&state, &call, Caller::Reader)
    };
    for call in &calls {
        assert_eq!(asked(call).status, 200, "{call:?}");
        assert!(state.encoded(call.0, call.1, &call.2, |_| ()).is_some(), "{call:?}");
    }
    let problem = Some(Refusal::new("policy.syntax", "trust.toml", "TOML", "="));
    state.show_policies(PolicyState { problem, is_locked: true, ..PolicyState::default() });
    for call in &calls {
        assert_eq!(json_of(&asked(call))["reason"], "policy.syntax", "{call:?}");
        assert!(state.encoded(call.0, call.1, &call.2, |_| ()).is_none(), "{call:?}");
    }
}

#[test]
fn several_searches_of_one_question_have_the_time_of_one() {
    let solving = Solving { ms: 1_500, ..Solving::default() };
    let check = |ago_s: u64, expected: std::ops::RangeInclusive<u64>| {
        let begun = Instant::now().checked_sub(std::time::Duration::from_secs(ago_s)).unwrap();
        assert!(expected.contains(&solving.after(begun).ms), "{ago_s}");
    };
    check(0, 0..=1_500);
    check(1, 0..=500);
    check(2, 0..=0);
}
