//! Containers that a build runs code of an image in: what an interpreter does with files of strangers, it does in one.

use crate::packages::{Wanted, one_line};
use crate::polyfill::{self, Chosen, Language};
use crate::run::runner;
use anyhow::{Context, Result, bail};
use megalith_image::Rootfs;
use megalith_manifest::FileHash;
use std::cell::OnceCell;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};

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
        let mut mount = volume.as_os_str().to_owned();
        mount.push(format!(":{at}"));
        let mut command = Command::new(runner()?);
        command.arg("-v").arg(mount).args(["-u", "0:0", "-w", "/"]).args(options).arg(self.0.path().join("bundle"));
        command.arg("--").arg(OsStr::from_bytes(program)).args(arguments);
        command.stdin(Stdio::null()).output().context("cannot start megalith-run")
    }
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
}

impl<'a> Sandbox<'a> {
    pub fn new(rootfs: &Rootfs, wanted: &'a Wanted<'a>) -> Result<Sandbox<'a>> {
        let python = interpreter(rootfs, Language::Python, "packages are compiled by it")?;
        let (interpreter, polyfill) = python.context("the image has no python3 that a polyfill stands in for")?;
        Ok(Sandbox { wanted, interpreter, polyfill, image_id: wanted.image_id, container: OnceCell::new() })
    }

    /// Where packages go in the image.
    pub fn site(&self) -> String {
        format!("/usr/local/lib/python{}/dist-packages", self.polyfill.interpreter.version)
    }

    /// Runs Python as [`Container::run`] does.
    pub fn python(&self, volume: &Path, at: &str, options: &[&str], arguments: &[&str]) -> Result<Output> {
        let container = match self.container.get() {
            Some(container) => container,
            None => {
                let container = Container::build(self.wanted.image, self.wanted.reference)?;
                self.container.get_or_init(|| container)
            }
        };
        container.run(volume, at, options, &self.interpreter, arguments)
    }
}
