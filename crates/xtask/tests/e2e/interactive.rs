//! An interactive shell on a terminal, driven as a person would, natively and under Megalith.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use xtask::subject::Job;
use xtask::terminal::Terminal;

use crate::{Test, context};

const SOON: Duration = Duration::from_secs(15);

/// A dialogue with the shell.
type Dialogue = fn(&mut Terminal) -> Result<()>;

const DIALOGUES: &[(&str, Dialogue)] = &[
    ("prompt-and-exit", prompt_and_exit),
    ("line-editing", line_editing),
    ("history", history),
    ("completion", completion),
    ("ctrl-c", ctrl_c),
    ("ctrl-z-fg-bg", ctrl_z),
    ("ctrl-d", ctrl_d),
    ("window-size", window_size),
    ("cooked-and-raw", cooked_and_raw),
    ("background-job", background_job),
];

pub fn tests() -> Vec<Test> {
    DIALOGUES
        .iter()
        .map(|(name, dialogue)| {
            Test::new(format!("terminal::{name}"), move || {
                let context = context::get()?;
                talk(&context.native.command(&job(), true), *dialogue).context("native")?;
                talk(&context.subject.command(&job(), true), *dialogue).context("here")
            })
        })
        .collect()
}

fn job() -> Job {
    let mut job = Job::new(["/bin/busybox", "sh", "-i"]);
    job.environment = vec!["PS1=ready> ".into(), "TERM=vt100".into(), "HISTFILE=".into(), "LC_ALL=C".into()];
    job
}

fn talk(command: &std::process::Command, dialogue: Dialogue) -> Result<()> {
    let mut terminal = Terminal::start(command)?;
    terminal.expect("ready> ", SOON)?;
    dialogue(&mut terminal)?;
    Ok(())
}

/// Types a command and waits for its output, computed so that the echo of the command does not match.
fn answer(t: &mut Terminal, command: &str, output: &str) -> Result<()> {
    t.send(&format!("{command}\r"))?;
    t.expect(output, SOON)?;
    t.expect("ready> ", SOON)?;
    Ok(())
}

fn prompt_and_exit(t: &mut Terminal) -> Result<()> {
    answer(t, "echo $((6*7))", "\n42\r\n")?;
    answer(t, "tty > /dev/null; [ -t 0 ] && [ -t 1 ] && echo term''inal", "terminal\r\n")?;
    t.send("exit 5\r")?;
    let status = t.wait(SOON)?;
    ensure!(status == 5, "exit status {status}");
    Ok(())
}

fn line_editing(t: &mut Terminal) -> Result<()> {
    // Backspace, cursor left, home, kill to the end, word erase.
    t.send("echx\x7fo abd\x1b[D\x1b[Dc\x01\x1b[Cc\x08\x05 e\r")?;
    t.expect("\nacbd e\r\n", SOON)?;
    t.expect("ready> ", SOON)?;
    t.send("wrong words\x15echo uu''u\r")?;
    t.expect("\nuuu\r\n", SOON)?;
    t.expect("ready> ", SOON)?;
    t.send("echo one two''2\x17three''3\r")?;
    t.expect("\none three3\r\n", SOON)?;
    Ok(())
}

fn history(t: &mut Terminal) -> Result<()> {
    answer(t, "echo first$((1+1))", "\nfirst2\r\n")?;
    answer(t, "echo second$((1+2))", "\nsecond3\r\n")?;
    answer(t, "\x1b[A\x1b[A", "\nfirst2\r\n")?;
    answer(t, "\x10", "\nfirst2\r\n")
}

fn completion(t: &mut Terminal) -> Result<()> {
    answer(t, "mkdir -p /tmp/c && cd /tmp/c && echo inside > a-long-name; echo ma''de", "made\r\n")?;
    answer(t, "cat a-l\t", "\ninside\r\n")
}

