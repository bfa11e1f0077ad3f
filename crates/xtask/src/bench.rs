//! Speed: the same commands natively and under Megalith, in turn, in one run.
//!
//! Absolute times are noisy on a shared machine, so every number is a ratio of medians within one run, with the smallest and
//! largest ratio of single rounds beside it. The native side is a plain `chroot(8)`, about a millisecond.

mod interpreters;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde::Serialize;

use crate::corpus::{self, Corpus};
use crate::subject::{Job, Stdin, Subject};
use crate::{data, paths, setup, sh, subject};

/// Shortest native time of a compute benchmark, start-up included.
const SHORTEST: Duration = Duration::from_secs(1);

/// Options of `cargo xtask bench`.
#[derive(clap::Args, Debug)]
pub struct Options {
    /// Rounds of each benchmark.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Who is judged: `megalith`, or `native` to prove the judge (all ratios near 1).
    #[arg(long, default_value = "megalith")]
    subject: String,
    /// Print the JSON report instead of the table.
    #[arg(long)]
    json: bool,
    /// Only benchmarks whose names contain one of these; docs/benchmarks.md is then left alone.
    names: Vec<String>,
}

/// One comparison.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// What was run.
    pub name: String,
    /// Unit of the two medians: `s` or `ns`.
    pub unit: &'static str,
    /// Median of the native side.
    pub native: f64,
    /// Median here.
    pub megalith: f64,
    /// Ratio of the medians.
    pub ratio: f64,
    /// Smallest and largest ratio of a round.
    pub spread: (f64, f64),
}

impl Row {
    fn new(name: &str, unit: &'static str, rounds: &[(f64, f64)]) -> Row {
        let native = median(rounds.iter().map(|r| r.0));
        let megalith = median(rounds.iter().map(|r| r.1));
        let ratios = || rounds.iter().map(|r| r.1 / r.0);
        let spread = (ratios().fold(f64::INFINITY, f64::min), ratios().fold(0.0, f64::max));
        Row { name: name.to_owned(), unit, native, megalith, ratio: megalith / native, spread }
    }
}

/// The JavaScript benchmark whose ratio says more of a patch of the engine than of recompilation.
const BETTER_HASH: &str = "maps";

/// All that a run of the benchmarks found.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    /// Date, machine and versions.
    pub about: BTreeMap<&'static str, String>,
    /// Whole programs at work.
    pub compute: Vec<Row>,
    /// Geometric mean of the ratios of `compute`.
    pub geometric_mean: f64,
    /// Starting programs from inside, and single operations.
    pub operations: Vec<Row>,
    /// Starts that the gate let through in the spawn benchmark, counted from a trace of its system calls.
    pub gated_starts: Option<usize>,
    /// Interpreters that polyfills stand in for: starts.
    pub interpreters: Vec<Row>,
    /// Memory: what, MiB natively, MiB here.
    pub memory: Vec<(String, f64, f64)>,
    /// Python at work.
    pub python: Vec<Row>,
    /// JavaScript at work, native qjs beside our node, and the seconds that Debian's node takes.
    pub javascript: Vec<(Row, f64)>,
    /// `run -- true` as a whole process: who, median in ms, spread in ms.
    pub whole_process: Vec<(String, f64, (f64, f64))>,
    /// Translator: what, value, unit.
    pub translator: Vec<(String, f64, &'static str)>,
    /// What could not be measured, and why.
    pub missing: Vec<String>,
}

/// A compute benchmark: arguments of busybox for a given amount of work.
struct Compute {
    name: &'static str,
    arguments: fn(usize) -> Vec<String>,
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|w| (*w).to_owned()).collect()
}

/// `leading`, then `file` n times.
fn files(leading: &[&str], file: &str, n: usize) -> Vec<String> {
    let mut all = words(leading);
    all.extend(std::iter::repeat_n(format!("/data/{file}"), n));
    all
}

