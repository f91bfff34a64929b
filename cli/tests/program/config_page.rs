//! `docs/config.md` is what the lists of the program say.

use std::fmt::Write;
use std::path::Path;

use serde_json::Value;

use crate::common::{segcal, stdout};

const HEAD: &str = "# The training config

Every key of the TOML file that `segcal train` reads, with its default. Keys may be given on the command line too, as
`key=value` (`segcal train CONFIG epochs=50 loss.name=nacl`), which goes before the file. An unknown key is an error that names the
nearest known one. `segcal list config` prints these tables for your version, and `segcal schema config` is their JSON Schema, with
which editors complete and check the file.

```toml
data = \"hippocampus\"
epochs = 12
samples = { kind = \"slices\", axis = \"z\", size = [64, 64] }
augment = \"light\"
network = { name = \"unet\", levels = 4, base = 16 }
loss = { name = \"nacl\", lambda = 0.1 }
optimiser = { name = \"adam\", learning_rate = 1e-3 }
schedule = { name = \"step\", milestones = [6], factor = 0.1 }
```

`segcal plan DATASET` writes a whole config from a data set, with a reason above each key ([plan.md](plan.md)).

";

const LOSSES: &str = "## Losses

`loss` is a table with `name`, `convention` (`authors`, the default: as the public code computes it; `paper`: as the paper prints
it) and the parameters below. Further terms are `[[loss.plus]]` tables of the same form with a `weight` (1 by default):

```toml
[loss]
name = \"ce\"

[[loss.plus]]
name = \"ace-l1\"
weight = 0.5
```

";

fn list(kind: &str) -> Vec<Value> {
    let output = segcal(&["list", kind, "--json"]);
    serde_json::from_str(&stdout(&output)).expect("a JSON list")
}

fn text(value: &Value) -> String {
    let plain = match value {
        Value::Null => return String::new(),
        Value::String(text) if text.is_empty() => return "none".into(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    format!("`{}`", plain.replace('|', "\\|"))
}

fn cell(value: &Value) -> String {
    value.as_str().unwrap_or_default().replace('|', "\\|")
}

fn config(page: &mut String) {
    let titles = [
        ("", "The training"),
        ("input.", "Images: `input`"),
        ("samples.", "Samples: `samples`"),
        ("augment.", "Augmentation: `augment`"),
        ("network.", "Network: `network`"),
        ("loss.", "Loss: `loss`"),
        ("optimiser.", "Optimiser: `optimiser`"),
        ("schedule.", "Learning rate over the epochs: `schedule`"),
    ];
    let keys = list("config");
    for (start, title) in titles {
        let with = if ["optimiser.", "schedule."].contains(&start) { ("| with ", "|---") } else { ("", "") };
        let _ =
            writeln!(page, "## {title}\n\n| key {}| default | values | meaning |\n|---{}|---|---|---|", with.0, with.1);
        for key in &keys {
            let name = key["key"].as_str().unwrap_or_default();
            // The operators of augmentation have a table of their own.
            let inside = if start.is_empty() { !name.contains('.') } else { name.starts_with(start) };
            if inside && name.matches('.').count() < 2 {
                let with = if with.0.is_empty() { String::new() } else { format!("| {} ", text(&key["only_with"])) };
                let [default, kind, doc] = [text(&key["default"]), cell(&key["kind"]), cell(&key["doc"])];
                let _ = writeln!(page, "| `{name}` {with}| {default} | {kind} | {doc} |");
            }
        }
        if start == "augment." {
            augmentations(page);
        }
        page.push('\n');
    }
}

fn networks(page: &mut String) {
    page.push_str(
        "## Networks\n\nA key without a default follows from the others, or from the paper where it names one.\n\n",
    );
    for network in list("networks") {
        let [name, doc, paper] = ["name", "doc", "paper"].map(|key| cell(&network[key]));
        let _ = writeln!(page, "### `{name}`\n\n{doc} ({paper}).\n\n| key | default | meaning |\n|---|---|---|");
        for key in network["parameters"].as_array().into_iter().flatten() {
            let _ = writeln!(page, "| `{}` | {} | {} |", cell(&key["name"]), text(&key["default"]), cell(&key["doc"]));
        }
        page.push('\n');
    }
}

fn parameters(page: &mut String, kind: &str) {
    for entry in list(kind) {
        let [name, title, source] = ["name", "title", "source"].map(|key| cell(&entry[key]));
        let _ = writeln!(page, "### `{name}`\n\n{title} ({source}).\n");
        page.push_str("| parameter | default | `paper` | values | meaning | reported |\n|---|---|---|---|---|---|\n");
        for key in entry["parameters"].as_array().into_iter().flatten() {
            let paper =
                if key["default_paper"] == key["default"] { String::new() } else { text(&key["default_paper"]) };
            let [name, range, doc, reported] = ["name", "range", "doc", "reported"].map(|field| cell(&key[field]));
            let _ = writeln!(page, "| `{name}` | {} | {paper} | {range} | {doc} | {reported} |", text(&key["default"]));
        }
        page.push('\n');
    }
}

fn augmentations(page: &mut String) {
    page.push_str(
        "\nEach operator is a table of its own keys (`augment.noise.p = 0.2`): `p` is the probability for a sample, `per_channel` then that \
         for each of its channels, and the number is drawn uniformly from `range`. The presets for square slices; `none` leaves samples \
         as they are.\n\n",
    );
    page.push_str("| operator | `light` | `nnunet` | meaning |\n|---|---|---|---|\n");
    for entry in list("augmentations") {
        let [light, nnunet] = ["light", "nnunet"].map(|preset| text(&entry[preset]));
        let _ = writeln!(page, "| `augment.{}` | {light} | {nnunet} | {} |", cell(&entry["name"]), cell(&entry["doc"]));
    }
}

#[test]
fn the_page_of_the_training_config_is_fresh() {
    let mut page = HEAD.to_owned();
    config(&mut page);
    networks(&mut page);
    page.push_str(LOSSES);
    parameters(&mut page, "losses");
    page.push_str("## Priors\n\nWhat `nacl` pulls the logits to: `loss = { name = \"nacl\", prior = \"mean\" }`.\n\n");
    parameters(&mut page, "priors");
    let page = format!("{}\n", page.trim_end());
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/config.md");
    if std::fs::read_to_string(&path).unwrap_or_default() != page {
        let new = path.with_extension("md.new");
        std::fs::write(&new, &page).expect("the folder can be written");
        panic!("docs/config.md is not what the lists say: look at {} and put it there", new.display());
    }
}
