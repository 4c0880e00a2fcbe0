//! A temperature that someone keeps in a file.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use super::number;
use super::sensor::Sensor;
use crate::protocol::HeatReading;

/// No temperature takes more bytes.
const LONGEST: u64 = 4096;

/// Reads the file anew each time: it may be rewritten, replaced, and may come and go.
pub(super) struct FileSensor {
    path: PathBuf,
}

impl FileSensor {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path }
    }
}

impl Sensor for FileSensor {
    fn source(&self) -> String {
        format!("file {}", self.path.display())
    }

    fn read(&mut self, _now_s: f64) -> Result<HeatReading, String> {
        let text = text(&self.path)?;
        Ok(HeatReading { celsius: Some(number::temperature(&text)?), ..HeatReading::default() })
    }
}

/// The text of a small file. Opening a pipe would wait for its writer, so only plain files are read.
fn text(path: &Path) -> Result<String, String> {
    let about = fs::metadata(path).map_err(|e| format!("cannot be read: {e}"))?;
    if !about.is_file() {
        return Err("is no plain file".into());
    }
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(|e| format!("cannot be read: {e}"))?;
    file.take(LONGEST + 1).read_to_end(&mut bytes).map_err(|e| format!("cannot be read: {e}"))?;
    if bytes.len() as u64 > LONGEST {
        return Err(format!("holds more than {LONGEST} bytes, so it is no temperature"));
    }
    String::from_utf8(bytes).map_err(|_| "holds no text".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn follows_a_file_that_changes_goes_and_returns() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("temp");
        let mut sensor = FileSensor::new(path.clone());
        let mut celsius = || sensor.read(0.0).map(|reading| reading.celsius.unwrap());
        assert!(celsius().unwrap_err().contains("cannot be read"));
        fs::write(&path, "61000\n").unwrap();
        assert_eq!(celsius(), Ok(61.0));
        fs::write(&path, "62.5").unwrap();
        assert_eq!(celsius(), Ok(62.5));
        fs::remove_file(&path).unwrap();
        assert!(celsius().unwrap_err().contains("cannot be read"));
        fs::write(&path, "").unwrap();
        assert!(celsius().unwrap_err().contains("empty"));
        fs::write(&path, [0xff, 0xfe]).unwrap();
        assert!(celsius().unwrap_err().contains("no text"));
        fs::write(&path, "7".repeat(5000)).unwrap();
        assert!(celsius().unwrap_err().contains("4096"));
        fs::write(&path, "63").unwrap();
        assert_eq!(celsius(), Ok(63.0));
    }

    #[test]
    fn only_plain_files_are_opened() {
        let dir = tempfile::tempdir().unwrap();
        assert!(FileSensor::new(dir.path().into()).read(0.0).unwrap_err().contains("plain"));
        #[cfg(unix)]
        assert!(FileSensor::new("/dev/zero".into()).read(0.0).unwrap_err().contains("plain"));
    }
}
