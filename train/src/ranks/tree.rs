//! Sums whose order of addition depends only on the number of terms.
//!
//! Terms are numbered from 0. Two neighbouring sums of `2^k` terms, the first of which begins at a multiple of
//! `2^(k + 1)`, are combined into one of `2^(k + 1)`; the sums that remain at the end are added from the last to the
//! first. A rank with consecutive terms can therefore add many of them without the other ranks, and the total is the
//! same however the terms are distributed.

/// A sum in progress: its nodes are partial sums that have not yet been combined.
#[derive(Clone, Debug)]
pub struct Tree<T> {
    nodes: Vec<Node<T>>,
}

/// The sum of `size` terms beginning at `start`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Node<T> {
    /// Index of the first term.
    pub start: usize,
    /// Number of terms, a power of two.
    pub size: usize,
    /// Their sum.
    pub sum: T,
}

impl<T> Default for Tree<T> {
    fn default() -> Self {
        Self { nodes: Vec::new() }
    }
}

impl<T> Tree<T> {
    /// Takes the next node in order, and combines it with earlier ones where possible.
    pub fn push(&mut self, mut node: Node<T>, add: impl Fn(T, T) -> T) {
        while let Some(before) = self.nodes.pop() {
            if before.size != node.size || !before.start.is_multiple_of(2 * node.size) {
                self.nodes.push(before);
                break;
            }
            node = Node { start: before.start, size: 2 * node.size, sum: add(before.sum, node.sum) };
        }
        self.nodes.push(node);
    }

    /// The partial sums that cannot be combined without further terms.
    pub fn into_nodes(self) -> Vec<Node<T>> {
        self.nodes
    }

    /// The sum of all terms; `None` if there are no terms.
    pub fn finish(self, add: impl Fn(T, T) -> T) -> Option<T> {
        self.nodes.into_iter().map(|node| node.sum).rev().reduce(|after, before| add(before, after))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[expect(clippy::needless_pass_by_value, reason = "as sums are added")]
    fn add(a: String, b: String) -> String {
        ["(", &a, "+", &b, ")"].concat()
    }

    fn of(terms: std::ops::Range<usize>) -> Tree<String> {
        let mut tree = Tree::default();
        terms.for_each(|term| tree.push(Node { start: term, size: 1, sum: term.to_string() }, add));
        tree
    }

    #[test]
    fn whoever_has_which_terms_the_sum_is_the_same() {
        assert_eq!(of(0..6).finish(add).unwrap(), "(((0+1)+(2+3))+(4+5))");
        assert_eq!(of(0..7).finish(add).unwrap(), "(((0+1)+(2+3))+((4+5)+6))");
        for terms in 1..20 {
            for first in 0..=terms {
                for second in first..=terms {
                    let mut all = Tree::default();
                    for own in [0..first, first..second, second..terms] {
                        of(own).into_nodes().into_iter().for_each(|node| all.push(node, add));
                    }
                    assert_eq!(all.finish(add), of(0..terms).finish(add), "{terms}: {first}, {second}");
                }
            }
        }
    }
}
