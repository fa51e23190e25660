//! The live table of a terminal: a line a target, the worst first; notifications scroll by above it. Pure: counts come
//! in, what is to be written goes out.
//!
//! Between two frames the cursor stands at the table's upper left, and is never hidden. So keys that are typed make a mess of
//! the table only, which the next frame clears away; where a narrower window breaks lines in two, those of the table are
//! below the cursor; and nothing has to be set back at the end, not even after `kill -9`.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::f64::consts::SQRT_2;
use std::sync::Arc;
use std::time::Duration;

use super::summary::is_well;
use super::verbose::bare_ms;
use crate::event::span;
use crate::stats::{Blip, Counts};
use crate::target::Target;

/// So many of the latest checks are drawn, where there is room.
pub const LATEST: usize = 120;

/// A window of at most so many lines shows totals instead of the names of the columns.
const SMALL: usize = 3;

/// So many lines of a large window are left to notifications.
const LEFT: usize = 6;

/// The width of the state, and its space.
const STATE: usize = 8;
/// The width of the loss (`100.00%`), and its space.
const LOSS: usize = 8;
/// The width of a time, and its space.
const TIME: usize = 7;
/// A label that is longer gives way to the columns, down to this.
const LABEL: usize = 12;
/// What the picture of the latest checks gets at the least, with its space, and before a long label gets more.
const PICTURE: (usize, usize) = (9, 21);

/// The window of a terminal, in character cells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Lines, one at the least.
    pub rows: usize,
    /// Columns, one at the least.
    pub columns: usize,
}

/// What a terminal can show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Style {
    /// Colours?
    pub colour: bool,
    /// More than ASCII?
    pub utf8: bool,
    /// Block characters? The fonts of the Linux console have only a few.
    pub blocks: bool,
}

impl Style {
    /// As the environment says it; None: no table can be shown.
    pub fn of(variable: impl Fn(&str) -> Option<String>) -> Option<Style> {
        let set = |name: &str| variable(name).filter(|value| !value.is_empty());
        let term = set("TERM").filter(|term| term != "dumb")?;
        let locale = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find_map(set).unwrap_or_default().to_ascii_lowercase();
        let utf8 = locale.contains("utf-8") || locale.contains("utf8");
        Some(Style { colour: set("NO_COLOR").is_none(), utf8, blocks: utf8 && term != "linux" })
    }

    /// Text that may come from outside: without control characters but for line ends, and without what the terminal
    /// would take for several characters, the C1 controls among them.
    pub fn plain(self, text: &str) -> String {
        let plain = |c: char| match c {
            '\n' => '\n',
            c if c.is_control() => ' ',
            c if !self.utf8 && !c.is_ascii() => '?',
            c => c,
        };
        text.chars().map(plain).collect()
    }

    fn painted(self, code: &str, text: &str) -> String {
        if self.colour && !code.is_empty() { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    /// The text, cut to so many columns.
    fn cut(self, text: &str, columns: usize) -> String {
        let mut cut = self.plain(text);
        if width(&cut) > columns {
            while width(&cut) >= columns && cut.pop().is_some() {}
            if columns > 0 {
                cut.push(if self.utf8 { '…' } else { '~' });
            }
        }
        cut
    }

    /// The text in exactly so many columns, which begin at column `at`, from 0.
    fn cell(self, text: &str, columns: usize, at: usize) -> String {
        let mut cell = self.cut(text, columns);
        if cell.chars().all(is_narrow) {
            cell.extend(std::iter::repeat_n(' ', columns - width(&cell)));
            return cell;
        }
        // How wide it is is for the terminal to say; what comes next begins where it should.
        format!("\x1b[K{cell}\r\x1b[{}C", at + columns)
    }
}

/// Certainly one column wide.
fn is_narrow(c: char) -> bool {
    c < '\u{300}' || c == '…'
}

/// How many columns the text takes, or more: no character that may be East Asian is taken for less than it may need.
/// The exact widths are a table of 12 KiB, another one in each terminal.
fn width(text: &str) -> usize {
    text.chars().map(|c| if c < '\u{1100}' || c == '…' { 1 } else { 2 }).sum()
}

/// How a target is, the worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum State {
    Down,
    Lossy,
    Waiting,
    Up,
}

impl State {
    const ALL: [State; 4] = [State::Down, State::Lossy, State::Waiting, State::Up];

