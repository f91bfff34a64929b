// One thread per element. The code in front of this file defines `element(i)`.

@compute @workgroup_size(GROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    // A dispatch of more groups than fit along one axis continues along the second.
    let i = (group.y * groups.x + group.x) * GROUP + thread;
    if i < p.count {
        element(i);
    }
}
