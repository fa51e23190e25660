//! What a target is, and the meaning of one target word such as `db=[2001:db8::1]:5432`.
//!
//! Pure: nothing is resolved or opened here. A refusal says why and what would be right; the word itself is
//! put in front once, by [`Target::parse`].

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

/// One host or service to watch, with every option resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// What notifications call it, one of a kind in a configuration: the label, else `host` (ICMP) or
    /// `host:port`, `[v6]:port` (TCP), normalised.
    pub name: String,
    /// See [`Target::place`]; None: the name.
    place: Option<Box<str>>,
    /// Where checks go.
    pub host: Host,
    /// How it is checked.
    pub check: Check,
    /// How often, how long and how it is judged. Most targets have them in common.
    pub options: Arc<Options>,
}

/// An address, or a name that is still to be resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Host {
    /// A literal address; never unspecified, broadcast, multicast or IPv4-mapped.
    Address(IpAddr),
    /// A host name in lower case. A trailing dot is kept: it keeps the resolver's search list out.
    Name(String),
}

/// The kind of check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Check {
    /// ICMP echo (RFC 792, RFC 4443).
    Icmp,
    /// A TCP connection, closed at once.
    Tcp {
        /// The port to connect to, never 0.
        port: u16,
    },
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Check::Icmp => "icmp",
            Check::Tcp { .. } => "tcp",
        })
    }
}

/// The options of one target as they hold, defaults filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Time between the starts of two checks, 10 ms at the least.
    pub interval: Duration,
    /// How long an answer may take, 1 ms at the least.
    pub timeout: Duration,
    /// The sample: how many of the last checks packet loss is computed from.
    pub size: usize,
    /// The change in packet loss, in percentage points, beyond which it is notified.
    pub change: Percent,
    /// `--ctimeout`: failures in a row before the target is down; 0 (ICMP only) turns down and up off.
    pub failures: u32,
    /// Successes in a row before it is up again.
    pub recover: u32,
    /// Time between two reminders while it is down; `None` is never.
    pub remind: Option<Duration>,
    /// The only address family to use; `None` is whichever resolves first.
    pub family: Option<Family>,
    /// Where to send from; `None` is the kernel's choice.
    pub interface: Option<Interface>,
    /// ICMP payload in bytes.
    pub length: usize,
    /// TTL (RFC 791) or hop limit (RFC 8200); `None` is the kernel's.
    pub ttl: Option<u8>,
    /// TOS octet (RFC 2474) or traffic class; `None` is the kernel's.
    pub tos: Option<u8>,
}

/// An address family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// IPv4, `-4`.
    V4,
    /// IPv6, `-6`.
    V6,
}

impl Family {
    /// The family of an address.
    pub fn of(address: IpAddr) -> Family {
        match address {
            IpAddr::V4(_) => Family::V4,
            IpAddr::V6(_) => Family::V6,
        }
    }
}

/// Where checks are sent from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Interface {
    /// A network interface, such as `eth0`.
    Name(String),
    /// A source address of this machine.
    Address(IpAddr),
}

/// Per cent or percentage points, 0.00 to 100.00, kept exactly as hundredths.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Percent(u32);

impl Percent {
    /// In hundredths of a per cent, 0 to 10000.
    pub const fn hundredths(self) -> u32 {
        self.0
    }
}

/// Target options as typed: `None` is not given. On the command line they hold for all targets.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[allow(missing_docs)] // Each is the typed form of the field of that name in `Options`.
pub struct TargetOptions {
    /// TCP port for target words that have neither a port nor a scheme.
    pub port: Option<u16>,
    pub interval: Option<Duration>,
    pub timeout: Option<Duration>,
    pub size: Option<usize>,
    pub change: Option<Percent>,
    pub failures: Option<u32>,
    pub recover: Option<u32>,
    pub remind: Option<Duration>,
    pub family: Option<Family>,
    pub interface: Option<Interface>,
    pub length: Option<usize>,
    pub ttl: Option<u8>,
    pub tos: Option<u8>,
}

