//! `--page`: the status page, one HTML file that asks for nothing from anywhere and needs no script. Pure.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fmt::{self, Write};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::verbose;
use crate::event::{Kind, Loss};
use crate::history::{FINE, History, State, Total, Track};
use crate::judge::Ongoing;
use crate::stats::Counts;
use crate::target::Target;

const STYLE: &str = include_str!("page.css");

/// Marks a page that is old, and reloads it for those who ask for that. The page lacks nothing without it.
const SCRIPT: &str = include_str!("page.js");

/// The base64 of the SHA-256 of [`SCRIPT`]: no other script runs in the page. The browser test sees to it.
const SCRIPT_HASH: &str = "RcEhsZLXdrT6C8mprkREY7Lv/5h1LpAM7m//TPJfvKE=";

/// Beyond so many targets only those in trouble, or with the most of it of late, have pictures.
pub const PICTURES: usize = 50;

/// So many of those in trouble now are listed at the top.
const LISTED: usize = 50;

const HOUR: u64 = 3600;
const DAY: u64 = 24 * HOUR;
const MONTH: u64 = 30 * DAY;

/// A thread that took no slot for so long, beyond what its options explain, does not watch any more.
const STALE: Duration = Duration::from_secs(60);

/// How many slices of the timeline are one point of the round-trip graph.
const POINT: usize = 3;

/// The height of the round-trip graph, in its own units.
const GRAPH: u64 = 72;

/// What a page is made of.
pub struct Page<'a> {
    /// Who watches: the host's name, or `--name`.
    pub monitor: &'a str,
    /// The targets with their counts now.
    pub targets: &'a [(Arc<Target>, Counts)],
    /// What was before.
    pub history: &'a History,
    /// Notifications that wait for Slack.
    pub waiting: usize,
    /// On the monotonic clock.
    pub now: Duration,
    /// The same on the wall clock, since 1970.
    pub wall: Duration,
    /// The next page comes after so many seconds; None: the monitor ends.
    pub next: Option<u64>,
}

/// How a target is now. The order is that of the page.
#[derive(Clone, Copy)]
enum Now<'a> {
    Down(&'a Ongoing),
    Losing(Loss),
    Unknown,
    Up,
}

#[derive(Clone, Copy)]
struct Row<'a> {
    target: &'a Target,
    now: Now<'a>,
    track: Option<&'a Track>,
    day: Total,
}

/// The whole page.
pub fn render(page: &Page<'_>) -> String {
    let rows: Vec<Row<'_>> = page.targets.iter().map(|(target, counts)| page.row(target, counts)).collect();
    // A heap is much less code than a sort, and as fast for so few.
    let many = rows.len() > PICTURES;
    let keys = rows.iter().enumerate().map(|(place, row)| Reverse((row.rank(many), place)));
    let mut heap: BinaryHeap<_> = keys.collect();
    let order = std::iter::from_fn(|| heap.pop());
    let rows: Vec<Row<'_>> = order.filter_map(|Reverse((_, place))| rows.get(place).copied()).collect();
    let mut html = String::with_capacity(STYLE.len() + 4096 + 4096 * rows.len().min(PICTURES) + 320 * rows.len());
    // Writing to a String cannot fail.
    let _ = page.write(&mut html, &rows);
    html
}

impl<'a> Page<'a> {
    fn unix(&self) -> u64 {
        self.wall.as_secs()
    }

