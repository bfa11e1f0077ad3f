//! The running side contains no compiler and makes no memory executable after start-up.

use std::fs;
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};
use xtask::subject::{self, Job, Stdin};
use xtask::{paths, sh, trace};

use crate::{Test, context};

pub fn tests() -> Vec<Test> {
    vec![
        Test::ours("no-jit::trace", trace_of_a_run),
        Test::ours("no-jit::symbols", symbols),
        Test::ours("no-jit::dependencies", dependencies),
        Test::ours("no-jit::flipped-code", flipped_code),
        Test::ours("no-jit::flipped-code-says-so", flipped_code_says_so),
        Test::ours("no-jit::copy-of-a-damaged-file", copy_of_a_damaged_file),
    ]
}

/// Traces a run with pipes, signals, forks and mappings, every thread of it.
fn trace_of_a_run() -> Result<()> {
    let context = context::get()?;
    let script = "seq 20000 | sort -r | sha256sum; (exit 3) & wait; /opt/t/probe mappings; /opt/t/probe exec-pages; /opt/t/probe faults; \
                  /opt/t/spawn /opt/t/true 20; awk 'BEGIN { for (i = 0; i < 1000; i++) s += i * i; print s }'; cp /opt/t/pie /tmp/p; /tmp/p";
    let job = Job::shell(script);
    let plain = context.subject.command(&job, false);
    let dir = tempfile::tempdir()?;
    let log = dir.path().join("trace");
    let mut strace = Command::new("strace");
    strace.args(trace::STRACE).arg("-o").arg(&log).arg(plain.get_program()).args(plain.get_args());
    let outcome = subject::run(strace, &Stdin::Empty, std::time::Duration::from_secs(300))?;
    ensure!(outcome.status == 0, "{}", outcome.describe());
    ensure!(outcome.text().contains("position independent"), "the run did not get to its end: {}", outcome.describe());
    let text = fs::read_to_string(&log)?;
    let found = trace::executable(&text);
    ensure!(found.sealed, "no seccomp filter was installed");
    ensure!(found.calls > 20 && found.early > 0, "the trace shows too little: {} calls", found.calls);
    ensure!(found.writable.is_empty(), "writable and executable: {:#?}", found.writable);
    ensure!(found.late.is_empty(), "executable after start-up: {:#?}", found.late);
    Ok(())
}

/// The executable as linked has no symbol of the code generator.
fn symbols() -> Result<()> {
    let runner = paths::release("megalith-run");
    let symbols = sh::text(sh::command("nm", ["--demangle"]).arg(&runner))?;
    ensure!(symbols.lines().count() > 1000, "{} is stripped: its symbols prove nothing", runner.display());
    ensure!(symbols.contains("wasmtime"), "no symbols of wasmtime: not the executable that was meant");
    let found: Vec<&str> = symbols.lines().filter(|l| l.contains("cranelift_codegen")).take(5).collect();
    ensure!(found.is_empty(), "{found:#?}");
    Ok(())
}

fn dependencies() -> Result<()> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command =
        sh::command(cargo, ["tree", "--offline", "--package", "megalith-run", "--edges", "normal", "--prefix", "none"]);
    let tree = sh::text(command.current_dir(paths::root()))?;
    ensure!(tree.contains("wasmtime v"), "no wasmtime in the tree: {tree}");
    for compiler in ["cranelift-codegen", "cranelift-frontend", "wasmtime-internal-cranelift", "winch"] {
        if let Some(line) = tree.lines().find(|l| l.starts_with(compiler)) {
            bail!("megalith-run depends on {line}");
        }
    }
    Ok(())
}

/// With one byte of a file's AOT code, or of what belongs to it, flipped, nothing of that file executes; the others still do.
fn flipped_code() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let copy = copied(dir.path())?;
    let runs = |path: &str| -> Result<bool> {
        let outcome = subject::Subject::megalith(&copy).run(&Job::new([path]))?;
        Ok(!outcome.stdout.is_empty())
    };
    ensure!(runs("/opt/t/pie")? && runs("/opt/t/hello")?, "the copied bundle does not run");
    // Which file belongs to the program is the index's affair: flip a byte in the middle of each in turn.
    for kind in ["cwasm", "meta"] {
        flip_each(&copy, kind, &runs).with_context(|| format!("*.{kind}"))?;
    }
    ensure!(runs("/opt/t/pie")?, "with its bytes back, it runs again");
    Ok(())
}

/// Why the first process does not start is said before the container ends, every time.
fn flipped_code_says_so() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let copy = copied(dir.path())?;
    for file in files(&copy.join("aot"))?.into_iter().filter(|f| f.extension().is_some_and(|e| e == "cwasm")) {
        let mut bytes = fs::read(&file)?;
        let middle = bytes.len() / 2;
        *bytes.get_mut(middle).context("a file has a middle")? ^= 1;
        rewrite(&file, &bytes)?;
    }
    for _ in 0..20 {
        let outcome = subject::Subject::megalith(&copy).run(&Job::new(["/opt/t/hello"]))?;
        let said = String::from_utf8_lossy(&outcome.stderr).into_owned();
        ensure!(outcome.status == 125 && said.contains("AOT code of hello_start"), "{}", outcome.describe());
    }
    Ok(())
}

