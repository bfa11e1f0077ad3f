//! The kernel's view of a guest's registers: exported wasm globals of its instance.

use megalith_abi::{Global as Reg, Gpr, HOST_GLOBALS};
use megalith_vkernel::{Machine, Regs};
use wasmtime::{AsContextMut, Extern, Global, Instance, StoreContextMut, V128, Val};

use super::Guest;
use super::program::Loaded;

/// Handles of the register globals of one instance that the host uses, in `Global` order.
pub(super) type Handles = [Global; HOST_GLOBALS as usize];

/// Looks the register globals of a new instance up.
pub(super) fn handles(
    store: &mut impl AsContextMut<Data = Guest>,
    instance: &Instance,
    loaded: &Loaded,
) -> Option<Box<Handles>> {
    let mut v = Vec::with_capacity(HOST_GLOBALS as usize);
    for export in &loaded.registers {
        match instance.get_module_export(&mut *store, export) {
            Some(Extern::Global(g)) => v.push(g),
            _ => return None,
        }
    }
    v.into_boxed_slice().try_into().ok()
}

/// [`Machine`] on the globals of the instance in `store`.
pub(super) struct Registers<'a> {
    pub(super) store: StoreContextMut<'a, Guest>,
    pub(super) handles: &'a Handles,
}

impl Registers<'_> {
    fn i64(&mut self, i: usize) -> u64 {
        match self.handles[i].get(&mut self.store) {
            Val::I64(v) => v as u64,
            _ => unreachable!("register globals have been type-checked"),
        }
    }
    fn i32(&mut self, i: usize) -> u32 {
        match self.handles[i].get(&mut self.store) {
            Val::I32(v) => v as u32,
            _ => unreachable!("register globals have been type-checked"),
        }
    }
    fn v128(&mut self, i: usize) -> u128 {
        match self.handles[i].get(&mut self.store) {
            Val::V128(v) => v.as_u128(),
            _ => unreachable!("register globals have been type-checked"),
        }
    }
    fn set(&mut self, i: usize, v: Val) {
        if self.handles[i].set(&mut self.store, v).is_err() {
            unreachable!("register globals have been type-checked");
        }
    }
    fn set_i64(&mut self, i: usize, v: u64) {
        self.set(i, Val::I64(v as i64));
    }
}

impl Machine for Registers<'_> {
    fn load(&mut self) -> Regs {
        Regs {
            gpr: std::array::from_fn(|i| self.i64(i)),
            xmm: std::array::from_fn(|i| self.v128(Reg::Xmm0 as usize + i)),
            fs_base: self.i64(Reg::FsBase as usize),
            gs_base: self.i64(Reg::GsBase as usize),
            rflags: self.i64(Reg::Rflags as usize),
            pc: self.i64(Reg::Pc as usize),
            mxcsr: self.i32(Reg::Mxcsr as usize),
        }
    }

    fn store(&mut self, regs: &Regs) {
        for (i, &v) in regs.gpr.iter().enumerate() {
            self.set_i64(i, v);
        }
        for (i, &v) in regs.xmm.iter().enumerate() {
            self.set(Reg::Xmm0 as usize + i, Val::V128(V128::from(v)));
        }
        self.set_i64(Reg::FsBase as usize, regs.fs_base);
        self.set_i64(Reg::GsBase as usize, regs.gs_base);
        self.set_i64(Reg::Rflags as usize, regs.rflags);
        self.set_i64(Reg::Pc as usize, regs.pc);
        self.set(Reg::Mxcsr as usize, Val::I32(regs.mxcsr as i32));
    }

    fn gpr(&mut self, r: Gpr) -> u64 {
        self.i64(r as usize)
    }
    fn set_gpr(&mut self, r: Gpr, v: u64) {
        self.set_i64(r as usize, v);
    }
    fn pc(&mut self) -> u64 {
        self.i64(Reg::Pc as usize)
    }
    fn set_pc(&mut self, pc: u64) {
        self.set_i64(Reg::Pc as usize, pc);
    }
    fn fs_base(&mut self) -> u64 {
        self.i64(Reg::FsBase as usize)
    }
    fn set_fs_base(&mut self, v: u64) {
        self.set_i64(Reg::FsBase as usize, v);
    }
    fn gs_base(&mut self) -> u64 {
        self.i64(Reg::GsBase as usize)
    }
    fn set_gs_base(&mut self, v: u64) {
        self.set_i64(Reg::GsBase as usize, v);
    }
}
