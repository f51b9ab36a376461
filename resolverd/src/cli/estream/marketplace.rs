//! `resolverd marketplace`, short `mp`: the verbs of seed 002 section 5 under the name that it gives them, with the same arguments as
//! beside it.

use clap::Subcommand;

use crate::cli::Verb;
use crate::cli::estream::export::Export;
use crate::cli::estream::install::Install;
use crate::cli::estream::publish::Publish;
use crate::cli::estream::scaffold::Scaffold;
use crate::cli::files::Verify;
use crate::cli::search::Search;

/// What `marketplace` does.
#[derive(Debug, Clone, Subcommand)]
pub enum Market {
    /// Find components by words in name, keywords and description
    Search(Search),
    /// Install components and what they require into the workspace
    Install(Install),
    /// Write components, with everything that proves them, to a directory for a site without network
    Export(Export),
    /// Make a new component of a category
    Scaffold(Scaffold),
    /// Publish a component in a registry: a commit on a branch of it
    Publish(Publish),
    /// Verify installed components: their files, the archive, the signature
    Verify(Verify),
}

impl Market {
    /// Returns the verb that does it.
    pub fn verb(&self) -> Verb {
        match self.clone() {
            Market::Search(arguments) => Verb::Search(arguments),
            Market::Install(arguments) => Verb::Install(arguments),
            Market::Export(arguments) => Verb::Export(arguments),
            Market::Scaffold(arguments) => Verb::Scaffold(arguments),
            Market::Publish(arguments) => Verb::Publish(arguments),
            Market::Verify(arguments) => Verb::Verify(arguments),
        }
    }
}
