//! The manual page and the completions of shells, from the table of flags. Pure.

use crate::flags::Shell;

/// The manual page in man(7).
pub fn page() -> String {
    String::new()
}

/// The completions for a shell.
pub fn completions(_shell: Shell) -> String {
    String::new()
}
