//! `segcal rank`: ranks, intervals and tests from the tables of several methods.

use std::fs;
use std::path::{Path, PathBuf};

use crate::common::{segcal, stderr, stdout};
use serde_json::Value;
use tempfile::TempDir;

/// A method's `cases.csv`: rows of case, structure, region, metric, value, note.
fn table(root: &TempDir, name: &str, rows: &[(&str, &str, &str, &str, &str, &str)]) -> PathBuf {
    let folder = root.path().join(name);
    fs::create_dir_all(&folder).unwrap();
    let mut csv = "case,structure,region,metric,value,unit,note\n".to_owned();
    for (case, structure, region, metric, value, note) in rows {
        csv += &format!("{case},{structure},{region},{metric},{value},1,{note}\n");
    }
    fs::write(folder.join("cases.csv"), csv).unwrap();
    folder
}

/// DSC of the structure 1 and foreground ECE of cases a, b, c …
fn method(root: &TempDir, name: &str, dsc: &[f64], ece: &[f64]) -> PathBuf {
    let cases = ["a", "b", "c", "d", "e", "f"];
    let (dsc, ece): (Vec<String>, Vec<String>) =
        (dsc.iter().map(f64::to_string).collect(), ece.iter().map(f64::to_string).collect());
    let mut rows = Vec::new();
    for (case, (dsc, ece)) in cases.iter().zip(dsc.iter().zip(&ece)) {
        rows.push((*case, "1", "", "dsc", dsc.as_str(), ""));
        rows.push((*case, "", "foreground", "ece", ece.as_str(), ""));
    }
    table(root, name, &rows)
}

fn run(tables: &[&Path], more: &[&str]) -> std::process::Output {
    let tables: Vec<&str> = tables.iter().map(|table| table.to_str().unwrap()).collect();
    segcal(&[&["rank", "--metrics", "dsc,ece", "--replicates", "200"], tables.as_slice(), more].concat())
}

