//! The real program as a user or a script meets it.

use std::io::Read;
use std::process::{Command, Output, Stdio};

fn bit_axon(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bit-axon"));
    command.args(args).stdin(Stdio::null());
    command
}

fn output(args: &[&str]) -> Output {
    bit_axon(args).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn commands() -> Vec<String> {
    bit_axon::cli::command().get_subcommands().map(|command| command.get_name().to_owned()).collect()
}

#[test]
fn wrong_usage_is_exit_code_2_and_said_on_standard_error() {
    for args in [&["no-such-command"][..], &["--no-such-option"], &["completions"], &["completions", "no-such-shell"]] {
        let output = output(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(output.stdout.is_empty() && text(&output.stderr).starts_with("error: "), "{args:?}");
    }
}

#[test]
fn every_command_teaches_by_example() {
    for name in commands() {
        for args in [&["help", name.as_str()][..], &[name.as_str(), "--help"]] {
            let output = output(args);
            assert!(output.status.success(), "{name}");
            let help = text(&output.stdout);
            assert!(help.contains("Examples:") && help.contains(&format!("bit-axon {name}")), "{name}: {help}");
            assert!(output.stderr.is_empty());
        }
    }
}

#[test]
fn every_option_says_what_it_does() {
    for command in bit_axon::cli::command().get_subcommands() {
        assert!(command.get_about().is_some(), "{} has no description", command.get_name());
        for arg in command.get_arguments() {
            assert!(arg.get_help().is_some(), "{} {} has no help", command.get_name(), arg.get_id());
        }
    }
}

#[test]
fn without_a_terminal_no_command_prints_help() {
    let output = output(&[]);
    assert!(output.status.success());
    assert!(text(&output.stdout).contains("Usage: bit-axon"));
}

#[test]
fn completions_know_every_command_in_every_shell() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let output = output(&["completions", shell]);
        assert!(output.status.success() && output.stderr.is_empty());
        let script = text(&output.stdout);
        for name in commands() {
            assert!(script.contains(&name), "{shell} does not know {name}");
        }
    }
}

#[test]
fn every_command_has_a_manual_page() {
    let main = text(&output(&["man"]).stdout);
    assert!(main.contains(".TH bit-axon 1"), "{main}");
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("new/man1");
    assert!(output(&["man", "--out", out.to_str().unwrap()]).status.success());
    assert!(out.join("bit-axon.1").is_file());
    for name in commands() {
        let page = std::fs::read_to_string(out.join(format!("bit-axon-{name}.1"))).unwrap();
        assert!(page.contains("Examples"), "{name}");
    }
}

#[test]
fn a_failure_is_exit_code_1_with_its_causes_and_no_backtrace() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("in-the-way");
    std::fs::write(&file, "").unwrap();
    let output = bit_axon(&["man", "--out", file.to_str().unwrap()]).env("RUST_BACKTRACE", "1").output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stderr);
    let lines: Vec<&str> = said.lines().collect();
    assert!(lines[0].starts_with("error: ") && lines[0].contains("in-the-way"), "{said}");
    assert!(lines.len() == 2 && lines[1].starts_with("  "), "{said}");
}

#[test]
fn names_cannot_drive_the_terminal() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("a\u{1b}[2Jb");
    std::fs::write(&file, "").unwrap();
    let output = output(&["man", "--out", file.to_str().unwrap()]);
    assert!(!output.stderr.contains(&0x1b), "{:?}", text(&output.stderr));
}

#[test]
fn a_closed_pipe_is_quiet() {
    for args in [&["completions", "bash"][..], &["man"], &["--help"], &[]] {
        let mut child = bit_axon(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let mut said = String::new();
        child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        let status = child.wait().unwrap();
        assert!(said.is_empty() && status.success(), "{args:?}: {status} {said}");
    }
}
