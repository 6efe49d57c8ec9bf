//! Zip archives whose entries are stored as they are, which is all that `torch.save` writes.

use std::collections::HashMap;

use super::source::Source;
use crate::Result;
use crate::text::short_name;

/// Largest directory that is read, enough for several hundred thousand tensors.
const MAX_DIRECTORY: u64 = 64 << 20;
/// Size of the record at the end of every zip file, without its comment.
const END: usize = 22;
const DAMAGED: &str = "is a damaged zip file: its directory cannot be read";

/// One file in the archive.
pub(super) struct Entry {
    /// Number of bytes.
    pub(super) size: u64,
    header: u64,
    crc: u32,
    stored: bool,
}

/// The directory of a zip file.
pub(super) struct Archive {
    entries: HashMap<String, Entry>,
    /// Where the directory starts, which is behind all entries.
    directory: u64,
}

impl Archive {
    pub(super) fn open(source: &mut Source) -> Result<Self> {
        let (count, size, directory) = find_directory(source)?;
        if size > MAX_DIRECTORY {
            return Err(source.fault(format!("has a zip directory of {size} bytes, allowed: up to {MAX_DIRECTORY}")));
        }
        let bytes = source.read_at(directory, size)?;
        let mut entries = HashMap::new();
        let mut at = 0;
        for _ in 0..count {
            let (name, entry, next) = parse_entry(&bytes, at).ok_or_else(|| source.fault(DAMAGED))?;
            let shown = short_name(&name);
            if entries.insert(name, entry).is_some() {
                return Err(source.fault(format!("is a damaged zip file: it contains the entry {shown} twice")));
            }
            at = next;
        }
        Ok(Self { entries, directory })
    }

    pub(super) fn get(&self, name: &str) -> Option<&Entry> {
        self.entries.get(name)
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.keys().map(String::as_str)
    }

    /// The bytes of an entry, checked against their checksum.
    pub(super) fn read(&self, source: &mut Source, name: &str) -> Result<Vec<u8>> {
        let shown = short_name(name);
        let entry = self.get(name).ok_or_else(|| source.fault(format!("is incomplete: it has no entry {shown}")))?;
        if !entry.stored {
            return Err(source.fault(format!(
                "the entry {shown} is compressed or encrypted, which torch.save never does; save the file again with \
                 torch.save"
            )));
        }
        let header = source.read_at(entry.header, 30)?;
        let lengths = (header.starts_with(b"PK\x03\x04")).then(|| Some((u16_at(&header, 26)?, u16_at(&header, 28)?)));
        let (name_len, extra_len) = lengths.flatten().ok_or_else(|| {
            source.fault(format!("is a damaged zip file: the entry {shown} is not where it should be"))
        })?;
        let start = entry.header + 30 + u64::from(name_len) + u64::from(extra_len);
        if start.checked_add(entry.size).is_none_or(|end| end > self.directory) {
            return Err(source.fault(format!("is a damaged zip file: the entry {shown} extends into the directory")));
        }
        let bytes = source.read_at(start, entry.size)?;
        if crc32(&bytes) != entry.crc {
            return Err(source.fault(format!(
                "is damaged: the checksum of {shown} does not match (or it was saved without checksums; save it again \
                 with them)"
            )));
        }
        Ok(bytes)
    }
}

/// Number of entries, and size and place of the directory.
fn find_directory(source: &mut Source) -> Result<(u64, u64, u64)> {
    let len = source.len();
    // The end record is followed by a comment of up to 65535 bytes, and preceded by the locator of the zip64 record.
    let tail_at = len.saturating_sub(END as u64 + 65_535 + 20);
    let tail = source.read_at(tail_at, len - tail_at)?;
    let is_end = |at: &usize| {
        let comment = tail.len() - at - END;
        tail[*at..].starts_with(b"PK\x05\x06") && u16_at(&tail, at + 20).is_some_and(|n| usize::from(n) == comment)
    };
    let last = tail.len().checked_sub(END);
    let end = last
        .and_then(|last| (0..=last).rev().find(is_end))
        .ok_or_else(|| source.fault("is truncated or damaged: a zip file must end with its directory"))?;
    let locator = end.checked_sub(20).filter(|&at| tail[at..].starts_with(b"PK\x06\x07"));
    let fields = if let Some(locator) = locator {
        let record_at = u64_at(&tail, locator + 8).ok_or_else(|| source.fault(DAMAGED))?;
        let record = source.read_at(record_at, 56)?;
        let sound = record.starts_with(b"PK\x06\x06");
        sound.then(|| Some((u64_at(&record, 32)?, u64_at(&record, 40)?, u64_at(&record, 48)?))).flatten()
    } else {
        let count = u16_at(&tail, end + 10).map(u64::from);
        let place = u32_at(&tail, end + 12).map(u64::from).zip(u32_at(&tail, end + 16).map(u64::from));
        count.zip(place).map(|(count, (size, at))| (count, size, at))
    };
    fields.ok_or_else(|| source.fault(DAMAGED))
}

