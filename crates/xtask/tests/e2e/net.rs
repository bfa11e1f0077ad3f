//! `--net`: what it names can be reached by TCP, as natively, and nothing else. The server is a thread of the tests, on the host's loopback.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use xtask::sh;
use xtask::subject::{self, Job, Stdin};
use xtask::{paths, toolbox};

use crate::{Test, agents};

pub fn tests() -> Vec<Test> {
    vec![
        Test::ours("net::python", || same(toolbox::PYTHON, "/probe/net.py")),
        Test::ours("net::node", || same(toolbox::NODE, "/probe/net.js")),
        Test::ours("net::nothing-else", nothing_else),
        Test::ours("net::by-name", by_name),
        Test::ours("net::end", end),
        Test::ours("net::mistakes", mistakes),
    ]
}

/// A server on a port of its own: what the first line of a connection asks for.
fn server() -> Result<(u16, Receiver<&'static str>)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let port = listener.local_addr()?.port();
    let (sender, events) = channel();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let sender = sender.clone();
            thread::spawn(move || {
                let _ = serve(stream, |event| sender.send(event).unwrap_or_default());
            });
        }
    });
    Ok((port, events))
}

fn serve(mut stream: TcpStream, event: impl Fn(&'static str)) -> Result<()> {
    let mut input = BufReader::new(stream.try_clone()?);
    let mut line = String::new();
    input.read_line(&mut line)?;
    match line.trim_end() {
        "echo" => {
            std::io::copy(&mut input, &mut stream)?;
            stream.shutdown(Shutdown::Write)?;
        }
        "count" => {
            let count = std::io::copy(&mut input, &mut std::io::sink())?;
            write!(stream, "{count}")?;
        }
        "reset" => rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO))?,
        "hold" => {
            event("held");
            let read = input.read(&mut [0]);
            event(if matches!(read, Ok(0) | Err(_)) { "ended" } else { "spoke" });
        }
        _ => {}
    }
    Ok(())
}

/// As the container sees the host.
const HOST: &str = "host.docker.internal";

fn job(options: &[&str], command: &[&str]) -> Job {
    Job {
        environment: toolbox::environment(),
        timeout: Duration::from_secs(120),
        options: options.iter().map(|&o| o.to_owned()).collect(),
        ..Job::new(command.iter().copied())
    }
}

/// A program talks with the server as it does natively; read-only, too.
fn same(interpreter: &str, probe: &str) -> Result<()> {
    let (port, _events) = server()?;
    let (port, place) = (port.to_string(), format!("localhost:{port}"));
    let native = agents::native()?.run(&job(&[], &[interpreter, probe, "127.0.0.1", &port]))?;
    ensure!(native.status == 0 && !native.stdout.is_empty(), "{}", native.describe());
    for options in [&["--net", &place][..], &["--read-only", "--net", "127.0.0.1:1", "--net", &place]] {
        let ours = agents::subject()?.run(&job(options, &[interpreter, probe, HOST, &port]))?;
        let equal = native.status == ours.status && native.stdout == ours.stdout && ours.stderr.is_empty();
        ensure!(equal, "native:\n{}\n\nhere:\n{}", native.describe(), ours.describe());
    }
    Ok(())
}

/// Tries one connection or datagram for each argument.
const TRIES: &str = "
import socket, sys
for kind, host, port in (a.split(' ') for a in sys.argv[1:]):
    try:
        with socket.socket(type=getattr(socket, kind)) as s:
            s.connect((host, int(port)))
            if kind == 'SOCK_DGRAM': s.send(b'x')
            print(kind, host, 'connected', s.getsockname()[0])
    except OSError as e:
        print(kind, host, e.strerror)
";

