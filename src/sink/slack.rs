//! Slack by an Incoming Webhook: the message (pure), and its POST.

use std::time::{Duration, SystemTime};

use super::http::Http;
use crate::outbox::Refused;

/// Slack's answer to a message it took.
const TAKEN: &str = "ok";

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

/// The webhook, ready to post to.
pub struct Slack(Http);

impl Slack {
    /// The webhook at this place.
    pub fn new(place: Http) -> Slack {
        Slack(place)
    }

    /// Posts one message, within `limit`. Delivered means 200 and `ok`, nothing else: a captive portal says 200 as
    /// well. Errors: the outbox keeps the message and decides when it is tried again.
    pub fn post(&mut self, text: &str, limit: Duration) -> Result<(), Refused> {
        let body = serde_json::json!({ "text": text }).to_string();
        let answer = self.0.post(&body, limit).map_err(Refused::later)?;
        match (answer.status, answer.said) {
            (200, Ok(said)) if said.trim() == TAKEN => Ok(()),
            (200, Ok(_)) => {
                Err(Refused::later("status 200, but not Slack's `ok`: a captive portal or proxy?".to_owned()))
            }
            (200, Err(why)) => Err(Refused::later(why)),
            (status, said) => Err(Refused {
                why: format!("status {status}{}", slacks_word(said.ok())),
                retry_after: answer.retry_after,
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
