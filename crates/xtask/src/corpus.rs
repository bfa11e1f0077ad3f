//! The image that tests and benchmarks run: Debian's busybox-static with a symlink for each applet, a few small static C
//! programs (`tests/programs`), and scripts for the gate tests.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};

use crate::{debian, oci, paths, sh};

/// Changes when what this module writes changes, so that cached corpora are not reused.
const REVISION: &str = "4";

/// Modification time of every file, seconds since 1970: the same in the root directory and in the image.
pub const MTIME: u64 = 1_700_000_000;

/// Where the C programs lie inside.
pub const PROGRAMS: &str = "/opt/t";

/// `PATH` inside.
pub const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A root file system and the OCI image made of it.
pub struct Corpus {
    /// Root directory: what the native side runs in.
    pub rootfs: PathBuf,
    /// OCI layout directory of the same files.
    pub image: PathBuf,
    /// Debian version of busybox-static.
    pub busybox: String,
    /// Changes with any content.
    pub key: String,
}

/// The small static programs: name, sources (relative to `tests/programs`), compiler options.
const BUILT: &[(&str, &[&str], &[&str])] = &[
    (
        "probe",
        &[
            "probe.c",
            "probe_float.c",
            "probe_fuzz.c",
            "probe_hold.c",
            "probe_inline.c",
            "probe_bytes.c",
            "probe_jump.c",
            "probe_limit.c",
            "probe_memory.c",
            "probe_process.c",
            "probe_share.c",
            "probe_signal.c",
            "probe_speed.c",
            "probe_stack.c",
        ],
        &["-static", "-no-pie", "-lm"],
    ),
    ("spawn", &["spawn.c"], &["-static", "-no-pie"]),
    ("threads", &["threads.c"], &["-static", "-no-pie", "-pthread"]),
    ("sockets", &["sockets.c"], &["-static", "-no-pie"]),
    ("true", &["true.c"], &["-static", "-no-pie"]),
    ("exec_b", &["exec_b.c"], &["-static", "-no-pie"]),
    ("pie", &["pie.c"], &["-static-pie", "-fPIE"]),
    ("hello", &["hello.c"], &["-static", "-no-pie", "-nostdlib", "-ffreestanding"]),
];

/// Executable scripts: path, text.
const SCRIPTS: &[(&str, &str)] = &[
    ("usr/local/bin/greet", "#!/bin/sh\necho \"greet $0 $#: $*\"\n"),
    // An interpreter that is itself a script: Linux follows four such steps.
    ("usr/local/bin/chain1", "#!/usr/local/bin/greet from-chain1\nnever read by greet\n"),
    ("usr/local/bin/chain2", "#!/usr/local/bin/chain1 from-chain2\n"),
    ("usr/local/bin/awkward", "#!/usr/bin/awk -f\nBEGIN { print \"awk\", ARGC, ARGV[1] }\n"),
    (
        "usr/local/bin/by-env",
        "#!/usr/bin/env sh\necho \"$0 $#: $*\"; tr '\\0' ' ' < /proc/$$/cmdline; cat /proc/$$/comm\n",
    ),
    ("usr/local/bin/by-env-in-one", "#!/usr/bin/env sh -e\necho never\n"),
    ("usr/local/bin/by-env-missing", "#!/usr/bin/env no-such-command\n"),
    ("usr/local/bin/by-env-chain", "#!/usr/bin/env greet\n"),
    ("usr/local/bin/homeless", "#!/no/such/interpreter\n"),
    ("usr/local/bin/self-reader", "#!/bin/sh\nsed -n 's/^# *secret: //p' \"$0\"\n# secret: its own text\n"),
    ("usr/local/bin/status", "#!/bin/sh\nexit \"${1:-0}\"\n"),
];

/// Plain files: path, text.
const FILES: &[(&str, &str)] = &[
    (
        "etc/passwd",
        "root:x:0:0:root:/root:/bin/sh\ndaemon:x:1:1:daemon:/usr/sbin:/bin/false\nuser:x:1000:1000:User:/home/user:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/bin/false\n",
    ),
    ("etc/group", "root:x:0:\ndaemon:x:1:\ntty:x:5:\nuser:x:1000:\nnogroup:x:65534:\n"),
    ("etc/hostname", "megalith\n"),
    ("etc/hosts", "127.0.0.1 localhost megalith\n"),
    ("etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files\n"),
    (
        "usr/share/doc/poem",
        "The module is sealed, the gate is shut,\nwhat was not there does not come in.\nA byte was changed: the hash is cut,\nand nothing of it will begin.\n",
    ),
];

const DIRECTORIES: &[(&str, u32)] = &[
    ("bin", 0o755),
    ("sbin", 0o755),
    ("usr/bin", 0o755),
    ("usr/sbin", 0o755),
    ("usr/local/bin", 0o755),
    ("usr/share/doc", 0o755),
    ("etc", 0o755),
    ("opt/t", 0o755),
    ("root", 0o700),
    ("home/user", 0o755),
    ("var/tmp", 0o1777),
    ("tmp", 0o1777),
    ("dev", 0o755),
    ("proc", 0o755),
    ("run", 0o755),
    ("work", 0o755),
    ("data", 0o755),
];

/// The standard corpus, from the cache when nothing changed.
///
/// # Errors
/// Packages cannot be fetched, or a test program does not compile.
pub fn standard() -> Result<Corpus> {
    build("corpus", &[], true)
}

/// A file to add to a corpus: path inside, host file, mode.
pub type Extra = (String, PathBuf, u32);