/// The directory's record at `at`: name, entry and the place of the next record.
fn parse_entry(bytes: &[u8], at: usize) -> Option<(String, Entry, usize)> {
    const WIDE: u64 = u32::MAX as u64;
    let record = bytes.get(at..)?;
    if !record.starts_with(b"PK\x01\x02") {
        return None;
    }
    let [name_len, extra_len, comment_len] =
        [u16_at(record, 28)?, u16_at(record, 30)?, u16_at(record, 32)?].map(usize::from);
    let (flags, method, crc) = (u16_at(record, 8)?, u16_at(record, 10)?, u32_at(record, 16)?);
    let mut packed = u64::from(u32_at(record, 20)?);
    let mut size = u64::from(u32_at(record, 24)?);
    let mut header = u64::from(u32_at(record, 42)?);
    let name = record.get(46..46 + name_len)?;
    let mut extra = record.get(46 + name_len..46 + name_len + extra_len)?;
    // Numbers that do not fit 32 bits are all ones, and stand in the zip64 field, in this order.
    while extra.len() >= 4 {
        let (id, len) = (u16_at(extra, 0)?, usize::from(u16_at(extra, 2)?));
        let field = extra.get(4..4 + len)?;
        if id == 1 {
            let mut place = 0;
            for number in [&mut size, &mut packed, &mut header] {
                if *number == WIDE {
                    *number = u64_at(field, place)?;
                    place += 8;
                }
            }
        }
        extra = extra.get(4 + len..)?;
    }
    // The header's place is added to later; one beyond any file is damage.
    (header < u64::MAX / 2).then_some(())?;
    let stored = method == 0 && flags & 1 == 0 && packed == size;
    let name = String::from_utf8_lossy(name).into_owned();
    Some((name, Entry { size, header, crc, stored }, at + 46 + name_len + extra_len + comment_len))
}

fn array_at<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at.checked_add(N)?)?.try_into().ok()
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    array_at(bytes, at).map(u16::from_le_bytes)
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    array_at(bytes, at).map(u32::from_le_bytes)
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    array_at(bytes, at).map(u64::from_le_bytes)
}

/// Remainders of all bytes, and of all bytes followed by one to seven zero bytes.
static CRC_TABLES: [[u32; 256]; 8] = crc_tables();

const fn crc_tables() -> [[u32; 256]; 8] {
    let mut tables = [[0; 256]; 8];
    let mut i = 0;
    while i < 256 {
        let mut value = i as u32;
        let mut bit = 0;
        while bit < 8 {
            value = if value & 1 == 1 { 0xEDB8_8320 ^ (value >> 1) } else { value >> 1 };
            bit += 1;
        }
        tables[0][i] = value;
        i += 1;
    }
    let mut k = 1;
    while k < 8 {
        let mut i = 0;
        while i < 256 {
            let previous: u32 = tables[k - 1][i];
            tables[k][i] = tables[0][(previous & 0xFF) as usize] ^ (previous >> 8);
            i += 1;
        }
        k += 1;
    }
    tables
}

/// The zip checksum, eight bytes at a time: weights are large, and one byte at a time takes longer than reading them.
fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    let mut chunks = bytes.chunks_exact(8);
    for chunk in &mut chunks {
        let mut next = 0;
        for (k, &byte) in chunk.iter().enumerate() {
            let mixed = if k < 4 { byte ^ crc.to_le_bytes()[k] } else { byte };
            next ^= CRC_TABLES[7 - k][usize::from(mixed)];
        }
        crc = next;
    }
    for &byte in chunks.remainder() {
        crc = CRC_TABLES[0][usize::from(crc.to_le_bytes()[0] ^ byte)] ^ (crc >> 8);
    }
    !crc
}

#[cfg(test)]
mod tests {
    use super::crc32;

    #[test]
    fn checksum_matches_the_standard_check_value() {
        assert_eq!(crc32(b"123456789"), 0xCBF4_3926);
        assert_eq!(crc32(b""), 0);
    }
}
