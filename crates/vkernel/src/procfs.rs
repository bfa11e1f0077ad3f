//! /proc.

use crate::errno::{Errno, Result};
use crate::file::{Object, OpenFile};
use crate::kernel::Kernel;
use crate::mm::{Backing, Label, PAGE, Prot};
use crate::pipe::PipeEnd;
use crate::process::{Pid, Process, State};
use crate::sys::{RELEASE, VERSION, cpus};
use crate::wait::lock;
use megalith_vfs::{
    Access, DirEntry, FileSystem, FileType, Inode, InodeId, Location, Stat, StatFs, Timespec, list_dir,
};
use std::cell::Cell;
use std::fmt::Write;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};

thread_local! {
    /// The process and the thread whose system call runs on this thread.
    static CURRENT: Cell<(Pid, Pid)> = const { Cell::new((0, 0)) };
}

/// Notes whose system call runs on this thread, for /proc/self.
pub fn set_current(pid: Pid, tid: Pid) {
    CURRENT.set((pid, tid));
}

const DEV: u64 = 21;
/// What distinguishes the inode number of /proc/PID from those of what is in it.
const PROCESS_DIRECTORY: u64 = 1;
/// Above all places in a directory of entries without a number of their own.
const PLACES: u64 = 1 << 16;

/// Mounts /proc.
pub fn mount(k: &Arc<Kernel>) -> Result<()> {
    k.vfs.mount_creating(b"/proc", Arc::new(ProcFs { kernel: Arc::downgrade(k) }), false)?;
    Ok(())
}

struct ProcFs {
    kernel: Weak<Kernel>,
}