const COMPUTE: &[Compute] = &[
    Compute { name: "sha256sum", arguments: |n| files(&["sha256sum"], "text", n) },
    Compute { name: "md5sum", arguments: |n| files(&["md5sum"], "text", n) },
    Compute { name: "gzip", arguments: |n| files(&["gzip", "-c"], "small", n) },
    Compute { name: "gunzip", arguments: |n| files(&["gunzip", "-c"], "text.gz", n) },
    Compute { name: "bzip2", arguments: |n| files(&["bzip2", "-c"], "small", n) },
    Compute { name: "xz -d", arguments: |n| files(&["xz", "-dc"], "small.xz", n) },
    Compute { name: "sort", arguments: |n| files(&["sort"], "lines", n) },
    Compute {
        name: "grep -E",
        arguments: |n| files(&["grep", "-E", "(br|gr)[aeiou]{2}(nd|ck)|^[b-d].*[0-9]{5}[.;]$"], "small", n),
    },
    Compute {
        name: "sed",
        arguments: |n| {
            files(&["sed", "-e", "s/\\([a-z]*\\) \\([a-z]*\\)/\\2 \\1/g", "-e", "s/[0-9][0-9]*/<&>/g"], "small", n)
        },
    },
    Compute {
        name: "awk loop",
        arguments: |n| {
            let program = format!(
                "BEGIN {{ for (i = 0; i < {n} * 500000; i++) {{ s = (s * 31 + i) % 1000003; a[i % 100] += s }} print s, a[7] }}"
            );
            words(&["awk", &program])
        },
    },
    Compute { name: "wc", arguments: |n| files(&["wc"], "text", n) },
    Compute {
        name: "sh loop",
        arguments: |n| {
            let script = format!(
                "i=0; s=0; while [ $i -lt {n}00000 ]; do s=$(((s * 31 + i) % 1000003)); i=$((i + 1)); done; echo $s"
            );
            words(&["sh", "-c", &script])
        },
    },
];

/// Single operations: name, words; the program prints nanoseconds an operation.
const OPERATIONS: &[(&str, &[&str])] = &[
    ("getpid", &["/opt/t/probe", "getpid", "1000000"]),
    ("1-byte pipe round trip", &["/opt/t/probe", "pipe", "10000"]),
    ("fork + exit + wait", &["/opt/t/probe", "fork-wait", "500"]),
    ("empty loop, one turn (what a poll costs at most)", &["/opt/t/probe", "empty-loop", "300000000"]),
];

/// The two sides.
struct Sides {
    native_root: PathBuf,
    subject: Option<Subject>,
    data: PathBuf,
}

impl Sides {
    fn native(&self, command: &[String]) -> Command {
        let mut chroot = Command::new("chroot");
        chroot.arg(&self.native_root).args(command).env_clear().env("PATH", corpus::PATH).env("HOME", "/root");
        // chroot(8) itself is looked up by our own path.
        chroot.current_dir("/");
        chroot
    }

    fn ours(&self, command: &[String], options: &[&str]) -> Command {
        match &self.subject {
            None => self.native(command),
            Some(subject) => {
                let mut job = Job::new(command.iter().cloned());
                job.volumes.push(format!("{}:/data:ro", self.data.display()));
                job.options = words(options);
                subject.command(&job, false)
            }
        }
    }
}

/// Runs the benchmarks and writes docs/benchmarks.md and target/bench.json.
///
/// # Errors
/// Something does not run, or prints something else than natively.
pub fn run(options: &Options) -> Result<()> {
    setup::packages()?;
    let corpus = corpus::standard()?;
    let judge = options.subject == "native";
    let report = measure(&corpus, options.rounds.max(1), judge, !judge, &options.names)?;
    let json = serde_json::to_string_pretty(&report)?;
    fs::create_dir_all(paths::target())?;
    fs::write(paths::target().join("bench.json"), &json)?;
    let table = table(&report);
    println!("{}", if options.json { &json } else { &table });
    if options.names.is_empty() && options.subject != "native" {
        let path = paths::root().join("docs/benchmarks.md");
        fs::write(&path, format!("# Benchmarks\n\nWritten by `cargo xtask bench`; do not edit.\n\n{table}"))?;
        eprintln!("xtask: wrote {}", path.display());
    }
    Ok(())
}

