//! Trust (pillar): judges bytes against what was promised about them. Never fetches, keeps or merges.

pub mod verify;
