//! Talks HTTP to the hub: requests, redirects, retries, and what its refusals mean.

use std::cell::Cell;
use std::io::ErrorKind;
use std::time::Duration;

use anyhow::{Context, Error, Result, anyhow, ensure};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use ureq::http::{HeaderMap, Response};
use ureq::{Agent, Body};

use super::address::{joined, origin, quoted};
use super::{RepoId, Settings, check_name};
use crate::cli::output;

/// How often in a row something is tried again before giving up.
const RETRIES: u32 = 6;
/// The first pause before trying again; each next one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// No pause is longer, whatever a server asks for.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
const MOST_REDIRECTS: usize = 10;
/// A list of files longer than this is no model's.
const LONGEST_LISTING: u64 = 64 << 20;

/// Why an attempt failed, and whether another may succeed.
#[derive(Debug)]
pub enum Failure {
    /// Try again, after the pause that the server asked for if it did.
    Passing(Error, Option<Duration>),
    /// Trying again is of no use.
    Lasting(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Lasting(error)
    }
}

/// Counts attempts, and pauses between them.
#[derive(Debug, Default)]
pub struct Patience {
    failures: u32,
}

impl Patience {
    /// Something came: the next failure is a first one again.
    pub fn renew(&mut self) {
        self.failures = 0;
    }

    /// Pauses after a failure that may pass; gives the error back if it lasts or came too often.
    pub fn pause(&mut self, failure: Failure) -> Result<()> {
        let (error, asked) = match failure {
            Failure::Lasting(error) => return Err(error),
            Failure::Passing(error, asked) => (error, asked),
        };
        if self.failures == RETRIES {
            return Err(error.context(format!("gave up after {} attempts", RETRIES + 1)));
        }
        let pause = asked.unwrap_or(FIRST_PAUSE * 2u32.pow(self.failures)).min(LONGEST_PAUSE);
        self.failures += 1;
        output::note(format!("{error:#}; trying again in {:.1} s", pause.as_secs_f32()));
        std::thread::sleep(pause);
        Ok(())
    }
}

/// What a repository of the hub holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A model.
    Model,
    /// A data set.
    Data,
}

/// The hub, and what opens it.
pub struct Client<'a> {
    kind: Kind,
    pub(super) agent: Agent,
    pub(super) settings: &'a Settings,
    /// Something answered once: from then on a lost connection is worth another attempt.
    pub(super) reached: Cell<bool>,
}

/// The files of a revision.
#[derive(Debug)]
pub struct Listing {
    /// The commit that the revision stands for.
    pub commit: String,
    /// Names of all its files, checked.
    pub files: Vec<String>,
}

/// What the hub says of one file.
#[derive(Debug, Clone, PartialEq)]
pub struct Remote {
    /// Its name in the model.
    pub name: String,
    /// Name of its contents, fit to be a file name.
    pub etag: String,
    /// The etag is the SHA-256 of the contents.
    pub hashed: bool,
    /// The etag as it may stand in `If-Range`; none if it is a weak one.
    pub strong: Option<String>,
    /// Its length, if the hub says so.
    pub size: Option<u64>,
}

impl<'a> Client<'a> {
    /// A client of the hub in the settings.
    pub fn new(settings: &'a Settings, kind: Kind) -> Self {
        let config = Agent::config_builder()
            .user_agent(concat!("bit-axon/", env!("CARGO_PKG_VERSION")))
            // What is compressed on the way cannot be resumed.
            .accept_encoding("identity")
            .http_status_as_error(false)
            // Followed here, so that the token stays with the hub.
            .max_redirects(0)
            .timeout_connect(Some(Duration::from_secs(15)))
            .timeout_recv_response(Some(Duration::from_secs(60)))
            .timeout_per_read(Some(Duration::from_secs(60)))
            .build();
        Self { kind, agent: config.new_agent(), settings, reached: Cell::new(false) }
    }

    /// Lists a revision's files.
    pub fn list(&self, repo: &RepoId, revision: &str) -> Result<Listing> {
        #[derive(Deserialize)]
        struct Answer {
            sha: String,
            siblings: Vec<Sibling>,
        }
        #[derive(Deserialize)]
        struct Sibling {
            rfilename: String,
        }
        let kind = if self.kind == Kind::Model { "models" } else { "datasets" };
        let url = format!("{}/api/{kind}/{repo}/revision/{}", self.settings.endpoint, quoted(revision, false));
        let what = format!("{repo} at revision {revision}");
        let answer: Answer = self.patiently(|| {
            let (_, mut response) = self.send("GET", &url, &[], &what)?;
            let text = response.body_mut().with_config().limit(LONGEST_LISTING).read_to_string();
            let text = text.map_err(|error| self.broken(&what, error))?;
            Ok(serde_json::from_str(&text).with_context(|| format!("{url} gave no list of files"))?)
        })?;
        let commit = answer.sha;
        ensure!(!commit.contains('/'), "the hub names an impossible commit {commit:?}");
        check_name(&commit).context("the hub names an impossible commit")?;
        let files: Vec<String> = answer.siblings.into_iter().map(|sibling| sibling.rfilename).collect();
        for name in &files {
            check_name(name).with_context(|| format!("the list of files of {repo} is not to be trusted"))?;
        }
        Ok(Listing { commit, files })
    }