/// The few benchmarks that `cargo xtask demo` shows.
///
/// # Errors
/// See [`run`].
pub fn short(corpus: &Corpus) -> Result<String> {
    let names = ["sha256sum", "gzip", "sort", "sh loop", "spawn", "whole process"].map(String::from);
    Ok(table(&measure(corpus, 3, false, false, &names)?))
}

/// `judge`: native on both sides. `interpreters`: Python and Node, too, which need an image of their own.
fn measure(corpus: &Corpus, rounds: usize, judge: bool, interpreters: bool, names: &[String]) -> Result<Report> {
    let wanted = |name: &str| names.is_empty() || names.iter().any(|n| name.contains(n.as_str()));
    let data = data::directory()?;
    let temporary = tempfile::tempdir()?;
    let native_root = temporary.path().join("root");
    sh::output(sh::command("cp", ["-a"]).arg(&corpus.rootfs).arg(&native_root))?;
    for entry in fs::read_dir(&data)? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            fs::copy(entry.path(), native_root.join("data").join(entry.file_name()))?;
        }
    }
    let bundle = if judge { None } else { Some(subject::bundle(corpus)?) };
    let sides = Sides { native_root, subject: bundle.as_deref().map(Subject::megalith), data };
    let mut report = Report { about: about(corpus)?, ..Report::default() };

    for item in COMPUTE.iter().filter(|i| wanted(i.name)) {
        eprintln!("xtask: bench: {}", item.name);
        match compute(&sides, item, rounds) {
            Ok(row) => report.compute.push(row),
            Err(error) => report.missing.push(format!("{}: {error:#}", item.name)),
        }
    }
    report.geometric_mean = geometric_mean(report.compute.iter().map(|r| r.ratio));

    if wanted("spawn") {
        eprintln!("xtask: bench: spawn");
        match spawn(&sides, rounds) {
            Ok((row, starts)) => {
                report.operations.push(row);
                report.gated_starts = starts;
            }
            Err(error) => report.missing.push(format!("spawn: {error:#}")),
        }
    }
    for (name, command) in OPERATIONS.iter().filter(|(name, _)| wanted(name)) {
        eprintln!("xtask: bench: {name}");
        let number = |command: Command| -> Result<f64> { Ok(printed(command)?.trim().parse()?) };
        match in_turn(rounds, || number(sides.native(&words(command))), || number(sides.ours(&words(command), &[]))) {
            Ok(pairs) => report.operations.push(Row::new(name, "ns", &pairs)),
            Err(error) => report.missing.push(format!("{name}: {error:#}")),
        }
    }
    if interpreters
        && interpreters::wanted(&wanted)
        && let Err(error) = interpreters::measure(rounds, &wanted, &mut report)
    {
        report.missing.push(format!("interpreters: {error:#}"));
    }
    if wanted("whole process") {
        eprintln!("xtask: bench: whole process");
        whole_process(&sides, temporary.path(), 20, &mut report);
    }
    if wanted("translator") && !judge {
        eprintln!("xtask: bench: translator");
        if let Err(error) = translator(corpus, temporary.path(), &mut report) {
            report.missing.push(format!("translator: {error:#}"));
        }
    }
    Ok(report)
}

/// Runs both sides `rounds` times, in turn.
fn in_turn(
    rounds: usize,
    mut native: impl FnMut() -> Result<f64>,
    mut ours: impl FnMut() -> Result<f64>,
) -> Result<Vec<(f64, f64)>> {
    (0..rounds).map(|_| Ok((native().context("native")?, ours().context("here")?))).collect()
}

/// Seconds that a command takes; its output is thrown away.
fn timed(mut command: Command) -> Result<f64> {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let start = Instant::now();
    let out = command.spawn().with_context(|| format!("start {command:?}"))?.wait_with_output()?;
    let took = start.elapsed().as_secs_f64();
    ensure!(out.status.success(), "{command:?}: {} {}", out.status, String::from_utf8_lossy(&out.stderr));
    Ok(took)
}

/// What a command prints.
fn printed(command: Command) -> Result<String> {
    let outcome = subject::run(command, &Stdin::Empty, Duration::from_secs(300))?;
    ensure!(outcome.status == 0, "{}", outcome.describe());
    Ok(outcome.text())
}

