//! The compile side: wasm to AOT code. This is the only part of the project that contains Cranelift.

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};
use wasmtime::{Engine, OptLevel};

use crate::config::TARGET;

/// Compiles wasm modules to AOT code for one target. Thread-safe; one call uses rayon's current thread pool.
pub struct Compiler {
    engine: Engine,
    fingerprint: String,
}

impl Compiler {
    /// A compiler for `target`: a triple (only [`TARGET`], this host, so far).
    ///
    /// # Errors
    /// For other targets, and when wasmtime refuses the configuration.
    pub fn new(target: &str) -> Result<Compiler> {
        if target != TARGET {
            bail!("cannot compile for {target}: only {TARGET} is supported");
        }
        let mut c = crate::config::config();
        // Unwind tables are for native debuggers and unwinders; traps and wasm backtraces do without.
        c.cranelift_opt_level(OptLevel::Speed).native_unwind_info(false);
        let engine = Engine::new(&c).map_err(|e| anyhow::anyhow!("cannot set up the compiler: {e:#}"))?;
        let fingerprint = fingerprint(&engine)?;
        Ok(Compiler { engine, fingerprint })
    }

    /// AOT code of the module `wasm`, as `megalith_engine::run` takes it. The same input gives the same bytes.
    ///
    /// # Errors
    /// When the module is not valid, or uses features that the configuration turns off.
    pub fn compile(&self, wasm: &[u8]) -> Result<Vec<u8>> {
        self.engine.precompile_module(wasm).map_err(|e| anyhow::anyhow!("{e:#}")).context("cannot compile to AOT code")
    }

    /// What AOT code depends on beside the wasm: wasmtime's version, the configuration, and the CPU features used, as 32 hexadecimal digits.
    /// To be made part of cache keys, and to stand in the AOT index (`engine.config`).
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }
}

/// Digest of what AOT code of an empty module says about how it was made: the version, the target, all Cranelift flags, the CPU features,
/// and the configuration that wasmtime compares when it loads code.
fn fingerprint(engine: &Engine) -> Result<String> {
    let empty = engine.precompile_module(b"\0asm\x01\0\0\0").map_err(|e| anyhow::anyhow!("cannot compile: {e:#}"))?;
    Ok(Sha256::digest(empty).iter().take(16).map(|b| format!("{b:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compiles_deterministically_and_names_its_configuration() {
        let c = Compiler::new(TARGET).unwrap();
        let wasm = wat::parse_str("(module (func (export \"f\") (result i32) (i32.const 7)))").unwrap();
        let a = c.compile(&wasm).unwrap();
        assert_eq!(a, Compiler::new(TARGET).unwrap().compile(&wasm).unwrap());
        assert_eq!(c.fingerprint(), Compiler::new(TARGET).unwrap().fingerprint());
        assert_eq!(c.fingerprint().len(), 32);
        assert!(c.compile(b"\0asm\x01\0\0\0x").is_err());
        assert!(Compiler::new("riscv64gc-unknown-linux-gnu").is_err());
    }
}
