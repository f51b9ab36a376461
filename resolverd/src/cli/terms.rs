//! What every verb that solves takes besides references: which versions the host has, and what becomes of calls. Decides nothing
//! itself: what was said becomes fields of a request.

use std::collections::BTreeMap;

use catalogue_schema::error::escaped;
use clap::Args;
use serde_json::{Value, json};

use crate::api::{Code, Failure};

/// Which versions the host has.
#[derive(Debug, Clone, Default, Args)]
pub struct Platforms {
    /// A version that the host has, such as estream=0.9.0: it meets requirements on that name, and nothing else does
    #[arg(long = "platform", value_name = "NAME=VERSION")]
    platforms: Vec<String>,
}

impl Platforms {
    /// Tells whether none was named.
    pub fn is_empty(&self) -> bool {
        self.platforms.is_empty()
    }

    /// Returns the versions by their names.
    ///
    /// **Errors**: R011 `arguments` for a text of another form, and for a name twice.
    pub fn all(&self) -> Result<BTreeMap<&str, &str>, Failure> {
        let mut all = BTreeMap::new();
        for text in &self.platforms {
            let refused = |expected: &str| {
                let detail = format!("--platform: expected {expected}, found \"{}\"", escaped(text));
                Failure::new(Code::RequestInvalid, "arguments", detail)
                    .with("field", "platforms")
                    .hint("write it as --platform estream=0.9.0, once for each name")
            };
            let (name, version) = text
                .split_once('=')
                .filter(|(name, version)| !name.is_empty() && !version.is_empty())
                .ok_or_else(|| refused("NAME=VERSION"))?;
            if all.insert(name, version).is_some() {
                return Err(refused("each name once"));
            }
        }
        Ok(all)
    }

    /// Adds what was said to a request; nothing where nothing was.
    ///
    /// **Errors**: those of [`Platforms::all`].
    pub fn add(&self, resolve: &mut Value) -> Result<(), Failure> {
        let all = self.all()?;
        if !all.is_empty() {
            resolve["platforms"] = json!(all);
        }
        Ok(())
    }
}

/// What a solution goes by.
#[derive(Debug, Clone, Default, Args)]
pub struct Terms {
    /// Which versions the host has.
    #[command(flatten)]
    pub platforms: Platforms,
    /// Read the compose files of what is chosen, and require what they call even where it is not declared, with a warning
    #[arg(long)]
    calls: bool,
    /// Fail where something is called that is not declared; reads the compose files as --calls does
    #[arg(long)]
    strict: bool,
}

impl Terms {
    /// Tells whether calls are followed.
    pub fn follows_calls(&self) -> bool {
        self.calls || self.strict
    }

    /// Tells whether an undeclared call is an error.
    pub fn is_strict(&self) -> bool {
        self.strict
    }

    /// Returns the same, with calls followed where `before` says that they were.
    pub fn following(self, before: bool) -> Terms {
        Terms { calls: self.calls || before, ..self }
    }

    /// Adds what was said to a request; `is_offline` counts for compose files and for directories of commits.
    ///
    /// **Errors**: those of [`Platforms::all`].
    pub fn add(&self, resolve: &mut Value, is_offline: bool) -> Result<(), Failure> {
        self.platforms.add(resolve)?;
        if self.follows_calls() {
            resolve["calls"] = json!(if self.strict { "strict" } else { "follow" });
        }
        add_offline(resolve, is_offline);
        Ok(())
    }
}

/// Lets a request fetch nothing, where that was said.
pub fn add_offline(resolve: &mut Value, is_offline: bool) {
    if is_offline {
        resolve["offline"] = json!(true);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_said_becomes_fields_of_a_request() {
        let check = |platforms: &[&str], calls: bool, strict: bool, expected: Value| {
            let platforms = Platforms { platforms: platforms.iter().map(|one| (*one).to_owned()).collect() };
            let mut body = json!({});
            let found = Terms { platforms, calls, strict }.add(&mut body, true);
            let found = found.map_or_else(|failure| json!(failure.detail), |()| body);
            assert_eq!(found, expected);
        };
        check(&[], false, false, json!({"offline": true}));
        check(&["estream=0.9.0"], false, false, json!({"platforms": {"estream": "0.9.0"}, "offline": true}));
        check(
            &["a=1.0.0", "b=2=3"],
            true,
            false,
            json!({"platforms": {"a": "1.0.0", "b": "2=3"}, "calls": "follow", "offline": true}),
        );
        check(&[], false, true, json!({"calls": "strict", "offline": true}));
        check(&["estream"], false, false, json!("--platform: expected NAME=VERSION, found \"estream\""));
        check(&["=1.0.0"], false, false, json!("--platform: expected NAME=VERSION, found \"=1.0.0\""));
        check(
            &["a=1.0.0", "a=1.0.0"],
            false,
            false,
            json!("--platform: expected each name once, found \"a=1.0.0\""),
        );
    }
}
