//! What a run shall do: one list of settings, which are options, lines of a TOML file, and what a run folder keeps.

use std::fmt;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::backend::Which;
use crate::backend::cpu::learn::FourBits;
use crate::protocol::{HeatLimits, SensorChoice};

/// What is learned from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Method {
    /// Answers: loss on what the assistant says, or on all of a text
    Sft,
    /// Preferences: of two answers, the chosen one becomes likelier than the rejected one
    Orpo,
    /// Text: loss on every token, in chats too
    Pretrain,
}

/// What is trained.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Adapter {
    /// Small matrices beside frozen ones, and the size of each row
    Dora,
    /// Small matrices beside frozen ones
    Lora,
    /// Every parameter of the model, routers included
    Full,
}

/// What becomes of examples longer than a sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum OverLong {
    /// They run on into the next sequence
    Split,
    /// Their end is left out
    Cut,
}

/// Whether activations are computed once more instead of being kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Recompute {
    /// Layer by layer: memory for one layer, a third more time
    On,
    /// Everything is kept
    Off,
}

macro_rules! display_as_value {
    ($($kind:ty),*) => {$(
        impl fmt::Display for $kind {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.to_possible_value().map_or_else(String::new, |v| v.get_name().to_owned()).as_str())
            }
        }
    )*};
}
display_as_value!(Method, Adapter, OverLong, FourBits, Recompute, Which);

/// Defines [`Settings`], in which every setting has a value, and [`Given`], in which one may be left open: the same
/// names, as options and in TOML.
macro_rules! settings {
    ($($group:literal { $(#[doc = $about:literal]
        $name:ident $(switch $switch:literal)? $(env $env:literal)?: $kind:ty = $default:expr, $value:literal;
    )* })*) => {
        /// Every setting, with its value. Those that stay open until data and model are known are options.
        #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub struct Settings {$($(
            #[doc = $about]
            #[serde(skip_serializing_if = "is_open")]
            pub $name: $kind,
        )*)*}

        impl Default for Settings {
            fn default() -> Self {
                Self { $($($name: $default,)*)* }
            }
        }

        /// Settings that someone chose.
        #[derive(Debug, Clone, Default, PartialEq, Deserialize, clap::Args)]
        #[serde(default, deny_unknown_fields)]
        pub struct Given {$($(
            #[doc = $about]
            #[arg(long, value_name = $value, help_heading = $group)]
            // A switch may stand alone, or be given its value.
            $(#[arg(num_args = 0..=1, require_equals = $switch, default_missing_value = "true")])?
            $(#[arg(env = $env, hide_env_values = true)])?
            pub $name: Option<<$kind as Open>::Inner>,
        )*)*}

        impl Given {
            /// Puts what was chosen in place.
            pub fn apply(self, settings: &mut Settings) {
                $($(if let Some(value) = self.$name {
                    settings.$name = value.into();
                })*)*
            }
        }

        /// The names in order, as options write them, and the groups that they are listed in.
        pub const NAMES: &[(&str, &str)] = &[$($((stringify!($name), $group),)*)*];
    };
}

/// The type of a setting, whether or not it may stay open.
pub trait Open {
    /// What it is when it is set.
    type Inner;
}

impl<T> Open for Option<T> {
    type Inner = T;
}

macro_rules! never_open {
    ($($kind:ty),*) => {$(impl Open for $kind { type Inner = $kind; })*};
}
never_open!(bool, usize, u64, f32, f64, Method, Adapter, OverLong, FourBits, Recompute, SensorChoice, Which);

fn is_open<T: IsOpen>(value: &T) -> bool {
    value.is_open()
}

trait IsOpen {
    fn is_open(&self) -> bool {
        false
    }
}

impl<T> IsOpen for Option<T> {
    fn is_open(&self) -> bool {
        self.is_none()
    }
}

macro_rules! always_set {
    ($($kind:ty),*) => {$(impl IsOpen for $kind {})*};
}
always_set!(bool, usize, u64, f32, f64, Method, Adapter, OverLong, FourBits, Recompute, SensorChoice, Which);

