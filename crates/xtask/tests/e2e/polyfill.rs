//! Polyfills: programs of ours that stand in for programs of the image, and begin from snapshots. The one here is a C program that looks at what it
//! begins with (`tests/programs/polyfill.c`); the interpreters have tests of their own.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::time::Duration;

use anyhow::{Result, ensure};
use tempfile::TempDir;
use xtask::subject::{self, Outcome, Stdin};
use xtask::{paths, sh};

use crate::{Test, context};

pub fn tests() -> Vec<Test> {
    vec![
        Test::ours("polyfill::routes", routes),
        Test::ours("polyfill::begins-from-its-snapshot", begins),
        Test::ours("polyfill::memory-of-a-snapshot", memory),
        Test::ours("polyfill::slots-are-put-back", slots),
        Test::ours("polyfill::sealed", sealed),
        Test::ours("polyfill::calls", calls),
        Test::ours("polyfill::refused", refused),
        Test::ours("polyfill::deterministic", deterministic),
        Test::ours("polyfill::choices", choices),
    ]
}

/// What the image has as `/usr/bin/python3.11`: nothing that runs, but known for what it is.
const PYTHON: &[u8] = b"\x7fELF\0Py_BytesMain\0/usr/lib/python3.11\0.dynsym\0";
const SCRIPT: &str = "#!/usr/bin/env python3\nthe script's text\n";

/// What the polyfill may call: all that it does but uname(2).
const CALLS: &str = "\
# The calls of tests/programs/polyfill.c.
read write close lseek mmap mprotect munmap brk rt_sigaction rt_sigprocmask rt_sigreturn ioctl pread64 writev access sched_yield mremap madvise
setitimer getpid clone execve wait4 fcntl getcwd readlink sysinfo sched_getparam sched_setscheduler sched_getscheduler sched_get_priority_max
sched_get_priority_min arch_prctl gettid time futex sched_getaffinity getdents64 set_tid_address clock_gettime exit exit_group tgkill openat newfstatat
set_robust_list pipe2 prlimit64 getrandom rseq
megalith_snapshot megalith_cold megalith_policy megalith_open_code
";

/// A directory with an image `root`, the polyfill for it, and with `bundle` its bundle `b`.
fn set_up(bundle: bool) -> Result<TempDir> {
    let context = context::get()?;
    let dir = tempfile::tempdir()?;
    let root = dir.path().join("root");
    for d in ["bin", "proc", "dev", "tmp", "opt", "usr/bin"] {
        fs::create_dir_all(root.join(d))?;
    }
    fs::copy(context.corpus.rootfs.join("bin/busybox"), root.join("bin/busybox"))?;
    for applet in ["sh", "cat", "ls", "cp", "env"] {
        symlink("/bin/busybox", root.join("bin").join(applet))?;
    }
    symlink("/bin/busybox", root.join("usr/bin/env"))?;
    let executable = |path: &str, bytes: &[u8]| {
        fs::write(root.join(path), bytes)?;
        fs::set_permissions(root.join(path), fs::Permissions::from_mode(0o755))
    };
    executable("usr/bin/python3.11", PYTHON)?;
    symlink("python3.11", root.join("usr/bin/python3"))?;
    executable("opt/script.py", SCRIPT.as_bytes())?;
    fs::write(root.join("opt/module.py"), "module text\n")?;
    let to = dir.path().join("polyfills/python-3.11/current");
    fs::create_dir_all(&to)?;
    let source = paths::root().join("tests/programs/polyfill.c");
    sh::output(sh::command("gcc", ["-O2", "-static", "-no-pie", "-o"]).arg(to.join("python")).arg(source))?;
    fs::write(to.join("calls"), CALLS)?;
    if bundle {
        let outcome = build(dir.path(), "b", &["--tool", "script=/opt/script.py", "--warm", "extra"])?;
        ensure!(outcome.status == 0, "{}", outcome.describe());
    }
    Ok(dir)
}

fn build(dir: &Path, bundle: &str, more: &[&str]) -> Result<Outcome> {
    let mut command = sh::command(paths::release("megalith"), ["build"]);
    command.env("MEGALITH_POLYFILLS", dir.join("polyfills"));
    command.arg(dir.join("root")).arg("-o").arg(dir.join(bundle)).args(more);
    subject::run(command, &Stdin::Empty, Duration::from_secs(600))
}

