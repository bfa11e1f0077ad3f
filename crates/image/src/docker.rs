//! docker-archive: what `docker save` writes.

use crate::config::{self, Parsed};
use crate::source::Source;
use crate::{Error, Options};
use serde::Deserialize;

const MAX_JSON: u64 = 16 << 20;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    config: String,
    repo_tags: Option<Vec<String>>,
    layers: Option<Vec<String>>,
}

/// The config and the names of the layers of the image to read: that of `options.reference`, or the only one.
pub(crate) fn choose(source: &Source, options: &Options) -> Result<(Parsed, Vec<String>), Error> {
    let failed = |e: Error| e.of("'manifest.json'");
    let bytes = source.read("manifest.json", MAX_JSON)?;
    let mut entries: Vec<Entry> = serde_json::from_slice(&bytes).map_err(|e| failed(Error::new(e)))?;
    let tags = |e: &Entry| e.repo_tags.clone().unwrap_or_default();
    if let Some(reference) = &options.reference {
        entries.retain(|e| {
            tags(e).iter().any(|t| t == reference || t.rsplit_once(':').is_some_and(|(_, t)| t == reference))
        });
    }
    let names: Vec<String> = entries.iter().take(8).flat_map(tags).collect();
    let count = entries.len();
    let entry = match (entries.pop(), count) {
        (Some(entry), 1) => entry,
        (None, _) => return Err(failed(Error::new("it names no such image"))),
        _ => {
            return Err(failed(Error::new(format_args!(
                "it names {count} images, name one of them: {}",
                names.join(", ")
            ))));
        }
    };
    let bytes = source.read(&entry.config, MAX_JSON)?;
    let parsed = config::parse(&bytes).map_err(|e| e.of(format_args!("image config '{}'", entry.config)))?;
    // The config is called by its digest, as `<hex>.json` or `blobs/sha256/<hex>`.
    let name = entry.config.rsplit('/').next().unwrap_or_default();
    let name = name.strip_suffix(".json").unwrap_or(name);
    let is_digest = name.len() == 64 && name.bytes().all(|b| b.is_ascii_hexdigit());
    if is_digest && name != parsed.digest.hex() {
        return Err(Error::new(format_args!("image config '{}': its content does not have its digest", entry.config)));
    }
    if let Some(platform) = &parsed.platform
        && platform != "linux/amd64"
    {
        return Err(Error::new(format_args!("the image is for {platform}, not for linux/amd64")));
    }
    Ok((parsed, entry.layers.unwrap_or_default()))
}
