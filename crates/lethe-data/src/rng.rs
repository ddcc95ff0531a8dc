//! Counter-based random numbers: a stream is a function of its key, so no thread count, prefetch depth or
//! resume point can change what is drawn.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

/// What a stream is for; two purposes never share numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u64)]
pub enum Purpose {
    Init = 1,
    Order = 2,
    View = 3,
    Shapes = 4,
    Substitute = 5,
    Sample = 6,
    Corruption = 7,
    Loss = 8,
    DropPath = 9,
    /// Views that are looked at rather than trained on.
    Look = 10,
    Bootstrap = 11,
    HoldOut = 12,
    DeadLeaves = 13,
}

pub type Rng = ChaCha8Rng;

/// The stream of `(seed, purpose, epoch, index, view)`.
pub fn keyed(seed: u64, purpose: Purpose, epoch: u32, index: u64, view: u32) -> Rng {
    let mut key = [0u8; 32];
    key[0..8].copy_from_slice(&seed.to_le_bytes());
    key[8..16].copy_from_slice(&(purpose as u64).to_le_bytes());
    key[16..20].copy_from_slice(&epoch.to_le_bytes());
    key[20..28].copy_from_slice(&index.to_le_bytes());
    key[28..32].copy_from_slice(&view.to_le_bytes());
    ChaCha8Rng::from_seed(key)
}

/// The stream for drawing initial weights and other things that happen once a run.
pub fn once(seed: u64, purpose: Purpose) -> Rng {
    keyed(seed, purpose, 0, 0, 0)
}