fn compute(sides: &Sides, item: &Compute, rounds: usize) -> Result<Row> {
    let command = |n: usize| {
        let mut command = words(&["/bin/busybox"]);
        command.extend((item.arguments)(n));
        command
    };
    // Enough work that native takes long enough.
    let mut n = 1;
    loop {
        let took = timed(sides.native(&command(n)))?;
        if took >= SHORTEST.as_secs_f64() * 1.05 || n >= 4096 {
            break;
        }
        n = ((n as f64 * 1.3 * SHORTEST.as_secs_f64() / took.max(0.001)).ceil() as usize).clamp(n + 1, 4096);
    }
    let long = Duration::from_secs(600);
    let wanted = subject::run(sides.native(&command(n)), &Stdin::Empty, long)?;
    let got = subject::run(sides.ours(&command(n), &[]), &Stdin::Empty, long)?;
    ensure!(wanted == got, "prints something else than natively: {}", got.describe());
    let pairs = in_turn(rounds, || timed(sides.native(&command(n))), || timed(sides.ours(&command(n), &[])))?;
    Ok(Row::new(item.name, "s", &pairs))
}

/// The median that `spawn` prints, in nanoseconds.
fn spawn_median(command: Command) -> Result<f64> {
    let text = printed(command)?;
    let words: Vec<&str> = text.split_whitespace().collect();
    match words.as_slice() {
        ["started", started, "of", all, "median", ns, ..] if started == all => Ok(ns.parse()?),
        _ => bail!("not all were started: {text}"),
    }
}

/// posix_spawn + waitpid, 2,000 times: medians that the program measures itself, and the exec counter.
fn spawn(sides: &Sides, rounds: usize) -> Result<(Row, Option<usize>)> {
    let command = words(&["/opt/t/spawn", "/opt/t/true", "2000"]);
    let pairs = in_turn(rounds, || spawn_median(sides.native(&command)), || spawn_median(sides.ours(&command, &[])))?;
    let mut starts = None;
    if sides.subject.is_some() {
        // The counter: successful execve calls of the children in a trace of what the guest asked and got.
        let outcome = subject::run(sides.ours(&command, &["--strace"]), &Stdin::Empty, Duration::from_secs(300))?;
        let trace = String::from_utf8_lossy(&outcome.stderr).into_owned();
        starts = Some(
            trace
                .lines()
                .filter(|l| l.contains("execve(") && l.contains("/opt/t/true") && l.trim_end().ends_with("= 0"))
                .count(),
        );
    }
    Ok((Row::new("spawn (posix_spawn + waitpid of a static program)", "ns", &pairs), starts))
}

/// `run -- true` as a whole process, beside what others take for it.
fn whole_process(sides: &Sides, temporary: &Path, rounds: usize, report: &mut Report) {
    let run_true = words(&["/opt/t/true"]);
    let root = &sides.native_root;
    let bwrap = || {
        let mut command = Command::new("bwrap");
        command.args(["--unshare-all", "--ro-bind"]).arg(root).args([
            "/",
            "--proc",
            "/proc",
            "--dev",
            "/dev",
            "--",
            "/opt/t/true",
        ]);
        command
    };
    let runc_bundle = temporary.join("runc");
    let runc = |id: usize| {
        let mut command = Command::new("runc");
        command.args(["run", "--bundle"]).arg(&runc_bundle).arg(format!("megalith-bench-{}-{id}", std::process::id()));
        command
    };
    type Start<'a> = Box<dyn Fn(usize) -> Command + 'a>;
    let mut sorts: Vec<(&str, Start)> = vec![("chroot", Box::new(|_| sides.native(&run_true)))];
    sorts.push(("megalith run", Box::new(|_| sides.ours(&run_true, &[]))));
    sorts.push(("bwrap", Box::new(|_| bwrap())));
    match runc_config(root, &runc_bundle) {
        Ok(()) => sorts.push(("runc run", Box::new(runc))),
        Err(error) => report.missing.push(format!("runc: {error:#}")),
    }
    let mut times: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    let mut broken: BTreeMap<&str, String> = BTreeMap::new();
    for round in 0..=rounds {
        for (name, command) in &sorts {
            if broken.contains_key(name) {
                continue;
            }
            match timed(command(round)) {
                // The first round warms up.
                Ok(_) if round == 0 => {}
                Ok(took) => times.entry(name).or_default().push(took * 1e3),
                Err(error) => {
                    broken.insert(name, format!("{error:#}"));
                }
            }
        }
    }
    for (name, _) in &sorts {
        if let Some(took) = times.get(name) {
            let spread = (took.iter().copied().fold(f64::INFINITY, f64::min), took.iter().copied().fold(0.0, f64::max));
            report.whole_process.push(((*name).to_owned(), median(took.iter().copied()), spread));
        }
    }
    report.missing.extend(broken.into_iter().map(|(name, why)| format!("{name}: {why}")));
}

