fn combine_all(a: Values, b: Values) -> Values {
    var first = a;
    var second = b;
    for (var j = 0; j < i32(OUTPUTS); j++) {
        first[j] = combine(first[j], second[j]);
    }
    return first;
}

// Folds every `step`-th term of output `o`, from `first` up to, but not including, `last`.
fn fold(o: u32, first: u32, last: u32, step: u32) -> Values {
    var values: Values;
    for (var j = 0; j < i32(OUTPUTS); j++) {
        values[j] = p.start;
    }
    for (var m = first; m < last; m += step) {
        values = combine_all(values, term(o, m));
    }
    return values;
}
