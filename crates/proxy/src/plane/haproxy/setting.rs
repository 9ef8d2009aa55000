//! What HAProxy should be set to, the commands that do it, and whether it is.

use std::net::SocketAddr;

use hmsops_model::Weight;
use hmsops_model::gateway::HaproxySettings;
use hmsops_model::haproxy::{Pair, address};
use hmsops_model::route::Route;

use super::answer::Reading;

/// Where stable's server should point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stable {
    /// No route says: as it is.
    AsItIs,
    /// No version answers: users get 503 from HAProxy, and no stranger who has got the port since.
    Off,
    At(SocketAddr),
}

/// What HAProxy should be set to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Setting {
    stable: Stable,
    canary: Option<SocketAddr>,
    weight: Weight,
    pair: Pair,
}

impl Setting {
    /// What a route asks for; in words why HAProxy can't.
    pub(super) fn of(route: Option<&Route>, haproxy: &HaproxySettings) -> Result<Self, String> {
        let stable = match route {
            None => Stable::AsItIs,
            Some(route) => address(&route.stable)?.map_or(Stable::Off, Stable::At),
        };
        let canary = route.and_then(|route| route.canary.as_ref());
        let weight = canary.map_or(Weight::NONE, |canary| canary.weight);
        // With a map the servers' own weights only keep the canary out of HAProxy's own choice.
        let pair = haproxy.pair(weight)?;
        let canary = canary.map(|canary| address(&canary.arm)).transpose()?.flatten();
        if weight > Weight::NONE && canary.is_none() {
            return Err("the canary has no address".to_owned());
        }
        Ok(Self { stable, canary, weight, pair })
    }

    /// Whether the canary gets requests.
    fn is_out(&self) -> bool {
        self.weight > Weight::NONE
    }

    /// One line of commands. What serves users comes before what takes a server away from them, and doing it again
    /// changes nothing.
    pub(super) fn commands(&self, haproxy: &HaproxySettings) -> String {
        let server = |name: &str| format!("set server {}/{name}", haproxy.backend);
        let (stable, canary) = (server(&haproxy.stable), server(&haproxy.canary));
        let map = haproxy.map.as_ref().map(|map| {
            let (key, share) = (&haproxy.backend, self.weight.bp());
            format!("set map {map} {key} {share}")
        });
        let mut of_stable = match self.stable {
            Stable::AsItIs => vec![format!("{stable} weight {}", self.pair.stable)],
            Stable::Off => vec![format!("{stable} state maint")],
            Stable::At(at) => vec![
                format!("{stable} {}", addr(at)),
                format!("{stable} weight {}", self.pair.stable),
                format!("{stable} state ready"),
            ],
        };
        let set_canary = self.canary.map(|at| format!("{canary} {}", addr(at)));
        let mut commands = Vec::new();
        if self.is_out() {
            commands.extend(set_canary);
            commands.push(format!("{canary} weight {}", self.pair.canary));
            commands.push(format!("{canary} state ready"));
            commands.append(&mut of_stable);
            commands.extend(map);
        } else {
            commands.append(&mut of_stable);
            commands.extend(map);
            // Maintenance, not weight 0 alone: a cookie would keep its users there.
            commands.push(format!("{canary} state maint"));
            commands.push(format!("{canary} weight 0"));
            commands.extend(set_canary);
        }
        commands.join(";")
    }

    /// What is not as it should be, in words.
    pub(super) fn missing(&self, reading: &Reading, haproxy: &HaproxySettings) -> Option<String> {
        let (stable, canary) = (&reading.stable, &reading.canary);
        let (backend, name) = (&haproxy.backend, &haproxy.stable);
        let is_at = |held: &str, wanted: SocketAddr| held.parse() == Ok(wanted);
        match self.stable {
            Stable::Off if stable.status != "MAINT" => {
                return Some(format!("`{backend}/{name}` still takes requests"));
            }
            Stable::At(at) if !is_at(&stable.addr, at) => {
                return Some(format!("`{backend}/{name}` is at {}, not {at}", stable.addr));
            }
            // That checks find it down is HAProxy's to say, not what was asked of it.
            Stable::At(_) if matches!(stable.status.as_str(), "MAINT" | "DRAIN") => {
                return Some(format!("`{backend}/{name}` is {}", stable.status));
            }
            Stable::At(_) if stable.weight != self.pair.stable => {
                return Some(format!("`{backend}/{name}` has weight {}", stable.weight));
            }
            _ => {}
        }
        let name = &haproxy.canary;
        if reading.map.is_some_and(|share| share != self.weight) {
            return Some(format!("the map has not {}", self.weight));
        }
        if !self.is_out() {
            return (canary.status != "MAINT").then(|| format!("`{backend}/{name}` is {}", canary.status));
        }
        let at = self.canary.filter(|at| !is_at(&canary.addr, *at));
        if let Some(at) = at {
            return Some(format!("`{backend}/{name}` is at {}, not {at}", canary.addr));
        }
        if matches!(canary.status.as_str(), "MAINT" | "DRAIN") {
            return Some(format!("`{backend}/{name}` is {}", canary.status));
        }
        (canary.weight != self.pair.canary)
            .then(|| format!("`{backend}/{name}` has weight {}", canary.weight))
    }

