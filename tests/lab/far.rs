//! The far end: everything behind the TUN device `far0`. Each address does what its script says; without one it is silent.

use super::packet::{ACK, FIN, Kind, Out, Packet, RST};
use super::sys;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::fs::File;
use std::io::{Read, Write};
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

type Script = Box<dyn FnMut(&Packet) -> Vec<Out> + Send>;

/// The far end of `far0`, run by a thread of its own until it is dropped.
pub struct Far {
    tun: Arc<File>,
    state: Arc<Mutex<State>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct State {
    rules: Vec<Rule>,
    seen: Vec<Packet>,
}

struct Rule {
    prefix: Prefix,
    script: Script,
    counts: HashMap<(IpAddr, &'static str), u64>,
}

/// An address, or a prefix as in `10.9.1.0/24`.
#[derive(Clone, Copy, PartialEq)]
struct Prefix {
    address: IpAddr,
    length: u32,
}

impl Prefix {
    fn parse(text: &str) -> Prefix {
        let (address, length) = text.split_once('/').unwrap_or((text, "128"));
        let address: IpAddr = address.parse().expect("an address or ADDRESS/LENGTH");
        let most = if address.is_ipv4() { 32 } else { 128 };
        let length: u32 = length.parse().expect("a prefix length");
        Prefix { address, length: length.min(most) }
    }

    fn holds(&self, other: IpAddr) -> bool {
        match (self.address, other) {
            (IpAddr::V4(a), IpAddr::V4(b)) => {
                let differ = u32::from(a) ^ u32::from(b);
                differ.checked_shr(32 - self.length).unwrap_or(0) == 0
            }
            (IpAddr::V6(a), IpAddr::V6(b)) => {
                let differ = u128::from(a) ^ u128::from(b);
                differ.checked_shr(128 - self.length).unwrap_or(0) == 0
            }
            _ => false,
        }
    }
}

impl Far {
    /// Makes the device `name` and answers behind it. Its addresses and routes are the caller's business.
    pub fn start(name: &str) -> std::io::Result<Far> {
        let tun = Arc::new(sys::open_tun(name)?);
        let state = Arc::new(Mutex::new(State::default()));
        let stop = Arc::new(AtomicBool::new(false));
        let thread = {
            let (tun, state, stop) = (tun.clone(), state.clone(), stop.clone());
            thread::spawn(move || work(&tun, &state, &stop))
        };
        Ok(Far { tun, state, stop, thread: Some(thread) })
    }

    /// Sets what `address` (or each address of a prefix) does with a packet. The longest prefix wins; setting the same
    /// one again replaces its script and starts `nth` at 0. A script must not call `Far` itself.
    pub fn on(&self, address: &str, script: impl FnMut(&Packet) -> Vec<Out> + Send + 'static) {
        let prefix = Prefix::parse(address);
        let mut state = lock(&self.state);
        state.rules.retain(|rule| rule.prefix != prefix);
        state.rules.push(Rule { prefix, script: Box::new(script), counts: HashMap::new() });
        // Longest first, so that the first that holds an address is the one.
        state.rules.sort_by_key(|rule| Reverse(rule.prefix.length));
    }

    /// Every packet that came for an address or a prefix, oldest first.
    pub fn seen(&self, address: &str) -> Vec<Packet> {
        let prefix = Prefix::parse(address);
        let state = lock(&self.state);
        let seen = state.seen.iter();
        seen.filter(|packet| prefix.holds(packet.dst)).cloned().collect()
    }

    /// How many packets of a kind ("echo", "syn", "tcp", "udp", "other") came for an address or a prefix.
    pub fn count(&self, address: &str, kind: &str) -> usize {
        let prefix = Prefix::parse(address);
        let state = lock(&self.state);
        let seen = state.seen.iter();
        seen.filter(|packet| packet.kind_name() == kind && prefix.holds(packet.dst)).count()
    }

    /// Waits until `count` has reached `n`; false if it has not in time.
    pub fn wait_count(&self, address: &str, kind: &str, n: usize, timeout: Duration) -> bool {
        super::wait_until(timeout, || self.count(address, kind) >= n)
    }

    /// Forgets what was seen so far.
    pub fn forget(&self) {
        lock(&self.state).seen.clear();
    }

