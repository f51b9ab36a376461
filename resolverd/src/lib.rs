//! resolverd: a local daemon that resolves components of federated registries.
//!
//! # The map
//! | question | room |
//! |---|---|
//! | where is a digest parsed, an id, a path, a document? | the crate `catalogue-schema` (bytes to values, no I/O) |
//! | where is a commit fetched? | [`fetch`] (pillar): `git`, `git_wire`, `ssh`, `https`, `file`; `rewrite` says from where |
//! | where does a request say from where files come? | `fetch::mirror`: after the operator's `rewrite` rules, within what may be reached |
//! | where is a document judged? | [`trust`] (pillar): `trust::verify::judge`, used by every path |
//! | where is a release asked for what the operator's policy says? | `trust::policy::decide`: policy and facts in, steps out |
//! | where is a signature computed? | `trust::signature`; `trust::keys` reads the files that keys lie in |
//! | where is the seal of an archive looked at? | `trust::seal`, for registries that `catalogue_schema::dialect::estream` reads |
//! | where does a signer work? | [`signing`], for the client alone |
//! | where is going back refused? | `trust::memory`: today's revisions against those that were accepted |
//! | where are two catalogues merged? | [`merge`]: first match wins per component id |
//! | whose is a name that is registered somewhere? | [`merge`], by what the dialects find registered; `sync::scopes` where nobody knows that |
//! | where are bytes and generations kept? | [`shelf`] and [`store`] (pillar) |
//! | where is an id found, and the answer about an exact version? | `store::places` and `store::exact`, tables in memory |
//! | where is what was accepted remembered? | `store::memory` (trust-state.json) and `store::revisions` (their log) |
//! | where is a version chosen? | [`resolve`] (pillar): `ground` says where a requirement leads, `walk` decides and `solver` searches, `reason` says why not |
//! | where is found what components call and do not declare? | `server::calls`; `catalogue_schema::compose` reads the calls of a file |
//! | what does a relative call mean, and what lies beside a component? | `server::beside` |
//! | where is a contract's implementation found? | `resolve::contract` |
//! | where are requirements numbers? | `catalogue_schema::graph`, made once for a snapshot |
//! | where does a sync happen? | [`sync`]: the only writer |
//! | where are the files of a release put on disk? | [`materialize`]: below the cache, read-only; `daemon::files` furnishes it, `server::desk` asks it |
//! | where is an archive taken apart, or put together? | `materialize::archive`: strict, within bounds; equal files give equal bytes |
//! | what holds a copied cache against what was promised? | [`fetch::way`] for a directory of a commit, `materialize::packed` for an archive |
//! | where is something decided while it is asked for? | `server::decisions`, which the audit log and listeners are told of |
//! | where is a request answered? | [`server`]: the only reader (`route` reads it, `answer` answers it) |
//! | where is it explained, searched, told, counted? | `server::explain`, `search`, `events` and `stream`, `metrics` |
//! | where is a lock made, judged, watched? | `server::lock`; the text of one is `catalogue_schema::lockfile` |
//! | where does a directory of a commit take part in a solution? | `server::direct`, once `server::desk` has had it fetched and read its descriptor |
//! | where are a project's files read? | `cli::project`, and sent as values |
//! | where does a workspace install, a publisher publish? | [`estream`], on the client's side, for registries of eStream |
//! | where is a registry of eStream checked? | `estream::registry::check`, for those who publish as for continuous integration |
//! | where is told how far files have come? | `fetch::progress` keeps what is newest of each release, `server::progress` tells it in lines, `cli::bars` draws it |
//! | where are documents handed out as they were received? | `server::received`, which bundles (`estream::bundle`) are made of |
//! | who is connected? | `server::activity`: what idle-exit goes by |
//! | what does a request or an error look like? | [`api`] |
//! | where do settings come from? | [`config`]: flags, environment, files, built-in values |
//! | where is an edited file noticed? | [`watch`]: files in, orders out |
//! | where does it start, reload and stop? | [`daemon`]: two threads, one loop over [`order`]s |
//! | which threads are given a processor last? | `daemon::urgency` |
//! | what is due, and who is told? | `daemon::rounds`: timers, the watch, the service manager by `daemon::notify` |
//! | which directories may be used, on which file systems? | `daemon::rights` |
//! | what is wrong with a set-up? | `daemon::examine` looks, `daemon::repair` mends, `cli::doctor` tells |
//! | where is a verb? | [`cli`]; it asks through [`client`], or in process by `daemon::local` |
//!
//! # The floors
//! main → cli → (daemon, estream) → (sync, server, materialize, config, client, signing, watch) → (fetch, trust, store + shelf, resolve, merge, api, order)
//! → `catalogue-schema`. A room imports from lower floors only; pillars never import each other. `tests/tidy.rs` holds it.
//!
//! # What never happens
//! - Resolving touches no network, no disk and no lock: it reads one immutable `Arc<Snapshot>`.
//! - Nothing is written to shelf or store before the whole document has been judged.
//! - Nothing that a remote party sends ends the process.

pub mod api;
pub mod cli;
pub mod client;
pub mod config;
pub mod daemon;
pub mod estream;
pub mod fetch;
pub mod materialize;
pub mod merge;
pub mod order;
pub mod resolve;
pub mod server;
pub mod shelf;
pub mod signing;
pub mod store;
pub mod sync;
pub mod trust;
pub mod watch;
