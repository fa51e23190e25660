//! Where notifications go. Each sink renders purely, and delivers apart from that.

pub mod alertmanager;
pub mod exec;
pub mod heartbeat;
pub mod http;
pub mod log;
pub mod slack;
#[cfg(feature = "tls")]
pub mod tls;
