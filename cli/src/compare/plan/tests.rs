//! The plan: what it resolves to, and how mistakes are named.

use super::*;

fn plan(text: &str, overrides: &[&str]) -> Result<Plan> {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    file("plan.toml", text);
    file("base.toml", "epochs = 5\nseed = 9\n[loss]\nname = \"nacl\"\nlambda = 0.3\nconvention = \"paper\"\n");
    let overrides: Vec<String> = overrides.iter().map(ToString::to_string).collect();
    Plan::read(&folder.path().join("plan.toml"), &overrides, None)
}

const TWO: &str = "noise = [0.1, 0.05]\n[train]\nconfig = \"base.toml\"\ndata = \"d\"\nbatch = 3\n\
                   [[method]]\nname = \"a\"\nloss = { name = \"ce\" }\n\
                   [[method]]\nname = \"b\"\nloss.lambda = 0.5\n";

#[test]
fn a_method_is_laid_over_what_all_share() {
    let plan = plan(TWO, &["batch=7"]).unwrap();
    assert_eq!((&plan.noise[..], &plan.seeds[..]), (&[0.0, 0.05, 0.1][..], &[0][..]));
    assert_eq!(plan.out, Path::new("runs/plan"));
    let [a, b] = &plan.methods[..] else { panic!("two methods") };
    let [a, b] = [a, b].map(|method| &method.trials[0].settings[0]);
    assert_eq!((a.epochs, a.batch), (5, 7));
    // A different loss brings its own parameters; the convention is shared.
    assert_eq!(a.loss.to_string(), "name = \"ce\"\nconvention = \"paper\"\n");
    assert_eq!((b.loss["lambda"].as_float(), b.loss["name"].as_str()), (Some(0.5), Some("nacl")));
}

#[test]
fn keys_that_defaults_do_not_write_are_known_and_shown_where_they_say_something() {
    let text = TWO.replace("batch = 3", "batch = 3\npatience = 4\nsamples.skip_empty = true");
    let read = plan(&text, &[]).unwrap();
    let settings = &read.methods[0].trials[0].settings[0];
    assert_eq!((settings.patience, settings.samples.skip_empty), (4, true));
    let shown = read.resolved["train"].as_table().unwrap();
    assert_eq!(shown["patience"].as_integer(), Some(4));
    assert!(!shown.contains_key("augment") && !shown.contains_key("init"), "{shown}");
    assert!(plan(TWO, &[]).unwrap().resolved["train"]["samples"].get("skip_empty").is_none());
}

#[test]
fn mistakes_are_named() {
    let message = |text: &str, overrides: &[&str]| plan(text, overrides).unwrap_err().to_string();
    let changed = |from: &str, to: &str| message(&TWO.replace(from, to), &[]);
    assert!(changed("noise =", "nois =").contains("nois: unknown config key (did you mean noise?)"));
    assert!(changed("batch =", "bach =").contains("train: bach: unknown config key (did you mean batch?)"));
    assert!(changed("loss.lambda", "lss.lambda").contains("method 2: b: lss: unknown config key"));
    assert!(changed("base.toml", "none.toml").contains("none.toml"));
    assert!(changed("\"b\"", "\"a\"").contains("the name a appears twice"));
    assert!(changed("\"b\"", "\"../b\"").contains("cannot be the name of a folder"));
    assert!(changed("0.05", "-0.05").contains("noise: -0.05 is not a standard deviation"));
    assert!(changed("batch = 3", "seed = 3").contains("train: seed: cannot be set here (the plan's key seeds"));
    assert!(changed("loss.lambda = 0.5", "data = \"e\"").contains("method 2: b: data: must be the same for all"));
    assert!(message("[train]\ndata = \"d\"\n", &[]).contains("method: the plan lists no methods"));
    assert!(message(&format!("metrics = [\"dcs\"]\n{TWO}"), &[]).contains("did you mean dsc?"));
    assert!(message(&format!("region = \"foregroud\"\n{TWO}"), &[]).contains("did you mean foreground?"));
    assert!(message(&format!("seeds = [1, 1]\n{TWO}"), &[]).contains("a seed twice"));
    assert!(message(TWO, &["out=x"]).contains("the plan's key out"));
}

