//! `megalith tools`: the programs of a bundle that are called by name.

use crate::bundle::Bundle;
use crate::inspect::{kind_name, show};
use crate::run::become_runner;
use anyhow::{Context, Result, bail};
use clap::Subcommand;
use megalith_manifest::{FileHash, GuestPath, Kind, Manifest, Scripts};
use megalith_run::options::ContainerOptions;
use std::env;
use std::ffi::OsString;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  megalith build image.tar -o b --tool report=/usr/local/bin/report.sh
  megalith tools b
  megalith tools b call --timeout 5 --memory 256m report --month 11 < input.json

What follows the name is the tool's own, options too.

A tool is one file of the image, named when the bundle was built. A call starts a file with exactly that hash or nothing: whatever
stands at its path, a volume for example, changes nothing. Input, output and exit status are the tool's own; 125 is Megalith's own
error, 126 a refused start, 127 an unknown tool, 124 the end of --timeout, 137 that of --memory.")]
pub struct Args {
    /// Directory that `megalith build` wrote
    bundle: PathBuf,
    #[command(subcommand)]
    verb: Option<Verb>,
}

#[derive(Subcommand)]
enum Verb {
    /// List the tools (what happens without a verb, too)
    List {
        /// Print one JSON report
        #[arg(long)]
        json: bool,
    },
    /// Start a tool in a container of its own
    Call(Box<Call>),
}

#[derive(clap::Args)]
struct Call {
    #[command(flatten)]
    container: ContainerOptions,
    /// The tool and its arguments: options behind its name are its own
    #[arg(value_names = ["NAME", "ARG"], required = true, num_args = 1.., trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<OsString>,
}

impl Args {
    /// Exit status of our own errors.
    pub fn failure(&self) -> u8 {
        if matches!(self.verb, Some(Verb::Call(_))) { 125 } else { 1 }
    }
}

#[derive(serde::Serialize)]
struct Tool<'a> {
    name: &'a str,
    path: &'a GuestPath,
    hash: FileHash,
    kind: Kind,
    /// What interprets a script.
    #[serde(skip_serializing_if = "Option::is_none")]
    interpreter: Option<&'a GuestPath>,
    /// What it may read as code, if it reads any.
    #[serde(skip_serializing_if = "Option::is_none")]
    scripts: Option<Scripts>,
}

pub fn main(args: Args) -> Result<ExitCode> {
    match args.verb {
        Some(Verb::Call(call)) => {
            let options = own_arguments(env::args_os(), &call).context("cannot make out the options of the call")?;
            let mut command = call.command.into_iter();
            let name = command.next().context("no tool is named")?;
            if name.as_encoded_bytes().starts_with(b"-") {
                bail!("{}: no such option of 'tools call'; 'megalith tools --help' lists them", name.display());
            }
            // A `--` between the name and the tool's own options is for whoever doubts.
            let mut command = command.peekable();
            command.next_if(|word| word == "--");
            let fixed = ["--tool".into(), name, args.bundle.into_os_string(), "--".into()];
            become_runner(options.into_iter().chain(fixed).chain(command))
        }
        Some(Verb::List { json }) => list(&args.bundle, json),
        None => list(&args.bundle, false),
    }
}

/// The options between `call` and the tool's name, as they came.
fn own_arguments(all: impl Iterator<Item = OsString>, call: &Call) -> Option<Vec<OsString>> {
    // Our name, `tools` and the bundle come first; nothing else can stand before the verb.
    let mut all: Vec<OsString> = all.skip(3).collect();
    all.truncate(all.len().checked_sub(call.command.len())?);
    if all.last().is_some_and(|a| a == "--") {
        all.pop();
    }
    (all.first()? == "call").then(|| all.split_off(1))
}

fn list(bundle: &Path, json: bool) -> Result<ExitCode> {
    let bundle = Bundle::open(bundle)?;
    let tools = tools(&bundle.manifest);
    show(&tools, json, |out| print(out, &tools))
}

