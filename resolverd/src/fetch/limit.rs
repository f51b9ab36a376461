//! What one run may cost: bytes, documents, depth, seconds. One struct, with defaults, config keys and a test each.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

/// The limits of one sync of one source. Config table `[limits]`; unknown keys are refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// The largest list or catalogue, in bytes. Default 64 MiB.
    pub catalogue_bytes: u64,
    /// The largest document of one release (manifest, descriptor, compose file), in bytes. Default 1 MiB.
    pub release_document_bytes: u64,
    /// How many documents one source may need. Default 1,000,000.
    pub documents: u64,
    /// How many bytes one source may bring. Default 2 GiB.
    pub total_bytes: u64,
    /// How many lists may lead to a catalogue. Default 8.
    pub depth: u32,
    /// How many lists and catalogues one source may reach. Default 256.
    pub catalogues: u32,
    /// How long one source may take, in seconds. Default 600.
    pub total_s: u64,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            catalogue_bytes: 64 << 20,
            release_document_bytes: 1 << 20,
            documents: 1_000_000,
            total_bytes: 2 << 30,
            depth: 8,
            catalogues: 256,
            total_s: 600,
        }
    }
}

/// What is left of the limits during one run of one source.
#[derive(Debug)]
pub struct Budget {
    deadline: Instant,
    documents: std::sync::atomic::AtomicU64,
    bytes: std::sync::atomic::AtomicU64,
    /// The largest document that may be read now, in bytes.
    pub document_bytes: u64,
}

impl Budget {
    /// Starts a run.
    pub fn new(limits: &Limits, started: Instant) -> Budget {
        Budget {
            deadline: started + Duration::from_secs(limits.total_s),
            documents: limits.documents.into(),
            bytes: limits.total_bytes.into(),
            document_bytes: limits.catalogue_bytes,
        }
    }
}
