//! Terminals: the line discipline, pseudo-terminal pairs, the host's terminal, and host streams.

use crate::errno::{Errno, Result};
use crate::file::{Caller, IoctlMemory, POLLERR, POLLHUP, POLLIN, POLLOUT, POLLRDNORM, POLLWRNORM, Stream};
use crate::hostio;
use crate::kernel::Kernel;
use crate::process::{Pid, State};
use crate::signal::{
    SI_KERNEL, SIGCONT, SIGHUP, SIGINT, SIGPIPE, SIGQUIT, SIGTSTP, SIGTTIN, SIGTTOU, SIGWINCH, SigInfo,
};
use crate::wait::{WaitQueue, lock};
use megalith_vfs::{FileType, Stat, Timespec};
use std::any::Any;
use std::collections::{BTreeMap, VecDeque};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::sync::{Arc, Mutex, OnceLock, Weak};

/// `struct termios` of the kernel ABI: four flag words, line, 19 control characters.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Termios {
    pub iflag: u32,
    pub oflag: u32,
    pub cflag: u32,
    pub lflag: u32,
    pub line: u8,
    pub cc: [u8; 19],
}

const ISTRIP: u32 = 0o40;
const INLCR: u32 = 0o100;
const IGNCR: u32 = 0o200;
const ICRNL: u32 = 0o400;
const IUCLC: u32 = 0o1000;
const IXON: u32 = 0o2000;
const OPOST: u32 = 1;
const ONLCR: u32 = 4;
const OCRNL: u32 = 0o10;
const ISIG: u32 = 1;
const ICANON: u32 = 2;
const ECHO: u32 = 0o10;
const ECHOE: u32 = 0o20;
const ECHOK: u32 = 0o40;
const ECHONL: u32 = 0o100;
const NOFLSH: u32 = 0o200;
const TOSTOP: u32 = 0o400;
const ECHOCTL: u32 = 0o1000;
const IEXTEN: u32 = 0o100000;
const VINTR: usize = 0;
const VQUIT: usize = 1;
const VERASE: usize = 2;
const VKILL: usize = 3;
const VEOF: usize = 4;
const VTIME: usize = 5;
const VMIN: usize = 6;
const VSTART: usize = 8;
const VSTOP: usize = 9;
const VSUSP: usize = 10;
const VEOL: usize = 11;
const VWERASE: usize = 14;
const VLNEXT: usize = 15;
const VEOL2: usize = 16;

impl Default for Termios {
    /// What a new Linux terminal has.
    fn default() -> Termios {
        let mut cc = [0; 19];
        let init = [3, 28, 127, 21, 4, 0, 1, 0, 17, 19, 26, 0, 18, 15, 23, 22, 0];
        for (c, v) in cc.iter_mut().zip(init) {
            *c = v;
        }
        Termios { iflag: ICRNL | IXON, oflag: OPOST | ONLCR, cflag: 0xbf, lflag: 0o105073, line: 0, cc }
    }
}

impl Termios {
    fn to_bytes(self) -> [u8; 36] {
        let mut b = [0; 36];
        for (i, w) in [self.iflag, self.oflag, self.cflag, self.lflag].into_iter().enumerate() {
            b[i * 4..i * 4 + 4].copy_from_slice(&w.to_le_bytes());
        }
        b[16] = self.line;
        b[17..].copy_from_slice(&self.cc);
        b
    }
    fn from_bytes(b: &[u8; 36]) -> Termios {
        let w = |i: usize| u32::from_le_bytes(b[i * 4..i * 4 + 4].try_into().unwrap_or_default());
        let mut cc = [0; 19];
        cc.copy_from_slice(&b[17..]);
        Termios { iflag: w(0), oflag: w(1), cflag: w(2), lflag: w(3), line: b[16], cc }
    }
    fn has(&self, l: u32) -> bool {
        self.lflag & l != 0
    }
    fn is(&self, which: usize, c: u8) -> bool {
        self.cc.get(which).is_some_and(|&v| v == c && v != 0)
    }
}

/// Bytes of input that are kept (`N_TTY_BUF_SIZE`).
const INPUT_MAX: usize = 4096;
/// Bytes of output that wait for a pseudo-terminal's master.
const OUTPUT_MAX: usize = 65536;

struct State_ {
    termios: Termios,
    window: [u16; 4],
    /// Input that can be read: whole lines in canonical mode.
    input: VecDeque<u8>,
    /// Ends of lines in `input`: number of bytes of each complete line (an end-of-file line has 0 more bytes than it shows).
    lines: VecDeque<usize>,
    /// The line being edited.
    edit: Vec<u8>,
    literal: bool,
    column: usize,
    /// Output waiting for the master.
    output: VecDeque<u8>,
    stopped: bool,
    hung_up: bool,
    slaves: usize,
    slave_opened: bool,
    locked: bool,
    packet: bool,
}

enum Side {
    /// Output goes to this host terminal.
    Host { input: Arc<OwnedFd>, output: Arc<OwnedFd> },
    /// Output waits for the master of pair number n.
    Pair(u32),
}

