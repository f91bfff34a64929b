// y[o] = the interpolation of the voxels of x around the source coordinate of o.
fn element(i: u32) {
    let o = vec3<u32>(i / (p.out_w * p.out_h) % p.out_d, i / p.out_w % p.out_h, i % p.out_w);
    let plane = i / (p.out_w * p.out_h * p.out_d);
    let m_d = mixture(source_d(o), p.d);
    let m_h = mixture(source_h(o), p.h);
    let m_w = mixture(source_w(o), p.w);
    var sum = 0.0;
    for (var corner = 0; corner < 8; corner++) {
        let d = m_d.voxel + (corner >> 2u);
        let h = m_h.voxel + (corner >> 1u & 1);
        let w = m_w.voxel + (corner & 1);
        let weight = share(m_d, d) * share(m_h, h) * share(m_w, w);
        // A negative number becomes a large unsigned one.
        if weight != 0.0 && u32(d) < p.d && u32(h) < p.h && u32(w) < p.w {
            sum += weight * x_at(((plane * p.d + u32(d)) * p.h + u32(h)) * p.w + u32(w));
        }
    }
    y_set(i, sum);
}