/// The bytes of a program pass the gate in a copy, but what is mapped is the container's own file: when that is damaged, nothing starts.
fn copy_of_a_damaged_file() -> Result<()> {
    let context = context::get()?;
    let dir = tempfile::tempdir()?;
    let copy = copied(dir.path())?;
    let volume = dir.path().join("v");
    fs::create_dir(&volume)?;
    for program in ["pie", "hello"] {
        sh::output(sh::command("cp", ["-a"]).arg(context.corpus.rootfs.join("opt/t").join(program)).arg(&volume))?;
    }
    let run = |path: &str| {
        let mut job = Job::new([path]);
        job.volumes.push(format!("{}:/v", volume.display()));
        subject::Subject::megalith(&copy).run(&job)
    };
    let good = run("/v/pie")?;
    ensure!(good.status == 0 && good.text().starts_with("position independent"), "{}", good.describe());
    let module = copy.join("container.wasm");
    let mut bytes = fs::read(&module)?;
    let pie = fs::read(volume.join("pie"))?;
    let starts: Vec<usize> = (0..bytes.len().saturating_sub(pie.len()))
        .step_by(4096)
        .chain(unaligned(&bytes, &pie))
        .filter(|&at| bytes.get(at..at + pie.len()).is_some_and(|b| b == pie))
        .collect();
    let text = b"independent\0";
    let inside = pie.windows(text.len()).position(|w| w == text).context("the program has its text")?;
    ensure!(!starts.is_empty(), "the program is not in the module");
    for at in starts {
        *bytes.get_mut(at + inside).context("inside of the file")? ^= 0x20;
    }
    rewrite(&module, &bytes)?;
    for path in ["/v/pie", "/opt/t/pie"] {
        let bad = run(path)?;
        let said = String::from_utf8_lossy(&bad.stderr).into_owned();
        ensure!(
            bad.status == 125 && bad.stdout.is_empty() && said.contains("does not match its hash"),
            "{path}: {}",
            bad.describe()
        );
    }
    let other = run("/v/hello")?;
    ensure!(other.status == 0 && !other.stdout.is_empty(), "{}", other.describe());
    Ok(())
}

/// Where the first page of `file` is found, wherever that is.
fn unaligned(bytes: &[u8], file: &[u8]) -> Option<usize> {
    let head = file.get(..64)?;
    bytes.windows(head.len()).position(|w| w == head).filter(|at| at % 4096 != 0)
}

/// A copy of the bundle.
fn copied(dir: &std::path::Path) -> Result<std::path::PathBuf> {
    let bundle = subject::bundle(&context::get()?.corpus)?;
    let copy = dir.join("bundle");
    sh::output(sh::command("cp", ["-a"]).arg(&bundle).arg(&copy))?;
    Ok(copy)
}

fn flip_each(copy: &std::path::Path, kind: &str, runs: &dyn Fn(&str) -> Result<bool>) -> Result<()> {
    let mut flipped = 0;
    let mut stopped = 0;
    for file in files(&copy.join("aot"))? {
        let mut bytes = fs::read(&file)?;
        if file.extension().is_none_or(|e| e != kind) || bytes.is_empty() {
            continue;
        }
        let middle = bytes.len() / 2;
        let byte = bytes.get_mut(middle).context("a file has a middle")?;
        *byte ^= 1;
        rewrite(&file, &bytes)?;
        flipped += 1;
        let (pie, hello) = (runs("/opt/t/pie")?, runs("/opt/t/hello")?);
        ensure!(pie || hello, "{}: one flipped byte stops every program", file.display());
        if !pie {
            stopped += 1;
        }
        if let Some(byte) = bytes.get_mut(middle) {
            *byte ^= 1;
        }
        rewrite(&file, &bytes)?;
    }
    ensure!(flipped > 0, "no AOT files in {}", copy.display());
    ensure!(stopped == 1, "{stopped} of {flipped} flipped files stopped the program whose code one of them is");
    Ok(())
}

/// Replaces a file's bytes by way of a new file: the old one may be read-only, or linked to a cache.
fn rewrite(file: &std::path::Path, bytes: &[u8]) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let mode = fs::metadata(file)?.permissions().mode();
    fs::remove_file(file)?;
    fs::write(file, bytes)?;
    Ok(fs::set_permissions(file, fs::Permissions::from_mode(mode & 0o755))?)
}

fn files(dir: &std::path::Path) -> Result<Vec<std::path::PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).with_context(|| format!("read {}", dir.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(files(&path)?);
        } else {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}
