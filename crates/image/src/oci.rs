//! OCI image layouts: from `index.json` to the one image to read.

use crate::config::{self, Parsed};
use crate::source::Source;
use crate::stream::{ContentDigest, Hashing};
use crate::{Error, Options};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};

/// Largest index, manifest or config. Registries take 4 MiB.
const MAX_JSON: u64 = 16 << 20;
/// Indices in indices.
const MAX_DEPTH: usize = 8;
/// Descriptors in all indices together.
const MAX_DESCRIPTORS: usize = 10_000;

const PLATFORM: &str = "linux/amd64";
const REF_NAME: &str = "org.opencontainers.image.ref.name";
const CONTAINERD_NAME: &str = "io.containerd.image.name";

#[derive(Deserialize, Clone)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    media_type: Option<String>,
    digest: String,
    size: u64,
    platform: Option<Platform>,
    annotations: Option<BTreeMap<String, String>>,
}

#[derive(Deserialize, Clone)]
struct Platform {
    os: String,
    architecture: String,
    variant: Option<String>,
}

/// An index or a manifest: which it is shows by what it has.
#[derive(Deserialize)]
struct Document {
    manifests: Option<Vec<Descriptor>>,
    config: Option<Descriptor>,
    layers: Option<Vec<Descriptor>>,
}

/// A blob that was asked for: where it is and what it must be.
#[derive(Clone)]
pub(crate) struct Blob {
    pub digest: ContentDigest,
    pub size: u64,
}

/// An image's manifest and config.
pub(crate) struct Chosen {
    pub config: Parsed,
    pub layers: Vec<Blob>,
}

/// An image that an index lists.
struct Candidate {
    blob: Blob,
    name: Option<String>,
    platform: Option<Platform>,
}

/// What has been found on the walk through the indices.
#[derive(Default)]
struct Walk {
    candidates: Vec<Candidate>,
    /// Platforms and media types of what is nothing for us.
    others: BTreeSet<String>,
    /// The indices that we are in.
    within: Vec<ContentDigest>,
    descriptors: usize,
}

impl Descriptor {
    fn blob(&self) -> Result<Blob, Error> {
        Ok(Blob { digest: self.digest.parse()?, size: self.size })
    }
}

/// Reads a blob and checks size and digest.
fn read_blob(source: &Source, blob: &Blob) -> Result<Vec<u8>, Error> {
    check_size(source, blob)?;
    let bytes = source.read(&blob.digest.blob_path(), MAX_JSON)?;
    let mut hasher = blob.digest.hasher();
    hasher.update(&bytes);
    if hasher.finish() != blob.digest {
        return Err(Error::new("its content does not have its digest").of(format_args!("blob {}", blob.digest)));
    }
    Ok(bytes)
}

fn check_size(source: &Source, blob: &Blob) -> Result<(), Error> {
    let (_, size) = source.open(&blob.digest.blob_path())?;
    if size != blob.size {
        let why = format!("it has {size} bytes, its descriptor says {}", blob.size);
        return Err(Error::new(why).of(format_args!("blob {}", blob.digest)));
    }
    Ok(())
}

/// Reads a blob through and checks size and digest.
pub(crate) fn check_blob(source: &Source, blob: &Blob) -> Result<(), Error> {
    check_size(source, blob)?;
    let (content, _) = source.open(&blob.digest.blob_path())?;
    let failed = |e: Error| e.of(format_args!("blob {}", blob.digest));
    let found = Hashing::new(content, blob.digest.hasher()).finish().map_err(|e| failed(e.into()))?;
    if found == blob.digest { Ok(()) } else { Err(failed(Error::new("its content does not have its digest"))) }
}

fn parse<'a, T: Deserialize<'a>>(bytes: &'a [u8], what: impl std::fmt::Display) -> Result<T, Error> {
    serde_json::from_slice(bytes).map_err(|e| Error::new(e).of(what))
}

