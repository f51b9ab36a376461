//! The client's side of eStream registries (seed 002 §§5–7, §10): what a workspace installs and what a publisher makes.
//!
//! The daemon never comes here. A registry is read by `catalogue_schema::dialect::estream`, judged by [`crate::trust`] and resolved
//! like any other source; what a verb here wants to know it asks, through the function that its caller gives it. What is here works
//! with the caller's own rights on the caller's own directories: a workspace, a component that is being written, a checkout of a
//! registry.

pub mod forge;
pub mod git;
pub mod package;
pub mod publish;
pub mod registry;
pub mod scaffold;
