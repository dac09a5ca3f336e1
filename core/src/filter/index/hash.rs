//! A fast hash of short texts. It only says where to look: whoever looks compares the bytes.

const SEED: u64 = 0x9E37_79B9_7F4A_7C15;
const MULTIPLIER: u64 = 0xD6E8_FEB8_6659_FD93;

/// The same everywhere and always. Collisions can be made at will, so nothing may take long where many texts share a hash.
pub fn hash(bytes: &[u8]) -> u64 {
    let length = bytes.len();
    let mut state = SEED ^ (length as u64).wrapping_mul(MULTIPLIER);
    if let Some(last) = bytes.last_chunk::<8>() {
        let (words, _) = bytes[..length - 1].as_chunks::<8>();
        for word in words {
            state = fold(state ^ u64::from_le_bytes(*word));
        }
        state ^= u64::from_le_bytes(*last);
    } else if let (Some(first), Some(last)) = (bytes.first_chunk::<4>(), bytes.last_chunk::<4>()) {
        state ^= u64::from(u32::from_le_bytes(*first)) << 32 | u64::from(u32::from_le_bytes(*last));
    } else if let (Some(first), Some(last)) = (bytes.first(), bytes.last()) {
        state ^= u64::from(*first) << 16 | u64::from(bytes[length / 2]) << 8 | u64::from(*last);
    }
    fold(fold(state))
}

/// The upper half of a product depends on all of a number, the lower half on its low bits: together they mix.
fn fold(state: u64) -> u64 {
    let product = u128::from(state) * u128::from(MULTIPLIER);
    (product as u64) ^ (product >> 64) as u64
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_byte_and_the_length_count() {
        let mut seen = HashSet::new();
        let mut texts = 0;
        for length in 0..40 {
            let plain = vec![b'a'; length];
            texts += 1;
            seen.insert(hash(&plain));
            for place in 0..length {
                let mut other = plain.clone();
                other[place] = b'b';
                texts += 1;
                seen.insert(hash(&other));
            }
        }
        assert_eq!(seen.len(), texts);
    }

    #[test]
    fn upper_and_lower_bits_spread() {
        let mut upper = vec![0_u32; 256];
        let mut lower = vec![0_u32; 256];
        for i in 0..25_600 {
            let hash = hash(format!("app-{}-{i}", i % 7).as_bytes());
            upper[(hash >> 56) as usize] += 1;
            lower[(hash & 255) as usize] += 1;
        }
        for counts in [upper, lower] {
            assert!(counts.iter().all(|count| (40..200).contains(count)), "{counts:?}");
        }
    }
}
