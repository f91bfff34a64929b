//! Plans of comparisons: a TOML text, a line `---`, and overrides, one a line.

use std::path::Path;

use segcal::compare::plan::Plan;
use segcal_train::settings::Settings;

use crate::input::{two_texts, with_file};

/// A plan is read or refused; the resolved one is a plan that resolves to itself, with trainings that differ in nothing.
pub fn target(bytes: &[u8]) {
    let (text, overrides) = two_texts(bytes);
    let overrides: Vec<String> = overrides.lines().map(str::to_owned).collect();
    with_file("x.toml", text.as_bytes(), |path| {
        let plan = Plan::read(path, &overrides, None);
        plan.map(|plan| resolved_again(&plan, path))
    });
}

fn resolved_again(plan: &Plan, path: &Path) {
    std::fs::write(path, plan.resolved.to_string()).expect("room for temporary files");
    let again = Plan::read(path, &[], None).unwrap_or_else(|error| panic!("resolved, it is refused: {error}"));
    assert_eq!(again.resolved.to_string(), plan.resolved.to_string(), "resolved twice");
    assert_eq!((&again.seeds, again.noise.len()), (&plan.seeds, plan.noise.len()));
    let settings = |plan: &Plan| {
        let trials = plan.methods.iter().flat_map(|method| &method.trials);
        trials.flat_map(|trial| &trial.settings).map(Settings::to_table).collect::<Vec<_>>()
    };
    let [first, second] = [plan, &again].map(|plan| format!("{:?}", settings(plan)));
    assert_eq!(first, second, "the trainings of the resolved plan");
}

/// Plans with overrides, and some that are refused.
pub fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    let text = |text: &str| text.as_bytes().to_vec();
    vec![
        ("short", text("[train]\ndata = \"x\"\n[[method]]\nname = \"ce\"\n---\nepochs=3")),
        (
            "long",
            text(
                "out = \"o\"\nseeds = [3, 1]\nnoise = [0.1, 0, 0.05]\nmetrics = [\"dsc\", \"ece\"]\n\
                 region = \"structure:1\"\nempty = \"penalise\"\n[train]\ndata = \"x\"\nepochs = 2\n\
                 loss = { name = \"nacl\", lambda = 0.3 }\n[[method]]\nname = \"a\"\n[[method]]\nname = \"b\"\n\
                 loss = { name = \"crac\" }\nnetwork = { levels = 2, base = 4 }\n---\nbatch=3",
            ),
        ),
        ("unknown", text("sedes = [1]\n[train]\ndata = \"x\"\n[[method]]\nname = \"ce\"\nlos = { name = \"ce\" }")),
        ("names", text("[train]\ndata = \"x\"\n[[method]]\nname = \"../a\"\n[[method]]\nname = \"plots\"")),
        ("config", text("[train]\nconfig = \"x.toml\"\ndata = \"x\"\n[[method]]\nname = \"a\"")),
        ("edges", text("seeds = [-1]\nnoise = [nan, -0.0, inf]\n[train]\nseed = 3\n[[method]]\nname = \"\"")),
    ]
}
