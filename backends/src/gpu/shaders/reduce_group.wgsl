// One workgroup per block of terms; the result is stored at [output, block].

var<workgroup> partial: array<Values, GROUP>;

@compute @workgroup_size(GROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let i = group.y * groups.x + group.x;
    if i >= p.count {
        return;
    }
    let first = i % p.blocks * p.block;
    partial[thread] = fold(i / p.blocks, first + thread, min(first + p.block, p.terms), GROUP);
    for (var half = GROUP / 2u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if thread < half {
            partial[thread] = combine_all(partial[thread], partial[thread + half]);
        }
    }
    if thread == 0u {
        store(i, partial[0]);
    }
}
