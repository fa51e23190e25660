//! ICMP echo checks: sockets, sending, and the acceptance of answers.
//!
//! A dgram ("ping") socket where the kernel allows it (`net.ipv4.ping_group_range`, icmp(7)), else a raw one
//! (`CAP_NET_RAW`, raw(7)). An answer counts only if type, source, identifier, sequence number and the whole payload
//! with its cookie match, and its checksum is right (the kernel checks it, except on a raw IPv4 socket, where we do).

use std::cell::Cell;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

#[cfg(target_os = "linux")]
use socket2::SockFilter;
use socket2::{Domain, Protocol, Socket, Type};

use super::{bind_to, endpoint, icmp_reason, send_failure};
use crate::clock::Clock;
use crate::flight::{Flight, Launch};
use crate::sync::{Permit, Pool};
use crate::sys::{self, ENTRIES, Entry, Ready};
use crate::target::{Interface, Options};
use crate::wire::{self, Echo, Version};

/// At most so many datagrams are read at a time, so that a flood cannot hold the thread.
const READS_AT_ONCE: usize = 4096;

/// The kernel walks all raw sockets for each ICMP packet of the machine. With more targets than this it is cheaper to close a
/// socket when its check is answered, and to open it for the next.
pub const CROWD: usize = 300;

/// Two jiffies of a kernel with HZ=100.
const JIFFIES: Duration = Duration::from_millis(20);

/// Stamps of so many answered checks are left on the error queue, where they take the room of answers.
const STAMPS_LEFT: u32 = 8;

/// Room for the IPv4 header with options in front of the message on a raw socket, and a byte that shows when an
/// answer is longer than the request was.
const ROOM: usize = 60 + 1;

/// What the probes of all targets share.
#[derive(Debug, Default)]
pub struct Shared {
    /// Descriptors for sockets beyond the current one of each target.
    pub spare: Arc<Pool>,
    /// More than [`CROWD`] ICMP targets?
    pub is_crowd: AtomicBool,
}

/// The ICMP side of one target: the current socket, and for a while up to two that were given up.
#[derive(Debug)]
pub struct IcmpProbe<'a> {
    options: &'a Options,
    shared: Arc<Shared>,
    current: Option<Box<IcmpSocket>>,
    /// Waits for the answers to its last checks.
    retired: Option<Box<IcmpSocket>>,
    /// The last socket that was ever answered, once it is given up and waits for nothing: what a NAT box on the way may
    /// have grown deaf to.
    witness: Option<Box<IcmpSocket>>,
    asked: Option<Box<Asked>>,
    /// Since the last answer a fresh identifier was put off, as there was no descriptor for it.
    denied: bool,
    /// Sockets opened so far.
    opened: u32,
    /// Keyed hash (SipHash with a random key from the kernel): cookies and identifiers that nobody can guess.
    random: RandomState,
    /// What goes out is built here, and what comes in is read to here.
    buffer: Box<[u8]>,
    /// What the sockets are known to hold, or are worth a look.
    ready: Ready,
    /// The last answer was there before it was waited for, as on loopback: the next is looked for as soon as its request is
    /// sent, else only when the kernel says that something came.
    quick: bool,
    /// When the latest wait began, if nothing was read since.
    waited: Option<Duration>,
    /// The wait is that of the next read.
    blocks: bool,
    /// Datagrams that answered no check of ours, and are not yet counted.
    strays: u64,
}

#[derive(Debug)]
struct IcmpSocket {
    /// None: it rests.
    socket: Option<Socket>,
    peer: IpAddr,
    version: Version,
    raw: bool,
    /// It gets only what is for it, so that nobody can fill it while it is not read.
    filtered: bool,
    /// Meaningful on a raw socket only; a dgram socket's is the kernel's.
    identifier: u16,
    /// Which socket of the probe it is; a raw one is the same after a rest.
    number: u32,
    /// Was any check answered on it?
    answered: bool,
    /// For its descriptor, once it is not the current one.
    permit: Option<Permit>,
    /// Datagrams sent, where the kernel stamps them. An IPv6 dgram socket is told that all is sent, also what the
    /// firewall or a full queue of this machine dropped; the stamps tell the truth.
    stamped: Cell<Option<u32>>,
    /// Of these, datagrams whose stamps wait to be read.
    unread: Cell<u32>,
}

