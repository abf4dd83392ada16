//! What `/metrics` says, read more strictly than Prometheus does: every figure is explained, its lines stand together, histograms add up.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, bail, ensure};

type Labels = BTreeMap<String, String>;

#[derive(Debug, Default)]
pub struct Exposition {
    families: BTreeMap<String, Family>,
}

#[derive(Debug, Default)]
struct Family {
    help: String,
    kind: String,
    /// By the sample's own name, which has a suffix in a histogram, and its labels.
    samples: BTreeMap<(String, Labels), f64>,
}

impl Exposition {
    pub fn parse(text: &str) -> Result<Self> {
        ensure!(text.ends_with('\n'), "the last line has no end");
        let mut exposition = Self::default();
        let mut current = String::new();
        for line in text.lines().filter(|line| !line.is_empty()) {
            exposition.line(line, &mut current).with_context(|| format!("in the line {line}"))?;
        }
        for (name, family) in &exposition.families {
            family.check(name).with_context(|| format!("in the family {name}"))?;
        }
        Ok(exposition)
    }

    fn line(&mut self, line: &str, current: &mut String) -> Result<()> {
        if let Some(comment) = line.strip_prefix("# ") {
            let (word, rest) = comment.split_once(' ').context("a comment of one word")?;
            let (name, told) = rest.split_once(' ').context("it says nothing")?;
            ensure!(is_name(name) && !told.trim().is_empty());
            if name != current {
                ensure!(!self.families.contains_key(name), "its lines do not stand together");
                name.clone_into(current);
            }
            let family = self.families.entry(name.to_owned()).or_default();
            let field = match word {
                "HELP" => &mut family.help,
                "TYPE" => &mut family.kind,
                _ => bail!("neither HELP nor TYPE"),
            };
            ensure!(field.is_empty() && family.samples.is_empty(), "told twice, or behind its samples");
            told.clone_into(field);
            return Ok(());
        }
        let (name, labels, value) = sample(line)?;
        let family = self.families.get_mut(current.as_str()).context("nothing explains it")?;
        let suffix = name.strip_prefix(current.as_str()).context("another family is explained above it")?;
        let suffixes: &[&str] = if family.kind == "histogram" { &["_bucket", "_sum", "_count"] } else { &[""] };
        ensure!(suffixes.contains(&suffix), "a {} has no such samples", family.kind);
        ensure!(family.samples.insert((name, labels), value).is_none(), "told twice");
        Ok(())
    }

    /// The figure with these labels.
    pub fn value(&self, name: &str, labels: &[(&str, &str)]) -> Result<f64> {
        let family = ["_bucket", "_sum", "_count"].iter().find_map(|suffix| name.strip_suffix(suffix));
        let families = [Some(name), family].into_iter().flatten();
        let labels: Labels = labels.iter().map(|(label, value)| ((*label).to_owned(), (*value).to_owned())).collect();
        let key = (name.to_owned(), labels);
        let mut found = families.filter_map(|family| self.families.get(family)?.samples.get(&key));
        found.next().copied().with_context(|| format!("there is no {key:?}"))
    }

    /// Names of all families.
    pub fn names(&self) -> BTreeSet<&str> {
        self.families.keys().map(String::as_str).collect()
    }
}

impl Family {
    fn check(&self, name: &str) -> Result<()> {
        ensure!(!self.help.is_empty() && !self.kind.is_empty(), "HELP or TYPE is missing");
        match self.kind.as_str() {
            "gauge" => ensure!(!name.ends_with("_total"), "a gauge with a counter's name"),
            "counter" => {
                ensure!(name.ends_with("_total"), "a counter without a counter's name");
                ensure!(self.samples.values().all(|value| value.is_finite() && *value >= 0.0), "it counts backwards");
            }
            "histogram" => self.check_buckets(name)?,
            kind => bail!("{kind} is no type that is used here"),
        }
        Ok(())
    }