    /// Whether stable's server is to point elsewhere than it does.
    pub(super) fn moves_stable(&self, reading: &Reading) -> bool {
        matches!(self.stable, Stable::At(at) if reading.stable.addr.parse() != Ok(at))
    }
}

fn addr(at: SocketAddr) -> String {
    format!("addr {} port {}", at.ip(), at.port())
}

#[cfg(test)]
mod tests {
    use hmsops_model::route::{Arm, CanaryArm};
    use hmsops_model::service::Identity;
    use hmsops_model::{Millis, ReleaseId, ServiceName, Version};

    use super::super::answer::Server;
    use super::*;

    fn haproxy() -> HaproxySettings {
        let text = |text: &str| text.to_owned();
        HaproxySettings {
            socket: text("a.sock"),
            backend: text("b"),
            stable: text("s"),
            canary: text("c"),
            map: None,
        }
    }

    fn route(bp: u16) -> Route {
        let arm = |version, at: &str| Arm {
            version: Version::new(version).unwrap(),
            upstreams: vec![at.to_owned()],
        };
        Route {
            protocol: hmsops_model::service::Protocol::Http1,
            service: ServiceName::new("portal").unwrap(),
            host: None,
            epoch: 1,
            stable: arm("1", "127.0.0.1:81"),
            canary: Some(CanaryArm {
                irreversible: false,
                release: ReleaseId(1),
                arm: arm("2", "127.0.0.1:82"),
                weight: Weight::from_bp(bp).unwrap(),
                salt: 1,
                shield_after: None,
                excused_for: Millis::ZERO,
            }),
            identity: Identity::Request,
            sticky: false,
            bad: Vec::new(),
        }
    }

    #[test]
    fn a_retreat_puts_stable_first_and_the_canary_into_maintenance() {
        let commands = |bp| Setting::of(Some(&route(bp)), &haproxy()).unwrap().commands(&haproxy());
        assert_eq!(
            commands(0),
            "set server b/s addr 127.0.0.1 port 81;set server b/s weight 1;set server b/s state ready;\
             set server b/c state maint;set server b/c weight 0;set server b/c addr 127.0.0.1 port 82"
        );
        assert!(commands(100).starts_with("set server b/c addr 127.0.0.1 port 82;set server b/c weight "));
        assert!(commands(10_000).contains("set server b/s weight 0"));
    }

    #[test]
    fn what_haproxy_cannot_do_is_refused_in_words() {
        let why = |change: fn(&mut Route)| {
            let mut route = route(100);
            change(&mut route);
            Setting::of(Some(&route), &haproxy()).unwrap_err()
        };
        assert!(
            why(|route| route.canary.as_mut().unwrap().weight = Weight::from_bp(10).unwrap())
                .starts_with("HAProxy's weights can't give a canary 0.1 %")
        );
        assert!(why(|route| route.stable.upstreams = vec!["localhost:80".into()]).contains("`IP:PORT`"));
        assert!(why(|route| route.stable.upstreams.push("127.0.0.1:83".into())).contains("2 addresses"));
        assert_eq!(
            why(|route| route.canary.as_mut().unwrap().arm.upstreams.clear()),
            "the canary has no address"
        );
        let mut finer = haproxy();
        finer.map = Some("/etc/haproxy/canary.map".into());
        let mut small = route(100);
        small.canary.as_mut().unwrap().weight = Weight::from_bp(1).unwrap();
        let commands = Setting::of(Some(&small), &finer).unwrap().commands(&finer);
        assert!(commands.contains("weight 0") && commands.ends_with("set map /etc/haproxy/canary.map b 1"));
    }

    #[test]
    fn only_what_is_read_back_counts() {
        let setting = Setting::of(Some(&route(100)), &haproxy()).unwrap();
        let server = |addr: &str, weight, status: &str| Server {
            addr: addr.into(),
            weight,
            status: status.into(),
            ..Server::default()
        };
        let pair = Pair::of(Weight::from_bp(100).unwrap()).unwrap();
        let good = Reading {
            pid: 1,
            stable: server("127.0.0.1:81", pair.stable, "UP"),
            canary: server("127.0.0.1:82", pair.canary, "no"),
            map: None,
        };
        assert_eq!(setting.missing(&good, &haproxy()), None);
        for change in [
            |reading: &mut Reading| reading.stable.addr = "127.0.0.1:9".into(),
            |reading: &mut Reading| reading.stable.weight = 1,
            |reading: &mut Reading| reading.stable.status = "DRAIN".into(),
            |reading: &mut Reading| reading.canary.addr = "127.0.0.1:9".into(),
            |reading: &mut Reading| reading.canary.weight = 0,
            |reading: &mut Reading| reading.canary.status = "MAINT".into(),
        ] {
            let mut reading = good.clone();
            change(&mut reading);
            assert!(setting.missing(&reading, &haproxy()).is_some(), "{reading:?}");
        }
        let retreat = Setting::of(Some(&route(0)), &haproxy()).unwrap();
        assert!(retreat.missing(&good, &haproxy()).is_some());
    }
}
