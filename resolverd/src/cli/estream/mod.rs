//! The verbs of eStream registries: arguments and what is printed; the work is done in [`crate::estream`].

pub mod bundle;
pub mod checks;
pub mod destination;
pub mod export;
pub mod install;
pub mod marketplace;
pub mod pack;
pub mod publish;
pub mod registry;
pub mod scaffold;
pub mod search;
pub mod uninstall;
pub mod verify;
pub mod workspace;
