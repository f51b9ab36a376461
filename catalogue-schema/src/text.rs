//! The text forms that every value of this crate shares: read by its `parse`, printed by its `Display`, the same in serde.

/// Gives types with a `parse(&str)` and a `Display` their `FromStr`, `Serialize` and `Deserialize`. Where a type has its text at
/// hand (`text_forms!(A, B; as_text)`, with the method that gives it), that is what is written.
#[macro_export]
#[doc(hidden)]
macro_rules! text_forms {
    ($($type:ty),*) => {$(
        $crate::text_forms!(@read $type);

        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
    )*};
    ($($type:ty),*; $text:ident) => {$(
        $crate::text_forms!(@read $type);

        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                let text: &str = &self.$text();
                serializer.serialize_str(text)
            }
        }
    )*};
    (@read $type:ty) => {
        impl std::str::FromStr for $type {
            type Err = $crate::error::ParseError;

            fn from_str(text: &str) -> Result<$type, $crate::error::ParseError> {
                <$type>::parse(text)
            }
        }

        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<$type, D::Error> {
                let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
                <$type>::parse(&text).map_err(serde::de::Error::custom)
            }
        }
    };
}
