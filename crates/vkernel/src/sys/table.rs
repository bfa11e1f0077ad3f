//! The table of system calls.

use super::{Ctx, event, fs, io, mem, net, pidfd, proc, sig, time};
use crate::errno::Result;

/// How much of a call's Linux behaviour is there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Support {
    /// What programs use of it.
    Full,
    /// Some of it; the note says what is missing.
    Partial,
    /// Answers in a fixed way; the note says how.
    Stub,
}

impl Support {
    /// As the documents say it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Support::Full => "full",
            Support::Partial => "partial",
            Support::Stub => "stub",
        }
    }
}

/// One system call.
pub struct SyscallEntry {
    /// Number on x86-64.
    pub number: u16,
    pub name: &'static str,
    /// Arguments as `name:kind`, separated by spaces. Kinds: `int` `uint` `hex` `oct` `ptr` `str` `strv` `sig` `fd`.
    pub args: &'static str,
    pub support: Support,
    /// What is missing or how it answers; may be empty.
    pub note: &'static str,
    pub(crate) handler: fn(&mut Ctx<'_>) -> Result<i64>,
}

macro_rules! table {
    ($($number:literal $name:ident ($args:literal) $support:ident $handler:path $(, $note:literal)?;)*) => {
        static TABLE: &[SyscallEntry] = &[$(SyscallEntry {
            number: $number,
            name: stringify!($name),
            args: $args,
            support: Support::$support,
            note: concat!($($note)?),
            handler: $handler,
        },)*];
    };
}

table! {
    0 read("fd:fd buf:ptr count:uint") Full io::read;
    1 write("fd:fd buf:ptr count:uint") Full io::write;
    2 open("path:str flags:hex mode:oct") Full fs::open;
    3 close("fd:fd") Full io::close;
    4 stat("path:str buf:ptr") Full fs::stat;
    5 fstat("fd:fd buf:ptr") Full fs::fstat;
    6 lstat("path:str buf:ptr") Full fs::lstat;
    7 poll("fds:ptr nfds:uint timeout:int") Full io::poll;
    8 lseek("fd:fd offset:int whence:int") Full io::lseek;
    9 mmap("addr:ptr length:uint prot:hex flags:hex fd:fd offset:hex") Partial mem::mmap, "PROT_EXEC gives EACCES; addresses below 4 GiB; no huge pages";
    10 mprotect("addr:ptr length:uint prot:hex") Partial mem::mprotect, "PROT_EXEC only on a program's own unchanged text";
    11 munmap("addr:ptr length:uint") Full mem::munmap;
    12 brk("addr:ptr") Full mem::brk;
    13 rt_sigaction("sig:sig act:ptr old:ptr size:uint") Full sig::rt_sigaction;
    14 rt_sigprocmask("how:int set:ptr old:ptr size:uint") Full sig::rt_sigprocmask;
    15 rt_sigreturn("") Partial sig::rt_sigreturn, "returning from the handler of a memory fault kills the process";
    16 ioctl("fd:fd request:hex arg:ptr") Partial io::ioctl, "terminals, FIONREAD, FIONBIO, FIOCLEX, FIONCLEX, questions about network interfaces; all others ENOTTY";
    17 pread64("fd:fd buf:ptr count:uint offset:int") Full io::pread64;
    18 pwrite64("fd:fd buf:ptr count:uint offset:int") Full io::pwrite64;
    19 readv("fd:fd iov:ptr count:uint") Full io::readv;
    20 writev("fd:fd iov:ptr count:uint") Full io::writev;
    21 access("path:str mode:oct") Full fs::access;
    22 pipe("fds:ptr") Full io::pipe;
    23 select("n:int read:ptr write:ptr except:ptr timeout:ptr") Partial io::select, "does not write the time left back";
    24 sched_yield("") Full proc::sched_yield;
    25 mremap("old:ptr old_size:uint new_size:uint flags:hex new:ptr") Full mem::mremap;
    26 msync("addr:ptr length:uint flags:hex") Full mem::msync;
    27 mincore("addr:ptr length:uint vec:ptr") Full mem::mincore;
    28 madvise("addr:ptr length:uint advice:int") Partial mem::madvise, "MADV_DONTNEED and MADV_REMOVE act, other advice is accepted without effect";
    32 dup("fd:fd") Full io::dup;
    33 dup2("old:fd new:fd") Full io::dup2;
    34 pause("") Full sig::pause;
    35 nanosleep("time:ptr left:ptr") Full time::nanosleep;
    36 getitimer("which:int value:ptr") Partial time::getitimer, "ITIMER_REAL only";
    37 alarm("seconds:uint") Full time::alarm;
    38 setitimer("which:int new:ptr old:ptr") Partial time::setitimer, "ITIMER_REAL only, EINVAL for others";
    39 getpid("") Full proc::getpid;
    40 sendfile("out:fd in:fd offset:ptr count:uint") Full io::sendfile;
    41 socket("family:int type:hex protocol:int") Partial net::socket, "AF_INET and AF_INET6 (TCP and UDP, inside of the container), AF_UNIX, AF_NETLINK (interfaces); no raw sockets";
    42 connect("fd:fd addr:ptr len:uint") Full net::connect, "outside of the container TCP to what `--net` names, ENETUNREACH otherwise";
    43 accept("fd:fd addr:ptr len:ptr") Full net::accept;
    44 sendto("fd:fd buf:ptr len:uint flags:hex addr:ptr alen:uint") Partial net::sendto, "no urgent data";
    45 recvfrom("fd:fd buf:ptr len:uint flags:hex addr:ptr alen:ptr") Partial net::recvfrom, "no urgent data, no error queue";
    46 sendmsg("fd:fd msg:ptr flags:hex") Partial net::sendmsg, "as sendto; SCM_RIGHTS, SCM_CREDENTIALS";
    47 recvmsg("fd:fd msg:ptr flags:hex") Partial net::recvmsg, "as recvfrom; SCM_RIGHTS, SCM_CREDENTIALS, packet information";
    48 shutdown("fd:fd how:int") Full net::shutdown;
    49 bind("fd:fd addr:ptr len:uint") Full net::bind, "loopback addresses";
    50 listen("fd:fd backlog:int") Full net::listen;
    51 getsockname("fd:fd addr:ptr len:ptr") Full net::getsockname;
    52 getpeername("fd:fd addr:ptr len:ptr") Full net::getpeername;
    53 socketpair("family:int type:hex protocol:int fds:ptr") Full net::socketpair;
    54 setsockopt("fd:fd level:int name:int value:ptr len:uint") Partial net::setsockopt, "what needs a network is only kept to be read back; no filters, no multicast groups";
    55 getsockopt("fd:fd level:int name:int value:ptr len:ptr") Partial net::getsockopt, "as setsockopt; TCP_INFO has the state only";
    56 clone("flags:hex stack:ptr parent_tid:ptr child_tid:ptr tls:ptr") Partial proc::clone, "processes, vfork-like children, and threads that share files and directories, too; namespaces EPERM";
    57 fork("") Full proc::fork;
    58 vfork("") Full proc::vfork;
    59 execve("path:str argv:strv envp:ptr") Full proc::execve, "every start passes the gate: EACCES for what the manifest does not name";
    60 exit("status:int") Full proc::exit;
    61 wait4("pid:int status:ptr options:hex rusage:ptr") Full proc::wait4;
    62 kill("pid:int sig:sig") Full sig::kill;
    63 uname("buf:ptr") Full proc::uname;
    72 fcntl("fd:fd cmd:int arg:hex") Partial io::fcntl, "no signal-driven I/O, no leases";
    73 flock("fd:fd op:int") Full fs::flock;
    74 fsync("fd:fd") Full fs::fsync;
    75 fdatasync("fd:fd") Full fs::fdatasync;
    76 truncate("path:str length:int") Full fs::truncate;
    77 ftruncate("fd:fd length:int") Full fs::ftruncate;
    78 getdents("fd:fd buf:ptr count:uint") Full fs::getdents_old;
    79 getcwd("buf:ptr size:uint") Full fs::getcwd;
    80 chdir("path:str") Full fs::chdir;
    81 fchdir("fd:fd") Full fs::fchdir;
    82 rename("old:str new:str") Full fs::rename;
    83 mkdir("path:str mode:oct") Full fs::mkdir;
    84 rmdir("path:str") Full fs::rmdir;
    85 creat("path:str mode:oct") Full fs::creat;
    86 link("old:str new:str") Full fs::link;
    87 unlink("path:str") Full fs::unlink;
    88 symlink("target:str path:str") Full fs::symlink;
    89 readlink("path:str buf:ptr size:uint") Full fs::readlink;
    90 chmod("path:str mode:oct") Full fs::chmod;
    91 fchmod("fd:fd mode:oct") Full fs::fchmod;
    92 chown("path:str uid:int gid:int") Full fs::chown;
    93 fchown("fd:fd uid:int gid:int") Full fs::fchown;
    94 lchown("path:str uid:int gid:int") Full fs::lchown;
    95 umask("mask:oct") Full fs::umask_call;
    96 gettimeofday("tv:ptr tz:ptr") Full time::gettimeofday;
    97 getrlimit("resource:int limit:ptr") Full proc::getrlimit;
    98 getrusage("who:int usage:ptr") Partial proc::getrusage, "user time only; ru_maxrss is the most that was there at calls that looked";
    99 sysinfo("info:ptr") Full proc::sysinfo;
    100 times("buf:ptr") Partial time::times, "user time only";
    101 ptrace("request:int pid:int addr:ptr data:ptr") Stub proc::eperm, "EPERM";
    102 getuid("") Full proc::getuid;
    103 syslog("type:int buf:ptr len:int") Stub proc::syslog, "an empty log";
    104 getgid("") Full proc::getgid;
    105 setuid("uid:int") Full proc::setuid;
    106 setgid("gid:int") Full proc::setgid;
    107 geteuid("") Full proc::geteuid;
    108 getegid("") Full proc::getegid;
    109 setpgid("pid:int pgid:int") Full proc::setpgid;
    110 getppid("") Full proc::getppid;
    111 getpgrp("") Full proc::getpgrp;
    112 setsid("") Full proc::setsid;
    113 setreuid("ruid:int euid:int") Full proc::setreuid;
    114 setregid("rgid:int egid:int") Full proc::setregid;
    115 getgroups("size:int list:ptr") Full proc::getgroups;
    116 setgroups("size:int list:ptr") Full proc::setgroups;
    117 setresuid("ruid:int euid:int suid:int") Full proc::setresuid;
    118 getresuid("ruid:ptr euid:ptr suid:ptr") Full proc::getresuid;
    119 setresgid("rgid:int egid:int sgid:int") Full proc::setresgid;
    120 getresgid("rgid:ptr egid:ptr sgid:ptr") Full proc::getresgid;
    121 getpgid("pid:int") Full proc::getpgid;
    122 setfsuid("uid:int") Full proc::setfsuid;
    123 setfsgid("gid:int") Full proc::setfsgid;
    124 getsid("pid:int") Full proc::getsid;
    125 capget("header:ptr data:ptr") Partial proc::capget, "root has a container's usual set";
    126 capset("header:ptr data:ptr") Partial proc::capset, "dropping has no effect";
    127 rt_sigpending("set:ptr size:uint") Full sig::rt_sigpending;
    128 rt_sigtimedwait("set:ptr info:ptr timeout:ptr size:uint") Full sig::rt_sigtimedwait;
    129 rt_sigqueueinfo("pid:int sig:sig info:ptr") Full sig::rt_sigqueueinfo;
    130 rt_sigsuspend("set:ptr size:uint") Full sig::rt_sigsuspend;
    131 sigaltstack("new:ptr old:ptr") Full sig::sigaltstack;
    132 utime("path:str times:ptr") Full fs::utime;
    133 mknod("path:str mode:oct dev:hex") Full fs::mknod;
    135 personality("persona:hex") Stub proc::personality, "PER_LINUX only";
    137 statfs("path:str buf:ptr") Full fs::statfs;
    138 fstatfs("fd:fd buf:ptr") Full fs::fstatfs;
    140 getpriority("which:int who:int") Full proc::getpriority;
    141 setpriority("which:int who:int prio:int") Partial proc::setpriority, "recorded, without effect on scheduling";
    142 sched_setparam("pid:int param:ptr") Partial proc::sched_setparam, "SCHED_OTHER only";
    143 sched_getparam("pid:int param:ptr") Partial proc::sched_getparam, "SCHED_OTHER only";
    144 sched_setscheduler("pid:int policy:int param:ptr") Partial proc::sched_setscheduler, "EPERM for real-time policies";
    145 sched_getscheduler("pid:int") Partial proc::sched_getscheduler, "always SCHED_OTHER";
    146 sched_get_priority_max("policy:int") Full proc::sched_get_priority_max;
    147 sched_get_priority_min("policy:int") Full proc::sched_get_priority_min;
    148 sched_rr_get_interval("pid:int interval:ptr") Full proc::sched_rr_get_interval;
    149 mlock("addr:ptr length:uint") Stub mem::mlock, "checks the range";
    150 munlock("addr:ptr length:uint") Stub mem::mlock, "checks the range";
    151 mlockall("flags:hex") Stub proc::nothing, "no effect";
    152 munlockall("") Stub proc::nothing, "no effect";
    155 pivot_root("new:str old:str") Stub proc::eperm, "EPERM";
    157 prctl("option:int arg2:hex arg3:hex arg4:hex arg5:hex") Partial proc::prctl, "names, dumpable, no_new_privs, death signal, timer slack";
    158 arch_prctl("code:hex addr:ptr") Full proc::arch_prctl;
    159 adjtimex("buf:ptr") Stub proc::eperm, "EPERM";
    160 setrlimit("resource:int limit:ptr") Full proc::setrlimit;
    161 chroot("path:str") Full fs::chroot;
    162 sync("") Full proc::nothing;
    163 acct("path:str") Stub proc::eperm, "EPERM";
    164 settimeofday("tv:ptr tz:ptr") Stub proc::eperm, "EPERM";
    165 mount("source:str target:str type:str flags:hex data:ptr") Stub proc::eperm, "EPERM";
    166 umount2("target:str flags:hex") Stub proc::eperm, "EPERM";
    167 swapon("path:str flags:hex") Stub proc::eperm, "EPERM";
    168 swapoff("path:str") Stub proc::eperm, "EPERM";
    169 reboot("magic:hex magic2:hex cmd:hex arg:ptr") Stub proc::eperm, "EPERM";
    170 sethostname("name:str len:uint") Full proc::sethostname;
    171 setdomainname("name:str len:uint") Full proc::setdomainname;
    172 iopl("level:int") Stub proc::eperm, "EPERM";
    173 ioperm("from:hex num:hex on:int") Stub proc::eperm, "EPERM";
    175 init_module("image:ptr len:uint args:str") Stub proc::eperm, "EPERM";
    176 delete_module("name:str flags:hex") Stub proc::eperm, "EPERM";
    186 gettid("") Full proc::gettid;
    187 readahead("fd:fd offset:int count:uint") Full fs::readahead;
    188 setxattr("path:str name:str value:ptr size:uint flags:hex") Partial fs::setxattr, "what the file system keeps";
    189 lsetxattr("path:str name:str value:ptr size:uint flags:hex") Partial fs::lsetxattr, "what the file system keeps";
    190 fsetxattr("fd:fd name:str value:ptr size:uint flags:hex") Partial fs::fsetxattr, "what the file system keeps";
    191 getxattr("path:str name:str value:ptr size:uint") Partial fs::getxattr, "what the file system keeps";
    192 lgetxattr("path:str name:str value:ptr size:uint") Partial fs::lgetxattr, "what the file system keeps";
    193 fgetxattr("fd:fd name:str value:ptr size:uint") Partial fs::fgetxattr, "what the file system keeps";
    194 listxattr("path:str list:ptr size:uint") Partial fs::listxattr, "what the file system keeps";
    195 llistxattr("path:str list:ptr size:uint") Partial fs::llistxattr, "what the file system keeps";
    196 flistxattr("fd:fd list:ptr size:uint") Partial fs::flistxattr, "what the file system keeps";
    197 removexattr("path:str name:str") Partial fs::removexattr, "what the file system keeps";
    198 lremovexattr("path:str name:str") Partial fs::lremovexattr, "what the file system keeps";
    199 fremovexattr("fd:fd name:str") Partial fs::fremovexattr, "what the file system keeps";
    200 tkill("tid:int sig:sig") Full sig::tkill;
    201 time("t:ptr") Full time::time;
    202 futex("addr:ptr op:hex value:int timeout:ptr addr2:ptr value3:int") Partial mem::futex, "all but priority inheritance (ENOSYS)";
    203 sched_setaffinity("pid:int len:uint mask:ptr") Partial proc::sched_setaffinity, "recorded, without effect on scheduling";
    204 sched_getaffinity("pid:int len:uint mask:ptr") Full proc::sched_getaffinity;
    213 epoll_create("size:int") Full event::epoll_create;
    217 getdents64("fd:fd buf:ptr count:uint") Full fs::getdents64;
    218 set_tid_address("addr:ptr") Full proc::set_tid_address;
    221 fadvise64("fd:fd offset:int len:int advice:int") Stub fs::fadvise64, "no effect";
    222 timer_create("clock:int event:ptr id:ptr") Partial time::timer_create, "no CPU clocks";
    223 timer_settime("id:int flags:hex new:ptr old:ptr") Full time::timer_settime;
    224 timer_gettime("id:int value:ptr") Full time::timer_gettime;
    225 timer_getoverrun("id:int") Full time::timer_getoverrun;
    226 timer_delete("id:int") Full time::timer_delete;
    227 clock_settime("clock:int time:ptr") Stub time::clock_settime, "EPERM";
    228 clock_gettime("clock:int time:ptr") Full time::clock_gettime;
    229 clock_getres("clock:int res:ptr") Full time::clock_getres;
    230 clock_nanosleep("clock:int flags:hex time:ptr left:ptr") Full time::clock_nanosleep;
    231 exit_group("status:int") Full proc::exit_group;
    232 epoll_wait("epfd:fd events:ptr max:int timeout:int") Full event::epoll_wait;
    233 epoll_ctl("epfd:fd op:int fd:fd event:ptr") Partial event::epoll_ctl, "no nesting";
    234 tgkill("tgid:int tid:int sig:sig") Full sig::tgkill;
    235 utimes("path:str times:ptr") Full fs::utimes;
    247 waitid("kind:int id:int info:ptr options:hex rusage:ptr") Full proc::waitid;
    251 ioprio_set("which:int who:int prio:hex") Stub proc::ioprio_set, "checked, without effect";
    252 ioprio_get("which:int who:int") Stub proc::ioprio_get, "0";
    253 inotify_init("") Stub proc::enosys, "ENOSYS";
    254 inotify_add_watch("fd:fd path:str mask:hex") Stub proc::enosys, "ENOSYS";
    255 inotify_rm_watch("fd:fd wd:int") Stub proc::enosys, "ENOSYS";
    257 openat("dir:fd path:str flags:hex mode:oct") Full fs::openat;
    258 mkdirat("dir:fd path:str mode:oct") Full fs::mkdirat;
    259 mknodat("dir:fd path:str mode:oct dev:hex") Full fs::mknodat;
    260 fchownat("dir:fd path:str uid:int gid:int flags:hex") Full fs::fchownat;
    261 futimesat("dir:fd path:str times:ptr") Full fs::futimesat;
    262 newfstatat("dir:fd path:str buf:ptr flags:hex") Full fs::newfstatat;
    263 unlinkat("dir:fd path:str flags:hex") Full fs::unlinkat;
    264 renameat("old_dir:fd old:str new_dir:fd new:str") Full fs::renameat;
    265 linkat("old_dir:fd old:str new_dir:fd new:str flags:hex") Full fs::linkat;
    266 symlinkat("target:str dir:fd path:str") Full fs::symlinkat;
    267 readlinkat("dir:fd path:str buf:ptr size:uint") Full fs::readlinkat;
    268 fchmodat("dir:fd path:str mode:oct") Full fs::fchmodat;
    269 faccessat("dir:fd path:str mode:oct") Full fs::faccessat;
    270 pselect6("n:int read:ptr write:ptr except:ptr timeout:ptr mask:ptr") Partial io::pselect6, "does not write the time left back";
    271 ppoll("fds:ptr nfds:uint timeout:ptr mask:ptr size:uint") Partial io::ppoll, "does not write the time left back";
    272 unshare("flags:hex") Stub proc::eperm, "EPERM";
    273 set_robust_list("head:ptr len:uint") Full proc::set_robust_list;
    274 get_robust_list("tid:int head:ptr len:ptr") Partial proc::get_robust_list, "the caller's own; EPERM for others";
    275 splice("in:fd in_off:ptr out:fd out_off:ptr len:uint flags:hex") Full io::splice;
    276 tee("in:fd out:fd len:uint flags:hex") Stub fs::tee, "EINVAL";
    277 sync_file_range("fd:fd offset:int count:int flags:hex") Full fs::fdatasync;
    280 utimensat("dir:fd path:str times:ptr flags:hex") Full fs::utimensat;
    281 epoll_pwait("epfd:fd events:ptr max:int timeout:int mask:ptr size:uint") Full event::epoll_pwait;
    283 timerfd_create("clock:int flags:hex") Full event::timerfd_create;
    284 eventfd("count:uint") Full event::eventfd;
    285 fallocate("fd:fd mode:hex offset:int len:int") Partial fs::fallocate, "mode 0, KEEP_SIZE, PUNCH_HOLE";
    286 timerfd_settime("fd:fd flags:hex new:ptr old:ptr") Partial event::timerfd_settime, "no TFD_TIMER_CANCEL_ON_SET";
    287 timerfd_gettime("fd:fd value:ptr") Full event::timerfd_gettime;
    288 accept4("fd:fd addr:ptr len:ptr flags:hex") Full net::accept4;
    290 eventfd2("count:uint flags:hex") Full event::eventfd2;
    291 epoll_create1("flags:hex") Full event::epoll_create1;
    292 dup3("old:fd new:fd flags:hex") Full io::dup3;
    293 pipe2("fds:ptr flags:hex") Partial io::pipe2, "O_DIRECT is accepted without effect";
    294 inotify_init1("flags:hex") Stub proc::enosys, "ENOSYS";
    295 preadv("fd:fd iov:ptr count:uint offset:int") Full io::preadv;
    296 pwritev("fd:fd iov:ptr count:uint offset:int") Full io::pwritev;
    297 rt_tgsigqueueinfo("tgid:int tid:int sig:sig info:ptr") Full sig::rt_tgsigqueueinfo;
    299 recvmmsg("fd:fd msgs:ptr count:uint flags:hex timeout:ptr") Partial net::recvmmsg, "as recvmsg";
    302 prlimit64("pid:int resource:int new:ptr old:ptr") Full proc::prlimit64;
    306 syncfs("fd:fd") Full fs::syncfs;
    307 sendmmsg("fd:fd msgs:ptr count:uint flags:hex") Partial net::sendmmsg, "as sendmsg";
    308 setns("fd:fd type:hex") Stub proc::eperm, "EPERM";
    309 getcpu("cpu:ptr node:ptr cache:ptr") Stub proc::getcpu, "always 0";
    310 process_vm_readv("pid:int local:ptr n:uint remote:ptr m:uint flags:hex") Stub mem::process_vm, "EPERM";
    311 process_vm_writev("pid:int local:ptr n:uint remote:ptr m:uint flags:hex") Stub mem::process_vm, "EPERM";
    313 finit_module("fd:fd args:str flags:hex") Stub proc::eperm, "EPERM";
    316 renameat2("old_dir:fd old:str new_dir:fd new:str flags:hex") Partial fs::renameat2, "no RENAME_WHITEOUT";
    318 getrandom("buf:ptr len:uint flags:hex") Full proc::getrandom;
    319 memfd_create("name:str flags:hex") Partial fs::memfd_create, "no huge pages";
    322 execveat("dir:fd path:str argv:strv envp:ptr flags:hex") Full proc::execveat, "as execve";
    324 membarrier("cmd:int flags:hex") Partial proc::membarrier, "GLOBAL, GLOBAL_EXPEDITED and PRIVATE_EXPEDITED, which need no registration";
    326 copy_file_range("in:fd in_off:ptr out:fd out_off:ptr len:uint flags:hex") Full io::copy_file_range;
    327 preadv2("fd:fd iov:ptr count:uint offset:int high:int flags:hex") Partial io::preadv2, "RWF_HIPRI, RWF_DSYNC, RWF_SYNC";
    328 pwritev2("fd:fd iov:ptr count:uint offset:int high:int flags:hex") Partial io::pwritev2, "RWF_HIPRI, RWF_DSYNC, RWF_SYNC";
    332 statx("dir:fd path:str flags:hex mask:hex buf:ptr") Full fs::statx;
    334 rseq("area:ptr len:uint flags:hex sig:hex") Stub proc::enosys, "ENOSYS";
    424 pidfd_send_signal("pidfd:fd sig:sig info:ptr flags:hex") Full pidfd::pidfd_send_signal;
    434 pidfd_open("pid:int flags:hex") Full pidfd::pidfd_open;
    435 clone3("args:ptr size:uint") Partial proc::clone3, "as clone";
    436 close_range("first:uint last:uint flags:hex") Full io::close_range;
    437 openat2("dir:fd path:str how:ptr size:uint") Full fs::openat2;
    439 faccessat2("dir:fd path:str mode:oct flags:hex") Full fs::faccessat2;
    441 epoll_pwait2("epfd:fd events:ptr max:int timeout:ptr mask:ptr size:uint") Full event::epoll_pwait2;
    452 fchmodat2("dir:fd path:str mode:oct flags:hex") Full fs::fchmodat2;
}

/// All system calls, by number.
pub fn table() -> &'static [SyscallEntry] {
    TABLE
}

