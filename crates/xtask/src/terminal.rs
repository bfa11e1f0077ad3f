//! A pseudo terminal with a program on it, to drive it as a person would.

use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Child, Command};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

/// A program on a terminal of 24 rows and 80 columns.
pub struct Terminal {
    master: std::fs::File,
    child: Child,
    incoming: Receiver<Vec<u8>>,
    /// What was printed and not yet looked at.
    pending: Vec<u8>,
}

impl Terminal {
    /// Starts `command` as leader of a new session with the terminal as its own.
    ///
    /// # Errors
    /// No pseudo terminal, or the command cannot be started.
    pub fn start(command: &Command) -> Result<Terminal> {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
        grantpt(&master)?;
        unlockpt(&master)?;
        let name = ptsname(&master, Vec::new())?;
        let slave: OwnedFd =
            rustix::fs::open(&name, rustix::fs::OFlags::RDWR | rustix::fs::OFlags::NOCTTY, rustix::fs::Mode::empty())?;
        resize(&master, 24, 80)?;
        // setsid(1) makes stdin the controlling terminal, which takes code between fork and exec otherwise.
        let mut leader = Command::new("setsid");
        leader.args(["--ctty", "--wait"]).arg(command.get_program()).args(command.get_args());
        let child = leader
            .stdin(slave.try_clone()?)
            .stdout(slave.try_clone()?)
            .stderr(slave)
            .spawn()
            .context("start setsid")?;
        let (sender, incoming) = channel();
        let mut reader = std::fs::File::from(master.try_clone()?);
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            // EIO is how Linux says that the last slave was closed.
            while let Ok(n @ 1..) = reader.read(&mut buffer) {
                if sender.send(buffer[..n].to_vec()).is_err() {
                    break;
                }
            }
        });
        Ok(Terminal { master: master.into(), child, incoming, pending: Vec::new() })
    }

    /// Types `text`.
    ///
    /// # Errors
    /// The terminal is gone.
    pub fn send(&mut self, text: &str) -> Result<()> {
        Ok(self.master.write_all(text.as_bytes())?)
    }

    /// Waits until `wanted` is printed, and returns what came before it.
    ///
    /// # Errors
    /// Time ran out or the program ended; says what was there instead.
    pub fn expect(&mut self, wanted: &str, timeout: Duration) -> Result<String> {
        let end = Instant::now() + timeout;
        loop {
            if let Some(at) = self.pending.windows(wanted.len().max(1)).position(|w| w == wanted.as_bytes()) {
                let rest = self.pending.split_off(at + wanted.len());
                let mut before = std::mem::replace(&mut self.pending, rest);
                before.truncate(at);
                return Ok(String::from_utf8_lossy(&before).into_owned());
            }
            match self.incoming.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(bytes) => self.pending.extend(bytes),
                Err(RecvTimeoutError::Timeout) => {
                    bail!("waited for {wanted:?}, got {:?}", String::from_utf8_lossy(&self.pending))
                }
                Err(RecvTimeoutError::Disconnected) => {
                    bail!(
                        "the program ended before {wanted:?}; it printed {:?}",
                        String::from_utf8_lossy(&self.pending)
                    )
                }
            }
        }
    }

    /// Changes the size of the window; the foreground process group gets SIGWINCH.
    ///
    /// # Errors
    /// The terminal is gone.
    pub fn resize(&self, rows: u16, columns: u16) -> Result<()> {
        resize(&self.master, rows, columns)
    }

    /// Waits for the program to end and returns its exit status (-1: killed), or fails after `timeout`.
    ///
    /// # Errors
    /// Time ran out.
    pub fn wait(&mut self, timeout: Duration) -> Result<i32> {
        let end = Instant::now() + timeout;
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status.code().unwrap_or(-1));
            }
            if Instant::now() > end {
                bail!("the program on the terminal did not end");
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // Closing the master hangs the session up; setsid itself is ended here. Both may be gone already.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn resize(terminal: impl AsFd, ws_row: u16, ws_col: u16) -> Result<()> {
    Ok(tcsetwinsize(terminal, Winsize { ws_row, ws_col, ws_xpixel: 0, ws_ypixel: 0 })?)
}