impl TargetOptions {
    /// What `self` (a line of a target file) leaves open is taken from `base` (the command line).
    pub fn over(self, base: &TargetOptions) -> TargetOptions {
        TargetOptions {
            port: self.port.or(base.port),
            interval: self.interval.or(base.interval),
            timeout: self.timeout.or(base.timeout),
            size: self.size.or(base.size),
            change: self.change.or(base.change),
            failures: self.failures.or(base.failures),
            recover: self.recover.or(base.recover),
            remind: self.remind.or(base.remind),
            family: self.family.or(base.family),
            interface: self.interface.or_else(|| base.interface.clone()),
            length: self.length.or(base.length),
            ttl: self.ttl.or(base.ttl),
            tos: self.tos.or(base.tos),
        }
    }

    /// Fills in the defaults and refuses what contradicts the target.
    fn resolve(&self, place: &Place) -> Result<Options, String> {
        let tcp = place.check != Check::Icmp;
        let (interface, family) = self.way_out(place)?;
        let options = Options {
            interval: self.interval.unwrap_or(Duration::from_secs(1)),
            timeout: self.timeout.unwrap_or(Duration::from_secs(2)),
            size: self.size.unwrap_or(300),
            change: self.change.unwrap_or(Percent(500)),
            failures: self.failures.unwrap_or(if tcp { 3 } else { 10 }),
            recover: self.recover.unwrap_or(1),
            remind: self.remind,
            family,
            interface,
            length: self.length.unwrap_or(56),
            ttl: self.ttl,
            tos: self.tos,
        };
        if tcp && options.failures == 0 {
            return refuse("--ctimeout for TCP: 1 at the least; 0 turns down/up off for ICMP only");
        }
        if options.timeout.as_nanos() > options.interval.as_nanos() * 10_000 {
            return refuse(format!(
                "--timeout {} is more than 10000 times --interval {}: too many checks at once; shorten the \
                 timeout or lengthen the interval",
                humantime::format_duration(options.timeout),
                humantime::format_duration(options.interval)
            ));
        }
        Ok(options)
    }

    /// The interface and family to use. Both must fit the target's address, and each other.
    fn way_out(&self, place: &Place) -> Result<(Option<Interface>, Option<Family>), String> {
        let interface = match (&place.zone, &self.interface) {
            (Some(zone), Some(given)) if *given != Interface::Name(zone.clone()) => {
                return refuse(format!("zone {zone} and --interface {given} differ; give only one"));
            }
            (Some(zone), _) => Some(Interface::Name(zone.clone())),
            (None, given) => given.clone(),
        };
        let source = match interface {
            Some(Interface::Address(address)) => Some(address),
            _ => None,
        };
        let own = match place.host {
            Host::Address(address) => Some(address),
            Host::Name(_) => None,
        };
        // A name has to resolve to the family of the source address, or no check could be sent.
        let bound = own.or(source).map(Family::of);
        if let (Some(bound), Some(asked)) = (bound, self.family.filter(|asked| Some(*asked) != bound)) {
            let what = if own.is_some() { "the address" } else { "the address of --interface" };
            let option = if asked == Family::V4 { "-4" } else { "-6" };
            return refuse(format!("{what} is {bound}, which {option} rules out"));
        }
        if let Some(source) = source.filter(|source| Some(Family::of(*source)) != bound) {
            return refuse(format!("--interface {source} is of the other address family"));
        }
        // The kernel needs the interface itself (RFC 4007); a source address does not tell it.
        let local = matches!(own, Some(IpAddr::V6(v6)) if v6.is_unicast_link_local());
        if local && !matches!(interface, Some(Interface::Name(_))) {
            return refuse("a link-local address needs its interface: fe80::1%eth0, or -I eth0");
        }
        Ok((interface, bound.or(self.family)))
    }
}

impl Target {
    /// Its name without a label: where checks go, as messages write it.
    pub fn place(&self) -> &str {
        self.place.as_deref().unwrap_or(&self.name)
    }

    /// Is it checked by ICMP?
    pub fn is_icmp(&self) -> bool {
        self.check == Check::Icmp
    }

