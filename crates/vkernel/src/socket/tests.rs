use super::outside::Outside;
use super::*;
use megalith_vfs::Budget;
use std::collections::HashMap;

const ROOT: Cred = Cred { pid: 1, uid: 0, gid: 0 };

fn net() -> (Arc<Net>, Arc<Budget>) {
    let budget = Budget::unlimited();
    (Net::new(&budget, Outside::default()), budget)
}
fn file(s: Arc<Socket>) -> Arc<OpenFile> {
    OpenFile::stream(Arc::new(SocketFile(s)), 2)
}
fn pair(net: &Arc<Net>) -> [(Arc<Socket>, Arc<OpenFile>); 2] {
    Socket::pair(net, 1, 0, ROOT).unwrap().map(|s| (Arc::clone(&s), file(s)))
}
fn send_files(s: &Socket, files: Vec<Arc<OpenFile>>) -> Result<usize> {
    s.send_connected(b"x", &mut Outgoing { files, ..Outgoing::default() })
}
fn tcp(net: &Arc<Net>) -> (Arc<Socket>, Arc<OpenFile>) {
    let s = Socket::new(net, 2, 1, 0, ROOT, true).unwrap();
    (Arc::clone(&s), file(s))
}
fn lo(port: u16) -> Addr {
    Addr::Inet(Endpoint { ip: Ipv4Addr::LOCALHOST.into(), port })
}
fn port(s: &Socket) -> u16 {
    match s.local() {
        Addr::Inet(e) => e.port,
        _ => 0,
    }
}

#[test]
fn sockets_that_wait_in_each_other_are_closed() {
    let (net, budget) = net();
    for _ in 0..100 {
        let [(a, fa), (b, fb)] = pair(&net);
        send_files(&a, vec![Arc::clone(&fa), Arc::clone(&fb)]).unwrap();
        send_files(&b, vec![fa, fb]).unwrap();
    }
    // Closing any socket looks; seldom, when there are many.
    for _ in 0..100 {
        drop(pair(&net));
    }
    assert_eq!(budget.used(), 0);
    assert!(net.all().is_empty());
}

#[test]
fn what_can_still_be_received_is_kept() {
    let (net, _) = net();
    let [(a, fa), (b, fb)] = pair(&net);
    let [(c, fc), (_d, fd)] = pair(&net);
    // d waits in b, which is open; c, in which d waits as well, only in itself and in d.
    send_files(&a, vec![Arc::clone(&fd)]).unwrap();
    send_files(&c, vec![Arc::clone(&fc), Arc::clone(&fd)]).unwrap();
    drop((fc, fd));
    net.collect_garbage();
    for _ in 0..10 {
        drop(pair(&net));
    }
    let got = b.recv(&mut [0; 8], false, 1).unwrap();
    assert_eq!(got.files.len(), 1);
    let d = of(&got.files[0]).unwrap();
    let inner = d.recv(&mut [0; 8], false, 1).unwrap();
    assert_eq!(inner.files.len(), 2);
    drop((inner, got, fa, fb, a, b, c));
    for _ in 0..10 {
        drop(pair(&net));
    }
    assert!(net.all().is_empty());
}

#[test]
fn a_long_chain_in_flight_is_closed_without_recursion() {
    let (net, budget) = net();
    let mut last: Option<Arc<OpenFile>> = None;
    for _ in 0..20_000 {
        let [(a, fa), (_, fb)] = pair(&net);
        if let Some(f) = last.take() {
            send_files(&a, vec![f]).unwrap();
        }
        drop(fa);
        last = Some(fb);
    }
    assert!(budget.used() > 0);
    drop(last);
    assert_eq!(budget.used(), 0);
    assert!(net.all().is_empty());
}

