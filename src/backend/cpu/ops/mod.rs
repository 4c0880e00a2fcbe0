//! Arithmetic on slices, with SIMD chosen at run time.

mod level;

pub use level::Level;

pub(super) mod exact;
#[cfg(target_arch = "x86_64")]
mod exact_avx2;
#[cfg(target_arch = "x86_64")]
mod exact_avx512;
pub mod int8;
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