    fn of(target: &Target, counts: &Counts) -> State {
        match counts.outage {
            Some(_) => State::Down,
            None if is_well(target, counts) => State::Up,
            None if counts.loss.is_none() => State::Waiting,
            None => State::Lossy,
        }
    }

    /// The word, and its colour.
    fn shown(self) -> (&'static str, &'static str) {
        match self {
            State::Down => ("down", "1;31"),
            State::Lossy => ("lossy", "33"),
            State::Waiting => ("waiting", "2"),
            State::Up => ("up", "32"),
        }
    }
}

/// `1 down, 2 lossy, 47 up`.
fn totals(states: &[State]) -> String {
    let count = |state| states.iter().filter(|one| **one == state).count();
    let counted = State::ALL.into_iter().map(|state| (count(state), state.shown().0)).filter(|(count, _)| *count > 0);
    counted.map(|(count, word)| format!("{count} {word}")).collect::<Vec<_>>().join(", ")
}

/// The targets, the worst first: those that are down, the longest first; then by loss, in steps of ten percentage points,
/// so that lines do not jump about; else as configured.
fn order(targets: &[(Arc<Target>, Counts)]) -> Vec<(State, usize)> {
    let key = |(at, (target, counts)): (usize, &(Arc<Target>, Counts))| {
        let tens = counts.loss.hundredths() / 1000;
        let worse = counts.outage.map_or((None, Reverse(tens)), |outage| (Some(outage.since), Reverse(0)));
        (State::of(target, counts), worse, at)
    };
    // A heap, as `sort` would make the program 15 KiB larger.
    let order: BinaryHeap<_> = targets.iter().enumerate().map(key).collect();
    order.into_sorted_vec().into_iter().map(|(state, _, at)| (state, at)).collect()
}

/// Which columns there is room for, and their widths. As the window gets narrower the longest time goes first, then the
/// mean, the last, the picture, the loss.
#[derive(Debug)]
struct Columns {
    all: usize,
    state: usize,
    label: usize,
    loss: bool,
    times: usize,
    /// With its space; 0: none.
    picture: usize,
}

impl Columns {
    /// For a window, and the longest label.
    fn of(window: Window, longest: usize) -> Columns {
        // The last one stays free: where a terminal's cursor is after it differs.
        let all = window.columns.saturating_sub(1).max(1);
        let state = STATE.min(all / 2 + 1);
        let label = longest.min(LABEL).min(all - state);
        let mut columns = Columns { all, state, label, loss: false, times: 0, picture: 0 };
        let mut left = all - state - label;
        let mut take = |width: usize| {
            let fits = left >= width;
            left -= if fits { width } else { 0 };
            fits
        };
        columns.loss = take(LOSS);
        if columns.loss && take(PICTURE.0) {
            columns.picture = PICTURE.0;
            columns.times = (0..3).take_while(|_| take(TIME)).count();
        }
        columns.share(left, longest);
        columns
    }

    fn share(&mut self, mut left: usize, longest: usize) {
        let mut give = |to: &mut usize, most: usize| {
            let more = most.saturating_sub(*to).min(left);
            *to += more;
            left -= more;
        };
        if self.picture > 0 {
            give(&mut self.picture, PICTURE.1);
        }
        give(&mut self.label, longest);
        if self.picture > 0 {
            give(&mut self.picture, LATEST + 1);
        }
    }

