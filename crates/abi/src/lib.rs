//! What recompiled code, the linker, the engine and the vkernel agree on.
//!
//! Plain data and constants only: no I/O, no wasm library, no policy. `docs/format.md` describes the same things
//! for readers of the file formats; this crate is where the numbers are declared.
//!
//! # A recompiled function
//!
//! Every recompiled function has the type
//! `(rsp: i32, rdi: i64, rsi: i64, rdx: i64) -> (pc: i32, rsp: i32, rax: i64)`.
//! All other registers travel in wasm globals, one each ([`Global`]).
//!
//! A function that can be left in its middle has a second body of the same type ([`FunctionMeta::resumed`]).
//!
//! * Normal entry: the return address lies at `[rsp]`, and rsp, rdi, rsi, rdx come as parameters. The global [`Global::Label`] is 0.
//! * Entry at a resume label: of the second body, which goes on at [`Global::Label`] and takes everything from the globals.
//! * Normal return (x86 `ret` of the frame's own return address slot): `pc` is the address that was popped, or [`RETURNED`], `rsp` the stack pointer after
//!   the pop, `rax` the value of rax; every other register the function changed and a caller may read is in its global.
//! * **Unwinding**: `pc == 0`, `rsp` as for a normal return. [`Global::Pc`] says where to go on and [`Global::Reason`] why ([`Reason`]). Every caller
//!   returns `0` as well, up to the trampoline. The complete register state is in the globals then; the trampoline
//!   resolves `Pc` to (function, label), sets [`Global::Label`] to the label and calls it: it
//!   loads what it needs from the globals (rsp, rdi, rsi, rdx included) and clears the label.
//! * **Held registers**: a function that is called, and uses the registers that calls preserve ([`PRESERVED`]) only between saving and restoring them, has them in wasm locals, across calls, too.
//!   Their globals and the stack slots that it saved them to stay as they were, and so do those for the return addresses of its calls. It gives all back when it unwinds: a value goes to where it is wanted further in ([`Global::WantedBy0`]), and its own slots want the value that its caller has.
//!   At the trampoline, what is still wanted comes from the globals. So no frame holds guest state when code has unwound.
//!   A function that reads or changes preserved registers in another way (setjmp, a stack unwinder) looks at [`Global::HolderFloor`] on entry, and unwinds ([`Reason::Depth`]) unless its caller holds none.
//! * The wasm trap `unreachable` in recompiled code is a general protection fault (a misaligned SSE operand, a reserved MXCSR bit).
//! * A caller that gets back a `pc` other than the return address it pushed writes `pc`, `rsp` and `rax` to the globals
//!   (reason [`Reason::Return`]) and returns 0.

#![forbid(unsafe_code)]

mod meta;
pub mod shebang;
mod start;
mod wasi;
pub use meta::*;
pub use start::*;
pub use wasi::*;

/// Guest page size in bytes.
pub const PAGE_SIZE: u32 = 4096;
/// Pages (64 KiB each) of linear memory 0, the guest's address space: exactly 4 GiB, so that no bounds check is needed.
pub const MEM_PAGES: u64 = 65536;
/// Pages (64 KiB each) of linear memory 1, the code map. Guest instructions cannot reach it.
pub const MAP_PAGES: u64 = 16384;
/// Load base of a static position-independent program.
pub const PIE_BASE: u32 = 0x2000_0000;
/// Lowest address a guest may map (`vm.mmap_min_addr`). Displacements below this are folded into wasm offsets.
pub const MMAP_MIN_ADDR: u32 = 0x1_0000;
/// One past the highest address a guest may map.
pub const ADDR_LIMIT: u32 = 0xffff_0000;

