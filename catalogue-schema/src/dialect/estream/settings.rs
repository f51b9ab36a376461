//! `$HOME/.estream/config.toml`: eStream's own configuration of registries, cache and signing.
//!
//! ```toml
//! [registry]
//! default = "estream-io/registry"
//!
//! [[registry.sources]]
//! name = "enterprise"
//! url = "my-org/estream-registry-internal"
//! token_env = "ESTREAM_ENTERPRISE_TOKEN"
//!
//! [cache]
//! dir = "cache"
//! ttl_hours = 24
//! max_size_mb = 500
//!
//! [signing]
//! default_key = "keys/signing-key.pem"
//! ```
//! Everything may be left out. Keys that are not known here are ignored: the file belongs to other programs as well. Relative paths
//! count from the directory of the file.
//!
//! **Source**: seed 002, sections 3.5 and 9.1.

use std::collections::BTreeSet;
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::Spanned;

use crate::error::{ParseError, Places, Position};
use crate::id::SourceId;

/// The id of the source that `default` becomes.
pub const DEFAULT: &str = "estream";
/// How long what was read of a registry is good, in hours, where the file does not say it.
pub const TTL_HOURS: u64 = 24;
/// How large the cache may become, in MB, where the file does not say it.
pub const MAX_SIZE_MB: u64 = 500;
/// The most hours that can be said: ten years.
const TTL_HOURS_MAX: u64 = 87_600;
/// The most MB that can be said: a petabyte.
const MAX_SIZE_MB_MAX: u64 = 1_000_000_000;
/// The most registries that one file names.
const REGISTRIES_MAX: usize = 1_000;

/// What such a file says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settings {
    /// The registries, in the order in which they are asked: the default one first.
    pub registries: Vec<Registry>,
    /// Where the cache is to be.
    pub cache_dir: Option<PathBuf>,
    /// How long what was read of a registry is good, in seconds.
    pub ttl_s: Option<u64>,
    /// How large the cache may become, in bytes.
    pub max_size_bytes: Option<u64>,
    /// The key that signs where no other is named.
    pub default_key: Option<PathBuf>,
}