    /// What comes behind the loss, in columns.
    fn rest(&self) -> usize {
        self.times * TIME + self.picture
    }
}

/// The table's lines, without line ends: at most as many as the window has, none wider. `latest` gives the latest checks
/// of the target at a place; it is asked only for those that are shown.
pub fn lines(
    targets: &[(Arc<Target>, Counts)],
    latest: impl Fn(usize) -> Vec<Blip>,
    now: Duration,
    window: Window,
    style: Style,
) -> Vec<String> {
    let longest = targets.iter().map(|(target, _)| width(&target.name)).max().unwrap_or(0).max("TARGET".len());
    let columns = Columns::of(window, longest);
    let order = order(targets);
    let states: Vec<State> = order.iter().map(|(state, _)| *state).collect();
    let room = window.rows - LEFT.min(window.rows / 4);
    let small = room <= SMALL;
    let shown = match room.saturating_sub(1) {
        room if small || order.len() <= room => order.len().min(room),
        room => room - 1,
    };
    let mut lines = vec![if small {
        style.painted("1", &style.cut(&totals(&states), columns.all))
    } else {
        head(&columns, &totals(&states), style)
    }];
    for (state, at) in &order[..shown] {
        let (target, counts) = &targets[*at];
        lines.push(row(target, *state, counts, &latest(*at), now, &columns, style));
    }
    let hidden = &states[shown..];
    if !small && !hidden.is_empty() {
        let how = match hidden[0] {
            State::Up => ", all up".to_owned(),
            _ => format!(": {}", totals(hidden)),
        };
        lines.push(style.cut(&format!("+{} more{how}", hidden.len()), columns.all));
    }
    lines
}

fn head(columns: &Columns, totals: &str, style: Style) -> String {
    let mut head = style.cell(&style.cut("STATE", columns.state.saturating_sub(1)), columns.state, 0);
    head.push_str(&style.cell("TARGET", columns.label, 0));
    if columns.loss {
        head.push_str(&format!("{:>LOSS$}", "LOSS"));
    }
    for name in ["LAST", "AVG", "MAX ms"].iter().take(columns.times) {
        head.push_str(&format!("{name:>TIME$}"));
    }
    if let Some(room) = columns.picture.checked_sub(1) {
        let name = if room >= "LATEST  ".len() + totals.len() { "LATEST" } else { "" };
        let totals = style.cut(totals, room - name.len());
        head.push_str(&format!(" {name}{totals:>0$}", room - name.len()));
    }
    style.painted("1", head.trim_end())
}

fn row(
    target: &Target,
    state: State,
    counts: &Counts,
    latest: &[Blip],
    now: Duration,
    columns: &Columns,
    style: Style,
) -> String {
    let (word, colour) = state.shown();
    let word = style.cut(word, columns.state.saturating_sub(1));
    let mut row = style.painted(colour, &style.cell(&word, columns.state, 0));
    row.push_str(&style.cell(&target.name, columns.label, columns.state));
    if columns.loss {
        row.push_str(&format!("{:>LOSS$}", counts.loss.to_string()));
    }
    // How long and why, in the place of times that are not those of now.
    let why = counts.outage.map_or_else(String::new, |outage| {
        let lasted = span(Duration::from_secs(now.saturating_sub(outage.since).as_secs()));
        style.cut(&format!(" {lasted}: {}", outage.failure), columns.rest())
    });
    if why.is_empty() {
        let times = [counts.rtt_last, counts.rtt_mean(), counts.rtt_last.map(|_| counts.rtt_max)];
        for time in times.into_iter().take(columns.times) {
            let time = time.map_or_else(|| "-".to_owned(), bare_ms);
            // Ten minutes are more digits than that.
            row.push_str(&format!(" {:>1$}", style.cut(&time, TIME - 1), TIME - 1));
        }
    } else {
        row.push_str(&style.painted(colour, &why));
    }
    let before = if why.is_empty() { columns.times * TIME } else { width(&why) };
    let room = columns.picture.saturating_sub(1).min(columns.rest().saturating_sub(before + 1));
    let latest = &latest[latest.len().saturating_sub(room)..];
    if !latest.is_empty() {
        // The newest at the right, whatever there is.
        row.push_str(&" ".repeat(columns.rest() - before - latest.len()));
        row.push_str(&picture(latest, style));
    }
    row
}

/// A character a check. The height says how long the answer took beside the target's median in the picture (of 1 ms at the
/// least: what is quicker is noise), in steps of a square root of two; more than twice the median is slow.
fn picture(latest: &[Blip], style: Style) -> String {
    let blocks = if style.blocks { "▁▂▃▄▅▆▇█" } else { "_.-=+*#@" };
    let time = |blip: &Blip| if let Blip::Answered(time) = blip { Some(*time) } else { None };
    let times: Vec<u32> = latest.iter().filter_map(time).collect::<BinaryHeap<_>>().into_sorted_vec();
    let median = f64::from(times.get(times.len().saturating_sub(1) / 2).copied().unwrap_or_default().max(1000));
    let shown = |blip: &Blip| match *blip {
        Blip::Answered(time) => {
            let level = (1..8).take_while(|step| f64::from(time) > median * SQRT_2.powi(*step)).count();
            (if level > 1 { "33" } else { "" }, blocks.chars().nth(level).unwrap_or('?'))
        }
        Blip::Unanswered => ("31", 'x'),
        Blip::Unsent => ("35", '!'),
        Blip::Gap => ("2", if style.blocks { '·' } else { ':' }),
    };
    let shown: Vec<(&str, char)> = latest.iter().map(shown).collect();
    let runs = shown.chunk_by(|one, next| one.0 == next.0);
    runs.map(|run| style.painted(run[0].0, &run.iter().map(|(_, c)| c).collect::<String>())).collect()
}

/// What to write: takes the old table away, writes the lines of `above` there, and under them the new table, if there is
/// one. `drawn`: the cursor may have been moved by keys, not by lines, since the last frame; else it stands where the
/// table is to begin.
pub fn frame(above: &str, table: &[String], drawn: bool) -> String {
    // In one go (mode 2026), where the terminal knows how. A table line that is too wide all the same is not broken in
    // two (mode 7): the next frame would begin too low.
    let mut frame = String::from("\x1b[?2026h");
    frame.push_str(if drawn { "\x1b8" } else { "\r" });
    if !above.is_empty() || table.is_empty() {
        frame.push_str("\x1b[J");
    }
    frame.push_str(&above.replace('\n', "\r\n"));
    if !table.is_empty() {
        frame.push_str("\x1b[?7l");
        frame.push_str(&table.join("\x1b[K\r\n"));
        frame.push_str("\x1b[J\r\x1b[?7h");
        if table.len() > 1 {
            frame.push_str(&format!("\x1b[{}A", table.len() - 1));
        }
        frame.push_str("\x1b7");
    }
    frame.push_str("\x1b[?2026l");
    frame
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Failure, Loss, What};
    use crate::flags;
    use crate::judge::Ongoing;