fn json(tables: &[&Path], more: &[&str]) -> Value {
    let output = run(tables, &[&["--json"], more].concat());
    assert!(output.status.success(), "{}", stderr(&output));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn ranks_and_tests_by_hand() {
    let root = tempfile::tempdir().unwrap();
    let good = method(&root, "good", &[0.9, 0.8, 0.7, 0.9, 0.8], &[0.1, 0.1, 0.1, 0.1, 0.1]);
    let mixed = method(&root, "mixed", &[0.8, 0.7, 0.6, 0.8, 0.7], &[0.05, 0.06, 0.07, 0.08, 0.09]);
    let bad = method(&root, "bad", &[0.7, 0.6, 0.5, 0.7, 0.6], &[0.2, 0.2, 0.2, 0.2, 0.2]);
    let all = json(&[&good, &mixed, &bad], &[]);
    assert_eq!(all["methods"], serde_json::json!(["good", "mixed", "bad"]));
    // dsc ranks 1 2 3, ece ranks 2 1 3, in every case and of the means.
    assert_eq!(all["sum_rank"], serde_json::json!({ "good": 3.0, "mixed": 3.0, "bad": 6.0 }));
    for figure in ["mean_case_rank", "friedman_rank"] {
        assert_eq!(all[figure]["good"]["estimate"], 1.5);
        assert_eq!(all[figure]["bad"], serde_json::json!({ "estimate": 3.0, "interval95": [3.0, 3.0] }));
    }
    // 12 m / (k (k + 1)) (sum R^2 - k (k + 1)^2 / 4) = 12 * 5 / 12 * (14 - 12), p = exp(-chi^2 / 2).
    let test = &all["metrics"][0]["friedman_over_cases"];
    assert_eq!((test["chi_square"].as_f64().unwrap(), test["degrees"].as_u64().unwrap()), (10.0, 2));
    assert!((test["p"].as_f64().unwrap() - (-5.0_f64).exp()).abs() < 1e-12);
    // 12 * 2 / 12 * (1.5^2 + 1.5^2 + 3^2 - 12)
    assert_eq!(all["friedman_over_metrics"]["chi_square"], 3.0);
    let pair = &all["metrics"][0]["pairs"][0];
    assert_eq!((&pair["first"], &pair["second"]), (&"good".into(), &"mixed".into()));
    assert!((pair["difference"]["estimate"].as_f64().unwrap() - 0.1).abs() < 1e-12);
    // Five differences of one sign: 2 / 2^5, times the three pairs.
    assert_eq!((&pair["wilcoxon"]["p"], &pair["wilcoxon"]["p_holm"]), (&0.0625.into(), &0.1875.into()));
    let text = stdout(&run(&[&good, &mixed, &bad], &[]));
    assert!(text.contains("Friedman rank") && text.contains("good - mixed"), "{text}");
}

#[test]
fn ties_are_as_asked_for() {
    let root = tempfile::tempdir().unwrap();
    let a = method(&root, "a", &[0.5; 4], &[0.1; 4]);
    let b = method(&root, "b", &[0.5; 4], &[0.2; 4]);
    assert_eq!(json(&[&a, &b], &[])["sum_rank"], serde_json::json!({ "a": 2.0, "b": 3.0 }));
    assert_eq!(json(&[&a, &b], &["--ties", "mean"])["sum_rank"], serde_json::json!({ "a": 2.5, "b": 3.5 }));
    // Every case ties: the test over cases has no value, and the document stays strict.
    assert_eq!(json(&[&a, &b], &[])["metrics"][0]["friedman_over_cases"]["p"], "nan");
}

#[test]
fn a_missed_structure_ranks_last_and_is_counted() {
    let root = tempfile::tempdir().unwrap();
    let rows = |missing: &'static str, note: &'static str| {
        [
            ("x", "1", "", "dsc", "0.5", ""),
            ("x", "", "foreground", "ece", "0.1", ""),
            ("y", "1", "", "dsc", missing, note),
            ("y", "", "foreground", "ece", "0.1", ""),
        ]
    };
    let missed = table(&root, "missed", &rows("NaN", "prediction empty"));
    let found = table(&root, "found", &rows("0.3", ""));
    let all = json(&[&missed, &found], &[]);
    assert_eq!(all["metrics"][0]["missed"], serde_json::json!({ "missed": 1, "found": 0 }));
    // Case x ties everything at 1; case y has dsc ranks 2 and 1, ece ranks 1 and 1.
    assert_eq!(all["mean_case_rank"]["missed"]["estimate"], 1.25);
    assert!(stdout(&run(&[&missed, &found], &[])).contains("missed missed a structure in 1 cases"));
    let nothing = table(&root, "nothing", &rows("NaN", "both empty"));
    let all = json(&[&nothing, &found], &[]);
    assert_eq!((&all["metrics"][0]["left_out"], &all["metrics"][0]["mean"]["found"]), (&1.into(), &0.5.into()));
}

#[test]
fn what_cannot_be_compared_is_named() {
    let root = tempfile::tempdir().unwrap();
    let a = method(&root, "a", &[0.5, 0.6, 0.7], &[0.1; 3]);
    let b = method(&root, "b", &[0.5], &[0.2]);
    let refused = |tables: &[&Path], more: &[&str]| {
        let output = run(tables, more);
        assert_eq!(output.status.code(), Some(2));
        assert!(output.stdout.is_empty());
        stderr(&output)
    };
    let message = refused(&[&a, &b], &[]);
    assert!(message.contains("b/cases.csv") && message.contains("b, c"), "{message}");
    assert!(refused(&[&a], &[]).contains("CSV"));
    let c = method(&root, "c", &[0.5, 0.6, 0.7], &[0.1; 3]);
    assert!(refused(&[&a, &c], &["--region", "union"]).contains("no ece of union"));
    let other = segcal(&["rank", "--metrics", "dcs", a.to_str().unwrap(), c.to_str().unwrap()]);
    assert!(stderr(&other).contains("did you mean dsc?"), "{}", stderr(&other));
    let odd = root.path().join("odd.csv");
    fs::write(&odd, "case,metric\n").unwrap();
    assert!(refused(&[&a, &odd], &[]).contains("no column structure"));
}

/// What a command prints of a printed table in `tests/tables`.
fn printed(name: &str) -> Value {
    let path = format!("{}/../tests/tables/{name}.csv", env!("CARGO_MANIFEST_DIR"));
    let output = segcal(&["--json", "rank", "--table", &path]);
    assert!(output.status.success(), "{}", stderr(&output));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// CRaC, tables 1 and 2: Friedman rank (two decimals) and final rank as printed.
#[test]
fn the_published_ranks_of_crac_come_out_of_the_command() {
    let names = ["FL", "ECP", "LS", "SVLS", "MbLS", "NACL", "BWCR", "CRaC"];
    let unet = [(7.88, 8), (5.38, 7), (4.88, 4), (5.25, 5), (5.25, 5), (2.25, 2), (3.13, 3), (1.75, 1)];
    let nnunet = [(6.00, 6), (6.00, 6), (4.00, 4), (5.13, 5), (3.50, 3), (2.50, 2), (6.63, 8), (1.88, 1)];
    for (table, expected) in [("crac-unet", unet), ("crac-nnunet", nnunet)] {
        let ranks = printed(table);
        for (name, (friedman, last)) in names.iter().zip(expected) {
            let rank = ranks["friedman_rank"][name].as_f64().unwrap();
            // Multiples of an eighth, printed with two decimals: off by at most half a hundredth.
            assert!((rank - friedman).abs() <= 0.005 + 1e-12, "{table} {name}: {rank}, printed {friedman}");
            assert_eq!(ranks["final_rank"][name], f64::from(last), "{table} {name}");
        }
    }
}

/// NACL, table 1: the sums of competition ranks over its twelve columns.
#[test]
fn the_sum_ranks_of_nacl_come_out_of_the_command() {
    let expected = serde_json::json!({
        "CE+DSC": 58.0, "FL": 70.0, "ECP": 49.0, "LS": 47.0, "SVLS": 50.0, "MbLS": 45.0, "NACL": 15.0
    });
    assert_eq!(printed("nacl")["sum_rank"], expected);
}

#[test]
fn a_table_and_evaluations_are_not_ranked_together() {
    let output = segcal(&["rank", "a", "b", "--table", "t.csv"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("--table"), "{}", stderr(&output));
}

/// Two data sets of the same two methods: ranks 1 2, 1 2 on the first, 2 1, 2 1 on the second.
#[test]
fn data_sets_are_ranked_together() {
    let root = tempfile::tempdir().unwrap();
    let folders: Vec<PathBuf> = [("d", [0.9, 0.8]), ("e", [0.7, 0.8])]
        .iter()
        .flat_map(|(dataset, dsc)| {
            ["a", "b"]
                .iter()
                .zip(dsc)
                .map(|(name, &dsc)| method(&root, &format!("{dataset}/{name}"), &[dsc; 4], &[1.0 - dsc; 4]))
                .collect::<Vec<_>>()
        })
        .collect();
    let words: Vec<&str> = folders.iter().map(|folder| folder.to_str().unwrap()).collect();
    let run = |dataset: [&str; 6]| {
        segcal(
            &[&["--json", "rank", "--metrics", "dsc,ece", "--dataset"], &dataset[..3], &["--dataset"], &dataset[3..]]
                .concat(),
        )
    };
    let output = run(["d", words[0], words[1], "e", words[2], words[3]]);
    assert!(output.status.success(), "{}", stderr(&output));
    let ranks: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(ranks["sum_rank"], serde_json::json!({ "a": 6.0, "b": 6.0 }));
    assert_eq!(ranks["mean_case_rank"]["a"]["estimate"], 1.5);
    assert_eq!(ranks["final_rank"], serde_json::json!({ "a": 1.0, "b": 1.0 }));
    assert_eq!(ranks["cases"], 8);
    assert_eq!(ranks["metrics"].as_array().unwrap().len(), 4);
    assert_eq!(ranks["metrics"][2]["dataset"], "e");
    assert_eq!(ranks["metrics"][2]["mean_case_rank"], serde_json::json!({ "a": 2.0, "b": 1.0 }));
    let swapped = run(["d", words[0], words[1], "e", words[3], words[2]]);
    assert!(stderr(&swapped).contains("e: has the methods b, a, not a, b"), "{}", stderr(&swapped));
}