settings! {
    "What is trained" {
        /// The model to start from: a folder, a .safetensors file, or a hub name such as owner/name
        model: Option<String> = None, "MODEL";
        /// What is learned from; preferences in the data mean orpo, all else sft
        method: Option<Method> = None, "METHOD";
        /// What is trained; dora unless said, full for pretrain
        adapter: Option<Adapter> = None, "ADAPTER";
        /// Columns of the adapters' matrices [default: 8]
        lora_rank: usize = 8, "N";
        /// Weight of the adapters, as it is (not divided by the rank) [default: 20]
        lora_scale: f32 = 20.0, "X";
        /// Share of the adapters' inputs that are left out at random [default: 0]
        lora_dropout: f32 = 0.0, "X";
        /// Adapters on the routed experts too
        lora_experts switch true: bool = false, "true|false";
    }
    "Data" {
        /// The file of examples
        data: Option<PathBuf> = None, "FILE";
        /// Another file of examples, which is held out: its loss is measured now and then
        val_data: Option<PathBuf> = None, "FILE";
        /// Share of the data that is held out instead, chosen by the seed [default: 0]
        val_split: f64 = 0.0, "X";
        /// Sequences (or pairs) of held-out data that are measured, at most [default: 64]
        val_sequences: usize = 64, "N";
        /// Tokens of a sequence [default: 512]
        max_seq_len: usize = 512, "N";
        /// Keep examples in one sequence from seeing each other
        isolate switch true: bool = false, "true|false";
        /// What becomes of examples longer than a sequence [default: split]
        over_long: OverLong = OverLong::Split, "WHAT";
        /// Give up after more bad lines than this; until then they are reported and skipped [default: 100]
        max_bad_lines: u64 = 100, "N";
        /// The same seed gives the same run [default: 42]
        seed: u64 = 42, "N";
    }
    "Steps" {
        /// Steps of the optimiser; data repeats until they are done [default: 10000]
        max_steps: u64 = 10_000, "N";
        /// Sequences (or pairs) that are computed at once [default: 1]
        batch_size: usize = 1, "N";
        /// Such batches that make a step [default: 4]
        grad_accum_steps: usize = 4, "N";
        /// Highest learning rate; it falls to 0 along a cosine [default: 1e-4]
        learning_rate: f64 = 1e-4, "X";
        /// Steps in which it rises from 0 [default: 100, or a tenth of a shorter run]
        warmup_steps: Option<u64> = None, "N";
        /// Gradients with a larger norm are scaled down to it; 0 for no limit [default: 1]
        max_grad_norm: f64 = 1.0, "X";
        /// Decay of matrices (not of magnitudes, norms and biases) [default: 0.01]
        weight_decay: f64 = 0.01, "X";
        /// Compute with matrices as these 4 bits will store them, so that quantising afterwards costs nothing
        fake_quant: Option<FourBits> = None, "FORMAT";
        /// Weight of the odds ratio in orpo [default: 0.1]
        beta: f32 = 0.1, "X";
        /// Weight of the loss that keeps experts evenly used, where routers are trained [default: 0.01]
        router_balance: f32 = 0.01, "X";
        /// Weight of the loss that keeps the routers' numbers small [default: 0.001]
        router_z: f32 = 0.001, "X";
        /// What computes; a run may go on with another [default: auto]
        backend env "BIT_AXON_BACKEND": Which = Which::Auto, "BACKEND";
        /// Compute activations once more, layer by layer, instead of keeping them; MLX keeps them [default: on]
        recompute: Recompute = Recompute::On, "WHEN";
        /// How many threads to use on the CPU backend; all cores if not given
        threads: Option<usize> = None, "N";
    }
    "Heat" {
        /// Where temperatures come from: auto, none, nvidia, file:PATH or cmd:COMMAND [default: auto]
        sensor: SensorChoice = SensorChoice::Auto, "SENSOR";
        /// Refuse to run without a temperature
        require_sensor switch true: bool = false, "true|false";
        /// Wait from this temperature on; above 75, where batches are halved [default: 85]
        temp_pause: f32 = 85.0, "C";
        /// Save and stop from this temperature on [default: 95]
        temp_stop: f32 = 95.0, "C";
        /// Seconds between readings [default: 1]
        temp_poll_interval: f64 = 1.0, "S";
    }
    "What is kept" {
        /// Steps between checkpoints [default: 500]
        save_every: u64 = 500, "N";
        /// Steps between measurements of held-out loss [default: 500]
        eval_every: u64 = 500, "N";
        /// What the newest weights are asked each time; the data's first question unless given, nothing if empty
        sample_prompt: Option<String> = None, "TEXT";
        /// The run folder; runs/NAME with a name of its own if not given
        output_dir: Option<PathBuf> = None, "DIR";
    }
}

