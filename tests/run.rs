//! The `run` command around a scripted backend: what is read, printed and asked.

mod common;

use std::io::{Cursor, Write};

use bit_axon::cli::Usage;
use bit_axon::cli::run::{Io, RunArgs, run_with};
use clap::Parser;
use common::{Call, Mock};
use serde_json::Value;

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    run: RunArgs,
}

fn parse(args: &[&str]) -> Result<RunArgs, clap::Error> {
    Line::try_parse_from(std::iter::once(&"run").chain(args)).map(|line| line.run)
}

fn run_in(mock: &Mock, args: &[&str], input: &str, terminal: bool) -> (anyhow::Result<()>, String) {
    let mut out = Vec::new();
    let mut io = Io {
        input: &mut Cursor::new(input.as_bytes()),
        input_is_terminal: false,
        out: &mut out,
        out_is_terminal: terminal,
    };
    let load = mock.clone().load();
    let done = run_with(&parse(args).unwrap(), move |_| load(), &mut io);
    (done, String::from_utf8(out).unwrap())
}

fn output(mock: &Mock, args: &[&str], input: &str) -> String {
    let (done, out) = run_in(mock, args, input, false);
    done.unwrap();
    out
}

/// All that the model was given to read, as text.
fn read(mock: &Mock) -> String {
    let tokens =
        mock.calls().into_iter().flat_map(|call| if let Call::Forward(tokens) = call { tokens } else { vec![] });
    tokens.map(|token| if token < 256 { char::from(token as u8) } else { '#' }).collect()
}

#[test]
fn a_prompt_is_a_turn_of_a_chat() {
    let mock = Mock::says("Grüße!".as_bytes());
    assert_eq!(output(&mock, &["Hi", "--system", "Be brief."], ""), "Grüße!\n");
    assert!(read(&mock).starts_with("#system\nBe brief.#\n#user\nHi#\n#assistant\nGr"), "{}", read(&mock));
    let mock = Mock::says(b"two\n");
    assert_eq!(output(&mock, &[], "from a pipe\r\n"), "two\n");
    assert!(read(&mock).starts_with("#user\nfrom a pipe#\n"));
    let mock = Mock::says(b" end. More");
    assert_eq!(output(&mock, &["--raw", "The>", "--stop", "no", "--stop", "."], ""), " end\n");
    assert!(read(&mock).starts_with("The> end"));
}

#[test]
fn terminals_obey_no_model() {
    let mock = Mock::says(b"\x1b[2J\tx\r\n\x07");
    let (done, shown) = run_in(&mock, &["Hi"], "", true);
    done.unwrap();
    assert!(!shown.contains(['\x1b', '\r', '\x07']) && shown.contains("\tx") && shown.ends_with('\n'), "{shown:?}");
    assert_eq!(output(&mock, &["Hi"], ""), "\x1b[2J\tx\r\n\x07\n");
}

#[test]
fn json_has_a_line_for_each_token_and_a_summary() {
    let mock = Mock::says("aé".as_bytes());
    let out = output(&mock, &["Hi", "--json", "--alternatives", "2", "--seed", "9"], "");
    let lines: Vec<Value> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 4);
    assert_eq!((&lines[0]["id"], &lines[0]["text"]), (&97.into(), &"a".into()));
    assert_eq!((&lines[1]["text"], &lines[2]["text"]), (&"".into(), &"é".into()));
    assert_eq!(lines[0]["alternatives"].as_array().unwrap().len(), 2);
    assert!(lines[0]["logprob"].as_f64().unwrap() <= 0.0);
    assert_eq!(lines[0]["routing"][0]["layer"], 1);
    let summary = &lines[3];
    assert_eq!((&summary["type"], &summary["reason"]), (&"summary".into(), &"end_of_text".into()));
    assert_eq!((&summary["seed"], &summary["generated_tokens"]), (&9.into(), &3.into()));
    assert!(summary["decode_tokens_per_second"].as_f64().unwrap() > 0.0);
    assert!(summary["time_to_first_token_s"].as_f64().unwrap() > 0.0);
    assert!(!cfg!(unix) || summary["peak_memory_bytes"].as_u64().unwrap() > 1 << 20);
    let default = output(&mock, &["Hi", "--json"], "");
    let first: Value = serde_json::from_str(default.lines().next().unwrap()).unwrap();
    assert_eq!(first["alternatives"].as_array().unwrap().len(), 3);
}

