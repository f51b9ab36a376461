//! What the cases need: places, repositories, federations, the daemon in a sandbox. Asserts nothing about answers.

pub(crate) mod chance;
pub(crate) mod daemon;
pub(crate) mod desk;
pub(crate) mod dump;
pub(crate) mod estream;
pub(crate) mod fuse;
pub(crate) mod http;
pub(crate) mod lcod;
pub(crate) mod peers;
pub(crate) mod place;
pub(crate) mod poll;
pub(crate) mod prometheus;
pub(crate) mod repository;
pub(crate) mod tls;
pub(crate) mod toxic;
pub(crate) mod trace;
pub(crate) mod world;
