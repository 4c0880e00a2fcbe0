//! Requests that change something at the hub, and what its refusals of them mean.

use std::fmt;
use std::io::Read;
use std::time::Duration;

use anyhow::{Context, anyhow};
use serde::Serialize;
use serde_json::Value;
use ureq::http::{HeaderMap, Response};
use ureq::{Body, SendBody};

use super::address::{joined, origin};
use super::client::{Client, Failure};

/// An answer longer than this is no answer to what we ask.
const LONGEST_ANSWER: u64 = 8 << 20;
/// Of a server's own words, as much as this is repeated.
const LONGEST_WORDS: usize = 400;
const MOST_REDIRECTS: usize = 5;

const JSON: &str = "application/json";

/// The address that was given to send something to has expired: another must be asked for.
#[derive(Debug)]
pub(super) struct Expired;

impl fmt::Display for Expired {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the address to send it to has expired")
    }
}

impl Client<'_> {
    /// Sends JSON, and gives the answer. `what` is what shall be done, in words, as `make the repository a/b`.
    pub(super) fn post_json(&self, url: &str, value: &impl Serialize, what: &str) -> Result<Value, Failure> {
        let body = serde_json::to_vec(value).context("this cannot be written as JSON")?;
        self.post(url, JSON, JSON, &body, what)
    }

    /// Sends bytes to the hub, and gives its answer, which is JSON or nothing. The token goes to the hub alone.
    pub(super) fn post(&self, url: &str, kind: &str, accept: &str, body: &[u8], what: &str) -> Result<Value, Failure> {
        let home = origin(&self.settings.endpoint)?;
        let mut url = url.to_owned();
        for _ in 0..=MOST_REDIRECTS {
            let at_home = origin(&url)? == home;
            let mut request = self.agent.post(&url).header("content-type", kind).header("accept", accept);
            if let (true, Some(token)) = (at_home, &self.settings.token) {
                request = request.header("authorization", format!("Bearer {token}"));
            }
            let mut response =
                request.send(body).map_err(|error| self.broken(&format!("the wish to {what}"), error))?;
            self.reached.set(true);
            // A repository that was renamed: the same is sent to where it is now, if that is the hub too.
            if matches!(response.status().as_u16(), 301 | 302 | 307 | 308) {
                let next = response.headers().get("location").and_then(|value| value.to_str().ok());
                url = joined(&url, next.with_context(|| format!("{url} redirects to nowhere"))?)?;
                if origin(&url)? != home {
                    return Err(anyhow!("the hub wants to {what} at {url}, which is not the hub").into());
                }
                continue;
            }
            let text = text_of(&mut response);
            refusal(&response, text.as_deref().unwrap_or_default(), what, &self.settings.endpoint)?;
            let text = text.map_err(|error| self.broken(&format!("the wish to {what}"), error))?;
            if text.trim().is_empty() {
                return Ok(Value::Null);
            }
            return Ok(serde_json::from_str(&text)
                .with_context(|| format!("the hub's answer to the wish to {what} is not JSON"))?);
        }
        Err(anyhow!("too many redirects on the way to {what}").into())
    }

    /// Asks for JSON; whether it is there is all that some want to know.
    pub(super) fn get_json(&self, url: &str, what: &str) -> Result<Value, Failure> {
        let (_, mut response) = self.send("GET", url, &[], what)?;
        let text = text_of(&mut response).map_err(|error| self.broken(what, error))?;
        Ok(serde_json::from_str(&text).with_context(|| format!("{url} gave no JSON"))?)
    }

    /// Sends so many bytes to where the hub wants them stored. No token goes there: the address is the permission.
    pub(super) fn put(
        &self,
        url: &str,
        headers: &[(String, String)],
        body: &mut dyn Read,
        length: u64,
        what: &str,
    ) -> Result<HeaderMap, Failure> {
        origin(url)?;
        let mut body = body;
        let mut request = self.agent.put(url).header("content-length", length.to_string());
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let sent = request.send(SendBody::from_reader(&mut body));
        let mut response = sent.map_err(|error| self.broken(what, error))?;
        match response.status().as_u16() {
            200..=299 => Ok(response.headers().clone()),
            // What storage says of an address whose time is over.
            400 | 401 | 403 | 410 => {
                let words = text_of(&mut response).map(|text| words(&text)).unwrap_or_default();
                let status = response.status().as_u16();
                let error = anyhow!(Expired).context(format!("the storage refused {what} (status {status}){words}"));
                Err(Failure::Passing(error, None))
            }
            _ => {
                let text = text_of(&mut response).unwrap_or_default();
                refusal(&response, &text, what, &self.settings.endpoint)?;
                Err(anyhow!("the storage gave no answer to {what} that is known").into())
            }
        }
    }
}

fn text_of(response: &mut Response<Body>) -> Result<String, ureq::Error> {
    response.body_mut().with_config().limit(LONGEST_ANSWER).read_to_string()
}

/// A server's own words, shortened, after a colon.
fn words(text: &str) -> String {
    let said = serde_json::from_str::<Value>(text).ok().and_then(|value| {
        let error = value.get("error").or_else(|| value.get("message"))?;
        Some(error.as_str()?.to_owned())
    });
    let plain = Some(text.trim()).filter(|text| !text.is_empty() && !text.starts_with('<')).map(str::to_owned);
    let Some(said) = said.or(plain) else { return String::new() };
    let short: String = said.chars().take(LONGEST_WORDS).collect();
    format!(": {}", short.split_whitespace().collect::<Vec<_>>().join(" "))
}

/// What a status other than success means for who wants to change something.
fn refusal(response: &Response<Body>, text: &str, what: &str, endpoint: &str) -> Result<(), Failure> {
    let status = response.status().as_u16();
    let said = words(text);
    let message = match status {
        200..=299 => return Ok(()),
        401 => format!(
            "the hub does not know the token, and refuses to {what} (status 401{said}); set HF_TOKEN to one that may \
             write, from {endpoint}/settings/tokens"
        ),
        403 => format!(
            "the token may not {what} (status 403{said}); it needs the right to write to what belongs to that owner: \
             see {endpoint}/settings/tokens"
        ),
        404 => format!("the hub has no such place to {what} (status 404{said}): check the name"),
        409 | 412 => format!(
            "the hub could not {what}, since something else changed it meanwhile (status {status}{said}); run the \
             command again: what was sent stays there"
        ),
        413 => format!(
            "what is needed to {what} is more than the hub takes at once (status 413{said}): store the weights in \
             several smaller files, or in 4 bits (`bit-axon quantize`)"
        ),
        408 | 429 | 500..=599 => {
            let asked = response.headers().get("retry-after").and_then(|value| value.to_str().ok());
            let asked = asked.and_then(|text| text.trim().parse().ok()).map(Duration::from_secs);
            return Err(Failure::Passing(anyhow!("the hub could not {what} (status {status}{said})"), asked));
        }
        _ => format!("the hub refuses to {what} (status {status}{said})"),
    };
    Err(Failure::Lasting(Refused { status, message }.into()))
}

/// The hub will not do it.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) status: u16,
    message: String,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Refused {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_servers_words_are_short_and_on_one_line() {
        assert_eq!(words(r#"{"error": "no\n  way"}"#), ": no way");
        assert_eq!(words("plain\ttext\n"), ": plain text");
        assert_eq!(words("<html>x</html>"), "");
        assert_eq!(words(" "), "");
        assert!(words(&"x".repeat(10_000)).len() < 500);
    }
}
