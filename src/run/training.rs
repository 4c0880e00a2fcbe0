//! Training runs from within the workbench: what is asked of them, and how one is begun as a process of its own.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Output, Stdio};
use std::sync::mpsc;
use std::thread;

use anyhow::{Context, Result, anyhow, bail};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;

use crate::app::msg::{Msg, TrainOp, TrainSaid};
use crate::monitor::{Options, Watch};
use crate::protocol::TrainControl;
use crate::train;

/// What the workbench may do with training runs.
pub struct Trainer {
    /// Where runs are kept.
    pub runs: PathBuf,
    /// The run of this process.
    pub own: Option<Own>,
}

/// A run that goes in this process.
pub struct Own {
    /// Its folder.
    pub folder: PathBuf,
    /// Hears what is asked.
    pub controls: mpsc::Sender<TrainControl>,
    /// Makes it save and end.
    pub interrupt: fn(),
    /// Something comes, or nothing ever will, once it has ended.
    pub ended: oneshot::Receiver<()>,
}

/// What a run that is begun here says besides its metrics.
const CONSOLE: &str = "console";
/// Lines of it that are shown when it fails.
const LAST_LINES: usize = 4;

/// The same, while the workbench runs.
pub(super) struct Training {
    trainer: Option<Trainer>,
    say: UnboundedSender<Msg>,
    said: UnboundedReceiver<Msg>,
}

impl Training {
    pub(super) fn new(trainer: Option<Trainer>) -> Self {
        let (say, said) = unbounded_channel();
        Self { trainer, say, said }
    }

    /// What is said of what was asked; none once the run of this process has ended.
    pub(super) async fn said(&mut self) -> Option<Msg> {
        match self.trainer.as_mut().and_then(|trainer| trainer.own.as_mut()) {
            Some(own) => tokio::select! {
                biased;
                _ = &mut own.ended => None,
                said = self.said.recv() => said,
            },
            None => self.said.recv().await,
        }
    }

    /// The run of this process saves and ends.
    pub(super) fn interrupt(&self) {
        if let Some(own) = self.trainer.as_ref().and_then(|trainer| trainer.own.as_ref()) {
            (own.interrupt)();
        }
    }

    fn control(&self, folder: &str, control: TrainControl) -> Result<()> {
        let own = self.trainer.as_ref().and_then(|trainer| trainer.own.as_ref());
        match own.filter(|own| own.folder == Path::new(folder)) {
            Some(own) => own.controls.send(control).map_err(|_| anyhow!("the run has ended")),
            None => train::ask(Path::new(folder), &control),
        }
    }

