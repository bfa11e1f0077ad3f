//! Which files of an image are programs, and of what kind.

use anyhow::{Result, bail};
use megalith_image::{NodeId, Rootfs};
use megalith_manifest::{FileHash, GuestPath, escape};
use std::collections::BTreeMap;

/// Most interpreters of interpreters that Linux follows (`man 2 execve`, BINPRM_MAX_RECURSION).
const MAX_CHAIN: usize = 5;
/// Bytes of a file in which Linux looks for the end of the `#!` line (BINPRM_BUF_SIZE).
const LINE: usize = 256;

/// What the first bytes of a file say.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Class {
    Elf,
    Wasm,
    /// With the path after `#!`.
    Script(Vec<u8>),
    /// Nothing that starts; why.
    Other(&'static str),
}

/// Executable files with the same bytes.
#[derive(Debug)]
pub struct File {
    /// In byte order.
    pub paths: Vec<GuestPath>,
    pub node: NodeId,
    pub size: u64,
    pub class: Class,
}

/// Every executable regular file of `rootfs`, and those that `extra` names, perhaps by way of symlinks, by hash.
///
/// # Errors
/// When a path of `extra` leads to no regular file.
pub fn scan(rootfs: &Rootfs, extra: &[GuestPath]) -> Result<BTreeMap<FileHash, File>> {
    let mut files: BTreeMap<FileHash, File> = BTreeMap::new();
    let mut add = |path: GuestPath, node: NodeId| {
        let Some(regular) = rootfs.node(node).regular() else { bail!("{path} is not a regular file of the image") };
        let file = files.entry(regular.hash).or_insert_with(|| File {
            paths: Vec::new(),
            node,
            size: regular.size(),
            class: classify(rootfs.data(node)),
        });
        file.paths.push(path);
        Ok(())
    };
    for (path, node) in rootfs.executables() {
        add(GuestPath::new(path)?, node)?;
    }
    for path in extra {
        let Some(node) = rootfs.lookup(path.as_bytes(), true) else { bail!("{path} is not in the image") };
        // Entries are files: the path of one that a symlink leads to is its own.
        let own = rootfs.iter().find(|x| x.1 == node).map(|x| GuestPath::new(x.0)).transpose()?;
        add(own.unwrap_or_else(|| path.clone()), node)?;
    }
    for file in files.values_mut() {
        file.paths.sort();
        file.paths.dedup();
    }
    Ok(files)
}

fn classify(bytes: &[u8]) -> Class {
    match bytes {
        [] => Class::Other("an empty file"),
        [0x7f, b'E', b'L', b'F', ..] => Class::Elf,
        [0, b'a', b's', b'm', ..] => Class::Wasm,
        [b'#', b'!', rest @ ..] => match interpreter(rest) {
            Some(path) => Class::Script(path.to_vec()),
            None => Class::Other("a script without an interpreter"),
        },
        _ => Class::Other("neither an ELF file nor WebAssembly nor a script with #!"),
    }
}

/// The path on a `#!` line, as Linux finds it (`fs/binfmt_script.c`); `None` when there is none or it may be cut off.
fn interpreter(rest: &[u8]) -> Option<&[u8]> {
    let head = rest.get(..LINE - 2).unwrap_or(rest);
    let line = head.split(|b| *b == b'\n' || *b == 0).next().unwrap_or_default();
    let start = line.iter().position(|b| !matches!(b, b' ' | b'\t'))?;
    let path = line.get(start..)?.split(|b| matches!(b, b' ' | b'\t')).next()?;
    let cut = start + path.len() == LINE - 2;
    (!path.is_empty() && !cut).then_some(path)
}

/// The file that interprets the script with that hash in the end: the first of the chain that is no script itself.
///
/// # Errors
/// Why there is none, in a few words.
pub fn final_interpreter(rootfs: &Rootfs, files: &BTreeMap<FileHash, File>, script: &File) -> Result<FileHash, String> {
    let mut at = script;
    for _ in 0..MAX_CHAIN {
        let Class::Script(path) = &at.class else { return Err("not a script".into()) };
        let shown = escape(path);
        let Some(regular) = rootfs.lookup(path, true).and_then(|node| rootfs.node(node).regular()) else {
            return Err(format!("its interpreter {shown} is not in the image"));
        };
        match files.get(&regular.hash) {
            Some(file) if matches!(file.class, Class::Script(_)) => at = file,
            Some(_) => return Ok(regular.hash),
            None => return Err(format!("its interpreter {shown} is not executable")),
        }
    }
    Err("its interpreters are scripts, one after the other".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_lines_of_scripts() {
        let class = |s: &str| classify(s.as_bytes());
        let script = |s: &str| Class::Script(s.into());
        assert_eq!(class("#!/bin/sh\necho"), script("/bin/sh"));
        assert_eq!(class("#! \t/usr/bin/env\tpython3 -x\n"), script("/usr/bin/env"));
        assert_eq!(class("#!/bin/sh"), script("/bin/sh"));
        assert_eq!(class("#!\n/bin/sh"), Class::Other("a script without an interpreter"));
        assert_eq!(class(&format!("#!/{}", "x".repeat(300))), Class::Other("a script without an interpreter"));
        assert_eq!(class(&format!("#!/bin/sh {}", "x".repeat(300))), script("/bin/sh"));
        assert_eq!(class("\x7fELF"), Class::Elf);
        assert_eq!(class("\0asm"), Class::Wasm);
        assert!(matches!(class("#"), Class::Other(_)));
        assert!(matches!(class(""), Class::Other(_)));
    }
}
