//! A stand-in for Slack's Incoming Webhooks: an HTTP/1.1 server on loopback that answers as planned, well or badly, and
//! keeps what it was sent. Works outside a laboratory too.

use super::{sys, wait_until};
use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// The path of the webhook; its last part is what must never be shown.
pub const PATH: &str = "/services/T000/B000/secretsecret";
/// More connections than this at a time are closed at once.
const MOST: usize = 64;

/// What becomes of one request.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// 200 with the body `ok`: delivered.
    Ok,
    Status(u16, &'static str),
    /// A status with `Retry-After`, in seconds.
    RetryAfter(u16, u64),
    /// 200 with another body, as a captive portal says it.
    Body200(String),
    /// 302 to this URL.
    Redirect(String),
    /// The connection is reset once the request was read.
    Reset,
    /// The connection is closed once the request was read.
    Close,
    /// Nothing for this long, then closed.
    Hang(Duration),
    /// `200 ok`, but of the header one byte each 500 ms.
    DripHeader,
    /// The same with a body, of 1,000 bytes.
    DripBody,
}

/// One request that came in.
#[derive(Clone, Debug)]
pub struct Post {
    /// When all of it had come.
    pub at: Instant,
    pub method: String,
    pub path: String,
    /// The names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: String,
    /// The field `text` of the JSON body.
    pub text: String,
    pub answered: Answer,
    /// Slack would show it: answered with `Ok`, whether or not the sender lived to read that.
    pub delivered: bool,
}

/// The stand-in. Stops when dropped.
pub struct Slack {
    port: u16,
    shared: Arc<Mutex<Shared>>,
    listening: Option<(Arc<AtomicBool>, JoinHandle<()>)>,
}

struct Shared {
    plan: VecDeque<Answer>,
    otherwise: Answer,
    posts: Vec<Post>,
    others: Vec<Post>,
}

impl Slack {
    /// Answers as planned, then always `Ok`.
    pub fn start(plan: Vec<Answer>) -> Slack {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port on loopback");
        let port = listener.local_addr().expect("our own address").port();
        let mut slack = Slack {
            port,
            shared: Arc::new(Mutex::new(Shared {
                plan: plan.into(),
                otherwise: Answer::Ok,
                posts: Vec::new(),
                others: Vec::new(),
            })),
            listening: None,
        };
        slack.listen(listener);
        slack
    }

    pub fn url(&self) -> String {
        format!("{}{PATH}", self.base())
    }

