//! Records that the Kinesis Producer Library packed into one: taken apart on the way in.
//!
//! The format ("KPL aggregated record format" in the library's documentation): four magic bytes, a protobuf message, the
//! MD5 of that message. The message has a table of partition keys (1), one of explicit hash keys (2), and the records (3),
//! each with its index into the first (1) and maybe the second (2), and its data (3). What is not exactly that is an
//! ordinary record, as consumers see it too.

use bytes::{Buf, Bytes};
use md5::{Digest, Md5};

use crate::json::KEY_BYTES_MAX;

const MAGIC: [u8; 4] = [0xf3, 0x89, 0x9a, 0xc2];
const DIGEST_BYTES: usize = 16;

/// A record that was packed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct UserRecord {
    pub(super) partition_key: Bytes,
    pub(super) explicit_hash_key: Option<Bytes>,
    pub(super) data: Bytes,
}

/// A field of a protobuf message.
enum Field {
    Number(u64, u64),
    Bytes(u64, Bytes),
    Other,
}

/// The records in `data`; `None` if it is no aggregated record, or one of more than `most`.
pub(super) fn take_apart(data: &Bytes, most: usize) -> Option<Vec<UserRecord>> {
    let message_end = data.len().checked_sub(DIGEST_BYTES)?;
    if !data.starts_with(&MAGIC) || message_end < MAGIC.len() {
        return None;
    }
    let mut message = data.slice(MAGIC.len()..message_end);
    if Md5::digest(&message)[..] != data[message_end..] {
        return None;
    }
    let (mut keys, mut hash_keys, mut packed) = (Vec::new(), Vec::new(), Vec::new());
    while message.has_remaining() {
        match field(&mut message)? {
            Field::Bytes(1, key) if key.len() <= KEY_BYTES_MAX => keys.push(key),
            Field::Bytes(2, key) => hash_keys.push(key),
            Field::Bytes(3, record) => packed.push(record),
            Field::Bytes(1, _) => return None,
            _ => {}
        }
        // Every key is some record's: more keys than records are no tables that the library writes.
        if keys.len().max(hash_keys.len()).max(packed.len()) > most {
            return None;
        }
    }
    packed.into_iter().map(|record| user_record(record, &keys, &hash_keys)).collect()
}

fn user_record(mut message: Bytes, keys: &[Bytes], hash_keys: &[Bytes]) -> Option<UserRecord> {
    let (mut key, mut hash_key, mut data) = (None, None, None);
    while message.has_remaining() {
        match field(&mut message)? {
            Field::Number(1, index) => key = Some(keys.get(usize::try_from(index).ok()?)?.clone()),
            Field::Number(2, index) => hash_key = Some(hash_keys.get(usize::try_from(index).ok()?)?.clone()),
            Field::Bytes(3, bytes) => data = Some(bytes),
            _ => {}
        }
    }
    Some(UserRecord { partition_key: key?, explicit_hash_key: hash_key, data: data? })
}

/// Takes the next field off the front of a message.
fn field(message: &mut Bytes) -> Option<Field> {
    let tag = varint(message)?;
    let number = tag >> 3;
    match tag & 7 {
        0 => Some(Field::Number(number, varint(message)?)),
        1 => skip(message, 8),
        2 => {
            let length = usize::try_from(varint(message)?).ok()?;
            (length <= message.len()).then(|| Field::Bytes(number, message.split_to(length)))
        }
        5 => skip(message, 4),
        _ => None,
    }
}

fn skip(message: &mut Bytes, count: usize) -> Option<Field> {
    (count <= message.len()).then(|| {
        message.advance(count);
        Field::Other
    })
}

fn varint(message: &mut Bytes) -> Option<u64> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let byte = message.try_get_u8().ok()?;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}