/// Chooses the image to read: that of `options.reference`, or the only one, for linux/amd64.
pub(crate) fn choose(source: &Source, options: &Options) -> Result<Chosen, Error> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Layout {
        image_layout_version: String,
    }
    if source.has("oci-layout") {
        let layout: Layout = parse(&source.read("oci-layout", MAX_JSON)?, "'oci-layout'")?;
        if !layout.image_layout_version.starts_with("1.") {
            return Err(Error::new("'oci-layout': its version is not 1.x"));
        }
    }
    let index: Document = parse(&source.read("index.json", MAX_JSON)?, "'index.json'")?;
    let Some(manifests) = index.manifests else { return Err(Error::new("'index.json': it has no 'manifests'")) };
    let mut walk = Walk::default();
    walk.index(source, &manifests, None).map_err(|e| e.of("'index.json'"))?;
    walk.pick(source, options)
}

impl Walk {
    /// Collects the images of an index; `name` is what an outer index calls all of it.
    fn index(&mut self, source: &Source, manifests: &[Descriptor], name: Option<&str>) -> Result<(), Error> {
        for descriptor in manifests {
            self.descriptors += 1;
            if self.descriptors > MAX_DESCRIPTORS {
                return Err(Error::new(format_args!("more than {MAX_DESCRIPTORS} images in all indices")));
            }
            let blob = descriptor.blob()?;
            let annotation = |key| descriptor.annotations.as_ref().and_then(|a| a.get(key)).map(String::as_str);
            let name = annotation(CONTAINERD_NAME).or_else(|| annotation(REF_NAME)).or(name);
            match descriptor.media_type.as_deref() {
                Some(
                    "application/vnd.oci.image.index.v1+json"
                    | "application/vnd.docker.distribution.manifest.list.v2+json",
                ) => self.nested(source, &blob, name)?,
                Some(
                    "application/vnd.oci.image.manifest.v1+json"
                    | "application/vnd.docker.distribution.manifest.v2+json",
                ) => self.candidate(blob, name, descriptor.platform.clone()),
                // The specification wants a media type; without one the content shows what it is.
                None | Some("") => {
                    let document: Document = parse(&read_blob(source, &blob)?, format_args!("blob {}", blob.digest))?;
                    match document.manifests {
                        Some(_) => self.nested(source, &blob, name)?,
                        None => self.candidate(blob, name, descriptor.platform.clone()),
                    }
                }
                Some(other) => {
                    self.others.insert(other.chars().take(100).collect());
                }
            }
        }
        Ok(())
    }

    fn nested(&mut self, source: &Source, blob: &Blob, name: Option<&str>) -> Result<(), Error> {
        let failed = |why: String| Err(Error::new(why).of(format_args!("index {}", blob.digest)));
        if self.within.contains(&blob.digest) {
            return failed("it contains itself".to_string());
        }
        if self.within.len() >= MAX_DEPTH {
            return failed(format!("more than {MAX_DEPTH} indices inside one another"));
        }
        let document: Document = parse(&read_blob(source, blob)?, format_args!("index {}", blob.digest))?;
        let Some(manifests) = document.manifests else { return failed("it has no 'manifests'".to_string()) };
        self.within.push(blob.digest.clone());
        self.index(source, &manifests, name)?;
        self.within.pop();
        Ok(())
    }

    fn candidate(&mut self, blob: Blob, name: Option<&str>, platform: Option<Platform>) {
        if let Some(p) = &platform
            && (&*p.os, &*p.architecture) != ("linux", "amd64")
        {
            let other = format!("{}/{}", p.os, p.architecture);
            self.others.insert(other.chars().take(100).collect());
            return;
        }
        self.candidates.push(Candidate { blob, name: name.map(str::to_string), platform });
    }

