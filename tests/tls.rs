//! Posting to Slack over TLS and through proxies. Needs no rights but for the tests with names (`lab_test!`).
//!
//! The TLS stand-in ends TLS before the plain stand-in of `lab::slack`, so what arrives is seen there.

#![cfg(feature = "tls")]
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

mod lab;

use lab::lab_test;
use lab::run::{Ended, Monitor, TempDir};
use lab::slack::{PATH, Slack};
use lab::wait_until;
use rcgen::{BasicConstraints, Certificate, CertificateParams, DnType, IsCa, KeyPair};
use rustls::crypto::ring::default_provider;
use rustls::pki_types::CertificateDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned, SupportedProtocolVersion, version};
use std::collections::VecDeque;
use std::fmt::Write as _;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

/// Long enough for the slowest machine; nothing waits so long unless it fails.
const LONG: Duration = Duration::from_secs(60);

/// The 10 s that a POST may take in all, and what a slow machine may add.
const GIVEN_UP: Duration = Duration::from_secs(15);

// Certificates.

/// Who issues certificates. A name of its own each: webpki finds the issuer by name.
struct Authority {
    cert: Certificate,
    key: KeyPair,
    /// What the server sends besides its own certificate: an authority that is no root.
    chain: Vec<CertificateDer<'static>>,
}

fn params(name: &str, years: (i32, i32)) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = rcgen::date_time_ymd(years.0, 1, 1);
    params.not_after = rcgen::date_time_ymd(years.1, 1, 1);
    params
}

/// Valid now, whenever that is.
const NOW: (i32, i32) = (2020, 4000);
const PAST: (i32, i32) = (2000, 2001);
const FUTURE: (i32, i32) = (3000, 4000);

/// The name in our URLs.
const HERE: &str = "127.0.0.1";

impl Authority {
    fn root(name: &str) -> Authority {
        let key = KeyPair::generate().unwrap();
        let mut params = params(name, NOW);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Authority { cert: params.self_signed(&key).unwrap(), key, chain: Vec::new() }
    }

    fn below(&self, name: &str) -> Authority {
        let key = KeyPair::generate().unwrap();
        let mut params = params(name, NOW);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let cert = params.signed_by(&key, &self.cert, &self.key).unwrap();
        Authority { chain: vec![cert.der().clone()], cert, key }
    }

    /// A server with a certificate for this name or address.
    fn server(&self, name: &str, years: (i32, i32)) -> Arc<ServerConfig> {
        self.server_with(name, years, rustls::ALL_VERSIONS)
    }

    fn server_with(
        &self,
        name: &str,
        years: (i32, i32),
        versions: &[&'static SupportedProtocolVersion],
    ) -> Arc<ServerConfig> {
        let key = KeyPair::generate().unwrap();
        let mut params = params("stand-in", years);
        params.subject_alt_names = CertificateParams::new(vec![name.to_owned()]).unwrap().subject_alt_names;
        let cert = params.signed_by(&key, &self.cert, &self.key).unwrap();
        server(&[&[cert.der().clone()], &*self.chain].concat(), &key, versions)
    }
}

fn server(
    chain: &[CertificateDer<'static>],
    key: &KeyPair,
    versions: &[&'static SupportedProtocolVersion],
) -> Arc<ServerConfig> {
    let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(versions)
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain.to_vec(), key.serialize_der().try_into().unwrap());
    Arc::new(config.unwrap())
}

/// A directory with the root's certificate in `ca.pem`, and that file's path.
fn ca_file(authority: &Authority) -> (TempDir, String) {
    let dir = TempDir::new();
    dir.write("ca.pem", authority.cert.pem());
    let path = dir.file("ca.pem");
    (dir, path)
}

// Stand-ins. Their threads live as long as the tests.

/// What becomes of one connection.
#[derive(Clone)]
enum Face {
    Tls(Arc<ServerConfig>),
    /// The handshake is answered after this time.
    Late(Duration, Arc<ServerConfig>),
    /// Taken, and never answered.
    Silent,
    /// A good handshake, and then no answer.
    SilentAfterHandshake(Arc<ServerConfig>),
    /// Answers this to whatever comes, and closes.
    Says(&'static [u8]),
}

/// A server with TLS before a stand-in for Slack.
struct Tls {
    address: SocketAddr,
    slack: Slack,
    face: Arc<Mutex<(VecDeque<Face>, Face)>>,
    /// How each connection ended, as far as it has: `posted`, or the error.
    ends: Arc<Mutex<Vec<(Instant, String)>>>,
    /// When each was taken.
    starts: Arc<Mutex<Vec<Instant>>>,
}

impl Tls {
    fn start(face: Face) -> Tls {
        Tls::planned(Vec::new(), face)
    }

    fn planned(plan: Vec<Face>, then: Face) -> Tls {
        let slack = Slack::start(vec![]);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let tls = Tls {
            address: listener.local_addr().unwrap(),
            face: Arc::new(Mutex::new((plan.into(), then))),
            ends: Arc::default(),
            starts: Arc::default(),
            slack,
        };
        let (face, ends, starts) = (tls.face.clone(), tls.ends.clone(), tls.starts.clone());
        let behind = address(&tls.slack);
        serve(listener, move |stream| {
            starts.lock().unwrap().push(Instant::now());
            let face = {
                let mut face = face.lock().unwrap();
                face.0.pop_front().unwrap_or(face.1.clone())
            };
            let end = face.serve(stream, behind).map_or_else(|error| error.to_string(), |()| "posted".to_owned());
            ends.lock().unwrap().push((Instant::now(), end));
        });
        tls
    }

    /// From now on it is this.
    fn becomes(&self, face: Face) {
        self.face.lock().unwrap().1 = face;
    }

    fn url(&self) -> String {
        format!("https://{}{PATH}", self.address)
    }

    fn tries(&self) -> usize {
        self.starts.lock().unwrap().len()
    }

    fn ends(&self) -> Vec<String> {
        self.ends.lock().unwrap().iter().map(|end| end.1.clone()).collect()
    }
}

impl Face {
    fn serve(self, mut stream: TcpStream, behind: SocketAddr) -> io::Result<()> {
        match self {
            Face::Tls(config) => {
                let mut tls = StreamOwned::new(ServerConnection::new(config).unwrap(), stream);
                let served = relay(&mut tls, behind);
                tls.conn.send_close_notify();
                let _ = tls.flush();
                served
            }
            Face::Late(time, config) => {
                thread::sleep(time);
                Face::Tls(config).serve(stream, behind)
            }
            Face::Silent => io::copy(&mut stream, &mut io::sink()).map(drop),
            Face::SilentAfterHandshake(config) => {
                let mut tls = StreamOwned::new(ServerConnection::new(config).unwrap(), stream);
                io::copy(&mut tls, &mut io::sink()).map(drop)
            }
            Face::Says(words) => {
                let _ = stream.read(&mut [0; 8192])?;
                stream.write_all(words)
            }
        }
    }
}

fn serve(listener: TcpListener, with: impl Fn(TcpStream) + Send + Sync + 'static) {
    let with = Arc::new(with);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let with = with.clone();
            thread::spawn(move || with(stream));
        }
    });
}

