//! IP packets taken apart and put together: enough of IPv4, IPv6, ICMP, ICMPv6, TCP and UDP for the far end.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, Instant};

pub const FIN: u8 = 1;
pub const SYN: u8 = 2;
pub const RST: u8 = 4;
pub const PSH: u8 = 8;
pub const ACK: u8 = 16;

const ICMP: u8 = 1;
const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMP6: u8 = 58;

/// What a packet is.
#[derive(Clone, Debug, PartialEq)]
pub enum Kind {
    /// An ICMP or ICMPv6 echo request.
    Echo {
        id: u16,
        seq: u16,
        payload: Vec<u8>,
    },
    /// A TCP SYN (without ACK).
    Syn(Tcp),
    /// Any other TCP segment.
    Tcp(Tcp),
    Udp {
        from: u16,
        to: u16,
        payload: Vec<u8>,
    },
    /// Anything else: other ICMP types, fragments, unknown protocols (the number).
    Other(u8),
}

/// The fields of a TCP segment that the far end needs.
#[derive(Clone, Debug, PartialEq)]
pub struct Tcp {
    pub from: u16,
    pub to: u16,
    pub seq: u32,
    pub ack: u32,
    pub flags: u8,
    pub data: usize,
}

/// A packet that arrived at the far end.
#[derive(Clone, Debug)]
pub struct Packet {
    pub src: IpAddr,
    pub dst: IpAddr,
    /// 0 for the first packet of this kind to this address since its script was set, then 1, 2 ...
    pub nth: u64,
    pub kind: Kind,
    pub bytes: Vec<u8>,
    pub at: Instant,
}

/// A packet to be sent, `after` its cause arrived. One without bytes is not sent.
#[derive(Clone, Debug)]
pub struct Out {
    pub after: Duration,
    pub bytes: Vec<u8>,
}

impl Out {
    /// The same, later by `time`.
    pub fn after(mut self, time: Duration) -> Out {
        self.after += time;
        self
    }
}

/// An echo reply about to be made; every field can be forged.
#[derive(Clone, Debug)]
pub struct Reply {
    pub icmp_type: u8,
    pub code: u8,
    pub id: u16,
    pub seq: u16,
    pub payload: Vec<u8>,
    pub src: IpAddr,
    pub dst: IpAddr,
    pub ttl: u8,
    pub bad_checksum: bool,
}

impl Packet {
    /// Takes a packet apart; None if it is no IP packet or cut short.
    pub fn parse(bytes: &[u8], at: Instant) -> Option<Packet> {
        let (src, dst, protocol, body): (IpAddr, IpAddr, u8, &[u8]) = match bytes.first()? >> 4 {
            4 if bytes.len() >= 20 => {
                let header = usize::from(bytes[0] & 15) * 4;
                let fragment = u16_at(bytes, 6)? & 0x3fff != 0;
                (
                    Ipv4Addr::from(<[u8; 4]>::try_from(&bytes[12..16]).ok()?).into(),
                    Ipv4Addr::from(<[u8; 4]>::try_from(&bytes[16..20]).ok()?).into(),
                    if fragment { 0 } else { bytes[9] },
                    bytes.get(header..)?,
                )
            }
            6 if bytes.len() >= 40 => (
                Ipv6Addr::from(<[u8; 16]>::try_from(&bytes[8..24]).ok()?).into(),
                Ipv6Addr::from(<[u8; 16]>::try_from(&bytes[24..40]).ok()?).into(),
                bytes[6],
                &bytes[40..],
            ),
            _ => return None,
        };
        Some(Packet {
            src,
            dst,
            nth: 0,
            kind: kind(protocol, body).unwrap_or(Kind::Other(protocol)),
            bytes: bytes.to_vec(),
            at,
        })
    }

