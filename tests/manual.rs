//! What comes out of the table of flags: the manual page and the completions, looked at with the programs that use them;
//! and `make install`, which brings them to their places.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod lab;

use lab::run::TempDir;
use reachabilitycheck::flags::{FLAGS, Flag, Shell};
use reachabilitycheck::manual;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};

const PROGRAM: &str = env!("CARGO_BIN_EXE_reachabilitycheck");
const ROOT: &str = env!("CARGO_MANIFEST_DIR");
/// In the known hosts of whoever completes.
const HOST: &str = "bastion.example.test";

/// Are these programs here? If not, says that the test cannot run.
fn have(name: &str, programs: &[&str]) -> bool {
    let missing = programs.iter().find(|program| !lab::installed(program));
    missing.inspect(|program| lab::skip(name, &format!("{program} is missing"))).is_none()
}

/// Runs a command to its end; what it wrote to stdout and stderr.
fn said(command: &mut Command) -> (String, String) {
    let Output { status, stdout, stderr } = command.stdin(Stdio::null()).output().unwrap();
    let (out, err) = (String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap());
    assert!(status.success(), "{command:?}: {status}\n{out}\n{err}");
    (out, err)
}

/// A lint that finds nothing says nothing.
fn says_nothing(command: &mut Command) {
    assert_eq!(said(command), (String::new(), String::new()), "{command:?}");
}

// The manual page.

#[test]
fn the_page_as_its_lints_see_it() {
    let dir = TempDir::new();
    dir.write("page.8", manual::page());
    let page = dir.file("page.8");
    assert_eq!(said(Command::new(PROGRAM).arg("--man")).0, manual::page());
    if have("the_page_as_its_lints_see_it", &["man", "groff", "mandoc"]) {
        let man = ["--warnings", "-E", "UTF-8", "-l", "-Z"];
        assert_eq!(said(Command::new("man").args(man).arg(&page).env("LC_ALL", "C.UTF-8")).1, "");
        assert_eq!(said(Command::new("groff").args(["-ww", "-man", "-Tutf8"]).arg(&page)).1, "");
        says_nothing(Command::new("mandoc").args(["-Tlint", "-Wall"]).arg(&page));
    }
}

#[test]
fn the_page_as_it_is_read() {
    if !have("the_page_as_it_is_read", &["mandoc"]) {
        return;
    }
    let dir = TempDir::new();
    dir.write("page.8", manual::page());
    let (text, _) = said(Command::new("mandoc").args(["-Tascii", "-Owidth=80"]).arg(dir.file("page.8")));
    // Bold and italics are overstruck.
    let mut plain = String::new();
    for letter in text.chars() {
        if letter == '\u{8}' { plain.truncate(plain.len() - 1) } else { plain.push(letter) }
    }
    let wide: Vec<&str> = plain.lines().filter(|line| line.chars().count() > 80).collect();
    assert!(wide.is_empty(), "{wide:?}");
    let words: Vec<&str> = plain.split_whitespace().collect();
    let words = words.join(" ");
    for flag in FLAGS {
        let entry = [flag.names().join(", "), flag.value.into()].join(" ");
        let entry = entry.trim_end();
        assert!(plain.lines().any(|line| line.trim_start().starts_with(entry)), "{entry} is not in\n{plain}");
        assert!(words.contains(&flag.help[1..]) && words.contains(flag.default), "{entry}: {}", flag.help);
    }
    for variable in ["SLACK_WEBHOOK_URL", "https_proxy", "NO_COLOR", "TERM", "REACH_KIND", "REACH_DOWN_SECONDS"] {
        assert!(plain.contains(variable), "{variable}");
    }
}

