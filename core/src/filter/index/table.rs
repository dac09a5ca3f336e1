//! A persistent hash table: a clone is one pointer, a change copies one page of entries and one group of pages.
//!
//! ```text
//! groups ── group ── page ── (hash, value) (hash, value) …
//! ```
//!
//! A look-up is three dependent loads, the first two of which stay in the cache: half of what a trie of the same size takes.
//! The upper bits of the hash choose the page. The table doubles when pages get long, which costs every entry a copy once
//! per doubling.

use std::sync::Arc;

use prefetch_index::prefetch_index;

/// Values under hashes that may collide: the caller says by a test which one is meant.
#[derive(Clone, Debug)]
pub struct Table<V> {
    groups: Arc<[Group<V>]>,
    /// There are `1 << bits` pages.
    bits: u32,
    len: usize,
}

type Page<V> = Arc<[(u64, V)]>;
type Group<V> = Arc<[Page<V>]>;

/// Pages of one group, as a power of two: what a change copies beside its page.
const GROUP_BITS: u32 = 6;
/// Entries a page may have on average before the table doubles.
const MAX_LOAD: usize = 8;
/// Entries a page has at least on average, or the table halves.
const MIN_LOAD: usize = 1;

// === impl Table ===

impl<V: Clone> Table<V> {
    pub fn new() -> Table<V> {
        Table { groups: Arc::new([Arc::new([Arc::new([])])]), bits: 0, len: 0 }
    }

    pub fn len(&self) -> usize {
        self.len
    }

    pub fn get(&self, hash: u64, is: impl Fn(&V) -> bool) -> Option<&V> {
        self.of_hash(hash).find(|value| is(value))
    }

    /// Those of that hash, nearly always one.
    pub fn of_hash(&self, hash: u64) -> impl Iterator<Item = &V> {
        self.page(hash).iter().filter(move |(known, _)| *known == hash).map(|(_, value)| value)
    }

    /// Has what [`Table::of_hash`] goes through brought into the cache, without waiting for it.
    pub fn fetch(&self, hash: u64) {
        let page = self.page(hash);
        (0..page.len()).step_by((LINE / size_of::<(u64, V)>()).max(1)).for_each(|entry| prefetch_index(page, entry));
    }

    /// For a change: copies what others share.
    pub fn get_mut(&mut self, hash: u64, is: impl Fn(&V) -> bool) -> Option<&mut V> {
        let (group, page) = self.place(hash);
        let at = self.groups[group][page].iter().position(|(known, value)| *known == hash && is(value))?;
        let page = &mut Arc::make_mut(&mut Arc::make_mut(&mut self.groups)[group])[page];
        Some(&mut Arc::make_mut(page)[at].1)
    }

    /// There must be none of that hash that is meant by it.
    pub fn insert(&mut self, hash: u64, value: V) {
        if self.len >= MAX_LOAD << self.bits {
            self.rehash(self.bits + 1);
        }
        self.len += 1;
        let page = self.page_mut(hash);
        *page = page.iter().cloned().chain([(hash, value)]).collect();
    }

    pub fn remove(&mut self, hash: u64, is: impl Fn(&V) -> bool) {
        if self.get(hash, &is).is_none() {
            return;
        }
        self.len -= 1;
        let page = self.page_mut(hash);
        *page = page.iter().filter(|(known, value)| *known != hash || !is(value)).cloned().collect();
        if self.bits > 0 && self.len < MIN_LOAD << self.bits {
            self.rehash(self.bits - 1);
        }
    }

    pub fn values(&self) -> impl Iterator<Item = &V> {
        self.groups.iter().flat_map(|group| group.iter()).flat_map(|page| page.iter()).map(|(_, value)| value)
    }

    /// Bytes of pages and groups, without what their values own.
    pub fn bytes(&self) -> usize {
        let pages = (1 << self.bits) * (size_of::<Page<V>>() + ARC_BYTES);
        self.groups.len() * (size_of::<Group<V>>() + ARC_BYTES) + pages + self.len * size_of::<(u64, V)>()
    }

