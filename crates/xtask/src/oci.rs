//! Writes an OCI image layout (OCI image specification 1.1) with one gzip layer from a root directory. Deterministic.

use std::collections::HashMap;
use std::fs;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::Result;
use flate2::{Compression, write::GzEncoder};
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::{corpus, sh};

/// What the image says about how to start it.
pub struct Config {
    /// `K=V` each.
    pub environment: Vec<String>,
    /// Command when none is given.
    pub command: Vec<String>,
}

/// Writes the layout of `root` to the new directory `to`.
///
/// # Errors
/// Reading `root` or writing `to` fails.
pub fn write_layout(root: &Path, to: &Path, config: &Config) -> Result<()> {
    let blobs = to.join("blobs/sha256");
    fs::create_dir_all(&blobs)?;
    let tar = archive(root)?;
    let diff_id = digest(&tar);
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    gzip.write_all(&tar)?;
    let put = |bytes: &[u8], media_type: &str| -> Result<serde_json::Value> {
        let digest = digest(bytes);
        fs::write(blobs.join(&digest), bytes)?;
        Ok(json!({"mediaType": media_type, "digest": format!("sha256:{digest}"), "size": bytes.len()}))
    };
    let layer = put(&gzip.finish()?, "application/vnd.oci.image.layer.v1.tar+gzip")?;
    let image = json!({
        "architecture": "amd64", "os": "linux",
        "config": {"Env": config.environment, "Cmd": config.command},
        "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{diff_id}")]},
    });
    let image = put(&serde_json::to_vec(&image)?, "application/vnd.oci.image.config.v1+json")?;
    let manifest_type = "application/vnd.oci.image.manifest.v1+json";
    let manifest = json!({"schemaVersion": 2, "mediaType": manifest_type, "config": image, "layers": [layer]});
    let manifest = put(&serde_json::to_vec(&manifest)?, manifest_type)?;
    fs::write(to.join("index.json"), serde_json::to_vec(&json!({"schemaVersion": 2, "manifests": [manifest]}))?)?;
    fs::write(to.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#)?;
    Ok(())
}

/// A tar archive of `root`: sorted, owner root, one modification time, hard links as such.
fn archive(root: &Path) -> Result<Vec<u8>> {
    let mut builder = tar::Builder::new(Vec::new());
    let mut seen: HashMap<(u64, u64), PathBuf> = HashMap::new();
    let mut todo = vec![PathBuf::new()];
    // Depth first, in byte order: a directory comes before what lies in it.
    while let Some(relative) = todo.pop() {
        let path = root.join(&relative);
        let meta = fs::symlink_metadata(&path)?;
        if meta.is_dir() {
            let mut names: Vec<_> = fs::read_dir(&path)?.map(|e| Ok(e?.file_name())).collect::<Result<_>>()?;
            names.sort_by(|a, b| b.cmp(a));
            todo.extend(names.into_iter().map(|n| relative.join(n)));
            if relative.as_os_str().is_empty() {
                continue;
            }
        }
        let mut header = tar::Header::new_gnu();
        header.set_mode(meta.mode() & 0o7777);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(corpus::MTIME);
        header.set_size(0);
        if meta.is_dir() {
            header.set_entry_type(tar::EntryType::Directory);
            builder.append_data(&mut header, &relative, std::io::empty())?;
        } else if meta.is_symlink() {
            header.set_entry_type(tar::EntryType::Symlink);
            builder.append_link(&mut header, &relative, fs::read_link(&path)?)?;
        } else if let Some(first) = seen.get(&(meta.dev(), meta.ino())) {
            header.set_entry_type(tar::EntryType::Link);
            builder.append_link(&mut header, &relative, first)?;
        } else {
            if meta.nlink() > 1 {
                seen.insert((meta.dev(), meta.ino()), relative.clone());
            }
            header.set_entry_type(tar::EntryType::Regular);
            header.set_size(meta.len());
            builder.append_data(&mut header, &relative, fs::File::open(&path)?)?;
        }
    }
    Ok(builder.into_inner()?)
}

fn digest(bytes: &[u8]) -> String {
    sh::hex(&Sha256::digest(bytes))
}
