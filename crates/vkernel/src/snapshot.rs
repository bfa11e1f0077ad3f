//! Snapshots: a program's memory and registers after it has run for a while, to begin from instead of from its file.
//!
//! A program asks for its snapshot by a private system call ([`crate::sys`], `polyfill`), so its registers are in the globals and no wasm frame holds anything.
//! The file: [`MAGIC`], the length of the state as a 64-bit little-endian word, the [`State`] (postcard), zeros up to a page boundary, then the pages.
//! Pages that the program's own file still has are not there twice: they are mapped from that file.

use crate::errno::{Errno, Result};
use crate::mm::{Area, MapSource, PAGE, StartImage};
use crate::program::{Hash, hash_file};
use crate::regs::Regs;
use crate::signal::{Action, AltStack, Signals};
use crate::thread::Leave;
use crate::wait::lock;
use megalith_fpu::Fpu;
use memmap2::Mmap;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, OnceLock};

/// First bytes of the file.
const MAGIC: [u8; 8] = *b"mgsnap01";
/// Bytes in front of the state.
const HEADER: usize = 16;

/// All but the bytes of the pages.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct State {
    regs: Registers,
    /// As FXSAVE has it, up to the SSE registers.
    fpu: Vec<u8>,
    /// By ascending address.
    pub(crate) areas: Vec<Area>,
    pub(crate) brk_start: u64,
    pub(crate) brk: u64,
    pub(crate) mmap_top: u64,
    /// (handler, flags, restorer, mask) of each signal.
    actions: Vec<[u64; 4]>,
    /// Address, size and flags.
    altstack: (u64, u64, u32),
    /// What set_tid_address(2) and set_robust_list(2) were given; 0 for nothing.
    clear_tid: u64,
    robust_list: u64,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Registers {
    gpr: [u64; 16],
    xmm: [u128; 16],
    fs_base: u64,
    gs_base: u64,
    rflags: u64,
    pc: u64,
    mxcsr: u32,
}

/// What a process that begins from a snapshot gets beside its memory.
pub(crate) struct Resumed {
    pub(crate) regs: Box<Regs>,
    pub(crate) fpu: Fpu,
    actions: Vec<[u64; 4]>,
    altstack: AltStack,
    pub(crate) leave: Leave,
}

impl State {
    /// The state of a process; areas and the like are filled in by who writes the pages.
    pub(crate) fn new(regs: &Regs, fpu: &Fpu, signals: &Signals, leave: &Leave) -> State {
        let alt = signals.main.altstack;
        State {
            regs: Registers {
                gpr: regs.gpr,
                xmm: regs.xmm,
                fs_base: regs.fs_base,
                gs_base: regs.gs_base,
                rflags: regs.rflags,
                pc: regs.pc,
                mxcsr: regs.mxcsr,
            },
            fpu: fpu.to_fxsave().to_vec(),
            areas: Vec::new(),
            brk_start: 0,
            brk: 0,
            mmap_top: 0,
            actions: signals.actions.iter().map(|a| [a.handler, a.flags, a.restorer, a.mask]).collect(),
            altstack: (alt.sp, alt.size, alt.flags),
            clear_tid: leave.clear_tid,
            robust_list: leave.robust_list,
        }
    }

    /// What the process begins with; `rax` is what its call returns.
    pub(crate) fn resumed(&self, rax: u64) -> Result<Resumed> {
        let r = &self.regs;
        let (mut gpr, mut fpu) = (r.gpr, [0; 160]);
        gpr[0] = rax;
        if self.fpu.len() != fpu.len() {
            return Err(Errno::ENOEXEC);
        }
        fpu.copy_from_slice(&self.fpu);
        Ok(Resumed {
            regs: Box::new(Regs {
                gpr,
                xmm: r.xmm,
                fs_base: r.fs_base,
                gs_base: r.gs_base,
                rflags: r.rflags,
                pc: r.pc,
                mxcsr: r.mxcsr,
            }),
            fpu: Fpu::from_fxsave(&fpu),
            actions: self.actions.clone(),
            altstack: AltStack { sp: self.altstack.0, size: self.altstack.1, flags: self.altstack.2 },
            leave: Leave { clear_tid: self.clear_tid, robust_list: self.robust_list },
        })
    }

