//! `convert`: writes a published document in another form that can hold it. Needs no daemon, no store and no network.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use catalogue_schema::dialect::lcod::convert::{Converted, Dropped, FORMATS, Format, convert};
use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use serde_json::json;

use crate::api::{Code, Failure};
use crate::cli::{Ended, Output, Terminal};
use crate::signing::replace;

/// The largest document that is converted, in bytes.
pub const INPUT_BYTES_MAX: u64 = 64 << 20;
/// How many places are named on stderr; all of them are counted, and `-o json` names every one.
const PLACES_SHOWN: usize = 5;

/// What `convert` takes.
#[derive(Debug, Clone, Args)]
pub struct Convert {
    /// The document; - for stdin
    #[arg(value_name = "INPUT")]
    input: PathBuf,
    /// The form to write
    #[arg(long, value_parser = format_parser(), value_name = "FORMAT")]
    to: Format,
    /// The file to write, or a directory for a file with the form's usual name; stdout where it is not given
    #[arg(long, value_name = "FILE|DIR")]
    write: Option<PathBuf>,
}

fn format_parser() -> impl TypedValueParser<Value = Format> {
    PossibleValuesParser::new(FORMATS.map(Format::name))
        .map(|name| FORMATS.into_iter().find(|form| form.name() == name).unwrap_or(Format::List))
}

/// Converts, writes, and says what was left behind.
///
/// **Errors**: the input cannot be read or converted, the output cannot be written.
pub(super) fn run(arguments: &Convert, terminal: &Terminal) -> Result<u8, Ended> {
    let Convert { input, to, write } = arguments;
    let bytes = read(input)?;
    let Converted { text, dropped } = convert(&bytes, *to).map_err(|error| {
        Failure::new(
            Code::ManifestInvalid,
            error.reason.clone(),
            format!("cannot convert {}: {error}", input.display()),
        )
        .hint("resolverd help convert lists the forms")
    })?;
    if let Some(target) = write {
        let file = if target.is_dir() { target.join(to.file_name()) } else { target.clone() };
        replace(&file, text.as_bytes()).map_err(|error| {
            Failure::new(
                Code::RequestInvalid,
                "convert.write",
                format!("cannot write {}: {error}", file.display()),
            )
            .hint("name a file in a directory that exists and may be written")
        })?;
        terminal.say(&format!("wrote {}", file.display()));
    }
    let rows: Vec<_> =
        dropped.iter().map(|one| json!({"entry": one.entry, "field": one.field, "why": one.why})).collect();
    let answer = json!({"format": to.name(), "dropped": rows, "text": text});
    if terminal.output == Output::Json || write.is_none() {
        terminal.print(&answer, |answer, _| answer["text"].as_str().unwrap_or_default().to_owned())?;
    }
    report(&dropped, terminal);
    Ok(0)
}

/// Says on stderr how much was left behind, and the first places.
fn report(dropped: &[Dropped], terminal: &Terminal) {
    if dropped.is_empty() {
        return;
    }
    terminal.say(&format!("warning: left behind: {} (the form cannot hold them)", dropped.len()));
    for Dropped { entry, field, why } in dropped.iter().take(PLACES_SHOWN) {
        let place = if field.is_empty() { entry.clone() } else { format!("{entry}: {field}") };
        terminal.say(&format!("  {place}: {why}"));
    }
    if let Some(more) = dropped.len().checked_sub(PLACES_SHOWN).filter(|more| *more > 0) {
        terminal.say(&format!("  and {more} more; -o json names every one"));
    }
}

fn read(input: &Path) -> Result<Vec<u8>, Failure> {
    let failed = |found: String| {
        Failure::new(
            Code::RequestInvalid,
            "convert.input",
            format!("cannot read {}: {found}", input.display()),
        )
        .hint("name a file, or - for stdin")
    };
    let mut bytes = Vec::new();
    let limited = INPUT_BYTES_MAX + 1;
    let read = match input == Path::new("-") {
        true => io::stdin().lock().take(limited).read_to_end(&mut bytes),
        false => File::open(input).and_then(|file| file.take(limited).read_to_end(&mut bytes)),
    };
    read.map_err(|error| failed(error.to_string()))?;
    if bytes.len() as u64 > INPUT_BYTES_MAX {
        return Err(failed(format!("it has more than {INPUT_BYTES_MAX} bytes")));
    }
    Ok(bytes)
}
