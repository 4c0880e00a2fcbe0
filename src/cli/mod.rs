//! The command line: one file a command.
//!
//! A new command is a file with an `Args` struct and `pub fn run(args) -> Result<()>`, a line in
//! `Command` and a line in `dispatch`.
//!
//! Exit codes: 0 done, 1 failed, 2 called wrongly, 75 stopped by heat (`train`), 130 stopped by Ctrl-C. A reader that closes our
//! standard output has what it wanted (`bit-axon trace ... | head`), so that ends quietly with 0.

pub mod adapter_arg;
pub mod bench;
pub mod built_in;
pub mod chat;
pub mod completions;
pub mod config;
pub mod doctor;
#[cfg(feature = "hub")]
pub mod download;
pub mod eval;
pub mod hub;
pub mod init;
pub mod inspect;
pub mod interrupt;
mod logits_file;
mod look;
pub mod man;
pub mod merge;
#[cfg(test)]
mod mock;
pub mod model_arg;
pub mod monitor;
pub mod open;
pub mod output;
pub mod pico;
pub mod pipeline;
pub mod port_weights;
pub mod prepare;
mod progress;
pub mod quantize;
pub mod replay;
mod resources;
pub mod run;
mod sampling;
mod session_args;
pub mod sessions;
mod settings;
pub mod trace;
pub mod train;
#[cfg(feature = "hub")]
pub mod upload;

use std::ffi::OsString;
use std::fmt;
use std::io::{self, IsTerminal};
use std::process::ExitCode;

use anyhow::Result;
use clap::{CommandFactory, Parser, Subcommand};

/// A hybrid state-space and mixture-of-experts language model, in a terminal.
///
/// Runs Bit-Axon checkpoints on the CPU: streams text, shows which experts each token takes, and
/// inspects, makes, quantises, measures and downloads models.
#[derive(Debug, Parser)]
#[command(name = "bit-axon", version, after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
}

const EXAMPLES: &str = "\
Examples:
  bit-axon                                 Talk with the built-in model
  bit-axon --theme light                   The same; options without a command are those of `chat`
  bit-axon run \"Why is the sky blue?\"      Answer without the screen, in pipes and scripts
  bit-axon help trace                      Learn about a command
  bit-axon download owner/name             Fetch a model from the Hugging Face hub

A MODEL is a folder, a .safetensors file, or a hub name such as owner/name.

Exit codes: 0 done, 1 failed, 2 called wrongly, 130 stopped by Ctrl-C.
NO_COLOR=1 turns colours off.";

/// In the order in which help lists them.
#[derive(Debug, Subcommand)]
enum Command {
    Chat(chat::ChatArgs),
    Run(run::RunArgs),
    Sessions(sessions::SessionsArgs),
    Replay(replay::ReplayArgs),
    Trace(trace::TraceArgs),
    Inspect(inspect::InspectArgs),
    Init(init::InitArgs),
    Quantize(quantize::QuantizeArgs),
    PortWeights(port_weights::PortWeightsArgs),
    Train(train::TrainArgs),
    Prepare(prepare::PrepareArgs),
    Merge(merge::MergeArgs),
    Pipeline(pipeline::PipelineArgs),
    Eval(eval::EvalArgs),
    Bench(bench::BenchArgs),
    Monitor(monitor::MonitorArgs),
    #[cfg(feature = "hub")]
    Download(download::DownloadArgs),
    #[cfg(feature = "hub")]
    Upload(upload::UploadArgs),
    Config(config::ConfigArgs),
    Doctor(doctor::DoctorArgs),
    Completions(completions::CompletionsArgs),
    Man(man::ManArgs),
    Pico(pico::PicoArgs),
}

fn dispatch(command: Command) -> Result<()> {
    match command {
        Command::Chat(args) => chat::run(args),
        Command::Run(args) => run::run(args, run::open),
        Command::Sessions(args) => sessions::run(args),
        Command::Replay(args) => replay::run(args),
        Command::Trace(args) => trace::run(args),
        Command::Inspect(args) => inspect::run(args),
        Command::Init(args) => init::run(args),
        Command::Quantize(args) => quantize::run(args),
        Command::Train(args) => train::run(args),
        Command::Prepare(args) => prepare::run(args),
        Command::Merge(args) => merge::run(args),
        Command::Pipeline(args) => pipeline::run(args),
        Command::PortWeights(args) => port_weights::run(args),
        Command::Eval(args) => eval::run(args),
        Command::Bench(args) => bench::run(args),
        Command::Monitor(args) => monitor::run(args),
        #[cfg(feature = "hub")]
        Command::Download(args) => download::run(args),
        #[cfg(feature = "hub")]
        Command::Upload(args) => upload::run(args),
        Command::Config(args) => config::run(args),
        Command::Doctor(args) => doctor::run(args),
        Command::Completions(args) => completions::run(args),
        Command::Man(args) => man::run(args),
        Command::Pico(args) => pico::run(args),
    }
}