/// A terminal: the line discipline and what is behind it.
pub struct Tty {
    state: Mutex<State_>,
    side: Side,
    pub queue: WaitQueue,
    /// Session and foreground group; 0 for none.
    session: AtomicI32,
    foreground: AtomicI32,
    reading: AtomicBool,
    kernel: OnceLock<Weak<Kernel>>,
    me: Weak<Tty>,
}

impl Tty {
    fn new(side: Side) -> Arc<Tty> {
        Arc::new_cyclic(|me| Tty {
            state: Mutex::new(State_ {
                termios: Termios::default(),
                window: [0; 4],
                input: VecDeque::new(),
                lines: VecDeque::new(),
                edit: Vec::new(),
                literal: false,
                column: 0,
                output: VecDeque::new(),
                stopped: false,
                hung_up: false,
                slaves: 0,
                slave_opened: false,
                locked: true,
                packet: false,
            }),
            side,
            queue: WaitQueue::default(),
            session: AtomicI32::new(0),
            foreground: AtomicI32::new(0),
            reading: AtomicBool::new(false),
            kernel: OnceLock::new(),
            me: Weak::clone(me),
        })
    }

    /// A terminal on the host's. The host's must be in raw mode.
    pub fn host(input: Arc<OwnedFd>, output: Arc<OwnedFd>) -> Arc<Tty> {
        let t = Tty::new(Side::Host { input, output });
        t.refresh_window();
        t
    }

    /// Device number.
    pub fn rdev(&self) -> u64 {
        match self.side {
            Side::Host { .. } => 5 << 8 | 1,
            Side::Pair(n) => 136 << 8 | u64::from(n),
        }
    }

    /// Makes it the controlling terminal of a session.
    pub fn acquire(&self, session: Pid, foreground: Pid) {
        self.session.store(session, Ordering::Release);
        self.foreground.store(foreground, Ordering::Release);
    }

    /// The foreground group, or -1.
    pub fn foreground_group(&self) -> Pid {
        match self.foreground.load(Ordering::Acquire) {
            0 => -1,
            g => g,
        }
    }

    /// The session leader is gone or gave the terminal up. Returns the foreground group.
    pub fn release(&self, session: Pid) -> Pid {
        if self.session.compare_exchange(session, 0, Ordering::AcqRel, Ordering::Acquire).is_ok() {
            let fg = self.foreground.swap(0, Ordering::AcqRel);
            if matches!(self.side, Side::Pair(_)) {
                lock(&self.state).hung_up = true;
                self.queue.wake();
            }
            return fg;
        }
        0
    }

    /// Reads the window size from the host again; the foreground group when it changed.
    pub fn refresh_window(&self) -> Option<Pid> {
        let Side::Host { output, .. } = &self.side else { return None };
        let ws = hostio::window_size(output.as_raw_fd())?;
        let mut s = lock(&self.state);
        if s.window == ws {
            return None;
        }
        s.window = ws;
        drop(s);
        Some(self.foreground.load(Ordering::Acquire)).filter(|&g| g > 0)
    }

    /// An end for the programs that use the terminal.
    pub fn slave(self: &Arc<Tty>) -> Arc<TtyFile> {
        {
            let mut s = lock(&self.state);
            s.slaves += 1;
            s.slave_opened = true;
        }
        Arc::new(TtyFile { tty: Arc::clone(self) })
    }

    /// Starts the thread that reads the host terminal.
    pub fn start_reader(&self, kernel: &Arc<Kernel>) {
        let _ = self.kernel.set(Arc::downgrade(kernel));
        let Side::Host { input, .. } = &self.side else { return };
        if self.reading.swap(true, Ordering::AcqRel) {
            return;
        }
        let input = Arc::clone(input);
        let me = Weak::clone(&self.me);
        let run = move || {
            let mut buf = [0u8; 1024];
            loop {
                let mut fds = [libc::pollfd { fd: input.as_raw_fd(), events: libc::POLLIN, revents: 0 }];
                let n = hostio::poll(&mut fds, 1000);
                let Some(t) = me.upgrade() else { return };
                if n <= 0 {
                    continue;
                }
                match rustix::io::read(&input, &mut buf) {
                    Ok(0) => break t.hang_up(),
                    Ok(n) => t.receive(buf.get(..n).unwrap_or_default()),
                    Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => {}
                    Err(_) => break t.hang_up(),
                }
            }
        };
        let _ = std::thread::Builder::new().name("megalith-tty".into()).spawn(run);
    }

    fn hang_up(&self) {
        lock(&self.state).hung_up = true;
        self.signal(SIGHUP);
        self.signal(SIGCONT);
        self.queue.wake();
    }

    fn signal(&self, sig: i32) {
        let g = self.foreground.load(Ordering::Acquire);
        if g > 0
            && let Some(k) = self.kernel.get().and_then(Weak::upgrade)
        {
            k.signal_group(g, SigInfo::new(sig, SI_KERNEL));
        }
    }

