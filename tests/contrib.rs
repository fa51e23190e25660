//! What stands in `contrib/`, each part tried with what is to use it: systemd in namespaces of its own, logrotate, the shells
//! that cron and OpenWrt run. OpenWrt's own functions are stood in for (`OPENWRT`), as is Docker (`image`).

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

mod lab;

use lab::openwrt::OPENWRT;
use lab::run::{Ended, Monitor, TempDir};
use lab::service::Service;
use lab::slack::{PATH, Slack};
use lab::{command, installed, lab_test, wait_until};
use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use std::{fs, thread};

const LONG: Duration = Duration::from_secs(60);
const PROGRAM: &str = env!("CARGO_BIN_EXE_reachabilitycheck");
const UNIT: &str = "systemd/reachabilitycheck.service";
const INIT: &str = "openwrt/reachabilitycheck/files/reachabilitycheck.init";
const UCI: &str = "openwrt/reachabilitycheck/files/reachabilitycheck.config";
/// Where the program and its files are, as all of contrib/ has it.
const ETC: &str = "/etc/reachabilitycheck";
const LIB: &str = "/var/lib/reachabilitycheck";
const BIN: &str = "/usr/local/bin/reachabilitycheck";

fn contrib(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("contrib").join(file)
}

fn read(file: &str) -> String {
    let path = contrib(file);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Are these programs here? Else the test says so, and fails where nothing may be skipped.
fn have(test: &str, programs: &[&str]) -> bool {
    let missing = programs.iter().find(|program| !installed(program));
    if let Some(program) = missing {
        lab::skip(test, &format!("{program} is missing"));
    }
    missing.is_none()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A shell's run, without the caller's webhook and proxies.
fn shell(words: &[&str], script: &str, dir: &TempDir) -> Output {
    let mut command = Command::new(words[0]);
    command.args(&words[1..]).args(["-c", script, "sh"]).current_dir(dir.path());
    command.env_clear().env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
    command.stdin(Stdio::null()).output().unwrap()
}

/// The numbers of a log's notifications, in order.
fn numbers(log: &str) -> Vec<u64> {
    let number = |line: &str| line.split(' ').nth(1)?.strip_prefix('#')?.parse().ok();
    log.lines().map(|line| number(line).unwrap_or_else(|| panic!("not a whole line: {line:?}"))).collect()
}

#[test]
fn the_init_script_is_clean() {
    if have("the_init_script_is_clean", &["shellcheck"]) {
        let path = contrib(INIT);
        command("shellcheck", &["--shell=dash", path.to_str().unwrap()]).unwrap();
    }
}

// systemd

/// The command that the unit runs, with paths of ours.
fn exec_start(dir: &TempDir) -> String {
    let unit = read(UNIT).replace("\\\n", "");
    let line = unit.lines().find_map(|line| line.strip_prefix("ExecStart=")).unwrap();
    let line = line.replace(BIN, PROGRAM).replace(ETC, dir.path().to_str().unwrap());
    assert!(!line.contains('%'), "a specifier that this test does not know: {line}");
    line.replace("$$", "$")
}

#[test]
fn systemd_finds_nothing_wrong_with_the_unit() {
    if !have("systemd_finds_nothing_wrong_with_the_unit", &["systemd-analyze"]) {
        return;
    }
    // It looks whether the program is there.
    let dir = TempDir::new();
    let unit = dir.file("reachabilitycheck.service");
    dir.write("reachabilitycheck.service", read(UNIT).replace(BIN, PROGRAM));
    let output = Command::new("systemd-analyze").args(["verify", "--man=no", &unit]).output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{}", text(&output.stderr));
    // Its threshold is in tenths.
    command("systemd-analyze", &["security", "--offline=yes", "--threshold=20", &unit]).unwrap();
}

#[test]
fn the_unit_runs_with_and_without_a_webhook() {
    let (dir, slack) = (TempDir::new(), Slack::start(vec![]));
    dir.write("targets", "lo=127.0.0.1:1 -i 10ms -ct 2\n");
    let script = exec_start(&dir).replace("$OPTIONS", "-n 2");
    let script = format!("CREDENTIALS_DIRECTORY=.; export CREDENTIALS_DIRECTORY; {script}");
    // What systemd puts there, and what the program is to say.
    for (webhook, says) in [
        ("off", "Slack is off: no --slack-url"),
        (&*slack.url(), ""),
        ("", "--slack-url-file: ./webhook is empty"),
        ("nonsense\n", "--slack-url-file: ./webhook holds no webhook URL"),
    ] {
        dir.write("webhook", webhook);
        let _ = fs::remove_file(dir.path().join("reachability.state"));
        let output = shell(&["sh"], &script, &dir);
        let stderr = text(&output.stderr);
        let runs = webhook == "off" || webhook.starts_with("http");
        assert_eq!(output.status.code(), Some(if runs { 1 } else { 2 }), "{webhook}: {stderr}");
        assert!(if says.is_empty() { stderr.is_empty() } else { stderr.contains(says) }, "{webhook}: {stderr}");
    }
    assert_eq!(slack.delivered_texts().len(), 1);
}

/// Boots a systemd of its own: `sh -c BOOT sh DIR`. DIR holds `unit`, `program` and `scenario`. All of it is in new
/// namespaces and on a copy of this root in memory that is gone afterwards; `said` and `boot` are what is left.
const BOOT: &str = r#"
set -eu
cd "$1"
if [ -z "${2-}" ]; then
    # A control group of its own, of which systemd sees nothing but the inside.
    at=$(awk '$3 == "cgroup2" { print $2; exit }' /proc/mounts)
    group=$at/reach-contrib-$$
    mkdir "$group"
    trap 'find "$group" -depth -type d -exec rmdir {} \;' EXIT
    sh -c 'echo $$ >"$1/cgroup.procs"
        exec unshare --pid --mount --net --uts --ipc --cgroup --fork --kill-child sh -c "$2" sh "$3" inside' \
        sh "$group" "$BOOT" "$1"
    exit
fi
mount --make-rprivate /
mkdir root
mount -t tmpfs lab root
mkdir root/upper root/work root/root
mount -t overlay -o lowerdir=/,upperdir=root/upper,workdir=root/work lab root/root
root=$1/root/root
mount -t proc proc "$root/proc"
mount -t sysfs -o ro sysfs "$root/sys"
mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
for dir in run tmp dev; do mount -t tmpfs -o mode=755 lab "$root/$dir"; done
for file in null zero full random urandom tty; do touch "$root/dev/$file"; mount --bind "/dev/$file" "$root/dev/$file"; done
mkdir "$root/dev/pts" "$root/dev/shm" "$root/tmp/old"
mount -t devpts -o newinstance,ptmxmode=0666 devpts "$root/dev/pts"
ln -s pts/ptmx "$root/dev/ptmx"
chmod 1777 "$root/tmp"
ip link set lo up
# Nothing of this machine's services: the unit, the scenario, and what they need.
units=$root/etc/systemd/system
rm -rf "$units" "$root"/usr/lib/systemd/system/*.wants "$root"/usr/lib/systemd/system-generators "$root/etc/fstab" \
    "$root"/etc/systemd/*.conf.d
mkdir -p "$units" "$root/etc/reachabilitycheck" "$root/mnt/lab"
: >"$root/etc/fstab"
cp unit "$units/reachabilitycheck.service"
cp program "$root/usr/local/bin/reachabilitycheck"
chmod 755 "$root/usr/local/bin/reachabilitycheck"
mount --bind "$1" "$root/mnt/lab"
printf '[Service]\nType=oneshot\nExecStart=/bin/sh /mnt/lab/scenario\nStandardOutput=file:/mnt/lab/said
StandardError=file:/mnt/lab/said\nExecStopPost=systemctl exit\n' >"$units/lab.service"
cd "$root"
pivot_root . tmp/old
umount -l /tmp/old
mount --make-rshared /
exec env -i container=lab PATH=/usr/sbin:/usr/bin:/sbin:/bin \
    /usr/lib/systemd/systemd --system --unit=lab.service --log-target=null --show-status=no
"#;

/// What is done in there. Each `== word` begins what `a_real_systemd_runs_the_unit` looks at.
const SCENARIO: &str = r#"
unit=reachabilitycheck
log=/var/lib/reachabilitycheck/reachability.log
show() { systemctl show --value -p "$1" $unit; }
# Waits until the command is true, for half a minute at most.
await() {
    tries=0
    until eval "$1"; do
        tries=$((tries + 1))
        [ $tries -lt 300 ] || { echo "waited in vain for: $1"; systemctl status --no-pager -l $unit; return 1; }
        sleep 0.1
    done
}
echo "lo=127.0.0.1 -i 100ms" >/etc/reachabilitycheck/targets

echo "== start"
systemctl start $unit && await 'grep " START .* 1 target" $log'
pid=$(show MainPID)
grep -E 'Uid|CapEff|CapBnd|CapAmb|NoNewPrivs|Seccomp:' /proc/$pid/status
tr '\0' ' ' </proc/$pid/cmdline; echo
stat -c '%a %n' /var/lib/private/reachabilitycheck/reachability.state /run/reachabilitycheck

echo "== reload"
echo "two=127.0.0.1:1 -i 100ms" >>/etc/reachabilitycheck/targets
systemctl reload $unit && await 'grep " START .* 2 targets" $log' && await 'grep " DOWN two " $log'
[ "$(show MainPID)" = $pid ] && echo same process

echo "== killed"
kill -9 $pid
await '[ "$(show NRestarts)" = 1 ] && [ "$(show ActiveState)" = active ]' && echo started again
grep -c " DOWN two " $log

echo "== webhook"
(umask 077 && echo http://127.0.0.1:1/services/secretsecret >/etc/reachabilitycheck/webhook)
echo 'OPTIONS="-v --name \"a b\""' >/etc/reachabilitycheck/options
systemctl restart $unit
pid=$(show MainPID)
await "tr '\\0' '|' </proc/$pid/cmdline | grep slack-url-file" ; echo
ls -ln /run/credentials/$unit.service/webhook | cut -c 1-10

echo "== stop"
systemctl stop $unit
show Result; show ExecMainStatus
ls /run/reachabilitycheck 2>&1

echo "== hook"
mkdir -p /run/systemd/system/$unit.service.d
printf '[Service]\nExecStartPre=/bin/sh -c "%s"\n' \
    'ip addr >/dev/null && ping -c1 -W5 127.0.0.1 >/dev/null && date >hook && ! touch /etc/hook' \
    >/run/systemd/system/$unit.service.d/hook.conf
systemctl daemon-reload
systemctl start $unit && ls /var/lib/private/reachabilitycheck/hook /etc/hook
rm /run/systemd/system/$unit.service.d/hook.conf
systemctl daemon-reload

echo "== mistake"
echo "nonsense nonsense" >>/etc/reachabilitycheck/targets
systemctl restart $unit
await '[ "$(show ActiveState)" = failed ]'
sleep 6
show ActiveState; show ExecMainStatus; show NRestarts
"#;

/// The whole unit with its walls, users and credentials, as far as one machine's systemd can tell.
#[test]
fn a_real_systemd_runs_the_unit() {
    const NAME: &str = "a_real_systemd_runs_the_unit";
    if !have(NAME, &["systemctl", "unshare", "ip", "ping"]) {
        return;
    }
    let root: &[&str] = if command("id", &["-u"]).unwrap() == "0\n" { &[] } else { &["sudo", "-n"] };
    if !root.is_empty() && command("sudo", &["-n", "true"]).is_err() {
        return lab::skip(NAME, "it needs root, or sudo without a password");
    }
    let dir = TempDir::new();
    dir.write("unit", read(UNIT));
    dir.write("scenario", SCENARIO);
    fs::copy(PROGRAM, dir.path().join("program")).unwrap();
    let words = [root, &["timeout", "-k", "5", "120", "env"]].concat();
    let booted = Command::new(words[0])
        .args(&words[1..])
        .args([&format!("BOOT={BOOT}"), "sh", "-c", BOOT, "sh", &dir.file("")])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = dir.read("said");
    if said.is_empty() {
        return lab::skip(
            NAME,
            &format!("no systemd can be booted here: {}", text(&booted.stderr).replace('\n', "; ")),
        );
    }
    println!("{said}");
    let part = |name: &str| {
        let (_, from) = said.split_once(&format!("== {name}\n")).unwrap_or_else(|| panic!("no {name}: {said}"));
        from.split("== ").next().unwrap().to_owned()
    };
    let start = part("start");
    let right = format!("{:016x}", 1 << 13);
    for line in [
        &format!("CapEff:\t{right}"),
        &format!("CapBnd:\t{right}"),
        &format!("CapAmb:\t{right}"),
        "NoNewPrivs:\t1",
        "Seccomp:\t2",
        "600 /var/lib/private/reachabilitycheck/reachability.state",
        "755 /run/reachabilitycheck",
    ] {
        assert!(start.lines().any(|one| one == line), "no {line}: {start}");
    }
    assert!(!start.contains("Uid:\t0"), "{start}");
    assert!(start.contains(&format!("{BIN} --file {ETC}/targets \n")), "{start}");
    assert!(part("reload").ends_with("same process\n"), "{said}");
    assert_eq!(part("killed"), "started again\n1\n", "{said}");
    let webhook = part("webhook");
    let file = "--slack-url-file|/run/credentials/reachabilitycheck.service/webhook|";
    assert!(webhook.contains(file) && webhook.ends_with("-r--------\n"), "{said}");
    assert!(webhook.contains("|-v|--name|a b|") && !webhook.contains("secretsecret"), "{said}");
    let stop = part("stop");
    assert!(stop.starts_with("success\n0\n") && stop.contains("No such file"), "{said}");
    let hook = part("hook");
    assert!(hook.contains("reachabilitycheck/hook\n") && hook.contains("'/etc/hook': No such file"), "{said}");
    assert!(part("mistake").ends_with("failed\n2\n0\n"), "{said}");
}

// OpenWrt

/// A router with this configuration.
struct Router {
    dir: Arc<TempDir>,
    shell: Vec<&'static str>,
}

/// How the script ended, and what procd and UCI were told.
struct Told {
    ok: bool,
    stderr: String,
    calls: Vec<Vec<String>>,
}

impl Told {
    /// What was given with the call of this name, if it was made.
    fn call(&self, name: &str) -> Option<&[String]> {
        self.calls.iter().find(|call| call[0] == name).map(|call| &call[1..])
    }

    fn command(&self) -> Vec<&str> {
        let words = self.call("command").unwrap_or_else(|| panic!("no command: {} {:?}", self.stderr, self.calls));
        words.iter().map(String::as_str).collect()
    }
}

/// A word as `uci export` quotes it.
fn quoted(value: &str) -> String {
    format!("'{}'", value.replace('\'', r"'\''"))
}

impl Router {
    fn new(shell: &[&'static str], uci: &str) -> Router {
        let router = Router { dir: Arc::new(TempDir::new()), shell: shell.to_vec() };
        let here = router.dir.path().to_str().unwrap();
        let init =
            read(INIT).replace("/usr/bin/reachabilitycheck", PROGRAM).replace("/var/run", &format!("{here}/run"));
        router.dir.write("init", init);
        router.configure(uci);
        router
    }

    fn configure(&self, uci: &str) {
        let uci = uci.replace(ETC, &self.dir.file("etc")).replace("/var/run", &self.dir.file("run"));
        // Sections without a name get the same one each time.
        self.dir.write("uci", format!("n=0\n{uci}"));
    }

    fn run(&self, action: &str) -> Told {
        self.dir.write("calls", "");
        let output = shell(&self.shell, &format!("set -u; {OPENWRT}\n. ./init; {action}"), &self.dir);
        let calls = self.dir.read("calls");
        let fields = |line: &str| line.split_terminator('\x1f').map(str::to_owned).collect();
        Told { ok: output.status.success(), stderr: text(&output.stderr), calls: calls.lines().map(fields).collect() }
    }

    fn targets(&self) -> String {
        self.dir.read("run/reachabilitycheck/targets")
    }
}

/// The shells that the script is tried with: this system's, and the one of OpenWrt.
fn shells(test: &str) -> Vec<Vec<&'static str>> {
    let mut shells = vec![vec!["sh"]];
    if have(test, &["busybox"]) {
        shells.push(vec!["busybox", "ash"]);
    }
    shells
}

#[test]
fn openwrt_starts_as_the_configuration_says() {
    for shell in shells("openwrt_starts_as_the_configuration_says") {
        let shipped = read(UCI);
        let router = Router::new(&shell, &shipped);
        let told = router.run("start_service && service_triggers");
        assert!(told.ok && told.stderr.is_empty(), "{}", told.stderr);
        let (run, etc) = (router.dir.file("run/reachabilitycheck"), router.dir.file("etc"));
        let file = format!("--file={run}/targets");
        let state = format!("--state={etc}/reachability.state");
        assert_eq!(told.command(), [PROGRAM, &file, "--no-log", &state]);
        assert_eq!(router.targets(), "dns=9.9.9.9\n");
        for (name, value) in
            [("respawn", &["60", "10", "5"][..]), ("stderr", &["1"]), ("stdout", &["1"]), ("close", &[])]
        {
            assert_eq!(told.call(name).unwrap(), value, "{name}");
        }
        assert_eq!(told.call("trigger").unwrap(), ["reachabilitycheck"]);
        assert!(told.call("file").is_none());

        // All that stands there as an example.
        let all: String = shipped
            .lines()
            .map(|line| match line.trim_start() {
                line if line.starts_with("#option ") || line.starts_with("#list ") || line.starts_with("#config ") => {
                    format!("{}\n", &line[1..])
                }
                line if line.starts_with("#\toption ") => {
                    format!("{}\n", line.replace("'0'", "'1'").trim_start_matches('#'))
                }
                line => format!("{line}\n"),
            })
            .collect();
        router.configure(&all);
        let told = router.run("start_service");
        assert!(!told.ok && told.stderr.contains("etc/webhook is missing or empty"), "{}", told.stderr);
        router.dir.write("etc/webhook", "http://127.0.0.1:1/\n");
        let told = router.run("start_service");
        assert!(told.ok && told.stderr.is_empty(), "{}", told.stderr);
        let words: BTreeSet<String> = told.command()[2..].iter().map(|word| word.replace(&etc, ETC)).collect();
        let page = format!("--page={run}/page.html");
        let metrics = format!("--metrics={run}/reachability.prom");
        let wanted = [
            "--remind=12h",
            "--log=/mnt/sda1/reachability.log",
            "--state=/etc/reachabilitycheck/reachability.state",
            "--slack-url-file=/etc/reachabilitycheck/webhook",
            "--exec=/etc/reachabilitycheck/notify",
            "--heartbeat=https://hc.example.org/ping/ID",
            "--alertmanager=http://192.0.2.10:9093",
            "--name=router",
            "--ca-file=/etc/ssl/certs/own.pem",
            &page,
            &metrics,
        ];
        assert_eq!(words, wanted.iter().map(|word| (*word).to_owned()).collect());
        let modem = "modem=192.168.100.1 --change=10 --ctimeout=5 --interface=eth1 -4";
        let web = "web=https://www.example.org/ --interval=30s --timeout=5s";
        assert_eq!(router.targets(), format!("dns=9.9.9.9\n{web}\n{modem}\n"));
        // Each of these options is one of the program's.
        let known = Command::new(PROGRAM).args(&told.command()[1..]).arg("--version").output().unwrap();
        assert!(known.status.success(), "{}", text(&known.stderr));
    }
}

#[test]
fn openwrt_target_names_and_values_inject_nothing() {
    // The options of a target section, and the line that comes of them; None: refused, and nothing is started.
    type Case = (&'static [(&'static str, &'static str)], Option<&'static str>);
    let cases: &[Case] = &[
        (&[("host", "192.0.2.1")], Some("192.0.2.1")),
        (&[("name", "living room"), ("host", "tv")], Some("living_room=tv")),
        (&[("name", "a\t b\nc\n"), ("host", "h")], Some("a__b_c_=h")),
        (&[("name", "Küche"), ("host", "h")], Some("Küche=h")),
        (&[("name", "$(touch hit)`touch hit`;touch hit"), ("host", "h")], Some("$(touch_hit)`touch_hit`;touch_hit=h")),
        (&[("name", "it's \"$HOME\" \\n %s *"), ("host", "h")], Some("it's_\"$HOME\"_\\n_%s_*=h")),
        (&[("name", "a\u{7}b"), ("host", "h")], None),
        (&[("name", "-i10ms"), ("host", "h")], None),
        (&[("name", "#gw"), ("host", "h")], None),
        (&[("name", "a=b"), ("host", "h")], None),
        (&[("name", "a/b"), ("host", "h")], None),
        (&[("name", "gw")], None),
        (&[("host", "h -i 10ms")], None),
        (&[("host", "h\nevil=192.0.2.66")], None),
        (&[("host", "#h")], None),
        (&[("host", "--size=1")], None),
        (&[("host", "hé")], None),
        (&[("host", "https://h/?a=$(touch hit)&b='c'")], None),
        (&[("host", "https://h/?a=$HOME&b='c'*")], Some("https://h/?a=$HOME&b='c'*")),
        (&[("host", "[2001:db8::1]:22"), ("interface", "br-lan.2")], Some("[2001:db8::1]:22 --interface=br-lan.2")),
        (&[("host", "h"), ("interval", "1s -w 9s")], None),
        (&[("host", "h"), ("interval", "1s\nevil")], None),
        (&[("host", "h"), ("interval", "$(touch hit)")], None),
        (&[("host", "h"), ("interval", "-4")], Some("h --interval=-4")),
        (&[("host", "h"), ("family", "ipv6"), ("tos", "0x10")], Some("h --tos=0x10 -6")),
        (&[("host", "h"), ("family", "ipv7")], None),
        (&[("host", "h"), ("enabled", "0")], None),
    ];
    for shell in shells("openwrt_target_names_and_values_inject_nothing") {
        let router = Router::new(&shell, "");
        for (options, line) in cases {
            let options: String =
                options.iter().map(|(name, value)| format!("option {name} {}\n", quoted(value))).collect();
            router.configure(&format!("config target\n{options}"));
            let told = router.run("start_service");
            assert_eq!(told.ok, line.is_some(), "{options}: {}", told.stderr);
            assert_eq!(told.call("command").is_some(), line.is_some(), "{options}");
            match line {
                Some(line) => assert_eq!(router.targets(), format!("{line}\n"), "{options}"),
                None => assert!(told.stderr.contains("/etc/config/reachabilitycheck: "), "{options}: {}", told.stderr),
            }
            assert!(!router.dir.path().join("hit").exists(), "{options}");
            let _ = fs::remove_file(router.dir.path().join("run/reachabilitycheck/targets"));
        }
        // Of the words of the command line each stays one, whatever is in it.
        let exec = "logger -t \"$REACH_TARGET\" * 'x'; touch hit";
        let main = format!("config reachabilitycheck main\noption exec {}\noption name 'a b*'\n", quoted(exec));
        router.dir.write("--name=a bc", "");
        router.configure(&format!("{main}config target\noption host h\n"));
        let told = router.run("start_service");
        assert!(told.command().contains(&&*format!("--exec={exec}")) && told.command().contains(&"--name=a b*"));
        assert!(!router.dir.path().join("hit").exists());
        router.configure(&format!("{}config target\noption host h\n", main.replace("a b*", "a\n--no-state")));
        assert!(!router.run("start_service").ok);
    }
}

#[test]
fn openwrt_keeps_the_webhook_out_of_sight() {
    for shell in shells("openwrt_keeps_the_webhook_out_of_sight") {
        let slack = Slack::start(vec![]);
        let hook = format!("option slack_url {}\n", quoted(&slack.url()));
        let router = Router::new(
            &shell,
            &format!("config reachabilitycheck main\n{hook}config target\noption host 127.0.0.1:1\n"),
        );
        let told = router.run("umask 022; start_service");
        assert!(told.ok && told.stderr.is_empty(), "{}", told.stderr);
        assert!(!router.dir.read("calls").contains(PATH));
        let file = router.dir.file("run/reachabilitycheck/webhook");
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(told.call("file").unwrap(), [&*file], "a new webhook is a new start");
        // The very command that procd gets, on the real program.
        let options = ["-n", "3", "-i", "10ms"];
        let ended = Monitor::with(&[&told.command()[1..], &options].concat()).dir(&router.dir).run();
        assert_eq!((ended.code, slack.delivered_texts().len()), (Some(1), 1), "{ended:#?}");
        // It is gone from there when it is gone from the configuration.
        router.configure("config target\noption host 127.0.0.1:1\n");
        assert!(router.run("start_service").ok);
        assert!(!Path::new(&file).exists());
        router.configure(&format!(
            "config reachabilitycheck main\n{hook}option slack_url_file x\nconfig target\noption host h\n"
        ));
        assert!(!router.run("start_service").ok, "two webhooks");
    }
}

#[test]
fn openwrt_reloads_targets_without_a_new_start() {
    for shell in shells("openwrt_reloads_targets_without_a_new_start") {
        let service = Service::start();
        let section = |name: &str| format!("config target\noption name {name}\noption host {}\n", service.address);
        let main = "config reachabilitycheck main\noption interval 20ms\noption exec true\n";
        let router = Router::new(&shell, &format!("{main}{}", section("one")));
        let told = router.run("start_service");
        let mut monitor = Monitor::with(&told.command()[1..]).dir(&router.dir).start();
        let said = |text: &'static str| move |all: &lab::run::Output| all.stdout.contains(text);
        assert!(monitor.wait_line(said("Monitoring 1 target: one"), LONG), "{:?}", monitor.output());
        router.dir.write("running", monitor.pid().to_string());

        // Another target: read by the one that runs, which is not started again.
        router.configure(&format!("{main}{}{}", section("one"), section("two")));
        let told = router.run("reload_service");
        assert!(told.ok && told.call("start").is_none(), "{:?}", told.calls);
        assert_eq!(told.call("signal").unwrap(), ["reachabilitycheck", "*", "HUP"]);
        assert!(monitor.wait_line(said("Monitoring 2 targets: one, two"), LONG), "{:?}", monitor.output());

        // A mistake: all stays as it was.
        let before = router.targets();
        router.configure(&format!("{main}{}config target\noption name x\n", section("three")));
        let told = router.run("reload_service");
        assert!(!told.ok && told.call("start").is_none() && told.call("signal").is_none(), "{:?}", told.calls);
        assert_eq!(router.targets(), before);

        // Something else than a target: procd is given the new command, and starts it anew.
        router.configure(&format!("{main}option size 100\n{}", section("one")));
        let told = router.run("reload_service");
        assert!(told.ok && told.call("start").is_some() && told.call("signal").is_none(), "{:?}", told.calls);
        assert!(told.command().contains(&"--size=100"));
        assert_eq!(monitor.stop().code, Some(0));

        // Nor does the program read its webhook again.
        let hook = |name: &str| format!("{main}option slack_url http://127.0.0.1:1/{name}\n{}", section("one"));
        router.configure(&hook("a"));
        assert!(router.run("start_service").ok);
        router.configure(&hook("b"));
        let told = router.run("reload_service");
        assert!(told.ok && told.call("start").is_some() && told.call("signal").is_none(), "{:?}", told.calls);

        // It does not run: a signal would reach nobody.
        fs::remove_file(router.dir.path().join("running")).unwrap();
        let told = router.run("reload_service");
        assert!(told.call("command").is_some() && told.call("signal").is_none(), "{:?}", told.calls);
        // Turned off: procd ends what is not named any more.
        router.dir.write("running", "");
        router.configure(&format!("{main}option enabled 0\n{}", section("one")));
        let told = router.run("reload_service");
        assert!(told.ok && told.call("start").is_some() && told.call("command").is_none(), "{:?}", told.calls);
    }
}

/// The package's Makefile with stand-ins for OpenWrt's: what it takes from the source tree, and what it installs.
#[test]
fn openwrt_package_has_all_its_files() {
    if !have("openwrt_package_has_all_its_files", &["make"]) {
        return;
    }
    let dir = TempDir::new();
    let here = dir.path().to_str().unwrap();
    for path in ["feeds/packages/lang/rust", "include", "installed/bin"] {
        fs::create_dir_all(dir.path().join(path)).unwrap();
    }
    let rules =
        "CP:=cp -fpR\nINSTALL_DIR:=install -d -m0755\nINSTALL_BIN:=install -m0755\nINSTALL_CONF:=install -m0600\n";
    dir.write("rules.mk", rules);
    dir.write(
        "include/package.mk",
        "define BuildPackage\nprepare: ; $(Build/Prepare)\ninstall: ; $(call Package/$(1)/install,$(ROOT))\nendef\n",
    );
    dir.write("feeds/packages/lang/rust/rust-package.mk", "define RustBinPackage\nendef\n");
    // A newline between two commands of a recipe is what `define` keeps, but not after `;`.
    let mk = dir.read("include/package.mk").replace(": ; ", ":\n\t");
    dir.write("include/package.mk", mk);
    fs::copy(PROGRAM, dir.path().join("installed/bin/reachabilitycheck")).unwrap();
    let package = contrib("openwrt/reachabilitycheck");
    let make = |goal: &str| {
        let variables = [
            format!("TOPDIR={here}"),
            format!("INCLUDE_DIR={here}/include"),
            format!("PKG_BUILD_DIR={here}/build"),
            format!("PKG_INSTALL_DIR={here}/installed"),
            format!("ROOT={here}/root"),
        ];
        let output = Command::new("make").arg("-C").arg(&package).args(&variables).arg(goal).output().unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
    };
    make("prepare");
    assert!(
        ["src/main.rs", "Cargo.toml", "Cargo.lock", "README.md", "LICENSE"].iter().all(|file| dir
            .path()
            .join("build")
            .join(file)
            .exists())
    );
    make("install");
    for (file, mode) in [
        ("usr/bin/reachabilitycheck", 0o755),
        ("etc/init.d/reachabilitycheck", 0o755),
        ("etc/config/reachabilitycheck", 0o600),
        ("etc/reachabilitycheck", 0o700),
        ("lib/upgrade/keep.d/reachabilitycheck", 0o644),
    ] {
        let found = fs::metadata(dir.path().join("root").join(file)).unwrap_or_else(|error| panic!("{file}: {error}"));
        assert_eq!(found.permissions().mode() & 0o755, mode & 0o755, "{file}");
    }
    let version = format!("PKG_VERSION:={}\n", env!("CARGO_PKG_VERSION"));
    assert!(read("openwrt/reachabilitycheck/Makefile").contains(&version));
}

// Docker

/// The instructions of the Dockerfile, in order.
fn dockerfile() -> Vec<(String, String)> {
    let text = read("docker/Dockerfile");
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(|line| line.split_once(' ').map(|(word, rest)| (word.to_owned(), rest.to_owned())).unwrap()).collect()
}

lab_test!(the_image_has_all_that_the_program_needs, ["unshare"], |lab| {
    let image = dockerfile();
    let only = |word: &str| image.iter().find(|(one, _)| one == word).map(|(_, rest)| rest.clone()).unwrap();
    assert_eq!(image[0], ("FROM".into(), "scratch".into()));
    let target = only("ARG").replace("TARGET=", "");
    let root = TempDir::new();
    let source = Path::new(env!("CARGO_MANIFEST_DIR"));
    let ignored = read("docker/Dockerfile.dockerignore");
    for (_, rest) in image.iter().filter(|(word, _)| word == "COPY") {
        let words: Vec<&str> = rest.split(' ').filter(|word| !word.starts_with("--")).collect();
        let from = words[0].replace("${TARGET}", &target);
        let is_in = |line: &str| from.trim_end_matches('/') == line[1..].replace('*', &target);
        assert!(ignored.lines().any(|line| line.starts_with('!') && is_in(line)), "{from} is not in the context");
        if !source.join(&from).exists() {
            return lab.skip(&format!("no {from} here (make static)"));
        }
        let (from, to) = (source.join(&from), format!("{}{}", root.path().display(), words[1]));
        // A directory's content, or a file.
        let from = if from.is_dir() { from.join(".") } else { from };
        command("cp", &["-R", from.to_str().unwrap(), &to]).unwrap();
    }
    assert_eq!(fs::read_dir(root.path()).unwrap().count(), 2, "the program and its directory");
    // The user of the image, who is nobody of this machine; and like in a container of Docker, everyone may send echoes.
    let user = only("USER");
    let (user, group) = user.split_once(':').unwrap();
    assert!(user.parse::<u32>().unwrap() >= 1000 && group.parse::<u32>().unwrap() >= 1000);
    let words: Vec<String> = serde_json::from_str(&only("ENTRYPOINT")).unwrap();
    let run = |options: &[&str]| {
        let mut command = Command::new("unshare");
        command.args(["--user", &format!("--map-user={user}"), &format!("--map-group={group}")]);
        command.arg(format!("--root={}", root.path().display())).arg(format!("--wd={}", only("WORKDIR"))).arg("--");
        let output = command.args(&words).args(options).env_clear().env("PATH", "/bin").output().unwrap();
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    };
    let (code, stdout, stderr) = run(&["lo=127.0.0.1", "dead=127.0.0.1:1", "-n", "3", "-i", "10ms"]);
    assert_eq!(code, Some(1), "{stdout}{stderr}");
    assert!(stdout.contains(" DOWN dead ") && stdout.contains("lo   : xmt/rcv/%loss = 3/3/0%"), "{stdout}{stderr}");
    // What it knows outlives it, and its output is the log.
    assert!(root.path().join("data/reachability.state").exists());
    assert!(!root.path().join("data/reachability.log").exists());
    let (_, stdout, _) = run(&["lo=127.0.0.1", "dead=127.0.0.1:1", "-n", "3", "-i", "10ms"]);
    assert!(!stdout.contains(" DOWN "), "{stdout}");
    let help: Vec<String> = serde_json::from_str(&only("CMD")).unwrap();
    assert_eq!(run(&[&help[0]]).0, Some(0));
    assert_eq!(only("STOPSIGNAL"), "SIGTERM");
    assert_eq!(only("VOLUME"), only("WORKDIR"));
});

// logrotate and cron

#[test]
fn logrotate_loses_no_line() {
    if !have("logrotate_loses_no_line", &["logrotate", "gzip"]) {
        return;
    }
    let (service, dir) = (Service::start(), Arc::new(TempDir::new()));
    let config = read("logrotate").replace(LIB, dir.path().to_str().unwrap());
    assert!(!config.contains("copytruncate\n") && !config.contains("postrotate"));
    dir.write("logrotate", config);
    let targets: String = (0..20).map(|n| service.target(&format!("t{n}")) + "\n").collect();
    dir.write("targets", targets);
    let over = AtomicBool::new(false);
    let ended = thread::scope(|scope| {
        // Lines come all the time, also between the rename and what follows.
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                for step in [Service::stop, Service::restart] {
                    step(&service);
                    thread::sleep(Duration::from_millis(30));
                }
            }
        });
        let monitor = Monitor::with(&["-f", "targets", "-i", "10ms", "-ct", "1", "-q"]).dir(&dir).start();
        // Fewer times than old logs are kept.
        for turn in 0..10 {
            // One that is empty or not there is not rotated.
            let grown = wait_until(LONG, || dir.read("reachability.log").lines().count() > 40);
            let rotated = command("logrotate", &["--force", "--state", &dir.file("status"), &dir.file("logrotate")]);
            over.store(turn == 9 || !grown || rotated.is_err(), Ordering::Relaxed);
            assert!(grown, "turn {turn}");
            rotated.unwrap();
        }
        monitor.stop()
    });
    let Ended { code, stderr, log, .. } = ended;
    assert_eq!(code, Some(0), "{stderr}");
    let (mut all, mut files) = (String::new(), 0);
    for n in (1..=10).rev() {
        let packed = dir.file(&format!("reachability.log.{n}.gz"));
        if Path::new(&packed).exists() {
            all += &command("gzip", &["-dc", &packed]).unwrap();
            files += 1;
        } else if n == 1 {
            all += &dir.read("reachability.log.1");
        }
    }
    assert_eq!(files, 9, "all but the newest are packed");
    let numbers = numbers(&(all + &log));
    assert!(numbers.len() > 200, "{} lines are no load", numbers.len());
    assert!(numbers.iter().copied().eq(1..=numbers.len() as u64), "a hole or a repeat: {numbers:?}");
}

#[test]
fn the_lines_of_the_crontab_work() {
    let (slack, service, dir) = (Slack::start(vec![]), Service::start(), TempDir::new());
    let here = dir.path().to_str().unwrap();
    let crontab = read("crontab");
    let lines: Vec<&str> = crontab.lines().filter(|line| line.contains(BIN)).collect();
    assert_eq!(lines.len(), 2);
    let commands = lines.iter().map(|line| {
        let fields: Vec<&str> = line.trim_start_matches('#').splitn(6, ' ').collect();
        assert_eq!(fields[..5], ["*/5", "*", "*", "*", "*"]);
        // To cron it is the end of the line.
        assert!(!fields[5].contains('%'));
        fields[5].replace(BIN, PROGRAM).replace(LIB, here).replace(ETC, here)
    });
    let commands: Vec<String> = commands.collect();
    dir.write("targets", format!("{} -i 10ms\n", service.target("db")));
    dir.write("webhook", slack.url());
    let run = |command: &str| {
        let output = shell(&["sh"], command, &dir);
        text(&output.stdout) + &text(&output.stderr)
    };
    // With Slack, cron has nothing to mail; without, it mails what changed.
    for (n, mailed) in [(0, ""), (1, " #4 UP db ")] {
        assert_eq!(run(&commands[n]), "", "all is well");
        service.stop();
        let down = run(&commands[n]);
        assert!(n == 0 && down.is_empty() || down.lines().count() == 1 && down.contains(" DOWN db "), "{down}");
        assert_eq!(run(&commands[n]), "", "it is still down");
        service.restart();
        let up = run(&commands[n]);
        assert!(if mailed.is_empty() { up.is_empty() } else { up.contains(mailed) }, "{up}");
    }
    assert_eq!(slack.delivered_texts().len(), 2, "{:?}", slack.delivered_texts());
    assert_eq!(numbers(&dir.read("reachability.log")), [1, 2, 3, 4]);
    // A mistake is mailed in either case.
    dir.write("targets", "nonsense nonsense\n");
    for command in &commands {
        assert!(run(command).contains("targets line 1"), "{command}");
    }
}
