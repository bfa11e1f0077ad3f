//! Which files of an image are programs, and of what kind.

use anyhow::{Result, bail};
use megalith_abi::shebang::{self, Interpreter};
use megalith_image::{NodeId, Rootfs};
use megalith_manifest::{FileHash, GuestPath, escape};
use std::collections::BTreeMap;

/// Most interpreters of interpreters that Linux follows (`man 2 execve`, BINPRM_MAX_RECURSION).
const MAX_CHAIN: usize = 5;

/// What the first bytes of a file say.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Class {
    Elf,
    Wasm,
    /// With what follows `#!`.
    Script(Interpreter),
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
        [b'#', b'!', ..] => match shebang::interpreter(bytes) {
            Some(line) => Class::Script(line),
            None => Class::Other("a script without an interpreter"),
        },
        _ => Class::Other("neither an ELF file nor WebAssembly nor a script with #!"),
    }
}

/// The file that interprets the script with that hash in the end: the first of the chain that is no script itself.
///
/// `env` is the image's, `NAME=VALUE`: what `#!/usr/bin/env` names is looked for in its PATH.
///
/// # Errors
/// Why there is none, in a few words.
pub fn final_interpreter(
    rootfs: &Rootfs,
    files: &BTreeMap<FileHash, File>,
    env: &[String],
    script: &File,
) -> Result<FileHash, String> {
    let mut env: Vec<Vec<u8>> = env.iter().map(|pair| pair.clone().into_bytes()).collect();
    let mut at = script;
    for _ in 0..MAX_CHAIN {
        let Class::Script(line) = &at.class else { return Err("not a script".into()) };
        let mut path = line.path.clone();
        if let Some(command) = line.env_command() {
            let changed = command.environment(&env);
            if let Some(found) = search(rootfs, &command.command, &changed) {
                (path, env) = (found, changed);
            }
        }
        let shown = escape(&path);
        let Some(regular) = rootfs.lookup(&path, true).and_then(|node| rootfs.node(node).regular()) else {
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

/// The executable file that a command stands for.
fn search(rootfs: &Rootfs, command: &[u8], env: &[Vec<u8>]) -> Option<Vec<u8>> {
    if command.contains(&b'/') {
        return Some(command.to_vec());
    }
    let executable = |path: &Vec<u8>| {
        let node = rootfs.lookup(path, true);
        node.is_some_and(|n| rootfs.node(n).regular().is_some() && rootfs.node(n).meta.mode & 0o111 != 0)
    };
    shebang::candidates(command, env).find(executable)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_lines_of_scripts() {
        let class = |s: &str| classify(s.as_bytes());
        let script = Class::Script(Interpreter { path: b"/bin/sh".to_vec(), arg: None });
        assert_eq!(class("#!/bin/sh\necho"), script);
        assert_eq!(class("#!\n/bin/sh"), Class::Other("a script without an interpreter"));
        assert_eq!(class(&format!("#!/{}", "x".repeat(300))), Class::Other("a script without an interpreter"));
        assert_eq!(class("\x7fELF"), Class::Elf);
        assert_eq!(class("\0asm"), Class::Wasm);
        assert!(matches!(class("#"), Class::Other(_)));
        assert!(matches!(class(""), Class::Other(_)));
    }
}
