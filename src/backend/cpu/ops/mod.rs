//! Arithmetic on slices, with SIMD chosen at run time.

mod attend;
mod attend_one;
mod backward;
mod elementwise;
pub(super) mod exact;
#[cfg(target_arch = "x86_64")]
mod exact_avx2;
#[cfg(target_arch = "x86_64")]
mod exact_avx512;
pub mod int8;
mod level;
mod matmul;
pub(super) mod q4;
#[cfg(target_arch = "x86_64")]
mod q4_amx;
#[cfg(target_arch = "x86_64")]
mod q4_avx2;
#[cfg(target_arch = "x86_64")]
mod q4_avx512;
#[cfg(target_arch = "aarch64")]
mod q4_neon;
#[cfg(target_arch = "x86_64")]
mod q4_vnni_matmul;
mod scan;
mod scan_backward;
mod vector;

pub(crate) use attend::{Attend, AttendScratch, Running, attend};
pub(crate) use attend_one::attend_one;
pub(crate) use backward::{exponentials, rms_norm_back, soften, soften_back, swiglu, swiglu_back};
pub use elementwise::{add, add_scaled, dot, rms_norm, sigmoid, silu_mul, softmax};
pub use level::Level;
pub(crate) use matmul::{View, matmul};
pub(crate) use scan::{Conv, Scan, conv, scan};
pub(crate) use scan_backward::{ChannelSums, ConvBack, ScanBack, conv_back, scan_back};
