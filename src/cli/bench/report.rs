//! The figures, as a table or as JSON.

use std::io;

use serde::Serialize;

use crate::cli::output;
use crate::cli::progress::count;

/// All figures. Rates are per second, sizes in bytes.
#[derive(Debug, Default, Serialize)]
pub(super) struct Report {
    pub(super) model: String,
    pub(super) backend: String,
    pub(super) threads: usize,
    pub(super) exact: bool,
    pub(super) total_parameters: u64,
    pub(super) active_parameters: u64,
    pub(super) read_bytes_per_s: f64,
    pub(super) float_ops_per_s: f64,
    pub(super) int8_ops_per_s: f64,
    pub(super) first_token_s: f64,
    pub(super) weight_bytes_per_token: u64,
    pub(super) decode_tokens_per_s: f64,
    pub(super) decode_share_of_read_rate: f64,
    pub(super) tap_cost: f64,
    pub(super) prefill: Vec<Prefill>,
    pub(super) snapshot_s: f64,
    pub(super) restore_s: f64,
    pub(super) rewind_s: f64,
    pub(super) rewind_worst_s: f64,
    pub(super) rewind_replayed_tokens: usize,
    pub(super) contexts: Vec<Context>,
    pub(super) peak_resident_bytes: Option<u64>,
}

/// Reading a prompt.
#[derive(Debug, Serialize)]
pub(super) struct Prefill {
    pub(super) tokens: usize,
    pub(super) tokens_per_s: f64,
    /// 2 * active parameters * tokens a second, of the int8 dot rate.
    pub(super) share_of_int8_rate: f64,
}

/// Memory with a context of so many tokens.
#[derive(Debug, Serialize)]
pub(super) struct Context {
    pub(super) tokens: usize,
    /// Of the tokens read since the context before.
    pub(super) tokens_per_s: Option<f64>,
    pub(super) resident_bytes: Option<u64>,
    pub(super) weights: u64,
    pub(super) kv: u64,
    pub(super) ssm: u64,
    pub(super) rewind: u64,
    pub(super) scratch: u64,
}

impl Report {
    /// The title, and what was measured of the machine and of decoding.
    pub(super) fn print_rates(&self) -> io::Result<()> {
        let arithmetic = if self.exact { "exact" } else { "fast" };
        output::line(format_args!(
            "{}: {} parameters, {} for a token; {}, {} threads, {arithmetic} arithmetic",
            output::safe(&self.model),
            count(self.total_parameters),
            count(self.active_parameters),
            self.backend,
            self.threads,
        ))?;
        output::line("\nmachine")?;
        row("memory read", format!("{:.1} GB/s", self.read_bytes_per_s / 1e9))?;
        row("f32 matrix product", format!("{:.0} GFLOP/s", self.float_ops_per_s / 1e9))?;
        row("int8 dot products", format!("{:.0} GOP/s", self.int8_ops_per_s / 1e9))?;
        output::line("\nmodel")?;
        row("opening to first token", format!("{:.2} s (16-token prompt)", self.first_token_s))?;
        row("decode", format!("{:.1} tokens/s", self.decode_tokens_per_s))?;
        row("  weights read", format!("{:.1} MB a token", self.weight_bytes_per_token as f64 / 1e6))?;
        row("  share of memory read", format!("{:.1} %", self.decode_share_of_read_rate * 100.0))?;
        row("  cost of the routing tap", format!("{:.1} %", self.tap_cost * 100.0))
    }

    pub(super) fn print_prefill(&self, p: &Prefill) -> io::Result<()> {
        let share = format!("{:.3} of the int8 rate", p.share_of_int8_rate);
        row(&format!("prompt of {}", p.tokens), format!("{:.1} tokens/s, {share}", p.tokens_per_s))
    }

    pub(super) fn print_returning(&self) -> io::Result<()> {
        row("snapshot / restore", format!("{:.2} / {:.2} ms", self.snapshot_s * 1e3, self.restore_s * 1e3))?;
        let worst = format!("at worst {:.2} ms", self.rewind_worst_s * 1e3);
        let again = format!("{} tokens read again", self.rewind_replayed_tokens);
        row("return to the last 64", format!("{:.2} ms, {worst}; {again}", self.rewind_s * 1e3))?;
        output::line("\nmemory in MB")?;
        output::line("  context  resident  weights       kv      ssm   rewind  scratch  tokens/s")
    }

    pub(super) fn print_context(&self, c: &Context) -> io::Result<()> {
        let mb = |bytes: u64| format!("{:.1}", bytes as f64 / 1e6);
        output::line(format_args!(
            "{:>9} {:>9} {:>8} {:>8} {:>8} {:>8} {:>8}  {:>8}",
            c.tokens,
            c.resident_bytes.map_or_else(|| "?".into(), mb),
            mb(c.weights),
            mb(c.kv),
            mb(c.ssm),
            mb(c.rewind),
            mb(c.scratch),
            c.tokens_per_s.map_or_else(String::new, |r| format!("{r:.1}")),
        ))
    }
}

fn row(name: &str, value: String) -> io::Result<()> {
    output::line(format_args!("  {name:<26} {value}"))
}
