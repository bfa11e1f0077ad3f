//! The image config's JSON (OCI image specification, `config.md`; docker's is a superset).

use crate::stream::ContentDigest;
use crate::{Error, ImageConfig};
use megalith_manifest::FileHash;
use serde::Deserialize;
use std::collections::BTreeMap;

#[derive(Deserialize)]
struct Json {
    architecture: Option<String>,
    os: Option<String>,
    config: Option<Execution>,
    rootfs: Option<Layers>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "PascalCase")]
struct Execution {
    user: Option<String>,
    env: Option<Vec<String>>,
    entrypoint: Option<Vec<String>>,
    cmd: Option<Vec<String>>,
    working_dir: Option<String>,
    labels: Option<BTreeMap<String, String>>,
    stop_signal: Option<String>,
}

#[derive(Deserialize)]
struct Layers {
    diff_ids: Option<Vec<String>>,
}

/// A config that has been parsed.
pub(crate) struct Parsed {
    pub config: ImageConfig,
    /// SHA-256 of the config's bytes.
    pub digest: FileHash,
    /// `OS/ARCHITECTURE`, where the config names them.
    pub platform: Option<String>,
    /// Digests of the unpacked layers, where the config lists them.
    pub diff_ids: Option<Vec<ContentDigest>>,
}

pub(crate) fn parse(bytes: &[u8]) -> Result<Parsed, Error> {
    let json: Json = serde_json::from_slice(bytes).map_err(Error::new)?;
    let digest = FileHash::of(bytes);
    let run = json.config.unwrap_or_default();
    let diff_ids = json.rootfs.and_then(|r| r.diff_ids);
    Ok(Parsed {
        config: ImageConfig {
            entrypoint: run.entrypoint.unwrap_or_default(),
            cmd: run.cmd.unwrap_or_default(),
            env: run.env.unwrap_or_default(),
            working_dir: run.working_dir.unwrap_or_default(),
            user: run.user.unwrap_or_default(),
            stop_signal: run.stop_signal,
            labels: run.labels.unwrap_or_default(),
            digest: Some(digest),
        },
        digest,
        platform: json.os.zip(json.architecture).map(|(os, arch)| format!("{os}/{arch}")),
        diff_ids: diff_ids.map(|ids| ids.iter().map(|id| id.parse()).collect()).transpose()?,
    })
}