    const PLAIN: Style = Style { colour: false, utf8: true, blocks: true };
    const ASCII: Style = Style { colour: false, utf8: false, blocks: false };
    const COLOUR: Style = Style { colour: true, ..PLAIN };
    const NOW: Duration = Duration::from_secs(1000);

    fn target(word: &str) -> Arc<Target> {
        Arc::new(Target::parse(word, &flags::parse([]).unwrap().target).unwrap())
    }

    fn up(loss: u32) -> Counts {
        let ms = Duration::from_micros;
        Counts {
            answered: 3,
            rtt_last: Some(ms(1234)),
            rtt_max: ms(123_456),
            rtt_sum: ms(56_789 * 3),
            loss: Loss { lost: loss, of: 100 },
            ..Counts::default()
        }
    }

    fn down(since: u64) -> Counts {
        let failure = Failure { reason: What::Refused.into(), sent: true };
        Counts { outage: Some(Ongoing { since: Duration::from_secs(since), failed: 9, failure }), ..up(0) }
    }

    fn window(columns: usize, rows: usize) -> Window {
        Window { rows, columns }
    }

    /// What a terminal of that size shows, from its top.
    fn shown(screen: &vt100::Screen) -> Vec<String> {
        let columns = screen.size().1.get();
        let mut rows: Vec<String> = screen.rows(0, columns).map(|row| row.trim_end().to_owned()).collect();
        rows.truncate(rows.iter().rposition(|row| !row.is_empty()).map_or(0, |last| last + 1));
        rows
    }

