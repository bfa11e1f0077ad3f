//! Python and Node, which polyfills stand in for: starting them, and both at work.
//!
//! Starts are measured from inside, by `tests/programs/spawn.c`, as for recompiled programs. Each compute program takes its amount of work as an argument;
//! it is chosen so that native takes a second or more, and both sides must print the same. JavaScript at work is compared with a native `qjs`, of the same
//! engine, and told beside Debian's node, whose engine compiles.

use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal, kill_process_group};
use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::{Report, Row, in_turn, median, spawn_median, timed, words};
use crate::subject::{self, Job, Stdin, Subject};
use crate::toolbox::{self, NODE, PYTHON};
use crate::{corpus, paths, quickjs};

/// Starts: name, goal, how many natively and here, words.
const STARTS: &[(&str, f64, [u32; 2], &[&str])] = &[
    ("python3 -c pass", 0.05, [40, 400], &[PYTHON, "-c", "pass"]),
    (
        "python3, six modules of its own",
        0.05,
        [30, 300],
        &[PYTHON, "-c", "import json,re,hashlib,datetime,logging,argparse"],
    ),
    ("python3, requests yaml jinja2 bs4", 0.05, [10, 100], &[PYTHON, "-c", "import requests, yaml, jinja2, bs4"]),
    ("node -e 0", 0.005, [10, 300], &[NODE, "-e", "0"]),
    (
        "node, five packages",
        0.01,
        [10, 100],
        &[
            NODE,
            "-e",
            "for (const name of ['lodash', 'semver', 'commander', 'js-yaml', 'handlebars']) require('/packages/node/node_modules/' + name)",
        ],
    ),
];

/// Idle Python processes at the same time: name, runs, processes in each.
const IDLE: &[(&str, usize, usize)] = &[
    ("python3, 200 idle in one run (goal 1.5)", 1, 200),
    ("python3, 200 idle in 50 runs, four each (goal 1.5)", 50, 4),
];

/// Python at work: name, program; `n` is the amount of work.
const PYTHON_COMPUTE: &[(&str, &str)] = &[
    ("fib", "def fib(k): return k if k < 2 else fib(k - 1) + fib(k - 2)\nfor _ in range(n): r = fib(23)\nprint(r)"),
    (
        "nbody",
        "from math import sqrt\nb = [[i * 1.1, i * 0.7 - 1, i * 0.3, 0.01 * i, 0.02, 0.03 * i, 1.0 / (i + 1)] for i in range(5)]\nfor _ in range(n * 2000):\n for i in range(5):\n  p = b[i]\n  for q in b[i + 1:]:\n   x, y, z = p[0] - q[0], p[1] - q[1], p[2] - q[2]\n   d = x * x + y * y + z * z + 0.1\n   m = 0.001 / (d * sqrt(d))\n   p[3] -= x * q[6] * m; p[4] -= y * q[6] * m; p[5] -= z * q[6] * m\n   q[3] += x * p[6] * m; q[4] += y * p[6] * m; q[5] += z * p[6] * m\n for p in b:\n  p[0] += 0.001 * p[3]; p[1] += 0.001 * p[4]; p[2] += 0.001 * p[5]\nprint(b[0])",
    ),
    (
        "fannkuch",
        "from itertools import permutations\nbest = 0\nfor _ in range(n):\n for p in permutations(range(7)):\n  q = list(p); c = 0\n  while q[0]:\n   q[:q[0] + 1] = q[q[0]::-1]; c += 1\n  if c > best: best = c\nprint(best)",
    ),
    (
        "json",
        "import json\nd = {'k%d' % i: [i, i * 1.5, 'text %d' % i, {'a': None, 'b': True}] for i in range(2000)}\nfor _ in range(n): s = json.dumps(d); d = json.loads(s)\nprint(len(s))",
    ),
    (
        "regex",
        "import re\nt = ' '.join('user%d@example%d.org 2024-%02d-%02d' % (i, i % 7, i % 12 + 1, i % 28 + 1) for i in range(3000))\nfor _ in range(n): r = len(re.findall(r'[\\w.]+@[\\w.]+\\.org', t)) + len(re.sub(r'(\\d+)-(\\d+)-(\\d+)', r'\\3.\\2.\\1', t))\nprint(r)",
    ),
    (
        "dict and str",
        "for _ in range(n):\n c = {}\n for i in range(40000):\n  k = 'key' + str(i % 5000)\n  c[k] = c.get(k, 0) + len(k.upper().replace('E', 'ee'))\nprint(len(c), sum(c.values()))",
    ),
    (
        "sort with key",
        "x = 12345\nl = []\nfor i in range(50000):\n x = (x * 1103515245 + 12345) % 2147483648\n l.append((x % 1000, str(x)))\nfor _ in range(n): r = sorted(l, key=lambda p: (p[0], p[1]))\nprint(r[0], r[-1])",
    ),
    (
        "sha256",
        "import hashlib\nd = b'x' * 1000000\nfor _ in range(n * 10): h = hashlib.sha256(d).hexdigest()\nprint(h)",
    ),
    (
        "zlib",
        "import zlib\nd = b''.join(b'line %d of some text, %d\\n' % (i, i * i) for i in range(20000))\nfor _ in range(n): z = zlib.compress(d); assert zlib.decompress(z) == d\nprint(len(z))",
    ),
    (
        "decimal pi",
        "from decimal import Decimal, getcontext\ngetcontext().prec = 400\nfor _ in range(n):\n last, t, s, k, m, d = 0, Decimal(3), Decimal(3), 1, 0, 24\n na = 0\n while s != last:\n  last = s; k, na = k + na, na + 8; m, d = m + d, d + 32; t = (t * k) / m; s += t\nprint(s)",
    ),
    (
        "ast of the standard library",
        "import ast, os\nd = '/usr/lib/python3.11'\nf = sorted(x for x in os.listdir(d) if x.endswith('.py'))[:20 * n]\nt = [open(os.path.join(d, x), encoding='utf-8').read() for x in f] * (1 + n // 8)\nprint(sum(len(list(ast.walk(ast.parse(x)))) for x in t))",
    ),
];

