//! Instruction fuzz, the judge of the translator: runs x86-64 instructions on the host CPU and in translation from the same
//! random state and compares the results bit for bit.
//!
//! [`forms`] lists what there is to test, [`harvest`] what real files use, [`encode`] makes encodings of a form and [`cases`] states to run them
//! from; [`native`] and [`translate`] are the two executors, over the same [`arena`] of pages; [`compare`] knows what
//! the manuals leave undefined; [`campaign`] drives all of it.

//!
//! # What is compared
//!
//! Where the instruction completes: the 16 general registers (of rsp the low 32 bits, which is what translated code keeps), the 16 xmm registers, the eight 80-bit x87
//! registers with tags, control and status word, MXCSR with those of its sticky flags that are told (with all on request), all memory, the next address, and the flags that the
//! manual defines for the instruction and its operands. Where it faults: signal, `si_code` and `si_addr`.
//!
//! # What is not
//!
//! Instruction and data pointers of the x87 unit; register state after a fault; unmasked SSE exceptions and the MXCSR rounding
//! modes; addresses at or above 4 GiB (tested apart); POPFQ of anything but CF PF AF ZF SF DF OF. Forms
//! left out altogether say so: [`forms::Form::exclusion`].

pub mod arena;
pub mod campaign;
pub mod cases;
pub mod compare;
pub mod encode;
pub mod forms;
pub mod harvest;
pub mod native;
pub mod pages;
pub mod rng;
pub mod state;
pub mod translate;