/// One more than the highest number that a table may have.
pub(crate) const SLOTS: usize = 512;
static INDEX: [u16; SLOTS] = {
    let mut index = [u16::MAX; SLOTS];
    let mut i = 0;
    while i < TABLE.len() {
        index[TABLE[i].number as usize] = i as u16;
        i += 1;
    }
    index
};

/// The entry with this number.
pub(super) fn find(nr: u64) -> Option<&'static SyscallEntry> {
    let i = INDEX.get(usize::try_from(nr).ok()?)?;
    TABLE.get(usize::from(*i))
}

/// `docs/syscalls.md`.
pub fn docs_markdown() -> String {
    use std::fmt::Write;
    let mut s = String::from(
        "# System calls\n\nGenerated from the table in `crates/vkernel/src/sys/table.rs`. A number that is not listed gives ENOSYS and is counted.\n\n\
         | number | name | arguments | support | note |\n|---|---|---|---|---|\n",
    );
    for e in TABLE {
        let support = e.support.name();
        let names: Vec<&str> =
            e.args.split(' ').filter_map(|a| a.split(':').next()).filter(|a| !a.is_empty()).collect();
        let _ = writeln!(s, "| {} | `{}` | {} | {} | {} |", e.number, e.name, names.join(", "), support, e.note);
    }
    s
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_ascend_and_are_found() {
        assert!(TABLE.windows(2).all(|w| w[0].number < w[1].number));
        for e in TABLE {
            assert_eq!(find(e.number.into()).unwrap().name, e.name);
        }
        assert!(find(9999).is_none());
        assert!(find(u64::MAX).is_none());
        assert!(find(134).is_none());
    }

    #[test]
    fn notes_where_something_is_missing() {
        for e in TABLE {
            assert!(e.support == Support::Full || !e.note.is_empty(), "{}", e.name);
        }
        assert!(docs_markdown().lines().count() > TABLE.len());
    }
}