fn address(slack: &Slack) -> SocketAddr {
    slack.base().strip_prefix("http://").unwrap().parse().unwrap()
}

/// Hands requests on and answers back, until the client has no more.
fn relay(client: &mut (impl Read + Write), behind: SocketAddr) -> io::Result<()> {
    let mut behind = TcpStream::connect(behind)?;
    let mut served = false;
    loop {
        let request = match read_message(client) {
            Ok(request) => request,
            Err(_) if served => return Ok(()),
            Err(error) => return Err(error),
        };
        behind.write_all(&request)?;
        client.write_all(&read_message(&mut behind)?)?;
        client.flush()?;
        served = true;
    }
}

/// A request or an answer, to the end of its body.
fn read_message(from: &mut impl Read) -> io::Result<Vec<u8>> {
    let (mut message, mut chunk, mut whole) = (Vec::new(), [0; 4096], usize::MAX);
    while message.len() < whole {
        let length = from.read(&mut chunk)?;
        if length == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        message.extend(&chunk[..length]);
        if let Some(end) = message.windows(4).position(|four| four == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&message[..end]).to_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
            whole = end + 4 + length.map_or(0, |length| length.trim().parse().unwrap());
        }
    }
    Ok(message)
}

/// A proxy: takes CONNECT, and whole URLs; whatever name is asked for is at `behind`.
struct Proxy {
    address: SocketAddr,
    /// The heads of the requests to it.
    seen: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    fn start(behind: SocketAddr) -> Proxy {
        Proxy::with(move |request, mut client| {
            let mut behind = TcpStream::connect(behind)?;
            let head = String::from_utf8_lossy(&request);
            if head.starts_with("CONNECT ") {
                client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n")?;
                let (mut from, mut to) = (client.try_clone()?, behind.try_clone()?);
                thread::spawn(move || {
                    let _ = io::copy(&mut from, &mut to);
                    let _ = to.shutdown(Shutdown::Write);
                });
                let _ = io::copy(&mut behind, &mut client);
                return client.shutdown(Shutdown::Write);
            }
            // As a server gets it: without the host.
            let path = head.split(' ').nth(1).and_then(|url| url.splitn(4, '/').nth(3)).unwrap_or_default();
            let rest = head.split_once(" HTTP/1.1\r\n").unwrap().1;
            write!(behind, "{} /{path} HTTP/1.1\r\n{rest}", head.split(' ').next().unwrap())?;
            client.write_all(&read_message(&mut behind)?)
        })
    }

    /// Answers every request with these words.
    fn saying(words: &'static str) -> Proxy {
        Proxy::with(move |_, mut client| client.write_all(words.as_bytes()))
    }

    fn with(answer: impl Fn(Vec<u8>, TcpStream) -> io::Result<()> + Send + Sync + 'static) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let proxy = Proxy { address: listener.local_addr().unwrap(), seen: Arc::default() };
        let seen = proxy.seen.clone();
        serve(listener, move |mut client| {
            let Ok(request) = read_message(&mut client) else { return };
            let text = String::from_utf8_lossy(&request);
            seen.lock().unwrap().push(text.split_once("\r\n\r\n").unwrap().0.to_owned());
            let _ = answer(request, client);
        });
        proxy
    }

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }
}

/// A port that refuses connections, and is nobody else's as long as it is kept.
fn refusing() -> (socket2::Socket, SocketAddr) {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    (socket, address)
}

// Runs.

/// A service that is up, as a target named `db`.
fn target() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let target = format!("db={}", listener.local_addr().unwrap());
    (listener, target)
}

/// `--check` with this webhook and environment.
fn check(url: &str, ca_file: Option<&str>, env: &[(&str, &str)]) -> Ended {
    let mut args = vec!["--check", "db=127.0.0.1:9", "--slack-url", url];
    args.extend(ca_file.iter().flat_map(|file| ["--ca-file", file]));
    let mut setup = Monitor::with(&args);
    for (name, value) in env {
        setup = setup.env(name, value);
    }
    let ended = setup.run();
    shows_no_secret(&[&ended.stdout, &ended.stderr, &ended.log]);
    ended
}

/// The line about Slack.
fn slack_line(ended: &Ended) -> &str {
    let mut lines = ended.stdout.lines().filter(|line| line.get(6..).is_some_and(|what| what.starts_with("Slack: ")));
    let line = lines.next().unwrap_or_else(|| panic!("no line about Slack: {ended:?}"));
    assert_eq!(lines.next(), None, "{ended:?}");
    line
}

fn assert_taken(ended: &Ended) {
    assert_eq!(slack_line(ended), "ok    Slack: took the test message");
    assert_eq!(ended.code, Some(0), "{ended:?}");
}

/// `--check` says FAIL with all these words, and 2.
fn assert_fails(ended: &Ended, words: &[&str]) {
    let line = slack_line(ended);
    assert!(line.starts_with("FAIL  Slack: "), "{line}");
    for word in words {
        assert!(line.contains(word), "{word:?} is missing: {line}");
    }
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(2), ""), "{ended:?}");
}

fn shows_no_secret(texts: &[&str]) {
    for text in texts {
        for part in ["secret", "T000", "B000", "services"] {
            assert!(!text.contains(part), "{part} is shown: {text}");
        }
    }
}

/// A time within 10 minutes from now is among the words.
fn names_the_clock(text: &str) -> bool {
    text.split([' ', ';', ',', '(', ')']).filter_map(|word| humantime::parse_rfc3339(word).ok()).any(|time| {
        let off = SystemTime::now().duration_since(time).unwrap_or_else(|error| error.duration());
        off < Duration::from_secs(600)
    })
}