impl Settings {
    /// Reads the settings of a TOML file; those that it does not name stay open.
    pub fn read_given(path: &std::path::Path) -> Result<Given> {
        let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        toml::from_str(&text).map_err(|error| anyhow::anyhow!("{}: {}", path.display(), error.to_string().trim_end()))
    }

    /// As a TOML file.
    pub fn to_toml(&self) -> Result<String> {
        Ok(toml::to_string(self)?)
    }

    /// What heat asks.
    pub fn heat_limits(&self) -> Result<HeatLimits> {
        HeatLimits::new(self.temp_pause, self.temp_stop)
            .map_err(|error| anyhow::anyhow!("--temp-pause and --temp-stop cannot be: {error}"))
    }

    /// Steps in which the learning rate rises.
    pub fn warmup(&self) -> u64 {
        self.warmup_steps.unwrap_or(100.min(self.max_steps / 10))
    }

    /// Sequences (or pairs) that a step averages over.
    pub fn step_units(&self) -> usize {
        self.batch_size.saturating_mul(self.grad_accum_steps)
    }

    /// What is trained, once the method is known.
    pub fn adapter(&self) -> Adapter {
        let own = if self.method == Some(Method::Pretrain) { Adapter::Full } else { Adapter::Dora };
        self.adapter.unwrap_or(own)
    }

    /// What is learned from, once the data was looked at.
    pub fn method(&self) -> Method {
        self.method.unwrap_or(Method::Sft)
    }

