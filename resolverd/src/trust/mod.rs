//! Trust (pillar): judges bytes against what was promised about them, and revisions against those that were accepted before.
//! Never fetches, keeps or merges.

pub mod evidence;
pub mod keys;
pub mod memory;
pub mod policy;
pub mod rotation;
pub mod seal;
pub mod signature;
pub mod verify;
