//! What a daemon counts, read by a strict parser: after requests of every kind, a sync that changes something, one that does
//! not, one that fails, and a source that goes away.

use serde_json::json;

use crate::harness::daemon::Daemon;
use crate::harness::lcod::Component;
use crate::harness::prometheus::{Metrics, parse};
use crate::snapshots::Changing;

fn scrape(daemon: &Daemon) -> Metrics {
    let answer = daemon.get("/metrics");
    assert_eq!(answer.status, 200, "{answer}");
    assert_eq!(answer.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    let text = String::from_utf8(answer.body).unwrap();
    parse(&text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

#[test]
fn everything_that_was_asked_is_counted_under_its_route() {
    let world = Changing::keeping(2);
    world.publish(&[Component::new("lcod://n/a", "1.0.0", &[])]);
    let daemon = world.sandbox.start_synced();
    for target in [
        "/livez",
        "/livez",
        "/v1/components/lcod/n/a",
        "/v1/components/lcod%3A%2F%2Fn%2Fa/1.0.0",
        "/v1/components/lcod/n/a/1.0.0",
        "/v1/components/lcod/n/missing",
        "/v1/components/lcod/N/a",
        "/v1/components?snapshot=000000000000",
        "/v1/nothing/at/all",
        "/v1/nothing/else",
        "/v1/sources?x=1",
    ] {
        daemon.get(target);
    }
    assert_eq!(daemon.try_ask("DELETE", "/livez", None).unwrap().status, 405);
    daemon.resolve(&["lcod://n/a"]);
    daemon.resolve(&["lcod://n/missing"]);
    let metrics = scrape(&daemon);
    let check = |route: &str, code: &str, expected: f64| {
        let found = metrics.value("resolverd_requests_total", &[("route", route), ("code", code)]);
        assert_eq!(found, Some(expected), "{route} {code}: {:?}", metrics.all("resolverd_requests_total"));
    };
    check("/livez", "200", 2.0);
    check("/v1/components/{id}", "200", 1.0);
    check("/v1/components/{id}/{version}", "200", 2.0);
    check("/v1/components/{id}", "404", 1.0);
    check("/v1/components/{id}", "400", 1.0);
    check("/v1/components", "410", 1.0);
    check("other", "404", 2.0);
    check("other", "405", 1.0);
    check("/v1/sources", "400", 1.0);
    check("/v1/resolve", "200", 1.0);
    check("/v1/resolve", "404", 1.0);
    check("/v1/sync", "200", 1.0);
    for (labels, count) in metrics.all("resolverd_request_seconds_count") {
        let requests = metrics.all("resolverd_requests_total");
        let of_route = requests.iter().filter(|(other, _)| other["route"] == labels["route"]);
        assert_eq!(count, of_route.map(|(_, count)| count).sum::<f64>(), "{labels:?}");
    }
    let again = scrape(&daemon);
    assert_eq!(again.value("resolverd_requests_total", &[("route", "/metrics"), ("code", "200")]), Some(1.0));
}

#[test]
fn syncs_and_sources_are_counted_as_they_end() {
    let world = Changing::keeping(2);
    world.publish(&[Component::new("lcod://n/a", "1.0.0", &[])]);
    let daemon = world.sandbox.start_synced();
    let metrics = scrape(&daemon);
    let one = |metrics: &Metrics, name: &str| metrics.value(name, &[]).unwrap_or_else(|| panic!("no {name}"));
    let syncs = |metrics: &Metrics, outcome: &str| {
        metrics.value("resolverd_syncs_total", &[("outcome", outcome)]).unwrap()
    };
    let source = [("source", "main")];
    assert_eq!(one(&metrics, "resolverd_generation"), 1.0);
    assert_eq!(one(&metrics, "resolverd_components"), 1.0);
    assert_eq!(one(&metrics, "resolverd_panics_total"), 0.0);
    assert_eq!(one(&metrics, "resolverd_connections"), 1.0, "the one that asks");
    assert!(one(&metrics, "resolverd_store_bytes") > 1000.0);
    assert!(one(&metrics, "resolverd_sync_bytes_total") > 100.0);
    assert!(one(&metrics, "process_start_time_seconds") > 1.7e9);
    assert_eq!(metrics.value("resolverd_source_up", &source), Some(1.0));
    assert_eq!(metrics.value("resolverd_source_releases", &source), Some(1.0));
    assert!(metrics.value("resolverd_source_age_seconds", &source).is_some());
    // The daemon syncs by itself when it starts, and whenever it notices an edit.
    assert_eq!(syncs(&metrics, "changed"), 1.0);
    assert!(syncs(&metrics, "unchanged") >= 1.0);

    world.round(&daemon, &[("n/a", "2.0.0"), ("n/b", "1.0.0")]);
    world.sandbox.write_sources_text("{");
    assert_eq!(daemon.post("/v1/reload", &json!({})).status, 422);
    world.publish_list(b"{ this is no JSON");
    daemon.sync();
    daemon.sync();
    let metrics = scrape(&daemon);
    assert_eq!(syncs(&metrics, "changed"), 3.0);
    assert!(syncs(&metrics, "unchanged") >= 2.0);
    assert!(syncs(&metrics, "refused") >= 1.0);
    assert_eq!(syncs(&metrics, "failed"), 0.0);
    assert_eq!(one(&metrics, "resolverd_components"), 2.0);
    assert_eq!(metrics.value("resolverd_source_up", &source), Some(0.0));
    let refused = metrics.all("resolverd_refused_total");
    assert_eq!(refused.len(), 1, "{refused:?}");
    assert_eq!((refused[0].0["source"].as_str(), refused[0].1), ("main", 1.0), "{refused:?}");
}
