//! Which machines may be asked for a source: the hosts that a policy lists, and the addresses that their names may have. Values and
//! pure rules only; never resolves a name and never connects.
//!
//! | address | when it may be asked |
//! |---|---|
//! | public | always, where the host is listed or nothing is |
//! | private (`10.0.0.0/8`, `fc00::/7`, …) | its host is named by the operator or a local file, or the policy allows private addresses |
//! | loopback, link-local and everything else that is no place on the internet | the operator names the address itself, or `localhost` |
//!
//! Named by the operator: in the entry or origin of the source in the local sources file, or as the target of the rewrite rule that
//! led to this very address; with the port where one is written. A host that a document names which is a local file may be
//! private, and no more: whoever wrote the file need not be who wrote the sources file. What came over the network names nobody.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use catalogue_schema::model::{Refusal, Source};
use catalogue_schema::pointer::{Location, Repository, Want};

use crate::fetch::mirror::Mirrors;

/// What may be reached for one source.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reach {
    /// The hosts that the operator named, with their ports.
    named: BTreeSet<String>,
    /// The hosts that documents name which are local files, with their ports.
    noted: BTreeSet<String>,
    /// The hosts that may be asked at all, without ports; `None` for any.
    hosts: Option<Vec<String>>,
    private: bool,
    /// Where a request wants to have files fetched from instead; names no host for anybody.
    mirrors: Mirrors,
}

/// What kind of place an address is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Public,
    Private,
    /// Loopback, link-local, unspecified, multicast, reserved, or where clouds keep their secrets.
    Special,
}

impl Reach {
    /// Returns what may be reached for a source as its sources file has it.
    pub fn of(source: &Source) -> Reach {
        let origin = source.origin.as_ref().and_then(|origin| origin.repository.as_ref());
        let hosts = host_at(&source.entry).into_iter().chain(origin.and_then(host_in));
        Reach { named: hosts.map(str::to_owned).collect(), ..Reach::default() }
    }

