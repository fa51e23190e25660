//! A check allocates nothing: the whole program runs inside this test, whose allocator counts.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, unsafe_code)]

use reachabilitycheck::probe::icmp;
use reachabilitycheck::wire::Version;
use std::alloc::{GlobalAlloc, Layout, System};
use std::net::TcpListener;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::{fs, thread};

struct Counting;

static COUNT: AtomicUsize = AtomicUsize::new(0);

// SAFETY: all is done by the system's allocator, with what came in.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.fetch_add(1, Ordering::Relaxed);
        // SAFETY: as our caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as our caller promises.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        COUNT.fetch_add(1, Ordering::Relaxed);
        // SAFETY: as our caller promises.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Allocations of a run with so many checks of each target.
fn allocations(targets: &str, checks: u32) -> usize {
    let before = COUNT.load(Ordering::Relaxed);
    let checks = checks.to_string();
    let args = ["-q", "--no-log", "--no-state", "-i", "10ms", "-n", &checks, "-f", targets];
    let status = reachabilitycheck::run::main(args.map(Into::into));
    assert_eq!(format!("{status:?}"), format!("{:?}", std::process::ExitCode::SUCCESS));
    COUNT.load(Ordering::Relaxed) - before
}

#[test]
fn a_check_allocates_nothing() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut targets = format!("tcp={}\n", listener.local_addr().unwrap());
    thread::spawn(move || while listener.accept().is_ok() {});
    for (version, target) in [(Version::V4, "127.0.0.1\n"), (Version::V6, "::1\n")] {
        match icmp::access(version) {
            Ok(_) if fs::exists("/proc/net/if_inet6").unwrap() || version == Version::V4 => targets.push_str(target),
            _ => eprintln!("skipped: a_check_allocates_nothing: no ICMP to {}", target.trim()),
        }
    }
    let file = std::env::temp_dir().join(format!("reach-alloc-{}", std::process::id()));
    fs::write(&file, targets).unwrap();
    let name = file.to_str().unwrap();
    // What is allocated once (by std too) is allocated now.
    allocations(name, 20);
    // A machine that stops for longer than an interval makes room for the checks that are then on their way at once: the
    // best of some tries.
    let mut more = usize::MAX;
    for _ in 0..10 {
        more = more.min(allocations(name, 220).saturating_sub(allocations(name, 20)));
        if more == 0 {
            break;
        }
    }
    fs::remove_file(&file).unwrap();
    assert_eq!(more, 0, "allocations of 200 more checks of each target");
}
