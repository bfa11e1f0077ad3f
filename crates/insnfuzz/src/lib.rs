//! Instruction fuzz, the judge of the translator: runs x86-64 instructions on the host CPU and in translation from the same
//! random state and compares the results bit for bit.
//!
//! [`forms`] lists what there is to test, [`harvest`] what real files use, [`encode`] makes encodings of a form and [`cases`] states to run them
//! from; [`native`] and [`translate`] are the two executors, over the same [`arena`] of pages; [`compare`] knows what
//! the manuals leave undefined; [`campaign`] drives all of it.

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
