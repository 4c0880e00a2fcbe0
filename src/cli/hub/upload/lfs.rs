//! Large files, by git's protocol for them: ask where to send contents, named by their SHA-256, and send them there, in
//! one piece or in as many as the hub asks for. Contents that it has are not asked for.

use std::collections::BTreeMap;
use std::io::Read;

use anyhow::{Context, Result, anyhow, ensure};
use serde::Deserialize;
use serde_json::{Value, json};

use super::super::client::{Client, Failure, Patience};
use super::super::post::Expired;
use super::item::Item;
use crate::cli::hub::RepoId;
use crate::cli::progress::Progress;

const LFS: &str = "application/vnd.git-lfs+json";

/// A large file and its SHA-256.
#[derive(Debug)]
pub(super) struct Hashed<'a> {
    pub(super) item: &'a Item,
    pub(super) oid: String,
}

/// What the hub wants done with a file.
#[derive(Debug, Deserialize)]
pub(super) struct Actions {
    upload: Action,
    verify: Option<Action>,
}

#[derive(Debug, Deserialize)]
struct Action {
    href: String,
    #[serde(default)]
    header: BTreeMap<String, Value>,
}

/// What the hub wants of these files: for each, where it is to be sent, or none where it is there already.
pub(super) fn wanted(client: &Client, repo: &RepoId, files: &[&Hashed]) -> Result<Vec<Option<Actions>>> {
    #[derive(Deserialize)]
    struct Answer {
        objects: Vec<Object>,
    }
    #[derive(Deserialize)]
    struct Object {
        oid: String,
        actions: Option<Value>,
        error: Option<Refused>,
    }
    #[derive(Deserialize)]
    struct Refused {
        message: String,
    }
    let objects: Vec<Value> = files.iter().map(|file| json!({"oid": file.oid, "size": file.item.size})).collect();
    let body = json!({
        "operation": "upload",
        "transfers": ["basic", "multipart"],
        "objects": objects,
        "hash_algo": "sha256",
    });
    let url = format!("{}/{repo}.git/info/lfs/objects/batch", client.endpoint());
    let body = serde_json::to_vec(&body)?;
    let answer = client.patiently(|| client.post(&url, LFS, LFS, &body, &format!("send large files to {repo}")))?;
    let answer: Answer = serde_json::from_value(answer).context("the hub does not say where large files go")?;
    files
        .iter()
        .map(|file| {
            let name = &file.item.name;
            let object = answer.objects.iter().find(|object| object.oid == file.oid);
            let object = object.with_context(|| format!("the hub does not say where {name} goes"))?;
            if let Some(Refused { message }) = &object.error {
                anyhow::bail!("the hub does not take {name}: {message}");
            }
            let actions = object.actions.clone().filter(|actions| actions.get("upload").is_some());
            let actions = actions.map(serde_json::from_value).transpose();
            actions.with_context(|| format!("where the hub wants {name} cannot be understood"))
        })
        .collect()
}

/// Sends a file, trying again where that may help.
pub(super) fn send(
    client: &Client,
    repo: &RepoId,
    file: &Hashed,
    mut actions: Actions,
    progress: &mut Progress,
) -> Result<()> {
    progress.begin(&file.item.name, 0);
    let mut patience = Patience::default();
    // What the storage called the parts that it has.
    let mut parts: Vec<String> = Vec::new();
    loop {
        let before = parts.len();
        let mut sent = 0;
        match pieces(client, file, &actions.upload, &mut parts, &mut sent, progress) {
            Ok(()) => break,
            Err(failure) => {
                progress.clear();
                progress.jump(-(sent as i64));
                if parts.len() > before {
                    patience.renew();
                }
                let expired = matches!(&failure, Failure::Passing(error, _) if error.is::<Expired>());
                patience.pause(failure)?;
                if expired {
                    let lost = parts.len() as u64 * actions.upload.chunk()?.unwrap_or(0);
                    progress.jump(-(lost as i64));
                    parts.clear();
                    match wanted(client, repo, &[file])?.pop().flatten() {
                        Some(new) => actions = new,
                        None => return Ok(()),
                    }
                }
            }
        }
    }
    let Some(verify) = actions.verify else { return Ok(()) };
    let about = serde_json::to_vec(&json!({"oid": file.oid, "size": file.item.size}))?;
    let what = format!("confirm {}", file.item.name);
    client.patiently(|| client.post(&verify.href, LFS, LFS, &about, &what))?;
    Ok(())
}

