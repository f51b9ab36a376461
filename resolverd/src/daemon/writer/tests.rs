//! The order of work, and a writer over real files: what it refuses without a policy, and what it does again after a failure.
#![allow(clippy::unwrap_used)]

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::mpsc::channel;

use tempfile::TempDir;

use super::*;
use crate::config::Overrides;

/// Orders are written `all`, `reload`, `stop` or the name of a source; the answer is each task and how many orders it answers.
fn check(orders: &str, expected: &str) {
    let (reply, _answers) = channel();
    let order = |word: &str| match word {
        "stop" => Order::Stop,
        "reload" => Order::Reload { reply: Some(reply.clone()) },
        "refresh" => Order::Refresh { ids: Vec::new(), reply: Some(reply.clone()) },
        "all" => Order::Sync { sources: Vec::new(), reply: Some(reply.clone()) },
        name => {
            Order::Sync { sources: vec![SourceId::parse(name).expect("an id")], reply: Some(reply.clone()) }
        }
    };
    let mut waiting: VecDeque<Order> = orders.split_whitespace().map(order).collect();
    let mut done = Vec::new();
    while let Some((task, replies)) = next_task(&mut waiting) {
        let name = match task {
            Task::Reload => "reload".to_owned(),
            Task::Judge => "judge".to_owned(),
            Task::Forget(what, _) => format!("forget {what:?}"),
            Task::Expire => "expire".to_owned(),
            Task::Refresh(ids) => format!("refresh {}", ids.len()),
            Task::Sync(sources) => sources.first().map_or("all".to_owned(), ToString::to_string),
        };
        done.push(format!("{name}*{}", replies.len()));
    }
    assert_eq!(done.join(" "), expected, "{orders}");
}

#[test]
fn orders_that_wait_together_for_the_same_work_get_one_run() {
    check("", "");
    check("all", "all*1");
    check("all all all", "all*3");
    check("all a all b a", "all*2 a*2 b*1");
    check("refresh all refresh", "refresh 0*2 all*1");
    check("all reload all reload", "all*1 reload*2 all*1");
    check("reload all reload all", "reload*2 all*2");
    check("a reload a a", "a*1 reload*1 a*2");
}

#[test]
fn a_panic_fails_the_order_alone() {
    let outcome: Outcome = contained(|| std::panic::resume_unwind(Box::new("a fault")));
    assert!(matches!(outcome, Err(OrderError::Store(text)) if text.contains("fault")));
}

/// A source of one release and a policy, in files, and the settings that name them.
struct Desk {
    root: TempDir,
    settings: Settings,
}

const GOOD: &str = "[defaults]\nrequire_pin = false\n[[namespaces]]\nmatch = \"**\"\nsources = [\"a\"]\nrequire = \"digest\"\n";

impl Desk {
    fn new() -> Desk {
        let root = tempfile::Builder::new().permissions(Permissions::from_mode(0o700)).tempdir().unwrap();
        let of = |name: &str| Some(root.path().join(name));
        let overrides = Overrides {
            sources: of("sources.json"),
            policy: of("trust.toml"),
            state_dir: of("state"),
            ..Overrides::default()
        };
        let home = root.path().display().to_string();
        let settings = Settings::load(&overrides, &|name| (name == "HOME").then(|| home.clone())).unwrap();
        let desk = Desk { root, settings };
        let manifest = "{\"schema\":\"lcod-registry/manifest@1\",\"id\":\"lcod://n/x@1.0.0\",\"source\":{\"type\":\"file\"},\"files\":[],\"dependencies\":[]}";
        desk.write("x.json", manifest);
        let digest = Digest::sha256(manifest.as_bytes());
        desk.write("a.json", &format!("{{\"schema\":\"lcod-registry/catalogue@1\",\"components\":[{{\"id\":\"lcod://n/x\",\"versions\":[{{\"version\":\"1.0.0\",\"manifest\":\"x.json\",\"sha256\":\"{}\"}}]}}]}}", digest.hex()));
        desk.write("sources.json", "{\"sources\":[{\"id\":\"a\",\"path\":\"a.json\"}]}");
        desk
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
        std::fs::set_permissions(self.path(name), Permissions::from_mode(0o644)).unwrap();
    }

    fn policy(&self, version: u64, text: &str) {
        self.write("trust.toml", &format!("schema = \"resolverd/trust@1\"\nversion = {version}\n{text}"));
    }

    /// Opens the writer and what it tells.
    fn open(&self) -> (Writer, State) {
        let mut writer = Writer::open(&self.settings, Duration::ZERO).unwrap();
        let state = State::new(None, Box::new(|_| None));
        writer.start(&state);
        (writer, state)
    }

