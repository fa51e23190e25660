//! TCP checks: connect within the timeout, then close.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};
use std::os::fd::AsFd;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};

use super::icmp::version_of;
use super::{bind_device, bind_to, endpoint, icmp_reason, send_failure};
use crate::clock::Clock;
use crate::event::{Outcome, Reason, What};
use crate::sys::{self, Entry};
use crate::target::Interface;

/// The TCP side of one target.
#[derive(Clone, Debug)]
pub struct TcpProbe {
    port: u16,
    timeout: Duration,
    interface: Option<Interface>,
    ttl: Option<u8>,
    tos: Option<u8>,
}

impl TcpProbe {
    /// A probe of `port` with the target's options.
    pub fn new(port: u16, options: &crate::target::Options) -> TcpProbe {
        TcpProbe {
            port,
            timeout: options.timeout,
            interface: options.interface.clone(),
            ttl: options.ttl,
            tos: options.tos,
        }
    }

    /// Connects to the addresses in turn, each with its share of the time that is left, until one takes the
    /// connection. Blocks for the timeout at most. When none does, the failure of the last one that could be tried
    /// at all is the outcome: an address of a family that this machine has no route for says nothing.
    pub fn check(&self, addresses: &[IpAddr], clock: &Clock) -> Outcome {
        let deadline = clock.now() + self.timeout;
        let mut outcome = None;
        for (tried, address) in addresses.iter().enumerate() {
            let left = deadline.saturating_sub(clock.now());
            let share = left / (addresses.len() - tried) as u32;
            let one = self.connect(*address, share, clock);
            match (one, outcome) {
                (Outcome::Answered(_), _) => return one,
                (Outcome::Unsent(_), Some(Outcome::Unanswered(_))) => {}
                _ => outcome = Some(one),
            }
        }
        outcome.unwrap_or(Outcome::Unsent(What::CannotResolve.into()))
    }

    // These two are not part of `check`: a target's thread is to do with one page of stack.
    #[inline(never)]
    fn connect(&self, address: IpAddr, timeout: Duration, clock: &Clock) -> Outcome {
        let socket = match self.open(address) {
            Ok(socket) => socket,
            Err(error) => return send_failure(&error),
        };
        let begin = clock.now();
        // It takes a zero for an error; a millisecond is the least that poll(2) waits.
        match socket.connect_timeout(&endpoint(address, self.port), timeout.max(Duration::from_millis(1))) {
            Ok(()) => {
                let rtt = clock.now().saturating_sub(begin);
                if !self.is_connected_to_itself(&socket, address) {
                    return Outcome::Answered(rtt);
                }
                // Reset, or the port would stay in TIME_WAIT, and who shall listen there could not.
                let _ = socket.set_linger(Some(Duration::ZERO));
                Outcome::Unanswered(What::SelfConnect.into())
            }
            Err(error) => match icmp_error(&socket, address) {
                Some(reason) => Outcome::Unanswered(reason),
                None => self.failure(&error, address),
            },
        }
    }

    /// With nobody listening on a port of the ephemeral range, a socket can be given that very port as its own and connect
    /// to itself (RFC 9293 section 3.5, simultaneous open).
    #[inline(never)]
    fn is_connected_to_itself(&self, socket: &Socket, address: IpAddr) -> bool {
        let own = socket.local_addr().ok().and_then(|own| own.as_socket());
        own.is_some_and(|own| (own.ip(), own.port()) == (address, self.port))
    }

    /// A socket with all that the options ask for. Errors: descriptors, options, binding: the check is unsent.
    pub fn open(&self, address: IpAddr) -> io::Result<Socket> {
        let domain = Domain::for_address((address, self.port).into());
        let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
        bind_to(&socket, self.interface.as_ref())?;
        // Without it the reasons are fewer: several ICMP errors share an errno.
        let _ = sys::want_errors(socket.as_fd(), version_of(address));
        let v4 = address.is_ipv4();
        match self.ttl {
            Some(ttl) if v4 => socket.set_ttl_v4(ttl.into())?,
            Some(ttl) => socket.set_unicast_hops_v6(ttl.into())?,
            None => {}
        }
        match self.tos {
            Some(tos) if v4 => socket.set_tos_v4(tos.into())?,
            Some(tos) => socket.set_tclass_v6(tos.into())?,
            None => {}
        }
        Ok(socket)
    }

    /// What a failed connect means. Nothing says whether an error came from this machine's
    /// routing table or from the network, so for those that can be either the table is asked.
    fn failure(&self, error: &io::Error, address: IpAddr) -> Outcome {
        let what = match error.raw_os_error() {
            None | Some(libc::ETIMEDOUT) => What::TimedOut,
            Some(libc::ECONNREFUSED) => What::Refused,
            Some(libc::ECONNRESET) => What::Reset,
            Some(libc::ENOPROTOOPT) => What::ProtocolUnreachable,
            Some(libc::ENETUNREACH) if self.has_route(address) => What::NetUnreachable,
            Some(libc::EACCES) if self.has_route(address) => What::Prohibited,
            Some(libc::EADDRNOTAVAIL) => return Outcome::Unsent(What::NoLocalPort.into()),
            _ => return send_failure(error),
        };
        Outcome::Unanswered(what.into())
    }

    /// Has this machine a route to the address, as connect(2) of a UDP socket tells without sending anything?
    fn has_route(&self, address: IpAddr) -> bool {
        let domain = Domain::for_address((address, self.port).into());
        let source: IpAddr = match (&self.interface, address) {
            (Some(Interface::Address(source)), _) => *source,
            (_, IpAddr::V4(_)) => Ipv4Addr::UNSPECIFIED.into(),
            (_, IpAddr::V6(_)) => Ipv6Addr::UNSPECIFIED.into(),
        };
        let connected = Socket::new(domain, Type::DGRAM, Some(Protocol::UDP)).and_then(|socket| {
            if let Some(Interface::Name(name)) = &self.interface {
                bind_device(&socket, name)?;
            }
            socket.bind(&endpoint(source, 0))?;
            UdpSocket::from(socket).connect((address, self.port))
        });
        connected.is_ok()
    }
}

/// The ICMP error that ended the connect, if one did (`IP_RECVERR`, ip(7)).
fn icmp_error(socket: &Socket, address: IpAddr) -> Option<Reason> {
    let mut reason = None;
    // What it quotes of our packet is not looked at: the socket sent nothing else.
    sys::receive_errors(socket.as_fd(), |entry| {
        if let Entry::Error(error, _) = entry {
            reason.get_or_insert(icmp_reason(version_of(address), error));
        }
    });
    reason
}
