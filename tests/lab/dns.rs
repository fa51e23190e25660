//! A stub DNS server: A and AAAA of the names it was told, or a failure of choice.

use super::sys;
use std::collections::HashMap;
use std::net::{IpAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// How queries are answered.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Mode {
    /// With the addresses set; a name without any does not exist.
    Answer,
    ServFail,
    /// Not at all: resolvers time out.
    Silent,
}

/// The server. Stops when dropped.
pub struct Dns {
    shared: Arc<Mutex<Shared>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    mode: Mode,
    names: HashMap<String, Vec<IpAddr>>,
    queries: Vec<(Instant, String)>,
}

impl Dns {
    pub fn start(address: &str) -> Dns {
        let socket = UdpSocket::bind(address).expect("the address of the DNS server is free");
        let shared = Arc::new(Mutex::new(Shared { mode: Mode::Answer, names: HashMap::new(), queries: Vec::new() }));
        let stop = Arc::new(AtomicBool::new(false));
        let thread = {
            let (shared, stop) = (shared.clone(), stop.clone());
            thread::spawn(move || work(&socket, &shared, &stop))
        };
        Dns { shared, stop, thread: Some(thread) }
    }

    /// Sets the addresses of a name; none means that it does not exist.
    pub fn set(&self, name: &str, addresses: &[&str]) {
        let addresses = addresses.iter().map(|text| text.parse().expect("an address"));
        let addresses = addresses.collect();
        lock(&self.shared).names.insert(name.into(), addresses);
    }

    pub fn mode(&self, mode: Mode) {
        lock(&self.shared).mode = mode;
    }

    /// What was asked, and when.
    pub fn queries(&self) -> Vec<(Instant, String)> {
        lock(&self.shared).queries.clone()
    }
}

impl Drop for Dns {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

fn work(socket: &UdpSocket, shared: &Mutex<Shared>, stop: &AtomicBool) {
    let mut buffer = [0; 1500];
    while !stop.load(Ordering::Relaxed) {
        if !sys::wait_readable(socket, Duration::from_millis(50)) {
            continue;
        }
        let Ok((length, from)) = socket.recv_from(&mut buffer) else {
            continue;
        };
        if let Some(answer) = reply(&buffer[..length], &mut lock(shared)) {
            let _ = socket.send_to(&answer, from);
        }
    }
}

fn reply(query: &[u8], shared: &mut Shared) -> Option<Vec<u8>> {
    let mut name = String::new();
    let mut at = 12;
    loop {
        let length = usize::from(*query.get(at)?);
        at += 1;
        if length == 0 {
            break;
        }
        if !name.is_empty() {
            name.push('.');
        }
        name.push_str(&String::from_utf8_lossy(query.get(at..at + length)?));
        at += length;
    }
    let question = query.get(12..at + 4)?;
    let wants_ipv6 = match query[at..at + 2] {
        [0, 1] => Some(false),
        [0, 28] => Some(true),
        _ => None,
    };
    shared.queries.push((Instant::now(), name.clone()));
    let addresses = shared.names.get(&name.to_lowercase());
    let addresses = addresses.filter(|list| !list.is_empty());
    let code = match (shared.mode, addresses) {
        (Mode::Silent, _) => return None,
        (Mode::ServFail, _) => 2,
        (Mode::Answer, None) => 3,
        (Mode::Answer, Some(_)) => 0,
    };
    let mut records = Vec::new();
    let mut count = 0u8;
    for address in addresses.filter(|_| code == 0).into_iter().flatten() {
        let (kind, bytes) = match address {
            IpAddr::V4(v4) => (1, v4.octets().to_vec()),
            IpAddr::V6(v6) => (28, v6.octets().to_vec()),
        };
        if wants_ipv6 == Some(kind == 28) {
            // The name is that of the question; a lifetime of 0, so that nobody keeps it.
            records.extend([0xc0, 12, 0, kind, 0, 1, 0, 0, 0, 0, 0, bytes.len() as u8]);
            records.extend(bytes);
            count += 1;
        }
    }
    let mut answer = vec![query[0], query[1], 0x81, 0x80 | code];
    answer.extend([0, 1, 0, count, 0, 0, 0, 0]);
    answer.extend(question);
    answer.extend(records);
    Some(answer)
}
