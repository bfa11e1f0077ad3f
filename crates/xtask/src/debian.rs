//! Debian packages as input: busybox-static without installing it, and the source it was built from.
//!
//! Both come from wherever this machine's own apt gets its packages; no address stands here. What was fetched is kept in the
//! cache under its content or version.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};

use crate::{paths, sh};

/// An unpacked binary package.
pub struct BinaryPackage {
    /// Root of the unpacked files.
    pub files: PathBuf,
    /// Debian version, e.g. `1:1.35.0-4+deb12u1+b1`.
    pub version: String,
    /// Version of the source package that it was built from.
    pub source_version: String,
    /// SHA-256 of the `.deb`, hex.
    pub hash: String,
    /// Address of the archive that has it (what stands before `/pool/`).
    archive: String,
}

/// Fetches and unpacks a binary package (not its dependencies).
///
/// # Errors
/// apt does not know the package, or cannot fetch it.
pub fn binary_package(name: &str) -> Result<BinaryPackage> {
    let uri = || -> Result<(String, String, String)> {
        let out = sh::text(&mut sh::command("apt-get", ["download", "--print-uris", name]))?;
        // 'http://...deb' name_version_arch.deb 123 SHA256:abc
        let line =
            out.lines().find(|l| l.starts_with('\'')).with_context(|| format!("apt has no address for {name}"))?;
        let mut words = line.split_whitespace();
        let (Some(address), Some(file), Some(_), Some(hash)) = (words.next(), words.next(), words.next(), words.next())
        else {
            bail!("apt-get --print-uris: not understood: {line}");
        };
        let hash =
            hash.strip_prefix("SHA256:").with_context(|| format!("apt-get --print-uris gives no SHA-256: {line}"))?;
        Ok((address.trim_matches('\'').to_owned(), file.to_owned(), hash.to_owned()))
    };
    let (address, _, hash) = match uri() {
        Ok(found) => found,
        Err(_) => {
            eprintln!("xtask: refreshing apt's package lists");
            sh::output(&mut sh::command("apt-get", ["update"]))?;
            uri()?
        }
    };
    let dir = paths::cache("deb")?.join(format!("{name}-{}", hash.get(..16).unwrap_or(&hash)));
    paths::make_once(&dir, |dir| {
        eprintln!("xtask: fetching the Debian package {name}");
        sh::output(sh::command("apt-get", ["-o", "APT::Sandbox::User=root", "download", name]).current_dir(dir))?;
        let deb = only_file(dir, ".deb")?;
        let got = sh::sha256_file(&deb)?;
        if got != hash {
            bail!("{}: its SHA-256 is {got}, apt promised {hash}", deb.display());
        }
        sh::output(sh::command("dpkg-deb", ["-x"]).arg(&deb).arg(dir.join("files")))?;
        fs::rename(&deb, dir.join("package.deb"))?;
        Ok(())
    })?;
    let field = |field: &str| sh::text(sh::command("dpkg-deb", ["-f"]).arg(dir.join("package.deb")).arg(field));
    let version = field("Version")?.trim().to_owned();
    // "Source: busybox (1:1.35.0-4+deb12u1)" when it differs from the binary's version.
    let source = field("Source")?;
    let source_version = match source.split_once('(') {
        Some((_, rest)) => rest.trim().trim_end_matches(')').to_owned(),
        None => version.clone(),
    };
    let archive = address.split("/pool/").next().unwrap_or_default().to_owned();
    Ok(BinaryPackage { files: dir.join("files"), version, source_version, hash, archive })
}

/// Packages with all that they depend on, whatever is installed on this machine.
pub struct Closure {
    /// `.deb` files, in the order in which dpkg would unpack them.
    pub files: Vec<PathBuf>,
    /// Changes with any of the packages, hex.
    pub key: String,
}

