//! The manual page and the completions of shells, from the table of flags. Pure.
//!
//! What the page says besides stands in `manual.8`.

use crate::flags::{FLAGS, Flag, GROUPS, Shell};

/// The date of this version. Not the clock's: the same sources make the same page.
pub const DATE: &str = "2026-11-22";

/// The manual page in man(7).
pub fn page() -> String {
    let mut options = String::new();
    for (group, title) in GROUPS {
        options += &format!(".SS \"{}\"\n", roff(title));
        for flag in FLAGS.iter().filter(|flag| flag.group == group) {
            let names: Vec<String> = flag.names().iter().map(|name| format!("\\fB{}\\fR", roff(name))).collect();
            let value = if flag.value.is_empty() { String::new() } else { format!(" \\fI{}\\fR", roff(flag.value)) };
            options += &format!(".TP\n{}{value}\n{}", names.join(", "), description(flag));
        }
    }
    include_str!("manual.8")
        .replace("@DATE@", DATE)
        .replace("@VERSION@", env!("CARGO_PKG_VERSION"))
        .replace("@OPTIONS@\n", &options)
}

/// What the page says of a flag.
fn description(flag: &Flag) -> String {
    let mut help = flag.help.to_owned();
    help[..1].make_ascii_uppercase();
    let mut text = sentence(&help);
    // Of a file or a command there is nothing more to say.
    if !["", "FILE", "COMMAND"].contains(&flag.value) {
        text += &sentence(&format!("Accepted: {}", flag.accepted));
    }
    if !flag.default.is_empty() {
        text += &sentence(&format!("Default: {}", flag.default));
    }
    text
}

/// A sentence with its full stop, in lines of at most 80 bytes.
fn sentence(text: &str) -> String {
    let (mut lines, mut line) = (String::new(), String::new());
    for word in text.split(' ').map(roff) {
        if line.len() + 1 + word.len() > 79 {
            lines += line.trim_end();
            lines += "\n";
            line.clear();
        }
        line += &word;
        line += " ";
    }
    let stop = if text.ends_with("...") { "" } else { "." };
    format!("{lines}{}{stop}\n", line.trim_end())
}

/// A word for roff: what has a meaning there is escaped, a dash can be copied, a URL or variable is not hyphenated.
fn roff(word: &str) -> String {
    let kept = if word.starts_with('.') || word.contains(['/', '_']) { "\\%\\&" } else { "" };
    let word = word.replace('\\', "\\e").replace('-', "\\-").replace('\'', "\\(aq").replace('"', "\\(dq");
    format!("{kept}{word}")
}

/// The completions for a shell.
pub fn completions(shell: Shell) -> String {
    match shell {
        Shell::Bash => bash(),
        Shell::Zsh => zsh(),
        Shell::Fish => fish(),
    }
}

/// The shells' names, as values of `--completions`.
fn shells() -> String {
    Shell::ALL.map(|(name, _)| name).join(" ")
}

fn bash() -> String {
    let names = |wanted: &dyn Fn(&Flag) -> bool, between: &str| {
        FLAGS.iter().filter(|flag| wanted(flag)).flat_map(Flag::names).collect::<Vec<_>>().join(between)
    };
    let of = |value: &'static str| names(&|flag| flag.value == value, "|");
    let others = |flag: &Flag| flag.takes_value() && !["FILE", "IFACE", "SHELL", "COMMAND"].contains(&flag.value);
    format!(
        r#"# bash completion for reachabilitycheck

_reachabilitycheck() {{
    local cur=${{COMP_WORDS[COMP_CWORD]}} prev=${{COMP_WORDS[COMP_CWORD-1]}} options=1 i
    COMPREPLY=()
    # To bash the = of --log=FILE is a word of its own.
    if [[ $cur == = ]]; then
        cur=
    elif [[ $prev == = ]]; then
        prev=${{COMP_WORDS[COMP_CWORD-2]}}
    fi
    for ((i = 1; i < COMP_CWORD; i++)); do
        if [[ ${{COMP_WORDS[i]}} == -- ]]; then
            options=
            prev=
        fi
    done
    case $prev in
        {files})
            compopt -o filenames 2>/dev/null
            mapfile -t COMPREPLY < <(compgen -f -- "$cur")
            return
            ;;
        {interfaces})
            mapfile -t COMPREPLY < <(compgen -W "$(command ls /sys/class/net 2>/dev/null)" -- "$cur")
            return
            ;;
        {shell})
            mapfile -t COMPREPLY < <(compgen -W "{shells}" -- "$cur")
            return
            ;;
        {commands})
            mapfile -t COMPREPLY < <(compgen -c -- "$cur")
            return
            ;;
        {others})
            return
            ;;
    esac
    if [[ $options && $cur == -* ]]; then
        mapfile -t COMPREPLY < <(compgen -W "{all}" -- "$cur")
    elif declare -F _known_hosts_real >/dev/null; then
        _known_hosts_real -- "$cur"
    else
        mapfile -t COMPREPLY < <(compgen -A hostname -- "$cur")
    fi
}}

