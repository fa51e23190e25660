//! A test laboratory: a network namespace of one test's own, with a scripted far end, a stand-in for Slack, a stub DNS
//! server and a runner for the program. See `tests/lab_selftest.rs` for how it is used.
//!
//! Each `lab_test!` runs itself again in a fresh user, network and mount namespace, so nothing it does is seen outside,
//! and no packet leaves it. A machine that allows no such namespace skips the test with one line on stderr; the
//! variable `REACH_LAB=required` makes that a failure.
//!
//! | inside | |
//! | --- | --- |
//! | `lo` | as ever |
//! | `far0` | 10.9.0.1 and fd09::1 are ours; all else of 10.9.0.0/16 and fd09::/64 is the far end, `lab.far` |
//! | after `lab.veth()`: `own0` | 10.8.0.1/24 and fd08::1/64; the peer, a kernel of its own with real ARP, has .2 and ::2 |
#![allow(dead_code, unused_imports, unused_macros)] // each test file uses a part
#![allow(clippy::unwrap_used, clippy::expect_used)]

pub mod dns;
pub mod far;
pub mod openwrt;
pub mod packet;
pub mod run;
pub mod service;
pub mod slack;
pub mod sys;

use far::Far;
use std::cell::Cell;
use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::{CommandExt, parent_id};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};
use std::{env, fs, io, thread};

/// The variable that holds, inside a namespace, the name of the test it was made for.
const INSIDE: &str = "REACH_LAB_INSIDE";
/// What a test inside writes, with the reason, when it cannot run.
const SKIP: &str = "reach-lab-skip: ";
/// How long a test may take; the variable `REACH_LAB_LIMIT` (in seconds) allows measurements more.
fn limit() -> Duration {
    let seconds = env::var("REACH_LAB_LIMIT").ok().and_then(|seconds| seconds.parse().ok());
    Duration::from_secs(seconds.unwrap_or(120))
}

