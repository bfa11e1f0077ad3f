//! From an open bundle to what the kernel is made of: programs with their code, and the file system tree.

use std::fs;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use megalith_engine::run::{CodeFile, ProgramCode, WasiCode};
use megalith_manifest::{AotFile, Binary, FileHash, Kind, Manifest, Skipped};
use megalith_run::options::{ContainerOptions, Volume};
use megalith_vfs::{At, Budget, Cred, Errno, LayeredFs, LayeredOptions, MapSource, OpenFlags, Vfs, WalkFlags};
use megalith_vkernel::{Calls, DataFile, MetaReader, Policy, Program, ProgramTable, SharedMap, Snapshot, search_path};
use rustix::fs::{MemfdFlags, Mode};
use sha2::{Digest, Sha256};

use crate::bundle::Bundle;
use crate::failure::{Result, fail};
use crate::lower::Lower;

/// Table index of a projection's first function.
const TABLE_BASE: u32 = 1;

/// What the manifest lets start: the programs with their code mapped, and which path stands for what.
pub fn programs(bundle: &Bundle, lower: &Lower) -> Result<(ProgramTable, Policy)> {
    let (mut table, mut policy) = (ProgramTable::new(), Policy::default());
    for (path, binary) in &bundle.manifest.binaries {
        let hash = binary.hash;
        policy.add_path(path.as_bytes(), hash.0);
        match binary.kind {
            Kind::Elf | Kind::Wasi if table.get(&hash.0).is_none() => {
                let bad =
                    |why: String| fail(format!("{}: {path}: {why}; build the bundle again", bundle.path.display()));
                let source = lower.source(path.as_bytes(), &hash).map_err(bad)?;
                table.insert(program(bundle, binary, hash, source)?);
            }
            Kind::Elf | Kind::Wasi => {}
            Kind::Script => policy.add_script(hash.0, binary.size),
            Kind::Polyfill if table.get(&hash.0).is_none() => {
                table.insert_for(hash.0, binary.size, polyfill(bundle, lower, binary)?);
            }
            Kind::Polyfill => {}
        }
    }
    Ok((table, policy))
}

/// The program that stands in for `binary`.
fn polyfill(bundle: &Bundle, lower: &Lower, binary: &Binary) -> Result<Program> {
    let name = &binary.entry_point;
    let bad = |why: String| fail(format!("{}: {name}: {why}; build the bundle again", bundle.path.display()));
    let described = bundle.manifest.polyfills.get(&binary.hash);
    let p = described.ok_or_else(|| bad("the manifest does not describe it".into()))?;
    let source = lower.own(&p.file, &p.program).map_err(bad)?;
    let snapshot = p.snapshot.as_ref().map(|s| {
        let MapSource { fd, offset, len, .. } = lower.own(&s.file, &s.hash).map_err(bad)?;
        Ok(Snapshot::new(fd, offset, len, s.hash.0))
    });
    let calls = Calls::named(p.calls.iter().map(String::as_str)).map_err(bad)?;
    Ok(program(bundle, binary, p.program, source)?.into_polyfill(calls, snapshot.transpose()?))
}

/// One program, whose own file has the hash `hash`.
fn program(bundle: &Bundle, binary: &Binary, hash: FileHash, source: MapSource) -> Result<Program> {
    let Some(aot) = bundle.index.files.get(&hash) else {
        let index = bundle.aot_path("index.json");
        let compile = format!("run 'megalith compile {}'", bundle.path.display());
        return Err(fail(format!("{}: no code for {}; {compile}", index.display(), binary.entry_point)));
    };
    let file = bundle.aot_file(&aot.code)?;
    let bad = |e| fail(format!("{}: {e:#}", bundle.aot_path(&aot.code).display()));
    let code = CodeFile::map(&file, aot.code_size, aot.code_hash.0).map_err(bad)?;
    if binary.kind == Kind::Wasi {
        let engine = Arc::new(WasiCode::new(&binary.entry_point, code));
        let data = DataFile::new(bundle.aot_file(&aot.meta)?.into(), aot.meta_size, aot.meta_hash.0);
        return Ok(Program::wasi(hash.0, binary.size, binary.entry_point.clone(), source, data, engine));
    }
    let engine = Arc::new(ProgramCode::new(&binary.entry_point, code));
    let meta = meta(bundle, aot)?;
    Ok(Program::new(hash.0, source.len, binary.entry_point.clone(), meta, TABLE_BASE, source, engine))
}

