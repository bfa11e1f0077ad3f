//! `hostile`: damages good inputs and hands them to the code that reads such files.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::Parser;
use megalith_hostile::targets::{Target, prepare, run};
use rustix::process::{Resource, Rlimit, setrlimit};

/// Damaged input must give an error, never a panic, an abort, a hang or memory without bound.
#[derive(Parser)]
#[command(
    after_help = "Examples:\n  hostile elf --rounds 10000 hello\n  hostile manifest --seed 7 --first 41 --rounds 1 bundle/manifest.json"
)]
struct Args {
    /// What reads the input.
    target: Target,
    /// Good inputs; for images the tar of a layer.
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Damaged inputs to try, over all files in turn.
    #[arg(long, default_value_t = 1000)]
    rounds: u64,
    /// The same seed gives the same inputs.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Number of the first round.
    #[arg(long, default_value_t = 0)]
    first: u64,
    /// Seconds after which an input counts as a hang.
    #[arg(long, default_value_t = 30)]
    hang: u64,
    /// Where to keep inputs that fail.
    #[arg(long, default_value = "target/hostile")]
    keep: PathBuf,
}

/// Memory for all of this process.
const MEMORY: u64 = 6 << 30;

fn main() -> ExitCode {
    match fuzz(&Args::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("hostile: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn fuzz(args: &Args) -> Result<bool> {
    let read = |p: &PathBuf| fs::read(p).with_context(|| format!("read {}", p.display()));
    let good: Vec<Vec<u8>> = args.files.iter().map(read).collect::<Result<_>>()?;
    setrlimit(Resource::As, Rlimit { current: Some(MEMORY), maximum: Some(MEMORY) })?;
    let round = Arc::new(AtomicU64::new(u64::MAX));
    watch(Arc::clone(&round), args);
    let (mut accepted, mut failed) = (0, 0);
    let start = Instant::now();
    for number in args.first..args.first.saturating_add(args.rounds) {
        let Some(input) = good.get(usize::try_from(number)? % good.len()) else { break };
        let bytes = prepare(args.target, input, args.seed, number);
        round.store(number, Ordering::Relaxed);
        let result = catch_unwind(AssertUnwindSafe(|| run(args.target, &bytes)));
        round.store(u64::MAX, Ordering::Relaxed);
        let what = match result {
            Ok(Ok(ok)) => {
                accepted += u64::from(ok);
                continue;
            }
            Ok(Err(error)) => format!("{error:#}"),
            Err(_) => "panic".to_owned(),
        };
        failed += 1;
        fs::create_dir_all(&args.keep)?;
        let kept = args.keep.join(format!("{:?}-{}-{number}", args.target, args.seed).to_lowercase());
        fs::write(&kept, &bytes)?;
        println!("round {number}: {what}; input kept in {}", kept.display());
        if failed >= 20 {
            println!("that is enough");
            break;
        }
    }
    println!(
        "{:?}: {} rounds, {accepted} accepted, {failed} failures, {:.1} s",
        args.target,
        args.rounds,
        start.elapsed().as_secs_f64()
    );
    Ok(failed == 0)
}

/// Ends the process when a round takes too long.
fn watch(round: Arc<AtomicU64>, args: &Args) {
    let (limit, target, seed) = (Duration::from_secs(args.hang), args.target, args.seed);
    std::thread::spawn(move || {
        let mut since = (u64::MAX, Instant::now());
        loop {
            std::thread::sleep(Duration::from_millis(200));
            let now = round.load(Ordering::Relaxed);
            if now != since.0 {
                since = (now, Instant::now());
            } else if now != u64::MAX && since.1.elapsed() > limit {
                println!("round {now}: hangs (hostile {target:?} --seed {seed} --first {now} --rounds 1)");
                std::process::exit(1);
            }
        }
    });
}