    /// Sends a packet that answers nothing, at once.
    pub fn send(&self, out: &Out) {
        send(&self.tun, &out.bytes);
    }
}

impl Drop for Far {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let ended = self.thread.take().map(JoinHandle::join);
        // A script that panicked (a failed assert in it) must not go unnoticed.
        if matches!(ended, Some(Err(_))) && !thread::panicking() {
            panic!("a script of the far end panicked");
        }
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

fn send(mut tun: &File, bytes: &[u8]) {
    if !bytes.is_empty() {
        // Refused while the device is down: then the packet is lost, as on any cable.
        let _ = tun.write(bytes);
    }
}

fn work(mut tun: &File, state: &Mutex<State>, stop: &AtomicBool) {
    let mut waiting: BinaryHeap<Reverse<(Instant, u64, Vec<u8>)>> = BinaryHeap::new();
    let mut order = 0u64;
    let mut buffer = vec![0; 1 << 16];
    while !stop.load(Ordering::Relaxed) {
        let now = Instant::now();
        while let Some(Reverse((due, _, _))) = waiting.peek() {
            if *due > now {
                break;
            }
            if let Some(Reverse((_, _, bytes))) = waiting.pop() {
                send(tun, &bytes);
            }
        }
        // Not for ever, so that `stop` is seen.
        let longest = Duration::from_millis(50);
        let next =
            waiting.peek().map_or(longest, |Reverse((due, _, _))| due.saturating_duration_since(now).min(longest));
        if !sys::wait_readable(tun, next) {
            continue;
        }
        // A batch at most, so that a flood does not hold up what is due.
        for _ in 0..64 {
            let Ok(length) = tun.read(&mut buffer) else {
                break;
            };
            let at = Instant::now();
            let Some(packet) = Packet::parse(&buffer[..length], at) else {
                continue;
            };
            for out in handle(&mut lock(state), packet) {
                if out.after.is_zero() {
                    send(tun, &out.bytes);
                } else {
                    waiting.push(Reverse((at + out.after, order, out.bytes)));
                    order += 1;
                }
            }
        }
    }
}

fn handle(state: &mut State, mut packet: Packet) -> Vec<Out> {
    let mut rules = state.rules.iter_mut();
    let outs = match rules.find(|rule| rule.prefix.holds(packet.dst)) {
        Some(rule) => {
            let key = (packet.dst, packet.kind_name());
            let count = rule.counts.entry(key).or_default();
            packet.nth = *count;
            *count += 1;
            (rule.script)(&packet)
        }
        None => Vec::new(),
    };
    state.seen.push(packet);
    outs
}

/// Answers every echo request.
pub fn answer() -> impl FnMut(&Packet) -> Vec<Out> + Send {
    |packet| vec![packet.reply()]
}

/// Never answers.
pub fn silent() -> impl FnMut(&Packet) -> Vec<Out> + Send {
    |_| Vec::new()
}

/// Answers echo requests but for those of whose number (from 0) `lost` says true.
pub fn drop_pattern(lost: impl Fn(u64) -> bool + Send) -> impl FnMut(&Packet) -> Vec<Out> + Send {
    move |packet| match lost(packet.nth) {
        true => Vec::new(),
        false => vec![packet.reply()],
    }
}

/// Answers every echo request `time` later.
pub fn delay(time: Duration) -> impl FnMut(&Packet) -> Vec<Out> + Send {
    move |packet| vec![packet.reply().after(time)]
}

/// Answers every echo request `times` times.
pub fn duplicate(times: usize) -> impl FnMut(&Packet) -> Vec<Out> + Send {
    move |packet| vec![packet.reply(); times]
}

/// Accepts TCP connections on every port, takes what is sent and closes when the other side does.
pub fn tcp_accept() -> impl FnMut(&Packet) -> Vec<Out> + Send {
    |packet| match &packet.kind {
        Kind::Syn(_) => vec![packet.syn_ack()],
        Kind::Tcp(tcp) if tcp.flags & RST == 0 => {
            let fin = tcp.flags & FIN;
            let next = tcp.seq.wrapping_add(tcp.data as u32 + u32::from(fin));
            // A bare ACK is not answered, or two ends would acknowledge each other for ever.
            match tcp.data > 0 || fin > 0 {
                true => vec![packet.tcp(tcp.ack, next, ACK | fin)],
                false => Vec::new(),
            }
        }
        _ => Vec::new(),
    }
}

/// Refuses TCP connections on every port.
pub fn tcp_refuse() -> impl FnMut(&Packet) -> Vec<Out> + Send {
    |packet| vec![packet.rst()]
}
