//! Lines of JSON that know whether they are whole, and what stands in them more than once. Pure.

use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use crate::event::{Item, Kind};

/// A line of a file: the JSON, and a checksum of it, for one changed digit in a file is damage too.
pub fn sealed(value: &Value) -> String {
    let json = value.to_string();
    format!("{json} {:08x}\n", checksum(json.as_bytes()))
}

/// The JSON of a whole line, which is given without its newline.
pub fn unsealed(line: &[u8]) -> Option<Value> {
    let (json, seal) = line.split_at_checked(line.len().checked_sub(9)?)?;
    let whole = seal == format!(" {:08x}", checksum(json)).as_bytes();
    serde_json::from_slice(json).ok().filter(|_| whole)
}

/// FNV-1a, 32 bits: against accidents, not against people.
fn checksum(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |sum, byte| (sum ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}

/// A notification.
pub fn item_value(item: &Item) -> Value {
    json!({
        "made": item.number, "at": millis(item.at), "kind": item.kind.to_string(), "target": item.target, "text": item.text,
    })
}

/// The notification that [`item_value`] wrote; other keys beside its own are passed over.
pub fn item_from(value: &Value) -> Option<Item> {
    Some(Item {
        number: value.get("made")?.as_u64()?,
        at: time(value.get("at")?)?,
        kind: Kind::from_name(value.get("kind")?.as_str()?)?,
        target: value.get("target")?.as_str().map(str::to_owned),
        text: value.get("text")?.as_str()?.to_owned(),
    })
}

/// Milliseconds of Unix time; 0 for what lies before it.
pub fn millis(at: SystemTime) -> u64 {
    at.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

/// The time that [`millis`] wrote. Whatever the file says, it must be one that can be written as RFC 3339.
pub fn time(value: &Value) -> Option<SystemTime> {
    const YEAR_9999: u64 = 253_402_300_799_000;
    let millis = value.as_u64().filter(|millis| *millis < YEAR_9999)?;
    Some(SystemTime::UNIX_EPOCH + Duration::from_millis(millis))
}