/// The echo request that goes out on an earlier socket, while the target is down, beside the first check of each new one.
/// It is no check and is counted nowhere: it only shows whether the fresh identifier alone is answered.
#[derive(Debug)]
struct Asked {
    /// The check beside which it was sent.
    beside: u64,
    flight: Flight,
}

/// Which kind of socket this process may open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Unprivileged ping sockets.
    Dgram,
    /// Raw sockets, by CAP_NET_RAW.
    Raw,
}

/// Which kind of ICMP socket may this process open for the version? Errors: the dgram and the raw socket's, which
/// the caller reports (no right, exit 2) or takes as "unsent for now".
pub fn access(version: Version) -> Result<Access, (io::Error, io::Error)> {
    match Socket::new(domain(version), Type::DGRAM, Some(protocol(version))) {
        Ok(_) => Ok(Access::Dgram),
        Err(dgram) => match Socket::new(domain(version), Type::RAW, Some(protocol(version))) {
            Ok(_) => Ok(Access::Raw),
            Err(raw) => Err((dgram, raw)),
        },
    }
}

fn domain(version: Version) -> Domain {
    match version {
        Version::V4 => Domain::IPV4,
        Version::V6 => Domain::IPV6,
    }
}

fn protocol(version: Version) -> Protocol {
    match version {
        Version::V4 => Protocol::ICMPV4,
        Version::V6 => Protocol::ICMPV6,
    }
}

/// The ICMP version that an address is checked with.
pub fn version_of(address: IpAddr) -> Version {
    match address {
        IpAddr::V4(_) => Version::V4,
        IpAddr::V6(_) => Version::V6,
    }
}

/// Opens a socket as a check would, and closes it. Errors: those that would make the check unsent.
pub fn try_open(options: &Options, peer: IpAddr) -> io::Result<()> {
    open(options, peer, 0, 0, true).map(drop)
}