#[test]
fn a_chat_remembers_and_obeys_its_commands() {
    let mock = Mock::says(b"Yes.");
    let input = "Is it?\n\n/help\n/nonsense\nSure\\\nly?\n/system Be rude.\n And /now\n/reset\nAgain\n/quit\nnever\n";
    let out = output(&mock, &["--chat", "--temperature", "0"], input);
    assert_eq!(out, "Yes.\n".repeat(4));
    let read = read(&mock);
    assert!(read.contains("#user\nSure\nly?#\n"), "{read}");
    assert!(read.contains("#system\nBe rude.#\n#user\n And /now#\n"), "{read}");
    // What was read before the other message is not read again.
    assert!(read.ends_with("Again#\n#assistant\nYes."), "{read}");
    assert!(!read.contains("never") && !read.contains("nonsense"));
    // The second turn reads nothing of the first again.
    assert_eq!(read.matches("Is it?").count(), 1);
    // A first message as an argument, and the end of the input.
    assert_eq!(output(&mock, &["--chat", "Hello"], "and"), "Yes.\n".repeat(2));
}

#[test]
fn a_failed_turn_leaves_the_chat() {
    let mock = Mock { context: 120, ..Mock::says(b"ok") };
    let long = "x".repeat(200);
    let out = output(&mock, &["--chat"], &format!("{long}\nshort\n"));
    assert_eq!(out.trim(), "ok");
    assert!(!read(&mock).contains("xx"));
    let (done, out) = run_in(&mock, &[&long], "", false);
    assert!(done.unwrap_err().to_string().contains("holds 120") && out.is_empty());
    assert_eq!(output(&mock, &[&long, "--truncate"], "").lines().count(), 1);
}

#[test]
fn wrong_usage_is_told_apart() {
    <Line as clap::CommandFactory>::command().debug_assert();
    for bad in [
        &["--temperature", "-1"][..],
        &["--temperature", "warm"],
        &["--top-p", "0"],
        &["--top-p", "nan"],
        &["--min-p", "2"],
        &["--repetition-penalty", "0"],
        &["--stop", ""],
        &["--raw", "--chat"],
        &["--raw", "--system", "x"],
        &["--alternatives", "3"],
        &["--threads", "0"],
        &["--exact", "--kv", "q8"],
        &["--kv", "q4"],
    ] {
        assert_eq!(parse(bad).map(|_| ()).unwrap_err().exit_code(), 2, "{bad:?}");
    }
    parse(&["--temperature", "0", "-n", "5", "--kv", "q8", "--threads", "2", "x"]).unwrap();
    for input in ["", "\n"] {
        let (done, _) = run_in(&Mock::counts(), &[], input, false);
        assert!(done.unwrap_err().is::<Usage>());
    }
    let (done, _) = run_in(&Mock::counts(), &["", "--chat"], "", false);
    assert!(done.unwrap_err().is::<Usage>());
}

/// A reader that leaves after the first few bytes.
struct Leaves(usize);

impl Write for Leaves {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0 = self.0.checked_sub(bytes.len()).ok_or(std::io::ErrorKind::BrokenPipe)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_reader_that_leaves_ends_the_work() {
    for args in [&["Hi", "-n", "100000"][..], &["Hi", "-n", "100000", "--json"], &["--chat", "Hi", "-n", "100000"]] {
        let mock = Mock { context: 1_000_000, ..Mock::counts() };
        let mut io = Io {
            input: &mut Cursor::new(b"more\n"),
            input_is_terminal: false,
            out: &mut Leaves(40),
            out_is_terminal: false,
        };
        let load = mock.clone().load();
        let error = run_with(&parse(args).unwrap(), move |_| load(), &mut io).unwrap_err();
        let broken = error.downcast_ref::<std::io::Error>().unwrap();
        assert_eq!(broken.kind(), std::io::ErrorKind::BrokenPipe);
        assert!(mock.read() < 50_000);
    }
}

#[test]
fn the_built_in_model_answers_and_a_seed_repeats() {
    let say = |seed: &str| {
        let mut out = Vec::new();
        let mut io =
            Io { input: &mut Cursor::new(b""), input_is_terminal: false, out: &mut out, out_is_terminal: false };
        let args = parse(&["Tell me a story.", "-n", "40", "--temperature", "1", "--seed", seed, "--json", "--exact"])
            .unwrap();
        run_with(&args, bit_axon::cli::run::open, &mut io).unwrap();
        let lines: Vec<Value> =
            String::from_utf8(out).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let (summary, tokens) = lines.split_last().unwrap();
        assert!(summary["model_memory_bytes"].as_u64().unwrap() > 1 << 20);
        // Every layer with experts is reported.
        assert!(tokens.iter().all(|token| token["routing"].as_array().unwrap().len() == 4));
        tokens.iter().map(|token| token["id"].as_u64().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(say("4"), say("4"));
    assert_ne!(say("4"), say("6"));
}