    /// Reads one target word. `typed` holds the options that apply to it.
    ///
    /// # Errors
    /// One line that names the word, the reason and what would be right.
    pub fn parse(word: &str, typed: &TargetOptions) -> Result<Target, String> {
        Target::read(word, typed).map_err(|why| format!("target {}: {why}", quote(word)))
    }

    fn read(word: &str, typed: &TargetOptions) -> Result<Target, String> {
        if word.chars().any(|c| c.is_whitespace() || c.is_control()) {
            return refuse("white space or a control character; leave it out");
        }
        // The `=` of a URL's query comes after a slash.
        let (label, rest) = match word.split_once('=') {
            Some((label, rest)) if !label.contains(['/', '[']) => (Some(label), rest),
            _ => (None, word),
        };
        if label == Some("") {
            return refuse("the label is empty; write LABEL=host or host");
        }
        if let Some(label) = label.filter(|label| !label.chars().all(is_plain) || label.chars().count() > 100) {
            let hidden =
                if label.chars().all(is_plain) { "is longer than 100 characters" } else { "has a hidden character" };
            return refuse(format!("the label {hidden}; write a short, plain one"));
        }
        if rest.is_empty() {
            return refuse("no host; write one, such as 192.0.2.1 or db=10.0.0.5:5432");
        }
        let place = Place::parse(rest, typed.port)?;
        let options = Arc::new(typed.resolve(&place)?);
        let written = place.name();
        let name = label.unwrap_or(&written).to_owned();
        let written = (name != written).then(|| written.into_boxed_str());
        Ok(Target { name, place: written, host: place.host, check: place.check, options })
    }
}

/// A target word without its label.
struct Place {
    host: Host,
    /// What stood after `%` in a link-local address: the name of an interface.
    zone: Option<String>,
    check: Check,
}

impl Place {
    fn parse(text: &str, default_port: Option<u16>) -> Result<Place, String> {
        let (scheme, rest) = match text.split_once("://") {
            Some((scheme, rest)) => (Some(scheme.to_ascii_lowercase()), rest),
            None => (None, text),
        };
        let scheme = scheme.as_deref();
        let web = matches!(scheme, Some("http" | "https"));
        if !web && !matches!(scheme, None | Some("icmp" | "tcp")) {
            return refuse("unknown scheme; known: icmp, tcp, http, https");
        }
        let authority = if web { rest.split(['/', '?', '#']).next().unwrap_or_default() } else { rest };
        if web && authority.contains('@') {
            return refuse("a user has no use here; leave out all before @");
        }
        let (host, port) = split_port(authority, matches!(scheme, None | Some("icmp")))?;
        let (host, zone) = parse_host(host, web)?;
        let port = match (scheme, port) {
            (Some("icmp"), Some(_)) => {
                return refuse("icmp:// has no port; write tcp://");
            }
            (Some("icmp"), None) => None,
            (Some("tcp"), None) if default_port.is_none() => {
                return refuse("a port is missing; write tcp://host:443");
            }
            (Some("http"), port) => port.or(Some(80)),
            (Some("https"), port) => port.or(Some(443)),
            (_, port) => port.or(default_port),
        };
        let check = port.map_or(Check::Icmp, |port| Check::Tcp { port });
        Ok(Place { host, zone, check })
    }

    fn name(&self) -> String {
        let zone = self.zone.as_ref().map(|zone| format!("%{zone}"));
        let zone = zone.unwrap_or_default();
        match (&self.host, self.check) {
            (host, Check::Icmp) => format!("{host}{zone}"),
            (Host::Address(IpAddr::V6(v6)), Check::Tcp { port }) => format!("[{v6}{zone}]:{port}"),
            (host, Check::Tcp { port }) => format!("{host}:{port}"),
        }
    }
}