    /// `http://127.0.0.1:PORT`: any other path answers `200 ok`, uses up no plan and is kept in `others`.
    pub fn base(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Adds to the plan.
    pub fn plan(&self, more: Vec<Answer>) {
        lock(&self.shared).plan.extend(more);
    }

    /// What is answered when the plan is used up.
    pub fn otherwise(&self, answer: Answer) {
        lock(&self.shared).otherwise = answer;
    }

    /// What was sent to the webhook, oldest first.
    pub fn posts(&self) -> Vec<Post> {
        lock(&self.shared).posts.clone()
    }

    /// Requests for anything but the webhook (a followed redirect, a heartbeat).
    pub fn others(&self) -> Vec<Post> {
        lock(&self.shared).others.clone()
    }

    /// The texts that Slack would show.
    pub fn delivered_texts(&self) -> Vec<String> {
        let shared = lock(&self.shared);
        let delivered = shared.posts.iter().filter(|post| post.delivered);
        delivered.map(|post| post.text.clone()).collect()
    }

    /// Waits until this many posts have come; false if they have not in time.
    pub fn wait_posts(&self, n: usize, timeout: Duration) -> bool {
        wait_until(timeout, || lock(&self.shared).posts.len() >= n)
    }

    /// Waits until `wanted` is in what was delivered.
    pub fn wait_delivered(&self, wanted: &str, timeout: Duration) -> bool {
        wait_until(timeout, || {
            let shared = lock(&self.shared);
            let mut posts = shared.posts.iter();
            posts.any(|post| post.delivered && post.text.contains(wanted))
        })
    }

    /// An outage: connections are refused, and open ones closed.
    pub fn stop(&mut self) {
        if let Some((stop, thread)) = self.listening.take() {
            stop.store(true, Ordering::Relaxed);
            let _ = thread.join();
        }
    }

    /// The end of the outage, on the same port.
    pub fn restart(&mut self) {
        self.stop();
        let mut listener = None;
        // The port may still be held for a moment by a connection that is being closed.
        wait_until(Duration::from_secs(10), || {
            listener = TcpListener::bind(("127.0.0.1", self.port)).ok();
            listener.is_some()
        });
        self.listen(listener.expect("the port is free again"));
    }

    fn listen(&mut self, listener: TcpListener) {
        let stop = Arc::new(AtomicBool::new(false));
        let (shared, stopped) = (self.shared.clone(), stop.clone());
        let thread = thread::spawn(move || accept(&listener, &shared, &stopped));
        self.listening = Some((stop, thread));
    }
}

impl Drop for Slack {
    fn drop(&mut self) {
        self.stop();
    }
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

fn accept(listener: &TcpListener, shared: &Arc<Mutex<Shared>>, stop: &Arc<AtomicBool>) {
    let mut threads: Vec<JoinHandle<()>> = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        threads.retain(|thread| !thread.is_finished());
        if !sys::wait_readable(listener, Duration::from_millis(50)) {
            continue;
        }
        let Ok((stream, _)) = listener.accept() else {
            continue;
        };
        if threads.len() < MOST {
            let (shared, stop) = (shared.clone(), stop.clone());
            threads.push(thread::spawn(move || serve(stream, &shared, &stop)));
        }
    }
    for thread in threads {
        let _ = thread.join();
    }
}

/// Serves one connection until it is closed or the stand-in stops.
fn serve(mut stream: TcpStream, shared: &Mutex<Shared>, stop: &AtomicBool) {
    let _ = stream.set_read_timeout(Some(Duration::from_millis(50)));
    let _ = stream.set_write_timeout(Some(Duration::from_secs(5)));
    let mut buffer = Vec::new();
    while let Some(mut post) = read_request(&mut stream, &mut buffer, stop) {
        {
            let mut shared = lock(shared);
            if post.method == "POST" && post.path == PATH {
                post.answered = shared.plan.pop_front().unwrap_or(shared.otherwise.clone());
                post.delivered = post.answered == Answer::Ok;
                shared.posts.push(post.clone());
            } else {
                shared.others.push(post.clone());
            }
        }
        let last = |(name, value): &(String, String)| name == "connection" && value == "close";
        if !give(&mut stream, &post.answered, stop) || post.headers.iter().any(last) {
            return;
        }
    }
}

/// Gives one answer; true if the connection can serve another.
fn give(stream: &mut TcpStream, answer: &Answer, stop: &AtomicBool) -> bool {
    let response = match answer {
        Answer::Ok => response(200, "", "ok"),
        Answer::Status(status, body) => response(*status, "", body),
        Answer::RetryAfter(status, seconds) => {
            let header = format!("Retry-After: {seconds}\r\n");
            response(*status, &header, "rate_limited")
        }
        Answer::Body200(body) => response(200, "", body),
        Answer::Redirect(url) => response(302, &format!("Location: {url}\r\n"), "moved"),
        Answer::Reset => {
            let _ = sys::reset_on_close(stream);
            return false;
        }
        Answer::Close => return false,
        Answer::Hang(time) => {
            wait_until(*time, || stop.load(Ordering::Relaxed));
            return false;
        }
        Answer::DripHeader => {
            drip(stream, &response(200, "", "ok"), stop);
            return false;
        }
        Answer::DripBody => {
            let whole = response(200, "", &"x".repeat(1000));
            let (header, body) = whole.split_at(whole.len() - 1000);
            if stream.write_all(header.as_bytes()).is_ok() {
                drip(stream, body, stop);
            }
            return false;
        }
    };
    stream.write_all(response.as_bytes()).is_ok()
}

/// Sends a byte each 500 ms for a minute at most, until the other side has had enough.
fn drip(stream: &mut TcpStream, text: &str, stop: &AtomicBool) {
    for byte in text.bytes().take(120) {
        let stopped = wait_until(Duration::from_millis(500), || stop.load(Ordering::Relaxed));
        if stopped || stream.write_all(&[byte]).is_err() {
            return;
        }
    }
}

fn response(status: u16, header: &str, body: &str) -> String {
    let length = body.len();
    // The content type that Slack really has, for errors too.
    format!("HTTP/1.1 {status} Planned\r\nContent-Type: text/html\r\n{header}Content-Length: {length}\r\n\r\n{body}")
}

/// Reads one request; None if the connection ends first, or makes no sense, or the stand-in stops.
fn read_request(stream: &mut TcpStream, buffer: &mut Vec<u8>, stop: &AtomicBool) -> Option<Post> {
    let mut chunk = [0; 8192];
    loop {
        if let Some((post, used)) = parse_request(buffer) {
            buffer.drain(..used);
            return Some(post);
        }
        if stop.load(Ordering::Relaxed) || buffer.len() > 1 << 24 {
            return None;
        }
        match stream.read(&mut chunk) {
            Ok(0) => return None,
            Ok(length) => buffer.extend(&chunk[..length]),
            Err(error) => match error.kind() {
                std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut => {}
                _ => return None,
            },
        }
    }
}

/// A whole request at the start of `buffer` and its length; None if there is not all of it yet.
fn parse_request(buffer: &[u8]) -> Option<(Post, usize)> {
    let end = buffer.windows(4).position(|four| four == b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(&buffer[..end]);
    let mut lines = head.split("\r\n");
    let mut words = lines.next()?.split(' ');
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.trim().to_lowercase(), value.trim().to_owned()))
        .collect();
    let length = headers.iter().find(|(name, _)| name == "content-length");
    let length: usize = length.map_or(0, |(_, value)| value.parse().expect("a length"));
    let body = buffer.get(end + 4..end + 4 + length)?;
    let json: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
    let post = Post {
        at: Instant::now(),
        method,
        path,
        headers,
        body: String::from_utf8_lossy(body).into_owned(),
        text: json["text"].as_str().unwrap_or_default().to_owned(),
        answered: Answer::Ok,
        delivered: false,
    };
    Some((post, end + 4 + length))
}
