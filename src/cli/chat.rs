//! `chat`: the workbench.

use anyhow::{Result, anyhow};
use clap::Args;
use tokio::sync::oneshot;

use super::open::{self, Compute};
use super::{Usage, built_in};
use crate::app::App;
use crate::app::msg::Msg;
use crate::backend::cpu::Options;
use crate::engine::{self, Loaded};
use crate::model::footprint::{KvFormat, footprint};
use crate::protocol::Sampling;
use crate::run::store::MemoryStore;
use crate::run::{self, Facts, Setup};
use crate::term;
use crate::ui::theme::{BUILT_IN, Theme};

/// Open the workbench: chat, routing, heat and memory on one screen
///
/// Talk with a model and see what it does: every token with its probability and what else it could
/// have been, every expert that it takes, every byte that it holds. Answers can be stopped, made
/// again, edited and forked at any token. F1 shows the keys, Ctrl-P finds an action by name, / begins
/// a command.
#[derive(Debug, Clone, Args)]
#[command(after_help = EXAMPLES)]
pub struct ChatArgs {
    /// A model: a folder, a .safetensors file, or a hub name such as owner/name; the built-in one if not given
    model: Option<String>,
    /// Colours: dark, light, high-contrast, colour-blind or mono16
    #[arg(long, value_name = "NAME", default_value = "dark")]
    theme: String,
    /// Draw with ASCII characters only
    #[arg(long)]
    ascii: bool,
    /// Draw less often, as on a slow connection (found out by itself when writing stalls)
    #[arg(long)]
    slow_link: bool,
    /// Scroll with the mouse; the terminal's own selection then needs Shift
    #[arg(long)]
    mouse: bool,
    /// Use no colours, as NO_COLOR=1 does
    #[arg(long)]
    no_color: bool,
    /// Tell the model how to behave
    #[arg(long, value_name = "TEXT")]
    system: Option<String>,
    /// Stop an answer after this many tokens
    #[arg(long, short = 'n', value_name = "N", default_value_t = 1024)]
    max_tokens: usize,
    /// How freely to choose: 0 always takes the most likely token
    #[arg(long, short, value_name = "X", default_value_t = Sampling::default().temperature)]
    temperature: f32,
    /// Choose among the K most likely tokens only; 0 means all
    #[arg(long, value_name = "K", default_value_t = Sampling::default().top_k)]
    top_k: usize,
    /// Choose among the fewest tokens whose probabilities sum to P; 1 means all
    #[arg(long, value_name = "P", default_value_t = Sampling::default().top_p)]
    top_p: f32,
    /// Leave out tokens less likely than this share of the most likely one
    #[arg(long, value_name = "P", default_value_t = Sampling::default().min_p)]
    min_p: f32,
    /// Make tokens of the last 256 less likely to come again; 1 changes nothing
    #[arg(long, value_name = "X", default_value_t = Sampling::default().repetition_penalty)]
    repetition_penalty: f32,
    /// The same seed gives the same text on the same machine
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    #[command(flatten)]
    compute: Compute,
}

const EXAMPLES: &str = "\
Examples:
  bit-axon                                  The built-in model
  bit-axon chat models/mine --theme light
  bit-axon chat owner/name --temperature 0 --system \"Answer in one sentence.\"

Without a terminal, use `bit-axon run`: it reads standard input and writes standard output.";

/// Contexts whose need of memory is predicted.
const CONTEXTS: [usize; 3] = [4 << 10, 16 << 10, 64 << 10];

/// Opens the workbench.
pub fn run(args: ChatArgs) -> Result<()> {
    let sampling = args.sampling()?;
    let depth = run::color_depth(args.no_color);
    let theme = Theme::built_in(&args.theme, depth, args.ascii).map_err(Usage)?;
    if !term::is_there() {
        let instead = "the workbench needs a terminal, for its keyboard and its screen; without one use `bit-axon run` \
                       (a prompt in, an answer out; --json for programs, --chat for a conversation by lines)";
        return Err(Usage(instead.into()).into());
    }
    // What the hub has to say while it fetches must be said before the screen is taken over.
    if let Some(model) = &args.model {
        super::model_arg::resolve(model)?;
    }
    let (tell, facts) = oneshot::channel();
    let (model, options) = (args.model.clone(), args.compute.options());
    let opening = engine::spawn(move || {
        let (mut loaded, label) = match &model {
            Some(model) => (open::loaded(open::files(model)?, &options)?, ""),
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
    (app.sampling, app.max_tokens) = (sampling, args.max_tokens.max(1));
    app.themes = BUILT_IN.map(|(name, _)| name.to_owned()).to_vec();
    app.theme.clone_from(&args.theme);
    let mut first = vec![Msg::Sensor(None)];
    first.extend(args.system.map(Msg::System));
    let store = Box::new(MemoryStore::default());
    run::run(Setup {
        app,
        theme,
        opening: Some(opening),
        facts,
        store,
        mouse: args.mouse,
        slow_link: args.slow_link,
        first,
    })
}

impl ChatArgs {
    fn sampling(&self) -> Result<Sampling> {
        let within = |name: &str, x: f32, low: f32, high: f32| {
            let fits = (low..=high).contains(&x);
            fits.then_some(x)
                .ok_or_else(|| anyhow!(Usage(format!("--{name} takes a number from {low} to {high}, not {x}"))))
        };
        Ok(Sampling {
            temperature: within("temperature", self.temperature, 0.0, 100.0)?,
            top_k: self.top_k,
            top_p: within("top-p", self.top_p, 0.0001, 1.0)?,
            min_p: within("min-p", self.min_p, 0.0, 1.0)?,
            repetition_penalty: within("repetition-penalty", self.repetition_penalty, 0.01, 100.0)?,
            seed: self.seed,
            ..Sampling::default()
        })
    }
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
