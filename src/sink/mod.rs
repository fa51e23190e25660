//! Where notifications go. Each sink renders purely, and delivers apart from that.

pub mod log;
pub mod slack;