/// JavaScript at work: programs in `tests/bench/js`.
const JAVASCRIPT_COMPUTE: &[&str] = &["richards", "deltablue", "json", "regexp", "strings", "sort", "maps"];

/// Names, for `--names`.
fn names() -> impl Iterator<Item = String> {
    let starts = STARTS.iter().map(|s| s.0.to_owned());
    let idle = IDLE.iter().map(|i| i.0.to_owned());
    let python = PYTHON_COMPUTE.iter().map(|c| format!("python: {}", c.0));
    starts.chain(idle).chain(python).chain(JAVASCRIPT_COMPUTE.iter().map(|name| format!("javascript: {name}")))
}

/// Whether anything here is asked for.
pub fn wanted(wanted: &impl Fn(&str) -> bool) -> bool {
    names().any(|name| wanted(&name))
}

/// Both sides.
struct Sides {
    root: PathBuf,
    subject: Subject,
}

impl Sides {
    fn native(&self, command: &[String]) -> Command {
        let mut chroot = Command::new("chroot");
        chroot.arg(&self.root).args(command).env_clear().env("PATH", corpus::PATH).env("HOME", "/root");
        for pair in toolbox::environment() {
            let (name, value) = pair.split_once('=').unwrap_or((&pair, ""));
            chroot.env(name, value);
        }
        chroot.current_dir("/");
        chroot
    }

    fn ours(&self, command: &[String]) -> Command {
        let mut job = Job::new(command.iter().cloned());
        job.environment = toolbox::environment();
        self.subject.command(&job, false)
    }
}

/// Measures what is asked for.
///
/// # Errors
/// The tool box cannot be made, or a program does not run or prints something else than natively.
pub fn measure(rounds: usize, wanted: &impl Fn(&str) -> bool, report: &mut Report) -> Result<()> {
    let toolbox = toolbox::with_packages()?;
    let subject = Subject::megalith(&subject::bundle_with(&toolbox.corpus, &toolbox::warm())?);
    let sides = Sides { root: toolbox.corpus.rootfs, subject };
    for (name, goal, counts, command) in STARTS.iter().filter(|s| wanted(s.0)) {
        eprintln!("xtask: bench: {name}");
        let spawn = |count: u32| {
            let mut all = words(&["/opt/t/spawn"]);
            let (program, rest) = command.split_first().unwrap_or((&"", &[]));
            all.extend([(*program).to_owned(), count.to_string()]);
            all.extend(words(rest));
            all
        };
        let [natively, here] = counts.map(spawn);
        let pairs = in_turn(rounds, || spawn_median(sides.native(&natively)), || spawn_median(sides.ours(&here)))
            .with_context(|| (*name).to_owned())?;
        report.interpreters.push(Row::new(&format!("{name} (goal {goal})"), "ns", &pairs));
    }
    for &(name, runs, each) in IDLE.iter().filter(|i| wanted(i.0)) {
        eprintln!("xtask: bench: {name}");
        let mib = |command: &dyn Fn() -> Command| idle(command, runs, each).context(name);
        let command = words(&[PYTHON, "-c", &starts_idle(each)]);
        let native = mib(&|| sides.native(&command))?;
        report.memory.push((name.to_owned(), native, mib(&|| sides.ours(&command))?));
    }
    for (name, program) in PYTHON_COMPUTE {
        let name = format!("python: {name}");
        if !wanted(&name) {
            continue;
        }
        eprintln!("xtask: bench: {name}");
        let command =
            |n: u32| words(&[PYTHON, "-c", &format!("import sys\nn = int(sys.argv[1])\n{program}"), &n.to_string()]);
        let (row, _) = compute(&name, rounds, |n| sides.native(&command(n)), |n| sides.ours(&command(n)))
            .with_context(|| name.clone())?;
        report.python.push(row);
    }
    for name in JAVASCRIPT_COMPUTE {
        if wanted(&format!("javascript: {name}")) {
            eprintln!("xtask: bench: javascript: {name}");
            report.javascript.push(javascript(&sides, name, rounds).with_context(|| format!("javascript: {name}"))?);
        }
    }
    Ok(())
}