    /// Returns what may be reached where the operator named these hosts, each with its port where that is not 443.
    pub fn naming<'a>(hosts: impl IntoIterator<Item = &'a str>) -> Reach {
        Reach { named: hosts.into_iter().map(str::to_owned).collect(), ..Reach::default() }
    }

    /// Lets nobody but these hosts be asked: those of a policy, without ports, in lower case.
    pub fn within(self, hosts: Vec<String>) -> Reach {
        let hosts = match self.hosts {
            Some(known) => known.into_iter().filter(|host| hosts.contains(host)).collect(),
            None => hosts,
        };
        Reach { hosts: Some(hosts), ..self }
    }

    /// Lets hosts have private addresses: a policy says so.
    pub fn with_private_addresses(self) -> Reach {
        Reach { private: true, ..self }
    }

    /// Has everything fetched through these mirrors, where they may be asked.
    pub fn through(self, mirrors: Mirrors) -> Reach {
        Reach { mirrors, ..self }
    }

    /// Returns the mirrors.
    pub fn mirrors(&self) -> &Mirrors {
        &self.mirrors
    }

    /// Adds what the operator names.
    pub fn also(mut self, want: &Want) -> Reach {
        self.named.extend(host_of_want(want).map(str::to_owned));
        self
    }

    /// Adds what a document names that is a local file.
    pub fn noting(mut self, want: &Want) -> Reach {
        self.noted.extend(host_of_want(want).map(str::to_owned));
        self
    }

    /// Adds the host that a rewrite rule led to.
    pub(crate) fn led_to(mut self, authority: &str) -> Reach {
        self.named.insert(authority.to_owned());
        self
    }

    /// Checks that a host may be asked; `authority` may have a port.
    ///
    /// **Errors**: `net.host_not_allowed`, about `subject`.
    pub(crate) fn check_host(&self, authority: &str, subject: &str) -> Result<(), Refusal> {
        let Some(hosts) = &self.hosts else { return Ok(()) };
        let host = host_of(authority);
        match hosts.iter().any(|known| known == host) {
            true => Ok(()),
            false => {
                let expected = format!("a host that the policy lists for the source: {}", hosts.join(", "));
                let found =
                    format!("{host}; where it is meant, add it to hosts of [[sources]] in the policy");
                Err(Refusal::new("net.host_not_allowed", subject, expected, found))
            }
        }
    }

    /// Returns the addresses that may be connected to, in their order.
    ///
    /// **Errors**: `net.address_denied`, about `subject`: there are addresses, and none of them may be.
    pub(crate) fn checked<T: Copy>(
        &self,
        authority: &str,
        addresses: &[T],
        ip: impl Fn(&T) -> IpAddr,
        subject: &str,
    ) -> Result<Vec<T>, Refusal> {
        let most = self.most(authority);
        let allowed: Vec<T> = addresses.iter().copied().filter(|one| kind(ip(one)) <= most).collect();
        match addresses.iter().map(ip).find(|ip| kind(*ip) > most).filter(|_| allowed.is_empty()) {
            Some(denied) => Err(self.denied(authority, kind(denied), &denied.to_string(), subject)),
            None => Ok(allowed),
        }
    }

    /// Checks a host that somebody else resolves: an address by itself, and a name by what it is sure to mean.
    ///
    /// **Errors**: as [`Reach::checked`].
    pub(crate) fn check_name(&self, authority: &str, subject: &str) -> Result<(), Refusal> {
        let host = host_of(authority);
        if let Ok(ip) = bare(host).parse::<IpAddr>() {
            return self.checked(authority, &[ip], |ip| *ip, subject).map(|_| ());
        }
        let name = host.trim_end_matches('.');
        let (kind, found) = match name {
            "localhost" => (Kind::Special, "the machine of the proxy"),
            name if name.ends_with(".localhost") => (Kind::Special, "the machine of the proxy"),
            name if !name.contains('.') => {
                (Kind::Private, "a machine beside the proxy, by a name without a dot")
            }
            _ => return Ok(()),
        };
        match kind <= self.most(authority) {
            true => Ok(()),
            false => Err(self.denied(authority, kind, found, subject)),
        }
    }

    fn denied(&self, authority: &str, denied: Kind, place: &str, subject: &str) -> Refusal {
        let host = host_of(authority);
        let expected = match self.most(authority) {
            Kind::Public => "a public address, since no local file names this host",
            _ => "a public or private address, since the sources file does not name this address itself",
        };
        let next = match denied {
            Kind::Special => "name the address itself, or localhost, in the sources file",
            _ => "name the host in the sources file, or let the policy say allow_private_addresses",
        };
        let found = format!("{host} is at {place}; where that is meant, {next}");
        Refusal::new("net.address_denied", subject, expected, found)
    }

    fn most(&self, authority: &str) -> Kind {
        let host = host_of(authority);
        let is_exact = host == "localhost" || bare(host).parse::<IpAddr>().is_ok();
        match self.named.contains(authority) {
            true if is_exact => Kind::Special,
            true => Kind::Private,
            false if self.private || self.noted.contains(authority) => Kind::Private,
            false => Kind::Public,
        }
    }
}

fn host_of_want(want: &Want) -> Option<&str> {
    match want {
        Want::Blob(location) | Want::Tree { location, .. } | Want::Directories { location, .. } => {
            host_at(location)
        }
        Want::Refs { repository, .. } | Want::History { repository, .. } => host_in(repository),
    }
}

fn host_at(location: &Location) -> Option<&str> {
    match location {
        Location::Https { url } => Some(url.host()),
        Location::Git { repository, .. } => host_in(repository),
        Location::File { .. } => None,
    }
}

fn host_in(repository: &Repository) -> Option<&str> {
    match repository {
        Repository::Https(url) => Some(url.host()),
        _ => None,
    }
}

/// Returns a host without its port.
pub(crate) fn host_of(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) && !host.is_empty() => {
            // The last colon of an address in brackets stands inside of them.
            host
        }
        _ => authority,
    }
}

/// Returns an address without the brackets that a URL puts around it.
pub(crate) fn bare(host: &str) -> &str {
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
}

fn kind(ip: IpAddr) -> Kind {
    match ip {
        IpAddr::V4(ip) => kind_of_v4(ip),
        IpAddr::V6(ip) => kind_of_v6(ip),
    }
}