impl<'a> IcmpProbe<'a> {
    /// A probe with these options; its first socket is opened by the first check.
    pub fn new(options: &'a Options, shared: Arc<Shared>) -> IcmpProbe<'a> {
        IcmpProbe {
            options,
            shared,
            current: None,
            retired: None,
            witness: None,
            asked: None,
            denied: false,
            opened: 0,
            random: RandomState::new(),
            buffer: vec![0; wire::HEADER + options.length + ROOM].into_boxed_slice(),
            ready: Ready::default(),
            quick: false,
            waited: None,
            blocks: false,
            strays: 0,
        }
    }

    /// Sends check `number` to `peer`; it is then in `flight`, with its outcome if it could not be sent. A failure makes
    /// the next check open a new socket. While the target is `down`, the first check of a new socket is accompanied:
    /// see [`IcmpProbe::only_fresh_answers`].
    #[inline(never)]
    pub fn send(&mut self, flight: &mut Flight, number: u64, peer: IpAddr, down: bool, clock: &Clock) {
        match self.try_send(flight, number, peer, down, clock) {
            Ok(launch) => {
                self.ready.data |= self.quick;
                flight.launch(launch);
            }
            Err(error) => {
                self.retire(flight);
                flight.settled(number, clock.now(), send_failure(&error));
            }
        }
    }

    fn try_send(
        &mut self,
        flight: &mut Flight,
        number: u64,
        peer: IpAddr,
        down: bool,
        clock: &Clock,
    ) -> io::Result<Launch> {
        if self.current.as_ref().is_some_and(|socket| socket.peer != peer) {
            self.retire(flight);
            // Two sockets wait already. The older one's answers are given up: the new address matters more.
            if self.current.is_some() {
                let permit = self.retired.take().and_then(|older| older.permit).or_else(|| self.shared.spare.take());
                self.retired = self.current.take().filter(|_| permit.is_some());
                if let Some(retired) = &mut self.retired {
                    retired.permit = permit;
                }
            }
        }
        if flight.is_waiting() && self.current.as_deref().is_some_and(source_is_gone) {
            self.retire(flight);
        }
        if self.current.is_none() {
            self.opened = self.opened.wrapping_add(1);
            let identifier = self.random.hash_one(("identifier", self.opened)) as u16;
            let socket = open(self.options, peer, self.opened, identifier, !self.is_crowd())?;
            self.current = Some(Box::new(socket));
            // An earlier one whose check waits to be judged is kept: its socket may be the one that answers.
            if down && self.asked.is_none() {
                self.ask_witness(number, peer, flight.timeout(), clock);
            }
        } else {
            let filtered = !self.is_crowd();
            let stale = |socket: &&mut Box<IcmpSocket>| !socket.filtered && !flight.waits_for_socket(socket.number);
            if let Some(socket) = self.current.as_mut().filter(stale) {
                // Closed first: of descriptors there may be just one.
                socket.socket = None;
                socket.socket = Some(open_raw(self.options, peer, Some(socket.identifier).filter(|_| filtered))?);
                socket.filtered = filtered;
            }
        }
        match &self.current {
            Some(socket) => send(socket, &self.random, &mut self.buffer, flight, number, clock),
            None => Err(io::Error::from_raw_os_error(libc::EBADF)),
        }
    }

    fn is_crowd(&self) -> bool {
        self.shared.is_crowd.load(Ordering::Relaxed)
    }

    /// Sends a request on the socket that was answered last. A failure is no news: the check tells.
    // Rare: what it needs of the stack is not to be a part of every check. So with others here.
    #[inline(never)]
    fn ask_witness(&mut self, number: u64, peer: IpAddr, timeout: Duration, clock: &Clock) {
        let earlier = [&self.retired, &self.witness].into_iter().flatten();
        let mut answered = earlier.filter(|socket| socket.answered && socket.peer == peer);
        self.asked = answered.next().and_then(|socket| {
            let mut flight = Flight::new(timeout);
            let launch = send(socket, &self.random, &mut self.buffer, &mut flight, number, clock).ok()?;
            flight.launch(launch);
            Some(Box::new(Asked { beside: number, flight }))
        });
    }

    /// Was the check, which is answered, the first of a fresh socket, and the request beside it on the earlier socket
    /// not answered? Then something on the way holds on to the old identifier: a stale NAT session.
    pub fn only_fresh_answers(&mut self, number: u64) -> bool {
        // Judged now, its answer is awaited no more.
        let asked = self.asked.take_if(|asked| asked.beside <= number);
        asked.is_some_and(|asked| asked.beside == number && asked.flight.is_waiting())
    }

    /// Gives up the current socket, and with it its identifier: the next check opens another. Answers to checks on
    /// their way are still taken; while those of an earlier socket are awaited too, this one stays for now. Heals
    /// changes of address and interface, and stale NAT sessions.
    pub fn retire(&mut self, flight: &Flight) {
        let waits = |socket: &IcmpSocket| flight.waits_for_socket(socket.number);
        if self.current.as_deref().is_some_and(waits) && self.retired.as_deref().is_some_and(waits) {
            return;
        }
        let Some(mut socket) = self.current.take() else {
            return;
        };
        // What it waited for may have been judged since the last read.
        let done = self.retired.take_if(|socket| !waits(socket));
        self.witness = done.filter(|socket| socket.answered).or(self.witness.take());
        let (is_awaited, kept) = (waits(&socket), socket.answered && socket.socket.is_some());
        if is_awaited || kept {
            socket.permit = self.shared.spare.take();
        }
        if is_awaited && socket.permit.is_none() {
            // The hint about a stale NAT session is worth less than a fresh identifier.
            self.asked = None;
            socket.permit = self.witness.take().and_then(|witness| witness.permit);
        }
        match socket.permit {
            Some(_) if is_awaited => self.retired = Some(socket),
            Some(_) if kept => self.witness = Some(socket),
            // No descriptor for another: the answers on their way matter more than a fresh identifier, but not for ever.
            None if is_awaited && !std::mem::replace(&mut self.denied, true) => self.current = Some(socket),
            _ => {}
        }
    }

    /// Reads what is known to have arrived; with `all`, whatever has, until nothing is left.
    #[inline(never)]
    pub fn read(&mut self, flight: &mut Flight, clock: &Clock, all: bool) {
        let (ready, waited) = (std::mem::take(&mut self.ready), self.waited.take());
        let blocks = std::mem::take(&mut self.blocks) && !all;
        if !(ready.data || ready.errors || all) {
            return;
        }
        let mut arrived = None;
        // The earlier ones first: when a check is judged, the answer to the request beside it has been seen.
        let witness = self.witness.as_mut().filter(|_| self.asked.is_some());
        for socket in [witness, self.retired.as_mut(), self.current.as_mut()].into_iter().flatten() {
            let look = all || ready.errors || socket.unread.get() >= STAMPS_LEFT;
            // Before the answers: the stamps of an answered check tell which ones this path gives.
            let entries = if look { read_errors(socket, flight) } else { 0 };
            // An error without an entry is taken by reading.
            if ready.data || all || entries == 0 {
                let asked = self.asked.as_mut().map(|asked| &mut asked.flight);
                let (strays, last) =
                    read_answers(socket, blocks, &mut self.buffer, self.options.length, flight, asked, clock);
                self.strays += strays;
                arrived = last.or(arrived);
            }
        }
        let is_crowd = self.is_crowd();
        let may_rest =
            |socket: &&mut Box<IcmpSocket>| socket.raw && is_crowd && !flight.waits_for_socket(socket.number);
        if let (Some(socket), Some(_)) = (self.current.as_mut().filter(may_rest), arrived) {
            (socket.socket, socket.filtered) = (None, false);
        }
        self.denied &= arrived.is_none();
        self.quick = match (arrived, waited) {
            (Some(arrived), Some(waited)) => arrived <= waited,
            (Some(_), None) => self.quick,
            (None, _) => self.quick && !ready.data,
        };
        if self.asked.is_none() && self.current.as_ref().is_some_and(|socket| socket.answered) {
            // Should this one be given up, it is the witness itself.
            self.witness = None;
        }
        let done = |socket: &mut Box<IcmpSocket>| !flight.waits_for_socket(socket.number);
        if let Some(socket) = self.retired.take_if(done).filter(|socket| socket.answered) {
            self.witness = Some(socket);
        }
    }

    /// Waits until something can be read or the time is `wake`; or leaves the first part of a long wait to the next read,
    /// which then is one system call and not two.
    #[inline(never)]
    pub fn wait(&mut self, wake: Duration, clock: &Clock) {
        let now = clock.now();
        let timeout = wake.saturating_sub(now);
        let is_open = self.current.as_deref().is_some_and(|socket| socket.fd().is_some());
        let alone = is_open && self.retired.is_none() && self.asked.is_none();
        if alone && patience(self.options).is_some_and(|patience| patience + patience / 7 + JIFFIES < timeout) {
            (self.waited, self.blocks) = (Some(now), true);
            self.ready = Ready { data: true, errors: false };
            return;
        }
        let witness = self.witness.as_ref().filter(|_| self.asked.is_some());
        let sockets = [self.current.as_ref(), self.retired.as_ref(), witness];
        let waited = sys::wait_readable(sockets.map(|socket| socket?.fd()), timeout);
        self.waited = Some(now);
        // No memory in the kernel: wait without the sockets, then look.
        self.ready = waited.unwrap_or_else(|_| {
            std::thread::sleep(timeout);
            Ready { data: true, errors: true }
        });
    }

    /// Datagrams since the last call that answered no waiting check: foreign, forged, late or repeated.
    pub fn take_strays(&mut self) -> u64 {
        std::mem::take(&mut self.strays)
    }
}

impl IcmpSocket {
    /// None while it rests.
    fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.socket.as_ref().map(AsFd::as_fd)
    }
}

