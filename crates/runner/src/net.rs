//! `--net`: what a container may connect to outside, and the broker that does it.
//!
//! The running side has no system call that opens a socket (`seccomp`). A process of its own, the broker, which runs no guest code and has a fixed list
//! of places and a filter that leaves it little but `connect`, connects to one of them when it is asked to by its number, and hands the socket over.

use std::collections::HashMap;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream, ToSocketAddrs};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use megalith_run::options::Place;
use megalith_vfs::Errno;
use megalith_vkernel::{Gateway, MAX_OUTSIDE};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, SocketFlags, SocketType,
};

use rustix::process::DumpableBehavior;

use crate::failure::{Result, fail};

/// What the broker says first, as the number of a request.
const READY: u32 = u32::MAX;
/// First argument of the broker's process; the others are places, each a list of addresses.
const BROKER: &str = "--net-broker";

/// The host's loopback as a container sees it: its own is another.
const HOST: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 2, 2));
/// Its name, as other container tools have it.
const HOST_NAME: &str = "host.docker.internal";

/// An address that a container may connect to, and those that are tried in its place.
struct Route {
    seen: SocketAddr,
    real: Vec<SocketAddr>,
}

/// What was granted.
#[derive(Default)]
pub struct Grants {
    routes: Vec<Route>,
    /// Lines for /etc/hosts.
    pub hosts: Vec<String>,
}

impl Grants {
    /// Looks up the names of `places`.
    ///
    /// # Errors
    /// When one of them has no address.
    pub fn resolve(places: &[Place]) -> Result<Grants> {
        let mut grants = Grants::default();
        for place in places {
            let unknown = |why: String| fail(format!("--net {place}: {why}"));
            let found: Vec<SocketAddr> = (place.host.as_str(), place.port)
                .to_socket_addrs()
                .map_err(|e| unknown(format!("its address cannot be found: {e}")))?
                .collect();
            if found.is_empty() {
                return Err(unknown("it has no address".into()));
            }
            for found in found {
                let real = SocketAddr::new(found.ip().to_canonical(), place.port);
                let own = real.ip().is_loopback() || real.ip().is_unspecified();
                let seen = if own { SocketAddr::new(HOST, place.port) } else { real };
                match grants.routes.iter_mut().find(|r| r.seen == seen) {
                    Some(route) if route.real.contains(&real) => {}
                    Some(route) => route.real.push(real),
                    None => grants.routes.push(Route { seen, real: vec![real] }),
                }
                if own {
                    grants.name(HOST, HOST_NAME);
                }
                if place.host.parse::<IpAddr>().is_err() && !place.host.eq_ignore_ascii_case("localhost") {
                    grants.name(seen.ip(), &place.host);
                }
            }
        }
        Ok(grants)
    }

    fn name(&mut self, ip: IpAddr, name: &str) {
        let line = format!("{ip}\t{name}\n");
        if !self.hosts.contains(&line) {
            self.hosts.push(line);
        }
    }

    /// Starts the broker. To be called before the seccomp filter is there.
    pub fn broker(self) -> Result<Arc<dyn Gateway>> {
        let bad = |e: io::Error| fail(format!("--net: cannot start the process that connects: {e}"));
        let (own, its) =
            rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
                .map_err(|e| bad(e.into()))?;
        let list = |r: &Route| r.real.iter().map(SocketAddr::to_string).collect::<Vec<_>>().join(",");
        let mut command = Command::new("/proc/self/exe");
        command.arg(BROKER).args(self.routes.iter().map(list)).env_clear().current_dir("/");
        // Not of the terminal's group: it ends when the container does, by the end of its input.
        command.stdin(Stdio::from(its)).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
        command.spawn().map_err(bad)?;
        // Its filter is there before ours is, and so before any guest.
        if !matches!(receive_answer(&own), Ok(Some((READY, _)))) {
            return Err(fail("--net: the process that connects did not start"));
        }
        let broker = Arc::new(Broker {
            socket: own,
            seen: self.routes.into_iter().map(|r| r.seen).collect(),
            pending: Mutex::new(Some(HashMap::new())),
            next: AtomicU32::new(0),
        });
        let answers = Arc::clone(&broker);
        thread::Builder::new().name("net".into()).spawn(move || answers.receive()).map_err(bad)?;
        Ok(broker)
    }
}

type Answer = std::result::Result<OwnedFd, Errno>;

/// The broker, as the running side sees it.
struct Broker {
    socket: OwnedFd,
    seen: Vec<SocketAddr>,
    /// Who waits for the answer to which request; `None` when there will be no more.
    pending: Mutex<Option<HashMap<u32, Sender<Answer>>>>,
    next: AtomicU32,
}

impl Broker {
    fn pending(&self) -> MutexGuard<'_, Option<HashMap<u32, Sender<Answer>>>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands answers to who waits for them, until the broker is gone.
    fn receive(&self) {
        while let Ok(Some((id, answer))) = receive_answer(&self.socket) {
            if let Some(waiting) = self.pending().as_mut().and_then(|p| p.remove(&id)) {
                let _ = waiting.send(answer);
            }
        }
        // Those who wait see the end of their channels.
        *self.pending() = None;
    }
}

impl Gateway for Broker {
    fn granted(&self) -> &[SocketAddr] {
        &self.seen
    }

