//! Suggestions for mistyped words.

/// The word of `known` with the smallest edit distance to `word`, if it is close enough to be a typing error: at most a
/// third of the letters (or two, if that is more) differ, or one is a prefix of the other.
///
/// ```
/// assert_eq!(segcal_core::nearest("lamda", ["margin", "lambda"]), Some("lambda"));
/// assert_eq!(segcal_core::nearest("zebra", ["margin", "lambda"]), None);
/// ```
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let limit = |candidate: &str| (word.len().max(candidate.len()) / 3).max(2);
    let near = |candidate: &str| {
        let begins = word.len() > 1 && (candidate.starts_with(word) || word.starts_with(candidate));
        let distance = edit_distance(word, candidate);
        (begins || distance <= limit(candidate)).then_some(distance)
    };
    let found = known.into_iter().filter_map(|candidate| Some((near(candidate)?, candidate)));
    found.min_by_key(|(distance, _)| *distance).map(|(_, candidate)| candidate)
}

/// Number of letters that must be inserted, deleted or replaced (Levenshtein 1966).
fn edit_distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, &y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances() {
        assert_eq!(edit_distance("kitten", "sitting"), 3);
        assert_eq!(edit_distance("", "abc"), 3);
        assert_eq!(edit_distance("same", "same"), 0);
    }
}
