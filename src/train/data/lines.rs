//! A file of lines that is read by offset: of the whole file only marks are kept in memory.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, ensure};

use super::super::fingerprint::Fingerprint;

/// Marks kept at most: 32 MiB. Where a file has more lines, only every second, fourth, ... is marked.
const MOST_MARKS: usize = 4 << 20;

/// No line of a data set is longer.
pub const LONGEST_LINE: usize = 64 << 20;

/// Bytes read at once while the file is searched for lines.
const PIECE: usize = 1 << 20;

/// Bytes read ahead of a line.
const BUFFER: usize = 32 << 10;

/// The lines of a file.
#[derive(Debug)]
pub struct Lines {
    path: PathBuf,
    file: BufReader<File>,
    /// Where every `stride`-th line begins.
    marks: Arc<Vec<u64>>,
    stride: u64,
    count: u64,
    fingerprint: u64,
}

/// What a line holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Line<'a> {
    /// Its bytes, without the spaces around them; perhaps none.
    Whole(&'a [u8]),
    /// It is longer than [`LONGEST_LINE`].
    TooLong,
}

impl Lines {
    /// Finds the lines of a file. `tick` hears how far the search is, in bytes done and in all; its error ends it.
    pub fn open(path: &Path, tick: &mut dyn FnMut(u64, u64) -> Result<()>) -> Result<Self> {
        Self::open_with(path, MOST_MARKS, tick)
    }

    fn open_with(path: &Path, most_marks: usize, tick: &mut dyn FnMut(u64, u64) -> Result<()>) -> Result<Self> {
        let cannot = || format!("cannot read {}", path.display());
        let mut file = File::open(path).with_context(cannot)?;
        let about = file.metadata().with_context(cannot)?;
        ensure!(
            about.is_file(),
            "{} is not a plain file; data is read by offset, in any order, so it must be one",
            path.display()
        );
        let (mut marks, mut stride, mut begun) = (vec![0u64], 1u64, 1u64);
        let mut hash = Fingerprint::new();
        let (mut at, mut ends_open) = (0u64, false);
        let mut piece = vec![0; PIECE];
        loop {
            let read = read_piece(&mut file, &mut piece).with_context(cannot)?;
            if read == 0 {
                break;
            }
            let piece = &piece[..read];
            hash.add(piece);
            for newline in memchr::memchr_iter(b'\n', piece) {
                if begun.is_multiple_of(stride) {
                    if marks.len() == most_marks.max(2) {
                        let mut nth = 0;
                        marks.retain(|_| {
                            nth += 1;
                            nth % 2 == 1
                        });
                        stride *= 2;
                    }
                    if begun.is_multiple_of(stride) {
                        marks.push(at + newline as u64 + 1);
                    }
                }
                begun += 1;
            }
            ends_open = piece.last() != Some(&b'\n');
            at += read as u64;
            tick(at, about.len())?;
        }
        // What follows the last newline is a line only if there is something.
        let count = if ends_open { begun } else { begun - 1 };
        let file = BufReader::with_capacity(BUFFER, file);
        Ok(Self { path: path.to_owned(), file, marks: Arc::new(marks), stride, count, fingerprint: hash.finish() })
    }