fn kind_of_v4(ip: Ipv4Addr) -> Kind {
    match ip.octets() {
        [10, ..] | [172, 16..=31, ..] | [192, 168, ..] | [100, 64..=127, ..] => Kind::Private,
        [0 | 127, ..] | [169, 254, ..] | [192, 0, 0 | 2, _] | [192, 88, 99, _] => Kind::Special,
        [198, 18 | 19, ..] | [198, 51, 100, _] | [203, 0, 113, _] | [224..=255, ..] => Kind::Special,
        _ => Kind::Public,
    }
}

fn kind_of_v6(ip: Ipv6Addr) -> Kind {
    let embedded = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        kind_of_v4(Ipv4Addr::new(a, b, c, d))
    };
    match ip.segments() {
        // The address is one of the old kind, mapped, translated or tunnelled.
        [0, 0, 0, 0, 0, 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => embedded(high, low),
        [0x2002, high, low, ..] => embedded(high, low),
        // Where one cloud keeps the secrets of its machines.
        [0xfd00, 0xec2, ..] => Kind::Special,
        [0xfc00..=0xfdff, ..] | [0xfec0..=0xfeff, ..] => Kind::Private,
        // The internet, without tunnels and examples.
        [0x2001, 0..=0x1ff | 0xdb8, ..] => Kind::Special,
        [0x2000..=0x3fff, ..] => Kind::Public,
        _ => Kind::Special,
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;

    fn check(reach: &Reach, authority: &str, address: &str, expected: Result<(), &str>) {
        let address: IpAddr = address.parse().expect("an address");
        let all = [SocketAddr::new(address, 443)];
        let found = reach.checked(authority, &all, SocketAddr::ip, "a document");
        let found =
            found.map(|allowed| assert_eq!(allowed, all)).map_err(|refusal| refusal.reason.to_string());
        assert_eq!(found, expected.map_err(str::to_owned), "{authority} at {address}");
    }

    const DENIED: Result<(), &str> = Err("net.address_denied");

    #[test]
    fn e2_addresses_that_are_no_place_on_the_internet_are_denied() {
        let (remote, private) = (Reach::default(), Reach::default().with_private_addresses());
        for special in [
            "127.0.0.1",
            "127.255.255.254",
            "0.0.0.0",
            "0.1.2.3",
            "169.254.169.254",
            "192.0.0.192",
            "192.0.2.1",
            "198.18.0.1",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::127.0.0.1",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "64:ff9b::7f00:1",
            "2002:7f00:1::",
            "2001:0:4136:e378:8000:63bf:3fff:fdd2",
            "2001:db8::1",
            "fd00:ec2::254",
            "fe80::1",
            "ff02::1",
            "100::1",
        ] {
            check(&remote, "evil.example", special, DENIED);
            check(&private, "evil.example", special, DENIED);
            check(&Reach::naming(["evil.example"]), "evil.example", special, DENIED);
        }
        for inside in [
            "10.0.0.1",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "100.64.0.1",
            "100.100.100.200",
            "fc00::1",
            "fd12:3456::1",
            "::ffff:10.0.0.1",
            "64:ff9b::a00:1",
            "fec0::1",
        ] {
            check(&remote, "git.acme.example", inside, DENIED);
            check(&private, "git.acme.example", inside, Ok(()));
            check(&Reach::naming(["git.acme.example"]), "git.acme.example", inside, Ok(()));
            check(&Reach::naming(["git.acme.example:8443"]), "git.acme.example", inside, DENIED);
        }
        for public in ["1.1.1.1", "172.32.0.1", "100.128.0.1", "192.0.1.1", "2606:4700::1111", "2a00::1"] {
            check(&remote, "registry.example", public, Ok(()));
        }
    }

    #[test]
    fn e2_an_address_is_reached_where_the_operator_names_itself() {
        check(&Reach::naming(["localhost:8443"]), "localhost:8443", "127.0.0.1", Ok(()));
        check(&Reach::naming(["localhost:8443"]), "localhost:8443", "::1", Ok(()));
        check(&Reach::naming(["localhost:8443"]), "localhost:22", "127.0.0.1", DENIED);
        check(&Reach::naming(["localhost"]), "localhost.", "127.0.0.1", DENIED);
        check(&Reach::naming(["127.0.0.1"]), "127.0.0.1", "127.0.0.1", Ok(()));
        check(&Reach::naming(["[::1]:9"]), "[::1]:9", "::1", Ok(()));
        check(&Reach::naming(["127.0.0.1"]), "localhost", "127.0.0.1", DENIED);
        let one = ["127.0.0.1:9".parse::<SocketAddr>().expect("an address")];
        let found = Reach::default().led_to("localhost:9").checked("localhost:9", &one, SocketAddr::ip, "x");
        assert!(found.is_ok(), "a rewrite rule names it");
    }

    #[test]
    fn e2_of_several_addresses_only_those_that_may_be_are_left() {
        let all: Vec<IpAddr> = ["127.0.0.1", "1.1.1.1", "10.0.0.1"].map(|ip| ip.parse().expect("one")).into();
        let found = Reach::default().checked("a.example", &all, |ip| *ip, "x");
        assert_eq!(found.expect("one is left"), all[1..2]);
        let nothing: [IpAddr; 0] = [];
        let found = Reach::default().checked("a.example", &nothing, |ip| *ip, "x");
        assert_eq!(found.expect("nothing was denied"), nothing);
    }

    #[test]
    fn e1_only_the_hosts_that_a_policy_lists_are_asked() {
        let open = Reach::naming(["other.example"]);
        assert!(open.check_host("anything.example", "x").is_ok());
        let closed = open.within(vec!["git.acme.example".to_owned(), "10.0.0.1".to_owned()]);
        let check = |authority: &str, expected: bool| {
            let found = closed.check_host(authority, "a document");
            assert_eq!(found.is_ok(), expected, "{authority}");
            if let Err(refusal) = found {
                assert_eq!(refusal.reason, "net.host_not_allowed");
                assert!(refusal.expected.contains("git.acme.example, 10.0.0.1"), "{refusal}");
            }
        };
        check("git.acme.example", true);
        check("git.acme.example:8443", true);
        check("10.0.0.1:1", true);
        check("acme.example", false);
        check("git.acme.example.evil.example", false);
        check("x.git.acme.example", false);
        check("other.example", false);
        let none = closed.within(vec!["another.example".to_owned()]);
        assert!(none.check_host("git.acme.example", "x").is_err(), "every policy must list it");
    }

    #[test]
    fn e2_a_local_document_names_private_machines_and_no_special_ones() {
        let want = |url: &str| {
            let url = catalogue_schema::pointer::HttpsUrl::parse(url).expect("a URL");
            Want::Blob(Location::Https { url })
        };
        let noted = |url: &str| Reach::default().noting(&want(url));
        check(&noted("https://git.acme.example/a"), "git.acme.example", "10.0.0.1", Ok(()));
        check(&noted("https://10.0.0.1/a"), "10.0.0.1", "10.0.0.1", Ok(()));
        check(&noted("https://localhost:9/a"), "localhost:9", "127.0.0.1", DENIED);
        check(&noted("https://127.0.0.1/a"), "127.0.0.1", "127.0.0.1", DENIED);
        check(&noted("https://169.254.169.254/a"), "169.254.169.254", "169.254.169.254", DENIED);
        check(&Reach::default().also(&want("https://localhost:9/a")), "localhost:9", "127.0.0.1", Ok(()));
    }

    #[test]
    fn e2_a_proxy_is_asked_for_no_name_that_means_its_own_machine_or_neighbours() {
        let check = |reach: &Reach, authority: &str, expected: bool| {
            let found = reach.check_name(authority, "a document");
            assert_eq!(found.is_ok(), expected, "{authority}: {found:?}");
        };
        let (remote, private) = (Reach::default(), Reach::default().with_private_addresses());
        for own in ["localhost", "localhost:8443", "localhost.", "a.localhost", "127.0.0.1", "[::1]:9"] {
            check(&remote, own, false);
            check(&private, own, false);
        }
        for neighbour in ["intranet", "intranet:8443", "intranet.", "10.0.0.1"] {
            check(&remote, neighbour, false);
            check(&private, neighbour, true);
            check(&Reach::naming([neighbour]), neighbour, true);
        }
        check(&Reach::naming(["localhost:8443"]), "localhost:8443", true);
        check(&remote, "registry.example", true);
        check(&remote, "registry.example:8443", true);
    }
}
