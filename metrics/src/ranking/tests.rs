use super::*;

const HIGHER: Better = Better::Higher;
const LOWER: Better = Better::Lower;

/// DSC, HD95, ECE, TACE on ACDC, then on FLARE, of FL, ECP, LS, SVLS, MbLS, NACL, BWCR, CRaC (CRaC paper, Table 1:
/// UNet), and the printed Friedman rank.
const UNET: [([f64; 8], f64); 8] = [
    ([0.620, 7.30, 0.153, 0.224, 0.834, 6.65, 0.053, 0.145], 7.88),
    ([0.782, 4.44, 0.130, 0.151, 0.860, 5.30, 0.037, 0.134], 5.38),
    ([0.809, 3.30, 0.083, 0.093, 0.860, 5.33, 0.055, 0.050], 4.88),
    ([0.824, 2.81, 0.091, 0.138, 0.857, 5.72, 0.039, 0.144], 5.25),
    ([0.827, 2.99, 0.103, 0.081, 0.836, 5.75, 0.046, 0.041], 5.25),
    ([0.854, 2.93, 0.068, 0.073, 0.868, 5.12, 0.033, 0.031], 2.25),
    ([0.841, 2.69, 0.051, 0.075, 0.848, 5.39, 0.029, 0.059], 3.13),
    ([0.877, 1.72, 0.057, 0.058, 0.876, 5.52, 0.029, 0.033], 1.75),
];

/// The same for nnUNet (Table 2).
const NNUNET: [([f64; 8], f64); 8] = [
    ([0.874, 1.60, 0.134, 0.136, 0.893, 3.93, 0.039, 0.061], 6.00),
    ([0.889, 1.44, 0.067, 0.112, 0.873, 5.85, 0.046, 0.131], 6.00),
    ([0.891, 1.35, 0.067, 0.066, 0.891, 3.61, 0.062, 0.047], 4.00),
    ([0.883, 1.69, 0.059, 0.111, 0.894, 4.02, 0.026, 0.115], 5.13),
    ([0.886, 1.46, 0.057, 0.052, 0.891, 3.65, 0.031, 0.031], 3.50),
    ([0.884, 1.52, 0.056, 0.059, 0.896, 3.34, 0.025, 0.026], 2.50),
    ([0.864, 1.82, 0.063, 0.079, 0.868, 4.47, 0.041, 0.099], 6.63),
    ([0.891, 1.48, 0.052, 0.051, 0.895, 3.24, 0.029, 0.029], 1.88),
];

/// Columns of a printed table; every fourth is a DSC, the rest errors.
fn columns(rows: &[Vec<f64>]) -> Vec<Setting> {
    let column = |number: usize| Setting {
        better: if number.is_multiple_of(4) { HIGHER } else { LOWER },
        values: rows.iter().map(|row| row[number]).collect(),
    };
    (0..rows[0].len()).map(column).collect()
}

#[test]
fn all_sixteen_friedman_ranks_of_the_crac_paper() {
    for table in [UNET, NNUNET] {
        let rows: Vec<Vec<f64>> = table.iter().map(|(row, _)| row.to_vec()).collect();
        let ranks = friedman_rank(&columns(&rows), Ties::Minimum);
        for (rank, (row, printed)) in ranks.iter().zip(table) {
            // Printed with two decimals: multiples of 1/8 are off by at most half a hundredth.
            assert!((rank - printed).abs() <= 0.005 + 1e-12, "{row:?}: {rank}, printed {printed}");
        }
    }
}

#[expect(clippy::approx_constant, reason = "a Hausdorff distance of 3.14 is not pi")]
/// NACL paper, Table 1: twelve columns (DSC, HD95, ECE, CECE on FLARE, ACDC, BraTS) of CE + DSC, FL, ECP, LS, SVLS,
/// MbLS, NACL, and the sums of competition ranks.
#[test]
fn sum_ranks_of_the_nacl_paper() {
    let table: [([f64; 12], f64); 7] = [
        ([0.846, 5.54, 0.058, 0.034, 0.828, 3.14, 0.137, 0.084, 0.777, 6.96, 0.178, 0.122], 58.0),
        ([0.834, 6.65, 0.053, 0.059, 0.620, 7.30, 0.153, 0.179, 0.848, 9.00, 0.097, 0.119], 70.0),
        ([0.860, 5.30, 0.037, 0.027, 0.782, 4.44, 0.130, 0.094, 0.808, 8.71, 0.138, 0.099], 49.0),
        ([0.860, 5.33, 0.055, 0.049, 0.809, 3.30, 0.083, 0.093, 0.820, 7.78, 0.112, 0.108], 47.0),
        ([0.857, 5.72, 0.039, 0.036, 0.824, 2.81, 0.091, 0.083, 0.801, 8.44, 0.146, 0.111], 50.0),
        ([0.836, 5.75, 0.046, 0.041, 0.827, 2.99, 0.103, 0.081, 0.838, 7.94, 0.127, 0.095], 45.0),
        ([0.868, 4.88, 0.033, 0.031, 0.854, 2.55, 0.048, 0.061, 0.850, 5.78, 0.112, 0.097], 15.0),
    ];
    let rows: Vec<Vec<f64>> = table.iter().map(|(row, _)| row.to_vec()).collect();
    let expected = table.map(|(_, sum)| sum);
    assert_eq!(sum_rank(&columns(&rows), Ties::Minimum), expected);
}

