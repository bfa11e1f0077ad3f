//! The seccomp filters of the running side, put on all threads before the first guest instruction.
//!
//! An allow-list of what the vkernel and its libraries need. No call that could make a page executable passes: `mmap` and `mprotect`
//! only without PROT_EXEC; `pkey_mprotect`, `shmat` and `personality` (READ_IMPLIES_EXEC) not at all. `mremap` keeps protections, and is there for
//! guest memory. No new process, no exec, no ptrace, no sockets, no namespaces, no mounts; `clone` only makes threads.

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
    // Memory. mmap and mprotect stand in `memory`.
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

fn programs() -> seccompiler::Result<[BpfProgram; 2]> {
    let rule = |arg: u8, op: Op, value: u64| {
        Cond::new(arg, Len::Dword, op, value).and_then(|c| SeccompRule::new(vec![c])).map_err(seccompiler::Error::from)
    };
    let exec = PROT_EXEC as u64;
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = ALLOWED.iter().map(|&nr| (nr, vec![])).collect();
    for nr in [SYS_mmap, SYS_mprotect] {
        rules.insert(nr, vec![rule(2, Op::MaskedEq(exec), 0)?]);
    }
    let thread = (CLONE_THREAD | CLONE_VM | CLONE_SIGHAND) as u64;
    let namespaces =
        (CLONE_NEWNS | CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP)
            as u64;
    rules.insert(SYS_clone, vec![rule(0, Op::MaskedEq(thread | namespaces), thread)?]);
    rules.insert(SYS_prctl, vec![rule(0, Op::Eq, PR_SET_NAME as u64)?, rule(0, Op::Eq, PR_SET_VMA as u64)?]);
    rules.insert(SYS_ioctl, IOCTLS.iter().map(|&n| rule(1, Op::Eq, n)).collect::<seccompiler::Result<_>>()?);
    // To ourselves only, and kept for abort(): the process's own number cannot change any more.
    rules.insert(SYS_kill, vec![rule(0, Op::Eq, u64::from(std::process::id()))?]);
    // How the vkernel touches guest memory that may fault (files that became shorter): its own memory only.
    for nr in [SYS_process_vm_readv, SYS_process_vm_writev] {
        rules.insert(nr, vec![rule(0, Op::Eq, u64::from(std::process::id()))?]);
    }
    rules.insert(SYS_prlimit64, vec![rule(0, Op::Eq, 0)?]);
    // Let through here, so that the other filter's answer counts.
    rules.insert(SYS_clone3, vec![]);
    // Decided by the other filter; a refusal here would hide its answer.
    rules.insert(SYS_clone3, vec![]);
    let allow = filter(rules, SeccompAction::Errno(EPERM as u32), SeccompAction::Allow)?;
    // clone3's flags lie in memory, where a filter cannot look; the C library falls back to clone on ENOSYS.
    let no_clone3 =
        filter(BTreeMap::from([(SYS_clone3, vec![])]), SeccompAction::Allow, SeccompAction::Errno(ENOSYS as u32))?;
    // The allow-list comes last: it forbids installing another filter.
    Ok([no_clone3, allow])
}

/// Installs the filters on all threads of this process, for good.
pub fn install() -> Result<()> {
    let bad =
        |e: seccompiler::Error| fail(format!("cannot install the seccomp filter: {e}; does this kernel have seccomp?"));
    for program in programs().map_err(bad)? {
        seccompiler::apply_filter_all_threads(&program).map_err(bad)?;
    }
    Ok(())
}
