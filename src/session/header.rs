//! The first line of a session file.

use std::fmt;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

/// The version of the format that this program writes.
pub(super) const VERSION: u32 = 1;
/// How every session file begins.
pub(super) const BEGINNING: &str = "{\"bit-axon-session\":";

/// What the first line says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    #[serde(rename = "bit-axon-session")]
    version: u32,
    /// Milliseconds since 1970 at which it began; every line counts from here.
    pub created: u64,
    /// The program that began it.
    #[serde(default)]
    pub program: String,
    /// The session that it is a copy of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forked_from: Option<String>,
}

impl Header {
    /// For a session that begins at this time.
    pub fn new(created: u64) -> Self {
        let program = format!("bit-axon {}", env!("CARGO_PKG_VERSION"));
        Self { version: VERSION, created, program, forked_from: None }
    }

    /// Reads a first line.
    pub(super) fn parse(line: &[u8]) -> Result<Self> {
        #[derive(Deserialize)]
        struct Version {
            #[serde(rename = "bit-axon-session")]
            version: Option<u64>,
        }
        // The version alone at first: a newer header may hold anything else.
        let found = serde_json::from_slice::<Version>(line).ok().and_then(|v| v.version);
        let Some(version) = found else {
            bail!("this is not a session: its first line does not begin with {BEGINNING}1");
        };
        if version > u64::from(VERSION) {
            return Err(NewerVersion(version).into());
        }
        serde_json::from_slice(line).context("line 1, which says what the file is, cannot be read")
    }
}

/// The file was written by a newer program, whose words this one might misread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NewerVersion(u64);

impl fmt::Display for NewerVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let version = self.0;
        write!(f, "this session has format {version}; this program knows formats up to {VERSION}: use a newer bit-axon")
    }
}

impl std::error::Error for NewerVersion {}
