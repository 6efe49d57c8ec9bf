//! Whether a JPEG is all there: the decoder fills what is missing with gray.

/// Whether the data has an end marker (EOI).
///
/// Segments before the scans have a length and are passed over as a whole: the thumbnail in one has an end marker of its
/// own. In the coded data of a scan, FF is followed by 0, or by the number of a restart marker.
pub(super) fn has_end(bytes: &[u8]) -> bool {
    // After the start marker (SOI).
    let mut at = 2;
    loop {
        // Bytes between segments, and fill bytes, are passed over as well.
        match (bytes.get(at), bytes.get(at + 1)) {
            (Some(0xFF), Some(0xD9)) => return true,
            (Some(0xFF), Some(0x00 | 0x01 | 0xD0..=0xD8)) => at += 2,
            (Some(0xFF), Some(marker)) if *marker != 0xFF => {
                let Some(&[high, low]) = bytes.get(at + 2..at + 4) else { return false };
                at += 2 + usize::from(u16::from_be_bytes([high, low])).max(2);
            }
            (Some(_), Some(_)) => at += 1,
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::has_end;

    #[test]
    fn only_the_end_of_the_image_itself_counts() {
        let start = [0xFF, 0xD8];
        // A segment of six bytes that holds what looks like an end, as thumbnails do.
        let thumbnail = [0xFF, 0xE1, 0, 6, 0xFF, 0xD9, 1, 2];
        let scan = [0xFF, 0xDA, 0, 2, 7, 0xFF, 0, 9, 0xFF, 0xD3, 1];
        let whole = [&start[..], &thumbnail, &scan, &[0xFF, 0xFF, 0xD9, 5, 5]].concat();
        assert!(has_end(&whole));
        for length in 0..whole.len() - 2 {
            assert!(!has_end(&whole[..length]), "{length} of {} bytes", whole.len());
        }
        assert!(has_end(&[&start[..], &scan, &[0xFF, 0xD9]].concat()));
        assert!(!has_end(&[&start[..], &[0xFF, 0xE1, 0xFF, 0xFF, 0xFF, 0xD9]].concat()), "a length beyond the end");
    }
}
