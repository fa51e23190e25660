//! The two ways to check a target, and what the kernel's errors mean for both. The only users of socket2.

use std::io;
use std::net::{IpAddr, SocketAddr};

use socket2::{SockAddr, Socket};

use crate::event::{Outcome, Reason, What};
use crate::sys::IcmpError;
use crate::target::Interface;
use crate::wire::Version;

pub mod icmp;
pub mod tcp;

/// What an error of opening, binding or sending means: this machine could not send, so the check is unsent. The one
/// exception is EHOSTUNREACH, which speaks of the other end (no ARP answer, an `unreachable` route).
pub fn send_failure(error: &io::Error) -> Outcome {
    let what = match error.raw_os_error() {
        Some(libc::EHOSTUNREACH | libc::EHOSTDOWN) => {
            return Outcome::Unanswered(What::HostUnreachable.into());
        }
        Some(libc::ENETUNREACH) => What::NoRoute,
        Some(libc::EACCES) => What::ProhibitRoute,
        Some(libc::EINVAL) => What::BlackholeRoute,
        Some(libc::ENETDOWN) => What::InterfaceDown,
        Some(libc::ENODEV | libc::ENXIO) => What::NoInterface,
        Some(libc::EADDRNOTAVAIL) => What::NoSourceAddress,
        Some(libc::EPERM) => What::NotPermitted,
        Some(libc::ENOBUFS | libc::EAGAIN | libc::ENOMEM) => What::QueueFull,
        Some(libc::EMFILE | libc::ENFILE) => What::NoDescriptor,
        Some(libc::EMSGSIZE) => What::MessageTooLong,
        Some(libc::EAFNOSUPPORT | libc::EPROTONOSUPPORT) => What::NoFamily,
        Some(errno) => What::Errno(errno),
        None => What::Errno(0),
    };
    Outcome::Unsent(Reason::local(what))
}

/// Binds a new socket to the interface or source address of `--interface`. Errors: of setsockopt(SO_BINDTODEVICE)
/// (ENODEV: not there; EPERM: kernels before 5.7 want CAP_NET_RAW) and bind (EADDRNOTAVAIL); the check is unsent.
fn bind_to(socket: &Socket, interface: Option<&Interface>) -> io::Result<()> {
    match interface {
        None => Ok(()),
        Some(Interface::Name(name)) => bind_device(socket, name),
        Some(Interface::Address(address)) => socket.bind(&endpoint(*address, 0)),
    }
}

#[cfg(target_os = "linux")]
fn bind_device(socket: &Socket, name: &str) -> io::Result<()> {
    socket.bind_device(Some(name.as_bytes()))
}

/// Other systems bind to a device by its index, for one family at a time: not built. Errors: always.
#[cfg(not(target_os = "linux"))]
fn bind_device(_: &Socket, _: &str) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

fn endpoint(address: IpAddr, port: u16) -> SockAddr {
    SockAddr::from(SocketAddr::new(address, port))
}

/// What an ICMP error says (RFC 792, RFC 1812 section 5.2.7.1, RFC 4443 section 3).
fn icmp_reason(version: Version, error: IcmpError) -> Reason {
    let (kind, code) = (error.kind, error.code);
    let what = match (version, kind, code) {
        (Version::V4, 3, 0 | 6 | 11) | (Version::V6, 1, 0) => What::NetUnreachable,
        (Version::V4, 3, 1 | 7 | 12) | (Version::V6, 1, 3) => What::HostUnreachable,
        (Version::V4, 3, 2) => What::ProtocolUnreachable,
        (Version::V4, 3, 3) | (Version::V6, 1, 4) => What::PortUnreachable,
        (Version::V4, 3, 4) | (Version::V6, 2, _) => What::TooBig,
        (Version::V4, 3, 9 | 10 | 13) | (Version::V6, 1, 1 | 5 | 6) => What::Prohibited,
        (Version::V4, 11, _) | (Version::V6, 3, _) => What::TtlExceeded,
        _ => What::Icmp { kind, code },
    };
    Reason { what, from: error.from }
}