/// A runc bundle over `root` that runs `true`.
fn runc_config(root: &Path, bundle: &Path) -> Result<()> {
    fs::create_dir_all(bundle)?;
    sh::output(sh::command("runc", ["spec"]).current_dir(bundle))?;
    let path = bundle.join("config.json");
    let mut config: serde_json::Value = serde_json::from_slice(&fs::read(&path)?)?;
    config["process"]["terminal"] = false.into();
    config["process"]["args"] = serde_json::json!(["/opt/t/true"]);
    // Containers without these privileges cannot raise limits.
    config["process"]["rlimits"] = serde_json::json!([]);
    config["root"]["path"] = root.to_string_lossy().into_owned().into();
    Ok(fs::write(&path, serde_json::to_vec(&config)?)?)
}

/// CPU seconds of a cold build, and sizes, per byte of x86 code.
fn translator(corpus: &Corpus, temporary: &Path, report: &mut Report) -> Result<()> {
    let megalith = paths::release("megalith");
    let bundle = temporary.join("cold");
    let cpu = |arguments: &[&std::ffi::OsStr], cache: &str| -> Result<f64> {
        let before = children_cpu()?;
        sh::output(Command::new(&megalith).args(arguments).env("XDG_CACHE_HOME", temporary.join(cache)))?;
        Ok(children_cpu()? - before)
    };
    let build: [&std::ffi::OsStr; 4] = ["build".as_ref(), corpus.image.as_ref(), "-o".as_ref(), bundle.as_ref()];
    // Caches of their own: nothing is found there the first time.
    let total = cpu(&build, "cache-1")?;
    let start = Instant::now();
    sh::output(Command::new(&megalith).args(build).env("XDG_CACHE_HOME", temporary.join("cache-1")))?;
    let again = start.elapsed().as_secs_f64();
    let aot = cpu(&["compile".as_ref(), bundle.as_ref()], "cache-2")?;
    let inspect: serde_json::Value =
        serde_json::from_slice(&sh::output(sh::command(&megalith, ["inspect", "--json"]).arg(&bundle))?)?;
    let (mut x86, mut wasm, mut code) = (0, 0, 0);
    for program in inspect["executables"].as_array().context("inspect --json lists executables")? {
        let (Some(path), Some(w), Some(a)) =
            (program["path"].as_str(), program["wasm_bytes"].as_u64(), program["aot_bytes"].as_u64())
        else {
            continue;
        };
        x86 += text_bytes(&fs::read(corpus.rootfs.join(path.trim_start_matches('/')))?)?;
        wasm += w;
        code += a;
    }
    ensure!(x86 > 0, "no recompiled programs in the bundle");
    let mb = x86 as f64 / 1e6;
    report.translator = vec![
        ("x86 code in the image".into(), mb, "MB"),
        ("translate, CPU per MB of x86".into(), (total - aot).max(0.0) / mb, "s"),
        ("AOT, CPU per MB of x86".into(), aot / mb, "s"),
        ("WASM bytes per x86 byte".into(), wasm as f64 / x86 as f64, ""),
        ("AOT bytes per x86 byte".into(), code as f64 / x86 as f64, ""),
        ("build of the unchanged image, again".into(), again, "s"),
    ];
    Ok(())
}

