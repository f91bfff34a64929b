// f[i] = min over j of f[j] + (spacing (i - j))^2 along one axis. The search goes outwards from i and stops when the
// square by itself is no smaller than the minimum found so far.

// Squared distance if there is no marked voxel: 2^100, which is also the distance returned then.
const NONE = 1267650600228229401496703205376.0f;

fn squared(i: u32) -> f32 {
    if FIRST == 1u {
        return select(0.0, NONE, x_at(i) == 0.0);
    }
    return x_at(i);
}

fn element(i: u32) {
    let place = i / p.step % p.extent;
    var best = squared(i);
    for (var k = 1u; k <= max(place, p.extent - 1u - place); k++) {
        let length = p.spacing * f32(k);
        let square = length * length;
        if square >= best {
            break;
        }
        if k <= place {
            best = min(best, squared(i - k * p.step) + square);
        }
        if place + k < p.extent {
            best = min(best, squared(i + k * p.step) + square);
        }
    }
    if LAST == 1u && best < NONE {
        best = sqrt(best);
    }
    y_set(i, best);
}
