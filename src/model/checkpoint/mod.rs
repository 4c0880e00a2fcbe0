//! Checkpoints: folders of safetensors files, mapped into memory, or the bytes of one.
//!
//! Nothing that a file says is believed before it was checked: headers when a checkpoint is opened,
//! and with [`Checkpoint::check`] what a model needs of it.

mod check;
mod convert;
mod dtype;
mod error;
mod folder;
mod header;
mod plan;
mod read;
mod staged;
mod write;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use anyhow::{Context, Result, bail, ensure};
use memmap2::{Mmap, MmapOptions};

pub use check::{GROUPS, Problem, ProblemKind};
pub use convert::{Job, Source, Store, write_tensors, write_with_copies};
pub use dtype::Dtype;
pub use error::ErrorSums;
pub use plan::{Format, plan_new, plan_quantised};
pub use read::Holding;
pub use staged::StagedFolder;
pub use write::{Planned, TensorWriter};

use crate::model::matrix::{Bytes, Owner};
use crate::whole;
use header::{Described, Header};

/// The tensors of one or many mapped files, or of bytes in memory.
///
/// The files must not be changed while they are mapped: a program that replaces one should write
/// a new file and rename it, as all of ours do.
pub struct Checkpoint {
    path: PathBuf,
    files: Vec<StoredFile>,
    /// Name to file and place in its header.
    index: HashMap<String, (usize, usize)>,
}

struct StoredFile {
    path: PathBuf,
    contents: Arc<dyn Owner>,
    header: Header,
    /// See [`Checkpoint::load`].
    copy: OnceLock<Copy>,
}

/// Bytes that are copied at a time, so that as much is given back before more is taken.
const PIECE: usize = 8 << 20;
/// Threads that copy: a few saturate the memory.
const COPIERS: usize = 4;

/// Tensors of a file, copied into large pages.
struct Copy {
    contents: Arc<dyn Owner>,
    /// Where the copied ones start.
    starts: HashSet<usize>,
}

/// A tensor as a file describes it.
#[derive(Clone, Copy)]
pub struct TensorInfo<'a> {
    /// Its name; not yet safe to print: see [`printable`].
    pub name: &'a str,
    /// Format of its numbers.
    pub dtype: Dtype,
    /// Its dimensions.
    pub shape: &'a [usize],
    /// The file that holds it.
    pub file: &'a Path,
    /// Its bytes in that file, at any address.
    pub data: &'a [u8],
}

/// A tensor whose bytes may be kept.
#[derive(Clone)]
pub struct TensorView<'a> {
    /// Format of its numbers.
    pub dtype: Dtype,
    /// Its dimensions.
    pub shape: &'a [usize],
    /// Its numbers, little-endian, at a multiple of 4.
    pub bytes: Bytes,
    /// The file that holds it.
    pub file: &'a Path,
}

impl Checkpoint {
    /// Maps a `.safetensors` file, or the model's files in a folder (never adapters: see `folder`),
    /// and checks their headers.
    pub fn open(path: &Path) -> Result<Self> {
        let (paths, promised) = folder::weight_files(path)?;
        let files = paths.into_iter().map(StoredFile::open).collect::<Result<Vec<_>>>()?;
        Self::new(path, files, promised)
    }

    /// The contents of one safetensors file, checked in the same way. `name` stands for its path.
    pub fn from_bytes(name: &str, bytes: impl Owner + 'static) -> Result<Self> {
        let path = PathBuf::from(name);
        let file = StoredFile::new(path.clone(), Arc::new(bytes))?;
        Self::new(&path, vec![file], BTreeMap::new())
    }

