//! Requests to Slack, to a dead-man service, to Alertmanager: by HTTP, with the proxy and the roots that the user named.
//!
//! URLs may be secrets: no error text of this file comes from a value that could contain one.

use std::net::{TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use ureq::Agent;
use ureq::config::{Config, ConfigBuilder};
use ureq::http::Uri;
#[cfg(feature = "tls")]
use ureq::tls::{self, PemItem, RootCerts, TlsConfig};
use ureq::typestate::AgentScope;
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{DefaultConnector, NextTimeout};
use ureq::{Proxy, ProxyProtocol};

use crate::proxy;
use crate::secret::Secret;
use crate::sync::{self, Channel};

/// A request may take this long in all: name, connection, TLS, answer.
pub const LIMIT: Duration = Duration::from_secs(10);

const UNKNOWN_ISSUER: &str = "TLS: nobody whom we trust issued the certificate (unknown issuer); if it is your own proxy's, name its root with --ca-file";

/// So many addresses of a host are tried, and no more fit.
const MOST_ADDRESSES: usize = 16;

/// The longest answer that is read.
const ANSWER: u64 = 4096;

/// A place to send requests to. The TLS part is only made when the first one is sent.
pub struct Http {
    url: Secret,
    proxy: Option<Proxy>,
    agent: Option<Agent>,
    /// Trusts the roots of `--ca-file` alone: asked when the built-in ones do not know who issued the certificate.
    second: Option<Agent>,
}

/// What was answered.
#[derive(Debug)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// When it may be tried again.
    pub retry_after: Option<Duration>,
    /// The time by the clock of who answered, in whole seconds.
    pub date: Option<SystemTime>,
    /// The body, or why it could not be read.
    pub said: Result<String, String>,
}

impl Http {
    /// A place at this URL, which the options have checked, through the proxy that the environment's variables ask for.
    /// Errors: a proxy that cannot be used; the caller exits with 2. Passing it over could let out what it keeps in.
    pub fn new(url: Secret, variable: impl Fn(&str) -> Option<String>) -> Result<Http, String> {
        let uri = url.expose().parse::<Uri>().map_err(|_| "the URL cannot be read".to_owned())?;
        let https = uri.scheme_str() == Some("https");
        let proxy = match proxy::choose(https, uri.host().unwrap_or_default(), variable) {
            None => None,
            Some((name, value)) => match Proxy::new(value.trim()) {
                Ok(proxy) if matches!(proxy.protocol(), ProxyProtocol::Http | ProxyProtocol::Https) => Some(proxy),
                _ => return Err(format!("{name}: not a proxy that can be used; accepted: http://host:port")),
            },
        };
        Ok(Http { url, proxy, agent: None, second: None })
    }

    /// Trusts these PEM certificates as well. Errors: what is wrong with them; the caller exits with 2.
    #[cfg(feature = "tls")]
    pub fn trust(&mut self, pem: &[u8]) -> Result<(), String> {
        let tls = roots(pem)?;
        self.second = Some(agent_with(|config| config.tls_config(tls).proxy(self.proxy.clone())));
        Ok(())
    }

    /// Without TLS there is nothing to trust. Errors: always.
    #[cfg(not(feature = "tls"))]
    pub fn trust(&mut self, _pem: &[u8]) -> Result<(), String> {
        Err("this binary was built without TLS".to_owned())
    }

    /// Can it, or its proxy, be connected to? Nothing is sent. Waits for `limit` at most, and for the system's resolver.
    /// Errors: why not, without the URL.
    pub fn try_connect(&self, limit: Duration) -> Result<(), String> {
        let uri = self.url.expose().parse::<Uri>().map_err(|_| "the URL cannot be read".to_owned())?;
        let (host, port) = match &self.proxy {
            Some(proxy) => (proxy.host(), proxy.port()),
            None => {
                let usual = if uri.scheme_str() == Some("https") { 443 } else { 80 };
                (uri.host().unwrap_or_default(), uri.port_u16().unwrap_or(usual))
            }
        };
        let of = if self.proxy.is_some() { "the proxy of the environment: " } else { "" };
        let addresses = (host.trim_matches(['[', ']']), port).to_socket_addrs();
        let addresses: Vec<_> =
            addresses.map_err(|_| format!("{of}the name of its host cannot be resolved"))?.collect();
        let mut failed = None;
        for address in &addresses {
            match TcpStream::connect_timeout(address, limit / addresses.len() as u32) {
                Ok(_) => return Ok(()),
                Err(error) => failed = Some(error),
            }
        }
        let why = failed.map_or_else(|| "no address".to_owned(), |error| error_word(&error));
        Err(format!("{of}connection failed: {why}"))
    }

    /// What may be shown of its URL: host and port.
    pub fn host(&self) -> &str {
        self.url.host()
    }