    fn connect(&self, to: SocketAddr) -> Answer {
        let place = self.seen.iter().position(|seen| *seen == to).ok_or(Errno::ENETUNREACH)?;
        let place = u32::try_from(place).map_err(|_| Errno::ENETUNREACH)?;
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let (sender, answer) = channel();
        self.pending().as_mut().ok_or(Errno::ENETUNREACH)?.insert(id, sender);
        let request = words([id, place]);
        if rustix::io::write(&self.socket, &request).is_err() {
            return Err(Errno::ENETUNREACH);
        }
        answer.recv().unwrap_or(Err(Errno::ENETUNREACH))
    }
}

fn words([a, b]: [u32; 2]) -> [u8; 8] {
    let mut bytes = [0; 8];
    bytes.iter_mut().zip(a.to_le_bytes().into_iter().chain(b.to_le_bytes())).for_each(|(to, from)| *to = from);
    bytes
}

fn unwords(bytes: [u8; 8]) -> [u32; 2] {
    let [a, b, c, d, e, f, g, h] = bytes;
    [u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h])]
}

/// The next answer: number of the request, and a socket or an error. `None` at the end.
fn receive_answer(socket: &OwnedFd) -> io::Result<Option<(u32, Answer)>> {
    let mut bytes = [0; 8];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut files = RecvAncillaryBuffer::new(&mut space);
    let mut parts = [IoSliceMut::new(&mut bytes)];
    let received =
        rustix::io::retry_on_intr(|| rustix::net::recvmsg(socket, &mut parts, &mut files, RecvFlags::CMSG_CLOEXEC))?;
    if received.bytes != 8 {
        return Ok(None);
    }
    let mut file = None;
    for message in files.drain() {
        if let RecvAncillaryMessage::ScmRights(mut fds) = message {
            file = fds.next();
        }
    }
    let [id, error] = unwords(bytes);
    let error = i32::try_from(error).ok().filter(|e| *e > 0).map_or(Errno::ECONNREFUSED, Errno::from_raw);
    Ok(Some((id, file.ok_or(error))))
}

/// Runs the broker, if that is what this process was started for.
pub fn serve() -> Option<ExitCode> {
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next()? != BROKER {
        return None;
    }
    let places: Option<Vec<Vec<SocketAddr>>> =
        arguments.map(|list| list.to_str()?.split(',').map(|address| address.parse().ok()).collect()).collect();
    let (Some(places), Ok(socket)) = (places, io::stdin().as_fd().try_clone_to_owned()) else {
        return Some(ExitCode::FAILURE);
    };
    // Nobody of the same user looks into it, and it can do nothing but connect.
    let _ = rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable);
    if crate::seccomp::install_broker().is_err() || answer(&socket, READY, &Err(Errno::EPERM)).is_err() {
        return Some(ExitCode::FAILURE);
    }
    let (places, socket) = (Arc::new(places), Arc::new(socket));
    let attempts = Arc::new(AtomicUsize::new(0));
    let mut request = [0; 8];
    while let Ok(8) = rustix::io::retry_on_intr(|| rustix::io::read(&*socket, &mut request)) {
        let [id, place] = unwords(request);
        let work = {
            let (places, socket, attempts) = (Arc::clone(&places), Arc::clone(&socket), Arc::clone(&attempts));
            move || {
                let addresses = usize::try_from(place).ok().and_then(|place| places.get(place));
                let connected = connect(addresses.map(Vec::as_slice).unwrap_or_default());
                let _ = answer(&socket, id, &connected);
                attempts.fetch_sub(1, Ordering::AcqRel);
            }
        };
        let room = attempts.fetch_add(1, Ordering::AcqRel) < MAX_OUTSIDE;
        if !room || thread::Builder::new().stack_size(128 << 10).spawn(work).is_err() {
            attempts.fetch_sub(1, Ordering::AcqRel);
            let _ = answer(&socket, id, &Err(Errno::ENOBUFS));
        }
    }
    Some(ExitCode::SUCCESS)
}

/// Tries addresses in turn.
fn connect(addresses: &[SocketAddr]) -> std::result::Result<TcpStream, Errno> {
    let mut error = Errno::ENETUNREACH;
    for address in addresses {
        match TcpStream::connect(address) {
            Ok(stream) => {
                // Writes of the guest come in pieces already.
                let _ = stream.set_nodelay(true);
                let _ = rustix::net::sockopt::set_socket_keepalive(&stream, true);
                return stream.set_nonblocking(true).map(|()| stream).map_err(|_| Errno::EIO);
            }
            Err(e) => error = Errno::from_raw(e.raw_os_error().unwrap_or(libc::ECONNREFUSED)),
        }
    }
    Err(error)
}

fn answer(socket: &OwnedFd, id: u32, connected: &std::result::Result<TcpStream, Errno>) -> rustix::io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut files = SendAncillaryBuffer::new(&mut space);
    let fds = connected.as_ref().ok().map(|stream| [stream.as_fd()]);
    if let Some(fds) = &fds {
        files.push(SendAncillaryMessage::ScmRights(fds));
    }
    let error = connected.as_ref().err().map_or(0, |e| e.raw().unsigned_abs());
    let bytes = words([id, error]);
    rustix::net::sendmsg(socket, &[IoSlice::new(&bytes)], &mut files, SendFlags::NOSIGNAL)
}