    /// Input from the keyboard (or the master).
    fn receive(&self, data: &[u8]) {
        let mut echo = Vec::new();
        let mut signals = Vec::new();
        {
            let mut s = lock(&self.state);
            for &c in data {
                s.receive(c, &mut echo, &mut signals);
            }
        }
        self.emit(&echo);
        for sig in signals {
            self.signal(sig);
        }
        self.queue.wake();
    }

    /// Sends bytes to the screen.
    fn emit(&self, data: &[u8]) {
        if data.is_empty() {
            return;
        }
        match &self.side {
            Side::Host { output, .. } => {
                let mut rest = data;
                while !rest.is_empty() {
                    match rustix::io::write(output, rest) {
                        Ok(n) => rest = rest.get(n..).unwrap_or_default(),
                        Err(rustix::io::Errno::INTR) => {}
                        Err(rustix::io::Errno::AGAIN) => {
                            let mut fds = [libc::pollfd { fd: output.as_raw_fd(), events: libc::POLLOUT, revents: 0 }];
                            hostio::poll(&mut fds, 1000);
                        }
                        Err(_) => return,
                    }
                }
            }
            Side::Pair(_) => {
                let mut s = lock(&self.state);
                let room = OUTPUT_MAX.saturating_sub(s.output.len());
                s.output.extend(data.iter().take(room));
                drop(s);
                self.queue.wake();
            }
        }
    }

    /// Job control: whether a member of a background group may go on (man 4 tty_ioctl, SIGTTIN and SIGTTOU).
    fn check_background(&self, c: &Caller<'_>, sig: i32) -> Result<()> {
        let fg = self.foreground.load(Ordering::Acquire);
        let tree = lock(&c.kernel.tree);
        let Some(n) = tree.nodes.get(&c.process.pid) else { return Ok(()) };
        let session = self.session.load(Ordering::Acquire);
        if session == 0 || n.sid != session || n.pgid == fg || fg == 0 {
            return Ok(());
        }
        let pgid = n.pgid;
        let orphaned = tree.orphaned(pgid, None);
        drop(tree);
        if crate::sys::blocked_or_ignored(c.process, c.tid, sig) {
            return if sig == SIGTTIN { Err(Errno::EIO) } else { Ok(()) };
        }
        if orphaned {
            return Err(Errno::EIO);
        }
        c.kernel.signal_group(pgid, SigInfo::new(sig, SI_KERNEL));
        Err(Errno::EINTR)
    }