    fn rehash(&mut self, bits: u32) {
        let entries = self.groups.iter().flat_map(|group| group.iter()).flat_map(|page| page.iter().cloned());
        *self = Table::of(entries.collect(), bits);
    }

    /// Of all entries at once.
    pub fn of(mut entries: Vec<(u64, V)>, bits: u32) -> Table<V> {
        let page_of = |hash: u64| page_number(hash, bits);
        entries.sort_by_key(|(hash, _)| page_of(*hash));
        let len = entries.len();
        let mut entries = entries.into_iter().peekable();
        let pages: Vec<Page<V>> = (0..1_usize << bits)
            .map(|page| std::iter::from_fn(|| entries.next_if(|(hash, _)| page_of(*hash) == page)).collect())
            .collect();
        let groups = pages.chunks(1 << GROUP_BITS).map(Arc::from).collect();
        Table { groups, bits, len }
    }

    fn page(&self, hash: u64) -> &[(u64, V)] {
        let (group, page) = self.place(hash);
        &self.groups[group][page]
    }

    fn page_mut(&mut self, hash: u64) -> &mut Page<V> {
        let (group, page) = self.place(hash);
        &mut Arc::make_mut(&mut Arc::make_mut(&mut self.groups)[group])[page]
    }

    fn place(&self, hash: u64) -> (usize, usize) {
        let page = page_number(hash, self.bits);
        (page >> GROUP_BITS, page & ((1 << GROUP_BITS) - 1))
    }
}

/// Bytes of a cache line.
pub(super) const LINE: usize = 64;
/// Counts of an [`Arc`].
const ARC_BYTES: usize = 16;

fn page_number(hash: u64, bits: u32) -> usize {
    // A shift by all 64 bits is none.
    hash.checked_shr(u64::BITS - bits).unwrap_or(0) as usize
}

pub fn bits_for(entries: usize) -> u32 {
    entries.div_ceil(MAX_LOAD).next_power_of_two().trailing_zeros()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Few keys and fewer hashes, so that pages collide; and a clone that must stay as it was.
        #[test]
        fn it_is_a_map(changes in prop::collection::vec((0_u32..200, any::<bool>(), any::<u8>()), 0..400)) {
            let hash = |key: u32| u64::from(key % 50).wrapping_mul(0x9E37_79B9_7F4A_7C15);
            let mut table: Table<(u32, u8)> = Table::new();
            let mut map = BTreeMap::new();
            let middle = changes.len() / 2;
            let mut snapshot = (table.clone(), map.clone());
            for (i, (key, put, value)) in changes.into_iter().enumerate() {
                if i == middle {
                    snapshot = (table.clone(), map.clone());
                }
                let is = |entry: &(u32, u8)| entry.0 == key;
                match (put, table.get_mut(hash(key), is)) {
                    (true, Some(entry)) => entry.1 = value,
                    (true, None) => table.insert(hash(key), (key, value)),
                    (false, _) => table.remove(hash(key), is),
                }
                if put { map.insert(key, value) } else { map.remove(&key) };
            }
            for (table, map) in [(table, map), snapshot] {
                prop_assert_eq!(table.len(), map.len());
                prop_assert_eq!(table.values().copied().collect::<BTreeMap<_, _>>(), map.clone());
                for key in 0..200 {
                    let found = table.get(hash(key), |entry| entry.0 == key).map(|entry| entry.1);
                    prop_assert_eq!(found, map.get(&key).copied());
                }
            }
        }
    }

    #[test]
    fn it_grows_and_shrinks() {
        let mut table = Table::new();
        for i in 0..10_000_u64 {
            table.insert(super::super::hash::hash(&i.to_le_bytes()), i);
        }
        assert!(table.bits >= 10 && table.groups.len() >= 16, "{} bits", table.bits);
        for i in 0..10_000_u64 {
            table.remove(super::super::hash::hash(&i.to_le_bytes()), |known| *known == i);
        }
        assert_eq!((table.len(), table.bits), (0, 0));
    }
}