    fn new(path: &Path, files: Vec<StoredFile>, promised: BTreeMap<String, String>) -> Result<Self> {
        let mut index: HashMap<String, (usize, usize)> = HashMap::new();
        for (f, file) in files.iter().enumerate() {
            for (t, tensor) in file.header.tensors.iter().enumerate() {
                if let Some((other, _)) = index.insert(tensor.name.clone(), (f, t)) {
                    bail!(
                        "tensor `{}` is in two files, {} and {}: leave only the files of one model in the folder",
                        printable(&tensor.name),
                        files[other].path.display(),
                        file.path.display()
                    );
                }
            }
        }
        for (name, file) in promised {
            let found = index.get(&name).map(|&(f, _)| files[f].path.as_path());
            ensure!(
                found.is_some_and(|path| path.file_name().is_some_and(|n| n == file.as_str())),
                "{}: tensor `{}` should be in {}, says {}, but {}: download the model again",
                path.display(),
                printable(&name),
                printable(&file),
                folder::INDEX,
                found.map_or("it is in no file".into(), |path| format!("it is in {}", path.display()))
            );
        }
        Ok(Self { path: path.to_owned(), files, index })
    }

    /// What was opened: a folder or a file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The folder in which `config.json` and the tokenizer lie.
    pub fn folder(&self) -> &Path {
        if self.path.is_dir() {
            return &self.path;
        }
        whole::folder(&self.path)
    }

    /// The files, in the order in which they were read.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        self.files.iter().map(|f| f.path.as_path())
    }

    /// Free text in the files' headers, by file. It may hold anything.
    pub fn metadata(&self) -> impl Iterator<Item = (&Path, &BTreeMap<String, String>)> {
        self.files.iter().map(|f| (f.path.as_path(), &f.header.metadata))
    }

    /// Every tensor, file after file, in the order of their bytes.
    pub fn tensors(&self) -> impl Iterator<Item = TensorInfo<'_>> {
        self.files.iter().flat_map(|file| file.header.tensors.iter().map(|t| file.info(t)))
    }

    /// True if there is a tensor of this name.
    pub fn contains(&self, name: &str) -> bool {
        self.index.contains_key(name)
    }

    /// What the file says of a tensor.
    pub fn info(&self, name: &str) -> Option<TensorInfo<'_>> {
        let &(f, t) = self.index.get(name)?;
        Some(self.files[f].info(&self.files[f].header.tensors[t]))
    }

    /// A tensor and its bytes: the mapped ones, or a copy where the file does not align them.
    pub fn tensor(&self, name: &str) -> Option<TensorView<'_>> {
        let &(f, t) = self.index.get(name)?;
        let file = &self.files[f];
        let described = &file.header.tensors[t];
        let bytes = Bytes::new(file.contents_of(described).clone(), described.start, described.len)?;
        Some(TensorView { dtype: described.dtype, shape: &described.shape, bytes, file: &file.path })
    }

    /// Copies tensors into memory of large pages, file by file, giving back what was mapped of them.
    /// Where files are mapped in small pages, or ones that the system spreads badly, a matrix that is
    /// streamed through waits for the page tables: this costs a second for each two gigabytes, and
    /// decoding may then run half as fast again. What `wanted` leaves out stays mapped.
    pub fn load(&self, wanted: impl Fn(&str) -> bool) -> Result<()> {
        for file in &self.files {
            file.load(&wanted).with_context(|| format!("cannot copy {} into memory", file.path.display()))?;
        }
        Ok(())
    }

    /// Gives the memory of a tensor's bytes back, until they are read again.
    pub fn forget(&self, name: &str) {
        let Some(&(f, t)) = self.index.get(name) else { return };
        let Described { start, len, .. } = self.files[f].header.tensors[t];
        self.files[f].contents.release(start, len);
    }

    /// Bytes of all tensors.
    pub fn bytes(&self) -> u64 {
        self.tensors().map(|t| t.data.len() as u64).sum()
    }
}

/// A file in memory.
struct Mapped(Mmap);

/// A copy in memory: it cannot be had again, so it is never given back.
struct Copied(Mmap);