/// Takes `host:port` apart. The host of `[v6]` keeps its brackets off but has two colons at the least, as has a
/// bare IPv6 address, which is refused unless `bare` (in `tcp://` nobody can tell where its port would start).
fn split_port(text: &str, bare: bool) -> Result<(&str, Option<u16>), String> {
    const BRACKETS: &str = "write an IPv6 address with a port as [2001:db8::1]:443";
    if let Some(rest) = text.strip_prefix('[') {
        let Some((host, after)) = rest.split_once(']') else {
            return refuse(format!("a ] is missing; {BRACKETS}"));
        };
        if parse_v6(host).is_none() {
            return refuse(format!("not an IPv6 address in the brackets; {BRACKETS}"));
        }
        return match after.strip_prefix(':') {
            Some(port) => Ok((host, Some(parse_port(port)?))),
            None if after.is_empty() => Ok((host, None)),
            None => refuse(format!("after ] only :PORT may follow; {BRACKETS}")),
        };
    }
    match text.split_once(':') {
        None => Ok((text, None)),
        Some((host, port)) if !port.contains(':') => Ok((host, Some(parse_port(port)?))),
        Some(_) if parse_v6(text).is_none() => refuse(format!("it is not an IPv6 address; {BRACKETS}")),
        Some(_) if !bare => refuse(format!("brackets are missing; {BRACKETS}")),
        Some(_) => Ok((text, None)),
    }
}

fn parse_port(text: &str) -> Result<u16, String> {
    match text.parse() {
        Ok(port) if digits(text) && port != 0 => Ok(port),
        _ => refuse(format!("port {text:?} is not a number from 1 to 65535")),
    }
}

/// An IPv6 address and its zone, if any (RFC 4007 section 11).
fn parse_v6(text: &str) -> Option<(Ipv6Addr, Option<&str>)> {
    match text.split_once('%') {
        Some((address, zone)) => Some((address.parse().ok()?, Some(zone))),
        None => Some((text.parse().ok()?, None)),
    }
}

/// A host and its zone. In a URL the `%` of a zone is written `%25` (RFC 6874).
fn parse_host(text: &str, web: bool) -> Result<(Host, Option<String>), String> {
    let (address, zone) = match parse_v6(text) {
        Some((v6, zone)) => (IpAddr::V6(v6).to_canonical(), zone),
        None => match text.parse::<Ipv4Addr>() {
            Ok(v4) => (IpAddr::V4(v4), None),
            Err(_) => return Ok((Host::Name(parse_name(text)?), None)),
        },
    };
    usable(address)?;
    let Some(zone) = zone else {
        return Ok((Host::Address(address), None));
    };
    let zone = zone.strip_prefix("25").filter(|zone| web && !zone.is_empty()).unwrap_or(zone);
    match (address, zone.parse()) {
        (IpAddr::V6(v6), _) if !v6.is_unicast_link_local() => {
            refuse("only a link-local address has a zone; leave out the %, or use --interface")
        }
        (IpAddr::V6(_), Ok(Interface::Name(zone))) => Ok((Host::Address(address), Some(zone))),
        _ => refuse("the zone after % is not the name of an interface, such as fe80::1%eth0"),
    }
}

/// Refuses addresses that are not one host's.
fn usable(address: IpAddr) -> Result<(), String> {
    let kind = match address {
        IpAddr::V4(Ipv4Addr::BROADCAST) => "the broadcast address",
        _ if address.is_unspecified() => "the unspecified address",
        _ if address.is_multicast() => "a multicast address",
        _ => return Ok(()),
    };
    refuse(format!("{address} is {kind}; write the address of one host"))
}

/// Checks a host name (RFC 1123; `_` is allowed because DNS has such names) and makes it lower case.
fn parse_name(text: &str) -> Result<String, String> {
    let name = text.strip_suffix('.').unwrap_or(text);
    if name.is_empty() {
        return refuse("no host; write a name or an address");
    }
    // A resolver would read these as addresses (WHATWG URL, "ends in a number"), each in its own way.
    let last = name.rsplit('.').next().unwrap_or_default();
    let hex = last.strip_prefix("0x").or(last.strip_prefix("0X"));
    if digits(last) || hex.is_some_and(|hex| hex.bytes().all(|b| b.is_ascii_hexdigit())) {
        return refuse("shorthand or no address; write four numbers up to 255, such as 192.0.2.1");
    }
    if !name.is_ascii() {
        return refuse("not ASCII; write the punycode form (xn--...)");
    }
    let odd = |c: &char| !c.is_ascii_alphanumeric() && !matches!(c, '-' | '_' | '.');
    if let Some(c) = name.chars().find(odd) {
        let why = "is not for host names, only letters, digits, -, _ and .";
        return refuse(format!("{c:?} {why}"));
    }
    let mut parts = name.split('.');
    if name.len() > 253 || parts.clone().any(|part| part.len() > 63) {
        return refuse("too long; at most 253 characters, 63 between dots");
    }
    if parts.any(|part| part.is_empty() || part.starts_with('-')) {
        return refuse("a part between dots is empty or starts with -");
    }
    Ok(text.to_ascii_lowercase())
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Host::Address(address) => address.fmt(f),
            Host::Name(name) => f.write_str(name),
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if *self == Family::V4 { "IPv4" } else { "IPv6" })
    }
}

