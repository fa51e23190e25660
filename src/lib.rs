//! reachabilitycheck watches hosts (ICMP) and services (TCP ports), judges what is lost, and gets each notification to
//! Slack and to a log file.
//!
//! The way of the data: flags, files and environment become a [`config::Config`]; each of its targets gets a thread
//! ([`monitor`]) that checks ([`probe`]) and judges ([`judge`]); what changes goes over a channel to the single
//! [`writer`], which brings it to the log and to Slack ([`sink`]).
//!
//! Pure (no clock, socket, file or thread; times come in, the next wake-up goes out): [`wire`], [`flight`],
//! [`schedule`], [`judge`], [`event`], [`outbox`], [`alerts`], [`flags`], [`manual`], [`config`],
//! [`proxy`], [`seal`], [`secret`], [`target`], [`history`]. `make lint` sees to that.

#[cfg(not(unix))]
compile_error!("reachabilitycheck needs Unix sockets");

pub mod alerts;
pub mod checkup;
pub mod clock;
pub mod config;
pub mod event;
pub mod flags;
pub mod fleet;
pub mod flight;
pub mod history;
pub mod history_file;
pub mod judge;
pub mod manual;
pub mod monitor;
pub mod outbox;
pub mod probe;
pub mod proxy;
pub mod resolver;
pub mod run;
pub mod schedule;
pub mod seal;
pub mod secret;
pub mod sink;
pub mod state;
pub mod stats;
pub mod sync;
pub mod sys;
pub mod target;
pub mod view;
pub mod wire;
pub mod writer;