    fn ioctl(&self, c: &Caller<'_>, request: u32, arg: u64, mem: &mut dyn IoctlMemory, master: bool) -> Result<i64> {
        const TCGETS: u32 = 0x5401;
        const TCSETS: u32 = 0x5402;
        const TCSETSW: u32 = 0x5403;
        const TCSETSF: u32 = 0x5404;
        let me = self.me.upgrade().ok_or(Errno::EIO)?;
        let put = |mem: &mut dyn IoctlMemory, v: u32| mem.put(arg, &v.to_le_bytes()).map(|()| 0);
        let get = |mem: &mut dyn IoctlMemory| -> Result<u32> {
            let mut b = [0; 4];
            mem.get(arg, &mut b)?;
            Ok(u32::from_le_bytes(b))
        };
        match request {
            TCGETS => mem.put(arg, &lock(&self.state).termios.to_bytes()).map(|()| 0),
            TCSETS | TCSETSW | TCSETSF => {
                let mut b = [0; 36];
                mem.get(arg, &mut b)?;
                if !master {
                    self.check_background(c, SIGTTOU)?;
                }
                let mut s = lock(&self.state);
                if request == TCSETSF {
                    s.flush_input();
                }
                let new = Termios::from_bytes(&b);
                let leaves = s.termios.has(ICANON) && !new.has(ICANON);
                s.termios = new;
                if leaves {
                    // What was being edited can be read at once.
                    let edit = std::mem::take(&mut s.edit);
                    s.input.extend(edit);
                    s.lines.clear();
                } else if new.has(ICANON) && s.lines.is_empty() && !s.input.is_empty() {
                    let n = s.input.len();
                    s.lines.push_back(n);
                }
                drop(s);
                self.queue.wake();
                Ok(0)
            }
            // TCSBRK, TCXONC, TCFLSH, TCSBRKP
            0x5409 | 0x5425 => Ok(0),
            0x540a => {
                lock(&self.state).stopped = arg == 0;
                self.queue.wake();
                Ok(0)
            }
            0x540b => {
                let mut s = lock(&self.state);
                match arg {
                    0 => s.flush_input(),
                    1 => s.output.clear(),
                    2 => {
                        s.flush_input();
                        s.output.clear();
                    }
                    _ => return Err(Errno::EINVAL),
                }
                Ok(0)
            }
            // TIOCSCTTY
            0x540e => {
                let mut tree = lock(&c.kernel.tree);
                let n = tree.nodes.get(&c.process.pid).ok_or(Errno::EPERM)?;
                let (sid, pgid) = (n.sid, n.pgid);
                if tree.terminals.get(&sid).is_some_and(|t| Arc::ptr_eq(t, &me)) {
                    return Ok(0);
                }
                if sid != c.process.pid || tree.terminals.contains_key(&sid) {
                    return Err(Errno::EPERM);
                }
                let old = self.session.load(Ordering::Acquire);
                if old != 0
                    && tree.nodes.values().any(|n| n.sid == old && !matches!(n.state, State::Zombie(_)))
                    && arg != 1
                {
                    return Err(Errno::EPERM);
                }
                tree.terminals.remove(&old);
                self.acquire(sid, pgid);
                lock(&self.state).hung_up = false;
                let _ = self.kernel.set(Weak::clone(&c.kernel.me));
                tree.terminals.insert(sid, me);
                Ok(0)
            }
            // TIOCGPGRP
            0x540f => {
                if !master && !controls(c, self) {
                    return Err(Errno::ENOTTY);
                }
                put(mem, self.foreground.load(Ordering::Acquire) as u32)
            }
            // TIOCSPGRP
            0x5410 => {
                if !controls(c, self) {
                    return Err(Errno::ENOTTY);
                }
                let g = get(mem)? as i32;
                self.check_background(c, SIGTTOU)?;
                let tree = lock(&c.kernel.tree);
                let sid = self.session.load(Ordering::Acquire);
                let members = || tree.nodes.values().filter(|n| n.pgid == g);
                if g <= 0 {
                    return Err(Errno::EINVAL);
                }
                if members().next().is_none() {
                    return Err(Errno::ESRCH);
                }
                if !members().any(|n| n.sid == sid) {
                    return Err(Errno::EPERM);
                }
                self.foreground.store(g, Ordering::Release);
                Ok(0)
            }
            // TIOCOUTQ
            0x5411 => put(mem, if master { 0 } else { lock(&self.state).output.len() as u32 }),
            // TIOCSTI
            0x5412 => Err(Errno::EIO),
            // TIOCGWINSZ
            0x5413 => {
                let w = lock(&self.state).window;
                let b: Vec<u8> = w.iter().flat_map(|v| v.to_le_bytes()).collect();
                mem.put(arg, &b).map(|()| 0)
            }
            // TIOCSWINSZ
            0x5414 => {
                let mut b = [0; 8];
                mem.get(arg, &mut b)?;
                let mut w = [0; 4];
                for (w, b) in w.iter_mut().zip(b.chunks_exact(2)) {
                    *w = u16::from_le_bytes([b[0], b[1]]);
                }
                let changed = std::mem::replace(&mut lock(&self.state).window, w) != w;
                if changed {
                    let _ = self.kernel.set(Weak::clone(&c.kernel.me));
                    self.signal(SIGWINCH);
                }
                Ok(0)
            }
            // FIONREAD
            0x541b => {
                let s = lock(&self.state);
                let n = if master { s.output.len() } else { s.readable() };
                put(mem, n as u32)
            }
            // TIOCNOTTY
            0x5422 => {
                let mut tree = lock(&c.kernel.tree);
                let sid = tree.nodes.get(&c.process.pid).map_or(0, |n| n.sid);
                if !tree.terminals.get(&sid).is_some_and(|t| Arc::ptr_eq(t, &me)) {
                    return Err(Errno::ENOTTY);
                }
                if sid == c.process.pid {
                    tree.terminals.remove(&sid);
                    drop(tree);
                    self.session.store(0, Ordering::Release);
                    let fg = self.foreground.swap(0, Ordering::AcqRel);
                    if fg > 0 {
                        c.kernel.signal_group(fg, SigInfo::new(SIGHUP, SI_KERNEL));
                        c.kernel.signal_group(fg, SigInfo::new(SIGCONT, SI_KERNEL));
                    }
                }
                Ok(0)
            }
            // TIOCGSID
            0x5429 => {
                if !master && !controls(c, self) {
                    return Err(Errno::ENOTTY);
                }
                put(mem, self.session.load(Ordering::Acquire) as u32)
            }
            // TIOCGETD
            0x5424 => put(mem, 0),
            // TIOCMGET
            0x5415 => Err(Errno::ENOTTY),
            // TIOCGPTN
            0x8004_5430 if master => match self.side {
                Side::Pair(n) => put(mem, n),
                Side::Host { .. } => Err(Errno::ENOTTY),
            },
            // TIOCSPTLCK, TIOCGPTLCK
            0x4004_5431 if master => {
                let v = get(mem)?;
                lock(&self.state).locked = v != 0;
                Ok(0)
            }
            0x8004_5439 if master => put(mem, lock(&self.state).locked.into()),
            // TIOCPKT
            0x5420 if master => {
                let v = get(mem)?;
                lock(&self.state).packet = v != 0;
                Ok(0)
            }
            // TIOCSIG
            0x4004_5436 if master => {
                self.signal(arg as i32);
                Ok(0)
            }
            // TIOCEXCL, TIOCNXCL
            0x540c | 0x540d => Ok(0),
            _ => Err(Errno::ENOTTY),
        }
    }
}

