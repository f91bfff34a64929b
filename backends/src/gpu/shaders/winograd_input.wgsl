// The 6 x 6 samples of each tile at the 36 points of F(4x4, 3x3), as [point, channel, tile]; samples outside are 0.

const A1 = 0.70710678118654752;
const B1 = 1.41421356237309505;

fn points(x: array<f32, 6>) -> array<f32, 6> {
    let even_a = x[4] - 2.0 * x[2];
    let odd_a = A1 * (x[3] - 2.0 * x[1]);
    let even_b = x[4] - 0.5 * x[2];
    let odd_b = B1 * (x[3] - 0.5 * x[1]);
    return array<f32, 6>(
        x[0] + x[4] - 2.5 * x[2],
        even_a + odd_a,
        even_a - odd_a,
        even_b + odd_b,
        even_b - odd_b,
        x[1] + x[5] - 2.5 * x[3],
    );
}

fn sample(plane: u32, h: i32, w: i32) -> f32 {
    var value = 0.0;
    // A negative number becomes a large unsigned one.
    if u32(h) < p.x_h && u32(w) < p.x_w {
        value = x_at(plane + u32(h) * p.x_w + u32(w));
    }
    return value;
}

fn element(i: u32) {
    let channel = i / p.tiles;
    let tile = p.first + i % p.tiles;
    let image = tile / (p.across * p.down);
    let row = image / p.planes * p.channels + channel;
    let plane = (row * p.planes + image % p.planes) * p.x_h * p.x_w;
    let h = i32(tile / p.across % p.down * 4u) + p.base_h;
    let w = i32(tile % p.across * 4u) + p.base_w;
    var columns: array<array<f32, 6>, 6>;
    for (var j = 0; j < 6; j++) {
        columns[j] = points(array<f32, 6>(
            sample(plane, h, w + j),
            sample(plane, h + 1, w + j),
            sample(plane, h + 2, w + j),
            sample(plane, h + 3, w + j),
            sample(plane, h + 4, w + j),
            sample(plane, h + 5, w + j),
        ));
    }
    for (var k = 0u; k < 6u; k++) {
        var line = points(array<f32, 6>(
            columns[0][k], columns[1][k], columns[2][k], columns[3][k], columns[4][k], columns[5][k],
        ));
        for (var j = 0u; j < 6u; j++) {
            v_set((k * 6u + j) * p.count + i, line[j]);
        }
    }
}