impl FileSystem for ProcFs {
    fn root(&self) -> Arc<dyn Inode> {
        Arc::new(Node { kernel: Weak::clone(&self.kernel), kind: Kind::Root })
    }
    fn name(&self) -> &str {
        "proc"
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Root,
    /// /proc/self, /proc/thread-self
    SelfLink(bool),
    /// /proc/mounts
    MountsLink,
    /// /proc/net
    NetLink,
    NetDir(Pid),
    /// /proc/PID/net/NAME: index into NET
    NetFile(Pid, usize),
    /// /proc/NAME: index into FILES
    File(usize),
    /// /proc/sys and below: index into SYS
    Sys(usize),
    Process(Pid),
    /// /proc/PID/NAME: index into PROCESS_FILES
    ProcessFile(Pid, usize),
    /// /proc/PID/NAME: index into LINKS
    ProcessLink(Pid, usize),
    FdDir(Pid),
    Fd(Pid, i32),
    FdInfoDir(Pid),
    FdInfo(Pid, i32),
    TaskDir(Pid),
}

const FILES: &[&str] = &[
    "cmdline",
    "cpuinfo",
    "devices",
    "filesystems",
    "loadavg",
    "meminfo",
    "partitions",
    "stat",
    "swaps",
    "uptime",
    "version",
    "vmstat",
];
const PROCESS_FILES: &[&str] = &[
    "auxv",
    "cgroup",
    "cmdline",
    "comm",
    "environ",
    "limits",
    "maps",
    "mountinfo",
    "mounts",
    "oom_score_adj",
    "stat",
    "statm",
    "status",
];
const NET: &[&str] = crate::socket::PROC_NET;
const LINKS: &[&str] = &["cwd", "exe", "root"];

/// /proc/sys: path, and for files the number of their text; directories are listed by prefix.
const SYS: &[(&str, bool)] = &[
    ("sys", true),
    ("sys/fs", true),
    ("sys/fs/file-max", false),
    ("sys/kernel", true),
    ("sys/kernel/hostname", false),
    ("sys/kernel/osrelease", false),
    ("sys/kernel/ostype", false),
    ("sys/kernel/pid_max", false),
    ("sys/kernel/random", true),
    ("sys/kernel/random/boot_id", false),
    ("sys/kernel/random/entropy_avail", false),
    ("sys/kernel/random/uuid", false),
    ("sys/kernel/version", false),
    ("sys/vm", true),
    ("sys/vm/overcommit_memory", false),
];

struct Node {
    kernel: Weak<Kernel>,
    kind: Kind,
}

fn position(list: &[&str], name: &[u8]) -> Option<usize> {
    list.iter().position(|n| n.as_bytes() == name)
}

/// A decimal number without leading zeros.
fn number(name: &[u8]) -> Option<i32> {
    let s = std::str::from_utf8(name).ok()?;
    let n: i32 = s.parse().ok()?;
    (n >= 0 && n.to_string() == s).then_some(n)
}

/// The process whose directory in /proc has these attributes.
pub fn process_of(stat: &Stat) -> Option<Pid> {
    let pid = Pid::try_from(stat.ino >> 32).ok().filter(|p| *p > 0)?;
    (stat.dev == DEV && stat.ino & 0xffff_ffff == PROCESS_DIRECTORY).then_some(pid)
}

impl Node {
    fn kernel(&self) -> Result<Arc<Kernel>> {
        self.kernel.upgrade().ok_or(Errno::ENOENT)
    }
    fn process(&self, pid: Pid) -> Result<Arc<Process>> {
        self.kernel()?.thread_group(pid).ok_or(Errno::ESRCH)
    }
    fn node(&self, kind: Kind) -> Arc<dyn Inode> {
        Arc::new(Node { kernel: Weak::clone(&self.kernel), kind })
    }
    fn ino(&self) -> u64 {
        let p = |pid: Pid, n: u64| (pid as u64) << 32 | n;
        match self.kind {
            Kind::Root => 1,
            Kind::SelfLink(t) => 2 + u64::from(t),
            Kind::MountsLink => 4,
            Kind::NetLink => 5,
            Kind::NetDir(pid) => p(pid, 5),
            Kind::NetFile(pid, i) => p(pid, 300 + i as u64),
            Kind::File(i) => 100 + i as u64,
            Kind::Sys(i) => 200 + i as u64,
            Kind::Process(pid) => p(pid, PROCESS_DIRECTORY),
            Kind::FdDir(pid) => p(pid, 2),
            Kind::TaskDir(pid) => p(pid, 3),
            Kind::FdInfoDir(pid) => p(pid, 4),
            Kind::ProcessFile(pid, i) => p(pid, 100 + i as u64),
            Kind::ProcessLink(pid, i) => p(pid, 200 + i as u64),
            Kind::Fd(pid, fd) => p(pid, 0x1000_0000 + fd as u64),
            Kind::FdInfo(pid, fd) => p(pid, 0x2000_0000 + fd as u64),
        }
    }
    fn pid(&self) -> Option<Pid> {
        match self.kind {
            Kind::Process(p)
            | Kind::FdDir(p)
            | Kind::TaskDir(p)
            | Kind::NetDir(p)
            | Kind::NetFile(p, _)
            | Kind::FdInfoDir(p)
            | Kind::ProcessFile(p, _)
            | Kind::ProcessLink(p, _)
            | Kind::Fd(p, _)
            | Kind::FdInfo(p, _) => Some(p),
            _ => None,
        }
    }
    fn text(&self) -> Result<Vec<u8>> {
        let k = self.kernel()?;
        match self.kind {
            Kind::File(i) => Ok(system_file(&k, FILES.get(i).copied().unwrap_or(""))),
            Kind::Sys(i) => Ok(sys_file(&k, SYS.get(i).map_or("", |s| s.0))),
            Kind::NetFile(_, i) => Ok(crate::socket::proc_net(&k.net, NET.get(i).copied().unwrap_or(""))),
            Kind::ProcessFile(pid, i) => {
                process_file(&k, &*self.process(pid)?, pid, PROCESS_FILES.get(i).copied().unwrap_or(""))
            }
            Kind::FdInfo(pid, fd) => {
                let p = self.process(pid)?;
                let f = lock(&p.fds).get(fd).map(Arc::clone).map_err(|_| Errno::ENOENT)?;
                let pos = *lock(&f.pos);
                let mnt = f.location.as_ref().map_or(0, Location::mount_id);
                Ok(format!("pos:\t{pos}\nflags:\t0{:o}\nmnt_id:\t{mnt}\n", f.flags() | 0o100_000).into_bytes())
            }
            _ => Err(Errno::EINVAL),
        }
    }
}

impl Inode for Node {
    fn id(&self) -> InodeId {
        InodeId { dev: DEV, ino: self.ino() }
    }
    fn file_type(&self) -> FileType {
        match self.kind {
            Kind::Root
            | Kind::Process(_)
            | Kind::FdDir(_)
            | Kind::TaskDir(_)
            | Kind::FdInfoDir(_)
            | Kind::NetDir(_) => FileType::Directory,
            Kind::Sys(i) if SYS.get(i).is_some_and(|s| s.1) => FileType::Directory,
            Kind::SelfLink(_) | Kind::MountsLink | Kind::NetLink | Kind::ProcessLink(..) | Kind::Fd(..) => {
                FileType::Symlink
            }
            Kind::File(_) | Kind::Sys(_) | Kind::ProcessFile(..) | Kind::FdInfo(..) | Kind::NetFile(..) => {
                FileType::Regular
            }
        }
    }
    fn stat(&self) -> Result<Stat> {
        let t = Timespec::now();
        let (uid, gid) = match self.pid() {
            Some(pid) => {
                let p = self.process(pid)?;
                let ids = lock(&p.ids);
                (ids.euid, ids.egid)
            }
            None => (0, 0),
        };
        let mode = match self.kind {
            Kind::FdDir(_) | Kind::FdInfoDir(_) => 0o500,
            Kind::Fd(pid, fd) => {
                let p = self.process(pid)?;
                let fds = lock(&p.fds);
                let f = fds.get(fd).map_err(|_| Errno::ENOENT)?;
                0o100 | if f.readable() { 0o400 } else { 0 } | if f.writable() { 0o200 } else { 0 }
            }
            Kind::ProcessFile(_, i) if matches!(PROCESS_FILES.get(i), Some(&"auxv" | &"environ")) => 0o400,
            Kind::ProcessFile(_, i) if matches!(PROCESS_FILES.get(i), Some(&"comm" | &"oom_score_adj")) => 0o644,
            Kind::Sys(i) if matches!(SYS.get(i), Some(("sys/kernel/hostname", _))) => 0o644,
            _ => match self.file_type() {
                FileType::Directory => 0o555,
                FileType::Symlink => 0o777,
                _ => 0o444,
            },
        };
        Ok(Stat {
            dev: DEV,
            ino: self.ino(),
            mode: self.file_type().mode_bits() | mode,
            nlink: if self.file_type() == FileType::Directory { 2 } else { 1 },
            uid,
            gid,
            blksize: 1024,
            atime: t,
            mtime: t,
            ctime: t,
            ..Stat::default()
        })
    }
    fn lookup(&self, name: &[u8]) -> Result<Arc<dyn Inode>> {
        let none = Errno::ENOENT;
        let kind = match self.kind {
            Kind::Root => match name {
                b"self" => Kind::SelfLink(false),
                b"thread-self" => Kind::SelfLink(true),
                b"mounts" => Kind::MountsLink,
                b"net" => Kind::NetLink,
                b"sys" => Kind::Sys(0),
                _ => match (position(FILES, name), number(name)) {
                    (Some(i), _) => Kind::File(i),
                    (None, Some(pid)) => {
                        self.kernel()?.thread_group(pid).ok_or(none)?;
                        Kind::Process(pid)
                    }
                    _ => return Err(none),
                },
            },
            Kind::Process(pid) => {
                self.kernel()?.thread_group(pid).ok_or(none)?;
                match name {
                    b"fd" => Kind::FdDir(pid),
                    b"fdinfo" => Kind::FdInfoDir(pid),
                    b"net" => Kind::NetDir(pid),
                    b"task" => Kind::TaskDir(pid),
                    _ => match (position(PROCESS_FILES, name), position(LINKS, name)) {
                        (Some(i), _) => Kind::ProcessFile(pid, i),
                        (_, Some(i)) => Kind::ProcessLink(pid, i),
                        _ => return Err(none),
                    },
                }
            }
            Kind::TaskDir(pid) => {
                let tid = number(name).ok_or(none)?;
                let same = |p: Arc<Process>| self.process(pid).is_ok_and(|q| Arc::ptr_eq(&p, &q));
                if !self.kernel()?.thread_group(tid).is_some_and(same) {
                    return Err(none);
                }
                Kind::Process(tid)
            }
            Kind::NetDir(pid) => Kind::NetFile(pid, position(NET, name).ok_or(none)?),
            Kind::FdDir(pid) | Kind::FdInfoDir(pid) => {
                let fd = number(name).ok_or(none)?;
                let p = self.process(pid).map_err(|_| none)?;
                lock(&p.fds).get(fd).map_err(|_| none)?;
                if matches!(self.kind, Kind::FdDir(_)) { Kind::Fd(pid, fd) } else { Kind::FdInfo(pid, fd) }
            }
            Kind::Sys(i) => {
                let (dir, is_dir) = SYS.get(i).ok_or(none)?;
                if !is_dir {
                    return Err(Errno::ENOTDIR);
                }
                let want = [dir.as_bytes(), b"/", name].concat();
                Kind::Sys(SYS.iter().position(|s| s.0.as_bytes() == want).ok_or(none)?)
            }
            _ => return Err(Errno::ENOTDIR),
        };
        Ok(self.node(kind))
    }
    fn readdir(&self, cursor: u64, max: usize) -> Result<Vec<DirEntry>> {
        let k = self.kernel()?;
        let mut names: Vec<(String, Kind)> = Vec::new();
        match self.kind {
            Kind::Root => {
                names.extend(FILES.iter().enumerate().map(|(i, n)| ((*n).to_owned(), Kind::File(i))));
                names.push(("mounts".into(), Kind::MountsLink));
                names.push(("net".into(), Kind::NetLink));
                names.push(("self".into(), Kind::SelfLink(false)));
                names.push(("sys".into(), Kind::Sys(0)));
                names.push(("thread-self".into(), Kind::SelfLink(true)));
                names.extend(lock(&k.tree).nodes.keys().map(|p| (p.to_string(), Kind::Process(*p))));
            }
            Kind::Process(p) => {
                names.push(("fd".into(), Kind::FdDir(p)));
                names.push(("fdinfo".into(), Kind::FdInfoDir(p)));
                names.push(("net".into(), Kind::NetDir(p)));
                names.push(("task".into(), Kind::TaskDir(p)));
                names.extend(PROCESS_FILES.iter().enumerate().map(|(i, n)| ((*n).to_owned(), Kind::ProcessFile(p, i))));
                names.extend(LINKS.iter().enumerate().map(|(i, n)| ((*n).to_owned(), Kind::ProcessLink(p, i))));
            }
            Kind::TaskDir(p) => {
                let process = self.process(p)?;
                let others: Vec<Pid> = lock(&process.signals).others.keys().copied().collect();
                let all = std::iter::once(process.pid).chain(others);
                names.extend(all.map(|t| (t.to_string(), Kind::Process(t))));
            }
            Kind::NetDir(p) => {
                names.extend(NET.iter().enumerate().map(|(i, n)| ((*n).to_owned(), Kind::NetFile(p, i))))
            }
            Kind::FdDir(p) | Kind::FdInfoDir(p) => {
                let process = self.process(p)?;
                let fds: Vec<i32> = lock(&process.fds).iter().map(|(fd, _)| fd).collect();
                let info = matches!(self.kind, Kind::FdInfoDir(_));
                names.extend(
                    fds.into_iter()
                        .map(|fd| (fd.to_string(), if info { Kind::FdInfo(p, fd) } else { Kind::Fd(p, fd) })),
                );
            }
            Kind::Sys(i) => {
                let prefix = format!("{}/", SYS.get(i).map_or("", |s| s.0));
                names.extend(SYS.iter().enumerate().filter_map(|(i, (path, _))| {
                    let rest = path.strip_prefix(&prefix)?;
                    (!rest.contains('/')).then(|| (rest.to_owned(), Kind::Sys(i)))
                }));
            }
            _ => return Err(Errno::ENOTDIR),
        }
        let entries = names.into_iter().zip(0..).map(|((n, kind), i)| {
            // Processes, threads and descriptors come and go while somebody reads the directory.
            let place = match kind {
                Kind::Process(p) => PLACES + p as u64,
                Kind::Fd(_, fd) | Kind::FdInfo(_, fd) => fd as u64,
                _ => i,
            };
            let node = Node { kernel: Weak::clone(&self.kernel), kind };
            (place, n.into_bytes(), node.ino(), node.file_type())
        });
        Ok(list_dir(self.ino(), 1, entries, cursor, max))
    }
    fn readlink(&self) -> Result<Vec<u8>> {
        match self.kind {
            Kind::SelfLink(thread) => match CURRENT.get() {
                (0, _) => Err(Errno::ENOENT),
                (p, t) if thread => Ok(format!("{p}/task/{t}").into_bytes()),
                (p, _) => Ok(p.to_string().into_bytes()),
            },
            Kind::MountsLink => Ok(b"self/mounts".to_vec()),
            Kind::NetLink => Ok(b"self/net".to_vec()),
            Kind::ProcessLink(pid, _) => {
                let l = self.follow()?.ok_or(Errno::ENOENT)?;
                let root = self.caller_root(pid);
                Ok(l.path(root.as_ref()))
            }
            Kind::Fd(pid, fd) => {
                let p = self.process(pid)?;
                let f = lock(&p.fds).get(fd).map(Arc::clone).map_err(|_| Errno::ENOENT)?;
                let root = self.caller_root(pid);
                Ok(f.link_text(root.as_ref()))
            }
            _ => Err(Errno::EINVAL),
        }
    }
    fn follow(&self) -> Result<Option<Location>> {
        match self.kind {
            Kind::ProcessLink(pid, i) => {
                let p = self.process(pid)?;
                Ok(Some(match LINKS.get(i) {
                    Some(&"cwd") => lock(&p.fs).cwd.clone(),
                    Some(&"root") => lock(&p.fs).root.clone(),
                    _ => lock(&p.image).exe.clone(),
                }))
            }
            Kind::Fd(pid, fd) => {
                let p = self.process(pid)?;
                let f = lock(&p.fds).get(fd).map(Arc::clone).map_err(|_| Errno::ENOENT)?;
                if let (Some(l), false) = (&f.location, f.as_stream().is_some()) {
                    return Ok(Some(l.clone()));
                }
                let label = f.link_text(None);
                let node: Arc<dyn Inode> = Arc::new(StreamNode { file: f });
                Ok(Some(Location::anonymous(node, &label)))
            }
            _ => Ok(None),
        }
    }
    fn open(&self, _: Access) -> Result<Option<Arc<dyn Inode>>> {
        if self.file_type() != FileType::Regular {
            return Ok(None);
        }
        Ok(Some(Arc::new(Text {
            bytes: self.text()?,
            ino: self.ino(),
            kernel: Weak::clone(&self.kernel),
            kind: self.kind,
        })))
    }
    fn truncate(&self, _: u64) -> Result<()> {
        Ok(())
    }
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize> {
        copy(&self.text()?, offset, buf)
    }
    fn statfs(&self) -> Result<StatFs> {
        Ok(StatFs { fs_type: 0x9fa0, bsize: 4096, frsize: 4096, namelen: 255, ..StatFs::default() })
    }
}

impl Node {
    /// Root directory of the process that asks.
    fn caller_root(&self, _: Pid) -> Option<Location> {
        let p = self.process(CURRENT.get().0).ok()?;
        let root = lock(&p.fs).root.clone();
        Some(root)
    }
}

fn copy(bytes: &[u8], offset: u64, buf: &mut [u8]) -> Result<usize> {
    let rest = usize::try_from(offset).ok().and_then(|o| bytes.get(o..)).unwrap_or_default();
    let n = rest.len().min(buf.len());
    if let (Some(d), Some(s)) = (buf.get_mut(..n), rest.get(..n)) {
        d.copy_from_slice(s);
    }
    Ok(n)
}

/// A generated text, as it was when opened.
struct Text {
    bytes: Vec<u8>,
    ino: u64,
    kernel: Weak<Kernel>,
    kind: Kind,
}

impl Inode for Text {
    fn id(&self) -> InodeId {
        InodeId { dev: DEV, ino: self.ino }
    }
    fn file_type(&self) -> FileType {
        FileType::Regular
    }
    fn stat(&self) -> Result<Stat> {
        Node { kernel: Weak::clone(&self.kernel), kind: self.kind }.stat()
    }
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize> {
        copy(&self.bytes, offset, buf)
    }
    fn write_at(&self, _: u64, data: &[u8]) -> Result<usize> {
        let k = self.kernel.upgrade().ok_or(Errno::EIO)?;
        let trimmed: Vec<u8> = data.iter().copied().take_while(|&c| c != b'\n').collect();
        match self.kind {
            Kind::Sys(i) if SYS.get(i).is_some_and(|s| s.0 == "sys/kernel/hostname") => {
                *lock(&k.hostname) = trimmed.into_iter().take(64).collect();
            }
            Kind::ProcessFile(pid, i) if PROCESS_FILES.get(i) == Some(&"comm") => {
                let p = k.thread_group(pid).ok_or(Errno::ESRCH)?;
                let name = trimmed.into_iter().take(15).collect();
                if pid == p.pid {
                    lock(&p.image).comm = name;
                } else if let Some(own) = lock(&p.signals).others.get(&pid) {
                    *lock(&own.thread.comm) = name;
                }
            }
            // Accepted: nothing is killed by score here.
            Kind::ProcessFile(_, i) if PROCESS_FILES.get(i) == Some(&"oom_score_adj") => {}
            _ => return Err(Errno::EACCES),
        }
        Ok(data.len())
    }
    fn truncate(&self, _: u64) -> Result<()> {
        Ok(())
    }
}

/// What /proc/PID/fd/N leads to when that is no file.
pub struct StreamNode {
    file: Arc<OpenFile>,
}

impl StreamNode {
    /// Opening it: another end of a pipe; for the rest, the same object.
    pub fn reopen(&self, flags: u32) -> Result<Arc<OpenFile>> {
        let Object::Stream(s) = &self.file.object else { return Err(Errno::ENXIO) };
        if s.stat()?.file_type() == FileType::Socket {
            return Err(Errno::ENXIO);
        }
        if let Some(p) = s.as_any().downcast_ref::<PipeEnd>() {
            let end = p.pipe.end(flags & 3 != 1, flags & 3 != 0);
            return Ok(OpenFile::stream(end, flags));
        }
        Ok(OpenFile::new(Object::Stream(Arc::clone(s)), flags, self.file.location.clone()))
    }
}

impl Inode for StreamNode {
    fn id(&self) -> InodeId {
        let s = self.file.stat().unwrap_or_default();
        InodeId { dev: s.dev, ino: s.ino }
    }
    fn file_type(&self) -> FileType {
        self.file.stat().map_or(FileType::Fifo, |s| s.file_type())
    }
    fn stat(&self) -> Result<Stat> {
        let s = self.file.stat()?;
        // Whoever has the descriptor may open it again.
        Ok(Stat { mode: s.mode | 0o666, ..s })
    }
    fn truncate(&self, _: u64) -> Result<()> {
        // `> /dev/stdout`: what is there stays, as with a pipe.
        Ok(())
    }
}

/// Bytes of memory: all, and free.
pub struct MemoryInfo {
    pub total: u64,
    pub free: u64,
}

/// What the container has: its limit, or the host's memory.
pub fn memory(k: &Kernel) -> MemoryInfo {
    let s = rustix::system::sysinfo();
    let unit = u64::from(s.mem_unit.max(1));
    match k.budget.limit() {
        Some(l) => MemoryInfo { total: l, free: l.saturating_sub(k.budget.used()) },
        None => MemoryInfo { total: s.totalram as u64 * unit, free: s.freeram as u64 * unit },
    }
}

fn system_file(k: &Kernel, name: &str) -> Vec<u8> {
    let mut s = String::new();
    match name {
        "cpuinfo" => {
            for i in 0..cpus() {
                let _ = write!(
                    s,
                    "processor\t: {i}\nvendor_id\t: GenuineIntel\ncpu family\t: 6\nmodel\t\t: 15\nmodel name\t: Megalith recompiled x86-64, SSE2\n\
                     stepping\t: 1\ncpu MHz\t\t: 1000.000\ncache size\t: 1024 KB\nfpu\t\t: yes\nfpu_exception\t: yes\ncpuid level\t: 4\nwp\t\t: yes\n\
                     flags\t\t: fpu tsc msr pae cx8 pge cmov mmx fxsr sse sse2 syscall nx lm lahf_lm\nbogomips\t: 2000.00\nclflush size\t: 64\n\
                     cache_alignment\t: 64\naddress sizes\t: 32 bits physical, 48 bits virtual\n\n"
                );
            }
        }
        "meminfo" => {
            let m = memory(k);
            let (t, f) = (m.total / 1024, m.free / 1024);
            let _ = write!(
                s,
                "MemTotal:       {t:8} kB\nMemFree:        {f:8} kB\nMemAvailable:   {f:8} kB\nBuffers:               0 kB\nCached:                0 kB\n\
                 SwapCached:            0 kB\nActive:                0 kB\nInactive:              0 kB\nSwapTotal:             0 kB\nSwapFree:              0 kB\n\
                 Dirty:                 0 kB\nWriteback:             0 kB\nAnonPages:             0 kB\nMapped:                0 kB\nShmem:                 0 kB\n\
                 Slab:                  0 kB\n"
            );
        }
        "uptime" => {
            let up = k.started.elapsed().as_secs_f64();
            let _ = writeln!(s, "{up:.2} {:.2}", up * cpus() as f64);
        }
        "loadavg" => {
            let tree = lock(&k.tree);
            let running = tree.nodes.values().filter(|n| n.state == State::Running).count();
            let last = tree.nodes.keys().last().copied().unwrap_or(0);
            let _ = writeln!(s, "0.00 0.00 0.00 {running}/{} {last}", tree.nodes.len());
        }
        "version" => {
            let _ = writeln!(s, "Linux version {RELEASE} (megalith) {VERSION}");
        }
        "stat" => {
            let tree = lock(&k.tree);
            let cpu: u64 =
                tree.nodes.values().map(|n| n.process.cpu_ns.load(Ordering::Relaxed)).sum::<u64>() / 10_000_000;
            let idle = (k.started.elapsed().as_millis() as u64 / 10 * cpus() as u64).saturating_sub(cpu);
            let _ = writeln!(s, "cpu  {cpu} 0 0 {idle} 0 0 0 0 0 0");
            for i in 0..cpus() {
                let _ = writeln!(s, "cpu{i} {} 0 0 {} 0 0 0 0 0 0", cpu / cpus() as u64, idle / cpus() as u64);
            }
            let now = Timespec::now().sec as u64;
            let boot = now.saturating_sub(k.started.elapsed().as_secs());
            let running = tree.nodes.values().filter(|n| n.state == State::Running).count();
            let _ = writeln!(
                s,
                "intr 0\nctxt 0\nbtime {boot}\nprocesses {}\nprocs_running {running}\nprocs_blocked 0",
                tree.forks + 1
            );
        }
        "filesystems" => s.push_str("nodev\toverlay\nnodev\ttmpfs\nnodev\tproc\nnodev\tdevpts\n"),
        "partitions" => s.push_str("major minor  #blocks  name\n\n"),
        "swaps" => s.push_str("Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n"),
        "devices" => s.push_str(
            "Character devices:\n  1 mem\n  5 /dev/tty\n  5 /dev/console\n  5 /dev/ptmx\n136 pts\n\nBlock devices:\n",
        ),
        "cmdline" => s.push('\n'),
        "vmstat" => s.push_str("nr_free_pages 0\n"),
        _ => {}
    }
    s.into_bytes()
}

fn sys_file(k: &Kernel, path: &str) -> Vec<u8> {
    let line = |s: &str| format!("{s}\n").into_bytes();
    match path {
        "sys/kernel/hostname" => {
            let mut h = lock(&k.hostname).clone();
            h.push(b'\n');
            h
        }
        "sys/kernel/osrelease" => line(RELEASE),
        "sys/kernel/ostype" => line("Linux"),
        "sys/kernel/version" => line(VERSION),
        "sys/kernel/pid_max" => line(&crate::process::PID_MAX.to_string()),
        "sys/kernel/random/entropy_avail" => line("256"),
        "sys/kernel/random/uuid" => line(&uuid()),
        "sys/kernel/random/boot_id" => {
            static BOOT: std::sync::OnceLock<String> = std::sync::OnceLock::new();
            line(BOOT.get_or_init(uuid))
        }
        "sys/fs/file-max" => line("65536"),
        "sys/vm/overcommit_memory" => line("1"),
        _ => Vec::new(),
    }
}

fn uuid() -> String {
    let mut b = [0u8; 16];
    let _ = crate::devfs::fill_random(&mut b);
    b[6] = b[6] & 0xf | 0x40;
    b[8] = b[8] & 0x3f | 0x80;
    let h: String = b.iter().map(|x| format!("{x:02x}")).collect();
    format!("{}-{}-{}-{}-{}", &h[..8], &h[8..12], &h[12..16], &h[16..20], &h[20..])
}

/// A file of process `p`, in the directory of its thread `tid`.
fn process_file(k: &Kernel, p: &Process, tid: Pid, name: &str) -> Result<Vec<u8>> {
    let mut s = String::new();
    match name {
        "cmdline" => return Ok(zombie_or(k, p, || lock(&p.image).cmdline.to_vec())),
        "environ" => return Ok(zombie_or(k, p, || lock(&p.image).environ.to_vec())),
        "auxv" => return Ok(lock(&p.image).auxv.to_vec()),
        "comm" => {
            let mut c = thread_name(p, tid);
            c.push(b'\n');
            return Ok(c);
        }
        "cgroup" => s.push_str("0::/\n"),
        "oom_score_adj" => s.push_str("0\n"),
        "limits" => limits(p, &mut s),
        "maps" => maps(p, &mut s),
        "mounts" => {
            for m in k.vfs.mounts() {
                let opts = if m.read_only { "ro" } else { "rw" };
                let _ = writeln!(s, "{} {} {} {opts},relatime 0 0", m.fs_type, escape(&m.path), m.fs_type);
            }
        }
        "mountinfo" => {
            for m in k.vfs.mounts() {
                let opts = if m.read_only { "ro" } else { "rw" };
                let _ = writeln!(
                    s,
                    "{} 0 {}:{} / {} {opts},relatime - {} {} {opts}",
                    m.id,
                    m.dev >> 8 & 0xfff,
                    m.dev & 0xff,
                    escape(&m.path),
                    m.fs_type,
                    m.fs_type
                );
            }
        }
        "stat" => stat(k, p, tid, &mut s),
        "statm" => {
            let (size, rss) = sizes(p);
            let _ = writeln!(s, "{} {} 0 0 0 {} 0", size / PAGE, rss / PAGE, rss / PAGE);
        }
        "status" => status(k, p, tid, &mut s),
        _ => return Err(Errno::ENOENT),
    }
    Ok(s.into_bytes())
}

fn thread_name(p: &Process, tid: Pid) -> Vec<u8> {
    let thread = Arc::clone(&lock(&p.signals).own(tid).thread);
    p.thread_name(&thread)
}

/// A zombie has no memory to read from.
fn zombie_or(k: &Kernel, p: &Process, f: impl FnOnce() -> Vec<u8>) -> Vec<u8> {
    let zombie = lock(&k.tree).nodes.get(&p.pid).is_none_or(|n| matches!(n.state, State::Zombie(_)));
    if zombie { Vec::new() } else { f() }
}

fn escape(path: &[u8]) -> String {
    path.iter()
        .map(|&c| match c {
            b' ' | b'\t' | b'\n' | b'\\' => format!("\\{c:03o}"),
            c => String::from_utf8_lossy(&[c]).into_owned(),
        })
        .collect()
}

/// Mapped and resident bytes.
fn sizes(p: &Process) -> (u64, u64) {
    let mm = lock(&p.mm).clone();
    mm.map_or((0, 0), |mm| {
        let s = lock(&mm);
        (s.total(), s.resident())
    })
}

fn state_letter(k: &Kernel, p: &Process, tid: Pid) -> (char, &'static str, Pid, Pid, Pid, u32) {
    let tree = lock(&k.tree);
    let Some(n) = tree.nodes.get(&p.pid) else { return ('X', "dead", 0, 0, 0, 0) };
    let (c, text) = match n.state {
        State::Zombie(_) => ('Z', "zombie"),
        State::Stopped => ('T', "stopped"),
        State::Running if CURRENT.get() == (p.pid, tid) => ('R', "running"),
        State::Running => ('S', "sleeping"),
    };
    let tty = tree.terminals.get(&n.sid).map_or(0, |t| t.rdev() as u32);
    (c, text, n.ppid, n.pgid, n.sid, tty)
}

fn stat(k: &Kernel, p: &Process, tid: Pid, s: &mut String) {
    let (state, _, ppid, pgid, sid, tty) = state_letter(k, p, tid);
    let (size, rss) = sizes(p);
    let image = lock(&p.image).clone();
    let comm = String::from_utf8_lossy(&thread_name(p, tid)).into_owned();
    let tick = |ns: u64| ns / 10_000_000;
    let (cpu, kids) = (tick(p.cpu_ns.load(Ordering::Relaxed)), tick(p.children_cpu_ns.load(Ordering::Relaxed)));
    let start = p.started.saturating_duration_since(k.started).as_millis() / 10;
    let nice = p.nice.load(Ordering::Relaxed);
    let fg = lock(&k.tree).terminals.get(&sid).map_or(-1, |t| t.foreground_group());
    let (pending, mask) = {
        let sig = lock(&p.signals);
        (sig.pending(tid), sig.own(tid).mask)
    };
    let threads = p.thread_count();
    let _ = writeln!(
        s,
        "{} ({comm}) {state} {ppid} {pgid} {sid} {tty} {fg} 4194304 0 0 0 0 {cpu} 0 {kids} 0 {} {nice} {threads} 0 {start} {size} {} 18446744073709551615 0 0 {} 0 0 {pending} {mask} 0 0 0 0 0 17 0 0 0 0 0 0 0 0 0 0 0 0 0 0",
        tid,
        20 + nice,
        rss / PAGE,
        image.start_stack,
    );
}

fn status(k: &Kernel, p: &Process, tid: Pid, s: &mut String) {
    let (state, text, ppid, _, _, _) = state_letter(k, p, tid);
    let (size, rss) = sizes(p);
    let comm = String::from_utf8_lossy(&thread_name(p, tid)).into_owned();
    let ids = lock(&p.ids).clone();
    let umask = lock(&p.fs).umask;
    let fds = lock(&p.fds).iter().count();
    let groups: String = ids.groups.iter().map(|g| format!("{g} ")).collect();
    let (affinity, pending, shared, mask, ignored, caught) = {
        let sig = lock(&p.signals);
        let (mut ign, mut cgt) = (0u64, 0u64);
        for n in 1..=64 {
            match sig.action(n).handler {
                0 => {}
                1 => ign |= 1 << (n - 1),
                _ => cgt |= 1 << (n - 1),
            }
        }
        let own = sig.own(tid);
        (own.thread.affinity.load(Ordering::Relaxed), own.pending.set, sig.shared.set, own.mask, ign, cgt)
    };
    let caps = if ids.privileged() { crate::sys::CAPABILITIES } else { 0 };
    let _ = write!(
        s,
        "Name:\t{comm}\nUmask:\t{umask:04o}\nState:\t{state} ({text})\nTgid:\t{pid}\nNgid:\t0\nPid:\t{tid}\nPPid:\t{ppid}\nTracerPid:\t0\n\
         Uid:\t{}\t{}\t{}\t{}\nGid:\t{}\t{}\t{}\t{}\nFDSize:\t{}\nGroups:\t{groups}\nVmPeak:\t{:8} kB\nVmSize:\t{:8} kB\nVmLck:\t       0 kB\nVmHWM:\t{:8} kB\n\
         VmRSS:\t{:8} kB\nThreads:\t{threads}\nSigQ:\t0/4096\nSigPnd:\t{pending:016x}\nShdPnd:\t{shared:016x}\nSigBlk:\t{mask:016x}\nSigIgn:\t{ignored:016x}\nSigCgt:\t{caught:016x}\n\
         CapInh:\t{:016x}\nCapPrm:\t{caps:016x}\nCapEff:\t{caps:016x}\nCapBnd:\t{:016x}\nCapAmb:\t{:016x}\nNoNewPrivs:\t{}\nSeccomp:\t0\n\
         Cpus_allowed:\t{:x}\nCpus_allowed_list:\t{}\nvoluntary_ctxt_switches:\t0\nnonvoluntary_ctxt_switches:\t0\n",
        ids.ruid,
        ids.euid,
        ids.suid,
        ids.fsuid,
        ids.rgid,
        ids.egid,
        ids.sgid,
        ids.fsgid,
        fds.next_multiple_of(64).max(64),
        size / 1024,
        size / 1024,
        rss / 1024,
        rss / 1024,
        0,
        crate::sys::CAPABILITIES,
        0,
        u8::from(ids.no_new_privs),
        affinity,
        ranges(affinity),
        pid = p.pid,
        threads = p.thread_count(),
    );
}

/// The bits of a mask as `0-2,5`.
fn ranges(mask: u64) -> String {
    let mut s = String::new();
    let mut at = 0;
    while at < 64 {
        let n = (mask >> at).trailing_ones();
        if n > 0 {
            let comma = if s.is_empty() { "" } else { "," };
            let _ = if n == 1 { write!(s, "{comma}{at}") } else { write!(s, "{comma}{at}-{}", at + n - 1) };
        }
        at += n + 1;
    }
    s
}

fn limits(p: &Process, s: &mut String) {
    const NAMES: [(&str, &str, usize); 16] = [
        ("Max cpu time", "seconds", 0),
        ("Max file size", "bytes", 1),
        ("Max data size", "bytes", 2),
        ("Max stack size", "bytes", 3),
        ("Max core file size", "bytes", 4),
        ("Max resident set", "bytes", 5),
        ("Max processes", "processes", 6),
        ("Max open files", "files", 7),
        ("Max locked memory", "bytes", 8),
        ("Max address space", "bytes", 9),
        ("Max file locks", "locks", 10),
        ("Max pending signals", "signals", 11),
        ("Max msgqueue size", "bytes", 12),
        ("Max nice priority", "", 13),
        ("Max realtime priority", "", 14),
        ("Max realtime timeout", "us", 15),
    ];
    let r = *lock(&p.rlimits);
    let _ = writeln!(s, "{:<25} {:<20} {:<20} {:<10}", "Limit", "Soft Limit", "Hard Limit", "Units");
    let show = |v: u64| if v == u64::MAX { "unlimited".to_owned() } else { v.to_string() };
    for (name, unit, i) in NAMES {
        let (soft, hard) = r.get(i).copied().unwrap_or_default();
        let _ = writeln!(s, "{name:<25} {:<20} {:<20} {unit:<10}", show(soft), show(hard));
    }
}

fn maps(p: &Process, s: &mut String) {
    let mm = lock(&p.mm).clone();
    let Some(mm) = mm else { return };
    for (start, v) in lock(&mm).areas() {
        let flag = |bit: Prot, c: char| if v.prot.has(bit) { c } else { '-' };
        let (shared, offset, ino, name) = match &v.backing {
            b if b.is_anonymous() => (false, 0, 0, String::new()),
            Backing::Anon => (false, 0, 0, String::new()),
            Backing::File { source, offset, shared } => {
                (*shared, *offset, source.ino, String::from_utf8_lossy(&source.path).into_owned())
            }
        };
        let name = match v.label {
            Label::Heap => "[heap]".to_owned(),
            Label::Stack => "[stack]".to_owned(),
            Label::None => name,
        };
        let line = format!(
            "{start:08x}-{:08x} {}{}{}{} {offset:08x} 00:{:02x} {ino} ",
            v.end,
            flag(Prot::READ, 'r'),
            flag(Prot::WRITE, 'w'),
            flag(Prot::EXEC, 'x'),
            if shared { 's' } else { 'p' },
            u8::from(ino != 0),
        );
        if name.is_empty() {
            let _ = writeln!(s, "{line}");
        } else {
            let _ = writeln!(s, "{line:<73}{name}");
        }
    }
}