/// Runs these at the same time: most of it is waiting.
fn at_once<T: Send>(cases: Vec<T>, run: impl Fn(T) + Sync) {
    thread::scope(|scope| {
        let run = &run;
        let threads: Vec<_> = cases.into_iter().map(|case| scope.spawn(move || run(case))).collect();
        for thread in threads {
            if let Err(panic) = thread.join() {
                std::panic::resume_unwind(panic);
            }
        }
    });
}

/// Watches a target while Slack cannot be posted to. It must be tried again and again, and the program goes on. Then
/// `mend`: the message arrives, once. Returns what stderr said of it.
fn bad_then_mended(tls: &Tls, ca_file: Option<&str>, env: &[(&str, &str)], tries: usize, mend: impl Fn()) -> String {
    let (_db, target) = target();
    let url = tls.url();
    let mut args = vec![&*target, "--slack-url", &url];
    args.extend(ca_file.iter().flat_map(|file| ["--ca-file", file]));
    let mut setup = Monitor::with(&args);
    for (name, value) in env {
        setup = setup.env(name, value);
    }
    let mut monitor = setup.start();
    let dir = monitor.dir();
    assert!(monitor.wait_line(|all| all.stderr.contains("Slack did not take a message"), LONG));
    let said = monitor.output().stderr;
    assert!(said.contains("(1 waiting, tried again until it is taken)"), "not as what may pass: {said}");
    assert!(wait_until(LONG, || tls.tries() >= tries), "not tried again: {:?}", tls.ends());
    assert!(monitor.running(), "{:?}", monitor.output());
    assert_eq!(tls.slack.posts().len(), 0);
    shows_no_secret(&[&dir.read("reachability.state")]);
    mend();
    assert!(tls.slack.wait_delivered("Monitoring 1 target: db", LONG), "{:?}", tls.ends());
    assert!(monitor.wait_line(|all| all.stderr.contains("Slack takes messages again"), LONG));
    let ended = monitor.stop();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!(tls.slack.posts().len(), 1, "{:?}", tls.slack.delivered_texts());
    shows_no_secret(&[&ended.stdout, &ended.stderr, &ended.log, &dir.read("reachability.state")]);
    let lines: Vec<_> = said.lines().collect();
    let [line] = lines[..] else { panic!("more than one line: {said}") };
    line.strip_prefix("reachabilitycheck: Slack did not take a message: ").unwrap().to_owned()
}

// Certificates: good ones.

#[test]
fn a_root_of_our_own_is_trusted_with_ca_file() {
    let root = Authority::root("our root");
    let (_dir, ca) = ca_file(&root);
    let middle = root.below("our second");
    for (what, config) in [
        ("any version", root.server(HERE, NOW)),
        ("TLS 1.2", root.server_with(HERE, NOW, &[&version::TLS12])),
        ("TLS 1.3", root.server_with(HERE, NOW, &[&version::TLS13])),
        ("an authority between", middle.server(HERE, NOW)),
    ] {
        let tls = Tls::start(Face::Tls(config));
        let ended = check(&tls.url(), Some(&ca), &[]);
        assert_taken(&ended);
        let posts = tls.slack.posts();
        assert_eq!(posts.len(), 1, "{what}");
        assert!(posts[0].text.ends_with("Test message of reachabilitycheck --check"), "{what}: {posts:?}");
        assert!(posts[0].headers.contains(&("host".into(), tls.address.to_string())), "{what}: {posts:?}");
    }
}

#[test]
fn an_outage_is_told_over_tls() {
    let root = Authority::root("our root");
    let (_dir, ca) = ca_file(&root);
    let tls = Tls::start(Face::Tls(root.server(HERE, NOW)));
    let (db, target) = target();
    let monitor = Monitor::start(&[&target, "-i", "100ms", "--slack-url", &tls.url(), "--ca-file", &ca]);
    let dir = monitor.dir();
    assert!(tls.slack.wait_delivered("Monitoring 1 target: db", LONG));
    drop(db);
    assert!(tls.slack.wait_delivered("TCP connection to db is failing", LONG));
    let ended = monitor.stop();
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
    assert_eq!(tls.slack.posts().len(), 2);
    assert_eq!(ended.log.lines().count(), 3, "START, DOWN, STOP: {}", ended.log);
    shows_no_secret(&[&ended.stdout, &ended.log, &dir.read("reachability.state")]);
}

/// What many have in that file: the server's own certificate, with nobody above it.
#[test]
fn a_certificate_that_nobody_else_signed_is_trusted_with_ca_file() {
    let key = KeyPair::generate().unwrap();
    let cert = CertificateParams::new(vec![HERE.to_owned()]).unwrap().self_signed(&key).unwrap();
    let dir = TempDir::new();
    dir.write("ca.pem", cert.pem());
    let tls = Tls::start(Face::Tls(server(&[cert.der().clone()], &key, rustls::ALL_VERSIONS)));
    assert_taken(&check(&tls.url(), Some(&dir.file("ca.pem")), &[]));
}

/// The same as `openssl req -x509` makes it: it says of itself that it may sign others. rustls takes it as a root, but
/// not for a server; the words must say more than "TLS".
#[test]
fn a_root_that_is_the_server_itself_is_told() {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec![HERE.to_owned()]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let cert = params.self_signed(&key).unwrap();
    let dir = TempDir::new();
    dir.write("ca.pem", cert.pem());
    let tls = Tls::start(Face::Tls(server(&[cert.der().clone()], &key, rustls::ALL_VERSIONS)));
    assert_fails(&check(&tls.url(), Some(&dir.file("ca.pem")), &[]), &["TLS: ", "certificate", "CaUsedAsEndEntity"]);
}

/// Roots in a bundle with others, with comments, keys, Windows' line ends and without a last newline.
#[test]
fn a_bundle_of_roots_is_read_whole() {
    let (root, other) = (Authority::root("our root"), Authority::root("another root"));
    let tls = Tls::start(Face::Tls(root.server(HERE, NOW)));
    let dir = TempDir::new();
    let pem = format!("# ours\n{}{}{}", other.cert.pem(), other.key.serialize_pem(), root.cert.pem());
    let windows = pem.replace("\r\n", "\n").replace('\n', "\r\n");
    for text in [pem.as_str(), windows.as_str(), pem.trim_end()] {
        dir.write("bundle.pem", text);
        assert_taken(&check(&tls.url(), Some(&dir.file("bundle.pem")), &[]));
    }
    assert_eq!(tls.slack.posts().len(), 3);
}