/// Whether the terminal is the caller's controlling terminal.
fn controls(c: &Caller<'_>, t: &Tty) -> bool {
    let tree = lock(&c.kernel.tree);
    let sid = tree.nodes.get(&c.process.pid).map_or(0, |n| n.sid);
    tree.terminals.get(&sid).is_some_and(|x| std::ptr::eq(Arc::as_ptr(x), t))
}

impl State_ {
    fn flush_input(&mut self) {
        self.input.clear();
        self.lines.clear();
        self.edit.clear();
        self.literal = false;
    }

    /// Bytes that a read would give.
    fn readable(&self) -> usize {
        if self.termios.has(ICANON) { self.lines.front().copied().unwrap_or(0) } else { self.input.len() }
    }

    fn ready(&self) -> bool {
        if self.termios.has(ICANON) {
            !self.lines.is_empty()
        } else {
            let min = usize::from(self.termios.cc[VMIN]);
            self.input.len() >= min.max(1)
        }
    }

    /// Echoes one character of the line being edited.
    fn echo(&mut self, c: u8, out: &mut Vec<u8>) {
        let t = self.termios;
        if !(t.has(ECHO) || c == b'\n' && t.has(ECHONL) && t.has(ICANON)) {
            return;
        }
        if t.has(ECHOCTL) && (c < 32 && !matches!(c, b'\n' | b'\t') || c == 127) {
            out.extend_from_slice(&[b'^', c ^ 0x40]);
            self.column += 2;
        } else {
            self.put(c, out);
        }
    }

    /// Output processing of one character.
    fn put(&mut self, c: u8, out: &mut Vec<u8>) {
        let o = self.termios.oflag;
        match c {
            b'\n' if o & OPOST != 0 && o & ONLCR != 0 => {
                out.extend_from_slice(b"\r\n");
                self.column = 0;
            }
            b'\r' if o & OPOST != 0 && o & OCRNL != 0 => {
                out.push(b'\n');
                self.column = 0;
            }
            b'\r' | b'\n' => {
                out.push(c);
                self.column = 0;
            }
            b'\t' => {
                out.push(c);
                self.column = (self.column | 7) + 1;
            }
            8 => {
                out.push(c);
                self.column = self.column.saturating_sub(1);
            }
            // UTF-8 continuation bytes take no column.
            c => {
                out.push(c);
                self.column += usize::from(c >= 32 && c & 0xc0 != 0x80);
            }
        }
    }

    /// Width of a character on the screen when erased.
    fn erase(&mut self, out: &mut Vec<u8>) -> bool {
        let Some(mut c) = self.edit.pop() else { return false };
        // A multi-byte character goes as a whole.
        while c & 0xc0 == 0x80
            && let Some(p) = self.edit.pop()
        {
            c = p;
        }
        if self.termios.has(ECHO) {
            let width = if c == b'\t' {
                1
            } else if self.termios.has(ECHOCTL) && (c < 32 || c == 127) {
                2
            } else {
                1
            };
            for _ in 0..width {
                if self.termios.has(ECHOE) {
                    out.extend_from_slice(b"\x08 \x08");
                }
                self.column = self.column.saturating_sub(1);
            }
        }
        true
    }

    /// One character of input (man 3 termios; `drivers/tty/n_tty.c`).
    fn receive(&mut self, c: u8, echo: &mut Vec<u8>, signals: &mut Vec<i32>) {
        let t = self.termios;
        let mut c = if t.iflag & ISTRIP != 0 { c & 0x7f } else { c };
        if t.iflag & IUCLC != 0 && t.has(IEXTEN) {
            c = c.to_ascii_lowercase();
        }
        if self.literal {
            self.literal = false;
            self.edit.push(c);
            self.echo(c, echo);
            return;
        }
        if t.has(ISIG) {
            let sig = if t.is(VINTR, c) {
                SIGINT
            } else if t.is(VQUIT, c) {
                SIGQUIT
            } else if t.is(VSUSP, c) {
                SIGTSTP
            } else {
                0
            };
            if sig != 0 {
                if !t.has(NOFLSH) {
                    self.flush_input();
                    self.output.clear();
                }
                self.stopped = false;
                self.echo(c, echo);
                signals.push(sig);
                return;
            }
        }
        if t.iflag & IXON != 0 {
            if t.is(VSTOP, c) {
                self.stopped = true;
                return;
            }
            if t.is(VSTART, c) {
                self.stopped = false;
                return;
            }
        }
        match c {
            b'\r' if t.iflag & IGNCR != 0 => return,
            b'\r' if t.iflag & ICRNL != 0 => c = b'\n',
            b'\n' if t.iflag & INLCR != 0 => c = b'\r',
            _ => {}
        }
        if !t.has(ICANON) {
            if self.input.len() < INPUT_MAX {
                self.input.push_back(c);
                self.echo(c, echo);
            }
            return;
        }
        if t.is(VERASE, c) {
            self.erase(echo);
        } else if t.is(VKILL, c) {
            while self.erase(echo) {}
            if t.has(ECHO) && t.has(ECHOK) && !t.has(ECHOE) {
                self.put(b'\n', echo);
            }
        } else if t.has(IEXTEN) && t.is(VWERASE, c) {
            while self.edit.last().is_some_and(|c| c.is_ascii_whitespace()) {
                self.erase(echo);
            }
            while self.edit.last().is_some_and(|c| !c.is_ascii_whitespace()) {
                self.erase(echo);
            }
        } else if t.has(IEXTEN) && t.is(VLNEXT, c) {
            self.literal = true;
            if t.has(ECHO) {
                echo.extend_from_slice(b"^\x08");
            }
        } else if t.is(VEOF, c) {
            self.commit();
        } else if c == b'\n' || t.is(VEOL, c) || t.is(VEOL2, c) {
            self.edit.push(c);
            self.echo(c, echo);
            self.commit();
        } else if self.edit.len() + self.input.len() < INPUT_MAX - 1 {
            self.edit.push(c);
            self.echo(c, echo);
        } else {
            echo.push(7);
        }
    }