    /// GET. Errors: why there is no answer, without the URL; the caller tries again or says so.
    pub fn get(&mut self, limit: Duration) -> Result<Answer, String> {
        self.send(limit, None)
    }

    /// POST of JSON. Errors: as [`Http::get`].
    pub fn post(&mut self, json: &str, limit: Duration) -> Result<Answer, String> {
        self.send(limit, Some(json))
    }

    fn send(&mut self, limit: Duration, json: Option<&str>) -> Result<Answer, String> {
        let begin = Instant::now();
        let send = |agent: &Agent| {
            let left = limit.saturating_sub(begin.elapsed()).max(Duration::from_millis(1));
            let answer = match (self.url.expose(), json) {
                (url, None) => agent.get(url).config().timeout_global(Some(left)).build().call(),
                (url, Some(json)) => {
                    let request = agent.post(url).config().timeout_global(Some(left)).build();
                    request.content_type("application/json").send(json)
                }
            };
            answer.map_err(|error| why(&error))
        };
        let proxy = &self.proxy;
        let first = send(self.agent.get_or_insert_with(|| agent_with(|config| config.proxy(proxy.clone()))));
        // An unknown issuer ends the handshake before anything was sent, so there is nothing to be sent twice.
        let answer = match (first, &self.second) {
            (Err(why), Some(second)) if why == UNKNOWN_ISSUER => send(second),
            (answer, _) => answer,
        };
        let mut answer = answer.map_err(|why| match proxy {
            Some(_) => format!("by the proxy of the environment: {why}"),
            None => why,
        })?;
        let status = answer.status().as_u16();
        let header = |name| answer.headers().get(name).and_then(|value| value.to_str().ok());
        let retry_after = header("retry-after").and_then(|value| value.trim().parse().ok()).map(Duration::from_secs);
        let date = header("date").and_then(date_of);
        let said = answer.body_mut().with_config().limit(ANSWER).read_to_string().map_err(|error| why(&error));
        Ok(Answer { status, retry_after, date, said })
    }
}

/// The time in a `Date` header: `Sun, 06 Nov 1994 08:49:37 GMT` (RFC 9110, section 5.6.7). None for what is none.
fn date_of(value: &str) -> Option<SystemTime> {
    const MONTHS: &str = "JanFebMarAprMayJunJulAugSepOctNovDec";
    let mut words = value.split_ascii_whitespace().skip(1);
    let (day, month, year, time) = (words.next()?, words.next()?, words.next()?, words.next()?);
    let month = MONTHS.find(month).filter(|at| month.len() == 3 && at % 3 == 0)? / 3 + 1;
    let date = humantime::parse_rfc3339(&format!("{year}-{month:02}-{day}T{time}Z")).ok()?;
    // So far in the future that no sum of it can leave the years that have four digits.
    (year < "3000").then_some(date)
}

/// What a TLS error means. The words are those of rustls, which has no others.
fn tls_why(error: &str) -> Option<String> {
    let now = humantime::format_rfc3339_seconds(SystemTime::now());
    let lower = error.to_ascii_lowercase();
    let is = |words: [&str; 2]| words.iter().any(|word| lower.contains(word));
    Some(if is(["unknownissuer", "unknown issuer"]) {
        UNKNOWN_ISSUER.to_owned()
    } else if is(["notvalidyet", "not valid yet"]) {
        format!("TLS: the certificate is not valid yet; is this machine's clock right? It says {now}")
    } else if lower.contains("expired") {
        format!("TLS: the certificate has expired, unless this machine's clock is wrong: it says {now}")
    } else if is(["notvalidforname", "not valid for name"]) {
        "TLS: the certificate is for another name; is the URL right, or does a proxy answer?".to_owned()
    } else if is(["corrupt message", "invalidcontenttype"]) {
        "TLS: what answers does not speak TLS; is the URL right, or does a captive portal answer?".to_owned()
    } else if is(["certificate", "received fatal alert"]) {
        format!("TLS: {error}")
    } else {
        return None;
    })
}

/// The roots in PEM text, as a TLS configuration. Errors: what is wrong with them.
#[cfg(feature = "tls")]
fn roots(pem: &[u8]) -> Result<TlsConfig, String> {
    let mut roots = Vec::new();
    for item in tls::parse_pem(pem) {
        match item {
            Ok(PemItem::Certificate(certificate)) if is_whole(certificate.der()) => roots.push(certificate),
            Ok(PemItem::Certificate(_)) => return Err("a certificate in it is damaged".to_owned()),
            Ok(_) => {}
            Err(_) => return Err("a PEM block in it is damaged".to_owned()),
        }
    }
    if roots.is_empty() {
        return Err("there is no PEM certificate in it".to_owned());
    }
    Ok(super::tls::config(RootCerts::Specific(roots.into())))
}

