//! A strict reader of the Prometheus text format 0.0.4: whatever a lenient scraper would let pass is an error here.

use std::collections::{BTreeMap, BTreeSet};

/// The labels of a series.
pub(crate) type Labels = BTreeMap<String, String>;

/// Everything that a text says: kinds by family, values by series.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    /// The type of each family.
    pub(crate) kinds: BTreeMap<String, String>,
    /// The value of each series.
    pub(crate) series: BTreeMap<(String, Labels), f64>,
}

impl Metrics {
    /// Returns the value of a series.
    pub(crate) fn value(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let labels = labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        self.series.get(&(name.to_owned(), labels)).copied()
    }

    /// Returns every series of a name.
    pub(crate) fn all(&self, name: &str) -> Vec<(&Labels, f64)> {
        let named = self.series.iter().filter(|((found, _), _)| found == name);
        named.map(|((_, labels), value)| (labels, *value)).collect()
    }
}

/// Reads a text; the error names the line and what is wrong with it.
pub(crate) fn parse(text: &str) -> Result<Metrics, String> {
    let mut metrics = Metrics::default();
    let (mut helped, mut family) = (BTreeSet::new(), None::<(String, String)>);
    let mut announced = None::<String>;
    if !text.ends_with('\n') {
        return Err("the last line does not end".to_owned());
    }
    for line in text.lines() {
        let wrong = |what: &str| format!("{what}: {line}");
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').ok_or_else(|| wrong("no help"))?;
            let is_new = is_name(name) && helped.insert(name.to_owned());
            if !is_new || help.is_empty() || announced.is_some() {
                return Err(wrong("a second or misplaced HELP"));
            }
            announced = Some(name.to_owned());
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').ok_or_else(|| wrong("no type"))?;
            if announced.take().as_deref() != Some(name) || !["counter", "gauge", "histogram"].contains(&kind)
            {
                return Err(wrong("a TYPE that does not follow its HELP"));
            }
            if (kind == "counter") != name.ends_with("_total") {
                return Err(wrong("a counter ends in _total, and nothing else does"));
            }
            if metrics.kinds.insert(name.to_owned(), kind.to_owned()).is_some() {
                return Err(wrong("a second TYPE"));
            }
            family = Some((name.to_owned(), kind.to_owned()));
        } else {
            let (name, labels, value) = sample(line).ok_or_else(|| wrong("not a sample"))?;
            let (of, kind) =
                family.as_ref().filter(|_| announced.is_none()).ok_or_else(|| wrong("no family"))?;
            let belongs = match kind.as_str() {
                "histogram" => ["_bucket", "_sum", "_count"].iter().any(|tail| name == format!("{of}{tail}")),
                _ => name == *of,
            };
            if !belongs || (kind != "gauge" && (value.is_nan() || value < 0.0)) {
                return Err(wrong("a sample of another family, or a negative count"));
            }
            if metrics.series.insert((name, labels), value).is_some() {
                return Err(wrong("a second value of one series"));
            }
        }
    }
    let histograms = metrics.kinds.iter().filter(|(_, kind)| *kind == "histogram");
    histograms.map(|(name, _)| name).try_for_each(|name| whole(name, &metrics))?;
    Ok(metrics)
}

/// Holds a histogram to its rules: buckets rise, `+Inf` is the count, and there is a sum.
fn whole(name: &str, metrics: &Metrics) -> Result<(), String> {
    let mut by_labels: BTreeMap<Labels, Vec<(f64, f64)>> = BTreeMap::new();
    for (labels, value) in metrics.all(&format!("{name}_bucket")) {
        let mut labels = labels.clone();
        let end = labels.remove("le").and_then(|end| number(&end));
        by_labels
            .entry(labels)
            .or_default()
            .push((end.ok_or(format!("{name}: a bucket without le"))?, value));
    }
    let counts = metrics.all(&format!("{name}_count"));
    if counts.len() != by_labels.len() {
        return Err(format!("{name}: {} counts for {} histograms", counts.len(), by_labels.len()));
    }
    for (labels, mut buckets) in by_labels {
        buckets.sort_by(|one, other| one.0.total_cmp(&other.0));
        let rises = buckets.is_sorted_by(|one, other| one.0 < other.0 && one.1 <= other.1);
        let last = buckets.last().copied();
        let count = metrics.series.get(&(format!("{name}_count"), labels.clone())).copied();
        let sum = metrics.series.get(&(format!("{name}_sum"), labels.clone()));
        if !rises || last != count.map(|count| (f64::INFINITY, count)) || sum.is_none() {
            return Err(format!("{name}{labels:?}: {buckets:?}, count {count:?}, sum {sum:?}"));
        }
    }
    Ok(())
}

