// Iterates over a box of n x c x d x h x w that begins at `start` in a larger array.

// The offset in the larger array of the i-th element of the box.
fn whole(i: u32) -> u32 {
    let w = i % p.w;
    let h = i / p.w % p.h;
    let d = i / (p.w * p.h) % p.d;
    let c = i / (p.w * p.h * p.d) % p.c;
    let n = i / (p.w * p.h * p.d * p.c);
    return p.start + n * p.step_n + c * p.step_c + d * p.step_d + h * p.step_h + w * p.step_w;
}
