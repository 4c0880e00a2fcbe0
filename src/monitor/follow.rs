//! One file that grows: read from where it was left, whatever becomes of it meanwhile.

use std::fs::{File, Metadata};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use super::format::{Detect, Format};
use super::parser::Parser;
use crate::metrics::Run;

/// Bytes that are read at once, while others wait for the run.
pub(super) const PIECE: usize = 256 << 10;
/// Bytes before the place where reading stopped, by which the file is known again.
const EDGE: usize = 64;
/// The largest file that is read as a whole.
const WHOLE: u64 = 1 << 30;

/// What a look at a file gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Looked {
    /// Bytes that were read.
    pub(super) read: u64,
    /// There is more.
    pub(super) more: bool,
}

/// Follows a file.
pub(super) struct Follower {
    path: PathBuf,
    forced: Option<Format>,
    parser: Detect,
    file: Option<File>,
    offset: u64,
    edge: Vec<u8>,
    /// Length and time of a file that is read as a whole, when it was.
    stamp: Option<(u64, Option<SystemTime>)>,
    buffer: Vec<u8>,
    /// What kept it from being read was said.
    said: bool,
}

impl Follower {
    pub(super) fn new(path: &Path, forced: Option<Format>) -> Self {
        Self {
            path: path.to_owned(),
            forced,
            parser: Detect::new(forced),
            file: None,
            offset: 0,
            edge: Vec::new(),
            stamp: None,
            buffer: Vec::new(),
            said: false,
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes that there are to read, as far as is known.
    pub(super) fn left(&self) -> u64 {
        std::fs::metadata(&self.path).map_or(0, |about| about.len().saturating_sub(self.offset))
    }

    /// Reads what is new, at most one piece. `now` is the time if the file was read to its end before.
    pub(super) fn look(&mut self, now: Option<f64>, run: &Mutex<Run>) -> Looked {
        match self.try_look(now, run) {
            Ok(looked) => {
                self.said &= looked.read == 0;
                looked
            }
            Err(error) => {
                // It may be in the middle of being rotated, and be back at the next look.
                if error.kind() != io::ErrorKind::NotFound && !std::mem::replace(&mut self.said, true) {
                    let path = self.path.display().to_string();
                    lock(run).fault(|| format!("{path}: {error}"));
                }
                Looked::default()
            }
        }
    }

    fn try_look(&mut self, now: Option<f64>, run: &Mutex<Run>) -> io::Result<Looked> {
        if self.parser.is_whole() {
            return self.look_whole(now, run);
        }
        if self.file.is_none() {
            self.file = Some(File::open(&self.path)?);
        }
        let Some(file) = &self.file else { return Ok(Looked::default()) };
        let about = file.metadata()?;
        if about.len() > self.offset && self.is_same(file)? {
            return self.read(&about, now, run);
        }
        // Nothing more in this one. It may have been cut, written over, or replaced by another.
        let there = std::fs::metadata(&self.path)?;
        let replaced = identity(&there) != identity(&about);
        if replaced || about.len() < self.offset || (about.len() > self.offset && !self.is_same(file)?) {
            self.begin_again(run);
            return Ok(Looked { read: 0, more: there.len() > 0 });
        }
        Ok(Looked::default())
    }

    /// True if the bytes before the place where reading stopped are the ones that were read.
    fn is_same(&self, file: &File) -> io::Result<bool> {
        let mut edge = [0; EDGE];
        let edge = &mut edge[..self.edge.len()];
        match read_exact_at(file, edge, self.offset - edge.len() as u64) {
            Ok(()) => Ok(edge == self.edge),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn begin_again(&mut self, run: &Mutex<Run>) {
        let mut run = lock(run);
        // What was torn off at the end of the old one will not come any more.
        run.expect_restart();
        *self = Self { buffer: std::mem::take(&mut self.buffer), ..Self::new(&self.path, self.forced) };
    }

    fn read(&mut self, about: &Metadata, now: Option<f64>, run: &Mutex<Run>) -> io::Result<Looked> {
        let Some(file) = &self.file else { return Ok(Looked::default()) };
        self.buffer.resize(PIECE, 0);
        let read = read_at(file, &mut self.buffer, self.offset)?;
        let bytes = &self.buffer[..read];
        self.offset += read as u64;
        if read >= EDGE {
            self.edge.clear();
            self.edge.extend_from_slice(&bytes[read - EDGE..]);
        } else {
            self.edge.extend_from_slice(bytes);
            self.edge.drain(..self.edge.len().saturating_sub(EDGE));
        }
        let mut locked = lock(run);
        self.parser.feed(bytes, now, &mut locked);
        locked.heard = later(seconds(about.modified().ok()).or(now), locked.heard);
        drop(locked);
        if self.parser.is_whole() {
            return self.look_whole(now, run);
        }
        Ok(Looked { read: read as u64, more: self.offset < about.len() })
    }

    fn look_whole(&mut self, now: Option<f64>, run: &Mutex<Run>) -> io::Result<Looked> {
        self.file = None;
        let about = std::fs::metadata(&self.path)?;
        let stamp = Some((about.len(), about.modified().ok()));
        if stamp == self.stamp {
            return Ok(Looked::default());
        }
        if about.len() > WHOLE {
            return Err(io::Error::other(format!("larger than {} GiB", WHOLE >> 30)));
        }
        let bytes = std::fs::read(&self.path)?;
        // What changed while it was read is read again at the next look.
        self.stamp = stamp;
        let read = (bytes.len() as u64).saturating_sub(self.offset);
        self.offset = bytes.len() as u64;
        let mut locked = lock(run);
        self.parser.feed(&bytes, now, &mut locked);
        locked.heard = later(seconds(about.modified().ok()).or(now), locked.heard);
        Ok(Looked { read, more: false })
    }

    /// Takes what has no end yet as it is.
    pub(super) fn finish(&mut self, run: &Mutex<Run>) {
        self.parser.finish(&mut lock(run));
        if self.parser.is_whole() && self.stamp.is_none() {
            self.look(None, run);
        }
    }
}

/// The run, even if a reader panicked while it held it: points are added one by one, so it is sound.
pub(super) fn lock(run: &Mutex<Run>) -> std::sync::MutexGuard<'_, Run> {
    run.lock().unwrap_or_else(PoisonError::into_inner)
}

fn later(a: Option<f64>, b: Option<f64>) -> Option<f64> {
    if a > b { a } else { b }
}

pub(super) fn seconds(time: Option<SystemTime>) -> Option<f64> {
    time?.duration_since(SystemTime::UNIX_EPOCH).ok().map(|d| d.as_secs_f64())
}

#[cfg(unix)]
fn identity(about: &Metadata) -> (u64, u64) {
    use std::os::unix::fs::MetadataExt;
    (about.dev(), about.ino())
}

#[cfg(not(unix))]
fn identity(_about: &Metadata) -> (u64, u64) {
    (0, 0)
}

#[cfg(unix)]
fn read_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    std::os::unix::fs::FileExt::read_at(file, buffer, offset)
}

#[cfg(unix)]
fn read_exact_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, buffer, offset)
}

