//! `chat`: the workbench.

use std::time::Duration;

use anyhow::Result;
use clap::Args;
use tokio::sync::oneshot;

use super::adapter_arg::{self, AdapterArg};
use super::look::{self, Look};
use super::open::{self, Compute};
use super::sampling::SamplingArgs;
use super::session_args::{SessionArgs, say_where};
use super::settings::{self, Own};
use super::{Usage, built_in};
use crate::app::App;
use crate::app::msg::Msg;
use crate::backend::cpu::Options;
use crate::config::Settings;
use crate::engine::{self, Loaded};
use crate::model::footprint::{KvFormat, footprint};
use crate::protocol::SensorChoice;
use crate::run::{self, Facts, Sensors, Setup};
use crate::term;

/// Open the workbench: chat, routing, heat and memory on one screen
///
/// Talk with a model and see what it does: every token with its probability and what else it could
/// have been, every expert that it takes, every byte that it holds. Answers can be stopped, made
/// again, edited and forked at any token. F1 shows the keys, Ctrl-P finds an action by name, / begins
/// a command. What no option says comes from the settings: see `bit-axon config`.
#[derive(Debug, Clone, Args)]
#[command(after_help = EXAMPLES)]
pub struct ChatArgs {
    /// A model: a folder, a .safetensors file, or a hub name such as owner/name; the built-in one if not given
    model: Option<String>,
    #[command(flatten)]
    adapter: AdapterArg,
    /// Where temperatures come from: auto, none, nvidia, file:PATH or cmd:COMMAND
    #[arg(long, value_name = "SENSOR")]
    sensor: Option<SensorChoice>,
    #[command(flatten)]
    look: Look,
    /// Tell the model how to behave
    #[arg(long, value_name = "TEXT")]
    system: Option<String>,
    #[command(flatten)]
    sampling: SamplingArgs,
    /// Write at most N tokens a second: to read along, or to keep the machine cool
    #[arg(long, value_name = "N", value_parser = speed)]
    max_speed: Option<f32>,
    #[command(flatten)]
    session: SessionArgs,
    #[command(flatten)]
    compute: Compute,
}

const EXAMPLES: &str = "\
Examples:
  bit-axon                                  The built-in model
  bit-axon chat models/mine --theme light
  bit-axon --sensor file:/sys/class/thermal/thermal_zone0/temp
  bit-axon chat owner/name --temperature 0 --system \"Answer in one sentence.\"
  bit-axon chat --adapter runs/chats-dora   What a run has learned, on the model that it began with
  bit-axon chat --resume                    Go on with the newest conversation
  bit-axon chat --session sky               Go on with the one about the sky

Without a terminal, use `bit-axon run`: it reads standard input and writes standard output.";

/// Contexts whose need of memory is predicted.
const CONTEXTS: [usize; 3] = [4 << 10, 16 << 10, 64 << 10];

/// Opens the workbench.
pub fn run(mut args: ChatArgs) -> Result<()> {
    let Own { mut settings, themes, .. } = settings::load()?;
    let told_so = args.system.is_some();
    args.fill(&mut settings);
    let ui = &settings.ui;
    let theme = themes.theme(&ui.theme, run::color_depth(&ui.colours), ui.ascii);
    let theme = theme.map_err(|why| Usage(format!("{why:#}")))?;
    if !term::is_there() {
        let instead = "the workbench needs a terminal, for its keyboard and its screen; without one use `bit-axon run` \
                       (a prompt in, an answer out; --json for programs, --chat for a conversation by lines)";
        return Err(Usage(instead.into()).into());
    }
    let begin = args.session.begin(&settings)?;
    // What the hub has to say while it fetches must be said before the screen is taken over.
    let adapter = args.adapter.open()?;
    if let Some(adapter) = &adapter {
        args.model = Some(adapter_arg::base(adapter, args.model.as_deref())?);
    }
    if let Some(model) = &args.model {
        super::model_arg::resolve(model)?;
    }
    let (tell, facts) = oneshot::channel();
    let (model, options) = (args.model.clone(), args.compute.options());
    let opening = engine::spawn(move || {
        let (mut loaded, label) = match &model {
            Some(model) => (open::loaded(open::files_with(Some(model), adapter)?, &options)?, ""),
            None => (built_in::loaded(&options)?, built_in::LABEL),
        };
        if model.is_none() {
            loaded.info.name = built_in::SHORT_NAME.into();
        }
        // Nobody may be left to be told.
        let _ = tell.send(facts_of(&loaded, &options, label));
        Ok(loaded)
    });
    let mut app = App::new(args.model.clone().unwrap_or_else(|| "the built-in model".into()));
    (app.sampling, app.max_tokens) = (args.sampling.sampling(), args.sampling.max_tokens().max(1));
    app.max_speed = args.max_speed;
    look::dress(&mut app, &settings, &themes)?;
    let (trainer, greeting) = super::train::form::equip(&mut app, args.model.as_deref());
    // What was asked for now holds against what the session had; settings hold for new ones.
    app.sessions.keep_sampling = begin.resumes && args.sampling.chooses();
    app.sessions.system_of_new = settings.sampling.system.clone().unwrap_or_default();
    let mut first = begin.first;
    first.extend(settings.sampling.system.filter(|_| told_so || !begin.resumes).map(Msg::System));
    first.extend(greeting);
    let left = run::run(Setup {
        app,
        theme,
        themes,
        frame: Duration::from_secs_f64(1.0 / settings.ui.text_fps),
        opening: Some(opening),
        facts,
        store: begin.store,
        mouse: settings.ui.mouse,
        slow_link: settings.ui.slow_link,
        sensors: Some(Sensors {
            sensor: settings.heat.sensor,
            interval: settings.heat.interval,
            limits: settings.heat.limits,
        }),
        watched: None,
        trainer: Some(trainer),
        first,
    })?;
    left.map_or(Ok(()), |left| say_where(&left, args.model.as_deref()))
}

impl ChatArgs {
    /// Flags win over settings; both are complete afterwards.
    fn fill(&mut self, settings: &mut Settings) {
        // An adapter brings its model along.
        let default = settings.model.default.as_ref().filter(|_| !self.adapter.is_given());
        self.model = self.model.take().or(default.cloned());
        self.compute.fill(settings);
        self.sampling.fill(&settings.sampling);
        if let Some(system) = self.system.take() {
            settings.sampling.system = Some(system).filter(|system| !system.is_empty());
        }
        if let Some(sensor) = self.sensor.take() {
            settings.heat.sensor = sensor;
        }
        self.look.fill(settings);
    }
}

fn speed(text: &str) -> Result<f32, String> {
    let given = text.parse::<f32>().ok().filter(|n| (0.1..=1e6).contains(n));
    given.ok_or_else(|| "it must be a number from 0.1 to 1000000".into())
}

/// What the memory pane predicts, and what must be said of the model.
fn facts_of(loaded: &Loaded, options: &Options, label: &str) -> Facts {
    let spec = loaded.backend.spec();
    let kv = options.kv.unwrap_or(if options.exact { KvFormat::F32 } else { KvFormat::F16 });
    let weights = loaded.backend.memory().weights;
    let need = |context: usize| (context, footprint(spec, weights, context, kv, options.rewind_budget as u64).total());
    let mut system = sysinfo::System::new().ok();
    let budget = system.as_mut().map_or(0, |system| {
        system.refresh_memory();
        system.total_memory()
    });
    Facts { label: label.into(), needs: CONTEXTS.into_iter().map(need).collect(), budget }
}
