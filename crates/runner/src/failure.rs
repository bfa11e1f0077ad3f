//! An error of our own: one line (what, which file, why, what to do) and the exit status of `docker run`.

use std::fmt::Display;

/// Ends the run before or instead of a program.
#[derive(Debug)]
pub struct Failure {
    /// 125 our own error, 126 refused, 127 not found.
    pub code: i32,
    pub message: String,
}

/// An own error (125).
pub fn fail(message: impl Display) -> Failure {
    Failure { code: 125, message: message.to_string() }
}

pub type Result<T> = std::result::Result<T, Failure>;