fn tools(manifest: &Manifest) -> Vec<Tool<'_>> {
    let mut tools = Vec::new();
    for name in manifest.agent_tools.keys() {
        let Some((path, hash)) = manifest.tool(name) else { continue };
        let Some(file) = manifest.binaries.values().find(|b| b.hash == hash) else { continue };
        // A script's entry point is its interpreter's.
        let mut programs = manifest.binaries.iter().filter(|(_, b)| b.kind != Kind::Script);
        let interpreter =
            (file.kind == Kind::Script).then(|| programs.find(|(_, b)| b.entry_point == file.entry_point)).flatten();
        // A tool's polyfill is always sealed; recompiled interpreters know of no policy.
        let scripts = match interpreter.map_or(file.kind, |(_, b)| b.kind) {
            Kind::Polyfill => Some(Scripts::Sealed),
            _ => interpreter.map(|_| Scripts::Open),
        };
        tools.push(Tool { name, path, hash, kind: file.kind, interpreter: interpreter.map(|(path, _)| path), scripts });
    }
    tools
}

fn print(out: &mut impl Write, tools: &[Tool<'_>]) -> io::Result<()> {
    if tools.is_empty() {
        return writeln!(out, "no tools; 'megalith build --tool NAME=PATH' names some");
    }
    let width =
        |header: &str, of: &dyn Fn(&Tool<'_>) -> usize| tools.iter().map(of).max().unwrap_or(0).max(header.len());
    let name = width("NAME", &|t| t.name.len());
    let path = width("PATH", &|t| t.path.to_string().len());
    writeln!(out, "{:name$}  {:path$}  {:8}  {:71}  CODE", "NAME", "PATH", "KIND", "HASH")?;
    for t in tools {
        let policy = match t.scripts {
            Some(Scripts::Sealed) => "sealed",
            Some(Scripts::Open) => "open",
            None => "-",
        };
        let code = t.interpreter.map_or_else(|| policy.to_string(), |i| format!("{policy}, read by {i}"));
        let (at, kind, hash) = (t.path.to_string(), kind_name(t.kind), t.hash.to_string());
        writeln!(out, "{:name$}  {at:path$}  {kind:8}  {hash:71}  {code}", t.name)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Cli {
        #[command(subcommand)]
        verb: Top,
    }

    #[derive(Subcommand)]
    enum Top {
        Tools(Args),
    }

    /// Options of the call, and the tool with its arguments.
    fn call(line: &str) -> (Vec<OsString>, Vec<OsString>) {
        let line = format!("megalith tools b {line}");
        let Top::Tools(args) = Cli::try_parse_from(line.split(' ')).unwrap().verb;
        let Some(Verb::Call(call)) = args.verb else { panic!("not a call: {line}") };
        let own = own_arguments(line.split(' ').map(OsString::from), &call).unwrap();
        (own, call.command)
    }

    #[test]
    fn calls_are_taken_apart() {
        let own = |s: &str| s.split_whitespace().map(OsString::from).collect::<Vec<_>>();
        let is = |line: &str, options: &str, command: &str| {
            assert_eq!(call(line), (own(options), own(command)), "{line}");
        };
        is("call report", "", "report");
        is("call --timeout 5 -e A=call report --month 11", "--timeout 5 -e A=call", "report --month 11");
        is("call -- report -x", "", "report -x");
        is("call report -- -x", "", "report -- -x");
        is("call -e report report report", "-e report", "report report");
        is("call --memory=1m report call -- x", "--memory=1m", "report call -- x");
        // Options that are ours, too, are the tool's behind its name.
        for ours in ["--help", "-t", "-i x", "--memory 5", "--timeout", "-v", "-e A --strace"] {
            is(&format!("call -t report {ours}"), "-t", &format!("report {ours}"));
        }
        is("call --bogus report", "", "--bogus report");
    }
}