    /// The kind in one word, by which packets are counted.
    pub fn kind_name(&self) -> &'static str {
        match self.kind {
            Kind::Echo { .. } => "echo",
            Kind::Syn(_) => "syn",
            Kind::Tcp(_) => "tcp",
            Kind::Udp { .. } => "udp",
            Kind::Other(_) => "other",
        }
    }

    pub fn is_echo(&self) -> bool {
        matches!(self.kind, Kind::Echo { .. })
    }

    pub fn is_syn(&self) -> bool {
        matches!(self.kind, Kind::Syn(_))
    }

    /// The identifier of an echo request, else 0.
    pub fn id(&self) -> u16 {
        match self.kind {
            Kind::Echo { id, .. } => id,
            _ => 0,
        }
    }

    /// The sequence number of an echo request, else 0.
    pub fn seq(&self) -> u16 {
        match self.kind {
            Kind::Echo { seq, .. } => seq,
            _ => 0,
        }
    }

    /// The payload of an echo request or a UDP packet.
    pub fn payload(&self) -> &[u8] {
        match &self.kind {
            Kind::Echo { payload, .. } | Kind::Udp { payload, .. } => payload,
            _ => &[],
        }
    }

    /// TTL or hop limit.
    pub fn ttl(&self) -> u8 {
        self.bytes[if self.src.is_ipv4() { 8 } else { 7 }]
    }

    /// TOS or traffic class.
    pub fn tos(&self) -> u8 {
        match self.src {
            IpAddr::V4(_) => self.bytes[1],
            IpAddr::V6(_) => self.bytes[0] << 4 | self.bytes[1] >> 4,
        }
    }

    /// The right answer to an echo request; nothing for any other packet.
    pub fn reply(&self) -> Out {
        self.reply_with(|_| {})
    }

    /// An answer to an echo request that `change` has put its hand to.
    pub fn reply_with(&self, change: impl FnOnce(&mut Reply)) -> Out {
        let Kind::Echo { id, seq, payload } = &self.kind else {
            return nothing();
        };
        let mut reply = Reply {
            icmp_type: if self.src.is_ipv4() { 0 } else { 129 },
            code: 0,
            id: *id,
            seq: *seq,
            payload: payload.clone(),
            src: self.dst,
            dst: self.src,
            ttl: 64,
            bad_checksum: false,
        };
        change(&mut reply);
        let mut body = vec![reply.icmp_type, reply.code, 0, 0];
        body.extend(reply.id.to_be_bytes());
        body.extend(reply.seq.to_be_bytes());
        body.extend(&reply.payload);
        icmp_checksum(reply.src, reply.dst, &mut body);
        if reply.bad_checksum {
            body[2] ^= 0x55;
        }
        out(ip(reply.src, reply.dst, ICMP, reply.ttl, &body))
    }

    /// Our own echo request (type 8 or 128), sent back to where it came from.
    pub fn request_back(&self) -> Out {
        self.reply_with(|reply| reply.icmp_type = if reply.dst.is_ipv4() { 8 } else { 128 })
    }

    /// Any bytes as the ICMP part of a packet from the address that was asked, with the checksum put in if
    /// `fix_checksum` (and there is room for one).
    pub fn icmp(&self, body: &[u8], fix_checksum: bool) -> Out {
        let mut body = body.to_vec();
        if fix_checksum && body.len() >= 4 {
            icmp_checksum(self.dst, self.src, &mut body);
        }
        out(ip(self.dst, self.src, ICMP, 64, &body))
    }

    /// An ICMP or ICMPv6 error (the numbers of the packet's own family) from the host `from`, quoting this packet.
    pub fn error(&self, icmp_type: u8, code: u8, from: IpAddr) -> Out {
        let mut body = vec![icmp_type, code, 0, 0, 0, 0, 0, 0];
        body.extend(&self.bytes[..self.bytes.len().min(128)]);
        icmp_checksum(from, self.src, &mut body);
        out(ip(from, self.src, ICMP, 64, &body))
    }

    pub fn host_unreachable(&self, from: IpAddr) -> Out {
        let (icmp_type, code) = if self.src.is_ipv4() { (3, 1) } else { (1, 3) };
        self.error(icmp_type, code, from)
    }

    pub fn port_unreachable(&self, from: IpAddr) -> Out {
        let (icmp_type, code) = if self.src.is_ipv4() { (3, 3) } else { (1, 4) };
        self.error(icmp_type, code, from)
    }

    pub fn prohibited(&self, from: IpAddr) -> Out {
        let (icmp_type, code) = if self.src.is_ipv4() { (3, 13) } else { (1, 1) };
        self.error(icmp_type, code, from)
    }

    /// Accepts a connection; nothing for a packet that is no SYN.
    pub fn syn_ack(&self) -> Out {
        match &self.kind {
            // The first sequence number is always the same: the far end keeps no connections.
            Kind::Syn(tcp) => self.tcp(7000, tcp.seq.wrapping_add(1), SYN | ACK),
            _ => nothing(),
        }
    }

    /// Refuses or breaks a connection; nothing for a packet that is not TCP.
    pub fn rst(&self) -> Out {
        match &self.kind {
            Kind::Syn(tcp) => self.tcp(0, tcp.seq.wrapping_add(1), RST | ACK),
            Kind::Tcp(tcp) if tcp.flags & RST == 0 => self.tcp(tcp.ack, 0, RST),
            _ => nothing(),
        }
    }

    /// A segment without data back to the sender; nothing for a packet that is not TCP.
    pub fn tcp(&self, seq: u32, ack: u32, flags: u8) -> Out {
        let (Kind::Syn(tcp) | Kind::Tcp(tcp)) = &self.kind else {
            return nothing();
        };
        let mut body = Vec::with_capacity(20);
        body.extend(tcp.to.to_be_bytes());
        body.extend(tcp.from.to_be_bytes());
        body.extend(seq.to_be_bytes());
        body.extend(ack.to_be_bytes());
        body.extend([5 << 4, flags, 0xff, 0xff, 0, 0, 0, 0]);
        let sum = checksum(&[&pseudo_header(self.dst, self.src, TCP, body.len()), &body]);
        body[16..18].copy_from_slice(&sum.to_be_bytes());
        out(ip(self.dst, self.src, TCP, 64, &body))
    }
}

