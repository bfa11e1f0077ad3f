//! The table of WASI functions. Their types are the contract's ([`WASI_IMPORTS`]); the order is the same.

use super::{Call, NoRegisters, errno, fd, misc, path, poll};
use crate::errno::{ERESTARTNOHAND, ERESTARTSYS, Result};
use crate::sys::{Ctx, Support};
use crate::task::Task;
use megalith_abi::{WASI_IMPORTS, WASI_MAX_ARGS};
use std::fmt::Write;

/// One function of WASI preview 1.
pub struct WasiEntry {
    pub name: &'static str,
    /// Arguments as `name:kind`, separated by spaces. Kinds: `fd` `int` `hex` `ptr`; `path` is an address, and what follows it the length.
    pub args: &'static str,
    pub support: Support,
    /// What is missing or how it answers; may be empty.
    pub note: &'static str,
    handler: fn(&mut Call<'_, '_>) -> Result<()>,
}

macro_rules! table {
    ($($name:ident ($args:literal) $support:ident $handler:path $(, $note:literal)?;)*) => {
        static TABLE: &[WasiEntry] = &[$(WasiEntry {
            name: stringify!($name),
            args: $args,
            support: Support::$support,
            note: concat!($($note)?),
            handler: $handler,
        },)*];
    };
}

table! {
    args_get("argv:ptr buf:ptr") Full misc::args_get;
    args_sizes_get("count:ptr size:ptr") Full misc::args_sizes_get;
    environ_get("environ:ptr buf:ptr") Full misc::environ_get;
    environ_sizes_get("count:ptr size:ptr") Full misc::environ_sizes_get;
    clock_res_get("clock:int res:ptr") Full misc::clock_res_get;
    clock_time_get("clock:int precision:int time:ptr") Full misc::clock_time_get;
    fd_advise("fd:fd offset:int len:int advice:int") Full fd::advise;
    fd_allocate("fd:fd offset:int len:int") Full fd::allocate;
    fd_close("fd:fd") Full fd::close;
    fd_datasync("fd:fd") Full fd::datasync;
    fd_fdstat_get("fd:fd stat:ptr") Full fd::fdstat_get, "rights follow from the access mode; inheriting rights are all there are";
    fd_fdstat_set_flags("fd:fd flags:hex") Partial fd::fdstat_set_flags, "append and nonblock; `inval` for dsync, rsync and sync";
    fd_fdstat_set_rights("fd:fd base:hex inheriting:hex") Stub fd::fdstat_set_rights, "accepted without effect: descriptors are as free as the process";
    fd_filestat_get("fd:fd stat:ptr") Full fd::filestat_get;
    fd_filestat_set_size("fd:fd size:int") Full fd::filestat_set_size;
    fd_filestat_set_times("fd:fd atime:int mtime:int flags:hex") Full fd::filestat_set_times;
    fd_pread("fd:fd iovs:ptr count:int offset:int nread:ptr") Full fd::pread;
    fd_prestat_get("fd:fd prestat:ptr") Full fd::prestat_get, "descriptor 3 is `/`; there is no other";
    fd_prestat_dir_name("fd:fd buf:ptr len:int") Full fd::prestat_dir_name;
    fd_pwrite("fd:fd iovs:ptr count:int offset:int nwritten:ptr") Full fd::pwrite;
    fd_read("fd:fd iovs:ptr count:int nread:ptr") Full fd::read;
    fd_readdir("fd:fd buf:ptr len:int cookie:int used:ptr") Full fd::readdir;
    fd_renumber("from:fd to:fd") Full fd::renumber;
    fd_seek("fd:fd offset:int whence:int position:ptr") Full fd::seek;
    fd_sync("fd:fd") Full fd::sync;
    fd_tell("fd:fd position:ptr") Full fd::tell;
    fd_write("fd:fd iovs:ptr count:int nwritten:ptr") Full fd::write;
    path_create_directory("dir:fd path:path len:int") Full path::create_directory;
    path_filestat_get("dir:fd lookup:hex path:path len:int stat:ptr") Full path::filestat_get;
    path_filestat_set_times("dir:fd lookup:hex path:path len:int atime:int mtime:int flags:hex") Full path::filestat_set_times;
    path_link("dir:fd lookup:hex path:path len:int new_dir:fd new_path:path new_len:int") Full path::link;
    path_open("dir:fd lookup:hex path:path len:int oflags:hex base:hex inheriting:hex fdflags:hex opened:ptr") Full path::open, "the access mode follows from the rights asked for";
    path_readlink("dir:fd path:path len:int buf:ptr size:int used:ptr") Full path::readlink;
    path_remove_directory("dir:fd path:path len:int") Full path::remove_directory;
    path_rename("dir:fd path:path len:int new_dir:fd new_path:path new_len:int") Full path::rename;
    path_symlink("target:path target_len:int dir:fd path:path len:int") Full path::symlink;
    path_unlink_file("dir:fd path:path len:int") Full path::unlink_file;
    poll_oneoff("in:ptr out:ptr count:int nevents:ptr") Partial poll::poll_oneoff, "clocks are realtime and monotonic, at most 4096 subscriptions";
    proc_exit("status:int") Full misc::proc_exit;
    proc_raise("signal:int") Full misc::proc_raise;
    sched_yield("") Full misc::sched_yield;
    random_get("buf:ptr len:int") Full misc::random_get;
    sock_accept("fd:fd flags:hex opened:ptr") Full fd::sock_accept, "of an inherited listening socket";
    sock_recv("fd:fd iovs:ptr count:int flags:hex nread:ptr oflags:ptr") Partial fd::sock_recv, "inherited sockets; flags give `notsup`";
    sock_send("fd:fd iovs:ptr count:int flags:hex nwritten:ptr") Partial fd::sock_send, "as sock_recv";
    sock_shutdown("fd:fd how:int") Full fd::sock_shutdown;
}

