//! The seccomp filters of the running side, put on all threads before the first guest instruction.
//!
//! An allow-list of what the vkernel and its libraries need. No call that could make a page executable passes: `mmap` and `mprotect`
//! only without PROT_EXEC; `pkey_mprotect`, `shmat` and `personality` (READ_IMPLIES_EXEC) not at all. `mremap` keeps protections, and is there for
//! guest memory. No new process, no exec, no ptrace, no sockets but those that a broker opened (`net`), no namespaces, no mounts; `clone` only makes threads.

use std::collections::BTreeMap;

use libc::*;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen as Len, SeccompCmpOp as Op, SeccompCondition as Cond, SeccompFilter,
    SeccompRule, TargetArch,
};

use crate::failure::{Result, fail};

/// Calls that are allowed with any arguments.
const ALLOWED: &[i64] = &[
    // Files.
    SYS_read,
    SYS_write,
    SYS_readv,
    SYS_writev,
    SYS_pread64,
    SYS_pwrite64,
    SYS_preadv,
    SYS_pwritev,
    SYS_preadv2,
    SYS_pwritev2,
    SYS_open,
    SYS_openat,
    SYS_openat2,
    SYS_close,
    SYS_close_range,
    SYS_lseek,
    SYS_stat,
    SYS_fstat,
    SYS_lstat,
    SYS_newfstatat,
    SYS_statx,
    SYS_statfs,
    SYS_fstatfs,
    SYS_access,
    SYS_faccessat,
    SYS_faccessat2,
    SYS_getdents64,
    SYS_readlink,
    SYS_readlinkat,
    SYS_mkdirat,
    SYS_mknodat,
    SYS_unlinkat,
    SYS_renameat,
    SYS_renameat2,
    SYS_linkat,
    SYS_symlinkat,
    SYS_fchmod,
    SYS_fchmodat,
    SYS_fchown,
    SYS_fchownat,
    SYS_utimensat,
    SYS_ftruncate,
    SYS_fallocate,
    SYS_fsync,
    SYS_fdatasync,
    SYS_sync_file_range,
    SYS_fadvise64,
    SYS_copy_file_range,
    SYS_sendfile,
    SYS_splice,
    SYS_tee,
    SYS_flock,
    SYS_dup,
    SYS_dup2,
    SYS_dup3,
    SYS_fcntl,
    SYS_memfd_create,
    SYS_getxattr,
    SYS_lgetxattr,
    SYS_fgetxattr,
    SYS_listxattr,
    SYS_flistxattr,
    SYS_setxattr,
    SYS_fsetxattr,
    SYS_fremovexattr,
    SYS_getcwd,
    SYS_umask,
    // Pipes, waiting.
    SYS_pipe,
    SYS_pipe2,
    SYS_poll,
    SYS_ppoll,
    SYS_select,
    SYS_pselect6,
    SYS_epoll_create1,
    SYS_epoll_ctl,
    SYS_epoll_wait,
    SYS_epoll_pwait,
    SYS_eventfd2,
    SYS_timerfd_create,
    SYS_timerfd_settime,
    SYS_timerfd_gettime,
    SYS_futex,
    SYS_nanosleep,
    SYS_clock_nanosleep,
    // Memory. mmap and mprotect stand in `allow_list`.
    SYS_munmap,
    SYS_madvise,
    SYS_mremap,
    SYS_brk,
    SYS_msync,
    SYS_mincore,
    SYS_mlock,
    SYS_munlock,
    SYS_membarrier,
    SYS_process_madvise,
    // Threads, signals, time, identity.
    SYS_set_robust_list,
    SYS_rseq,
    SYS_set_tid_address,
    SYS_sched_yield,
    SYS_sched_getaffinity,
    SYS_sched_setaffinity,
    SYS_getcpu,
    SYS_gettid,
    SYS_getpid,
    SYS_getppid,
    SYS_tgkill,
    SYS_exit,
    SYS_exit_group,
    SYS_restart_syscall,
    SYS_rt_sigaction,
    SYS_rt_sigprocmask,
    SYS_rt_sigreturn,
    SYS_rt_sigtimedwait,
    SYS_rt_sigsuspend,
    SYS_rt_sigpending,
    SYS_sigaltstack,
    SYS_clock_gettime,
    SYS_clock_getres,
    SYS_gettimeofday,
    SYS_time,
    SYS_times,
    SYS_getrandom,
    SYS_getrusage,
    SYS_sysinfo,
    SYS_uname,
    SYS_getuid,
    SYS_geteuid,
    SYS_getgid,
    SYS_getegid,
    SYS_getgroups,
    SYS_getrlimit,
    SYS_getpgrp,
    SYS_getpgid,
    SYS_getsid,
];