#[test]
fn descriptors_in_flight_are_bounded() {
    let (net, _) = net();
    let [(a, fa), (_b, fb)] = pair(&net);
    let other = pair(&net);
    let mut sent = 0;
    let mut error = None;
    'all: for _ in 0..1000 {
        let s = pair(&net);
        // (Kept in the message, so that this one stays open.)
        for _ in 0..300 {
            match send_files(&s[0].0, vec![Arc::clone(&other[0].1); 250]) {
                Ok(_) => sent += 250,
                Err(Errno::EAGAIN) => break,
                Err(e) => {
                    error = Some(e);
                    break 'all;
                }
            }
        }
        if send_files(&a, vec![Arc::clone(&s[1].1)]).is_err() {
            break;
        }
    }
    assert!(error == Some(Errno::ETOOMANYREFS) || sent < 1 << 16, "{sent} {error:?}");
    drop((a, fa, fb));
}

#[test]
fn a_full_queue_makes_connections_wait() {
    let (net, budget) = net();
    let (l, fl) = tcp(&net);
    l.bind(&lo(0), ROOT, true).unwrap();
    l.listen(0, ROOT).unwrap();
    let clients: Vec<_> = (0..3).map(|_| tcp(&net)).collect();
    let states: Vec<_> = clients.iter().map(|(c, _)| c.connect(&lo(port(&l)), None, ROOT, true)).collect();
    assert_eq!(states, [Ok(()), Err(Errno::EAGAIN), Err(Errno::EAGAIN)]);
    assert_eq!(clients[1].0.poll(), 0);
    let (first, _) = l.accept().unwrap();
    assert_ne!(clients[1].0.poll() & POLLOUT, 0, "the next one is connected");
    assert_eq!(clients[2].0.poll(), 0);
    drop(fl);
    assert_eq!(clients[2].0.end.take_error(), Some(Errno::ECONNREFUSED));
    assert_eq!(clients[1].0.end.take_error(), Some(Errno::ECONNRESET));
    drop(SocketFile(first));
    assert_eq!(clients[0].0.recv(&mut [0; 4], false, 1).map(|i| i.len), Ok(0));
    drop((clients, l));
    assert!(net.all().is_empty());
    assert_eq!(budget.used(), 0);
}

#[test]
fn ports_run_out_and_come_back() {
    let (net, _) = net();
    let mut open = Vec::new();
    let error = loop {
        let s = Socket::new(&net, 2, 2, 0, ROOT, true).unwrap();
        match s.bind(&lo(0), ROOT, true) {
            Ok(()) => open.push(file(s)),
            Err(e) => break e,
        }
    };
    assert_eq!((error, open.len()), (Errno::EADDRINUSE, net::LOCAL_PORTS.count()));
    drop(open.pop());
    let s = Socket::new(&net, 2, 2, 0, ROOT, true).unwrap();
    assert_eq!(s.bind(&lo(0), ROOT, true), Ok(()));
}

#[test]
fn a_stream_is_bounded_by_its_buffers() {
    let (net, budget) = net();
    let [(a, _fa), (b, _fb)] = pair(&net);
    let mut sent = 0;
    // Single bytes cost no more than their share.
    while let Ok(n) = a.send_connected(b"y", &mut Outgoing::default()) {
        sent += n;
    }
    assert!(sent > 100_000, "{sent}");
    assert!(budget.used() <= 2 * BUFFER_DEFAULT as u64 + 2 * OBJECT, "{}", budget.used());
    assert_eq!(a.poll() & POLLOUT, 0);
    let mut buf = vec![0; sent];
    assert_eq!(b.recv(&mut buf, false, 1).map(|i| i.len), Ok(sent));
    assert_ne!(a.poll() & POLLOUT, 0);
    assert_eq!(budget.used(), 2 * OBJECT);
}

