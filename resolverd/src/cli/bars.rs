//! Bars: how far the files come that a verb waits for, on a terminal. Draws on stderr, and leaves nothing there.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use catalogue_schema::id::parse_release_id;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use serde_json::Value;

use crate::cli::render::{field, plain};

/// How often a line moves that has nothing to show but that.
const TICK: Duration = Duration::from_millis(120);
/// How many bars stand at the same time; what comes besides is counted alone.
const BARS_MAX: usize = 8;
/// How much of a name is shown.
const NAME_CHARS_MAX: usize = 48;

/// A line that says what is done, and below it a bar for each release whose files are on their way.
pub(super) struct Bars {
    all: MultiProgress,
    head: ProgressBar,
    doing: &'static str,
    shown: Mutex<Shown>,
}

#[derive(Default)]
struct Shown {
    bars: BTreeMap<String, ProgressBar>,
    wanted: usize,
    ready: usize,
}

impl Bars {
    /// Says what is done.
    pub(super) fn new(doing: &'static str) -> Bars {
        let all = MultiProgress::new();
        let head = all.add(ProgressBar::new_spinner().with_message(doing));
        head.enable_steady_tick(TICK);
        Bars { all, head, doing, shown: Mutex::default() }
    }

    /// Takes a line of progress: what stands under `progress` in a line of `POST /v1/materialize`.
    pub(super) fn show(&self, row: &Value) {
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        let key = field(row, "release");
        match row["step"].as_str().unwrap_or_default() {
            "waiting" => shown.wanted += 1,
            "ready" | "failed" => {
                shown.ready += usize::from(row["step"] == "ready");
                if let Some(bar) = shown.bars.remove(&key) {
                    bar.finish_and_clear();
                    self.all.remove(&bar);
                }
            }
            "fetching" | "fetched" | "verified" | "unpacked" => {
                if !shown.bars.contains_key(&key) && shown.bars.len() < BARS_MAX {
                    let bar = self
                        .all
                        .add(ProgressBar::no_length().with_style(style(false)).with_prefix(named(row)));
                    shown.bars.insert(key.clone(), bar);
                }
                if let Some(bar) = shown.bars.get(&key) {
                    draw(bar, row);
                }
            }
            _ => {}
        }
        if shown.wanted > 1 {
            let message = format!("{} ({} of {})", self.doing, shown.ready, shown.wanted);
            self.head.set_message(message);
        }
    }

    /// Lets something else be said on the terminal.
    pub(super) fn aside(&self, say: impl FnOnce()) {
        self.all.suspend(say);
    }

    /// Takes everything off the terminal.
    pub(super) fn clear(self) {
        let shown = self.shown.into_inner().unwrap_or_else(PoisonError::into_inner);
        shown.bars.values().for_each(ProgressBar::finish_and_clear);
        self.head.finish_and_clear();
        // Where it cannot be cleared there is no terminal any more.
        let _ = self.all.clear();
    }
}

/// Shows what a row says: a bar where it is known how long it is, else what has come by now.
fn draw(bar: &ProgressBar, row: &Value) {
    let received = row["received"].as_u64().unwrap_or_default();
    let size = row["size"].as_u64();
    // Before the rest, so that nothing is drawn in another style.
    bar.set_style(style(size.is_some()));
    if let Some(size) = size {
        bar.set_length(size);
    }
    let files = match (row["filesReceived"].as_u64(), row["files"].as_u64()) {
        (Some(received), Some(files)) => format!("{received} of {files} files"),
        _ => String::new(),
    };
    let step = row["step"].as_str().filter(|step| *step != "fetching").unwrap_or_default();
    bar.set_message(format!("{files} {step}").trim().to_owned());
    bar.set_position(received);
}

/// Returns what a bar looks like whose length is known, or not.
fn style(is_sized: bool) -> ProgressStyle {
    let template = match is_sized {
        true => "  {prefix} [{bar:24}] {decimal_bytes}/{decimal_total_bytes} {msg}",
        false => "  {prefix} {spinner} {decimal_bytes} {msg}",
    };
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    style.progress_chars("=> ")
}

/// Returns what a bar is called: `name vVERSION` for a release of which that is known.
fn named(row: &Value) -> String {
    let Some(release) = row["release"].as_str() else {
        return format!("{} releases together", row["releases"].as_u64().unwrap_or_default());
    };
    let name = match parse_release_id(release) {
        Ok((id, version)) => format!("{} v{version}", id.path()),
        Err(_) => plain(release),
    };
    match name.char_indices().nth(NAME_CHARS_MAX) {
        // The end says more than the machine at the begin.
        Some(_) => {
            let all = name.chars().count();
            format!("…{}", name.chars().skip(all + 1 - NAME_CHARS_MAX).collect::<String>())
        }
        None => name,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_templates_are_sound() {
        for template in [style(true), style(false)] {
            let bar = ProgressBar::hidden().with_style(template);
            bar.set_length(7);
            bar.set_position(7);
            bar.tick();
        }
    }

    #[test]
    fn names_are_those_of_the_seed() {
        let check = |row: Value, expected: &str| assert_eq!(named(&row), expected);
        check(json!({"release": "estream:esf-trading@1.2.0"}), "esf-trading v1.2.0");
        check(json!({"release": "estream:@acme/x@0.3.0"}), "@acme/x v0.3.0");
        check(json!({"release": "lcod://tooling/array/pluck@0.1.0"}), "tooling/array/pluck v0.1.0");
        check(json!({"release": null, "releases": 3}), "3 releases together");
        let direct = format!("git+https://host.example/repository.git@{}#packages/x", "a".repeat(40));
        check(json!({ "release": direct }), &format!("…{}#packages/x", "a".repeat(36)));
    }
}
