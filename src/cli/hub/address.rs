//! Addresses on the web: taken apart, joined, quoted.

use anyhow::{Context, Result, bail};
use ureq::http::Uri;

/// Scheme, host and port: what a token may be sent to.
pub(super) fn origin(url: &str) -> Result<(String, String, u16)> {
    let uri: Uri = url.parse().with_context(|| format!("`{url}` is no address"))?;
    let scheme = uri.scheme_str().unwrap_or_default().to_lowercase();
    let port = match scheme.as_str() {
        "https" => 443,
        "http" => 80,
        _ => bail!("`{url}` is neither http nor https"),
    };
    let host = uri.host().with_context(|| format!("`{url}` names no host"))?.to_lowercase();
    Ok((scheme, host, uri.port_u16().unwrap_or(port)))
}

/// Where a redirect leads, seen from the page that gave it.
pub(super) fn joined(base: &str, next: &str) -> Result<String> {
    if next.contains("://") {
        return Ok(next.to_owned());
    }
    let (scheme, rest) = base.split_once("://").with_context(|| format!("`{base}` is no address"))?;
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    if next.starts_with("//") {
        return Ok(format!("{scheme}:{next}"));
    }
    if next.starts_with('/') {
        return Ok(format!("{scheme}://{host}{next}"));
    }
    let folder = path.split('?').next().and_then(|path| path.rsplit_once('/')).map_or("", |(folder, _)| folder);
    let slash = if folder.is_empty() { "" } else { "/" };
    Ok(format!("{scheme}://{host}/{folder}{slash}{next}"))
}

/// Percent-encodes what may not stand in an address as it is.
pub(super) fn quoted(text: &str, keep_slashes: bool) -> String {
    let mut quoted = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => quoted.push(char::from(byte)),
            b'/' if keep_slashes => quoted.push('/'),
            _ => quoted.push_str(&format!("%{byte:02X}")),
        }
    }
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_differ_by_scheme_host_and_port() {
        assert_eq!(origin("https://Hub.co/x").unwrap(), origin("https://hub.co:443/y").unwrap());
        for other in ["http://hub.co/x", "https://hub.co:8443", "https://hub.co.evil.org", "https://hub.co@evil.org"] {
            assert_ne!(origin("https://hub.co").unwrap(), origin(other).unwrap(), "{other}");
        }
        assert!(origin("file:///etc/passwd").is_err());
    }

    #[test]
    fn redirects_are_joined() {
        let base = "https://hub.co/a/b?c";
        for (next, want) in [
            ("https://cdn.co/x", "https://cdn.co/x"),
            ("//cdn.co/x", "https://cdn.co/x"),
            ("/x?y", "https://hub.co/x?y"),
            ("x", "https://hub.co/a/x"),
        ] {
            assert_eq!(joined(base, next).unwrap(), want);
        }
        assert_eq!(joined("http://h", "x").unwrap(), "http://h/x");
    }

    #[test]
    fn names_are_quoted() {
        assert_eq!(quoted("refs/pr/1", false), "refs%2Fpr%2F1");
        assert_eq!(quoted("a b/é?#.json", true), "a%20b/%C3%A9%3F%23.json");
    }
}
