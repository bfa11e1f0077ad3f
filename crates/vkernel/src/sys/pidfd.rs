//! Descriptors that refer to processes (man 2 pidfd_open).

use super::Ctx;
use super::event::anonymous_stat;
use super::sig;
use crate::errno::{Errno, Result};
use crate::file::{OpenFile, POLLIN, POLLRDNORM, Stream};
use crate::pipe::anonymous_ino;
use crate::process::Process;
use crate::signal::{SI_TKILL, SI_USER, SigInfo};
use crate::wait::WaitQueue;
use megalith_vfs::{OpenFlags, Stat};
use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Is readable once the process has ended, whether or not somebody has waited for it.
struct PidFd {
    process: Arc<Process>,
    ino: u64,
}

impl Stream for PidFd {
    fn poll(&self) -> u32 {
        if self.process.ended.load(Ordering::Acquire) { POLLIN | POLLRDNORM } else { 0 }
    }
    fn queue(&self) -> Option<&WaitQueue> {
        Some(&self.process.end)
    }
    fn stat(&self) -> Result<Stat> {
        Ok(anonymous_stat(self.ino))
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn type_name(&self) -> &'static str {
        "pidfd"
    }
}

/// The process that a description stands for; `EBADF`.
pub(super) fn process(f: &OpenFile) -> Result<&Arc<Process>> {
    let pidfd = f.as_stream().and_then(|s| s.as_any().downcast_ref::<PidFd>());
    pidfd.map(|p| &p.process).ok_or(Errno::EBADF)
}

pub(super) fn pidfd_open(c: &mut Ctx<'_>) -> Result<i64> {
    let (pid, flags) = (c.int(0), c.uint(1));
    if flags & !OpenFlags::O_NONBLOCK != 0 || pid <= 0 {
        return Err(Errno::EINVAL);
    }
    let process = match c.task.kernel.process(pid) {
        Some(process) => process,
        // Of a process, only the thread that has its number will do.
        None if c.task.kernel.thread_group(pid).is_some() => return Err(Errno::EINVAL),
        None => return Err(Errno::ESRCH),
    };
    c.add_fd(OpenFile::stream(Arc::new(PidFd { process, ino: anonymous_ino() }), 2 | flags), true)
}

pub(super) fn pidfd_send_signal(c: &mut Ctx<'_>) -> Result<i64> {
    let (sig, info, flags) = (c.int(1), c.a[2], c.uint(3));
    if flags != 0 {
        return Err(Errno::EINVAL);
    }
    let file = c.file(0)?;
    let directory;
    let target = match process(&file) {
        Ok(target) => target,
        // A process's directory in /proc will do, too.
        Err(e) => {
            let pid = file.inode().and_then(|i| crate::procfs::process_of(&i.stat().ok()?)).ok_or(e)?;
            directory = c.task.kernel.process(pid).ok_or(Errno::ESRCH)?;
            &directory
        }
    };
    let info = if info == 0 {
        sig::info(c, sig, SI_USER)?
    } else {
        let info = SigInfo(c.get(info)?);
        if info.signo() != sig {
            return Err(Errno::EINVAL);
        }
        if (info.code() >= 0 || info.code() == SI_TKILL) && target.pid != c.task.process.pid {
            return Err(Errno::EPERM);
        }
        if sig == 0 { None } else { sig::valid(sig).map(|_| Some(info))? }
    };
    // Its number may be another's by now.
    let waited_for = !c.task.kernel.process(target.pid).is_some_and(|p| Arc::ptr_eq(&p, target));
    if waited_for {
        return Err(Errno::ESRCH);
    }
    if !sig::allowed(c, target, sig) {
        return Err(Errno::EPERM);
    }
    sig::send(c, target, info);
    Ok(0)
}