impl Closure {
    /// The version of a package in it.
    pub fn version(&self, name: &str) -> Result<String> {
        let prefix = format!("{name}_");
        let file = self
            .files
            .iter()
            .find(|f| f.file_name().is_some_and(|n| n.to_string_lossy().starts_with(&prefix)))
            .with_context(|| format!("{name} is not among the fetched packages"))?;
        Ok(sh::text(sh::command("dpkg-deb", ["-f"]).arg(file).arg("Version"))?.trim().to_owned())
    }
}

/// Fetches packages with their dependencies, without recommended ones. apt is told of a machine where nothing is installed.
///
/// # Errors
/// apt does not know a package, or cannot fetch one.
pub fn closure(names: &[&str]) -> Result<Closure> {
    let empty = tempfile::NamedTempFile::new()?;
    let options = [
        format!("-oDir::State::status={}", empty.path().display()),
        "-oAPT::Install-Recommends=false".to_owned(),
        "-oAPT::Sandbox::User=root".to_owned(),
        "-oDebug::NoLocking=1".to_owned(),
    ];
    let list = || -> Result<Vec<(String, String)>> {
        let mut apt = sh::command("apt-get", &options);
        let out = sh::text(apt.args(["--yes", "--print-uris", "install"]).args(names))?;
        // 'http://...deb' name_version_arch.deb 123 SHA256:abc
        let lines = out.lines().filter(|l| l.starts_with('\''));
        Ok(lines
            .filter_map(|l| {
                let mut words = l.split_whitespace().skip(1);
                Some((words.next()?.to_owned(), words.next()?.to_owned()))
            })
            .collect())
    };
    let mut packages = list();
    if packages.is_err() {
        eprintln!("xtask: refreshing apt's package lists");
        sh::output(&mut sh::command("apt-get", ["update"]))?;
        packages = list();
    }
    let packages = packages?;
    let mut hasher = Sha256::new();
    for (file, size) in &packages {
        hasher.update(format!("{file} {size}\n"));
    }
    let key = sh::hex(hasher.finalize().get(..8).unwrap_or_default());
    let dir = paths::cache("debs")?.join(&key);
    paths::make_once(&dir, |dir| {
        eprintln!("xtask: fetching {} Debian packages: {} and what they need", packages.len(), names.join(" "));
        fs::create_dir(dir.join("partial"))?;
        let mut apt = sh::command("apt-get", &options);
        apt.arg(format!("-oDir::Cache::archives={}", dir.display()));
        // apt checks the hashes that its signed lists promise.
        sh::output(apt.args(["--yes", "--download-only", "install"]).args(names)).map(drop)
    })?;
    // In the archive's directory a file's name may say its epoch otherwise than in the list: compare without it.
    let plain = |name: &str| {
        name.replace("%3a", ":")
            .split_once('_')
            .map(|(n, v)| (n.to_owned(), v.rsplit(':').next().unwrap_or(v).to_owned()))
    };
    let there: Vec<PathBuf> = fs::read_dir(&dir)?.filter_map(|e| Some(e.ok()?.path())).collect();
    let find = |wanted: &str| {
        there.iter().find(|p| p.file_name().is_some_and(|n| plain(&n.to_string_lossy()) == plain(wanted))).cloned()
    };
    let files = packages.iter().map(|(file, _)| find(file).with_context(|| format!("apt-get left no {file}")));
    Ok(Closure { files: files.collect::<Result<_>>()?, key })
}

/// Fetches and unpacks (patches applied) the source package `name` that `binary` was built from. Returns the source tree.
///
/// # Errors
/// No entry for that archive is found, or it has no such source.
pub fn source_package(name: &str, binary: &BinaryPackage) -> Result<PathBuf> {
    let key = binary.source_version.replace([':', '/', '~'], "_");
    let dir = paths::cache("source")?.join(format!("{name}_{key}"));
    paths::make_once(&dir, |dir| {
        eprintln!("xtask: fetching the Debian source package {name} {}", binary.source_version);
        let apt = PrivateApt::new(Some(&binary.archive))?;
        apt.fetch_source(name, &binary.source_version, dir)
    })?;
    Ok(dir.join("tree"))
}

/// A source package: its unpacked tree (patches applied) and its Debian version.
pub struct SourcePackage {
    /// The unpacked tree.
    pub tree: PathBuf,
    /// Debian version.
    pub version: String,
}