/// Has the address that the socket sends from left this machine? A connected raw IPv6 socket goes on sending from it, and
/// no answer finds the way back; all others choose or check their source for each packet.
#[inline(never)]
fn source_is_gone(socket: &IcmpSocket) -> bool {
    if !socket.raw || socket.version == Version::V4 {
        return false;
    }
    let local = socket.socket.as_ref().and_then(|socket| socket.local_addr().ok());
    let local = local.and_then(|local| Some(local.as_socket_ipv6()?.ip().to_owned()));
    let bound = local.map(|local| UdpSocket::bind((local, 0)));
    matches!(bound, Some(Err(error)) if error.raw_os_error() == Some(libc::EADDRNOTAVAIL))
}

/// Sends one echo request. Errors: of sendto(2), unless it was an ICMP error that waited on the socket.
fn send(
    socket: &IcmpSocket,
    random: &RandomState,
    buffer: &mut [u8],
    flight: &mut Flight,
    number: u64,
    clock: &Clock,
) -> io::Result<Launch> {
    let (sequence, cookie) = (number as u16, random.hash_one((number, socket.number)));
    let sum = socket.raw && socket.version == Version::V4;
    let send_once = |buffer: &mut [u8]| {
        let length = buffer.len().saturating_sub(ROOM);
        let message = buffer.get_mut(..length).unwrap_or_default();
        wire::build(message, socket.version, socket.identifier, sequence, cookie, sum);
        // The time is taken before the call: an answer cannot be older.
        let sent = clock.now();
        match &socket.socket {
            Some(raw) if socket.raw => raw.send(message),
            Some(dgram) => dgram.send_to(message, &endpoint(socket.peer, 0)),
            None => Err(io::Error::from_raw_os_error(libc::EBADF)),
        }
        .map(|_| sent)
    };
    let sent = send_once(buffer).or_else(|_| {
        // An ICMP error for an earlier check may have been pending, and this call got it. Take it off the queue and
        // send once more: the check itself has not failed yet.
        read_errors(socket, flight);
        // Whether the kernel counted the failed one is not known.
        socket.stamped.set(None);
        send_once(buffer)
    })?;
    let stamped = socket.stamped.replace(socket.stamped.get().map(|count| count.wrapping_add(1)));
    socket.unread.set(socket.unread.get() + u32::from(stamped.is_some()));
    Ok(Launch { number, sent, sequence, cookie, socket: socket.number, stamped })
}