impl AsRef<[u8]> for Copied {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Owner for Copied {}

impl AsRef<[u8]> for Mapped {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Owner for Mapped {
    fn release(&self, start: usize, len: usize) {
        #[cfg(unix)]
        {
            // SAFETY: the map is of a file, shared and only read, so pages that are dropped are read
            // from the file again with the same contents. It is advice: failing is no harm.
            let _ = unsafe { self.0.unchecked_advise_range(memmap2::UncheckedAdvice::DontNeed, start, len) };
        }
        #[cfg(not(unix))]
        let _ = (start, len);
    }
}

impl StoredFile {
    fn open(path: PathBuf) -> Result<Self> {
        let file = File::open(&path).with_context(|| format!("cannot open {}", path.display()))?;
        let size = file.metadata().with_context(|| format!("cannot read {}", path.display()))?;
        ensure!(size.is_file(), "{} is not a file", path.display());
        // SAFETY: the map is only read. That nobody shortens the file meanwhile cannot be enforced
        // here; it is asked of callers in the documentation of `Checkpoint`.
        let map = unsafe { Mmap::map(&file) }.with_context(|| format!("cannot map {} into memory", path.display()))?;
        // Large pages, where the file system keeps them: with small ones a matrix that is streamed
        // through waits for the page tables. Advice only.
        #[cfg(target_os = "linux")]
        let _ = map.advise(memmap2::Advice::HugePage);
        Self::new(path, Arc::new(Mapped(map)))
    }

    fn new(path: PathBuf, contents: Arc<dyn Owner>) -> Result<Self> {
        let header = Header::parse((*contents).as_ref());
        let header = header.with_context(|| format!("{} cannot be used", path.display()))?;
        Ok(Self { path, contents, header, copy: OnceLock::new() })
    }

    fn contents_of(&self, t: &Described) -> &Arc<dyn Owner> {
        let copy = self.copy.get().filter(|copy| copy.starts.contains(&t.start));
        copy.map_or(&self.contents, |copy| &copy.contents)
    }

    /// See [`Checkpoint::load`].
    fn load(&self, wanted: &impl Fn(&str) -> bool) -> std::io::Result<()> {
        let from = (*self.contents).as_ref();
        // Room for everything, so that each tensor keeps its place; what is not copied stays untouched
        // and takes no memory.
        let mut copy = MmapOptions::new().len(from.len()).map_anon()?;
        #[cfg(target_os = "linux")]
        let _ = copy.advise(memmap2::Advice::HugePage);
        let mut tensors: Vec<_> = self.header.tensors.iter().filter(|t| wanted(&t.name)).collect();
        tensors.sort_unstable_by_key(|t| t.start);
        let (mut pieces, mut rest, mut end) = (Vec::new(), &mut copy[..], 0);
        for t in &tensors {
            // Tensors do not overlap: that was checked when the header was read.
            let (_, from_here) = rest.split_at_mut(t.start - end);
            let (piece, after) = from_here.split_at_mut(t.len);
            (rest, end) = (after, t.start + t.len);
            pieces.extend(piece.chunks_mut(PIECE).enumerate().map(|(i, piece)| (t.start + i * PIECE, piece)));
        }
        // On several threads: what takes the time is not to copy but to be given fresh pages.
        let pieces = Mutex::new(pieces.into_iter());
        let next = || pieces.lock().unwrap_or_else(PoisonError::into_inner).next();
        let copy_pieces = || {
            while let Some((start, piece)) = next() {
                piece.copy_from_slice(&from[start..start + piece.len()]);
                self.contents.release(start, piece.len());
            }
        };
        std::thread::scope(|scope| {
            let threads = std::thread::available_parallelism().map_or(1, |n| n.get().min(COPIERS));
            for _ in 1..threads {
                // Without another thread, this one does it all.
                let _ = std::thread::Builder::new().spawn_scoped(scope, copy_pieces);
            }
            copy_pieces();
        });
        // Once more: reading the next piece brings some of the one before it back in.
        tensors.iter().for_each(|t| self.contents.release(t.start, t.len));
        let starts = tensors.iter().map(|t| t.start).collect();
        let contents = Arc::new(Copied(copy.make_read_only()?));
        self.copy.get_or_init(|| Copy { contents, starts });
        Ok(())
    }

