//! `hmsops alert`: rules, their alerts, and silences over them.

use clap::Subcommand;
use hmsops_model::{AlertId, Millis, SilenceId};
use hmsops_wire::api::{Alert, NewRule, NewSilence, Reason, Rule, RuleDeclared, Silence};
use serde_json::Value;

use super::metric::label;
use super::trial;
use crate::client::{Client, encoded};
use crate::failure::{Exit, Failure};
use crate::table::Table;
use crate::{caret, moment, pages, print};

/// See alerts, declare rules, and hold alerts back
#[derive(clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Alerts, the most urgent first
    #[command(after_help = "Example:\n  hmsops alert list --active")]
    List {
        /// Only those that go on, and rules that say nothing at the moment
        #[arg(long)]
        active: bool,
        /// How many
        #[arg(long, default_value_t = 1000)]
        limit: usize,
        /// Print the answer as JSON
        #[arg(long)]
        json: bool,
    },
    /// A rule and its alerts, or one alert
    #[command(
        after_help = "Example:\n  hmsops alert show photo_error_spike\n  hmsops alert show a-12 --json"
    )]
    Show {
        /// The rule, or an alert, a-12
        #[arg(value_name = "NAME|ID")]
        name: String,
        /// Print the answer as JSON
        #[arg(long)]
        json: bool,
    },
    /// Declare a rule; prints how its expression is read
    #[command(after_help = "Example:\n  hmsops alert create photo_error_spike \
                      --expr \"rate(photo.upload.ok[1m]) < 0.7\" --for 60s --on-fire \"rollback dmv-photo --to=prev\" \
                      --notify oncall@dmv.gov")]
    Create(Box<Create>),
    /// Remove a rule; its alerts end
    #[command(after_help = "Example:\n  hmsops alert rm photo_error_spike --reason \"not needed any more\"")]
    Rm {
        /// The rule
        name: String,
        /// Why, for the ledger
        #[arg(long, default_value = "")]
        reason: String,
    },
    /// Hold a rule's notices and heals for a while; it ends by itself
    #[command(
        after_help = "Example:\n  hmsops alert silence photo_error_spike --for 2h --reason \"planned upgrade\""
    )]
    Silence {
        /// The rule
        name: String,
        /// For how long
        #[arg(long = "for", value_name = "SPAN", value_parser = moment::some_span)]
        span: Millis,
        /// Why, for the ledger
        #[arg(long)]
        reason: String,
        /// Heal all the same
        #[arg(long)]
        keep_heal: bool,
        /// Print the answer as JSON
        #[arg(long)]
        json: bool,
    },
    /// End a silence before its time; of a rule, all its silences
    #[command(
        after_help = "Example:\n  hmsops alert unsilence photo_error_spike\n  hmsops alert unsilence s-2"
    )]
    Unsilence {
        /// The rule, or a silence, s-2
        #[arg(value_name = "NAME|ID")]
        name: String,
        /// Why, for the ledger
        #[arg(long, default_value = "")]
        reason: String,
    },
    Test(trial::Args),
    /// Say that you have an alert in hand; nobody is told of it again
    #[command(after_help = "Example:\n  hmsops alert ack a-12 --reason \"looking at it\"")]
    Ack {
        /// The alert, a-12, or its rule when only one of its alerts fires
        #[arg(value_name = "ID|NAME")]
        id: String,
        /// Why, for the ledger
        #[arg(long)]
        reason: String,
        /// Print the answer as JSON
        #[arg(long)]
        json: bool,
    },
}

#[derive(clap::Args)]
struct Create {
    /// Unique among all rules
    name: String,
    /// PromQL; the alert fires while it has an answer
    #[arg(long, value_name = "PROMQL")]
    expr: String,
    /// How long it must hold
    #[arg(long = "for", value_name = "SPAN", default_value = "0s", value_parser = moment::seconds)]
    hold: u64,
    /// What heals: `rollback SERVICE --to=prev|VERSION` or `restart SERVICE`
    #[arg(long, value_name = "VERB")]
    on_fire: Option<String>,
    /// Who is told, a mail address or a webhook's name; can be given more than once
    #[arg(long, value_name = "RECEIVER")]
    notify: Vec<String>,
    /// Put on each alert; can be given more than once
    #[arg(long, value_name = "NAME=VALUE", value_parser = label)]
    label: Vec<(String, String)>,
    /// For people; can be given more than once
    #[arg(long, value_name = "NAME=TEXT", value_parser = label)]
    annotation: Vec<(String, String)>,
    /// Where to read what to do
    #[arg(long, value_name = "URL")]
    runbook: Option<String>,
    /// Insist on the literal reading of a rate
    #[arg(long, value_parser = ["per-second"])]
    reading: Option<String>,
    /// Whose alert it is [default: what the heal acts on, else the series' `service` label]
    #[arg(long)]
    service: Option<String>,
    /// What an empty window means [default: keep]
    #[arg(long, value_parser = ["keep", "ok", "alert"])]
    on_nodata: Option<String>,
    /// Between two evaluations
    #[arg(long, value_name = "SPAN", value_parser = moment::seconds)]
    interval: Option<u64>,
    /// Print the answer as JSON
    #[arg(long)]
    json: bool,
}