/// A Python program that makes `n` interpreters, itself one of them; each says so and waits.
fn starts_idle(n: usize) -> String {
    let program = "import time; print(1, flush=True); time.sleep(600)";
    let others = n.saturating_sub(1);
    format!(
        "import os\nfor _ in range({others}): os.posix_spawn('{PYTHON}', ['python3', '-c', '{program}'], os.environ)\n{program}"
    )
}

/// MiB of PSS for each of `runs` times `each` processes, all of them alive; what runs beside them (the runner) counts, too.
fn idle(command: &dyn Fn() -> Command, runs: usize, each: usize) -> Result<f64> {
    let said = tempfile::tempdir()?;
    let mut alive = Alive(Vec::new());
    for run in 0..runs {
        let mut command = command();
        command.stdin(Stdio::null()).stdout(File::create(said.path().join(run.to_string()))?).process_group(0);
        alive.0.push(command.spawn().context("start")?);
    }
    let end = Instant::now() + Duration::from_secs(100);
    for run in 0..runs {
        while fs::metadata(said.path().join(run.to_string()))?.len() < 2 * each as u64 {
            ensure!(Instant::now() < end, "not all of {each} processes came to life");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
    let mut kib = 0;
    for child in &alive.0 {
        for pid in family(child.id())? {
            kib += pss(pid)?;
        }
    }
    Ok(kib as f64 / 1024.0 / (runs * each) as f64)
}

/// Processes that end with us.
struct Alive(Vec<Child>);

impl Drop for Alive {
    fn drop(&mut self) {
        for child in &mut self.0 {
            // The whole group: natively the interpreters are processes of their own. One that is gone needs no signal.
            if let Some(group) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
                kill_process_group(group, Signal::KILL).ok();
            }
            child.wait().ok();
        }
    }
}

/// A process and all below it.
fn family(pid: u32) -> Result<Vec<u32>> {
    let mut all = vec![pid];
    let mut next = 0;
    while let Some(&pid) = all.get(next) {
        next += 1;
        for task in fs::read_dir(format!("/proc/{pid}/task"))? {
            let children = fs::read_to_string(task?.path().join("children")).unwrap_or_default();
            all.extend(children.split_whitespace().filter_map(|c| c.parse::<u32>().ok()));
        }
    }
    Ok(all)
}

/// Proportional set size in KiB.
fn pss(pid: u32) -> Result<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    let line = text.lines().find_map(|l| l.strip_prefix("Pss:")).context("no Pss")?;
    Ok(line.trim_end_matches("kB").trim().parse()?)
}

/// A program natively by qjs and here by the Node polyfill, and the seconds that it takes natively by Debian's node.
fn javascript(sides: &Sides, name: &str, rounds: usize) -> Result<(Row, f64)> {
    let programs = paths::root().join("tests/bench/js");
    let qjs = quickjs::qjs()?;
    let native = |n: u32| {
        let mut command = Command::new(&qjs);
        command.arg(programs.join(name).with_extension("js")).arg(n.to_string());
        command
    };
    let job = |n: u32| {
        let mut job = Job::new([NODE.to_owned(), format!("/bench/{name}.js"), n.to_string()]);
        job.environment = toolbox::environment();
        job.volumes.push(format!("{}:/bench:ro", programs.display()));
        job
    };
    let (row, n) = compute(name, rounds, native, |n| sides.subject.command(&job(n), false))?;
    let node = Subject::native(&std::env::current_exe()?, &sides.root);
    let took: Vec<f64> = (0..rounds).map(|_| timed(node.command(&job(n), false))).collect::<Result<_>>()?;
    Ok((row, median(took.into_iter())))
}

/// Measures a program that takes its amount of work as an argument; returns that, too.
fn compute(
    name: &str,
    rounds: usize,
    native: impl Fn(u32) -> Command,
    ours: impl Fn(u32) -> Command,
) -> Result<(Row, u32)> {
    let mut n = 1;
    loop {
        let took = timed(native(n))?;
        if took >= 1.0 || n >= 100_000 {
            break;
        }
        n = ((f64::from(n) * 1.15 / took.max(0.02)).ceil() as u32).clamp(n + 1, 100_000);
    }
    let long = Duration::from_secs(600);
    let natively = subject::run(native(n), &Stdin::Empty, long)?;
    let here = subject::run(ours(n), &Stdin::Empty, long)?;
    ensure!(natively == here, "prints something else than natively: {}", here.describe());
    let pairs = in_turn(rounds, || timed(native(n)), || timed(ours(n)))?;
    Ok((Row::new(name, "s", &pairs), n))
}
