//! `resolverd events`: what happens in the daemon, one line an event, until somebody interrupts it. Never answers in process:
//! nothing happens where no daemon runs.

use std::ops::ControlFlow;

use serde_json::{Value, json};

use crate::api::{Call, Code, Failure};
use crate::cli::ask::Asker;
use crate::cli::render::{Paint, field, text};
use crate::cli::{Ended, Output, Terminal};

/// The parts of one event, while its lines arrive.
#[derive(Debug, Default)]
struct Arriving {
    id: String,
    name: String,
    data: String,
}

impl Arriving {
    /// Takes a line of the stream; returns the event when it is whole. Comments and unknown fields are ignored.
    fn take(&mut self, line: &str) -> Option<Value> {
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "id" => value.clone_into(&mut self.id),
            "event" => value.clone_into(&mut self.name),
            "data" => self.data.push_str(value),
            "" if line.is_empty() && !self.name.is_empty() => {
                let Arriving { id, name, data } = std::mem::take(self);
                let data: Value = serde_json::from_str(&data).unwrap_or_default();
                return Some(json!({"id": id.parse::<u64>().ok(), "event": name, "data": data}));
            }
            _ => {}
        }
        None
    }
}

/// Prints events until the daemon ends them or nobody reads them any more.
///
/// **Errors**: R007 where no daemon answers or the daemon stops.
pub fn run(json: bool, asker: &mut Asker<'_>, terminal: &Terminal) -> Result<u8, Ended> {
    let as_json = json || terminal.output == Output::Json;
    let (mut arriving, mut printed) = (Arriving::default(), Ok(()));
    asker.follow(&Call::get("/v1/events"), |line| {
        let Some(event) = arriving.take(line) else { return ControlFlow::Continue(()) };
        let line = if as_json { event.to_string() } else { told(&event, terminal.data) };
        printed = terminal.put(&format!("{line}\n"));
        if printed.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })?;
    printed?;
    let stopped = Failure::new(Code::DaemonUnreachable, "daemon_stopped", "the daemon has ended its events");
    Err(stopped.hint("start one with: resolverd serve").into())
}

/// Returns the line of an event.
fn told(event: &Value, paint: Paint) -> String {
    let data = &event["data"];
    let name = field(event, "event");
    let shown = match name.as_str() {
        "synced" | "config.accepted" | "source.recovered" => name.clone(),
        "source.stale" | "missed" => paint.note(&name),
        _ => paint.bad(&name),
    };
    let mut parts = vec![shown];
    match name.as_str() {
        "synced" => {
            let changed = if data["changed"] == true { "new" } else { "unchanged" };
            parts.push(format!("generation {} ({changed})", text(&data["generation"])));
            parts.push(field(data, "snapshot"));
        }
        "missed" => parts.push(match data["missed"].as_u64() {
            Some(count) => format!("{count} events"),
            None => "some events".to_owned(),
        }),
        _ => parts.extend(["source", "catalogue", "subject", "reason"].map(|name| field(data, name))),
    }
    for name in ["expected", "found"] {
        let value = field(data, name);
        if !value.is_empty() {
            parts.push(format!("{name} {value}"));
        }
    }
    parts.retain(|part| !part.is_empty());
    parts.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_become_events() {
        let mut arriving = Arriving::default();
        let mut events = Vec::new();
        for line in
            "retry: 3000\n: hello\n\nid: 7\nevent: synced\ndata: {\"a\":1}\n\n:\n\nevent: missed\ndata:{}\n\n"
                .split('\n')
        {
            events.extend(arriving.take(line));
        }
        assert_eq!(
            events,
            [
                json!({"id": 7, "event": "synced", "data": {"a": 1}}),
                json!({"id": null, "event": "missed", "data": {}})
            ]
        );
    }

    #[test]
    fn an_event_is_one_line() {
        let check = |name: &str, data: Value, expected: &str| {
            assert_eq!(told(&json!({"id": 1, "event": name, "data": data}), Paint::Plain), expected);
        };
        check("source.recovered", json!({"source": "a"}), "source.recovered a");
        check(
            "source.refused",
            json!({"source": "a", "subject": "x.json", "reason": "trust.digest_mismatch", "expected": "1", "found": "2\n3"}),
            "source.refused a x.json trust.digest_mismatch expected 1 found 2\\u{a}3",
        );
        check(
            "synced",
            json!({"generation": 3, "changed": false, "snapshot": "sha256:0"}),
            "synced generation 3 (unchanged) sha256:0",
        );
        check("missed", json!({"missed": null}), "missed some events");
    }
}