/// Sends what is missing, once. `sent` is what went of the piece that failed.
fn pieces(
    client: &Client,
    file: &Hashed,
    action: &Action,
    parts: &mut Vec<String>,
    sent: &mut u64,
    progress: &mut Progress,
) -> Result<(), Failure> {
    let Item { name, size, .. } = file.item;
    let Some(chunk) = action.chunk()? else {
        let headers: Vec<(String, String)> =
            action.header.iter().filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned()))).collect();
        piece(client, file.item, (0, *size), (&action.href, &headers), sent, progress)?;
        return Ok(());
    };
    let addresses = action.parts();
    if addresses.len() as u64 != size.div_ceil(chunk) {
        let count = addresses.len();
        return Err(anyhow!("the hub wants {name}, {size} bytes, in {count} parts of {chunk}, which cannot be").into());
    }
    for (i, address) in addresses.iter().enumerate().skip(parts.len()) {
        let from = i as u64 * chunk;
        let headers = piece(client, file.item, (from, chunk.min(size - from)), (address, &[]), sent, progress)?;
        let etag = headers.get("etag").and_then(|value| value.to_str().ok()).filter(|etag| !etag.is_empty());
        let etag = etag.with_context(|| format!("the storage does not say what it calls part {} of {name}", i + 1))?;
        parts.push(etag.to_owned());
        *sent = 0;
    }
    let list: Vec<Value> =
        parts.iter().enumerate().map(|(i, etag)| json!({"partNumber": i + 1, "etag": etag})).collect();
    let body = serde_json::to_vec(&json!({"oid": file.oid, "parts": list})).context("the parts cannot be listed")?;
    client.post(&action.href, LFS, LFS, &body, &format!("join the parts of {name}"))?;
    Ok(())
}

fn piece(
    client: &Client,
    item: &Item,
    (from, length): (u64, u64),
    (address, headers): (&str, &[(String, String)]),
    sent: &mut u64,
    progress: &mut Progress,
) -> Result<ureq::http::HeaderMap, Failure> {
    *sent = 0;
    let mut body = Counted { from: item.part(from, length)?, sent, progress };
    let headers = client.put(address, headers, &mut body, length, &format!("the contents of {}", item.name))?;
    let gone = *body.sent;
    if gone != length {
        // The file became shorter while it was sent: what is there is not what was named.
        return Err(anyhow!("{} changed while it was sent: run the command again", item.name).into());
    }
    Ok(headers)
}

impl Action {
    /// Bytes of a part, where the hub wants parts.
    fn chunk(&self) -> Result<Option<u64>> {
        let Some(chunk) = self.header.get("chunk_size") else { return Ok(None) };
        let chunk = chunk.as_u64().or_else(|| chunk.as_str()?.parse().ok()).filter(|chunk| *chunk > 0);
        ensure!(chunk.is_some(), "the hub wants parts of a size that is none");
        Ok(chunk)
    }

    /// Where the parts go, in order.
    fn parts(&self) -> Vec<&str> {
        let mut all: Vec<(u32, &str)> = Vec::new();
        for (name, value) in &self.header {
            if let (Ok(number), Some(address)) = (name.parse(), value.as_str()) {
                all.push((number, address));
            }
        }
        all.sort_unstable();
        all.into_iter().map(|(_, address)| address).collect()
    }
}

/// Tells the progress of what is read.
struct Counted<'a> {
    from: Box<dyn Read + 'a>,
    sent: &'a mut u64,
    progress: &'a mut Progress,
}

impl Read for Counted<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.from.read(buffer)?;
        *self.sent += read as u64;
        self.progress.add(read as u64);
        Ok(read)
    }
}
