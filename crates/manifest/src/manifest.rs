use crate::error::excerpt;
use crate::{Error, FileHash, GuestPath, json, names};
use serde::de::{DeserializeOwned, Deserializer, IgnoredAny};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// `manifest.json`: which programs a bundle holds, and what belongs to it.
///
/// Keys that this version does not know are refused: they may be restrictions.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest<N = Vec<NotRecompiled>> {
    /// Always [`Manifest::SCHEMA`].
    pub schema: String,
    /// The image's identity: digest of the image config, or of the root file system's tree where there is no config.
    pub container_id: FileHash,
    /// File name of the module, beside the manifest.
    pub megabinary: String,
    /// SHA-256 of the module.
    pub megabinary_hash: FileHash,
    /// Every program, by each of its paths.
    #[serde(deserialize_with = "json::unique_map")]
    pub binaries: BTreeMap<GuestPath, Binary>,
    /// Tools by name: the hash of a program in `binaries`.
    #[serde(default, deserialize_with = "json::unique_map")]
    pub agent_tools: BTreeMap<String, FileHash>,
    /// The path by which a tool is started, perhaps by way of symlinks; it must lead to a file of the tool's hash. Without an entry it is the first
    /// path of that hash.
    #[serde(default, deserialize_with = "json::unique_map")]
    pub agent_tool_paths: BTreeMap<String, GuestPath>,
    /// What the polyfills are, by the hash of the program that each stands in for.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "json::unique_map")]
    pub polyfills: BTreeMap<FileHash, Polyfill>,
    /// How the image wants to be started.
    #[serde(default)]
    pub config: Config,
    /// The container's files.
    pub fs: FileSystem,
    /// What interpreters may read as code.
    #[serde(default)]
    pub scripts: Scripts,
    /// What could not be recompiled: whole files, and places in files.
    #[serde(default)]
    pub not_recompiled: N,
}

/// What a manifest's `not_recompiled` is read into.
pub trait Omissions: Default + DeserializeOwned {
    /// Checks the list.
    fn check(&self) -> Result<(), Error>;
}

/// Takes the place of the list where nobody wants to know it: it is only seen to be JSON. It is most of a manifest.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Skipped;

impl<'de> Deserialize<'de> for Skipped {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Skipped, D::Error> {
        IgnoredAny::deserialize(deserializer).map(|_| Skipped)
    }
}

impl Omissions for Skipped {
    fn check(&self) -> Result<(), Error> {
        Ok(())
    }
}

impl Omissions for Vec<NotRecompiled> {
    fn check(&self) -> Result<(), Error> {
        for NotRecompiled { path, bytes, .. } in self {
            if bytes.as_ref().is_some_and(|b| !b.bytes().all(|b| b.is_ascii_hexdigit())) {
                return Err(Error::new(format_args!("not_recompiled: '{path}': bytes are not hexadecimal digits")));
            }
        }
        Ok(())
    }
}

/// One program at one path.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Binary {
    /// SHA-256 of the file's bytes.
    pub hash: FileHash,
    /// The module's export that starts it ([`crate::entry_points`]).
    pub entry_point: String,
    /// What it is.
    pub kind: Kind,
    /// The file's size in bytes. A file of a size that no entry has is refused unread.
    pub size: u64,
}

/// What a program is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A recompiled ELF file.
    Elf,
    /// A WASI module that the image brought.
    Wasi,
    /// A program that an interpreter of ours stands in for.
    Polyfill,
    /// A script; its entry point is its interpreter's.
    Script,
}

/// An interpreter of ours that stands in for a program of the image.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Polyfill {
    /// What it is: `python`, `node`.
    pub name: String,
    /// Its version, as far as programs depend on it: `3.11`.
    pub version: String,
    /// Why it was chosen, in a few words.
    pub reason: String,
    /// SHA-256 of its own ELF file, whose code runs.
    pub program: FileHash,
    /// Name of that file in [`Manifest::OWN_DIR`].
    pub file: String,
    /// The system calls that it may make, by name; every other is unknown to it. Which names there are the running side knows, and refuses others.
    pub calls: Vec<String>,
    /// The snapshot that it starts from; without, it starts as any program does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<Snapshot>,
}

/// A program's memory and registers after it has run for a while (crate `megalith-vkernel`, module `snapshot`).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Snapshot {
    /// Name of the file in [`Manifest::OWN_DIR`].
    pub file: String,
    /// SHA-256 of the file.
    pub hash: FileHash,
    /// What was loaded before it was taken.
    #[serde(default)]
    pub warmed: Vec<String>,
}