impl Args {
    /// What needs no tower.
    pub(super) const fn trial(&self) -> Option<&trial::Args> {
        if let Verb::Test(args) = &self.verb { Some(args) } else { None }
    }
}

pub(super) async fn run(client: &Client, args: &Args) -> Result<(), Failure> {
    match &args.verb {
        Verb::List { active, limit, json } => list(client, *active, *limit, *json).await,
        Verb::Show { name, json } => show(client, name, *json).await,
        Verb::Create(args) => create(client, args).await,
        Verb::Test(args) => trial::run(args),
        Verb::Rm { name, reason } => {
            client.delete(&format!("{}?reason={}", rule_path(name), encoded(reason))).await?;
            print::line(&format!("{}  removed", print::plain(name)))
        }
        Verb::Silence { name, span, reason, keep_heal, json } => {
            let (rule, reason) = (name.clone(), reason.clone());
            let asked = NewSilence { rule, for_ms: span.0, reason, keep_heal: *keep_heal };
            let silence: Silence = client.post("/hms/v1/silences", &asked).await?;
            if *json {
                return print::json(&silence);
            }
            print::line(&print::plain(&silence.sentence))?;
            print::talk(&format!("`hmsops alert unsilence {}` ends it", print::plain(&silence.id)));
            Ok(())
        }
        Verb::Unsilence { name, reason } => unsilence(client, name, reason).await,
        Verb::Ack { id, reason, json } => ack(client, id, reason, *json).await,
    }
}

async fn list(client: &Client, active: bool, limit: usize, json: bool) -> Result<(), Failure> {
    let asked: &[(&str, &str)] = if active { &[("active", "true")] } else { &[] };
    let found = pages::read::<Alert>(client, "/hms/v1/alerts", asked, limit).await?;
    if json {
        return print::json(&found);
    }
    print::data(&table(&found.items))?;
    if found.next.is_some() {
        print::talk("there are more; `--limit` shows them");
    }
    Ok(())
}

async fn show(client: &Client, name: &str, json: bool) -> Result<(), Failure> {
    if let Ok(id) = name.parse::<AlertId>() {
        let alert: Alert = client.get(&format!("/hms/v1/alerts/{id}")).await?;
        return if json { print::json(&alert) } else { print::data(&alert_page(&alert)) };
    }
    let rule: Rule = client.get(&rule_path(name)).await?;
    if json { print::json(&rule) } else { print::data(&rule_page(&rule)) }
}

async fn create(client: &Client, args: &Create) -> Result<(), Failure> {
    let asked = NewRule {
        name: args.name.clone(),
        expr: args.expr.clone(),
        for_seconds: args.hold,
        on_fire: args.on_fire.clone(),
        notify: args.notify.clone(),
        labels: args.label.iter().cloned().collect(),
        annotations: args.annotation.iter().cloned().collect(),
        runbook: args.runbook.clone(),
        reading: args.reading.clone(),
        service: args.service.clone(),
        on_nodata: args.on_nodata.clone(),
        interval_seconds: args.interval,
    };
    let declared = client.post("/hms/v1/rules", &asked).await;
    let declared: RuleDeclared = declared.map_err(|failure| pointed(failure, &args.expr))?;
    for warning in &declared.warnings {
        print::talk(&format!("warning: {}", print::plain(warning)));
    }
    if args.json { print::json(&declared) } else { print::data(&declaration(&declared)) }
}