#[test]
fn every_option_answers() {
    let (net, _) = net();
    for (family, kind) in [(1, 1), (1, 2), (1, 5), (2, 1), (2, 2), (10, 1), (10, 2), (16, 3)] {
        let s = Socket::new(&net, family, kind, 0, ROOT, true).unwrap();
        for level in [-1, 0, 1, 6, 17, 41, 99, 255, i32::MIN] {
            for name in -2..200 {
                for len in [0, 1, 3, 4, 8, 16, 255] {
                    for byte in [0, 1, 0x7f, 0xff] {
                        let _ = s.set_option(level, name, &vec![byte; len], byte == 1);
                    }
                }
                let _ = s.option(level, name);
            }
        }
        drop(SocketFile(s));
    }
}

type Answer = Result<std::os::fd::OwnedFd>;

/// A way out whose attempts, by the last number of the address, end when the test says how.
struct Slow {
    granted: Vec<std::net::SocketAddr>,
    answers: Mutex<HashMap<u8, std::sync::mpsc::Receiver<Answer>>>,
}

impl super::outside::Gateway for Slow {
    fn granted(&self) -> &[std::net::SocketAddr] {
        &self.granted
    }
    fn connect(&self, to: std::net::SocketAddr) -> Answer {
        let IpAddr::V4(ip) = to.ip() else { return Err(Errno::ENETUNREACH) };
        let answers = lock(&self.answers).remove(&ip.octets()[3]);
        answers.and_then(|answers| answers.recv().ok()).unwrap_or(Err(Errno::ENETUNREACH))
    }
}

/// What comes of an attempt that was given up is not taken for what comes of the next one.
#[test]
fn late_answers_from_outside_are_of_their_own_attempt() {
    let budget = Budget::unlimited();
    let (say, answers): (Vec<_>, HashMap<_, _>) = (0..5u8)
        .map(|host| {
            let (say, answers) = std::sync::mpsc::channel();
            (say, (host, answers))
        })
        .unzip();
    let granted = (0..5).map(|host| (Ipv4Addr::new(192, 0, 2, host), 80).into()).collect();
    let net = Net::new(&budget, Outside::new(Some(Arc::new(Slow { granted, answers: Mutex::new(answers) }))));
    let at = |host: u8| Addr::Inet(Endpoint { ip: Ipv4Addr::new(192, 0, 2, host).into(), port: 80 });
    let socket = Socket::new(&net, 2, 1, 0, ROOT, true).unwrap();
    let state = || match &lock(&socket.state).role {
        Role::Connecting(to) => format!("connecting to {}", to.ip),
        Role::Connected { .. } => "connected".to_owned(),
        Role::Refused => "refused".to_owned(),
        _ => "other".to_owned(),
    };
    let wait_for = |expected: &str| {
        for _ in 0..1000 {
            if state() == expected {
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        panic!("{}, not {expected}", state());
    };
    let stays = |expected: &str| {
        std::thread::sleep(Duration::from_millis(100));
        assert_eq!(state(), expected);
    };
    let host = || Ok(std::os::unix::net::UnixStream::pair().unwrap().0.into());
    assert_eq!(socket.connect_tcp(&at(0), ROOT), Err(Errno::EAGAIN));
    socket.shutdown(2).unwrap();
    assert_eq!(socket.connect_tcp(&at(1), ROOT), Err(Errno::EAGAIN));
    say[0].send(host()).unwrap();
    stays("connecting to 192.0.2.1");
    assert_eq!(socket.connect_tcp(&Addr::Unspec, ROOT), Ok(()));
    assert_eq!(socket.connect_tcp(&at(2), ROOT), Err(Errno::EAGAIN));
    say[1].send(Err(Errno::ETIMEDOUT)).unwrap();
    stays("connecting to 192.0.2.2");
    say[2].send(Err(Errno::ETIMEDOUT)).unwrap();
    wait_for("refused");
    assert_eq!(socket.connect_tcp(&at(3), ROOT), Err(Errno::ETIMEDOUT));
    assert_eq!(socket.connect_tcp(&at(3), ROOT), Err(Errno::EAGAIN));
    say[3].send(host()).unwrap();
    wait_for("connected");
    assert_eq!(lock(&socket.state).peer, Some(at(3)));
}