    /// Makes the edited line readable.
    fn commit(&mut self) {
        let edit = std::mem::take(&mut self.edit);
        self.lines.push_back(edit.len());
        self.input.extend(edit);
    }

    fn read(&mut self, buf: &mut [u8]) -> Option<usize> {
        if self.termios.has(ICANON) {
            let line = self.lines.pop_front()?;
            let n = line.min(buf.len());
            self.take(buf, n);
            if n < line {
                self.lines.push_front(line - n);
            }
            return Some(n);
        }
        if self.input.is_empty() {
            // MIN 0: what is there, be it nothing; with TIME the caller waits first.
            return (self.termios.cc[VMIN] == 0 && self.termios.cc[VTIME] == 0).then_some(0);
        }
        if !self.ready() && self.termios.cc[VTIME] == 0 {
            return None;
        }
        let n = self.input.len().min(buf.len());
        self.take(buf, n);
        Some(n)
    }

    fn take(&mut self, buf: &mut [u8], n: usize) {
        for (d, s) in buf.iter_mut().zip(self.input.drain(..n.min(self.input.len()))) {
            *d = s;
        }
    }
}

/// A descriptor of a terminal.
pub struct TtyFile {
    tty: Arc<Tty>,
}

impl TtyFile {
    /// The terminal.
    pub fn tty(&self) -> &Arc<Tty> {
        &self.tty
    }
}

impl Drop for TtyFile {
    fn drop(&mut self) {
        lock(&self.tty.state).slaves -= 1;
        self.tty.queue.wake();
    }
}

