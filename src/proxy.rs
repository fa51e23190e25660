//! Which proxy the environment asks for, by the rules of curl(1). Pure: the variables are handed in.

use std::net::IpAddr;

/// The proxy for a URL: the variable that names it, and its value. None: no proxy. `variable` gives the environment's
/// variables; an empty one counts as none.
///
/// `HTTP_PROXY` is not asked: a CGI client could set it by a header. Lower case comes before upper case.
pub fn choose(https: bool, host: &str, variable: impl Fn(&str) -> Option<String>) -> Option<(&'static str, String)> {
    let own: &[&'static str] = if https { &["https_proxy", "HTTPS_PROXY"] } else { &["http_proxy"] };
    let value = |name: &'static str| Some((name, variable(name).filter(|value| !value.trim().is_empty())?));
    let chosen = own.iter().chain(&["all_proxy", "ALL_PROXY"]).copied().find_map(value)?;
    let exceptions = ["no_proxy", "NO_PROXY"].into_iter().find_map(value).map_or_else(String::new, |found| found.1);
    (!excepts(&exceptions, host)).then_some(chosen)
}

/// Is the host in a list such as `example.org, 10.0.0.0/8`? A name stands for itself and for all below it.
fn excepts(list: &str, host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches([']', '.']).to_ascii_lowercase();
    let address: Option<IpAddr> = host.parse().ok();
    list.split([',', ' ', '\t']).filter(|entry| !entry.is_empty()).any(|entry| {
        let entry = entry.trim_start_matches('.').trim_end_matches('.').to_ascii_lowercase();
        match (address, entry.split_once('/')) {
            _ if entry == "*" => true,
            (Some(address), Some((network, bits))) => is_in(address, network, bits).unwrap_or(false),
            (Some(address), None) => entry.trim_matches(['[', ']']).parse() == Ok(address),
            (None, _) => host == entry || host.strip_suffix(&entry).is_some_and(|below| below.ends_with('.')),
        }
    })
}

/// Is the address in the network (RFC 4632)? None if that is none.
fn is_in(address: IpAddr, network: &str, bits: &str) -> Option<bool> {
    let (network, bits): (IpAddr, u32) = (network.parse().ok()?, bits.parse().ok()?);
    let (address, network, width) = match (address, network) {
        (IpAddr::V4(a), IpAddr::V4(n)) => (u128::from(a.to_bits()), u128::from(n.to_bits()), 32),
        (IpAddr::V6(a), IpAddr::V6(n)) => (a.to_bits(), n.to_bits(), 128),
        _ => return Some(false),
    };
    let rest = u32::checked_sub(width, bits)?;
    // A shift by all 128 bits leaves nothing to compare.
    Some((address ^ network).checked_shr(rest).unwrap_or(0) == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scheme_and_the_case_decide() {
        let choose_of = |https, set: &[(&str, &str)]| {
            let variable = |name: &str| Some(set.iter().find(|(set, _)| *set == name)?.1.to_owned());
            choose(https, "hooks.slack.com", variable).map(|(name, _)| name)
        };
        let all =
            [("http_proxy", "a"), ("HTTP_PROXY", "b"), ("https_proxy", "c"), ("HTTPS_PROXY", "d"), ("ALL_PROXY", "e")];
        assert_eq!(choose_of(true, &all), Some("https_proxy"));
        assert_eq!(choose_of(true, &all[3..]), Some("HTTPS_PROXY"));
        assert_eq!(choose_of(false, &all), Some("http_proxy"));
        assert_eq!(choose_of(false, &all[1..]), Some("ALL_PROXY"));
        assert_eq!(choose_of(false, &all[1..4]), None);
        assert_eq!(choose_of(true, &[("https_proxy", ""), ("all_proxy", "x")]), Some("all_proxy"));
        assert_eq!(choose_of(true, &[("https_proxy", "x"), ("NO_PROXY", "slack.com")]), None);
    }

    #[test]
    fn exceptions() {
        for (list, host, excepted) in [
            ("*", "a.example", true),
            ("example.org", "example.org", true),
            ("example.org", "EXAMPLE.org.", true),
            (".example.org", "a.example.org", true),
            ("example.org", "notexample.org", false),
            ("x, 10.0.0.0/8 y", "10.1.2.3", true),
            ("10.0.0.0/8", "11.1.2.3", false),
            ("0.0.0.0/0", "11.1.2.3", true),
            ("::/0", "2001:db8::1", true),
            ("2001:db8::/32", "[2001:db8::1]", true),
            ("10.0.0.0/33", "10.0.0.0", false),
            ("10.0.0.0/8", "fe80::1", false),
            ("[::1]", "::1", true),
            ("", "x", false),
        ] {
            assert_eq!(excepts(list, host), excepted, "{host} in {list}");
        }
    }
}
