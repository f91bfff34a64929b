//! Early stopping: whether the validation DSC has not improved for long enough.

use segcal_data::observer::{Event, Observer};

use super::record::EpochRecord;
use super::settings::Settings;

/// The epoch with the best mean foreground DSC; the first one of equals.
pub(super) fn best_epoch(records: &[EpochRecord]) -> Option<usize> {
    let better = |best: Option<usize>, number: usize| {
        let dsc = |number: usize| records[number].dsc.0;
        // Anything is better than an undefined figure.
        let replaced = best.is_none_or(|best| dsc(best).is_nan() || dsc(number) > dsc(best));
        if replaced { Some(number) } else { best }
    };
    (0..records.len()).fold(None, better).map(|number| number + 1)
}

/// Whether training ends after these epochs: at least `patience` epochs came after the best one.
pub(super) fn is_over(settings: &Settings, records: &[EpochRecord]) -> bool {
    let waited = records.len() - best_epoch(records).unwrap_or(0);
    settings.patience > 0 && waited >= settings.patience
}

/// Reports that a training has ended before its last epoch, if it has.
pub(super) fn announce(settings: &Settings, done: usize, observer: &dyn Observer) {
    if done < settings.epochs {
        let patience = settings.patience;
        observer.event(Event::Line(&format_args!("stopped after epoch {done}: no better DSC for {patience} epochs")));
    }
}
