//! The fields in use as a tree of names: what a scanner takes out of an event, and what it may skip.

use std::sync::Arc;

use super::fields::Fields;

/// Of an envelope: `team`, `type`, and below `data` the fields.
#[derive(Debug)]
pub struct Projection {
    pub(super) nodes: Vec<Node>,
    /// Numbers of fields are below it.
    pub(super) bound: usize,
    /// [`Fields::version`] of the fields it was made of.
    pub version: u64,
    /// No two are the same.
    pub(super) identity: Arc<()>,
}

/// An object on the way.
#[derive(Debug, Default)]
pub(super) struct Node {
    /// A bit for each [`name_bit`] of its names: most names that nobody asks for are seen here.
    names: u64,
    children: Vec<Child>,
}

#[derive(Debug)]
pub(super) struct Child {
    name: Box<[u8]>,
    /// The field that ends here, or none.
    pub field: Option<u32>,
    /// The node of the fields below, or none.
    pub node: Option<u32>,
}

/// The data's own node.
pub(super) const ROOT: u32 = 0;

// === impl Projection ===

impl Projection {
    pub fn of(fields: &Fields) -> Projection {
        let mut projection = Projection {
            nodes: vec![Node::default()],
            bound: fields.bound(),
            version: fields.version(),
            identity: Arc::default(),
        };
        for (path, number) in fields.iter() {
            let mut node = ROOT as usize;
            for (depth, name) in path.iter().enumerate() {
                let next = projection.nodes.len() as u32;
                let child = projection.nodes[node].child(name);
                if depth + 1 == path.len() {
                    child.field = Some(number);
                    break;
                }
                node = *child.node.get_or_insert(next) as usize;
                if node == next as usize {
                    projection.nodes.push(Node::default());
                }
            }
        }
        projection
    }

    pub fn bytes(&self) -> usize {
        let child = |child: &Child| size_of::<Child>() + child.name.len();
        let node = |node: &Node| size_of::<Node>() + node.children.iter().map(child).sum::<usize>();
        self.nodes.iter().map(node).sum()
    }
}

// === impl Node ===

impl Node {
    /// The child of that name; made, if there is none.
    fn child(&mut self, name: &str) -> &mut Child {
        let at = self.children.iter().position(|child| *child.name == *name.as_bytes()).unwrap_or_else(|| {
            self.names |= name_bit(name.as_bytes());
            self.children.push(Child { name: name.as_bytes().into(), field: None, node: None });
            self.children.len() - 1
        });
        &mut self.children[at]
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &[u8]> {
        self.children.iter().map(|child| &*child.name)
    }

    #[inline]
    pub(super) fn find(&self, name: &[u8]) -> Option<&Child> {
        if self.names & name_bit(name) == 0 {
            return None;
        }
        self.children.iter().find(|child| *child.name == *name)
    }
}

#[inline]
fn name_bit(name: &[u8]) -> u64 {
    let last = name.last().copied().unwrap_or(0);
    1 << ((name.len() as u32 ^ u32::from(last) << 2) & 63)
}
