//! The instruction sets that kernels are written for, and which of them this machine has.

use std::fmt;

use anyhow::{Result, bail};

/// A level of SIMD. A kernel that has no version for a level takes the next lower one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Plain Rust: the reference.
    Scalar,
    /// 64-bit Arm's vectors of 128 bits.
    Neon,
    /// AVX2 with FMA and F16C.
    Avx2,
    /// AVX-512 F, BW, DQ and VL; its byte products (VNNI) where present.
    Avx512,
}

impl Level {
    /// Every level that this machine can run, the slowest first.
    pub fn available() -> Vec<Self> {
        let mut levels = vec![Level::Scalar];
        #[cfg(target_arch = "aarch64")]
        levels.push(Level::Neon);
        #[cfg(target_arch = "x86_64")]
        {
            use std::arch::is_x86_feature_detected as has;
            if has!("avx2") && has!("fma") && has!("f16c") {
                levels.push(Level::Avx2);
                if has!("avx512f") && has!("avx512bw") && has!("avx512dq") && has!("avx512vl") {
                    levels.push(Level::Avx512);
                }
            }
        }
        levels
    }

    /// The best level of this machine, or the one that `BIT_AXON_SIMD` names.
    pub fn detect() -> Result<Self> {
        let available = Self::available();
        let best = available.last().copied().unwrap_or(Level::Scalar);
        // A variable that is empty is one that is not set, as for all of ours.
        let wanted = std::env::var("BIT_AXON_SIMD").unwrap_or_default();
        if wanted.is_empty() {
            return Ok(best);
        }
        let names = || available.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        match available.iter().find(|level| level.to_string() == wanted) {
            Some(level) => Ok(*level),
            None => bail!("BIT_AXON_SIMD is `{wanted}`; this machine has {}", names()),
        }
    }

    /// True if this machine multiplies bytes in vectors (AVX-512 VNNI).
    pub fn has_vnni(self) -> bool {
        #[cfg(target_arch = "x86_64")]
        if self == Level::Avx512 {
            return std::arch::is_x86_feature_detected!("avx512vnni");
        }
        false
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Level::Scalar => "scalar",
            Level::Neon => "neon",
            Level::Avx2 => "avx2",
            Level::Avx512 => "avx512",
        })
    }
}