/// The metadata of a program: mapped now, checked by hash when the program is first started.
fn meta(bundle: &Bundle, aot: &AotFile) -> Result<MetaReader> {
    let path = bundle.aot_path(&aot.meta);
    let compile = format!("run 'megalith compile {}'", bundle.path.display());
    let bad = move |why: &str| format!("{}: {why}; {compile}", path.display());
    let file = bundle.aot_file(&aot.meta)?;
    // SAFETY: only its owner and root can write the file; its bytes are hashed before use, as those of AOT code are.
    let map = unsafe { SharedMap::new(&file) }.map_err(|e| fail(bad(&e.to_string())))?;
    let (size, hash) = (aot.meta_size, aot.meta_hash);
    Ok(Box::new(move || {
        let bytes = map.as_ref();
        if bytes.len() as u64 != size || FileHash(Sha256::digest(bytes).into()) != hash {
            return Err(bad("its bytes do not match the hash in the index"));
        }
        map.forget();
        Ok(map.clone())
    }))
}

/// The file system tree: the image's files below a private layer, /tmp, /etc/hosts with the lines `hosts` more if there are any, and the volumes.
/// `budget` pays for what is written to memory.
pub fn vfs(
    bundle: &Bundle,
    lower: Arc<Lower>,
    budget: &Arc<Budget>,
    options: &ContainerOptions,
    hosts: &[String],
) -> Result<Arc<Vfs>> {
    let bundle_path = bundle.path.clone();
    let root = LayeredFs::new(LayeredOptions {
        lower: Some(lower),
        budget: Arc::clone(budget),
        read_only: options.read_only,
        on_corrupt: Some(Box::new(move |c| {
            let path = bundle_path.display();
            eprintln!(
                "megalith: {path}: file {} of the container does not match its hash; build the bundle again",
                c.inode
            );
        })),
        ..LayeredOptions::default()
    })
    .map_err(|e| fail(format!("{}: no root directory ({e}); build the bundle again", bundle.path.display())))?;
    let vfs = Vfs::new(root);
    let has_tmp = {
        let (root, cred) = (vfs.root(), Cred::root());
        let at = At { root: &root, base: &root, cred: &cred };
        vfs.lookup(&at, b"/tmp", WalkFlags::FOLLOW).is_ok()
    };
    if options.read_only || !has_tmp {
        let made = LayeredFs::tmpfs(0o1777, Arc::clone(budget)).and_then(|tmp| vfs.mount_creating(b"/tmp", tmp, false));
        if let (Err(e), false) = (made, options.read_only) {
            return Err(fail(format!("cannot make /tmp: {e}")));
        }
    }
    if !hosts.is_empty() {
        // A read-only image without that file, for example.
        if let Err(e) = name_hosts(&vfs, hosts) {
            eprintln!("megalith: --net: names are not in the container's /etc/hosts, which cannot be written: {e}");
        }
    }
    let secret = protected(&bundle.path);
    for v in &options.volumes {
        mount(&vfs, v, &secret)?;
    }
    Ok(Arc::new(vfs))
}

/// Mounts another /etc/hosts over the image's, with `lines` behind what that has.
fn name_hosts(vfs: &Vfs, lines: &[String]) -> std::result::Result<(), Errno> {
    let (root, cred) = (vfs.root(), Cred::root());
    let at = At { root: &root, base: &root, cred: &cred };
    let image = vfs.open(&at, b"/etc/hosts", OpenFlags(OpenFlags::O_RDONLY), 0, WalkFlags::FOLLOW);
    let mut text = match image {
        Ok(opened) => opened.inode.read_all(MAX_HOSTS)?,
        Err(Errno::ENOENT) => b"127.0.0.1\tlocalhost\n::1\tlocalhost\n".to_vec(),
        Err(e) => return Err(e),
    };
    if text.last().is_some_and(|c| *c != b'\n') {
        text.push(b'\n');
    }
    text.extend(lines.iter().flat_map(|line| line.bytes()));
    let file = rustix::fs::memfd_create("hosts", MemfdFlags::CLOEXEC)?;
    rustix::fs::fchmod(&file, Mode::from_raw_mode(0o644))?;
    let mut file = fs::File::from(file);
    file.write_all(&text).map_err(|_| Errno::EIO)?;
    let place = format!("/proc/self/fd/{}", file.as_raw_fd());
    let volume = megalith_vfs::Volume::open(Path::new(&place), true)?;
    vfs.mount_creating(b"/etc/hosts", volume, true)?;
    Ok(())
}