fn kind(protocol: u8, body: &[u8]) -> Option<Kind> {
    Some(match protocol {
        ICMP | ICMP6 if *body.first()? == if protocol == ICMP { 8 } else { 128 } => {
            Kind::Echo { id: u16_at(body, 4)?, seq: u16_at(body, 6)?, payload: body.get(8..)?.to_vec() }
        }
        TCP => {
            let tcp = Tcp {
                from: u16_at(body, 0)?,
                to: u16_at(body, 2)?,
                seq: u32_at(body, 4)?,
                ack: u32_at(body, 8)?,
                flags: *body.get(13)?,
                data: body.len().checked_sub(usize::from(body[12] >> 4) * 4)?,
            };
            if tcp.flags & (SYN | ACK) == SYN { Kind::Syn(tcp) } else { Kind::Tcp(tcp) }
        }
        UDP => Kind::Udp { from: u16_at(body, 0)?, to: u16_at(body, 2)?, payload: body.get(8..)?.to_vec() },
        _ => return None,
    })
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    let bytes = bytes.get(at..at + 2)?;
    Some(u16::from_be_bytes(bytes.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..at + 4)?;
    Some(u32::from_be_bytes(bytes.try_into().ok()?))
}

fn out(bytes: Vec<u8>) -> Out {
    Out { after: Duration::ZERO, bytes }
}

fn nothing() -> Out {
    out(Vec::new())
}

/// Puts an IP header before `body`. `ICMP` means ICMPv6 between IPv6 addresses.
pub fn ip(src: IpAddr, dst: IpAddr, protocol: u8, ttl: u8, body: &[u8]) -> Vec<u8> {
    let mut packet = Vec::with_capacity(40 + body.len());
    match (src, dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            let length = (20 + body.len()) as u16;
            packet.extend([0x45, 0, (length >> 8) as u8, length as u8, 0, 0, 0, 0]);
            packet.extend([ttl, protocol, 0, 0]);
            packet.extend(src.octets());
            packet.extend(dst.octets());
            let sum = checksum(&[&packet]);
            packet[10..12].copy_from_slice(&sum.to_be_bytes());
        }
        (IpAddr::V6(src), IpAddr::V6(dst)) => {
            packet.extend([0x60, 0, 0, 0]);
            packet.extend((body.len() as u16).to_be_bytes());
            packet.extend([if protocol == ICMP { ICMP6 } else { protocol }, ttl]);
            packet.extend(src.octets());
            packet.extend(dst.octets());
        }
        _ => panic!("a packet from {src} to {dst} mixes the families"),
    }
    packet.extend(body);
    packet
}

fn icmp_checksum(src: IpAddr, dst: IpAddr, body: &mut [u8]) {
    body[2..4].fill(0);
    let sum = match src {
        IpAddr::V4(_) => checksum(&[body]),
        IpAddr::V6(_) => checksum(&[&pseudo_header(src, dst, ICMP6, body.len()), body]),
    };
    body[2..4].copy_from_slice(&sum.to_be_bytes());
}

fn pseudo_header(src: IpAddr, dst: IpAddr, protocol: u8, length: usize) -> Vec<u8> {
    let mut header = Vec::with_capacity(40);
    for address in [src, dst] {
        match address {
            IpAddr::V4(v4) => header.extend(v4.octets()),
            IpAddr::V6(v6) => header.extend(v6.octets()),
        }
    }
    // IPv6 has these as 32 bits each; the zeroes in between do not change the sum, so one form serves both.
    header.extend([0, protocol]);
    header.extend((length as u16).to_be_bytes());
    header
}

/// The Internet checksum over parts, of which all but the last have an even length.
fn checksum(parts: &[&[u8]]) -> u16 {
    let mut sum: u32 = 0;
    for part in parts {
        for pair in part.chunks(2) {
            sum += u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
        }
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}
