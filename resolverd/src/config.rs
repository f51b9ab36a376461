//! Where files live and what may be changed: flags, environment, the user's `config.toml`, the system's, built-in values.
//!
//! Reads configuration and sources files; never a catalogue, and nothing over the network.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::Read as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use catalogue_schema::dialect::estream;
use catalogue_schema::dialect::estream::settings::{MAX_SIZE_MB, Settings as HomeSettings, TTL_HOURS};
use catalogue_schema::error::ParseError;
use catalogue_schema::forge::{ForgePattern, Forges};
use catalogue_schema::id::ComponentId;
use catalogue_schema::model::{Refusal, Source};
use catalogue_schema::pointer::{Location, Repository};
use catalogue_schema::sources::{REFRESH_S_MIN, duration_s, registry_of};
use catalogue_schema::version::Version;
use rustix::fs::OFlags;
use serde::Deserialize;

use crate::api::{Code, Failure};
use crate::fetch::limit::Limits;
use crate::fetch::network::{Https, Network, Proxy, Rewrite, Token};
use crate::store::audit::AUDIT_BYTES_MAX;
use crate::trust::memory::UnknownOrder;
use crate::trust::policy::PolicyFile;

/// The largest configuration or sources file in bytes.
pub const CONFIG_BYTES_MAX: u64 = 4 << 20;
/// The least that the audit log may take, in bytes.
const AUDIT_BYTES_MIN: u64 = 1 << 20;
/// The most generations that can be kept for readers.
pub const GENERATIONS_MAX: u32 = 64;
/// How often an unpinned source is checked unless something else is said, in seconds.
pub const REFRESH_S: u64 = 3600;
/// How long the last good entries of a source are used unless something else is said, in seconds.
pub const MAX_STALE_S: u64 = 30 * 86_400;
/// How many generations readers may ask for unless something else is said.
pub const GENERATIONS: u32 = 2;
/// The sources file in the configuration directory.
const SOURCES: &str = "sources.json";
/// What is read where [`SOURCES`] does not exist and this does.
const SOURCES_LINES: &str = "sources.jsonl";
/// The system's configuration file.
pub const SYSTEM_CONFIG: &str = "/etc/resolverd/config.toml";

/// eStream's own configuration below the home directory, and what holds where that does not say it.
pub const HOME_CONFIGS: [&str; 2] = [".estream/config.toml", ".estream/cache/config.toml"];
/// The user by which a forge takes a token for Git; any does.
const TOKEN_USER: &str = "x-access-token";

/// The trust policy in a configuration directory.
const POLICY: &str = "trust.toml";
/// The system's trust policy, which nothing takes out of force.
pub const SYSTEM_POLICY: &str = "/etc/resolverd/trust.toml";

/// The name of the socket for admins.
pub const ADMIN_SOCKET: &str = "admin.sock";
/// Where the system lists its groups.
const GROUPS: &str = "/etc/group";

/// What the command line overrides.
#[derive(Debug, Clone, Default)]
pub struct Overrides {
    /// `--config`.
    pub config: Option<PathBuf>,
    /// `--sources`.
    pub sources: Option<PathBuf>,
    /// `--policy`.
    pub policy: Option<PathBuf>,
    /// `--socket`.
    pub socket: Option<PathBuf>,
    /// `--state-dir`.
    pub state_dir: Option<PathBuf>,
    /// `--system`.
    pub system: bool,
    /// `--offline`.
    pub offline: bool,
    /// `--idle-exit`, in seconds.
    pub idle_exit_s: Option<u64>,
    /// A directory that one verb has for itself, with sources of its own: state, cache and socket lie there, sources that are
    /// configured elsewhere do not count, and no other machine is asked.
    pub alone: Option<PathBuf>,
    /// eStream's own configuration is left out, whatever is said of it: for who looks at the rest although that one is wrong.
    pub without_home: bool,
}

/// The settings in force.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The sources file.
    pub sources_file: PathBuf,
    /// Where trust policies are looked for; a release must pass every one that is there. Config key `policy`; default
    /// `trust.toml` beside the user's configuration. The system's is among them whatever is said.
    pub policy_files: Vec<PolicyFile>,
    /// The socket.
    pub socket: PathBuf,
    /// Store, shelf, generation files, lock.
    pub state_dir: PathBuf,
    /// The socket is for a group (0660), not for one user (0600).
    pub system: bool,
    /// Nothing is fetched; the shelf answers.
    pub offline: bool,
    /// The limits of a sync.
    pub limits: Limits,
    /// The versions of platforms by which questions are answered that name none. Config tables `[platforms.NAME]` with `version`,
    /// such as `[platforms.estream]`; the more specific file's first.
    pub platforms: BTreeMap<ComponentId, Version>,
    /// The forges whose file URLs are understood. Config tables `[[forge]]`, the more specific file's first.
    pub forges: Forges,
    /// How other machines are reached.
    pub network: Network,
    /// How often an unpinned source is checked that does not say it itself, in seconds. Config key `refresh`; default 1 h.
    pub refresh_s: u64,
    /// How long the last good entries of a source that cannot be checked are used, in seconds. Config key `max_stale`;
    /// default 30 days.
    pub max_stale_s: u64,
    /// What becomes of a revision of which nobody can tell whether it is newer. Config key `require_order`: `true` refuses it;
    /// by default it is accepted with a warning.
    pub unknown_order: UnknownOrder,
    /// How many generations readers may ask for. Config key `generations`; default 2.
    pub generations: u32,
    /// How many bytes the audit log may take, all its files together. Config key `audit_bytes`; default 64 MiB, at least 1 MiB.
    pub audit_bytes: u64,
    /// The state directory may lie on a file system of another machine. Config key `allow_network_fs`; default no.
    pub allow_network_fs: bool,
    /// After how many idle seconds the daemon ends. Config key `idle_exit`; default never.
    pub idle_exit_s: Option<u64>,
    /// The group whose members may use `admin.sock`. Config key `admin_group`; default none: the daemon's user alone.
    pub admin_group: Option<String>,
    /// The key that signs what is published, where no other is named. Config key `estream.default_key`, else what eStream's own
    /// configuration says.
    pub default_key: Option<PathBuf>,
    /// What eStream's own configuration says, where there is one that counts. Config key `estream.home_config`: `false` takes it out
    /// of force; the system's daemon never reads one.
    pub home: Option<Home>,
    /// The program, with its arguments, that judges circuits and test vectors of a component before it is packed. Config key
    /// `estream.check_command`; default none. A relative path of a program counts from the file's directory.
    pub check_command: Option<Vec<String>>,
    /// The registry that components are published in: `owner/repo`, a URL or an absolute path. Config key `estream.registry`, else
    /// the default registry of eStream's own configuration.
    pub registry: Option<String>,
    /// What to read again for a reload.
    origin: Origin,
}

