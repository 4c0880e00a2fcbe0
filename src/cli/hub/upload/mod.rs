//! Sends files to a repository of the hub: large ones by themselves, then all of them in one commit.
//!
//! ```text
//! mod.rs    the order of things: repository, what is there already, large files, commit
//! item.rs   a file that is to be sent
//! lfs.rs    large files
//! sha1.rs   how git names small ones
//! ```
//!
//! Nothing is seen at the hub before the commit. What was sent before an upload broke off stays there, and is not
//! asked for again; so nothing has to be tidied up, and Ctrl-C may come at any time.

mod item;
mod lfs;
mod sha1;

use anyhow::{Context, Result, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Value, json};

pub use self::item::{Contents, Item};
use self::lfs::Hashed;
use super::client::{Client, Kind};
use super::post::Refused;
use super::{RepoId, Settings};
use crate::cli::output;
use crate::cli::progress::Progress;

/// The branch that is written to.
const BRANCH: &str = "main";
/// What the hub looks at to tell text from the rest.
const SAMPLE: u64 = 512;

/// How files are sent.
#[derive(Debug)]
pub struct Wishes {
    /// Nobody else shall see a repository that is made now.
    pub private: bool,
    /// What the commit is called.
    pub message: String,
}

/// What came of it.
#[derive(Debug, PartialEq, Eq)]
pub struct Done {
    /// Where it can be seen.
    pub url: String,
    /// Files that were sent, and their bytes.
    pub sent: (usize, u64),
    /// Files that were there already.
    pub there: usize,
}

/// Sends the files, and makes the repository if there is none.
pub fn upload(settings: &Settings, repo: &RepoId, items: &[Item], wishes: &Wishes) -> Result<Done> {
    if settings.offline {
        bail!("HF_HUB_OFFLINE forbids the network");
    }
    if settings.token.is_none() {
        bail!(
            "there is no token: set HF_TOKEN to one that may write, from {}/settings/tokens, or log in with \
             `hf auth login`",
            settings.endpoint
        );
    }
    let client = Client::new(settings, Kind::Model);
    make_repository(&client, repo, wishes.private)?;
    let plans = plans(&client, repo, items)?;
    let (mut small, mut large) = (Vec::new(), Vec::new());
    let mut there = 0;
    let bytes = plans.iter().filter(|(_, plan)| plan.large()).map(|(item, _)| item.size).sum();
    let mut hashing = Progress::new(Some(bytes));
    for &(item, ref plan) in &plans {
        let known = plan.oid.as_deref();
        if plan.large() {
            let oid = item.sha256(&mut hashing)?;
            if known == Some(&oid) {
                there += 1;
            } else {
                large.push(Hashed { item, oid });
            }
        } else {
            let contents = item.read(u64::MAX)?;
            if known == Some(&sha1::git_blob(&contents)) {
                there += 1;
            } else {
                small.push((item, contents));
            }
        }
    }
    hashing.clear();
    let url = format!("{}/{repo}", settings.endpoint);
    if small.is_empty() && large.is_empty() {
        return Ok(Done { url, sent: (0, 0), there });
    }
    let mut sent = (small.len(), small.iter().map(|(item, _)| item.size).sum());
    let mut missing = Vec::new();
    if !large.is_empty() {
        let wanted = lfs::wanted(&client, repo, &large.iter().collect::<Vec<_>>())?;
        missing.extend(large.iter().zip(wanted).filter_map(|(file, actions)| Some((file, actions?))));
    }
    there += large.len() - missing.len();
    let total = missing.iter().map(|(file, _)| file.item.size).sum();
    sent = (sent.0 + missing.len(), sent.1 + total);
    let mut progress = Progress::new(Some(total));
    for (file, actions) in missing {
        lfs::send(&client, repo, file, actions, &mut progress)
            .with_context(|| format!("cannot send {}", file.item.name))?;
    }
    progress.clear();
    commit(&client, repo, &wishes.message, &small, &large)?;
    Ok(Done { url, sent, there })
}