    /// Reads the source under a policy that lets its release in.
    fn synced(&self) -> (Writer, State) {
        self.policy(1, GOOD);
        let (mut writer, state) = self.open();
        writer.reload().unwrap();
        writer.sync(&[], &state).unwrap();
        assert_eq!(served(&state), "trusted");
        (writer, state)
    }
}

/// Returns the verdict of the release that is served, or its reason.
fn served(state: &State) -> String {
    let Some(snapshot) = state.snapshot() else { return "nothing".to_owned() };
    let verdict = snapshot.read_all().remove(0).releases.remove(0).verdict;
    verdict.refusal().map_or(verdict.word().to_string(), |refusal| refusal.reason.to_string())
}

fn exists(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}

#[test]
fn without_a_policy_to_judge_by_nothing_is_made_or_written_down() {
    let desk = Desk::new();
    drop(desk.synced());
    desk.policy(2, "nonsense");
    let ledger = desk.path("state/first-seen.log");
    std::fs::remove_file(&ledger).unwrap();
    let (mut writer, state) = desk.open();
    assert!(writer.policies.is_locked && writer.next_change_s().is_none());
    writer.reload().unwrap();
    let version = Accepted::Version(
        ComponentId::parse("lcod://n/x").unwrap(),
        catalogue_schema::version::Version::parse("1.0.0").unwrap(),
    );
    let revisions = Accepted::Revisions(SourceId::parse("a").unwrap(), None);
    let outcomes = [
        writer.sync(&[], &state),
        writer.refresh(&[], &state),
        writer.expire(&state),
        writer.forget(&version, "", &state),
        writer.forget(&revisions, "", &state),
        writer.judge(&state),
        writer.reloaded(&state),
    ];
    for (at, outcome) in outcomes.iter().enumerate() {
        assert!(matches!(outcome, Err(OrderError::Config(_) | OrderError::Locked(_))), "{at}: {outcome:?}");
    }
    assert_eq!((served(&state).as_str(), exists(&ledger)), ("nothing", false));

    desk.policy(2, GOOD);
    writer.judge(&state).unwrap();
    assert_eq!((served(&state).as_str(), exists(&ledger)), ("trusted", true));
}

#[test]
fn a_policy_by_which_nothing_could_be_judged_is_owed_until_it_can() {
    let desk = Desk::new();
    let (mut writer, state) = desk.synced();
    let audit = desk.path("state/audit.jsonl");
    let aside = desk.path("state/aside");
    std::fs::rename(&audit, &aside).unwrap();
    std::fs::create_dir(&audit).unwrap();
    desk.policy(2, &GOOD.replace("[\"a\"]", "[\"b\"]"));
    assert!(writer.judge(&state).is_err());
    assert!(writer.owes_judging && writer.owes_sync);
    assert_eq!(served(&state), "trusted", "what was judged by the other policy");
    assert!(writer.next_change_s().unwrap() <= now_s(), "it is due at once");
    writer.failed_s = Some(now_s());
    assert!(writer.next_change_s().unwrap() > now_s(), "and after a pause once it was tried");

    std::fs::remove_dir(&audit).unwrap();
    std::fs::rename(&aside, &audit).unwrap();
    // Nothing about the file is new, and the order is carried out all the same.
    writer.judge(&state).unwrap();
    assert_eq!((served(&state).as_str(), writer.owes_judging), ("trust.source_not_allowed", false));
}

#[test]
fn what_could_not_be_published_is_due_again_after_a_pause() {
    let desk = Desk::new();
    let (mut writer, state) = desk.synced();
    writer.verdict_s = Some(now_s() - 1);
    assert!(writer.next_change_s().unwrap() < now_s());
    let audit = desk.path("state/audit.jsonl");
    std::fs::remove_file(&audit).unwrap();
    std::fs::create_dir(&audit).unwrap();
    // It denies what was let in, which cannot be written down.
    desk.policy(2, &GOOD.replace("[\"a\"]", "[\"b\"]"));
    writer.policies.again(&writer.settings.policy_files, writer.store.memory()).unwrap();
    assert!(writer.expire(&state).is_err());
    let again_s = writer.next_change_s().unwrap();
    assert!(again_s > now_s() && again_s <= now_s() + RETRY_S);
    // A clock that stepped back does not make the pause longer.
    writer.failed_s = Some(now_s() + 10_000);
    assert!(writer.next_change_s().unwrap() <= now_s());
}