/// Opens a dgram socket, else a raw one. Errors: of the raw socket where both are refused, of any option that was
/// asked for, and of connect (raw: no route); the check is then unsent.
#[inline(never)]
fn open(options: &Options, peer: IpAddr, number: u32, identifier: u16, filtered: bool) -> io::Result<IcmpSocket> {
    let version = version_of(peer);
    let (socket, raw) = match open_dgram(options, version) {
        Some(socket) => (socket?, false),
        None => (open_raw(options, peer, Some(identifier).filter(|_| filtered))?, true),
    };
    let stamped = !raw && version == Version::V6 && sys::want_stamps(socket.as_fd()).is_ok();
    Ok(IcmpSocket {
        socket: Some(socket),
        peer,
        version,
        raw,
        filtered: filtered || !raw,
        identifier,
        number,
        answered: false,
        permit: None,
        stamped: Cell::new(stamped.then_some(0)),
        unread: Cell::new(0),
    })
}

/// None: the kernel gives us none.
fn open_dgram(options: &Options, version: Version) -> Option<io::Result<Socket>> {
    let socket = match Socket::new(domain(version), Type::DGRAM, Some(protocol(version))) {
        Ok(socket) => socket,
        Err(error) => return no_descriptor(&error).then_some(Err(error)),
    };
    let prepare = || {
        // Ping sockets start with it on, and another user could then take our identifier.
        socket.set_reuse_address(false)?;
        set_options(&socket, options, version)?;
        if matches!(options.interface, Some(Interface::Address(_))) {
            return Ok(());
        }
        // Binding gives the socket its identifier before the first packet.
        let any: IpAddr = match version {
            Version::V4 => Ipv4Addr::UNSPECIFIED.into(),
            Version::V6 => Ipv6Addr::UNSPECIFIED.into(),
        };
        socket.bind(&endpoint(any, 0))
    };
    Some(prepare().map(|()| socket))
}

/// With an identifier: for replies with it only. Else it gets all that comes from the peer: for one of a crowd, that is open
/// for a check at a time.
#[inline(never)]
fn open_raw(options: &Options, peer: IpAddr, identifier: Option<u16>) -> io::Result<Socket> {
    let version = version_of(peer);
    let socket = Socket::new(domain(version), Type::RAW, Some(protocol(version)))?;
    set_options(&socket, options, version)?;
    // Elsewhere every reply of the machine is read, and passed over.
    #[cfg(target_os = "linux")]
    if let Some(identifier) = identifier {
        socket.attach_filter(&replies_only(version, identifier))?;
    }
    socket.connect(&endpoint(peer, 0))?;
    if identifier.is_some() {
        // What came before the filter stood is foreign.
        let mut foreign = [0; 1];
        (0..READS_AT_ONCE).find(|_| sys::receive(socket.as_fd(), &mut foreign, false).is_err());
    }
    Ok(socket)
}

