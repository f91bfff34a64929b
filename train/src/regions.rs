//! Regions of a data set that a network learns as separate binary problems, each with a sigmoid (nnU-Net's region-based
//! training).

use segcal_core::{Context, Error, Result};
use segcal_data::Dataset;
use segcal_metrics::measure::Nested;
use segcal_metrics::volume::{Label, Structure};

/// The regions of a data set; none if its labels are classes.
///
/// # Errors
/// A label of a region, or one that a region becomes, is not valid in a label map.
pub fn nested(data: &Dataset) -> Result<Option<Nested>> {
    let label = |&label: &i32| {
        Label::try_from(label).map_err(|_| {
            Error::new(format!("{label} is not a label")).help(format!("labels go from 0 to {}", Label::MAX))
        })
    };
    let (mut regions, mut order) = (Vec::new(), Vec::new());
    for region in &data.regions {
        let labels = region.labels.iter().map(label).collect::<Result<_>>().at(&region.name)?;
        regions.push(Structure { name: region.name.clone(), labels });
        order.push(label(&region.becomes).at("regions_class_order")?);
    }
    Ok((!regions.is_empty()).then_some(Nested { regions, order }))
}

/// Describes the regions, in the order of their channels.
pub fn described(nested: &Nested) -> String {
    let each = nested.regions.iter().zip(&nested.order).map(|(region, becomes)| {
        let labels: Vec<String> = region.labels.iter().map(ToString::to_string).collect();
        format!("{} (labels {}, becomes {becomes})", region.name, labels.join(" "))
    });
    format!("regions with one sigmoid each: {}", each.collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
mod tests {
    use segcal_data::dataset::{Layout, Region};

    use super::*;

    #[test]
    fn regions_of_a_data_set_in_their_order() {
        let mut data = Dataset {
            root: "data".into(),
            layout: Layout::NnUnet,
            classes: ["background", "whole", "core"].map(str::to_owned).into(),
            ignore_label: None,
            regions: Vec::new(),
            channels: Vec::new(),
            train: Vec::new(),
            val: Vec::new(),
            test: Vec::new(),
        };
        assert_eq!(nested(&data).unwrap(), None);
        let region = |name: &str, labels, becomes| Region { name: name.into(), labels, becomes };
        data.regions = vec![region("whole", vec![1, 2], 1), region("core", vec![2], 2)];
        let found = nested(&data).unwrap().unwrap();
        assert_eq!(found.order, [1, 2]);
        assert!(described(&found).ends_with("whole (labels 1 2, becomes 1), core (labels 2, becomes 2)"));
        data.regions[1].becomes = -1;
        assert!(nested(&data).unwrap_err().to_string().contains("regions_class_order: -1 is not a label"));
    }
}