    /// An error that names the first setting that cannot be.
    pub fn check(&self) -> Result<()> {
        let at_least = |name: &str, value: u64, least: u64| -> Result<()> {
            ensure!(value >= least, "--{name} is {value}: it must be at least {least}");
            Ok(())
        };
        at_least("max-steps", self.max_steps, 1)?;
        at_least("batch-size", self.batch_size as u64, 1)?;
        at_least("grad-accum-steps", self.grad_accum_steps as u64, 1)?;
        at_least("max-seq-len", self.max_seq_len as u64, 2)?;
        at_least("save-every", self.save_every, 1)?;
        at_least("eval-every", self.eval_every, 1)?;
        at_least("val-sequences", self.val_sequences as u64, 1)?;
        at_least("lora-rank", self.lora_rank as u64, 1)?;
        if let Some(threads) = self.threads {
            at_least("threads", threads as u64, 1)?;
        }
        let sequences = self.batch_size.checked_mul(self.grad_accum_steps);
        ensure!(
            sequences.is_some_and(|n| n <= 1 << 20),
            "--batch-size {} times --grad-accum-steps {} is more sequences a step than can be",
            self.batch_size,
            self.grad_accum_steps
        );
        ensure!(self.max_seq_len <= 1 << 24, "--max-seq-len {} is longer than any context", self.max_seq_len);
        let number = |name: &str, value: f64, fits: bool, must: &str| -> Result<()> {
            ensure!(value.is_finite() && fits, "--{name} is {value}: it must {must}");
            Ok(())
        };
        let rate = self.learning_rate;
        number("learning-rate", rate, rate > 0.0, "be above 0")?;
        number("max-grad-norm", self.max_grad_norm, self.max_grad_norm >= 0.0, "be above 0, or 0 for no limit")?;
        number("weight-decay", self.weight_decay, self.weight_decay >= 0.0, "be 0 or more")?;
        let dropout = f64::from(self.lora_dropout);
        number("lora-dropout", dropout, (0.0..1.0).contains(&dropout), "be 0 or more, and below 1")?;
        number("lora-scale", self.lora_scale.into(), self.lora_scale != 0.0, "not be 0")?;
        number("beta", self.beta.into(), self.beta >= 0.0, "be 0 or more")?;
        number("router-balance", self.router_balance.into(), self.router_balance >= 0.0, "be 0 or more")?;
        number("router-z", self.router_z.into(), self.router_z >= 0.0, "be 0 or more")?;
        number("val-split", self.val_split, (0.0..1.0).contains(&self.val_split), "be 0 or more, and below 1")?;
        let poll = self.temp_poll_interval;
        number("temp-poll-interval", poll, (0.1..=3600.0).contains(&poll), "lie between 0.1 and 3600")?;
        ensure!(
            self.val_split == 0.0 || self.val_data.is_none(),
            "--val-data and --val-split are two ways to hold data out: choose one"
        );
        ensure!(
            self.warmup() <= self.max_steps,
            "--warmup-steps {} is more than --max-steps {}: the learning rate would never get where it should",
            self.warmup(),
            self.max_steps
        );
        // What TOML can hold.
        ensure!(self.seed <= i64::MAX as u64, "--seed {} is too large: it must be below 2^63", self.seed);
        ensure!(
            self.fake_quant.is_none() || self.adapter() == Adapter::Full,
            "--fake-quant is for training every parameter: it needs --adapter full; adapters leave the 4 bits of their \
             base as they are"
        );
        self.heat_limits()?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_come_back_from_toml() {
        let mut settings = Settings::default();
        assert_eq!(toml::from_str::<Settings>(&settings.to_toml().unwrap()).unwrap(), settings);
        settings.method = Some(Method::Orpo);
        settings.sensor = "file:/tmp/t".parse().unwrap();
        settings.val_data = Some("held.jsonl".into());
        settings.warmup_steps = Some(7);
        settings.seed = u64::MAX >> 1;
        assert_eq!(toml::from_str::<Settings>(&settings.to_toml().unwrap()).unwrap(), settings);
        settings.check().unwrap();
    }

    #[test]
    fn what_was_given_wins_and_the_rest_stays() {
        let given: Given = toml::from_str("max_steps = 30\nmethod = \"orpo\"\nisolate = true").unwrap();
        let mut settings = Settings { batch_size: 8, ..Settings::default() };
        given.apply(&mut settings);
        assert_eq!((settings.max_steps, settings.batch_size, settings.isolate), (30, 8, true));
        assert_eq!((settings.method(), settings.adapter(), settings.warmup()), (Method::Orpo, Adapter::Dora, 3));
        settings.method = Some(Method::Pretrain);
        assert_eq!(settings.adapter(), Adapter::Full);
    }

    #[test]
    fn mistakes_in_a_file_are_named_with_their_line() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("run.toml");
        for (text, want) in [
            ("max_steps = 30\nmax_step = 5", "max_step"),
            ("\nmethod = \"dpo\"", "line 2"),
            ("max_steps = -3", "max_steps"),
            ("sensor = \"gpu\"", "no sensor"),
            ("max_steps", "line 1"),
        ] {
            std::fs::write(&file, text).unwrap();
            let said = format!("{:#}", Settings::read_given(&file).unwrap_err());
            assert!(said.contains(want) && said.contains("run.toml"), "{text}: {said}");
        }
        assert!(Settings::read_given(&dir.path().join("none")).is_err());
    }

    #[test]
    fn values_that_cannot_be_are_refused_by_name() {
        let refused = |change: fn(&mut Settings)| {
            let mut settings = Settings::default();
            change(&mut settings);
            settings.check().unwrap_err().to_string()
        };
        for (change, want) in [
            ((|s| s.max_steps = 0) as fn(&mut Settings), "--max-steps"),
            (|s| s.batch_size = 0, "--batch-size"),
            (|s| s.max_seq_len = 1, "--max-seq-len"),
            (|s| s.learning_rate = f64::NAN, "--learning-rate"),
            (|s| s.learning_rate = -1.0, "--learning-rate"),
            (|s| s.lora_dropout = 1.0, "--lora-dropout"),
            (|s| s.warmup_steps = Some(20_000), "--warmup-steps"),
            (|s| s.temp_pause = 60.0, "75 < pause < stop"),
            (|s| s.temp_stop = 80.0, "75 < pause < stop"),
            (|s| s.val_split = 1.0, "--val-split"),
            (|s| s.grad_accum_steps = usize::MAX, "--grad-accum-steps"),
            (|s| s.fake_quant = Some(FourBits::Nf4), "--adapter full"),
            (|s| (s.val_split, s.val_data) = (0.1, Some("x".into())), "choose one"),
        ] {
            let said = refused(change);
            assert!(said.contains(want), "{said} lacks {want}");
        }
    }
}
