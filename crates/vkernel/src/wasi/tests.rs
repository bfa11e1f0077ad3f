//! Tests that make WASI calls directly, in a process without an instance.

use super::*;
use crate::gate::Policy;
use crate::kernel::{Credentials, Kernel, KernelConfig, Launcher, Limits, Stdio};
use crate::program::{DataFile, ProgramTable};
use crate::signal::SigInfo;
use crate::task::Start;
use crate::tests::{Collect, GuestMemory, put_file};
use megalith_abi::{DataImage, WASI_IMPORTS};
use megalith_vfs::{At, Cred, LayeredFs, LayeredOptions, MapSource, NewNode, Vfs};
use sha2::{Digest, Sha256};
use std::os::fd::OwnedFd;

/// Bytes of linear memory.
const SIZE: u64 = 0x20000;
const SUCCESS: u16 = 0;
const BADF: u16 = 8;
const EXIST: u16 = 20;
const FAULT: u16 = 21;
const INVAL: u16 = 28;
const ISDIR: u16 = 31;
const NAMETOOLONG: u16 = 37;
const NOENT: u16 = 44;
const NOTDIR: u16 = 54;
const PERM: u16 = 63;
const SPIPE: u16 = 70;

struct World {
    task: Task,
    kernel: Arc<Kernel>,
    /// The file with the data image.
    image: OwnedFd,
    _out: OwnedFd,
}