/// The built-in roots are asked first, and --ca-file's only when they do not know the issuer.
#[test]
fn ca_file_is_asked_second_and_only_for_an_unknown_issuer() {
    let (root, other) = (Authority::root("our root"), Authority::root("another root"));
    let (_dir, ca) = ca_file(&root);
    let tls = Tls::start(Face::Tls(root.server(HERE, NOW)));
    for (what, config, ca_file, handshakes, delivered) in [
        ("unknown to the first", root.server(HERE, NOW), Some(&*ca), 2, true),
        ("unknown to both", other.server(HERE, NOW), Some(&*ca), 2, false),
        ("expired", root.server(HERE, PAST), Some(&*ca), 1, false),
        ("not valid yet", root.server(HERE, FUTURE), Some(&*ca), 1, false),
        ("for another name, which is looked at last", root.server("127.0.0.2", NOW), Some(&*ca), 2, false),
        ("without --ca-file", root.server(HERE, NOW), None, 1, false),
    ] {
        tls.becomes(Face::Tls(config));
        let (tries, posts) = (tls.tries(), tls.slack.posts().len());
        let ended = check(&tls.url(), ca_file, &[]);
        assert_eq!(ended.code, Some(if delivered { 0 } else { 2 }), "{what}: {ended:?}");
        assert_eq!(tls.tries() - tries, handshakes, "{what}: {:?}", tls.ends());
        assert_eq!(tls.slack.posts().len() - posts, usize::from(delivered), "{what}");
    }
}

// Certificates: bad ones.

#[test]
fn an_unknown_issuer_names_ca_file() {
    let root = Authority::root("our root");
    let tls = Tls::start(Face::Tls(root.server(HERE, NOW)));
    assert_fails(&check(&tls.url(), None, &[]), &["TLS: ", "unknown issuer", "--ca-file"]);
    // As well where there is a --ca-file, of somebody else.
    let (_dir, other) = ca_file(&Authority::root("another root"));
    assert_fails(&check(&tls.url(), Some(&other), &[]), &["TLS: ", "unknown issuer", "--ca-file"]);
    // A root of our root's name that is not ours.
    let (_dir, forged) = ca_file(&Authority::root("our root"));
    assert_fails(&check(&tls.url(), Some(&forged), &[]), &["TLS: "]);
    assert_eq!(tls.slack.posts().len(), 0);
    // Nothing is sent before it is known who listens.
    assert!(wait_until(LONG, || tls.ends().len() == tls.tries()));
    assert!(!tls.ends().contains(&"posted".to_owned()), "{:?}", tls.ends());
}

/// Built-in roots do not come to know our issuer later, so here a proxy's certificate is mended instead.
#[test]
fn an_unknown_issuer_is_tried_again_until_it_is_known() {
    let (root, other) = (Authority::root("our root"), Authority::root("another root"));
    let (_dir, ca) = ca_file(&root);
    let tls = Tls::start(Face::Tls(other.server(HERE, NOW)));
    let said = bad_then_mended(&tls, Some(&ca), &[], 4, || tls.becomes(Face::Tls(root.server(HERE, NOW))));
    assert!(said.contains("unknown issuer") && said.contains("--ca-file"), "{said}");
}

#[test]
fn an_unknown_issuer_does_not_end_the_program_without_ca_file() {
    let root = Authority::root("our root");
    let tls = Tls::start(Face::Tls(root.server(HERE, NOW)));
    let (_db, target) = target();
    let mut monitor = Monitor::start(&[&target, "--slack-url", &tls.url()]);
    assert!(monitor.wait_line(|all| all.stderr.contains("unknown issuer"), LONG));
    assert!(wait_until(LONG, || tls.tries() >= 2), "not tried again");
    assert!(monitor.running());
    let dir = monitor.dir();
    let ended = monitor.stop();
    assert_eq!(ended.code, Some(0));
    assert!(ended.stderr.contains("--ca-file"), "{}", ended.stderr);
    let kept = "reachabilitycheck: 1 notification was not delivered to Slack; the next start sends them";
    assert!(ended.stderr.lines().any(|line| line == kept), "{}", ended.stderr);
    shows_no_secret(&[&ended.stdout, &ended.stderr, &ended.log, &dir.read("reachability.state")]);
    // The next start has the root.
    let (_ca_dir, ca) = ca_file(&root);
    let args = [&*target, "--slack-url", &tls.url(), "--ca-file", &ca];
    let next = Monitor::with(&args).dir(&dir).start();
    assert!(tls.slack.wait_delivered("Monitoring 1 target: db", LONG));
    assert!(wait_until(LONG, || tls.slack.delivered_texts().concat().matches("Monitoring 1 target").count() == 2));
    assert_eq!(next.stop().code, Some(0));
}

fn expired(root: &Authority) -> Arc<ServerConfig> {
    root.server(HERE, PAST)
}

#[test]
fn an_expired_certificate_is_tried_again_until_it_is_renewed() {
    let root = Authority::root("our root");
    let (_dir, ca) = ca_file(&root);
    let tls = Tls::start(Face::Tls(expired(&root)));
    let said = bad_then_mended(&tls, Some(&ca), &[], 2, || tls.becomes(Face::Tls(root.server(HERE, NOW))));
    assert!(said.contains("TLS: ") && said.contains("expired"), "{said}");
}

#[test]
fn an_expired_certificate_names_this_machines_clock() {
    let root = Authority::root("our root");
    let (_dir, ca) = ca_file(&root);
    let tls = Tls::start(Face::Tls(expired(&root)));
    for ca_file in [None, Some(&*ca)] {
        let ended = check(&tls.url(), ca_file, &[]);
        assert_fails(&ended, &["TLS: ", "expired", "clock"]);
        assert!(names_the_clock(slack_line(&ended)), "{}", slack_line(&ended));
    }
}

#[test]
fn a_certificate_that_is_not_valid_yet_is_tried_again() {
    let root = Authority::root("our root");
    let (_dir, ca) = ca_file(&root);
    let tls = Tls::start(Face::Tls(root.server(HERE, FUTURE)));
    let said = bad_then_mended(&tls, Some(&ca), &[], 2, || tls.becomes(Face::Tls(root.server(HERE, NOW))));
    assert!(said.contains("TLS: ") && said.contains("not valid yet"), "{said}");
}

