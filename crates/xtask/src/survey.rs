//! Which instructions real files hold that no test compares: `cargo xtask fuzz --survey` counts them in busybox-static and in a Debian
//! root file system (mmdebstrap's variant "minbase"), and writes `docs/instructions.md`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

use crate::debian::BinaryPackage;
use crate::{paths, setup, sh};

/// What `insnfuzz --list` says of one instruction form.
struct Form {
    sites: u64,
    feature: String,
    why: String,
}

/// Writes `docs/instructions.md`.
///
/// # Errors
/// The root file system cannot be made, or `insnfuzz` does not list it.
pub fn run(insnfuzz: &Path, busybox: &BinaryPackage) -> Result<()> {
    let (suite, root) = minbase()?;
    let in_busybox = list(insnfuzz, &busybox.files.join("bin/busybox"))?;
    let in_root = list(insnfuzz, &root)?;
    let mut rows: Vec<(&String, u64, &Form)> = in_root
        .iter()
        .map(|(name, form)| (name, in_busybox.get(name).map_or(0, |f| f.sites), form))
        .filter(|(_, sites, form)| form.why != "compared" && sites + form.sites > 0)
        .collect();
    rows.sort_by(|a, b| (&a.2.feature, a.0).cmp(&(&b.2.feature, b.0)));
    let total = |n: &BTreeMap<String, Form>| n.values().map(|f| f.sites).sum::<u64>();
    let compared = in_root.values().filter(|f| f.why == "compared" && f.sites > 0).count();
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
    for (name, sites, form) in rows {
        let _ = writeln!(out, "| {name} | {} | {sites} | {} | {} |", form.feature, form.sites, form.why);
    }
    let path = paths::root().join("docs/instructions.md");
    fs::write(&path, out).with_context(|| format!("write {}", path.display()))?;
    eprintln!("xtask: wrote {}", path.display());
    Ok(())
}

/// The forms of the files under `path`, by name.
fn list(insnfuzz: &Path, path: &Path) -> Result<BTreeMap<String, Form>> {
    let text = sh::text(sh::command(insnfuzz, ["--list"]).arg(path))?;
    let mut forms = BTreeMap::new();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let (Some(sites), Some(name), Some(feature)) = (words.next(), words.next(), words.next()) else {
            bail!("insnfuzz --list: not understood: {line}");
        };
        let why = words.collect::<Vec<_>>().join(" ");
        forms.insert(name.to_owned(), Form { sites: sites.parse()?, feature: feature.to_owned(), why });
    }
    ensure!(!forms.is_empty(), "insnfuzz --list printed nothing");
    Ok(forms)
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