    /// The same lines for another reader, without searching for them again.
    pub fn again(&self) -> Result<Self> {
        let file = File::open(&self.path).with_context(|| format!("cannot read {}", self.path.display()))?;
        let file = BufReader::with_capacity(BUFFER, file);
        let (path, marks) = (self.path.clone(), self.marks.clone());
        Ok(Self { path, file, marks, stride: self.stride, count: self.count, fingerprint: self.fingerprint })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// How many lines it has, blank ones included.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// What tells this content from others.
    pub fn fingerprint(&self) -> u64 {
        self.fingerprint
    }

    /// Reads a line, the first being 0, into `buffer`.
    pub fn read<'b>(&mut self, line: u64, buffer: &'b mut Vec<u8>) -> Result<Line<'b>> {
        let path = &self.path;
        let cannot = || format!("cannot read line {} of {}", line + 1, path.display());
        let mark = self.marks.get((line / self.stride) as usize).filter(|_| line < self.count).with_context(cannot)?;
        self.file.seek(SeekFrom::Start(*mark)).with_context(cannot)?;
        for _ in 0..line % self.stride {
            self.file.skip_until(b'\n').with_context(cannot)?;
        }
        buffer.clear();
        let limit = LONGEST_LINE as u64 + 1;
        self.file.by_ref().take(limit).read_until(b'\n', buffer).with_context(cannot)?;
        if buffer.len() > LONGEST_LINE {
            // Its memory is better given back than kept for the lines to come.
            *buffer = Vec::new();
            return Ok(Line::TooLong);
        }
        let text = buffer.trim_ascii();
        let text = if line == 0 { text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text) } else { text };
        Ok(Line::Whole(text))
    }
}

fn read_piece(file: &mut File, piece: &mut [u8]) -> std::io::Result<usize> {
    loop {
        match file.read(piece) {
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            done => return done,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn lines_of(content: &[u8], most_marks: usize) -> (Lines, tempfile::TempDir) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("data");
        std::fs::write(&path, content).unwrap();
        (Lines::open_with(&path, most_marks, &mut |_, _| Ok(())).unwrap(), dir)
    }

    fn all(lines: &mut Lines) -> Vec<Vec<u8>> {
        let mut buffer = Vec::new();
        // Backwards, so that nothing rests on the order.
        let read = (0..lines.count()).rev().map(|line| match lines.read(line, &mut buffer).unwrap() {
            Line::Whole(text) => text.to_vec(),
            Line::TooLong => panic!("too long"),
        });
        let mut read: Vec<_> = read.collect();
        read.reverse();
        read
    }

    #[test]
    fn an_empty_file_has_no_lines_and_a_newline_begins_none() {
        assert_eq!(lines_of(b"", 8).0.count(), 0);
        assert_eq!(lines_of(b"\n", 8).0.count(), 1);
        assert_eq!(all(&mut lines_of(b"\xef\xbb\xbfone\r\n\n two \nthree", 8).0), [&b"one"[..], b"", b"two", b"three"]);
        let (mut lines, _dir) = lines_of(b"a\n", 8);
        assert!(lines.read(1, &mut Vec::new()).is_err());
    }

    #[test]
    fn a_gigantic_line_is_told_and_the_others_are_read() {
        let mut content = vec![b'x'; LONGEST_LINE + 10];
        content.extend(b"\nsmall\n");
        let (mut lines, _dir) = lines_of(&content, 8);
        let mut buffer = Vec::new();
        assert_eq!(lines.read(0, &mut buffer).unwrap(), Line::TooLong);
        assert_eq!(lines.read(1, &mut buffer).unwrap(), Line::Whole(b"small"));
    }

    #[test]
    fn folders_are_refused_and_the_content_is_told_apart() {
        let dir = tempfile::tempdir().unwrap();
        assert!(Lines::open(dir.path(), &mut |_, _| Ok(())).unwrap_err().to_string().contains("plain file"));
        assert_ne!(lines_of(b"a\nb\n", 8).0.fingerprint(), lines_of(b"b\na\n", 8).0.fingerprint());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn every_line_is_found_however_few_marks_there_are(
            rows in prop::collection::vec("[a-z]{0,6}", 0..60), most in 2usize..20, closed in any::<bool>(),
        ) {
            let mut content = rows.join("\n");
            if closed && !rows.is_empty() {
                content.push('\n');
            }
            let (mut lines, _dir) = lines_of(content.as_bytes(), most);
            let want: Vec<Vec<u8>> = content.lines().map(|line| line.as_bytes().to_vec()).collect();
            prop_assert_eq!(all(&mut lines), want);
            prop_assert!(lines.marks.len() <= most);
        }
    }
}