    fn check_buckets(&self, name: &str) -> Result<()> {
        let mut series: BTreeMap<Labels, Vec<(f64, f64)>> = BTreeMap::new();
        for ((sample, labels), value) in &self.samples {
            let mut labels = labels.clone();
            let bound = labels.remove("le");
            let buckets = series.entry(labels).or_default();
            if sample.ends_with("_bucket") {
                buckets.push((number(&bound.context("a bucket without a bound")?)?, *value));
            } else {
                ensure!(bound.is_none(), "a bound without a bucket");
            }
        }
        for (labels, mut buckets) in series {
            buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
            let total = buckets.last().filter(|last| last.0 == f64::INFINITY).context("no bucket for all")?.1;
            ensure!(buckets.is_sorted_by_key(|bucket| bucket.1), "not cumulative: {buckets:?}");
            let sample = |suffix| self.samples.get(&(format!("{name}{suffix}"), labels.clone()));
            ensure!(sample("_count") == Some(&total), "its count is not that of all buckets");
            ensure!(sample("_sum").is_some_and(|sum| sum.is_finite() && (*sum > 0.0 || total == 0.0)), "no sum");
        }
        Ok(())
    }
}

fn is_name(name: &str) -> bool {
    let inside = |c: char| c.is_ascii_alphanumeric() || c == '_';
    name.starts_with(|c: char| c.is_ascii_lowercase()) && name.chars().all(inside)
}

fn number(text: &str) -> Result<f64> {
    match text {
        "+Inf" => Ok(f64::INFINITY),
        _ => text.parse::<f64>().ok().filter(|number| number.is_finite()).with_context(|| format!("no number: {text}")),
    }
}

/// `name{label="value",…} number`.
fn sample(line: &str) -> Result<(String, Labels, f64)> {
    let (series, value) = line.rsplit_once(' ').context("no value")?;
    let (name, mut rest) = match series.split_once('{') {
        Some((name, rest)) => (name, rest.strip_suffix('}').context("no end of labels")?),
        None => (series, ""),
    };
    ensure!(is_name(name), "no name");
    let mut labels = Labels::new();
    while !rest.is_empty() {
        let (label, quoted) = rest.split_once("=\"").context("no label")?;
        let (value, behind) = unquote(quoted)?;
        ensure!(is_name(label) && labels.insert(label.to_owned(), value).is_none(), "label {label}");
        rest = match behind.strip_prefix(',') {
            Some(more) if !more.is_empty() => more,
            _ if behind.is_empty() => "",
            _ => bail!("labels end in {behind}"),
        };
    }
    Ok((name.to_owned(), labels, number(value)?))
}

/// A value up to its closing quote, and what is behind it.
fn unquote(text: &str) -> Result<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Ok((value, &text[at + 1..])),
            '\\' => value.push(match chars.next() {
                Some((_, 'n')) => '\n',
                Some((_, c @ ('\\' | '"'))) => c,
                _ => bail!("an unknown escape"),
            }),
            c => value.push(c),
        }
    }
    bail!("no closing quote")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_well_formed_is_told() {
        let head = "# HELP a_total rows\n# TYPE a_total counter\n";
        let good = Exposition::parse(&format!("{head}a_total{{w=\"x\\\"y\",p=\"0\"}} 3\n")).unwrap();
        assert_eq!(good.value("a_total", &[("p", "0"), ("w", "x\"y")]).unwrap(), 3.0);
        for lines in [
            "a_total 1",
            "a_total x\n",
            "a_total{w=\"x} 1\n",
            "a_total{w=\"x\",} 1\n",
            "a_total 1\na_total 1\n",
            "b 1\n",
        ] {
            assert!(Exposition::parse(&format!("{head}{lines}")).is_err(), "{lines}");
        }
        let head = "# HELP h seconds\n# TYPE h histogram\n";
        let histogram = |counts: [u32; 3]| {
            let [first, all, count] = counts;
            let buckets = format!("h_bucket{{le=\"0.1\"}} {first}\nh_bucket{{le=\"+Inf\"}} {all}\n");
            Exposition::parse(&format!("{head}{buckets}h_sum 0.5\nh_count {count}\n"))
        };
        assert_eq!(histogram([1, 3, 3]).unwrap().value("h_count", &[]).unwrap(), 3.0);
        assert!(histogram([4, 3, 3]).is_err() && histogram([1, 3, 2]).is_err());
    }
}
