//! What hostile input is handed to.

use std::io::Write;

use anyhow::Result;
use megalith_link::{LinkInputs, Megabinary, Object};
use megalith_manifest::{AotIndex, Manifest};
use sha2::{Digest, Sha256};

use crate::mutate::{Random, damage};

/// A reader of files from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Target {
    /// An ELF program: recompiled; what comes of it is linked and must validate.
    Elf,
    /// A module: as megabinary, as object and as WASI module of an image.
    Wasm,
    /// A manifest, and an index of AOT code.
    Manifest,
    /// A docker-archive: damaged as a whole, or in a layer whose digest is then made right again.
    Image,
}

/// Damages `good` as `seed` and `round` say. For an image `good` is a layer's tar.
pub fn prepare(target: Target, good: &[u8], seed: u64, round: u64) -> Vec<u8> {
    let mut random = Random::new(seed, round);
    let mut bytes = good.to_vec();
    if target != Target::Image {
        damage(&mut bytes, &mut random);
        return bytes;
    }
    let whole = random.below(4) == 0;
    if !whole {
        damage(&mut bytes, &mut random);
        // A header whose checksum is wrong ends the reading: most of the time it is made right.
        if random.below(4) != 0 {
            repair_checksums(&mut bytes);
        }
    }
    let mut archive = docker_archive(&bytes).unwrap_or_default();
    if whole {
        damage(&mut archive, &mut random);
        repair_checksums(&mut archive);
    }
    archive
}

/// Reads `bytes`. Whether they are accepted is all that comes back; what matters is that it comes back.
///
/// # Errors
/// Something that was accepted turns out wrong (a module that does not validate, for one).
pub fn run(target: Target, bytes: &[u8]) -> Result<bool> {
    match target {
        Target::Elf => match megalith_recompile::recompile(bytes) {
            Ok(object) => {
                let mut inputs = LinkInputs::default();
                inputs.objects.push(Object { hash: [7; 32], entry_point: "hostile_start", wasm: &object.wasm });
                let linked = megalith_link::link(&inputs)?;
                megalith_link::validate(&linked.wasm)?;
                Ok(true)
            }
            Err(_) => Ok(false),
        },
        Target::Wasm => {
            let wasi = megalith_link::check_wasi("hostile", bytes).is_ok();
            let mut inputs = LinkInputs::default();
            inputs.objects.push(Object { hash: [7; 32], entry_point: "hostile_start", wasm: bytes });
            if let Ok(linked) = megalith_link::link(&inputs) {
                megalith_link::validate(&linked.wasm)?;
            }
            let Ok(mega) = Megabinary::parse(bytes) else { return Ok(wasi) };
            for object in &mega.units().objects {
                // Errors are for damaged modules; the engine checks again what it is given.
                let _ = mega.project(&object.hash);
                let _ = mega.file_meta(&object.hash);
            }
            Ok(true)
        }
        Target::Manifest => Ok(Manifest::from_json(bytes).is_ok() | AotIndex::from_json(bytes).is_ok()),
        Target::Image => {
            let mut file = tempfile::NamedTempFile::new()?;
            file.write_all(bytes)?;
            Ok(megalith_image::open_with(file.path(), &megalith_image::Options::default()).is_ok())
        }
    }
}

/// A docker-archive of one layer.
fn docker_archive(layer: &[u8]) -> Result<Vec<u8>> {
    let hex: String = Sha256::digest(layer).iter().map(|b| format!("{b:02x}")).collect();
    let config = format!(
        r#"{{"architecture":"amd64","os":"linux","config":{{"Cmd":["/x"]}},"rootfs":{{"type":"layers","diff_ids":["sha256:{hex}"]}}}}"#
    );
    let mut builder = tar::Builder::new(Vec::new());
    let manifest: &[u8] = br#"[{"Config":"config.json","RepoTags":["h:1"],"Layers":["layer.tar"]}]"#;
    for (name, bytes) in [("manifest.json", manifest), ("config.json", config.as_bytes()), ("layer.tar", layer)] {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, name, bytes)?;
    }
    Ok(builder.into_inner()?)
}

/// Makes the checksum of every 512-byte block that looks like a tar header right.
fn repair_checksums(tar: &mut [u8]) {
    for block in tar.chunks_exact_mut(512) {
        if block.get(257..262) != Some(b"ustar") {
            continue;
        }
        if let Some(field) = block.get_mut(148..156) {
            field.fill(b' ');
        }
        let sum: u32 = block.iter().map(|b| u32::from(*b)).sum();
        if let Some(field) = block.get_mut(148..156) {
            field.copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        }
    }
}