impl fmt::Display for Interface {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Interface::Name(name) => f.write_str(name),
            Interface::Address(address) => address.fmt(f),
        }
    }
}

impl FromStr for Interface {
    type Err = String;

    /// An address if it reads as one, else a name that Linux would take (`dev_valid_name`).
    fn from_str(text: &str) -> Result<Interface, String> {
        if let Ok(address) = text.parse::<IpAddr>() {
            let address = address.to_canonical();
            return usable(address).map(|()| Interface::Address(address));
        }
        let odd = |c: char| c == '/' || c == ':' || c.is_whitespace() || c.is_control();
        if text.is_empty() || text.len() > 15 || text == "." || text == ".." || text.contains(odd) {
            return refuse(format!("{} is neither an interface name nor an address", quote(text)));
        }
        Ok(Interface::Name(text.to_owned()))
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.0 / 100, self.0 % 100) {
            (whole, 0) => write!(f, "{whole}"),
            (whole, part) if part % 10 == 0 => write!(f, "{whole}.{}", part / 10),
            (whole, part) => write!(f, "{whole}.{part:02}"),
        }
    }
}

impl FromStr for Percent {
    type Err = String;

    /// `5`, `2.5`, `0.25` or `5%`; two decimals at the most, since loss is shown with two.
    fn from_str(text: &str) -> Result<Percent, String> {
        let number = text.strip_suffix('%').unwrap_or(text);
        let (whole, part) = number.split_once('.').unwrap_or((number, "0"));
        if !digits(whole) || !digits(part) {
            return refuse(format!("{} is not a percentage", quote(text)));
        }
        if part.len() > 2 {
            return refuse(format!("{} has more than two decimals", quote(text)));
        }
        match format!("{whole}{part:0<2}").parse() {
            Ok(hundredths @ 0..=10_000) => Ok(Percent(hundredths)),
            _ => refuse(format!("{} is more than 100", quote(text))),
        }
    }
}

/// A word as messages show it: in quotes, on one line, of bounded length. Of a URL only scheme, host and port are
/// shown: its user part or path may be a secret, such as a webhook's that was typed in the wrong place.
pub(crate) fn quote(word: &str) -> String {
    let shown = match word.split_once("://") {
        Some((scheme, rest)) => {
            let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
            let (user, host) = authority.rsplit_once('@').map_or(("", authority), |(_, host)| ("...@", host));
            format!("{scheme}://{user}{host}{}", if path.len() > 1 { "/..." } else { path })
        }
        // A webhook that was copied without its scheme.
        None => match word.find("hooks.slack.com/") {
            Some(at) => format!("{}hooks.slack.com/...", &word[..at]),
            None => word.to_owned(),
        },
    };
    match shown.char_indices().nth(100) {
        Some((end, _)) => format!("{:?}...", &shown[..end]),
        None => format!("{shown:?}"),
    }
}

/// The name of a file as messages show it: on one line, with nothing that a terminal would act on.
pub fn shown(name: &str) -> String {
    name.chars().map(|c| if is_plain(c) { c.to_string() } else { c.escape_debug().to_string() }).collect()
}

/// A path, so shown.
pub fn shown_path(path: &Path) -> String {
    shown(&path.to_string_lossy())
}

/// Is it a character that can be seen? Control characters are not, nor are those that turn or hide text.
fn is_plain(c: char) -> bool {
    matches!(c, '\'' | '"' | '\\') || c.escape_debug().count() == 1
}