/// What `~/.estream/config.toml` says.
#[derive(Debug, Clone, Default)]
pub struct Home {
    /// The files that were read, as people call them.
    pub files: Vec<String>,
    /// The sources of its registries, in their order; what the sources file names counts before them.
    pub sources: Vec<Source>,
    /// The tokens of its registries.
    tokens: Vec<Token>,
    settings: HomeSettings,
}

/// Where settings came from.
#[derive(Debug, Clone)]
struct Origin {
    overrides: Overrides,
    /// The variables that count, as the process found them at its start.
    env: BTreeMap<&'static str, String>,
}

/// The environment variables that settings come from.
pub const VARIABLES: [&str; 12] = [
    "HOME",
    "LCOD_RESOLVER_CONFIG",
    "RESOLVERD_CACHE_DIR",
    "RESOLVERD_CONFIG",
    "RESOLVERD_POLICY",
    "RESOLVERD_SOCKET",
    "RESOLVERD_SOURCES",
    "RESOLVERD_STATE_DIR",
    "XDG_CACHE_HOME",
    "XDG_CONFIG_HOME",
    "XDG_RUNTIME_DIR",
    "XDG_STATE_HOME",
];

/// `config.toml`: unknown keys are refused. Relative paths count from the file's directory.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct ConfigFile {
    sources: Option<PathBuf>,
    policy: Option<PathBuf>,
    socket: Option<PathBuf>,
    state_dir: Option<PathBuf>,
    cache_dir: Option<PathBuf>,
    offline: Option<bool>,
    refresh: Option<Seconds<REFRESH_S_MIN>>,
    max_stale: Option<Seconds<1>>,
    require_order: Option<bool>,
    generations: Option<GenerationsKept>,
    audit_bytes: Option<AuditBytes>,
    allow_network_fs: Option<bool>,
    idle_exit: Option<Seconds<1>>,
    admin_group: Option<String>,
    https: HttpsTable,
    #[serde(rename = "rewrite")]
    rewrites: Vec<Rewrite>,
    #[serde(rename = "forge")]
    forges: Vec<ForgePattern>,
    platforms: BTreeMap<PlatformName, PlatformTable>,
    estream: EstreamTable,
    limits: toml::Table,
}

/// The table `[estream]`: what concerns registries of eStream alone.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct EstreamTable {
    home_config: Option<bool>,
    default_key: Option<PathBuf>,
    check_command: Option<Vec<String>>,
    registry: Option<String>,
}

impl ConfigFile {
    /// Drops what says how others are reached, or that nothing is read: there is one source, on this machine.
    fn stay_alone(&mut self) {
        self.offline = None;
        self.https = HttpsTable::default();
        self.rewrites = Vec::new();
    }
}

/// The name of a platform: `estream`, or the id of a component that hosts have themselves.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
struct PlatformName(ComponentId);

impl TryFrom<String> for PlatformName {
    type Error = ParseError;

    fn try_from(name: String) -> Result<Self, ParseError> {
        estream::platform(&name).map(PlatformName)
    }
}

/// The table `[platforms.NAME]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct PlatformTable {
    version: Version,
}

/// The table `[https]` of one file: what it does not say, the next file may.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct HttpsTable {
    ca_file: Option<PathBuf>,
    proxy: Option<Proxy>,
    tokens: Option<Vec<Token>>,
}

/// A duration: a number of seconds, or a text such as `30m`; at least `MIN` seconds.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(try_from = "serde_json::Value")]
struct Seconds<const MIN: u64>(u64);

impl<const MIN: u64> TryFrom<serde_json::Value> for Seconds<MIN> {
    type Error = ParseError;

    fn try_from(value: serde_json::Value) -> Result<Self, ParseError> {
        duration_s(&value, MIN).map(Seconds)
    }
}

/// How many generations are kept.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(try_from = "u32")]
struct GenerationsKept(u32);

impl TryFrom<u32> for GenerationsKept {
    type Error = String;

    fn try_from(count: u32) -> Result<Self, String> {
        match (1..=GENERATIONS_MAX).contains(&count) {
            true => Ok(GenerationsKept(count)),
            false => Err(format!("expected 1 to {GENERATIONS_MAX} generations, found {count}")),
        }
    }
}

/// How many bytes the audit log may take.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(try_from = "u64")]
struct AuditBytes(u64);

impl TryFrom<u64> for AuditBytes {
    type Error = String;

    fn try_from(bytes: u64) -> Result<Self, String> {
        match bytes >= AUDIT_BYTES_MIN {
            true => Ok(AuditBytes(bytes)),
            false => {
                Err(format!("expected at least {AUDIT_BYTES_MIN} bytes for the audit log, found {bytes}"))
            }
        }
    }
}

/// The part of `config.toml` that is read a second time, for its errors.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct LimitsOnly {
    limits: Limits,
}

