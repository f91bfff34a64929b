//! Kernels and strides of a network for patches of an extent and voxel size, by the rules of nnU-Net.

/// No axis is halved below this many voxels.
const LEAST: usize = 4;

/// Kernels and strides of each stage, the finest first, and the extent that the patch is padded to. Axes are those of the
/// network.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Topology {
    /// 3, or 1 along axes whose voxels are still twice as long as others.
    pub(super) kernels: Vec<Vec<usize>>,
    /// 1 in the first stage; then 2 along the axes that are halved.
    pub(super) strides: Vec<Vec<usize>>,
    /// A multiple of the product of all strides.
    pub(super) patch: Vec<usize>,
}

impl Topology {
    /// Stage by stage, halves the axes that have at least 8 voxels left and whose voxels are shorter than twice the
    /// shortest among them, until none is left; a single axis is halved only if it has at least 12. A kernel spans an
    /// axis from the first stage on in which its voxels are shorter than twice the shortest.
    pub(super) fn of(spacing: &[f64], patch: &[usize]) -> Self {
        let axes = spacing.len();
        let (mut spacing, mut left) = (spacing.to_vec(), patch.to_vec());
        let (mut kernels, mut strides) = (Vec::new(), vec![vec![1; axes]]);
        let mut kernel = vec![1; axes];
        loop {
            let halved = halved(&spacing, &left);
            if halved.is_empty() || halved.len() == 1 && left[halved[0]] < 3 * LEAST {
                break;
            }
            let shortest = spacing.iter().copied().fold(f64::INFINITY, f64::min);
            (0..axes).filter(|&axis| spacing[axis] / shortest < 2.0).for_each(|axis| kernel[axis] = 3);
            kernels.push(kernel.clone());
            strides.push((0..axes).map(|axis| 1 + usize::from(halved.contains(&axis))).collect());
            for &axis in &halved {
                spacing[axis] *= 2.0;
                left[axis] = left[axis].div_ceil(2);
            }
        }
        kernels.push(vec![3; axes]);
        let mut topology = Self { kernels, strides, patch: Vec::new() };
        topology.patch = (0..axes).map(|axis| patch[axis].next_multiple_of(topology.multiple(axis))).collect();
        topology
    }

    /// The extent along an axis is a multiple of this.
    pub(super) fn multiple(&self, axis: usize) -> usize {
        self.strides.iter().map(|stride| stride[axis]).product()
    }
}

fn halved(spacing: &[f64], left: &[usize]) -> Vec<usize> {
    let long: Vec<usize> = (0..spacing.len()).filter(|&axis| left[axis] >= 2 * LEAST).collect();
    let shortest = long.iter().map(|&axis| spacing[axis]).fold(f64::INFINITY, f64::min);
    long.into_iter().filter(|&axis| spacing[axis] / shortest < 2.0).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As `get_pool_and_conv_props` of nnunetv2 2.8.1 gives for the same numbers.
    #[test]
    fn the_networks_of_nnunet() {
        let even = Topology::of(&[1.0; 3], &[40, 56, 40]);
        assert_eq!(even.strides, [[1, 1, 1], [2, 2, 2], [2, 2, 2], [2, 2, 2]]);
        assert_eq!(even.kernels, [[3; 3]; 4]);
        assert_eq!(even.patch, [40, 56, 40]);
        let thick = Topology::of(&[3.6, 0.6, 0.6], &[20, 320, 256]);
        assert_eq!(thick.patch, [20, 320, 256]);
        assert_eq!(thick.strides[..4], [[1, 1, 1], [1, 2, 2], [1, 2, 2], [2, 2, 2]]);
        assert_eq!(thick.kernels[..3], [[1, 3, 3], [1, 3, 3], [3, 3, 3]]);
        let plane = Topology::of(&[1.0, 1.0], &[36, 50]);
        assert_eq!((plane.strides.len(), plane.patch), (4, vec![40, 56]));
    }
}
