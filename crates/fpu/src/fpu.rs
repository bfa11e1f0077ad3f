//! The x87 register file, its exceptions and its memory images.

use crate::f80::{Ctx, Ext};
use crate::num::{C1, DE, IE, ZE};

/// Stack fault, in the status word.
pub(crate) const SF: u16 = 0x40;
/// Exception summary.
const ES: u16 = 0x80;
/// Busy; follows `ES`.
const BUSY: u16 = 0x8000;
/// Condition codes of the status word.
pub(crate) const C0: u16 = 0x100;
pub(crate) const C2: u16 = 0x400;
pub(crate) const C3: u16 = 0x4000;
/// The stack top field of the status word.
const TOP: u16 = 0x3800;
/// Reserved bits of the control word, which read as 0; bit 6 reads as 1.
const CW_RESERVED: u16 = 0xe080;

/// The x87 state: eight 80-bit registers, control word, status word and which registers are in use. The MMX registers are the
/// significands of the physical registers. Instruction and operand pointers are not kept and read as 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fpu {
    /// Physical registers R0..R7.
    regs: [Ext; 8],
    cw: u16,
    /// Status word, TOP included.
    sw: u16,
    /// Bit `i` is set when physical register `i` is not empty.
    valid: u8,
    /// MXCSR exception flags gathered by MMX conversions, see [`crate::ops::Op::SseFlags`].
    pub(crate) sse_flags: u32,
}

impl Default for Fpu {
    /// The state after `fninit`.
    fn default() -> Fpu {
        Fpu { regs: [Ext::ZERO; 8], cw: 0x37f, sw: 0, valid: 0, sse_flags: 0 }
    }
}

impl Fpu {
    /// The state after `fninit`, with which a program starts.
    pub fn new() -> Fpu {
        Fpu::default()
    }

    /// The control word.
    pub fn control_word(&self) -> u16 {
        self.cw
    }

    /// The status word, TOP included.
    pub fn status_word(&self) -> u16 {
        self.sw
    }

    /// The tag word in its full form: two bits a physical register (0 valid, 1 zero, 2 special, 3 empty).
    pub fn tag_word(&self) -> u16 {
        (0..8).fold(0, |tags, i| tags | self.tag(i) << (2 * i))
    }

    fn tag(&self, i: usize) -> u16 {
        let r = self.regs[i & 7];
        match r.se & 0x7fff {
            _ if self.valid >> (i & 7) & 1 == 0 => 3,
            0 if r.sig == 0 => 1,
            0 | 0x7fff => 2,
            _ if r.sig >> 63 == 0 => 2,
            _ => 0,
        }
    }

    /// True when an unmasked exception is pending: a waiting instruction raises #MF.
    pub fn pending(&self) -> bool {
        self.sw & ES != 0
    }

    /// What the pending exception is, for `si_code` (the low six status bits that are not masked, and SF as bit 6).
    pub fn pending_exceptions(&self) -> u16 {
        self.sw & (!self.cw & 0x3f | SF)
    }

    // ---- registers and stack ----------------------------------------------------------------------------------

    fn top(&self) -> usize {
        usize::from(self.sw >> 11 & 7)
    }

    fn set_top(&mut self, top: usize) {
        self.sw = self.sw & !TOP | (top as u16 & 7) << 11;
    }

    fn phys(&self, i: usize) -> usize {
        (self.top() + i) & 7
    }

    pub(crate) fn empty(&self, i: usize) -> bool {
        self.valid >> self.phys(i) & 1 == 0
    }

    pub(crate) fn st(&self, i: usize) -> Ext {
        self.regs[self.phys(i)]
    }

    /// Writes st(i) and marks it in use.
    pub(crate) fn set_st(&mut self, i: usize, v: Ext) {
        let p = self.phys(i);
        self.regs[p] = v;
        self.valid |= 1 << p;
    }

    pub(crate) fn free(&mut self, i: usize) {
        self.valid &= !(1 << self.phys(i));
    }

    /// Moves TOP without looking at tags.
    pub(crate) fn rotate(&mut self, by: usize) {
        self.set_top(self.top() + by);
    }