/// `PAGEMAP_SCAN` of linux/fs.h: which pages of a guest are dirty.
const PAGEMAP_SCAN: u64 = 0xc060_6610;
/// Terminal and pipe queries. Not TIOCSTI, which types into the caller's terminal.
const IOCTLS: &[u64] = &[
    TCGETS,
    TCSETS,
    TCSETSW,
    TCSETSF,
    TCFLSH,
    TCSBRK,
    TIOCGWINSZ,
    TIOCSWINSZ,
    TIOCGPGRP,
    TIOCSPGRP,
    TIOCGSID,
    FIONREAD,
    PAGEMAP_SCAN,
];

fn filter(
    rules: BTreeMap<i64, Vec<SeccompRule>>,
    mismatch: SeccompAction,
    matched: SeccompAction,
) -> seccompiler::Result<BpfProgram> {
    let arch = if cfg!(target_arch = "aarch64") { TargetArch::aarch64 } else { TargetArch::x86_64 };
    SeccompFilter::new(rules, mismatch, matched, arch).and_then(TryInto::try_into).map_err(Into::into)
}

/// What connections that the broker opened need beside: they come by a message, and end one way at a time.
const NET: &[i64] = &[SYS_recvmsg, SYS_shutdown];

/// What the broker does (`net`): threads that connect, and messages. `socket` stands in `broker_programs`.
const BROKER: &[i64] = &[
    SYS_read,
    SYS_write,
    SYS_close,
    SYS_connect,
    SYS_sendmsg,
    SYS_getsockopt,
    SYS_setsockopt,
    SYS_poll,
    SYS_ppoll,
    SYS_futex,
    SYS_munmap,
    SYS_madvise,
    SYS_brk,
    SYS_set_robust_list,
    SYS_rseq,
    SYS_sigaltstack,
    SYS_rt_sigprocmask,
    SYS_rt_sigreturn,
    SYS_sched_getaffinity,
    SYS_sched_yield,
    SYS_gettid,
    SYS_getpid,
    SYS_clock_gettime,
    SYS_restart_syscall,
    SYS_exit,
    SYS_exit_group,
];

fn condition(arg: u8, op: Op, value: u64) -> seccompiler::Result<Cond> {
    Ok(Cond::new(arg, Len::Dword, op, value)?)
}
fn rule(arg: u8, op: Op, value: u64) -> seccompiler::Result<SeccompRule> {
    Ok(SeccompRule::new(vec![condition(arg, op, value)?])?)
}

/// An allow-list of `calls`, and of what all that run here need: memory that is not executable, and threads.
fn allow_list(calls: impl Iterator<Item = i64>) -> seccompiler::Result<BTreeMap<i64, Vec<SeccompRule>>> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = calls.map(|nr| (nr, vec![])).collect();
    for nr in [SYS_mmap, SYS_mprotect] {
        rules.insert(nr, vec![rule(2, Op::MaskedEq(PROT_EXEC as u64), 0)?]);
    }
    let thread = (CLONE_THREAD | CLONE_VM | CLONE_SIGHAND) as u64;
    let namespaces =
        (CLONE_NEWNS | CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP)
            as u64;
    rules.insert(SYS_clone, vec![rule(0, Op::MaskedEq(thread | namespaces), thread)?]);
    // Decided by the other filter; a refusal here would hide its answer.
    rules.insert(SYS_clone3, vec![]);
    Ok(rules)
}

