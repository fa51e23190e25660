//! The system calls that neither std nor socket2 offers, and the only unsafe code of the crate: `recvmsg` and `recvmmsg` with control
//! messages (kernel arrival times; ICMP errors from the error queue, `IP_RECVERR` in ip(7)), `ppoll`, and the
//! socket options that turn those on; `flock`, which std has only since 1.89; signals for a process group; and what a
//! program on a terminal must ask.
#![allow(unsafe_code)]

use std::io;
use std::mem;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;
use std::time::{Duration, SystemTime};

use crate::wire::Version;

/// A datagram.
#[derive(Clone, Copy, Debug)]
pub struct Received {
    /// Bytes written to the buffer. A longer datagram was cut.
    pub length: usize,
    /// Who sent it.
    pub from: Option<IpAddr>,
    /// When the kernel received it, by the wall clock.
    pub arrived: Option<SystemTime>,
}

/// An entry of the error queue.
#[derive(Clone, Copy, Debug)]
pub enum Entry {
    /// Of a host, or of this machine's ICMP, with the beginning of what it quotes: our message.
    Error(IcmpError, [u8; QUOTED]),
    /// How far a datagram of ours came.
    Stamp(Stamp),
    /// Nothing that we want to know.
    Other,
}

/// An echo's header.
const QUOTED: usize = 8;

/// So many entries of an error queue are taken by one call.
pub const ENTRIES: usize = 3;

/// News of a datagram that was sent: `SOF_TIMESTAMPING_OPT_ID` in the kernel's timestamping.rst.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// The how manieth of the socket, from 0.
    pub index: u32,
    /// True: it was handed to the network driver. False: it came as far as the interface's queue.
    pub left: bool,
}

/// An ICMP error from the error queue: `struct sock_extended_err` of ip(7).
#[derive(Clone, Copy, Debug)]
pub struct IcmpError {
    /// ICMP type; only set for errors that came from the network or from this machine's ICMP.
    pub kind: u8,
    /// ICMP code.
    pub code: u8,
    /// The host that sent it.
    pub from: Option<IpAddr>,
}

/// What only Linux has.
#[cfg(target_os = "linux")]
mod linux {
    pub use libc::{IP_RECVERR, IPV6_RECVERR, SCM_TIMESTAMPNS, SO_TIMESTAMPING, SO_TIMESTAMPNS};
    /// Without SOF_TIMESTAMPING_SOFTWARE: that a datagram came so far is news, the time is not.
    pub const STAMPS: libc::c_uint = libc::SOF_TIMESTAMPING_TX_SCHED
        | libc::SOF_TIMESTAMPING_TX_SOFTWARE
        | libc::SOF_TIMESTAMPING_OPT_ID
        | libc::SOF_TIMESTAMPING_OPT_TSONLY;
}

/// Elsewhere there is no such option: setsockopt(2) is never asked, and no control message is of these kinds.
#[cfg(not(target_os = "linux"))]
mod linux {
    use libc::{c_int, c_uint};
    pub const IP_RECVERR: c_int = c_int::MIN;
    pub const IPV6_RECVERR: c_int = c_int::MIN;
    pub const SCM_TIMESTAMPNS: c_int = c_int::MIN;
    pub const SO_TIMESTAMPING: c_int = c_int::MIN;
    pub const SO_TIMESTAMPNS: c_int = c_int::MIN;
    pub const STAMPS: c_uint = 0;
}

/// Asks for the error queue. Errors: as setsockopt(2); the caller goes on without.
pub fn want_errors(socket: BorrowedFd<'_>, version: Version) -> io::Result<()> {
    match version {
        Version::V4 => set_option(socket, libc::IPPROTO_IP, linux::IP_RECVERR),
        Version::V6 => set_option(socket, libc::IPPROTO_IPV6, linux::IPV6_RECVERR),
    }
}

/// Asks for kernel arrival times. Errors: as setsockopt(2); the caller goes on without.
pub fn want_arrivals(socket: BorrowedFd<'_>) -> io::Result<()> {
    set_option(socket, libc::SOL_SOCKET, linux::SO_TIMESTAMPNS)
}

