//! Set-up: the Debian packages that tests and benchmarks use. Nothing is asked, everything is said, twice does no harm.

use anyhow::{Context, Result, bail};

use crate::sh;

/// (executable that shows it is there, Debian package).
const NEEDED: &[(&str, &str)] = &[
    ("gcc", "gcc"),
    ("make", "make"),
    ("ld", "binutils"),
    ("nm", "binutils"),
    ("dpkg-source", "dpkg-dev"),
    ("patch", "patch"),
    ("bzip2", "bzip2"),
    ("xz", "xz-utils"),
    ("strace", "strace"),
    ("bwrap", "bubblewrap"),
    ("runc", "runc"),
    ("unshare", "util-linux"),
    ("setsid", "util-linux"),
    ("npm", "npm"),
    ("pip3", "python3-pip"),
];

/// Packages without an executable: (file that shows it is there, package).
const NEEDED_FILES: &[(&str, &str)] =
    &[("/usr/include/stdio.h", "libc6-dev"), ("/usr/lib/x86_64-linux-gnu/libc.a", "libc6-dev")];

/// C compiler for WASI: its name, and the same lists of what it is made of.
pub const WASI_CC: &str = "clang-22";
const WASI: &[(&str, &str)] = &[(WASI_CC, "clang-22"), ("wasm-ld-22", "lld-22")];
const WASI_FILES: &[(&str, &str)] = &[
    ("/usr/lib/wasm32-wasi/libc.a", "wasi-libc"),
    ("/usr/share/doc/libclang-rt-22-dev-wasm32", "libclang-rt-22-dev-wasm32"),
];

/// Installs what is missing with apt-get.
///
/// # Errors
/// A package cannot be installed, or we are not root on a machine that misses one.
pub fn packages() -> Result<()> {
    install(NEEDED, NEEDED_FILES)
}

/// The same for [`WASI_CC`] and its C library.
///
/// # Errors
/// See [`packages`].
pub fn wasi_compiler() -> Result<()> {
    install(WASI, WASI_FILES)
}

/// The same for what makes a Debian root file system.
///
/// # Errors
/// See [`packages`].
pub fn root_builder() -> Result<()> {
    install(&[("mmdebstrap", "mmdebstrap")], &[])
}

/// Libraries that the Node polyfill is linked with, as static libraries: (header, package).
const NODE_FILES: &[(&str, &str)] =
    &[("/usr/include/zlib.h", "zlib1g-dev"), ("/usr/include/openssl/sha.h", "libssl-dev")];

/// The same for what the Node polyfill is built with.
///
/// # Errors
/// See [`packages`].
pub fn node_builder() -> Result<()> {
    let files: Vec<_> = NEEDED_FILES.iter().chain(NODE_FILES).copied().collect();
    install(NEEDED, &files)
}

/// Libraries that CPython is built with, as static libraries: (header, package).
const PYTHON_FILES: &[(&str, &str)] = &[
    ("/usr/include/zlib.h", "zlib1g-dev"),
    ("/usr/include/bzlib.h", "libbz2-dev"),
    ("/usr/include/lzma.h", "liblzma-dev"),
    ("/usr/include/expat.h", "libexpat1-dev"),
    ("/usr/include/openssl/ssl.h", "libssl-dev"),
    ("/usr/include/sqlite3.h", "libsqlite3-dev"),
    ("/usr/include/readline/readline.h", "libreadline-dev"),
    ("/usr/include/curses.h", "libncurses-dev"),
    ("/usr/include/uuid/uuid.h", "uuid-dev"),
    ("/usr/include/crypt.h", "libcrypt-dev"),
];

/// The same for what the Python polyfill is built with.
///
/// # Errors
/// See [`packages`].
pub fn python_builder() -> Result<()> {
    let files: Vec<_> = NEEDED_FILES.iter().chain(PYTHON_FILES).copied().collect();
    install(NEEDED, &files)
}

/// The same for the libraries that tests link native extensions of Python packages with.
///
/// # Errors
/// See [`packages`].
pub fn extension_builder() -> Result<()> {
    install(&[("g++", "g++")], &[("/usr/include/yaml.h", "libyaml-dev")])
}

fn install(programs: &[(&str, &'static str)], files: &[(&str, &'static str)]) -> Result<()> {
    let mut missing: Vec<&str> = Vec::new();
    missing.extend(programs.iter().filter(|(program, _)| !sh::installed(program)).map(|(_, package)| package));
    missing.extend(files.iter().filter(|(file, _)| !std::path::Path::new(file).exists()).map(|(_, package)| package));
    missing.sort_unstable();
    missing.dedup();
    if missing.is_empty() {
        return Ok(());
    }
    eprintln!("xtask: installing Debian packages: {}", missing.join(" "));
    if !rustix::process::geteuid().is_root() {
        bail!("missing Debian packages ({}): run as root, or: apt-get install {0}", missing.join(" "));
    }
    let install = || {
        let args = ["-o", "APT::Sandbox::User=root", "install", "--yes", "--no-install-recommends"];
        sh::output(sh::command("apt-get", args).args(&missing).env("DEBIAN_FRONTEND", "noninteractive"))
    };
    if install().is_err() {
        sh::output(&mut sh::command("apt-get", ["update"])).context("refresh the package lists")?;
        install()?;
    }
    Ok(())
}
