// One thread per block of terms; the result is stored at [block, output].
fn element(i: u32) {
    let first = i / p.out * p.block;
    store(i, fold(i % p.out, first, min(first + p.block, p.terms), 1u));
}