/// Why the configuration cannot be used: the file, the place in it, what was found and expected.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A file cannot be read.
    #[error("cannot read {path}: {source}")]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file is too large to be a configuration.
    #[error("{path} has more than {CONFIG_BYTES_MAX} bytes")]
    TooLarge {
        /// Which.
        path: PathBuf,
    },
    /// `config.toml` is wrong.
    #[error("{path}: {found}")]
    Config {
        /// Which.
        path: PathBuf,
        /// What was found and expected, with line and column.
        found: String,
    },
    /// The sources file is wrong.
    #[error("{path}: {error}")]
    Sources {
        /// Which.
        path: PathBuf,
        /// What was found and expected, with line and column.
        error: ParseError,
    },
    /// What the configuration says about other machines cannot be used.
    #[error("{0}")]
    Network(Refusal),
    /// The configured group of admins is not known here.
    #[error("admin_group names the group {name:?}, which /etc/group does not list")]
    Group {
        /// Its name.
        name: String,
    },
    /// No home directory is known, and no directory was given.
    #[error("no place for {what}: neither {variable} nor HOME is set")]
    Homeless {
        /// What needs a place.
        what: &'static str,
        /// The variable that would say it.
        variable: &'static str,
    },
}

impl ConfigError {
    /// Returns what people are told.
    pub fn failure(&self) -> Failure {
        let hint = match self {
            ConfigError::Unreadable { .. } => "create the file, or name another",
            ConfigError::Config { .. } | ConfigError::Sources { .. } | ConfigError::Network(_) => {
                "correct the file"
            }
            ConfigError::Group { .. } => "create the group, or name another one or its number",
            ConfigError::TooLarge { .. } => "name another file: a configuration is never that large",
            ConfigError::Homeless { .. } => "set HOME, or name the directory",
        };
        Failure::new(Code::ConfigInvalid, "config", self.to_string()).hint(hint)
    }
}

impl Settings {
    /// Reads the settings; `env` gives environment variables.
    ///
    /// **Errors**: a configuration file that is named but unreadable, or wrong; no home directory where one is needed.
    pub fn load(
        overrides: &Overrides,
        env: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Settings, ConfigError> {
        let homes = Homes { env, system: overrides.system };
        let mut files = config_files(overrides, &homes)?;
        if overrides.alone.is_some() {
            files.iter_mut().for_each(ConfigFile::stay_alone);
        }
        let is_left_out = overrides.alone.is_some() || overrides.without_home;
        let home = match reads_home(&files) && !is_left_out {
            true => home_config(home_paths(&homes))?,
            false => None,
        };
        let from_files = |pick: fn(&ConfigFile) -> Option<PathBuf>| files.iter().find_map(pick);
        let chosen = |flag: &Option<PathBuf>, variable: &str, in_file: fn(&ConfigFile) -> Option<PathBuf>| {
            flag.clone()
                .or_else(|| set(env, variable).map(PathBuf::from))
                .map(absolute)
                .or_else(|| from_files(in_file))
        };
        let state_dir =
            match chosen(&overrides.state_dir, "RESOLVERD_STATE_DIR", |file| file.state_dir.clone()) {
                Some(path) => path,
                None => homes.state()?,
            };
        let sources_file = match chosen(&overrides.sources, "RESOLVERD_SOURCES", |file| file.sources.clone())
            .or_else(|| set(env, "LCOD_RESOLVER_CONFIG").map(PathBuf::from).map(absolute))
        {
            Some(path) => path,
            None => {
                let home = homes.config()?;
                let lines = home.join(SOURCES_LINES);
                if !home.join(SOURCES).exists() && lines.exists() { lines } else { home.join(SOURCES) }
            }
        };
        let cache_dir = match overrides
            .alone
            .as_ref()
            .map(|alone| alone.join("cache"))
            .or_else(|| set(env, "RESOLVERD_CACHE_DIR").map(|path| absolute(path.into())))
            .or_else(|| from_files(|file| file.cache_dir.clone()))
            .or_else(|| home.as_ref().and_then(|home| home.settings.cache_dir.clone()))
        {
            Some(path) => Some(without_slash(path)),
            None => homes.cache().ok(),
        };
        let socket = chosen(&overrides.socket, "RESOLVERD_SOCKET", |file| file.socket.clone());
        let policy = chosen(&overrides.policy, "RESOLVERD_POLICY", |file| file.policy.clone());
        Ok(Settings {
            sources_file,
            policy_files: policy_files(policy, &homes),
            socket: socket.unwrap_or_else(|| homes.socket(&state_dir)),
            state_dir: without_slash(state_dir),
            system: overrides.system,
            offline: overrides.offline || files.iter().find_map(|file| file.offline).unwrap_or_default(),
            forges: Forges::new(files.iter().flat_map(|file| file.forges.iter().cloned()).collect()),
            network: Network {
                local_only: overrides.alone.is_some(),
                ..network(&files, cache_dir).and_tokens(home.iter().flat_map(|home| home.tokens.clone()))
            },
            refresh_s: files.iter().find_map(|file| file.refresh).map_or(REFRESH_S, |Seconds(s)| s),
            max_stale_s: files.iter().find_map(|file| file.max_stale).map_or(MAX_STALE_S, |Seconds(s)| s),
            unknown_order: match files.iter().find_map(|file| file.require_order) {
                Some(true) => UnknownOrder::Refuse,
                Some(false) | None => UnknownOrder::Accept,
            },
            audit_bytes: files
                .iter()
                .find_map(|file| file.audit_bytes)
                .map_or(AUDIT_BYTES_MAX, |AuditBytes(bytes)| bytes),
            generations: files
                .iter()
                .find_map(|file| file.generations)
                .map_or(GENERATIONS, |GenerationsKept(count)| count),
            allow_network_fs: files.iter().find_map(|file| file.allow_network_fs).unwrap_or_default(),
            idle_exit_s: overrides
                .idle_exit_s
                .or_else(|| files.iter().find_map(|file| file.idle_exit).map(|Seconds(s)| s)),
            admin_group: files.iter().find_map(|file| file.admin_group.clone()),
            platforms: files
                .iter()
                .rev()
                .flat_map(|file| &file.platforms)
                .map(|(PlatformName(id), table)| (id.clone(), table.version.clone()))
                .collect(),
            default_key: files
                .iter()
                .find_map(|file| file.estream.default_key.clone())
                .or_else(|| home.as_ref().and_then(|home| home.settings.default_key.clone())),
            check_command: files.iter().find_map(|file| file.estream.check_command.clone()),
            registry: files.iter().find_map(|file| file.estream.registry.clone()).or_else(|| {
                home.as_ref().and_then(|home| home.settings.default_registry().map(str::to_owned))
            }),
            limits: limits(files, home.as_ref()),
            home,
            origin: Origin::of(overrides, env),
        })
    }

    /// Reads the settings again, from the same flags and variables.
    ///
    /// **Errors**: as [`Settings::load`].
    pub fn again(&self) -> Result<Settings, ConfigError> {
        let Origin { overrides, env } = &self.origin;
        Settings::load(overrides, &|name| env.get(name).cloned())
    }

    /// Returns the socket for admins, beside the main one; `None` where the main one has that name.
    pub fn admin_socket(&self) -> Option<PathBuf> {
        Some(self.socket.with_file_name(ADMIN_SOCKET)).filter(|path| *path != self.socket)
    }

    /// Returns the id of the group whose members are admins, where one is configured: a name of `/etc/group`, or a number.
    ///
    /// **Errors**: the group is unknown.
    pub fn admin_gid(&self) -> Result<Option<u32>, ConfigError> {
        let Some(name) = &self.admin_group else { return Ok(None) };
        let groups = read(Path::new(GROUPS))?;
        match gid_of(name, &String::from_utf8_lossy(&groups)) {
            Some(gid) => Ok(Some(gid)),
            None => Err(ConfigError::Group { name: name.clone() }),
        }
    }

    /// Returns the keys whose new value in `next` a running process cannot take.
    pub fn fixed(&self, next: &Settings) -> Vec<&'static str> {
        let keys = [
            ("socket", self.socket != next.socket),
            ("state_dir", self.state_dir != next.state_dir),
            ("admin_group", self.admin_group != next.admin_group),
            ("idle_exit", self.idle_exit_s != next.idle_exit_s),
        ];
        keys.into_iter().filter(|(_, changed)| *changed).map(|(key, _)| key).collect()
    }

