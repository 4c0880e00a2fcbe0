//! Models from the Hugging Face hub, in the cache that its Python tools use too, and to it.
//!
//! The client is our own, on `ureq` and `rustls`: hf-hub 1.0 would more than double the tree of
//! dependencies (and needs cmake), and hf-hub 0.5 starts a broken download again from its beginning.
//! Without the feature `hub` only the cache is here, and the program cannot open a connection.

#[cfg(feature = "hub")]
mod address;
pub mod cache;
#[cfg(feature = "hub")]
pub mod client;
#[cfg(feature = "hub")]
pub mod fetch;
#[cfg(feature = "hub")]
mod post;
#[cfg(feature = "hub")]
pub mod transfer;
#[cfg(feature = "hub")]
pub mod upload;

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use anyhow::{Context, Error, Result, bail, ensure};

/// Name of a model on the hub: `owner/name`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RepoId {
    /// Person or organisation.
    pub owner: String,
    /// Its model.
    pub name: String,
}

impl FromStr for RepoId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let part = |part: &str| {
            let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
            let odd_end = part.starts_with(['.', '-']) || part.ends_with(['.', '-']);
            (1..=96).contains(&part.len()) && part.chars().all(plain) && !odd_end && !part.contains("..")
        };
        match text.split_once('/') {
            Some((owner, name)) if part(owner) && part(name) => Ok(Self { owner: owner.into(), name: name.into() }),
            _ => bail!("`{text}` is not a name on the hub: those look like `owner/name`"),
        }
    }
}

impl fmt::Display for RepoId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.owner, self.name)
    }
}

/// Where the hub and its cache are. No `Debug`: a token has no place in a log.
pub struct Settings {
    /// Address of the hub, without a slash at its end.
    pub endpoint: String,
    /// Folder of the shared cache.
    pub cache: PathBuf,
    /// Secret that opens gated and private models.
    pub token: Option<String>,
    /// Never use the network.
    pub offline: bool,
}

impl Settings {
    /// From the variables that the hub's Python tools know: `HF_ENDPOINT`, `HF_HOME`,
    /// `HF_HUB_CACHE`, `HF_TOKEN` (or the file that `hf auth login` writes), `HF_HUB_OFFLINE`.
    pub fn from_env() -> Result<Self> {
        Self::from_vars(|name| std::env::var(name).ok())
    }

    fn from_vars(var: impl Fn(&str) -> Option<String>) -> Result<Self> {
        let set = |name: &str| var(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty());
        let user_home = set("HOME").or_else(|| set("USERPROFILE")).map(PathBuf::from);
        let path = |name: &str| {
            let value = set(name)?;
            Some(match (value.strip_prefix("~/"), &user_home) {
                (Some(rest), Some(home)) => home.join(rest),
                _ => PathBuf::from(value),
            })
        };
        let hub_home = path("HF_HOME")
            .or_else(|| Some(path("XDG_CACHE_HOME")?.join("huggingface")))
            .or_else(|| Some(user_home.as_ref()?.join(".cache/huggingface")));
        let cache = path("HF_HUB_CACHE").or_else(|| path("HUGGINGFACE_HUB_CACHE"));
        let cache = cache
            .or_else(|| Some(hub_home.as_ref()?.join("hub")))
            .context("no folder for the cache of models: set HF_HOME, or HOME")?;
        let endpoint = set("HF_ENDPOINT").unwrap_or_else(|| "https://huggingface.co".into());
        let known = endpoint.starts_with("https://") || endpoint.starts_with("http://");
        ensure!(known, "HF_ENDPOINT is `{endpoint}`; it must start with https:// or http://");
        let token_file = path("HF_TOKEN_PATH").or_else(|| Some(hub_home?.join("token")));
        let token = set("HF_TOKEN").or_else(|| set("HUGGING_FACE_HUB_TOKEN")).or_else(|| {
            let text = std::fs::read_to_string(token_file?).ok()?;
            Some(text.trim().to_owned()).filter(|token| !token.is_empty())
        });
        let yes = |value: String| matches!(value.to_lowercase().as_str(), "1" | "true" | "yes" | "on");
        let offline = set("HF_HUB_OFFLINE").is_some_and(yes);
        Ok(Self { endpoint: endpoint.trim_end_matches('/').to_owned(), cache, token, offline })
    }
}

/// Refuses a name from the server that would reach outside the folder it belongs in.
pub fn check_name(name: &str) -> Result<()> {
    let what = if name.is_empty() {
        "it is empty"
    } else if name.len() > 512 {
        "it is too long"
    } else if name.contains(char::is_control) {
        "it holds control characters"
    } else if name.starts_with('/') || name.contains(['\\', ':']) {
        "it is not a plain relative path"
    } else if name.split('/').any(|part| matches!(part, "" | "." | "..")) {
        "it steps out of its folder"
    } else {
        return Ok(());
    };
    bail!("refusing the file name {name:?}: {what}")
}