fn run(dir: &Path, options: &[&str], command: &[&str]) -> Result<Outcome> {
    let mut run = sh::command(paths::release("megalith"), ["run"]);
    run.args(options).arg(dir.join("b")).arg("--").args(command);
    subject::run(run, &Stdin::Empty, Duration::from_secs(120))
}

fn is(outcome: &Outcome, status: i32, stdout: &str) -> Result<()> {
    ensure!(outcome.status == status && outcome.text() == stdout, "{}", outcome.describe());
    Ok(())
}

fn says(outcome: &Outcome, status: i32, stderr: &str) -> Result<()> {
    let said = String::from_utf8_lossy(&outcome.stderr).contains(stderr);
    ensure!(outcome.status == status && said, "not '{stderr}': {}", outcome.describe());
    Ok(())
}

const STATE: &str = "warm 1 json:re:hashlib:datetime:logging:argparse:extra\n";

fn routes() -> Result<()> {
    let dir = set_up(true)?;
    is(&run(dir.path(), &[], &["/usr/bin/python3.11", "state"])?, 2, STATE)?;
    is(&run(dir.path(), &["-e", "X=1"], &["python3", "state", "x"])?, 3, &format!("{STATE}X=1\n"))?;
    is(&run(dir.path(), &[], &["sh", "-c", "X=2 python3 state; echo $?"])?, 0, &format!("{STATE}X=2\n2\n"))?;
    is(&run(dir.path(), &[], &["/opt/script.py", "a"])?, 3, "script /opt/script.py: the script's text\n")?;
    // A copy has the hash, wherever it lies.
    let copy = "cp /usr/bin/python3.11 /tmp/p; /tmp/p state; readlink /proc/self/exe > /dev/null";
    is(&run(dir.path(), &[], &["sh", "-c", copy])?, 0, STATE)?;
    // What the build added is nowhere to be seen.
    let look = "ls -a / | grep -c megalith; cat /.megalith/python-3.11.elf 2>/dev/null || echo none";
    is(&run(dir.path(), &[], &["sh", "-c", look])?, 0, "0\nnone\n")?;
    let manifest: serde_json::Value = serde_json::from_slice(&fs::read(dir.path().join("b/manifest.json"))?)?;
    for (path, kind) in [("/usr/bin/python3.11", "polyfill"), ("/opt/script.py", "script"), ("/bin/busybox", "elf")] {
        let entry = &manifest["binaries"][path];
        let start = if kind == "elf" { "busybox_start" } else { "python_start" };
        ensure!(entry["kind"] == kind && entry["entry_point"] == start, "{path}: {entry}");
    }
    let inspect = subject::run(
        {
            let mut c = sh::command(paths::release("megalith"), ["inspect"]);
            c.arg(dir.path().join("b"));
            c
        },
        &Stdin::Empty,
        Duration::from_secs(60),
    )?;
    ensure!(inspect.text().contains("it is python 3.11; the default for it"), "{}", inspect.describe());
    let mut verify = sh::command(paths::release("megalith"), ["verify"]);
    verify.arg(dir.path().join("b"));
    let verified = subject::run(verify, &Stdin::Empty, Duration::from_secs(60))?;
    ensure!(verified.status == 0, "{}", verified.describe());
    Ok(())
}

fn begins() -> Result<()> {
    let dir = set_up(true)?;
    let python = |args: &[&str]| run(dir.path(), &["-e", "X=9"], &[&["python3"], args].concat());
    is(&python(&["signal"])?, 0, "10 1 1\n")?;
    is(&python(&["jump"])?, 23, "")?;
    is(&python(&["cold", "a"])?, 0, "cold python3 3 9\n")?;
    // Random numbers and clocks are those of the run.
    let (one, two) = (python(&["fresh"])?, python(&["fresh"])?);
    ensure!(one.text().ends_with(" 1 1\n") && one.text() != two.text(), "{} {}", one.describe(), two.describe());
    // A signal that is ignored stays so.
    is(&run(dir.path(), &[], &["sh", "-c", "trap '' USR1; python3 signal"])?, 0, "0 1 1\n")
}

