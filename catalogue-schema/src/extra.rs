//! The fields of a release that documents carry and nobody here interprets, as a daemon holds them for every release.
//! Never changes a value; written as the JSON object that was read.

use std::ops::Index;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};

/// Fields by name.
///
/// A sorted list and not a tree: a node of a tree has room for eleven fields, and most releases carry one or two.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Extra(Box<[(Box<str>, Value)]>);

impl Extra {
    /// Returns the value of a field.
    pub fn get(&self, field: &str) -> Option<&Value> {
        let at = self.0.binary_search_by(|(name, _)| (**name).cmp(field)).ok()?;
        self.0.get(at).map(|(_, value)| value)
    }

    /// Tells whether there is no field.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the fields in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.0.iter().map(|(name, value)| (&**name, value))
    }
}

impl From<Map<String, Value>> for Extra {
    fn from(fields: Map<String, Value>) -> Extra {
        let mut fields: Vec<(Box<str>, Value)> =
            fields.into_iter().map(|(name, value)| (name.into(), value)).collect();
        // A map keeps them in this order unless a feature of its crate is on.
        fields.sort_by(|(one, _), (other, _)| one.cmp(other));
        Extra(fields.into())
    }
}

/// Up to how many fields are sorted without a map.
const FEW: usize = 16;

/// A field that is there already gets the new value.
impl Extend<(String, Value)> for Extra {
    fn extend<I: IntoIterator<Item = (String, Value)>>(&mut self, fields: I) {
        let fields = fields.into_iter();
        // Few fields of different names need no map to be put in order.
        if self.0.is_empty()
            && let Some(most) = fields.size_hint().1.filter(|most| *most <= FEW)
        {
            // Collected in place they would be moved to where there is less room, twice.
            let mut few: Vec<(Box<str>, Value)> = Vec::with_capacity(most);
            few.extend(fields.map(|(name, value)| (name.into_boxed_str(), value)));
            few.sort_by(|(one, _), (other, _)| one.cmp(other));
            // Of fields of one name the last one counts; sorting kept their order.
            few.reverse();
            few.dedup_by(|(one, _), (other, _)| one == other);
            few.reverse();
            self.0 = few.into();
            return;
        }
        let held = std::mem::take(&mut self.0).into_iter().map(|(name, value)| (name.into(), value));
        *self = held.chain(fields).collect::<Map<String, Value>>().into();
    }
}

impl Index<&str> for Extra {
    type Output = Value;

    /// Returns the value of a field, `null` where there is none.
    fn index(&self, field: &str) -> &Value {
        self.get(field).unwrap_or(&Value::Null)
    }
}

impl Serialize for Extra {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        out.collect_map(self.iter())
    }
}

impl<'de> Deserialize<'de> for Extra {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Extra, D::Error> {
        Map::deserialize(from).map(Extra::from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads the objects one after the other into one, as a map would hold them.
    fn check(objects: &[&str]) {
        let (mut map, mut extra) = (Map::new(), Extra::default());
        for object in objects {
            let fields: Map<String, Value> = serde_json::from_str(object).expect("an object");
            map.extend(fields.clone());
            extra.extend(fields);
        }
        let text = serde_json::to_string(&map).expect("text");
        assert_eq!(serde_json::to_string(&extra).expect("text"), text);
        assert_eq!(serde_json::from_str::<Extra>(&text).expect("fields"), extra);
        assert_eq!(Extra::from(map.clone()), extra);
        assert_eq!(extra.is_empty(), map.is_empty());
        for field in ["a", "b", "é", ""] {
            assert_eq!(extra.get(field), map.get(field), "{field} of {objects:?}");
            assert_eq!(extra[field], map.get(field).cloned().unwrap_or_default());
        }
    }

    #[test]
    fn fields_are_held_and_written_as_a_map_does() {
        check(&[]);
        check(&["{}"]);
        check(&[r#"{"b": 1.50, "a": [null, {"z": 1, "y": 2}]}"#]);
        check(&[r#"{"é": "x", "b": 1, "": 0}"#, r#"{"b": 2, "a": true, "B": 3}"#]);
        check(&[r#"{"a": 1, "a": 2}"#]);
        let mut extra = Extra::default();
        extra.extend([("b", 1), ("a", 2), ("b", 3)].map(|(name, value)| (name.to_owned(), value.into())));
        assert_eq!(serde_json::to_string(&extra).expect("text"), r#"{"a":2,"b":3}"#);
    }
}