    fn emulator(columns: usize, rows: usize) -> vt100::Parser {
        let size = |n: usize| std::num::NonZeroU16::new(n as u16).unwrap();
        vt100::Parser::new(size(rows), size(columns), 1000)
    }

    /// Draws below a prompt, as a program that was just started does.
    fn draw(
        targets: &[(Arc<Target>, Counts)],
        latest: impl Fn(usize) -> Vec<Blip>,
        window: Window,
        style: Style,
    ) -> vt100::Parser {
        let mut terminal = emulator(window.columns, window.rows);
        let lines = lines(targets, latest, NOW, window, style);
        assert!(lines.len() <= window.rows);
        terminal.process(frame("", &lines, false).as_bytes());
        terminal
    }

    fn blips(count: usize) -> Vec<Blip> {
        let some = [
            Blip::Answered(1000),
            Blip::Answered(1500),
            Blip::Unanswered,
            Blip::Unsent,
            Blip::Gap,
            Blip::Answered(900),
            Blip::Answered(12_000),
        ];
        (0..count).map(|n| some[n % some.len()]).collect()
    }

    #[test]
    fn frames() {
        let targets = [
            (target("gw=192.0.2.1"), up(4)),
            (target("new=192.0.2.2"), Counts::default()),
            (target("日本語=192.0.2.3"), up(16)),
            (target("db=192.0.2.4:5432"), down(679)),
            (target("www=192.0.2.5"), up(0)),
            (target("old=192.0.2.6"), down(0)),
            (target("worse=192.0.2.7"), up(31)),
        ];
        let latest = |at| blips(if at == 1 { 0 } else { 35 });
        let draw = |columns, rows, style| shown(draw(&targets, latest, window(columns, rows), style).screen());
        let wide = [
            "STATE   TARGET    LOSS   LAST    AVG MAX ms LATEST      2 down, 2 lossy, 1 waiting, 2 up",
            "down    old      0.00% 16m 40s: connection refused   ▁▂x!·▁█▁▂x!·▁█▁▂x!·▁█▁▂x!·▁█▁▂x!·▁█",
            "down    db       0.00% 5m 21s: connection refused    ▁▂x!·▁█▁▂x!·▁█▁▂x!·▁█▁▂x!·▁█▁▂x!·▁█",
            "lossy   worse   31.00%   1.23   56.8    123          ▁▂x!·▁█▁▂x!·▁█▁▂x!·▁█▁▂x!·▁█▁▂x!·▁█",
            "lossy   日本語  16.00%   1.23   56.8    123          ▁▂x!·▁█▁▂x!·▁█▁▂x!·▁█▁▂x!·▁█▁▂x!·▁█",
            "waiting new      0.00%      -      -      -",
            "up      gw       4.00%   1.23   56.8    123          ▁▂x!·▁█▁▂x!·▁█▁▂x!·▁█▁▂x!·▁█▁▂x!·▁█",
            "up      www      0.00%   1.23   56.8    123          ▁▂x!·▁█▁▂x!·▁█▁▂x!·▁█▁▂x!·▁█▁▂x!·▁█",
        ];
        assert_eq!(draw(89, 24, COLOUR), wide);
        assert_eq!(draw(89, 24, PLAIN), wide);
        assert_eq!(
            draw(39, 8, ASCII),
            [
                "STATE   TARGET    LOSS   LAST 2 down,~",
                "down    old      0.00% 16m 40s: conne~",
                "down    db       0.00% 5m 21s: connec~",
                "lossy   worse   31.00%   1.23 *__x!:_*",
                "lossy   ???     16.00%   1.23 *__x!:_*",
                "+3 more: 1 waiting, 2 up",
            ]
        );
        assert_eq!(draw(24, 3, PLAIN), ["2 down, 2 lossy, 1 wai…", "down    old      0.00%", "down    db       0.00%"]);
        assert_eq!(draw(10, 2, PLAIN), ["2 down, …", "down old"]);
        assert_eq!(draw(10, 1, PLAIN), ["2 down, …"]);
    }

