//! `megalith inspect`: what is in a bundle.

use crate::build::describe;
use crate::bundle::Bundle;
use anyhow::{Context, Result};
use megalith_link::Megabinary;
use megalith_manifest::{Binary, FileHash, GuestPath, Kind, NotRecompiled, Polyfill};
use std::collections::BTreeMap;
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(clap::Args)]
pub struct Args {
    /// Directory that `megalith build` wrote
    bundle: PathBuf,
    /// Print one JSON report
    #[arg(long)]
    json: bool,
}

#[derive(serde::Serialize)]
struct Report<'a> {
    container_id: FileHash,
    megabinary_hash: FileHash,
    megabinary_bytes: usize,
    executables: Vec<Executable<'a>>,
    polyfills: &'a BTreeMap<FileHash, Polyfill>,
    not_recompiled: &'a [NotRecompiled],
}

#[derive(serde::Serialize)]
struct Executable<'a> {
    path: &'a GuestPath,
    hash: FileHash,
    entry_point: &'a str,
    kind: Kind,
    /// Bytes of the file.
    size: u64,
    /// Functions and bytes of its WebAssembly code; a script has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    functions: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    wasm_bytes: Option<u64>,
    /// Bytes of its code for this host, when it was compiled.
    #[serde(skip_serializing_if = "Option::is_none")]
    aot_bytes: Option<u64>,
}

pub fn main(args: Args) -> Result<ExitCode> {
    let bundle = Bundle::open(&args.bundle)?;
    let module = bundle.megabinary()?;
    let mega = Megabinary::parse(&module)
        .with_context(|| bundle.path.join(&bundle.manifest.megabinary).display().to_string())?;
    let index = bundle.aot_index().ok();
    let executable = |(path, b): (&'_ GuestPath, &'_ Binary)| -> (GuestPath, Binary, Option<(u32, u64)>, Option<u64>) {
        // A polyfill's code is that of its own file.
        let hash = bundle.manifest.polyfills.get(&b.hash).map_or(b.hash, |p| p.program);
        let code = mega.code_size(&hash.0);
        let aot = index.as_ref().and_then(|i| i.files.get(&hash)).map(|f| f.code_size);
        (path.clone(), b.clone(), code, aot)
    };
    let rows: Vec<_> = bundle.manifest.binaries.iter().map(executable).collect();
    let report = Report {
        container_id: bundle.manifest.container_id,
        megabinary_hash: bundle.manifest.megabinary_hash,
        megabinary_bytes: module.len(),
        executables: rows
            .iter()
            .map(|(path, b, code, aot)| Executable {
                path,
                hash: b.hash,
                entry_point: &b.entry_point,
                kind: b.kind,
                size: b.size,
                functions: code.map(|c| c.0),
                wasm_bytes: code.map(|c| c.1),
                aot_bytes: *aot,
            })
            .collect(),
        polyfills: &bundle.manifest.polyfills,
        not_recompiled: &bundle.manifest.not_recompiled,
    };
    show(&report, args.json, |out| print(out, &report))
}

/// Writes a report to standard output: as JSON, or as `text` does for people.
pub fn show<R: serde::Serialize>(
    report: &R,
    json: bool,
    text: impl FnOnce(&mut BufWriter<io::StdoutLock<'_>>) -> io::Result<()>,
) -> Result<ExitCode> {
    let mut out = BufWriter::new(io::stdout().lock());
    let written = if json {
        serde_json::to_string_pretty(report).map_err(io::Error::other).and_then(|json| writeln!(out, "{json}"))
    } else {
        text(&mut out)
    };
    match written.and_then(|()| out.flush()) {
        // `megalith inspect b | head` is no error.
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(ExitCode::SUCCESS),
        other => other.map(|()| ExitCode::SUCCESS).context("cannot write to standard output"),
    }
}

/// As the manifest writes it.
pub fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Elf => "elf",
        Kind::Wasi => "wasi",
        Kind::Polyfill => "polyfill",
        Kind::Script => "script",
    }
}

fn print(out: &mut impl Write, r: &Report<'_>) -> io::Result<()> {
    writeln!(out, "container {}", r.container_id)?;
    writeln!(out, "module    {} ({} bytes)", r.megabinary_hash, r.megabinary_bytes)?;
    let width = r.executables.iter().map(|e| e.path.to_string().len()).max().unwrap_or(4).max(4);
    let entry = r.executables.iter().map(|e| e.entry_point.len()).max().unwrap_or(5).max(5);
    writeln!(
        out,
        "\n{:width$}  {:8} {:entry$} {:>10} {:>10} {:>10}  HASH",
        "PATH", "KIND", "ENTRY", "SIZE", "WASM", "AOT"
    )?;
    let number = |n: Option<u64>| n.map_or_else(|| "-".to_string(), |n| n.to_string());
    for e in &r.executables {
        let kind = kind_name(e.kind);
        let (wasm, aot, path) = (number(e.wasm_bytes), number(e.aot_bytes), e.path.to_string());
        writeln!(
            out,
            "{path:width$}  {kind:8} {:entry$} {:>10} {wasm:>10} {aot:>10}  {}",
            e.entry_point, e.size, e.hash
        )?;
    }
    for e in &r.executables {
        let Some(p) = r.polyfills.get(&e.hash) else { continue };
        write!(out, "\n{}: polyfill {} ({})", e.path, p.file, p.reason)?;
        if let Some(s) = &p.snapshot {
            write!(out, "; begins from a snapshot with {}", without_parts(&s.warmed).join(", "))?;
        }
        writeln!(out, "; may make {} system calls", p.calls.len())?;
    }
    if !r.not_recompiled.is_empty() {
        writeln!(out, "\nnot recompiled (file, offset, bytes, reason):")?;
        for n in r.not_recompiled {
            writeln!(out, "{}", describe(n))?;
        }
    }
    Ok(())
}

/// Names of modules without those that belong to a package which is named, too.
fn without_parts(names: &[String]) -> Vec<&str> {
    let named = |name: &str| names.iter().any(|n| n == name);
    let parents = |name: &str| name.match_indices('.').any(|(dot, _)| name.get(..dot).is_some_and(named));
    names.iter().map(String::as_str).filter(|n| !parents(n)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_named_packages_are_left_out() {
        let names = ["json", "xml.sax", "xml.sax.handler", "json.decoder", "/a/b.js"].map(str::to_owned);
        assert_eq!(without_parts(&names), ["json", "xml.sax", "/a/b.js"]);
    }
}
