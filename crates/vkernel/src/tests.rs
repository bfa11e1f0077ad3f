//! Tests that drive system calls directly, with a machine that is only registers and a launcher that only collects.

use crate::errno::Errno;
use crate::gate::Policy;
use crate::kernel::{Credentials, Kernel, KernelConfig, Launcher, Limits, Stdio, WaitStatus};
use crate::program::{DataFile, Program, ProgramTable, SharedMap};
use crate::regs::{Machine, Regs};
use crate::task::{FaultInfo, Outcome, Start, Task};
use crate::wait::lock;
use megalith_abi::{DataImage, FileMeta, Gpr, ResumePoint, Segment};
use megalith_vfs::{At, Cred, LayeredFs, LayeredOptions, Location, MapSource, NewNode, OpenFlags, Vfs, WalkFlags};
use sha2::{Digest, Sha256};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex};

/// Registers of no instance.
#[derive(Default)]
struct Fake(Regs);

impl Machine for Fake {
    fn load(&mut self) -> Regs {
        self.0.clone()
    }
    fn store(&mut self, regs: &Regs) {
        self.0 = regs.clone();
    }
    fn gpr(&mut self, r: Gpr) -> u64 {
        self.0.get(r)
    }
    fn set_gpr(&mut self, r: Gpr, v: u64) {
        self.0.set(r, v);
    }
    fn pc(&mut self) -> u64 {
        self.0.pc
    }
    fn set_pc(&mut self, pc: u64) {
        self.0.pc = pc;
    }
    fn fs_base(&mut self) -> u64 {
        self.0.fs_base
    }
    fn set_fs_base(&mut self, v: u64) {
        self.0.fs_base = v;
    }
    fn gs_base(&mut self) -> u64 {
        self.0.gs_base
    }
    fn set_gs_base(&mut self, v: u64) {
        self.0.gs_base = v;
    }
}

/// Keeps what it is to launch.
#[derive(Default)]
pub(crate) struct Collect(pub(crate) Mutex<Vec<(Task, Start)>>);

impl Launcher for Collect {
    fn launch(&self, task: Task, start: Start) {
        lock(&self.0).push((task, start));
    }
}

/// Text at 0x400000 (one page, code resumes at +0x10, +0x20, +0x100), data at 0x401000 with 64 bytes in the file and a page of bss.
fn meta() -> FileMeta {
    FileMeta {
        fixed: true,
        entry: 0x40_0010,
        segments: vec![
            Segment {
                vaddr: 0x40_0000,
                file_offset: 0,
                file_size: 4096,
                mem_size: 4096,
                read: true,
                write: false,
                exec: true,
            },
            Segment {
                vaddr: 0x40_1000,
                file_offset: 4096,
                file_size: 64,
                mem_size: 8192,
                read: true,
                write: true,
                exec: false,
            },
        ],
        text: (0x40_0000, 0x40_1000),
        code_lines: vec![1; 1024],
        resume: [0x10u32, 0x20, 0x100]
            .into_iter()
            .map(|a| ResumePoint { addr: 0x40_0000 + a, function: a, label: 1 })
            .collect(),
        ..FileMeta::default()
    }
}

