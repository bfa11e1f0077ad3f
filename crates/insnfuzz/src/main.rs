//! `insnfuzz`: compares the translator with the host CPU, instruction form by instruction form.

use anyhow::Result;
use clap::Parser;
use megalith_insnfuzz::campaign::{self, FormResult, Mismatch, Plan, Report, Status};
use megalith_insnfuzz::compare::Options;
use megalith_insnfuzz::forms::Form;
use megalith_insnfuzz::harvest::{self, Census};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;

/// Runs x86-64 instructions on this CPU and in translation and compares the results bit for bit.
#[derive(Parser)]
#[command(
    after_help = "Examples:\n  insnfuzz --states 10000 /usr/bin/busybox\n  insnfuzz --form Add_rm32_r32 --states 100000\n  insnfuzz --list /usr/bin/busybox"
)]
struct Args {
    /// States a form; half uniform, half built from edges.
    #[arg(long, default_value_t = 10_000)]
    states: u64,
    /// Seed: the same seed runs the same states.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Distinct encodings a form.
    #[arg(long, default_value_t = 20)]
    encodings: u64,
    /// Only forms whose name contains NAME.
    #[arg(long, value_name = "NAME")]
    form: Option<String>,
    /// Random basic blocks after the forms.
    #[arg(long, default_value_t = 2000)]
    blocks: u64,
    /// List the forms with their sites and stop.
    #[arg(long)]
    list: bool,
    /// Print one JSON document.
    #[arg(long)]
    json: bool,
    /// Compare the sticky exception flags of MXCSR too.
    #[arg(long)]
    mxcsr_flags: bool,
    /// Compare the CPU with itself: proves the judge, not the translator.
    #[arg(long)]
    self_check: bool,
    /// Print one line a form while it goes.
    #[arg(long)]
    verbose: bool,
    /// Also write the failing forms to FILE, most frequent first.
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// ELF files, or directories of them, whose forms must be covered.
    files: Vec<PathBuf>,
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(ok) => ExitCode::from(u8::from(!ok)),
        Err(e) => {
            eprintln!("insnfuzz: {e:#}");
            ExitCode::from(2)
        }
    }
}

fn run(args: &Args) -> Result<bool> {
    let mut census = Census::new();
    for f in &args.files {
        harvest::add_path(&mut census, f)?;
    }
    if args.list {
        list(&census);
        return Ok(true);
    }
    let plan = Plan {
        states: args.states,
        seed: args.seed,
        form: args.form.clone(),
        blocks: args.blocks,
        encodings: args.encodings.max(1),
        options: Options { mxcsr_flags: args.mxcsr_flags },
        self_check: args.self_check,
    };
    let live = std::io::stderr().is_terminal();
    let report = campaign::run(&plan, &census, |r| {
        if args.verbose {
            eprintln!("{} {:?} {} states, {} faults", r.form, r.status, r.states, r.faults);
        } else if live {
            eprint!("\r\x1b[K{}", r.form);
        }
    })?;
    if live {
        eprint!("\r\x1b[K");
    }
    if let Some(path) = &args.report {
        std::fs::write(path, failing(&report))?;
    }
    if args.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        print!("{}", summary(&report, &census));
    }
    Ok(!report.failed())
}

fn list(census: &Census) {
    for form in Form::all() {
        let sites = census.get(&form).map_or(0, |s| s.count);
        let why = form.exclusion().unwrap_or("compared");
        println!("{sites:8}  {form:<40} {:<20} {why}", form.features());
    }
}

/// Failing forms, one a line (with the first mismatches indented below), those with most sites first.
fn failing(report: &Report) -> String {
    let mut out = String::new();
    let mut forms: Vec<&FormResult> = report.forms.iter().filter(|f| f.status == Status::Failed).collect();
    forms.sort_by_key(|f| (std::cmp::Reverse(f.sites), !f.baseline));
    let compared: u64 = report.forms.iter().map(|f| f.states).sum();
    let _ = writeln!(
        out,
        "{} forms fail, {} are equal; {compared} states; {} of {} blocks fail",
        forms.len(),
        report.forms.iter().filter(|f| f.status == Status::Covered).count(),
        report.block_failures,
        report.blocks
    );
    for f in forms {
        let _ = writeln!(out, "{} ({} sites, {} of {} states):", f.form, f.sites, f.failures, f.states);
        f.mismatches.iter().for_each(|m| mismatch(&mut out, m));
    }
    let holes: Vec<&FormResult> = report.forms.iter().filter(|f| !f.holes.is_empty()).collect();
    if !holes.is_empty() {
        let _ = writeln!(out, "\nencodings of covered forms that are not covered (in no file given):");
        for f in holes {
            let _ = writeln!(out, "  {:<32} {}", f.form, f.holes.join(" | "));
        }
    }
    let mut uncovered: Vec<&FormResult> =
        report.forms.iter().filter(|f| f.baseline && matches!(f.status, Status::Uncovered(_))).collect();
    uncovered.sort_by_key(|f| std::cmp::Reverse(f.sites));
    if !uncovered.is_empty() {
        let _ = writeln!(out, "\nuncovered forms that the x86-64-v1 level has (sites):");
        for f in uncovered {
            let _ = writeln!(out, "  {:8} {} {:?}", f.sites, f.form, f.status);
        }
    }
    if !report.block_mismatches.is_empty() {
        let _ = writeln!(out, "\nblocks:");
        report.block_mismatches.iter().for_each(|m| mismatch(&mut out, m));
    }
    out
}

fn mismatch(out: &mut String, m: &Mismatch) {
    let _ = writeln!(out, "  {}  {}", m.bytes, m.text);
    let _ = writeln!(out, "      in:  {}", m.input.join(" "));
    for d in m.differences.iter().take(5) {
        let _ = writeln!(out, "      {d}");
    }
}

fn summary(report: &Report, census: &Census) -> String {
    let mut out = failing(report);
    let count = |p: &dyn Fn(&Status) -> bool| report.forms.iter().filter(|f| p(&f.status)).count();
    let _ = writeln!(out, "\nforms of 64-bit mode: {}", report.forms.len());
    let _ = writeln!(out, "  compared and equal   {:6}", count(&|s| *s == Status::Covered));
    let _ = writeln!(out, "  compared, different  {:6}", count(&|s| *s == Status::Failed));
    let _ = writeln!(out, "  not covered          {:6}", count(&|s| matches!(s, Status::Uncovered(_))));
    let _ = writeln!(out, "  excluded             {:6}", count(&|s| matches!(s, Status::Excluded(_))));
    let mut reasons: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
    for f in &report.forms {
        if let Status::Excluded(why) = &f.status {
            let r = reasons.entry(why).or_default();
            r.0 += 1;
            r.1 += f.sites;
        }
    }
    for (why, (forms, sites)) in reasons {
        let _ = writeln!(out, "    {forms:5} forms, {sites:7} sites: {why}");
    }
    if census.is_empty() {
        return out;
    }
    let _ = writeln!(out, "\nforms in the files given that are not compared:");
    let mut rest: Vec<&FormResult> = report
        .forms
        .iter()
        .filter(|f| f.sites > 0 && matches!(f.status, Status::Uncovered(_) | Status::Excluded(_)))
        .collect();
    rest.sort_by_key(|f| std::cmp::Reverse(f.sites));
    for f in rest {
        let why = match &f.status {
            Status::Uncovered(w) => format!("not covered: {w}"),
            Status::Excluded(w) => w.clone(),
            _ => continue,
        };
        let _ = writeln!(out, "  {:8}  {:<36} {:<16} {why}", f.sites, f.form, f.features);
    }
    out
}
