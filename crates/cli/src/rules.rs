//! `rules`: what differs from a zone's cache settings, for some of its URLs.

use clap::{Args, Subcommand};
use teo::Param;
use teo::edgeone::{
    AdvancedFilter, CreateL7AccRulesRequest, DeleteL7AccRulesRequest, DescribeL7AccRulesRequest,
    DescribeL7AccRulesResponse, ModifyL7AccRulePriorityRequest, ModifyL7AccRuleRequest, RuleBranch,
    RuleEngineItem, RuleStatus,
};

use crate::caching::{RuleCachingFlags, action_words};
use crate::choice::choice;
use crate::client::{Answered, Client};
use crate::exit::{Exit, Failure};
use crate::{Common, HELP_TAIL, World, input, text, zone};

/// Rules in one answer: more than a zone may have.
const RULES_PER_PAGE: i64 = 1000;

const EXAMPLES: &str = "\
Examples:
  everfresh rules list
  everfresh rules create --name images --extension jpg,png,webp --cache 30d --query none
  everfresh rules create --host www.example.com --path '/api/*' --cache no-cache
  everfresh rules create --condition \"${http.request.uri.args['preview']} exist\" --cache no-cache
  everfresh rules create --file rules.json
  everfresh rules modify rule-1a2b3c4d5e6f --cache 1d --status disable
  everfresh rules list --json > rules.json
  everfresh rules order rule-1a2b3c4d5e6f rule-000000000000
  everfresh rules delete rule-1a2b3c4d5e6f

  Rules count from top to bottom; of two that say different things, the lower
  one wins. Files hold one rule of EdgeOne's CreateL7AccRules, or several as
  {\"Rules\": [{\"RuleName\": \"…\", \"Branches\": [{\"Condition\": \"…\",
  \"Actions\": [{\"Name\": \"Cache\", \"CacheParameters\": {…}}]}]}]}.";

/// Arguments of `rules`.
#[derive(Debug, Args)]
#[command(after_help = format!("{EXAMPLES}\n\n{HELP_TAIL}"))]
pub struct RulesArgs {
    #[command(flatten)]
    common: Common,
    /// The zone's id or name; may be left out when there is only one
    #[arg(long, global = true)]
    zone: Option<String>,
    #[command(subcommand)]
    command: RulesCommand,
}

#[derive(Debug, Subcommand)]
enum RulesCommand {
    /// List a zone's rules, top to bottom
    List,
    /// Make a rule below those there are, by flags; or several from a file, all or none
    Create {
        #[command(flatten)]
        rule: Box<RuleFlags>,
        /// Take the rules from this JSON file; - is the standard input
        #[arg(long, value_name = "FILE")]
        file: Option<String>,
    },
    /// Change a rule at its place: what the flags name, or the whole of it from a file
    Modify {
        /// The rule's id, as list prints it
        #[arg(value_name = "RULE")]
        rule_id: String,
        #[command(flatten)]
        rule: Box<RuleFlags>,
        /// Take the whole rule from this JSON file; - is the standard input
        #[arg(long, value_name = "FILE")]
        file: Option<String>,
    },
    /// Put the rules into another order, top to bottom
    Order {
        /// The ids of all rules of the zone
        #[arg(required = true, value_name = "RULE")]
        rule_ids: Vec<String>,
    },
    /// Delete rules; all of them or none
    Delete {
        /// Their ids
        #[arg(required = true, value_name = "RULE")]
        rule_ids: Vec<String>,
    },
}

#[derive(Clone, Debug, Default, Args)]
struct RuleFlags {
    /// What to call the rule
    #[arg(long, value_name = "TEXT")]
    name: Option<String>,
    /// Whether the rule counts
    #[arg(long, value_parser = choice(RuleStatus::ALL), value_name = "STATUS")]
    status: Option<RuleStatus>,
    /// Where it counts, in EdgeOne's language of conditions; * is everywhere
    #[arg(long, value_name = "CONDITION", conflicts_with_all = ["host", "path", "extension"])]
    condition: Option<String>,
    /// Where it counts: on these hosts
    #[arg(long, value_name = "HOST", value_delimiter = ',')]
    host: Vec<String>,
    /// … at these paths, * for anything
    #[arg(long, value_name = "PATH", value_delimiter = ',')]
    path: Vec<String>,
    /// … for files with these extensions
    #[arg(long, value_name = "EXTENSION", value_delimiter = ',')]
    extension: Vec<String>,
    #[command(flatten)]
    caching: RuleCachingFlags,
}

impl RuleFlags {
    /// The condition that the flags give, if they give one.
    fn condition(&self) -> Result<Option<String>, Failure> {
        if self.condition.is_some() {
            return Ok(self.condition.clone());
        }
        let mut tests = Vec::new();
        for (variable, values) in [
            ("http.request.host", &self.host),
            ("http.request.uri.path", &self.path),
            ("http.request.file_extension", &self.extension),
        ] {
            if let Some(value) = values.iter().find(|value| value.contains(['\'', '\\'])) {
                let text = format!("\"{value}\" has a quote or a backslash; write it with --condition");
                return Err(Failure::Usage(text));
            }
            if !values.is_empty() {
                let list: Vec<String> = values.iter().map(|value| format!("'{value}'")).collect();
                tests.push(format!("${{{variable}}} in [{}]", list.join(", ")));
            }
        }
        Ok((!tests.is_empty()).then(|| tests.join(" and ")))
    }

    /// Puts what the flags say into a rule. True if they say anything.
    fn change(&self, rule: &mut RuleEngineItem) -> Result<bool, Failure> {
        let condition = self.condition()?;
        if rule.branches.is_empty() {
            let condition = condition.clone().unwrap_or_default();
            rule.branches.push(RuleBranch { condition, actions: Vec::new(), sub_rules: Vec::new() });
        }
        let mut changed = self.name.is_some() || self.status.is_some() || condition.is_some();
        if let Some(branch) = rule.branches.first_mut() {
            branch.condition = condition.unwrap_or_else(|| branch.condition.clone());
            changed |= self.caching.change(&mut branch.actions)?;
        }
        rule.rule_name = self.name.clone().unwrap_or_else(|| rule.rule_name.clone());
        rule.status = self.status.unwrap_or(rule.status);
        Ok(changed)
    }
}

impl RulesArgs {
    pub(crate) fn common(&self) -> &Common {
        &self.common
    }
}

pub(crate) fn run(args: &RulesArgs, client: &Client<'_>, world: &mut World<'_>) -> Result<Exit, Failure> {
    let json = args.common.json;
    let zone_id = || zone::find_id(args.zone.as_deref(), client);
    match &args.command {
        RulesCommand::List => list(zone_id()?, json, client, world),
        RulesCommand::Create { rule, file } => {
            let rules = new_rules(rule, file.as_deref(), world)?;
            let made = client.call(&CreateL7AccRulesRequest { zone_id: zone_id()?, rules })?;
            let line = format!("made {}", made.answer.rule_ids.join(", "));
            zone::report(json, made.fields(), &line, world)
        }
        RulesCommand::Modify { rule_id, rule, file } => {
            let zone_id = zone_id()?;
            let rule = changed_rule(&zone_id, rule_id, rule, file.as_deref(), client, world)?;
            let done = client.call(&ModifyL7AccRuleRequest { zone_id, rule })?;
            zone::report(json, done.fields(), &format!("changed {rule_id}"), world)
        }
        RulesCommand::Order { rule_ids } => {
            let request = ModifyL7AccRulePriorityRequest { zone_id: zone_id()?, rule_ids: rule_ids.clone() };
            let done = client.call(&request)?;
            zone::report(json, done.fields(), &format!("now in the order {}", rule_ids.join(", ")), world)
        }
        RulesCommand::Delete { rule_ids } => {
            let request = DeleteL7AccRulesRequest { zone_id: zone_id()?, rule_ids: rule_ids.clone() };
            let done = client.call(&request)?;
            zone::report(json, done.fields(), &format!("deleted {}", rule_ids.join(", ")), world)
        }
    }
}

fn empty_rule() -> RuleEngineItem {
    RuleEngineItem {
        status: RuleStatus::Enable,
        rule_id: None,
        rule_name: String::new(),
        description: Vec::new(),
        branches: Vec::new(),
        rule_priority: None,
    }
}

fn both() -> Failure {
    Failure::Usage("either --file or flags say what the rule is, not both".to_owned())
}

fn new_rules(
    flags: &RuleFlags,
    file: Option<&str>,
    world: &mut World<'_>,
) -> Result<Vec<RuleEngineItem>, Failure> {
    let mut rule = empty_rule();
    let says_something = flags.change(&mut rule)?;
    if let Some(path) = file {
        if says_something {
            return Err(both());
        }
        let given = match input::read(path, world)? {
            Param::Object(mut fields) if fields.contains_key("Rules") => fields.remove("Rules"),
            one => Some(one),
        };
        let items = match given {
            Some(Param::List(items)) => items,
            other => other.into_iter().collect(),
        };
        return items.into_iter().map(|item| input::shaped(path, item)).collect();
    }
    let branch = rule.branches.first();
    if branch.is_none_or(|branch| branch.condition.is_empty()) {
        let text = "say where the rule counts: --host, --path, --extension or --condition (--condition '*': everywhere)";
        return Err(Failure::Usage(text.to_owned()));
    }
    if branch.is_none_or(|branch| branch.actions.is_empty()) {
        let text = "say what the rule decides, for example --cache 1h; see everfresh rules create --help";
        return Err(Failure::Usage(text.to_owned()));
    }
    Ok(vec![rule])
}

fn changed_rule(
    zone_id: &str,
    rule_id: &str,
    flags: &RuleFlags,
    file: Option<&str>,
    client: &Client<'_>,
    world: &mut World<'_>,
) -> Result<RuleEngineItem, Failure> {
    if let Some(path) = file {
        if flags.change(&mut empty_rule())? {
            return Err(both());
        }
        let mut rule: RuleEngineItem = input::shaped(path, input::read(path, world)?)?;
        if rule.rule_id.as_deref().is_some_and(|id| id != rule_id) {
            let text =
                format!("the file holds another rule than {rule_id}: leave its RuleId out, or name that one");
            return Err(Failure::Usage(text));
        }
        rule.rule_id = Some(rule_id.to_owned());
        return Ok(rule);
    }
    let filter = AdvancedFilter { name: "rule-id".to_owned(), values: vec![rule_id.to_owned()], fuzzy: None };
    let found = describe(zone_id.to_owned(), vec![filter], client)?.answer.rules.into_iter().next();
    let mut rule = found.ok_or_else(|| {
        Failure::Usage(format!("the zone has no rule {rule_id}; everfresh rules list shows those it has"))
    })?;
    if !flags.change(&mut rule)? {
        let text = "nothing to change: give for example --cache 10m, --status disable, or --file";
        return Err(Failure::Usage(text.to_owned()));
    }
    Ok(rule)
}

fn describe(
    zone_id: String,
    filters: Vec<AdvancedFilter>,
    client: &Client<'_>,
) -> Result<Answered<DescribeL7AccRulesResponse>, Failure> {
    client.call(&DescribeL7AccRulesRequest { zone_id, filters, limit: RULES_PER_PAGE, offset: 0 })
}

fn list(zone_id: String, json: bool, client: &Client<'_>, world: &mut World<'_>) -> Result<Exit, Failure> {
    let rules = describe(zone_id, Vec::new(), client)?;
    if json {
        text::json(world.out, rules.fields())?;
        return Ok(Exit::Done);
    }
    let row = |rule: &RuleEngineItem| {
        let branch = rule.branches.first();
        let mut words = branch.map(|branch| action_words(&branch.actions)).unwrap_or_default();
        let sub_rules = branch.map_or(0, |branch| branch.sub_rules.len());
        if sub_rules > 0 {
            words.push(format!("and {}", text::counted(sub_rules, "sub-rule")));
        }
        vec![
            rule.rule_id.clone().unwrap_or_default(),
            rule.status.as_str().to_owned(),
            rule.rule_name.clone(),
            branch.map(|branch| branch.condition.clone()).unwrap_or_default(),
            words.join(" "),
        ]
    };
    let rows: Vec<_> = rules.answer.rules.iter().map(row).collect();
    text::table(world.out, &["RULE", "STATUS", "NAME", "WHERE", "WHAT"], &rows)?;
    if rows.is_empty() {
        writeln!(world.err, "no rules yet: everfresh rules create --help")?;
    }
    Ok(Exit::Done)
}
