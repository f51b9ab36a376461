//! Searches that the thread of all connections has no time for.

use catalogue_schema::model::Component;
use catalogue_schema::packed::Packed;

use super::*;
use crate::server::solve::{INLINE_STEPS, SOLVE_STEPS};

/// So many that the shared thread does not get to the end.
const LINKS: usize = INLINE_STEPS as usize + 100;
/// Longer than any machine needs here.
const LONG_MS: u64 = 600_000;

/// A chain of components, each of which requires the next; the newest version of the last contradicts the first, so that it is
/// no walk.
fn chain() -> Snapshot {
    let generation = crate::server::answer::tests::world().generation.clone();
    let component = |at: usize, versions: &[(&str, String)]| {
        let id = format!("lcod://a/c{at}");
        let releases: Vec<Value> = versions
            .iter()
            .map(|(version, required)| {
                json!({
                    "id": id, "version": version, "origin": {}, "dependencies": [required],
                    "verdict": {"trusted": {"level": "pinned"}},
                })
            })
            .collect();
        let component: Component = serde_json::from_value(json!({
            "id": id, "owner": {"source": "main", "name": "std"}, "releases": releases,
        }))
        .unwrap();
        Packed::of(&component).unwrap()
    };
    let mut links: Vec<Packed> =
        (0..LINKS).map(|at| component(at, &[("1.0.0", format!("lcod://a/c{}", at + 1))])).collect();
    let last = [("1.0.0", "lcod://a/c0@1".to_owned()), ("2.0.0", "lcod://a/c0@2".to_owned())];
    links.push(component(LINKS, &last));
    Snapshot::new(generation, links)
}

#[test]
fn what_the_shared_thread_has_no_time_for_is_searched_elsewhere_and_answered_alike() {
    let state = Arc::new(state(None));
    state.publish(Arc::new(chain()));
    let call = Call::post("/v1/resolve", &json!({"requests": ["lcod://a/c0"]}));
    // Both on this thread.
    state.show_solving(Solving { ms: LONG_MS, steps: INLINE_STEPS, ..Solving::default() });
    let short = respond(&state, &call, Caller::Reader);
    let problem = json_of(&short);
    assert_eq!((short.status, &problem["reason"]), (503, &json!("resolve.undecided")), "{problem}");
    assert_eq!(problem["value"], json!(INLINE_STEPS));
    state.show_solving(Solving { ms: LONG_MS, steps: SOLVE_STEPS, ..Solving::default() });
    let long = respond(&state, &call, Caller::Reader);
    assert_eq!(json_of(&long)["components"].as_array().map(Vec::len), Some(LINKS + 1));
    serving(Arc::clone(&state), Patience::default(), |socket| {
        let mut client = Client::connect(socket).unwrap();
        for _ in 0..2 {
            let reply = client.call(&call).unwrap();
            assert_eq!((reply.status, reply.body == long.body), (200, true), "{}", json_of(&reply));
        }
        // Nothing that is allowed is left for elsewhere.
        state.show_solving(Solving { ms: LONG_MS, steps: INLINE_STEPS, ..Solving::default() });
        let reply = client.call(&call).unwrap();
        assert_eq!((reply.status, &json_of(&reply)["reason"]), (503, &problem["reason"]));
        assert_eq!(client.call(&Call::get("/livez")).unwrap().status, 200);
    });
}