/// All functions, in the order of [`WASI_IMPORTS`].
pub fn table() -> &'static [WasiEntry] {
    TABLE
}

/// Performs one attempt of a call, with a line about it for `--strace`.
pub(super) fn perform(task: &mut Task, entry: &WasiEntry, a: [u64; WASI_MAX_ARGS]) -> Result<()> {
    let sink = task.kernel.config.strace.clone();
    let pid = task.process.pid;
    let mut registers = NoRegisters;
    let mut c = Ctx { task, m: &mut registers, a: [0; 6] };
    let mut call = Call { c: &mut c, a };
    let Some(sink) = sink else { return (entry.handler)(&mut call) };
    let shown = describe(&call, entry);
    if entry.name == "proc_exit" {
        sink(&format!("{pid} {shown} = ?"));
        return (entry.handler)(&mut call);
    }
    let r = (entry.handler)(&mut call);
    let result = match r {
        Ok(()) => "success",
        Err(e) if e == ERESTARTSYS || e == ERESTARTNOHAND => "? (interrupted)",
        Err(e) => errno::name(errno::number(e)),
    };
    sink(&format!("{pid} {shown} = {result}"));
    r
}

fn describe(c: &Call<'_, '_>, entry: &WasiEntry) -> String {
    let mut s = format!("{}(", entry.name);
    for (i, spec) in entry.args.split(' ').filter(|a| !a.is_empty()).enumerate() {
        if i > 0 {
            s.push_str(", ");
        }
        let v = c.u64(i);
        let _ = match spec.split(':').nth(1) {
            Some("fd") => write!(s, "{}", v as i32),
            Some("int") => write!(s, "{}", v as i64),
            Some("path") => match c.path(i) {
                Ok(b) => write!(s, "\"{}\"", b.escape_ascii()),
                Err(_) => write!(s, "{v:#x}"),
            },
            _ => write!(s, "{v:#x}"),
        };
    }
    s.push(')');
    s
}

/// `docs/wasi.md`.
pub fn docs_markdown() -> String {
    let mut s = String::from(
        "# WASI functions\n\nGenerated from the table in `crates/vkernel/src/wasi/table.rs`: all of `wasi_snapshot_preview1`, the only module that a WASI \
         program may import from. An executable `.wasm` file that imports anything else is left out by `build`, with the reason.\n\n\
         | name | type | arguments | support | note |\n|---|---|---|---|---|\n",
    );
    for (e, (_, params, results)) in TABLE.iter().zip(WASI_IMPORTS) {
        let support = e.support.name();
        let types = |t: &str| t.chars().map(|c| if c == 'l' { "i64" } else { "i32" }).collect::<Vec<_>>().join(" ");
        let names: Vec<&str> =
            e.args.split(' ').filter_map(|a| a.split(':').next()).filter(|a| !a.is_empty()).collect();
        let ty = format!("({}) -> ({})", types(params), types(results));
        let _ = writeln!(s, "| `{}` | {ty} | {} | {support} | {} |", e.name, names.join(", "), e.note);
    }
    s.push_str(DETAILS);
    s
}

const DETAILS: &str = "
## How a WASI program fits into the container

* It is a process: it has a number, a parent, a user, descriptors, limits, and stands in `/proc`. Every start passes the gate. It cannot fork, exec or
  handle signals; signals have their default action, also in a loop without calls. SIGPIPE ends it, as it ends others.
* Its descriptors are the process's. 0 to 2 and others are inherited; 3 is the directory `/`, and what was inherited as 3 moves to the lowest free number above.
* WASI libraries know no working directory of the process: they drop a leading slash and pass both `/etc/passwd` and `data.txt` relative to 3. So a name
  relative to 3 counts from `/` when the root directory has an entry with its first component, and from the working directory otherwise, as do `.`, `..` and
  what begins with them. Where the working directory is `/` there is no difference.
* Relative to other directories a name may not lead out of them by `..`, nor begin with a slash (`perm`); symbolic links lead where Linux follows them.
* Every pointer is checked: what does not lie in the memory gives `fault`.
* Traps end the process with one audit line: out of bounds, null or wrongly typed indirect calls and exhausted stack as SIGSEGV, integer division and
  conversion as SIGFPE, `unreachable` as SIGILL.
* Memory growth obeys `--memory` and RLIMIT_AS. The host stack of a program is 16 MiB.
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_the_contract_s() {
        assert_eq!(TABLE.len(), WASI_IMPORTS.len());
        for (e, (name, params, _)) in TABLE.iter().zip(WASI_IMPORTS) {
            assert_eq!(e.name, *name);
            assert_eq!(e.args.split(' ').filter(|a| !a.is_empty()).count(), params.len(), "{name}");
            assert!(e.support == Support::Full || !e.note.is_empty(), "{name}");
        }
    }
}