#[cfg(not(unix))]
fn read_at(mut file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    use std::io::{Read, Seek, SeekFrom};
    file.seek(SeekFrom::Start(offset))?;
    file.read(buffer)
}

#[cfg(not(unix))]
fn read_exact_at(mut file: &File, buffer: &mut [u8], offset: u64) -> io::Result<()> {
    use std::io::{Read, Seek, SeekFrom};
    file.seek(SeekFrom::Start(offset))?;
    file.read_exact(buffer)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write;

    use super::super::parser::check::points;
    use super::*;

    struct Case {
        _dir: tempfile::TempDir,
        path: PathBuf,
        follower: Follower,
        run: Mutex<Run>,
    }

    impl Case {
        fn new(text: &str) -> Self {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("log");
            fs::write(&path, text).unwrap();
            let follower = Follower::new(&path, None);
            let mut case = Self { _dir: dir, path, follower, run: Mutex::new(Run::new("a", "")) };
            case.look();
            case
        }

        fn look(&mut self) -> String {
            for _ in 0..100 {
                if !self.follower.look(Some(1.0), &self.run).more {
                    return self.points();
                }
            }
            panic!("there is no end to it");
        }

        fn points(&self) -> String {
            points(&lock(&self.run)).join(" | ")
        }

        fn append(&mut self, text: impl AsRef<[u8]>) -> String {
            fs::OpenOptions::new().append(true).open(&self.path).unwrap().write_all(text.as_ref()).unwrap();
            self.look()
        }

        fn write(&mut self, text: &str) -> String {
            fs::write(&self.path, text).unwrap();
            self.look()
        }
    }

    const ONE: &str = "{\"step\":1,\"loss\":3}\n";
    const TWO: &str = "{\"step\":2,\"loss\":2}\n";
    const THREE: &str = "{\"step\":3,\"loss\":1}\n";

    #[test]
    fn a_file_grows_line_by_line_and_in_halves() {
        let mut case = Case::new("");
        assert_eq!(case.look(), "");
        assert_eq!(case.append(ONE), "loss 1:3");
        assert_eq!(case.append(&TWO[..9]), "loss 1:3");
        assert_eq!(case.append(&TWO[9..]), "loss 1:3 2:2");
        assert_eq!(case.look(), "loss 1:3 2:2");
    }

    #[test]
    fn a_rotated_file_is_read_to_its_end_and_the_new_one_goes_on() {
        let mut case = Case::new(ONE);
        fs::OpenOptions::new().append(true).open(&case.path).unwrap().write_all(TWO.as_bytes()).unwrap();
        fs::rename(&case.path, case.path.with_extension("1")).unwrap();
        assert_eq!(case.look(), "loss 1:3 2:2");
        assert_eq!(case.write(THREE), "loss 1:3 2:2 3:1");
    }

    #[test]
    fn a_copied_and_truncated_file_goes_on() {
        let mut case = Case::new(&[ONE, TWO].concat());
        assert_eq!(case.write(""), "loss 1:3 2:2");
        assert_eq!(case.append(THREE), "loss 1:3 2:2 3:1");
    }

    #[test]
    fn a_file_begun_anew_voids_the_old_points() {
        let mut case = Case::new(&[ONE, TWO, THREE].concat());
        assert_eq!(case.write("{\"step\":1,\"loss\":9}\n"), "loss 1:9");
        // Longer than before, and other words at the place where reading stopped.
        let longer = "{\"step\":1,\"loss\":7.5}\n{\"step\":2,\"loss\":7.25}\n";
        assert_eq!(case.write(longer), "loss 1:7.5 2:7.25");
    }

    #[test]
    fn a_replaced_file_is_read_anew() {
        let mut case = Case::new(&[ONE, TWO].concat());
        let other = case.path.with_extension("new");
        fs::write(&other, [ONE, TWO, THREE].concat()).unwrap();
        fs::rename(&other, &case.path).unwrap();
        assert_eq!(case.look(), "loss 1:3 2:2 3:1");
    }

    #[test]
    fn a_file_that_is_gone_leaves_its_points_and_may_come_back() {
        let mut case = Case::new(ONE);
        fs::remove_file(&case.path).unwrap();
        assert_eq!(case.look(), "loss 1:3");
        assert_eq!(case.write(TWO), "loss 1:3 2:2");
        assert_eq!(lock(&case.run).faults().1, 0);
    }

    #[test]
    fn garbage_in_the_middle_costs_a_line() {
        let mut case = Case::new(ONE);
        case.append(b"\0\xff\xfe\x1b[2J garbage \0\n");
        assert_eq!(case.append(TWO), "loss 1:3 2:2");
        assert_eq!(lock(&case.run).faults().1, 1);
        let garbage: Vec<u8> = (0..1u32 << 17).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        let mut case = Case::new("");
        case.append(&garbage);
        case.follower.finish(&case.run);
    }

    #[test]
    fn a_file_that_is_rewritten_as_a_whole_is_read_when_it_changes() {
        let mut case = Case::new("[{\"step\":1,\"loss\":3}]");
        assert_eq!(case.points(), "loss 1:3");
        assert_eq!(case.write("[{\"step\":1,\"loss\":3},{\"step\":2,"), "loss 1:3");
        assert_eq!(case.write("[{\"step\":1,\"loss\":3},{\"step\":2,\"loss\":2}]"), "loss 1:3 2:2");
    }

    #[test]
    fn the_last_line_needs_no_end_once_all_is_read() {
        let mut case = Case::new(&[ONE, TWO.trim_end()].concat());
        assert_eq!(case.points(), "loss 1:3");
        case.follower.finish(&case.run);
        assert_eq!(case.points(), "loss 1:3 2:2");
    }

    #[test]
    fn what_cannot_be_read_is_said_once() {
        let dir = tempfile::tempdir().unwrap();
        let run = Mutex::new(Run::new("a", ""));
        let mut follower = Follower::new(dir.path(), None);
        for _ in 0..3 {
            assert_eq!(follower.look(None, &run), Looked::default());
        }
        assert_eq!(lock(&run).faults().1, 1);
    }
}