/// In the page and in the README's tables.
#[test]
fn no_option_is_told_that_is_not_there() {
    let known = |name: &str| FLAGS.iter().find(|flag| flag.names().iter().any(|own| own == name));
    let page = manual::page();
    let mut options = 0;
    for word in page.replace("\\-", "-").replace("\\f", " \\f").split(|c: char| !c.is_ascii_alphanumeric() && c != '-')
    {
        if word.starts_with("--") {
            assert!(known(word).is_some(), "{word} in the manual page");
            options += 1;
        }
    }
    assert!(options > FLAGS.len());
    // A dash of an option is one that can be copied.
    let hyphens = page.lines().find(|line| line.contains(" -") || line.contains("--") || line.starts_with('-'));
    assert_eq!(hyphens, None);

    let readme = fs::read_to_string(Path::new(ROOT).join("README.md")).unwrap();
    let rows: Vec<&str> = readme.lines().filter(|line| line.starts_with("| `-")).collect();
    assert!(rows.len() >= 10, "{rows:?}");
    for row in rows {
        let cells: Vec<&str> = row.trim_matches('|').split(" | ").map(str::trim).collect();
        let names = cells[0].split([' ', ',', '`']).filter(|word| word.starts_with('-'));
        let flags: Vec<&Flag> = names.map(|name| known(name).unwrap_or_else(|| panic!("{name} in README"))).collect();
        let default = cells.last().unwrap().trim_matches('`');
        let same = flags.iter().all(|flag| std::ptr::eq(*flag, flags[0]));
        assert!(!same || cells.len() < 3 || flags[0].default.starts_with(default), "{row}\n{}", flags[0].default);
    }
}

#[test]
fn the_date_and_version_of_the_page() {
    let changes = fs::read_to_string(Path::new(ROOT).join("CHANGELOG.md")).unwrap();
    let head = changes.lines().find(|line| line.starts_with("## ")).unwrap();
    assert_eq!(head, format!("## {} ({})", env!("CARGO_PKG_VERSION"), manual::DATE));
    let title = format!(".TH REACHABILITYCHECK 8 {} \"reachabilitycheck {}\"", manual::DATE, env!("CARGO_PKG_VERSION"));
    assert!(manual::page().contains(&title) && !manual::page().contains('@'));
}

// Completions.

#[test]
fn every_flag_is_in_every_completion() {
    for (name, shell) in Shell::ALL {
        let text = manual::completions(shell);
        assert_eq!(said(Command::new(PROGRAM).args(["--completions", name])).0, text);
        for flag in FLAGS {
            let long = flag.long;
            let wanted: Vec<String> = match shell {
                Shell::Bash => flag.names(),
                Shell::Zsh => flag.names().iter().map(|name| format!("'*{name}")).collect(),
                Shell::Fish if long.is_empty() => vec![format!("-s {} ", flag.short)],
                Shell::Fish => vec![format!("-l {long} ")],
            };
            for wanted in wanted {
                assert!(text.contains(&wanted), "{name}: {wanted}");
            }
        }
    }
}

/// An installed program and its completions, with somebody's home and files.
struct Desk(TempDir);

impl Desk {
    fn new() -> Desk {
        let dir = TempDir::new();
        for (_, shell) in Shell::ALL {
            let (place, name) = match shell {
                Shell::Bash => ("bash", "reachabilitycheck"),
                Shell::Zsh => ("zsh", "_reachabilitycheck"),
                Shell::Fish => ("fish", "reachabilitycheck.fish"),
            };
            fs::create_dir(dir.path().join(place)).unwrap();
            dir.write(&format!("{place}/{name}"), manual::completions(shell));
        }
        for place in [".ssh", "bin", "files"] {
            fs::create_dir(dir.path().join(place)).unwrap();
        }
        dir.write(".ssh/known_hosts", format!("{HOST} ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKL\n"));
        dir.write("files/a file", "");
        dir.write("files/afar", "");
        std::os::unix::fs::symlink(PROGRAM, dir.path().join("bin/reachabilitycheck")).unwrap();
        Desk(dir)
    }

    fn shell(&self, shell: &str, args: &[&str]) -> Command {
        let path = format!("{}:{}", self.0.file("bin"), std::env::var("PATH").unwrap());
        let mut command = Command::new(shell);
        command.args(args).current_dir(self.0.path().join("files")).env_clear();
        command.env("PATH", path).env("HOME", self.0.path()).env("LC_ALL", "C.UTF-8").env("TERM", "dumb");
        command
    }