    /// Returns these settings with the values of `running` for every key that [`Settings::fixed`] names.
    pub fn kept_from(mut self, running: &Settings) -> Settings {
        self.socket = running.socket.clone();
        self.state_dir = running.state_dir.clone();
        self.admin_group = running.admin_group.clone();
        self.idle_exit_s = running.idle_exit_s;
        self
    }

    /// Returns the configuration files that were looked for, the more specific first; not all of them need exist.
    pub fn config_files(&self) -> Vec<PathBuf> {
        let Origin { overrides, env } = &self.origin;
        let env = |name: &str| env.get(name).cloned();
        let homes = Homes { env: &env, system: overrides.system };
        let mut paths = config_paths(overrides, &homes);
        if overrides.alone.is_none() {
            paths.extend(home_paths(&homes).into_iter().map(|(path, _)| path));
        }
        paths
    }

    /// Reads the sources file. The registries that eStream's own configuration names stand behind it, and only those whose id and
    /// place it does not have; where such registries are named, the file may be missing, unless it was named itself.
    ///
    /// **Errors**: it cannot be read, or any part of it is wrong: it is the operator's own file, so nothing is skipped.
    pub fn sources(&self) -> Result<Vec<Source>, ConfigError> {
        let path = &self.sources_file;
        let registries = self.home.as_ref().map_or(&[][..], |home| &home.sources);
        let mut sources = match !registries.is_empty() && self.lacks_sources_file() {
            true => Vec::new(),
            false => {
                let directory = path.parent().unwrap_or(Path::new("/"));
                catalogue_schema::sources::read(&read(path)?, directory, &self.forges)
                    .map_err(|error| ConfigError::Sources { path: path.clone(), error })?
            }
        };
        for registry in registries {
            if !sources.iter().any(|known| known.id == registry.id || known.entry == registry.entry) {
                sources.push(registry.clone());
            }
        }
        Ok(sources)
    }

    /// Tells whether nobody has ever named a source here: the sources file is not at its usual place, and eStream's own configuration
    /// has no registry. A file that was named and is missing is a mistake, and is told as one wherever it is read.
    pub fn is_without_sources(&self) -> bool {
        self.home.as_ref().is_none_or(|home| home.sources.is_empty()) && self.lacks_sources_file()
    }

    /// Tells whether there is no sources file at its usual place, and nobody has named another.
    fn lacks_sources_file(&self) -> bool {
        let Origin { overrides, env } = &self.origin;
        let is_set = |name: &str| env.get(name).is_some_and(|value| !value.is_empty());
        let is_named =
            overrides.sources.is_some() || is_set("RESOLVERD_SOURCES") || is_set("LCOD_RESOLVER_CONFIG");
        let env = |name: &str| env.get(name).cloned();
        let usual = Homes { env: &env, system: overrides.system }.config();
        let is_usual = !is_named && usual.ok().as_deref() == self.sources_file.parent();
        is_usual
            && self
                .sources_file
                .symlink_metadata()
                .is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound)
    }

    /// Returns the settings of a verb that works for itself in the directory `alone`: the operator's own, but with what lies there for
    /// sources, state and cache, and no way to another machine.
    ///
    /// **Errors**: as [`Settings::load`].
    pub fn alone(&self, alone: &Path) -> Result<Settings, ConfigError> {
        let Origin { overrides, env } = &self.origin;
        let overrides = Overrides {
            sources: Some(alone.join(SOURCES)),
            state_dir: Some(alone.join("state")),
            socket: Some(alone.join("socket")),
            offline: false,
            alone: Some(alone.to_owned()),
            ..overrides.clone()
        };
        Settings::load(&overrides, &|name| env.get(name).cloned())
    }
}

/// Returns where configuration files are looked for, the more specific first, also where one of them is wrong.
pub fn looked_for(overrides: &Overrides, env: &dyn Fn(&str) -> Option<String>) -> Vec<PathBuf> {
    config_paths(overrides, &Homes { env, system: overrides.system })
}