/// Memory 1, byte 0: an i32, 0 or [`POLL_WANTED`] when the process has something to look at (a signal, a kill). Written
/// by any host thread, read by recompiled code with `i32.atomic.load` in loops.
pub const MAP_POLL: u32 = 0;
/// More than any distance from `StackFloor` that is inside of the stack window: one comparison sees to both.
pub const POLL_WANTED: u32 = u32::MAX;
/// Memory 1: table of 2^20 entries of 8 bytes, one a guest page: `{ lines: u32, table_base: u32 }`, little endian.
/// `lines` is the memory-1 address of the page's first code line entry, or 0 when the page holds no recompiled code;
/// `table_base` is the table index of the file's first function.
pub const MAP_L1: u32 = 0x80_0000;
/// Memory 1: first byte usable for code lines (see [`CODE_LINE`]).
pub const MAP_L2: u32 = 0x100_0000;
/// Guest bytes that one code line entry describes. An entry is 16 bytes: `{ starts: u64, first: u32, zero: u32 }`. Bit `i` of
/// `starts` is set when a function can be entered at `line + i`; the file-local function index of the start at
/// bit `i` is `first + popcount(starts & ((1 << i) - 1))`, and its table index `table_base +` that. A page has 64 entries, 1024 bytes.
pub const CODE_LINE: u32 = 64;
/// Bytes of one code line entry.
pub const CODE_LINE_ENTRY: u32 = 16;

/// What `vkernel.syscall` returns when the caller must unwind (never a valid Linux result).
pub const UNWIND: i64 = i64::MIN;

/// What a function returns as `pc` that did not look at its return address: it returns to whoever called it. Never the address of code.
pub const RETURNED: u32 = 1;

/// Guest stack bytes that one host stack may hold frames for. Every cycle of calls contains an indirect call, or a function that on entry checks
/// `((rsp - StackFloor) as u32 | poll word) <= STACK_WINDOW` and unwinds with [`Reason::Depth`] if need be; on the way of an indirect call the same is checked.
/// The trampoline sets `StackFloor = rsp - STACK_WINDOW + 256` each time it (re)enters code (1 where rsp lies below `STACK_WINDOW`: an
/// rsp of 0 is always outside of the window).
pub const STACK_WINDOW: u32 = 0x1_0000;

/// Module name under which an object imports what the linker supplies: `mem`, `map`, `table` and the globals by name.
pub const UNIT_MODULE: &str = "unit";
/// Module name for per-file globals supplied by the linker: `table_base` (i32, immutable) and, for ET_DYN files, `base` (i64, mutable:
/// the load base; initially [`PIE_BASE`]; exported by a projection under the same name).
pub const FILE_MODULE: &str = "file";
/// Module name of the vkernel's functions.
pub const VKERNEL_MODULE: &str = "vkernel";

/// General registers in encoding order (the order of x86 register numbers and of ModRM).
#[repr(u8)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Gpr {
    Rax = 0,
    Rcx,
    Rdx,
    Rbx,
    Rsp,
    Rbp,
    Rsi,
    Rdi,
    R8,
    R9,
    R10,
    R11,
    R12,
    R13,
    R14,
    R15,
}

/// The register globals of a unit, in index order. All are mutable. In a projection they are exported under [`Global::name`].
#[repr(u32)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Global {
    /// 16 general registers, i64, indices 0..16 in [`Gpr`] order.
    Gpr0 = 0,
    /// 16 SSE registers, v128, indices 16..32.
    Xmm0 = 16,
    /// i64: base address that the fs: prefix adds.
    FsBase = 32,
    /// i64: base address that the gs: prefix adds.
    GsBase = 33,
    /// i64: RFLAGS (CF PF AF ZF SF DF OF at their architectural bits; bit 1 is set).
    Rflags = 34,
    /// i64: the guest address to go on at after unwinding; before a `vkernel.syscall`, the address after the `syscall` instruction.
    Pc = 35,
    /// i32: a [`Reason`].
    Reason = 36,
    /// i32: 0, or the resume label at which the next entered function starts.
    Label = 37,
    /// i32: see [`STACK_WINDOW`].
    StackFloor = 38,
    /// i32: MXCSR.
    Mxcsr = 39,
    /// i32: rsp as the innermost frame that holds no registers passed it to what it called: see [`PRESERVED`].
    HolderFloor = 40,
    /// Six i32, one each of [`PRESERVED`]: while code unwinds, where the register's value is wanted that a frame further out holds. The address of a stack slot, which holds the address of the
    /// next, and so on up to 0 (the register itself wants it, too) or [`SLOTS_END`]. 0 at all other times.
    WantedBy0 = 41,
    /// Six i64, one each of [`PRESERVED`]: while code unwinds, the register's value, once its list of slots ends in [`SLOTS_END`].
    Held0 = 47,
}
/// Number of register globals.
pub const GLOBALS: u32 = 53;
/// Number of those that the host reads and writes: the first ones.
pub const HOST_GLOBALS: u32 = 40;

