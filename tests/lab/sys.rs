//! The few system calls that std lacks. All unsafe code of the lab stands here.
#![allow(unsafe_code)]

use std::fs::{File, OpenOptions};
use std::io;
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::time::Duration;
use std::{mem, ptr};

/// Makes the TUN device `name`, which lasts as long as the file is open. Reads do not block.
pub fn open_tun(name: &str) -> io::Result<File> {
    let tun = OpenOptions::new().read(true).write(true).custom_flags(libc::O_NONBLOCK).open("/dev/net/tun")?;
    // SAFETY: all zeroes is a valid ifreq (plain numbers and arrays of them).
    let mut request: libc::ifreq = unsafe { mem::zeroed() };
    // One byte less than there is room for: the name ends with a zero.
    for (to, from) in request.ifr_name[..libc::IFNAMSIZ - 1].iter_mut().zip(name.bytes()) {
        *to = from as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_TUN | libc::IFF_NO_PI) as libc::c_short;
    // SAFETY: the descriptor is open and `request` lives through the call, which reads and writes one ifreq.
    check(unsafe { libc::ioctl(tun.as_raw_fd(), libc::TUNSETIFF, &mut request) })?;
    Ok(tun)
}

/// Waits until `fd` can be read or `timeout` has passed, to the nanosecond. True if it can be read.
pub fn wait_readable(fd: &impl AsRawFd, timeout: Duration) -> bool {
    let mut poll = libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    let time =
        libc::timespec { tv_sec: timeout.as_secs() as libc::time_t, tv_nsec: timeout.subsec_nanos() as libc::c_long };
    // SAFETY: one pollfd and one timespec, both alive through the call; a null mask leaves the signals alone.
    unsafe { libc::ppoll(&mut poll, 1, &time, ptr::null()) > 0 }
}

/// Sends a signal to a process, or to a process group if `pid` is negative or 0 (as kill(2) has it).
pub fn kill(pid: i32, signal: i32) -> io::Result<()> {
    // SAFETY: kill takes two numbers and touches no memory of ours.
    check(unsafe { libc::kill(pid, signal) })
}

/// Makes the close of `stream` a reset (RST) instead of an orderly end.
pub fn reset_on_close(stream: &TcpStream) -> io::Result<()> {
    let linger = libc::linger { l_onoff: 1, l_linger: 0 };
    // SAFETY: the pointer and the length are those of `linger`, alive through the call.
    check(unsafe {
        libc::setsockopt(
            stream.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_LINGER,
            ptr::from_ref(&linger).cast(),
            mem::size_of::<libc::linger>() as libc::socklen_t,
        )
    })
}

/// Changes how many connections may wait for `accept`.
pub fn set_backlog(listener: &TcpListener, backlog: i32) -> io::Result<()> {
    // SAFETY: listen takes two numbers; called again it only changes the backlog.
    check(unsafe { libc::listen(listener.as_raw_fd(), backlog) })
}

/// A pseudo-terminal: the end where the user sits, and the end where programs run.
pub fn open_pty() -> io::Result<(File, File)> {
    let (mut user, mut program) = (-1, -1);
    // SAFETY: two numbers that live through the call are filled; null asks for no name, the usual settings and size.
    check(unsafe { libc::openpty(&mut user, &mut program, ptr::null_mut(), ptr::null_mut(), ptr::null_mut()) })?;
    // SAFETY: both were opened just now, and are nobody else's.
    let end = |fd| unsafe { File::from_raw_fd(fd) };
    // Clones, as those are not handed on to children.
    Ok((end(user).try_clone()?, end(program).try_clone()?))
}

/// Makes the window of a terminal so large; programs in the foreground get SIGWINCH.
pub fn set_window(terminal: &File, rows: u16, columns: u16) -> io::Result<()> {
    let size = libc::winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: the call reads one winsize, which lives through it.
    check(unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCSWINSZ, ptr::from_ref(&size)) })
}

/// The processor time that a process has used, user and system, with all its threads.
pub fn cpu_time(pid: u32) -> Duration {
    let mut clock = 0;
    // SAFETY: one clockid_t, alive through the call.
    if unsafe { libc::clock_getcpuclockid(pid as libc::pid_t, &mut clock) } != 0 {
        return Duration::ZERO;
    }
    clock_time(clock)
}

/// The processor time that this thread has used.
pub fn own_cpu_time() -> Duration {
    clock_time(libc::CLOCK_THREAD_CPUTIME_ID)
}

fn clock_time(clock: libc::clockid_t) -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: one timespec, alive through the call.
    unsafe { libc::clock_gettime(clock, &mut time) };
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

fn check(result: i32) -> io::Result<()> {
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
