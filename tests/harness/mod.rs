//! What the cases need: places, repositories, federations, the daemon in a sandbox. Asserts nothing about the program itself.

pub(crate) mod place;
