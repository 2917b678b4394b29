//! The icon in a browser's tab: a triangle that says play, drawn here rather than kept as a file.

/// Width and height in pixels.
const SIDE: u8 = 16;

/// An icon file with one picture of 16 by 16: a directory entry, then a bitmap of 32 bits a pixel from the last
/// row to the first, then its mask, which is empty as the alpha channel says it better.
pub fn ico() -> Vec<u8> {
    let side = usize::from(SIDE);
    let (pixels, mask) = (side * side * 4, side * 4);
    let mut ico = Vec::with_capacity(22 + 40 + pixels + mask);
    let long = |ico: &mut Vec<u8>, n: usize| ico.extend_from_slice(&(n as u32).to_le_bytes());
    // Reserved, type 1 (icon), one picture.
    ico.extend_from_slice(&[0, 0, 1, 0, 1, 0]);
    // Width, height, no palette, reserved, one plane, 32 bits; length and offset of the bitmap.
    ico.extend_from_slice(&[SIDE, SIDE, 0, 0, 1, 0, 32, 0]);
    long(&mut ico, 40 + pixels + mask);
    long(&mut ico, 22);
    // BITMAPINFOHEADER; the height counts picture and mask.
    long(&mut ico, 40);
    long(&mut ico, side);
    long(&mut ico, side * 2);
    ico.extend_from_slice(&[1, 0, 32, 0]);
    ico.extend_from_slice(&[0; 24]);
    for y in 0..side {
        for x in 0..side {
            // As wide as it is near the middle row.
            let half = y.min(side - 1 - y);
            let inside = (4..=4 + half * 9 / 7).contains(&x) && (2..side - 2).contains(&y);
            // Blue, green, red, alpha.
            ico.extend_from_slice(if inside {
                &[0x4a, 0xd5, 0xff, 0xff]
            } else {
                &[0x23, 0x1d, 0x18, 0xff]
            });
        }
    }
    ico.resize(ico.len() + mask, 0);
    ico
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_entry_describes_the_file() {
        let ico = super::ico();
        let long = |at: usize| u32::from_le_bytes([ico[at], ico[at + 1], ico[at + 2], ico[at + 3]]);
        assert_eq!(long(18) as usize, 22);
        assert_eq!((long(18) + long(14)) as usize, ico.len());
    }
}