fn sample(line: &str) -> Option<(String, Labels, f64)> {
    let end = line.find(['{', ' '])?;
    let (name, rest) = line.split_at(end);
    let (labels, value) = match rest.strip_prefix('{') {
        Some(rest) => labels(rest)?,
        None => (Labels::new(), rest),
    };
    let value = value.strip_prefix(' ')?;
    Some((name.to_owned(), labels, number(value)?)).filter(|(name, ..)| is_name(name))
}

/// Reads labels up to the closing brace; returns what stands behind it.
fn labels(mut rest: &str) -> Option<(Labels, &str)> {
    let mut labels = Labels::new();
    loop {
        let (name, behind) = rest.split_once("=\"")?;
        let mut value = String::new();
        let mut chars = behind.char_indices();
        let end = loop {
            match chars.next()? {
                (at, '"') => break at,
                (_, '\\') => value.push(match chars.next()?.1 {
                    'n' => '\n',
                    c @ ('\\' | '"') => c,
                    _ => return None,
                }),
                (_, c) => value.push(c),
            }
        };
        if !is_name(name) || name.contains(':') || labels.insert(name.to_owned(), value).is_some() {
            return None;
        }
        rest = &behind[end + 1..];
        match rest.strip_prefix(',') {
            Some(more) => rest = more,
            None => return Some((labels, rest.strip_prefix('}')?)),
        }
    }
}

fn number(text: &str) -> Option<f64> {
    match text {
        "+Inf" => Some(f64::INFINITY),
        _ if text.bytes().all(|byte| byte.is_ascii_digit() || b".e+-".contains(&byte)) => text.parse().ok(),
        _ => None,
    }
}

fn is_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b':');
    name.bytes().all(plain) && name.bytes().next().is_some_and(|byte| !byte.is_ascii_digit())
}

#[test]
fn what_is_not_the_format_is_refused() {
    let good = "# HELP a_total h\n# TYPE a_total counter\na_total{x=\"q\\\"\\\\\\n\"} 1\na_total 2.5\n";
    let read = parse(good).unwrap();
    assert_eq!(read.value("a_total", &[("x", "q\"\\\n")]), Some(1.0));
    let histogram = |buckets: &str, count: u32| {
        format!("# HELP h x\n# TYPE h histogram\n{buckets}h_sum 1\nh_count {count}\n")
    };
    let buckets = "h_bucket{le=\"0.1\"} 1\nh_bucket{le=\"+Inf\"} 2\n";
    parse(&histogram(buckets, 2)).unwrap();
    let bad = [
        good.trim_end().to_owned(),
        good.replace("# HELP a_total h\n", ""),
        good.replace("counter", "gauge"),
        good.replace("a_total{", "b_total{"),
        good.replace("{x=\"q", "{x=\"\\q"),
        good.replace(" 2.5", " two"),
        good.replace(" 2.5", " -1"),
        format!("{good}{good}"),
        format!("{good}a_total 3\n"),
        format!("{good}\n"),
        histogram(buckets, 3),
        histogram("h_bucket{le=\"0.1\"} 3\nh_bucket{le=\"+Inf\"} 2\n", 2),
        histogram("h_bucket{le=\"0.1\"} 2\n", 2),
    ];
    for text in bad {
        assert!(parse(&text).is_err(), "{text}");
    }
}