/// Mistakes of the expression show their place in it; those of other fields have no line to show.
fn pointed(failure: Failure, expr: &str) -> Failure {
    match &failure {
        Failure::Said { mistakes, .. } if mistakes.iter().all(|mistake| mistake.file == "expr") => {
            caret::show(failure, expr)
        }
        _ => failure,
    }
}

async fn unsilence(client: &Client, name: &str, reason: &str) -> Result<(), Failure> {
    let ids = if name.parse::<SilenceId>().is_ok() {
        vec![name.to_owned()]
    } else {
        let asked = [("active", "true")];
        let found = pages::read::<Silence>(client, "/hms/v1/silences", &asked, usize::MAX).await?;
        let of_rule = found.items.into_iter().filter(|known| known.rule == name && known.ended_at.is_none());
        of_rule.map(|silence| silence.id).collect()
    };
    if ids.is_empty() {
        return Err(Failure::new(Exit::NotFound, format!("`{}` is not silenced", print::plain(name))));
    }
    for id in ids {
        let path = format!("/hms/v1/silences/{}?reason={}", encoded(&id), encoded(reason));
        client.delete(&path).await?;
        print::line(&format!("{}  ended", print::plain(&id)))?;
    }
    Ok(())
}

async fn ack(client: &Client, id: &str, reason: &str, json: bool) -> Result<(), Failure> {
    let id = if id.parse::<AlertId>().is_ok() {
        id.to_owned()
    } else {
        let rule: Rule = client.get(&rule_path(id)).await?;
        only(&rule)?
    };
    let body = Reason { reason: reason.to_owned(), ..Reason::default() };
    let answer: Value = client.post(&format!("/hms/v1/alerts/{}/ack", encoded(&id)), &body).await?;
    if json {
        return print::json(&answer);
    }
    let sentence = answer.get("sentence").and_then(Value::as_str).unwrap_or("acked");
    print::line(&format!("{}  {}", print::plain(&id), print::plain(sentence)))
}

/// The one alert of a rule that fires.
fn only(rule: &Rule) -> Result<String, Failure> {
    let firing = rule.alerts.iter().filter(|alert| alert.condition == "firing");
    let ids: Vec<&str> = firing.filter_map(|alert| alert.id.as_deref()).collect();
    match ids.as_slice() {
        [] => Err(Failure::new(Exit::Refused, format!("`{}` does not fire", print::plain(&rule.name)))),
        [id] => Ok((*id).to_owned()),
        ids => Err(Failure::usage(format!("`{}` fires more than once", print::plain(&rule.name)))
            .hint(format!("name one: {}", print::plain(&ids.join(", "))))),
    }
}

fn rule_path(name: &str) -> String {
    format!("/hms/v1/rules/{}", encoded(name))
}

fn or_dash(text: Option<&str>) -> String {
    text.filter(|text| !text.is_empty()).unwrap_or("–").to_owned()
}

fn table(alerts: &[Alert]) -> String {
    let mut table = Table::new(["ALERT", "SERVICE", "STATE", "SINCE", "VALUE", "SUPPRESSED-BY"]);
    for alert in alerts {
        table.row([
            alert.rule.clone(),
            or_dash(alert.service.as_deref()),
            alert.state.clone(),
            alert.since.as_deref().map_or_else(|| "–".to_owned(), print::date),
            or_dash(Some(&alert.value_text)),
            or_dash(Some(&alert.silenced_by.join(", "))),
        ]);
    }
    table.text()
}

fn alert_page(alert: &Alert) -> String {
    let mut lines =
        vec![format!("{}  {}", alert.id.as_deref().unwrap_or("–"), alert.rule), alert.sentence.clone()];
    let labels: Vec<String> = alert.labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let silenced = alert
        .silenced_until
        .as_deref()
        .map(|until| format!("{} until {}", alert.silenced_by.join(", "), print::date(until)));
    let facts = [
        ("state", Some(alert.state.clone())),
        ("service", alert.service.clone()),
        ("value", Some(alert.value_text.clone()).filter(|text| !text.is_empty())),
        ("labels", Some(labels.join(", ")).filter(|text| !text.is_empty())),
        ("since", alert.since.as_deref().map(print::date)),
        ("fired", alert.fired_at.as_deref().map(print::date)),
        ("resolved", alert.resolved_at.as_deref().map(print::date)),
        ("silenced", silenced),
        ("acked by", alert.acked_by.clone()),
        ("heal", alert.heal.clone()),
        ("ticket", alert.ticket.clone()),
    ];
    lines.extend(facts.into_iter().filter_map(|(what, text)| Some(format!("{what:<9} {}", text?))));
    let said = alert.annotations.iter().filter(|(name, _)| !name.starts_with("hmsops_"));
    lines.extend(said.map(|(name, text)| format!("{name:<9} {text}")));
    lines.iter().map(|line| print::plain(line) + "\n").collect()
}

