// Three sparse matrices, one along each axis, applied as a gather. For each axis, the table holds the offset of each
// row, then the entries as (position, weight). The adjoint is the same with the transposed matrices.

fn entries(table: u32, row: u32) -> u32 {
    return table + u32(table_at(table + row));
}

fn element(i: u32) {
    let ow = i % p.out_w;
    let oh = i / p.out_w % p.out_h;
    let od = i / (p.out_w * p.out_h) % p.out_d;
    let plane = i / (p.out_w * p.out_h * p.out_d);
    let end_d = entries(p.table_d, od + 1u);
    let end_h = entries(p.table_h, oh + 1u);
    let end_w = entries(p.table_w, ow + 1u);
    var sum = 0.0;
    for (var at_d = entries(p.table_d, od); at_d < end_d; at_d += 2u) {
        let depth = plane * p.d + u32(table_at(at_d));
        for (var at_h = entries(p.table_h, oh); at_h < end_h; at_h += 2u) {
            let row = (depth * p.h + u32(table_at(at_h))) * p.w;
            let weight = table_at(at_d + 1u) * table_at(at_h + 1u);
            for (var at_w = entries(p.table_w, ow); at_w < end_w; at_w += 2u) {
                sum += weight * table_at(at_w + 1u) * x_at(row + u32(table_at(at_w)));
            }
        }
    }
    y_set(i, sum);
}