    /// Any window, any number of targets, labels of all kinds: nothing wraps, nothing scrolls, the columns stand below each
    /// other, and the cursor is where the next frame begins.
    #[test]
    fn no_frame_is_wider_or_longer_than_the_window() {
        let mut seed = 0x2545_f491_4f6c_dd1d_u64;
        let mut random = |below: usize| {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            (seed % below as u64) as usize
        };
        let labels =
            ["g", "naïve-é", "日本語ラベル", "🛰️".trim_end_matches('\u{fe0f}'), "Ελλάδα", "한국어-gw", "ｗｉｄｅ", "﷽"];
        for round in 0..3000 {
            let window = window(round % 200 + 1, random(60) + 1);
            let style = [COLOUR, PLAIN, ASCII][random(3)];
            let targets: Vec<_> = (0..random(80))
                .map(|n| {
                    let label = labels[random(labels.len())].repeat([1, 1, 1, 6][random(4)]);
                    let counts = match random(4) {
                        0 => down(random(1000) as u64),
                        1 => Counts { rtt_max: Duration::from_secs(100_000), ..up(random(101) as u32) },
                        2 => up(0),
                        _ => Counts::default(),
                    };
                    (target(&format!("{label}{n}=192.0.2.1")), counts)
                })
                .collect();
            let terminal = draw(&targets, blips, window, style);
            let screen = terminal.screen();
            let all = || format!("{window:?} {style:?}\n{}", screen.contents());
            assert!(!(0..window.rows).any(|row| screen.row_wrapped(row as u16)), "{}", all());
            assert_eq!((screen.cursor_position(), screen.scrollback_len(), screen.hide_cursor()), ((0, 0), 0, false));
            if window.columns >= 30 && window.rows > 5 && !targets.is_empty() {
                let cell =
                    |row: u16, column: usize| screen.cell(row, column as u16).map(|cell| cell.contents().to_owned());
                let percent = (0..window.columns).find(|column| cell(1, *column).as_deref() == Some("%"));
                let is_row = |row: &u16| !matches!(cell(*row, 0).as_deref(), Some("+" | ""));
                for row in (1..window.rows as u16).filter(is_row) {
                    assert_eq!(cell(row, percent.unwrap()).as_deref(), Some("%"), "{}", all());
                }
            }
        }
    }

    #[test]
    fn every_kind_of_check_looks_different_without_colour() {
        for style in [PLAIN, ASCII] {
            let usual = [Blip::Answered(20_000); 9];
            let kinds = [Blip::Answered(45_000), Blip::Answered(500_000), Blip::Unanswered, Blip::Unsent, Blip::Gap];
            let shown = picture(&[usual.as_slice(), &kinds].concat(), style);
            let seen: std::collections::HashSet<char> = shown.chars().skip(8).collect();
            assert_eq!((shown.chars().count(), seen.len()), (14, 6), "{shown}");
            assert!(style.utf8 || shown.is_ascii());
        }
        // A quick line's noise is no news, and its colour neither.
        assert_eq!(picture(&[Blip::Answered(40), Blip::Answered(900), Blip::Answered(60)], COLOUR), "▁▁▁");
        assert_eq!(
            picture(&[Blip::Unanswered, Blip::Unanswered, Blip::Gap], COLOUR),
            "\x1b[31mxx\x1b[0m\x1b[2m·\x1b[0m"
        );
    }