fn set_options(socket: &Socket, options: &Options, version: Version) -> io::Result<()> {
    bind_to(socket, options.interface.as_ref())?;
    socket.set_read_timeout(patience(options))?;
    if let Some(ttl) = options.ttl {
        match version {
            Version::V4 => socket.set_ttl_v4(ttl.into())?,
            Version::V6 => socket.set_unicast_hops_v6(ttl.into())?,
        }
    }
    if let Some(tos) = options.tos {
        match version {
            Version::V4 => socket.set_tos_v4(tos.into())?,
            Version::V6 => socket.set_tclass_v6(tos.into())?,
        }
    }
    // Without them the reasons are fewer and a round trip ends when we wake: worse, not wrong.
    let _ = sys::want_arrivals(socket.as_fd()).and(sys::want_errors(socket.as_fd(), version));
    Ok(())
}

/// How long a read may block: less than the time to the next thing to do, as the kernel's timer wheel may let it end an
/// eighth late (8 of 63), and [`JIFFIES`] more. None: that time is too short to tell.
fn patience(options: &Options) -> Option<Duration> {
    let wait = options.interval.min(options.timeout);
    (wait >= 5 * JIFFIES).then_some(wait / 3 * 2)
}

fn no_descriptor(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE))
}

/// Classic BPF (bpf(4)) for a raw socket: echo replies with our identifier, nothing else. Each raw socket gets a copy
/// of every ICMP packet of the machine, so with many targets this must be settled in the kernel. ICMP errors come
/// by the error queue, which no filter touches.
#[cfg(target_os = "linux")]
fn replies_only(version: Version, identifier: u16) -> Vec<SockFilter> {
    const LDX_IHL: u16 = 0xb1; // X = 4 * (byte[k] & 0x0f)
    const LDX_IMM: u16 = 0x01; // X = k
    const LD_BYTE: u16 = 0x50; // A = byte[X + k]
    const LD_HALF: u16 = 0x48; // A = u16[X + k]
    const JEQ: u16 = 0x15;
    const RET: u16 = 0x06;
    // An IPv4 raw socket gets the IP header too, an IPv6 one does not.
    let start = match version {
        Version::V4 => SockFilter::new(LDX_IHL, 0, 0, 0),
        Version::V6 => SockFilter::new(LDX_IMM, 0, 0, 0),
    };
    vec![
        start,
        SockFilter::new(LD_BYTE, 0, 0, 0),
        SockFilter::new(JEQ, 0, 3, version.reply().into()),
        SockFilter::new(LD_HALF, 0, 0, 4),
        SockFilter::new(JEQ, 0, 1, identifier.into()),
        SockFilter::new(RET, 0, 0, u32::MAX),
        SockFilter::new(RET, 0, 0, 0),
    ]
}

/// Reads the socket until it is empty or all is answered; at first it `blocks` until something comes or its time is over. Returns how many datagrams were strays, and when the last answer
/// came.
// Not part of `read`: it would lie below the call for the error queue, the deepest, and a target is to do with one page of stack.
#[inline(never)]
fn read_answers(
    socket: &mut IcmpSocket,
    mut blocks: bool,
    buffer: &mut [u8],
    length: usize,
    flight: &mut Flight,
    mut asked: Option<&mut Flight>,
    clock: &Clock,
) -> (u64, Option<Duration>) {
    let (mut strays, mut unexplained, mut last) = (0, 0, None);
    for _ in 0..READS_AT_ONCE {
        let Some(fd) = socket.fd() else { break };
        let received = match sys::receive(fd, buffer, std::mem::take(&mut blocks)) {
            Ok(received) => received,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(_) => {
                // An ICMP error was pending, and this call took it. What it quotes is on the error queue; a socket that
                // has an error and nothing there, again and again, is left for the next time.
                if read_errors(socket, flight) == 0 {
                    unexplained += 1;
                }
                if unexplained > 3 {
                    break;
                }
                continue;
            }
        };
        let arrived = clock.arrival(received.arrived);
        let datagram = buffer.get(..received.length).unwrap_or_default();
        let with_header = socket.raw && socket.version == Version::V4;
        let message = if with_header { wire::ipv4_body(datagram).unwrap_or_default() } else { datagram };
        let from_peer = received.from == Some(socket.peer);
        // What a filter, and the kernel for a dgram socket, keep away: not for us.
        if socket.raw && !(from_peer && is_reply(socket, message)) {
            continue;
        }
        let accepts = |flight: &mut Flight| accept(socket, message, length, arrived, flight);
        if !from_peer || !(accepts(flight) || asked.as_deref_mut().is_some_and(accepts)) {
            strays += 1;
            continue;
        }
        socket.answered = true;
        last = Some(arrived);
        if !flight.is_waiting() {
            // All is answered: what else may have come can wait for the next check.
            break;
        }
    }
    (strays, last)
}