    /// Asks for a file's length and etag.
    pub fn describe(&self, repo: &RepoId, commit: &str, name: &str) -> Result<Remote> {
        let url = self.file_url(repo, commit, name);
        let headers = self.patiently(|| Ok(self.send("HEAD", &url, &[], name)?.0))?;
        remote(name, &headers).with_context(|| format!("{url} does not say what it is"))
    }

    /// Address of a file.
    pub fn file_url(&self, repo: &RepoId, commit: &str, name: &str) -> String {
        let kind = if self.kind == Kind::Model { "" } else { "datasets/" };
        format!("{}/{kind}{repo}/resolve/{}/{}", self.settings.endpoint, quoted(commit, false), quoted(name, true))
    }

    /// Address of the hub, without a slash at its end.
    pub(super) fn endpoint(&self) -> &str {
        &self.settings.endpoint
    }

    /// Tries again, after pauses, what may succeed later.
    pub(super) fn patiently<T>(&self, mut attempt: impl FnMut() -> Result<T, Failure>) -> Result<T> {
        let mut patience = Patience::default();
        loop {
            match attempt() {
                Ok(done) => return Ok(done),
                Err(failure) => patience.pause(failure)?,
            }
        }
    }

    /// Sends a request and follows redirects. Gives the headers of the hub's own answers, the first
    /// winning, and the last response, which is a success.
    ///
    /// The token, `Range` of what is not hashed and the like stay with the hub: headers in `own` are
    /// sent to it alone. A `HEAD` ends where the hub hands over to another host, which knows less.
    pub fn send(
        &self,
        method: &str,
        url: &str,
        headers: &[Header<'_>],
        what: &str,
    ) -> Result<(HeaderMap, Response<Body>), Failure> {
        let home = origin(&self.settings.endpoint)?;
        let mut url = url.to_owned();
        let mut said = HeaderMap::new();
        for _ in 0..=MOST_REDIRECTS {
            let at_home = origin(&url)? == home;
            let mut request = if method == "HEAD" { self.agent.head(&url) } else { self.agent.get(&url) };
            for header in headers.iter().filter(|header| at_home || header.everywhere) {
                request = request.header(header.name, &header.value);
            }
            if let (true, Some(token)) = (at_home, &self.settings.token) {
                request = request.header("authorization", format!("Bearer {token}"));
            }
            let response = request.call().map_err(|error| self.broken(what, error))?;
            self.reached.set(true);
            for (name, value) in response.headers() {
                // The length of a redirect's own page says nothing about the file.
                let of_page = response.status().is_redirection() && matches!(name.as_str(), "content-length" | "etag");
                if !of_page && !said.contains_key(name) {
                    said.insert(name.clone(), value.clone());
                }
            }
            if !response.status().is_redirection() {
                refusal(&response, what, self.settings.token.is_some())?;
                return Ok((said, response));
            }
            let next = response.headers().get("location").and_then(|value| value.to_str().ok());
            let next = next.with_context(|| format!("{url} redirects to nowhere"))?;
            url = joined(&url, next)?;
            if method == "HEAD" && said.contains_key("x-linked-etag") && origin(&url)? != home {
                return Ok((said, response));
            }
        }
        Err(anyhow!("too many redirects for {what}").into())
    }

    /// Whether another attempt is worth it after a connection broke.
    pub(super) fn broken(&self, what: &str, error: ureq::Error) -> Failure {
        // A connection that was made and then broke is worth another attempt; one that could not be
        // made (no such host, refused) is not, unless the hub was reached before.
        let broke =
            |kind| matches!(kind, ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted | ErrorKind::UnexpectedEof);
        let refused = match &error {
            ureq::Error::Io(io) => !broke(io.kind()),
            ureq::Error::HostNotFound | ureq::Error::ConnectionFailed => true,
            _ => false,
        };
        let passing = matches!(
            error,
            ureq::Error::Io(_)
                | ureq::Error::Timeout(_)
                | ureq::Error::Protocol(_)
                | ureq::Error::HostNotFound
                | ureq::Error::ConnectionFailed
        );
        let error = Error::new(error).context(format!("no answer from {} about {what}", self.settings.endpoint));
        if refused && !self.reached.get() {
            Failure::Lasting(error.context(Unreachable))
        } else if passing {
            Failure::Passing(error, None)
        } else {
            Failure::Lasting(error)
        }
    }
}

/// The hub cannot be reached at all: what the cache has may do.
#[derive(Debug)]
pub struct Unreachable;

impl std::fmt::Display for Unreachable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the hub cannot be reached")
    }
}