/// Returns what is wrong in eStream's own configuration, each file by itself; nothing where it does not count.
pub fn wrong_at_home(
    overrides: &Overrides,
    env: &dyn Fn(&str) -> Option<String>,
) -> Vec<(PathBuf, ConfigError)> {
    let homes = Homes { env, system: overrides.system };
    if !config_files(overrides, &homes).map_or(true, |files| reads_home(&files)) {
        return Vec::new();
    }
    let wrong =
        |(path, name): (PathBuf, String)| Some((path.clone(), home_config(vec![(path, name)]).err()?));
    home_paths(&homes).into_iter().filter_map(wrong).collect()
}

/// Tells whether eStream's own configuration counts.
fn reads_home(files: &[ConfigFile]) -> bool {
    files.iter().find_map(|file| file.estream.home_config).unwrap_or(true)
}

/// Reads the configuration files that exist, the more specific first.
fn config_files(overrides: &Overrides, homes: &Homes<'_>) -> Result<Vec<ConfigFile>, ConfigError> {
    let is_named = overrides.config.is_some() || set(homes.env, "RESOLVERD_CONFIG").is_some();
    let paths = config_paths(overrides, homes);
    paths.iter().filter(|path| is_named || path.exists()).map(|path| config_file(path)).collect()
}

/// Returns where eStream's own configuration is looked for, with what people call it, the more specific first.
fn home_paths(homes: &Homes<'_>) -> Vec<(PathBuf, String)> {
    let home = set(homes.env, "HOME").map(PathBuf::from).filter(|home| home.is_absolute() && !homes.system);
    home.into_iter()
        .flat_map(|home| HOME_CONFIGS.map(|name| (home.join(name), format!("~/{name}"))))
        .collect()
}

/// Reads eStream's own configuration, the more specific file first; `None` where there is none.
fn home_config(paths: Vec<(PathBuf, String)>) -> Result<Option<Home>, ConfigError> {
    let mut found = Home::default();
    for (path, name) in paths {
        let bytes = match read_home(&path) {
            Err(ConfigError::Unreadable { source, .. }) if is_absent(&source) => continue,
            bytes => bytes?,
        };
        let wrong = |found: String| ConfigError::Config { path: path.clone(), found };
        let text = String::from_utf8(bytes).map_err(|error| wrong(error.to_string()))?;
        let directory = path.parent().unwrap_or(Path::new("/"));
        let read = HomeSettings::parse(&text, directory).map_err(|error| wrong(error.to_string()))?;
        if found.settings.registries.is_empty() {
            for (index, registry) in (0..).zip(&read.registries) {
                let placed = |error: ParseError| {
                    wrong(
                        error
                            .at(registry.position)
                            .in_field(format!("the registry {}", registry.id))
                            .to_string(),
                    )
                };
                let source = registry_of(&registry.id, &registry.url, index, directory).map_err(placed)?;
                if let Some(env) = &registry.token_env {
                    found.tokens.push(token(&source, env).map_err(placed)?);
                }
                found.sources.push(Source { declared_in: Some(name.clone()), ..source });
            }
        }
        found.settings = found.settings.or(read);
        found.files.push(name);
    }
    let ttl_s = found.settings.ttl_s.unwrap_or(TTL_HOURS * 3600);
    found.sources.iter_mut().for_each(|source| source.refresh_s = Some(ttl_s));
    Ok((!found.files.is_empty()).then_some(found))
}

/// Tells whether there is no such file: its place may not even be one that this user sees.
fn is_absent(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{NotADirectory, NotFound};
    matches!(error.kind(), NotFound | NotADirectory)
}

/// Returns the token of a registry.
fn token(source: &Source, env: &str) -> Result<Token, ParseError> {
    match &source.entry {
        Location::Git { repository: Repository::Https(url), .. } => Ok(Token {
            url: url.as_text().to_owned(),
            file: None,
            env: Some(env.to_owned()),
            user: Some(TOKEN_USER.to_owned()),
        }),
        other => {
            let expected = "no token_env for a registry that is not reached by https";
            Err(ParseError::new("input.field", expected, other.to_string()))
        }
    }
}

/// Returns where configuration files are looked for, the more specific first: the named one alone where one is named.
fn config_paths(overrides: &Overrides, homes: &Homes<'_>) -> Vec<PathBuf> {
    if let Some(named) =
        overrides.config.clone().or_else(|| set(homes.env, "RESOLVERD_CONFIG").map(PathBuf::from))
    {
        return vec![absolute(named)];
    }
    let mut paths = vec![PathBuf::from(SYSTEM_CONFIG)];
    if !homes.system
        && let Ok(home) = homes.config()
    {
        paths.insert(0, home.join("config.toml"));
    }
    paths
}

/// Returns where trust policies are looked for: the named one, else the user's, and always the system's.
fn policy_files(named: Option<PathBuf>, homes: &Homes<'_>) -> Vec<PolicyFile> {
    let own = match named {
        Some(path) => Some(PolicyFile { path, is_named: true }),
        None => homes.config().ok().map(|home| PolicyFile { path: home.join(POLICY), is_named: false }),
    };
    let system = PolicyFile { path: PathBuf::from(SYSTEM_POLICY), is_named: false };
    let mut files: Vec<PolicyFile> = own.into_iter().collect();
    if files.iter().all(|file| file.path != system.path) {
        files.push(system);
    }
    files
}

/// Returns what the files say about other machines: each key of `[https]` as the more specific file that has it says, every
/// rewrite rule.
fn network(files: &[ConfigFile], cache_dir: Option<PathBuf>) -> Network {
    Network {
        https: Https {
            ca_file: files.iter().find_map(|file| file.https.ca_file.clone()),
            proxy: files.iter().find_map(|file| file.https.proxy).unwrap_or_default(),
            tokens: files.iter().find_map(|file| file.https.tokens.clone()).unwrap_or_default(),
        },
        rewrites: files.iter().flat_map(|file| file.rewrites.iter().cloned()).collect(),
        cache_dir,
        local_only: false,
    }
}

impl Origin {
    fn of(overrides: &Overrides, env: &dyn Fn(&str) -> Option<String>) -> Origin {
        let env = VARIABLES.into_iter().filter_map(|name| Some((name, env(name)?))).collect();
        Origin { overrides: overrides.clone(), env }
    }
}

