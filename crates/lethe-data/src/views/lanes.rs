//! Interleaved pixels, a block at a time as planes: the form that compilers turn into vector instructions.

pub(super) const LANES: usize = 16;

/// The red, green and blue of [`LANES`] neighbouring pixels.
pub(super) type Planes = [[f32; LANES]; 3];

/// Calls `change` on all pixels, block by block; the last block may be filled up with zeros.
#[inline(always)]
pub(super) fn by_planes(pixels: &mut [f32], mut change: impl FnMut(&mut Planes)) {
    let (blocks, rest) = pixels.as_chunks_mut::<{ 3 * LANES }>();
    for block in blocks {
        let mut planes = split(block);
        change(&mut planes);
        *block = join(&planes);
    }
    if !rest.is_empty() {
        let mut block = [0.0; 3 * LANES];
        block[..rest.len()].copy_from_slice(rest);
        let mut planes = split(&block);
        change(&mut planes);
        rest.copy_from_slice(&join(&planes)[..rest.len()]);
    }
}

#[inline(always)]
fn split(block: &[f32; 3 * LANES]) -> Planes {
    let mut planes = [[0.0; LANES]; 3];
    for i in 0..LANES {
        for (channel, plane) in planes.iter_mut().enumerate() {
            plane[i] = block[3 * i + channel];
        }
    }
    planes
}

#[inline(always)]
fn join(planes: &Planes) -> [f32; 3 * LANES] {
    let mut block = [0.0; 3 * LANES];
    for i in 0..LANES {
        for (channel, plane) in planes.iter().enumerate() {
            block[3 * i + channel] = plane[i];
        }
    }
    block
}

/// `f32::clamp(0, 1)` without its care for NaN.
#[inline(always)]
pub(super) fn unit(value: f32) -> f32 {
    let value = if value > 0.0 { value } else { 0.0 };
    if value < 1.0 { value } else { 1.0 }
}