/// Whether it is a number without a sign; `parse` alone would take a `+`.
pub(crate) fn digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

fn refuse<T>(why: impl Into<String>) -> Result<T, String> {
    Err(why.into())
}

#[cfg(test)]
#[rustfmt::skip] // Tables, a case a line.
mod tests {
    use super::*;

    fn typed(set: impl FnOnce(&mut TargetOptions)) -> TargetOptions {
        let mut options = TargetOptions::default();
        set(&mut options);
        options
    }

    #[test]
    fn words() {
        // word, name, host, port (0: ICMP); --port given or not makes the difference in the second table
        let plain = [
            ("192.0.2.1", "192.0.2.1", "192.0.2.1", 0),
            ("gw=192.0.2.1", "gw", "192.0.2.1", 0),
            ("a:b=gw", "a:b", "gw", 0),
            ("2001:DB8::1", "2001:db8::1", "2001:db8::1", 0),
            ("[2001:db8::1]", "2001:db8::1", "2001:db8::1", 0),
            ("::ffff:192.0.2.1", "192.0.2.1", "192.0.2.1", 0),
            ("Example.ORG.", "example.org.", "example.org.", 0),
            ("my_host", "my_host", "my_host", 0),
            ("icmp://Host", "host", "host", 0),
            ("ICMP://2001:db8::1", "2001:db8::1", "2001:db8::1", 0),
            ("host:443", "host:443", "host", 443),
            ("192.0.2.1:65535", "192.0.2.1:65535", "192.0.2.1", 65535),
            ("[2001:db8::1]:22", "[2001:db8::1]:22", "2001:db8::1", 22),
            ("[::ffff:192.0.2.1]:22", "192.0.2.1:22", "192.0.2.1", 22),
            ("tcp://host:443", "host:443", "host", 443),
            ("www=https://host/a?b=c#d", "www", "host", 443),
            ("https://host?b=c", "host:443", "host", 443),
            ("HTTP://[2001:db8::1]:8080/", "[2001:db8::1]:8080", "2001:db8::1", 8080),
            ("http://host#x", "host:80", "host", 80),
            ("fe80::1%eth0", "fe80::1%eth0", "fe80::1", 0),
            ("[fe80::1%eth0]:22", "[fe80::1%eth0]:22", "fe80::1", 22),
            ("http://[fe80::1%25eth0]/", "[fe80::1%eth0]:80", "fe80::1", 80),
        ];
        let with_port = [
            ("host", "host:8443", "host", 8443),
            ("[2001:db8::1]", "[2001:db8::1]:8443", "2001:db8::1", 8443),
            ("2001:db8::1", "[2001:db8::1]:8443", "2001:db8::1", 8443),
            ("tcp://host", "host:8443", "host", 8443),
            ("icmp://host", "host", "host", 0),
            ("host:80", "host:80", "host", 80),
            ("http://host", "host:80", "host", 80),
        ];
        let port = typed(|t| t.port = Some(8443));
        let none = TargetOptions::default();
        let cases = plain.iter().map(|c| (c, &none)).chain(with_port.iter().map(|c| (c, &port)));
        for (&(word, name, host, port), options) in cases {
            let target = Target::parse(word, options).unwrap();
            let check = if port == 0 { Check::Icmp } else { Check::Tcp { port } };
            let host_is = (target.name.as_str(), target.host.to_string(), target.check);
            assert_eq!(host_is, (name, host.to_owned(), check), "{word}");
            assert_eq!(matches!(target.host, Host::Address(_)), host.parse::<IpAddr>().is_ok(), "{word}");
            let zone = word.contains('%').then(|| Interface::Name("eth0".into()));
            assert_eq!(target.options.interface, zone, "{word}");
        }
    }

