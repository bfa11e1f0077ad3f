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
        Test::ours("net::own-address", own_address),
        Test::ours("net::by-name", by_name),
        Test::ours("net::end", end),
        Test::ours("net::sent-at-the-end", sent_at_the_end),
        Test::ours("net::resets", resets),
        Test::ours("net::limit", limit),
        Test::ours("net::mistakes", mistakes),
    ]
}

/// A server on a port of its own: what the first line of a connection asks for.
fn server() -> Result<(u16, Receiver<String>)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let port = listener.local_addr()?.port();
    let (sender, events) = channel();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let sender = sender.clone();
            thread::spawn(move || {
                let _ = serve(stream, |event| sender.send(event.to_owned()).unwrap_or_default());
            });
        }
    });
    Ok((port, events))
}

fn serve(mut stream: TcpStream, event: impl Fn(&str)) -> Result<()> {
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
            event(match read {
                Ok(0) => "ended",
                Ok(_) => "spoke",
                Err(_) => "reset",
            });
        }
        // Reads when it has let the sender fill all there is.
        "slow" => {
            thread::sleep(Duration::from_millis(1500));
            let count = std::io::copy(&mut input, &mut std::io::sink());
            event(&count.map_or_else(|e| e.to_string(), |n| n.to_string()));
        }
        // Speaks when the other side has gone.
        "late" => {
            thread::sleep(Duration::from_millis(700));
            stream.write_all(b"x")?;
            thread::sleep(Duration::from_millis(1500));
            event(if stream.write_all(b"y").is_err() { "reset" } else { "taken" });
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

/// What a name resolves to where addresses are configured, and whether the container is at 10.0.2.15.
const OWN_ADDRESS: &str = "
import socket, sys
for family in 0, socket.AF_INET, socket.AF_INET6:
    try:
        print(*[a[4][0] for a in socket.getaddrinfo(sys.argv[1], 80, family, socket.SOCK_STREAM, 0, socket.AI_ADDRCONFIG)])
    except OSError as e:
        print(e.strerror)
for kind in socket.SOCK_STREAM, socket.SOCK_DGRAM:
    a, b = socket.socket(type=kind), socket.socket(type=kind)
    try:
        a.bind(('10.0.2.15', 0))
    except OSError as e:
        print(e.strerror)
        continue
    if kind == socket.SOCK_STREAM: a.listen()
    b.connect(a.getsockname())
    b.send(b'x')
    print(b.getsockname()[0], b.getpeername()[0])
    print((a.accept()[0] if kind == socket.SOCK_STREAM else a).recv(9))
";

/// The address that connections to the outside come from is one of the container's, and so there is one that resolvers take for configured.
fn own_address() -> Result<()> {
    let (port, _events) = server()?;
    let (place, command) = (format!("localhost:{port}"), [toolbox::PYTHON, "-c", OWN_ADDRESS, HOST]);
    let outcome = agents::subject()?.run(&job(&["--net", &place], &command))?;
    let expected = "10.0.2.2\n10.0.2.2\nName or service not known\n\
                    10.0.2.15 10.0.2.15\nb'x'\n10.0.2.15 10.0.2.15\nb'x'\n";
    ensure!(outcome.status == 0 && outcome.text() == expected, "{}", outcome.describe());
    let without = agents::subject()?.run(&job(&[], &command))?;
    let refused = "Cannot assign requested address\nCannot assign requested address\n";
    ensure!(without.status == 0 && without.text().ends_with(refused), "{}", without.describe());
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

/// What was sent arrives, though the container ends before the other side takes it.
fn sent_at_the_end() -> Result<()> {
    let (port, events) = server()?;
    let script = format!(
        "import socket, time\ns = socket.create_connection(('{HOST}', {port}))\ns.send(b'slow\\n')\ns.setblocking(False)\nsent = 0\n\
         for i in range(20):\n    try:\n        while True: sent += s.send(b'x' * 65536)\n    except BlockingIOError: time.sleep(0.02)\n\
         print(sent)\n"
    );
    let outcome =
        agents::subject()?.run(&job(&["--net", &format!("localhost:{port}")], &[toolbox::PYTHON, "-c", &script]))?;
    let sent: u64 = outcome.text().trim().parse().with_context(|| outcome.describe())?;
    let arrived = events.recv_timeout(Duration::from_secs(30))?;
    ensure!(sent > 1 << 20 && arrived == sent.to_string(), "{arrived} of {sent} bytes arrived");
    Ok(())
}

/// A connection that is cut off is told from one that ends.
fn resets() -> Result<()> {
    let (port, events) = server()?;
    let connect = format!("import socket, struct, time\ns = socket.create_connection(('{HOST}', {port}))\n");
    let abort = "s.send(b'hold\\n'); time.sleep(0.3)\n\
                 s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0)); s.close(); time.sleep(3)\n";
    let gone = "s.send(b'late\\n'); s.close(); time.sleep(3)\n";
    for (script, expected) in [(abort, &["held", "reset"][..]), (gone, &["reset"])] {
        let script = format!("{connect}{script}");
        let place = format!("localhost:{port}");
        let outcome = agents::subject()?.run(&job(&["--net", &place], &[toolbox::PYTHON, "-c", &script]))?;
        ensure!(outcome.status == 0, "{}", outcome.describe());
        for expected in expected {
            let event = events.recv_timeout(Duration::from_secs(30)).with_context(|| format!("no {expected}"))?;
            ensure!(event == *expected, "{event}, not {expected}");
        }
    }
    Ok(())
}

/// One more than there may be is an error at once; closing makes room.
fn limit() -> Result<()> {
    let (port, _events) = server()?;
    let script = format!(
        "import socket, time\nat = ('{HOST}', {port})\nopen = []\ntry:\n    for i in range(600): open.append(socket.create_connection(at))\n\
         except OSError as e: print(len(open), e.strerror)\n[s.close() for s in open]\n\
         for i in range(50):\n    try:\n        socket.create_connection(at).close()\n        print('room')\n        break\n\
         \x20   except OSError: time.sleep(0.2)\n"
    );
    let place = format!("localhost:{port}");
    let outcome = agents::subject()?.run(&job(&["--net", &place], &[toolbox::PYTHON, "-c", &script]))?;
    ensure!(outcome.text() == "512 No buffer space available\nroom\n", "{}", outcome.describe());
    Ok(())
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