    fn row(&self, target: &'a Target, counts: &'a Counts) -> Row<'a> {
        let options = &target.options;
        let stale = counts.ticked + options.interval.max(options.timeout) + STALE < self.now;
        let now = match &counts.outage {
            Some(outage) => Now::Down(outage),
            None if stale || counts.sent() == 0 => Now::Unknown,
            None if counts.loss.differs_by_more(Loss::default(), options.change.hundredths()) => {
                Now::Losing(counts.loss)
            }
            None => Now::Up,
        };
        let track = self.history.track(&target.name);
        let day = track.map_or(Total::default(), |track| track.total(self.unix().saturating_sub(DAY), self.unix()));
        Row { target, now, track, day }
    }

    fn write(&self, html: &mut String, rows: &[Row<'_>]) -> fmt::Result {
        let headline = headline(rows);
        let down = rows.iter().any(|row| matches!(row.now, Now::Down(_)));
        let losing = rows.iter().any(|row| matches!(row.now, Now::Losing(_)));
        let known = rows.iter().any(|row| matches!(row.now, Now::Up));
        let (class, colour) = match (down, losing, known) {
            (true, ..) => ("B", "d42b3a"),
            (_, true, _) => ("L", "d98a00"),
            (.., true) => ("U", "3f9f78"),
            _ => ("N", "7d8896"),
        };
        write!(
            html,
            "<!DOCTYPE html>\n<html lang=en>\n<head>\n<meta charset=utf-8>\n\
             <meta http-equiv=Content-Security-Policy content=\"default-src 'none'; style-src 'unsafe-inline'; \
             script-src 'sha256-{SCRIPT_HASH}'; img-src data:; base-uri 'none'; form-action 'none'\">\n\
             <meta name=viewport content=\"width=device-width,initial-scale=1\">\n\
             <meta name=generator content=\"reachabilitycheck {}\">\n\
             <title>{headline} - {}</title>\n\
             <link rel=icon href=\"data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 8 8'%3E\
             %3Ccircle cx='4' cy='4' r='4' fill='%23{colour}'/%3E%3C/svg%3E\">\n\
             <style>\n{STYLE}</style>\n</head>\n<body>\n<header>\n<h1 class={class}>{headline}</h1>\n",
            env!("CARGO_PKG_VERSION"),
            Escaped(self.monitor),
        )?;
        self.write_as_of(html)?;
        html.push_str("</header>\n<main>\n");
        self.write_now(html, rows)?;
        let (pictured, rest) = rows.split_at(rows.len().min(PICTURES));
        self.write_table(html, pictured)?;
        if !rest.is_empty() {
            self.write_rest(html, rest)?;
        }
        self.write_told(html)?;
        write!(html, "</main>\n{FOOTER}<script>{SCRIPT}</script>\n</body>\n</html>\n")
    }

    fn write_as_of(&self, html: &mut String) -> fmt::Result {
        let (iso, time) = (Iso(self.unix()), Time(self.unix()));
        let monitor = Escaped(self.monitor);
        write!(html, "<p class=sub>Seen from <bdi>{monitor}</bdi> as of <time ")?;
        match self.next {
            Some(next) => write!(
                html,
                "id=as-of datetime={iso}>{time}</time> UTC. Written every {next} seconds: if that time is long \
                 past, the monitor does not run. <a id=live href=\"#live\" hidden>Reload every minute</a></p>\n\
                 <p id=old role=status hidden></p>\n"
            )?,
            None => {
                writeln!(html, "datetime={iso}>{time}</time> UTC. <strong>The monitor was stopped then.</strong></p>")?
            }
        }
        match self.waiting {
            0 => Ok(()),
            1 => html.write_str("<p class=sub>1 notification waits for Slack.</p>\n"),
            many => writeln!(html, "<p class=sub>{many} notifications wait for Slack.</p>"),
        }
    }

    /// What is down or loses packets now.
    fn write_now(&self, html: &mut String, rows: &[Row<'_>]) -> fmt::Result {
        let down = rows.iter().filter_map(|row| match row.now {
            Now::Down(outage) => Some((row, outage)),
            _ => None,
        });
        let losing = rows.iter().filter_map(|row| match row.now {
            Now::Losing(loss) => Some((row, loss)),
            _ => None,
        });
        let (downs, losings) = (down.clone().count(), losing.clone().count());
        if downs > 0 {
            html.push_str("<h2 class=v>Down now</h2>\n<ul class=now>\n");
            for (row, outage) in down.take(LISTED) {
                let lasted = self.now.saturating_sub(outage.since);
                let since = self.wall.saturating_sub(lasted).as_secs();
                writeln!(
                    html,
                    "<li><b class=\"b B\">DOWN</b> <strong><bdi>{}</bdi></strong> for {}, since <time datetime={}>{}</time>: \
                     <bdi>{}</bdi></li>",
                    Escaped(&row.target.name),
                    Span(lasted.as_secs()),
                    Iso(since),
                    Time(since),
                    Escaped(&outage.failure.to_string()),
                )?;
            }
            more(html, downs)?;
        }
        if losings > 0 {
            html.push_str("<h2 class=v>Losing packets now</h2>\n<ul class=\"now w\">\n");
            for (row, loss) in losing.take(LISTED) {
                writeln!(
                    html,
                    "<li><b class=\"b L\">LOSS</b> <strong><bdi>{}</bdi></strong> loses {}: {} of its last {} checks were not \
                     answered</li>",
                    Escaped(&row.target.name),
                    Percent::loss(u64::from(loss.lost), u64::from(loss.of)),
                    loss.lost,
                    loss.of,
                )?;
            }
            more(html, losings)?;
        }
        Ok(())
    }

    fn write_table(&self, html: &mut String, rows: &[Row<'_>]) -> fmt::Result {
        html.push_str(KEY);
        for row in rows {
            let (class, badge) = row.badge();
            write!(html, "<tr role=row class={class}>")?;
            row.write_name(html, class, badge)?;
            for (kind, length) in [("h", HOUR), ("y", DAY), ("z", MONTH)] {
                write!(html, "<td role=cell class=\"n {kind}\">")?;
                write_share(html, &self.total(row, length), length)?;
                html.push_str("</td>");
            }
            html.push_str("<td role=cell class=t>");
            write_timeline(html, row.track, &row.day, self.unix())?;
            html.push_str("</td><td role=cell class=r>");
            write_graph(html, row.track, &row.day, self.unix())?;
            html.push_str("</td></tr>\n");
        }
        html.push_str("</tbody></table>\n");
        Ok(())
    }

    /// Those without pictures.
    fn write_rest(&self, html: &mut String, rows: &[Row<'_>]) -> fmt::Result {
        write!(
            html,
            "<h2 id=rest>{} further targets</h2>\n<table class=a aria-labelledby=rest><thead><tr><th scope=col>Target</th>\
             <th scope=col>Hour</th><th scope=col>Day</th><th scope=col>30 days</th></tr></thead><tbody>\n",
            rows.len()
        )?;
        for row in rows {
            let (class, badge) = row.badge();
            write!(html, "<tr class={class}>")?;
            row.write_name(html, class, badge)?;
            for length in [HOUR, DAY, MONTH] {
                html.push_str("<td class=n>");
                write_share(html, &self.total(row, length), length)?;
                html.push_str("</td>");
            }
            html.push_str("</tr>\n");
        }
        html.push_str("</tbody></table>\n");
        Ok(())
    }

    fn total(&self, row: &Row<'_>, length: u64) -> Total {
        match length {
            DAY => row.day,
            _ => {
                row.track.map_or(Total::default(), |track| track.total(self.unix().saturating_sub(length), self.unix()))
            }
        }
    }

    fn write_told(&self, html: &mut String) -> fmt::Result {
        html.push_str("<h2>Latest notifications</h2>\n");
        if self.history.told().next().is_none() {
            html.push_str("<p>None yet.</p>\n");
            return Ok(());
        }
        html.push_str("<ul class=log>\n");
        for item in self.history.told() {
            let at = item.at.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
            let class = match item.kind {
                Kind::Down | Kind::Remind | Kind::Error => "b B",
                Kind::Loss => "b L",
                Kind::Up => "b U",
                Kind::Start | Kind::Stop | Kind::Gap => "b",
            };
            writeln!(
                html,
                "<li><time datetime={}>{}</time> <b class=\"{class}\">{}</b> <span>{}</span></li>",
                Iso(at),
                Time(at),
                item.kind,
                Isolated(&item.text, item.target.as_deref().unwrap_or_default())
            )?;
        }
        html.push_str("</ul>\n");
        Ok(())
    }
}

impl Row<'_> {
    /// The order of the page: what is down, the latest first; what loses the most; what is not known; then the others as they
    /// are configured, but where there is not a picture for all of them, the worst of the day first.
    fn rank(&self, many: bool) -> (u8, u64, u64) {
        match &self.now {
            Now::Down(outage) => (0, u64::MAX - outage.since.as_secs(), 0),
            Now::Losing(loss) => (1, 10_000 - u64::from(loss.hundredths()), 0),
            Now::Unknown => (2, 0, 0),
            Now::Up if many => (3, u64::MAX - self.day.down, u64::MAX - u64::try_from(self.day.lost).unwrap_or(0)),
            Now::Up => (3, 0, 0),
        }
    }

    fn badge(&self) -> (&'static str, &'static str) {
        match self.now {
            Now::Down(_) => ("B", "DOWN"),
            Now::Losing(_) => ("L", "LOSS"),
            Now::Unknown => ("N", "?<span class=v> unknown</span>"),
            Now::Up => ("U", "UP"),
        }
    }

    fn write_name(&self, html: &mut String, class: &str, badge: &str) -> fmt::Result {
        let target = self.target;
        write!(
            html,
            "<th scope=row role=rowheader><b class=\"b {class}\">{badge}</b> <bdi>{}</bdi>",
            Escaped(&target.name)
        )?;
        let check = if target.is_icmp() { "ICMP" } else { "TCP" };
        match target.name == target.place() {
            true => write!(html, "<small>{check}</small></th>"),
            false => write!(html, "<small>{check} <bdi>{}</bdi></small></th>", Escaped(target.place())),
        }
    }
}

fn headline(rows: &[Row<'_>]) -> String {
    let count = |wanted: fn(&Now<'_>) -> bool| rows.iter().filter(|row| wanted(&row.now)).count();
    let down = count(|now| matches!(now, Now::Down(_)));
    let losing = count(|now| matches!(now, Now::Losing(_)));
    let unknown = count(|now| matches!(now, Now::Unknown));
    let all = rows.len();
    let is = |count| if count == 1 { "is" } else { "are" };
    let mut parts = Vec::new();
    if down > 0 {
        parts.push(format!("{down} of {all} {} down", is(down)));
    }
    if losing > 0 {
        let lose = if losing == 1 { "loses" } else { "lose" };
        parts.push(if down > 0 {
            format!("{losing} {lose} packets")
        } else {
            format!("{losing} of {all} {lose} packets")
        });
    }
    match (parts.is_empty(), unknown) {
        (_, 0) => {}
        (true, _) => parts.push(format!("{unknown} of {all} {} not known", is(unknown))),
        (false, _) => parts.push(format!("{unknown} not known")),
    }
    match (parts.is_empty(), all) {
        (false, _) => parts.join(", "),
        (true, 1) => "The target is up".to_owned(),
        (true, _) => format!("All {all} targets are up"),
    }
}

fn more(html: &mut String, all: usize) -> fmt::Result {
    if all > LISTED {
        writeln!(html, "<li>and {} more, in the table below</li>", all - LISTED)?;
    }
    html.write_str("</ul>\n")
}

/// Availability and loss over a time.
fn write_share(html: &mut String, total: &Total, length: u64) -> fmt::Result {
    if total.known == 0 {
        return html.write_str("<span>unknown</span>");
    }
    let lost = u64::try_from(total.lost).unwrap_or(0);
    write!(html, "{}<span> up</span><small>", Percent::available(total))?;
    match total.answered + lost {
        0 => html.write_str("loss unknown")?,
        sent => write!(html, "{} lost", Percent::loss(lost, sent))?,
    }
    if total.known * 10 < length * 9 {
        write!(html, "<br>of {}", Span(total.known))?;
    }
    html.write_str("</small>")
}

/// The last 24 hours as a bar, and in words.
fn write_timeline(html: &mut String, track: Option<&Track>, day: &Total, unix: u64) -> fmt::Result {
    const PLACES: usize = (DAY / FINE as u64) as usize;
    let mut states = [State::Unknown; PLACES];
    for (place, slice) in track.into_iter().flat_map(|track| track.day(unix)) {
        states[place] = slice.state();
    }
    let losing = states.iter().filter(|state| **state == State::Loss).count() as u64 * u64::from(FINE);
    html.push_str("<svg role=img viewBox=\"0 0 288 24\" preserveAspectRatio=none><title>Last 24 hours: ");
    match day.known.min(DAY) {
        0 => html.push_str("nothing is known"),
        known => {
            let up = known.saturating_sub(day.down);
            // The slice that goes on is not over yet.
            let unknown = (DAY - known).checked_sub(u64::from(FINE)).map_or(0, |_| DAY - known);
            let parts = [("up", up), ("down", day.down), ("with loss", losing), ("unknown", unknown)];
            for (index, (what, length)) in parts.into_iter().filter(|(_, length)| *length > 0).enumerate() {
                write!(html, "{}{what} {}", if index > 0 { ", " } else { "" }, Span(length))?;
            }
        }
    }
    html.push_str("</title>");
    for (state, class) in [(State::Unknown, "q"), (State::Up, "u"), (State::Loss, "l"), (State::Down, "d")] {
        let (mut at, mut end) = (0, 0);
        let mut begun = false;
        while let Some(skip) = states[at..].iter().position(|one| *one == state) {
            let from = at + skip;
            let length = states[from..].iter().take_while(|one| **one == state).count();
            match std::mem::replace(&mut begun, true) {
                false => write!(html, "<path class={class} d=\"M{from} 12h{length}")?,
                true => write!(html, "m{} 0h{length}", from - end)?,
            }
            (at, end) = (from + length, from + length);
        }
        if begun {
            html.push_str("\"/>");
        }
    }
    html.push_str("</svg>");
    Ok(())
}

/// The round trips of the last 24 hours: the mean as a line, the longest as an area.
fn write_graph(html: &mut String, track: Option<&Track>, day: &Total, unix: u64) -> fmt::Result {
    let Some(mean) = day.rtt_mean() else {
        return html.write_str("<span class=sub>no answer in 24 hours</span>");
    };
    let mut points = [Total::default(); (DAY / FINE as u64) as usize / POINT];
    for (place, slice) in track.into_iter().flat_map(|track| track.day(unix)) {
        points[place / POINT].add(slice);
    }
    let top = top(&points);
    let height = |micros: u64| GRAPH - micros.min(top) * (GRAPH - 2) / top.max(1);
    write!(
        html,
        "<div><span class=top aria-hidden=true>{}</span><svg role=img viewBox=\"0 0 288 {GRAPH}\" preserveAspectRatio=none><title>Round trips of the last 24 hours: \
         mean {}, longest {}; the top of the graph is {}</title><path class=x d=\"",
        brief(top),
        verbose::ms(mean),
        verbose::ms(Duration::from_micros(day.rtt_max.into())),
        brief(top),
    )?;
    let (mut before, mut level) = (None, 0);
    for (place, point) in points.iter().enumerate().filter(|(_, point)| point.answered > 0) {
        let y = height(point.rtt_max.into());
        match before {
            Some(before) if before + 1 == place && y == level => write!(html, "h{POINT}")?,
            Some(before) if before + 1 == place => write!(html, "V{y}h{POINT}")?,
            Some(_) => write!(html, "V{GRAPH}zM{} {GRAPH}V{y}h{POINT}", place * POINT)?,
            None => write!(html, "M{} {GRAPH}V{y}h{POINT}", place * POINT)?,
        }
        (before, level) = (Some(place), y);
    }
    write!(html, "V{GRAPH}z\"/><path class=m d=\"")?;
    let (mut before, mut level) = (None, 0);
    for (place, point) in points.iter().enumerate() {
        let Some(mean) = point.rtt_mean() else { continue };
        let y = height(mean.as_micros() as u64) as i64;
        match before {
            Some(before) if before + 1 == place => write!(html, "l{POINT} {}", y - level)?,
            // A point alone is a dot.
            _ => write!(html, "M{} {y}h0", place * POINT + POINT / 2)?,
        }
        (before, level) = (Some(place), y);
    }
    write!(
        html,
        "\"/></svg><div aria-hidden=true>{}<small>max {}</small></div></div>",
        verbose::ms(mean),
        verbose::ms(Duration::from_micros(day.rtt_max.into()))
    )
}

/// Where the graph ends, in microseconds: a few spikes may go beyond, or nothing else would be seen.
fn top(points: &[Total]) -> u64 {
    let known = points.iter().filter(|point| point.answered > 0);
    let beyond = |top: u32| known.clone().filter(|point| point.rtt_max > top).count();
    let few = known.clone().count() / 20;
    let most = known.clone().map(|point| point.rtt_max).filter(|top| beyond(*top) <= few).min().unwrap_or(0);
    let means = points.iter().filter_map(Total::rtt_mean).max().unwrap_or_default().as_micros() as u64;
    let wanted = u64::from(most).max(means + means / 4).max(1);
    let scale = 10_u64.pow(wanted.ilog10());
    [1, 2, 3, 5, 10].into_iter().map(|step| step * scale).find(|top| *top >= wanted).unwrap_or(wanted)
}

/// A round number of microseconds.
fn brief(micros: u64) -> String {
    match micros {
        1_000_000.. => format!("{} s", micros / 1_000_000),
        1_000.. => format!("{} ms", micros / 1_000),
        _ => format!("{micros} µs"),
    }
}

/// Text that stands for itself in HTML, in quotes too.
struct Escaped<'a>(&'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0;
        while let Some(at) = rest.find(['&', '<', '>', '"', '\'']) {
            f.write_str(&rest[..at])?;
            f.write_str(match rest.as_bytes()[at] {
                b'&' => "&amp;",
                b'<' => "&lt;",
                b'>' => "&gt;",
                b'"' => "&quot;",
                _ => "&#39;",
            })?;
            rest = &rest[at + 1..];
        }
        f.write_str(rest)
    }
}

/// A text, and a name in it that may be written from right to left.
struct Isolated<'a>(&'a str, &'a str);

impl fmt::Display for Isolated<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.split_once(self.1).filter(|_| !self.1.is_empty()) {
            Some((before, after)) => {
                write!(f, "{}<bdi>{}</bdi>{}", Escaped(before), Escaped(self.1), Escaped(after))
            }
            None => Escaped(self.0).fmt(f),
        }
    }
}