#[test]
fn a_certificate_that_is_not_valid_yet_names_this_machines_clock() {
    let root = Authority::root("our root");
    let (_dir, ca) = ca_file(&root);
    let tls = Tls::start(Face::Tls(root.server(HERE, FUTURE)));
    for ca_file in [None, Some(&*ca)] {
        let ended = check(&tls.url(), ca_file, &[]);
        assert_fails(&ended, &["TLS: ", "not valid yet", "clock"]);
        assert!(names_the_clock(slack_line(&ended)), "{}", slack_line(&ended));
    }
}

#[test]
fn a_certificate_for_another_name_is_tried_again() {
    let root = Authority::root("our root");
    let (_dir, ca) = ca_file(&root);
    let tls = Tls::start(Face::Tls(root.server("127.0.0.2", NOW)));
    let said = bad_then_mended(&tls, Some(&ca), &[], 4, || tls.becomes(Face::Tls(root.server(HERE, NOW))));
    assert!(said.contains("TLS: ") && said.contains("name"), "{said}");
}

#[test]
fn a_certificate_for_another_name_is_told() {
    let root = Authority::root("our root");
    let (_dir, ca) = ca_file(&root);
    // A name does not stand for an address.
    for name in ["127.0.0.2", "hooks.slack.com", "localhost"] {
        let tls = Tls::start(Face::Tls(root.server(name, NOW)));
        assert_fails(&check(&tls.url(), Some(&ca), &[]), &["TLS: ", "for another name", "proxy"]);
        assert_eq!(tls.slack.posts().len(), 0);
    }
}

lab_test!(a_certificate_counts_for_its_names_only, |lab| {
    lab.resolv_conf("nameserver 127.0.0.1");
    lab.bind_file("/etc/hosts", "127.0.0.1 localhost hooks.example.test a.b.example.test other.test\n");
    let root = Authority::root("our root");
    let (_dir, ca) = ca_file(&root);
    for (certificate, url, taken) in [
        ("hooks.example.test", "hooks.example.test", true),
        ("hooks.example.test", "HOOKS.Example.test", true),
        ("*.example.test", "hooks.example.test", true),
        ("*.example.test", "a.b.example.test", false),
        ("*.example.test", "other.test", false),
        ("hooks.example.test", "other.test", false),
        ("127.0.0.1", "hooks.example.test", false),
    ] {
        let tls = Tls::start(Face::Tls(root.server(certificate, NOW)));
        let url = format!("https://{url}:{}{PATH}", tls.address.port());
        let ended = check(&url, Some(&ca), &[]);
        match taken {
            true => assert_taken(&ended),
            false => assert_fails(&ended, &["TLS: "]),
        }
        assert_eq!(tls.slack.posts().len(), usize::from(taken), "{certificate} as {url}");
    }
});

// --ca-file itself.

#[test]
fn a_ca_file_that_cannot_be_used_is_refused() {
    let root = Authority::root("our root");
    let dir = TempDir::new();
    let pem = root.cert.pem();
    let lines: Vec<_> = pem.lines().collect();
    let damaged = [lines[0], "!!!! not base64 !!!!"].into_iter().chain(lines[2..].iter().copied());
    let (first, second) = (lines[..2].join("\n"), lines[3..].join("\n"));
    let mut wrong = String::new();
    let slack = Slack::start(vec![]);
    for (name, text) in [
        ("empty", String::new()),
        ("garbage", "\0\u{1}\u{2}garbage".repeat(100)),
        ("text", "Dear user, the certificate is in the other file.\n".to_owned()),
        ("key", root.key.serialize_pem()),
        ("damaged", damaged.collect::<Vec<_>>().join("\n")),
        ("open", first.clone()),
        ("second-damaged", format!("{pem}{first}\n!!!!\n{second}\n")),
    ] {
        dir.write(name, text);
        refused(&slack, &dir.file(name), name, &mut wrong);
    }
    refused(&slack, &dir.file("missing"), "missing", &mut wrong);
    refused(&slack, dir.path().to_str().unwrap(), "directory", &mut wrong);
    assert_eq!(wrong, "");
    assert_eq!(slack.posts().len(), 0);
}

#[test]
fn a_ca_file_with_what_is_no_certificate_is_refused() {
    let pem = Authority::root("our root").cert.pem();
    // A line is missing.
    let torn = pem.lines().enumerate().filter(|(at, _)| *at != 2).map(|(_, line)| format!("{line}\n")).collect();
    let nonsense = "-----BEGIN CERTIFICATE-----\nbm90IGEgY2VydGlmaWNhdGU=\n-----END CERTIFICATE-----\n".to_owned();
    let (dir, slack, mut wrong) = (TempDir::new(), Slack::start(vec![]), String::new());
    for (name, text) in [("torn", torn), ("nonsense", nonsense)] {
        dir.write(name, text);
        refused(&slack, &dir.file(name), name, &mut wrong);
    }
    assert_eq!(wrong, "");
}

/// Both ways of running say one line that names option and file, and nothing else, and 2.
fn refused(slack: &Slack, path: &str, what: &str, wrong: &mut String) {
    for more in [&["--check"][..], &[], &["-n", "1"]] {
        let url = slack.url();
        let mut args = vec!["db=127.0.0.1:9", "--slack-url", &url, "--ca-file", path];
        args.extend(more);
        let mut monitor = Monitor::start(&args);
        // The one that is not refused would run for ever.
        wait_until(LONG, || !monitor.running() || monitor.log().contains("START"));
        let ends = !monitor.running();
        let ended = monitor.stop();
        let line = ended.stderr.trim_end();
        let named = line.starts_with(&format!("reachabilitycheck: --ca-file: {path} cannot be "));
        let good = ends && ended.code == Some(2) && named && line.lines().count() == 1 && ended.stdout.is_empty();
        if !good {
            let _ = writeln!(wrong, "{what} {more:?}: {:?}: {}{}", ended.code, ended.stdout, ended.stderr);
        }
        shows_no_secret(&[&ended.stdout, &ended.stderr, &ended.log]);
    }
}

