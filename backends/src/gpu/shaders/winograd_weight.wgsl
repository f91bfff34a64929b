// The 3 x 3 kernels of all pairs of channels at the 36 points of F(4x4, 3x3), as [point, row, depth].

const A1 = 0.70710678118654752;
const B1 = 1.41421356237309505;

fn points(g: vec3<f32>) -> array<f32, 6> {
    let even_a = (-2.0 / 3.0) * g.x + (-1.0 / 3.0) * g.z;
    let odd_a = (-2.0 / 3.0 * A1) * g.y;
    let even_b = (1.0 / 6.0) * g.x + (1.0 / 3.0) * g.z;
    let odd_b = (1.0 / 6.0 * B1) * g.y;
    return array<f32, 6>(g.x, even_a + odd_a, even_a - odd_a, even_b + odd_b, even_b - odd_b, g.z);
}

fn tap(start: u32, h: u32, w: u32) -> f32 {
    let place = h * 3u + w;
    return w_at(start + select(place, 8u - place, p.turned == 1u));
}

fn element(i: u32) {
    let start = i / p.depth * p.row + i % p.depth * p.channel;
    var columns: array<array<f32, 6>, 3>;
    for (var w = 0u; w < 3u; w++) {
        columns[w] = points(vec3<f32>(tap(start, 0u, w), tap(start, 1u, w), tap(start, 2u, w)));
    }
    for (var h = 0u; h < 6u; h++) {
        var line = points(vec3<f32>(columns[0][h], columns[1][h], columns[2][h]));
        for (var w = 0u; w < 6u; w++) {
            u_set((h * 6u + w) * p.count + i, line[w]);
        }
    }
}