/// Hundredths of a per cent. Never 100 % available after an outage, never 0 % lost after a loss.
struct Percent(u64);

impl Percent {
    fn available(total: &Total) -> Percent {
        Percent((total.known.saturating_sub(total.down) * 10_000).checked_div(total.known).unwrap_or(0))
    }

    fn loss(lost: u64, sent: u64) -> Percent {
        Percent((lost * 10_000).div_ceil(sent.max(1)))
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.0 / 100, self.0 % 100) {
            (whole @ (0 | 100), 0) => write!(f, "{whole}%"),
            (whole, part) => write!(f, "{whole}.{part:02}%"),
        }
    }
}

/// A length of time in seconds, in its two largest units.
struct Span(u64);

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (large, small, [one, other]) = match self.0 {
            ..60 => return write!(f, "{}s", self.0),
            60..HOUR => (self.0 / 60, self.0 % 60, ["m", "s"]),
            HOUR..DAY => (self.0 / HOUR, self.0 % HOUR / 60, ["h", "m"]),
            _ => (self.0 / DAY, self.0 % DAY / HOUR, ["d", "h"]),
        };
        match small {
            0 => write!(f, "{large}{one}"),
            _ => write!(f, "{large}{one} {small}{other}"),
        }
    }
}

/// Unix time as RFC 3339.
struct Iso(u64);

