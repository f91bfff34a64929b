//! The bits of the convolutions on each instruction set of this machine, as one number each: an emulator of a smaller
//! processor (`qemu-x86_64 -cpu Nehalem`, `-cpu Haswell`) prints the same numbers for the sets that it has.

use segcal_backends::Cpu;
use segcal_core::{Backend, Geometry, Result, Rng, Shape};

/// Extents of input and weight: Winograd in both ranks, the direct kernels, windows side by side, groups.
const LAYERS: [([usize; 5], [usize; 5], Geometry); 5] = [
    ([2, 16, 1, 24, 26], [32, 16, 1, 3, 3], Geometry::same([1, 3, 3])),
    ([1, 16, 6, 12, 13], [16, 16, 3, 3, 3], Geometry::same([3, 3, 3])),
    ([2, 3, 1, 20, 21], [5, 3, 1, 5, 5], Geometry::same([1, 5, 5])),
    ([2, 64, 1, 16, 16], [72, 64, 1, 1, 1], Geometry::VALID),
    ([2, 8, 1, 16, 16], [8, 4, 1, 3, 3], Geometry { groups: 2, ..Geometry::same([1, 3, 3]) }),
];

fn main() -> Result<()> {
    for name in ["baseline", "avx2", "avx512"] {
        if let Ok(cpu) = Cpu::new(Some(2))?.with_instruction_set(name) {
            println!("{name} {:016x}", bits(&cpu)?);
        }
    }
    Ok(())
}

fn bits(cpu: &Cpu) -> Result<u64> {
    let mut hash = 0xcbf2_9ce4_8422_2325;
    for (x, w, geometry) in LAYERS {
        let (x, w) = (Shape::from_dims(x), Shape::from_dims(w));
        let y = geometry.output(x, w).expect("the layer fits");
        let [xs, ws, ys] = [(x, 1), (w, 2), (y, 3)].map(|(shape, seed)| {
            let rng = Rng::new(seed);
            cpu.upload((0..shape.len() as u64).map(|i| rng.range(i, -1.0, 1.0) as f32).collect::<Vec<_>>())
        });
        let results = [
            cpu.conv((&xs, x), (&ws, w), &geometry, y),
            cpu.conv_transpose((&ys, y), (&ws, w), &geometry, x),
            cpu.conv_weight((&xs, x), (&ys, y), &geometry, w),
        ];
        for result in results {
            for number in cpu.download(&result)? {
                hash = (hash ^ u64::from(number.to_bits())).wrapping_mul(0x0100_0000_01b3);
            }
        }
    }
    Ok(hash)
}