/// Other ports, hosts and protocols are as far away as without it; the container's own loopback is its own.
fn nothing_else() -> Result<()> {
    let ((granted, _events), (other, _other_events)) = (server()?, server()?);
    let closed = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let tries = [
        format!("SOCK_STREAM {HOST} {granted}"),
        format!("SOCK_STREAM {HOST} {closed}"),
        format!("SOCK_STREAM {HOST} {other}"),
        format!("SOCK_STREAM 127.0.0.1 {granted}"),
        format!("SOCK_STREAM 10.0.2.3 {granted}"),
        format!("SOCK_STREAM 192.0.2.1 {granted}"),
        format!("SOCK_DGRAM {HOST} {granted}"),
        format!("SOCK_DGRAM 192.0.2.1 {granted}"),
    ];
    let command: Vec<&str> =
        [toolbox::PYTHON, "-c", TRIES].into_iter().chain(tries.iter().map(String::as_str)).collect();
    let places = [format!("127.0.0.1:{granted}"), format!("127.0.0.1:{closed}")];
    let options = ["--net", &places[0], "--net", &places[1]];
    let outcome = agents::subject()?.run(&job(&options, &command))?;
    let expected = format!(
        "SOCK_STREAM {HOST} connected 10.0.2.15\nSOCK_STREAM {HOST} Connection refused\nSOCK_STREAM {HOST} Network is unreachable\n\
         SOCK_STREAM 127.0.0.1 Connection refused\nSOCK_STREAM 10.0.2.3 Network is unreachable\nSOCK_STREAM 192.0.2.1 Network is unreachable\n\
         SOCK_DGRAM {HOST} Network is unreachable\nSOCK_DGRAM 192.0.2.1 Network is unreachable\n"
    );
    ensure!(outcome.status == 0 && outcome.text() == expected, "{}", outcome.describe());
    let command: Vec<&str> = [toolbox::PYTHON, "-c", TRIES, &tries[4], &tries[5]].into();
    let without = agents::subject()?.run(&job(&[], &command))?;
    let expected = "SOCK_STREAM 10.0.2.3 Network is unreachable\nSOCK_STREAM 192.0.2.1 Network is unreachable\n";
    ensure!(without.status == 0 && without.text() == expected, "{}", without.describe());
    Ok(())
}

/// Tools get it by the option of a call.
fn by_name() -> Result<()> {
    let (port, _events) = server()?;
    let mut command = sh::command(paths::release("megalith"), ["tools"]);
    command.arg(agents::bundle()?).args(["call", "--net", &format!("localhost:{port}"), "node", "/probe/net.js", HOST]);
    command.arg(port.to_string());
    let outcome = subject::run(command, &Stdin::Empty, Duration::from_secs(60))?;
    ensure!(outcome.status == 0 && outcome.text() == "echo true\n", "{}", outcome.describe());
    Ok(())
}

/// A connection ends when its process does, and when the container does, however that ends.
fn end() -> Result<()> {
    let (port, events) = server()?;
    let hold = format!("import socket, time\ns = socket.create_connection(('{HOST}', {port}))\ns.send(b'hold\\n')\n");
    let place = format!("localhost:{port}");
    let wait = |what: &str| -> Result<()> {
        let event = events.recv_timeout(Duration::from_secs(30)).with_context(|| format!("not {what}"))?;
        ensure!(event == what, "{event}, not {what}");
        Ok(())
    };
    let process = format!("{hold}time.sleep(0.3)");
    let script = "python3 -c \"$0\"; sleep 2";
    let outcome = agents::subject()?.run(&job(&["--net", &place], &["/bin/sh", "-c", script, &process]))?;
    ensure!(outcome.status == 0, "{}", outcome.describe());
    wait("held")?;
    wait("ended")?;
    let stuck = format!("{hold}time.sleep(100)");
    let outcome =
        agents::subject()?.run(&job(&["--net", &place, "--timeout", "1.5"], &[toolbox::PYTHON, "-c", &stuck]))?;
    ensure!(outcome.status == 124, "{}", outcome.describe());
    wait("held")?;
    wait("ended")
}

/// One line each.
fn mistakes() -> Result<()> {
    // Wrong usage is 2, as of any option.
    let mistakes =
        [(125, "no-such-host.invalid:80", "its address cannot be found"), (2, "x", "not of the form HOST:PORT")];
    for (status, place, why) in mistakes {
        let outcome = agents::subject()?.run(&job(&["--net", place], &[toolbox::PYTHON, "-c", "print(1)"]))?;
        let said = String::from_utf8_lossy(&outcome.stderr).into_owned();
        ensure!(outcome.status == status && outcome.stdout.is_empty() && said.contains(why), "{}", outcome.describe());
    }
    Ok(())
}