    /// Writes the file; `pages` writes all pages behind the state.
    pub(crate) fn write(&self, file: File, pages: impl FnOnce(&mut BufWriter<File>) -> Result<()>) -> Result<()> {
        let state = postcard::to_stdvec(self).map_err(|_| Errno::EIO)?;
        let mut out = BufWriter::with_capacity(1 << 20, file);
        let header = [&MAGIC[..], &(state.len() as u64).to_le_bytes()].concat();
        let zeros = vec![0; pages_at(state.len() as u64) as usize - header.len() - state.len()];
        for part in [&header, &state, &zeros] {
            out.write_all(part).map_err(|_| Errno::EIO)?;
        }
        pages(&mut out)?;
        out.flush().map_err(|_| Errno::EIO)
    }
}

/// Where the pages begin behind a state of `len` bytes.
fn pages_at(len: u64) -> u64 {
    (HEADER as u64 + len).next_multiple_of(PAGE)
}

impl Resumed {
    /// Gives a process that has just been started the snapshot's handlers. What it was started with as ignored stays ignored.
    pub(crate) fn apply(&self, signals: &mut Signals) {
        for (now, &[handler, flags, restorer, mask]) in signals.actions.iter_mut().zip(&self.actions) {
            if now.handler != crate::signal::SIG_IGN {
                *now = Action { handler, flags, restorer, mask };
            }
        }
        signals.main.altstack = self.altstack;
    }
}

/// A snapshot of a program, to start it from.
pub struct Snapshot {
    fd: Arc<OwnedFd>,
    offset: u64,
    len: u64,
    hash: Hash,
    opened: OnceLock<Option<Opened>>,
    /// The memory of the last start, see [`crate::Program`].
    pub(crate) start_image: Mutex<Option<Arc<StartImage>>>,
}

/// A snapshot that passed its check.
pub(crate) struct Opened {
    pub(crate) state: State,
    /// The pages, to map copy-on-write.
    pub(crate) source: MapSource,
}

impl Snapshot {
    /// The snapshot in `len` bytes from `offset` (on a page boundary) of a file that nobody changes. `hash` is what these bytes must have; they are checked
    /// and read at the first start.
    pub fn new(fd: Arc<OwnedFd>, offset: u64, len: u64, hash: Hash) -> Snapshot {
        Snapshot { fd, offset, len, hash, opened: OnceLock::new(), start_image: Mutex::default() }
    }

    /// Its contents; `EIO` when they are not what was built.
    pub(crate) fn open(&self) -> Result<&Opened> {
        self.opened.get_or_init(|| self.check()).as_ref().ok_or(Errno::EIO)
    }

    fn check(&self) -> Option<Opened> {
        if !self.offset.is_multiple_of(PAGE)
            || hash_file(&self.fd, self.len, |n| self.offset.checked_add(n))? != self.hash
        {
            return None;
        }
        let len = usize::try_from(self.len).ok()?;
        // SAFETY: a private read-only mapping of a file that nobody changes.
        let map = unsafe { memmap2::MmapOptions::new().offset(self.offset).len(len).map(&self.fd) }.ok()?;
        let size = u64::from_le_bytes(map.get(8..HEADER)?.try_into().ok()?);
        let state = map.get(HEADER..)?.get(..usize::try_from(size).ok()?)?;
        let state: State = postcard::from_bytes(state).ok().filter(|_| map.starts_with(&MAGIC))?;
        let at = pages_at(size);
        let source = MapSource {
            fd: Arc::clone(&self.fd),
            owner: None,
            base: self.offset.checked_add(at)?,
            size: self.len.checked_sub(at)?,
            sealed: true,
            truncatable: false,
            anonymous: Some(Arc::new(Pages { map, at: usize::try_from(at).ok()? })),
            path: Arc::from(&b""[..]),
            ino: 0,
            host: None,
        };
        Some(Opened { state, source })
    }

    /// The memory of the last start.
    pub(crate) fn remembered(&self) -> Option<Arc<StartImage>> {
        lock(&self.start_image).clone()
    }
}

/// The bytes of a snapshot's pages.
pub struct Pages {
    map: Mmap,
    at: usize,
}

impl Pages {
    /// `len` bytes from `offset` behind the first page.
    pub(crate) fn get(&self, offset: u64, len: usize) -> Option<&[u8]> {
        self.map.get(self.at.checked_add(usize::try_from(offset).ok()?)?..)?.get(..len)
    }
}
