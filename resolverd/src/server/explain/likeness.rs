//! Ids that could be taken for another one: one letter away and of another source, or the same but for `_`, `.` and `-`. Advice for
//! whoever asks for an explanation; never refuses anything, and no resolve looks at it.

use catalogue_schema::packed::Packed;

/// How many such ids one explanation names.
pub(super) const ALIKE_MAX: usize = 5;

/// Returns a note for each id that `own` could be taken for, in the order of `all`, at most [`ALIKE_MAX`].
pub(super) fn notes(own: &Packed, all: &[Packed]) -> Vec<String> {
    let (id, (source, _)) = (own.id_text(), own.owner_texts());
    let alike = all.iter().filter_map(|other| {
        let (text, (owner, _)) = (other.id_text(), other.owner_texts());
        let how = match is_near(id.as_bytes(), text.as_bytes()) {
            true if owner != source => "differs from it in one character",
            _ if is_folded(id, text) => "differs from it in _ . and - only",
            _ => return None,
        };
        Some(format!("{text} of source {owner} {how}: make sure which of the two is meant"))
    });
    alike.take(ALIKE_MAX).collect()
}

/// Tells whether one of them is the other with one character more, less or changed.
fn is_near(one: &[u8], other: &[u8]) -> bool {
    let (long, short) = if one.len() < other.len() { (other, one) } else { (one, other) };
    if long.len() - short.len() > 1 {
        return false;
    }
    let Some(at) = (0..long.len()).find(|at| long.get(*at) != short.get(*at)) else { return false };
    let behind = if long.len() == short.len() { at + 1 } else { at };
    long.get(at + 1..) == short.get(behind..)
}

/// Tells whether they are two, and one where `_`, `.` and `-` are taken for each other.
fn is_folded(one: &str, other: &str) -> bool {
    let fold = |byte: u8| if matches!(byte, b'_' | b'.') { b'-' } else { byte };
    one != other && one.len() == other.len() && one.bytes().map(fold).eq(other.bytes().map(fold))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_character_is_near_and_two_are_not() {
        let check = |one: &str, other: &str, near: bool, folded: bool| {
            for (one, other) in [(one, other), (other, one)] {
                let found = (is_near(one.as_bytes(), other.as_bytes()), is_folded(one, other));
                assert_eq!(found, (near, folded), "{one} {other}");
            }
        };
        check("acme/billing", "acme/biling", true, false);
        check("acme/billing", "acme/billings", true, false);
        check("acme/billing", "xacme/billing", true, false);
        check("acme/billing", "acme/bilking", true, false);
        check("acme/billing", "acme/bililng", false, false);
        check("acme/billing", "acme/billing", false, false);
        check("acme/billing", "acme/biilings", false, false);
        check("acme/a_b", "acme/a-b", true, true);
        check("acme/a_b.c", "acme/a-b_c", false, true);
        check("a", "", true, false);
        check("", "", false, false);
    }
}
