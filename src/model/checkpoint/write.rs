//! Writing safetensors: the header first, then tensors in pieces, in any order.

use std::collections::{BTreeMap, HashMap};
use std::io::{Seek, SeekFrom, Write};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Map, Value};

use super::Dtype;
use super::header::Raw;

/// Data starts at a multiple of this, a cache line.
const ALIGNMENT: usize = 64;

/// A tensor that a file will hold.
#[derive(Debug, Clone, PartialEq)]
pub struct Planned {
    /// Its name.
    pub name: String,
    /// Format of its numbers.
    pub dtype: Dtype,
    /// Its dimensions.
    pub shape: Vec<usize>,
}

impl Planned {
    fn bytes(&self) -> Option<u64> {
        self.shape.iter().try_fold(self.dtype.size() as u64, |bytes, &n| bytes.checked_mul(n as u64))
    }
}

/// A safetensors file that is being written. Memory is needed only for the piece in hand.
pub struct TensorWriter<W> {
    out: W,
    at: u64,
    places: HashMap<String, Place>,
    total: u64,
}

struct Place {
    start: u64,
    len: u64,
    written: u64,
}

impl<W: Write + Seek> TensorWriter<W> {
    /// Writes the header for these tensors. `out` must be empty.
    pub fn new(mut out: W, mut tensors: Vec<Planned>, metadata: &BTreeMap<String, String>) -> Result<Self> {
        // The format allows no gaps. Tensors whose sizes are multiples of 64 go first, then those of
        // 32, and so on: each then starts at a multiple of what its own size is a multiple of.
        let alignment = |t: &Planned| t.bytes().unwrap_or(0).trailing_zeros().min(ALIGNMENT.trailing_zeros());
        tensors.sort_by_key(|t| std::cmp::Reverse(alignment(t)));

        let mut header = Map::new();
        if !metadata.is_empty() {
            header.insert("__metadata__".into(), serde_json::to_value(metadata)?);
        }
        let mut places = HashMap::new();
        let mut end = 0u64;
        for t in tensors {
            let len = t.bytes().with_context(|| format!("tensor `{}` is larger than any file", t.name))?;
            let start = end;
            end = end.checked_add(len).context("the file would be larger than any disk")?;
            let shape = t.shape.iter().map(|&n| n as u64).collect();
            let raw = Raw { dtype: t.dtype.name().into(), shape, data_offsets: (start, end) };
            ensure!(
                header.insert(t.name.clone(), serde_json::to_value(raw)?).is_none(),
                "tensor `{}` is planned twice",
                t.name
            );
            places.insert(t.name, Place { start, len, written: 0 });
        }
        let mut json = serde_json::to_vec(&Value::Object(header))?;
        // Spaces after the JSON are part of the header: they align the data.
        json.resize((8 + json.len()).next_multiple_of(ALIGNMENT) - 8, b' ');
        out.write_all(&(json.len() as u64).to_le_bytes())?;
        out.write_all(&json)?;
        let data = 8 + json.len() as u64;
        for place in places.values_mut() {
            place.start += data;
        }
        Ok(Self { out, at: data, places, total: data + end })
    }

    /// Size of the whole file.
    pub fn file_size(&self) -> u64 {
        self.total
    }

    /// Writes the next bytes of a tensor.
    pub fn append(&mut self, name: &str, bytes: &[u8]) -> Result<()> {
        let place = self.places.get_mut(name).with_context(|| format!("tensor `{name}` was not planned"))?;
        let left = place.len - place.written;
        ensure!(bytes.len() as u64 <= left, "tensor `{name}`: {} bytes given, {left} left", bytes.len());
        let at = place.start + place.written;
        place.written += bytes.len() as u64;
        if self.at != at {
            self.out.seek(SeekFrom::Start(at))?;
        }
        self.out.write_all(bytes).with_context(|| format!("while writing tensor `{name}`"))?;
        self.at = at + bytes.len() as u64;
        Ok(())
    }

    /// Ends the file: an error if a tensor is not all there.
    pub fn finish(mut self) -> Result<W> {
        if let Some((name, place)) = self.places.iter().find(|(_, p)| p.written != p.len) {
            bail!("tensor `{name}` has {} of {} bytes", place.written, place.len);
        }
        self.out.flush()?;
        Ok(self.out)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use proptest::prelude::*;

    use super::super::header::Header;
    use super::*;

    fn planned(name: &str, dtype: Dtype, shape: &[usize]) -> Planned {
        Planned { name: name.into(), dtype, shape: shape.to_vec() }
    }

    #[test]
    fn pieces_may_come_in_any_order() {
        let plan = vec![planned("odd", Dtype::F16, &[3]), planned("a", Dtype::U32, &[4, 4])];
        let metadata = BTreeMap::from([("format".to_owned(), "mlx".to_owned())]);
        let mut writer = TensorWriter::new(Cursor::new(Vec::new()), plan, &metadata).unwrap();
        writer.append("odd", &[1; 2]).unwrap();
        writer.append("a", &[2; 60]).unwrap();
        writer.append("odd", &[3; 4]).unwrap();
        writer.append("a", &[4; 4]).unwrap();
        assert!(writer.append("a", &[5]).unwrap_err().to_string().contains("0 left"));
        assert!(writer.append("b", &[5]).is_err());
        let size = writer.file_size();
        let file = writer.finish().unwrap().into_inner();
        assert_eq!(file.len() as u64, size);
        let header = Header::parse(&file).unwrap();
        assert_eq!(header.metadata, metadata);
        let starts: Vec<(&str, usize)> = header.tensors.iter().map(|t| (&t.name[..], t.start % 64)).collect();
        assert_eq!(starts, [("a", 0), ("odd", 0)]);
        assert_eq!(file[file.len() - 6..], [1, 1, 3, 3, 3, 3]);
    }

    #[test]
    fn what_is_missing_or_impossible_is_an_error() {
        let new = |plan| TensorWriter::new(Cursor::new(Vec::new()), plan, &BTreeMap::new());
        let unfinished = new(vec![planned("a", Dtype::F32, &[4])]).unwrap();
        assert!(unfinished.finish().unwrap_err().to_string().contains("0 of 16"));
        assert!(new(vec![planned("a", Dtype::F32, &[usize::MAX, 2])]).is_err());
        assert!(new(vec![planned("a", Dtype::F32, &[1]), planned("a", Dtype::F32, &[1])]).is_err());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_full_disk_is_named() {
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let error = TensorWriter::new(full, vec![planned("a", Dtype::F32, &[4])], &BTreeMap::new()).err().unwrap();
        assert!(format!("{error:#}").contains("No space left"), "{error:#}");
    }

    proptest! {
        #[test]
        fn tensors_are_aligned_as_far_as_their_sizes_are(shapes in prop::collection::vec((1usize..40, 0usize..3), 1..12)) {
            let dtypes = [Dtype::F32, Dtype::F16, Dtype::U8];
            let plan: Vec<Planned> =
                shapes.iter().enumerate().map(|(i, &(n, d))| planned(&format!("t{i}"), dtypes[d], &[n])).collect();
            let mut writer = TensorWriter::new(Cursor::new(Vec::new()), plan.clone(), &BTreeMap::new()).unwrap();
            for t in &plan {
                writer.append(&t.name, &vec![7; t.bytes().unwrap() as usize]).unwrap();
            }
            let header = Header::parse(&writer.finish().unwrap().into_inner()).unwrap();
            prop_assert_eq!(header.tensors.len(), plan.len());
            for t in header.tensors {
                prop_assert_eq!(t.start % (1 << t.len.trailing_zeros().min(6)), 0);
            }
        }
    }
}