/// A header of a request.
#[derive(Debug)]
pub struct Header<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its value.
    pub value: String,
    /// Other hosts that the hub redirects to get it too.
    pub everywhere: bool,
}

/// What a status other than success means for the user.
fn refusal(response: &Response<Body>, what: &str, with_token: bool) -> Result<(), Failure> {
    let status = response.status().as_u16();
    let header = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok());
    let code = header("x-error-code").unwrap_or_default();
    let lasting = |text: String| Err(Failure::Lasting(anyhow!(text)));
    match status {
        200..=299 | 416 => Ok(()),
        401 | 403 => lasting(format!(
            "the hub does not give out {what} (status {status}): {}",
            match (code, with_token) {
                ("GatedRepo", true) => "it is gated; ask for access on its page, with the account of your token",
                ("GatedRepo", false) => "it is gated; ask for access on its page, then set HF_TOKEN",
                (_, true) => "it is private, gated or not there; your token does not open it",
                (_, false) => "it is private, gated or not there; check the name, and set HF_TOKEN if it is private",
            }
        )),
        404 => lasting(format!(
            "the hub has no {what} (status 404{}): check the name and the revision",
            if code.is_empty() { String::new() } else { format!(", {code}") }
        )),
        408 | 429 | 500..=599 => {
            let asked = header("retry-after").and_then(|text| text.trim().parse().ok()).map(Duration::from_secs);
            Err(Failure::Passing(anyhow!("the server answered with status {status} for {what}"), asked))
        }
        _ => lasting(format!("the server answered with status {status} for {what}")),
    }
}

/// What the headers say of a file. `x-linked-*` describe the contents behind a redirect.
fn remote(name: &str, headers: &HeaderMap) -> Result<Remote> {
    let text = |header: &str| headers.get(header).and_then(|value| value.to_str().ok());
    let linked = text("x-linked-etag");
    let tag = linked.or_else(|| text("etag")).context("there is no etag")?;
    let weak = tag.starts_with("W/");
    let bare = tag.strip_prefix("W/").unwrap_or(tag).trim_matches('"');
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    ensure!(!bare.is_empty(), "its etag is empty");
    // The etag becomes a file name; one that should not is named by its hash.
    let etag = if bare.len() <= 128 && bare.chars().all(plain) {
        bare.to_owned()
    } else {
        format!("tag-{}", &hex(bare)[..40])
    };
    let hashed = etag.len() == 64 && etag.chars().all(|c| c.is_ascii_hexdigit());
    let size =
        text(if linked.is_some() && text("x-linked-size").is_some() { "x-linked-size" } else { "content-length" });
    let size = size.and_then(|size| size.parse().ok());
    let strong = (!weak).then(|| format!("\"{bare}\""));
    Ok(Remote { name: name.to_owned(), etag, hashed, strong, size })
}

fn hex(text: &str) -> String {
    Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(list: &[(&'static str, &str)]) -> HeaderMap {
        list.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    #[test]
    fn a_file_is_described_by_what_is_behind_its_redirect() {
        let sha = "a".repeat(64);
        let linked = headers(&[("etag", "\"page\""), ("x-linked-etag", &format!("\"{sha}\"")), ("x-linked-size", "7")]);
        let found = remote("m", &linked).unwrap();
        assert_eq!((found.hashed, found.size, found.etag), (true, Some(7), sha));
        let weak = remote("m", &headers(&[("etag", "W/\"abc\""), ("content-length", "9")])).unwrap();
        assert_eq!((weak.etag.as_str(), weak.strong, weak.size, weak.hashed), ("abc", None, Some(9), false));
        let odd = remote("m", &headers(&[("etag", "\"../../x\"")])).unwrap();
        assert!(odd.etag.starts_with("tag-") && odd.etag.len() == 44 && !odd.hashed, "{odd:?}");
        assert_eq!(odd.strong.as_deref(), Some("\"../../x\""));
        assert!(remote("m", &headers(&[("etag", "\"\"")])).is_err());
        assert!(remote("m", &headers(&[])).is_err());
    }
}
