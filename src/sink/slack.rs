//! Slack by an Incoming Webhook: the message (pure), and its POST.
//!
//! The webhook's URL is a secret: no error text of this file comes from a value that could contain it.

use std::time::{Duration, Instant, SystemTime};

use ureq::Agent;
use ureq::config::ConfigBuilder;
use ureq::http::Uri;
#[cfg(feature = "tls")]
use ureq::tls::{self, PemItem, RootCerts, TlsConfig};
use ureq::typestate::AgentScope;
use ureq::{Proxy, ProxyProtocol};

use crate::outbox::Refused;
use crate::proxy;
use crate::secret::Secret;

/// A POST may take this long in all: name, connection, TLS, answer.
pub const LIMIT: Duration = Duration::from_secs(10);

/// Slack's answer to a message it took.
const TAKEN: &str = "ok";

const UNKNOWN_ISSUER: &str = "TLS: nobody whom we trust issued the certificate (unknown issuer); if it is your own proxy's, name its root with --ca-file";

/// The longest answer that is read.
const ANSWER: u64 = 4096;

/// One notification as a line of a Slack message: its own time, in the reader's zone, and its text, escaped.
pub fn line(at: SystemTime, text: &str) -> String {
    let unix = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    let fallback = humantime::format_rfc3339_seconds(at).to_string().replace('T', " ");
    format!("<!date^{unix}^{{date_short_pretty}} {{time_secs}}|{fallback}> {}", escape(text))
}

/// Slack reads `&`, `<` and `>` as markup: a name with them could mention a whole channel.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// The webhook, ready to post to. The TLS part is only made when the first message is sent.
pub struct Slack {
    url: Secret,
    proxy: Option<Proxy>,
    agent: Option<Agent>,
    /// Trusts the roots of `--ca-file` alone: asked when the built-in ones do not know who issued the certificate.
    second: Option<Agent>,
}

impl Slack {
    /// A webhook at this URL, which the options have checked, through the proxy that the environment's variables ask for.
    /// Errors: a proxy that cannot be used; the caller exits with 2. Passing it over could let out what it keeps in.
    pub fn new(url: Secret, variable: impl Fn(&str) -> Option<String>) -> Result<Slack, String> {
        let uri = url.expose().parse::<Uri>().map_err(|_| "the webhook's URL cannot be read".to_owned())?;
        let https = uri.scheme_str() == Some("https");
        let proxy = match proxy::choose(https, uri.host().unwrap_or_default(), variable) {
            None => None,
            Some((name, value)) => match Proxy::new(value.trim()) {
                Ok(proxy) if matches!(proxy.protocol(), ProxyProtocol::Http | ProxyProtocol::Https) => Some(proxy),
                _ => return Err(format!("{name}: not a proxy that can be used; accepted: http://host:port")),
            },
        };
        Ok(Slack { url, proxy, agent: None, second: None })
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

    /// Posts one message, within `limit`. Delivered means 200 and `ok`, nothing else: a captive portal says 200 as
    /// well. Errors: the outbox keeps the message and decides when it is tried again.
    pub fn post(&mut self, text: &str, limit: Duration) -> Result<(), Refused> {
        let body = serde_json::json!({ "text": text }).to_string();
        let begin = Instant::now();
        let send = |agent: &Agent| {
            let left = limit.saturating_sub(begin.elapsed()).max(Duration::from_millis(1));
            let request = agent.post(self.url.expose()).config().timeout_global(Some(left)).build();
            request.content_type("application/json").send(&body).map_err(|error| why(&error))
        };
        let proxy = &self.proxy;
        let first = send(self.agent.get_or_insert_with(|| agent_with(|config| config.proxy(proxy.clone()))));
        // An unknown issuer ends the handshake before anything was sent, so there is nothing to be sent twice.
        let answer = match (first, &self.second) {
            (Err(why), Some(second)) if why == UNKNOWN_ISSUER => send(second),
            (answer, _) => answer,
        };
        let mut answer = answer.map_err(|why| match proxy {
            Some(_) => Refused::later(format!("by the proxy of the environment: {why}")),
            None => Refused::later(why),
        })?;
        let status = answer.status().as_u16();
        let retry_after = answer
            .headers()
            .get("retry-after")
            .and_then(|value| value.to_str().ok()?.trim().parse().ok())
            .map(Duration::from_secs);
        let said = answer.body_mut().with_config().limit(ANSWER).read_to_string();
        match (status, said) {
            (200, Ok(said)) if said.trim() == TAKEN => Ok(()),
            (200, Ok(_)) => {
                Err(Refused::later("status 200, but not Slack's `ok`: a captive portal or proxy?".to_owned()))
            }
            (200, Err(error)) => Err(Refused::later(why(&error))),
            (status, said) => Err(Refused {
                why: format!("status {status}{}", slacks_word(said.ok())),
                retry_after,
                // Slack will refuse it tomorrow too, except for "too many requests".
                permanent: (400..500).contains(&status) && status != 429,
            }),
        }
    }
}

/// Slack's own word for a refusal (`no_service`, `invalid_token`), if the answer is one word and no page.
fn slacks_word(said: Option<String>) -> String {
    let said = said.unwrap_or_default();
    let word = said.trim();
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ' ';
    if !word.is_empty() && word.len() <= 80 && word.chars().all(plain) { format!(", {word}") } else { String::new() }
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
    Ok(TlsConfig::builder().root_certs(RootCerts::Specific(roots.into())).build())
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
    more(config).build().new_agent()
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
        ureq::Error::BodyExceedsLimit(_) => "the answer is too long to be Slack's".to_owned(),
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
    fn a_line_has_its_time_and_mentions_nobody() {
        let at = SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_354_029);
        assert_eq!(
            line(at, "<!channel> a&b"),
            "<!date^1795354029^{date_short_pretty} {time_secs}|2026-11-22 13:27:09Z> &lt;!channel&gt; a&amp;b"
        );
    }

    #[test]
    fn only_a_plain_word_of_the_answer_is_shown() {
        assert_eq!(slacks_word(Some("no_service\n".into())), ", no_service");
        assert_eq!(slacks_word(Some("<html>".into())), "");
        assert_eq!(slacks_word(None), "");
    }
}
