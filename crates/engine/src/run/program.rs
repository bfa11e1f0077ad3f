//! A program as the engine sees it: its code, loaded when first started, and where its exports are.

use anyhow::{Context, Result, bail};
use megalith_abi::{Global, GlobalType, HOST_GLOBALS};
use wasmtime::{ExternType, InstancePre, Linker, Module, ModuleExport, Mutability, ValType};

use super::Guest;
use super::code::{Code, CodeFile};

/// Code of one entry point. This is what `megalith_vkernel::Program::engine` holds.
pub struct ProgramCode(Code<Loaded>);

/// A module that passed its checks.
pub(super) struct Loaded {
    pub(super) pre: InstancePre<Guest>,
    /// The register globals, in `Global` order.
    pub(super) registers: [ModuleExport; HOST_GLOBALS as usize],
    pub(super) dispatch: ModuleExport,
    pub(super) resume: ModuleExport,
}

impl ProgramCode {
    /// `name` is the entry point's, for messages.
    pub fn new(name: &str, file: CodeFile) -> ProgramCode {
        ProgramCode(Code::new(name, file))
    }

    /// The loaded module.
    pub(super) fn loaded(&self, engine: &wasmtime::Engine, linker: &Linker<Guest>) -> Result<&Loaded, String> {
        self.0.loaded(engine, |module| Loaded::new(module, linker))
    }
}

impl Loaded {
    fn new(module: &Module, linker: &Linker<Guest>) -> Result<Loaded> {
        let export = |name: &str| module.get_export_index(name).with_context(|| format!("no export {name}"));
        let register = |i: u32| -> Result<ModuleExport> {
            let name = Global::name(i).context("register globals are misnumbered")?;
            let Some(ExternType::Global(g)) = module.get_export(name) else { bail!("no register global {name}") };
            let want = match Global::val_type(i) {
                GlobalType::I32 => ValType::I32,
                GlobalType::I64 => ValType::I64,
                GlobalType::V128 => ValType::V128,
            };
            if g.mutability() != Mutability::Var || !ValType::eq(g.content(), &want) {
                bail!("register global {name} has the wrong type");
            }
            export(name)
        };
        let registers: Vec<ModuleExport> = (0..HOST_GLOBALS).map(register).collect::<Result<_>>()?;
        Ok(Loaded {
            registers: registers.try_into().ok().context("register globals are misnumbered")?,
            dispatch: export("_dispatch")?,
            resume: export("_resume")?,
            pre: linker.instantiate_pre(module).map_err(|e| anyhow::anyhow!("{e:#}"))?,
        })
    }
}
