//! Near misses: which of the known words an unknown one was probably meant to be.
//!
//! Trust: operators. Neighbours: the grammar of flows here, and every other place in control where operators write words.

/// The known word closest to `word`, when it is close enough to be a slip of the finger (one edit in three letters).
#[must_use]
pub fn near_miss<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let limit = (word.chars().count() / 3).max(1);
    known
        .into_iter()
        .map(|candidate| (distance(word, candidate), candidate))
        .filter(|&(distance, _)| distance <= limit)
        .min_by_key(|&(distance, _)| distance)
        .map(|(_, candidate)| candidate)
}

/// Insertions, deletions, replacements and swaps of neighbours that make one word of the other. `-` and `_` are the
/// same letter.
fn distance(a: &str, b: &str) -> usize {
    let letters =
        |word: &str| word.chars().map(|c| if c == '_' { '-' } else { c.to_ascii_lowercase() }).collect::<Vec<_>>();
    let (a, b) = (letters(a), letters(b));
    let mut rows = vec![(0..=b.len()).collect::<Vec<_>>()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let replaced = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = replaced.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::near_miss;

    #[test]
    fn slips_are_recognised_and_other_words_are_not() {
        let known = ["path", "mode", "queues", "mac-aging-time"];
        assert_eq!(near_miss("paht", known), Some("path"));
        assert_eq!(near_miss("queue", known), Some("queues"));
        assert_eq!(near_miss("mac_ageing_time", known), Some("mac-aging-time"));
        assert_eq!(near_miss("colour", known), None);
    }
}