/// The filters with these rules.
fn filters(rules: BTreeMap<i64, Vec<SeccompRule>>) -> seccompiler::Result<[BpfProgram; 2]> {
    let allow = filter(rules, SeccompAction::Errno(EPERM as u32), SeccompAction::Allow)?;
    // clone3's flags lie in memory, where a filter cannot look; the C library falls back to clone on ENOSYS.
    let no_clone3 =
        filter(BTreeMap::from([(SYS_clone3, vec![])]), SeccompAction::Allow, SeccompAction::Errno(ENOSYS as u32))?;
    // The allow-list comes last: it forbids installing another filter.
    Ok([no_clone3, allow])
}

fn programs(net: bool) -> seccompiler::Result<[BpfProgram; 2]> {
    let mut rules = allow_list(ALLOWED.iter().chain(NET.iter().filter(|_| net)).copied())?;
    if net {
        let (level, linger) = (condition(1, Op::Eq, SOL_SOCKET as u64)?, condition(2, Op::Eq, SO_LINGER as u64)?);
        rules.insert(SYS_setsockopt, vec![SeccompRule::new(vec![level, linger])?]);
    }
    rules.insert(SYS_prctl, vec![rule(0, Op::Eq, PR_SET_NAME as u64)?, rule(0, Op::Eq, PR_SET_VMA as u64)?]);
    rules.insert(SYS_ioctl, IOCTLS.iter().map(|&n| rule(1, Op::Eq, n)).collect::<seccompiler::Result<_>>()?);
    // To ourselves only, and kept for abort(): the process's own number cannot change any more.
    rules.insert(SYS_kill, vec![rule(0, Op::Eq, u64::from(std::process::id()))?]);
    // How the vkernel touches guest memory that may fault (files that became shorter): its own memory only.
    for nr in [SYS_process_vm_readv, SYS_process_vm_writev] {
        rules.insert(nr, vec![rule(0, Op::Eq, u64::from(std::process::id()))?]);
    }
    rules.insert(SYS_prlimit64, vec![rule(0, Op::Eq, 0)?]);
    filters(rules)
}

/// The broker's filters.
fn broker_programs() -> seccompiler::Result<[BpfProgram; 2]> {
    let mut rules = allow_list(BROKER.iter().copied())?;
    let kinds = (SOCK_CLOEXEC | SOCK_NONBLOCK) as u64;
    let family = |family: i32| -> seccompiler::Result<SeccompRule> {
        let kind = condition(1, Op::MaskedEq(!kinds & 0xffff_ffff), SOCK_STREAM as u64)?;
        Ok(SeccompRule::new(vec![condition(0, Op::Eq, family as u64)?, kind])?)
    };
    rules.insert(SYS_socket, vec![family(AF_INET)?, family(AF_INET6)?]);
    rules.insert(SYS_prctl, vec![rule(0, Op::Eq, PR_SET_NAME as u64)?]);
    rules.insert(SYS_ioctl, vec![rule(1, Op::Eq, FIONBIO)?]);
    filters(rules)
}

/// Installs the broker's filters on this process, for good.
pub fn install_broker() -> seccompiler::Result<()> {
    broker_programs()?.iter().try_for_each(|program| seccompiler::apply_filter_all_threads(program))
}

/// Installs the filters on all threads of this process, for good. `net`: a broker hands sockets over.
pub fn install(net: bool) -> Result<()> {
    let bad =
        |e: seccompiler::Error| fail(format!("cannot install the seccomp filter: {e}; does this kernel have seccomp?"));
    for program in programs(net).map_err(bad)? {
        seccompiler::apply_filter_all_threads(&program).map_err(bad)?;
    }
    Ok(())
}