/// A registry that such a file names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registry {
    /// The id of the source that it becomes.
    pub id: SourceId,
    /// Where it lies: `owner/repo`, or the URL or path of a Git repository.
    pub url: String,
    /// The environment variable that holds the token for it.
    pub token_env: Option<String>,
    /// Where the file says it.
    pub position: Position,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Document {
    registry: RegistryTable,
    cache: CacheTable,
    signing: SigningTable,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct RegistryTable {
    default: Option<Spanned<String>>,
    sources: Vec<SourceTable>,
}

#[derive(Debug, Deserialize)]
struct SourceTable {
    name: Spanned<String>,
    url: Spanned<String>,
    token_env: Option<Spanned<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct CacheTable {
    dir: Option<Spanned<String>>,
    ttl_hours: Option<Spanned<u64>>,
    max_size_mb: Option<Spanned<u64>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct SigningTable {
    default_key: Option<Spanned<String>>,
}

impl Settings {
    /// Returns where the default registry lies, where one is said.
    pub fn default_registry(&self) -> Option<&str> {
        self.registries.iter().find(|one| one.id.as_text() == DEFAULT).map(|one| one.url.as_str())
    }

    /// Reads the text of the file, which lies in `directory`.
    ///
    /// **Errors**: it is no TOML; a value of another type, out of range or empty; a name that cannot be the id of a source, or stands
    /// there twice. Each with line and column.
    pub fn parse(text: &str, directory: &Path) -> Result<Settings, ParseError> {
        let places = Places::of(text.as_bytes());
        let at = |span: Range<usize>| places.at(span.start);
        let document: Document = toml::from_str(text).map_err(|error| {
            let found = ParseError::new("input.toml", "the configuration of eStream", error.message());
            match error.span() {
                Some(span) => found.at(at(span)),
                None => found,
            }
        })?;
        let Document { registry, cache, signing } = document;
        let mut settings = Settings::default();
        if let Some(url) = &registry.default {
            settings.registries.push(Registry {
                id: SourceId::parse(DEFAULT)?,
                url: filled(url, "registry.default", &at)?,
                token_env: None,
                position: at(url.span()),
            });
        }
        let mut names = BTreeSet::from([DEFAULT.to_owned()]);
        for (index, source) in registry.sources.iter().enumerate() {
            let field = |name: &str| format!("registry.sources[{index}].{name}");
            let name = source.name.get_ref();
            let placed = |error: ParseError| error.in_field(field("name")).at(at(source.name.span()));
            let id = SourceId::parse(name).map_err(placed)?;
            if !names.insert(name.clone()) {
                let expected = format!("every name once; {DEFAULT} is that of the default registry");
                return Err(placed(ParseError::new("input.duplicate_id", expected, name)));
            }
            let token_env = source.token_env.as_ref().map(|name| filled(name, &field("token_env"), &at));
            settings.registries.push(Registry {
                id,
                url: filled(&source.url, &field("url"), &at)?,
                token_env: token_env.transpose()?,
                position: at(source.url.span()),
            });
            if settings.registries.len() > REGISTRIES_MAX {
                let expected = format!("at most {REGISTRIES_MAX} registries");
                return Err(placed(ParseError::new("limit.registries", expected, "more")));
            }
        }
        let path = |text: &Option<Spanned<String>>, field: &str| -> Result<Option<PathBuf>, ParseError> {
            let text = text.as_ref().map(|text| filled(text, field, &at)).transpose()?;
            Ok(text.map(|text| directory.join(text)))
        };
        settings.cache_dir = path(&cache.dir, "cache.dir")?;
        settings.default_key = path(&signing.default_key, "signing.default_key")?;
        let number = |value: &Option<Spanned<u64>>, field: &str, range: (u64, u64)| match value {
            Some(value) if !(range.0..=range.1).contains(value.get_ref()) => {
                let expected = format!("a number from {} to {}", range.0, range.1);
                let error = ParseError::new("input.field", expected, value.get_ref().to_string());
                Err(error.in_field(field).at(at(value.span())))
            }
            Some(value) => Ok(Some(*value.get_ref())),
            None => Ok(None),
        };
        let hours = number(&cache.ttl_hours, "cache.ttl_hours", (1, TTL_HOURS_MAX))?;
        settings.ttl_s = hours.map(|hours| hours * 3600);
        let size = number(&cache.max_size_mb, "cache.max_size_mb", (0, MAX_SIZE_MB_MAX))?;
        settings.max_size_bytes = size.map(|size| size * 1_000_000);
        Ok(settings)
    }

    /// Returns these settings, and for what they do not say what `other` says.
    pub fn or(self, other: Settings) -> Settings {
        Settings {
            registries: if self.registries.is_empty() { other.registries } else { self.registries },
            cache_dir: self.cache_dir.or(other.cache_dir),
            ttl_s: self.ttl_s.or(other.ttl_s),
            max_size_bytes: self.max_size_bytes.or(other.max_size_bytes),
            default_key: self.default_key.or(other.default_key),
        }
    }
}

/// Returns a text that says something.
fn filled(
    text: &Spanned<String>,
    field: &str,
    at: &dyn Fn(Range<usize>) -> Position,
) -> Result<String, ParseError> {
    match text.get_ref().trim().is_empty() {
        false => Ok(text.get_ref().clone()),
        true => {
            let error = ParseError::new("input.field", "a text", "an empty one");
            Err(error.in_field(field).at(at(text.span())))
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const SEED: &str = "\
# $HOME/.estream/config.toml

[registry]
default = \"estream-io/registry\"

[[registry.sources]]
name = \"enterprise\"
url = \"my-org/estream-registry-internal\"
token_env = \"ESTREAM_ENTERPRISE_TOKEN\"
later = true

[cache]
dir = \"cache\"
ttl_hours = 12
max_size_mb = 20

[signing]
default_key = \"/srv/keys/signing-key.pem\"

[console]
theme = \"dark\"
";

    #[test]
    fn the_file_of_the_seed_is_read() {
        let found = Settings::parse(SEED, Path::new("/h/.estream")).unwrap();
        let registries: Vec<(&str, &str, Option<&str>, usize)> = found
            .registries
            .iter()
            .map(|one| (one.id.as_text(), &*one.url, one.token_env.as_deref(), one.position.line))
            .collect();
        assert_eq!(
            registries,
            [
                ("estream", "estream-io/registry", None, 4),
                ("enterprise", "my-org/estream-registry-internal", Some("ESTREAM_ENTERPRISE_TOKEN"), 8),
            ]
        );
        assert_eq!(found.cache_dir.as_deref(), Some(Path::new("/h/.estream/cache")));
        assert_eq!((found.ttl_s, found.max_size_bytes), (Some(43_200), Some(20_000_000)));
        let key = Path::new("/srv/keys/signing-key.pem");
        assert_eq!(found.default_key.as_deref(), Some(key));
        let empty = Settings::parse("", Path::new("/h")).unwrap();
        assert_eq!(empty, Settings::default());
        assert_eq!(empty.or(found.clone()), found);
        let own = Settings::parse("[cache]\nttl_hours = 1\n", Path::new("/h")).unwrap();
        assert_eq!(own.or(found).ttl_s, Some(3_600));
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line() {
        let check = |text: &str, line: usize, said: &str| {
            let error = Settings::parse(text, Path::new("/h")).unwrap_err();
            assert_eq!(error.position.map(|at| at.line), Some(line), "{text}: {error}");
            assert!(error.to_string().contains(said), "{text}: {error}");
        };
        check("[registry\n", 1, "");
        check("\n[registry]\ndefault = 3\n", 3, "string");
        check("[registry]\ndefault = \" \"\n", 2, "registry.default");
        check("[[registry.sources]]\nname = \"A B\"\nurl = \"a/b\"\n", 2, "registry.sources[0].name");
        check("[[registry.sources]]\nname = \"estream\"\nurl = \"a/b\"\n", 2, "every name once");
        check("[[registry.sources]]\nname = \"a\"\n", 1, "url");
        check("[[registry.sources]]\nname = \"a\"\nurl = \"\"\n", 3, "registry.sources[0].url");
        check("[cache]\nttl_hours = 0\n", 2, "1 to 87600");
        check("[cache]\nttl_hours = -1\n", 2, "");
        check("[cache]\n\nmax_size_mb = 9_000_000_000\n", 3, "cache.max_size_mb");
    }
}