    /// Answers when it is known, which may take as long as opening a model.
    fn check(&self, values: Vec<(&'static str, String)>) -> Result<()> {
        let say = self.say.clone();
        let check = move || {
            let plan = plan(&values).map_err(|error| format!("{error:#}"));
            // Nobody may be left to be told.
            let _ = say.send(Msg::Train(TrainSaid::Plan(plan)));
        };
        thread::Builder::new().name("train-plan".into()).spawn(check).context("cannot check this")?;
        Ok(())
    }

    fn start(&self, values: &[(&'static str, String)]) -> Result<String> {
        let folder = value(values, OUTPUT).context("it is not known in which folder the run shall be kept")?;
        let folder = PathBuf::from(at_home(folder));
        fs::create_dir_all(&folder).with_context(|| format!("--{OUTPUT}: cannot make {}", folder.display()))?;
        let console = folder.join(CONSOLE);
        let log = OpenOptions::new().create(true).append(true).open(&console);
        let log = log.with_context(|| format!("cannot write {}", console.display()))?;
        let mut command = train_command(values)?;
        command.arg(format!("--output-dir={}", folder.display()));
        let mut child = apart(&mut command, log)?.spawn().context("cannot begin another process")?;
        let say = self.say.clone();
        let wait = move || {
            let Ok(status) = child.wait() else { return };
            if let Some(words) = failed(&console, status) {
                let _ = say.send(Msg::Notice(words));
            }
        };
        thread::Builder::new().name("train-wait".into()).spawn(wait)?;
        Ok(folder.display().to_string())
    }
}

/// The command that trains with these options.
fn train_command(values: &[(&'static str, String)]) -> Result<Command> {
    let program = std::env::current_exe().context("cannot find this program")?;
    let mut command = Command::new(program);
    command.arg("train");
    for (name, value) in values.iter().filter(|(name, _)| *name != OUTPUT) {
        command.arg(format!("--{name}={}", at_home(value)));
    }
    Ok(command)
}

/// The option that names the run folder.
const OUTPUT: &str = "output-dir";

/// `~/` as a shell has it.
fn at_home(value: &str) -> String {
    match (value.strip_prefix("~/"), std::env::var("HOME")) {
        (Some(rest), Ok(home)) => format!("{home}/{rest}"),
        _ => value.to_owned(),
    }
}

fn value<'a>(values: &'a [(&'static str, String)], name: &str) -> Option<&'a str> {
    values.iter().find(|(known, _)| *known == name).map(|(_, value)| value.as_str())
}

/// What a run would do, as `--plan` says it.
fn plan(values: &[(&'static str, String)]) -> Result<String> {
    if let Some(folder) = value(values, OUTPUT).map(at_home)
        && train::folder::holds_run(Path::new(&folder))
    {
        bail!("--{OUTPUT} {folder} already holds a run: choose another, or leave it open");
    }
    let mut command = train_command(values)?;
    command.arg("--plan").stdin(Stdio::null()).env("NO_COLOR", "1");
    let Output { status, stdout, stderr } = command.output().context("cannot ask the trainer")?;
    if status.success() {
        return Ok(String::from_utf8_lossy(&stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&stderr);
    let why = said.rsplit_once("error: ").map_or(said.trim(), |(_, why)| why);
    // Of a wrong call the usage follows, which nobody sees here.
    let why = why.split("\n\n").next().unwrap_or(why);
    let why: Vec<&str> = why.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let why = why.join(": ");
    bail!("{}", if why.is_empty() { "the trainer cannot do this, and does not say why" } else { why.as_str() })
}

/// In a session of its own: what becomes of this terminal is nothing to it.
fn apart(command: &mut Command, log: File) -> Result<&mut Command> {
    let errors = log.try_clone()?;
    command.stdin(Stdio::null()).stdout(log).stderr(errors);
    #[cfg(unix)]
    {
        use std::os::unix::process::CommandExt;
        // SAFETY: between fork and exec a single system call is made, which neither allocates nor locks.
        unsafe {
            command.pre_exec(|| if libc::setsid() < 0 { Err(io::Error::last_os_error()) } else { Ok(()) });
        }
    }
    Ok(command)
}

/// What to say of a run that failed.
fn failed(console: &Path, status: ExitStatus) -> Option<String> {
    if status.success() {
        return None;
    }
    let text = fs::read(console).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let last = lines[lines.len().saturating_sub(LAST_LINES)..].join(" ");
    Some(format!("the run in {} ended ({status}): {last}", console.parent().unwrap_or(console).display()))
}

impl super::Loop {
    /// Does what is asked of training runs.
    pub(super) fn train(&mut self, op: TrainOp) -> Result<Option<Msg>> {
        match op {
            TrainOp::Look => {
                let runs = self.training.trainer.as_ref().filter(|trainer| trainer.own.is_none());
                if let Some(trainer) = runs.filter(|trainer| trainer.runs.is_dir())
                    && !self.watching.is_open()
                {
                    let runs = trainer.runs.clone();
                    self.watching.open(Watch::open(std::slice::from_ref(&runs), &Options::default())?, runs);
                }
            }
            TrainOp::Control(folder, control) => self.training.control(&folder, control)?,
            TrainOp::Interrupt => self.training.interrupt(),
            TrainOp::Check(values) => {
                if let Err(error) = self.training.check(values) {
                    return Ok(Some(Msg::Train(TrainSaid::Plan(Err(format!("{error:#}"))))));
                }
            }
            TrainOp::Start(values) => {
                let begun = self.training.start(&values).map_err(|error| format!("{error:#}"));
                return Ok(Some(Msg::Train(TrainSaid::Started(begun))));
            }
        }
        Ok(None)
    }
}
