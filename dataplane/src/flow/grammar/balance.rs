//! `multipath` and `bundle`: actions that choose by a hash.

use std::fmt::{self, Display, Formatter};

use super::super::{Bundle, HashFields, LinkAlgorithm, Multipath};
use super::ports::{self, Port};
use super::token::{Token, number};
use super::words::part;
use super::{Fault, PortNames};

/// Words of what is hashed.
const FIELDS: [(&str, HashFields); 7] = [
    ("eth_src", HashFields::EthSrc),
    ("symmetric_l4", HashFields::SymmetricL4),
    ("symmetric_l3l4", HashFields::SymmetricL3L4),
    ("symmetric_l3l4+udp", HashFields::SymmetricL3L4Udp),
    ("nw_src", HashFields::NwSrc),
    ("nw_dst", HashFields::NwDst),
    ("symmetric_l3", HashFields::SymmetricL3),
];

/// Words of how a link is chosen.
const ALGORITHMS: [(&str, LinkAlgorithm); 4] = [
    ("modulo_n", LinkAlgorithm::ModuloN),
    ("hash_threshold", LinkAlgorithm::HashThreshold),
    ("hrw", LinkAlgorithm::Hrw),
    ("iter_hash", LinkAlgorithm::IterHash),
];

/// The next of the values, which are separated by commas and white space.
struct Values<'a, 'b> {
    token: &'b Token<'a>,
    rest: &'a str,
}

impl<'a, 'b> Values<'a, 'b> {
    fn of(token: &'b Token<'a>) -> Result<Self, Fault> {
        Ok(Self { token, rest: token.text()? })
    }

    fn next(&mut self, expected: &str) -> Result<&'a str, Fault> {
        let rest = self.rest.trim_start_matches([',', ' ']);
        let (value, rest) = rest.split_at(rest.find([',', ' ']).unwrap_or(rest.len()));
        self.rest = rest;
        if value.is_empty() { Err(self.token.wrong(expected)) } else { Ok(value) }
    }

    fn word<T: Copy>(&mut self, words: &[(&str, T)]) -> Result<T, Fault> {
        let known = words.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
        let word = self.next(&known)?;
        let found = words.iter().find(|(name, _)| *name == word);
        found.map(|(_, value)| *value).ok_or_else(|| self.token.wrong(&format!("one of {known}, not {word}")))
    }

    fn number<T: TryFrom<u64>>(&mut self, name: &str) -> Result<T, Fault> {
        let text = self.next(name)?;
        number(text).and_then(|number| T::try_from(number).ok()).ok_or_else(|| self.token.wrong(name))
    }
}

/// `multipath(FIELDS,BASIS,ALGORITHM,LINKS,ARGUMENT,FIELD[..])`
pub(super) fn multipath(token: &Token<'_>) -> Result<Multipath, Fault> {
    let mut values = Values::of(token)?;
    Ok(Multipath {
        fields: values.word(&FIELDS)?,
        basis: values.number("a basis, 0 to 65535")?,
        algorithm: values.word(&ALGORITHMS)?,
        links: values.number("a number of links, 1 to 65535")?,
        argument: values.number("an argument, 0 to 4294967295")?,
        target: part(token, values.next("bits of a field")?)?,
    })
}

/// `bundle(FIELDS,BASIS,ALGORITHM,ofport,members:PORT,...)`; `bundle_load` has a field before the members.
pub(super) fn bundle(token: &Token<'_>, ports: &dyn PortNames) -> Result<Bundle, Fault> {
    let mut values = Values::of(token)?;
    let fields = values.word(&FIELDS)?;
    let basis = values.number("a basis, 0 to 65535")?;
    let active_backup = values.word(&[("active_backup", true), ("hrw", false)])?;
    values.word(&[("ofport", ())])?;
    let target = match token.key {
        "bundle_load" => Some(part(token, values.next("bits of a field")?)?),
        _ => None,
    };
    let members = values.rest.trim_start_matches([',', ' ']);
    let members = members.strip_prefix("members:").or_else(|| members.strip_prefix("slaves:"));
    let members = members.ok_or_else(|| token.wrong("members:PORT,... at the end"))?;
    let members = members.split([',', ' ']).filter(|member| !member.is_empty());
    let members = members.map(|member| ports::port(member, ports)).collect::<Option<_>>();
    let members = members.ok_or_else(|| token.wrong("port numbers or names behind members:"))?;
    Ok(Bundle { fields, basis, active_backup, members, target })
}

fn word_of<T: PartialEq>(words: &[(&'static str, T)], wanted: &T) -> &'static str {
    words.iter().find(|(_, value)| value == wanted).map_or("", |(name, _)| name)
}

/// A multipath in text.
pub(super) struct MultipathText<'a>(pub &'a Multipath);

impl Display for MultipathText<'_> {
    fn fmt(&self, to: &mut Formatter<'_>) -> fmt::Result {
        let Multipath { fields, basis, algorithm, links, argument, target } = self.0;
        let (fields, algorithm) = (word_of(&FIELDS, fields), word_of(&ALGORITHMS, algorithm));
        write!(to, "multipath({fields},{basis},{algorithm},{links},{argument},{target})")
    }
}

/// A bundle in text.
pub(super) struct BundleText<'a>(pub &'a Bundle, pub &'a dyn PortNames);

impl Display for BundleText<'_> {
    fn fmt(&self, to: &mut Formatter<'_>) -> fmt::Result {
        let Bundle { fields, basis, active_backup, members, target } = self.0;
        let name = if target.is_some() { "bundle_load" } else { "bundle" };
        let algorithm = if *active_backup { "active_backup" } else { "hrw" };
        write!(to, "{name}({},{basis},{algorithm},ofport,", word_of(&FIELDS, fields))?;
        if let Some(target) = target {
            write!(to, "{target},")?;
        }
        let members: Vec<_> = members.iter().map(|port| Port(*port, self.1).to_string()).collect();
        write!(to, "members:{})", members.join(","))
    }
}