/// Locks a file for this process alone, without waiting (flock(2)); the lock goes with the file. Errors: WouldBlock when
/// another process holds it.
pub fn lock_file(file: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: no pointers; the descriptor is open through the call.
    let result = unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Sends a signal to the process group of a child that leads one (kill(2)); 0 asks whether there is still somebody in it.
/// False: nobody whom we may signal.
pub fn signal_group(leader: u32, signal: i32) -> bool {
    match i32::try_from(leader) {
        // SAFETY: two numbers, no pointers.
        Ok(group) if group > 1 => unsafe { libc::kill(-group, signal) == 0 },
        _ => false,
    }
}

/// From now on the statuses of our children are kept for us, also when we were started with SIGCHLD ignored (wait(2)).
pub fn keep_statuses() {
    // SAFETY: the default action, no handler; nobody else here handles SIGCHLD.
    unsafe { libc::signal(libc::SIGCHLD, libc::SIG_DFL) };
}

/// Takes the statuses of all children that have ended (waitpid(2)). As process 1 of a container we inherit those whose
/// parents are gone. Not while a child of ours runs that is waited for.
pub fn reap() {
    // SAFETY: a null pointer asks for no status.
    while unsafe { libc::waitpid(-1, ptr::null_mut(), libc::WNOHANG) } > 0 {}
}

/// The lines and columns of a terminal's window, 0 where it does not know; None: it is no terminal, or is gone.
pub fn window(terminal: BorrowedFd<'_>) -> Option<(u16, u16)> {
    let mut size = libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: the call fills one winsize, which lives through it.
    let result = unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCGWINSZ, ptr::from_mut(&mut size)) };
    (result == 0).then_some((size.ws_row, size.ws_col))
}

/// Is this process in the foreground of the terminal, or the terminal not the one that controls it?
pub fn in_foreground(terminal: BorrowedFd<'_>) -> bool {
    // SAFETY: both take and return numbers.
    let (front, own) = unsafe { (libc::tcgetpgrp(terminal.as_raw_fd()), libc::getpgrp()) };
    front == -1 || front == own
}

/// Does the terminal stop a process that writes to it from the background (`stty tostop`)?
pub fn stops_background(terminal: BorrowedFd<'_>) -> bool {
    // SAFETY: all zero is a valid termios (numbers and arrays of them), and the call fills one, which lives through it.
    let (result, settings) = unsafe {
        let mut settings: libc::termios = mem::zeroed();
        (libc::tcgetattr(terminal.as_raw_fd(), &mut settings), settings)
    };
    result == 0 && settings.c_lflag & libc::TOSTOP != 0
}

