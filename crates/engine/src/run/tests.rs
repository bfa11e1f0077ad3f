//! Tests below the vkernel: code mapping, memories, registers, traps; and what an instance costs (ignored: a benchmark).

use std::io::Write;
use std::time::Instant;

use megalith_abi::{GLOBALS, Global, GlobalType};
use megalith_vkernel::mm::SlotPool;
use wasmtime::{Instance, Store, Trap};

use super::*;
use crate::compile::Compiler;

/// A projection by hand: memories, table, register globals, and `body`.
pub(super) fn module(body: &str) -> String {
    let mut s = String::from("(module\n");
    for (name, params, results) in megalith_abi::VKERNEL_IMPORTS {
        let types = |t: &str| t.chars().map(|c| if c == 'l' { "i64 " } else { "i32 " }).collect::<String>();
        let (p, r) = (types(params), types(results));
        s += &format!("(import \"vkernel\" \"{name}\" (func ${name} (param {p}) (result {r})))\n");
    }
    s += "(memory 65536 65536)(memory $map 16384 16384)(table $t 64 64 funcref)\n";
    s += "(type $f (func (param i32 i64 i64 i64) (result i32 i32 i64)))\n";
    for i in 0..GLOBALS {
        let name = Global::name(i).unwrap();
        let (ty, zero) = match Global::val_type(i) {
            GlobalType::I32 => ("i32", "i32.const 0"),
            GlobalType::I64 => ("i64", "i64.const 0"),
            GlobalType::V128 => ("v128", "v128.const i64x2 0 0"),
        };
        s += &format!("(global ${name} (export \"{name}\") (mut {ty}) ({zero}))\n");
    }
    s + body + ")"
}

/// `_dispatch` and `_resume` that do nothing.
const IDLE: &str =
    "(func (export \"_dispatch\") (param i64 i64 i64 i64) (result i32) (i32.const 0)) (func (export \"_resume\"))";

fn aot(text: &str) -> (std::fs::File, u64, [u8; 32], Vec<u8>) {
    let bytes = Compiler::new(crate::TARGET).unwrap().compile(&wat::parse_str(text).unwrap()).unwrap();
    let mut f = tempfile::tempfile().unwrap();
    f.write_all(&bytes).unwrap();
    (f, bytes.len() as u64, blake3::hash(&bytes).into(), bytes)
}

fn runtime() -> Runtime {
    Runtime::new(Arc::new(|line| eprintln!("{line}"))).unwrap()
}

fn load(rt: &Runtime, text: &str) -> ProgramCode {
    let (f, size, hash, _) = aot(text);
    let p = ProgramCode::new("test_start", CodeFile::map(&f, size, hash).unwrap());
    p.loaded(&rt.0.engine, &rt.0.linker).unwrap();
    p
}

struct Live {
    store: Store<Guest>,
    instance: Instance,
    slot: Arc<megalith_vkernel::mm::Slot>,
}

fn instance(rt: &Runtime, p: &ProgramCode, slot: Arc<megalith_vkernel::mm::Slot>) -> Live {
    let loaded = p.loaded(&rt.0.engine, &rt.0.linker).unwrap();
    let mut store = Store::new(&rt.0.engine, Guest { task: None, registers: None });
    let bases = SlotBases { mem: slot.memory0(), map: slot.memory1() };
    fault::watch(&mut store, bases);
    let instance = memory::with_slot(bases, || loaded.pre.instantiate(&mut store)).unwrap();
    let handles = registers::handles(&mut store, &instance, loaded).unwrap();
    store.data_mut().registers = Some(handles);
    Live { store, instance, slot }
}

fn open(slot: &megalith_vkernel::mm::Slot, at: usize, len: usize) {
    // SAFETY: inside of the slot's memory 0.
    let r = unsafe { libc::mprotect(slot.memory0().add(at).cast(), len, libc::PROT_READ | libc::PROT_WRITE) };
    assert_eq!(r, 0);
}

#[test]
fn flipped_byte_is_refused() {
    let (_, size, hash, mut bytes) = aot(&module(IDLE));
    let rt = runtime();
    let at = bytes.len() / 2;
    bytes[at] ^= 1;
    let mut f = tempfile::tempfile().unwrap();
    f.write_all(&bytes).unwrap();
    let p = ProgramCode::new("test_start", CodeFile::map(&f, size, hash).unwrap());
    let e = p.loaded(&rt.0.engine, &rt.0.linker).err().unwrap();
    assert!(e.contains("do not match the hash"), "{e}");
    bytes.push(0);
    let mut f = tempfile::tempfile().unwrap();
    f.write_all(&bytes).unwrap();
    assert!(CodeFile::map(&f, size, hash).is_err());
}

#[test]
fn module_without_registers_is_refused() {
    let rt = runtime();
    let (f, size, hash, _) = aot(&format!("(module {IDLE})"));
    let p = ProgramCode::new("test_start", CodeFile::map(&f, size, hash).unwrap());
    assert!(p.loaded(&rt.0.engine, &rt.0.linker).err().unwrap().contains("rax"));
}

