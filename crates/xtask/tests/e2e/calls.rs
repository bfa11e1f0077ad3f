//! What the polyfills may ask of the vkernel (`polyfills/*/calls.txt`) is what their programs contain: system call instructions with the numbers that are
//! put into rax before them, and calls of the C library's `syscall` with the numbers that are put into rdi.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use iced_x86::{Code, Decoder, DecoderOptions, Instruction, Mnemonic, OpKind, Register};
use object::{Object, ObjectSection, SectionKind};
use xtask::{paths, polyfill};

use crate::Test;

pub fn tests() -> Vec<Test> {
    vec![
        Test::ours("calls::python", || compare("python", 6, &polyfill::python::build()?.program)),
        Test::ours("calls::node", || compare("node", 7, &polyfill::node::build()?)),
    ]
}

/// `own`: how many calls it has that Linux has not.
fn compare(name: &str, own: usize, program: &Path) -> Result<()> {
    let table = table()?;
    let contained: BTreeSet<String> =
        numbers(&fs::read(program)?)?.iter().filter_map(|n| table.get(n).cloned()).collect();
    let list = fs::read_to_string(paths::root().join("polyfills").join(name).join("calls.txt"))?;
    let words = list.lines().filter(|l| !l.starts_with('#')).flat_map(str::split_whitespace);
    let (beside, listed): (BTreeSet<_>, BTreeSet<_>) =
        words.map(str::to_owned).partition(|w| w.starts_with("megalith_"));
    let missing: Vec<_> = contained.difference(&listed).collect();
    let idle: Vec<_> = listed.difference(&contained).collect();
    ensure!(missing.is_empty() && idle.is_empty(), "not listed: {missing:?}; listed, but not contained: {idle:?}");
    ensure!(beside.len() == own && listed.len() > 80, "{beside:?}");
    Ok(())
}

/// Numbers and names of the system calls that there are: `docs/syscalls.md`.
fn table() -> Result<BTreeMap<u64, String>> {
    let text = fs::read_to_string(paths::root().join("docs/syscalls.md"))?;
    let row = |line: &str| {
        let mut cells = line.split('|').map(str::trim).skip(1);
        Some((cells.next()?.parse().ok()?, cells.next()?.trim_matches('`').to_owned()))
    };
    let table: BTreeMap<u64, String> = text.lines().filter_map(row).collect();
    ensure!(table.get(&0).is_some_and(|n| n == "read"), "docs/syscalls.md is not understood");
    Ok(table)
}

fn numbers(elf: &[u8]) -> Result<BTreeSet<u64>> {
    let file = object::File::parse(elf)?;
    let mut code = Vec::new();
    for section in file.sections().filter(|s| s.kind() == SectionKind::Text) {
        let bytes = section.data()?;
        code.extend(Decoder::with_ip(64, bytes, section.address(), DecoderOptions::NONE));
    }
    let at = |address: u64| code.binary_search_by_key(&address, Instruction::ip).ok();
    let mut found = BTreeSet::new();
    let mut wrapper = None;
    for (i, instruction) in code.iter().enumerate() {
        if instruction.code() == Code::Syscall {
            match set_before(&code, i, Register::RAX) {
                Number::Known(n) => drop(found.insert(n)),
                // syscall(2) of the C library: mov rax, rdi first.
                Number::Copied(start, Register::RDI) => wrapper = wrapper.or(Some(start)),
                Number::Copied(start, from) => {
                    if let Number::Known(n) = set_before(&code, start, from) {
                        found.insert(n);
                    }
                }
                Number::Unknown => {}
            }
        }
    }
    let wrapper = code.get(wrapper.context("no function syscall")?).context("an instruction")?.ip();
    for (i, instruction) in code.iter().enumerate() {
        let to =
            matches!(instruction.mnemonic(), Mnemonic::Call | Mnemonic::Jmp).then(|| instruction.near_branch_target());
        if to == Some(wrapper)
            && at(wrapper).is_some()
            && let Number::Known(n) = set_before(&code, i, Register::RDI)
        {
            found.insert(n);
        }
    }
    Ok(found)
}

/// What a register holds.
enum Number {
    Known(u64),
    /// The instruction (its index) copies it from another register.
    Copied(usize, Register),
    Unknown,
}

/// How the register, or a part of it, was last set in the 64 instructions before index `end`.
fn set_before(code: &[Instruction], end: usize, register: Register) -> Number {
    for (i, instruction) in code.iter().enumerate().take(end).rev().take(64) {
        if instruction.op0_kind() != OpKind::Register || instruction.op0_register().full_register() != register {
            continue;
        }
        return match (instruction.mnemonic(), instruction.op1_kind()) {
            (Mnemonic::Cmp | Mnemonic::Test | Mnemonic::Push, _) => continue,
            (Mnemonic::Xor, OpKind::Register) if instruction.op0_register() == instruction.op1_register() => {
                Number::Known(0)
            }
            (Mnemonic::Mov, OpKind::Register) => Number::Copied(i, instruction.op1_register().full_register()),
            (Mnemonic::Mov, OpKind::Immediate32 | OpKind::Immediate32to64 | OpKind::Immediate64) => {
                Number::Known(instruction.immediate(1))
            }
            _ => Number::Unknown,
        };
    }
    Number::Unknown
}