    #[test]
    fn lines_do_not_jump_about() {
        let targets: Vec<_> =
            [7, 3, 11, 19, 12, 100].iter().map(|loss| (target(&format!("t{loss}=192.0.2.1")), up(*loss))).collect();
        let order: Vec<usize> = order(&targets).into_iter().map(|(_, at)| at).collect();
        // Most loss first, in steps of ten; within one as configured; 3 % is up.
        assert_eq!(order, [5, 2, 3, 4, 0, 1]);
    }

    #[test]
    fn lines_scroll_by_above_it_and_keys_do_no_lasting_harm() {
        let mut terminal = emulator(40, 6);
        let table = |mark: &str| ["HEAD", mark, "two", "three"].map(str::to_owned);
        terminal.process(b"$ run\r\n");
        terminal.process(frame("", &table("a"), false).as_bytes());
        assert_eq!(shown(terminal.screen()), ["$ run", "HEAD", "a", "two", "three"]);
        terminal.process(frame("one line\n", &table("b"), true).as_bytes());
        assert_eq!(shown(terminal.screen()), ["$ run", "one line", "HEAD", "b", "two", "three"]);
        // Keys, as the terminal echoes them.
        terminal.process(b"quit\r\n\r\n^L");
        terminal.process(frame("", &table("c"), true).as_bytes());
        assert_eq!(shown(terminal.screen()), ["$ run", "one line", "HEAD", "c", "two", "three"]);
        // One that is exactly as wide as the window, and one that is wider.
        let long = format!("{}\n{}\n", "x".repeat(40), "y".repeat(50));
        terminal.process(frame(&long, &table("d"), true).as_bytes());
        assert_eq!(shown(terminal.screen())[..3], ["y".repeat(40), "y".repeat(10), "HEAD".to_owned()]);
        terminal.process(frame("the end\n", &[], true).as_bytes());
        terminal.process(b"$ ");
        assert_eq!(shown(terminal.screen())[1..], ["y".repeat(10), "the end".to_owned(), "$".to_owned()]);
        terminal.screen_mut().set_scrollback(100);
        assert_eq!(shown(terminal.screen())[..3], ["$ run".to_owned(), "one line".to_owned(), "x".repeat(40)]);
    }

    #[test]
    fn the_environment() {
        let style = |set: &[(&str, &str)]| {
            let set: Vec<(String, String)> = set.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect();
            Style::of(|name| set.iter().find(|(set, _)| set == name).map(|(_, value)| value.clone()))
        };
        assert_eq!(style(&[]), None);
        assert_eq!(style(&[("TERM", "")]), None);
        assert_eq!(style(&[("TERM", "dumb"), ("LANG", "C.UTF-8")]), None);
        assert_eq!(style(&[("TERM", "xterm"), ("NO_COLOR", "1")]), Some(ASCII));
        assert_eq!(style(&[("TERM", "xterm"), ("NO_COLOR", ""), ("LANG", "de_DE.utf8")]), Some(COLOUR));
        let latin = [("TERM", "xterm"), ("NO_COLOR", "1"), ("LC_ALL", "C"), ("LANG", "de_DE.UTF-8")];
        assert_eq!(style(&latin), Some(ASCII));
        let console = style(&[("TERM", "linux"), ("LC_CTYPE", "de_DE.UTF-8"), ("NO_COLOR", "1")]);
        assert_eq!(console, Some(Style { blocks: false, ..PLAIN }));
    }

    #[test]
    fn nothing_from_outside_is_taken_for_a_command() {
        assert_eq!(PLAIN.plain("a\x1b[2Jb\u{9b}c\td\re\u{7f}\n日"), "a [2Jb c d e \n日");
        assert_eq!(ASCII.plain("aÛ\u{9b}日\n"), "a? ?\n");
        let lines = lines(&[(target("gw=192.0.2.1"), up(50))], blips, NOW, window(80, 24), PLAIN);
        assert!(lines.iter().all(|line| !line.contains(char::is_control)), "{lines:?}");
    }
}
