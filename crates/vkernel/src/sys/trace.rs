//! `--strace`: one line per call.

use super::{Ctx, SyscallEntry, call};
use crate::errno::{ERESTARTNOHAND, ERESTARTSYS, Errno, Result};
use crate::regs::Machine;
use crate::signal;
use crate::task::Task;
use std::fmt::Write;

/// Performs a call and writes a line about it.
pub(super) fn traced(
    task: &mut Task,
    m: &mut dyn Machine,
    nr: u64,
    a: [u64; 6],
    entry: Option<&SyscallEntry>,
) -> Result<i64> {
    let Some(sink) = task.kernel.config.strace.clone() else { return call(task, m, nr, a, entry) };
    let pid = task.thread.tid;
    let shown = describe(&Ctx { task: &mut *task, m: &mut *m, a }, nr, entry);
    // What does not return, or changes which process this is, is shown before it happens.
    if matches!(nr, 60 | 231) {
        sink(&format!("{pid} {shown} = ?"));
        return call(task, m, nr, a, entry);
    }
    let r = call(task, m, nr, a, entry);
    let result = match r {
        Ok(_) if task.unwind => "0".to_owned(),
        Ok(v) if (v as u64) > 0xffff && entry.is_some_and(|e| matches!(e.name, "mmap" | "brk" | "mremap")) => {
            format!("{v:#x}")
        }
        Ok(v) => v.to_string(),
        Err(e) if e == ERESTARTSYS || e == ERESTARTNOHAND => "? (interrupted)".to_owned(),
        Err(e) => format!("-1 {} ({})", e.name().unwrap_or("?"), e.message()),
    };
    sink(&format!("{pid} {shown} = {result}"));
    r
}

fn describe(c: &Ctx<'_>, nr: u64, entry: Option<&SyscallEntry>) -> String {
    let Some(e) = entry else {
        return format!(
            "syscall_{nr}({:#x}, {:#x}, {:#x}, {:#x}, {:#x}, {:#x})",
            c.a[0], c.a[1], c.a[2], c.a[3], c.a[4], c.a[5]
        );
    };
    let mut s = format!("{}(", e.name);
    for (i, (spec, &v)) in e.args.split(' ').filter(|a| !a.is_empty()).zip(&c.a).enumerate() {
        if i > 0 {
            s.push_str(", ");
        }
        let kind = spec.split(':').nth(1).unwrap_or("hex");
        let _ = match kind {
            "fd" if v as i32 == -100 => write!(s, "AT_FDCWD"),
            "fd" => write!(s, "{}", v as i32),
            "int" => write!(s, "{}", v as i64 as i32),
            "uint" => write!(s, "{v}"),
            "oct" => write!(s, "{v:#o}"),
            "sig" => write!(s, "{}", signal::name(v as i32)),
            "ptr" if v == 0 => write!(s, "NULL"),
            "str" => write!(s, "{}", string(c, v)),
            "strv" => write!(s, "{}", strings(c, v)),
            _ => write!(s, "{v:#x}"),
        };
    }
    // What a write writes is what one looks for most.
    if e.number == 1 && c.a[2] > 0 {
        let n = (c.a[2] as usize).min(32);
        if let Ok(b) = c.get_vec(c.a[1], n as u64, 32) {
            let dots = if c.a[2] > 32 { "..." } else { "" };
            s = format!("write({}, \"{}\"{dots}, {}", c.a[0] as i32, b.escape_ascii(), c.a[2]);
        }
    }
    s.push(')');
    s
}

fn string(c: &Ctx<'_>, at: u64) -> String {
    if at == 0 {
        return "NULL".to_owned();
    }
    match c.cstr(at, 256, Errno::ENAMETOOLONG) {
        Ok(b) => format!("\"{}\"", b.escape_ascii()),
        Err(Errno::ENAMETOOLONG) => match c.get_vec(at, 64, 64) {
            Ok(b) => format!("\"{}\"...", b.escape_ascii()),
            Err(_) => format!("{at:#x}"),
        },
        Err(_) => format!("{at:#x}"),
    }
}

fn strings(c: &Ctx<'_>, at: u64) -> String {
    let mut parts = Vec::new();
    for i in 0..16u64 {
        match at.checked_add(i * 8).map(|p| c.get_u64(p)) {
            Some(Ok(0)) => return format!("[{}]", parts.join(", ")),
            Some(Ok(p)) => parts.push(string(c, p)),
            _ => break,
        }
    }
    format!("[{}, ...]", parts.join(", "))
}