    pub(crate) fn pop(&mut self) {
        self.free(0);
        self.rotate(1);
    }

    pub(crate) fn push(&mut self, v: Ext) {
        self.rotate(7);
        self.set_st(0, v);
    }

    // ---- exceptions -------------------------------------------------------------------------------------------

    pub(crate) fn ctx(&self) -> Ctx {
        Ctx::new(self.cw)
    }

    /// Sets bits of the status word, and ES and B when an unmasked exception is among them.
    pub(crate) fn set_status(&mut self, flags: u16) {
        self.sw |= flags;
        if flags & !self.cw & 0x3f != 0 {
            self.sw |= ES | BUSY;
        }
    }

    pub(crate) fn clear_status(&mut self, bits: u16) {
        self.sw &= !bits;
    }

    /// Ends an operation that raised `flags`: false when the operation must not store its result, because one of the exceptions that are
    /// met before computing (IE, DE, ZE) is not masked.
    pub(crate) fn commit(&mut self, flags: u16) -> bool {
        self.clear_status(C1);
        let before = flags & (IE | DE | ZE);
        if before & !self.cw != 0 {
            self.set_status(flags & (before | SF));
            return false;
        }
        self.set_status(flags);
        true
    }

    /// Stack underflow: true when masked.
    pub(crate) fn underflow(&mut self) -> bool {
        self.commit(IE | SF)
    }

    /// Stack overflow: true when masked.
    pub(crate) fn overflow(&mut self) -> bool {
        self.clear_status(C1);
        self.set_status(IE | SF | C1);
        self.cw & IE != 0
    }

    /// Makes ES and B agree with the flags and masks.
    fn summarize(&mut self) {
        self.sw &= !(ES | BUSY);
        self.set_status(self.sw & 0x3f);
    }

    // ---- control ----------------------------------------------------------------------------------------------

    /// `fninit`.
    pub fn init(&mut self) {
        *self = Fpu { regs: self.regs, sse_flags: self.sse_flags, ..Fpu::default() };
    }

    /// `fnclex`.
    pub(crate) fn clear_exceptions(&mut self) {
        self.sw &= !(ES | BUSY | SF | 0x3f);
    }

    /// `fldcw`.
    pub fn set_control_word(&mut self, cw: u16) {
        self.cw = cw & !CW_RESERVED | 0x40;
        self.summarize();
    }

    // ---- MMX --------------------------------------------------------------------------------------------------

    /// Enters MMX state: TOP 0, all registers in use.
    pub(crate) fn mmx_enter(&mut self) {
        self.set_top(0);
        self.valid = 0xff;
    }

    pub(crate) fn mm(&self, i: u32) -> u64 {
        self.regs[i as usize & 7].sig
    }

    pub(crate) fn set_mm(&mut self, i: u32, v: u64) {
        self.regs[i as usize & 7] = Ext { sig: v, se: 0xffff };
    }

    /// `emms`.
    pub(crate) fn emms(&mut self) {
        self.set_top(0);
        self.valid = 0;
    }

    // ---- images -----------------------------------------------------------------------------------------------

    /// The first 160 bytes of the FXSAVE image (SDM volume 1, table 10-2): header, and st0..st7 at offset 32. MXCSR and its mask
    /// (bytes 24..32) are left 0.
    pub fn to_fxsave(&self) -> [u8; 160] {
        let mut b = [0; 160];
        b[0..2].copy_from_slice(&self.cw.to_le_bytes());
        b[2..4].copy_from_slice(&self.sw.to_le_bytes());
        b[4] = self.valid;
        for i in 0..8 {
            b[32 + 16 * i..][..10].copy_from_slice(&self.st(i).to_bytes());
        }
        b
    }

    /// Loads an FXSAVE image; every image is accepted. ES and B are made to agree with flags and masks.
    pub fn from_fxsave(b: &[u8; 160]) -> Fpu {
        let mut f = Fpu { cw: u16_at(b, 0) & !CW_RESERVED | 0x40, sw: u16_at(b, 2), valid: b[4], ..Fpu::default() };
        for i in 0..8 {
            let p = f.phys(i);
            f.regs[p] = ext_at(b, 32 + 16 * i);
        }
        f.summarize();
        f
    }