/// A corpus with further files.
///
/// # Errors
/// See [`standard`].
pub fn build(name: &str, extra: &[Extra], programs: bool) -> Result<Corpus> {
    let package = debian::binary_package("busybox-static")?;
    let mut hasher = Sha256::new();
    for part in [REVISION, &package.hash, &format!("{SCRIPTS:?}{FILES:?}{DIRECTORIES:?}{BUILT:?}{programs}")] {
        hasher.update(part);
    }
    let sources = paths::root().join("tests/programs");
    if programs {
        hasher.update(sh::text(&mut sh::command("gcc", ["-dumpfullversion"]))?);
        let mut files: Vec<_> = fs::read_dir(&sources)?.filter_map(|e| Some(e.ok()?.path())).collect();
        files.sort();
        for file in files {
            hasher.update(fs::read(&file)?);
        }
    }
    for (path, file, mode) in extra {
        let content = match mode & 0o170_000 {
            0o120_000 => file.display().to_string(),
            _ if file.is_dir() => String::new(),
            _ => sh::sha256_file(file)?,
        };
        hasher.update(format!("{path} {mode:o} {content}"));
    }
    let key = sh::hex(hasher.finalize().get(..8).unwrap_or_default());
    let dir = paths::cache(name)?.join(&key);
    paths::make_once(&dir, |dir| {
        let root = dir.join("rootfs");
        fill(&root, &package.files.join("bin/busybox"), extra)?;
        if programs {
            for (program, files, options) in BUILT {
                let mut gcc = sh::command("gcc", ["-O2", "-g0", "-o"]);
                gcc.arg(root.join("opt/t").join(program)).args(files.iter().map(|f| sources.join(f))).args(*options);
                sh::output(&mut gcc).with_context(|| format!("compile tests/programs: {program}"))?;
            }
        }
        let touch = ["-exec", "touch", "-h", "-d", &format!("@{MTIME}"), "{}", "+"];
        sh::output(sh::command("find", [&root]).args(touch))?;
        let environment = vec![format!("PATH={PATH}")];
        let command = vec!["/bin/busybox".to_owned(), "sh".to_owned()];
        oci::write_layout(&root, &dir.join("image"), &oci::Config { environment, command })
    })?;
    Ok(Corpus { rootfs: dir.join("rootfs"), image: dir.join("image"), busybox: package.version, key })
}

/// Writes the root file system.
fn fill(root: &Path, busybox: &Path, extra: &[Extra]) -> Result<()> {
    for (dir, mode) in DIRECTORIES {
        fs::create_dir_all(root.join(dir))?;
        fs::set_permissions(root.join(dir), fs::Permissions::from_mode(*mode))?;
    }
    let put = |path: &str, bytes: &[u8], mode: u32| -> Result<()> {
        let path = root.join(path);
        fs::create_dir_all(path.parent().context("a file has a parent")?)?;
        // A link of the same name (an applet's) is replaced: never written through, which would end outside of the root.
        if fs::symlink_metadata(&path).is_ok() {
            fs::remove_file(&path)?;
        }
        fs::write(&path, bytes)?;
        Ok(fs::set_permissions(&path, fs::Permissions::from_mode(mode))?)
    };
    put("bin/busybox", &fs::read(busybox)?, 0o755)?;
    let applets = sh::text(&mut sh::command(busybox, ["--list-full"]))?;
    for applet in applets.lines() {
        let path = root.join(applet);
        if applet.contains("..") || path.exists() {
            continue;
        }
        fs::create_dir_all(path.parent().context("an applet has a directory")?)?;
        symlink("/bin/busybox", &path).with_context(|| format!("link {applet}"))?;
    }
    for (path, text) in FILES {
        put(path, text.as_bytes(), 0o644)?;
    }
    for (path, text) in SCRIPTS {
        put(path, text.as_bytes(), 0o755)?;
    }
    for (path, file, mode) in extra {
        if *mode & 0o170_000 == 0o120_000 {
            let path = root.join(path);
            fs::create_dir_all(path.parent().context("a link has a parent")?)?;
            if fs::symlink_metadata(&path).is_ok() {
                fs::remove_file(&path)?;
            }
            symlink(file, &path)?;
        } else if file.is_dir() {
            fs::create_dir_all(root.join(path))?;
            fs::set_permissions(root.join(path), fs::Permissions::from_mode(*mode))?;
        } else {
            put(path, &fs::read(file)?, *mode)?;
        }
    }
    Ok(())
}

/// All files below `dir` as [`Extra`]s below `prefix`, with their executable bits; symlinks as they are.
///
/// # Errors
/// A directory cannot be read.
pub fn tree(dir: &Path, prefix: &str) -> Result<Vec<Extra>> {
    let mut found = BTreeMap::new();
    let mut todo = vec![PathBuf::new()];
    while let Some(relative) = todo.pop() {
        for entry in fs::read_dir(dir.join(&relative))? {
            let entry = entry?;
            let relative = relative.join(entry.file_name());
            let Some(name) = relative.to_str() else { bail!("{}: not UTF-8", relative.display()) };
            let path = format!("{prefix}/{name}");
            let kind = entry.file_type()?;
            if kind.is_dir() {
                found.insert(path, (entry.path(), 0o755));
                todo.push(relative);
            } else if kind.is_symlink() {
                found.insert(path, (fs::read_link(entry.path())?, 0o120_777));
            } else {
                found.insert(path, (entry.path(), entry.metadata()?.permissions().mode() & 0o777));
            }
        }
    }
    Ok(found.into_iter().map(|(path, (file, mode))| (path, file, mode)).collect())
}