#[test]
fn ties_and_missing_values() {
    let setting = Setting { better: HIGHER, values: vec![0.5, f64::NAN, 0.9, 0.5, f64::NAN] };
    assert_eq!(setting.ranks(Ties::Minimum), [2.0, 4.0, 1.0, 2.0, 4.0]);
    assert_eq!(setting.ranks(Ties::Mean), [2.5, 4.5, 1.0, 2.5, 4.5]);
    let signed = Setting { better: Better::Zero, values: vec![-0.2, 0.1] };
    assert_eq!(signed.ranks(Ties::Mean), [2.0, 1.0]);
}

#[test]
fn mean_case_rank_of_two_cases() {
    let case = |dsc: [f64; 2], hd: [f64; 2]| {
        vec![Setting { better: HIGHER, values: dsc.into() }, Setting { better: LOWER, values: hd.into() }]
    };
    let cases = [case([0.9, 0.8], [1.0, 2.0]), case([0.9, 0.8], [3.0, 2.0])];
    assert_eq!(mean_case_rank(&cases, Ties::Minimum), [1.25, 1.75]);
}

/// Three methods in the same order in four settings: `R = (1, 2, 3)`, `chi^2 = m (k - 1) = 8`, `p = exp(-4)`.
#[test]
fn friedman_of_full_agreement() {
    let settings = vec![Setting { better: LOWER, values: vec![1.0, 2.0, 3.0] }; 4];
    let test = friedman(&settings);
    assert_eq!((test.mean_ranks.as_slice(), test.degrees), ([1.0, 2.0, 3.0].as_slice(), 2));
    assert!((test.chi_square - 8.0).abs() < 1e-12);
    assert!((test.p_value - (-4.0_f64).exp()).abs() < 1e-14);
}

/// With ties: the uncorrected statistic over `1 - sum (t^3 - t) / (m (k^3 - k))`, by hand.
#[test]
fn friedman_with_ties() {
    let setting = |values: [f64; 3]| Setting { better: LOWER, values: values.into() };
    let test = friedman(&[setting([1.0, 1.0, 2.0]), setting([1.0, 2.0, 3.0])]);
    // Mean ranks 1.25, 1.75, 3; 12 * 2 / 12 * (1.5625 + 3.0625 + 9 - 12) = 3.25; correction 1 - 6 / 48.
    assert!((test.chi_square - 3.25 / 0.875).abs() < 1e-12, "{}", test.chi_square);
}

/// SciPy's `friedmanchisquare` on six settings of four methods with many ties.
#[test]
fn friedman_as_scipy() {
    let settings = [[2, 3, 3, 4], [2, 2, 2, 4], [0, 2, 0, 2], [4, 3, 1, 4], [3, 4, 0, 2], [4, 3, 2, 2]];
    let settings = settings.map(|row| Setting { better: LOWER, values: row.map(f64::from).into() });
    let test = friedman(&settings);
    assert!((test.chi_square - 5.470_588_235_294_125).abs() < 1e-12, "{}", test.chi_square);
    assert!((test.p_value - 0.140_408_388_003_419_32).abs() < 1e-12, "{}", test.p_value);
}

#[test]
fn rank_intervals_hold_the_estimate() {
    let method = |shift: f64| -> Vec<f64> { (0..12).map(|case| f64::from(case % 5) + shift).collect() };
    let noisy: Vec<f64> = (0..12).map(|case| f64::from(case * 7 % 5) + 0.1).collect();
    let settings = [CaseValues { better: LOWER, group: 0, values: vec![method(0.0), method(1.5), noisy] }];
    let intervals = friedman_rank_intervals(&settings, Ties::Minimum, 500, 1, 0.95);
    assert_eq!(intervals[0].estimate, 1.0);
    // The first two share their draws, so the first always ranks above the second.
    assert!(intervals[0].upper <= 2.0 && intervals[1].lower >= 2.0, "{intervals:?}");
    assert!(intervals.iter().all(|i| i.lower <= i.estimate && i.estimate <= i.upper), "{intervals:?}");
    assert_eq!(intervals, friedman_rank_intervals(&settings, Ties::Minimum, 500, 1, 0.95));
}

#[test]
fn holm_by_hand() {
    assert_eq!(holm(&[0.25, 0.125, 0.5]), [0.5, 0.375, 0.5]);
    assert_eq!(holm(&[0.75, 0.75]), [1.0, 1.0]);
    let with_none = holm(&[f64::NAN, 0.125]);
    assert!(with_none[0].is_nan() && with_none[1] == 0.25);
}
