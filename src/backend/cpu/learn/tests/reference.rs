//! The model in f64, written for nothing but to be plainly its formulas.

use std::collections::BTreeMap;

use crate::backend::cpu::learn::work::Dropout;
use crate::backend::learn::{Objective, RouterLosses, Sequence};
use crate::model::init::mix;
use crate::model::spec::{AttentionSpec, Mixer, ModelSpec, MoeSpec, SsmSpec};

/// Every tensor of a model, and of its adapters, by name.
#[derive(Clone)]
pub(super) struct Reference {
    pub(super) spec: ModelSpec,
    pub(super) tensors: BTreeMap<String, Vec<f64>>,
    /// Of the adapters.
    pub(super) scale: f64,
    pub(super) rank: usize,
    /// n of DoRA, which stays as it is when values are moved to find a slope.
    pub(super) norms: BTreeMap<String, Vec<f64>>,
    pub(super) dropout: (f32, u64),
}

/// Rows of f64.
type Rows = Vec<Vec<f64>>;

/// A sequence's tokens, as far as they matter, and where each may see from.
pub(super) struct Read {
    pub(super) tokens: Vec<u32>,
    pub(super) sees_from: Vec<usize>,
    labels: Vec<(usize, usize)>,
    dropout: Option<Dropout>,
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

fn silu(x: f64) -> f64 {
    x * sigmoid(x)
}

fn log_sum_exp(x: &[f64]) -> f64 {
    let most = x.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    most + x.iter().map(|v| (v - most).exp()).sum::<f64>().ln()
}

impl Reference {
    pub(super) fn read(&self, sequence: &Sequence) -> Read {
        let labels: Vec<_> = (1..sequence.tokens.len())
            .filter(|i| sequence.mask[*i])
            .map(|i| (i - 1, sequence.tokens[i] as usize))
            .collect();
        let tokens = sequence.tokens[..labels.last().map_or(0, |l| l.0 + 1)].to_vec();
        let from = |i: usize| sequence.starts.iter().copied().filter(|s| *s <= i).max().unwrap_or(0);
        let (rate, seed) = self.dropout;
        Read {
            sees_from: (0..tokens.len()).map(from).collect(),
            dropout: Dropout::new(rate, seed, &tokens),
            tokens,
            labels,
        }
    }

    fn get(&self, name: &str) -> &[f64] {
        self.tensors.get(name).unwrap_or_else(|| panic!("{name}"))
    }

    /// Piece `index` of a tensor.
    fn piece(&self, name: &str, index: usize, len: usize) -> &[f64] {
        &self.get(name)[index * len..][..len]
    }

    /// A linear layer; `index` is that of the expert.
    pub(super) fn linear(&self, read: &Read, path: &str, index: usize, x: &Rows, outputs: usize) -> Rows {
        let inputs = x.first().map_or(0, Vec::len);
        let weight = self.piece(&format!("{path}.weight"), index, inputs * outputs);
        let hash =
            path.bytes().fold(0xcbf2_9ce4_8422_2325u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3));
        let adapter = mix(hash.wrapping_add(index as u64));
        let rank = self.rank;
        let row = |(t, x): (usize, &Vec<f64>)| {
            let mut y: Vec<f64> = weight.chunks_exact(inputs).map(|w| dot(w, x)).collect();
            if !self.tensors.contains_key(&format!("{path}.lora_a")) {
                return y;
            }
            let a = self.piece(&format!("{path}.lora_a"), index, inputs * rank);
            let b = self.piece(&format!("{path}.lora_b"), index, outputs * rank);
            let factor = |i| read.dropout.map_or(1.0, |d| d.factor(adapter, t * inputs + i));
            for r in 0..rank {
                let z: f64 = (0..inputs).map(|i| x[i] * factor(i) * a[i * rank + r]).sum();
                y.iter_mut().enumerate().for_each(|(o, y)| *y += self.scale * z * b[r * outputs + o]);
            }
            if self.tensors.contains_key(&format!("{path}.m")) {
                let m = self.piece(&format!("{path}.m"), index, outputs);
                let n = &self.norms[path][index * outputs..][..outputs];
                y.iter_mut().enumerate().for_each(|(o, y)| *y *= m[o] / n[o]);
            }
            y
        };
        x.iter().enumerate().map(row).collect()
    }