complete -F _reachabilitycheck reachabilitycheck
"#,
        files = of("FILE"),
        interfaces = of("IFACE"),
        shell = of("SHELL"),
        shells = shells(),
        commands = of("COMMAND"),
        others = names(&others, "|"),
        all = names(&|_| true, " "),
    )
}

fn zsh() -> String {
    let shells = format!("({})", shells());
    let mut options = String::new();
    for flag in FLAGS {
        let action = match flag.value {
            "FILE" => "_files",
            "IFACE" => "_net_interfaces",
            "SHELL" => &shells,
            "COMMAND" => "_cmdstring",
            _ => " ",
        };
        let value = if flag.takes_value() { format!(":{}:{action}", flag.value) } else { String::new() };
        let help = flag.help.replace(']', "\\]").replace('\'', r"'\''");
        for name in flag.names() {
            // --name=VALUE or --name VALUE, but only -n VALUE.
            let equals = if flag.takes_value() && name.starts_with("--") { "=" } else { "" };
            options += &format!("        '*{name}{equals}[{help}]{value}' \\\n");
        }
    }
    format!(
        r#"#compdef reachabilitycheck
# zsh completion for reachabilitycheck

_reachabilitycheck_target() {{
    compset -P '*='
    _hosts
}}

_reachabilitycheck() {{
    _arguments -S \
{options}        '*:TARGET:_reachabilitycheck_target'
}}

# Autoloaded, or sourced.
if [[ $funcstack[1] == _reachabilitycheck ]]; then
    _reachabilitycheck "$@"
else
    compdef _reachabilitycheck reachabilitycheck
fi
"#
    )
}

fn fish() -> String {
    let mut text = String::from(
        r#"# fish completion for reachabilitycheck

function __reachabilitycheck_targets
    set -l label (string match -r '^[^=]*=' -- (commandline -ct); or echo '')
    printf '%s\n' $label(__fish_print_hostnames)
end

complete -c reachabilitycheck -f -a '(__reachabilitycheck_targets)' -d Target
"#,
    );
    let shells = format!(" -x -a '{}'", shells());
    for flag in FLAGS {
        // To fish, -s has one letter and takes the rest of the word as its value; -ct, and so -c, are whole words.
        let is_word = FLAGS.iter().any(|other| other.short.len() > 1 && other.short.starts_with(flag.short));
        let short = match flag.short {
            "" => String::new(),
            short => format!(" -{} {short}", if is_word { "o" } else { "s" }),
        };
        let long = if flag.long.is_empty() { String::new() } else { format!(" -l {}", flag.long) };
        let value = match flag.value {
            "" => "",
            "FILE" => " -r -F",
            "IFACE" => " -x -a '(__fish_print_interfaces)'",
            "SHELL" => &shells,
            "COMMAND" => " -x -a '(__fish_complete_command)'",
            _ => " -x",
        };
        let help = flag.help.replace('\\', "\\\\").replace('\'', "\\'");
        text += &format!("complete -c reachabilitycheck{short}{long}{value} -d '{help}'\n");
    }
    text
}