    fn pick(mut self, source: &Source, options: &Options) -> Result<Chosen, Error> {
        if let Some(reference) = &options.reference {
            self.candidates.retain(|c| {
                let tag = c.name.as_ref().and_then(|n| n.rsplit_once(':')).map(|(_, tag)| tag);
                c.name.as_ref() == Some(reference) || tag == Some(reference) || c.blob.digest.to_string() == *reference
            });
        }
        let mut seen = Vec::new();
        let mut found: Vec<(Candidate, Chosen)> = Vec::new();
        for candidate in self.candidates {
            if seen.contains(&candidate.blob.digest) {
                continue;
            }
            seen.push(candidate.blob.digest.clone());
            let chosen = manifest(source, &candidate.blob)?;
            match &chosen.config.platform {
                Some(platform) if platform != PLATFORM => {
                    self.others.insert(platform.chars().take(100).collect());
                }
                _ => found.push((candidate, chosen)),
            }
        }
        // amd64/v2 and above need more of the CPU than amd64; the plain one runs everywhere.
        let plain = |c: &Candidate| {
            c.platform.as_ref().and_then(|p| p.variant.as_deref()).is_none_or(|v| v.is_empty() || v == "v1")
        };
        if found.iter().any(|(c, _)| plain(c)) {
            found.retain(|(c, _)| plain(c));
        }
        if found.len() > 1 {
            let names: Vec<String> = found
                .iter()
                .take(8)
                .map(|(c, _)| c.name.clone().unwrap_or_else(|| c.blob.digest.to_string()))
                .collect();
            let why = format!("it holds {} images for {PLATFORM}, name one of them: {}", found.len(), names.join(", "));
            return Err(Error::new(why));
        }
        let others: Vec<String> = self.others.into_iter().take(8).collect();
        let others = if others.is_empty() { String::new() } else { format!(", but {}", others.join(", ")) };
        found.pop().map(|(_, chosen)| chosen).ok_or_else(|| match &options.reference {
            Some(name) => Error::new(format_args!("it holds no image '{name}' for {PLATFORM}{others}")),
            None => Error::new(format_args!("it holds no image for {PLATFORM}{others}")),
        })
    }
}

/// Reads a manifest and its config.
fn manifest(source: &Source, blob: &Blob) -> Result<Chosen, Error> {
    let what = format!("manifest {}", blob.digest);
    let document: Document = parse(&read_blob(source, blob)?, &what)?;
    let (Some(config), Some(layers)) = (document.config, document.layers) else {
        return Err(Error::new("it has no 'config' or no 'layers'").of(what));
    };
    let config_blob = config.blob().map_err(|e| e.of(&what))?;
    match config.media_type.as_deref() {
        None | Some("application/vnd.oci.image.config.v1+json" | "application/vnd.docker.container.image.v1+json") => {}
        Some(other) => {
            return Err(Error::new(format_args!("not a container image: its config is of type '{other}'")).of(what));
        }
    }
    let bytes = read_blob(source, &config_blob).map_err(|e| e.of("image config"))?;
    let config = config::parse(&bytes).map_err(|e| e.of(format_args!("image config {}", config_blob.digest)))?;
    let layers: Result<Vec<Blob>, Error> = layers
        .iter()
        .map(|layer| {
            let media_type = layer.media_type.as_deref().unwrap_or_default();
            if !is_layer(media_type) {
                return Err(Error::new(format_args!("a layer of type '{media_type}' is not supported")));
            }
            layer.blob()
        })
        .collect();
    Ok(Chosen { config, layers: layers.map_err(|e| e.of(&what))? })
}

/// Whether a media type is that of a layer that we can read, of OCI or of docker. Compression is seen in the data.
fn is_layer(media_type: &str) -> bool {
    let compressed = |s: &str| matches!(s, "tar" | "tar+gzip" | "tar+zstd" | "tar.gzip" | "tar.zstd");
    media_type.is_empty()
        || [
            "application/vnd.oci.image.layer.v1.",
            "application/vnd.oci.image.layer.nondistributable.v1.",
            "application/vnd.docker.image.rootfs.diff.",
            "application/vnd.docker.image.rootfs.foreign.diff.",
        ]
        .iter()
        .any(|prefix| media_type.strip_prefix(prefix).is_some_and(compressed))
}
