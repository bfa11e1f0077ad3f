//! What the command line promises: exit statuses, options, standard streams.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use xtask::subject::{self, Outcome, Stdin};
use xtask::{paths, sh};

use crate::{Test, context};

/// Name, options before `--`, command, what must come: status, stdout.
type Run = (&'static str, &'static [&'static str], &'static [&'static str], i32, &'static str);

const RUNS: &[Run] = &[
    ("environment", &["-e", "A=1", "-e", "B=x y"], &["/bin/busybox", "sh", "-c", "echo $A $B"], 0, "1 x y\n"),
    ("directory", &["-w", "/usr/share/doc"], &["/bin/busybox", "pwd"], 0, "/usr/share/doc\n"),
    ("user", &["-u", "1000"], &["/bin/busybox", "id", "-u"], 0, "1000\n"),
    ("user-name", &["-u", "user"], &["/bin/busybox", "id", "-un"], 0, "user\n"),
    (
        "user-modes",
        &["-u", "1000"],
        &["/bin/busybox", "sh", "-c", "ls /root 2>/dev/null; echo x > /etc/x; echo $?"],
        0,
        "1\n",
    ),
    ("hostname", &["--hostname", "sealed"], &["/bin/busybox", "hostname"], 0, "sealed\n"),
    ("read-only", &["--read-only"], &["/bin/busybox", "sh", "-c", "echo x > /etc/x; echo $?"], 0, "1\n"),
    ("entrypoint", &["--entrypoint", "/opt/t/pie"], &["a", "b"], 0, "position independent and static\n5 7 2 42\n"),
    ("path-look-up", &[], &["pie-does-not-exist"], 127, ""),
    ("not-found", &[], &["/no/such/program"], 127, ""),
    ("not-executable", &[], &["/etc/passwd"], 126, ""),
    ("a-directory", &[], &["/etc"], 126, ""),
    ("status", &[], &["/bin/busybox", "sh", "-c", "exit 7"], 7, ""),
    ("killed", &[], &["/bin/busybox", "sh", "-c", "kill -9 $$"], 137, ""),
    ("segfault", &[], &["/opt/t/probe", "jump-to-data"], 139, "jumping to data\n"),
    ("timeout", &["--timeout", "1"], &["/bin/busybox", "sleep", "20"], 124, ""),
    ("timeout-busy", &["--timeout", "1"], &["/bin/busybox", "sh", "-c", "while :; do :; done"], 124, ""),
    // tail(1) keeps what it reads: it is killed, and the shell says so.
    (
        "memory-in-a-pipe",
        &["--memory", "64M"],
        &["/bin/busybox", "sh", "-c", "head -c 200000000 /dev/zero | tail -c 190000000; echo $?"],
        0,
        "137\n",
    ),
    ("memory-reserved", &["--memory", "64M"], &["/opt/t/probe", "limit-reserve"], 0, "reserved 3\n"),
    ("memory-of-pid-1", &["--memory", "64M"], &["/opt/t/probe", "limit-hog"], 137, ""),
    ("memory-at-one-stroke", &["--memory", "64M"], &["/opt/t/probe", "limit-hog", "fill", "3000"], 137, ""),
    (
        "memory-of-a-child",
        &["--memory", "64M"],
        &["/bin/busybox", "sh", "-c", "/opt/t/probe limit-hog fill; echo $?; /opt/t/probe limit-hog step 40; echo $?"],
        0,
        "137\ntouched all\n0\n",
    ),
    (
        "memory-of-many",
        &["--memory", "256M"],
        &["/bin/busybox", "sh", "-c", "/opt/t/probe limit-bomb; echo $?"],
        0,
        "bomb: some killed 1, some left 1, failed 0, other 0\n0\n",
    ),
    (
        "memory-of-files",
        &["--memory", "64M"],
        // Half of the limit is for files, as with a tmpfs.
        &[
            "/bin/busybox",
            "sh",
            "-c",
            "head -c 100000000 /dev/zero > /tmp/a; echo $?; head -c 100000000 /dev/zero > /dev/shm/b; echo $?; rm /tmp/a; head -c 30000000 /dev/zero > /root/a; echo $?",
        ],
        0,
        "1\n1\n0\n",
    ),
    (
        "memory-that-is-shared",
        &["--memory", "64M"],
        &["/opt/t/probe", "limit-shares"],
        0,
        "shared: ENOMEM\nmemfd: 10 MiB, ENOSPC, ENOSPC\nand another: ENOSPC, 40 MiB\nfile with holes: 0, ENOSPC\nsmall: mapped, grown: ENOSPC\n",
    ),
];

pub fn tests() -> Vec<Test> {
    let mut tests: Vec<Test> = RUNS
        .iter()
        .map(|(name, options, command, status, stdout)| {
            Test::ours(format!("run::{name}"), move || {
                let outcome = run(options, command, &Stdin::Empty)?;
                ensure!(outcome.status == *status, "status {status} expected: {}", outcome.describe());
                ensure!(outcome.text() == *stdout, "stdout {stdout:?} expected: {}", outcome.describe());
                Ok(())
            })
        })
        .collect();
    tests.extend([
        Test::ours("run::build-verify-inspect", build_verify_inspect),
        Test::ours("run::default-command", default_command),
        Test::ours("run::stdin-of-a-pipe", stdin_of_a_pipe),
        Test::ours("run::closed-stdout", closed_stdout),
        Test::ours("run::env-file", env_file),
        Test::ours("run::volumes", volumes),
        Test::ours("run::volume-stays-below", volume_stays_below),
        Test::ours("run::mapped-volume-is-left-alone", mapped_volume),
        Test::ours("run::writes-end-with-the-run", writes_end),
        Test::ours("run::signal-to-the-command", signal_to_the_command),
        Test::ours("run::refused-says-so", refused_says_so),
        Test::ours("run::memory-says-so", memory_says_so),
        Test::ours("run::own-errors", own_errors),
        Test::ours("run::help", help),
    ]);
    tests
}

fn command(options: &[&str], command: &[&str]) -> Result<Command> {
    let bundle = subject::bundle(&context::get()?.corpus)?;
    let mut run = sh::command(paths::release("megalith"), ["run"]);
    run.arg(bundle).args(options).arg("--").args(command);
    Ok(run)
}

fn run(options: &[&str], words: &[&str], stdin: &Stdin) -> Result<Outcome> {
    subject::run(command(options, words)?, stdin, Duration::from_secs(60))
}

fn megalith(arguments: &[&str]) -> Result<Outcome> {
    subject::run(sh::command(paths::release("megalith"), arguments), &Stdin::Empty, Duration::from_secs(600))
}

fn build_verify_inspect() -> Result<()> {
    let context = context::get()?;
    let dir = tempfile::tempdir()?;
    let bundle = dir.path().join("b");
    let (bundle, image) = (bundle.to_string_lossy(), context.corpus.image.to_string_lossy());
    for arguments in [&["build", &image, "-o", &bundle][..], &["verify", &bundle], &["inspect", &bundle]] {
        let outcome = megalith(arguments)?;
        ensure!(outcome.status == 0, "{arguments:?}: {}", outcome.describe());
    }
    let inspect = megalith(&["inspect", &bundle])?;
    ensure!(
        inspect.text().contains("/bin/busybox") && inspect.text().contains("busybox_start"),
        "{}",
        inspect.describe()
    );
    let json = megalith(&["inspect", &bundle, "--json"])?;
    let _: serde_json::Value = serde_json::from_slice(&json.stdout)?;
    let manifest: serde_json::Value = serde_json::from_slice(&std::fs::read(dir.path().join("b/manifest.json"))?)?;
    ensure!(manifest["schema"] == "megalith/1", "schema {}", manifest["schema"]);
    ensure!(manifest["binaries"]["/bin/busybox"]["entry_point"] == "busybox_start", "{}", manifest["binaries"]);
    ensure!(manifest["binaries"]["/usr/local/bin/greet"]["kind"] == "script", "{}", manifest["binaries"]);
    ensure!(manifest["binaries"].get("/bin/ls").is_none(), "a symlink is no entry");
    let hash = format!("sha256:{}", sh::sha256_file(&dir.path().join("b/container.wasm"))?);
    ensure!(
        manifest["megabinary_hash"] == hash.as_str(),
        "megabinary_hash {} is not {hash}",
        manifest["megabinary_hash"]
    );
    Ok(())
}

fn default_command() -> Result<()> {
    let bundle = subject::bundle(&context::get()?.corpus)?;
    let mut command = sh::command(paths::release("megalith"), ["run"]);
    command.arg(bundle);
    let outcome =
        subject::run(command, &Stdin::Bytes(b"echo from the image; exit 4\n".to_vec()), Duration::from_secs(60))?;
    ensure!(outcome.status == 4 && outcome.text() == "from the image\n", "{}", outcome.describe());
    Ok(())
}

fn stdin_of_a_pipe() -> Result<()> {
    let data = context::get()?.data.join("small");
    let mut cat = sh::command("cat", [&data]).stdout(Stdio::piped()).spawn()?;
    let mut sum = command(&["-i"], &["/bin/busybox", "sha256sum"])?;
    if let Some(pipe) = cat.stdout.take() {
        sum.stdin(pipe);
    }
    let out = sum.output()?;
    cat.wait()?;
    let wanted = format!("{}  -\n", sh::sha256_file(&data)?);
    ensure!(out.status.success() && out.stdout == wanted.as_bytes(), "{out:?}");
    Ok(())
}

/// `megalith run ... | head -1` ends, as any command does in a pipe.
fn closed_stdout() -> Result<()> {
    let mut yes = command(&[], &["/bin/busybox", "yes"])?.stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
    drop(yes.stdout.take());
    let end = Instant::now() + Duration::from_secs(30);
    while Instant::now() < end {
        if let Some(status) = yes.try_wait()? {
            ensure!(!status.success(), "{status}");
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    yes.kill()?;
    yes.wait()?;
    anyhow::bail!("`yes` goes on after its reader is gone")
}

fn env_file() -> Result<()> {
    let file = tempfile::NamedTempFile::new()?;
    std::fs::write(file.path(), "# a comment\nONE=1\n\nTWO=a b=c\n")?;
    let outcome = run(
        &["--env-file", &file.path().to_string_lossy(), "-e", "ONE=over"],
        &["/bin/busybox", "sh", "-c", "echo $ONE,$TWO"],
        &Stdin::Empty,
    )?;
    ensure!(outcome.text() == "over,a b=c\n", "{}", outcome.describe());
    Ok(())
}

fn volumes() -> Result<()> {
    let dir = tempfile::tempdir()?;
    std::fs::write(dir.path().join("in"), "from the host\n")?;
    let host = dir.path().to_string_lossy();
    let script = "cat /v/in; echo out > /v/out; mkdir /v/d; ln -s in /v/l; cat /v/l; echo x > /ro/in; echo $?; rm /ro/in; echo $?; ls /ro";
    let outcome = run(
        &["-v", &format!("{host}:/v"), "-v", &format!("{host}:/ro:ro")],
        &["/bin/busybox", "sh", "-c", script],
        &Stdin::Empty,
    )?;
    ensure!(outcome.text() == "from the host\nfrom the host\n1\n1\nd\nin\nl\nout\n", "{}", outcome.describe());
    ensure!(std::fs::read_to_string(dir.path().join("out"))? == "out\n");
    Ok(())
}

/// Symlinks and `..` inside a volume resolve inside.
fn volume_stays_below() -> Result<()> {
    let dir = tempfile::tempdir()?;
    std::fs::write(dir.path().join("secret"), "host secret")?;
    let volume = dir.path().join("volume");
    std::fs::create_dir(&volume)?;
    std::os::unix::fs::symlink("/etc/hostname", volume.join("absolute"))?;
    std::os::unix::fs::symlink("../secret", volume.join("relative"))?;
    std::os::unix::fs::symlink(dir.path().join("secret"), volume.join("host"))?;
    let script = "cat /v/absolute; cat /v/relative; cat /v/host; cat /v/../../secret; ls /v";
    let outcome =
        run(&["-v", &format!("{}:/v", volume.display())], &["/bin/busybox", "sh", "-c", script], &Stdin::Empty)?;
    ensure!(!outcome.text().contains("host secret"), "{}", outcome.describe());
    ensure!(outcome.text().contains("absolute\nhost\nrelative\n"), "{}", outcome.describe());
    Ok(())
}

/// Guests map a volume's file, shared and private; neither it nor later guests in the same slots see a trace.
fn mapped_volume() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let bytes: Vec<u8> = (0..200_000u32).flat_map(|i| (i * 7).to_le_bytes()).collect();
    std::fs::write(dir.path().join("file"), &bytes)?;
    let script = "for i in 1 2 3 4 5 6 7 8 9 10; do /opt/t/probe map-file /v/file > /dev/null || echo failed; /opt/t/probe fresh-memory; done | sort | uniq -c";
    let volume = format!("{}:/v", dir.path().display());
    let outcome = run(&["-v", &volume], &["/bin/busybox", "sh", "-c", script], &Stdin::Empty)?;
    ensure!(outcome.text().trim() == "10 fresh memory is zero", "{}", outcome.describe());
    let mut wanted = bytes;
    // What the guests wrote through the shared mapping, on purpose.
    if let Some(byte) = wanted.get_mut(5000) {
        *byte = b'!';
    }
    ensure!(std::fs::read(dir.path().join("file"))? == wanted, "the volume's file changed where nobody wrote");
    Ok(())
}

fn writes_end() -> Result<()> {
    let script = "cat /etc/mark /tmp/mark 2>/dev/null; rm -rf /usr/share/doc; echo here > /etc/mark; echo here > /tmp/mark; ls /usr/share | wc -l";
    for _ in 0..2 {
        let outcome = run(&[], &["/bin/busybox", "sh", "-c", script], &Stdin::Empty)?;
        ensure!(outcome.text().trim() == "0", "{}", outcome.describe());
    }
    Ok(())
}

/// SIGTERM to `megalith run` reaches the guest.
fn signal_to_the_command() -> Result<()> {
    use std::io::{BufRead, BufReader};
    let script = "trap 'echo caught; exit 9' TERM; echo up; while :; do sleep 0.1; done";
    let mut child = command(&[], &["/bin/busybox", "sh", "-c", script])?.stdout(Stdio::piped()).spawn()?;
    let Some(stdout) = child.stdout.take() else { anyhow::bail!("no stdout") };
    let mut lines = BufReader::new(stdout).lines();
    ensure!(lines.next().transpose()?.as_deref() == Some("up"));
    sh::output(&mut sh::command("kill", ["-TERM", &child.id().to_string()]))?;
    let line = lines.next().transpose()?;
    let status = child.wait()?;
    ensure!(line.as_deref() == Some("caught") && status.code() == Some(9), "{line:?} {status}");
    Ok(())
}

fn refused_says_so() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let program = dir.path().join("unknown");
    std::fs::copy("/bin/true", &program)?;
    let outcome = run(&["-v", &format!("{}:/v", dir.path().display())], &["/v/unknown"], &Stdin::Empty)?;
    ensure!(outcome.status == 126 && outcome.stdout.is_empty(), "{}", outcome.describe());
    let said = String::from_utf8_lossy(&outcome.stderr).into_owned();
    ensure!(said.contains("/v/unknown") && said.lines().count() <= 2, "a clear line: {said}");
    Ok(())
}

/// Who is killed for `--memory` stands on stderr, once, with the limit.
fn memory_says_so() -> Result<()> {
    let outcome = run(&["--memory", "64M"], &["/opt/t/probe", "limit-hog"], &Stdin::Empty)?;
    let said = String::from_utf8_lossy(&outcome.stderr).into_owned();
    ensure!(
        outcome.status == 137
            && said.lines().count() == 1
            && ["pid 1 (probe): killed", "65536 KiB", "--memory"].iter().all(|part| said.contains(part)),
        "{}",
        outcome.describe()
    );
    Ok(())
}

fn own_errors() -> Result<()> {
    for (arguments, status) in [
        (&["run", "/no/such/bundle", "--", "/x"][..], 125),
        (&["run", "/etc", "--", "/bin/true"], 125),
        (&["verify", "/etc"], 1),
        (&["inspect", "/etc/passwd"], 1),
    ] {
        let outcome = megalith(arguments)?;
        ensure!(outcome.status == status, "{arguments:?}: status {status} expected: {}", outcome.describe());
        let said = String::from_utf8_lossy(&outcome.stderr).into_owned();
        ensure!(
            said.lines().count() == 1 && said.contains(arguments[1]),
            "{arguments:?}: one line that names it: {said}"
        );
    }
    Ok(())
}

fn help() -> Result<()> {
    for verb in [
        &["--help"][..],
        &["build", "--help"],
        &["compile", "--help"],
        &["run", "--help"],
        &["inspect", "--help"],
        &["verify", "--help"],
    ] {
        let outcome = megalith(verb)?;
        ensure!(outcome.status == 0 && outcome.stdout.len() > 100, "{verb:?}: {}", outcome.describe());
    }
    Ok(())
}
