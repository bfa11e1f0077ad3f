//! What is started, and as whom: image configuration and options together, as `docker run` combines them.

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStringExt;

use megalith_abi::shebang::DEFAULT_PATH;
use megalith_manifest::{Config, FileHash, GuestPath, Manifest};
use megalith_run::options::{ContainerOptions, RunOptions};
use megalith_vfs::{At, Cred, Vfs, WalkFlags};
use megalith_vkernel::Credentials;

use crate::failure::{Failure, Result, fail};

/// Largest /etc/passwd or /etc/group that is read.
const MAX_DATABASE: u64 = 16 << 20;

/// Arguments of the first process: the tool's path, the options' program, or the image's entrypoint and command.
pub fn argv(config: &Config, options: &RunOptions, tool: Option<&GuestPath>) -> Result<Vec<Vec<u8>>> {
    let given: Vec<Vec<u8>> = options.command.iter().map(|a| a.clone().into_vec()).collect();
    let bytes = |v: &[String]| v.iter().map(|s| s.clone().into_bytes()).collect::<Vec<_>>();
    let argv = match (tool, &options.entrypoint, given.is_empty()) {
        (Some(path), _, _) => [vec![path.as_bytes().to_vec()], given].concat(),
        // With --entrypoint what follows are its arguments, as with docker.
        (None, Some(e), _) => [vec![e.clone().into_bytes()], given].concat(),
        (None, None, true) => [bytes(&config.entrypoint), bytes(&config.cmd)].concat(),
        // A program on the command line is started as it stands.
        (None, None, false) => given,
    };
    if argv.is_empty() {
        return Err(fail("the image names no program to start; give one after the bundle"));
    }
    if argv.iter().any(|a| a.contains(&0)) {
        return Err(fail("an argument holds a NUL character"));
    }
    Ok(argv)
}

/// Path and hash of a tool.
pub fn tool<'a, N>(manifest: &'a Manifest<N>, name: &str) -> Result<(&'a GuestPath, FileHash)> {
    let missing = format!("the bundle has no tool named '{name}'; 'megalith tools BUNDLE' lists those it has");
    manifest.tool(name).ok_or(Failure { code: 127, message: missing })
}

/// Environment of the first process: the image's, --env-file, -e, in rising order; HOME, HOSTNAME and (with -t) TERM if missing.
pub fn environment(config: &Config, options: &ContainerOptions, home: &str) -> Result<Vec<Vec<u8>>> {
    let mut env: BTreeMap<String, String> = BTreeMap::new();
    env.insert("PATH".into(), DEFAULT_PATH.into());
    env.insert("HOSTNAME".into(), options.hostname.clone());
    env.insert("HOME".into(), home.into());
    if options.tty {
        env.insert("TERM".into(), "xterm".into());
    }
    for pair in &config.env {
        if let Some((k, v)) = pair.split_once('=') {
            env.insert(k.into(), v.into());
        }
    }
    for file in &options.env_file {
        let text = std::fs::read_to_string(file).map_err(|e| fail(format!("cannot read {}: {e}", file.display())))?;
        for line in text.lines().filter(|l| !l.trim_start().starts_with('#') && !l.trim().is_empty()) {
            set(&mut env, line)?;
        }
    }
    for pair in &options.env {
        set(&mut env, pair)?;
    }
    Ok(env.into_iter().map(|(k, v)| format!("{k}={v}").into_bytes()).collect())
}

/// Applies `NAME=VALUE`, or takes NAME over from our own environment.
fn set(env: &mut BTreeMap<String, String>, pair: &str) -> Result<()> {
    let (name, value) = match pair.split_once('=') {
        Some((k, v)) => (k, Some(v.to_owned())),
        None => (pair, std::env::var(pair).ok()),
    };
    if name.is_empty() || pair.contains('\0') {
        return Err(fail(format!("environment: '{pair}' is not NAME=VALUE")));
    }
    if let Some(v) = value {
        env.insert(name.into(), v);
    }
    Ok(())
}

/// Who the first process is, and that user's home directory.
pub fn user(spec: &str, vfs: &Vfs) -> Result<(Credentials, String)> {
    let (user, group) = spec.split_once(':').map_or((spec, None), |(u, g)| (u, Some(g)));
    let user = if user.is_empty() { "0" } else { user };
    let passwd = database(vfs, b"/etc/passwd");
    let groups = database(vfs, b"/etc/group");
    let number: Option<u32> = user.parse().ok();
    let entry = passwd.iter().find(|f| match number {
        Some(n) => field(f, 2).parse() == Ok(n),
        None => field(f, 0) == user,
    });
    let (uid, gid, name, home) = match (entry, number) {
        (Some(f), _) => (parse(field(f, 2))?, parse(field(f, 3))?, Some(field(f, 0)), field(f, 5)),
        (None, Some(n)) => (n, 0, None, "/"),
        (None, None) => return Err(fail(format!("user {user}: not in the image's /etc/passwd; give a number"))),
    };
    let mut cred = Credentials { uid, gid, groups: vec![] };
    match group {
        Some(g) => {
            cred.gid = match (g.parse(), groups.iter().find(|f| field(f, 0) == g)) {
                (Ok(n), _) => n,
                (_, Some(f)) => parse(field(f, 2))?,
                _ => return Err(fail(format!("group {g}: not in the image's /etc/group; give a number"))),
            };
        }
        None => {
            let member = |f: &&Vec<String>| name.is_some_and(|n| field(f, 3).split(',').any(|m| m == n));
            cred.groups = groups.iter().filter(member).filter_map(|f| field(f, 2).parse().ok()).take(65536).collect();
        }
    }
    let home = if home.is_empty() { "/" } else { home };
    Ok((cred, home.into()))
}

fn parse(n: &str) -> Result<u32> {
    n.parse().map_err(|_| fail(format!("the image's /etc/passwd or /etc/group is damaged: '{n}' is not a number")))
}

fn field(entry: &[String], i: usize) -> &str {
    entry.get(i).map_or("", String::as_str)
}

/// The lines of a colon-separated file, split; none if the file cannot be read.
fn database(vfs: &Vfs, path: &[u8]) -> Vec<Vec<String>> {
    let (root, cred) = (vfs.root(), Cred::root());
    let at = At { root: &root, base: &root, cred: &cred };
    let Ok(location) = vfs.lookup(&at, path, WalkFlags::FOLLOW) else { return vec![] };
    let Ok(bytes) = location.inode().read_all(MAX_DATABASE) else { return vec![] };
    String::from_utf8_lossy(&bytes).lines().map(|l| l.split(':').map(str::to_owned).collect()).collect()
}

/// Working directory of the first process.
pub fn workdir(config: &Config, options: &ContainerOptions) -> std::result::Result<Vec<u8>, Failure> {
    let dir = options.workdir.as_deref().unwrap_or(&config.working_dir);
    match dir {
        "" => Ok(b"/".to_vec()),
        d if d.starts_with('/') => Ok(d.as_bytes().to_vec()),
        d => Err(fail(format!("working directory '{d}' is not absolute"))),
    }
}
