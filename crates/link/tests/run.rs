//! The megabinary and its projections do the same under wasmtime, with a make-believe vkernel.

mod common;

use common::{MESSAGE, ONE, PIE, Program, TEXT, TWO, hash, wasi_command};
use megalith_abi::{MAP_L1, MAP_L2, PIE_BASE, UNWIND};
use megalith_link::{Alias, LinkInputs, Megabinary, Object, WasiModule, link};
use wasmtime::{Caller, Engine, Extern, Instance, Linker, Module, Store};

const STACK: i64 = 0x7000_0000;

#[derive(Default)]
struct Kernel {
    out: Vec<u8>,
    status: Option<i32>,
    /// Let the first `write` unwind; it goes on at this table index, label 1.
    resume_at: Option<i64>,
    /// Leave the trampoline when it next asks.
    leave: bool,
    unwound: Vec<i32>,
}

fn read(caller: &mut Caller<'_, Kernel>, at: usize, len: usize) -> Vec<u8> {
    let memory = caller.get_export("memory").and_then(Extern::into_memory).expect("a memory");
    memory.data(&caller)[at..at + len].to_vec()
}

fn linker(engine: &Engine) -> Linker<Kernel> {
    let mut l = Linker::new(engine);
    l.func_wrap(
        "vkernel",
        "syscall",
        |mut c: Caller<'_, Kernel>, nr: i64, a0: i64, a1: i64, a2: i64, _: i64, _: i64, _: i64| match nr {
            1 => {
                let bytes = read(&mut c, a1 as usize, a2 as usize);
                c.data_mut().out.extend(bytes);
                if c.data().resume_at.is_some() { UNWIND } else { a2 }
            }
            231 => {
                c.data_mut().status = Some(a0 as i32);
                UNWIND
            }
            _ => -38,
        },
    )
    .expect("defined");
    l.func_wrap("vkernel", "resolve", |mut c: Caller<'_, Kernel>, _pc: i64| -> i64 {
        let k = c.data_mut();
        if k.leave || k.status.is_some() {
            return -1;
        }
        k.resume_at.take().map_or(-1, |index| index | 1 << 32)
    })
    .expect("defined");
    l.func_wrap("vkernel", "unwound", |mut c: Caller<'_, Kernel>, reason: i32| c.data_mut().unwound.push(reason))
        .expect("defined");
    l.func_wrap("vkernel", "start", || STACK).expect("defined");
    l.func_wrap(
        "wasi_snapshot_preview1",
        "fd_write",
        |mut c: Caller<'_, Kernel>, _fd: i32, iov: i32, _n: i32, _out: i32| {
            let export = if c.get_export("wasi_start.memory").is_some() { "wasi_start.memory" } else { "memory" };
            let memory = c.get_export(export).and_then(Extern::into_memory).expect("a memory");
            let word = |at: usize| u32::from_le_bytes(memory.data(&c)[at..at + 4].try_into().expect("four")) as usize;
            let (at, len) = (word(iov as usize), word(iov as usize + 4));
            let bytes = memory.data(&c)[at..at + len].to_vec();
            c.data_mut().out.extend(bytes);
            0i32
        },
    )
    .expect("defined");
    l.func_wrap("vkernel", "poll", || ()).expect("defined");
    l.func_wrap("wasi_snapshot_preview1", "proc_exit", |mut c: Caller<'_, Kernel>, status: i32| {
        c.data_mut().status = Some(status)
    })
    .expect("defined");
    l
}

fn start(engine: &Engine, wasm: &[u8], kernel: Kernel) -> (Store<Kernel>, Instance) {
    let module = Module::new(engine, wasm).expect("compiles");
    let mut store = Store::new(engine, kernel);
    let instance = linker(engine).instantiate(&mut store, &module).expect("instantiates");
    (store, instance)
}

fn dispatch(store: &mut Store<Kernel>, instance: &Instance, hash: &[u8; 32]) -> i32 {
    let f = instance.get_typed_func::<(i64, i64, i64, i64), i32>(&mut *store, "_dispatch").expect("there");
    let word = |i: usize| i64::from_be_bytes(hash[i * 8..i * 8 + 8].try_into().expect("eight"));
    f.call(&mut *store, (word(0), word(1), word(2), word(3))).expect("runs")
}

/// The data image of a projection: what `init` would have written.
fn load(store: &mut Store<Kernel>, instance: &Instance, program: Program) {
    let memory = instance.get_memory(&mut *store, "memory").expect("there");
    memory.write(&mut *store, (program.base() + MESSAGE) as usize, program.message.as_bytes()).expect("fits");
    let map = instance.get_memory(&mut *store, "map").expect("there");
    map.write(&mut *store, MAP_L2 as usize, &Program::code_lines()).expect("fits");
    let l1 = (MAP_L1 + (program.base() + TEXT) / 4096 * 8) as usize;
    map.write(&mut *store, l1, &MAP_L2.to_le_bytes()).expect("fits");
    map.write(&mut *store, l1 + 4, &1u32.to_le_bytes()).expect("fits");
}

fn megabinary() -> Vec<u8> {
    let (one, two, pie) = (ONE.object(), TWO.object(), PIE.object());
    let wasi = wasi_command("hello from wasi\n", 3);
    link(&LinkInputs {
        objects: vec![
            Object { hash: hash(1), entry_point: "one_start", wasm: &one },
            Object { hash: hash(2), entry_point: "two_start", wasm: &two },
            Object { hash: hash(3), entry_point: "pie_start", wasm: &pie },
        ],
        wasi: vec![WasiModule { hash: hash(4), entry_point: "wasi_start", wasm: &wasi }],
        aliases: vec![Alias { hash: hash(5), entry_point: "two_start" }],
    })
    .expect("links")
    .wasm
}