    #[test]
    fn refused_words() {
        let long = format!("{}.org", "a".repeat(64));
        for (word, why) in [
            ("", "no host; write one, such as 192.0.2.1 or db=10.0.0.5:5432"),
            ("gw=", "no host; write one"),
            ("=host", "the label is empty; write LABEL=host or host"),
            ("my host", "white space or a control character; leave it out"),
            ("a\u{1b}[2J\n=host", "white space or a control character; leave it out"),
            ("0.0.0.0", "0.0.0.0 is the unspecified address; write the address of one host"),
            ("[::]:80", ":: is the unspecified address"),
            ("::ffff:0.0.0.0", "0.0.0.0 is the unspecified address"),
            ("255.255.255.255", "255.255.255.255 is the broadcast address"),
            ("224.0.0.1:80", "224.0.0.1 is a multicast address"),
            ("ff02::1%eth0", "ff02::1 is a multicast address"),
            ("1", "shorthand or no address; write four numbers up to 255, such as 192.0.2.1"),
            ("10.1", "shorthand or no address"),
            ("0177.0.0.1", "shorthand or no address"),
            ("0x7f000001", "shorthand or no address"),
            ("host.0X", "shorthand or no address"),
            ("192.0.2.256:80", "shorthand or no address"),
            ("192.0.2.1.", "shorthand or no address"),
            ("host:0", "port \"0\" is not a number from 1 to 65535"),
            ("host:65536", "port \"65536\" is not a number from 1 to 65535"),
            ("host:80x", "port \"80x\" is not a number"),
            ("host:+80", "port \"+80\" is not a number"),
            ("host:", "port \"\" is not a number"),
            (":80", "no host; write a name or an address"),
            ("https:///x", "no host; write a name"),
            (".", "no host; write a name"),
            ("2001:db8::1::22", "it is not an IPv6 address; write an IPv6 address with a port as ["),
            ("host:80:90", "it is not an IPv6 address; write"),
            ("tcp://2001:db8::1:22", "brackets are missing; write an IPv6 address with a port as ["),
            ("[2001:db8::1", "a ] is missing; write"),
            ("[192.0.2.1]:80", "not an IPv6 address in the brackets; write"),
            ("[2001:db8::1]80", "after ] only :PORT may follow; write"),
            ("icmp://host:80", "icmp:// has no port; write tcp://"),
            ("tcp://host", "a port is missing; write tcp://host:443"),
            ("ftp://host", "unknown scheme; known: icmp, tcp, http, https"),
            ("udp://host:53", "unknown scheme"),
            ("https://user@host/", "a user has no use here; leave out all before @"),
            ("fe80::1", "a link-local address needs its interface: fe80::1%eth0, or -I eth0"),
            ("fe80::1%", "the zone after % is not the name of an interface"),
            ("::ffff:192.0.2.1%eth0", "the zone after % is not the name"),
            ("2001:db8::1%eth0", "only a link-local address has a zone; leave out the %, or use --interface"),
            ("bücher.example", "not ASCII; write the punycode form (xn--...)"),
            ("10.0.0.0/24", "'/' is not for host names, only letters, digits, -, _ and ."),
            ("a=b=c", "'=' is not for host names"),
            (&long, "too long; at most 253 characters, 63 between dots"),
            (&["abc.", &"a.".repeat(126)].concat(), "too long; at most 253 characters, 63 between dots"),
            ("a..b", "a part between dots is empty or starts with -"),
            ("-host", "a part between dots is empty or starts with -"),
        ] {
            let message = Target::parse(word, &TargetOptions::default()).unwrap_err();
            let expected = format!("target {}: {why}", quote(word));
            assert!(message.starts_with(&expected), "{message}\nis not\n{expected}");
            assert!(!message.contains(char::is_control), "{message:?}");
        }
    }