#[test]
fn a_name_with_control_characters_is_shown_on_one_line() {
    let dir = TempDir::new();
    let path = dir.file("a\nb\u{1b}[2Jc");
    let ended =
        lab::run::run(&["--check", "db=127.0.0.1:9", "--slack-url", "http://127.0.0.1:9/x", "--ca-file", &path]);
    assert_eq!((ended.code, ended.stderr.lines().count()), (Some(2), 1), "{ended:?}");
    assert!(ended.stderr.contains("--ca-file: ") && !ended.stderr.contains('\u{1b}'), "{ended:?}");
}

// Not the protocol that the URL says.

#[test]
fn a_plain_server_behind_an_https_url_is_told() {
    // As nginx says it, as a server says nothing, as one that speaks something else.
    for says in [
        &b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"[..],
        b"",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"\x16\x03\x03\xff\xff",
    ] {
        let tls = Tls::start(Face::Says(says));
        let words: &[&str] = if says.is_empty() { &[] } else { &["TLS"] };
        assert_fails(&check(&tls.url(), None, &[]), words);
    }
}

#[test]
fn a_plain_server_behind_an_https_url_is_tried_again() {
    let root = Authority::root("our root");
    let (_dir, ca) = ca_file(&root);
    let tls = Tls::start(Face::Says(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"));
    bad_then_mended(&tls, Some(&ca), &[], 2, || tls.becomes(Face::Tls(root.server(HERE, NOW))));
}

#[test]
fn a_tls_server_behind_an_http_url_is_told() {
    let root = Authority::root("our root");
    let tls = Tls::start(Face::Tls(root.server(HERE, NOW)));
    assert_fails(&check(&tls.url().replace("https:", "http:"), None, &[]), &["not HTTP"]);
}

#[test]
fn a_hanging_handshake_is_given_up_in_time() {
    let root = Authority::root("our root");
    let good = root.server(HERE, NOW);
    let cases = vec![
        ("no answer to the handshake", false, Tls::start(Face::Silent)),
        ("no answer after it", false, Tls::planned(vec![Face::Tls(good.clone())], Face::SilentAfterHandshake(good))),
        ("no answer of a proxy", true, Tls::start(Face::Silent)),
    ];
    at_once(cases, |(what, proxy, tls)| is_given_up_in_time(what, proxy, &tls, &root));
}

#[test]
fn both_handshakes_together_are_given_up_in_time() {
    let root = Authority::root("our root");
    let late = Face::Late(Duration::from_secs(8), root.server(HERE, NOW));
    is_given_up_in_time("a slow one, then none", false, &Tls::planned(vec![late], Face::Silent), &root);
}

/// Given up after 10 s in all, and checks go on meanwhile. Delivered when the server is well.
fn is_given_up_in_time(what: &str, proxy: bool, tls: &Tls, root: &Authority) {
    let (_dir, ca) = ca_file(root);
    let (db, target) = target();
    db.set_nonblocking(true).unwrap();
    let url = if proxy { format!("https://127.0.0.1:9{PATH}") } else { tls.url() };
    let setup = Monitor::with(&[&target, "-i", "20ms", "--slack-url", &url, "--ca-file", &ca]);
    let setup = if proxy { setup.env("https_proxy", format!("http://{}", tls.address)) } else { setup };
    let monitor = setup.start();
    assert!(wait_until(LONG, || tls.tries() > 0), "{what}");
    let mut checks = 0;
    let given_up = wait_until(LONG, || {
        checks += db.incoming().map_while(Result::ok).count();
        monitor.output().stderr.contains("Slack did not take a message: ")
    });
    assert!(given_up, "{what}");
    let took = tls.starts.lock().unwrap()[0].elapsed();
    let said = monitor.output().stderr;
    assert!(said.contains("timed out"), "{what}: {said}");
    assert!(took > Duration::from_secs(9) && took < GIVEN_UP, "{what}: given up after {took:?}");
    // Every 20 ms, were the machine not slow.
    assert!(checks > 50, "{what}: {checks} checks in {took:?}");
    tls.becomes(Face::Tls(root.server(HERE, NOW)));
    assert!(proxy || tls.slack.wait_delivered("Monitoring 1 target: db", LONG), "{what}");
    let ended = monitor.stop();
    assert_eq!(ended.code, Some(0), "{what}");
    shows_no_secret(&[&ended.stdout, &ended.stderr, &ended.log]);
}

// Proxies, as curl has them.

/// Which way a message went.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Way {
    Direct,
    /// By CONNECT, which is how https goes.
    Tunnel,
    /// The whole URL is given to the proxy, which is how http goes.
    WholeUrl,
    /// Not at all.
    Refused,
}

use Way::{Direct, Refused, Tunnel, WholeUrl};

/// `--check` with `GOOD`, the proxy, and `DOWN`, one that refuses, for their URLs in each value; which way it went.
fn way(https: bool, host: &str, env: &[(&str, &str)]) -> Way {
    let root = Authority::root("our root");
    let (_dir, ca) = ca_file(&root);
    let tls = Tls::start(Face::Tls(root.server(host, NOW)));
    let port = if https { tls.address.port() } else { address(&tls.slack).port() };
    let proxy = Proxy::start(SocketAddr::from(([127, 0, 0, 1], port)));
    let (_down, down) = refusing();
    let put = |value: &str| {
        let good = value.replace("GOOD", &proxy.address.to_string());
        good.replace("DOWN", &down.to_string())
    };
    let env: Vec<_> = env.iter().map(|(name, value)| (*name, put(value))).collect();
    let env: Vec<_> = env.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let scheme = if https { "https" } else { "http" };
    let ended = check(&format!("{scheme}://{host}:{port}{PATH}"), Some(&ca), &env);
    let (seen, posts) = (proxy.seen(), tls.slack.posts().len());
    assert_eq!(ended.code, Some(if posts == 1 { 0 } else { 2 }), "{ended:?}");
    let Some(head) = seen.first() else {
        return if posts == 1 { Direct } else { Refused };
    };
    assert_eq!(posts, 1, "by the proxy, but not delivered: {seen:?} {ended:?}");
    let words: Vec<_> = head.split(' ').take(2).collect();
    if words == ["CONNECT", &format!("{host}:{port}")] {
        // An unknown issuer makes it two connections.
        assert_eq!(seen.len(), if https { 2 } else { 1 }, "{seen:?}");
        assert!(!https || !seen.concat().contains("secret"), "the proxy saw the secret: {seen:?}");
        return Tunnel;
    }
    assert_eq!(words, ["POST", &format!("http://{host}:{port}{PATH}")]);
    WholeUrl
}

/// https or http, the environment, and the way of it.
type Case<'a> = (bool, &'a [(&'a str, &'a str)], Way);

