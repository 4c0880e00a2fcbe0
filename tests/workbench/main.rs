//! The workbench through its real state, keys and drawing, on a test backend with a scripted model.

mod driver;
mod keys;
mod lossless;
mod random;
mod replay;
mod routing;
mod screens;
mod seen;
mod sessions;
mod training;
