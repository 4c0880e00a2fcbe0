//! `man`: manual pages, made from the definition of the command line.

use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;

use super::output;

/// Print the manual page, or write the pages of all commands
///
/// Without --out the main page goes to standard output. With it, one page for each command is
/// written into that folder: bit-axon.1, bit-axon-trace.1 and so on.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct ManArgs {
    /// Folder for the pages; it is made if it is not there
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

const EXAMPLES: &str = "\
Examples:
  bit-axon man | man -l -
  bit-axon man --out ~/.local/share/man/man1";

/// Prints or writes the pages.
pub fn run(args: ManArgs) -> Result<()> {
    let Some(dir) = args.out else {
        let mut page = Vec::new();
        clap_mangen::Man::new(super::command()).render(&mut page)?;
        let mut out = output::stdout();
        out.write_all(&page)?;
        return Ok(out.flush()?);
    };
    std::fs::create_dir_all(&dir).with_context(|| format!("cannot make the folder {}", dir.display()))?;
    clap_mangen::generate_to(super::command(), &dir)
        .with_context(|| format!("cannot write manual pages into {}", dir.display()))?;
    output::note(format!("wrote the manual pages into {}", dir.display()));
    Ok(())
}