#[test]
fn registers_round_trip() {
    let rt = runtime();
    let p = load(&rt, &module(IDLE));
    let pool = SlotPool::new(4, 1);
    let mut live = instance(&rt, &p, pool.get().unwrap());
    let handles = live.store.data_mut().registers.take().unwrap();
    let mut m = Registers { store: wasmtime::AsContextMut::as_context_mut(&mut live.store), handles: &handles };
    let mut r = megalith_vkernel::Regs::default();
    for i in 0..16 {
        r.gpr[i] = 0x1111_1111_1111_1111u64.wrapping_mul(i as u64);
        r.xmm[i] = u128::MAX / (i as u128 + 3);
    }
    (r.fs_base, r.gs_base, r.rflags, r.pc, r.mxcsr) = (1 << 40, 7, 0x8d7, 0xffff_0001, 0x1f80);
    m.store(&r);
    assert_eq!(m.load(), r);
    assert_eq!(m.gpr(megalith_abi::Gpr::R15), r.gpr[15]);
}

#[test]
fn faults_have_exact_addresses() {
    let rt = runtime();
    let p = load(
        &rt,
        &module(&format!(
            "{IDLE}
            (func (export \"load\") (param i32) (result i64) (i64.load offset=0x8000 (local.get 0)))
            (func (export \"store\") (param i32) (i32.store16 (local.get 0) (i32.const 1)))"
        )),
    );
    let pool = SlotPool::new(4, 1);
    let mut live = instance(&rt, &p, pool.get().unwrap());
    open(&live.slot, 0x10000, 0x1000);
    let base = live.slot.memory0() as usize;
    let load: TypedFunc<i32, i64> = live.instance.get_typed_func(&mut live.store, "load").unwrap();
    let put: TypedFunc<i32, ()> = live.instance.get_typed_func(&mut live.store, "store").unwrap();
    assert_eq!(load.call(&mut live.store, 0x8000).unwrap(), 0);
    put.call(&mut live.store, 0x10ffe).unwrap();
    // An ordinary unmapped page, the null page, the last byte and the guard.
    for at in [0x20123u32, 0, 0xffff_7ff9, 0xffff_ffff] {
        let e = load.call(&mut live.store, at as i32).unwrap_err();
        assert_eq!(e.downcast_ref::<Trap>(), Some(&Trap::MemoryOutOfBounds));
        let f = fault::take().unwrap();
        assert!(!f.write);
        assert_eq!(f.addr - base, at as usize + 0x8000);
    }
    // A store over the end of a page faults at the first byte that is not mapped.
    let e = put.call(&mut live.store, 0x10fff).unwrap_err();
    assert_eq!(e.downcast_ref::<Trap>(), Some(&Trap::MemoryOutOfBounds));
    let f = fault::take().unwrap();
    assert!(f.write);
    assert_eq!(f.addr - base, 0x11000);
    assert_eq!(load.call(&mut live.store, 0x8000).unwrap(), 0);
}

#[test]
fn a_truncated_file_mapping_is_a_fault() {
    let rt = runtime();
    let p = load(
        &rt,
        &module(&format!("{IDLE} (func (export \"load\") (param i32) (result i64) (i64.load (local.get 0)))")),
    );
    let pool = SlotPool::new(4, 1);
    let mut live = instance(&rt, &p, pool.get().unwrap());
    let file = tempfile::tempfile().unwrap();
    file.set_len(8192).unwrap();
    let base = live.slot.memory0() as usize;
    // SAFETY: inside of the slot's memory 0, which nothing else uses.
    let at = unsafe {
        use std::os::fd::AsRawFd;
        let at = live.slot.memory0().add(0x10000).cast();
        libc::mmap(at, 8192, libc::PROT_READ, libc::MAP_SHARED | libc::MAP_FIXED, file.as_raw_fd(), 0)
    };
    assert_eq!(at as usize, base + 0x10000);
    let load: TypedFunc<i32, i64> = live.instance.get_typed_func(&mut live.store, "load").unwrap();
    assert_eq!(load.call(&mut live.store, 0x11ff8).unwrap(), 0);
    file.set_len(4096).unwrap();
    for _ in 0..2 {
        let e = load.call(&mut live.store, 0x11008).unwrap_err();
        assert_eq!(e.downcast_ref::<Trap>(), Some(&Trap::MemoryOutOfBounds));
        assert_eq!(fault::take().unwrap().addr - base, 0x11008);
    }
    assert_eq!(load.call(&mut live.store, 0x10000).unwrap(), 0);
}

#[test]
fn other_traps_are_not_faults() {
    let rt = runtime();
    let p = load(
        &rt,
        &module(&format!(
            "{IDLE} (func (export \"ud\") unreachable)
            (func $deep (export \"deep\") (param i64) (result i64) (i64.add (i64.const 1) (call $deep (i64.add (local.get 0) (i64.const 1)))))
            (func (export \"div\") (param i32) (result i32) (i32.div_u (i32.const 1) (local.get 0)))"
        )),
    );
    let pool = SlotPool::new(4, 1);
    let rt2 = rt.clone();
    // On a thread of the pool's size: the stack must overflow in wasm, not on the host.
    let t = std::thread::Builder::new().stack_size(pool::WASM_STACK + (1 << 20)).spawn(move || {
        let mut live = instance(&rt2, &p, pool.get().unwrap());
        let ud: TypedFunc<(), ()> = live.instance.get_typed_func(&mut live.store, "ud").unwrap();
        let e = ud.call(&mut live.store, ()).unwrap_err();
        assert_eq!(e.downcast_ref::<Trap>(), Some(&Trap::UnreachableCodeReached));
        assert!(fault::take().is_none());
        let deep: TypedFunc<i64, i64> = live.instance.get_typed_func(&mut live.store, "deep").unwrap();
        let e = deep.call(&mut live.store, 0).unwrap_err();
        assert_eq!(e.downcast_ref::<Trap>(), Some(&Trap::StackOverflow));
        let div: TypedFunc<i32, i32> = live.instance.get_typed_func(&mut live.store, "div").unwrap();
        let e = div.call(&mut live.store, 0).unwrap_err();
        assert_eq!(e.downcast_ref::<Trap>(), Some(&Trap::IntegerDivisionByZero));
        assert!(fault::take().is_none());
    });
    t.unwrap().join().unwrap();
}

/// Prints what instances, calls and hand-offs cost: `cargo test --release -p megalith-engine --features compile,run -- --ignored --nocapture costs`
#[test]
#[ignore = "a benchmark"]
fn costs() {
    let rt = runtime();
    let elems = "$e ".repeat(4000);
    let body = format!(
        "{IDLE} (table $big 4001 4001 funcref) (func $e) (elem (table $big) (i32.const 1) func {elems})
        (func (export \"loop\") (param $n i32)
          (loop $l (drop (call $rdtsc0)) (br_if $l (local.tee $n (i32.sub (local.get $n) (i32.const 1))))))
        (func $rdtsc0 (result i64) (call $rdtsc))"
    );
    let p = load(&rt, &module(&body));
    let loaded = p.loaded(&rt.0.engine, &rt.0.linker).unwrap();
    let pool = SlotPool::new(4, 1);
    let slot = pool.get().unwrap();
    let bases = SlotBases { mem: slot.memory0(), map: slot.memory1() };
    let n = 20_000u32;
    let t = Instant::now();
    for _ in 0..n {
        drop(Store::new(&rt.0.engine, Guest { task: None, registers: None }));
    }
    println!("store: {:?}", t.elapsed() / n);
    let t = Instant::now();
    for _ in 0..n {
        let mut s = Store::new(&rt.0.engine, Guest { task: None, registers: None });
        memory::with_slot(bases, || loaded.pre.instantiate(&mut s)).unwrap();
    }
    println!("store + instance: {:?}", t.elapsed() / n);
    let t = Instant::now();
    for _ in 0..n {
        let mut live = instance(&rt, &p, Arc::clone(&slot));
        let f: TypedFunc<(), ()> = function(&mut live.store, &live.instance, &loaded.resume).unwrap();
        f.call(&mut live.store, ()).unwrap();
    }
    println!("store + instance + handles + call: {:?}", t.elapsed() / n);
    let mut live = instance(&rt, &p, Arc::clone(&slot));
    let f: TypedFunc<i32, ()> = live.instance.get_typed_func(&mut live.store, "loop").unwrap();
    let t = Instant::now();
    f.call(&mut live.store, 10_000_000).unwrap();
    println!("host call: {:?}", t.elapsed() / 10_000_000);
    let handles = live.store.data_mut().registers.take().unwrap();
    let mut m = Registers { store: wasmtime::AsContextMut::as_context_mut(&mut live.store), handles: &handles };
    let t = Instant::now();
    for _ in 0..n {
        let r = m.load();
        m.store(&r);
    }
    println!("load + store of all registers: {:?}", t.elapsed() / n);
    let threads: Arc<pool::Threads> = Arc::default();
    let (tx, rx) = std::sync::mpsc::channel();
    let mut worst = Vec::new();
    for i in 0..2000 {
        let tx = tx.clone();
        let t = Instant::now();
        threads.run(Box::new(move || tx.send(t.elapsed()).unwrap())).map_err(|(e, _)| e).unwrap();
        let d = rx.recv().unwrap();
        if i > 10 {
            worst.push(d);
        }
        std::thread::sleep(std::time::Duration::from_micros(50));
    }
    worst.sort();
    println!("thread hand-off: median {:?}, 90 % {:?}", worst[worst.len() / 2], worst[worst.len() * 9 / 10]);
}