const WIDE: &str = "networks = [\"unet\", { name = \"unet\", label = \"small\", base = 4 }]\nregions = { whole = [1, 2] }\n\
                    evaluate = { bins = 10, convention = \"authors\" }\ncalibrate = [\"temperature\", \"vector\"]\n\
                    [train]\nepochs = 2\n[[dataset]]\nname = \"x\"\ndata = \"dx\"\nbatch = 3\n\
                    [[dataset]]\nname = \"y\"\ndata = \"dy\"\nnetwork.levels = 2\nregions = { one = [1] }\n\
                    [[method]]\nname = \"a\"\n\
                    [[method]]\nname = \"b\"\nloss = { name = \"nacl\" }\n\
                    grid = { lambda = [0.1, 0.2], \"optimiser.learning_rate\" = [0.5] }\nselect = \"all\"\n";

#[test]
fn data_sets_networks_and_grids_are_laid_in_their_order() {
    let plan = plan(WIDE, &[]).unwrap();
    let names: Vec<String> = plan.arms.iter().map(Arm::name).collect();
    assert_eq!(names, ["x unet", "x small", "y unet", "y small"]);
    assert_eq!(plan.arms.iter().map(|arm| arm.cases_of).collect::<Vec<_>>(), [0, 0, 2, 2]);
    assert_eq!(plan.arms[0].measuring.settings.bins, 10);
    let regions = |arm: usize| plan.arms[arm].measuring.settings.regions.keys().cloned().collect::<Vec<_>>();
    assert_eq!((regions(0), regions(3)), (vec!["whole".to_owned()], vec!["one".to_owned()]));
    let [a, b] = &plan.methods[..] else { panic!("two methods") };
    assert!(!a.has_grid() && b.has_grid() && b.select == Select::All);
    let trials: Vec<&str> = b.trials.iter().map(|trial| trial.name.as_str()).collect();
    assert_eq!(trials, ["lambda-0.1-optimiser.learning_rate-0.5", "lambda-0.2-optimiser.learning_rate-0.5"]);
    let on = |trial: usize, arm: usize| &b.trials[trial].settings[arm];
    assert_eq!(
        (on(1, 0).loss["lambda"].as_float(), on(1, 0).optimiser["learning_rate"].as_float()),
        (Some(0.2), Some(0.5))
    );
    assert_eq!((on(0, 1).batch, on(0, 2).batch), (3, 16));
    assert_eq!((on(0, 3).network["base"].as_integer(), on(0, 3).network["levels"].as_integer()), (Some(4), Some(2)));
    assert_eq!((on(0, 0).data.as_path(), on(0, 2).data.as_path()), (Path::new("dx"), Path::new("dy")));
}

#[test]
fn mistakes_of_wide_plans_are_named() {
    let changed = |from: &str, to: &str| {
        assert!(WIDE.contains(from), "{from}");
        plan(&WIDE.replace(from, to), &[]).unwrap_err().to_string()
    };
    assert!(changed("name = \"y\"\n", "name = \"x\"\n").contains("dataset: the name x appears twice"));
    assert!(changed("data = \"dy\"\n", "").contains("dataset 2: y: data: is missing"));
    assert!(changed(", label = \"small\"", "").contains("networks: the name unet appears twice (give a label"));
    assert!(changed("bins = 10", "bin = 10").contains("evaluate: bin: unknown config key (did you mean bins?)"));
    assert!(changed("\"authors\"", "\"author\"").contains("evaluate.convention: author is not one of segcal, authors"));
    assert!(changed("\"vector\"", "\"vectr\"").contains("calibrate: unknown map vectr"));
    assert!(changed("[0.1, 0.2]", "0.1").contains("b: grid: lambda: is not a list of values (for example grid"));
    assert!(changed("[0.1, 0.2]", "[0.1, 0.1]").contains("b: grid: contains a value twice"));
    assert!(changed("\"all\"", "\"some\"").contains("b: select: some is not one of dataset, all"));
    assert!(
        changed("name = \"a\"", "name = \"a\"\nnetwork.base = 2")
            .contains("network: is already set by the plan's networks")
    );
    assert!(changed("batch = 3", "batches = 3").contains("x unet: batches: unknown config key"));
}
