// Windows of `size`, one every `step` voxels of d x h x w; there are out_d x out_h x out_w of them.
