//! The native stand-in for `megalith run`: the same options, but the host's kernel and CPU run the program, in a `chroot` into
//! the root directory.
//!
//! Like a container it gets a private upper layer (overlay on tmpfs), /proc, a small /dev, volumes, and a pid namespace of its
//! own, so that nothing that it starts outlives it. With a terminal there is no pid namespace: job control needs the session.

use std::fs;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use rustix::mount::{MountFlags, mount, mount_bind};
use rustix::process::WaitOptions;

use crate::corpus;

/// Options as `megalith run` has them; those without a meaning here are accepted and ignored.
#[derive(clap::Args, Debug)]
pub struct Options {
    /// Root directory.
    root: PathBuf,
    #[arg(short = 'i')]
    interactive: bool,
    #[arg(short = 't')]
    terminal: bool,
    /// Environment: K=V.
    #[arg(short = 'e')]
    environment: Vec<String>,
    /// Volume: HOST:GUEST[:ro].
    #[arg(short = 'v')]
    volumes: Vec<String>,
    #[arg(short = 'w', default_value = "/")]
    directory: PathBuf,
    #[arg(last = true, required = true)]
    command: Vec<String>,
}

/// Set in the process that has its namespaces already.
const INSIDE: &str = "XTASK_NATIVE_INSIDE";

/// Runs the command and returns its exit status, 128+N when signal N ended it.
///
/// # Errors
/// Not root, or no namespaces and mounts here.
pub fn run(options: &Options) -> Result<i32> {
    if std::env::var_os(INSIDE).is_none() {
        // A container's first process ignores no signal, even if ours are ignored (nohup).
        let mut unshare = Command::new("env");
        unshare.args(["--default-signal", "unshare", "--mount", "--propagation", "private"]);
        if !options.terminal {
            unshare.args(["--pid", "--fork", "--kill-child=KILL"]);
        }
        unshare.arg("--").arg(std::env::current_exe()?).args(std::env::args_os().skip(1)).env(INSIDE, "1");
        return Err(unshare.exec()).context("start unshare");
    }
    // The mounts go with the namespace; only the empty directory stays, and it is the same for everybody.
    let base = std::env::temp_dir().join("xtask-native");
    fs::create_dir_all(&base)?;
    let root = layered(&options.root, &base)?;
    devices(&root).context("make /dev")?;
    fs::create_dir_all(root.join("proc"))?;
    mount("proc", root.join("proc"), "proc", MountFlags::empty(), None).context("mount /proc")?;
    for volume in &options.volumes {
        bind(&root, volume)?;
    }
    rustix::process::chroot(&root).context("chroot")?;
    rustix::process::chdir("/")?;

    let (program, arguments) = options.command.split_first().context("no command")?;
    let mut command = Command::new(program);
    command.args(arguments).current_dir(&options.directory).env_clear();
    command.env("PATH", corpus::PATH).env("HOME", "/root");
    for pair in &options.environment {
        let (key, value) = pair.split_once('=').with_context(|| format!("-e {pair}: expected K=V"))?;
        command.env(key, value);
    }
    if options.terminal {
        return failed(program, &command.exec());
    }
    let child = match command.spawn() {
        Ok(child) => child,
        Err(error) => return failed(program, &error),
    };
    // We are init of this pid namespace: reap orphans until the one that counts ends; the kernel kills the rest with us.
    loop {
        let Some((pid, status)) = rustix::process::wait(WaitOptions::empty())? else { continue };
        if pid.as_raw_nonzero().get().cast_unsigned() == child.id() {
            let status = std::process::ExitStatus::from_raw(status.as_raw());
            return Ok(status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default()));
        }
    }
}

/// What a shell does when it cannot start a program.
fn failed(program: &str, error: &std::io::Error) -> Result<i32> {
    eprintln!("native: {program}: {error}");
    Ok(if error.kind() == std::io::ErrorKind::NotFound { 127 } else { 126 })
}

/// `lower` with a private writable layer over it.
fn layered(lower: &Path, base: &Path) -> Result<PathBuf> {
    let none = MountFlags::empty();
    mount("tmpfs", base, "tmpfs", none, Some(c"mode=755")).context("mount a tmpfs (root is needed)")?;
    let (upper, work, root) = (base.join("upper"), base.join("work"), base.join("root"));
    for dir in [&upper, &work, &root] {
        fs::create_dir(dir)?;
    }
    let lower = lower.canonicalize().with_context(|| format!("root directory {}", lower.display()))?;
    let options = format!("lowerdir={},upperdir={},workdir={}", lower.display(), upper.display(), work.display());
    let options = std::ffi::CString::new(options)?;
    if mount("overlay", &root, "overlay", none, Some(options.as_c_str())).is_err() {
        // No overlay here (some containers): a copy will do.
        crate::sh::output(Command::new("cp").arg("-a").arg(lower.join(".")).arg(&root))?;
    }
    Ok(root)
}

fn devices(root: &Path) -> Result<()> {
    let dev = root.join("dev");
    mount("tmpfs", &dev, "tmpfs", MountFlags::empty(), Some(c"mode=755"))?;
    for name in ["null", "zero", "full", "random", "urandom", "tty"] {
        fs::write(dev.join(name), "")?;
        mount_bind(Path::new("/dev").join(name), dev.join(name))?;
    }
    for dir in ["pts", "shm"] {
        fs::create_dir(dev.join(dir))?;
    }
    mount("devpts", dev.join("pts"), "devpts", MountFlags::empty(), Some(c"newinstance,ptmxmode=0666,mode=620"))?;
    let links =
        [("pts/ptmx", "ptmx"), ("/proc/self/fd", "fd"), ("/proc/self/fd/0", "stdin"), ("/proc/self/fd/1", "stdout")];
    for (target, name) in links.into_iter().chain([("/proc/self/fd/2", "stderr")]) {
        std::os::unix::fs::symlink(target, dev.join(name))?;
    }
    Ok(())
}

fn bind(root: &Path, volume: &str) -> Result<()> {
    let mut parts = volume.split(':');
    let (Some(host), Some(guest), mode) = (parts.next(), parts.next(), parts.next()) else {
        bail!("-v {volume}: expected HOST:GUEST[:ro]");
    };
    let guest = root.join(guest.trim_start_matches('/'));
    if Path::new(host).is_dir() {
        fs::create_dir_all(&guest)?;
    } else {
        fs::write(&guest, "")?;
    }
    mount_bind(host, &guest).with_context(|| format!("volume {volume}"))?;
    if mode == Some("ro") {
        rustix::mount::mount_remount(&guest, MountFlags::BIND | MountFlags::RDONLY, c"")?;
    }
    Ok(())
}
