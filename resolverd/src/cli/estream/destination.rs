//! Where a verb makes a directory: `--output-dir`, or `-o` as seed 002 writes it.

use std::path::PathBuf;

use clap::Args;

use crate::api::{Code, Failure};
use crate::cli::{Output, output_or_directory};

/// A directory that is to be made.
#[derive(Debug, Clone, Args)]
pub struct Destination {
    /// The directory to make
    #[arg(long, value_name = "DIR")]
    output_dir: Option<PathBuf>,
    /// The directory to make, like --output-dir; text, table or json says how to print the answer
    #[arg(short, long, value_name = "DIR", id = "output", value_parser = output_or_directory())]
    output: Option<Output>,
}

impl Destination {
    /// Returns the directory that was named.
    ///
    /// **Errors**: R011 `arguments` where two were.
    pub fn directory(&self) -> Result<Option<PathBuf>, Failure> {
        match (&self.output_dir, &self.output) {
            (Some(_), Some(Output::Directory(_))) => {
                let detail = "two directories were named, by --output-dir and by -o";
                Err(Failure::new(Code::RequestInvalid, "arguments", detail).hint("name one of them"))
            }
            (Some(directory), _) | (None, Some(Output::Directory(directory))) => Ok(Some(directory.clone())),
            (None, _) => Ok(None),
        }
    }
}