/// Joins the `[limits]` tables key by key, the more specific file first. Each table has been checked on its own.
fn limits(files: Vec<ConfigFile>, home: Option<&Home>) -> Limits {
    let size = home.map(|home| home.settings.max_size_bytes.unwrap_or(MAX_SIZE_MB * 1_000_000));
    let size = size.and_then(|size| i64::try_from(size).ok());
    let size = size.map(|size| ("files_bytes".to_owned(), toml::Value::Integer(size)));
    let joined: toml::Table =
        size.into_iter().chain(files.into_iter().rev().flat_map(|file| file.limits)).collect();
    joined.try_into().unwrap_or_default()
}

fn config_file(path: &Path) -> Result<ConfigFile, ConfigError> {
    let wrong =
        |found: String| ConfigError::Config { path: path.to_owned(), found: found.trim_end().to_owned() };
    let text = String::from_utf8(read(path)?).map_err(|error| wrong(error.to_string()))?;
    let mut file: ConfigFile = toml::from_str(&text).map_err(|error| wrong(error.to_string()))?;
    // The table is kept as it is written, so that limits can be joined key by key; what it says is checked here, where
    // line and column are known.
    toml::from_str::<LimitsOnly>(&text).map_err(|error| wrong(error.to_string()))?;
    // Joined to the directory of the file, nothing would name that directory.
    if let Some(key) = empty_path(&file) {
        return Err(wrong(format!("{key}: expected a path, found an empty text")));
    }
    let directory = path.parent().unwrap_or(Path::new("/"));
    let own = [
        &mut file.sources,
        &mut file.policy,
        &mut file.socket,
        &mut file.state_dir,
        &mut file.cache_dir,
        &mut file.estream.default_key,
    ];
    let tokens = file.https.tokens.iter_mut().flatten().filter_map(|token| token.file.as_mut());
    for place in own.into_iter().flatten().chain(tokens).chain(file.https.ca_file.as_mut()) {
        *place = directory.join(&*place);
    }
    // A bare name is looked for in PATH.
    if let Some(program) =
        file.estream.check_command.iter_mut().flatten().next().filter(|name| name.contains('/'))
    {
        *program = directory.join(&*program).display().to_string();
    }
    Ok(file)
}

/// Returns the first key whose path is empty.
fn empty_path(file: &ConfigFile) -> Option<&'static str> {
    let tokens = file.https.tokens.iter().flatten();
    let mut paths = [
        ("sources", &file.sources),
        ("policy", &file.policy),
        ("socket", &file.socket),
        ("state_dir", &file.state_dir),
        ("cache_dir", &file.cache_dir),
        ("https.ca_file", &file.https.ca_file),
        ("estream.default_key", &file.estream.default_key),
    ]
    .into_iter()
    .chain(tokens.map(|token| ("https.tokens.file", &token.file)));
    let empty = |path: &Option<PathBuf>| path.as_ref().is_some_and(|path| path.as_os_str().is_empty());
    paths.find(|(_, path)| empty(path)).map(|(key, _)| key)
}

/// Reads a file that nobody has named: one that is no regular file is refused, and nobody waits for whoever may write into a pipe.
fn read_home(path: &Path) -> Result<Vec<u8>, ConfigError> {
    let unreadable = |source| ConfigError::Unreadable { path: path.to_owned(), source };
    let flags = (OFlags::NONBLOCK | OFlags::NOCTTY).bits().cast_signed();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path).map_err(unreadable)?;
    if !file.metadata().map_err(unreadable)?.is_file() {
        return Err(unreadable(std::io::Error::other("it is no regular file")));
    }
    read_all(path, file)
}

fn read(path: &Path) -> Result<Vec<u8>, ConfigError> {
    let unreadable = |source| ConfigError::Unreadable { path: path.to_owned(), source };
    read_all(path, std::fs::File::open(path).map_err(unreadable)?)
}

fn read_all(path: &Path, file: std::fs::File) -> Result<Vec<u8>, ConfigError> {
    let unreadable = |source| ConfigError::Unreadable { path: path.to_owned(), source };
    let mut bytes = Vec::new();
    file.take(CONFIG_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > CONFIG_BYTES_MAX {
        return Err(ConfigError::TooLarge { path: path.to_owned() });
    }
    Ok(bytes)
}

/// Returns the id of a group: of the one called `name` in the text of `/etc/group`, or the number that `name` is.
fn gid_of(name: &str, groups: &str) -> Option<u32> {
    let listed = groups.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(name)).then(|| fields.nth(1))?
    });
    listed.unwrap_or(name).parse().ok()
}

/// Where things live by default.
struct Homes<'a> {
    env: &'a dyn Fn(&str) -> Option<String>,
    system: bool,
}

impl Homes<'_> {
    fn config(&self) -> Result<PathBuf, ConfigError> {
        if self.system {
            return Ok(PathBuf::from("/etc/resolverd"));
        }
        self.below("XDG_CONFIG_HOME", ".config", "the sources file")
    }

    fn cache(&self) -> Result<PathBuf, ConfigError> {
        if self.system {
            return Ok(PathBuf::from("/var/cache/resolverd"));
        }
        self.below("XDG_CACHE_HOME", ".cache", "the cache directory")
    }

    fn state(&self) -> Result<PathBuf, ConfigError> {
        if self.system {
            return Ok(PathBuf::from("/var/lib/resolverd"));
        }
        self.below("XDG_STATE_HOME", ".local/state", "the state directory")
    }

    fn socket(&self, state_dir: &Path) -> PathBuf {
        let directory = match set(self.env, "XDG_RUNTIME_DIR") {
            _ if self.system => PathBuf::from("/run/resolverd"),
            Some(runtime) => PathBuf::from(runtime).join("resolverd"),
            None => state_dir.join("run"),
        };
        directory.join("resolverd.sock")
    }

    fn below(
        &self,
        variable: &'static str,
        fallback: &str,
        what: &'static str,
    ) -> Result<PathBuf, ConfigError> {
        // The XDG base directory specification: a relative value is invalid and ignored.
        let base = set(self.env, variable).map(PathBuf::from).filter(|path| path.is_absolute());
        let home = || {
            let home = set(self.env, "HOME").map(PathBuf::from).filter(|home| home.is_absolute());
            home.map(|home| home.join(fallback))
        };
        let base = base.or_else(home).ok_or(ConfigError::Homeless { what, variable })?;
        Ok(base.join("resolverd"))
    }
}