fn is_reply(socket: &IcmpSocket, message: &[u8]) -> bool {
    let reply = (socket.version.reply(), socket.identifier);
    Echo::parse(message).is_some_and(|(echo, _)| (echo.kind, echo.identifier) == reply)
}

/// Does this message answer a check that waits? Then its outcome is now known to `flight`.
fn accept(socket: &IcmpSocket, message: &[u8], length: usize, arrived: Duration, flight: &mut Flight) -> bool {
    let Some((echo, payload)) = Echo::parse(message) else {
        return false;
    };
    echo.kind == socket.version.reply()
        && echo.code == 0
        && (!socket.raw || socket.version == Version::V6 || wire::checksum(message) == 0)
        && flight.answer(arrived, socket.number, echo.sequence, |cookie| wire::payload_is(payload, length, cookie))
}

/// Takes everything off the error queue; each ICMP error becomes the reason of the check that it quotes. Returns how
/// many entries there were.
fn read_errors(socket: &IcmpSocket, flight: &mut Flight) -> usize {
    socket.unread.set(0);
    let mut count = 0;
    while count < READS_AT_ONCE {
        let Some(fd) = socket.fd() else { break };
        let came = sys::receive_errors(fd, |entry| note(socket, flight, entry));
        count += came;
        if came < ENTRIES {
            break;
        }
    }
    count
}

#[inline(never)]
fn note(socket: &IcmpSocket, flight: &mut Flight, entry: Entry) {
    match entry {
        Entry::Stamp(stamp) => flight.stamped(socket.number, stamp.index, stamp.left),
        Entry::Error(error, quoted) => {
            // On a raw socket the error may belong to another program that pings the same host.
            let ours = |echo: &Echo| {
                echo.kind == socket.version.request() && (!socket.raw || echo.identifier == socket.identifier)
            };
            if let Some((echo, _)) = Echo::parse(&quoted).filter(|(echo, _)| ours(echo)) {
                flight.error(socket.number, echo.sequence, icmp_reason(socket.version, error));
            }
        }
        Entry::Other => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flags;
    use crate::target::Target;

    /// Of a crowd's socket that rests nothing can be read: while a check of another waits, the time is slept through.
    #[test]
    fn at_rest_the_wait_is_a_wait() {
        let options = options(["-i", "100ms", "-w", "1s"]);
        let (clock, mut probe) = (Clock::start(), IcmpProbe::new(&options, Arc::default()));
        let mut socket = open(&options, Ipv4Addr::LOCALHOST.into(), 1, 1, false);
        if let Ok(socket) = &mut socket {
            socket.socket = None;
        }
        probe.current = socket.ok().map(Box::new);
        let wake = clock.now() + Duration::from_millis(120);
        probe.wait(wake, &clock);
        assert!(clock.now() >= wake && !probe.blocks);
    }

    fn options(words: [&str; 4]) -> Arc<Options> {
        Target::parse("gw", &flags::parse(words.map(Into::into)).unwrap().target).unwrap().options
    }

    /// A wait that is left to the read ends in time, however late the kernel lets it end, and is long enough to pay.
    #[test]
    fn a_read_that_blocks_leaves_the_next_slot_its_time() {
        let of = |interval: &str| patience(&options(["-i", interval, "-w", "2s"]));
        assert_eq!([of("10ms"), of("99ms")], [None, None]);
        for (interval, wait) in [("100ms", 100), ("1s", 1000), ("1m", 2000)] {
            let (patience, wait) = (of(interval).unwrap(), Duration::from_millis(wait));
            assert!(patience + patience / 7 + JIFFIES < wait && patience > wait / 2, "{interval}: {patience:?}");
        }
    }
}
