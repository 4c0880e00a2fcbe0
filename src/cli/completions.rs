//! `completions`: a script that teaches a shell the commands and options.

use std::io::Write;

use anyhow::Result;
use clap::Args;
use clap_complete::Shell;

use super::output;

/// Print a completion script for a shell
///
/// The script is made from the definition of the command line itself, so it always fits this version.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct CompletionsArgs {
    /// The shell to write for
    shell: Shell,
}

const EXAMPLES: &str = "\
Examples:
  bit-axon completions bash > ~/.local/share/bash-completion/completions/bit-axon
  bit-axon completions zsh > ~/.zfunc/_bit-axon
  bit-axon completions fish > ~/.config/fish/completions/bit-axon.fish";

/// Prints the script.
pub fn run(args: CompletionsArgs) -> Result<()> {
    // Into memory first: the generator panics when it cannot write.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut super::command(), "bit-axon", &mut script);
    let mut out = output::stdout();
    out.write_all(&script)?;
    Ok(out.flush()?)
}