/// Runs a command line, without the program's name.
fn execute(words: &[String]) -> Result<()> {
    let words = std::iter::once("bit-axon").chain(words.iter().map(String::as_str));
    Cli::try_parse_from(words)?.command.map_or(Ok(()), dispatch)
}

/// What `bit-axon` alone does on a terminal, and what options without a command belong to.
const DEFAULT: &str = "chat";

/// The command line with the default command where options come without one.
fn with_command(args: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut args: Vec<OsString> = args.into_iter().collect();
    let own = ["-h", "--help", "-V", "--version", "--"];
    let option = |arg: &OsString| arg.to_str().is_some_and(|arg| arg.starts_with('-') && !own.contains(&arg));
    if args.get(1).is_some_and(option) {
        args.insert(1, DEFAULT.into());
    }
    args
}

/// The definition of the command line, from which help, completions and man pages are made.
pub fn command() -> clap::Command {
    Cli::command()
}

/// Parses the command line, does what it says, and gives the exit code.
pub fn main() -> ExitCode {
    let parsed = Cli::try_parse_from(with_command(std::env::args_os())).and_then(|cli| match cli.command {
        Some(command) => Ok(Some(command)),
        None if io::stdin().is_terminal() && io::stdout().is_terminal() => {
            Cli::try_parse_from(["bit-axon", DEFAULT]).map(|cli| cli.command)
        }
        None => Ok(None),
    });
    let result = match parsed {
        Ok(Some(command)) => dispatch(command),
        Ok(None) => output::line(command().render_help()).map_err(Into::into),
        Err(usage) => {
            // A closed pipe while printing help is not worth a word.
            let _ = usage.print();
            return ExitCode::from(u8::try_from(usage.exit_code()).unwrap_or(2));
        }
    };
    result.map_or_else(|error| report(&error), |()| ExitCode::SUCCESS)
}

/// Says what went wrong on standard error, and gives the exit code that belongs to it.
fn report(error: &anyhow::Error) -> ExitCode {
    if output::reader_gone(error) {
        return ExitCode::SUCCESS;
    }
    if error.is::<interrupt::Interrupted>() {
        return ExitCode::from(130);
    }
    if error.is::<train::TooHot>() {
        return ExitCode::from(train::TooHot::EXIT_CODE);
    }
    output::error(error);
    ExitCode::from(if error.is::<Usage>() { 2 } else { 1 })
}

/// The command was called wrongly in a way that only its own code can see: exit code 2.
#[derive(Debug)]
pub struct Usage(pub String);

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Usage {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_is_sound() {
        command().debug_assert();
    }

    #[test]
    fn options_without_a_command_are_those_of_chat() {
        let with = |args: &[&str]| {
            let args = std::iter::once(&"bit-axon").chain(args).map(OsString::from);
            with_command(args)
                .iter()
                .skip(1)
                .map(|arg| arg.to_string_lossy().into_owned())
                .collect::<Vec<_>>()
                .join(" ")
        };
        assert_eq!(with(&["--sensor", "none"]), "chat --sensor none");
        assert_eq!(with(&["-t", "0"]), "chat -t 0");
        for own in [&[][..], &["--help"], &["-V"], &["run", "--raw"], &["config"]] {
            assert_eq!(with(own), own.join(" "));
        }
    }

    #[test]
    fn errors_have_their_exit_codes() {
        let code = |error: anyhow::Error| format!("{:?}", report(&error));
        let is = |n: u8| format!("{:?}", ExitCode::from(n));
        assert_eq!(code(anyhow::anyhow!("it broke")), is(1));
        assert_eq!(code(Usage("no prompt".into()).into()), is(2));
        assert_eq!(code(anyhow::Error::from(Usage("no prompt".into())).context("while starting")), is(2));
        assert_eq!(code(interrupt::Interrupted.into()), is(130));
        assert_eq!(code(output::mark(io::ErrorKind::BrokenPipe.into()).into()), is(0));
        // A pipe that broke elsewhere, to a server perhaps, is a failure.
        assert_eq!(code(io::Error::from(io::ErrorKind::BrokenPipe).into()), is(1));
    }
}