/// All that does not go as it should, a line each.
fn wrong_ways(cases: &[Case]) -> String {
    let mut wrong = String::new();
    for (https, env, wanted) in cases {
        let went = way(*https, HERE, env);
        if went != *wanted {
            let _ = writeln!(wrong, "{} {env:?}: {went:?}, not {wanted:?}", if *https { "https" } else { "http" });
        }
    }
    wrong
}

#[test]
fn https_goes_by_the_proxy_of_the_environment() {
    let wrong = wrong_ways(&[
        (true, &[], Direct),
        (true, &[("https_proxy", "http://GOOD")], Tunnel),
        (true, &[("HTTPS_PROXY", "http://GOOD")], Tunnel),
        (true, &[("all_proxy", "http://GOOD")], Tunnel),
        (true, &[("ALL_PROXY", "http://GOOD")], Tunnel),
        // Without a scheme it is HTTP; a slash at its end is nothing.
        (true, &[("https_proxy", "GOOD")], Tunnel),
        (true, &[("https_proxy", "http://GOOD/")], Tunnel),
        (true, &[("https_proxy", "http://user:word@GOOD")], Tunnel),
        (true, &[("https_proxy", "http://DOWN")], Refused),
        // The one for http says nothing of https where there is one for https.
        (true, &[("https_proxy", "http://GOOD"), ("http_proxy", "http://DOWN")], Tunnel),
        (true, &[("https_proxy", "http://DOWN"), ("http_proxy", "http://GOOD")], Refused),
    ]);
    assert_eq!(wrong, "");
}

#[test]
fn no_proxy_leaves_the_proxy_out() {
    let with = |name, list| [("https_proxy", "http://DOWN"), (name, list)];
    let wrong = wrong_ways(&[
        (true, &with("no_proxy", "127.0.0.1"), Direct),
        (true, &with("NO_PROXY", "127.0.0.1"), Direct),
        (true, &with("no_proxy", "*"), Direct),
        (true, &with("no_proxy", "example.test,127.0.0.1"), Direct),
        (true, &with("no_proxy", "127.0.0.2,example.test"), Refused),
        (true, &with("no_proxy", ""), Refused),
        (true, &with("no_proxy", "27.0.0.1"), Refused),
        (true, &[("all_proxy", "http://DOWN"), ("NO_PROXY", "127.0.0.1")], Direct),
        (false, &[("all_proxy", "http://DOWN"), ("no_proxy", "127.0.0.1")], Direct),
    ]);
    assert_eq!(wrong, "");
}

#[test]
fn the_proxy_is_that_of_the_urls_scheme() {
    let wrong = wrong_ways(&[
        // http_proxy is for http alone, and HTTP_PROXY is none: a CGI client could set it by a header.
        (true, &[("http_proxy", "http://DOWN")], Direct),
        (true, &[("HTTP_PROXY", "http://DOWN")], Direct),
        (false, &[("HTTP_PROXY", "http://DOWN")], Direct),
        (false, &[("https_proxy", "http://DOWN")], Direct),
        (false, &[("HTTPS_PROXY", "http://DOWN")], Direct),
        // all_proxy is for what has none of its own; lower case comes first.
        (true, &[("https_proxy", "http://GOOD"), ("all_proxy", "http://DOWN")], Tunnel),
        (true, &[("https_proxy", "http://GOOD"), ("ALL_PROXY", "http://DOWN")], Tunnel),
        (true, &[("https_proxy", "http://GOOD"), ("HTTPS_PROXY", "http://DOWN")], Tunnel),
        (true, &[("all_proxy", "http://GOOD"), ("ALL_PROXY", "http://DOWN")], Tunnel),
        (true, &[("https_proxy", "http://DOWN"), ("no_proxy", "127.0.0.1"), ("NO_PROXY", "x.test")], Direct),
        // An empty one is none.
        (true, &[("https_proxy", "")], Direct),
        (true, &[("https_proxy", ""), ("HTTPS_PROXY", "http://GOOD")], Tunnel),
        (true, &[("https_proxy", ""), ("all_proxy", "http://GOOD")], Tunnel),
        (true, &[("https_proxy", ""), ("http_proxy", "http://DOWN")], Direct),
    ]);
    assert_eq!(wrong, "");
}

/// By CONNECT, as for https; curl would give the proxy the whole URL.
#[test]
fn http_goes_through_the_proxy_by_connect() {
    let wrong = wrong_ways(&[
        (false, &[("http_proxy", "http://GOOD")], Tunnel),
        (false, &[("all_proxy", "http://GOOD")], Tunnel),
        (false, &[("ALL_PROXY", "http://GOOD")], Tunnel),
    ]);
    assert_eq!(wrong, "");
}

#[test]
fn no_proxy_may_have_blanks_and_networks() {
    let with = |list| [("https_proxy", "http://DOWN"), ("no_proxy", list)];
    let wrong = wrong_ways(&[
        (true, &with("example.test, 127.0.0.1"), Direct),
        (true, &with(" 127.0.0.1 "), Direct),
        (true, &with("example.test 127.0.0.1"), Direct),
        (true, &with("127.0.0.0/8"), Direct),
        (true, &with("10.0.0.0/8"), Refused),
    ]);
    assert_eq!(wrong, "");
}

/// A proxy that cannot be used must not be passed over in silence: what it kept in would go out.
#[test]
fn a_proxy_that_cannot_be_used_is_told() {
    let wrong = wrong_ways(&[
        (true, &[("https_proxy", "http://")], Refused),
        (true, &[("https_proxy", "http://a b/")], Refused),
        (true, &[("https_proxy", "nonsense://127.0.0.1:9")], Refused),
        (true, &[("https_proxy", "socks4://DOWN")], Refused),
        (true, &[("https_proxy", "socks5://DOWN")], Refused),
        (true, &[("https_proxy", "socks5h://DOWN")], Refused),
    ]);
    assert_eq!(wrong, "");
}

