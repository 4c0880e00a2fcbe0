//! The header of a safetensors file, read without trusting it.
//!
//! A file is eight bytes (the header's length, little-endian), the header (a JSON object from names
//! to formats, shapes and byte ranges), and the data that those ranges divide without a gap.

use std::collections::{BTreeMap, HashSet};
use std::fmt;

use anyhow::{Context, Result, bail, ensure};
use serde::de::{Deserializer, Error as _, MapAccess, Visitor};
use serde::{Deserialize, Serialize};

use super::dtype::Dtype;
use super::printable;

/// The bound that other readers of the format keep too.
const MAX_HEADER: u64 = 100_000_000;
const MAX_DIMENSIONS: usize = 8;

/// What a header says, once it was found to be true.
#[derive(Debug, Default)]
pub(super) struct Header {
    /// Free text that the writer added.
    pub metadata: BTreeMap<String, String>,
    /// In the order of their bytes.
    pub tensors: Vec<Described>,
}

/// One tensor of a file.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Described {
    pub name: String,
    pub dtype: Dtype,
    pub shape: Vec<usize>,
    /// From the start of the file.
    pub start: usize,
    pub len: usize,
}

/// A tensor's description in JSON.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Raw {
    pub dtype: String,
    pub shape: Vec<u64>,
    pub data_offsets: (u64, u64),
}

/// The JSON object. Kept as a list so that a name given twice is seen.
struct RawHeader {
    metadata: BTreeMap<String, String>,
    tensors: Vec<(String, Raw)>,
}

impl<'de> Deserialize<'de> for RawHeader {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = RawHeader;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object from tensor names to descriptions")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<RawHeader, A::Error> {
                let mut header = RawHeader { metadata: BTreeMap::new(), tensors: Vec::new() };
                let mut seen = HashSet::new();
                while let Some(name) = map.next_key::<String>()? {
                    if !seen.insert(name.clone()) {
                        return Err(A::Error::custom(format!("the name `{}` is there twice", printable(&name))));
                    }
                    if name == "__metadata__" {
                        header.metadata = map.next_value()?;
                    } else {
                        header.tensors.push((name, map.next_value()?));
                    }
                }
                Ok(header)
            }
        }
        deserializer.deserialize_map(Entries)
    }
}

const DAMAGED: &str = "the file is damaged or was not fully downloaded";

impl Header {
    /// Reads and checks the header of a whole file.
    pub(super) fn parse(file: &[u8]) -> Result<Self> {
        let Some((length, rest)) = file.split_first_chunk::<8>() else {
            bail!("it has {} bytes, too few for a safetensors file: {DAMAGED}", file.len());
        };
        let length = u64::from_le_bytes(*length);
        ensure!(
            length <= rest.len() as u64,
            "its header claims {length} bytes, but the file has only {} after the first 8: {DAMAGED}",
            rest.len()
        );
        ensure!(length <= MAX_HEADER, "its header claims {length} bytes; {MAX_HEADER} is the most allowed");
        let (json, data) = rest.split_at(length as usize);
        ensure!(json.first() == Some(&b'{'), "its header is not a JSON object: it is not a safetensors file");
        let raw: RawHeader = serde_json::from_slice(json).context("its header is not what safetensors has there")?;

        let mut tensors = Vec::with_capacity(raw.tensors.len());
        for (name, raw) in raw.tensors {
            let tensor = describe(&raw, 8 + length as usize, data.len())
                .with_context(|| format!("tensor `{}`", printable(&name)))?;
            tensors.push(Described { name, ..tensor });
        }
        tensors.sort_by(|a, b| (a.start, a.len, &a.name).cmp(&(b.start, b.len, &b.name)));
        no_overlap_no_gap(&tensors, 8 + length as usize, file.len())?;
        Ok(Self { metadata: raw.metadata, tensors })
    }
}

/// One tensor, its name left empty, with everything checked that it alone can show.
fn describe(raw: &Raw, data_start: usize, data_len: usize) -> Result<Described> {
    let Some(dtype) = Dtype::from_name(&raw.dtype) else {
        bail!("found the number format `{}`, which is not one of safetensors", printable(&raw.dtype));
    };
    ensure!(
        raw.shape.len() <= MAX_DIMENSIONS,
        "it has {} dimensions; {MAX_DIMENSIONS} is the most allowed",
        raw.shape.len()
    );
    let (begin, end) = raw.data_offsets;
    ensure!(begin <= end, "its bytes end ({end}) before they begin ({begin})");
    ensure!(
        end <= data_len as u64,
        "its bytes are {begin}..{end}, but the file has only {data_len} bytes of data: {DAMAGED}"
    );
    let found = end - begin;
    let wanted = raw.shape.iter().try_fold(dtype.size() as u64, |bytes, &n| bytes.checked_mul(n));
    match wanted {
        Some(wanted) if wanted == found => {}
        Some(wanted) => {
            bail!("{dtype} of shape {:?} takes {wanted} bytes, but the file gives it {found}", raw.shape)
        }
        None => bail!("{dtype} of shape {:?} is larger than any memory", raw.shape),
    }
    let shape = raw.shape.iter().map(|&n| usize::try_from(n)).collect::<Result<_, _>>().context("its shape")?;
    // `end` is within the file, so these fit.
    Ok(Described { name: String::new(), dtype, shape, start: data_start + begin as usize, len: found as usize })
}

fn no_overlap_no_gap(tensors: &[Described], data_start: usize, file_len: usize) -> Result<()> {
    let mut at = data_start;
    let mut before = "the header";
    for tensor in tensors {
        let name = printable(&tensor.name);
        ensure!(tensor.start >= at, "tensor `{name}` overlaps the bytes of `{}`", printable(before));
        ensure!(
            tensor.start == at,
            "{} bytes before tensor `{name}` belong to no tensor: the file is damaged",
            tensor.start - at
        );
        at = tensor.start + tensor.len;
        before = &tensor.name;
    }
    ensure!(at == file_len, "{} bytes at its end belong to no tensor: the file is damaged", file_len - at);
    Ok(())
}