    /// What bash makes of a line, given as bash splits it into words.
    fn bash(&self, package: Option<&str>, words: &[&str]) -> Vec<String> {
        let script = r#"
            [ -z "$1" ] || . "$1"
            . ../bash/reachabilitycheck
            shift
            COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
            _reachabilitycheck
            [ -z "${COMPREPLY[*]}" ] || printf '%s\n' "${COMPREPLY[@]}""#;
        let mut args = vec!["--norc", "-c", script, "bash", package.unwrap_or_default(), "reachabilitycheck"];
        args.extend(words);
        let (out, err) = said(&mut self.shell("bash", &args));
        assert_eq!(err, "");
        out.lines().map(str::to_owned).collect()
    }

    /// What fish makes of a line: its matches, without their descriptions.
    fn fish(&self, line: &str) -> Vec<String> {
        let script = "set fish_complete_path ../fish $fish_complete_path; complete -C\"reachabilitycheck $LINE\"";
        let (out, _) = said(self.shell("fish", &["--no-config", "-c", script]).env("LINE", line));
        out.lines().map(|line| line.split('\t').next().unwrap().to_owned()).collect()
    }

    /// What zsh makes of lines, each with all matches inserted.
    fn zsh(&self, lines: &[&str]) -> Vec<String> {
        let script = r#"
            zmodload zsh/zpty || exit
            out=../zsh.out; : >$out
            zpty -b shell "zsh -f -i"
            zpty -w shell 'fpath=(../zsh $fpath); autoload -Uz compinit; compinit -u -D; PS1=
                _all() { _main_complete; compstate[insert]=all; compstate[list]= }
                zle -C all complete-word _all; bindkey "^I" all
                tell() { print -r -- "$BUFFER" >>../zsh.out; BUFFER= }; zle -N tell; bindkey "^O" tell'
            for line; do
                before=$(wc -l <$out)
                zpty -w -n shell "reachabilitycheck $line"$'\t\x0f'
                for ((i = 0; i < 600 && $(wc -l <$out) == before; i++)); do
                    zpty -r -t shell said >/dev/null
                    sleep 0.05
                done
            done
            zpty -d shell
            cat $out"#;
        let mut args = vec!["-f", "-c", script, "zsh"];
        args.extend(lines);
        let (out, _) = said(&mut self.shell("zsh", &args));
        out.lines().map(|line| line.trim_start_matches("reachabilitycheck ").trim_end().to_owned()).collect()
    }
}

#[test]
fn bash_completes() {
    if !have("bash_completes", &["bash", "shellcheck"]) {
        return;
    }
    let desk = Desk::new();
    says_nothing(&mut desk.shell("shellcheck", &["-s", "bash", "../bash/reachabilitycheck"]));
    let package = "/usr/share/bash-completion/bash_completion";
    let packages = if Path::new(package).exists() {
        vec![None, Some(package)]
    } else {
        lab::skip("bash_completes", "with the package bash-completion, which is missing");
        vec![None]
    };
    for package in packages {
        for (words, matches) in [
            (&["--in"][..], &["--interval", "--interface"][..]),
            (&["-c"], &["-c", "-ct"]),
            (&["-ct"], &["-ct"]),
            (&["-ct", ""], &[]),
            (&["-i", ""], &[]),
            (&["--name", "-"], &[]),
            (&["--log", "a"], &["a file", "afar"]),
            (&["--log", "=", "a"], &["a file", "afar"]),
            (&["-f", ""], &["a file", "afar"]),
            (&["gw", "--metrics", "="], &["a file", "afar"]),
            (&["--completions", ""], &["bash", "zsh", "fish"]),
            (&["--completions", "=", "z"], &["zsh"]),
            (&["--exec", "sha256su"], &["sha256sum"]),
            (&["--", "--in"], &[]),
        ] {
            let mut found = desk.bash(package, words);
            found.sort();
            found.dedup();
            let mut matches = matches.to_vec();
            matches.sort();
            assert_eq!(found, matches, "{package:?} {words:?}");
        }
        let all = desk.bash(package, &["-"]);
        assert!(FLAGS.iter().flat_map(Flag::names).all(|name| all.contains(&name)), "{all:?}");
        assert!(desk.bash(package, &["-I", "l"]).contains(&"lo".to_owned()));
        if package.is_some() {
            for words in [&["bast"][..], &["-q", "bast"], &["gw", "=", "bast"], &["--", "bast"]] {
                assert_eq!(desk.bash(package, words), [HOST], "{words:?}");
            }
        }
    }
}