/// The metadata as a program has it.
fn start_file(meta: &FileMeta) -> SharedMap {
    let fd = rustix::fs::memfd_create("meta", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
    rustix::io::write(&fd, &meta.to_start_file()).unwrap();
    // SAFETY: nobody else has the file.
    unsafe { SharedMap::new(&fd.into()) }.unwrap()
}

const BUF: u64 = 0x40_1800;

pub(crate) struct World {
    pub(crate) kernel: Arc<Kernel>,
    pub(crate) launcher: Arc<Collect>,
    audit: Arc<Mutex<Vec<String>>>,
    /// The host's end of standard output.
    out: OwnedFd,
}

fn program_bytes(seed: u8) -> Vec<u8> {
    let mut v = vec![seed; 4096 + 64];
    v[4096..].fill(0x55);
    v
}

fn program(seed: u8) -> Program {
    let bytes = program_bytes(seed);
    let fd = rustix::fs::memfd_create("program", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
    rustix::io::write(&fd, &bytes).unwrap();
    rustix::fs::ftruncate(&fd, 8192).unwrap();
    let source = MapSource { fd: Arc::new(fd), offset: 0, len: bytes.len() as u64, sealed: true };
    Program::new(
        Sha256::digest(&bytes).into(),
        bytes.len() as u64,
        format!("p{seed}_start"),
        Box::new(|| Ok(start_file(&meta()))),
        1,
        source,
        Arc::new(()),
    )
}

/// A WASI module with two pages of data at 0x400000, filled with 7.
fn module() -> Program {
    let memfd = |bytes: &[u8]| {
        let fd = rustix::fs::memfd_create("module", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
        rustix::io::write(&fd, bytes).unwrap();
        fd
    };
    let source = MapSource { fd: Arc::new(memfd(MODULE)), offset: 0, len: MODULE.len() as u64, sealed: true };
    let data = DataImage { address: 0x40_0000, bytes: vec![7; 0x2000] }.to_file();
    let file = DataFile::new(memfd(&data), data.len() as u64, Sha256::digest(&data).into());
    Program::wasi(Sha256::digest(MODULE).into(), MODULE.len() as u64, "w_start".into(), source, file, Arc::new(()))
}

const MODULE: &[u8] = b"the module";

pub(crate) fn put_file(vfs: &Vfs, path: &str, bytes: &[u8], mode: u32) -> Location {
    let root = vfs.root();
    let cred = Cred::root();
    let at = At { root: &root, base: &root, cred: &cred };
    let o = vfs
        .open(
            &at,
            path.as_bytes(),
            OpenFlags(OpenFlags::O_CREAT | OpenFlags::O_WRONLY | OpenFlags::O_TRUNC),
            mode,
            WalkFlags::FOLLOW,
        )
        .unwrap();
    assert_eq!(o.inode.write_at(0, bytes).unwrap(), bytes.len());
    o.location
}

pub(crate) fn world() -> World {
    world_on(None)
}

/// A kernel with its first process, on a host terminal or on pipes.
fn world_on(terminal: Option<OwnedFd>) -> World {
    let root = NewNode { mode: 0o755, uid: 0, gid: 0 };
    let vfs = Arc::new(Vfs::new(LayeredFs::new(LayeredOptions { root, ..LayeredOptions::default() }).unwrap()));
    let at_root = vfs.root();
    let cred = Cred::root();
    let at = At { root: &at_root, base: &at_root, cred: &cred };
    for d in ["/bin", "/tmp"] {
        vfs.mkdir(&at, d.as_bytes(), 0o777).unwrap();
    }
    put_file(&vfs, "/bin/a", &program_bytes(1), 0o755);
    put_file(&vfs, "/bin/b", &program_bytes(2), 0o755);
    put_file(&vfs, "/bin/w", MODULE, 0o755);
    let script = b"#!/bin/a -x\nhello\n";
    put_file(&vfs, "/bin/script", script, 0o755);
    let mut programs = ProgramTable::new();
    let mut policy = Policy::default();
    for (p, path) in [(program(1), "/bin/a"), (program(2), "/bin/b"), (module(), "/bin/w")] {
        policy.add_path(path.as_bytes(), p.hash);
        programs.insert(p);
    }
    policy.add_script(Sha256::digest(script).into(), script.len() as u64);
    policy.add_path(b"/bin/script", Sha256::digest(script).into());
    let launcher = Arc::new(Collect::default());
    let audit: Arc<Mutex<Vec<String>>> = Arc::default();
    let sink = Arc::clone(&audit);
    let kernel = Kernel::new(KernelConfig {
        programs,
        policy,
        vfs,
        files: megalith_vfs::Budget::unlimited(),
        launcher: Arc::clone(&launcher) as Arc<dyn Launcher>,
        hostname: "box".into(),
        limits: Limits { processes: 64, ..Limits::default() },
        audit: Arc::new(move |l: &str| lock(&sink).push(l.to_owned())),
        strace: None,
        sealed: false,
        gateway: None,
        fixed: None,
    })
    .unwrap();
    let (r, w) = rustix::pipe::pipe().unwrap();
    let null = std::fs::File::open("/dev/null").unwrap();
    let stdio = match terminal {
        None => Stdio { fds: [null.into(), w.try_clone().unwrap(), w], tty: false },
        Some(t) => Stdio { fds: [t.try_clone().unwrap(), t.try_clone().unwrap(), t], tty: true },
    };
    kernel
        .start_init(
            &[b"/bin/a".to_vec(), b"one".to_vec()],
            &[b"PATH=/bin".to_vec()],
            b"/",
            &Credentials::default(),
            stdio,
            None,
        )
        .unwrap();
    World { kernel, launcher, audit, out: r }
}

/// A task and its registers.
struct Proc {
    task: Task,
    m: Fake,
}

/// Access to the memory of a test's process.
pub(crate) trait GuestMemory {
    fn task(&self) -> &Task;

    fn poke(&self, at: u64, b: &[u8]) {
        lock(&self.task().space).write(at, b).unwrap();
    }
    fn peek(&self, at: u64, n: usize) -> Vec<u8> {
        let mut v = vec![0; n];
        lock(&self.task().space).read(at, &mut v).unwrap();
        v
    }
}

impl GuestMemory for Proc {
    fn task(&self) -> &Task {
        &self.task
    }
}

impl World {
    fn next(&self) -> Proc {
        let (task, start) = lock(&self.launcher.0).pop().expect("a task was launched");
        let mut m = Fake::default();
        match start {
            Start::Program { rsp, .. } => m.0.set(Gpr::Rsp, rsp),
            Start::Resume(r) => m.0 = *r,
        }
        if m.0.pc == 0 {
            m.0.pc = 0x40_0010;
        }
        Proc { task, m }
    }
}

impl Proc {
    fn sys(&mut self, nr: u64, args: &[u64]) -> Outcome {
        let mut a = [0; 6];
        a[..args.len()].copy_from_slice(args);
        self.m.0.pc = 0x40_0020;
        // No frames hold registers here.
        let r = self.task.perform(&mut self.m, nr, a);
        // No guest code follows, and one thread drives all processes here.
        self.task.give_up_turn();
        r
    }
    #[track_caller]
    fn ok(&mut self, nr: u64, args: &[u64]) -> i64 {
        match self.sys(nr, args) {
            Outcome::Return(v) if v >= 0 => v,
            r => panic!("syscall {nr} {args:x?}: {r:?}"),
        }
    }
    #[track_caller]
    fn err(&mut self, nr: u64, args: &[u64], e: Errno) {
        assert_eq!(self.sys(nr, args), Outcome::Return(e.to_ret()), "syscall {nr} {args:x?}");
    }
    fn resolve(&mut self) -> Option<(u32, u32)> {
        let pc = self.m.0.pc;
        let r = self.task.resolve(&mut self.m, pc);
        self.task.give_up_turn();
        r
    }
    fn word(&self, at: u64) -> u64 {
        u64::from_le_bytes(self.peek(at, 8).try_into().unwrap())
    }
    fn str(&self, at: u64, s: &str) -> u64 {
        self.poke(at, s.as_bytes());
        self.poke(at + s.len() as u64, &[0]);
        at
    }
    /// execve(path, [path], []).
    fn exec(&mut self, path: &str) -> Outcome {
        let p = self.str(BUF, path);
        self.poke(BUF + 512, &p.to_le_bytes());
        self.poke(BUF + 520, &[0; 8]);
        self.sys(59, &[p, BUF + 512, BUF + 520])
    }
}

const READ: u64 = 0;
const WRITE: u64 = 1;
const OPEN: u64 = 2;
const CLOSE: u64 = 3;
const MMAP: u64 = 9;
const FORK: u64 = 57;
const EXIT: u64 = 231;
const WAIT4: u64 = 61;
const KILL: u64 = 62;

#[test]
fn start_stack_and_segments() {
    let w = world();
    let p = w.next();
    let rsp = p.m.0.get(Gpr::Rsp);
    assert_eq!(rsp % 16, 0);
    assert_eq!(p.word(rsp), 2);
    assert_eq!(p.peek(p.word(rsp + 8), 7), b"/bin/a\0");
    assert_eq!(p.peek(p.word(rsp + 16), 4), b"one\0");
    assert_eq!(p.word(rsp + 24), 0);
    assert_eq!(p.peek(p.word(rsp + 32), 10), b"PATH=/bin\0");
    assert_eq!(p.word(rsp + 40), 0);
    assert_eq!(p.peek(0x40_0000, 4), [1; 4]);
    assert_eq!(p.peek(0x40_1000, 66), [[0x55; 64].as_slice(), &[0; 2]].concat());
    // The code map: L1 entry of the text's page, and its lines.
    let l1 = megalith_abi::MAP_L1 as usize + 0x400 * 8;
    // SAFETY: memory 1 of a live slot.
    let (entry, line) = unsafe {
        let m = p.task.slot().memory1();
        (m.add(l1).cast::<u64>().read(), m.add(megalith_abi::MAP_L2 as usize).read())
    };
    assert_eq!(entry, u64::from(megalith_abi::MAP_L2) | 1 << 32);
    assert_eq!(line, 1);
}

#[test]
fn pipes_and_stdout() {
    let w = world();
    let mut p = w.next();
    p.ok(22, &[BUF]);
    let fds = p.peek(BUF, 8);
    let (r, wr) = (u64::from(fds[0]), u64::from(fds[4]));
    p.poke(BUF, b"hello");
    assert_eq!(p.ok(WRITE, &[wr, BUF, 5]), 5);
    assert_eq!(p.ok(READ, &[r, BUF + 100, 50]), 5);
    assert_eq!(p.peek(BUF + 100, 5), b"hello");
    p.ok(CLOSE, &[wr]);
    assert_eq!(p.ok(READ, &[r, BUF + 100, 50]), 0);
    p.err(WRITE, &[1, 8, 5], Errno::EFAULT);
    assert_eq!(p.ok(WRITE, &[1, BUF + 100, 5]), 5);
    let mut b = [0; 16];
    assert_eq!(rustix::io::read(&w.out, &mut b).unwrap(), 5);
    assert_eq!(&b[..5], b"hello");
    // A pipe without readers: EPIPE, and SIGPIPE ends the process.
    p.ok(22, &[BUF]);
    let fds = p.peek(BUF, 8);
    p.ok(CLOSE, &[fds[0].into()]);
    assert_eq!(p.sys(WRITE, &[fds[4].into(), BUF, 1]), Outcome::Unwind);
    assert_eq!(p.resolve(), None);
    drop(p);
    assert_eq!(w.kernel.wait(), WaitStatus::Signaled(13));
}

#[test]
fn big_pipe_transfers_between_processes() {
    let w = world();
    let mut p = w.next();
    p.ok(22, &[BUF]);
    let fds = p.peek(BUF, 8);
    let (r, wr) = (u64::from(fds[0]), u64::from(fds[4]));
    let big = p.ok(MMAP, &[0, 1 << 20, 3, 0x22, u64::MAX, 0]) as u64;
    p.poke(big, &(0..1u32 << 18).flat_map(u32::to_le_bytes).collect::<Vec<_>>());
    p.ok(FORK, &[]);
    let mut c = w.next();
    let child = std::thread::spawn(move || {
        c.ok(CLOSE, &[r]);
        assert_eq!(c.ok(WRITE, &[wr, big, 1 << 20]), 1 << 20);
        c.sys(EXIT, &[7]);
        assert_eq!(c.resolve(), None);
    });
    p.ok(CLOSE, &[wr]);
    let mut all = Vec::new();
    loop {
        // SIGCHLD is ignored by default, but the flag may be up: both outcomes are results.
        let n = match p.sys(READ, &[r, big, 100_000]) {
            Outcome::Return(n) => n,
            Outcome::Unwind => {
                p.resolve().unwrap();
                p.m.0.get(Gpr::Rax) as i64
            }
        };
        assert!(n >= 0);
        if n == 0 {
            break;
        }
        all.extend(p.peek(big, n as usize));
    }
    child.join().unwrap();
    assert_eq!(all, (0..1u32 << 18).flat_map(u32::to_le_bytes).collect::<Vec<_>>());
    assert_eq!(p.ok(WAIT4, &[u64::MAX, BUF, 0, 0]), 2);
    assert_eq!(p.word(BUF) as u32, 7 << 8);
    p.err(WAIT4, &[u64::MAX, BUF, 0, 0], Errno::ECHILD);
}

/// A call that reads registers waits until the frames that may hold some have unwound.
#[test]
fn fork_gets_the_registers_that_frames_held() {
    let w = world();
    let mut p = w.next();
    p.m.0.set(Gpr::Rbx, 1);
    assert_eq!(p.task.syscall(&mut p.m, FORK, [0; 6]), Outcome::Unwind);
    assert!(lock(&w.launcher.0).is_empty());
    p.m.0.set(Gpr::Rbx, 77);
    p.resolve();
    assert_eq!(p.m.0.get(Gpr::Rax), 2);
    let c = w.next();
    assert_eq!((c.m.0.get(Gpr::Rax), c.m.0.get(Gpr::Rbx)), (0, 77));
}

#[test]
fn fork_copies_memory() {
    let w = world();
    let mut p = w.next();
    let anon = p.ok(MMAP, &[0, 8192, 3, 0x22, u64::MAX, 0]) as u64;
    let shared = p.ok(MMAP, &[0, 4096, 3, 0x21, u64::MAX, 0]) as u64;
    let hidden = p.ok(MMAP, &[0, 4096, 3, 0x22, u64::MAX, 0]) as u64;
    p.poke(anon, b"anon");
    p.poke(shared, b"old");
    p.poke(hidden, b"hidden");
    p.poke(0x40_1000, b"data");
    p.ok(10, &[hidden, 4096, 0]);
    p.m.0.set(Gpr::Rbx, 77);
    assert_eq!(p.ok(FORK, &[]), 2);
    let mut c = w.next();
    assert_eq!((c.m.0.get(Gpr::Rax), c.m.0.get(Gpr::Rbx)), (0, 77));
    assert_eq!(c.peek(anon, 4), b"anon");
    assert_eq!(c.peek(0x40_1000, 4), b"data");
    assert_eq!(c.peek(0x40_0000, 2), [1, 1]);
    c.poke(anon, b"mine");
    c.poke(shared, b"new");
    c.poke(0x40_1000, b"MINE");
    assert_eq!(p.peek(anon, 4), b"anon");
    assert_eq!(p.peek(0x40_1000, 4), b"data");
    assert_eq!(p.peek(shared, 3), b"new");
    c.err(WRITE, &[1, hidden, 6], Errno::EFAULT);
    c.ok(10, &[hidden, 4096, 1]);
    assert_eq!(c.peek(hidden, 6), b"hidden");
    assert_eq!(c.ok(39, &[]), 2);
    assert_eq!(c.ok(110, &[]), 1);
    assert!(c.resolve().is_some());
}

#[test]
fn vfork_and_exec() {
    let w = world();
    let mut p = w.next();
    p.m.0.set(Gpr::Rbx, 5);
    let rsp = p.m.0.get(Gpr::Rsp);
    // clone(CLONE_VM | CLONE_VFORK | SIGCHLD, stack)
    assert_eq!(p.sys(56, &[0x4111, rsp - 4096]), Outcome::Unwind);
    assert!(p.resolve().is_some());
    assert_eq!((p.m.0.get(Gpr::Rax), p.m.0.get(Gpr::Rsp)), (0, rsp - 4096));
    assert_eq!(p.ok(39, &[]), 2);
    p.m.0.set(Gpr::Rbx, 9);
    assert_eq!(p.exec("/bin/nothing"), Outcome::Return(Errno::ENOENT.to_ret()));
    assert_eq!(p.exec("/bin/b"), Outcome::Unwind);
    assert!(p.resolve().is_some());
    assert_eq!((p.m.0.get(Gpr::Rax), p.m.0.get(Gpr::Rbx), p.m.0.get(Gpr::Rsp)), (2, 5, rsp));
    assert_eq!(p.ok(39, &[]), 1);
    let mut c = w.next();
    assert_eq!(c.ok(39, &[]), 2);
    assert_eq!(c.task.program().entry_point, "p2_start");
    assert_eq!(c.sys(EXIT, &[3]), Outcome::Unwind);
    assert_eq!(c.resolve(), None);
    drop(c);
    assert_eq!(p.ok(WAIT4, &[2, BUF, 0, 0]), 2);
    assert_eq!(p.word(BUF) as u32, 3 << 8);
    // A vfork child that exits.
    assert_eq!(p.sys(58, &[]), Outcome::Unwind);
    assert_eq!(p.sys(EXIT, &[1]), Outcome::Unwind);
    assert!(p.resolve().is_some());
    assert_eq!(p.m.0.get(Gpr::Rax), 3);
    // exec in place.
    assert_eq!(p.exec("/bin/b"), Outcome::Unwind);
    assert_eq!(p.resolve(), None);
    drop(p);
    let mut p = w.next();
    assert_eq!(p.ok(39, &[]), 1);
    p.sys(EXIT, &[42]);
    drop(p);
    assert_eq!(w.kernel.wait(), WaitStatus::Exited(42));
    assert_eq!(w.kernel.execs(), 3);
}

/// The gate: what does not start.
#[test]
fn gate() {
    let w = world();
    let mut p = w.next();
    let vfs = Arc::clone(&w.kernel.vfs);
    let refused = Outcome::Return(Errno::EACCES.to_ret());
    // The same bytes elsewhere are the same program.
    put_file(&vfs, "/tmp/copy", &program_bytes(1), 0o755);
    assert_eq!(p.exec("/tmp/copy"), Outcome::Unwind);
    let mut p = {
        drop(p);
        w.next()
    };
    // One bit changed.
    let mut bytes = program_bytes(1);
    bytes[100] ^= 1;
    put_file(&vfs, "/tmp/copy", &bytes, 0o755);
    assert_eq!(p.exec("/tmp/copy"), refused);
    // Changed back by hand: the remembered hash must not matter either way.
    put_file(&vfs, "/tmp/copy", &program_bytes(1), 0o755);
    assert_eq!(p.exec("/tmp/copy"), Outcome::Unwind);
    let mut p = {
        drop(p);
        w.next()
    };
    // Appended to.
    bytes = program_bytes(1);
    bytes.push(0);
    put_file(&vfs, "/tmp/longer", &bytes, 0o755);
    assert_eq!(p.exec("/tmp/longer"), refused);
    // A known program over a named path.
    put_file(&vfs, "/bin/b", &program_bytes(1), 0o755);
    assert_eq!(p.exec("/bin/b"), refused);
    // Not executable; a directory; a device.
    put_file(&vfs, "/tmp/plain", &program_bytes(1), 0o644);
    assert_eq!(p.exec("/tmp/plain"), refused);
    assert_eq!(p.exec("/tmp"), refused);
    assert_eq!(p.exec("/dev/null"), refused);
    // A fresh script, even with the right interpreter.
    put_file(&vfs, "/tmp/s", b"#!/bin/a\n", 0o755);
    assert_eq!(p.exec("/tmp/s"), refused);
    assert!(lock(&w.audit).iter().any(|l| l.contains("/tmp/longer")));
    // memfd with the bytes of a known program: the same gate, so it starts; with others it does not.
    p.str(BUF, "m");
    let fd = p.ok(319, &[BUF, 0]) as u64;
    p.poke(BUF, b"#!/bin/a\n");
    p.ok(WRITE, &[fd, BUF, 9]);
    p.poke(BUF, &[0; 16]);
    assert_eq!(p.sys(322, &[fd, BUF, BUF, BUF, 0x1000]), refused);
    assert_eq!(p.exec(&format!("/proc/self/fd/{fd}")), refused);
    // /proc/self/exe is the file itself.
    assert_eq!(p.exec("/proc/self/exe"), Outcome::Unwind);
}

#[test]
fn script_gets_its_sealed_bytes() {
    let w = world();
    let mut p = w.next();
    assert_eq!(p.exec("/bin/script"), Outcome::Unwind);
    drop(p);
    let mut p = w.next();
    let rsp = p.m.0.get(Gpr::Rsp);
    assert_eq!(p.word(rsp), 3);
    assert_eq!(p.peek(p.word(rsp + 8), 7), b"/bin/a\0");
    assert_eq!(p.peek(p.word(rsp + 16), 3), b"-x\0");
    assert_eq!(p.peek(p.word(rsp + 24), 12), b"/bin/script\0");
    // Swapped between the check and the interpreter's open: written over, and replaced by another file.
    put_file(&w.kernel.vfs, "/bin/script", b"#!/bin/a -x\nworse\n", 0o755);
    for replace in [false, true] {
        if replace {
            let s = p.str(BUF, "/bin/script");
            p.ok(87, &[s]);
            put_file(&w.kernel.vfs, "/bin/script", b"#!/bin/a -x\nother\n", 0o755);
        }
        let s = p.str(BUF, "/bin/script");
        let fd = p.ok(OPEN, &[s, 0, 0]) as u64;
        let n = p.ok(READ, &[fd, BUF, 100]);
        assert_eq!(p.peek(BUF, n as usize), b"#!/bin/a -x\nhello\n");
    }
}

#[test]
fn signal_frame_round_trip() {
    let w = world();
    let mut p = w.next();
    // sigaction(SIGUSR1, { 0x400100, SA_RESTORER, restorer, mask })
    let act: Vec<u8> = [0x40_0100u64, 0x0400_0000, 0x40_0200, 0].iter().flat_map(|w| w.to_le_bytes()).collect();
    p.poke(BUF, &act);
    p.ok(13, &[10, BUF, 0, 8]);
    for (i, r) in p.m.0.gpr.iter_mut().enumerate() {
        if i != Gpr::Rsp as usize {
            *r = 0x1000 + i as u64;
        }
    }
    for (i, x) in p.m.0.xmm.iter_mut().enumerate() {
        *x = u128::from(i as u64 + 1) << 64 | 7;
    }
    p.m.0.rflags = 0x202 | 0x41;
    let before = p.m.0.clone();
    assert_eq!(p.sys(KILL, &[1, 10]), Outcome::Unwind);
    assert_eq!(p.resolve(), Some((0x101, 1)));
    let inside = p.m.0.clone();
    assert_eq!(inside.get(Gpr::Rdi), 10);
    assert_eq!(inside.get(Gpr::Rsp) % 16, 8);
    assert!(inside.get(Gpr::Rsp) < before.get(Gpr::Rsp) - 128);
    assert_eq!(p.word(inside.get(Gpr::Rsp)), 0x40_0200);
    // siginfo: signo, code SI_USER, pid.
    let info = p.peek(inside.get(Gpr::Rsi), 24);
    assert_eq!((info[0], info[8], info[16]), (10, 0, 1));
    // ucontext: the interrupted rip.
    assert_eq!(p.word(inside.get(Gpr::Rdx) + 40 + 128), 0x40_0020);
    // Masked while the handler runs.
    p.m.0.set(Gpr::Rsp, inside.get(Gpr::Rsp) + 8);
    p.m.0.xmm = [0; 16];
    p.ok(14, &[0, 0, BUF, 8]);
    assert_eq!(p.word(BUF), 1 << 9);
    assert_eq!(p.sys(15, &[]), Outcome::Unwind);
    let mut want = before;
    want.pc = 0x40_0020;
    want.set(Gpr::Rax, 0);
    assert_eq!(p.m.0, want);
    p.ok(14, &[0, 0, BUF, 8]);
    assert_eq!(p.word(BUF), 0);
}

#[test]
fn memory_faults() {
    let w = world();
    let mut p = w.next();
    let act: Vec<u8> = [0x40_0100u64, 0x0c00_0004, 0x40_0200, 0].iter().flat_map(|w| w.to_le_bytes()).collect();
    p.poke(BUF, &act);
    p.ok(13, &[11, BUF, 0, 8]);
    assert!(p.task.fault(&mut p.m, FaultInfo { addr: 0x123, write: Some(false) }));
    assert_eq!(p.resolve(), Some((0x101, 1)));
    let info = p.peek(p.m.0.get(Gpr::Rsi), 24);
    assert_eq!((info[0], info[8]), (11, 1));
    assert_eq!(u64::from_le_bytes(info[16..24].try_into().unwrap()), 0x123);
    // A fault while SIGSEGV is blocked ends the process; so it does here, in the handler.
    assert!(p.task.fault(&mut p.m, FaultInfo { addr: 0x40_0000, write: Some(true) }));
    assert_eq!(p.resolve(), None);
    drop(p);
    assert_eq!(w.kernel.wait(), WaitStatus::Signaled(11));
}

#[test]
fn returning_from_a_fault_handler_is_fatal() {
    let w = world();
    let mut p = w.next();
    let act: Vec<u8> = [0x40_0100u64, 0x0400_0000, 0x40_0200, 0].iter().flat_map(|w| w.to_le_bytes()).collect();
    p.poke(BUF, &act);
    p.ok(13, &[11, BUF, 0, 8]);
    assert!(p.task.fault(&mut p.m, FaultInfo { addr: 0x123, write: Some(false) }));
    p.resolve().unwrap();
    let rsp = p.m.0.get(Gpr::Rsp);
    p.m.0.set(Gpr::Rsp, rsp + 8);
    assert_eq!(p.sys(15, &[]), Outcome::Unwind);
    assert_eq!(p.resolve(), None);
    assert!(lock(&w.audit).iter().any(|l| l.contains("handler of a memory fault returned")));
}

#[test]
fn jumps_to_nowhere() {
    for (pc, sig, text) in
        [(0x40_0030, 4, "offset 0x30"), (0x40_1000, 11, "offset 0x1000"), (0x9000_0000, 11, "not mapped")]
    {
        let w = world();
        let mut p = w.next();
        assert_eq!(p.task.resolve(&mut p.m, pc), None);
        drop(p);
        assert_eq!(w.kernel.wait(), WaitStatus::Signaled(sig));
        assert!(lock(&w.audit).iter().any(|l| l.contains(text)), "{:?}", lock(&w.audit));
    }
}

#[test]
fn executable_mappings_are_refused() {
    let w = world();
    let mut p = w.next();
    p.err(MMAP, &[0, 4096, 7, 0x22, u64::MAX, 0], Errno::EACCES);
    let a = p.ok(MMAP, &[0, 4096, 3, 0x22, u64::MAX, 0]) as u64;
    p.err(10, &[a, 4096, 5], Errno::EACCES);
    p.ok(10, &[0x40_0000, 4096, 5]);
    p.ok(10, &[0x40_0000, 4096, 3]);
    p.err(10, &[0x40_0000, 4096, 5], Errno::EACCES);
    let path = p.str(BUF, "/bin/a");
    let fd = p.ok(OPEN, &[path, 0, 0]) as u64;
    p.err(MMAP, &[0, 4096, 5, 2, fd, 0], Errno::EACCES);
    // Text that was made writable is no code any more.
    assert_eq!(p.resolve(), None);
}

#[test]
fn mremap_moves_and_grows() {
    let w = world();
    let mut p = w.next();
    let a = p.ok(MMAP, &[0, 8192, 3, 0x22, u64::MAX, 0]) as u64;
    // Something in the way of growth.
    p.sys(MMAP, &[a + 8192, 4096, 3, 0x10_0022, u64::MAX, 0]);
    p.poke(a, b"first");
    p.poke(a + 4096, b"second");
    p.err(25, &[a, 8192, 1 << 20, 0], Errno::ENOMEM);
    let b = p.ok(25, &[a, 8192, 1 << 20, 1]) as u64;
    assert_ne!(a, b);
    assert_eq!(p.peek(b, 5), b"first");
    assert_eq!(p.peek(b + 4096, 6), b"second");
    assert_eq!(p.peek(b + 8192, 4), [0; 4]);
    p.err(WRITE, &[1, a, 1], Errno::EFAULT);
    p.ok(25, &[b, 1 << 20, 4096, 0]);
    p.err(WRITE, &[1, b + 4096, 1], Errno::EFAULT);
}

/// Behind the end of what is mapped a copy by the host would be a SIGBUS of its own.
#[test]
fn shared_memory_grown_past_its_end_is_efault() {
    let w = world();
    let mut p = w.next();
    let a = p.ok(MMAP, &[0, 4096, 3, 0x21, u64::MAX, 0]) as u64;
    let a = p.ok(25, &[a, 4096, 8192, 1]) as u64;
    p.poke(a, b"here");
    p.err(WRITE, &[1, a + 4096, 1], Errno::EFAULT);
    p.err(318, &[a + 4096, 16, 0], Errno::EFAULT);
    assert_eq!(p.peek(a, 4), b"here");
}

#[test]
fn a_thread_ends_before_its_process() {
    let w = world();
    let mut p = w.next();
    p.poke(BUF, &[0xff; 8]);
    // As pthread_create(3) does it.
    let tid = p.ok(56, &[0x3d_0f00, BUF + 1024, BUF, BUF + 4, 0x1234]) as u64;
    assert_eq!(p.word(BUF), 0xffff_ffff_0000_0000 | tid);
    let mut t = w.next();
    t.m.0.pc = 0x40_0020;
    assert!(t.resolve().is_some());
    assert_eq!((t.m.0.fs_base, t.m.0.get(Gpr::Rsp), t.m.0.get(Gpr::Rax)), (0x1234, BUF + 1024, 0));
    assert_eq!((t.ok(186, &[]) as u64, t.ok(39, &[])), (tid, 1));
    // What is sent to the process is not for who blocks it; what is sent to the thread stays with it.
    p.task.set_mask(u64::MAX);
    t.task.set_mask(u64::MAX);
    t.ok(KILL, &[1, 10]);
    t.ok(234, &[1, 1, 12]);
    let pending = |p: &Proc| lock(&p.task.process.signals).pending(p.task.thread.tid);
    assert_eq!((pending(&p), pending(&t)), (1 << 9 | 1 << 11, 1 << 9));
    assert_eq!(t.sys(60, &[5]), Outcome::Unwind);
    assert_eq!(t.resolve(), None);
    assert_eq!(p.word(BUF) >> 32, 0, "the word that says that it lives");
    p.err(234, &[1, tid, 0], Errno::ESRCH);
    assert_eq!(w.kernel.status(), None);
    // One thread is left, and needs no turns.
    assert!(p.task.seat.is_none());
    p.sys(231, &[3]);
    assert_eq!(p.resolve(), None);
    drop((p, t));
    assert_eq!(w.kernel.wait(), WaitStatus::Exited(3));
}

#[test]
fn exit_of_all_ends_threads_that_wait() {
    let w = world();
    let mut p = w.next();
    p.ok(56, &[0x3d_0f00, BUF + 1024, BUF, BUF + 4, 0]);
    let mut t = w.next();
    t.m.0.pc = 0x40_0020;
    let sleeper = std::thread::spawn(move || {
        // pause(2), for ever
        assert_eq!(t.sys(34, &[]), Outcome::Unwind);
        assert_eq!(t.resolve(), None);
    });
    p.sys(231, &[7]);
    assert_eq!(p.resolve(), None);
    drop(p);
    sleeper.join().unwrap();
    assert_eq!(w.kernel.wait(), WaitStatus::Exited(7));
}

#[test]
fn brk_grows_and_shrinks() {
    let w = world();
    let mut p = w.next();
    let start = p.ok(12, &[0]) as u64;
    assert_eq!(start, 0x40_3000);
    assert_eq!(p.ok(12, &[start + 10_000]) as u64, start + 10_000);
    p.poke(start + 9_000, b"x");
    assert_eq!(p.ok(12, &[start + 100]) as u64, start + 100);
    p.err(WRITE, &[1, start + 9_000, 1], Errno::EFAULT);
    assert_eq!(p.ok(12, &[1 << 40]) as u64, start + 100);
}

#[test]
fn interrupted_wait_restarts_or_fails() {
    for (flags, restart) in [(0x0400_0000u64, false), (0x1400_0000, true)] {
        let w = world();
        let mut p = w.next();
        let act: Vec<u8> = [0x40_0100u64, flags, 0x40_0200, 0].iter().flat_map(|w| w.to_le_bytes()).collect();
        p.poke(BUF, &act);
        p.ok(13, &[10, BUF, 0, 8]);
        p.ok(22, &[BUF]);
        let fds = p.peek(BUF, 8);
        let (r, wr) = (u64::from(fds[0]), u64::from(fds[4]));
        let init = w.kernel.process(1).unwrap();
        let k = Arc::clone(&w.kernel);
        let t = std::thread::spawn(move || {
            std::thread::sleep(std::time::Duration::from_millis(30));
            init.post(&k, crate::signal::SigInfo::new(10, 0));
        });
        assert_eq!(p.sys(READ, &[r, BUF, 8]), Outcome::Unwind);
        t.join().unwrap();
        assert_eq!(p.resolve(), Some((0x101, 1)));
        // In the handler: something to read now.
        let sp = p.m.0.get(Gpr::Rsp);
        p.poke(BUF + 64, b"data");
        p.ok(WRITE, &[wr, BUF + 64, 4]);
        p.m.0.set(Gpr::Rsp, sp + 8);
        assert_eq!(p.sys(15, &[]), Outcome::Unwind);
        assert_eq!(p.resolve(), Some((0x21, 1)));
        let rax = p.m.0.get(Gpr::Rax) as i64;
        if restart {
            assert_eq!(rax, 4);
            assert_eq!(p.peek(BUF, 4), b"data");
        } else {
            assert_eq!(rax, Errno::EINTR.to_ret());
        }
    }
}

#[test]
fn stop_and_continue() {
    let w = world();
    let mut p = w.next();
    p.ok(FORK, &[]);
    let mut c = w.next();
    // In another group of the session, so that it is not orphaned.
    p.ok(109, &[2, 2]);
    p.ok(KILL, &[2, 20]);
    let t = std::thread::spawn(move || {
        c.task.slot().poll_word();
        assert!(c.resolve().is_some());
        c.sys(EXIT, &[0]);
        c.resolve();
    });
    loop {
        // WUNTRACED
        match p.sys(WAIT4, &[2, BUF, 2, 0]) {
            Outcome::Return(2) => break,
            Outcome::Unwind => {
                p.resolve().unwrap();
                if p.m.0.get(Gpr::Rax) == 2 {
                    break;
                }
            }
            o => panic!("{o:?}"),
        }
    }
    assert_eq!(p.word(BUF) as u32, 0x147f);
    p.sys(KILL, &[2, 18]);
    t.join().unwrap();
    let mut status = 1;
    for _ in 0..10 {
        if let Outcome::Return(2) = p.sys(WAIT4, &[2, BUF, 0, 0]) {
            status = p.word(BUF) as u32;
            break;
        }
        p.resolve().unwrap();
        if p.m.0.get(Gpr::Rax) == 2 {
            status = p.word(BUF) as u32;
            break;
        }
    }
    assert_eq!(status, 0);
}

#[test]
fn proc_and_dev() {
    let w = world();
    let mut p = w.next();
    let mut read = |path: &str| -> Vec<u8> {
        let s = p.str(BUF, path);
        let fd = p.ok(OPEN, &[s, 0, 0]) as u64;
        let n = p.ok(READ, &[fd, BUF, 1500]);
        p.ok(CLOSE, &[fd]);
        p.peek(BUF, n as usize)
    };
    assert_eq!(read("/proc/self/cmdline"), b"/bin/a\0one\0");
    assert_eq!(read("/proc/self/comm"), b"a\n");
    assert_eq!(read("/proc/1/environ"), b"PATH=/bin\0");
    assert!(read("/proc/self/stat").starts_with(b"1 (a) R 0 1 1 "));
    assert!(read("/proc/self/maps").windows(7).any(|w| w == b"[stack]"));
    assert!(read("/proc/meminfo").starts_with(b"MemTotal:"));
    assert_eq!(read("/proc/sys/kernel/hostname"), b"box\n");
    assert!(!read("/proc/mounts").is_empty());
    assert_eq!(read("/dev/zero"), vec![0; 1500]);
    assert_eq!(read("/dev/null"), b"");
    // /proc/self/exe, /proc/self/fd
    let s = p.str(BUF, "/proc/self/exe");
    let n = p.ok(89, &[s, BUF + 64, 100]);
    assert_eq!(p.peek(BUF + 64, n as usize), b"/bin/a");
    let s = p.str(BUF, "/dev/full");
    let fd = p.ok(OPEN, &[s, 1, 0]) as u64;
    p.err(WRITE, &[fd, BUF, 1], Errno::ENOSPC);
}

#[test]
fn pseudo_terminal() {
    let w = world();
    let mut p = w.next();
    let s = p.str(BUF, "/dev/ptmx");
    let master = p.ok(OPEN, &[s, 2, 0]) as u64;
    p.ok(16, &[master, 0x8004_5430, BUF]);
    assert_eq!(p.word(BUF) as u32, 0);
    p.poke(BUF, &[0; 4]);
    p.ok(16, &[master, 0x4004_5431, BUF]);
    let s = p.str(BUF, "/dev/pts/0");
    let slave = p.ok(OPEN, &[s, 2, 0]) as u64;
    // Canonical input with an erased character; echo and ONLCR on the way out.
    p.poke(BUF, b"ax\x7fb\n");
    p.ok(WRITE, &[master, BUF, 5]);
    let n = p.ok(READ, &[slave, BUF + 64, 100]);
    assert_eq!(p.peek(BUF + 64, n as usize), b"ab\n");
    let n = p.ok(READ, &[master, BUF + 64, 100]);
    assert_eq!(p.peek(BUF + 64, n as usize), b"ax\x08 \x08b\r\n");
    p.poke(BUF, b"out\n");
    p.ok(WRITE, &[slave, BUF, 4]);
    let n = p.ok(READ, &[master, BUF + 64, 100]);
    assert_eq!(p.peek(BUF + 64, n as usize), b"out\r\n");
    // Ctrl-C reaches the foreground group: the first process, which has the default action.
    p.ok(16, &[slave, 0x540f, BUF]);
    assert_eq!(p.word(BUF) as u32, 1);
    p.poke(BUF, &[3]);
    assert_eq!(p.sys(WRITE, &[master, BUF, 1]), Outcome::Unwind);
    assert_eq!(p.resolve(), None);
    drop(p);
    assert_eq!(w.kernel.wait(), WaitStatus::Signaled(2));
}

/// Every call with hostile arguments: nothing panics, nothing hangs, the host is never faulted.
#[test]
fn hostile_arguments() {
    let mut seed = 0x9e37_79b9_7f4a_7c15u64;
    let mut next = || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed
    };
    // Calls that wait for ever by their nature are given a pending signal's way out: an alarm every few milliseconds.
    let mut calls = 0;
    for round in 0..40 {
        let w = world();
        let mut p = w.next();
        let act: Vec<u8> = [0x40_0100u64, 0x0400_0000, 0x40_0200, 0].iter().flat_map(|w| w.to_le_bytes()).collect();
        for e in crate::sys::table() {
            if matches!(
                e.name,
                "exit"
                    | "exit_group"
                    | "kill"
                    | "tkill"
                    | "tgkill"
                    | "rt_sigreturn"
                    | "rt_sigqueueinfo"
                    | "rt_tgsigqueueinfo"
                    | "pidfd_send_signal"
            ) {
                continue;
            }
            // A fresh alarm with a handler, so that a wait ends.
            lock(&p.task.process.signals).actions[13] =
                crate::signal::Action { handler: 0x40_0100, flags: 0x0400_0000, restorer: 0x40_0200, mask: 0 };
            p.task.set_mask(0);
            let values = [
                0,
                1,
                2,
                3,
                u64::MAX,
                i64::MAX as u64,
                i64::MIN as u64,
                0xffff_ffff,
                0x8000_0000,
                BUF,
                0x40_0000,
                0x40_2ffc,
                0xffff_0000,
                0xfffe_fff8,
                4096,
                1 << 32,
            ];
            let mut a = [0; 6];
            for v in &mut a {
                let r = next();
                *v = if r & 3 == 0 { r >> 8 } else { values[(r >> 8) as usize % values.len()] };
            }
            if round == 0 {
                a = [u64::MAX; 6];
            }
            let _ = lock(&p.task.space).write(BUF, &act);
            let init = Arc::clone(&p.task.process);
            let k = Arc::clone(&w.kernel);
            let done = Arc::new(std::sync::atomic::AtomicBool::new(false));
            let flag = Arc::clone(&done);
            let blocking = matches!(
                e.name,
                "pause"
                    | "nanosleep"
                    | "clock_nanosleep"
                    | "poll"
                    | "ppoll"
                    | "select"
                    | "pselect6"
                    | "rt_sigsuspend"
                    | "rt_sigtimedwait"
                    | "futex"
                    | "wait4"
                    | "waitid"
                    | "flock"
                    | "fcntl"
                    | "read"
                    | "readv"
                    | "epoll_wait"
                    | "epoll_pwait"
                    | "epoll_pwait2"
                    | "sendfile"
                    | "splice"
                    | "write"
                    | "writev"
                    | "open"
                    | "openat"
                    | "creat"
                    | "openat2"
                    | "recvfrom"
                    | "sendto"
                    | "preadv2"
                    | "pwritev2"
            );
            let t = blocking.then(|| {
                std::thread::spawn(move || {
                    while !flag.load(std::sync::atomic::Ordering::Acquire) {
                        std::thread::sleep(std::time::Duration::from_millis(1));
                        init.post(&k, crate::signal::SigInfo::new(14, 0));
                    }
                })
            });
            calls += 1;
            let before = p.m.0.clone();
            p.m.0.pc = 0x40_0020;
            let _ = p.task.perform(&mut p.m, e.number.into(), a);
            done.store(true, std::sync::atomic::Ordering::Release);
            if let Some(t) = t {
                t.join().unwrap();
            }
            // Whatever it did, the process goes on from a known state or is gone.
            lock(&p.task.process.signals).remove(!0);
            if p.task.ended() {
                drop(p);
                p = match lock(&w.launcher.0).pop() {
                    Some((task, _)) => Proc { task, m: Fake(before) },
                    None => break,
                };
                continue;
            }
            lock(&w.launcher.0).clear();
            p.m.0 = before;
            if lock(&p.task.process.mm).is_none() {
                break;
            }
        }
    }
    assert!(calls > 5000, "only {calls} calls");
}

/// A volume's file that a guest mapped shared is untouched by the reuse of the slot, and so is the next guest.
#[test]
fn slot_reuse_leaves_files_alone() {
    use crate::mm::{AddressSpace, Backing, Budget, Label, MapRequest, Prot, SlotPool};
    let pool = SlotPool::new(4, 4);
    let budget = Budget::new(None, 0);
    let fd = rustix::fs::memfd_create("volume", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
    rustix::io::write(&fd, &[7; 8192]).unwrap();
    let fd = Arc::new(fd);
    let source = crate::mm::MapSource {
        fd: Arc::clone(&fd),
        owner: None,
        base: 0,
        size: 8192,
        sealed: false,
        truncatable: true,
        anonymous: None,
        path: Arc::from(b"/v".as_slice()),
        ino: 1,
        host: None,
    };
    let mut addresses = Vec::new();
    for shared in [true, false] {
        let mut s = AddressSpace::new(&pool, &budget).unwrap();
        let memory0 = s.slot().memory0();
        let at = s
            .mmap(MapRequest {
                addr: 0,
                len: 8192,
                prot: Prot::RW,
                backing: Backing::File { source: source.clone(), offset: 0, shared },
                fixed: false,
                no_replace: false,
                label: Label::None,
                may_write: true,
                text: false,
            })
            .unwrap();
        s.write(at, &[9; 10]).unwrap();
        addresses.push((memory0, at));
        // SAFETY: memory 1 of a live slot.
        unsafe { s.slot().memory1().add(100).write(1) };
        drop(s);
        let next = AddressSpace::new(&pool, &budget).unwrap();
        assert_eq!(next.slot().memory0(), memory0, "the slot is reused");
        assert_eq!(next.read(at, &mut [0; 1]), Err(Errno::EFAULT));
        // SAFETY: as above.
        assert_eq!(unsafe { next.slot().memory1().add(100).read() }, 0);
    }
    let mut bytes = [0; 8192];
    rustix::io::pread(&fd, &mut bytes, 0).unwrap();
    assert_eq!(bytes[..10], [9; 10], "what the guest wrote to the shared mapping is in the file");
    assert!(bytes[10..].iter().all(|&b| b == 7), "and nothing else");
}

/// Touching a mapping behind the end of a file that shrank is an error for a system call, not a fault of the host.
#[test]
fn truncated_mapping_is_efault() {
    let w = world();
    let mut p = w.next();
    let s = p.str(BUF, "/tmp/f");
    let fd = p.ok(OPEN, &[s, 0o102, 0o600]) as u64;
    p.ok(77, &[fd, 8192]);
    let at = p.ok(MMAP, &[0, 8192, 3, 1, fd, 0]) as u64;
    p.poke(at + 4096, b"there");
    assert_eq!(p.peek(at + 4096, 5), b"there");
    p.ok(77, &[fd, 10]);
    p.err(WRITE, &[1, at + 4096, 5], Errno::EFAULT);
    assert!(p.task.fault(&mut p.m, FaultInfo { addr: at + 4096, write: Some(false) }));
    assert_eq!(p.resolve(), None);
    drop(p);
    assert_eq!(w.kernel.wait(), WaitStatus::Signaled(7));
}

/// What a start costs on the kernel's side (ignored: a benchmark).
#[test]
#[ignore = "benchmark"]
fn spawn_cost() {
    let w = world();
    let mut p = w.next();
    let n = 2000;
    let t = std::time::Instant::now();
    for _ in 0..n {
        assert_eq!(p.sys(56, &[0x4111, 0]), Outcome::Unwind);
        p.resolve();
        assert_eq!(p.exec("/bin/b"), Outcome::Unwind);
        p.resolve();
        let mut c = w.next();
        c.sys(EXIT, &[0]);
        c.resolve();
        drop(c);
        p.sys(WAIT4, &[u64::MAX, BUF, 0, 0]);
        p.resolve();
    }
    println!("vfork + exec + exit + wait: {:?}", t.elapsed() / n);
    let t = std::time::Instant::now();
    for _ in 0..n {
        p.sys(FORK, &[]);
        let mut c = w.next();
        c.sys(EXIT, &[0]);
        c.resolve();
        drop(c);
        p.sys(WAIT4, &[u64::MAX, BUF, 0, 0]);
        p.resolve();
    }
    println!("fork + exit + wait: {:?}", t.elapsed() / n);
    let t = std::time::Instant::now();
    for _ in 0..n * 100 {
        p.sys(39, &[]);
    }
    println!("getpid: {:?}", t.elapsed() / (n * 100));
    p.ok(22, &[BUF]);
    let fds = p.peek(BUF, 8);
    let t = std::time::Instant::now();
    for _ in 0..n * 10 {
        p.sys(WRITE, &[fds[4].into(), BUF, 1]);
        p.sys(READ, &[fds[0].into(), BUF, 1]);
    }
    println!("pipe write + read: {:?}", t.elapsed() / (n * 10));
}

/// The host's terminal: input through our line discipline, echo, window size, Ctrl-C.
#[test]
fn host_terminal() {
    use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let slave = ioctl_tiocgptpeer(&master, OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    let mut t = rustix::termios::tcgetattr(&slave).unwrap();
    t.make_raw();
    rustix::termios::tcsetattr(&slave, rustix::termios::OptionalActions::Now, &t).unwrap();
    let w = world_on(Some(slave));
    let mut p = w.next();
    rustix::io::write(&master, b"hi\r").unwrap();
    assert_eq!(p.ok(READ, &[0, BUF, 100]), 3);
    assert_eq!(p.peek(BUF, 3), b"hi\n");
    let mut seen = Vec::new();
    while seen.len() < 4 {
        let mut b = [0; 64];
        let n = rustix::io::read(&master, &mut b).unwrap();
        seen.extend_from_slice(&b[..n]);
    }
    assert_eq!(seen, b"hi\r\n");
    // It is the controlling terminal, with the first process in the foreground.
    let s = p.str(BUF, "/dev/tty");
    let fd = p.ok(OPEN, &[s, 2, 0]) as u64;
    p.ok(16, &[fd, 0x540f, BUF]);
    assert_eq!(p.word(BUF) as u32, 1);
    let s = p.str(BUF, "/proc/self/fd/0");
    let n = p.ok(89, &[s, BUF + 64, 100]);
    assert_eq!(p.peek(BUF + 64, n as usize), b"/dev/console");
    // Ctrl-C interrupts the read and ends the process.
    rustix::io::write(&master, b"\x03").unwrap();
    assert_eq!(p.sys(READ, &[0, BUF, 100]), Outcome::Unwind);
    assert_eq!(p.resolve(), None);
    drop(p);
    assert_eq!(w.kernel.wait(), WaitStatus::Signaled(2));
}
