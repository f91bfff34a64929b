// Partial sums of the bins over one block of elements. A workgroup serves up to 256 bins: `width` adjacent bins, each
// with GROUP / width threads that scan different elements. All sums run in a fixed order.

var<workgroup> shared_bin: array<f32, GROUP>;
var<workgroup> shared_weight: array<f32, GROUP>;
var<workgroup> sums: array<f32, GROUP>;

@compute @workgroup_size(GROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let number = group.y * groups.x + group.x;
    if number >= p.groups {
        return;
    }
    let block = number / p.parts;
    let bin = number % p.parts * GROUP + thread % p.width;
    let lane = thread / p.width;
    let lanes = GROUP / p.width;
    var sum = 0.0;
    for (var first = block * p.block; first < min((block + 1u) * p.block, p.len); first += GROUP) {
        shared_bin[thread] = -1.0;
        if first + thread < p.len {
            shared_bin[thread] = bins_at(first + thread);
            shared_weight[thread] = weight_at(first + thread);
        }
        workgroupBarrier();
        for (var j = lane; j < GROUP; j += lanes) {
            if shared_bin[j] == f32(bin) {
                sum += shared_weight[j];
            }
        }
        workgroupBarrier();
    }
    sums[thread] = sum;
    for (var half = lanes / 2u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if lane < half {
            sums[thread] += sums[thread + half * p.width];
        }
    }
    if lane == 0u && bin < p.count {
        y_set(block * p.count + bin, sums[thread]);
    }
}
