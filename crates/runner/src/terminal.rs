//! The host terminal: raw while a guest has it, as it was before at the end, also after a panic or a fatal signal.

use std::io::IsTerminal;
use std::sync::Mutex;

use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};

use crate::failure::{Result, fail};

/// What the terminal was like.
static BEFORE: Mutex<Option<Termios>> = Mutex::new(None);

/// Puts standard input's terminal into raw mode.
pub fn make_raw() -> Result<()> {
    let stdin = std::io::stdin();
    if !stdin.is_terminal() {
        return Err(fail("standard input is not a terminal; leave out -t"));
    }
    let bad = |e| fail(format!("cannot set up the terminal: {e}"));
    let before = tcgetattr(&stdin).map_err(bad)?;
    let mut raw = before.clone();
    raw.make_raw();
    tcsetattr(&stdin, OptionalActions::Drain, &raw).map_err(bad)?;
    *BEFORE.lock().unwrap_or_else(|e| e.into_inner()) = Some(before);
    Ok(())
}

/// Undoes [`make_raw`]; harmless when it was not called.
pub fn restore() {
    if let Some(before) = BEFORE.lock().unwrap_or_else(|e| e.into_inner()).take() {
        // Nothing can be done about a terminal that is gone.
        let _ = tcsetattr(std::io::stdin(), OptionalActions::Drain, &before);
    }
}