fn set(env: &dyn Fn(&str) -> Option<String>, variable: &str) -> Option<String> {
    env(variable).filter(|value| !value.is_empty())
}

/// Returns a path as its components say it: with a slash at its end a link would be followed by whoever looks at it.
fn without_slash(path: PathBuf) -> PathBuf {
    path.components().collect()
}

/// A path from a flag or variable counts from the working directory.
fn absolute(path: PathBuf) -> PathBuf {
    std::path::absolute(&path).unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(overrides: &Overrides, variables: &[(&str, &str)]) -> Result<Settings, ConfigError> {
        Settings::load(overrides, &|name| {
            variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn an_empty_path_is_refused_by_the_name_of_its_key() {
        let directory = tempfile::tempdir().expect("a directory");
        let config = directory.path().join("config.toml");
        let named = Overrides { config: Some(config.clone()), ..Overrides::default() };
        let check = |text: &str, key: &str| {
            std::fs::write(&config, text).expect("written");
            let error = load(&named, &[("HOME", "/h")]).expect_err(text);
            let expected = format!("{}: {key}: expected a path, found an empty text", config.display());
            assert_eq!(error.to_string(), expected);
        };
        for key in ["sources", "policy", "socket", "state_dir", "cache_dir"] {
            check(&format!("{key} = \"\""), key);
        }
        check("[https]\nca_file = \"\"", "https.ca_file");
        check("[[https.tokens]]\nurl = \"https://e.org\"\nfile = \"\"", "https.tokens.file");
    }

    #[test]
    fn platforms_have_names_and_versions() {
        let directory = tempfile::tempdir().expect("a directory");
        let config = directory.path().join("config.toml");
        let named = Overrides { config: Some(config.clone()), ..Overrides::default() };
        let read = |text: &str| {
            std::fs::write(&config, text).expect("written");
            load(&named, &[("HOME", "/h")])
        };
        let text = "[platforms.estream]\nversion = \"0.9.0\"\n[platforms.\"lcod://kernel/rs\"]\nversion = \"1.2.0\"\n";
        let platforms = read(text).expect("settings").platforms;
        let told: Vec<String> = platforms.iter().map(|(id, version)| format!("{id} {version}")).collect();
        assert_eq!(told, ["lcod://kernel/rs 1.2.0", "estream:estream-kernel 0.9.0"]);
        for wrong in [
            "[platforms.estream]",
            "[platforms.estream]\nversion = \"new\"",
            "[platforms.\"a b\"]\nversion = \"1.0.0\"",
        ] {
            assert!(matches!(read(wrong), Err(ConfigError::Config { .. })), "{wrong}");
        }
    }

    #[test]
    fn the_more_specific_place_wins() {
        let directory = tempfile::tempdir().expect("a directory");
        let config = directory.path().join("config.toml");
        let text = "sources = \"my.json\"\nstate_dir = \"state\"\noffline = true\nmax_stale = \"2d\"\nrequire_order = true\n[limits]\ndepth = 3\n";
        std::fs::write(&config, text).expect("written");
        let named = Overrides { config: Some(config), ..Overrides::default() };

        let from_file =
            load(&named, &[("HOME", "/srv/u"), ("XDG_RUNTIME_DIR", "/run/user/1")]).expect("settings");
        assert_eq!(from_file.sources_file, directory.path().join("my.json"));
        assert_eq!(from_file.state_dir, directory.path().join("state"));
        assert_eq!(from_file.socket, Path::new("/run/user/1/resolverd/resolverd.sock"));
        assert_eq!((from_file.offline, from_file.limits.depth), (true, 3));
        assert_eq!((from_file.max_stale_s, from_file.unknown_order), (172_800, UnknownOrder::Refuse));

        let from_env = load(&named, &[("RESOLVERD_SOURCES", "/e.json"), ("RESOLVERD_STATE_DIR", "/e")])
            .expect("settings");
        assert_eq!(
            (from_env.sources_file, &*from_env.state_dir),
            (PathBuf::from("/e.json"), Path::new("/e"))
        );
        assert_eq!(from_env.socket, Path::new("/e/run/resolverd.sock"));

        let flags = Overrides { sources: Some("/f.json".into()), ..named };
        let from_flag = load(&flags, &[("RESOLVERD_SOURCES", "/e.json")]).expect("settings");
        assert_eq!(from_flag.sources_file, Path::new("/f.json"));
    }

    #[test]
    fn without_anything_the_home_directory_decides() {
        let settings = load(&Overrides::default(), &[("HOME", "/srv/u"), ("XDG_CONFIG_HOME", "relative")])
            .expect("settings");
        assert_eq!(settings.sources_file, Path::new("/srv/u/.config/resolverd/sources.json"));
        assert_eq!(settings.state_dir, Path::new("/srv/u/.local/state/resolverd"));
        let system = load(&Overrides { system: true, ..Overrides::default() }, &[]).expect("settings");
        assert_eq!(system.socket, Path::new("/run/resolverd/resolverd.sock"));
        for homeless in [&[][..], &[("HOME", "")], &[("HOME", "relative")]] {
            assert!(matches!(load(&Overrides::default(), homeless), Err(ConfigError::Homeless { .. })));
        }
    }

    #[test]
    fn the_system_s_policy_is_always_among_them() {
        let directory = tempfile::tempdir().expect("a directory");
        let config = directory.path().join("config.toml");
        std::fs::write(&config, "policy = \"own.toml\"\n").expect("written");
        let check = |overrides: Overrides, variables: &[(&str, &str)], expected: &[(&str, bool)]| {
            let found = load(&overrides, variables).expect("settings").policy_files;
            let found: Vec<(&str, bool)> =
                found.iter().map(|file| (file.path.to_str().unwrap_or_default(), file.is_named)).collect();
            assert_eq!(found, expected);
        };
        let named = |path: &str| Overrides { policy: Some(path.into()), ..Overrides::default() };
        let home = ("HOME", "/h");
        let system = (SYSTEM_POLICY, false);
        check(Overrides::default(), &[home], &[("/h/.config/resolverd/trust.toml", false), system]);
        check(named("/f.toml"), &[home, ("RESOLVERD_POLICY", "/e.toml")], &[("/f.toml", true), system]);
        check(Overrides::default(), &[home, ("RESOLVERD_POLICY", "/e.toml")], &[("/e.toml", true), system]);
        check(Overrides { system: true, ..Overrides::default() }, &[], &[system]);
        check(named(SYSTEM_POLICY), &[home], &[(SYSTEM_POLICY, true)]);
        let own = directory.path().join("own.toml");
        let by_file = Overrides { config: Some(config), ..Overrides::default() };
        check(by_file, &[home], &[(own.to_str().unwrap_or_default(), true), system]);
    }

    #[test]
    fn limits_are_joined_key_by_key() {
        let file = |text: &str| toml::from_str::<ConfigFile>(text).expect("a good file");
        let joined = limits(
            vec![file("[limits]\ndepth = 3"), file("[limits]\ndepth = 5\ntotal_s = 7"), file("")],
            None,
        );
        assert_eq!(joined, Limits { depth: 3, total_s: 7, ..Limits::default() });
    }

    #[test]
    fn a_user_s_token_keeps_the_system_s_authority_and_proxy() {
        let file = |text: &str| toml::from_str::<ConfigFile>(text).expect("a good file");
        let system = "[https]\nca_file = \"/etc/ca.pem\"\nproxy = \"none\"\n[[https.tokens]]\nurl = \"https://s.example\"\nenv = \"S\"\n";
        let user = "[[https.tokens]]\nurl = \"https://u.example\"\nenv = \"U\"\n";
        let found = network(&[file(user), file(system)], None).https;
        assert_eq!((found.ca_file, found.proxy), (Some("/etc/ca.pem".into()), Proxy::None));
        let tokens: Vec<&str> = found.tokens.iter().map(|token| &*token.url).collect();
        assert_eq!(tokens, ["https://u.example"], "a list is one value");
        let found = network(&[file("[https]\nproxy = \"environment\"\n"), file(system)], None).https;
        assert_eq!((found.proxy, found.tokens.len()), (Proxy::Environment, 1));
    }

    #[test]
    fn a_wrong_file_is_refused_with_its_place() {
        let directory = tempfile::tempdir().expect("a directory");
        let check = |text: &str, expected: &[&str]| {
            let config = directory.path().join("config.toml");
            std::fs::write(&config, text).expect("written");
            let overrides = Overrides { config: Some(config), ..Overrides::default() };
            let error = load(&overrides, &[("HOME", "/h")]).expect_err("refused").to_string();
            for part in expected {
                assert!(error.contains(part), "{error:?} does not say {part:?}");
            }
        };
        check("ofline = true\n", &["config.toml", "ofline", "line 1"]);
        check("\n[limits]\ndocumnts = 5\n", &["documnts", "line 3"]);
        check("offline = 3\n", &["line 1", "boolean"]);
        check(
            "\n[[forge]]\nfile = \"https://e.org/{repository}/{path}\"\nrepository = \"https://e.org/{repository}\"\n",
            &["line 2", "{revision} once", "file"],
        );
    }

    #[test]
    fn a_group_is_a_name_that_is_listed_or_a_number() {
        let groups = "root:x:0:\nadm:x:4:syslog,me\nbroken\n:x:9:\nodd:x:many:\n";
        for (name, expected) in [
            ("root", Some(0)),
            ("adm", Some(4)),
            ("1000", Some(1000)),
            ("me", None),
            ("broken", None),
            ("odd", None),
            ("-1", None),
        ] {
            assert_eq!(gid_of(name, groups), expected, "{name}");
        }
        let directory = tempfile::tempdir().expect("a directory");
        let config = directory.path().join("config.toml");
        std::fs::write(&config, "admin_group = \"no-such-group\"\n").expect("written");
        let overrides = Overrides { config: Some(config), ..Overrides::default() };
        let settings = load(&overrides, &[("HOME", "/h")]).expect("settings");
        let error = settings.admin_gid().expect_err("unknown").to_string();
        assert!(error.contains("no-such-group"), "{error}");
    }

    #[test]
    fn what_a_running_process_cannot_take_is_named_and_kept() {
        let settings = |overrides: Overrides| load(&overrides, &[("HOME", "/h")]).expect("settings");
        let running = settings(Overrides::default());
        assert_eq!(running.fixed(&running), <[&str; 0]>::default());
        assert_eq!(running.admin_socket(), Some("/h/.local/state/resolverd/run/admin.sock".into()));
        let next = settings(Overrides {
            socket: Some("/s/admin.sock".into()),
            state_dir: Some("/d".into()),
            idle_exit_s: Some(7),
            offline: true,
            ..Overrides::default()
        });
        assert_eq!((next.idle_exit_s, next.admin_socket()), (Some(7), None));
        assert_eq!(running.fixed(&next), ["socket", "state_dir", "idle_exit"]);
        let kept = next.kept_from(&running);
        assert_eq!((running.fixed(&kept).len(), kept.offline), (0, true));
    }

    #[test]
    fn the_audit_log_is_bounded_by_a_key_with_a_least_value() {
        let directory = tempfile::tempdir().expect("a directory");
        let config = directory.path().join("config.toml");
        let found = |text: &str| {
            std::fs::write(&config, text).expect("written");
            let overrides = Overrides { config: Some(config.clone()), ..Overrides::default() };
            load(&overrides, &[("HOME", "/h")]).map(|settings| settings.audit_bytes)
        };
        assert_eq!(found("").expect("settings"), AUDIT_BYTES_MAX);
        assert_eq!(found("audit_bytes = 2_000_000").expect("settings"), 2_000_000);
        let error = found("audit_bytes = 1000").expect_err("too little").to_string();
        assert!(error.contains("at least 1048576 bytes for the audit log, found 1000"), "{error}");
    }
}