    /// The 28-byte FNSTENV image (32-bit protected mode format).
    pub fn to_env28(&self) -> [u8; 28] {
        let mut b = [0; 28];
        for (i, word) in [self.cw, self.sw, self.tag_word()].into_iter().enumerate() {
            b[4 * i..][..2].copy_from_slice(&word.to_le_bytes());
            b[4 * i + 2..][..2].copy_from_slice(&[0xff; 2]);
        }
        // The selector of the operand pointer has its upper half set as well.
        b[26..28].copy_from_slice(&[0xff; 2]);
        b
    }

    /// `fldenv` of the 28-byte image: registers stay.
    pub fn load_env28(&mut self, b: &[u8; 28]) {
        self.load_env(u16_at(b, 0), u16_at(b, 4), u16_at(b, 8));
    }

    /// The 14-byte FNSTENV image (16-bit operand size).
    pub fn to_env14(&self) -> [u8; 14] {
        let mut b = [0; 14];
        for (i, word) in [self.cw, self.sw, self.tag_word()].into_iter().enumerate() {
            b[2 * i..][..2].copy_from_slice(&word.to_le_bytes());
        }
        b
    }

    /// `fldenv` of the 14-byte image.
    pub fn load_env14(&mut self, b: &[u8; 14]) {
        self.load_env(u16_at(b, 0), u16_at(b, 2), u16_at(b, 4));
    }

    fn load_env(&mut self, cw: u16, sw: u16, tags: u16) {
        self.cw = cw & !CW_RESERVED | 0x40;
        self.sw = sw;
        self.valid = (0..8).fold(0, |v, i| v | u8::from(tags >> (2 * i) & 3 != 3) << i);
        self.summarize();
    }

    /// st0..st7 as FNSAVE lays them out behind the environment.
    fn to_regs80(&self) -> [u8; 80] {
        let mut b = [0; 80];
        for i in 0..8 {
            b[10 * i..][..10].copy_from_slice(&self.st(i).to_bytes());
        }
        b
    }

    fn load_regs80(&mut self, b: &[u8]) {
        for i in 0..8 {
            let p = self.phys(i);
            self.regs[p] = ext_at(b, 10 * i);
        }
    }

    /// The 108-byte FNSAVE image (`fnsave` then does [`Fpu::init`]).
    pub fn to_fnsave(&self) -> [u8; 108] {
        let mut b = [0; 108];
        b[..28].copy_from_slice(&self.to_env28());
        b[28..].copy_from_slice(&self.to_regs80());
        b
    }

    /// `frstor` of the 108-byte image.
    pub fn load_fnsave(&mut self, b: &[u8; 108]) {
        self.load_env(u16_at(b, 0), u16_at(b, 4), u16_at(b, 8));
        self.load_regs80(&b[28..]);
    }

    /// The 94-byte FNSAVE image (16-bit operand size).
    pub fn to_fnsave94(&self) -> [u8; 94] {
        let mut b = [0; 94];
        b[..14].copy_from_slice(&self.to_env14());
        b[14..].copy_from_slice(&self.to_regs80());
        b
    }

    /// `frstor` of the 94-byte image.
    pub fn load_fnsave94(&mut self, b: &[u8; 94]) {
        self.load_env(u16_at(b, 0), u16_at(b, 2), u16_at(b, 4));
        self.load_regs80(&b[14..]);
    }

    /// After `fnstenv`: all exceptions are masked, so none is pending.
    pub(crate) fn mask_all(&mut self) {
        self.cw |= 0x3f;
        self.summarize();
    }
}

fn u16_at(b: &[u8], at: usize) -> u16 {
    match b.get(at..at + 2) {
        Some(&[lo, hi]) => u16::from_le_bytes([lo, hi]),
        _ => 0,
    }
}

fn ext_at(b: &[u8], at: usize) -> Ext {
    b.get(at..).and_then(|b| b.first_chunk::<10>()).map_or(Ext::ZERO, Ext::from_bytes)
}