/// The image config's part that `run` needs (OCI image specification, `config.md`). Nothing in it is required.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// First part of the command.
    pub entrypoint: Vec<String>,
    /// Second part of the command: default arguments.
    pub cmd: Vec<String>,
    /// Environment, each `NAME=VALUE`.
    pub env: Vec<String>,
    /// Working directory; empty means `/`.
    pub working_dir: String,
    /// `user`, `uid`, `user:group`, `uid:gid` and so on; empty means root.
    pub user: String,
}

/// Where the container's files are and what they hash to.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileSystem {
    /// Root of the hash tree: SHA-256 of the tree index (crate `megalith-image`, module `fssection`).
    pub root: FileHash,
    /// Which file holds it.
    pub place: FsPlace,
    /// Offset in that file at which the archive begins, a multiple of 512.
    pub offset: u64,
    /// Bytes of archive and index together.
    pub size: u64,
}

/// The file that holds the container's files.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum FsPlace {
    /// A custom section of the module.
    #[serde(rename = "section")]
    Section,
    /// `files.img` beside the module, because the module would have become too large with it.
    #[serde(rename = "files.img")]
    FilesImg,
}

/// What interpreters may read as code.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scripts {
    /// Anything the guest's file modes allow.
    #[default]
    Open,
    /// Only what was there at build time.
    Sealed,
}

/// Something that was not recompiled, and why.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NotRecompiled {
    /// The file.
    pub path: GuestPath,
    /// Offset in the file, if it is a place in a file that was recompiled otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offset: Option<u64>,
    /// The bytes at that offset, in hexadecimal digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<String>,
    /// Why, in a few words.
    pub reason: String,
}

impl Manifest {
    /// The schema this crate reads and writes.
    pub const SCHEMA: &'static str = "megalith/1";
    /// The manifest's file name in a bundle.
    pub const FILE_NAME: &'static str = "manifest.json";
    /// Name of the directory in the root of the container's files that holds what the build added: polyfills and their snapshots. Guests do not see it.
    pub const OWN_DIR: &'static str = ".megalith";
    /// The file in a bundle that holds the container's files if the module does not.
    pub const FILES_IMG: &'static str = "files.img";

    /// Parses and checks a manifest ([`Manifest::check`]).
    pub fn from_json(bytes: &[u8]) -> Result<Manifest, Error> {
        Manifest::parse(bytes)
    }

    /// Checks the manifest and writes it as JSON. Equal manifests give equal bytes.
    pub fn to_json(&self) -> Result<Vec<u8>, Error> {
        self.check()?;
        json::write(self)
    }
}

impl<N> Manifest<N> {
    /// Path and hash of a tool.
    pub fn tool(&self, name: &str) -> Option<(&GuestPath, FileHash)> {
        let hash = *self.agent_tools.get(name)?;
        let first = || self.binaries.iter().find(|(_, b)| b.hash == hash).map(|(path, _)| path);
        Some((self.agent_tool_paths.get(name).or_else(first)?, hash))
    }
}

impl<N: Omissions> Manifest<N> {
    /// [`Manifest::from_json`], with what the caller wants to know of the list of omissions.
    pub fn parse(bytes: &[u8]) -> Result<Manifest<N>, Error> {
        let manifest: Manifest<N> = json::parse(bytes, Manifest::SCHEMA)?;
        manifest.check()?;
        Ok(manifest)
    }

