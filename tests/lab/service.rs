//! A TCP service on loopback for the program to watch.

use super::wait_until;
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// A service on loopback that can go away and come back on its port.
pub struct Service {
    pub address: SocketAddr,
    listener: Arc<Mutex<Option<TcpListener>>>,
    over: Arc<AtomicBool>,
}

impl Service {
    pub fn start() -> Service {
        let listener = listen("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = listener.local_addr().unwrap();
        let listener = Arc::new(Mutex::new(Some(listener)));
        let over = Arc::<AtomicBool>::default();
        let (for_thread, until) = (listener.clone(), over.clone());
        // Connections are taken, or the backlog fills up in time.
        thread::spawn(move || {
            while !until.load(Ordering::Relaxed) {
                while for_thread.lock().unwrap().as_ref().is_some_and(|listener| listener.accept().is_ok()) {}
                thread::sleep(Duration::from_millis(2));
            }
        });
        Service { address, listener, over }
    }

    pub fn stop(&self) {
        *self.listener.lock().unwrap() = None;
    }

    pub fn restart(&self) {
        // A connection of somebody else may have the port for a moment.
        assert!(wait_until(Duration::from_secs(60), || {
            let mut listener = self.listener.lock().unwrap();
            *listener = listener.take().or_else(|| listen(self.address));
            listener.is_some()
        }));
    }

    pub fn target(&self, label: &str) -> String {
        format!("{label}={}", self.address)
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
    }
}

fn listen(address: SocketAddr) -> Option<TcpListener> {
    let listener = TcpListener::bind(address).ok()?;
    listener.set_nonblocking(true).ok()?;
    Some(listener)
}
