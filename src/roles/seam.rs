//! The seam at which a test spoils what the core has decided, to prove that the simulation's checkers notice.

use std::sync::Arc;

/// Does nothing, unless a test has put something in.
pub struct Seam<T>(Option<Spoil<T>>);

type Spoil<T> = Arc<dyn Fn(&mut T) + Send + Sync>;

// === impl Seam ===

impl<T> Seam<T> {
    pub fn closed() -> Seam<T> {
        Seam(None)
    }

    #[doc(hidden)]
    pub fn spoiled(spoil: impl Fn(&mut T) + Send + Sync + 'static) -> Seam<T> {
        Seam(Some(Arc::new(spoil)))
    }

    pub fn tamper(&self, decided: &mut T) {
        if let Some(spoil) = &self.0 {
            spoil(decided);
        }
    }
}

impl<T> Clone for Seam<T> {
    fn clone(&self) -> Seam<T> {
        Seam(self.0.clone())
    }
}