    fn info<'a>(&'a self, t: &'a Described) -> TensorInfo<'a> {
        // The range was checked against the file's length when the header was read.
        let data = &(**self.contents_of(t)).as_ref()[t.start..t.start + t.len];
        TensorInfo { name: &t.name, dtype: t.dtype, shape: &t.shape, file: &self.path, data }
    }
}

/// Text from a file, made safe for a terminal: control characters escaped, and not too long.
pub fn printable(text: &str) -> String {
    const LONGEST: usize = 160;
    let mut out = String::new();
    for (count, c) in text.chars().enumerate() {
        if count == LONGEST {
            out.push('…');
            break;
        }
        // Beside controls: marks that reorder text, and invisible ones, could disguise a name.
        let hidden =
            matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}');
        if c.is_control() || hidden { out.extend(c.escape_unicode()) } else { out.push(c) }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::config::Config;
    use crate::model::matrix::Data;
    use crate::model::tensors::{Kind, tensors};

    fn fixture(name: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
    }

    #[test]
    fn every_tensor_of_every_fixture_is_read() {
        for name in ["tiny", "tiny_q", "odd", "untied"] {
            let spec = Config::read(&fixture(name).join("config.json")).unwrap().spec();
            let checkpoint = Checkpoint::open(&fixture(name)).unwrap();
            assert_eq!(checkpoint.check(&spec), []);
            checkpoint.ensure_fits(&spec).unwrap();
            assert_eq!(checkpoint.search_not_finite().count(), 0);
            for t in tensors(&spec) {
                if !t.required && !checkpoint.contains(&t.name) {
                    continue;
                }
                let quantised = name == "tiny_q" && t.quantised(64);
                match t.kind {
                    Kind::ExpertStack => {
                        let stack = checkpoint.stack(&t).unwrap();
                        assert_eq!([stack.len(), stack[0].rows, stack[0].cols], t.shape[..]);
                    }
                    Kind::Embedding | Kind::Head | Kind::Linear => {
                        let matrix = checkpoint.matrix(&t).unwrap();
                        assert_eq!([matrix.rows, matrix.cols], t.shape[..]);
                        assert_eq!(matches!(matrix.data, Data::Affine4 { group: 64, .. }), quantised, "{}", t.name);
                    }
                    _ => assert_eq!(checkpoint.floats(&t).unwrap().len(), t.len()),
                }
            }
        }
    }

    #[test]
    fn bytes_in_memory_are_a_checkpoint_as_a_file_is() {
        let file = Checkpoint::open(&fixture("tiny_q")).unwrap();
        let mut bytes = std::fs::read(fixture("tiny_q").join("model.safetensors")).unwrap();
        let memory = Checkpoint::from_bytes("tiny_q", bytes.clone()).unwrap();
        let spec = Config::read(&fixture("tiny_q").join("config.json")).unwrap().spec();
        assert_eq!(memory.check(&spec), []);
        for t in file.tensors() {
            assert!(memory.info(t.name).unwrap().data == t.data, "{}", t.name);
            // There is no file to read it from again, so it stays.
            memory.forget(t.name);
            assert!(&*memory.tensor(t.name).unwrap().bytes == t.data, "{}", t.name);
        }
        bytes.pop();
        let said = format!("{:#}", Checkpoint::from_bytes("tiny_q", bytes).err().unwrap());
        assert!(said.starts_with("tiny_q cannot be used"), "{said}");
    }

    #[test]
    fn another_models_config_is_told_by_shapes_and_names() {
        let spec = Config::read(&fixture("odd").join("config.json")).unwrap().spec();
        let checkpoint = Checkpoint::open(&fixture("tiny").join("model.safetensors")).unwrap();
        assert_eq!(checkpoint.folder(), fixture("tiny"));
        let said = checkpoint.ensure_fits(&spec).unwrap_err().to_string();
        for part in ["model.safetensors", "embed_tokens.weight", "F32 of shape (96, 64)", "(131, 40)", "more"] {
            assert!(said.contains(part), "{said} lacks {part}");
        }
        let kinds: Vec<ProblemKind> = checkpoint.check(&spec).iter().map(|p| p.kind).collect();
        assert!(kinds.contains(&ProblemKind::Missing) && kinds.contains(&ProblemKind::Misshapen));
    }

    #[test]
    fn names_that_could_fool_a_terminal_are_shown() {
        assert_eq!(printable("a\u{1b}[2J\u{202e}b é"), "a\\u{1b}[2J\\u{202e}b é");
        assert!(printable(&"x".repeat(10_000)).len() < 200);
    }
}
