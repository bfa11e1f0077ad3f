//! Who is judged, and what is compared: one command, run by `megalith run` or natively, with what it printed and left behind.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process_group};
use sha2::{Digest, Sha256};

use crate::corpus::{self, Corpus};
use crate::{paths, polyfill, sh};

/// Something that runs commands in a root file system, with the options of `megalith run`.
#[derive(Clone, Debug)]
pub struct Subject {
    /// Program and leading arguments, the bundle or root directory included.
    prefix: Vec<OsString>,
    /// Whether the host's own kernel and CPU do the work.
    pub native: bool,
}

/// One command and what it sees.
#[derive(Clone, Debug)]
pub struct Job {
    /// Program (an absolute path) and arguments.
    pub command: Vec<String>,
    /// What stdin reads.
    pub stdin: Stdin,
    /// `K=V`, beside PATH and HOME.
    pub environment: Vec<String>,
    /// `HOST:GUEST[:ro]`.
    pub volumes: Vec<String>,
    /// Working directory.
    pub directory: String,
    /// When to give up.
    pub timeout: Duration,
    /// Further options of `megalith run`; the native side never gets them.
    pub options: Vec<String>,
}

/// Standard input of a job.
#[derive(Clone, Debug)]
pub enum Stdin {
    /// `/dev/null`.
    Empty,
    /// A file's bytes.
    File(PathBuf),
    /// These bytes.
    Bytes(Vec<u8>),
}

/// What came of a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Exit status, 128+N when the process itself was ended by signal N, -1 when time ran out.
    pub status: i32,
    /// All of stdout.
    pub stdout: Vec<u8>,
    /// All of stderr.
    pub stderr: Vec<u8>,
}

impl Job {
    /// `command` in `/`, with an empty stdin and a minute of time.
    pub fn new<S: Into<String>>(command: impl IntoIterator<Item = S>) -> Job {
        Job {
            command: command.into_iter().map(Into::into).collect(),
            stdin: Stdin::Empty,
            environment: Vec::new(),
            volumes: Vec::new(),
            directory: "/".into(),
            timeout: Duration::from_secs(60),
            options: Vec::new(),
        }
    }

    /// `busybox sh -c script`.
    pub fn shell(script: &str) -> Job {
        Job::new(["/bin/busybox", "sh", "-c", script])
    }
}

impl Outcome {
    /// Stdout as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Status and both streams, cut to a size that a person reads.
    pub fn describe(&self) -> String {
        let cut = |bytes: &[u8]| {
            let text = String::from_utf8_lossy(bytes);
            match text.char_indices().nth(1500) {
                Some((end, _)) => format!("{}... ({} bytes)", text.get(..end).unwrap_or_default(), bytes.len()),
                None => text.into_owned(),
            }
        };
        format!("status {}\n--- stdout\n{}\n--- stderr\n{}", self.status, cut(&self.stdout), cut(&self.stderr))
    }
}

impl Subject {
    /// The host itself, in a `chroot` into `root`. `xtask` is the executable with the `native` verb.
    pub fn native(xtask: &Path, root: &Path) -> Subject {
        Subject { prefix: vec![xtask.into(), "native".into(), root.into()], native: true }
    }

    /// `megalith run` of a bundle.
    pub fn megalith(bundle: &Path) -> Subject {
        Subject { prefix: vec![paths::release("megalith").into(), "run".into(), bundle.into()], native: false }
    }

    /// Builds (or finds) the bundle of a corpus' image and returns `megalith run` of it; with `MEGALITH_SUBJECT=native`
    /// the native side once more, which proves the judge.
    ///
    /// # Errors
    /// `megalith` is not built, or `megalith build` fails.
    pub fn under_test(corpus: &Corpus) -> Result<Subject> {
        Subject::under_test_with(corpus, &[])
    }

    /// The same with further options of `megalith build`.
    ///
    /// # Errors
    /// See [`Subject::under_test`].
    pub fn under_test_with(corpus: &Corpus, options: &[String]) -> Result<Subject> {
        if std::env::var("MEGALITH_SUBJECT").is_ok_and(|s| s == "native") {
            return Ok(Subject::native(&paths::release("xtask"), &corpus.rootfs));
        }
        Ok(Subject::megalith(&bundle_with(corpus, options)?))
    }

