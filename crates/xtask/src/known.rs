//! Lists of known failures: each has its reason, and one that passes is to be struck off.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct List {
    #[serde(default)]
    failure: Vec<Failure>,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Failure {
    name: String,
    reason: String,
}

/// Reads a list: name to reason. `path` is relative to the repository.
///
/// # Errors
/// The file cannot be read or is not such a list.
pub fn failures(path: &str) -> Result<BTreeMap<String, String>> {
    let file = crate::paths::root().join(path);
    read(&file).with_context(|| format!("read {}", file.display()))
}

fn read(file: &Path) -> Result<BTreeMap<String, String>> {
    let list: List = toml::from_str(&std::fs::read_to_string(file)?)?;
    Ok(list.failure.into_iter().map(|f| (f.name, f.reason)).collect())
}
