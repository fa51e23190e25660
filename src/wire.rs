//! ICMP echo on the wire: build, check, take apart. RFC 792 and RFC 4443 (echo), RFC 1071 (checksum).
//!
//! Pure, and no input can make it panic: lengths are checked once, by [`Echo::parse`] and [`ipv4_body`].
//!
//! The payload of a request is the check's 64-bit cookie and then bytes that follow from it, so a changed, cut or
//! emptied answer shows wherever the change is.

use std::iter::successors;

/// Length of the ICMP echo header.
pub const HEADER: usize = 8;

/// The family of an ICMP message: the types differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// ICMP for IPv4, RFC 792.
    V4,
    /// ICMPv6, RFC 4443.
    V6,
}

impl Version {
    /// The type of an echo request.
    pub const fn request(self) -> u8 {
        match self {
            Version::V4 => 8,
            Version::V6 => 128,
        }
    }

    /// The type of an echo reply.
    pub const fn reply(self) -> u8 {
        match self {
            Version::V4 => 0,
            Version::V6 => 129,
        }
    }
}

/// What an echo request or reply says, but for its payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Echo {
    /// ICMP type.
    pub kind: u8,
    /// ICMP code.
    pub code: u8,
    /// Identifier. On a dgram socket the kernel sets and filters it.
    pub identifier: u16,
    /// Sequence number.
    pub sequence: u16,
}

impl Echo {
    /// Takes the header and payload apart; None when it is too short to be an echo.
    pub fn parse(message: &[u8]) -> Option<(Echo, &[u8])> {
        let (header, payload) = message.split_first_chunk::<HEADER>()?;
        let [kind, code, _, _, id_high, id_low, seq_high, seq_low] = *header;
        let echo = Echo {
            kind,
            code,
            identifier: u16::from_be_bytes([id_high, id_low]),
            sequence: u16::from_be_bytes([seq_high, seq_low]),
        };
        Some((echo, payload))
    }
}

/// Writes an echo request whose whole length is that of `message`. With `sum` the checksum is filled in (a raw IPv4
/// socket); else it stays 0 for the kernel to fill (dgram sockets, all of ICMPv6). A `message` shorter than a header
/// stays as it is.
pub fn build(message: &mut [u8], version: Version, id: u16, seq: u16, cookie: u64, sum: bool) {
    let Some((header, payload)) = message.split_first_chunk_mut::<HEADER>() else {
        return;
    };
    let ([id_high, id_low], [seq_high, seq_low]) = (id.to_be_bytes(), seq.to_be_bytes());
    *header = [version.request(), 0, 0, 0, id_high, id_low, seq_high, seq_low];
    for (part, eight) in payload.chunks_mut(8).zip(pattern(cookie)) {
        part.copy_from_slice(&eight[..part.len()]);
    }
    if sum {
        let [high, low] = checksum(message).to_be_bytes();
        if let [_, _, sum_high, sum_low, ..] = message {
            (*sum_high, *sum_low) = (high, low);
        }
    }
}

/// Is this payload the one that was sent with `cookie` and `length`, to the last byte?
pub fn payload_is(payload: &[u8], length: usize, cookie: u64) -> bool {
    let mut rest = payload;
    for expected in pattern(cookie) {
        match rest.split_first_chunk() {
            Some((eight, more)) if *eight == expected => rest = more,
            _ => return payload.len() == length && rest.len() < 8 && expected.starts_with(rest),
        }
    }
    false
}

/// The payload for a cookie, by eights: its eight bytes, then each byte one more than the one eight places before.
fn pattern(cookie: u64) -> impl Iterator<Item = [u8; 8]> {
    // All eight at once: no carry leaves its byte, as the high bits are added apart.
    const HIGH: u64 = 0x8080_8080_8080_8080;
    let more = |eight: &u64| Some(((eight & !HIGH) + 0x0101_0101_0101_0101) ^ (eight & HIGH));
    successors(Some(cookie), more).map(u64::to_be_bytes)
}

