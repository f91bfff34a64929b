//! `segcal demo`. That its story holds for ten seeds takes minutes: `tests/demo.py` on a release build.

use crate::common::{segcal, stderr, text};
use serde_json::Value;

#[test]
fn four_predictions_are_judged_on_one_page() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("demo");
    let told = || {
        let output = segcal(&["demo", text(&out), "--epochs", "2", "--json", "-q"]);
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        assert!(!stderr(&output).contains("warning"), "{}", stderr(&output));
        serde_json::from_slice::<Value>(&output.stdout).unwrap()
    };
    let arms = told();
    let names: Vec<&String> = arms.as_object().unwrap().keys().collect();
    assert_eq!(names, ["ce", "ce-temperature", "mbls", "posterior"]);
    assert_eq!(arms["posterior"]["verdict"]["verdict"], "calibrated");
    assert_eq!(arms["ce"]["dsc"], arms["ce-temperature"]["dsc"], "a temperature keeps the labels");
    assert_eq!(arms["ce"]["change"], Value::Null);
    let excess = |arm: &str| arms[arm]["verdict"]["excess"].as_f64().unwrap();
    let change = arms["mbls"]["change"][0].as_f64().unwrap();
    assert!((change - (excess("mbls") - excess("ce"))).abs() < 1e-12, "{arms}");
    let page = std::fs::read_to_string(out.join("report.html")).unwrap();
    assert_eq!(page.matches("<svg").count(), 4);
    assert!(page.contains("The true posterior: calibrated where a structure is predicted"));
    assert_eq!(told(), arms, "again");
}