fn memfd(bytes: &[u8]) -> OwnedFd {
    let fd = rustix::fs::memfd_create("test", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
    rustix::io::write(&fd, bytes).unwrap();
    fd
}

/// A WASI process in `cwd`, its memory begun. `spoil` changes the data image after its hash was taken.
fn world_with(cwd: &str, spoil: bool) -> World {
    let root = NewNode { mode: 0o755, uid: 0, gid: 0 };
    let vfs = Arc::new(Vfs::new(LayeredFs::new(LayeredOptions { root, ..LayeredOptions::default() }).unwrap()));
    let (at_root, cred) = (vfs.root(), Cred::root());
    let at = At { root: &at_root, base: &at_root, cred: &cred };
    for d in ["/bin", "/tmp", "/work", "/work/etc", "/etc"] {
        vfs.mkdir(&at, d.as_bytes(), 0o777).unwrap();
    }
    put_file(&vfs, "/bin/w", b"the module", 0o755);
    put_file(&vfs, "/etc/name", b"from the root", 0o644);
    put_file(&vfs, "/work/etc/name", b"from below the working directory", 0o644);
    put_file(&vfs, "/work/data", b"0123456789", 0o644);
    let file = DataImage { address: 0x1000, bytes: vec![7; 0x2000] }.to_file();
    let image = memfd(&file);
    let hash: crate::Hash = Sha256::digest(b"the module").into();
    let source = MapSource { fd: Arc::new(memfd(b"the module")), offset: 0, len: 10, sealed: true };
    let image_file = DataFile::new(image.try_clone().unwrap(), file.len() as u64, Sha256::digest(&file).into());
    if spoil {
        rustix::io::pwrite(&image, &[8], 0x1800).unwrap();
    }
    let mut programs = ProgramTable::new();
    programs.insert(Program::wasi(hash, 10, "w_start".into(), source, image_file, Arc::new(())));
    let mut policy = Policy::default();
    policy.add_path(b"/bin/w", hash);
    let launcher = Arc::new(Collect::default());
    let kernel = Kernel::new(KernelConfig {
        programs,
        policy,
        vfs,
        files: megalith_vfs::Budget::unlimited(),
        launcher: Arc::clone(&launcher) as Arc<dyn Launcher>,
        hostname: "box".into(),
        limits: Limits { processes: 64, ..Limits::default() },
        audit: Arc::new(|_: &str| {}),
        strace: None,
        sealed: false,
        gateway: None,
        fixed: None,
    })
    .unwrap();
    let (r, w) = rustix::pipe::pipe().unwrap();
    let null = std::fs::File::open("/dev/null").unwrap();
    let stdio = Stdio { fds: [null.into(), w.try_clone().unwrap(), w], tty: false };
    let argv = [b"/bin/w".to_vec(), b"".to_vec(), b"two words".to_vec()];
    kernel
        .start_init(&argv, &[b"A=1".to_vec(), b"B=".to_vec()], cwd.as_bytes(), &Credentials::default(), stdio, None)
        .unwrap();
    let (mut task, start) = lock(&launcher.0).pop().unwrap();
    assert!(matches!(start, Start::Program { .. }));
    assert!(task.wasi_start());
    World { task, kernel, image, _out: r }
}

fn world(cwd: &str) -> World {
    let w = world_with(cwd, false);
    w.task.wasi_memory().begin(SIZE as usize).unwrap();
    w
}

impl GuestMemory for World {
    fn task(&self) -> &Task {
        &self.task
    }
}

impl World {
    /// Calls a function by name.
    fn call(&mut self, name: &str, args: &[u64]) -> Option<u16> {
        let index = WASI_IMPORTS.iter().position(|f| f.0 == name).unwrap();
        let mut a = [0; WASI_MAX_ARGS];
        a[..args.len()].copy_from_slice(args);
        self.task.wasi_call(index, a)
    }
    #[track_caller]
    fn gives(&mut self, name: &str, args: &[u64], error: u16) {
        assert_eq!(self.call(name, args), Some(error), "{name} {args:x?}");
    }
    fn u32(&self, at: u64) -> u32 {
        u32::from_le_bytes(self.peek(at, 4).try_into().unwrap())
    }
    fn u64(&self, at: u64) -> u64 {
        u64::from_le_bytes(self.peek(at, 8).try_into().unwrap())
    }
    /// Opens `name` relative to `dir` with the given `oflags`, `rights` and result.
    #[track_caller]
    fn open(&mut self, dir: u64, name: &str, oflags: u64, rights: u64, error: u16) -> u64 {
        self.poke(0x8000, name.as_bytes());
        self.gives("path_open", &[dir, 1, 0x8000, name.len() as u64, oflags, rights, 0, 0, 0x7ff0], error);
        self.u32(0x7ff0).into()
    }
    /// Reads at most 64 bytes of a descriptor.
    #[track_caller]
    fn read(&mut self, fd: u64) -> Vec<u8> {
        self.poke(0x7000, &[0x00, 0x90, 0, 0, 64, 0, 0, 0]);
        self.gives("fd_read", &[fd, 0x7000, 1, 0x7010], SUCCESS);
        self.peek(0x9000, self.u32(0x7010) as usize)
    }
}

const READ: u64 = 1 << 1;
const WRITE: u64 = 1 << 6;
const CREAT: u64 = 1;
const DIRECTORY: u64 = 2;
const EXCL: u64 = 4;

#[test]
fn memory_starts_from_the_image_and_changes_privately() {
    let w = world("/");
    assert_eq!(w.peek(0xfff, 3), [0, 7, 7]);
    assert_eq!(w.peek(0x2fff, 2), [7, 0]);
    w.poke(0x1000, b"changed");
    let mut b = [0; 7];
    rustix::io::pread(&w.image, &mut b, DataImage::HEADER as u64).unwrap();
    assert_eq!(b, [7; 7]);
    w.task.wasi_memory().grow(SIZE as usize, SIZE as usize + 0x10000).unwrap();
    assert_eq!(w.peek(SIZE, 1), [0]);
}

#[test]
fn a_damaged_or_misplaced_image_is_refused() {
    let w = world_with("/", true);
    assert_eq!(w.task.program().check_data(), Err(Errno::EIO));
    assert_eq!(w.task.wasi_memory().begin(SIZE as usize), Err(Errno::EIO));
    let w = world_with("/", false);
    assert_eq!(w.task.wasi_memory().begin(0x2000), Err(Errno::ENOEXEC));
}

#[test]
fn arguments_and_environment() {
    let mut w = world("/");
    w.gives("args_sizes_get", &[0x100, 0x104], SUCCESS);
    assert_eq!((w.u32(0x100), w.u32(0x104)), (3, 18));
    w.gives("args_get", &[0x200, 0x300], SUCCESS);
    assert_eq!(w.peek(0x300, 18), b"/bin/w\0\0two words\0");
    assert_eq!([w.u32(0x200), w.u32(0x204), w.u32(0x208)], [0x300, 0x307, 0x308]);
    w.gives("environ_sizes_get", &[0x100, 0x104], SUCCESS);
    assert_eq!((w.u32(0x100), w.u32(0x104)), (2, 7));
    w.gives("environ_get", &[0x200, 0x300], SUCCESS);
    assert_eq!(w.peek(0x300, 7), b"A=1\0B=\0");
    // Nothing is written where not all of it fits.
    w.gives("args_get", &[SIZE - 8, 0x400], FAULT);
    assert_eq!(w.peek(0x400, 1), [0]);
}

#[test]
fn one_directory_is_given() {
    let mut w = world("/work");
    w.gives("fd_prestat_get", &[3, 0x100], SUCCESS);
    assert_eq!(w.u64(0x100), 1 << 32);
    w.gives("fd_prestat_dir_name", &[3, 0x100, 1], SUCCESS);
    assert_eq!(w.peek(0x100, 1), b"/");
    w.gives("fd_prestat_dir_name", &[3, 0x100, 0], NAMETOOLONG);
    for fd in [0, 4, 0xffff_ffff] {
        w.gives("fd_prestat_get", &[fd, 0x100], BADF);
    }
}

#[test]
fn names_count_from_the_root_or_from_the_working_directory() {
    let mut w = world("/work");
    let read = |w: &mut World, name: &str| {
        let fd = w.open(3, name, 0, READ, SUCCESS);
        w.read(fd)
    };
    assert_eq!(read(&mut w, "data"), b"0123456789");
    // The root has an `etc`.
    assert_eq!(read(&mut w, "etc/name"), b"from the root");
    assert_eq!(read(&mut w, "/etc/name"), b"from the root");
    assert_eq!(read(&mut w, "./etc/name"), b"from below the working directory");
    assert_eq!(read(&mut w, "../etc/name"), b"from the root");
    w.open(3, "tmp/new", CREAT, WRITE, SUCCESS);
    w.open(3, "new", CREAT, WRITE, SUCCESS);
    for there in ["/tmp/new", "/work/new"] {
        w.open(3, there, 0, READ, SUCCESS);
    }
    w.open(3, "/new", 0, READ, NOENT);
    // Other directories are only what they are.
    let dir = w.open(3, "work", DIRECTORY, READ, SUCCESS);
    w.open(dir, "etc/name", 0, READ, SUCCESS);
    w.open(dir, "bin/w", 0, READ, NOENT);
    w.open(dir, "etc/../data", 0, READ, SUCCESS);
    for out in ["../etc/name", "/etc/name", "etc/../../bin"] {
        w.open(dir, out, 0, READ, PERM);
    }
    w.open(dir, "da\0ta", 0, READ, INVAL);
    w.open(1, "x", 0, READ, NOTDIR);
    let file = w.open(dir, "data", 0, READ, SUCCESS);
    w.open(file, "x", 0, READ, NOTDIR);
}

#[test]
fn files_are_opened_as_their_rights_say() {
    let mut w = world("/");
    let fd = w.open(3, "tmp/f", CREAT | EXCL, READ | WRITE, SUCCESS);
    w.open(3, "tmp/f", CREAT | EXCL, READ | WRITE, EXIST);
    w.poke(0x7000, &[0x00, 0x70, 0, 0, 5, 0, 0, 0, 0x00, 0x10, 0, 0, 3, 0, 0, 0]);
    w.gives("fd_write", &[fd, 0x7000, 2, 0x7010], SUCCESS);
    assert_eq!(w.u32(0x7010), 8);
    w.gives("fd_tell", &[fd, 0x7020], SUCCESS);
    assert_eq!(w.u64(0x7020), 8);
    w.gives("fd_seek", &[fd, (-3i64) as u64, 2, 0x7020], SUCCESS);
    assert_eq!(w.u64(0x7020), 5);
    assert_eq!(w.read(fd), [7, 7, 7]);
    w.gives("fd_seek", &[fd, 0, 3, 0x7020], INVAL);
    let r = w.open(3, "tmp/f", 0, READ, SUCCESS);
    w.gives("fd_write", &[r, 0x7000, 1, 0x7010], BADF);
    w.open(3, "tmp", 0, WRITE, ISDIR);
    w.open(3, "tmp", DIRECTORY | CREAT, READ, INVAL);
    let dir = w.open(3, "tmp", DIRECTORY, READ, SUCCESS);
    w.gives("fd_seek", &[dir, 0, 1, 0x7020], ISDIR);
    w.gives("fd_seek", &[1, 0, 1, 0x7020], SPIPE);
    // A terminal would be a character device without fd_seek and fd_tell.
    w.gives("fd_fdstat_get", &[fd, 0x7020], SUCCESS);
    assert_eq!((w.peek(0x7020, 1)[0], w.u64(0x7028) & 0x24), (4, 0x24));
    w.gives("fd_fdstat_get", &[1, 0x7020], SUCCESS);
    assert_eq!(w.u64(0x7028) & 0x24, 0);
}

#[test]
fn directories_are_read_with_cookies() {
    let mut w = world("/");
    let mut want: Vec<String> = (0..400).map(|i| format!("file-{i}")).collect();
    for name in &want {
        let fd = w.open(3, &format!("tmp/{name}"), CREAT, WRITE, SUCCESS);
        w.gives("fd_close", &[fd], SUCCESS);
    }
    want.extend([".".into(), "..".into()]);
    want.sort();
    let dir = w.open(3, "tmp", DIRECTORY, READ, SUCCESS);
    // A buffer that no entry fits, one that few fit, and one that takes all.
    w.gives("fd_readdir", &[dir, 0x9000, 10, 0, 0x7000], SUCCESS);
    assert_eq!(w.u32(0x7000), 10);
    for len in [100u64, 0x10000] {
        let (mut names, mut cookie) = (Vec::new(), 0);
        loop {
            w.gives("fd_readdir", &[dir, 0x9000, len, cookie, 0x7000], SUCCESS);
            let used = w.u32(0x7000) as usize;
            let buf = w.peek(0x9000, used);
            let mut at = 0;
            while let Some(head) = buf.get(at..at + 24) {
                let n = u32::from_le_bytes(head[16..20].try_into().unwrap()) as usize;
                let Some(name) = buf.get(at + 24..at + 24 + n) else { break };
                names.push(String::from_utf8(name.to_vec()).unwrap());
                cookie = u64::from_le_bytes(head[..8].try_into().unwrap());
                at += 24 + n;
            }
            if (used as u64) < len {
                break;
            }
        }
        names.sort();
        assert_eq!(names, want, "{len}");
    }
    w.gives("fd_readdir", &[dir, 0x9000, 100, u64::MAX, 0x7000], SUCCESS);
    assert_eq!(w.u32(0x7000), 0);
    w.gives("fd_readdir", &[dir, SIZE - 10, 100, 0, 0x7000], FAULT);
    w.gives("fd_readdir", &[1, 0x9000, 100, 0, 0x7000], NOTDIR);
}

#[test]
fn descriptors_are_renumbered() {
    let mut w = world("/work");
    let fd = w.open(3, "data", 0, READ, SUCCESS);
    let other = w.open(3, "etc/name", 0, READ, SUCCESS);
    w.gives("fd_renumber", &[fd, 77], BADF);
    w.gives("fd_renumber", &[77, fd], BADF);
    w.gives("fd_renumber", &[fd, fd], SUCCESS);
    w.gives("fd_renumber", &[fd, other], SUCCESS);
    w.gives("fd_close", &[fd], BADF);
    assert_eq!(w.read(other), b"0123456789");
    // The given directory is a descriptor like others.
    w.gives("fd_renumber", &[other, 3], SUCCESS);
    w.gives("fd_prestat_get", &[3, 0x100], BADF);
}

#[test]
fn waiting() {
    let mut w = world("/");
    // A clock (1 ms), a bad descriptor, standard output.
    let mut subs = [0u8; 144];
    subs[0] = 1;
    subs[16] = 1;
    subs[24..32].copy_from_slice(&1_000_000u64.to_le_bytes());
    subs[48] = 2;
    subs[56] = 1;
    subs[64] = 99;
    subs[96] = 3;
    subs[104] = 2;
    subs[112] = 1;
    w.poke(0x4000, &subs);
    w.gives("poll_oneoff", &[0x4000, 0x5000, 3, 0x6000], SUCCESS);
    assert_eq!(w.u32(0x6000), 2);
    assert_eq!((w.u64(0x5000), w.u32(0x5008)), (2, u32::from(BADF) | 1 << 16));
    assert_eq!((w.u64(0x5020), w.u32(0x5028)), (3, 2 << 16));
    w.gives("poll_oneoff", &[0x4000, 0x5000, 1, 0x6000], SUCCESS);
    assert_eq!((w.u32(0x6000), w.u64(0x5000), w.u32(0x5008)), (1, 1, 0));
    w.gives("poll_oneoff", &[0x4000, 0x5000, 0, 0x6000], INVAL);
    w.gives("poll_oneoff", &[0x4000, 0x5000, u64::from(u32::MAX), 0x6000], INVAL);
}

/// Every function with every pointer bad, in turn: `fault`, and nothing done.
#[test]
fn bad_pointers() {
    let fds = |w: &World| lock(&w.task.process.fds).iter().count();
    for bad in [SIZE, SIZE - 1, 0xffff_fffc, 0xffff_0000] {
        let mut w = world("/work");
        w.poke(0x8000, b"data");
        let before = fds(&w);
        let pointer_calls: &[(&str, &[u64])] = &[
            ("args_sizes_get", &[bad, 0x100]),
            ("args_sizes_get", &[0x100, bad]),
            ("environ_get", &[bad, 0x100]),
            ("environ_get", &[0x100, bad]),
            ("clock_time_get", &[0, 0, bad]),
            ("clock_res_get", &[0, bad]),
            ("fd_fdstat_get", &[1, bad]),
            ("fd_filestat_get", &[1, bad]),
            ("fd_prestat_get", &[3, bad]),
            ("fd_read", &[0, bad, 1, 0x100]),
            ("fd_read", &[0, 0x100, 1, bad]),
            ("fd_write", &[1, bad, 1, 0x100]),
            ("fd_write", &[1, 0x100, 1, bad]),
            ("fd_readdir", &[3, 0x9000, 64, 0, bad]),
            ("path_open", &[3, 1, bad, 4, 0, READ, 0, 0, 0x100]),
            ("path_open", &[3, 1, 0x8000, 4, 0, READ, 0, 0, bad]),
            ("path_create_directory", &[3, bad, 4]),
            ("path_filestat_get", &[3, 1, 0x8000, 4, bad]),
            ("path_readlink", &[3, 0x8000, 4, 0x9000, 9, bad]),
            ("path_rename", &[3, 0x8000, 4, 3, bad, 4]),
            ("path_symlink", &[bad, 4, 3, 0x8000, 4]),
            ("poll_oneoff", &[bad, 0x9000, 1, 0x100]),
            ("poll_oneoff", &[0x9000, bad, 1, 0x100]),
            ("poll_oneoff", &[0x9000, 0xa000, 1, bad]),
            ("random_get", &[bad, 16]),
            ("random_get", &[0, u64::from(u32::MAX)]),
        ];
        for (name, args) in pointer_calls {
            w.gives(name, args, FAULT);
        }
        assert_eq!(fds(&w), before);
        w.gives("path_filestat_get", &[3, 1, 0x8000, 4, 0x100], SUCCESS);
        w.gives("path_open", &[3, 1, 0x8000, 5000, 0, READ, 0, 0, 0x100], NAMETOOLONG);
        w.gives("fd_read", &[0, 0x100, 1025, 0x200], INVAL);
    }
}

#[test]
fn the_process_ends() {
    let mut w = world("/");
    assert_eq!(w.call("proc_exit", &[0x107]), None);
    assert!(w.task.ended());
    assert_eq!(w.kernel.status().unwrap().code(), 7);
    let mut w = world("/");
    assert_eq!(w.call("proc_raise", &[0]), Some(SUCCESS));
    assert_eq!(w.call("proc_raise", &[31]), Some(INVAL));
    // SIGCHLD (16 here, 17 on Linux) is ignored by default.
    assert_eq!(w.call("proc_raise", &[16]), Some(SUCCESS));
    assert_eq!(w.call("proc_raise", &[6]), None);
    assert_eq!(w.kernel.status().unwrap().code(), 134);
    // A signal from elsewhere is seen at the next call, or at a poll.
    let mut w = world("/");
    w.task.process.post(&w.kernel, SigInfo::new(libc::SIGTERM, 0));
    assert_ne!(w.task.slot().poll_word().load(Ordering::SeqCst), 0);
    assert!(!w.task.wasi_poll());
    assert_eq!(w.kernel.status().unwrap().code(), 143);
    let mut w = world("/");
    w.task.wasi_trap(8, "integer divide by zero");
    assert_eq!(w.kernel.status().unwrap().code(), 136);
    let mut w = world("/");
    w.task.wasi_returned();
    assert_eq!(w.kernel.status().unwrap().code(), 0);
}