/// The Internet checksum of RFC 1071, as it stands in a header whose checksum field is 0. Over a message with its
/// checksum in place it is 0 when that is right.
pub fn checksum(bytes: &[u8]) -> u16 {
    // By twice two bytes: the high half of the sum is folded in at the end. What is missing at the end counts as zero.
    let mut sum: u64 = 0;
    let mut rest = bytes;
    while let Some((four, more)) = rest.split_first_chunk() {
        sum += u64::from(u32::from_be_bytes(*four));
        rest = more;
    }
    let mut last = [0; 4];
    last[..rest.len()].copy_from_slice(rest);
    sum += u64::from(u32::from_be_bytes(last));
    while sum > 0xffff {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    !(sum as u16)
}

/// The ICMP message inside an IPv4 packet as a raw socket gives it; None when the header is not whole or it is
/// not ICMP. The total length of the header is kept to: bytes behind it are not part of the message.
pub fn ipv4_body(packet: &[u8]) -> Option<&[u8]> {
    let first = *packet.first()?;
    let header = usize::from(first & 0x0f) * 4;
    let total = usize::from(u16::from_be_bytes([*packet.get(2)?, *packet.get(3)?]));
    let protocol = *packet.get(9)?;
    if first >> 4 != 4 || header < 20 || protocol != 1 || total > packet.len() {
        return None;
    }
    packet.get(header..total)
}

#[cfg(test)]
mod tests {
    use super::*;

    // Laid out by hand from RFC 792: type 8, code 0, identifier 0x1234, sequence 7, and the payload of COOKIE.
    const REQUEST: &str = "0800c19812340007 0102030405060708 0203040506070809";
    // Captured with tcpdump from `ping -c 1 -s 16 127.0.0.1`: the request and its reply, with their IP headers.
    const CAPTURED: [&str; 2] = [
        "4500002c4c1a40004001f0b47f0000017f000001 0800da4a0c6b00013135036b00000000cea80e0000000000",
        "4500002c4c1b0000400130b47f0000017f000001 0000e24a0c6b00013135036b00000000cea80e0000000000",
    ];
    const COOKIE: u64 = 0x0102_0304_0506_0708;

    fn hex(text: &str) -> Vec<u8> {
        let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
        digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
    }

    #[test]
    fn build_makes_the_expected_bytes_and_leaves_none_unwritten() {
        let mut message = vec![0xa5; 24];
        build(&mut message, Version::V4, 0x1234, 7, COOKIE, true);
        assert_eq!(message, hex(REQUEST));
        let mut message = vec![0xa5; 24];
        build(&mut message, Version::V6, 0x1234, 7, COOKIE, false);
        assert_eq!(message[..8], hex("8000 0000 1234 0007"));
        assert!(payload_is(&message[8..], 16, COOKIE));
    }

    #[test]
    fn parse_gives_back_what_build_was_given() {
        let message = hex(REQUEST);
        let (echo, payload) = Echo::parse(&message).unwrap();
        assert_eq!(echo, Echo { kind: 8, code: 0, identifier: 0x1234, sequence: 7 });
        assert!(payload_is(payload, 16, COOKIE));
    }

    #[test]
    fn captured_packets_are_read() {
        for (packet, kind) in CAPTURED.into_iter().zip([8, 0]) {
            let packet = hex(packet);
            let message = ipv4_body(&packet).unwrap();
            assert_eq!(checksum(message), 0);
            let (echo, payload) = Echo::parse(message).unwrap();
            assert_eq!(echo, Echo { kind, code: 0, identifier: 0x0c6b, sequence: 1 });
            assert_eq!(payload.len(), 16);
        }
    }

    #[test]
    fn checksum_is_right_for_odd_lengths_and_high_bytes() {
        // Worked by hand: 0x8001 + 0x8000 = 0x10001 -> 0x0002 -> !.
        assert_eq!(checksum(&[0x80, 0x01, 0x80]), 0xfffd);
        assert_eq!(checksum(&[]), 0xffff);
        // RFC 1071 section 3: 0001 f203 f4f5 f6f7 sum to ddf2.
        assert_eq!(checksum(&hex("0001f203f4f5f6f7")), !0xddf2);
        for length in HEADER..300 {
            let mut message = vec![0xa5; length];
            build(&mut message, Version::V4, 0xfffe, 0x8081, 0x80ff_80ff_80ff_80ff, true);
            assert_eq!(checksum(&message), 0, "length {length}");
        }
    }

    #[test]
    fn every_change_of_a_payload_shows() {
        for length in [16, 56, 57, 1400, 65000] {
            let mut message = vec![0xa5; HEADER + length];
            build(&mut message, Version::V4, 1, 1, COOKIE, false);
            let payload = &mut message[HEADER..];
            assert!(payload_is(payload, length, COOKIE));
            assert!(!payload_is(payload, length, COOKIE + 1));
            assert!(!payload_is(&payload[..length - 1], length, COOKIE));
            assert!(!payload_is(&[], length, COOKIE));
            for at in [0, 7, 8, length / 2, length - 1] {
                payload[at] ^= 0x10;
                assert!(!payload_is(payload, length, COOKIE), "byte {at}");
                payload[at] ^= 0x10;
            }
        }
    }

    #[test]
    fn short_and_wrong_packets_are_refused() {
        for length in 0..HEADER {
            assert_eq!(Echo::parse(&vec![0xa5; length]), None);
        }
        let mut packet = hex("4500 0030 0000 4000 4001 0000 c0000201 c0000202");
        packet.extend(hex(REQUEST));
        packet.extend([0xa5; 4]);
        assert_eq!(ipv4_body(&packet).unwrap(), [hex(REQUEST), vec![0xa5; 4]].concat());
        packet.push(0xa5);
        assert_eq!(ipv4_body(&packet).unwrap().len(), 28, "bytes behind the total length");
        for length in 0..48 {
            assert_eq!(ipv4_body(&packet[..length]), None, "length {length}");
        }
        for (at, wrong) in [(0, 0x65), (0, 0x44), (9, 17), (3, 10)] {
            let mut packet = packet.clone();
            packet[at] = wrong;
            assert_eq!(ipv4_body(&packet), None, "byte {at} = {wrong}");
        }
    }

    /// Every length from 0 to 2,000, filled from a fixed pseudo-random sequence: nothing panics.
    #[test]
    fn no_packet_can_make_it_panic() {
        let mut x: u32 = 1;
        for length in 0..2000 {
            let packet: Vec<u8> = (0..length)
                .map(|_| {
                    x = x.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    (x >> 24) as u8
                })
                .collect();
            let _ = (checksum(&packet), Echo::parse(&packet), ipv4_body(&packet));
            let _ = payload_is(&packet, 56, COOKIE);
            build(&mut packet.clone(), Version::V4, 1, 2, 3, true);
        }
    }
}