/// The general registers that functions hold for their callers (System V ABI, section 3.2.1), in the order of [`Global::WantedBy0`] and [`Global::Held0`].
pub const PRESERVED: [Gpr; 6] = [Gpr::Rbx, Gpr::Rbp, Gpr::R12, Gpr::R13, Gpr::R14, Gpr::R15];
/// End of a list of slots that want a register's value when the register itself does not. No stack slot lies there.
pub const SLOTS_END: u32 = 1;

impl Global {
    /// Import/export name of the global with index `i` (`rax`, `xmm3`, `fs_base`, ...), or `None` past the last.
    pub fn name(i: u32) -> Option<&'static str> {
        const NAMES: [&str; GLOBALS as usize] = [
            "rax",
            "rcx",
            "rdx",
            "rbx",
            "rsp",
            "rbp",
            "rsi",
            "rdi",
            "r8",
            "r9",
            "r10",
            "r11",
            "r12",
            "r13",
            "r14",
            "r15",
            "xmm0",
            "xmm1",
            "xmm2",
            "xmm3",
            "xmm4",
            "xmm5",
            "xmm6",
            "xmm7",
            "xmm8",
            "xmm9",
            "xmm10",
            "xmm11",
            "xmm12",
            "xmm13",
            "xmm14",
            "xmm15",
            "fs_base",
            "gs_base",
            "rflags",
            "pc",
            "reason",
            "label",
            "stack_floor",
            "mxcsr",
            "holder_floor",
            "rbx_wanted_by",
            "rbp_wanted_by",
            "r12_wanted_by",
            "r13_wanted_by",
            "r14_wanted_by",
            "r15_wanted_by",
            "rbx_held",
            "rbp_held",
            "r12_held",
            "r13_held",
            "r14_held",
            "r15_held",
        ];
        NAMES.get(i as usize).copied()
    }
    /// Value type of the global with index `i`.
    pub fn val_type(i: u32) -> GlobalType {
        match i {
            16..=31 => GlobalType::V128,
            36..=46 => GlobalType::I32,
            _ => GlobalType::I64,
        }
    }
}

/// Value type of a register global.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum GlobalType {
    I32,
    I64,
    V128,
}

/// Why recompiled code unwound to the trampoline ([`Global::Reason`]).
#[repr(u32)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reason {
    /// A jump or return to an address that the unwinding frame could not follow itself: go on at `Pc`.
    Return = 0,
    /// `vkernel.syscall` answered [`UNWIND`]: the host knows what is next.
    Syscall = 1,
    /// The poll word was set, in a loop or on entry of a function: look at it, then go on at `Pc`.
    Poll = 2,
    /// The host stack budget is used up: go on at `Pc` with an empty host stack.
    Depth = 3,
    /// Division error at `Pc` (#DE): SIGFPE, FPE_INTDIV.
    Divide = 4,
    /// Undefined or uncovered instruction at `Pc` (#UD): SIGILL, ILL_ILLOPN.
    Undefined = 5,
    /// `int3` before `Pc` (#BP): SIGTRAP.
    Breakpoint = 6,
    /// Privileged instruction, or general protection fault (misaligned SSE operand) at `Pc` (#GP): SIGSEGV, SI_KERNEL, address 0.
    Protection = 7,
    /// Unmasked x87 or SSE exception at `Pc` (#MF, #XM): SIGFPE.
    Float = 8,
    /// Nobody gave a reason: a return address of 0 was popped. Jump to address 0. The trampoline sets this before it enters code.
    Null = 9,
}

impl Reason {
    /// The reason with number `n`.
    pub fn from_u32(n: u32) -> Option<Reason> {
        use Reason::*;
        [Return, Syscall, Poll, Depth, Divide, Undefined, Breakpoint, Protection, Float, Null].get(n as usize).copied()
    }
}

/// Number of the system call that only interpreters of ours (polyfills) may make; its first argument is a [`PolyfillOp`].
pub const POLYFILL_CALL: u64 = 0x6d67;