fn rule_page(rule: &Rule) -> String {
    let mut lines = vec![rule.name.clone(), rule.expr.clone()];
    let health = rule.health_text.as_ref().map_or_else(String::new, |text| format!(": {text}"));
    let keep = Millis(rule.keep_firing_for_ms);
    let keep = if keep == Millis::ZERO { String::new() } else { format!(", then goes on for {keep}") };
    let facts = [
        ("health", Some(format!("{}{health}", rule.health))),
        ("for", Some(format!("{}{keep}, looked at every {}", Millis(rule.for_ms), Millis(rule.interval_ms)))),
        ("read as", rule.reading.clone()),
        ("service", rule.service.clone()),
        ("heal", rule.heal.clone()),
        ("tells", Some(rule.notify.join(", ")).filter(|text| !text.is_empty())),
        ("no data", Some(rule.on_nodata.clone())),
        ("by", Some(format!("{} ({})", rule.declared_by.actor, rule.declared_by.source))),
        ("looked at", rule.evaluated_at.as_deref().map(print::date)),
    ];
    lines.extend(facts.into_iter().filter_map(|(what, text)| Some(format!("{what:<9} {}", text?))));
    lines.extend(rule.readings.iter().map(|reading| format!("reading   {reading}")));
    let pairs = rule.labels.iter().chain(&rule.annotations);
    lines.extend(pairs.map(|(name, value)| format!("{name:<9} {value}")));
    let mut text: String = lines.iter().map(|line| print::plain(line) + "\n").collect();
    if !rule.alerts.is_empty() {
        text.push('\n');
        let mut table = Table::new(["ID", "STATE", "SINCE", "VALUE", "SUPPRESSED-BY", "LABELS"]);
        for alert in &rule.alerts {
            let labels = alert.labels.iter().map(|(name, value)| format!("{name}={value}"));
            table.row([
                or_dash(alert.id.as_deref()),
                alert.state.clone(),
                alert.since.as_deref().map_or_else(|| "–".to_owned(), print::date),
                or_dash(Some(&alert.value_text)),
                or_dash(Some(&alert.silenced_by.join(", "))),
                labels.collect::<Vec<_>>().join(", "),
            ]);
        }
        text.push_str(&table.text());
    }
    text
}