impl fmt::Display for Iso {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const YEAR_9999: u64 = 253_402_300_799;
        let at = SystemTime::UNIX_EPOCH + Duration::from_secs(self.0.min(YEAR_9999));
        humantime::format_rfc3339_seconds(at).fmt(f)
    }
}

/// The same for people, in UTC.
struct Time(u64);

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&Iso(self.0).to_string().replace('T', " ").replace('Z', ""))
    }
}

/// The heading of the table with pictures.
const KEY: &str = "\
<h2 id=all>Targets</h2>
<p class=key aria-hidden=true><span><svg viewBox=\"0 0 26 24\"><path class=u d=\"M0 12h26\"/></svg>up</span>
<span><svg viewBox=\"0 0 26 24\"><path class=l d=\"M0 12h26\"/></svg>loss</span>
<span><svg viewBox=\"0 0 26 24\"><path class=d d=\"M0 12h26\"/></svg>down</span>
<span><svg viewBox=\"0 0 26 24\"><path class=q d=\"M0 12h26\"/></svg>unknown</span>
<span><svg class=g viewBox=\"0 0 26 18\"><path class=x d=\"M0 18V6h8V2h9v6h9v10z\"/><path class=m d=\"M0 13l8-3 9 2 9 1\"/></svg>\
round trip: mean, longest</span></p>
<table class=p role=table aria-labelledby=all><thead role=rowgroup><tr role=row><th scope=col role=columnheader>Target</th>
<th scope=col role=columnheader>Hour</th><th scope=col role=columnheader>Day</th><th scope=col role=columnheader>30 days</th>
<th scope=col role=columnheader>Last 24 hours\
<span class=axis aria-hidden=true><span>-24 h</span><span>-18 h</span><span>-12 h</span><span>-6 h</span><span>now</span></span></th><th scope=col role=columnheader>Round trip, 24 hours</th></tr></thead>
<tbody role=rowgroup>
";