/// What a polyfill can ask of the vkernel beside Linux's system calls.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PolyfillOp {
    /// `()`: the point at which the snapshot is taken. Returns 0 in a start without snapshot; in a process that begins from the snapshot, the address of what the initial stack of its
    /// exec would hold (argc, argv, envp, auxiliary vector).
    Snapshot = 1,
    /// `()`: the snapshot does not serve these arguments or this environment. Starts the program again without it; does not return.
    Cold = 2,
    /// `()`: 1 when only what was there at build time may be loaded as code, otherwise 0.
    Policy = 3,
    /// `(path)`: opens a file to be loaded as code, for reading and close-on-exec. Under the policy EACCES unless it is a file of the image with the bytes that it was sealed
    /// with, or has the hash of a program or script of the manifest.
    OpenCode = 4,
    /// `(state, data, blocks)`: SHA-256's compression function (FIPS 180-4, section 6.2.2) over the first of `blocks` blocks of 64 bytes at `data`; `state` is eight 32-bit words in the
    /// processor's order. Returns for how many blocks: at least one, unless there are none.
    Sha256 = 5,
    /// The same for SHA-512 (section 6.4.2): blocks of 128 bytes, eight 64-bit words.
    Sha512 = 6,
    /// `(path)`: the inode number of this directory of the image when everything below it (names, attributes, contents) is as it was at build time and the caller may look at all of it,
    /// otherwise 0.
    Unchanged = 7,
}

impl PolyfillOp {
    /// The operation with number `n`.
    pub fn from_u64(n: u64) -> Option<PolyfillOp> {
        PolyfillOp::ALL.into_iter().find(|&op| op as u64 == n)
    }

    /// All operations.
    pub const ALL: [PolyfillOp; 7] = {
        use PolyfillOp::*;
        [Snapshot, Cold, Policy, OpenCode, Sha256, Sha512, Unchanged]
    };

    /// Its name in the list of what a polyfill may call.
    pub fn name(self) -> &'static str {
        match self {
            PolyfillOp::Snapshot => "megalith_snapshot",
            PolyfillOp::Cold => "megalith_cold",
            PolyfillOp::Policy => "megalith_policy",
            PolyfillOp::OpenCode => "megalith_open_code",
            PolyfillOp::Sha256 => "megalith_sha256",
            PolyfillOp::Sha512 => "megalith_sha512",
            PolyfillOp::Unchanged => "megalith_unchanged",
        }
    }
}

/// Functions that recompiled code may import from module `vkernel`: name, parameters, results (`i`: i32, `l`: i64).
///
/// * `syscall(nr, a0..a5)`: the `syscall` instruction. All live registers are in their globals, `Pc` is the next address. Returns rax, or [`UNWIND`].
/// * `resolve(pc) -> (table index | label << 32)`: where the trampoline goes on, or -1 to leave the trampoline.
///   Called with the state in the globals; the host may change them (deliver a signal) before it answers.
/// * `unwound(reason)`: tells the host why code unwound; `resolve` follows.
/// * `start() -> rsp`: the initial stack pointer of the program that starts; 0 when it begins from a snapshot: the registers are in their globals, and
///   `resolve` says where code goes on.
/// * `x87(op, arg, addr) -> i64`: one x87 or MMX operation on the host-side FPU state; see `megalith-fpu`.
/// * `cpuid(leaf, subleaf) -> (eax, ebx, ecx, edx)`; `rdtsc() -> i64`.
/// * `udiv128(hi, lo, d) -> (q, r)`, `sdiv128(hi, lo, d) -> (q, r)`: the caller has checked for #DE.
/// * `notice(kind, arg)`: something to report by name ([`Notice`]).
pub const VKERNEL_IMPORTS: &[(&str, &str, &str)] = &[
    ("syscall", "lllllll", "l"),
    ("resolve", "l", "l"),
    ("unwound", "i", ""),
    ("start", "", "l"),
    ("x87", "iil", "l"),
    ("cpuid", "ii", "iiii"),
    ("rdtsc", "", "l"),
    ("udiv128", "lll", "ll"),
    ("sdiv128", "lll", "ll"),
    ("notice", "il", ""),
];

/// Kinds of `vkernel.notice`.
#[repr(u32)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Notice {
    /// The guest set MXCSR bits that have no effect here (rounding, FTZ, DAZ, unmasked exceptions); the argument is the value.
    Mxcsr = 0,
}

impl Notice {
    /// The notice with number `n`.
    pub fn from_u32(n: u32) -> Option<Notice> {
        [Notice::Mxcsr].get(n as usize).copied()
    }
}
