//! WASI modules: started by the gate, side by side with recompiled programs. The modules are in `tests/wasi`.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, ensure};
use megalith_abi::WASI_IMPORTS;
use xtask::corpus::{self, Corpus};
use xtask::subject::{self, Job, Outcome, Stdin, Subject};
use xtask::{paths, setup, sh};

use crate::{Test, context};

/// Name, options of `run`, script for `busybox sh -c`, what must come: status, stdout, a part of stderr.
type Script = (&'static str, &'static [&'static str], &'static str, i32, &'static str, &'static str);

const SCRIPTS: &[Script] = &[
    (
        "pipe",
        &[],
        "seq 1000 | /opt/w/cat.wasm | wc -l; /opt/w/hello.wasm | /opt/w/cat.wasm | tr a-z A-Z",
        0,
        "1000\nHELLO FROM WASI\n",
        "",
    ),
    ("large-pipe", &[], "head -c 3000000 /dev/zero | /opt/w/cat.wasm | /opt/w/cat.wasm | wc -c", 0, "3000000\n", ""),
    (
        "redirection",
        &[],
        "/opt/w/hello.wasm > /tmp/x; /opt/w/cat.wasm < /tmp/x; cat /tmp/x",
        0,
        "hello from wasi\nhello from wasi\n",
        "",
    ),
    ("status", &[], "/opt/w/args.wasm a b > /dev/null; echo $?", 0, "3\n", ""),
    ("inherited-three", &[], "exec 3< /etc/hostname; /opt/w/hello.wasm; cat <&3", 0, "hello from wasi\nmegalith\n", ""),
    (
        "renamed",
        &[],
        "cp /opt/w/hello.wasm /tmp/x; ln -s x /tmp/y; /tmp/x; /tmp/y",
        0,
        "hello from wasi\nhello from wasi\n",
        "",
    ),
    (
        "changed-byte",
        &[],
        "cp /opt/w/hello.wasm /tmp/x; printf x >> /tmp/x; /tmp/x; echo $?",
        0,
        "126\n",
        "refused to start /tmp/x",
    ),
    (
        "another-over-the-path",
        &[],
        "cp /opt/w/args.wasm /opt/w/hello.wasm; /opt/w/hello.wasm; echo $?",
        0,
        "126\n",
        "refused to start /opt/w/hello.wasm",
    ),
    (
        "elf-over-the-path",
        &[],
        "cp /bin/busybox /opt/w/hello.wasm; /opt/w/hello.wasm; echo $?",
        0,
        "126\n",
        "refused to start",
    ),
    (
        "fresh",
        &[],
        "head -c 20 /opt/w/hello.wasm > /tmp/x; chmod +x /tmp/x; /tmp/x; echo $?",
        0,
        "126\n",
        "refused to start",
    ),
    ("mode", &[], "chmod -x /opt/w/hello.wasm; /opt/w/hello.wasm; echo $?", 0, "126\n", ""),
    (
        "user",
        &["-u", "1000"],
        "chmod 700 /opt/w/hello.wasm 2> /dev/null; /opt/w/hello.wasm",
        0,
        "hello from wasi\n",
        "",
    ),
    (
        "interpreter",
        &[],
        "/opt/w/script one | tr '\\0' ' ' | cut -d ' ' -f 1-5",
        0,
        "/opt/w/args.wasm an argument /opt/w/script one\n",
        "",
    ),
    ("terminated", &[], "/opt/w/loop.wasm & sleep 0.1; kill $!; wait $!; echo $?", 0, "143\n", ""),
    ("killed", &[], "/opt/w/calls.wasm & sleep 0.1; kill -9 $!; wait $!; echo $?", 0, "137\n", ""),
    ("killed-in-tail-calls", &[], "/opt/w/tail.wasm & sleep 0.1; kill -9 $!; wait $!; echo $?", 0, "137\n", ""),
    (
        "interrupted-wait",
        &[],
        "/opt/w/sleep.wasm & sleep 0.1; kill -INT $!; kill -HUP $!; wait $!; echo $?",
        0,
        "129\n",
        "",
    ),
    (
        "interrupted-read",
        &[],
        "mkfifo /tmp/f; sleep 5 > /tmp/f & /opt/w/cat.wasm < /tmp/f & p=$!; sleep 0.2; kill $p; wait $p; echo $?",
        0,
        "143\n",
        "",
    ),
    (
        "stopped",
        &[],
        "/opt/w/loop.wasm & p=$!; kill -STOP $p; while ! grep -q 'T (stopped)' /proc/$p/status; do sleep 0.01; done; \
         kill -CONT $p; while grep -q 'T (stopped)' /proc/$p/status; do sleep 0.01; done; kill $p; wait $p; echo $?",
        0,
        "143\n",
        "",
    ),
    ("broken-pipe", &[], "{ /opt/w/cat.wasm < /dev/zero; echo $? >&2; } | head -c 3", 0, "\0\0\0", "141"),
    ("raise", &[], "/opt/w/raise.wasm; echo $?", 0, "137\n", ""),
    ("deep", &[], "/opt/w/deep.wasm; echo $?; /opt/w/hello.wasm", 0, "139\nhello from wasi\n", "call stack exhausted"),
    (
        "bounds",
        &[],
        "/opt/w/bounds.wasm; echo $?",
        0,
        "139\n",
        "/opt/w/bounds.wasm: killed: wasm trap: out of bounds memory access",
    ),
    ("null-call", &[], "/opt/w/table.wasm; echo $?", 0, "139\n", "killed: wasm trap"),
    ("divide", &[], "/opt/w/divide.wasm; echo $?", 0, "136\n", "integer divide by zero in divide"),
    ("unreachable", &[], "/opt/w/unreachable.wasm; echo $?", 0, "132\n", "in gives_up"),
    ("late-data", &[], "/opt/w/late.wasm", 0, "copied in\n", ""),
    (
        "many",
        &[],
        "i=0; while [ $i -lt 300 ]; do /opt/w/hello.wasm; i=$((i + 1)); done | sort | uniq -c | tr -s ' '",
        0,
        " 300 hello from wasi\n",
        "",
    ),
    (
        "proc",
        &[],
        "/opt/w/loop.wasm a 'b c' & p=$!; sleep 0.1; tr '\\0' ' ' < /proc/$p/cmdline; echo; readlink /proc/$p/exe; readlink /proc/$p/fd/3; cut -d ' ' -f 2 /proc/$p/stat; \
         cut -d ' ' -f 1,2 /proc/$p/maps; kill $p",
        0,
        "/opt/w/loop.wasm a b c \n/opt/w/loop.wasm\n/\n(loop.wasm)\n00000000-00010000 rw-p\n",
        "",
    ),
    (
        "used-slots",
        &[],
        "i=0; while [ $i -lt 20 ]; do /opt/w/clean.wasm || echo dirty; seq 9 | sort -n | /opt/w/clean.wasm || echo dirty; \
         i=$((i + 1)); done; seq 100 | sort -rn | head -n 1",
        0,
        "100\n",
        "",
    ),
    (
        "signals-for-a-waiting-parent",
        &[],
        "trap 'echo caught' USR1; { sleep 0.2; kill -USR1 $$; sleep 0.1; kill -9 $(pidof loop.wasm); } & \
         /opt/w/loop.wasm; echo $?; wait",
        0,
        "caught\n137\n",
        "",
    ),
    ("child-of-a-loop", &[], "sh -c 'kill $$ & exec /opt/w/loop.wasm'; echo $?", 0, "143\n", ""),
    ("fuzz", &[], "/opt/w/fuzz.wasm < /dev/null > /dev/null; echo $?", 0, "42\n", ""),
];

/// Name, options, program, status, a part of stderr.
type First = (&'static str, &'static [&'static str], &'static [&'static str], i32, &'static str);

/// Programs that are the first process.
const FIRST: &[First] = &[
    ("hello", &[], &["/opt/w/hello.wasm"], 0, ""),
    ("first-status", &[], &["/opt/w/args.wasm", "a"], 2, ""),
    ("timeout", &["--timeout", "1"], &["/opt/w/loop.wasm"], 124, ""),
    ("timeout-in-calls", &["--timeout", "1"], &["/opt/w/calls.wasm"], 124, ""),
    ("timeout-in-a-wait", &["--timeout", "1"], &["/opt/w/sleep.wasm"], 124, ""),
    ("first-trap", &[], &["/opt/w/unreachable.wasm"], 132, "killed: wasm trap"),
    ("unknown-module", &[], &["/opt/w/stranger.wasm"], 126, "refused to start /opt/w/stranger.wasm"),
    ("unknown-function", &[], &["/opt/w/later.wasm"], 126, "refused to start /opt/w/later.wasm"),
];

pub fn tests() -> Vec<Test> {
    let mut tests: Vec<Test> = SCRIPTS
        .iter()
        .map(|(name, options, script, status, stdout, stderr)| {
            Test::ours(format!("wasi::{name}"), move || {
                expect(&run(options, &["/bin/busybox", "sh", "-c", script])?, *status, Some(stdout), stderr)
            })
        })
        .collect();
    tests.extend(FIRST.iter().map(|(name, options, command, status, stderr)| {
        Test::ours(format!("wasi::{name}"), move || expect(&run(options, command)?, *status, None, stderr))
    }));
    tests.push(Test::ours("wasi::arguments-and-environment", arguments));
    tests.push(Test::ours("wasi::memory-limit", memory_limit));
    tests.push(Test::ours("wasi::says-why-not", says_why_not));
    tests.push(Test::ours("wasi::changed-data-image", changed_image));
    tests.push(Test::ours("wasi::libc", libc));
    tests
}

fn expect(o: &Outcome, status: i32, stdout: Option<&str>, stderr: &str) -> Result<()> {
    ensure!(o.status == status, "status {status} expected: {}", o.describe());
    ensure!(stdout.is_none_or(|s| o.text() == s), "stdout {stdout:?} expected: {}", o.describe());
    ensure!(String::from_utf8_lossy(&o.stderr).contains(stderr), "{stderr:?} expected on stderr: {}", o.describe());
    Ok(())
}

/// The corpus: busybox, and each module of `tests/wasi` in `/opt/w`.
fn corpus() -> Result<&'static Corpus> {
    static CORPUS: OnceLock<Result<Corpus, String>> = OnceLock::new();
    let make = || -> Result<Corpus> {
        setup::packages()?;
        let dir = tempfile::tempdir()?;
        let mut extra = Vec::new();
        let mut put = |name: &str, bytes: &[u8]| -> Result<()> {
            let file = dir.path().join(name);
            fs::write(&file, bytes)?;
            extra.push((format!("opt/w/{name}"), file, 0o755));
            Ok(())
        };
        let mut sources: Vec<_> =
            fs::read_dir(paths::root().join("tests/wasi"))?.map(|e| Ok(e?.path())).collect::<Result<_>>()?;
        sources.sort();
        for source in sources.iter().filter(|s| s.extension().is_some_and(|e| e == "wat")) {
            let name = source.file_stem().and_then(|n| n.to_str()).context("a name")?;
            put(&format!("{name}.wasm"), &wat::parse_file(source)?)?;
        }
        put("fuzz.wasm", &wat::parse_str(fuzz())?)?;
        put("script", b"#!/opt/w/args.wasm an argument\n")?;
        corpus::build("wasi", &extra, false)
    };
    CORPUS.get_or_init(|| make().map_err(|e| format!("{e:#}"))).as_ref().map_err(|e| anyhow!("{e}"))
}

fn run(options: &[&str], command: &[&str]) -> Result<Outcome> {
    let mut job = Job::new(command.iter().copied());
    job.options = options.iter().map(|&o| o.to_owned()).collect();
    Subject::megalith(&subject::bundle(corpus()?)?).run(&job)
}

/// Calls every function but proc_exit and proc_raise some hundred times with arguments from the borders of what is valid, then exits with 42.
fn fuzz() -> String {
    const VALUES: [i64; 16] =
        [0, 1, 2, 3, 4, 5, 8, 64, 4096, 65528, 65535, 65536, 0x7fff_ffff, 0x8000_0000, 0xffff_fff0, 0xffff_ffff];
    let types = |t: &str| t.chars().map(|c| if c == 'l' { "i64 " } else { "i32 " }).collect::<String>();
    let (mut imports, mut body) = (String::new(), String::new());
    // A fixed sequence (xorshift64).
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    for (name, params, results) in WASI_IMPORTS {
        let _ = writeln!(
            imports,
            "(import \"wasi_snapshot_preview1\" \"{name}\" (func ${name} (param {}) (result {})))",
            types(params),
            types(results)
        );
    }
    for round in 0..300 {
        for (name, params, _) in WASI_IMPORTS {
            // These end the process; what closes or moves the descriptors that others need comes rarely.
            if matches!(*name, "proc_exit" | "proc_raise")
                || matches!(*name, "fd_close" | "fd_renumber") && round % 50 != 49
            {
                continue;
            }
            // With times from memory that others wrote, this would wait for as long as chance has it.
            let wild = !matches!(*name, "poll_oneoff") || round < 2;
            let _ = write!(body, "(drop (call ${name}");
            for c in params.chars() {
                let v = if wild { VALUES[next() as usize % VALUES.len()] } else { 0xffff_fff0 };
                let _ = match c {
                    'l' => write!(body, " (i64.const {})", if next() % 4 == 0 { next() as i64 } else { v }),
                    _ => write!(body, " (i32.const {})", v as i32),
                };
            }
            body.push_str("))\n");
        }
    }
    format!(
        "(module {imports} (memory (export \"memory\") 1) (func (export \"_start\") {body} (call $proc_exit (i32.const 42))))"
    )
}

fn arguments() -> Result<()> {
    let options = ["-e", "A=1", "-e", "EMPTY=", "--hostname", "h"];
    let o = run(&options, &["/opt/w/args.wasm", "", "two words", "\u{e4}"])?;
    let text = o.text();
    let strings: Vec<&str> = text.split_terminator('\0').collect();
    ensure!(strings.get(..4) == Some(&["/opt/w/args.wasm", "", "two words", "\u{e4}"]), "{}", o.describe());
    for want in ["A=1", "EMPTY=", "HOSTNAME=h", "HOME=/root"] {
        ensure!(strings.contains(&want), "{want}: {}", o.describe());
    }
    ensure!(o.status == 4, "{}", o.describe());
    Ok(())
}

/// Growth is refused or the program is ended, long before 512 MiB.
fn memory_limit() -> Result<()> {
    let o = run(&["--memory", "64M"], &["/opt/w/grow.wasm"])?;
    ensure!(o.status == 9 || o.status == 137, "{}", o.describe());
    let o = run(&[], &["/opt/w/grow.wasm"])?;
    ensure!(o.status == 0, "without a limit: {}", o.describe());
    let o = run(&[], &["/bin/busybox", "sh", "-c", "ulimit -v 100000; /opt/w/grow.wasm; echo $?"])?;
    ensure!(o.text() == "9\n", "with RLIMIT_AS: {}", o.describe());
    Ok(())
}

/// `build` and `inspect` name what was left out, and `inspect` shows the others as what they are.
fn says_why_not() -> Result<()> {
    let bundle = subject::bundle(corpus()?)?;
    let report = sh::text(sh::command(paths::release("megalith"), ["inspect", "--json"]).arg(&bundle))?;
    let report: serde_json::Value = serde_json::from_str(&report)?;
    let reason = |path: &str| {
        let list = report["not_recompiled"].as_array()?;
        list.iter().find(|n| n["path"] == path)?["reason"].as_str().map(str::to_owned)
    };
    let stranger = reason("/opt/w/stranger.wasm").context("stranger.wasm is not listed")?;
    ensure!(stranger.contains("imports env.system"), "{stranger}");
    let later = reason("/opt/w/later.wasm").context("later.wasm is not listed")?;
    ensure!(
        later.contains("wasi_snapshot_preview1.thread_spawn, which is not a function of WASI preview 1"),
        "{later}"
    );
    let list = report["executables"].as_array().context("executables")?;
    let hello = list.iter().find(|e| e["path"] == "/opt/w/hello.wasm").context("hello.wasm is not listed")?;
    ensure!(hello["kind"] == "wasi" && hello["entry_point"] == "hello.wasm_start", "{hello}");
    ensure!(hello["wasm_bytes"].as_u64() > Some(0) && hello["aot_bytes"].as_u64() > Some(0), "{hello}");
    let shown = sh::text(sh::command(paths::release("megalith"), ["inspect"]).arg(&bundle))?;
    ensure!(shown.lines().any(|l| l.starts_with("/opt/w/hello.wasm ") && l.contains(" wasi ")), "{shown}");
    Ok(())
}

/// With one byte of its data image flipped, a program does not start; others do.
fn changed_image() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let bundle = dir.path().join("b");
    sh::output(sh::command("cp", ["-r"]).arg(subject::bundle(corpus()?)?).arg(&bundle))?;
    let hash = sh::sha256_file(&corpus()?.rootfs.join("opt/w/hello.wasm"))?;
    let find = |dir: &Path| -> Result<_> {
        let mut targets = fs::read_dir(dir.join("aot"))?;
        Ok(targets.next().context("a target")??.path().join(format!("{hash}.meta")))
    };
    let file = find(&bundle)?;
    let mut bytes = fs::read(&file)?;
    let at = 4096 + 20;
    *bytes.get_mut(at).context("the image has bytes")? ^= 1;
    fs::write(&file, bytes)?;
    let subject = Subject::megalith(&bundle);
    let o = subject.run(&Job::new(["/opt/w/hello.wasm"]))?;
    ensure!(o.status == 125 && o.stdout.is_empty(), "{}", o.describe());
    let o = subject.run(&Job::new(["/opt/w/args.wasm"]))?;
    ensure!(o.status == 1, "{}", o.describe());
    let verify = subject::run(
        {
            let mut c = sh::command(paths::release("megalith"), ["verify"]);
            c.arg(&bundle);
            c
        },
        &Stdin::Empty,
        Duration::from_secs(60),
    )?;
    ensure!(verify.status != 0, "{}", verify.describe());
    Ok(())
}

/// One C program, built for the host and for WASI: what it prints and leaves behind is the same.
fn libc() -> Result<()> {
    setup::wasi_compiler()?;
    let source = paths::root().join("tests/wasi/files.c");
    let dir = tempfile::tempdir()?;
    let (wasm, elf) = (dir.path().join("files.wasm"), dir.path().join("files"));
    let options = ["--target=wasm32-wasi", "-Wno-deprecated", "--no-wasm-opt", "-O2", "-o"];
    sh::output(sh::command(setup::WASI_CC, options).arg(&wasm).arg(&source)).context("compile tests/wasi/files.c")?;
    sh::output(sh::command("gcc", ["-O2", "-static", "-o"]).arg(&elf).arg(&source))?;
    let extra = [("opt/w/files.wasm".to_owned(), wasm, 0o755), ("opt/w/files".to_owned(), elf, 0o755)];
    let corpus = corpus::build("wasi-libc", &extra, false)?;
    let bundle = subject::bundle(&corpus)?;
    let run = |subject: &Subject, program: &str| -> Result<(Outcome, _)> {
        let work = tempfile::tempdir()?;
        let mut job = Job::new([program, "one", "two words"]);
        job.environment.push("GREETING=hi".into());
        job.volumes.push(format!("{}:/work", work.path().display()));
        job.directory = "/work".into();
        job.stdin = Stdin::Bytes(vec![b'x'; 1000]);
        let outcome = subject.run(&job)?;
        Ok((outcome, subject::snapshot(work.path())?))
    };
    let native = run(&Subject::native(&context::xtask(), &corpus.rootfs), "/opt/w/files")?;
    ensure!(native.0.status == 42, "natively: {}", native.0.describe());
    for program in ["/opt/w/files", "/opt/w/files.wasm"] {
        let ours = run(&Subject::megalith(&bundle), program)?;
        ensure!(ours.0 == native.0, "{program}: {}\nnatively: {}", ours.0.describe(), native.0.describe());
        ensure!(ours.1 == native.1, "{program} left {:#?}, natively {:#?}", ours.1, native.1);
    }
    Ok(())
}