    /// Takes the norms of DoRA from the values as they are, row by row of `W + s (A B)^T`.
    pub(super) fn take_norms(&mut self) {
        let paths: Vec<String> = self.tensors.keys().filter_map(|n| n.strip_suffix(".m")).map(str::to_owned).collect();
        for path in paths {
            let (rank, outputs) = (self.rank, self.get(&format!("{path}.m")).len());
            let weight = self.get(&format!("{path}.weight"));
            let (a, b) = (self.get(&format!("{path}.lora_a")), self.get(&format!("{path}.lora_b")));
            let inputs = weight.len() / outputs;
            // Experts one after the other.
            let count = a.len() / (inputs * rank);
            let each = outputs / count;
            let norm = |o: usize| {
                let (e, o_in) = (o / each, o % each);
                let a = &a[e * inputs * rank..][..inputs * rank];
                let b = &b[e * each * rank..][..each * rank];
                let entry = |i: usize| {
                    let added: f64 = (0..rank).map(|r| a[i * rank + r] * b[r * each + o_in]).sum();
                    weight[o * inputs + i] + self.scale * added
                };
                (0..inputs).map(|i| entry(i).powi(2)).sum::<f64>().sqrt()
            };
            let norms = (0..outputs).map(norm).collect();
            self.norms.insert(path, norms);
        }
    }

    pub(super) fn norm(&self, name: &str, x: &Rows) -> Rows {
        let w = self.get(name);
        let row = |x: &Vec<f64>| {
            let scale = 1.0 / (dot(x, x) / x.len() as f64 + f64::from(self.spec.norm_eps)).sqrt();
            x.iter().zip(w).map(|(x, w)| x * scale * w).collect()
        };
        x.iter().map(row).collect()
    }

    pub(super) fn ssm(&self, read: &Read, path: &str, spec: &SsmSpec, u: &Rows) -> Rows {
        let SsmSpec { inner: e, state: n, conv: taps } = *spec;
        let xz = self.linear(read, &format!("{path}.in_proj"), 0, u, 2 * e);
        let (w, bias) = (self.get(&format!("{path}.conv1d.weight")), self.get(&format!("{path}.conv1d.bias")));
        let conv = |t: usize| -> Vec<f64> {
            let channel = |c: usize| {
                let seen = (0..taps).filter(|k| t + k >= read.sees_from[t] + taps - 1);
                silu(bias[c] + seen.map(|k| w[c * taps + k] * xz[t + k - (taps - 1)][c]).sum::<f64>())
            };
            (0..e).map(channel).collect()
        };
        let xc: Rows = (0..u.len()).map(conv).collect();
        let dbc = self.linear(read, &format!("{path}.x_proj"), 0, &xc, 2 * n + 1);
        let (dt_w, dt_b) = (self.get(&format!("{path}.dt_proj.weight")), self.get(&format!("{path}.dt_proj.bias")));
        let (a_log, skip) = (self.get(&format!("{path}.A_log")), self.get(&format!("{path}.D")));
        let mut h = vec![0.0; e * n];
        let mut gated = Vec::new();
        for t in 0..u.len() {
            if read.sees_from[t] == t {
                h.fill(0.0);
            }
            let mut row = Vec::new();
            for c in 0..e {
                let dt = (dbc[t][2 * n] * dt_w[c] + dt_b[c]).exp().ln_1p().clamp(1e-4, 100.0);
                let mut y = skip[c] * xc[t][c];
                for s in 0..n {
                    let a = -a_log[c * n + s].exp();
                    h[c * n + s] = (dt * a).exp() * h[c * n + s] + dt * xc[t][c] * dbc[t][s];
                    y += h[c * n + s] * dbc[t][n + s];
                }
                row.push(y * silu(xz[t][e + c]));
            }
            gated.push(row);
        }
        self.linear(read, &format!("{path}.out_proj"), 0, &gated, u[0].len())
    }

