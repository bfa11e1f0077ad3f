//! Containers that a build runs code of an image in: what an interpreter does with files of strangers, it does in one.

use crate::extensions::Kit;
use crate::packages::{Wanted, one_line};
use crate::polyfill::{self, Chosen, Language};
use crate::run::runner;
use anyhow::{Context, Result, bail};
use megalith_image::Rootfs;
use megalith_manifest::FileHash;
use std::cell::OnceCell;
use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::mpsc::channel;

/// A bundle without snapshots, to run an interpreter of it without network.
pub struct Container(tempfile::TempDir);

impl Container {
    /// Builds it from an image, `reference` of several.
    pub fn build(image: &Path, reference: Option<&str>) -> Result<Container> {
        let dir = tempfile::tempdir().context("cannot make a temporary directory")?;
        let mut build = Command::new(std::env::current_exe().context("cannot find out where this executable lies")?);
        build.arg("build").arg(image).arg("-o").arg(dir.path().join("bundle"));
        build.args(["--no-snapshots", "--no-extensions", "--no-bytecode"]);
        if let Some(reference) = reference {
            build.args(["--reference", reference]);
        }
        let out = build.stdin(Stdio::null()).output().context("cannot start megalith")?;
        if !out.status.success() {
            bail!("megalith: {}", one_line(&out.stderr));
        }
        Ok(Container(dir))
    }

    /// Runs a program with the directory `volume` at `at`; `options` are those of `megalith run`.
    ///
    /// # Errors
    /// When the container does not start. How the program ends is in the result.
    pub fn run(&self, volume: &Path, at: &str, options: &[&str], program: &[u8], arguments: &[&str]) -> Result<Output> {
        self.command(volume, at, options, program, arguments)?
            .stdin(Stdio::null())
            .output()
            .context("cannot start megalith-run")
    }

    fn command(
        &self,
        volume: &Path,
        at: &str,
        options: &[&str],
        program: &[u8],
        arguments: &[&str],
    ) -> Result<Command> {
        let mut mount = volume.as_os_str().to_owned();
        mount.push(format!(":{at}"));
        let mut command = Command::new(runner()?);
        command.arg("-v").arg(mount).args(["-u", "0:0", "-w", "/"]).args(options).arg(self.0.path().join("bundle"));
        command.arg("--").arg(OsStr::from_bytes(program)).args(arguments);
        Ok(command)
    }
}

/// Runs a program that asks: each line of its standard output is a question, and what `answer` makes of it goes to its standard input. A line of more
/// than 64 MiB ends the conversation.
fn converse(mut command: Command, mut answer: impl FnMut(&[u8]) -> Vec<u8>) -> Result<Output> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().context("cannot start megalith-run")?;
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let said = std::thread::spawn(move || {
        let mut said = Vec::new();
        // What was read until an error is what there is.
        drop(stderr.map(|mut s| s.read_to_end(&mut said)));
        said
    });
    if let (Some(mut stdin), Some(stdout)) = (stdin, stdout) {
        // Who has asked may have died, and the answer waits for the next to read; that one asks first.
        let (answers, waiting) = channel::<Vec<u8>>();
        std::thread::spawn(move || waiting.into_iter().try_for_each(|answer| stdin.write_all(&answer)));
        let mut questions = BufReader::new(stdout);
        let mut question = Vec::new();
        loop {
            question.clear();
            // Whatever ends the conversation, the program's status and what it said tell of it.
            if (&mut questions).take(64 << 20).read_until(b'\n', &mut question).is_err() || !question.ends_with(b"\n") {
                break;
            }
            if answers.send(answer(&question)).is_err() {
                break;
            }
        }
    }
    let status = child.wait().context("cannot wait for megalith-run")?;
    Ok(Output { status, stdout: Vec::new(), stderr: said.join().unwrap_or_default() })
}

/// The program of an image that a language's polyfill stands in for, by path, and the polyfill.
pub fn interpreter(rootfs: &Rootfs, language: Language, because: &str) -> Result<Option<(Vec<u8>, Chosen)>> {
    let found = rootfs.executables().into_iter().find_map(|(path, node)| {
        let found = polyfill::recognise(rootfs.data(node))?;
        (found.language == language).then_some((path, found))
    });
    found.map(|(path, found)| Ok((path, polyfill::find(found, because)?))).transpose()
}

/// The image, to run code of Python packages in.
pub struct Sandbox<'a> {
    wanted: &'a Wanted<'a>,
    /// The interpreter that the polyfill stands in for.
    interpreter: Vec<u8>,
    /// What runs the code.
    pub polyfill: Chosen,
    /// The image's identity.
    pub image_id: FileHash,
    container: OnceCell<Container>,
    kit: OnceCell<Result<Kit, String>>,
}

impl<'a> Sandbox<'a> {
    pub fn new(rootfs: &Rootfs, wanted: &'a Wanted<'a>) -> Result<Sandbox<'a>> {
        let python = interpreter(rootfs, Language::Python, "packages are compiled by it")?;
        let (interpreter, polyfill) = python.context("the image has no python3 that a polyfill stands in for")?;
        Ok(Sandbox {
            wanted,
            interpreter,
            polyfill,
            image_id: wanted.image_id,
            container: OnceCell::new(),
            kit: OnceCell::new(),
        })
    }

    /// Where packages go in the image.
    pub fn site(&self) -> String {
        format!("/usr/local/lib/python{}/dist-packages", self.polyfill.interpreter.version)
    }

    /// What native extensions are compiled and linked with, or why there is nothing.
    pub fn kit(&self) -> Result<&Kit, String> {
        let open = || Kit::open(&self.polyfill.interpreter).map_err(|e| format!("{e:#}"));
        self.kit.get_or_init(open).as_ref().map_err(Clone::clone)
    }

    /// What the compiler for native extensions says of itself: nothing if there is none.
    pub fn compiler(&self) -> &[u8] {
        self.kit().map_or(&[], Kit::compiler)
    }

    /// Runs Python as [`Container::run`] does.
    pub fn python(&self, volume: &Path, at: &str, options: &[&str], arguments: &[&str]) -> Result<Output> {
        self.container()?.run(volume, at, options, &self.interpreter, arguments)
    }

    /// Runs Python that asks: what `answer` makes of a line of its standard output goes to its standard input.
    pub fn converse(
        &self,
        volume: &Path,
        at: &str,
        options: &[&str],
        arguments: &[&str],
        answer: impl FnMut(&[u8]) -> Vec<u8>,
    ) -> Result<Output> {
        converse(self.container()?.command(volume, at, options, &self.interpreter, arguments)?, answer)
    }

    fn container(&self) -> Result<&Container> {
        if let Some(container) = self.container.get() {
            return Ok(container);
        }
        let container = Container::build(self.wanted.image, self.wanted.reference)?;
        Ok(self.container.get_or_init(|| container))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_wait_for_who_reads_them() {
        // One asks and ends; another asks at length, and reads both answers.
        let mut sh = Command::new("sh");
        sh.arg("-c").arg(
            "sh -c 'echo a'; head -c 200000 /dev/zero | tr '\\0' b; echo; read -r x; read -r y; echo ${#x} ${#y} >&2",
        );
        let mut questions = Vec::new();
        let out = converse(sh, |question| {
            questions.push(question.len());
            [vec![b'x'; 100_000 * questions.len()], b"\n".to_vec()].concat()
        });
        assert_eq!(String::from_utf8(out.unwrap().stderr).unwrap(), "100000 200000\n");
        assert_eq!(questions, [2, 200_001]);
    }
}