fn ctrl_c(t: &mut Terminal) -> Result<()> {
    t.send("sleep 100\r")?;
    t.expect("sleep 100\r\n", SOON)?;
    std::thread::sleep(Duration::from_millis(300));
    t.send("\x03")?;
    t.expect("ready> ", SOON)?;
    answer(t, "echo status $?", "\nstatus 130\r\n")?;
    // A loop of the shell itself.
    t.send("while :; do :; done\r")?;
    t.expect("done\r\n", SOON)?;
    std::thread::sleep(Duration::from_millis(300));
    t.send("\x03")?;
    t.expect("ready> ", SOON)?;
    // A line that is being typed.
    t.send("echo never\x03")?;
    t.expect("ready> ", SOON)?;
    answer(t, "echo al''ive", "\nalive\r\n")
}

fn ctrl_z(t: &mut Terminal) -> Result<()> {
    t.send("sleep 2; echo fin''ished\r")?;
    t.expect("\r\n", SOON)?;
    std::thread::sleep(Duration::from_millis(300));
    t.send("\x1a")?;
    t.expect("Stopped", SOON)?;
    t.expect("ready> ", SOON)?;
    answer(t, "jobs", "Stopped")?;
    t.send("fg\r")?;
    t.expect("sleep 2", SOON)?;
    t.expect("ready> ", SOON)?;
    t.send("cat\r")?;
    t.expect("cat\r\n", SOON)?;
    std::thread::sleep(Duration::from_millis(300));
    t.send("typed\r")?;
    t.expect("typed\r\ntyped\r\n", SOON)?;
    t.send("\x1a")?;
    t.expect("Stopped", SOON)?;
    t.expect("ready> ", SOON)?;
    answer(t, "kill %1; wait; jobs; echo cl''ean", "clean\r\n")
}

fn ctrl_d(t: &mut Terminal) -> Result<()> {
    t.send("cat; echo st''atus $?\r")?;
    t.expect("\r\n", SOON)?;
    std::thread::sleep(Duration::from_millis(200));
    t.send("line\r")?;
    t.expect("line\r\nline\r\n", SOON)?;
    t.send("\x04")?;
    t.expect("status 0\r\n", SOON)?;
    t.expect("ready> ", SOON)?;
    t.send("\x04")?;
    let status = t.wait(SOON)?;
    ensure!(status == 0, "exit status {status}");
    Ok(())
}

fn window_size(t: &mut Terminal) -> Result<()> {
    answer(t, "stty size", "\n24 80\r\n")?;
    t.resize(40, 132)?;
    std::thread::sleep(Duration::from_millis(300));
    answer(t, "stty size", "\n40 132\r\n")?;
    // SIGWINCH goes to the foreground process group.
    t.send("sh -c 'trap \"echo resi\"\"zed; exit\" WINCH; echo tr\"\"ap; while :; do sleep 0.1; done'\r")?;
    t.expect("\ntrap\r\n", SOON)?;
    t.resize(30, 100)?;
    t.expect("resized\r\n", SOON)?;
    t.expect("ready> ", SOON)?;
    answer(t, "stty size", "\n30 100\r\n")
}

fn cooked_and_raw(t: &mut Terminal) -> Result<()> {
    answer(t, "stty -a | tr ' ;' '\\n' | grep -x -e icanon -e echo -e isig | sort", "\necho\r\nicanon\r\nisig\r\n")?;
    // Without echo nothing of what is typed is printed.
    t.send("stty -echo; read x; stty echo; echo got $x\r")?;
    t.expect("\r\n", SOON)?;
    std::thread::sleep(Duration::from_millis(300));
    t.send("secret\r")?;
    let before = t.expect("got secret\r\n", SOON)?;
    ensure!(!before.contains("secret"), "the secret was echoed: {before:?}");
    t.expect("ready> ", SOON)?;
    // Raw: one key, no return.
    t.send("stty raw -echo; k=$(head -c 1); stty -raw echo; echo key=$k\r")?;
    t.expect("\r\n", SOON)?;
    std::thread::sleep(Duration::from_millis(300));
    t.send("q")?;
    t.expect("key=q\r\n", SOON)?;
    Ok(())
}

fn background_job(t: &mut Terminal) -> Result<()> {
    t.send("cat & sleep 0.3; echo re''ad\r")?;
    t.expect("read\r\n", SOON)?;
    t.expect("ready> ", SOON)?;
    // Reading the terminal from the background stops the job.
    answer(t, "jobs", "Stopped")?;
    answer(t, "kill -9 %1; wait; echo go''ne", "gone\r\n")
}
