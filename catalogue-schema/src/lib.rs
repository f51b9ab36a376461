//! The documents of component registries as values: bytes in, checked values out.
//!
//! | room | what it answers |
//! |---|---|
//! | [`error`] | what was wrong with a text or a document, where, and what was expected |
//! | [`basis`] | what made a release, as a digest |
//! | [`lexicon`] | what texts mean that were read before |
//! | [`json`] | the one strict JSON reader: duplicate keys, depth, numbers, NUL, trailing data |
//! | [`id`] | component ids, source ids, namespaces and references (`id@requirement`) |
//! | [`references`] | references as one text, as releases hold them |
//! | [`version`] | versions and version requirements, per dialect |
//! | [`direct`] | references to a directory of a commit, without any catalogue |
//! | [`digest`] | digests in every published spelling, compared as bytes, printed one way |
//! | [`key`] | public and private keys in their containers, and fingerprints |
//! | [`keyset`] | which keys a set of signers has from now on |
//! | [`instant`] | instants in documents, as seconds |
//! | [`signature`] | signature files: detached, or an envelope around a statement |
//! | [`policy`] | the operator's trust policy |
//! | [`path`] | the one grammar for every path that comes from outside |
//! | [`pointer`] | where bytes lie (Git, file, https) and what pins them |
//! | [`forge`] | the file URLs of Git forges, known ones and the operator's own |
//! | [`filter`] | which releases of a list are taken |
//! | [`sources`] | the operator's sources file |
//! | [`model`] | sources, catalogues, releases, verdicts: what the pillars hand to each other |
//! | [`pace`] | how long work lets others go first |
//! | [`packed`] | a merged component as one block of bytes |
//! | [`range`] | which versions a requirement can mean, and whether two of them meet |
//! | [`graph`] | what every release requires, as numbers over merged components |
//! | [`seal`] | a publisher's signature over an archive, and what a registry says of the key |
//! | [`row`] | the parts of a release as answers tell them |
//! | [`extra`] | the fields of a release that nobody here interprets |
//! | [`generation`] | what a generation remembers: sources, catalogues, documents |
//! | [`documents`] | the list of the documents that a generation rests on, as one block of bytes |
//! | [`lockfile`] | which releases a project uses, in both published forms |
//! | [`compose`] | which components a `compose.yaml` calls |
//! | [`project`] | a project's own files: `lcp.toml` and `resolve.config.json` |
//! | [`dialect`] | readers: a document in, findings (releases and further wants) out |
//! | [`revision`] | accepted states of lists and catalogues, and the lines of their log |
//! | [`schema`] | the JSON Schemas of every document, generated from the types that read them |
//!
//! This crate names no file, socket, clock, thread or future; it never logs and never panics on input. What it calls back between two
//! stretches of long work ([`pace`]) is its user's.

pub mod basis;
pub mod compose;
pub mod dialect;
pub mod digest;
pub mod direct;
pub mod documents;
pub mod error;
pub mod extra;
pub mod filter;
pub mod forge;
pub mod generation;
pub mod graph;
pub mod id;
pub mod instant;
pub mod json;
pub mod key;
pub mod keyset;
pub mod lexicon;
pub mod lockfile;
pub mod model;
pub mod pace;
pub mod packed;
pub mod path;
pub mod pointer;
pub mod policy;
pub mod project;
pub mod range;
pub mod references;
pub mod revision;
pub mod row;
pub mod schema;
pub mod seal;
pub mod signature;
pub mod sources;
mod text;
pub mod version;
