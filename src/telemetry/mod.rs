//! Temperature, power, memory and load, and what follows from heat.
//!
//! ```text
//! sampler.rs     the thread that publishes a Telemetry each second; stops when its handle goes
//! worker.rs      the thread that owns the sensor: it may be slow, silent, or panic
//! sensor.rs      what a sensor is, and which one is meant
//!   file.rs command.rs linux/ nvidia.rs mac.rs components.rs
//! number.rs      text to temperature; what no sensor of a computer can mean is refused
//! machine.rs     memory and load of process and machine
//! supply.rs      mains or battery
//! policy.rs      what heat asks of training
//! ```
//!
//! No sensor is never a number: what is missing, silent or absurd is said in words.

mod command;
#[cfg(not(target_os = "linux"))]
mod components;
mod file;
// Plain file reading: compiled and tested everywhere, used on Linux.
#[cfg_attr(not(target_os = "linux"), allow(dead_code))]
mod linux;
#[cfg(all(target_os = "macos", target_arch = "aarch64"))]
mod mac;
mod machine;
mod number;
#[cfg(all(target_os = "linux", feature = "nvml"))]
mod nvidia;
pub mod policy;
mod sampler;
mod sensor;
mod supply;
mod worker;

pub use policy::{BatchPlan, HeatPolicy};
pub use sampler::{Sampler, SamplerOptions};