    /// Checks that the parts agree with one another:
    ///
    /// * the schema is [`Manifest::SCHEMA`], and the module's name is a plain file name other than that of the manifest or `files.img`;
    /// * a hash has one size, one kind and one entry point, wherever it stands;
    /// * entry points have the form that [`crate::entry_points`] gives them; no two ELF or WASI hashes share one, nor do they share one with
    ///   a polyfill; a script's is that of another program in the manifest;
    /// * every entry of kind polyfill is described in `polyfills`, and nothing else is; each system call is named once;
    /// * tools are programs of the manifest, with names of letters, digits, `_`, `-` and `.`;
    /// * the config's strings hold no NUL, and its working directory is empty or absolute;
    /// * the file system begins at a multiple of 512 and does not end past 2^63.
    pub fn check(&self) -> Result<(), Error> {
        if self.schema != Manifest::SCHEMA {
            return Err(Error::new(format_args!("schema {} is not '{}'", excerpt(&self.schema), Manifest::SCHEMA)));
        }
        if !json::is_file_name(&self.megabinary)
            || [Manifest::FILE_NAME, Manifest::FILES_IMG].contains(&&*self.megabinary)
        {
            return Err(Error::new(format_args!(
                "megabinary: {} is not a file name for it",
                excerpt(&self.megabinary)
            )));
        }
        let by_hash = self.check_binaries()?;
        for (name, hash) in &self.agent_tools {
            let refuse = |why: &str| Err(Error::new(format_args!("agent_tools: {} {why}", excerpt(name))));
            if !json::is_file_name(name) {
                return refuse("is not a name of letters, digits, '_', '-' and '.'");
            }
            if !by_hash.contains_key(hash) {
                return refuse("has a hash that no entry of 'binaries' has");
            }
        }
        if let Some(name) = self.agent_tool_paths.keys().find(|&n| !self.agent_tools.contains_key(n)) {
            return Err(Error::new(format_args!("agent_tool_paths: {} is not in 'agent_tools'", excerpt(name))));
        }
        for (hash, polyfill) in &self.polyfills {
            let refuse = |why: &str| Err(Error::new(format_args!("polyfills: {hash} {why}")));
            if by_hash.get(hash).is_none_or(|b| b.kind != Kind::Polyfill) {
                return refuse("is no entry of kind polyfill in 'binaries'");
            }
            let files = polyfill.snapshot.iter().map(|s| &s.file).chain([&polyfill.file]);
            if !files.clone().all(|name| json::is_file_name(name)) {
                return refuse("has a file name with other characters than letters, digits, '_', '-' and '.'");
            }
            let mut seen = BTreeSet::new();
            let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
            for call in &polyfill.calls {
                if call.is_empty() || !call.chars().all(plain) || !seen.insert(call) {
                    return refuse(&format!("may call {}: not the name of a system call, or twice", excerpt(call)));
                }
            }
        }
        if let Some(hash) = by_hash.iter().find(|(h, b)| b.kind == Kind::Polyfill && !self.polyfills.contains_key(h)) {
            return Err(Error::new(format_args!("binaries: polyfill {} is not in 'polyfills'", hash.0)));
        }
        self.config.check()?;
        if !self.fs.offset.is_multiple_of(512) {
            return Err(Error::new(format_args!("fs: offset {} is not a multiple of 512", self.fs.offset)));
        }
        if self.fs.offset.checked_add(self.fs.size).is_none_or(|end| i64::try_from(end).is_err()) {
            return Err(Error::new("fs: offset and size exceed 2^63"));
        }
        self.not_recompiled.check()
    }

    fn check_binaries(&self) -> Result<BTreeMap<FileHash, &Binary>, Error> {
        let refuse = |path: &GuestPath, why: String| Err(Error::new(format_args!("binaries: '{path}': {why}")));
        let mut by_hash: BTreeMap<FileHash, &Binary> = BTreeMap::new();
        // Entry point -> what owns it: an ELF or WASI hash, or polyfills (any number of hashes).
        let mut owners: BTreeMap<&str, Option<FileHash>> = BTreeMap::new();
        for (path, binary) in &self.binaries {
            let name = &binary.entry_point;
            if !names::is_entry_point(name) {
                return refuse(path, format!("{} is not the name of an entry point", excerpt(name)));
            }
            if i64::try_from(binary.size).is_err() {
                return refuse(path, format!("no file has the size {}", binary.size));
            }
            let first = *by_hash.entry(binary.hash).or_insert(binary);
            if first != binary {
                return refuse(path, format!("{} has another entry point, kind or size elsewhere", binary.hash));
            }
            let owner = match binary.kind {
                Kind::Elf | Kind::Wasi => Some(binary.hash),
                Kind::Polyfill => None,
                Kind::Script => continue,
            };
            if *owners.entry(name).or_insert(owner) != owner {
                return refuse(path, format!("entry point {} belongs to another hash", excerpt(name)));
            }
        }
        for (path, binary) in &self.binaries {
            if !owners.contains_key(&*binary.entry_point) {
                return refuse(path, format!("no program has the entry point {}", excerpt(&binary.entry_point)));
            }
        }
        Ok(by_hash)
    }

    /// The programs by hash, each once.
    pub fn by_hash(&self) -> BTreeMap<FileHash, &Binary> {
        self.binaries.values().map(|b| (b.hash, b)).collect()
    }
}

impl Config {
    fn check(&self) -> Result<(), Error> {
        let lists = [("entrypoint", &self.entrypoint), ("cmd", &self.cmd), ("env", &self.env)];
        let single = [("working_dir", &self.working_dir), ("user", &self.user)];
        let all = lists.into_iter().flat_map(|(key, list)| list.iter().map(move |s| (key, s))).chain(single);
        for (key, value) in all {
            if value.contains('\0') {
                return Err(Error::new(format_args!("config.{key}: {} holds a NUL character", excerpt(value))));
            }
        }
        if !self.working_dir.is_empty() && !self.working_dir.starts_with('/') {
            return Err(Error::new(format_args!("config.working_dir: {} is not absolute", excerpt(&self.working_dir))));
        }
        Ok(())
    }
}