    /// Names what is judged: changes with the bundle and the runner, or with the root directory's path, which has a key in it.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn key(&self) -> Result<String> {
        let place = self.prefix.last().map(PathBuf::from).unwrap_or_default();
        let made_of = if self.native {
            vec!["native".to_owned(), place.display().to_string()]
        } else {
            vec![sh::sha256_file(&place.join("manifest.json"))?, sh::sha256_file(&paths::release("megalith-run"))?]
        };
        Ok(sh::hex(Sha256::digest(made_of.concat()).get(..8).unwrap_or_default()))
    }

    /// The process to start for `job`. Standard streams are the caller's to set.
    pub fn command(&self, job: &Job, terminal: bool) -> Command {
        let mut words = self.prefix.iter();
        let mut command = Command::new(words.next().cloned().unwrap_or_default());
        command.args(words);
        if terminal {
            command.args(["-i", "-t"]);
        }
        if !self.native {
            command.args(&job.options);
        }
        for pair in [format!("PATH={}", corpus::PATH), "HOME=/root".to_owned()].iter().chain(&job.environment) {
            command.args(["-e", pair]);
        }
        for volume in &job.volumes {
            command.args(["-v", volume]);
        }
        command.args(["-w", &job.directory, "--"]).args(&job.command);
        command
    }

    /// Runs `job` to its end or timeout.
    ///
    /// # Errors
    /// It cannot be started, or its output cannot be read.
    pub fn run(&self, job: &Job) -> Result<Outcome> {
        run(self.command(job, false), &job.stdin, job.timeout)
    }
}

/// Runs a command with files as its standard streams, which (other than pipes) nothing left over can keep open or fill.
///
/// # Errors
/// It cannot be started, or its output cannot be read.
pub fn run(mut command: Command, stdin: &Stdin, timeout: Duration) -> Result<Outcome> {
    use std::io::{Seek, Write};
    let dir = tempfile::tempdir()?;
    let (out, err) = (dir.path().join("stdout"), dir.path().join("stderr"));
    let input = match stdin {
        Stdin::Empty => Stdio::null(),
        Stdin::File(path) => File::open(path).with_context(|| format!("open {}", path.display()))?.into(),
        Stdin::Bytes(bytes) => {
            let mut file = tempfile::tempfile()?;
            file.write_all(bytes)?;
            file.rewind()?;
            file.into()
        }
    };
    command.stdin(input).stdout(File::create(&out)?).stderr(File::create(&err)?).process_group(0);
    let mut child = command.spawn().with_context(|| format!("start {command:?}"))?;
    let end = Instant::now() + timeout;
    let mut pause = Duration::from_micros(200);
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default());
        }
        if Instant::now() > end {
            if let Some(group) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
                // The group is gone when the child ended just now; then there is nothing to kill.
                kill_process_group(group, Signal::KILL).ok();
            }
            child.wait()?;
            break -1;
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(10));
    };
    Ok(Outcome { status, stdout: fs::read(&out)?, stderr: fs::read(&err)? })
}

/// The bundle of a corpus' image, built when `megalith` or the image changed.
///
/// # Errors
/// `megalith` is not built, or `megalith build` fails.
pub fn bundle(corpus: &Corpus) -> Result<PathBuf> {
    bundle_with(corpus, &[])
}

/// The same with further options of `megalith build`.
///
/// # Errors
/// See [`bundle`].
pub fn bundle_with(corpus: &Corpus, options: &[String]) -> Result<PathBuf> {
    let megalith = paths::release("megalith");
    if !megalith.exists() {
        anyhow::bail!("{} is missing: run `cargo xtask build` first", megalith.display());
    }
    // The runner makes the snapshots; interpreters come from the cache.
    let made_by = [sh::sha256_file(&megalith)?, sh::sha256_file(&paths::release("megalith-run"))?, polyfill::key()];
    let key = sh::hex(Sha256::digest(made_by.concat() + &options.join("\0")).get(..8).unwrap_or_default());
    let bundle = paths::target().join("bundles").join(format!("{}-{key}", corpus.key));
    paths::make_once(&bundle, |dir| {
        // Into a directory of its own: a bundle may not be made over an unrelated directory.
        let out = dir.join("bundle");
        sh::output(sh::command(&megalith, ["build"]).arg(&corpus.image).arg("-o").arg(&out).args(options))?;
        Ok(())
    })?;
    Ok(bundle.join("bundle"))
}

/// What lies below `dir`: path to a line that says kind, mode, and content or target. Times are left out.
///
/// # Errors
/// A file cannot be read.
pub fn snapshot(dir: &Path) -> Result<BTreeMap<String, String>> {
    let mut found = BTreeMap::new();
    let mut todo = vec![PathBuf::new()];
    while let Some(relative) = todo.pop() {
        for entry in fs::read_dir(dir.join(&relative))? {
            let entry = entry?;
            let path = entry.path();
            let relative = relative.join(entry.file_name());
            let meta = fs::symlink_metadata(&path)?;
            let kind = meta.file_type();
            let what = if kind.is_dir() {
                todo.push(relative.clone());
                "directory".to_owned()
            } else if kind.is_symlink() {
                format!("link to {}", fs::read_link(&path)?.display())
            } else if kind.is_file() {
                format!("file of {} bytes, {}, links {}", meta.len(), sh::sha256_file(&path)?, meta.nlink())
            } else {
                format!("special {:o}", meta.mode() & 0o170_000)
            };
            found.insert(relative.to_string_lossy().into_owned(), format!("{:o} {what}", meta.mode() & 0o7777));
        }
    }
    Ok(found)
}
