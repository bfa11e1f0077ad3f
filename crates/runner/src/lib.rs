//! Options of `megalith run`, shared by the two executables: `megalith` (which only passes them on) and `megalith-run`.

#![forbid(unsafe_code)]

pub mod options;
