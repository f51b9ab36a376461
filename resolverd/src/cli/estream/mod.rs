//! The verbs of eStream registries: arguments and what is printed; the work is done in [`crate::estream`].

pub mod checks;
pub mod pack;
pub mod publish;
pub mod registry;
pub mod scaffold;
