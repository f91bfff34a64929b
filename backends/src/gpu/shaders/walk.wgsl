// A walk through a box of c x d x h x w, n times, that begins at `start` in a larger array.

// Where in the larger array the i-th place of the box lies.
fn whole(i: u32) -> u32 {
    let w = i % p.w;
    let h = i / p.w % p.h;
    let d = i / (p.w * p.h) % p.d;
    let c = i / (p.w * p.h * p.d) % p.c;
    let n = i / (p.w * p.h * p.d * p.c);
    return p.start + n * p.step_n + c * p.step_c + d * p.step_d + h * p.step_h + w * p.step_w;
}