/// Makes the repository; that it is there already is fine.
fn make_repository(client: &Client, repo: &RepoId, private: bool) -> Result<()> {
    let body = json!({"type": "model", "name": repo.name, "organization": repo.owner, "private": private});
    let url = format!("{}/api/repos/create", client.endpoint());
    let what = format!("make the repository {repo}");
    let Err(error) = client.patiently(|| client.post_json(&url, &body, &what)) else { return Ok(()) };
    match error.downcast_ref::<Refused>().map(|refused| refused.status) {
        Some(409) => {}
        // A token for this repository alone may write to it, and not make others.
        Some(403) => {
            let about = format!("{}/api/models/{repo}", client.endpoint());
            if client.patiently(|| client.get_json(&about, &repo.to_string())).is_err() {
                return Err(error);
            }
        }
        _ => return Err(error),
    }
    if private {
        output::note(format!("{repo} is there already: --private changes nothing about who sees it"));
    }
    Ok(())
}

/// What the hub wants to do with a file.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Plan {
    path: String,
    upload_mode: String,
    #[serde(default)]
    should_ignore: bool,
    /// The name of the contents that it has under this path.
    #[serde(default)]
    oid: Option<String>,
}

impl Plan {
    fn large(&self) -> bool {
        self.upload_mode == "lfs"
    }
}

/// Asks which files are large, and which are there.
fn plans<'a>(client: &Client, repo: &RepoId, items: &'a [Item]) -> Result<Vec<(&'a Item, Plan)>> {
    #[derive(Deserialize)]
    struct Answer {
        files: Vec<Plan>,
    }
    let mut files = Vec::new();
    for item in items {
        files.push(json!({"path": item.name, "size": item.size, "sample": STANDARD.encode(item.read(SAMPLE)?)}));
    }
    let url = format!("{}/api/models/{repo}/preupload/{BRANCH}", client.endpoint());
    let what = format!("write to {repo}");
    let answer = client.patiently(|| client.post_json(&url, &json!({"files": files}), &what))?;
    let mut answer: Answer = serde_json::from_value(answer).context("the hub does not say how it wants the files")?;
    let mut plans = Vec::new();
    for item in items {
        let found = answer.files.iter().position(|plan| plan.path == item.name);
        let found = found.with_context(|| format!("the hub does not say how it wants {}", item.name))?;
        let plan = answer.files.swap_remove(found);
        if !plan.large() && plan.upload_mode != "regular" {
            bail!("the hub wants {} in a way that this program does not know: {}", item.name, plan.upload_mode);
        }
        if plan.should_ignore {
            output::note(format!("{} is left out: the repository's .gitignore names it", item.name));
        } else {
            plans.push((item, plan));
        }
    }
    Ok(plans)
}

/// Makes all of it appear at once.
fn commit(client: &Client, repo: &RepoId, message: &str, small: &[(&Item, Vec<u8>)], large: &[Hashed]) -> Result<()> {
    let mut body = Vec::new();
    let mut line = |key: &str, value: Value| -> Result<()> {
        serde_json::to_writer(&mut body, &json!({"key": key, "value": value}))?;
        body.push(b'\n');
        Ok(())
    };
    line("header", json!({"summary": message, "description": ""}))?;
    for (item, contents) in small {
        line("file", json!({"path": item.name, "content": STANDARD.encode(contents), "encoding": "base64"}))?;
    }
    for file in large {
        let value = json!({"path": file.item.name, "algo": "sha256", "oid": file.oid, "size": file.item.size});
        line("lfsFile", value)?;
    }
    let url = format!("{}/api/models/{repo}/commit/{BRANCH}", client.endpoint());
    let what = format!("commit to {repo}");
    client.patiently(|| client.post(&url, "application/x-ndjson", "application/json", &body, &what))?;
    Ok(())
}