fn memory() -> Result<()> {
    let dir = set_up(true)?;
    is(&run(dir.path(), &[], &["python3", "fork"])?, 0, "5 1\n")?;
    // Dropped and new memory is zeros, and what follows is put together as the guest saw it.
    is(&run(dir.path(), &[], &["python3", "memory"])?, 0, "1 1 1 1 1\n")?;
    is(&run(dir.path(), &["--memory", "64m"], &["python3", "state"])?, 2, STATE)
}

fn slots() -> Result<()> {
    let dir = set_up(true)?;
    is(&run(dir.path(), &[], &["python3", "again", "60"])?, 0, "")?;
    let loops = "for i in 1 2 3 4 5 6 7 8 9; do python3 again 3 || echo bad; python3 memory; python3 cold; done | sort | uniq -c";
    let expected = "      9 1 1 1 1 1\n      9 cold python3 2 (null)\n";
    is(&run(dir.path(), &[], &["sh", "-c", loops])?, 0, expected)
}

fn sealed() -> Result<()> {
    let dir = set_up(true)?;
    let files = ["/opt/module.py", "/opt/script.py", "/tmp/new.py", "/tmp/copy.py", "/opt/none"];
    let open = |options: &[&str], files: &[&str]| {
        let script = "cp /opt/script.py /tmp/copy.py; echo new > /tmp/new.py; python3 policy \"$@\"";
        run(dir.path(), options, &[&["sh", "-c", script, "sh"], files].concat())
    };
    is(&open(&[], &files)?, 0, "0 modul #!/us new\n #!/us No such file or directory\n")?;
    let outcome = build(dir.path(), "b", &["--scripts", "sealed"])?;
    ensure!(outcome.status == 0, "{}", outcome.describe());
    let closed = open(&[], &files)?;
    is(&closed, 0, "1 modul #!/us EACCES #!/us No such file or directory\n")?;
    says(&closed, 0, "refused to load /tmp/new.py as code")?;
    let changed = "echo more >> /opt/module.py; python3 policy /opt/module.py";
    is(&run(dir.path(), &[], &["sh", "-c", changed])?, 0, "1 EACCES\n")?;
    // A tool is sealed, whatever the bundle is.
    let outcome = build(dir.path(), "b", &["--tool", "p=/usr/bin/python3"])?;
    ensure!(outcome.status == 0, "{}", outcome.describe());
    let mut call = sh::command(paths::release("megalith"), ["tools"]);
    call.arg(dir.path().join("b")).args(["call", "p", "policy"]);
    is(&subject::run(call, &Stdin::Empty, Duration::from_secs(60))?, 0, "1\n")?;
    let mut list = sh::command(paths::release("megalith"), ["tools"]);
    list.arg(dir.path().join("b"));
    let listed = subject::run(list, &Stdin::Empty, Duration::from_secs(60))?;
    ensure!(listed.text().trim_end().ends_with("  sealed"), "{}", listed.describe());
    Ok(())
}

/// What is not in the list is unknown to the polyfill and to its forked children, before and after the snapshot; programs that it starts are not bound by it.
fn calls() -> Result<()> {
    let dir = set_up(true)?;
    let list = dir.path().join("polyfills/python-3.11/current/calls");
    let manifest =
        || -> Result<serde_json::Value> { Ok(serde_json::from_slice(&fs::read(dir.path().join("b/manifest.json"))?)?) };
    let words: Vec<_> = CALLS.lines().skip(1).flat_map(str::split_whitespace).collect();
    let polyfills = manifest()?["polyfills"].as_object().cloned().unwrap_or_default();
    ensure!(polyfills.values().all(|p| p["calls"] == serde_json::json!(words)), "{polyfills:?}");
    is(&run(dir.path(), &[], &["python3", "calls", "/opt/module.py"])?, 0, "1 5 1\nLinux\n")?;
    is(&run(dir.path(), &[], &["sh", "-c", "echo $(python3 calls /opt/module.py)"])?, 0, "1 5 1 Linux\n")?;
    let inspect = sh::text(sh::command(paths::release("megalith"), ["inspect"]).arg(dir.path().join("b")))?;
    ensure!(inspect.contains(&format!("may make {} system calls", words.len())), "{inspect}");
    // One of the polyfill's own calls, and from its file.
    fs::write(&list, CALLS.replace("megalith_open_code", ""))?;
    let outcome = build(dir.path(), "b", &["--no-snapshots"])?;
    ensure!(outcome.status == 0, "{}", outcome.describe());
    is(&run(dir.path(), &[], &["python3", "calls", "/opt/module.py"])?, 0, "1 5 0\nLinux\n")?;
    // A name that nobody knows: neither the build's trial run nor a later one starts anything.
    fs::write(&list, format!("{CALLS} root_the_host"))?;
    says(&build(dir.path(), "c", &[])?, 1, "there is no system call 'root_the_host'")?;
    let outcome = build(dir.path(), "b", &["--no-snapshots"])?;
    ensure!(outcome.status == 0, "{}", outcome.describe());
    says(&run(dir.path(), &[], &["cat", "/opt/module.py"])?, 125, "there is no system call 'root_the_host'")?;
    fs::write(&list, "read read")?;
    says(&build(dir.path(), "c", &[])?, 1, "or twice")?;
    fs::remove_file(&list)?;
    says(&build(dir.path(), "c", &["--python", "polyfill"])?, 1, "cannot read what the polyfill may call")
}

