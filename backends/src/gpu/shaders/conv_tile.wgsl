// A matrix product whose factors are read in place. Another file defines what row, column and depth mean. A workgroup
// computes a tile of ROWS x COLUMNS values, DEPTH terms at a time; each of its 256 threads keeps 4 x 4 of them in
// registers.
const ROW_QUADS = ROWS / 4u;
const COLUMN_QUADS = COLUMNS / 4u;

var<workgroup> a_tile: array<vec4<f32>, ROW_QUADS * DEPTH>;
var<workgroup> x_tile: array<vec4<f32>, COLUMN_QUADS * DEPTH>;
// What the terms of the next step add to offsets in `a` and, as [d, h, w, offset], in `x`.
var<workgroup> a_terms: array<u32, DEPTH>;
var<workgroup> x_terms: array<vec4<i32>, DEPTH>;

// A term or a column outside the matrix reads at a depth that no volume has.
const NOWHERE = vec4<i32>(-0x40000000, 0, 0, 0);

fn x_value(column: vec4<i32>, term: vec4<i32>) -> f32 {
    let at = column + term;
    var value = 0.0;
    // A negative number becomes a large unsigned one.
    if u32(at.x) < p.x_d && u32(at.y) < p.x_h && u32(at.z) < p.x_w {
        value = x_at(u32(at.w) + (u32(at.x) * p.x_h + u32(at.y)) * p.x_w + u32(at.z));
    }
    return value;
}

fn a_value(row: u32, start: u32, k: u32, term: u32) -> f32 {
    var value = 0.0;
    if row < p.rows && k < p.depth {
        value = a_at(start + row * p.a_row + term);
    }
    return value;
}

fn column_or_nowhere(group: u32, column: u32) -> vec4<i32> {
    var at = NOWHERE;
    if column < p.columns {
        at = x_column(group, column);
    }
    return at;
}

fn prepare(group: u32, thread: u32, k: u32) {
    if thread < DEPTH {
        let inside = k + thread < p.depth;
        a_terms[thread] = 0u;
        x_terms[thread] = NOWHERE;
        if inside {
            a_terms[thread] = a_term(group, k + thread);
            x_terms[thread] = x_term(group, k + thread);
        }
    }
}

fn finish(group: u32, part: u32, row: u32, column: u32, values: vec4<f32>) {
    for (var j = 0u; j < 4u; j++) {
        if row < p.rows && column + j < p.columns {
            store(group, part, row, column + j, values[j]);
        }
    }
}

@compute @workgroup_size(GROUP)
fn main(
    @builtin(workgroup_id) id: vec3<u32>,
    @builtin(num_workgroups) ids: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let tile = id.y * ids.x + id.x;
    if tile >= p.tiles {
        return;
    }
    let first_column = tile % p.column_tiles * COLUMNS;
    let first_row = tile / p.column_tiles % p.row_tiles * ROWS;
    let group = tile / (p.column_tiles * p.row_tiles) % p.groups;
    let part = tile / (p.column_tiles * p.row_tiles * p.groups);

    let across = thread % COLUMN_QUADS;
    let down = thread / COLUMN_QUADS;
    let column = first_column + 4u * across;
    let c0 = column_or_nowhere(group, column);
    let c1 = column_or_nowhere(group, column + 1u);
    let c2 = column_or_nowhere(group, column + 2u);
    let c3 = column_or_nowhere(group, column + 3u);
    let a_start = a_group(group);

    var y0 = vec4<f32>();
    var y1 = vec4<f32>();
    var y2 = vec4<f32>();
    var y3 = vec4<f32>();
    let last = min((part + 1u) * p.part, p.depth);
    prepare(group, thread, part * p.part);
    workgroupBarrier();
    for (var first = part * p.part; first < last; first += DEPTH) {
        for (var k = down; k < DEPTH; k += ROW_QUADS) {
            let term = x_terms[k];
            x_tile[k * COLUMN_QUADS + across] =
                vec4<f32>(x_value(c0, term), x_value(c1, term), x_value(c2, term), x_value(c3, term));
        }
        for (var quad = thread; quad < ROW_QUADS * DEPTH; quad += GROUP) {
            let k = quad % DEPTH;
            let row = first_row + quad / DEPTH * 4u;
            let term = a_terms[k];
            a_tile[k * ROW_QUADS + quad / DEPTH] = vec4<f32>(
                a_value(row, a_start, first + k, term),
                a_value(row + 1u, a_start, first + k, term),
                a_value(row + 2u, a_start, first + k, term),
                a_value(row + 3u, a_start, first + k, term),
            );
        }
        workgroupBarrier();
        for (var k = 0u; k < DEPTH; k++) {
            let a = a_tile[k * ROW_QUADS + down];
            let x = x_tile[k * COLUMN_QUADS + across];
            y0 += a.x * x;
            y1 += a.y * x;
            y2 += a.z * x;
            y3 += a.w * x;
        }
        prepare(group, thread, first + DEPTH);
        workgroupBarrier();
    }
    let row = first_row + 4u * down;
    finish(group, part, row, column, y0);
    finish(group, part, row + 1u, column, y1);
    finish(group, part, row + 2u, column, y2);
    finish(group, part, row + 3u, column, y3);
}
