//! The readers of what lies in the state directory, as functions of bytes: for fuzzing and its tests.
//!
//! Nothing else calls them. They keep nothing; a broken promise of a reader is a panic here.

use catalogue_schema::packed::Packed;

use crate::store::first_seen;
use crate::store::row::{self, Row};

/// Reads a row of the index as it may stand there, and again with the checksum that it should have: what is taken is written as the
/// same bytes, and what can be read of its component can be read whole or not at all.
pub fn row(value: &[u8]) {
    let sealed = row::sealed(value);
    for value in [value, &sealed] {
        let Ok(row) = Row::decode(value) else { continue };
        assert_eq!(row.encode(), value, "a row is written as it was read");
        if let Row::Inline(block, _) = row
            && let Ok(packed) = Packed::read(block)
        {
            assert_eq!(packed.as_bytes(), block, "a block stays as it is");
            let _ = (packed.component(), packed.id(), packed.head(), packed.shadowed());
            for listed in packed.all() {
                let _ = (listed.release(), listed.version(), listed.content(), listed.extra());
            }
        }
    }
    if let Some((id, generation)) = row::read_key(value) {
        assert_eq!(row::key(id, generation), value, "a key is written as it was read");
    }
}

/// Reads the text of a line of the first-seen ledger with the checksum that it should have.
pub fn ledger_line(text: &[u8]) {
    first_seen::probe_line(text);
}
