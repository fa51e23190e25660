//! URLs that must be shown nowhere: of the webhook, the heartbeat, Alertmanager. Pure.

use std::fmt;

use crate::target::digits;

/// Such a URL. Whoever has it can post in our name, so it is kept out of output, log, errors and state: it
/// has no `Display`, `Debug` hides it, and [`Secret::expose`] shows in a search where it is used.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// What [`Secret::from_url`] accepts, for messages.
    pub const ACCEPTED: &str = "an http:// or https:// URL, such as https://hooks.slack.com/services/...";

    /// Takes a URL: `http` or `https`, with a host, without white space and control characters.
    ///
    /// # Errors
    /// What is wrong, without the URL.
    pub fn from_url(url: &str) -> Result<Secret, String> {
        if url.is_empty() {
            return Err("the URL is empty".into());
        }
        if url.chars().any(|c| c.is_whitespace() || c.is_control()) {
            return Err("the URL contains white space or a control character".into());
        }
        if !url.is_ascii() {
            return Err("the URL contains a character that is not ASCII".into());
        }
        let rest = match url.split_once("://") {
            Some((scheme, rest)) if ["http", "https"].iter().any(|s| scheme.eq_ignore_ascii_case(s)) => rest,
            _ => return Err("the URL does not start with http:// or https://".into()),
        };
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let place = authority.rsplit('@').next().unwrap_or_default();
        let (host, port) = match place.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, port),
            _ => (place, "443"),
        };
        if host.is_empty() {
            return Err("the URL has no host".into());
        }
        if !digits(port) || !port.parse::<u16>().is_ok_and(|port| port > 0) {
            return Err("the URL's port is not a number from 1 to 65535".into());
        }
        // What the HTTP library cannot read could never be posted to.
        let usable = url.parse::<ureq::http::Uri>().is_ok_and(|uri| uri.host().is_some_and(|host| !host.is_empty()));
        if usable { Ok(Secret(url.to_owned())) } else { Err("the URL cannot be read".into()) }
    }

    /// The URL of what lies below it: its own with `path` (which begins with a slash) at the end, once.
    ///
    /// # Errors
    /// It has a query or a fragment, so that nothing lies below.
    pub fn below(&self, path: &str) -> Result<Secret, String> {
        if self.0.contains(['?', '#']) {
            return Err("the URL has a ? or a #; leave out all from there on".into());
        }
        let base = self.0.trim_end_matches('/');
        Secret::from_url(&format!("{}{path}", base.strip_suffix(path).unwrap_or(base)))
    }

    /// What may be shown of it: host and port.
    pub fn host(&self) -> &str {
        let rest = self.0.split_once("://").map_or(&*self.0, |(_, rest)| rest);
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        authority.rsplit('@').next().unwrap_or_default()
    }

    /// The URL itself, for the one place that posts to it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}
