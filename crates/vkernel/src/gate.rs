//! The exec gate: what may start is decided by the hash of the bytes (DESIGN.md, invariant 2).

use crate::errno::{Errno, Result};
use crate::exec::{ExecRequest, search_path};
use crate::kernel::Kernel;
use crate::program::{Hash, Program};
use crate::wait::lock;
use megalith_abi::shebang::{self, EnvCommand, Interpreter};
use megalith_vfs::{Access, At, ContentClass, Cred, FileType, Inode, InodeId, Location, WalkFlags};
use sha2::{Digest, Sha256};
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};

/// Interpreters of interpreters that one start goes through (`BINPRM_MAX_RECURSION`).
const MAX_DEPTH: usize = 4;
/// Hashes remembered for private files.
const MEMO_MAX: usize = 4096;

/// What the manifest says about paths and scripts.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    named: HashMap<Vec<u8>, Hash>,
    scripts: HashSet<Hash>,
    script_sizes: HashSet<u64>,
}

impl Policy {
    /// Adds an entry of the manifest: the absolute path starts this hash and no other.
    pub fn add_path(&mut self, path: &[u8], hash: Hash) {
        self.named.insert(path.to_vec(), hash);
    }
    /// Adds a script that may start.
    pub fn add_script(&mut self, hash: Hash, size: u64) {
        self.scripts.insert(hash);
        self.script_sizes.insert(size);
    }
}

/// Remembered hashes of files that only this kernel can change.
#[derive(Default)]
pub struct Gate {
    memo: Mutex<HashMap<(InodeId, u64), Hash>>,
}

/// A script on the way to the program that starts.
pub struct Script {
    pub location: Location,
    /// Path handed to the interpreter.
    pub arg: Vec<u8>,
    /// The bytes whose hash was checked.
    pub bytes: Arc<[u8]>,
}

/// What a start comes down to.
pub struct Passed {
    pub program: Arc<Program>,
    /// The program's own file.
    pub location: Location,
    /// Arguments that replace `argv[0]` (empty without a script).
    pub prefix: Vec<Vec<u8>>,
    pub scripts: Vec<Script>,
    /// What a script's `#!/usr/bin/env` made of the environment, and the path of the program that it chose.
    pub env: Option<(Vec<Vec<u8>>, Vec<u8>)>,
}

/// Checks the start of `location`, which is the file that `request` names.
pub fn check(
    k: &Kernel,
    root: &Location,
    cwd: &Location,
    cred: &Cred,
    request: &ExecRequest,
    location: Location,
) -> Result<Passed> {
    let mut location = location;
    let mut path = request.path.clone();
    let mut prefix: Vec<Vec<u8>> = Vec::new();
    let mut scripts = Vec::new();
    let mut env = None;
    loop {
        let stat = location.inode().stat()?;
        if stat.file_type() != FileType::Regular {
            return Err(Errno::EACCES);
        }
        // Interpreters are found as usual.
        let expect = request.expect.filter(|_| scripts.is_empty());
        if expect.is_none() {
            cred.check(&stat, Access::EXEC)?;
        }
        let named = k.config.policy.named.get(&location.path(None));
        let program_size = k.config.programs.has_size(stat.size);
        let script_size = k.config.policy.script_sizes.contains(&stat.size);
        if !program_size && !script_size {
            return Err(refuse(k, &location, "no entry of the manifest has this size"));
        }
        let mut bytes = None;
        let hash = if script_size {
            // A script's bytes are kept: the interpreter gets what was checked.
            let b = location.inode().read_all(stat.size)?;
            let h: Hash = Sha256::digest(&b).into();
            bytes = Some(b);
            h
        } else {
            hash_of(k, &location, stat.size)?
        };
        if named.is_some_and(|n| *n != hash) {
            return Err(refuse(
                k,
                &location,
                &format!("{} is not the hash that the manifest has for this path", hex(&hash)),
            ));
        }
        if expect.is_some_and(|e| e != hash) {
            return Err(refuse(k, &location, &format!("{} is not the tool's hash", hex(&hash))));
        }
        if let Some(p) = k.config.programs.get(&hash) {
            return Ok(Passed { program: Arc::clone(p), location, prefix, scripts, env });
        }
        let Some(bytes) = bytes.filter(|_| k.config.policy.scripts.contains(&hash)) else {
            return Err(refuse(k, &location, &format!("{} is not in the manifest", hex(&hash))));
        };
        if scripts.len() >= MAX_DEPTH {
            return Err(Errno::ELOOP);
        }
        let line = shebang::interpreter(&bytes).ok_or(Errno::ENOEXEC)?;
        // The script's own path takes the place of argv[0]; the chain so far is kept behind it.
        match prefix.first_mut() {
            Some(first) => first.clone_from(&path),
            None => prefix.push(path.clone()),
        }
        scripts.push(Script { location, arg: path, bytes: bytes.into() });
        let at = At { root, base: cwd, cred };
        let now = env.as_ref().map_or(&request.envp, |(envp, _)| envp);
        let mut front;
        match through_env(k, &at, &line, now) {
            Some((command, envp, found)) => {
                front = [vec![command.command], command.args].concat();
                env = Some((envp, found.clone()));
                path = found;
            }
            None => {
                front = vec![line.path.clone()];
                front.extend(line.arg);
                path = line.path;
            }
        }
        front.append(&mut prefix);
        prefix = front;
        location = k.vfs.lookup(&at, &path, WalkFlags::FOLLOW)?;
    }
}