/// Both readings, and which one holds.
fn declaration(declared: &RuleDeclared) -> String {
    let what = if declared.changed { "declared" } else { "unchanged" };
    let mut lines = vec![format!("{}  {what}", declared.name)];
    if let Some(reading) = declared.reading.as_ref().filter(|_| !declared.readings.is_empty()) {
        lines.push(match reading.as_str() {
            "undecided" => "it can be read in two ways; which one holds is decided by its data:".to_owned(),
            reading => format!("it can be read in two ways and is read as {reading}:"),
        });
    }
    for reading in &declared.readings {
        let holds = declared.reading.as_ref().is_some_and(|kind| {
            reading.strip_prefix(kind.as_str()).is_some_and(|rest| rest.starts_with(':'))
        });
        lines.push(format!("{} {reading}", if holds { "→" } else { " " }));
    }
    lines.iter().map(|line| print::plain(line).trim_end().to_owned() + "\n").collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alert() -> Alert {
        serde_json::from_str(
            r#"{"id":"a-12","rule":"photo_error_spike","service":"dmv-photo","labels":{"service":"dmv-photo"},
                "state":"fired, heal-running","condition":"firing","handling":"heal-running",
                "since":"2026-11-22T14:01:07.100Z","fired_at":"2026-11-22T14:02:07.100Z","resolved_at":null,
                "value":0.42,"value_text":"0.42","silenced_by":[],"silenced_until":null,"heal":"h-3",
                "ticket":null,"acked_by":null,
                "sentence":"photo_error_spike fired 12 s ago: 0.42; rollback dmv-photo --to=prev runs"}"#,
        )
        .unwrap()
    }

    fn silent() -> Alert {
        serde_json::from_str(
            r#"{"id":null,"rule":"backlog","service":null,"labels":{},"state":"no data","condition":"pending",
                "handling":"open","since":null,"fired_at":null,"resolved_at":null,"value":null,"value_text":"",
                "silenced_by":["s-2","s-3"],"silenced_until":"2026-11-22T16:02:00.000Z","heal":null,
                "ticket":null,"acked_by":null,"sentence":"backlog has no data"}"#,
        )
        .unwrap()
    }

    /// The columns and words of chapter 20.
    #[test]
    fn active_alerts_are_a_table() {
        let expected = "\
ALERT              SERVICE    STATE                SINCE                VALUE  SUPPRESSED-BY
photo_error_spike  dmv-photo  fired, heal-running  2026-11-22 14:01:07  0.42   –
backlog            –          no data              –                    –      s-2, s-3
";
        assert_eq!(table(&[alert(), silent()]), expected);
    }

    #[test]
    fn an_alert_is_a_page() {
        let expected = "\
a-12  photo_error_spike
photo_error_spike fired 12 s ago: 0.42; rollback dmv-photo --to=prev runs
state     fired, heal-running
service   dmv-photo
value     0.42
labels    service=dmv-photo
since     2026-11-22 14:01:07
fired     2026-11-22 14:02:07
heal      h-3
";
        assert_eq!(alert_page(&alert()), expected);
        assert!(alert_page(&silent()).contains("silenced  s-2, s-3 until 2026-11-22 16:02:00\n"));
    }

    fn rule(alerts: Vec<Alert>) -> Rule {
        let rule = r#"{"name":"photo_error_spike","service":"dmv-photo","expr":"rate(photo.upload.ok[1m]) < 0.7",
            "reading":"share","readings":["share: of uploads","per-second: uploads"],"for_ms":60000,
            "keep_firing_for_ms":0,"interval_ms":5000,"labels":{},"annotations":{"summary":"uploads fail"},
            "heal":"rollback dmv-photo --to=prev","on_nodata":"keep","notify":["oncall@dmv.gov"],
            "declared_by":{"actor":"admin","source":"api"},"health":"ok","health_text":null,
            "evaluated_at":"2026-11-22T14:02:07.100Z","alerts":[]}"#;
        Rule { alerts, ..serde_json::from_str(rule).unwrap() }
    }

    #[test]
    fn a_rule_is_a_page_with_its_alerts() {
        let expected = "\
photo_error_spike
rate(photo.upload.ok[1m]) < 0.7
health    ok
for       1 min, looked at every 5 s
read as   share
service   dmv-photo
heal      rollback dmv-photo --to=prev
tells     oncall@dmv.gov
no data   keep
by        admin (api)
looked at 2026-11-22 14:02:07
reading   share: of uploads
reading   per-second: uploads
summary   uploads fail

ID    STATE                SINCE                VALUE  SUPPRESSED-BY  LABELS
a-12  fired, heal-running  2026-11-22 14:01:07  0.42   –              service=dmv-photo
";
        assert_eq!(rule_page(&rule(vec![alert()])), expected);
    }

    #[test]
    fn the_alert_of_a_rule_is_meant_when_there_is_one() {
        assert_eq!(only(&rule(vec![alert(), silent()])).ok().as_deref(), Some("a-12"));
        let other = Alert { id: Some("a-13".into()), ..alert() };
        let Err(Failure::Said { hint, .. }) = only(&rule(vec![alert(), other])) else { panic!("refused") };
        assert_eq!(hint.as_deref(), Some("name one: a-12, a-13"));
        assert!(only(&rule(vec![silent()])).is_err());
    }

    #[test]
    fn a_declaration_says_both_readings() {
        let declared = |reading: Option<&str>, readings: &[&str]| RuleDeclared {
            name: "photo_error_spike".into(),
            changed: true,
            reading: reading.map(str::to_owned),
            readings: readings.iter().map(|&reading| reading.to_owned()).collect(),
            warnings: Vec::new(),
        };
        let both = ["share: of uploads", "per-second: uploads"];
        assert_eq!(
            declaration(&declared(Some("share"), &both)),
            "photo_error_spike  declared\nit can be read in two ways and is read as share:\n\
             → share: of uploads\n  per-second: uploads\n"
        );
        assert!(declaration(&declared(Some("undecided"), &both)).contains("decided by its data:\n  share: "));
        assert_eq!(declaration(&declared(None, &[])), "photo_error_spike  declared\n");
    }
}
