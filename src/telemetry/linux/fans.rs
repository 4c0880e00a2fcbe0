//! How fast the fans turn.

use std::path::{Path, PathBuf};

use super::{entries, number};

/// No fan of a computer turns faster.
const FASTEST: i64 = 40_000;

/// Every fan that hwmon knows.
pub(super) struct Fans(Vec<PathBuf>);

impl Fans {
    pub(super) fn find(sysfs: &Path) -> Self {
        let chips = entries(&sysfs.join("class/hwmon"), "hwmon");
        let files = chips.iter().flat_map(|chip| entries(chip, "fan"));
        Self(files.filter(|file| file.to_str().is_some_and(|name| name.ends_with("_input"))).collect())
    }

    /// Revolutions per minute of the fastest; 0 when all stand still, none when there is none.
    pub(super) fn read(&self) -> Option<f32> {
        let speeds = self.0.iter().filter_map(|file| number(file)).filter(|rpm| (0..=FASTEST).contains(rpm));
        speeds.max().map(|rpm| rpm as f32)
    }
}