/// The bytes of a file, if the manifest has their hash.
pub fn known_bytes(k: &Kernel, inode: &Arc<dyn Inode>) -> Result<Option<Arc<[u8]>>> {
    let size = inode.stat()?.size;
    let (programs, policy) = (&k.config.programs, &k.config.policy);
    if !programs.has_size(size) && !policy.script_sizes.contains(&size) {
        return Ok(None);
    }
    let bytes = inode.read_all(size)?;
    let hash = Sha256::digest(&bytes).into();
    let known = programs.get(&hash).is_some() || policy.scripts.contains(&hash);
    Ok(known.then(|| bytes.into()))
}

/// What `#!/usr/bin/env` leads to, without running env: the command, its environment, and where it lies. `None` if it is for env itself to say
/// something, because the command is not there for example.
fn through_env(
    k: &Kernel,
    at: &At<'_>,
    line: &Interpreter,
    envp: &[Vec<u8>],
) -> Option<(EnvCommand, Vec<Vec<u8>>, Vec<u8>)> {
    let command = line.env_command()?;
    k.vfs.lookup(at, &line.path, WalkFlags::FOLLOW).ok()?;
    let envp = command.environment(envp);
    let found = search_path(&k.vfs, at, &command.command, &envp).ok()?;
    Some((command, envp, found))
}

/// The SHA-256 of a file's bytes, remembered where only this kernel can change them.
fn hash_of(k: &Kernel, location: &Location, size: u64) -> Result<Hash> {
    let inode = location.inode();
    match inode.content_class()? {
        ContentClass::Sealed { hash } => Ok(hash),
        ContentClass::Private { generation } => {
            let key = (inode.id(), generation);
            if let Some(h) = lock(&k.gate.memo).get(&key) {
                return Ok(*h);
            }
            let hash = Sha256::digest(inode.read_all(size)?).into();
            if inode.content_class()? == (ContentClass::Private { generation }) {
                let mut memo = lock(&k.gate.memo);
                if memo.len() >= MEMO_MAX {
                    memo.clear();
                }
                memo.insert(key, hash);
            }
            Ok(hash)
        }
        ContentClass::Foreign => Ok(Sha256::digest(inode.read_all(size)?).into()),
    }
}

fn refuse(k: &Kernel, location: &Location, why: &str) -> Errno {
    k.audit(&format!("refused to start {}: {why}", String::from_utf8_lossy(&location.path(None))));
    Errno::EACCES
}

fn hex(h: &Hash) -> String {
    use std::fmt::Write;
    h.iter().fold("sha256:".to_owned(), |mut s, b| {
        let _ = write!(s, "{b:02x}");
        s
    })
}
