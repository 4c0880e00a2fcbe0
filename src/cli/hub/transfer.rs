//! Brings one file's contents here: resumes what is partly there, checks what is complete.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::path::Path;

use anyhow::{Context, Result, anyhow, bail, ensure};
use sha2::{Digest, Sha256};

use super::client::{Client, Failure, Header, Patience, Remote};
use crate::cli::progress::{Progress, bytes};

/// Fetches `url` into `partial`, going on after what is in it, and checks length and hash.
/// Contents that fail the check are removed; a part that is fine stays for the next time.
pub(super) fn fetch(client: &Client, url: &str, file: &Remote, partial: &Path, progress: &mut Progress) -> Result<()> {
    let mut resumed = length(partial)? > 0;
    progress.begin(&file.name, length(partial)?);
    let mut patience = Patience::default();
    loop {
        let before = length(partial)?;
        match piece(client, url, file, partial, progress) {
            Ok(()) => match verify(file, partial) {
                Ok(()) => return Ok(()),
                Err(error) => {
                    let lost = length(partial)?;
                    fs::remove_file(partial).with_context(|| format!("cannot remove {}", partial.display()))?;
                    progress.jump(-(lost as i64));
                    // What an earlier run left may be the part that is wrong.
                    if !std::mem::take(&mut resumed) {
                        return Err(error);
                    }
                }
            },
            Err(failure) => {
                progress.clear();
                if length(partial)? > before {
                    patience.renew();
                }
                patience.pause(failure)?;
            }
        }
    }
}

fn length(path: &Path) -> Result<u64> {
    match fs::metadata(path) {
        Ok(found) => Ok(found.len()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(0),
        Err(error) => Err(error).with_context(|| format!("cannot look at {}", partial_name(path))),
    }
}

fn partial_name(path: &Path) -> String {
    path.display().to_string()
}

/// One request: all that is missing, or as much of it as comes.
fn piece(client: &Client, url: &str, file: &Remote, partial: &Path, progress: &mut Progress) -> Result<(), Failure> {
    let mut there = length(partial)?;
    // Longer than the file, or of contents that cannot be told apart from others: of no use.
    let useless = file.size.is_some_and(|size| there > size) || (!file.hashed && file.strong.is_none());
    let mut out = open(partial)?;
    if useless && there > 0 {
        there = emptied(&out, there, progress)?;
    }
    if there > 0 && file.size == Some(there) {
        return Ok(());
    }
    let response = {
        let mut headers = Vec::new();
        if there > 0 {
            // Contents named by their hash are the same at every host, and checked in the end.
            // Others are resumed only where the etag that we know is the server's own.
            let range = format!("bytes={there}-");
            headers.push(Header { name: "range", value: range, everywhere: file.hashed });
            if let (false, Some(tag)) = (file.hashed, &file.strong) {
                headers.push(Header { name: "if-range", value: tag.clone(), everywhere: false });
            }
        }
        client.send("GET", url, &headers, &file.name)?.1
    };
    let range = response.headers().get("content-range").and_then(|value| value.to_str().ok()).map(str::to_owned);
    match response.status().as_u16() {
        206 => {
            let fits = range.as_deref().and_then(content_range).is_some_and(|(start, total)| {
                start == there && total.is_none_or(|total| file.size.is_none_or(|size| size == total))
            });
            if !fits {
                emptied(&out, there, progress)?;
                let what = format!("asked for {} from byte {there}, got {range:?}", file.name);
                return Err(Failure::Passing(anyhow!(what), None));
            }
        }
        416 => {
            emptied(&out, there, progress)?;
            return Err(Failure::Passing(anyhow!("the server has no part of {} after byte {there}", file.name), None));
        }
        // The server sends all of it, whatever was asked.
        _ => there = emptied(&out, there, progress)?,
    }
    receive(response.into_body().into_reader(), &mut out, there, file, progress)
}

/// Writes what comes to the end of the file.
fn receive(
    mut body: impl Read,
    out: &mut File,
    mut there: u64,
    file: &Remote,
    progress: &mut Progress,
) -> Result<(), Failure> {
    let mut buffer = vec![0; 1 << 18];
    loop {
        let read = match body.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) => {
                let what = format!("the connection broke after {} of {}", bytes(there), file.name);
                return Err(Failure::Passing(anyhow!(error).context(what), None));
            }
        };
        let filled = &buffer[..read];
        there += read as u64;
        if file.size.is_some_and(|size| there > size) {
            return Err(anyhow!("the server sends more of {} than the hub says there is", file.name).into());
        }
        out.write_all(filled).with_context(|| format!("cannot write {}", file.name))?;
        progress.add(read as u64);
    }
    match file.size {
        Some(size) if there < size => {
            let what = format!("the connection ended after {} of {} of {}", bytes(there), bytes(size), file.name);
            Err(Failure::Passing(anyhow!(what), None))
        }
        _ => Ok(()),
    }
}

fn open(partial: &Path) -> Result<File> {
    let file = OpenOptions::new().append(true).create(true).open(partial);
    file.with_context(|| format!("cannot write {}", partial.display()))
}

fn emptied(out: &File, lost: u64, progress: &mut Progress) -> Result<u64> {
    out.set_len(0).context("cannot empty a partial download")?;
    progress.jump(-(lost as i64));
    Ok(0)
}

/// `bytes 5-9/10` to (5, 10); the total may be unknown.
fn content_range(text: &str) -> Option<(u64, Option<u64>)> {
    let (range, total) = text.trim().strip_prefix("bytes ")?.split_once('/')?;
    let start = range.split_once('-')?.0.trim().parse().ok()?;
    Some((start, if total == "*" { None } else { Some(total.parse().ok()?) }))
}

/// An error if the contents are not those that the hub names.
pub(super) fn verify(file: &Remote, path: &Path) -> Result<()> {
    let there = length(path)?;
    if let Some(size) = file.size {
        ensure!(there == size, "{} has {there} bytes; the hub says {size}", file.name);
    }
    if !file.hashed {
        return Ok(());
    }
    let mut source = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    let (mut hash, mut buffer) = (Sha256::new(), vec![0; 1 << 18]);
    loop {
        match source.read(&mut buffer).with_context(|| format!("cannot read {}", path.display()))? {
            0 => break,
            read => hash.update(&buffer[..read]),
        }
    }
    let found: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    if found != file.etag.to_lowercase() {
        bail!(
            "what came as {} is not what the hub names: its SHA-256 is {found}, it should be {}; it was \
             removed, so that another download starts afresh",
            file.name,
            file.etag
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_ranges() {
        assert_eq!(content_range("bytes 5-9/10"), Some((5, Some(10))));
        assert_eq!(content_range("bytes 5-9/*"), Some((5, None)));
        for bad in ["", "bytes", "bytes */10", "5-9/10", "bytes a-b/c", "bytes 5-9"] {
            assert_eq!(content_range(bad), None, "{bad}");
        }
    }
}