/// Bytes of the executable segments of an ELF file.
fn text_bytes(file: &[u8]) -> Result<u64> {
    use object::read::elf::{FileHeader, ProgramHeader};
    let header = object::elf::FileHeader64::<object::Endianness>::parse(file)?;
    let endian = header.endian()?;
    let executable = |p: &&object::elf::ProgramHeader64<object::Endianness>| {
        p.p_type(endian) == object::elf::PT_LOAD && p.p_flags(endian) & object::elf::PF_X != 0
    };
    Ok(header.program_headers(endian, file)?.iter().filter(executable).map(|p| p.p_filesz(endian)).sum())
}

/// User and system seconds of the children that were waited for (proc(5), fields 16 and 17 of stat).
fn children_cpu() -> Result<f64> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks: f64 =
        fields.get(13).context("cutime")?.parse::<f64>()? + fields.get(14).context("cstime")?.parse::<f64>()?;
    Ok(ticks / rustix::param::clock_ticks_per_second() as f64)
}

fn about(corpus: &Corpus) -> Result<BTreeMap<&'static str, String>> {
    let cpu = fs::read_to_string("/proc/cpuinfo")?;
    let cpu =
        cpu.lines().find_map(|l| l.strip_prefix("model name")).unwrap_or_default().trim_start_matches([' ', '\t', ':']);
    Ok(BTreeMap::from([
        ("date", sh::text(&mut sh::command("date", ["-u", "+%Y-%m-%d"]))?.trim().to_owned()),
        ("kernel", sh::text(&mut sh::command("uname", ["-sr"]))?.trim().to_owned()),
        ("cpu", cpu.to_owned()),
        ("cores", std::thread::available_parallelism().map_or(0, usize::from).to_string()),
        ("busybox-static", corpus.busybox.clone()),
    ]))
}

/// Small ones have two digits that count.
fn ratio(v: f64) -> String {
    if v < 0.0095 {
        format!("{v:.4}")
    } else if v < 0.095 {
        format!("{v:.3}")
    } else {
        format!("{v:.2}")
    }
}