lab_test!(the_proxy_resolves_the_name_and_no_proxy_knows_names, |lab| {
    lab.resolv_conf("nameserver 127.0.0.1");
    // In no file and no DNS here.
    assert_eq!(way(true, "far.example.test", &[("https_proxy", "http://GOOD")]), Tunnel);
    lab.bind_file("/etc/hosts", "127.0.0.1 localhost hooks.example.test proxy.test\n");
    let with = |list| [("https_proxy", "http://DOWN"), ("no_proxy", list)];
    assert_eq!(way(true, "hooks.example.test", &with("hooks.example.test")), Direct);
    assert_eq!(way(true, "hooks.example.test", &with("HOOKS.example.TEST")), Direct);
    assert_eq!(way(true, "hooks.example.test", &with(".example.test")), Direct);
    assert_eq!(way(true, "hooks.example.test", &with("other.test")), Refused);
    assert_eq!(way(true, "hooks.example.test", &with("ooks.example.test")), Refused);
});

lab_test!(no_proxy_covers_the_names_below_a_name, |lab| {
    lab.resolv_conf("nameserver 127.0.0.1");
    lab.bind_file("/etc/hosts", "127.0.0.1 localhost hooks.example.test example.test\n");
    let with = |list| [("https_proxy", "http://DOWN"), ("no_proxy", list)];
    let mut wrong = String::new();
    for (host, list) in [("hooks.example.test", "example.test"), ("example.test", ".example.test")] {
        let went = way(true, host, &with(list));
        if went != Direct {
            let _ = writeln!(wrong, "{host} with no_proxy={list}: {went:?}");
        }
    }
    assert_eq!(wrong, "");
});

#[test]
fn the_proxy_gets_its_user_and_nobody_else_does() {
    let root = Authority::root("our root");
    let (_dir, ca) = ca_file(&root);
    let tls = Tls::start(Face::Tls(root.server(HERE, NOW)));
    let proxy = Proxy::start(tls.address);
    let url = proxy.url().replace("//", "//jane:pa%24%24word@");
    let ended = check(&tls.url(), Some(&ca), &[("https_proxy", &url)]);
    assert_taken(&ended);
    for head in proxy.seen() {
        let given = head.lines().find(|line| line.to_lowercase().starts_with("proxy-authorization: "));
        // jane:pa$$word
        assert_eq!(given.map(|line| &line[21..]), Some("Basic amFuZTpwYSQkd29yZA=="), "{head}");
    }
    let posts = tls.slack.posts();
    assert!(!posts[0].headers.iter().any(|(name, _)| name.starts_with("proxy-")), "{posts:?}");
    // A proxy that refuses them: they are in no words.
    let proxy = Proxy::saying("HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n");
    let url = proxy.url().replace("//", "//jane:pa%24%24word@");
    let ended = check(&tls.url(), Some(&ca), &[("https_proxy", &url)]);
    assert_eq!(ended.code, Some(2));
    for word in ["jane", "pa$$word", "pa%24", "amFuZ"] {
        assert!(!format!("{ended:?}").contains(word), "{ended:?}");
    }
}

/// A proxy that does not work is one more thing that may pass: tried again, and the message arrives once it does.
#[test]
fn a_proxy_that_is_down_is_tried_again_until_it_is_up() {
    let root = Authority::root("our root");
    let (_dir, ca) = ca_file(&root);
    let tls = Tls::start(Face::Tls(root.server(HERE, NOW)));
    let (socket, down) = refusing();
    let socket = Mutex::new(Some(socket));
    let url = format!("http://{down}");
    let said = bad_then_mended(&tls, Some(&ca), &[("https_proxy", &url)], 0, || {
        // The same port is now a proxy.
        socket.lock().unwrap().take();
        let listener = TcpListener::bind(down).unwrap();
        let to = tls.address;
        serve(listener, move |mut client| {
            let _ = read_message(&mut client);
            let _ = client.write_all(b"HTTP/1.1 200 OK\r\n\r\n");
            let mut behind = TcpStream::connect(to).unwrap();
            let (mut from, mut into) = (client.try_clone().unwrap(), behind.try_clone().unwrap());
            thread::spawn(move || io::copy(&mut from, &mut into));
            let _ = io::copy(&mut behind, &mut client);
        });
    });
    assert!(said.contains("refused"), "{said}");
    assert!(said.contains("proxy"), "{said}");
}

#[test]
fn what_a_proxy_refuses_is_told_with_its_status() {
    for (says, words) in [
        ("HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic\r\nContent-Length: 0\r\n\r\n", "407"),
        ("HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n", "403"),
        ("HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n", "502"),
    ] {
        let proxy = Proxy::saying(says);
        let ended = check(&format!("https://127.0.0.1:9{PATH}"), None, &[("https_proxy", &proxy.url())]);
        assert_eq!(proxy.seen().len(), 1, "{words}");
        assert_fails(&ended, &["proxy", words]);
    }
}

/// A 407 is the proxy's, not Slack's: no permanent refusal, or START would end the program.
#[test]
fn what_a_proxy_refuses_is_not_permanent() {
    for status in ["407 Proxy Authentication Required", "403 Forbidden", "404 Not Found"] {
        let words: &'static str = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n").leak();
        let (_db, target) = target();
        let proxy = Proxy::saying(words);
        let url = format!("https://127.0.0.1:9{PATH}");
        let args = [&*target, "--slack-url", &url];
        let mut monitor = Monitor::with(&args).env("https_proxy", proxy.url()).start();
        assert!(wait_until(LONG, || proxy.seen().len() >= 2), "{status}: not tried again");
        assert!(monitor.running(), "{status}");
        let ended = monitor.stop();
        assert!(ended.stderr.contains("tried again until it is taken"), "{status}: {}", ended.stderr);
        assert!(proxy.seen().iter().all(|head| !head.contains("secret")), "the proxy saw the secret");
        shows_no_secret(&[&ended.stdout, &ended.stderr, &ended.log]);
    }
}

/// A proxy that takes CONNECT and says nothing, or nonsense, or closes.
#[test]
fn a_proxy_that_makes_no_sense_is_no_delivery() {
    for says in ["", "SSH-2.0-OpenSSH_9.2\r\n\r\n", "HTTP/1.1 200 OK\r\n\r\nno TLS here"] {
        let proxy = Proxy::saying(says);
        let ended = check(&format!("https://127.0.0.1:9{PATH}"), None, &[("https_proxy", &proxy.url())]);
        assert_fails(&ended, &[]);
    }
}
