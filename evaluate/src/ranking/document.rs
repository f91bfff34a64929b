//! Writes ranks as a JSON document.

use segcal_data::output::number;
use segcal_metrics::bootstrap::Interval;
use segcal_metrics::ranking::Friedman;
use serde_json::{Map, Value, json};

use super::{ColumnFigures, Difference, GroupFigures, Pair, Ranking};

impl Ranking {
    /// The JSON document `segcal.ranking/1`.
    pub fn to_json(&self) -> Value {
        let options = &self.options;
        let by_method = |figure: &dyn Fn(usize) -> Value| -> Value {
            let pairs = self.methods.iter().enumerate().map(|(method, name)| (name.clone(), figure(method)));
            pairs.collect::<Map<_, _>>().into()
        };
        let metric = |figures: &ColumnFigures| {
            let mut entry = json!({
                "metric": figures.column.metric.key,
                "unit": figures.column.unit,
                "mean": by_method(&|method| number(figures.means[method])),
                "rank": by_method(&|method| number(figures.ranks[method])),
                "mean_case_rank": by_method(&|method| number(figures.case_ranks[method])),
                "missed": by_method(&|method| figures.column.missed[method].into()),
                "left_out": figures.column.left_out,
                "friedman_over_cases": test(&figures.over_cases),
                "pairs": figures.pairs.iter().map(|pair| self.pair(pair)).collect::<Vec<_>>(),
            });
            if self.groups.len() > 1 {
                entry["dataset"] = self.groups[figures.group].name.clone().into();
            }
            entry
        };
        let mut document = json!({
            "schema": "segcal.ranking/1",
            "version": env!("CARGO_PKG_VERSION"),
            "methods": self.methods,
            "cases": self.groups.iter().map(|group| group.cases).sum::<usize>(),
            "structures": self.groups[0].structures,
            "region": options.region,
            "ties": options.ties.name(),
            "replicates": options.replicates,
            "seed": options.seed,
            "sum_rank": by_method(&|method| number(self.sum_ranks[method])),
            "mean_case_rank": by_method(&|method| interval(&self.case_ranks[method])),
            "friedman_rank": by_method(&|method| interval(&self.friedman_ranks[method])),
            "final_rank": by_method(&|method| number(self.final_ranks[method])),
            "friedman_over_metrics": test(&self.over_metrics),
            "metrics": self.columns.iter().map(metric).collect::<Vec<_>>(),
        });
        if self.groups.len() > 1 {
            let group = |group: &GroupFigures| json!({ "name": group.name, "cases": group.cases, "structures": group.structures });
            document["datasets"] = self.groups.iter().map(group).collect();
            document["over_datasets"] = self.over_datasets.iter().map(|pair| self.difference(pair)).collect();
            document.as_object_mut().map(|document| document.remove("structures"));
        }
        document
    }

    fn difference(&self, pair: &Difference) -> Value {
        let [first, second] = pair.methods.map(|method| self.methods[method].as_str());
        let (metric, difference) = (pair.metric.key, interval(&pair.difference));
        json!({ "metric": metric, "first": first, "second": second, "difference": difference })
    }

    fn pair(&self, pair: &Pair) -> Value {
        let [a, b] = pair.methods.map(|method| self.methods[method].as_str());
        json!({
            "first": a,
            "second": b,
            "difference": interval(&pair.difference),
            "wilcoxon": { "pairs": pair.test.pairs, "p": number(pair.test.p_value), "p_holm": number(pair.corrected) },
        })
    }
}

fn test(test: &Friedman) -> Value {
    json!({ "chi_square": number(test.chi_square), "degrees": test.degrees, "p": number(test.p_value) })
}

fn interval(of: &Interval) -> Value {
    json!({ "estimate": number(of.estimate), "interval95": [number(of.lower), number(of.upper)] })
}