/// Of an image's /etc/hosts, no more is read.
const MAX_HOSTS: u64 = 1 << 20;

/// Which program the command most likely starts. A guess, as user, working directory and gate are left out: good enough to load its code beforehand.
pub fn likely<'a>(
    manifest: &Manifest<Skipped>,
    programs: &'a ProgramTable,
    vfs: &Vfs,
    argv: &[Vec<u8>],
    env: &[Vec<u8>],
) -> Option<&'a Arc<Program>> {
    let (root, cred) = (vfs.root(), Cred::root());
    let at = At { root: &root, base: &root, cred: &cred };
    let path = search_path(vfs, &at, argv.first()?, env).ok()?;
    let file = vfs.lookup(&at, &path, WalkFlags::FOLLOW).ok()?.path(None);
    programs.get(&manifest.binaries.get(file.as_slice())?.hash.0)
}

/// Mounts one volume.
fn mount(vfs: &Vfs, v: &Volume, secret: &[PathBuf]) -> Result<()> {
    let host = v.host.display();
    for s in secret {
        if overlap(&v.host, s) {
            return Err(fail(format!(
                "volume {host}: it contains or lies in {}, which guests must not reach",
                s.display()
            )));
        }
    }
    let volume = megalith_vfs::Volume::open(&v.host, v.read_only)
        .map_err(|e| fail(format!("volume {host}: cannot open it: {e}")))?;
    vfs.mount_creating(v.guest.as_bytes(), volume, v.read_only)
        .map_err(|e| fail(format!("volume {host}: cannot mount it at {}: {e}", v.guest)))?;
    Ok(())
}

/// What guests must not reach: the bundle and the cache of compiled code.
fn protected(bundle: &Path) -> Vec<PathBuf> {
    let home = |sub: &str| std::env::var_os("HOME").map(|h| Path::new(&h).join(sub));
    let cache = std::env::var_os("MEGALITH_CACHE").map(PathBuf::from).or_else(|| {
        std::env::var_os("XDG_CACHE_HOME").map(|c| Path::new(&c).join("megalith")).or_else(|| home(".cache/megalith"))
    });
    [Some(bundle.to_owned()), cache].into_iter().flatten().filter_map(|p| fs::canonicalize(p).ok()).collect()
}

/// Whether one of the two contains the other, judged by inode, so that bind mounts and links do not hide it.
fn overlap(a: &Path, b: &Path) -> bool {
    let id = |p: &Path| fs::metadata(p).map(|m| (m.dev(), m.ino())).ok();
    let within = |inner: &Path, outer: &Path| {
        let (Ok(inner), Some(outer)) = (fs::canonicalize(inner), id(outer)) else { return false };
        inner.ancestors().any(|p| id(p) == Some(outer))
    };
    within(a, b) || within(b, a)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn volumes_over_or_in_the_bundle_are_seen() {
        let dir = tempfile::tempdir().unwrap();
        let (bundle, data) = (dir.path().join("b"), dir.path().join("data"));
        fs::create_dir_all(bundle.join("aot")).unwrap();
        fs::create_dir(&data).unwrap();
        std::os::unix::fs::symlink(&bundle, dir.path().join("link")).unwrap();
        assert!(overlap(dir.path(), &bundle));
        assert!(overlap(&bundle.join("aot"), &bundle));
        assert!(overlap(&dir.path().join("link"), &bundle));
        assert!(overlap(Path::new("/"), &bundle));
        assert!(!overlap(&data, &bundle));
    }
}