/// True for the files that a model needs. They lie side by side: what is in folders belongs to other
/// tools, and so do `consolidated*` weights, which repeat the others.
pub fn wanted(name: &str) -> bool {
    let weights = name.ends_with(".safetensors") && !name.starts_with("consolidated");
    let rest = name.starts_with("tokenizer") || matches!(name, "README.md" | "LICENSE");
    !name.contains('/') && (weights || rest || name.ends_with(".json") || name.ends_with(".jinja"))
}

#[cfg(test)]
mod tests {
    use std::path::{Component, Path};

    use proptest::prelude::*;

    use super::*;

    fn settings(vars: &[(&str, &str)]) -> Settings {
        let var = |name: &str| vars.iter().find(|(n, _)| *n == name).map(|(_, value)| value.to_string());
        Settings::from_vars(var).unwrap()
    }

    #[test]
    fn variables_have_the_precedence_that_python_gives_them() {
        let plain = settings(&[("HOME", "/h")]);
        assert_eq!(plain.cache, PathBuf::from("/h/.cache/huggingface/hub"));
        assert_eq!(plain.endpoint, "https://huggingface.co");
        assert!(plain.token.is_none() && !plain.offline);
        let xdg = settings(&[("HOME", "/h"), ("XDG_CACHE_HOME", "/x")]);
        assert_eq!(xdg.cache, PathBuf::from("/x/huggingface/hub"));
        let home = [("HOME", "/h"), ("XDG_CACHE_HOME", "/x"), ("HF_HOME", "~/hf")];
        assert_eq!(settings(&home).cache, PathBuf::from("/h/hf/hub"));
        let all = [("HF_HOME", "/hf"), ("HF_HUB_CACHE", "/c"), ("HF_TOKEN", " t\n"), ("HF_ENDPOINT", "http://m/")];
        let all = settings(&all);
        assert_eq!((all.cache, all.token), (PathBuf::from("/c"), Some("t".into())));
        assert_eq!(all.endpoint, "http://m");
        assert!(settings(&[("HOME", "/h"), ("HF_HUB_OFFLINE", "1")]).offline);
    }

    #[test]
    fn the_token_file_is_read() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("token"), "secret\n").unwrap();
        let found = settings(&[("HF_HOME", dir.path().to_str().unwrap())]);
        assert_eq!(found.token.as_deref(), Some("secret"));
    }

    #[test]
    fn repository_names() {
        for good in ["a/b", "Qwen/Qwen3-0.6B", "some_one/x.y"] {
            assert_eq!(good.parse::<RepoId>().unwrap().to_string(), good);
        }
        for bad in ["", "a", "a/", "/b", "a/b/c", "../b", "a/..", "a/b\u{1b}", "a b/c", ".a/b", "./model"] {
            assert!(bad.parse::<RepoId>().is_err(), "{bad}");
        }
    }

    #[test]
    fn hostile_names_are_refused_and_plain_ones_are_not() {
        for bad in ["", "..", "../a.json", "/a.json", "a/../../b", "a//b", "C:a", "a\\b", "a\nb", "./a", "\u{1b}[2J"] {
            assert!(check_name(bad).is_err(), "{bad:?}");
        }
        for good in ["config.json", "model-00001-of-00002.safetensors", "sub/folder/x.json", "..x", "漢字.json"] {
            check_name(good).unwrap();
        }
    }

    #[test]
    fn only_what_a_model_needs_is_fetched() {
        for yes in ["model.safetensors", "config.json", "tokenizer.model", "chat_template.jinja", "README.md"] {
            assert!(wanted(yes), "{yes}");
        }
        for no in ["pytorch_model.bin", "onnx/config.json", "consolidated.safetensors", ".gitattributes", "x.gguf"] {
            assert!(!wanted(no), "{no}");
        }
    }

    proptest! {
        #[test]
        fn an_accepted_model_stays_in_the_cache(name in "[ab./_\\-\\\\:~\\x00-\\x20é]{0,10}") {
            if let Ok(repo) = name.parse::<RepoId>() {
                prop_assert_eq!(repo.to_string(), name.clone());
                let plain = |part: &str| Path::new(part).components().all(|c| matches!(c, Component::Normal(_)));
                prop_assert!(plain(&repo.owner) && plain(&repo.name) && name.matches('/').count() == 1);
            }
        }

        #[test]
        fn an_accepted_name_stays_in_its_folder(name in "[a./\\\\:\\x00-\\x20]{0,12}") {
            if check_name(&name).is_ok() {
                let inside = Path::new(&name).components();
                let all_plain = inside.clone().all(|part| matches!(part, Component::Normal(_)));
                prop_assert!(all_plain && inside.count() > 0);
            }
        }
    }
}