fn refused() -> Result<()> {
    let dir = set_up(true)?;
    let bundle = dir.path().join("b");
    // The interpreter's file, changed.
    let changed = "cp /usr/bin/python3.11 /tmp/p; echo >> /tmp/p; /tmp/p state";
    says(&run(dir.path(), &[], &["sh", "-c", changed])?, 126, "refused to start /tmp/p")?;
    // Its ELF file is no program of the container.
    let volume = format!("{}:/v", dir.path().join("polyfills/python-3.11/current").display());
    says(&run(dir.path(), &["-v", &volume], &["/v/python", "state"])?, 126, "refused to start /v/python")?;
    // One byte of the snapshot, changed.
    let manifest: serde_json::Value = serde_json::from_slice(&fs::read(bundle.join("manifest.json"))?)?;
    let module = fs::read(bundle.join("container.wasm"))?;
    let magic = module.windows(8).position(|w| w == b"mgsnap01").unwrap_or(0);
    ensure!(magic > 0 && manifest["polyfills"].as_object().is_some_and(|p| p.len() == 1), "no snapshot");
    let mut damaged = module;
    damaged[magic + 100_000] ^= 1;
    fs::write(bundle.join("container.wasm"), damaged)?;
    says(&run(dir.path(), &[], &["python3", "state"])?, 125, "does not match its hash")
}

fn deterministic() -> Result<()> {
    let dir = set_up(true)?;
    let first = fs::read(dir.path().join("b/container.wasm"))?;
    // The same options, for what a tool imports is warmed.
    let outcome = build(dir.path(), "b", &["--tool", "script=/opt/script.py", "--warm", "extra", "--jobs", "1"])?;
    ensure!(outcome.status == 0, "{}", outcome.describe());
    ensure!(fs::read(dir.path().join("b/container.wasm"))? == first, "another module");
    Ok(())
}

fn choices() -> Result<()> {
    let dir = set_up(false)?;
    let build = |more: &[&str]| build(dir.path(), "b", more);
    // As a program of the image it is none.
    let outcome = build(&["--python", "recompile"])?;
    ensure!(
        outcome.status == 0 && outcome.text().contains("not recompiled: /usr/bin/python3.11"),
        "{}",
        outcome.describe()
    );
    let outcome = build(&["--python", "recompile", "--python", "/usr/bin/python3.11=polyfill"])?;
    ensure!(outcome.status == 0 && !outcome.text().contains("not recompiled: /usr"), "{}", outcome.describe());
    // What cannot be loaded before the snapshot is an error of the build.
    says(&build(&["--warm", "!"])?, 1, "cannot take its snapshot: no such module")?;
    fs::remove_dir_all(dir.path().join("polyfills"))?;
    says(&build(&["--python", "polyfill"])?, 1, "there is no polyfill for python 3.11")?;
    let outcome = build(&[])?;
    ensure!(
        outcome.status == 0 && outcome.text().contains("there is no polyfill for python 3.11"),
        "{}",
        outcome.describe()
    );
    Ok(())
}