    pub(super) fn attention(&self, read: &Read, path: &str, spec: &AttentionSpec, u: &Rows) -> Rows {
        let (d, width) = (spec.head_dim, spec.heads * spec.head_dim);
        let [q, k, v] = ["q", "k", "v"].map(|name| self.linear(read, &format!("{path}.{name}_proj"), 0, u, width));
        let mut out = vec![vec![0.0; width]; u.len()];
        for i in 0..u.len() {
            for h in 0..spec.heads {
                let of = |row: &Vec<f64>| row[h * d..][..d].to_vec();
                let seen: Vec<usize> = (read.sees_from[i]..=i).filter(|j| i - j < spec.window).collect();
                let scores: Vec<f64> = seen.iter().map(|j| dot(&of(&q[i]), &of(&k[*j])) / (d as f64).sqrt()).collect();
                let sum = log_sum_exp(&scores);
                for (j, score) in seen.iter().zip(&scores) {
                    let weight = (score - sum).exp();
                    (0..d).for_each(|c| out[i][h * d + c] += weight * v[*j][h * d + c]);
                }
            }
        }
        self.linear(read, &format!("{path}.o_proj"), 0, &out, u[0].len())
    }

    pub(super) fn expert(&self, read: &Read, path: &str, index: usize, width: usize, u: &Rows) -> Rows {
        let gate = self.linear(read, &format!("{path}.gate_proj"), index, u, width);
        let up = self.linear(read, &format!("{path}.up_proj"), index, u, width);
        let inner = gate.iter().zip(&up).map(|(g, u)| g.iter().zip(u).map(|(g, u)| silu(*g) * u).collect());
        self.linear(read, &format!("{path}.down_proj"), index, &inner.collect(), u.first().map_or(0, Vec::len))
    }

    /// Output, and the router's losses weighted.
    pub(super) fn moe(&self, read: &Read, path: &str, spec: &MoeSpec, router: (f64, f64), u: &Rows) -> (Rows, f64) {
        let (t, d) = (u.len(), u[0].len());
        let logits = self.linear(read, &format!("{path}.gate"), 0, u, spec.experts);
        let softmax = |row: &Vec<f64>| -> Vec<f64> {
            let sum = log_sum_exp(row);
            row.iter().map(|l| (l - sum).exp()).collect()
        };
        let gates: Rows = logits.iter().map(softmax).collect();
        let chosen = |row: &Vec<f64>| {
            let mut order: Vec<usize> = (0..spec.experts).collect();
            order.sort_by(|a, b| row[*b].total_cmp(&row[*a]));
            order[..spec.top_k].to_vec()
        };
        let chosen: Vec<Vec<usize>> = gates.iter().map(chosen).collect();
        let mut out = vec![vec![0.0; d]; t];
        let mut loss = 0.0;
        for e in 0..spec.experts {
            let rows: Vec<usize> = (0..t).filter(|i| chosen[*i].contains(&e)).collect();
            let inputs = rows.iter().map(|i| u[*i].clone()).collect();
            let outputs = self.expert(read, &format!("{path}.switch_mlp"), e, spec.intermediate, &inputs);
            for (i, y) in rows.iter().zip(&outputs) {
                (0..d).for_each(|c| out[*i][c] += gates[*i][e] * y[c]);
            }
            let mean = gates.iter().map(|g| g[e]).sum::<f64>() / t as f64;
            loss += router.0 * spec.experts as f64 * rows.len() as f64 / t as f64 * mean;
        }
        loss += router.1 * logits.iter().map(|l| log_sum_exp(l).powi(2)).sum::<f64>() / t as f64;
        if spec.shared {
            let open = self.linear(read, &format!("{path}.shared_expert_gate"), 0, u, 1);
            let y = self.expert(read, &format!("{path}.shared_expert"), 0, spec.intermediate, u);
            for i in 0..t {
                (0..d).for_each(|c| out[i][c] += sigmoid(open[i][0]) * y[i][c]);
            }
        }
        (out, loss)
    }