/// The report as Markdown.
pub fn table(report: &Report) -> String {
    let mut text = String::new();
    let about: Vec<String> = report.about.iter().map(|(k, v)| format!("{k} {v}")).collect();
    // Writing to a string cannot fail.
    let _ = writeln!(
        text,
        "{}. Medians; the native program in a chroot on the same machine, in the same run, is 1.\n",
        about.join(", ")
    );
    let rows = |text: &mut String, rows: &[Row]| {
        let _ = writeln!(text, "| | native | Megalith | ratio | spread |\n|---|--:|--:|--:|--:|");
        for r in rows {
            let time = |v: f64| match r.unit {
                "ns" if v >= 10_000.0 => format!("{:.1} µs", v / 1e3),
                "ns" => format!("{v:.1} ns"),
                _ => format!("{v:.2} s"),
            };
            let (low, high) = (ratio(r.spread.0), ratio(r.spread.1));
            let (native, here) = (time(r.native), time(r.megalith));
            let _ = writeln!(text, "| {} | {native} | {here} | {} | {low} - {high} |", r.name, ratio(r.ratio));
        }
    };
    if !report.compute.is_empty() {
        let _ = writeln!(text, "## Compute (whole programs, start-up included)\n");
        rows(&mut text, &report.compute);
        let worst = report.compute.iter().map(|r| r.ratio).fold(0.0, f64::max);
        let _ = writeln!(
            text,
            "\nGeometric mean {:.2} (goal: at most 1.8), highest {worst:.2} (goal: at most 3.5).\n",
            report.geometric_mean
        );
    }
    if !report.operations.is_empty() {
        let _ = writeln!(text, "## Starting programs, and single operations\n");
        rows(&mut text, &report.operations);
        if let Some(starts) = report.gated_starts {
            let _ = writeln!(text, "\nSpawn: the goal is at most 0.2; {starts} gated starts were counted in one pass.");
        }
        let _ = writeln!(text);
    }
    if !report.interpreters.is_empty() {
        let _ = writeln!(text, "## Starting Python and Node (from inside, by spawn; native: Debian's)\n");
        rows(&mut text, &report.interpreters);
        let _ = writeln!(text);
    }
    if !report.python.is_empty() {
        let _ = writeln!(text, "## Python compute (native: Debian's)\n");
        rows(&mut text, &report.python);
        let mean = geometric_mean(report.python.iter().map(|r| r.ratio));
        let _ = writeln!(
            text,
            "\nGeometric mean {mean:.2} (goal: at most 2.2). The vkernel computes sha256 (`megalith_sha256`), with the processor's own instructions.\n"
        );
    }
    if !report.javascript.is_empty() {
        let _ =
            writeln!(text, "## JavaScript compute (native: qjs of the same QuickJS-ng, upstream's release build)\n");
        rows(&mut text, &report.javascript.iter().map(|r| r.0.clone()).collect::<Vec<_>>());
        let mean = geometric_mean(report.javascript.iter().map(|r| r.0.ratio));
        let _ = writeln!(text, "\nGeometric mean {mean:.2} (goal: at most 1.6).");
        let same = report.javascript.iter().map(|r| &r.0).filter(|r| r.name != BETTER_HASH);
        if same.clone().count() < report.javascript.len() {
            let mean = geometric_mean(same.map(|r| r.ratio));
            let _ = writeln!(
                text,
                "Without {BETTER_HASH}, where the polyfill's QuickJS hashes numbers and objects better than upstream's: {mean:.2}."
            );
        }
        let _ = writeln!(text, "\nAgainst Debian's node, which compiles:\n");
        for (row, node) in &report.javascript {
            let _ = writeln!(
                text,
                "- {}: {node:.2} s natively by node, {:.1} times that here",
                row.name,
                row.megalith / node
            );
        }
        let _ = writeln!(text);
    }
    if !report.memory.is_empty() {
        let _ = writeln!(text, "## Memory of an idle process (PSS)\n\n| | native | Megalith |\n|---|--:|--:|");
        for (name, native, here) in &report.memory {
            let _ = writeln!(text, "| {name} | {native:.2} MiB | {here:.2} MiB |");
        }
        let _ = writeln!(text);
    }
    if !report.whole_process.is_empty() {
        let _ =
            writeln!(text, "## One static `true`, whole process from outside\n\n| | median | spread |\n|---|--:|--:|");
        for (name, median, (low, high)) in &report.whole_process {
            let _ = writeln!(text, "| {name} | {median:.1} ms | {low:.1} - {high:.1} ms |");
        }
        let _ = writeln!(text);
    }
    if !report.translator.is_empty() {
        let _ = writeln!(text, "## Translator\n\n| | |\n|---|--:|");
        for (name, value, unit) in &report.translator {
            let _ = writeln!(text, "| {name} | {value:.2} {unit} |");
        }
        let _ = writeln!(text);
    }
    if !report.missing.is_empty() {
        let _ = writeln!(text, "## Not measured\n");
        for what in &report.missing {
            let _ = writeln!(text, "- {}", what.lines().next().unwrap_or_default());
        }
    }
    text
}

fn geometric_mean(values: impl Iterator<Item = f64>) -> f64 {
    let logs: Vec<f64> = values.map(f64::ln).collect();
    (logs.iter().sum::<f64>() / logs.len().max(1) as f64).exp()
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match (values.get(middle), values.len() % 2) {
        (Some(v), 1) => *v,
        (Some(v), _) => values.get(middle.wrapping_sub(1)).map_or(*v, |w| (v + w) / 2.0),
        (None, _) => f64::NAN,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_ratios_of_medians_with_the_spread_of_rounds() {
        let row = Row::new("x", "s", &[(1.0, 2.0), (2.0, 2.0), (1.0, 3.0)]);
        assert_eq!((row.native, row.megalith, row.ratio, row.spread), (1.0, 2.0, 2.0, (1.0, 3.0)));
        assert_eq!(median([4.0, 1.0, 3.0, 2.0].into_iter()), 2.5);
    }

    #[test]
    fn small_ratios_can_be_compared_with_their_goals() {
        assert_eq!([2.004, 0.1, 0.0949, 0.00949, 0.0].map(ratio), ["2.00", "0.10", "0.095", "0.0095", "0.0000"]);
    }
}
