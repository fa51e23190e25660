//! The threads that look names up, so that no check ever waits for DNS. A few, for one name whose servers do not answer
//! must not hold up the others.

use std::net::{IpAddr, ToSocketAddrs};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::{self, Thread};
use std::time::Duration;

use crate::clock::Clock;
use crate::sync::{self, lock};
use crate::target::Family;

/// A name that resolved is looked up again after this time.
const REFRESH: Duration = Duration::from_secs(60);

/// A name that did not is tried again after 1, 2, 4, 8 seconds, and then every so often.
const RETRY: Duration = Duration::from_secs(10);

/// At most so many names are looked up at a time.
const AT_ONCE: usize = 8;

/// What is known of one name, shared by the resolver thread and the targets that use the name.
#[derive(Debug, Default)]
pub struct Lookup {
    known: Mutex<Known>,
    tried: Condvar,
}

#[derive(Debug, Default)]
struct Known {
    /// In the order of getaddrinfo(3), that is of RFC 6724. Of the last lookup that succeeded.
    addresses: Vec<IpAddr>,
    /// One more for each change of `addresses`; 0 before the first lookup ended.
    version: u64,
}

impl Lookup {
    /// Copies the addresses if they changed since `version`, which is brought up to date.
    pub fn update(&self, version: &mut u64, addresses: &mut Vec<IpAddr>) {
        let known = lock(&self.known);
        if known.version != *version {
            *version = known.version;
            addresses.clone_from(&known.addresses);
        }
    }

    /// Waits until the first lookup has ended, well or not, but for `limit` at most.
    pub fn wait_for_first(&self, limit: Duration) {
        let known = lock(&self.known);
        // Poisoned or timed out: the caller looks at what is there.
        let _ = self.tried.wait_timeout_while(known, limit, |known| known.version == 0);
    }

    /// Takes the result of a lookup. An error keeps the last good addresses.
    fn note(&self, result: Option<Vec<IpAddr>>) {
        let mut known = lock(&self.known);
        match result {
            Some(addresses) if addresses != known.addresses => {
                known.addresses = addresses;
                known.version += 1;
            }
            _ => known.version = known.version.max(1),
        }
        self.tried.notify_all();
    }
}

#[derive(Debug)]
struct Entry {
    name: String,
    family: Option<Family>,
    lookup: Arc<Lookup>,
    due: Duration,
    failures: u32,
    /// A thread looks it up now.
    busy: bool,
}

/// The names that are looked up, and the thread that does it.
#[derive(Debug)]
pub struct Resolver {
    entries: Arc<Mutex<Vec<Entry>>>,
    clock: Clock,
    threads: Vec<Thread>,
}

impl Resolver {
    /// Nothing to look up yet.
    pub fn new(clock: Clock) -> Resolver {
        Resolver { entries: Arc::default(), clock, threads: Vec::new() }
    }

    /// Asks for a name in a family; the same question is asked once, however many targets share it. It is looked up
    /// until the last [`Lookup`] outside is dropped.
    pub fn add(&mut self, name: &str, family: Option<Family>) -> Arc<Lookup> {
        let mut entries = lock(&self.entries);
        if let Some(entry) = entries.iter().find(|entry| entry.name == name && entry.family == family) {
            return Arc::clone(&entry.lookup);
        }
        let lookup = Arc::<Lookup>::default();
        let (name, theirs) = (name.to_owned(), Arc::clone(&lookup));
        entries.push(Entry { name, family, lookup, due: Duration::ZERO, failures: 0, busy: false });
        theirs
    }

    /// Starts threads for what there is to look up, or tells them that there is more. Errors: no thread could be made;
    /// the caller reports it.
    pub fn start(&mut self) -> std::io::Result<()> {
        let wanted = lock(&self.entries).len().min(AT_ONCE);
        self.threads.iter().for_each(Thread::unpark);
        for _ in self.threads.len()..wanted {
            let (entries, clock) = (Arc::clone(&self.entries), self.clock);
            self.threads.push(sync::start("resolver", move || look_up_for_ever(&entries, &clock))?);
        }
        Ok(())
    }
}

fn look_up_for_ever(entries: &Mutex<Vec<Entry>>, clock: &Clock) {
    loop {
        let next = {
            let mut entries = lock(entries);
            entries.retain(|entry| entry.busy || Arc::strong_count(&entry.lookup) > 1);
            let next = entries.iter_mut().filter(|entry| !entry.busy).min_by_key(|entry| entry.due);
            next.map(|entry| {
                let wait = entry.due.saturating_sub(clock.now());
                entry.busy = wait.is_zero();
                (wait, entry.name.clone(), entry.family, Arc::downgrade(&entry.lookup))
            })
        };
        let Some((wait, name, family, lookup)) = next else {
            thread::park();
            continue;
        };
        if !wait.is_zero() {
            // Whoever ends a lookup meanwhile waits for its next one himself.
            thread::park_timeout(wait);
            continue;
        }
        let result = look_up(&name, family);
        let Some(lookup) = lookup.upgrade() else {
            continue;
        };
        for entry in lock(entries).iter_mut().filter(|entry| Arc::ptr_eq(&entry.lookup, &lookup)) {
            entry.due = clock.now() + next_in(result.is_some(), &mut entry.failures);
            entry.busy = false;
        }
        lookup.note(result);
    }
}

/// How long until the next lookup.
fn next_in(succeeded: bool, failures: &mut u32) -> Duration {
    if succeeded {
        *failures = 0;
        return REFRESH;
    }
    let wait = Duration::from_secs(1 << (*failures).min(5));
    *failures = failures.saturating_add(1);
    wait.min(RETRY)
}

/// The addresses of a name now (getaddrinfo(3): files, DNS); None when it has none in the family, or on any error.
/// Blocks for as long as the system's resolver does.
pub fn look_up(name: &str, family: Option<Family>) -> Option<Vec<IpAddr>> {
    let mut addresses: Vec<IpAddr> = Vec::new();
    for address in (name, 0).to_socket_addrs().ok()? {
        let address = address.ip();
        let wanted = match family {
            None => true,
            Some(Family::V4) => address.is_ipv4(),
            Some(Family::V6) => address.is_ipv6(),
        };
        if wanted && !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    (!addresses.is_empty()).then_some(addresses)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_lookup_keeps_the_last_good_addresses() {
        let lookup = Lookup::default();
        let (mut version, mut addresses) = (0, Vec::new());
        lookup.note(None);
        lookup.update(&mut version, &mut addresses);
        assert_eq!((version, addresses.len()), (1, 0), "tried, and nothing found");
        let good: Vec<IpAddr> = vec!["192.0.2.1".parse().unwrap()];
        lookup.note(Some(good.clone()));
        lookup.note(None);
        lookup.update(&mut version, &mut addresses);
        assert_eq!((version, addresses.clone()), (2, good.clone()));
        lookup.note(Some(good));
        lookup.update(&mut version, &mut addresses);
        assert_eq!(version, 2, "the same addresses are no change");
    }

    #[test]
    fn retries_slow_down_and_success_starts_over() {
        let mut failures = 0;
        let waits: Vec<_> = (0..6).map(|_| next_in(false, &mut failures).as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 10, 10]);
        assert_eq!(next_in(true, &mut failures), REFRESH);
        assert_eq!(next_in(false, &mut failures).as_secs(), 1);
    }

    #[test]
    fn localhost_resolves_in_each_family_asked_for() {
        let v4 = look_up("localhost", Some(Family::V4)).unwrap_or_default();
        assert!(v4.iter().all(IpAddr::is_ipv4));
        assert_eq!(look_up("no-such-name.invalid", None), None);
    }
}