/// Whether version `a` is older than `b`, as Debian orders versions.
pub fn older(a: &str, b: &str) -> bool {
    sh::command("dpkg", ["--compare-versions", a, "lt", b]).status().is_ok_and(|s| s.success())
}

/// Fetches and unpacks (patches applied) the newest version of the source package `name` that the machine's archives can give.
///
/// A version that is in the cache is taken without asking anybody. An archive may list a version whose files it does not
/// have (yet, or any more): then the next older one is taken, and it is said.
///
/// # Errors
/// No archive has the package.
pub fn newest_source_package(name: &str) -> Result<SourcePackage> {
    let cache = paths::cache("newest-source")?;
    let link = cache.join(name);
    if !link.join("version").exists() {
        eprintln!("xtask: looking for the Debian source package {name}");
        let apt = PrivateApt::new(None)?;
        let mut last = None;
        for version in apt.source_versions(name)? {
            eprintln!("xtask: fetching the Debian source package {name} {version}");
            let fetched = paths::make_once(&link, |dir| {
                apt.fetch_source(name, &version, dir)?;
                Ok(fs::write(dir.join("version"), &version)?)
            });
            match fetched {
                Ok(_) => {
                    last = None;
                    break;
                }
                Err(error) => {
                    eprintln!(
                        "xtask: {name} {version} cannot be had: {}",
                        error.to_string().lines().last().unwrap_or("")
                    );
                    last = Some(error);
                }
            }
        }
        if let Some(error) = last {
            return Err(error.context(format!("no version of the source package {name} can be fetched")));
        }
    }
    let version =
        fs::read_to_string(link.join("version")).with_context(|| format!("no archive has the source {name}"))?;
    Ok(SourcePackage { tree: link.join("tree"), version })
}

/// An apt configuration of our own with source entries, so that the machine's is left alone.
struct PrivateApt {
    root: tempfile::TempDir,
}

impl PrivateApt {
    /// Takes the machine's entries for one archive, or all, as source entries, and fetches their lists.
    fn new(archive: Option<&str>) -> Result<Self> {
        let apt = Self { root: tempfile::tempdir()? };
        let root = apt.root.path();
        for sub in ["sources.d", "lists/partial", "cache/archives/partial"] {
            fs::create_dir_all(root.join(sub))?;
        }
        if write_source_entries(archive, &root.join("sources.d"))? == 0 {
            bail!("none of the machine's apt sources is for {}", archive.unwrap_or("Debian packages"));
        }
        sh::output(apt.command("apt-get").arg("update"))?;
        Ok(apt)
    }

    fn command(&self, program: &str) -> std::process::Command {
        let option = |key: &str, sub: &str| format!("-o{key}={}", self.root.path().join(sub).display());
        sh::command(
            program,
            [
                "-oDir::Etc::sourcelist=/dev/null".to_owned(),
                "-oAPT::Sandbox::User=root".to_owned(),
                option("Dir::Etc::sourceparts", "sources.d"),
                option("Dir::State::lists", "lists"),
                option("Dir::Cache", "cache"),
            ],
        )
    }

    /// Versions of a source package, newest first.
    fn source_versions(&self, name: &str) -> Result<Vec<String>> {
        let records = sh::text(self.command("apt-cache").args(["showsrc", "--only-source", name]))?;
        let mut versions: Vec<String> =
            records.lines().filter_map(|l| l.strip_prefix("Version: ")).map(str::to_owned).collect();
        // As Debian orders versions, not as text.
        versions.sort_by(|a, b| {
            if a == b {
                std::cmp::Ordering::Equal
            } else if older(a, b) {
                std::cmp::Ordering::Greater
            } else {
                std::cmp::Ordering::Less
            }
        });
        versions.dedup();
        Ok(versions)
    }