    #[test]
    fn refused_with_options() {
        let v4 = Interface::Address(IpAddr::V4(Ipv4Addr::LOCALHOST));
        let eth1 = Interface::Name("eth1".into());
        for (word, options, why) in [
            ("192.0.2.1", typed(|t| t.family = Some(Family::V6)), "the address is IPv4, which -6 rules out"),
            ("::1", typed(|t| t.family = Some(Family::V4)), "the address is IPv6, which -4 rules out"),
            ("::1", typed(|t| t.interface = Some(v4.clone())), "--interface 127.0.0.1 is of the other address family"),
            ("fe80::1", typed(|t| t.interface = "::1".parse().ok()), "a link-local address needs its interface"),
            ("fe80::1%eth0", typed(|t| t.interface = Some(eth1.clone())), "zone eth0 and --interface eth1 differ; give only one"),
            (
                "host",
                typed(|t| (t.family, t.interface) = (Some(Family::V6), Some(v4.clone()))),
                "the address of --interface is IPv4, which -6 rules out",
            ),
            ("host:80", typed(|t| t.failures = Some(0)), "--ctimeout for TCP: 1 at the least; 0 turns down/up off for ICMP only"),
            (
                "host",
                typed(|t| t.timeout = Some(Duration::from_millis(10_000_001))),
                "--timeout 2h 46m 40s 1ms is more than 10000 times --interval 1s: too many checks at once",
            ),
        ] {
            let message = Target::parse(word, &options).unwrap_err();
            assert!(message.starts_with(&format!("target {word:?}: {why}")), "{message}");
        }
    }

    #[test]
    fn options() {
        let tcp = Target::parse("host:80", &TargetOptions::default()).unwrap().options;
        let icmp = Target::parse("host", &TargetOptions::default()).unwrap().options;
        assert_eq!((tcp.failures, icmp.failures, icmp.recover, icmp.size), (3, 10, 1, 300));
        assert_eq!((icmp.interval.as_millis(), icmp.timeout.as_millis(), icmp.length), (1000, 2000, 56));
        assert_eq!((icmp.change.to_string(), icmp.family, &icmp.interface), ("5".into(), None, &None));
        let line = typed(|t| (t.size, t.failures) = (Some(5), Some(0)));
        let base = typed(|t| {
            (t.size, t.recover) = (Some(9), Some(2));
            t.interface = Some(Interface::Address(IpAddr::V4(Ipv4Addr::LOCALHOST)));
        });
        let both = Target::parse("host", &line.over(&base)).unwrap().options;
        assert_eq!((both.size, both.recover, both.failures, both.family), (5, 2, 0, Some(Family::V4)));
        let local = typed(|t| t.interface = Some(Interface::Name("eth0".into())));
        assert!(Target::parse("fe80::1", &local).is_ok() && Target::parse("fe80::1%eth0", &local).is_ok());
    }

    #[test]
    fn percent_and_interface() {
        for (text, shown) in [("0", "0"), ("5%", "5"), ("2.50", "2.5"), ("0.05", "0.05"), ("100.00", "100")] {
            assert_eq!(text.parse::<Percent>().unwrap().to_string(), shown);
        }
        assert_eq!("2.5".parse::<Percent>().map(Percent::hundredths), Ok(250));
        for (text, why) in [
            ("", "is not a percentage"),
            ("-1", "is not a percentage"),
            ("5.", "is not a percentage"),
            ("1.234", "has more than two decimals"),
            ("100.01", "is more than 100"),
            ("99999999999", "is more than 100"),
        ] {
            assert_eq!(text.parse::<Percent>(), Err(format!("{text:?} {why}")));
        }
        assert_eq!("eth0.5".parse(), Ok(Interface::Name("eth0.5".into())));
        assert_eq!("::1".parse(), Ok(Interface::Address(IpAddr::V6(Ipv6Addr::LOCALHOST))));
        assert_eq!("0.0.0.0".parse::<Interface>().unwrap_err().split(';').next(), Some("0.0.0.0 is the unspecified address"));
        for text in ["", "..", "a/b", "eth0:1", "a b", "sixteen-bytes-ab"] {
            assert_eq!(text.parse::<Interface>(), Err(format!("{text:?} is neither an interface name nor an address")));
        }
    }

    #[test]
    fn quoted_words_keep_secrets_and_lines() {
        assert_eq!(quote("a\n\u{202e}b"), r#""a\n\u{202e}b""#);
        assert_eq!(quote("x=https://u:pw@h:1/services/S"), r#""x=https://...@h:1/...""#);
        assert_eq!(quote("https://h/?S"), r#""https://h/...""#);
        assert_eq!(quote(&"a".repeat(101)), format!("\"{}\"...", "a".repeat(100)));
    }
}
