//! Filters of the Describe operations (teo-api §4).

use teo::edgeone::AdvancedFilter;
use teo::{ApiError, ErrorCode};

/// What one operation's filter may be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Known {
    /// Its name.
    pub(super) name: &'static str,
    /// Whether it may have several values.
    pub(super) several: bool,
    /// Whether it heeds `Fuzzy`.
    pub(super) fuzzy: bool,
}

/// A filter that the operation knows.
#[derive(Clone, Debug)]
pub(super) struct Filter {
    pub(super) name: &'static str,
    /// At least one.
    pub(super) values: Vec<String>,
    pub(super) fuzzy: bool,
}

impl Filter {
    /// As [`Filter::accepts`], for what has no case: `name` is lower-case, the values are as they were given.
    pub(super) fn accepts_name(&self, name: &str) -> bool {
        self.values.iter().any(|value| {
            let value = value.to_ascii_lowercase();
            if self.fuzzy { name.contains(&value) } else { name == value }
        })
    }

    /// Whether `text` is one of the values, or holds one of them if the filter is fuzzy.
    pub(super) fn accepts(&self, text: &str) -> bool {
        self.values.iter().any(|value| if self.fuzzy { text.contains(value) } else { text == value })
    }
}

/// Holds the filters of a request against those that the operation knows.
pub(super) fn check(given: Vec<AdvancedFilter>, known: &[Known]) -> Result<Vec<Filter>, ApiError> {
    let mut filters: Vec<Filter> = Vec::with_capacity(given.len());
    for filter in given {
        let Some(kind) = known.iter().find(|kind| kind.name == filter.name) else {
            let names: Vec<&str> = known.iter().map(|kind| kind.name).collect();
            let shown: String = filter.name.chars().take(64).collect();
            let text = format!("there is no filter \"{shown}\" here; there are {}", names.join(", "));
            return Err(ApiError::new(ErrorCode::InvalidFilterName, text));
        };
        let name = kind.name;
        if filters.iter().any(|other| other.name == name) {
            let text = format!("the filter {name} is given twice; give its values in one");
            return Err(ApiError::new(ErrorCode::InvalidFilter, text));
        }
        if filter.values.is_empty() {
            let text = format!("the filter {name} has no value; give one, or leave the filter out");
            return Err(ApiError::new(ErrorCode::InvalidFilter, text));
        }
        if filter.values.len() > 1 && !kind.several {
            let text = format!("the filter {name} takes one value; it has {}", filter.values.len());
            return Err(ApiError::new(ErrorCode::InvalidParameter, text));
        }
        let fuzzy = kind.fuzzy && filter.fuzzy.unwrap_or(false);
        filters.push(Filter { name, values: filter.values, fuzzy });
    }
    Ok(filters)
}

/// A page of a list.
pub(super) fn page<T>(list: Vec<T>, offset: i64, limit: i64) -> (i64, Vec<T>) {
    let total = i64::try_from(list.len()).unwrap_or(i64::MAX);
    let offset = usize::try_from(offset).unwrap_or(usize::MAX);
    let limit = usize::try_from(limit).unwrap_or(0);
    (total, list.into_iter().skip(offset).take(limit).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_are_held_against_the_operations_own() {
        let known = [
            Known { name: "one", several: false, fuzzy: false },
            Known { name: "many", several: true, fuzzy: true },
        ];
        let filter = |name: &str, values: &[&str], fuzzy| AdvancedFilter {
            name: name.into(),
            values: values.iter().map(|text| (*text).to_owned()).collect(),
            fuzzy,
        };
        let cases = [
            (vec![filter("one", &["a"], Some(true)), filter("many", &["b", "c"], Some(true))], None),
            (vec![filter("One", &["a"], None)], Some(ErrorCode::InvalidFilterName)),
            (vec![filter("one", &["a"], None), filter("one", &["b"], None)], Some(ErrorCode::InvalidFilter)),
            (vec![filter("one", &[], None)], Some(ErrorCode::InvalidFilter)),
            (vec![filter("one", &["a", "b"], None)], Some(ErrorCode::InvalidParameter)),
        ];
        for (given, refusal) in cases {
            let text = format!("{given:?}");
            assert_eq!(check(given, &known).err().map(|error| error.code), refusal, "{text}");
        }
        let both = vec![filter("one", &["ab"], Some(true)), filter("many", &["ab", "c"], Some(true))];
        let checked = check(both, &known).unwrap();
        assert_eq!(["ab", "xabx", "c"].map(|text| checked[0].accepts(text)), [true, false, false]);
        assert_eq!(["ab", "xabx", "d"].map(|text| checked[1].accepts(text)), [true, true, false]);
    }

    #[test]
    fn a_host_name_is_found_however_its_case_was_written() {
        let filter = |fuzzy| Filter { name: "zone-name", values: vec!["A.Test".into()], fuzzy };
        assert!(filter(false).accepts_name("a.test") && filter(true).accepts_name("www.a.test"));
        assert!(!filter(false).accepts_name("www.a.test") && !filter(true).accepts_name("b.test"));
    }

    #[test]
    fn a_page_past_the_end_is_empty_and_counts_all() {
        assert_eq!(page(vec![1, 2, 3], 1, 1), (3, vec![2]));
        assert_eq!(page(vec![1, 2, 3], i64::MAX, 10), (3, vec![]));
        assert_eq!(page(vec![1, 2, 3], 0, 0), (3, vec![]));
    }
}
