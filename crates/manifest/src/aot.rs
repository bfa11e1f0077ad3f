use crate::error::excerpt;
use crate::{CodeHash, Error, FileHash, json};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// `aot/<target>/index.json`: the machine code that was compiled from one megabinary for one kind of host.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AotIndex {
    /// Always [`AotIndex::SCHEMA`].
    pub schema: String,
    /// The host's target triple, also the name of the directory.
    pub target: String,
    /// What compiled it; code of another engine or configuration is not loaded.
    pub engine: Engine,
    /// SHA-256 of the megabinary it was compiled from.
    pub megabinary_hash: FileHash,
    /// The code of each program, by the hash of the program's file.
    #[serde(deserialize_with = "json::unique_map")]
    pub files: BTreeMap<FileHash, AotFile>,
}

/// The compiler that made AOT code.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Engine {
    /// wasmtime's version.
    pub wasmtime: String,
    /// Fingerprint of everything that changes the code or whether it can be loaded: settings, CPU features, our own code version.
    pub config: String,
}

/// The code of one program. The files lie in the index's directory.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AotFile {
    /// Name of the file with the machine code.
    pub code: String,
    /// Its hash, which the running side compares before any of it runs.
    pub code_hash: CodeHash,
    /// Its size in bytes.
    pub code_size: u64,
    /// Name of the file with what the runtime must know about the code.
    pub meta: String,
    /// SHA-256 of that file.
    pub meta_hash: FileHash,
    /// Its size in bytes.
    pub meta_size: u64,
}

impl AotIndex {
    /// The schema this crate reads and writes.
    pub const SCHEMA: &'static str = "megalith-aot/2";
    /// The index's file name.
    pub const FILE_NAME: &'static str = "index.json";

    /// Parses and checks an index ([`AotIndex::check`]).
    pub fn from_json(bytes: &[u8]) -> Result<AotIndex, Error> {
        let index: AotIndex = json::parse(bytes, AotIndex::SCHEMA)?;
        index.check()?;
        Ok(index)
    }

    /// Checks the index and writes it as JSON. Equal indices give equal bytes.
    pub fn to_json(&self) -> Result<Vec<u8>, Error> {
        self.check()?;
        json::write(self)
    }

    /// Checks that the schema is right, that target and engine are printable and not empty, and that every file name is
    /// plain, is not the index's own, and always stands with the same hash and size.
    pub fn check(&self) -> Result<(), Error> {
        if self.schema != AotIndex::SCHEMA {
            return Err(Error::new(format_args!("schema {} is not '{}'", excerpt(&self.schema), AotIndex::SCHEMA)));
        }
        if !json::is_file_name(&self.target) {
            return Err(Error::new(format_args!("target: {} is not a target triple", excerpt(&self.target))));
        }
        for (key, value) in [("wasmtime", &self.engine.wasmtime), ("config", &self.engine.config)] {
            if value.is_empty() || value.len() > 1024 || value.contains(char::is_control) {
                return Err(Error::new(format_args!(
                    "engine.{key}: {} is not a version or fingerprint",
                    excerpt(value)
                )));
            }
        }
        let mut seen: BTreeMap<&str, ([u8; 32], u64)> = BTreeMap::new();
        for (hash, file) in &self.files {
            let refuse =
                |name: &str, why: &str| Err(Error::new(format_args!("files: {hash}: {} {why}", excerpt(name))));
            for (name, of) in
                [(&file.code, (file.code_hash.0, file.code_size)), (&file.meta, (file.meta_hash.0, file.meta_size))]
            {
                if !json::is_file_name(name) || name == AotIndex::FILE_NAME {
                    return refuse(name, "is not a plain file name");
                }
                if i64::try_from(of.1).is_err() {
                    return refuse(name, "has a size that no file has");
                }
                if *seen.entry(name).or_insert(of) != of {
                    return refuse(name, "stands with another hash or size elsewhere");
                }
            }
        }
        Ok(())
    }

    /// The names of all files that belong to the index, without the index itself.
    pub fn file_names(&self) -> BTreeSet<&str> {
        self.files.values().flat_map(|f| [&*f.code, &*f.meta]).collect()
    }
}
