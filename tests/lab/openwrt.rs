//! What an OpenWrt router has and this machine has not.

/// Stands in for rc.common, UCI and procd: what they are told goes to the file `calls`, a call a line.
pub const OPENWRT: &str = r#"
call() { printf '%s\037' "$@" >>calls; echo >>calls; }
config_load() { call load "$1"; sections=; . ./uci; }
config() { section=${2:-cfg$((n = n + 1))}; sections="$sections $section"; eval "type_$section=\$1"; }
option() { eval "option_${section}_$1=\$2"; }
list() { eval "length=\$((\${length_${section}_$1:-0} + 1)) length_${section}_$1=\$length"
    eval "item_${section}_$1_$length=\$2"; }
config_get() { eval "$1=\${option_$2_$3:-\${4-}}"; }
config_get_bool() { config_get "$@"; eval "case \$$1 in 1|on|true|yes|enabled) $1=1 ;; 0|off|false|no|disabled) $1=0 ;; esac"; }
config_foreach() { local _s _t; for _s in $sections; do eval "_t=\$type_$_s"; [ "$_t" != "$2" ] || "$1" "$_s"; done; }
config_list_foreach() { local _i=1 _l _v; eval "_l=\${length_$1_$2:-0}"
    while [ $_i -le $_l ]; do eval "_v=\$item_$1_$2_$_i"; "$3" "$_v"; _i=$((_i + 1)); done; eval "length_$1_$2=0"; }
procd_open_instance() { call open "$@"; }
procd_set_param() { call "$@"; }
procd_close_instance() { call close; }
procd_add_reload_trigger() { call trigger "$@"; }
procd_running() { [ -e running ]; }
procd_send_signal() { call signal "$@"; [ ! -s running ] || kill -"$3" "$(cat running)"; }
logger() { printf '%s\n' "$*" >&2; }
start() { call start; start_service; }
"#;