#[test]
fn programs_run_from_the_megabinary_and_from_projections() {
    let engine = Engine::default();
    let mega = megabinary();
    let index = Megabinary::parse(&mega).expect("parses");
    for (hash, program) in [(hash(1), ONE), (hash(2), TWO), (hash(3), PIE), (hash(5), TWO)] {
        let (mut store, instance) = start(&engine, &mega, Kernel::default());
        assert_eq!(dispatch(&mut store, &instance, &hash), 0);
        assert_eq!(String::from_utf8_lossy(&store.data().out), program.message);
        assert_eq!(store.data().status, Some(program.status.into()));
        assert_eq!(store.data().unwound, [1], "exit_group unwinds, and nothing else");

        let projection = index.project(&hash).expect("projects");
        let (mut store, instance) = start(&engine, &projection, Kernel::default());
        load(&mut store, &instance, program);
        assert_eq!(dispatch(&mut store, &instance, &common::hash(9)), -13);
        assert_eq!(
            dispatch(&mut store, &instance, &common::hash(4)),
            -13,
            "another program's hash is none of this projection's"
        );
        assert!(store.data().out.is_empty());
        assert_eq!(dispatch(&mut store, &instance, &hash), 0);
        assert_eq!(String::from_utf8_lossy(&store.data().out), program.message);
        assert_eq!(store.data().status, Some(program.status.into()));
        if program.pie {
            let base = instance.get_global(&mut store, "base").expect("there");
            assert_eq!(base.get(&mut store).i64(), Some(PIE_BASE.into()));
        }
    }
}

#[test]
fn an_unwound_program_goes_on_at_its_label() {
    let engine = Engine::default();
    let mega = megabinary();
    let projection = Megabinary::parse(&mega).expect("parses").project(&hash(2)).expect("projects");
    // In one go.
    let (mut store, instance) = start(&engine, &projection, Kernel { resume_at: Some(1), ..Kernel::default() });
    load(&mut store, &instance, TWO);
    assert_eq!(dispatch(&mut store, &instance, &hash(2)), 0);
    assert_eq!((store.data().status, store.data().unwound.as_slice()), (Some(22), &[1, 1][..]));
    // Left, and resumed by `_resume`.
    let (mut store, instance) =
        start(&engine, &projection, Kernel { resume_at: Some(1), leave: true, ..Kernel::default() });
    load(&mut store, &instance, TWO);
    assert_eq!(dispatch(&mut store, &instance, &hash(2)), 0);
    assert_eq!(store.data().status, None);
    store.data_mut().leave = false;
    let resume = instance.get_typed_func::<(), ()>(&mut store, "_resume").expect("there");
    resume.call(&mut store, ()).expect("runs");
    assert_eq!(store.data().status, Some(22));
}

#[test]
fn a_wasi_module_runs_through_the_same_gate() {
    let engine = Engine::default();
    let mega = megabinary();
    let parsed = Megabinary::parse(&mega).expect("parses");
    let projection = parsed.project(&hash(4)).expect("projects");
    let image = parsed.data_image(&hash(4)).expect("is whole").expect("there");
    assert_eq!((image.address, image.bytes.len()), (0, 4096));
    assert_eq!(&image.bytes[1024..1039], b"hello from wasi");
    for (wasm, image) in [(&mega, None), (&projection, Some(&image))] {
        let (mut store, instance) = start(&engine, wasm, Kernel::default());
        if let Some(image) = image {
            let memory = instance.get_memory(&mut store, "memory").expect("there");
            memory.write(&mut store, image.address as usize, &image.bytes).expect("fits");
        }
        assert_eq!(dispatch(&mut store, &instance, &hash(4)), 0);
        assert_eq!(String::from_utf8_lossy(&store.data().out), "hello from wasi\n");
        assert_eq!(store.data().status, Some(3));
    }
    let (mut store, instance) = start(&engine, &projection, Kernel::default());
    assert!(instance.get_func(&mut store, "_start").is_none(), "the only way in is the gate");
    assert!(instance.get_func(&mut store, "other").is_some());
}

#[test]
fn dispatch_knows_every_hash_and_no_other() {
    let engine = Engine::default();
    let wasi = wasi_command("", 0);
    let mut hashes: Vec<[u8; 32]> = Vec::new();
    for i in 0..600u32 {
        let mut h = [0; 32];
        // Many hashes that differ in one word only, in each of the words.
        let word = (i % 4) as usize * 8;
        h[word..word + 4].copy_from_slice(&(i.wrapping_mul(0x9e37_79b9) | 1).to_be_bytes());
        hashes.push(h);
    }
    let aliases = hashes.iter().map(|h| Alias { hash: *h, entry_point: "wasi_start" }).collect();
    let wasi = vec![WasiModule { hash: hash(1), entry_point: "wasi_start", wasm: &wasi }];
    let linked = link(&LinkInputs { wasi, aliases, ..LinkInputs::default() }).expect("links");
    let module = Module::new(&engine, &linked.wasm).expect("compiles");
    for h in &hashes {
        let mut store = Store::new(&engine, Kernel::default());
        let instance = linker(&engine).instantiate(&mut store, &module).expect("instantiates");
        for bit in [0, 7, 64, 130, 255] {
            let mut near = *h;
            near[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(dispatch(&mut store, &instance, &near), if hashes.contains(&near) { 0 } else { -13 });
        }
        assert_eq!(dispatch(&mut store, &instance, h), 0);
    }
}