/// Stops this process as SIGTSTP does when nobody catches it: not where no shell could let it go on (an orphaned process
/// group), as SIGSTOP would. Returns when it goes on. Errors: EINVAL only.
pub fn stop() -> io::Result<()> {
    // SAFETY: all zero with SIG_DFL is a valid sigaction, both of them live through the calls, and the handler that is put
    // back is the one that was there.
    let result = unsafe {
        let (mut default, mut before): (libc::sigaction, libc::sigaction) = (mem::zeroed(), mem::zeroed());
        default.sa_sigaction = libc::SIG_DFL;
        match libc::sigaction(libc::SIGTSTP, &default, &mut before) {
            0 => {
                libc::raise(libc::SIGTSTP);
                libc::sigaction(libc::SIGTSTP, &before, ptr::null_mut())
            }
            failed => failed,
        }
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Raises the limit of open descriptors to so many, as far as this process may, and returns it. No further than needed:
/// what `--exec` runs inherits it, and some programs close every descriptor up to it.
pub fn raise_descriptor_limit(wanted: u64) -> u64 {
    // SAFETY: all zero is a valid rlimit.
    let mut limit: libc::rlimit = unsafe { mem::zeroed() };
    // SAFETY: the struct lives through both calls, which read or write it whole.
    unsafe {
        if libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) != 0 {
            return u64::MAX;
        }
        let raised = limit.rlim_cur.max(limit.rlim_max.min(wanted as _));
        let raised = libc::rlimit { rlim_cur: raised, ..limit };
        if libc::setrlimit(libc::RLIMIT_NOFILE, &raised) == 0 {
            limit = raised;
        }
    }
    limit.rlim_cur as u64
}

/// Asks for a [`Stamp`] for each datagram when it reaches the interface's queue, and when it leaves it. Errors: as
/// setsockopt(2); the caller goes on without.
pub fn want_stamps(socket: BorrowedFd<'_>) -> io::Result<()> {
    set_option_to(socket, libc::SOL_SOCKET, linux::SO_TIMESTAMPING, linux::STAMPS as libc::c_int)
}

fn set_option(socket: BorrowedFd<'_>, level: libc::c_int, name: libc::c_int) -> io::Result<()> {
    set_option_to(socket, level, name, 1)
}

fn set_option_to(socket: BorrowedFd<'_>, level: libc::c_int, name: libc::c_int, value: libc::c_int) -> io::Result<()> {
    if name == libc::c_int::MIN {
        return Err(io::ErrorKind::Unsupported.into());
    }
    // SAFETY: the value is an int that lives through the call, and its true size is given.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            name,
            ptr::from_ref(&value).cast(),
            mem::size_of_val(&value) as libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// What some sockets hold.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ready {
    /// Datagrams.
    pub data: bool,
    /// An error, or entries of an error queue.
    pub errors: bool,
}

/// Waits until one of the sockets can be read (or has an error queued), or the time is over; says what there is.
/// A signal ends the wait early. Errors: ENOMEM only; the caller may treat it as the end of the time.
pub fn wait_readable<const N: usize>(sockets: [Option<BorrowedFd<'_>>; N], timeout: Duration) -> io::Result<Ready> {
    // The kernel passes over an entry with descriptor -1.
    let mut polled = sockets.map(|socket| libc::pollfd {
        fd: socket.map_or(-1, |socket| socket.as_raw_fd()),
        events: libc::POLLIN,
        revents: 0,
    });
    if poll(&mut polled, timeout) < 0 {
        let error = io::Error::last_os_error();
        return if error.kind() == io::ErrorKind::Interrupted { Ok(Ready::default()) } else { Err(error) };
    }
    let events = polled.iter().fold(0, |all, polled| all | polled.revents);
    Ok(Ready { data: events & libc::POLLIN != 0, errors: events & !libc::POLLIN != 0 })
}

/// ppoll(2).
#[cfg(not(target_vendor = "apple"))]
fn poll(polled: &mut [libc::pollfd], timeout: Duration) -> libc::c_int {
    // SAFETY: all zero is a valid timespec; its fields have other types on other platforms, hence no literal.
    let mut time: libc::timespec = unsafe { mem::zeroed() };
    time.tv_sec = timeout.as_secs().min(1_000_000) as _;
    time.tv_nsec = timeout.subsec_nanos() as _;
    // SAFETY: the array and the timespec live through the call; no signal mask.
    unsafe { libc::ppoll(polled.as_mut_ptr(), polled.len() as libc::nfds_t, &time, ptr::null()) }
}

/// poll(2), to the next millisecond.
#[cfg(target_vendor = "apple")]
fn poll(polled: &mut [libc::pollfd], timeout: Duration) -> libc::c_int {
    let millis = timeout.as_micros().div_ceil(1000).min(1_000_000_000) as libc::c_int;
    // SAFETY: the array lives through the call.
    unsafe { libc::poll(polled.as_mut_ptr(), polled.len() as libc::nfds_t, millis) }
}

/// Room for the control messages asked for: a timestamp, and an error with its sender's address. No more: a target's thread
/// does with one page of stack.
#[repr(align(8))]
struct Control([u8; CONTROL]);

/// Exactly, where the kernel's and our time are as wide; where they are not, a copy of the time comes with it.
const CONTROL: usize = if cfg!(target_pointer_width = "64") { 96 } else { 104 };

/// A `sockaddr_in` or `sockaddr_in6`.
#[repr(align(4))]
struct Address([u8; 28]);

/// Takes the next datagram, without waiting, or with `blocks` for as long as the socket's read timeout says. Errors:
/// WouldBlock when there is none; otherwise as recvmsg(2), among them a pending ICMP error of the socket.
#[inline(never)]
pub fn receive(socket: BorrowedFd<'_>, buffer: &mut [u8], blocks: bool) -> io::Result<Received> {
    // SAFETY: all zero is a valid msghdr (a null name, no control data).
    let mut header: libc::msghdr = unsafe { mem::zeroed() };
    let mut address = Address([0; 28]);
    let mut control = Control([0; CONTROL]);
    let mut part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    header.msg_name = address.0.as_mut_ptr().cast();
    header.msg_namelen = address.0.len() as libc::socklen_t;
    header.msg_iov = &mut part;
    header.msg_iovlen = 1;
    header.msg_control = control.0.as_mut_ptr().cast();
    header.msg_controllen = control.0.len() as _;
    let flags = if blocks { 0 } else { libc::MSG_DONTWAIT };
    // SAFETY: every pointer in the header is to a local or to `buffer`, with its true length, and lives on.
    let length = unsafe { libc::recvmsg(socket.as_raw_fd(), &mut header, flags) };
    let length = usize::try_from(length).map_err(|_| io::Error::last_os_error())?;
    let mut arrived = None;
    // SAFETY: the kernel filled `control` up to msg_controllen.
    unsafe {
        each_control(&header, |level, kind, data| {
            if (level, kind) == (libc::SOL_SOCKET, linux::SCM_TIMESTAMPNS) {
                arrived = timestamp(data);
            }
        });
    }
    let from = if header.msg_namelen == 0 { None } else { ip_of(&address.0) };
    Ok(Received { length: length.min(buffer.len()), from, arrived })
}

/// Takes up to [`ENTRIES`] entries of the error queue, without waiting, and gives them to `each` (recvmmsg(2)). Returns how
/// many there were: fewer than that, and none is left (or the call is refused: then reasons and stamps are missing).
#[cfg(target_os = "linux")]
#[inline(never)]
pub fn receive_errors(socket: BorrowedFd<'_>, mut each: impl FnMut(Entry)) -> usize {
    // SAFETY: all zero is valid for all of them (null pointers, no lengths).
    let (mut headers, mut rooms): ([libc::mmsghdr; ENTRIES], [Room; ENTRIES]) = unsafe { mem::zeroed() };
    for (header, room) in headers.iter_mut().zip(&mut rooms) {
        room.part = libc::iovec { iov_base: room.quote.as_mut_ptr().cast(), iov_len: QUOTED };
        header.msg_hdr.msg_iov = &mut room.part;
        header.msg_hdr.msg_iovlen = 1;
        header.msg_hdr.msg_control = room.control.0.as_mut_ptr().cast();
        header.msg_hdr.msg_controllen = room.control.0.len() as _;
    }
    let flags = libc::MSG_ERRQUEUE | libc::MSG_DONTWAIT;
    // SAFETY: every pointer in the headers is to a local, with its true length, and lives on; no time limit.
    let count = unsafe {
        libc::recvmmsg(socket.as_raw_fd(), headers.as_mut_ptr(), ENTRIES as libc::c_uint, flags as _, ptr::null_mut())
    };
    let count = usize::try_from(count).unwrap_or(0);
    for (header, room) in headers.iter().zip(&rooms).take(count) {
        // SAFETY: the kernel filled the control messages of so many headers.
        let entry = unsafe { entry_of(&header.msg_hdr, room.quote) };
        each(entry);
    }
    count
}

/// # Safety
/// As [`each_control`].
#[cfg(target_os = "linux")]
#[inline(never)]
unsafe fn entry_of(header: &libc::msghdr, quote: [u8; QUOTED]) -> Entry {
    let mut entry = Entry::Other;
    let note = |level, kind, data: &[u8]| {
        if let (libc::IPPROTO_IP, linux::IP_RECVERR) | (libc::IPPROTO_IPV6, linux::IPV6_RECVERR) = (level, kind) {
            let error = extended_error(data).map(|error| Entry::Error(error, quote));
            entry = error.or(stamp(data).map(Entry::Stamp)).unwrap_or(Entry::Other);
        }
    };
    // SAFETY: see above.
    unsafe { each_control(header, note) };
    entry
}

/// What an entry is written to.
#[cfg(target_os = "linux")]
struct Room {
    control: Control,
    quote: [u8; QUOTED],
    part: libc::iovec,
}

/// Elsewhere there is no such queue.
#[cfg(not(target_os = "linux"))]
pub fn receive_errors(_: BorrowedFd<'_>, _: impl FnMut(Entry)) -> usize {
    0
}

/// Gives level, type and data of each control message to `note`.
///
/// # Safety
/// `msg_control` and `msg_controllen` of the header must be as the kernel left them after it filled a buffer that lives on.
unsafe fn each_control(header: &libc::msghdr, mut note: impl FnMut(libc::c_int, libc::c_int, &[u8])) {
    // SAFETY: CMSG_FIRSTHDR and CMSG_NXTHDR stay inside, and each cmsg_len counts its header and data.
    unsafe {
        let mut at = libc::CMSG_FIRSTHDR(header);
        while !at.is_null() {
            let start = libc::CMSG_DATA(at);
            let length = ((*at).cmsg_len as usize).saturating_sub(start as usize - at as usize);
            note((*at).cmsg_level, (*at).cmsg_type, std::slice::from_raw_parts(start, length));
            at = libc::CMSG_NXTHDR(header, at);
        }
    }
}

/// A `struct timespec` of either width: a 32-bit libc may ask for either.
fn timestamp(data: &[u8]) -> Option<SystemTime> {
    let (seconds, nanos) = match data.len() {
        16 => (i64::from_ne_bytes(*data.first_chunk()?), i64::from_ne_bytes(*data.last_chunk()?)),
        8 => (i32::from_ne_bytes(*data.first_chunk()?).into(), i32::from_ne_bytes(*data.last_chunk()?).into()),
        _ => return None,
    };
    Some(SystemTime::UNIX_EPOCH + Duration::new(seconds.try_into().ok()?, nanos.try_into().ok()?))
}

/// Of a `struct sock_extended_err`, about a datagram that was sent: origin 4, what happened in its info, the datagram's index in its data.
#[cfg(target_os = "linux")]
fn stamp(data: &[u8]) -> Option<Stamp> {
    const ORIGIN_TIMESTAMPING: u8 = 4;
    const LEFT: u32 = 0;
    const QUEUED: u32 = 1;
    let head: &[u8; 16] = data.first_chunk()?;
    let [_, _, _, _, origin, _, _, _, a, b, c, d, e, f, g, h] = *head;
    let (info, index) = (u32::from_ne_bytes([a, b, c, d]), u32::from_ne_bytes([e, f, g, h]));
    (origin == ORIGIN_TIMESTAMPING && matches!(info, LEFT | QUEUED)).then_some(Stamp { index, left: info == LEFT })
}

/// `struct sock_extended_err` (errno u32, origin, type, code, pad, info u32, data u32), then the sender's address.
#[cfg(target_os = "linux")]
fn extended_error(data: &[u8]) -> Option<IcmpError> {
    const ORIGIN_ICMP: u8 = 2;
    const ORIGIN_ICMP6: u8 = 3;
    let (head, sender) = data.split_first_chunk::<16>()?;
    let [_, _, _, _, origin, kind, code, ..] = *head;
    matches!(origin, ORIGIN_ICMP | ORIGIN_ICMP6).then(|| IcmpError { kind, code, from: ip_of(sender) })
}

/// The address in a `sockaddr_in` or `sockaddr_in6`: family in host order, port, then IPv4 at 4 or IPv6 at 8.
fn ip_of(bytes: &[u8]) -> Option<IpAddr> {
    let family = u16::from_ne_bytes(*bytes.first_chunk()?);
    // Those that have their length in front have the family in one byte behind it.
    #[cfg(not(target_os = "linux"))]
    let family = family.to_le() >> 8;
    if i32::from(family) == libc::AF_INET {
        let address: [u8; 4] = *bytes.get(4..)?.first_chunk()?;
        Some(Ipv4Addr::from(address).into())
    } else if i32::from(family) == libc::AF_INET6 {
        let address: [u8; 16] = *bytes.get(8..)?.first_chunk()?;
        Some(Ipv6Addr::from(address).into())
    } else {
        None
    }
}