/// Is it one DER sequence (X.690), as long as its head says? What is not is left out by the TLS library without a word.
#[cfg(feature = "tls")]
fn is_whole(der: &[u8]) -> bool {
    let Some(([0x30, first], rest)) = der.split_first_chunk::<2>() else {
        return false;
    };
    let bytes = usize::from(first & 0x7f);
    match rest.split_at_checked(bytes) {
        Some((length, body)) if *first > 0x80 && bytes <= 4 => {
            length.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte)) == body.len()
        }
        _ => *first < 0x80 && rest.len() == usize::from(*first),
    }
}

fn agent_with(more: impl FnOnce(ConfigBuilder<AgentScope>) -> ConfigBuilder<AgentScope>) -> Agent {
    let config = Agent::config_builder()
        .timeout_global(Some(LIMIT))
        .max_redirects(0)
        .http_status_as_error(false)
        .user_agent(concat!("reachabilitycheck/", env!("CARGO_PKG_VERSION")))
        // A connection kept open for hours is one that a NAT box has forgotten.
        .max_idle_age(Duration::from_secs(15));
    #[cfg(feature = "tls")]
    let config = config.tls_config(super::tls::config(RootCerts::WebPki));
    Agent::with_parts(more(config).build(), DefaultConnector::default(), Lookup)
}

/// As ureq's own, but a thread that cannot be made is an error there, not a panic; and it brings no channel of its own.
#[derive(Debug)]
struct Lookup;

impl Resolver for Lookup {
    fn resolve(&self, uri: &Uri, _: &Config, limit: NextTimeout) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let name =
            uri.scheme().zip(uri.authority()).and_then(|(scheme, at)| DefaultResolver::host_and_port(scheme, at));
        let name = name.ok_or(ureq::Error::HostNotFound)?;
        let answer = Arc::<Channel<_>>::default();
        let theirs = Arc::clone(&answer);
        // getaddrinfo(3) knows no limit.
        sync::spawn(thread::Builder::new(), Box::new(move || theirs.put(name.to_socket_addrs())))?;
        let found = answer.wait(Some(*limit.after)).ok_or(ureq::Error::Timeout(limit.reason))??;
        let mut addresses = self.empty();
        found.take(MOST_ADDRESSES).for_each(|address| addresses.push(address));
        if addresses.is_empty() { Err(ureq::Error::HostNotFound) } else { Ok(addresses) }
    }
}

/// An error of ureq in words of ours: its own may hold the URL.
fn why(error: &ureq::Error) -> String {
    match error {
        ureq::Error::Timeout(_) => "timed out".to_owned(),
        ureq::Error::HostNotFound => "the name of its host cannot be resolved".to_owned(),
        ureq::Error::Io(error) => {
            let word = error_word(error);
            tls_why(&word).unwrap_or_else(|| format!("connection failed: {word}"))
        }
        ureq::Error::ConnectionFailed => "connection failed".to_owned(),
        ureq::Error::Protocol(_) => "the answer is not HTTP".to_owned(),
        ureq::Error::TlsRequired => "the URL is https, and this binary was built without TLS".to_owned(),
        ureq::Error::ConnectProxyFailed(said) => match said.split(|c: char| !c.is_ascii_digit()).find(|n| n.len() == 3)
        {
            Some(status) => format!("the proxy refuses with status {status}"),
            None => "the proxy refuses".to_owned(),
        },
        ureq::Error::InvalidProxyUrl => "the proxy's URL in the environment is wrong".to_owned(),
        ureq::Error::BadUri(_) | ureq::Error::Http(_) => "its URL is not usable".to_owned(),
        ureq::Error::BodyExceedsLimit(_) => "the answer is too long".to_owned(),
        #[cfg(feature = "tls")]
        ureq::Error::Rustls(error) => tls_why(&error.to_string()).unwrap_or_else(|| format!("TLS: {error}")),
        _ => "the request failed".to_owned(),
    }
}

/// The system's or rustls' word for an I/O error; neither holds more than host names.
fn error_word(error: &std::io::Error) -> String {
    match error.raw_os_error() {
        Some(errno) => std::io::Error::from_raw_os_error(errno).to_string(),
        None => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates() {
        let date = |value| date_of(value).map(|date| humantime::format_rfc3339_seconds(date).to_string());
        assert_eq!(date("Sun, 06 Nov 1994 08:49:37 GMT").as_deref(), Some("1994-11-06T08:49:37Z"));
        for wrong in [
            "",
            "Sun, 06 Nov 1994",
            "Sun, 06 ovD 1994 08:49:37 GMT",
            "Sun, 31 Feb 1994 08:49:37 GMT",
            "a b c d e f",
            "Sun, 06 Nov 9999 08:49:37 GMT",
            "Sun, é é é é",
        ] {
            assert_eq!(date(wrong), None, "{wrong}");
        }
    }
}
