//! Which instructions real files hold that no test compares: `cargo xtask fuzz --survey` counts them in busybox-static and in a Debian
//! root file system (mmdebstrap's variant "minbase"), and writes `docs/instructions.md`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::debian::BinaryPackage;
use crate::{paths, setup, sh};

/// What `insnfuzz --json` says of one instruction form.
#[derive(serde::Deserialize)]
struct Form {
    form: String,
    /// `covered`, `uncovered` (no translation) or `excluded`.
    status: String,
    #[serde(default)]
    reason: String,
    features: String,
    sites: u64,
}

#[derive(serde::Deserialize)]
struct Report {
    forms: Vec<Form>,
}

/// Writes `docs/instructions.md`.
///
/// # Errors
/// The root file system cannot be made, or `insnfuzz` has no report of it.
pub fn run(insnfuzz: &Path, busybox: &BinaryPackage) -> Result<()> {
    let (suite, root) = minbase()?;
    let in_busybox = list(insnfuzz, &busybox.files.join("bin/busybox"))?;
    let in_root = list(insnfuzz, &root)?;
    let sites_in_busybox: BTreeMap<&str, u64> = in_busybox.iter().map(|f| (f.form.as_str(), f.sites)).collect();
    let mut rows: Vec<(u64, &Form)> = in_root
        .iter()
        .map(|form| (sites_in_busybox.get(form.form.as_str()).copied().unwrap_or(0), form))
        .filter(|(sites, form)| form.status != "covered" && sites + form.sites > 0)
        .collect();
    rows.sort_by(|a, b| (&a.1.features, &a.1.form).cmp(&(&b.1.features, &b.1.form)));
    let total = |forms: &[Form]| forms.iter().map(|f| f.sites).sum::<u64>();
    let compared = in_root.iter().filter(|f| f.status == "covered" && f.sites > 0).count();
    let mut out = String::from(
        "# Instructions that are not compared with the CPU\n\nWritten by `cargo xtask fuzz --survey`; do not edit.\n\n",
    );
    let _ = write!(
        out,
        "Counted in busybox-static {} ({} instructions) and in the ELF files of a Debian {suite} minbase root ({}), by a linear sweep over their code sections. Of\n\
         the forms there, {compared} are compared bit for bit. What follows is not: most belongs to a feature that `cpuid` does not report, so a well-behaved program does not\n\
         get there, and a part is data that was taken for code. Executing a form without a translation is SIGILL with an audit line, a privileged one SIGSEGV as on Linux; `syscall`, `cpuid` and `rdtsc` are answered\n\
         by Megalith and tested apart.\n\n\
         | form | feature | sites in busybox | sites in minbase | why |\n|---|---|--:|--:|---|\n",
        busybox.version,
        total(&in_busybox),
        total(&in_root),
    );
    for (sites, form) in rows {
        let why = if form.status == "uncovered" { "no translation" } else { &form.reason };
        let _ = writeln!(out, "| {} | {} | {sites} | {} | {why} |", form.form, form.features, form.sites);
    }
    let path = paths::root().join("docs/instructions.md");
    fs::write(&path, out).with_context(|| format!("write {}", path.display()))?;
    eprintln!("xtask: wrote {}", path.display());
    Ok(())
}

/// The forms of the files under `path`. One state each shows what has a translation.
fn list(insnfuzz: &Path, path: &Path) -> Result<Vec<Form>> {
    let args = ["--json", "--states", "1", "--encodings", "1", "--blocks", "0"];
    // Uncovered forms make it fail; the report is what counts.
    let out =
        sh::command(insnfuzz, args).arg(path).output().with_context(|| format!("start {}", insnfuzz.display()))?;
    let report: Report = serde_json::from_slice(&out.stdout)
        .with_context(|| format!("insnfuzz --json: {}", String::from_utf8_lossy(&out.stderr).trim_end()))?;
    ensure!(!report.forms.is_empty(), "insnfuzz --json lists no forms");
    Ok(report.forms)
}

/// A Debian root file system of this machine's release, from this machine's own sources: its suite, and where it is.
fn minbase() -> Result<(String, PathBuf)> {
    setup::root_builder()?;
    let release = fs::read_to_string("/etc/os-release")?;
    let suite = release
        .lines()
        .find_map(|l| l.strip_prefix("VERSION_CODENAME="))
        .context("/etc/os-release names no VERSION_CODENAME")?
        .trim_matches('"')
        .to_owned();
    let mut sources: Vec<PathBuf> = vec![PathBuf::from("/etc/apt/sources.list")];
    if let Ok(dir) = fs::read_dir("/etc/apt/sources.list.d") {
        sources.extend(dir.filter_map(|e| Some(e.ok()?.path())));
    }
    let usable = |p: &PathBuf| {
        p.extension().is_some_and(|e| e == "list" || e == "sources") && fs::metadata(p).is_ok_and(|m| m.len() > 0)
    };
    sources.retain(usable);
    sources.sort();
    let policy = sh::text(&mut sh::command("apt-cache", ["policy", "base-files"]))?;
    let version = policy.lines().find_map(|l| l.trim().strip_prefix("Candidate:")).unwrap_or("unknown").trim();
    let dir = paths::cache("minbase")?.join(format!("{suite}-{}", version.replace([':', '/', '~', '+'], "_")));
    let made = paths::make_once(&dir, |dir| {
        eprintln!("xtask: making a Debian {suite} root file system with mmdebstrap");
        let args = ["--variant=minbase", "--mode=root", "--skip=check/empty", "--quiet", &suite];
        sh::output(sh::command("mmdebstrap", args).arg(dir).args(&sources)).map(drop)
    })?;
    Ok((suite, made))
}
