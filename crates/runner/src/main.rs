//! `megalith-run`: opens a bundle, checks it, closes every door that is not needed, and runs its programs.
//!
//! The order matters: everything that must be opened or mapped executable comes first, then the seccomp filter, then the first guest
//! instruction. Exit statuses are `docker run`'s: 125 our own error, 126 refused, 127 not found, 128+N signal N, 124 timeout, 137 memory limit.

mod bundle;
mod command;
mod container;
mod failure;
mod lower;
mod memory;
mod net;
mod seccomp;
mod signals;
mod terminal;

use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use megalith_engine::run::Runtime;
use megalith_manifest::Scripts;
use megalith_run::options::RunOptions;
use megalith_vfs::{Budget, Timespec};
use megalith_vkernel::{Abi, Fixed, Kernel, KernelConfig, Limits, LineSink, Stdio, WaitStatus};

use crate::bundle::Bundle;
use crate::failure::{Failure, Result, fail};
use crate::lower::Lower;
use crate::net::Grants;

/// Run a program of a bundle. Normally started by `megalith run`.
#[derive(Parser)]
#[command(name = "megalith-run", version)]
struct Cli {
    #[command(flatten)]
    run: RunOptions,
}

fn main() -> ExitCode {
    if let Some(status) = net::serve() {
        return status;
    }
    let options = Cli::try_parse().unwrap_or_else(|e| {
        let _ = e.print();
        std::process::exit(if e.use_stderr() { 125 } else { 0 });
    });
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        terminal::restore();
        hook(info);
    }));
    let code = run(&options.run).unwrap_or_else(|Failure { code, message }| {
        terminal::restore();
        say(&format!("megalith: {message}"));
        code
    });
    terminal::restore();
    // Guest threads may still be there; nothing of theirs is worth waiting for.
    std::process::exit(code);
}

/// How long a container that has ended waits for the other sides of its connections to take what was sent.
const DRAIN: Duration = Duration::from_secs(10);

/// One line on standard error. On a raw terminal it must bring its own carriage return.
fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

fn run(options: &RunOptions) -> Result<i32> {
    signals::block();
    let bundle = Bundle::open(&options.bundle)?;
    let config = &bundle.manifest.config;
    let tool = options.tool.as_ref().map(|name| command::tool(&bundle.manifest, name)).transpose()?;
    let argv = command::argv(config, options, tool.map(|(path, _)| path))?;
    let (options, snapshot) = (&options.container, &options.snapshot);
    let line_end = if options.tty { "\r" } else { "" };
    let sink: LineSink = Arc::new(move |line: &str| say(&format!("megalith: {line}{line_end}")));
    let runtime = Runtime::new(Arc::clone(&sink)).map_err(|e| fail(format!("{e:#}")))?;
    let lower = Arc::new(Lower::open(bundle.section()?, &bundle.manifest.fs.root)?);
    let (programs, policy) = container::programs(&bundle, &lower)?;
    if programs.iter().any(|p| p.abi == Abi::Wasi) {
        runtime.prepare_wasi().map_err(|e| fail(format!("{e:#}")))?;
    }
    // As a tmpfs has by default, half of the memory there is.
    let files = options.memory.map_or_else(Budget::unlimited, |m| Budget::new(m / 2));
    let grants = Grants::resolve(&options.net)?;
    let vfs = container::vfs(&bundle, lower, &files, options, &grants.hosts)?;
    let (credentials, home) = command::user(options.user.as_deref().unwrap_or(&config.user), &vfs)?;
    let env = command::environment(config, options, &home)?;
    let cwd = command::workdir(config, options)?;
    if let Some(program) = container::likely(&bundle.manifest, &programs, &vfs, &argv, &env) {
        runtime.prepare(program);
    }
    let sealed = tool.is_some() || bundle.manifest.scripts == Scripts::Sealed;
    let fixed = snapshot.as_deref().map(snapshot_file).transpose()?;
    let stdio = Stdio { fds: stdio()?, tty: options.tty };
    let gateway = if options.net.is_empty() { None } else { Some(grants.broker()?) };
    let strace: LineSink = Arc::new(move |line: &str| say(&format!("{line}{line_end}")));
    let kernel = Kernel::new(KernelConfig {
        programs,
        policy,
        vfs,
        files,
        launcher: Arc::new(runtime.clone()),
        hostname: options.hostname.clone(),
        limits: Limits { memory: options.memory, timeout: options.timeout, processes: options.pids_limit as usize },
        audit: sink,
        strace: options.strace.then_some(strace),
        sealed,
        gateway,
        fixed,
    })
    .map_err(|e| {
        fail(format!("cannot set up the kernel: {e}; it needs /proc, and directories /proc and /dev in the image"))
    })?;
    let networked = !options.net.is_empty();
    if options.tty {
        terminal::make_raw()?;
    }
    signals::forward(Arc::clone(&kernel)).map_err(|e| fail(format!("cannot start a thread: {e}")))?;
    seccomp::install(networked)?;
    kernel
        .start_init(&argv, &env, &cwd, &credentials, stdio, tool.map(|(_, hash)| hash.0))
        .map_err(|e| Failure { code: e.code(), message: e.to_string() })?;
    // Beside the first program, which does not wait for it.
    memory::give_back();
    let status = kernel.wait();
    if networked && !kernel.drain_outside(DRAIN) {
        say("megalith: --net: what was sent last may not have arrived: the other side does not take it");
    }
    // The first process's code failed its check: our error (already reported), not the program's end.
    let own = status == WaitStatus::Signaled(libc::SIGKILL) && runtime.refused();
    if kernel.fixed().is_some_and(|f| !f.taken()) {
        return Err(fail(format!("the program ended with status {} before its snapshot was taken", status.code())));
    }
    Ok(if own { 125 } else { status.code() })
}

/// Where a snapshot goes. Files' times stand still from here on, as the clocks do.
fn snapshot_file(path: &Path) -> Result<Fixed> {
    let file = File::create(path).map_err(|e| fail(format!("cannot create {}: {e}", path.display())))?;
    Timespec { sec: Fixed::EPOCH, nsec: 0 }.fix();
    Ok(Fixed::new(file))
}

/// Our own standard descriptors, duplicated for the guest.
fn stdio() -> Result<[OwnedFd; 3]> {
    let dup = |fd: std::os::fd::BorrowedFd| {
        fd.try_clone_to_owned().map_err(|e| fail(format!("cannot duplicate a standard descriptor: {e}")))
    };
    Ok([dup(std::io::stdin().as_fd())?, dup(std::io::stdout().as_fd())?, dup(std::io::stderr().as_fd())?])
}