const FOOTER: &str = "\
<footer>
<p><b>Hour, day, 30 days:</b> the share of the time in which the target was not down, of the time in which it was watched; and \
what was lost of the checks that were sent while it was not down. Where less than nine tenths of the time is known, it says how \
much is. Unknown is when the monitor did not run, slept, or could not send.</p>
<p><b>Last 24 hours:</b> a step is 5 minutes. Down: for some of them at least. Loss: more than one check, and more than 1%. \
Round trip: a step is 15 minutes; spikes that are much higher than the rest are cut off. All times are UTC.</p>
</footer>
";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Failure, Item, What};
    use crate::flags;

    const NOW: Duration = Duration::from_secs(100_000_000);
    const WALL: Duration = Duration::from_secs(1_795_354_029);

    fn target(word: &str) -> Arc<Target> {
        Arc::new(Target::parse(word, &flags::parse([]).unwrap().target).unwrap())
    }

    fn up() -> Counts {
        Counts { begun: NOW, ticked: NOW, answered: 1, ..Counts::default() }
    }

    fn down(seconds: u64) -> Counts {
        let failure = Failure { reason: What::NoAnswer.into(), sent: true };
        let outage = Ongoing { since: NOW - Duration::from_secs(seconds), failed: seconds, failure };
        Counts { outage: Some(outage), ..up() }
    }

    fn page(targets: &[(Arc<Target>, Counts)], history: &History) -> String {
        render(&Page { monitor: "box", targets, history, waiting: 1, now: NOW, wall: WALL, next: Some(10) })
    }

    #[test]
    fn trouble_comes_first() {
        let loss = Loss { lost: 20, of: 300 };
        let targets = [
            (target("fine"), up()),
            (target("old=192.0.2.1"), down(7265)),
            (target("lossy"), Counts { loss, ..up() }),
            (target("fresh"), Counts { answered: 0, ..up() }),
            (target("new"), down(59)),
            (target("stuck"), Counts { ticked: NOW - Duration::from_secs(100), ..up() }),
        ];
        let html = page(&targets, &History::default());
        assert!(html.contains("<title>2 of 6 are down, 1 loses packets, 2 not known - box</title>"), "{html}");
        let rows: Vec<&str> =
            html.split("<tr role=row class=").skip(1).filter_map(|row| row.split("</th>").next()).collect();
        let order = ["new", "old", "lossy", "fresh", "stuck", "fine"];
        assert_eq!(rows.len(), order.len());
        for (row, (name, badge)) in rows.iter().zip(order.iter().zip(["DOWN", "DOWN", "LOSS", "?", "?", "UP"])) {
            assert!(row.contains(&format!("<bdi>{name}</bdi>")) && row.contains(&format!(">{badge}<")), "{row}");
        }
        assert!(html.contains(
            "<strong><bdi>old</bdi></strong> for 2h 1m, since <time datetime=2026-11-22T11:26:04Z>2026-11-22 11:26:04</time>: \
             <bdi>no answer</bdi>"
        ));
        assert!(html.contains("<strong><bdi>lossy</bdi></strong> loses 6.67%: 20 of its last 300 checks"));
        assert!(html.contains("1 notification waits for Slack.") && html.contains("Last 24 hours: nothing is known"));
    }

    #[test]
    fn headlines() {
        let all = |count, counts: Counts| {
            let one = |number| (target(&format!("t{number}")), counts);
            let html = page(&(0..count).map(one).collect::<Vec<_>>(), &History::default());
            html.split("<h1 class=").nth(1).unwrap().split("</h1>").next().unwrap().to_owned()
        };
        let loss = Loss { lost: 1, of: 1 };
        assert_eq!(all(1, up()), "U>The target is up");
        assert_eq!(all(3, up()), "U>All 3 targets are up");
        assert_eq!(all(1, down(1)), "B>1 of 1 is down");
        assert_eq!(all(2, Counts { loss, ..up() }), "L>2 of 2 lose packets");
        assert_eq!(all(2, Counts { answered: 0, ..up() }), "N>2 of 2 are not known");
    }

    #[test]
    fn what_others_named_stays_text() {
        let mut history = History::default();
        history.tell(Item {
            number: 1,
            at: SystemTime::UNIX_EPOCH + WALL,
            kind: Kind::Up,
            target: Some("<b>&'\"".to_owned()),
            text: "<b>&'\" is up</ul><script>".to_owned(),
        });
        let targets = [(target("<b>&'\"=192.0.2.1"), up()), (target("مكتب=192.0.2.2"), down(1))];
        let html = page(&targets, &history);
        assert!(html.contains("<bdi>&lt;b&gt;&amp;&#39;&quot;</bdi> is up&lt;/ul&gt;&lt;script&gt;</span>"), "{html}");
        assert!(html.contains("<bdi>مكتب</bdi>"));
        assert_eq!(html.matches("<script>").count(), 1);
        assert_eq!(html.matches("<b>&").count(), 0);
        assert_eq!(html.matches("<b>").count(), FOOTER.matches("<b>").count());
        let monitor = render(&Page {
            monitor: "</title>",
            targets: &targets,
            history: &history,
            waiting: 0,
            now: NOW,
            wall: WALL,
            next: None,
        });
        assert_eq!(monitor.matches("</title>").count(), page(&targets, &history).matches("</title>").count());
        assert!(monitor.contains("The monitor was stopped then"));
    }

    /// Every row has the columns of its table, however many there are; and where there are many, the worst have pictures.
    #[test]
    fn many_targets() {
        let mut targets: Vec<_> = (0..1000).map(|number| (target(&format!("t{number}")), up())).collect();
        targets[777].1 = down(60);
        let html = page(&targets, &History::default());
        let (pictured, rest) = html.split_once("<h2 id=rest>").unwrap();
        assert!(rest.starts_with("950 further targets") && pictured.contains("<bdi>t777</bdi>"));
        assert_eq!(pictured.matches("<tr role=row class=").count(), PICTURES);
        assert_eq!(pictured.matches("<td role=cell class=").count(), 5 * PICTURES);
        assert_eq!(rest.matches("<td class=n>").count(), 3 * 950);
        assert!(html.len() < 300_000, "{} bytes", html.len());
    }

    #[test]
    fn numbers() {
        let available = |known, down| Percent::available(&Total { known, down, ..Total::default() }).to_string();
        assert_eq!([available(30 * DAY, 0), available(30 * DAY, 1), available(7, 7)], ["100%", "99.99%", "0%"]);
        let loss = |lost, sent| Percent::loss(lost, sent).to_string();
        assert_eq!([loss(0, 0), loss(1, 1_000_000), loss(1, 8), loss(9, 9)], ["0%", "0.01%", "12.50%", "100%"]);
        let spans = [0, 59, 60, 119, 3600, 7265, 86_400, 400_000].map(|seconds| Span(seconds).to_string());
        assert_eq!(spans, ["0s", "59s", "1m", "1m 59s", "1h", "2h 1m", "1d", "4d 15h"]);
        assert_eq!(Time(u64::MAX).to_string(), "9999-12-31 23:59:59");
        let point = |mean, rtt_max| Total { answered: 1, rtt_sum: mean, rtt_max, ..Total::default() };
        let spiky: Vec<Total> = (0..40).map(|at| point(8_000, if at == 7 { 900_000 } else { 9_000 })).collect();
        assert_eq!([top(&[]), top(&[point(1, 1)]), top(&spiky), top(&spiky[7..8])], [1, 1, 10_000, 1_000_000]);
        assert_eq!([brief(50), brief(20_000), brief(5_000_000)], ["50 µs", "20 ms", "5 s"]);
    }
}