#[test]
fn zsh_completes() {
    if !have("zsh_completes", &["zsh"]) {
        return;
    }
    let desk = Desk::new();
    says_nothing(&mut desk.shell("zsh", &["-n", "../zsh/_reachabilitycheck"]));
    let table = [
        ("--in", "--interface --interval="),
        ("-c", "-c -ct"),
        ("-ct ", "-ct"),
        ("-i ", "-i"),
        ("--log a", "--log a\\ file afar"),
        ("--log=a", "--log=a\\ file --log=afar"),
        ("-f a", "-f a\\ file afar"),
        ("-I l", "-I lo"),
        ("--completions ", "--completions bash fish zsh"),
        ("--completions=z", "--completions=zsh"),
        ("--exec sha256su", "--exec sha256sum"),
        ("bast", HOST),
        ("-q gw=bast", &format!("-q gw={HOST}")),
        ("-- --in", "-- --in"),
    ];
    let found = desk.zsh(&table.map(|(line, _)| line));
    assert_eq!(found, table.map(|(_, completed)| completed));
    // Sourced, as `source <(reachabilitycheck --completions zsh)` does, it works as well.
    let script = "autoload -Uz compinit; compinit -u -D; . ../zsh/_reachabilitycheck; echo $_comps[reachabilitycheck]";
    assert_eq!(said(&mut desk.shell("zsh", &["-f", "-c", script])).0, "_reachabilitycheck\n");
}

#[test]
fn fish_completes() {
    if !have("fish_completes", &["fish"]) {
        return;
    }
    let desk = Desk::new();
    says_nothing(&mut desk.shell("fish", &["--no-execute", "../fish/reachabilitycheck.fish"]));
    for (line, matches) in [
        ("--in", &["--interface", "--interval"][..]),
        ("-c", &["-c", "-ct"]),
        ("-ct", &["-ct"]),
        ("-ct ", &[]),
        ("-i ", &[]),
        ("--log a", &["a file", "afar"]),
        ("--log=a", &["--log=a file", "--log=afar"]),
        ("-f a", &["a file", "afar"]),
        ("-I l", &["lo"]),
        ("--completions ", &["bash", "fish", "zsh"]),
        ("--exec sha256su", &["sha256sum"]),
        ("bast", &[HOST]),
        ("-q bast", &[HOST]),
        ("-- --in", &[]),
    ] {
        assert_eq!(desk.fish(line), matches, "{line:?}");
    }
    assert_eq!(desk.fish("gw=bast"), [format!("gw={HOST}")]);
    let all = [desk.fish("-"), desk.fish("--")].concat();
    assert!(FLAGS.iter().flat_map(Flag::names).all(|name| all.contains(&name)), "{all:?}");
}

// Installation.

/// Every file below, with its mode.
fn files(dir: &Path) -> Vec<(String, u32)> {
    let mut found = Vec::new();
    let mut dirs = vec![dir.to_owned()];
    while let Some(next) = dirs.pop() {
        for entry in fs::read_dir(next).unwrap().map(Result::unwrap) {
            let (path, about) = (entry.path(), entry.metadata().unwrap());
            if about.is_dir() {
                dirs.push(path);
            } else {
                let name = path.strip_prefix(dir).unwrap().to_str().unwrap().to_owned();
                found.push((name, about.permissions().mode() & 0o7777));
            }
        }
    }
    found.sort();
    found
}