    /// Log-probability of each label, and the router's losses.
    fn sequence(&self, read: &Read, router: (f64, f64)) -> (Vec<f64>, f64) {
        let spec = &self.spec;
        let embedded: Rows =
            read.tokens.iter().map(|id| self.piece("embed_tokens.weight", *id as usize, spec.embed).to_vec()).collect();
        let mut x = self.linear(read, "input_proj", 0, &embedded, spec.hidden);
        let mut loss = 0.0;
        let add = |x: &mut Rows, y: &Rows| {
            x.iter_mut().zip(y).for_each(|(x, y)| x.iter_mut().zip(y).for_each(|(x, y)| *x += y));
        };
        for (i, layer) in spec.layers.iter().enumerate() {
            let u = self.norm(&format!("layer_{i}.input_norm.weight"), &x);
            let (mixed, kind) = match &layer.mixer {
                Mixer::Ssm(m) => (self.ssm(read, &format!("layer_{i}.ssm"), m, &u), "ssm"),
                Mixer::Attention(m) => (self.attention(read, &format!("layer_{i}.attention"), m, &u), "attention"),
            };
            add(&mut x, &mixed);
            if let Some(moe) = &layer.feed_forward {
                let u = self.norm(&format!("layer_{i}.post_{kind}_norm.weight"), &x);
                let (y, of_router) = self.moe(read, &format!("layer_{i}.moe"), moe, router, &u);
                add(&mut x, &y);
                loss += of_router;
            }
        }
        // Only rows that bear loss go on, and dropout counts them.
        let rows = read.labels.iter().map(|(row, _)| x[*row].clone()).collect();
        let h = self.linear(read, "output_proj", 0, &rows, spec.embed);
        let table = self.tensors.get("lm_head.weight").unwrap_or_else(|| &self.tensors["embed_tokens.weight"]);
        let label = |(h, (_, label)): (&Vec<f64>, &(usize, usize))| {
            let logits: Vec<f64> = table.chunks_exact(spec.embed).map(|w| dot(w, h)).collect();
            logits[*label] - log_sum_exp(&logits)
        };
        (h.iter().zip(&read.labels).map(label).collect(), loss)
    }

    /// The sum of all losses, the router's too.
    pub(super) fn loss(&self, sequences: &[Sequence], objective: Objective, router: RouterLosses) -> f64 {
        let run = |s: &Sequence, units: f64| {
            let read = self.read(s);
            self.sequence(&read, (units * f64::from(router.balance), units * f64::from(router.z)))
        };
        match objective {
            Objective::Tokens => {
                let of = |s: &Sequence| {
                    let (logps, of_router) = run(s, s.labels() as f64);
                    of_router - logps.iter().sum::<f64>()
                };
                sequences.iter().map(of).sum()
            }
            Objective::Preference { beta } => {
                let of = |pair: &[Sequence]| {
                    let mean = |v: &[f64]| v.iter().sum::<f64>() / v.len() as f64;
                    let ((c, c_router), (r, r_router)) = (run(&pair[0], 0.5), run(&pair[1], 0.5));
                    let (c, r) = (mean(&c), mean(&r));
                    let odds = (c - r) - ((1.0 - c.exp()).ln() - (1.0 - r.exp()).ln());
                    -c - sigmoid(f64::from(beta) * odds).ln() + c_router + r_router
                };
                sequences.chunks_exact(2).map(of).sum()
            }
        }
    }
}