impl Stream for TtyFile {
    fn read(&self, c: &Caller<'_>, buf: &mut [u8]) -> Result<usize> {
        self.tty.start_reader(c.kernel);
        match self.tty.check_background(c, SIGTTIN) {
            // The signal is pending now: the wait that follows ends at once.
            Err(Errno::EINTR) => return Err(Errno::EAGAIN),
            r => r?,
        }
        let mut s = lock(&self.tty.state);
        match s.read(buf) {
            Some(n) => Ok(n),
            None if s.hung_up => Ok(0),
            None => Err(Errno::EAGAIN),
        }
    }
    fn write(&self, c: &Caller<'_>, data: &[u8]) -> Result<usize> {
        let _ = self.tty.kernel.set(Arc::downgrade(c.kernel));
        if lock(&self.tty.state).termios.has(TOSTOP) {
            match self.tty.check_background(c, SIGTTOU) {
                Err(Errno::EINTR) => return Err(Errno::EAGAIN),
                r => r?,
            }
        }
        let mut out = Vec::with_capacity(data.len() + 16);
        let n = {
            let mut s = lock(&self.tty.state);
            if s.hung_up {
                return Err(Errno::EIO);
            }
            if s.stopped {
                return Err(Errno::EAGAIN);
            }
            let pair = matches!(self.tty.side, Side::Pair(_));
            let room = if pair { OUTPUT_MAX.saturating_sub(s.output.len()) / 2 } else { data.len() };
            if room == 0 && !data.is_empty() {
                return Err(Errno::EAGAIN);
            }
            let n = data.len().min(room);
            for &c in data.iter().take(n) {
                s.put(c, &mut out);
            }
            n
        };
        self.tty.emit(&out);
        Ok(n)
    }
    fn poll(&self) -> u32 {
        let s = lock(&self.tty.state);
        let mut p = 0;
        if s.ready() || s.hung_up {
            p |= POLLIN | POLLRDNORM;
        }
        if s.hung_up {
            p |= POLLHUP | POLLERR;
        }
        if !s.stopped && s.output.len() < OUTPUT_MAX / 2 {
            p |= POLLOUT | POLLWRNORM;
        }
        // Somebody waits for input: it must be fetched.
        drop(s);
        if let Some(k) = self.tty.kernel.get().and_then(Weak::upgrade) {
            self.tty.start_reader(&k);
        }
        p
    }
    fn queue(&self) -> Option<&WaitQueue> {
        Some(&self.tty.queue)
    }
    fn ioctl(&self, c: &Caller<'_>, request: u32, arg: u64, mem: &mut dyn IoctlMemory) -> Result<i64> {
        let _ = self.tty.kernel.set(Arc::downgrade(c.kernel));
        self.tty.ioctl(c, request, arg, mem, false)
    }
    fn stat(&self) -> Result<Stat> {
        Ok(device_stat(self.tty.rdev()))
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
}

fn device_stat(rdev: u64) -> Stat {
    let t = Timespec::now();
    Stat {
        dev: 5,
        ino: rdev,
        mode: FileType::CharDevice.mode_bits() | 0o620,
        nlink: 1,
        rdev,
        blksize: 1024,
        atime: t,
        mtime: t,
        ctime: t,
        ..Stat::default()
    }
}

/// The master side of a pair.
pub struct Master {
    tty: Arc<Tty>,
    number: u32,
    kernel: Weak<Kernel>,
}

impl Stream for Master {
    fn read(&self, _: &Caller<'_>, buf: &mut [u8]) -> Result<usize> {
        let mut s = lock(&self.tty.state);
        if s.output.is_empty() {
            return if s.slave_opened && s.slaves == 0 { Err(Errno::EIO) } else { Err(Errno::EAGAIN) };
        }
        if s.packet
            && let Some((kind, rest)) = buf.split_first_mut()
        {
            *kind = 0;
            let n = s.output.len().min(rest.len());
            for (d, c) in rest.iter_mut().zip(s.output.drain(..n)) {
                *d = c;
            }
            drop(s);
            self.tty.queue.wake();
            return Ok(n + 1);
        }
        let n = s.output.len().min(buf.len());
        for (d, c) in buf.iter_mut().zip(s.output.drain(..n)) {
            *d = c;
        }
        drop(s);
        self.tty.queue.wake();
        Ok(n)
    }
    fn write(&self, c: &Caller<'_>, data: &[u8]) -> Result<usize> {
        let _ = self.tty.kernel.set(Arc::downgrade(c.kernel));
        let room = {
            let s = lock(&self.tty.state);
            INPUT_MAX.saturating_sub(s.input.len() + s.edit.len())
        };
        if room == 0 && !lock(&self.tty.state).termios.has(ICANON) {
            return Err(Errno::EAGAIN);
        }
        let n = data.len().min(room.max(1));
        self.tty.receive(data.get(..n).unwrap_or_default());
        Ok(n)
    }
    fn poll(&self) -> u32 {
        let s = lock(&self.tty.state);
        let mut p = POLLOUT | POLLWRNORM;
        if !s.output.is_empty() {
            p |= POLLIN | POLLRDNORM;
        }
        if s.slave_opened && s.slaves == 0 {
            p |= POLLHUP;
        }
        p
    }
    fn queue(&self) -> Option<&WaitQueue> {
        Some(&self.tty.queue)
    }
    fn ioctl(&self, c: &Caller<'_>, request: u32, arg: u64, mem: &mut dyn IoctlMemory) -> Result<i64> {
        let _ = self.tty.kernel.set(Arc::downgrade(c.kernel));
        self.tty.ioctl(c, request, arg, mem, true)
    }
    fn stat(&self) -> Result<Stat> {
        Ok(device_stat(5 << 8 | 2))
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Drop for Master {
    fn drop(&mut self) {
        self.tty.hang_up();
        if let Some(k) = self.kernel.upgrade() {
            lock(&k.ptys.pairs).remove(&self.number);
        }
    }
}

/// The pseudo-terminals of a container.
#[derive(Default)]
pub struct Ptys {
    pairs: Mutex<BTreeMap<u32, Weak<Tty>>>,
}

impl Ptys {
    /// Opens /dev/ptmx: a new pair.
    pub fn open_master(&self, kernel: &Arc<Kernel>) -> Result<Arc<Master>> {
        let mut pairs = lock(&self.pairs);
        let n = (0..4096).find(|n| !pairs.contains_key(n)).ok_or(Errno::ENOSPC)?;
        let tty = Tty::new(Side::Pair(n));
        let _ = tty.kernel.set(Arc::downgrade(kernel));
        pairs.insert(n, Arc::downgrade(&tty));
        Ok(Arc::new(Master { tty, number: n, kernel: Arc::downgrade(kernel) }))
    }
    /// The terminal /dev/pts/n.
    pub fn get(&self, n: u32) -> Option<Arc<Tty>> {
        lock(&self.pairs).get(&n).and_then(Weak::upgrade)
    }
    /// Whether /dev/pts/n may be opened.
    pub fn open_slave(&self, n: u32) -> Result<Arc<TtyFile>> {
        let t = self.get(n).ok_or(Errno::EIO)?;
        if lock(&t.state).locked {
            return Err(Errno::EIO);
        }
        Ok(t.slave())
    }
    /// Numbers in use.
    pub fn list(&self) -> Vec<u32> {
        lock(&self.pairs).keys().copied().collect()
    }
}

/// A host descriptor as a stream: the runner's standard input, output or error.
pub struct HostStream {
    fd: Arc<OwnedFd>,
    /// A regular file or the like, which never blocks.
    regular: bool,
}

impl HostStream {
    /// Wraps a descriptor; its flags are left alone, as others may share its description.
    pub fn new(fd: Arc<OwnedFd>) -> Arc<HostStream> {
        let regular = rustix::fs::fstat(&fd).is_ok_and(|s| {
            matches!(
                rustix::fs::FileType::from_raw_mode(s.st_mode),
                rustix::fs::FileType::RegularFile | rustix::fs::FileType::BlockDevice
            )
        });
        Arc::new(HostStream { fd, regular })
    }
    fn ready(&self, events: i16) -> i16 {
        let mut fds = [libc::pollfd { fd: self.fd.as_raw_fd(), events, revents: 0 }];
        if hostio::poll(&mut fds, 0) > 0 { fds[0].revents } else { 0 }
    }
}

impl Stream for HostStream {
    fn read(&self, _: &Caller<'_>, buf: &mut [u8]) -> Result<usize> {
        if !self.regular && self.ready(libc::POLLIN) == 0 {
            return Err(Errno::EAGAIN);
        }
        match rustix::io::read(&self.fd, buf) {
            Err(rustix::io::Errno::INTR) => Err(Errno::EAGAIN),
            r => Ok(r?),
        }
    }
    fn write(&self, c: &Caller<'_>, data: &[u8]) -> Result<usize> {
        let data = if self.regular {
            data
        } else {
            if self.ready(libc::POLLOUT) == 0 {
                return Err(Errno::EAGAIN);
            }
            // A ready pipe takes this much without blocking.
            data.get(..crate::pipe::PIPE_BUF).unwrap_or(data)
        };
        match rustix::io::write(&self.fd, data) {
            Err(rustix::io::Errno::INTR) => Err(Errno::EAGAIN),
            Err(rustix::io::Errno::PIPE) => {
                c.process.post_to(c.kernel, c.tid, SigInfo::from_process(SIGPIPE, SI_KERNEL, c.process.pid, 0));
                Err(Errno::EPIPE)
            }
            r => Ok(r?),
        }
    }
    fn poll(&self) -> u32 {
        self.ready(libc::POLLIN | libc::POLLOUT) as u16 as u32
    }
    fn queue(&self) -> Option<&WaitQueue> {
        None
    }
    fn seek(&self, offset: i64, whence: u32) -> Result<u64> {
        use rustix::fs::SeekFrom;
        let to = match whence {
            0 => SeekFrom::Start(u64::try_from(offset).map_err(|_| Errno::EINVAL)?),
            1 => SeekFrom::Current(offset),
            2 => SeekFrom::End(offset),
            _ => return Err(Errno::EINVAL),
        };
        // The host's position, shared with whoever shares the descriptor.
        Ok(rustix::fs::seek(&self.fd, to)?)
    }
    fn host(&self) -> Option<BorrowedFd<'_>> {
        (!self.regular).then(|| self.fd.as_fd())
    }
    fn ioctl(&self, _: &Caller<'_>, request: u32, arg: u64, mem: &mut dyn IoctlMemory) -> Result<i64> {
        const FIONREAD: u32 = 0x541b;
        if request == FIONREAD
            && let Some(n) = hostio::readable_bytes(self.fd.as_raw_fd())
        {
            mem.put(arg, &n.to_le_bytes())?;
            return Ok(0);
        }
        Err(Errno::ENOTTY)
    }
    fn stat(&self) -> Result<Stat> {
        let s = rustix::fs::fstat(&self.fd)?;
        let t = |sec: i64, nsec: u64| Timespec { sec, nsec: nsec as u32 };
        // A host terminal that is not used as one looks like a pipe, so that nobody expects job control of it.
        let mut mode = s.st_mode;
        if mode & 0o170000 == 0o020000 && rustix::termios::isatty(&self.fd) {
            mode = FileType::Fifo.mode_bits() | 0o600;
        }
        Ok(Stat {
            dev: s.st_dev,
            ino: s.st_ino,
            mode,
            nlink: s.st_nlink,
            uid: 0,
            gid: 0,
            rdev: s.st_rdev,
            size: s.st_size as u64,
            blksize: s.st_blksize as u64,
            blocks: s.st_blocks as u64,
            atime: t(s.st_atime, s.st_atime_nsec),
            mtime: t(s.st_mtime, s.st_mtime_nsec),
            ctime: t(s.st_ctime, s.st_ctime_nsec),
            btime: Timespec::default(),
        })
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn type_name(&self) -> &'static str {
        "host"
    }
}
