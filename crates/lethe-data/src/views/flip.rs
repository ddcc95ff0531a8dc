//! Left and right exchanged: torchvision's `horizontal_flip`.

/// Mirrors `[.., side, 3]` pixels in place.
pub fn flip(pixels: &mut [f32], side: usize) {
    for row in pixels.chunks_exact_mut(3 * side) {
        let (row, _) = row.as_chunks_mut::<3>();
        row.reverse();
    }
}