/// Makes a test that runs in a laboratory of its own: `lab_test!(name, |lab| { ... });`, or with what it needs,
/// `lab_test!(name, ["nft", "ipv6"], |lab| { ... });`: programs that must be installed, or the word `ipv6`, or the word
/// `raw`: then dgram ping sockets are refused until `lab.dgram()`. (There is no way back: the kernel's "1 0" cannot be
/// written where group 1 is not mapped.)
macro_rules! lab_test {
    ($(#[$meta:meta])* $name:ident, |$lab:ident| $body:block) => {
        $crate::lab::lab_test!($(#[$meta])* $name, [], |$lab| $body);
    };
    ($(#[$meta:meta])* $name:ident, [$($need:literal),*], |$lab:ident| $body:block) => {
        $(#[$meta])*
        #[test]
        fn $name() {
            let path = concat!(module_path!(), "::", stringify!($name));
            $crate::lab::run_test(path, &[$($need),*], |$lab: &$crate::lab::Lab| $body);
        }
    };
}
pub(crate) use lab_test;

/// One test's laboratory.
pub struct Lab {
    pub far: Far,
    /// Whether this kernel has IPv6.
    pub ipv6: bool,
    dir: run::TempDir,
    peer: Cell<bool>,
}

/// The other end of `lab.veth()`: a network namespace named `peer`.
pub struct Peer;

/// What `lab_test!` calls: the test itself if inside, else the test inside.
pub fn run_test(path: &str, needs: &[&str], body: fn(&Lab)) {
    // libtest knows the test without the crate's name.
    let name = path.split_once("::").map_or(path, |(_, name)| name);
    if env::var(INSIDE).is_ok_and(|inside| inside == name) {
        watch_parent();
        match Lab::new(needs) {
            Ok(lab) => body(&lab),
            Err(why) => write_stderr(&format!("{SKIP}{why}\n")),
        }
        return;
    }
    if let Err(why) = run_inside(name) {
        skip(name, &why);
    }
}

/// Says that a test cannot run here, past libtest's capture; fails it if the laboratory is required.
pub fn skip(name: &str, why: &str) {
    assert!(env::var("REACH_LAB").as_deref() != Ok("required"), "{name} cannot run here: {why}");
    write_stderr(&format!("skipped: {name}: {why}\n"));
}

fn write_stderr(line: &str) {
    let _ = io::stderr().write_all(line.as_bytes());
}

/// Runs the test in its namespaces; Err says why that is not possible here.
fn run_inside(name: &str) -> Result<(), String> {
    static UNSHARE: OnceLock<Result<Vec<&str>, String>> = OnceLock::new();
    let unshare = UNSHARE.get_or_init(find_unshare).clone()?;
    let exe = env::current_exe().map_err(|error| error.to_string())?;
    let mut command = Command::new("unshare");
    command.args(unshare).arg("--").arg(exe);
    command.args(["--exact", name, "--include-ignored"]);
    command.args(["--nocapture", "--test-threads=1"]);
    // Its directories go with ours, even if it is killed.
    let dir = run::TempDir::new();
    command.env("TMPDIR", dir.path());
    command.env(INSIDE, name).env("PATH", path());
    command.stdin(Stdio::null()).process_group(0);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|error| error.to_string())?;
    let stdout = run::gather(child.stdout.take().expect("stdout is a pipe"));
    let stderr = run::gather(child.stderr.take().expect("stderr is a pipe"));
    let mut status = None;
    wait_until(limit(), || {
        status = child.try_wait().expect("our own child");
        status.is_some()
    });
    // The whole group: also what the test may have left running.
    let _ = sys::kill(-(child.id() as i32), libc::SIGKILL);
    let _ = child.wait();
    let (stdout, stderr) = (stdout.text_at_end(), stderr.text_at_end());
    match status {
        None => panic!("not done in {:?}, killed\n{stdout}\n{stderr}", limit()),
        Some(status) if !status.success() => panic!("failed inside ({status})\n{stdout}\n{stderr}"),
        // A name that matches nothing would pass, having tested nothing.
        Some(_) => assert!(stdout.contains("1 passed"), "not run\n{stdout}\n{stderr}"),
    }
    match stderr.lines().find_map(|line| line.strip_prefix(SKIP)) {
        Some(why) => Err(why.to_owned()),
        None => {
            print!("{stdout}{stderr}");
            Ok(())
        }
    }
}

/// The options with which unshare makes the namespaces here.
fn find_unshare() -> Result<Vec<&'static str>, String> {
    let mut why = String::new();
    // Without a user namespace only root can; some machines that refuse the first allow that.
    for options in [vec!["--user", "--map-root-user", "--net", "--mount"], vec!["--net", "--mount"]] {
        let mut command = Command::new("unshare");
        match command.args(&options).args(["--", "true"]).output() {
            Ok(output) if output.status.success() => return Ok(options),
            Ok(output) if why.is_empty() => {
                let text = String::from_utf8_lossy(&output.stderr);
                why = format!("no namespaces: {}", text.trim().replace('\n', "; "));
            }
            Ok(_) => {}
            Err(error) => return Err(format!("cannot run unshare: {error}")),
        }
    }
    Err(why)
}

/// Ends this process group when the outer test is gone, or has forgotten us.
fn watch_parent() {
    let parent = parent_id();
    thread::spawn(move || {
        let gone = || parent_id() != parent;
        wait_until(limit() + Duration::from_secs(10), gone);
        let _ = sys::kill(0, libc::SIGKILL);
    });
}

/// PATH with the places where `ip` and `nft` are on systems that keep them from users.
fn path() -> String {
    let path = env::var("PATH").unwrap_or_default();
    format!("{path}:/usr/sbin:/sbin:/usr/bin:/bin")
}

/// Whether a program is installed.
pub fn installed(program: &str) -> bool {
    path().split(':').any(|dir| Path::new(dir).join(program).is_file())
}

/// Looks again and again until `done` says true; false if it has not in time.
pub fn wait_until(timeout: Duration, mut done: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + timeout;
    let mut pause = Duration::from_millis(1);
    loop {
        if done() {
            return true;
        }
        if Instant::now() >= end {
            return false;
        }
        thread::sleep(pause);
        // Ever more slowly, as what is looked at may be a long log and the machine a small one.
        pause = (pause * 2).min(Duration::from_millis(20));
    }
}

/// A listener on `address` whose backlog is full: no further connection is taken as long as both are kept.
pub fn full_listener(address: &str) -> (TcpListener, Vec<TcpStream>) {
    let listener = TcpListener::bind(address).expect("an address to listen on");
    sys::set_backlog(&listener, 0).expect("a backlog of 0");
    let at: SocketAddr = listener.local_addr().expect("our own address");
    // A backlog of 0 holds one; the try after that fails.
    let connect = |_| TcpStream::connect_timeout(&at, Duration::from_millis(300)).ok();
    let streams = (0..4).map_while(connect).collect();
    (listener, streams)
}

impl Lab {
    /// Sets up the namespace that this process is in. Err says what this machine lacks.
    fn new(needs: &[&str]) -> Result<Lab, String> {
        let ipv6 = Path::new("/proc/sys/net/ipv6").exists();
        for need in needs.iter().chain(&["ip"]) {
            let there = match *need {
                "ipv6" => ipv6,
                "raw" => true,
                program => installed(program),
            };
            if !there {
                return Err(format!("{need} is missing"));
            }
        }
        let far = Far::start("far0").map_err(|error| format!("no TUN device: {error}"))?;
        let lab = Lab { far, ipv6, dir: run::TempDir::new(), peer: Cell::new(false) };
        lab.set_up()?;
        if !needs.contains(&"raw") {
            lab.try_dgram()?;
        }
        Ok(lab)
    }

    fn set_up(&self) -> Result<(), String> {
        for which in ["all", "default", "far0"] {
            // Forged senders must reach the program, not be dropped by the kernel.
            try_sysctl(&format!("net.ipv4.conf.{which}.rp_filter"), "0")?;
            if self.ipv6 {
                // Addresses are usable at once, without duplicate detection.
                try_sysctl(&format!("net.ipv6.conf.{which}.accept_dad"), "0")?;
                try_sysctl(&format!("net.ipv6.conf.{which}.disable_ipv6"), "0")?;
            }
        }
        command("ip", &["link", "set", "lo", "up"])?;
        // One packet an IP packet (no fragments), and none dropped in a burst.
        self.try_ip("link set far0 mtu 65535 txqueuelen 10000")?;
        self.try_far_up()
    }

    fn try_far_up(&self) -> Result<(), String> {
        self.try_ip("link set far0 up")?;
        self.try_ip("addr replace 10.9.0.1/32 dev far0")?;
        self.try_ip("route replace 10.9.0.0/16 dev far0 src 10.9.0.1")?;
        if self.ipv6 {
            self.try_ip("addr replace fd09::1/128 dev far0 nodad")?;
            self.try_ip("route replace fd09::/64 dev far0 src fd09::1")?;
        }
        Ok(())
    }

    /// Takes `far0` down; the kernel then forgets its routes.
    pub fn far_down(&self) {
        self.ip("link set far0 down");
    }

    /// Brings `far0` up, with its addresses and routes.
    pub fn far_up(&self) {
        self.try_far_up().expect("far0 goes up");
    }

    /// Ends a test that finds it cannot run here: `return lab.skip("why")`.
    pub fn skip(&self, why: &str) {
        write_stderr(&format!("{SKIP}{why}\n"));
    }

    /// Dgram ping sockets work from now on (for a test that needs `raw`; else they do anyway).
    pub fn dgram(&self) {
        self.try_dgram().unwrap_or_else(|why| panic!("{why}"));
    }

    fn try_dgram(&self) -> Result<(), String> {
        try_sysctl("net.ipv4.ping_group_range", "0 0")
    }

    /// Runs `ip` with these words, and returns what it says.
    pub fn ip(&self, words: &str) -> String {
        self.try_ip(words).unwrap_or_else(|why| panic!("{why}"))
    }

    fn try_ip(&self, words: &str) -> Result<String, String> {
        command("ip", &words.split_whitespace().collect::<Vec<_>>())
    }

    /// Runs nft with these rules (many, with `;` or line ends between).
    pub fn nft(&self, rules: &str) -> String {
        command("nft", &[rules]).unwrap_or_else(|why| panic!("{why}"))
    }

    /// Sets a kernel value of this namespace: `lab.sysctl("net.ipv4.ip_forward", "1")`.
    pub fn sysctl(&self, name: &str, value: &str) {
        try_sysctl(name, value).unwrap_or_else(|why| panic!("{why}"));
    }

    /// Makes `own0` and, as its other end, a peer with a network namespace of its own, for tests that need ARP, a link
    /// that goes down, or another host's kernel.
    pub fn veth(&self) -> Peer {
        assert!(!self.peer.replace(true), "one veth a test");
        let done = command("mount", &["-t", "tmpfs", "lab", "/run"])
            .and_then(|_| self.try_ip("netns add peer"))
            .and_then(|_| self.try_ip("link add own0 type veth peer name own1 netns peer"));
        done.unwrap_or_else(|why| panic!("{why}"));
        self.ip("addr add 10.8.0.1/24 dev own0");
        self.ip("link set own0 up");
        let peer = Peer;
        peer.ip("addr add 10.8.0.2/24 dev own1");
        if self.ipv6 {
            // Kept when the link goes down, as IPv4 addresses are.
            self.sysctl("net.ipv6.conf.own0.keep_addr_on_down", "1");
            self.ip("addr add fd08::1/64 dev own0 nodad");
            peer.ip("addr add fd08::2/64 dev own1 nodad");
        }
        peer.ip("link set lo up");
        peer.ip("link set own1 up");
        peer
    }

    /// Puts a file with this text over the one at `path`, for this test alone. A second call changes the text.
    pub fn bind_file(&self, path: &str, text: &str) {
        let own = self.dir.path().join(path.replace('/', "_"));
        let first = !own.exists();
        fs::write(&own, text).expect("our own directory can be written to");
        if first {
            let own = own.to_str().expect("a plain path");
            command("mount", &["--bind", own, path]).unwrap_or_else(|why| panic!("{why}"));
        }
    }

    /// What resolvers are asked: `lab.resolv_conf("nameserver 127.0.0.1")`.
    pub fn resolv_conf(&self, text: &str) {
        self.bind_file("/etc/resolv.conf", &format!("{text}\n"));
        // Without other ways to a name: no mDNS, no resolver daemon.
        if Path::new("/etc/nsswitch.conf").exists() {
            self.bind_file("/etc/nsswitch.conf", "hosts: files dns\n");
        }
    }

    /// Starts a stub DNS server on 127.0.0.1 and makes it the only one.
    pub fn dns(&self) -> dns::Dns {
        self.resolv_conf("nameserver 127.0.0.1\noptions timeout:1 attempts:1");
        dns::Dns::start("127.0.0.1:53")
    }
}

impl Peer {
    /// Runs `ip` in the peer's namespace.
    pub fn ip(&self, words: &str) -> String {
        let mut args = vec!["-n", "peer"];
        args.extend(words.split_whitespace());
        command("ip", &args).unwrap_or_else(|why| panic!("{why}"))
    }

    /// Runs a program to its end in the peer's namespace.
    pub fn exec(&self, words: &[&str]) -> String {
        let mut args = vec!["netns", "exec", "peer"];
        args.extend(words);
        command("ip", &args).unwrap_or_else(|why| panic!("{why}"))
    }
}

fn try_sysctl(name: &str, value: &str) -> Result<(), String> {
    let path = format!("/proc/sys/{}", name.replace('.', "/"));
    fs::write(&path, value).map_err(|error| format!("cannot write {value} to {path}: {error}"))
}

/// Runs a program to its end: its stdout, or why it failed.
pub fn command(program: &str, args: &[&str]) -> Result<String, String> {
    let output = Command::new(program)
        .args(args)
        .env("PATH", path())
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("cannot run {program}: {error}"))?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr);
        let words = args.join(" ");
        return Err(format!("{program} {words}: {}", text.trim()).replace('\n', "; "));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
