//! What is plain, and that the bytes of a plain answer are those of the full server.

use proptest::prelude::*;

use super::*;

#[derive(Debug, PartialEq, Eq)]
enum Expected {
    Plain(&'static str),
    Partial,
    Other,
}

#[test]
fn heads_are_plain_or_left_to_the_full_server() {
    use Expected::{Other, Partial, Plain};
    let check = |text: &str, expected: Expected| {
        let found = match head(text.as_bytes()) {
            Head::Plain { target, length } => {
                assert_eq!(&text.as_bytes()[length - 4..length], b"\r\n\r\n", "{text:?}");
                assert_eq!(target, &text[4..4 + target.len()], "{text:?}");
                match expected {
                    Plain(wanted) => assert_eq!(target, wanted, "{text:?}"),
                    _ => panic!("{text:?} is plain"),
                }
                return;
            }
            Head::Partial => Partial,
            Head::Other => Other,
        };
        assert_eq!(found, expected, "{text:?}");
    };
    let with = |headers: &str| format!("GET /v1/components/lcod/a/one/0.1.0 HTTP/1.1\r\n{headers}\r\n");
    let target = "/v1/components/lcod/a/one/0.1.0";
    for headers in [
        "",
        "Host: localhost\r\n",
        "host: localhost:80\r\n",
        "Host:\r\n",
        "HOST:   x   \r\nhost: y\r\n",
        "Host: x\r\nUser-Agent: a (b; c) d/1\r\nAccept: */*\r\nAccept-Encoding: gzip, br\r\n",
        "Host: x\r\nConnection: keep-alive\r\nAccept-Language: *\r\nContent-Type: application/json\r\n",
        "Connection: Keep-Alive\r\nCache-Control: no-cache\r\n",
    ] {
        check(&with(headers), Plain(target));
        check(&format!("{}POST /v1/resolve", with(headers)), Plain(target));
    }
    for headers in [
        "Connection: close\r\n",
        "Connection: upgrade\r\n",
        "Connection: keep-alive, close\r\n",
        "Content-Length: 0\r\n",
        "Content-Length: 5\r\n",
        "Transfer-Encoding: chunked\r\n",
        "Expect: 100-continue\r\n",
        "Upgrade: h2c\r\n",
        "Host: example.org\r\n",
        "Host: 127.0.0.1\r\n",
        "Host: x\r\nHost: example.org\r\n",
        "Origin: null\r\n",
        "Referer: x\r\n",
        "Sec-Fetch-Mode: cors\r\n",
        "Last-Event-ID: 1\r\n",
        "Host : x\r\n",
        " Host: x\r\n",
        "Host: x\r\n folded\r\n",
        "Host: x\n",
        "Host: x\rAccept: y\r\n",
        "Accept: a\tb\r\n",
        "Accept: \u{e9}\r\n",
        "Accept: \u{0}\r\n",
        "Accept\r\n",
        ": x\r\n",
        "\n",
    ] {
        check(&with(headers), Other);
    }
    check(&with(&"Accept: x\r\n".repeat(PLAIN_HEADERS_MAX)), Plain(target));
    check(&with(&"Accept: x\r\n".repeat(PLAIN_HEADERS_MAX + 1)), Other);
    for line in [
        "HEAD /v1/components/x HTTP/1.1",
        "get /v1/components/x HTTP/1.1",
        "POST /v1/components/x HTTP/1.1",
        "GET /v1/health HTTP/1.1",
        "GET /v1/components HTTP/1.1",
        "GET  /v1/components/x HTTP/1.1",
        "GET /v1/components/x?snapshot=y HTTP/1.1",
        "GET /v1/components/x#y HTTP/1.1",
        "GET /v1/components/\u{e9} HTTP/1.1",
        "GET http://localhost/v1/components/x HTTP/1.1",
        "GET /v1/components/x HTTP/1.0",
        "GET /v1/components/x HTTP/1.1 ",
        "GET /v1/components/x  HTTP/1.1",
        "GET /v1/components/x\tHTTP/1.1",
        "\r\nGET /v1/components/x HTTP/1.1",
    ] {
        check(&format!("{line}\r\n\r\n"), Other);
    }
    check("", Partial);
}

#[test]
fn every_beginning_of_a_plain_head_waits_for_the_rest() {
    let whole = b"GET /v1/components/a/b/1.0.0 HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\n\r\n";
    for length in 0..whole.len() {
        assert_eq!(head(&whole[..length]), Head::Partial, "{length}");
    }
    assert!(matches!(head(whole), Head::Plain { length, .. } if length == whole.len()));
}

#[test]
fn dates_are_those_of_the_standard() {
    let check = |seconds: i64, expected: &str| assert_eq!(http_date(seconds), expected, "{seconds}");
    check(0, "Thu, 01 Jan 1970 00:00:00 GMT");
    check(784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT");
    check(951_782_400, "Tue, 29 Feb 2000 00:00:00 GMT");
    check(2_147_483_648, "Tue, 19 Jan 2038 03:14:08 GMT");
    check(4_294_967_296, "Sun, 07 Feb 2106 06:28:16 GMT");
    check(253_402_300_799, "Fri, 31 Dec 9999 23:59:59 GMT");
}

#[test]
fn local_names_have_no_dot() {
    let check = |host: &str, expected: bool| assert_eq!(is_local_name(host), expected, "{host}");
    check("", true);
    check("localhost", true);
    check("localhost:8080", true);
    check("a-b_c", true);
    check("example.org", false);
    check("127.0.0.1", false);
    check("0x7f000001", false);
    check("[::1]", false);
    check("localhost:x", false);
}

proptest! {
    #[test]
    fn any_bytes_are_one_of_the_three(bytes in prop::collection::vec(any::<u8>(), 0..200), cut in 0usize..80) {
        let _ = head(&bytes);
        let mut whole = b"GET /v1/components/a/b/1.0.0 HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec();
        whole.truncate(cut);
        whole.extend_from_slice(&bytes);
        if let Head::Plain { length, .. } = head(&whole) {
            prop_assert!(whole[..length].ends_with(b"\r\n\r\n"));
        }
    }

    #[test]
    fn numbers_are_written_as_text(number in any::<usize>()) {
        let mut room = [0; 20];
        let text = number.to_string();
        prop_assert_eq!(decimal(number, &mut room), text.as_bytes());
    }
}
