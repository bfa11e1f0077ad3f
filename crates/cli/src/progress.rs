//! Telling the user how far a long piece of work is: a bar on a terminal, plain lines elsewhere, nothing with `--json`.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::IsTerminal;

/// How to tell.
#[derive(Clone, Copy)]
pub enum Progress {
    Bar,
    Lines,
    Quiet,
}

impl Progress {
    pub fn new(json: bool) -> Progress {
        match (json, std::io::stderr().is_terminal()) {
            (true, _) => Progress::Quiet,
            (false, true) => Progress::Bar,
            (false, false) => Progress::Lines,
        }
    }

    /// Something the user should know.
    pub fn note(&self, line: &str) {
        if !matches!(self, Progress::Quiet) {
            eprintln!("{line}");
        }
    }

    /// Begins a step of `items` pieces.
    pub fn step(&self, what: &str, items: usize) -> Step {
        let bar = match self {
            Progress::Bar => {
                let bar = ProgressBar::with_draw_target(Some(items as u64), ProgressDrawTarget::stderr());
                if let Ok(style) = ProgressStyle::with_template("{prefix:>12} [{bar:30}] {pos}/{len} {wide_msg}") {
                    bar.set_style(style.progress_chars("=> "));
                }
                bar.set_prefix(what.to_string());
                bar.tick();
                Some(bar)
            }
            Progress::Lines => {
                eprintln!("{what}: {items}");
                None
            }
            Progress::Quiet => None,
        };
        Step { bar }
    }
}

/// A step that is under way; over when dropped.
pub struct Step {
    bar: Option<ProgressBar>,
}

impl Step {
    /// One piece is done.
    pub fn done(&self, name: &str) {
        if let Some(bar) = &self.bar {
            bar.set_message(name.to_string());
            bar.inc(1);
        }
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