    /// Fetches a source package (apt checks its hashes) and unpacks it as `dir/tree`.
    fn fetch_source(&self, name: &str, version: &str, dir: &Path) -> Result<()> {
        sh::output(self.command("apt-get").args(["source", &format!("{name}={version}")]).current_dir(dir))?;
        let tree = fs::read_dir(dir)?.filter_map(|e| Some(e.ok()?.path())).find(|p| p.is_dir());
        fs::rename(tree.context("apt-get source left no directory")?, dir.join("tree"))?;
        Ok(())
    }
}

/// Copies the machine's apt entries for `archive` (or for all of them) as source entries into `to`. Returns how many.
fn write_source_entries(archive: Option<&str>, to: &Path) -> Result<usize> {
    let mut files = vec![PathBuf::from("/etc/apt/sources.list")];
    if let Ok(entries) = fs::read_dir("/etc/apt/sources.list.d") {
        files.extend(entries.filter_map(|e| Some(e.ok()?.path())));
    }
    files.sort();
    let mut count = 0;
    for (i, file) in files.iter().enumerate() {
        let Ok(text) = fs::read_to_string(file) else { continue };
        let (entries, extension) = match file.extension().and_then(|e| e.to_str()) {
            Some("sources") => (deb822_entries(&text, archive), "sources"),
            Some("list") => (one_line_entries(&text, archive), "list"),
            _ => continue,
        };
        if !entries.is_empty() {
            count += entries.len();
            let separator = if extension == "sources" { "\n\n" } else { "\n" };
            fs::write(to.join(format!("{i}.{extension}")), entries.join(separator) + "\n")?;
        }
    }
    Ok(count)
}

/// Stanzas of a deb822 file (man 5 sources.list) for `archive`, with `Types: deb-src`.
fn deb822_entries(text: &str, archive: Option<&str>) -> Vec<String> {
    let lines: Vec<&str> = text.lines().filter(|l| !l.starts_with('#')).collect();
    lines
        .split(|l| l.trim().is_empty())
        .filter(|stanza| {
            stanza.iter().any(|l| {
                let Some(uris) = l.strip_prefix("URIs:") else { return false };
                uris.split_whitespace().any(|u| archive.is_none_or(|a| u.trim_end_matches('/') == a))
            })
        })
        .map(|stanza| {
            let lines: Vec<&str> =
                stanza.iter().map(|l| if l.starts_with("Types:") { "Types: deb-src" } else { l }).collect();
            lines.join("\n")
        })
        .collect()
}

/// One-line entries `deb [options] uri suite component...` for `archive`, as `deb-src`.
fn one_line_entries(text: &str, archive: Option<&str>) -> Vec<String> {
    text.lines()
        .filter_map(|l| l.trim().strip_prefix("deb "))
        .filter(|rest| rest.split_whitespace().any(|w| archive.is_none_or(|a| w.trim_end_matches('/') == a)))
        .map(|rest| format!("deb-src {rest}"))
        .collect()
}

/// The only file in `dir` whose name ends in `suffix`.
fn only_file(dir: &Path, suffix: &str) -> Result<PathBuf> {
    let mut found =
        fs::read_dir(dir)?.filter_map(|e| Some(e.ok()?.path())).filter(|p| p.to_string_lossy().ends_with(suffix));
    match (found.next(), found.next()) {
        (Some(path), None) => Ok(path),
        _ => bail!("expected one {suffix} file in {}", dir.display()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_become_source_entries_of_the_one_archive() {
        let text = "Types: deb\n# a comment\nURIs: http://a.example/debian\nSuites: x\n\nTypes: deb\nURIs: http://b.example/other\nSuites: y\n";
        let found = deb822_entries(text, Some("http://a.example/debian"));
        assert_eq!(found, ["Types: deb-src\nURIs: http://a.example/debian\nSuites: x"]);
        let list = "deb [signed-by=/k] http://a.example/debian/ x main\n# deb http://a.example/debian x main\ndeb-src http://a.example/debian x main\ndeb http://b.example x main\n";
        assert_eq!(
            one_line_entries(list, Some("http://a.example/debian")),
            ["deb-src [signed-by=/k] http://a.example/debian/ x main"]
        );
    }
}