fn make(words: &[&str]) -> (String, String) {
    // Not the variables of a `make test` that runs this.
    let mut make = Command::new("make");
    make.arg("-C").arg(ROOT).args(words).env_remove("MAKEFLAGS").env_remove("MAKELEVEL").env_remove("MFLAGS");
    said(&mut make)
}

#[test]
fn make_install_and_uninstall() {
    if !have("make_install_and_uninstall", &["make", "install"]) {
        return;
    }
    let dir = TempDir::new();
    let (to, program) = (format!("DESTDIR={}/two words", dir.path().display()), format!("PROGRAM={PROGRAM}"));
    make(&["install", &to, &program, "PREFIX=/usr"]);
    let usr = dir.path().join("two words/usr");
    let mut wanted = vec![
        ("bin/reachabilitycheck", 0o755),
        ("share/bash-completion/completions/reachabilitycheck", 0o644),
        ("share/fish/vendor_completions.d/reachabilitycheck.fish", 0o644),
        ("share/man/man8/reachabilitycheck.8", 0o644),
        ("share/zsh/site-functions/_reachabilitycheck", 0o644),
    ];
    let read = |name: &str| fs::read_to_string(usr.join(name)).unwrap();
    let unit = "lib/systemd/system/reachabilitycheck.service";
    if Path::new(ROOT).join("contrib/systemd/reachabilitycheck.service").exists() {
        wanted.insert(1, (unit, 0o644));
        let unit = read(unit);
        assert!(unit.contains("/usr/bin/reachabilitycheck") && !unit.contains("/usr/local"), "{unit}");
    }
    assert_eq!(files(&usr), wanted.iter().map(|(name, mode)| ((*name).to_owned(), *mode)).collect::<Vec<_>>());
    assert_eq!(fs::read(usr.join(wanted[0].0)).unwrap(), fs::read(PROGRAM).unwrap());
    let texts = ["share/bash-completion/completions/reachabilitycheck", "share/zsh/site-functions/_reachabilitycheck"];
    assert_eq!(read(texts[0]), manual::completions(Shell::Bash));
    assert_eq!(read(texts[1]), manual::completions(Shell::Zsh));
    assert_eq!(read("share/fish/vendor_completions.d/reachabilitycheck.fish"), manual::completions(Shell::Fish));
    assert_eq!(read("share/man/man8/reachabilitycheck.8"), manual::page());
    // Again, over what is there; then everything goes, and what is another's stays.
    make(&["install", &to, &program, "PREFIX=/usr"]);
    fs::write(usr.join("bin/other"), "").unwrap();
    make(&["uninstall", &to, "PREFIX=/usr"]);
    assert_eq!(files(&usr).iter().map(|(name, _)| &**name).collect::<Vec<_>>(), ["bin/other"]);
}

/// A program for another machine cannot say its manual page here; one built for this machine does.
#[test]
fn make_install_of_a_foreign_program() {
    if !have("make_install_of_a_foreign_program", &["make", "install"]) {
        return;
    }
    let dir = TempDir::new();
    // An ELF header for a machine that nobody has (e_machine, at 18).
    let mut foreign = fs::read(PROGRAM).unwrap()[..64].to_vec();
    foreign[18..20].copy_from_slice(&[0xff, 0xff]);
    dir.write("foreign", &foreign);
    // In the place of `cargo run --quiet --locked --`, which would build.
    dir.write("cargo", format!("#!/bin/sh\nshift 4\nexec {PROGRAM} \"$@\"\n"));
    for name in ["foreign", "cargo"] {
        fs::set_permissions(dir.path().join(name), fs::Permissions::from_mode(0o755)).unwrap();
    }
    make(&[
        "install",
        &format!("DESTDIR={}", dir.file("to")),
        &format!("PROGRAM={}", dir.file("foreign")),
        &format!("CARGO={}", dir.file("cargo")),
    ]);
    let local = dir.path().join("to/usr/local");
    assert_eq!(fs::read(local.join("bin/reachabilitycheck")).unwrap(), foreign);
    assert_eq!(fs::read_to_string(local.join("share/man/man8/reachabilitycheck.8")).unwrap(), manual::page());
}
