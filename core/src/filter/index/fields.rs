//! The fields that filters ask for, each under a number: what is to be taken out of an event, and nothing else.
//!
//! A field is known as long as some part of the index asks for it. Numbers of forgotten fields are given out again.

use std::{collections::BTreeMap, sync::Arc};

use super::hash::hash;

/// A field's number, and the fields by names on their way: a trie.
#[derive(Clone, Debug, Default)]
pub struct Fields {
    known: Arc<Known>,
    /// How many blocks ask for each. Apart, because it changes with every block.
    uses: Arc<Vec<u32>>,
}

/// The names on the way from the data to a field.
pub type FieldPath = [Box<str>];

#[derive(Clone, Debug, Default)]
struct Known {
    /// By hash, so that a path can be looked up without being owned.
    numbers: BTreeMap<u64, Vec<u32>>,
    /// Empty where a number has no field.
    paths: Vec<Arc<FieldPath>>,
    /// Numbers without a field.
    free: Vec<u32>,
    len: usize,
    /// Counts the changes.
    version: u64,
}

/// What a field takes beside its names: places in the maps, counts, pointers.
const FIELD_BYTES: usize = 96;

// === impl Fields ===

impl Fields {
    pub fn path(&self, field: u32) -> &FieldPath {
        &self.known.paths[field as usize]
    }

    /// How many are in use.
    pub fn len(&self) -> usize {
        self.known.len
    }

    /// The most there have been at a time: numbers are below it.
    pub fn bound(&self) -> usize {
        self.known.paths.len()
    }

    /// Another number for every other set of fields.
    pub fn version(&self) -> u64 {
        self.known.version
    }

    pub fn bytes(&self) -> usize {
        let path = |path: &FieldPath| path.iter().map(|name| name.len() + size_of::<Box<str>>()).sum::<usize>();
        self.iter().map(|(known, _)| FIELD_BYTES + path(known)).sum::<usize>()
    }

    /// The number of a field, given now if it has none.
    pub fn number(&mut self, path: &[&str]) -> u32 {
        let hash = path_hash(path.iter().copied());
        let same = |known: &FieldPath| known.iter().map(|name| &**name).eq(path.iter().copied());
        let numbers = self.known.numbers.get(&hash).into_iter().flatten();
        if let Some(number) = numbers.copied().find(|number| same(self.path(*number))) {
            return number;
        }
        let known = Arc::make_mut(&mut self.known);
        let owned: Arc<FieldPath> = path.iter().map(|name| Box::from(*name)).collect();
        let number = known.free.pop().unwrap_or(known.paths.len() as u32);
        if number as usize == known.paths.len() {
            known.paths.push(owned);
            Arc::make_mut(&mut self.uses).push(0);
        } else {
            known.paths[number as usize] = owned;
        }
        known.len += 1;
        known.version += 1;
        known.numbers.entry(hash).or_default().push(number);
        number
    }

    /// A block asks for these.
    pub fn retain(&mut self, fields: impl Iterator<Item = u32>) {
        let uses = Arc::make_mut(&mut self.uses);
        fields.for_each(|field| uses[field as usize] += 1);
    }

    /// A block that asked for these is gone.
    pub fn release(&mut self, fields: impl Iterator<Item = u32>) {
        let uses = Arc::make_mut(&mut self.uses);
        for field in fields {
            uses[field as usize] -= 1;
            if uses[field as usize] == 0 {
                let known = Arc::make_mut(&mut self.known);
                let hash = path_hash(known.paths[field as usize].iter().map(|name| &**name));
                if let Some(same) = known.numbers.get_mut(&hash) {
                    same.retain(|number| *number != field);
                    if same.is_empty() {
                        known.numbers.remove(&hash);
                    }
                }
                known.paths[field as usize] = Arc::default();
                known.free.push(field);
                known.len -= 1;
                known.version += 1;
            }
        }
    }

    /// Every field in use with its number, in the order of numbers.
    pub fn iter(&self) -> impl Iterator<Item = (&FieldPath, u32)> {
        let paths = self.known.paths.iter().zip(0..);
        paths.map(|(path, number)| (&**path, number)).filter(|(path, _)| !path.is_empty())
    }
}

fn path_hash<'n>(names: impl Iterator<Item = &'n str>) -> u64 {
    names.fold(0, |state: u64, name| state.rotate_left(7) ^ hash(name.as_bytes()))
}
