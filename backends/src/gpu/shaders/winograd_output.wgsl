// From the 36 points of F(4x4, 3x3), as [point, channel, tile], back to the 4 x 4 outputs of each tile.

const A1 = 0.70710678118654752;
const A3 = 0.35355339059327376;
const B1 = 1.41421356237309505;
const B3 = 2.82842712474619010;

fn outputs(m: array<f32, 6>) -> vec4<f32> {
    let sum_a = m[1] + m[2];
    let dif_a = m[1] - m[2];
    let sum_b = m[3] + m[4];
    let dif_b = m[3] - m[4];
    return vec4<f32>(
        m[0] + sum_a + sum_b,
        A1 * dif_a + B1 * dif_b,
        0.5 * sum_a + 2.0 * sum_b,
        A3 * dif_a + B3 * dif_b + m[5],
    );
}

fn point(i: u32, h: u32, w: u32) -> f32 {
    return m_at((h * 6u + w) * p.count + i);
}

fn element(i: u32) {
    var columns: array<vec4<f32>, 6>;
    for (var w = 0u; w < 6u; w++) {
        columns[w] = outputs(array<f32, 6>(
            point(i, 0u, w), point(i, 1u, w), point(i, 2u, w), point(i, 3u, w), point(i, 4u, w), point(i, 5u, w),
        ));
    }
    let channel = i / p.tiles;
    let tile = p.first + i % p.tiles;
    let image = tile / (p.across * p.down);
    let row = image / p.planes * p.channels + channel;
    let plane = (row * p.planes + image % p.planes) * p.y_h * p.y_w;
    let first_h = tile / p.across % p.down * 4u;
    let first_w = tile % p.across * 4u;
    for (var h = 0u; h < 4u; h++) {
        let line = outputs(array<f32, 6>(
            columns[0][h], columns[1][h], columns[2][h], columns[3][h], columns[4][h], columns[5][h],
        ));
        for (var w = 0u; w < 4u; w++) {
            if first_h + h < p.y_h && first_w + w < p.y_w {
                y_set(plane + (first_h + h) * p.y_w + first_w + w, line[w]);
            }
        }
    }
}
